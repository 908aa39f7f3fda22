#include "sim/order.h"

#include <stdio.h>
#include <string.h>

static const char verbs[] = "pqgr";
static const char steps[] = "hmastwcxlbez";
static const char *const transports[] = {"tcp:", "rdma:"};

/* ---- in ------------------------------------------------------------------------------------------------ */

static uint8_t parse_keys(const char **at) {
    uint8_t keys = 0;
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        if (**at == (char)('A' + key)) {
            keys |= (uint8_t)(1u << key);
            (*at)++;
        }
    }
    return keys;
}

static bool parse_program(const char **at, struct sim_order_program *program) {
    for (unsigned i = 0; i < 2; i++) {
        if (strncmp(*at, transports[i], strlen(transports[i])) == 0) {
            program->rdma = i == 1;
            *at += strlen(transports[i]);
            break;
        }
        if (i == 1) {
            return false;
        }
    }
    while (**at != '\0' && **at != '/') {
        const char *verb = strchr(verbs, **at);
        if (verb == NULL || program->count == SIM_ORDER_OPERATIONS_MAX) {
            return false;
        }
        (*at)++;
        uint8_t keys = parse_keys(at);
        if (keys == 0) {
            return false;
        }
        program->operations[program->count++] =
            (struct sim_order_operation){(uint8_t)(verb - verbs), keys};
    }
    return true;
}

static bool parse_case(const char **at, struct sim_order_case *of) {
    if (**at < '1' || **at > (char)('0' + SIM_ORDER_BLOCKS_MAX)) {
        return false;
    }
    of->blocks = (uint8_t)(*(*at)++ - '0');
    of->present = parse_keys(at);
    if (__builtin_popcount(of->present) > of->blocks) {
        return false;
    }
    for (unsigned i = 0; i < SIM_ORDER_CLIENTS; i++) {
        if (*(*at)++ != '/' || !parse_program(at, &of->programs[i])) {
            return false;
        }
    }
    return true;
}

static bool parse_event(const char **at, struct sim_order_event *event) {
    bool is_clients = **at >= '1' && **at < (char)('1' + SIM_ORDER_CLIENTS);
    event->client = is_clients ? (uint8_t)(*(*at)++ - '1') : 0;
    const char *step = **at == '\0' ? NULL : strchr(steps, **at);
    if (step == NULL || is_clients != (step - steps < SIM_ORDER_EVICT)) {
        return false;
    }
    event->step = (uint8_t)(step - steps);
    (*at)++;
    return true;
}

bool sim_order_parse(const char *text, struct sim_order *order) {
    struct sim_order new = {0};
    if (!parse_case(&text, &new.of)) {
        return false;
    }
    if (*text == '/') {
        text++;
    } else if (*text != '\0') {
        return false;
    }
    while (*text != '\0') {
        if (new.count == SIM_ORDER_EVENTS_MAX || !parse_event(&text, &new.events[new.count++])) {
            return false;
        }
    }
    *order = new;
    return true;
}

/* ---- out ----------------------------------------------------------------------------------------------- */

static char *print_keys(char *at, unsigned keys) {
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        if ((keys >> key & 1) != 0) {
            *at++ = (char)('A' + key);
        }
    }
    return at;
}

_Static_assert(SIM_ORDER_TEXT_BYTES >
                   2 + SIM_ORDER_KEYS + SIM_ORDER_EVENTS_MAX * 2 +
                       SIM_ORDER_CLIENTS * (6 + SIM_ORDER_OPERATIONS_MAX * (1 + SIM_ORDER_KEYS)),
               "the longest order has room");

void sim_order_print(const struct sim_order *order, char text[SIM_ORDER_TEXT_BYTES]) {
    char *at = text;
    *at++ = (char)('0' + order->of.blocks);
    at = print_keys(at, order->of.present);
    for (unsigned i = 0; i < SIM_ORDER_CLIENTS; i++) {
        const struct sim_order_program *program = &order->of.programs[i];
        *at++ = '/';
        at = stpcpy(at, transports[program->rdma]);
        for (size_t k = 0; k < program->count; k++) {
            *at++ = verbs[program->operations[k].verb];
            at = print_keys(at, program->operations[k].keys);
        }
    }
    if (order->count > 0) {
        *at++ = '/';
    }
    for (size_t i = 0; i < order->count; i++) {
        if (order->events[i].step < SIM_ORDER_EVICT) {
            *at++ = (char)('1' + order->events[i].client);
        }
        *at++ = steps[order->events[i].step];
    }
    *at = '\0';
}

const char *sim_order_step_words(enum sim_order_step step) {
    static const char *const words[] = {
        [SIM_ORDER_HEAD] = "the head of a request arrives",
        [SIM_ORDER_MIDDLE] = "a request arrives up to the middle of its values",
        [SIM_ORDER_ARRIVE] = "a request is all there",
        [SIM_ORDER_SEND_SOME] = "some of what is queued leaves",
        [SIM_ORDER_SEND] = "all that is queued leaves",
        [SIM_ORDER_WORK] = "a work request is handed out",
        [SIM_ORDER_COMPLETE] = "the queue pair has done something",
        [SIM_ORDER_CUT] = "cut",
        [SIM_ORDER_LAND] = "a work request of the broken queue pair moves its bytes",
        [SIM_ORDER_BURY] = "the broken queue pair is gone",
        [SIM_ORDER_EVICT] = "an entry is evicted",
        [SIM_ORDER_TIME] = "time passes",
    };
    return words[step];
}

const char *sim_order_verb_words(enum sim_order_verb verb) {
    static const char *const words[] = {"put", "put if absent", "get", "remove"};
    return words[verb];
}

const char *sim_order_keys_words(unsigned keys) {
    static const char *const words[] = {"nothing", "A", "B", "A and B"};
    return words[keys];
}

/* Seeds of the target `verbs`: conversations over each kind of link, odd devices, and each kind of trouble in them. */
#include "fuzz/verbs.h"

#include <stdio.h>

#include "sim/hca/hca.h"

/* ---- what the mutator invents ----------------------------------------------------------------------------- */

void verbs_invent(struct script *script, struct fuzz_input *random) {
    uint8_t what = fuzz_u8(random), argument = fuzz_u8(random);
    struct ist_span choices = fuzz_take(random, fuzz_u8(random) % 24);
    if (what < 60) {
        script_record(script, VERBS_MESSAGES, argument, choices.data, choices.bytes);
    } else if (what < 120) {
        script_record(script, VERBS_WORK, argument, choices.data, choices.bytes);
    } else if (what < 140) {
        script_record(script, VERBS_RAW, argument, choices.data, choices.bytes);
    } else if (what < 160) {
        script_record(script, VERBS_PAIR, argument, NULL, 0);
        script_record(script, VERBS_CONNECT, argument, choices.data, what % 2 == 0 ? 0 : choices.bytes);
        return;
    } else {
        script_record(script, what % VERBS_KINDS, argument, choices.data, choices.bytes);
    }
    script_record(script, VERBS_FLUSH, argument, NULL, 0);
    if (what % 2 == 0) {
        script_record(script, VERBS_RUN, 0, choices.data, what % 4);
        script_record(script, VERBS_POLL, argument, NULL, 0);
    }
}

/* ---- stories ---------------------------------------------------------------------------------------------- */

static void write_options(struct script *script, uint8_t seed, const uint8_t *a, const uint8_t *b) {
    uint8_t options[VERBS_OPTION_BYTES] = {seed};
    script->bytes = 0;
    memcpy(options + 2, a, VERBS_DEVICE_BYTES);
    memcpy(options + 2 + VERBS_DEVICE_BYTES, b, VERBS_DEVICE_BYTES);
    script_bytes(script, options, sizeof(options));
}

/* Both sides are open, have memory in two parts, and a queue pair to the other's. */
static void write_opening(struct script *script, uint8_t requests, uint8_t messages) {
    for (uint8_t side = 0; side < 2; side++) {
        const uint8_t shape[] = {0, 0, 0, 0, 2, requests, messages, 0};
        const uint8_t meet[] = {0x21, 0x10};
        script_record(script, VERBS_OPEN, side, shape, sizeof(shape));
        script_record(script, VERBS_REGISTER, VERBS_ARGUMENT(side, 0, 0, 1), meet, sizeof(meet));
        script_record(script, VERBS_PAIR, VERBS_ARGUMENT(side, 0, 0, 1), NULL, 0);
    }
    for (uint8_t side = 0; side < 2; side++) {
        script_record(script, VERBS_CONNECT, side, NULL, 0);
    }
}

static void write_run(struct script *script, uint8_t steps) {
    const uint8_t count[] = {steps, 0};
    script_record(script, VERBS_RUN, 0, count, sizeof(count));
}

static void write_talk(struct script *script, uint8_t rounds) {
    for (uint8_t i = 0; i < rounds; i++) {
        const uint8_t side = i % 2, keep = i % 3 == 0;
        const uint8_t messages[] = {i, 0, (uint8_t)(7 * i), 1, 255, 1};
        const uint8_t works[] = {0, i, 2, 9, 3, 0, 1, 200, 1, 33, 15, 0};
        script_record(script, VERBS_MESSAGES, side, messages, sizeof(messages));
        script_record(script, VERBS_WORK, side, works, sizeof(works));
        script_record(script, VERBS_FLUSH, side, NULL, 0);
        write_run(script, (uint8_t)(i * 13));
        script_record(script, VERBS_POLL, VERBS_ARGUMENT(side, 0, 0, keep), NULL, 0);
        script_record(script, VERBS_POLL, side ^ 1, NULL, 0);
        script_record(script, VERBS_GIVE_BACK, side, "\2", 1);
        script_record(script, VERBS_EVENTS, side, NULL, 0);
    }
}

static const uint8_t usual[VERBS_DEVICE_BYTES];

static void links(fuzz_seed_fn seed, struct script *script) {
    for (uint8_t kind = 0; kind < 8; kind++) {
        const char name[] = {'l', 'i', 'n', 'k', (char)('0' + kind), '\0'};
        const uint8_t device[VERBS_DEVICE_BYTES] = {kind, [3] = kind};
        write_options(script, kind, device, device);
        write_opening(script, (uint8_t)(3 + kind), (uint8_t)(2 + 3 * kind));
        script_record(script, VERBS_SURVEY, 0, NULL, 0);
        write_talk(script, 6);
        seed(name, script->data, script->bytes);
    }
}

static void odd_devices(fuzz_seed_fn seed, struct script *script) {
    for (uint8_t field = 4; field < 14; field++) {
        const char name[] = {'o', 'd', 'd', '_', (char)('a' + field), '\0'};
        uint8_t zero[VERBS_DEVICE_BYTES] = {0}, huge[VERBS_DEVICE_BYTES] = {0};
        zero[field] = 1;
        huge[field] = field % 2 == 0 ? 12 : 14;
        write_options(script, field, zero, huge);
        write_opening(script, 4, 4);
        write_talk(script, 3);
        seed(name, script->data, script->bytes);
    }
    /* GIDs of all kinds, each port state */
    for (uint8_t i = 0; i < 5; i++) {
        const char name[] = {'g', 'i', 'd', 's', (char)('0' + i), '\0'};
        uint8_t device[VERBS_DEVICE_BYTES] = {2, i, (uint8_t)(4 - i)};
        for (uint8_t k = 0; k < 6; k++) {
            device[14 + 3 * k] = (uint8_t)(k + 5 * i);
            device[15 + 3 * k] = k * i;
            device[16 + 3 * k] = 1 + k;
        }
        write_options(script, i, device, usual);
        write_opening(script, 4, 4);
        write_talk(script, 2);
        const uint8_t open[] = {1, i, 1, (uint8_t)(i + 1)};
        script_record(script, VERBS_OPEN, 0, open, sizeof(open));
        script_record(script, VERBS_SURVEY, 0, NULL, 0);
        seed(name, script->data, script->bytes);
    }
}

/* A peer that lies about itself, and one that posts what it wants. */
static void hostile(fuzz_seed_fn seed, struct script *script) {
    for (uint8_t where = 0; where < 9; where++) {
        const char name[] = {'l', 'i', 'e', (char)('0' + where), '\0'};
        const uint8_t device[VERBS_DEVICE_BYTES] = {where % 2};
        write_options(script, where, device, device);
        write_opening(script, 4, 4);
        for (uint8_t pair = 1; pair < 3; pair++) {
            const uint8_t lie[] = {where, pair == 1 ? 11 : 1};
            script_record(script, VERBS_PAIR, VERBS_ARGUMENT(0, pair, 0, 0), NULL, 0);
            script_record(script, VERBS_CONNECT, VERBS_ARGUMENT(0, pair, 0, 0), lie, sizeof(lie));
            script_record(script, VERBS_MESSAGES, VERBS_ARGUMENT(0, pair, 0, 0), lie, sizeof(lie));
            script_record(script, VERBS_FLUSH, VERBS_ARGUMENT(0, pair, 0, 0), NULL, 0);
        }
        write_talk(script, 3);
        seed(name, script->data, script->bytes);
    }
    for (uint8_t operation = 0; operation < 5; operation++) {
        const char name[] = {'r', 'a', 'w', (char)('0' + operation), '\0'};
        write_options(script, operation, usual, usual);
        write_opening(script, 15, 3);
        for (uint8_t i = 0; i < 6; i++) {
            const uint8_t raw[] = {operation, (uint8_t)(i * 50), i / 2, 255, 255, 255,
                                   i,         i == 5 ? 255 : 0};
            script_record(script, VERBS_RAW, 1, raw, sizeof(raw));
            write_run(script, 200);
            script_record(script, VERBS_POLL, 0, NULL, 0);
        }
        write_talk(script, 2);
        seed(name, script->data, script->bytes);
    }
}

/* Between the rounds of a talk. */
static void write_trouble(struct script *script, uint8_t seed, uint8_t kind, uint8_t argument,
                          const uint8_t *data, size_t bytes) {
    const uint8_t device[VERBS_DEVICE_BYTES] = {seed % 2};
    write_options(script, seed, device, device);
    write_opening(script, 6, 6);
    write_talk(script, 3);
    script_record(script, kind, argument, data, bytes);
    write_talk(script, 3);
    script_record(script, VERBS_PAIR, VERBS_ARGUMENT(0, 1, 0, 1), NULL, 0);
    script_record(script, VERBS_REGISTER, VERBS_ARGUMENT(1, 0, 0, 1), "\1\0", 2);
    script_record(script, VERBS_SURVEY, 0, NULL, 0);
    write_opening(script, 6, 6);
    write_talk(script, 1);
}

static void troubles(fuzz_seed_fn seed, struct script *script) {
    char name[16];
    for (uint8_t what = 0; what < 12; what++) {
        const uint8_t fault[] = {what, (uint8_t)(what == 7 ? 30 : 2 + what % 2)};
        snprintf(name, sizeof(name), "fault%u", what);
        write_trouble(script, what, VERBS_FAULT, 0, fault, sizeof(fault));
        seed(name, script->data, script->bytes);
    }
    for (uint8_t call = 0; call < 12; call++) { /* the last: an allocation */
        const uint8_t fail[] = {(uint8_t)(1u << call), (uint8_t)(1u << call >> 8), call == 1 ? 0 : 1};
        snprintf(name, sizeof(name), "fail%u", call);
        write_trouble(script, call, VERBS_FAIL, 0, call < 11 ? fail : (const uint8_t *)"\0\0\3", 3);
        seed(name, script->data, script->bytes);
    }
    for (uint8_t what = 0; what < 4; what++) {
        const uint8_t odd[] = {what, 0, 7, (uint8_t)(what * 40), 0, 0};
        snprintf(name, sizeof(name), "memory%u", what);
        write_trouble(script, what, VERBS_REGISTER, VERBS_ARGUMENT(0, 0, 0, 4), odd, sizeof(odd));
        seed(name, script->data, script->bytes);
    }
    write_trouble(script, 1, VERBS_BREAK, 0, NULL, 0);
    seed("break", script->data, script->bytes);
    write_trouble(script, 2, VERBS_FREE, 1, NULL, 0);
    seed("free", script->data, script->bytes);
}

void fuzz_seeds(fuzz_seed_fn seed) {
    struct script script = {0};
    links(seed, &script);
    odd_devices(seed, &script);
    hostile(seed, &script);
    troubles(seed, &script);
    script_free(&script);
}

#include "sim/order_cases.h"

#include <string.h>

#include "base/assert.h"

#define PRESENTS 4u /* what may be there: a bit for each key */

struct alphabet {
    struct sim_order_operation letters[SIM_ORDER_VERBS * 3];
    unsigned count;
};

static struct alphabet alphabet_of(const struct sim_order_scope *scope) {
    struct alphabet alphabet = {.count = 0};
    for (unsigned verb = 0; verb < SIM_ORDER_VERBS; verb++) {
        for (unsigned keys = 1; keys < (scope->pairs ? 4u : 3u) && (scope->verbs >> verb & 1) != 0;
             keys++) {
            alphabet.letters[alphabet.count++] =
                (struct sim_order_operation){(uint8_t)verb, (uint8_t)keys};
        }
    }
    return alphabet;
}

/* Programs of one transport, counted: those of one operation, of two, ... */
static uint64_t programs_of(const struct alphabet *alphabet, unsigned operations_max) {
    uint64_t sum = 0, power = 1;
    for (unsigned i = 0; i < operations_max; i++) {
        power *= alphabet->count;
        sum += power;
    }
    return sum;
}

/* number: of all programs of both transports. */
static struct sim_order_program program_at(const struct alphabet *alphabet, uint64_t programs,
                                           uint64_t number) {
    struct sim_order_program program = {.rdma = number >= programs, .count = 1};
    uint64_t power = alphabet->count;
    number %= programs;
    while (number >= power) {
        number -= power;
        power *= alphabet->count;
        program.count++;
    }
    for (unsigned i = 0; i < program.count; i++) {
        program.operations[i] = alphabet->letters[number % alphabet->count];
        number /= alphabet->count;
    }
    return program;
}

/* ---- what is the same by another name ------------------------------------------------------------------------ */

static uint8_t swapped_keys(unsigned keys) {
    return (uint8_t)((keys & 1) << 1 | keys >> 1);
}

static struct sim_order_case swapped(const struct sim_order_case *of, bool clients, bool keys) {
    struct sim_order_case other = *of;
    for (unsigned i = 0; i < SIM_ORDER_CLIENTS; i++) {
        other.programs[i] = of->programs[clients ? 1 - i : i];
        for (unsigned k = 0; k < other.programs[i].count && keys; k++) {
            struct sim_order_operation *operation = &other.programs[i].operations[k];
            operation->keys = swapped_keys(operation->keys);
        }
    }
    other.present = keys ? swapped_keys(of->present) : of->present;
    return other;
}

static bool is_before(const struct sim_order_case *of, const struct sim_order_case *other) {
    char text[SIM_ORDER_TEXT_BYTES], other_text[SIM_ORDER_TEXT_BYTES];
    struct sim_order order = {.of = *of}, other_order = {.of = *other};
    sim_order_print(&order, text);
    sim_order_print(&other_order, other_text);
    return strcmp(text, other_text) < 0;
}

static bool is_first_of_its_like(const struct sim_order_case *of) {
    for (unsigned i = 1; i < 4; i++) {
        struct sim_order_case other = swapped(of, (i & 1) != 0, (i & 2) != 0);
        if (is_before(&other, of)) {
            return false;
        }
    }
    return true;
}

/* ---- one after the other --------------------------------------------------------------------------------------- */

void sim_order_cases_init(struct sim_order_cases *cases, const struct sim_order_scope *scope) {
    IST_ASSERT(scope->operations_max >= 1 && scope->operations_max <= SIM_ORDER_OPERATIONS_MAX);
    IST_ASSERT(scope->blocks_min >= 1 && scope->blocks_max <= SIM_ORDER_BLOCKS_MAX);
    *cases = (struct sim_order_cases){.scope = *scope};
}

bool sim_order_cases_next(struct sim_order_cases *cases, struct sim_order_case *of) {
    const struct sim_order_scope *scope = &cases->scope;
    const struct alphabet alphabet = alphabet_of(scope);
    uint64_t programs = programs_of(&alphabet, scope->operations_max), both = 2 * programs;
    uint64_t pools = (uint64_t)(scope->blocks_max - scope->blocks_min + 1) * PRESENTS;
    while (cases->next < both * both * pools) {
        uint64_t number = cases->next++;
        struct sim_order_case new = {
            .blocks = (uint8_t)(scope->blocks_min + number % pools / PRESENTS),
            .present = (uint8_t)(number % PRESENTS),
            .programs = {program_at(&alphabet, programs, number / pools % both),
                         program_at(&alphabet, programs, number / pools / both)},
        };
        if (new.programs[0].count + new.programs[1].count <= scope->total_max &&
            (unsigned)__builtin_popcount(new.present) <= new.blocks && is_first_of_its_like(&new)) {
            *of = new;
            return true;
        }
    }
    return false;
}

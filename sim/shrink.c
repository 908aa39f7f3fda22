#include "sim/shrink.h"

#include <inttypes.h>
#include <stdlib.h>

#include "sim/child.h"
#include "sim/memory.h"

#define RUNS_MAX 2000u

/* What is left out of one kind of numbers. */
struct cut {
    struct sim_mask *mask; /* of the command */
    bool *out;             /* of each number */
    size_t count;
};

struct shrink {
    struct sim_command command;
    unsigned runs;
};

/* As ranges. False: too many. */
static bool write_mask(const struct cut *cut) {
    cut->mask->count = 0;
    for (size_t i = 0; i < cut->count; i++) {
        struct sim_range *last =
            cut->mask->count == 0 ? NULL : &cut->mask->ranges[cut->mask->count - 1];
        if (!cut->out[i]) {
            continue;
        }
        if (last != NULL && last->to == i) {
            last->to++;
        } else if (cut->mask->count == SIM_RANGES_MAX) {
            return false;
        } else {
            cut->mask->ranges[cut->mask->count++] = (struct sim_range){i, i + 1};
        }
    }
    return true;
}

static bool still_fails(struct shrink *shrink) {
    struct sim_figures figures;
    shrink->runs++;
    return !sim_child_run(&shrink->command, shrink->command.from, true, &figures);
}

/* Leaves [from, to) out, if it still fails without. */
static bool try_without(struct shrink *shrink, struct cut *cut, size_t from, size_t to) {
    bool *before = sim_memory_new(cut->count, sizeof(bool));
    bool changes = false;
    for (size_t i = 0; i < cut->count; i++) {
        before[i] = cut->out[i];
        if (i >= from && i < to && !cut->out[i]) {
            cut->out[i] = changes = true;
        }
    }
    bool fails = changes && write_mask(cut) && still_fails(shrink);
    for (size_t i = 0; i < cut->count && !fails; i++) {
        cut->out[i] = before[i];
    }
    if (!fails) {
        (void)write_mask(cut);
    }
    free(before);
    return fails;
}

/* Halves, quarters, and so on. Source: Zeller, "Yesterday, my program worked. Today, it does not. Why?", 1999, the
 * simple part of it. */
static void shrink_numbers(struct shrink *shrink, struct cut *cut) {
    for (size_t piece = cut->count; piece >= 1 && shrink->runs < RUNS_MAX; piece /= 2) {
        for (size_t at = 0; at < cut->count && shrink->runs < RUNS_MAX; at += piece) {
            size_t to = at + piece < cut->count ? at + piece : cut->count;
            (void)try_without(shrink, cut, at, to);
        }
    }
}

static size_t left_of(const struct cut *cut) {
    size_t left = 0;
    for (size_t i = 0; i < cut->count; i++) {
        left += !cut->out[i];
    }
    return left;
}

static void init_cut(struct cut *cut, struct sim_mask *mask, size_t count) {
    *cut = (struct cut){mask, sim_memory_new(count, sizeof(bool)), count};
    for (size_t i = 0; i < count; i++) {
        cut->out[i] = sim_mask_has(mask, i);
    }
}

int sim_shrink_command(const struct sim_command *command) {
    struct shrink shrink = {.command = *command};
    struct sim_plan plan;
    sim_plan_draw(&plan, command->from);
    if (!still_fails(&shrink)) {
        fprintf(stderr, "seed %" PRIu64 " does not fail\n", command->from);
        return EXIT_FAILURE;
    }
    struct cut operations, fault_cut;
    init_cut(&operations, &shrink.command.skip_operations, (size_t)plan.operations);
    init_cut(&fault_cut, &shrink.command.skip_faults, (size_t)plan.faults_max);
    for (unsigned round = 0; round < 2; round++) {
        shrink_numbers(&shrink, &fault_cut);
        shrink_numbers(&shrink, &operations);
    }
    struct sim_figures figures;
    (void)sim_child_run(&shrink.command, command->from, false, &figures);
    fprintf(stderr, "%zu of %zu operations and %zu of at most %zu faults are left, after %u runs\n",
            left_of(&operations), operations.count, left_of(&fault_cut), fault_cut.count, shrink.runs);
    free(operations.out);
    free(fault_cut.out);
    return EXIT_SUCCESS;
}

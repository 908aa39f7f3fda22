#include "sim/sweep.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "sim/child.h"
#include "sim/memory.h"

static double seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void sim_figures_add(struct sim_figures *sum, const struct sim_figures *figures) {
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(figures->digest >> (8 * i));
    }
    sum->digest = ist_hash((struct ist_hash_key){sum->digest, 0}, ist_span_of(bytes, 8));
    sum->operations += figures->operations;
    sum->remote += figures->remote;
    sum->keys += figures->keys;
    sum->faults += figures->faults;
    sum->events += figures->events;
    sum->virtual_ns += figures->virtual_ns;
    sum->bytes += figures->bytes;
    sum->evicted += figures->evicted;
}

/* The ring's children end in the order of their seeds, so that the digest is of that order. */
void sim_sweep_run(const struct sim_command *command, struct sim_sweep *sweep) {
    struct sim_child *ring = sim_memory_new(command->jobs, sizeof(*ring));
    *sweep = (struct sim_sweep){0};
    uint64_t begun = command->from, ended = command->from;
    while (ended < begun || (begun <= command->to && !sweep->failed)) {
        while (begun <= command->to && begun - ended < command->jobs && !sweep->failed) {
            sim_child_start(&ring[begun % command->jobs], command, begun, true);
            begun++;
        }
        struct sim_figures figures;
        bool well = sim_child_wait(&ring[ended % command->jobs], &figures);
        if (well && !sweep->failed) {
            sim_figures_add(&sweep->sum, &figures);
            sweep->seeds++;
        } else if (!well && !sweep->failed) {
            sweep->failed = true;
            sweep->failed_seed = ended;
            sweep->seeds++;
        }
        ended++;
    }
    free(ring);
}

int sim_sweep_command(const struct sim_command *command) {
    struct sim_sweep sweep;
    double begin = seconds();
    sim_sweep_run(command, &sweep);
    const struct sim_figures *sum = &sweep.sum;
    if (sweep.failed) {
        struct sim_figures figures;
        if (sim_child_run(command, sweep.failed_seed, false, &figures)) {
            fprintf(stderr, "seed %" PRIu64 " failed, and not when it was run again\n",
                    sweep.failed_seed);
        }
        printf("seed %" PRIu64 " FAILED, %" PRIu64 " before it passed\n", sweep.failed_seed,
               sweep.seeds - 1);
        return EXIT_FAILURE;
    }
    printf("%" PRIu64 " seeds passed in %.1f s: %" PRIu64 " requests (%" PRIu64 " over RDMA), %" PRIu64
           " keys, %" PRIu64 " faults, %" PRIu64 " events, %" PRIu64
           " evictions, %.0f s of virtual time; digest %016" PRIx64 "\n",
           sweep.seeds, seconds() - begin, sum->operations, sum->remote, sum->keys, sum->faults,
           sum->events, sum->evicted, (double)sum->virtual_ns / 1e9, sum->digest);
    return EXIT_SUCCESS;
}

int sim_sweep_canaries(const struct sim_command *command) {
    unsigned missed = 0, found = 0;
    for (size_t i = 1; sim_canary_name(i) != NULL; i++) {
        struct sim_command with = *command;
        struct sim_sweep sweep;
        if (command->canary != SIM_CANARY_NONE && (size_t)command->canary != i) {
            continue;
        }
        with.canary = (enum sim_canary)i;
        sim_sweep_run(&with, &sweep);
        if (sweep.failed) {
            found++;
            printf("%-22s found by seed %" PRIu64 "\n", sim_canary_name(i), sweep.failed_seed);
        } else {
            missed++;
            printf("%-22s MISSED by %" PRIu64 " seeds\n", sim_canary_name(i), sweep.seeds);
        }
        fflush(stdout);
    }
    printf("%u canaries found, %u missed\n", found, missed);
    return missed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

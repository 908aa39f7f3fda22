/* infinistore-sim: the real engine, store, wire and client in virtual time. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/calibrate.h"
#include "sim/command.h"
#include "sim/orders.h"
#include "sim/perf.h"
#include "sim/policy.h"
#include "sim/shrink.h"
#include "sim/speed.h"
#include "sim/sweep.h"

static int run_seeds(const struct sim_command *command) {
    for (uint64_t seed = command->from; seed <= command->to; seed++) {
        struct sim_figures figures;
        struct sim_plan plan;
        sim_plan_draw(&plan, seed);
        printf("seed %" PRIu64
               ": %u prefill and %u decode nodes, %u servers%s; workload %s, values up to %" PRIu64
               " bytes in pools of %" PRIu64 "\n",
               seed, plan.prefills, plan.decodes, plan.servers, plan.rdma ? ", RDMA" : "",
               sim_workload_name(command->trace_path != NULL ? SIM_WORKLOAD_TRACE : plan.workload),
               plan.value_bytes_max, plan.pool_bytes);
        sim_command_run(command, seed, &figures);
        printf("seed %" PRIu64 " passed: %" PRIu64 " requests, %" PRIu64 " keys, %" PRIu64
               " faults, %" PRIu64 " events, %" PRIu64
               " evictions, %.3f s of virtual time; digest %016" PRIx64 "\n",
               seed, figures.operations, figures.keys, figures.faults, figures.events, figures.evicted,
               (double)figures.virtual_ns / 1e9, figures.digest);
    }
    return EXIT_SUCCESS;
}

/* What one run frees the next one takes: the kernel is not asked for the same pages again and again. */
static void keep_memory(void) {
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
    (void)mallopt(M_TOP_PAD, 1 << 20);
}

int main(int argc, char **argv) {
    keep_memory();
    struct sim_command command;
    if (argc >= 2 && strcmp(argv[1], "policy") == 0) {
        return sim_policy_command(argc - 1, argv + 1);
    }
    if (argc >= 2 && strcmp(argv[1], "perf") == 0) {
        return sim_perf_command(argc - 1, argv + 1);
    }
    if (argc >= 2 && strcmp(argv[1], "calibrate") == 0) {
        return sim_calibrate_command(argc - 1, argv + 1);
    }
    if (argc >= 2 && strcmp(argv[1], "orders") == 0) {
        return sim_orders_command(argc - 1, argv + 1);
    }
    int outcome = sim_command_parse(&command, argc, argv);
    if (outcome != 0) {
        return outcome - 1;
    }
    switch (command.task) {
    case SIM_TASK_RUN: return run_seeds(&command);
    case SIM_TASK_SWEEP: return sim_sweep_command(&command);
    case SIM_TASK_SHRINK: return sim_shrink_command(&command);
    case SIM_TASK_CANARY: return sim_sweep_canaries(&command);
    case SIM_TASK_SPEED: return sim_speed_command(&command);
    }
    return EXIT_FAILURE;
}

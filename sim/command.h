/* What the command line asks for. */
#ifndef IST_SIM_COMMAND_H
#define IST_SIM_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/blocks.h"
#include "sim/canary.h"
#include "sim/world.h"

enum sim_task {
    SIM_TASK_RUN,
    SIM_TASK_SWEEP,
    SIM_TASK_SHRINK,
    SIM_TASK_CANARY,
    SIM_TASK_SPEED,
};

struct sim_command {
    enum sim_task task;
    uint64_t from, to; /* seeds; the same: one */
    unsigned jobs;
    enum sim_canary canary;
    bool log;
    struct sim_mask skip_operations, skip_faults;
    bool calm;
    uint64_t operations;     /* 0: as many as the seed says */
    const char *trace_path;  /* NULL: the seed's workload */
    struct sim_blocks trace; /* for the rest of the process */
};

/* Returns 0: to be done; else what to exit with, plus 1, and a line was printed. */
int sim_command_parse(struct sim_command *command, int argc, char **argv);

#define SIM_REPLAY_BYTES 16384u
/* The line that runs this seed again. */
void sim_command_replay(const struct sim_command *command, uint64_t seed, char line[SIM_REPLAY_BYTES]);

/* One run, here and now. One that fails does not return. */
void sim_command_run(const struct sim_command *command, uint64_t seed, struct sim_figures *figures);

#endif

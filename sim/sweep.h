/* Many seeds, several at a time. */
#ifndef IST_SIM_SWEEP_H
#define IST_SIM_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/command.h"

struct sim_sweep {
    uint64_t seeds;       /* that were run */
    uint64_t failed_seed; /* the least of those that failed, when `failed` */
    bool failed;
    struct sim_figures sum; /* of those that did not */
};

/* The sum's digest is of all that were added, in order. */
void sim_figures_add(struct sim_figures *sum, const struct sim_figures *figures);

/* Until one fails. */
void sim_sweep_run(const struct sim_command *command, struct sim_sweep *sweep);

/* The commands. Each returns what to exit with. */
int sim_sweep_command(const struct sim_command *command);
int sim_sweep_canaries(const struct sim_command *command);

#endif

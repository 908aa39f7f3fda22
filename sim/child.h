/* A run in a process of its own, so that whatever happens in it is an outcome: a failed check, an assertion, a crash,
 * a sanitizer's report, a loop without end. */
#ifndef IST_SIM_CHILD_H
#define IST_SIM_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "sim/command.h"
#include "sim/world.h"

#define SIM_CHILD_SECONDS_MAX 120u /* of processor time: a run takes some milliseconds */

struct sim_child {
    pid_t process; /* 0: none */
    int pipe;      /* its figures, when it ends well */
    uint64_t seed;
};

/* quiet: what it prints is thrown away. Ends the program when there can be no process. */
void sim_child_start(struct sim_child *child, const struct sim_command *command, uint64_t seed,
                     bool quiet);
/* Waits for it. False: the run failed. */
bool sim_child_wait(struct sim_child *child, struct sim_figures *figures);

/* Both at once. */
bool sim_child_run(const struct sim_command *command, uint64_t seed, bool quiet,
                   struct sim_figures *figures);

#endif

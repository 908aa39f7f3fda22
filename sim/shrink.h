/* A run that fails, with as few operations and faults as still make it fail. */
#ifndef IST_SIM_SHRINK_H
#define IST_SIM_SHRINK_H

#include "sim/command.h"

/* Returns what to exit with: 0 when it fails, and was shrunk. */
int sim_shrink_command(const struct sim_command *command);

#endif

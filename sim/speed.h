/* How many keys a second the core rig does: requests judged one by one, invariants walked as often as in a sweep. */
#ifndef IST_SIM_SPEED_H
#define IST_SIM_SPEED_H

#include "sim/command.h"

/* Every seed's run, one after the other in this process; time is what the processor spent on them, whoever else uses it.
 * Returns what to exit with; a run that fails does not return. */
int sim_speed_command(const struct sim_command *command);

#endif

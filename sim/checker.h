/* The judge: every answer against the history, whatever it says. What cannot be ends the run. */
#ifndef IST_SIM_CHECKER_H
#define IST_SIM_CHECKER_H

struct sim_operation;
struct sim_world;

/* The operation has ended; its window, status and life are set. */
void sim_checker_judge(struct sim_world *world, struct sim_operation *operation);

#endif

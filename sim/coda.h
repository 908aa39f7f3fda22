/* When all is healed and nothing is in flight: one request at a time, each answer as sim/model says, exactly. It ends
 * with the first eviction, which the model does not foresee. */
#ifndef IST_SIM_CODA_H
#define IST_SIM_CODA_H

struct sim_operation;
struct sim_world;
struct sim_coda;

/* With every server. */
void sim_coda_run(struct sim_world *world);
/* An operation of it has ended. */
void sim_coda_done(struct sim_coda *coda, const struct sim_operation *operation);

#endif

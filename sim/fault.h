/* What goes wrong on purpose. */
#ifndef IST_SIM_FAULT_H
#define IST_SIM_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct sim_world;

enum sim_fault_kind {
    SIM_FAULT_CUT,           /* a connection, at once */
    SIM_FAULT_SILENCE,       /* half-open: both ends believe it alive for a while */
    SIM_FAULT_STALL,         /* a connection delivers nothing for a while */
    SIM_FAULT_SLOW_READER,   /* a client takes a few bytes now and then */
    SIM_FAULT_SERVER_CRASH,  /* and restarts, empty */
    SIM_FAULT_SERVER_DRAIN,  /* ends as on SIGTERM, and restarts */
    SIM_FAULT_CLIENT_CRASH,  /* whatever it is doing */
    SIM_FAULT_SERVER_MEMORY, /* allocations fail */
    SIM_FAULT_CLIENT_MEMORY,
    SIM_FAULT_SERVER_CLOCK, /* jumps forward */
    SIM_FAULT_CLIENT_CLOCK,
    SIM_FAULT_EVICT, /* an administrator's, or the periodic one */
    SIM_FAULT_PURGE, /* an administrator's */
    SIM_FAULT_RDMA,  /* of a device, its link, a queue pair, a verbs call */
};
#define SIM_FAULTS 14u

const char *sim_fault_name(enum sim_fault_kind kind);

/* The `number`th of the run: what, to whom and how long is its own stream's matter. */
void sim_fault_happen(struct sim_world *world, uint64_t number);
/* Nothing new goes wrong, and what goes wrong still ends. */
void sim_fault_heal(struct sim_world *world);

#endif

/* One run: nodes, servers, network, faults and oracle, from the seed to the verdict. */
#ifndef IST_SIM_WORLD_H
#define IST_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/coda.h"
#include "sim/fabric.h"
#include "sim/history.h"
#include "sim/journal.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/plan.h"
#include "sim/rdma.h"
#include "sim/server.h"
#include "sim/traffic.h"

enum sim_phase { SIM_PHASE_SAFETY, SIM_PHASE_HEALING, SIM_PHASE_CODA, SIM_PHASE_END };

/* Numbers [from, to). */
struct sim_range {
    uint64_t from, to;
};
#define SIM_RANGES_MAX 512u
struct sim_mask {
    struct sim_range ranges[SIM_RANGES_MAX];
    size_t count;
};
bool sim_mask_has(const struct sim_mask *mask, uint64_t number);

struct sim_options {
    uint64_t seed;
    bool log;                                     /* tell everything */
    struct sim_mask skip_operations, skip_faults; /* as if they had not been drawn */
    uint64_t operations;                          /* 0: as many as the seed says */
    bool calm;                                    /* no faults, no RDMA, whatever the seed says */
    const struct sim_blocks *trace;               /* NULL: the seed's workload */
    const char *replay;                           /* what to print when it fails */
};

struct sim_world {
    const struct sim_options *options;
    struct sim_plan plan;
    struct sim_fabric fabric;
    struct sim_network network;
    struct sim_rdma_fabric rdma;
    struct sim_journal journal;
    struct sim_history *history;
    struct sim_traffic traffic;
    enum sim_phase phase;
    unsigned node_count;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_server servers[SIM_SERVERS_MAX];
    struct sim_event next_fault;
    struct sim_random fault_pace;
    uint64_t operations, faults; /* drawn */
    struct sim_coda *coda;       /* while it runs */
    uint64_t keys_done, operations_done, operations_remote;
};

struct sim_figures {
    uint64_t digest, operations, remote, keys, faults, events, virtual_ns, bytes, evicted;
};

/* A run that fails does not return: sim_fail(). */
void sim_world_run(const struct sim_options *options, struct sim_figures *figures);

/* For the others in this room. */
struct sim_random sim_world_operation_random(const struct sim_world *world, uint64_t number);

#endif

/* What one seed decides before a run begins: who there is, how large, how fast, how unlucky. */
#ifndef IST_SIM_PLAN_H
#define IST_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "sim/fault.h"
#include "sim/network.h"
#include "wire/frame.h"

#define SIM_SERVERS_MAX 3u
#define SIM_NODES_MAX 8u
#define SIM_LAYERS_MAX 4u

/* What the nodes do. */
enum sim_workload {
    SIM_WORKLOAD_MIXED,    /* every operation on popular keys */
    SIM_WORKLOAD_TREE,     /* prefixes from trees with popular roots, put layer by layer, then got */
    SIM_WORKLOAD_SESSIONS, /* the same from src/workload's generator: sessions of several turns */
    SIM_WORKLOAD_AGENTS,   /* the same with deep prefixes that grow block by block */
    SIM_WORKLOAD_HOT,      /* a few keys, overwritten again and again */
    SIM_WORKLOAD_GIANT,    /* few batches of thousands of keys */
    SIM_WORKLOAD_TRACE,    /* prompts of a trace: only when asked for */
};
#define SIM_WORKLOADS 6u /* that a seed draws from */
const char *sim_workload_name(enum sim_workload workload);

enum sim_key_style {
    SIM_KEYS_SHORT,
    SIM_KEYS_LONG,
    SIM_KEYS_BLOCK,     /* as the repository's traffic writes them */
    SIM_KEYS_COLLIDING, /* the hash's low and high bits are the same for all */
};

struct sim_plan {
    uint64_t seed;
    unsigned prefills, decodes, servers;
    unsigned depth; /* operations in flight of a node on a server */
    uint64_t operations;
    uint64_t pace_ns; /* between two submits of a node, on average */
    enum sim_workload workload;
    enum sim_key_style key_style;
    struct ist_hash_key hash_key;
    uint64_t keys;
    size_t batch_max;
    uint64_t value_bytes_max;
    unsigned layers;
    unsigned weights[IST_OPERATION_COUNT];
    unsigned deadline_permille; /* of operations that have one */
    uint64_t deadline_ns;       /* at most */

    uint64_t pool_bytes, pool_begin_bytes, min_block_bytes, granule_bytes;
    bool roomy; /* nothing is ever refused for want of room */
    uint32_t sessions_max, requests_in_flight_max;
    uint64_t queued_bytes_max, handshake_timeout_ns, progress_timeout_ns;
    size_t buffers_max, call_bytes_max; /* of one call of an edge */
    uint64_t check_every;               /* calls of the engine between two checks of all invariants */

    bool rdma, rdma_infiniband;
    uint64_t rdma_latency_ns;
    struct sim_network_config network;
    bool swift; /* the network is faster than what the engine insists on: no session is too slow */
    uint64_t fault_pace_ns; /* between two faults, on average; SIM_NEVER_NS: none */
    uint64_t faults_max;
    unsigned fault_weights[SIM_FAULTS];
    unsigned memory_failing_permille; /* while that fault lasts */
};

void sim_plan_draw(struct sim_plan *plan, uint64_t seed);

#endif

#include "sim/plan.h"

#include "base/assert.h"

#define MIB (1ull << 20)
/* Bounds on the time that a run takes: bytes that are moved, and how many calls that takes. */
#define VOLUME_BYTES_MAX (64 * MIB)
#define CALLS_MAX 200000u
#define JOB_BATCH 12u /* keys of a job's request, on average */
/* Several times IST_TRANSFER_BYTES_PER_SEC_MIN, for a connection whose every write is cut into so many pieces. */
#define SWIFT_BYTES_PER_US 5u
#define SWIFT_PIECES 4u

const char *sim_workload_name(enum sim_workload workload) {
    switch (workload) {
    case SIM_WORKLOAD_MIXED: return "mixed";
    case SIM_WORKLOAD_TREE: return "tree";
    case SIM_WORKLOAD_SESSIONS: return "sessions";
    case SIM_WORKLOAD_AGENTS: return "agents";
    case SIM_WORKLOAD_HOT: return "hot";
    case SIM_WORKLOAD_GIANT: return "giant";
    case SIM_WORKLOAD_TRACE: return "trace";
    }
    return "?";
}

/* Pieces as small as they may be, but not so many. */
static uint64_t draw_piece(const struct sim_plan *plan, struct sim_random *random, uint64_t most) {
    uint64_t batch = plan->batch_max < JOB_BATCH ? JOB_BATCH : plan->batch_max;
    uint64_t volume = plan->operations * batch * (plan->value_bytes_max + 100);
    return sim_random_scaled(random, 1, most) + volume / CALLS_MAX;
}

static void draw_network(struct sim_plan *plan, struct sim_random *random) {
    plan->network = (struct sim_network_config){
        .delay_ns = sim_random_scaled(random, 1 * SIM_US, 5 * SIM_MS),
        .bytes_per_us = sim_random_scaled(random, 10, 50000),
        .window_bytes = 512 + (size_t)draw_piece(plan, random, 256u << 10),
        .split_permille =
            sim_random_happens(random, 500) ? 0 : (unsigned)sim_random_below(random, 1000),
    };
    plan->network.jitter_ns =
        sim_random_happens(random, 300) ? 0 : sim_random_below(random, 4 * plan->network.delay_ns);
    plan->buffers_max = sim_random_happens(random, 300) ? 1 + (size_t)sim_random_below(random, 4) : 64;
    plan->call_bytes_max =
        sim_random_happens(random, 300) ? (size_t)draw_piece(plan, random, 4096) : SIZE_MAX / 64;
    /* What one call moves: of values, a quarter of the longest is common. */
    uint64_t call_bytes = plan->buffers_max * (plan->value_bytes_max / 4 + 1);
    call_bytes = call_bytes < plan->call_bytes_max ? call_bytes : plan->call_bytes_max;
    uint64_t flying = SIM_NETWORK_SEGMENTS_MAX * call_bytes / SWIFT_PIECES;
    flying = flying < plan->network.window_bytes ? flying : plan->network.window_bytes;
    uint64_t turn_us = 2 * (plan->network.delay_ns + plan->network.jitter_ns) / SIM_US + 1;
    plan->swift = flying / turn_us >= SWIFT_BYTES_PER_US;
}

static void draw_weights(struct sim_plan *plan, struct sim_random *random) {
    static const unsigned usual[IST_OPERATION_COUNT] = {
        [IST_OP_PUT] = 300,         [IST_OP_GET] = 400,       [IST_OP_EXISTS] = 60,
        [IST_OP_MATCH_PREFIX] = 60, [IST_OP_MATCH_LAST] = 40, [IST_OP_REMOVE] = 60,
        [IST_OP_PURGE] = 3,         [IST_OP_STAT] = 10,       [IST_OP_PING] = 20,
    };
    for (unsigned i = 0; i < IST_OPERATION_COUNT; i++) {
        plan->weights[i] = usual[i];
        if (usual[i] > 0 && sim_random_happens(random, 200)) {
            plan->weights[i] = (unsigned)sim_random_below(random, 4 * usual[i] + 1);
        }
    }
    plan->weights[IST_OP_PUT] += 50;
    plan->weights[IST_OP_GET] += 50;
}

static void draw_faults(struct sim_plan *plan, struct sim_random *random) {
    plan->memory_failing_permille = (unsigned)sim_random_scaled(random, 5, 500);
    if (sim_random_happens(random, 150)) {
        plan->fault_pace_ns = SIM_NEVER_NS;
        return;
    }
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        plan->fault_weights[i] =
            sim_random_happens(random, 500) ? 0 : (unsigned)sim_random_scaled(random, 1, 256);
    }
    if (sim_random_happens(random, 800)) {
        plan->fault_weights[SIM_FAULT_PURGE] /= 16;
    }
    uint64_t length_ns = plan->operations * plan->pace_ns / (plan->prefills + plan->decodes);
    plan->fault_weights[SIM_FAULT_RDMA] = plan->rdma ? 100 : 0;
    uint64_t faults = sim_random_scaled(random, 1, 64);
    plan->fault_pace_ns = length_ns / faults + 1;
    plan->faults_max = 4 * faults;
}

static void draw_sizes(struct sim_plan *plan, struct sim_random *random) {
    plan->value_bytes_max = sim_random_scaled(random, 1, 64u << 10);
    plan->batch_max = (size_t)sim_random_scaled(random, 1, 32);
    plan->keys = sim_random_scaled(random, 8, 4096);
    if (plan->workload == SIM_WORKLOAD_HOT) {
        plan->keys = sim_random_between(random, 1, 4);
    }
    if (plan->workload == SIM_WORKLOAD_GIANT) {
        plan->batch_max = (size_t)sim_random_scaled(random, 1024, 16384);
        plan->value_bytes_max = sim_random_between(random, 1, 200);
        plan->keys = 20000;
        plan->operations = 40;
        plan->key_style = SIM_KEYS_SHORT;
    }
    uint64_t batch = plan->batch_max < JOB_BATCH ? JOB_BATCH : plan->batch_max;
    uint64_t fair_bytes = VOLUME_BYTES_MAX / (plan->operations * batch) + 16;
    plan->value_bytes_max = plan->value_bytes_max < fair_bytes ? plan->value_bytes_max : fair_bytes;
    plan->granule_bytes = 512ull << sim_random_below(random, 3);
    plan->min_block_bytes = plan->granule_bytes << sim_random_below(random, 3);
    /* All that can be held at a time, and much more: half-open sessions of those that were crashed and came back. */
    uint64_t item_bytes = 2 * plan->value_bytes_max + 4 * plan->min_block_bytes;
    uint64_t held =
        (uint64_t)(plan->prefills + plan->decodes) * plan->depth * plan->batch_max * item_bytes * 8;
    plan->roomy = held <= 4 * MIB && sim_random_happens(random, 500);
    plan->pool_bytes =
        plan->roomy ? 4 * held : sim_random_scaled(random, 16 * plan->granule_bytes, 4 * MIB);
    plan->pool_bytes -= plan->pool_bytes % plan->granule_bytes;
    plan->pool_bytes += plan->min_block_bytes;
    plan->pool_begin_bytes = plan->pool_bytes;
    if (!plan->roomy && sim_random_happens(random, 300)) {
        plan->pool_begin_bytes =
            sim_random_below(random, plan->pool_bytes / plan->granule_bytes) * plan->granule_bytes;
    }
}

static void draw_limits(struct sim_plan *plan, struct sim_random *random) {
    uint32_t nodes = plan->prefills + plan->decodes;
    /* Over RDMA a client has two sessions. */
    plan->sessions_max = (uint32_t)sim_random_between(random, (plan->rdma ? 2 : 1) * nodes + 1, 64);
    plan->requests_in_flight_max =
        sim_random_happens(random, 500) ? 0 : (uint32_t)sim_random_between(random, 1, 8);
    plan->queued_bytes_max =
        sim_random_happens(random, 500) ? 0 : sim_random_scaled(random, 64, 1 * MIB);
    plan->handshake_timeout_ns = sim_random_scaled(random, 100 * SIM_MS, 20 * SIM_SEC);
    plan->progress_timeout_ns = sim_random_scaled(random, 500 * SIM_MS, 40 * SIM_SEC);
    plan->check_every = sim_random_scaled(random, 64, 4096);
    plan->deadline_permille = (unsigned)sim_random_below(random, 600);
    plan->deadline_ns = sim_random_scaled(random, 100 * SIM_US, 30 * SIM_SEC);
}

void sim_plan_draw(struct sim_plan *plan, uint64_t seed) {
    struct sim_random random = sim_random_stream(seed, SIM_STREAM_PLAN, 0);
    *plan = (struct sim_plan){
        .seed = seed,
        .prefills = (unsigned)sim_random_between(&random, 1, 3),
        .decodes = (unsigned)sim_random_between(&random, 0, 3),
        .servers = sim_random_happens(&random, 700) ? 1 : (unsigned)sim_random_between(&random, 2, 3),
        .depth = (unsigned)sim_random_scaled(&random, 1, 16),
        .operations = sim_random_scaled(&random, 100, 1000),
        .pace_ns = sim_random_scaled(&random, 10 * SIM_US, 20 * SIM_MS),
        .workload = (enum sim_workload)sim_random_below(&random, SIM_WORKLOADS),
        .layers = (unsigned)sim_random_between(&random, 1, SIM_LAYERS_MAX),
    };
    static const enum sim_key_style styles[] = {SIM_KEYS_SHORT,     SIM_KEYS_SHORT, SIM_KEYS_LONG,
                                                SIM_KEYS_COLLIDING, SIM_KEYS_BLOCK, SIM_KEYS_BLOCK};
    if (plan->workload == SIM_WORKLOAD_GIANT && sim_random_happens(&random, 700)) {
        plan->workload = SIM_WORKLOAD_MIXED;
    }
    plan->key_style = styles[sim_random_below(&random, sizeof(styles) / sizeof(styles[0]))];
    plan->hash_key = (struct ist_hash_key){sim_random_next(&random), sim_random_next(&random)};
    plan->rdma = sim_random_happens(&random, 300);
    plan->rdma_infiniband = sim_random_happens(&random, 300);
    plan->rdma_latency_ns = sim_random_scaled(&random, 500, 100 * SIM_US);
    draw_sizes(plan, &random);
    draw_weights(plan, &random);
    draw_limits(plan, &random);
    draw_network(plan, &random);
    draw_faults(plan, &random);
}

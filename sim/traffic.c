#include "sim/traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "sim/memory.h"
#include "sim/operation.h"
#include "sim/world.h"
#include "workload/block_key.h"

#define BLOCKS_MAX 24u /* of a job */
#define AGENTS 4u
#define BRANCHES 3u
#define COLLIDING_KEYS 96u
#define ANY_PERMILLE 150u /* of operations beside the jobs */
#define HOT_KEYS_MAX 64u

/* One prompt: match what is there, get that, put the rest layer by layer, then a decode node gets all. */
enum stage { STAGE_MATCH, STAGE_PREFILL, STAGE_DECODE };

struct sim_job {
    struct sim_job *previous, *next;
    enum stage stage;
    unsigned server;
    size_t left; /* operations of the stage */
    size_t block_count;
    uint64_t blocks[BLOCKS_MAX];
};

/* ---- specs --------------------------------------------------------------------------------------------- */

struct sim_spec *sim_spec_new(enum ist_operation kind, unsigned server, size_t count) {
    struct sim_spec *spec = sim_memory_raw(sizeof(*spec) + count * sizeof(uint64_t));
    *spec = (struct sim_spec){.kind = kind, .server = server, .count = count};
    return spec;
}

void sim_spec_free(struct sim_spec *spec) {
    free(spec);
}

/* ---- keys ---------------------------------------------------------------------------------------------- */

uint64_t sim_traffic_key(const struct sim_traffic *traffic, uint64_t number) {
    return traffic->colliding_count == 0 ? number
                                         : traffic->colliding[number % traffic->colliding_count];
}

size_t sim_traffic_write_key(const struct sim_traffic *traffic, uint64_t key,
                             uint8_t out[IST_KEY_BYTES_MAX]) {
    char text[IST_BLOCK_KEY_MAX];
    size_t bytes = 0;
    switch (traffic->plan->key_style) {
    case SIM_KEYS_SHORT:
    case SIM_KEYS_COLLIDING:
        do { /* little-endian, as short as it can be */
            out[bytes] = (uint8_t)(key >> (8 * bytes));
            bytes++;
        } while (bytes < 8 && key >> (8 * bytes) != 0);
        return bytes;
    case SIM_KEYS_LONG:
        bytes = 200 + (size_t)(sim_random_mix(key) % (IST_KEY_BYTES_MAX - 200)) + 1;
        memset(out, 'k', bytes);
        for (unsigned i = 0; i < 8; i++) { /* what differs comes last */
            out[bytes - 8 + i] = (uint8_t)(key >> (8 * i));
        }
        return bytes;
    case SIM_KEYS_BLOCK:
        bytes = ist_block_key_write(text, "sim", 4096, key / 8, (unsigned)(key % 8));
        memcpy(out, text, bytes);
        return bytes;
    }
    return 0;
}

static void find_colliding(struct sim_traffic *traffic) {
    uint8_t bytes[IST_KEY_BYTES_MAX];
    traffic->colliding = sim_memory_new(COLLIDING_KEYS, sizeof(uint64_t));
    uint64_t wanted = 0;
    size_t count = 0;
    for (uint64_t key = 0; count < COLLIDING_KEYS; key++) {
        size_t length = sim_traffic_write_key(traffic, key, bytes);
        uint64_t hash = ist_hash(traffic->plan->hash_key, ist_span_of(bytes, length));
        uint64_t bits = (hash & 0x3f) | (hash >> 62 << 6);
        wanted = key == 0 ? bits : wanted;
        if (bits == wanted) {
            traffic->colliding[count++] = key;
        }
    }
    traffic->colliding_count = count;
}

void sim_traffic_init(struct sim_traffic *traffic, const struct sim_plan *plan,
                      const struct sim_blocks *trace) {
    *traffic = (struct sim_traffic){.plan = plan,
                                    .trace = trace,
                                    .tree = sim_random_stream(plan->seed, SIM_STREAM_TREE, 0),
                                    .blocks = 1};
    if (plan->key_style == SIM_KEYS_COLLIDING) {
        find_colliding(traffic);
    }
    if (plan->workload == SIM_WORKLOAD_SESSIONS) {
        enum ist_status status = ist_generator_new(ist_alloc_system(), plan->seed, &traffic->generator);
        IST_ASSERT(status == IST_OK);
    }
    if (plan->workload == SIM_WORKLOAD_AGENTS) {
        traffic->agents = sim_memory_new(AGENTS, sizeof(uint64_t *));
        traffic->agent_blocks = sim_memory_new(AGENTS, sizeof(size_t));
        for (size_t i = 0; i < AGENTS; i++) {
            traffic->agents[i] = sim_memory_new(BLOCKS_MAX, sizeof(uint64_t));
        }
    }
}

void sim_traffic_fini(struct sim_traffic *traffic) {
    while (traffic->first_job != NULL) {
        struct sim_job *job = traffic->first_job;
        traffic->first_job = job->next;
        free(job);
    }
    for (size_t i = 0; i < AGENTS && traffic->agents != NULL; i++) {
        free(traffic->agents[i]);
    }
    free(traffic->agents);
    free(traffic->agent_blocks);
    free(traffic->colliding);
    ist_generator_free(traffic->generator);
}

/* ---- operations of any kind ---------------------------------------------------------------------------- */

static enum ist_operation draw_kind(const struct sim_plan *plan, struct sim_random *random) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < IST_OPERATION_COUNT; i++) {
        sum += plan->weights[i];
    }
    uint64_t at = sim_random_below(random, sum);
    unsigned kind = 0;
    while (at >= plan->weights[kind]) {
        at -= plan->weights[kind++];
    }
    return (enum ist_operation)kind;
}

static uint64_t draw_key(const struct sim_traffic *traffic, struct sim_random *random) {
    const struct sim_plan *plan = traffic->plan;
    uint64_t keys = plan->keys;
    if (traffic->blocks > 1) {
        uint64_t recent = traffic->blocks - 1 - sim_random_below(random, traffic->blocks) / 2;
        uint64_t block =
            sim_random_happens(random, 500) ? recent : sim_random_below(random, HOT_KEYS_MAX);
        return block * 8 + sim_random_below(random, plan->layers);
    }
    if (sim_random_happens(random, 500)) {
        keys = keys < HOT_KEYS_MAX ? keys : HOT_KEYS_MAX;
        keys = 1 + sim_random_below(random, keys);
    }
    return sim_random_below(random, keys);
}

struct sim_spec *sim_traffic_any(struct sim_traffic *traffic, unsigned server,
                                 struct sim_random *random) {
    const struct sim_plan *plan = traffic->plan;
    enum ist_operation kind = draw_kind(plan, random);
    bool keyless = kind == IST_OP_PURGE || kind == IST_OP_STAT || kind == IST_OP_PING;
    size_t count = keyless ? 0 : (size_t)sim_random_scaled(random, 1, plan->batch_max);
    struct sim_spec *spec = sim_spec_new(kind, server, count);
    spec->if_absent = kind == IST_OP_PUT && sim_random_happens(random, 250);
    spec->whole_buffers = sim_random_happens(random, 700);
    bool in_row = sim_random_happens(random, 500);
    for (size_t i = 0; i < count; i++) {
        uint64_t number = in_row && i > 0 ? spec->keys[0] + i : draw_key(traffic, random);
        spec->keys[i] = number;
    }
    for (size_t i = 0; i < count; i++) {
        spec->keys[i] = sim_traffic_key(traffic, spec->keys[i]);
    }
    return spec;
}

/* ---- jobs ---------------------------------------------------------------------------------------------- */

/* A walk from a popular root; a child's number tells its whole path. */
static void draw_tree(struct sim_traffic *traffic, struct sim_job *job, struct sim_random *random) {
    uint64_t node = 1 + sim_random_below(random, 1 + sim_random_below(random, 4));
    job->block_count = 1 + (size_t)sim_random_below(random, 8);
    for (size_t i = 0; i < job->block_count; i++) {
        job->blocks[i] = node;
        traffic->blocks = node >= traffic->blocks ? node + 1 : traffic->blocks;
        node = node * BRANCHES + sim_random_below(random, 1 + sim_random_below(random, BRANCHES)) + 4;
    }
}

static void draw_sessions(struct sim_traffic *traffic, struct sim_job *job) {
    struct ist_trace_request request;
    enum ist_status status = ist_generator_next(traffic->generator, &request);
    IST_ASSERT(status == IST_OK);
    job->block_count = request.block_count < BLOCKS_MAX ? request.block_count : BLOCKS_MAX;
    for (size_t i = 0; i < job->block_count; i++) {
        job->blocks[i] = request.blocks[i];
        traffic->blocks =
            request.blocks[i] >= traffic->blocks ? request.blocks[i] + 1 : traffic->blocks;
    }
}

/* It goes on where it was, a block or two further; a session that is deep enough begins anew behind the root. */
static void draw_agent(struct sim_traffic *traffic, struct sim_job *job) {
    size_t agent = (size_t)sim_random_below(&traffic->tree, AGENTS);
    uint64_t *blocks = traffic->agents[agent];
    size_t *count = &traffic->agent_blocks[agent];
    if (*count + 2 > BLOCKS_MAX) {
        *count = 1;
    }
    for (uint64_t more = 1 + sim_random_below(&traffic->tree, 2); more > 0; more--) {
        blocks[*count] = *count == 0 ? 0 : traffic->blocks++;
        (*count)++;
    }
    job->block_count = *count;
    memcpy(job->blocks, blocks, *count * sizeof(*blocks));
}

/* Over and over. */
static void draw_trace(struct sim_traffic *traffic, struct sim_job *job) {
    const struct sim_blocks *trace = traffic->trace;
    const struct sim_blocks_request *request =
        &trace->requests[traffic->trace_next++ % trace->request_count];
    job->block_count = request->count < BLOCKS_MAX ? request->count : BLOCKS_MAX;
    for (size_t i = 0; i < job->block_count; i++) {
        job->blocks[i] = trace->numbers[request->first + i];
        traffic->blocks = job->blocks[i] >= traffic->blocks ? job->blocks[i] + 1 : traffic->blocks;
    }
}

/* All blocks [from, to) of a layer. */
static struct sim_spec *layer_spec(const struct sim_traffic *traffic, struct sim_job *job,
                                   enum ist_operation kind, unsigned layer, size_t from, size_t to) {
    struct sim_spec *spec = sim_spec_new(kind, job->server, to - from);
    spec->job = job;
    spec->whole_buffers = true;
    for (size_t i = from; i < to; i++) {
        spec->keys[i - from] = sim_traffic_key(traffic, job->blocks[i] * 8 + layer);
    }
    return spec;
}

static struct sim_spec *begin_job(struct sim_traffic *traffic, struct sim_random *random) {
    struct sim_job *job = sim_memory_new(1, sizeof(*job));
    job->server = (unsigned)sim_random_below(random, traffic->plan->servers);
    job->next = traffic->first_job;
    if (traffic->first_job != NULL) {
        traffic->first_job->previous = job;
    }
    traffic->first_job = job;
    switch (traffic->plan->workload) {
    case SIM_WORKLOAD_TREE: draw_tree(traffic, job, random); break;
    case SIM_WORKLOAD_SESSIONS: draw_sessions(traffic, job); break;
    case SIM_WORKLOAD_AGENTS: draw_agent(traffic, job); break;
    case SIM_WORKLOAD_TRACE: draw_trace(traffic, job); break;
    case SIM_WORKLOAD_MIXED:
    case SIM_WORKLOAD_HOT:
    case SIM_WORKLOAD_GIANT: IST_ASSERT(false);
    }
    job->left = 1;
    return layer_spec(traffic, job, IST_OP_MATCH_PREFIX, 0, 0, job->block_count);
}

static void free_job(struct sim_traffic *traffic, struct sim_job *job) {
    *(job->previous == NULL ? &traffic->first_job : &job->previous->next) = job->next;
    if (job->next != NULL) {
        job->next->previous = job->previous;
    }
    free(job);
}

static void push(struct sim_node *node, struct sim_job *job, struct sim_spec *spec) {
    job->left++;
    sim_node_push(node, spec);
}

static void begin_prefill(struct sim_world *world, struct sim_node *node, struct sim_job *job,
                          size_t matched) {
    const struct sim_traffic *traffic = &world->traffic;
    job->stage = STAGE_PREFILL;
    for (unsigned layer = 0; layer < traffic->plan->layers; layer++) {
        if (matched > 0) {
            push(node, job, layer_spec(traffic, job, IST_OP_GET, layer, 0, matched));
        }
        if (matched < job->block_count) {
            push(node, job, layer_spec(traffic, job, IST_OP_PUT, layer, matched, job->block_count));
        }
    }
}

static void begin_decode(struct sim_world *world, struct sim_node *node, struct sim_job *job) {
    const struct sim_plan *plan = &world->plan;
    struct sim_node *decode =
        plan->decodes == 0 ? node : &world->nodes[plan->prefills + job->block_count % plan->decodes];
    job->stage = STAGE_DECODE;
    for (unsigned layer = 0; layer < plan->layers; layer++) {
        push(decode, job, layer_spec(&world->traffic, job, IST_OP_GET, layer, 0, job->block_count));
    }
}

void sim_traffic_done(struct sim_world *world, struct sim_node *node, struct sim_job *job,
                      size_t matched) {
    IST_ASSERT(job->left > 0);
    if (--job->left > 0) {
        return;
    }
    switch (job->stage) {
    case STAGE_MATCH: begin_prefill(world, node, job, matched); break;
    case STAGE_PREFILL: begin_decode(world, node, job); break;
    case STAGE_DECODE: free_job(&world->traffic, job); break;
    }
}

struct sim_spec *sim_traffic_next(struct sim_traffic *traffic, const struct sim_node *node,
                                  struct sim_random *random) {
    bool any = sim_random_happens(random, ANY_PERMILLE);
    switch (traffic->plan->workload) {
    case SIM_WORKLOAD_MIXED:
    case SIM_WORKLOAD_HOT:
    case SIM_WORKLOAD_GIANT: any = true; break;
    case SIM_WORKLOAD_TREE:
    case SIM_WORKLOAD_SESSIONS:
    case SIM_WORKLOAD_TRACE:
    case SIM_WORKLOAD_AGENTS: break;
    }
    if (any) {
        return sim_traffic_any(traffic, (unsigned)sim_random_below(random, traffic->plan->servers),
                               random);
    }
    return node->prefill ? begin_job(traffic, random) : NULL;
}

#include "sim/coda.h"

#include <stdlib.h>

#include "sim/model.h"
#include "sim/operation.h"
#include "sim/world.h"

#define BATCH 64u
#define TURNS 30u
#define TURN_NS (300 * SIM_SEC) /* more than any request takes that nothing hinders */

struct sim_coda {
    struct sim_world *world;
    struct sim_server *server;
    struct sim_node *node;
    struct ist_naive *model;
    struct sim_random random;
    bool learning;
    uint64_t evicted, refused; /* by the server */
};

static struct sim_channel *channel_of(const struct sim_coda *coda) {
    return &coda->node->channels[coda->server->number];
}

/* ---- what the model says ------------------------------------------------------------------------------- */

static struct ist_span key_of(const struct sim_operation *operation, size_t i) {
    return ist_span_of(operation->keys[i].data, operation->keys[i].bytes);
}

static void expect(const struct sim_coda *coda, const struct sim_operation *operation,
                   uint64_t expected, uint64_t found, size_t item) {
    if (expected != found) {
        sim_fail(&coda->world->journal, "op %llu, %s, item %zu: %llu, but the model says %llu",
                 (unsigned long long)operation->number, ist_operation_name(operation->spec->kind), item,
                 (unsigned long long)found, (unsigned long long)expected);
    }
}

static void learn(struct sim_coda *coda, const struct sim_operation *operation) {
    for (size_t i = 0; i < operation->spec->count; i++) {
        if (operation->gets[i].status == IST_OK) {
            ist_naive_put(coda->model, key_of(operation, i),
                          (struct ist_naive_value){1, operation->gets[i].value_bytes});
        }
    }
}

/* The store has refused so many: each when that was right (sim/holds.h). */
static void compare_refusals(struct sim_coda *coda, const struct sim_operation *operation) {
    uint64_t told = 0, refused = coda->server->holds.refused;
    for (size_t i = 0; i < operation->spec->count; i++) {
        told += operation->puts[i].status == IST_NO_SPACE;
    }
    expect(coda, operation, refused - coda->refused, told, 0);
    coda->refused = refused;
}

static void apply_puts(struct sim_coda *coda, const struct sim_operation *operation) {
    compare_refusals(coda, operation);
    for (size_t i = 0; i < operation->spec->count; i++) {
        const struct ist_put_item *put = &operation->puts[i];
        bool there = ist_naive_get(coda->model, key_of(operation, i), NULL);
        if (put->value_bytes > coda->world->plan.pool_bytes) {
            continue; /* TOO_BIG or EXISTS: the checker has looked at it */
        }
        if (put->status == IST_NO_SPACE) {
            continue;
        }
        expect(coda, operation, there && operation->spec->if_absent ? IST_EXISTS : IST_OK, put->status,
               i);
        if (put->status == IST_OK) {
            ist_naive_put(coda->model, key_of(operation, i),
                          (struct ist_naive_value){operation->versions[i], put->value_bytes});
        }
    }
}

static void compare_gets(const struct sim_coda *coda, const struct sim_operation *operation) {
    for (size_t i = 0; i < operation->spec->count; i++) {
        const struct ist_get_item *get = &operation->gets[i];
        struct ist_naive_value value = {0};
        bool there = ist_naive_get(coda->model, key_of(operation, i), &value);
        expect(coda, operation,
               !there                            ? IST_NOT_FOUND
               : value.bytes > get->buffer_bytes ? IST_TOO_SMALL
                                                 : IST_OK,
               get->status, i);
        expect(coda, operation, value.bytes, get->value_bytes, i);
    }
}

static void compare_counts(const struct sim_coda *coda, const struct sim_operation *operation) {
    size_t count = operation->spec->count;
    struct ist_span *keys = sim_memory_new(count, sizeof(*keys));
    bool *present = sim_memory_new(count, sizeof(*present));
    for (size_t i = 0; i < count; i++) {
        keys[i] = key_of(operation, i);
    }
    (void)ist_naive_exists(coda->model, keys, count, present);
    size_t last = ist_naive_match_last(coda->model, keys, count);
    if (operation->spec->kind == IST_OP_MATCH_PREFIX) {
        expect(coda, operation, ist_naive_match_prefix(coda->model, keys, count), operation->matched,
               0);
    } else if (operation->spec->kind == IST_OP_MATCH_LAST) {
        expect(coda, operation, last == count ? 0 : last + 1, (uint64_t)(operation->last + 1), 0);
    }
    for (size_t i = 0; i < count && operation->present != NULL; i++) {
        expect(coda, operation, present[i], operation->present[i], i);
    }
    free(keys);
    free(present);
}

static void apply_remove(struct sim_coda *coda, const struct sim_operation *operation) {
    uint64_t removed = 0;
    for (size_t i = 0; i < operation->spec->count; i++) {
        removed += ist_naive_remove(coda->model, key_of(operation, i));
    }
    expect(coda, operation, removed, operation->matched, 0);
}

void sim_coda_done(struct sim_coda *coda, const struct sim_operation *operation) {
    expect(coda, operation, coda->server->life, operation->life, 0); /* it was answered */
    if (sim_server_evicted(coda->server) != coda->evicted) {
        return;
    }
    switch (operation->spec->kind) {
    case IST_OP_PUT: apply_puts(coda, operation); break;
    case IST_OP_GET:
        if (coda->learning) {
            learn(coda, operation);
        } else {
            compare_gets(coda, operation);
        }
        break;
    case IST_OP_EXISTS:
    case IST_OP_MATCH_PREFIX:
    case IST_OP_MATCH_LAST: compare_counts(coda, operation); break;
    case IST_OP_REMOVE: apply_remove(coda, operation); break;
    case IST_OP_PURGE:
        expect(coda, operation, ist_naive_purge(coda->model), operation->purged, 0);
        break;
    case IST_OP_STAT:
    case IST_OP_PING:
    case IST_OP_HELLO:
    case IST_OP_CONNECT: break;
    }
}

/* ---- one after the other ------------------------------------------------------------------------------- */

static void run_until(struct sim_coda *coda, bool (*is_met)(const struct sim_coda *coda),
                      const char *what) {
    struct sim_world *world = coda->world;
    uint64_t until_ns = sim_fabric_now_ns(&world->fabric) + TURN_NS;
    while (!is_met(coda)) {
        if (sim_fabric_now_ns(&world->fabric) > until_ns || !sim_fabric_step(&world->fabric)) {
            sim_fail(&world->journal, "all is healed, but node %u and server %u never come to %s",
                     coda->node->number, coda->server->number, what);
        }
    }
}

static bool is_open(const struct sim_coda *coda) {
    const struct ist_exchange *exchange = channel_of(coda)->exchange;
    return exchange != NULL && ist_exchange_state(exchange) == IST_EXCHANGE_OPEN;
}

static bool is_idle(const struct sim_coda *coda) {
    return channel_of(coda)->in_flight == 0;
}

static void turn(struct sim_coda *coda, struct sim_spec *spec) {
    run_until(coda, is_open, "an open connection");
    (void)sim_node_submit(coda->node, spec);
    run_until(coda, is_idle, "an answer");
}

static void learn_all(struct sim_coda *coda) {
    const struct sim_history *history = coda->world->history;
    unsigned server = coda->server->number;
    size_t keys = sim_history_keys(history, server);
    coda->learning = true;
    for (size_t from = 0; from < keys; from += BATCH) {
        size_t count = keys - from < BATCH ? keys - from : BATCH;
        struct sim_spec *spec = sim_spec_new(IST_OP_GET, server, count);
        spec->whole_buffers = true;
        for (size_t i = 0; i < count; i++) {
            spec->keys[i] = sim_history_key(history, server, from + i);
        }
        turn(coda, spec);
    }
    coda->learning = false;
}

/* What nobody waits for any more may still be on its way: it is executed before what is sent behind it. */
static void flush(struct sim_coda *coda) {
    for (unsigned i = 0; i < coda->world->node_count; i++) {
        coda->node = &coda->world->nodes[i];
        turn(coda, sim_spec_new(IST_OP_PING, coda->server->number, 0));
    }
}

static void run_server(struct sim_world *world, struct sim_server *server) {
    const struct ist_naive_config config = {world->plan.min_block_bytes, world->plan.granule_bytes};
    struct sim_coda coda = {
        .world = world,
        .server = server,
        .model = ist_naive_new(&config),
        .random = sim_random_stream(world->plan.seed, SIM_STREAM_CODA, server->number),
    };
    world->coda = &coda;
    flush(&coda);
    coda.node = &world->nodes[server->number % world->node_count];
    coda.evicted = sim_server_evicted(server);
    coda.refused = server->holds.refused;
    learn_all(&coda);
    struct ist_store_usage usage;
    ist_store_usage(server->store, &usage);
    if (usage.keys != ist_naive_keys(coda.model) ||
        usage.value_bytes != ist_naive_value_bytes(coda.model)) {
        sim_fail(&world->journal, "server %u holds %llu keys, but %llu can be got", server->number,
                 (unsigned long long)usage.keys, (unsigned long long)ist_naive_keys(coda.model));
    }
    for (unsigned i = 0; i < TURNS && sim_server_evicted(server) == coda.evicted; i++) {
        turn(&coda, sim_traffic_any(&world->traffic, server->number, &coda.random));
    }
    world->coda = NULL;
    ist_naive_free(coda.model);
}

void sim_coda_run(struct sim_world *world) {
    for (unsigned i = 0; i < world->plan.servers; i++) {
        run_server(world, &world->servers[i]);
    }
}

#include "sim/operation.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "client/exchange.h"
#include "sim/memory.h"
#include "sim/node.h"
#include "sim/server.h"
#include "sim/world.h"

#define TOO_BIG_BYTES (1u << 20) /* a pool so large is not tried: it takes too long */

struct ist_content sim_operation_content(const struct sim_operation *operation, size_t i,
                                         uint64_t version) {
    const uint64_t number = htole64(operation->spec->keys[i]);
    return ist_content_of(ist_span_of(&number, sizeof(number)), version);
}

static void write_keys(struct sim_operation *operation, const struct sim_traffic *traffic) {
    const struct sim_spec *spec = operation->spec;
    size_t total = 0;
    if (spec->count == 0) {
        return;
    }
    operation->key_bytes = sim_memory_raw(spec->count * IST_KEY_BYTES_MAX);
    operation->keys = sim_memory_raw(spec->count * sizeof(struct ist_key));
    for (size_t i = 0; i < spec->count; i++) {
        operation->keys[i].bytes =
            sim_traffic_write_key(traffic, spec->keys[i], operation->key_bytes + total);
        total += operation->keys[i].bytes;
    }
    operation->key_bytes = sim_memory_resize(operation->key_bytes, total, 1); /* no byte too long */
    const uint8_t *at = operation->key_bytes;
    for (size_t i = 0; i < spec->count; i++) {
        operation->keys[i].data = at;
        at += operation->keys[i].bytes;
    }
}

static uint64_t draw_bytes(const struct sim_plan *plan, bool whole, bool first,
                           struct sim_random *random) {
    if (whole) {
        return plan->value_bytes_max;
    }
    if (first && plan->pool_bytes <= TOO_BIG_BYTES && sim_random_happens(random, 20)) {
        return plan->pool_bytes + 1 + sim_random_below(random, 100); /* TOO_BIG */
    }
    return sim_random_scaled(random, 1, plan->value_bytes_max);
}

/* Values before the operation begins: what it writes is in the history first. */
static void prepare_puts(struct sim_world *world, struct sim_operation *operation,
                         struct sim_random *random) {
    const struct sim_spec *spec = operation->spec;
    uint64_t total = 0;
    operation->puts = sim_memory_new(spec->count, sizeof(struct ist_put_item));
    operation->versions = sim_memory_new(spec->count, sizeof(uint64_t));
    for (size_t i = 0; i < spec->count; i++) {
        uint64_t bytes = draw_bytes(&world->plan, spec->job != NULL, i == 0, random);
        operation->puts[i] = (struct ist_put_item){
            .key = operation->keys[i], .value_bytes = bytes, .status = IST_DEVICE};
        total += bytes;
    }
    operation->memory = sim_memory_raw((size_t)total);
    operation->memory_bytes = total;
    uint8_t *at = operation->memory;
    for (size_t i = 0; i < spec->count; i++) {
        struct ist_put_item *put = &operation->puts[i];
        uint64_t version = sim_history_put(world->history, spec->server, spec->keys[i],
                                           put->value_bytes, operation->window.begin_ns);
        operation->versions[i] = version;
        ist_content_fill(sim_operation_content(operation, i, version), 0, at, (size_t)put->value_bytes);
        put->value = at;
        at += put->value_bytes;
    }
    if (spec->count > 1) {
        sim_history_together(world->history, operation->versions[0], spec->count);
    }
}

static void prepare_gets(struct sim_world *world, struct sim_operation *operation,
                         struct sim_random *random) {
    const struct sim_spec *spec = operation->spec;
    uint64_t total = 0;
    operation->gets = sim_memory_new(spec->count, sizeof(struct ist_get_item));
    operation->versions = sim_memory_new(spec->count, sizeof(uint64_t));
    for (size_t i = 0; i < spec->count; i++) {
        uint64_t bytes = spec->whole_buffers
                             ? world->plan.value_bytes_max
                             : sim_random_scaled(random, 1, 2 * world->plan.value_bytes_max);
        operation->gets[i] = (struct ist_get_item){
            .key = operation->keys[i], .buffer_bytes = bytes, .status = IST_DEVICE};
        total += bytes;
    }
    operation->memory = sim_memory_raw((size_t)total);
    operation->memory_bytes = total;
    memset(operation->memory, SIM_UNTOUCHED, total);
    uint8_t *at = operation->memory;
    for (size_t i = 0; i < spec->count; i++) {
        operation->gets[i].buffer = at;
        at += operation->gets[i].buffer_bytes;
    }
}

/* So is what it removes. */
static void prepare_removals(struct sim_world *world, struct sim_operation *operation) {
    const struct sim_spec *spec = operation->spec;
    uint64_t begin_ns = operation->window.begin_ns;
    if (spec->kind == IST_OP_PURGE) {
        operation->purge = sim_history_purge(world->history, spec->server, begin_ns);
        return;
    }
    operation->versions = sim_memory_new(spec->count, sizeof(uint64_t));
    for (size_t i = 0; i < spec->count; i++) {
        operation->versions[i] =
            sim_history_remove(world->history, spec->server, spec->keys[i], begin_ns);
    }
}

static enum ist_status make(struct sim_operation *operation, const struct ist_alloc *alloc,
                            struct ist_request **request) {
    const struct sim_spec *spec = operation->spec;
    switch (spec->kind) {
    case IST_OP_PUT:
        return ist_request_new_put(alloc, operation->puts, spec->count,
                                   spec->if_absent ? IST_IF_ABSENT : 0, request);
    case IST_OP_GET: return ist_request_new_get(alloc, operation->gets, spec->count, request);
    case IST_OP_EXISTS:
        operation->present = sim_memory_new(spec->count, sizeof(bool));
        return ist_request_new_exists(alloc, operation->keys, spec->count, operation->present, request);
    case IST_OP_MATCH_PREFIX:
    case IST_OP_REMOVE:
        return ist_request_new_number(alloc, spec->kind, operation->keys, spec->count,
                                      &operation->matched, request);
    case IST_OP_MATCH_LAST:
        return ist_request_new_match_last(alloc, operation->keys, spec->count, &operation->last,
                                          request);
    case IST_OP_PURGE: return ist_request_new_purge(alloc, &operation->purged, request);
    case IST_OP_STAT: return ist_request_new_stat(alloc, &operation->metrics, request);
    case IST_OP_PING: return ist_request_new_ping(alloc, request);
    case IST_OP_HELLO:
    case IST_OP_CONNECT: break;
    }
    IST_ASSERT(false);
    return IST_INVALID;
}

static enum ist_status register_memory(struct sim_world *world, struct sim_operation *operation) {
    const struct ist_region_source source = {
        .address = (uintptr_t)operation->memory, .bytes = operation->memory_bytes, .fd = -1};
    if (!world->plan.rdma || operation->memory_bytes == 0) {
        return IST_OK;
    }
    enum ist_status status = ist_regions_add(&operation->channel->link.regions, &source);
    operation->registered = status == IST_OK;
    return status;
}

enum ist_status sim_operation_new(struct sim_world *world, struct sim_channel *channel,
                                  struct sim_spec *spec, uint64_t number, const struct ist_alloc *alloc,
                                  struct sim_operation **operation, struct ist_request **request) {
    struct sim_random random = sim_world_operation_random(world, number);
    (void)sim_random_next(&random); /* the traffic has drawn from the same stream */
    struct sim_operation *new = sim_memory_new(1, sizeof(*new));
    new->channel = channel;
    new->spec = spec;
    new->number = number;
    new->window.begin_ns = sim_fabric_now_ns(&world->fabric);
    new->window.end_ns = SIM_NEVER_NS;
    new->deadline_ns = IST_NO_DEADLINE_NS;
    new->ends_by_ns = SIM_NEVER_NS;
    if (world->phase == SIM_PHASE_SAFETY &&
        sim_random_happens(&random, world->plan.deadline_permille)) {
        uint64_t time_ns = 1 + sim_random_below(&random, world->plan.deadline_ns);
        new->deadline_ns = sim_node_now_ns(channel->node) + time_ns;
        new->ends_by_ns = new->window.begin_ns + time_ns;
    }
    write_keys(new, &world->traffic);
    if (spec->kind == IST_OP_PUT) {
        prepare_puts(world, new, &random);
    } else if (spec->kind == IST_OP_GET) {
        prepare_gets(world, new, &random);
    } else if (spec->kind == IST_OP_REMOVE || spec->kind == IST_OP_PURGE) {
        prepare_removals(world, new);
    }
    enum ist_status status = register_memory(world, new);
    if (status == IST_OK) {
        status = make(new, alloc, request);
    }
    if (status != IST_OK) {
        for (size_t i = 0; spec->kind == IST_OP_PUT && i < spec->count; i++) {
            sim_history_put_refused(world->history, new->versions[i]);
        }
        sim_operation_free(new);
        if (status != IST_NO_MEMORY && status != IST_DEVICE) {
            sim_fail(&world->journal, "a request cannot be made: %s", ist_status_name(status));
        }
        return status;
    }
    *operation = new;
    return IST_OK;
}

void sim_operation_free(struct sim_operation *operation) {
    if (operation->registered) {
        enum ist_status status = ist_regions_remove(
            &operation->channel->link.regions, (uintptr_t)operation->memory, operation->memory_bytes);
        IST_ASSERT(status == IST_OK);
    }
    sim_spec_free(operation->spec);
    free(operation->key_bytes);
    free(operation->keys);
    free(operation->versions);
    free(operation->puts);
    free(operation->gets);
    free(operation->memory);
    free(operation->present);
    ist_metrics_free(operation->metrics);
    free(operation);
}

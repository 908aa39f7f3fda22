#include "sim/world.h"

#include <stdlib.h>

#include "base/assert.h"

/* Nothing that is in flight may take longer, once all is healed: the longest time-outs of both ends, twice. */
#define HEALING_NS (200 * SIM_SEC)
#define SAFETY_NS_MAX (3600 * SIM_SEC) /* of virtual time: enough for every plan */
#define STEPS_MAX 20000000ull /* of a run that goes round in circles; and for each operation: */
#define STEPS_PER_OPERATION_MAX 20000u

bool sim_mask_has(const struct sim_mask *mask, uint64_t number) {
    for (size_t i = 0; i < mask->count; i++) {
        if (number >= mask->ranges[i].from && number < mask->ranges[i].to) {
            return true;
        }
    }
    return false;
}

struct sim_random sim_world_operation_random(const struct sim_world *world, uint64_t number) {
    return sim_random_stream(world->plan.seed, SIM_STREAM_OPERATION, number);
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

static void schedule_fault(struct sim_world *world) {
    uint64_t pace_ns = world->plan.fault_pace_ns;
    if (world->faults < world->plan.faults_max) {
        sim_event_at(&world->fabric, &world->next_fault,
                     sim_fabric_now_ns(&world->fabric) +
                         sim_random_below(&world->fault_pace, 2 * pace_ns + 1));
    }
}

static void on_fault(void *owner) {
    struct sim_world *world = owner;
    uint64_t number = world->faults++;
    if (!sim_mask_has(&world->options->skip_faults, number)) {
        sim_fault_happen(world, number);
    }
    schedule_fault(world);
}

static void init(struct sim_world *world, const struct sim_options *options) {
    world->options = options;
    sim_plan_draw(&world->plan, options->seed);
    if (options->operations > 0) {
        world->plan.operations = options->operations;
    }
    if (options->calm) {
        world->plan.rdma = false;
        world->plan.faults_max = 0;
    }
    if (options->trace != NULL) {
        world->plan.workload = SIM_WORKLOAD_TRACE;
    }
    sim_fabric_init(&world->fabric);
    sim_network_init(&world->network, &world->plan.network, &world->fabric, options->seed);
    sim_journal_init(&world->journal, &world->fabric, options->log, options->replay);
    world->history = sim_history_new();
    sim_traffic_init(&world->traffic, &world->plan, options->trace);
    world->fault_pace = sim_random_stream(options->seed, SIM_STREAM_FAULT, UINT64_MAX);
    sim_event_init(&world->next_fault, on_fault, world);
    world->node_count = world->plan.prefills + world->plan.decodes;
    sim_rdma_init(world);
    for (unsigned i = 0; i < world->plan.servers; i++) {
        sim_server_init(&world->servers[i], world, i);
        sim_server_start(&world->servers[i]);
    }
    for (unsigned i = 0; i < world->node_count; i++) {
        sim_node_init(&world->nodes[i], world, i, i < world->plan.prefills);
    }
}

static void enter(struct sim_world *world, enum sim_phase phase) {
    world->phase = phase;
    sim_journal_note(&world->journal, SIM_NOTE_PHASE, phase, 0, 0, 0, 0);
}

static void end(struct sim_world *world, struct sim_figures *figures) {
    enter(world, SIM_PHASE_END);
    for (unsigned i = 0; i < world->node_count; i++) {
        sim_node_fini(&world->nodes[i]);
    }
    for (unsigned i = 0; i < world->plan.servers; i++) {
        sim_server_stop(&world->servers[i], false);
        figures->evicted += world->servers[i].evicted_before;
        sim_server_fini(&world->servers[i]);
    }
    sim_network_fini(&world->network);
    sim_rdma_fini(world);
    figures->digest = world->journal.digest;
    figures->operations = world->operations_done;
    figures->remote = world->operations_remote;
    figures->keys = world->keys_done;
    figures->faults = world->faults;
    figures->events = world->fabric.steps;
    figures->virtual_ns = sim_fabric_now_ns(&world->fabric);
    figures->bytes = world->network.bytes_carried;
    sim_event_cancel(&world->fabric, &world->next_fault);
    sim_traffic_fini(&world->traffic);
    sim_history_free(world->history);
    sim_fabric_fini(&world->fabric);
    sim_journal_fini(&world->journal);
}

/* ---- phases -------------------------------------------------------------------------------------------- */

static unsigned in_flight(const struct sim_world *world) {
    unsigned count = 0;
    for (unsigned i = 0; i < world->node_count; i++) {
        count += sim_node_in_flight(&world->nodes[i]);
    }
    return count;
}

static void step(struct sim_world *world) {
    if (world->fabric.steps > STEPS_MAX + STEPS_PER_OPERATION_MAX * world->plan.operations) {
        sim_fail(&world->journal, "the run goes round in circles");
    }
    (void)sim_fabric_step(&world->fabric);
}

static void run_safety(struct sim_world *world) {
    enter(world, SIM_PHASE_SAFETY);
    for (unsigned i = 0; i < world->node_count; i++) {
        sim_node_start(&world->nodes[i]);
    }
    schedule_fault(world);
    while (world->operations < world->plan.operations &&
           sim_fabric_next_ns(&world->fabric) < SAFETY_NS_MAX) {
        step(world);
    }
}

static bool all_up(const struct sim_world *world) {
    for (unsigned i = 0; i < world->plan.servers; i++) {
        if (!sim_server_is_whole(&world->servers[i])) {
            return false;
        }
    }
    return true;
}

/* Sessions whose client is gone have ended, too: what they held is free again. */
static bool sessions_match(const struct sim_world *world) {
    size_t sessions = 0, connections = 0, queue_pairs = 0, remote = 0;
    for (unsigned i = 0; i < world->plan.servers; i++) {
        sessions += sim_server_sessions(&world->servers[i]);
        queue_pairs += sim_rdma_connections(&world->servers[i].rdma);
    }
    for (unsigned i = 0; i < world->node_count; i++) {
        for (unsigned j = 0; j < world->plan.servers; j++) {
            const struct ist_exchange *exchange = world->nodes[i].channels[j].exchange;
            connections += exchange != NULL && ist_exchange_state(exchange) == IST_EXCHANGE_OPEN;
            remote += exchange != NULL && ist_exchange_is_remote(exchange);
        }
    }
    return queue_pairs == remote && sessions == connections &&
           connections == world->node_count * world->plan.servers;
}

static void run_healing(struct sim_world *world) {
    enter(world, SIM_PHASE_HEALING);
    sim_fault_heal(world);
    uint64_t until_ns = sim_fabric_now_ns(&world->fabric) + HEALING_NS;
    while (in_flight(world) > 0 || !all_up(world) || !sessions_match(world)) {
        if (sim_fabric_next_ns(&world->fabric) > until_ns) {
            sim_fail(&world->journal, "all is healed, but %u operations never end%s%s",
                     in_flight(world), all_up(world) ? "" : ", and a server never starts",
                     sessions_match(world) ? "" : ", and sessions and clients never agree");
        }
        step(world);
    }
    for (unsigned i = 0; i < world->plan.servers; i++) {
        sim_server_check(&world->servers[i]);
    }
}

void sim_world_run(const struct sim_options *options, struct sim_figures *figures) {
    struct sim_world *world = sim_memory_new(1, sizeof(*world));
    *figures = (struct sim_figures){0};
    init(world, options);
    run_safety(world);
    run_healing(world);
    if (world->plan.swift) {
        enter(world, SIM_PHASE_CODA);
        sim_coda_run(world);
    }
    end(world, figures);
    free(world);
}

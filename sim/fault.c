#include "sim/fault.h"

#include "sim/world.h"

const char *sim_fault_name(enum sim_fault_kind kind) {
    switch (kind) {
    case SIM_FAULT_CUT: return "cut";
    case SIM_FAULT_SILENCE: return "half-open";
    case SIM_FAULT_STALL: return "stall";
    case SIM_FAULT_SLOW_READER: return "slow reader";
    case SIM_FAULT_SERVER_CRASH: return "server crash";
    case SIM_FAULT_SERVER_DRAIN: return "server drain";
    case SIM_FAULT_CLIENT_CRASH: return "client crash";
    case SIM_FAULT_SERVER_MEMORY: return "server out of memory";
    case SIM_FAULT_CLIENT_MEMORY: return "client out of memory";
    case SIM_FAULT_SERVER_CLOCK: return "server clock jump";
    case SIM_FAULT_CLIENT_CLOCK: return "client clock jump";
    case SIM_FAULT_EVICT: return "evict";
    case SIM_FAULT_PURGE: return "purge";
    case SIM_FAULT_RDMA: return "RDMA";
    }
    return "?";
}

static enum sim_fault_kind draw_kind(const struct sim_plan *plan, struct sim_random *random) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        sum += plan->fault_weights[i];
    }
    if (sum == 0) {
        return SIM_FAULT_CUT;
    }
    uint64_t at = sim_random_below(random, sum);
    unsigned kind = 0;
    while (at >= plan->fault_weights[kind]) {
        at -= plan->fault_weights[kind++];
    }
    return (enum sim_fault_kind)kind;
}

static void hurt_connection(struct sim_world *world, enum sim_fault_kind kind,
                            struct sim_random *random, uint64_t for_ns) {
    uint64_t pick = sim_random_next(random);
    if (world->network.count == 0) {
        return;
    }
    struct sim_connection *connection =
        sim_network_nth(&world->network, (size_t)(pick % world->network.count));
    if (kind == SIM_FAULT_CUT) {
        sim_connection_cut(connection);
    } else if (kind == SIM_FAULT_SILENCE) {
        sim_connection_silence(connection, for_ns);
    } else {
        sim_connection_stall(connection, sim_fabric_now_ns(&world->fabric) + for_ns);
    }
}

static void hurt_server(struct sim_world *world, enum sim_fault_kind kind, struct sim_server *server,
                        struct sim_random *random, uint64_t for_ns) {
    uint64_t now_ns = sim_fabric_now_ns(&world->fabric);
    if (!sim_server_is_up(server)) {
        return;
    }
    switch ((int)kind) {
    case SIM_FAULT_SERVER_CRASH:
        sim_server_stop(server, sim_random_happens(random, 500));
        sim_event_at(&world->fabric, &server->restart, now_ns + for_ns);
        break;
    case SIM_FAULT_SERVER_DRAIN:
        if (!server->draining) {
            sim_server_drain(server);
        }
        break;
    case SIM_FAULT_SERVER_MEMORY:
        server->memory.failing_permille = world->plan.memory_failing_permille;
        sim_event_at(&world->fabric, &server->memory_end, now_ns + for_ns);
        break;
    case SIM_FAULT_SERVER_CLOCK: sim_server_jump(server, for_ns * 4); break;
    case SIM_FAULT_EVICT:
        (void)ist_store_evict(server->store, sim_random_below(random, world->plan.pool_bytes / 2));
        break;
    case SIM_FAULT_PURGE: {
        (void)ist_store_purge(server->store);
        const char *problem = sim_history_purged(
            world->history, server->life, sim_history_purge(world->history, server->number, now_ns),
            (struct sim_window){now_ns, now_ns});
        if (problem != NULL) {
            sim_fail(&world->journal, "a purge by an administrator: %s", problem);
        }
        break;
    }
    }
}

static void hurt_node(struct sim_world *world, enum sim_fault_kind kind, struct sim_node *node,
                      struct sim_random *random, uint64_t for_ns) {
    uint64_t now_ns = sim_fabric_now_ns(&world->fabric);
    switch ((int)kind) {
    case SIM_FAULT_CLIENT_CRASH: sim_node_crash(node); break;
    case SIM_FAULT_CLIENT_MEMORY:
        node->memory.failing_permille = world->plan.memory_failing_permille;
        sim_event_at(&world->fabric, &node->memory_end, now_ns + for_ns);
        break;
    case SIM_FAULT_CLIENT_CLOCK: sim_node_jump(node, for_ns * 4); break;
    case SIM_FAULT_SLOW_READER:
        node->channels[sim_random_below(random, world->plan.servers)].slow_until_ns = now_ns + for_ns;
        break;
    }
}

void sim_fault_happen(struct sim_world *world, uint64_t number) {
    struct sim_random random = sim_random_stream(world->plan.seed, SIM_STREAM_FAULT, number);
    sim_rdma_sync(world);
    enum sim_fault_kind kind = draw_kind(&world->plan, &random);
    uint64_t for_ns = sim_random_scaled(&random, 10 * SIM_US, 10 * SIM_SEC);
    uint64_t pick = sim_random_next(&random);
    sim_journal_note(&world->journal, SIM_NOTE_FAULT, number, kind, for_ns, pick % 1000, 0);
    switch (kind) {
    case SIM_FAULT_CUT:
    case SIM_FAULT_SILENCE:
    case SIM_FAULT_STALL: hurt_connection(world, kind, &random, for_ns); break;
    case SIM_FAULT_SERVER_CRASH:
    case SIM_FAULT_SERVER_DRAIN:
    case SIM_FAULT_SERVER_MEMORY:
    case SIM_FAULT_SERVER_CLOCK:
    case SIM_FAULT_EVICT:
    case SIM_FAULT_PURGE:
        hurt_server(world, kind, &world->servers[pick % world->plan.servers], &random, for_ns);
        break;
    case SIM_FAULT_CLIENT_CRASH:
    case SIM_FAULT_CLIENT_MEMORY:
    case SIM_FAULT_CLIENT_CLOCK:
    case SIM_FAULT_SLOW_READER:
        hurt_node(world, kind, &world->nodes[pick % world->node_count], &random, for_ns);
        break;
    case SIM_FAULT_RDMA: sim_rdma_hurt(world, &random); break;
    }
}

void sim_fault_heal(struct sim_world *world) {
    uint64_t now_ns = sim_fabric_now_ns(&world->fabric);
    sim_event_cancel(&world->fabric, &world->next_fault);
    sim_network_heal(&world->network);
    sim_rdma_heal(world);
    for (unsigned i = 0; i < world->plan.servers; i++) {
        struct sim_server *server = &world->servers[i];
        server->memory.failing_permille = 0;
        if (!sim_server_is_up(server)) {
            sim_event_at(&world->fabric, &server->restart, now_ns);
        }
    }
    for (unsigned i = 0; i < world->node_count; i++) {
        world->nodes[i].memory.failing_permille = 0;
        for (unsigned j = 0; j < world->plan.servers; j++) {
            struct sim_channel *channel = &world->nodes[i].channels[j];
            channel->slow_until_ns = 0;
            sim_event_by(&world->fabric, &channel->wake, now_ns);
        }
    }
}

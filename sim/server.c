#include "sim/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/session.h"
#include "sim/canary.h"
#include "sim/world.h"
#include "wire/codec.h"

#define BUFFERS_MAX 64u
#define DRAIN_NS (3 * SIM_SEC)
#define GROWTH_STEPS 4u

struct sim_session {
    struct sim_edge edge; /* first member: the session's user */
    struct sim_server *server;
    struct sim_session *previous, *next;
    struct sim_connection *connection;
    struct ist_session *session;
    bool send_blocked;
    struct sim_rdma_connection *rdma; /* it asked for; NULL: none, or gone */
    bool rdma_tried;
};

bool sim_server_is_up(const struct sim_server *server) {
    return server->engine != NULL;
}

bool sim_server_is_whole(const struct sim_server *server) {
    struct ist_store_usage usage = {0};
    if (sim_server_is_up(server)) {
        ist_store_usage(server->store, &usage);
    }
    return usage.pool_bytes == server->world->plan.pool_bytes && !server->draining;
}

uint64_t sim_server_now_ns(const struct sim_server *server) {
    return sim_fabric_now_ns(&server->world->fabric) + server->ahead_ns;
}

uint64_t sim_server_evicted(const struct sim_server *server) {
    struct ist_store_usage usage;
    ist_store_usage(server->store, &usage);
    return usage.evicted_entries;
}

size_t sim_server_sessions(const struct sim_server *server) {
    size_t count = 0;
    for (const struct sim_session *session = server->first; session != NULL; session = session->next) {
        count++;
    }
    return count;
}

/* ---- invariants ---------------------------------------------------------------------------------------- */

/* What a session may take, by the largest requests that these nodes make: whatever else grows is not bounded. */
static uint64_t session_bytes_max(const struct sim_plan *plan) {
    uint64_t request_bytes = plan->batch_max * (IST_KEY_BYTES_MAX + 128ull) + (64u << 10);
    return (plan->depth + 2ull) * 2 * request_bytes + (256u << 10);
}

static void check_memory(const struct sim_server *server, const struct ist_store_usage *usage) {
    uint64_t sessions = 0;
    for (const struct sim_session *session = server->first; session != NULL; session = session->next) {
        sessions += 2; /* the other one over RDMA */
    }
    uint64_t most = server->base_bytes + usage->metadata_bytes +
                    (sessions + 2) * session_bytes_max(&server->world->plan);
    if (server->memory.live_bytes > most) {
        sim_fail(&server->world->journal,
                 "%llu bytes of memory are used, for %llu sessions at most %llu",
                 (unsigned long long)server->memory.live_bytes, (unsigned long long)sessions,
                 (unsigned long long)most);
    }
}

static void check_usage(const struct sim_server *server) {
    const struct sim_journal *journal = &server->world->journal;
    struct ist_store_usage usage;
    ist_store_usage(server->store, &usage);
    if (usage.free_bytes + usage.reserved_bytes + usage.committed_bytes + usage.doomed_bytes !=
        usage.pool_bytes) {
        sim_fail(journal, "pool bytes are not free + reserved + committed + doomed");
    }
    check_memory(server, &usage);
    struct ist_stats stats;
    ist_engine_stats(server->engine, &stats);
    const struct sim_plan *plan = &server->world->plan;
    if (plan->swift && plan->faults_max == 0 && stats.sessions_ended_timeout > 0) {
        sim_fail(journal, "a session ran out of time, and nothing hindered it");
    }
    if (stats.sessions_ended_protocol > 0) {
        sim_fail(journal, "the engine says that a client broke the protocol");
    }
}

void sim_server_check(struct sim_server *server) {
    if (sim_server_is_up(server)) {
        server->checked_calls = server->calls;
        ist_engine_check(server->engine);
        check_usage(server);
    }
}

void sim_server_called(struct sim_server *server) {
    if (++server->calls >= server->checked_calls + server->world->plan.check_every) {
        sim_server_check(server);
    }
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static void end_session(struct sim_session *session, bool abrupt) {
    struct sim_server *server = session->server;
    sim_journal_note(&server->world->journal, SIM_NOTE_CLOSE, server->number,
                     sim_connection_number(session->connection), 0, 0, 0);
    if (session->rdma != NULL) {
        sim_rdma_disconnect(session->rdma);
    }
    sim_connection_close(session->connection, SIM_SERVER, abrupt);
    ist_session_close(session->session);
    *(session->previous == NULL ? &server->first : &session->previous->next) = session->next;
    if (session->next != NULL) {
        session->next->previous = session->previous;
    }
    free(session);
}

static void copy_staged(struct sim_session *session) {
    struct sim_server *server = session->server;
    struct ist_copy copy;
    while (ist_session_copy(session->session, &copy)) {
        memcpy(server->pool + copy.offset, copy.from, copy.bytes);
        ist_session_copied(session->session, sim_server_now_ns(server));
        sim_server_called(server);
    }
}

/* Where the bytes of a buffer go. A canary lets what comes second land a byte late. */
static uint8_t *place_of(struct sim_server *server, const struct ist_buffer *buffer, size_t *bytes) {
    switch (buffer->kind) {
    case IST_BUFFER_MEMORY: return buffer->memory;
    case IST_BUFFER_POOL:
        if (sim_canary_is(SIM_CANARY_SPLIT_PAYLOAD) && *bytes<buffer->bytes && * bytes> 1) {
            (*bytes)--;
            return server->pool + buffer->offset + 1;
        }
        return server->pool + buffer->offset;
    case IST_BUFFER_DISCARD: break;
    }
    *bytes = *bytes < sizeof(server->waste) ? *bytes : sizeof(server->waste);
    return server->waste;
}

static void receive(struct sim_session *session, size_t readable) {
    struct sim_server *server = session->server;
    const struct sim_plan *plan = &server->world->plan;
    struct ist_buffer buffers[BUFFERS_MAX];
    size_t count = ist_session_recv_buffers(session->session, buffers, plan->buffers_max), moved = 0;
    size_t left = readable < plan->call_bytes_max ? readable : plan->call_bytes_max;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t wanted = buffers[i].bytes < left ? (size_t)buffers[i].bytes : left, part = wanted;
        uint8_t *place = place_of(server, &buffers[i], &part);
        sim_connection_read(session->connection, SIM_SERVER, place, part);
        moved += part;
        left -= part;
        if (part < wanted) {
            break;
        }
    }
    ist_session_received(session->session, moved, sim_server_now_ns(server));
    sim_server_called(server);
}

static void send_some(struct sim_session *session) {
    struct sim_server *server = session->server;
    const struct sim_plan *plan = &server->world->plan;
    struct ist_buffer buffers[BUFFERS_MAX];
    size_t count = ist_session_send_buffers(session->session, buffers, plan->buffers_max), moved = 0;
    size_t left = plan->call_bytes_max;
    for (size_t i = 0; i < count && left > 0 && !session->send_blocked; i++) {
        size_t part = buffers[i].bytes < left ? (size_t)buffers[i].bytes : left;
        const uint8_t *from =
            buffers[i].kind == IST_BUFFER_POOL ? server->pool + buffers[i].offset : buffers[i].memory;
        size_t taken = sim_connection_write(session->connection, SIM_SERVER, from, part);
        session->send_blocked = taken < part;
        moved += taken;
        left -= taken;
    }
    if (moved > 0) {
        ist_session_sent(session->session, moved, sim_server_now_ns(server));
        sim_server_called(server);
    }
}

/* The client asks for a queue pair. Once is enough. */
static void connect_rdma(struct sim_session *session) {
    struct sim_server *server = session->server;
    struct ist_endpoint own = {.status = IST_INVALID};
    if (!session->rdma_tried) {
        session->rdma_tried = true;
        session->rdma =
            sim_rdma_connect(&server->rdma, session, sim_connection_number(session->connection),
                             ist_session_peer(session->session), &own);
    }
    ist_session_connected(session->session, &own, sim_server_now_ns(server));
}

/* False: the session is over. */
static bool run_once(struct sim_session *session) {
    struct sim_server *server = session->server;
    for (;;) {
        unsigned wants = ist_session_wants(session->session);
        size_t readable = sim_connection_readable(session->connection, SIM_SERVER);
        if ((wants & IST_WANT_CLOSE) != 0) {
            if (session->rdma != NULL && server->draining) {
                break; /* what runs over RDMA ends first, and this with it */
            }
            end_session(session, false);
            return false;
        }
        if ((wants & IST_WANT_CONNECT) != 0) {
            connect_rdma(session);
        } else if ((wants & IST_WANT_COPY) != 0) {
            copy_staged(session);
        } else if ((wants & IST_WANT_SEND) != 0 && !session->send_blocked) {
            send_some(session);
        } else if ((wants & IST_WANT_RECV) != 0 && readable > 0) {
            receive(session, readable);
        } else {
            break;
        }
    }
    if (sim_connection_ended(session->connection, SIM_SERVER)) {
        end_session(session, false);
        return false;
    }
    return true;
}

static void run_edge(struct sim_edge *edge) {
    (void)run_once((struct sim_session *)edge);
}

/* What calls on sessions, or time, have changed elsewhere. */
static void settle(struct sim_server *server) {
    struct ist_session *changed;
    while ((changed = ist_engine_next_changed(server->engine)) != NULL) {
        struct sim_edge *edge = ist_session_user(changed);
        edge->run(edge);
    }
    if (server->draining && server->first == NULL && server->rdma.first == NULL) {
        sim_event_at(&server->world->fabric, &server->restart,
                     sim_fabric_now_ns(&server->world->fabric));
    }
    uint64_t at_ns = ist_engine_deadline_ns(server->engine);
    sim_event_at(&server->world->fabric, &server->tick,
                 at_ns == IST_NEVER_NS       ? SIM_NEVER_NS
                 : at_ns <= server->ahead_ns ? 0
                                             : at_ns - server->ahead_ns);
    sim_rdma_arm(server->world);
}

void sim_server_rdma_ended(void *owner) {
    struct sim_session *session = owner;
    session->rdma = NULL;
    end_session(session, false);
}

void sim_server_poll(struct sim_server *server) {
    if (sim_server_is_up(server)) {
        sim_rdma_poll(&server->rdma);
        settle(server);
    }
}

static void on_ready(void *owner) {
    struct sim_session *session = owner;
    struct sim_server *server = session->server;
    if (sim_canary_is(SIM_CANARY_MISSED_REARM) && session->send_blocked &&
        sim_connection_readable(session->connection, SIM_SERVER) > 0) {
        return;
    }
    sim_rdma_sync(server->world);
    session->send_blocked = false;
    (void)run_once(session);
    settle(server);
}

static void on_tick(void *owner) {
    struct sim_server *server = owner;
    sim_rdma_sync(server->world);
    ist_engine_tick(server->engine, sim_server_now_ns(server));
    sim_server_called(server);
    settle(server);
}

static bool on_accept(void *owner, struct sim_connection *connection) {
    struct sim_server *server = owner;
    struct sim_journal *journal = &server->world->journal;
    struct ist_session *opened;
    struct sim_session *session = sim_memory_new(1, sizeof(*session));
    if (!sim_server_is_up(server) ||
        ist_session_open(server->engine, sim_connection_number(connection), session,
                         sim_server_now_ns(server), &opened) != IST_OK) {
        free(session);
        sim_journal_note(journal, SIM_NOTE_REFUSE, server->number, sim_connection_number(connection), 0,
                         0, 0);
        return false;
    }
    *session = (struct sim_session){.edge = {run_edge},
                                    .server = server,
                                    .next = server->first,
                                    .connection = connection,
                                    .session = opened};
    if (server->first != NULL) {
        server->first->previous = session;
    }
    server->first = session;
    sim_journal_note(journal, SIM_NOTE_ACCEPT, server->number, sim_connection_number(connection), 0, 0,
                     0);
    sim_connection_own(connection, on_ready, session);
    (void)run_once(session);
    settle(server);
    return true;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void on_growth(void *owner) {
    struct sim_server *server = owner;
    const struct sim_plan *plan = &server->world->plan;
    struct ist_store_usage usage;
    ist_store_usage(server->store, &usage);
    uint64_t step = (plan->pool_bytes / GROWTH_STEPS / plan->granule_bytes + 1) * plan->granule_bytes;
    uint64_t missing = plan->pool_bytes - usage.pool_bytes;
    if (missing > 0) {
        (void)ist_store_grow(server->store, missing < step ? missing : step);
        sim_server_called(server);
        sim_event_at(&server->world->fabric, &server->growth,
                     sim_fabric_now_ns(&server->world->fabric) + 5 * SIM_MS);
    }
}

static bool start(struct sim_server *server, uint32_t life) {
    const struct sim_plan *plan = &server->world->plan;
    const struct ist_store_config store_config = {
        .pool_bytes_max = plan->pool_bytes,
        .min_block_bytes = plan->min_block_bytes,
        .granule_bytes = plan->granule_bytes,
        .hash_key = plan->hash_key,
        .alloc = &server->memory.alloc,
    };
    const struct ist_engine_config engine_config = {
        .incarnation = life,
        .sessions_max = plan->sessions_max,
        .requests_in_flight_max = plan->requests_in_flight_max,
        .queued_bytes_max = plan->queued_bytes_max,
        .handshake_timeout_ns = plan->handshake_timeout_ns,
        .progress_timeout_ns = plan->progress_timeout_ns,
        .server_name = "sim",
        .alloc = &server->memory.alloc,
        .log = ist_log_null(),
    };
    if (ist_store_new(&store_config, &server->store) != IST_OK) {
        return false;
    }
    if ((plan->pool_begin_bytes > 0 &&
         ist_store_grow(server->store, plan->pool_begin_bytes) != IST_OK) ||
        ist_engine_new(&engine_config, server->store, &server->engine) != IST_OK) {
        ist_store_free(server->store);
        server->store = NULL;
        return false;
    }
    return true;
}

void sim_server_start(struct sim_server *server) {
    struct sim_world *world = server->world;
    IST_ASSERT(!sim_server_is_up(server));
    uint32_t life = sim_history_life(world->history, server->number);
    if (!start(server, life)) {
        if (server->memory.live != 0) {
            sim_fail(&world->journal, "a server that could not start left memory behind");
        }
        sim_event_at(&world->fabric, &server->restart, sim_fabric_now_ns(&world->fabric) + 5 * SIM_MS);
        return;
    }
    server->life = life;
    server->draining = false;
    server->pool = sim_memory_new(world->plan.pool_bytes, 1);
    sim_holds_init(&server->holds, server);
    sim_rdma_open(&server->rdma, server);
    server->base_bytes = server->memory.live_bytes;
    sim_journal_note(&world->journal, SIM_NOTE_START, server->number, server->life, 0, 0, 0);
    on_growth(server);
}

static void check_empty(struct sim_server *server) {
    const struct sim_journal *journal = &server->world->journal;
    struct ist_store_usage usage;
    ist_store_usage(server->store, &usage);
    sim_journal_note(&server->world->journal, SIM_NOTE_BALANCE, server->number, usage.keys,
                     usage.free_bytes, usage.pool_bytes, usage.evicted_entries);
    if (usage.pinned_entries != 0 || usage.reserved_bytes != 0 || usage.doomed_bytes != 0) {
        sim_fail(journal, "no session is left, but %llu pins, %llu bytes reserved, %llu doomed are",
                 (unsigned long long)usage.pinned_entries, (unsigned long long)usage.reserved_bytes,
                 (unsigned long long)usage.doomed_bytes);
    }
    uint64_t gone = ist_store_purge(server->store);
    if (gone != usage.keys) {
        sim_fail(journal, "a purge took %llu keys of %llu", (unsigned long long)gone,
                 (unsigned long long)usage.keys);
    }
    ist_store_usage(server->store, &usage);
    if (usage.free_bytes != usage.pool_bytes) {
        sim_fail(journal, "all is purged, but %llu bytes of %llu are free",
                 (unsigned long long)usage.free_bytes, (unsigned long long)usage.pool_bytes);
    }
    ist_store_check(server->store);
}

void sim_server_stop(struct sim_server *server, bool abrupt) {
    struct sim_world *world = server->world;
    sim_server_check(server);
    while (server->first != NULL) {
        end_session(server->first, abrupt);
    }
    sim_rdma_close(&server->rdma);
    sim_event_cancel(&world->fabric, &server->tick);
    sim_event_cancel(&world->fabric, &server->growth);
    sim_event_cancel(&world->fabric, &server->restart);
    sim_history_evicted(world->history, server->life, sim_server_evicted(server));
    server->evicted_before += sim_server_evicted(server);
    check_empty(server);
    sim_holds_fini(&server->holds);
    ist_engine_free(server->engine);
    ist_store_free(server->store);
    free(server->pool);
    server->engine = NULL;
    server->store = NULL;
    server->pool = NULL;
    sim_journal_note(&world->journal, SIM_NOTE_STOP, server->number, server->life, 0, 0, 0);
    if (server->memory.live != 0) {
        sim_fail(&world->journal, "a server that has ended left %llu allocations behind",
                 (unsigned long long)server->memory.live);
    }
}

static void on_restart(void *owner) {
    struct sim_server *server = owner;
    if (sim_server_is_up(server)) {
        sim_server_stop(server, false);
    }
    sim_server_start(server);
}

void sim_server_drain(struct sim_server *server) {
    server->draining = true;
    sim_event_at(&server->world->fabric, &server->restart,
                 sim_fabric_now_ns(&server->world->fabric) + DRAIN_NS);
    ist_engine_drain(server->engine, sim_server_now_ns(server));
    sim_server_called(server);
    settle(server);
}

void sim_server_jump(struct sim_server *server, uint64_t by_ns) {
    server->ahead_ns += by_ns;
    if (sim_server_is_up(server)) {
        settle(server);
    }
}

static void on_memory_end(void *owner) {
    ((struct sim_server *)owner)->memory.failing_permille = 0;
}

void sim_server_init(struct sim_server *server, struct sim_world *world, unsigned number) {
    *server = (struct sim_server){.world = world, .number = number};
    sim_memory_init(&server->memory, world->plan.seed, number);
    server->listener = (struct sim_listener){on_accept, server};
    sim_event_init(&server->tick, on_tick, server);
    sim_event_init(&server->growth, on_growth, server);
    sim_event_init(&server->restart, on_restart, server);
    sim_event_init(&server->memory_end, on_memory_end, server);
}

void sim_server_fini(struct sim_server *server) {
    IST_ASSERT(!sim_server_is_up(server));
    sim_event_cancel(&server->world->fabric, &server->restart);
    sim_event_cancel(&server->world->fabric, &server->memory_end);
}

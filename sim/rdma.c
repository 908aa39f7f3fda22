#include "sim/rdma.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/session.h"
#include "sim/canary.h"
#include "sim/server.h"
#include "sim/world.h"
#include "verbs/completion.h"
#include "verbs/device.h"
#include "verbs/queue_pair.h"
#include "wire/codec.h"

#define EVENTS_MAX 32u
#define BUFFERS_MAX 16u
#define SEND_WR 64u
#define MESSAGES 8u
#define MESSAGE_BYTES 1024u
#define HELD_MAX (MESSAGES + IST_COMPLETION_SPARE_MESSAGES)
#define WORK_BATCH 16u
#define MESSAGE_WR 8u /* requests that works leave for messages */
#define LINGER_NS (2 * SIM_SEC)
#define LINGER_LOOK_NS (100 * SIM_MS)

/* A message whose bytes the session has not taken yet. */
struct held {
    uint32_t buffer, bytes, used;
};

struct sim_rdma_connection {
    struct sim_edge edge; /* first member: the session's user */
    struct sim_rdma_host *host;
    struct sim_rdma_connection *previous, *next;
    void *owner; /* NULL: gone, or told */
    struct ist_session *session;
    struct ist_queue_pair *queue_pair;
    bool is_closing, is_broken, is_drained;
    uint64_t since_ns;          /* that it is closing, or broken */
    struct held held[HELD_MAX]; /* a ring */
    uint32_t held_first, held_count;
};

static uint64_t now_of(const struct sim_rdma_host *host) {
    return sim_fabric_now_ns(&host->server->world->fabric);
}

/* ---- the end of a connection ------------------------------------------------------------------------- */

static void give_back(struct sim_rdma_host *host, uint32_t buffer) {
    if (!host->is_dead && ist_completion_give_back(host->completion, buffer) != IST_OK) {
        host->is_dead = true;
    }
}

/* No work moves bytes once the queue pair is destroyed: only then may the session give up its blocks. */
static void free_connection(struct sim_rdma_connection *connection) {
    struct sim_rdma_host *host = connection->host;
    while (connection->held_count > 0) {
        give_back(host, connection->held[connection->held_first].buffer);
        connection->held_first = (connection->held_first + 1) % HELD_MAX;
        connection->held_count--;
    }
    ist_queue_pair_free(connection->queue_pair);
    ist_session_close(connection->session);
    *(connection->previous == NULL ? &host->first : &connection->previous->next) = connection->next;
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    free(connection);
}

size_t sim_rdma_connections(const struct sim_rdma_host *host) {
    size_t count = 0;
    for (const struct sim_rdma_connection *c = host->first; c != NULL; c = c->next) {
        count++;
    }
    return count;
}

uint64_t sim_rdma_outstanding(const struct sim_rdma_host *host) {
    uint64_t count = 0;
    for (const struct sim_rdma_connection *c = host->first; c != NULL; c = c->next) {
        count += ist_queue_pair_outstanding(c->queue_pair);
    }
    return count;
}

static void look_again(struct sim_rdma_host *host) {
    sim_event_by(&host->server->world->fabric, &host->linger, now_of(host) + LINGER_LOOK_NS);
}

static void break_connection(struct sim_rdma_connection *connection) {
    if (!connection->is_broken) {
        connection->is_broken = true;
        connection->since_ns = now_of(connection->host);
        ist_queue_pair_break(connection->queue_pair);
        look_again(connection->host);
    }
}

/* True: it is gone. */
static bool bury(struct sim_rdma_connection *connection) {
    struct sim_rdma_host *host = connection->host;
    bool late = now_of(host) - connection->since_ns >= LINGER_NS;
    bool over = connection->is_drained && ist_queue_pair_outstanding(connection->queue_pair) == 0;
    if (!connection->is_broken || (!over && !late && !host->is_dead)) {
        return false;
    }
    void *owner = connection->owner;
    free_connection(connection);
    if (owner != NULL) {
        sim_server_rdma_ended(owner);
    }
    return true;
}

void sim_rdma_disconnect(struct sim_rdma_connection *connection) {
    connection->owner = NULL;
    break_connection(connection);
}

/* ---- one turn of a connection ------------------------------------------------------------------------ */

static bool take_work(struct sim_rdma_connection *connection, unsigned wants) {
    struct sim_rdma_host *host = connection->host;
    struct ist_work works[WORK_BATCH];
    uint32_t room = ist_queue_pair_room(connection->queue_pair);
    if ((wants & IST_WANT_WORK) == 0 || room <= MESSAGE_WR) {
        return false;
    }
    room -= MESSAGE_WR;
    size_t count = ist_session_work(connection->session, works, room < WORK_BATCH ? room : WORK_BATCH,
                                    sim_server_now_ns(host->server));
    for (size_t i = 0; i < count; i++) {
        struct ist_one_sided work = {
            .read = works[i].kind == IST_WORK_READ,
            .piece_count = 1,
            .pieces = {{host->region.address + works[i].offset, works[i].bytes, host->region.lkey}},
            .remote_address = works[i].address,
            .rkey = works[i].rkey,
        };
        ist_queue_pair_add_work(connection->queue_pair, &work);
    }
    if (sim_canary_is(SIM_CANARY_WORK_DONE_AT_POST) && count > 0) {
        ist_session_work_done(connection->session, count, sim_server_now_ns(host->server));
    }
    return count > 0;
}

static bool take_reply(struct sim_rdma_connection *connection, unsigned wants) {
    uint32_t room = ist_queue_pair_message_room(connection->queue_pair), used = 0;
    if ((wants & IST_WANT_SEND) == 0 || room == 0) {
        return false;
    }
    struct ist_buffer buffers[BUFFERS_MAX];
    size_t count = ist_session_send_buffers(connection->session, buffers, BUFFERS_MAX);
    uint8_t *message = ist_queue_pair_message(connection->queue_pair);
    for (size_t i = 0; i < count && used < room; i++) {
        IST_ASSERT(buffers[i].kind == IST_BUFFER_MEMORY);
        uint32_t part = buffers[i].bytes < room - used ? (uint32_t)buffers[i].bytes : room - used;
        memcpy(message + used, buffers[i].memory, part);
        used += part;
    }
    ist_queue_pair_add_message(connection->queue_pair, used);
    ist_session_sent(connection->session, used, sim_server_now_ns(connection->host->server));
    return true;
}

static bool give_request(struct sim_rdma_connection *connection, unsigned wants) {
    struct sim_rdma_host *host = connection->host;
    if ((wants & IST_WANT_RECV) == 0 || connection->held_count == 0) {
        return false;
    }
    struct held *held = &connection->held[connection->held_first];
    const uint8_t *from = ist_completion_buffer(host->completion, held->buffer);
    struct ist_buffer buffers[BUFFERS_MAX];
    size_t count = ist_session_recv_buffers(connection->session, buffers, BUFFERS_MAX);
    uint32_t before = held->used;
    for (size_t i = 0; i < count && held->used < held->bytes; i++) {
        uint32_t left = held->bytes - held->used;
        uint32_t part = buffers[i].bytes < left ? (uint32_t)buffers[i].bytes : left;
        if (buffers[i].kind == IST_BUFFER_MEMORY) {
            memcpy(buffers[i].memory, from + held->used, part);
        }
        held->used += part;
    }
    uint32_t bytes = held->used - before;
    if (held->used == held->bytes) {
        give_back(host, held->buffer);
        if (!sim_canary_is(SIM_CANARY_LOST_CREDIT)) {
            ist_queue_pair_owe_credit(connection->queue_pair);
        }
        connection->held_first = (connection->held_first + 1) % HELD_MAX;
        connection->held_count--;
    }
    ist_session_received(connection->session, bytes, sim_server_now_ns(host->server));
    return true;
}

/* The session has ended; its last reply may still be on its way, and breaking the queue pair would flush it. */
static void close_connection(struct sim_rdma_connection *connection) {
    if (!connection->is_closing) {
        connection->is_closing = true;
        connection->since_ns = now_of(connection->host);
        look_again(connection->host);
    }
}

/* Everything that can be done now. The connection may be gone afterwards. */
static void run_connection(struct sim_rdma_connection *connection) {
    bool more = true;
    while (more && !connection->is_broken) {
        unsigned wants = ist_session_wants(connection->session);
        if ((wants & IST_WANT_CLOSE) != 0) {
            close_connection(connection);
            break;
        }
        /* Works first: a reply that stands behind them has been queued by handing them out. */
        more = take_work(connection, wants) || take_reply(connection, wants) ||
               give_request(connection, wants);
        sim_server_called(connection->host->server);
    }
    if (!connection->is_broken && ist_queue_pair_flush(connection->queue_pair) != IST_OK) {
        break_connection(connection);
    }
    if (connection->is_closing && ist_queue_pair_outstanding(connection->queue_pair) == 0) {
        break_connection(connection);
    }
    (void)bury(connection);
}

static void run_edge(struct sim_edge *edge) {
    run_connection((struct sim_rdma_connection *)edge);
}

/* ---- completions ------------------------------------------------------------------------------------- */

static void hold(struct sim_rdma_connection *connection, const struct ist_completion_event *event) {
    if (!ist_queue_pair_received(connection->queue_pair, event)) {
        give_back(connection->host, event->buffer);
        return;
    }
    if (connection->held_count == HELD_MAX) {
        sim_fail(&connection->host->server->world->journal, "a client sent beyond its credits");
    }
    connection->held[(connection->held_first + connection->held_count++) % HELD_MAX] =
        (struct held){.buffer = event->buffer, .bytes = event->bytes};
}

static void handle(struct sim_rdma_host *host, const struct ist_completion_event *event) {
    struct sim_rdma_connection *connection =
        event->queue_pair == NULL ? NULL : ist_queue_pair_user(event->queue_pair);
    if (connection == NULL || connection->is_broken || event->kind == IST_COMPLETION_FAILED) {
        if (event->has_buffer) {
            give_back(host, event->buffer);
        }
        if (connection != NULL && !event->has_buffer) {
            (void)ist_queue_pair_retire(connection->queue_pair, event->count);
        }
        if (connection != NULL) {
            break_connection(connection);
        }
        return;
    }
    if (event->kind == IST_COMPLETION_RECEIVED) {
        hold(connection, event);
        return;
    }
    uint64_t works = ist_queue_pair_retire(connection->queue_pair, event->count);
    if (works > 0 && !sim_canary_is(SIM_CANARY_WORK_DONE_AT_POST)) {
        ist_session_work_done(connection->session, works, sim_server_now_ns(host->server));
    }
}

static void note_queue_pair(struct sim_rdma_host *host, const struct ist_device_event *event) {
    struct ist_queue_pair *of = ist_completion_find(host->completion, event->queue_pair);
    if (of != NULL) {
        struct sim_rdma_connection *connection = ist_queue_pair_user(of);
        connection->is_drained |= event->kind == IST_DEVICE_LAST_RECEIVE;
        break_connection(connection);
    }
}

static void break_all(struct sim_rdma_host *host) {
    for (struct sim_rdma_connection *c = host->first; c != NULL; c = c->next) {
        break_connection(c);
    }
}

static void take_events(struct sim_rdma_host *host) {
    struct ist_device_event event;
    while (ist_device_next_event(host->device, &event) == IST_OK) {
        switch (event.kind) {
        case IST_DEVICE_PORT_DOWN:
            host->is_down = true;
            break_all(host);
            break;
        case IST_DEVICE_PORT_UP: host->is_down = false; break;
        case IST_DEVICE_FAILED: host->is_dead = true; break;
        case IST_DEVICE_QUEUE_PAIR_FAILED:
        case IST_DEVICE_LAST_RECEIVE: note_queue_pair(host, &event); break;
        case IST_DEVICE_RECEIVES_LOW:
        case IST_DEVICE_OTHER: break;
        }
    }
}

static void run_all(struct sim_rdma_host *host) {
    for (struct sim_rdma_connection *c = host->first, *next; c != NULL; c = next) {
        next = c->next;
        run_connection(c);
    }
}

void sim_rdma_poll(struct sim_rdma_host *host) {
    struct ist_completion_event events[EVENTS_MAX];
    size_t count = EVENTS_MAX;
    if (host->device == NULL) {
        return;
    }
    take_events(host);
    while (count == EVENTS_MAX) {
        count = ist_completion_poll(host->completion, events, EVENTS_MAX);
        for (size_t i = 0; i < count; i++) {
            handle(host, &events[i]);
        }
    }
    if (host->is_dead) {
        break_all(host);
    }
    run_all(host);
}

static void on_linger(void *owner) {
    struct sim_rdma_host *host = owner;
    for (struct sim_rdma_connection *c = host->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c->is_closing && !c->is_broken && now_of(host) - c->since_ns >= LINGER_NS) {
            break_connection(c);
        }
        if ((c->is_closing || c->is_broken) && !bury(c)) {
            look_again(host);
        }
    }
}

/* ---- making ------------------------------------------------------------------------------------------ */

static enum ist_status make_queue_pair(struct sim_rdma_connection *connection, uint64_t id,
                                       const struct ist_queue_pair_end *peer) {
    struct sim_rdma_host *host = connection->host;
    const struct ist_queue_pair_config config = {
        .completion = host->completion,
        .packet_number = (uint32_t)sim_random_mix(id) & 0xffffffu,
        .peer = peer->gid,
        .user = connection,
    };
    enum ist_status status = ist_queue_pair_new(&config, &connection->queue_pair);
    if (status != IST_OK) {
        return status;
    }
    status = ist_queue_pair_connect(connection->queue_pair, peer);
    if (status == IST_OK) {
        status = ist_session_open_rdma(host->server->engine, id, &connection->edge,
                                       sim_server_now_ns(host->server), &connection->session);
    }
    if (status != IST_OK) {
        ist_queue_pair_free(connection->queue_pair);
    }
    return status;
}

struct sim_rdma_connection *sim_rdma_connect(struct sim_rdma_host *host, void *owner, uint64_t id,
                                             const struct ist_endpoint *peer,
                                             struct ist_endpoint *own) {
    *own = (struct ist_endpoint){.status = IST_DEVICE};
    if (host->device == NULL || host->is_down || host->is_dead) {
        return NULL;
    }
    if (!ist_queue_pair_end_is_valid(host->device, &peer->end)) {
        sim_fail(&host->server->world->journal, "a client says what its queue pair cannot be");
    }
    struct sim_rdma_connection *new = sim_memory_new(1, sizeof(*new));
    new->edge.run = run_edge;
    new->host = host;
    new->owner = owner;
    if (make_queue_pair(new, id, &peer->end) != IST_OK) {
        free(new);
        return NULL;
    }
    own->status = IST_OK;
    ist_queue_pair_end(new->queue_pair, &own->end);
    new->next = host->first;
    if (host->first != NULL) {
        host->first->previous = new;
    }
    host->first = new;
    return new;
}

static bool open_queues(struct sim_rdma_host *host) {
    struct sim_server *server = host->server;
    const struct ist_completion_config config = {
        .device = host->device,
        .queue_pairs_max = 4 * SIM_NODES_MAX,
        .send_wr = SEND_WR,
        .messages = MESSAGES,
        .message_bytes = MESSAGE_BYTES,
        .alloc = &server->memory.alloc,
        .log = ist_log_null(),
    };
    if (ist_completion_new(&config, &host->completion) != IST_OK) {
        return false;
    }
    if (ist_region_register(host->device, server->pool, server->world->plan.pool_bytes,
                            IST_MEMORY_LOCAL, &host->region) != IST_OK) {
        ist_completion_free(host->completion);
        host->completion = NULL;
        return false;
    }
    return true;
}

void sim_rdma_open(struct sim_rdma_host *host, struct sim_server *server) {
    char name[SIM_RDMA_NAME_BYTES], why[128];
    *host = (struct sim_rdma_host){.server = server};
    sim_event_init(&host->linger, on_linger, host);
    if (server->world->rdma.hca == NULL) {
        return;
    }
    sim_rdma_sync(server->world);
    sim_rdma_device_name(true, server->number, name);
    const struct ist_device_config config = {
        .name = name, .hint_gid_index = -1, .alloc = &server->memory.alloc, .log = ist_log_null()};
    if (ist_device_open(&config, &host->device, why, sizeof(why)) != IST_OK) {
        host->device = NULL;
    } else if (!open_queues(host)) {
        ist_device_close(host->device);
        host->device = NULL;
    }
}

void sim_rdma_close(struct sim_rdma_host *host) {
    sim_event_cancel(&host->server->world->fabric, &host->linger);
    if (host->device == NULL) {
        return;
    }
    sim_rdma_sync(host->server->world);
    while (host->first != NULL) {
        free_connection(host->first);
    }
    ist_completion_free(host->completion);
    ist_region_drop(&host->region);
    ist_device_close(host->device);
    host->device = NULL;
}

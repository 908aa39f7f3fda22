#include "daemon/rdma.h"

#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "daemon/clock.h"
#include "daemon/edge.h"
#include "engine/session.h"
#include "verbs/queue_pair.h"
#include "wire/codec.h"

#define BUFFERS_MAX 16u
#define EVENTS_MAX 32u
#define HELD_MAX (IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES)
/* Requests that works leave for messages: replies must not wait behind a batch of thousands. */
#define MESSAGE_WR 16u
/* A broken queue pair is destroyed when all that was posted has come out, and the buffers that it had taken, too (IBTA
 * 10.3.1: after the last WQE reached event); or at last after this, where a device does not tell. */
#define LINGER_SEC 2.
#define UINT24_MAX 0xffffffu

/* A message whose bytes the session has not taken yet. */
struct held {
    uint32_t buffer, bytes, used;
};

struct ist_rdma_connection {
    struct ist_edge edge; /* first member: the session's user */
    struct ist_rdma *rdma;
    struct ist_rdma_connection *next, *prev;
    struct ist_rdma_connection *next_pending, *prev_pending; /* to be run */
    bool is_pending, is_closing, is_broken;
    bool is_drained; /* broken, and it will take no buffer of the shared queue any more */
    void *owner;     /* NULL: gone, or told */
    struct ist_session *session;
    struct ist_queue_pair *queue_pair;
    ev_tstamp closing_at, broken_at;
    struct held held[HELD_MAX]; /* a ring */
    uint32_t held_first, held_count;
};

struct ist_rdma {
    struct ist_rdma_config config;
    struct ist_completion *completion;
    ev_io completions, events;
    ev_timer linger;
    ev_timer again; /* in the next turn: there is more to do than this turn's share */
    struct ist_rdma_connection *first;
    size_t count;
    struct ist_rdma_connection *first_pending, *last_pending;
    size_t pending_count;
    bool is_down, is_dead; /* the port; the device */
    bool has_more;         /* completions that this turn left in the queue */
};

static void run_pending(struct ist_rdma *rdma);

/* To be run, behind those that wait for that. */
static void mark(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    if (connection->is_pending) {
        return;
    }
    connection->is_pending = true;
    connection->next_pending = NULL;
    connection->prev_pending = rdma->last_pending;
    *(rdma->last_pending == NULL ? &rdma->first_pending : &rdma->last_pending->next_pending) =
        connection;
    rdma->last_pending = connection;
    rdma->pending_count++;
}

static void unmark(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    struct ist_rdma_connection *next = connection->next_pending, *prev = connection->prev_pending;
    if (!connection->is_pending) {
        return;
    }
    connection->is_pending = false;
    *(prev == NULL ? &rdma->first_pending : &prev->next_pending) = next;
    *(next == NULL ? &rdma->last_pending : &next->prev_pending) = prev;
    rdma->pending_count--;
}

/* ---- the end of a connection ------------------------------------------------------------------------ */

/* RDMA is over: the next turn ends all connections, since this one is in the middle of some. */
static void die(struct ist_rdma *rdma) {
    rdma->is_dead = true;
    ev_timer_start(rdma->config.loop, &rdma->again);
}

static void give_back(struct ist_rdma *rdma, uint32_t buffer) {
    if (!rdma->is_dead && ist_completion_give_back(rdma->completion, buffer) != IST_OK) {
        die(rdma);
    }
}

static void drop_held(struct ist_rdma_connection *connection) {
    while (connection->held_count > 0) {
        give_back(connection->rdma, connection->held[connection->held_first].buffer);
        connection->held_first = (connection->held_first + 1) % HELD_MAX;
        connection->held_count--;
    }
}

/* No work moves bytes once the queue pair is destroyed: only then may the session give up its blocks. */
static void connection_free(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    unmark(connection);
    drop_held(connection);
    ist_queue_pair_free(connection->queue_pair);
    ist_session_close(connection->session);
    *(connection->prev == NULL ? &rdma->first : &connection->prev->next) = connection->next;
    if (connection->next != NULL) {
        connection->next->prev = connection->prev;
    }
    rdma->count--;
    ist_release(rdma->config.alloc, connection);
}

/* Looks after those that end, until there are none. */
static void linger(struct ist_rdma *rdma) {
    if (!ev_is_active(&rdma->linger)) {
        ev_timer_set(&rdma->linger, LINGER_SEC, LINGER_SEC);
        ev_timer_start(rdma->config.loop, &rdma->linger);
    }
}

static void connection_break(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    if (!connection->is_broken) {
        connection->is_broken = true;
        connection->broken_at = ev_now(rdma->config.loop);
        ist_queue_pair_break(connection->queue_pair);
        linger(rdma);
    }
    mark(connection);
}

/* True: it is gone. */
static bool connection_bury(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    bool late = ev_now(rdma->config.loop) - connection->broken_at >= LINGER_SEC;
    bool over = connection->is_drained && !rdma->has_more &&
                ist_queue_pair_outstanding(connection->queue_pair) == 0;
    if (!connection->is_broken || (!over && !late && !rdma->is_dead)) {
        return false;
    }
    void *owner = connection->owner;
    connection_free(connection);
    if (owner != NULL) {
        rdma->config.ended(owner);
    }
    return true;
}

static void on_linger(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)revents;
    struct ist_rdma *rdma = timer->data;
    bool more = false;
    for (struct ist_rdma_connection *c = rdma->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c->is_closing && !c->is_broken && ev_now(loop) - c->closing_at >= LINGER_SEC) {
            connection_break(c);
        }
        more = ((c->is_closing || c->is_broken) && !connection_bury(c)) || more;
    }
    if (!more) {
        ev_timer_stop(loop, timer);
    }
}

void ist_rdma_disconnect(struct ist_rdma_connection *connection) {
    connection->owner = NULL;
    connection_break(connection);
    run_pending(connection->rdma);
}

/* ---- one turn of a connection ----------------------------------------------------------------------- */

static bool take_work(struct ist_rdma_connection *connection, unsigned wants) {
    struct ist_work works[IST_RDMA_WORK_BATCH];
    uint32_t room = ist_queue_pair_room(connection->queue_pair);
    if ((wants & IST_WANT_WORK) == 0 || room <= MESSAGE_WR) {
        return false;
    }
    room -= MESSAGE_WR;
    size_t count =
        ist_session_work(connection->session, works,
                         room < IST_RDMA_WORK_BATCH ? room : IST_RDMA_WORK_BATCH, ist_clock_ns());
    for (size_t i = 0; i < count; i++) {
        struct ist_one_sided work = {.read = works[i].kind == IST_WORK_READ,
                                     .remote_address = works[i].address,
                                     .rkey = works[i].rkey};
        work.piece_count = ist_registration_find(connection->rdma->config.registration, works[i].offset,
                                                 works[i].bytes, work.pieces);
        if (work.piece_count == 0) {
            ist_log_warning(connection->rdma->config.log, 0,
                            "a block that is not registered for RDMA: closing");
            connection_break(connection);
            return false;
        }
        ist_queue_pair_add_work(connection->queue_pair, &work);
    }
    return count > 0;
}

/* Replies are short and copied once, into the message. */
static bool take_reply(struct ist_rdma_connection *connection, unsigned wants) {
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
    ist_session_sent(connection->session, used, ist_clock_ns());
    return true;
}

static bool give_request(struct ist_rdma_connection *connection, unsigned wants) {
    if ((wants & IST_WANT_RECV) == 0 || connection->held_count == 0) {
        return false;
    }
    struct held *held = &connection->held[connection->held_first];
    const uint8_t *from = ist_completion_buffer(connection->rdma->completion, held->buffer);
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
        give_back(connection->rdma, held->buffer);
        ist_queue_pair_owe_credit(connection->queue_pair);
        connection->held_first = (connection->held_first + 1) % HELD_MAX;
        connection->held_count--;
    }
    ist_session_received(connection->session, bytes, ist_clock_ns());
    return true;
}

/* The session has ended; its last reply may still be on its way, and breaking the queue pair would flush it. A peer
 * that takes nothing must not keep it: see on_linger(). */
static void connection_close(struct ist_rdma_connection *connection) {
    if (!connection->is_closing) {
        connection->is_closing = true;
        connection->closing_at = ev_now(connection->rdma->config.loop);
        linger(connection->rdma);
    }
}

/* Everything that can be done now, within the turn's budget. The connection may be gone afterwards. */
static void connection_run(struct ist_rdma_connection *connection) {
    unsigned budget = IST_RDMA_WORK_BATCH;
    bool more = true;
    while (more && budget-- > 0 && !connection->is_broken) {
        unsigned wants = ist_session_wants(connection->session);
        if ((wants & IST_WANT_CLOSE) != 0) {
            connection_close(connection);
            break;
        }
        /* Works first: a reply that stands behind them has been queued by handing them out. */
        more = take_work(connection, wants) || take_reply(connection, wants) ||
               give_request(connection, wants);
    }
    if (!connection->is_broken && ist_queue_pair_flush(connection->queue_pair) != IST_OK) {
        connection_break(connection);
    }
    if (connection->is_closing && ist_queue_pair_outstanding(connection->queue_pair) == 0) {
        connection_break(connection);
    }
    if (!connection_bury(connection) && more && !connection->is_broken) {
        mark(connection);
        ev_timer_start(connection->rdma->config.loop, &connection->rdma->again);
    }
}

/* Those that wait now, each once: who wants more waits for the next turn. */
static void run_pending(struct ist_rdma *rdma) {
    for (size_t turns = rdma->pending_count; turns > 0 && rdma->first_pending != NULL; turns--) {
        struct ist_rdma_connection *connection = rdma->first_pending;
        unmark(connection);
        connection_run(connection);
    }
}

static void run_edge(struct ist_edge *edge) {
    struct ist_rdma_connection *connection = (struct ist_rdma_connection *)edge;
    mark(connection);
    run_pending(connection->rdma);
}

/* ---- completions ------------------------------------------------------------------------------------ */

static void hold(struct ist_rdma_connection *connection, const struct ist_completion_event *event) {
    if (!ist_queue_pair_received(connection->queue_pair, event)) {
        give_back(connection->rdma, event->buffer);
        return;
    }
    if (connection->held_count == HELD_MAX) {
        ist_log_warning(connection->rdma->config.log, 0, "a client sent beyond its credits: closing");
        give_back(connection->rdma, event->buffer);
        connection_break(connection);
        return;
    }
    connection->held[(connection->held_first + connection->held_count++) % HELD_MAX] =
        (struct held){.buffer = event->buffer, .bytes = event->bytes};
}

static void handle(struct ist_rdma *rdma, const struct ist_completion_event *event) {
    struct ist_rdma_connection *connection =
        event->queue_pair == NULL ? NULL : ist_queue_pair_user(event->queue_pair);
    if (connection == NULL || connection->is_broken || event->kind == IST_COMPLETION_FAILED) {
        if (event->has_buffer) {
            give_back(rdma, event->buffer);
        }
        if (connection == NULL) {
            return;
        }
        if (!event->has_buffer) {
            (void)ist_queue_pair_retire(connection->queue_pair, event->count);
        }
        if (!connection->is_broken) {
            ist_log_warning(rdma->config.log, 0, "RDMA to a client failed: %s: closing",
                            event->failure);
        }
        connection_break(connection);
        return;
    }
    if (event->kind == IST_COMPLETION_RECEIVED) {
        hold(connection, event);
    } else {
        uint64_t works = ist_queue_pair_retire(connection->queue_pair, event->count);
        if (works > 0) {
            ist_session_work_done(connection->session, works, ist_clock_ns());
        }
    }
    mark(connection);
}

static void break_all(struct ist_rdma *rdma) {
    for (struct ist_rdma_connection *c = rdma->first; c != NULL; c = c->next) {
        connection_break(c);
    }
}

/* Up to a share of what is there. True: there may be more. */
static bool take_completions(struct ist_rdma *rdma) {
    struct ist_completion_event events[EVENTS_MAX];
    size_t total = 0, count = EVENTS_MAX;
    while (count == EVENTS_MAX && total < IST_RDMA_POLL_BUDGET) {
        count = ist_completion_poll(rdma->completion, events, EVENTS_MAX);
        for (size_t i = 0; i < count; i++) {
            handle(rdma, &events[i]);
        }
        total += count;
    }
    return count == EVENTS_MAX;
}

static void poll_completions(struct ev_loop *loop, struct ist_rdma *rdma) {
    rdma->has_more = take_completions(rdma);
    if (rdma->is_dead) {
        /* Its descriptors would be readable for ever, and tell nothing. */
        ev_io_stop(loop, &rdma->completions);
        ev_io_stop(loop, &rdma->events);
        break_all(rdma);
        rdma->has_more = false;
    }
    run_pending(rdma);
    if (rdma->has_more) {
        ev_timer_start(loop, &rdma->again); /* no event comes for what is still in the queue */
    }
}

static void on_completions(struct ev_loop *loop, ev_io *io, int revents) {
    (void)revents;
    struct ist_rdma *rdma = io->data;
    ist_completion_arm(rdma->completion);
    poll_completions(loop, rdma);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)revents;
    struct ist_rdma *rdma = timer->data;
    poll_completions(loop, rdma);
}

static void note_queue_pair(struct ist_rdma *rdma, const struct ist_device_event *event) {
    struct ist_queue_pair *of = ist_completion_find(rdma->completion, event->queue_pair);
    if (of != NULL) {
        struct ist_rdma_connection *connection = ist_queue_pair_user(of);
        connection->is_drained |= event->kind == IST_DEVICE_LAST_RECEIVE;
        connection_break(connection);
    }
}

static void on_events(struct ev_loop *loop, ev_io *io, int revents) {
    (void)revents;
    struct ist_rdma *rdma = io->data;
    struct ist_device_event event;
    while (ist_device_next_event(rdma->config.device, &event) == IST_OK) {
        switch (event.kind) {
        case IST_DEVICE_PORT_DOWN:
            rdma->is_down = true;
            break_all(rdma);
            break;
        case IST_DEVICE_PORT_UP: rdma->is_down = false; break;
        case IST_DEVICE_FAILED: rdma->is_dead = true; break;
        case IST_DEVICE_QUEUE_PAIR_FAILED:
        case IST_DEVICE_LAST_RECEIVE: note_queue_pair(rdma, &event); break;
        case IST_DEVICE_OTHER: break;
        }
    }
    poll_completions(loop, rdma);
}

/* ---- making ----------------------------------------------------------------------------------------- */

enum ist_status ist_rdma_new(const struct ist_rdma_config *config, struct ist_rdma **rdma) {
    struct ist_rdma *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->config = *config;
    const struct ist_completion_config completion_config = {.device = config->device,
                                                            .queue_pairs_max = config->sessions_max,
                                                            .send_wr = IST_RDMA_SEND_WR,
                                                            .messages = IST_RDMA_MESSAGES,
                                                            .message_bytes = IST_RDMA_MESSAGE_BYTES,
                                                            .alloc = config->alloc,
                                                            .log = config->log};
    enum ist_status status = ist_completion_new(&completion_config, &new->completion);
    if (status != IST_OK) {
        ist_release(config->alloc, new);
        return status;
    }
    ev_io_init(&new->completions, on_completions, ist_completion_fd(new->completion), EV_READ);
    ev_io_init(&new->events, on_events, ist_device_fd(config->device), EV_READ);
    ev_init(&new->linger, on_linger);
    ev_timer_init(&new->again, on_again, 0., 0.);
    new->again.data = new;
    new->completions.data = new;
    new->events.data = new;
    new->linger.data = new;
    ev_io_start(config->loop, &new->completions);
    ev_io_start(config->loop, &new->events);
    *rdma = new;
    return IST_OK;
}

void ist_rdma_free(struct ist_rdma *rdma) {
    if (rdma == NULL) {
        return;
    }
    while (rdma->first != NULL) {
        connection_free(rdma->first);
    }
    ev_timer_stop(rdma->config.loop, &rdma->again);
    ev_io_stop(rdma->config.loop, &rdma->completions);
    ev_io_stop(rdma->config.loop, &rdma->events);
    ev_timer_stop(rdma->config.loop, &rdma->linger);
    ist_completion_free(rdma->completion);
    ist_release(rdma->config.alloc, rdma);
}

/* ---- connecting ------------------------------------------------------------------------------------- */

static struct ist_queue_pair_end end_of(const struct ist_endpoint *endpoint) {
    struct ist_queue_pair_end end = {
        .number = endpoint->queue_pair,
        .packet_number = endpoint->packet_number,
        .lid = endpoint->lid,
        .mtu_bytes = endpoint->mtu_bytes,
        .reads = endpoint->reads,
        .messages = endpoint->messages,
        .message_bytes = endpoint->message_bytes,
    };
    memcpy(end.gid, endpoint->gid, sizeof(end.gid));
    return end;
}

static struct ist_endpoint endpoint_of(const struct ist_queue_pair_end *end) {
    struct ist_endpoint endpoint = {
        .queue_pair = end->number,
        .packet_number = end->packet_number,
        .lid = end->lid,
        .mtu_bytes = end->mtu_bytes,
        .reads = end->reads,
        .messages = end->messages,
        .message_bytes = end->message_bytes,
    };
    memcpy(endpoint.gid, end->gid, sizeof(endpoint.gid));
    return endpoint;
}

static enum ist_status make_queue_pair(struct ist_rdma_connection *connection,
                                       const struct ist_queue_pair_end *peer) {
    struct ist_queue_pair_config config = {
        .completion = connection->rdma->completion, .peer = peer->gid, .user = connection};
    /* Old packets of another connection with the same numbers must not fit; any number will do. */
    if (getrandom(&config.packet_number, sizeof(config.packet_number), 0) !=
        sizeof(config.packet_number)) {
        config.packet_number = peer->packet_number ^ peer->number;
    }
    config.packet_number &= UINT24_MAX;
    enum ist_status status = ist_queue_pair_new(&config, &connection->queue_pair);
    if (status != IST_OK) {
        return status;
    }
    status = ist_queue_pair_connect(connection->queue_pair, peer);
    if (status != IST_OK) {
        ist_queue_pair_free(connection->queue_pair);
    }
    return status;
}

static enum ist_status connect_peer(struct ist_rdma *rdma, void *owner, uint64_t id,
                                    const struct ist_queue_pair_end *peer,
                                    struct ist_rdma_connection **connection) {
    if (rdma->is_down || rdma->is_dead || !ist_registration_is_whole(rdma->config.registration)) {
        return IST_DEVICE;
    }
    if (!ist_queue_pair_end_is_valid(rdma->config.device, peer)) {
        return IST_INVALID;
    }
    struct ist_rdma_connection *new = ist_allocate_zeroed(rdma->config.alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->edge.run = run_edge;
    new->rdma = rdma;
    new->owner = owner;
    enum ist_status status = make_queue_pair(new, peer);
    if (status != IST_OK) {
        goto no_queue_pair;
    }
    status = ist_session_open_rdma(rdma->config.engine, id, &new->edge, ist_clock_ns(), &new->session);
    if (status != IST_OK) {
        goto no_session;
    }
    new->next = rdma->first;
    if (rdma->first != NULL) {
        rdma->first->prev = new;
    }
    rdma->first = new;
    rdma->count++;
    *connection = new;
    return IST_OK;

no_session:
    ist_queue_pair_free(new->queue_pair);
no_queue_pair:
    ist_release(rdma->config.alloc, new);
    return status;
}

void ist_rdma_connect(struct ist_rdma *rdma, void *owner, uint64_t id, const struct ist_endpoint *peer,
                      struct ist_endpoint *own, struct ist_rdma_connection **connection) {
    const struct ist_queue_pair_end end = end_of(peer);
    *connection = NULL;
    enum ist_status status = connect_peer(rdma, owner, id, &end, connection);
    if (status != IST_OK) {
        *own = (struct ist_endpoint){.status = status};
        return;
    }
    struct ist_queue_pair_end ours;
    ist_queue_pair_end((*connection)->queue_pair, &ours);
    *own = endpoint_of(&ours);
}

size_t ist_rdma_connections(const struct ist_rdma *rdma) {
    return rdma->count;
}

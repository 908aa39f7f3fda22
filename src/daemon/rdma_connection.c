#include <string.h>

#include "base/assert.h"
#include "daemon/clock.h"
#include "daemon/rdma_state.h"
#include "engine/session.h"

#define BUFFERS_MAX 16u
/* Requests that works leave for messages: replies must not wait behind a batch of thousands. */
#define MESSAGE_WR 16u
#define SLOW_BYTES 1024u /* of a request: some microseconds' worth of keys */
/* Moved between two replies: a client that waits for the first of many values is not to wait for all. */
#define REPLY_BYTES 65536u
/* A broken queue pair is destroyed when all that was posted has come out, and the buffers that it had taken, too (IBTA
 * 10.3.1: after the last WQE reached event); or at last after this, where a device does not tell. */
#define LINGER_NS (2 * IST_NS_PER_SEC)
#define LINGER_LOOK_SEC 0.5 /* how often */

/* To be run, behind those that wait for that. */
void ist_rdma_mark(struct ist_rdma_connection *connection) {
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

void ist_rdma_give_back(struct ist_rdma *rdma, uint32_t buffer) {
    if (!rdma->is_dead && ist_completion_give_back(rdma->completion, buffer) != IST_OK) {
        die(rdma);
    }
}

static void drop_held(struct ist_rdma_connection *connection) {
    while (connection->held_count > 0) {
        ist_rdma_give_back(connection->rdma, connection->held[connection->held_first].buffer);
        connection->held_first = (connection->held_first + 1) % IST_RDMA_HELD_MAX;
        connection->held_count--;
    }
}

/* No work moves bytes once the queue pair is destroyed: only then may the session give up its blocks. */
void ist_rdma_connection_free(struct ist_rdma_connection *connection) {
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
    rdma->waiting_count -= connection->is_waiting;
    ist_release(rdma->config.alloc, connection);
}

/* Looks after those that end, until there are none. */
static void linger(struct ist_rdma *rdma) {
    if (!ev_is_active(&rdma->linger)) {
        ev_timer_set(&rdma->linger, LINGER_LOOK_SEC, LINGER_LOOK_SEC);
        ev_timer_start(rdma->config.loop, &rdma->linger);
    }
}

void ist_rdma_break(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    if (!connection->is_broken) {
        connection->is_broken = true;
        connection->broken_ns = ist_clock_ns();
        if (!connection->is_connecting) { /* else when it is not: see ist_rdma_settle() */
            ist_queue_pair_break(connection->queue_pair);
        }
        linger(rdma);
    }
    ist_rdma_mark(connection);
}

/* True: it is gone. */
static bool connection_bury(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    if (!connection->is_broken || connection->is_connecting) {
        return false;
    }
    bool late = ist_clock_ns() - connection->broken_ns >= LINGER_NS;
    bool over = connection->is_drained && !rdma->has_more &&
                ist_queue_pair_outstanding(connection->queue_pair) == 0;
    if (!over && !late && !rdma->is_dead) {
        return false;
    }
    void *owner = connection->owner;
    ist_rdma_connection_free(connection);
    if (owner != NULL) {
        rdma->config.ended(owner);
    }
    return true;
}

void ist_rdma_on_linger(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)revents;
    struct ist_rdma *rdma = timer->data;
    bool more = false;
    for (struct ist_rdma_connection *c = rdma->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c->is_closing && !c->is_broken && ist_clock_ns() - c->closing_ns >= LINGER_NS) {
            ist_rdma_break(c);
        }
        more = ((c->is_closing || c->is_broken) && !connection_bury(c)) || more;
    }
    if (!more) {
        ev_timer_stop(loop, timer);
    }
}

void ist_rdma_disconnect(struct ist_rdma_connection *connection) {
    struct ist_rdma *rdma = connection->rdma;
    connection->owner = NULL;
    if (connection->is_connecting && ist_connector_cancel(rdma->connector, &connection->job)) {
        connection->is_connecting = false;
    }
    ist_rdma_break(connection);
    ist_rdma_run_pending(rdma, ist_clock_ns());
}

/* ---- one turn of a connection ----------------------------------------------------------------------- */

/* The time, read when it matters: to look up many keys takes long, and what is sent afterwards tells how long. */
struct moment {
    uint64_t ns;
    bool is_old;
};

static uint64_t now_of(struct moment *moment) {
    if (moment->is_old) {
        *moment = (struct moment){.ns = ist_clock_ns()};
    }
    return moment->ns;
}

/* posted: the bytes that are to be moved are added. */
static bool take_work(struct ist_rdma_connection *connection, unsigned wants, struct moment *moment,
                      uint64_t *posted) {
    struct ist_work works[IST_RDMA_WORK_BATCH];
    uint32_t room = ist_queue_pair_room(connection->queue_pair);
    if ((wants & IST_WANT_WORK) == 0 || room <= MESSAGE_WR) {
        return false;
    }
    room -= MESSAGE_WR;
    size_t count =
        ist_session_work(connection->session, works,
                         room < IST_RDMA_WORK_BATCH ? room : IST_RDMA_WORK_BATCH, moment->ns);
    for (size_t i = 0; i < count; i++) {
        struct ist_one_sided work = {.read = works[i].kind == IST_WORK_READ,
                                     .remote_address = works[i].address,
                                     .rkey = works[i].rkey};
        work.piece_count = ist_registration_find(connection->rdma->config.registration, works[i].offset,
                                                 works[i].bytes, work.pieces);
        if (work.piece_count == 0) {
            ist_log_warning(connection->rdma->config.log, connection->id,
                            "a block that is not registered for RDMA: closing");
            ist_rdma_break(connection);
            return true; /* the session has moved on: what it wanted before is of no use */
        }
        ist_queue_pair_add_work(connection->queue_pair, &work);
        *posted += works[i].bytes;
    }
    return count > 0;
}

/* Replies are short and copied once, into the message. */
static bool take_reply(struct ist_rdma_connection *connection, unsigned wants, struct moment *moment) {
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
    ist_session_sent(connection->session, used, now_of(moment));
    return true;
}

static bool give_request(struct ist_rdma_connection *connection, unsigned wants,
                         struct moment *moment) {
    if ((wants & IST_WANT_RECV) == 0 || connection->held_count == 0) {
        return false;
    }
    struct ist_rdma_held *held = &connection->held[connection->held_first];
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
        ist_rdma_give_back(connection->rdma, held->buffer);
        ist_queue_pair_owe_credit(connection->queue_pair);
        connection->held_first = (connection->held_first + 1) % IST_RDMA_HELD_MAX;
        connection->held_count--;
    }
    ist_session_received(connection->session, bytes, moment->ns);
    moment->is_old |= bytes >= SLOW_BYTES;
    return true;
}

/* The session has ended; its last reply may still be on its way, and breaking the queue pair would flush it. A peer
 * that takes nothing must not keep it: see ist_rdma_on_linger(). */
static void connection_close(struct ist_rdma_connection *connection) {
    if (!connection->is_closing) {
        connection->is_closing = true;
        connection->closing_ns = ist_clock_ns();
        linger(connection->rdma);
    }
}

/* It would send and has no room, or no credit; it does not take what has come; its peer waits for what a work brings. When
 * it has just sent values, nobody waits for these works. */
static bool waits(const struct ist_rdma_connection *connection) {
    const struct ist_session *session = connection->session;
    return connection->is_closing || connection->is_broken || connection->held_count > 0 ||
           (ist_session_wants(session) & (IST_WANT_SEND | IST_WANT_WORK)) != 0 ||
           ist_session_awaits_work(session);
}

/* Everything that can be done now, within the turn's budget. The connection may be gone afterwards. */
static void connection_run(struct ist_rdma_connection *connection, uint64_t now_ns) {
    unsigned budget = IST_RDMA_WORK_BATCH;
    struct moment moment = {.ns = now_ns};
    uint64_t posted = 0;
    bool more = true;
    if (connection->is_connecting) {
        return;
    }
    while (more && budget-- > 0 && !connection->is_broken) {
        unsigned wants = ist_session_wants(connection->session);
        if ((wants & IST_WANT_CLOSE) != 0) {
            connection_close(connection);
            more = false; /* what completes, or the time that is over, brings it back */
            break;
        }
        /* Works first: a reply that stands behind them has been queued by handing them out. It goes when much is to be
         * moved before it; else with those of the requests that are here, in one message. */
        more = take_work(connection, wants, &moment, &posted);
        if (!more && posted >= REPLY_BYTES) {
            more = take_reply(connection, wants, &moment);
            posted = 0;
        }
        more =
            more || give_request(connection, wants, &moment) || take_reply(connection, wants, &moment);
    }
    if (!connection->is_broken && ist_queue_pair_flush(connection->queue_pair) != IST_OK) {
        ist_rdma_break(connection);
    }
    if (connection->is_closing && ist_queue_pair_outstanding(connection->queue_pair) == 0) {
        ist_rdma_break(connection);
    }
    if (connection_bury(connection)) {
        return;
    }
    connection->rdma->waiting_count -= connection->is_waiting;
    connection->is_waiting = waits(connection);
    connection->rdma->waiting_count += connection->is_waiting;
    if (more && !connection->is_broken) {
        ist_rdma_mark(connection);
        ev_timer_start(connection->rdma->config.loop, &connection->rdma->again);
    }
}

/* Those that wait now, each once: who wants more waits for the next turn. */
void ist_rdma_run_pending(struct ist_rdma *rdma, uint64_t now_ns) {
    for (size_t turns = rdma->pending_count; turns > 0 && rdma->first_pending != NULL; turns--) {
        struct ist_rdma_connection *connection = rdma->first_pending;
        unmark(connection);
        connection_run(connection, now_ns);
    }
}

void ist_rdma_run_edge(struct ist_edge *edge) {
    struct ist_rdma_connection *connection = (struct ist_rdma_connection *)edge;
    ist_rdma_mark(connection);
    ist_rdma_run_pending(connection->rdma, ist_clock_ns());
}

/* ---- messages --------------------------------------------------------------------------------------- */

void ist_rdma_hold(struct ist_rdma_connection *connection, const struct ist_completion_event *event) {
    if (!ist_queue_pair_received(connection->queue_pair, event)) {
        ist_rdma_give_back(connection->rdma, event->buffer);
        return;
    }
    if (connection->held_count == IST_RDMA_HELD_MAX) {
        ist_log_warning(connection->rdma->config.log, connection->id,
                        "a client sent beyond its credits: closing");
        ist_rdma_give_back(connection->rdma, event->buffer);
        ist_rdma_break(connection);
        return;
    }
    connection->held[(connection->held_first + connection->held_count++) % IST_RDMA_HELD_MAX] =
        (struct ist_rdma_held){.buffer = event->buffer, .bytes = event->bytes};
}

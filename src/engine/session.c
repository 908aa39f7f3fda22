#include "engine/session.h"

#include "base/assert.h"
#include "engine/state.h"
#include "store/store.h"
#include "wire/codec.h"

/* Blocks are reserved so far ahead of the bytes that arrive. */
#define PUT_WINDOW_BYTES (2u << 20)
#define PUT_WINDOW_ITEMS 1024u /* values of no bytes cost time, too */
/* More of short replies are not made before some have left: the requests for 16 KiB of statistics each are short
 * enough for hundreds to arrive at once, and the others would wait for all of them. */
#define SHORT_BYTES_MAX (256u << 10)
/* Behind a payload that is larger than this, only what the next header and body will need is read: copying
 * more from the stage would cost more than the read that it saves. */
#define BULK_PAYLOAD_BYTES 16384u
#define STAGE_SLACK_BYTES 96u

static const struct ist_log *log_of(const struct ist_session *session) {
    return session->engine->config.log;
}

/* ---- time ------------------------------------------------------------------------------------------- */

/* A timer that is early costs one tick; moving it at each byte would cost more. */
static void arm(struct ist_session *session) {
    ist_session_note_sharers(session);
    uint64_t at_ns = ist_session_deadline_ns(session);
    if (at_ns != IST_NEVER_NS && (session->timer.place == 0 || session->timer.at_ns > at_ns)) {
        ist_timers_arm(&session->engine->timers, &session->timer, at_ns);
    }
}

void ist_session_tick(struct ist_session *session, uint64_t now_ns) {
    struct ist_timers *timers = &session->engine->timers;
    ist_session_note_sharers(session);
    uint64_t at_ns = ist_session_deadline_ns(session);
    if (at_ns > now_ns) {
        ist_timers_disarm(timers, &session->timer);
        if (at_ns != IST_NEVER_NS) {
            ist_timers_arm(timers, &session->timer, at_ns);
        }
        return;
    }
    ist_log_warning(log_of(session), session->id, "%s: closing",
                    session->state == IST_SESSION_HELLO ? "no HELLO in time"
                    : session->begun                    ? "a request that does not arrive in time"
                                                        : "a reply that is not taken in time");
    ist_timers_disarm(timers, &session->timer);
    ist_session_end(session, IST_END_TIMEOUT);
    session->expired = true;
    ist_session_mark_changed(session);
}

/* ---- beginning and end ------------------------------------------------------------------------------ */

static enum ist_status session_new(struct ist_engine *engine, uint64_t id, void *user, uint64_t now_ns,
                                   bool is_rdma, struct ist_session **session) {
    if (engine->draining || engine->stats.sessions >= engine->config.sessions_max) {
        engine->stats.sessions_refused++;
        return IST_NO_SPACE;
    }
    struct ist_session *new = ist_allocate(engine->config.alloc, sizeof(*new));
    if (new == NULL) {
        engine->stats.sessions_refused++;
        return IST_NO_MEMORY;
    }
    *new = (struct ist_session){
        .engine = engine,
        .id = id,
        .user = user,
        .next = engine->sessions,
        .opened_ns = now_ns,
        .is_rdma = is_rdma,
        .state = is_rdma ? IST_SESSION_OPEN : IST_SESSION_HELLO,
    };
    ist_transfers_init(&new->transfers, engine->config.alloc);
    ist_inbox_init(&new->inbox, engine->config.alloc);
    ist_outbox_init(&new->outbox, engine->config.alloc);
    if (engine->sessions != NULL) {
        engine->sessions->prev = new;
    }
    engine->sessions = new;
    engine->stats.sessions++;
    engine->stats.sessions_rdma += is_rdma;
    engine->stats.sessions_opened++;
    arm(new);
    *session = new;
    return IST_OK;
}

enum ist_status ist_session_open(struct ist_engine *engine, uint64_t id, void *user, uint64_t now_ns,
                                 struct ist_session **session) {
    return session_new(engine, id, user, now_ns, false, session);
}

enum ist_status ist_session_open_rdma(struct ist_engine *engine, uint64_t id, void *user,
                                      uint64_t now_ns, struct ist_session **session) {
    return session_new(engine, id, user, now_ns, true, session);
}

void ist_session_mark_changed(struct ist_session *session) {
    struct ist_engine *engine = session->engine;
    if (session->is_changed) {
        return;
    }
    session->is_changed = true;
    session->changed_prev = NULL;
    session->changed_next = engine->changed;
    if (engine->changed != NULL) {
        engine->changed->changed_prev = session;
    }
    engine->changed = session;
}

static void unlink_session(struct ist_session *session) {
    struct ist_engine *engine = session->engine;
    *(session->prev == NULL ? &engine->sessions : &session->prev->next) = session->next;
    if (session->next != NULL) {
        session->next->prev = session->prev;
    }
    if (session->is_changed) {
        *(session->changed_prev == NULL ? &engine->changed : &session->changed_prev->changed_next) =
            session->changed_next;
        if (session->changed_next != NULL) {
            session->changed_next->changed_prev = session->changed_prev;
        }
    }
}

static void count_end(struct ist_session *session) {
    struct ist_stats *stats = &session->engine->stats;
    switch (session->end) {
    case IST_END_PEER: stats->sessions_ended_peer++; break;
    case IST_END_PROTOCOL: stats->sessions_ended_protocol++; break;
    case IST_END_TIMEOUT: stats->sessions_ended_timeout++; break;
    case IST_END_OURS: break;
    }
}

void ist_session_close(struct ist_session *session) {
    struct ist_engine *engine = session->engine;
    engine->stats.requests_in_flight -= session->in_flight;
    engine->stats.sessions--;
    engine->stats.sessions_rdma -= session->is_rdma;
    count_end(session);
    ist_timers_disarm(&engine->timers, &session->timer);
    ist_put_free(session->put);
    ist_transfers_fini(&session->transfers);
    ist_outbox_fini(&session->outbox);
    ist_inbox_fini(&session->inbox);
    unlink_session(session);
    ist_release(engine->config.alloc, session);
}

void ist_session_end(struct ist_session *session, enum ist_session_end end) {
    if (session->state != IST_SESSION_CLOSING) {
        session->state = IST_SESSION_CLOSING;
        session->end = end;
        session->copying = false;
    }
}

void ist_session_refuse(struct ist_session *session, bool answer, const char *why) {
    ist_log_warning(log_of(session), session->id, "%s: closing", why);
    if (answer) {
        ist_request_fail(session, IST_PROTOCOL);
    }
    ist_session_end(session, IST_END_PROTOCOL);
}

void *ist_session_user(const struct ist_session *session) {
    return session->user;
}

/* ---- what has arrived --------------------------------------------------------------------------------- */

/* Nothing new is begun: the peer has not taken what it asked for before. */
static bool is_paused(const struct ist_session *session) {
    const struct ist_engine_config *config = &session->engine->config;
    return session->step == IST_STEP_HEADER &&
           (session->in_flight >= config->requests_in_flight_max ||
            session->outbox.short_bytes > SHORT_BYTES_MAX ||
            session->outbox.queued_bytes + session->transfers.memory_bytes > config->queued_bytes_max);
}

/* What is wrong with a header in this state; NULL: nothing. */
static const char *header_fault(const struct ist_session *session) {
    const struct ist_frame *frame = &session->frame;
    bool is_hello = frame->operation == IST_OP_HELLO;
    bool is_put = frame->operation == IST_OP_PUT;
    bool has_keys = !is_hello && frame->operation != IST_OP_PURGE && frame->operation != IST_OP_STAT &&
                    frame->operation != IST_OP_PING && frame->operation != IST_OP_CONNECT;
    if (is_hello != (session->state == IST_SESSION_HELLO)) {
        return is_hello ? "a second HELLO" : "a first request that is not HELLO";
    }
    if ((frame->flags & ~(is_put ? IST_FRAME_IF_ABSENT : 0)) != 0) {
        return "a flag that the operation does not have";
    }
    if (frame->operation == IST_OP_CONNECT && session->is_rdma) {
        return "a CONNECT over RDMA";
    }
    if (frame->payload_bytes > 0 && (!is_put || session->is_rdma)) {
        return "a payload that the operation does not have";
    }
    if (frame->body_bytes > (has_keys ? IST_BODY_BYTES_MAX : IST_HELLO_BYTES_MAX)) {
        return "a body above the limit";
    }
    return NULL;
}

static void note_begin(struct ist_session *session, uint64_t now_ns) {
    if (!session->begun) {
        session->begun = true;
        session->begin_ns = now_ns;
        session->received_ns = now_ns;
        session->begun_bytes = 0;
    }
}

/* False: more bytes are needed, or the session has ended. */
static bool take_header(struct ist_session *session, uint64_t now_ns) {
    struct ist_inbox *inbox = &session->inbox;
    struct ist_span staged = ist_inbox_staged(inbox);
    if (session->engine->draining) {
        ist_session_end(session, IST_END_OURS);
        return false;
    }
    if (staged.bytes == 0 || is_paused(session)) {
        return false;
    }
    note_begin(session, now_ns);
    enum ist_status status = ist_frame_decode(staged, &session->frame);
    if (status == IST_AGAIN) {
        return false;
    }
    if (status == IST_PROTOCOL) {
        ist_session_refuse(session, false, "bytes that are not of this protocol");
        return false;
    }
    session->in_flight++;
    session->engine->stats.requests_in_flight++;
    session->step = IST_STEP_BODY;
    const char *fault = header_fault(session);
    if (fault != NULL) {
        ist_session_refuse(session, true, fault);
        return false;
    }
    ist_inbox_consume(inbox, IST_FRAME_BYTES);
    if (ist_inbox_body_begin(inbox, session->frame.body_bytes) != IST_OK) {
        session->skip_bytes =
            ist_saturated_sum(session->frame.payload_bytes, session->frame.body_bytes);
        session->step = IST_STEP_SKIP;
    }
    return true;
}

static void end_frame(struct ist_session *session) {
    session->step = IST_STEP_HEADER;
    session->begun = false;
}

/* No memory for the body: what has come and what will come of the request goes nowhere. */
static void skip_request(struct ist_session *session) {
    uint64_t missing = ist_inbox_body_end(&session->inbox);
    session->skip_bytes = ist_saturated_sum(session->frame.payload_bytes, missing);
    session->step = IST_STEP_SKIP;
}

static bool take_body(struct ist_session *session) {
    struct ist_span body;
    if (!ist_inbox_body(&session->inbox, &body)) {
        if (ist_inbox_body_grow(&session->inbox) == IST_OK) {
            return false;
        }
        skip_request(session);
        return true;
    }
    ist_request_run(session, body);
    ist_inbox_body_end(&session->inbox);
    if (session->step == IST_STEP_BODY) {
        end_frame(session);
    }
    return true;
}

/* The payload moves on; items that have no bytes, or no more, are passed. */
static void advance_put(struct ist_session *session, uint64_t bytes) {
    size_t count = ist_put_count(session->put);
    session->put_at += bytes;
    while (session->put_item < count &&
           session->put_at >= ist_put_value_bytes(session->put, session->put_item)) {
        session->put_at -= ist_put_value_bytes(session->put, session->put_item++);
    }
    IST_ASSERT(session->put_item < count || session->put_at == 0);
}

static uint64_t put_rest(const struct ist_session *session) {
    return ist_put_value_bytes(session->put, session->put_item) - session->put_at;
}

static bool take_payload(struct ist_session *session) {
    advance_put(session, 0);
    if (session->put_item == ist_put_count(session->put)) {
        ist_request_finish_put(session);
        end_frame(session);
        return true;
    }
    struct ist_span staged = ist_inbox_staged(&session->inbox);
    if (staged.bytes == 0) {
        return false;
    }
    if (ist_put_entry(session->put, session->put_item) != NULL) {
        session->copying = true;
        return false;
    }
    uint64_t bytes = ist_smaller(put_rest(session), staged.bytes);
    ist_inbox_consume(&session->inbox, (size_t)bytes);
    advance_put(session, bytes);
    return true;
}

static bool take_skipped(struct ist_session *session) {
    uint64_t bytes = ist_smaller(session->skip_bytes, ist_inbox_staged(&session->inbox).bytes);
    ist_inbox_consume(&session->inbox, (size_t)bytes);
    session->skip_bytes -= bytes;
    if (session->skip_bytes > 0) {
        return false;
    }
    ist_request_fail(session, IST_NO_MEMORY);
    end_frame(session);
    return true;
}

/* Goes as far as the bytes that are there. */
static void advance(struct ist_session *session, uint64_t now_ns) {
    bool was_empty = ist_outbox_is_empty(&session->outbox);
    bool was_idle = session->transfers.count == 0 && session->transfers.outstanding == 0;
    bool more = true;
    while (more && session->state != IST_SESSION_CLOSING && !session->copying) {
        switch (session->step) {
        case IST_STEP_HEADER: more = take_header(session, now_ns); break;
        case IST_STEP_BODY: more = take_body(session); break;
        case IST_STEP_PAYLOAD: more = take_payload(session); break;
        case IST_STEP_SKIP: more = take_skipped(session); break;
        case IST_STEP_CONNECT: more = false; break;
        }
    }
    ist_inbox_trim(&session->inbox);
    ist_request_finish_transfers(session);
    if (was_idle) {
        session->worked_ns = now_ns;
    }
    if (was_idle || session->transfer != session->transfers.gone) {
        session->transfer = session->transfers.gone;
        session->transfer_ns = now_ns;
    }
    if (was_empty) {
        session->unit_ns = now_ns;
        session->sent_ns = now_ns;
    }
    arm(session);
}

/* ---- the edge's side ---------------------------------------------------------------------------------- */

unsigned ist_session_wants(const struct ist_session *session) {
    bool empty = ist_outbox_is_empty(&session->outbox);
    bool idle = empty && session->transfers.count == 0 && session->transfers.outstanding == 0;
    if (session->expired || (session->state == IST_SESSION_CLOSING && idle)) {
        return IST_WANT_CLOSE;
    }
    unsigned wants = empty ? 0 : IST_WANT_SEND;
    if (session->transfers.issuing != NULL) {
        wants |= IST_WANT_WORK;
    }
    if (session->copying) {
        wants |= IST_WANT_COPY;
    } else if (session->step == IST_STEP_CONNECT && session->state != IST_SESSION_CLOSING) {
        wants |= IST_WANT_CONNECT;
    } else if (session->state != IST_SESSION_CLOSING && !is_paused(session)) {
        wants |= IST_WANT_RECV;
    }
    return wants;
}

/* Names the rest of the payload; true when all of it fitted. */
static bool name_payload(struct ist_session *session, struct ist_buffer *buffers, size_t max,
                         size_t *named) {
    size_t count = ist_put_count(session->put);
    uint64_t window = 0, at = session->put_at;
    for (size_t i = session->put_item; i < count; i++, at = 0) {
        uint64_t bytes = ist_put_value_bytes(session->put, i) - at;
        if (*named == max || window >= PUT_WINDOW_BYTES || i - session->put_item == PUT_WINDOW_ITEMS) {
            return false;
        }
        if (bytes == 0) {
            continue;
        }
        const struct ist_entry *entry = ist_put_entry(session->put, i);
        buffers[*named] = (struct ist_buffer){.kind = IST_BUFFER_DISCARD, .bytes = bytes};
        if (entry != NULL) {
            buffers[*named].kind = IST_BUFFER_POOL;
            buffers[*named].offset = ist_entry_offset(entry) + at;
        }
        (*named)++;
        window += bytes;
    }
    return true;
}

/* How much more to read than what is certain to be a header or body. */
static uint32_t stage_limit(const struct ist_session *session) {
    uint64_t expected = (uint64_t)IST_FRAME_BYTES + session->frame.body_bytes + STAGE_SLACK_BYTES;
    return session->frame.payload_bytes > BULK_PAYLOAD_BYTES && expected < IST_STAGE_BYTES_MAX
               ? (uint32_t)expected
               : IST_STAGE_BYTES_MAX;
}

size_t ist_session_recv_buffers(struct ist_session *session, struct ist_buffer *buffers, size_t max) {
    IST_ASSERT((ist_session_wants(session) & IST_WANT_RECV) != 0);
    size_t named = 0;
    bool all = true;
    if (max == 0) {
        return 0;
    }
    if (session->step == IST_STEP_PAYLOAD) {
        all = name_payload(session, buffers, max, &named);
    } else if (session->step == IST_STEP_SKIP) {
        buffers[named++] =
            (struct ist_buffer){.kind = IST_BUFFER_DISCARD, .bytes = session->skip_bytes};
    } else if (ist_inbox_body_free(&session->inbox) > 0) {
        buffers[named++] = ist_inbox_body_buffer(&session->inbox);
        all = session->inbox.body_room == session->inbox.body_bytes;
    }
    if (all && named < max) {
        buffers[named++] = ist_inbox_stage_buffer(&session->inbox, stage_limit(session));
    }
    session->recv_named = 0;
    for (size_t i = 0; i < named; i++) {
        session->recv_named = ist_saturated_sum(session->recv_named, buffers[i].bytes);
    }
    return named;
}

void ist_session_received(struct ist_session *session, uint64_t bytes, uint64_t now_ns) {
    IST_ASSERT(bytes >= 1 && bytes <= session->recv_named);
    session->recv_named = 0;
    session->received_ns = now_ns;
    session->begun_bytes += bytes;
    session->engine->stats.received_bytes += bytes;
    if (session->step == IST_STEP_PAYLOAD) {
        while (bytes > 0 && session->put_item < ist_put_count(session->put)) {
            uint64_t part = ist_smaller(bytes, put_rest(session));
            advance_put(session, part);
            bytes -= part;
        }
    } else if (session->step == IST_STEP_SKIP) {
        uint64_t part = ist_smaller(bytes, session->skip_bytes);
        session->skip_bytes -= part;
        bytes -= part;
    } else if (ist_inbox_body_free(&session->inbox) > 0) {
        uint32_t part = (uint32_t)ist_smaller(bytes, ist_inbox_body_free(&session->inbox));
        ist_inbox_body_received(&session->inbox, part);
        bytes -= part;
    }
    if (bytes > 0) {
        ist_inbox_stage_received(&session->inbox, (uint32_t)bytes);
    }
    advance(session, now_ns);
}

bool ist_session_copy(const struct ist_session *session, struct ist_copy *copy) {
    if (!session->copying) {
        return false;
    }
    struct ist_span staged = ist_inbox_staged(&session->inbox);
    *copy = (struct ist_copy){
        .from = staged.data,
        .offset = ist_entry_offset(ist_put_reserved(session->put, session->put_item)) + session->put_at,
        .bytes = ist_smaller(put_rest(session), staged.bytes),
    };
    return true;
}

void ist_session_copied(struct ist_session *session, uint64_t now_ns) {
    struct ist_copy copy;
    bool was_copying = ist_session_copy(session, &copy);
    IST_ASSERT(was_copying);
    session->copying = false;
    ist_inbox_consume(&session->inbox, (size_t)copy.bytes);
    advance_put(session, copy.bytes);
    advance(session, now_ns);
}

size_t ist_session_send_buffers(struct ist_session *session, struct ist_buffer *buffers, size_t max) {
    IST_ASSERT((ist_session_wants(session) & IST_WANT_SEND) != 0);
    size_t named = ist_outbox_name(&session->outbox, buffers, max);
    session->send_named = 0;
    for (size_t i = 0; i < named; i++) {
        session->send_named += buffers[i].bytes;
    }
    return named;
}

void ist_session_sent(struct ist_session *session, uint64_t bytes, uint64_t now_ns) {
    IST_ASSERT(bytes >= 1 && bytes <= session->send_named);
    struct ist_stats *stats = &session->engine->stats;
    struct ist_outbox_done done;
    session->send_named = 0;
    session->sent_ns = now_ns;
    stats->sent_bytes += bytes;
    while (ist_outbox_sent(&session->outbox, &bytes, &done)) {
        ist_stats_observe(&stats->latency[done.operation], now_ns - done.begin_ns);
        session->in_flight--;
        stats->requests_in_flight--;
        session->unit_ns = now_ns;
    }
    advance(session, now_ns);
}

/* ---- RDMA ------------------------------------------------------------------------------------------------ */

const struct ist_endpoint *ist_session_peer(const struct ist_session *session) {
    IST_ASSERT((ist_session_wants(session) & IST_WANT_CONNECT) != 0);
    return &session->peer;
}

void ist_session_connected(struct ist_session *session, const struct ist_endpoint *own,
                           uint64_t now_ns) {
    IST_ASSERT((ist_session_wants(session) & IST_WANT_CONNECT) != 0);
    ist_request_connected(session, own);
    end_frame(session);
    advance(session, now_ns);
}

size_t ist_session_work(struct ist_session *session, struct ist_work *works, size_t max,
                        uint64_t now_ns) {
    IST_ASSERT((ist_session_wants(session) & IST_WANT_WORK) != 0);
    size_t count = ist_transfers_issue(&session->transfers, works, max);
    advance(session, now_ns);
    return count;
}

void ist_session_work_done(struct ist_session *session, uint64_t count, uint64_t now_ns) {
    uint64_t read_bytes, written_bytes;
    ist_transfers_complete(&session->transfers, count, &read_bytes, &written_bytes);
    session->engine->stats.received_bytes += read_bytes;
    session->engine->stats.sent_bytes += written_bytes;
    session->worked_ns = now_ns;
    advance(session, now_ns);
}

bool ist_session_awaits_work(const struct ist_session *session) {
    return session->transfers.count > 0;
}

/* ---- drain and check ------------------------------------------------------------------------------------ */

void ist_session_drain(struct ist_session *session, uint64_t now_ns) {
    if (session->state == IST_SESSION_HELLO || session->step == IST_STEP_HEADER) {
        ist_session_end(session, IST_END_OURS);
    }
    advance(session, now_ns);
    ist_session_mark_changed(session);
}

void ist_session_check(const struct ist_session *session) {
    ist_inbox_check(&session->inbox);
    size_t frames = ist_outbox_check(&session->outbox);
    bool receiving = session->step != IST_STEP_HEADER;
    ist_transfers_check(&session->transfers);
    IST_ASSERT(session->is_rdma || session->transfers.first == NULL);
    frames += session->transfers.count;
    IST_ASSERT(session->in_flight <= frames + receiving && session->in_flight >= frames);
    IST_ASSERT(session->state == IST_SESSION_CLOSING || session->in_flight == frames + receiving);
    IST_ASSERT(session->in_flight <= session->engine->config.requests_in_flight_max);
    IST_ASSERT((session->put != NULL) >= (session->step == IST_STEP_PAYLOAD) ||
               session->state == IST_SESSION_CLOSING);
    IST_ASSERT(!session->copying || session->step == IST_STEP_PAYLOAD);
    if (session->put != NULL) {
        ist_put_check(session->put);
    }
    uint64_t at_ns = ist_session_deadline_ns(session);
    IST_ASSERT(at_ns == IST_NEVER_NS || (session->timer.place != 0 && session->timer.at_ns <= at_ns));
    unsigned wants = ist_session_wants(session);
    IST_ASSERT(wants != 0 || session->transfers.outstanding > 0);
    IST_ASSERT((wants & IST_WANT_CLOSE) == 0 || wants == IST_WANT_CLOSE);
}

/* What each operation does, on a complete body. */
#include "base/assert.h"
#include "engine/state.h"
#include "store/store.h"
#include "wire/codec.h"

#define VERSION_MIN IST_FRAME_VERSION
#define VERSION_MAX IST_FRAME_VERSION

/* ---- replies ---------------------------------------------------------------------------------------- */

static void count_request(struct ist_session *session, enum ist_status status) {
    session->engine->stats.requests[session->frame.operation][ist_stats_status_index(status)]++;
}

static void count_keys(struct ist_session *session, enum ist_status status, uint64_t count) {
    session->engine->stats.keys[session->frame.operation][ist_stats_status_index(status)] += count;
}

static void count_statuses(struct ist_session *session, const uint8_t *status, size_t count) {
    for (size_t i = 0; i < count; i++) {
        count_keys(session, (enum ist_status)status[i], 1);
    }
}

static void write_header(const struct ist_session *session, size_t body_bytes, uint64_t payload_bytes,
                         uint8_t *out) {
    struct ist_frame frame = {
        .operation = session->frame.operation,
        .flags = IST_FRAME_REPLY,
        .request_id = session->frame.request_id,
        .body_bytes = (uint32_t)body_bytes,
        .payload_bytes = payload_bytes,
    };
    ist_frame_encode(&frame, out);
}

/* Sends the reply that was written behind the header at `out`, which ist_outbox_reserve() returned. */
static void commit_reply(struct ist_session *session, uint8_t *out, size_t body_bytes,
                         enum ist_status status) {
    write_header(session, body_bytes, 0, out);
    ist_outbox_commit(&session->outbox, IST_FRAME_BYTES + body_bytes, session->frame.operation,
                      session->begin_ns);
    count_request(session, status);
}

/* Room for a reply whose body has at most so many bytes; NULL: NO_MEMORY was answered. Comes before what the
 * request changes, so that no change goes unanswered. */
static uint8_t *reserve_reply(struct ist_session *session, size_t body_bytes) {
    uint8_t *out = ist_outbox_reserve(&session->outbox, IST_FRAME_BYTES + body_bytes);
    if (out == NULL) {
        ist_request_fail(session, IST_NO_MEMORY);
    }
    return out;
}

static void encode_reply(struct ist_session *session, const struct ist_keys_reply *reply, uint8_t *out,
                         size_t room) {
    size_t written;
    enum ist_status status = ist_codec_encode_keys_reply(reply, out + IST_FRAME_BYTES, room, &written);
    IST_ASSERT(status == IST_OK);
    commit_reply(session, out, written, reply->status);
}

/* The longest body of a reply with so many key statuses, or one number, and no lengths. */
static size_t short_reply_bytes(size_t statuses) {
    return 2 + 1 + 10 + statuses + 1 + 10;
}

void ist_request_fail(struct ist_session *session, enum ist_status status) {
    const struct ist_keys_reply reply = {.status = status};
    size_t room = ist_codec_keys_reply_bytes(&reply);
    uint8_t *out = ist_outbox_reserve(&session->outbox, IST_FRAME_BYTES + room);
    if (out == NULL) {
        ist_log_warning(session->engine->config.log, session->id,
                        "no memory for the reply to a %s: closing",
                        ist_operation_name(session->frame.operation));
        session->in_flight--;
        session->engine->stats.requests_in_flight--;
        ist_session_end(session, IST_END_OURS);
        return;
    }
    encode_reply(session, &reply, out, room);
}

/* ---- operations without lengths ----------------------------------------------------------------------- */

static void run_hello(struct ist_session *session, struct ist_span body) {
    const struct ist_engine_config *config = &session->engine->config;
    struct ist_hello hello;
    if (ist_codec_decode_hello(body, &hello) != IST_OK) {
        ist_session_refuse(session, true, "a malformed HELLO");
        return;
    }
    if (hello.version_min > VERSION_MAX || hello.version_max < VERSION_MIN) {
        ist_session_refuse(session, true, "no protocol version in common");
        return;
    }
    uint8_t *out = reserve_reply(session, IST_CODEC_HELLO_BYTES);
    if (out == NULL) {
        return;
    }
    struct ist_store_usage usage;
    ist_store_usage(session->engine->store, &usage);
    const struct ist_hello_reply reply = {
        .status = IST_OK,
        .version = IST_FRAME_VERSION,
        .incarnation = config->incarnation,
        .keys_max = IST_KEYS_PER_REQUEST_MAX,
        .key_bytes_max = IST_KEY_BYTES_MAX,
        .body_bytes_max = IST_BODY_BYTES_MAX,
        .in_flight_max = config->requests_in_flight_max,
        .value_bytes_max = usage.pool_bytes_max,
        .server = ist_span_of_string(config->server_name),
    };
    size_t written;
    enum ist_status status =
        ist_codec_encode_hello_reply(&reply, out + IST_FRAME_BYTES, IST_CODEC_HELLO_BYTES, &written);
    IST_ASSERT(status == IST_OK); /* ist_engine_new() has looked at the name's length */
    commit_reply(session, out, written, IST_OK);
    session->state = IST_SESSION_OPEN;
    ist_log_debug(config->log, session->id, "opened by %.*s", (int)hello.client.bytes,
                  (const char *)hello.client.data);
}

static bool key_is_valid(struct ist_span key) {
    return key.bytes >= 1 && key.bytes <= IST_KEY_BYTES_MAX;
}

static void run_exists(struct ist_session *session, size_t count) {
    const struct ist_scratch *scratch = &session->engine->scratch;
    size_t room = short_reply_bytes(count);
    uint8_t *out = reserve_reply(session, room);
    if (out == NULL) {
        return;
    }
    ist_store_exists(session->engine->store, scratch->keys, count, scratch->present);
    for (size_t i = 0; i < count; i++) {
        scratch->status[i] = (uint8_t)(scratch->present[i]              ? IST_OK
                                       : key_is_valid(scratch->keys[i]) ? IST_NOT_FOUND
                                                                        : IST_INVALID);
    }
    count_statuses(session, scratch->status, count);
    const struct ist_keys_reply reply = {.key_status = ist_span_of(scratch->status, count)};
    encode_reply(session, &reply, out, room);
}

/* MATCH_PREFIX, MATCH_LAST, REMOVE: one number. */
static void run_counting(struct ist_session *session, size_t count) {
    struct ist_store *store = session->engine->store;
    const struct ist_span *keys = session->engine->scratch.keys;
    size_t room = short_reply_bytes(0);
    uint8_t *out = reserve_reply(session, room);
    if (out == NULL) {
        return;
    }
    struct ist_keys_reply reply = {0};
    if (session->frame.operation == IST_OP_MATCH_PREFIX) {
        reply.count = ist_store_match_prefix(store, keys, count);
    } else if (session->frame.operation == IST_OP_MATCH_LAST) {
        size_t last = ist_store_match_last(store, keys, count);
        reply.count = last == count ? 0 : last + 1;
    } else {
        for (size_t i = 0; i < count; i++) {
            reply.count += ist_store_remove(store, keys[i]);
        }
    }
    count_keys(session, IST_OK, reply.count);
    count_keys(session, IST_NOT_FOUND, count - reply.count);
    encode_reply(session, &reply, out, room);
}

static void run_purge(struct ist_session *session) {
    size_t room = short_reply_bytes(0);
    uint8_t *out = reserve_reply(session, room);
    if (out == NULL) {
        return;
    }
    const struct ist_keys_reply reply = {.count = ist_store_purge(session->engine->store)};
    count_keys(session, IST_OK, reply.count);
    encode_reply(session, &reply, out, room);
}

static void run_ping(struct ist_session *session) {
    uint8_t *out = reserve_reply(session, 0);
    if (out != NULL) {
        commit_reply(session, out, 0, IST_OK);
    }
}

/* Samples are written one behind the other, twice: for their size, and for good. */
static void run_stat(struct ist_session *session) {
    struct ist_stats stats;
    ist_engine_stats(session->engine, &stats);
    struct ist_stats_sample sample;
    size_t room = 0;
    for (size_t cursor = 0; ist_stats_next(&stats, &cursor, &sample);) {
        struct ist_codec_metric metric = {ist_span_of_string(sample.name), sample.value};
        room += ist_codec_metrics_bytes(&metric, 1);
    }
    uint8_t *out = reserve_reply(session, room);
    if (out == NULL) {
        return;
    }
    size_t total = 0;
    for (size_t cursor = 0; ist_stats_next(&stats, &cursor, &sample);) {
        struct ist_codec_metric metric = {ist_span_of_string(sample.name), sample.value};
        size_t written;
        enum ist_status status =
            ist_codec_encode_metrics(&metric, 1, out + IST_FRAME_BYTES + total, room - total, &written);
        IST_ASSERT(status == IST_OK);
        total += written;
    }
    commit_reply(session, out, total, IST_OK);
}

/* ---- GET ------------------------------------------------------------------------------------------------ */

/* Pins what can be delivered; lengths become those of the values, and remotes those of what is delivered.
 * Returns how many. */
static size_t acquire(struct ist_session *session, size_t count) {
    struct ist_store *store = session->engine->store;
    const struct ist_scratch *scratch = &session->engine->scratch;
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        struct ist_entry *entry;
        uint64_t buffer_bytes = scratch->lengths[i];
        enum ist_status status = IST_INVALID;
        scratch->lengths[i] = 0;
        if (key_is_valid(scratch->keys[i])) {
            status = ist_store_acquire(store, scratch->keys[i], &entry);
        }
        if (status == IST_OK) {
            scratch->lengths[i] = ist_entry_value_bytes(entry);
            if (scratch->lengths[i] > buffer_bytes) {
                ist_store_release(store, entry);
                status = IST_TOO_SMALL;
            } else {
                scratch->remotes[found] = scratch->remotes[i];
                scratch->entries[found++] = entry;
            }
        }
        scratch->status[i] = (uint8_t)status;
    }
    for (size_t i = found; i > 0; i--) {
        ist_store_refresh(store, scratch->entries[i - 1]);
    }
    return found;
}

/* The reply with values behind it in the stream: takes over get on OK. */
static enum ist_status queue_values(struct ist_session *session, const struct ist_keys_reply *reply,
                                    struct ist_get *get) {
    size_t body_bytes = ist_codec_keys_reply_bytes(reply);
    uint64_t payload_bytes = get->payload_bytes;
    uint8_t *head = ist_outbox_push(&session->outbox, IST_FRAME_BYTES + body_bytes, get,
                                    session->frame.operation, session->begin_ns);
    if (head == NULL) {
        return IST_NO_MEMORY;
    }
    write_header(session, body_bytes, payload_bytes, head);
    size_t written;
    enum ist_status status =
        ist_codec_encode_keys_reply(reply, head + IST_FRAME_BYTES, body_bytes, &written);
    IST_ASSERT(status == IST_OK && written == body_bytes);
    return IST_OK;
}

/* The same with values that a NIC writes. */
static enum ist_status transfer_values(struct ist_session *session, const struct ist_keys_reply *reply,
                                       struct ist_get *get) {
    size_t body_bytes = ist_codec_keys_reply_bytes(reply);
    struct ist_transfer_request request = {
        .frame = session->frame,
        .begin_ns = session->begin_ns,
        .reply = ist_outbox_prepare(&session->outbox, IST_FRAME_BYTES + body_bytes),
        .reply_bytes = IST_FRAME_BYTES + body_bytes,
        .kept_bytes = IST_FRAME_BYTES + body_bytes + get->count * sizeof(struct ist_entry *),
    };
    if (request.reply == NULL) {
        return IST_NO_MEMORY;
    }
    uint8_t *head = ist_outbox_prepared(request.reply);
    write_header(session, body_bytes, 0, head);
    size_t written;
    enum ist_status status =
        ist_codec_encode_keys_reply(reply, head + IST_FRAME_BYTES, body_bytes, &written);
    IST_ASSERT(status == IST_OK && written == body_bytes);
    status =
        ist_transfers_add_get(&session->transfers, &request, get, session->engine->scratch.remotes);
    if (status != IST_OK) {
        ist_release(session->engine->config.alloc, request.reply);
    }
    return status;
}

/* Takes over the pins. */
static enum ist_status push_values(struct ist_session *session, const struct ist_keys_reply *reply,
                                   size_t found) {
    const struct ist_engine *engine = session->engine;
    struct ist_get *get;
    enum ist_status status =
        ist_get_new(engine->store, engine->scratch.entries, found, engine->config.alloc, &get);
    if (status != IST_OK) {
        for (size_t i = 0; i < found; i++) {
            ist_store_release(engine->store, engine->scratch.entries[i]);
        }
        return status;
    }
    uint64_t payload_bytes = get->payload_bytes;
    status =
        session->is_rdma ? transfer_values(session, reply, get) : queue_values(session, reply, get);
    if (status != IST_OK) {
        ist_get_free(get);
        return status;
    }
    session->engine->stats.get_bytes += payload_bytes;
    count_request(session, IST_OK);
    return IST_OK;
}

static void run_get(struct ist_session *session, size_t count) {
    const struct ist_scratch *scratch = &session->engine->scratch;
    size_t found = acquire(session, count);
    const struct ist_keys_reply reply = {
        .key_status = ist_span_of(scratch->status, count),
        .lengths = scratch->lengths,
        .length_count = count,
    };
    if (found > 0) {
        enum ist_status status = push_values(session, &reply, found);
        if (status != IST_OK) {
            ist_request_fail(session, status);
            return;
        }
    } else {
        size_t room = ist_codec_keys_reply_bytes(&reply);
        uint8_t *out = reserve_reply(session, room);
        if (out == NULL) {
            return;
        }
        encode_reply(session, &reply, out, room);
    }
    count_statuses(session, scratch->status, count);
}

/* ---- PUT ------------------------------------------------------------------------------------------------ */

/* Do they sum up to the payload? */
static bool lengths_fit(const uint64_t *lengths, size_t count, uint64_t payload_bytes) {
    uint64_t left = payload_bytes;
    for (size_t i = 0; i < count; i++) {
        if (lengths[i] > left) {
            return false;
        }
        left -= lengths[i];
    }
    return left == 0;
}

static void begin_put(struct ist_session *session, struct ist_span body, size_t count) {
    const struct ist_engine *engine = session->engine;
    const struct ist_scratch *scratch = &engine->scratch;
    uint8_t *owned = ist_inbox_body_take(&session->inbox);
    enum ist_status status = ist_put_new(engine->store, body, owned, scratch->keys, scratch->lengths,
                                         count, (session->frame.flags & IST_FRAME_IF_ABSENT) != 0,
                                         engine->config.alloc, &session->put);
    if (status != IST_OK) {
        ist_release(engine->config.alloc, owned);
        session->skip_bytes = session->frame.payload_bytes;
        session->step = IST_STEP_SKIP;
        return;
    }
    session->put_item = 0;
    session->put_at = 0;
    session->step = IST_STEP_PAYLOAD;
}

/* The same with values that a NIC reads. */
static void begin_remote_put(struct ist_session *session, struct ist_span body, size_t count) {
    const struct ist_engine *engine = session->engine;
    const struct ist_scratch *scratch = &engine->scratch;
    struct ist_transfer_request request = {
        .frame = session->frame,
        .begin_ns = session->begin_ns,
        .reply = ist_outbox_prepare(&session->outbox, IST_FRAME_BYTES + short_reply_bytes(count)),
        .kept_bytes =
            IST_FRAME_BYTES + short_reply_bytes(count) + ist_put_memory_bytes(count, body.bytes),
    };
    if (request.reply == NULL) {
        ist_request_fail(session, IST_NO_MEMORY);
        return;
    }
    uint8_t *owned = ist_inbox_body_take(&session->inbox);
    struct ist_put *put;
    enum ist_status status =
        ist_put_new(engine->store, body, owned, scratch->keys, scratch->lengths, count,
                    (session->frame.flags & IST_FRAME_IF_ABSENT) != 0, engine->config.alloc, &put);
    if (status == IST_OK) {
        owned = NULL;
        status = ist_transfers_add_put(&session->transfers, &request, put, scratch->remotes);
        if (status != IST_OK) {
            ist_put_free(put);
        }
    }
    if (status != IST_OK) {
        ist_release(engine->config.alloc, owned);
        ist_release(engine->config.alloc, request.reply);
        ist_request_fail(session, status);
        return;
    }
    (void)ist_transfers_have_work(&session->transfers);
}

/* Writes the reply of a put that is done, whose request was `frame`, at out; returns its bytes. */
static size_t finish_remote_put(struct ist_session *session, const struct ist_frame *frame,
                                struct ist_put *put, uint8_t *out) {
    struct ist_engine *engine = session->engine;
    size_t count = ist_put_count(put), written;
    engine->stats.put_bytes += ist_put_commit(put, engine->scratch.status);
    for (size_t i = 0; i < count; i++) {
        engine->stats.keys[IST_OP_PUT][ist_stats_status_index(engine->scratch.status[i])]++;
    }
    const struct ist_keys_reply reply = {.key_status = ist_span_of(engine->scratch.status, count)};
    enum ist_status status =
        ist_codec_encode_keys_reply(&reply, out + IST_FRAME_BYTES, short_reply_bytes(count), &written);
    IST_ASSERT(status == IST_OK);
    const struct ist_frame header = {.operation = IST_OP_PUT,
                                     .flags = IST_FRAME_REPLY,
                                     .request_id = frame->request_id,
                                     .body_bytes = (uint32_t)written};
    ist_frame_encode(&header, out);
    engine->stats.requests[IST_OP_PUT][ist_stats_status_index(IST_OK)]++;
    ist_put_free(put);
    return IST_FRAME_BYTES + written;
}

void ist_request_finish_transfers(struct ist_session *session) {
    struct ist_transfer_request request;
    struct ist_put *put;
    while (ist_transfers_due(&session->transfers, &request, &put)) {
        size_t bytes = request.reply_bytes;
        if (put != NULL) {
            bytes = finish_remote_put(session, &request.frame, put, ist_outbox_prepared(request.reply));
        }
        ist_outbox_queue(&session->outbox, request.reply, bytes, request.frame.operation,
                         request.begin_ns);
    }
}

void ist_request_finish_put(struct ist_session *session) {
    struct ist_engine *engine = session->engine;
    size_t count = ist_put_count(session->put);
    size_t room = short_reply_bytes(count);
    uint8_t *out = reserve_reply(session, room);
    if (out != NULL) {
        engine->stats.put_bytes += ist_put_commit(session->put, engine->scratch.status);
        count_statuses(session, engine->scratch.status, count);
        const struct ist_keys_reply reply = {.key_status = ist_span_of(engine->scratch.status, count)};
        encode_reply(session, &reply, out, room);
    }
    ist_put_free(session->put);
    session->put = NULL;
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

static size_t keys_max(enum ist_operation operation) {
    return operation == IST_OP_PURGE || operation == IST_OP_STAT || operation == IST_OP_PING
               ? 0
               : IST_KEYS_PER_REQUEST_MAX;
}

/* ---- CONNECT -------------------------------------------------------------------------------------------- */

static void run_connect(struct ist_session *session, struct ist_span body) {
    if (ist_codec_decode_endpoint(body, &session->peer) != IST_OK) {
        ist_session_refuse(session, true, "a malformed CONNECT");
        return;
    }
    session->step = IST_STEP_CONNECT;
}

void ist_request_connected(struct ist_session *session, const struct ist_endpoint *own) {
    uint8_t *out = reserve_reply(session, IST_CODEC_ENDPOINT_BYTES);
    if (out == NULL) {
        return;
    }
    const struct ist_endpoint refusal = {.status = own->status};
    size_t written;
    enum ist_status status =
        ist_codec_encode_endpoint(own->status == IST_OK ? own : &refusal, out + IST_FRAME_BYTES,
                                  IST_CODEC_ENDPOINT_BYTES, &written);
    IST_ASSERT(status == IST_OK);
    commit_reply(session, out, written, own->status);
}

/* Are there as many lengths, and places in the client's memory, as the operation needs? */
static bool counts_fit(const struct ist_session *session, size_t count, size_t length_count,
                       size_t remote_count) {
    enum ist_operation operation = session->frame.operation;
    bool moves_values = operation == IST_OP_PUT || operation == IST_OP_GET;
    return length_count == (moves_values ? count : 0) &&
           remote_count == (moves_values && session->is_rdma ? count : 0);
}

/* A value's place in the client's memory must not wrap around. */
static bool remotes_fit(const struct ist_scratch *scratch, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (scratch->lengths[i] > UINT64_MAX - scratch->remotes[i].address) {
            return false;
        }
    }
    return true;
}

void ist_request_run(struct ist_session *session, struct ist_span body) {
    enum ist_operation operation = session->frame.operation;
    if (operation == IST_OP_HELLO) {
        run_hello(session, body);
        return;
    }
    if (operation == IST_OP_CONNECT) {
        run_connect(session, body);
        return;
    }
    const struct ist_scratch *scratch = &session->engine->scratch;
    size_t count, length_count, remote_count;
    if (ist_codec_decode_remote_keys(body, scratch->keys, scratch->lengths, scratch->remotes,
                                     keys_max(operation), &count, &length_count,
                                     &remote_count) != IST_OK) {
        ist_session_refuse(session, true, "a malformed body, or too many keys");
        return;
    }
    if (!counts_fit(session, count, length_count, remote_count)) {
        ist_session_refuse(session, true, "a wrong number of lengths or places");
        return;
    }
    if (!remotes_fit(scratch, remote_count)) {
        ist_session_refuse(session, true, "a place in memory that wraps around");
        return;
    }
    switch (operation) {
    case IST_OP_PUT:
        if (session->is_rdma) {
            begin_remote_put(session, body, count);
        } else if (lengths_fit(scratch->lengths, count, session->frame.payload_bytes)) {
            begin_put(session, body, count);
        } else {
            ist_session_refuse(session, true, "a payload that is not the sum of its lengths");
        }
        break;
    case IST_OP_GET: run_get(session, count); break;
    case IST_OP_EXISTS: run_exists(session, count); break;
    case IST_OP_MATCH_PREFIX:
    case IST_OP_MATCH_LAST:
    case IST_OP_REMOVE: run_counting(session, count); break;
    case IST_OP_PURGE: run_purge(session); break;
    case IST_OP_STAT: run_stat(session); break;
    case IST_OP_PING:
    case IST_OP_CONNECT:
    case IST_OP_HELLO: run_ping(session); break;
    }
}

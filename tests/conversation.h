/* A session driven by byte arrays: an edge without sockets, with a pool that is an array, and a client that
 * writes frames and reads replies. Every call into the engine is followed by ist_engine_check(). */
#ifndef IST_TESTS_CONVERSATION_H
#define IST_TESTS_CONVERSATION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"

#include "base/assert.h"
#include "engine/engine.h"
#include "engine/session.h"
#include "store/store.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define POOL_BYTES (1u << 20)
#define SECOND IST_NS_PER_SEC
#define REPLIES_MAX 4096u
#define BUFFERS_MAX 64u

struct bytes {
    uint8_t *data;
    size_t count, room;
};

static inline void bytes_add(struct bytes *bytes, const void *data, size_t count) {
    if (bytes->count + count > bytes->room) {
        bytes->room = (bytes->count + count) * 2;
        bytes->data = realloc(bytes->data, bytes->room);
        assert_non_null(bytes->data);
    }
    if (count > 0) {
        memcpy(bytes->data + bytes->count, data, count);
    }
    bytes->count += count;
}

static inline void bytes_free(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes){0};
}

struct log_lines {
    unsigned count;
    char last[IST_LOG_LINE_MAX];
};

static inline void log_lines_write(void *context, enum ist_log_level level, uint64_t session,
                                   const char *message) {
    struct log_lines *lines = context;
    (void)level;
    (void)session;
    lines->count++;
    snprintf(lines->last, sizeof(lines->last), "%s", message);
}

struct world {
    struct failing_alloc failing;
    struct ist_alloc alloc; /* the same, and with nothing left at all while `starved` */
    bool starved;
    struct log_lines lines;
    struct ist_log log;
    struct ist_store *store;
    struct ist_engine *engine;
    uint8_t *pool;
    uint64_t now_ns;
    size_t recv_max, send_max; /* bytes moved by one call */
    size_t buffers_max;
    unsigned recv_calls;
    uint64_t copied_bytes;
    bool unchecked; /* for speed */
};

static inline void *world_allocate(void *context, size_t bytes) {
    struct world *world = context;
    return world->starved ? NULL : ist_allocate(&world->failing.alloc, bytes);
}

static inline void *world_resize(void *context, void *memory, size_t bytes) {
    struct world *world = context;
    return world->starved ? NULL : ist_resize_array(&world->failing.alloc, memory, bytes, 1);
}

static inline void world_release(void *context, void *memory) {
    ist_release(&((struct world *)context)->failing.alloc, memory);
}

struct world_options {
    uint64_t pool_bytes;
    uint64_t fail_at;
    struct ist_engine_config engine; /* sessions_max 0: 4 */
};

/* False when an allocation failed: all is released. */
static inline bool world_try(struct world *world, struct world_options options) {
    *world = (struct world){.recv_max = SIZE_MAX, .send_max = SIZE_MAX, .buffers_max = BUFFERS_MAX};
    failing_alloc_init(&world->failing, options.fail_at);
    world->alloc = (struct ist_alloc){world_allocate, world_resize, world_release, world};
    world->log = (struct ist_log){IST_LOG_WARNING, log_lines_write, &world->lines};
    uint64_t pool_bytes = options.pool_bytes == 0 ? POOL_BYTES : options.pool_bytes;
    const struct ist_store_config store_config = {
        .pool_bytes_max = pool_bytes,
        .min_block_bytes = 512,
        .granule_bytes = 512,
        .hash_key = {1, 2},
        .alloc = &world->alloc,
    };
    struct ist_engine_config config = options.engine;
    config.incarnation = 77;
    config.sessions_max = config.sessions_max == 0 ? 4 : config.sessions_max;
    config.server_name = "test/1";
    config.alloc = &world->alloc;
    config.log = &world->log;
    world->now_ns = 5 * SECOND;
    if (ist_store_new(&store_config, &world->store) != IST_OK) {
        return false;
    }
    if (ist_store_grow(world->store, pool_bytes) != IST_OK ||
        ist_engine_new(&config, world->store, &world->engine) != IST_OK) {
        ist_store_free(world->store);
        return false;
    }
    world->pool = calloc(1, pool_bytes);
    assert_non_null(world->pool);
    return true;
}

static inline void world_init(struct world *world, struct world_options options) {
    assert_true(world_try(world, options));
}

/* All sessions closed: no pin, no reservation, no leak. */
static inline void world_fini(struct world *world) {
    struct ist_store_usage usage;
    ist_store_usage(world->store, &usage);
    assert_int_equal(usage.pinned_entries, 0);
    assert_int_equal(usage.reserved_bytes, 0);
    assert_int_equal(usage.doomed_bytes, 0);
    ist_store_purge(world->store);
    ist_store_usage(world->store, &usage);
    assert_int_equal(usage.free_bytes, usage.pool_bytes);
    ist_engine_free(world->engine);
    ist_store_free(world->store);
    free(world->pool);
    assert_int_equal(world->failing.live, 0);
}

static inline void world_check(struct world *world) {
    if (!world->unchecked) {
        ist_engine_check(world->engine);
    }
}

static inline struct ist_session *world_open(struct world *world) {
    struct ist_session *session;
    assert_int_equal(ist_session_open(world->engine, 9, world, world->now_ns, &session), IST_OK);
    world_check(world);
    return session;
}

/* The buffer behind those that may be named: nobody writes there. */
static inline void edge_guard(struct ist_buffer *behind) {
    memset(behind, 0xa5, sizeof(*behind));
}

static inline void edge_check_guard(const struct ist_buffer *behind) {
    const uint8_t *bytes = (const uint8_t *)behind;
    for (size_t i = 0; i < sizeof(*behind); i++) {
        assert_int_equal(bytes[i], 0xa5);
    }
}

/* ---- the edge ------------------------------------------------------------------------------------------- */

static inline void edge_copy(struct world *world, struct ist_session *session) {
    struct ist_copy copy, again;
    while (ist_session_copy(session, &copy)) {
        assert_true(ist_session_copy(session, &again) && again.from == copy.from);
        assert_true(copy.bytes >= 1);
        memcpy(world->pool + copy.offset, copy.from, copy.bytes);
        world->copied_bytes += copy.bytes;
        ist_session_copied(session, world->now_ns);
        world_check(world);
    }
}

/* Scatters input until it is used up or the session does not want it. Returns the bytes taken. */
static inline size_t edge_feed(struct world *world, struct ist_session *session, const void *data,
                               size_t count) {
    size_t taken = 0;
    while (taken < count && (ist_session_wants(session) & IST_WANT_RECV) != 0) {
        struct ist_buffer buffers[BUFFERS_MAX + 1];
        edge_guard(&buffers[world->buffers_max]);
        size_t named = ist_session_recv_buffers(session, buffers, world->buffers_max);
        edge_check_guard(&buffers[world->buffers_max]);
        world_check(world);
        assert_true(named >= 1 && named <= world->buffers_max);
        size_t left = count - taken < world->recv_max ? count - taken : world->recv_max;
        size_t moved = 0;
        for (size_t i = 0; i < named && left > 0; i++) {
            assert_true(buffers[i].bytes >= 1);
            size_t part = buffers[i].bytes < left ? (size_t)buffers[i].bytes : left;
            const uint8_t *from = (const uint8_t *)data + taken + moved;
            if (buffers[i].kind == IST_BUFFER_MEMORY) {
                memcpy(buffers[i].memory, from, part);
            } else if (buffers[i].kind == IST_BUFFER_POOL) {
                memcpy(world->pool + buffers[i].offset, from, part);
            }
            moved += part;
            left -= part;
        }
        world->recv_calls++;
        ist_session_received(session, moved, world->now_ns);
        taken += moved;
        world_check(world);
        edge_copy(world, session);
    }
    return taken;
}

/* Takes up to `limit` bytes of replies. */
static inline size_t edge_take(struct world *world, struct ist_session *session, struct bytes *out,
                               size_t limit) {
    size_t taken = 0;
    while (taken < limit && (ist_session_wants(session) & IST_WANT_SEND) != 0) {
        struct ist_buffer buffers[BUFFERS_MAX + 1];
        edge_guard(&buffers[world->buffers_max]);
        size_t named = ist_session_send_buffers(session, buffers, world->buffers_max);
        edge_check_guard(&buffers[world->buffers_max]);
        assert_true(named >= 1 && named <= world->buffers_max);
        size_t left = limit - taken < world->send_max ? limit - taken : world->send_max;
        size_t moved = 0;
        for (size_t i = 0; i < named && left > 0; i++) {
            assert_true(buffers[i].bytes >= 1 && buffers[i].kind != IST_BUFFER_DISCARD);
            size_t part = buffers[i].bytes < left ? (size_t)buffers[i].bytes : left;
            const uint8_t *from = buffers[i].kind == IST_BUFFER_POOL ? world->pool + buffers[i].offset
                                                                     : buffers[i].memory;
            bytes_add(out, from, part);
            moved += part;
            left -= part;
        }
        ist_session_sent(session, moved, world->now_ns);
        taken += moved;
        world_check(world);
        edge_copy(world, session);
    }
    return taken;
}

/* Feeds all of it, taking replies whenever the session wants no more input, and all of them at the end. */
static inline void edge_run(struct world *world, struct ist_session *session, const struct bytes *in,
                            struct bytes *out) {
    size_t at = 0;
    while (at < in->count && (ist_session_wants(session) & IST_WANT_CLOSE) == 0) {
        size_t fed = edge_feed(world, session, in->data + at, in->count - at);
        at += fed;
        if (fed == 0 && edge_take(world, session, out, SIZE_MAX) == 0) {
            break;
        }
    }
    edge_take(world, session, out, SIZE_MAX);
}

/* ---- the client ------------------------------------------------------------------------------------------- */

static inline void say_header(struct bytes *out, enum ist_operation operation, uint16_t flags,
                              uint64_t id, uint32_t body_bytes, uint64_t payload_bytes) {
    struct ist_frame frame = {operation, flags, id, body_bytes, payload_bytes};
    uint8_t header[IST_FRAME_BYTES];
    ist_frame_encode(&frame, header);
    bytes_add(out, header, sizeof(header));
}

static inline void say_hello(struct bytes *out, uint64_t id) {
    struct ist_hello hello = {1, 1, ist_span_of_string("conversation")};
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_hello(&hello, body, sizeof(body), &written), IST_OK);
    say_header(out, IST_OP_HELLO, 0, id, (uint32_t)written, 0);
    bytes_add(out, body, written);
}

static inline void say_keys(struct bytes *out, enum ist_operation operation, uint16_t flags,
                            uint64_t id, const struct ist_span *keys, const uint64_t *lengths,
                            size_t count, uint64_t payload_bytes) {
    size_t room = ist_codec_keys_bytes(keys, lengths, count), written;
    uint8_t *body = malloc(room + 1);
    assert_non_null(body);
    assert_int_equal(ist_codec_encode_keys(keys, lengths, count, body, room, &written), IST_OK);
    assert_int_equal(written, room);
    say_header(out, operation, flags, id, (uint32_t)room, payload_bytes);
    bytes_add(out, body, room);
    free(body);
}

/* Byte by byte they may differ: between a LID and what follows it nobody writes. */
static inline void assert_same_endpoint(const struct ist_endpoint *a, const struct ist_endpoint *b) {
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->end.number, b->end.number);
    assert_int_equal(a->end.packet_number, b->end.packet_number);
    assert_memory_equal(a->end.gid, b->end.gid, IST_GID_BYTES);
    assert_int_equal(a->end.lid, b->end.lid);
    assert_int_equal(a->end.mtu_bytes, b->end.mtu_bytes);
    assert_int_equal(a->end.reads, b->end.reads);
    assert_int_equal(a->end.messages, b->end.messages);
    assert_int_equal(a->end.message_bytes, b->end.message_bytes);
}

static inline void say_key(struct bytes *out, enum ist_operation operation, uint64_t id,
                           const char *key) {
    struct ist_span span = ist_span_of_string(key);
    say_keys(out, operation, 0, id, &span, NULL, 1, 0);
}

static inline void say_get(struct bytes *out, uint64_t id, const char *key, uint64_t room) {
    struct ist_span span = ist_span_of_string(key);
    say_keys(out, IST_OP_GET, 0, id, &span, &room, 1, 0);
}

/* The value is `bytes` times the letter, each one more than the one before. */
static inline void say_value(struct bytes *out, char letter, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)((uint8_t)letter + i);
        bytes_add(out, &byte, 1);
    }
}

static inline bool is_value(const uint8_t *data, char letter, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        if (data[i] != (uint8_t)((uint8_t)letter + i)) {
            return false;
        }
    }
    return true;
}

static inline void say_put(struct bytes *out, uint64_t id, uint16_t flags, const char *key, char letter,
                           uint64_t bytes) {
    struct ist_span span = ist_span_of_string(key);
    say_keys(out, IST_OP_PUT, flags, id, &span, &bytes, 1, bytes);
    say_value(out, letter, bytes);
}

struct reply {
    struct ist_frame frame;
    struct ist_keys_reply keys; /* not for HELLO and STAT */
    uint64_t lengths[16];       /* of the first keys */
    struct ist_span body;
    const uint8_t *payload;
};

/* Splits what was taken into replies; all of it must be whole. Returns how many. */
static inline size_t read_replies(const struct bytes *in, struct reply *replies, size_t max) {
    static uint64_t lengths[IST_KEYS_PER_REQUEST_MAX];
    size_t n = 0;
    for (size_t at = 0; at < in->count; n++) {
        assert_true(n < max);
        struct reply *reply = &replies[n];
        assert_int_equal(ist_frame_decode(ist_span_of(in->data + at, in->count - at), &reply->frame),
                         IST_OK);
        assert_int_equal(reply->frame.flags, IST_FRAME_REPLY);
        at += IST_FRAME_BYTES;
        reply->body = ist_span_of(in->data + at, reply->frame.body_bytes);
        reply->payload = in->data + at + reply->frame.body_bytes;
        at += reply->frame.body_bytes + (size_t)reply->frame.payload_bytes;
        assert_true(at <= in->count);
        reply->keys = (struct ist_keys_reply){0};
        if (reply->frame.operation != IST_OP_HELLO && reply->frame.operation != IST_OP_STAT) {
            assert_int_equal(ist_codec_decode_keys_reply(reply->body, lengths, IST_KEYS_PER_REQUEST_MAX,
                                                         &reply->keys),
                             IST_OK);
            memcpy(reply->lengths, lengths, sizeof(reply->lengths));
        }
    }
    return n;
}

#endif

/* A client's exchange driven by byte arrays, and a server that is a script: it reads what the client said and says
 * what the test wants. Every call into the exchange is followed by ist_exchange_check(). */
#ifndef IST_TESTS_TALK_H
#define IST_TESTS_TALK_H

#include "client/exchange.h"
#include "client/request.h"
#include "tests/conversation.h"

#define TALK_NEVER IST_NO_DEADLINE_NS

struct talk {
    struct failing_alloc failing;
    struct ist_exchange *exchange;
    uint64_t now_ns;
    struct bytes said;  /* by the client */
    size_t heard;       /* of it */
    size_t buffers_max; /* named at a time */
    size_t feed_max;    /* bytes of one report of what came */
    size_t take_max;    /* bytes of one report of what left */
    unsigned order;     /* counts requests that are done */
    bool unchecked;     /* for speed */
};

/* What became of a request. */
struct answer {
    unsigned calls;
    unsigned order; /* which it was of all that were done, from 1 */
    enum ist_status status;
};

static inline void talk_check(const struct talk *talk) {
    if (!talk->unchecked) {
        ist_exchange_check(talk->exchange);
    }
}

/* False: no memory. */
static inline bool talk_try(struct talk *talk, uint64_t fail_at) {
    *talk = (struct talk){
        .now_ns = 7 * SECOND, .buffers_max = 64, .feed_max = SIZE_MAX, .take_max = SIZE_MAX};
    failing_alloc_init(&talk->failing, fail_at);
    if (ist_exchange_new(&talk->failing.alloc, &talk->exchange) != IST_OK) {
        assert_int_equal(talk->failing.live, 0);
        return false;
    }
    talk_check(talk);
    return true;
}

static inline void talk_init(struct talk *talk) {
    assert_true(talk_try(talk, 0));
}

static inline void talk_reap(struct talk *talk) {
    struct ist_request *request;
    while ((request = ist_exchange_next_done(talk->exchange)) != NULL) {
        struct answer *answer = request->arg;
        answer->calls++;
        answer->order = ++talk->order;
        answer->status = request->status;
        ist_exchange_release(talk->exchange, request);
        talk_check(talk);
    }
}

static inline void talk_end(struct talk *talk, enum ist_status status) {
    ist_exchange_end(talk->exchange, status);
    talk_check(talk);
    talk_reap(talk);
    assert_int_equal(ist_exchange_in_flight(talk->exchange), 0);
    assert_int_equal(ist_exchange_state(talk->exchange), IST_EXCHANGE_CLOSED);
}

static inline void talk_fini(struct talk *talk) {
    talk_end(talk, IST_PEER);
    ist_exchange_free(talk->exchange);
    bytes_free(&talk->said);
    assert_int_equal(talk->failing.live, 0);
}

/* made: what the function that made the request returned; the request is freed when it is not accepted. */
static inline enum ist_status talk_submit(struct talk *talk, enum ist_status made,
                                          struct ist_request *request, struct answer *answer,
                                          uint64_t deadline_ns) {
    *answer = (struct answer){0};
    if (made != IST_OK) {
        return made;
    }
    request->arg = answer;
    enum ist_status status = ist_exchange_submit(talk->exchange, request, deadline_ns);
    if (status != IST_OK) {
        ist_request_free(request);
    }
    talk_check(talk);
    return status;
}

static inline void talk_tick(struct talk *talk, uint64_t now_ns) {
    talk->now_ns = now_ns;
    ist_exchange_tick(talk->exchange, now_ns);
    talk_check(talk);
    talk_reap(talk);
}

/* Up to `limit` bytes leave. Returns how many. */
static inline size_t talk_take(struct talk *talk, size_t limit) {
    size_t taken = 0;
    struct iovec buffers[1024];
    while (taken < limit) {
        size_t named = ist_exchange_send_buffers(talk->exchange, buffers, talk->buffers_max);
        assert_int_equal(named > 0, ist_exchange_wants_send(talk->exchange));
        if (named == 0) {
            break;
        }
        size_t left = limit - taken < talk->take_max ? limit - taken : talk->take_max, moved = 0;
        for (size_t i = 0; i < named && left > 0; i++) {
            assert_true(buffers[i].iov_len >= 1);
            size_t part = buffers[i].iov_len < left ? buffers[i].iov_len : left;
            bytes_add(&talk->said, buffers[i].iov_base, part);
            moved += part;
            left -= part;
        }
        ist_exchange_sent(talk->exchange, moved);
        talk_check(talk);
        taken += moved;
    }
    return taken;
}

/* Bytes come, as long as they are wanted. Returns how many were. */
static inline size_t talk_feed(struct talk *talk, const void *data, size_t count) {
    size_t fed = 0;
    struct iovec buffers[1024];
    while (fed < count) {
        size_t named = ist_exchange_recv_buffers(talk->exchange, buffers, talk->buffers_max);
        if (named == 0) {
            break;
        }
        size_t left = count - fed < talk->feed_max ? count - fed : talk->feed_max, moved = 0;
        for (size_t i = 0; i < named && left > 0; i++) {
            assert_true(buffers[i].iov_len >= 1);
            size_t part = buffers[i].iov_len < left ? buffers[i].iov_len : left;
            memcpy(buffers[i].iov_base, (const uint8_t *)data + fed + moved, part);
            moved += part;
            left -= part;
        }
        ist_exchange_received(talk->exchange, moved);
        talk_check(talk);
        talk_reap(talk);
        fed += moved;
    }
    return fed;
}

static inline size_t talk_feed_all(struct talk *talk, struct bytes *bytes) {
    size_t fed = talk_feed(talk, bytes->data, bytes->count);
    bytes->count = 0;
    return fed;
}

/* ---- the server ------------------------------------------------------------------------------------------- */

#define HEARD_KEYS_MAX 64u

struct heard {
    struct ist_frame frame;
    struct ist_span body;
    struct ist_span keys[HEARD_KEYS_MAX];
    uint64_t lengths[HEARD_KEYS_MAX];
    size_t count, length_count;
    struct ist_span payload;
};

/* The next request that the client has sent; false: not all of one. The views end with the next talk_take(). */
static inline bool talk_hear(struct talk *talk, struct heard *heard) {
    struct ist_span rest = ist_span_of(talk->said.data + talk->heard, talk->said.count - talk->heard);
    *heard = (struct heard){0};
    enum ist_status status = ist_frame_decode(rest, &heard->frame);
    if (status == IST_AGAIN) {
        return false;
    }
    assert_int_equal(status, IST_OK);
    uint64_t whole = IST_FRAME_BYTES + heard->frame.body_bytes + heard->frame.payload_bytes;
    if (rest.bytes < whole) {
        return false;
    }
    heard->body = ist_span_of(rest.data + IST_FRAME_BYTES, heard->frame.body_bytes);
    heard->payload = ist_span_of(heard->body.data + heard->body.bytes, heard->frame.payload_bytes);
    if (heard->frame.operation != IST_OP_HELLO) {
        (void)ist_codec_decode_keys(heard->body, heard->keys, heard->lengths, HEARD_KEYS_MAX,
                                    &heard->count, &heard->length_count);
    }
    talk->heard += whole;
    return true;
}

/* A reply to what was heard: the body of `reply`, and the header of a payload of so many bytes. */
static inline void say_reply(struct bytes *out, const struct heard *heard,
                             const struct ist_keys_reply *reply, uint64_t payload_bytes) {
    uint8_t body[4096];
    size_t written;
    assert_int_equal(ist_codec_encode_keys_reply(reply, body, sizeof(body), &written), IST_OK);
    say_header(out, heard->frame.operation, IST_FRAME_REPLY, heard->frame.request_id, (uint32_t)written,
               payload_bytes);
    bytes_add(out, body, written);
}

static inline const struct ist_hello_reply *usual_server(void) {
    static const struct ist_hello_reply reply = {
        .version = 1,
        .incarnation = 0x1122334455667788,
        .keys_max = IST_KEYS_PER_REQUEST_MAX,
        .key_bytes_max = IST_KEY_BYTES_MAX,
        .body_bytes_max = IST_BODY_BYTES_MAX,
        .in_flight_max = IST_REQUESTS_IN_FLIGHT_MAX,
        .value_bytes_max = 1u << 30,
    };
    return &reply;
}

static inline void say_hello_reply(struct bytes *out, uint64_t id,
                                   const struct ist_hello_reply *reply) {
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_hello_reply(reply, body, sizeof(body), &written), IST_OK);
    say_header(out, IST_OP_HELLO, IST_FRAME_REPLY, id, (uint32_t)written, 0);
    bytes_add(out, body, written);
}

/* Begins, and shakes hands with a server of these limits. */
static inline void talk_open(struct talk *talk, const struct ist_hello_reply *server) {
    struct bytes out = {0};
    struct heard heard;
    talk->said.count = talk->heard = 0;
    ist_exchange_begin(talk->exchange, false);
    talk_check(talk);
    (void)talk_take(talk, SIZE_MAX);
    assert_true(talk_hear(talk, &heard));
    assert_int_equal(heard.frame.operation, IST_OP_HELLO);
    say_hello_reply(&out, heard.frame.request_id, server);
    assert_int_equal(talk_feed(talk, out.data, out.count), out.count);
    assert_int_equal(ist_exchange_state(talk->exchange), IST_EXCHANGE_OPEN);
    bytes_free(&out);
}

#endif

/* What a client's exchange does not do, and what a server may not say: limits, the handshake, wrong replies, the end. */
#include "client/exchange.h"

#include "tests/talk.h"

static struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

static enum ist_status ping(struct talk *talk, struct answer *answer, uint64_t deadline_ns) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_ping(&talk->failing.alloc, &request);
    return talk_submit(talk, made, request, answer, deadline_ns);
}

static void say_ok(struct bytes *out, const struct heard *heard) {
    say_reply(out, heard, &(struct ist_keys_reply){0}, 0);
}

/* ---- limits ------------------------------------------------------------------------------------------------- */

static void test_submit__too_many_in_flight__again_then_room(void **state) {
    (void)state;
    struct talk talk;
    static struct answer answers[IST_REQUESTS_IN_FLIGHT_MAX + 1];
    struct bytes out = {0};
    struct heard heard;
    talk_init(&talk);
    talk.unchecked = true;
    for (size_t i = 0; i < IST_REQUESTS_IN_FLIGHT_MAX; i++) {
        assert_int_equal(ping(&talk, &answers[i], TALK_NEVER), IST_OK);
    }
    struct answer more;
    assert_int_equal(ping(&talk, &more, TALK_NEVER), IST_AGAIN);
    talk_open(&talk, usual_server());
    ist_exchange_check(talk.exchange);
    assert_int_equal(ping(&talk, &more, TALK_NEVER), IST_AGAIN);
    (void)talk_take(&talk, SIZE_MAX);
    assert_true(talk_hear(&talk, &heard));
    say_ok(&out, &heard);
    talk_feed_all(&talk, &out);
    assert_int_equal(answers[0].calls, 1);
    assert_int_equal(ping(&talk, &more, TALK_NEVER), IST_OK);
    assert_int_equal(ping(&talk, &answers[0], TALK_NEVER), IST_AGAIN);
    (void)talk_take(&talk, SIZE_MAX);
    size_t count = 0;
    while (talk_hear(&talk, &heard)) {
        say_ok(&out, &heard);
        count++;
    }
    assert_int_equal(count, IST_REQUESTS_IN_FLIGHT_MAX);
    talk_feed_all(&talk, &out);
    ist_exchange_check(talk.exchange);
    assert_int_equal(more.calls, 1);
    assert_int_equal(ist_exchange_in_flight(talk.exchange), 0);
    bytes_free(&out);
    talk_fini(&talk);
}

static void test_server__allows_two_in_flight__third_waits(void **state) {
    (void)state;
    struct talk talk;
    struct answer answers[4];
    struct bytes out = {0};
    struct heard heard;
    struct ist_hello_reply server = *usual_server();
    server.in_flight_max = 2;
    talk_init(&talk);
    talk_open(&talk, &server);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ping(&talk, &answers[i], TALK_NEVER), IST_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        static const size_t unanswered[4] = {2, 2, 2, 1};
        (void)talk_take(&talk, SIZE_MAX);
        assert_int_equal(talk.said.count - talk.heard, unanswered[i] * IST_FRAME_BYTES);
        assert_true(talk_hear(&talk, &heard));
        say_ok(&out, &heard);
        talk_feed_all(&talk, &out);
        assert_int_equal(answers[i].calls, 1);
    }
    assert_int_equal(ist_exchange_in_flight(talk.exchange), 0);
    bytes_free(&out);
    talk_fini(&talk);
}

/* What this server does not take is not sent. */
static void test_server__smaller_limits__invalid_without_sending(void **state) {
    (void)state;
    static const uint32_t limits[4][3] = {
        {1, 10, 1000}, {10, 4, 1000}, {10, 10, 13}, {2, 5, 14}}; /* the last one is just enough */
    for (size_t i = 0; i < 4; i++) {
        struct talk talk;
        struct answer answer, after;
        struct ist_key keys[2] = {key_of("12345"), key_of("12345")};
        bool present[2];
        struct ist_request *request = NULL;
        struct ist_hello_reply server = *usual_server();
        server.keys_max = limits[i][0];
        server.key_bytes_max = limits[i][1];
        server.body_bytes_max = limits[i][2];
        talk_init(&talk);
        enum ist_status made = ist_request_new_exists(&talk.failing.alloc, keys, 2, present, &request);
        assert_int_equal(talk_submit(&talk, made, request, &answer, TALK_NEVER), IST_OK);
        assert_int_equal(ping(&talk, &after, TALK_NEVER), IST_OK);
        talk_open(&talk, &server);
        assert_int_equal(answer.calls, i < 3);
        (void)talk_take(&talk, SIZE_MAX);
        assert_int_equal(talk.said.count - talk.heard, i < 3 ? 32 : 32 + 14 + 32);
        talk_fini(&talk);
        assert_int_equal(answer.status, i < 3 ? IST_INVALID : IST_PEER);
        assert_int_equal(after.status, IST_PEER);
    }
}

/* ---- values that the server cannot take ------------------------------------------------------------------------ */

enum { TOO_BIGS = 5 };

static const uint64_t item_bytes[TOO_BIGS] = {11, 5, 1ull << 40, 10, 11};

/* What is too big for a server of 10 bytes is not there to be read, either. */
static void fill_puts(struct ist_put_item *puts) {
    for (size_t i = 0; i < TOO_BIGS; i++) {
        const void *nowhere = (const void *)(uintptr_t)16;
        puts[i] = (struct ist_put_item){.key = key_of("12345"),
                                        .value = item_bytes[i] > 10 ? nowhere : "0123456789",
                                        .value_bytes = item_bytes[i],
                                        .status = IST_DEVICE};
    }
}

static void submit_puts(struct talk *talk, struct ist_put_item *puts, size_t count,
                        struct answer *answer) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_put(&talk->failing.alloc, puts, count, 0, &request);
    assert_int_equal(talk_submit(talk, made, request, answer, TALK_NEVER), IST_OK);
}

static void test_server__some_values_too_big__the_others_are_sent(void **state) {
    (void)state;
    const uint8_t statuses[TOO_BIGS] = {IST_INVALID, IST_OK, IST_OK, IST_EXISTS, IST_INVALID};
    const struct ist_keys_reply reply = {.key_status = ist_span_of(statuses, TOO_BIGS)};
    for (size_t pieces = 1; pieces < 20; pieces++) {
        struct talk talk;
        struct answer answer, after;
        struct ist_put_item puts[TOO_BIGS];
        struct heard heard;
        struct bytes out = {0};
        struct ist_hello_reply server = *usual_server();
        server.value_bytes_max = 10;
        talk_init(&talk);
        talk.take_max = pieces;
        talk.buffers_max = 1 + pieces % 4;
        fill_puts(puts);
        submit_puts(&talk, puts, TOO_BIGS, &answer);
        assert_int_equal(ping(&talk, &after, TALK_NEVER), IST_OK);
        talk_open(&talk, &server);
        (void)talk_take(&talk, SIZE_MAX);
        assert_true(talk_hear(&talk, &heard));
        assert_int_equal(heard.count, TOO_BIGS);
        assert_int_equal(heard.length_count, TOO_BIGS);
        for (size_t i = 0; i < TOO_BIGS; i++) {
            assert_true(ist_span_equal(heard.keys[i], ist_span_of("12345", 5)));
            assert_int_equal(heard.lengths[i], item_bytes[i] > 10 ? 0 : item_bytes[i]);
        }
        assert_int_equal(heard.payload.bytes, 15);
        assert_memory_equal(heard.payload.data, "012340123456789", 15);
        /* A server that claims to have stored what it was not given lies. */
        say_reply(&out, &heard, &reply, 0);
        assert_true(talk_hear(&talk, &heard));
        assert_int_equal(heard.frame.operation, IST_OP_PING);
        say_ok(&out, &heard);
        talk_feed_all(&talk, &out);
        assert_int_equal(answer.calls, 1);
        assert_int_equal(answer.status, IST_TOO_BIG);
        for (size_t i = 0; i < TOO_BIGS; i++) {
            assert_int_equal(puts[i].status, item_bytes[i] > 10 ? IST_TOO_BIG : statuses[i]);
        }
        assert_int_equal(after.status, IST_OK);
        bytes_free(&out);
        talk_fini(&talk);
    }
}

/* Also when another server, or the same with another pool, answers the next connect. */
static void test_server__all_values_too_big__not_sent_unless_the_next_takes_them(void **state) {
    (void)state;
    static const uint64_t limits[] = {4, 5, 1, 0, 4, UINT64_MAX}; /* 0: this one does not say */
    struct talk talk;
    struct ist_put_item put = {.key = key_of("k"), .value = "01234", .value_bytes = 5};
    talk_init(&talk);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct answer waits, answer;
        struct ist_hello_reply server = *usual_server();
        bool is_taken = limits[i] == 0 || limits[i] >= 5;
        server.value_bytes_max = limits[i];
        submit_puts(&talk, &put, 1, &waits);
        talk_open(&talk, &server);
        submit_puts(&talk, &put, 1, &answer);
        talk_reap(&talk);
        assert_int_equal(waits.calls, !is_taken);
        assert_int_equal(answer.calls, !is_taken);
        assert_int_equal(ist_exchange_wants_send(talk.exchange), is_taken);
        if (!is_taken) {
            assert_int_equal(waits.status, IST_TOO_BIG);
            assert_int_equal(answer.status, IST_TOO_BIG);
            assert_int_equal(put.status, IST_TOO_BIG);
        }
        talk_end(&talk, IST_PEER);
        assert_int_equal(answer.calls, 1);
        assert_int_equal(put.status, is_taken ? IST_PEER : IST_TOO_BIG);
    }
    talk_fini(&talk);
}

/* ---- hello --------------------------------------------------------------------------------------------------- */

static void test_hello__first_and_alone__body_is_one_a_server_takes(void **state) {
    (void)state;
    struct talk talk;
    struct answer answer;
    struct heard heard;
    struct ist_hello hello;
    talk_init(&talk);
    assert_int_equal(ping(&talk, &answer, TALK_NEVER), IST_OK);
    assert_false(ist_exchange_wants_send(talk.exchange));
    ist_exchange_begin(talk.exchange, false);
    (void)talk_take(&talk, SIZE_MAX);
    assert_true(talk_hear(&talk, &heard));
    assert_int_equal(heard.frame.operation, IST_OP_HELLO);
    assert_true(heard.frame.body_bytes <= IST_HELLO_BYTES_MAX);
    assert_int_equal(heard.frame.payload_bytes, 0);
    assert_int_equal(talk.said.count, talk.heard);
    assert_int_equal(ist_codec_decode_hello(heard.body, &hello), IST_OK);
    assert_int_equal(hello.version_min, 1);
    assert_int_equal(hello.version_max, 1);
    assert_true(ist_span_equal(hello.client, ist_span_of_string("infinistore-c/" IST_VERSION)));
    assert_true(ist_exchange_incarnation(talk.exchange) == 0);
    talk_fini(&talk);
}

static void say_bad_hello(struct bytes *out, uint64_t id, size_t which) {
    struct ist_hello_reply reply = *usual_server();
    switch (which) {
    case 0: reply.status = IST_PROTOCOL; break; /* no version in common */
    case 1: reply.version = 2; break;
    case 2: reply.version = 0; break;
    case 3: reply.incarnation = 0; break;
    case 4: reply.keys_max = 0; break;
    case 5: reply.key_bytes_max = 0; break;
    case 6: reply.body_bytes_max = 0; break;
    case 7: reply.in_flight_max = 0; break;
    case 8: id++; break;
    case 9: say_header(out, IST_OP_HELLO, 0, id, 0, 0); return; /* a request */
    case 10: say_header(out, IST_OP_PING, IST_FRAME_REPLY, id, 0, 0); return;
    case 11: say_header(out, IST_OP_HELLO, IST_FRAME_REPLY, id, IST_HELLO_BYTES_MAX + 1, 0); return;
    case 12: say_header(out, IST_OP_HELLO, IST_FRAME_REPLY, id, 0, 1); return;
    case 13: say_header(out, IST_OP_HELLO, IST_FRAME_REPLY | IST_FRAME_IF_ABSENT, id, 0, 0); return;
    case 14: bytes_add(out, "HTTP/1.1 400 Bad Request\r\n\r\n", 28); return;
    case 15:
        bytes_add(out, "I", 1);
        bytes_add(out, "X", 1);
        return;
    case 16:
        say_header(out, IST_OP_HELLO, IST_FRAME_REPLY, id, 2, 0);
        bytes_add(out, "\xff\xff", 2);
        return;
    }
    say_hello_reply(out, id, &reply);
}

/* The server is one of ours and has no memory for the reply: that passes. */
static void test_hello__server_without_memory__peer_and_requests_are_kept(void **state) {
    (void)state;
    struct talk talk;
    struct answer answer;
    struct heard heard;
    struct bytes out = {0};
    talk_init(&talk);
    assert_int_equal(ping(&talk, &answer, TALK_NEVER), IST_OK);
    ist_exchange_begin(talk.exchange, false);
    (void)talk_take(&talk, SIZE_MAX);
    assert_true(talk_hear(&talk, &heard));
    const struct ist_keys_reply refusal = {.status = IST_NO_MEMORY};
    say_reply(&out, &heard, &refusal, 0); /* as the engine says it: ist_request_fail() */
    (void)talk_feed_all(&talk, &out);
    assert_int_equal(ist_exchange_fault(talk.exchange), IST_PEER);
    assert_int_equal(ist_exchange_state(talk.exchange), IST_EXCHANGE_BROKEN);
    assert_int_equal(answer.calls, 0);
    talk_open(&talk, usual_server());
    talk_fini(&talk);
    bytes_free(&out);
}

/* A request waits until there is somebody who can be talked to. */
static void test_hello__wrong_replies__protocol_and_requests_are_kept(void **state) {
    (void)state;
    struct talk talk;
    struct answer answer;
    struct heard heard;
    struct bytes out = {0};
    talk_init(&talk);
    assert_int_equal(ping(&talk, &answer, TALK_NEVER), IST_OK);
    for (size_t which = 0; which <= 16; which++) {
        talk.said.count = talk.heard = 0;
        ist_exchange_begin(talk.exchange, false);
        talk_check(&talk);
        (void)talk_take(&talk, SIZE_MAX);
        assert_true(talk_hear(&talk, &heard));
        say_bad_hello(&out, heard.frame.request_id, which);
        talk.feed_max = 1 + which % 3;
        (void)talk_feed_all(&talk, &out);
        if (ist_exchange_fault(talk.exchange) != IST_PROTOCOL) {
            fail_msg("reply %zu", which);
        }
        assert_int_equal(ist_exchange_state(talk.exchange), IST_EXCHANGE_BROKEN);
        assert_false(ist_exchange_wants_send(talk.exchange));
        struct iovec buffer;
        assert_int_equal(ist_exchange_recv_buffers(talk.exchange, &buffer, 1), 0);
        assert_int_equal(answer.calls, 0);
    }
    /* a reply before the question is complete */
    ist_exchange_begin(talk.exchange, false);
    talk.said.count = talk.heard = 0;
    (void)talk_take(&talk, IST_FRAME_BYTES);
    struct ist_frame frame;
    assert_int_equal(ist_frame_decode(ist_span_of(talk.said.data, talk.said.count), &frame), IST_OK);
    say_hello_reply(&out, frame.request_id, usual_server());
    (void)talk_feed_all(&talk, &out);
    assert_int_equal(ist_exchange_fault(talk.exchange), IST_PROTOCOL);

    talk_open(&talk, usual_server());
    assert_true(ist_exchange_incarnation(talk.exchange) == usual_server()->incarnation);
    (void)talk_take(&talk, SIZE_MAX);
    assert_true(talk_hear(&talk, &heard));
    say_ok(&out, &heard);
    talk_feed_all(&talk, &out);
    assert_int_equal(answer.status, IST_OK);
    assert_int_equal(answer.calls, 1);
    bytes_free(&out);
    talk_fini(&talk);
}

/* ---- what a server may not say ---------------------------------------------------------------------------------- */

static void say_wrong(struct bytes *out, const struct heard *ping_heard, const struct heard *get_heard,
                      size_t which) {
    const uint64_t ping_id = ping_heard->frame.request_id, get_id = get_heard->frame.request_id;
    const uint64_t lengths[1] = {10};
    const uint8_t ok = IST_OK;
    struct ist_keys_reply good = {
        .key_status = ist_span_of(&ok, 1), .lengths = lengths, .length_count = 1};
    switch (which) {
    case 0: bytes_add(out, "HTTP", 4); break;
    case 1: say_header(out, IST_OP_PING, IST_FRAME_REPLY, ping_id + 1, 0, 0); break;
    case 2:
        say_header(out, IST_OP_PING, IST_FRAME_REPLY, ping_id + IST_REQUESTS_IN_FLIGHT_MAX, 0, 0);
        break;
    case 3:
        say_header(out, IST_OP_PING, IST_FRAME_REPLY, get_id, 0, 0);
        break; /* of another operation */
    case 4: say_header(out, IST_OP_PING, 0, ping_id, 0, 0); break;
    case 5: say_header(out, IST_OP_PING, IST_FRAME_REPLY, ping_id, 0, 1); break;
    case 6: say_header(out, IST_OP_PING, IST_FRAME_REPLY, ping_id, 1025, 0); break;
    case 7: say_header(out, IST_OP_GET, IST_FRAME_REPLY, get_id, 11 + 1025, 0); break;
    case 8: say_header(out, IST_OP_GET, IST_FRAME_REPLY, get_id, 5, 17); break; /* of 16 */
    case 9: say_header(out, IST_OP_GET, IST_FRAME_REPLY, get_id, 5, UINT64_MAX); break;
    case 10: say_reply(out, get_heard, &good, 11); break;
    case 11: say_reply(out, get_heard, &good, 9); break;
    case 12:
        say_header(out, IST_OP_PING, IST_FRAME_REPLY, ping_id, 0, 0);
        say_header(out, IST_OP_PING, IST_FRAME_REPLY, ping_id, 0, 0); /* twice */
        break;
    case 13: say_header(out, IST_OP_HELLO, IST_FRAME_REPLY, ping_id, 0, 0); break;
    case 14: say_reply(out, ping_heard, &(struct ist_keys_reply){.status = IST_PROTOCOL}, 0); break;
    case 15:
        say_header(out, IST_OP_PING, IST_FRAME_REPLY, ping_id, 3, 0);
        bytes_add(out, "\xff\xff\xff", 3);
        break;
    case 16: {
        uint8_t header[IST_FRAME_BYTES]; /* a body above every limit */
        say_header(out, IST_OP_GET, IST_FRAME_REPLY, get_id, 0, 0);
        memcpy(header, out->data + out->count - IST_FRAME_BYTES, IST_FRAME_BYTES);
        memset(header + 16, 0xff, 4);
        out->count -= IST_FRAME_BYTES;
        bytes_add(out, header, sizeof(header));
        break;
    }
    }
}

static void test_server__wrong_replies__protocol_for_all(void **state) {
    (void)state;
    for (size_t which = 0; which <= 16; which++) {
        for (size_t feed_max = 1; feed_max < 200; feed_max += 66) {
            struct talk talk;
            struct answer pinged, got, queued;
            struct heard ping_heard, get_heard;
            struct bytes out = {0};
            uint8_t *buffer = guarded_new(16);
            memset(buffer, 0x77, 16);
            struct ist_get_item item = {.key = key_of("a"), .buffer = buffer, .buffer_bytes = 16};
            struct ist_request *request = NULL;
            talk_init(&talk);
            talk.feed_max = feed_max;
            talk_open(&talk, usual_server());
            assert_int_equal(ping(&talk, &pinged, TALK_NEVER), IST_OK);
            enum ist_status made = ist_request_new_get(&talk.failing.alloc, &item, 1, &request);
            assert_int_equal(talk_submit(&talk, made, request, &got, TALK_NEVER), IST_OK);
            (void)talk_take(&talk, SIZE_MAX);
            assert_true(talk_hear(&talk, &ping_heard) && talk_hear(&talk, &get_heard));
            assert_int_equal(ping(&talk, &queued, TALK_NEVER), IST_OK);
            say_wrong(&out, &ping_heard, &get_heard, which);
            say_value(&out, 'v', 30); /* bytes behind it are not looked at */
            (void)talk_feed_all(&talk, &out);
            if (ist_exchange_fault(talk.exchange) != IST_PROTOCOL) {
                fail_msg("reply %zu in pieces of %zu", which, feed_max);
            }
            talk_end(&talk, ist_exchange_fault(talk.exchange));
            assert_int_equal(pinged.calls + got.calls + queued.calls, 3);
            assert_int_equal(pinged.status, which == 12 ? IST_OK : IST_PROTOCOL);
            assert_int_equal(got.status, IST_PROTOCOL);
            assert_int_equal(item.status, IST_PROTOCOL);
            assert_int_equal(queued.status, IST_PROTOCOL);
            for (size_t i = 0; i < 16; i++) {
                assert_int_equal(buffer[i], 0x77);
            }
            guarded_free(buffer, 16);
            bytes_free(&out);
            talk_fini(&talk);
        }
    }
}

/* A request cannot be answered before it is asked. */
static void test_server__answers_what_is_half_sent__protocol(void **state) {
    (void)state;
    struct talk talk;
    struct answer answer;
    struct bytes out = {0};
    talk_init(&talk);
    talk_open(&talk, usual_server());
    assert_int_equal(ping(&talk, &answer, TALK_NEVER), IST_OK);
    size_t before = talk.said.count;
    (void)talk_take(&talk, IST_FRAME_BYTES - 1);
    struct bytes whole = {0};
    bytes_add(&whole, talk.said.data + before, IST_FRAME_BYTES - 1);
    bytes_add(&whole, "", 1); /* the last byte of a header is 0 here */
    struct ist_frame frame;
    assert_int_equal(ist_frame_decode(ist_span_of(whole.data, whole.count), &frame), IST_OK);
    say_header(&out, IST_OP_PING, IST_FRAME_REPLY, frame.request_id, 0, 0);
    (void)talk_feed_all(&talk, &out);
    assert_int_equal(ist_exchange_fault(talk.exchange), IST_PROTOCOL);
    bytes_free(&out);
    bytes_free(&whole);
    talk_fini(&talk);
    assert_int_equal(answer.status, IST_PEER);
}

/* The end comes in the order of the submits, and a new session starts afresh. */
static void test_end__with_requests_everywhere__order_and_a_new_session(void **state) {
    (void)state;
    struct talk talk;
    struct answer answers[5];
    struct bytes out = {0};
    struct heard heard;
    struct ist_hello_reply server = *usual_server();
    server.in_flight_max = 4;
    talk_init(&talk);
    talk_open(&talk, &server);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(ping(&talk, &answers[i], TALK_NEVER), IST_OK);
    }
    (void)talk_take(&talk, 2 * IST_FRAME_BYTES + 7); /* two sent, one in part, one not, one waits */
    assert_true(talk_hear(&talk, &heard));
    say_header(&out, IST_OP_PING, IST_FRAME_REPLY, heard.frame.request_id, 0, 0);
    assert_int_equal(talk_feed(&talk, out.data, 31), 31);
    talk_end(&talk, IST_PEER);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(answers[i].calls, 1);
        assert_int_equal(answers[i].order, i + 1);
        assert_int_equal(answers[i].status, IST_PEER);
    }
    assert_true(ist_exchange_incarnation(talk.exchange) == 0);
    out.count = 0;
    assert_int_equal(ping(&talk, &answers[0], TALK_NEVER), IST_OK);
    talk_open(&talk, &server);
    (void)talk_take(&talk, SIZE_MAX);
    assert_true(talk_hear(&talk, &heard));
    say_ok(&out, &heard);
    talk_feed_all(&talk, &out);
    assert_int_equal(answers[0].status, IST_OK);
    assert_int_equal(answers[0].calls, 1);
    bytes_free(&out);
    talk_fini(&talk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submit__too_many_in_flight__again_then_room),
        cmocka_unit_test(test_server__allows_two_in_flight__third_waits),
        cmocka_unit_test(test_server__smaller_limits__invalid_without_sending),
        cmocka_unit_test(test_server__some_values_too_big__the_others_are_sent),
        cmocka_unit_test(test_server__all_values_too_big__not_sent_unless_the_next_takes_them),
        cmocka_unit_test(test_hello__first_and_alone__body_is_one_a_server_takes),
        cmocka_unit_test(test_hello__wrong_replies__protocol_and_requests_are_kept),
        cmocka_unit_test(test_hello__server_without_memory__peer_and_requests_are_kept),
        cmocka_unit_test(test_server__wrong_replies__protocol_for_all),
        cmocka_unit_test(test_server__answers_what_is_half_sent__protocol),
        cmocka_unit_test(test_end__with_requests_everywhere__order_and_a_new_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What happens to a client's request when its time is over, in every phase of its life. */
#include "tests/talk.h"

#define VALUE_BYTES 50000u

static struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

static void submit_ping(struct talk *talk, struct answer *answer, uint64_t deadline_ns) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_ping(&talk->failing.alloc, &request);
    assert_int_equal(talk_submit(talk, made, request, answer, deadline_ns), IST_OK);
}

static void submit_get(struct talk *talk, struct ist_get_item *item, struct answer *answer,
                       uint64_t deadline_ns) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_get(&talk->failing.alloc, item, 1, &request);
    assert_int_equal(talk_submit(talk, made, request, answer, deadline_ns), IST_OK);
}

static void submit_put(struct talk *talk, struct ist_put_item *item, struct answer *answer,
                       uint64_t deadline_ns) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_put(&talk->failing.alloc, item, 1, 0, &request);
    assert_int_equal(talk_submit(talk, made, request, answer, deadline_ns), IST_OK);
}

/* The session is as good as new: a ping goes through, and nothing is left behind it. */
static void assert_alive(struct talk *talk) {
    struct answer answer;
    struct heard heard;
    struct bytes out = {0};
    submit_ping(talk, &answer, TALK_NEVER);
    (void)talk_take(talk, SIZE_MAX);
    do {
        assert_true(talk_hear(talk, &heard));
    } while (heard.frame.operation != IST_OP_PING);
    say_reply(&out, &heard, &(struct ist_keys_reply){0}, 0);
    assert_int_equal(talk_feed_all(talk, &out), IST_FRAME_BYTES);
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.status, IST_OK);
    assert_int_equal(ist_exchange_in_flight(talk->exchange), 0);
    bytes_free(&out);
}

static void assert_timed_out(const struct answer *answer) {
    assert_int_equal(answer->calls, 1);
    assert_int_equal(answer->status, IST_TIMEOUT);
}

static void say_value_reply(struct bytes *out, const struct heard *heard, uint64_t bytes) {
    const uint8_t ok = IST_OK;
    const struct ist_keys_reply reply = {
        .key_status = ist_span_of(&ok, 1), .lengths = &bytes, .length_count = 1};
    say_reply(out, heard, &reply, bytes);
    say_value(out, 'v', bytes);
}

static void test_deadline__without_a_session__timeout(void **state) {
    (void)state;
    struct talk talk;
    struct answer first, second, never;
    talk_init(&talk);
    assert_true(ist_exchange_deadline_ns(talk.exchange) == IST_NO_DEADLINE_NS);
    submit_ping(&talk, &never, TALK_NEVER);
    assert_true(ist_exchange_deadline_ns(talk.exchange) == IST_NO_DEADLINE_NS);
    submit_ping(&talk, &second, 20);
    submit_ping(&talk, &first, 10);
    assert_int_equal(ist_exchange_deadline_ns(talk.exchange), 10);
    talk_tick(&talk, 9);
    assert_int_equal(first.calls, 0);
    talk_tick(&talk, 10);
    assert_timed_out(&first);
    assert_int_equal(second.calls, 0);
    assert_int_equal(ist_exchange_deadline_ns(talk.exchange), 20);
    ist_exchange_begin(talk.exchange, false); /* in the middle of the handshake, too */
    talk_tick(&talk, 21);
    assert_timed_out(&second);
    assert_int_equal(ist_exchange_state(talk.exchange), IST_EXCHANGE_HELLO);
    talk_fini(&talk);
    assert_int_equal(never.status, IST_PEER);
}

static void test_deadline__not_a_byte_sent__dropped(void **state) {
    (void)state;
    struct talk talk;
    struct answer ping, put;
    struct ist_put_item item = {.key = key_of("a"), .value = "v", .value_bytes = 1};
    talk_init(&talk);
    talk_open(&talk, usual_server());
    submit_put(&talk, &item, &put, 10);
    submit_ping(&talk, &ping, 10);
    talk_tick(&talk, 10);
    assert_timed_out(&put);
    assert_timed_out(&ping);
    assert_int_equal(item.status, IST_TIMEOUT);
    assert_false(ist_exchange_wants_send(talk.exchange));
    assert_alive(&talk);
    talk_fini(&talk);
}

/* The caller takes its memory back, but the server waits for the rest of it. */
static void test_deadline__put_sent_in_part__session_ends(void **state) {
    (void)state;
    static uint8_t value[VALUE_BYTES];
    struct ist_put_item item = {.key = key_of("a"), .value = value, .value_bytes = VALUE_BYTES};
    static const size_t sent[] = {1, IST_FRAME_BYTES, 100, 40000, VALUE_BYTES + IST_FRAME_BYTES + 6};
    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        struct talk talk;
        struct answer before, put, behind;
        talk_init(&talk);
        talk_open(&talk, usual_server());
        submit_ping(&talk, &before, TALK_NEVER);
        (void)talk_take(&talk, SIZE_MAX);
        submit_put(&talk, &item, &put, 10);
        submit_ping(&talk, &behind, TALK_NEVER);
        assert_int_equal(talk_take(&talk, sent[i]), sent[i]);
        talk_tick(&talk, 10);
        assert_timed_out(&put);
        assert_int_equal(ist_exchange_fault(talk.exchange), IST_PEER);
        assert_false(ist_exchange_wants_send(talk.exchange));
        struct iovec buffer;
        assert_int_equal(ist_exchange_recv_buffers(talk.exchange, &buffer, 1), 0);
        assert_int_equal(before.calls + behind.calls, 0);
        talk_fini(&talk);
        assert_int_equal(before.status, IST_PEER);
        assert_int_equal(behind.status, IST_PEER);
        assert_int_equal(put.calls, 1);
    }
}

static void test_deadline__get_sent_in_part__rest_is_sent_and_reply_ignored(void **state) {
    (void)state;
    for (size_t sent = 1; sent < IST_FRAME_BYTES + 3; sent++) {
        struct talk talk;
        struct answer get, ping;
        struct heard heard;
        struct bytes out = {0};
        uint8_t buffer[64];
        memset(buffer, 0x77, sizeof(buffer));
        struct ist_get_item item = {.key = key_of("a"), .buffer = buffer, .buffer_bytes = 64};
        talk_init(&talk);
        talk_open(&talk, usual_server());
        submit_get(&talk, &item, &get, 10);
        assert_int_equal(talk_take(&talk, sent), sent);
        talk_tick(&talk, 11);
        assert_timed_out(&get);
        assert_int_equal(item.status, IST_TIMEOUT);
        submit_ping(&talk, &ping, TALK_NEVER);
        (void)talk_take(&talk, SIZE_MAX);
        assert_true(talk_hear(&talk, &heard));
        assert_int_equal(heard.frame.operation, IST_OP_GET);
        say_value_reply(&out, &heard, 64);
        assert_true(talk_hear(&talk, &heard));
        say_reply(&out, &heard, &(struct ist_keys_reply){0}, 0);
        talk_feed_all(&talk, &out);
        assert_int_equal(ping.calls, 1);
        assert_int_equal(get.calls, 1);
        assert_int_equal(buffer[0], 0x77);
        assert_alive(&talk);
        bytes_free(&out);
        talk_fini(&talk);
    }
}

/* A request that is over, but whose rest was not sent when the connection broke, or when the caller had not yet
 * looked. */
static void test_deadline__sent_in_part_then_end__nothing_left(void **state) {
    (void)state;
    for (unsigned reaped = 0; reaped < 2; reaped++) {
        struct talk talk;
        struct answer get;
        struct ist_get_item item = {.key = key_of("a")};
        talk_init(&talk);
        talk_open(&talk, usual_server());
        submit_get(&talk, &item, &get, 10);
        (void)talk_take(&talk, 5);
        ist_exchange_tick(talk.exchange, 10);
        talk_check(&talk);
        if (reaped != 0) {
            talk_reap(&talk);
        }
        talk_end(&talk, IST_PEER);
        assert_timed_out(&get);
        talk_open(&talk, usual_server());
        assert_alive(&talk);
        talk_fini(&talk);
    }
    /* and sent before the caller looked */
    struct talk talk;
    struct answer get;
    struct ist_get_item item = {.key = key_of("a")};
    talk_init(&talk);
    talk_open(&talk, usual_server());
    submit_get(&talk, &item, &get, 10);
    (void)talk_take(&talk, 5);
    ist_exchange_tick(talk.exchange, 10);
    (void)talk_take(&talk, SIZE_MAX);
    talk_reap(&talk);
    assert_timed_out(&get);
    assert_alive(&talk);
    talk_fini(&talk);
}

/* The late reply comes in every possible way; none of it reaches the caller. */
static void test_deadline__reply_is_late__ignored(void **state) {
    (void)state;
    for (size_t feed_max = 1; feed_max < 70000; feed_max = feed_max * 3 + 1) {
        struct talk talk;
        struct answer get, put;
        struct heard get_heard, put_heard;
        struct bytes out = {0};
        uint8_t *buffer = guarded_new(VALUE_BYTES);
        memset(buffer, 0x77, VALUE_BYTES);
        struct ist_get_item item = {.key = key_of("a"), .buffer = buffer, .buffer_bytes = VALUE_BYTES};
        struct ist_put_item stored = {.key = key_of("a"), .value = buffer, .value_bytes = VALUE_BYTES};
        talk_init(&talk);
        talk.unchecked = feed_max < 10;
        talk.feed_max = feed_max;
        talk_open(&talk, usual_server());
        submit_put(&talk, &stored, &put, 10);
        submit_get(&talk, &item, &get, 10);
        (void)talk_take(&talk, SIZE_MAX);
        assert_true(talk_hear(&talk, &put_heard) && talk_hear(&talk, &get_heard));
        talk_tick(&talk, 10);
        assert_timed_out(&get);
        assert_timed_out(&put);
        assert_int_equal(item.status, IST_TIMEOUT);
        assert_int_equal(ist_exchange_fault(talk.exchange), IST_OK);
        say_value_reply(&out, &get_heard, VALUE_BYTES);
        say_reply(&out, &put_heard, &(struct ist_keys_reply){.key_status = ist_span_of("", 1)}, 0);
        size_t count = out.count;
        assert_int_equal(talk_feed_all(&talk, &out), count);
        assert_alive(&talk);
        for (size_t i = 0; i < VALUE_BYTES; i++) {
            assert_int_equal(buffer[i], 0x77);
        }
        assert_int_equal(item.status, IST_TIMEOUT);
        assert_int_equal(stored.status, IST_TIMEOUT);
        guarded_free(buffer, VALUE_BYTES);
        bytes_free(&out);
        talk_fini(&talk);
    }
}

/* Also a late reply is held to what was asked. */
static void test_deadline__late_reply_too_long__protocol(void **state) {
    (void)state;
    struct talk talk;
    struct answer get;
    struct heard heard;
    struct bytes out = {0};
    struct ist_get_item item = {.key = key_of("a")};
    talk_init(&talk);
    talk_open(&talk, usual_server());
    submit_get(&talk, &item, &get, 10);
    (void)talk_take(&talk, SIZE_MAX);
    assert_true(talk_hear(&talk, &heard));
    talk_tick(&talk, 10);
    say_value_reply(&out, &heard, 1);
    (void)talk_feed_all(&talk, &out);
    assert_int_equal(ist_exchange_fault(talk.exchange), IST_PROTOCOL);
    bytes_free(&out);
    talk_fini(&talk);
    assert_timed_out(&get);
}

/* At every byte of the reply: what has come may have been written, what comes later must not be. */
static void test_deadline__in_the_middle_of_the_reply__rest_thrown_away(void **state) {
    (void)state;
    size_t total = 100000, step = getenv("IST_TEST_SHORT") == NULL ? 311 : 5003;
    for (size_t at = 0; at < total; at += at < 100 ? 1 : step) {
        struct talk talk;
        struct answer get;
        struct heard heard;
        struct bytes out = {0};
        uint8_t *buffer = guarded_new(VALUE_BYTES);
        struct ist_get_item item = {.key = key_of("a"), .buffer = buffer, .buffer_bytes = VALUE_BYTES};
        talk_init(&talk);
        talk.feed_max = 20000;
        talk_open(&talk, usual_server());
        submit_get(&talk, &item, &get, 10);
        (void)talk_take(&talk, SIZE_MAX);
        assert_true(talk_hear(&talk, &heard));
        say_value_reply(&out, &heard, VALUE_BYTES);
        total = out.count;
        assert_int_equal(talk_feed(&talk, out.data, at), at);
        talk_tick(&talk, 10);
        assert_timed_out(&get);
        assert_int_equal(item.status, IST_TIMEOUT);
        assert_int_equal(item.value_bytes, 0);
        memset(buffer, 0x77, VALUE_BYTES); /* ours again */
        assert_int_equal(talk_feed(&talk, out.data + at, total - at), total - at);
        for (size_t i = 0; i < VALUE_BYTES; i++) {
            assert_int_equal(buffer[i], 0x77);
        }
        assert_int_equal(item.status, IST_TIMEOUT);
        assert_alive(&talk);
        guarded_free(buffer, VALUE_BYTES);
        bytes_free(&out);
        talk_fini(&talk);
    }
}

/* What the server has not answered counts against what it allows, over or not; nothing grows without bound. */
static void test_deadline__server_never_answers__no_more_sent_than_it_allows(void **state) {
    (void)state;
    struct talk talk;
    struct ist_hello_reply server = *usual_server();
    server.in_flight_max = 3;
    talk_init(&talk);
    talk_open(&talk, &server);
    size_t before = talk.said.count;
    int64_t live = talk.failing.live;
    for (uint64_t i = 0; i < 100; i++) {
        struct answer answer;
        submit_ping(&talk, &answer, 10 + i);
        (void)talk_take(&talk, SIZE_MAX);
        talk_tick(&talk, 10 + i);
        assert_timed_out(&answer);
    }
    assert_int_equal(talk.said.count - before, 3 * IST_FRAME_BYTES);
    assert_int_equal(talk.failing.live, live);
    /* it answers at last, and goes on */
    struct bytes out = {0};
    struct heard heard;
    while (talk_hear(&talk, &heard)) {
        say_reply(&out, &heard, &(struct ist_keys_reply){0}, 0);
    }
    assert_int_equal(talk_feed_all(&talk, &out), 3 * IST_FRAME_BYTES);
    assert_alive(&talk);
    bytes_free(&out);
    talk_fini(&talk);
}

/* Many deadlines in no order: each at its time. */
static void test_deadline__many__in_their_order(void **state) {
    (void)state;
    enum { COUNT = 500 };
    struct talk talk;
    static struct answer answers[COUNT];
    uint64_t deadlines[COUNT], seed = 5;
    talk_init(&talk);
    talk.unchecked = true;
    for (size_t i = 0; i < COUNT; i++) {
        deadlines[i] = 1 + random_below(&seed, 1000);
        submit_ping(&talk, &answers[i], deadlines[i]);
    }
    for (uint64_t now = 0; now <= 1000; now += 1 + random_below(&seed, 50)) {
        talk_tick(&talk, now);
        ist_exchange_check(talk.exchange);
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(answers[i].calls, deadlines[i] <= now);
        }
    }
    talk_tick(&talk, 1000);
    assert_int_equal(ist_exchange_in_flight(talk.exchange), 0);
    talk_fini(&talk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline__without_a_session__timeout),
        cmocka_unit_test(test_deadline__not_a_byte_sent__dropped),
        cmocka_unit_test(test_deadline__put_sent_in_part__session_ends),
        cmocka_unit_test(test_deadline__get_sent_in_part__rest_is_sent_and_reply_ignored),
        cmocka_unit_test(test_deadline__sent_in_part_then_end__nothing_left),
        cmocka_unit_test(test_deadline__reply_is_late__ignored),
        cmocka_unit_test(test_deadline__late_reply_too_long__protocol),
        cmocka_unit_test(test_deadline__in_the_middle_of_the_reply__rest_thrown_away),
        cmocka_unit_test(test_deadline__server_never_answers__no_more_sent_than_it_allows),
        cmocka_unit_test(test_deadline__many__in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/conversation.h"

/* One world, one open session, what it said and heard. */
struct talk {
    struct world world;
    struct ist_session *session;
    struct bytes in, out;
    struct reply replies[64];
    size_t count;
};

static void talk_begin_with(struct talk *talk, struct world_options options) {
    *talk = (struct talk){0};
    world_init(&talk->world, options);
    talk->session = world_open(&talk->world);
    say_hello(&talk->in, 1);
}

static void talk_begin(struct talk *talk) {
    talk_begin_with(talk, (struct world_options){0});
}

static void talk_run(struct talk *talk) {
    edge_run(&talk->world, talk->session, &talk->in, &talk->out);
    talk->count = read_replies(&talk->out, talk->replies, 64);
    talk->in.count = 0;
}

static void talk_end(struct talk *talk) {
    ist_session_close(talk->session);
    world_fini(&talk->world);
    bytes_free(&talk->in);
    bytes_free(&talk->out);
}

static unsigned wants(const struct talk *talk) {
    return ist_session_wants(talk->session);
}

/* ---- HELLO ---------------------------------------------------------------------------------------------- */

static void test_hello__good__limits_are_told(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    talk_run(&talk);
    struct ist_hello_reply reply;
    assert_int_equal(talk.count, 1);
    assert_int_equal(talk.replies[0].frame.request_id, 1);
    assert_int_equal(ist_codec_decode_hello_reply(talk.replies[0].body, &reply), IST_OK);
    assert_int_equal(reply.status, IST_OK);
    assert_int_equal(reply.version, 1);
    assert_int_equal(reply.incarnation, 77);
    assert_int_equal(reply.keys_max, IST_KEYS_PER_REQUEST_MAX);
    assert_int_equal(reply.key_bytes_max, IST_KEY_BYTES_MAX);
    assert_int_equal(reply.body_bytes_max, IST_BODY_BYTES_MAX);
    assert_int_equal(reply.in_flight_max, IST_REQUESTS_IN_FLIGHT_MAX);
    assert_int_equal(reply.value_bytes_max, POOL_BYTES);
    assert_true(ist_span_equal(reply.server, ist_span_of_string("test/1")));
    assert_ptr_equal(ist_session_user(talk.session), &talk.world);
    assert_int_equal(wants(&talk), IST_WANT_RECV);
    talk_end(&talk);
}

/* The only reply is PROTOCOL to request 5, and the session wants to be closed. */
static void expect_refused(struct talk *talk, const char *why) {
    assert_int_equal(talk->count, 1);
    assert_int_equal(talk->replies[0].frame.request_id, 5);
    if (talk->replies[0].frame.operation == IST_OP_HELLO) {
        struct ist_hello_reply reply;
        assert_int_equal(ist_codec_decode_hello_reply(talk->replies[0].body, &reply), IST_OK);
        assert_int_equal(reply.status, IST_PROTOCOL);
    } else if (talk->replies[0].frame.operation == IST_OP_STAT) {
        size_t count;
        assert_int_equal(ist_codec_decode_metrics(talk->replies[0].body, NULL, 0, &count),
                         IST_PROTOCOL);
    } else {
        assert_int_equal(talk->replies[0].keys.status, IST_PROTOCOL);
    }
    assert_int_equal(wants(talk), IST_WANT_CLOSE);
    assert_int_equal(talk->world.lines.count, 1);
    assert_non_null(strstr(talk->world.lines.last, why));
}

static void test_hello__no_version_in_common__protocol(void **state) {
    (void)state;
    static const uint32_t versions[2][2] = {{2, 9}, {0, 0}};
    for (size_t i = 0; i < 2; i++) {
        struct talk talk;
        talk_begin(&talk);
        struct ist_hello hello = {versions[i][0], versions[i][1], {0}};
        uint8_t body[32];
        size_t written;
        assert_int_equal(ist_codec_encode_hello(&hello, body, sizeof(body), &written), IST_OK);
        talk.in.count = 0;
        say_header(&talk.in, IST_OP_HELLO, 0, 5, (uint32_t)written, 0);
        bytes_add(&talk.in, body, written);
        talk_run(&talk);
        expect_refused(&talk, "no protocol version");
        talk_end(&talk);
    }
}

static void test_hello__missing_malformed_or_long__protocol(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    talk.in.count = 0;
    say_header(&talk.in, IST_OP_PING, 0, 5, 0, 0);
    talk_run(&talk);
    expect_refused(&talk, "not HELLO");
    talk_end(&talk);

    talk_begin(&talk);
    talk.in.count = 0;
    say_header(&talk.in, IST_OP_HELLO, 0, 5, 1, 0);
    bytes_add(&talk.in, "\x08", 1); /* a tag without its value */
    talk_run(&talk);
    expect_refused(&talk, "malformed HELLO");
    talk_end(&talk);

    talk_begin(&talk);
    talk.in.count = 0;
    say_header(&talk.in, IST_OP_HELLO, 0, 5, IST_HELLO_BYTES_MAX + 1, 0);
    talk_run(&talk);
    expect_refused(&talk, "body above");
    talk_end(&talk);
}

static void test_hello__twice__protocol(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    talk_run(&talk);
    talk.out.count = 0;
    say_hello(&talk.in, 5);
    talk_run(&talk);
    expect_refused(&talk, "second HELLO");
    struct ist_stats stats;
    ist_engine_stats(talk.world.engine, &stats);
    assert_int_equal(stats.sessions_ended_protocol, 0);
    talk_end(&talk);
}

static void test_garbage__wrong_first_byte__session_ends_without_a_reply(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    talk.in.count = 0;
    bytes_add(&talk.in, "G", 1);
    talk_run(&talk);
    assert_int_equal(talk.count, 0);
    assert_int_equal(wants(&talk), IST_WANT_CLOSE);
    assert_int_equal(talk.world.lines.count, 1);
    talk_end(&talk);
}

/* ---- requests that break the protocol --------------------------------------------------------------------- */

struct fault {
    enum ist_operation operation;
    uint16_t flags;
    uint32_t body_bytes;
    uint64_t payload_bytes;
    const char *body;
    const char *why;
};

static void test_request__breaks_the_protocol__one_reply_and_the_end(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {IST_OP_EXISTS, 0, 3, 0, "\x0a\x05x", "malformed"},       /* a key that is cut off */
        {IST_OP_EXISTS, 0, 2, 0, "\x08\x01", "malformed"},        /* a key that is a number */
        {IST_OP_EXISTS, 0, 5, 0, "\x0a\x01x\x10\x01", "lengths"}, /* lengths where none belong */
        {IST_OP_GET, 0, 3, 0, "\x0a\x01x", "lengths"},            /* none where one belongs */
        {IST_OP_PUT, 0, 3, 0, "\x0a\x01x", "lengths"},
        {IST_OP_PUT, 0, 5, 2, "\x0a\x01x\x10\x01", "sum"},
        {IST_OP_PUT, 0, 5, 0, "\x0a\x01x\x10\x01", "sum"},
        {IST_OP_PURGE, 0, 3, 0, "\x0a\x01x", "malformed"}, /* a key where none belongs */
        {IST_OP_PING, 0, 2, 0, "\xff\xff", "malformed"},
        {IST_OP_STAT, 0, 2, 0, "\xff\xff", "malformed"},
        {IST_OP_GET, 0, 0, 1, "", "payload"},
        {IST_OP_GET, IST_FRAME_IF_ABSENT, 0, 0, "", "flag"},
        {IST_OP_PUT, IST_FRAME_REPLY, 0, 0, "", "flag"},
        {IST_OP_STAT, 0, IST_HELLO_BYTES_MAX + 1, 0, NULL, "above the limit"},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct talk talk;
        talk_begin(&talk);
        talk_run(&talk);
        talk.out.count = 0;
        say_header(&talk.in, faults[i].operation, faults[i].flags, 5, faults[i].body_bytes,
                   faults[i].payload_bytes);
        if (faults[i].body != NULL) {
            bytes_add(&talk.in, faults[i].body, faults[i].body_bytes);
        }
        bytes_add(&talk.in, "more that nobody reads", 22);
        talk_run(&talk);
        expect_refused(&talk, faults[i].why);
        talk_end(&talk);
    }
}

static void test_put__lengths_whose_sum_wraps__protocol(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    talk_run(&talk);
    talk.out.count = 0;
    const struct ist_span keys[2] = {ist_span_of("a", 1), ist_span_of("b", 1)};
    const uint64_t lengths[2] = {UINT64_MAX, 11};
    say_keys(&talk.in, IST_OP_PUT, 0, 5, keys, lengths, 2, 10);
    talk_run(&talk);
    expect_refused(&talk, "sum");
    talk_end(&talk);
}

static void test_header__announces_4_gib__protocol(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    talk_run(&talk);
    talk.out.count = 0;
    int64_t live = talk.world.failing.live;
    say_header(&talk.in, IST_OP_EXISTS, 0, 5, 0, 0);
    memset(talk.in.data + 16, 0xff, 4);
    talk_run(&talk);
    expect_refused(&talk, "above the limit");
    assert_true(talk.world.failing.live <= live + 1); /* its reply's chunk came and went */
    talk_end(&talk);
}

static void test_request__too_many_keys__protocol(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    talk_run(&talk);
    talk.out.count = 0;
    talk.world.unchecked = true;
    struct ist_span *keys = calloc(IST_KEYS_PER_REQUEST_MAX + 1, sizeof(*keys));
    assert_non_null(keys);
    for (size_t i = 0; i <= IST_KEYS_PER_REQUEST_MAX; i++) {
        keys[i] = ist_span_of("k", 1);
    }
    say_keys(&talk.in, IST_OP_EXISTS, 0, 4, keys, NULL, IST_KEYS_PER_REQUEST_MAX, 0);
    talk_run(&talk);
    assert_int_equal(talk.count, 1);
    assert_int_equal(talk.replies[0].keys.status, IST_OK);
    assert_int_equal(talk.replies[0].keys.key_status.bytes, IST_KEYS_PER_REQUEST_MAX);
    talk.out.count = 0;
    say_keys(&talk.in, IST_OP_EXISTS, 0, 5, keys, NULL, IST_KEYS_PER_REQUEST_MAX + 1, 0);
    talk_run(&talk);
    expect_refused(&talk, "too many keys");
    free(keys);
    talk_end(&talk);
}

/* ---- put and get ------------------------------------------------------------------------------------------ */

static void test_put_get__one_key__the_bytes_come_back(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_put(&talk.in, 2, 0, "key", 'a', 1000);
    say_get(&talk.in, 3, "key", 1000);
    say_get(&talk.in, 4, "key", 2000); /* longer than the value is fine */
    say_get(&talk.in, 5, "key", 999);
    say_get(&talk.in, 6, "other", 999);
    talk_run(&talk);
    assert_int_equal(talk.count, 6);
    const struct reply *replies = talk.replies;
    /* Those without payload overtake. */
    static const uint64_t order[] = {1, 2, 5, 6, 3, 4};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(replies[i].frame.request_id, order[i]);
    }
    assert_int_equal(replies[1].keys.key_status.bytes, 1);
    assert_int_equal(replies[1].keys.key_status.data[0], IST_OK);
    assert_int_equal(replies[2].keys.key_status.data[0], IST_TOO_SMALL);
    assert_int_equal(replies[2].lengths[0], 1000);
    assert_int_equal(replies[3].keys.key_status.data[0], IST_NOT_FOUND);
    assert_int_equal(replies[3].lengths[0], 0);
    for (size_t i = 4; i < 6; i++) {
        assert_int_equal(replies[i].keys.key_status.data[0], IST_OK);
        assert_int_equal(replies[i].lengths[0], 1000);
        assert_int_equal(replies[i].frame.payload_bytes, 1000);
        assert_true(is_value(replies[i].payload, 'a', 1000));
    }
    talk_end(&talk);
}

static void test_put__problems_of_single_keys__the_rest_is_stored(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    static uint8_t long_key[IST_KEY_BYTES_MAX + 1];
    const struct ist_span keys[6] = {
        ist_span_of("first", 5), ist_span_of("", 0),    ist_span_of(long_key, sizeof(long_key)),
        ist_span_of("empty", 5), ist_span_of("big", 3), ist_span_of("last", 4),
    };
    const uint64_t lengths[6] = {600, 50, 60, 0, POOL_BYTES + 1, 700};
    say_keys(&talk.in, IST_OP_PUT, 0, 2, keys, lengths, 6, 600 + 50 + 60 + POOL_BYTES + 1 + 700);
    say_value(&talk.in, 'f', 600);
    say_value(&talk.in, 'x', 50 + 60 + POOL_BYTES + 1);
    say_value(&talk.in, 'l', 700);
    say_keys(&talk.in, IST_OP_GET, 0, 3, keys, lengths, 6, 0);
    talk_run(&talk);
    assert_int_equal(talk.count, 3);
    static const uint8_t put_status[6] = {IST_OK,      IST_INVALID, IST_INVALID,
                                          IST_INVALID, IST_TOO_BIG, IST_OK};
    static const uint8_t get_status[6] = {IST_OK,        IST_INVALID,   IST_INVALID,
                                          IST_NOT_FOUND, IST_NOT_FOUND, IST_OK};
    assert_memory_equal(talk.replies[1].keys.key_status.data, put_status, 6);
    assert_memory_equal(talk.replies[2].keys.key_status.data, get_status, 6);
    assert_true(is_value(talk.replies[2].payload, 'f', 600));
    assert_true(is_value(talk.replies[2].payload + 600, 'l', 700));
    assert_int_equal(talk.replies[2].lengths[5], 700);
    struct ist_stats stats;
    ist_engine_stats(talk.world.engine, &stats);
    assert_int_equal(stats.put_bytes, 1300);
    assert_int_equal(stats.get_bytes, 1300);
    assert_int_equal(stats.keys[IST_OP_PUT][ist_stats_status_index(IST_OK)], 2);
    assert_int_equal(stats.keys[IST_OP_PUT][ist_stats_status_index(IST_INVALID)], 3);
    assert_int_equal(stats.keys[IST_OP_PUT][ist_stats_status_index(IST_TOO_BIG)], 1);
    talk_end(&talk);
}

static void test_put__more_than_the_pool__no_space_for_the_rest(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    const struct ist_span keys[3] = {ist_span_of("a", 1), ist_span_of("b", 1), ist_span_of("c", 1)};
    const uint64_t lengths[3] = {POOL_BYTES / 2, POOL_BYTES, POOL_BYTES / 2};
    say_keys(&talk.in, IST_OP_PUT, 0, 2, keys, lengths, 3, 2 * POOL_BYTES);
    say_value(&talk.in, 'a', 2 * POOL_BYTES);
    talk_run(&talk);
    static const uint8_t status[3] = {IST_OK, IST_NO_SPACE, IST_OK};
    assert_memory_equal(talk.replies[1].keys.key_status.data, status, 3);
    talk_end(&talk);
}

static void test_put__equal_keys__the_last_wins_or_the_first_if_absent(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    const struct ist_span keys[2] = {ist_span_of("k", 1), ist_span_of("k", 1)};
    const uint64_t lengths[2] = {10, 20};
    say_keys(&talk.in, IST_OP_PUT, 0, 2, keys, lengths, 2, 30);
    say_value(&talk.in, 'a', 10);
    say_value(&talk.in, 'b', 20);
    say_get(&talk.in, 3, "k", 100);
    talk_run(&talk);
    static const uint8_t both[2] = {IST_OK, IST_OK};
    assert_memory_equal(talk.replies[1].keys.key_status.data, both, 2);
    assert_int_equal(talk.replies[2].lengths[0], 20);
    assert_true(is_value(talk.replies[2].payload, 'b', 20));

    talk.out.count = 0;
    say_key(&talk.in, IST_OP_REMOVE, 4, "k");
    say_keys(&talk.in, IST_OP_PUT, IST_FRAME_IF_ABSENT, 5, keys, lengths, 2, 30);
    say_value(&talk.in, 'a', 10);
    say_value(&talk.in, 'b', 20);
    say_keys(&talk.in, IST_OP_PUT, IST_FRAME_IF_ABSENT, 6, keys, lengths, 2, 30);
    say_value(&talk.in, 'c', 30);
    say_get(&talk.in, 7, "k", 100);
    talk_run(&talk);
    static const uint8_t first[2] = {IST_OK, IST_EXISTS}, none[2] = {IST_EXISTS, IST_EXISTS};
    assert_int_equal(talk.replies[0].keys.count, 1);
    assert_memory_equal(talk.replies[1].keys.key_status.data, first, 2);
    assert_memory_equal(talk.replies[2].keys.key_status.data, none, 2);
    assert_int_equal(talk.replies[3].lengths[0], 10);
    assert_true(is_value(talk.replies[3].payload, 'a', 10));
    talk_end(&talk);
}

static void test_put__cut_off__leaves_no_trace(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_put(&talk.in, 2, 0, "old", 'o', 100);
    const struct ist_span keys[2] = {ist_span_of("new", 3), ist_span_of("old", 3)};
    const uint64_t lengths[2] = {500, 500};
    say_keys(&talk.in, IST_OP_PUT, 0, 3, keys, lengths, 2, 1000);
    say_value(&talk.in, 'n', 999);
    talk_run(&talk);
    assert_int_equal(talk.count, 2);
    struct ist_store_usage usage;
    ist_store_usage(talk.world.store, &usage);
    assert_int_equal(usage.reserved_bytes, 1024);
    ist_session_close(talk.session);
    ist_store_usage(talk.world.store, &usage);
    assert_int_equal(usage.reserved_bytes, 0);
    assert_int_equal(usage.keys, 1);
    talk.session = world_open(&talk.world);
    talk.out.count = 0;
    say_hello(&talk.in, 1);
    say_get(&talk.in, 2, "old", 100);
    talk_run(&talk);
    assert_true(is_value(talk.replies[1].payload, 'o', 100));
    talk_end(&talk);
}

static void test_get__value_replaced_and_removed_meanwhile__delivered_whole(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_put(&talk.in, 2, 0, "k", 'a', 5000);
    talk_run(&talk);
    talk.out.count = 0;
    say_get(&talk.in, 3, "k", 5000);
    edge_feed(&talk.world, talk.session, talk.in.data, talk.in.count);
    talk.in.count = 0;
    assert_int_equal(edge_take(&talk.world, talk.session, &talk.out, 1000), 1000);
    struct ist_session *other = world_open(&talk.world);
    struct bytes said = {0}, heard = {0};
    say_hello(&said, 1);
    say_put(&said, 2, 0, "k", 'b', 5000);
    say_header(&said, IST_OP_PURGE, 0, 3, 0, 0);
    say_put(&said, 4, 0, "x", 'x', 200000);
    edge_run(&talk.world, other, &said, &heard);
    struct ist_store_usage usage;
    ist_store_usage(talk.world.store, &usage);
    assert_true(usage.doomed_bytes >= 5000);
    edge_take(&talk.world, talk.session, &talk.out, SIZE_MAX);
    assert_int_equal(read_replies(&talk.out, talk.replies, 64), 1);
    assert_true(is_value(talk.replies[0].payload, 'a', 5000));
    ist_store_usage(talk.world.store, &usage);
    assert_int_equal(usage.doomed_bytes, 0);
    ist_session_close(other);
    bytes_free(&said);
    bytes_free(&heard);
    talk_end(&talk);
}

/* A batch is refreshed in reverse order: the head of a prefix goes last. */
static void test_get__batch__its_head_is_evicted_last(void **state) {
    (void)state;
    struct talk talk;
    talk_begin_with(&talk, (struct world_options){.pool_bytes = 8192});
    const struct ist_span keys[3] = {ist_span_of("1", 1), ist_span_of("2", 1), ist_span_of("3", 1)};
    const uint64_t lengths[3] = {2048, 2048, 2048};
    say_keys(&talk.in, IST_OP_PUT, 0, 2, keys, lengths, 3, 3 * 2048);
    say_value(&talk.in, 'a', 3 * 2048);
    say_put(&talk.in, 3, 0, "4", 'x', 2048);
    say_put(&talk.in, 4, 0, "5", 'x', 2048); /* "3" goes, the tail of the put */
    say_keys(&talk.in, IST_OP_EXISTS, 0, 5, keys, NULL, 3, 0);
    say_keys(&talk.in, IST_OP_GET, 0, 6, keys, lengths, 3, 0);
    say_put(&talk.in, 7, 0, "6", 'x', 2048); /* "4": older than what the get refreshed */
    say_put(&talk.in, 8, 0, "7", 'x', 2048); /* "5" */
    say_put(&talk.in, 9, 0, "8", 'x', 2048); /* "2", the tail of the get */
    say_keys(&talk.in, IST_OP_EXISTS, 0, 10, keys, NULL, 3, 0);
    talk.world.recv_max = 2000; /* the get leaves before the puts that follow */
    for (size_t at = 0; at < talk.in.count;) {
        size_t step = talk.in.count - at < 2000 ? talk.in.count - at : 2000;
        at += edge_feed(&talk.world, talk.session, talk.in.data + at, step);
        edge_take(&talk.world, talk.session, &talk.out, SIZE_MAX);
    }
    talk.in.count = 0;
    talk.count = read_replies(&talk.out, talk.replies, 64);
    assert_int_equal(talk.count, 10);
    for (size_t i = 0; i < talk.count; i++) {
        const struct reply *reply = &talk.replies[i];
        static const uint8_t after_puts[3] = {IST_OK, IST_OK, IST_NOT_FOUND};
        static const uint8_t at_the_end[3] = {IST_OK, IST_NOT_FOUND, IST_NOT_FOUND};
        if (reply->frame.request_id == 5) {
            assert_memory_equal(reply->keys.key_status.data, after_puts, 3);
        }
        if (reply->frame.request_id == 10) {
            assert_memory_equal(reply->keys.key_status.data, at_the_end, 3);
        }
    }
    talk_end(&talk);
}

static void test_put__refused_values_in_large_pieces__are_discarded(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_put(&talk.in, 2, 0, "k", 'a', 30000);
    say_put(&talk.in, 3, IST_FRAME_IF_ABSENT, "k", 'b', 30000);
    say_get(&talk.in, 4, "k", 30000);
    talk.world.recv_max = 7001;
    talk_run(&talk);
    assert_int_equal(talk.replies[2].keys.key_status.data[0], IST_EXISTS);
    assert_true(is_value(talk.replies[3].payload, 'a', 30000));
    talk_end(&talk);
}

static void test_put__empty_batch_and_values_of_no_bytes__answered(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_header(&talk.in, IST_OP_PUT, 0, 2, 0, 0);
    say_header(&talk.in, IST_OP_GET, 0, 3, 0, 0);
    say_header(&talk.in, IST_OP_EXISTS, 0, 4, 0, 0);
    const struct ist_span key = ist_span_of("k", 1);
    const uint64_t nothing = 0;
    say_keys(&talk.in, IST_OP_PUT, 0, 5, &key, &nothing, 1, 0);
    talk_run(&talk);
    assert_int_equal(talk.count, 5);
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(talk.replies[i].keys.status, IST_OK);
        assert_int_equal(talk.replies[i].keys.key_status.bytes, 0);
    }
    assert_int_equal(talk.replies[4].keys.key_status.data[0], IST_INVALID);
    talk_end(&talk);
}

/* ---- the others --------------------------------------------------------------------------------------------- */

static void test_others__presence_with_holes__exact(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    const struct ist_span keys[5] = {ist_span_of("a", 1), ist_span_of("b", 1), ist_span_of("c", 1),
                                     ist_span_of("d", 1), ist_span_of("", 0)};
    say_put(&talk.in, 2, 0, "a", 'a', 1);
    say_put(&talk.in, 3, 0, "b", 'b', 1);
    say_put(&talk.in, 4, 0, "d", 'd', 1);
    say_keys(&talk.in, IST_OP_EXISTS, 0, 5, keys, NULL, 5, 0);
    say_keys(&talk.in, IST_OP_MATCH_PREFIX, 0, 6, keys, NULL, 5, 0);
    say_keys(&talk.in, IST_OP_MATCH_LAST, 0, 7, keys, NULL, 5, 0);
    say_keys(&talk.in, IST_OP_MATCH_LAST, 0, 8, keys + 2, NULL, 1, 0);
    say_keys(&talk.in, IST_OP_REMOVE, 0, 9, keys, NULL, 2, 0);
    say_keys(&talk.in, IST_OP_MATCH_PREFIX, 0, 10, keys, NULL, 5, 0);
    say_header(&talk.in, IST_OP_PURGE, 0, 11, 0, 0);
    say_keys(&talk.in, IST_OP_MATCH_LAST, 0, 12, keys, NULL, 5, 0);
    say_header(&talk.in, IST_OP_PING, 0, 13, 0, 0);
    talk_run(&talk);
    assert_int_equal(talk.count, 13);
    static const uint8_t present[5] = {IST_OK, IST_OK, IST_NOT_FOUND, IST_OK, IST_INVALID};
    assert_memory_equal(talk.replies[4].keys.key_status.data, present, 5);
    static const uint64_t counts[8] = {2, 4, 0, 2, 0, 1, 0, 0};
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(talk.replies[5 + i].keys.count, counts[i]);
    }
    talk_end(&talk);
}

static void test_stat__all_samples__come_through(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_put(&talk.in, 2, 0, "a", 'a', 100);
    say_header(&talk.in, IST_OP_STAT, 0, 3, 0, 0);
    talk_run(&talk);
    static struct ist_codec_metric metrics[2000];
    size_t count;
    assert_int_equal(ist_codec_decode_metrics(talk.replies[2].body, metrics, 2000, &count), IST_OK);
    bool seen = false;
    for (size_t i = 0; i < count; i++) {
        if (ist_span_equal(metrics[i].name, ist_span_of_string("infinistore_put_bytes_total"))) {
            seen = true;
            assert_true(metrics[i].value == 100);
        }
    }
    assert_true(seen);
    talk_end(&talk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello__good__limits_are_told),
        cmocka_unit_test(test_hello__no_version_in_common__protocol),
        cmocka_unit_test(test_hello__missing_malformed_or_long__protocol),
        cmocka_unit_test(test_hello__twice__protocol),
        cmocka_unit_test(test_garbage__wrong_first_byte__session_ends_without_a_reply),
        cmocka_unit_test(test_request__breaks_the_protocol__one_reply_and_the_end),
        cmocka_unit_test(test_put__lengths_whose_sum_wraps__protocol),
        cmocka_unit_test(test_header__announces_4_gib__protocol),
        cmocka_unit_test(test_request__too_many_keys__protocol),
        cmocka_unit_test(test_put_get__one_key__the_bytes_come_back),
        cmocka_unit_test(test_put__problems_of_single_keys__the_rest_is_stored),
        cmocka_unit_test(test_put__more_than_the_pool__no_space_for_the_rest),
        cmocka_unit_test(test_put__equal_keys__the_last_wins_or_the_first_if_absent),
        cmocka_unit_test(test_put__cut_off__leaves_no_trace),
        cmocka_unit_test(test_get__value_replaced_and_removed_meanwhile__delivered_whole),
        cmocka_unit_test(test_get__batch__its_head_is_evicted_last),
        cmocka_unit_test(test_put__refused_values_in_large_pieces__are_discarded),
        cmocka_unit_test(test_put__empty_batch_and_values_of_no_bytes__answered),
        cmocka_unit_test(test_others__presence_with_holes__exact),
        cmocka_unit_test(test_stat__all_samples__come_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

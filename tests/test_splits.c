/* One conversation that has everything in it, cut in every way. */
#include "tests/conversation.h"

#define CONVERSATION_REPLIES 40u

static void record(struct bytes *in) {
    static uint8_t long_key[100];
    const struct ist_span keys[5] = {ist_span_of("one", 3), ist_span_of("two", 3), ist_span_of("", 0),
                                     ist_span_of(long_key, sizeof(long_key)), ist_span_of("one", 3)};
    const uint64_t lengths[5] = {700, 1, 5, 0, 90};
    const uint64_t rooms[5] = {800, 1, 5, 4096, 3};
    say_hello(in, 1);
    say_put(in, 2, 0, "a", 'a', 300);
    say_get(in, 3, "a", 300);
    say_keys(in, IST_OP_PUT, 0, 4, keys, lengths, 5, 796);
    say_value(in, 'p', 796);
    say_keys(in, IST_OP_GET, 0, 5, keys, rooms, 5, 0);
    say_keys(in, IST_OP_EXISTS, 0, 6, keys, NULL, 5, 0);
    say_keys(in, IST_OP_MATCH_PREFIX, 0, 7, keys, NULL, 5, 0);
    say_put(in, 8, IST_FRAME_IF_ABSENT, "a", 'b', 40);
    say_put(in, 9, IST_FRAME_IF_ABSENT, "b", 'c', 40);
    say_header(in, IST_OP_PING, 0, 10, 0, 0);
    say_keys(in, IST_OP_MATCH_LAST, 0, 11, keys, NULL, 5, 0);
    say_key(in, IST_OP_REMOVE, 12, "a");
    say_get(in, 13, "a", 300);
    say_header(in, IST_OP_PURGE, 0, 14, 0, 0);
    say_get(in, 15, "b", 300);
}

/* A body longer than any stage, so that it gets its own buffer, which grows. */
static void record_long(struct bytes *in) {
    static struct ist_span keys[4000];
    static uint64_t lengths[4000];
    static char names[4000][48];
    say_hello(in, 1);
    for (size_t i = 0; i < 4000; i++) {
        snprintf(names[i], sizeof(names[i]), "a rather long key so that a body is long %zu", i);
        keys[i] = ist_span_of_string(names[i]);
        lengths[i] = i % 3;
    }
    say_keys(in, IST_OP_PUT, 0, 2, keys, lengths, 600, 600);
    say_value(in, 'v', 600);
    say_keys(in, IST_OP_EXISTS, 0, 3, keys, NULL, 4000, 0);
    for (size_t i = 0; i < 4000; i++) {
        lengths[i] = 2;
    }
    say_keys(in, IST_OP_GET, 0, 4, keys, lengths, 700, 0);
    say_header(in, IST_OP_PURGE, 0, 5, 0, 0);
}

static int by_id(const void *a, const void *b) {
    const struct reply *x = a, *y = b;
    return (x->frame.request_id > y->frame.request_id) - (x->frame.request_id < y->frame.request_id);
}

/* Replies may overtake each other: by request, they must be the same. */
static void assert_same_replies(const struct bytes *a, const struct bytes *b) {
    static struct reply left[CONVERSATION_REPLIES], right[CONVERSATION_REPLIES];
    size_t count = read_replies(a, left, CONVERSATION_REPLIES);
    assert_int_equal(read_replies(b, right, CONVERSATION_REPLIES), count);
    qsort(left, count, sizeof(left[0]), by_id);
    qsort(right, count, sizeof(right[0]), by_id);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(left[i].frame.request_id, right[i].frame.request_id);
        size_t bytes = left[i].body.bytes + (size_t)left[i].frame.payload_bytes;
        assert_int_equal(right[i].body.bytes + (size_t)right[i].frame.payload_bytes, bytes);
        assert_true(bytes == 0 || memcmp(left[i].body.data, right[i].body.data, bytes) == 0);
    }
}

static void listen_to(const struct bytes *in, struct bytes *out) {
    struct world world;
    world_init(&world, (struct world_options){0});
    struct ist_session *session = world_open(&world);
    edge_run(&world, session, in, out);
    assert_int_equal(ist_session_wants(session), IST_WANT_RECV);
    ist_session_close(session);
    world_fini(&world);
}

static void test_split__at_every_byte__same_output(void **state) {
    (void)state;
    struct bytes in = {0}, expected = {0}, out = {0};
    record(&in);
    listen_to(&in, &expected);
    struct world world;
    world_init(&world, (struct world_options){0});
    for (size_t at = 1; at < in.count; at++) {
        struct ist_session *session = world_open(&world);
        out.count = 0;
        assert_int_equal(edge_feed(&world, session, in.data, at), at);
        assert_int_equal(edge_feed(&world, session, in.data + at, in.count - at), in.count - at);
        edge_take(&world, session, &out, SIZE_MAX);
        assert_int_equal(out.count, expected.count);
        assert_memory_equal(out.data, expected.data, out.count);
        ist_session_close(session);
    }
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&expected);
    bytes_free(&out);
}

static void run_in_pieces(void (*what)(struct bytes *), uint64_t seed, bool checked) {
    struct bytes in = {0}, expected = {0}, out = {0};
    what(&in);
    listen_to(&in, &expected);
    struct world world;
    world_init(&world, (struct world_options){0});
    world.unchecked = !checked;
    struct ist_session *session = world_open(&world);
    uint64_t random = seed;
    uint64_t piece_max = 1 + random_below(&random, 3000);
    for (size_t at = 0; at < in.count;) {
        world.buffers_max = 1 + (size_t)random_below(&random, BUFFERS_MAX);
        world.recv_max = 1 + (size_t)random_below(&random, piece_max);
        size_t piece = 1 + (size_t)random_below(&random, piece_max);
        at += edge_feed(&world, session, in.data + at, piece < in.count - at ? piece : in.count - at);
        world.send_max = 1 + (size_t)random_below(&random, piece_max);
        edge_take(&world, session, &out, (size_t)random_below(&random, piece_max));
    }
    edge_take(&world, session, &out, SIZE_MAX);
    if (out.count != expected.count) {
        print_message("seed %llu\n", (unsigned long long)seed);
    }
    assert_int_equal(out.count, expected.count);
    assert_same_replies(&out, &expected);
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&expected);
    bytes_free(&out);
}

static void test_split__random_pieces_both_ways__same_replies(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_in_pieces(record, seed, true);
    }
}

static void test_split__long_bodies_in_random_pieces__same_replies(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        run_in_pieces(record_long, seed, false);
    }
}

static void test_close__after_every_byte__nothing_stays_pinned(void **state) {
    (void)state;
    struct bytes in = {0}, out = {0};
    record(&in);
    struct world world;
    world_init(&world, (struct world_options){0});
    for (size_t at = 0; at <= in.count; at++) {
        struct ist_session *session = world_open(&world);
        assert_int_equal(edge_feed(&world, session, in.data, at), at);
        out.count = 0;
        edge_take(&world, session, &out, at % 97); /* in the middle of a reply as well */
        ist_session_close(session);
        struct ist_store_usage usage;
        ist_store_usage(world.store, &usage);
        assert_int_equal(usage.pinned_entries, 0);
        assert_int_equal(usage.reserved_bytes + usage.doomed_bytes, 0);
        ist_engine_check(world.engine);
    }
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

static void test_close__before_pending_copies__nothing_stays_pinned(void **state) {
    (void)state;
    struct bytes in = {0};
    say_hello(&in, 1);
    say_put(&in, 2, 0, "k", 'k', 100);
    struct world world;
    world_init(&world, (struct world_options){0});
    struct ist_session *session = world_open(&world);
    struct ist_buffer buffer;
    assert_int_equal(ist_session_recv_buffers(session, &buffer, 1), 1);
    assert_true(buffer.kind == IST_BUFFER_MEMORY && buffer.bytes >= in.count);
    memcpy(buffer.memory, in.data, in.count);
    ist_session_received(session, in.count, world.now_ns);
    assert_int_equal(ist_session_wants(session), IST_WANT_COPY | IST_WANT_SEND);
    ist_engine_check(world.engine);
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
}

/* Every request is answered or its session ends; nothing leaks, whichever allocation fails. */
static void run_with_failures(void (*what)(struct bytes *), bool checked) {
    struct bytes in = {0}, out = {0};
    what(&in);
    uint64_t calls = UINT64_MAX;
    for (uint64_t fail_at = 1; fail_at <= calls; fail_at++) {
        struct world world;
        if (!world_try(&world, (struct world_options){.fail_at = fail_at})) {
            assert_int_equal(world.failing.live, 0);
            continue;
        }
        world.unchecked = !checked;
        world.recv_max = 700;
        struct ist_session *session;
        if (ist_session_open(world.engine, 1, NULL, world.now_ns, &session) != IST_OK) {
            assert_int_equal(world.failing.calls, fail_at);
            world_fini(&world);
            continue;
        }
        out.count = 0;
        edge_run(&world, session, &in, &out);
        static struct reply replies[CONVERSATION_REPLIES];
        size_t count = read_replies(&out, replies, CONVERSATION_REPLIES);
        static bool answered[CONVERSATION_REPLIES];
        memset(answered, 0, sizeof(answered));
        for (size_t i = 0; i < count; i++) {
            assert_false(answered[replies[i].frame.request_id]);
            answered[replies[i].frame.request_id] = true;
        }
        assert_true(ist_session_wants(session) == IST_WANT_CLOSE ||
                    ist_session_wants(session) == IST_WANT_RECV);
        bool ended = ist_session_wants(session) == IST_WANT_CLOSE;
        assert_true(ended || answered[count]);
        if (world.failing.calls < fail_at) {
            calls = 0; /* nothing failed: that was the last */
            assert_false(ended);
        }
        ist_session_close(session);
        world.failing.fail_at = 0;
        world_fini(&world);
    }
    bytes_free(&in);
    bytes_free(&out);
}

static void test_memory__nth_allocation_fails__answered_or_ended(void **state) {
    (void)state;
    run_with_failures(record, true);
}

static void record_batches(struct bytes *in) {
    static struct ist_span keys[1000];
    static uint64_t lengths[1000];
    static char names[1000][80];
    say_hello(in, 1);
    for (size_t i = 0; i < 1000; i++) {
        snprintf(names[i], sizeof(names[i]), "%070zu", i);
        keys[i] = ist_span_of_string(names[i]);
        lengths[i] = 0;
    }
    lengths[7] = 20000;
    say_keys(in, IST_OP_PUT, 0, 2, keys, lengths, 1000, 20000);
    say_value(in, 'v', 20000);
    say_keys(in, IST_OP_EXISTS, 0, 3, keys, NULL, 1000, 0);
    lengths[7] = 20001;
    say_keys(in, IST_OP_GET, 0, 4, keys, lengths, 1000, 0);
    say_header(in, IST_OP_STAT, 0, 5, 0, 0);
}

static void test_memory__nth_allocation_fails_with_long_bodies__answered_or_ended(void **state) {
    (void)state;
    run_with_failures(record_batches, false);
}

/* No memory at all for a while, from every byte on: no harm, and once there is some again, other sessions work. */
static void test_memory__none_left__answered_or_ended(void **state) {
    (void)state;
    struct bytes in = {0}, out = {0}, expected = {0};
    record(&in);
    listen_to(&in, &expected);
    struct world world;
    world_init(&world, (struct world_options){0});
    for (size_t at = 0; at < in.count; at++) {
        struct ist_session *session = world_open(&world);
        out.count = 0;
        edge_feed(&world, session, in.data, at);
        edge_take(&world, session, &out, SIZE_MAX);
        world.starved = true;
        struct ist_session *none;
        assert_int_equal(ist_session_open(world.engine, 1, NULL, 0, &none), IST_NO_MEMORY);
        struct bytes rest = {.data = in.data + at, .count = in.count - at};
        edge_run(&world, session, &rest, &out);
        assert_int_equal(ist_session_wants(session), IST_WANT_CLOSE);
        ist_session_close(session);
        world.starved = false;
        ist_store_purge(world.store);
    }
    struct ist_session *session = world_open(&world);
    out.count = 0;
    edge_run(&world, session, &in, &out);
    assert_int_equal(out.count, expected.count);
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&expected);
}

static void test_garbage__random_bytes_and_flipped_bits__no_harm(void **state) {
    (void)state;
    struct bytes in = {0}, out = {0};
    record(&in);
    struct world world;
    world_init(&world, (struct world_options){0});
    uint64_t random = 42;
    for (int i = 0; i < 1000; i++) {
        struct ist_session *session = world_open(&world);
        struct bytes bent = {0};
        bytes_add(&bent, in.data, in.count);
        for (uint64_t n = random_below(&random, 4) + 1; n > 0; n--) {
            bent.data[random_below(&random, bent.count)] ^= (uint8_t)(1 << random_below(&random, 8));
        }
        out.count = 0;
        world.recv_max = 1 + (size_t)random_below(&random, 4000);
        edge_run(&world, session, &bent, &out);
        ist_session_close(session);
        ist_engine_check(world.engine);
        bytes_free(&bent);
    }
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split__at_every_byte__same_output),
        cmocka_unit_test(test_split__random_pieces_both_ways__same_replies),
        cmocka_unit_test(test_split__long_bodies_in_random_pieces__same_replies),
        cmocka_unit_test(test_close__after_every_byte__nothing_stays_pinned),
        cmocka_unit_test(test_close__before_pending_copies__nothing_stays_pinned),
        cmocka_unit_test(test_memory__nth_allocation_fails__answered_or_ended),
        cmocka_unit_test(test_memory__nth_allocation_fails_with_long_bodies__answered_or_ended),
        cmocka_unit_test(test_memory__none_left__answered_or_ended),
        cmocka_unit_test(test_garbage__random_bytes_and_flipped_bits__no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Clients that want more than their share: of time, of blocks, of memory. Each gets what is its own, and no more. */
#include "tests/conversation.h"

static struct ist_session *open_and_greet(struct world *world) {
    struct ist_session *session = world_open(world);
    struct bytes in = {0}, out = {0};
    say_hello(&in, 1);
    edge_run(world, session, &in, &out);
    bytes_free(&in);
    bytes_free(&out);
    return session;
}

static void tick(struct world *world, uint64_t now_ns) {
    world->now_ns = now_ns;
    ist_engine_tick(world->engine, now_ns);
    world_check(world);
}

static struct ist_store_usage usage_of(const struct world *world) {
    struct ist_store_usage usage;
    ist_store_usage(world->store, &usage);
    return usage;
}

static struct ist_stats stats_of(const struct world *world) {
    struct ist_stats stats;
    ist_engine_stats(world->engine, &stats);
    return stats;
}

/* A value of so many bytes, all of them 0. */
static void put_directly(struct world *world, const char *key, uint64_t bytes) {
    struct ist_entry *entry;
    assert_int_equal(ist_store_reserve(world->store, ist_span_of_string(key), bytes, false, &entry),
                     IST_OK);
    assert_int_equal(ist_store_commit(world->store, entry, false), IST_OK);
    ist_store_release(world->store, entry);
}

/* The same key, as often as a request may have it, or different ones. */
struct batch {
    struct ist_span keys[IST_KEYS_PER_REQUEST_MAX];
    uint64_t lengths[IST_KEYS_PER_REQUEST_MAX];
};

static struct batch *batch_of(const char *key, uint64_t length) {
    static struct batch batch;
    for (size_t i = 0; i < IST_KEYS_PER_REQUEST_MAX; i++) {
        batch.keys[i] = ist_span_of_string(key);
        batch.lengths[i] = length;
    }
    return &batch;
}

/* ---- time ------------------------------------------------------------------------------------------------ */

/* Sends or takes a byte each 20 s, until the session is closed for it. Returns after how long. */
static uint64_t trickle(struct world *world, struct ist_session *session, bool sends) {
    uint64_t begin_ns = world->now_ns;
    struct bytes out = {0};
    while (ist_session_wants(session) != IST_WANT_CLOSE) {
        size_t moved = sends ? edge_feed(world, session, "x", 1) : edge_take(world, session, &out, 1);
        assert_int_equal(moved, 1);
        assert_true(world->now_ns < begin_ns + 1000 * SECOND);
        tick(world, world->now_ns + 20 * SECOND);
    }
    bytes_free(&out);
    return world->now_ns - begin_ns;
}

/* It has a block for what it announced. 1 GiB may take 1,024 s, but not for a few bytes. */
static void test_put__announces_much_and_trickles__its_block_comes_back(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0};
    const uint64_t bytes = 1ull << 30;
    world_init(&world, (struct world_options){.pool_bytes = bytes});
    struct ist_session *session = open_and_greet(&world);
    struct ist_span key = ist_span_of("k", 1);
    say_keys(&in, IST_OP_PUT, 0, 2, &key, &bytes, 1, bytes);
    edge_feed(&world, session, in.data, in.count);
    edge_feed(&world, session, "x", 1);
    assert_int_equal(usage_of(&world).reserved_bytes, bytes);
    assert_true(trickle(&world, session, true) <= 2 * IST_PROGRESS_TIMEOUT_NS);
    ist_session_close(session);
    assert_int_equal(usage_of(&world).free_bytes, bytes);
    world_fini(&world);
    bytes_free(&in);
}

static void test_get__asks_for_much_and_trickles__its_pins_come_back(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    const uint64_t bytes = 1ull << 30;
    world_init(&world, (struct world_options){.pool_bytes = bytes});
    struct ist_session *session = open_and_greet(&world);
    put_directly(&world, "k", bytes);
    say_get(&in, 2, "k", bytes);
    edge_feed(&world, session, in.data, in.count);
    edge_take(&world, session, &out, 10 << 20); /* worth 10 s more */
    assert_int_equal(usage_of(&world).pinned_entries, 1);
    assert_true(trickle(&world, session, false) <= 2 * IST_PROGRESS_TIMEOUT_NS);
    ist_session_close(session);
    assert_int_equal(usage_of(&world).pinned_entries, 0);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

/* ---- turns ----------------------------------------------------------------------------------------------- */

/* Statistics are 16 KiB for 32 bytes. Hundreds that come in one read are not all made before anybody else has a
 * turn, nor while nobody takes them. */
static void test_stat__hundreds_in_one_read__made_as_they_are_taken(void **state) {
    (void)state;
    enum { COUNT = 500 };
    struct world world;
    struct bytes in = {0}, out = {0};
    static struct reply replies[COUNT];
    world_init(&world, (struct world_options){0});
    struct ist_session *session = open_and_greet(&world);
    for (uint64_t id = 0; id < COUNT; id++) {
        say_header(&in, IST_OP_STAT, 0, id, 0, 0);
    }
    size_t fed = edge_feed(&world, session, in.data, in.count);
    uint64_t in_flight = stats_of(&world).requests_in_flight;
    assert_true(in_flight > 1 && in_flight < COUNT / 4);
    assert_int_equal(ist_session_wants(session), IST_WANT_SEND);
    in.count -= fed;
    memmove(in.data, in.data + fed, in.count);
    edge_run(&world, session, &in, &out);
    assert_int_equal(read_replies(&out, replies, COUNT), COUNT);
    for (uint64_t id = 0; id < COUNT; id++) {
        assert_int_equal(replies[id].frame.request_id, id);
    }
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

/* Where in the stream the reply with this id begins; its end when there is none. No frame is cut by another. */
static size_t place_of(const struct bytes *out, uint64_t id) {
    size_t at = 0;
    while (at < out->count) {
        struct ist_frame frame;
        enum ist_status status = ist_frame_decode(ist_span_of(out->data + at, out->count - at), &frame);
        if (status == IST_AGAIN) {
            break;
        }
        assert_int_equal(status, IST_OK);
        if (frame.request_id == id) {
            return at;
        }
        at += IST_FRAME_BYTES + frame.body_bytes + frame.payload_bytes;
    }
    return out->count;
}

/* Asks for a long reply, and for short ones without end, of which `take` bytes are taken at a time, until the long one
 * begins. Returns how many bytes went before it. */
static size_t overtaken_by(struct world *world, struct ist_session *session, size_t take) {
    enum { GET_ID = 77 };
    struct bytes ask = {0}, get = {0}, out = {0};
    const struct batch *batch = batch_of("other", 0);
    say_keys(&ask, IST_OP_EXISTS, 0, 5, batch->keys, NULL, IST_KEYS_PER_REQUEST_MAX, 0);
    say_get(&get, GET_ID, "k", 3 << 20);
    edge_feed(world, session, ask.data, ask.count);
    assert_int_equal(edge_feed(world, session, get.data, get.count), get.count);
    while (place_of(&out, GET_ID) == out.count && out.count < (8 << 20)) {
        for (int i = 0; i < 2 && (ist_session_wants(session) & IST_WANT_RECV) != 0; i++) {
            assert_int_equal(edge_feed(world, session, ask.data, ask.count), ask.count);
        }
        edge_take(world, session, &out, take);
    }
    size_t place = place_of(&out, GET_ID);
    edge_take(world, session, &out, SIZE_MAX);
    static struct reply replies[REPLIES_MAX];
    size_t count = read_replies(&out, replies, REPLIES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(replies[i].frame.request_id == GET_ID ||
                    replies[i].keys.key_status.bytes == IST_KEYS_PER_REQUEST_MAX);
    }
    bytes_free(&ask);
    bytes_free(&get);
    bytes_free(&out);
    return place;
}

/* Short replies overtake a long one that has not begun, but not for ever: its blocks are pinned. */
static void test_get__behind_short_replies_without_end__has_its_turn(void **state) {
    (void)state;
    const size_t whole = 65572; /* a reply of EXISTS, so that none is ever half sent */
    const size_t takes[] = {whole, 50000, 20000};
    const size_t count = getenv("IST_TEST_SHORT") == NULL ? sizeof(takes) / sizeof(takes[0]) : 1;
    for (size_t i = 0; i < count; i++) {
        struct world world;
        world_init(&world, (struct world_options){.pool_bytes = 4 << 20});
        world.unchecked = true; /* there is much of it */
        struct ist_session *session = open_and_greet(&world);
        put_directly(&world, "k", 3 << 20);
        for (int round = 0; round < 2; round++) {
            size_t place = overtaken_by(&world, session, takes[i]);
            assert_in_range(place, 1 << 20, (1 << 20) + 2 * whole);
        }
        world.unchecked = false;
        world_check(&world);
        ist_session_close(session);
        world_fini(&world);
    }
}

/* ---- memory and blocks ------------------------------------------------------------------------------------- */

/* Each pin takes memory, and is counted as if it were to be sent. */
static void test_get__one_key_very_often__queue_is_bounded(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){.engine.queued_bytes_max = 4 << 20});
    struct ist_session *session = open_and_greet(&world);
    put_directly(&world, "k", 1);
    const struct batch *batch = batch_of("k", 1);
    say_keys(&in, IST_OP_GET, 0, 3, batch->keys, batch->lengths, IST_KEYS_PER_REQUEST_MAX, 0);
    unsigned asked = 0;
    while ((ist_session_wants(session) & IST_WANT_RECV) != 0) {
        assert_int_equal(edge_feed(&world, session, in.data, in.count), in.count);
        asked++;
    }
    assert_int_equal(asked, 6); /* of 11 bytes a key: pin, status, length, value */
    assert_int_equal(usage_of(&world).pinned_entries, 1);
    edge_take(&world, session, &out, SIZE_MAX);
    static struct reply replies[8];
    assert_int_equal(read_replies(&out, replies, 8), asked);
    assert_int_equal(replies[5].frame.payload_bytes, IST_KEYS_PER_REQUEST_MAX);
    assert_int_equal(usage_of(&world).pinned_entries, 0);
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

/* Values of no bytes are no reason to go through all of the request at each read. */
static void test_put__empty_values_between_two__the_far_one_waits(void **state) {
    (void)state;
    enum { LAST = IST_KEYS_PER_REQUEST_MAX - 1 };
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){0});
    world.recv_max = 1000;
    struct ist_session *session = open_and_greet(&world);
    struct batch *batch = batch_of("k", 0);
    batch->lengths[0] = batch->lengths[LAST] = 5000;
    batch->keys[LAST] = ist_span_of_string("last");
    say_keys(&in, IST_OP_PUT, 0, 3, batch->keys, batch->lengths, IST_KEYS_PER_REQUEST_MAX, 10000);
    world.recv_max = SIZE_MAX;
    edge_feed(&world, session, in.data, in.count);
    struct ist_buffer buffers[4];
    assert_int_equal(ist_session_recv_buffers(session, buffers, 4), 1);
    assert_int_equal(buffers[0].bytes, 5000);
    assert_int_equal(usage_of(&world).pinned_entries, 1);
    in.count = 0;
    say_value(&in, 'f', 5000);
    say_value(&in, 'l', 5000);
    edge_feed(&world, session, in.data, in.count);
    edge_take(&world, session, &out, SIZE_MAX);
    static struct reply reply;
    assert_int_equal(read_replies(&out, &reply, 1), 1);
    for (size_t i = 0; i <= LAST; i++) {
        assert_int_equal(reply.keys.key_status.data[i], i == 0 || i == LAST ? IST_OK : IST_INVALID);
    }
    in.count = out.count = 0;
    say_get(&in, 4, "last", 5000);
    edge_run(&world, session, &in, &out);
    assert_int_equal(read_replies(&out, &reply, 1), 1);
    assert_true(is_value(reply.payload, 'l', 5000));
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put__announces_much_and_trickles__its_block_comes_back),
        cmocka_unit_test(test_get__asks_for_much_and_trickles__its_pins_come_back),
        cmocka_unit_test(test_stat__hundreds_in_one_read__made_as_they_are_taken),
        cmocka_unit_test(test_get__behind_short_replies_without_end__has_its_turn),
        cmocka_unit_test(test_get__one_key_very_often__queue_is_bounded),
        cmocka_unit_test(test_put__empty_values_between_two__the_far_one_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

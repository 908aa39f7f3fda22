#include "tests/conversation.h"

static struct ist_session *open_and_greet(struct world *world, struct bytes *out) {
    struct ist_session *session = world_open(world);
    struct bytes in = {0};
    say_hello(&in, 1);
    edge_run(world, session, &in, out);
    out->count = 0;
    bytes_free(&in);
    return session;
}

static void tick(struct world *world, uint64_t now_ns) {
    world->now_ns = now_ns;
    ist_engine_tick(world->engine, now_ns);
    world_check(world);
}

static struct ist_stats stats_of(const struct world *world) {
    struct ist_stats stats;
    ist_engine_stats(world->engine, &stats);
    return stats;
}

/* ---- beginning ---------------------------------------------------------------------------------------------- */

static void test_new__wrong_arguments__invalid(void **state) {
    (void)state;
    struct world world;
    world_init(&world, (struct world_options){0});
    struct ist_engine *engine = NULL;
    struct ist_engine_config good = {.incarnation = 1,
                                     .sessions_max = 1,
                                     .server_name = "x",
                                     .alloc = &world.failing.alloc,
                                     .log = &world.log};
    struct ist_engine_config config = good;
    config.incarnation = 0;
    assert_int_equal(ist_engine_new(&config, world.store, &engine), IST_INVALID);
    config = good;
    config.sessions_max = 0;
    assert_int_equal(ist_engine_new(&config, world.store, &engine), IST_INVALID);
    config = good;
    config.server_name = "0123456789012345678901234567890123456789012345678901234567890123x";
    assert_int_equal(ist_engine_new(&config, world.store, &engine), IST_INVALID);
    assert_null(engine);
    ist_engine_free(NULL);
    world_fini(&world);
}

static void test_open__beyond_the_limit__no_space(void **state) {
    (void)state;
    struct world world;
    world_init(&world, (struct world_options){.engine.sessions_max = 2});
    struct ist_session *a = world_open(&world), *b = world_open(&world), *c;
    assert_int_equal(ist_session_open(world.engine, 3, NULL, 0, &c), IST_NO_SPACE);
    ist_session_close(a);
    c = world_open(&world);
    struct ist_stats stats = stats_of(&world);
    assert_int_equal(stats.sessions, 2);
    assert_int_equal(stats.sessions_opened, 3);
    assert_int_equal(stats.sessions_refused, 1);
    assert_int_equal(stats.sessions_ended_peer, 1);
    ist_session_close(b);
    ist_session_close(c);
    world_fini(&world);
}

/* ---- backpressure --------------------------------------------------------------------------------------------- */

static void test_in_flight__beyond_the_limit__reading_waits_for_the_reader(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){.engine.requests_in_flight_max = 3});
    struct ist_session *session = open_and_greet(&world, &out);
    for (uint64_t id = 1; id <= 10; id++) {
        say_header(&in, IST_OP_PING, 0, id, 0, 0);
    }
    world.recv_max = 100; /* three frames and a bit */
    size_t fed = edge_feed(&world, session, in.data, in.count);
    assert_int_equal(fed, 100);
    assert_int_equal(ist_session_wants(session), IST_WANT_SEND);
    assert_int_equal(stats_of(&world).requests_in_flight, 3);
    assert_int_equal(edge_take(&world, session, &out, 31), 31); /* not yet a whole reply */
    assert_int_equal(ist_session_wants(session), IST_WANT_SEND);
    assert_int_equal(edge_take(&world, session, &out, 1), 1);
    assert_int_equal(ist_session_wants(session), IST_WANT_SEND | IST_WANT_RECV);
    in.count -= fed;
    memmove(in.data, in.data + fed, in.count);
    edge_run(&world, session, &in, &out);
    struct reply replies[10];
    assert_int_equal(read_replies(&out, replies, 10), 10);
    for (uint64_t id = 1; id <= 10; id++) {
        assert_int_equal(replies[id - 1].frame.request_id, id);
    }
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

/* A reader that stops in the middle of a get: bounded for it, and others go on. */
static void test_queue__above_the_limit__others_go_on(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0}, other_out = {0};
    world_init(&world, (struct world_options){.engine.queued_bytes_max = 30000});
    struct ist_session *slow = open_and_greet(&world, &out);
    struct ist_session *other = open_and_greet(&world, &other_out);
    say_put(&in, 2, 0, "k", 'k', 10000);
    edge_run(&world, slow, &in, &out);
    in.count = 0;
    for (uint64_t id = 1; id <= 20; id++) {
        say_get(&in, id, "k", 10000);
    }
    world.recv_max = 47; /* less than a get: each is looked at before the next arrives */
    size_t fed = edge_feed(&world, slow, in.data, in.count);
    assert_true(fed < in.count);
    assert_int_equal(ist_session_wants(slow), IST_WANT_SEND);
    assert_int_equal(stats_of(&world).requests_in_flight, 3);
    struct bytes said = {0};
    say_get(&said, 9, "k", 10000);
    edge_run(&world, other, &said, &other_out);
    struct reply reply;
    assert_int_equal(read_replies(&other_out, &reply, 1), 1);
    assert_true(is_value(reply.payload, 'k', 10000));
    out.count = 0;
    in.count -= fed;
    memmove(in.data, in.data + fed, in.count);
    edge_run(&world, slow, &in, &out);
    static struct reply replies[20];
    assert_int_equal(read_replies(&out, replies, 20), 20);
    assert_true(is_value(replies[19].payload, 'k', 10000));
    ist_session_close(slow);
    ist_session_close(other);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&said);
    bytes_free(&other_out);
}

static void test_replies__short_ones__overtake_bulk_that_has_not_begun(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){0});
    struct ist_session *session = open_and_greet(&world, &out);
    say_put(&in, 1, 0, "k", 'k', 10000);
    edge_run(&world, session, &in, &out);
    in.count = out.count = 0;
    say_get(&in, 2, "k", 10000);
    say_get(&in, 3, "k", 10000);
    edge_feed(&world, session, in.data, in.count);
    edge_take(&world, session, &out, 5000); /* 2 has begun */
    in.count = 0;
    say_header(&in, IST_OP_PING, 0, 4, 0, 0);
    edge_feed(&world, session, in.data, in.count);

    /* What was named stays in its order, whatever comes between naming and sending. */
    struct ist_buffer buffers[8];
    size_t named = ist_session_send_buffers(session, buffers, 8);
    assert_int_equal(named, 4); /* rest of 2; 4; head and value of 3 */
    assert_int_equal(buffers[1].bytes, IST_FRAME_BYTES);
    in.count = 0;
    say_header(&in, IST_OP_PING, 0, 5, 0, 0);
    edge_feed(&world, session, in.data, in.count);
    for (size_t i = 0; i < 3; i++) {
        bytes_add(&out,
                  buffers[i].kind == IST_BUFFER_POOL ? world.pool + buffers[i].offset
                                                     : buffers[i].memory,
                  buffers[i].bytes);
    }
    ist_session_sent(session, buffers[0].bytes + buffers[1].bytes + buffers[2].bytes, world.now_ns);
    world_check(&world);
    edge_take(&world, session, &out, SIZE_MAX);
    static struct reply replies[4];
    assert_int_equal(read_replies(&out, replies, 4), 4);
    static const uint64_t order[] = {2, 4, 3, 5};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(replies[i].frame.request_id, order[i]);
    }
    assert_true(is_value(replies[2].payload, 'k', 10000));
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void expect_expired(struct world *world, struct ist_session *session) {
    assert_int_equal(ist_session_wants(session), IST_WANT_CLOSE);
    assert_ptr_equal(ist_engine_next_changed(world->engine), session);
    assert_null(ist_engine_next_changed(world->engine));
    assert_int_equal(world->lines.count, 1);
    uint64_t before = stats_of(world).sessions_ended_timeout;
    ist_session_close(session);
    assert_int_equal(stats_of(world).sessions_ended_timeout, before + 1);
}

static void test_timeout__no_hello__ends(void **state) {
    (void)state;
    struct world world;
    world_init(&world, (struct world_options){0});
    assert_int_equal(ist_engine_deadline_ns(world.engine), IST_NEVER_NS);
    struct ist_session *session = world_open(&world);
    uint64_t end = world.now_ns + IST_HANDSHAKE_TIMEOUT_NS;
    assert_int_equal(ist_engine_deadline_ns(world.engine), end);
    struct bytes in = {0};
    say_hello(&in, 1);
    world.now_ns = end - 1; /* bytes do not help, only all of it does */
    edge_feed(&world, session, in.data, in.count - 1);
    tick(&world, end - 1);
    assert_null(ist_engine_next_changed(world.engine));
    tick(&world, end);
    expect_expired(&world, session);
    world_fini(&world);
    bytes_free(&in);
}

static void test_timeout__idle_session__never(void **state) {
    (void)state;
    struct world world;
    struct bytes out = {0};
    world_init(&world, (struct world_options){0});
    struct ist_session *session = open_and_greet(&world, &out);
    for (int i = 0; i < 5; i++) {
        tick(&world, world.now_ns + 1000 * SECOND);
    }
    assert_int_equal(ist_engine_deadline_ns(world.engine), IST_NEVER_NS);
    assert_int_equal(ist_session_wants(session), IST_WANT_RECV);
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&out);
}

/* Half a request, for every half that there is. */
static void test_timeout__half_a_request__ends(void **state) {
    (void)state;
    struct bytes in = {0}, out = {0};
    say_put(&in, 2, 0, "k", 'k', 20);
    for (size_t half = 1; half < in.count; half++) {
        struct world world;
        world_init(&world, (struct world_options){0});
        struct ist_session *session = open_and_greet(&world, &out);
        tick(&world, world.now_ns + 100 * SECOND);
        edge_feed(&world, session, in.data, half);
        uint64_t end = world.now_ns + IST_PROGRESS_TIMEOUT_NS;
        assert_int_equal(ist_engine_deadline_ns(world.engine), end);
        tick(&world, end - 1);
        assert_null(ist_engine_next_changed(world.engine));
        tick(&world, end);
        expect_expired(&world, session);
        world_fini(&world);
    }
    bytes_free(&in);
    bytes_free(&out);
}

static void test_timeout__a_byte_now_and_then__ends_for_its_slowness(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){0});
    struct ist_session *session = open_and_greet(&world, &out);
    say_put(&in, 2, 0, "k", 'k', 20);
    uint64_t begin = world.now_ns;
    size_t at = 0;
    while ((ist_session_wants(session) & IST_WANT_RECV) != 0 && at < in.count) {
        at += edge_feed(&world, session, in.data + at, 1);
        tick(&world, world.now_ns + SECOND);
    }
    assert_true(at < in.count);
    assert_true(world.now_ns <= begin + 2 * IST_PROGRESS_TIMEOUT_NS);
    expect_expired(&world, session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

static void test_timeout__large_and_steady__is_given_its_time(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    const uint64_t bytes = 64ull << 20;
    world_init(&world, (struct world_options){.pool_bytes = 128ull << 20,
                                              .engine.queued_bytes_max = 1ull << 30});
    struct ist_session *session = open_and_greet(&world, &out);
    struct ist_span key = ist_span_of("k", 1);
    say_keys(&in, IST_OP_PUT, 0, 2, &key, &bytes, 1, bytes);
    edge_feed(&world, session, in.data, in.count);
    static uint8_t megabyte[1 << 20];
    for (int i = 0; i < 64; i++) { /* 64 s, twice the pause that is allowed */
        tick(&world, world.now_ns + SECOND);
        assert_int_equal(edge_feed(&world, session, megabyte, sizeof(megabyte)), sizeof(megabyte));
    }
    edge_take(&world, session, &out, SIZE_MAX);
    struct reply reply;
    assert_int_equal(read_replies(&out, &reply, 1), 1);
    assert_int_equal(reply.keys.key_status.data[0], IST_OK);

    /* The same for its way back, three times, each with a time of its own; then a reader that stops. */
    in.count = out.count = 0;
    for (uint64_t id = 3; id < 6; id++) {
        say_get(&in, id, "k", bytes);
    }
    edge_feed(&world, session, in.data, in.count);
    for (int i = 0; i < 3 * 64; i++) {
        tick(&world, world.now_ns + SECOND);
        assert_true(edge_take(&world, session, &out, 1 << 20) > 0);
        out.count = 0;
    }
    tick(&world, world.now_ns + IST_PROGRESS_TIMEOUT_NS);
    expect_expired(&world, session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

static void test_timeout__announced_beyond_all_bounds__still_a_deadline(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){0});
    struct ist_session *session = open_and_greet(&world, &out);
    tick(&world, world.now_ns + 100 * SECOND); /* the handshake's timer is gone */
    struct ist_span key = ist_span_of("k", 1);
    const uint64_t bytes = UINT64_MAX;
    say_keys(&in, IST_OP_PUT, 0, 2, &key, &bytes, 1, bytes);
    say_value(&in, 'x', 5000);
    edge_feed(&world, session, in.data, in.count);
    assert_int_equal(ist_engine_deadline_ns(world.engine), world.now_ns + IST_PROGRESS_TIMEOUT_NS);
    tick(&world, world.now_ns + IST_PROGRESS_TIMEOUT_NS);
    expect_expired(&world, session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

static void test_timeout__reply_that_nobody_takes__ends(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){0});
    struct ist_session *session = open_and_greet(&world, &out);
    say_header(&in, IST_OP_PING, 0, 2, 0, 0);
    say_header(&in, IST_OP_PING, 0, 3, 0, 0);
    edge_feed(&world, session, in.data, in.count);
    for (int i = 0; i < 29; i++) { /* a byte each 2 s: slower than it may be, over its whole length */
        tick(&world, world.now_ns + 2 * SECOND);
        if (ist_session_wants(session) == IST_WANT_CLOSE) {
            break;
        }
        edge_take(&world, session, &out, 1);
    }
    expect_expired(&world, session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

static void test_timers__many_sessions__end_in_their_order(void **state) {
    (void)state;
    struct world world;
    struct ist_session *sessions[200];
    world_init(&world, (struct world_options){.engine.sessions_max = 200});
    uint64_t random = 3;
    uint64_t begin = world.now_ns;
    for (size_t i = 0; i < 200; i++) {
        world.now_ns = begin + random_below(&random, 10 * SECOND);
        sessions[i] = world_open(&world);
    }
    for (size_t i = 0; i < 200; i += 3) {
        ist_session_close(sessions[i]);
        world_check(&world);
    }
    size_t ended = 0;
    uint64_t at;
    while ((at = ist_engine_deadline_ns(world.engine)) != IST_NEVER_NS) {
        tick(&world, at);
        struct ist_session *session;
        while ((session = ist_engine_next_changed(world.engine)) != NULL) {
            assert_int_equal(ist_session_wants(session), IST_WANT_CLOSE);
            ist_session_close(session);
            ended++;
        }
    }
    assert_int_equal(ended, 133);
    world_fini(&world);
}

/* ---- drain -------------------------------------------------------------------------------------------------------- */

static void test_drain__sessions_in_every_state__finish_what_they_began(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    world_init(&world, (struct world_options){.engine.sessions_max = 5});
    struct ist_session *fresh = world_open(&world);
    struct ist_session *idle = open_and_greet(&world, &out);
    struct ist_session *putting = open_and_greet(&world, &out);
    struct ist_session *answered = open_and_greet(&world, &out);
    struct ist_session *half = open_and_greet(&world, &out);
    say_put(&in, 2, 0, "k", 'k', 1000);
    edge_feed(&world, putting, in.data, 500);
    edge_feed(&world, half, in.data, 31);
    struct bytes ping = {0};
    say_header(&ping, IST_OP_PING, 0, 7, 0, 0);
    edge_feed(&world, answered, ping.data, ping.count);

    ist_engine_drain(world.engine, world.now_ns);
    world_check(&world);
    struct ist_session *refused;
    assert_int_equal(ist_session_open(world.engine, 8, NULL, world.now_ns, &refused), IST_NO_SPACE);
    size_t changed = 0;
    while (ist_engine_next_changed(world.engine) != NULL) {
        changed++;
    }
    assert_int_equal(changed, 5);
    assert_int_equal(ist_session_wants(fresh), IST_WANT_CLOSE);
    assert_int_equal(ist_session_wants(idle), IST_WANT_CLOSE);
    assert_int_equal(ist_session_wants(half), IST_WANT_CLOSE);
    assert_int_equal(ist_session_wants(answered), IST_WANT_SEND);
    assert_int_equal(edge_take(&world, answered, &out, SIZE_MAX), IST_FRAME_BYTES);
    assert_int_equal(ist_session_wants(answered), IST_WANT_CLOSE);
    assert_int_equal(ist_session_wants(putting), IST_WANT_RECV);
    bytes_add(&in, ping.data, ping.count); /* not begun any more */
    edge_feed(&world, putting, in.data + 500, in.count - 500);
    out.count = 0;
    edge_take(&world, putting, &out, SIZE_MAX);
    struct reply reply;
    assert_int_equal(read_replies(&out, &reply, 1), 1);
    assert_int_equal(reply.keys.key_status.data[0], IST_OK);
    assert_int_equal(ist_session_wants(putting), IST_WANT_CLOSE);
    ist_session_close(fresh);
    ist_session_close(idle);
    ist_session_close(half);
    ist_session_close(answered);
    ist_session_close(putting);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&ping);
}

static void test_changed__closed_before_it_is_taken__forgotten(void **state) {
    (void)state;
    struct world world;
    struct bytes out = {0};
    world_init(&world, (struct world_options){0});
    struct ist_session *sessions[3];
    for (size_t i = 0; i < 3; i++) {
        sessions[i] = open_and_greet(&world, &out);
    }
    ist_engine_drain(world.engine, world.now_ns);
    ist_engine_drain(world.engine, world.now_ns); /* no harm, and each comes out once */
    ist_session_close(sessions[1]);
    world_check(&world);
    ist_session_close(ist_engine_next_changed(world.engine));
    ist_session_close(ist_engine_next_changed(world.engine));
    assert_null(ist_engine_next_changed(world.engine));
    world_fini(&world);
    bytes_free(&out);
}

/* ---- what it costs -------------------------------------------------------------------------------------------------- */

struct tally {
    size_t live, most;
};

static void *tally_resize(void *context, void *memory, size_t bytes) {
    struct tally *tally = context;
    size_t *old = memory == NULL ? NULL : (size_t *)memory - 2;
    tally->live -= old == NULL ? 0 : old[0];
    size_t *resized = realloc(old, bytes + 2 * sizeof(size_t));
    assert_non_null(resized);
    resized[0] = bytes;
    tally->live += bytes;
    tally->most = tally->live > tally->most ? tally->live : tally->most;
    return resized + 2;
}

static void *tally_allocate(void *context, size_t bytes) {
    return tally_resize(context, NULL, bytes);
}

static void tally_release(void *context, void *memory) {
    struct tally *tally = context;
    tally->live -= ((size_t *)memory - 2)[0];
    free((size_t *)memory - 2);
}

static void test_memory__idle_session_after_much_work__below_16_kib(void **state) {
    (void)state;
    struct world world;
    world_init(&world, (struct world_options){0});
    struct tally tally = {0};
    const struct ist_alloc alloc = {tally_allocate, tally_resize, tally_release, &tally};
    const struct ist_engine_config config = {
        .incarnation = 1, .sessions_max = 1, .server_name = "x", .alloc = &alloc, .log = &world.log};
    struct ist_engine *engine;
    assert_int_equal(ist_engine_new(&config, world.store, &engine), IST_OK);
    size_t empty = tally.live;
    struct ist_session *session;
    assert_int_equal(ist_session_open(engine, 1, NULL, 0, &session), IST_OK);
    struct bytes in = {0}, out = {0};
    static struct ist_span keys[3000];
    say_hello(&in, 1);
    for (size_t i = 0; i < 3000; i++) {
        keys[i] = ist_span_of("a key of some length, so that the body is long", 40);
        say_header(&in, IST_OP_PING, 0, i, 0, 0);
    }
    say_keys(&in, IST_OP_EXISTS, 0, 2, keys, NULL, 3000, 0);
    say_put(&in, 3, 0, "k", 'k', 50000);
    say_get(&in, 3, "k", 50000);
    edge_run(&world, session, &in, &out);
    assert_int_equal(ist_session_wants(session), IST_WANT_RECV);
    struct ist_buffer buffer;
    assert_int_equal(ist_session_recv_buffers(session, &buffer, 1),
                     1); /* as before a read of nothing */
    assert_true(tally.live - empty < 16384);

    /* An announced body takes memory only as it comes. */
    in.count = 0;
    say_header(&in, IST_OP_EXISTS, 0, 4, IST_BODY_BYTES_MAX, 0);
    say_value(&in, 0, 1000);
    edge_feed(&world, session, in.data, in.count);
    assert_true(tally.live - empty < 100000);
    ist_session_close(session);
    ist_engine_free(engine);
    assert_int_equal(tally.live, 0);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

/* One read for each request of a stream of puts, and hardly a byte copied when values are large. */
static void test_reads__stream_of_puts__one_each_and_few_copies(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1000, 4096, 32768, 262144};
    for (size_t i = 0; i < 4; i++) {
        struct world world;
        struct bytes in = {0}, out = {0};
        world_init(&world, (struct world_options){0});
        struct ist_session *session = open_and_greet(&world, &out);
        for (uint64_t n = 0; n < 50; n++) {
            say_put(&in, n, 0, "key", 'k', sizes[i]);
        }
        world.recv_calls = 0;
        world.copied_bytes = 0;
        edge_run(&world, session, &in, &out);
        assert_true(world.recv_calls <= 52);
        assert_true(sizes[i] < 16384 || world.copied_bytes <= 16384 + 50 * 512);
        assert_true(sizes[i] >= 16384 || world.recv_calls <= 50);
        assert_true(sizes[i] > 1000 || world.recv_calls <= 15);
        ist_session_close(session);
        world_fini(&world);
        bytes_free(&in);
        bytes_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new__wrong_arguments__invalid),
        cmocka_unit_test(test_open__beyond_the_limit__no_space),
        cmocka_unit_test(test_in_flight__beyond_the_limit__reading_waits_for_the_reader),
        cmocka_unit_test(test_queue__above_the_limit__others_go_on),
        cmocka_unit_test(test_replies__short_ones__overtake_bulk_that_has_not_begun),
        cmocka_unit_test(test_timeout__no_hello__ends),
        cmocka_unit_test(test_timeout__idle_session__never),
        cmocka_unit_test(test_timeout__half_a_request__ends),
        cmocka_unit_test(test_timeout__a_byte_now_and_then__ends_for_its_slowness),
        cmocka_unit_test(test_timeout__large_and_steady__is_given_its_time),
        cmocka_unit_test(test_timeout__announced_beyond_all_bounds__still_a_deadline),
        cmocka_unit_test(test_timeout__reply_that_nobody_takes__ends),
        cmocka_unit_test(test_timers__many_sessions__end_in_their_order),
        cmocka_unit_test(test_drain__sessions_in_every_state__finish_what_they_began),
        cmocka_unit_test(test_changed__closed_before_it_is_taken__forgotten),
        cmocka_unit_test(test_memory__idle_session_after_much_work__below_16_kib),
        cmocka_unit_test(test_reads__stream_of_puts__one_each_and_few_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

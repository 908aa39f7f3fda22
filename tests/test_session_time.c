/* Deadlines of sessions that have a past: what was long ago, or took long, does not count against what is new. */
#include "tests/rdma_talk.h"

#define PAUSE_NS IST_PROGRESS_TIMEOUT_NS

struct clocked {
    struct world world;
    struct ist_session *session;
    struct bytes in, out;
};

static void clocked_init(struct clocked *c) {
    *c = (struct clocked){0};
    world_init(&c->world, (struct world_options){0});
    c->session = world_open(&c->world);
    say_hello(&c->in, 1);
    edge_run(&c->world, c->session, &c->in, &c->out);
    c->in.count = 0;
}

static void clocked_fini(struct clocked *c) {
    ist_session_close(c->session);
    world_fini(&c->world);
    bytes_free(&c->in);
    bytes_free(&c->out);
}

static void tick_at(struct world *world, uint64_t now_ns) {
    world->now_ns = now_ns;
    ist_engine_tick(world->engine, now_ns);
    world_check(world);
}

/* Its time is up then, and not a nanosecond earlier. */
static void expect_timeout(struct world *world, struct ist_session *session, uint64_t at_ns) {
    assert_int_equal(ist_engine_deadline_ns(world->engine) <= at_ns, true);
    tick_at(world, at_ns - 1);
    assert_int_not_equal(ist_session_wants(session), IST_WANT_CLOSE);
    tick_at(world, at_ns);
    assert_int_equal(ist_session_wants(session), IST_WANT_CLOSE);
    assert_int_equal(ist_engine_deadline_ns(world->engine), IST_NEVER_NS);
}

static void test_reply__after_a_long_rest__has_its_whole_time(void **state) {
    (void)state;
    struct clocked c;
    clocked_init(&c);
    c.world.now_ns += 1000 * SECOND;
    uint64_t begin_ns = c.world.now_ns;
    say_header(&c.in, IST_OP_PING, 0, 2, 0, 0);
    edge_feed(&c.world, c.session, c.in.data, c.in.count);
    expect_timeout(&c.world, c.session, begin_ns + PAUSE_NS);
    clocked_fini(&c);
}

static void test_request__after_a_long_rest__has_its_whole_time(void **state) {
    (void)state;
    struct clocked c;
    clocked_init(&c);
    c.world.now_ns += 1000 * SECOND;
    uint64_t begin_ns = c.world.now_ns;
    say_header(&c.in, IST_OP_PING, 0, 2, 0, 0);
    edge_feed(&c.world, c.session, c.in.data, 1);
    expect_timeout(&c.world, c.session, begin_ns + PAUSE_NS);
    clocked_fini(&c);
}

/* The bytes of the request before do not buy time for the next one. */
static void test_request__behind_a_large_one__counts_its_own_bytes(void **state) {
    (void)state;
    struct clocked c;
    clocked_init(&c);
    say_put(&c.in, 2, 0, "k", 'k', 512 << 10);
    edge_feed(&c.world, c.session, c.in.data, c.in.count);
    edge_take(&c.world, c.session, &c.out, SIZE_MAX);
    c.in.count = 0;
    uint64_t begin_ns = c.world.now_ns;
    say_header(&c.in, IST_OP_PING, 0, 3, 0, 0);
    edge_feed(&c.world, c.session, c.in.data, 1);
    tick_at(&c.world, begin_ns + PAUSE_NS - 1);
    edge_feed(&c.world, c.session, c.in.data + 1, 1);
    uint64_t byte_ns =
        SECOND / IST_TRANSFER_BYTES_PER_SEC_MIN; /* the one that began it does not count */
    expect_timeout(&c.world, c.session, begin_ns + PAUSE_NS + byte_ns);
    clocked_fini(&c);
}

/* It came with as many others as there may be, and waited for a reply to leave: its time begins when it is its turn. */
static void test_request__waited_behind_others__has_its_whole_time(void **state) {
    (void)state;
    struct clocked c;
    clocked_init(&c);
    uint64_t begin_ns = c.world.now_ns;
    for (uint64_t id = 2; id < 3 + IST_REQUESTS_IN_FLIGHT_MAX; id++) {
        say_header(&c.in, IST_OP_PING, 0, id, 0, 0);
    }
    size_t bytes = c.in.count - IST_FRAME_BYTES / 2; /* half of the last one */
    assert_int_equal(edge_feed(&c.world, c.session, c.in.data, bytes), bytes);
    assert_int_equal(ist_session_wants(c.session), IST_WANT_SEND);
    tick_at(&c.world, begin_ns + PAUSE_NS - 1);
    edge_take(&c.world, c.session, &c.out, SIZE_MAX);
    assert_int_equal(ist_session_wants(c.session), IST_WANT_RECV);
    expect_timeout(&c.world, c.session, begin_ns + PAUSE_NS - 1 + PAUSE_NS);
    clocked_fini(&c);
}

/* Nor do those of the reply before. */
static void test_reply__behind_another__its_time_begins_with_it(void **state) {
    (void)state;
    struct clocked c;
    clocked_init(&c);
    say_put(&c.in, 2, 0, "k", 'k', 300 << 10);
    edge_run(&c.world, c.session, &c.in, &c.out);
    c.in.count = 0;
    say_get(&c.in, 3, "k", 1 << 20);
    say_get(&c.in, 4, "k", 1 << 20);
    edge_feed(&c.world, c.session, c.in.data, c.in.count);
    tick_at(&c.world, c.world.now_ns + PAUSE_NS - 1);
    c.out.count = 0;
    struct ist_frame frame;
    edge_take(&c.world, c.session, &c.out, IST_FRAME_BYTES);
    assert_int_equal(ist_frame_decode(ist_span_of(c.out.data, c.out.count), &frame), IST_OK);
    edge_take(&c.world, c.session, &c.out, frame.body_bytes + frame.payload_bytes);
    uint64_t begin_ns = c.world.now_ns; /* the first has left, the second begins */
    tick_at(&c.world, begin_ns + PAUSE_NS - 1);
    edge_take(&c.world, c.session, &c.out, 1u << 10);
    expect_timeout(&c.world, c.session, begin_ns + PAUSE_NS + SECOND / 1024);
    clocked_fini(&c);
}

/* The second transfer gets no more time because a first one is over. */
static void test_transfer__behind_another__counts_its_own_bytes(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "first", 'f', 1024);
    const struct item items[] = {{"k", 0, 1024}, {"l", 1024, 1024}, {"m", 2048, 1024}};
    uint64_t begin_ns = talk.world.now_ns;
    say_items(&talk.in, IST_OP_PUT, 0, 3, items, 3);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 3), 3);
    tick_at(&talk.world, begin_ns + PAUSE_NS - 1);
    nic_complete(&talk, 1);
    expect_timeout(&talk.world, talk.session, begin_ns + PAUSE_NS + SECOND / 1024);
    talk_end(&talk);
}

/* Another session that has two requests, one of which is complete. */
static struct ist_session *begin_another(struct world *world) {
    struct bytes in = {0}, out = {0};
    struct ist_session *another = world_open(world);
    say_hello(&in, 1);
    edge_run(world, another, &in, &out);
    in.count = 0;
    say_header(&in, IST_OP_PING, 0, 2, 0, 0);
    say_put(&in, 3, 0, "another", 'a', 1024);
    edge_feed(world, another, in.data, in.count - 1);
    bytes_free(&in);
    bytes_free(&out);
    return another;
}

/* The server's link is shared by two sessions, until just before the first one's time is up. */
static void test_transfer__server_is_shared__has_so_much_more_time(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    const struct item items[] = {{"k", 0, 1024}, {"l", 1024, 1024}, {"m", 2048, 1024}};
    uint64_t begin_ns = talk.world.now_ns;
    struct ist_session *another = begin_another(&talk.world);
    say_items(&talk.in, IST_OP_PUT, 0, 3, items, 3);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 3), 3);
    tick_at(&talk.world, begin_ns + PAUSE_NS - 1);
    ist_session_close(another);
    nic_complete(&talk, 1);
    expect_timeout(&talk.world, talk.session, begin_ns + PAUSE_NS + 2 * (SECOND / 1024));
    talk_end(&talk);
}

/* Who is connected and asks for nothing shares nothing; that the one who asks has several requests is his own matter. */
static void test_transfer__the_other_session_is_idle__has_its_usual_time(void **state) {
    (void)state;
    struct talk talk;
    struct bytes hello = {0}, out = {0};
    talk_begin(&talk);
    struct ist_session *another = world_open(&talk.world);
    say_hello(&hello, 1);
    edge_run(&talk.world, another, &hello, &out);
    const struct item items[] = {{"k", 0, 1024}, {"l", 1024, 1024}, {"m", 2048, 1024}};
    uint64_t begin_ns = talk.world.now_ns;
    say_items(&talk.in, IST_OP_PUT, 0, 3, items, 3);
    say_one(&talk, IST_OP_PUT, 4, "n", 4096, 1024);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 3), 3);
    tick_at(&talk.world, begin_ns + PAUSE_NS - 1);
    nic_complete(&talk, 1);
    expect_timeout(&talk.world, talk.session, begin_ns + PAUSE_NS + SECOND / 1024);
    ist_session_close(another);
    bytes_free(&hello);
    bytes_free(&out);
    talk_end(&talk);
}

/* What was shared by an earlier request is nothing to a later one. */
static void test_transfer__others_are_long_gone__has_its_usual_time(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    struct ist_session *another = begin_another(&talk.world);
    put_whole(&talk, "first", 'f', 1024);
    ist_session_close(another);
    const struct item items[] = {{"k", 0, 1024}, {"l", 1024, 1024}, {"m", 2048, 1024}};
    uint64_t begin_ns = talk.world.now_ns;
    say_items(&talk.in, IST_OP_PUT, 0, 3, items, 3);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 3), 3);
    tick_at(&talk.world, begin_ns + PAUSE_NS - 1);
    nic_complete(&talk, 1);
    expect_timeout(&talk.world, talk.session, begin_ns + PAUSE_NS + SECOND / 1024);
    talk_end(&talk);
}

static void test_transfer__after_a_long_rest__has_its_whole_time(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'k', 1024);
    talk.world.now_ns += 1000 * SECOND;
    uint64_t begin_ns = talk.world.now_ns;
    say_one(&talk, IST_OP_PUT, 3, "l", 0, 1000);
    talk_say(&talk);
    nic_post(&talk, 1);
    expect_timeout(&talk.world, talk.session, begin_ns + PAUSE_NS);
    talk_end(&talk);
}

static void test_transfer__work_that_nobody_takes__has_a_deadline(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_one(&talk, IST_OP_PUT, 3, "k", 0, 1000);
    talk_say(&talk);
    assert_true((wants(&talk) & IST_WANT_WORK) != 0);
    expect_timeout(&talk.world, talk.session, talk.world.now_ns + PAUSE_NS);
    talk_end(&talk);
}

/* It is answered, but its last WRITE holds a block until it completes. */
static void test_transfer__one_write_behind_its_answer__still_has_a_deadline(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'k', 1000);
    say_one(&talk, IST_OP_GET, 3, "k", 0, 1000);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 1), 1);
    talk_hear(&talk);
    assert_int_equal(key_status(&talk, 0, 0), IST_OK);
    expect_timeout(&talk.world, talk.session, talk.world.now_ns + PAUSE_NS);
    talk_end(&talk);
}

/* A timer that fires early moves to where it belongs, also to nowhere. */
static void test_timer__early__moves_and_session_lives(void **state) {
    (void)state;
    struct clocked c;
    clocked_init(&c);
    tick_at(&c.world, c.world.now_ns + IST_HANDSHAKE_TIMEOUT_NS); /* the handshake's, long over */
    assert_int_equal(ist_engine_deadline_ns(c.world.engine), IST_NEVER_NS);
    assert_int_equal(ist_session_wants(c.session), IST_WANT_RECV);
    assert_null(ist_engine_next_changed(c.world.engine));
    clocked_fini(&c);
}

static void test_changed__more_than_once__comes_out_each_time(void **state) {
    (void)state;
    struct clocked c;
    clocked_init(&c);
    say_header(&c.in, IST_OP_PING, 0, 2, 0, 0);
    edge_feed(&c.world, c.session, c.in.data, c.in.count);
    ist_engine_drain(c.world.engine, c.world.now_ns);
    assert_ptr_equal(ist_engine_next_changed(c.world.engine), c.session);
    assert_null(ist_engine_next_changed(c.world.engine));
    world_check(&c.world);
    tick_at(&c.world, c.world.now_ns + PAUSE_NS);
    assert_ptr_equal(ist_engine_next_changed(c.world.engine), c.session);
    assert_null(ist_engine_next_changed(c.world.engine));
    clocked_fini(&c);
}

static void test_drain__half_a_hello__ends_at_once(void **state) {
    (void)state;
    struct clocked c = {0};
    world_init(&c.world, (struct world_options){0});
    c.session = world_open(&c.world);
    say_hello(&c.in, 1);
    edge_feed(&c.world, c.session, c.in.data, c.in.count - 1);
    ist_engine_drain(c.world.engine, c.world.now_ns);
    assert_int_equal(ist_session_wants(c.session), IST_WANT_CLOSE);
    clocked_fini(&c);
}

/* Nothing at all can be had from the middle of a long body on: the request is answered, the session goes on. */
static void test_body__memory_gone_in_its_middle__answered(void **state) {
    (void)state;
    enum { COUNT = 8000 };
    static struct ist_span keys[COUNT];
    static char names[COUNT][24];
    struct clocked c;
    struct reply replies[2];
    clocked_init(&c);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "one of many keys %zu", i);
        keys[i] = ist_span_of_string(names[i]);
    }
    c.out.count = 0;
    say_keys(&c.in, IST_OP_EXISTS, 0, 2, keys, NULL, COUNT, 0);
    say_header(&c.in, IST_OP_PING, 0, 3, 0, 0);
    assert_true(c.in.count > 150000);
    size_t fed = edge_feed(&c.world, c.session, c.in.data, 50000);
    c.world.starved = true;
    fed += edge_feed(&c.world, c.session, c.in.data + fed, 50000);
    assert_int_equal(fed, 100000);
    c.world.starved = false;
    size_t whole = c.in.count - IST_FRAME_BYTES;
    fed += edge_feed(&c.world, c.session, c.in.data + fed, whole - 1 - fed);
    assert_int_equal(ist_session_wants(c.session), IST_WANT_RECV);     /* a byte is still to come */
    edge_feed(&c.world, c.session, c.in.data + fed, c.in.count - fed); /* the PING right behind it */
    edge_take(&c.world, c.session, &c.out, SIZE_MAX);
    assert_int_equal(read_replies(&c.out, replies, 2), 2);
    assert_int_equal(replies[0].frame.request_id, 2);
    assert_int_equal(replies[0].keys.status, IST_NO_MEMORY);
    assert_int_equal(replies[1].frame.request_id, 3);

    /* the same body again, with memory, its last byte alone */
    c.out.count = 0;
    edge_feed(&c.world, c.session, c.in.data, whole - 1);
    assert_int_equal(ist_session_wants(c.session), IST_WANT_RECV);
    edge_feed(&c.world, c.session, c.in.data + whole - 1, 1);
    edge_take(&c.world, c.session, &c.out, SIZE_MAX);
    assert_int_equal(read_replies(&c.out, replies, 1), 1);
    assert_int_equal(replies[0].keys.status, IST_OK);
    assert_int_equal(replies[0].keys.key_status.bytes, COUNT);
    clocked_fini(&c);
}

/* A put for which there is no memory: its values are passed over, and what follows is understood. */
static void test_put__no_memory_for_its_items__values_are_passed_over(void **state) {
    (void)state;
    struct clocked c;
    struct reply replies[2];
    clocked_init(&c);
    c.out.count = 0;
    say_put(&c.in, 2, 0, "key", 'v', 3000);
    size_t payload = c.in.count - 3000;
    say_header(&c.in, IST_OP_PING, 0, 3, 0, 0);
    size_t fed = edge_feed(&c.world, c.session, c.in.data, payload - 1);
    c.world.starved = true;
    fed += edge_feed(&c.world, c.session, c.in.data + fed, 1 + 100);
    c.world.starved = false;
    edge_feed(&c.world, c.session, c.in.data + fed, c.in.count - fed);
    edge_take(&c.world, c.session, &c.out, SIZE_MAX);
    assert_int_equal(read_replies(&c.out, replies, 2), 2);
    assert_int_equal(replies[0].frame.request_id, 2);
    assert_int_equal(replies[0].keys.status, IST_NO_MEMORY);
    assert_int_equal(replies[1].frame.request_id, 3);
    clocked_fini(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply__after_a_long_rest__has_its_whole_time),
        cmocka_unit_test(test_request__after_a_long_rest__has_its_whole_time),
        cmocka_unit_test(test_request__behind_a_large_one__counts_its_own_bytes),
        cmocka_unit_test(test_request__waited_behind_others__has_its_whole_time),
        cmocka_unit_test(test_reply__behind_another__its_time_begins_with_it),
        cmocka_unit_test(test_transfer__behind_another__counts_its_own_bytes),
        cmocka_unit_test(test_transfer__server_is_shared__has_so_much_more_time),
        cmocka_unit_test(test_transfer__the_other_session_is_idle__has_its_usual_time),
        cmocka_unit_test(test_transfer__others_are_long_gone__has_its_usual_time),
        cmocka_unit_test(test_transfer__after_a_long_rest__has_its_whole_time),
        cmocka_unit_test(test_transfer__work_that_nobody_takes__has_a_deadline),
        cmocka_unit_test(test_transfer__one_write_behind_its_answer__still_has_a_deadline),
        cmocka_unit_test(test_timer__early__moves_and_session_lives),
        cmocka_unit_test(test_drain__half_a_hello__ends_at_once),
        cmocka_unit_test(test_put__no_memory_for_its_items__values_are_passed_over),
        cmocka_unit_test(test_body__memory_gone_in_its_middle__answered),
        cmocka_unit_test(test_changed__more_than_once__comes_out_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the engine counts: each request and key once, under its operation and status, whatever transport; gauges are the
 * store's. */
#include "engine/put.h"
#include "tests/rdma_talk.h"

static uint64_t requests(const struct world *world, enum ist_operation operation,
                         enum ist_status status) {
    struct ist_stats stats;
    ist_engine_stats(world->engine, &stats);
    return stats.requests[operation][ist_stats_status_index(status)];
}

static uint64_t keys(const struct world *world, enum ist_operation operation, enum ist_status status) {
    struct ist_stats stats;
    ist_engine_stats(world->engine, &stats);
    return stats.keys[operation][ist_stats_status_index(status)];
}

static uint64_t sum_of_keys(const struct world *world, enum ist_operation operation) {
    struct ist_stats stats;
    uint64_t sum = 0;
    ist_engine_stats(world->engine, &stats);
    for (size_t i = 0; i < IST_STATS_STATUS_COUNT; i++) {
        sum += stats.keys[operation][i];
    }
    return sum;
}

static void test_stats__gauges__are_those_of_the_store(void **state) {
    (void)state;
    struct world world;
    struct ist_entry *reserved, *doomed, *evicted;
    const struct ist_span key = ist_span_of_string("k");
    world_init(&world, (struct world_options){.pool_bytes = 64 << 10});
    assert_int_equal(ist_store_reserve(world.store, ist_span_of_string("e"), 9000, false, &evicted),
                     IST_OK);
    assert_int_equal(ist_store_commit(world.store, evicted, false), IST_OK);
    ist_store_release(world.store, evicted);
    assert_true(ist_store_evict(world.store, 1) >= 9000);
    assert_int_equal(ist_store_reserve(world.store, key, 3000, false, &doomed), IST_OK);
    assert_int_equal(ist_store_commit(world.store, doomed, false), IST_OK);
    assert_true(ist_store_remove(world.store, key));
    assert_int_equal(ist_store_reserve(world.store, key, 700, false, &reserved), IST_OK);
    assert_int_equal(ist_store_commit(world.store, reserved, false), IST_OK);
    ist_store_release(world.store, reserved);
    assert_int_equal(ist_store_reserve(world.store, key, 1500, false, &reserved), IST_OK);

    struct ist_store_usage usage;
    struct ist_stats stats;
    ist_store_usage(world.store, &usage);
    memset(&stats, 0xee, sizeof(stats));
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.pool_bytes, 64 << 10);
    assert_int_equal(stats.pool_bytes_max, 64 << 10);
    assert_int_equal(stats.pool_target_bytes, 64 << 10); /* nobody told anything else */
    assert_int_equal(stats.reserved_bytes, 1536);
    assert_int_equal(stats.committed_bytes, 1024);
    assert_int_equal(stats.doomed_bytes, 3072);
    assert_int_equal(stats.free_bytes, (64 << 10) - 1536 - 1024 - 3072);
    assert_int_equal(stats.largest_free_bytes, usage.largest_free_bytes);
    assert_in_range(stats.largest_free_bytes, 1, stats.free_bytes);
    assert_int_equal(stats.value_bytes, 700);
    assert_int_equal(stats.keys_stored, 1);
    assert_int_equal(stats.pinned_entries, 2);
    assert_int_equal(stats.evicted_entries, 1);
    assert_int_equal(stats.evicted_bytes, 9216);
    assert_int_equal(stats.metadata_bytes, usage.metadata_bytes);
    assert_true(stats.metadata_bytes > 0);
    ist_store_abort(world.store, reserved);
    ist_store_release(world.store, doomed);
    world_fini(&world);
}

/* "there" is put, "gone" is not. */
static void ask_of_both(struct bytes *in) {
    const struct ist_span both[3] = {ist_span_of_string("there"), ist_span_of_string("there"),
                                     ist_span_of_string("gone")};
    const uint64_t rooms[3] = {100, 5, 100};
    say_put(in, 2, 0, "there", 't', 50);
    say_put(in, 3, IST_FRAME_IF_ABSENT, "there", 't', 50);
    say_keys(in, IST_OP_GET, 0, 4, both, rooms, 3, 0);
    say_keys(in, IST_OP_EXISTS, 0, 5, both, NULL, 3, 0);
    say_keys(in, IST_OP_MATCH_PREFIX, 0, 6, both, NULL, 3, 0);
    say_keys(in, IST_OP_MATCH_LAST, 0, 7, both, NULL, 3, 0);
    say_keys(in, IST_OP_REMOVE, 0, 8, both, NULL, 3, 0);
    say_put(in, 9, 0, "there", 't', 50);
    say_header(in, IST_OP_PURGE, 0, 10, 0, 0);
    say_header(in, IST_OP_PING, 0, 11, 0, 0);
}

static void test_stats__one_of_each_over_a_stream__counted_once(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    struct ist_stats stats;
    world_init(&world, (struct world_options){0});
    struct ist_session *session = world_open(&world);
    say_hello(&in, 1);
    ask_of_both(&in);
    edge_run(&world, session, &in, &out);
    assert_int_equal(requests(&world, IST_OP_HELLO, IST_OK), 1);
    assert_int_equal(requests(&world, IST_OP_PUT, IST_OK), 3);
    for (unsigned operation = IST_OP_GET; operation <= IST_OP_PING; operation++) {
        assert_int_equal(requests(&world, (enum ist_operation)operation, IST_OK),
                         operation != IST_OP_STAT);
    }
    assert_int_equal(keys(&world, IST_OP_PUT, IST_OK), 2);
    assert_int_equal(keys(&world, IST_OP_PUT, IST_EXISTS), 1);
    assert_int_equal(sum_of_keys(&world, IST_OP_PUT), 3);
    assert_int_equal(keys(&world, IST_OP_GET, IST_OK), 1);
    assert_int_equal(keys(&world, IST_OP_GET, IST_TOO_SMALL), 1);
    assert_int_equal(keys(&world, IST_OP_GET, IST_NOT_FOUND), 1);
    assert_int_equal(keys(&world, IST_OP_EXISTS, IST_OK), 2);
    assert_int_equal(keys(&world, IST_OP_EXISTS, IST_NOT_FOUND), 1);
    assert_int_equal(keys(&world, IST_OP_MATCH_PREFIX, IST_OK), 2);
    assert_int_equal(keys(&world, IST_OP_MATCH_PREFIX, IST_NOT_FOUND), 1);
    assert_int_equal(keys(&world, IST_OP_MATCH_LAST, IST_OK), 2);
    assert_int_equal(keys(&world, IST_OP_MATCH_LAST, IST_NOT_FOUND), 1);
    assert_int_equal(keys(&world, IST_OP_REMOVE, IST_OK), 1);
    assert_int_equal(keys(&world, IST_OP_REMOVE, IST_NOT_FOUND), 2);
    assert_int_equal(keys(&world, IST_OP_PURGE, IST_OK), 1);
    assert_int_equal(sum_of_keys(&world, IST_OP_PURGE), 1);
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.put_bytes, 100);
    assert_int_equal(stats.get_bytes, 50);
    assert_int_equal(stats.received_bytes, in.count);
    assert_int_equal(stats.sent_bytes, out.count);
    assert_int_equal(stats.sessions, 1);
    assert_int_equal(stats.sessions_rdma, 0);
    assert_int_equal(stats.sessions_opened, 1);
    assert_int_equal(stats.requests_in_flight, 0);
    for (unsigned operation = IST_OP_HELLO; operation <= IST_OP_PING; operation++) {
        uint64_t count = operation == IST_OP_PUT ? 3 : operation != IST_OP_STAT;
        assert_int_equal(stats.latency[operation].count, count);
    }
    ist_session_close(session);
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.sessions, 0);
    assert_int_equal(stats.sessions_ended_peer, 1);
    assert_int_equal(stats.sessions_ended_protocol + stats.sessions_ended_timeout, 0);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

static void test_stats__put_and_get_over_rdma__counted_once(void **state) {
    (void)state;
    struct talk talk;
    struct ist_stats stats;
    const struct item both[] = {{"there", 0, 3000}, {"gone", 4000, 3000}, {"there", 8000, 5}};
    talk_begin(&talk);
    say_one(&talk, IST_OP_PUT, 1, "there", 0, 3000);
    size_t said = talk.in.count;
    talk_run(&talk);
    ist_engine_stats(talk.world.engine, &stats);
    assert_int_equal(stats.received_bytes, said + 3000);
    assert_int_equal(stats.sent_bytes, talk.out.count);
    struct ist_stats before = stats;
    talk.out.count = 0;
    say_items(&talk.in, IST_OP_PUT, IST_FRAME_IF_ABSENT, 2, both, 1);
    say_items(&talk.in, IST_OP_GET, 0, 3, both, 3);
    said = talk.in.count;
    talk_run(&talk);
    assert_int_equal(requests(&talk.world, IST_OP_PUT, IST_OK), 2);
    assert_int_equal(requests(&talk.world, IST_OP_GET, IST_OK), 1);
    assert_int_equal(keys(&talk.world, IST_OP_PUT, IST_OK), 1);
    assert_int_equal(keys(&talk.world, IST_OP_PUT, IST_EXISTS), 1);
    assert_int_equal(sum_of_keys(&talk.world, IST_OP_PUT), 2);
    assert_int_equal(keys(&talk.world, IST_OP_GET, IST_OK), 1);
    assert_int_equal(keys(&talk.world, IST_OP_GET, IST_NOT_FOUND), 1);
    assert_int_equal(keys(&talk.world, IST_OP_GET, IST_TOO_SMALL), 1);
    ist_engine_stats(talk.world.engine, &stats);
    assert_int_equal(stats.put_bytes, 3000);
    assert_int_equal(stats.get_bytes, 3000);
    assert_int_equal(stats.received_bytes - before.received_bytes, said);
    assert_int_equal(stats.sent_bytes - before.sent_bytes, talk.out.count + 3000);
    assert_int_equal(stats.sessions_rdma, 1);
    assert_int_equal(stats.latency[IST_OP_PUT].count, 2);
    assert_int_equal(stats.latency[IST_OP_GET].count, 1);
    talk_end(&talk);
}

static void test_stats__sessions_come_and_go__counted_by_transport(void **state) {
    (void)state;
    struct world world;
    struct ist_session *rdma;
    struct ist_stats stats;
    world_init(&world, (struct world_options){0});
    struct ist_session *stream = world_open(&world);
    assert_int_equal(ist_session_open_rdma(world.engine, 7, &world, world.now_ns, &rdma), IST_OK);
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.sessions, 2);
    assert_int_equal(stats.sessions_rdma, 1);
    ist_session_close(rdma);
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.sessions, 1);
    assert_int_equal(stats.sessions_rdma, 0);
    ist_session_close(stream);
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.sessions, 0);
    assert_int_equal(stats.sessions_rdma, 0);
    assert_int_equal(stats.sessions_opened, 2);
    world_fini(&world);
}

static void test_stats__latency__from_the_header_to_the_last_byte(void **state) {
    (void)state;
    struct world world;
    struct bytes in = {0}, out = {0};
    struct ist_stats stats;
    world_init(&world, (struct world_options){0});
    struct ist_session *session = world_open(&world);
    say_hello(&in, 1);
    edge_run(&world, session, &in, &out);
    in.count = 0;
    say_header(&in, IST_OP_PING, 0, 2, 0, 0);
    edge_feed(&world, session, in.data, 5);
    world.now_ns += 3 * SECOND;
    edge_feed(&world, session, in.data + 5, in.count - 5);
    edge_take(&world, session, &out, IST_FRAME_BYTES - 1);
    world.now_ns += 4 * SECOND;
    edge_take(&world, session, &out, 1);
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.latency[IST_OP_PING].sum_ns, 7 * SECOND);
    ist_session_close(session);
    world_fini(&world);
    bytes_free(&in);
    bytes_free(&out);
}

static void test_stats__refused_and_timed_out__counted_by_cause(void **state) {
    (void)state;
    struct world world;
    struct ist_stats stats;
    struct ist_session *session, *late;
    struct bytes out = {0};
    world_init(&world, (struct world_options){.engine = {.sessions_max = 2}});
    session = world_open(&world);
    late = world_open(&world);
    assert_int_equal(ist_session_open(world.engine, 3, NULL, world.now_ns, &(struct ist_session *){0}),
                     IST_NO_SPACE);
    edge_feed(&world, session, "GET /", 5);
    ist_session_close(session);
    world.starved = true;
    assert_int_equal(ist_session_open(world.engine, 3, NULL, world.now_ns, &(struct ist_session *){0}),
                     IST_NO_MEMORY);
    world.starved = false;
    world.now_ns += IST_HANDSHAKE_TIMEOUT_NS;
    ist_engine_tick(world.engine, world.now_ns);
    assert_ptr_equal(ist_engine_next_changed(world.engine), late);
    ist_session_close(late);
    ist_engine_stats(world.engine, &stats);
    assert_int_equal(stats.sessions_opened, 2);
    assert_int_equal(stats.sessions_refused, 2);
    assert_int_equal(stats.sessions_ended_protocol, 1);
    assert_int_equal(stats.sessions_ended_timeout, 1);
    assert_int_equal(stats.sessions_ended_peer, 0);
    world_fini(&world);
    bytes_free(&out);
}

/* A HELLO has room for 64 bytes of the server's name. */
static void test_new__server_name__64_bytes_and_no_more(void **state) {
    (void)state;
    struct world world;
    struct ist_engine *engine;
    char name[66] = "";
    world_init(&world, (struct world_options){0});
    const struct ist_engine_config config = {.incarnation = 1,
                                             .sessions_max = 1,
                                             .server_name = name,
                                             .alloc = ist_alloc_system(),
                                             .log = ist_log_null()};
    memset(name, 'n', 65);
    assert_int_equal(ist_engine_new(&config, world.store, &engine), IST_INVALID);
    name[64] = '\0';
    assert_int_equal(ist_engine_new(&config, world.store, &engine), IST_OK);
    ist_engine_free(engine);
    world_fini(&world);
}

/* What a session is charged for a put that waits. */
static void test_put_memory__grows_with_keys_and_body__by_what_they_take(void **state) {
    (void)state;
    size_t none = ist_put_memory_bytes(0, 0), item = ist_put_memory_bytes(1, 0) - none;
    assert_true(none >= sizeof(void *) && item >= sizeof(void *) && item < 200);
    assert_int_equal(ist_put_memory_bytes(100, 0), none + 100 * item);
    assert_int_equal(ist_put_memory_bytes(100, 777), none + 100 * item + 777);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats__gauges__are_those_of_the_store),
        cmocka_unit_test(test_stats__one_of_each_over_a_stream__counted_once),
        cmocka_unit_test(test_stats__put_and_get_over_rdma__counted_once),
        cmocka_unit_test(test_stats__sessions_come_and_go__counted_by_transport),
        cmocka_unit_test(test_stats__latency__from_the_header_to_the_last_byte),
        cmocka_unit_test(test_new__server_name__64_bytes_and_no_more),
        cmocka_unit_test(test_put_memory__grows_with_keys_and_body__by_what_they_take),
        cmocka_unit_test(test_stats__refused_and_timed_out__counted_by_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

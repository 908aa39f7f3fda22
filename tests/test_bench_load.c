/* src/tools/bench_load: every key once, whatever the shape; failures and lies are found and named. */
#include "tests/bench_fake.h"

#include "tools/bench_load.h"

#define COUNT 1000u
#define VALUE_BYTES 200u
#define TIMEOUT_NS (10 * IST_NS_PER_SEC)

static const struct ist_bench_list anywhere = {.count = 0};
static const struct ist_bench_shape shapes[] = {
    {1, 1, 1}, {1, 7, 1}, {3, 1, 1}, {3, 4, 5}, {2, 2, 300}, {1, 1, 1000}, {2, 64, 3},
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

struct fixture {
    struct fake_server *server;
    struct ist_bench_memory memory;
    struct ist_bench_set set;
    struct ist_bench_load *load;
    char error[IST_BENCH_ERROR_MAX];
};

static void connect_load(struct fixture *fixture, const struct ist_bench_shape *shape) {
    char endpoint[32];
    const struct ist_bench_target target = {.endpoint = fake_endpoint(fixture->server, endpoint),
                                            .timeout_ns = TIMEOUT_NS};
    assert_int_equal(
        ist_bench_load_new(&fake_peer, &target, shape, &anywhere, &fixture->load, fixture->error),
        IST_OK);
}

static void set_up(struct fixture *fixture, const struct ist_bench_shape *shape) {
    *fixture = (struct fixture){.server = fake_new()};
    assert_int_equal(ist_bench_memory_init(&fixture->memory, COUNT * ist_bench_stride(VALUE_BYTES)),
                     IST_OK);
    assert_int_equal(ist_bench_set_init(&fixture->set, &fixture->memory, 1, VALUE_BYTES, 64, COUNT),
                     IST_OK);
    ist_bench_set_fill(&fixture->set, 0, COUNT, 1);
    connect_load(fixture, shape);
}

static void tear_down(struct fixture *fixture) {
    ist_bench_load_free(fixture->load);
    ist_bench_set_fini(&fixture->set);
    ist_bench_memory_fini(&fixture->memory);
    fake_free(fixture->server);
}

static enum ist_status run(struct fixture *fixture, enum ist_bench_op op,
                           struct ist_bench_slice *slice) {
    *slice = (struct ist_bench_slice){.op = op, .set = &fixture->set, .end = COUNT};
    return ist_bench_load_run(fixture->load, slice, fixture->error);
}

static enum ist_status verify(struct fixture *fixture, uint64_t *verified) {
    *verified = 0;
    return ist_bench_load_verify(fixture->load, &fixture->set, 0, COUNT, 1, verified, fixture->error);
}

static void assert_each_once(const unsigned *counts, size_t end) {
    for (size_t i = 0; i < FAKE_KEYS_MAX; i++) {
        assert_int_equal(counts[i], i < end);
    }
}

static void test_run__any_shape__every_key_once(void **state) {
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        struct fixture fixture;
        static struct ist_histogram latency;
        struct ist_bench_slice slice;
        uint64_t verified;
        set_up(&fixture, &shapes[s]);
        size_t requests = (COUNT + shapes[s].batch - 1) / shapes[s].batch;
        assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_OK);
        assert_each_once(fixture.server->puts, COUNT);
        assert_int_equal(slice.reached, COUNT);
        assert_int_equal(slice.requests, requests);
        assert_int_equal(slice.bytes, COUNT * VALUE_BYTES);
        assert_true(slice.elapsed_ns > 0);
        ist_histogram_init(&latency);
        slice = (struct ist_bench_slice){
            .op = IST_BENCH_GET, .set = &fixture.set, .end = COUNT, .latency = &latency};
        assert_int_equal(ist_bench_load_run(fixture.load, &slice, fixture.error), IST_OK);
        assert_each_once(fixture.server->gets, COUNT);
        assert_int_equal(latency.count, requests);
        assert_int_equal(verify(&fixture, &verified), IST_OK);
        assert_int_equal(verified, COUNT);
        assert_int_equal(run(&fixture, IST_BENCH_EXISTS, &slice), IST_OK);
        assert_int_equal(slice.bytes, 0);
        assert_each_once(fixture.server->asked, COUNT);
        assert_int_equal(run(&fixture, IST_BENCH_REMOVE, &slice), IST_OK);
        assert_int_equal(run(&fixture, IST_BENCH_GET, &slice), IST_NOT_FOUND);
        tear_down(&fixture);
    }
}

static void test_run__match__whole_batches_only(void **state) {
    (void)state;
    struct fixture fixture;
    struct ist_bench_slice slice;
    set_up(&fixture, &(const struct ist_bench_shape){2, 2, 300});
    assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_OK);
    assert_int_equal(run(&fixture, IST_BENCH_MATCH, &slice), IST_OK);
    assert_int_equal(slice.reached, 900);
    assert_int_equal(slice.requests, 3);
    tear_down(&fixture);
}

static void test_run__a_part__no_key_outside(void **state) {
    (void)state;
    struct fixture fixture;
    set_up(&fixture, &shapes[3]);
    struct ist_bench_slice slice = {.op = IST_BENCH_PUT, .set = &fixture.set, .first = 100, .end = 333};
    assert_int_equal(ist_bench_load_run(fixture.load, &slice, fixture.error), IST_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(fixture.server->puts[i], i >= 100 && i < 333);
    }
    assert_int_equal(slice.reached, 333);
    tear_down(&fixture);
}

static void test_run__time_is_up__what_was_reached_is_done(void **state) {
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        struct fixture fixture;
        set_up(&fixture, &shapes[s]);
        struct ist_bench_slice slice = {
            .op = IST_BENCH_PUT, .set = &fixture.set, .end = COUNT, .time_ns = 1};
        assert_int_equal(ist_bench_load_run(fixture.load, &slice, fixture.error), IST_OK);
        assert_true(slice.reached > 0);
        assert_true(slice.reached <= shapes[s].clients * shapes[s].depth * shapes[s].batch);
        assert_each_once(fixture.server->puts, slice.reached);
        assert_int_equal(slice.bytes, slice.reached * VALUE_BYTES);
        tear_down(&fixture);
    }
}

/* The status, one line, and whom it is about. */
static void assert_named(const struct fixture *fixture, const char *what) {
    if (strstr(fixture->error, what) == NULL || strchr(fixture->error, '\n') != NULL) {
        fail_msg("'%s' is not in: %s", what, fixture->error);
    }
}

static void test_run__a_request_fails__its_status_and_a_key(void **state) {
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        for (uint64_t at = 1; at <= 3; at += 2) {
            struct fixture fixture;
            struct ist_bench_slice slice;
            set_up(&fixture, &shapes[s]);
            if (COUNT / shapes[s].batch < at) {
                tear_down(&fixture);
                continue;
            }
            fixture.server->fail_at = at;
            fixture.server->fail_status = IST_NO_SPACE;
            assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_NO_SPACE);
            assert_named(&fixture, "put of bench/00000001/200/");
            assert_named(&fixture, "NO_SPACE");
            tear_down(&fixture);
        }
    }
}

static void test_run__the_link_breaks__ends_with_all_in_flight(void **state) {
    (void)state;
    struct fixture fixture;
    struct ist_bench_slice slice;
    set_up(&fixture, &shapes[3]);
    fixture.server->mute = true;
    assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_PEER);
    assert_named(&fixture, "fake: ");
    tear_down(&fixture); /* closes the links with requests in flight */
}

static void test_new__server_refuses__its_error(void **state) {
    (void)state;
    struct fixture fixture;
    char endpoint[32];
    set_up(&fixture, &shapes[0]);
    ist_bench_load_free(fixture.load);
    fixture.load = NULL;
    fixture.server->refuses = true;
    const struct ist_bench_target target = {.endpoint = fake_endpoint(fixture.server, endpoint),
                                            .timeout_ns = TIMEOUT_NS};
    assert_int_equal(
        ist_bench_load_new(&fake_peer, &target, &shapes[3], &anywhere, &fixture.load, fixture.error),
        IST_PEER);
    assert_named(&fixture, "refused");
    assert_null(fixture.load);
    tear_down(&fixture);
}

/* ---- lies --------------------------------------------------------------------------------------- */

static void test_verify__a_wrong_byte__key_and_byte_named(void **state) {
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        struct fixture fixture;
        struct ist_bench_slice slice;
        uint64_t verified;
        set_up(&fixture, &shapes[s]);
        assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_OK);
        fixture.server->wrong_key = 777;
        fixture.server->wrong_byte = VALUE_BYTES - 1;
        assert_int_equal(run(&fixture, IST_BENCH_GET, &slice), IST_OK);
        assert_int_equal(verify(&fixture, &verified), IST_PROTOCOL);
        assert_named(&fixture, "0000777: byte 199 of 200 is wrong");
        assert_true(verified < COUNT);
        tear_down(&fixture);
    }
}

/* The buffer still holds the right bytes, from the get before. */
static void test_verify__a_get_that_writes_nothing__found(void **state) {
    (void)state;
    struct fixture fixture;
    struct ist_bench_slice slice;
    uint64_t verified;
    set_up(&fixture, &shapes[1]);
    assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_OK);
    assert_int_equal(run(&fixture, IST_BENCH_GET, &slice), IST_OK);
    assert_int_equal(verify(&fixture, &verified), IST_OK);
    fixture.server->wrong_key = 5;
    fixture.server->lazy = true;
    assert_int_equal(run(&fixture, IST_BENCH_GET, &slice), IST_OK);
    assert_int_equal(verify(&fixture, &verified), IST_PROTOCOL);
    assert_named(&fixture, "0000005: byte 0 of 200 is wrong");
    tear_down(&fixture);
}

static void test_run__a_value_is_shorter__found(void **state) {
    (void)state;
    struct fixture fixture;
    struct ist_bench_slice slice;
    set_up(&fixture, &shapes[1]);
    assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_OK);
    fixture.server->wrong_key = 5;
    fixture.server->shortens = true;
    assert_int_equal(run(&fixture, IST_BENCH_GET, &slice), IST_PROTOCOL);
    assert_named(&fixture, "0000005: 199 bytes came, not 200");
    tear_down(&fixture);
}

static void test_run__a_key_is_missing__exists_match_and_get_say_so(void **state) {
    (void)state;
    const enum ist_bench_op ops[] = {IST_BENCH_EXISTS, IST_BENCH_MATCH, IST_BENCH_GET};
    for (size_t i = 0; i < 3; i++) {
        struct fixture fixture;
        struct ist_bench_slice slice;
        set_up(&fixture, &(const struct ist_bench_shape){1, 2, 100});
        assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_OK);
        free(fixture.server->values[42]);
        fixture.server->values[42] = NULL;
        assert_int_equal(run(&fixture, ops[i], &slice), IST_NOT_FOUND);
        assert_named(&fixture, ops[i] == IST_BENCH_MATCH ? "found 42" : "0000042: no such key");
        tear_down(&fixture);
    }
}

static void test_verify__a_sample__one_of_so_many(void **state) {
    (void)state;
    struct fixture fixture;
    struct ist_bench_slice slice;
    uint64_t verified = 0;
    set_up(&fixture, &shapes[2]);
    assert_int_equal(run(&fixture, IST_BENCH_PUT, &slice), IST_OK);
    assert_int_equal(run(&fixture, IST_BENCH_GET, &slice), IST_OK);
    assert_int_equal(ist_bench_load_verify(fixture.load, &fixture.set, 0, COUNT, IST_BENCH_SAMPLE,
                                           &verified, fixture.error),
                     IST_OK);
    assert_int_equal(verified, (COUNT + IST_BENCH_SAMPLE - 1) / IST_BENCH_SAMPLE);
    tear_down(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__any_shape__every_key_once),
        cmocka_unit_test(test_run__match__whole_batches_only),
        cmocka_unit_test(test_run__a_part__no_key_outside),
        cmocka_unit_test(test_run__time_is_up__what_was_reached_is_done),
        cmocka_unit_test(test_run__a_request_fails__its_status_and_a_key),
        cmocka_unit_test(test_run__the_link_breaks__ends_with_all_in_flight),
        cmocka_unit_test(test_new__server_refuses__its_error),
        cmocka_unit_test(test_verify__a_wrong_byte__key_and_byte_named),
        cmocka_unit_test(test_verify__a_get_that_writes_nothing__found),
        cmocka_unit_test(test_run__a_value_is_shorter__found),
        cmocka_unit_test(test_run__a_key_is_missing__exists_match_and_get_say_so),
        cmocka_unit_test(test_verify__a_sample__one_of_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

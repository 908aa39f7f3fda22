/* src/tools/bench_measure: rounds over servers in memory; both sides do the same, and every version of every
 * value is accounted for. */
#include "tests/bench_fake.h"

#include "tools/bench_measure.h"

#define COUNT 500u
#define VALUE_BYTES 100u

static const struct ist_bench_shape shape = {.clients = 2, .depth = 4, .batch = 1};

struct fixture {
    struct fake_server *servers[2];
    char endpoints[2][32];
    struct ist_bench_options options;
    struct ist_bench_report report;
    struct ist_bench_memory memory;
    struct ist_bench_set set;
    struct ist_bench_measure measure;
    struct ist_bench_result result;
    char error[IST_BENCH_ERROR_MAX];
};

static void set_up(struct fixture *fixture, size_t sides, uint64_t count) {
    *fixture = (struct fixture){
        .options = {.count = count, .duration_ns = 20000000, .timeout_ns = IST_NS_PER_SEC}};
    ist_bench_report_init(&fixture->report, stdout, NULL, &fixture->options);
    assert_int_equal(ist_bench_memory_init(&fixture->memory, COUNT * ist_bench_stride(VALUE_BYTES)),
                     IST_OK);
    assert_int_equal(ist_bench_set_init(&fixture->set, &fixture->memory, 1, VALUE_BYTES, 64, COUNT),
                     IST_OK);
    ist_bench_set_fill(&fixture->set, 0, COUNT, fixture->set.version);
    fixture->measure = (struct ist_bench_measure){.options = &fixture->options,
                                                  .report = &fixture->report,
                                                  .side_count = sides,
                                                  .memory = &fixture->memory,
                                                  .set = &fixture->set,
                                                  .shape = shape};
    for (size_t i = 0; i < sides; i++) {
        fixture->servers[i] = fake_new();
        fixture->measure.sides[i] = (struct ist_bench_side){
            &fake_peer, fake_endpoint(fixture->servers[i], fixture->endpoints[i])};
    }
    for (size_t i = 0; i < sides; i++) {
        assert_int_equal(ist_bench_store_all(&fixture->measure, i, fixture->error), IST_OK);
    }
}

static void tear_down(struct fixture *fixture) {
    for (size_t i = 0; i < fixture->measure.side_count; i++) {
        fake_free(fixture->servers[i]);
    }
    ist_bench_set_fini(&fixture->set);
    ist_bench_memory_fini(&fixture->memory);
    ist_bench_report_fini(&fixture->report);
}

static enum ist_status measure(struct fixture *fixture, enum ist_bench_op op) {
    fixture->measure.op = op;
    return ist_bench_measure(&fixture->measure, &fixture->result, fixture->error);
}

static void test_measure__a_count__so_many_on_each_side(void **state) {
    (void)state;
    const uint64_t counts[] = {1, 7, COUNT, 3 * COUNT + 11};
    for (size_t i = 0; i < 4; i++) {
        struct fixture fixture;
        set_up(&fixture, 2, counts[i]);
        assert_int_equal(measure(&fixture, IST_BENCH_GET), IST_OK);
        assert_int_equal(fixture.result.ours.requests, counts[i]);
        assert_int_equal(fixture.result.rival.requests, counts[i]);
        assert_int_equal(fixture.result.ours.bytes, counts[i] * VALUE_BYTES);
        assert_true(fixture.result.of_rival > 0);
        assert_int_equal(fixture.result.values, fixture.result.verified);
        assert_true(fixture.result.values >= 2 * counts[i]);
        for (size_t key = 0; key < COUNT; key++) {
            assert_int_equal(fixture.servers[0]->gets[key], fixture.servers[1]->gets[key]);
        }
        tear_down(&fixture);
    }
}

/* The first round ends when its time is up; then, too, both sides must have got the same keys. */
static void test_measure__slow_servers__the_same_keys_on_each_side(void **state) {
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 2, COUNT / 2);
    fixture.servers[0]->busy_ns = 1000000;
    assert_int_equal(measure(&fixture, IST_BENCH_GET), IST_OK);
    size_t got = 0;
    for (size_t key = 0; key < COUNT; key++) {
        assert_int_equal(fixture.servers[0]->gets[key], fixture.servers[1]->gets[key]);
        got += fixture.servers[0]->gets[key];
    }
    assert_true(got < COUNT); /* else it was not slow enough to show anything */
    tear_down(&fixture);
}

static void test_measure__a_duration__no_shorter(void **state) {
    (void)state;
    const enum ist_bench_op ops[] = {IST_BENCH_PUT, IST_BENCH_GET, IST_BENCH_EXISTS};
    for (size_t i = 0; i < 3; i++) {
        struct fixture fixture;
        set_up(&fixture, 1, 0);
        assert_int_equal(measure(&fixture, ops[i]), IST_OK);
        assert_true(fixture.result.ours.elapsed_ns >= fixture.options.duration_ns);
        assert_true(fixture.result.rounds >= 1);
        assert_int_equal(fixture.result.rival.requests, 0);
        assert_true(fixture.result.of_rival == 0);
        tear_down(&fixture);
    }
}

/* Puts that end in the middle of a pass leave two versions behind; the next ones go on from there. */
static void test_measure__puts_that_end_anywhere__every_version_known(void **state) {
    (void)state;
    const uint64_t counts[] = {COUNT + COUNT / 2, 1, COUNT, 13, COUNT - 1, 2 * COUNT};
    struct fixture fixture;
    set_up(&fixture, 2, 1);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        fixture.options.count = counts[i];
        assert_int_equal(measure(&fixture, IST_BENCH_PUT), IST_OK);
        assert_int_equal(fixture.result.read_back, 2 * COUNT);
        fixture.options.count = COUNT;
        assert_int_equal(measure(&fixture, IST_BENCH_GET), IST_OK);
    }
    tear_down(&fixture);
}

static void test_measure__match__its_batches(void **state) {
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 1, 20);
    fixture.measure.shape = (struct ist_bench_shape){.clients = 1, .depth = 1, .batch = 300};
    assert_int_equal(measure(&fixture, IST_BENCH_MATCH), IST_OK);
    assert_int_equal(fixture.result.ours.requests, 20);
    assert_int_equal(fixture.result.value_bytes, 0);
    tear_down(&fixture);
}

static void test_measure__put_that_is_forgotten__found_when_read_back(void **state) {
    (void)state;
    struct fixture fixture;
    for (size_t side = 0; side < 2; side++) {
        set_up(&fixture, 2, COUNT);
        fixture.servers[side]->forgets = true;
        fixture.servers[side]->wrong_key = 123;
        assert_int_equal(measure(&fixture, IST_BENCH_PUT), IST_PROTOCOL);
        assert_non_null(strstr(fixture.error, "0000123: byte 0 of 100 is wrong"));
        tear_down(&fixture);
    }
}

static void test_measure__wrong_byte_on_either_side__found(void **state) {
    (void)state;
    struct fixture fixture;
    for (size_t side = 0; side < 2; side++) {
        set_up(&fixture, 2, COUNT);
        fixture.servers[side]->wrong_byte = 50;
        fixture.servers[side]->wrong_key = 160; /* in the sample of one of 16, too */
        assert_int_equal(measure(&fixture, IST_BENCH_GET), IST_PROTOCOL);
        fixture.options.verify = IST_BENCH_VERIFY_SAMPLE;
        assert_int_equal(measure(&fixture, IST_BENCH_GET), IST_PROTOCOL);
        fixture.options.verify = IST_BENCH_VERIFY_NONE;
        assert_int_equal(measure(&fixture, IST_BENCH_GET), IST_OK);
        assert_int_equal(fixture.result.verified, 0);
        tear_down(&fixture);
    }
}

static void test_measure__any_request_fails__told(void **state) {
    (void)state;
    const enum ist_bench_op ops[] = {IST_BENCH_PUT, IST_BENCH_GET, IST_BENCH_EXISTS};
    for (size_t i = 0; i < 3; i++) {
        for (uint64_t at = 1; at <= COUNT; at += 97) {
            struct fixture fixture;
            set_up(&fixture, 1, COUNT);
            fixture.servers[0]->requests = 0;
            fixture.servers[0]->fail_at = at;
            fixture.servers[0]->fail_status = IST_TIMEOUT;
            assert_int_equal(measure(&fixture, ops[i]), IST_TIMEOUT);
            assert_non_null(strstr(fixture.error, "TIMEOUT"));
            tear_down(&fixture);
        }
    }
}

static void test_measure__the_raw_line_and_memcpy__same_bytes_by_turns(void **state) {
    (void)state;
    struct fixture fixture;
    const struct ist_bench_list anywhere = {.count = 0};
    const enum ist_bench_op ops[] = {IST_BENCH_PUT, IST_BENCH_GET, IST_BENCH_EXISTS};
    struct ist_bench_raw *raw = NULL;
    assert_int_equal(
        ist_bench_raw_new(true, COUNT * 128, &anywhere, &raw, (char[IST_BENCH_ERROR_MAX]){""}), IST_OK);
    for (size_t i = 0; i < 3; i++) {
        set_up(&fixture, 1, 4 * COUNT);
        fixture.measure.raw = raw;
        assert_int_equal(measure(&fixture, ops[i]), IST_OK);
        if (ops[i] == IST_BENCH_EXISTS) {
            assert_int_equal(fixture.result.raw.requests, 4 * COUNT);
            assert_int_equal(fixture.result.copy.requests, 0);
            assert_true(fixture.result.raw.p50_ns > 0);
        } else {
            assert_int_equal(fixture.result.raw.bytes, fixture.result.ours.bytes);
            assert_true(fixture.result.copy.bytes > 0 && fixture.result.of_copy > 0);
        }
        assert_true(fixture.result.of_raw > 0);
        tear_down(&fixture);
    }
    ist_bench_raw_free(raw);
}

/* What memcpy leaves in the sink are the very bytes that a get should bring. */
static void test_measure__a_get_that_writes_nothing_after_memcpy__found(void **state) {
    (void)state;
    struct fixture fixture;
    const struct ist_bench_list anywhere = {.count = 0};
    struct ist_bench_raw *raw = NULL;
    char error[IST_BENCH_ERROR_MAX];
    assert_int_equal(ist_bench_raw_new(true, COUNT * 128, &anywhere, &raw, error), IST_OK);
    set_up(&fixture, 1, 8 * COUNT);
    fixture.measure.raw = raw;
    fixture.servers[0]->lazy = true;
    fixture.servers[0]->lazy_after = 3;
    fixture.servers[0]->wrong_key = COUNT / 2;
    assert_int_equal(measure(&fixture, IST_BENCH_GET), IST_PROTOCOL);
    tear_down(&fixture);
    ist_bench_raw_free(raw);
}

static void test_remove_all__nothing_left(void **state) {
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 1, 1);
    assert_int_equal(ist_bench_remove_all(&fixture.measure, 0, fixture.error), IST_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_null(fixture.servers[0]->values[i]);
    }
    tear_down(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure__a_count__so_many_on_each_side),
        cmocka_unit_test(test_measure__slow_servers__the_same_keys_on_each_side),
        cmocka_unit_test(test_measure__a_duration__no_shorter),
        cmocka_unit_test(test_measure__puts_that_end_anywhere__every_version_known),
        cmocka_unit_test(test_measure__match__its_batches),
        cmocka_unit_test(test_measure__put_that_is_forgotten__found_when_read_back),
        cmocka_unit_test(test_measure__wrong_byte_on_either_side__found),
        cmocka_unit_test(test_measure__any_request_fails__told),
        cmocka_unit_test(test_measure__the_raw_line_and_memcpy__same_bytes_by_turns),
        cmocka_unit_test(test_measure__a_get_that_writes_nothing_after_memcpy__found),
        cmocka_unit_test(test_remove_all__nothing_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

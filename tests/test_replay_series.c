/* src/tools/replay_series: a course of any length in a fixed number of points. */
#include "tests/support.h"

#include <stdlib.h>

#include "tools/replay_series.h"

static struct ist_replay_series *series_new(uint64_t interval_ns) {
    struct ist_replay_series *series = malloc(sizeof(*series));
    assert_non_null(series);
    ist_replay_series_init(series, interval_ns);
    return series;
}

/* Everything grows by 10 each nanosecond, so that each point tells when it was. */
static void add(struct ist_replay_series *series, uint64_t at_ns) {
    const struct ist_replay_point point = {.at_ns = at_ns,
                                           .requests = 10 * at_ns,
                                           .blocks = 10 * at_ns,
                                           .hit_blocks = 10 * at_ns,
                                           .unlimited_blocks = 10 * at_ns,
                                           .put_bytes = 10 * at_ns,
                                           .get_bytes = 10 * at_ns,
                                           .evicted_entries = 10 * at_ns};
    ist_replay_series_add(series, &point);
}

static void assert_shape(const struct ist_replay_series *series, uint64_t newest_ns) {
    assert_true(series->count >= 1 && series->count <= IST_REPLAY_POINTS_MAX);
    assert_int_equal(series->points[0].at_ns, 0);
    assert_int_equal(series->points[series->count - 1].at_ns, newest_ns);
    for (size_t i = 1; i < series->count; i++) {
        assert_true(series->points[i].at_ns > series->points[i - 1].at_ns);
        assert_int_equal(series->points[i].requests, 10 * series->points[i].at_ns);
    }
}

static void test_add__few_points__all_of_them(void **state) {
    (void)state;
    struct ist_replay_series *series = series_new(100);
    assert_shape(series, 0);
    for (uint64_t i = 1; i <= 5; i++) {
        add(series, 100 * i);
        assert_int_equal(series->count, i + 1);
        assert_shape(series, 100 * i);
    }
    free(series);
}

static void test_add__closer_than_the_interval__the_newest_replaces(void **state) {
    (void)state;
    struct ist_replay_series *series = series_new(100);
    add(series, 30);
    add(series, 60);
    assert_int_equal(series->count, 2);
    assert_shape(series, 60);
    add(series, 120); /* the one before was not an interval behind the start */
    assert_int_equal(series->count, 2);
    add(series, 130);
    assert_int_equal(series->count, 3);
    assert_shape(series, 130);
    free(series);
}

static void test_add__for_ever__bounded_even_and_up_to_date(void **state) {
    (void)state;
    struct ist_replay_series *series = series_new(100);
    const uint64_t points = 50 * IST_REPLAY_POINTS_MAX;
    for (uint64_t i = 1; i <= points; i++) {
        add(series, 100 * i);
        assert_true(series->count <= IST_REPLAY_POINTS_MAX);
    }
    assert_shape(series, 100 * points);
    assert_true(series->count >= IST_REPLAY_POINTS_MAX / 2);
    assert_true(series->interval_ns >= 100 * points / IST_REPLAY_POINTS_MAX);
    for (size_t i = 1; i + 1 < series->count; i++) { /* the last may be on its way */
        uint64_t apart = series->points[i].at_ns - series->points[i - 1].at_ns;
        assert_true(apart >= series->interval_ns / 2 && apart <= 2 * series->interval_ns);
    }
    free(series);
}

static void test_at__any_time__between_its_neighbours(void **state) {
    (void)state;
    struct ist_replay_series *series = series_new(100);
    struct ist_replay_point point;
    ist_replay_series_at(series, 50, &point);
    assert_int_equal(point.requests, 0); /* there is only the start */
    add(series, 100);
    add(series, 300);
    static const uint64_t times[] = {0, 1, 50, 100, 150, 299, 300};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        ist_replay_series_at(series, times[i], &point);
        const uint64_t sums[] = {point.requests,       point.blocks,    point.hit_blocks,
                                 point.put_bytes,      point.get_bytes, point.unlimited_blocks,
                                 point.evicted_entries};
        for (size_t s = 0; s < sizeof(sums) / sizeof(sums[0]); s++) {
            assert_true(sums[s] + 1 >= 10 * times[i] && sums[s] <= 10 * times[i]); /* rounded down */
        }
    }
    ist_replay_series_at(series, 1000, &point);
    assert_int_equal(point.requests, 3000);
    free(series);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add__few_points__all_of_them),
        cmocka_unit_test(test_add__closer_than_the_interval__the_newest_replaces),
        cmocka_unit_test(test_add__for_ever__bounded_even_and_up_to_date),
        cmocka_unit_test(test_at__any_time__between_its_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

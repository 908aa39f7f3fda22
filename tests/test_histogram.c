/* src/tools/histogram: percentiles near those of the sorted values. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/histogram.h"

/* The bucket's width: a percentile may be this much too large, and never too small. */
#define ERROR_MAX (1.0 / (1u << IST_HISTOGRAM_BITS))

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The same by sorting: the naive twin. */
static uint64_t sorted_percentile(const uint64_t *sorted, size_t count, double share) {
    size_t rank = (size_t)ceil(share * (double)count);
    return sorted[rank == 0 ? 0 : rank - 1];
}

static void assert_near(const struct ist_histogram *histogram, const uint64_t *sorted, size_t count,
                        double share) {
    uint64_t truth = sorted_percentile(sorted, count, share);
    uint64_t got = ist_histogram_percentile(histogram, share);
    if (got < truth || (double)got > (double)truth * (1 + ERROR_MAX)) {
        fail_msg("%g of %zu: %llu, but it is %llu", share, count, (unsigned long long)got,
                 (unsigned long long)truth);
    }
}

static const double shares[] = {0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};

static void test_percentile__random_values__near_the_sorted_ones(void **state) {
    (void)state;
    static uint64_t values[5000];
    static struct ist_histogram histogram;
    uint64_t random = 1;
    for (size_t count = 1; count <= 5000; count = count * 3 / 2 + 1) {
        ist_histogram_init(&histogram);
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++) {
            /* Every magnitude is as likely as any other. */
            values[i] = random_next(&random) >> (22 + random_below(&random, 42));
            sum += values[i];
            ist_histogram_record(&histogram, values[i]);
        }
        qsort(values, count, sizeof values[0], by_value);
        assert_int_equal(histogram.count, count);
        assert_int_equal(histogram.sum, sum);
        assert_int_equal(histogram.min, values[0]);
        assert_int_equal(histogram.max, values[count - 1]);
        assert_true(ist_histogram_mean(&histogram) == (double)sum / (double)count);
        for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
            assert_near(&histogram, values, count, shares[i]);
        }
    }
}

static void test_percentile__small_values__exact(void **state) {
    (void)state;
    static struct ist_histogram histogram;
    ist_histogram_init(&histogram);
    for (uint64_t value = 0; value < 256; value++) {
        ist_histogram_record(&histogram, value);
    }
    for (uint64_t value = 0; value < 256; value++) {
        assert_int_equal(ist_histogram_percentile(&histogram, ((double)value + 1) / 256), value);
    }
}

/* Each value alone: its bucket must hold it, at both edges of every power of two. */
static void test_percentile__one_value__itself(void **state) {
    (void)state;
    static struct ist_histogram histogram;
    for (unsigned bits = 0; bits < 42; bits++) {
        for (int64_t off = -1; off <= 1; off++) {
            uint64_t value = (1ull << bits) + (uint64_t)off;
            ist_histogram_init(&histogram);
            ist_histogram_record(&histogram, value);
            assert_int_equal(ist_histogram_percentile(&histogram, 0), value);
            assert_int_equal(ist_histogram_percentile(&histogram, 1), value);
        }
    }
}

static void test_record__beyond_the_last_bucket__counts_as_the_greatest(void **state) {
    (void)state;
    static struct ist_histogram histogram;
    ist_histogram_init(&histogram);
    ist_histogram_record(&histogram, UINT64_MAX);
    ist_histogram_record(&histogram, IST_HISTOGRAM_MAX + 1);
    assert_int_equal(histogram.count, 2);
    assert_int_equal(histogram.max, IST_HISTOGRAM_MAX);
    assert_int_equal(histogram.buckets[IST_HISTOGRAM_BUCKETS - 1], 2);
    assert_int_equal(ist_histogram_percentile(&histogram, 0.5), IST_HISTOGRAM_MAX);
}

static void test_histogram__empty__all_zero(void **state) {
    (void)state;
    static struct ist_histogram histogram, other;
    ist_histogram_init(&histogram);
    ist_histogram_init(&other);
    ist_histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count + histogram.min + histogram.max, 0);
    assert_int_equal(ist_histogram_percentile(&histogram, 0.5), 0);
    assert_true(ist_histogram_mean(&histogram) == 0);
}

static void test_merge__two_halves__as_one(void **state) {
    (void)state;
    static struct ist_histogram halves[2], one;
    ist_histogram_init(&halves[0]);
    ist_histogram_init(&halves[1]);
    ist_histogram_init(&one);
    uint64_t random = 7;
    for (size_t i = 0; i < 1000; i++) {
        uint64_t value = 1 + random_below(&random, 1000000);
        ist_histogram_record(&halves[i % 2], value);
        ist_histogram_record(&one, value);
    }
    ist_histogram_merge(&halves[0], &halves[1]);
    assert_memory_equal(&halves[0], &one, sizeof one);
    /* Into an empty one: its minimum is not the 0 that stands there. */
    ist_histogram_init(&halves[1]);
    ist_histogram_merge(&halves[1], &one);
    assert_memory_equal(&halves[1], &one, sizeof one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentile__random_values__near_the_sorted_ones),
        cmocka_unit_test(test_percentile__small_values__exact),
        cmocka_unit_test(test_percentile__one_value__itself),
        cmocka_unit_test(test_record__beyond_the_last_bucket__counts_as_the_greatest),
        cmocka_unit_test(test_histogram__empty__all_zero),
        cmocka_unit_test(test_merge__two_halves__as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

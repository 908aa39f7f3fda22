#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"

#include "engine/stats.h"

static bool find(const struct ist_stats *stats, const char *name, double *value) {
    struct ist_stats_sample sample;
    for (size_t cursor = 0; ist_stats_next(stats, &cursor, &sample);) {
        if (strcmp(sample.name, name) == 0) {
            *value = sample.value;
            return true;
        }
    }
    return false;
}

static double value_of(const struct ist_stats *stats, const char *name) {
    double value = -1;
    if (!find(stats, name, &value)) {
        print_message("no %s\n", name);
    }
    return value;
}

static void test_status_index__each__its_own_and_in_bounds(void **state) {
    (void)state;
    size_t seen[IST_STATS_STATUS_COUNT] = {0};
    unsigned known = 0;
    for (unsigned status = 0; status < 100; status++) {
        size_t index = ist_stats_status_index((enum ist_status)status);
        assert_true(index < IST_STATS_STATUS_COUNT);
        if (strcmp(ist_status_name((enum ist_status)status), "UNKNOWN") != 0) {
            known++;
            assert_int_equal(seen[index]++, 0);
        }
    }
    assert_true(known >= 14);
}

static void test_observe__bounds__fall_into_the_lower_bucket(void **state) {
    (void)state;
    struct ist_stats_histogram histogram = {0};
    ist_stats_observe(&histogram, 0);
    ist_stats_observe(&histogram, 1000);
    ist_stats_observe(&histogram, 1001);
    ist_stats_observe(&histogram, IST_STATS_BUCKET_NS(IST_STATS_BUCKETS - 1));
    ist_stats_observe(&histogram, IST_STATS_BUCKET_NS(IST_STATS_BUCKETS - 1) + 1);
    ist_stats_observe(&histogram, 1ull << 50); /* beyond any bound */
    assert_int_equal(histogram.buckets[0], 2);
    assert_int_equal(histogram.buckets[1], 1);
    assert_int_equal(histogram.buckets[IST_STATS_BUCKETS - 1], 1);
    assert_int_equal(histogram.buckets[IST_STATS_BUCKETS], 2);
    assert_int_equal(histogram.count, 6);
    assert_int_equal(histogram.sum_ns,
                     2001 + 2 * IST_STATS_BUCKET_NS(IST_STATS_BUCKETS - 1) + 1 + (1ull << 50));
}

static void test_next__figures__under_their_names(void **state) {
    (void)state;
    struct ist_stats stats = {0};
    stats.requests[IST_OP_PUT][ist_stats_status_index(IST_NO_MEMORY)] = 3;
    stats.keys[IST_OP_GET][ist_stats_status_index(IST_OK)] = 10;
    stats.keys[IST_OP_GET][ist_stats_status_index(IST_TOO_SMALL)] = 2;
    stats.keys[IST_OP_GET][ist_stats_status_index(IST_NOT_FOUND)] = 5;
    stats.put_bytes = 1ull << 40;
    stats.free_bytes = 1;
    stats.reserved_bytes = 2;
    stats.committed_bytes = 3;
    stats.doomed_bytes = 4;
    stats.sessions = 6;
    stats.evicted_entries = 8;
    stats.keys_stored = 9;
    assert_true(value_of(&stats, "infinistore_operations_total{op=\"put\",status=\"NO_MEMORY\"}") == 3);
    assert_true(value_of(&stats, "infinistore_operations_total{op=\"put\",status=\"OK\"}") == 0);
    assert_true(value_of(&stats, "infinistore_keys_total{op=\"get\",status=\"NOT_FOUND\"}") == 5);
    assert_true(value_of(&stats, "infinistore_hits_total") == 12);
    assert_true(value_of(&stats, "infinistore_misses_total") == 5);
    assert_true(value_of(&stats, "infinistore_put_bytes_total") == 1099511627776.0);
    assert_true(value_of(&stats, "infinistore_pool_bytes{state=\"free\"}") == 1);
    assert_true(value_of(&stats, "infinistore_pool_bytes{state=\"reserved\"}") == 2);
    assert_true(value_of(&stats, "infinistore_pool_bytes{state=\"committed\"}") == 3);
    assert_true(value_of(&stats, "infinistore_pool_bytes{state=\"doomed\"}") == 4);
    assert_true(value_of(&stats, "infinistore_sessions{transport=\"tcp\"}") == 6);
    assert_true(value_of(&stats, "infinistore_evicted_entries_total") == 8);
    assert_true(value_of(&stats, "infinistore_keys_stored") == 9);
    double value;
    assert_false(find(&stats, "infinistore_operations_total{op=\"put\",status=\"NO_SPACE\"}", &value));
    assert_false(find(&stats, "infinistore_keys_total{op=\"ping\",status=\"OK\"}", &value));
    assert_false(find(&stats, "infinistore_operation_duration_seconds_count{op=\"ping\"}", &value));
}

/* What never happened is shown as 0 where it is an operation's good outcome; only PUT to PURGE have keys. */
static void test_next__nothing_happened__good_outcomes_are_shown(void **state) {
    (void)state;
    static const struct ist_stats stats;
    for (unsigned operation = IST_OP_HELLO; operation < IST_OPERATION_COUNT; operation++) {
        char name[100];
        double value = -1;
        const char *op = ist_operation_name((enum ist_operation)operation);
        bool has_keys = operation >= IST_OP_PUT && operation <= IST_OP_PURGE;
        snprintf(name, sizeof(name), "infinistore_keys_total{op=\"%s\",status=\"OK\"}", op);
        assert_int_equal(find(&stats, name, &value), has_keys);
        assert_true(!has_keys || value == 0);
        snprintf(name, sizeof(name), "infinistore_operations_total{op=\"%s\",status=\"OK\"}", op);
        assert_true(find(&stats, name, &value) && value == 0);
        snprintf(name, sizeof(name), "infinistore_operations_total{op=\"%s\",status=\"INVALID\"}", op);
        assert_false(find(&stats, name, &value));
        snprintf(name, sizeof(name), "infinistore_operation_duration_seconds_count{op=\"%s\"}", op);
        assert_int_equal(find(&stats, name, &value),
                         operation <= IST_OP_GET && operation >= IST_OP_PUT);
    }
}

static void test_next__histogram__cumulative_and_in_seconds(void **state) {
    (void)state;
    struct ist_stats stats = {0};
    ist_stats_observe(&stats.latency[IST_OP_PING], 900);
    ist_stats_observe(&stats.latency[IST_OP_PING], 1500);
    ist_stats_observe(&stats.latency[IST_OP_PING], 100 * 1000000000ull);
#define DURATION "infinistore_operation_duration_seconds"
    assert_true(value_of(&stats, DURATION "_bucket{op=\"ping\",le=\"1e-06\"}") == 1);
    assert_true(value_of(&stats, DURATION "_bucket{op=\"ping\",le=\"2e-06\"}") == 2);
    assert_true(value_of(&stats, DURATION "_bucket{op=\"ping\",le=\"8.38861\"}") == 2);
    assert_true(value_of(&stats, DURATION "_bucket{op=\"ping\",le=\"+Inf\"}") == 3);
    assert_true(value_of(&stats, DURATION "_count{op=\"ping\"}") == 3);
    double sum = value_of(&stats, DURATION "_sum{op=\"ping\"}");
    assert_true(sum > 100.0000023 && sum < 100.0000025);
}

/* The text format wants all samples of a family in one run, and no name twice. */
static void test_next__all_samples__families_in_one_run_and_names_once(void **state) {
    (void)state;
    static struct ist_stats stats;
    memset(&stats, 1, sizeof(stats));
    static char names[2000][160];
    static const char *families[100];
    size_t count = 0, family_count = 0;
    struct ist_stats_sample sample;
    for (size_t cursor = 0; ist_stats_next(&stats, &cursor, &sample);) {
        assert_true(strlen(sample.name) < sizeof(sample.name) - 1);
        assert_int_equal(strncmp(sample.name, sample.family, strlen(sample.family)), 0);
        assert_true(strlen(sample.help) > 0);
        if (family_count == 0 || strcmp(families[family_count - 1], sample.family) != 0) {
            for (size_t i = 0; i < family_count; i++) {
                assert_string_not_equal(families[i], sample.family);
            }
            families[family_count++] = sample.family;
        }
        size_t bytes = strlen(sample.family);
        bool is_total = strcmp(sample.family + bytes - 6, "_total") == 0;
        assert_int_equal(is_total, sample.kind == IST_METRIC_COUNTER);
        for (size_t i = 0; i < count; i++) {
            assert_string_not_equal(names[i], sample.name);
        }
        snprintf(names[count++], sizeof(names[0]), "%s", sample.name);
    }
    assert_true(count > 300 && family_count > 15);

    /* Nothing has happened yet: the same families. */
    memset(&stats, 0, sizeof(stats));
    size_t met = 0;
    const char *last = "";
    count = 0;
    for (size_t cursor = 0; ist_stats_next(&stats, &cursor, &sample);) {
        for (size_t i = 0; i < count; i++) {
            assert_string_not_equal(names[i], sample.name);
        }
        snprintf(names[count++], sizeof(names[0]), "%s", sample.name);
        if (strcmp(last, sample.family) != 0) {
            assert_string_equal(sample.family, families[met++]);
        }
        last = sample.family;
    }
    assert_int_equal(met, family_count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_index__each__its_own_and_in_bounds),
        cmocka_unit_test(test_observe__bounds__fall_into_the_lower_bucket),
        cmocka_unit_test(test_next__figures__under_their_names),
        cmocka_unit_test(test_next__histogram__cumulative_and_in_seconds),
        cmocka_unit_test(test_next__all_samples__families_in_one_run_and_names_once),
        cmocka_unit_test(test_next__nothing_happened__good_outcomes_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

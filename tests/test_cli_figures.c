/* src/tools/cli_figures: from the metrics of a reply to figures, and what grew between two replies. The metrics are
 * the engine's own, so that a name that changes there fails here. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/stats.h"
#include "tools/cli_figures.h"

#define METRICS_MAX 1024

struct reply {
    struct ist_metric items[METRICS_MAX];
    char names[METRICS_MAX][160];
    struct ist_metrics metrics;
};

static void reply_of(const struct ist_stats *stats, struct reply *reply) {
    struct ist_stats_sample sample;
    size_t cursor = 0, count = 0;
    while (ist_stats_next(stats, &cursor, &sample)) {
        assert_true(count < METRICS_MAX);
        strcpy(reply->names[count], sample.name);
        reply->items[count] = (struct ist_metric){.name = reply->names[count], .value = sample.value};
        count++;
    }
    reply->metrics = (struct ist_metrics){.count = count, .items = reply->items};
}

static void read_stats(const struct ist_stats *stats, struct ist_cli_figures *figures) {
    static struct reply reply;
    reply_of(stats, &reply);
    ist_cli_figures_read(&reply.metrics, figures);
}

static void count_requests(struct ist_stats *stats, enum ist_operation operation,
                           enum ist_status status, uint64_t count) {
    stats->requests[operation][ist_stats_status_index(status)] += count;
}

static void count_keys(struct ist_stats *stats, enum ist_operation operation, enum ist_status status,
                       uint64_t count) {
    stats->keys[operation][ist_stats_status_index(status)] += count;
}

/* ---- labels ------------------------------------------------------------------------------------------- */

static void test_label__any_place__its_value(void **state) {
    (void)state;
    char value[8] = "";
    assert_true(ist_cli_metric_label("x{op=\"put\",status=\"OK\"}", "op", value, sizeof(value)));
    assert_string_equal(value, "put");
    assert_true(ist_cli_metric_label("x{op=\"put\",status=\"OK\"}", "status", value, sizeof(value)));
    assert_string_equal(value, "OK");
    assert_true(ist_cli_metric_label("x{op=\"\"}", "op", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_true(ist_cli_metric_label("x{op=\"1234567\"}", "op", value, sizeof(value)));
}

static void test_label__missing_or_broken_or_too_long__false(void **state) {
    (void)state;
    static const char *const names[] = {
        "x",
        "x{",
        "x{}",
        "x{status=\"op\"}",
        "x{opp=\"put\"}",
        "x{o=\"put\"}",
        "x{op",
        "x{op=",
        "x{op=put}",
        "x{op=\"put",
        "x{op=\"12345678\"}",
        "",
        "op=\"1\"",
        "x{,op=\"",
        "x{a=\"b\",op}",
        "x{a=\"b\",op=\"c}",
    };
    char value[8] = "kept";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (ist_cli_metric_label(names[i], "op", value, sizeof(value))) {
            fail_msg("%s has op=%s", names[i], value);
        }
    }
    assert_string_equal(value, "kept");
}

/* ---- figures ------------------------------------------------------------------------------------------ */

/* Every figure gets a number of its own, so that one that is read from the wrong name shows. */
static void test_read__every_single_figure__from_its_name(void **state) {
    (void)state;
    struct ist_stats stats = {
        .put_bytes = 101,
        .get_bytes = 102,
        .received_bytes = 103,
        .sent_bytes = 104,
        .evicted_entries = 105,
        .evicted_bytes = 106,
        .sessions_opened = 107,
        .sessions_refused = 108,
        .sessions_ended_peer = 109,
        .sessions_ended_protocol = 110,
        .sessions_ended_timeout = 111,
        .sessions = 112,
        .requests_in_flight = 113,
        .pool_bytes = 114,
        .pool_bytes_max = 115,
        .free_bytes = 116,
        .reserved_bytes = 117,
        .committed_bytes = 118,
        .doomed_bytes = 119,
        .largest_free_bytes = 120,
        .value_bytes = 121,
        .keys_stored = 122,
        .pinned_entries = 123,
        .metadata_bytes = 124,
    };
    count_keys(&stats, IST_OP_GET, IST_OK, 7);
    count_keys(&stats, IST_OP_GET, IST_TOO_SMALL, 1);
    count_keys(&stats, IST_OP_GET, IST_NOT_FOUND, 2);
    struct ist_cli_figures figures;
    read_stats(&stats, &figures);
    const struct {
        double is, must;
    } all[] = {
        {figures.put_bytes, 101},
        {figures.get_bytes, 102},
        {figures.received_bytes, 103},
        {figures.sent_bytes, 104},
        {figures.evicted_entries, 105},
        {figures.evicted_bytes, 106},
        {figures.sessions_opened, 107},
        {figures.sessions_refused, 108},
        {figures.sessions_ended_peer, 109},
        {figures.sessions_ended_protocol, 110},
        {figures.sessions_ended_timeout, 111},
        {figures.sessions, 112},
        {figures.requests_in_flight, 113},
        {figures.pool_size_bytes, 114},
        {figures.pool_limit_bytes, 115},
        {figures.free_bytes, 116},
        {figures.reserved_bytes, 117},
        {figures.committed_bytes, 118},
        {figures.doomed_bytes, 119},
        {figures.largest_free_bytes, 120},
        {figures.value_bytes, 121},
        {figures.keys_stored, 122},
        {figures.pinned_entries, 123},
        {figures.metadata_bytes, 124},
        {figures.hits, 8},
        {figures.misses, 2},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].is != all[i].must) {
            fail_msg("figure %zu is %g, not %g", i, all[i].is, all[i].must);
        }
    }
}

static void test_read__requests_by_status__failures_are_no_answers(void **state) {
    (void)state;
    struct ist_stats stats = {0};
    count_requests(&stats, IST_OP_PUT, IST_OK, 10);
    count_requests(&stats, IST_OP_PUT, IST_EXISTS, 5);
    count_requests(&stats, IST_OP_PUT, IST_NO_SPACE, 2);
    count_requests(&stats, IST_OP_PUT, IST_TIMEOUT, 1);
    count_requests(&stats, IST_OP_GET, IST_NOT_FOUND, 3);
    count_requests(&stats, IST_OP_GET, IST_TOO_SMALL, 4);
    count_requests(&stats, IST_OP_MATCH_PREFIX, IST_OK, 6);
    count_requests(&stats, IST_OP_MATCH_LAST, IST_OK, 7);
    count_requests(&stats, IST_OP_STAT, IST_OK, 8);
    count_requests(&stats, IST_OP_PING, IST_OK, 9);
    count_keys(&stats, IST_OP_PUT, IST_OK, 100);
    count_keys(&stats, IST_OP_PUT, IST_EXISTS, 11);
    struct ist_cli_figures figures;
    read_stats(&stats, &figures);
    assert_true(figures.kinds[IST_CLI_KIND_PUT].requests == 18);
    assert_true(figures.kinds[IST_CLI_KIND_PUT].failed == 3);
    assert_true(figures.kinds[IST_CLI_KIND_PUT].keys == 111);
    assert_true(figures.kinds[IST_CLI_KIND_GET].requests == 7);
    assert_true(figures.kinds[IST_CLI_KIND_GET].failed == 0);
    assert_true(figures.kinds[IST_CLI_KIND_MATCH].requests == 13);
    assert_true(figures.kinds[IST_CLI_KIND_OTHER].requests == 17);
}

static void test_read__histograms__buckets_of_one_kind_are_added(void **state) {
    (void)state;
    struct ist_stats stats = {0};
    for (size_t i = 0; i < 30; i++) {
        ist_stats_observe(&stats.latency[IST_OP_MATCH_PREFIX], 1500); /* the bucket up to 2 us */
    }
    for (size_t i = 0; i < 10; i++) {
        ist_stats_observe(&stats.latency[IST_OP_MATCH_LAST], 100ull * IST_NS_PER_SEC); /* beyond all */
    }
    struct ist_cli_figures figures;
    read_stats(&stats, &figures);
    const struct ist_cli_histogram *histogram = &figures.kinds[IST_CLI_KIND_MATCH].latency;
    assert_int_equal(histogram->buckets, IST_STATS_BUCKETS + 1);
    assert_true(histogram->count == 40);
    assert_true(histogram->up_to[0] == 0 && histogram->up_to[1] == 30);
    assert_true(fabs(histogram->upper_s[1] - 2e-6) < 1e-12);
    assert_true(isinf(histogram->upper_s[IST_STATS_BUCKETS]));
    assert_true(histogram->up_to[IST_STATS_BUCKETS] == 40);
    assert_true(figures.kinds[IST_CLI_KIND_PUT].latency.count == 0);
}

static void test_read__names_that_nobody_knows__ignored(void **state) {
    (void)state;
    struct ist_metric items[] = {{"infinistore_hits_total_more", 1},
                                 {"infinistore_hits", 1},
                                 {"", 1},
                                 {"infinistore_operations_total", 1},
                                 {"infinistore_operations_total{op=\"new\",status=\"OK\"}", 5},
                                 {"infinistore_pool_bytes{state=\"new\"}", 1},
                                 {"infinistore_pool_bytes", 1},
                                 {"infinistore_sessions{transport=\"tcp\"}", 2},
                                 {"infinistore_sessions{transport=\"rdma\"}", 3}};
    struct ist_cli_figures figures;
    ist_cli_figures_read(
        &(struct ist_metrics){.count = sizeof(items) / sizeof(items[0]), .items = items}, &figures);
    assert_true(figures.hits == 0);
    assert_true(figures.kinds[IST_CLI_KIND_OTHER].requests == 5);
    assert_true(figures.free_bytes == 0 && figures.committed_bytes == 0);
    assert_true(figures.sessions == 5);
}

/* A server with more buckets than we have room for. */
static void test_read__too_many_buckets__cut(void **state) {
    (void)state;
    struct ist_metric items[3 * IST_CLI_BUCKETS_MAX];
    static char names[3 * IST_CLI_BUCKETS_MAX][96];
    for (size_t i = 0; i < 3 * IST_CLI_BUCKETS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]),
                 "infinistore_operation_duration_seconds_bucket{op=\"get\",le=\"%zu\"}", i);
        items[i] = (struct ist_metric){names[i], (double)i};
    }
    struct ist_cli_figures figures;
    ist_cli_figures_read(&(struct ist_metrics){.count = 3 * IST_CLI_BUCKETS_MAX, .items = items},
                         &figures);
    assert_int_equal(figures.kinds[IST_CLI_KIND_GET].latency.buckets, IST_CLI_BUCKETS_MAX);
}

/* ---- growth ------------------------------------------------------------------------------------------- */

static void test_since__two_replies__counters_grow_and_gauges_are(void **state) {
    (void)state;
    struct ist_stats stats = {.put_bytes = 1000, .sessions = 5};
    struct ist_cli_figures before, now, growth;
    count_requests(&stats, IST_OP_GET, IST_OK, 10);
    ist_stats_observe(&stats.latency[IST_OP_GET], 1500);
    read_stats(&stats, &before);
    stats.put_bytes = 1500;
    stats.sessions = 3;
    count_requests(&stats, IST_OP_GET, IST_OK, 4);
    count_requests(&stats, IST_OP_GET, IST_NO_MEMORY, 1);
    ist_stats_observe(&stats.latency[IST_OP_GET], 1000000);
    read_stats(&stats, &now);
    ist_cli_figures_since(&now, &before, &growth);
    assert_true(growth.put_bytes == 500);
    assert_true(growth.sessions == 3);
    assert_true(growth.kinds[IST_CLI_KIND_GET].requests == 5);
    assert_true(growth.kinds[IST_CLI_KIND_GET].failed == 1);
    const struct ist_cli_histogram *histogram = &growth.kinds[IST_CLI_KIND_GET].latency;
    assert_true(histogram->count == 1 && histogram->up_to[1] == 0 && histogram->up_to[10] == 1);
    /* into one of its arguments: the same */
    ist_cli_figures_since(&now, &before, &now);
    assert_memory_equal(&now, &growth, sizeof(now));
}

static void test_since__a_new_server__from_zero(void **state) {
    (void)state;
    struct ist_stats old = {.put_bytes = 1000}, new = {.put_bytes = 10};
    struct ist_cli_figures before, now, growth;
    for (size_t i = 0; i < 3; i++) {
        ist_stats_observe(&old.latency[IST_OP_GET], 1500);
    }
    /* as many, but slower: no bucket may become negative */
    for (size_t i = 0; i < 3; i++) {
        ist_stats_observe(&new.latency[IST_OP_GET], 1000000);
    }
    read_stats(&old, &before);
    read_stats(&new, &now);
    ist_cli_figures_since(&now, &before, &growth);
    assert_true(growth.put_bytes == 10);
    assert_true(growth.kinds[IST_CLI_KIND_GET].latency.count == 3);
    assert_true(growth.kinds[IST_CLI_KIND_GET].latency.up_to[10] == 3);
    /* and when it has none of that operation yet */
    read_stats(&(struct ist_stats){0}, &now);
    ist_cli_figures_since(&now, &before, &growth);
    assert_true(growth.kinds[IST_CLI_KIND_GET].latency.count == 0);
}

/* ---- quantiles ---------------------------------------------------------------------------------------- */

static void test_quantile__within_a_bucket__interpolated(void **state) {
    (void)state;
    const struct ist_cli_histogram histogram = {
        .buckets = 4, .upper_s = {1, 2, 4, INFINITY}, .up_to = {0, 50, 90, 100}, .count = 100};
    assert_true(fabs(ist_cli_histogram_quantile_s(&histogram, 0.25) - 1.5) < 1e-9);
    assert_true(fabs(ist_cli_histogram_quantile_s(&histogram, 0.5) - 2) < 1e-9);
    assert_true(fabs(ist_cli_histogram_quantile_s(&histogram, 0.7) - 3) < 1e-9);
    assert_true(fabs(ist_cli_histogram_quantile_s(&histogram, 0.9) - 4) < 1e-9);
    /* beyond the last bound: that is all one knows */
    assert_true(ist_cli_histogram_quantile_s(&histogram, 0.99) == 4);
}

static void test_quantile__nothing_counted__not_a_number(void **state) {
    (void)state;
    assert_true(isnan(ist_cli_histogram_quantile_s(&(struct ist_cli_histogram){0}, 0.5)));
    const struct ist_cli_histogram one = {.buckets = 1, .upper_s = {1}, .up_to = {1}, .count = 1};
    assert_true(ist_cli_histogram_quantile_s(&one, 1) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_label__any_place__its_value),
        cmocka_unit_test(test_label__missing_or_broken_or_too_long__false),
        cmocka_unit_test(test_read__every_single_figure__from_its_name),
        cmocka_unit_test(test_read__requests_by_status__failures_are_no_answers),
        cmocka_unit_test(test_read__histograms__buckets_of_one_kind_are_added),
        cmocka_unit_test(test_read__names_that_nobody_knows__ignored),
        cmocka_unit_test(test_read__too_many_buckets__cut),
        cmocka_unit_test(test_since__two_replies__counters_grow_and_gauges_are),
        cmocka_unit_test(test_since__a_new_server__from_zero),
        cmocka_unit_test(test_quantile__within_a_bucket__interpolated),
        cmocka_unit_test(test_quantile__nothing_counted__not_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/daemon/pages: Prometheus' text and JSON, from figures alone. What is expected is read back by parsers of the
 * test's own. */
#include "tests/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "daemon/pages.h"

static const struct ist_page_facts facts = {
    .version = "1.2.3", .started_at_sec = 1700000000, .uptime_sec = 77};

/* Every figure another number, so that a mix-up shows. */
static void fill(struct ist_stats *stats) {
    memset(stats, 0, sizeof(*stats));
    uint64_t n = 1;
    for (size_t operation = IST_OP_HELLO; operation < IST_OPERATION_COUNT; operation++) {
        for (size_t status = 0; status < IST_STATS_STATUS_COUNT; status++) {
            stats->requests[operation][status] = n++;
            stats->keys[operation][status] = n++;
        }
        ist_stats_observe(&stats->latency[operation], 1000 * n);
        ist_stats_observe(&stats->latency[operation], 10000000000ull);
    }
    for (uint64_t *at = &stats->put_bytes; (void *)at < (void *)(stats + 1); at++) {
        *at = (1ull << 40) + n++;
    }
}

/* ---- metrics ------------------------------------------------------------------------------------- */

static size_t count_of(const char *text, const char *part) {
    size_t count = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

static void test_metrics__every_sample__there_once_with_its_value(void **state) {
    (void)state;
    struct ist_stats stats;
    fill(&stats);
    char *page = ist_page_metrics(ist_alloc_system(), &stats, &facts);
    assert_non_null(page);
    struct ist_stats_sample sample;
    size_t samples = 0;
    for (size_t cursor = 0; ist_stats_next(&stats, &cursor, &sample); samples++) {
        char start[200];
        snprintf(start, sizeof(start), "\n%s ", sample.name);
        assert_int_equal(count_of(page, start), 1);
        assert_true(strtod(strstr(page, start) + strlen(start), NULL) == sample.value);
    }
    assert_true(samples > 100);
    assert_non_null(strstr(page, "\ninfinistore_build_info{version=\"1.2.3\"} 1\n"));
    assert_non_null(strstr(page, "\nprocess_start_time_seconds 1700000000\n"));
    assert_int_equal(count_of(page, "\n"),
                     samples + 2 + count_of(page, "# HELP ") + count_of(page, "# TYPE "));
    assert_string_equal(page + strlen(page) - 1, "\n");
    ist_release(ist_alloc_system(), page);
}

/* One HELP and one TYPE for each family, before its samples, which follow each other. */
static void test_metrics__each_family__one_help_and_type_before_its_samples(void **state) {
    (void)state;
    struct ist_stats stats;
    fill(&stats);
    char *page = ist_page_metrics(ist_alloc_system(), &stats, &facts), *rest = NULL;
    assert_non_null(page);
    char *seen = calloc(1, strlen(page) + 1), family[100] = "", kind[20] = "";
    assert_non_null(seen);
    for (char *line = strtok_r(page, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %99s", family), 1);
            assert_true(strlen(line) > 7 + strlen(family) + 1);
            strcat(strcat(seen, " "), family);
            strcat(seen, " ");
            char once[110];
            snprintf(once, sizeof(once), " %s ", family);
            assert_int_equal(count_of(seen, once), 1);
            line = strtok_r(NULL, "\n", &rest);
            char typed[100];
            assert_int_equal(sscanf(line, "# TYPE %99s %19s", typed, kind), 2);
            assert_string_equal(typed, family);
        } else {
            size_t bytes = strlen(family);
            assert_int_equal(strncmp(line, family, bytes), 0);
            bool histogram = strcmp(kind, "histogram") == 0;
            assert_true(histogram ? line[bytes] == '_' : line[bytes] == ' ' || line[bytes] == '{');
        }
    }
    free(seen);
    ist_release(ist_alloc_system(), page);
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static json_t *parse(const char *page) {
    json_error_t error;
    json_t *json = json_loads(page, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fail_msg("%s at %d of %s", error.text, error.position, page);
    }
    return json;
}

static double at(const json_t *json, const char *a, const char *b, const char *c, const char *d) {
    const char *const path[] = {a, b, c, d};
    for (size_t i = 0; i < 4 && path[i] != NULL; i++) {
        json = json_object_get(json, path[i]);
    }
    assert_true(json_is_number(json));
    return json_number_value(json);
}

/* Numbers and strings in the text of an object without arrays: each follows a colon that no brace follows. */
static size_t leaves(const char *page) {
    return count_of(page, "\":") - count_of(page, "\":{");
}

static void test_stats__every_sample__in_its_place(void **state) {
    (void)state;
    struct ist_stats stats;
    fill(&stats);
    char *page = ist_page_stats(ist_alloc_system(), &stats, &facts);
    assert_non_null(page);
    json_t *json = parse(page);
    assert_string_equal(json_string_value(json_object_get(json, "version")), "1.2.3");
    assert_true(at(json, "uptime_seconds", NULL, NULL, NULL) == 77);
    assert_true(at(json, "put_bytes_total", NULL, NULL, NULL) == (double)stats.put_bytes);
    assert_true(at(json, "pool_bytes", "free", NULL, NULL) == (double)stats.free_bytes);
    assert_true(at(json, "pool_bytes", "doomed", NULL, NULL) == (double)stats.doomed_bytes);
    assert_true(at(json, "sessions_ended_total", "timeout", NULL, NULL) ==
                (double)stats.sessions_ended_timeout);
    size_t missing = ist_stats_status_index(IST_NOT_FOUND);
    assert_true(at(json, "operations_total", "put", "OK", NULL) ==
                (double)stats.requests[IST_OP_PUT][0]);
    assert_true(at(json, "keys_total", "get", "NOT_FOUND", NULL) ==
                (double)stats.keys[IST_OP_GET][missing]);
    assert_true(at(json, "operation_duration_seconds", "get", "count", NULL) == 2);
    assert_true(at(json, "operation_duration_seconds", "get", "bucket", "+Inf") == 2);
    assert_true(at(json, "operation_duration_seconds", "ping", "bucket", "1e-06") == 0);
    double sum = at(json, "operation_duration_seconds", "get", "sum", NULL);
    assert_true(sum > 10 && sum < 10.01);
    struct ist_stats_sample sample;
    size_t samples = 0;
    for (size_t cursor = 0; ist_stats_next(&stats, &cursor, &sample);) {
        samples++;
    }
    assert_int_equal(leaves(page), samples + 2);
    json_decref(json);
    ist_release(ist_alloc_system(), page);
}

static void test_stats__nothing_happened_yet__valid(void **state) {
    (void)state;
    struct ist_stats stats = {0};
    char *page = ist_page_stats(ist_alloc_system(), &stats, &facts);
    assert_non_null(page);
    json_t *json = parse(page);
    assert_true(at(json, "hits_total", NULL, NULL, NULL) == 0);
    json_decref(json);
    ist_release(ist_alloc_system(), page);
}

/* ---- memory --------------------------------------------------------------------------------------- */

static void test_pages__nth_allocation_fails__null_and_nothing_leaked(void **state) {
    (void)state;
    struct ist_stats stats;
    fill(&stats);
    char *(*const pages[])(const struct ist_alloc *, const struct ist_stats *,
                           const struct ist_page_facts *) = {ist_page_metrics, ist_page_stats};
    for (size_t i = 0; i < 2; i++) {
        char *page = NULL;
        uint64_t n = 0;
        while (page == NULL) {
            struct failing_alloc failing;
            failing_alloc_init(&failing, ++n);
            page = pages[i](&failing.alloc, &stats, &facts);
            assert_int_equal(failing.live, page == NULL ? 0 : 1);
        }
        assert_true(n > 2);
        free(page);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics__every_sample__there_once_with_its_value),
        cmocka_unit_test(test_metrics__each_family__one_help_and_type_before_its_samples),
        cmocka_unit_test(test_stats__every_sample__in_its_place),
        cmocka_unit_test(test_stats__nothing_happened_yet__valid),
        cmocka_unit_test(test_pages__nth_allocation_fails__null_and_nothing_leaked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

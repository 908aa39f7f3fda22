/* src/tools/bench_report, bench_json: figures, the tables line by line, the JSON as a parser sees it. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "infinistore/infinistore.h"
#include "tools/bench_report.h"

static void test_median__any_order__the_middle(void **state) {
    (void)state;
    double odd[] = {5, 1, 3}, even[] = {4, 1, 2, 100}, one[] = {7};
    assert_true(ist_bench_median(odd, 3) == 3);
    assert_true(ist_bench_median(even, 4) == 3);
    assert_true(ist_bench_median(one, 1) == 7);
    assert_true(ist_bench_median(NULL, 0) == 0);
}

static void test_figures__from_a_histogram__rates_and_percentiles(void **state) {
    (void)state;
    static struct ist_histogram latency;
    struct ist_bench_figures figures;
    ist_histogram_init(&latency);
    for (uint64_t i = 1; i <= 100; i++) {
        ist_histogram_record(&latency, i);
    }
    ist_bench_figures_of(100, 4096, 2000000000, &latency, &figures);
    assert_int_equal(figures.p50_ns, 50);
    assert_int_equal(figures.p99_ns, 99);
    assert_int_equal(figures.p999_ns, 100);
    assert_int_equal(figures.max_ns, 100);
    assert_true(figures.mean_ns == 50.5);
    assert_true(ist_bench_requests_rate(&figures) == 50);
    assert_true(ist_bench_bytes_rate(&figures) == 2048);
    const struct ist_bench_figures none = {0};
    assert_true(ist_bench_bytes_rate(&none) == 0);
}

/* ---- a report ----------------------------------------------------------------------------------- */

struct printed {
    struct ist_bench_options options;
    struct ist_bench_report report;
    char *text, *line;
    size_t bytes, line_bytes;
};

static void begin(struct printed *printed, enum ist_bench_rival rival) {
    *printed = (struct printed){.options = {.endpoint = "127.0.0.1:1",
                                            .key_bytes = 64,
                                            .rival = rival,
                                            .verify = IST_BENCH_VERIFY_ALL}};
    FILE *out = open_memstream(&printed->text, &printed->bytes);
    FILE *terminal = open_memstream(&printed->line, &printed->line_bytes);
    ist_bench_report_init(&printed->report, out, terminal, &printed->options);
    printed->report.working_set_bytes = 512ull << 20;
}

static void end(struct printed *printed) {
    ist_bench_report_fini(&printed->report);
    free(printed->text);
    free(printed->line);
}

static void close_streams(struct printed *printed) {
    assert_int_equal(fclose(printed->report.out), 0);
    assert_int_equal(fclose(printed->report.terminal), 0);
}

static const struct ist_bench_result put = {
    .op = IST_BENCH_PUT,
    .value_bytes = 262144,
    .batch = 1,
    .clients = 1,
    .depth = 16,
    .rounds = 20,
    .ours = {.requests = 12048,
             .bytes = 3158310912,
             .elapsed_ns = 1000000000,
             .p50_ns = 83100,
             .p99_ns = 1234567,
             .p999_ns = 2000000000,
             .max_ns = 2500000000},
    .raw = {.requests = 12048, .bytes = 3158310912, .elapsed_ns = 900000000},
    .copy = {.requests = 256, .bytes = 67108864, .elapsed_ns = 10000000},
    .rival = {.requests = 12048, .bytes = 3158310912, .elapsed_ns = 2000000000, .p50_ns = 999},
    .of_raw = 0.904,
    .of_copy = 0.3,
    .of_rival = 2.004,
    .read_back = 2048,
};
static const struct ist_bench_result exists = {
    .op = IST_BENCH_EXISTS,
    .batch = 1,
    .clients = 50,
    .depth = 1,
    .rounds = 20,
    .ours = {.requests = 65123, .elapsed_ns = 1000000000, .p50_ns = 15300, .max_ns = 99999},
    .raw = {.requests = 5000, .elapsed_ns = 65000000, .p50_ns = 13000, .max_ns = 20000},
    .of_raw = 1.177,
    .values = 0,
};

static void assert_line(const char *text, const char *line) {
    if (strstr(text, line) == NULL) {
        fail_msg("no line\n%s\nin\n%s", line, text);
    }
}

static void test_tables__everything_measured__every_column(void **state) {
    (void)state;
    struct printed printed;
    begin(&printed, IST_BENCH_REDIS);
    ist_bench_report_head(&printed.report);
    assert_int_equal(ist_bench_report_add(&printed.report, &put), IST_OK);
    assert_int_equal(ist_bench_report_add(&printed.report, &exists), IST_OK);
    ist_bench_report_tail(&printed.report);
    close_streams(&printed);
    assert_line(printed.text,
                "infinistore-bench " IST_VERSION ": 127.0.0.1:1, 512 MiB of distinct values, "
                "keys of 64 bytes, every value verified\n");
    assert_line(printed.text, "\nput      256 KiB      1       1    16    3,012 MiB/s      12,048   "
                              "83.1 us   1.23 ms    2.00 s    2.50 s\n");
    assert_line(printed.text, "\nexists         -      1      50     1                     65,123   "
                              "15.3 us    0.0 us    0.0 us  100.0 us\n");
    assert_line(printed.text, "\nput      256 KiB      1       1    16    3,012 MiB/s    3,347 MiB/s"
                              "    0.90    6,400 MiB/s      0.30\n");
    assert_line(printed.text, "\nexists         -      1      50     1        15.3 us        13.0 us"
                              "    1.18\n");
    assert_line(printed.text, "\nput      256 KiB      1       1    16    3,012 MiB/s    1,506 MiB/s"
                              "    2.00   83.1 us        1.0 us\n");
    assert_line(printed.text, "\nAgainst redis, ");
    assert_line(printed.text,
                "\nVerified: 0 of 0 values that were got, 2,048 that were put and read back\n");
    end(&printed);
}

static void test_tables__nothing_to_compare__one_table(void **state) {
    (void)state;
    struct printed printed;
    struct ist_bench_result alone = exists;
    alone.raw = (struct ist_bench_figures){0};
    begin(&printed, IST_BENCH_NO_RIVAL);
    printed.options.verify = IST_BENCH_VERIFY_NONE;
    ist_bench_report_head(&printed.report);
    assert_int_equal(ist_bench_report_add(&printed.report, &alone), IST_OK);
    ist_bench_report_tail(&printed.report);
    close_streams(&printed);
    assert_line(printed.text, ", nothing verified\n");
    assert_null(strstr(printed.text, "Against"));
    assert_null(strstr(printed.text, "Verified"));
    end(&printed);
}

/* A line of progress is wiped before anything else is written; without a terminal there is none. */
static void test_progress__terminal__one_line_that_goes_away(void **state) {
    (void)state;
    struct printed printed;
    begin(&printed, IST_BENCH_NO_RIVAL);
    ist_bench_report_progress(&printed.report, "get %d", 1);
    assert_string_equal(printed.line, "\r\033[Kget 1");
    assert_int_equal(ist_bench_report_add(&printed.report, &exists), IST_OK);
    assert_string_equal(printed.line, "\r\033[Kget 1\r\033[K");
    FILE *terminal = printed.report.terminal;
    printed.report.terminal = NULL;
    ist_bench_report_progress(&printed.report, "get %d", 2);
    printed.report.terminal = terminal;
    close_streams(&printed);
    assert_null(strstr(printed.line, "get 2"));
    end(&printed);
}

static void test_add__many__all_kept(void **state) {
    (void)state;
    struct printed printed;
    begin(&printed, IST_BENCH_NO_RIVAL);
    for (size_t i = 0; i < 100; i++) {
        struct ist_bench_result result = exists;
        result.clients = i;
        assert_int_equal(ist_bench_report_add(&printed.report, &result), IST_OK);
    }
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(printed.report.results[i].clients, i);
    }
    close_streams(&printed);
    end(&printed);
}

/* ---- JSON --------------------------------------------------------------------------------------- */

static json_t *parsed(struct printed *printed) {
    char *text = ist_bench_report_json(&printed->report);
    assert_non_null(text);
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    if (json == NULL) {
        fail_msg("%s in %s", error.text, text);
    }
    free(text);
    return json;
}

static double number(json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void test_json__everything_measured__every_figure(void **state) {
    (void)state;
    struct printed printed;
    begin(&printed, IST_BENCH_MEMCACHED);
    printed.report.endpoint = "unix:/a \"path\"";
    assert_int_equal(ist_bench_report_add(&printed.report, &put), IST_OK);
    assert_int_equal(ist_bench_report_add(&printed.report, &exists), IST_OK);
    json_t *json = parsed(&printed);
    assert_string_equal(json_string_value(json_object_get(json, "version")), IST_VERSION);
    assert_string_equal(json_string_value(json_object_get(json, "endpoint")), "unix:/a \"path\"");
    assert_string_equal(json_string_value(json_object_get(json, "verify")), "all");
    assert_true(json_is_null(json_object_get(json, "error")));
    assert_true(number(json, "working_set_bytes") == 512 << 20);
    json_t *results = json_object_get(json, "results");
    assert_int_equal(json_array_size(results), 2);
    json_t *first = json_array_get(results, 0), *second = json_array_get(results, 1);
    assert_string_equal(json_string_value(json_object_get(first, "op")), "put");
    assert_true(number(first, "value_bytes") == 262144);
    assert_true(number(first, "requests") == 12048);
    assert_true(number(first, "bytes_per_second") == 3158310912.);
    assert_true(number(first, "depth") == 16);
    assert_true(number(first, "values_read_back") == 2048);
    json_t *latency = json_object_get(first, "latency_us");
    assert_true(number(latency, "p50") == 83.1);
    assert_true(number(latency, "p99.9") == 2000000);
    assert_true(number(json_object_get(first, "raw"), "share") == 0.904);
    assert_null(json_object_get(json_object_get(first, "raw"), "latency_us"));
    assert_true(number(json_object_get(first, "memcpy"), "share") == 0.3);
    assert_true(number(json_object_get(first, "memcached"), "times") == 2.004);
    assert_null(json_object_get(second, "value_bytes"));
    assert_null(json_object_get(second, "memcached"));
    assert_null(json_object_get(second, "raw"));
    assert_true(number(json_object_get(second, "ping_pong"), "times_its_p50") == 1.177);
    json_decref(json);
    close_streams(&printed);
    end(&printed);
}

static void test_json__a_failure__its_text_and_what_was_measured(void **state) {
    (void)state;
    struct printed printed;
    begin(&printed, IST_BENCH_NO_RIVAL);
    printed.report.error = "get of \xff: wrong";
    assert_int_equal(ist_bench_report_add(&printed.report, &exists), IST_OK);
    json_t *json = parsed(&printed);
    assert_string_equal(json_string_value(json_object_get(json, "error")),
                        "get of \xef\xbf\xbd: wrong");
    assert_int_equal(json_array_size(json_object_get(json, "results")), 1);
    json_decref(json);
    close_streams(&printed);
    end(&printed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_median__any_order__the_middle),
        cmocka_unit_test(test_figures__from_a_histogram__rates_and_percentiles),
        cmocka_unit_test(test_tables__everything_measured__every_column),
        cmocka_unit_test(test_tables__nothing_to_compare__one_table),
        cmocka_unit_test(test_progress__terminal__one_line_that_goes_away),
        cmocka_unit_test(test_add__many__all_kept),
        cmocka_unit_test(test_json__everything_measured__every_figure),
        cmocka_unit_test(test_json__a_failure__its_text_and_what_was_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

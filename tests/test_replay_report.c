/* src/tools/replay_report, replay_json, replay_plot: what people, machines and browsers get. */
#include "tests/support.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/replay_plot.h"
#include "tools/replay_report.h"

/* 100 requests in 10 s: 1,200 blocks, 300 hits, 450 possible ones; the pool is full after 4 s. */
struct sample {
    struct ist_replay_options options;
    struct ist_replay_result result;
};

static void add_points(struct ist_replay_series *series) {
    ist_replay_series_init(series, 100000000);
    for (uint64_t i = 1; i <= 100; i++) {
        const struct ist_replay_point point = {.at_ns = i * 100000000,
                                               .requests = i,
                                               .blocks = 12 * i,
                                               .hit_blocks = 3 * i,
                                               .unlimited_blocks = 9 * i / 2,
                                               .put_bytes = i << 20,
                                               .get_bytes = i << 21,
                                               .evicted_entries = i < 40 ? 0 : i};
        ist_replay_series_add(series, &point);
    }
}

static struct sample *sample_new(const char *traffic_name) {
    struct sample *sample = calloc(1, sizeof(*sample));
    assert_non_null(sample);
    struct ist_replay_result *result = &sample->result;
    sample->options = (struct ist_replay_options){.endpoint = "127.0.0.1:4242",
                                                  .prefills = 2,
                                                  .decodes = 3,
                                                  .model = ist_model_find("llama-3-8b"),
                                                  .verify = true};
    result->options = &sample->options;
    result->traffic_name = traffic_name;
    ist_replay_plan_make(&sample->options, 1ull << 30, &result->plan);
    result->before = (struct ist_replay_server){.pool_bytes = 1ull << 30, .evicted_entries = 5};
    result->after = (struct ist_replay_server){.pool_bytes = 1ull << 30,
                                               .keys = 10,
                                               .value_bytes = 1000,
                                               .committed_bytes = 1100,
                                               .evicted_entries = 105};
    result->elapsed_ns = 10000000000;
    result->cpu_ns = 8000000000;
    result->span_ms = 90000;
    struct ist_replay_figures *figures = &result->figures;
    figures->requests = figures->finished = 100;
    figures->blocks = figures->wanted_blocks = 1200;
    figures->hit_blocks = 300;
    figures->unlimited_blocks = 450;
    figures->put_bytes = 100 << 20;
    figures->put_values = 3600;
    figures->get_bytes = 200 << 20;
    figures->get_values = 1234567;
    figures->verifying_cpu_ns = 500000000;
    for (uint64_t i = 1; i <= 100; i++) {
        ist_histogram_record(&figures->match_ns, i * 1000000);
        ist_histogram_record(&figures->get_ns, i * 2000000);
    }
    add_points(&result->series);
    return sample;
}

static char *written(void (*fn)(FILE *, const struct ist_replay_result *),
                     const struct ist_replay_result *result) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    fn(out, result);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", part, text);
    }
}

static void assert_has_not(const char *text, const char *part) {
    if (strstr(text, part) != NULL) {
        fail_msg("\"%s\" is in:\n%s", part, text);
    }
}

/* ---- the table ------------------------------------------------------------------------------------ */

static void test_head__any__what_against_what(void **state) {
    (void)state;
    struct sample *sample = sample_new("a/trace.jsonl");
    char *text = written(ist_replay_report_head, &sample->result);
    assert_has(text, "a/trace.jsonl -> 127.0.0.1:4242");
    assert_has(text, "llama-3-8b, 4 of 32 layers; a block is 64 KiB, 4 values of 16 KiB (2 MiB / 128)");
    assert_has(text, "1 GiB, room for 16,384 blocks");
    assert_has(text, "2 prefill, 3 decode, as fast as possible");
    assert_has_not(text, "note");
    free(text);
    sample->options.pace = 2.5;
    sample->result.before.keys = 1000;
    text = written(ist_replay_report_head, &sample->result);
    assert_has(text, "at 2.5 times the recorded pace");
    assert_has(text, "the server held 1,000 keys before");
    free(text);
    free(sample);
}

static void test_table__all_well__the_figures(void **state) {
    (void)state;
    struct sample *sample = sample_new("t");
    char *text = written(ist_replay_report_table, &sample->result);
    assert_has(text, "100  in 10.0 s, 10/s; 1.5 min of the trace");
    assert_has(text, "25.00%  300 of 1,200 blocks");
    assert_has(text, "37.50%  of that, 67% was reached");
    assert_has(text, "100  values\n"); /* evicted */
    assert_has(text, "100 MiB  10 MiB/s, 3,600 values");
    assert_has(text, "200 MiB  20 MiB/s, 1,234,567 values");
    assert_has(text, "  match                 50.");
    assert_has_not(text, "get its prefix"); /* there was none */
    assert_has(text, "every byte was right; that took 0.5 of the clients' 8.0 s of CPU");
    assert_has_not(text, "note");
    assert_has_not(text, "ended early");
    assert_has_not(text, "behind the pace");
    free(text);
    free(sample);
}

static void test_table__troubles__each_is_told(void **state) {
    (void)state;
    struct sample *sample = sample_new("t");
    struct ist_replay_figures *figures = &sample->result.figures;
    figures->lost_blocks = 11;
    figures->missed_blocks = 12;
    figures->refused_values = 13;
    figures->wrong_values = 14;
    figures->late_ns = 1500000000;
    strcpy(figures->wrong, "k: byte 3");
    strcpy(figures->failure, "get of request 9: broken");
    sample->options.pace = 1;
    sample->result.after.committed_bytes = 4000;
    char *text = written(ist_replay_report_table, &sample->result);
    assert_has(text, "11  blocks: evicted before the prefill got them");
    assert_has(text, "12  of 1,200 blocks: evicted before");
    assert_has(text, "13  values were not stored");
    assert_has(text, "14  values; the first: k: byte 3");
    assert_has_not(text, "every byte was right");
    assert_has(text, "1.500  s at most");
    assert_has(text, "4.0 bytes for each byte");
    assert_has(text, "ended early: get of request 9: broken");
    free(text);
    figures->failure[0] = '\0';
    figures->wrong_values = 0;
    sample->options.verify = false;
    sample->result.interrupted = true;
    text = written(ist_replay_report_table, &sample->result);
    assert_has(text, "ended early, by a signal");
    assert_has(text, "--no-verify");
    assert_has_not(text, "every byte was right");
    free(text);
    free(sample);
}

static void test_table__nothing_played__no_division_by_it(void **state) {
    (void)state;
    struct sample *sample = sample_new("t");
    sample->result.figures = (struct ist_replay_figures){0};
    sample->result.elapsed_ns = 0;
    char *text = written(ist_replay_report_table, &sample->result);
    assert_has(text, "0.00%  0 of 0 blocks");
    assert_has_not(text, "nan");
    assert_has_not(text, "inf");
    free(text);
    free(sample);
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static double number_of(const json_t *json, const char *name) {
    const json_t *value = json_object_get(json, name);
    if (!json_is_number(value)) {
        fail_msg("%s is no number", name);
    }
    return json_number_value(value);
}

static json_t *json_of(const struct ist_replay_result *result) {
    char *text = ist_replay_report_json(result);
    assert_non_null(text);
    assert_int_equal(text[strlen(text) - 1], '\n');
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fail_msg("%s in:\n%s", error.text, text);
    }
    free(text);
    return json;
}

static void test_json__all_well__the_same_figures(void **state) {
    (void)state;
    struct sample *sample = sample_new("a \"trace\"\n\xff");
    json_t *json = json_of(&sample->result);
    assert_string_equal(json_string_value(json_object_get(json, "trace")), "a \"trace\"\n\xef\xbf\xbd");
    assert_true(number_of(json, "requests") == 100);
    assert_true(number_of(json, "hit_ratio") == 0.25);
    assert_true(number_of(json, "unlimited_hit_ratio") == 0.375);
    assert_true(number_of(json, "elapsed_seconds") == 10);
    assert_true(number_of(json, "trace_seconds") == 90);
    assert_true(number_of(json, "evicted_values") == 100);
    assert_true(number_of(json, "wrong_values") == 0);
    assert_true(number_of(json, "block_bytes") == 65536);
    const json_t *put = json_object_get(json, "put");
    assert_true(number_of(put, "bytes_per_second") == 10 << 20);
    const json_t *match = json_object_get(json_object_get(json, "latency"), "match");
    double p50 = number_of(match, "p50_ns");
    assert_true(p50 >= 50e6 && p50 < 51e6);
    assert_true(json_is_true(json_object_get(json, "verified")));
    assert_true(json_is_null(json_object_get(json, "failure")));
    assert_true(json_is_null(json_object_get(json, "first_wrong_value")));
    const json_t *series = json_object_get(json, "series");
    assert_int_equal(json_array_size(series), 101);
    assert_true(number_of(json_array_get(series, 50), "seconds") == 5);
    assert_true(number_of(json_array_get(series, 50), "put_bytes") == 50 << 20);
    json_decref(json);
    free(sample);
}

static void test_json__failed__the_cause(void **state) {
    (void)state;
    struct sample *sample = sample_new("t");
    strcpy(sample->result.figures.failure, "the connection was lost");
    strcpy(sample->result.figures.wrong, "k: byte 3");
    sample->result.figures.wrong_values = 1;
    sample->result.interrupted = true;
    json_t *json = json_of(&sample->result);
    assert_string_equal(json_string_value(json_object_get(json, "failure")), "the connection was lost");
    assert_string_equal(json_string_value(json_object_get(json, "first_wrong_value")), "k: byte 3");
    assert_true(json_is_true(json_object_get(json, "interrupted")));
    json_decref(json);
    free(sample);
}

/* ---- the plot ------------------------------------------------------------------------------------- */

/* Every element is closed, in order; text has no bare < or &; attributes are quoted. */
static void assert_well_formed(const char *xml) {
    char open[16][32];
    size_t depth = 0;
    for (const char *at = xml; *at != '\0';) {
        if (*at == '&') {
            assert_true(strncmp(at, "&amp;", 5) == 0 || strncmp(at, "&lt;", 4) == 0);
            at++;
        } else if (*at != '<') {
            assert_true((unsigned char)*at < 0x7f && (*at >= ' ' || *at == '\n'));
            at++;
        } else {
            const char *end = strchr(at, '>');
            assert_non_null(end);
            size_t name = strcspn(at + 1, " >/\n");
            if (at[1] == '/') {
                assert_true(depth > 0);
                depth--;
                assert_int_equal(strlen(open[depth]), (size_t)(end - at) - 2);
                assert_memory_equal(open[depth], at + 2, strlen(open[depth]));
            } else if (end[-1] != '/') {
                assert_true(depth < 16 && name < 32);
                snprintf(open[depth++], 32, "%.*s", (int)name, at + 1);
            }
            at = end + 1;
        }
    }
    assert_int_equal(depth, 0);
    assert_int_equal(strncmp(xml, "<svg ", 5), 0);
}

/* All coordinates of all curves lie on the page. */
static void assert_on_the_page(const char *svg) {
    size_t points = 0;
    for (const char *at = strstr(svg, "points=\""); at != NULL; at = strstr(at, "points=\"")) {
        at += strlen("points=\"");
        while (*at != '"') {
            char *end;
            double x = strtod(at, &end);
            assert_int_equal(*end, ',');
            double y = strtod(end + 1, &end);
            assert_true(x >= 72 && x <= 936.1 && y >= 108 && y <= 586.1);
            points++;
            at = end + strspn(end, " ");
        }
    }
    assert_true(points > 4 * 30); /* five curves */
}

static void test_plot__a_course__axes_curves_legends_in_a_page(void **state) {
    (void)state;
    struct sample *sample = sample_new("dir/trace.jsonl");
    char *svg = written(ist_replay_plot_write, &sample->result);
    assert_well_formed(svg);
    assert_on_the_page(svg);
    assert_has(svg, "Replay of trace.jsonl<");
    assert_has(svg, "prefix hit ratio, %<");
    assert_has(svg, "throughput, MiB/s<");
    assert_has(svg, "so far 25.0%<");
    assert_has(svg, "unlimited cache 37.5%<");
    assert_has(svg, "put, mean 10<");
    assert_has(svg, "get, mean 20<");
    assert_has(svg, "eviction begins<");
    assert_has(svg, "prefers-color-scheme: dark");
    assert_has(svg, "100 requests in 10.0 s");
    assert_has_not(svg, "nan");
    assert_has_not(svg, "inf\"");
    assert_has_not(
        svg,
        "http://www.w3.org/2000/svg/"); /* nothing is fetched: the only address is the name space */
    free(svg);
    free(sample);
}

static void test_plot__nothing_evicted__no_mark(void **state) {
    (void)state;
    struct sample *sample = sample_new("t");
    for (size_t i = 0; i < sample->result.series.count; i++) {
        sample->result.series.points[i].evicted_entries = 0;
    }
    char *svg = written(ist_replay_plot_write, &sample->result);
    assert_well_formed(svg);
    assert_has_not(svg, "eviction begins");
    free(svg);
    free(sample);
}

static void test_plot__names_from_outside__escaped_and_cut(void **state) {
    (void)state;
    char name[300] = "<script>&\x01\"'\xff]]>";
    memset(name + strlen(name), 'x', 200);
    struct sample *sample = sample_new(name);
    char *svg = written(ist_replay_plot_write, &sample->result);
    assert_well_formed(svg);
    assert_has(svg, "Replay of &lt;script>&amp;?\"'?]]>xxx");
    assert_has_not(svg, "<script");
    free(svg);
    free(sample);
}

static void test_plot__nothing_or_one_point__still_a_page(void **state) {
    (void)state;
    struct sample *sample = sample_new("t");
    sample->result.figures = (struct ist_replay_figures){0};
    for (size_t count = 1; count <= 2; count++) {
        sample->result.series.count = count;
        sample->result.elapsed_ns = count == 1 ? 0 : 100000000;
        char *svg = written(ist_replay_plot_write, &sample->result);
        assert_well_formed(svg);
        assert_has_not(svg, "nan");
        free(svg);
    }
    free(sample);
}

static void test_step__any_range__one_two_five_and_few(void **state) {
    (void)state;
    for (double most = 1e-3; most < 1e9; most *= 1.07) {
        for (unsigned count = 2; count <= 10; count++) {
            double step = ist_replay_plot_step(most, count);
            double digit = step / pow(10, floor(log10(step) + 1e-9));
            assert_true(fabs(digit - 1) < 1e-6 || fabs(digit - 2) < 1e-6 || fabs(digit - 5) < 1e-6);
            assert_true(step * count >= most * (1 - 1e-6));
            assert_true(step * count <= most * 2.5 * (1 + 1e-6));
        }
    }
    assert_true(ist_replay_plot_step(50, 5) == 10);
    assert_true(ist_replay_plot_step(100, 10) == 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head__any__what_against_what),
        cmocka_unit_test(test_table__all_well__the_figures),
        cmocka_unit_test(test_table__troubles__each_is_told),
        cmocka_unit_test(test_table__nothing_played__no_division_by_it),
        cmocka_unit_test(test_json__all_well__the_same_figures),
        cmocka_unit_test(test_json__failed__the_cause),
        cmocka_unit_test(test_plot__a_course__axes_curves_legends_in_a_page),
        cmocka_unit_test(test_plot__nothing_evicted__no_mark),
        cmocka_unit_test(test_plot__names_from_outside__escaped_and_cut),
        cmocka_unit_test(test_plot__nothing_or_one_point__still_a_page),
        cmocka_unit_test(test_step__any_range__one_two_five_and_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

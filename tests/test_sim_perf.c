/* The performance model: cases that one can work out by hand, and what it writes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sim/fabric.h"
#include "sim/perf.h"
#include "sim/perf_report.h"
#include "sim/plot.h"
#include "tests/support.h"

#define GIB (1ull << 30)

static struct sim_perf_config usual(void) {
    return (struct sim_perf_config){
        .model = ist_model_find("llama-3-8b"),
        .node_flops = 500e12,
        .prefills = 1,
        .decodes = 1,
        .servers = 1,
        .pace = 1,
        .link_bits_per_sec = 100e9,
        .link_latency_ns = 5000,
        .request_ns = 3000,
        .key_ns = 100,
        .pool_bytes = 64 * GIB,
    };
}

static void add(struct sim_blocks *blocks, uint64_t first, size_t count, uint64_t arrival_ms) {
    uint64_t ids[64];
    for (size_t i = 0; i < count; i++) {
        ids[i] = first + i;
    }
    sim_blocks_add(blocks, ids, count, arrival_ms, (uint32_t)count * IST_BLOCK_TOKENS, 100);
}

static uint64_t compute_ns(const struct sim_perf_config *config, uint64_t tokens, uint64_t before) {
    double layer_ns = 1e9 * sim_compute_layer_flops(config->model, tokens, before) / config->node_flops;
    return config->model->layers * (1 + (uint64_t)layer_ns);
}

static void expect_near(uint64_t value, uint64_t wanted, double share) {
    double difference = (double)value / (double)wanted - 1;
    if (difference < -share || difference > share) {
        fail_msg("%llu instead of %llu", (unsigned long long)value, (unsigned long long)wanted);
    }
}

static void test_presets__all_models__can_be_computed(void **state) {
    (void)state;
    for (size_t i = 0; ist_model_at(i) != NULL; i++) {
        assert_true(sim_compute_of(ist_model_at(i))->parameters > 1e9);
        double few = sim_compute_layer_flops(ist_model_at(i), 100, 0);
        assert_true(sim_compute_layer_flops(ist_model_at(i), 200, 0) > 2 * few);
        assert_true(sim_compute_layer_flops(ist_model_at(i), 100, 1000) > few);
    }
    for (size_t i = 0; sim_gpu_at(i) != NULL; i++) {
        assert_ptr_equal(sim_gpu_find(sim_gpu_at(i)->name), sim_gpu_at(i));
    }
    assert_null(sim_gpu_find("abacus"));
}

/* One prompt alone: a match and what it computes; behind that the last layer's put; then a decode node's gets. */
static void test_run__one_prompt__as_by_hand(void **state) {
    (void)state;
    const struct sim_perf_config config = usual();
    struct sim_perf_figures figures;
    struct sim_blocks blocks;
    sim_blocks_init(&blocks);
    add(&blocks, 0, 20, 1000);
    sim_perf_run(&config, &blocks, &figures);
    uint64_t match_ns = 2 * config.link_latency_ns + 3000 + 20 * 100;
    uint64_t compute = compute_ns(&config, 20 * IST_BLOCK_TOKENS, 0);
    expect_near(figures.ttft_ns.max, match_ns + compute, 1e-6);
    double bits = 20. * 8 * (double)ist_model_block_bytes(config.model);
    uint64_t layer_ns = (uint64_t)(bits / config.link_bits_per_sec * 1e9);
    uint64_t order_ns = config.link_latency_ns + 3000 + 20 * 100;
    uint64_t lag_ns = order_ns + layer_ns + 2 * config.link_latency_ns;
    expect_near((uint64_t)(figures.put_overhead * (double)compute), lag_ns, 1e-4);
    expect_near(figures.fetch_ns.max,
                config.model->layers * (order_ns + layer_ns + config.link_latency_ns), 1e-4);
    assert_int_equal(figures.put_bytes, 20 * sim_perf_block_bytes(config.model));
    assert_int_equal(figures.got_bytes, figures.put_bytes);
    assert_int_equal(figures.hits, 0);
    assert_int_equal(figures.decode_missing, 0);
    sim_perf_figures_fini(&figures);
    sim_blocks_fini(&blocks);
}

static void test_run__same_prompt_again__found_and_sooner(void **state) {
    (void)state;
    struct sim_perf_config config = usual();
    struct sim_perf_figures figures;
    struct sim_blocks blocks;
    sim_blocks_init(&blocks);
    add(&blocks, 0, 30, 0);
    add(&blocks, 0, 31, 60000);
    sim_perf_run(&config, &blocks, &figures);
    assert_int_equal(figures.hits, 30);
    assert_int_equal(figures.put_bytes, 31 * sim_perf_block_bytes(config.model));
    uint64_t first = compute_ns(&config, 30 * IST_BLOCK_TOKENS, 0);
    expect_near(figures.ttft_ns.max, first, 0.01);
    assert_true(figures.ttft_ns.min < first);
    sim_perf_figures_fini(&figures);
    config.pool_bytes = 0;
    sim_perf_run(&config, &blocks, &figures);
    assert_int_equal(figures.hits, 0);
    assert_int_equal(figures.put_bytes, 0);
    assert_true(figures.ttft_ns.max > first);
    sim_perf_figures_fini(&figures);
    sim_blocks_fini(&blocks);
}

/* A pool for less than one prompt holds its head. */
static void test_run__small_pool__evicts_and_holds_what_it_can(void **state) {
    (void)state;
    struct sim_perf_config config = usual();
    struct sim_perf_figures figures;
    struct sim_blocks blocks;
    sim_blocks_init(&blocks);
    config.pool_bytes = 10 * sim_perf_block_bytes(config.model);
    add(&blocks, 0, 20, 0);
    add(&blocks, 100, 5, 60000);
    add(&blocks, 0, 20, 120000);
    sim_perf_run(&config, &blocks, &figures);
    assert_int_equal(figures.put_bytes, (10 + 5 + 5) * sim_perf_block_bytes(config.model));
    assert_int_equal(figures.hits, 5);
    assert_int_equal(figures.evicted, 10);
    sim_perf_figures_fini(&figures);
    sim_blocks_fini(&blocks);
}

static void test_run__slow_link__waits_and_is_scarce(void **state) {
    (void)state;
    struct sim_perf_config config = usual();
    struct sim_perf_figures figures;
    struct sim_blocks blocks;
    sim_blocks_init(&blocks);
    config.link_bits_per_sec = 1e9;
    for (unsigned i = 0; i < 5; i++) {
        add(&blocks, 0, 30, i * 60000);
    }
    sim_perf_run(&config, &blocks, &figures);
    assert_true(figures.load_overhead > 1);
    assert_string_equal(figures.scarce, "link out");
    assert_true(figures.out_share > 0.5 && figures.out_share <= 1);
    assert_true(figures.nodes_per_server < 4);
    sim_perf_figures_fini(&figures);
    sim_blocks_fini(&blocks);
}

/* ---- what is written --------------------------------------------------------------------------------------- */

static void make_report(struct sim_perf_report *report) {
    struct sim_blocks blocks;
    sim_blocks_init(&blocks);
    sim_blocks_generate(&blocks, 3, 200);
    *report = (struct sim_perf_report){.config = usual(),
                                       .gpu = "h100",
                                       .trace = "made",
                                       .pools = {8 * GIB, 512 * GIB},
                                       .pool_count = 2};
    struct sim_perf_config config = report->config;
    config.pool_bytes = 0;
    sim_perf_run(&config, &blocks, &report->without);
    for (size_t i = 0; i < 2; i++) {
        config.pool_bytes = report->pools[i];
        sim_perf_run(&config, &blocks, &report->with[i]);
    }
    sim_blocks_fini(&blocks);
}

static void free_report(struct sim_perf_report *report) {
    sim_perf_figures_fini(&report->without);
    sim_perf_figures_fini(&report->with[0]);
    sim_perf_figures_fini(&report->with[1]);
}

static void test_report__json__parses_and_agrees(void **state) {
    (void)state;
    static struct sim_perf_report report;
    char *text = NULL;
    size_t bytes;
    make_report(&report);
    FILE *out = open_memstream(&text, &bytes);
    assert_true(sim_perf_report_json(out, &report));
    fclose(out);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    json_t *with = json_object_get(json, "with");
    assert_int_equal(json_array_size(with), 2);
    double few = json_real_value(json_object_get(json_array_get(with, 0), "hit_percent"));
    double many = json_real_value(json_object_get(json_array_get(with, 1), "hit_percent"));
    assert_true(many > few && many < 100);
    json_decref(json);
    free(text);
    free_report(&report);
}

static void test_report__csv__sums_up(void **state) {
    (void)state;
    static struct sim_perf_report report;
    char *text = NULL;
    size_t bytes;
    make_report(&report);
    FILE *out = open_memstream(&text, &bytes);
    sim_perf_report_csv(out, &report);
    fclose(out);
    unsigned long long requests = 0, blocks = 0, hits = 0;
    for (char *line = strchr(text, '\n'); line != NULL && line[1] != '\0';
         line = strchr(line + 1, '\n')) {
        unsigned long long second, r, b, h;
        assert_int_equal(sscanf(line + 1, "%llu,%llu,%llu,%llu", &second, &r, &b, &h), 4);
        requests += r;
        blocks += b;
        hits += h;
    }
    assert_int_equal(requests, 200);
    assert_int_equal(blocks, report.with[1].blocks);
    assert_int_equal(hits, report.with[1].hits);
    free(text);
    free_report(&report);
}

static void test_plot__points__lie_inside(void **state) {
    (void)state;
    const double x[] = {1, 10, 100}, y[] = {0, 5, 20};
    const struct sim_plot plot = {.title = "t",
                                  .x_name = "x",
                                  .y_name = "y",
                                  .x = x,
                                  .points = 3,
                                  .log_x = true,
                                  .lines = {{"l", y}},
                                  .line_count = 1};
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    sim_plot_write(out, &plot);
    fclose(out);
    const char *points = strstr(text, "points=\"");
    double at[6];
    assert_non_null(points);
    assert_int_equal(
        sscanf(points + 8, "%lf,%lf %lf,%lf %lf,%lf", at, at + 1, at + 2, at + 3, at + 4, at + 5), 6);
    assert_true(at[0] < at[2] && at[2] < at[4]);
    double middle = (at[0] + at[4]) / 2; /* of a logarithmic axis */
    assert_true(at[2] > middle - 1 && at[2] < middle + 1);
    assert_true(at[1] > at[3] && at[3] > at[5] && at[5] > 0);
    assert_non_null(strstr(text, "</svg>"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets__all_models__can_be_computed),
        cmocka_unit_test(test_run__one_prompt__as_by_hand),
        cmocka_unit_test(test_run__same_prompt_again__found_and_sooner),
        cmocka_unit_test(test_run__small_pool__evicts_and_holds_what_it_can),
        cmocka_unit_test(test_run__slow_link__waits_and_is_scarce),
        cmocka_unit_test(test_report__json__parses_and_agrees),
        cmocka_unit_test(test_report__csv__sums_up),
        cmocka_unit_test(test_plot__points__lie_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

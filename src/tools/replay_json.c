#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tools/replay_report.h"

static void number(struct ist_json *json, const char *key, uint64_t value) {
    ist_json_key(json, key);
    ist_json_uint(json, value);
}

static void real(struct ist_json *json, const char *key, double value) {
    ist_json_key(json, key);
    ist_json_double(json, value);
}

static void text(struct ist_json *json, const char *key, const char *value) {
    ist_json_key(json, key);
    ist_json_bytes(json, value, strlen(value)); /* a path need not be UTF-8 */
}

static void object(struct ist_json *json, const char *key) {
    ist_json_key(json, key);
    ist_json_object(json);
}

static void text_or_null(struct ist_json *json, const char *key, const char *value) {
    if (value[0] != '\0') {
        text(json, key, value);
    } else {
        ist_json_key(json, key);
        ist_json_null(json);
    }
}

static void write_setting(struct ist_json *json, const struct ist_replay_result *result) {
    const struct ist_replay_options *options = result->options;
    const struct ist_replay_plan *plan = &result->plan;
    text(json, "version", IST_VERSION);
    text(json, "endpoint", options->endpoint);
    text(json, "trace", result->traffic_name);
    number(json, "prefill_clients", options->prefills);
    number(json, "decode_clients", options->decodes);
    real(json, "pace", options->pace);
    text(json, "model", plan->model->name);
    number(json, "layers", plan->layers);
    number(json, "scale", plan->scale);
    number(json, "layer_bytes", plan->layer_bytes);
    number(json, "block_bytes", plan->block_bytes);
    number(json, "pool_bytes", plan->pool_bytes);
    number(json, "pool_ready_bytes", result->before.ready_bytes);
    number(json, "pool_blocks", plan->pool_blocks);
    number(json, "keys_before", result->before.keys);
}

static void write_moved(struct ist_json *json, const char *key, uint64_t bytes, uint64_t values,
                        uint64_t elapsed_ns) {
    object(json, key);
    number(json, "bytes", bytes);
    number(json, "values", values);
    real(json, "bytes_per_second", elapsed_ns == 0 ? 0 : (double)bytes / ((double)elapsed_ns / 1e9));
    ist_json_end(json);
}

static void write_latency(struct ist_json *json, const char *key,
                          const struct ist_histogram *histogram) {
    object(json, key);
    number(json, "count", histogram->count);
    real(json, "mean_ns", ist_histogram_mean(histogram));
    number(json, "p50_ns", ist_histogram_percentile(histogram, 0.5));
    number(json, "p99_ns", ist_histogram_percentile(histogram, 0.99));
    number(json, "max_ns", histogram->max);
    ist_json_end(json);
}

static void write_figures(struct ist_json *json, const struct ist_replay_result *result) {
    const struct ist_replay_figures *figures = &result->figures;
    number(json, "requests", figures->requests);
    number(json, "requests_finished", figures->finished);
    real(json, "elapsed_seconds", (double)result->elapsed_ns / 1e9);
    real(json, "trace_seconds", (double)result->span_ms / 1e3);
    real(json, "late_seconds_max", (double)figures->late_ns / 1e9);
    number(json, "blocks", figures->blocks);
    number(json, "hit_blocks", figures->hit_blocks);
    real(json, "hit_ratio", ist_replay_report_hit_ratio(figures));
    real(json, "unlimited_hit_ratio", ist_replay_report_unlimited_ratio(figures));
    number(json, "lost_blocks", figures->lost_blocks);
    number(json, "decode_blocks", figures->wanted_blocks);
    number(json, "decode_missed_blocks", figures->missed_blocks);
    number(json, "evicted_values", result->after.evicted_entries - result->before.evicted_entries);
    number(json, "present_values", figures->present_values);
    number(json, "refused_values", figures->refused_values);
    write_moved(json, "put", figures->put_bytes, figures->put_values, result->elapsed_ns);
    write_moved(json, "get", figures->get_bytes, figures->get_values, result->elapsed_ns);
}

static void write_latencies(struct ist_json *json, const struct ist_replay_figures *figures) {
    object(json, "latency");
    write_latency(json, "match", &figures->match_ns);
    write_latency(json, "get_prefix", &figures->prefix_ns);
    write_latency(json, "put_layer", &figures->layer_ns);
    write_latency(json, "put", &figures->put_ns);
    write_latency(json, "get", &figures->get_ns);
    ist_json_end(json);
}

static void write_check(struct ist_json *json, const struct ist_replay_result *result) {
    const struct ist_replay_figures *figures = &result->figures;
    ist_json_key(json, "verified");
    ist_json_bool(json, result->options->verify);
    number(json, "wrong_values", figures->wrong_values);
    text_or_null(json, "first_wrong_value", figures->wrong);
    real(json, "filling_cpu_seconds", (double)figures->filling_cpu_ns / 1e9);
    real(json, "verifying_cpu_seconds", (double)figures->verifying_cpu_ns / 1e9);
    real(json, "client_cpu_seconds", (double)result->cpu_ns / 1e9);
    ist_json_key(json, "interrupted");
    ist_json_bool(json, result->interrupted);
    text_or_null(json, "failure", figures->failure);
}

static void write_series(struct ist_json *json, const struct ist_replay_series *series) {
    ist_json_key(json, "series");
    ist_json_array(json);
    for (size_t i = 0; i < series->count; i++) {
        const struct ist_replay_point *point = &series->points[i];
        ist_json_object(json);
        real(json, "seconds", (double)point->at_ns / 1e9);
        number(json, "requests", point->requests);
        number(json, "blocks", point->blocks);
        number(json, "hit_blocks", point->hit_blocks);
        number(json, "unlimited_hit_blocks", point->unlimited_blocks);
        number(json, "put_bytes", point->put_bytes);
        number(json, "get_bytes", point->get_bytes);
        number(json, "evicted_values", point->evicted_entries);
        ist_json_end(json);
    }
    ist_json_end(json);
}

char *ist_replay_report_json(const struct ist_replay_result *result) {
    struct ist_json json;
    ist_json_init(&json, ist_alloc_system());
    ist_json_object(&json);
    write_setting(&json, result);
    write_figures(&json, result);
    write_latencies(&json, &result->figures);
    write_check(&json, result);
    write_series(&json, &result->series);
    ist_json_end(&json);
    const char *finished = ist_json_text(&json);
    size_t bytes = finished == NULL ? 0 : strlen(finished);
    char *copy = finished == NULL ? NULL : malloc(bytes + 2);
    if (copy != NULL) {
        memcpy(copy, finished, bytes);
        memcpy(copy + bytes, "\n", 2);
    }
    ist_json_fini(&json);
    return copy;
}

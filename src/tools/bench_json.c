/* The report as JSON, for machines. src/tools/infinistore-bench.1 describes it. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "infinistore/infinistore.h"
#include "tools/bench_report.h"
#include "tools/bench_rival.h"

static void put_uint(struct ist_json *json, const char *key, uint64_t value) {
    ist_json_key(json, key);
    ist_json_uint(json, value);
}

static void put_double(struct ist_json *json, const char *key, double value) {
    ist_json_key(json, key);
    ist_json_double(json, value);
}

static void put_string(struct ist_json *json, const char *key, const char *value) {
    ist_json_key(json, key);
    ist_json_bytes(json, value, strlen(value));
}

static void put_figures(struct ist_json *json, const struct ist_bench_figures *figures) {
    put_uint(json, "requests", figures->requests);
    put_uint(json, "bytes", figures->bytes);
    put_double(json, "seconds", (double)figures->elapsed_ns / 1e9);
    put_double(json, "requests_per_second", ist_bench_requests_rate(figures));
    put_double(json, "bytes_per_second", ist_bench_bytes_rate(figures));
    if (figures->max_ns > 0) {
        ist_json_key(json, "latency_us");
        ist_json_object(json);
        put_double(json, "mean", figures->mean_ns / 1e3);
        put_double(json, "p50", (double)figures->p50_ns / 1e3);
        put_double(json, "p99", (double)figures->p99_ns / 1e3);
        put_double(json, "p99.9", (double)figures->p999_ns / 1e3);
        put_double(json, "max", (double)figures->max_ns / 1e3);
        ist_json_end(json);
    }
}

/* One that ours are compared with, if it was measured. */
static void put_other(struct ist_json *json, const char *key, const struct ist_bench_figures *figures,
                      const char *ratio_name, double ratio) {
    if (figures->requests == 0) {
        return;
    }
    ist_json_key(json, key);
    ist_json_object(json);
    put_figures(json, figures);
    put_double(json, ratio_name, ratio);
    ist_json_end(json);
}

static void put_result(struct ist_json *json, const struct ist_bench_report *report,
                       const struct ist_bench_result *result) {
    bool moves = result->value_bytes != 0;
    ist_json_object(json);
    put_string(json, "op", ist_bench_op_name(result->op));
    if (moves) {
        put_uint(json, "value_bytes", result->value_bytes);
    }
    put_uint(json, "keys_per_request", result->batch);
    put_uint(json, "clients", result->clients);
    put_uint(json, "depth", result->depth);
    put_uint(json, "rounds", result->rounds);
    put_figures(json, &result->ours);
    put_uint(json, "values_got", result->values);
    put_uint(json, "values_verified", result->verified);
    put_uint(json, "values_read_back", result->read_back);
    put_other(json, moves ? "raw" : "ping_pong", &result->raw, moves ? "share" : "times_its_p50",
              result->of_raw);
    put_other(json, "perftest", &result->perftest, "share", result->of_perftest);
    put_other(json, "memcpy", &result->copy, "share", result->of_copy);
    put_other(json, ist_bench_rival_name(report->options->rival), &result->rival, "times",
              result->of_rival);
    ist_json_end(json);
}

char *ist_bench_report_json(const struct ist_bench_report *report) {
    static const char *const verify[] = {[IST_BENCH_VERIFY_ALL] = "all",
                                         [IST_BENCH_VERIFY_SAMPLE] = "sample",
                                         [IST_BENCH_VERIFY_NONE] = "none"};
    struct ist_json json;
    ist_json_init(&json, ist_alloc_system());
    ist_json_object(&json);
    put_string(&json, "version", IST_VERSION);
    put_string(&json, "endpoint", report->endpoint);
    put_uint(&json, "working_set_bytes", report->working_set_bytes);
    put_uint(&json, "key_bytes", report->options->key_bytes);
    put_string(&json, "verify", verify[report->options->verify]);
    ist_json_key(&json, "error");
    if (report->error != NULL) {
        ist_json_bytes(&json, report->error, strlen(report->error));
    } else {
        ist_json_null(&json);
    }
    ist_json_key(&json, "results");
    ist_json_array(&json);
    for (size_t i = 0; i < report->count; i++) {
        put_result(&json, report, &report->results[i]);
    }
    ist_json_end(&json);
    ist_json_end(&json);
    const char *text = ist_json_text(&json);
    char *copy = text == NULL ? NULL : strdup(text);
    ist_json_fini(&json);
    return copy;
}

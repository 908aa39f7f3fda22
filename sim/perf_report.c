#include "sim/perf_report.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/size.h"
#include "sim/memory.h"
#include "sim/plot.h"

#define GIB ((double)(1ull << 30))
#define PAYS_SHARE 0.9

static double percent(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : 100. * (double)part / (double)whole;
}

static double seconds_at(const struct ist_histogram *histogram, double share) {
    return (double)ist_histogram_percentile(histogram, share) / 1e9;
}

static double mean_s(const struct sim_perf_figures *figures) {
    return ist_histogram_mean(&figures->ttft_ns) / 1e9;
}

size_t sim_perf_report_pays(const struct sim_perf_report *report) {
    double without = mean_s(&report->without), most = 0;
    for (size_t i = 0; i < report->pool_count; i++) {
        double gain = without - mean_s(&report->with[i]);
        most = gain > most ? gain : most;
    }
    size_t pays = most > 0 ? 0 : report->pool_count;
    while (pays < report->pool_count && without - mean_s(&report->with[pays]) < PAYS_SHARE * most) {
        pays++;
    }
    return pays;
}

static void write_pays(FILE *out, const struct sim_perf_report *report) {
    size_t pays = sim_perf_report_pays(report);
    char text[IST_SIZE_TEXT_MAX];
    if (pays == report->pool_count) {
        fprintf(out, "None of these pools pays: what is scarce first is the servers' %s.\n",
                report->with[report->pool_count - 1].scarce);
    } else {
        fprintf(
            out,
            "%s brings nine tenths of what the best pool takes off the mean time to the first token "
            "(%.3f s without, %.3f s with it).\n",
            ist_size_text(report->pools[pays], text), mean_s(&report->without),
            mean_s(&report->with[pays]));
    }
}

/* ---- table --------------------------------------------------------------------------------------------- */

static void write_row(FILE *out, const char *name, const struct sim_perf_figures *figures) {
    const struct ist_histogram *ttft = &figures->ttft_ns;
    fprintf(out, "%-9s %6.2f %8.3f %8.3f %8.3f %8.3f %7.2f %7.2f %6.1f %6.1f %6.1f %6.2f %8.1f  %s\n",
            name, percent(figures->hits, figures->blocks), seconds_at(ttft, 0.5), seconds_at(ttft, 0.9),
            seconds_at(ttft, 0.99), seconds_at(&figures->fetch_ns, 0.5), 100 * figures->put_overhead,
            100 * figures->load_overhead, 100 * figures->gpu_share, 100 * figures->in_share,
            100 * figures->out_share, 100 * figures->processor_share, figures->nodes_per_server,
            figures->scarce);
}

void sim_perf_report_table(FILE *out, const struct sim_perf_report *report) {
    const struct sim_perf_config *config = &report->config;
    char text[IST_SIZE_TEXT_MAX];
    fprintf(out,
            "%s: %" PRIu64 " requests, %" PRIu64 " blocks; %s on %s; %u prefill and %u decode nodes, "
            "%u servers, links of %g Gb/s; a block is %s\n",
            report->trace, report->without.requests, report->without.blocks, config->model->name,
            report->gpu, config->prefills, config->decodes, config->servers,
            config->link_bits_per_sec / 1e9, ist_size_text(sim_perf_block_bytes(config->model), text));
    fprintf(out, "%-9s %6s %26s %8s %7s %7s %6s %20s %8s\n", "", "hits", "first token after, s",
            "decode", "behind", "waits", "GPUs", "server busy, %", "nodes a");
    fprintf(out, "%-9s %6s %8s %8s %8s %8s %7s %7s %6s %6s %6s %6s %8s  %s\n", "pool", "%", "p50",
            "p90", "p99", "gets, s", "puts, %", "gets, %", "busy", "in", "out", "cpu", "server",
            "scarce");
    write_row(out, "none", &report->without);
    for (size_t i = 0; i < report->pool_count; i++) {
        write_row(out, ist_size_text(report->pools[i], text), &report->with[i]);
    }
    write_pays(out, report);
}

/* ---- JSON and CSV -------------------------------------------------------------------------------------- */

static void add_number(struct ist_json *json, const char *key, double value) {
    ist_json_key(json, key);
    ist_json_double(json, value);
}

static void add_latency(struct ist_json *json, const char *key, const struct ist_histogram *histogram) {
    ist_json_key(json, key);
    ist_json_object(json);
    add_number(json, "p50", seconds_at(histogram, 0.5));
    add_number(json, "p90", seconds_at(histogram, 0.9));
    add_number(json, "p99", seconds_at(histogram, 0.99));
    add_number(json, "mean", ist_histogram_mean(histogram) / 1e9);
    ist_json_end(json);
}

static void add_figures(struct ist_json *json, uint64_t pool_bytes,
                        const struct sim_perf_figures *figures) {
    ist_json_object(json);
    ist_json_key(json, "pool_bytes");
    ist_json_uint(json, pool_bytes);
    add_number(json, "hit_percent", percent(figures->hits, figures->blocks));
    add_latency(json, "ttft_seconds", &figures->ttft_ns);
    add_latency(json, "decode_get_seconds", &figures->fetch_ns);
    add_number(json, "put_overhead_percent", 100 * figures->put_overhead);
    add_number(json, "load_overhead_percent", 100 * figures->load_overhead);
    add_number(json, "gpu_busy_percent", 100 * figures->gpu_share);
    add_number(json, "link_in_percent", 100 * figures->in_share);
    add_number(json, "link_out_percent", 100 * figures->out_share);
    add_number(json, "link_in_peak_percent", 100 * figures->peak_in_share);
    add_number(json, "link_out_peak_percent", 100 * figures->peak_out_share);
    add_number(json, "server_processor_percent", 100 * figures->processor_share);
    add_number(json, "nodes_per_server", figures->nodes_per_server);
    ist_json_key(json, "scarce");
    ist_json_string(json, figures->scarce);
    ist_json_key(json, "evicted_blocks");
    ist_json_uint(json, figures->evicted);
    ist_json_key(json, "decode_missing_blocks");
    ist_json_uint(json, figures->decode_missing);
    add_number(json, "seconds", (double)figures->duration_ns / 1e9);
    ist_json_end(json);
}

bool sim_perf_report_json(FILE *out, const struct sim_perf_report *report) {
    struct ist_json json;
    ist_json_init(&json, ist_alloc_system());
    ist_json_object(&json);
    ist_json_key(&json, "model");
    ist_json_string(&json, report->config.model->name);
    ist_json_key(&json, "gpu");
    ist_json_string(&json, report->gpu);
    add_number(&json, "link_gigabits", report->config.link_bits_per_sec / 1e9);
    ist_json_key(&json, "prefills");
    ist_json_uint(&json, report->config.prefills);
    ist_json_key(&json, "decodes");
    ist_json_uint(&json, report->config.decodes);
    ist_json_key(&json, "servers");
    ist_json_uint(&json, report->config.servers);
    ist_json_key(&json, "without");
    add_figures(&json, 0, &report->without);
    ist_json_key(&json, "with");
    ist_json_array(&json);
    for (size_t i = 0; i < report->pool_count; i++) {
        add_figures(&json, report->pools[i], &report->with[i]);
    }
    ist_json_end(&json);
    size_t pays = sim_perf_report_pays(report);
    ist_json_key(&json, "pays_pool_bytes");
    if (pays < report->pool_count) {
        ist_json_uint(&json, report->pools[pays]);
    } else {
        ist_json_null(&json);
    }
    ist_json_end(&json);
    const char *text = ist_json_text(&json);
    bool done = text != NULL && fprintf(out, "%s\n", text) > 0;
    ist_json_fini(&json);
    return done;
}

void sim_perf_report_csv(FILE *out, const struct sim_perf_report *report) {
    const struct sim_perf_figures *figures = &report->with[report->pool_count - 1];
    double step_s = (double)figures->step_ns / 1e9;
    fprintf(out, "seconds,requests,blocks,hit_blocks,ttft_mean_seconds,put_gigabits_per_second,"
                 "got_gigabits_per_second,server_processor_seconds\n");
    for (size_t i = 0; i < figures->steps; i++) {
        const struct sim_perf_second *step = &figures->series[i];
        double ttft_s =
            step->requests == 0 ? 0 : (double)step->ttft_sum_ns / (double)step->requests / 1e9;
        fprintf(out, "%.0f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.6f,%.3f,%.3f,%.6f\n",
                (double)i * step_s, step->requests, step->blocks, step->hits, ttft_s,
                (double)step->put_bytes * 8 / 1e9 / step_s, (double)step->got_bytes * 8 / 1e9 / step_s,
                (double)step->processor_ns / 1e9);
    }
}

/* ---- plots --------------------------------------------------------------------------------------------- */

static bool write_plot(const char *directory, const char *name, const struct sim_plot *plot) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        return false;
    }
    sim_plot_write(file, plot);
    if (fclose(file) != 0) {
        perror(path);
        return false;
    }
    return true;
}

static bool plot_pools(const char *directory, const struct sim_perf_report *report) {
    double x[SIM_PERF_POOLS_MAX], hits[SIM_PERF_POOLS_MAX], times[4][SIM_PERF_POOLS_MAX];
    for (size_t i = 0; i < report->pool_count; i++) {
        const struct sim_perf_figures *figures = &report->with[i];
        x[i] = (double)report->pools[i] / GIB;
        hits[i] = percent(figures->hits, figures->blocks);
        times[0][i] = seconds_at(&figures->ttft_ns, 0.5);
        times[1][i] = seconds_at(&figures->ttft_ns, 0.9);
        times[2][i] = mean_s(figures);
        times[3][i] = mean_s(&report->without);
    }
    struct sim_plot plot = {
        .title = "What is found in the store",
        .x_name = "pool, GiB",
        .y_name = "blocks found, %",
        .x = x,
        .points = report->pool_count,
        .log_x = true,
        .lines = {{"hits", hits}},
        .line_count = 1,
    };
    bool done = write_plot(directory, "hits.svg", &plot);
    plot.title = "Time to the first token";
    plot.y_name = "seconds";
    plot.lines[0] = (struct sim_plot_line){"p50", times[0]};
    plot.lines[1] = (struct sim_plot_line){"p90", times[1]};
    plot.lines[2] = (struct sim_plot_line){"mean", times[2]};
    plot.lines[3] = (struct sim_plot_line){"mean without a store", times[3]};
    plot.line_count = 4;
    return write_plot(directory, "ttft.svg", &plot) && done;
}

static bool plot_series(const char *directory, const struct sim_perf_report *report) {
    const struct sim_perf_figures *figures = &report->with[report->pool_count - 1];
    double *values = sim_memory_new(figures->steps * 3 + 1, sizeof(double));
    double *x = values, *put = x + figures->steps, *got = put + figures->steps;
    double step_s = (double)figures->step_ns / 1e9;
    for (size_t i = 0; i < figures->steps; i++) {
        x[i] = (double)i * step_s / 60;
        put[i] = (double)figures->series[i].put_bytes * 8 / 1e9 / step_s;
        got[i] = (double)figures->series[i].got_bytes * 8 / 1e9 / step_s;
    }
    const struct sim_plot plot = {
        .title = "The servers' links, with the largest pool",
        .x_name = "minutes",
        .y_name = "Gb/s",
        .x = x,
        .points = figures->steps,
        .lines = {{"got", got}, {"put", put}},
        .line_count = 2,
    };
    bool done = figures->steps == 0 || write_plot(directory, "link.svg", &plot);
    free(values);
    return done;
}

bool sim_perf_report_plots(const char *directory, const struct sim_perf_report *report) {
    bool pools = plot_pools(directory, report);
    return plot_series(directory, report) && pools;
}

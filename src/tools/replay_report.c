#include "tools/replay_report.h"

#include <inttypes.h>
#include <string.h>

#include "base/size.h"

#define NUMBER_TEXT_MAX 32

static double share(uint64_t part, uint64_t all) {
    return all == 0 ? 0 : (double)part / (double)all;
}

double ist_replay_report_hit_ratio(const struct ist_replay_figures *figures) {
    return share(figures->hit_blocks, figures->blocks);
}

double ist_replay_report_unlimited_ratio(const struct ist_replay_figures *figures) {
    return share(figures->unlimited_blocks, figures->blocks);
}

/* 1234567 -> "1,234,567". Returns out. */
static const char *grouped(uint64_t number, char out[NUMBER_TEXT_MAX]) {
    char digits[NUMBER_TEXT_MAX];
    size_t count = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, number), at = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static double seconds(const struct ist_replay_result *result) {
    return (double)result->elapsed_ns / 1e9;
}

static double per_second(const struct ist_replay_result *result, uint64_t count) {
    return result->elapsed_ns == 0 ? 0 : (double)count / seconds(result);
}

/* ---- head ----------------------------------------------------------------------------------------- */

static void head_model(FILE *out, const struct ist_replay_plan *plan) {
    char layer[IST_SIZE_TEXT_MAX], whole[IST_SIZE_TEXT_MAX], block[IST_SIZE_TEXT_MAX];
    fprintf(out, "model    %s, %u of %u layers; a block is %s, %u values of %s", plan->model->name,
            plan->layers, plan->model->layers, ist_size_text(plan->block_bytes, block), plan->layers,
            ist_size_text(plan->layer_bytes, layer));
    if (plan->scale > 1) {
        fprintf(out, " (%s / %" PRIu64 ")", ist_size_text(ist_model_block_bytes(plan->model), whole),
                plan->scale);
    }
    fputc('\n', out);
}

static void head_pace(FILE *out, const struct ist_replay_options *options) {
    if (options->pace == 0) {
        fputs("as fast as possible\n", out);
    } else if (options->pace == 1) {
        fputs("at the recorded pace\n", out);
    } else {
        fprintf(out, "at %g times the recorded pace\n", options->pace);
    }
}

void ist_replay_report_head(FILE *out, const struct ist_replay_result *result) {
    char pool[IST_SIZE_TEXT_MAX], number[NUMBER_TEXT_MAX];
    const struct ist_replay_options *options = result->options;
    fprintf(out, "replay   %s -> %s\n", result->traffic_name, options->endpoint);
    head_model(out, &result->plan);
    fprintf(out, "pool     %s, room for %s blocks\n", ist_size_text(result->plan.pool_bytes, pool),
            grouped(result->plan.pool_blocks, number));
    fprintf(out, "clients  %" PRIu64 " prefill, %" PRIu64 " decode, ", options->prefills,
            options->decodes);
    head_pace(out, options);
    if (result->before.keys > 0) {
        fprintf(out,
                "note     the server held %s keys before; those of an earlier replay are hits now "
                "(--purge empties it)\n",
                grouped(result->before.keys, number));
    }
}

/* ---- table ---------------------------------------------------------------------------------------- */

static void row_requests(FILE *out, const struct ist_replay_result *result) {
    char number[NUMBER_TEXT_MAX];
    const struct ist_replay_figures *figures = &result->figures;
    fprintf(out, "\nrequests            %9s  in %.1f s, %.0f/s; %.1f min of the trace\n",
            grouped(figures->requests, number), seconds(result), per_second(result, figures->requests),
            (double)result->span_ms / 60000);
    if (result->options->pace != 0) {
        fprintf(out, "behind the pace     %9.3f  s at most\n", (double)figures->late_ns / 1e9);
    }
}

static void row_hits(FILE *out, const struct ist_replay_result *result) {
    char hits[NUMBER_TEXT_MAX], blocks[NUMBER_TEXT_MAX];
    const struct ist_replay_figures *figures = &result->figures;
    double ratio = ist_replay_report_hit_ratio(figures);
    double unlimited = ist_replay_report_unlimited_ratio(figures);
    fprintf(out, "prefix hit ratio    %8.2f%%  %s of %s blocks\n", 100 * ratio,
            grouped(figures->hit_blocks, hits), grouped(figures->blocks, blocks));
    fprintf(out, "  unlimited cache   %8.2f%%", 100 * unlimited);
    if (unlimited > 0) {
        fprintf(out, "  of that, %.0f%% was reached", 100 * ratio / unlimited);
    }
    fprintf(out, "\nevicted             %9s  values\n",
            grouped(result->after.evicted_entries - result->before.evicted_entries, hits));
}

static void row_moved(FILE *out, const struct ist_replay_result *result, const char *name,
                      uint64_t bytes, uint64_t values) {
    char size[IST_SIZE_TEXT_MAX], number[NUMBER_TEXT_MAX];
    fprintf(out, "%-19s %9s  %.0f MiB/s, %s values\n", name, ist_size_text(bytes, size),
            per_second(result, bytes) / (1 << 20), grouped(values, number));
}

static void row_latency(FILE *out, const char *name, const struct ist_histogram *histogram) {
    if (histogram->count == 0) {
        return;
    }
    fprintf(out, "  %-17s %9.2f  %9.2f\n", name, (double)ist_histogram_percentile(histogram, 0.5) / 1e6,
            (double)ist_histogram_percentile(histogram, 0.99) / 1e6);
}

static void rows_latencies(FILE *out, const struct ist_replay_figures *figures) {
    fputs("ms, of a request          p50        p99\n", out);
    row_latency(out, "match", &figures->match_ns);
    row_latency(out, "get its prefix", &figures->prefix_ns);
    row_latency(out, "put a layer", &figures->layer_ns);
    row_latency(out, "put all layers", &figures->put_ns);
    row_latency(out, "get all", &figures->get_ns);
}

static void rows_gone(FILE *out, const struct ist_replay_figures *figures) {
    char number[NUMBER_TEXT_MAX], all[NUMBER_TEXT_MAX];
    if (figures->lost_blocks > 0) {
        fprintf(out, "found, then gone    %9s  blocks: evicted before the prefill got them\n",
                grouped(figures->lost_blocks, number));
    }
    fprintf(out, "missed by decodes   %9s  of %s blocks: evicted before\n",
            grouped(figures->missed_blocks, number), grouped(figures->wanted_blocks, all));
    if (figures->refused_values > 0) {
        fprintf(out, "no space            %9s  values were not stored: all was in use\n",
                grouped(figures->refused_values, number));
    }
}

static void rows_checked(FILE *out, const struct ist_replay_result *result) {
    char size[IST_SIZE_TEXT_MAX], number[NUMBER_TEXT_MAX];
    const struct ist_replay_figures *figures = &result->figures;
    double cpu = (double)result->cpu_ns / 1e9, cost = (double)figures->verifying_cpu_ns / 1e9;
    if (figures->wrong_values > 0) {
        fprintf(out, "WRONG               %9s  values; the first: %s\n",
                grouped(figures->wrong_values, number), figures->wrong);
    } else if (result->options->verify) {
        fprintf(out, "checked             %9s  every byte was right",
                ist_size_text(figures->get_bytes, size));
        fprintf(out, "; that took %.1f of the clients' %.1f s of CPU\n", cost, cpu);
    } else {
        fputs("checked                  none  (--no-verify)\n", out);
    }
}

/* A server whose smallest block is larger than ours holds fewer than it could. */
static void note_rounding(FILE *out, const struct ist_replay_result *result) {
    char size[IST_SIZE_TEXT_MAX];
    const struct ist_replay_server *after = &result->after;
    if (after->keys > 0 && after->committed_bytes > after->value_bytes + after->value_bytes / 4) {
        fprintf(
            out,
            "note     the server takes %.1f bytes for each byte that it stores: it rounds values of %s "
            "up (--minimal-allocate-size)\n",
            (double)after->committed_bytes / (double)after->value_bytes,
            ist_size_text(result->plan.layer_bytes, size));
    }
}

void ist_replay_report_table(FILE *out, const struct ist_replay_result *result) {
    const struct ist_replay_figures *figures = &result->figures;
    row_requests(out, result);
    row_hits(out, result);
    row_moved(out, result, "put", figures->put_bytes, figures->put_values);
    row_moved(out, result, "get", figures->get_bytes, figures->get_values);
    rows_latencies(out, figures);
    rows_gone(out, figures);
    rows_checked(out, result);
    note_rounding(out, result);
    if (figures->failure[0] != '\0') {
        fprintf(out, "ended early: %s\n", figures->failure);
    } else if (result->interrupted) {
        fputs("ended early, by a signal\n", out);
    }
}

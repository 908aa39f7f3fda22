#include "tools/bench_report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/size.h"
#include "infinistore/infinistore.h"
#include "tools/bench_rival.h"

#define TEXT_MAX 32
#define MIB 1048576.

/* ---- figures ------------------------------------------------------------------------------------ */

void ist_bench_figures_of(uint64_t requests, uint64_t bytes, uint64_t elapsed_ns,
                          const struct ist_histogram *latency, struct ist_bench_figures *figures) {
    *figures = (struct ist_bench_figures){
        .requests = requests,
        .bytes = bytes,
        .elapsed_ns = elapsed_ns,
        .p50_ns = ist_histogram_percentile(latency, 0.5),
        .p99_ns = ist_histogram_percentile(latency, 0.99),
        .p999_ns = ist_histogram_percentile(latency, 0.999),
        .max_ns = latency->max,
        .mean_ns = ist_histogram_mean(latency),
    };
}

static double per_second(uint64_t amount, uint64_t elapsed_ns) {
    return elapsed_ns == 0 ? 0 : (double)amount * 1e9 / (double)elapsed_ns;
}

double ist_bench_bytes_rate(const struct ist_bench_figures *figures) {
    return per_second(figures->bytes, figures->elapsed_ns);
}

double ist_bench_requests_rate(const struct ist_bench_figures *figures) {
    return per_second(figures->requests, figures->elapsed_ns);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double ist_bench_median(double *values, size_t count) {
    if (count == 0) {
        return 0;
    }
    qsort(values, count, sizeof *values, by_value);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* ---- init, fini --------------------------------------------------------------------------------- */

void ist_bench_report_init(struct ist_bench_report *report, FILE *out, FILE *terminal,
                           const struct ist_bench_options *options) {
    *report = (struct ist_bench_report){
        .out = out, .terminal = terminal, .endpoint = options->endpoint, .options = options};
}

void ist_bench_report_fini(struct ist_bench_report *report) {
    free(report->results);
    report->results = NULL;
}

/* ---- the table ---------------------------------------------------------------------------------- */

/* 1234567 -> "1,234,567" */
static const char *grouped(double number, char text[TEXT_MAX]) {
    char digits[TEXT_MAX];
    int length = snprintf(digits, sizeof digits, "%.0f", number);
    size_t used = 0;
    for (int i = 0; i < length && used + 2 < TEXT_MAX; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            text[used++] = ',';
        }
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

static const char *time_text(uint64_t ns, char text[TEXT_MAX]) {
    double us = (double)ns / 1e3;
    if (us < 1e3) {
        snprintf(text, TEXT_MAX, "%.1f us", us);
    } else if (us < 1e6) {
        snprintf(text, TEXT_MAX, "%.2f ms", us / 1e3);
    } else {
        snprintf(text, TEXT_MAX, "%.2f s", us / 1e6);
    }
    return text;
}

static bool moves_bytes(const struct ist_bench_result *result) {
    return result->value_bytes != 0;
}

/* "3,012 MiB/s" where bytes are moved, else "65,123 req/s" */
static const char *rate_text(const struct ist_bench_result *result,
                             const struct ist_bench_figures *figures, char text[TEXT_MAX]) {
    char number[TEXT_MAX];
    bool bytes = moves_bytes(result);
    double rate = bytes ? ist_bench_bytes_rate(figures) / MIB : ist_bench_requests_rate(figures);
    snprintf(text, TEXT_MAX, "%s %s", grouped(rate, number), bytes ? "MiB/s" : "req/s");
    return text;
}

/* The columns that say what was measured. */
static void print_case(FILE *out, const struct ist_bench_result *result) {
    char value[IST_SIZE_TEXT_MAX] = "-";
    if (moves_bytes(result)) {
        ist_size_text(result->value_bytes, value);
    }
    fprintf(out, "%-6s %9s %6zu %7zu %5zu", ist_bench_op_name(result->op), value, result->batch,
            result->clients, result->depth);
}

static const char case_head[] = "op         value   keys clients depth";

static void clear_progress(const struct ist_bench_report *report) {
    if (report->terminal != NULL) {
        fputs("\r\033[K", report->terminal);
        fflush(report->terminal);
    }
}

void ist_bench_report_head(struct ist_bench_report *report) {
    char bytes[IST_SIZE_TEXT_MAX];
    static const char *const verified[] = {
        [IST_BENCH_VERIFY_ALL] = "every value verified",
        [IST_BENCH_VERIFY_SAMPLE] = "one value of 16 verified",
        [IST_BENCH_VERIFY_NONE] = "nothing verified",
    };
    clear_progress(report);
    fprintf(report->out, "infinistore-bench %s: %s, %s of distinct values, keys of %llu bytes, %s\n\n",
            IST_VERSION, report->endpoint, ist_size_text(report->working_set_bytes, bytes),
            (unsigned long long)report->options->key_bytes, verified[report->options->verify]);
    fprintf(report->out, "%s %14s %11s %9s %9s %9s %9s\n", case_head, "", "req/s", "p50", "p99",
            "p99.9", "max");
    fflush(report->out);
}

static void print_row(FILE *out, const struct ist_bench_result *result) {
    char rate[TEXT_MAX], requests[TEXT_MAX], p50[TEXT_MAX], p99[TEXT_MAX], p999[TEXT_MAX],
        most[TEXT_MAX];
    const struct ist_bench_figures *ours = &result->ours;
    print_case(out, result);
    fprintf(
        out, " %14s %11s %9s %9s %9s %9s\n", moves_bytes(result) ? rate_text(result, ours, rate) : "",
        grouped(ist_bench_requests_rate(ours), requests), time_text(ours->p50_ns, p50),
        time_text(ours->p99_ns, p99), time_text(ours->p999_ns, p999), time_text(ours->max_ns, most));
}

enum ist_status ist_bench_report_add(struct ist_bench_report *report,
                                     const struct ist_bench_result *result) {
    if (report->count == report->room) {
        size_t room = report->room == 0 ? 16 : 2 * report->room;
        struct ist_bench_result *results = realloc(report->results, room * sizeof *results);
        if (results == NULL) {
            return IST_NO_MEMORY;
        }
        report->results = results;
        report->room = room;
    }
    report->results[report->count++] = *result;
    clear_progress(report);
    print_row(report->out, result);
    fflush(report->out);
    return IST_OK;
}

/* Puts and gets against a bare socket and memcpy. */
static void print_moves(const struct ist_bench_report *report) {
    FILE *out = report->out;
    fprintf(out,
            "\nAgainst this machine: the same bytes through a bare socket, and through memcpy\n"
            "%s %14s %14s %7s %14s %9s\n",
            case_head, "ours", "raw", "of raw", "memcpy", "of memcpy");
    for (size_t i = 0; i < report->count; i++) {
        const struct ist_bench_result *result = &report->results[i];
        char ours[TEXT_MAX], raw[TEXT_MAX], copy[TEXT_MAX];
        if (result->raw.requests > 0 && moves_bytes(result)) {
            print_case(out, result);
            fprintf(out, " %14s %14s %7.2f %14s %9.2f\n", rate_text(result, &result->ours, ours),
                    rate_text(result, &result->raw, raw), result->of_raw,
                    rate_text(result, &result->copy, copy), result->of_copy);
        }
    }
}

/* Questions without values against a bare round trip. */
static void print_pings(const struct ist_bench_report *report) {
    FILE *out = report->out;
    fprintf(out,
            "\nAgainst a bare ping-pong of small messages\n"
            "%s %14s %14s %7s\n",
            case_head, "ours p50", "ping p50", "times");
    for (size_t i = 0; i < report->count; i++) {
        const struct ist_bench_result *result = &report->results[i];
        char ours[TEXT_MAX], ping[TEXT_MAX];
        if (result->raw.requests > 0 && !moves_bytes(result)) {
            print_case(out, result);
            fprintf(out, " %14s %14s %7.2f\n", time_text(result->ours.p50_ns, ours),
                    time_text(result->raw.p50_ns, ping), result->of_raw);
        }
    }
}

static void print_rival(const struct ist_bench_report *report) {
    FILE *out = report->out;
    const char *name = ist_bench_rival_name(report->options->rival);
    char p50[TEXT_MAX];
    snprintf(p50, sizeof p50, "%s p50", name);
    fprintf(out,
            "\nAgainst %s, started for this: the same keys, values, connections and depth\n"
            "%s %14s %14s %7s %9s %13s\n",
            name, case_head, "ours", name, "times", "ours p50", p50);
    for (size_t i = 0; i < report->count; i++) {
        const struct ist_bench_result *result = &report->results[i];
        char ours[TEXT_MAX], theirs[TEXT_MAX], ours_p50[TEXT_MAX];
        if (result->rival.requests > 0) {
            print_case(out, result);
            fprintf(out, " %14s %14s %7.2f %9s %13s\n", rate_text(result, &result->ours, ours),
                    rate_text(result, &result->rival, theirs), result->of_rival,
                    time_text(result->ours.p50_ns, ours_p50), time_text(result->rival.p50_ns, p50));
        }
    }
}

static void print_perftest(const struct ist_bench_report *report) {
    FILE *out = report->out;
    fprintf(out,
            "\nAgainst perftest between the same devices: ib_read_bw for put, ib_write_bw for get\n"
            "%s %14s %14s %7s\n",
            case_head, "ours", "perftest", "share");
    for (size_t i = 0; i < report->count; i++) {
        const struct ist_bench_result *result = &report->results[i];
        char ours[TEXT_MAX], theirs[TEXT_MAX];
        if (result->perftest.requests > 0) {
            print_case(out, result);
            fprintf(out, " %14s %14s %7.2f\n", rate_text(result, &result->ours, ours),
                    rate_text(result, &result->perftest, theirs), result->of_perftest);
        }
    }
}

static void print_verified(const struct ist_bench_report *report) {
    uint64_t values = 0, verified = 0, read_back = 0;
    char texts[3][TEXT_MAX];
    for (size_t i = 0; i < report->count; i++) {
        values += report->results[i].values;
        verified += report->results[i].verified;
        read_back += report->results[i].read_back;
    }
    if (values + read_back > 0) {
        fprintf(report->out,
                "\nVerified: %s of %s values that were got, %s that were put and read back\n",
                grouped((double)verified, texts[0]), grouped((double)values, texts[1]),
                grouped((double)read_back, texts[2]));
    }
}

void ist_bench_report_tail(struct ist_bench_report *report) {
    bool moves = false, pings = false, rivals = false, perftest = false;
    for (size_t i = 0; i < report->count; i++) {
        const struct ist_bench_result *result = &report->results[i];
        moves = moves || (result->raw.requests > 0 && moves_bytes(result));
        pings = pings || (result->raw.requests > 0 && !moves_bytes(result));
        rivals = rivals || result->rival.requests > 0;
        perftest = perftest || result->perftest.requests > 0;
    }
    clear_progress(report);
    if (moves) {
        print_moves(report);
    }
    if (pings) {
        print_pings(report);
    }
    if (rivals) {
        print_rival(report);
    }
    if (perftest) {
        print_perftest(report);
    }
    print_verified(report);
    fflush(report->out);
}

void ist_bench_report_progress(struct ist_bench_report *report, const char *format, ...) {
    if (report->terminal == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    fputs("\r\033[K", report->terminal);
    vfprintf(report->terminal, format, arguments);
    fflush(report->terminal);
    va_end(arguments);
}

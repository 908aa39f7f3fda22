/* What was measured, as a table that grows row by row, as JSON, and as a line of progress on a terminal. */
#ifndef IST_TOOLS_BENCH_REPORT_H
#define IST_TOOLS_BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "infinistore/status.h"
#include "tools/bench_options.h"
#include "tools/histogram.h"

/* One side of a measurement. */
struct ist_bench_figures {
    uint64_t requests, bytes, elapsed_ns; /* requests 0: was not measured */
    uint64_t p50_ns, p99_ns, p999_ns, max_ns;
    double mean_ns;
};

/* From sums and a histogram. */
void ist_bench_figures_of(uint64_t requests, uint64_t bytes, uint64_t elapsed_ns,
                          const struct ist_histogram *latency, struct ist_bench_figures *figures);

/* Per second; 0 where nothing was measured. */
double ist_bench_bytes_rate(const struct ist_bench_figures *figures);
double ist_bench_requests_rate(const struct ist_bench_figures *figures);

struct ist_bench_result {
    enum ist_bench_op op;
    uint64_t value_bytes; /* 0: the operation moves none */
    size_t batch, clients, depth;
    uint64_t rounds;
    struct ist_bench_figures ours;
    struct ist_bench_figures raw;      /* put, get: the same bytes; exists, match: pings */
    struct ist_bench_figures rival;    /* redis or memcached */
    struct ist_bench_figures copy;     /* memcpy */
    struct ist_bench_figures perftest; /* put: ib_read_bw; get: ib_write_bw; no latencies */
    /* Ours divided by theirs, the median over the rounds; 0: not measured. Of raw pings: of the p50s. */
    double of_raw, of_rival, of_copy, of_perftest;
    uint64_t values, verified; /* that were got, and of these, checked and right */
    uint64_t read_back;        /* values that were put, then got once more to check them */
};

struct ist_bench_report {
    FILE *out;
    FILE *terminal; /* NULL: no line of progress */
    const char *endpoint;
    uint64_t working_set_bytes;
    const struct ist_bench_options *options;
    struct ist_bench_result *results; /* owned */
    size_t count, room;
    const char *error; /* NULL: all went well */
};

/* Everything that is handed in is borrowed until fini. */
void ist_bench_report_init(struct ist_bench_report *report, FILE *out, FILE *terminal,
                           const struct ist_bench_options *options);
void ist_bench_report_fini(struct ist_bench_report *report);

/* The lines above the first row. */
void ist_bench_report_head(struct ist_bench_report *report);
/* A row, and kept for what follows. Returns OK, NO_MEMORY. */
enum ist_status ist_bench_report_add(struct ist_bench_report *report,
                                     const struct ist_bench_result *result);
/* The tables of comparisons, as far as there are any, and what was verified. */
void ist_bench_report_tail(struct ist_bench_report *report);

__attribute__((format(printf, 2, 3))) void ist_bench_report_progress(struct ist_bench_report *report,
                                                                     const char *format, ...);

/* Everything as one JSON object. Owned by the caller: free(). NULL: out of memory. */
char *ist_bench_report_json(const struct ist_bench_report *report);

/* The median of values, which are put in order; 0 when there are none. */
double ist_bench_median(double *values, size_t count);

#endif

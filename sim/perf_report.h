/* What the performance model found, for people and for programs. */
#ifndef IST_SIM_PERF_REPORT_H
#define IST_SIM_PERF_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "sim/perf.h"

#define SIM_PERF_POOLS_MAX 12u

struct sim_perf_report {
    struct sim_perf_config config; /* of all, but for the pool */
    const char *gpu, *trace;
    uint64_t pools[SIM_PERF_POOLS_MAX]; /* ascending */
    size_t pool_count;
    struct sim_perf_figures without; /* no store */
    struct sim_perf_figures with[SIM_PERF_POOLS_MAX];
};

/* The smallest pool that brings nine tenths of what the best of them takes off the mean time to the first token: its
 * index; pool_count when none takes anything off. */
size_t sim_perf_report_pays(const struct sim_perf_report *report);

void sim_perf_report_table(FILE *out, const struct sim_perf_report *report);
/* False: no memory. */
bool sim_perf_report_json(FILE *out, const struct sim_perf_report *report);
/* The series of the largest pool, a line for each step. */
void sim_perf_report_csv(FILE *out, const struct sim_perf_report *report);
/* ttft.svg and hits.svg over pools, link.svg over time, into a directory that is there. False: a line on stderr tells
 * why. */
bool sim_perf_report_plots(const char *directory, const struct sim_perf_report *report);

#endif

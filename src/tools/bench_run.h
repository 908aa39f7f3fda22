/* The whole run: servers to compare with, memory, and every combination that was asked for. */
#ifndef IST_TOOLS_BENCH_RUN_H
#define IST_TOOLS_BENCH_RUN_H

#include "infinistore/status.h"
#include "tools/bench_options.h"
#include "tools/bench_report.h"

/* Results go to the report as they come.
 * Returns OK; CONFIG: an option cannot be met; anything else: a request failed or a byte was wrong.
 * error  IST_BENCH_ERROR_MAX bytes: one line for any but OK. */
enum ist_status ist_bench_run(const struct ist_bench_options *options, struct ist_bench_report *report,
                              char *error);

#endif

/* One measurement: an operation on one set, with one shape of load, in rounds. Each round does the same for
 * every side, one after the other: the same keys on our server and on the rival, as many bytes through the raw
 * socket and memcpy. Whatever else the machine does then meets all of them. */
#ifndef IST_TOOLS_BENCH_MEASURE_H
#define IST_TOOLS_BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>

#include "tools/bench_load.h"
#include "tools/bench_perftest.h"
#include "tools/bench_raw.h"
#include "tools/bench_report.h"
#include "tools/bench_set.h"

/* A server that is driven with the set's keys. */
struct ist_bench_side {
    const struct ist_bench_peer *peer;
    const char *endpoint;
};

struct ist_bench_measure {
    const struct ist_bench_options *options;
    struct ist_bench_report *report; /* for the line of progress */
    struct ist_bench_side sides[2];  /* ours, the rival */
    size_t side_count;
    struct ist_bench_raw *raw;           /* NULL: not asked for */
    struct ist_bench_perftest *perftest; /* the same */
    const struct ist_bench_memory *memory;
    struct ist_bench_set *set; /* all of it is stored on every side */
    enum ist_bench_op op;
    struct ist_bench_shape shape;
};

/* Returns OK; anything else: `error`, IST_BENCH_ERROR_MAX bytes, is one line that says what went wrong.
 * result  written only on OK. After a put, every key of the set has been read back, unless nothing is to
 *         be verified. */
enum ist_status ist_bench_measure(const struct ist_bench_measure *measure,
                                  struct ist_bench_result *result, char *error);

/* Puts all keys of the set, or removes them, on one side. Not measured. */
enum ist_status ist_bench_store_all(const struct ist_bench_measure *measure, size_t side, char *error);
enum ist_status ist_bench_remove_all(const struct ist_bench_measure *measure, size_t side, char *error);

#endif

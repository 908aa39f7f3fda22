/* Looks at the server before anything is measured: how large its pool is, and how much of it one value
 * takes. */
#ifndef IST_TOOLS_BENCH_SCOUT_H
#define IST_TOOLS_BENCH_SCOUT_H

#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "tools/bench_options.h"

struct ist_bench_scout {
    uint64_t pool_bytes;
    uint64_t block_bytes[IST_BENCH_LIST_MAX + 1]; /* of the pool, for a value of sizes[i] */
};

/* Waits for a pool that still grows, as far as it is needed; puts a value of each size, and removes it.
 * Where others use the server at the same time the figures may be off: they are advice.
 * Returns OK; CONFIG: the endpoint cannot be parsed; whatever else a request ended with.
 * error  IST_BENCH_ERROR_MAX bytes: one line for any but OK. */
enum ist_status ist_bench_scout(const struct ist_bench_options *options, uint32_t run,
                                const uint64_t *sizes, size_t count, struct ist_bench_scout *scout,
                                char *error);

#endif

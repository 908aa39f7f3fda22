/* The load generator: connections to one peer, each with its own thread, that share a stretch of keys among
 * themselves by taking the next batch whenever they have a request to spare.
 *
 * Only moving the bytes is timed: contents are written before, and checked after, a slice. */
#ifndef IST_TOOLS_BENCH_LOAD_H
#define IST_TOOLS_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "tools/bench_peer.h"
#include "tools/bench_set.h"
#include "tools/histogram.h"

struct ist_bench_load;

#define IST_BENCH_ERROR_MAX 512

struct ist_bench_shape {
    size_t clients, depth, batch; /* batch: keys of a request */
};

/* Connects. target, pin: borrowed.
 * load   owned by the caller on OK.
 * error  IST_BENCH_ERROR_MAX bytes: one line for anything else. */
enum ist_status ist_bench_load_new(const struct ist_bench_peer *peer,
                                   const struct ist_bench_target *target,
                                   const struct ist_bench_shape *shape,
                                   const struct ist_bench_list *pin, struct ist_bench_load **load,
                                   char *error);
void ist_bench_load_free(struct ist_bench_load *load); /* NULL is legal */

const struct ist_bench_peer *ist_bench_load_peer(const struct ist_bench_load *load);

struct ist_bench_slice {
    enum ist_bench_op op;
    const struct ist_bench_set *set;
    size_t first, end; /* keys; a match takes whole batches only */
    uint64_t time_ns;  /* then take no more keys, but one batch each at least; 0: all of them */
    struct ist_histogram *latency; /* one value a request is added; may be NULL */
    /* Written by run(). */
    size_t reached; /* keys below it were done */
    uint64_t requests, bytes, elapsed_ns;
};

/* Every key of the slice is put, got, asked for, or removed once.
 * Returns OK; anything else: the first failure, with `error` of IST_BENCH_ERROR_MAX bytes as one line that
 * names the key. After a failure the load can only be freed. */
enum ist_status ist_bench_load_run(struct ist_bench_load *load, struct ist_bench_slice *slice,
                                   char *error);

/* Checks what the gets of keys [first, end) left in the sink, every one or every `step`-th; spoils it.
 * verified  is increased by the values that were right.
 * Returns OK; PROTOCOL: `error` names the key and the byte. */
enum ist_status ist_bench_load_verify(struct ist_bench_load *load, const struct ist_bench_set *set,
                                      size_t first, size_t end, size_t step, uint64_t *verified,
                                      char *error);

#endif

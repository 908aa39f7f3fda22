/* What the machine can do without a store: bytes through a plain socket between two processes, with nothing
 * but send and recv on either side, into memory as large as a pool.
 *
 * A child process serves; each line to it is a connection with a thread on both ends.
 *   depth 1   a header and the bytes one way, a header back, one after the other, as a request and its reply
 *   deeper    the same bytes in one stream, request by request; one header at its end */
#ifndef IST_TOOLS_BENCH_RAW_H
#define IST_TOOLS_BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "tools/bench_options.h"
#include "tools/histogram.h"

struct ist_bench_raw;

/* An exists of one key of 64 bytes, and its answer, headers and all. */
#define IST_BENCH_RAW_PING_BYTES 104u
#define IST_BENCH_RAW_PONG_BYTES 40u

/* Starts the child; it ends with us. Before this process has threads or much memory of its own.
 * unix_socket   AF_UNIX instead of TCP over loopback.
 * region_bytes  what the child receives into, and sends from.
 * pin           the child's CPUs; borrowed for the call.
 * raw    owned by the caller on OK.
 * error  IST_BENCH_ERROR_MAX bytes: one line for anything else. */
enum ist_status ist_bench_raw_new(bool unix_socket, uint64_t region_bytes,
                                  const struct ist_bench_list *pin, struct ist_bench_raw **raw,
                                  char *error);
void ist_bench_raw_free(struct ist_bench_raw *raw); /* NULL is legal */

/* Connects `lines` lines in place of those before. Returns OK; PEER: `error` says why. */
enum ist_status ist_bench_raw_connect(struct ist_bench_raw *raw, size_t lines, char *error);

struct ist_bench_raw_move {
    bool get; /* from the child to us */
    uint64_t request_bytes, requests;
    size_t depth;
    /* Of ours, at least request_bytes; each call goes on where the last one stopped. The first begins in the
     * middle: what a store's requests just touched is not what these find in the caches. */
    uint8_t *memory;
    uint64_t memory_bytes;
    const struct ist_bench_list *pin;
    struct ist_histogram *latency; /* depth 1: one value a request is added; may be NULL */
    uint64_t elapsed_ns;           /* written on OK */
};

/* Over all lines, the same share of the requests on each. Returns OK; PEER: `error` says why. */
enum ist_status ist_bench_raw_move(struct ist_bench_raw *raw, struct ist_bench_raw_move *move,
                                   char *error);

/* Small messages there and back, one at a time, over the first line. One value each is added to latency. */
enum ist_status ist_bench_raw_ping(struct ist_bench_raw *raw, uint64_t pings,
                                   const struct ist_bench_list *pin, struct ist_histogram *latency,
                                   uint64_t *elapsed_ns, char *error);

#endif

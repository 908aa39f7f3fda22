/* What the devices can do without a store: the perftest package's ib_read_bw where the server would read (put), its
 * ib_write_bw where it would write (get), with both ends on this machine.
 *
 * A child process starts them: a fork of a process with much memory that is registered is another matter. */
#ifndef IST_TOOLS_BENCH_PERFTEST_H
#define IST_TOOLS_BENCH_PERFTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "tools/bench_options.h"

struct ist_bench_perftest;

/* Starts the child; it ends with us. Before this process has threads or much memory of its own.
 * device         the client's, which is read and written; borrowed, as all
 * server_device  who does so
 * pin, pin_peers CPUs of the client's end, of the server's
 * perftest  owned by the caller on OK.
 * error  IST_BENCH_ERROR_MAX bytes: one line for anything else. */
enum ist_status ist_bench_perftest_new(const char *device, const char *server_device,
                                       const struct ist_bench_list *pin,
                                       const struct ist_bench_list *pin_peers,
                                       struct ist_bench_perftest **perftest, char *error);
void ist_bench_perftest_free(struct ist_bench_perftest *perftest); /* NULL is legal */

struct ist_bench_perftest_move {
    bool get;
    uint64_t value_bytes, depth, queue_pairs;
    uint64_t
        iterations; /* values to move on each queue pair; fewer than the tool takes are made more */
};

/* Runs both ends once.
 * bytes_per_second  0: the tool could not tell (it divides by a CPU clock that some virtual machines do not have).
 * Returns OK; CONFIG (it is not installed), PEER (it does not work: `error` has its words). */
enum ist_status ist_bench_perftest_run(struct ist_bench_perftest *perftest,
                                       const struct ist_bench_perftest_move *move,
                                       double *bytes_per_second, char *error);

#endif

/* Threads that begin together: a stretch of work, timed from the start of all to the end of the last. */
#ifndef IST_TOOLS_BENCH_CREW_H
#define IST_TOOLS_BENCH_CREW_H

#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "tools/bench_options.h"

/* member: 0 .. members - 1. */
typedef void ist_bench_work_fn(void *context, size_t member);

/* pin  CPUs that the members are spread over; empty: where the kernel likes.
 * elapsed_ns  may be NULL.
 * Returns OK; NO_MEMORY (not every thread could be had: none has worked). */
enum ist_status ist_bench_crew_run(size_t members, const struct ist_bench_list *pin,
                                   ist_bench_work_fn *work, void *context, uint64_t *elapsed_ns);

/* The calling thread, and all that it starts, to any of these CPUs; an empty list changes nothing.
 * Returns OK; CONFIG (they are not ours to run on). */
enum ist_status ist_bench_pin(const struct ist_bench_list *cpus);

#endif

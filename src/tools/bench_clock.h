/* The clock that everything is measured with: nanoseconds from some point that never moves.
 *
 * It is looked at twice a request. Where the CPU has a counter of a constant rate that is used, as perftest does: a
 * kernel that answers by a system call, as those do that run on another kernel, would be measured otherwise. */
#ifndef IST_TOOLS_BENCH_CLOCK_H
#define IST_TOOLS_BENCH_CLOCK_H

#include <stdint.h>

/* Measures the counter's rate, which takes 50 ms. Without it, the kernel's clock is used. Once, before there are
 * threads. */
void ist_bench_clock_init(void);

uint64_t ist_bench_now_ns(void);

#endif

/* The clock that everything is measured with: nanoseconds from some point that never moves. */
#ifndef IST_TOOLS_BENCH_CLOCK_H
#define IST_TOOLS_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t ist_bench_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

#endif

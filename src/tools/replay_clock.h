/* The clocks of a replay, in nanoseconds. */
#ifndef IST_TOOLS_REPLAY_CLOCK_H
#define IST_TOOLS_REPLAY_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t ist_replay_clock_ns(clockid_t clock) {
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* Since some point that never moves. */
static inline uint64_t ist_replay_now_ns(void) {
    return ist_replay_clock_ns(CLOCK_MONOTONIC);
}

/* That the calling thread, or the whole process, has used. */
static inline uint64_t ist_replay_thread_cpu_ns(void) {
    return ist_replay_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}
static inline uint64_t ist_replay_process_cpu_ns(void) {
    return ist_replay_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

#endif

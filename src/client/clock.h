/* The time, for the edge of the client only. */
#ifndef IST_CLIENT_CLOCK_H
#define IST_CLIENT_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "infinistore/limits.h"

static inline uint64_t ist_client_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * IST_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static inline struct timespec ist_timespec_of(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / IST_NS_PER_SEC),
                             .tv_nsec = (long)(ns % IST_NS_PER_SEC)};
}

/* a + b, or the end of time. */
static inline uint64_t ist_later_ns(uint64_t a, uint64_t b) {
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

#endif

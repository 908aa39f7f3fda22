/* Deadlines in a binary heap. O(log n) each; takes memory once. */
#ifndef IST_BASE_TIMERS_H
#define IST_BASE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"

/* Embedded in what has a deadline. Zero-initialised: not armed. */
struct ist_timer {
    uint64_t at_ns;
    size_t place; /* in the heap, from 1; 0: not armed */
};

struct ist_timers {
    const struct ist_alloc *alloc;
    struct ist_timer **heap; /* owned; [0] is unused */
    size_t count, max;
};

/* max: timers armed at a time, at least 1. Returns OK, NO_MEMORY. */
enum ist_status ist_timers_init(struct ist_timers *timers, size_t max, const struct ist_alloc *alloc);
void ist_timers_fini(struct ist_timers *timers);

/* Armed or not before. timer: borrowed until disarmed. */
void ist_timers_arm(struct ist_timers *timers, struct ist_timer *timer, uint64_t at_ns);
void ist_timers_disarm(struct ist_timers *timers, struct ist_timer *timer); /* not armed: nothing */
/* The earliest; NULL when none is armed. */
struct ist_timer *ist_timers_first(const struct ist_timers *timers);
void ist_timers_check(const struct ist_timers *timers);

#endif

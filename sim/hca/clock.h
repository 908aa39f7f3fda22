/* Virtual time: events in the order of their time; those of the same time in an order that the seed decides.
 * Room for an event is reserved when its owner is made, so that scheduling never fails. */
#ifndef IST_SIM_HCA_CLOCK_H
#define IST_SIM_HCA_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

struct hca_event {
    uint64_t at_ns;
    uint64_t tie;    /* random */
    uint64_t serial; /* order of scheduling: makes the order total */
    size_t place;    /* 1-based place in the heap; 0: not scheduled */
    void (*fire)(struct hca_event *event);
};

struct hca_place {
    uint64_t at_ns; /* the event's: most comparisons need no more */
    struct hca_event *event;
};

struct hca_clock {
    const struct ist_alloc *alloc;
    uint64_t now_ns;
    uint64_t serial;
    struct hca_place *heap;
    size_t events, room, reserved;
};

void hca_clock_init(struct hca_clock *clock, const struct ist_alloc *alloc);
void hca_clock_fini(struct hca_clock *clock);
/* Room for `more` events at once; false: no memory. */
bool hca_clock_reserve(struct hca_clock *clock, size_t more);
void hca_clock_unreserve(struct hca_clock *clock, size_t fewer);

static inline bool hca_event_is_scheduled(const struct hca_event *event) {
    return event->place != 0;
}
/* Not before now. The event is not scheduled yet. */
void hca_clock_schedule(struct hca_clock *clock, struct hca_event *event, uint64_t at_ns, uint64_t tie);
/* The same as cancel and schedule, in one step. */
void hca_clock_move(struct hca_clock *clock, struct hca_event *event, uint64_t at_ns, uint64_t tie);
/* Legal for an event that is not scheduled. */
void hca_clock_cancel(struct hca_clock *clock, struct hca_event *event);
/* Takes the next event off, time moves to it; NULL: none. */
struct hca_event *hca_clock_next(struct hca_clock *clock);

#endif

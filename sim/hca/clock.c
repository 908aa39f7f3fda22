#include "sim/hca/clock.h"

#include "base/assert.h"

void hca_clock_init(struct hca_clock *clock, const struct ist_alloc *alloc) {
    *clock = (struct hca_clock){.alloc = alloc};
}

void hca_clock_fini(struct hca_clock *clock) {
    IST_ASSERT(clock->events == 0);
    ist_release(clock->alloc, clock->heap);
}

bool hca_clock_reserve(struct hca_clock *clock, size_t more) {
    if (clock->reserved + more > clock->room) {
        size_t room = 2 * (clock->reserved + more);
        struct hca_place *heap =
            ist_resize_array(clock->alloc, clock->heap, room, sizeof(struct hca_place));
        if (heap == NULL) {
            return false;
        }
        clock->heap = heap;
        clock->room = room;
    }
    clock->reserved += more;
    return true;
}

void hca_clock_unreserve(struct hca_clock *clock, size_t fewer) {
    IST_ASSERT(clock->reserved >= fewer);
    clock->reserved -= fewer;
}

static bool is_before(struct hca_place a, struct hca_place b) {
    if (a.at_ns != b.at_ns) {
        return a.at_ns < b.at_ns;
    }
    return a.event->tie != b.event->tie ? a.event->tie < b.event->tie
                                        : a.event->serial < b.event->serial;
}

static void put(struct hca_clock *clock, size_t place, struct hca_place event) {
    clock->heap[place - 1] = event;
    event.event->place = place;
}

static void sift_up(struct hca_clock *clock, struct hca_place event, size_t place) {
    while (place > 1 && is_before(event, clock->heap[place / 2 - 1])) {
        put(clock, place, clock->heap[place / 2 - 1]);
        place /= 2;
    }
    put(clock, place, event);
}

static void sift_down(struct hca_clock *clock, struct hca_place event, size_t place) {
    for (size_t child = 2 * place; child <= clock->events; child = 2 * place) {
        if (child < clock->events && is_before(clock->heap[child], clock->heap[child - 1])) {
            child++;
        }
        if (is_before(event, clock->heap[child - 1])) {
            break;
        }
        put(clock, place, clock->heap[child - 1]);
        place = child;
    }
    put(clock, place, event);
}

void hca_clock_schedule(struct hca_clock *clock, struct hca_event *event, uint64_t at_ns,
                        uint64_t tie) {
    IST_ASSERT(event->place == 0 && clock->events < clock->room);
    event->at_ns = at_ns > clock->now_ns ? at_ns : clock->now_ns;
    event->tie = tie;
    event->serial = clock->serial++;
    clock->events++;
    sift_up(clock, (struct hca_place){event->at_ns, event}, clock->events);
}

/* Where what stands at `place` belongs. */
static void settle(struct hca_clock *clock, struct hca_place event, size_t place) {
    if (place > 1 && is_before(event, clock->heap[place / 2 - 1])) {
        sift_up(clock, event, place);
    } else {
        sift_down(clock, event, place);
    }
}

void hca_clock_move(struct hca_clock *clock, struct hca_event *event, uint64_t at_ns, uint64_t tie) {
    if (event->place == 0) {
        hca_clock_schedule(clock, event, at_ns, tie);
        return;
    }
    event->at_ns = at_ns > clock->now_ns ? at_ns : clock->now_ns;
    event->tie = tie;
    event->serial = clock->serial++;
    settle(clock, (struct hca_place){event->at_ns, event}, event->place);
}

void hca_clock_cancel(struct hca_clock *clock, struct hca_event *event) {
    size_t place = event->place;
    if (place == 0) {
        return;
    }
    IST_ASSERT(clock->heap[place - 1].event == event);
    event->place = 0;
    struct hca_place last = clock->heap[clock->events - 1];
    clock->events--;
    if (last.event == event) {
        return;
    }
    settle(clock, last, place);
}

struct hca_event *hca_clock_next(struct hca_clock *clock) {
    if (clock->events == 0) {
        return NULL;
    }
    struct hca_event *event = clock->heap[0].event;
    clock->now_ns = event->at_ns;
    hca_clock_cancel(clock, event);
    return event;
}

#include "base/timers.h"

#include "base/assert.h"

enum ist_status ist_timers_init(struct ist_timers *timers, size_t max, const struct ist_alloc *alloc) {
    IST_ASSERT(max >= 1);
    struct ist_timer **heap = ist_allocate_array(alloc, max + 1, sizeof(struct ist_timer *));
    if (heap == NULL) {
        return IST_NO_MEMORY;
    }
    *timers = (struct ist_timers){.alloc = alloc, .heap = heap, .max = max};
    return IST_OK;
}

void ist_timers_fini(struct ist_timers *timers) {
    IST_ASSERT(timers->count == 0);
    ist_release(timers->alloc, timers->heap);
}

static void put_at(struct ist_timers *timers, size_t place, struct ist_timer *timer) {
    timers->heap[place] = timer;
    timer->place = place;
}

/* Moves the timer from the free `place` to where it belongs. */
static void sift(struct ist_timers *timers, size_t place, struct ist_timer *timer) {
    while (place > 1 && timers->heap[place / 2]->at_ns > timer->at_ns) {
        put_at(timers, place, timers->heap[place / 2]);
        place /= 2;
    }
    for (size_t child; (child = place * 2) <= timers->count; place = child) {
        if (child < timers->count && timers->heap[child + 1]->at_ns < timers->heap[child]->at_ns) {
            child++;
        }
        if (timers->heap[child]->at_ns >= timer->at_ns) {
            break;
        }
        put_at(timers, place, timers->heap[child]);
    }
    put_at(timers, place, timer);
}

void ist_timers_arm(struct ist_timers *timers, struct ist_timer *timer, uint64_t at_ns) {
    size_t place = timer->place;
    if (place == 0) {
        IST_ASSERT(timers->count < timers->max);
        place = ++timers->count;
    }
    timer->at_ns = at_ns;
    sift(timers, place, timer);
}

void ist_timers_disarm(struct ist_timers *timers, struct ist_timer *timer) {
    size_t place = timer->place;
    if (place == 0) {
        return;
    }
    struct ist_timer *last = timers->heap[timers->count--];
    timer->place = 0;
    if (last != timer) {
        sift(timers, place, last);
    }
}

struct ist_timer *ist_timers_first(const struct ist_timers *timers) {
    return timers->count == 0 ? NULL : timers->heap[1];
}

void ist_timers_check(const struct ist_timers *timers) {
    IST_ASSERT(timers->count <= timers->max);
    for (size_t i = 1; i <= timers->count; i++) {
        IST_ASSERT(timers->heap[i]->place == i);
        IST_ASSERT(i == 1 || timers->heap[i / 2]->at_ns <= timers->heap[i]->at_ns);
    }
}

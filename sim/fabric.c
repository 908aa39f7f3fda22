#include "sim/fabric.h"

#include "base/assert.h"

#define EVENTS_MAX 65536u

void sim_fabric_init(struct sim_fabric *fabric) {
    *fabric = (struct sim_fabric){0};
    hca_clock_init(&fabric->clock, ist_alloc_system());
    bool reserved = hca_clock_reserve(&fabric->clock, EVENTS_MAX);
    IST_ASSERT(reserved);
}

void sim_fabric_fini(struct sim_fabric *fabric) {
    while (hca_clock_next(&fabric->clock) != NULL) {
    }
    hca_clock_unreserve(&fabric->clock, EVENTS_MAX);
    hca_clock_fini(&fabric->clock);
}

static void fire(struct hca_event *event) {
    struct sim_event *fired = (struct sim_event *)event;
    fired->run(fired->subject);
}

bool sim_fabric_step(struct sim_fabric *fabric) {
    struct hca_event *event = hca_clock_next(&fabric->clock);
    if (event == NULL) {
        return false;
    }
    fabric->steps++;
    event->fire(event);
    return true;
}

uint64_t sim_fabric_next_ns(const struct sim_fabric *fabric) {
    return fabric->clock.events == 0 ? SIM_NEVER_NS : fabric->clock.heap[0].at_ns;
}

void sim_event_init(struct sim_event *event, void (*run)(void *subject), void *subject) {
    *event = (struct sim_event){.event.fire = fire, .run = run, .subject = subject};
}

void sim_event_cancel(struct sim_fabric *fabric, struct sim_event *event) {
    hca_clock_cancel(&fabric->clock, &event->event);
}

void sim_event_at(struct sim_fabric *fabric, struct sim_event *event, uint64_t at_ns) {
    if (at_ns == SIM_NEVER_NS) {
        sim_event_cancel(fabric, event);
    } else {
        hca_clock_move(&fabric->clock, &event->event, at_ns, 0);
    }
}

void sim_event_by(struct sim_fabric *fabric, struct sim_event *event, uint64_t at_ns) {
    if (!hca_event_is_scheduled(&event->event) || at_ns < event->event.at_ns) {
        sim_event_at(fabric, event, at_ns);
    }
}

/* Virtual time: events in the order of their time, those of the same time in the order in which they were
 * scheduled. Nothing else moves time, and nothing happens but in an event. */
#ifndef IST_SIM_FABRIC_H
#define IST_SIM_FABRIC_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/hca/clock.h"

#define SIM_NEVER_NS UINT64_MAX
#define SIM_US 1000ull
#define SIM_MS 1000000ull
#define SIM_SEC 1000000000ull

struct sim_fabric {
    struct hca_clock clock;
    uint64_t steps;
};

/* Embedded in what it happens to. */
struct sim_event {
    struct hca_event event; /* first member */
    void (*run)(void *subject);
    void *subject;
};

void sim_fabric_init(struct sim_fabric *fabric);
/* Events that are still scheduled are forgotten. */
void sim_fabric_fini(struct sim_fabric *fabric);

static inline uint64_t sim_fabric_now_ns(const struct sim_fabric *fabric) {
    return fabric->clock.now_ns;
}

/* Runs the next event. False: there is none. */
bool sim_fabric_step(struct sim_fabric *fabric);
/* When that is; SIM_NEVER_NS: never. */
uint64_t sim_fabric_next_ns(const struct sim_fabric *fabric);

void sim_event_init(struct sim_event *event, void (*run)(void *subject), void *subject);
/* Once, at this time, wherever it was scheduled before; a time that is past is now; SIM_NEVER_NS cancels. */
void sim_event_at(struct sim_fabric *fabric, struct sim_event *event, uint64_t at_ns);
/* The same unless it comes earlier anyway. */
void sim_event_by(struct sim_fabric *fabric, struct sim_event *event, uint64_t at_ns);
void sim_event_cancel(struct sim_fabric *fabric, struct sim_event *event);

#endif

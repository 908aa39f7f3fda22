/* The real store and engine, two clients' sessions, and an edge that does one thing at a time: what happens next is
 * chosen from outside. A NIC is a queue for each client, which moves the bytes of a work request when that is done, not
 * when it is posted, and a message behind the works that were posted before it. */
#ifndef IST_SIM_ORDER_RIG_H
#define IST_SIM_ORDER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/session.h"
#include "sim/arena.h"
#include "sim/order.h"
#include "sim/order_judge.h"
#include "store/store.h"

/* How often in an order may happen what need not happen. */
struct sim_order_budget {
    uint8_t cuts, evicts, times;
    uint8_t pieces; /* of replies, before the last one; 0: requests come whole, too */
};

#define SIM_ORDER_REQUEST_BYTES 768u

struct sim_order_bytes {
    uint32_t count;
    uint32_t head;   /* header and body, or half a header where there are no values */
    uint32_t middle; /* the same and half of the values; 0: there are none */
    uint8_t data[SIM_ORDER_REQUEST_BYTES];
};

/* What does not change from order to order of a case. */
struct sim_order_script {
    struct sim_order_case of;
    struct sim_order_budget budget;
    struct sim_order_bytes requests[SIM_ORDER_CLIENTS][SIM_ORDER_OPERATIONS_MAX];
    struct sim_order_bytes hello, first[SIM_ORDER_KEYS], look, purge; /* of who looks in the end */
};
void sim_order_script_init(struct sim_order_script *script, const struct sim_order_case *of,
                           const struct sim_order_budget *budget);

struct sim_order_client;

struct sim_order_rig {
    const struct sim_order_script *script;
    struct sim_arena *arena; /* borrowed */
    bool told;               /* all that happens goes to stdout */
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_session *auditor;
    struct sim_order_client *clients;
    struct sim_order_judge judge;
    struct sim_order_budget left;
    uint64_t now_ns;
    uint8_t pool[SIM_ORDER_BLOCKS_MAX * SIM_ORDER_BLOCK_BYTES];
};

void sim_order_rig_init(struct sim_order_rig *rig, struct sim_arena *arena);
void sim_order_rig_fini(struct sim_order_rig *rig);

/* From the start: what must hold does, or the process ends (see sim_order_fail()), here and below. The one before
 * may have been given up in the middle, but in a plain arena. */
void sim_order_rig_begin(struct sim_order_rig *rig, const struct sim_order_script *script);
/* What could happen next; 0: the order is at its end. events: room for SIM_ORDER_CHOICES_MAX. */
#define SIM_ORDER_CHOICES_MAX 20u
size_t sim_order_rig_choices(const struct sim_order_rig *rig, struct sim_order_event *events);
/* One of those. checked: all invariants are walked; not needed where that has been done before. */
void sim_order_rig_apply(struct sim_order_rig *rig, struct sim_order_event event, bool checked);
/* Not in a plain arena: two states with one number have the same future, but for what numbers of 64 bits have in common. */
uint64_t sim_order_rig_state(const struct sim_order_rig *rig);
/* No event is left: looks at what is there, purges, and wants all memory back. */
void sim_order_rig_end(struct sim_order_rig *rig);
/* In the middle: all connections end, then the same. */
void sim_order_rig_stop(struct sim_order_rig *rig);

#endif

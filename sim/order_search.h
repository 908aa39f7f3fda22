/* All orders of a case: depth-first, each from the start again, with what comes next chosen anew at the end of what is common
 * with the one before (Godefroid, "Model checking for programming languages using VeriSoft", 1997).
 *
 * Where the arena is not a plain one, a state that was seen before is not gone on from: all that the code under test, its
 * judge and the clients have is hashed, so that the same has the same future. That is sound but for two states that have
 * the same number of 64 bits. Padding is hashed, too: some states count as different and are not, which costs time alone.
 * All orders are counted all the same: as many lead on from a state as did when it was first seen. */
#ifndef IST_SIM_ORDER_SEARCH_H
#define IST_SIM_ORDER_SEARCH_H

#include "sim/order.h"
#include "sim/order_rig.h"

struct sim_order_tally {
    uint64_t cases;
    uint64_t orders; /* of events, complete, counted */
    uint64_t ends;   /* of them, followed to their end */
    uint64_t events; /* the first time; those done again to come back to a place do not count */
    uint64_t states; /* different ones; 0 in a plain arena */
};

/* Adds to the tally. order: what is being done, at any time, for whoever looks on; borrowed. */
void sim_order_search(struct sim_order_rig *rig, const struct sim_order_script *script,
                      struct sim_order *order, struct sim_order_tally *tally);

/* That order alone, as far as it goes, in a plain arena; told: with a log on stdout. False: an event in it is not possible. */
bool sim_order_replay(const struct sim_order *order, const struct sim_order_budget *budget, bool told);

#endif

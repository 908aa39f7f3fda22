/* All orders of events of two clients and two keys, in the real store, engine and wire: not some that a seed draws, but
 * all there are, for programs that are short enough. See order.h for what an event is, order_judge.h for what must hold. */
#ifndef IST_SIM_ORDERS_H
#define IST_SIM_ORDERS_H

#include <stdbool.h>

#include "sim/canary.h"
#include "sim/order_cases.h"
#include "sim/order_search.h"

struct sim_orders {
    struct sim_order_scope scope;
    struct sim_order_case one; /* programs[0].count 0: all of the scope */
    enum sim_canary canary;
    unsigned jobs;
    bool plain; /* no state is left out because it was seen; see arena.h */
};

struct sim_orders_outcome {
    struct sim_order_tally tally;
    bool failed;
    struct sim_order order; /* that failed */
};

/* In processes of its own, so that whatever happens in them is an outcome; what they print is thrown away. */
void sim_orders_run(const struct sim_orders *orders, struct sim_orders_outcome *outcome);
/* In a process of its own, with a log on stdout, and why it fails on stderr. False: it failed. */
bool sim_orders_tell(const struct sim_orders *orders, const struct sim_order *order);

/* The canaries that these orders are to find, SIM_CANARY_NONE behind the last. */
const enum sim_canary *sim_orders_canaries(void);
/* What `make check` looks at; long: more. NULL: there are no more parts. */
struct sim_orders_part {
    const char *name;
    struct sim_order_scope scope;
};
const struct sim_orders_part *sim_orders_part(bool is_long, size_t number);

int sim_orders_command(int argc, char **argv);

#endif

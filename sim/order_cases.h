/* All pairs of short programs, in small pools, with this or that there from the beginning. What differs only in which client
 * is called the first, or which key A, comes once: the code knows neither by name. */
#ifndef IST_SIM_ORDER_CASES_H
#define IST_SIM_ORDER_CASES_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/order.h"
#include "sim/order_rig.h"

struct sim_order_scope {
    unsigned operations_max; /* of one client; at least 1, as many as each has at least */
    unsigned total_max;      /* of both */
    unsigned verbs;          /* a bit for each of enum sim_order_verb */
    bool pairs;              /* requests for both keys, too */
    unsigned blocks_min, blocks_max;
    struct sim_order_budget budget;
};

struct sim_order_cases {
    struct sim_order_scope scope;
    uint64_t next;
};

void sim_order_cases_init(struct sim_order_cases *cases, const struct sim_order_scope *scope);
/* False: there are no more. */
bool sim_order_cases_next(struct sim_order_cases *cases, struct sim_order_case *of);

#endif

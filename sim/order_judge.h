/* What must hold after each event of an order, and of each reply. Written without looking at src/store: it is told what
 * arrives, what a NIC has moved and what leaves, sees which keys are there and how many bytes in all, and knows from
 * DESIGN what may change when.
 *
 * More than a client could see: a get and a remove are decided by what is there when their last byte arrives, a put
 * shows in the event in which its last byte does; and exactly the blocks of values that are being read, and of puts that
 * are under way, are held, no longer than that. */
#ifndef IST_SIM_ORDER_JUDGE_H
#define IST_SIM_ORDER_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/order.h"
#include "store/store.h"
#include "wire/frame.h"

#define SIM_ORDER_BLOCK_BYTES 512u
#define SIM_ORDER_UNTOUCHED 0xeeu /* what is in a reader's buffer before */

enum sim_order_progress { SIM_ORDER_UNASKED, SIM_ORDER_BEGUN, SIM_ORDER_WHOLE, SIM_ORDER_ANSWERED };

/* Bytes only: judges are compared by their memory. */
struct sim_order_request {
    uint8_t progress;
    uint8_t got[SIM_ORDER_KEYS]; /* GET and REMOVE: the version that was there */
    uint8_t holds;               /* GET: keys whose values it still reads */
    uint8_t moved;               /* PUT: keys whose bytes are all in */
    uint8_t shown;               /* PUT: keys that have become visible */
    uint8_t full;                /* PUT: there was a moment without room */
    uint8_t there;               /* PUT: keys that were there at some moment */
};

struct sim_order_sight {
    uint8_t version[SIM_ORDER_KEYS];                 /* 0: not there */
    uint8_t pinned, reserved, doomed, evicted, free; /* entries or blocks */
};

struct sim_order_judge {
    struct sim_order_request requests[SIM_ORDER_CLIENTS][SIM_ORDER_OPERATIONS_MAX];
    struct sim_order_sight sight; /* after the last event */
    uint8_t closed[SIM_ORDER_CLIENTS];
    uint8_t latest;   /* the key that was used last: the other one goes first */
    uint8_t executed; /* REMOVE in this event: its keys */
    uint8_t arrived;  /* of a PUT in this event: its keys, for which something may have been evicted */
};

struct ist_span sim_order_key(unsigned key);

/* Ends the process. Prints to stderr. */
_Noreturn void sim_order_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

void sim_order_judge_begin(struct sim_order_judge *judge, const struct sim_order_case *of,
                           const struct ist_store *store);

/* During an event: bytes of a request have arrived. */
void sim_order_judge_arrived(struct sim_order_judge *judge, const struct sim_order_case *of,
                             unsigned client, unsigned operation, bool whole);
/* A work request was reported done, with which all of a value has been moved. */
void sim_order_judge_moved(struct sim_order_judge *judge, const struct sim_order_case *of,
                           unsigned client, unsigned operation, unsigned key);
/* So many bytes of a get's values have left. */
void sim_order_judge_left(struct sim_order_judge *judge, const struct sim_order_case *of,
                          unsigned client, uint64_t request_id, uint64_t bytes);
/* values: behind the body; or the reader's memory, where each key has SIM_ORDER_VALUE_BYTES_MAX, if it is over RDMA. */
void sim_order_judge_reply(struct sim_order_judge *judge, const struct sim_order_case *of,
                           unsigned client, const struct ist_frame *frame, struct ist_span body,
                           const uint8_t *values);
void sim_order_judge_closed(struct sim_order_judge *judge, unsigned client);

/* After it. */
void sim_order_judge_event(struct sim_order_judge *judge, const struct sim_order_case *of,
                           const struct ist_store *store, struct sim_order_event event);
/* No event is left. */
void sim_order_judge_end(const struct sim_order_judge *judge, const struct sim_order_case *of);

/* value: of a version of a key, whole. */
bool sim_order_value_is(unsigned key, unsigned version, const uint8_t *value);

#endif

/* One order of events: what two clients ask for, and what happens when. As a text, for instance
 *
 *     2A/tcp:pAgB/rdma:gA/1m2a1x2w2c2t2c
 *
 *   2A         a pool of 2 blocks; A is there from the beginning (nothing, A, B, or AB)
 *   tcp:pAgB   the first client, over a stream: put A, get B. Also q: put if absent; r: remove; pAB: both keys at once
 *   rdma:gA    the second one, over RDMA
 *   1m 2a ...  the events, in this order; those of a client begin with its number:
 *              h  the head of its next request arrives       m  the same, and the first half of the values
 *              a  all that is left of the request            s  some of the reply leaves
 *              t  all of it leaves                           w  a work request is handed out
 *              c  the oldest thing that its queue pair has to do is done, and polled
 *              x  its connection is cut                      l  a work request that was posted before still moves bytes
 *              b  the broken queue pair is gone
 *              e  (of no client) an entry is evicted         z  (of no client) so much time passes that nobody waits longer */
#ifndef IST_SIM_ORDER_H
#define IST_SIM_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_ORDER_CLIENTS 2u
#define SIM_ORDER_KEYS 2u
#define SIM_ORDER_OPERATIONS_MAX 4u /* of one client */
#define SIM_ORDER_BLOCKS_MAX 4u
#define SIM_ORDER_EVENTS_MAX 96u
#define SIM_ORDER_TEXT_BYTES 320u

enum sim_order_verb { SIM_ORDER_PUT, SIM_ORDER_PUT_IF_ABSENT, SIM_ORDER_GET, SIM_ORDER_REMOVE };
#define SIM_ORDER_VERBS 4u

struct sim_order_operation {
    uint8_t verb; /* enum sim_order_verb */
    uint8_t keys; /* a bit for each; at least one */
};

struct sim_order_program {
    bool rdma;
    uint8_t count;
    struct sim_order_operation operations[SIM_ORDER_OPERATIONS_MAX];
};

struct sim_order_case {
    uint8_t blocks;  /* of the pool */
    uint8_t present; /* a bit for each key */
    struct sim_order_program programs[SIM_ORDER_CLIENTS];
};

enum sim_order_step {
    SIM_ORDER_HEAD,
    SIM_ORDER_MIDDLE,
    SIM_ORDER_ARRIVE,
    SIM_ORDER_SEND_SOME,
    SIM_ORDER_SEND,
    SIM_ORDER_WORK,
    SIM_ORDER_COMPLETE,
    SIM_ORDER_CUT,
    SIM_ORDER_LAND,
    SIM_ORDER_BURY,
    SIM_ORDER_EVICT, /* from here on of no client */
    SIM_ORDER_TIME,
};

struct sim_order_event {
    uint8_t client; /* 0 when it is of none */
    uint8_t step;   /* enum sim_order_step */
};

struct sim_order {
    struct sim_order_case of;
    size_t count;
    struct sim_order_event events[SIM_ORDER_EVENTS_MAX];
};

/* False: the text is no order. One without events is a case. order: written when it is true. */
bool sim_order_parse(const char *text, struct sim_order *order);
void sim_order_print(const struct sim_order *order, char text[SIM_ORDER_TEXT_BYTES]);

/* In words, for a log. */
const char *sim_order_step_words(enum sim_order_step step);
const char *sim_order_verb_words(enum sim_order_verb verb);
const char *sim_order_keys_words(unsigned keys);

/* Values say whose they are: each version of a key has a length of its own, and the sum of the lengths of any two tells
 * both. A version is from 1; SIM_ORDER_FIRST is what was there from the beginning. */
#define SIM_ORDER_FIRST 1u
#define SIM_ORDER_VERSIONS 16u
#define SIM_ORDER_VALUE_BYTES_MAX 512u
static inline uint8_t sim_order_version(unsigned client, unsigned operation) {
    return (uint8_t)(SIM_ORDER_FIRST + 1 + client * SIM_ORDER_OPERATIONS_MAX + operation);
}
static inline uint32_t sim_order_value_bytes(unsigned key, unsigned version) {
    return 64u + (key == 0 ? version : SIM_ORDER_VERSIONS * version);
}
_Static_assert(SIM_ORDER_FIRST + SIM_ORDER_CLIENTS * SIM_ORDER_OPERATIONS_MAX < SIM_ORDER_VERSIONS,
               "one number for each");
_Static_assert(64u + SIM_ORDER_VERSIONS * SIM_ORDER_VERSIONS <= SIM_ORDER_VALUE_BYTES_MAX,
               "a value fits a block");

#endif

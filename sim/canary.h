/* Bugs on purpose, each at the place where it would be: a simulator that does not find them proves nothing. Those of
 * the engine and the store are in this program's link alone (ld's --wrap), those of an edge in the rig's edge;
 * the sources that ship know nothing of them. */
#ifndef IST_SIM_CANARY_H
#define IST_SIM_CANARY_H

#include <stdbool.h>
#include <stddef.h>

enum sim_canary {
    SIM_CANARY_NONE,
    SIM_CANARY_COMMIT_BEFORE_DATA,  /* a key is visible once its block is reserved */
    SIM_CANARY_LOST_PIN,            /* a get holds no pin on its blocks */
    SIM_CANARY_EARLY_RELEASE,       /* pins go when a reply is queued, not when it was sent */
    SIM_CANARY_EVICT_PINNED,        /* the policy does not know of pins */
    SIM_CANARY_STALE_EVICTS_NEW,    /* the end of an overwritten entry removes its key */
    SIM_CANARY_FAILED_PUT_SHOWS,    /* what a cut put had reserved is committed */
    SIM_CANARY_LEAKED_RESERVATION,  /* a cut put's blocks stay reserved */
    SIM_CANARY_LOST_OVERWRITE,      /* a key that is there keeps its old value */
    SIM_CANARY_REMOVE_FORGETS,      /* remove says yes and does nothing */
    SIM_CANARY_PURGE_FORGETS,       /* purge does nothing */
    SIM_CANARY_MATCH_IGNORES_HOLES, /* match_prefix counts all that are present */
    SIM_CANARY_EXISTS_ALWAYS,       /* exists says yes to all */
    SIM_CANARY_DOUBLE_REPLY,        /* one reply in some goes out twice */
    SIM_CANARY_LOST_REPLY,          /* one reply in some never goes out */
    SIM_CANARY_FRAME_BORDER,        /* a header that ends with the bytes that are here is not seen */
    SIM_CANARY_IF_ABSENT_IGNORED,   /* IF_ABSENT overwrites */
    SIM_CANARY_MISSED_REARM,        /* edge: what arrives while a reply is blocked wakes nobody */
    SIM_CANARY_SPLIT_PAYLOAD,       /* edge: the second piece of a value lands a byte late */
    SIM_CANARY_WORK_DONE_AT_POST,   /* edge: what a NIC was told to do counts as done */
    SIM_CANARY_LOST_CREDIT,         /* edge: a message's buffer comes back, and the peer is not told */
    SIM_CANARY_CLIENT_TIMER,        /* edge: the client's deadlines are never enforced */
    SIM_CANARY_NEVER_EVICTS,        /* a full pool refuses, whatever could go */
    SIM_CANARY_HALF_BATCH,          /* the first values of a put are visible before the last are in */
};
#define SIM_CANARIES 24u

/* NULL at and past their number; from 1. */
const char *sim_canary_name(size_t canary);
/* SIM_CANARY_NONE: there is none of this name. */
enum sim_canary sim_canary_find(const char *name);
/* For the rest of the process. */
void sim_canary_set(enum sim_canary canary);
bool sim_canary_is(enum sim_canary canary);

/* Some bugs strike at one call in some. Counts from here on, one in so many; in 40 before that is called. */
void sim_canary_count_anew(unsigned period);
/* Is it this one? */
bool sim_canary_strikes(void);

#endif

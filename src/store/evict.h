/* Which entry goes next. A policy sees links, never what they are part of: the store embeds one in each entry,
 * an offline study may embed it in anything.
 *
 *   insert -> tracked -(take)-> not tracked, the caller evicts it
 *                |    -(remove)-> not tracked
 *                +-- found by a take while pinned: put aside; the last pin's end, or a touch, brings it back
 *
 * Every call takes O(1), take amortised: a pinned link is put aside once, not passed over again and again. */
#ifndef IST_STORE_EVICT_H
#define IST_STORE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"

/* Embedded in what is tracked, which moves only with ist_evict_replace(). Belongs to the policy, but for `bytes`. */
struct ist_evict_link {
    struct ist_evict_link *prev, *next;
    uint64_t bytes; /* set by the caller before insert: what goes with it */
    bool pinned;
    bool aside;
};

struct ist_evict;

/* policy: its name; NULL means "lru". Returns OK, CONFIG (no such policy), NO_MEMORY. evict: owned. */
enum ist_status ist_evict_new(const char *policy, const struct ist_alloc *alloc,
                              struct ist_evict **evict);
/* Forgets the links that are still tracked. NULL is legal. */
void ist_evict_free(struct ist_evict *evict);

/* Tracks a link, as used just now. Never takes memory. */
void ist_evict_insert(struct ist_evict *evict, struct ist_evict_link *link, bool pinned);
/* It is used just now. */
void ist_evict_touch(struct ist_evict *evict, struct ist_evict_link *link);
void ist_evict_remove(struct ist_evict *evict, struct ist_evict_link *link);

/* `to`, a copy, takes the place of `from`, which has no pin. */
void ist_evict_replace(struct ist_evict *evict, struct ist_evict_link *from, struct ist_evict_link *to);

/* Forgets all links, pinned or not. */
void ist_evict_clear(struct ist_evict *evict);

/* From none to some pins, and from some to none. */
void ist_evict_pin(struct ist_evict *evict, struct ist_evict_link *link);
void ist_evict_unpin(struct ist_evict *evict, struct ist_evict_link *link);

/* The victim: the one without a pin that goes first, no longer tracked. NULL when all are pinned. */
struct ist_evict_link *ist_evict_take(struct ist_evict *evict);

uint64_t ist_evict_tracked(const struct ist_evict *evict); /* links, pinned ones included */
uint64_t ist_evict_metadata_bytes(const struct ist_evict *evict);
void ist_evict_check(const struct ist_evict *evict);

/* ---- what a policy is ----------------------------------------------------------------------------- */

struct ist_evict_list { /* a ring through `link`; `count` links are in it */
    struct ist_evict_link link;
    uint64_t count;
};
void ist_evict_list_init(struct ist_evict_list *list);
void ist_evict_list_push_head(struct ist_evict_list *list, struct ist_evict_link *link);
void ist_evict_list_push_tail(struct ist_evict_list *list, struct ist_evict_link *link);
void ist_evict_list_remove(struct ist_evict_list *list, struct ist_evict_link *link);
void ist_evict_list_replace(struct ist_evict_link *from, struct ist_evict_link *to); /* a copy */
struct ist_evict_link *ist_evict_list_tail(const struct ist_evict_list *list); /* NULL when empty */
void ist_evict_list_check(const struct ist_evict_list *list);

/* Policies know nothing of pins: what is aside is not in their hands. */
struct ist_evict_policy {
    const char *name;
    enum ist_status (*new)(const struct ist_alloc *alloc, void **state); /* OK, NO_MEMORY */
    void (*free)(const struct ist_alloc *alloc, void *state);
    void (*insert)(void *state, struct ist_evict_link *link);
    void (*touch)(void *state, struct ist_evict_link *link);
    void (*remove)(void *state, struct ist_evict_link *link);
    void (*replace)(void *state, struct ist_evict_link *from, struct ist_evict_link *to); /* a copy */
    void (*clear)(void *state);
    struct ist_evict_link *(*take)(void *state);                /* the next victim, or NULL */
    void (*put_back)(void *state, struct ist_evict_link *link); /* a taken one: it goes next again */
    uint64_t (*metadata_bytes)(const void *state);
    void (*check)(const void *state); /* asserts; links that the policy holds are not aside */
};

#endif

/* Keys, their values' blocks, who holds them, and what goes when room is needed. No payload byte passes
 * through here: the caller fills a block between reserve and commit, and reads it between acquire and
 * release.
 *
 * Life of an entry:
 *
 *   reserve -> RESERVED -commit-> COMMITTED -(overwrite, remove, purge, evict)-> DOOMED -> block free
 *                 |                                                                ^
 *                 +--abort--> block free                       waits here for the last pin
 *
 * RESERVED: found by nobody, holds its writer's pin. COMMITTED: found by its key. DOOMED: no longer
 * found; readers that hold a pin still read it; its block is free when the last pin goes. Only
 * COMMITTED entries without a pin are evicted.
 *
 * Pool bytes = free + reserved + committed + doomed, at every step. Single-threaded: one lock around the
 * calls is what several loops would need. No pointer into the index escapes: entries are handles with
 * a reference count. */
#ifndef IST_STORE_STORE_H
#define IST_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/span.h"
#include "infinistore/status.h"

struct ist_store;
struct ist_entry;

struct ist_store_config {
    uint64_t pool_bytes_max;  /* what the pool may grow to: a larger value is TOO_BIG */
    uint64_t min_block_bytes; /* see pool.h; --minimal-allocate-size */
    uint64_t granule_bytes;
    const char *policy;            /* "lru"; NULL means that */
    struct ist_hash_key hash_key;  /* secret and random in a daemon, the seed in a test */
    const struct ist_alloc *alloc; /* borrowed for the store's life */
};

/* An empty store with a pool of 0 bytes. Returns OK, INVALID (sizes), CONFIG (no such policy),
 * NO_MEMORY. */
enum ist_status ist_store_new(const struct ist_store_config *config, struct ist_store **store);
/* No entry may be pinned. NULL is legal. */
void ist_store_free(struct ist_store *store);

/* Appends bytes to the pool, up to pool_bytes_max. Returns OK, INVALID, NO_MEMORY. */
enum ist_status ist_store_grow(struct ist_store *store, uint64_t bytes);

/* A fresh block for `key`, evicting unpinned entries, just enough, when there is no room: as the policy says, until
 * it fits, or as many bytes went as it needs and they lie in pieces; then the neighbours of the last one follow.
 * key    borrowed for the call; copied. 1..IST_KEY_BYTES_MAX bytes.
 * entry  written only on OK; RESERVED, with one pin that commit or abort ends.
 * Returns OK, INVALID (key length, value_bytes 0), EXISTS (if_absent, and a COMMITTED entry has the
 * key), TOO_BIG (above pool_bytes_max), NO_SPACE (all that could go is pinned, or the pool has not yet
 * grown that far: then nothing was evicted in vain), NO_MEMORY. */
enum ist_status ist_store_reserve(struct ist_store *store, struct ist_span key, uint64_t value_bytes,
                                  bool if_absent, struct ist_entry **entry);

/* RESERVED -> COMMITTED: the key is found from now on, an older entry of it becomes DOOMED. Most recent.
 * On OK the pin stays, now a reader's: give it back by ist_store_release().
 * if_absent: when the key was committed by somebody else meanwhile, aborts instead and returns EXISTS.
 * Otherwise OK. Cannot fail for want of memory. */
enum ist_status ist_store_commit(struct ist_store *store, struct ist_entry *entry, bool if_absent);

/* RESERVED -> gone, without a trace. */
void ist_store_abort(struct ist_store *store, struct ist_entry *entry);

/* Pins a COMMITTED entry. Recency is ist_store_refresh()'s matter. Returns OK, NOT_FOUND. */
enum ist_status ist_store_acquire(struct ist_store *store, struct ist_span key,
                                  struct ist_entry **entry);
/* Makes a pinned entry the most recent; nothing when it is DOOMED. A batch is refreshed last key first, so
 * that the head of a prefix ends most recent and is evicted last. */
void ist_store_refresh(struct ist_store *store, struct ist_entry *entry);
/* Ends one pin of acquire or commit. */
void ist_store_release(struct ist_store *store, struct ist_entry *entry);

uint64_t ist_entry_offset(const struct ist_entry *entry);      /* of the block in the pool */
uint64_t ist_entry_value_bytes(const struct ist_entry *entry); /* as reserved by the caller */

/* None of these pins or changes recency. They take a batch so that index misses overlap. */
size_t ist_store_exists(const struct ist_store *store, const struct ist_span *keys, size_t count,
                        bool *present); /* returns how many are */
size_t ist_store_match_prefix(const struct ist_store *store, const struct ist_span *keys, size_t count);
/* Index of the last key present, or count when none is. */
size_t ist_store_match_last(const struct ist_store *store, const struct ist_span *keys, size_t count);

bool ist_store_remove(struct ist_store *store, struct ist_span key); /* was it there? */
uint64_t ist_store_purge(struct ist_store *store);                   /* entries that went */
/* Evicts unpinned entries by policy until at least `bytes` were doomed or freed or none is left;
 * returns the bytes. For periodic eviction and POST /evict. */
uint64_t ist_store_evict(struct ist_store *store, uint64_t bytes);

struct ist_store_usage {
    uint64_t pool_bytes, pool_bytes_max;
    uint64_t free_bytes, reserved_bytes, committed_bytes, doomed_bytes; /* sum: pool_bytes */
    uint64_t largest_free_bytes;
    uint64_t value_bytes;    /* what callers asked for, of the committed: the rest is rounding */
    uint64_t keys;           /* COMMITTED entries */
    uint64_t pinned_entries; /* of any state */
    uint64_t evicted_entries, evicted_bytes; /* since the start */
    uint64_t metadata_bytes;                 /* memory outside the pool */
};
void ist_store_usage(const struct ist_store *store, struct ist_store_usage *usage);

/* Walks every invariant of store, index, policy and pool. O(entries + blocks). */
void ist_store_check(const struct ist_store *store);

#endif

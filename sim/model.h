/* A store as simple as can be: what is in it, and nothing of how. The oracle beside which fuzzers and simulator run
 * the real one. Written without looking at src/store, from what DESIGN says that a client sees.
 *
 * It holds no values, only their versions: a caller derives the bytes from (key, version), or remembers them.
 * It never evicts by itself. The real store may, and the model is told: ist_naive_evicted().
 * It knows no pool either, but sums up what the values would take in one, so that a caller can judge an
 * eviction, or a NO_SPACE, or the usage that the real store reports. */
#ifndef IST_SIM_MODEL_H
#define IST_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* "model" is what an inference model is in this house, see workload/model.h. */
struct ist_naive;

struct ist_naive_config {
    uint64_t min_block_bytes; /* a value takes at least that, */
    uint64_t granule_bytes;   /* and a multiple of this; 0: values take their own bytes */
};

struct ist_naive_value {
    uint64_t version; /* the caller's */
    uint64_t bytes;
};

/* Memory that cannot be had aborts, here and below: an oracle that forgets is worse than none. Owned. */
struct ist_naive *ist_naive_new(const struct ist_naive_config *config);
void ist_naive_free(struct ist_naive *model); /* NULL is legal */

/* The key has this value from now on. key: copied. True: it had another one before. */
bool ist_naive_put(struct ist_naive *model, struct ist_span key, struct ist_naive_value value);
/* False: it has one already, and keeps it. */
bool ist_naive_put_if_absent(struct ist_naive *model, struct ist_span key,
                             struct ist_naive_value value);
/* value: written when it returns true; may be NULL. */
bool ist_naive_get(const struct ist_naive *model, struct ist_span key, struct ist_naive_value *value);

/* present: one for each key; returns how many are. */
size_t ist_naive_exists(const struct ist_naive *model, const struct ist_span *keys, size_t count,
                        bool *present);
size_t ist_naive_match_prefix(const struct ist_naive *model, const struct ist_span *keys, size_t count);
/* Index of the last key present, or count when none is. */
size_t ist_naive_match_last(const struct ist_naive *model, const struct ist_span *keys, size_t count);

bool ist_naive_remove(struct ist_naive *model, struct ist_span key); /* was it there? */
uint64_t ist_naive_purge(struct ist_naive *model);                   /* how many went */
/* The real store says that it evicted this key. False: it had no such key to evict. */
bool ist_naive_evicted(struct ist_naive *model, struct ist_span key);

uint64_t ist_naive_keys(const struct ist_naive *model);
uint64_t ist_naive_value_bytes(const struct ist_naive *model);
uint64_t ist_naive_block_bytes(const struct ist_naive *model); /* the same, each as in a pool */
uint64_t ist_naive_rounded(const struct ist_naive *model, uint64_t bytes); /* one value in a pool */

/* Visits every key, in an order that only depends on what was done before. The model must not be changed meanwhile,
 * except that the key that is visited may be removed. */
void ist_naive_visit(struct ist_naive *model,
                     void (*visit)(void *context, struct ist_span key, struct ist_naive_value value),
                     void *context);

#endif

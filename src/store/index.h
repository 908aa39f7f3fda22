/* Key -> entry. A hash table with chains through the entries that grows by one bucket at a time (linear
 * hashing), so that no insert pays for a rehash. Keyed hash: a peer cannot aim for long chains.
 *
 * Memory is taken by ist_index_prepare() only, and its failure costs speed, nothing else: chains get longer. */
#ifndef IST_STORE_INDEX_H
#define IST_STORE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/span.h"
#include "infinistore/status.h"

struct ist_index;

/* Last member of what is indexed, which moves only with ist_index_replace(). */
struct ist_index_node {
    struct ist_index_node *next; /* the index's own */
    uint64_t hash;               /* of the key */
    uint32_t key_bytes;
    uint8_t key[];
};

/* Writes the node's key (room for key.bytes follows it) and its hash. */
void ist_index_node_init(const struct ist_index *index, struct ist_index_node *node,
                         struct ist_span key);

/* Returns OK, NO_MEMORY. index: owned by the caller. */
enum ist_status ist_index_new(struct ist_hash_key hash_key, const struct ist_alloc *alloc,
                              struct ist_index **index);
/* Forgets the nodes that are still in it. NULL is legal. */
void ist_index_free(struct ist_index *index);

/* Takes memory, as far as it can be had, so that `more` inserts keep chains short. */
void ist_index_prepare(struct ist_index *index, uint64_t more);
/* No node may have this key. Takes no memory. */
void ist_index_insert(struct ist_index *index, struct ist_index_node *node);
/* It must be in it. */
void ist_index_remove(struct ist_index *index, struct ist_index_node *node);

/* `to` takes the place of `from`, whose bytes it has. */
void ist_index_replace(struct ist_index *index, struct ist_index_node *from, struct ist_index_node *to);

/* Forgets all nodes, and gives back the memory that they made it take. */
void ist_index_clear(struct ist_index *index);

/* NULL when there is none. */
struct ist_index_node *ist_index_find(const struct ist_index *index, struct ist_span key);

#define IST_INDEX_BATCH_MAX 32u
/* The same for up to IST_INDEX_BATCH_MAX keys at a time, with their cache misses overlapped. */
void ist_index_find_batch(const struct ist_index *index, const struct ist_span *keys, size_t count,
                          struct ist_index_node **nodes);

/* Any node, NULL when there is none. From `*cursor` on (start with 0), which it moves: taking all nodes away,
 * one after another, costs O(nodes + buckets). */
struct ist_index_node *ist_index_any(const struct ist_index *index, uint64_t *cursor);

uint64_t ist_index_count(const struct ist_index *index);
uint64_t ist_index_metadata_bytes(const struct ist_index *index); /* without the nodes */

/* Each node is in its bucket, once, and the count agrees. O(nodes + buckets). */
void ist_index_check(const struct ist_index *index);

#endif

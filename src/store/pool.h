/* Block allocator over offsets: [0, bytes) of one flat pool that can grow at its end. It never touches
 * the memory it hands out, and keeps its metadata outside it, so that a NIC may write there.
 *
 * Offsets and sizes are bytes; blocks are multiples of the granule and start on one. A block is at
 * least min_block_bytes long. Every call but grow and check takes O(log pool) and no memory; neighbours
 * coalesce at once.
 *
 * A block is held, or not: held ones cannot be given up, the others could. The pool knows which, so that it
 * can tell whether giving up blocks would make room, before any is given up. */
#ifndef IST_STORE_POOL_H
#define IST_STORE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"

struct ist_pool;

struct ist_block {
    uint64_t offset;
    uint64_t bytes; /* as reserved: the request rounded up */
};

struct ist_pool_config {
    uint64_t min_block_bytes;      /* power of two, at least 512 */
    uint64_t granule_bytes;        /* power of two, at most min_block_bytes */
    const struct ist_alloc *alloc; /* borrowed for the pool's life */
};

/* An empty pool of 0 bytes: grow it. Returns OK, INVALID, NO_MEMORY. pool: owned by the caller. */
enum ist_status ist_pool_new(const struct ist_pool_config *config, struct ist_pool **pool);
void ist_pool_free(struct ist_pool *pool);

/* Appends bytes (a multiple of the granule) at the end. Returns OK, INVALID (not such a multiple, or more than
 * 2^31 - 1 granules in all), NO_MEMORY (unchanged). */
enum ist_status ist_pool_grow(struct ist_pool *pool, uint64_t bytes);

/* A block, held. bytes >= 1; owner: not NULL, borrowed until the block is released, see ist_pool_next().
 * Returns OK; NO_SPACE: no free run is long enough (now). */
enum ist_status ist_pool_allocate(struct ist_pool *pool, uint64_t bytes, void *owner,
                                  struct ist_block *block);
/* Held or not. */
void ist_pool_release(struct ist_pool *pool, const struct ist_block *block);

/* Releases all blocks that are not held, much cheaper than one by one. O(pool / min_block_bytes). */
void ist_pool_release_unheld(struct ist_pool *pool);

/* Held to not held, and back. */
void ist_pool_unhold(struct ist_pool *pool, const struct ist_block *block);
void ist_pool_hold(struct ist_pool *pool, const struct ist_block *block);

/* It has another owner now. */
void ist_pool_set_owner(struct ist_pool *pool, const struct ist_block *block, void *owner);

/* The first block that begins in [offset, offset + bytes): its owner, and where it is; NULL when there is none.
 * O(bytes / min_block_bytes). */
void *ist_pool_next(const struct ist_pool *pool, uint64_t offset, uint64_t bytes,
                    struct ist_block *block);

/* Where to make room: a stretch without held blocks that becomes a free run for `bytes` when the blocks that
 * begin in it are released; of those near the free run at `offset`, one whose blocks are fewest bytes. When
 * a held block is too near for that, a stretch elsewhere. bytes: at most ist_pool_largest_possible().
 * O((bytes + largest block) / min_block_bytes). */
struct ist_block ist_pool_window(const struct ist_pool *pool, uint64_t offset, uint64_t bytes);

uint64_t ist_pool_bytes(const struct ist_pool *pool);        /* total */
uint64_t ist_pool_free_bytes(const struct ist_pool *pool);   /* sum of the free runs */
uint64_t ist_pool_largest_free(const struct ist_pool *pool); /* what a single allocate can get */
/* What a single allocate could get when all blocks that are not held were released. */
uint64_t ist_pool_largest_possible(const struct ist_pool *pool);
uint64_t ist_pool_rounded(const struct ist_pool *pool, uint64_t bytes); /* size of the block for it */
uint64_t ist_pool_metadata_bytes(const struct ist_pool *pool);

/* Walks every invariant: blocks and free runs tile the pool, no two free neighbours, sums agree. O(pool). */
void ist_pool_check(const struct ist_pool *pool);

#endif

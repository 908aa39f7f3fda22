/* The cache that never evicts: what hit ratio a trace allows at all, against which a real one is judged. */
#ifndef IST_WORKLOAD_UNLIMITED_H
#define IST_WORKLOAD_UNLIMITED_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"

struct ist_unlimited;

/* unlimited  owned by the caller on OK: ist_unlimited_free().
 * Returns OK, NO_MEMORY. */
enum ist_status ist_unlimited_new(const struct ist_alloc *alloc, struct ist_unlimited **unlimited);
void ist_unlimited_free(struct ist_unlimited *unlimited);

/* *hits = how many leading blocks of the request were seen before; then all its blocks are remembered.
 * Returns OK, NO_MEMORY (nothing is remembered). */
enum ist_status ist_unlimited_request(struct ist_unlimited *unlimited, const uint64_t *blocks,
                                      size_t block_count, size_t *hits);

/* Different blocks so far. */
size_t ist_unlimited_distinct(const struct ist_unlimited *unlimited);

#endif

/* The values of one PUT: what is reserved for each key, and its outcome. How the bytes arrive is another's
 * matter. Nothing is visible before ist_put_commit(), and nothing is left of it without that. */
#ifndef IST_ENGINE_PUT_H
#define IST_ENGINE_PUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/span.h"
#include "infinistore/status.h"

struct ist_store;
struct ist_entry;
struct ist_put;

/* The keys, which are views on `body`, are kept. owned_body: NULL, then body is copied; or body.data, which
 * the put takes over on OK. Returns OK, NO_MEMORY. put: owned by the caller. */
enum ist_status ist_put_new(struct ist_store *store, struct ist_span body, uint8_t *owned_body,
                            const struct ist_span *keys, const uint64_t *lengths, size_t count,
                            bool if_absent, const struct ist_alloc *alloc, struct ist_put **put);
/* What one with so many keys, and a body of so many bytes, takes. */
size_t ist_put_memory_bytes(size_t count, size_t body_bytes);
/* Aborts what is reserved. NULL is legal. */
void ist_put_free(struct ist_put *put);

size_t ist_put_count(const struct ist_put *put);
uint64_t ist_put_value_bytes(const struct ist_put *put, size_t item);
/* Where the bytes of an item go; NULL: it was refused, and they go nowhere. Reserves on the first call, the
 * items before it first. */
struct ist_entry *ist_put_entry(struct ist_put *put, size_t item);
/* The same without reserving: the item must have been asked for. */
struct ist_entry *ist_put_reserved(const struct ist_put *put, size_t item);

/* All bytes are in: makes all visible, first key first, so that the last of several equal keys wins, and
 * refreshes them last key first. status: one byte for each key, an enum ist_status.
 * Returns the bytes of the values that were stored. */
uint64_t ist_put_commit(struct ist_put *put, uint8_t *status);

void ist_put_check(const struct ist_put *put);

#endif

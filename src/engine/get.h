/* The values of one GET: pinned entries, in order. How their bytes move is another's matter: it calls
 * ist_get_release() for each as soon as it has moved. */
#ifndef IST_ENGINE_GET_H
#define IST_ENGINE_GET_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"

struct ist_store;
struct ist_entry;

struct ist_get {
    const struct ist_alloc *alloc;
    struct ist_store *store;
    size_t count, released; /* entries [released, count) are pinned */
    uint64_t payload_bytes;
    struct ist_entry *entries[];
};

/* Takes over the pins of `count` >= 1 entries on OK. Returns OK, NO_MEMORY. get: owned by the caller. */
enum ist_status ist_get_new(struct ist_store *store, struct ist_entry *const *entries, size_t count,
                            const struct ist_alloc *alloc, struct ist_get **get);
/* Returns the pins that are left. NULL is legal. */
void ist_get_free(struct ist_get *get);
/* Returns the pin of the first one that is still pinned. */
void ist_get_release(struct ist_get *get);

#endif

/* Memory for millions of small objects. They lie side by side, by size, in chunks that are small for a size of which
 * there are few and up to 2 MiB for one of which there are many: what is looked up at random is then on as few
 * pages as can be, and with an allocator that takes huge pages for large requests on those.
 *
 * A chunk is given back when its last object goes. One whose objects go in another order than they came stays for
 * whoever is left in it: where that is much memory, ist_slab_stray() names objects that should move. */
#ifndef IST_STORE_SLAB_H
#define IST_STORE_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"

struct ist_slab;

/* Returns OK, NO_MEMORY. slab: owned by the caller. */
enum ist_status ist_slab_new(const struct ist_alloc *alloc, struct ist_slab **slab);
/* All objects have been given back. NULL is legal. */
void ist_slab_free(struct ist_slab *slab);

#define IST_SLAB_OBJECT_BYTES_MAX 1144u

/* An object of 1 to IST_SLAB_OBJECT_BYTES_MAX bytes, aligned to 8, not initialised; NULL when out of memory, and
 * nothing has changed. O(1), one allocation or none. */
void *ist_slab_take(struct ist_slab *slab, size_t bytes);
/* O(1). */
void ist_slab_give(struct ist_slab *slab, void *object);

/* Gives back the chunks that are kept, empty, for the next object: at most one of each size. */
void ist_slab_trim(struct ist_slab *slab);

/* An object that should move, since much more memory was taken than is used and little else lies in its chunk: take
 * another one, copy it there, and give this one back. Who does that with each one that is named keeps memory
 * at about one and a half times what is used. NULL when memory is used well, and when none was found yet: a call
 * takes O(1). An object that cannot move now is named again later. */
void *ist_slab_stray(struct ist_slab *slab);

uint64_t ist_slab_count(const struct ist_slab *slab); /* objects */
uint64_t ist_slab_bytes(const struct ist_slab *slab); /* all that it took from the allocator */

/* Walks every invariant. O(memory). */
void ist_slab_check(const struct ist_slab *slab);

#endif

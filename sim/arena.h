/* An allocator whose memory can be looked at as a whole: what it is made of, in one number. The code under test has no
 * globals, so that its state is what lies here; the place of each allocation, and its bytes before it is
 * written to, depend on what is live alone, not on how that came about.
 *
 * Large allocations are apart and not looked at: they are the engine's scratch, which holds nothing between two calls.
 *
 * A plain one takes all others from the heap, where sanitizers and valgrind see what is done to them, and cannot be looked
 * at; under AddressSanitizer each is, since the store marks there what must not be touched. */
#ifndef IST_SIM_ARENA_H
#define IST_SIM_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

#define SIM_ARENA_LARGE_BYTES (60u << 10) /* from so many on */

struct sim_arena {
    struct ist_alloc alloc; /* hand this one to the code under test */
    bool is_plain;
    uint8_t *small, *large;
    uint16_t *lengths; /* of what begins at a granule of `small`; 0: nothing */
    size_t top;        /* granules: behind the last one that is used */
    size_t large_bytes;
    uint64_t live, large_live; /* allocations; large ones among them */
};

/* Must not move while it is used. */
void sim_arena_init(struct sim_arena *arena, bool plain);
void sim_arena_fini(struct sim_arena *arena);
/* As after init, whatever is live; in a plain one nothing may be. */
void sim_arena_reset(struct sim_arena *arena);

/* Of all that lies in it. Not of a plain one. */
uint64_t sim_arena_hash(const struct sim_arena *arena, uint64_t seed);
/* The same of any memory. */
uint64_t sim_arena_hash_bytes(const void *memory, size_t bytes, uint64_t seed);

#endif

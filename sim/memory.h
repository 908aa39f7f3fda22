/* Memory: the simulator's own, which cannot fail, and that of the code under test, which can. */
#ifndef IST_SIM_MEMORY_H
#define IST_SIM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "sim/random.h"

/* Memory that cannot be had aborts: a simulator that goes on without it proves nothing. Zeroed; free(). */
void *sim_memory_new(size_t count, size_t bytes);
/* The same, not zeroed: for what is written at once. */
void *sim_memory_raw(size_t bytes);
/* memory may be NULL; what is new is not zeroed. */
void *sim_memory_resize(void *memory, size_t count, size_t bytes);

/* An allocator that knows what is live, and fails by chance. Must not move while it is used. */
struct sim_memory {
    struct ist_alloc alloc; /* hand this one to the code under test */
    struct sim_random random;
    unsigned failing_permille;
    uint64_t live, live_bytes; /* allocations */
    uint64_t failed;
};
void sim_memory_init(struct sim_memory *memory, uint64_t seed, uint64_t number);

#endif

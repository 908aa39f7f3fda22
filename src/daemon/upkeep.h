/* What the daemon does for the pool beside serving: grow it before it is full, and evict when asked to keep
 * some of it free. Decisions only: no clock, no I/O. */
#ifndef IST_DAEMON_UPKEEP_H
#define IST_DAEMON_UPKEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/memory.h"
#include "store/store.h"

struct ist_upkeep_config {
    bool auto_increase;
    uint64_t increase_bytes;   /* a step; at least 1 */
    double increase_threshold; /* used share of the pool above which it grows */
    bool periodic_evict;
    double evict_min_threshold; /* used share of the pool that eviction leaves */
    double evict_max_threshold; /* and above which it begins */
};

/* What ist_memory_grow() should be asked for; 0: nothing. Not while an earlier step is still under way. */
uint64_t ist_upkeep_grow_to(const struct ist_upkeep_config *config, const struct ist_store_usage *usage,
                            const struct ist_memory_state *memory);

/* What ist_store_evict() should be asked for; 0: nothing. A pool that is still growing is judged by the size
 * that it will have. */
uint64_t ist_upkeep_evict_bytes(const struct ist_upkeep_config *config,
                                const struct ist_store_usage *usage,
                                const struct ist_memory_state *memory);

#endif

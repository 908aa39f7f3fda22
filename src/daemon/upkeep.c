#include "daemon/upkeep.h"

static uint64_t used_bytes(const struct ist_store_usage *usage) {
    return usage->pool_bytes - usage->free_bytes;
}

static uint64_t share(uint64_t bytes, double factor) {
    return (uint64_t)((double)bytes * factor);
}

uint64_t ist_upkeep_grow_to(const struct ist_upkeep_config *config, const struct ist_store_usage *usage,
                            const struct ist_memory_state *memory) {
    uint64_t target = memory->target_bytes;
    if (!config->auto_increase || memory->ready_bytes < target || target >= usage->pool_bytes_max ||
        used_bytes(usage) <= share(target, config->increase_threshold)) {
        return 0;
    }
    uint64_t left = usage->pool_bytes_max - target;
    return target + (config->increase_bytes < left ? config->increase_bytes : left);
}

uint64_t ist_upkeep_evict_bytes(const struct ist_upkeep_config *config,
                                const struct ist_store_usage *usage,
                                const struct ist_memory_state *memory) {
    uint64_t used = used_bytes(usage);
    if (!config->periodic_evict || used <= share(memory->target_bytes, config->evict_max_threshold)) {
        return 0;
    }
    uint64_t keep = share(memory->target_bytes, config->evict_min_threshold);
    return used > keep ? used - keep : 0;
}

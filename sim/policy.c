#include "sim/policy.h"

#include <stdlib.h>

#include "base/assert.h"
#include "sim/memory.h"
#include "store/evict.h"

static const uint32_t *blocks_of(const struct sim_blocks *blocks, size_t request) {
    return blocks->numbers + blocks->requests[request].first;
}

/* ---- the store's own ------------------------------------------------------------------------------------ */

struct cache {
    struct ist_evict *evict;
    struct ist_evict_link *links; /* of each block */
    bool *present;
    size_t count, capacity;
};

static size_t prefix_hits(const bool *present, const uint32_t *numbers, size_t count) {
    size_t hits = 0;
    while (hits < count && present[numbers[hits]]) {
        hits++;
    }
    return hits;
}

static void evict_one(struct cache *cache) {
    struct ist_evict_link *victim = ist_evict_take(cache->evict);
    IST_ASSERT(victim != NULL);
    cache->present[victim - cache->links] = false;
    cache->count--;
}

static void use(struct cache *cache, uint32_t number) {
    if (cache->present[number]) {
        ist_evict_touch(cache->evict, &cache->links[number]);
        return;
    }
    if (cache->count == cache->capacity) {
        evict_one(cache);
    }
    cache->links[number].bytes = 1;
    ist_evict_insert(cache->evict, &cache->links[number], false);
    cache->present[number] = true;
    cache->count++;
}

uint64_t sim_policy_hits(const struct sim_blocks *blocks, const char *policy, bool tail_first,
                         size_t capacity) {
    struct cache cache = {.capacity = capacity};
    uint64_t hits = 0;
    if (ist_evict_new(policy, ist_alloc_system(), &cache.evict) != IST_OK) {
        return UINT64_MAX;
    }
    cache.links = sim_memory_new(blocks->distinct, sizeof(*cache.links));
    cache.present = sim_memory_new(blocks->distinct, sizeof(*cache.present));
    for (size_t i = 0; i < blocks->request_count; i++) {
        const uint32_t *numbers = blocks_of(blocks, i);
        size_t count = blocks->requests[i].count;
        hits += prefix_hits(cache.present, numbers, count);
        for (size_t j = 0; j < count; j++) {
            use(&cache, numbers[tail_first ? count - 1 - j : j]);
        }
    }
    ist_evict_free(cache.evict);
    free(cache.links);
    free(cache.present);
    return hits;
}

/* ---- FIFO, and S3-FIFO, which is made of some ---------------------------------------------------------------- */

/* A ring of blocks. */
struct queue {
    uint32_t *numbers;
    size_t first, count, room;
};

static void queue_init(struct queue *queue, size_t room) {
    *queue = (struct queue){.numbers = sim_memory_new(room + 1, sizeof(uint32_t)), .room = room + 1};
}

static void queue_push(struct queue *queue, uint32_t number) {
    IST_ASSERT(queue->count < queue->room);
    queue->numbers[(queue->first + queue->count++) % queue->room] = number;
}

static uint32_t queue_pop(struct queue *queue) {
    uint32_t number = queue->numbers[queue->first];
    IST_ASSERT(queue->count > 0);
    queue->first = (queue->first + 1) % queue->room;
    queue->count--;
    return number;
}

uint64_t sim_policy_fifo(const struct sim_blocks *blocks, size_t capacity) {
    struct queue queue;
    queue_init(&queue, capacity);
    bool *present = sim_memory_new(blocks->distinct, sizeof(bool));
    uint64_t hits = 0;
    for (size_t i = 0; i < blocks->request_count; i++) {
        const uint32_t *numbers = blocks_of(blocks, i);
        hits += prefix_hits(present, numbers, blocks->requests[i].count);
        for (size_t j = 0; j < blocks->requests[i].count; j++) {
            if (!present[numbers[j]]) {
                if (queue.count == capacity) {
                    present[queue_pop(&queue)] = false;
                }
                queue_push(&queue, numbers[j]);
                present[numbers[j]] = true;
            }
        }
    }
    free(queue.numbers);
    free(present);
    return hits;
}

#define USES_MAX 3u

struct s3fifo {
    struct queue small, main, ghost;
    size_t small_max, capacity;
    bool *present, *ghosts;
    uint8_t *uses;
};

static void remember(struct s3fifo *cache, uint32_t number) {
    if (cache->capacity == cache->small_max) {
        return; /* no main queue to come back to */
    }
    if (cache->ghost.count == cache->capacity - cache->small_max) {
        cache->ghosts[queue_pop(&cache->ghost)] = false;
    }
    queue_push(&cache->ghost, number);
    cache->ghosts[number] = true;
}

/* One of the main queue goes; those that were used get another round. */
static void evict_main(struct s3fifo *cache) {
    for (;;) {
        uint32_t number = queue_pop(&cache->main);
        if (cache->uses[number] == 0) {
            cache->present[number] = false;
            return;
        }
        cache->uses[number]--;
        queue_push(&cache->main, number);
    }
}

static void make_room(struct s3fifo *cache) {
    while (cache->small.count + cache->main.count >= cache->capacity) {
        if (cache->small.count < cache->small_max && cache->main.count > 0) {
            evict_main(cache);
            continue;
        }
        uint32_t number = queue_pop(&cache->small);
        if (cache->uses[number] > 1) {
            cache->uses[number] = 0;
            queue_push(&cache->main, number);
            if (cache->main.count > cache->capacity - cache->small_max) {
                evict_main(cache);
            }
        } else {
            cache->present[number] = false;
            remember(cache, number);
        }
    }
}

static void s3fifo_use(struct s3fifo *cache, uint32_t number) {
    if (cache->present[number]) {
        if (cache->uses[number] < USES_MAX) {
            cache->uses[number]++;
        }
        return;
    }
    make_room(cache);
    queue_push(cache->ghosts[number] ? &cache->main : &cache->small, number);
    cache->uses[number] = 0;
    cache->present[number] = true;
}

uint64_t sim_policy_s3fifo(const struct sim_blocks *blocks, size_t capacity) {
    struct s3fifo cache = {.small_max = capacity / 10 == 0 ? 1 : capacity / 10, .capacity = capacity};
    queue_init(&cache.small, capacity + 1);
    queue_init(&cache.main, capacity + 1);
    queue_init(&cache.ghost, capacity + 1);
    cache.present = sim_memory_new(blocks->distinct, sizeof(bool));
    cache.ghosts = sim_memory_new(blocks->distinct, sizeof(bool));
    cache.uses = sim_memory_new(blocks->distinct, 1);
    uint64_t hits = 0;
    for (size_t i = 0; i < blocks->request_count; i++) {
        const uint32_t *numbers = blocks_of(blocks, i);
        hits += prefix_hits(cache.present, numbers, blocks->requests[i].count);
        for (size_t j = 0; j < blocks->requests[i].count; j++) {
            s3fifo_use(&cache, numbers[j]);
        }
    }
    free(cache.small.numbers);
    free(cache.main.numbers);
    free(cache.ghost.numbers);
    free(cache.present);
    free(cache.ghosts);
    free(cache.uses);
    return hits;
}

uint64_t sim_policy_unlimited(const struct sim_blocks *blocks) {
    return sim_policy_fifo(blocks, blocks->distinct);
}

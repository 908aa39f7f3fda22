/* The exact offline optimum: a heap of what is kept, the one that goes next on top. */
#include <stdlib.h>

#include "base/assert.h"
#include "sim/memory.h"
#include "sim/policy.h"

/* When a block is used next, and how deep it lies then: the larger goes first. */
struct kept {
    uint32_t number;
    uint32_t next; /* the request; SIM_BLOCK_NEVER: none */
    uint32_t depth;
};

struct optimum {
    struct kept *heap; /* [0] is unused; old ones of a block stay until they come up */
    size_t used, room;
    uint32_t *next; /* of each block; SIM_BLOCK_NEVER while it is not kept */
    bool *present;
    size_t count, capacity;
};

static bool goes_before(const struct kept *a, const struct kept *b) {
    return a->next != b->next ? a->next > b->next : a->depth > b->depth;
}

static void push(struct optimum *optimum, struct kept kept) {
    if (optimum->used + 1 >= optimum->room) {
        optimum->room = 2 * optimum->room + 1024;
        optimum->heap = sim_memory_resize(optimum->heap, optimum->room, sizeof(struct kept));
    }
    size_t at = ++optimum->used;
    for (; at > 1 && goes_before(&kept, &optimum->heap[at / 2]); at /= 2) {
        optimum->heap[at] = optimum->heap[at / 2];
    }
    optimum->heap[at] = kept;
}

static struct kept pop(struct optimum *optimum) {
    IST_ASSERT(optimum->used > 0);
    struct kept top = optimum->heap[1], last = optimum->heap[optimum->used--];
    size_t at = 1;
    for (size_t child = 2; child <= optimum->used; child = 2 * at) {
        if (child < optimum->used && goes_before(&optimum->heap[child + 1], &optimum->heap[child])) {
            child++;
        }
        if (!goes_before(&optimum->heap[child], &last)) {
            break;
        }
        optimum->heap[at] = optimum->heap[child];
        at = child;
    }
    optimum->heap[at] = last;
    return top;
}

/* For each reference: the next request that has the block. */
static uint32_t *next_uses(const struct sim_blocks *blocks) {
    uint32_t *uses = sim_memory_new(blocks->number_count, sizeof(uint32_t));
    uint32_t *last = sim_memory_new(blocks->distinct, sizeof(uint32_t));
    for (size_t i = 0; i < blocks->distinct; i++) {
        last[i] = SIM_BLOCK_NEVER;
    }
    for (size_t i = blocks->request_count; i > 0; i--) {
        const struct sim_blocks_request *request = &blocks->requests[i - 1];
        for (size_t j = 0; j < request->count; j++) {
            uses[request->first + j] = last[blocks->numbers[request->first + j]];
        }
        for (size_t j = 0; j < request->count; j++) {
            last[blocks->numbers[request->first + j]] = (uint32_t)(i - 1);
        }
    }
    free(last);
    return uses;
}

static void drop_surplus(struct optimum *optimum) {
    while (optimum->count > optimum->capacity) {
        struct kept kept = pop(optimum);
        if (optimum->present[kept.number] && optimum->next[kept.number] == kept.next) {
            optimum->present[kept.number] = false;
            optimum->count--;
        }
    }
}

uint64_t sim_policy_optimum(const struct sim_blocks *blocks, size_t capacity) {
    struct optimum optimum = {.capacity = capacity};
    uint32_t *uses = next_uses(blocks);
    optimum.next = sim_memory_new(blocks->distinct, sizeof(uint32_t));
    optimum.present = sim_memory_new(blocks->distinct, sizeof(bool));
    uint64_t hits = 0;
    for (size_t i = 0; i < blocks->request_count; i++) {
        const struct sim_blocks_request *request = &blocks->requests[i];
        const uint32_t *numbers = blocks->numbers + request->first;
        size_t prefix = 0;
        while (prefix < request->count && optimum.present[numbers[prefix]]) {
            prefix++;
        }
        hits += prefix;
        for (size_t j = 0; j < request->count; j++) {
            uint32_t number = numbers[j], next = uses[request->first + j];
            optimum.count += !optimum.present[number];
            optimum.present[number] = true;
            optimum.next[number] = next;
            push(&optimum, (struct kept){number, next, (uint32_t)j});
        }
        drop_surplus(&optimum);
    }
    free(optimum.heap);
    free(optimum.next);
    free(optimum.present);
    free(uses);
    return hits;
}

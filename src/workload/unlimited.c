#include "workload/unlimited.h"

#include <stdbool.h>

#define ROOM_FIRST 1024u /* a power of two */

/* A hash set of 64-bit ids: open addressing, linear probing, at most half full. An empty slot is 0, so ids
 * are stored plus one, and UINT64_MAX apart. */
struct ist_unlimited {
    const struct ist_alloc *alloc;
    uint64_t *slots;
    size_t room, used;
    bool has_last;
};

enum ist_status ist_unlimited_new(const struct ist_alloc *alloc, struct ist_unlimited **unlimited) {
    struct ist_unlimited *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->room = ROOM_FIRST;
    new->slots = ist_allocate_zeroed(alloc, new->room, sizeof(*new->slots));
    if (new->slots == NULL) {
        ist_release(alloc, new);
        return IST_NO_MEMORY;
    }
    *unlimited = new;
    return IST_OK;
}

void ist_unlimited_free(struct ist_unlimited *unlimited) {
    if (unlimited == NULL) {
        return;
    }
    ist_release(unlimited->alloc, unlimited->slots);
    ist_release(unlimited->alloc, unlimited);
}

/* The slot that holds `stored`, or the empty one where it would go. */
static uint64_t *find(uint64_t *slots, size_t room, uint64_t stored) {
    size_t at = (size_t)((stored * 0x9e3779b97f4a7c15ull) >> 32) & (room - 1);
    while (slots[at] != 0 && slots[at] != stored) {
        at = (at + 1) & (room - 1);
    }
    return &slots[at];
}

static bool contains(const struct ist_unlimited *unlimited, uint64_t block) {
    if (block == UINT64_MAX) {
        return unlimited->has_last;
    }
    return *find(unlimited->slots, unlimited->room, block + 1) != 0;
}

static void insert(struct ist_unlimited *unlimited, uint64_t block) {
    if (block == UINT64_MAX) {
        unlimited->has_last = true;
        return;
    }
    uint64_t *slot = find(unlimited->slots, unlimited->room, block + 1);
    unlimited->used += *slot == 0;
    *slot = block + 1;
}

static enum ist_status reserve(struct ist_unlimited *unlimited, size_t more) {
    size_t room = unlimited->room;
    while ((unlimited->used + more) * 2 > room) {
        room *= 2;
    }
    if (room == unlimited->room) {
        return IST_OK;
    }
    uint64_t *slots = ist_allocate_zeroed(unlimited->alloc, room, sizeof(*slots));
    if (slots == NULL) {
        return IST_NO_MEMORY;
    }
    for (size_t i = 0; i < unlimited->room; i++) {
        if (unlimited->slots[i] != 0) {
            *find(slots, room, unlimited->slots[i]) = unlimited->slots[i];
        }
    }
    ist_release(unlimited->alloc, unlimited->slots);
    unlimited->slots = slots;
    unlimited->room = room;
    return IST_OK;
}

enum ist_status ist_unlimited_request(struct ist_unlimited *unlimited, const uint64_t *blocks,
                                      size_t block_count, size_t *hits) {
    if (reserve(unlimited, block_count) != IST_OK) {
        return IST_NO_MEMORY;
    }
    size_t matched = 0;
    while (matched < block_count && contains(unlimited, blocks[matched])) {
        matched++;
    }
    for (size_t i = matched; i < block_count; i++) {
        insert(unlimited, blocks[i]);
    }
    *hits = matched;
    return IST_OK;
}

size_t ist_unlimited_distinct(const struct ist_unlimited *unlimited) {
    return unlimited->used + unlimited->has_last;
}

#include "python/regions.h"

#include <stdlib.h>
#include <string.h>

void ist_regions_fini(struct ist_regions *regions) {
    free(regions->items);
    *regions = (struct ist_regions){0};
}

/* The first range that ends behind `address`, or at it. */
static size_t find(const struct ist_regions *regions, uintptr_t address) {
    size_t low = 0, high = regions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (regions->items[middle].end < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool make_room(struct ist_regions *regions) {
    if (regions->count < regions->room) {
        return true;
    }
    size_t room = regions->room == 0 ? 8 : regions->room * 2;
    struct ist_region *items = realloc(regions->items, room * sizeof(*items));
    if (items == NULL) {
        return false;
    }
    regions->items = items;
    regions->room = room;
    return true;
}

/* `taken` ranges from `at` on become `put` ones; there is room. */
static void replace(struct ist_regions *regions, size_t at, size_t taken, const struct ist_region *by,
                    size_t put) {
    struct ist_region *items = regions->items;
    memmove(&items[at + put], &items[at + taken], (regions->count - at - taken) * sizeof(*items));
    memcpy(&items[at], by, put * sizeof(*items));
    regions->count = regions->count - taken + put;
}

bool ist_regions_add(struct ist_regions *regions, uintptr_t address, size_t bytes) {
    if (!make_room(regions)) {
        return false;
    }
    struct ist_region new = {.begin = address, .end = address + bytes};
    size_t at = find(regions, address), taken = 0;
    while (at + taken < regions->count && regions->items[at + taken].begin <= new.end) {
        const struct ist_region *old = &regions->items[at + taken];
        new.begin = old->begin < new.begin ? old->begin : new.begin;
        new.end = old->end > new.end ? old->end : new.end;
        taken++;
    }
    replace(regions, at, taken, &new, 1);
    return true;
}

bool ist_regions_remove(struct ist_regions *regions, uintptr_t address, size_t bytes) {
    if (!make_room(regions)) {
        return false;
    }
    uintptr_t end = address + bytes;
    size_t at = find(regions, address), taken = 0, put = 0;
    struct ist_region left[2];
    while (at + taken < regions->count && regions->items[at + taken].begin < end) {
        const struct ist_region *old = &regions->items[at + taken];
        if (old->begin < address) {
            left[put++] = (struct ist_region){.begin = old->begin,
                                              .end = old->end < address ? old->end : address};
        }
        if (old->end > end) {
            left[put++] = (struct ist_region){.begin = end, .end = old->end};
        }
        taken++;
    }
    replace(regions, at, taken, left, put);
    return true;
}

bool ist_regions_contain(const struct ist_regions *regions, uintptr_t address, size_t bytes) {
    size_t at = find(regions, address);
    if (at < regions->count && regions->items[at].end == address) {
        at++; /* it only touches */
    }
    return at < regions->count && regions->items[at].begin <= address &&
           bytes <= regions->items[at].end - address && address < regions->items[at].end;
}

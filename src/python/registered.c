#include "python/registered.h"

#include <stdlib.h>
#include <string.h>

struct ist_registered_range {
    uint64_t begin, end; /* end: one past */
    uint64_t furthest;   /* end of any range up to this one */
    size_t times;
};

void ist_registered_fini(struct ist_registered *registered) {
    free(registered->items);
    *registered = (struct ist_registered){0};
}

bool ist_registered_reserve(struct ist_registered *registered) {
    if (registered->count < registered->room) {
        return true;
    }
    size_t room = registered->room == 0 ? 8 : registered->room * 2;
    struct ist_registered_range *items = realloc(registered->items, room * sizeof(*items));
    if (items == NULL) {
        return false;
    }
    registered->items = items;
    registered->room = room;
    return true;
}

/* Where (begin, end) is or belongs. */
static size_t find(const struct ist_registered *registered, uint64_t begin, uint64_t end) {
    size_t low = 0, high = registered->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct ist_registered_range *range = &registered->items[middle];
        if (range->begin < begin || (range->begin == begin && range->end < end)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct ist_registered *registered, size_t at, uint64_t begin, uint64_t end) {
    return at < registered->count && registered->items[at].begin == begin &&
           registered->items[at].end == end;
}

static void update_furthest(struct ist_registered *registered, size_t from) {
    for (size_t i = from; i < registered->count; i++) {
        struct ist_registered_range *range = &registered->items[i];
        uint64_t before = i == 0 ? 0 : registered->items[i - 1].furthest;
        range->furthest = before > range->end ? before : range->end;
    }
}

void ist_registered_add(struct ist_registered *registered, uint64_t address, uint64_t bytes) {
    size_t at = find(registered, address, address + bytes);
    struct ist_registered_range *items = registered->items;
    if (is_at(registered, at, address, address + bytes)) {
        items[at].times++;
        return;
    }
    memmove(&items[at + 1], &items[at], (registered->count - at) * sizeof(*items));
    items[at] = (struct ist_registered_range){.begin = address, .end = address + bytes, .times = 1};
    registered->count++;
    update_furthest(registered, at);
}

void ist_registered_remove(struct ist_registered *registered, uint64_t address, uint64_t bytes) {
    size_t at = find(registered, address, address + bytes);
    struct ist_registered_range *items = registered->items;
    if (!is_at(registered, at, address, address + bytes) || --items[at].times > 0) {
        return;
    }
    registered->count--;
    memmove(&items[at], &items[at + 1], (registered->count - at) * sizeof(*items));
    update_furthest(registered, at);
}

bool ist_registered_contains(const struct ist_registered *registered, uint64_t address,
                             uint64_t bytes) {
    size_t behind = find(registered, address, UINT64_MAX);
    /* One that begins at or before the address and reaches furthest of all these. */
    return behind > 0 && registered->items[behind - 1].furthest > address &&
           bytes <= registered->items[behind - 1].furthest - address;
}

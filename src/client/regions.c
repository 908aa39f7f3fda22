#include "client/regions.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

#define ROOM_MIN 16u

struct ist_known_region {
    uint64_t address, end;
    uint64_t highest_end; /* of this and all before it: where a search may stop */
    int fd;               /* owned; -1: ordinary memory */
    uint64_t offset;
    uint64_t times; /* added so often */
    struct ist_region region;
};

void ist_regions_init(struct ist_regions *regions, const struct ist_alloc *alloc) {
    *regions = (struct ist_regions){.alloc = alloc};
}

static void forget(struct ist_known_region *item) {
    ist_region_drop(&item->region);
    if (item->fd >= 0) {
        close(item->fd);
    }
}

void ist_regions_fini(struct ist_regions *regions) {
    IST_ASSERT(regions->device == NULL);
    for (size_t i = 0; i < regions->count; i++) {
        forget(&regions->items[i]);
    }
    ist_release(regions->alloc, regions->items);
    *regions = (struct ist_regions){.alloc = regions->alloc};
}

/* ---- finding -------------------------------------------------------------------------------------------- */

/* How many come before (address, end), in the order of addresses, then of ends. */
static size_t place_of(const struct ist_regions *regions, uint64_t address, uint64_t end) {
    size_t low = 0, high = regions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct ist_known_region *item = &regions->items[middle];
        if (item->address < address || (item->address == address && item->end < end)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct ist_known_region *exactly(const struct ist_regions *regions, uint64_t address,
                                        uint64_t bytes) {
    size_t at = place_of(regions, address, address + bytes);
    if (at < regions->count && regions->items[at].address == address &&
        regions->items[at].end == address + bytes) {
        return &regions->items[at];
    }
    return NULL;
}

bool ist_regions_find(const struct ist_regions *regions, uint64_t address, uint64_t bytes,
                      uint32_t *rkey) {
    if (bytes > UINT64_MAX - address) {
        return false;
    }
    uint64_t end = address + bytes;
    /* Of those that begin at or before it: backwards, as long as one of them may reach its end. */
    for (size_t i = place_of(regions, address, UINT64_MAX);
         i > 0 && regions->items[i - 1].highest_end >= end; i--) {
        const struct ist_known_region *item = &regions->items[i - 1];
        if (item->end >= end && item->region.mr != NULL) {
            *rkey = item->region.rkey;
            return true;
        }
    }
    return false;
}

bool ist_regions_is_device_memory(const struct ist_regions *regions, uint64_t address, uint64_t bytes) {
    for (size_t i = 0; regions->device_memory > 0 && i < regions->count; i++) {
        const struct ist_known_region *item = &regions->items[i];
        if (item->fd >= 0 && address < item->end && bytes > 0 &&
            (item->address <= address || item->address - address < bytes)) {
            return true;
        }
    }
    return false;
}

bool ist_regions_is_last(const struct ist_regions *regions, uint64_t address, uint64_t bytes) {
    const struct ist_known_region *item = exactly(regions, address, bytes);
    return item != NULL && item->times == 1;
}

/* ---- adding and removing -------------------------------------------------------------------------------- */

static void set_highest_ends(struct ist_regions *regions, size_t from) {
    uint64_t highest = from == 0 ? 0 : regions->items[from - 1].highest_end;
    for (size_t i = from; i < regions->count; i++) {
        highest = regions->items[i].end > highest ? regions->items[i].end : highest;
        regions->items[i].highest_end = highest;
    }
}

static bool make_room(struct ist_regions *regions) {
    if (regions->count < regions->room) {
        return true;
    }
    size_t room = regions->room == 0 ? ROOM_MIN : 2 * regions->room;
    struct ist_known_region *items = ist_allocate_array(regions->alloc, room, sizeof(*items));
    if (items == NULL) {
        return false;
    }
    if (regions->count > 0) {
        memcpy(items, regions->items, regions->count * sizeof(*items));
    }
    ist_release(regions->alloc, regions->items);
    regions->items = items;
    regions->room = room;
    return true;
}

enum ist_status ist_regions_register(const struct ist_device *device,
                                     const struct ist_region_source *source,
                                     struct ist_region *region) {
    if (source->fd >= 0) {
        return ist_region_register_dmabuf(device, source->fd, source->offset, source->bytes,
                                          source->address, IST_MEMORY_REMOTE, region);
    }
    return ist_region_register(device, (void *)(uintptr_t)source->address, source->bytes,
                               IST_MEMORY_REMOTE, region);
}

static struct ist_region_source source_of(const struct ist_known_region *item) {
    return (struct ist_region_source){.address = item->address,
                                      .bytes = item->end - item->address,
                                      .fd = item->fd,
                                      .offset = item->offset};
}

static enum ist_status add_again(struct ist_known_region *item,
                                 const struct ist_region_source *source) {
    if ((item->fd >= 0) != (source->fd >= 0) || item->offset != source->offset) {
        return IST_INVALID;
    }
    item->times++;
    return IST_OK;
}

bool ist_regions_add_known(struct ist_regions *regions, const struct ist_region_source *source,
                           enum ist_status *status) {
    if (source->bytes == 0 || source->address == 0 || source->bytes > UINT64_MAX - source->address) {
        *status = IST_INVALID;
        return true;
    }
    struct ist_known_region *known = exactly(regions, source->address, source->bytes);
    if (known != NULL) {
        *status = add_again(known, source);
    }
    return known != NULL;
}

enum ist_status ist_regions_insert(struct ist_regions *regions, const struct ist_region_source *source,
                                   const struct ist_region *region) {
    if (!make_room(regions)) {
        return IST_NO_MEMORY;
    }
    struct ist_known_region new = {.address = source->address,
                                   .end = source->address + source->bytes,
                                   .fd = -1,
                                   .offset = source->offset,
                                   .times = 1,
                                   .region = *region};
    if (source->fd >= 0) {
        new.fd = fcntl(source->fd, F_DUPFD_CLOEXEC, 0); /* for the next device */
        if (new.fd < 0) {
            return IST_INVALID;
        }
    }
    size_t at = place_of(regions, new.address, new.end);
    memmove(&regions->items[at + 1], &regions->items[at], (regions->count - at) * sizeof(new));
    regions->items[at] = new;
    regions->count++;
    regions->device_memory += new.fd >= 0;
    set_highest_ends(regions, at);
    return IST_OK;
}

enum ist_status ist_regions_add(struct ist_regions *regions, const struct ist_region_source *source) {
    enum ist_status status = IST_OK;
    struct ist_region region = {0};
    if (ist_regions_add_known(regions, source, &status)) {
        return status;
    }
    if (regions->device != NULL) {
        status = ist_regions_register(regions->device, source, &region);
    }
    if (status == IST_OK) {
        status = ist_regions_insert(regions, source, &region);
    }
    if (status != IST_OK) {
        ist_region_drop(&region);
    }
    return status;
}

enum ist_status ist_regions_remove(struct ist_regions *regions, uint64_t address, uint64_t bytes) {
    struct ist_known_region *item = exactly(regions, address, bytes);
    if (item == NULL) {
        return IST_NOT_FOUND;
    }
    if (--item->times > 0) {
        return IST_OK;
    }
    size_t at = (size_t)(item - regions->items);
    regions->device_memory -= item->fd >= 0;
    forget(item);
    regions->count--;
    memmove(item, item + 1, (regions->count - at) * sizeof(*item));
    set_highest_ends(regions, at);
    return IST_OK;
}

/* ---- the device ----------------------------------------------------------------------------------------- */

const char *ist_regions_why(enum ist_status status) {
    switch ((int)status) {
    case IST_NO_MEMORY: return "no more memory can be locked (see ulimit -l)";
    case IST_TOO_BIG: return "the device registers no more than its limit at once";
    case IST_INVALID: return "it is not mapped, or not writable";
    default: return "the device refuses it";
    }
}

enum ist_status ist_regions_attach(struct ist_regions *regions, const struct ist_device *device,
                                   char *why, size_t why_bytes) {
    IST_ASSERT(regions->device == NULL);
    regions->device = device;
    for (size_t i = 0; i < regions->count; i++) {
        struct ist_known_region *item = &regions->items[i];
        const struct ist_region_source source = source_of(item);
        enum ist_status status = ist_regions_register(device, &source, &item->region);
        if (status != IST_OK) {
            snprintf(why, why_bytes, "%" PRIu64 " bytes of memory cannot be registered: %s",
                     source.bytes, ist_regions_why(status));
            ist_regions_detach(regions);
            return status;
        }
    }
    return IST_OK;
}

void ist_regions_detach(struct ist_regions *regions) {
    for (size_t i = 0; i < regions->count; i++) {
        ist_region_drop(&regions->items[i].region);
    }
    regions->device = NULL;
}

/* ---- invariants ----------------------------------------------------------------------------------------- */

void ist_regions_check(const struct ist_regions *regions) {
    uint64_t highest = 0;
    size_t device_memory = 0;
    for (size_t i = 0; i < regions->count; i++) {
        const struct ist_known_region *item = &regions->items[i];
        const struct ist_known_region *before = i == 0 ? NULL : item - 1;
        highest = item->end > highest ? item->end : highest;
        device_memory += item->fd >= 0;
        IST_ASSERT(item->address < item->end && item->times > 0 && item->highest_end == highest);
        IST_ASSERT(before == NULL || before->address < item->address ||
                   (before->address == item->address && before->end < item->end));
        IST_ASSERT((item->region.mr != NULL) == (regions->device != NULL));
    }
    IST_ASSERT(device_memory == regions->device_memory && regions->count <= regions->room);
}

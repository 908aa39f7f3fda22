#include "daemon/registration.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "verbs/memory.h"

struct segment {
    uint64_t offset; /* of its first byte in the pool */
    struct ist_region region;
};

struct ist_registration {
    const struct ist_device *device;
    const struct ist_alloc *alloc;
    const struct ist_log *log;
    size_t segments_max;
    atomic_size_t count; /* segments below it do not change any more */
    atomic_bool is_partial;
    struct segment segments[];
};

enum ist_status ist_registration_new(const struct ist_device *device, size_t segments_max,
                                     const struct ist_alloc *alloc, const struct ist_log *log,
                                     struct ist_registration **registration) {
    struct ist_registration *new =
        ist_allocate(alloc, sizeof(*new) + segments_max * sizeof(struct segment));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->device = device;
    new->alloc = alloc;
    new->log = log;
    new->segments_max = segments_max;
    atomic_init(&new->count, 0);
    atomic_init(&new->is_partial, false);
    *registration = new;
    return IST_OK;
}

void ist_registration_free(struct ist_registration *registration) {
    if (registration == NULL) {
        return;
    }
    for (size_t i = 0; i < atomic_load(&registration->count); i++) {
        ist_region_drop(&registration->segments[i].region);
    }
    ist_release(registration->alloc, registration);
}

static uint64_t end_of(const struct segment *segment) {
    return segment->offset + segment->region.bytes;
}

void ist_registration_add(struct ist_registration *registration, uint8_t *memory, uint64_t bytes) {
    size_t at = atomic_load(&registration->count);
    if (atomic_load(&registration->is_partial)) {
        return; /* offsets behind a gap would be wrong */
    }
    enum ist_status status = IST_NO_SPACE;
    struct segment *segment = &registration->segments[at];
    if (at < registration->segments_max) {
        segment->offset = at == 0 ? 0 : end_of(segment - 1);
        status = ist_region_register(registration->device, memory, bytes, IST_MEMORY_LOCAL,
                                     &segment->region);
    }
    if (status != IST_OK) {
        atomic_store(&registration->is_partial, true);
        ist_log_error(registration->log, 0,
                      "%" PRIu64
                      " bytes of the pool cannot be registered with %s: %s: no RDMA any more",
                      bytes, ist_device_name(registration->device),
                      status == IST_NO_MEMORY ? "too little memory may be locked (ulimit -l)"
                                              : ist_status_text(status));
        return;
    }
    atomic_store(&registration->count, at + 1);
}

bool ist_registration_is_whole(const struct ist_registration *registration) {
    return !atomic_load(&registration->is_partial);
}

uint32_t ist_registration_find(const struct ist_registration *registration, uint64_t offset,
                               uint32_t bytes, struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX]) {
    const struct segment *segments = registration->segments;
    const size_t count = atomic_load(&registration->count);
    size_t low = 0, high = count;
    while (low + 1 < high) {
        size_t middle = (low + high) / 2;
        *(segments[middle].offset <= offset ? &low : &high) = middle;
    }
    uint32_t found = 0;
    for (size_t i = low; bytes > 0; i++) {
        if (i >= count || found == IST_ONE_SIDED_PIECES_MAX) {
            return 0;
        }
        uint64_t left = end_of(&segments[i]) - offset;
        uint32_t part = left < bytes ? (uint32_t)left : bytes;
        pieces[found++] = (struct ist_piece){segments[i].region.address + (offset - segments[i].offset),
                                             part, segments[i].region.lkey};
        offset += part;
        bytes -= part;
    }
    return found;
}

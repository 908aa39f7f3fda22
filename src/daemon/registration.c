#include "daemon/registration.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/session.h"
#include "verbs/memory.h"

#define PART_UNIT_BYTES (2ull << 20) /* a huge page */
static_assert(PART_UNIT_BYTES >= IST_WORK_BYTES_MAX, "a work lies in two parts at most");

/* A region, or a part of what was added. */
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
    struct ist_registration *new = ist_allocate(
        alloc, sizeof(*new) + segments_max * IST_REGISTRATION_PARTS * sizeof(struct segment));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->device = device;
    new->alloc = alloc;
    new->log = log;
    new->segments_max = segments_max *IST_REGISTRATION_PARTS;
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

/* A part of what add() was given, for a thread of its own. */
struct part {
    const struct ist_registration *registration;
    uint8_t *memory;
    uint64_t bytes;
    struct ist_region region;
    enum ist_status status;
    pthread_t thread;
    bool has_thread;
};

static void *register_part(void *context) {
    struct part *part = context;
    part->status = ist_region_register(part->registration->device, part->memory, part->bytes,
                                       IST_MEMORY_LOCAL, &part->region);
    return NULL;
}

/* Parts of equal length, but for the last one, and not too small: a work may lie in two of them, not in three. Returns how
 * many. */
static size_t cut(const struct ist_registration *registration, uint8_t *memory, uint64_t bytes,
                  struct part parts[IST_REGISTRATION_PARTS]) {
    uint64_t each = (bytes + IST_REGISTRATION_PARTS - 1) / IST_REGISTRATION_PARTS;
    each = each < IST_REGISTRATION_PART_BYTES_MIN
               ? IST_REGISTRATION_PART_BYTES_MIN
               : (each + PART_UNIT_BYTES - 1) / PART_UNIT_BYTES * PART_UNIT_BYTES;
    size_t count = 0;
    for (uint64_t done = 0; done < bytes; done += parts[count++].bytes) {
        parts[count] =
            (struct part){.registration = registration,
                          .memory = memory + done,
                          .bytes = bytes - done < each + PART_UNIT_BYTES ? bytes - done : each};
    }
    return count;
}

/* All parts, at the same time; the first by this thread, and those for which there is no thread. */
static enum ist_status register_parts(struct part *parts, size_t count) {
    enum ist_status status = IST_OK;
    for (size_t i = 1; i < count; i++) {
        parts[i].has_thread = pthread_create(&parts[i].thread, NULL, register_part, &parts[i]) == 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (!parts[i].has_thread) {
            (void)register_part(&parts[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (parts[i].has_thread) {
            pthread_join(parts[i].thread, NULL);
        }
        status = status == IST_OK ? parts[i].status : status;
    }
    for (size_t i = 0; status != IST_OK && i < count; i++) {
        ist_region_drop(&parts[i].region);
    }
    return status;
}

static void failed(struct ist_registration *registration, uint64_t bytes, enum ist_status status) {
    atomic_store(&registration->is_partial, true);
    ist_log_error(registration->log, 0,
                  "%" PRIu64 " bytes of the pool cannot be registered with %s: %s: no RDMA any more",
                  bytes, ist_device_name(registration->device),
                  status == IST_NO_MEMORY ? "too little memory may be locked (ulimit -l)"
                                          : ist_status_text(status));
}

void ist_registration_add(struct ist_registration *registration, uint8_t *memory, uint64_t bytes) {
    size_t at = atomic_load(&registration->count);
    struct part parts[IST_REGISTRATION_PARTS];
    if (atomic_load(&registration->is_partial)) {
        return; /* offsets behind a gap would be wrong */
    }
    size_t count = cut(registration, memory, bytes, parts);
    enum ist_status status =
        at + count <= registration->segments_max ? register_parts(parts, count) : IST_NO_SPACE;
    if (status != IST_OK) {
        failed(registration, bytes, status);
        return;
    }
    for (size_t i = 0; i < count; i++, at++) {
        struct segment *segment = &registration->segments[at];
        segment->region = parts[i].region;
        segment->offset = at == 0 ? 0 : end_of(segment - 1);
    }
    atomic_store(&registration->count, at);
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

#include "daemon/registration.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/session.h"
#include "verbs/memory.h"

#define PART_UNIT_BYTES (2ull << 20) /* a huge page */
static_assert(PART_UNIT_BYTES >= IST_WORK_BYTES_MAX, "a work lies in two parts at most");
/* The last part of a piece may be longer than the others by less than a unit. */
static_assert(IST_REGISTRATION_DEVICE_BYTES_MIN == 2 * PART_UNIT_BYTES, "one unit, and the rest");

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
    uint64_t part_bytes_max; /* but for a last part; 0: the device registers too little at once */
    atomic_size_t count;     /* segments below it do not change any more */
    atomic_bool is_partial;
    struct segment segments[];
};

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t part_bytes_max(const struct ist_device *device) {
    uint64_t units = ist_device_limits(device)->registration_bytes / PART_UNIT_BYTES;
    return units < 2 ? 0 : (units - 1) * PART_UNIT_BYTES;
}

enum ist_status ist_registration_new(const struct ist_device *device, size_t segments_max,
                                     uint64_t bytes_max, const struct ist_alloc *alloc,
                                     const struct ist_log *log,
                                     struct ist_registration **registration) {
    uint64_t part_max = part_bytes_max(device);
    size_t parts =
        segments_max * IST_REGISTRATION_PARTS + (part_max == 0 ? 0 : (size_t)(bytes_max / part_max));
    struct ist_registration *new = ist_allocate(alloc, sizeof(*new) + parts * sizeof(struct segment));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->device = device;
    new->alloc = alloc;
    new->log = log;
    new->segments_max = parts;
    new->part_bytes_max = part_max;
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

/* At most IST_REGISTRATION_PARTS parts of equal length, but for the last one, and not too small: a work may lie in two of
 * them, not in three. Returns how many. */
static size_t cut(const struct ist_registration *registration, uint8_t *memory, uint64_t bytes,
                  struct part parts[IST_REGISTRATION_PARTS]) {
    uint64_t each = (bytes + IST_REGISTRATION_PARTS - 1) / IST_REGISTRATION_PARTS;
    each = each < IST_REGISTRATION_PART_BYTES_MIN
               ? IST_REGISTRATION_PART_BYTES_MIN
               : (each + PART_UNIT_BYTES - 1) / PART_UNIT_BYTES * PART_UNIT_BYTES;
    each = smaller(each, registration->part_bytes_max);
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
    const char *why = status == IST_NO_MEMORY ? "too little memory may be locked (ulimit -l)"
                      : status == IST_TOO_BIG ? "it registers less than 4 MiB at once"
                                              : ist_status_text(status);
    ist_log_error(registration->log, 0,
                  "%" PRIu64 " bytes of the pool cannot be registered with %s: %s: no RDMA any more",
                  bytes, ist_device_name(registration->device), why);
}

/* As much as so many parts hold. Returns OK; or what registering says: then none of it is registered. */
static enum ist_status add_parts(struct ist_registration *registration, uint8_t *memory,
                                 uint64_t bytes) {
    size_t at = atomic_load(&registration->count);
    struct part parts[IST_REGISTRATION_PARTS];
    size_t count = cut(registration, memory, bytes, parts);
    if (at + count > registration->segments_max) {
        return IST_NO_SPACE;
    }
    enum ist_status status = register_parts(parts, count);
    if (status != IST_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++, at++) {
        struct segment *segment = &registration->segments[at];
        segment->region = parts[i].region;
        segment->offset = at == 0 ? 0 : end_of(segment - 1);
    }
    atomic_store(&registration->count, at);
    return IST_OK;
}

void ist_registration_add(struct ist_registration *registration, uint8_t *memory, uint64_t bytes) {
    if (atomic_load(&registration->is_partial)) {
        return; /* offsets behind a gap would be wrong */
    }
    enum ist_status status = registration->part_bytes_max == 0 ? IST_TOO_BIG : IST_OK;
    uint64_t most = IST_REGISTRATION_PARTS * registration->part_bytes_max;
    for (uint64_t done = 0, some; status == IST_OK && done < bytes; done += some) {
        /* No short part at the end of it, either. */
        some = bytes - done < most + PART_UNIT_BYTES ? bytes - done : most;
        status = add_parts(registration, memory + done, some);
    }
    if (status != IST_OK) {
        failed(registration, bytes, status);
    }
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
        if (i >= count || found == IST_ONE_SIDED_PIECES_MAX || offset >= end_of(&segments[i])) {
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

/* The memory that a user has registered: a set of ranges, which may overlap and repeat, remembered whether there is a device
 * or not, and registered with it while there is one. Each range is one registration of the NIC: what is to be
 * moved must lie in one of them. */
#ifndef IST_CLIENT_REGIONS_H
#define IST_CLIENT_REGIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"
#include "verbs/memory.h"

struct ist_known_region;

struct ist_regions {
    const struct ist_alloc *alloc;
    struct ist_known_region *items; /* owned; by address, then by end */
    size_t count, room;
    size_t device_memory;            /* of them: dma-bufs, which the CPU cannot read */
    const struct ist_device *device; /* borrowed; NULL: none */
};

/* What to register. */
struct ist_region_source {
    uint64_t address, bytes;
    int fd;          /* of a dma-buf, which is duplicated; -1: ordinary memory */
    uint64_t offset; /* in the dma-buf */
};

void ist_regions_init(struct ist_regions *regions, const struct ist_alloc *alloc);
/* There must be no device. */
void ist_regions_fini(struct ist_regions *regions);

/* Once more when it is known already. Returns OK; INVALID (no bytes, an address that wraps, not mapped; the same range as
 * memory of another kind); NO_MEMORY, TOO_BIG, DEVICE as ist_region_register() has them. */
enum ist_status ist_regions_add(struct ist_regions *regions, const struct ist_region_source *source);
/* The same in steps, for those who register without making others wait: only the second one takes time, and it touches no
 * set. */
/* True: it was known, and `status` is the answer; or it cannot be, and that is INVALID. */
bool ist_regions_add_known(struct ist_regions *regions, const struct ist_region_source *source,
                           enum ist_status *status);
/* region: owned on OK. */
enum ist_status ist_regions_register(const struct ist_device *device,
                                     const struct ist_region_source *source, struct ist_region *region);
/* Not known; region: of the set's device, or zeroed when it has none; transferred on OK. Returns OK, NO_MEMORY, INVALID. */
enum ist_status ist_regions_insert(struct ist_regions *regions, const struct ist_region_source *source,
                                   const struct ist_region *region);
/* Added once less; then the NIC touches it no more. Returns OK, NOT_FOUND (no such range). */
enum ist_status ist_regions_remove(struct ist_regions *regions, uint64_t address, uint64_t bytes);
/* Would that be the last? */
bool ist_regions_is_last(const struct ist_regions *regions, uint64_t address, uint64_t bytes);

/* Registers all of them. device: borrowed until detach(). Returns OK; or what the first that failed says: then none is
 * registered, and `why` (of why_bytes) names it. */
enum ist_status ist_regions_attach(struct ist_regions *regions, const struct ist_device *device,
                                   char *why, size_t why_bytes);
void ist_regions_detach(struct ist_regions *regions);

/* Does [address, address + bytes) lie in one registered range? Then its key. bytes: at least 1. */
bool ist_regions_find(const struct ist_regions *regions, uint64_t address, uint64_t bytes,
                      uint32_t *rkey);
/* Does any of it lie in memory that the CPU cannot read? */
bool ist_regions_is_device_memory(const struct ist_regions *regions, uint64_t address, uint64_t bytes);

/* Why a registration failed, for people. Static text. */
const char *ist_regions_why(enum ist_status status);

void ist_regions_check(const struct ist_regions *regions);

#endif

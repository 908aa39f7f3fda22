#include "verbs/memory.h"

#include <errno.h>

#include <infiniband/verbs.h>

static unsigned access_of(enum ist_memory_use use) {
    unsigned access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_RELAXED_ORDERING;
    return use == IST_MEMORY_REMOTE ? access | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE
                                    : access;
}

static enum ist_status status_of(int error) {
    switch (error) {
    case ENOMEM:
    case EAGAIN: return IST_NO_MEMORY; /* ulimit -l, or the device's own tables */
    case EFAULT:
    case EINVAL: return IST_INVALID;
    default: return IST_DEVICE;
    }
}

static enum ist_status keep(struct ibv_mr *mr, uint64_t address, uint64_t bytes,
                            struct ist_region *region) {
    if (mr == NULL) {
        return status_of(errno);
    }
    *region = (struct ist_region){
        .mr = mr, .address = address, .bytes = bytes, .lkey = mr->lkey, .rkey = mr->rkey};
    return IST_OK;
}

enum ist_status ist_region_register(const struct ist_device *device, void *address, uint64_t bytes,
                                    enum ist_memory_use use, struct ist_region *region) {
    if (bytes > ist_device_limits(device)->registration_bytes) {
        return IST_TOO_BIG;
    }
    if (bytes == 0) {
        return IST_INVALID;
    }
    /* Relaxed ordering is an optional flag: libibverbs drops it where the device has none (man ibv_reg_mr). */
    struct ibv_mr *mr = ibv_reg_mr(ist_device_domain(device), address, bytes, access_of(use));
    return keep(mr, (uintptr_t)address, bytes, region);
}

enum ist_status ist_region_register_dmabuf(const struct ist_device *device, int fd, uint64_t offset,
                                           uint64_t bytes, uint64_t address, enum ist_memory_use use,
                                           struct ist_region *region) {
    if (bytes > ist_device_limits(device)->registration_bytes) {
        return IST_TOO_BIG;
    }
    if (bytes == 0) {
        return IST_INVALID;
    }
    struct ibv_mr *mr = ibv_reg_dmabuf_mr(ist_device_domain(device), offset, bytes, address, fd,
                                          (int)access_of(use) & ~IBV_ACCESS_RELAXED_ORDERING);
    return keep(mr, address, bytes, region);
}

void ist_region_drop(struct ist_region *region) {
    if (region->mr != NULL) {
        (void)ibv_dereg_mr(region->mr); /* fails when the device is gone, and the region with it */
    }
    *region = (struct ist_region){0};
}

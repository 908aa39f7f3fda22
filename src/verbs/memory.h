/* Memory that a NIC may touch. */
#ifndef IST_VERBS_MEMORY_H
#define IST_VERBS_MEMORY_H

#include <stdint.h>

#include "infinistore/status.h"
#include "verbs/device.h"

struct ibv_mr;

enum ist_memory_use {
    IST_MEMORY_LOCAL,  /* the NIC reads and writes it for its owner: pools, messages */
    IST_MEMORY_REMOTE, /* and the peer may READ and WRITE it: a client's buffers */
};

struct ist_region {
    struct ibv_mr *mr; /* owned */
    uint64_t address, bytes;
    uint32_t lkey, rkey;
};

/* Registers [address, address + bytes). Relaxed ordering is asked for where the device knows it. May take seconds for
 * many GiB that are not yet there: call it from a thread of its own then (ibv_reg_mr is thread-safe).
 * Returns OK; NO_MEMORY (what can be locked is used up: see ulimit -l), TOO_BIG (above the device's limit),
 * INVALID (not mapped, or not writable), DEVICE (anything else). Not logged. region: written only on OK. */
enum ist_status ist_region_register(const struct ist_device *device, void *address, uint64_t bytes,
                                    enum ist_memory_use use, struct ist_region *region);
/* The same for GPU memory that an exporter gave as a dma-buf. offset: of the region in it; address: what work
 * requests call its first byte. Returns also DEVICE where kernel or device do not support it. */
enum ist_status ist_region_register_dmabuf(const struct ist_device *device, int fd, uint64_t offset,
                                           uint64_t bytes, uint64_t address, enum ist_memory_use use,
                                           struct ist_region *region);
/* The NIC touches it no more. A zeroed region is legal. */
void ist_region_drop(struct ist_region *region);

#endif

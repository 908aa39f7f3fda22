/* Where a reader's bytes come from: memory or an open file, compressed or not. */
#ifndef IST_WORKLOAD_SOURCE_H
#define IST_WORKLOAD_SOURCE_H

#include <stdio.h>

#include "base/alloc.h"
#include "base/span.h"
#include "infinistore/status.h"

struct ist_source {
    /* Reads 1 to `bytes` bytes into buffer; *got = 0 only at the end. bytes at least 1.
     * Returns OK; INVALID when the bytes cannot be had, with *problem a static text such as "the xz data
     * is damaged"; NO_MEMORY. After anything but OK it must not be called again. */
    enum ist_status (*read)(void *context, void *buffer, size_t bytes, size_t *got,
                            const char **problem);
    void *context;
};

/* The file stays the caller's, and open while the source is used. */
struct ist_source ist_source_of_file(FILE *file);

struct ist_source_memory {
    struct ist_span rest; /* borrowed; shrinks from the front */
};
/* The memory object must outlive the source. */
struct ist_source ist_source_of_memory(struct ist_source_memory *memory);

/* Unpacks what another source delivers: xz and gzip are known by their first bytes, also several
 * streams one after the other; anything else passes unchanged. */
struct ist_unpack;

/* unpack  owned by the caller on OK: ist_unpack_free().
 * Returns OK, NO_MEMORY. Reads nothing yet. */
enum ist_status ist_unpack_new(const struct ist_alloc *alloc, struct ist_source packed,
                               struct ist_unpack **unpack);
void ist_unpack_free(struct ist_unpack *unpack);
struct ist_source ist_source_of_unpack(struct ist_unpack *unpack);

#endif

/* Memory for the store's records, which are looked up at random: what is large enough for it lies on huge pages,
 * when the kernel has them (Linux, Documentation/admin-guide/mm/transhuge.rst: "madvise"). */
#ifndef IST_DAEMON_HEAP_H
#define IST_DAEMON_HEAP_H

#include "base/alloc.h"

/* From here on an allocation has pages of its own, from the start of a huge one on. With IST_HEAP_FRONT_BYTES more it
 * is 2 MiB: one huge page, wholly used. */
#define IST_HEAP_HUGE_BYTES ((2u << 20) - 64u)
/* What stands in front of each allocation. */
#define IST_HEAP_FRONT_BYTES 16u

/* Smaller ones, and all when there is no address space or mmap() fails, are the C library's. Static storage; may be
 * used by several threads. */
const struct ist_alloc *ist_heap(void);

#endif

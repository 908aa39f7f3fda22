/* The memory that a connection may read and write: a set of address ranges. Registered ones that overlap or touch
 * become one. Not thread safe: guarded by the interpreter's lock. */
#ifndef IST_PYTHON_REGIONS_H
#define IST_PYTHON_REGIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ist_region {
    uintptr_t begin, end; /* end: one past */
};

struct ist_regions {
    struct ist_region *items; /* sorted, apart from each other */
    size_t count, room;
};

/* A zeroed struct is empty. */
void ist_regions_fini(struct ist_regions *regions);

/* bytes: 1 or more, not beyond the end of the address space. Returns false, changing nothing, when memory runs out. */
bool ist_regions_add(struct ist_regions *regions, uintptr_t address, size_t bytes);

/* Forgets these addresses, whichever of them are known. Returns false, changing nothing, when memory runs out:
 * what was one range may become two. */
bool ist_regions_remove(struct ist_regions *regions, uintptr_t address, size_t bytes);

/* All of the bytes are inside. */
bool ist_regions_contain(const struct ist_regions *regions, uintptr_t address, size_t bytes);

#endif

/* The memory that a connection's users have registered, beside the C library's own table: over TCP that one lets everything
 * pass, and code that forgot to register would first fail on a machine with RDMA. A set of ranges, which may overlap and
 * repeat. Not thread safe: guarded by the interpreter's lock. */
#ifndef IST_PYTHON_REGISTERED_H
#define IST_PYTHON_REGISTERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ist_registered_range;

struct ist_registered {
    struct ist_registered_range *items; /* owned; by beginning, then by end */
    size_t count, room;
};

/* A zeroed struct is empty. */
void ist_registered_fini(struct ist_registered *registered);

/* Room for one more range. False: memory has run out. */
bool ist_registered_reserve(struct ist_registered *registered);
/* bytes: 1 or more, not beyond the end of the address space. There is room. */
void ist_registered_add(struct ist_registered *registered, uint64_t address, uint64_t bytes);
/* This very range, once less; nothing when there is none. */
void ist_registered_remove(struct ist_registered *registered, uint64_t address, uint64_t bytes);
/* All of the bytes lie in one range: two that adjoin are two. bytes: 1 or more. */
bool ist_registered_contains(const struct ist_registered *registered, uint64_t address, uint64_t bytes);

#endif

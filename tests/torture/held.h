/* What a process holds and has to give back: each with the address that gives it back, and who asked for it. */
#ifndef IST_TESTS_TORTURE_HELD_H
#define IST_TESTS_TORTURE_HELD_H

#include <stdbool.h>
#include <stddef.h>

enum held_kind { HELD_MEMORY, HELD_NAMES, HELD_THREAD };

/* caller: its return address. Safe in every thread; needs no memory. */
void held_add(enum held_kind kind, const void *address, size_t bytes, const void *caller);
/* What was not added is ignored. Before it is given back: somebody may get the same address at once. */
void held_remove(enum held_kind kind, const void *address);
/* bytes, caller  written when it returns true. */
bool held_find(enum held_kind kind, const void *address, size_t *bytes, const void **caller);

/* Bytes of address space that were asked for, and not given back. */
void held_map(long bytes);

/* The descriptors that are open now are nobody's leak. */
void held_begin(void);
/* Tells of each thing that is left, at most of some, as a line. of_ours: does a caller's memory count? */
void held_tell(bool (*of_ours)(const void *caller), void (*tell)(const char *line));

#endif

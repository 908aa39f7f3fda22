/* The allocator as an argument, so that a test can fail the Nth allocation. */
#ifndef IST_BASE_ALLOC_H
#define IST_BASE_ALLOC_H

#include <stddef.h>

struct ist_alloc {
    /* malloc, realloc and free, with the context first. Both allocating calls may return NULL. */
    void *(*allocate)(void *context, size_t bytes);
    void *(*resize)(void *context, void *memory, size_t bytes);
    void (*release)(void *context, void *memory);
    void *context;
};

/* The C library's. Static storage. */
const struct ist_alloc *ist_alloc_system(void);

/* NULL when out of memory, or when count * bytes overflows. bytes and count at least 1. The caller
 * owns the result and gives it to ist_release() of the same allocator. */
void *ist_allocate(const struct ist_alloc *alloc, size_t bytes);
void *ist_allocate_zeroed(const struct ist_alloc *alloc, size_t count, size_t bytes);
void *ist_allocate_array(const struct ist_alloc *alloc, size_t count, size_t bytes);
/* Keeps the old memory when it returns NULL. */
void *ist_resize_array(const struct ist_alloc *alloc, void *memory, size_t count, size_t bytes);
/* NULL is legal. */
void ist_release(const struct ist_alloc *alloc, void *memory);

#endif

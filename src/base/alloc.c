#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static void *system_allocate(void *context, size_t bytes) {
    (void)context;
    return malloc(bytes);
}

static void *system_resize(void *context, void *memory, size_t bytes) {
    (void)context;
    return realloc(memory, bytes);
}

static void system_release(void *context, void *memory) {
    (void)context;
    free(memory);
}

const struct ist_alloc *ist_alloc_system(void) {
    static const struct ist_alloc alloc = {
        .allocate = system_allocate,
        .resize = system_resize,
        .release = system_release,
        .context = NULL,
    };
    return &alloc;
}

void *ist_allocate(const struct ist_alloc *alloc, size_t bytes) {
    IST_ASSERT(bytes > 0);
    return alloc->allocate(alloc->context, bytes);
}

void *ist_allocate_array(const struct ist_alloc *alloc, size_t count, size_t bytes) {
    IST_ASSERT(count > 0 && bytes > 0);
    if (count > SIZE_MAX / bytes) {
        return NULL;
    }
    return alloc->allocate(alloc->context, count * bytes);
}

void *ist_allocate_zeroed(const struct ist_alloc *alloc, size_t count, size_t bytes) {
    void *memory = ist_allocate_array(alloc, count, bytes);
    if (memory != NULL) {
        memset(memory, 0, count * bytes);
    }
    return memory;
}

void *ist_resize_array(const struct ist_alloc *alloc, void *memory, size_t count, size_t bytes) {
    IST_ASSERT(count > 0 && bytes > 0);
    if (count > SIZE_MAX / bytes) {
        return NULL;
    }
    return alloc->resize(alloc->context, memory, count * bytes);
}

void ist_release(const struct ist_alloc *alloc, void *memory) {
    if (memory != NULL) {
        alloc->release(alloc->context, memory);
    }
}

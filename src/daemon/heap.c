#include "daemon/heap.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES ((uintptr_t)2 << 20)
#define PAGE_BYTES ((uintptr_t)4096)
#define BYTES_MAX (SIZE_MAX / 4) /* more overflows somewhere */

/* In front of each allocation. */
struct front {
    size_t bytes;  /* with this */
    size_t mapped; /* 0: the C library's */
};
static_assert(sizeof(struct front) == IST_HEAP_FRONT_BYTES, "what follows is aligned as malloc aligns");

static uintptr_t round_up(uintptr_t bytes, uintptr_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

/* Fresh pages from the start of a huge one on; NULL when there are none. */
static void *map(size_t mapped) {
    uint8_t *wide = mmap(NULL, mapped + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (wide == MAP_FAILED) {
        return NULL;
    }
    uint8_t *memory = (uint8_t *)round_up((uintptr_t)wide, HUGE_PAGE_BYTES);
    size_t before = (size_t)(memory - wide);
    if (before > 0) {
        (void)munmap(wide, before); /* at worst a hole less in the address space */
    }
    (void)munmap(memory + mapped, HUGE_PAGE_BYTES - before);
    (void)madvise(memory, mapped, MADV_HUGEPAGE); /* or small pages, where the kernel has no others */
    return memory;
}

/* Moves pages, not bytes. */
static struct front *remap(struct front *front, size_t bytes) {
    size_t mapped = round_up(bytes, PAGE_BYTES);
    void *target = map(mapped);
    if (target == NULL) {
        return NULL;
    }
    struct front *moved = mremap(front, front->mapped, mapped, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    if (moved == MAP_FAILED) {
        (void)munmap(target, mapped);
        return NULL;
    }
    *moved = (struct front){.bytes = bytes, .mapped = mapped};
    return moved;
}

static void *heap_allocate(void *context, size_t bytes) {
    (void)context;
    if (bytes > BYTES_MAX) {
        return NULL;
    }
    size_t whole = bytes + sizeof(struct front);
    size_t mapped = round_up(whole, PAGE_BYTES);
    struct front *front = bytes >= IST_HEAP_HUGE_BYTES ? map(mapped) : NULL;
    if (front == NULL) {
        mapped = 0;
        front = malloc(whole);
        if (front == NULL) {
            return NULL;
        }
    }
    *front = (struct front){.bytes = whole, .mapped = mapped};
    return front + 1;
}

static void heap_release(void *context, void *memory) {
    (void)context;
    struct front *front = (struct front *)memory - 1;
    if (front->mapped > 0) {
        (void)munmap(front, front->mapped);
    } else {
        free(front);
    }
}

/* NULL: it is to be of the other kind now, or there is no memory. */
static struct front *resize_in_kind(struct front *front, size_t bytes) {
    bool huge = bytes >= IST_HEAP_HUGE_BYTES;
    if (bytes > BYTES_MAX || huge != (front->mapped > 0)) {
        return NULL;
    }
    size_t whole = bytes + sizeof(*front);
    if (huge) {
        return remap(front, whole);
    }
    struct front *resized = realloc(front, whole);
    if (resized != NULL) {
        resized->bytes = whole;
    }
    return resized;
}

static void *heap_resize(void *context, void *memory, size_t bytes) {
    if (memory == NULL) {
        return heap_allocate(context, bytes);
    }
    struct front *front = (struct front *)memory - 1;
    struct front *resized = resize_in_kind(front, bytes);
    if (resized != NULL) {
        return resized + 1;
    }
    void *other = heap_allocate(context, bytes);
    if (other != NULL) {
        size_t before = front->bytes - sizeof(*front);
        memcpy(other, memory, before < bytes ? before : bytes);
        heap_release(context, memory);
    }
    return other;
}

const struct ist_alloc *ist_heap(void) {
    static const struct ist_alloc alloc = {
        .allocate = heap_allocate,
        .resize = heap_resize,
        .release = heap_release,
        .context = NULL,
    };
    return &alloc;
}

#include "sim/memory.h"

#include <stdlib.h>

#include "base/assert.h"

/* Before each allocation: how long it is. */
#define HEAD_BYTES 16u

void *sim_memory_new(size_t count, size_t bytes) {
    void *memory = calloc(count == 0 ? 1 : count, bytes);
    IST_ASSERT(memory != NULL);
    return memory;
}

void *sim_memory_raw(size_t bytes) {
    void *memory = malloc(bytes == 0 ? 1 : bytes);
    IST_ASSERT(memory != NULL);
    return memory;
}

void *sim_memory_resize(void *memory, size_t count, size_t bytes) {
    void *resized = reallocarray(memory, count, bytes);
    IST_ASSERT(resized != NULL);
    return resized;
}

static bool fails(struct sim_memory *memory) {
    if (memory->failing_permille == 0 ||
        !sim_random_happens(&memory->random, memory->failing_permille)) {
        return false;
    }
    memory->failed++;
    return true;
}

static void *sim_allocate(void *context, size_t bytes) {
    struct sim_memory *memory = context;
    if (fails(memory)) {
        return NULL;
    }
    size_t *head = malloc(HEAD_BYTES + bytes);
    IST_ASSERT(head != NULL);
    *head = bytes;
    memory->live++;
    memory->live_bytes += bytes;
    return (char *)head + HEAD_BYTES;
}

static void sim_release(void *context, void *released) {
    struct sim_memory *memory = context;
    if (released == NULL) {
        return;
    }
    size_t *head = (size_t *)((char *)released - HEAD_BYTES);
    IST_ASSERT(memory->live > 0 && memory->live_bytes >= *head);
    memory->live--;
    memory->live_bytes -= *head;
    free(head);
}

static void *sim_resize(void *context, void *resized, size_t bytes) {
    struct sim_memory *memory = context;
    if (resized == NULL) {
        return sim_allocate(context, bytes);
    }
    if (fails(memory)) {
        return NULL;
    }
    size_t *head = (size_t *)((char *)resized - HEAD_BYTES);
    memory->live_bytes -= *head;
    head = realloc(head, HEAD_BYTES + bytes);
    IST_ASSERT(head != NULL);
    *head = bytes;
    memory->live_bytes += bytes;
    return (char *)head + HEAD_BYTES;
}

void sim_memory_init(struct sim_memory *memory, uint64_t seed, uint64_t number) {
    *memory = (struct sim_memory){
        .alloc = {sim_allocate, sim_resize, sim_release, memory},
        .random = sim_random_stream(seed, SIM_STREAM_MEMORY, number),
    };
}

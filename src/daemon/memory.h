/* The pool's memory: one range of addresses for as much as the pool may ever be, filled segment by
 * segment by a thread of its own. A segment is handed out when every page of it is there, so that no request
 * ever waits for a page fault.
 *
 * new() returns when the first segment is ready. fd becomes readable when more are; take() says how much.
 * Offsets of the store are relative to base(). The calls are for one thread. */
#ifndef IST_DAEMON_MEMORY_H
#define IST_DAEMON_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/log.h"
#include "infinistore/status.h"

struct ist_memory;

#define IST_MEMORY_HUGE_BYTES (2ull << 20)
#define IST_MEMORY_FIRST_SEGMENT_BYTES (64ull << 20)
#define IST_MEMORY_SEGMENT_BYTES (256ull << 20)
/* What stays free of the machine when a segment is taken. */
#define IST_MEMORY_MARGIN_BYTES (128ull << 20)

struct ist_memory_config {
    uint64_t bytes;               /* to be had at the start; at least 1, at most bytes_max */
    uint64_t bytes_max;           /* what it may grow to */
    uint64_t first_segment_bytes; /* multiples of IST_MEMORY_HUGE_BYTES */
    uint64_t segment_bytes;
    bool huge_pages; /* reserved ones where there are any, else transparent ones */
    /* How much the machine has left, asked before each segment; from either thread. */
    uint64_t (*available_bytes)(void *context);
    /* Of huge pages that are set aside and nobody's yet, which is not among that. NULL: none. */
    uint64_t (*reserved_bytes)(void *context);
    void *context;
    /* A segment is there, and is handed out when this returns; from either thread, in order. NULL: nothing. */
    void (*prepare)(void *context, uint8_t *segment, uint64_t bytes);
    void *prepare_context;
    const struct ist_alloc
        *alloc;                /* borrowed, as is the log; both are used by the caller's thread and */
    const struct ist_log *log; /* the log by the memory's own too */
};

/* Returns OK; NO_MEMORY (the machine has not `bytes`, or no address range: it was logged, with sizes). */
enum ist_status ist_memory_new(const struct ist_memory_config *config, struct ist_memory **memory);
/* Stops the thread, unmaps. NULL is legal. */
void ist_memory_free(struct ist_memory *memory);

uint8_t *ist_memory_base(const struct ist_memory *memory);
int ist_memory_fd(const struct ist_memory *memory); /* readable: call take() */

/* Bytes that became ready since the last call, following those of the calls before; 0 when none. */
uint64_t ist_memory_take(struct ist_memory *memory);

/* Grow to `bytes` (cut at bytes_max), in the background. Smaller than before: nothing happens. */
void ist_memory_grow(struct ist_memory *memory, uint64_t bytes);

struct ist_memory_state {
    uint64_t ready_bytes;  /* taken or to be taken */
    uint64_t target_bytes; /* what it grows to: ready_bytes when all is there */
    uint64_t refusals;     /* how often growing ended early for want of memory */
};
void ist_memory_state(struct ist_memory *memory, struct ist_memory_state *state);

#endif

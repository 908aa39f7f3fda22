/* Where headers and bodies land: a staging buffer for what is small, and a buffer of its own for a long body.
 * Payload that arrives behind them in the same read is copied from here, once. */
#ifndef IST_CLIENT_STAGE_H
#define IST_CLIENT_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "base/span.h"
#include "infinistore/status.h"

#define IST_CLIENT_STAGE_BYTES 16384u

struct ist_stage {
    const struct ist_alloc *alloc;
    uint8_t *memory; /* owned */
    size_t begin, end;
    uint8_t *body; /* owned; NULL: the body, if any, is staged */
    size_t body_bytes, body_have;
};

/* Returns OK, NO_MEMORY. */
enum ist_status ist_stage_init(struct ist_stage *stage, const struct ist_alloc *alloc);
void ist_stage_fini(struct ist_stage *stage);
/* Forgets all that has arrived. */
void ist_stage_reset(struct ist_stage *stage);

/* What is staged and not consumed. Borrowed until the next call. */
struct ist_span ist_stage_bytes(const struct ist_stage *stage);
void ist_stage_consume(struct ist_stage *stage, size_t bytes);

/* A body of so many bytes begins at the staged bytes. Returns OK, NO_MEMORY (they are still staged). */
enum ist_status ist_stage_body_begin(struct ist_stage *stage, size_t bytes);
/* Complete? body: borrowed until body_end. */
bool ist_stage_body(const struct ist_stage *stage, struct ist_span *body);
/* Done with a complete body. */
void ist_stage_body_end(struct ist_stage *stage);

/* Where the next bytes go, in order: the rest of a body that has a buffer of its own, then room behind the staged
 * bytes: up to `limit` >= 1, but not less than completes a header or the staged body. Returns how many buffers,
 * at most max. */
size_t ist_stage_recv_buffers(struct ist_stage *stage, size_t limit, struct iovec *buffers, size_t max);
void ist_stage_received(struct ist_stage *stage, size_t bytes);

/* The staging buffer as a place for bytes that nobody wants; nothing may be staged. */
struct iovec ist_stage_waste(struct ist_stage *stage);

void ist_stage_check(const struct ist_stage *stage);

#endif

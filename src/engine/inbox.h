/* Where headers and bodies of one session arrive: a staging buffer for what is small, which also catches what
 * follows a payload in the same read, and a buffer of its own for a long body, which grows with the bytes that
 * really came. Neither exists before it is needed. */
#ifndef IST_ENGINE_INBOX_H
#define IST_ENGINE_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/span.h"
#include "engine/session.h"
#include "wire/frame.h"

#define IST_STAGE_BYTES_MIN 4096u /* what an idle session may keep */
#define IST_STAGE_BYTES_MAX 16384u
#define IST_BODY_BYTES_FIRST 65536u /* first size of a body's own buffer */

struct ist_inbox {
    const struct ist_alloc *alloc;
    uint8_t *stage; /* owned unless it is `fallback`; NULL when nothing is staged */
    uint32_t room, begin, end;
    uint32_t wanted_room; /* for the next stage */
    uint8_t *body;        /* owned; NULL: the body, if any, is staged */
    uint32_t body_room, body_have, body_bytes;
    uint8_t fallback[IST_FRAME_BYTES]; /* a stage when there is no memory for one */
};

void ist_inbox_init(struct ist_inbox *inbox, const struct ist_alloc *alloc);
void ist_inbox_fini(struct ist_inbox *inbox);

/* What is staged and not consumed. Borrowed until the next call on this inbox. */
struct ist_span ist_inbox_staged(const struct ist_inbox *inbox);
void ist_inbox_consume(struct ist_inbox *inbox, size_t bytes);

/* A body of so many bytes begins at the staged bytes. Returns OK, NO_MEMORY (they are still staged). */
enum ist_status ist_inbox_body_begin(struct ist_inbox *inbox, uint32_t bytes);
/* Complete? body: borrowed until body_end. */
bool ist_inbox_body(const struct ist_inbox *inbox, struct ist_span *body);
/* Makes room for more of an incomplete body. Returns OK, NO_MEMORY. */
enum ist_status ist_inbox_body_grow(struct ist_inbox *inbox);
/* Transfers the body's buffer; NULL when the body is staged. Call body_end afterwards. */
uint8_t *ist_inbox_body_take(struct ist_inbox *inbox);
/* Done with it, complete or not: frees it, or consumes what is staged of it. Returns the bytes missing. */
uint32_t ist_inbox_body_end(struct ist_inbox *inbox);

/* The next bytes of a body in its own buffer: 0 when there is none or it is complete. */
uint32_t ist_inbox_body_free(const struct ist_inbox *inbox);
struct ist_buffer ist_inbox_body_buffer(const struct ist_inbox *inbox);
void ist_inbox_body_received(struct ist_inbox *inbox, uint32_t bytes);

/* Room behind the staged bytes: up to `limit` >= 1 bytes, but not less than completes a header or the staged
 * body. */
struct ist_buffer ist_inbox_stage_buffer(struct ist_inbox *inbox, uint32_t limit);
void ist_inbox_stage_received(struct ist_inbox *inbox, uint32_t bytes);
/* Gives back a stage that is empty and larger than what an idle session may keep. */
void ist_inbox_trim(struct ist_inbox *inbox);

void ist_inbox_check(const struct ist_inbox *inbox);

#endif

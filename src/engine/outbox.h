/* Replies of one session that wait for the socket. Short ones (no payload) are gathered in chunks and overtake
 * the bulk replies that have not begun, up to a limit; bulk ones are a header and a body followed by the values of a GET,
 * straight from their blocks. No frame is ever interrupted by another. */
#ifndef IST_ENGINE_OUTBOX_H
#define IST_ENGINE_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/span.h"
#include "engine/get.h"
#include "engine/session.h"
#include "wire/frame.h"

struct ist_outbox_chunk;
struct ist_outbox_bulk;

struct ist_outbox {
    const struct ist_alloc *alloc;
    struct ist_outbox_chunk *first_chunk, *last_chunk;
    struct ist_outbox_bulk *first_bulk, *last_bulk;
    uint64_t short_bytes;     /* in chunks, not yet sent */
    uint64_t short_named;     /* of them, named by the last ist_outbox_name() */
    uint64_t queued_bytes;    /* of all frames, payload included, and the pins' memory */
    uint64_t overtaken_bytes; /* short ones sent while the first bulk frame waited */
};

/* A frame that has left. */
struct ist_outbox_done {
    enum ist_operation operation;
    uint64_t begin_ns;
};

void ist_outbox_init(struct ist_outbox *outbox, const struct ist_alloc *alloc);
/* Returns every pin. */
void ist_outbox_fini(struct ist_outbox *outbox);

bool ist_outbox_is_empty(const struct ist_outbox *outbox);

/* Room for a short frame of up to `bytes`; NULL when out of memory. A commit follows at once. */
uint8_t *ist_outbox_reserve(struct ist_outbox *outbox, size_t bytes);
void ist_outbox_commit(struct ist_outbox *outbox, size_t bytes, enum ist_operation operation,
                       uint64_t begin_ns);

/* A short frame that is queued later, which then cannot fail. Room for `bytes`; NULL when out of memory. Owned by
 * the caller, who may ist_release() it, until it is queued. */
struct ist_outbox_chunk *ist_outbox_prepare(const struct ist_outbox *outbox, size_t bytes);
uint8_t *ist_outbox_prepared(struct ist_outbox_chunk *chunk);
/* Takes it over. */
void ist_outbox_queue(struct ist_outbox *outbox, struct ist_outbox_chunk *chunk, size_t bytes,
                      enum ist_operation operation, uint64_t begin_ns);

/* A bulk frame: a head (header and body) of so many bytes, then the values. Takes over get. Returns where the
 * caller writes the head, NULL when out of memory (get is still the caller's). */
uint8_t *ist_outbox_push(struct ist_outbox *outbox, size_t head_bytes, struct ist_get *get,
                         enum ist_operation operation, uint64_t begin_ns);

/* The bytes to send, in order: as many buffers as fit. */
size_t ist_outbox_name(struct ist_outbox *outbox, struct ist_buffer *buffers, size_t max);

/* *bytes of what was named have left: takes off what belongs to the next frame, and returns its pins as its
 * blocks end. True: a frame ended; call again. False: *bytes is 0. */
bool ist_outbox_sent(struct ist_outbox *outbox, uint64_t *bytes, struct ist_outbox_done *done);

/* Bytes that have left of the unit that is being sent (a chunk of short frames, or a bulk frame), for its deadline;
 * not empty. */
uint64_t ist_outbox_unit_sent(const struct ist_outbox *outbox);

/* Returns how many frames are queued. */
size_t ist_outbox_check(const struct ist_outbox *outbox);

#endif

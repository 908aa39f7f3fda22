/* One client's protocol state machine, over a byte stream. The edge owns the socket and does, whenever
 * it is ready:
 *
 *     wants = ist_session_wants(s)
 *     COPY   while (ist_session_copy(s, &copy)) { memcpy(pool + copy.offset, copy.from, copy.bytes);
 *                                                 ist_session_copied(s); }
 *     RECV   n = ist_session_recv_buffers(s, buffers, max); r = readv(...); ist_session_received(s, r)
 *     SEND   n = ist_session_send_buffers(s, buffers, max); r = writev(...); ist_session_sent(s, r)
 *     CLOSE  ist_session_close(s)
 *
 * Payload goes from the socket straight into its block and straight out of it; only what arrived behind
 * a header in the same read is copied once (COPY), at most one staging buffer. Any split of the input
 * bytes gives the same result.
 *
 *   state      leaves by
 *   HELLO      a good HELLO -> OPEN; anything else, or the handshake timeout -> CLOSING
 *   OPEN       protocol error, timeout, drain when idle -> CLOSING
 *   CLOSING    sends what is queued (a last error reply), reads nothing; then wants CLOSE */
#ifndef IST_ENGINE_SESSION_H
#define IST_ENGINE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

enum ist_buffer_kind {
    IST_BUFFER_MEMORY,  /* the session's own: header, body */
    IST_BUFFER_POOL,    /* a block: the edge knows where the pool is mapped */
    IST_BUFFER_DISCARD, /* recv only: bytes that nobody wants; read them into anything */
};

struct ist_buffer {
    enum ist_buffer_kind kind;
    union {
        uint8_t *memory; /* borrowed until the next call on this session */
        uint64_t offset; /* into the pool; pinned until it is reported sent or received */
    };
    uint64_t bytes; /* at least 1 */
};

struct ist_copy {
    const uint8_t *from;
    uint64_t offset;
    uint64_t bytes;
};

enum ist_session_want {
    IST_WANT_RECV = 1,
    IST_WANT_SEND = 2,
    IST_WANT_COPY = 4,
    IST_WANT_CLOSE = 8, /* alone: nothing else is wanted any more */
};

/* id: for the log, not 0. user: the edge's own pointer, returned by ist_session_user().
 * session: owned by the engine; valid until ist_session_close().
 * Returns OK, NO_SPACE (sessions_max, or draining), NO_MEMORY. */
enum ist_status ist_session_open(struct ist_engine *engine, uint64_t id, void *user, uint64_t now_ns,
                                 struct ist_session **session);

/* The connection is gone, for whatever reason. Aborts what was being put, returns every pin, frees. */
void ist_session_close(struct ist_session *session);

void *ist_session_user(const struct ist_session *session);
unsigned ist_session_wants(const struct ist_session *session); /* of enum ist_session_want */

/* Fill up to max buffers, in order; returns how many; at least 1 when RECV (SEND) is wanted and max >= 1.
 * May be called again before the report, with the same answer. */
size_t ist_session_recv_buffers(struct ist_session *session, struct ist_buffer *buffers, size_t max);
size_t ist_session_send_buffers(struct ist_session *session, struct ist_buffer *buffers, size_t max);

/* bytes: of the buffers of the last call, from their start; at least 1. */
void ist_session_received(struct ist_session *session, uint64_t bytes, uint64_t now_ns);
void ist_session_sent(struct ist_session *session, uint64_t bytes, uint64_t now_ns);

/* The next pending copy; false when there is none. The same until ist_session_copied(). */
bool ist_session_copy(const struct ist_session *session, struct ist_copy *copy);
void ist_session_copied(struct ist_session *session, uint64_t now_ns);

void ist_session_check(const struct ist_session *session);

#endif

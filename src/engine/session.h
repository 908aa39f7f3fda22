/* One client's protocol state machine, over a byte stream: a socket, or the messages of a queue pair. The edge
 * owns that and does, whenever it is ready:
 *
 *     wants = ist_session_wants(s)
 *     COPY   while (ist_session_copy(s, &copy)) { memcpy(pool + copy.offset, copy.from, copy.bytes);
 *                                                 ist_session_copied(s); }
 *     RECV   n = ist_session_recv_buffers(s, buffers, max); r = readv(...); ist_session_received(s, r)
 *     SEND   n = ist_session_send_buffers(s, buffers, max); r = writev(...); ist_session_sent(s, r)
 *     CONNECT  the client asks for a queue pair: ist_session_peer(), then ist_session_connected(s, own end)
 *     WORK   n = ist_session_work(s, works, max); post them, in order, before what is sent next;
 *            when c of them have completed: ist_session_work_done(s, c)
 *     CLOSE  ist_session_close(s)
 *
 * Payload goes from the socket straight into its block and straight out of it; only what arrived behind
 * a header in the same read is copied once (COPY), at most one staging buffer. Any split of the input
 * bytes gives the same result.
 *
 * WORK is of sessions over RDMA only, and CONNECT of the others. Over RDMA no payload is in the stream: the
 * server moves it by READs and WRITEs on the client's memory.
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

struct ist_endpoint; /* wire/codec.h */

struct ist_copy {
    const uint8_t *from;
    uint64_t offset;
    uint64_t bytes;
};

/* A one-sided operation between a block and the client's memory. */
enum ist_work_kind { IST_WORK_READ, IST_WORK_WRITE };
#define IST_WORK_BYTES_MAX (1u << 20)

struct ist_work {
    enum ist_work_kind kind;
    uint32_t bytes;  /* 1 to IST_WORK_BYTES_MAX */
    uint64_t offset; /* in the pool; pinned until the work is reported done, or the session is closed */
    uint64_t address; /* in the client's memory */
    uint32_t rkey;
};

enum ist_session_want {
    IST_WANT_RECV = 1,
    IST_WANT_SEND = 2,
    IST_WANT_COPY = 4,
    IST_WANT_CONNECT = 8,
    IST_WANT_WORK = 16,
    IST_WANT_CLOSE = 32, /* alone: nothing else is wanted any more */
};

/* id: for the log, not 0. user: the edge's own pointer, returned by ist_session_user().
 * session: owned by the engine; valid until ist_session_close().
 * Returns OK, NO_SPACE (sessions_max, or draining), NO_MEMORY. */
enum ist_status ist_session_open(struct ist_engine *engine, uint64_t id, void *user, uint64_t now_ns,
                                 struct ist_session **session);

/* A session whose frames come over a queue pair that a session over a stream has asked for: its HELLO is behind it.
 * The same arguments and statuses. */
enum ist_status ist_session_open_rdma(struct ist_engine *engine, uint64_t id, void *user,
                                      uint64_t now_ns, struct ist_session **session);

/* The connection is gone, for whatever reason. No work that was handed out may move bytes any more. Aborts what was being put, returns every pin, frees. */
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

/* CONNECT is wanted: the client's end. Borrowed until ist_session_connected(). */
const struct ist_endpoint *ist_session_peer(const struct ist_session *session);
/* The server's end; with a status other than OK: there will be no queue pair. */
void ist_session_connected(struct ist_session *session, const struct ist_endpoint *own,
                           uint64_t now_ns);

/* Hands out up to max works; at least one when WORK is wanted and max >= 1. */
size_t ist_session_work(struct ist_session *session, struct ist_work *works, size_t max,
                        uint64_t now_ns);
/* The oldest `count` of those handed out have completed well. */
void ist_session_work_done(struct ist_session *session, uint64_t count, uint64_t now_ns);

/* Is there a request that is answered only when work completes? Work that is outstanding beside that just pins blocks. */
bool ist_session_awaits_work(const struct ist_session *session);

void ist_session_check(const struct ist_session *session);

#endif

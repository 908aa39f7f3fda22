/* The client's side of one session: which requests wait, which are on their way, which are answered. No I/O, no
 * clock: whoever has a connection does
 *
 *     ist_exchange_begin(x, false)   there is a connection: HELLO is what is sent first
 *     n = ist_exchange_send_buffers(x, buffers, max);  r = sendmsg(...);  ist_exchange_sent(x, r)
 *     n = ist_exchange_recv_buffers(x, buffers, max);  r = readv(...);    ist_exchange_received(x, r)
 *     ist_exchange_tick(x, now)      when ist_exchange_deadline_ns(x) has come
 *     ist_exchange_end(x, status)    the connection is gone, or cannot be had
 *
 * and takes what is answered from ist_exchange_next_done(). Between naming buffers and the report of what
 * moved, no other function but those that only look may be called. Any split of the input gives the same result.
 *
 *   state      leaves by
 *   CLOSED     begin -> HELLO
 *   HELLO      a good reply -> OPEN, or CHOICE when begin asked for that
 *   CHOICE     open -> OPEN; connect -> CONNECT
 *   CONNECT    a good reply -> CONNECTED
 *   CONNECTED  open -> OPEN; prove -> PROOF. All bytes from then on are those of the queue pair
 *   PROOF      the reply to a PING -> OPEN, over RDMA
 *   OPEN       a fault of the server, or a deadline that leaves the caller's memory in use -> BROKEN
 *   BROKEN     nothing is sent or received any more
 *   any        end -> CLOSED, all requests done; before it was OPEN: begin -> HELLO, all kept
 * Where a good reply is awaited, anything else -> BROKEN.
 *
 * Requests may be submitted in every state; they wait until it is OPEN. What happens when a deadline passes:
 *   not a byte of it was sent   dropped
 *   a put, sent in part         BROKEN, fault PEER: the caller's memory must not be read any more
 *   another, sent in part       the rest is sent, the reply ignored
 *   sent                        the reply is ignored
 *   its payload is arriving     the rest is thrown away
 *   over RDMA a put or get of   BROKEN, fault PEER, and not done before end: the server may read or write the caller's
 *   which a byte was sent       memory as long as there is a queue pair */
#ifndef IST_CLIENT_EXCHANGE_H
#define IST_CLIENT_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "client/request.h"

#define IST_NO_DEADLINE_NS UINT64_MAX

struct ist_exchange;

struct ist_endpoint;
struct ist_regions;

enum ist_exchange_state {
    IST_EXCHANGE_CLOSED,
    IST_EXCHANGE_HELLO,
    IST_EXCHANGE_CHOICE,
    IST_EXCHANGE_CONNECT,
    IST_EXCHANGE_CONNECTED,
    IST_EXCHANGE_PROOF,
    IST_EXCHANGE_OPEN,
    IST_EXCHANGE_BROKEN,
};

/* Returns OK, NO_MEMORY. */
enum ist_status ist_exchange_new(const struct ist_alloc *alloc, struct ist_exchange **exchange);
/* CLOSED, and nothing left in it. NULL is legal. */
void ist_exchange_free(struct ist_exchange *exchange);

enum ist_exchange_state ist_exchange_state(const struct ist_exchange *exchange);
/* BROKEN: PROTOCOL, PEER. Otherwise OK. */
enum ist_status ist_exchange_fault(const struct ist_exchange *exchange);
/* Since begin: requests may have left their queue. Also when it has broken since. */
bool ist_exchange_was_open(const struct ist_exchange *exchange);
uint64_t ist_exchange_incarnation(const struct ist_exchange *exchange); /* 0 unless OPEN */

/* choice: after HELLO the edge chooses how to go on. */
void ist_exchange_begin(struct ist_exchange *exchange, bool choice);
/* CHOICE or CONNECTED: over the byte stream as it is. regions: borrowed while it is OPEN; values in memory that only a
 * device can read are INVALID. May be NULL. */
void ist_exchange_open(struct ist_exchange *exchange, const struct ist_regions *regions);
/* CHOICE: this is our queue pair. */
void ist_exchange_connect(struct ist_exchange *exchange, const struct ist_endpoint *own);
/* CONNECTED: theirs, or a status that says why not. */
const struct ist_endpoint *ist_exchange_peer(const struct ist_exchange *exchange);
/* CONNECTED: the queue pairs are connected. regions: borrowed while it is OPEN: which memory the server may use. */
void ist_exchange_prove(struct ist_exchange *exchange, const struct ist_regions *regions);
bool ist_exchange_is_remote(const struct ist_exchange *exchange); /* OPEN or PROOF, over RDMA */
/* Whether a request that was sent over RDMA, or will be as it is, names some of this memory: its key is in there. */
bool ist_exchange_uses(const struct ist_exchange *exchange, uint64_t address, uint64_t bytes);
/* What STAT adds to the server's figures, with the value 1, over the byte stream and over RDMA; NULL: nothing. Static
 * texts. */
void ist_exchange_set_notes(struct ist_exchange *exchange, const char *tcp, const char *rdma);

void ist_exchange_end(struct ist_exchange *exchange, enum ist_status status);

/* request: transferred on OK; comes back, once, from ist_exchange_next_done().
 * Returns OK, AGAIN (IST_REQUESTS_IN_FLIGHT_MAX are in it). */
enum ist_status ist_exchange_submit(struct ist_exchange *exchange, struct ist_request *request,
                                    uint64_t deadline_ns);
/* The next one that is done, in the order of their ends, for ist_exchange_release(); NULL: none. */
struct ist_request *ist_exchange_next_done(struct ist_exchange *exchange);
void ist_exchange_release(struct ist_exchange *exchange, struct ist_request *request);
size_t
ist_exchange_in_flight(const struct ist_exchange *exchange); /* submitted, not yet taken as done */

/* Up to max buffers, in order; 0: nothing to send (receive). May be asked again before the report. */
bool ist_exchange_wants_send(const struct ist_exchange *exchange);
size_t ist_exchange_send_buffers(const struct ist_exchange *exchange, struct iovec *buffers,
                                 size_t max);
size_t ist_exchange_recv_buffers(struct ist_exchange *exchange, struct iovec *buffers, size_t max);
/* bytes: of the buffers of the last call, from their start; at least 1. */
void ist_exchange_sent(struct ist_exchange *exchange, uint64_t bytes);
void ist_exchange_received(struct ist_exchange *exchange, uint64_t bytes);

/* Of a payload that is arriving: what is still to come. 0: none is. */
uint64_t ist_exchange_payload_left(const struct ist_exchange *exchange);

uint64_t ist_exchange_deadline_ns(const struct ist_exchange *exchange); /* IST_NO_DEADLINE_NS: none */
void ist_exchange_tick(struct ist_exchange *exchange, uint64_t now_ns);

void ist_exchange_check(const struct ist_exchange *exchange);

#endif

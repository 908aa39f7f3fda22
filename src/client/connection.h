/* The socket of a client, and its exchange on it: connects to the first endpoint that answers, shakes hands, moves
 * bytes straight between the socket and the caller's memory; or, over RDMA, goes on by a queue pair, with the socket as
 * the sign of life. Never blocks, but for ist_link_open() and ist_link_close(): it tells what to wait for.
 *
 *   state       waits for                        leaves by
 *   IDLE        ist_connection_open()            -> RESOLVING or CONNECTING
 *   RESOLVING   an answer of the resolver        -> CONNECTING; no such host: the next endpoint
 *   CONNECTING  the socket to become writable    -> SHAKING; refused: the next address
 *   SHAKING     the replies of the handshake     -> OPEN; refused: the next endpoint
 *   OPEN        requests and replies             lost: all requests end with PEER (PROTOCOL) -> IDLE
 * With no endpoint left the requests that waited end, too: PROTOCOL when somebody answered who is no InfiniStore,
 * otherwise DEVICE when there was RDMA to be had by none, otherwise PEER. Each endpoint, and each address of it, has its share of the time: what is left by the number of those
 * that are left.
 *
 * With the transport AUTO RDMA that cannot be had, or over which no PING is answered, is given up until the next connect,
 * and the same server is used over TCP; that is told once. */
#ifndef IST_CLIENT_CONNECTION_H
#define IST_CLIENT_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/endpoint.h"
#include "client/exchange.h"
#include "client/link.h"
#include "client/resolver.h"

#define IST_CONNECTION_ERROR_BYTES 1024u
#define IST_CONNECTION_WHY_BYTES (IST_LINK_WHY_BYTES + IST_ENDPOINT_TEXT_BYTES + 8u)

enum ist_connection_state {
    IST_CONNECTION_IDLE,
    IST_CONNECTION_RESOLVING,
    IST_CONNECTION_CONNECTING,
    IST_CONNECTION_SHAKING,
    IST_CONNECTION_OPEN,
};

/* What is waited for, each with a descriptor of its own. */
enum ist_connection_source {
    IST_SOURCE_SOCKET,   /* or the resolver */
    IST_SOURCE_MESSAGES, /* of the queue pair */
    IST_SOURCE_DEVICE,
};
#define IST_SOURCES 3u

struct ist_wait {
    int fd; /* -1: nothing */
    short events;
    uint64_t generation; /* another one for another descriptor */
};

struct ist_connection {
    enum ist_connection_state state;
    struct ist_exchange *exchange;  /* owned */
    struct ist_endpoints endpoints; /* owned */
    uint64_t timeout_ns;            /* of connecting */
    void (*closing)(void *arg, int fd);
    void *closing_arg;

    int fd;              /* the socket's, the resolver's, or -1 */
    uint64_t generation; /* counts the descriptors */
    bool send_blocked;   /* the kernel said so; until poll says otherwise */
    bool recv_more;      /* there may be more to receive: a turn ended before the socket was empty */
    int low_water_bytes; /* what SO_RCVLOWAT is set to */
    uint64_t moved_ns;   /* when a byte or a message last came */

    size_t endpoint, address, address_count; /* which is tried, of how many */
    struct ist_address addresses[IST_ADDRESSES_MAX];
    struct ist_resolver *resolver;
    const char *why; /* the last attempt at this endpoint failed; static text */
    enum ist_status why_status;
    uint64_t until_ns;          /* for all of it */
    uint64_t endpoint_until_ns; /* for this endpoint */
    uint64_t address_until_ns;  /* for this address */
    uint64_t retry_ns;          /* CONNECTING without a descriptor: when to try again */
    enum ist_status
        failure; /* of the last connect that found nobody: PEER, PROTOCOL, TIMEOUT, DEVICE; else OK */
    char error[IST_CONNECTION_ERROR_BYTES]; /* each endpoint that failed, and why */

    enum ist_transport wanted;
    struct ist_link link;
    bool tcp_only; /* AUTO: this address has not been reached by RDMA */
    uint64_t proof_until_ns;
    bool has_warned;                        /* since RDMA was last had */
    bool warning_is_due;                    /* whoever drives it tells the user, and clears this */
    char why_tcp[IST_CONNECTION_WHY_BYTES]; /* RDMA is wanted, and not had; else "" */
};

struct ist_connection_config {
    uint64_t timeout_ns;
    enum ist_transport transport;
    struct ist_link_config link;
    const struct ist_alloc *alloc;
    /* Called before the socket, or the resolver's descriptor, is closed: whoever watches it must stop that, as it stays open
     * in the child of a fork(). */
    void (*closing)(void *arg, int fd);
    void *closing_arg;
};

/* endpoints: transferred on OK. The connection must not be moved afterwards. Returns OK, NO_MEMORY. */
enum ist_status ist_connection_init(struct ist_connection *connection, struct ist_endpoints *endpoints,
                                    const struct ist_connection_config *config);
/* Ended, and the exchange emptied. */
void ist_connection_fini(struct ist_connection *connection);

/* Of a connection that has been silent for a while and has nothing in flight: has the server closed it meanwhile? Called
 * before a request is submitted, so that the request need not find out. */
void ist_connection_look(struct ist_connection *connection, uint64_t now_ns);
/* Begins to connect, unless it is connected or about to. */
void ist_connection_open(struct ist_connection *connection, uint64_t now_ns);
/* All requests end with this status; closes. */
void ist_connection_close(struct ist_connection *connection, enum ist_status status);

/* What to wait for: POLLIN, POLLOUT. */
struct ist_wait ist_connection_wait(const struct ist_connection *connection,
                                    enum ist_connection_source source);
/* Bytes go by the queue pair: while shaking hands over it, and when OPEN. */
bool ist_connection_is_remote(const struct ist_connection *connection);
/* Another number whenever a descriptor has become another. */
uint64_t ist_connection_generation(const struct ist_connection *connection);
/* Before sleeping: messages will wake. True: something has been done meanwhile instead; do not sleep. */
bool ist_connection_arm(struct ist_connection *connection, uint64_t now_ns);
/* False: who sleeps would not be woken when there is room to send what waits. */
bool ist_connection_is_armed(const struct ist_connection *connection);
/* Looks for messages, without a system call. True: something has been done. */
bool ist_connection_spin(struct ist_connection *connection, uint64_t now_ns);
/* When ist_connection_run() has something to do although nothing is ready. */
uint64_t ist_connection_deadline_ns(const struct ist_connection *connection);

/* Sends what waits, as far as the socket takes it. */
void ist_connection_flush(struct ist_connection *connection, uint64_t now_ns);
/* Goes on with what is ready (POLLIN and POLLOUT of each source as poll() says; claiming too much is harmless), and
 * enforces deadlines. Receives only so much: recv_more tells that the next call may find more. */
void ist_connection_run(struct ist_connection *connection, const short ready[IST_SOURCES],
                        uint64_t now_ns);

#endif

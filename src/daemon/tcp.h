/* Connections over byte streams, TCP or AF_UNIX: moves bytes between sockets and the engine's sessions.
 * Payload goes by readv and sendmsg straight between the socket and its block in the pool. Each connection
 * gets a bounded share of a turn of the loop. */
#ifndef IST_DAEMON_TCP_H
#define IST_DAEMON_TCP_H

#include <stddef.h>
#include <stdint.h>

#include <ev.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engine/engine.h"
#include "infinistore/status.h"

struct ist_endpoint;
struct ist_rdma;
struct ist_tcp;

/* Bytes that one connection moves before the others get their turn. */
#define IST_TCP_TURN_BYTES (2ull << 20)

struct ist_tcp_config {
    struct ev_loop *loop;      /* borrowed, as everything here */
    struct ist_engine *engine; /* its sessions are all made here */
    uint8_t *pool_base;        /* where offset 0 of the store is mapped */
    struct ist_rdma *rdma;     /* for clients that ask for it; NULL: there is none */
    const struct ist_alloc *alloc;
    const struct ist_log *log;
};

/* Returns OK, NO_MEMORY. */
enum ist_status ist_tcp_new(const struct ist_tcp_config *config, struct ist_tcp **tcp);
/* Closes every connection. NULL is legal. */
void ist_tcp_free(struct ist_tcp *tcp);

/* From now on it is this that clients may ask for, or none. Connections that have asked already are not the other's any more. */
void ist_tcp_set_rdma(struct ist_tcp *tcp, struct ist_rdma *rdma);

/* A connection that was just accepted: non-blocking; fd is ours, and closed at once when the engine takes no
 * more sessions or memory is short. */
void ist_tcp_accept(struct ist_tcp *tcp, int fd);

/* Both for struct ist_rdma_config. The answer to what this TCP connection asked for. */
void ist_tcp_rdma_connected(void *connection, const struct ist_endpoint *own);
/* The RDMA connection of this TCP connection has ended by itself, and so does this. */
void ist_tcp_rdma_ended(void *connection);

size_t ist_tcp_connections(const struct ist_tcp *tcp); /* open now */

#endif

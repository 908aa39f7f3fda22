/* Connections over RDMA: moves frames between queue pairs and the engine's sessions, and posts the work that these
 * hand out. A connection belongs to the TCP connection that asked for it, which is its sign of life.
 *
 * Each connection gets a bounded share of a turn of the loop; completions are polled under a budget. */
#ifndef IST_DAEMON_RDMA_H
#define IST_DAEMON_RDMA_H

#include <stddef.h>
#include <stdint.h>

#include <ev.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/registration.h"
#include "engine/engine.h"
#include "infinistore/status.h"
#include "verbs/device.h"

struct ist_rdma;
struct ist_rdma_connection;
struct ist_endpoint;

/* What a connection may have posted at a time, and what waits for its messages: 12 * 3 KiB and two more. A client is to cost
 * less than 128 KiB, with what a device's library keeps for its queue pair (mlx5: about 20; soft-RoCE: 512 bytes for each
 * work, and one more, rounded up to a power of two of them). */
#define IST_RDMA_SEND_WR 63u
#define IST_RDMA_MESSAGES 12u
#define IST_RDMA_MESSAGE_BYTES 3072u
#define IST_RDMA_REAP_NS 1000000u
#define IST_RDMA_POLL_BUDGET 256u /* completions before others get their turn */
#define IST_RDMA_WORK_BATCH 32u   /* works taken from a session before others get their turn */
#define IST_RDMA_LOW_REST_SEC 60. /* that receive buffers run low is told no more often */

struct ist_rdma_config {
    struct ev_loop *loop; /* borrowed, as everything here */
    struct ist_engine *engine;
    struct ist_device *device;
    const struct ist_registration *registration; /* of the store's pool */
    uint32_t sessions_max;
    /* After work the completion queue is polled for so long, and no event is asked for; sockets are served as ever. 0: an
     * event wakes the loop for each piece of work. */
    uint64_t poll_ns;
    /* What has been moved and nobody waits for wakes the loop at last after this, so that its blocks are given back. */
    uint64_t reap_ns;
    /* The answer to what `owner` asked for: the server's end, or why there is none; then the connection is gone, and not to
     * be disconnected. */
    void (*connected)(void *owner, const struct ist_endpoint *own);
    /* A connection that the TCP connection `owner` asked for has ended by itself. It is not to be disconnected. */
    void (*ended)(void *owner);
    /* The device is of no use any more: all connections are about to end, and there will be no others. Once. NULL: nobody
     * wants to know. */
    void (*died)(void *context);
    void *died_context;
    const struct ist_alloc *alloc;
    const struct ist_log *log;
};

/* Returns OK, DEVICE (it was logged), NO_MEMORY. */
enum ist_status ist_rdma_new(const struct ist_rdma_config *config, struct ist_rdma **rdma);
/* Ends every connection. NULL is legal. */
void ist_rdma_free(struct ist_rdma *rdma);

/* Makes the server's end for a client's, and connects it in the background: `connected` tells, later. Returns OK; DEVICE
 * (there is no RDMA now); INVALID (an end that cannot be); NO_SPACE (as many as there can be, or too many of them wait);
 * NO_MEMORY. connection: written on OK; owned until disconnected, ended or told of as failed. */
enum ist_status ist_rdma_connect(struct ist_rdma *rdma, void *owner, uint64_t id,
                                 const struct ist_endpoint *peer,
                                 struct ist_rdma_connection **connection);
/* The TCP connection is gone. */
void ist_rdma_disconnect(struct ist_rdma_connection *connection);

size_t ist_rdma_connections(const struct ist_rdma *rdma);
/* As many as the device has room for, at most sessions_max. */
uint32_t ist_rdma_connections_max(const struct ist_rdma *rdma);

#endif

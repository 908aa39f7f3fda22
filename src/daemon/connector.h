/* Connects queue pairs to their peers, away from the loop: on RoCE the kernel asks the network who has the peer's
 * address, and waits up to a second for the answer (Linux, drivers/infiniband/core/addr.c:
 * rdma_addr_find_l2_eth_by_grh). Threads do that, so that a peer that does not answer holds up no other: as many as are
 * needed at a time, up to a limit; and a bounded number waits for them.
 *
 * A port is reached by one thread at a time, and when nobody answers there, all that wait for it hear that: many clients
 * of a host that is cut off take one thread for a second, not all threads for as many seconds. Ports that were never reached
 * do not get the last thread: however many of them do not answer, those that did the last time do not wait for them. */
#ifndef IST_DAEMON_CONNECTOR_H
#define IST_DAEMON_CONNECTOR_H

#include <stdbool.h>

#include <ev.h>

#include "base/alloc.h"
#include "infinistore/status.h"
#include "verbs/queue_pair.h"

struct ist_connector;

#define IST_CONNECTOR_THREADS 32u   /* at most */
#define IST_CONNECTOR_KNOWN_MAX 64u /* ports that were reached and are remembered */
#define IST_CONNECTOR_WAITING_MAX 512u

/* Embedded by whoever wants a queue pair connected. From add() until it is done or cancelled it must stay, and nobody
 * else modifies or frees the queue pair. */
struct ist_connector_job {
    struct ist_queue_pair *queue_pair; /* borrowed */
    struct ist_queue_pair_end peer;
    enum ist_status status; /* when it is done: of ist_queue_pair_reach() */
    struct ist_connector_job *next;
};

/* done: called on the loop for each job, in the order in which they end. Returns OK, NO_MEMORY. */
enum ist_status ist_connector_new(struct ev_loop *loop,
                                  void (*done)(void *context, struct ist_connector_job *job),
                                  void *context, const struct ist_alloc *alloc,
                                  struct ist_connector **connector);
/* Waits for those that are being connected, about a second at worst. done() is called for none. NULL is legal. */
void ist_connector_free(struct ist_connector *connector);

/* Returns OK; NO_SPACE: too many wait. */
enum ist_status ist_connector_add(struct ist_connector *connector, struct ist_connector_job *job);
/* True: nobody had begun with it, and nobody will. False: it will be done. */
bool ist_connector_cancel(struct ist_connector *connector, struct ist_connector_job *job);

#endif

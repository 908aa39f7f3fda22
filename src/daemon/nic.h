/* The server's RDMA as it comes and goes: a device, the pool registered with it, and the connections over it. While there is
 * none, it is looked for, again and again: a card may be slow to come up, its port may get its cable later, and one that
 * died may recover, or be replaced. Opening a device and registering a pool take long, so that a thread does it.
 *
 *   state     what there is                               leaves by
 *   none      nothing; or a device that was of no use     the timer -> busy
 *   busy      a thread: closes what is of no use, and     it found one -> serving; else -> none
 *             opens and registers what it finds
 *   serving   RDMA for clients                            the device dies -> dying
 *   dying     connections that end, none begins           the timer, when they are gone -> busy
 */
#ifndef IST_DAEMON_NIC_H
#define IST_DAEMON_NIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ev.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/rdma.h"
#include "infinistore/status.h"
#include "verbs/device.h"

struct ist_nic;

#define IST_NIC_LOOK_SEC 5.
/* What was found and turned out to be of no use is tried less and less often, down to this. */
#define IST_NIC_LOOK_SEC_MAX 300.
#define IST_NIC_NAME_BYTES 64u /* IBV_SYSFS_NAME_MAX */

struct ist_nic_config {
    struct ist_device_config
        device;          /* also the allocator and the log, for all of it; used by several threads */
    bool is_wanted;      /* by name: that there is none is a warning */
    size_t segments_max; /* pieces in which the pool may come */
    uint64_t pool_bytes_max; /* what it may grow to */
    uint64_t chunk_bytes;    /* of a pool that is there already, at a time */
    double look_sec;
};

/* Looks once, at once. nic: owned. Returns OK, also without a device; NO_MEMORY. */
enum ist_status ist_nic_new(const struct ist_nic_config *config, struct ist_nic **nic);
/* Stopped, and nobody calls prepare() any more. NULL is legal. */
void ist_nic_free(struct ist_nic *nic);

/* The pool's next `bytes`, which lie at `memory`, behind those of the calls before: as ist_registration_add(), of whatever
 * device there is, now or later. One thread at a time. */
void ist_nic_prepare(struct ist_nic *nic, uint8_t *memory, uint64_t bytes);

/* The loop runs, or will. rdma: all but the device, the registration and who is told that it died.
 * changed: called on the loop with what there is from now on, or with NULL before what there was is freed; not by start(). */
struct ist_nic_service {
    struct ist_rdma_config rdma;
    void (*changed)(void *context, struct ist_rdma *rdma);
    void *context;
};
void ist_nic_start(struct ist_nic *nic, const struct ist_nic_service *service);
/* On the loop's thread: ends all connections, and waits for the thread. NULL, or never started, is legal. */
void ist_nic_stop(struct ist_nic *nic);

/* Logs what there is, or why there is nothing; not the latter twice. For the time when the daemon is ready: later changes log
 * themselves. */
void ist_nic_announce(struct ist_nic *nic);

/* What serves now; NULL: none. On the loop's thread. */
struct ist_rdma *ist_nic_rdma(const struct ist_nic *nic);

/* What clients are served on, for people and for the self-test. Any thread. False: on nothing, now. */
struct ist_nic_port {
    char device[IST_NIC_NAME_BYTES];
    unsigned port;
};
bool ist_nic_port(struct ist_nic *nic, struct ist_nic_port *port);

#endif

/* The RDMA half of a connection: one queue pair, which carries the bytes of an exchange, and the device on which the
 * user's memory is registered. Never sleeps, but for open() and close(): see there.
 *
 *   device   queue pair   what there is
 *   no       no           nothing: the beginning; after drop_device()
 *   yes      no           the user's memory is registered: after close()
 *   yes      yes          open() -> connect() -> connected() -> bytes move by flush() and run()
 * After a queue pair is closed nothing touches the user's memory. */
#ifndef IST_CLIENT_LINK_H
#define IST_CLIENT_LINK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "client/exchange.h"
#include "client/regions.h"
#include "verbs/device.h"
#include "verbs/queue_pair.h"
#include "wire/codec.h"

struct ist_reacher;

#define IST_LINK_WHY_BYTES 256u
#define IST_LINK_NAME_BYTES 64u

/* What the queue pair may have posted, and what waits for the server's messages: 104 KiB with the buffers for sending. */
#define IST_LINK_SEND_WR 64u
#define IST_LINK_MESSAGES 16u
#define IST_LINK_MESSAGE_BYTES 4096u

/* A device, for as long as somebody works with it. */
struct ist_device_share {
    struct ist_device *device; /* owned */
    size_t users;
};

struct ist_link_config {
    char device[IST_LINK_NAME_BYTES]; /* "": the first with an active port */
    unsigned port;
    enum ist_device_link link;
    int hint_gid_index;
};

/* What the device edge has logged last, in whatever thread. */
struct ist_link_told {
    pthread_mutex_t lock;
    bool error; /* since this was last cleared */
    char line[IST_LINK_WHY_BYTES];
};

enum ist_link_armed { IST_LINK_NOT_ARMED, IST_LINK_ARMED_FOR_MESSAGES, IST_LINK_ARMED_FOR_ALL };

struct ist_link {
    struct ist_link_config config;
    const struct ist_alloc *alloc;
    struct ist_log log; /* writes into told */
    struct ist_regions regions;
    struct ist_device_share *share; /* NULL: there is none */
    struct ist_device *device;      /* of it */
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
    struct ist_queue_pair_end peer;
    struct ist_reacher *reacher;                       /* while it is being connected */
    uint64_t queue_pair_generation, device_generation; /* count those that there were */
    enum ist_link_armed armed;                         /* what the descriptor tells of */
    bool has_event;                                    /* it has told, and this was not taken off it */
    bool failed;                                       /* the queue pair is of no use any more */
    bool device_failed, port_down;
    char why[IST_LINK_WHY_BYTES]; /* of the last failure */
    struct ist_link_told told;
};

/* The link must not be moved afterwards. */
void ist_link_init(struct ist_link *link, const struct ist_link_config *config,
                   const struct ist_alloc *alloc);
void ist_link_fini(struct ist_link *link);

/* Opens the device, unless that is done, registers the memory, makes a queue pair. peer: the server's address as a GID,
 * for the choice of ours; NULL: unknown. own: for CONNECT.
 * Returns OK; DEVICE, NO_MEMORY, TOO_BIG, INVALID (memory that was registered before there was a device): `why` says, and
 * there is no queue pair. The first call takes as long as the memory takes to be pinned. */
enum ist_status ist_link_open(struct ist_link *link, const uint8_t *peer, struct ist_endpoint *own);
/* Begins to connect it to the peer's. Returns OK; DEVICE, NO_MEMORY: `why` says, and there is no queue pair any more. */
enum ist_status ist_link_connect(struct ist_link *link, const struct ist_endpoint *peer);
/* Returns AGAIN (not yet: the descriptor for messages will tell); OK; DEVICE: `why` says, and there is no queue pair any
 * more. */
enum ist_status ist_link_connected(struct ist_link *link);
/* When this returns nothing of the peer touches the user's memory. Of a queue pair that is being connected it may wait for
 * about a second. */
void ist_link_close(struct ist_link *link);
/* Closes that, too, and remembers what is to be registered with the next one. */
void ist_link_drop_device(struct ist_link *link);

/* For who works with the device where the link may get another one meanwhile; NULL: there is none. It stays open until it is
 * given back, from which time on nothing that was made on it may be left but what is in `regions`. */
struct ist_device_share *ist_link_share(struct ist_link *link);
void ist_link_unshare(struct ist_link *link, struct ist_device_share *share); /* NULL is legal */

/* Descriptors to wait for, readable; -1: none. */
int ist_link_messages_fd(const struct ist_link *link);
int ist_link_device_fd(const struct ist_link *link);
/* The first descriptor has become readable. */
void ist_link_woken(struct ist_link *link);
/* The descriptor becomes readable with the next message, or has become so; run() once more, then sleep. False: that was so
 * already. for_all: also when there is room to send again. */
bool ist_link_arm(struct ist_link *link, bool for_all);
/* Takes what the device tells. */
void ist_link_take_events(struct ist_link *link);

/* Bytes from the exchange into messages; posts them. */
void ist_link_flush(struct ist_link *link, struct ist_exchange *exchange);
/* What has come, into the exchange. Returns whether anything has. */
bool ist_link_run(struct ist_link *link, struct ist_exchange *exchange);
/* The queue pair, or the device, is of no use any more: `why` says. */
static inline bool ist_link_has_failed(const struct ist_link *link) {
    return link->failed || link->device_failed;
}

#endif

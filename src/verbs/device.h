/* One port of one RDMA device: opened, its capabilities read, its GIDs ranked, its asynchronous events told. */
#ifndef IST_VERBS_DEVICE_H
#define IST_VERBS_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/log.h"
#include "infinistore/status.h"
#include "verbs/gid.h"

struct ibv_context;
struct ibv_pd;
struct ist_device;

enum ist_device_link { IST_DEVICE_LINK_ANY, IST_DEVICE_LINK_ETHERNET, IST_DEVICE_LINK_INFINIBAND };

struct ist_device_config {
    const char *name; /* NULL: the first with an active port of that link */
    unsigned port;    /* 0: the first active one */
    enum ist_device_link link;
    int hint_gid_index;            /* -1: by rank */
    const struct ist_alloc *alloc; /* borrowed, as is the log */
    const struct ist_log *log;
};

/* As read from the device and the port; what exceeds it is not asked for. */
struct ist_device_limits {
    uint32_t queue_pair_wr, sge, cqe, srq_wr;
    uint32_t reads_out, reads_in; /* RDMA READs of a queue pair at a time: as requester, as responder */
    uint64_t registration_bytes;
};

struct ibv_device_attr;
void ist_device_read_limits(const struct ibv_device_attr *attributes, struct ist_device_limits *limits);

/* Returns OK; DEVICE (no such device, none with an active port, no permission, no usable GID: `why` says which; it is
 * not logged, since whoever wanted RDMA decides how bad that is); NO_MEMORY.
 * why: a line of `why_bytes`, written unless OK. device: owned: ist_device_close(). */
enum ist_status ist_device_open(const struct ist_device_config *config, struct ist_device **device,
                                char *why, size_t why_bytes);
/* What was made on it must be gone. NULL is legal. */
void ist_device_close(struct ist_device *device);

const char *ist_device_name(const struct ist_device *device);
unsigned ist_device_port(const struct ist_device *device);
bool ist_device_is_infiniband(const struct ist_device *device);
bool ist_device_requires_grh(const struct ist_device *device); /* it did when it was opened */
const struct ist_device_limits *ist_device_limits(const struct ist_device *device);
struct ibv_context *ist_device_context(const struct ist_device *device);
struct ibv_pd *ist_device_domain(const struct ist_device *device); /* of protection */

/* What may change while the port is open, with an event or without one: asked for anew for each queue pair. */
struct ist_device_port {
    uint16_t lid;
    uint32_t mtu_bytes; /* the active one */
    bool requires_grh;  /* InfiniBand: no packet without a GID */
};
/* Returns OK; DEVICE (it cannot be asked: it was logged). */
enum ist_status ist_device_ask_port(const struct ist_device *device, struct ist_device_port *port);

/* The GID to use towards a peer, whose GID or address may be unknown (NULL). Returns OK; DEVICE (none is usable
 * now: it was logged). */
enum ist_status ist_device_gid(const struct ist_device *device, const uint8_t *peer,
                               struct ist_gid_entry *gid);

/* What happened to the device, in the order in which it did. */
enum ist_device_event_kind {
    IST_DEVICE_PORT_DOWN,
    IST_DEVICE_PORT_UP,
    IST_DEVICE_QUEUE_PAIR_FAILED, /* queue_pair: its number */
    IST_DEVICE_LAST_RECEIVE,      /* the queue pair will take no more from the shared queue */
    IST_DEVICE_RECEIVES_LOW,      /* see ist_completion_watch() */
    IST_DEVICE_FAILED,            /* all of it */
    IST_DEVICE_OTHER,             /* of no consequence here */
};
struct ist_device_event {
    enum ist_device_event_kind kind;
    uint32_t queue_pair;
    const char *text; /* static: what the library calls it */
};
int ist_device_fd(const struct ist_device *device); /* readable: call next_event() until it is AGAIN */
/* Returns OK (it was logged; of a queue pair at level DEBUG only, since a peer can cause it), AGAIN. */
enum ist_status ist_device_next_event(struct ist_device *device, struct ist_device_event *event);

#endif

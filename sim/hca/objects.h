/* What the software HCA is made of, for its own files. Everything happens with the lock of fabric.c held. */
#ifndef IST_SIM_HCA_OBJECTS_H
#define IST_SIM_HCA_OBJECTS_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/hca/clock.h"
#include "sim/hca/hca.h"
#include "sim/hca/number.h"

#define HCA_CONTAINER(pointer, type, member)                                                           \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define HCA_MTU_BYTES(mtu) (128u << (mtu)) /* enum ibv_mtu */

struct hca_port {
    struct ist_hca_port_config config;
    uint64_t free_ns; /* its sender is busy until then */
    bool cut;
};

struct ist_hca_device {
    struct ibv_device device; /* what the program sees */
    struct ist_hca *hca;
    struct ist_hca_device *next;
    struct ist_hca_device_config config;
    struct hca_port port[IST_HCA_PORTS_MAX];
    int qps, cqs, mrs, pds, srqs; /* made and not destroyed */
    bool fatal;
    bool holds_neighbours, holds_registrations;
};

struct ist_hca {
    struct ist_hca_config config;
    uint64_t random; /* state of the generator */
    uint64_t digest;
    struct hca_clock clock;
    struct hca_numbers lkeys, rkeys, qp_numbers;
    struct ist_hca_device *devices; /* in the order they came */
    struct hca_context *contexts;
    struct ist_hca_counts counts;
    uint64_t notices_taken, notices_acknowledged; /* those of ports and devices */
    unsigned fail_calls;
    const struct ibv_context *fail_of; /* NULL: of all */
    bool fail_on;                      /* those after the nth, too */
    uint64_t fail_at, calls;
    const char *failed;
    bool busy;        /* events were due when the descriptors were last set */
    uint32_t waiting; /* calls that wait */
    uint32_t patience_ms;
};

/* An asynchronous event that waits to be taken. */
struct hca_notice {
    struct ibv_async_event event;
    void *object; /* CQ, QP or SRQ; NULL: port or device */
};

struct hca_context {
    struct verbs_context verbs;
    struct ist_hca_device *device;
    struct hca_context *next;
    struct hca_channel *channels;
    struct hca_cq *cqs;
    struct hca_notice *notice; /* a ring of `notice_room` */
    uint32_t notice_first, notices, notice_room, notice_needed;
    uint32_t objects; /* PDs, CQs and channels made on it and not destroyed */
    bool async_raised;
    bool killed;
};

/* Events that were taken from and given back for one object. */
struct hca_taken {
    uint64_t taken, acknowledged;
};

struct hca_pd {
    struct ibv_pd pd;
    uint32_t users;
};

struct hca_mr {
    struct ibv_mr mr;
    uint64_t iova;
    unsigned access;
    void *mapping; /* of a dma-buf */
    size_t mapping_bytes;
};

struct hca_channel {
    struct ibv_comp_channel channel;
    struct hca_channel *next;
    struct hca_cq *first, *last; /* CQs with events, oldest first */
    uint32_t armed;              /* CQs that are armed */
    bool raised;                 /* the descriptor is readable */
};

enum hca_armed { HCA_NOT_ARMED, HCA_ARMED_SOLICITED, HCA_ARMED };

struct hca_completion {
    struct ibv_wc wc;
    struct hca_qp *qp; /* NULL: destroyed or reset since */
    bool received;     /* a receive: gives a slot of the receive queue back */
    uint64_t retires;  /* a send: requests below this number give theirs back */
    bool solicited;
};

struct hca_cq {
    struct ibv_cq cq;
    struct hca_cq *next;
    struct hca_completion *entry; /* a ring of cq.cqe */
    uint32_t first, entries;
    uint32_t users;
    enum hca_armed armed;
    uint32_t pending; /* events in the channel */
    struct hca_cq *next_pending;
    struct hca_taken events, notices;
    bool dead;
};

struct hca_receive {
    uint64_t wr_id;
    int sges;
    struct ibv_sge *sge; /* room for max_sge of the queue */
};

/* Receives posted, of a QP or an SRQ. */
struct hca_receive_queue {
    uint32_t max_wr, max_sge;
    struct hca_receive *entry; /* a ring of max_wr */
    struct ibv_sge *sges;
    uint64_t posted, used; /* running counts */
    uint32_t held;         /* slots not given back yet */
};

struct hca_srq {
    struct ibv_srq srq;
    struct hca_receive_queue queue;
    uint32_t limit;
    uint32_t users;
    struct hca_taken notices;
};

struct hca_request {
    uint64_t wr_id;
    enum ibv_wr_opcode opcode;
    enum ibv_wc_status status;  /* not SUCCESS: how it ends or will end */
    enum ibv_wc_status receive; /* not SUCCESS: how the receive there ends */
    bool signalled, fenced, solicited, inlined;
    bool waits; /* may not go on yet: fence, max_rd_atomic, or to be refused after READs */
    bool begun; /* the peer has taken it */
    bool done;  /* nothing is outstanding any more; status is final */
    __be32 immediate;
    uint32_t bytes, chunks;
    uint32_t chunk;         /* moved so far */
    uint32_t first, stride; /* the order in which they move */
    uint64_t remote_addr;
    uint32_t rkey;
    uint64_t ready_ns;    /* may leave from then on */
    uint64_t executed_ns; /* when the peer had done or taken it */
    int sges;
    struct ibv_sge *sge;
    uint8_t *inline_data;
};

/* A queue pair, requester and responder. Running counts of requests:
 * freed <= completed <= executed <= posted; slot of request n is n % cap.max_send_wr. */
struct hca_qp {
    struct ibv_qp qp;
    struct ist_hca_device *device;
    enum ibv_qp_state state;
    struct ibv_qp_attr attr;
    struct ibv_qp_cap cap;
    bool all_signalled;
    /* requester */
    struct hca_request *request;
    struct ibv_sge *sges;
    uint8_t *inline_data;
    uint64_t posted, executed, completed, freed;
    uint64_t reading; /* READs below this number are done */
    uint32_t reads;   /* READs taken by the peer and not done */
    uint64_t departure_ns, read_departure_ns;
    uint32_t send_psn;
    uint32_t retries, not_ready;
    bool halted; /* a request failed: no further one starts */
    bool lost;   /* something got lost: nothing starts until it was sent again */
    bool asks;   /* an answer got lost: the peer has to answer again */
    struct hca_event execute, read, acknowledge, retry, flush;
    /* responder */
    struct hca_receive_queue queue; /* unused with an SRQ */
    struct hca_receive receiving;   /* taken by the message that arrives now */
    struct ibv_sge *receiving_sges;
    bool has_receive;
    uint32_t receive_psn;
    bool communicating; /* COMM_EST was raised */
    bool last_reached;  /* LAST_WQE_REACHED was raised */
    struct hca_taken notices;
    /* faults */
    uint32_t drop, refuse;
    enum ibv_wc_status fail;
    uint64_t held_until_ns;
    bool silent; /* does nothing any more */
};

static inline struct ist_hca_device *hca_device(struct ibv_context *context) {
    return HCA_CONTAINER(context->device, struct ist_hca_device, device);
}
static inline struct hca_context *hca_context(struct ibv_context *context) {
    return HCA_CONTAINER(context, struct hca_context, verbs.context);
}
static inline struct ist_hca *hca_of(struct ibv_context *context) {
    return hca_device(context)->hca;
}
static inline struct hca_qp *hca_qp(struct ibv_qp *qp) {
    return HCA_CONTAINER(qp, struct hca_qp, qp);
}
static inline struct hca_cq *hca_cq(struct ibv_cq *cq) {
    return HCA_CONTAINER(cq, struct hca_cq, cq);
}
static inline struct hca_srq *hca_srq(struct ibv_srq *srq) {
    return HCA_CONTAINER(srq, struct hca_srq, srq);
}
static inline struct hca_pd *hca_pd(struct ibv_pd *pd) {
    return HCA_CONTAINER(pd, struct hca_pd, pd);
}
static inline struct hca_request *hca_request(struct hca_qp *qp, uint64_t number) {
    return &qp->request[number % qp->cap.max_send_wr];
}
static inline struct hca_receive_queue *hca_receive_queue(struct hca_qp *qp) {
    return qp->qp.srq != NULL ? &hca_srq(qp->qp.srq)->queue : &qp->queue;
}
/* Whose keys its receives hold. */
static inline struct ibv_pd *hca_receive_pd(const struct hca_qp *qp) {
    return qp->qp.srq != NULL ? qp->qp.srq->pd : qp->qp.pd;
}
/* A queue pair whose process died or whose device went. */
static inline bool hca_context_gone(struct ibv_context *context) {
    return hca_context(context)->killed || hca_device(context)->fatal;
}

/* ---- fabric.c ------------------------------------------------------------------------------------ */

/* The fabric, locked; NULL, and not locked, when there is none. */
struct ist_hca *hca_enter(void);
void hca_leave(void);
/* Waits, unlocked meanwhile, until the device's network says who has an address. False: nobody did in time. */
bool hca_wait_for_neighbour(struct ist_hca *hca, const struct ist_hca_device *device);
void hca_wait_for_pages(struct ist_hca *hca, const struct ist_hca_device *device);
/* Prints and aborts: the caller broke a rule. */
void hca_violation(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* True when this call is the one to fail. */
bool hca_fails(struct ist_hca *hca, enum ist_hca_call call, const char *function);
/* The same, where it is known whose call it is. */
bool hca_fails_of(struct ibv_context *context, enum ist_hca_call call, const char *function);
uint64_t hca_random(struct ist_hca *hca);
/* 0 .. limit - 1; limit at least 1. */
uint64_t hca_random_below(struct ist_hca *hca, uint64_t limit);
/* True `of_thousand` times of 1000. */
bool hca_chance(struct ist_hca *hca, uint32_t of_thousand);
void hca_fill_junk(struct ist_hca *hca, void *memory, size_t bytes);
/* Part of the history: `what` has static storage. */
void hca_note(struct ist_hca *hca, const char *what, uint64_t a, uint64_t b, uint64_t c);
/* At least `wanted`, at most `most`. */
uint32_t hca_round_up(struct ist_hca *hca, uint32_t wanted, uint32_t most);
/* A little later, as it happens. */
uint64_t hca_jitter(struct ist_hca *hca);
/* Progress inside a call, when so configured. */
void hca_progress(struct ist_hca *hca);

/* ---- port.c -------------------------------------------------------------------------------------- */

extern const struct ibv_context_ops hca_context_ops;
int hca_query_port(struct ibv_context *context, uint8_t number, struct ibv_port_attr *attr,
                   size_t bytes);
/* NULL: no such port. */
struct hca_port *hca_port(struct ist_hca_device *device, uint32_t number);
bool hca_gid_is_empty(const union ibv_gid *gid);

/* ---- memory.c ------------------------------------------------------------------------------------ */

/* The bytes [addr, addr + bytes) of the region with this key, NULL when a rule of memory regions forbids it. */
uint8_t *hca_local(struct ibv_pd *pd, uint32_t lkey, uint64_t addr, uint64_t bytes, unsigned access);
uint8_t *hca_remote(struct ibv_pd *pd, uint32_t rkey, uint64_t addr, uint64_t bytes, unsigned access);

/* ---- completion.c, channel.c --------------------------------------------------------------------- */

/* What the program will poll. Junk goes in where nothing is defined. */
void hca_complete(struct ibv_cq *cq, struct hca_completion *completion);
int hca_poll_cq(struct ibv_cq *cq, int room, struct ibv_wc *wc);
int hca_req_notify_cq(struct ibv_cq *cq, int solicited_only);
/* The completions of a QP that goes: dropped, or left without it. */
void hca_forget_completions(struct hca_qp *qp);
void hca_cq_die(struct hca_cq *cq);
void hca_channel_add(struct hca_cq *cq);
void hca_channel_remove(struct hca_cq *cq);
/* Makes the descriptor readable, or not, as things stand now. */
void hca_channel_show(struct ist_hca *hca, struct hca_channel *channel);
void hca_channels_show(struct ist_hca *hca);
/* An eventfd that is readable when `raise`. */
void hca_descriptor_set(int fd, bool *raised, bool raise);
bool hca_descriptor_blocks(int fd);

/* ---- async.c ------------------------------------------------------------------------------------- */

/* Room for so many more notices of objects of this context. False: no memory. */
bool hca_notices_reserve(struct hca_context *context, uint32_t more);
void hca_notices_unreserve(struct hca_context *context, uint32_t fewer);
void hca_notice_qp(struct hca_qp *qp, enum ibv_event_type type);
void hca_notice_cq(struct hca_cq *cq, enum ibv_event_type type);
void hca_notice_srq(struct hca_srq *srq, enum ibv_event_type type);
void hca_notice_port(struct ist_hca_device *device, enum ibv_event_type type, int port);
void hca_notices_forget(struct hca_context *context, const void *object);
#define HCA_NOTICES_QP 5 /* QP_FATAL, QP_REQ_ERR, QP_ACCESS_ERR, COMM_EST, QP_LAST_WQE_REACHED */
#define HCA_NOTICES_CQ 1
#define HCA_NOTICES_SRQ 2
#define HCA_NOTICES_PORTS 64 /* of all ports of a context, not taken yet */

/* ---- receive.c ----------------------------------------------------------------------------------- */

/* Sizes are set; false: no memory. */
bool hca_receive_queue_init(struct ist_hca *hca, struct hca_receive_queue *queue);
void hca_receive_queue_fini(struct ist_hca *hca, struct hca_receive_queue *queue);
void hca_receive_queue_clear(struct hca_receive_queue *queue);
/* 0, ENOMEM when full. */
int hca_receive_post(struct hca_receive_queue *queue, const struct ibv_recv_wr *wr,
                     const char *function);
/* Moves the next receive of the QP's queue, or of its SRQ, to qp->receiving. False: there is none. */
bool hca_receive_take(struct hca_qp *qp);
/* The next receive without taking it; NULL: there is none. */
const struct hca_receive *hca_receive_peek(struct hca_qp *qp);
int hca_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
int hca_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
/* Completes qp->receiving. */
void hca_receive_complete(struct hca_qp *qp, enum ibv_wc_status status,
                          const struct hca_request *request);

/* ---- payload.c ----------------------------------------------------------------------------------- */

bool hca_list_is_valid(struct ibv_pd *pd, const struct ibv_sge *sge, int sges, unsigned access);
uint64_t hca_list_bytes(const struct ibv_sge *sge, int sges);
/* The next chunk of the request: where it lies in the message. */
void hca_chunk(const struct hca_qp *qp, const struct hca_request *request, uint64_t *offset,
               uint64_t *bytes);
/* Chooses the order of the request's chunks. */
void hca_shuffle(struct ist_hca *hca, struct hca_request *request);
enum hca_moved { HCA_MOVED, HCA_LOCAL_FAULT, HCA_REMOTE_FAULT };
/* Moves the next chunk between the two. */
enum hca_moved hca_move(struct hca_qp *qp, struct hca_qp *peer, const struct hca_request *request);

/* ---- post.c, requester.c, responder.c ------------------------------------------------------------ */

int hca_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
/* Starts the next request, if it may. */
void hca_kick(struct hca_qp *qp);
void hca_execute_fires(struct hca_event *event);
void hca_read_fires(struct hca_event *event);
void hca_acknowledge_fires(struct hca_event *event);
void hca_retry_fires(struct hca_event *event);
void hca_flush_fires(struct hca_event *event);
/* To ERR: what is outstanding gets flushed. */
void hca_qp_error(struct hca_qp *qp);
/* Cancels whatever was to happen. */
void hca_qp_stop(struct hca_qp *qp);
void hca_qp_flush(struct hca_qp *qp);

/* The other end when packets get there and it would answer, else NULL. */
struct hca_qp *hca_peer(struct hca_qp *qp);
/* The links of both ends, as far as there is another end. */
bool hca_links_are_up(struct hca_qp *qp);
/* A packet of it, just now. */
bool hca_gets_lost(struct hca_qp *qp);

enum hca_answer {
    HCA_TAKEN,       /* this packet's data moved, or the READ is accepted */
    HCA_NOT_READY,   /* no receive */
    HCA_REFUSED,     /* for request->status; the peer is in ERR */
    HCA_WAITS,       /* will be refused when the READs before it are done */
    HCA_SILENT,      /* no answer */
    HCA_CANNOT_SEND, /* memory of the requester went away in mid-message */
};
/* The peer's side of one packet of the request, with all effects there. */
enum hca_answer hca_respond(struct hca_qp *peer, struct hca_qp *qp, struct hca_request *request);
/* The memory that a READ fetches from went away. */
void hca_refuse_read(struct hca_qp *peer);

#endif

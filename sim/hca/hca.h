/* An HCA in software: defines the ibv_* symbols, so that code written for libibverbs runs linked to it, without
 * a kernel and without a card. Reliable-connected queue pairs only.
 *
 * It is stricter than hardware. Where hardware may vary, the seed decides. Where the caller is wrong in a way that
 * no card has to tell him, it prints one line that starts with "hca:" and aborts.
 *
 * Virtual time, no threads, no clock: nothing happens between two calls of ist_hca_step() and its friends, unless
 * `progress_in_calls` is set. One seed and one order of calls give one history; ist_hca_digest() tells.
 * Calls from several threads are safe, but then their order is part of the history.
 *
 * Sources: man N is the page ibv_N(3) of rdma-core 44; IBTA is the InfiniBand Architecture Specification, volume 1.
 * "rxe" notes where Linux' rdma_rxe is laxer or differs; a program that is right here is right there.
 *
 *  1 States. Each transition takes the required and the optional attributes of man modify_qp (and of the kernel's
 *    table, ib_modify_qp_is_ok), no others; values out of range are EINVAL; a rejected modify changes nothing.
 *    RESET, INIT, RTR, RTS and ERR; no SQD. post_recv before INIT and post_send before RTS abort.
 *    ibv_qp.state is what the last ibv_modify_qp() asked for, as in libibverbs: ask ibv_query_qp().
 *  2 Order. Requests of a queue pair execute in order and complete in order. A READ does not order a later SEND or
 *    WRITE unless that one is fenced (IBTA 10.8.3, table of ordering rules): its data is sampled late.
 *  3 Data moves at a random moment between post and completion, in chunks of the path MTU in a shuffled order; the
 *    bytes of the source are read then, not at the post, those of an inline request at the post (man post_send:
 *    buffers are reusable after the completion, inline ones after the call).
 *  4 An unsignalled success gives no completion, an error always does. Slots of a queue, also of an SRQ, come back
 *    only when a completion that covers them is polled (rxe: earlier). A full queue is ENOMEM with bad_wr at the
 *    first request that did not fit; those before it are posted.
 *  5 Memory regions are checked when a request executes, and again at each chunk: key, protection domain, bounds
 *    without overflow, access of the region and of the queue pair. REMOTE_WRITE without LOCAL_WRITE fails at
 *    registration (man reg_mr), and so does memory that is not mapped. lkey and rkey of a region are different random
 *    numbers (elsewhere often the same) and never come again; deregistered memory is unreachable at once. A length of
 *    zero checks no rkey (IBTA 9.7).
 *  6 Statuses. Bad local key, bounds or access: LOC_PROT_ERR (rxe: LOC_QP_OP_ERR or flush errors only). Message
 *    above the port's max_msg_sz: LOC_LEN_ERR. READ with max_rd_atomic 0: LOC_QP_OP_ERR. Bad remote key, bounds or
 *    access: REM_ACCESS_ERR here, and there the queue pair to ERR and QP_ACCESS_ERR (rxe: no event); access that
 *    only the queue pair lacks: REM_ACCESS_ERR or REM_INV_REQ_ERR by the seed. Receive too small: REM_INV_REQ_ERR
 *    here, LOC_LEN_ERR there (rxe: REM_OP_ERR and LOC_QP_OP_ERR). Receive with a bad key: REM_OP_ERR here,
 *    LOC_PROT_ERR there. Message of several packets to a peer with a smaller path MTU: REM_INV_REQ_ERR here,
 *    QP_REQ_ERR there. A peer that is dead, gone, in ERR, before RTR, expects another PSN or another address:
 *    RETRY_EXC_ERR. The first message to a peer in RTR raises COMM_EST there.
 *  7 After an error the first failure is real and the rest are WR_FLUSH_ERR, also those unsignalled; posts to a
 *    queue pair in ERR are accepted and flushed (rxe: receives are not). Entries of an SRQ are not flushed;
 *    LAST_WQE_REACHED comes when the queue pair holds none any more (rxe of 6.1: never). In a failed completion only
 *    wr_id, status, qp_num and vendor_err are valid (man poll_cq), the rest is junk; so are, in a good one, the fields
 *    that its kind does not define. Destroying or resetting a queue pair drops its completions or leaves them, by the
 *    seed.
 *  8 RNR waits the peer's min_rnr_timer (IBTA 9.7, "Encoding for RNR NAK Timer Field"); rnr_retry 7 is for ever, else
 *    RNR_RETRY_EXC_ERR. An unanswered packet is sent again after 1 to 4 times 4.096 us x 2^timeout (IBTA 9.7; rxe: once
 *    that), timeout 0 is never, retry_cnt times in a row (rxe: 7 is for ever), then RETRY_EXC_ERR. What gets lost while
 *    later packets get through is sometimes noticed at once.
 *  9 max_rd_atomic outstanding READs stall the send queue; more than the peer's max_dest_rd_atomic: REM_INV_REQ_ERR
 *    here, QP_REQ_ERR there.
 * 10 A CQ that overruns is dead: CQ_ERR, and with `overrun_aborts` (the default) it ends the test (rxe: completions
 *    are lost silently). Else its queue pairs go to ERR and polling it fails.
 * 11 Arming is one-shot; it does not fire for what is in the CQ already (rxe alike; some cards fire). An event with
 *    an empty CQ is allowed: `spurious_events` of a thousand armings fire at once.
 * 12 The SRQ limit is one-shot. Set above what is in the SRQ it fires at once or with the next receive, by the seed.
 * 13 Acknowledging more events than were taken aborts; destroying a CQ, SRQ or QP with events that were taken and not
 *    acknowledged aborts (libibverbs waits for ever). Destroying what is in use is EBUSY, also ibv_close_device().
 *    ist_hca_free() with anything left aborts.
 * 14 Sizes given back by creators are at least what was asked for, how much more is the seed's.
 */
#ifndef IST_SIM_HCA_HCA_H
#define IST_SIM_HCA_HCA_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

/* ---- the fabric: all devices of all hosts, one at a time in a process ---------------------------- */

struct ist_hca;
struct ist_hca_device;

struct ist_hca_config {
    uint64_t seed;
    uint64_t latency_ns; /* one way */
    uint64_t jitter_ns;  /* each packet is later by a part of this, one in 16 by up to 16 times this */
    uint64_t bytes_per_us;    /* of a port, sending; 0: no limit */
    uint32_t loss_ppm;        /* packets, also acknowledgements, that get lost, of a million */
    uint32_t routers;         /* between devices: a hop limit not above this loses everything (RoCE) */
    uint32_t spurious_events; /* rule 11 */
    bool overrun_aborts;      /* rule 10 */
    bool progress_in_calls;   /* see ist_hca_step() */
    /* Borrowed until ist_hca_free(). Its failures are ENOMEM of the call. */
    const struct ist_alloc *alloc;
    /* Each event as a line, for people; NULL: none. Same history, same lines. */
    void (*trace)(void *context, uint64_t now_ns, const char *line);
    void *trace_context;
};

/* 2 us, 1 us of jitter, 12,500 bytes a us (100 Gb/s), no loss, no routers, 20 spurious events, overruns abort, no
 * progress in calls, the system's allocator, no trace. */
void ist_hca_config_init(struct ist_hca_config *config, uint64_t seed);

/* The fabric is then what ibv_get_device_list() sees; without one that fails with ENOSYS. NULL: no memory. */
struct ist_hca *ist_hca_new(const struct ist_hca_config *config);
/* Aborts when anything made by an ibv_* call is left. NULL is legal. */
void ist_hca_free(struct ist_hca *hca);

/* Objects made by ibv_* calls and not destroyed, and events taken and not acknowledged. */
struct ist_hca_counts {
    uint32_t device_lists, contexts, pds, mrs, channels, cqs, srqs, qps, unacknowledged;
};
void ist_hca_counts(const struct ist_hca *hca, struct ist_hca_counts *counts);

/* A number made of all that has happened: equal for equal histories, whatever the compiler. */
uint64_t ist_hca_digest(const struct ist_hca *hca);

/* ---- time ---------------------------------------------------------------------------------------- */

uint64_t ist_hca_now_ns(const struct ist_hca *hca);
/* When the next event is due; UINT64_MAX: none, all is idle. */
uint64_t ist_hca_next_ns(const struct ist_hca *hca);
/* Lets the next event happen, and time with it. False: there is none.
 * With `progress_in_calls` each of poll_cq, req_notify_cq, post_send, get_cq_event and get_async_event also does a few
 * of these, and the descriptor of a completion channel with an armed CQ is readable while events are due, so that a
 * thread that waits for it comes and calls. ibv_get_cq_event() may then find nothing: EAGAIN. */
bool ist_hca_step(struct ist_hca *hca);
/* Steps until idle or `steps` were made; returns how many were. */
uint64_t ist_hca_run(struct ist_hca *hca, uint64_t steps);
/* All events until now + ns, and then that is now. */
void ist_hca_advance(struct ist_hca *hca, uint64_t ns);

/* ---- devices ------------------------------------------------------------------------------------- */

#define IST_HCA_PORTS_MAX 4
#define IST_HCA_GIDS_MAX 16

struct ist_hca_gid {
    union ibv_gid gid;
    enum ibv_gid_type type;
    /* Of the netdev; 0: none. Programs ask if_indextoname() for its name: 1 is "lo" in every network namespace; one
     * that this machine does not have looks like a netdev of another namespace. */
    uint32_t ifindex;
    uint32_t network; /* RoCE: GIDs of different networks do not reach each other */
};

struct ist_hca_port_config {
    enum ibv_port_state state;
    uint8_t link_layer; /* IBV_LINK_LAYER_ETHERNET or _INFINIBAND */
    enum ibv_mtu max_mtu, active_mtu;
    uint16_t lid;      /* InfiniBand */
    bool grh_required; /* InfiniBand: IBV_QPF_GRH_REQUIRED */
    uint32_t max_msg_bytes;
    uint32_t gids; /* length of the table; an all-zero gid is an empty entry */
    struct ist_hca_gid gid[IST_HCA_GIDS_MAX];
};

struct ist_hca_device_config {
    char name[IBV_SYSFS_NAME_MAX];
    uint8_t ports;
    struct ist_hca_port_config port[IST_HCA_PORTS_MAX]; /* [0] is port 1 */
    int comp_vectors;
    int max_qp, max_qp_wr, max_sge, max_cq, max_cqe, max_mr, max_pd;
    int max_qp_rd_atom;      /* as responder; 0: no READ */
    int max_qp_init_rd_atom; /* as requester */
    int max_srq, max_srq_wr, max_srq_sge;
    uint32_t max_inline;
    uint64_t max_mr_size;
    bool dmabuf; /* ibv_reg_dmabuf_mr() maps the descriptor; false: EOPNOTSUPP */
};

/* `number` 0..255, another for each device. One active port of MTU 4096. RoCE: GIDs fe80::<number+1> as v1 and as
 * v2, then 10.0.0.<number+1> as v1 and as v2, in this order, all of netdev 1. InfiniBand: LID number+1, the GID
 * fe80::<number+1>. Capabilities are those of a small card. */
void ist_hca_device_config_roce(struct ist_hca_device_config *config, const char *name, uint8_t number);
void ist_hca_device_config_ib(struct ist_hca_device_config *config, const char *name, uint8_t number);

/* Plugged in now; the fabric owns it until it ends. Also the ibv_device of ibv_get_device_list() is its. NULL: no
 * memory. */
struct ist_hca_device *ist_hca_add_device(struct ist_hca *hca,
                                          const struct ist_hca_device_config *config);
struct ist_hca_device *ist_hca_find_device(struct ist_hca *hca, const char *name);
/* A queue pair that somebody made: its faults are below, its CQ and SRQ are in it. NULL: no such number. */
struct ibv_qp *ist_hca_find_qp(struct ist_hca *hca, uint32_t number);

/* ---- faults: of the fabric and its devices ------------------------------------------------------- */

void ist_hca_set_loss(struct ist_hca *hca, uint32_t ppm);
/* The link goes or comes: every context gets PORT_ERR or PORT_ACTIVE, while down nothing passes. */
void ist_hca_set_link(struct ist_hca_device *device, uint8_t port, bool up);
/* The cable beyond the next switch: nothing passes, and nobody is told. */
void ist_hca_set_cut(struct ist_hca_device *device, uint8_t port, bool cut);
/* While held, nobody answers who has the peer's address: ibv_modify_qp() to RTR on a RoCE port waits, up to a second of
 * real time unless told otherwise, and fails with ETIMEDOUT then (Linux: rdma_addr_find_l2_eth_by_grh). Other threads'
 * calls go on. */
void ist_hca_hold_neighbours(struct ist_hca_device *device, bool hold);
void ist_hca_set_patience(struct ist_hca *hca, uint32_t ms);
/* While held, registrations with the device wait as the kernel's do, which pins each page; other threads' calls go on. */
void ist_hca_hold_registrations(struct ist_hca_device *device, bool hold);
/* Calls that wait for either of these now. */
uint32_t ist_hca_waiting(const struct ist_hca *hca);
/* Another GID at this place, at once, with GID_CHANGE; queue pairs that use the old one lose their packets. */
void ist_hca_set_gid(struct ist_hca_device *device, uint8_t port, uint32_t index,
                     const struct ist_hca_gid *gid);
/* The port's active MTU from now on, and nobody is told (rxe alike, when its network device gets another). */
void ist_hca_set_mtu(struct ist_hca_device *device, uint8_t port, enum ibv_mtu mtu);
/* The subnet manager gives an InfiniBand port another LID, at once, with LID_CHANGE; whoever knows the old one is not heard
 * any more. */
void ist_hca_set_lid(struct ist_hca_device *device, uint8_t port, uint16_t lid);
/* Removed, or broken: DEVICE_FATAL for every context; it leaves the list; whatever makes or modifies fails with EIO;
 * its queue pairs are flushed, or fall silent, by the seed; nothing passes any more. Destroying works. */
void ist_hca_device_fatal(struct ist_hca_device *device);
/* The process that opened it dies: its memory is unreachable, its queue pairs answer nobody and complete nothing,
 * what is still posted or modified on them does nothing. The objects are still to be destroyed, by the code that
 * plays that process. */
void ist_hca_kill(struct ibv_context *context);

/* ---- faults: of one queue pair ------------------------------------------------------------------- */

void ist_hca_drop(struct ibv_qp *qp, uint32_t packets); /* its next so many get lost; UINT32_MAX: all */
void ist_hca_delay(struct ibv_qp *qp, uint64_t ns);     /* nothing of it moves before now + ns */
void ist_hca_not_ready(struct ibv_qp *qp, uint32_t times); /* as a receiver, so many times more */
/* Its next request to execute fails with this status, for a reason of the device's own. */
void ist_hca_fail_request(struct ibv_qp *qp, enum ibv_wc_status status);
/* To ERR, with QP_FATAL. */
void ist_hca_qp_fatal(struct ibv_qp *qp);
/* CQ_ERR: the CQ is dead, its queue pairs go to ERR. Does not abort. */
void ist_hca_cq_fatal(struct ibv_cq *cq);

/* ---- faults: calls that fail --------------------------------------------------------------------- */

enum ist_hca_call {
    IST_HCA_CALL_LIST = 1 << 0,     /* ibv_get_device_list: ENOMEM */
    IST_HCA_CALL_OPEN = 1 << 1,     /* ibv_open_device: ENOMEM */
    IST_HCA_CALL_QUERY = 1 << 2,    /* ibv_query_*: EIO */
    IST_HCA_CALL_CREATE = 1 << 3,   /* ibv_alloc_pd, ibv_create_*: ENOMEM */
    IST_HCA_CALL_REGISTER = 1 << 4, /* ibv_reg_*: ENOMEM */
    IST_HCA_CALL_MODIFY = 1 << 5,   /* ibv_modify_*: EIO */
    IST_HCA_CALL_SEND = 1 << 6,     /* ibv_post_send: ENOMEM with bad_wr at the first request */
    IST_HCA_CALL_ARM = 1 << 7,      /* ibv_req_notify_cq: EIO */
    IST_HCA_CALL_POLL = 1 << 8,     /* ibv_poll_cq: -EIO */
    IST_HCA_CALL_EVENT = 1 << 9,    /* ibv_get_*_event: EIO; the event is still there */
    IST_HCA_CALL_DESTROY = 1 << 10, /* ibv_destroy_* and the like: EIO, but gone it is */
    IST_HCA_CALL_RECEIVE = 1 << 11, /* ibv_post_recv, ibv_post_srq_recv: as ibv_post_send */
    IST_HCA_CALL_POST = IST_HCA_CALL_SEND | IST_HCA_CALL_RECEIVE,
    IST_HCA_CALL_ALL = (1 << 12) - 1
};

/* Of the calls of these kinds from now on (1-based) the nth fails; 0: none. Counts anew. */
void ist_hca_fail_nth(struct ist_hca *hca, unsigned calls, uint64_t nth);
/* The same, and all after it: a device that has broken, nth at least 1. */
void ist_hca_fail_from(struct ist_hca *hca, unsigned calls, uint64_t nth);
/* As ist_hca_fail_nth(), of one process's calls: of POST, ARM and POLL alone. */
void ist_hca_fail_nth_of(struct ibv_context *context, unsigned calls, uint64_t nth);
/* Calls counted since then. */
uint64_t ist_hca_calls(const struct ist_hca *hca);
/* The function that was made to fail, NULL: none yet. */
const char *ist_hca_failed(const struct ist_hca *hca);

#endif

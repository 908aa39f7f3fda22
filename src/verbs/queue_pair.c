#include "verbs/queue_pair.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include <infiniband/verbs.h>

#include "base/assert.h"

/* 4.096 us * 2^16 = 268 ms without an acknowledgement, 7 times: a dead host is noticed in about two seconds, a dead process
 * by its TCP connection. A quarter of that was too short: 64 clients on a busy machine's soft-RoCE waited longer. A retry
 * count of 7 would mean for ever on rxe. */
#define TIMEOUT_EXPONENT 16
#define RETRIES 6
/* Credits rule out that a message finds no buffer, but for those without bytes, which come seldom: for ever. */
#define RNR_RETRIES 7
#define RNR_TIMER 12 /* 0.64 ms */
#define HOP_LIMIT 64
#define UINT24_MAX 0xffffffu
#define UNICAST_LID_MAX 0xbfffu /* IBTA 4.1.3 */
#define SUBNET_BYTES 8u
/* Messages that have left and are not acknowledged, at most; also by the peer's credits. */
#define SLOTS_MAX 4u

enum state { NEW, READY, BROKEN };

struct ist_queue_pair {
    struct ist_queue_pair_config config;
    struct ist_completion *completion;
    const struct ist_alloc *alloc;
    struct ibv_qp *qp;
    enum state state;
    struct ist_gid_entry gid;
    struct ist_device_port port; /* as it was when this was made, and as the peer hears of it */
    uint32_t depth;              /* requests at a time */
    uint64_t added, posted;      /* running counts */
    uint64_t retired;
    bool *is_work;                /* by number modulo depth */
    struct ibv_send_wr *requests; /* the same: the chain lies in [posted, added) */
    struct ibv_sge *pieces;       /* the same, IST_ONE_SIDED_PIECES_MAX for each */
    uint8_t *slots;               /* messages that are leaving */
    struct ist_region region;
    uint32_t slot_bytes, slots_count;
    uint64_t slots_taken, slots_free; /* running counts: slots are used in turn */
    uint32_t credits, owed;
    uint32_t inline_bytes, peer_message_bytes;
};

static const struct ist_completion_config *shape(const struct ist_queue_pair *queue_pair) {
    return ist_completion_config(queue_pair->completion);
}

static enum ist_status failed(const struct ist_queue_pair *queue_pair, const char *what, int error) {
    const struct ist_completion_config *config = shape(queue_pair);
    ist_log_error(config->log, queue_pair->config.session, "%s: %s: %s",
                  ist_device_name(config->device), what, strerror(error));
    return IST_DEVICE;
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* ---- making ----------------------------------------------------------------------------------------- */

static enum ist_status make_arrays(struct ist_queue_pair *queue_pair) {
    const struct ist_completion_config *config = shape(queue_pair);
    size_t depth = queue_pair->depth;
    queue_pair->is_work = ist_allocate_zeroed(queue_pair->alloc, depth, sizeof(bool));
    queue_pair->requests = ist_allocate_zeroed(queue_pair->alloc, depth, sizeof(*queue_pair->requests));
    queue_pair->pieces = ist_allocate_zeroed(queue_pair->alloc, depth * IST_ONE_SIDED_PIECES_MAX,
                                             sizeof(*queue_pair->pieces));
    queue_pair->slots_count = smaller(SLOTS_MAX, queue_pair->depth);
    queue_pair->slot_bytes = config->message_bytes;
    size_t bytes = (size_t)queue_pair->slots_count * queue_pair->slot_bytes;
    queue_pair->slots = ist_allocate(queue_pair->alloc, bytes);
    if (queue_pair->is_work == NULL || queue_pair->requests == NULL || queue_pair->pieces == NULL ||
        queue_pair->slots == NULL) {
        return IST_NO_MEMORY;
    }
    return ist_completion_register(queue_pair->completion, queue_pair->slots, bytes,
                                   &queue_pair->region);
}

static enum ist_status make_qp(struct ist_queue_pair *queue_pair) {
    const struct ist_completion_config *config = shape(queue_pair);
    struct ibv_qp_init_attr attributes = {
        .send_cq = ist_completion_queue(queue_pair->completion),
        .recv_cq = ist_completion_queue(queue_pair->completion),
        .srq = ist_completion_receive_queue(queue_pair->completion),
        .cap = {.max_send_wr = queue_pair->depth,
                .max_send_sge =
                    smaller(IST_ONE_SIDED_PIECES_MAX, ist_device_limits(config->device)->sge),
                .max_inline_data = 256},
        .qp_type = IBV_QPT_RC,
    };
    queue_pair->qp = ibv_create_qp(ist_device_domain(config->device), &attributes);
    if (queue_pair->qp == NULL) {
        attributes.cap.max_inline_data = 0; /* not every device has room for it */
        queue_pair->qp = ibv_create_qp(ist_device_domain(config->device), &attributes);
    }
    if (queue_pair->qp == NULL) {
        return failed(queue_pair, "no queue pair", errno);
    }
    queue_pair->inline_bytes = attributes.cap.max_inline_data;
    ist_completion_add(queue_pair->completion, queue_pair->qp->qp_num, queue_pair);
    unsigned remote = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
    struct ibv_qp_attr init = {.qp_state = IBV_QPS_INIT,
                               .port_num = (uint8_t)ist_device_port(config->device),
                               .qp_access_flags = queue_pair->config.remote_access ? remote : 0};
    int error = ibv_modify_qp(queue_pair->qp, &init,
                              IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
    return error == 0 ? IST_OK : failed(queue_pair, "a queue pair cannot be initialised", error);
}

static enum ist_status make(const struct ist_queue_pair_config *config,
                            struct ist_queue_pair **queue_pair) {
    const struct ist_completion_config *shared = ist_completion_config(config->completion);
    enum ist_status status = ist_completion_enter(config->completion);
    if (status != IST_OK) {
        return status;
    }
    struct ist_queue_pair *new = ist_allocate_zeroed(shared->alloc, 1, sizeof(*new));
    if (new == NULL) {
        ist_completion_leave(config->completion);
        return IST_NO_MEMORY;
    }
    new->config = *config;
    new->config.peer = NULL;
    new->completion = config->completion;
    new->alloc = shared->alloc;
    new->depth = smaller(shared->send_wr, ist_device_limits(shared->device)->queue_pair_wr);
    status = ist_device_ask_port(shared->device, &new->port);
    status = status == IST_OK ? ist_device_gid(shared->device, config->peer, &new->gid) : status;
    status = status == IST_OK ? make_arrays(new) : status;
    status = status == IST_OK ? make_qp(new) : status;
    if (status != IST_OK) {
        ist_queue_pair_free(new);
        return status;
    }
    *queue_pair = new;
    return IST_OK;
}

enum ist_status ist_queue_pair_new(const struct ist_queue_pair_config *config,
                                   struct ist_queue_pair **queue_pair) {
    enum ist_status status = make(config, queue_pair);
    if (status == IST_NO_MEMORY) {
        const struct ist_completion_config *shared = ist_completion_config(config->completion);
        ist_log_warning(shared->log, config->session, "%s: no memory for a queue pair (see ulimit -l)",
                        ist_device_name(shared->device));
    }
    return status;
}

void ist_queue_pair_free(struct ist_queue_pair *queue_pair) {
    if (queue_pair == NULL) {
        return;
    }
    if (queue_pair->qp != NULL) {
        ist_completion_remove(queue_pair->completion, queue_pair->qp->qp_num);
        /* Fails when the device is gone, and the queue pair with it. */
        (void)ibv_destroy_qp(queue_pair->qp);
    }
    ist_region_drop(&queue_pair->region);
    ist_release(queue_pair->alloc, queue_pair->is_work);
    ist_release(queue_pair->alloc, queue_pair->requests);
    ist_release(queue_pair->alloc, queue_pair->pieces);
    ist_release(queue_pair->alloc, queue_pair->slots);
    ist_completion_leave(queue_pair->completion);
    ist_release(queue_pair->alloc, queue_pair);
}

void *ist_queue_pair_user(const struct ist_queue_pair *queue_pair) {
    return queue_pair->config.user;
}

void ist_queue_pair_end(const struct ist_queue_pair *queue_pair, struct ist_queue_pair_end *end) {
    const struct ist_completion_config *config = shape(queue_pair);
    const struct ist_device_limits *limits = ist_device_limits(config->device);
    *end = (struct ist_queue_pair_end){
        .number = queue_pair->qp->qp_num,
        .packet_number = queue_pair->config.packet_number & UINT24_MAX,
        .lid = queue_pair->port.lid,
        .mtu_bytes = queue_pair->port.mtu_bytes,
        .reads = smaller(limits->reads_in, UINT8_MAX),
        .messages = config->messages,
        .message_bytes = config->message_bytes,
    };
    memcpy(end->gid, queue_pair->gid.gid, IST_GID_LENGTH);
}

/* ---- connecting ------------------------------------------------------------------------------------- */

static enum ibv_mtu mtu_of(uint32_t bytes) {
    unsigned mtu = IBV_MTU_256;
    while (mtu < IBV_MTU_4096 && (256u << mtu) <= bytes) {
        mtu++;
    }
    return (enum ibv_mtu)mtu;
}

static bool has_gid(const struct ist_queue_pair_end *end) {
    static const uint8_t nowhere[IST_GID_LENGTH];
    return memcmp(end->gid, nowhere, IST_GID_LENGTH) != 0;
}

/* Does a packet need the global route header? On RoCE it is the IP header; on InfiniBand it is for other subnets
 * (IBTA 4.1.1: the first half of a GID is the subnet's prefix) and for ports that insist on it. */
static bool needs_grh(const struct ist_queue_pair *queue_pair, const struct ist_queue_pair_end *peer) {
    const struct ist_device *device = shape(queue_pair)->device;
    return !ist_device_is_infiniband(device) || queue_pair->port.requires_grh ||
           (has_gid(peer) && memcmp(peer->gid, queue_pair->gid.gid, SUBNET_BYTES) != 0);
}

static void address_of(const struct ist_queue_pair *queue_pair, const struct ist_queue_pair_end *peer,
                       struct ibv_ah_attr *address) {
    const struct ist_device *device = shape(queue_pair)->device;
    *address = (struct ibv_ah_attr){.dlid = peer->lid, .port_num = (uint8_t)ist_device_port(device)};
    if (needs_grh(queue_pair, peer)) {
        address->is_global = 1;
        address->grh.sgid_index = (uint8_t)queue_pair->gid.index;
        address->grh.hop_limit = HOP_LIMIT;
        memcpy(address->grh.dgid.raw, peer->gid, IST_GID_LENGTH);
    }
}

static int to_receive(const struct ist_queue_pair *queue_pair, const struct ist_queue_pair_end *peer) {
    const struct ist_device_limits *limits = ist_device_limits(shape(queue_pair)->device);
    struct ibv_qp_attr attributes = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = mtu_of(smaller(peer->mtu_bytes, queue_pair->port.mtu_bytes)),
        .dest_qp_num = peer->number,
        .rq_psn = peer->packet_number,
        .max_dest_rd_atomic = (uint8_t)smaller(limits->reads_in, UINT8_MAX),
        .min_rnr_timer = RNR_TIMER,
    };
    address_of(queue_pair, peer, &attributes.ah_attr);
    return ibv_modify_qp(queue_pair->qp, &attributes,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                             IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

static int to_send(const struct ist_queue_pair *queue_pair, const struct ist_queue_pair_end *peer) {
    const struct ist_device_limits *limits = ist_device_limits(shape(queue_pair)->device);
    struct ibv_qp_attr attributes = {
        .qp_state = IBV_QPS_RTS,
        .timeout = TIMEOUT_EXPONENT,
        .retry_cnt = RETRIES,
        .rnr_retry = RNR_RETRIES,
        .sq_psn = queue_pair->config.packet_number & UINT24_MAX,
        .max_rd_atomic = (uint8_t)smaller(smaller(peer->reads, limits->reads_out), UINT8_MAX),
    };
    return ibv_modify_qp(queue_pair->qp, &attributes,
                         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                             IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

bool ist_queue_pair_end_is_valid(const struct ist_device *device,
                                 const struct ist_queue_pair_end *end) {
    bool is_infiniband = ist_device_is_infiniband(device);
    bool has_address = is_infiniband ? end->lid >= 1 && end->lid <= UNICAST_LID_MAX &&
                                           (has_gid(end) || !ist_device_requires_grh(device))
                                     : has_gid(end);
    return end->number <= UINT24_MAX && end->packet_number <= UINT24_MAX &&
           end->mtu_bytes >= IST_QUEUE_PAIR_MTU_MIN && end->reads >= 1 && end->messages >= 1 &&
           end->message_bytes >= IST_QUEUE_PAIR_MESSAGE_BYTES_MIN && has_address;
}

enum ist_status ist_queue_pair_reach(const struct ist_queue_pair *queue_pair,
                                     const struct ist_queue_pair_end *peer) {
    if (!ist_queue_pair_end_is_valid(shape(queue_pair)->device, peer) ||
        (queue_pair->port.requires_grh && !has_gid(peer))) {
        return IST_INVALID;
    }
    int error = to_receive(queue_pair, peer);
    if (error == 0) {
        error = to_send(queue_pair, peer);
    }
    if (error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH) {
        ist_log_warning(shape(queue_pair)->log, queue_pair->config.session,
                        "%s: the peer cannot be reached: %s",
                        ist_device_name(shape(queue_pair)->device), strerror(error));
        return IST_PEER;
    }
    return error == 0 ? IST_OK : failed(queue_pair, "a queue pair cannot be connected", error);
}

void ist_queue_pair_reached(struct ist_queue_pair *queue_pair, const struct ist_queue_pair_end *peer) {
    IST_ASSERT(queue_pair->state == NEW);
    queue_pair->state = READY;
    queue_pair->credits = peer->messages;
    queue_pair->peer_message_bytes = smaller(peer->message_bytes, queue_pair->slot_bytes);
}

enum ist_status ist_queue_pair_connect(struct ist_queue_pair *queue_pair,
                                       const struct ist_queue_pair_end *peer) {
    IST_ASSERT(queue_pair->state == NEW);
    enum ist_status status = ist_queue_pair_reach(queue_pair, peer);
    if (status == IST_OK) {
        ist_queue_pair_reached(queue_pair, peer);
    } else if (status != IST_INVALID) {
        ist_queue_pair_break(queue_pair);
    }
    return status;
}

/* ---- requests --------------------------------------------------------------------------------------- */

uint32_t ist_queue_pair_outstanding(const struct ist_queue_pair *queue_pair) {
    return (uint32_t)(queue_pair->posted - queue_pair->retired);
}

uint32_t ist_queue_pair_room(const struct ist_queue_pair *queue_pair) {
    return queue_pair->state == READY
               ? queue_pair->depth - (uint32_t)(queue_pair->added - queue_pair->retired)
               : 0;
}

uint32_t ist_queue_pair_message_room(const struct ist_queue_pair *queue_pair) {
    bool possible = ist_queue_pair_room(queue_pair) > 0 && queue_pair->credits > 0 &&
                    queue_pair->slots_taken - queue_pair->slots_free < queue_pair->slots_count;
    return possible ? queue_pair->peer_message_bytes : 0;
}

static struct ibv_send_wr *next_request(struct ist_queue_pair *queue_pair, bool is_work) {
    IST_ASSERT(ist_queue_pair_room(queue_pair) > 0);
    size_t at = queue_pair->added++ % queue_pair->depth;
    struct ibv_send_wr *request = &queue_pair->requests[at];
    *request = (struct ibv_send_wr){.wr_id = queue_pair->added};
    queue_pair->is_work[at] = is_work;
    return request;
}

static void set_pieces(struct ist_queue_pair *queue_pair, struct ibv_send_wr *request,
                       const struct ist_piece *pieces, uint32_t count) {
    size_t at = (request->wr_id - 1) % queue_pair->depth;
    request->sg_list = &queue_pair->pieces[at * IST_ONE_SIDED_PIECES_MAX];
    request->num_sge = (int)count;
    for (uint32_t i = 0; i < count; i++) {
        request->sg_list[i] = (struct ibv_sge){
            .addr = pieces[i].address, .length = pieces[i].bytes, .lkey = pieces[i].lkey};
    }
}

void ist_queue_pair_add_work(struct ist_queue_pair *queue_pair, const struct ist_one_sided *work) {
    struct ibv_send_wr *request = next_request(queue_pair, true);
    request->opcode = work->read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
    request->wr.rdma.remote_addr = work->remote_address;
    request->wr.rdma.rkey = work->rkey;
    set_pieces(queue_pair, request, work->pieces, work->piece_count);
}

uint8_t *ist_queue_pair_message(struct ist_queue_pair *queue_pair) {
    IST_ASSERT(ist_queue_pair_message_room(queue_pair) > 0);
    return queue_pair->slots +
           queue_pair->slots_taken % queue_pair->slots_count * (size_t)queue_pair->slot_bytes;
}

static struct ibv_send_wr *add_send(struct ist_queue_pair *queue_pair) {
    struct ibv_send_wr *request = next_request(queue_pair, false);
    request->opcode = IBV_WR_SEND_WITH_IMM;
    request->imm_data = htobe32(queue_pair->owed);
    queue_pair->owed = 0;
    return request;
}

void ist_queue_pair_add_message(struct ist_queue_pair *queue_pair, uint32_t bytes) {
    IST_ASSERT(bytes >= 1 && bytes <= ist_queue_pair_message_room(queue_pair));
    const uint8_t *from = ist_queue_pair_message(queue_pair);
    struct ibv_send_wr *request = add_send(queue_pair);
    const struct ist_piece piece = {(uintptr_t)from, bytes, queue_pair->region.lkey};
    set_pieces(queue_pair, request, &piece, 1);
    request->send_flags = IBV_SEND_SOLICITED; /* it may wake a peer that sleeps for messages only */
    if (bytes <= queue_pair->inline_bytes) {
        request->send_flags |= IBV_SEND_INLINE;
    }
    queue_pair->slots_taken++;
    queue_pair->credits--;
}

/* Nothing carries what is owed, and the peer may be waiting for it. */
static void add_credits(struct ist_queue_pair *queue_pair) {
    uint32_t many = shape(queue_pair)->messages / 2;
    if (queue_pair->owed > 0 && queue_pair->owed >= many && ist_queue_pair_room(queue_pair) > 0) {
        (void)add_send(queue_pair);
    }
}

/* Strings the chain together: [posted, added), at most depth. */
static struct ibv_send_wr *make_chain(struct ist_queue_pair *queue_pair) {
    struct ibv_send_wr *first = &queue_pair->requests[queue_pair->posted % queue_pair->depth];
    struct ibv_send_wr *last = first;
    for (uint64_t i = queue_pair->posted + 1; i < queue_pair->added; i++) {
        last->next = &queue_pair->requests[i % queue_pair->depth];
        last = last->next;
    }
    last->next = NULL;
    last->send_flags |= IBV_SEND_SIGNALED;
    return first;
}

enum ist_status ist_queue_pair_flush(struct ist_queue_pair *queue_pair) {
    if (queue_pair->state != READY) {
        return IST_DEVICE;
    }
    add_credits(queue_pair);
    if (queue_pair->added == queue_pair->posted) {
        return IST_OK;
    }
    struct ibv_send_wr *refused = NULL;
    int error = ibv_post_send(queue_pair->qp, make_chain(queue_pair), &refused);
    if (error != 0) {
        /* What stands before it was posted, and comes out as failed. */
        queue_pair->posted = refused != NULL ? refused->wr_id - 1 : queue_pair->posted;
        ist_queue_pair_break(queue_pair);
        return failed(queue_pair, "requests cannot be posted", error);
    }
    queue_pair->posted = queue_pair->added;
    return IST_OK;
}

/* ---- what came of them ------------------------------------------------------------------------------ */

uint64_t ist_queue_pair_retire(struct ist_queue_pair *queue_pair, uint64_t count) {
    uint64_t work = 0;
    if (count > queue_pair->posted) {
        ist_queue_pair_break(queue_pair); /* of a dead one that had this number before */
        return 0;
    }
    for (; queue_pair->retired < count; queue_pair->retired++) {
        size_t at = queue_pair->retired % queue_pair->depth;
        work += queue_pair->is_work[at];
        queue_pair->slots_free += !queue_pair->is_work[at] && queue_pair->requests[at].num_sge > 0;
    }
    return work;
}

bool ist_queue_pair_received(struct ist_queue_pair *queue_pair,
                             const struct ist_completion_event *event) {
    uint64_t credits = (uint64_t)queue_pair->credits + event->immediate;
    queue_pair->credits = credits > UINT32_MAX ? UINT32_MAX : (uint32_t)credits;
    return event->bytes > 0;
}

void ist_queue_pair_owe_credit(struct ist_queue_pair *queue_pair) {
    queue_pair->owed++;
}

void ist_queue_pair_break(struct ist_queue_pair *queue_pair) {
    if (queue_pair->state != BROKEN) {
        struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
        queue_pair->state = BROKEN;
        (void)ibv_modify_qp(queue_pair->qp, &attributes, IBV_QP_STATE);
    }
}

bool ist_queue_pair_is_ready(const struct ist_queue_pair *queue_pair) {
    return queue_pair->state == READY;
}

/* Two devices on the software HCA's fabric and a connected queue pair on each: what its tests start from. */
#ifndef IST_TESTS_HCA_PAIR_H
#define IST_TESTS_HCA_PAIR_H

#include "tests/support.h"

#include <stdbool.h>

#include "sim/hca/hca.h"

#define PAIR_BUFFER_BYTES (64u << 10)

struct pair_options {
    struct ist_hca_config config;
    struct ist_hca_device_config device[2];
    struct ibv_qp_cap cap;
    uint32_t cqe;
    bool srq;
    int all_signalled;
    unsigned access;    /* of buffers */
    unsigned qp_access; /* of queue pairs */
    enum ibv_mtu mtu;
    uint8_t max_rd_atomic, max_dest_rd_atomic;
    uint8_t timeout, retry_cnt, rnr_retry, min_rnr_timer;
    uint8_t gid_index;
    uint8_t hop_limit;
};

/* RoCE, MTU 1024, 16 work requests each way, everything allowed, no spurious events. */
void pair_options_init(struct pair_options *options, uint64_t seed);

struct pair_side {
    struct ist_hca_device *device;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *send_cq, *recv_cq;
    struct ibv_srq *srq;
    struct ibv_qp *qp;
    uint8_t *buffer;
    struct ibv_mr *mr;
};

struct pair {
    struct pair_options options;
    struct ist_hca *hca;
    struct pair_side side[2]; /* tests post on [0], the peer is [1] */
};

/* Everything up to RTS. */
void pair_init(struct pair *pair, const struct pair_options *options);
void pair_init_seed(struct pair *pair, uint64_t seed);
/* Destroys everything that is not NULL; what is left aborts. Asynchronous events are taken and acknowledged. */
void pair_fini(struct pair *pair);

/* The steps that pair_init() consists of. */
void pair_init_devices(struct pair *pair, const struct pair_options *options);
void pair_open(struct pair *pair, struct pair_side *side);
void pair_make_qp(struct pair *pair, struct pair_side *side);
void pair_destroy_qp(struct pair_side *side);
int pair_to_init(struct pair *pair, struct pair_side *side);
int pair_to_rtr(struct pair *pair, struct pair_side *side, const struct pair_side *peer);
int pair_to_rts(struct pair *pair, struct pair_side *side);
/* What pair_to_...() hand to ibv_modify_qp(). */
struct ibv_qp_attr pair_rtr_attr(const struct pair *pair, const struct pair_side *peer);
struct ibv_qp_attr pair_rts_attr(const struct pair *pair);
#define PAIR_INIT_MASK (IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS)
#define PAIR_RTR_MASK                                                                                  \
    (IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |                    \
     IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER)
#define PAIR_RTS_MASK                                                                                  \
    (IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |             \
     IBV_QP_MAX_QP_RD_ATOMIC)

/* Of the buffer of `side`; a READ or WRITE is to or from the same offset of the peer's buffer. */
struct pair_work {
    enum ibv_wr_opcode opcode;
    uint64_t id;
    uint32_t offset, bytes;
    unsigned flags; /* enum ibv_send_flags */
    uint32_t immediate;
    uint32_t lkey, rkey; /* 0: the right one */
};
int pair_try_post(struct pair *pair, int side, struct pair_work work);
void pair_post(struct pair *pair, int side, struct pair_work work);
/* To the SRQ when there is one. */
int pair_try_receive(struct pair *pair, int side, uint64_t id, uint32_t offset, uint32_t bytes);
void pair_receive(struct pair *pair, int side, uint64_t id, uint32_t offset, uint32_t bytes);

void pair_fill(struct pair *pair, int side, uint8_t byte);
/* True when all of the buffer's bytes [offset, offset + bytes) are `byte`. */
bool pair_holds(const struct pair *pair, int side, uint32_t offset, uint32_t bytes, uint8_t byte);

/* Steps until idle. */
void pair_run(struct pair *pair);
/* Steps until idle, then exactly one completion, of this kind. */
struct ibv_wc pair_expect(struct pair *pair, struct ibv_cq *cq, uint64_t id, enum ibv_wc_status status);
/* Steps until idle; no completion there. */
void pair_expect_none(struct pair *pair, struct ibv_cq *cq);
/* Takes and acknowledges the next asynchronous event, which must be this one. */
void pair_expect_event(struct pair *pair, int side, enum ibv_event_type type);
void pair_expect_no_event(struct pair *pair, int side);

enum ibv_qp_state pair_state(struct ibv_qp *qp);

/* `wrong` prints a line that contains `message` and aborts, in a child, which shares the descriptors: it must
 * neither take events nor change their flags. */
void assert_violation(void (*wrong)(struct pair *pair), struct pair *pair, const char *message);

#endif

/* ibv_modify_qp(): the transitions of a queue pair and what each needs. */
#include "sim/hca/objects.h"

#define PSN_MAX 0xffffffu

/* man modify_qp for what is required; the kernel's qp_state_table (drivers/infiniband/core/verbs.c) for what is
 * optional. IBV_QP_STATE itself is required everywhere but from a state to itself. */
static const struct transition {
    enum ibv_qp_state from, to;
    int required, optional;
} transitions[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, 0},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS},
    {IBV_QPS_INIT, IBV_QPS_RTR,
     IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
         IBV_QP_MIN_RNR_TIMER,
     IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX},
    {IBV_QPS_RTR, IBV_QPS_RTS,
     IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
     IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0, IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER},
};

/* NULL: there is no such transition. */
static const struct transition *find(enum ibv_qp_state from, enum ibv_qp_state to) {
    for (size_t i = 0; i < sizeof(transitions) / sizeof(transitions[0]); i++) {
        if (transitions[i].from == from && transitions[i].to == to) {
            return &transitions[i];
        }
    }
    return NULL;
}

static bool mask_is_valid(enum ibv_qp_state from, enum ibv_qp_state to, int mask) {
    int rest = mask & ~IBV_QP_STATE;
    if (to == IBV_QPS_RESET || to == IBV_QPS_ERR) {
        return (rest & ~IBV_QP_CUR_STATE) == 0 && (to == IBV_QPS_RESET || from != IBV_QPS_RESET);
    }
    const struct transition *transition = find(from, to);
    return transition != NULL && (rest & transition->required) == transition->required &&
           (rest & ~(transition->required | transition->optional)) == 0;
}

/* IBTA 10.2, and man modify_qp: a GRH where the port requires one; RoCE has no other address. */
static bool address_is_valid(struct hca_qp *qp, const struct ibv_ah_attr *address,
                             uint8_t port_number) {
    const struct hca_port *port = hca_port(qp->device, port_number);
    const struct ist_hca_port_config *config = &port->config;
    bool roce = config->link_layer == IBV_LINK_LAYER_ETHERNET;
    if (address->port_num != port_number || ((roce || config->grh_required) && !address->is_global)) {
        return false;
    }
    if (address->is_global && (address->grh.sgid_index >= config->gids ||
                               hca_gid_is_empty(&config->gid[address->grh.sgid_index].gid) ||
                               hca_gid_is_empty(&address->grh.dgid))) {
        return false;
    }
    return roce || address->dlid != 0;
}

static bool address_part_is_valid(struct hca_qp *qp, const struct ibv_qp_attr *attr, int mask) {
    uint8_t port = (mask & IBV_QP_PORT) != 0 ? attr->port_num : qp->attr.port_num;
    if ((mask & IBV_QP_PORT) != 0 && hca_port(qp->device, attr->port_num) == NULL) {
        return false;
    }
    if ((mask & IBV_QP_PKEY_INDEX) != 0 && attr->pkey_index != 0) {
        return false;
    }
    if ((mask & IBV_QP_AV) != 0 && !address_is_valid(qp, &attr->ah_attr, port)) {
        return false;
    }
    return (mask & IBV_QP_PATH_MTU) == 0 ||
           (attr->path_mtu >= IBV_MTU_256 &&
            attr->path_mtu <= hca_port(qp->device, port)->config.active_mtu);
}

static bool numbers_are_valid(const struct hca_qp *qp, const struct ibv_qp_attr *attr, int mask) {
    const struct ist_hca_device_config *config = &qp->device->config;
    const struct {
        int bit;
        uint32_t value, most;
    } numbers[] = {
        {IBV_QP_DEST_QPN, attr->dest_qp_num, 0xffffff},
        {IBV_QP_RQ_PSN, attr->rq_psn, PSN_MAX},
        {IBV_QP_SQ_PSN, attr->sq_psn, PSN_MAX},
        {IBV_QP_MAX_DEST_RD_ATOMIC, attr->max_dest_rd_atomic, (uint32_t)config->max_qp_rd_atom},
        {IBV_QP_MAX_QP_RD_ATOMIC, attr->max_rd_atomic, (uint32_t)config->max_qp_init_rd_atom},
        {IBV_QP_MIN_RNR_TIMER, attr->min_rnr_timer, 31},
        {IBV_QP_TIMEOUT, attr->timeout, 31},
        {IBV_QP_RETRY_CNT, attr->retry_cnt, 7},
        {IBV_QP_RNR_RETRY, attr->rnr_retry, 7},
        {IBV_QP_ACCESS_FLAGS,
         attr->qp_access_flags &
             ~(unsigned)(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE),
         0},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if ((mask & numbers[i].bit) != 0 && numbers[i].value > numbers[i].most) {
            return false;
        }
    }
    return (mask & IBV_QP_CUR_STATE) == 0 || attr->cur_qp_state == qp->state;
}

static void store(struct ibv_qp_attr *to, const struct ibv_qp_attr *from, int mask) {
#define STORE(bit, field)                                                                              \
    if ((mask & (bit)) != 0) {                                                                         \
        to->field = from->field;                                                                       \
    }
    STORE(IBV_QP_ACCESS_FLAGS, qp_access_flags)
    STORE(IBV_QP_PKEY_INDEX, pkey_index)
    STORE(IBV_QP_PORT, port_num)
    STORE(IBV_QP_AV, ah_attr)
    STORE(IBV_QP_PATH_MTU, path_mtu)
    STORE(IBV_QP_DEST_QPN, dest_qp_num)
    STORE(IBV_QP_RQ_PSN, rq_psn)
    STORE(IBV_QP_SQ_PSN, sq_psn)
    STORE(IBV_QP_MAX_DEST_RD_ATOMIC, max_dest_rd_atomic)
    STORE(IBV_QP_MAX_QP_RD_ATOMIC, max_rd_atomic)
    STORE(IBV_QP_MIN_RNR_TIMER, min_rnr_timer)
    STORE(IBV_QP_TIMEOUT, timeout)
    STORE(IBV_QP_RETRY_CNT, retry_cnt)
    STORE(IBV_QP_RNR_RETRY, rnr_retry)
#undef STORE
}

/* Nothing posted, nothing outstanding, nothing known. */
static void reset(struct hca_qp *qp) {
    hca_qp_stop(qp);
    hca_forget_completions(qp);
    if (qp->qp.srq != NULL) {
        hca_srq(qp->qp.srq)->queue.held -= qp->has_receive;
    }
    qp->has_receive = false;
    hca_receive_queue_clear(&qp->queue);
    qp->posted = qp->executed = qp->completed = qp->freed = qp->reading = 0;
    qp->not_ready = 0;
    qp->communicating = qp->last_reached = false;
    qp->attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RESET};
}

static void enter_state(struct hca_qp *qp, enum ibv_qp_state state) {
    switch (state) {
    case IBV_QPS_RESET: reset(qp); break;
    case IBV_QPS_INIT: break;
    case IBV_QPS_RTR: qp->receive_psn = qp->attr.rq_psn; break;
    case IBV_QPS_RTS:
        if (qp->state == IBV_QPS_RTR) {
            qp->send_psn = qp->attr.sq_psn;
        }
        break;
    case IBV_QPS_ERR: hca_qp_error(qp); break;
    case IBV_QPS_SQD:
    case IBV_QPS_SQE:
    case IBV_QPS_UNKNOWN: break; /* no transition leads there */
    }
    qp->state = state;
    qp->qp.state = state;
}

/* There the kernel asks the network who has the peer's address. */
static bool is_on_ethernet(const struct hca_qp *qp) {
    const struct hca_port *port = hca_port(qp->device, qp->attr.port_num);
    return port != NULL && port->config.link_layer == IBV_LINK_LAYER_ETHERNET;
}

int ibv_modify_qp(struct ibv_qp *visible, struct ibv_qp_attr *attr, int mask) {
    struct hca_qp *qp = hca_qp(visible);
    struct ist_hca *hca = hca_enter();
    enum ibv_qp_state state = (mask & IBV_QP_STATE) != 0 ? attr->qp_state : qp->state;
    bool resolves = state == IBV_QPS_RTR && is_on_ethernet(qp);
    int error = 0;
    if (hca_fails(hca, IST_HCA_CALL_MODIFY, __func__) || hca_context_gone(visible->context)) {
        error = EIO;
    } else if (!mask_is_valid(qp->state, state, mask) || !address_part_is_valid(qp, attr, mask) ||
               !numbers_are_valid(qp, attr, mask)) {
        error = EINVAL;
    } else if (resolves && !hca_wait_for_neighbour(hca, qp->device)) {
        error = ETIMEDOUT;
    } else {
        hca_note(hca, "modify", visible->qp_num, qp->state, state);
        store(&qp->attr, attr, mask);
        enter_state(qp, state);
    }
    hca_leave();
    return error;
}

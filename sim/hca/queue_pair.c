/* Queue pairs: made, queried, destroyed. */
#include "sim/hca/objects.h"

#define EVENTS 5 /* execute, read, acknowledge, retry, flush */

static bool cap_is_valid(const struct ist_hca_device_config *config,
                         const struct ibv_qp_init_attr *attr) {
    const struct ibv_qp_cap *cap = &attr->cap;
    return cap->max_send_wr >= 1 && cap->max_send_wr <= (uint32_t)config->max_qp_wr &&
           cap->max_send_sge <= (uint32_t)config->max_sge &&
           cap->max_inline_data <= config->max_inline &&
           (attr->srq != NULL || (cap->max_recv_wr <= (uint32_t)config->max_qp_wr &&
                                  cap->max_recv_sge <= (uint32_t)config->max_sge));
}

/* What it gets. man create_qp: at least what was asked; receives are ignored with an SRQ. */
static struct ibv_qp_cap choose_cap(struct ist_hca *hca, const struct ist_hca_device_config *config,
                                    const struct ibv_qp_init_attr *attr) {
    const struct ibv_qp_cap *asked = &attr->cap;
    struct ibv_qp_cap cap = {
        .max_send_wr = hca_round_up(hca, asked->max_send_wr, (uint32_t)config->max_qp_wr),
        .max_send_sge = hca_round_up(hca, asked->max_send_sge, (uint32_t)config->max_sge),
        .max_inline_data = hca_round_up(hca, asked->max_inline_data, config->max_inline),
    };
    if (attr->srq == NULL) {
        cap.max_recv_wr = hca_round_up(hca, asked->max_recv_wr, (uint32_t)config->max_qp_wr);
        cap.max_recv_sge = hca_round_up(hca, asked->max_recv_sge, (uint32_t)config->max_sge);
    }
    return cap;
}

static uint32_t at_least_one(uint32_t count) {
    return count > 0 ? count : 1;
}

static void release_queues(struct ist_hca *hca, struct hca_qp *qp) {
    const struct ist_alloc *alloc = hca->config.alloc;
    ist_release(alloc, qp->receiving_sges);
    ist_release(alloc, qp->inline_data);
    ist_release(alloc, qp->sges);
    ist_release(alloc, qp->request);
}

static bool allocate_queues(struct ist_hca *hca, struct hca_qp *qp, const struct hca_srq *srq) {
    const struct ist_alloc *alloc = hca->config.alloc;
    const struct ibv_qp_cap *cap = &qp->cap;
    uint32_t receive_sges = srq != NULL ? srq->queue.max_sge : at_least_one(cap->max_recv_sge);
    qp->request = ist_allocate_zeroed(alloc, cap->max_send_wr, sizeof(*qp->request));
    qp->sges = ist_allocate_zeroed(alloc, (size_t)cap->max_send_wr * at_least_one(cap->max_send_sge),
                                   sizeof(*qp->sges));
    qp->inline_data =
        ist_allocate_zeroed(alloc, (size_t)cap->max_send_wr * at_least_one(cap->max_inline_data), 1);
    qp->receiving_sges = ist_allocate_zeroed(alloc, receive_sges, sizeof(*qp->receiving_sges));
    if (qp->request == NULL || qp->sges == NULL || qp->inline_data == NULL ||
        qp->receiving_sges == NULL) {
        release_queues(hca, qp);
        return false;
    }
    for (uint32_t i = 0; i < cap->max_send_wr; i++) {
        qp->request[i].sge = &qp->sges[(size_t)i * cap->max_send_sge];
        qp->request[i].inline_data = &qp->inline_data[(size_t)i * cap->max_inline_data];
    }
    qp->receiving.sge = qp->receiving_sges;
    return true;
}

static void set_events(struct hca_qp *qp) {
    qp->execute.fire = hca_execute_fires;
    qp->read.fire = hca_read_fires;
    qp->acknowledge.fire = hca_acknowledge_fires;
    qp->retry.fire = hca_retry_fires;
    qp->flush.fire = hca_flush_fires;
}

static struct hca_qp *new_qp(struct ibv_pd *pd, const struct ibv_qp_init_attr *attr) {
    struct ist_hca *hca = hca_of(pd->context);
    struct hca_context *context = hca_context(pd->context);
    struct hca_srq *srq = attr->srq != NULL ? hca_srq(attr->srq) : NULL;
    struct hca_qp *qp = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*qp));
    if (qp == NULL) {
        return NULL;
    }
    qp->device = hca_device(pd->context);
    qp->cap = choose_cap(hca, &qp->device->config, attr);
    if (!allocate_queues(hca, qp, srq)) {
        goto free_qp;
    }
    qp->queue.max_wr = at_least_one(qp->cap.max_recv_wr);
    qp->queue.max_sge = at_least_one(qp->cap.max_recv_sge);
    if (!hca_receive_queue_init(hca, &qp->queue)) {
        goto release_queues;
    }
    if (!hca_clock_reserve(&hca->clock, EVENTS)) {
        goto fini_queue;
    }
    if (!hca_notices_reserve(context, HCA_NOTICES_QP)) {
        goto unreserve_clock;
    }
    if (!hca_numbers_add(&hca->qp_numbers, qp, &qp->qp.qp_num)) {
        goto unreserve_notices;
    }
    set_events(qp);
    return qp;

unreserve_notices:
    hca_notices_unreserve(context, HCA_NOTICES_QP);
unreserve_clock:
    hca_clock_unreserve(&hca->clock, EVENTS);
fini_queue:
    hca_receive_queue_fini(hca, &qp->queue);
release_queues:
    release_queues(hca, qp);
free_qp:
    ist_release(hca->config.alloc, qp);
    return NULL;
}

static void introduce(struct hca_qp *qp, struct ibv_pd *pd, const struct ibv_qp_init_attr *attr) {
    struct ibv_qp *visible = &qp->qp;
    visible->context = pd->context;
    visible->qp_context = attr->qp_context;
    visible->pd = pd;
    visible->send_cq = attr->send_cq;
    visible->recv_cq = attr->recv_cq;
    visible->srq = attr->srq;
    visible->handle = visible->qp_num;
    visible->state = IBV_QPS_RESET;
    visible->qp_type = attr->qp_type;
    qp->all_signalled = attr->sq_sig_all != 0;
    hca_pd(pd)->users++;
    hca_cq(attr->send_cq)->users++;
    hca_cq(attr->recv_cq)->users++;
    if (attr->srq != NULL) {
        hca_srq(attr->srq)->users++;
    }
    qp->device->qps++;
    qp->device->hca->counts.qps++;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr) {
    struct ist_hca *hca = hca_enter();
    const struct ist_hca_device *device = hca_device(pd->context);
    struct hca_qp *qp = NULL;
    int error = ENOMEM;
    if (hca_context_gone(pd->context)) {
        error = EIO;
    } else if (attr->qp_type != IBV_QPT_RC) {
        error = EOPNOTSUPP;
    } else if (attr->send_cq == NULL || attr->recv_cq == NULL ||
               attr->send_cq->context != pd->context || attr->recv_cq->context != pd->context ||
               (attr->srq != NULL && attr->srq->context != pd->context) ||
               !cap_is_valid(&device->config, attr)) {
        error = EINVAL;
    } else if (!hca_fails(hca, IST_HCA_CALL_CREATE, __func__) && device->qps < device->config.max_qp) {
        qp = new_qp(pd, attr);
    }
    if (qp != NULL) {
        introduce(qp, pd, attr);
        attr->cap = qp->cap;
    }
    hca_leave();
    if (qp == NULL) {
        errno = error;
        return NULL;
    }
    return &qp->qp;
}

static void free_qp(struct hca_qp *qp) {
    struct ist_hca *hca = qp->device->hca;
    struct hca_context *context = hca_context(qp->qp.context);
    hca_note(hca, "destroy", qp->qp.qp_num, 0, 0);
    hca_qp_stop(qp);
    hca_forget_completions(qp);
    hca_numbers_remove(&hca->qp_numbers, qp->qp.qp_num);
    hca_notices_forget(context, qp);
    hca_notices_unreserve(context, HCA_NOTICES_QP);
    hca_clock_unreserve(&hca->clock, EVENTS);
    hca_pd(qp->qp.pd)->users--;
    hca_cq(qp->qp.send_cq)->users--;
    hca_cq(qp->qp.recv_cq)->users--;
    if (qp->qp.srq != NULL) {
        hca_srq(qp->qp.srq)->users--;
        hca_srq(qp->qp.srq)->queue.held -= qp->has_receive;
    }
    qp->device->qps--;
    hca->counts.qps--;
    hca_receive_queue_fini(hca, &qp->queue);
    release_queues(hca, qp);
    ist_release(hca->config.alloc, qp);
}

int ibv_destroy_qp(struct ibv_qp *visible) {
    struct hca_qp *qp = hca_qp(visible);
    struct ist_hca *hca = hca_enter();
    if (qp->notices.taken != qp->notices.acknowledged) {
        hca_violation("ibv_destroy_qp would wait for ever: an event of it is not acknowledged");
    }
    int error = hca_fails(hca, IST_HCA_CALL_DESTROY, __func__) ? EIO : 0;
    free_qp(qp);
    hca_leave();
    return error;
}

int ibv_query_qp(struct ibv_qp *visible, struct ibv_qp_attr *attr, int mask,
                 struct ibv_qp_init_attr *init) {
    const struct hca_qp *qp = hca_qp(visible);
    struct ist_hca *hca = hca_enter();
    (void)mask; /* man query_qp: fields that were not asked for may be filled too */
    bool fails = hca_fails(hca, IST_HCA_CALL_QUERY, __func__) || hca_context_gone(visible->context);
    if (!fails) {
        *attr = qp->attr;
        attr->qp_state = qp->state;
        attr->cur_qp_state = qp->state;
        attr->cap = qp->cap;
        *init = (struct ibv_qp_init_attr){.qp_context = visible->qp_context,
                                          .send_cq = visible->send_cq,
                                          .recv_cq = visible->recv_cq,
                                          .srq = visible->srq,
                                          .cap = qp->cap,
                                          .qp_type = visible->qp_type,
                                          .sq_sig_all = qp->all_signalled};
    }
    hca_leave();
    return fails ? EIO : 0;
}

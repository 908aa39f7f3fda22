/* Shared receive queues. */
#include "sim/hca/objects.h"

static struct hca_srq *new_srq(struct ibv_pd *pd, const struct ibv_srq_init_attr *attr) {
    struct ist_hca *hca = hca_of(pd->context);
    struct hca_srq *srq = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*srq));
    if (srq == NULL) {
        return NULL;
    }
    const struct ist_hca_device_config *config = &hca_device(pd->context)->config;
    srq->queue.max_wr = hca_round_up(hca, attr->attr.max_wr, (uint32_t)config->max_srq_wr);
    srq->queue.max_sge = hca_round_up(hca, attr->attr.max_sge, (uint32_t)config->max_srq_sge);
    if (!hca_receive_queue_init(hca, &srq->queue)) {
        goto free_srq;
    }
    if (!hca_notices_reserve(hca_context(pd->context), HCA_NOTICES_SRQ)) {
        goto fini_queue;
    }
    srq->srq.context = pd->context;
    srq->srq.srq_context = attr->srq_context;
    srq->srq.pd = pd;
    srq->srq.handle = (uint32_t)++hca_device(pd->context)->srqs;
    hca_pd(pd)->users++;
    hca->counts.srqs++;
    return srq;

fini_queue:
    hca_receive_queue_fini(hca, &srq->queue);
free_srq:
    ist_release(hca->config.alloc, srq);
    return NULL;
}

struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr) {
    struct ist_hca *hca = hca_enter();
    const struct ist_hca_device *device = hca_device(pd->context);
    struct hca_srq *srq = NULL;
    int error = ENOMEM;
    if (hca_context_gone(pd->context)) {
        error = EIO;
    } else if (attr->attr.max_wr < 1 || attr->attr.max_wr > (uint32_t)device->config.max_srq_wr ||
               attr->attr.max_sge < 1 || attr->attr.max_sge > (uint32_t)device->config.max_srq_sge) {
        error = EINVAL;
    } else if (!hca_fails(hca, IST_HCA_CALL_CREATE, __func__) &&
               device->srqs < device->config.max_srq) {
        srq = new_srq(pd, attr);
    }
    if (srq != NULL) {
        attr->attr.max_wr = srq->queue.max_wr;
        attr->attr.max_sge = srq->queue.max_sge;
    }
    hca_leave();
    if (srq == NULL) {
        errno = error;
        return NULL;
    }
    return &srq->srq;
}

int ibv_modify_srq(struct ibv_srq *visible, struct ibv_srq_attr *attr, int mask) {
    struct hca_srq *srq = hca_srq(visible);
    struct ist_hca *hca = hca_enter();
    int error = 0;
    if (hca_fails(hca, IST_HCA_CALL_MODIFY, __func__) || hca_context_gone(visible->context)) {
        error = EIO;
    } else if ((mask & ~IBV_SRQ_LIMIT) != 0 || attr->srq_limit > srq->queue.max_wr) {
        error = EINVAL; /* IBV_DEVICE_SRQ_RESIZE is not set */
    } else if ((mask & IBV_SRQ_LIMIT) != 0) {
        srq->limit = attr->srq_limit;
        if (srq->queue.posted - srq->queue.used < srq->limit && hca_chance(hca, 500)) {
            srq->limit = 0;
            hca_notice_srq(srq, IBV_EVENT_SRQ_LIMIT_REACHED);
        }
    }
    hca_leave();
    return error;
}

int ibv_query_srq(struct ibv_srq *visible, struct ibv_srq_attr *attr) {
    const struct hca_srq *srq = hca_srq(visible);
    struct ist_hca *hca = hca_enter();
    bool fails = hca_fails(hca, IST_HCA_CALL_QUERY, __func__) || hca_context_gone(visible->context);
    if (!fails) {
        *attr = (struct ibv_srq_attr){
            .max_wr = srq->queue.max_wr, .max_sge = srq->queue.max_sge, .srq_limit = srq->limit};
    }
    hca_leave();
    return fails ? EIO : 0;
}

int ibv_destroy_srq(struct ibv_srq *visible) {
    struct hca_srq *srq = hca_srq(visible);
    struct ist_hca *hca = hca_enter();
    int error = EBUSY;
    if (srq->users == 0) {
        if (srq->notices.taken != srq->notices.acknowledged) {
            hca_violation("ibv_destroy_srq would wait for ever: an event of it is not acknowledged");
        }
        error = hca_fails(hca, IST_HCA_CALL_DESTROY, __func__) ? EIO : 0;
        struct hca_context *context = hca_context(visible->context);
        hca_notices_forget(context, srq);
        hca_notices_unreserve(context, HCA_NOTICES_SRQ);
        hca_pd(visible->pd)->users--;
        hca_device(visible->context)->srqs--;
        hca->counts.srqs--;
        hca_receive_queue_fini(hca, &srq->queue);
        ist_release(hca->config.alloc, srq);
    }
    hca_leave();
    return error;
}

/* Receive queues: those of queue pairs and those shared. */
#include "sim/hca/objects.h"

bool hca_receive_queue_init(struct ist_hca *hca, struct hca_receive_queue *queue) {
    const struct ist_alloc *alloc = hca->config.alloc;
    queue->entry = ist_allocate_zeroed(alloc, queue->max_wr, sizeof(*queue->entry));
    if (queue->entry == NULL) {
        return false;
    }
    queue->sges =
        ist_allocate_zeroed(alloc, (size_t)queue->max_wr * queue->max_sge, sizeof(*queue->sges));
    if (queue->sges == NULL) {
        ist_release(alloc, queue->entry);
        return false;
    }
    for (uint32_t i = 0; i < queue->max_wr; i++) {
        queue->entry[i].sge = &queue->sges[(size_t)i * queue->max_sge];
    }
    return true;
}

void hca_receive_queue_fini(struct ist_hca *hca, struct hca_receive_queue *queue) {
    ist_release(hca->config.alloc, queue->sges);
    ist_release(hca->config.alloc, queue->entry);
}

void hca_receive_queue_clear(struct hca_receive_queue *queue) {
    queue->posted = queue->used = 0;
    queue->held = 0;
}

int hca_receive_post(struct hca_receive_queue *queue, const struct ibv_recv_wr *wr,
                     const char *function) {
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > queue->max_sge) {
        hca_violation("%s: %d scatter elements, the queue was made for %u", function, wr->num_sge,
                      queue->max_sge);
    }
    if (queue->held == queue->max_wr) {
        return ENOMEM;
    }
    struct hca_receive *entry = &queue->entry[queue->posted % queue->max_wr];
    entry->wr_id = wr->wr_id;
    entry->sges = wr->num_sge;
    for (int i = 0; i < wr->num_sge; i++) {
        entry->sge[i] = wr->sg_list[i];
    }
    queue->posted++;
    queue->held++;
    return 0;
}

/* ---- what the program calls ---------------------------------------------------------------------- */

static int post_all(struct ibv_context *context, struct hca_receive_queue *queue,
                    struct ibv_recv_wr *wr, struct ibv_recv_wr **bad, const char *function) {
    int error = hca_fails_of(context, IST_HCA_CALL_RECEIVE, function) ? ENOMEM : 0;
    while (wr != NULL && error == 0) {
        error = hca_receive_post(queue, wr, function);
        if (error == 0) {
            wr = wr->next;
        }
    }
    if (error != 0) {
        *bad = wr;
    }
    return error;
}

int hca_post_recv(struct ibv_qp *visible, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad) {
    struct hca_qp *qp = hca_qp(visible);
    hca_enter();
    if (visible->srq != NULL) {
        hca_violation("ibv_post_recv: the queue pair has an SRQ"); /* man post_recv */
    }
    if (qp->state == IBV_QPS_RESET) {
        hca_violation("ibv_post_recv: the queue pair is in RESET"); /* IBTA 10.3.1 */
    }
    int error = post_all(visible->context, &qp->queue, wr, bad, "ibv_post_recv");
    if (qp->state == IBV_QPS_ERR) {
        hca_qp_flush(qp);
    }
    hca_leave();
    return error;
}

int hca_post_srq_recv(struct ibv_srq *visible, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad) {
    hca_enter();
    int error = post_all(visible->context, &hca_srq(visible)->queue, wr, bad, "ibv_post_srq_recv");
    hca_leave();
    return error;
}

/* ---- a message arrives --------------------------------------------------------------------------- */

const struct hca_receive *hca_receive_peek(struct hca_qp *qp) {
    struct hca_receive_queue *queue = hca_receive_queue(qp);
    return queue->used < queue->posted ? &queue->entry[queue->used % queue->max_wr] : NULL;
}

bool hca_receive_take(struct hca_qp *qp) {
    struct hca_receive_queue *queue = hca_receive_queue(qp);
    const struct hca_receive *next = hca_receive_peek(qp);
    if (next == NULL) {
        return false;
    }
    qp->receiving.wr_id = next->wr_id;
    qp->receiving.sges = next->sges;
    for (int i = 0; i < next->sges; i++) {
        qp->receiving.sge[i] = next->sge[i];
    }
    qp->has_receive = true;
    queue->used++;
    if (qp->qp.srq != NULL) {
        struct hca_srq *srq = hca_srq(qp->qp.srq);
        if (queue->posted - queue->used < srq->limit) {
            srq->limit = 0; /* one-shot: IBTA 10.2.9 */
            hca_notice_srq(srq, IBV_EVENT_SRQ_LIMIT_REACHED);
        }
    }
    return true;
}

void hca_receive_complete(struct hca_qp *qp, enum ibv_wc_status status,
                          const struct hca_request *request) {
    struct hca_completion completion = {.wc = {.wr_id = qp->receiving.wr_id,
                                               .status = status,
                                               .opcode = IBV_WC_RECV,
                                               .qp_num = qp->qp.qp_num},
                                        .qp = qp,
                                        .received = true};
    if (request != NULL) {
        bool write = request->opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
        bool immediate = write || request->opcode == IBV_WR_SEND_WITH_IMM;
        completion.wc.opcode = write ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV;
        completion.wc.byte_len = request->bytes;
        completion.wc.wc_flags = immediate ? IBV_WC_WITH_IMM : 0;
        completion.wc.imm_data = request->immediate;
        completion.solicited = request->solicited;
    }
    qp->has_receive = false;
    hca_complete(qp->qp.recv_cq, &completion);
}

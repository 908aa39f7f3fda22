/* ibv_post_send(): a request is checked as far as a card checks it at once, and copied into its slot. */
#include "sim/hca/objects.h"

static bool is_known(enum ibv_wr_opcode opcode) {
    switch (opcode) {
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_WRITE_WITH_IMM:
    case IBV_WR_SEND:
    case IBV_WR_SEND_WITH_IMM:
    case IBV_WR_RDMA_READ: return true;
    case IBV_WR_ATOMIC_CMP_AND_SWP:
    case IBV_WR_ATOMIC_FETCH_AND_ADD:
    case IBV_WR_LOCAL_INV:
    case IBV_WR_BIND_MW:
    case IBV_WR_SEND_WITH_INV:
    case IBV_WR_TSO:
    case IBV_WR_DRIVER1:
    case IBV_WR_ATOMIC_WRITE: break;
    }
    return false;
}

#define FLAGS_KNOWN (IBV_SEND_FENCE | IBV_SEND_SIGNALED | IBV_SEND_SOLICITED | IBV_SEND_INLINE)

/* What a program can know beforehand: aborts. */
static void check(const struct hca_qp *qp, const struct ibv_send_wr *wr) {
    if (!is_known(wr->opcode)) {
        hca_violation("ibv_post_send: opcode %d is not provided", (int)wr->opcode);
    }
    if ((wr->send_flags & ~(unsigned)FLAGS_KNOWN) != 0) {
        hca_violation("ibv_post_send: send_flags %#x", wr->send_flags);
    }
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->cap.max_send_sge) {
        hca_violation("ibv_post_send: %d gather elements, the queue pair was made for %u", wr->num_sge,
                      qp->cap.max_send_sge);
    }
    if ((wr->send_flags & IBV_SEND_INLINE) == 0) {
        return;
    }
    if (wr->opcode == IBV_WR_RDMA_READ) {
        hca_violation("ibv_post_send: an inline READ"); /* man post_send: only SEND and WRITE */
    }
    uint64_t bytes = hca_list_bytes(wr->sg_list, wr->num_sge);
    if (bytes > qp->cap.max_inline_data) {
        hca_violation("ibv_post_send: %llu bytes inline, the queue pair was made for %u",
                      (unsigned long long)bytes, qp->cap.max_inline_data);
    }
}

static void copy_inline(struct hca_request *request, const struct ibv_send_wr *wr) {
    uint8_t *to = request->inline_data;
    for (int i = 0; i < wr->num_sge; i++) {
        if (wr->sg_list[i].length > 0) {
            memcpy(to, (const void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
        }
        to += wr->sg_list[i].length;
    }
}

/* More than any port takes at once stays more than that. */
static uint32_t message_bytes(const struct ibv_send_wr *wr) {
    uint64_t bytes = hca_list_bytes(wr->sg_list, wr->num_sge);
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

static void fill(struct hca_qp *qp, struct hca_request *request, const struct ibv_send_wr *wr) {
    struct ist_hca *hca = qp->device->hca;
    struct ibv_sge *sge = request->sge;
    uint8_t *inline_data = request->inline_data;
    const uint32_t bytes = message_bytes(wr);
    const uint32_t mtu = HCA_MTU_BYTES(qp->attr.path_mtu);
    *request = (struct hca_request){
        .wr_id = wr->wr_id,
        .opcode = wr->opcode,
        .signalled = qp->all_signalled || (wr->send_flags & IBV_SEND_SIGNALED) != 0,
        .fenced = (wr->send_flags & IBV_SEND_FENCE) != 0,
        .solicited = (wr->send_flags & IBV_SEND_SOLICITED) != 0,
        .inlined = (wr->send_flags & IBV_SEND_INLINE) != 0,
        .immediate = wr->imm_data,
        .bytes = bytes,
        .chunks = bytes > 0 ? (uint32_t)(((uint64_t)bytes + mtu - 1) / mtu) : 1,
        .ready_ns = hca->clock.now_ns,
        .sge = sge,
        .inline_data = inline_data,
    };
    if (wr->opcode != IBV_WR_SEND && wr->opcode != IBV_WR_SEND_WITH_IMM) {
        request->remote_addr = wr->wr.rdma.remote_addr;
        request->rkey = wr->wr.rdma.rkey;
    }
    if (request->inlined) {
        copy_inline(request, wr);
    } else {
        request->sges = wr->num_sge;
        for (int i = 0; i < wr->num_sge; i++) {
            sge[i] = wr->sg_list[i];
        }
    }
    hca_shuffle(hca, request);
    hca_note(hca, "post", qp->qp.qp_num, wr->wr_id, bytes);
}

int hca_post_send(struct ibv_qp *visible, struct ibv_send_wr *wr, struct ibv_send_wr **bad) {
    struct hca_qp *qp = hca_qp(visible);
    struct ist_hca *hca = hca_enter();
    if (qp->state != IBV_QPS_RTS && qp->state != IBV_QPS_ERR) {
        hca_violation("ibv_post_send: the queue pair is not in RTS but in state %d", (int)qp->state);
    }
    int error = hca_fails_of(visible->context, IST_HCA_CALL_SEND, "ibv_post_send") ? ENOMEM : 0;
    while (wr != NULL && error == 0) {
        check(qp, wr);
        if (qp->posted - qp->freed == qp->cap.max_send_wr) {
            error = ENOMEM;
        } else {
            fill(qp, hca_request(qp, qp->posted), wr);
            qp->posted++;
            wr = wr->next;
        }
    }
    if (error != 0) {
        *bad = wr;
    }
    if (qp->state == IBV_QPS_ERR) {
        hca_qp_flush(qp);
    } else {
        hca_kick(qp);
    }
    hca_progress(hca);
    hca_leave();
    return error;
}

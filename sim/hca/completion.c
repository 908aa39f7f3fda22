/* Completion queues. */
#include "sim/hca/objects.h"

/* ---- filling ------------------------------------------------------------------------------------- */

void hca_cq_die(struct hca_cq *cq) {
    if (cq->dead) {
        return;
    }
    struct ist_hca *hca = hca_of(cq->cq.context);
    cq->dead = true;
    hca_note(hca, "cq-dead", 0, 0, 0);
    hca_notice_cq(cq, IBV_EVENT_CQ_ERR);
    size_t serial = 0;
    for (struct hca_qp *qp; (qp = hca_numbers_next(&hca->qp_numbers, &serial)) != NULL;) {
        if (qp->qp.send_cq == &cq->cq || qp->qp.recv_cq == &cq->cq) {
            hca_qp_error(qp);
        }
    }
}

static void fire(struct hca_cq *cq) {
    cq->armed = HCA_NOT_ARMED;
    HCA_CONTAINER(cq->cq.channel, struct hca_channel, channel)->armed--;
    hca_channel_add(cq);
}

/* The fields that nobody may read get junk: man poll_cq; IBTA 11.4.2, "Poll for completion". */
static void spoil(struct ist_hca *hca, struct ibv_wc *wc) {
    struct ibv_wc valid = *wc;
    hca_fill_junk(hca, wc, sizeof(*wc));
    wc->wr_id = valid.wr_id;
    wc->status = valid.status;
    wc->qp_num = valid.qp_num;
    if (valid.status != IBV_WC_SUCCESS) {
        return;
    }
    wc->opcode = valid.opcode;
    wc->wc_flags = valid.wc_flags;
    if ((valid.opcode & IBV_WC_RECV) != 0 || valid.opcode == IBV_WC_RDMA_READ) {
        wc->byte_len = valid.byte_len;
    }
    if ((valid.wc_flags & IBV_WC_WITH_IMM) != 0) {
        wc->imm_data = valid.imm_data;
    }
}

void hca_complete(struct ibv_cq *visible, struct hca_completion *completion) {
    struct hca_cq *cq = hca_cq(visible);
    struct ist_hca *hca = hca_of(visible->context);
    if (cq->dead || hca_context(visible->context)->killed) {
        return;
    }
    hca_note(hca, completion->received ? "completion-receive" : "completion-send",
             completion->wc.qp_num, completion->wc.wr_id, completion->wc.status);
    if (cq->entries == (uint32_t)visible->cqe) {
        if (hca->config.overrun_aborts) {
            hca_violation("CQ overrun: %d entries are not enough", visible->cqe);
        }
        hca_cq_die(cq);
        return;
    }
    completion->solicited = completion->solicited || completion->wc.status != IBV_WC_SUCCESS;
    spoil(hca, &completion->wc);
    cq->entry[(cq->first + cq->entries) % (uint32_t)visible->cqe] = *completion;
    cq->entries++;
    if (cq->armed == HCA_ARMED || (cq->armed == HCA_ARMED_SOLICITED && completion->solicited)) {
        fire(cq);
    }
}

static void give_slots_back(const struct hca_completion *completion) {
    struct hca_qp *qp = completion->qp;
    if (qp == NULL) {
        return;
    }
    if (completion->received) {
        hca_receive_queue(qp)->held--;
    } else if (completion->retires > qp->freed) {
        qp->freed = completion->retires;
    }
}

/* rxe leaves the completions of a destroyed QP in the CQ, mlx5 takes them out. */
static void forget_in(struct hca_cq *cq, const struct hca_qp *qp, bool drop) {
    uint32_t kept = 0;
    const uint32_t size = (uint32_t)cq->cq.cqe;
    for (uint32_t i = 0; i < cq->entries; i++) {
        struct hca_completion *entry = &cq->entry[(cq->first + i) % size];
        bool of_it = entry->qp == qp;
        if (of_it) {
            give_slots_back(entry);
            entry->qp = NULL;
        }
        if (!of_it || !drop) {
            cq->entry[(cq->first + kept) % size] = *entry;
            kept++;
        }
    }
    cq->entries = kept;
}

void hca_forget_completions(struct hca_qp *qp) {
    bool drop = hca_chance(qp->device->hca, 500);
    forget_in(hca_cq(qp->qp.send_cq), qp, drop);
    if (qp->qp.recv_cq != qp->qp.send_cq) {
        forget_in(hca_cq(qp->qp.recv_cq), qp, drop);
    }
}

/* ---- what the program calls ---------------------------------------------------------------------- */

int hca_poll_cq(struct ibv_cq *visible, int room, struct ibv_wc *wc) {
    struct hca_cq *cq = hca_cq(visible);
    struct ist_hca *hca = hca_enter();
    hca_progress(hca);
    if (cq->dead || hca_fails_of(visible->context, IST_HCA_CALL_POLL, "ibv_poll_cq")) {
        hca_leave();
        return -EIO;
    }
    int polled = 0;
    while (polled < room && cq->entries > 0) {
        struct hca_completion *entry = &cq->entry[cq->first];
        give_slots_back(entry);
        wc[polled++] = entry->wc;
        cq->first = (cq->first + 1) % (uint32_t)visible->cqe;
        cq->entries--;
    }
    hca_leave();
    return polled;
}

int hca_req_notify_cq(struct ibv_cq *visible, int solicited_only) {
    struct hca_cq *cq = hca_cq(visible);
    struct ist_hca *hca = hca_enter();
    if (visible->channel == NULL) {
        hca_violation("ibv_req_notify_cq: the CQ has no completion channel");
    }
    int error = 0;
    if (cq->dead || hca_fails_of(visible->context, IST_HCA_CALL_ARM, "ibv_req_notify_cq") ||
        hca_context_gone(visible->context)) {
        error = EIO;
    } else {
        struct hca_channel *channel = HCA_CONTAINER(visible->channel, struct hca_channel, channel);
        if (cq->armed == HCA_NOT_ARMED) {
            channel->armed++;
            cq->armed = HCA_ARMED_SOLICITED;
        }
        if (solicited_only == 0) {
            cq->armed = HCA_ARMED; /* IBTA 11.4.2: the wider request prevails */
        }
        if (hca_chance(hca, hca->config.spurious_events)) {
            fire(cq);
        }
        hca_progress(hca);
        hca_channel_show(hca, channel);
    }
    hca_leave();
    return error;
}

static struct hca_cq *new_cq(struct ibv_context *context, uint32_t cqe) {
    struct ist_hca *hca = hca_of(context);
    struct hca_cq *cq = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*cq));
    if (cq == NULL) {
        return NULL;
    }
    cq->entry = ist_allocate_zeroed(hca->config.alloc, cqe, sizeof(*cq->entry));
    if (cq->entry == NULL) {
        goto free_cq;
    }
    if (!hca_notices_reserve(hca_context(context), HCA_NOTICES_CQ)) {
        goto free_entries;
    }
    cq->cq.context = context;
    cq->cq.cqe = (int)cqe;
    cq->cq.handle = (uint32_t)++hca_device(context)->cqs;
    cq->next = hca_context(context)->cqs;
    hca_context(context)->cqs = cq;
    hca_context(context)->objects++;
    hca->counts.cqs++;
    return cq;

free_entries:
    ist_release(hca->config.alloc, cq->entry);
free_cq:
    ist_release(hca->config.alloc, cq);
    return NULL;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context,
                             struct ibv_comp_channel *channel, int vector) {
    struct ist_hca *hca = hca_enter();
    const struct ist_hca_device *device = hca_device(context);
    struct hca_cq *cq = NULL;
    int error = ENOMEM;
    if (hca_context_gone(context)) {
        error = EIO;
    } else if (cqe < 1 || cqe > device->config.max_cqe || vector < 0 ||
               vector >= device->config.comp_vectors) {
        error = EINVAL;
    } else if (!hca_fails(hca, IST_HCA_CALL_CREATE, __func__) && device->cqs < device->config.max_cq) {
        cq = new_cq(context, hca_round_up(hca, (uint32_t)cqe, (uint32_t)device->config.max_cqe));
    }
    if (cq != NULL) {
        cq->cq.cq_context = cq_context;
        cq->cq.channel = channel;
        if (channel != NULL) {
            channel->refcnt++;
        }
    }
    hca_leave();
    if (cq == NULL) {
        errno = error;
        return NULL;
    }
    return &cq->cq;
}

static void free_cq(struct hca_cq *cq) {
    struct ibv_context *context = cq->cq.context;
    struct ist_hca *hca = hca_of(context);
    if (cq->cq.channel != NULL) {
        struct hca_channel *channel = HCA_CONTAINER(cq->cq.channel, struct hca_channel, channel);
        hca_channel_remove(cq);
        channel->armed -= cq->armed != HCA_NOT_ARMED;
        channel->channel.refcnt--;
        hca_channel_show(hca, channel);
    }
    hca_notices_forget(hca_context(context), cq);
    hca_notices_unreserve(hca_context(context), HCA_NOTICES_CQ);
    struct hca_cq **link = &hca_context(context)->cqs;
    while (*link != cq) {
        link = &(*link)->next;
    }
    *link = cq->next;
    hca_device(context)->cqs--;
    hca_context(context)->objects--;
    hca->counts.cqs--;
    ist_release(hca->config.alloc, cq->entry);
    ist_release(hca->config.alloc, cq);
}

int ibv_destroy_cq(struct ibv_cq *visible) {
    struct hca_cq *cq = hca_cq(visible);
    struct ist_hca *hca = hca_enter();
    int error = EBUSY;
    if (cq->users == 0) {
        /* man get_cq_event: destroying a CQ waits for all events to be acknowledged. */
        if (cq->events.taken != cq->events.acknowledged ||
            cq->notices.taken != cq->notices.acknowledged) {
            hca_violation(
                "ibv_destroy_cq would wait for ever: %llu of %llu completion events and %llu of "
                "%llu asynchronous events are acknowledged",
                (unsigned long long)cq->events.acknowledged, (unsigned long long)cq->events.taken,
                (unsigned long long)cq->notices.acknowledged, (unsigned long long)cq->notices.taken);
        }
        error = hca_fails(hca, IST_HCA_CALL_DESTROY, __func__) ? EIO : 0;
        free_cq(cq);
    }
    hca_leave();
    return error;
}

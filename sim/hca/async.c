/* Asynchronous events. */
#include <poll.h>

#include "base/assert.h"
#include "sim/hca/objects.h"

bool hca_notices_reserve(struct hca_context *context, uint32_t more) {
    const struct ist_alloc *alloc = context->device->hca->config.alloc;
    if (context->notice_needed + more > context->notice_room) {
        uint32_t room = 2 * (context->notice_needed + more);
        struct hca_notice *ring = ist_allocate_array(alloc, room, sizeof(*ring));
        if (ring == NULL) {
            return false;
        }
        for (uint32_t i = 0; i < context->notices; i++) {
            ring[i] = context->notice[(context->notice_first + i) % context->notice_room];
        }
        ist_release(alloc, context->notice);
        context->notice = ring;
        context->notice_first = 0;
        context->notice_room = room;
    }
    context->notice_needed += more;
    return true;
}

void hca_notices_unreserve(struct hca_context *context, uint32_t fewer) {
    IST_ASSERT(context->notice_needed >= fewer);
    context->notice_needed -= fewer;
}

static void show(struct hca_context *context) {
    hca_descriptor_set(context->verbs.context.async_fd, &context->async_raised, context->notices > 0);
}

static void add(struct hca_context *context, struct ibv_async_event event, void *object) {
    if (context->killed) {
        return;
    }
    if (context->notices == context->notice_room) {
        hca_violation("%u asynchronous events of %s wait, nobody takes them", context->notices,
                      context->device->config.name);
    }
    hca_note(context->device->hca, "async", event.event_type, context->notices, 0);
    context->notice[(context->notice_first + context->notices) % context->notice_room] =
        (struct hca_notice){.event = event, .object = object};
    context->notices++;
    show(context);
}

void hca_notice_qp(struct hca_qp *qp, enum ibv_event_type type) {
    struct ibv_async_event event = {.element.qp = &qp->qp, .event_type = type};
    add(hca_context(qp->qp.context), event, qp);
}

void hca_notice_cq(struct hca_cq *cq, enum ibv_event_type type) {
    struct ibv_async_event event = {.element.cq = &cq->cq, .event_type = type};
    add(hca_context(cq->cq.context), event, cq);
}

void hca_notice_srq(struct hca_srq *srq, enum ibv_event_type type) {
    struct ibv_async_event event = {.element.srq = &srq->srq, .event_type = type};
    add(hca_context(srq->srq.context), event, srq);
}

void hca_notice_port(struct ist_hca_device *device, enum ibv_event_type type, int port) {
    struct ibv_async_event event = {.element.port_num = port, .event_type = type};
    for (struct hca_context *context = device->hca->contexts; context != NULL;
         context = context->next) {
        if (context->device == device) {
            add(context, event, NULL);
        }
    }
}

void hca_notices_forget(struct hca_context *context, const void *object) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < context->notices; i++) {
        struct hca_notice *from = &context->notice[(context->notice_first + i) % context->notice_room];
        if (from->object != object) {
            context->notice[(context->notice_first + kept) % context->notice_room] = *from;
            kept++;
        }
    }
    context->notices = kept;
    show(context);
}

/* Where the events of the object are counted; NULL: of a port or device. */
static struct hca_taken *taken_of(const struct ibv_async_event *event) {
    switch (event->event_type) {
    case IBV_EVENT_CQ_ERR: return &hca_cq(event->element.cq)->notices;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_QP_LAST_WQE_REACHED: return &hca_qp(event->element.qp)->notices;
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_SRQ_LIMIT_REACHED: return &hca_srq(event->element.srq)->notices;
    case IBV_EVENT_DEVICE_FATAL:
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_CLIENT_REREGISTER:
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_WQ_FATAL: break;
    }
    return NULL;
}

/* False: none. */
static bool take(struct ist_hca *hca, struct hca_context *context, struct ibv_async_event *event) {
    if (context->notices == 0) {
        return false;
    }
    *event = context->notice[context->notice_first].event;
    context->notice_first = (context->notice_first + 1) % context->notice_room;
    context->notices--;
    struct hca_taken *taken = taken_of(event);
    if (taken != NULL) {
        taken->taken++;
    } else {
        hca->notices_taken++;
    }
    hca->counts.unacknowledged++;
    show(context);
    return true;
}

int ibv_get_async_event(struct ibv_context *visible, struct ibv_async_event *event) {
    struct hca_context *context = hca_context(visible);
    for (;;) {
        struct ist_hca *hca = hca_enter();
        hca_progress(hca);
        bool fails = hca_fails(hca, IST_HCA_CALL_EVENT, __func__);
        bool found = !fails && take(hca, context, event);
        bool blocks = hca_descriptor_blocks(visible->async_fd);
        if (!found && !fails && blocks && !hca->config.progress_in_calls) {
            hca_violation(
                "ibv_get_async_event would wait for ever: no event, and the descriptor blocks");
        }
        hca_leave();
        if (found) {
            return 0;
        }
        if (fails || !blocks) {
            errno = fails ? EIO : EAGAIN;
            return -1;
        }
        struct pollfd wait = {.fd = visible->async_fd, .events = POLLIN};
        if (poll(&wait, 1, -1) < 0) {
            return -1;
        }
    }
}

void ibv_ack_async_event(struct ibv_async_event *event) {
    struct ist_hca *hca = hca_enter();
    struct hca_taken *taken = taken_of(event);
    uint64_t outstanding = taken != NULL ? taken->taken - taken->acknowledged
                                         : hca->notices_taken - hca->notices_acknowledged;
    if (outstanding == 0) {
        hca_violation("ibv_ack_async_event: %s, but none of this object is outstanding",
                      ibv_event_type_str(event->event_type));
    }
    if (taken != NULL) {
        taken->acknowledged++;
    } else {
        hca->notices_acknowledged++;
    }
    hca->counts.unacknowledged--;
    hca_leave();
}

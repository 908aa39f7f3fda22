/* What the test breaks. */
#include "base/assert.h"
#include "sim/hca/objects.h"

/* ---- fabric and devices -------------------------------------------------------------------------- */

void ist_hca_set_loss(struct ist_hca *hca, uint32_t ppm) {
    hca_enter();
    hca->config.loss_ppm = ppm;
    hca_leave();
}

static struct hca_port *port_of(struct ist_hca_device *device, uint8_t number) {
    struct hca_port *port = hca_port(device, number);
    if (port == NULL) {
        hca_violation("%s has no port %u", device->config.name, number);
    }
    return port;
}

void ist_hca_set_link(struct ist_hca_device *device, uint8_t number, bool up) {
    hca_enter();
    struct hca_port *port = port_of(device, number);
    enum ibv_port_state state = up ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
    if (port->config.state != state) {
        hca_note(device->hca, "link", number, up, 0);
        port->config.state = state;
        hca_notice_port(device, up ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR, number);
    }
    hca_leave();
}

void ist_hca_set_cut(struct ist_hca_device *device, uint8_t number, bool cut) {
    hca_enter();
    port_of(device, number)->cut = cut;
    hca_leave();
}

void ist_hca_set_gid(struct ist_hca_device *device, uint8_t number, uint32_t index,
                     const struct ist_hca_gid *gid) {
    hca_enter();
    struct hca_port *port = port_of(device, number);
    if (index >= IST_HCA_GIDS_MAX) {
        hca_violation("ist_hca_set_gid: index %u", index);
    }
    port->config.gid[index] = *gid;
    if (index >= port->config.gids) {
        port->config.gids = index + 1;
    }
    hca_notice_port(device, IBV_EVENT_GID_CHANGE, number);
    hca_leave();
}

void ist_hca_set_lid(struct ist_hca_device *device, uint8_t number, uint16_t lid) {
    struct ist_hca *hca = hca_enter();
    hca_note(hca, "lid", number, lid, 0);
    port_of(device, number)->config.lid = lid;
    hca_notice_port(device, IBV_EVENT_LID_CHANGE, number);
    hca_leave();
}

void ist_hca_set_mtu(struct ist_hca_device *device, uint8_t number, enum ibv_mtu mtu) {
    struct ist_hca *hca = hca_enter();
    hca_note(hca, "mtu", number, mtu, 0);
    port_of(device, number)->config.active_mtu = mtu;
    hca_leave();
}

/* Nothing of it moves any more. */
static void silence(struct hca_qp *qp) {
    hca_qp_stop(qp);
    qp->silent = true;
}

void ist_hca_device_fatal(struct ist_hca_device *device) {
    struct ist_hca *hca = hca_enter();
    if (!device->fatal) {
        device->fatal = true;
        hca_note(hca, "device-fatal", 0, 0, 0);
        hca_notice_port(device, IBV_EVENT_DEVICE_FATAL, 0);
        size_t serial = 0;
        for (struct hca_qp *qp; (qp = hca_numbers_next(&hca->qp_numbers, &serial)) != NULL;) {
            if (qp->device == device && hca_chance(hca, 500)) {
                silence(qp);
            } else if (qp->device == device) {
                hca_qp_error(qp);
            }
        }
    }
    hca_leave();
}

void ist_hca_kill(struct ibv_context *context) {
    struct ist_hca *hca = hca_enter();
    hca_context(context)->killed = true;
    hca_note(hca, "kill", 0, 0, 0);
    size_t serial = 0;
    for (struct hca_qp *qp; (qp = hca_numbers_next(&hca->qp_numbers, &serial)) != NULL;) {
        if (qp->qp.context == context) {
            silence(qp);
        }
    }
    hca_leave();
}

/* ---- queue pairs --------------------------------------------------------------------------------- */

void ist_hca_drop(struct ibv_qp *qp, uint32_t packets) {
    hca_enter();
    hca_qp(qp)->drop = packets;
    hca_leave();
}

static void postpone(struct hca_qp *qp, struct hca_event *event, uint64_t until_ns) {
    struct ist_hca *hca = qp->device->hca;
    if (hca_event_is_scheduled(event) && event->at_ns < until_ns) {
        hca_clock_cancel(&hca->clock, event);
        hca_clock_schedule(&hca->clock, event, until_ns, hca_random(hca));
    }
}

void ist_hca_delay(struct ibv_qp *visible, uint64_t ns) {
    struct hca_qp *qp = hca_qp(visible);
    struct ist_hca *hca = hca_enter();
    qp->held_until_ns = hca->clock.now_ns + ns;
    postpone(qp, &qp->execute, qp->held_until_ns);
    postpone(qp, &qp->read, qp->held_until_ns);
    postpone(qp, &qp->acknowledge, qp->held_until_ns);
    postpone(qp, &qp->retry, qp->held_until_ns);
    postpone(qp, &qp->flush, qp->held_until_ns);
    hca_leave();
}

void ist_hca_not_ready(struct ibv_qp *qp, uint32_t times) {
    hca_enter();
    hca_qp(qp)->refuse = times;
    hca_leave();
}

void ist_hca_fail_request(struct ibv_qp *qp, enum ibv_wc_status status) {
    hca_enter();
    hca_qp(qp)->fail = status;
    hca_leave();
}

void ist_hca_qp_fatal(struct ibv_qp *visible) {
    struct hca_qp *qp = hca_qp(visible);
    hca_enter();
    if (qp->state != IBV_QPS_ERR && qp->state != IBV_QPS_RESET) {
        hca_notice_qp(qp, IBV_EVENT_QP_FATAL);
        hca_qp_error(qp);
    }
    hca_leave();
}

void ist_hca_cq_fatal(struct ibv_cq *cq) {
    hca_enter();
    hca_cq_die(hca_cq(cq));
    hca_leave();
}

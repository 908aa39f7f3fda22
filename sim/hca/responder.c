/* The receiving half of a queue pair: what it does with the packets of its peer. */
#include "sim/hca/objects.h"

/* ---- the way there ------------------------------------------------------------------------------- */

/* RoCE: the address must be one of the port, of the same type, in the same network. */
static bool roce_reaches(const struct hca_qp *from, const struct hca_qp *to) {
    const struct ibv_global_route *route = &from->attr.ah_attr.grh;
    const struct ist_hca_gid *source =
        &hca_port(from->device, from->attr.port_num)->config.gid[route->sgid_index];
    const struct ist_hca_gid *target =
        &hca_port(to->device, to->attr.port_num)->config.gid[to->attr.ah_attr.grh.sgid_index];
    bool near = from->device == to->device || route->hop_limit > from->device->hca->config.routers;
    return near && memcmp(&route->dgid, &target->gid, sizeof(route->dgid)) == 0 &&
           source->type == target->type && source->network == target->network &&
           !hca_gid_is_empty(&source->gid);
}

static bool ib_reaches(const struct hca_qp *from, const struct hca_qp *to) {
    const struct ibv_ah_attr *address = &from->attr.ah_attr;
    const struct ist_hca_port_config *target = &hca_port(to->device, to->attr.port_num)->config;
    if (address->dlid != target->lid || (target->grh_required && !address->is_global)) {
        return false;
    }
    bool found = !address->is_global;
    for (uint32_t i = 0; i < target->gids && !found; i++) {
        found = memcmp(&address->grh.dgid, &target->gid[i].gid, sizeof(union ibv_gid)) == 0;
    }
    return found;
}

static bool reaches(struct hca_qp *from, struct hca_qp *to) {
    uint8_t layer = hca_port(from->device, from->attr.port_num)->config.link_layer;
    if (layer != hca_port(to->device, to->attr.port_num)->config.link_layer) {
        return false;
    }
    return layer == IBV_LINK_LAYER_ETHERNET ? roce_reaches(from, to) : ib_reaches(from, to);
}

static bool link_is_up(const struct hca_port *port) {
    return port != NULL && port->config.state == IBV_PORT_ACTIVE && !port->cut;
}

bool hca_links_are_up(struct hca_qp *qp) {
    struct hca_qp *peer = hca_numbers_find(&qp->device->hca->qp_numbers, qp->attr.dest_qp_num);
    return link_is_up(hca_port(qp->device, qp->attr.port_num)) &&
           (peer == NULL || peer->state == IBV_QPS_RESET ||
            link_is_up(hca_port(peer->device, peer->attr.port_num)));
}

struct hca_qp *hca_peer(struct hca_qp *qp) {
    struct hca_qp *peer = hca_numbers_find(&qp->device->hca->qp_numbers, qp->attr.dest_qp_num);
    if (peer == NULL || (peer->state != IBV_QPS_RTR && peer->state != IBV_QPS_RTS) || peer->silent ||
        peer->attr.dest_qp_num != qp->qp.qp_num) {
        return NULL;
    }
    return hca_links_are_up(qp) && reaches(qp, peer) && reaches(peer, qp) ? peer : NULL;
}

bool hca_gets_lost(struct hca_qp *qp) {
    struct ist_hca *hca = qp->device->hca;
    if (qp->drop > 0) {
        qp->drop -= qp->drop != UINT32_MAX;
        return true;
    }
    return hca->config.loss_ppm > 0 && hca_random_below(hca, 1000000) < hca->config.loss_ppm;
}

/* ---- refusing ------------------------------------------------------------------------------------ */

static enum hca_answer refuse_now(struct hca_qp *peer, const struct hca_request *request) {
    hca_note(peer->device->hca, "refused", peer->qp.qp_num, request->status, request->receive);
    if (request->receive != IBV_WC_SUCCESS) {
        if (peer->has_receive || hca_receive_take(peer)) {
            hca_receive_complete(peer, request->receive, NULL);
        }
    } else {
        hca_notice_qp(peer, request->status == IBV_WC_REM_ACCESS_ERR ? IBV_EVENT_QP_ACCESS_ERR
                                                                     : IBV_EVENT_QP_REQ_ERR);
    }
    hca_qp_error(peer);
    return HCA_REFUSED;
}

/* The data of READs before it was sent before: answers are in order (IBTA 9.7). */
static enum hca_answer refuse(struct hca_qp *peer, const struct hca_qp *qp, struct hca_request *request,
                              enum ibv_wc_status status, enum ibv_wc_status receive) {
    request->status = status;
    request->receive = receive;
    return qp->reads > 0 ? HCA_WAITS : refuse_now(peer, request);
}

void hca_refuse_read(struct hca_qp *peer) {
    hca_notice_qp(peer, IBV_EVENT_QP_ACCESS_ERR);
    hca_qp_error(peer);
}

/* ---- a request's first packet -------------------------------------------------------------------- */

static bool is_send(const struct hca_request *request) {
    return request->opcode == IBV_WR_SEND || request->opcode == IBV_WR_SEND_WITH_IMM;
}

static enum hca_answer check_send(struct hca_qp *peer, struct hca_qp *qp, struct hca_request *request) {
    const struct hca_receive *receive = hca_receive_peek(peer);
    if (peer->refuse > 0 || receive == NULL) {
        peer->refuse -= peer->refuse > 0;
        return HCA_NOT_READY;
    }
    if (hca_list_bytes(receive->sge, receive->sges) < request->bytes) {
        return refuse(peer, qp, request, IBV_WC_REM_INV_REQ_ERR, IBV_WC_LOC_LEN_ERR);
    }
    if (!hca_list_is_valid(hca_receive_pd(peer), receive->sge, receive->sges, IBV_ACCESS_LOCAL_WRITE)) {
        return refuse(peer, qp, request, IBV_WC_REM_OP_ERR, IBV_WC_LOC_PROT_ERR);
    }
    hca_receive_take(peer);
    return HCA_TAKEN;
}

static enum hca_answer check_remote(struct hca_qp *peer, struct hca_qp *qp,
                                    struct hca_request *request) {
    bool read = request->opcode == IBV_WR_RDMA_READ;
    unsigned access = read ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE;
    if ((peer->attr.qp_access_flags & access) == 0) {
        /* IBTA 9.7 and rxe: an invalid request; others: an access error. The number is random. */
        enum ibv_wc_status status =
            (peer->qp.qp_num & 1) != 0 ? IBV_WC_REM_INV_REQ_ERR : IBV_WC_REM_ACCESS_ERR;
        return refuse(peer, qp, request, status, IBV_WC_SUCCESS);
    }
    if (read && qp->reads >= peer->attr.max_dest_rd_atomic) {
        return refuse(peer, qp, request, IBV_WC_REM_INV_REQ_ERR, IBV_WC_SUCCESS);
    }
    if (request->bytes > 0 &&
        hca_remote(peer->qp.pd, request->rkey, request->remote_addr, request->bytes, access) == NULL) {
        return refuse(peer, qp, request, IBV_WC_REM_ACCESS_ERR, IBV_WC_SUCCESS);
    }
    return HCA_TAKEN;
}

static enum hca_answer check_first(struct hca_qp *peer, struct hca_qp *qp,
                                   struct hca_request *request) {
    if (peer->state == IBV_QPS_RTR && !peer->communicating) {
        peer->communicating = true;
        hca_notice_qp(peer, IBV_EVENT_COMM_EST);
    }
    if (qp->attr.path_mtu > peer->attr.path_mtu &&
        request->bytes > HCA_MTU_BYTES(peer->attr.path_mtu)) {
        return refuse(peer, qp, request, IBV_WC_REM_INV_REQ_ERR, IBV_WC_SUCCESS);
    }
    return is_send(request) ? check_send(peer, qp, request) : check_remote(peer, qp, request);
}

/* ---- every packet -------------------------------------------------------------------------------- */

/* WRITE_WITH_IMM takes a receive with its last packet (IBTA 9.4). */
static bool wants_receive(const struct hca_request *request) {
    return request->opcode == IBV_WR_RDMA_WRITE_WITH_IMM && request->chunk + 1 == request->chunks;
}

static enum hca_answer take_data(struct hca_qp *peer, struct hca_qp *qp, struct hca_request *request) {
    switch (request->bytes > 0 ? hca_move(qp, peer, request) : HCA_MOVED) {
    case HCA_MOVED: break;
    case HCA_LOCAL_FAULT: return HCA_CANNOT_SEND;
    case HCA_REMOTE_FAULT:
        return is_send(request) ? refuse(peer, qp, request, IBV_WC_REM_OP_ERR, IBV_WC_LOC_PROT_ERR)
                                : refuse(peer, qp, request, IBV_WC_REM_ACCESS_ERR, IBV_WC_SUCCESS);
    }
    if (request->chunk + 1 < request->chunks) {
        return HCA_TAKEN;
    }
    if (wants_receive(request)) {
        hca_receive_take(peer);
    }
    if (is_send(request) || wants_receive(request)) {
        hca_receive_complete(peer, IBV_WC_SUCCESS, request);
    }
    peer->receive_psn = (peer->receive_psn + request->chunks) & 0xffffff;
    return HCA_TAKEN;
}

enum hca_answer hca_respond(struct hca_qp *peer, struct hca_qp *qp, struct hca_request *request) {
    if (request->status != IBV_WC_SUCCESS) {
        return qp->reads > 0 ? HCA_WAITS : refuse_now(peer, request);
    }
    if (qp->send_psn != peer->receive_psn ||
        (is_send(request) && request->begun && !peer->has_receive)) {
        return HCA_SILENT; /* it expects another packet */
    }
    if (wants_receive(request) && (peer->refuse > 0 || hca_receive_peek(peer) == NULL)) {
        peer->refuse -= peer->refuse > 0;
        return HCA_NOT_READY;
    }
    if (!request->begun) {
        enum hca_answer answer = check_first(peer, qp, request);
        if (answer != HCA_TAKEN) {
            return answer;
        }
    }
    if (request->opcode == IBV_WR_RDMA_READ) {
        peer->receive_psn = (peer->receive_psn + request->chunks) & 0xffffff;
        return HCA_TAKEN;
    }
    return take_data(peer, qp, request);
}

/* Bytes on their way: gathered from one list, scattered to another, a chunk at a time. */
#include "sim/hca/objects.h"

uint64_t hca_list_bytes(const struct ibv_sge *sge, int sges) {
    uint64_t bytes = 0;
    for (int i = 0; i < sges; i++) {
        bytes += sge[i].length;
    }
    return bytes;
}

bool hca_list_is_valid(struct ibv_pd *pd, const struct ibv_sge *sge, int sges, unsigned access) {
    for (int i = 0; i < sges; i++) {
        if (sge[i].length > 0 &&
            hca_local(pd, sge[i].lkey, sge[i].addr, sge[i].length, access) == NULL) {
            return false;
        }
    }
    return true;
}

/* The entry of the list with this offset; the offset becomes one inside it. NULL: beyond the list. */
static const struct ibv_sge *find_entry(const struct ibv_sge *sge, int sges, uint64_t *offset) {
    for (int i = 0; i < sges; i++) {
        if (*offset < sge[i].length) {
            return &sge[i];
        }
        *offset -= sge[i].length;
    }
    return NULL;
}

/* A place from which, or to which, a piece of a message moves. */
struct piece {
    uint8_t *data;
    uint64_t bytes;
};

static struct piece list_piece(struct ibv_pd *pd, const struct ibv_sge *sge, int sges, uint64_t offset,
                               uint64_t bytes, unsigned access) {
    const struct ibv_sge *entry = find_entry(sge, sges, &offset);
    if (entry == NULL) {
        return (struct piece){.data = NULL};
    }
    uint64_t rest = entry->length - offset;
    uint64_t here = bytes < rest ? bytes : rest;
    return (struct piece){.data = hca_local(pd, entry->lkey, entry->addr + offset, here, access),
                          .bytes = here};
}

/* The requester's side: source of SEND and WRITE, destination of READ. */
static struct piece requester_piece(struct hca_qp *qp, const struct hca_request *request,
                                    uint64_t offset, uint64_t bytes) {
    if (request->inlined) {
        return (struct piece){.data = request->inline_data + offset, .bytes = bytes};
    }
    unsigned access = request->opcode == IBV_WR_RDMA_READ ? IBV_ACCESS_LOCAL_WRITE : 0;
    return list_piece(qp->qp.pd, request->sge, request->sges, offset, bytes, access);
}

static struct piece responder_piece(struct hca_qp *peer, const struct hca_request *request,
                                    uint64_t offset, uint64_t bytes) {
    if (request->opcode == IBV_WR_SEND || request->opcode == IBV_WR_SEND_WITH_IMM) {
        return list_piece(hca_receive_pd(peer), peer->receiving.sge, peer->receiving.sges, offset,
                          bytes, IBV_ACCESS_LOCAL_WRITE);
    }
    unsigned access =
        request->opcode == IBV_WR_RDMA_READ ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE;
    return (struct piece){
        .data = hca_remote(peer->qp.pd, request->rkey, request->remote_addr + offset, bytes, access),
        .bytes = bytes};
}

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b) {
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void hca_shuffle(struct ist_hca *hca, struct hca_request *request) {
    request->chunk = 0;
    request->first = (uint32_t)hca_random_below(hca, request->chunks);
    do {
        request->stride = 1 + (uint32_t)hca_random_below(hca, request->chunks);
    } while (greatest_common_divisor(request->stride, request->chunks) != 1);
}

void hca_chunk(const struct hca_qp *qp, const struct hca_request *request, uint64_t *offset,
               uint64_t *bytes) {
    uint64_t mtu = HCA_MTU_BYTES(qp->attr.path_mtu);
    uint64_t place = (request->first + (uint64_t)request->chunk * request->stride) % request->chunks;
    *offset = place * mtu;
    uint64_t rest = request->bytes - *offset;
    *bytes = rest < mtu ? rest : mtu;
}

enum hca_moved hca_move(struct hca_qp *qp, struct hca_qp *peer, const struct hca_request *request) {
    uint64_t offset, bytes;
    hca_chunk(qp, request, &offset, &bytes);
    while (bytes > 0) {
        struct piece remote = responder_piece(peer, request, offset, bytes);
        if (remote.data == NULL) {
            return HCA_REMOTE_FAULT;
        }
        struct piece local = requester_piece(qp, request, offset, remote.bytes);
        if (local.data == NULL) {
            return HCA_LOCAL_FAULT;
        }
        if (request->opcode == IBV_WR_RDMA_READ) {
            memmove(local.data, remote.data, local.bytes);
        } else {
            memmove(remote.data, local.data, local.bytes);
        }
        offset += local.bytes;
        bytes -= local.bytes;
    }
    return HCA_MOVED;
}

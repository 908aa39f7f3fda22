/* The sending half of a queue pair: starts requests in order, counts what is outstanding, sends again what got
 * lost, retires in order, and flushes what is left after an error. */
#include "base/assert.h"
#include "sim/hca/objects.h"

#define RNR_FOR_EVER 7

static void schedule(struct hca_qp *qp, struct hca_event *event, uint64_t at_ns) {
    struct ist_hca *hca = qp->device->hca;
    if (hca_event_is_scheduled(event) || qp->silent) {
        return;
    }
    uint64_t at = at_ns > qp->held_until_ns ? at_ns : qp->held_until_ns;
    hca_clock_schedule(&hca->clock, event, at, hca_random(hca));
}

static uint64_t now(const struct hca_qp *qp) {
    return qp->device->hca->clock.now_ns;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* The port sends so many bytes, not before `from_ns`. Returns when they have left. */
static uint64_t depart(struct ist_hca *hca, struct hca_port *port, uint64_t from_ns, uint64_t bytes) {
    uint64_t start = later(from_ns, port->free_ns);
    if (hca->config.bytes_per_us > 0) {
        start += bytes * 1000 / hca->config.bytes_per_us;
    }
    port->free_ns = start;
    return start;
}

static uint64_t arrival(struct ist_hca *hca, uint64_t departure_ns) {
    return departure_ns + hca->config.latency_ns + hca_jitter(hca);
}

static bool is_read(const struct hca_request *request) {
    return request->opcode == IBV_WR_RDMA_READ;
}

/* ---- starting ------------------------------------------------------------------------------------ */

/* IBTA 10.8.3, the table of ordering rules: a fence waits for the READs before it. */
static bool may_start(const struct hca_qp *qp, const struct hca_request *request) {
    if (request->fenced && qp->reads > 0) {
        return false;
    }
    return !is_read(request) || qp->attr.max_rd_atomic == 0 || qp->reads < qp->attr.max_rd_atomic;
}

/* When the next packet of the request in execution reaches the peer. */
static void schedule_packet(struct hca_qp *qp, struct hca_request *request) {
    struct ist_hca *hca = qp->device->hca;
    uint64_t offset, bytes = 0;
    if (!is_read(request)) {
        hca_chunk(qp, request, &offset, &bytes);
    }
    struct hca_port *port = hca_port(qp->device, qp->attr.port_num);
    qp->departure_ns = depart(hca, port, later(request->ready_ns, qp->departure_ns), bytes);
    schedule(qp, &qp->execute, arrival(hca, qp->departure_ns));
}

void hca_kick(struct hca_qp *qp) {
    if (qp->state != IBV_QPS_RTS || qp->halted || qp->lost || qp->executed == qp->posted ||
        hca_event_is_scheduled(&qp->execute)) {
        return;
    }
    struct hca_request *request = hca_request(qp, qp->executed);
    if (!may_start(qp, request)) {
        request->waits = true;
        return;
    }
    if (request->waits) {
        request->waits = false;
        request->ready_ns = now(qp);
    }
    schedule_packet(qp, request);
}

/* ---- loss ---------------------------------------------------------------------------------------- */

/* IBTA 9.7: a lost packet is noticed after one to four times the timeout; at once, more or less, when a later
 * one gets through and is refused for its sequence number. */
static void lose(struct hca_qp *qp, bool later_ones_arrive) {
    struct ist_hca *hca = qp->device->hca;
    qp->lost = true;
    hca_note(hca, "lost", qp->qp.qp_num, qp->executed, qp->retries);
    if (hca_event_is_scheduled(&qp->retry)) {
        return;
    }
    if (later_ones_arrive && hca_chance(hca, 500)) {
        schedule(qp, &qp->retry, now(qp) + 2 * hca->config.latency_ns);
    } else if (qp->attr.timeout != 0) {
        uint64_t timeout_ns = 4096ull << qp->attr.timeout;
        schedule(qp, &qp->retry, now(qp) + timeout_ns + hca_random_below(hca, 3 * timeout_ns));
    }
}

static void fail_oldest(struct hca_qp *qp, enum ibv_wc_status status);

void hca_retry_fires(struct hca_event *event) {
    struct hca_qp *qp = HCA_CONTAINER(event, struct hca_qp, retry);
    qp->retries++;
    qp->lost = false;
    if (qp->retries > qp->attr.retry_cnt) {
        fail_oldest(qp, IBV_WC_RETRY_EXC_ERR);
        return;
    }
    if (qp->reads > 0) {
        schedule(qp, &qp->read, now(qp) + 2 * qp->device->hca->config.latency_ns);
    }
    if (qp->asks) {
        schedule(qp, &qp->acknowledge, now(qp) + 2 * qp->device->hca->config.latency_ns);
    }
    if (qp->executed < qp->posted && !qp->halted) {
        hca_request(qp, qp->executed)->ready_ns = now(qp);
        hca_kick(qp);
    }
}

static void progress_was_made(struct hca_qp *qp) {
    qp->retries = 0;
}

/* ---- retiring ------------------------------------------------------------------------------------ */

static enum ibv_wc_opcode completion_opcode(enum ibv_wr_opcode opcode) {
    switch (opcode) {
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_WRITE_WITH_IMM: return IBV_WC_RDMA_WRITE;
    case IBV_WR_RDMA_READ: return IBV_WC_RDMA_READ;
    case IBV_WR_SEND:
    case IBV_WR_SEND_WITH_IMM:
    case IBV_WR_ATOMIC_CMP_AND_SWP:
    case IBV_WR_ATOMIC_FETCH_AND_ADD:
    case IBV_WR_LOCAL_INV:
    case IBV_WR_BIND_MW:
    case IBV_WR_SEND_WITH_INV:
    case IBV_WR_TSO:
    case IBV_WR_DRIVER1:
    case IBV_WR_ATOMIC_WRITE: break; /* never posted but SEND */
    }
    return IBV_WC_SEND;
}

static void complete_next(struct hca_qp *qp, enum ibv_wc_status status) {
    const struct hca_request *request = hca_request(qp, qp->completed);
    qp->completed++;
    struct hca_completion completion = {.wc = {.wr_id = request->wr_id,
                                               .status = status,
                                               .opcode = completion_opcode(request->opcode),
                                               .byte_len = request->bytes,
                                               .qp_num = qp->qp.qp_num},
                                        .qp = qp,
                                        .retires = qp->completed};
    hca_complete(qp->qp.send_cq, &completion);
}

/* In order, as far as nothing is outstanding. */
static void retire(struct hca_qp *qp) {
    while (qp->completed < qp->posted && qp->state == IBV_QPS_RTS) {
        const struct hca_request *request = hca_request(qp, qp->completed);
        if (!request->done) {
            return;
        }
        if (request->status != IBV_WC_SUCCESS) {
            complete_next(qp, request->status);
            hca_qp_error(qp);
        } else if (request->signalled) {
            complete_next(qp, IBV_WC_SUCCESS);
        } else {
            qp->completed++;
        }
    }
}

/* The request is over, and the queue pair when its turn comes. */
static void fail(struct hca_qp *qp, struct hca_request *request, enum ibv_wc_status status) {
    request->status = status;
    request->done = true;
    qp->halted = true;
    retire(qp);
}

static void fail_oldest(struct hca_qp *qp, enum ibv_wc_status status) {
    IST_ASSERT(qp->completed < qp->posted);
    fail(qp, hca_request(qp, qp->completed), status);
}

/* ---- SEND and WRITE are executed, READ is taken -------------------------------------------------- */

static void schedule_acknowledgement(struct hca_qp *qp, const struct hca_request *request) {
    schedule(qp, &qp->acknowledge, arrival(qp->device->hca, request->executed_ns));
}

/* The next READ whose data is on its way. */
static struct hca_request *reading(struct hca_qp *qp) {
    qp->reading = later(qp->reading, qp->completed);
    for (; qp->reading < qp->executed; qp->reading++) {
        struct hca_request *request = hca_request(qp, qp->reading);
        if (is_read(request) && !request->done) {
            return request;
        }
    }
    return NULL;
}

static void schedule_read(struct hca_qp *qp, const struct hca_request *request) {
    struct ist_hca *hca = qp->device->hca;
    struct hca_qp *peer = hca_peer(qp);
    uint64_t offset, bytes = 0, departure = later(request->executed_ns, qp->read_departure_ns);
    if (peer != NULL && request->bytes > 0) {
        hca_chunk(qp, request, &offset, &bytes);
        departure = depart(hca, hca_port(peer->device, peer->attr.port_num), departure, bytes);
    }
    qp->read_departure_ns = departure;
    schedule(qp, &qp->read, arrival(hca, departure));
}

static void executed(struct hca_qp *qp, struct hca_request *request) {
    request->executed_ns = now(qp);
    qp->executed++;
    if (is_read(request) && request->status == IBV_WC_SUCCESS) {
        qp->reads++;
        if (qp->reads == 1) {
            schedule_read(qp, request);
        }
    } else {
        schedule_acknowledgement(qp, request);
    }
}

static enum ibv_wc_status local_status(struct hca_qp *qp, const struct hca_request *request) {
    const struct hca_port *port = hca_port(qp->device, qp->attr.port_num);
    if (qp->fail != IBV_WC_SUCCESS) {
        enum ibv_wc_status status = qp->fail;
        qp->fail = IBV_WC_SUCCESS;
        return status;
    }
    if (request->bytes > port->config.max_msg_bytes) {
        return IBV_WC_LOC_LEN_ERR;
    }
    if (is_read(request) && qp->attr.max_rd_atomic == 0) {
        return IBV_WC_LOC_QP_OP_ERR;
    }
    unsigned access = is_read(request) ? IBV_ACCESS_LOCAL_WRITE : 0;
    bool valid = request->inlined || hca_list_is_valid(qp->qp.pd, request->sge, request->sges, access);
    return valid ? IBV_WC_SUCCESS : IBV_WC_LOC_PROT_ERR;
}

/* No receive is posted there. */
static void receiver_not_ready(struct hca_qp *qp, struct hca_request *request,
                               const struct hca_qp *peer) {
    /* IBTA 9.7, table "Encoding for RNR NAK Timer Field", in units of 10 us. */
    static const uint32_t timer[32] = {65536, 1,    2,    3,     4,     6,     8,     12,
                                       16,    24,   32,   48,    64,    96,    128,   192,
                                       256,   384,  512,  768,   1024,  1536,  2048,  3072,
                                       4096,  6144, 8192, 12288, 16384, 24576, 32768, 49152};
    struct ist_hca *hca = qp->device->hca;
    hca_note(hca, "not-ready", qp->qp.qp_num, qp->executed, qp->not_ready);
    progress_was_made(qp);
    if (qp->attr.rnr_retry != RNR_FOR_EVER && qp->not_ready++ == qp->attr.rnr_retry) {
        request->status = IBV_WC_RNR_RETRY_EXC_ERR;
        qp->halted = true;
        executed(qp, request);
        return;
    }
    uint64_t wait_ns = timer[peer->attr.min_rnr_timer] * 10000ull;
    schedule(qp, &qp->execute, arrival(hca, now(qp) + hca->config.latency_ns + wait_ns));
}

static void packet_taken(struct hca_qp *qp, struct hca_request *request) {
    progress_was_made(qp);
    qp->not_ready = 0;
    request->begun = true;
    if (!is_read(request)) {
        request->chunk++;
        if (request->chunk < request->chunks) {
            schedule_packet(qp, request);
            return;
        }
    }
    qp->send_psn = (qp->send_psn + request->chunks) & 0xffffff;
    executed(qp, request);
    hca_kick(qp);
}

/* A packet of the request in execution arrives. */
void hca_execute_fires(struct hca_event *event) {
    struct hca_qp *qp = HCA_CONTAINER(event, struct hca_qp, execute);
    struct hca_request *request = hca_request(qp, qp->executed);
    if (!request->begun) {
        enum ibv_wc_status status = local_status(qp, request);
        if (status != IBV_WC_SUCCESS) {
            fail(qp, request, status);
            return;
        }
    }
    struct hca_qp *peer = hca_peer(qp);
    if (peer == NULL || hca_gets_lost(qp)) {
        lose(qp,
             peer != NULL && (request->chunk + 1 < request->chunks || qp->executed + 1 < qp->posted));
        return;
    }
    enum hca_answer answer = hca_respond(peer, qp, request);
    if (qp->state != IBV_QPS_RTS) {
        return; /* its own peer, or on the peer's CQ that died */
    }
    switch (answer) {
    case HCA_TAKEN: packet_taken(qp, request); break;
    case HCA_NOT_READY: receiver_not_ready(qp, request, peer); break;
    case HCA_REFUSED:
        qp->halted = true;
        executed(qp, request);
        break;
    case HCA_WAITS: request->waits = true; break;
    case HCA_SILENT: lose(qp, false); break;
    case HCA_CANNOT_SEND: fail(qp, request, IBV_WC_LOC_PROT_ERR); break;
    }
}

/* ---- answers ------------------------------------------------------------------------------------- */

void hca_acknowledge_fires(struct hca_event *event) {
    struct hca_qp *qp = HCA_CONTAINER(event, struct hca_qp, acknowledge);
    struct ist_hca *hca = qp->device->hca;
    if (!hca_links_are_up(qp) || hca_gets_lost(qp) || (qp->asks && hca_peer(qp) == NULL)) {
        qp->asks = true;
        lose(qp, false);
        return;
    }
    qp->asks = false;
    const struct hca_request *outstanding = NULL;
    for (uint64_t i = qp->completed; i < qp->executed && outstanding == NULL; i++) {
        struct hca_request *request = hca_request(qp, i);
        if (request->done || (is_read(request) && request->status == IBV_WC_SUCCESS)) {
            continue;
        }
        if (request->executed_ns + hca->config.latency_ns <= now(qp)) {
            request->done = true;
            progress_was_made(qp);
        } else {
            outstanding = request;
        }
    }
    if (outstanding != NULL) {
        schedule_acknowledgement(qp, outstanding);
    }
    retire(qp);
}

static void read_done(struct hca_qp *qp, struct hca_request *request) {
    request->done = true;
    qp->reads--;
    const struct hca_request *next = reading(qp);
    if (next != NULL) {
        schedule_read(qp, next);
    }
    retire(qp);
    hca_kick(qp);
}

/* A packet of a READ's data arrives: only now it is fetched from the peer's memory. */
void hca_read_fires(struct hca_event *event) {
    struct hca_qp *qp = HCA_CONTAINER(event, struct hca_qp, read);
    struct hca_request *request = reading(qp);
    struct hca_qp *peer = hca_peer(qp);
    if (request == NULL) {
        return; /* failed for memory of ours that went away */
    }
    if (peer == NULL || hca_gets_lost(qp)) {
        lose(qp, peer != NULL && request->chunk + 1 < request->chunks);
        return;
    }
    progress_was_made(qp);
    switch (request->bytes > 0 ? hca_move(qp, peer, request) : HCA_MOVED) {
    case HCA_MOVED:
        request->chunk++;
        if (request->chunk < request->chunks) {
            schedule_read(qp, request);
        } else {
            read_done(qp, request);
        }
        break;
    case HCA_LOCAL_FAULT: fail(qp, request, IBV_WC_LOC_PROT_ERR); break;
    case HCA_REMOTE_FAULT:
        fail(qp, request, IBV_WC_REM_ACCESS_ERR);
        hca_refuse_read(peer);
        break;
    }
}

/* ---- errors -------------------------------------------------------------------------------------- */

void hca_qp_stop(struct hca_qp *qp) {
    struct hca_clock *clock = &qp->device->hca->clock;
    hca_clock_cancel(clock, &qp->execute);
    hca_clock_cancel(clock, &qp->read);
    hca_clock_cancel(clock, &qp->acknowledge);
    hca_clock_cancel(clock, &qp->retry);
    hca_clock_cancel(clock, &qp->flush);
    qp->reads = 0;
    qp->retries = 0;
    qp->halted = qp->lost = qp->asks = false;
}

void hca_qp_error(struct hca_qp *qp) {
    if (qp->state == IBV_QPS_ERR || qp->state == IBV_QPS_RESET) {
        return;
    }
    hca_note(qp->device->hca, "error", qp->qp.qp_num, qp->completed, qp->posted);
    hca_qp_stop(qp);
    qp->state = IBV_QPS_ERR;
    hca_qp_flush(qp);
}

void hca_qp_flush(struct hca_qp *qp) {
    struct ist_hca *hca = qp->device->hca;
    schedule(qp, &qp->flush, now(qp) + hca_jitter(hca));
}

/* One request or receive at a time: what the program does meanwhile falls in between. */
void hca_flush_fires(struct hca_event *event) {
    struct hca_qp *qp = HCA_CONTAINER(event, struct hca_qp, flush);
    struct ist_hca *hca = qp->device->hca;
    bool sends = qp->completed < qp->posted;
    bool receives = qp->has_receive || (qp->qp.srq == NULL && qp->queue.used < qp->queue.posted);
    if (sends && (!receives || hca_chance(hca, 500))) {
        qp->executed = later(qp->executed, qp->completed + 1);
        complete_next(qp, IBV_WC_WR_FLUSH_ERR);
    } else if (receives) {
        if (!qp->has_receive) {
            hca_receive_take(qp);
        }
        hca_receive_complete(qp, IBV_WC_WR_FLUSH_ERR, NULL);
    } else {
        if (qp->qp.srq != NULL && !qp->last_reached) {
            qp->last_reached = true;
            hca_notice_qp(qp, IBV_EVENT_QP_LAST_WQE_REACHED);
        }
        return;
    }
    hca_qp_flush(qp);
}

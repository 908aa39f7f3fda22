#include "tests/conformance/conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PSN 0xfffff0 /* wraps soon */
#define LAST_ID 0xfeedull

struct place place;

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the place ----------------------------------------------------------------------------------- */

static struct ibv_context *open_named(const char *name) {
    struct ibv_context *context = NULL;
    struct ibv_device **list = ibv_get_device_list(NULL);
    assert_non_null(list);
    for (int i = 0; list[i] != NULL && context == NULL; i++) {
        if (strcmp(ibv_get_device_name(list[i]), name) == 0) {
            context = ibv_open_device(list[i]);
        }
    }
    ibv_free_device_list(list);
    assert_non_null(context);
    assert_int_equal(fcntl(context->async_fd, F_SETFL, O_NONBLOCK), 0);
    return context;
}

static bool is_ipv4(const union ibv_gid *gid) {
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(gid->raw, prefix, sizeof(prefix)) == 0;
}

/* RoCE v2, IPv4 where there is one. */
static void choose_gid(int side) {
    struct ibv_gid_entry entry[256];
    ssize_t entries = ibv_query_gid_table(place.context[side], entry, 256, 0);
    bool found = false, found_ipv4 = false;
    for (ssize_t i = 0; i < entries; i++) {
        bool ipv4 = is_ipv4(&entry[i].gid);
        if (entry[i].port_num != place.port[side] || entry[i].gid_type != IBV_GID_TYPE_ROCE_V2 ||
            (found && (found_ipv4 || !ipv4))) {
            continue;
        }
        found = true;
        found_ipv4 = ipv4;
        place.gid_index[side] = (uint8_t)entry[i].gid_index;
        place.gid[side] = entry[i].gid;
    }
    assert_true(found);
}

int open_place(void **state) {
    (void)state;
    const char *name[2];
    place_names(name);
    place.mtu = IBV_MTU_4096;
    for (int i = 0; i < 2; i++) {
        struct ibv_port_attr port;
        place.context[i] = open_named(name[i]);
        place.port[i] = 1;
        assert_int_equal(ibv_query_port(place.context[i], 1, &port), 0);
        assert_int_equal(port.state, IBV_PORT_ACTIVE);
        place.lid[i] = port.lid;
        place.mtu = port.active_mtu < place.mtu ? port.active_mtu : place.mtu;
        place.roce = port.link_layer == IBV_LINK_LAYER_ETHERNET;
        if (place.roce) {
            choose_gid(i);
        }
    }
    struct ibv_device_attr attr;
    assert_int_equal(ibv_query_device(place.context[0], &attr), 0);
    if (place.kind == NULL) {
        place.kind = attr.vendor_id == 0xffffff ? "rxe" : "card"; /* RXE_VENDOR_ID */
    }
    return 0;
}

int close_place(void **state) {
    (void)state;
    struct ibv_async_event event;
    for (int i = 0; i < 2; i++) {
        while (ibv_get_async_event(place.context[i], &event) == 0) {
            ibv_ack_async_event(&event);
        }
        assert_int_equal(ibv_close_device(place.context[i]), 0);
    }
    return 0;
}

/* ---- links --------------------------------------------------------------------------------------- */

struct options default_options(void) {
    return (struct options){.srq = true,
                            .send_wr = 128,
                            .recv_wr = 64,
                            .sge = 4,
                            .inline_bytes = 64,
                            .reads = 4,
                            .timeout = 14,
                            .retry_cnt = 6,
                            .rnr_retry = 7};
}

void make_qp(struct link *link, struct end *end) {
    struct ibv_qp_init_attr attr = {.send_cq = end->send_cq,
                                    .recv_cq = end->recv_cq,
                                    .srq = end->srq,
                                    .cap = {.max_send_wr = link->options.send_wr,
                                            .max_recv_wr = link->options.recv_wr,
                                            .max_send_sge = link->options.sge,
                                            .max_recv_sge = link->options.sge,
                                            .max_inline_data = link->options.inline_bytes},
                                    .qp_type = IBV_QPT_RC};
    end->qp = ibv_create_qp(end->pd, &attr);
    assert_non_null(end->qp);
    end->cap = attr.cap;
}

static void open_end(struct link *link, int side) {
    struct end *end = &link->end[side];
    const struct options *options = &link->options;
    end->context = place.context[side];
    end->pd = ibv_alloc_pd(end->context);
    assert_non_null(end->pd);
    end->channel = ibv_create_comp_channel(end->context);
    assert_non_null(end->channel);
    assert_int_equal(fcntl(end->channel->fd, F_SETFL, O_NONBLOCK), 0);
    /* Also for a second queue pair, and for queues that are larger than what was asked for. */
    end->send_cq = ibv_create_cq(end->context, (int)(4 * options->send_wr), end, end->channel, 0);
    end->recv_cq = ibv_create_cq(end->context, (int)(4 * options->recv_wr), end, end->channel, 0);
    assert_true(end->send_cq != NULL && end->recv_cq != NULL);
    if (options->srq) {
        struct ibv_srq_init_attr attr = {.attr = {.max_wr = options->recv_wr, .max_sge = options->sge}};
        end->srq = ibv_create_srq(end->pd, &attr);
        assert_non_null(end->srq);
    }
    end->buffer = guarded_new(BUFFER_BYTES);
    end->mr = ibv_reg_mr(end->pd, end->buffer, BUFFER_BYTES,
                         IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE);
    assert_non_null(end->mr);
    make_qp(link, end);
}

int to_state(struct ibv_qp *qp, enum ibv_qp_state state) {
    struct ibv_qp_attr attr = {.qp_state = state};
    return ibv_modify_qp(qp, &attr, IBV_QP_STATE);
}

int to_init(const struct link *link, int side, struct ibv_qp *qp) {
    (void)link;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .port_num = place.port[side],
                               .qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE};
    return ibv_modify_qp(qp, &attr,
                         IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

int to_rtr(const struct link *link, int side, struct ibv_qp *qp, uint32_t peer) {
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR,
                               .path_mtu = place.mtu,
                               .dest_qp_num = peer,
                               .rq_psn = PSN,
                               .max_dest_rd_atomic = link->options.reads,
                               .min_rnr_timer = 1, /* 0.01 ms */
                               .ah_attr = {.is_global = place.roce,
                                           .dlid = place.lid[1 - side],
                                           .port_num = place.port[side],
                                           .grh = {.dgid = place.gid[1 - side],
                                                   .sgid_index = place.gid_index[side],
                                                   .hop_limit = 64}}};
    return ibv_modify_qp(qp, &attr,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                             IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

int to_rts(const struct link *link, struct ibv_qp *qp) {
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS,
                               .timeout = link->options.timeout,
                               .retry_cnt = link->options.retry_cnt,
                               .rnr_retry = link->options.rnr_retry,
                               .sq_psn = PSN,
                               .max_rd_atomic = link->options.reads};
    return ibv_modify_qp(qp, &attr,
                         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                             IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

void connect_qps(struct link *link, struct ibv_qp *a, struct ibv_qp *b) {
    assert_int_equal(to_init(link, 0, a), 0);
    assert_int_equal(to_init(link, 1, b), 0);
    assert_int_equal(to_rtr(link, 0, a, b->qp_num), 0);
    assert_int_equal(to_rtr(link, 1, b, a->qp_num), 0);
    assert_int_equal(to_rts(link, a), 0);
    assert_int_equal(to_rts(link, b), 0);
}

void link_open(struct link *link, struct options options) {
    memset(link, 0, sizeof(*link));
    link->options = options;
    open_end(link, 0);
    open_end(link, 1);
    connect_qps(link, link->end[0].qp, link->end[1].qp);
}

static void drain_async(struct ibv_context *context) {
    struct ibv_async_event event;
    while (ibv_get_async_event(context, &event) == 0) {
        ibv_ack_async_event(&event);
    }
}

void link_close(struct link *link) {
    for (int i = 0; i < 2; i++) {
        struct end *end = &link->end[i];
        drain_async(end->context);
        assert_true(end->qp == NULL || ibv_destroy_qp(end->qp) == 0);
        assert_true(end->srq == NULL || ibv_destroy_srq(end->srq) == 0);
        assert_int_equal(ibv_destroy_cq(end->send_cq), 0);
        assert_int_equal(ibv_destroy_cq(end->recv_cq), 0);
        assert_int_equal(ibv_destroy_comp_channel(end->channel), 0);
        assert_true(end->mr == NULL || ibv_dereg_mr(end->mr) == 0);
        assert_int_equal(ibv_dealloc_pd(end->pd), 0);
        guarded_free(end->buffer, BUFFER_BYTES);
    }
}

enum ibv_qp_state state_of(struct ibv_qp *qp) {
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    assert_int_equal(ibv_query_qp(qp, &attr, IBV_QP_STATE, &init), 0);
    return attr.qp_state;
}

/* ---- work ---------------------------------------------------------------------------------------- */

#define LIST_MAX 256

void post_list(struct link *link, int side, const struct work *work, int count) {
    static struct ibv_send_wr wr[LIST_MAX];
    static struct ibv_sge sge[LIST_MAX];
    const struct end *from = &link->end[side], *to = &link->end[1 - side];
    struct ibv_send_wr *bad = NULL;
    assert_in_range(count, 1, LIST_MAX);
    for (int i = 0; i < count; i++) {
        sge[i] = (struct ibv_sge){.addr = (uintptr_t)from->buffer + work[i].from,
                                  .length = work[i].bytes,
                                  .lkey = work[i].lkey != 0 ? work[i].lkey : from->mr->lkey};
        wr[i] = (struct ibv_send_wr){.wr_id = work[i].id,
                                     .next = i + 1 < count ? &wr[i + 1] : NULL,
                                     .sg_list = &sge[i],
                                     .num_sge = work[i].bytes > 0,
                                     .opcode = work[i].opcode,
                                     .send_flags = work[i].flags,
                                     .imm_data = work[i].immediate};
        wr[i].wr.rdma.remote_addr = (uintptr_t)to->buffer + work[i].to;
        wr[i].wr.rdma.rkey = work[i].rkey != 0 ? work[i].rkey : to->mr != NULL ? to->mr->rkey : 0;
    }
    assert_int_equal(ibv_post_send(from->qp, wr, &bad), 0);
}

void post(struct link *link, int side, struct work work) {
    post_list(link, side, &work, 1);
}

void post_receive(struct link *link, int side, uint64_t id, uint64_t at, uint32_t bytes) {
    const struct end *end = &link->end[side];
    struct ibv_sge sge = {.addr = (uintptr_t)end->buffer + at, .length = bytes, .lkey = end->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = bytes > 0}, *bad;
    assert_int_equal(end->srq != NULL ? ibv_post_srq_recv(end->srq, &wr, &bad)
                                      : ibv_post_recv(end->qp, &wr, &bad),
                     0);
}

/* ---- waiting ------------------------------------------------------------------------------------- */

struct ibv_wc next_completion(struct ibv_cq *cq) {
    struct ibv_wc wc;
    uint64_t end = now_ms() + WAIT_MS;
    for (;;) {
        int polled = ibv_poll_cq(cq, 1, &wc);
        assert_in_range(polled, 0, 1);
        if (polled == 1) {
            return wc;
        }
        assert_true(now_ms() < end);
        sched_yield();
    }
}

struct ibv_wc assert_completion_of(struct ibv_cq *cq, uint64_t id, enum ibv_wc_status status,
                                   const char *name) {
    struct ibv_wc wc = next_completion(cq);
    assert_int_equal(wc.wr_id, id);
    if (wc.status != status && name != NULL && is_known_deviation(place.kind, name, wc.status)) {
        print_message("             %s deviates: %s: %s\n", place.kind, name,
                      ibv_wc_status_str(wc.status));
        return wc;
    }
    assert_string_equal(ibv_wc_status_str(wc.status), ibv_wc_status_str(status));
    return wc;
}

struct ibv_wc assert_completion(struct ibv_cq *cq, uint64_t id, enum ibv_wc_status status) {
    return assert_completion_of(cq, id, status, NULL);
}

void assert_nothing_before(struct link *link, int side, enum ibv_wc_status status) {
    post(link, side, (struct work){IBV_WR_RDMA_WRITE, .id = LAST_ID, .flags = IBV_SEND_SIGNALED});
    assert_completion(link->end[side].send_cq, LAST_ID, status);
}

void assert_state(struct ibv_qp *qp, enum ibv_qp_state state) {
    uint64_t end = now_ms() + WAIT_MS;
    while (state_of(qp) != state) {
        assert_true(now_ms() < end);
        sched_yield();
    }
}

void assert_async(struct ibv_context *context, enum ibv_event_type type, const char *name) {
    bool may_lack = name != NULL && is_known_deviation(place.kind, name, NOTHING_COMES);
    uint64_t end = now_ms() + (may_lack ? GRACE_MS : WAIT_MS);
    for (;;) {
        struct ibv_async_event event;
        struct pollfd wait = {.fd = context->async_fd, .events = POLLIN};
        if (ibv_get_async_event(context, &event) == 0) {
            ibv_ack_async_event(&event);
            if (event.event_type == type) {
                return;
            }
            continue;
        }
        assert_int_equal(errno, EAGAIN);
        if (may_lack && now_ms() >= end) {
            print_message("             %s deviates: %s: no event\n", place.kind, name);
            return;
        }
        assert_true(now_ms() < end);
        assert_true(poll(&wait, 1, 1) >= 0);
    }
}

static struct ibv_cq *try_event(struct end *end) {
    struct ibv_cq *cq;
    void *context;
    if (ibv_get_cq_event(end->channel, &cq, &context) != 0) {
        assert_int_equal(errno, EAGAIN);
        return NULL;
    }
    assert_ptr_equal(context, end);
    ibv_ack_cq_events(cq, 1);
    return cq;
}

struct ibv_cq *next_event(struct end *end) {
    uint64_t until = now_ms() + WAIT_MS;
    for (;;) {
        struct ibv_cq *cq = try_event(end);
        if (cq != NULL) {
            return cq;
        }
        assert_true(now_ms() < until);
        struct pollfd wait = {.fd = end->channel->fd, .events = POLLIN};
        assert_true(poll(&wait, 1, WAIT_MS) >= 0);
    }
}

bool has_event(struct end *end) {
    return try_event(end) != NULL;
}

void fill(uint8_t *memory, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes; i++) {
        memory[i] = (uint8_t)((seed + 1) * 131 + i * 7 + i / 251);
    }
}

#include "tests/hca_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_MAX 1000000 /* far more than any test needs */
#define PSN 0xfffffa      /* wraps after a few packets */

void pair_options_init(struct pair_options *options, uint64_t seed) {
    memset(options, 0, sizeof(*options));
    ist_hca_config_init(&options->config, seed);
    options->config.spurious_events = 0;
    ist_hca_device_config_roce(&options->device[0], "hca0", 0);
    ist_hca_device_config_roce(&options->device[1], "hca1", 1);
    options->cap = (struct ibv_qp_cap){.max_send_wr = 16,
                                       .max_recv_wr = 16,
                                       .max_send_sge = 4,
                                       .max_recv_sge = 4,
                                       .max_inline_data = 64};
    options->cqe = 64;
    options->access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
    options->qp_access = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
    options->mtu = IBV_MTU_1024;
    options->max_rd_atomic = options->max_dest_rd_atomic = 4;
    options->timeout = 14;
    options->retry_cnt = 6;
    options->rnr_retry = 7;
    options->min_rnr_timer = 12;
    options->gid_index = 3;
    options->hop_limit = 64;
}

/* ---- making -------------------------------------------------------------------------------------- */

void pair_init_devices(struct pair *pair, const struct pair_options *options) {
    memset(pair, 0, sizeof(*pair));
    pair->options = *options;
    pair->hca = ist_hca_new(&options->config);
    assert_non_null(pair->hca);
    for (int i = 0; i < 2; i++) {
        pair->side[i].device = ist_hca_add_device(pair->hca, &options->device[i]);
        assert_non_null(pair->side[i].device);
    }
}

static struct ibv_context *open_named(const char *name) {
    int devices;
    struct ibv_context *context = NULL;
    struct ibv_device **list = ibv_get_device_list(&devices);
    assert_non_null(list);
    for (int i = 0; i < devices; i++) {
        if (strcmp(ibv_get_device_name(list[i]), name) == 0) {
            context = ibv_open_device(list[i]);
        }
    }
    ibv_free_device_list(list);
    return context;
}

void pair_open(struct pair *pair, struct pair_side *side) {
    const struct pair_options *options = &pair->options;
    side->context = open_named(options->device[side - pair->side].name);
    assert_non_null(side->context);
    side->pd = ibv_alloc_pd(side->context);
    assert_non_null(side->pd);
    side->channel = ibv_create_comp_channel(side->context);
    assert_non_null(side->channel);
    assert_int_equal(fcntl(side->channel->fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fcntl(side->context->async_fd, F_SETFL, O_NONBLOCK), 0);
    side->send_cq = ibv_create_cq(side->context, (int)options->cqe, side, side->channel, 0);
    assert_non_null(side->send_cq);
    side->recv_cq = ibv_create_cq(side->context, (int)options->cqe, side, side->channel, 0);
    assert_non_null(side->recv_cq);
    if (options->srq) {
        struct ibv_srq_init_attr attr = {.attr = {.max_wr = 16, .max_sge = 4}};
        side->srq = ibv_create_srq(side->pd, &attr);
        assert_non_null(side->srq);
    }
    side->buffer = guarded_new(PAIR_BUFFER_BYTES);
    side->mr = ibv_reg_mr(side->pd, side->buffer, PAIR_BUFFER_BYTES, options->access);
    assert_non_null(side->mr);
}

void pair_make_qp(struct pair *pair, struct pair_side *side) {
    struct ibv_qp_init_attr attr = {.qp_context = side,
                                    .send_cq = side->send_cq,
                                    .recv_cq = side->recv_cq,
                                    .srq = side->srq,
                                    .cap = pair->options.cap,
                                    .qp_type = IBV_QPT_RC,
                                    .sq_sig_all = pair->options.all_signalled};
    side->qp = ibv_create_qp(side->pd, &attr);
    assert_non_null(side->qp);
}

int pair_to_init(struct pair *pair, struct pair_side *side) {
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = pair->options.qp_access};
    return ibv_modify_qp(side->qp, &attr, PAIR_INIT_MASK);
}

struct ibv_qp_attr pair_rtr_attr(const struct pair *pair, const struct pair_side *peer) {
    const struct pair_options *options = &pair->options;
    const struct ist_hca_port_config *port = &options->device[peer - pair->side].port[0];
    bool roce = port->link_layer == IBV_LINK_LAYER_ETHERNET;
    return (struct ibv_qp_attr){
        .qp_state = IBV_QPS_RTR,
        .path_mtu = options->mtu,
        .dest_qp_num = peer->qp != NULL ? peer->qp->qp_num : 0,
        .rq_psn = PSN,
        .max_dest_rd_atomic = options->max_dest_rd_atomic,
        .min_rnr_timer = options->min_rnr_timer,
        .ah_attr = {.is_global = roce,
                    .port_num = 1,
                    .dlid = port->lid,
                    .grh = {.dgid = port->gid[roce ? options->gid_index : 0].gid,
                            .sgid_index = roce ? options->gid_index : 0,
                            .hop_limit = options->hop_limit}},
    };
}

int pair_to_rtr(struct pair *pair, struct pair_side *side, const struct pair_side *peer) {
    struct ibv_qp_attr attr = pair_rtr_attr(pair, peer);
    return ibv_modify_qp(side->qp, &attr, PAIR_RTR_MASK);
}

struct ibv_qp_attr pair_rts_attr(const struct pair *pair) {
    const struct pair_options *options = &pair->options;
    return (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
                                .timeout = options->timeout,
                                .retry_cnt = options->retry_cnt,
                                .rnr_retry = options->rnr_retry,
                                .sq_psn = PSN,
                                .max_rd_atomic = options->max_rd_atomic};
}

int pair_to_rts(struct pair *pair, struct pair_side *side) {
    struct ibv_qp_attr attr = pair_rts_attr(pair);
    return ibv_modify_qp(side->qp, &attr, PAIR_RTS_MASK);
}

void pair_init(struct pair *pair, const struct pair_options *options) {
    pair_init_devices(pair, options);
    for (int i = 0; i < 2; i++) {
        pair_open(pair, &pair->side[i]);
        pair_make_qp(pair, &pair->side[i]);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pair_to_init(pair, &pair->side[i]), 0);
        assert_int_equal(pair_to_rtr(pair, &pair->side[i], &pair->side[1 - i]), 0);
        assert_int_equal(pair_to_rts(pair, &pair->side[i]), 0);
    }
}

void pair_init_seed(struct pair *pair, uint64_t seed) {
    struct pair_options options;
    pair_options_init(&options, seed);
    pair_init(pair, &options);
}

/* ---- unmaking ------------------------------------------------------------------------------------ */

void pair_destroy_qp(struct pair_side *side) {
    if (side->qp != NULL) {
        assert_int_equal(ibv_destroy_qp(side->qp), 0);
        side->qp = NULL;
    }
}

static void close_side(struct pair_side *side) {
    if (side->context == NULL) {
        return;
    }
    struct ibv_async_event event;
    while (ibv_get_async_event(side->context, &event) == 0) {
        ibv_ack_async_event(&event);
    }
    pair_destroy_qp(side);
    assert_true(side->srq == NULL || ibv_destroy_srq(side->srq) == 0);
    assert_true(side->send_cq == NULL || ibv_destroy_cq(side->send_cq) == 0);
    assert_true(side->recv_cq == NULL || ibv_destroy_cq(side->recv_cq) == 0);
    assert_true(side->channel == NULL || ibv_destroy_comp_channel(side->channel) == 0);
    assert_true(side->mr == NULL || ibv_dereg_mr(side->mr) == 0);
    assert_true(side->pd == NULL || ibv_dealloc_pd(side->pd) == 0);
    assert_int_equal(ibv_close_device(side->context), 0);
    if (side->buffer != NULL) {
        guarded_free(side->buffer, PAIR_BUFFER_BYTES);
    }
}

void pair_fini(struct pair *pair) {
    close_side(&pair->side[0]);
    close_side(&pair->side[1]);
    ist_hca_free(pair->hca);
}

/* ---- working ------------------------------------------------------------------------------------- */

int pair_try_post(struct pair *pair, int side, struct pair_work work) {
    struct pair_side *from = &pair->side[side];
    const struct pair_side *to = &pair->side[1 - side];
    struct ibv_sge sge = {.addr = (uintptr_t)from->buffer + work.offset,
                          .length = work.bytes,
                          .lkey = work.lkey != 0 ? work.lkey : from->mr->lkey};
    struct ibv_send_wr wr = {.wr_id = work.id,
                             .sg_list = &sge,
                             .num_sge = work.bytes > 0,
                             .opcode = work.opcode,
                             .send_flags = work.flags,
                             .imm_data = work.immediate},
                       *bad = NULL;
    wr.wr.rdma.remote_addr = (uintptr_t)to->buffer + work.offset;
    wr.wr.rdma.rkey = work.rkey != 0 ? work.rkey : to->mr->rkey;
    int error = ibv_post_send(from->qp, &wr, &bad);
    assert_true(error == 0 || bad == &wr);
    return error;
}

void pair_post(struct pair *pair, int side, struct pair_work work) {
    assert_int_equal(pair_try_post(pair, side, work), 0);
}

int pair_try_receive(struct pair *pair, int side, uint64_t id, uint32_t offset, uint32_t bytes) {
    struct pair_side *at = &pair->side[side];
    struct ibv_sge sge = {
        .addr = (uintptr_t)at->buffer + offset, .length = bytes, .lkey = at->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = bytes > 0}, *bad = NULL;
    int error =
        at->srq != NULL ? ibv_post_srq_recv(at->srq, &wr, &bad) : ibv_post_recv(at->qp, &wr, &bad);
    assert_true(error == 0 || bad == &wr);
    return error;
}

void pair_receive(struct pair *pair, int side, uint64_t id, uint32_t offset, uint32_t bytes) {
    assert_int_equal(pair_try_receive(pair, side, id, offset, bytes), 0);
}

void pair_fill(struct pair *pair, int side, uint8_t byte) {
    memset(pair->side[side].buffer, byte, PAIR_BUFFER_BYTES);
}

bool pair_holds(const struct pair *pair, int side, uint32_t offset, uint32_t bytes, uint8_t byte) {
    for (uint32_t i = 0; i < bytes; i++) {
        if (pair->side[side].buffer[offset + i] != byte) {
            return false;
        }
    }
    return true;
}

/* ---- expecting ----------------------------------------------------------------------------------- */

void pair_run(struct pair *pair) {
    assert_true(ist_hca_run(pair->hca, STEPS_MAX) < STEPS_MAX);
}

struct ibv_wc pair_expect(struct pair *pair, struct ibv_cq *cq, uint64_t id,
                          enum ibv_wc_status status) {
    struct ibv_wc wc;
    pair_run(pair);
    assert_int_equal(ibv_poll_cq(cq, 1, &wc), 1);
    assert_int_equal(wc.wr_id, id);
    assert_string_equal(ibv_wc_status_str(wc.status), ibv_wc_status_str(status));
    return wc;
}

void pair_expect_none(struct pair *pair, struct ibv_cq *cq) {
    struct ibv_wc wc;
    pair_run(pair);
    assert_int_equal(ibv_poll_cq(cq, 1, &wc), 0);
}

void pair_expect_event(struct pair *pair, int side, enum ibv_event_type type) {
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair->side[side].context, &event), 0);
    assert_string_equal(ibv_event_type_str(event.event_type), ibv_event_type_str(type));
    ibv_ack_async_event(&event);
}

void pair_expect_no_event(struct pair *pair, int side) {
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair->side[side].context, &event), -1);
    assert_int_equal(errno, EAGAIN);
}

enum ibv_qp_state pair_state(struct ibv_qp *qp) {
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    assert_int_equal(ibv_query_qp(qp, &attr, IBV_QP_STATE, &init), 0);
    return attr.qp_state;
}

/* ---- aborting ------------------------------------------------------------------------------------ */

static void die_wrong(void (*wrong)(struct pair *pair), struct pair *pair, int error_fd) {
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    dup2(error_fd, STDERR_FILENO);
    wrong(pair);
    _exit(0);
}

void assert_violation(void (*wrong)(struct pair *pair), struct pair *pair, const char *message) {
    int ends[2], status;
    char text[4096] = "";
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        die_wrong(wrong, pair, ends[1]);
    }
    close(ends[1]);
    size_t filled = 0;
    for (ssize_t got = 1; got > 0 && filled < sizeof(text) - 1; filled += (size_t)got) {
        got = read(ends[0], text + filled, sizeof(text) - 1 - filled);
        assert_true(got >= 0);
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(text, message) == NULL) {
        fail_msg("expected an abort with \"%s\", got status %#x and \"%s\"", message, (unsigned)status,
                 text);
    }
}

/* sim/hca: faults that a test orders. */
#include "tests/hca_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SIGNALED IBV_SEND_SIGNALED
#define MS 1000000ull

static struct pair_work write_of(uint64_t id, uint32_t bytes) {
    return (struct pair_work){IBV_WR_RDMA_WRITE, .id = id, .bytes = bytes, .flags = SIGNALED};
}

/* ---- links --------------------------------------------------------------------------------------- */

static void test_set_link__down_and_up_in_time__hidden_by_retries(void **state) {
    (void)state;
    for (int side = 0; side < 2; side++) {
        struct pair pair;
        pair_init_seed(&pair, 1);
        ist_hca_set_link(pair.side[side].device, 1, false);
        ist_hca_set_link(pair.side[side].device, 1, false); /* is down already: no second event */
        struct ibv_port_attr port;
        assert_int_equal(ibv_query_port(pair.side[side].context, 1, &port), 0);
        assert_int_equal(port.state, IBV_PORT_DOWN);
        pair_post(&pair, 0, write_of(1, 5000));
        ist_hca_advance(pair.hca, 60 * MS);
        ist_hca_set_link(pair.side[side].device, 1, true);
        pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
        pair_expect_event(&pair, side, IBV_EVENT_PORT_ERR);
        pair_expect_event(&pair, side, IBV_EVENT_PORT_ACTIVE);
        pair_expect_no_event(&pair, side);
        pair_expect_no_event(&pair, 1 - side);
        pair_fini(&pair);
    }
}

static void test_set_link__down__retry_exc_err_after_the_timeouts(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 2);
    pair_post(&pair, 0, write_of(1, 60000));
    for (int i = 0; i < 10; i++) {
        ist_hca_step(pair.hca);
    }
    ist_hca_set_link(pair.side[1].device, 1, false);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
    assert_true(ist_hca_now_ns(pair.hca) > 7 * 67 * MS);
    pair_fini(&pair);
}

static void test_set_link__two_contexts__each_is_told(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 3);
    struct ibv_context *second = ibv_open_device(pair.side[0].context->device);
    assert_non_null(second);
    assert_int_equal(fcntl(second->async_fd, F_SETFL, O_NONBLOCK), 0);
    ist_hca_set_link(pair.side[0].device, 1, false);
    pair_expect_event(&pair, 0, IBV_EVENT_PORT_ERR);
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(second, &event), 0);
    assert_int_equal(event.element.port_num, 1);
    ibv_ack_async_event(&event);
    assert_int_equal(ibv_close_device(second), 0);
    pair_fini(&pair);
}

static void test_set_cut__any__nobody_is_told(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 4);
    ist_hca_set_cut(pair.side[1].device, 1, true);
    pair_post(&pair, 0, write_of(1, 10));
    ist_hca_advance(pair.hca, 60 * MS);
    ist_hca_set_cut(pair.side[1].device, 1, false);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    ist_hca_set_cut(pair.side[1].device, 1, true);
    pair_post(&pair, 0, write_of(2, 10));
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_RETRY_EXC_ERR);
    pair_expect_no_event(&pair, 0);
    pair_expect_no_event(&pair, 1);
    pair_fini(&pair);
}

static void test_set_gid__of_a_connection__breaks_it_with_gid_change(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 5);
    struct ist_hca_gid gid = pair.options.device[1].port[0].gid[3];
    gid.gid.raw[15] = 200;
    ist_hca_set_gid(pair.side[1].device, 1, 3, &gid);
    pair_expect_event(&pair, 1, IBV_EVENT_GID_CHANGE);
    union ibv_gid now;
    assert_int_equal(ibv_query_gid(pair.side[1].context, 1, 3, &now), 0);
    assert_int_equal(now.raw[15], 200);
    pair_post(&pair, 0, write_of(1, 10));
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
    pair_fini(&pair);
}

static void break_port_9(struct pair *pair) {
    ist_hca_set_link(pair->side[0].device, 9, false);
}
static void break_gid_99(struct pair *pair) {
    ist_hca_set_gid(pair->side[0].device, 1, 99, &pair->options.device[0].port[0].gid[0]);
}

static void test_faults__of_what_is_not_there__abort(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 6);
    assert_violation(break_port_9, &pair, "hca0 has no port 9");
    assert_violation(break_gid_99, &pair, "index 99");
    pair_fini(&pair);
}

/* ---- devices and processes ----------------------------------------------------------------------- */

static void test_device_fatal__any__calls_fail_and_destroying_works(void **state) {
    (void)state;
    int flushed = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair_options options;
        struct pair pair;
        pair_options_init(&options, seed);
        options.srq = true;
        pair_init(&pair, &options);
        struct pair_side *side = &pair.side[0];
        pair_post(&pair, 0, write_of(1, 5000));
        pair_post(&pair, 1, write_of(2, 5000));
        struct ibv_device *device = side->context->device;
        ist_hca_device_fatal(side->device);
        pair_expect_event(&pair, 0, IBV_EVENT_DEVICE_FATAL);
        int devices;
        struct ibv_device **list = ibv_get_device_list(&devices);
        assert_int_equal(devices, 1);
        ibv_free_device_list(list);
        assert_null(ibv_open_device(device));
        assert_int_equal(errno, EIO);
        assert_null(ibv_alloc_pd(side->context));
        assert_null(ibv_create_comp_channel(side->context));
        assert_null(ibv_create_cq(side->context, 1, NULL, NULL, 0));
        assert_null(ibv_reg_mr(side->pd, side->buffer, 1, IBV_ACCESS_LOCAL_WRITE));
        assert_int_equal(errno, EIO);
        struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
        assert_int_equal(ibv_modify_qp(side->qp, &attr, IBV_QP_STATE), EIO);
        struct ibv_device_attr device_attr;
        assert_int_equal(ibv_query_device(side->context, &device_attr), EIO);
        pair_post(&pair, 0, write_of(3, 10));
        struct ibv_wc wc[3];
        pair_run(&pair);
        int polled = ibv_poll_cq(side->send_cq, 3, wc);
        assert_true(polled == 0 || polled == 2);
        flushed += polled == 2;
        for (int i = 0; i < polled; i++) {
            assert_int_equal(wc[i].status, IBV_WC_WR_FLUSH_ERR);
        }
        pair_expect(&pair, pair.side[1].send_cq, 2, IBV_WC_RETRY_EXC_ERR);
        pair_fini(&pair);
    }
    assert_in_range(flushed, 1, 19);
}

static void test_kill__any_moment__peer_gets_no_answer_and_memory_is_unreachable(void **state) {
    (void)state;
    for (int steps = 0; steps < 40; steps += 3) {
        struct pair pair;
        pair_init_seed(&pair, 7);
        pair_receive(&pair, 1, 9, 0, 10);
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 60000, .flags = SIGNALED});
        pair_post(&pair, 1, write_of(2, 60000));
        for (int i = 0; i < steps; i++) {
            ist_hca_step(pair.hca);
        }
        ist_hca_kill(pair.side[1].context);
        uint8_t *before = guarded_new(PAIR_BUFFER_BYTES);
        memcpy(before, pair.side[1].buffer, PAIR_BUFFER_BYTES);
        pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
        assert_memory_equal(before, pair.side[1].buffer, PAIR_BUFFER_BYTES);
        guarded_free(before, PAIR_BUFFER_BYTES);
        /* Nothing comes to it any more, and what it does has no effect. */
        pair_expect_none(&pair, pair.side[1].send_cq);
        pair_expect_none(&pair, pair.side[1].recv_cq);
        ist_hca_set_link(pair.side[1].device, 1, false);
        pair_expect_no_event(&pair, 1);
        pair_post(&pair, 1, write_of(3, 10));
        pair_receive(&pair, 1, 9, 0, 10);
        struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
        assert_int_equal(ibv_modify_qp(pair.side[1].qp, &attr, IBV_QP_STATE), EIO);
        pair_expect_none(&pair, pair.side[1].send_cq);
        pair_fini(&pair);
    }
}

/* ---- queue pairs --------------------------------------------------------------------------------- */

static void test_delay__in_mid_transfer__nothing_of_it_moves_until_then(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 8);
    pair_fill(&pair, 0, 1);
    pair_post(&pair, 0, write_of(1, 16384));
    for (int i = 0; i < 5; i++) {
        assert_true(ist_hca_step(pair.hca));
    }
    uint8_t before[16384];
    memcpy(before, pair.side[1].buffer, sizeof(before));
    ist_hca_delay(pair.side[0].qp, 5 * MS);
    pair_post(&pair, 0, write_of(2, 100));
    pair_post(&pair, 1,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 3, .offset = 30000, .bytes = 50,
                                 .flags = SIGNALED});
    ist_hca_advance(pair.hca, 4 * MS);
    assert_memory_equal(before, pair.side[1].buffer, sizeof(before));
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), 0);
    assert_int_equal(ibv_poll_cq(pair.side[1].send_cq, 1, &wc), 1); /* the others go on */
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    pair_fini(&pair);
}

static void test_delay__of_an_idle_queue_pair__holds_what_is_posted_then(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 16);
    ist_hca_delay(pair.side[0].qp, 5 * MS);
    pair_post(&pair, 0, write_of(1, 100));
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    assert_in_range(ist_hca_now_ns(pair.hca), 5 * MS, 6 * MS);
    pair_fini(&pair);
}

static void test_fail_request__any_status__that_one(void **state) {
    (void)state;
    static const enum ibv_wc_status statuses[] = {IBV_WC_LOC_QP_OP_ERR, IBV_WC_GENERAL_ERR,
                                                  IBV_WC_REM_OP_ERR, IBV_WC_BAD_RESP_ERR};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct pair pair;
        pair_init_seed(&pair, 9);
        /* Two READs before it are taken, and their data is on the way. */
        for (uint64_t id = 1; id <= 2; id++) {
            pair_post(
                &pair, 0,
                (struct pair_work){IBV_WR_RDMA_READ, .id = id, .bytes = 30000, .flags = SIGNALED});
            assert_true(ist_hca_step(pair.hca));
        }
        ist_hca_fail_request(pair.side[0].qp, statuses[i]);
        pair_fill(&pair, 0, 7);
        for (uint64_t id = 3; id <= 4; id++) {
            pair_post(&pair, 0,
                      (struct pair_work){IBV_WR_RDMA_WRITE, .id = id, .offset = 40000, .bytes = 10});
        }
        pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
        pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
        pair_expect(&pair, pair.side[0].send_cq, 3, statuses[i]);
        pair_expect(&pair, pair.side[0].send_cq, 4, IBV_WC_WR_FLUSH_ERR);
        assert_true(pair_holds(&pair, 1, 40000, 10, 0));
        pair_fini(&pair);
    }
}

static void test_qp_fatal__any__event_and_flush(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 10);
    pair_post(&pair, 0, write_of(1, 5000));
    ist_hca_qp_fatal(pair.side[0].qp);
    ist_hca_qp_fatal(pair.side[0].qp);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_WR_FLUSH_ERR);
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair.side[0].context, &event), 0);
    assert_int_equal(event.event_type, IBV_EVENT_QP_FATAL);
    assert_ptr_equal(event.element.qp, pair.side[0].qp);
    ibv_ack_async_event(&event);
    pair_expect_no_event(&pair, 0);
    pair_fini(&pair);
}

static void test_cq_fatal__queue_pair_in_reset__stays_there(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 15);
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};
    assert_int_equal(ibv_modify_qp(pair.side[0].qp, &attr, IBV_QP_STATE), 0);
    ist_hca_cq_fatal(pair.side[0].send_cq);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_RESET);
    assert_int_equal(pair_to_init(&pair, &pair.side[0]), 0);
    pair_fini(&pair);
}

static void test_cq_fatal__any__its_queue_pairs_fail(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 11);
    pair_post(&pair, 0, write_of(1, 5000));
    ist_hca_cq_fatal(pair.side[0].send_cq);
    pair_expect_event(&pair, 0, IBV_EVENT_CQ_ERR);
    pair_run(&pair);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_ERR);
    struct ibv_wc wc;
    assert_true(ibv_poll_cq(pair.side[0].send_cq, 1, &wc) < 0);
    pair_fini(&pair);
}

/* ---- calls that fail ----------------------------------------------------------------------------- */

/* Everything that a program does from the list of devices to the first completion and back; true when all of it
 * worked. Whatever was made is destroyed. */
struct session {
    struct ibv_device **list;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_mr *mr;
    struct ibv_qp *qp;
    uint8_t memory[256];
};

static bool make(struct session *s) {
    struct ibv_srq_init_attr srq = {.attr = {.max_wr = 4, .max_sge = 1}};
    struct ibv_device_attr device;
    struct ibv_port_attr port;
    union ibv_gid gid;
    if ((s->list = ibv_get_device_list(NULL)) == NULL ||
        (s->context = ibv_open_device(s->list[0])) == NULL ||
        ibv_query_device(s->context, &device) != 0 || ibv_query_port(s->context, 1, &port) != 0 ||
        ibv_query_gid(s->context, 1, 0, &gid) != 0 || (s->pd = ibv_alloc_pd(s->context)) == NULL ||
        (s->channel = ibv_create_comp_channel(s->context)) == NULL ||
        (s->cq = ibv_create_cq(s->context, 10, NULL, s->channel, 0)) == NULL ||
        (s->srq = ibv_create_srq(s->pd, &srq)) == NULL ||
        (s->mr = ibv_reg_mr(s->pd, s->memory, sizeof(s->memory), IBV_ACCESS_LOCAL_WRITE)) == NULL ||
        fcntl(s->channel->fd, F_SETFL, O_NONBLOCK) != 0) {
        return false;
    }
    struct ibv_qp_init_attr qp = {.send_cq = s->cq,
                                  .recv_cq = s->cq,
                                  .srq = s->srq,
                                  .cap = {.max_send_wr = 4, .max_send_sge = 1},
                                  .qp_type = IBV_QPT_RC};
    return (s->qp = ibv_create_qp(s->pd, &qp)) != NULL;
}

/* To itself. */
static bool connect_to_itself(const struct pair *pair, struct session *s) {
    struct ibv_qp_attr init = {.qp_state = IBV_QPS_INIT, .port_num = 1};
    struct ibv_qp_attr rtr = pair_rtr_attr(pair, &pair->side[1]);
    rtr.ah_attr.grh.dgid = pair->options.device[0].port[0].gid[3].gid;
    rtr.dest_qp_num = s->qp->qp_num;
    struct ibv_qp_attr rts = pair_rts_attr(pair);
    return ibv_modify_qp(s->qp, &init, PAIR_INIT_MASK) == 0 &&
           ibv_modify_qp(s->qp, &rtr, PAIR_RTR_MASK) == 0 &&
           ibv_modify_qp(s->qp, &rts, PAIR_RTS_MASK) == 0;
}

static bool work(struct ist_hca *hca, struct session *s) {
    struct ibv_sge sge = {(uintptr_t)s->memory, 16, s->mr->lkey};
    struct ibv_recv_wr receive = {.wr_id = 1, .sg_list = &sge, .num_sge = 1}, *bad_receive = NULL;
    struct ibv_send_wr send = {.wr_id = 2,
                               .sg_list = &sge,
                               .num_sge = 1,
                               .opcode = IBV_WR_SEND,
                               .send_flags = SIGNALED},
                       *bad_send = NULL;
    if (ibv_req_notify_cq(s->cq, 0) != 0) {
        return false;
    }
    if (ibv_post_srq_recv(s->srq, &receive, &bad_receive) != 0) {
        assert_ptr_equal(bad_receive, &receive);
        return false;
    }
    if (ibv_post_send(s->qp, &send, &bad_send) != 0) {
        assert_ptr_equal(bad_send, &send);
        return false;
    }
    ist_hca_run(hca, 1000);
    struct ibv_cq *cq;
    void *context;
    struct ibv_wc wc[3];
    if (ibv_get_cq_event(s->channel, &cq, &context) != 0) {
        return false;
    }
    ibv_ack_cq_events(cq, 1);
    return ibv_poll_cq(s->cq, 3, wc) == 2;
}

static bool destroy(struct session *s) {
    int bad = 0;
    bad += s->qp != NULL && ibv_destroy_qp(s->qp) != 0;
    bad += s->srq != NULL && ibv_destroy_srq(s->srq) != 0;
    bad += s->cq != NULL && ibv_destroy_cq(s->cq) != 0;
    bad += s->channel != NULL && ibv_destroy_comp_channel(s->channel) != 0;
    bad += s->mr != NULL && ibv_dereg_mr(s->mr) != 0;
    bad += s->pd != NULL && ibv_dealloc_pd(s->pd) != 0;
    bad += s->context != NULL && ibv_close_device(s->context) != 0;
    if (s->list != NULL) {
        ibv_free_device_list(s->list);
    }
    return bad == 0;
}

static bool whole_life(struct pair *pair) {
    struct session s;
    memset(&s, 0, sizeof(s));
    bool good = make(&s) && connect_to_itself(pair, &s) && work(pair->hca, &s);
    return destroy(&s) && good;
}

static void assert_nothing_left(const struct ist_hca *hca) {
    struct ist_hca_counts counts, none;
    memset(&none, 0, sizeof(none));
    ist_hca_counts(hca, &counts);
    assert_memory_equal(&counts, &none, sizeof(counts));
}

static void test_fail_nth__each_call__fails_once_and_nothing_is_left(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 12);
    options.config.progress_in_calls = true; /* the same number of calls either way */
    pair_init_devices(&pair, &options);
    ist_hca_fail_nth(pair.hca, IST_HCA_CALL_ALL, 0);
    assert_true(whole_life(&pair));
    uint64_t calls = ist_hca_calls(pair.hca);
    assert_int_equal(calls, 26);
    const char *last = "";
    for (uint64_t nth = 1; nth <= calls; nth++) {
        ist_hca_fail_nth(pair.hca, IST_HCA_CALL_ALL, nth);
        assert_false(whole_life(&pair));
        assert_non_null(ist_hca_failed(pair.hca));
        assert_string_not_equal(ist_hca_failed(pair.hca), "");
        last = ist_hca_failed(pair.hca);
        assert_nothing_left(pair.hca);
    }
    assert_string_equal(last, "ibv_close_device");
    ist_hca_fail_nth(pair.hca, IST_HCA_CALL_ALL, calls + 1);
    assert_true(whole_life(&pair));
    assert_null(ist_hca_failed(pair.hca));
    pair_fini(&pair);
}

static void test_fail_nth__kinds__only_those_count(void **state) {
    (void)state;
    static const struct {
        unsigned kind;
        uint64_t calls;
        const char *first;
    } kinds[] = {
        {IST_HCA_CALL_LIST, 1, "ibv_get_device_list"}, {IST_HCA_CALL_OPEN, 1, "ibv_open_device"},
        {IST_HCA_CALL_QUERY, 3, "ibv_query_device"},   {IST_HCA_CALL_CREATE, 5, "ibv_alloc_pd"},
        {IST_HCA_CALL_REGISTER, 1, "ibv_reg_mr"},      {IST_HCA_CALL_MODIFY, 3, "ibv_modify_qp"},
        {IST_HCA_CALL_POST, 2, "ibv_post_srq_recv"},   {IST_HCA_CALL_ARM, 1, "ibv_req_notify_cq"},
        {IST_HCA_CALL_SEND, 1, "ibv_post_send"},       {IST_HCA_CALL_RECEIVE, 1, "ibv_post_srq_recv"},
        {IST_HCA_CALL_POLL, 1, "ibv_poll_cq"},         {IST_HCA_CALL_EVENT, 1, "ibv_get_cq_event"},
        {IST_HCA_CALL_DESTROY, 7, "ibv_destroy_qp"}};
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 13);
    pair_init_devices(&pair, &options);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        ist_hca_fail_nth(pair.hca, kinds[i].kind, 0);
        assert_true(whole_life(&pair));
        assert_int_equal(ist_hca_calls(pair.hca), kinds[i].calls);
        ist_hca_fail_nth(pair.hca, kinds[i].kind, 1);
        assert_false(whole_life(&pair));
        assert_string_equal(ist_hca_failed(pair.hca), kinds[i].first);
    }
    pair_fini(&pair);
}

/* A device that has broken stays so, and only what is destroyed goes away. */
static void test_fail_from__any__all_after_it_fail(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 14);
    pair_init_devices(&pair, &options);
    ist_hca_fail_nth(pair.hca, IST_HCA_CALL_ALL, 0);
    assert_true(whole_life(&pair));
    const uint64_t calls = ist_hca_calls(pair.hca);
    for (uint64_t nth = 1; nth <= calls; nth++) {
        ist_hca_fail_from(pair.hca, IST_HCA_CALL_ALL, nth);
        assert_false(whole_life(&pair));
        assert_false(whole_life(&pair));
        assert_string_equal(ist_hca_failed(pair.hca), "ibv_get_device_list");
    }
    ist_hca_fail_nth(pair.hca, IST_HCA_CALL_ALL, 0);
    assert_true(whole_life(&pair));
    pair_fini(&pair);
}

/* Only the process that is meant. */
static void test_fail_nth_of__another_context__does_not_count(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    struct ibv_wc wc;
    pair_options_init(&options, 15);
    pair_init(&pair, &options);
    ist_hca_fail_nth_of(pair.side[0].context, IST_HCA_CALL_POLL, 1);
    assert_int_equal(ibv_poll_cq(pair.side[1].send_cq, 1, &wc), 0);
    assert_int_equal(ist_hca_calls(pair.hca), 0);
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), -EIO);
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), 0);
    pair_fini(&pair);
}

static void test_allocator__nth_fails__the_call_fails_with_enomem_and_nothing_is_left(void **state) {
    (void)state;
    uint64_t nth = 1;
    for (bool failed = true; failed; nth++) {
        struct failing_alloc failing;
        struct pair_options options;
        struct pair pair;
        failing_alloc_init(&failing, 0);
        pair_options_init(&options, 14);
        options.config.alloc = &failing.alloc;
        pair_init_devices(&pair, &options);
        failing.fail_at = failing.calls + nth;
        errno = 0;
        failed = !whole_life(&pair);
        assert_true(!failed || errno == ENOMEM);
        assert_nothing_left(pair.hca);
        failing.fail_at = 0;
        assert_true(whole_life(&pair));
        pair_fini(&pair);
        assert_int_equal(failing.live, 0);
    }
    assert_true(nth > 20);
}

static void test_new_and_add_device__no_memory__null(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_hca_config config;
    struct ist_hca_device_config device;
    failing_alloc_init(&failing, 1);
    ist_hca_config_init(&config, 1);
    config.alloc = &failing.alloc;
    assert_null(ist_hca_new(&config));
    failing.fail_at = 3;
    struct ist_hca *hca = ist_hca_new(&config);
    assert_non_null(hca);
    ist_hca_device_config_roce(&device, "hca0", 0);
    assert_null(ist_hca_add_device(hca, &device));
    ist_hca_free(hca);
    assert_int_equal(failing.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_link__down_and_up_in_time__hidden_by_retries),
        cmocka_unit_test(test_set_link__down__retry_exc_err_after_the_timeouts),
        cmocka_unit_test(test_set_link__two_contexts__each_is_told),
        cmocka_unit_test(test_set_cut__any__nobody_is_told),
        cmocka_unit_test(test_set_gid__of_a_connection__breaks_it_with_gid_change),
        cmocka_unit_test(test_faults__of_what_is_not_there__abort),
        cmocka_unit_test(test_device_fatal__any__calls_fail_and_destroying_works),
        cmocka_unit_test(test_kill__any_moment__peer_gets_no_answer_and_memory_is_unreachable),
        cmocka_unit_test(test_delay__in_mid_transfer__nothing_of_it_moves_until_then),
        cmocka_unit_test(test_delay__of_an_idle_queue_pair__holds_what_is_posted_then),
        cmocka_unit_test(test_fail_request__any_status__that_one),
        cmocka_unit_test(test_qp_fatal__any__event_and_flush),
        cmocka_unit_test(test_cq_fatal__any__its_queue_pairs_fail),
        cmocka_unit_test(test_cq_fatal__queue_pair_in_reset__stays_there),
        cmocka_unit_test(test_fail_nth__each_call__fails_once_and_nothing_is_left),
        cmocka_unit_test(test_fail_nth__kinds__only_those_count),
        cmocka_unit_test(test_fail_from__any__all_after_it_fail),
        cmocka_unit_test(test_fail_nth_of__another_context__does_not_count),
        cmocka_unit_test(test_allocator__nth_fails__the_call_fails_with_enomem_and_nothing_is_left),
        cmocka_unit_test(test_new_and_add_device__no_memory__null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

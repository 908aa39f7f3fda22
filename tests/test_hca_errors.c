/* sim/hca: how requests fail, and what follows. Rules 6 and 7. */
#include "tests/hca_pair.h"

#include <errno.h>
#include <string.h>

#define SIGNALED IBV_SEND_SIGNALED

/* ---- which status where -------------------------------------------------------------------------- */

static void
test_remote_access_error__any__peer_in_error_with_event_and_its_receives_flushed(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 1);
    pair_receive(&pair, 1, 7, 0, 100);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10, .rkey = 9});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_ACCESS_ERR);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_ERR);
    assert_int_equal(pair_state(pair.side[1].qp), IBV_QPS_ERR);
    pair_expect(&pair, pair.side[1].recv_cq, 7, IBV_WC_WR_FLUSH_ERR);
    pair_expect_event(&pair, 1, IBV_EVENT_QP_ACCESS_ERR);
    pair_expect_no_event(&pair, 0);
    assert_true(pair_holds(&pair, 1, 0, 10, 0));
    pair_fini(&pair);
}

static void test_send__receive_too_small__both_fail(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 2);
    pair_receive(&pair, 1, 7, 0, 99);
    pair_receive(&pair, 1, 8, 0, 99);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 1, .bytes = 100});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_INV_REQ_ERR);
    pair_expect(&pair, pair.side[1].recv_cq, 7, IBV_WC_LOC_LEN_ERR);
    pair_expect(&pair, pair.side[1].recv_cq, 8, IBV_WC_WR_FLUSH_ERR);
    pair_expect_no_event(&pair, 1);
    pair_fini(&pair);
}

static void test_send__receive_with_a_bad_key__both_fail(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 3);
    struct ibv_sge sge = {(uintptr_t)pair.side[1].buffer, 100, 12345};
    struct ibv_recv_wr wr = {.wr_id = 7, .sg_list = &sge, .num_sge = 1}, *bad;
    assert_int_equal(ibv_post_recv(pair.side[1].qp, &wr, &bad), 0);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 1, .bytes = 100});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_OP_ERR);
    pair_expect(&pair, pair.side[1].recv_cq, 7, IBV_WC_LOC_PROT_ERR);
    pair_fini(&pair);
}

static void test_send__bad_local_key__peer_unharmed(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 4);
    pair_receive(&pair, 1, 7, 0, 100);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 1, .bytes = 100, .lkey = 9});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_LOC_PROT_ERR);
    assert_int_equal(pair_state(pair.side[1].qp), IBV_QPS_RTS);
    pair_expect_none(&pair, pair.side[1].recv_cq);
    pair_fini(&pair);
}

static void test_send__longer_than_the_port_takes__loc_len_err(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 5);
    options.device[0].port[0].max_msg_bytes = 5000;
    pair_init(&pair, &options);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 5000, .flags = SIGNALED});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 5001});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_LOC_LEN_ERR);
    pair_fini(&pair);
}

static void test_send__lengths_whose_sum_wraps__loc_len_err(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 6);
    const uint32_t lkey = pair.side[0].mr->lkey;
    struct ibv_sge sge[] = {{(uintptr_t)pair.side[0].buffer, UINT32_MAX, lkey},
                            {(uintptr_t)pair.side[0].buffer, 11, lkey}};
    struct ibv_send_wr wr = {.wr_id = 1, .sg_list = sge, .num_sge = 2, .opcode = IBV_WR_SEND}, *bad;
    assert_int_equal(ibv_post_send(pair.side[0].qp, &wr, &bad), 0);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_LOC_LEN_ERR);
    pair_fini(&pair);
}

static void test_send__peer_with_a_smaller_mtu__refused_when_of_several_packets(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 7);
    pair_init_devices(&pair, &options);
    for (int i = 0; i < 2; i++) {
        pair_open(&pair, &pair.side[i]);
        pair_make_qp(&pair, &pair.side[i]);
        assert_int_equal(pair_to_init(&pair, &pair.side[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pair.options.mtu = i == 0 ? IBV_MTU_2048 : IBV_MTU_1024;
        assert_int_equal(pair_to_rtr(&pair, &pair.side[i], &pair.side[1 - i]), 0);
        assert_int_equal(pair_to_rts(&pair, &pair.side[i]), 0);
    }
    pair_post(&pair, 1,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 3000, .flags = SIGNALED});
    pair_expect(&pair, pair.side[1].send_cq, 1, IBV_WC_SUCCESS);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 1024, .flags = SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 3, .bytes = 1025});
    pair_expect(&pair, pair.side[0].send_cq, 3, IBV_WC_REM_INV_REQ_ERR);
    pair_expect_event(&pair, 1, IBV_EVENT_QP_REQ_ERR);
    pair_fini(&pair);
}

/* ---- peers that do not answer -------------------------------------------------------------------- */

static void expect_no_answer(struct pair *pair) {
    pair_post(pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10});
    pair_post(pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 2, .bytes = 10});
    pair_expect(pair, pair->side[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
    pair_expect(pair, pair->side[0].send_cq, 2, IBV_WC_WR_FLUSH_ERR);
    assert_true(pair_holds(pair, 1, 0, 10, 0));
}

static void test_peer__gone_or_in_a_state_that_does_not_answer__retry_exc_err(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        struct pair pair;
        pair_init_seed(&pair, 8);
        pair_fill(&pair, 0, 1);
        struct ibv_qp_attr attr = {.qp_state = kind == 0 ? IBV_QPS_ERR : IBV_QPS_RESET};
        if (kind < 3) {
            assert_int_equal(ibv_modify_qp(pair.side[1].qp, &attr, IBV_QP_STATE), 0);
        }
        if (kind == 2) {
            assert_int_equal(pair_to_init(&pair, &pair.side[1]), 0);
        }
        if (kind == 3) {
            pair_destroy_qp(&pair.side[1]);
        }
        if (kind == 4) {
            ist_hca_kill(pair.side[1].context);
        }
        expect_no_answer(&pair);
        pair_fini(&pair);
    }
}

/* Connects with one attribute of side 1 changed. */
static void connect_wrongly(struct pair *pair, const struct pair_options *options,
                            void (*change)(struct ibv_qp_attr *attr)) {
    pair_init_devices(pair, options);
    for (int i = 0; i < 2; i++) {
        pair_open(pair, &pair->side[i]);
        pair_make_qp(pair, &pair->side[i]);
        assert_int_equal(pair_to_init(pair, &pair->side[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        struct ibv_qp_attr attr = pair_rtr_attr(pair, &pair->side[1 - i]);
        if (i == 1 && change != NULL) {
            change(&attr);
        }
        assert_int_equal(ibv_modify_qp(pair->side[i].qp, &attr, PAIR_RTR_MASK), 0);
        assert_int_equal(pair_to_rts(pair, &pair->side[i]), 0);
    }
}

static void change_psn(struct ibv_qp_attr *attr) {
    attr->rq_psn ^= 1;
}
static void change_number(struct ibv_qp_attr *attr) {
    attr->dest_qp_num ^= 1;
}
static void change_gid(struct ibv_qp_attr *attr) {
    attr->ah_attr.grh.dgid.raw[15] ^= 1;
}
static void change_own_gid(struct ibv_qp_attr *attr) {
    attr->ah_attr.grh.sgid_index = 1; /* the peer expects another */
}
static void change_gid_type(struct ibv_qp_attr *attr) {
    attr->ah_attr.grh.sgid_index = 2; /* RoCE v1, the same address */
}

static void test_peer__connected_to_something_else__retry_exc_err(void **state) {
    (void)state;
    void (*changes[])(struct ibv_qp_attr *) = {change_psn, change_number, change_gid, change_own_gid,
                                               change_gid_type};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct pair_options options;
        struct pair pair;
        pair_options_init(&options, 9);
        connect_wrongly(&pair, &options, changes[i]);
        pair_fill(&pair, 0, 1);
        expect_no_answer(&pair);
        pair_fini(&pair);
    }
}

static void test_peer__behind_routers__needs_the_hop_limit(void **state) {
    (void)state;
    for (uint8_t hops = 1; hops <= 3; hops++) {
        struct pair_options options;
        struct pair pair;
        pair_options_init(&options, 10);
        options.config.routers = 2;
        options.hop_limit = hops;
        pair_init(&pair, &options);
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10, .flags = SIGNALED});
        pair_expect(&pair, pair.side[0].send_cq, 1, hops > 2 ? IBV_WC_SUCCESS : IBV_WC_RETRY_EXC_ERR);
        pair_fini(&pair);
    }
}

static void test_peer__in_another_network__retry_exc_err(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 11);
    options.device[1].port[0].gid[3].network = 1;
    pair_init(&pair, &options);
    expect_no_answer(&pair);
    pair_fini(&pair);
}

/* ---- after an error ------------------------------------------------------------------------------ */

static void test_error__requests_behind_it__first_real_then_flushed_in_order(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct pair pair;
        pair_init_seed(&pair, seed);
        uint64_t random = seed, failing = random_below(&random, 10);
        for (uint64_t id = 0; id < 12; id++) {
            pair_post(&pair, 0,
                      (struct pair_work){.opcode = random_below(&random, 2) ? IBV_WR_RDMA_READ
                                                                            : IBV_WR_RDMA_WRITE,
                                         .id = id,
                                         .bytes = 2000,
                                         .rkey = id == failing ? 9 : 0,
                                         .flags = id < failing ? SIGNALED : 0});
        }
        struct ibv_wc wc[13];
        pair_run(&pair);
        assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 13, wc), 12);
        for (uint64_t id = 0; id < 12; id++) {
            assert_int_equal(wc[id].wr_id, id);
            assert_int_equal(wc[id].qp_num, pair.side[0].qp->qp_num);
            assert_int_equal(wc[id].status, id < failing    ? IBV_WC_SUCCESS
                                            : id == failing ? IBV_WC_REM_ACCESS_ERR
                                                            : IBV_WC_WR_FLUSH_ERR);
        }
        pair_fini(&pair);
    }
}

static void test_local_error__requests_before_it__still_complete(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct pair pair;
        pair_init_seed(&pair, seed);
        pair_fill(&pair, 1, 3);
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 20000, .flags = SIGNALED});
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .offset = 30000, .bytes = 10});
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 3, .bytes = 10, .lkey = 9});
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_WRITE, .id = 4, .offset = 50000, .bytes = 10});
        memset(pair.side[0].buffer + 50000, 4, 10);
        pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
        assert_true(pair_holds(&pair, 0, 0, 20000, 3));
        pair_expect(&pair, pair.side[0].send_cq, 3, IBV_WC_LOC_PROT_ERR);
        pair_expect(&pair, pair.side[0].send_cq, 4, IBV_WC_WR_FLUSH_ERR);
        assert_true(pair_holds(&pair, 1, 50000, 10, 3)); /* what is behind is not executed */
        pair_fini(&pair);
    }
}

static void test_error__posts_after_it__accepted_and_flushed(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 12);
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    assert_int_equal(ibv_modify_qp(pair.side[0].qp, &attr, IBV_QP_STATE), 0);
    pair_run(&pair);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 1, .bytes = 10});
    pair_receive(&pair, 0, 2, 0, 10);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_WR_FLUSH_ERR);
    pair_expect(&pair, pair.side[0].recv_cq, 2, IBV_WC_WR_FLUSH_ERR);
    pair_fini(&pair);
}

static void test_modify_to_error__outstanding__all_flushed_at_any_moment(void **state) {
    (void)state;
    for (int steps = 0; steps < 60; steps++) {
        struct pair pair;
        pair_init_seed(&pair, 13);
        for (uint64_t id = 0; id < 4; id++) {
            pair_post(&pair, 0,
                      (struct pair_work){id % 2 == 0 ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE, .id = id,
                                         .bytes = 5000, .flags = SIGNALED});
        }
        for (int i = 0; i < steps; i++) {
            ist_hca_step(pair.hca);
        }
        struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
        assert_int_equal(ibv_modify_qp(pair.side[0].qp, &attr, IBV_QP_STATE), 0);
        struct ibv_wc wc[5];
        pair_run(&pair);
        assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 5, wc), 4);
        bool flushed = false;
        for (uint64_t id = 0; id < 4; id++) {
            assert_int_equal(wc[id].wr_id, id);
            assert_true(wc[id].status == IBV_WC_WR_FLUSH_ERR ||
                        (wc[id].status == IBV_WC_SUCCESS && !flushed));
            flushed = wc[id].status == IBV_WC_WR_FLUSH_ERR;
        }
        pair_fini(&pair);
    }
}

static void test_error__with_an_srq__its_entries_stay_and_last_wqe_reached_comes(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 14);
    options.srq = true;
    pair_init(&pair, &options);
    pair_receive(&pair, 1, 7, 0, 100);
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    assert_int_equal(ibv_modify_qp(pair.side[1].qp, &attr, IBV_QP_STATE), 0);
    pair_expect_none(&pair, pair.side[1].recv_cq);
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair.side[1].context, &event), 0);
    assert_int_equal(event.event_type, IBV_EVENT_QP_LAST_WQE_REACHED);
    assert_ptr_equal(event.element.qp, pair.side[1].qp);
    ibv_ack_async_event(&event);
    assert_int_equal(ibv_modify_qp(pair.side[1].qp, &attr, IBV_QP_STATE), 0);
    pair_post(&pair, 1, (struct pair_work){IBV_WR_SEND, .id = 1, .bytes = 10});
    pair_expect(&pair, pair.side[1].send_cq, 1, IBV_WC_WR_FLUSH_ERR);
    pair_expect_no_event(&pair, 1); /* once */
    pair_fini(&pair);
}

/* In the middle of a message the receive is the queue pair's already. */
static void test_error__receive_in_use_of_an_srq__flushed_before_last_wqe_reached(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 15);
    options.srq = true;
    pair_init(&pair, &options);
    pair_receive(&pair, 1, 7, 0, 20000);
    pair_receive(&pair, 1, 8, 0, 20000);
    pair_fill(&pair, 0, 1);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 1, .bytes = 20000});
    for (int i = 0; i < 5; i++) {
        assert_true(ist_hca_step(pair.hca));
    }
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    assert_int_equal(ibv_modify_qp(pair.side[1].qp, &attr, IBV_QP_STATE), 0);
    pair_expect(&pair, pair.side[1].recv_cq, 7, IBV_WC_WR_FLUSH_ERR);
    pair_expect_none(&pair, pair.side[1].recv_cq);
    pair_expect_event(&pair, 1, IBV_EVENT_QP_LAST_WQE_REACHED);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
    pair_fini(&pair);
}

/* ---- what a completion tells --------------------------------------------------------------------- */

static struct ibv_wc failed_completion(uint64_t seed) {
    struct pair pair;
    pair_init_seed(&pair, seed);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 10, .rkey = 9});
    struct ibv_wc wc = pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_ACCESS_ERR);
    pair_fini(&pair);
    return wc;
}

static void test_poll_cq__failed__other_fields_are_junk(void **state) {
    (void)state;
    struct ibv_wc a = failed_completion(1), b = failed_completion(2);
    assert_true(a.opcode != IBV_WC_RDMA_READ || b.opcode != IBV_WC_RDMA_READ);
    assert_int_not_equal(a.opcode, b.opcode);
    assert_int_not_equal(a.byte_len, b.byte_len);
    assert_int_not_equal(a.imm_data, b.imm_data);
    assert_int_not_equal(a.wc_flags, b.wc_flags);
    assert_int_not_equal(a.src_qp, b.src_qp);
}

static void test_poll_cq__good_write__fields_without_meaning_are_junk(void **state) {
    (void)state;
    struct ibv_wc wc[2];
    for (uint64_t i = 0; i < 2; i++) {
        struct pair pair;
        pair_init_seed(&pair, 20 + i);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .bytes = 10, .flags = SIGNALED});
        wc[i] = pair_expect(&pair, pair.side[0].send_cq, 0, IBV_WC_SUCCESS);
        assert_int_equal(wc[i].opcode, IBV_WC_RDMA_WRITE);
        pair_fini(&pair);
    }
    assert_int_not_equal(wc[0].byte_len, wc[1].byte_len);
    assert_int_not_equal(wc[0].imm_data, wc[1].imm_data);
    assert_int_not_equal(wc[0].slid, wc[1].slid);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_remote_access_error__any__peer_in_error_with_event_and_its_receives_flushed),
        cmocka_unit_test(test_send__receive_too_small__both_fail),
        cmocka_unit_test(test_send__receive_with_a_bad_key__both_fail),
        cmocka_unit_test(test_send__bad_local_key__peer_unharmed),
        cmocka_unit_test(test_send__longer_than_the_port_takes__loc_len_err),
        cmocka_unit_test(test_send__lengths_whose_sum_wraps__loc_len_err),
        cmocka_unit_test(test_send__peer_with_a_smaller_mtu__refused_when_of_several_packets),
        cmocka_unit_test(test_peer__gone_or_in_a_state_that_does_not_answer__retry_exc_err),
        cmocka_unit_test(test_peer__connected_to_something_else__retry_exc_err),
        cmocka_unit_test(test_peer__behind_routers__needs_the_hop_limit),
        cmocka_unit_test(test_peer__in_another_network__retry_exc_err),
        cmocka_unit_test(test_error__requests_behind_it__first_real_then_flushed_in_order),
        cmocka_unit_test(test_local_error__requests_before_it__still_complete),
        cmocka_unit_test(test_error__posts_after_it__accepted_and_flushed),
        cmocka_unit_test(test_modify_to_error__outstanding__all_flushed_at_any_moment),
        cmocka_unit_test(test_error__with_an_srq__its_entries_stay_and_last_wqe_reached_comes),
        cmocka_unit_test(test_error__receive_in_use_of_an_srq__flushed_before_last_wqe_reached),
        cmocka_unit_test(test_poll_cq__failed__other_fields_are_junk),
        cmocka_unit_test(test_poll_cq__good_write__fields_without_meaning_are_junk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

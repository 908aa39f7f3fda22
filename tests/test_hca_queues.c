/* sim/hca: slots, sizes, overrun. Rules 4, 10 and 14. */
#include "tests/hca_pair.h"

#include <errno.h>

#define SIGNALED IBV_SEND_SIGNALED

/* Sizes are what was asked for where this asks for the most that the device has. */
static void init_exact(struct pair *pair, uint64_t seed, bool srq) {
    struct pair_options options;
    pair_options_init(&options, seed);
    for (int i = 0; i < 2; i++) {
        options.device[i].max_qp_wr = 16;
        options.device[i].max_srq_wr = 16;
        options.device[i].max_sge = 4;
        options.device[i].max_inline = 64;
    }
    options.srq = srq;
    pair_init(pair, &options);
}

/* ---- send queue ---------------------------------------------------------------------------------- */

static void test_post_send__full__enomem_and_those_before_are_posted(void **state) {
    (void)state;
    struct pair pair;
    init_exact(&pair, 1, false);
    struct ibv_send_wr wr[20], *bad = NULL;
    for (uint64_t i = 0; i < 20; i++) {
        wr[i] = (struct ibv_send_wr){.wr_id = i,
                                     .next = i < 19 ? &wr[i + 1] : NULL,
                                     .opcode = IBV_WR_RDMA_WRITE,
                                     .send_flags = SIGNALED};
    }
    assert_int_equal(ibv_post_send(pair.side[0].qp, wr, &bad), ENOMEM);
    assert_ptr_equal(bad, &wr[16]);
    struct ibv_wc wc[20];
    pair_run(&pair);
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 20, wc), 16);
    pair_fini(&pair);
}

static void test_post_send__completed_but_not_polled__still_full(void **state) {
    (void)state;
    struct pair pair;
    init_exact(&pair, 2, false);
    for (uint64_t i = 0; i < 16; i++) {
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = i, .flags = SIGNALED});
    }
    pair_run(&pair);
    struct pair_work more = {IBV_WR_RDMA_WRITE, .id = 16, .flags = SIGNALED};
    assert_int_equal(pair_try_post(&pair, 0, more), ENOMEM);
    pair_expect(&pair, pair.side[0].send_cq, 0, IBV_WC_SUCCESS);
    pair_post(&pair, 0, more);
    assert_int_equal(pair_try_post(&pair, 0, more), ENOMEM);
    pair_fini(&pair);
}

static void test_post_send__unsignalled__no_completion_and_slots_come_with_a_later_one(void **state) {
    (void)state;
    struct pair pair;
    init_exact(&pair, 3, false);
    for (uint64_t i = 0; i < 15; i++) {
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = i, .bytes = 10});
    }
    pair_expect_none(&pair, pair.side[0].send_cq);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 15, .flags = SIGNALED});
    assert_int_equal(pair_try_post(&pair, 0, (struct pair_work){.opcode = IBV_WR_RDMA_WRITE}), ENOMEM);
    pair_expect(&pair, pair.side[0].send_cq, 15, IBV_WC_SUCCESS);
    pair_expect_none(&pair, pair.side[0].send_cq);
    for (uint64_t i = 0; i < 16; i++) {
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = i, .bytes = 10});
    }
    pair_fini(&pair);
}

static void test_post_send__unsignalled_error__completes(void **state) {
    (void)state;
    struct pair pair;
    init_exact(&pair, 4, false);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 10, .rkey = 9});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 3, .bytes = 10});
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_REM_ACCESS_ERR);
    pair_expect(&pair, pair.side[0].send_cq, 3, IBV_WC_WR_FLUSH_ERR);
    pair_expect_none(&pair, pair.side[0].send_cq);
    pair_fini(&pair);
}

static void test_post_send__all_signalled_queue_pair__each_completes(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 5);
    options.all_signalled = 1;
    pair_init(&pair, &options);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    pair_fini(&pair);
}

/* ---- receive queues ------------------------------------------------------------------------------ */

static void fill_and_empty_receives(bool srq, uint64_t seed) {
    struct pair pair;
    init_exact(&pair, seed, srq);
    for (uint64_t i = 0; i < 16; i++) {
        pair_receive(&pair, 1, i, 0, 10);
    }
    assert_int_equal(pair_try_receive(&pair, 1, 16, 0, 10), ENOMEM);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 10});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 10});
    pair_run(&pair);
    assert_int_equal(pair_try_receive(&pair, 1, 16, 0, 10), ENOMEM);
    pair_expect(&pair, pair.side[1].recv_cq, 0, IBV_WC_SUCCESS);
    pair_receive(&pair, 1, 16, 0, 10);
    assert_int_equal(pair_try_receive(&pair, 1, 17, 0, 10), ENOMEM);
    pair_fini(&pair);
}

static void test_post_recv__full__until_a_completion_is_polled(void **state) {
    (void)state;
    fill_and_empty_receives(false, 6);
}

static void test_post_srq_recv__full__until_a_completion_is_polled(void **state) {
    (void)state;
    fill_and_empty_receives(true, 7);
}

static void test_post_srq_recv__chain__enomem_at_the_first_that_does_not_fit(void **state) {
    (void)state;
    struct pair pair;
    init_exact(&pair, 8, true);
    struct ibv_recv_wr wr[18], *bad = NULL;
    for (uint64_t i = 0; i < 18; i++) {
        wr[i] = (struct ibv_recv_wr){.wr_id = i, .next = i < 17 ? &wr[i + 1] : NULL};
    }
    assert_int_equal(ibv_post_srq_recv(pair.side[1].srq, wr, &bad), ENOMEM);
    assert_ptr_equal(bad, &wr[16]);
    pair_fini(&pair);
}

static void test_srq__two_queue_pairs__share_and_a_destroyed_one_gives_back(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct pair pair;
        init_exact(&pair, seed, true);
        for (uint64_t i = 0; i < 16; i++) {
            pair_receive(&pair, 1, i, 0, 10);
        }
        pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 10});
        pair_run(&pair);
        assert_int_equal(pair_try_receive(&pair, 1, 16, 0, 10), ENOMEM);
        /* With it goes the hold of its completion, whether that stays or not. */
        pair_destroy_qp(&pair.side[1]);
        pair_receive(&pair, 1, 16, 0, 10);
        assert_int_equal(pair_try_receive(&pair, 1, 17, 0, 10), ENOMEM);
        struct ibv_wc wc;
        int left = ibv_poll_cq(pair.side[1].recv_cq, 1, &wc);
        assert_in_range(left, 0, 1);
        assert_int_equal(pair_try_receive(&pair, 1, 17, 0, 10), ENOMEM);
        pair_fini(&pair);
    }
}

/* A message of which a part has arrived holds the receive that it goes into. */
static void test_srq__queue_pair_gone_in_mid_message__its_receive_comes_back(void **state) {
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        struct pair pair;
        init_exact(&pair, 9, true);
        for (uint64_t i = 0; i < 16; i++) {
            pair_receive(&pair, 1, i, 0, 20000);
        }
        pair_fill(&pair, 0, 1);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 20000});
        while (pair_holds(&pair, 1, 0, 20000, 0)) {
            assert_true(ist_hca_step(pair.hca));
        }
        assert_int_equal(pair_try_receive(&pair, 1, 16, 0, 10), ENOMEM);
        if (reset) {
            struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};
            assert_int_equal(ibv_modify_qp(pair.side[1].qp, &attr, IBV_QP_STATE), 0);
        } else {
            pair_destroy_qp(&pair.side[1]);
        }
        pair_receive(&pair, 1, 16, 0, 10);
        assert_int_equal(pair_try_receive(&pair, 1, 17, 0, 10), ENOMEM);
        pair_fini(&pair);
    }
}

/* A slot that an old completion frees must not free one of the new life. */
static void test_reset__completions_not_polled__free_nothing_afterwards(void **state) {
    (void)state;
    int left = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair pair;
        init_exact(&pair, seed, false);
        for (uint64_t id = 0; id < 16; id++) {
            pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = id, .flags = SIGNALED});
        }
        pair_run(&pair);
        struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};
        for (int i = 0; i < 2; i++) {
            assert_int_equal(ibv_modify_qp(pair.side[i].qp, &attr, IBV_QP_STATE), 0);
            assert_int_equal(pair_to_init(&pair, &pair.side[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pair_to_rtr(&pair, &pair.side[i], &pair.side[1 - i]), 0);
            assert_int_equal(pair_to_rts(&pair, &pair.side[i]), 0);
        }
        for (uint64_t id = 0; id < 16; id++) {
            pair_post(&pair, 0,
                      (struct pair_work){IBV_WR_RDMA_WRITE, .id = 100 + id, .flags = SIGNALED});
        }
        struct ibv_wc wc[16];
        int polled = ibv_poll_cq(pair.side[0].send_cq, 16, wc);
        assert_true(polled == 0 || polled == 16);
        left += polled == 16;
        assert_int_equal(pair_try_post(&pair, 0, (struct pair_work){.opcode = IBV_WR_RDMA_WRITE}),
                         ENOMEM);
        pair_expect(&pair, pair.side[0].send_cq, 100, IBV_WC_SUCCESS);
        pair_fini(&pair);
    }
    assert_in_range(left, 1, 19);
}

static void test_destroy_qp__completions_not_polled__dropped_or_left_by_the_seed(void **state) {
    (void)state;
    int left = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair pair;
        init_exact(&pair, seed, false);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 5, .flags = SIGNALED});
        pair_run(&pair);
        uint32_t number = pair.side[0].qp->qp_num;
        pair_destroy_qp(&pair.side[0]);
        struct ibv_wc wc;
        if (ibv_poll_cq(pair.side[0].send_cq, 1, &wc) == 1) {
            assert_int_equal(wc.qp_num, number);
            left++;
        }
        pair_fini(&pair);
    }
    assert_in_range(left, 1, 19);
}

/* ---- sizes --------------------------------------------------------------------------------------- */

static void test_create_qp__any_seed__at_least_what_was_asked(void **state) {
    (void)state;
    int more = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair_options options;
        struct pair pair;
        pair_options_init(&options, seed);
        pair_init_devices(&pair, &options);
        pair_open(&pair, &pair.side[0]);
        struct ibv_qp_init_attr attr = {.send_cq = pair.side[0].send_cq,
                                        .recv_cq = pair.side[0].recv_cq,
                                        .cap = {.max_send_wr = 21,
                                                .max_recv_wr = 22,
                                                .max_send_sge = 3,
                                                .max_recv_sge = 5,
                                                .max_inline_data = 65},
                                        .qp_type = IBV_QPT_RC};
        struct ibv_qp *qp = ibv_create_qp(pair.side[0].pd, &attr);
        assert_non_null(qp);
        assert_true(attr.cap.max_send_wr >= 21 && attr.cap.max_recv_wr >= 22 &&
                    attr.cap.max_send_sge >= 3 && attr.cap.max_recv_sge >= 5 &&
                    attr.cap.max_inline_data >= 65);
        more += attr.cap.max_send_wr > 21;
        assert_int_equal(ibv_destroy_qp(qp), 0);
        pair_fini(&pair);
    }
    assert_in_range(more, 1, 19);
}

static void test_create_qp__more_than_the_device_has__einval(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 9);
    options.srq = true;
    pair_init_devices(&pair, &options);
    struct pair_side *side = &pair.side[0];
    pair_open(&pair, side);
    const struct ibv_qp_init_attr good = {.send_cq = side->send_cq,
                                          .recv_cq = side->recv_cq,
                                          .cap = {.max_send_wr = 8192,
                                                  .max_recv_wr = 8192,
                                                  .max_send_sge = 30,
                                                  .max_recv_sge = 30,
                                                  .max_inline_data = 512},
                                          .qp_type = IBV_QPT_RC};
    struct ibv_qp_init_attr attr = good;
    struct ibv_qp *qp = ibv_create_qp(side->pd, &attr);
    assert_non_null(qp);
    assert_int_equal(ibv_destroy_qp(qp), 0);
#define REFUSED(field, value, error)                                                                   \
    do {                                                                                               \
        attr = good;                                                                                   \
        attr.field = (value);                                                                          \
        assert_null(ibv_create_qp(side->pd, &attr));                                                   \
        assert_int_equal(errno, error);                                                                \
    } while (0)
    REFUSED(cap.max_send_wr, 8193, EINVAL);
    REFUSED(cap.max_send_wr, 0, EINVAL);
    REFUSED(cap.max_recv_wr, 8193, EINVAL);
    REFUSED(cap.max_send_sge, 31, EINVAL);
    REFUSED(cap.max_recv_sge, 31, EINVAL);
    REFUSED(cap.max_inline_data, 513, EINVAL);
    REFUSED(send_cq, NULL, EINVAL);
    REFUSED(recv_cq, NULL, EINVAL);
    REFUSED(qp_type, IBV_QPT_UD, EOPNOTSUPP);
#undef REFUSED
    /* With an SRQ the receives that are asked for do not matter: man create_qp. */
    attr = good;
    attr.srq = side->srq;
    attr.cap.max_recv_wr = attr.cap.max_recv_sge = UINT32_MAX;
    qp = ibv_create_qp(side->pd, &attr);
    assert_non_null(qp);
    assert_int_equal(attr.cap.max_recv_wr, 0);
    assert_int_equal(ibv_destroy_qp(qp), 0);
    pair_fini(&pair);
}

static void test_create_cq_and_srq__out_of_range__einval(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 10);
    pair_init_devices(&pair, &options);
    struct pair_side *side = &pair.side[0];
    pair_open(&pair, side);
    static const int cqes[][2] = {{0, 0}, {(1 << 17) + 1, 0}, {-1, 0}, {1, -1}, {1, 4}};
    for (size_t i = 0; i < sizeof(cqes) / sizeof(cqes[0]); i++) {
        assert_null(ibv_create_cq(side->context, cqes[i][0], NULL, NULL, cqes[i][1]));
        assert_int_equal(errno, EINVAL);
    }
    static const uint32_t srqs[][2] = {{0, 1}, {8193, 1}, {1, 0}, {1, 32}};
    for (size_t i = 0; i < sizeof(srqs) / sizeof(srqs[0]); i++) {
        struct ibv_srq_init_attr attr = {.attr = {.max_wr = srqs[i][0], .max_sge = srqs[i][1]}};
        assert_null(ibv_create_srq(side->pd, &attr));
        assert_int_equal(errno, EINVAL);
    }
    pair_fini(&pair);
}

/* ---- requests that nobody may post --------------------------------------------------------------- */

static void post_too_many_elements(struct pair *pair) {
    struct ibv_sge sge[5] = {{0, 0, 0}};
    struct ibv_send_wr wr = {.sg_list = sge, .num_sge = 5, .opcode = IBV_WR_SEND}, *bad;
    (void)ibv_post_send(pair->side[0].qp, &wr, &bad);
}

static void post_atomic(struct pair *pair) {
    pair_try_post(pair, 0, (struct pair_work){IBV_WR_ATOMIC_FETCH_AND_ADD, .bytes = 8});
}

static void post_checksum_flag(struct pair *pair) {
    pair_try_post(pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 8, .flags = IBV_SEND_IP_CSUM});
}

static void post_inline_read(struct pair *pair) {
    pair_try_post(pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .bytes = 8, .flags = IBV_SEND_INLINE});
}

static void post_long_inline(struct pair *pair) {
    pair_try_post(pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 65, .flags = IBV_SEND_INLINE});
}

static void post_too_many_receive_elements(struct pair *pair) {
    struct ibv_sge sge[5] = {{0, 0, 0}};
    struct ibv_recv_wr wr = {.sg_list = sge, .num_sge = 5}, *bad;
    (void)ibv_post_recv(pair->side[0].qp, &wr, &bad);
}

static void test_post_send__what_no_card_takes__aborts(void **state) {
    (void)state;
    struct pair pair;
    init_exact(&pair, 11, false);
    assert_violation(post_too_many_elements, &pair, "5 gather elements, the queue pair was made for 4");
    assert_violation(post_atomic, &pair, "opcode 6 is not provided");
    assert_violation(post_checksum_flag, &pair, "send_flags 0x10");
    assert_violation(post_inline_read, &pair, "an inline READ");
    assert_violation(post_long_inline, &pair, "65 bytes inline, the queue pair was made for 64");
    assert_violation(post_too_many_receive_elements, &pair,
                     "ibv_post_recv: 5 scatter elements, the queue was made for 4");
    pair_fini(&pair);
}

static void post_recv_beside_srq(struct pair *pair) {
    struct ibv_recv_wr wr = {.num_sge = 0}, *bad;
    (void)ibv_post_recv(pair->side[1].qp, &wr, &bad);
}

static void test_post_recv__queue_pair_with_srq__aborts(void **state) {
    (void)state;
    struct pair pair;
    init_exact(&pair, 12, true);
    assert_violation(post_recv_beside_srq, &pair, "ibv_post_recv: the queue pair has an SRQ");
    pair_fini(&pair);
}

/* ---- overrun ------------------------------------------------------------------------------------- */

static void init_small_cq(struct pair *pair, uint64_t seed, bool aborts) {
    struct pair_options options;
    pair_options_init(&options, seed);
    options.config.overrun_aborts = aborts;
    options.device[0].max_cqe = options.device[1].max_cqe = 4;
    options.cqe = 4;
    pair_init(pair, &options);
    for (uint64_t i = 0; i < 5; i++) {
        pair_post(pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = i, .flags = SIGNALED});
    }
}

static void test_cq__overrun__aborts(void **state) {
    (void)state;
    struct pair pair;
    init_small_cq(&pair, 13, true);
    assert_violation(pair_run, &pair, "CQ overrun: 4 entries are not enough");
    pair_fini(&pair);
}

static void test_cq__overrun_that_does_not_abort__cq_is_dead(void **state) {
    (void)state;
    struct pair pair;
    init_small_cq(&pair, 14, false);
    pair_run(&pair);
    struct ibv_wc wc;
    assert_true(ibv_poll_cq(pair.side[0].send_cq, 1, &wc) < 0);
    assert_int_equal(ibv_req_notify_cq(pair.side[0].send_cq, 0), EIO);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_ERR);
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair.side[0].context, &event), 0);
    assert_int_equal(event.event_type, IBV_EVENT_CQ_ERR);
    assert_ptr_equal(event.element.cq, pair.side[0].send_cq);
    ibv_ack_async_event(&event);
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post_send__full__enomem_and_those_before_are_posted),
        cmocka_unit_test(test_post_send__completed_but_not_polled__still_full),
        cmocka_unit_test(test_post_send__unsignalled__no_completion_and_slots_come_with_a_later_one),
        cmocka_unit_test(test_post_send__unsignalled_error__completes),
        cmocka_unit_test(test_post_send__all_signalled_queue_pair__each_completes),
        cmocka_unit_test(test_post_recv__full__until_a_completion_is_polled),
        cmocka_unit_test(test_post_srq_recv__full__until_a_completion_is_polled),
        cmocka_unit_test(test_post_srq_recv__chain__enomem_at_the_first_that_does_not_fit),
        cmocka_unit_test(test_srq__two_queue_pairs__share_and_a_destroyed_one_gives_back),
        cmocka_unit_test(test_srq__queue_pair_gone_in_mid_message__its_receive_comes_back),
        cmocka_unit_test(test_reset__completions_not_polled__free_nothing_afterwards),
        cmocka_unit_test(test_destroy_qp__completions_not_polled__dropped_or_left_by_the_seed),
        cmocka_unit_test(test_create_qp__any_seed__at_least_what_was_asked),
        cmocka_unit_test(test_create_qp__more_than_the_device_has__einval),
        cmocka_unit_test(test_create_cq_and_srq__out_of_range__einval),
        cmocka_unit_test(test_post_send__what_no_card_takes__aborts),
        cmocka_unit_test(test_post_recv__queue_pair_with_srq__aborts),
        cmocka_unit_test(test_cq__overrun__aborts),
        cmocka_unit_test(test_cq__overrun_that_does_not_abort__cq_is_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

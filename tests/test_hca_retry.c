/* sim/hca: packets that get lost, receivers that are not ready, READs that must wait. Rules 8 and 9. */
#include "tests/hca_pair.h"

#define SIGNALED IBV_SEND_SIGNALED

#define MS 1000000ull

static void init_with(struct pair *pair, uint64_t seed, uint8_t timeout, uint8_t retry_cnt,
                      uint8_t rnr_retry, uint8_t min_rnr_timer) {
    struct pair_options options;
    pair_options_init(&options, seed);
    options.timeout = timeout;
    options.retry_cnt = retry_cnt;
    options.rnr_retry = rnr_retry;
    options.min_rnr_timer = min_rnr_timer;
    pair_init(pair, &options);
}

/* ---- loss ---------------------------------------------------------------------------------------- */

static void test_loss__fewer_than_retries__hidden(void **state) {
    (void)state;
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ};
    for (int i = 0; i < 3; i++) {
        for (uint32_t lost = 1; lost <= 6; lost++) {
            struct pair pair;
            init_with(&pair, lost, 14, 6, 7, 12);
            pair_fill(&pair, opcodes[i] == IBV_WR_RDMA_READ ? 1 : 0, 9);
            pair_receive(&pair, 1, 1, 0, 5000);
            ist_hca_drop(pair.side[0].qp, lost);
            pair_post(&pair, 0,
                      (struct pair_work){opcodes[i], .id = 2, .bytes = 5000, .flags = SIGNALED});
            pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
            assert_true(pair_holds(&pair, opcodes[i] == IBV_WR_RDMA_READ ? 0 : 1, 0, 5000, 9));
            pair_fini(&pair);
        }
    }
}

static void test_loss__one_more_than_retries__retry_exc_err(void **state) {
    (void)state;
    for (uint8_t retries = 0; retries <= 7; retries++) {
        for (uint32_t lost = retries; lost <= retries + 1u; lost++) {
            struct pair pair;
            init_with(&pair, retries, 14, retries, 7, 12);
            ist_hca_drop(pair.side[0].qp, lost);
            pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .flags = SIGNALED});
            pair_expect(&pair, pair.side[0].send_cq, 2,
                        lost > retries ? IBV_WC_RETRY_EXC_ERR : IBV_WC_SUCCESS);
            pair_fini(&pair);
        }
    }
}

/* The answer, not the request, is what gets lost here: it has arrived, and is not executed twice. */
static void test_loss__of_acknowledgements__executed_once(void **state) {
    (void)state;
    struct pair pair;
    init_with(&pair, 3, 14, 6, 7, 12);
    pair_receive(&pair, 1, 1, 0, 10);
    pair_receive(&pair, 1, 2, 0, 10);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 10, .flags = SIGNALED});
    struct ibv_wc wc;
    while (ibv_poll_cq(pair.side[1].recv_cq, 1, &wc) == 0) {
        assert_true(ist_hca_step(pair.hca));
    }
    ist_hca_drop(pair.side[0].qp, 3);
    uint64_t before = ist_hca_now_ns(pair.hca);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    assert_true(ist_hca_now_ns(pair.hca) - before > 3 * 67 * MS);
    pair_expect_none(&pair, pair.side[1].recv_cq);
    pair_fini(&pair);
}

static void test_loss__of_the_answer_and_then_the_peer__retry_exc_err(void **state) {
    (void)state;
    struct pair pair;
    init_with(&pair, 4, 14, 6, 7, 12);
    pair_receive(&pair, 1, 1, 0, 10);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 10, .flags = SIGNALED});
    struct ibv_wc wc;
    while (ibv_poll_cq(pair.side[1].recv_cq, 1, &wc) == 0) {
        assert_true(ist_hca_step(pair.hca));
    }
    ist_hca_drop(pair.side[0].qp, 1);
    pair_destroy_qp(&pair.side[1]);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_RETRY_EXC_ERR);
    pair_fini(&pair);
}

static void test_timeout__any__between_one_and_four_times_for_each_try(void **state) {
    (void)state;
    static const uint8_t timeouts[] = {1, 10, 14, 20};
    for (size_t i = 0; i < sizeof(timeouts); i++) {
        struct pair pair;
        init_with(&pair, 5, timeouts[i], 6, 7, 12);
        ist_hca_drop(pair.side[0].qp, UINT32_MAX);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2});
        pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_RETRY_EXC_ERR);
        uint64_t one = 4096ull << timeouts[i];
        assert_in_range(ist_hca_now_ns(pair.hca), 7 * one, 7 * 4 * one + MS);
        pair_fini(&pair);
    }
}

static void test_timeout__zero__waits_for_ever(void **state) {
    (void)state;
    struct pair pair;
    init_with(&pair, 6, 0, 6, 7, 12);
    ist_hca_drop(pair.side[0].qp, UINT32_MAX);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2});
    pair_expect_none(&pair, pair.side[0].send_cq);
    assert_true(ist_hca_next_ns(pair.hca) == UINT64_MAX);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_RTS);
    pair_fini(&pair);
}

static void test_loss__random__data_right_or_retry_exc_err(void **state) {
    (void)state;
    int good = 0, failed = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct pair_options options;
        struct pair pair;
        pair_options_init(&options, seed);
        options.config.loss_ppm = seed % 2 == 0 ? 20000 : 500000;
        options.retry_cnt = 3;
        pair_init(&pair, &options);
        for (uint32_t i = 0; i < PAIR_BUFFER_BYTES; i++) {
            pair.side[0].buffer[i] = (uint8_t)(i / 7);
        }
        pair_receive(&pair, 1, 1, 0, 30000);
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 30000, .flags = SIGNALED});
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_WRITE, .id = 3, .offset = 30000, .bytes = 30000,
                                     .flags = SIGNALED});
        struct ibv_wc wc[3];
        pair_run(&pair);
        assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 3, wc), 2);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(wc[i].wr_id, 2 + i);
            if (wc[i].status == IBV_WC_SUCCESS) {
                good++;
                assert_memory_equal(pair.side[1].buffer + i * 30000, pair.side[0].buffer + i * 30000,
                                    30000);
            } else {
                failed++;
            }
        }
        if (wc[0].status != IBV_WC_SUCCESS) {
            assert_int_equal(wc[0].status, IBV_WC_RETRY_EXC_ERR);
            assert_int_equal(wc[1].status, IBV_WC_WR_FLUSH_ERR);
        }
        pair_fini(&pair);
    }
    assert_true(good > 0 && failed > 0);
}

/* ---- receivers that are not ready ---------------------------------------------------------------- */

static void test_not_ready__rnr_retry_7__waits_for_ever_and_then_arrives(void **state) {
    (void)state;
    struct pair pair;
    init_with(&pair, 7, 14, 6, 7, 1);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 10, .flags = SIGNALED});
    assert_int_equal(ist_hca_run(pair.hca, 10000), 10000);
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), 0);
    pair_receive(&pair, 1, 1, 0, 10);
    pair_expect(&pair, pair.side[1].recv_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    pair_fini(&pair);
}

static void test_not_ready__more_often_than_rnr_retry__fails(void **state) {
    (void)state;
    for (uint8_t retries = 0; retries < 7; retries++) {
        for (uint32_t times = retries; times <= retries + 1u; times++) {
            struct pair pair;
            init_with(&pair, 8, 14, 6, retries, 1);
            pair_receive(&pair, 1, 1, 0, 10);
            ist_hca_not_ready(pair.side[1].qp, times);
            pair_post(&pair, 0,
                      (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 10, .flags = SIGNALED});
            pair_expect(&pair, pair.side[0].send_cq, 2,
                        times > retries ? IBV_WC_RNR_RETRY_EXC_ERR : IBV_WC_SUCCESS);
            assert_int_equal(pair_state(pair.side[1].qp), IBV_QPS_RTS); /* it did nothing wrong */
            pair_fini(&pair);
        }
    }
}

static void test_not_ready__timer__is_waited_for(void **state) {
    (void)state;
    static const struct {
        uint8_t timer;
        uint64_t ns;
    } timers[] = {{0, 655360000}, {1, 10000}, {5, 60000}, {12, 640000}, {31, 491520000}};
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        struct pair pair;
        init_with(&pair, 9, 14, 6, 7, timers[i].timer);
        pair_receive(&pair, 1, 1, 0, 10);
        ist_hca_not_ready(pair.side[1].qp, 1);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 10, .flags = SIGNALED});
        pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
        assert_in_range(ist_hca_now_ns(pair.hca), timers[i].ns, timers[i].ns + MS);
        pair_fini(&pair);
    }
}

static void test_not_ready__write_with_immediate__data_first_then_waits(void **state) {
    (void)state;
    struct pair pair;
    init_with(&pair, 10, 14, 6, 0, 1);
    pair_fill(&pair, 0, 4);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE_WITH_IMM, .id = 2, .bytes = 5000});
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_RNR_RETRY_EXC_ERR);
    uint32_t landed = 0;
    for (uint32_t i = 0; i < 5000; i++) {
        landed += pair.side[1].buffer[i] == 4;
    }
    assert_in_range(landed, 4 * 904,
                    4 * 1024); /* all but one of the five chunks, the last has 904 bytes */
    pair_fini(&pair);
}

static void test_not_ready__earlier_requests__are_complete(void **state) {
    (void)state;
    struct pair pair;
    init_with(&pair, 11, 14, 6, 0, 1);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 9000, .flags = SIGNALED});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 10, .flags = SIGNALED});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 3, .bytes = 10});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 3, IBV_WC_RNR_RETRY_EXC_ERR);
    pair_fini(&pair);
}

/* ---- outstanding READs --------------------------------------------------------------------------- */

static void init_with_reads(struct pair *pair, uint8_t mine, uint8_t peers) {
    struct pair_options options;
    pair_options_init(&options, 12);
    options.max_rd_atomic = mine;
    options.max_dest_rd_atomic = peers;
    pair_init(pair, &options);
}

static uint64_t time_of_reads(uint8_t max_rd_atomic) {
    struct pair pair;
    init_with_reads(&pair, max_rd_atomic, 16);
    for (uint64_t i = 0; i < 16; i++) {
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_READ, .id = i, .bytes = 64, .flags = SIGNALED});
    }
    struct ibv_wc wc[16];
    pair_run(&pair);
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 16, wc), 16);
    uint64_t ns = ist_hca_now_ns(pair.hca);
    pair_fini(&pair);
    return ns;
}

static void test_max_rd_atomic__more_reads__stall_the_queue(void **state) {
    (void)state;
    assert_true(time_of_reads(1) > 16 * 4000); /* each takes two latencies of 2 us */
    assert_true(time_of_reads(16) * 2 < time_of_reads(1));
}

static void test_max_rd_atomic__stalled__a_write_behind_waits_too(void **state) {
    (void)state;
    struct pair pair;
    init_with_reads(&pair, 1, 16);
    pair_fill(&pair, 1, 1);
    pair_fill(&pair, 0, 2);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 1000});
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_READ, .id = 2, .bytes = 1000, .flags = SIGNALED});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 3, .offset = 5000, .bytes = 10});
    /* The second READ is not taken before the data of the first is there. */
    while (pair.side[1].buffer[5000] != 2) {
        assert_true(ist_hca_step(pair.hca));
    }
    assert_true(pair_holds(&pair, 0, 0, 1000, 1));
    pair_run(&pair);
    pair_fini(&pair);
}

static void test_max_rd_atomic__more_than_the_peer_takes__refused(void **state) {
    (void)state;
    struct pair pair;
    init_with_reads(&pair, 4, 2);
    for (uint64_t i = 0; i < 4; i++) {
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_READ, .id = i, .bytes = 30000, .flags = SIGNALED});
    }
    pair_expect(&pair, pair.side[0].send_cq, 0, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_REM_INV_REQ_ERR);
    pair_expect(&pair, pair.side[0].send_cq, 3, IBV_WC_WR_FLUSH_ERR);
    pair_expect_event(&pair, 1, IBV_EVENT_QP_REQ_ERR);
    pair_fini(&pair);
}

static void test_max_rd_atomic__zero__a_read_is_an_error(void **state) {
    (void)state;
    struct pair pair;
    init_with_reads(&pair, 0, 2);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 10});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_LOC_QP_OP_ERR);
    pair_fini(&pair);
    init_with_reads(&pair, 2, 0);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 10});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_INV_REQ_ERR);
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss__fewer_than_retries__hidden),
        cmocka_unit_test(test_loss__one_more_than_retries__retry_exc_err),
        cmocka_unit_test(test_loss__of_acknowledgements__executed_once),
        cmocka_unit_test(test_loss__of_the_answer_and_then_the_peer__retry_exc_err),
        cmocka_unit_test(test_timeout__any__between_one_and_four_times_for_each_try),
        cmocka_unit_test(test_timeout__zero__waits_for_ever),
        cmocka_unit_test(test_loss__random__data_right_or_retry_exc_err),
        cmocka_unit_test(test_not_ready__rnr_retry_7__waits_for_ever_and_then_arrives),
        cmocka_unit_test(test_not_ready__more_often_than_rnr_retry__fails),
        cmocka_unit_test(test_not_ready__timer__is_waited_for),
        cmocka_unit_test(test_not_ready__write_with_immediate__data_first_then_waits),
        cmocka_unit_test(test_not_ready__earlier_requests__are_complete),
        cmocka_unit_test(test_max_rd_atomic__more_reads__stall_the_queue),
        cmocka_unit_test(test_max_rd_atomic__stalled__a_write_behind_waits_too),
        cmocka_unit_test(test_max_rd_atomic__more_than_the_peer_takes__refused),
        cmocka_unit_test(test_max_rd_atomic__zero__a_read_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

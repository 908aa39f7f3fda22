/* sim/hca: data that moves. */
#include "tests/hca_pair.h"

#include <arpa/inet.h>
#include <string.h>

#define SIGNALED IBV_SEND_SIGNALED

static void test_send__receive_posted__arrives_and_both_complete(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 1);
    pair_fill(&pair, 0, 0xaa);
    pair_receive(&pair, 1, 7, 100, 4000);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 8, .bytes = 3000, .flags = SIGNALED});
    struct ibv_wc wc = pair_expect(&pair, pair.side[1].recv_cq, 7, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RECV);
    assert_int_equal(wc.byte_len, 3000);
    assert_int_equal(wc.qp_num, pair.side[1].qp->qp_num);
    assert_int_equal(wc.wc_flags, 0);
    wc = pair_expect(&pair, pair.side[0].send_cq, 8, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_SEND);
    assert_int_equal(wc.qp_num, pair.side[0].qp->qp_num);
    assert_true(pair_holds(&pair, 1, 100, 3000, 0xaa));
    assert_true(pair_holds(&pair, 1, 0, 100, 0));
    assert_true(pair_holds(&pair, 1, 3100, 4000, 0)); /* the rest of the receive stays as it was */
    pair_fini(&pair);
}

static void test_send_with_immediate__any__arrives_with_it(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 2);
    pair_receive(&pair, 1, 7, 0, 0);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_SEND_WITH_IMM, .id = 8, .immediate = htonl(0x12345678),
                                 .flags = SIGNALED});
    struct ibv_wc wc = pair_expect(&pair, pair.side[1].recv_cq, 7, IBV_WC_SUCCESS);
    assert_int_equal(wc.byte_len, 0);
    assert_int_equal(wc.wc_flags, IBV_WC_WITH_IMM);
    assert_int_equal(ntohl(wc.imm_data), 0x12345678);
    pair_expect(&pair, pair.side[0].send_cq, 8, IBV_WC_SUCCESS);
    pair_fini(&pair);
}

static void test_write__any__lands_and_nobody_is_told_there(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 3);
    pair_fill(&pair, 0, 0xbb);
    pair_post(
        &pair, 0,
        (struct pair_work){IBV_WR_RDMA_WRITE, .id = 8, .offset = 50, .bytes = 5000, .flags = SIGNALED});
    struct ibv_wc wc = pair_expect(&pair, pair.side[0].send_cq, 8, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RDMA_WRITE);
    pair_expect_none(&pair, pair.side[1].recv_cq);
    assert_true(pair_holds(&pair, 1, 50, 5000, 0xbb));
    assert_true(pair_holds(&pair, 1, 0, 50, 0));
    assert_true(pair_holds(&pair, 1, 5050, 1000, 0));
    pair_fini(&pair);
}

static void test_write_with_immediate__any__takes_a_receive(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 4);
    pair_fill(&pair, 0, 0xbb);
    pair_receive(&pair, 1, 7, 0, 0);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_WRITE_WITH_IMM, .id = 8, .bytes = 5000,
                                 .immediate = htonl(99), .flags = SIGNALED});
    struct ibv_wc wc = pair_expect(&pair, pair.side[1].recv_cq, 7, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
    assert_int_equal(wc.byte_len, 5000);
    assert_int_equal(ntohl(wc.imm_data), 99);
    assert_true(pair_holds(&pair, 1, 0, 5000, 0xbb));
    pair_expect(&pair, pair.side[0].send_cq, 8, IBV_WC_SUCCESS);
    pair_fini(&pair);
}

static void test_read__any__fetches(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 5);
    pair_fill(&pair, 1, 0xcc);
    pair_post(
        &pair, 0,
        (struct pair_work){IBV_WR_RDMA_READ, .id = 8, .offset = 1, .bytes = 60000, .flags = SIGNALED});
    struct ibv_wc wc = pair_expect(&pair, pair.side[0].send_cq, 8, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RDMA_READ);
    assert_int_equal(wc.byte_len, 60000);
    assert_true(pair_holds(&pair, 0, 1, 60000, 0xcc));
    assert_true(pair_holds(&pair, 0, 60001, 1000, 0));
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send__receive_posted__arrives_and_both_complete),
        cmocka_unit_test(test_send_with_immediate__any__arrives_with_it),
        cmocka_unit_test(test_write__any__lands_and_nobody_is_told_there),
        cmocka_unit_test(test_write_with_immediate__any__takes_a_receive),
        cmocka_unit_test(test_read__any__fetches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

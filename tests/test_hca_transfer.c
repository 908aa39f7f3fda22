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

static void test_send__list_of_several_regions__gathered_and_scattered(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 6);
    uint8_t *from = pair.side[0].buffer, *to = pair.side[1].buffer;
    for (uint32_t i = 0; i < 6000; i++) {
        from[i] = (uint8_t)(i * 7 + i / 256);
    }
    uint32_t lkey = pair.side[0].mr->lkey;
    struct ibv_sge gather[] = {{(uintptr_t)from, 1500, lkey},
                               {0, 0, 12345}, /* an empty one is not looked at */
                               {(uintptr_t)from + 1500, 1, lkey},
                               {(uintptr_t)from + 1501, 4499, lkey}};
    lkey = pair.side[1].mr->lkey;
    struct ibv_sge scatter[] = {{(uintptr_t)to + 1, 900, lkey},
                                {(uintptr_t)to + 1000, 3000, lkey},
                                {(uintptr_t)to + 5000, 5000, lkey}};
    struct ibv_recv_wr receive = {.wr_id = 1, .sg_list = scatter, .num_sge = 3}, *bad_receive;
    assert_int_equal(ibv_post_recv(pair.side[1].qp, &receive, &bad_receive), 0);
    struct ibv_send_wr send = {.wr_id = 2, .sg_list = gather, .num_sge = 4, .opcode = IBV_WR_SEND},
                       *bad;
    assert_int_equal(ibv_post_send(pair.side[0].qp, &send, &bad), 0);
    memset(gather, 0xff, sizeof(gather)); /* the lists are copied at the post */
    memset(scatter, 0xff, sizeof(scatter));
    pair_expect(&pair, pair.side[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_memory_equal(to + 1, from, 900);
    assert_memory_equal(to + 1000, from + 900, 3000);
    assert_memory_equal(to + 5000, from + 3900, 2100);
    pair_fini(&pair);
}

static void test_post_send__source_changed_before_completion__shows(void **state) {
    (void)state;
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_WRITE};
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        pair_init_seed(&pair, 7);
        pair_fill(&pair, 0, 1);
        pair_receive(&pair, 1, 1, 0, 50);
        pair_post(&pair, 0, (struct pair_work){opcodes[i], .id = 2, .bytes = 50, .flags = SIGNALED});
        pair_fill(&pair, 0, 2);
        pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
        assert_true(pair_holds(&pair, 1, 0, 50, 2));
        pair_fini(&pair);
    }
}

static void test_post_send__inline_source_changed__does_not_show(void **state) {
    (void)state;
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_WRITE};
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        pair_init_seed(&pair, 8);
        pair_fill(&pair, 0, 1);
        pair_receive(&pair, 1, 1, 0, 50);
        pair_post(&pair, 0,
                  (struct pair_work){opcodes[i], .id = 2, .bytes = 50,
                                     .flags = SIGNALED | IBV_SEND_INLINE,
                                     .lkey = 77}); /* not looked at: man post_send */
        pair_fill(&pair, 0, 2);
        pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
        assert_true(pair_holds(&pair, 1, 0, 50, 1));
        pair_fini(&pair);
    }
}

/* The order in which the 16 chunks of a WRITE land, as a number. */
static uint64_t order_of_chunks(uint64_t seed) {
    struct pair pair;
    pair_init_seed(&pair, seed);
    pair_fill(&pair, 0, 0xee);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .bytes = 16 * 1024});
    uint64_t order = 0;
    unsigned landed = 0;
    while (ist_hca_step(pair.hca)) {
        for (uint32_t i = 0; i < 16; i++) {
            if ((landed & 1u << i) == 0 && pair.side[1].buffer[i * 1024] != 0) {
                assert_true(pair_holds(&pair, 1, i * 1024, 1024, 0xee));
                landed |= 1u << i;
                order = order << 4 | i;
            }
        }
    }
    assert_int_equal(landed, 0xffff);
    pair_fini(&pair);
    return order;
}

static void test_write__several_packets__land_in_an_order_of_the_seed(void **state) {
    (void)state;
    uint64_t first = order_of_chunks(1);
    assert_true(first != 0x0123456789abcdef);
    assert_true(first == order_of_chunks(1));
    assert_true(first != order_of_chunks(2));
}

#define SEEDS_OF_ORDER 20 /* enough for both outcomes where both are allowed */

/* Whether the READ got the bytes of before the WRITE behind it. */
static bool read_is_first(uint64_t seed, unsigned flags) {
    struct pair pair;
    pair_init_seed(&pair, seed);
    pair_fill(&pair, 1, 1);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .bytes = 8192});
    /* From another place of the buffer to where the READ reads. */
    struct ibv_sge sge = {(uintptr_t)pair.side[0].buffer + 20000, 8192, pair.side[0].mr->lkey};
    memset(pair.side[0].buffer + 20000, 2, 8192);
    struct ibv_send_wr write = {
        .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = flags};
    struct ibv_send_wr *bad;
    write.wr.rdma.remote_addr = (uintptr_t)pair.side[1].buffer;
    write.wr.rdma.rkey = pair.side[1].mr->rkey;
    assert_int_equal(ibv_post_send(pair.side[0].qp, &write, &bad), 0);
    pair_run(&pair);
    assert_true(pair_holds(&pair, 1, 0, 8192, 2));
    bool first = pair_holds(&pair, 0, 0, 8192, 1);
    pair_fini(&pair);
    return first;
}

static void test_read__later_write__may_overtake_unless_fenced(void **state) {
    (void)state;
    int first = 0;
    for (uint64_t seed = 1; seed <= SEEDS_OF_ORDER; seed++) {
        first += read_is_first(seed, 0);
        assert_true(read_is_first(seed, IBV_SEND_FENCE));
    }
    assert_in_range(first, 1, SEEDS_OF_ORDER - 1);
}

/* Whether a SEND of what the READ before it fetches sends the fetched bytes. */
static bool send_is_new(uint64_t seed, unsigned flags) {
    struct pair pair;
    pair_init_seed(&pair, seed);
    pair_fill(&pair, 1, 1);
    pair_receive(&pair, 1, 1, 10000, 500);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .bytes = 500});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 500, .flags = flags});
    pair_expect(&pair, pair.side[1].recv_cq, 1, IBV_WC_SUCCESS);
    bool new = pair_holds(&pair, 1, 10000, 500, 1);
    pair_fini(&pair);
    return new;
}

static void test_read__later_send_of_its_data__may_be_old_unless_fenced(void **state) {
    (void)state;
    int new = 0;
    for (uint64_t seed = 1; seed <= SEEDS_OF_ORDER; seed++) {
        new += send_is_new(seed, 0);
        assert_true(send_is_new(seed, IBV_SEND_FENCE));
    }
    assert_in_range(new, 0, SEEDS_OF_ORDER - 1);
}

static void test_write__later_requests__keep_the_order(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair pair;
        pair_init_seed(&pair, seed);
        memset(pair.side[0].buffer, 1, 8000);
        pair_receive(&pair, 1, 3, 60000, 100);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .bytes = 8000});
        /* An overlapping WRITE, inline so that its bytes differ. */
        memset(pair.side[0].buffer + 100, 2, 50);
        pair_post(&pair, 0,
                  (struct pair_work){IBV_WR_RDMA_WRITE, .offset = 100, .bytes = 50,
                                     .flags = IBV_SEND_INLINE});
        memset(pair.side[0].buffer + 100, 1, 50);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .offset = 60000, .bytes = 10});
        /* What was written before a message is there when the message is. */
        struct ibv_wc wc;
        while (ibv_poll_cq(pair.side[1].recv_cq, 1, &wc) == 0) {
            assert_true(ist_hca_step(pair.hca));
        }
        assert_true(pair_holds(&pair, 1, 0, 100, 1));
        assert_true(pair_holds(&pair, 1, 100, 50, 2));
        assert_true(pair_holds(&pair, 1, 150, 7850, 1));
        pair_run(&pair);
        pair_fini(&pair);
    }
}

static void test_read__after_a_write__sees_it(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair pair;
        pair_init_seed(&pair, seed);
        pair_fill(&pair, 0, 5);
        pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .bytes = 4000});
        struct ibv_sge sge = {(uintptr_t)pair.side[0].buffer + 30000, 4000, pair.side[0].mr->lkey};
        memset(pair.side[0].buffer + 30000, 0, 4000);
        struct ibv_send_wr read = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ}, *bad;
        read.wr.rdma.remote_addr = (uintptr_t)pair.side[1].buffer;
        read.wr.rdma.rkey = pair.side[1].mr->rkey;
        assert_int_equal(ibv_post_send(pair.side[0].qp, &read, &bad), 0);
        pair_run(&pair);
        assert_true(pair_holds(&pair, 0, 30000, 4000, 5));
        pair_fini(&pair);
    }
}

static void test_post_send__mixed_requests__complete_in_order(void **state) {
    (void)state;
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE, IBV_WR_SEND};
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct pair pair;
        pair_init_seed(&pair, seed);
        uint64_t random = seed;
        for (uint64_t id = 0; id < 16; id++) {
            pair_receive(&pair, 1, id, 0, 4096);
            pair_post(&pair, 0,
                      (struct pair_work){.opcode = opcodes[random_below(&random, 3)],
                                         .id = id,
                                         .bytes = (uint32_t)random_below(&random, 4097),
                                         .flags = SIGNALED});
        }
        struct ibv_wc wc[17];
        pair_run(&pair);
        assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 17, wc), 16);
        for (uint64_t id = 0; id < 16; id++) {
            assert_int_equal(wc[id].status, IBV_WC_SUCCESS);
            assert_int_equal(wc[id].wr_id, id);
        }
        int received = ibv_poll_cq(pair.side[1].recv_cq, 17, wc);
        for (int i = 0; i < received; i++) {
            assert_int_equal(wc[i].wr_id, i);
        }
        pair_fini(&pair);
    }
}

static void test_post_send__both_ways_at_once__both_arrive(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 11);
    memset(pair.side[0].buffer, 1, 20000);
    memset(pair.side[1].buffer + 20000, 2, 20000);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 20000, .flags = SIGNALED});
    pair_post(&pair, 1,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .offset = 20000, .bytes = 20000,
                                 .flags = SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[1].send_cq, 2, IBV_WC_SUCCESS);
    assert_true(pair_holds(&pair, 1, 0, 20000, 1));
    assert_true(pair_holds(&pair, 0, 20000, 20000, 2));
    pair_fini(&pair);
}

static void test_connection__to_itself__works(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 12);
    pair_init_devices(&pair, &options);
    pair_open(&pair, &pair.side[0]);
    pair_make_qp(&pair, &pair.side[0]);
    assert_int_equal(pair_to_init(&pair, &pair.side[0]), 0);
    assert_int_equal(pair_to_rtr(&pair, &pair.side[0], &pair.side[0]), 0);
    assert_int_equal(pair_to_rts(&pair, &pair.side[0]), 0);
    pair.side[1] = pair.side[0];
    pair_fill(&pair, 0, 3);
    pair_receive(&pair, 0, 1, 5000, 3000);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 3000, .flags = SIGNALED});
    pair_expect(&pair, pair.side[0].recv_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    /* And its own refusal: it is the peer that fails, so the request is flushed or refused. */
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 3, .bytes = 3000, .rkey = 99});
    pair_run(&pair);
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), 1);
    assert_int_not_equal(wc.status, IBV_WC_SUCCESS);
    memset(&pair.side[1], 0, sizeof(pair.side[1]));
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send__receive_posted__arrives_and_both_complete),
        cmocka_unit_test(test_send_with_immediate__any__arrives_with_it),
        cmocka_unit_test(test_write__any__lands_and_nobody_is_told_there),
        cmocka_unit_test(test_write_with_immediate__any__takes_a_receive),
        cmocka_unit_test(test_read__any__fetches),
        cmocka_unit_test(test_send__list_of_several_regions__gathered_and_scattered),
        cmocka_unit_test(test_post_send__source_changed_before_completion__shows),
        cmocka_unit_test(test_post_send__inline_source_changed__does_not_show),
        cmocka_unit_test(test_write__several_packets__land_in_an_order_of_the_seed),
        cmocka_unit_test(test_read__later_write__may_overtake_unless_fenced),
        cmocka_unit_test(test_read__later_send_of_its_data__may_be_old_unless_fenced),
        cmocka_unit_test(test_write__later_requests__keep_the_order),
        cmocka_unit_test(test_read__after_a_write__sees_it),
        cmocka_unit_test(test_post_send__mixed_requests__complete_in_order),
        cmocka_unit_test(test_post_send__both_ways_at_once__both_arrive),
        cmocka_unit_test(test_connection__to_itself__works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

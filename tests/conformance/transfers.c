/* Messages, READs and WRITEs that work. */
#include "tests/conformance/conformance.h"

#include <arpa/inet.h>

#define SIGNALED IBV_SEND_SIGNALED

static struct link l;

static int open_link(void **state) {
    (void)state;
    link_open(&l, default_options());
    return 0;
}

static int open_link_without_srq(void **state) {
    (void)state;
    struct options options = default_options();
    options.srq = false;
    link_open(&l, options);
    return 0;
}

static int close_link(void **state) {
    (void)state;
    link_close(&l);
    return 0;
}

static void assert_sent_is_received(int side) {
    fill(l.end[side].buffer, 5000, 1);
    post_receive(&l, 1 - side, 1, MIB, 6000);
    post(&l, side, (struct work){IBV_WR_SEND, .id = 2, .bytes = 5000, .flags = SIGNALED});
    struct ibv_wc wc = assert_completion(l.end[1 - side].recv_cq, 1, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RECV);
    assert_int_equal(wc.byte_len, 5000);
    assert_int_equal(wc.qp_num, l.end[1 - side].qp->qp_num);
    assert_int_equal(wc.wc_flags & IBV_WC_WITH_IMM, 0);
    assert_memory_equal(l.end[1 - side].buffer + MIB, l.end[side].buffer, 5000);
    wc = assert_completion(l.end[side].send_cq, 2, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_SEND);
    assert_int_equal(wc.qp_num, l.end[side].qp->qp_num);
}

static void test_send__to_an_srq__both_ways(void **state) {
    (void)state;
    assert_sent_is_received(0);
    assert_sent_is_received(1);
}

static void test_send__to_a_receive_queue__both_ways(void **state) {
    (void)state;
    assert_sent_is_received(0);
    assert_sent_is_received(1);
}

static void test_send_with_immediate__any__arrives_with_it(void **state) {
    (void)state;
    post_receive(&l, 1, 1, 0, 100);
    post(&l, 0,
         (struct work){IBV_WR_SEND_WITH_IMM, .id = 2, .bytes = 10, .immediate = htonl(0xabcd),
                       .flags = SIGNALED});
    struct ibv_wc wc = assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_int_equal(wc.wc_flags & IBV_WC_WITH_IMM, IBV_WC_WITH_IMM);
    assert_int_equal(ntohl(wc.imm_data), 0xabcd);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
}

static void test_write_with_immediate__any__takes_a_receive(void **state) {
    (void)state;
    fill(l.end[0].buffer, 9000, 2);
    post_receive(&l, 1, 1, 0, 0);
    post(&l, 0,
         (struct work){IBV_WR_RDMA_WRITE_WITH_IMM, .id = 2, .bytes = 9000, .to = 77,
                       .immediate = htonl(5), .flags = SIGNALED});
    struct ibv_wc wc = assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
    assert_int_equal(wc.byte_len, 9000);
    assert_int_equal(ntohl(wc.imm_data), 5);
    assert_memory_equal(l.end[1].buffer + 77, l.end[0].buffer, 9000);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
}

static const uint32_t sizes[] = {1, 3, 255, 256, 1023, 1024, 1025, 4096, 65537, MIB};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void test_write__any_size__lands_exactly(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        fill(l.end[0].buffer, sizes[i], i);
        memset(l.end[1].buffer, 0, MIB + 100);
        post(&l, 0,
             (struct work){IBV_WR_RDMA_WRITE, .id = i, .bytes = sizes[i], .to = 5, .flags = SIGNALED});
        struct ibv_wc wc = assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
        assert_int_equal(wc.opcode, IBV_WC_RDMA_WRITE);
        assert_memory_equal(l.end[1].buffer + 5, l.end[0].buffer, sizes[i]);
        assert_int_equal(l.end[1].buffer[4], 0);
        assert_int_equal(l.end[1].buffer[5 + sizes[i]], 0);
    }
}

static void test_read__any_size__fetches_exactly(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        fill(l.end[1].buffer, MIB + 10, i);
        memset(l.end[0].buffer, 0, MIB + 100);
        post(&l, 0,
             (struct work){IBV_WR_RDMA_READ, .id = i, .bytes = sizes[i], .from = 9, .to = 3,
                           .flags = SIGNALED});
        struct ibv_wc wc = assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
        assert_int_equal(wc.opcode, IBV_WC_RDMA_READ);
        assert_memory_equal(l.end[0].buffer + 9, l.end[1].buffer + 3, sizes[i]);
        assert_int_equal(l.end[0].buffer[8], 0);
        assert_int_equal(l.end[0].buffer[9 + sizes[i]], 0);
    }
}

/* 64 in one list, only the last of them signalled. */
static void chain(enum ibv_wr_opcode opcode) {
    enum { COUNT = 64, BYTES = 9000 };
    struct work work[COUNT];
    int reader = opcode == IBV_WR_RDMA_READ ? 1 : 0; /* whose bytes move */
    fill(l.end[reader].buffer, COUNT * BYTES, opcode);
    memset(l.end[1 - reader].buffer, 0, COUNT * BYTES);
    for (uint64_t round = 0; round < 4; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            work[i] = (struct work){.opcode = opcode,
                                    .id = round * COUNT + i,
                                    .bytes = BYTES,
                                    .from = i * BYTES,
                                    .to = i * BYTES,
                                    .flags = i == COUNT - 1 ? SIGNALED : 0};
        }
        post_list(&l, 0, work, COUNT);
        assert_completion(l.end[0].send_cq, round * COUNT + COUNT - 1, IBV_WC_SUCCESS);
        assert_memory_equal(l.end[0].buffer, l.end[1].buffer, COUNT * BYTES);
        memset(l.end[1 - reader].buffer, 0, COUNT * BYTES);
    }
    assert_nothing_before(&l, 0, IBV_WC_SUCCESS);
}

static void test_write__chain_with_one_signalled__one_completion_for_all(void **state) {
    (void)state;
    chain(IBV_WR_RDMA_WRITE);
}

/* Many more than may be outstanding. */
static void test_read__chain_with_one_signalled__one_completion_for_all(void **state) {
    (void)state;
    chain(IBV_WR_RDMA_READ);
}

static void test_inline__source_reused_at_once__the_old_bytes_arrive(void **state) {
    (void)state;
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_WRITE};
    for (int i = 0; i < 2; i++) {
        memset(l.end[1].buffer, 0, 64);
        fill(l.end[0].buffer, 64, 4);
        if (opcodes[i] == IBV_WR_SEND) {
            post_receive(&l, 1, 1, 0, 64);
        }
        post(&l, 0,
             (struct work){opcodes[i], .id = 2, .bytes = 64, .flags = SIGNALED | IBV_SEND_INLINE});
        memset(l.end[0].buffer, 0xff, 64);
        assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
        if (opcodes[i] == IBV_WR_SEND) {
            assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
        }
        fill(l.end[0].buffer, 64, 4);
        assert_memory_equal(l.end[1].buffer, l.end[0].buffer, 64);
    }
}

static void test_send_and_write__zero_bytes__complete(void **state) {
    (void)state;
    post_receive(&l, 1, 1, 0, 0);
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 2, .flags = SIGNALED});
    post(&l, 0, (struct work){IBV_WR_RDMA_WRITE, .id = 3, .flags = SIGNALED});
    struct ibv_wc wc = assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_int_equal(wc.byte_len, 0);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
    assert_completion(l.end[0].send_cq, 3, IBV_WC_SUCCESS);
}

static void test_send__several_elements__gathered_and_scattered(void **state) {
    (void)state;
    uint8_t *from = l.end[0].buffer, *to = l.end[1].buffer;
    uint32_t lkey = l.end[0].mr->lkey;
    fill(from, 7000, 5);
    struct ibv_sge gather[] = {{(uintptr_t)from, 1, lkey},
                               {(uintptr_t)from + 1, 4999, lkey},
                               {(uintptr_t)from + 5000, 2000, lkey}};
    lkey = l.end[1].mr->lkey;
    struct ibv_sge scatter[] = {{(uintptr_t)to + 1, 3000, lkey},
                                {(uintptr_t)to + 10000, 2, lkey},
                                {(uintptr_t)to + 20000, 9000, lkey}};
    struct ibv_recv_wr receive = {.wr_id = 1, .sg_list = scatter, .num_sge = 3}, *bad_receive;
    assert_int_equal(ibv_post_srq_recv(l.end[1].srq, &receive, &bad_receive), 0);
    struct ibv_send_wr send = {.wr_id = 2, .sg_list = gather, .num_sge = 3, .opcode = IBV_WR_SEND},
                       *bad;
    assert_int_equal(ibv_post_send(l.end[0].qp, &send, &bad), 0);
    struct ibv_wc wc = assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_int_equal(wc.byte_len, 7000);
    assert_memory_equal(to + 1, from, 3000);
    assert_memory_equal(to + 10000, from + 3000, 2);
    assert_memory_equal(to + 20000, from + 3002, 3998);
}

static void test_requests__mixed_and_all_signalled__complete_in_order(void **state) {
    (void)state;
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE, IBV_WR_SEND};
    enum { COUNT = 60 };
    struct work work[COUNT];
    uint64_t random = 6;
    int sends = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        work[i] = (struct work){.opcode = opcodes[random_below(&random, 3)],
                                .id = i,
                                .bytes = (uint32_t)random_below(&random, 20000),
                                .flags = SIGNALED};
        if (work[i].opcode == IBV_WR_SEND) {
            post_receive(&l, 1, (uint64_t)sends++, MIB, 20000);
        }
    }
    post_list(&l, 0, work, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
    }
    for (int i = 0; i < sends; i++) {
        assert_completion(l.end[1].recv_cq, (uint64_t)i, IBV_WC_SUCCESS);
    }
}

/* man post_send: unordered without; the fence makes it wait. */
static void test_send__fenced_behind_a_read__sends_what_was_read(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        fill(l.end[1].buffer, 30000, i);
        memset(l.end[0].buffer, 0, 30000);
        post_receive(&l, 1, i, MIB, 30000);
        post(&l, 0, (struct work){IBV_WR_RDMA_READ, .bytes = 30000});
        post(&l, 0,
             (struct work){IBV_WR_SEND, .id = i, .bytes = 30000, .flags = SIGNALED | IBV_SEND_FENCE});
        assert_completion(l.end[1].recv_cq, i, IBV_WC_SUCCESS);
        assert_memory_equal(l.end[1].buffer + MIB, l.end[1].buffer, 30000);
        assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
    }
}

static void test_write__followed_by_a_send__is_there_when_the_message_is(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        fill(l.end[0].buffer, 100000, i);
        memset(l.end[1].buffer, 0, 100000);
        post_receive(&l, 1, i, MIB, 10);
        post(&l, 0, (struct work){IBV_WR_RDMA_WRITE, .bytes = 100000});
        post(&l, 0, (struct work){IBV_WR_SEND, .id = i, .bytes = 10, .flags = SIGNALED});
        assert_completion(l.end[1].recv_cq, i, IBV_WC_SUCCESS);
        assert_memory_equal(l.end[1].buffer, l.end[0].buffer, 100000);
        assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
    }
}

static void test_srq__two_queue_pairs__completions_tell_which(void **state) {
    (void)state;
    struct ibv_qp *first[2] = {l.end[0].qp, l.end[1].qp};
    make_qp(&l, &l.end[0]);
    make_qp(&l, &l.end[1]);
    connect_qps(&l, l.end[0].qp, l.end[1].qp);
    assert_int_not_equal(first[1]->qp_num, l.end[1].qp->qp_num);
    post_receive(&l, 1, 1, 0, 10);
    post_receive(&l, 1, 2, 0, 10);
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 3, .bytes = 10, .flags = SIGNALED});
    struct ibv_wc wc = assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_int_equal(wc.qp_num, l.end[1].qp->qp_num);
    assert_completion(l.end[0].send_cq, 3, IBV_WC_SUCCESS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ibv_destroy_qp(l.end[i].qp), 0);
        l.end[i].qp = first[i];
    }
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 4, .bytes = 10, .flags = SIGNALED});
    wc = assert_completion(l.end[1].recv_cq, 2, IBV_WC_SUCCESS);
    assert_int_equal(wc.qp_num, first[1]->qp_num);
    assert_completion(l.end[0].send_cq, 4, IBV_WC_SUCCESS);
}

static void test_receiver_not_ready__rnr_retry_7__waits_for_the_receive(void **state) {
    (void)state;
    fill(l.end[0].buffer, 100, 8);
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 2, .bytes = 100, .flags = SIGNALED});
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(l.end[0].send_cq, 1, &wc), 0);
    post_receive(&l, 1, 1, MIB, 100);
    assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
    assert_memory_equal(l.end[1].buffer + MIB, l.end[0].buffer, 100);
}

#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, open_link, close_link)

int run_transfer_tests(void) {
    const struct CMUnitTest tests[] = {
        WITH_LINK(test_send__to_an_srq__both_ways),
        cmocka_unit_test_setup_teardown(test_send__to_a_receive_queue__both_ways, open_link_without_srq,
                                        close_link),
        WITH_LINK(test_send_with_immediate__any__arrives_with_it),
        WITH_LINK(test_write_with_immediate__any__takes_a_receive),
        WITH_LINK(test_write__any_size__lands_exactly),
        WITH_LINK(test_read__any_size__fetches_exactly),
        WITH_LINK(test_write__chain_with_one_signalled__one_completion_for_all),
        WITH_LINK(test_read__chain_with_one_signalled__one_completion_for_all),
        WITH_LINK(test_inline__source_reused_at_once__the_old_bytes_arrive),
        WITH_LINK(test_send_and_write__zero_bytes__complete),
        WITH_LINK(test_send__several_elements__gathered_and_scattered),
        WITH_LINK(test_requests__mixed_and_all_signalled__complete_in_order),
        WITH_LINK(test_send__fenced_behind_a_read__sends_what_was_read),
        WITH_LINK(test_write__followed_by_a_send__is_there_when_the_message_is),
        WITH_LINK(test_srq__two_queue_pairs__completions_tell_which),
        WITH_LINK(test_receiver_not_ready__rnr_retry_7__waits_for_the_receive),
    };
    return cmocka_run_group_tests(tests, open_place, close_place);
}

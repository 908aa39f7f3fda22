/* Requests that fail, and what follows. */
#include "tests/conformance/conformance.h"

#include <errno.h>

#define SIGNALED IBV_SEND_SIGNALED

static struct link l;

static int open_link(void **state) {
    (void)state;
    link_open(&l, default_options());
    return 0;
}

/* A dead peer is noticed within milliseconds. */
static int open_impatient_link(void **state) {
    (void)state;
    struct options options = default_options();
    options.timeout = 8; /* 1 ms */
    options.retry_cnt = 2;
    options.rnr_retry = 1;
    link_open(&l, options);
    return 0;
}

static int close_link(void **state) {
    (void)state;
    link_close(&l);
    return 0;
}

/* ---- wrong keys, bounds, rights ------------------------------------------------------------------ */

/* The failing request first, then two more; both queue pairs end in ERR. */
static void assert_remote_error(struct work bad, const char *name) {
    bad.id = 1;
    post(&l, 0, bad);
    post(&l, 0, (struct work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 10});
    post(&l, 0, (struct work){IBV_WR_RDMA_READ, .id = 3, .bytes = 10, .flags = SIGNALED});
    assert_completion_of(l.end[0].send_cq, 1, IBV_WC_REM_ACCESS_ERR, name);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_WR_FLUSH_ERR);
    assert_completion(l.end[0].send_cq, 3, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(state_of(l.end[0].qp), IBV_QPS_ERR);
    assert_nothing_before(&l, 0, IBV_WC_WR_FLUSH_ERR); /* posts are still taken */
    assert_state(l.end[1].qp, IBV_QPS_ERR);
}

static void test_write__unknown_rkey__rem_access_err(void **state) {
    (void)state;
    assert_remote_error((struct work){IBV_WR_RDMA_WRITE, .bytes = 10, .rkey = l.end[1].mr->rkey ^ 0x55},
                        "unknown rkey");
}

static void test_read__unknown_rkey__rem_access_err(void **state) {
    (void)state;
    assert_remote_error((struct work){IBV_WR_RDMA_READ, .bytes = 10, .rkey = l.end[1].mr->rkey ^ 0x55},
                        "unknown rkey");
}

static void test_write__one_byte_beyond_the_region__rem_access_err(void **state) {
    (void)state;
    assert_remote_error((struct work){IBV_WR_RDMA_WRITE, .bytes = 11, .to = BUFFER_BYTES - 10},
                        "out of bounds");
}

static void test_read__before_the_region__rem_access_err(void **state) {
    (void)state;
    assert_remote_error((struct work){IBV_WR_RDMA_READ, .bytes = 11, .to = (uint64_t)-1},
                        "out of bounds");
}

static void test_write__region_deregistered__rem_access_err(void **state) {
    (void)state;
    struct ibv_mr *mr =
        ibv_reg_mr(l.end[1].pd, l.end[1].buffer, MIB, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    assert_non_null(mr);
    uint32_t rkey = mr->rkey;
    post(&l, 0,
         (struct work){IBV_WR_RDMA_WRITE, .id = 9, .bytes = 10, .rkey = rkey, .flags = SIGNALED});
    assert_completion(l.end[0].send_cq, 9, IBV_WC_SUCCESS);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    memset(l.end[1].buffer, 0, 10);
    memset(l.end[0].buffer, 1, 10);
    assert_remote_error((struct work){IBV_WR_RDMA_WRITE, .bytes = 10, .rkey = rkey}, "deregistered");
    assert_int_equal(l.end[1].buffer[0], 0);
}

/* What guards a server's pool: registered LOCAL_WRITE only. */
static void assert_error_without_right(enum ibv_wr_opcode opcode) {
    struct ibv_mr *mr = ibv_reg_mr(l.end[1].pd, l.end[1].buffer, MIB, IBV_ACCESS_LOCAL_WRITE);
    assert_non_null(mr);
    memset(l.end[1].buffer, 0, 10);
    memset(l.end[0].buffer, 1, 10);
    uint32_t rkey = mr->rkey != 0 ? mr->rkey : mr->lkey;
    assert_remote_error((struct work){opcode, .bytes = 10, .rkey = rkey}, "no right");
    assert_int_equal(l.end[1].buffer[0], 0);
    assert_int_equal(l.end[0].buffer[0], 1);
    assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void test_write__region_without_remote_write__rem_access_err(void **state) {
    (void)state;
    assert_error_without_right(IBV_WR_RDMA_WRITE);
}

static void test_read__region_without_remote_read__rem_access_err(void **state) {
    (void)state;
    assert_error_without_right(IBV_WR_RDMA_READ);
}

static void test_write__bad_lkey__loc_prot_err(void **state) {
    (void)state;
    post(&l, 0,
         (struct work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10, .lkey = l.end[0].mr->lkey ^ 0x55});
    post(&l, 0, (struct work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 10});
    assert_completion_of(l.end[0].send_cq, 1, IBV_WC_LOC_PROT_ERR, "bad lkey");
    assert_completion(l.end[0].send_cq, 2, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(state_of(l.end[0].qp), IBV_QPS_ERR);
}

static void test_send__longer_than_the_receive__both_ends_fail(void **state) {
    (void)state;
    memset(l.end[1].buffer, 0, 200);
    memset(l.end[0].buffer, 1, 200);
    post_receive(&l, 1, 1, 0, 99);
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 2, .bytes = 100, .flags = SIGNALED});
    assert_completion_of(l.end[0].send_cq, 2, IBV_WC_REM_INV_REQ_ERR, "long send, sender");
    assert_completion_of(l.end[1].recv_cq, 1, IBV_WC_LOC_LEN_ERR, "long send, receiver");
    assert_int_equal(l.end[1].buffer[99], 0);
    assert_int_equal(state_of(l.end[0].qp), IBV_QPS_ERR);
}

static void test_error__earlier_requests__are_complete(void **state) {
    (void)state;
    fill(l.end[1].buffer, 100000, 1);
    const struct work work[] = {
        {IBV_WR_RDMA_READ, .id = 1, .bytes = 50000, .flags = SIGNALED},
        {IBV_WR_RDMA_WRITE, .id = 2, .bytes = 1000, .from = MIB, .to = MIB, .flags = SIGNALED},
        {IBV_WR_RDMA_WRITE, .id = 3, .bytes = 10, .rkey = l.end[1].mr->rkey ^ 0x55},
        {IBV_WR_RDMA_READ, .id = 4, .bytes = 10},
    };
    post_list(&l, 0, work, 4);
    assert_completion(l.end[0].send_cq, 1, IBV_WC_SUCCESS);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
    assert_memory_equal(l.end[0].buffer, l.end[1].buffer, 50000);
    assert_completion(l.end[0].send_cq, 3, IBV_WC_REM_ACCESS_ERR);
    assert_completion(l.end[0].send_cq, 4, IBV_WC_WR_FLUSH_ERR);
}

/* ---- peers that are gone ------------------------------------------------------------------------- */

static void assert_dead_peer(void) {
    post(&l, 0, (struct work){IBV_WR_RDMA_READ, .id = 1, .bytes = 10});
    post(&l, 0, (struct work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 10});
    assert_completion(l.end[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(state_of(l.end[0].qp), IBV_QPS_ERR);
}

static void test_peer__destroyed__retry_exc_err(void **state) {
    (void)state;
    assert_int_equal(ibv_destroy_qp(l.end[1].qp), 0);
    l.end[1].qp = NULL;
    assert_dead_peer();
}

static void test_peer__in_error__retry_exc_err(void **state) {
    (void)state;
    assert_int_equal(to_state(l.end[1].qp, IBV_QPS_ERR), 0);
    assert_dead_peer();
}

static void test_receiver_not_ready__too_often__rnr_retry_exc_err(void **state) {
    (void)state;
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 1, .bytes = 10});
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 2, .bytes = 10});
    assert_completion(l.end[0].send_cq, 1, IBV_WC_RNR_RETRY_EXC_ERR);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_WR_FLUSH_ERR);
}

/* ---- brought to ERR ------------------------------------------------------------------------------ */

static void test_modify_to_error__outstanding_requests__each_ends_once_in_order(void **state) {
    (void)state;
    enum { COUNT = 40 };
    struct work work[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        work[i] = (struct work){.opcode = i % 2 == 0 ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
                                .id = i,
                                .bytes = 60000,
                                .flags = SIGNALED};
    }
    post_list(&l, 0, work, COUNT);
    assert_int_equal(to_state(l.end[0].qp, IBV_QPS_ERR), 0);
    bool flushed = false;
    for (uint64_t i = 0; i < COUNT; i++) {
        struct ibv_wc wc = next_completion(l.end[0].send_cq);
        assert_int_equal(wc.wr_id, i);
        assert_true(wc.status == IBV_WC_WR_FLUSH_ERR || (wc.status == IBV_WC_SUCCESS && !flushed));
        flushed = wc.status == IBV_WC_WR_FLUSH_ERR;
    }
    assert_nothing_before(&l, 0, IBV_WC_WR_FLUSH_ERR);
}

static int open_link_without_srq(void **state) {
    (void)state;
    struct options options = default_options();
    options.srq = false;
    link_open(&l, options);
    return 0;
}

static void test_modify_to_error__receives_of_its_own__flushed_in_order(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 10; i++) {
        post_receive(&l, 1, i, 0, 10);
    }
    assert_int_equal(to_state(l.end[1].qp, IBV_QPS_ERR), 0);
    for (uint64_t i = 0; i < 10; i++) {
        assert_completion(l.end[1].recv_cq, i, IBV_WC_WR_FLUSH_ERR);
    }
    /* One posted from now on would be flushed, too, but rxe's library does not wake the kernel for it. */
}

static void test_modify_to_error__with_an_srq__last_wqe_reached_and_entries_stay(void **state) {
    (void)state;
    post_receive(&l, 1, 1, 0, 10);
    assert_int_equal(to_state(l.end[1].qp, IBV_QPS_ERR), 0);
    assert_async(l.end[1].context, IBV_EVENT_QP_LAST_WQE_REACHED, "last receive of an SRQ");
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(l.end[1].recv_cq, 1, &wc), 0);
    /* The entry serves the next connection. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(to_state(l.end[i].qp, IBV_QPS_RESET), 0);
    }
    connect_qps(&l, l.end[0].qp, l.end[1].qp);
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 2, .bytes = 10, .flags = SIGNALED});
    assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
}

#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, open_link, close_link)
#define WITH_IMPATIENT_LINK(test) cmocka_unit_test_setup_teardown(test, open_impatient_link, close_link)

int run_error_tests(void) {
    const struct CMUnitTest tests[] = {
        WITH_LINK(test_write__unknown_rkey__rem_access_err),
        WITH_LINK(test_read__unknown_rkey__rem_access_err),
        WITH_LINK(test_write__one_byte_beyond_the_region__rem_access_err),
        WITH_LINK(test_read__before_the_region__rem_access_err),
        WITH_LINK(test_write__region_deregistered__rem_access_err),
        WITH_LINK(test_write__region_without_remote_write__rem_access_err),
        WITH_LINK(test_read__region_without_remote_read__rem_access_err),
        WITH_LINK(test_write__bad_lkey__loc_prot_err),
        WITH_LINK(test_send__longer_than_the_receive__both_ends_fail),
        WITH_LINK(test_error__earlier_requests__are_complete),
        WITH_IMPATIENT_LINK(test_peer__destroyed__retry_exc_err),
        WITH_IMPATIENT_LINK(test_peer__in_error__retry_exc_err),
        WITH_IMPATIENT_LINK(test_receiver_not_ready__too_often__rnr_retry_exc_err),
        WITH_LINK(test_modify_to_error__outstanding_requests__each_ends_once_in_order),
        cmocka_unit_test_setup_teardown(test_modify_to_error__receives_of_its_own__flushed_in_order,
                                        open_link_without_srq, close_link),
        WITH_LINK(test_modify_to_error__with_an_srq__last_wqe_reached_and_entries_stay),
    };
    return cmocka_run_group_tests(tests, open_place, close_place);
}

/* Queues, events, transitions, registration: what a program relies on beside the data. */
#include "tests/conformance/conformance.h"

#include <errno.h>
#include <poll.h>

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

/* ---- completion events --------------------------------------------------------------------------- */

static void write_once(uint64_t id) {
    post(&l, 0, (struct work){IBV_WR_RDMA_WRITE, .id = id, .bytes = 10, .flags = SIGNALED});
}

static void test_cq_event__armed__fires_once_for_a_new_completion(void **state) {
    (void)state;
    write_once(1);
    assert_completion(l.end[0].send_cq, 1, IBV_WC_SUCCESS);
    assert_false(has_event(&l.end[0])); /* was not armed */
    assert_int_equal(ibv_req_notify_cq(l.end[0].send_cq, 0), 0);
    write_once(2);
    assert_ptr_equal(next_event(&l.end[0]), l.end[0].send_cq);
    assert_completion(l.end[0].send_cq, 2, IBV_WC_SUCCESS);
    write_once(3);
    assert_completion(l.end[0].send_cq, 3, IBV_WC_SUCCESS);
    assert_false(has_event(&l.end[0]));
}

/* Arm, poll until empty, wait: how no completion is missed. */
static void test_cq_event__loop_that_arms_and_then_polls__misses_none(void **state) {
    (void)state;
    enum { COUNT = 200 };
    uint64_t next = 0, posted = 0;
    assert_int_equal(ibv_req_notify_cq(l.end[0].send_cq, 0), 0);
    write_once(posted++);
    while (next < COUNT) {
        next_event(&l.end[0]);
        assert_int_equal(ibv_req_notify_cq(l.end[0].send_cq, 0), 0);
        struct ibv_wc wc;
        while (ibv_poll_cq(l.end[0].send_cq, 1, &wc) == 1) {
            assert_int_equal(wc.status, IBV_WC_SUCCESS);
            assert_int_equal(wc.wr_id, next);
            next++;
            for (int i = 0; i < 2 && posted < COUNT; i++) {
                write_once(posted++);
            }
        }
    }
}

static void test_cq_event__solicited_only__fires_for_a_solicited_message(void **state) {
    (void)state;
    post_receive(&l, 1, 1, 0, 10);
    post_receive(&l, 1, 2, 0, 10);
    assert_int_equal(ibv_req_notify_cq(l.end[1].recv_cq, 1), 0);
    post(&l, 0, (struct work){IBV_WR_SEND, .id = 3, .bytes = 10, .flags = SIGNALED});
    assert_completion(l.end[1].recv_cq, 1, IBV_WC_SUCCESS);
    assert_false(has_event(&l.end[1]));
    post(&l, 0,
         (struct work){IBV_WR_SEND, .id = 4, .bytes = 10, .flags = SIGNALED | IBV_SEND_SOLICITED});
    assert_ptr_equal(next_event(&l.end[1]), l.end[1].recv_cq);
    assert_completion(l.end[1].recv_cq, 2, IBV_WC_SUCCESS);
    assert_completion(l.end[0].send_cq, 3, IBV_WC_SUCCESS);
    assert_completion(l.end[0].send_cq, 4, IBV_WC_SUCCESS);
}

static void test_async_event__none__eagain(void **state) {
    (void)state;
    struct ibv_async_event event;
    while (ibv_get_async_event(l.end[0].context, &event) == 0) {
        ibv_ack_async_event(&event); /* of tests before */
    }
    assert_int_equal(errno, EAGAIN);
    struct pollfd descriptor = {.fd = l.end[0].context->async_fd, .events = POLLIN};
    assert_int_equal(poll(&descriptor, 1, 0), 0);
}

static void test_srq_limit__fewer_left__event(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 4; i++) {
        post_receive(&l, 1, i, 0, 10);
    }
    struct ibv_srq_attr attr = {.srq_limit = 3};
    assert_int_equal(ibv_modify_srq(l.end[1].srq, &attr, IBV_SRQ_LIMIT), 0);
    for (uint64_t i = 0; i < 2; i++) {
        post(&l, 0, (struct work){IBV_WR_SEND, .id = i, .bytes = 10, .flags = SIGNALED});
        assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
        assert_completion(l.end[1].recv_cq, i, IBV_WC_SUCCESS);
    }
    assert_async(l.end[1].context, IBV_EVENT_SRQ_LIMIT_REACHED, NULL);
}

/* ---- queues -------------------------------------------------------------------------------------- */

static void test_create_qp__any__at_least_what_was_asked(void **state) {
    (void)state;
    assert_true(l.end[0].cap.max_send_wr >= l.options.send_wr);
    assert_true(l.end[0].cap.max_send_sge >= l.options.sge);
    assert_true(l.end[0].cap.max_inline_data >= l.options.inline_bytes);
    assert_true(l.end[0].cap.max_recv_wr >= l.options.recv_wr);
    assert_true(l.end[0].send_cq->cqe >= (int)l.options.send_wr);
    struct ibv_device_attr attr;
    assert_int_equal(ibv_query_device(l.end[0].context, &attr), 0);
    struct ibv_qp_init_attr init = {.send_cq = l.end[0].send_cq,
                                    .recv_cq = l.end[0].recv_cq,
                                    .cap = {.max_send_wr = (uint32_t)attr.max_qp_wr + 1,
                                            .max_recv_wr = 1,
                                            .max_send_sge = 1,
                                            .max_recv_sge = 1},
                                    .qp_type = IBV_QPT_RC};
    assert_null(ibv_create_qp(l.end[0].pd, &init));
    assert_null(ibv_create_cq(l.end[0].context, attr.max_cqe + 1, NULL, NULL, 0));
}

#define FAR_TOO_MANY 4 /* times what the queue is told to hold; rxe of 6.1 holds more than it tells */

/* One list longer than the queue: all that fit are posted and complete. */
static void test_post_send__list_longer_than_the_queue__enomem_at_the_first_too_many(void **state) {
    (void)state;
    static struct ibv_send_wr wr[FAR_TOO_MANY << 13];
    uint32_t size = l.end[0].cap.max_send_wr;
    assert_in_range(size, 1, 1 << 13);
    for (uint32_t i = 0; i < FAR_TOO_MANY * size; i++) {
        wr[i] = (struct ibv_send_wr){.wr_id = i,
                                     .next = i + 1 < FAR_TOO_MANY * size ? &wr[i + 1] : NULL,
                                     .opcode = IBV_WR_RDMA_WRITE,
                                     .send_flags = SIGNALED};
    }
    struct ibv_send_wr *bad = NULL;
    assert_int_equal(ibv_post_send(l.end[0].qp, wr, &bad), ENOMEM);
    assert_true(bad >= &wr[size] && bad < &wr[FAR_TOO_MANY * size]);
    for (uint64_t i = 0; i < (uint64_t)(bad - wr); i++) {
        assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
    }
    assert_nothing_before(&l, 0, IBV_WC_SUCCESS);
}

static void test_post_recv__full__enomem(void **state) {
    (void)state;
    uint32_t size = l.end[1].cap.max_recv_wr, posted = 0;
    struct ibv_recv_wr wr = {.num_sge = 0}, *bad = NULL;
    while (posted < FAR_TOO_MANY * size && ibv_post_recv(l.end[1].qp, &wr, &bad) == 0) {
        posted++;
    }
    assert_in_range(posted, size, FAR_TOO_MANY * size - 1);
    assert_int_equal(ibv_post_recv(l.end[1].qp, &wr, &bad), ENOMEM);
    assert_ptr_equal(bad, &wr);
}

/* Far more through the queue than it holds, each list with one signalled request: slots come back. */
static void test_post_send__many_times_the_queue__flows(void **state) {
    (void)state;
    struct work work[32];
    for (uint64_t round = 0; round < 40; round++) {
        for (uint64_t i = 0; i < 32; i++) {
            work[i] = (struct work){.opcode = IBV_WR_RDMA_WRITE,
                                    .id = round * 32 + i,
                                    .bytes = 100,
                                    .flags = i == 31 ? SIGNALED : 0};
        }
        post_list(&l, 0, work, 32);
        if (round >= 2) {
            assert_completion(l.end[0].send_cq, (round - 2) * 32 + 31, IBV_WC_SUCCESS);
        }
    }
    assert_completion(l.end[0].send_cq, 38 * 32 + 31, IBV_WC_SUCCESS);
    assert_completion(l.end[0].send_cq, 39 * 32 + 31, IBV_WC_SUCCESS);
}

/* ---- transitions, life --------------------------------------------------------------------------- */

static void test_modify_qp__attribute_missing_or_state_skipped__einval_and_unchanged(void **state) {
    (void)state;
    struct ibv_qp *connected = l.end[0].qp;
    make_qp(&l, &l.end[0]);
    struct ibv_qp *qp = l.end[0].qp;
    assert_int_equal(to_rtr(&l, 0, qp, connected->qp_num), EINVAL);
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = place.port[0]};
    assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT), EINVAL);
    assert_int_equal(state_of(qp), IBV_QPS_RESET);
    assert_int_equal(to_init(&l, 0, qp), 0);
    assert_int_equal(to_rts(&l, qp), EINVAL);
    assert_int_equal(state_of(qp), IBV_QPS_INIT);
    assert_int_equal(to_rtr(&l, 0, qp, l.end[1].qp->qp_num), 0);
    assert_int_equal(state_of(qp), IBV_QPS_RTR);
    assert_int_equal(ibv_destroy_qp(qp), 0);
    l.end[0].qp = connected;
}

static void test_modify_qp__reset_and_again__connects(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 5; round++) {
        post_receive(&l, 1, round, 0, 10);
        post(&l, 0, (struct work){IBV_WR_SEND, .id = round, .bytes = 10, .flags = SIGNALED});
        assert_completion(l.end[1].recv_cq, round, IBV_WC_SUCCESS);
        assert_completion(l.end[0].send_cq, round, IBV_WC_SUCCESS);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(to_state(l.end[i].qp, IBV_QPS_RESET), 0);
        }
        connect_qps(&l, l.end[0].qp, l.end[1].qp);
    }
}

static void test_destroy__in_use__ebusy(void **state) {
    (void)state;
    assert_int_equal(ibv_destroy_cq(l.end[0].send_cq), EBUSY);
    assert_int_equal(ibv_destroy_srq(l.end[0].srq), EBUSY);
    assert_int_equal(ibv_dealloc_pd(l.end[0].pd), EBUSY);
    assert_int_equal(ibv_destroy_comp_channel(l.end[0].channel), EBUSY);
}

static void test_reg_mr__remote_write_without_local_write__refused(void **state) {
    (void)state;
    assert_null(ibv_reg_mr(l.end[0].pd, l.end[0].buffer, MIB, IBV_ACCESS_REMOTE_WRITE));
    struct ibv_mr *mr = ibv_reg_mr(l.end[0].pd, l.end[0].buffer, MIB, IBV_ACCESS_REMOTE_READ);
    assert_non_null(mr);
    assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void test_reg_mr__the_same_memory_often__each_a_region_of_its_own(void **state) {
    (void)state;
    struct ibv_mr *mr[20];
    for (int i = 0; i < 20; i++) {
        mr[i] = ibv_reg_mr(l.end[1].pd, l.end[1].buffer + i * 1000, MIB,
                           IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
        assert_non_null(mr[i]);
        for (int k = 0; k < i; k++) {
            assert_int_not_equal(mr[i]->rkey, mr[k]->rkey);
        }
    }
    fill(l.end[0].buffer, 100, 3);
    for (uint64_t i = 0; i < 20; i++) {
        post(&l, 0,
             (struct work){IBV_WR_RDMA_WRITE, .id = i, .bytes = 100, .to = i * 1000,
                           .rkey = mr[i]->rkey, .flags = SIGNALED});
        assert_completion(l.end[0].send_cq, i, IBV_WC_SUCCESS);
        assert_memory_equal(l.end[1].buffer + i * 1000, l.end[0].buffer, 100);
        assert_int_equal(ibv_dereg_mr(mr[i]), 0);
    }
}

static void test_query__ports_and_gids__agree(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ibv_port_attr port;
        struct ibv_gid_entry entry;
        union ibv_gid gid;
        __be16 pkey;
        assert_int_equal(ibv_query_port(place.context[i], place.port[i], &port), 0);
        assert_true(port.max_msg_sz >= MIB);
        assert_int_equal(ibv_query_gid(place.context[i], place.port[i], place.gid_index[i], &gid), 0);
        assert_int_equal(
            ibv_query_gid_ex(place.context[i], place.port[i], place.gid_index[i], &entry, 0), 0);
        assert_memory_equal(&gid, &entry.gid, sizeof(gid));
        assert_int_equal(entry.port_num, place.port[i]);
        assert_int_equal(ibv_query_pkey(place.context[i], place.port[i], 0, &pkey), 0);
        assert_int_not_equal(ibv_query_port(place.context[i], 200, &port), 0);
    }
}

#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, open_link, close_link)
#define WITH_LINK_WITHOUT_SRQ(test)                                                                    \
    cmocka_unit_test_setup_teardown(test, open_link_without_srq, close_link)

int run_object_tests(void) {
    const struct CMUnitTest tests[] = {
        WITH_LINK(test_cq_event__armed__fires_once_for_a_new_completion),
        WITH_LINK(test_cq_event__loop_that_arms_and_then_polls__misses_none),
        WITH_LINK(test_cq_event__solicited_only__fires_for_a_solicited_message),
        WITH_LINK(test_async_event__none__eagain),
        WITH_LINK(test_srq_limit__fewer_left__event),
        WITH_LINK_WITHOUT_SRQ(test_create_qp__any__at_least_what_was_asked),
        WITH_LINK(test_post_send__list_longer_than_the_queue__enomem_at_the_first_too_many),
        WITH_LINK_WITHOUT_SRQ(test_post_recv__full__enomem),
        WITH_LINK(test_post_send__many_times_the_queue__flows),
        WITH_LINK(test_modify_qp__attribute_missing_or_state_skipped__einval_and_unchanged),
        WITH_LINK(test_modify_qp__reset_and_again__connects),
        WITH_LINK(test_destroy__in_use__ebusy),
        WITH_LINK(test_reg_mr__remote_write_without_local_write__refused),
        WITH_LINK(test_reg_mr__the_same_memory_often__each_a_region_of_its_own),
        WITH_LINK(test_query__ports_and_gids__agree),
    };
    return cmocka_run_group_tests(tests, open_place, close_place);
}

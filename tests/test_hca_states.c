/* sim/hca: transitions of queue pairs, and what may be posted when. Rule 1. */
#include "tests/hca_pair.h"

#include <errno.h>
#include <string.h>

/* Devices and unconnected queue pairs in RESET. */
static void init_unconnected(struct pair *pair, const struct pair_options *options) {
    pair_init_devices(pair, options);
    for (int i = 0; i < 2; i++) {
        pair_open(pair, &pair->side[i]);
        pair_make_qp(pair, &pair->side[i]);
    }
}

static void bring_to(struct pair *pair, enum ibv_qp_state state) {
    struct pair_side *side = &pair->side[0];
    struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};
    assert_int_equal(ibv_modify_qp(side->qp, &reset, IBV_QP_STATE), 0);
    if (state >= IBV_QPS_INIT) {
        assert_int_equal(pair_to_init(pair, side), 0);
    }
    if (state >= IBV_QPS_RTR) {
        assert_int_equal(pair_to_rtr(pair, side, &pair->side[1]), 0);
    }
    if (state >= IBV_QPS_RTS) {
        assert_int_equal(pair_to_rts(pair, side), 0);
    }
}

/* Refused, and nothing is other than before. */
static void assert_refused(struct ibv_qp *qp, struct ibv_qp_attr attr, int mask) {
    struct ibv_qp_attr before, after;
    struct ibv_qp_init_attr init;
    enum ibv_qp_state state = qp->state;
    memset(&before, 0, sizeof(before));
    memset(&after, 0, sizeof(after));
    assert_int_equal(ibv_query_qp(qp, &before, mask, &init), 0);
    assert_int_equal(ibv_modify_qp(qp, &attr, mask), EINVAL);
    assert_int_equal(ibv_query_qp(qp, &after, mask, &init), 0);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(qp->state, state);
}

struct change {
    enum ibv_qp_state from;
    struct ibv_qp_attr attr;
    int mask, optional;
};

static void changes_of(const struct pair *pair, struct change change[3]) {
    change[0] = (struct change){
        IBV_QPS_RESET, {.qp_state = IBV_QPS_INIT, .port_num = 1}, PAIR_INIT_MASK, IBV_QP_STATE};
    change[1] = (struct change){IBV_QPS_INIT, pair_rtr_attr(pair, &pair->side[1]), PAIR_RTR_MASK,
                                IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX};
    change[2] = (struct change){IBV_QPS_RTR, pair_rts_attr(pair), PAIR_RTS_MASK,
                                IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER};
}

static void test_modify_qp__required_attribute_missing__refused(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    struct change change[3];
    pair_options_init(&options, 1);
    init_unconnected(&pair, &options);
    changes_of(&pair, change);
    for (int i = 0; i < 3; i++) {
        bring_to(&pair, change[i].from);
        for (int bit = 1; bit <= IBV_QP_RATE_LIMIT; bit <<= 1) {
            if ((change[i].mask & bit) != 0 && bit != IBV_QP_STATE) {
                assert_refused(pair.side[0].qp, change[i].attr, change[i].mask & ~bit);
            }
        }
        assert_int_equal(ibv_modify_qp(pair.side[0].qp, &change[i].attr, change[i].mask), 0);
        assert_int_equal(pair.side[0].qp->state, change[i].attr.qp_state);
        assert_int_equal(pair_state(pair.side[0].qp), change[i].attr.qp_state);
    }
    pair_fini(&pair);
}

static void test_modify_qp__attribute_of_another_transition__refused(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    struct change change[3];
    pair_options_init(&options, 2);
    init_unconnected(&pair, &options);
    changes_of(&pair, change);
    for (int i = 0; i < 3; i++) {
        for (int bit = 1; bit <= IBV_QP_RATE_LIMIT; bit <<= 1) {
            bring_to(&pair, change[i].from);
            if (bit == IBV_QP_CUR_STATE || (change[i].mask & bit) != 0) {
                continue;
            }
            if ((change[i].optional & bit) != 0) {
                assert_int_equal(ibv_modify_qp(pair.side[0].qp, &change[i].attr, change[i].mask | bit),
                                 0);
            } else {
                assert_refused(pair.side[0].qp, change[i].attr, change[i].mask | bit);
            }
        }
    }
    pair_fini(&pair);
}

static void test_modify_qp__state_skipped__refused(void **state) {
    (void)state;
    static const enum ibv_qp_state states[] = {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS};
    struct pair_options options;
    struct pair pair;
    struct change change[3];
    pair_options_init(&options, 3);
    init_unconnected(&pair, &options);
    changes_of(&pair, change);
    for (int from = 0; from < 4; from++) {
        for (int to = 0; to < 3; to++) {
            if (from == to) {
                continue; /* change[n] leads from state n to n + 1 */
            }
            bring_to(&pair, states[from]);
            if (to == 0 && from == 1) {
                continue; /* INIT to INIT is a transition */
            }
            assert_refused(pair.side[0].qp, change[to].attr, change[to].mask);
        }
        bring_to(&pair, states[from]);
        assert_refused(pair.side[0].qp, (struct ibv_qp_attr){.qp_state = IBV_QPS_SQD}, IBV_QP_STATE);
    }
    bring_to(&pair, IBV_QPS_RESET);
    assert_refused(pair.side[0].qp, (struct ibv_qp_attr){.qp_state = IBV_QPS_ERR}, IBV_QP_STATE);
    pair_fini(&pair);
}

static void test_modify_qp__value_out_of_range__refused(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    struct change change[3];
    pair_options_init(&options, 4);
    init_unconnected(&pair, &options);
    changes_of(&pair, change);
    struct ibv_qp *qp = pair.side[0].qp;
#define REFUSED(which, field, value)                                                                   \
    do {                                                                                               \
        struct ibv_qp_attr attr = change[which].attr;                                                  \
        attr.field = (value);                                                                          \
        bring_to(&pair, change[which].from);                                                           \
        assert_refused(qp, attr, change[which].mask);                                                  \
    } while (0)
    REFUSED(0, port_num, 0);
    REFUSED(0, port_num, 2);
    REFUSED(0, pkey_index, 1);
    REFUSED(0, qp_access_flags, IBV_ACCESS_REMOTE_ATOMIC); /* the device has none */
    REFUSED(1, path_mtu, (enum ibv_mtu)0);
    REFUSED(1, path_mtu, (enum ibv_mtu)6);
    REFUSED(1, dest_qp_num, 1u << 24);
    REFUSED(1, rq_psn, 1u << 24);
    REFUSED(1, max_dest_rd_atomic, 17); /* the device has 16 */
    REFUSED(1, min_rnr_timer, 32);
    REFUSED(1, ah_attr.is_global, 0); /* RoCE */
    REFUSED(1, ah_attr.port_num, 2);
    REFUSED(1, ah_attr.grh.sgid_index, 4); /* the table has 4 */
    REFUSED(1, ah_attr.grh.dgid.global.interface_id, 0);
    REFUSED(2, timeout, 32);
    REFUSED(2, retry_cnt, 8);
    REFUSED(2, rnr_retry, 8);
    REFUSED(2, sq_psn, 1u << 24);
    REFUSED(2, max_rd_atomic, 17);
#undef REFUSED
    pair_fini(&pair);
}

static void test_modify_qp__mtu_above_that_of_the_port__refused(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 5);
    options.device[0].port[0].active_mtu = IBV_MTU_1024;
    options.mtu = IBV_MTU_2048;
    init_unconnected(&pair, &options);
    bring_to(&pair, IBV_QPS_INIT);
    assert_int_equal(pair_to_rtr(&pair, &pair.side[0], &pair.side[1]), EINVAL);
    pair.options.mtu = IBV_MTU_1024;
    assert_int_equal(pair_to_rtr(&pair, &pair.side[0], &pair.side[1]), 0);
    pair_fini(&pair);
}

static void test_modify_qp__empty_gid__refused(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 6);
    memset(&options.device[0].port[0].gid[3].gid, 0, 16);
    init_unconnected(&pair, &options);
    bring_to(&pair, IBV_QPS_INIT);
    assert_int_equal(pair_to_rtr(&pair, &pair.side[0], &pair.side[1]), EINVAL);
    pair_fini(&pair);
}

static void test_modify_qp__infiniband__needs_lid_and_grh_where_required(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 7);
    for (uint8_t i = 0; i < 2; i++) {
        ist_hca_device_config_ib(&options.device[i], i == 0 ? "ib0" : "ib1", i);
    }
    options.device[0].port[0].grh_required = true;
    init_unconnected(&pair, &options);
    bring_to(&pair, IBV_QPS_INIT);
    struct ibv_qp_attr attr = pair_rtr_attr(&pair, &pair.side[1]);
    assert_refused(pair.side[0].qp, attr, PAIR_RTR_MASK);
    attr.ah_attr.is_global = 1;
    attr.ah_attr.dlid = 0;
    assert_refused(pair.side[0].qp, attr, PAIR_RTR_MASK);
    attr.ah_attr.dlid = 2;
    assert_int_equal(ibv_modify_qp(pair.side[0].qp, &attr, PAIR_RTR_MASK), 0);
    pair_fini(&pair);
}

static void test_modify_qp__optional_attributes_in_rts__change(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 8);
    pair_post(
        &pair, 0,
        (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 5000, .flags = IBV_SEND_SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS,
                               .cur_qp_state = IBV_QPS_RTS,
                               .qp_access_flags = IBV_ACCESS_REMOTE_READ,
                               .min_rnr_timer = 3};
    struct ibv_qp_init_attr init;
    int mask = IBV_QP_STATE | IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER;
    assert_int_equal(ibv_modify_qp(pair.side[0].qp, &attr, mask), 0);
    assert_int_equal(ibv_query_qp(pair.side[0].qp, &attr, mask, &init), 0);
    assert_int_equal(attr.qp_access_flags, IBV_ACCESS_REMOTE_READ);
    assert_int_equal(attr.min_rnr_timer, 3);
    /* The connection goes on where it was. */
    pair_post(
        &pair, 0,
        (struct pair_work){IBV_WR_RDMA_WRITE, .id = 2, .bytes = 5000, .flags = IBV_SEND_SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    attr.cur_qp_state = IBV_QPS_RTR; /* it is not in that state */
    assert_int_equal(ibv_modify_qp(pair.side[0].qp, &attr, mask), EINVAL);
    pair_fini(&pair);
}

static void test_query_qp__any__tells_what_was_set(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 9);
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    assert_int_equal(ibv_query_qp(pair.side[0].qp, &attr, IBV_QP_STATE, &init), 0);
    assert_int_equal(attr.qp_state, IBV_QPS_RTS);
    assert_int_equal(attr.dest_qp_num, pair.side[1].qp->qp_num);
    assert_int_equal(attr.timeout, pair.options.timeout);
    assert_true(attr.cap.max_send_wr >= 16 && attr.cap.max_inline_data >= 64);
    assert_ptr_equal(init.send_cq, pair.side[0].send_cq);
    assert_ptr_equal(init.qp_context, &pair.side[0]);
    pair_fini(&pair);
}

static void test_modify_qp__reset__forgets_and_connects_again(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 10);
    pair_receive(&pair, 1, 1, 0, 100);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .id = 2, .bytes = 100});
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ibv_modify_qp(pair.side[i].qp, &attr, IBV_QP_STATE), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pair_to_init(&pair, &pair.side[i]), 0);
        assert_int_equal(pair_to_rtr(&pair, &pair.side[i], &pair.side[1 - i]), 0);
        assert_int_equal(pair_to_rts(&pair, &pair.side[i]), 0);
    }
    pair_expect_none(&pair, pair.side[1].recv_cq);
    pair_receive(&pair, 1, 3, 0, 100);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_SEND, .id = 4, .bytes = 100, .flags = IBV_SEND_SIGNALED});
    pair_expect(&pair, pair.side[1].recv_cq, 3, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 4, IBV_WC_SUCCESS);
    pair_fini(&pair);
}

static void test_modify_qp__error_by_a_failure__visible_state_is_stale(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 11);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 2, .bytes = 100, .rkey = 1});
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_REM_ACCESS_ERR);
    assert_int_equal(pair.side[0].qp->state, IBV_QPS_RTS);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_ERR);
    pair_fini(&pair);
}

/* ---- posting in the wrong state ------------------------------------------------------------------ */

static void post_one_send(struct pair *pair) {
    pair_try_post(pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 1});
}

static void post_one_receive(struct pair *pair) {
    pair_try_receive(pair, 0, 1, 0, 1);
}

static void test_post_send__before_rts__aborts(void **state) {
    (void)state;
    static const enum ibv_qp_state states[] = {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPS_RTR};
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 12);
    init_unconnected(&pair, &options);
    for (int i = 0; i < 3; i++) {
        bring_to(&pair, states[i]);
        assert_violation(post_one_send, &pair, "ibv_post_send: the queue pair is not in RTS");
    }
    pair_fini(&pair);
}

static void test_post_recv__from_init_on__accepted(void **state) {
    (void)state;
    static const enum ibv_qp_state states[] = {IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS};
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 13);
    init_unconnected(&pair, &options);
    assert_violation(post_one_receive, &pair, "ibv_post_recv: the queue pair is in RESET");
    for (int i = 0; i < 3; i++) {
        bring_to(&pair, states[i]);
        pair_receive(&pair, 0, 1, 0, 1);
    }
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modify_qp__required_attribute_missing__refused),
        cmocka_unit_test(test_modify_qp__attribute_of_another_transition__refused),
        cmocka_unit_test(test_modify_qp__state_skipped__refused),
        cmocka_unit_test(test_modify_qp__value_out_of_range__refused),
        cmocka_unit_test(test_modify_qp__mtu_above_that_of_the_port__refused),
        cmocka_unit_test(test_modify_qp__empty_gid__refused),
        cmocka_unit_test(test_modify_qp__infiniband__needs_lid_and_grh_where_required),
        cmocka_unit_test(test_modify_qp__optional_attributes_in_rts__change),
        cmocka_unit_test(test_query_qp__any__tells_what_was_set),
        cmocka_unit_test(test_modify_qp__reset__forgets_and_connects_again),
        cmocka_unit_test(test_modify_qp__error_by_a_failure__visible_state_is_stale),
        cmocka_unit_test(test_post_send__before_rts__aborts),
        cmocka_unit_test(test_post_recv__from_init_on__accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

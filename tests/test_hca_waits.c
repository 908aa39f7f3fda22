/* sim/hca: calls that wait in the kernel, and hold up nobody else: to RTR for the peer's address, registrations for pages. */
#include "tests/hca_pair.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

static double now_sec(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void await_waiting(const struct pair *pair, uint32_t count) {
    double until = now_sec() + 20;
    while (ist_hca_waiting(pair->hca) != count) {
        assert_true(now_sec() < until);
        sched_yield();
    }
}

/* Queue pairs in INIT. */
static void begin(struct pair *pair, bool infiniband) {
    struct pair_options options;
    pair_options_init(&options, 1);
    if (infiniband) {
        ist_hca_device_config_ib(&options.device[0], "ib0", 0);
        ist_hca_device_config_ib(&options.device[1], "ib1", 1);
    }
    pair_init_devices(pair, &options);
    for (int i = 0; i < 2; i++) {
        pair_open(pair, &pair->side[i]);
        pair_make_qp(pair, &pair->side[i]);
        assert_int_equal(pair_to_init(pair, &pair->side[i]), 0);
    }
}

struct call {
    struct pair *pair;
    int error;
};

static void *to_rtr(void *context) {
    struct call *call = context;
    struct pair *pair = call->pair;
    call->error = pair_to_rtr(pair, &pair->side[0], &pair->side[1]);
    return NULL;
}

static void test_to_rtr__held__others_go_on_until_it_is_let_go(void **state) {
    (void)state;
    struct pair pair;
    struct call call = {&pair, -1};
    pthread_t thread;
    begin(&pair, false);
    ist_hca_set_patience(pair.hca, 60000);
    ist_hca_hold_neighbours(pair.side[0].device, true);
    assert_int_equal(pthread_create(&thread, NULL, to_rtr, &call), 0);
    await_waiting(&pair, 1);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_INIT);
    assert_int_equal(pair_to_rtr(&pair, &pair.side[1], &pair.side[0]), 0); /* on the other device */
    ist_hca_hold_neighbours(pair.side[0].device, false);
    pthread_join(thread, NULL);
    assert_int_equal(call.error, 0);
    assert_int_equal(ist_hca_waiting(pair.hca), 0);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_RTR);
    pair_fini(&pair);
}

static void test_to_rtr__held_for_ever__timed_out_and_nothing_changed(void **state) {
    (void)state;
    struct pair pair;
    begin(&pair, false);
    ist_hca_set_patience(pair.hca, 1100);
    ist_hca_hold_neighbours(pair.side[0].device, true);
    double before = now_sec();
    assert_int_equal(pair_to_rtr(&pair, &pair.side[0], &pair.side[1]), ETIMEDOUT);
    assert_true(now_sec() - before >= 1);
    assert_int_equal(pair_state(pair.side[0].qp), IBV_QPS_INIT);
    ist_hca_hold_neighbours(pair.side[0].device, false);
    assert_int_equal(pair_to_rtr(&pair, &pair.side[0], &pair.side[1]), 0);
    pair_fini(&pair);
}

/* The kernel asks nobody where the subnet manager has said it all. */
static void test_to_rtr__held_on_infiniband__does_not_wait(void **state) {
    (void)state;
    struct pair pair;
    begin(&pair, true);
    ist_hca_hold_neighbours(pair.side[0].device, true);
    assert_int_equal(pair_to_rtr(&pair, &pair.side[0], &pair.side[1]), 0);
    pair_fini(&pair);
}

static void *register_all(void *context) {
    struct call *call = context;
    struct pair_side *side = &call->pair->side[0];
    struct ibv_mr *mr = ibv_reg_mr(side->pd, side->buffer, PAIR_BUFFER_BYTES, IBV_ACCESS_LOCAL_WRITE);
    call->error = mr == NULL ? errno : ibv_dereg_mr(mr);
    return NULL;
}

static void test_reg_mr__held__others_go_on_until_it_is_let_go(void **state) {
    (void)state;
    struct pair pair;
    pthread_t thread;
    pair_init_seed(&pair, 2);
    struct call call = {&pair, -1};
    ist_hca_hold_registrations(pair.side[0].device, true);
    assert_int_equal(pthread_create(&thread, NULL, register_all, &call), 0);
    await_waiting(&pair, 1);
    pair_fill(&pair, 0, 7);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 5, .bytes = 100, .flags = IBV_SEND_SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 5, IBV_WC_SUCCESS);
    assert_true(pair_holds(&pair, 1, 0, 100, 7));
    ist_hca_hold_registrations(pair.side[0].device, false);
    pthread_join(thread, NULL);
    assert_int_equal(call.error, 0);
    pair_fini(&pair);
}

static void test_find_qp__its_number__or_null(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 3);
    assert_ptr_equal(ist_hca_find_qp(pair.hca, pair.side[1].qp->qp_num), pair.side[1].qp);
    assert_null(ist_hca_find_qp(pair.hca, pair.side[0].qp->qp_num ^ pair.side[1].qp->qp_num ^ 1));
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_rtr__held__others_go_on_until_it_is_let_go),
        cmocka_unit_test(test_to_rtr__held_for_ever__timed_out_and_nothing_changed),
        cmocka_unit_test(test_to_rtr__held_on_infiniband__does_not_wait),
        cmocka_unit_test(test_reg_mr__held__others_go_on_until_it_is_let_go),
        cmocka_unit_test(test_find_qp__its_number__or_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

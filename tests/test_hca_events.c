/* sim/hca: completion events, asynchronous events, and their acknowledgement. Rules 11, 12 and 13. */
#include "tests/hca_pair.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define SIGNALED IBV_SEND_SIGNALED

static bool is_readable(int fd) {
    struct pollfd descriptor = {.fd = fd, .events = POLLIN};
    int ready = poll(&descriptor, 1, 0);
    assert_true(ready >= 0);
    return ready == 1;
}

static void write_once(struct pair *pair) {
    pair_post(pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .flags = SIGNALED});
    pair_run(pair);
}

static bool take_event(struct pair_side *side, struct ibv_cq *cq) {
    struct ibv_cq *from;
    void *context;
    if (ibv_get_cq_event(side->channel, &from, &context) != 0) {
        assert_int_equal(errno, EAGAIN);
        return false;
    }
    assert_ptr_equal(from, cq);
    assert_ptr_equal(context, side);
    return true;
}

/* ---- completion events --------------------------------------------------------------------------- */

static void test_cq_event__not_armed__none(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 1);
    write_once(&pair);
    assert_false(is_readable(pair.side[0].channel->fd));
    assert_false(take_event(&pair.side[0], NULL));
    pair_fini(&pair);
}

static void test_cq_event__armed__one_for_one_arming(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 2);
    struct pair_side *side = &pair.side[0];
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0); /* arming twice is arming once */
    assert_false(is_readable(side->channel->fd));
    write_once(&pair);
    assert_true(is_readable(side->channel->fd));
    write_once(&pair);
    assert_true(take_event(side, side->send_cq));
    assert_false(is_readable(side->channel->fd));
    assert_false(take_event(side, side->send_cq));
    ibv_ack_cq_events(side->send_cq, 1);
    pair_fini(&pair);
}

static void test_cq_event__armed_with_completions_inside__only_a_new_one_fires(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 3);
    struct pair_side *side = &pair.side[0];
    write_once(&pair);
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    assert_false(is_readable(side->channel->fd));
    write_once(&pair);
    assert_true(take_event(side, side->send_cq));
    ibv_ack_cq_events(side->send_cq, 1);
    pair_fini(&pair);
}

static void test_cq_event__polled_before_it_is_taken__event_with_an_empty_cq(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 4);
    struct pair_side *side = &pair.side[0];
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    write_once(&pair);
    pair_expect(&pair, side->send_cq, 0, IBV_WC_SUCCESS);
    assert_true(take_event(side, side->send_cq));
    pair_expect_none(&pair, side->send_cq);
    ibv_ack_cq_events(side->send_cq, 1);
    pair_fini(&pair);
}

static void test_cq_event__spurious__by_the_seed(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 5);
    options.config.spurious_events = 300;
    pair_init(&pair, &options);
    struct pair_side *side = &pair.side[0];
    unsigned fired = 0;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
        while (take_event(side, side->send_cq)) {
            fired++;
        }
    }
    assert_in_range(fired, 10, 60);
    ibv_ack_cq_events(side->send_cq, fired);
    pair_fini(&pair);
}

static void test_cq_event__solicited_only__for_solicited_receives_and_errors(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 6);
    struct pair_side *side = &pair.side[1];
    for (uint64_t i = 0; i < 3; i++) {
        pair_receive(&pair, 1, i, 0, 10);
    }
    assert_int_equal(ibv_req_notify_cq(side->recv_cq, 1), 0);
    pair_post(&pair, 0, (struct pair_work){.opcode = IBV_WR_SEND});
    pair_run(&pair);
    assert_false(take_event(side, side->recv_cq));
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .flags = IBV_SEND_SOLICITED});
    pair_run(&pair);
    assert_true(take_event(side, side->recv_cq));
    assert_int_equal(ibv_req_notify_cq(side->recv_cq, 1), 0);
    ist_hca_qp_fatal(side->qp);
    pair_run(&pair);
    assert_true(take_event(side, side->recv_cq));
    ibv_ack_cq_events(side->recv_cq, 2);
    pair_fini(&pair);
}

static void test_cq_event__armed_for_all_after_solicited__fires_for_all(void **state) {
    (void)state;
    static const int orders[][2] = {{0, 1}, {1, 0}};
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        pair_init_seed(&pair, 7);
        assert_int_equal(ibv_req_notify_cq(pair.side[0].send_cq, orders[i][0]), 0);
        assert_int_equal(ibv_req_notify_cq(pair.side[0].send_cq, orders[i][1]), 0);
        write_once(&pair);
        assert_true(take_event(&pair.side[0], pair.side[0].send_cq));
        ibv_ack_cq_events(pair.side[0].send_cq, 1);
        pair_fini(&pair);
    }
}

static void test_cq_event__of_two_cqs__in_their_order(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 8);
    struct pair_side *side = &pair.side[0];
    pair_receive(&pair, 0, 1, 0, 10);
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    assert_int_equal(ibv_req_notify_cq(side->recv_cq, 0), 0);
    pair_post(&pair, 1, (struct pair_work){.opcode = IBV_WR_SEND});
    pair_run(&pair);
    write_once(&pair);
    assert_int_equal(ibv_req_notify_cq(side->recv_cq, 0), 0);
    pair_receive(&pair, 0, 1, 0, 10);
    pair_post(&pair, 1, (struct pair_work){.opcode = IBV_WR_SEND});
    pair_run(&pair);
    assert_true(take_event(side, side->recv_cq));
    assert_true(take_event(side, side->send_cq));
    assert_true(take_event(side, side->recv_cq));
    assert_false(take_event(side, NULL));
    ibv_ack_cq_events(side->recv_cq, 2);
    ibv_ack_cq_events(side->send_cq, 1);
    pair_fini(&pair);
}

static void test_destroy_cq__events_not_taken__go_with_it(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 9);
    struct pair_side *side = &pair.side[0];
    pair_receive(&pair, 0, 1, 0, 10);
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    assert_int_equal(ibv_req_notify_cq(side->recv_cq, 0), 0);
    write_once(&pair);
    pair_post(&pair, 1, (struct pair_work){.opcode = IBV_WR_SEND});
    pair_run(&pair);
    pair_destroy_qp(side);
    assert_int_equal(ibv_destroy_cq(side->send_cq), 0);
    side->send_cq = NULL;
    assert_true(take_event(side, side->recv_cq));
    assert_false(is_readable(side->channel->fd));
    ibv_ack_cq_events(side->recv_cq, 1);
    pair_fini(&pair);
}

static void arm_without_channel(struct pair *pair) {
    struct ibv_cq *cq = ibv_create_cq(pair->side[0].context, 1, NULL, NULL, 0);
    (void)ibv_req_notify_cq(cq, 0);
}

static void wait_for_event(struct pair *pair) {
    struct ibv_cq *cq;
    void *context;
    (void)ibv_get_cq_event(pair->side[0].channel, &cq, &context);
}

static void acknowledge_too_many(struct pair *pair) {
    ibv_ack_cq_events(pair->side[0].send_cq, 2);
}

static void destroy_cq_too_early(struct pair *pair) {
    pair_destroy_qp(&pair->side[0]);
    (void)ibv_destroy_cq(pair->side[0].send_cq);
}

static void test_cq_events__misused__abort(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 10);
    struct pair_side *side = &pair.side[0];
    assert_violation(arm_without_channel, &pair, "ibv_req_notify_cq: the CQ has no completion channel");
    assert_int_equal(fcntl(side->channel->fd, F_SETFL, 0), 0);
    assert_violation(wait_for_event, &pair, "ibv_get_cq_event would wait for ever");
    assert_int_equal(fcntl(side->channel->fd, F_SETFL, O_NONBLOCK), 0);
    assert_violation(acknowledge_too_many, &pair, "2 acknowledged, but only 0 events are outstanding");
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    write_once(&pair);
    assert_true(take_event(side, side->send_cq));
    assert_violation(acknowledge_too_many, &pair, "2 acknowledged, but only 1 events are outstanding");
    assert_violation(destroy_cq_too_early, &pair,
                     "ibv_destroy_cq would wait for ever: 0 of 1 completion events");
    ibv_ack_cq_events(side->send_cq, 1);
    pair_fini(&pair);
}

/* ---- waiting for it with libev ------------------------------------------------------------------- */

struct waiter {
    struct pair *pair;
    int events, completions;
};

static void drain(struct ev_loop *loop, ev_io *watcher, int revents) {
    (void)revents;
    struct waiter *waiter = watcher->data;
    struct pair_side *side = &waiter->pair->side[0];
    unsigned taken = 0;
    while (take_event(side, side->send_cq)) {
        taken++;
    }
    if (taken > 0) {
        waiter->events++;
        ibv_ack_cq_events(side->send_cq, taken);
        assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    }
    struct ibv_wc wc;
    while (ibv_poll_cq(side->send_cq, 1, &wc) == 1) {
        assert_int_equal(wc.status, IBV_WC_SUCCESS);
        waiter->completions++;
    }
    if (waiter->completions == 10) {
        ev_break(loop, EVBREAK_ALL);
    }
}

/* Nobody steps: the loop's own calls make progress, and the descriptor wakes it while there is some to make. */
static void test_progress_in_calls__program_that_waits_with_libev__is_woken(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair_options options;
        struct pair pair;
        pair_options_init(&options, seed);
        options.config.progress_in_calls = true;
        options.config.spurious_events = 100;
        pair_init(&pair, &options);
        struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
        assert_non_null(loop);
        struct waiter waiter = {.pair = &pair};
        ev_io watcher;
        ev_io_init(&watcher, drain, pair.side[0].channel->fd, EV_READ);
        watcher.data = &waiter;
        ev_io_start(loop, &watcher);
        assert_int_equal(ibv_req_notify_cq(pair.side[0].send_cq, 0), 0);
        for (uint64_t i = 0; i < 10; i++) {
            pair_post(&pair, 0,
                      (struct pair_work){IBV_WR_RDMA_READ, .id = i, .bytes = 9000, .flags = SIGNALED});
        }
        ev_run(loop, 0);
        assert_true(waiter.events > 0);
        assert_false(ist_hca_step(pair.hca));
        ev_loop_destroy(loop);
        pair_fini(&pair);
    }
}

static void test_progress_in_calls__blocking_channel__waits_until_it_comes(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 11);
    options.config.progress_in_calls = true;
    pair_init(&pair, &options);
    struct pair_side *side = &pair.side[0];
    assert_int_equal(fcntl(side->channel->fd, F_SETFL, 0), 0);
    assert_int_equal(ibv_req_notify_cq(side->send_cq, 0), 0);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_READ, .id = 1, .bytes = 60000, .flags = SIGNALED});
    struct ibv_cq *cq;
    void *context;
    assert_int_equal(ibv_get_cq_event(side->channel, &cq, &context), 0);
    ibv_ack_cq_events(cq, 1);
    pair_fini(&pair);
}

static void test_progress_in_calls__idle__descriptor_is_not_readable(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 12);
    options.config.progress_in_calls = true;
    pair_init(&pair, &options);
    int fd = pair.side[1].channel->fd; /* of one who has nothing to do */
    assert_int_equal(ibv_req_notify_cq(pair.side[1].recv_cq, 0), 0);
    assert_false(is_readable(fd));
    ist_hca_delay(pair.side[0].qp, 1000);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .bytes = 60000});
    assert_true(is_readable(fd));
    pair_run(&pair);
    assert_false(is_readable(fd));
    pair_fini(&pair);
}

/* ---- asynchronous events ------------------------------------------------------------------------- */

static void test_async_event__none__eagain_and_not_readable(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 13);
    assert_false(is_readable(pair.side[0].context->async_fd));
    pair_expect_no_event(&pair, 0);
    ist_hca_set_link(pair.side[0].device, 1, false);
    assert_true(is_readable(pair.side[0].context->async_fd));
    pair_expect_event(&pair, 0, IBV_EVENT_PORT_ERR);
    assert_false(is_readable(pair.side[0].context->async_fd));
    pair_fini(&pair);
}

static void test_async_event__first_message_in_rtr__comm_est_once(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 14);
    pair_init_devices(&pair, &options);
    for (int i = 0; i < 2; i++) {
        pair_open(&pair, &pair.side[i]);
        pair_make_qp(&pair, &pair.side[i]);
        assert_int_equal(pair_to_init(&pair, &pair.side[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pair_to_rtr(&pair, &pair.side[i], &pair.side[1 - i]), 0);
    }
    assert_int_equal(pair_to_rts(&pair, &pair.side[0]), 0);
    write_once(&pair);
    write_once(&pair);
    pair_expect_event(&pair, 1, IBV_EVENT_COMM_EST);
    pair_expect_no_event(&pair, 1);
    pair_fini(&pair);
}

static void test_destroy_qp__events_not_taken__go_with_it(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 15);
    ist_hca_qp_fatal(pair.side[0].qp);
    ist_hca_set_link(pair.side[0].device, 1, false);
    pair_destroy_qp(&pair.side[0]);
    pair_expect_event(&pair, 0, IBV_EVENT_PORT_ERR);
    pair_expect_no_event(&pair, 0);
    pair_fini(&pair);
}

static void wait_for_async_event(struct pair *pair) {
    struct ibv_async_event event;
    (void)ibv_get_async_event(pair->side[0].context, &event);
}

static void destroy_qp_too_early(struct pair *pair) {
    (void)ibv_destroy_qp(pair->side[0].qp);
}

static void acknowledge_qp_event(struct pair *pair) {
    struct ibv_async_event event = {.element.qp = pair->side[0].qp, .event_type = IBV_EVENT_QP_FATAL};
    ibv_ack_async_event(&event);
}

static void acknowledge_port_event(struct pair *pair) {
    (void)pair;
    struct ibv_async_event event = {.event_type = IBV_EVENT_PORT_ERR};
    ibv_ack_async_event(&event);
}

static void flap(struct pair *pair) {
    for (int i = 0; i < 1000; i++) {
        ist_hca_set_link(pair->side[0].device, 1, i % 2 != 0);
    }
}

static void test_async_events__misused__abort(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 16);
    int fd = pair.side[0].context->async_fd;
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    assert_violation(wait_for_async_event, &pair, "ibv_get_async_event would wait for ever");
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_violation(acknowledge_port_event, &pair,
                     "port error, but none of this object is outstanding");
    assert_violation(flap, &pair, "asynchronous events of hca0 wait, nobody takes them");
    /* A child shares the descriptors: what changes them happens here. */
    ist_hca_qp_fatal(pair.side[0].qp);
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair.side[0].context, &event), 0);
    assert_violation(destroy_qp_too_early, &pair, "ibv_destroy_qp would wait for ever");
    ibv_ack_async_event(&event);
    assert_violation(acknowledge_qp_event, &pair,
                     "local work queue catastrophic error, but none of this object is outstanding");
    pair_fini(&pair);
}

/* ---- the SRQ limit ------------------------------------------------------------------------------- */

static void init_srq(struct pair *pair, uint64_t seed, uint64_t receives) {
    struct pair_options options;
    pair_options_init(&options, seed);
    options.srq = true;
    pair_init(pair, &options);
    for (uint64_t i = 0; i < receives; i++) {
        pair_receive(pair, 1, i, 0, 10);
    }
}

static void set_limit(struct pair *pair, uint32_t limit) {
    struct ibv_srq_attr attr = {.srq_limit = limit};
    assert_int_equal(ibv_modify_srq(pair->side[1].srq, &attr, IBV_SRQ_LIMIT), 0);
}

static uint32_t limit_of(struct pair *pair) {
    struct ibv_srq_attr attr;
    assert_int_equal(ibv_query_srq(pair->side[1].srq, &attr), 0);
    return attr.srq_limit;
}

static void send_once(struct pair *pair) {
    pair_post(pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 1});
    pair_run(pair);
}

static void test_srq_limit__fewer_left__one_event(void **state) {
    (void)state;
    struct pair pair;
    init_srq(&pair, 17, 5);
    set_limit(&pair, 4);
    assert_int_equal(limit_of(&pair), 4);
    send_once(&pair); /* 4 left: not fewer */
    pair_expect_no_event(&pair, 1);
    send_once(&pair);
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair.side[1].context, &event), 0);
    assert_int_equal(event.event_type, IBV_EVENT_SRQ_LIMIT_REACHED);
    assert_ptr_equal(event.element.srq, pair.side[1].srq);
    ibv_ack_async_event(&event);
    assert_int_equal(limit_of(&pair), 0);
    send_once(&pair);
    pair_expect_no_event(&pair, 1);
    pair_fini(&pair);
}

static void test_srq_limit__set_above_what_is_there__at_once_or_with_the_next_receive(void **state) {
    (void)state;
    int at_once = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair pair;
        init_srq(&pair, seed, 3);
        set_limit(&pair, 10);
        struct ibv_async_event event;
        if (ibv_get_async_event(pair.side[1].context, &event) == 0) {
            ibv_ack_async_event(&event);
            at_once++;
        } else {
            send_once(&pair);
            pair_expect_event(&pair, 1, IBV_EVENT_SRQ_LIMIT_REACHED);
        }
        send_once(&pair);
        pair_expect_no_event(&pair, 1);
        pair_fini(&pair);
    }
    assert_in_range(at_once, 1, 19);
}

static void test_modify_srq__size_or_too_high_a_limit__refused(void **state) {
    (void)state;
    struct pair pair;
    init_srq(&pair, 18, 3);
    struct ibv_srq_attr attr = {.max_wr = 32, .srq_limit = 8193};
    assert_int_equal(ibv_modify_srq(pair.side[1].srq, &attr, IBV_SRQ_MAX_WR), EINVAL);
    assert_int_equal(ibv_modify_srq(pair.side[1].srq, &attr, IBV_SRQ_LIMIT), EINVAL);
    assert_int_equal(limit_of(&pair), 0);
    pair_fini(&pair);
}

static void destroy_srq_too_early(struct pair *pair) {
    pair_destroy_qp(&pair->side[1]);
    (void)ibv_destroy_srq(pair->side[1].srq);
}

static void test_destroy_srq__event_not_acknowledged__aborts(void **state) {
    (void)state;
    struct pair pair;
    init_srq(&pair, 19, 1);
    set_limit(&pair, 1);
    send_once(&pair);
    struct ibv_async_event event;
    assert_int_equal(ibv_get_async_event(pair.side[1].context, &event), 0);
    assert_violation(destroy_srq_too_early, &pair, "ibv_destroy_srq would wait for ever");
    ibv_ack_async_event(&event);
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cq_event__not_armed__none),
        cmocka_unit_test(test_cq_event__armed__one_for_one_arming),
        cmocka_unit_test(test_cq_event__armed_with_completions_inside__only_a_new_one_fires),
        cmocka_unit_test(test_cq_event__polled_before_it_is_taken__event_with_an_empty_cq),
        cmocka_unit_test(test_cq_event__spurious__by_the_seed),
        cmocka_unit_test(test_cq_event__solicited_only__for_solicited_receives_and_errors),
        cmocka_unit_test(test_cq_event__armed_for_all_after_solicited__fires_for_all),
        cmocka_unit_test(test_cq_event__of_two_cqs__in_their_order),
        cmocka_unit_test(test_destroy_cq__events_not_taken__go_with_it),
        cmocka_unit_test(test_cq_events__misused__abort),
        cmocka_unit_test(test_progress_in_calls__program_that_waits_with_libev__is_woken),
        cmocka_unit_test(test_progress_in_calls__blocking_channel__waits_until_it_comes),
        cmocka_unit_test(test_progress_in_calls__idle__descriptor_is_not_readable),
        cmocka_unit_test(test_async_event__none__eagain_and_not_readable),
        cmocka_unit_test(test_async_event__first_message_in_rtr__comm_est_once),
        cmocka_unit_test(test_destroy_qp__events_not_taken__go_with_it),
        cmocka_unit_test(test_async_events__misused__abort),
        cmocka_unit_test(test_srq_limit__fewer_left__one_event),
        cmocka_unit_test(test_srq_limit__set_above_what_is_there__at_once_or_with_the_next_receive),
        cmocka_unit_test(test_modify_srq__size_or_too_high_a_limit__refused),
        cmocka_unit_test(test_destroy_srq__event_not_acknowledged__aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

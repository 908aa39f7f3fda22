/* src/daemon/rdma: polling for a while after work (--poll-us), and sleeping when that has passed. */
#include "tests/rdma_server.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/clock.h"

#define NEVER_NS (3600 * 1000000000ull)
#define SOON_NS 2000000ull
#define REQUESTS 50

static void exists(struct client *client, uint64_t id) {
    client_request(client, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    assert_int_equal(client_reply(client, id, 0), IST_NOT_FOUND);
}

static void begin(uint64_t poll_ns) {
    setup_with((struct rdma_server_options){.seed = 5, .poll_ns = poll_ns});
    client_begin(&f.clients[0]);
    exists(&f.clients[0], 1);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_ARM, 0); /* counts the server's: the clients never arm */
}

static void requests(void) {
    for (uint64_t id = 1; id <= REQUESTS; id++) {
        exists(&f.clients[0], id);
    }
}

static void on_time(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)loop;
    (void)revents;
    *(bool *)timer->data = true;
}

/* How often the loop turns while nothing happens, in that time; not much more than `enough`. */
static unsigned turns_of_an_idle_loop(double seconds, unsigned enough) {
    bool over = false;
    ev_timer timer;
    ev_now_update(f.loop); /* the timer runs from now on, not from the last turn on */
    ev_timer_init(&timer, on_time, seconds, 0.);
    timer.data = &over;
    ev_timer_start(f.loop, &timer);
    unsigned before = ev_iteration(f.loop);
    while (!over && ev_iteration(f.loop) - before < enough) {
        ev_run(f.loop, EVRUN_ONCE);
    }
    ev_timer_stop(f.loop, &timer);
    return ev_iteration(f.loop) - before;
}

/* Some turns may have a reason. One that does not sleep takes thousands in this time, unless the machine is busy. */
static bool is_asleep(void) {
    return turns_of_an_idle_loop(0.02, 10) < 10;
}

/* Without an end, that is: however busy the machine is. */
static bool never_sleeps(void) {
    return turns_of_an_idle_loop(20, 100) == 100;
}

static void turn_until_asleep(void) {
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    while (ist_hca_calls(f.hca) == 0) {
        assert_true(ist_clock_ns() < until_ns);
        turn();
    }
    while (!is_asleep()) { /* an event may come although nothing is there */
        assert_true(ist_clock_ns() < until_ns);
    }
}

static void test_poll__not_wished_for__armed_each_time(void **state) {
    begin(0);
    requests();
    assert_true(ist_hca_calls(f.hca) >= REQUESTS / 2);
    assert_true(is_asleep());
    teardown(state);
}

static void test_poll__in_time_after_work__never_armed(void **state) {
    begin(NEVER_NS);
    requests();
    assert_int_equal(ist_hca_calls(f.hca), 0);
    assert_true(never_sleeps());
    teardown(state);
}

static void test_poll__time_is_over__armed_once_asleep_and_woken(void **state) {
    begin(SOON_NS);
    for (unsigned round = 0; round < 5; round++) {
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_ARM, 0);
        exists(&f.clients[0], round); /* it may fall asleep in it already */
        turn_until_asleep();
        assert_true(ist_hca_calls(f.hca) <= 10);
    }
    exists(&f.clients[0], 1);
    teardown(state);
}

static uint64_t pinned(void) {
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    return usage.pinned_entries;
}

static void get(struct client *client, uint64_t id) {
    client_request(client, IST_OP_GET, id, &(struct place){"k", 1u << 20, 50000}, 1);
    assert_int_equal(client_reply(client, id, 0), IST_OK);
}

static void begin_with_a_value(uint64_t reap_ns) {
    setup_with((struct rdma_server_options){.seed = 5, .is_patient = true, .reap_ns = reap_ns});
    client_begin(&f.clients[0]);
    client_request(&f.clients[0], IST_OP_PUT, 1, &(struct place){"k", 0, 50000}, 1);
    assert_int_equal(client_reply(&f.clients[0], 1, 0), IST_OK);
}

/* The client has its reply, and the server's work for it completes behind that. */
static void settle(void) {
    do {
        ev_run(f.loop, EVRUN_NOWAIT);
    } while (ist_hca_step(f.hca));
}

static void test_events__of_gets__one_for_each(void **state) {
    begin_with_a_value(NEVER_NS);
    settle();
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_ARM, 0);
    for (uint64_t id = 2; id < 2 + REQUESTS; id++) {
        get(&f.clients[0], id);
        settle();
    }
    assert_in_range(ist_hca_calls(f.hca), REQUESTS / 2, REQUESTS + REQUESTS / 10);
    teardown(state);
}

static void test_events__none_for_a_value_that_was_sent__its_block_is_given_back_soon(void **state) {
    begin_with_a_value(0);
    for (uint64_t id = 2; id < 5; id++) { /* it does not fall asleep for ever */
        uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
        get(&f.clients[0], id);
        while (pinned() > 0) {
            assert_true(ist_clock_ns() < until_ns);
            ist_hca_run(f.hca, 8);
            ev_run(f.loop, EVRUN_ONCE);
        }
        assert_true(is_asleep());
    }
    teardown(state);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents) {
    (void)loop;
    (void)revents;
    (*(uint64_t *)io->data)++;
}

/* Who keeps the loop busy with sockets neither stops the polling nor is stopped by it. */
static void test_poll__sockets_are_always_ready__both_are_served(void **state) {
    begin(NEVER_NS);
    int ends[2];
    uint64_t served = 0;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    ev_io io;
    ev_io_init(&io, on_readable, ends[0], EV_READ);
    io.data = &served;
    ev_io_start(f.loop, &io);
    requests();
    assert_true(served >= REQUESTS);
    ev_io_stop(f.loop, &io);
    close(ends[0]);
    close(ends[1]);
    teardown(state);
}

static void test_poll__device_dies__sessions_end_and_it_sleeps(void **state) {
    begin(NEVER_NS);
    ist_hca_device_fatal(ist_hca_find_device(f.hca, "server"));
    turn_until(f.clients[0].ended == 1);
    assert_true(is_asleep());
    teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poll__not_wished_for__armed_each_time),
        cmocka_unit_test(test_poll__in_time_after_work__never_armed),
        cmocka_unit_test(test_poll__time_is_over__armed_once_asleep_and_woken),
        cmocka_unit_test(test_events__of_gets__one_for_each),
        cmocka_unit_test(test_events__none_for_a_value_that_was_sent__its_block_is_given_back_soon),
        cmocka_unit_test(test_poll__sockets_are_always_ready__both_are_served),
        cmocka_unit_test(test_poll__device_dies__sessions_end_and_it_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

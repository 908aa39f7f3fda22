/* src/daemon/rdma_connect, connector: queue pairs come about in the background, whatever the network does. */
#include "tests/rdma_server.h"

#include <sched.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/rdma_state.h"

static struct ist_hca_device *server(void) {
    return ist_hca_find_device(f.hca, "server");
}

/* Until they are let go: machines are slow, and tests must not depend on how slow. */
static void hold_neighbours(bool hold) {
    ist_hca_set_patience(f.hca, 60000);
    ist_hca_hold_neighbours(server(), hold);
}

/* They never answer, and the kernel gives up at once, almost. */
static void lose_neighbours(void) {
    ist_hca_set_patience(f.hca, 50);
    ist_hca_hold_neighbours(server(), true);
}

static void turn_until_waiting(uint32_t count) {
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    while (ist_hca_waiting(f.hca) < count) {
        assert_true(ist_clock_ns() < until_ns);
        turn();
        sched_yield();
    }
}

static void assert_all_free(void) {
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.free_bytes, POOL_BYTES);
    assert_int_equal(usage.pinned_entries, 0);
}

static void exists(struct client *client, uint64_t id) {
    client_request(client, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    assert_int_equal(client_reply(client, id, 0), IST_NOT_FOUND);
}

static void test_connect__neighbour_does_not_answer__others_are_served(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    hold_neighbours(true);
    assert_int_equal(client_ask(&f.clients[1]), IST_OK);
    turn_until_waiting(1);
    for (uint64_t id = 1; id <= 20; id++) {
        exists(&f.clients[0], id);
    }
    assert_int_equal(f.clients[1].own.status, IST_AGAIN);
    hold_neighbours(false);
    turn_until_answered(&f.clients[1]);
    assert_int_equal(client_finish(&f.clients[1]), IST_OK);
    exists(&f.clients[1], 1);
}

static void test_connect__neighbour_never_answers__peer_and_gone(void **state) {
    (void)state;
    lose_neighbours();
    assert_int_equal(client_ask(&f.clients[0]), IST_OK);
    turn_until_answered(&f.clients[0]);
    assert_int_equal(f.clients[0].own.status, IST_PEER);
    assert_null(f.clients[0].server);
    assert_non_null(strstr(f.logged, "cannot be reached"));
    assert_int_equal(f.anonymous, 0);
    hold_neighbours(false);
    turn_until(ist_rdma_connections(f.rdma) == 0);
    assert_int_equal(f.clients[0].ended, 0);
    client_free(&f.clients[0]);
    client_begin(&f.clients[0]);
    exists(&f.clients[0], 1);
}

static void test_disconnect__while_connecting__gone_when_it_can_be(void **state) {
    (void)state;
    hold_neighbours(true);
    assert_int_equal(client_ask(&f.clients[0]), IST_OK);
    turn_until_waiting(1);
    ist_rdma_disconnect(f.clients[0].server);
    f.clients[0].server = NULL;
    for (int i = 0; i < 100; i++) {
        turn();
    }
    assert_int_equal(ist_rdma_connections(f.rdma), 1);
    hold_neighbours(false);
    turn_until(ist_rdma_connections(f.rdma) == 0);
    assert_int_equal(f.clients[0].own.status, IST_AGAIN); /* nobody there to tell */
    assert_int_equal(f.clients[0].ended, 0);
    assert_all_free();
}

/* All clients are of one port, which one thread tries to reach. */
static void test_disconnect__while_waiting_for_a_thread__forgotten(void **state) {
    (void)state;
    const size_t count = 4;
    struct client *gone = &f.clients[2];
    hold_neighbours(true);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(client_ask(&f.clients[i]), IST_OK);
    }
    turn_until_waiting(1);
    ist_rdma_disconnect(gone->server);
    gone->server = NULL;
    turn_until(ist_rdma_connections(f.rdma) == count - 1); /* although the thread is busy */
    assert_int_equal(ist_hca_waiting(f.hca), 1);
    hold_neighbours(false);
    for (size_t i = 0; i < count; i++) {
        if (&f.clients[i] != gone) {
            turn_until_answered(&f.clients[i]);
            assert_int_equal(client_finish(&f.clients[i]), IST_OK);
            exists(&f.clients[i], 1);
        }
    }
    assert_int_equal(gone->own.status, IST_AGAIN);
}

/* For a port where nobody is. */
static void ask_elsewhere(struct client *client, uint8_t number) {
    struct ist_endpoint elsewhere;
    client_make(client, &elsewhere);
    elsewhere.end.gid[sizeof(elsewhere.end.gid) - 1] = number;
    assert_int_equal(ist_rdma_connect(f.rdma, client, 1, &elsewhere, &client->server), IST_OK);
}

/* However many ports do not answer, one that has answered before gets a thread; the others all but one of them. */
static void test_connect__many_ports_do_not_answer__one_that_did_is_reached(void **state) {
    const size_t strangers = IST_CONNECTOR_THREADS + 2;
    teardown(state);
    setup_with((struct rdma_server_options){.seed = 40, .clients = strangers + 2});
    client_begin(&f.clients[0]);
    hold_neighbours(true);
    for (size_t i = 0; i < strangers; i++) {
        ask_elsewhere(&f.clients[2 + i], (uint8_t)(0x40 + i));
    }
    turn_until_waiting(IST_CONNECTOR_THREADS - 1);
    for (int i = 0; i < 200; i++) {
        turn();
        sched_yield();
    }
    assert_int_equal(ist_hca_waiting(f.hca), IST_CONNECTOR_THREADS - 1);
    assert_int_equal(client_ask(&f.clients[1]), IST_OK);
    turn_until_waiting(IST_CONNECTOR_THREADS);
    hold_neighbours(false);
    turn_until_answered(&f.clients[1]);
    assert_int_equal(client_finish(&f.clients[1]), IST_OK);
    exists(&f.clients[1], 1);
    for (size_t i = 0; i < strangers; i++) {
        turn_until_answered(&f.clients[2 + i]);
    }
}

static void test_connect__many_of_a_port__leave_threads_to_others(void **state) {
    (void)state;
    const size_t count = 4;
    struct client *other = &f.clients[count];
    hold_neighbours(true);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(client_ask(&f.clients[i]), IST_OK);
    }
    ask_elsewhere(other, 0x40);
    turn_until_waiting(2);
    for (int i = 0; i < 200; i++) {
        turn();
        sched_yield();
    }
    assert_int_equal(ist_hca_waiting(f.hca), 2); /* not all threads for the first port */
    hold_neighbours(false);
    turn_until_answered(other);
    for (size_t i = 0; i < count; i++) {
        turn_until_answered(&f.clients[i]);
        assert_int_equal(client_finish(&f.clients[i]), IST_OK);
        exists(&f.clients[i], 1);
    }
}

static void test_connect__nobody_answers_at_a_port__all_that_wait_for_it_hear_it(void **state) {
    (void)state;
    unsigned tried = 0;
    ist_hca_set_patience(f.hca, 1000); /* all have asked by then, also on a slow machine */
    ist_hca_hold_neighbours(server(), true);
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(client_ask(&f.clients[i]), IST_OK);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        turn_until_answered(&f.clients[i]);
        assert_int_equal(f.clients[i].own.status, IST_PEER);
    }
    for (const char *at = f.logged; (at = strstr(at, "cannot be reached")) != NULL; at++) {
        tried++;
    }
    assert_int_equal(tried, 1);
    turn_until(ist_rdma_connections(f.rdma) == 0);
    hold_neighbours(false);
    client_free(&f.clients[0]);
    client_begin(&f.clients[0]); /* it is not held against those that come later */
    exists(&f.clients[0], 1);
}

static void test_free__while_connecting__waits_and_ends(void **state) {
    (void)state;
    lose_neighbours();
    for (size_t i = 0; i < CLIENTS; i++) {
        ask_elsewhere(&f.clients[i], (uint8_t)(0x40 + i / 2));
    }
    ist_rdma_free(f.rdma); /* later: as long as the kernel waits for each that it had begun with */
    f.rdma = NULL;
    assert_all_free();
}

static void test_device_or_port__ends_while_connecting__device(void **state) {
    for (unsigned round = 0; round < 2; round++) {
        teardown(state);
        setup(state);
        hold_neighbours(true);
        assert_int_equal(client_ask(&f.clients[0]), IST_OK);
        turn_until_waiting(1);
        if (round == 0) {
            ist_hca_set_link(server(), 1, false);
        } else {
            ist_hca_device_fatal(server());
        }
        for (int i = 0; i < 100; i++) {
            turn();
        }
        assert_int_equal(f.clients[0].own.status, IST_AGAIN);
        hold_neighbours(false);
        turn_until_answered(&f.clients[0]);
        assert_int_equal(f.clients[0].own.status, IST_DEVICE);
        turn_until(ist_rdma_connections(f.rdma) == 0);
        assert_int_equal(f.clients[0].ended, 0);
    }
}

static void test_drain__while_connecting__answered_then_ends(void **state) {
    (void)state;
    hold_neighbours(true);
    assert_int_equal(client_ask(&f.clients[0]), IST_OK);
    turn_until_waiting(1);
    ist_engine_drain(f.engine, ist_clock_ns());
    for (int i = 0; i < 100; i++) {
        turn();
    }
    hold_neighbours(false);
    turn_until_answered(&f.clients[0]);
    assert_int_equal(f.clients[0].own.status, IST_OK);
    turn_until(f.clients[0].ended == 1);
}

/* A dead queue pair may have had the number before, and its last request may still have been in the completion queue. */
static void test_connect__completion_of_a_dead_queue_pair__ignored(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    struct ist_queue_pair_end end;
    hold_neighbours(true);
    assert_int_equal(client_ask(client), IST_OK);
    turn_until_waiting(1);
    ist_queue_pair_end(client->server->queue_pair, &end);
    assert_int_equal(ist_queue_pair_connect(client->queue_pair, &end), IST_OK);
    hold_neighbours(false);
    struct ibv_qp *qp = ist_hca_find_qp(f.hca, end.number);
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    struct ibv_qp_attr now;
    struct ibv_qp_init_attr made;
    do { /* until the thread has connected it */
        assert_true(ist_clock_ns() < until_ns);
        sched_yield();
        assert_int_equal(ibv_query_qp(qp, &now, IBV_QP_STATE, &made), 0);
    } while (now.qp_state != IBV_QPS_RTS);
    struct ibv_send_wr request = {.wr_id = 40, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED};
    struct ibv_send_wr *refused;
    assert_int_equal(ibv_post_send(qp, &request, &refused), 0);
    ist_hca_run(f.hca, 1000);
    ev_invoke(f.loop, &f.rdma->completions, EV_READ); /* before it is told that it is connected */
    assert_int_equal(client->own.status, IST_AGAIN);
    turn_until_answered(client);
    assert_int_equal(client->own.status, IST_OK);
    exists(client, 1);
}

static void test_connect__nth_modify_fails__device_and_gone(void **state) {
    (void)state;
    /* The first is the client's own INIT; the third is the receive queue's, which may fail. */
    static const uint64_t init_rtr_rts[] = {2, 4, 5};
    for (size_t i = 0; i < 3; i++) {
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_MODIFY, init_rtr_rts[i]);
        assert_int_equal(client_try(&f.clients[0]), IST_DEVICE);
        assert_non_null(ist_hca_failed(f.hca));
        turn_until(ist_rdma_connections(f.rdma) == 0);
        client_free(&f.clients[0]);
        assert_all_free();
    }
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_MODIFY, 3);
    client_begin(&f.clients[0]);
    assert_string_equal(ist_hca_failed(f.hca), "ibv_modify_srq");
    exists(&f.clients[0], 1);
}

static void test_connect__nth_allocation_fails__nothing_is_left(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    enum ist_status status = IST_NO_MEMORY;
    for (uint64_t n = 1; status == IST_NO_MEMORY; n++) {
        assert_true(n < 100);
        int64_t live = f.failing.live;
        status = client_ask_failing(client, n);
        if (status != IST_OK) {
            assert_int_equal(status, IST_NO_MEMORY);
            assert_int_equal(ist_rdma_connections(f.rdma), 0);
            client_free(client);
            assert_int_equal(f.failing.live, live);
        }
    }
    turn_until_answered(client);
    assert_int_equal(client_finish(client), IST_OK);
    exists(client, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_connect__neighbour_does_not_answer__others_are_served),
        TEST(test_connect__neighbour_never_answers__peer_and_gone),
        TEST(test_disconnect__while_connecting__gone_when_it_can_be),
        TEST(test_disconnect__while_waiting_for_a_thread__forgotten),
        TEST(test_connect__many_ports_do_not_answer__one_that_did_is_reached),
        TEST(test_connect__many_of_a_port__leave_threads_to_others),
        TEST(test_connect__nobody_answers_at_a_port__all_that_wait_for_it_hear_it),
        TEST(test_free__while_connecting__waits_and_ends),
        TEST(test_device_or_port__ends_while_connecting__device),
        TEST(test_drain__while_connecting__answered_then_ends),
        TEST(test_connect__completion_of_a_dead_queue_pair__ignored),
        TEST(test_connect__nth_modify_fails__device_and_gone),
        TEST(test_connect__nth_allocation_fails__nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

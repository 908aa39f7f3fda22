/* src/daemon/rdma: requests, and what ends sessions. */
#include "tests/rdma_server.h"

#include <stdio.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/rdma_state.h"
#include "engine/session.h"
#include "infinistore/limits.h"

static void test_put_then_get__over_both_segments__same_bytes(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    const uint64_t bytes = 3 * (SEGMENT_BYTES / 2); /* lies in both, wherever it begins */
    client_begin(client);
    assert_int_equal(ist_rdma_connections(f.rdma), 1);
    fill(0, 1, bytes);
    client_request(client, IST_OP_PUT, 1, &(struct place){"k", 0, bytes}, 1);
    assert_int_equal(client_reply(client, 1, 0), IST_OK);
    client_request(client, IST_OP_GET, 2, &(struct place){"k", 8u << 20, bytes}, 1);
    assert_int_equal(client_reply(client, 2, 0), IST_OK);
    assert_filled(8u << 20, 1, bytes);
    assert_int_equal(client->failures, 0);
}

static void test_batch__more_than_the_window__flows_through_it(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    char names[KEYS_MAX][8];
    struct place places[KEYS_MAX];
    client_begin(client);
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < KEYS_MAX; i++) {
            snprintf(names[i], sizeof(names[i]), "k%zu", i);
            places[i] = (struct place){names[i], i * 65536, 10000 + i * 100};
            fill(places[i].at, i + round, places[i].bytes);
        }
        client_request(client, IST_OP_PUT, 1, places, KEYS_MAX);
        for (size_t i = 0; i < KEYS_MAX; i++) {
            places[i].at += 8u << 20;
        }
        assert_int_equal(client_reply(client, 1, KEYS_MAX - 1), IST_OK);
        client_request(client, IST_OP_GET, 2, places, KEYS_MAX);
        assert_int_equal(client_reply(client, 2, KEYS_MAX - 1), IST_OK);
        for (size_t i = 0; i < KEYS_MAX; i++) {
            assert_filled(places[i].at, i + round, places[i].bytes);
        }
    }
}

static void test_requests__many_pipelined__each_answered_once(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    client_begin(client);
    for (uint64_t id = 1; id <= 200; id++) {
        client_request(client, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    }
    for (uint64_t id = 1; id <= 200; id++) {
        assert_int_equal(client_reply(client, id, 0), IST_NOT_FOUND);
    }
    assert_int_equal(client->in_bytes, 0);
}

static void test_client__takes_nothing__others_are_served(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    f.clients[0].stalls = true;
    for (uint64_t id = 1; id <= 16; id++) { /* as many as it has credits for */
        uint32_t room = ist_queue_pair_message_room(f.clients[0].queue_pair);
        if (room > 0) {
            client_request(&f.clients[0], IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
        }
    }
    fill(0, 3, 100000);
    for (uint64_t id = 1; id <= 20; id++) {
        client_request(&f.clients[1], IST_OP_PUT, id, &(struct place){"k", 0, 100000}, 1);
        assert_int_equal(client_reply(&f.clients[1], id, 0), IST_OK);
    }
    assert_int_equal(f.clients[0].ended, 0);
}

static size_t replies_of(const struct client *client) {
    struct ist_frame frame;
    size_t count = 0, at = 0;
    while (ist_frame_decode(ist_span_of(client->in + at, client->in_bytes - at), &frame) == IST_OK) {
        at += IST_FRAME_BYTES + frame.body_bytes;
        count += at <= client->in_bytes;
    }
    return count;
}

#define TOGETHER 4u

/* Requests for as many values that have all come before the server looks. */
static void get_together(struct client *client, uint64_t bytes) {
    struct place places[TOGETHER] = {
        {"a", 0, bytes}, {"b", bytes, bytes}, {"c", 2 * bytes, bytes}, {"d", 3 * bytes, bytes}};
    client_begin(client);
    client_request(client, IST_OP_PUT, 1, places, TOGETHER);
    assert_int_equal(client_reply(client, 1, TOGETHER - 1), IST_OK);
    client->messages = 0;
    for (size_t i = 0; i < TOGETHER; i++) {
        client_request(client, IST_OP_GET, 2 + i, &places[i], 1);
    }
    ist_hca_run(f.hca, UINT64_MAX);
}

static void test_gets__small_and_together__replies_in_one_message(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    get_together(client, 4096);
    turn_until(replies_of(client) == TOGETHER);
    assert_int_equal(client->messages, 1);
}

/* Who waits for the first of some large values does not wait for all. */
static void test_gets__large_and_together__each_reply_behind_its_value(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    get_together(client, 200000);
    turn_until(replies_of(client) > 0);
    assert_true(replies_of(client) < TOGETHER);
    turn_until(replies_of(client) == TOGETHER);
    assert_int_equal(client->messages, TOGETHER);
}

/* Who asks for much does not hold up who asks for little. */
static void test_requests__large_of_one_small_of_another__the_small_ones_are_first(void **state) {
    (void)state;
    const uint64_t large = 6, small = 3;
    struct place places[KEYS_MAX];
    char names[KEYS_MAX][8];
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    for (size_t i = 0; i < KEYS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "k%zu", i);
        places[i] = (struct place){names[i], i << 16, 60000};
    }
    client_request(&f.clients[0], IST_OP_PUT, 1, places, KEYS_MAX);
    assert_int_equal(client_reply(&f.clients[0], 1, KEYS_MAX - 1), IST_OK);
    for (uint64_t id = 1; id <= large; id++) {
        client_request(&f.clients[0], IST_OP_GET, id, places, KEYS_MAX);
    }
    for (uint64_t id = 1; id <= small; id++) {
        client_request(&f.clients[1], IST_OP_GET, id, &(struct place){"k1", 8u << 20, 60000}, 1);
        assert_int_equal(client_reply(&f.clients[1], id, 0), IST_OK);
    }
    assert_true(replies_of(&f.clients[0]) < large);
    turn_until(replies_of(&f.clients[0]) == large);
}

static void test_put__rkey_of_nothing__that_session_ends_and_its_block_returns(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    uint32_t rkey = f.processes[0].region.rkey;
    f.processes[0].region.rkey ^= 0x5555;
    client_request(&f.clients[0], IST_OP_PUT, 1, &(struct place){"bad", 0, 100000}, 1);
    f.processes[0].region.rkey = rkey;
    turn_until(f.clients[0].ended == 1);
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.free_bytes, POOL_BYTES);
    assert_int_equal(ist_rdma_connections(f.rdma), 1);
    client_request(&f.clients[1], IST_OP_EXISTS, 1, &(struct place){"bad", 0, 0}, 1);
    assert_int_equal(client_reply(&f.clients[1], 1, 0), IST_NOT_FOUND);
}

static void test_client__garbage__ends(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_say(&f.clients[0], (const uint8_t *)"GET / HTTP/1.1", 14);
    turn_until(f.clients[0].ended == 1);
    assert_int_equal(ist_rdma_connections(f.rdma), 0);
}

static void test_client__wrong_request__hears_why_before_the_end(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    uint8_t frame[IST_FRAME_BYTES];
    const struct ist_frame header = {.operation = IST_OP_CONNECT, .request_id = 9};
    ist_frame_encode(&header, frame);
    client_say(&f.clients[0], frame, sizeof(frame));
    assert_int_equal(client_reply(&f.clients[0], 9, 0), IST_PROTOCOL);
    turn_until(f.clients[0].ended == 1);
}

/* It is over, but work of it is with the NIC: until that comes back, or is given up, there is nothing to do. */
static void test_timeout__work_outstanding__the_loop_sleeps(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_request(&f.clients[0], IST_OP_PUT, 1, &(struct place){"late", 0, 100000}, 1);
    ist_hca_delay(server_queue_pair(&f.clients[0]), 3600ull * IST_NS_PER_SEC);
    struct ist_store_usage usage;
    do {
        turn();
        ist_store_usage(f.store, &usage);
    } while (usage.reserved_bytes == 0);
    ev_io_stop(f.loop, &f.rdma->completions); /* looking would let time pass, and the work come back */
    ev_prepare_stop(f.loop, &f.rdma->prepare);
    ev_timer_stop(f.loop, &f.rdma->reap);
    ist_engine_tick(f.engine, ist_clock_ns() + IST_PROGRESS_TIMEOUT_NS);
    ist_edge_run_changed(f.engine);
    assert_int_equal(ist_session_wants(f.clients[0].server->session), IST_WANT_CLOSE);
    assert_sleeps();
    assert_int_equal(f.clients[0].ended, 0);
    ev_io_start(f.loop, &f.rdma->completions);
    ev_prepare_start(f.loop, &f.rdma->prepare);
    ist_rdma_disconnect(f.clients[0].server);
    turn_until(ist_rdma_connections(f.rdma) == 0);
}

/* A client has credits for all its buffers: none may be missing because one could not be posted at first. */
static void test_connect__nth_buffer_cannot_be_posted__posted_by_the_next(void **state) {
    const uint64_t buffers = IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES;
    for (uint64_t n = 1; n <= buffers; n++) {
        teardown(state);
        setup(state);
        struct client *client = &f.clients[0];
        struct ist_endpoint peer;
        client_make(client, &peer); /* posts its own */
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, n);
        assert_int_equal(ist_rdma_connect(f.rdma, client, 1, &peer, &client->server), IST_DEVICE);
        assert_non_null(ist_hca_failed(f.hca));
        /* The next one posts what is missing, which is seen by the number of posts that it takes. */
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, buffers - n + 1);
        assert_int_equal(ist_rdma_connect(f.rdma, client, 1, &peer, &client->server), IST_DEVICE);
        assert_non_null(ist_hca_failed(f.hca));
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, 2);
        assert_int_equal(ist_rdma_connect(f.rdma, client, 1, &peer, &client->server), IST_OK);
        assert_null(ist_hca_failed(f.hca)); /* one was missing */
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, 0);
        turn_until_answered(client);
        assert_int_equal(client_finish(client), IST_OK);
        client_request(client, IST_OP_EXISTS, 1, &(struct place){"nobody", 0, 0}, 1);
        assert_int_equal(client_reply(client, 1, 0), IST_NOT_FOUND);
    }
}

static void test_drain__client_is_dead__ends_all_the_same(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    ist_hca_kill(ist_device_context(f.processes[0].device));
    ist_engine_drain(f.engine, 0);
    turn_until(f.clients[0].ended == 1);
}

static void test_disconnect__work_outstanding__everything_returns(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    client_begin(client);
    client_request(client, IST_OP_PUT, 1, &(struct place){"k", 0, 1u << 20}, 1);
    struct ist_stats stats;
    do {
        turn();
        ist_engine_stats(f.engine, &stats);
    } while (stats.reserved_bytes == 0);
    ist_rdma_disconnect(client->server);
    client->server = NULL;
    turn_until(ist_rdma_connections(f.rdma) == 0);
    assert_int_equal(client->ended, 0); /* it was the owner's wish */
    ist_engine_stats(f.engine, &stats);
    assert_int_equal(stats.free_bytes, POOL_BYTES);
}

/* Buffers that a broken queue pair had taken are all posted again: else a crowd that comes and goes empties the queue
 * that all share. */
static void come_and_go(uint64_t seed) {
    uint64_t random = seed;
    for (unsigned round = 0; round < 60; round++) {
        struct client *client = &f.clients[0];
        client_begin(client);
        for (uint64_t id = 1; id <= 6; id++) {
            client_request(client, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
            ist_hca_run(f.hca, random_below(&random, 12));
        }
        ist_rdma_disconnect(client->server);
        client->server = NULL;
        turn_until(ist_rdma_connections(f.rdma) == 0);
        client_free(client);
        client->in_bytes = 0;
    }
    client_begin(&f.clients[1]);
    for (uint64_t id = 1; id <= 50; id++) {
        client_request(&f.clients[1], IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    }
    for (uint64_t id = 1; id <= 50; id++) {
        assert_int_equal(client_reply(&f.clients[1], id, 0), IST_NOT_FOUND);
    }
}

static void test_disconnect__messages_on_their_way_many_times__no_buffer_is_lost(void **state) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        teardown(state);
        setup_with((struct rdma_server_options){.seed = seed});
        come_and_go(seed);
    }
}

static void test_messages__a_buffer_cannot_be_posted_again__all_sessions_end(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    client_request(&f.clients[0], IST_OP_EXISTS, 1, &(struct place){"nobody", 0, 0}, 1);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, 1);
    f.clients[0].stalls = f.clients[1].stalls = true; /* the first to post is the server */
    turn_until(f.clients[0].ended == 1 && f.clients[1].ended == 1);
    struct ist_rdma_connection *connection;
    const struct ist_endpoint peer = {.end = {.number = 1,
                                              .gid = {1},
                                              .mtu_bytes = 1024,
                                              .reads = 1,
                                              .messages = 1,
                                              .message_bytes = 512}};
    assert_int_equal(ist_rdma_connect(f.rdma, &f, 1, &peer, &connection), IST_DEVICE);
}

static void test_connect__more_than_there_is_room_for__no_space(void **state) {
    (void)state;
    for (size_t i = 0; i < CLIENTS; i++) {
        client_begin(&f.clients[i]);
    }
    struct client one_more = {0};
    assert_int_equal(client_try(&one_more), IST_NO_SPACE);
    client_free(&one_more);
}

static void test_connect__endpoint_that_cannot_be__invalid(void **state) {
    (void)state;
    const struct ist_endpoint peer = {.end = {.number = 5, .mtu_bytes = 4096, .messages = 0}};
    struct ist_rdma_connection *connection;
    assert_int_equal(ist_rdma_connect(f.rdma, &f, 1, &peer, &connection), IST_INVALID);
    assert_int_equal(ist_rdma_connections(f.rdma), 0);
}

static void test_link_down__sessions_end__and_come_back_with_it(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    struct ist_hca_device *device = ist_hca_find_device(f.hca, "server");
    ist_hca_set_link(device, 1, false);
    turn_until(f.clients[0].ended == 1);
    assert_int_equal(client_try(&f.clients[1]), IST_DEVICE);
    client_free(&f.clients[1]);
    ist_hca_set_link(device, 1, true);
    turn_until(true);
    turn();
    client_begin(&f.clients[1]);
    client_request(&f.clients[1], IST_OP_EXISTS, 1, &(struct place){"k", 0, 0}, 1);
    assert_int_equal(client_reply(&f.clients[1], 1, 0), IST_NOT_FOUND);
}

static void test_device__dies__sessions_end_and_none_begins(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_request(&f.clients[0], IST_OP_PUT, 1, &(struct place){"k", 0, 1u << 20}, 1);
    ist_hca_device_fatal(ist_hca_find_device(f.hca, "server"));
    turn_until(f.clients[0].ended == 1);
    assert_int_equal(client_try(&f.clients[1]), IST_DEVICE);
    struct ist_stats stats;
    ist_engine_stats(f.engine, &stats);
    assert_int_equal(stats.free_bytes, POOL_BYTES);
}

static void test_registration__refused__no_client_over_rdma(void **state) {
    (void)state;
    assert_true(ist_registration_is_whole(f.registration));
    struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX];
    assert_int_equal(ist_registration_find(f.registration, SEGMENT_BYTES - 10, 30, pieces), 2);
    assert_int_equal(pieces[0].bytes, 10);
    assert_int_equal(pieces[1].bytes, 20);
    assert_true(pieces[0].address == (uintptr_t)f.pool + SEGMENT_BYTES - 10);
    assert_true(pieces[1].address == (uintptr_t)f.pool + SEGMENT_BYTES);
    assert_int_equal(ist_registration_find(f.registration, SEGMENT_BYTES, 1, pieces), 1);
    assert_int_equal(ist_registration_find(f.registration, POOL_BYTES - 1, 2, pieces), 0);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_REGISTER, 1);
    ist_registration_add(f.registration, f.pool, SEGMENT_BYTES);
    assert_false(ist_registration_is_whole(f.registration));
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_REGISTER, 0);
    assert_int_equal(client_try(&f.clients[0]), IST_DEVICE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_put_then_get__over_both_segments__same_bytes),
        TEST(test_batch__more_than_the_window__flows_through_it),
        TEST(test_requests__many_pipelined__each_answered_once),
        TEST(test_client__takes_nothing__others_are_served),
        TEST(test_gets__small_and_together__replies_in_one_message),
        TEST(test_gets__large_and_together__each_reply_behind_its_value),
        TEST(test_requests__large_of_one_small_of_another__the_small_ones_are_first),
        TEST(test_put__rkey_of_nothing__that_session_ends_and_its_block_returns),
        TEST(test_client__garbage__ends),
        TEST(test_client__wrong_request__hears_why_before_the_end),
        TEST(test_timeout__work_outstanding__the_loop_sleeps),
        TEST(test_connect__nth_buffer_cannot_be_posted__posted_by_the_next),
        TEST(test_drain__client_is_dead__ends_all_the_same),
        TEST(test_disconnect__work_outstanding__everything_returns),
        TEST(test_disconnect__messages_on_their_way_many_times__no_buffer_is_lost),
        TEST(test_messages__a_buffer_cannot_be_posted_again__all_sessions_end),
        TEST(test_connect__more_than_there_is_room_for__no_space),
        TEST(test_connect__endpoint_that_cannot_be__invalid),
        TEST(test_link_down__sessions_end__and_come_back_with_it),
        TEST(test_device__dies__sessions_end_and_none_begins),
        TEST(test_registration__refused__no_client_over_rdma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

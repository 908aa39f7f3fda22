/* src/daemon/rdma on devices of other kinds and sizes, and what they tell: nothing is taken for granted. */
#include "tests/rdma_server.h"

#include <stdio.h>
#include <string.h>

#include "daemon/rdma_state.h"

#define KEYS 20

static int setup_none(void **state) {
    (void)state;
    return 0;
}

static struct ist_hca_device *server(void) {
    return ist_hca_find_device(f.hca, "server");
}

static void exists(struct client *client, uint64_t id) {
    client_request(client, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    assert_int_equal(client_reply(client, id, 0), IST_NOT_FOUND);
}

/* Values of several packets, and more requests than a small device takes at a time. */
static void put_and_get(struct client *client) {
    char names[KEYS][8];
    struct place places[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof(names[i]), "k%zu", i);
        places[i] = (struct place){names[i], i << 17, 20000 + i * 1000};
        fill(places[i].at, i, places[i].bytes);
    }
    client_request(client, IST_OP_PUT, 1, places, KEYS);
    assert_int_equal(client_reply(client, 1, KEYS - 1), IST_OK);
    for (size_t i = 0; i < KEYS; i++) {
        places[i].at += 8u << 20;
    }
    client_request(client, IST_OP_GET, 2, places, KEYS);
    assert_int_equal(client_reply(client, 2, KEYS - 1), IST_OK);
    for (size_t i = 0; i < KEYS; i++) {
        assert_filled(places[i].at, i, places[i].bytes);
    }
}

/* ---- InfiniBand ------------------------------------------------------------------------------------------ */

static bool server_has_grh(const struct client *client) {
    struct ibv_qp_attr attributes;
    struct ibv_qp_init_attr init;
    assert_int_equal(ibv_query_qp(server_queue_pair(client), &attributes, IBV_QP_AV, &init), 0);
    return attributes.ah_attr.is_global != 0;
}

static void test_infiniband__one_subnet__by_lid_alone(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 1, .is_infiniband = true});
    client_begin(&f.clients[0]);
    assert_false(server_has_grh(&f.clients[0]));
    put_and_get(&f.clients[0]);
}

static void shape_grh(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    own->port[0].grh_required = client->port[0].grh_required = true;
}

static void test_infiniband__port_that_insists__with_a_gid(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 2, .is_infiniband = true, .shape = shape_grh});
    client_begin(&f.clients[0]);
    assert_true(server_has_grh(&f.clients[0]));
    put_and_get(&f.clients[0]);
}

static void shape_subnets(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)own;
    client->port[0].gid[0].gid.raw[7] = 9; /* another prefix */
}

static void test_infiniband__another_subnet__with_a_gid(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 3, .is_infiniband = true, .shape = shape_subnets});
    client_begin(&f.clients[0]);
    assert_true(server_has_grh(&f.clients[0]));
    exists(&f.clients[0], 1);
}

static void test_infiniband__another_lid__new_clients_hear_of_it(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 4, .is_infiniband = true});
    client_begin(&f.clients[0]);
    assert_int_equal(f.clients[0].own.end.lid, 1);
    ist_hca_set_lid(server(), 1, 500);
    for (int i = 0; i < 10; i++) {
        turn();
    }
    client_begin(&f.clients[1]);
    assert_int_equal(f.clients[1].own.end.lid, 500);
    put_and_get(&f.clients[1]);
}

static void test_infiniband__ends_that_cannot_be__invalid(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 4, .is_infiniband = true, .shape = shape_grh});
    struct ist_rdma_connection *connection;
    struct ist_endpoint peer;
    client_make(&f.clients[0], &peer);
    const struct ist_endpoint good = peer;
    peer.end.lid = 0;
    assert_int_equal(ist_rdma_connect(f.rdma, &f, 1, &peer, &connection), IST_INVALID);
    peer.end.lid = 0xc000; /* multicast */
    assert_int_equal(ist_rdma_connect(f.rdma, &f, 1, &peer, &connection), IST_INVALID);
    peer = good;
    memset(peer.end.gid, 0, sizeof(peer.end.gid));
    assert_int_equal(ist_rdma_connect(f.rdma, &f, 1, &peer, &connection), IST_INVALID);
    assert_int_equal(ist_rdma_connections(f.rdma), 0);
}

/* ---- sizes ----------------------------------------------------------------------------------------------- */

static void shape_mtu(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    own->port[0].active_mtu = IBV_MTU_2048;
    client->port[0].active_mtu = IBV_MTU_512;
}

static enum ibv_mtu path_mtu(const struct client *client) {
    struct ibv_qp_attr attributes;
    struct ibv_qp_init_attr init;
    assert_int_equal(ibv_query_qp(server_queue_pair(client), &attributes, IBV_QP_PATH_MTU, &init), 0);
    return attributes.path_mtu;
}

static void test_mtu__differs__the_smaller_one(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 5, .shape = shape_mtu});
    client_begin(&f.clients[0]);
    assert_int_equal(path_mtu(&f.clients[0]), IBV_MTU_512);
    put_and_get(&f.clients[0]);
}

/* No event tells of it. */
static void test_mtu__changes__new_clients_have_the_new_one(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 31});
    client_begin(&f.clients[0]);
    assert_int_equal(path_mtu(&f.clients[0]), IBV_MTU_4096);
    ist_hca_set_mtu(server(), 1, IBV_MTU_1024);
    client_begin(&f.clients[1]);
    assert_int_equal(f.clients[1].own.end.mtu_bytes, 1024);
    assert_int_equal(path_mtu(&f.clients[1]), IBV_MTU_1024);
    put_and_get(&f.clients[1]);
    ist_hca_set_mtu(server(), 1, IBV_MTU_4096);
    client_begin(&f.clients[2]);
    assert_int_equal(path_mtu(&f.clients[2]), IBV_MTU_4096);
    put_and_get(&f.clients[2]);
}

static void shape_small(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    own->max_qp_wr = 20;
    own->max_sge = IST_ONE_SIDED_PIECES_MAX;
    own->max_inline = 0;
    own->max_qp_init_rd_atom = 1;
    client->max_qp_rd_atom = 1;
    client->max_qp_wr = 4;
    client->max_sge = 1;
    client->max_inline = 0;
}

static void test_small_device__few_requests_one_read_nothing_inline__all_moves(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 6, .shape = shape_small});
    client_begin(&f.clients[0]);
    put_and_get(&f.clients[0]);
}

static void shape_srq(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)client;
    own->max_srq_wr = 2 * (IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES) + 3;
}

static void shape_cqe(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)client;
    own->max_cqe = 2 * (int)(IST_RDMA_SEND_WR + IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES) + 3;
}

static void shape_qps(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)client;
    own->max_qp = 2;
}

static void test_small_device__queues_for_two_clients__the_third_is_refused(void **state) {
    static void (*const shapes[])(struct ist_hca_device_config *,
                                  struct ist_hca_device_config *) = {shape_srq, shape_cqe, shape_qps};
    for (size_t i = 0; i < 3; i++) {
        if (i > 0) {
            teardown(state);
        }
        setup_with((struct rdma_server_options){.seed = 7, .shape = shapes[i]});
        assert_true(ist_rdma_connections_max(f.rdma) == 2 || i == 2);
        client_begin(&f.clients[0]);
        client_begin(&f.clients[1]);
        enum ist_status status = client_try(&f.clients[2]);
        assert_true(status == IST_NO_SPACE || (i == 2 && status == IST_DEVICE));
        client_free(&f.clients[2]);
        exists(&f.clients[0], 1);
        put_and_get(&f.clients[1]);
        /* And one that leaves makes room. */
        ist_rdma_disconnect(f.clients[0].server);
        turn_until(ist_rdma_connections(f.rdma) == 1);
        client_begin(&f.clients[2]);
        exists(&f.clients[2], 1);
    }
}

static void shape_no_reads(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)client;
    own->max_qp_init_rd_atom = 0;
}

static void shape_one_piece(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)client;
    own->max_sge = 1;
}

static void shape_tiny(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)client;
    own->max_cqe = (int)IST_RDMA_SEND_WR;
}

static void test_unfit_device__no_reads_or_one_piece__refused_with_the_reason(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 8, .shape = shape_no_reads, .is_unfit = true});
    assert_non_null(strstr(f.logged, "server cannot be used: it starts no RDMA READs"));
    teardown(state);
    setup_with((struct rdma_server_options){.seed = 8, .shape = shape_one_piece, .is_unfit = true});
    assert_non_null(strstr(f.logged, "server cannot be used: its requests take too few pieces"));
    teardown(state);
    setup_with((struct rdma_server_options){.seed = 8, .shape = shape_tiny, .is_unfit = true});
    assert_non_null(strstr(f.logged, "server has no room for a queue pair"));
}

/* ---- making, and taking apart ------------------------------------------------------------------------------ */

static void ignore_ended(void *owner) {
    (void)owner;
}

static void ignore_connected(void *owner, const struct ist_endpoint *own) {
    (void)owner;
    (void)own;
}

static enum ist_status make_another(struct ist_rdma **rdma) {
    const struct ist_rdma_config config = {.loop = f.loop,
                                           .reap_ns = IST_RDMA_REAP_NS,
                                           .engine = f.engine,
                                           .device = f.device,
                                           .registration = f.registration,
                                           .sessions_max = 2,
                                           .connected = ignore_connected,
                                           .ended = ignore_ended,
                                           .alloc = &f.failing.alloc,
                                           .log = &f.log};
    return ist_rdma_new(&config, rdma);
}

static void test_new__nth_call_or_allocation_fails__nothing_is_left(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 9});
    /* An event that cannot be taken now is there the next time. */
    const unsigned calls = IST_HCA_CALL_ALL & ~(unsigned)(IST_HCA_CALL_DESTROY | IST_HCA_CALL_EVENT);
    const int64_t live = f.failing.live;
    struct ist_hca_counts before, after;
    struct ist_rdma *rdma;
    ist_hca_counts(f.hca, &before);
    unsigned failures = 0;
    for (uint64_t n = 1; n < 100; n++) {
        bool by_call = n % 2 == 0;
        ist_hca_fail_nth(f.hca, calls, by_call ? n / 2 : 0);
        f.failing.fail_at = by_call ? 0 : f.failing.calls + n / 2 + 1;
        enum ist_status status = make_another(&rdma);
        assert_true(status != IST_OK || ist_hca_failed(f.hca) == NULL);
        ist_hca_fail_nth(f.hca, calls, 0);
        f.failing.fail_at = 0;
        if (status == IST_OK) {
            ist_rdma_free(rdma);
        } else {
            failures++;
            assert_int_equal(status, by_call ? IST_DEVICE : IST_NO_MEMORY);
        }
        ist_hca_counts(f.hca, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        assert_int_equal(f.failing.live, live);
    }
    assert_true(failures >= 6);
}

/* Objects that cannot be destroyed properly are gone all the same; the rest follows. */
static void test_free__nth_destroying_call_fails__goes_on(void **state) {
    for (uint64_t n = 1; n <= 12; n++) {
        setup_with((struct rdma_server_options){.seed = 10 + n});
        client_begin(&f.clients[0]);
        client_begin(&f.clients[1]);
        put_and_get(&f.clients[0]);
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_DESTROY, n);
        if (n < 12) {
            teardown(state);
        }
    }
}

/* It cannot be, and must harm nobody if it is all the same. */
static void test_block__not_registered__its_session_ends(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 30, .is_half_registered = true});
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    const struct place places[] = {{"a", 0, SEGMENT_BYTES / 4 * 3}, {"b", 0, SEGMENT_BYTES / 4 * 3}};
    client_request(&f.clients[0], IST_OP_PUT, 1, places, 2);
    turn_until(f.clients[0].ended == 1);
    assert_non_null(strstr(f.logged, "not registered"));
    client_request(&f.clients[1], IST_OP_PUT, 1, places, 1);
    assert_int_equal(client_reply(&f.clients[1], 1, 0), IST_OK);
}

/* ---- what the device tells -------------------------------------------------------------------------------- */

static int setup_two(void **state) {
    setup(state);
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    put_and_get(&f.clients[0]);
    return 0;
}

static void test_event__queue_pair_fatal__its_session_alone_ends(void **state) {
    (void)state;
    ist_hca_qp_fatal(server_queue_pair(&f.clients[0]));
    turn_until(f.clients[0].ended == 1);
    put_and_get(&f.clients[1]);
    assert_int_equal(f.clients[1].ended, 0);
    assert_non_null(strstr(f.logged, ibv_event_type_str(IBV_EVENT_QP_FATAL)));
}

/* A timer may look into the queue before the event is taken: then it is the queue that tells. */
static void assert_told(enum ibv_event_type type) {
    if (strstr(f.logged, ibv_event_type_str(type)) == NULL &&
        strstr(f.logged, "completion queue cannot be") == NULL) {
        fail_msg("nothing is told of it: %s", f.logged);
    }
}

static void test_event__completion_queue_fatal__all_end_and_none_begins(void **state) {
    (void)state;
    client_request(&f.clients[0], IST_OP_GET, 3, &(struct place){"k1", 0, 30000}, 1);
    ist_hca_cq_fatal(server_queue_pair(&f.clients[0])->send_cq);
    turn_until(f.clients[0].ended == 1 && f.clients[1].ended == 1);
    assert_int_equal(client_try(&f.clients[2]), IST_DEVICE);
    assert_told(IBV_EVENT_CQ_ERR);
}

/* Messages without bytes need no credits. They go before the server has its turn. */
static void flood(struct client *client) {
    struct ist_queue_pair_end end;
    ist_queue_pair_end(client->queue_pair, &end);
    struct ibv_qp *qp = ist_hca_find_qp(f.hca, end.number);
    struct ibv_send_wr *refused;
    for (uint32_t i = 0; i < IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES; i++) {
        struct ibv_send_wr request = {.opcode = IBV_WR_SEND_WITH_IMM};
        assert_int_equal(ibv_post_send(qp, &request, &refused), 0);
    }
    ist_hca_run(f.hca, 1000);
}

static uint32_t watched_below(const struct client *client) {
    struct ibv_srq_attr attributes;
    assert_int_equal(ibv_query_srq(server_queue_pair(client)->srq, &attributes), 0);
    return attributes.srq_limit;
}

static void test_event__receive_queue_runs_low__told_once_in_a_while_and_nobody_ends(void **state) {
    (void)state;
    static const char text[] = "server: receive buffers run low";
    for (uint64_t id = 1; id <= 60; id++) {
        exists(&f.clients[id % 2], id);
    }
    put_and_get(&f.clients[1]);
    assert_int_equal(times_logged(text), 0); /* nobody sends beyond credits */
    flood(&f.clients[0]);
    flood(&f.clients[1]);
    turn_until(times_logged(text) == 1);
    exists(&f.clients[0], 61);
    exists(&f.clients[1], 62);
    assert_int_equal(watched_below(&f.clients[0]), 0);
    client_begin(&f.clients[2]);
    assert_int_equal(watched_below(&f.clients[0]), 0);
    ev_timer_stop(f.loop, &f.rdma->low); /* the rest is over: they are watched again */
    ev_timer_set(&f.rdma->low, 0., 0.);
    ev_timer_start(f.loop, &f.rdma->low);
    turn_until(watched_below(&f.clients[0]) == 3);
    client_begin(&f.clients[3]);
    assert_int_equal(watched_below(&f.clients[0]), 4);
    assert_int_equal(times_logged(text), 1);
    assert_int_equal(f.clients[0].ended + f.clients[1].ended + f.clients[2].ended, 0);
}

static void test_event__port_goes_and_comes__all_end_and_new_ones_begin(void **state) {
    (void)state;
    ist_hca_set_link(server(), 1, false);
    turn_until(f.clients[0].ended == 1 && f.clients[1].ended == 1);
    assert_int_equal(client_try(&f.clients[2]), IST_DEVICE);
    client_free(&f.clients[2]);
    assert_non_null(strstr(f.logged, ibv_event_type_str(IBV_EVENT_PORT_ERR)));
    ist_hca_set_link(server(), 1, true);
    for (int i = 0; i < 10; i++) {
        turn();
    }
    assert_non_null(strstr(f.logged, ibv_event_type_str(IBV_EVENT_PORT_ACTIVE)));
    client_begin(&f.clients[2]);
    put_and_get(&f.clients[2]);
}

static void test_event__device_fatal__all_end_and_none_begins(void **state) {
    (void)state;
    ist_hca_device_fatal(server());
    turn_until(f.clients[0].ended == 1 && f.clients[1].ended == 1);
    assert_int_equal(client_try(&f.clients[2]), IST_DEVICE);
    assert_told(IBV_EVENT_DEVICE_FATAL);
}

static void test_event__gid_changes__others_go_on(void **state) {
    (void)state;
    const struct ist_hca_gid gid = {
        .gid = {.raw = {0xfe, 0x80, [15] = 77}}, .type = IBV_GID_TYPE_ROCE_V2, .ifindex = 1};
    ist_hca_set_gid(server(), 1, 5, &gid);
    exists(&f.clients[0], 1);
    exists(&f.clients[1], 1);
}

/* The server's address becomes another: who knows the old one is not heard any more. */
static void test_event__address_changes__new_clients_hear_of_the_new_one(void **state) {
    (void)state;
    const struct ist_hca_gid gid = {.gid = {.raw = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 77}},
                                    .type = IBV_GID_TYPE_ROCE_V2,
                                    .ifindex = 1};
    const uint8_t before[IST_GID_LENGTH] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1};
    assert_memory_equal(f.clients[0].own.end.gid, before, IST_GID_LENGTH);
    ist_hca_set_gid(server(), 1, 3, &gid);
    client_begin(&f.clients[2]);
    assert_memory_equal(f.clients[2].own.end.gid, gid.gid.raw, IST_GID_LENGTH);
    put_and_get(&f.clients[2]);
    client_request(&f.clients[0], IST_OP_GET, 3, &(struct place){"k1", 0, 30000}, 1);
    client_request(&f.clients[1], IST_OP_GET, 3, &(struct place){"k1", 0, 30000}, 1);
    turn_until(f.clients[0].failures > 0 && f.clients[1].failures > 0);
    exists(&f.clients[2], 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown)
#define EVENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_infiniband__one_subnet__by_lid_alone),
        TEST(test_infiniband__port_that_insists__with_a_gid),
        TEST(test_infiniband__another_subnet__with_a_gid),
        TEST(test_infiniband__another_lid__new_clients_hear_of_it),
        TEST(test_infiniband__ends_that_cannot_be__invalid),
        TEST(test_mtu__differs__the_smaller_one),
        TEST(test_mtu__changes__new_clients_have_the_new_one),
        TEST(test_small_device__few_requests_one_read_nothing_inline__all_moves),
        TEST(test_small_device__queues_for_two_clients__the_third_is_refused),
        TEST(test_unfit_device__no_reads_or_one_piece__refused_with_the_reason),
        TEST(test_block__not_registered__its_session_ends),
        TEST(test_new__nth_call_or_allocation_fails__nothing_is_left),
        TEST(test_free__nth_destroying_call_fails__goes_on),
        EVENT_TEST(test_event__queue_pair_fatal__its_session_alone_ends),
        EVENT_TEST(test_event__completion_queue_fatal__all_end_and_none_begins),
        EVENT_TEST(test_event__receive_queue_runs_low__told_once_in_a_while_and_nobody_ends),
        EVENT_TEST(test_event__port_goes_and_comes__all_end_and_new_ones_begin),
        EVENT_TEST(test_event__device_fatal__all_end_and_none_begins),
        EVENT_TEST(test_event__gid_changes__others_go_on),
        EVENT_TEST(test_event__address_changes__new_clients_hear_of_the_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/daemon/nic: a device that comes late, dies, is replaced, or is of no use, on the software HCA; the pool is there all the
 * time, and clients are served whenever there is a device. */
#include "tests/rdma_server.h"

#include <stdio.h>
#include <string.h>

#include "verbs/queue_pair.h"

#define VALUES 3u /* together more than a segment */
#define VALUE_BYTES (SEGMENT_BYTES / 2)

static int setup_none(void **state) {
    (void)state;
    return 0;
}

static void put_all(struct client *client, uint64_t seed) {
    const struct place places[VALUES] = {
        {"a", 0, VALUE_BYTES}, {"b", VALUE_BYTES, VALUE_BYTES}, {"c", 2 * VALUE_BYTES, VALUE_BYTES}};
    for (size_t i = 0; i < VALUES; i++) {
        fill(places[i].at, seed + i, VALUE_BYTES);
    }
    client_request(client, IST_OP_PUT, 1, places, VALUES);
    assert_int_equal(client_reply(client, 1, VALUES - 1), IST_OK);
}

static void get_all(struct client *client, uint64_t seed) {
    const uint64_t at = 8u << 20;
    const struct place places[VALUES] = {{"a", at, VALUE_BYTES},
                                         {"b", at + VALUE_BYTES, VALUE_BYTES},
                                         {"c", at + 2 * VALUE_BYTES, VALUE_BYTES}};
    memset(f.memory + at, 0, VALUES * VALUE_BYTES);
    client_request(client, IST_OP_GET, 2, places, VALUES);
    assert_int_equal(client_reply(client, 2, VALUES - 1), IST_OK);
    for (size_t i = 0; i < VALUES; i++) {
        assert_filled(places[i].at, seed + i, VALUE_BYTES);
    }
}

static bool has_logged(const char *text) {
    return strstr(f.logged, text) != NULL;
}

static void kill_device(void) {
    ist_hca_device_fatal(ist_hca_find_device(f.hca, "server"));
}

/* It has looked so often, and found nothing. */
static void look(unsigned times) {
    for (unsigned i = 0; i < times; i++) {
        uint64_t looks = ist_hca_calls(f.hca);
        turn_until_late(ist_hca_calls(f.hca) > looks);
    }
}

static void test_late_device__plugged_in__served_with_all_of_the_pool(void **state) {
    (void)state;
    struct ist_nic_port port;
    setup_with((struct rdma_server_options){
        .seed = 1, .over_nic = true, .is_unplugged = true, .is_half_registered = true});
    f.log.level = IST_LOG_INFO;
    ist_nic_announce(f.nic);
    assert_true(has_logged("no RDMA, serving TCP only: no RDMA device server"));
    assert_null(f.rdma);
    assert_false(ist_nic_port(f.nic, &port));
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_LIST, 1u << 30); /* counts */
    look(3);
    ist_nic_prepare(f.nic, f.pool + SEGMENT_BYTES, SEGMENT_BYTES);
    (void)plug(0, NULL);
    turn_until_late(f.rdma != NULL);
    assert_true(has_logged("RDMA on server port 1"));
    assert_int_equal(times_logged("no RDMA, serving"), 1);
    assert_true(ist_nic_port(f.nic, &port));
    assert_string_equal(port.device, "server");
    assert_int_equal(port.port, 1);
    client_begin(&f.clients[0]);
    put_all(&f.clients[0], 1);
    get_all(&f.clients[0], 1);
}

/* What was stored over one is got over the other. */
static void test_device__dies_and_is_replaced__values_are_there(void **state) {
    (void)state;
    struct ist_nic_port port;
    setup_with((struct rdma_server_options){.seed = 2, .over_nic = true});
    struct ist_hca_device *device = ist_hca_find_device(f.hca, "server");
    assert_non_null(f.rdma);
    for (uint8_t life = 0; life < 3; life++) {
        client_begin(&f.clients[0]);
        client_begin(&f.clients[1]);
        if (life > 0) {
            get_all(&f.clients[1], life - 1u);
        }
        put_all(&f.clients[0], life);
        if (life < 2) {
            unsigned ended = f.clients[0].ended;
            ist_hca_device_fatal(device);
            turn_until(f.clients[0].ended > ended && f.clients[1].ended > ended);
            client_free(&f.clients[0]);
            client_free(&f.clients[1]);
            turn_until_late(f.rdma == NULL);
            assert_int_equal(times_logged("no RDMA any more on server"), life + 1);
            assert_false(ist_nic_port(f.nic, &port));
            device = plug((uint8_t)(life + 5), NULL);
            turn_until_late(f.rdma != NULL);
        }
    }
}

/* The pool grows while what was there of it is being registered. */
static void test_late_device__pool_grows_meanwhile__all_of_it(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){
        .seed = 3, .over_nic = true, .is_unplugged = true, .is_half_registered = true});
    (void)plug(0, NULL);
    ist_hca_hold_registrations(ist_hca_find_device(f.hca, "server"), true);
    turn_until_late(ist_hca_waiting(f.hca) > 0);
    ist_nic_prepare(f.nic, f.pool + SEGMENT_BYTES, SEGMENT_BYTES); /* does not wait */
    assert_null(f.rdma);
    ist_hca_hold_registrations(ist_hca_find_device(f.hca, "server"), false);
    turn_until_late(f.rdma != NULL);
    client_begin(&f.clients[0]);
    put_all(&f.clients[0], 1);
    get_all(&f.clients[0], 1);
}

static void shape_no_reads(struct ist_hca_device_config *config) {
    config->max_qp_init_rd_atom = 0;
}

static void test_unfit_device__replaced__served(void **state) {
    (void)state;
    setup_with((struct rdma_server_options){.seed = 4, .over_nic = true, .is_unplugged = true});
    (void)plug(0, shape_no_reads);
    turn_until_late(has_logged("server cannot be used: it starts no RDMA READs"));
    turn_until_late(has_logged("no RDMA, serving TCP only: server cannot be used"));
    kill_device();
    (void)plug(1, NULL);
    turn_until_late(f.rdma != NULL);
    client_begin(&f.clients[0]);
    put_all(&f.clients[0], 1);
}

/* Whatever fails while a device is made ready, nothing is left of it, and the next time it succeeds. */
static void test_late_device__nth_call_fails__served_by_the_next_look(void **state) {
    const unsigned calls = IST_HCA_CALL_ALL & ~(unsigned)(IST_HCA_CALL_ARM | IST_HCA_CALL_POLL);
    bool has_failed = true;
    for (uint64_t n = 1; has_failed; n++) {
        assert_true(n < 100);
        setup_with((struct rdma_server_options){.seed = n, .over_nic = true, .is_unplugged = true});
        ist_hca_fail_nth(f.hca, calls, n);
        (void)plug(0, NULL);
        turn_until_late(f.rdma != NULL);
        has_failed = ist_hca_failed(f.hca) != NULL;
        assert_true(has_failed || n > 10);
        ist_hca_fail_nth(f.hca, calls, 0);
        client_begin(&f.clients[0]);
        put_all(&f.clients[0], 1);
        if (has_failed) {
            teardown(state);
        }
    }
}

/* With connections that are being made, and a thread that looks. */
static void test_stop__at_any_time__nothing_is_left(void **state) {
    for (unsigned i = 0; i < 20; i++) {
        setup_with((struct rdma_server_options){.seed = 30 + i, .over_nic = true});
        client_begin(&f.clients[0]);
        enum ist_status status = client_ask(&f.clients[1]);
        assert_int_equal(status, IST_OK);
        if (i % 2 == 0) {
            turn_until_answered(&f.clients[1]);
        }
        kill_device();
        for (unsigned turns = 0; turns < i; turns++) {
            turn();
        }
        if (i < 19) {
            teardown(state);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_late_device__plugged_in__served_with_all_of_the_pool),
        TEST(test_device__dies_and_is_replaced__values_are_there),
        TEST(test_late_device__pool_grows_meanwhile__all_of_it),
        TEST(test_unfit_device__replaced__served),
        TEST(test_late_device__nth_call_fails__served_by_the_next_look),
        TEST(test_stop__at_any_time__nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/daemon/rdma with a thousand clients: each is served, and costs the server little memory. */
#include "tests/rdma_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CROWD 1000u
#define CROWD_SHORT 120u
#define CLIENT_BYTES_MAX (128u << 10)
#define VALUE_BYTES 10000u
#define DESCRIPTORS (2 * CROWD + 100)

static void shape(struct ist_hca_device_config *own, struct ist_hca_device_config *client) {
    (void)client;
    own->max_srq_wr = (int)(CROWD * (IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES));
    own->max_cqe =
        (int)(CROWD * (IST_RDMA_SEND_WR + IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES));
}

/* Each client of the fixture has a completion channel, hence a descriptor. */
static bool has_descriptors(void) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < DESCRIPTORS) {
        limit.rlim_cur = DESCRIPTORS < limit.rlim_max ? DESCRIPTORS : limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    return limit.rlim_cur >= DESCRIPTORS;
}

static struct client *client_at(size_t i) {
    return &f.clients[i];
}

/* Messages of all, at the same time, each a value of its own. */
static void all_exchange(size_t crowd, enum ist_operation operation) {
    char name[24];
    size_t served = 0;
    for (size_t i = 0; i < crowd; i++) {
        snprintf(name, sizeof(name), "k%zu", i);
        uint64_t at = i % 16 * VALUE_BYTES + (operation == IST_OP_GET ? 8u << 20 : 0);
        client_request(client_at(i), operation, 1, &(struct place){name, at, VALUE_BYTES}, 1);
    }
    for (size_t i = 0; i < crowd; i++) {
        enum ist_status status = client_reply(client_at(i), 1, 0);
        assert_true(status == IST_OK ||
                    status == (operation == IST_OP_GET ? IST_NOT_FOUND : IST_NO_SPACE));
        served += status == IST_OK;
    }
    assert_true(served >= crowd / 10); /* the pool is small: values are evicted, or all are in use */
}

static void test_crowd__a_thousand_clients__served_with_little_memory(void **state) {
    (void)state;
    const size_t crowd = getenv("IST_TEST_SHORT") != NULL ? CROWD_SHORT : CROWD;
    if (!has_descriptors()) {
        skip();
    }
    setup_with((struct rdma_server_options){.seed = 1, .clients = crowd, .shape = shape});
    uint64_t before = f.server_bytes;
    for (size_t i = 0; i < crowd; i++) {
        client_begin(client_at(i));
    }
    assert_int_equal(ist_rdma_connections(f.rdma), crowd);
    for (uint64_t i = 0; i < 16; i++) {
        fill(i * VALUE_BYTES, i, VALUE_BYTES);
    }
    all_exchange(crowd, IST_OP_PUT);
    all_exchange(crowd, IST_OP_GET);
    const uint64_t buffers =
        (IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES) * (uint64_t)IST_RDMA_MESSAGE_BYTES;
    const uint64_t each = (f.server_bytes - before) / crowd + buffers;
    print_message("%u bytes of the server's for each client\n", (unsigned)each);
    assert_true(each < CLIENT_BYTES_MAX);
    /* All go at once: by their own wish, or because they die. */
    ist_hca_kill(ist_device_context(f.processes[0].device));
    for (size_t i = 0; i < crowd; i++) {
        if (client_at(i)->server != NULL) {
            ist_rdma_disconnect(client_at(i)->server);
        }
    }
    turn_until(ist_rdma_connections(f.rdma) == 0);
    teardown(state);
}

/* More peers that nobody finds than are waited for: the rest are refused at once, and all are answered in the end. */
static void test_crowd__asks_while_no_neighbour_answers__bounded(void **state) {
    const size_t bound = IST_CONNECTOR_WAITING_MAX + IST_CONNECTOR_THREADS;
    if (getenv("IST_TEST_SHORT") != NULL || !has_descriptors()) {
        skip();
    }
    setup_with((struct rdma_server_options){.seed = 2, .clients = bound + 10, .shape = shape});
    struct ist_hca_device *server = ist_hca_find_device(f.hca, "server");
    ist_hca_set_patience(f.hca, 60000);
    ist_hca_hold_neighbours(server, true);
    size_t asked = 0;
    enum ist_status status = IST_OK;
    while (status == IST_OK) {
        assert_true(asked < bound + 5);
        status = client_ask(client_at(asked++));
    }
    assert_int_equal(status, IST_NO_SPACE);
    assert_true(asked > IST_CONNECTOR_WAITING_MAX);
    ist_hca_hold_neighbours(server, false);
    for (size_t i = 0; i + 1 < asked; i++) {
        turn_until_answered(client_at(i));
    }
    assert_int_equal(ist_rdma_connections(f.rdma), asked - 1);
    teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crowd__a_thousand_clients__served_with_little_memory),
        cmocka_unit_test(test_crowd__asks_while_no_neighbour_answers__bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The daemon goes away: killed, restarted, stopped for a while, or asked to end. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/raw.h"
#include "tests/integration/values.h"

#define POOL "96M"
#define VALUE_BYTES (24 * MIB) /* more than the sockets of both ends hold */

static uint16_t port_of(const struct server *server) {
    return (uint16_t)strtoul(strrchr(server->service[0], ':') + 1, NULL, 10);
}

static struct server *start_again(uint16_t port) {
    const char *const options[] = {"--prealloc-size", POOL, NULL};
    return server_start_with(&(const struct server_setup){.options = options, .service_port = port});
}

struct waiting {
    unsigned calls;
    enum ist_status status;
};

static void on_done(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
}

static void process_until_called(struct ist_client *client, const struct waiting *waiting) {
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    while (waiting->calls == 0) {
        struct pollfd polled = {.fd = ist_client_fd(client), .events = POLLIN};
        poll(&polled, 1, 1000);
        ist_client_process(client);
        assert_true(now_ns() < until_ns);
    }
    assert_int_equal(waiting->calls, 1);
}

static void test_restart__requests_in_flight__peer_then_reconnect(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    uint16_t port = port_of(server);
    struct ist_client *client = client_open(server->service[0]);
    uint64_t incarnation = ist_client_incarnation(client), version;
    assert_int_not_equal(incarnation, 0);
    assert_int_equal(put_value(client, "key", 1, 1000, 0), IST_OK);
    /* the server does not get to answer these */
    server_signal(server, SIGSTOP);
    struct waiting ping = {0}, get = {0};
    uint8_t buffer[1000];
    struct ist_get_item item = {.key = key_of("key"), .buffer = buffer, .buffer_bytes = 1000};
    assert_int_equal(ist_ping_async(client, PATIENCE_NS, on_done, &ping), IST_OK);
    assert_int_equal(ist_get_async(client, &item, 1, PATIENCE_NS, on_done, &get), IST_OK);
    assert_int_equal(ist_client_in_flight(client), 2);
    ist_client_process(client);
    server_kill(server);
    process_until_called(client, &ping);
    process_until_called(client, &get);
    assert_int_equal(ping.status, IST_PEER);
    assert_int_equal(get.status, IST_PEER);
    assert_int_equal(item.status, IST_PEER);
    assert_int_equal(ist_client_in_flight(client), 0);
    assert_int_equal(ist_ping(client, 0), IST_PEER); /* nobody there: at once, not at the deadline */
    server = start_again(port);
    assert_int_equal(get_value(client, "key", 1000, &version), IST_NOT_FOUND);
    assert_int_not_equal(ist_client_incarnation(client), 0);
    assert_true(ist_client_incarnation(client) != incarnation);
    assert_int_equal(put_value(client, "key", 2, 1000, 0), IST_OK);
    ist_client_free(client);
    server_stop(server);
}

struct blocked {
    struct ist_client *client;
    pthread_t thread;
    enum ist_status status;
};

static void *block(void *arg) {
    struct blocked *blocked = arg;
    blocked->status = ist_ping(blocked->client, PATIENCE_NS);
    return NULL;
}

static void test_restart__blocking_calls_in_flight__peer_then_reconnect(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    uint16_t port = port_of(server);
    struct ist_client *client = client_open(server->service[0]);
    server_signal(server, SIGSTOP);
    enum { COUNT = 3 };
    struct blocked blocked[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        blocked[i] = (struct blocked){.client = client};
        assert_int_equal(pthread_create(&blocked[i].thread, NULL, block, &blocked[i]), 0);
    }
    assert_eventually(ist_client_in_flight(client) == COUNT);
    server_kill(server);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(blocked[i].thread, NULL), 0);
        assert_int_equal(blocked[i].status, IST_PEER);
    }
    server = start_again(port);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    server_stop(server);
}

static void test_deadline__server_stands_still__timeout_then_service(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    uint64_t incarnation = ist_client_incarnation(client);
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    server_signal(server, SIGSTOP);
    assert_int_equal(ist_ping(client, 50000000), IST_TIMEOUT);
    uint8_t *buffer = calloc(1, MIB);
    assert_non_null(buffer);
    struct ist_get_item item = {.key = key_of("key"), .buffer = buffer, .buffer_bytes = MIB};
    assert_int_equal(ist_get(client, &item, 1, 50000000), IST_TIMEOUT);
    assert_int_equal(item.status, IST_TIMEOUT);
    struct ist_put_item put = {.key = key_of("late"), .value = buffer, .value_bytes = MIB};
    assert_int_equal(ist_put(client, &put, 1, 0, 50000000), IST_TIMEOUT);
    server_signal(server, SIGCONT);
    uint64_t version = 0;
    assert_int_equal(get_value(client, "key", MIB, &version), IST_OK);
    assert_int_equal(version, 1);
    for (size_t i = 0; i < MIB; i++) {
        assert_int_equal(buffer[i], 0); /* the late answer is not written into what is ours again */
    }
    free(buffer);
    assert_true(ist_client_incarnation(client) == incarnation);
    ist_client_free(client);
    server_stop(server);
}

static void test_connect__nobody_or_somebody_else__error_with_its_cause(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = NULL;
    char error[200] = "";
    struct ist_client_options options = {.endpoints = server->manage[0]};
    assert_int_equal(ist_client_new(&options, &client, error, sizeof(error)), IST_PROTOCOL);
    assert_non_null(strstr(error, server->manage[0]));
    options.endpoints = "127.0.0.1:1";
    assert_int_equal(ist_client_new(&options, &client, error, sizeof(error)), IST_PEER);
    assert_non_null(strstr(error, "127.0.0.1:1"));
    options.endpoints = "127.0.0.1:99999";
    assert_int_equal(ist_client_new(&options, &client, error, sizeof(error)), IST_INVALID);
    assert_non_null(strstr(error, "99999"));
    /* the next one in the list is taken */
    char both[300];
    snprintf(both, sizeof(both), "127.0.0.1:1,%s", server->service[0]);
    options.endpoints = both;
    assert_int_equal(ist_client_new(&options, &client, error, sizeof(error)), IST_OK);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    server_stop(server);
}

static bool connects(const char *address) {
    struct ist_client *client = NULL;
    const struct ist_client_options options = {.endpoints = address};
    bool connected = ist_client_new(&options, &client, NULL, 0) == IST_OK;
    ist_client_free(client);
    return connected;
}

/* SIGTERM while one value is half sent and another half read: both end well, nobody new is let in. */
static void test_sigterm__requests_begun__they_end_and_exit_is_0(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    char address[SERVER_ADDRESS_BYTES];
    strcpy(address, server->service[0]);
    int idle = raw_open(address), reader = raw_open(address), writer = raw_open(address);
    uint8_t *value = malloc(VALUE_BYTES), *got = malloc(VALUE_BYTES);
    assert_true(value != NULL && got != NULL);
    value_fill("key", 1, value, VALUE_BYTES);
    assert_int_equal(raw_put(idle, "key", value, VALUE_BYTES), IST_OK);
    struct bytes get = {0}, put = {0};
    raw_add_get(&get, 4, "key", VALUE_BYTES);
    raw_add_put(&put, 5, 0, "new", value, VALUE_BYTES);
    assert_true(raw_send(reader, get.data, get.count));
    struct raw_frame frame;
    assert_true(raw_receive_head(reader, &frame));
    assert_int_equal(frame.payload_bytes, VALUE_BYTES);
    raw_frame_free(&frame);
    assert_true(raw_send(writer, put.data, put.count / 2));
    assert_eventually(server_pool_bytes(server, "reserved") > 0);
    server_signal(server, SIGTERM);
    assert_int_equal(raw_read_to_end(idle), 0); /* nothing had begun there: it closes at once */
    assert_false(connects(address));
    assert_true(server_is_alive(server));
    struct http_reply health;
    http_request(server, "GET", "/health", "", &health);
    assert_int_equal(health.status, 503);
    assert_string_equal(health.body, "{\"status\":\"draining\"}");
    http_free(&health);
    assert_int_equal(raw_read(reader, got, VALUE_BYTES), VALUE_BYTES);
    assert_memory_equal(got, value, VALUE_BYTES);
    assert_true(raw_send(writer, put.data + put.count / 2, put.count - put.count / 2));
    struct raw_reply reply;
    assert_true(raw_receive(writer, &frame));
    raw_reply_parse(&frame, &reply);
    assert_int_equal(frame.id, 5);
    assert_int_equal(reply.status, IST_OK);
    raw_frame_free(&frame);
    assert_int_equal(server_wait(server), 0);
    bytes_free(&get);
    bytes_free(&put);
    free(value);
    free(got);
    close(idle);
    close(reader);
    close(writer);
}

/* Who does not finish is not waited for longer than the drain's time. */
static void test_sigterm__reader_stands_still__ends_all_the_same(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL, "--drain-timeout", "1");
    int reader = raw_open(server->service[0]);
    uint8_t *value = calloc(1, VALUE_BYTES);
    assert_non_null(value);
    assert_int_equal(raw_put(reader, "key", value, VALUE_BYTES), IST_OK);
    free(value);
    struct bytes get = {0};
    raw_add_get(&get, 4, "key", VALUE_BYTES);
    assert_true(raw_send(reader, get.data, get.count));
    struct raw_frame frame;
    assert_true(raw_receive_head(reader, &frame));
    raw_frame_free(&frame);
    bytes_free(&get);
    server_stop(server);
    close(reader);
}

/* A client of the library whose server ends in an orderly way sees PEER, not silence. */
static void test_sigterm__client_idle__next_call_peer_then_reconnect(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    uint16_t port = port_of(server);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    server_stop(server);
    assert_int_equal(ist_ping(client, 0), IST_PEER);
    server = start_again(port);
    uint64_t version;
    assert_int_equal(get_value(client, "key", MIB, &version), IST_NOT_FOUND);
    ist_client_free(client);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_restart__requests_in_flight__peer_then_reconnect),
        integration_test(test_restart__blocking_calls_in_flight__peer_then_reconnect),
        integration_test(test_deadline__server_stands_still__timeout_then_service),
        integration_test(test_connect__nobody_or_somebody_else__error_with_its_cause),
        integration_test(test_sigterm__requests_begun__they_end_and_exit_is_0),
        integration_test(test_sigterm__reader_stands_still__ends_all_the_same),
        integration_test(test_sigterm__client_idle__next_call_peer_then_reconnect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

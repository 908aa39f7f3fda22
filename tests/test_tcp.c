/* src/daemon/tcp: real sockets, the real engine, and a client written by hand. Nothing waits: client and loop
 * take turns until what is expected has come. */
#include "tests/support.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/edge.h"
#include "daemon/tcp.h"
#include "store/store.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define POOL_BYTES (24u << 20)
#define SESSIONS_MAX 4
#define TURNS_MAX 100000 /* a turn moves at least a byte in the slowest of these tests */

static struct {
    struct ev_loop *loop;
    struct failing_alloc failing;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_tcp *tcp;
    uint8_t *pool;
} f;

static int setup(void **state) {
    (void)state;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(f.loop);
    f.pool = malloc(POOL_BYTES);
    assert_non_null(f.pool);
    const struct ist_store_config store_config = {.pool_bytes_max = POOL_BYTES,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = &f.failing.alloc};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    assert_int_equal(ist_store_grow(f.store, POOL_BYTES), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = SESSIONS_MAX,
                                                    .server_name = "test",
                                                    .alloc = &f.failing.alloc,
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
    const struct ist_tcp_config tcp_config = {.loop = f.loop,
                                              .engine = f.engine,
                                              .pool_base = f.pool,
                                              .alloc = &f.failing.alloc,
                                              .log = ist_log_null()};
    assert_int_equal(ist_tcp_new(&tcp_config, &f.tcp), IST_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ist_tcp_free(f.tcp);
    ist_engine_check(f.engine);
    struct ist_store_usage usage;
    ist_store_purge(f.store);
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.free_bytes, POOL_BYTES);
    ist_engine_free(f.engine);
    ist_store_free(f.store);
    assert_int_equal(f.failing.live, 0);
    free(f.pool);
    ev_loop_destroy(f.loop);
    return 0;
}

static void turn(void) {
    ev_run(f.loop, EVRUN_NOWAIT);
    ist_edge_run_changed(f.engine);
    ist_engine_check(f.engine);
}

/* A connection whose other end the daemon has accepted. */
static int client_new(void) {
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    ist_tcp_accept(f.tcp, ends[1]);
    return ends[0];
}

/* The same over loopback TCP, whose buffers hold megabytes. */
static int client_new_tcp(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, length), 0);
    assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
    int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    close(listener);
    ist_tcp_accept(f.tcp, accepted);
    return client;
}

static void send_all(int client, const void *data, size_t bytes) {
    const uint8_t *from = data;
    for (int i = 0; i < TURNS_MAX && bytes > 0; i++) {
        ssize_t sent = send(client, from, bytes, MSG_NOSIGNAL);
        if (sent > 0) {
            from += sent;
            bytes -= (size_t)sent;
        } else {
            assert_int_equal(errno, EAGAIN);
        }
        turn();
    }
    assert_int_equal(bytes, 0);
}

static void recv_all(int client, void *data, size_t bytes) {
    uint8_t *to = data;
    for (int i = 0; i < TURNS_MAX && bytes > 0; i++) {
        turn();
        ssize_t received = recv(client, to, bytes, 0);
        assert_int_not_equal(received, 0);
        if (received > 0) {
            to += received;
            bytes -= (size_t)received;
        } else {
            assert_int_equal(errno, EAGAIN);
        }
    }
    assert_int_equal(bytes, 0);
}

/* The daemon ends it. Whatever it still says is thrown away. */
static void assert_ended(int client) {
    uint8_t byte[64];
    ssize_t received = -1;
    for (int i = 0; i < TURNS_MAX && received != 0; i++) {
        turn();
        received = recv(client, byte, sizeof(byte), 0);
        if (received < 0 && errno == ECONNRESET) {
            received = 0;
        }
    }
    assert_int_equal(received, 0);
}

static void send_frame(int client, enum ist_operation operation, uint64_t id, const uint8_t *body,
                       size_t body_bytes, uint64_t payload_bytes) {
    uint8_t header[IST_FRAME_BYTES];
    const struct ist_frame frame = {.operation = operation,
                                    .request_id = id,
                                    .body_bytes = (uint32_t)body_bytes,
                                    .payload_bytes = payload_bytes};
    ist_frame_encode(&frame, header);
    send_all(client, header, sizeof(header));
    send_all(client, body, body_bytes);
}

static struct ist_frame recv_frame(int client, uint8_t *body, size_t room) {
    uint8_t header[IST_FRAME_BYTES];
    struct ist_frame frame;
    recv_all(client, header, sizeof(header));
    assert_int_equal(ist_frame_decode(ist_span_of(header, sizeof(header)), &frame), IST_OK);
    assert_true(frame.body_bytes <= room);
    recv_all(client, body, frame.body_bytes);
    return frame;
}

static void hello(int client) {
    const struct ist_hello message = {
        .version_min = 1, .version_max = 1, .client = ist_span_of_string("test")};
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t bytes;
    assert_int_equal(ist_codec_encode_hello(&message, body, sizeof(body), &bytes), IST_OK);
    send_frame(client, IST_OP_HELLO, 1, body, bytes, 0);
    struct ist_frame frame = recv_frame(client, body, sizeof(body));
    struct ist_hello_reply reply;
    assert_int_equal(ist_codec_decode_hello_reply(ist_span_of(body, frame.body_bytes), &reply), IST_OK);
    assert_int_equal(reply.status, IST_OK);
}

static void send_key(int client, enum ist_operation operation, const char *key, uint64_t length,
                     uint64_t payload_bytes) {
    uint8_t body[256];
    size_t bytes;
    const struct ist_span span = ist_span_of_string(key);
    assert_int_equal(ist_codec_encode_keys(&span, &length, 1, body, sizeof(body), &bytes), IST_OK);
    send_frame(client, operation, 7, body, bytes, payload_bytes);
}

/* The status of the only key. */
static enum ist_status recv_status(int client, uint64_t *payload_bytes) {
    uint8_t body[256];
    uint64_t lengths[1];
    struct ist_keys_reply reply;
    struct ist_frame frame = recv_frame(client, body, sizeof(body));
    assert_int_equal(frame.request_id, 7);
    assert_int_equal(
        ist_codec_decode_keys_reply(ist_span_of(body, frame.body_bytes), lengths, 1, &reply), IST_OK);
    assert_int_equal(reply.status, IST_OK);
    assert_int_equal(reply.key_status.bytes, 1);
    *payload_bytes = frame.payload_bytes;
    return (enum ist_status)reply.key_status.data[0];
}

static uint8_t *value_new(size_t bytes, uint64_t seed) {
    uint8_t *value = malloc(bytes);
    assert_non_null(value);
    for (size_t i = 0; i < bytes; i++) {
        value[i] = (uint8_t)random_next(&seed);
    }
    return value;
}

static void put(int client, const char *key, const uint8_t *value, size_t bytes) {
    uint64_t payload;
    send_key(client, IST_OP_PUT, key, bytes, bytes);
    send_all(client, value, bytes);
    assert_int_equal(recv_status(client, &payload), IST_OK);
    assert_int_equal(payload, 0);
}

static bool stored(const char *key) {
    struct ist_span span = ist_span_of_string(key);
    bool present;
    return ist_store_exists(f.store, &span, 1, &present) == 1;
}

static void put_and_get(int client, size_t bytes) {
    uint8_t *value = value_new(bytes, bytes);
    uint8_t *back = malloc(bytes);
    assert_non_null(back);
    uint64_t payload;
    put(client, "key", value, bytes);
    send_key(client, IST_OP_GET, "key", bytes, 0);
    assert_int_equal(recv_status(client, &payload), IST_OK);
    assert_int_equal(payload, bytes);
    recv_all(client, back, bytes);
    assert_memory_equal(back, value, bytes);
    free(back);
    free(value);
}

static void test_accept__put_then_get_of_many_sizes__same_bytes(void **state) {
    (void)state;
    int client = client_new();
    assert_int_equal(ist_tcp_connections(f.tcp), 1);
    hello(client);
    /* One byte; about a stage of the engine; more than a socket of this kind holds. */
    const size_t sizes[] = {1, 4095, 4096, 16385, 3u << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        put_and_get(client, sizes[i]);
    }
    close(client);
}

static void test_accept__over_tcp_more_than_a_turn__same_bytes(void **state) {
    (void)state;
    int client = client_new_tcp();
    hello(client);
    put_and_get(client, 3 * IST_TCP_TURN_BYTES + 1);
    close(client);
}

static void test_recv__more_than_a_turns_share_waits__a_turn_takes_its_share(void **state) {
    (void)state;
    int client = client_new_tcp();
    hello(client);
    size_t bytes = 8u << 20;
    uint8_t *value = value_new(bytes, 3);
    send_key(client, IST_OP_PUT, "key", bytes, bytes);
    size_t sent = 0;
    for (int i = 0; i < TURNS_MAX && sent < bytes; i++) {
        ssize_t now = 1;
        while (sent < bytes && now > 0) {
            now = send(client, value + sent, bytes - sent, MSG_NOSIGNAL);
            sent += now > 0 ? (size_t)now : 0;
        }
        struct ist_stats before, after;
        ist_engine_stats(f.engine, &before);
        turn();
        ist_engine_stats(f.engine, &after);
        assert_true(after.received_bytes - before.received_bytes <= IST_TCP_TURN_BYTES);
    }
    uint64_t payload;
    assert_int_equal(recv_status(client, &payload), IST_OK);
    free(value);
    close(client);
}

/* Sends what the sockets hold, a turn, and again. */
static void push_all(int client, const uint8_t *data, size_t bytes) {
    for (size_t sent = 0; sent < bytes; turn()) {
        ssize_t now = 1;
        while (sent < bytes && now > 0) {
            now = send(client, data + sent, bytes - sent, MSG_NOSIGNAL);
            sent += now > 0 ? (size_t)now : 0;
        }
    }
}

/* In the middle of a payload the daemon asks to be woken for a good piece of it only. What is left when it goes to
 * sleep, be it for want of bytes or because its turn is over, must still wake it. */
static void test_recv__payload_with_a_rest_of_any_length__not_slept_through(void **state) {
    (void)state;
    int client = client_new_tcp();
    hello(client);
    const size_t firsts[] = {100000, 0}, rests[] = {1, 1000, 20000, 131073};
    uint8_t *value = calloc(1, 8u << 20);
    assert_non_null(value);
    for (size_t i = 0; i < 2 * 2 * 4; i++) {
        size_t first = firsts[i % 2], bytes = first + rests[i / 4] + (i / 2 % 2) * IST_TCP_TURN_BYTES;
        uint64_t payload;
        if (i == 0) { /* the kernel's buffers grow with use: then they hold more than a turn takes */
            bytes = 8u << 20;
        }
        send_key(client, IST_OP_PUT, "key", bytes, bytes);
        push_all(client, value, first);
        turn();
        push_all(client, value, bytes - first);
        assert_int_equal(recv_status(client, &payload), IST_OK);
    }
    free(value);
    close(client);
}

static void test_recv__value_larger_than_the_pool__discarded_and_the_session_goes_on(void **state) {
    (void)state;
    int client = client_new();
    hello(client);
    size_t bytes = POOL_BYTES + 1;
    uint8_t *value = calloc(1, bytes);
    assert_non_null(value);
    send_key(client, IST_OP_PUT, "big", bytes, bytes);
    send_all(client, value, bytes);
    uint64_t payload;
    assert_int_equal(recv_status(client, &payload), IST_TOO_BIG);
    assert_false(stored("big"));
    put_and_get(client, 1000);
    free(value);
    close(client);
}

static void test_recv__peer_gone_in_the_middle_of_a_put__no_trace(void **state) {
    (void)state;
    int client = client_new();
    hello(client);
    uint8_t half[50000] = {0};
    send_key(client, IST_OP_PUT, "key", 2 * sizeof(half), 2 * sizeof(half));
    send_all(client, half, sizeof(half));
    close(client);
    turn();
    assert_int_equal(ist_tcp_connections(f.tcp), 0);
    assert_false(stored("key"));
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.free_bytes, POOL_BYTES);
}

static void test_send__peer_gone_in_the_middle_of_a_get__pins_return(void **state) {
    (void)state;
    int client = client_new();
    hello(client);
    size_t bytes = 4u << 20;
    uint8_t *value = value_new(bytes, 5);
    put(client, "key", value, bytes);
    send_key(client, IST_OP_GET, "key", bytes, 0);
    recv_all(client, value, 1000);
    close(client);
    turn();
    assert_int_equal(ist_tcp_connections(f.tcp), 0);
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.pinned_entries, 0);
    free(value);
}

static void test_send__peer_stops_reading__others_are_served(void **state) {
    (void)state;
    int stuck = client_new(), other = client_new();
    hello(stuck);
    hello(other);
    size_t bytes = 4u << 20;
    uint8_t *value = value_new(bytes, 5);
    put(stuck, "value", value, bytes);
    send_key(stuck, IST_OP_GET, "value", bytes, 0);
    put_and_get(other, 100000);
    /* And the first gets everything once it reads again. */
    uint64_t payload;
    uint8_t *back = malloc(bytes);
    assert_non_null(back);
    assert_int_equal(recv_status(stuck, &payload), IST_OK);
    recv_all(stuck, back, bytes);
    assert_memory_equal(back, value, bytes);
    free(back);
    free(value);
    close(stuck);
    close(other);
}

static void test_recv__connect_without_a_device__refused_and_the_session_goes_on(void **state) {
    (void)state;
    int client = client_new();
    hello(client);
    uint8_t body[256];
    for (uint64_t id = 2; id < 4; id++) {
        send_frame(client, IST_OP_CONNECT, id, body, 0, 0);
        struct ist_frame frame = recv_frame(client, body, sizeof(body));
        struct ist_endpoint endpoint;
        assert_int_equal(frame.operation, IST_OP_CONNECT);
        assert_int_equal(frame.request_id, id);
        assert_int_equal(ist_codec_decode_endpoint(ist_span_of(body, frame.body_bytes), &endpoint),
                         IST_OK);
        assert_int_equal(endpoint.status, IST_DEVICE);
    }
    close(client);
}

static void test_recv__garbage__closed_and_others_stay(void **state) {
    (void)state;
    int good = client_new(), bad = client_new();
    hello(good);
    const char garbage[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_true(send(bad, garbage, sizeof(garbage), MSG_NOSIGNAL) > 0);
    assert_ended(bad);
    assert_int_equal(ist_tcp_connections(f.tcp), 1);
    put_and_get(good, 10);
    close(good);
    close(bad);
}

static void test_accept__more_sessions_than_the_engine_takes__closed_at_once(void **state) {
    (void)state;
    int clients[SESSIONS_MAX + 1];
    for (size_t i = 0; i <= SESSIONS_MAX; i++) {
        clients[i] = client_new();
    }
    assert_int_equal(ist_tcp_connections(f.tcp), SESSIONS_MAX);
    assert_ended(clients[SESSIONS_MAX]);
    close(clients[0]);
    turn();
    assert_int_equal(ist_tcp_connections(f.tcp), SESSIONS_MAX - 1);
    for (size_t i = 1; i <= SESSIONS_MAX; i++) {
        close(clients[i]);
    }
}

static void test_run_changed__engine_drains__idle_connections_end(void **state) {
    (void)state;
    int client = client_new();
    hello(client);
    ist_engine_drain(f.engine, 0);
    ist_edge_run_changed(f.engine);
    assert_int_equal(ist_tcp_connections(f.tcp), 0);
    assert_ended(client);
    close(client);
}

static void test_accept__nth_allocation_fails__served_or_closed(void **state) {
    (void)state;
    uint64_t n = 1;
    bool served = false;
    for (; !served; n++) {
        assert_in_range(n, 1, 100);
        f.failing.calls = 0;
        f.failing.fail_at = n;
        int client = client_new();
        served = f.failing.calls < n && ist_tcp_connections(f.tcp) == 1;
        f.failing.fail_at = 0;
        if (ist_tcp_connections(f.tcp) == 0) {
            assert_ended(client);
        }
        close(client);
        turn();
        assert_int_equal(ist_tcp_connections(f.tcp), 0);
    }
    assert_true(n > 2); /* at least the connection's own and the session's were tried */
}

static void test_free__connections_in_every_state__closed(void **state) {
    (void)state;
    int fresh = client_new(), open = client_new(), putting = client_new();
    hello(open);
    hello(putting);
    send_key(putting, IST_OP_PUT, "key", 1000, 1000);
    ist_tcp_free(f.tcp);
    f.tcp = NULL;
    uint8_t byte;
    assert_int_equal(recv(fresh, &byte, 1, 0), 0);
    assert_int_equal(recv(open, &byte, 1, 0), 0);
    assert_int_equal(recv(putting, &byte, 1, 0), 0);
    close(fresh);
    close(open);
    close(putting);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_accept__put_then_get_of_many_sizes__same_bytes),
        TEST(test_accept__over_tcp_more_than_a_turn__same_bytes),
        TEST(test_recv__more_than_a_turns_share_waits__a_turn_takes_its_share),
        TEST(test_recv__payload_with_a_rest_of_any_length__not_slept_through),
        TEST(test_recv__value_larger_than_the_pool__discarded_and_the_session_goes_on),
        TEST(test_recv__peer_gone_in_the_middle_of_a_put__no_trace),
        TEST(test_send__peer_gone_in_the_middle_of_a_get__pins_return),
        TEST(test_send__peer_stops_reading__others_are_served),
        TEST(test_recv__connect_without_a_device__refused_and_the_session_goes_on),
        TEST(test_recv__garbage__closed_and_others_stay),
        TEST(test_accept__more_sessions_than_the_engine_takes__closed_at_once),
        TEST(test_run_changed__engine_drains__idle_connections_end),
        TEST(test_accept__nth_allocation_fails__served_or_closed),
        TEST(test_free__connections_in_every_state__closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

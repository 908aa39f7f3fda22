/* Bytes that no client of ours would send: the daemon answers or hangs up, keeps no trace of them, and serves the
 * others as before. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/raw.h"

#define POOL "64M"

/* Somebody else is served, and nothing is left of what was tried. */
static void assert_unharmed(struct server *server, int other) {
    static const uint8_t value[1000] = {1, 2, 3};
    uint8_t got[sizeof(value)];
    uint64_t got_bytes = 0;
    assert_int_equal(raw_put(other, "other", value, sizeof(value)), IST_OK);
    assert_int_equal(raw_get(other, "other", got, sizeof(got), &got_bytes), IST_OK);
    assert_int_equal(got_bytes, sizeof(value));
    assert_memory_equal(got, value, sizeof(value));
    struct bytes purge = {0};
    raw_add_empty(&purge, RAW_PURGE, 11);
    assert_int_equal(raw_call(other, &purge, 11), IST_OK);
    bytes_free(&purge);
    assert_eventually(server_is_idle(server));
    assert_true(server_pool_bytes(server, "free") ==
                (uint64_t)server_metric(server, "infinistore_pool_size_bytes"));
}

/* The session must end; a last frame may come before that. */
static void assert_hangs_up(int fd) {
    struct raw_frame frame;
    struct raw_reply reply;
    while (raw_receive(fd, &frame)) {
        raw_reply_parse(&frame, &reply);
        assert_int_not_equal(reply.status, IST_OK);
        raw_frame_free(&frame);
    }
    raw_frame_free(&frame);
    close(fd);
}

static void test_garbage__any_bytes__session_ends(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char redis[] = "*1\r\n$4\r\nPING\r\n";
    static const uint8_t tls[] = {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3};
    static const uint8_t zero[64], almost[] = {'I', 'N', 'S', 'U'};
    uint8_t *noise = malloc(MIB);
    assert_non_null(noise);
    uint64_t seed = 1;
    for (size_t i = 0; i < MIB; i++) {
        noise[i] = (uint8_t)random_next(&seed);
    }
    const struct {
        const void *data;
        size_t count;
    } garbage[] = {{http, strlen(http)}, {redis, strlen(redis)},   {tls, sizeof(tls)},
                   {zero, sizeof(zero)}, {almost, sizeof(almost)}, {noise, MIB}};
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        for (int opened = 0; opened < 2; opened++) {
            int fd = opened ? raw_open(server->service[0]) : raw_connect(server->service[0]);
            (void)raw_send(fd, garbage[i].data, garbage[i].count);
            assert_hangs_up(fd);
        }
    }
    free(noise);
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

static void test_header__single_wrong_byte__session_ends(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    struct bytes ping = {0};
    raw_add_empty(&ping, RAW_PING, 1);
    /* magic, version, operation, flags, reserved */
    static const size_t places[] = {0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int fd = raw_open(server->service[0]);
        uint8_t before = ping.data[places[i]];
        ping.data[places[i]] = 0x80;
        (void)raw_send(fd, ping.data, ping.count);
        ping.data[places[i]] = before;
        assert_hangs_up(fd);
    }
    bytes_free(&ping);
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

static void test_header__body_of_4_gib__refused_without_memory(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    assert_int_equal(raw_ping(other), IST_OK);
    uint64_t before = server_memory_bytes(server, "VmSize");
    for (unsigned operation = RAW_PUT; operation <= RAW_PING; operation++) {
        int fd = raw_open(server->service[0]);
        struct bytes request = {0};
        raw_add_header(&request, operation, 0, 5, UINT32_MAX, 0);
        (void)raw_send(fd, request.data, request.count);
        bytes_free(&request);
        assert_hangs_up(fd);
    }
    /* before a HELLO, even a kilobyte is too much */
    int stranger = raw_connect(server->service[0]);
    struct bytes hello = {0};
    raw_add_header(&hello, RAW_HELLO, 0, 5, 1024, 0);
    (void)raw_send(stranger, hello.data, hello.count);
    bytes_free(&hello);
    assert_hangs_up(stranger);
    uint64_t after = server_memory_bytes(server, "VmSize");
    assert_true(after < before + 64 * MIB);
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

/* A body that is announced but trickles takes memory only as it comes. */
static void test_header__largest_body_announced_by_many__memory_follows_the_bytes(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    assert_int_equal(raw_ping(other), IST_OK);
    uint64_t before = server_memory_bytes(server, "VmRSS");
    enum { MANY = 100 };
    int fds[MANY];
    struct bytes request = {0};
    raw_add_header(&request, RAW_EXISTS, 0, 5, 72u << 20, 0);
    raw_add_varint(&request, 1 << 3 | 2);
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = raw_open(server->service[0]);
        assert_true(raw_send(fds[i], request.data, request.count));
    }
    bytes_free(&request);
    assert_int_equal(raw_ping(other), IST_OK);
    if (daemon_memory_is_true()) {
        assert_true(server_memory_bytes(server, "VmRSS") < before + MANY * 256 * KIB);
    }
    for (size_t i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

static void put_frame(struct bytes *out, uint8_t *value, size_t value_bytes) {
    memset(value, 0xab, value_bytes);
    raw_add_put(out, 3, 0, "cut", value, value_bytes);
}

static void test_put__cut_after_every_byte__no_trace(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    uint8_t value[200];
    struct bytes frame = {0};
    put_frame(&frame, value, sizeof(value));
    for (size_t cut = 0; cut < frame.count; cut++) {
        int fd = raw_open(server->service[0]);
        assert_true(raw_send(fd, frame.data, cut));
        if (cut % 2 == 0) {
            close(fd);
        } else {
            raw_close_hard(fd);
        }
    }
    bytes_free(&frame);
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 1);
    assert_false(raw_exists(other, "cut"));
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

static void test_put__cut_in_a_large_value__no_trace(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    size_t value_bytes = 8 * MIB;
    uint8_t *value = malloc(value_bytes);
    assert_non_null(value);
    struct bytes frame = {0};
    put_frame(&frame, value, value_bytes);
    const size_t cuts[] = {100, 4095, 65536, MIB + 1, value_bytes / 2, frame.count - 1};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        int fd = raw_open(server->service[0]);
        assert_true(raw_send(fd, frame.data, cuts[i]));
        if (i % 2 == 0) {
            close(fd);
        } else {
            raw_close_hard(fd);
        }
        assert_false(raw_exists(other, "cut"));
    }
    free(value);
    bytes_free(&frame);
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 1);
    assert_false(raw_exists(other, "cut"));
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

/* An overwrite that never ends leaves the value that was there. */
static void test_put__client_killed_half_way__old_value_stays(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    static const uint8_t old[1000] = {9};
    assert_int_equal(raw_put(other, "cut", old, sizeof(old)), IST_OK);
    size_t value_bytes = 16 * MIB;
    uint8_t *value = malloc(value_bytes);
    assert_non_null(value);
    struct bytes frame = {0};
    put_frame(&frame, value, value_bytes);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = raw_open(server->service[0]);
        bool sent = raw_send(fd, frame.data, frame.count / 2);
        if (write(ready[1], &sent, 1) == 1) {
            pause();
        }
        _exit(0);
    }
    uint8_t sent = 0;
    assert_int_equal(read(ready[0], &sent, 1), 1);
    assert_int_equal(sent, 1);
    assert_eventually(server_pool_bytes(server, "reserved") > 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ready[0]);
    close(ready[1]);
    free(value);
    bytes_free(&frame);
    assert_eventually(server_pool_bytes(server, "reserved") == 0);
    uint8_t got[sizeof(old)];
    uint64_t got_bytes = 0;
    assert_int_equal(raw_get(other, "cut", got, sizeof(got), &got_bytes), IST_OK);
    assert_int_equal(got_bytes, sizeof(old));
    assert_memory_equal(got, old, sizeof(old));
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

/* The status of the only key; *count: of the reply. */
static enum ist_status call_keys(int fd, unsigned operation, struct bytes *body, const void *payload,
                                 uint64_t payload_bytes, uint64_t *count) {
    struct bytes request = {0};
    raw_add_header(&request, operation, 0, 21, (uint32_t)body->count, payload_bytes);
    bytes_add(&request, body->data, body->count);
    bytes_add(&request, payload, payload_bytes);
    bytes_free(body);
    assert_true(raw_send(fd, request.data, request.count));
    bytes_free(&request);
    struct raw_frame frame;
    struct raw_reply reply;
    assert_true(raw_receive(fd, &frame));
    assert_int_equal(frame.id, 21);
    raw_reply_parse(&frame, &reply);
    assert_int_equal(reply.status, IST_OK);
    enum ist_status status = reply.key_count == 0 ? IST_OK : (enum ist_status)reply.key_status[0];
    *count = reply.count;
    raw_frame_free(&frame);
    return status;
}

/* PUT, GET and EXISTS say so; what only counts keys does not count it. */
static void test_keys__outside_their_limits__clear_answer(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int fd = raw_open(server->service[0]);
    uint8_t *key = calloc(1, MIB);
    assert_non_null(key);
    static const size_t key_bytes[] = {0, 1025, MIB};
    const uint64_t one = 1;
    uint64_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        for (unsigned operation = RAW_PUT; operation <= RAW_REMOVE; operation++) {
            struct bytes body = {0};
            raw_add_key(&body, key, key_bytes[i]);
            bool with_length = operation == RAW_PUT || operation == RAW_GET;
            if (with_length) {
                raw_add_lengths(&body, &one, 1);
            }
            enum ist_status expected = with_length || operation == RAW_EXISTS ? IST_INVALID : IST_OK;
            assert_int_equal(call_keys(fd, operation, &body, "x", operation == RAW_PUT ? 1 : 0, &count),
                             expected);
            assert_int_equal(count, 0);
        }
    }
    free(key);
    /* the longest key is good */
    uint8_t longest[1024];
    memset(longest, 0, sizeof(longest));
    struct bytes body = {0};
    raw_add_key(&body, longest, sizeof(longest));
    raw_add_lengths(&body, &one, 1);
    assert_int_equal(call_keys(fd, RAW_PUT, &body, "x", 1, &count), IST_OK);
    assert_unharmed(server, fd);
    close(fd);
    server_stop(server);
}

static void test_put__value_of_0_bytes__invalid(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int fd = raw_open(server->service[0]);
    assert_int_equal(raw_put(fd, "empty", NULL, 0), IST_INVALID);
    assert_false(raw_exists(fd, "empty"));
    assert_unharmed(server, fd);
    close(fd);
    server_stop(server);
}

static void test_hello__missing_or_twice_or_of_no_common_version__session_ends(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int other = raw_open(server->service[0]);
    struct bytes request = {0};
    raw_add_put(&request, 1, 0, "early", "x", 1);
    int fd = raw_connect(server->service[0]);
    (void)raw_send(fd, request.data, request.count);
    assert_hangs_up(fd);
    assert_false(raw_exists(other, "early"));
    bytes_free(&request);
    raw_add_hello(&request, 1, 1);
    fd = raw_open(server->service[0]);
    (void)raw_send(fd, request.data, request.count);
    assert_hangs_up(fd);
    bytes_free(&request);
    raw_add_hello(&request, 2, 7);
    fd = raw_connect(server->service[0]);
    (void)raw_send(fd, request.data, request.count);
    struct raw_frame frame;
    struct raw_reply reply;
    assert_true(raw_receive_head(fd, &frame));
    assert_true(frame.body_bytes >= 2 && frame.body[0] == 1 << 3 && frame.body[1] == IST_PROTOCOL);
    raw_frame_free(&frame);
    (void)reply;
    assert_hangs_up(fd);
    bytes_free(&request);
    assert_unharmed(server, other);
    close(other);
    server_stop(server);
}

/* A client that asks and asks and reads only afterwards gets every answer. */
static void test_pipeline__beyond_every_limit__all_answered(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int fd = raw_open(server->service[0]), other = raw_open(server->service[0]);
    size_t value_bytes = 256 * KIB;
    uint8_t *value = malloc(value_bytes);
    assert_non_null(value);
    memset(value, 0x5a, value_bytes);
    assert_int_equal(raw_put(fd, "key", value, value_bytes), IST_OK);
    uint64_t before = server_memory_bytes(server, "VmRSS");
    struct bytes requests = {0};
    enum { COUNT = 3000 }; /* the session's limit is 1,024 */
    size_t count = daemon_is_slow() ? COUNT / 10 : COUNT;
    for (size_t i = 0; i < count; i++) {
        raw_add_get(&requests, 1000 + i, "key", value_bytes);
    }
    assert_true(raw_send(fd, requests.data, requests.count));
    assert_int_equal(raw_ping(other), IST_OK);
    if (daemon_memory_is_true()) {
        assert_true(server_memory_bytes(server, "VmRSS") < before + 4 * MIB);
    }
    bool *answered = calloc(count, sizeof(*answered));
    assert_non_null(answered);
    for (size_t i = 0; i < count; i++) {
        struct raw_frame frame;
        assert_true(raw_receive(fd, &frame));
        assert_true(frame.id >= 1000 && frame.id < 1000 + count);
        assert_false(answered[frame.id - 1000]);
        answered[frame.id - 1000] = true;
        assert_int_equal(frame.payload_bytes, value_bytes);
        assert_memory_equal(frame.payload, value, value_bytes);
        raw_frame_free(&frame);
    }
    free(answered);
    free(value);
    bytes_free(&requests);
    assert_unharmed(server, other);
    close(fd);
    close(other);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_garbage__any_bytes__session_ends),
        integration_test(test_header__single_wrong_byte__session_ends),
        integration_test(test_header__body_of_4_gib__refused_without_memory),
        integration_test(test_header__largest_body_announced_by_many__memory_follows_the_bytes),
        integration_test(test_put__cut_after_every_byte__no_trace),
        integration_test(test_put__cut_in_a_large_value__no_trace),
        integration_test(test_put__client_killed_half_way__old_value_stays),
        integration_test(test_keys__outside_their_limits__clear_answer),
        integration_test(test_put__value_of_0_bytes__invalid),
        integration_test(test_hello__missing_or_twice_or_of_no_common_version__session_ends),
        integration_test(test_pipeline__beyond_every_limit__all_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

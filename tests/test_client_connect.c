/* The client over real sockets: connecting, without memory or descriptors, and losing the connection. The server is a
 * fake. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/client.h"
#include "tests/client_calls.h"

/* ---- connecting --------------------------------------------------------------------------------------------- */

#define SILENT_NS (200 * MS) /* what a test waits for who never answers */
#define GOOD_ONES 8u         /* who answers may be that slow, too: one of so many is not */

/* A port of loopback where nobody listens; the socket keeps it so. */
static int closed_port(char *endpoint, size_t bytes) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &length), 0);
    snprintf(endpoint, bytes, "127.0.0.1:%u", ntohs(in.sin_port));
    return fd;
}

struct failing {
    enum fake_way way;
    uint64_t timeout_ns;
    enum ist_status status;
    const char *cause;
};

static void test_new__nobody_usable__status_and_cause(void **state) {
    (void)state;
    static const struct failing cases[] = {
        {FAKE_CLOSE, PATIENCE_NS, IST_PEER, ""}, /* or resets it */
        {FAKE_GARBAGE, PATIENCE_NS, IST_PROTOCOL, "no InfiniStore"},
        {FAKE_OLD, PATIENCE_NS, IST_PROTOCOL, "another version"},
        {FAKE_SILENT, SILENT_NS, IST_TIMEOUT, "no answer in time"},
    };
    struct ist_client *client = (struct ist_client *)1;
    char error[200];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake *fake = start_one(cases[i].way);
        assert_int_equal(open_client(fake_endpoint(fake), cases[i].timeout_ns, &client, error),
                         cases[i].status);
        assert_non_null(strstr(error, fake_endpoint(fake)));
        assert_non_null(strstr(error, cases[i].cause));
        assert_ptr_equal(client, (void *)1);
        fake_stop(fake);
    }
    char endpoint[64];
    int fd = closed_port(endpoint, sizeof(endpoint));
    assert_int_equal(open_client(endpoint, PATIENCE_NS, &client, error), IST_PEER);
    assert_non_null(strstr(error, endpoint));
    assert_non_null(strstr(error, strerror(ECONNREFUSED)));
    close(fd);
    assert_int_equal(open_client("unix:/nonexistent/socket", PATIENCE_NS, &client, error), IST_PEER);
    assert_non_null(strstr(error, strerror(ENOENT)));
    /* Whoever is asked about it may take his time, the client does not. */
    enum ist_status status = open_client("no.such.host.invalid:1", 300 * MS, &client, error);
    assert_true(status == IST_PEER || status == IST_TIMEOUT);
    assert_non_null(strstr(error, "no.such.host.invalid:1: "));
    assert_int_equal(open_client("127.0.0.1:0", PATIENCE_NS, &client, error), IST_INVALID);
    assert_non_null(strstr(error, "127.0.0.1:0"));
    assert_int_equal(ist_client_new(&(struct ist_client_options){.endpoints = "x:y"}, &client, NULL, 0),
                     IST_INVALID);
    assert_int_equal(
        ist_client_new(&(struct ist_client_options){.endpoints = "x:y"}, &client, error, 4),
        IST_INVALID);
    assert_string_equal(error, "end");
}

/* The server may come to take a connection when the client has given it up already. */
static void wait_for_connections(struct fake *fake, size_t count) {
    uint64_t until_ns = ist_client_now_ns() + PATIENCE_NS;
    while (fake_connections(fake) < count) {
        assert_true(ist_client_now_ns() < until_ns);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(fake_connections(fake), count);
}

static void test_new__several_endpoints__first_usable_one(void **state) {
    (void)state;
    static const struct {
        enum fake_way way;
        uint64_t share_ns; /* of the time, until the next endpoint is tried */
        enum ist_status status;
    } bad_ones[] = {{FAKE_CLOSE, PATIENCE_NS, IST_PEER},
                    {FAKE_GARBAGE, PATIENCE_NS, IST_PROTOCOL},
                    {FAKE_SILENT, SILENT_NS, IST_TIMEOUT}};
    struct fake *good = start_one(FAKE_GOOD);
    char closed[64], endpoints[600], error[200];
    int fd = closed_port(closed, sizeof(closed));
    for (size_t i = 0; i < 3; i++) {
        struct fake *bad = start_one(bad_ones[i].way);
        struct ist_client *client;
        snprintf(endpoints, sizeof(endpoints), "%s, %s", closed, fake_endpoint(bad));
        for (unsigned more = 0; more < GOOD_ONES; more++) {
            size_t used = strlen(endpoints);
            snprintf(endpoints + used, sizeof(endpoints) - used, ",%s", fake_endpoint(good));
        }
        assert_int_equal(open_client(endpoints, (1 + GOOD_ONES) * bad_ones[i].share_ns, &client, error),
                         IST_OK);
        assert_int_equal(ist_ping(client, 0), IST_OK);
        char endpoint[64], cut[4];
        ist_client_endpoint(client, endpoint, sizeof(endpoint));
        assert_string_equal(endpoint, fake_endpoint(good));
        ist_client_endpoint(client, cut, sizeof(cut));
        assert_string_equal(cut, "127");
        wait_for_connections(bad, 1);
        ist_client_free(client);
        snprintf(endpoints, sizeof(endpoints), "%s,%s", closed, fake_endpoint(bad));
        assert_int_equal(open_client(endpoints, bad_ones[i].share_ns, &client, error),
                         bad_ones[i].status);
        assert_non_null(strstr(error, closed)); /* each with its own cause */
        assert_non_null(strstr(error, fake_endpoint(bad)));
        assert_null(strchr(error, '\n'));
        fake_stop(bad);
    }
    close(fd);
    fake_stop(good);
}

static void test_new__v6_local_socket_and_name__connected(void **state) {
    (void)state;
    const enum fake_way good = FAKE_GOOD;
    char path[64], endpoint[80], error[200];
    struct ist_client *client;
    char directory[] = "/tmp/ist-test-client-XXXXXX";
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/socket", directory);
    struct fake *local = fake_start(&good, 1, AF_UNIX, path);
    client = client_of(local);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    fake_stop(local);
    unlink(path);
    assert_int_equal(rmdir(directory), 0);
    struct fake *v4 = start_one(FAKE_GOOD);
    snprintf(endpoint, sizeof(endpoint), "localhost:%u", fake_port(v4)); /* perhaps tries ::1 first */
    assert_int_equal(open_client(endpoint, PATIENCE_NS, &client, error), IST_OK);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    fake_stop(v4);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_v6 = fd >= 0 && bind(fd, (struct sockaddr *)&in6, sizeof(in6)) == 0;
    close(fd);
    if (has_v6) {
        struct fake *v6 = fake_start(&good, 1, AF_INET6, NULL);
        client = client_of(v6);
        assert_int_equal(ist_ping(client, 0), IST_OK);
        ist_client_free(client);
        fake_stop(v6);
    }
}

/* Whichever allocation fails: an answer, and no leak. */
static void test_memory__nth_allocation_fails__no_memory(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    const struct ist_client_options options = {.endpoints = fake_endpoint(fake)};
    uint64_t failed = 0;
    for (uint64_t fail_at = 1; failed + 1 >= fail_at; fail_at++) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, fail_at);
        struct ist_client *client;
        char error[100] = "";
        enum ist_status status =
            ist_client_new_with(&options, &failing.alloc, &client, error, sizeof(error));
        if (status == IST_OK) {
            char value[10], got[10];
            struct ist_put_item put = {
                .key = key_of("10"), .value = memset(value, 1, 10), .value_bytes = 10};
            struct ist_get_item get = {.key = key_of("10"), .buffer = got, .buffer_bytes = 10};
            struct ist_metrics *metrics = NULL;
            enum ist_status answers[3] = {ist_put(client, &put, 1, 0, 0), ist_get(client, &get, 1, 0),
                                          ist_stat(client, &metrics, 0)};
            assert_int_equal(put.status, answers[0]);
            assert_int_equal(get.status, answers[1]);
            for (size_t i = 0; i < 3; i++) {
                assert_true(answers[i] == IST_OK || answers[i] == IST_NO_MEMORY);
                failed += answers[i] == IST_NO_MEMORY;
            }
            ist_metrics_free(metrics);
            ist_client_free(client);
        } else {
            assert_int_equal(status, IST_NO_MEMORY);
            assert_true(error[0] != '\0');
            failed++;
        }
        assert_int_equal(failing.live, 0);
    }
    assert_true(failed > 6);
    fake_stop(fake);
}

static void test_descriptors__none_left__no_memory_or_peer(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_CLOSE_LATER);
    struct ist_client *client = client_of(fake), *another;
    struct rlimit before, none;
    char error[200];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int first_free = dup(ist_client_fd(client));
    close(first_free);
    for (int extra = 0; extra <= 3; extra++) {
        none = before;
        none.rlim_cur =
            (rlim_t)(first_free + extra); /* enough for `extra` of its three and the socket */
        setrlimit(RLIMIT_NOFILE, &none);
        assert_int_equal(open_client(fake_endpoint(fake), PATIENCE_NS, &another, error),
                         extra < 3 ? IST_NO_MEMORY : IST_PEER);
        assert_non_null(strstr(error, strerror(EMFILE)));
    }
    assert_int_equal(ist_ping(client, 0), IST_PEER); /* its connection is gone */
    none.rlim_cur = (rlim_t)3;
    setrlimit(RLIMIT_NOFILE, &none);
    assert_int_equal(ist_ping(client, 0), IST_PEER);
    setrlimit(RLIMIT_NOFILE, &before);
    ist_client_free(client);
    fake_stop(fake);
}

/* ---- the connection is lost ------------------------------------------------------------------------------------ */

static void test_loss__requests_in_flight__peer_then_a_new_session(void **state) {
    (void)state;
    static const enum fake_way ways[] = {FAKE_CLOSE_LATER, FAKE_CLOSE_HALF, FAKE_LIAR, FAKE_GOOD};
    struct fake *fake = fake_start(ways, 4, AF_INET, NULL);
    struct ist_client *client = client_of(fake);
    uint8_t buffer[40000];
    struct ist_get_item item = {.key = key_of("40000"), .buffer = buffer, .buffer_bytes = 40000};
    for (uint64_t i = 0; i < 3; i++) {
        struct waiting waiting = {0};
        assert_int_equal(ist_get_async(client, &item, 1, 0, on_done, &waiting), IST_OK);
        assert_int_equal(waiting.calls, 0); /* never within the submit */
        process_until(client, &waiting.calls, 1);
        assert_int_equal(waiting.status, i == 2 ? IST_PROTOCOL : IST_PEER);
        assert_int_equal(item.status, waiting.status);
        assert_int_equal(ist_client_incarnation(client), 0);
        assert_int_equal(fake_connections(fake), i + 1);
        assert_quiet(client);
    }
    assert_int_equal(ist_get(client, &item, 1, 0), IST_OK);
    check_value(buffer, 40000);
    assert_int_equal(ist_client_incarnation(client), 1003);
    ist_client_free(client);
    fake_stop(fake);
}

static void test_loss__nobody_there_then_somebody__peer_at_once_then_ok(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {0};
    uint16_t port = fake_port(fake);
    fake_stop(fake);
    uint64_t begin_ns = ist_client_now_ns();
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(ist_ping(client, 0), IST_PEER);
    }
    assert_int_equal(ist_ping_async(client, 0, on_done, &waiting), IST_OK);
    assert_int_equal(waiting.calls, 0);
    process_until(client, &waiting.calls, 1);
    assert_int_equal(waiting.status, IST_PEER);
    assert_true(ist_client_now_ns() - begin_ns < PATIENCE_NS / 2);
    assert_quiet(client);
    const enum fake_way good = FAKE_GOOD;
    fake = fake_start_at(&good, 1, port);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

/* The submit does not wait for a server that does not answer; the descriptor tells when it is over. */
static void test_reconnect__server_silent__submit_returns_and_peer_in_time(void **state) {
    (void)state;
    static const enum fake_way ways[] = {FAKE_CLOSE_LATER, FAKE_SILENT, FAKE_GOOD};
    struct fake *fake = fake_start(ways, 3, AF_INET, NULL);
    struct ist_client *client;
    char error[200];
    assert_int_equal(open_client(fake_endpoint(fake), 1000 * MS, &client, error), IST_OK);
    assert_int_equal(ist_ping(client, 0), IST_PEER);
    struct waiting first = {0}, second = {0};
    uint64_t begin_ns = ist_client_now_ns();
    assert_int_equal(ist_ping_async(client, 0, on_done, &first), IST_OK);
    assert_int_equal(ist_ping_async(client, 50 * MS, on_done, &second), IST_OK);
    process_until(client, &second.calls, 1);
    assert_int_equal(second.status, IST_TIMEOUT); /* its own time was shorter */
    assert_int_equal(first.calls, 0);
    process_until(client, &first.calls, 1);
    assert_int_equal(first.status, IST_PEER);
    assert_true(ist_client_now_ns() - begin_ns >= 1000 * MS);
    assert_quiet(client);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

/* A lost connection is seen by who waits for the descriptor, also when nothing was asked. */
static void test_loss__idle__seen_and_next_call_connects(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    uint16_t port = fake_port(fake);
    fake_stop(fake);
    struct pollfd polled = {.fd = ist_client_fd(client), .events = POLLIN};
    assert_int_equal(poll(&polled, 1, (int)(PATIENCE_NS / MS)), 1);
    assert_int_equal(ist_client_process(client), 0);
    assert_int_equal(ist_client_incarnation(client), 0);
    assert_quiet(client);
    const enum fake_way good = FAKE_GOOD;
    fake = fake_start_at(&good, 1, port);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

/* After a while of silence a blocking call looks first, and the restart of a server costs no request. */
static void test_loss__unseen_for_a_while__next_call_connects_and_is_answered(void **state) {
    (void)state;
    const enum fake_way good = FAKE_GOOD;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    uint16_t port = fake_port(fake);
    fake_stop(fake);
    fake = fake_start_at(&good, 1, port);
    (void)poll(NULL, 0, 120); /* as long as the client takes for a while */
    assert_int_equal(ist_ping(client, 0), IST_OK);
    assert_int_equal(fake_connections(fake), 1);
    ist_client_free(client);
    fake_stop(fake);
}

/* Of a child that was forked: what belongs to the server is closed, or its end would not be seen. */
static void close_servers_sockets(uint16_t port) {
    for (int fd = 0; fd < 1000; fd++) {
        struct sockaddr_in address = {0};
        socklen_t bytes = sizeof(address);
        if (getsockname(fd, (struct sockaddr *)&address, &bytes) == 0 &&
            ntohs(address.sin_port) == port) {
            close(fd);
        }
    }
}

static void test_loss__a_child_has_the_socket_open__descriptor_is_quiet(void **state) {
    (void)state;
    static const enum fake_way ways[] = {FAKE_CLOSE_LATER, FAKE_GOOD};
    struct fake *fake = fake_start(ways, 2, AF_INET, NULL);
    struct ist_client *client = client_of(fake);
    int pipes[2][2];
    char byte = 0;
    assert_true(pipe(pipes[0]) == 0 && pipe(pipes[1]) == 0);
    pid_t child = fork();
    if (child == 0) {
        close_servers_sockets(fake_port(fake));
        close(pipes[1][1]); /* the end of the other process is the end of this */
        bool lives = write(pipes[0][1], &byte, 1) == 1 && read(pipes[1][0], &byte, 1) == 1;
        _exit(lives); /* is killed before */
    }
    assert_true(child > 0);
    assert_int_equal(read(pipes[0][0], &byte, 1), 1);
    struct waiting waiting = {0};
    assert_int_equal(ist_ping_async(client, 0, on_done, &waiting), IST_OK);
    process_until(client, &waiting.calls, 1);
    assert_int_equal(waiting.status, IST_PEER);
    assert_quiet(client);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    assert_quiet(client);
    int status;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status)); /* it had it open until now */
    for (unsigned i = 0; i < 4; i++) {
        close(pipes[i / 2][i % 2]);
    }
    ist_client_free(client);
    fake_stop(fake);
}

static size_t open_descriptors(void) {
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* What watches the socket is shared with the child, which must not end that. */
static void test_free__in_a_child__closes_and_leaves_the_parents_session_alone(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {0};
    assert_int_equal(ist_ping_async(client, 0, on_done, &waiting), IST_OK);
    process_until(client, &waiting.calls, 1);
    pid_t child = fork();
    if (child == 0) {
        size_t opened = open_descriptors();
        ist_client_free(client);
        _exit(opened - open_descriptors() >= 4 ? 0 : 1); /* the socket, and three for who waits */
    }
    assert_true(child > 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(ist_ping_async(client, PATIENCE_NS / 2, on_done, &waiting), IST_OK);
    struct pollfd polled = {.fd = ist_client_fd(client), .events = POLLIN};
    uint64_t begin_ns = ist_client_now_ns();
    while (waiting.calls < 2) {
        assert_int_equal(poll(&polled, 1, (int)(PATIENCE_NS / MS)), 1);
        (void)ist_client_process(client);
    }
    /* Its answer woke us, not its deadline. */
    assert_true(ist_client_now_ns() - begin_ns < PATIENCE_NS / 2);
    assert_int_equal(waiting.status, IST_OK);
    assert_int_equal(fake_connections(fake), 1);
    ist_client_free(client);
    fake_stop(fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new__nobody_usable__status_and_cause),
        cmocka_unit_test(test_new__several_endpoints__first_usable_one),
        cmocka_unit_test(test_new__v6_local_socket_and_name__connected),
        cmocka_unit_test(test_memory__nth_allocation_fails__no_memory),
        cmocka_unit_test(test_descriptors__none_left__no_memory_or_peer),
        cmocka_unit_test(test_loss__requests_in_flight__peer_then_a_new_session),
        cmocka_unit_test(test_loss__nobody_there_then_somebody__peer_at_once_then_ok),
        cmocka_unit_test(test_reconnect__server_silent__submit_returns_and_peer_in_time),
        cmocka_unit_test(test_loss__idle__seen_and_next_call_connects),
        cmocka_unit_test(test_loss__a_child_has_the_socket_open__descriptor_is_quiet),
        cmocka_unit_test(test_free__in_a_child__closes_and_leaves_the_parents_session_alone),
        cmocka_unit_test(test_loss__unseen_for_a_while__next_call_connects_and_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

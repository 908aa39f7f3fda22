/* The manage port: every page, who may change something, and requests that are none. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/program.h"
#include "tests/integration/raw.h"
#include "tests/integration/values.h"

#define POOL "64M"

static int status_of(const struct server *server, const char *method, const char *path) {
    struct http_reply reply;
    http_request(server, method, path, "", &reply);
    int status = reply.status;
    http_free(&reply);
    return status;
}

static void assert_status(const struct server *server, const char *method, const char *path,
                          int expected) {
    struct http_reply reply;
    http_request(server, method, path, "", &reply);
    if (reply.status != expected) {
        fail_msg("%s %.60s: %d, not %d: %.200s", method, path, reply.status, expected, reply.text);
    }
    http_free(&reply);
}

static void test_pages__each__right_status(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    static const char *const gets[] = {"/selftest", "/kvmap_len", "/stats", "/metrics", "/health"};
    static const char *const posts[] = {"/purge", "/evict"};
    for (size_t i = 0; i < 5; i++) {
        assert_status(server, "GET", gets[i], 200);
        assert_status(server, "POST", gets[i], 405);
        assert_status(server, "DELETE", gets[i], 405);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_status(server, "POST", posts[i], 200);
        assert_status(server, "GET", posts[i], 405);
        assert_status(server, "PUT", posts[i], 405);
    }
    assert_status(server, "GET", "/", 404);
    assert_status(server, "GET", "/metricsx", 404);
    assert_status(server, "GET", "/metrics/", 404);
    assert_status(server, "GET", "/../metrics", 404);
    assert_status(server, "POST", "/nothing", 404);
    char path[20001];
    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_status(server, "GET", path, 414);
    path[3000] = '\0';
    assert_status(server, "GET", path, 414);
    server_stop(server);
}

static void test_kvmap_len_and_purge__some_keys__counted(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    for (unsigned i = 0; i < 10; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%u", i);
        assert_int_equal(put_value(client, key, i, 4 * MIB, 0), IST_OK);
    }
    struct http_reply reply;
    http_request(server, "GET", "/kvmap_len", "", &reply);
    assert_non_null(strstr(reply.body, "10"));
    http_free(&reply);
    http_request(server, "POST", "/purge", "", &reply);
    assert_int_equal(reply.status, 200);
    http_free(&reply);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 0);
    assert_int_equal(server_pool_bytes(server, "free"), 64 * MIB);
    ist_client_free(client);
    server_stop(server);
}

static void test_stats__some_work__valid_json(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    struct http_reply reply;
    http_request(server, "GET", "/stats", "", &reply);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.text, "application/json"));
    json_error_t error;
    json_t *json = json_loads(reply.body, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fail_msg("%s at %d: %s", error.text, error.position, reply.body);
    }
    json_decref(json);
    http_free(&reply);
    ist_client_free(client);
    server_stop(server);
}

static void test_metrics__some_work__promtool_finds_nothing_wrong(void **state) {
    (void)state;
    const char *promtool = getenv("PROMTOOL");
    promtool = promtool == NULL || promtool[0] == '\0' ? "promtool" : promtool;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    uint64_t version;
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    assert_int_equal(get_value(client, "key", MIB, &version), IST_OK);
    assert_int_equal(get_value(client, "none", MIB, &version), IST_NOT_FOUND);
    assert_true(remove_key(client, "key"));
    struct http_reply reply;
    http_request(server, "GET", "/metrics", "", &reply);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.text, "text/plain; version=0.0.4"));
    const char *const arguments[] = {promtool, "check", "metrics", NULL};
    struct outcome outcome;
    program_run(&(const struct program){.arguments = arguments,
                                        .input = reply.body,
                                        .input_bytes = strlen(reply.body)},
                &outcome);
    bool there = outcome.code != 127;
    if (there && (outcome.code != 0 || outcome.err_bytes + outcome.out_bytes != 0)) {
        fail_msg("promtool: %d: %s%s", outcome.code, outcome.err, outcome.out);
    }
    outcome_free(&outcome);
    http_free(&reply);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 0);
    ist_client_free(client);
    server_stop(server);
    if (!there) {
        skip();
    }
}

static void test_selftest__serving__passes_and_leaves_nothing(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    for (unsigned i = 0; i < 3; i++) {
        struct http_reply reply;
        http_request(server, "GET", "/selftest", "", &reply);
        if (reply.status != 200) {
            fail_msg("selftest: %s", reply.text);
        }
        http_free(&reply);
    }
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 0);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 0);
    assert_int_equal(server_pool_bytes(server, "free"), 64 * MIB);
    server_stop(server);
}

static void test_evict__asked_for__frees_something(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    for (unsigned i = 0; i < 16; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%u", i);
        assert_int_equal(put_value(client, key, i, 4 * MIB, 0), IST_OK);
    }
    assert_int_equal(server_pool_bytes(server, "free"), 0);
    assert_status(server, "POST", "/evict", 200);
    assert_true(server_pool_bytes(server, "free") > 0);
    ist_client_free(client);
    server_stop(server);
}

/* ---- who may ----------------------------------------------------------------------------------- */

/* An IPv4 address of this machine that is not the loopback; false when it has none. */
static bool own_address(char *text, size_t bytes) {
    struct ifaddrs *all;
    bool found = false;
    assert_int_equal(getifaddrs(&all), 0);
    for (struct ifaddrs *one = all; one != NULL && !found; one = one->ifa_next) {
        if (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET ||
            (one->ifa_flags & IFF_LOOPBACK) != 0 || (one->ifa_flags & IFF_UP) == 0) {
            continue;
        }
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)one->ifa_addr;
        found = inet_ntop(AF_INET, &in->sin_addr, text, (socklen_t)bytes) != NULL;
    }
    freeifaddrs(all);
    return found;
}

static int post_with(const struct server *server, const char *headers) {
    struct http_reply reply;
    http_request(server, "POST", "/purge", headers, &reply);
    int status = reply.status;
    http_free(&reply);
    return status;
}

static void test_post__from_another_address__only_with_the_token(void **state) {
    (void)state;
    char host[64], token_file[] = "/tmp/ist-token-XXXXXX";
    if (!own_address(host, sizeof(host))) {
        skip();
    }
    int fd = mkstemp(token_file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a-good-secret-of-some-length\n", 29), 29);
    close(fd);
    const char *const open_options[] = {"--host", host, "--prealloc-size", POOL, NULL};
    struct server *server =
        server_start_with(&(const struct server_setup){.options = open_options, .any_host = true});
    assert_int_equal(status_of(server, "GET", "/metrics"), 200);
    assert_int_equal(post_with(server, ""), 403);
    server_stop(server);
    const char *const token_options[] = {
        "--host", host, "--prealloc-size", POOL, "--manage-token-file", token_file, NULL};
    server =
        server_start_with(&(const struct server_setup){.options = token_options, .any_host = true});
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "key", 1, 1000, 0), IST_OK);
    assert_int_equal(post_with(server, ""), 403);
    assert_int_equal(post_with(server, "Authorization: Bearer wrong\r\n"), 403);
    assert_int_equal(post_with(server, "Authorization: Bearer a-good-secret-of-some-lengt\r\n"), 403);
    assert_int_equal(post_with(server, "Authorization: Bearer \r\n"), 403);
    assert_true(has_key(client, "key"));
    assert_int_equal(post_with(server, "Authorization: Bearer a-good-secret-of-some-length\r\n"), 200);
    assert_false(has_key(client, "key"));
    ist_client_free(client);
    server_stop(server);
    unlink(token_file);
}

/* A browser that shows a stranger's page and a proxy come from the loopback, too. */
static void test_post__passed_on_by_a_local_program__only_with_the_token(void **state) {
    (void)state;
    char token_file[] = "/tmp/ist-token-XXXXXX";
    int fd = mkstemp(token_file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a-good-secret-of-some-length\n", 29), 29);
    close(fd);
    struct server *server = server_start("--prealloc-size", POOL, "--manage-token-file", token_file);
    static const char *const headers[] = {"Origin: http://elsewhere\r\n", "Origin: null\r\n",
                                          "X-Forwarded-For: 10.1.1.1\r\n",
                                          "Forwarded: for=10.1.1.1\r\n", "Via: 1.1 proxy\r\n"};
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        char with_token[128];
        snprintf(with_token, sizeof(with_token),
                 "%sAuthorization: Bearer a-good-secret-of-some-length\r\n", headers[i]);
        assert_int_equal(post_with(server, headers[i]), 403);
        assert_int_equal(post_with(server, with_token), 200);
    }
    assert_int_equal(post_with(server, ""), 200);
    server_stop(server);
    unlink(token_file);
}

/* ---- hostile ----------------------------------------------------------------------------------- */

static void test_requests__malformed__refused_and_next_one_served(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    static const char *const requests[] = {
        "GET\r\n\r\n",
        "\r\n\r\n\r\n",
        "GET /metrics\r\n\r\n",
        "GET /metrics HTTP/9.9\r\n\r\n",
        "POST /purge HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /purge HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /purge HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /purge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /purge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "POST /evict?bytes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "POST /evict?bytes=&=&&x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "GET /metrics?a=%zz&b=%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET %2fmetrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nConnection: close\r\nnocolon\r\n\r\n",
        "GET /metrics HTTP/1.1\r\n folded: x\r\nConnection: close\r\n\r\n",
        "GET http://elsewhere/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "INST\x01\x0a\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        int fd = raw_connect(server->manage[0]);
        (void)raw_send(fd, requests[i], strlen(requests[i]));
        shutdown(fd, SHUT_WR); /* what is incomplete stays so */
        (void)raw_read_to_end(fd);
        close(fd);
        assert_int_equal(status_of(server, "GET", "/health"), 200);
    }
    server_stop(server);
}

/* As `curl -d '{}'` sends it; the next request of the same connection is not taken for a part of it. */
static void test_post__with_a_body__read_and_ignored(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    static const char request[] = "POST /purge HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
                                  "GET /kvmap_len HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct http_reply reply;
    http_send(server, request, strlen(request), &reply);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.text, "{\"status\":\"ok\",\"num\":0}HTTP/1.1 200 "));
    assert_non_null(strstr(reply.text, "{\"len\":0}"));
    http_free(&reply);
    server_stop(server);
}

/* Two parsers could read these differently: nothing is done, and what follows is no request. */
static void test_requests__body_of_unclear_length__refused_and_nothing_done(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "key", 1, 1000, 0), IST_OK);
    static const struct {
        const char *headers;
        int status;
    } bad[] = {
        {"Content-Length: 1\r\nContent-Length: 2\r\n", 400},
        {"Content-Length: 0\r\nContent-Length: 0\r\n", 400},
        {"Content-Length: +1\r\n", 400},
        {"Content-Length: 0x1\r\n", 400},
        {"Content-Length: 1 1\r\n", 400},
        {"Content-Length: 20000\r\n", 413},
        {"Transfer-Encoding: chunked\r\n", 411},
        {"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 411},
        {"Transfer-Encoding: gzip\r\nContent-Length: 0\r\n", 411},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char request[400];
        int length = snprintf(request, sizeof(request),
                              "POST /purge HTTP/1.1\r\nHost: x\r\n%s\r\n"
                              "POST /purge HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                              bad[i].headers);
        struct http_reply reply;
        http_send(server, request, (size_t)length, &reply);
        if (reply.status != bad[i].status) {
            fail_msg("%s: %d, not %d", bad[i].headers, reply.status, bad[i].status);
        }
        http_free(&reply);
        assert_true(has_key(client, "key"));
    }
    ist_client_free(client);
    server_stop(server);
}

static void test_requests__oversized_or_random__refused_and_next_one_served(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    size_t room = 4 * MIB;
    char *bytes = malloc(room);
    assert_non_null(bytes);
    uint64_t before = server_memory_bytes(server, "VmRSS");
    /* a header that does not end */
    memset(bytes, 'h', room);
    memcpy(bytes, "GET /metrics HTTP/1.1\r\nX: ", 26);
    struct http_reply reply;
    http_send(server, bytes, room, &reply);
    assert_int_not_equal(reply.status, 200);
    http_free(&reply);
    /* very many headers */
    size_t used = (size_t)sprintf(bytes, "GET /metrics HTTP/1.1\r\n");
    while (used < room - 16) {
        used += (size_t)sprintf(bytes + used, "A: b\r\n");
    }
    http_send(server, bytes, used, &reply);
    assert_int_not_equal(reply.status, 200);
    http_free(&reply);
    /* a body for a page that takes none */
    memset(bytes, 'b', room);
    int length = sprintf(bytes,
                         "POST /purge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         room - 200);
    assert_true(length > 0);
    http_send(server, bytes, room, &reply);
    http_free(&reply);
    uint64_t seed = 3;
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < 4096; i++) {
            bytes[i] = (char)random_next(&seed);
        }
        int fd = raw_connect(server->manage[0]);
        (void)raw_send(fd, bytes, 4096);
        shutdown(fd, SHUT_WR);
        (void)raw_read_to_end(fd);
        close(fd);
    }
    free(bytes);
    assert_int_equal(status_of(server, "GET", "/health"), 200);
    if (daemon_memory_is_true()) {
        assert_true(server_memory_bytes(server, "VmRSS") < before + 4 * MIB);
    }
    server_stop(server);
}

/* The status of GET /health, asked from another address than the other connections come from. */
static int health_from_elsewhere(const struct server *server) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(strrchr(server->manage[0], ':') + 1, NULL, 10));
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    /* Not so long that the silent connections are given up, which they are after 10 seconds. */
    const struct timeval patience = {.tv_sec = 8};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    static const char request[] = "GET /health HTTP/1.0\r\n\r\n";
    char reply[64] = "";
    int status = 0;
    if (raw_send(fd, request, strlen(request)) && recv(fd, reply, sizeof(reply) - 1, MSG_WAITALL) > 0) {
        (void)sscanf(reply, "HTTP/1.%*1d %3d", &status);
    }
    close(fd);
    return status;
}

/* Connections that say nothing must not keep a probe or the service out, nor may they cost much. */
static void test_connections__many_silent__service_and_others_go_on(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    uint64_t before = server_memory_bytes(server, "VmRSS");
    enum { COUNT = 300 };
    int fds[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        fds[i] = raw_connect(server->manage[0]);
        (void)raw_send(fds[i], "GET /metr", i % 10);
    }
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    assert_int_equal(health_from_elsewhere(server), 200);
    if (daemon_memory_is_true()) {
        assert_true(server_memory_bytes(server, "VmRSS") < before + 8 * MIB);
    }
    for (size_t i = 0; i < COUNT; i++) {
        close(fds[i]);
    }
    assert_eventually(status_of(server, "GET", "/health") == 200);
    ist_client_free(client);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_pages__each__right_status),
        integration_test(test_kvmap_len_and_purge__some_keys__counted),
        integration_test(test_stats__some_work__valid_json),
        integration_test(test_metrics__some_work__promtool_finds_nothing_wrong),
        integration_test(test_selftest__serving__passes_and_leaves_nothing),
        integration_test(test_evict__asked_for__frees_something),
        integration_test(test_post__from_another_address__only_with_the_token),
        integration_test(test_post__passed_on_by_a_local_program__only_with_the_token),
        integration_test(test_post__with_a_body__read_and_ignored),
        integration_test(test_requests__malformed__refused_and_next_one_served),
        integration_test(test_requests__body_of_unclear_length__refused_and_nothing_done),
        integration_test(test_requests__oversized_or_random__refused_and_next_one_served),
        integration_test(test_connections__many_silent__service_and_others_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Many connections: idle ones, ones that vanish, and more than there are descriptors. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/raw.h"
#include "tests/integration/values.h"

#define POOL "64M"
#define IDLE_BYTES_MAX (32 * KIB)

static int more_descriptors(void **state) {
    (void)state;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* What a user is commonly allowed without asking leaves a daemon 832 sessions. */
static bool descriptors_are_few(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < 2048;
}

static void test_idle__1000_connections__32_kib_each_and_others_served(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "key", 1, 64 * KIB, 0), IST_OK);
    size_t count = daemon_is_slow() ? 100 : descriptors_are_few() ? 500 : 1000;
    int *fds = calloc(count, sizeof(*fds));
    assert_non_null(fds);
    uint64_t before = server_memory_bytes(server, "VmRSS"), got = 0;
    uint8_t *value = calloc(1, 64 * KIB);
    assert_non_null(value);
    for (size_t i = 0; i < count; i++) {
        fds[i] = raw_open(server->service[0]);
        /* idle, but not unused: what a session needed for its requests is given back, too */
        assert_int_equal(raw_get(fds[i], "key", value, 64 * KIB, &got), IST_OK);
        assert_int_equal(raw_put(fds[i], "mine", value, 20 * KIB), IST_OK);
    }
    free(value);
    uint64_t after = server_memory_bytes(server, "VmRSS");
    if (daemon_memory_is_true()) {
        print_message("           %.1f KiB per idle connection\n",
                      (double)(after - before) / (double)count / 1024);
        assert_true(after - before < count * IDLE_BYTES_MAX);
    }
    assert_int_equal(server_metric(server, "infinistore_sessions{transport=\"tcp\"}"), count + 1);
    uint64_t version = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(get_value(client, "key", 64 * KIB, &version), IST_OK);
    }
    for (size_t i = 0; i < count; i++) {
        close(fds[i]);
    }
    free(fds);
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 1);
    ist_client_free(client);
    server_stop(server);
}

/* Each in another way: before or after the handshake, in the middle of a header, a put, a get. */
static void vanish(const struct server *server, size_t way, const struct bytes *hello,
                   const struct bytes *put, const struct bytes *get) {
    int fd = raw_connect(server->service[0]);
    switch (way % 5) {
    case 0: break;
    case 1: (void)raw_send(fd, hello->data, hello->count); break;
    case 2: (void)raw_send(fd, hello->data, hello->count / 2); break;
    case 3:
        (void)raw_send(fd, hello->data, hello->count);
        (void)raw_send(fd, put->data, put->count / 2);
        break;
    case 4:
        (void)raw_send(fd, hello->data, hello->count);
        (void)raw_send(fd, get->data, get->count);
        break;
    }
    if (way / 5 % 2 == 0) {
        close(fd);
    } else {
        raw_close_hard(fd);
    }
}

static void test_vanish__10000_clients__nothing_left(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    size_t descriptors = server_descriptors(server);
    struct bytes hello = {0}, put = {0}, get = {0};
    static const uint8_t value[64 * KIB];
    raw_add_hello(&hello, 1, 1);
    raw_add_put(&put, 1, 0, "never", value, sizeof(value));
    raw_add_get(&get, 1, "key", MIB);
    size_t count = daemon_is_slow() ? 500 : 10000;
    uint64_t warm = 0;
    for (size_t i = 0; i < count; i++) {
        vanish(server, i, &hello, &put, &get);
        if (i == count / 2) {
            warm = server_memory_bytes(server, "VmRSS");
        }
    }
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 1);
    assert_eventually(server_is_idle(server));
    assert_eventually(server_descriptors(server) <= descriptors);
    if (daemon_memory_is_true()) {
        assert_true(server_memory_bytes(server, "VmRSS") < warm + MIB);
    }
    assert_false(has_key(client, "never"));
    uint64_t version = 0;
    assert_int_equal(get_value(client, "key", MIB, &version), IST_OK);
    bytes_free(&hello);
    bytes_free(&put);
    bytes_free(&get);
    ist_client_free(client);
    server_stop(server);
}

/* How busy it is while nobody asks for anything: seconds of CPU over half a second. */
static double idle_cpu_seconds(const struct server *server) {
    double before = server_cpu_seconds(server);
    poll(NULL, 0, 500);
    return server_cpu_seconds(server) - before;
}

static void test_descriptors__more_clients_than_there_are__no_spin_and_recovery(void **state) {
    (void)state;
    const char *const options[] = {"--prealloc-size", POOL, NULL};
    struct server *server =
        server_start_with(&(const struct server_setup){.options = options, .descriptors = 200});
    struct ist_client *client = client_open(server->service[0]);
    enum { COUNT = 400 };
    int fds[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        fds[i] = raw_connect(server->service[0]); /* the backlog takes what accept does not */
    }
    uint64_t version = 0;
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    assert_int_equal(get_value(client, "key", MIB, &version), IST_OK);
    if (!daemon_is_slow()) {
        assert_true(idle_cpu_seconds(server) < 0.25);
    }
    for (size_t i = 0; i < COUNT; i++) {
        close(fds[i]);
    }
    /* it has seen them go: until then a new one is refused */
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 1);
    int fd = raw_open(server->service[0]);
    assert_int_equal(raw_ping(fd), IST_OK);
    close(fd);
    ist_client_free(client);
    server_stop(server);
}

/* Silence is cheap. */
static void test_idle__nobody_asks__no_cpu(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    int fd = raw_open(server->service[0]);
    assert_int_equal(raw_ping(fd), IST_OK);
    assert_true(idle_cpu_seconds(server) < (daemon_is_slow() ? 0.5 : 0.1));
    close(fd);
    server_stop(server);
}

static void test_sessions__more_than_allowed__refused_and_others_served(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL, "--max-sessions", "10");
    int fds[10];
    for (size_t i = 0; i < 10; i++) {
        fds[i] = raw_open(server->service[0]);
    }
    for (size_t i = 0; i < 20; i++) {
        int fd = raw_connect(server->service[0]);
        (void)raw_read_to_end(fd);
        close(fd);
    }
    assert_int_equal(server_metric(server, "infinistore_sessions_refused_total"), 20);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(raw_ping(fds[i]), IST_OK);
        close(fds[i]);
    }
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 0);
    int fd = raw_open(server->service[0]);
    assert_int_equal(raw_ping(fd), IST_OK);
    close(fd);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_idle__1000_connections__32_kib_each_and_others_served),
        integration_test(test_vanish__10000_clients__nothing_left),
        integration_test(test_descriptors__more_clients_than_there_are__no_spin_and_recovery),
        integration_test(test_idle__nobody_asks__no_cpu),
        integration_test(test_sessions__more_than_allowed__refused_and_others_served),
    };
    return cmocka_run_group_tests(tests, more_descriptors, NULL);
}

/* src/daemon/listener: addresses, batches, running out of descriptors, and whose path it is. */
#include "tests/support.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/listener.h"

#define ACCEPTED_MAX 256

static struct {
    struct ev_loop *loop;
    struct failing_alloc failing;
    struct ist_listeners *listeners;
    int accepted[ACCEPTED_MAX];
    size_t count;
    char directory[64], path[96];
} f;

static void keep(void *context, int fd) {
    (void)context;
    assert_true(f.count < ACCEPTED_MAX);
    f.accepted[f.count++] = fd;
}

static void new_listeners(uint64_t fail_at) {
    failing_alloc_init(&f.failing, fail_at);
    const struct ist_listeners_config config = {
        .loop = f.loop, .accepted = keep, .alloc = &f.failing.alloc, .log = ist_log_null()};
    f.listeners = NULL;
    f.count = 0;
    enum ist_status status = ist_listeners_new(&config, &f.listeners);
    assert_int_equal(status, fail_at == 1 ? IST_NO_MEMORY : IST_OK);
}

static int setup(void **state) {
    (void)state;
    f.loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(f.loop);
    strcpy(f.directory, "/tmp/ist-listener-XXXXXX");
    assert_non_null(mkdtemp(f.directory));
    snprintf(f.path, sizeof(f.path), "%s/socket", f.directory);
    new_listeners(0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < f.count; i++) {
        close(f.accepted[i]);
    }
    ist_listeners_free(f.listeners);
    assert_int_equal(f.failing.live, 0);
    ev_loop_destroy(f.loop);
    (void)unlink(f.path);
    assert_int_equal(rmdir(f.directory), 0);
    return 0;
}

static int connect_to(const struct sockaddr *address, socklen_t length) {
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, address, length), 0);
    return fd;
}

/* The port behind the last colon of the n-th address. */
static uint16_t port_of(size_t n) {
    const char *kind = NULL;
    const char *address = ist_listeners_address(f.listeners, n, &kind);
    assert_non_null(address);
    assert_string_equal(kind, "service");
    const char *colon = strrchr(address, ':');
    assert_non_null(colon);
    long port = strtol(colon + 1, NULL, 10);
    assert_in_range(port, 1, 65535);
    return (uint16_t)port;
}

static int connect_v4(uint16_t port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect_to((const struct sockaddr *)&address, sizeof(address));
}

static int connect_path(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f.path);
    return connect_to((const struct sockaddr *)&address, sizeof(address));
}

static void test_add_tcp__ipv4_port_0__kernel_picks_and_tcp_options_are_inherited(void **state) {
    (void)state;
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1", 0), IST_OK);
    ist_listeners_start(f.listeners);
    int client = connect_v4(port_of(0));
    ev_run(f.loop, EVRUN_NOWAIT);
    assert_int_equal(f.count, 1);
    int value = 0;
    socklen_t length = sizeof(value);
    assert_int_equal(getsockopt(f.accepted[0], IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    assert_int_not_equal(value, 0);
    value = 0;
    assert_int_equal(getsockopt(f.accepted[0], SOL_SOCKET, SO_KEEPALIVE, &value, &length), 0);
    assert_int_not_equal(value, 0);
    assert_true((fcntl(f.accepted[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(f.accepted[0], F_GETFD) & FD_CLOEXEC) != 0);
    close(client);
}

static void test_add_tcp__ipv6__brackets_around_the_address(void **state) {
    (void)state;
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    const struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_v6 = probe >= 0 && bind(probe, (const struct sockaddr *)&loopback, sizeof(loopback)) == 0;
    if (probe >= 0) {
        close(probe);
    }
    if (!has_v6) {
        skip();
    }
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "::1", 0), IST_OK);
    ist_listeners_start(f.listeners);
    const char *kind;
    assert_int_equal(strncmp(ist_listeners_address(f.listeners, 0, &kind), "[::1]:", 6), 0);
    struct sockaddr_in6 address = loopback;
    address.sin6_port = htons(port_of(0));
    int client = connect_to((const struct sockaddr *)&address, sizeof(address));
    ev_run(f.loop, EVRUN_NOWAIT);
    assert_int_equal(f.count, 1);
    close(client);
}

static void test_add_tcp__port_in_use__config_and_the_others_stay(void **state) {
    (void)state;
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1", 0), IST_OK);
    uint16_t port = port_of(0);
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1", port), IST_CONFIG);
    const char *kind;
    assert_null(ist_listeners_address(f.listeners, 1, &kind));
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1", 0), IST_OK);
    assert_int_not_equal(port_of(1), port);
}

static void test_add_tcp__no_such_host__config(void **state) {
    (void)state;
    /* An address of the wrong form needs no name server to be refused. */
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1.2.3.4 ", 0), IST_CONFIG);
}

static void test_accept__more_than_a_batch__all_in_as_many_turns(void **state) {
    (void)state;
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1", 0), IST_OK);
    ist_listeners_start(f.listeners);
    int clients[IST_ACCEPT_BATCH + 8];
    for (size_t i = 0; i < IST_ACCEPT_BATCH + 8; i++) {
        clients[i] = connect_v4(port_of(0));
    }
    ev_run(f.loop, EVRUN_NOWAIT);
    assert_int_equal(f.count, IST_ACCEPT_BATCH);
    ev_run(f.loop, EVRUN_NOWAIT);
    assert_int_equal(f.count, IST_ACCEPT_BATCH + 8);
    for (size_t i = 0; i < IST_ACCEPT_BATCH + 8; i++) {
        close(clients[i]);
    }
}

/* Every descriptor that this process may still have. Returns how many. */
static size_t take_descriptors(int *taken, size_t max) {
    size_t count = 0;
    while (count < max && (taken[count] = dup(0)) >= 0) {
        count++;
    }
    assert_int_equal(errno, EMFILE);
    return count;
}

static void test_accept__no_descriptor_left__pauses_then_resumes(void **state) {
    (void)state;
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1", 0), IST_OK);
    ist_listeners_start(f.listeners);
    ev_run(f.loop, EVRUN_NOWAIT); /* libev makes its own descriptors now, if it needs any */
    int client = connect_v4(port_of(0));
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    static int taken[1 << 20]; /* valgrind keeps to its own limit instead of this one */
    size_t count = take_descriptors(taken, sizeof(taken) / sizeof(taken[0]));
    ev_run(f.loop, EVRUN_NOWAIT);
    size_t accepted_without = f.count;
    /* Nobody is asked while it rests, though a client waits. */
    while (count > 0) {
        close(taken[--count]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    int second = connect_v4(port_of(0));
    ev_run(f.loop, EVRUN_NOWAIT);
    assert_int_equal(accepted_without, 0);
    assert_int_equal(f.count, 0);
    while (f.count == 0) {
        ev_run(f.loop, EVRUN_ONCE);
    }
    assert_in_range(f.count, 1, 2); /* valgrind loses the first */
    close(client);
    close(second);
}

static void test_add_unix__new_path__serves_and_is_removed_at_the_end(void **state) {
    (void)state;
    assert_int_equal(ist_listeners_add_unix(f.listeners, f.path), IST_OK);
    ist_listeners_start(f.listeners);
    const char *kind;
    assert_string_equal(ist_listeners_address(f.listeners, 0, &kind), f.path);
    assert_string_equal(kind, "unix");
    int client = connect_path();
    ev_run(f.loop, EVRUN_NOWAIT);
    assert_int_equal(f.count, 1);
    close(client);
    ist_listeners_stop(f.listeners);
    assert_int_equal(access(f.path, F_OK), -1);
    assert_int_equal(errno, ENOENT);
}

static void test_add_unix__left_by_a_dead_process__replaced(void **state) {
    (void)state;
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f.path);
    assert_int_equal(bind(dead, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);
    assert_int_equal(ist_listeners_add_unix(f.listeners, f.path), IST_OK);
}

static void test_add_unix__somebody_listens__config_and_he_stays(void **state) {
    (void)state;
    assert_int_equal(ist_listeners_add_unix(f.listeners, f.path), IST_OK);
    assert_int_equal(ist_listeners_add_unix(f.listeners, f.path), IST_CONFIG);
    close(connect_path());
}

static void test_add_unix__a_file_is_there__config_and_it_stays(void **state) {
    (void)state;
    int file = open(f.path, O_CREAT | O_WRONLY, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(ist_listeners_add_unix(f.listeners, f.path), IST_CONFIG);
    struct stat found;
    assert_int_equal(stat(f.path, &found), 0);
    assert_true(S_ISREG(found.st_mode));
}

static void test_add_unix__path_too_long_or_empty__config(void **state) {
    (void)state;
    char path[200];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(ist_listeners_add_unix(f.listeners, path), IST_CONFIG);
    assert_int_equal(ist_listeners_add_unix(f.listeners, ""), IST_CONFIG);
}

static void test_stop__path_meanwhile_somebody_elses__not_removed(void **state) {
    (void)state;
    assert_int_equal(ist_listeners_add_unix(f.listeners, f.path), IST_OK);
    assert_int_equal(unlink(f.path), 0);
    int file = open(f.path, O_CREAT | O_WRONLY, 0600);
    assert_true(file >= 0);
    close(file);
    ist_listeners_stop(f.listeners);
    assert_int_equal(access(f.path, F_OK), 0);
}

static void test_all__nth_allocation_fails__no_memory_without_a_leak(void **state) {
    (void)state;
    uint64_t n = 1;
    for (;; n++) {
        ist_listeners_free(f.listeners);
        assert_int_equal(f.failing.live, 0);
        new_listeners(n);
        if (f.listeners == NULL) {
            continue;
        }
        enum ist_status tcp = ist_listeners_add_tcp(f.listeners, "127.0.0.1", 0);
        enum ist_status local = ist_listeners_add_unix(f.listeners, f.path);
        if (tcp == IST_OK && local == IST_OK) {
            break;
        }
        assert_true((tcp == IST_NO_MEMORY) != (local == IST_NO_MEMORY));
        /* What could be had works. */
        ist_listeners_start(f.listeners);
        int client = tcp == IST_OK ? connect_v4(port_of(0)) : connect_path();
        ev_run(f.loop, EVRUN_NOWAIT);
        assert_int_equal(f.count, 1);
        close(f.accepted[--f.count]);
        close(client);
    }
    assert_int_equal(n, 6); /* listeners; twice the list and the listener */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_add_tcp__ipv4_port_0__kernel_picks_and_tcp_options_are_inherited),
        TEST(test_add_tcp__ipv6__brackets_around_the_address),
        TEST(test_add_tcp__port_in_use__config_and_the_others_stay),
        TEST(test_add_tcp__no_such_host__config),
        TEST(test_accept__more_than_a_batch__all_in_as_many_turns),
        TEST(test_accept__no_descriptor_left__pauses_then_resumes),
        TEST(test_add_unix__new_path__serves_and_is_removed_at_the_end),
        TEST(test_add_unix__left_by_a_dead_process__replaced),
        TEST(test_add_unix__somebody_listens__config_and_he_stays),
        TEST(test_add_unix__a_file_is_there__config_and_it_stays),
        TEST(test_add_unix__path_too_long_or_empty__config),
        TEST(test_stop__path_meanwhile_somebody_elses__not_removed),
        TEST(test_all__nth_allocation_fails__no_memory_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

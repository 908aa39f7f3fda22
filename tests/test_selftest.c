/* src/daemon/selftest: against a service of the real rooms in a thread, and against what only looks like one. */
#include "tests/support.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ev.h>

#include "daemon/listener.h"
#include "daemon/selftest.h"
#include "daemon/tcp.h"
#include "infinistore/limits.h"
#include "store/store.h"

#define POOL_BYTES (1u << 20)
#define TIMEOUT_NS (30 * IST_NS_PER_SEC) /* never reached by a test that passes */

static struct {
    struct ev_loop *ev;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_tcp *tcp;
    struct ist_listeners *listeners;
    pthread_t loop;
    ev_async stop;
    ev_prepare spoil;
    uint8_t pool[POOL_BYTES];
    struct ist_selftest result;
} f;

static void accepted(void *context, int fd) {
    (void)context;
    ist_tcp_accept(f.tcp, fd);
}

static void on_stop(struct ev_loop *ev, ev_async *async, int revents) {
    (void)async;
    (void)revents;
    ev_break(ev, EVBREAK_ALL);
}

/* Between a put and the get that follows it, each byte has become another. */
static void on_spoil(struct ev_loop *ev, ev_prepare *prepare, int revents) {
    (void)ev;
    (void)prepare;
    (void)revents;
    for (size_t i = 0; i < sizeof(f.pool); i++) {
        f.pool[i]++;
    }
}

static void *run_loop(void *arg) {
    ev_run(arg, 0);
    return NULL;
}

static const char *start(uint64_t pool_bytes, bool spoil) {
    memset(&f, 0, sizeof(f));
    f.ev = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(f.ev);
    const struct ist_store_config store_config = {.pool_bytes_max = pool_bytes,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = ist_alloc_system()};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    assert_int_equal(ist_store_grow(f.store, pool_bytes), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = 4,
                                                    .server_name = "test",
                                                    .alloc = ist_alloc_system(),
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
    const struct ist_tcp_config tcp_config = {.loop = f.ev,
                                              .engine = f.engine,
                                              .pool_base = f.pool,
                                              .alloc = ist_alloc_system(),
                                              .log = ist_log_null()};
    assert_int_equal(ist_tcp_new(&tcp_config, &f.tcp), IST_OK);
    const struct ist_listeners_config listeners_config = {
        .loop = f.ev, .accepted = accepted, .alloc = ist_alloc_system(), .log = ist_log_null()};
    assert_int_equal(ist_listeners_new(&listeners_config, &f.listeners), IST_OK);
    assert_int_equal(ist_listeners_add_tcp(f.listeners, "127.0.0.1", 0), IST_OK);
    ist_listeners_start(f.listeners);
    ev_async_init(&f.stop, on_stop);
    ev_async_start(f.ev, &f.stop);
    ev_prepare_init(&f.spoil, on_spoil);
    if (spoil) {
        ev_prepare_start(f.ev, &f.spoil);
    }
    assert_int_equal(pthread_create(&f.loop, NULL, run_loop, f.ev), 0);
    const char *kind;
    return ist_listeners_address(f.listeners, 0, &kind);
}

/* Nothing may be left in the store. */
static void stop(void) {
    ev_async_send(f.ev, &f.stop);
    assert_int_equal(pthread_join(f.loop, NULL), 0);
    struct ist_store_usage usage;
    ist_listeners_free(f.listeners);
    ist_tcp_free(f.tcp);
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.keys, 0);
    assert_int_equal(usage.free_bytes, usage.pool_bytes);
    ist_engine_free(f.engine);
    ist_store_free(f.store);
    ev_loop_destroy(f.ev);
}

static void test_run__service__all_steps_and_nothing_left(void **state) {
    (void)state;
    const char *service = start(POOL_BYTES, false);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(ist_selftest_run(service, NULL, TIMEOUT_NS, &f.result));
        assert_null(f.result.failed);
        assert_string_equal(f.result.endpoint, service);
        static const char *const names[] = {"connect", "put", "get", "compare", "remove"};
        assert_int_equal(f.result.step_count, 5);
        for (size_t step = 0; step < 5; step++) {
            assert_string_equal(f.result.steps[step].name, names[step]);
        }
    }
    stop();
}

static void test_run__address_of_all__loopback_is_taken(void **state) {
    (void)state;
    char service[64];
    snprintf(service, sizeof(service), "0.0.0.0%s", strrchr(start(POOL_BYTES, false), ':'));
    assert_true(ist_selftest_run(service, NULL, TIMEOUT_NS, &f.result));
    assert_int_equal(strncmp(f.result.endpoint, "127.0.0.1:", 10), 0);
    stop();
}

static void test_run__address_of_all_ipv6__loopback_is_taken(void **state) {
    (void)state;
    assert_false(ist_selftest_run("[::]:1", NULL, TIMEOUT_NS, &f.result));
    assert_string_equal(f.result.endpoint, "[::1]:1");
}

static void test_run__value_spoilt__compare_fails_and_nothing_left(void **state) {
    (void)state;
    const char *service = start(POOL_BYTES, true);
    assert_false(ist_selftest_run(service, NULL, TIMEOUT_NS, &f.result));
    assert_string_equal(f.result.failed, "compare");
    assert_int_equal(f.result.step_count, 3);
    assert_true(f.result.error[0] != '\0');
    stop();
}

static void test_run__no_room_for_the_value__put_fails(void **state) {
    (void)state;
    const char *service = start(8192, false);
    assert_false(ist_selftest_run(service, NULL, TIMEOUT_NS, &f.result));
    assert_string_equal(f.result.failed, "put");
    assert_non_null(strstr(f.result.error, "TOO_BIG"));
    assert_int_equal(f.result.step_count, 1);
    stop();
}

static void test_run__nobody_there__connect_fails(void **state) {
    (void)state;
    assert_false(ist_selftest_run("127.0.0.1:1", NULL, TIMEOUT_NS, &f.result));
    assert_string_equal(f.result.failed, "connect");
    assert_non_null(strstr(f.result.error, "127.0.0.1:1"));
    assert_int_equal(f.result.step_count, 0);
}

/* A loop that stands still: the kernel accepts, nobody answers. */
static void test_run__service_is_silent__ends_at_its_deadline(void **state) {
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    char service[64];
    snprintf(service, sizeof(service), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    assert_false(ist_selftest_run(service, NULL, 50000000, &f.result));
    assert_string_equal(f.result.failed, "connect");
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__service__all_steps_and_nothing_left),
        cmocka_unit_test(test_run__address_of_all__loopback_is_taken),
        cmocka_unit_test(test_run__address_of_all_ipv6__loopback_is_taken),
        cmocka_unit_test(test_run__value_spoilt__compare_fails_and_nothing_left),
        cmocka_unit_test(test_run__no_room_for_the_value__put_fails),
        cmocka_unit_test(test_run__nobody_there__connect_fails),
        cmocka_unit_test(test_run__service_is_silent__ends_at_its_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

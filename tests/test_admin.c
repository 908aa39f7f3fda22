/* src/daemon/admin: sockets, threads and memory of the manage port. Who may do what, and requests that are none, are
 * tests/integration/test_http.c's matter. */
#include "tests/support.h"

#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admin.h"
#include "daemon/option.h"
#include "infinistore/limits.h"

#define POOL_BYTES (1u << 20)

/* Several threads allocate: counts only what a test that fails one needs. */
struct shared_alloc {
    struct ist_alloc alloc;
    atomic_int live, fail_after; /* fail_after: calls that still succeed; negative: all do */
};

static struct {
    struct shared_alloc shared;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_control *control;
    struct ist_config config;
    struct ist_admin *admin;
    pthread_t loop;
    int stop_fd;
    bool looping;
    size_t descriptors;
} f;

static bool fails_now(struct shared_alloc *shared) {
    return atomic_load(&shared->fail_after) >= 0 && atomic_fetch_sub(&shared->fail_after, 1) <= 0;
}

static void *shared_allocate(void *context, size_t bytes) {
    struct shared_alloc *shared = context;
    void *memory = fails_now(shared) ? NULL : malloc(bytes);
    atomic_fetch_add(&shared->live, memory != NULL);
    return memory;
}

static void *shared_resize(void *context, void *memory, size_t bytes) {
    struct shared_alloc *shared = context;
    void *resized = fails_now(shared) ? NULL : realloc(memory, bytes);
    atomic_fetch_add(&shared->live, memory == NULL && resized != NULL);
    return resized;
}

static void shared_release(void *context, void *memory) {
    struct shared_alloc *shared = context;
    atomic_fetch_sub(&shared->live, 1);
    free(memory);
}

static size_t count_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    size_t count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

static void *run_loop(void *arg) {
    (void)arg;
    for (;;) {
        struct pollfd polled[2] = {{.fd = ist_control_fd(f.control), .events = POLLIN},
                                   {.fd = f.stop_fd, .events = POLLIN}};
        (void)poll(polled, 2, -1);
        if (polled[1].revents != 0) {
            return NULL;
        }
        ist_control_run(f.control, f.store, f.engine);
    }
}

static int setup(void **state) {
    (void)state;
    memset(&f, 0, sizeof(f));
    f.shared.alloc = (struct ist_alloc){.allocate = shared_allocate,
                                        .resize = shared_resize,
                                        .release = shared_release,
                                        .context = &f.shared};
    f.shared.fail_after = -1;
    const struct ist_store_config store_config = {.pool_bytes_max = POOL_BYTES,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = ist_alloc_system()};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = 1,
                                                    .server_name = "test",
                                                    .alloc = ist_alloc_system(),
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
    assert_int_equal(ist_control_new(ist_alloc_system(), &f.control), IST_OK);
    ist_option_defaults(&f.config);
    strcpy(f.config.hosts[0], "127.0.0.1");
    f.config.manage_port = 0;
    f.stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(f.stop_fd >= 0);
    f.descriptors = count_descriptors();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    if (f.looping) {
        assert_int_equal(write(f.stop_fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
        assert_int_equal(pthread_join(f.loop, NULL), 0);
    }
    ist_admin_free(f.admin);
    assert_int_equal(f.shared.live, 0);
    assert_int_equal(count_descriptors(), f.descriptors);
    close(f.stop_fd);
    ist_control_free(f.control);
    ist_engine_free(f.engine);
    ist_store_free(f.store);
    return 0;
}

static enum ist_status start(void) {
    const struct ist_admin_config config = {.config = &f.config,
                                            .control = f.control,
                                            .service = "127.0.0.1:1",
                                            .alloc = &f.shared.alloc,
                                            .log = ist_log_null()};
    return ist_admin_new(&config, &f.admin);
}

static void start_with_loop(void) {
    assert_int_equal(start(), IST_OK);
    assert_int_equal(pthread_create(&f.loop, NULL, run_loop, NULL), 0);
    f.looping = true;
}

static uint16_t port_of(size_t n) {
    return (uint16_t)strtoul(strrchr(ist_admin_address(f.admin, n), ':') + 1, NULL, 10);
}

static int connect_to(uint16_t port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void send_get(int fd, const char *path) {
    char request[128];
    int length = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
    assert_int_equal(send(fd, request, (size_t)length, MSG_NOSIGNAL), length);
}

/* The whole answer, in static storage. */
static const char *read_answer(int fd) {
    static char answer[32768];
    ssize_t bytes = recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL);
    assert_true(bytes >= 0);
    answer[bytes] = '\0';
    close(fd);
    return answer;
}

static const char *get(const char *path) {
    int fd = connect_to(port_of(0));
    send_get(fd, path);
    return read_answer(fd);
}

static void test_new__several_hosts__each_serves_on_its_own_port(void **state) {
    (void)state;
    strcpy(f.config.hosts[1], "127.0.0.2");
    f.config.host_count = 2;
    start_with_loop();
    assert_int_equal(strncmp(ist_admin_address(f.admin, 0), "127.0.0.1:", 10), 0);
    assert_int_equal(strncmp(ist_admin_address(f.admin, 1), "127.0.0.2:", 10), 0);
    assert_null(ist_admin_address(f.admin, 2));
    const char *answer = get("/health");
    assert_non_null(strstr(answer, "200 OK"));
    assert_non_null(strstr(answer, "{\"status\":\"ok\"}"));
}

static void test_new__second_address_taken__config_and_nothing_left(void **state) {
    (void)state;
    f.config.host_count = 2;
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    assert_int_equal(bind(taken, (const struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(taken, 1), 0);
    assert_int_equal(getsockname(taken, (struct sockaddr *)&address, &length), 0);
    f.config.manage_port = ntohs(address.sin_port);
    strcpy(f.config.hosts[0], "127.0.0.2"); /* free there */
    strcpy(f.config.hosts[1], "127.0.0.1");
    assert_int_equal(start(), IST_CONFIG);
    assert_null(f.admin);
    close(taken);
}

static void test_new__bad_token_file__config(void **state) {
    (void)state;
    f.config.manage_token_file = "/no/such/file";
    assert_int_equal(start(), IST_CONFIG);
    assert_null(f.admin);
}

static void test_new__no_memory__nothing_left(void **state) {
    (void)state;
    f.shared.fail_after = 0;
    assert_int_equal(start(), IST_NO_MEMORY);
    assert_null(f.admin);
}

static void test_request__no_memory_for_the_answer__503_and_the_next_is_served(void **state) {
    (void)state;
    start_with_loop();
    static const char *const paths[] = {"/health", "/metrics", "/stats", "/nothing"};
    for (size_t i = 0; i < 4; i++) {
        atomic_store(&f.shared.fail_after, 0);
        const char *answer = get(paths[i]);
        atomic_store(&f.shared.fail_after, -1);
        assert_non_null(strstr(answer, "HTTP/1.1 503 "));
        assert_non_null(strstr(answer, "out of memory"));
    }
    assert_non_null(strstr(get("/metrics"), "HTTP/1.1 200 "));
}

/* The loop has ended and a request still waits for it: neither waits for the other. */
static void test_free__request_waits_for_the_loop__ends_when_the_control_is_closed(void **state) {
    (void)state;
    assert_int_equal(start(), IST_OK);
    int fd = connect_to(port_of(0));
    send_get(fd, "/metrics");
    struct pollfd polled = {.fd = ist_control_fd(f.control), .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 60000), 1); /* it waits */
    ist_control_close(f.control);
    assert_non_null(strstr(read_answer(fd), "HTTP/1.1 503 "));
    ist_admin_free(f.admin);
    f.admin = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_new__several_hosts__each_serves_on_its_own_port),
        TEST(test_new__second_address_taken__config_and_nothing_left),
        TEST(test_new__bad_token_file__config),
        TEST(test_new__no_memory__nothing_left),
        TEST(test_request__no_memory_for_the_answer__503_and_the_next_is_served),
        TEST(test_free__request_waits_for_the_loop__ends_when_the_control_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

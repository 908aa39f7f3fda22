/* src/daemon/bind: all addresses of a host, or none. What accepted sockets inherit is test_listener's matter. */
#include "tests/support.h"

#include <dirent.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/bind.h"

/* In place of the C library's, so that a host has as many addresses as a test needs: "N.test" has 127.0.0.1 to
 * 127.0.0.N, "127.0.0.1" itself, others do not exist. */
#define ADDRESSES_MAX 32

static struct {
    struct addrinfo info[ADDRESSES_MAX];
    struct sockaddr_in address[ADDRESSES_MAX];
    unsigned open; /* results not yet given back */
} resolver;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    size_t addresses = strcmp(host, "127.0.0.1") == 0 ? 1 : strtoul(host, NULL, 10);
    if (addresses == 0 || addresses > ADDRESSES_MAX ||
        (addresses > 1 && strstr(host, ".test") == NULL)) {
        return EAI_NONAME;
    }
    for (size_t i = 0; i < addresses; i++) {
        resolver.address[i] =
            (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)strtoul(service, NULL, 10)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)i)};
        resolver.info[i] =
            (struct addrinfo){.ai_family = AF_INET,
                              .ai_socktype = hints->ai_socktype,
                              .ai_addr = (struct sockaddr *)&resolver.address[i],
                              .ai_addrlen = sizeof(resolver.address[i]),
                              .ai_next = i + 1 < addresses ? &resolver.info[i + 1] : NULL};
    }
    resolver.open++;
    *result = resolver.info;
    return 0;
}

void freeaddrinfo(struct addrinfo *info) {
    assert_ptr_equal(info, resolver.info);
    resolver.open--;
}

static unsigned errors;
static char last_error[IST_LOG_LINE_MAX];

static void keep_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)session;
    assert_int_equal(level, IST_LOG_ERROR);
    errors++;
    strcpy(last_error, message);
}

static const struct ist_log log_of_test = {.level = IST_LOG_DEBUG, .write = keep_line};
static struct ist_bound bound[IST_BOUND_MAX];
static size_t count;

static enum ist_status bind_to(const char *host, uint16_t port) {
    errors = 0;
    count = 99;
    enum ist_status status = ist_bind_tcp(&log_of_test, host, port, bound, &count);
    assert_int_equal(resolver.open, 0);
    return status;
}

static void close_all(void) {
    for (size_t i = 0; i < count; i++) {
        close(bound[i].fd);
    }
}

static size_t count_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    size_t descriptors = 0;
    while (readdir(directory) != NULL) {
        descriptors++;
    }
    closedir(directory);
    return descriptors;
}

static uint16_t port_of(size_t n) {
    return (uint16_t)strtoul(strrchr(bound[n].address, ':') + 1, NULL, 10);
}

static void test_bind__port_0__the_actual_one_is_told(void **state) {
    (void)state;
    assert_int_equal(bind_to("127.0.0.1", 0), IST_OK);
    assert_int_equal(count, 1);
    assert_int_equal(strncmp(bound[0].address, "127.0.0.1:", 10), 0);
    assert_true(port_of(0) > 0);
    assert_int_equal(errors, 0);
    close_all();
}

static void test_bind__port_taken__config_that_names_both(void **state) {
    (void)state;
    assert_int_equal(bind_to("127.0.0.1", 0), IST_OK);
    int taken = bound[0].fd;
    const char *port = strrchr(bound[0].address, ':') + 1;
    size_t before = count_descriptors();
    assert_int_equal(bind_to("127.0.0.1", (uint16_t)strtoul(port, NULL, 10)), IST_CONFIG);
    assert_int_equal(count, 99);
    assert_int_equal(errors, 1);
    assert_non_null(strstr(last_error, "127.0.0.1"));
    assert_non_null(strstr(last_error, port));
    assert_int_equal(count_descriptors(), before);
    close(taken);
}

static void test_bind__no_such_host__config(void **state) {
    (void)state;
    assert_int_equal(bind_to("nobody", 0), IST_CONFIG);
    assert_int_equal(errors, 1);
    assert_non_null(strstr(last_error, "nobody"));
}

static void test_bind__several_addresses__all(void **state) {
    (void)state;
    assert_int_equal(bind_to("3.test", 0), IST_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        char start[16];
        snprintf(start, sizeof(start), "127.0.0.%zu:", i + 1);
        assert_int_equal(strncmp(bound[i].address, start, strlen(start)), 0);
    }
    close_all();
}

static void test_bind__last_address_taken__none_is_kept(void **state) {
    (void)state;
    assert_int_equal(bind_to("3.test", 0), IST_OK);
    uint16_t port = port_of(2);
    int taken = bound[2].fd;
    close(bound[0].fd);
    close(bound[1].fd);
    size_t before = count_descriptors();
    assert_int_equal(bind_to("3.test", port), IST_CONFIG);
    assert_int_equal(errors, 1);
    assert_int_equal(count, 99);
    assert_int_equal(count_descriptors(), before);
    close(taken);
}

static void test_bind__more_addresses_than_there_is_room_for__none_is_kept(void **state) {
    (void)state;
    size_t before = count_descriptors();
    assert_int_equal(bind_to("17.test", 0), IST_CONFIG);
    assert_int_equal(errors, 1);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(bind_to("16.test", 0), IST_OK);
    assert_int_equal(count, IST_BOUND_MAX);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bind__port_0__the_actual_one_is_told),
        cmocka_unit_test(test_bind__port_taken__config_that_names_both),
        cmocka_unit_test(test_bind__no_such_host__config),
        cmocka_unit_test(test_bind__several_addresses__all),
        cmocka_unit_test(test_bind__last_address_taken__none_is_kept),
        cmocka_unit_test(test_bind__more_addresses_than_there_is_room_for__none_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

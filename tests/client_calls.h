/* What the tests of the client over sockets share. */
#ifndef IST_TESTS_CLIENT_CALLS_H
#define IST_TESTS_CLIENT_CALLS_H

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "client/clock.h"
#include "infinistore/infinistore.h"
#include "tests/fake_server.h"
#include "tests/support.h"

#define MS 1000000ull
#define PATIENCE_NS (20 * IST_NS_PER_SEC) /* a test that waits so long has failed */

static inline struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

static inline struct fake *start_one(enum fake_way way) {
    return fake_start(&way, 1, AF_INET, NULL);
}

static inline enum ist_status open_client(const char *endpoints, uint64_t timeout_ns,
                                          struct ist_client **client, char *error) {
    const struct ist_client_options options = {
        .endpoints = endpoints, .connect_timeout_ns = timeout_ns, .request_timeout_ns = PATIENCE_NS};
    return ist_client_new(&options, client, error, 200);
}

static inline struct ist_client *client_of(const struct fake *fake) {
    struct ist_client *client = NULL;
    char error[200] = "";
    if (open_client(fake_endpoint(fake), PATIENCE_NS, &client, error) != IST_OK) {
        fail_msg("%s", error);
    }
    return client;
}

struct waiting {
    struct ist_client *client;
    unsigned calls;
    enum ist_status status;
};

static inline void on_done(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
}

/* Like an event loop: process only when the descriptor says so. */
static inline void process_until(struct ist_client *client, const unsigned *calls, unsigned wanted) {
    uint64_t until_ns = ist_client_now_ns() + PATIENCE_NS;
    while (*calls < wanted) {
        struct pollfd polled = {.fd = ist_client_fd(client), .events = POLLIN};
        assert_int_equal(poll(&polled, 1, (int)(PATIENCE_NS / MS)), 1);
        (void)ist_client_process(client);
        assert_true(ist_client_now_ns() < until_ns);
    }
    assert_int_equal(*calls, wanted);
}

static inline void assert_quiet(struct ist_client *client) {
    struct pollfd polled = {.fd = ist_client_fd(client), .events = POLLIN};
    assert_int_equal(ist_client_process(client), 0);
    assert_int_equal(poll(&polled, 1, 0), 0);
}

static inline void check_value(const uint8_t *value, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at++) {
        if (value[at] != fake_byte(bytes, at)) {
            fail_msg("byte %llu of %llu", (unsigned long long)at, (unsigned long long)bytes);
        }
    }
}

#endif

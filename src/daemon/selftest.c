#include "daemon/selftest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "daemon/clock.h"
#include "infinistore/infinistore.h"

#define VALUE_BYTES 16384
#define RANDOM_BYTES 16
#define KEY_BYTES 64

struct test {
    struct ist_selftest *result;
    const struct ist_selftest_rdma *rdma;
    uint64_t deadline_ns;
    struct ist_client *client;
    char key_text[KEY_BYTES];
    struct ist_key key;
    uint8_t value[VALUE_BYTES], got[VALUE_BYTES];
};

/* 0 would mean the client's default. */
static uint64_t time_left(const struct test *test) {
    uint64_t now_ns = ist_clock_ns();
    return now_ns < test->deadline_ns ? test->deadline_ns - now_ns : 1;
}

/* "0.0.0.0:1" is where one listens, not where one connects. */
static void reachable(const char *service, char endpoint[IST_SELFTEST_ENDPOINT_BYTES]) {
    static const char *const all[][2] = {{"0.0.0.0:", "127.0.0.1:"}, {"[::]:", "[::1]:"}};
    snprintf(endpoint, IST_SELFTEST_ENDPOINT_BYTES, "%s", service);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        size_t length = strlen(all[i][0]);
        if (strncmp(service, all[i][0], length) == 0) {
            snprintf(endpoint, IST_SELFTEST_ENDPOINT_BYTES, "%s%s", all[i][1], service + length);
        }
    }
}

/* ---- the steps: OK, or the status with which it failed ------------------------------------------------ */

static enum ist_status do_connect(struct test *test) {
    struct ist_client_options options = {.endpoints = test->result->endpoint,
                                         .connect_timeout_ns = time_left(test)};
    if (test->rdma != NULL) {
        options.transport = IST_TRANSPORT_RDMA;
        options.device = test->rdma->device;
        options.port = test->rdma->port;
        options.use_gid_index = test->rdma->hint_gid_index >= 0;
        options.gid_index = options.use_gid_index ? (unsigned)test->rdma->hint_gid_index : 0;
    }
    enum ist_status status =
        ist_client_new(&options, &test->client, test->result->error, sizeof(test->result->error));
    if (status == IST_OK) {
        status = ist_memory_register(test->client, test->value, sizeof(test->value));
    }
    return status != IST_OK ? status : ist_memory_register(test->client, test->got, sizeof(test->got));
}

static enum ist_status do_put(struct test *test) {
    struct ist_put_item item = {.key = test->key, .value = test->value, .value_bytes = VALUE_BYTES};
    return ist_put(test->client, &item, 1, IST_IF_ABSENT, time_left(test));
}

static enum ist_status do_get(struct test *test) {
    struct ist_get_item item = {.key = test->key, .buffer = test->got, .buffer_bytes = VALUE_BYTES};
    enum ist_status status = ist_get(test->client, &item, 1, time_left(test));
    return status == IST_OK && item.value_bytes != VALUE_BYTES ? IST_TOO_SMALL : status;
}

static enum ist_status do_compare(struct test *test) {
    if (memcmp(test->value, test->got, VALUE_BYTES) == 0) {
        return IST_OK;
    }
    snprintf(test->result->error, sizeof(test->result->error), "other bytes than those that were put");
    return IST_INVALID;
}

static enum ist_status do_remove(struct test *test) {
    size_t removed = 0;
    enum ist_status status = ist_remove(test->client, &test->key, 1, &removed, time_left(test));
    return status == IST_OK && removed != 1 ? IST_NOT_FOUND : status;
}

static const struct step {
    const char *name;
    enum ist_status (*run)(struct test *test);
    bool cleans_up; /* done also when an earlier one failed, but the first */
} steps[] = {
    {"connect", do_connect, false}, {"put", do_put, false},      {"get", do_get, false},
    {"compare", do_compare, false}, {"remove", do_remove, true},
};
_Static_assert(sizeof(steps) / sizeof(steps[0]) == IST_SELFTEST_STEPS_MAX, "each step has its place");

static void run_step(struct test *test, const struct step *step) {
    struct ist_selftest *result = test->result;
    if (result->failed != NULL) {
        if (step->cleans_up && test->client != NULL) {
            (void)!step->run(test);
        }
        return;
    }
    uint64_t begun_ns = ist_clock_ns();
    enum ist_status status = step->run(test);
    if (status == IST_OK) {
        result->steps[result->step_count++] =
            (struct ist_selftest_step){.name = step->name, .elapsed_ns = ist_clock_ns() - begun_ns};
        return;
    }
    result->failed = step->name;
    if (result->error[0] == '\0') {
        char why[IST_SELFTEST_ERROR_BYTES / 2] = ""; /* when it is the device that has failed */
        if (test->client != NULL) {
            ist_client_why_tcp(test->client, why, sizeof(why));
        }
        snprintf(result->error, sizeof(result->error), "%s: %s%s%s", ist_status_name(status),
                 ist_status_text(status), why[0] == '\0' ? "" : ": ", why);
    }
}

/* A key that nobody has, and a value that only it has. */
static bool make_key(struct test *test) {
    uint8_t random[RANDOM_BYTES];
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return false;
    }
    int length = snprintf(test->key_text, sizeof(test->key_text), "infinistore/selftest/");
    for (size_t i = 0; i < RANDOM_BYTES; i++) {
        length += snprintf(test->key_text + length, sizeof(test->key_text) - (size_t)length, "%02x",
                           random[i]);
    }
    IST_ASSERT((size_t)length < sizeof(test->key_text));
    test->key = (struct ist_key){.data = test->key_text, .bytes = (size_t)length};
    for (size_t i = 0; i < VALUE_BYTES; i++) {
        test->value[i] = (uint8_t)(random[i % RANDOM_BYTES] + i / RANDOM_BYTES * 31);
    }
    return true;
}

bool ist_selftest_run(const char *service, const struct ist_selftest_rdma *rdma, uint64_t timeout_ns,
                      struct ist_selftest *result) {
    *result = (struct ist_selftest){.step_count = 0};
    struct test test = {.result = result, .rdma = rdma, .deadline_ns = ist_clock_ns() + timeout_ns};
    reachable(service, result->endpoint);
    if (!make_key(&test)) {
        result->failed = "connect";
        snprintf(result->error, sizeof(result->error), "the kernel gives no random numbers");
        return false;
    }
    for (size_t i = 0; i < IST_SELFTEST_STEPS_MAX; i++) {
        run_step(&test, &steps[i]);
    }
    ist_client_free(test.client);
    return result->failed == NULL;
}

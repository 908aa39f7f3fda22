/* src/tools/bench_raw: the bytes do move, over both kinds of socket, and a broken line is told. */
#include "tests/support.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench_load.h"
#include "tools/bench_raw.h"

#define REQUEST_BYTES 5000u
#define REQUESTS 12u
#define MEMORY_BYTES (REQUESTS * REQUEST_BYTES)

static const struct ist_bench_list anywhere = {.count = 0};
static uint8_t memory[MEMORY_BYTES], received[MEMORY_BYTES];

static struct ist_bench_raw *start(bool unix_socket, size_t lines) {
    struct ist_bench_raw *raw = NULL;
    char error[IST_BENCH_ERROR_MAX] = "";
    enum ist_status status = ist_bench_raw_new(unix_socket, MEMORY_BYTES, &anywhere, &raw, error);
    if (status == IST_OK) {
        status = ist_bench_raw_connect(raw, lines, error);
    }
    if (status != IST_OK) {
        fail_msg("%s", error);
    }
    return raw;
}

static struct ist_bench_raw_move move_of(bool get, size_t depth, struct ist_histogram *latency) {
    return (struct ist_bench_raw_move){.get = get,
                                       .request_bytes = REQUEST_BYTES,
                                       .requests = REQUESTS,
                                       .depth = depth,
                                       .memory = get ? received : memory,
                                       .memory_bytes = MEMORY_BYTES,
                                       .pin = &anywhere,
                                       .latency = latency};
}

/* What was put into the child's memory comes out of it again, all of it, though either side begins elsewhere: the
 * requests are as many as the memory holds. */
static void put_and_get(bool unix_socket, size_t depth, size_t lines) {
    static struct ist_histogram latency;
    char error[IST_BENCH_ERROR_MAX];
    uint64_t random = 3;
    for (size_t i = 0; i < MEMORY_BYTES; i++) {
        memory[i] = (uint8_t)random_next(&random);
    }
    memset(received, 0, sizeof received);
    ist_histogram_init(&latency);
    struct ist_bench_raw *raw = start(unix_socket, lines);
    struct ist_bench_raw_move put = move_of(false, depth, &latency),
                              get = move_of(true, depth, &latency);
    assert_int_equal(ist_bench_raw_move(raw, &put, error), IST_OK);
    assert_true(put.elapsed_ns > 0);
    assert_int_equal(latency.count, depth == 1 ? REQUESTS : 0);
    /* New lines: on both sides they begin where the first ones did. */
    assert_int_equal(ist_bench_raw_connect(raw, lines, error), IST_OK);
    assert_int_equal(ist_bench_raw_move(raw, &get, error), IST_OK);
    assert_memory_equal(received, memory, MEMORY_BYTES);
    ist_bench_raw_free(raw);
}

static void test_move__any_socket_depth_and_lines__every_byte(void **state) {
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        put_and_get(i == 1, 1, 1);
        put_and_get(i == 1, 16, 1);
        put_and_get(i == 1, 1, 3);
        put_and_get(i == 1, 16, 3);
    }
}

static void test_move__more_lines_than_requests_or_memory__ends(void **state) {
    (void)state;
    char error[IST_BENCH_ERROR_MAX];
    static struct ist_histogram latency;
    struct ist_bench_raw *raw = start(false, 20);
    struct ist_bench_raw_move move = move_of(true, 1, &latency);
    ist_histogram_init(&latency);
    assert_int_equal(ist_bench_raw_move(raw, &move, error), IST_OK);
    assert_int_equal(latency.count, REQUESTS);
    move = move_of(false, 8, NULL);
    move.requests = 3;
    assert_int_equal(ist_bench_raw_move(raw, &move, error), IST_OK);
    ist_bench_raw_free(raw);
}

static void test_ping__many__each_measured(void **state) {
    (void)state;
    static struct ist_histogram latency;
    char error[IST_BENCH_ERROR_MAX];
    uint64_t elapsed_ns = 0;
    ist_histogram_init(&latency);
    struct ist_bench_raw *raw = start(true, 2);
    assert_int_equal(ist_bench_raw_ping(raw, 100, &anywhere, &latency, &elapsed_ns, error), IST_OK);
    assert_int_equal(latency.count, 100);
    assert_true(latency.min > 0 && latency.sum <= elapsed_ns);
    ist_bench_raw_free(raw);
}

/* The only child of this process. */
static pid_t child(void) {
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        (void)!fscanf(file, "%d", &pid);
        fclose(file);
    }
    return pid;
}

static void test_move__child_dies__peer(void **state) {
    (void)state;
    char error[IST_BENCH_ERROR_MAX] = "";
    struct ist_bench_raw *raw = start(false, 2);
    pid_t pid = child();
    if (pid <= 0) {
        ist_bench_raw_free(raw);
        skip(); /* a kernel without CONFIG_PROC_CHILDREN */
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    enum ist_status status = IST_OK;
    for (unsigned i = 0; i < 1000 && status == IST_OK; i++) {
        struct ist_bench_raw_move move = move_of(i % 2 == 1, 1, NULL);
        status = ist_bench_raw_move(raw, &move, error);
    }
    assert_int_equal(status, IST_PEER);
    assert_non_null(strstr(error, "raw baseline: "));
    ist_bench_raw_free(raw);
}

static void test_new__no_memory_for_the_region__told(void **state) {
    (void)state;
    char error[IST_BENCH_ERROR_MAX] = "";
    struct ist_bench_raw *raw = NULL;
    assert_int_equal(ist_bench_raw_new(false, 1ull << 46, &anywhere, &raw, error), IST_PEER);
    assert_null(raw);
    assert_non_null(strstr(error, "memory"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_move__any_socket_depth_and_lines__every_byte),
        cmocka_unit_test(test_move__more_lines_than_requests_or_memory__ends),
        cmocka_unit_test(test_ping__many__each_measured),
        cmocka_unit_test(test_move__child_dies__peer),
        cmocka_unit_test(test_new__no_memory_for_the_region__told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* infinistore-doctor as a program: what it says of the machine that it runs on, be that without a device or, beside
 * soft-RoCE devices, with some. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/harness.h"
#include "tests/integration/program.h"
#include "tests/integration/rdma.h"

#define DOCTOR(outcome, ...)                                                                           \
    program_run(                                                                                       \
        &(const struct program){                                                                       \
            .arguments = (const char *const[]){program_path("infinistore-doctor"), __VA_ARGS__ NULL}}, \
        outcome)

static json_t *report_of(const struct outcome *outcome) {
    json_error_t error;
    json_t *root = json_loads(outcome->out, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        fail_msg("%s in %s%s", error.text, outcome->out, outcome->err);
    }
    return root;
}

static void test_report__as_json__code_and_figures_agree(void **state) {
    (void)state;
    struct outcome outcome;
    DOCTOR(&outcome, "--json", );
    json_t *root = report_of(&outcome);
    size_t devices = json_array_size(json_object_get(root, "devices"));
    bool has_problems = json_integer_value(json_object_get(root, "problems")) > 0;
    bool rdma = json_is_true(json_object_get(json_object_get(root, "infinistore"), "rdma"));
    assert_true(rdma <= (devices > 0));
    assert_true(rdma || has_problems);
    assert_int_equal(outcome.code, has_problems ? 1 : 0);
    assert_int_equal(outcome.err_bytes, 0);
    json_decref(root);
    outcome_free(&outcome);
}

static bool has_logged(const struct server *server, const char *text) {
    char *log = server_log(server);
    bool found = strstr(log, text) != NULL;
    free(log);
    return found;
}

/* What it says of a machine, the daemon does. */
static void test_report__and_the_daemons_log__agree(void **state) {
    (void)state;
    struct outcome outcome;
    DOCTOR(&outcome, "--json", );
    json_t *root = report_of(&outcome);
    bool rdma = json_is_true(json_object_get(json_object_get(root, "infinistore"), "rdma"));
    struct server *server = server_start("--prealloc-size", "16M");
    assert_eventually(has_logged(server, rdma ? "RDMA on " : "no RDMA, serving TCP only"));
    server_stop(server);
    json_decref(root);
    outcome_free(&outcome);
}

static void test_report__as_text__same_code_and_a_last_line(void **state) {
    (void)state;
    struct outcome json, text;
    DOCTOR(&json, "--json", );
    DOCTOR(&text);
    assert_int_equal(text.code, json.code);
    assert_int_equal(strncmp(text.out, "infinistore-doctor ", 19), 0);
    assert_non_null(strstr(text.out, "\nFindings\n"));
    assert_true(text.out_bytes > 0 && text.out[text.out_bytes - 1] == '\n');
    outcome_free(&json);
    outcome_free(&text);
}

/* The whole way over a real device; without one it is blocked where it says so. */
static void test_connect__to_a_daemon__as_far_as_the_machine_goes(void **state) {
    (void)state;
    struct outcome outcome;
    struct server *server = server_start("--prealloc-size", "16M");
    DOCTOR(&outcome, "--json", "--timeout", "30", "--connect", server->service[0], );
    json_t *root = report_of(&outcome);
    bool rdma = json_is_true(json_object_get(json_object_get(root, "infinistore"), "rdma"));
    json_t *connect = json_object_get(root, "connect");
    json_t *step, *steps = json_object_get(connect, "steps");
    size_t i, done = 0;
    json_array_foreach(steps, i, step) {
        done += strcmp(json_string_value(json_object_get(step, "outcome")), "ok") == 0;
    }
    if (json_is_true(json_object_get(connect, "works")) != rdma || done != (rdma ? i : 3)) {
        fail_msg("%s", outcome.out);
    }
    assert_true(outcome.code == 1 || rdma);
    json_decref(root);
    outcome_free(&outcome);
    server_stop(server);
}

/* ---- a path that is blocked on purpose: between the two soft-RoCE devices of ci/rxe ------------------------------ */

static void run_shell(const char *format, const char *netdev) {
    char command[128];
    snprintf(command, sizeof(command), format, netdev);
    assert_int_equal(system(command), 0);
}

/* The step, and the advice, when `block` was done to the server's interface; `clear` undoes it. */
static void assert_blocked(const char *block, const char *clear, const char *step, const char *advice) {
    const char *netdev = rdma_server_netdev(), *own = rdma_client_device();
    struct outcome outcome;
    struct server *server = server_start("--prealloc-size", "16M", "--dev-name", rdma_server_device());
    run_shell(block, netdev);
    DOCTOR(&outcome, "--timeout", "3", "--dev-name", own, "--connect", server->service[0], );
    run_shell(clear, netdev);
    const char *failed = strstr(outcome.out, step);
    if (outcome.code != 1 || failed == NULL || strstr(failed, advice) == NULL) {
        fail_msg("%s", outcome.out);
    }
    outcome_free(&outcome);
    DOCTOR(&outcome, "--timeout", "30", "--dev-name", own, "--connect", server->service[0], );
    assert_non_null(strstr(outcome.out, "the way to the server is free"));
    outcome_free(&outcome);
    server_stop(server);
}

static void test_connect__roce_packets_are_dropped__firewall(void **state) {
    (void)state;
    assert_blocked("tc qdisc add dev %s root netem loss 100%%", "tc qdisc del dev %s root",
                   " 9 message      failed ", "UDP port 4791");
}

/* As a switch does whose MTU is smaller; that of the interface itself both ends would know, and keep to it. man tc-tbf: a
 * packet that is larger than the bucket is dropped. */
static void test_connect__large_packets_are_dropped__mtu(void **state) {
    (void)state;
    assert_blocked("tc qdisc add dev %s root tbf rate 10gbit burst 1000 latency 50ms",
                   "tc qdisc del dev %s root", "11 get ", "the MTU of the path");
}

static void test_connect__nobody_there__blocked(void **state) {
    (void)state;
    struct outcome outcome;
    DOCTOR(&outcome, "--connect", "127.0.0.1:1", );
    assert_int_equal(outcome.code, 1);
    assert_non_null(strstr(outcome.out, "the way to the server is blocked"));
    outcome_free(&outcome);
}

static void test_options__no_such_device__problem_that_names_it(void **state) {
    (void)state;
    struct outcome outcome;
    DOCTOR(&outcome, "--dev-name", "nobody0", );
    assert_int_equal(outcome.code, 1);
    assert_non_null(strstr(outcome.out, "problem  infinistore: it would serve TCP only: "));
    outcome_free(&outcome);
}

static void test_options__help_version_and_wrong_ones__codes(void **state) {
    (void)state;
    struct outcome outcome;
    DOCTOR(&outcome, "--help", );
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.out, "Usage: infinistore-doctor"));
    outcome_free(&outcome);
    DOCTOR(&outcome, "--version", );
    assert_int_equal(outcome.code, 0);
    assert_int_equal(strncmp(outcome.out, "infinistore-doctor ", 19), 0);
    outcome_free(&outcome);
    DOCTOR(&outcome, "--nonsense", );
    assert_int_equal(outcome.code, 2);
    assert_int_equal(outcome.out_bytes, 0);
    assert_non_null(strstr(outcome.err, "--nonsense"));
    outcome_free(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_report__as_json__code_and_figures_agree),
        integration_test(test_report__and_the_daemons_log__agree),
        integration_test(test_report__as_text__same_code_and_a_last_line),
        integration_test(test_connect__to_a_daemon__as_far_as_the_machine_goes),
        integration_test(test_connect__nobody_there__blocked),
        integration_test(test_options__no_such_device__problem_that_names_it),
        integration_test(test_options__help_version_and_wrong_ones__codes),
    };
    const struct CMUnitTest blocked[] = {
        integration_test(test_connect__roce_packets_are_dropped__firewall),
        integration_test(test_connect__large_packets_are_dropped__mtu),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (rdma_server_netdev()[0] != '\0') {
        failed += cmocka_run_group_tests(blocked, NULL, NULL);
    }
    return failed;
}

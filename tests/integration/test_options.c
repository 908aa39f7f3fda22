/* The command line, the environment, where the daemon listens, and how its pool grows and shrinks. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/program.h"
#include "tests/integration/raw.h"
#include "tests/integration/values.h"

#define ARGUMENTS_MAX 40

/* Runs the daemon to its end: it is expected not to start. */
static void run_daemon(const char *const *options, const char *const *environment,
                       struct outcome *outcome) {
    /* So few sessions that nothing is said of descriptors, however few are allowed here. */
    static const char *const common[] = {"--host",         "127.0.0.1", "--service-port",  "0",
                                         "--manage-port",  "0",         "--prealloc-size", "64M",
                                         "--max-sessions", "64"};
    const char *arguments[ARGUMENTS_MAX] = {program_path("infinistore")};
    size_t count = 1;
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
        arguments[count++] = common[i];
    }
    for (size_t i = 0; options != NULL && options[i] != NULL; i++) {
        assert_true(count < ARGUMENTS_MAX - 1);
        arguments[count++] = options[i];
    }
    program_run(&(const struct program){.arguments = arguments, .environment = environment}, outcome);
}

static size_t lines_of(const char *text) {
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static void assert_refused(const char *const *options, const char *const *environment,
                           const char *named) {
    struct outcome outcome;
    run_daemon(options, environment, &outcome);
    bool good = outcome.code > 0 && outcome.code < 128 && lines_of(outcome.err) == 1 &&
                strstr(outcome.err, named) != NULL && outcome.out_bytes == 0;
    if (!good) {
        fail_msg("%s %s: exit %d, said: %s%s", options == NULL ? "" : options[0],
                 options == NULL || options[0] == NULL || options[1] == NULL ? "" : options[1],
                 outcome.code, outcome.err, outcome.out);
    }
    outcome_free(&outcome);
}

static const struct {
    const char *option, *wrong;
} wrong_values[] = {
    {"--host", ""},
    {"--host", "no-such-host.invalid"},
    {"--host", "300.1.1.1"},
    {"--service-port", "65536"},
    {"--service-port", "-1"},
    {"--service-port", "http"},
    {"--service-port", ""},
    {"--service-port", "1x"},
    {"--manage-port", "65536"},
    {"--manage-port", "x"},
    {"--log-level", "loud"},
    {"--log-level", ""},
    {"--prealloc-size", "0"},
    {"--prealloc-size", "-1"},
    {"--prealloc-size", "many"},
    {"--prealloc-size", "1Q"},
    {"--prealloc-size", "99999999999999999999"},
    {"--prealloc-size", "8000000T"},
    {"--prealloc-size", "nan"},
    {"--minimal-allocate-size", "0"},
    {"--minimal-allocate-size", "3K"},
    {"--minimal-allocate-size", "x"},
    {"--max-pool-size", "1K"},
    {"--max-pool-size", "x"},
    {"--max-sessions", "0"},
    {"--max-sessions", "x"},
    {"--ib-port", "0"},
    {"--ib-port", "256"},
    {"--ib-port", "x"},
    {"--link-type", "Token-Ring"},
    {"--hint-gid-index", "x"},
    {"--hint-gid-index", "-2"},
    {"--evict-interval", "0"},
    {"--evict-interval", "-1"},
    {"--evict-interval", "x"},
    {"--evict-interval", "nan"},
    {"--evict-min-threshold", "1.5"},
    {"--evict-min-threshold", "-0.1"},
    {"--evict-min-threshold", "x"},
    {"--evict-max-threshold", "1.5"},
    {"--evict-max-threshold", "nan"},
    {"--evict-max-threshold", "x"},
    {"--drain-timeout", "x"},
    {"--drain-timeout", "-1"},
    {"--manage-token-file", "/no/such/file"},
    {"--port-file", "/no/such/directory/file"},
    {"--unix-socket", "/no/such/directory/socket"},
};

static void test_option__wrong_value__one_line_that_names_it(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(wrong_values) / sizeof(wrong_values[0]); i++) {
        const char *const options[] = {wrong_values[i].option, wrong_values[i].wrong, NULL};
        bool resource =
            wrong_values[i].wrong[0] == '/' || strstr(wrong_values[i].wrong, "host") != NULL;
        assert_refused(options, NULL, resource ? wrong_values[i].wrong : wrong_values[i].option);
    }
}

/* "--log-level" -> "INFINISTORE_LOG_LEVEL" */
static void environment_name(const char *option, char *name, size_t bytes) {
    snprintf(name, bytes, "INFINISTORE_%s", option + 2);
    for (char *at = name; *at != '\0'; at++) {
        *at = *at == '-' ? '_' : (char)(*at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
    }
}

static void test_environment__wrong_value__one_line_that_names_it(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(wrong_values) / sizeof(wrong_values[0]); i++) {
        const char *option = wrong_values[i].option, *wrong = wrong_values[i].wrong;
        bool resource = wrong[0] == '/' || strstr(wrong, "host") != NULL;
        bool given = strcmp(option, "--host") == 0 || strstr(option, "-port") != NULL ||
                     strcmp(option, "--prealloc-size") == 0;
        if (resource || wrong[0] == '\0' || (given && strcmp(option, "--ib-port") != 0)) {
            continue; /* the command line has the last word on what it says */
        }
        char name[64], setting[128];
        environment_name(option, name, sizeof(name));
        snprintf(setting, sizeof(setting), "%s=%s", name, wrong);
        const char *const environment[] = {setting, NULL};
        assert_refused((const char *const[]){NULL}, environment, name);
    }
}

static void test_environment__good_values__used_unless_the_command_line_says_else(void **state) {
    (void)state;
    const char *const environment[] = {"INFINISTORE_PREALLOC_SIZE=32M", "INFINISTORE_LOG_LEVEL=debug",
                                       NULL};
    const char *const none[] = {NULL};
    struct server *server =
        server_start_with(&(const struct server_setup){.options = none, .environment = environment});
    assert_int_equal(server_metric(server, "infinistore_pool_size_bytes"), 32 * MIB);
    server_stop(server);
    const char *const options[] = {"--prealloc-size", "48M", NULL};
    server =
        server_start_with(&(const struct server_setup){.options = options, .environment = environment});
    assert_int_equal(server_metric(server, "infinistore_pool_size_bytes"), 48 * MIB);
    server_stop(server);
}

static void test_arguments__unknown_or_incomplete__refused(void **state) {
    (void)state;
    assert_refused((const char *const[]){"--no-such-option", "1", NULL}, NULL, "no-such-option");
    assert_refused((const char *const[]){"--log-level", NULL}, NULL, "log-level");
    assert_refused((const char *const[]){"surplus", NULL}, NULL, "surplus");
    assert_refused((const char *const[]){"--auto-increase=maybe", NULL}, NULL, "auto-increase");
    assert_refused(
        (const char *const[]){"--evict-min-threshold", "0.9", "--evict-max-threshold", "0.5", NULL},
        NULL, "evict-m");
}

static void test_help_and_version__asked_for__on_stdout(void **state) {
    (void)state;
    struct outcome outcome;
    run_daemon((const char *const[]){"--version", NULL}, NULL, &outcome);
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.out, IST_VERSION));
    assert_int_equal(outcome.err_bytes, 0);
    outcome_free(&outcome);
    run_daemon((const char *const[]){"--help", NULL}, NULL, &outcome);
    assert_int_equal(outcome.code, 0);
    for (size_t i = 0; i < sizeof(wrong_values) / sizeof(wrong_values[0]); i++) {
        if (strstr(outcome.out, wrong_values[i].option) == NULL) {
            fail_msg("--help lacks %s", wrong_values[i].option);
        }
    }
    outcome_free(&outcome);
}

static void test_port__taken__one_line_that_names_it(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    const char *service = strrchr(server->service[0], ':') + 1;
    const char *manage = strrchr(server->manage[0], ':') + 1;
    assert_refused((const char *const[]){"--service-port", service, NULL}, NULL, service);
    assert_refused((const char *const[]){"--manage-port", manage, NULL}, NULL, manage);
    server_stop(server);
}

static void assert_serves(const char *address) {
    struct ist_client *client = client_open(address);
    uint64_t version = 0;
    assert_int_equal(put_value(client, "key", 3, 100000, 0), IST_OK);
    assert_int_equal(get_value(client, "key", 100000, &version), IST_OK);
    assert_int_equal(version, 3);
    ist_client_free(client);
}

static bool has_ipv6(void) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0 && access("/proc/net/if_inet6", R_OK) == 0;
}

static void test_hosts__several_families_and_names__all_serve(void **state) {
    (void)state;
    char path[] = "/tmp/ist-socket-XXXXXX", socket_path[64];
    assert_non_null(mkdtemp(path));
    snprintf(socket_path, sizeof(socket_path), "%s/s", path);
    bool ipv6 = has_ipv6();
    const char *const options[] = {"--host",
                                   "127.0.0.1",
                                   "--host",
                                   "127.0.0.2",
                                   "--unix-socket",
                                   socket_path,
                                   "--prealloc-size",
                                   "64M",
                                   ipv6 ? "--host" : NULL,
                                   "::1",
                                   NULL};
    struct server *server =
        server_start_with(&(const struct server_setup){.options = options, .any_host = true});
    assert_int_equal(server->services, ipv6 ? 3 : 2);
    assert_int_equal(server->manages, ipv6 ? 3 : 2);
    for (size_t i = 0; i < server->services; i++) {
        assert_serves(server->service[i]);
    }
    assert_string_equal(server->unix_socket, socket_path);
    assert_serves(socket_path);
    for (size_t i = 0; i < server->manages; i++) {
        int fd = raw_connect(server->manage[i]);
        close(fd);
    }
    server_stop(server);
    assert_int_not_equal(access(socket_path, F_OK), 0); /* it cleans up */
    assert_int_equal(rmdir(path), 0);
}

static void test_hosts__a_name__served_and_connected_to_by_name(void **state) {
    (void)state;
    const char *const options[] = {"--host", "localhost", "--prealloc-size", "64M", NULL};
    struct server *server =
        server_start_with(&(const struct server_setup){.options = options, .any_host = true});
    char endpoint[64];
    snprintf(endpoint, sizeof(endpoint), "localhost:%s", strrchr(server->service[0], ':') + 1);
    assert_serves(endpoint);
    server_stop(server);
}

static void test_unix_socket__left_by_a_dead_process__taken_over(void **state) {
    (void)state;
    char path[] = "/tmp/ist-socket-XXXXXX", socket_path[64];
    assert_non_null(mkdtemp(path));
    snprintf(socket_path, sizeof(socket_path), "%s/s", path);
    struct server *server = server_start("--prealloc-size", "64M", "--unix-socket", socket_path);
    /* not while it lives */
    assert_refused((const char *const[]){"--unix-socket", socket_path, NULL}, NULL, socket_path);
    assert_serves(socket_path);
    server_kill(server);
    assert_int_equal(access(socket_path, F_OK), 0);
    server = server_start("--prealloc-size", "64M", "--unix-socket", socket_path);
    assert_serves(socket_path);
    server_stop(server);
    assert_int_equal(rmdir(path), 0);
}

/* ---- the pool ---------------------------------------------------------------------------------- */

static uint64_t available_bytes(void) {
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long kib = 0;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) {
            break;
        }
    }
    fclose(file);
    return kib * KIB;
}

static void test_start__pool_of_half_the_machine__serves_before_it_is_populated(void **state) {
    (void)state;
    uint64_t pool_bytes = available_bytes() / 2 / (64 * MIB) * (64 * MIB);
    if (daemon_is_slow() || pool_bytes < 1024 * MIB) {
        skip();
    }
    char size[32];
    snprintf(size, sizeof(size), "%lluM", (unsigned long long)(pool_bytes / MIB));
    uint64_t begun = now_ns();
    struct server *server = server_start("--prealloc-size", size);
    uint64_t ready = now_ns();
    assert_serves(server->service[0]);
    uint64_t there = (uint64_t)server_metric(server, "infinistore_pool_size_bytes");
    print_message("           ready in %.2f s, %llu of %llu MiB there\n", (double)(ready - begun) / 1e9,
                  (unsigned long long)(there / MIB), (unsigned long long)(pool_bytes / MIB));
    assert_true(there > 0 && there < pool_bytes);
    server_stop(server); /* also while it is populating */
}

static void test_auto_increase__pool_fills__grows_up_to_its_limit(void **state) {
    (void)state;
    struct server *server =
        server_start("--prealloc-size", "64M", "--auto-increase", "--max-pool-size", "192M");
    struct ist_client *client = client_open(server->service[0]);
    char key[32];
    uint64_t until_ns = now_ns() + PATIENCE_NS, version = 0;
    unsigned count = 0;
    while (server_metric(server, "infinistore_pool_size_bytes") < 192.0 * MIB) {
        snprintf(key, sizeof(key), "key%u", count++ % 64);
        assert_int_equal(put_value(client, key, count, 4 * MIB, 0), IST_OK);
        assert_true(now_ns() < until_ns);
    }
    /* what is put now uses all of it, and is right */
    for (unsigned i = 0; i < 48; i++) {
        snprintf(key, sizeof(key), "new%u", i);
        assert_int_equal(put_value(client, key, i, 4 * MIB, 0), IST_OK);
    }
    for (unsigned i = 0; i < 48; i++) {
        snprintf(key, sizeof(key), "new%u", i);
        assert_int_equal(get_value(client, key, 4 * MIB, &version), IST_OK);
        assert_int_equal(version, i);
    }
    assert_int_equal(server_metric(server, "infinistore_pool_size_bytes"), 192 * MIB);
    ist_client_free(client);
    server_stop(server);
}

/* A short segment between two others would be the third in which a work over RDMA lies. */
static void test_auto_increase__first_size_is_odd__nothing_short_that_others_follow(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *max;
        uint64_t pool_bytes;
    } cases[] = {
        {"65540K", "192M", 66 * MIB},         /* a huge page beyond the first segment */
        {"65540K", "65544K", 65544ull << 10}, /* no further than it may be: nothing follows */
        {"65540K", "65540K", 65540ull << 10},
        {"1028K", "192M", 1028ull << 10}, /* the first may be of any length */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server *server = server_start("--prealloc-size", cases[i].bytes, "--auto-increase",
                                             "--max-pool-size", cases[i].max);
        assert_eventually(server_metric(server, "infinistore_pool_size_bytes") ==
                          (double)cases[i].pool_bytes);
        server_stop(server);
    }
}

/* The log's descriptor must not be a client's connection. */
static void test_start__without_standard_streams__nothing_takes_their_place(void **state) {
    (void)state;
    if (daemon_is_slow()) { /* a wrapper wants them */
        skip();
    }
    const struct server_setup setup = {
        .options = (const char *const[]){"--prealloc-size", "64M", "--log-level", "debug", NULL},
        .streams_closed = true};
    struct server *server = server_start_with(&setup);
    for (int fd = 0; fd <= 2; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)server->pid, fd);
        assert_true(readlink(path, target, sizeof(target) - 1) > 0);
        assert_string_equal(target, "/dev/null");
    }
    assert_serves(server->service[0]);
    server_stop(server);
}

static void assert_logged(const struct server *server, const char *text, bool expected) {
    char *log = server_log(server);
    assert_int_equal(strstr(log, text) != NULL, expected);
    free(log);
}

/* Who set a limit believes that the pool grows. */
static void test_option__without_the_one_that_it_belongs_to__told(void **state) {
    (void)state;
    struct server *server =
        server_start("--prealloc-size", "64M", "--max-pool-size", "192M", "--evict-interval", "1");
    assert_serves(server->service[0]); /* so that its first lines are written */
    assert_logged(server, "--max-pool-size changes nothing", true);
    assert_logged(server, "change nothing without --enable-periodic-evict", true);
    server_stop(server);
    server = server_start("--prealloc-size", "64M", "--max-pool-size", "64M", "--evict-interval", "5",
                          "--evict-min-threshold", "0.5", "--evict-max-threshold", "0.8");
    assert_serves(server->service[0]);
    assert_logged(server, "nothing", false);
    server_stop(server);
    server = server_start("--prealloc-size", "64M", "--max-pool-size", "128M", "--auto-increase",
                          "--evict-interval", "1", "--enable-periodic-evict");
    assert_serves(server->service[0]);
    assert_logged(server, "nothing", false);
    server_stop(server);
}

static void test_periodic_evict__above_its_threshold__down_to_the_other(void **state) {
    (void)state;
    struct server *server =
        server_start("--prealloc-size", "64M", "--enable-periodic-evict", "--evict-interval", "0.05",
                     "--evict-min-threshold", "0.5", "--evict-max-threshold", "0.75");
    struct ist_client *client = client_open(server->service[0]);
    char key[32];
    for (unsigned i = 0; i < 44; i++) { /* 0.69 of it: nothing happens */
        snprintf(key, sizeof(key), "key%u", i);
        assert_int_equal(put_value(client, key, i, MIB, 0), IST_OK);
    }
    assert_int_equal(server_metric(server, "infinistore_evicted_entries_total"), 0);
    for (unsigned i = 44; i < 60; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        assert_int_equal(put_value(client, key, i, MIB, 0), IST_OK);
    }
    assert_eventually(server_pool_bytes(server, "committed") <= 48 * MIB);
    assert_true(server_pool_bytes(server, "committed") >= 24 * MIB);
    assert_false(has_key(client, "key0"));
    assert_true(has_key(client, "key59"));
    ist_client_free(client);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_option__wrong_value__one_line_that_names_it),
        integration_test(test_environment__wrong_value__one_line_that_names_it),
        integration_test(test_environment__good_values__used_unless_the_command_line_says_else),
        integration_test(test_arguments__unknown_or_incomplete__refused),
        integration_test(test_help_and_version__asked_for__on_stdout),
        integration_test(test_port__taken__one_line_that_names_it),
        integration_test(test_hosts__several_families_and_names__all_serve),
        integration_test(test_hosts__a_name__served_and_connected_to_by_name),
        integration_test(test_unix_socket__left_by_a_dead_process__taken_over),
        integration_test(test_start__pool_of_half_the_machine__serves_before_it_is_populated),
        integration_test(test_auto_increase__pool_fills__grows_up_to_its_limit),
        integration_test(test_auto_increase__first_size_is_odd__nothing_short_that_others_follow),
        integration_test(test_start__without_standard_streams__nothing_takes_their_place),
        integration_test(test_option__without_the_one_that_it_belongs_to__told),
        integration_test(test_periodic_evict__above_its_threshold__down_to_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

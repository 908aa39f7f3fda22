/* `infinistore-bench` against a daemon: every mode for a moment, its JSON, and what it says when something is
 * wrong: a dead server, a byte changed on the way, values that were evicted. */
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/program.h"
#include "tests/integration/values.h"

#define ARGUMENTS_MAX 40
#define SMALL_POOL "--prealloc-size", "64M", "--minimal-allocate-size", "4K"

struct bench {
    struct outcome outcome;
    json_t *json; /* NULL: it wrote none */
    char path[96];
};

/* Of a run before, which had more to say: nothing of it may be left. */
static void fill_with_junk(const char *path) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (unsigned i = 0; i < 10000; i++) {
        assert_true(fputs("results of before ", file) >= 0);
    }
    assert_int_equal(fclose(file), 0);
}

/* With --json in the server's directory. */
static void bench_at(struct bench *bench, const struct server *server, const char *endpoint,
                     const char *const *environment, const char *const *words) {
    const char *arguments[ARGUMENTS_MAX] = {program_path("infinistore-bench"), "--endpoint", endpoint,
                                            "--json", bench->path};
    size_t count = 5;
    snprintf(bench->path, sizeof(bench->path), "%s/bench.json", server->directory);
    fill_with_junk(bench->path);
    for (; words[0] != NULL; words++) {
        assert_true(count < ARGUMENTS_MAX - 1);
        arguments[count++] = words[0];
    }
    const struct program program = {.arguments = arguments, .environment = environment};
    program_run(&program, &bench->outcome);
    bench->json = json_load_file(bench->path, 0, NULL);
}

#define WORDS(...)                                                                                     \
    (const char *const[]) {                                                                            \
        __VA_ARGS__, NULL                                                                              \
    }
#define bench_run(bench, server, ...)                                                                  \
    bench_at(bench, server, (server)->service[0], NULL, WORDS(__VA_ARGS__))

static void bench_free(struct bench *bench) {
    outcome_free(&bench->outcome);
    json_decref(bench->json);
}

static size_t lines_of(const char *text) {
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static void assert_fine(const struct bench *bench) {
    if (bench->outcome.code != 0 || bench->outcome.err_bytes != 0 || bench->json == NULL) {
        fail_msg("exit %d, said: %s%s", bench->outcome.code, bench->outcome.err, bench->outcome.out);
    }
}

/* One line, which says this, and the same in the JSON. */
static void assert_failed(const struct bench *bench, int code, const char *what) {
    const struct outcome *outcome = &bench->outcome;
    if (outcome->code != code || lines_of(outcome->err) != 1 || strstr(outcome->err, what) == NULL) {
        fail_msg("not '%s': exit %d, said: %s%s", what, outcome->code, outcome->err, outcome->out);
    }
    const char *error = json_string_value(json_object_get(bench->json, "error"));
    assert_non_null(error);
    assert_non_null(strstr(outcome->err, error));
}

static double number(json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) {
        fail_msg("there is no number %s", key);
    }
    return json_number_value(value);
}

static json_t *results_of(const struct bench *bench, size_t count) {
    json_t *results = json_object_get(bench->json, "results");
    assert_int_equal(json_array_size(results), count);
    return results;
}

/* Figures that belong together. */
static void assert_plausible(json_t *figures) {
    double seconds = number(figures, "seconds"), requests = number(figures, "requests");
    assert_true(seconds > 0 && requests > 0);
    double rate = number(figures, "requests_per_second");
    assert_true(rate > 0.99 * requests / seconds && rate < 1.01 * requests / seconds);
    json_t *latency = json_object_get(figures, "latency_us");
    if (latency != NULL) {
        assert_true(number(latency, "p50") > 0);
        assert_true(number(latency, "p50") <= number(latency, "p99"));
        assert_true(number(latency, "p99") <= number(latency, "p99.9"));
        assert_true(number(latency, "p99.9") <= number(latency, "max"));
        assert_true(number(latency, "mean") <= number(latency, "max"));
        assert_true(number(latency, "max") <= seconds * 1e6 + 1);
    }
}

/* Nothing of the bench is left in it. */
static void assert_empty(const struct server *server) {
    assert_eventually(server_is_idle(server));
    assert_true(server_metric(server, "infinistore_keys_stored") == 0);
}

/* ---- what it measures --------------------------------------------------------------------------- */

static void test_run__every_combination__plausible_and_verified(void **state) {
    (void)state;
    struct server *server = server_start(SMALL_POOL);
    struct bench bench;
    bench_run(&bench, server, "--count", "60", "--size", "1,5000,140000", "--depth", "1,5", "--clients",
              "1,3", "--batch", "1,2", "--match-keys", "50", "--working-set", "512K");
    assert_fine(&bench);
    json_t *results = results_of(&bench, (3 * 2 + 1) * 2 * 2 * 2 + 2 * 2);
    size_t index;
    json_t *result;
    json_array_foreach(results, index, result) {
        const char *op = json_string_value(json_object_get(result, "op"));
        double keys = number(result, "requests") * number(result, "keys_per_request");
        assert_plausible(result);
        assert_true(number(result, "requests") >= 60);
        if (strcmp(op, "get") == 0) {
            assert_true(number(result, "values_got") >= 60);
            assert_true(number(result, "values_verified") == number(result, "values_got"));
        } else if (strcmp(op, "put") == 0) {
            assert_true(number(result, "values_read_back") > 0);
        } else {
            assert_true(strcmp(op, "exists") == 0 || number(result, "keys_per_request") == 50);
            continue;
        }
        /* The last request of a pass over the values may be short of one. */
        double bytes = number(result, "bytes"), most = keys * number(result, "value_bytes");
        assert_true(bytes <= most && bytes >= most / 2);
    }
    assert_int_equal(lines_of(bench.outcome.out), 3 + json_array_size(results) + 2);
    bench_free(&bench);
    assert_empty(server);
    server_stop(server);
}

static void test_run__over_a_unix_socket_for_a_time__the_same(void **state) {
    (void)state;
    char directory[] = "/tmp/ist-test-XXXXXX", path[64], endpoint[80];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/socket", directory);
    snprintf(endpoint, sizeof(endpoint), "unix:%s", path);
    struct server *server = server_start(SMALL_POOL, "--unix-socket", path);
    struct bench bench;
    bench_at(&bench, server, endpoint, NULL,
             WORDS("--duration", "50ms", "--size", "64K", "--working-set", "4M", "--match-keys", "100",
                   "--baseline"));
    assert_fine(&bench);
    json_t *results = results_of(&bench, 4);
    for (size_t i = 0; i < 4; i++) {
        json_t *result = json_array_get(results, i);
        assert_plausible(result);
        assert_true(number(result, "seconds") >= 0.05);
        json_t *raw = json_object_get(result, i < 2 ? "raw" : "ping_pong");
        assert_plausible(raw);
        assert_true(number(raw, i < 2 ? "share" : "times_its_p50") > 0);
        if (i < 2) {
            assert_plausible(json_object_get(result, "memcpy"));
            assert_true(number(raw, "bytes") == number(result, "bytes"));
        }
    }
    assert_non_null(strstr(bench.outcome.out, "of raw"));
    bench_free(&bench);
    assert_empty(server);
    server_stop(server);
    assert_int_equal(rmdir(directory), 0); /* the daemon has removed its socket */
}

static void test_run__verify_less__says_so(void **state) {
    (void)state;
    struct server *server = server_start(SMALL_POOL);
    struct bench bench;
    bench_run(&bench, server, "--count", "320", "--size", "4K", "--op", "get", "--working-set", "1M",
              "--verify", "none");
    assert_fine(&bench);
    assert_true(number(json_array_get(results_of(&bench, 1), 0), "values_verified") == 0);
    assert_non_null(strstr(bench.outcome.out, "nothing verified"));
    bench_free(&bench);
    bench_run(&bench, server, "--count", "320", "--size", "4K", "--op", "get", "--working-set", "1M",
              "--verify", "sample");
    assert_fine(&bench);
    json_t *result = json_array_get(results_of(&bench, 1), 0);
    double got = number(result, "values_got"), verified = number(result, "values_verified");
    assert_true(verified > 0 && verified <= got / 16 + 16);
    bench_free(&bench);
    server_stop(server);
}

/* Without --working-set it takes what fits half of the pool, at the size that blocks really have. */
static void test_run__small_pool_of_large_blocks__takes_what_fits(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "256M", "--minimal-allocate-size", "64K");
    struct bench bench;
    bench_run(&bench, server, "--count", "1000", "--size", "4K", "--match-keys", "100");
    assert_fine(&bench);
    assert_true(server_metric(server, "infinistore_evicted_entries_total") == 0);
    /* All of the pool was waited for: the daemon begins with a part of it. */
    assert_true(number(bench.json, "working_set_bytes") == 128 * MIB);
    bench_free(&bench);
    server_stop(server);
}

/* ---- rivals ------------------------------------------------------------------------------------- */

static bool installed(const char *program) {
    char command[64];
    snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
    return system(command) == 0;
}

static void compare_with(const char *name, const char *program) {
    if (!installed(program)) {
        print_message("           there is no %s here\n", program);
        skip();
    }
    struct server *server = server_start(SMALL_POOL);
    struct bench bench;
    bench_run(&bench, server, "--baseline", name, "--count", "200", "--size", "100,40000", "--clients",
              "1,8", "--depth", "1,4", "--batch", "1,3", "--working-set", "1M", "--match-keys", "10");
    assert_fine(&bench);
    size_t index;
    json_t *result, *results = results_of(&bench, (2 * 2 + 1) * 8 + 4);
    json_array_foreach(results, index, result) {
        bool match = strcmp(json_string_value(json_object_get(result, "op")), "match") == 0;
        json_t *rival = json_object_get(result, name);
        assert_true((rival == NULL) == match);
        if (rival != NULL) {
            assert_plausible(rival);
            assert_true(number(rival, "requests") == number(result, "requests"));
            assert_true(number(rival, "times") > 0);
        }
    }
    assert_non_null(strstr(bench.outcome.out, "times"));
    bench_free(&bench);
    assert_empty(server);
    server_stop(server);
}

static void test_baseline__redis__same_requests_on_both(void **state) {
    (void)state;
    compare_with("redis", "redis-server");
}

static void test_baseline__memcached__same_requests_on_both(void **state) {
    (void)state;
    compare_with("memcached", "memcached");
}

static void test_baseline__not_installed__told(void **state) {
    (void)state;
    struct server *server = server_start(SMALL_POOL);
    struct bench bench;
    bench_at(&bench, server, server->service[0], WORDS("PATH=/nonexistent"),
             WORDS("--baseline", "redis"));
    assert_failed(&bench, 2, "there is no redis-server in PATH");
    bench_free(&bench);
    server_stop(server);
}

/* ---- what goes wrong ---------------------------------------------------------------------------- */

static void test_run__nobody_there__one_line(void **state) {
    (void)state;
    struct server *server = server_start(SMALL_POOL);
    struct bench bench;
    bench_at(&bench, server, "127.0.0.1:1", NULL, WORDS("--op", "put"));
    assert_failed(&bench, 1, "127.0.0.1:1");
    bench_free(&bench);
    server_stop(server);
}

struct killer {
    struct server *server;
    const char *address;
    pthread_t thread;
    bool killed;
};

/* As soon as values have come for a while. In a thread, which must not fail the test. */
static void *kill_server(void *arg) {
    struct killer *killer = arg;
    struct ist_client *client = NULL;
    const struct ist_client_options options = {.endpoints = killer->address};
    double moved = 0;
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    if (ist_client_new(&options, &client, NULL, 0) != IST_OK) {
        return NULL;
    }
    while (moved < 64 * MIB && now_ns() < until_ns) {
        struct ist_metrics *metrics = NULL;
        if (ist_stat(client, &metrics, 0) != IST_OK) {
            break;
        }
        for (size_t i = 0; i < metrics->count; i++) {
            if (strcmp(metrics->items[i].name, "infinistore_put_bytes_total") == 0) {
                moved = metrics->items[i].value;
            }
        }
        ist_metrics_free(metrics);
    }
    killer->killed = moved >= 64 * MIB && kill(killer->server->pid, SIGKILL) == 0;
    ist_client_free(client);
    return NULL;
}

static void test_run__server_dies__exit_1_and_one_line(void **state) {
    (void)state;
    static const char *const depths[] = {"1", "16"};
    for (size_t i = 0; i < 2; i++) {
        struct server *server = server_start(SMALL_POOL);
        struct bench bench;
        struct killer killer = {.server = server, .address = server->service[0]};
        assert_int_equal(pthread_create(&killer.thread, NULL, kill_server, &killer), 0);
        bench_run(&bench, server, "--op", "put,get", "--duration", "100", "--size", "32K",
                  "--working-set", "4M", "--depth", depths[i], "--clients", "3");
        pthread_join(killer.thread, NULL);
        assert_true(killer.killed);
        assert_failed(&bench, 1, "PEER");
        bench_free(&bench);
        server_kill(server); /* it is dead: this waits for it */
    }
}

/* A pool that cannot hold the working set: what is missing is an error, since a miss costs no bytes. */
static void test_run__values_evicted__told_with_a_hint(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "8M", "--minimal-allocate-size", "4K");
    struct bench bench;
    bench_run(&bench, server, "--op", "get", "--size", "16K", "--working-set", "32M", "--count", "10");
    assert_failed(&bench, 1, "--working-set");
    bench_free(&bench);
    bench_run(&bench, server, "--op", "match", "--match-keys", "60000", "--count", "10");
    assert_failed(&bench, 2, "--match-keys");
    bench_free(&bench);
    server_stop(server);
}

static void test_run__json_cannot_be_written__exit_1(void **state) {
    (void)state;
    struct server *server = server_start(SMALL_POOL);
    struct outcome outcome;
    program_run(
        &(const struct program){.arguments = WORDS(program_path("infinistore-bench"), "--endpoint",
                                                   server->service[0], "--op", "exists", "--count", "1",
                                                   "--json", "/nonexistent/file")},
        &outcome);
    assert_int_equal(outcome.code, 1);
    assert_int_equal(lines_of(outcome.err), 1);
    assert_non_null(strstr(outcome.err, "/nonexistent/file"));
    assert_int_equal(outcome.out_bytes, 0); /* at once: nothing was measured */
    outcome_free(&outcome);
    server_stop(server);
}

static void test_options__wrong_or_asked_for_help__exit_codes(void **state) {
    (void)state;
    struct outcome outcome;
    const char *path = program_path("infinistore-bench");
    static const struct {
        const char *word, *named;
        int code;
    } cases[] = {
        {"--help", "--baseline", 0}, {"--version", IST_VERSION, 0},  {"--size=x", "--size", 2},
        {"--pin=1023", "--pin", 2},  {"--endpoint=[::1", "[::1", 2}, {"put", "put", 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        program_run(&(const struct program){.arguments = WORDS(path, cases[i].word)}, &outcome);
        const char *said = cases[i].code == 0 ? outcome.out : outcome.err;
        if (outcome.code != cases[i].code || strstr(said, cases[i].named) == NULL ||
            (cases[i].code == 0) != (outcome.err_bytes == 0)) {
            fail_msg("%s: exit %d, said: %s%s", cases[i].word, outcome.code, outcome.err, outcome.out);
        }
        outcome_free(&outcome);
    }
}

/* A report that nobody can read is no success; nor must it go into the connection. */
static void test_output__full_disk_or_none__exit_1_and_one_line(void **state) {
    (void)state;
    struct server *server = server_start(SMALL_POOL);
    static const char *const lines[] = {
        "\"$0\" --endpoint \"$1\" --op get --size 4K --count 10 >/dev/full",
        "\"$0\" --endpoint \"$1\" --op get --size 4K --count 10 >&-",
        "\"$0\" replay --endpoint \"$1\" --requests 2 >/dev/full",
        "\"$0\" --help >/dev/full",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s", program_path("infinistore-bench"));
        struct outcome outcome;
        program_run(&(const struct program){.arguments = WORDS("/bin/sh", "-c", lines[i], path,
                                                               server->service[0])},
                    &outcome);
        if (outcome.code != 1 ||
            strstr(outcome.err, "infinistore-bench: cannot write standard output: ") == NULL) {
            fail_msg("%s: exit %d, said: %s", lines[i], outcome.code, outcome.err);
        }
        outcome_free(&outcome);
    }
    server_stop(server);
}

static void test_endpoint__from_the_environment__used(void **state) {
    (void)state;
    struct server *server = server_start(SMALL_POOL);
    struct outcome outcome;
    char variable[160];
    snprintf(variable, sizeof(variable), "INFINISTORE_ENDPOINT=%s", server->service[0]);
    program_run(&(const struct program){.arguments = WORDS(program_path("infinistore-bench"), "--op",
                                                           "exists", "--count", "10"),
                                        .environment = WORDS(variable)},
                &outcome);
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.out, server->service[0]));
    outcome_free(&outcome);
    server_stop(server);
}

/* ---- a byte that is changed on the way ---------------------------------------------------------- */

/* Hands on what client and server say to each other, on one connection after the other, and inverts one byte of
 * what the server says once it has said so many. */
struct proxy {
    int listener;
    uint16_t server_port;
    char address[64];
    uint64_t change_at, said;
    pthread_t thread;
    atomic_bool stop, changed;
};

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool write_all(int fd, const uint8_t *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        bytes -= (size_t)sent;
    }
    return true;
}

/* False: one side has closed. */
static bool hand_on(struct proxy *proxy, int from, int to, bool server_says) {
    static uint8_t buffer[64 * KIB];
    ssize_t got = recv(from, buffer, sizeof(buffer), 0);
    if (got <= 0) {
        return false;
    }
    if (server_says) {
        uint64_t at = proxy->change_at - proxy->said;
        if (proxy->said <= proxy->change_at && at < (uint64_t)got) {
            buffer[at] ^= 0x10;
            atomic_store(&proxy->changed, true);
        }
        proxy->said += (uint64_t)got;
    }
    return write_all(to, buffer, (size_t)got);
}

static void serve_pair(struct proxy *proxy, int client) {
    struct sockaddr_in address = loopback(proxy->server_port);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = connect(server, (struct sockaddr *)&address, sizeof(address)) == 0;
    while (open && !atomic_load(&proxy->stop)) {
        struct pollfd polled[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
        if (poll(polled, 2, 100) <= 0) {
            continue;
        }
        open = (polled[0].revents == 0 || hand_on(proxy, client, server, false)) &&
               (polled[1].revents == 0 || hand_on(proxy, server, client, true));
    }
    close(server);
    close(client);
}

static void *proxy_run(void *arg) {
    struct proxy *proxy = arg;
    while (!atomic_load(&proxy->stop)) {
        struct pollfd polled = {.fd = proxy->listener, .events = POLLIN};
        if (poll(&polled, 1, 100) == 1) {
            serve_pair(proxy, accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC));
        }
    }
    return NULL;
}

static void proxy_start(struct proxy *proxy, const struct server *server, uint64_t change_at) {
    struct sockaddr_in address = loopback(0);
    socklen_t bytes = sizeof(address);
    *proxy = (struct proxy){.change_at = change_at};
    const char *port = strrchr(server->service[0], ':');
    assert_non_null(port);
    proxy->server_port = (uint16_t)strtoul(port + 1, NULL, 10);
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(listen(proxy->listener, 8), 0);
    assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &bytes), 0);
    snprintf(proxy->address, sizeof(proxy->address), "127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_run, proxy), 0);
}

static void proxy_stop(struct proxy *proxy) {
    atomic_store(&proxy->stop, true);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
}

/* Values of 1 MiB: headers are so few among their bytes that the changed one is of a value. */
static void run_through_proxy(const char *op, const char *verify, uint64_t change_at, int code) {
    struct server *server = server_start(SMALL_POOL);
    struct bench bench;
    struct proxy proxy;
    proxy_start(&proxy, server, change_at);
    bench_at(
        &bench, server, proxy.address, NULL,
        WORDS("--op", op, "--size", "1M", "--working-set", "8M", "--count", "24", "--verify", verify));
    proxy_stop(&proxy);
    if (code == 0) {
        assert_fine(&bench);
    } else {
        assert_failed(&bench, code, "of 1048576 is wrong");
    }
    assert_int_equal(atomic_load(&proxy.changed), change_at != UINT64_MAX);
    bench_free(&bench);
    server_stop(server);
}

static void test_verify__a_bit_changed_on_the_way__found(void **state) {
    (void)state;
    run_through_proxy("get", "all", UINT64_MAX, 0); /* the proxy alone changes nothing */
    run_through_proxy("get", "all", 5 * MIB + 12345, 1);
    run_through_proxy("get", "none", 5 * MIB + 12345, 0);
    /* What was put is read back: that is all that the server says of it. */
    run_through_proxy("put", "all", 5 * MIB + 12345, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_run__every_combination__plausible_and_verified),
        integration_test(test_run__over_a_unix_socket_for_a_time__the_same),
        integration_test(test_run__verify_less__says_so),
        integration_test(test_run__small_pool_of_large_blocks__takes_what_fits),
        integration_test(test_baseline__redis__same_requests_on_both),
        integration_test(test_baseline__memcached__same_requests_on_both),
        integration_test(test_baseline__not_installed__told),
        integration_test(test_run__nobody_there__one_line),
        integration_test(test_run__server_dies__exit_1_and_one_line),
        integration_test(test_run__values_evicted__told_with_a_hint),
        integration_test(test_run__json_cannot_be_written__exit_1),
        integration_test(test_options__wrong_or_asked_for_help__exit_codes),
        integration_test(test_output__full_disk_or_none__exit_1_and_one_line),
        integration_test(test_endpoint__from_the_environment__used),
        integration_test(test_verify__a_bit_changed_on_the_way__found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

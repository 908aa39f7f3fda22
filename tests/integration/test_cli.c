/* infinistore-cli against a real daemon: every command, exit codes, any bytes, JSON, files. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/integration/cli.h"
#include "tests/integration/harness.h"
#include "tests/integration/pty.h"
#include "tests/integration/values.h"

#define POOL "64M"
#define LARGE_BYTES (20 * MIB)

/* Random bytes: every value, NUL too, occurs. Owned by the caller. */
static uint8_t *random_value(size_t bytes) {
    uint8_t *value = malloc(bytes);
    uint64_t seed = bytes;
    assert_non_null(value);
    for (size_t i = 0; i < bytes; i++) {
        value[i] = (uint8_t)random_next(&seed);
    }
    return value;
}

static void write_file(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void assert_file_is(const char *path, const void *data, size_t bytes) {
    struct stat info;
    FILE *file = fopen(path, "re");
    uint8_t *read = malloc(bytes + 1);
    assert_non_null(file);
    assert_non_null(read);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(fread(read, 1, bytes + 1, file), bytes);
    assert_memory_equal(read, data, bytes);
    fclose(file);
    free(read);
}

/* ---- values ------------------------------------------------------------------------------------------- */

static void test_put_get__random_bytes__unchanged_through_pipes(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    static const size_t sizes[] = {1, 2, 1000, MIB, MIB + 1, LARGE_BYTES};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *value = random_value(sizes[i]);
        struct outcome outcome;
        cli_run(server, value, sizes[i], (const char *const[]){"put", "key", NULL}, &outcome);
        cli_assert(&outcome, 0, "", "");
        outcome_free(&outcome);
        cli_run(server, NULL, 0, (const char *const[]){"get", "key", i % 2 == 0 ? NULL : "-", NULL},
                &outcome);
        assert_int_equal(outcome.code, 0);
        assert_int_equal(outcome.out_bytes, sizes[i]);
        assert_memory_equal(outcome.out, value, sizes[i]);
        assert_int_equal(outcome.err_bytes, 0);
        outcome_free(&outcome);
        free(value);
    }
    server_stop(server);
}

static void test_put_get__files__whole_and_nothing_beside(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    char directory[] = "/tmp/ist-cli-XXXXXX", from[64], to[64];
    assert_non_null(mkdtemp(directory));
    snprintf(from, sizeof(from), "%s/from", directory);
    snprintf(to, sizeof(to), "%s/to", directory);
    uint8_t *value = random_value(LARGE_BYTES);
    write_file(from, value, LARGE_BYTES);
    cli_expect(server, 0, "", (const char *const[]){"put", "key", from, NULL});
    cli_expect(server, 0, "", (const char *const[]){"get", "key", to, NULL});
    assert_file_is(to, value, LARGE_BYTES);
    /* a failure leaves it as it is */
    cli_expect(server, 1, "", (const char *const[]){"get", "nobody", to, NULL});
    assert_file_is(to, value, LARGE_BYTES);
    cli_expect(server, 4, "", (const char *const[]){"get", "key", "/nonexistent/to", NULL});
    cli_expect(server, 4, "", (const char *const[]){"put", "key", "/nonexistent/from", NULL});
    cli_expect(server, 4, "", (const char *const[]){"get", "key", directory, NULL});
    assert_int_equal(unlink(from) | unlink(to), 0);
    assert_int_equal(rmdir(directory), 0); /* fails when anything else is in it */
    free(value);
    server_stop(server);
}

static void test_put__if_absent__keeps_what_is_there(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "key", "one");
    struct outcome outcome;
    cli_run(server, "two", 3, (const char *const[]){"put", "--if-absent", "key", NULL}, &outcome);
    cli_assert(&outcome, 1, "", "exists");
    outcome_free(&outcome);
    cli_expect(server, 0, "one", (const char *const[]){"get", "key", NULL});
    cli_run(server, "two", 3, (const char *const[]){"put", "--if-absent", "new", NULL}, &outcome);
    cli_assert(&outcome, 0, "", "");
    outcome_free(&outcome);
    cli_put_text(server, "key", "three");
    cli_expect(server, 0, "three", (const char *const[]){"get", "key", NULL});
    server_stop(server);
}

static void test_put__what_cannot_be_stored__exit_1_and_the_cause(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct outcome outcome;
    cli_run(server, "", 0, (const char *const[]){"put", "key", NULL}, &outcome);
    cli_assert(&outcome, 1, "", "empty");
    outcome_free(&outcome);
    uint8_t *value = random_value(65 * MIB);
    cli_run(server, value, 65 * MIB, (const char *const[]){"put", "key", NULL}, &outcome);
    cli_assert(&outcome, 1, "", "larger than the pool");
    outcome_free(&outcome);
    free(value);
    cli_expect(server, 1, "absent   key\n", (const char *const[]){"exists", "key", NULL});
    server_stop(server);
}

static void test_get__missing_key__exit_1_and_one_line(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct outcome outcome;
    cli_run(server, NULL, 0, (const char *const[]){"get", "no\nbody", NULL}, &outcome);
    cli_assert(&outcome, 1, "", "infinistore-cli: get no\\x0abody: no such key\n");
    outcome_free(&outcome);
    server_stop(server);
}

struct writer {
    struct ist_client *client;
    atomic_bool stop;
    atomic_uint rounds;
};

/* Every size from below the first buffer to far above it, each a surprise after the one before. */
static void *write_sizes(void *arg) {
    struct writer *writer = arg;
    uint64_t seed = 7;
    uint8_t *value = malloc(8 * MIB);
    while (value != NULL && !atomic_load(&writer->stop)) {
        uint64_t version = random_next(&seed);
        size_t bytes = VALUE_BYTES_MIN + (size_t)random_below(&seed, 8 * MIB - VALUE_BYTES_MIN);
        value_fill("key", version, value, bytes);
        struct ist_put_item item = {.key = key_of("key"), .value = value, .value_bytes = bytes};
        if (ist_put(writer->client, &item, 1, 0, 0) != IST_OK) {
            break;
        }
        atomic_fetch_add(&writer->rounds, 1);
    }
    free(value);
    return NULL;
}

static void test_get__value_replaced_all_the_time__one_of_them_whole(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct writer writer = {.client = client_open(server->service[0])};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_sizes, &writer), 0);
    assert_eventually(atomic_load(&writer.rounds) > 0);
    for (unsigned i = 0; i < 20; i++) {
        struct outcome outcome;
        uint64_t version;
        cli_run(server, NULL, 0, (const char *const[]){"get", "key", NULL}, &outcome);
        assert_int_equal(outcome.code, 0);
        assert_true(value_check("key", outcome.out, outcome.out_bytes, &version));
        outcome_free(&outcome);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&writer.rounds) > 1);
    ist_client_free(writer.client);
    server_stop(server);
}

/* ---- keys --------------------------------------------------------------------------------------------- */

static void test_keys__presence_and_removal__figures_and_exit_codes(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "a", "1");
    cli_put_text(server, "b", "2");
    cli_put_text(server, "d", "4");
    cli_expect(server, 0, "present  a\npresent  b\n", (const char *const[]){"exists", "a", "b", NULL});
    cli_expect(server, 1, "present  a\nabsent   c\n", (const char *const[]){"exists", "a", "c", NULL});
    cli_expect(server, 0, "2\n", (const char *const[]){"match", "a", "b", "c", "d", NULL});
    cli_expect(server, 1, "0\n", (const char *const[]){"match", "c", "d", NULL});
    cli_expect(server, 0, "3\n", (const char *const[]){"match", "--last", "a", "b", "c", "d", NULL});
    cli_expect(server, 1, "-1\n", (const char *const[]){"match", "--last", "c", "e", NULL});
    cli_expect(server, 0, "2\n", (const char *const[]){"rm", "a", "b", NULL});
    cli_expect(server, 1, "1\n", (const char *const[]){"rm", "a", "d", NULL});
    cli_put_text(server, "e", "5");
    cli_expect(server, 0, "1\n", (const char *const[]){"purge", NULL});
    cli_expect(server, 1, "absent   e\n", (const char *const[]){"exists", "e", NULL});
    server_stop(server);
}

static void test_keys__hex__any_bytes(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct outcome outcome;
    cli_run(server, "v\0w", 3, (const char *const[]){"put", "--hex", "00ff0A", NULL}, &outcome);
    cli_assert(&outcome, 0, "", "");
    outcome_free(&outcome);
    cli_run(server, NULL, 0, (const char *const[]){"get", "-x", "00FF0a", NULL}, &outcome);
    assert_int_equal(outcome.out_bytes, 3);
    assert_memory_equal(outcome.out, "v\0w", 3);
    outcome_free(&outcome);
    cli_expect(server, 0, "present  00ff0a\n", (const char *const[]){"exists", "-x", "00ff0a", NULL});
    /* not the same as the digits */
    cli_expect(server, 1, "absent   00ff0a\n", (const char *const[]){"exists", "00ff0a", NULL});
    cli_put_text(server, "--json", "odd");
    cli_expect(server, 0, "odd", (const char *const[]){"get", "--", "--json", NULL});
    server_stop(server);
}

/* ---- usage -------------------------------------------------------------------------------------------- */

static void test_usage__wrong__exit_2_and_one_line_that_names_it(void **state) {
    (void)state;
    static const struct {
        const char *arguments[4], *named;
    } wrong[] = {{{NULL}, "command"},
                 {{"fetch", NULL}, "fetch"},
                 {{"get", NULL}, "get"},
                 {{"get", "key", "--no-such", NULL}, "--no-such"},
                 {{"put", "--last", "key", NULL}, "--last"},
                 {{"ping", "-c", "x", NULL}, "--count"},
                 {{"get", "-x", "abc", NULL}, "abc"},
                 {{"get", "", NULL}, "0 bytes"},
                 {{"help", "fetch", NULL}, "fetch"}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct outcome outcome;
        cli_run(NULL, NULL, 0, wrong[i].arguments, &outcome);
        cli_assert(&outcome, 2, "", wrong[i].named);
        outcome_free(&outcome);
    }
}

static void assert_fits_80_columns(const char *text) {
    assert_true(text[0] != '\0' && text[strlen(text) - 1] == '\n');
    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n") + 1) {
        if (strcspn(at, "\n") >= 80) {
            fail_msg("wider than 80 columns: %.100s", at);
        }
    }
}

static void test_usage__help_and_version__on_stdout(void **state) {
    (void)state;
    static const char *const commands[] = {"put",   "get",  "exists", "match", "rm",
                                           "purge", "stat", "ping",   "help"};
    cli_expect(NULL, 0, "infinistore-cli " IST_VERSION "\n", (const char *const[]){"--version", NULL});
    struct outcome whole;
    cli_run(NULL, NULL, 0, (const char *const[]){"--help", NULL}, &whole);
    assert_int_equal(whole.code, 0);
    assert_int_equal(whole.err_bytes, 0);
    assert_fits_80_columns(whole.out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct outcome one, same;
        char usage[64], listed[64];
        snprintf(listed, sizeof(listed), "\n  %s ", commands[i]);
        assert_non_null(strstr(whole.out, listed));
        snprintf(usage, sizeof(usage), "Usage: infinistore-cli %s ", commands[i]);
        cli_run(NULL, NULL, 0, (const char *const[]){"help", commands[i], NULL}, &one);
        assert_int_equal(one.code, 0);
        assert_true(strncmp(one.out, usage, strlen(usage)) == 0);
        assert_fits_80_columns(one.out);
        if (strcmp(commands[i], "help") != 0) {
            cli_run(NULL, NULL, 0, (const char *const[]){commands[i], "--help", NULL}, &same);
            assert_string_equal(one.out, same.out);
            outcome_free(&same);
        }
        outcome_free(&one);
    }
    outcome_free(&whole);
}

/* ---- servers that are not there ----------------------------------------------------------------------- */

static void test_server__none__exit_3_and_one_line_that_names_it(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    char endpoint[SERVER_ADDRESS_BYTES];
    strcpy(endpoint, server->service[0]);
    server_stop(server);
    static const char *const commands[][4] = {
        {"get", "key", NULL},      {"exists", "key", NULL}, {"match", "key", NULL},
        {"rm", "key", NULL},       {"purge", NULL},         {"stat", NULL},
        {"stat", "--watch", NULL}, {"ping", NULL},          {"put", "key", "/dev/null", NULL}};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const char *arguments[8] = {"--endpoint", endpoint};
        memcpy(arguments + 2, commands[i], sizeof(commands[i]));
        struct outcome outcome;
        cli_run(NULL, NULL, 0, arguments, &outcome);
        cli_assert(&outcome, 3, "", endpoint);
        outcome_free(&outcome);
    }
}

static void test_server__several_endpoints__the_first_that_answers(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct server *dead = server_start("--prealloc-size", POOL);
    char list[2 * SERVER_ADDRESS_BYTES + 1], variable[sizeof(list) + 32];
    snprintf(list, sizeof(list), "%s,%s", dead->service[0], server->service[0]);
    server_stop(dead);
    cli_put_text(server, "key", "value");
    cli_expect(NULL, 0, "value", (const char *const[]){"-e", list, "get", "key", NULL});
    struct outcome outcome;
    char answer[SERVER_ADDRESS_BYTES + 32];
    snprintf(answer, sizeof(answer), "reply from %s: seq=1 ", server->service[0]);
    cli_run(NULL, NULL, 0, (const char *const[]){"-e", list, "ping", NULL}, &outcome);
    assert_int_equal(outcome.code, 0);
    assert_ptr_equal(strstr(outcome.out, answer), outcome.out);
    outcome_free(&outcome);
    snprintf(variable, sizeof(variable), "INFINISTORE_ENDPOINT=%s", server->service[0]);
    const char *const environment[] = {variable, NULL};
    const char *const arguments[] = {program_path("infinistore-cli"), "get", "key", NULL};
    program_run(&(const struct program){.arguments = arguments, .environment = environment}, &outcome);
    cli_assert(&outcome, 0, "value", "");
    outcome_free(&outcome);
    cli_run(NULL, NULL, 0, (const char *const[]){"-e", "host:99999", "get", "key", NULL}, &outcome);
    cli_assert(&outcome, 2, "", "host:99999");
    outcome_free(&outcome);
    server_stop(server);
}

static void test_server__does_not_answer__exit_3_at_the_timeout(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "key", "value");
    server_signal(server, SIGSTOP);
    static const char *const commands[][4] = {
        {"get", "key", NULL}, {"ping", NULL}, {"stat", NULL}, {"stat", "--watch", NULL}};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const char *arguments[8] = {"--timeout", "0.3"};
        memcpy(arguments + 2, commands[i], sizeof(commands[i]));
        struct outcome outcome;
        uint64_t begun_ns = now_ns();
        cli_run(server, NULL, 0, arguments, &outcome);
        assert_int_equal(outcome.code, 3);
        assert_true(now_ns() - begun_ns < PATIENCE_NS / 2);
        outcome_free(&outcome);
    }
    server_signal(server, SIGCONT);
    server_stop(server);
}

/* ---- output that fails -------------------------------------------------------------------------------- */

static void test_output__full_disk_or_closed_pipe__exit_4_and_a_line(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "key", "value");
    static const struct {
        const char *line;
        int cause;
    } lines[] = {
        {"\"$0\" -e \"$1\" get key >/dev/full", ENOSPC},
        {"\"$0\" -e \"$1\" exists key >/dev/full", ENOSPC},
        {"\"$0\" -e \"$1\" stat --json >/dev/full", ENOSPC},
        {"\"$0\" -e \"$1\" ping -c 2 -i 0 >/dev/full", ENOSPC},
        {"\"$0\" -e \"$1\" stat --watch=0.01 >/dev/full", ENOSPC},
        {"\"$0\" --help >/dev/full", ENOSPC},
        /* the reader is gone before the first byte: it leaves when its end of the pipe is closed */
        {"set -e; d=$(mktemp -d); mkfifo $d/f; exec 3<>$d/f 4>$d/f 3<&-; rm -r $d;"
         " \"$0\" -e \"$1\" get key >&4",
         EPIPE},
        /* and not into what was opened instead, such as the connection */
        {"\"$0\" -e \"$1\" get key >&-", EBADF},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s", program_path("infinistore-cli"));
        const char *const arguments[] = {"/bin/sh",          "-c", lines[i].line, path,
                                         server->service[0], NULL};
        struct outcome outcome;
        program_run(&(const struct program){.arguments = arguments}, &outcome);
        char said[128];
        snprintf(said, sizeof(said), "cannot write standard output: %s\n", strerror(lines[i].cause));
        cli_assert(&outcome, 4, "", said);
        outcome_free(&outcome);
    }
    server_stop(server);
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

/* Runs with --json; the object is owned by the caller. */
static json_t *run_json(const struct server *server, const void *input, size_t bytes, int code,
                        const char *const *arguments) {
    const char *all[16] = {"--json"};
    for (size_t i = 0; i < 14 && arguments[i] != NULL; i++) {
        all[i + 1] = arguments[i];
    }
    struct outcome outcome;
    json_error_t error;
    cli_run(server, input, bytes, all, &outcome);
    if (outcome.code != code) {
        fail_msg("%s: exit %d, said %s", arguments[0], outcome.code, outcome.err);
    }
    json_t *object = json_loads(outcome.out, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) {
        fail_msg("%s: %s: %s", arguments[0], error.text, outcome.out);
    }
    outcome_free(&outcome);
    return object;
}

static void assert_json(const struct server *server, const char *input, int code,
                        const char *const *arguments, const char *expected) {
    json_error_t error;
    json_t *must = json_loads(expected, 0, &error);
    assert_non_null(must);
    json_t *is = run_json(server, input, strlen(input), code, arguments);
    if (!json_equal(must, is)) {
        char *text = json_dumps(is, 0);
        fail_msg("%s: %s, not %s", arguments[0], text, expected);
    }
    json_decref(is);
    json_decref(must);
}

static void test_json__every_command__one_object(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    assert_json(server, "gr\xc3\xbc\xc3\x9f\n", 0, (const char *const[]){"put", "key", NULL},
                "{\"status\":\"OK\",\"key\":\"key\",\"bytes\":7}");
    assert_json(server, "", 0, (const char *const[]){"get", "key", NULL},
                "{\"status\":\"OK\",\"key\":\"key\",\"bytes\":7,\"value\":\"gr\xc3\xbc\xc3\x9f\\n\"}");
    assert_json(server, "\xff\xfe", 0, (const char *const[]){"put", "-x", "00", NULL},
                "{\"status\":\"OK\",\"key_hex\":\"00\",\"bytes\":2}");
    assert_json(server, "", 0, (const char *const[]){"get", "-x", "00", NULL},
                "{\"status\":\"OK\",\"key_hex\":\"00\",\"bytes\":2,\"value_base64\":\"//4=\"}");
    assert_json(
        server, "", 1, (const char *const[]){"exists", "key", "no", NULL},
        "{\"status\":\"OK\",\"present\":1,\"of\":2,\"keys\":[{\"key\":\"key\",\"present\":true},"
        "{\"key\":\"no\",\"present\":false}]}");
    assert_json(server, "", 0, (const char *const[]){"match", "key", "no", NULL},
                "{\"status\":\"OK\",\"matched\":1,\"of\":2}");
    assert_json(server, "", 0, (const char *const[]){"match", "--last", "no", "key", NULL},
                "{\"status\":\"OK\",\"index\":1,\"key\":\"key\"}");
    assert_json(server, "", 1, (const char *const[]){"match", "--last", "no", NULL},
                "{\"status\":\"OK\",\"index\":-1}");
    assert_json(server, "", 1, (const char *const[]){"rm", "key", "no", NULL},
                "{\"status\":\"OK\",\"removed\":1,\"of\":2}");
    assert_json(server, "", 0, (const char *const[]){"purge", NULL},
                "{\"status\":\"OK\",\"purged\":1}");
    server_stop(server);
}

static void test_json__get_to_a_file__names_it(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    char path[] = "/tmp/ist-cli-XXXXXX", expected[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    cli_put_text(server, "key", "value");
    snprintf(expected, sizeof(expected),
             "{\"status\":\"OK\",\"key\":\"key\",\"bytes\":5,\"file\":\"%s\"}", path);
    assert_json(server, "", 0, (const char *const[]){"get", "key", path, NULL}, expected);
    assert_file_is(path, "value", 5);
    assert_int_equal(unlink(path), 0);
    server_stop(server);
}

static void assert_failed(const struct server *server, const char *input, int code,
                          const char *const *arguments, const char *status) {
    json_t *object = run_json(server, input, strlen(input), code, arguments);
    assert_string_equal(json_string_value(json_object_get(object, "status")), status);
    assert_true(json_string_length(json_object_get(object, "error")) > 0);
    json_decref(object);
}

static void test_json__failures__an_object_too(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "key", "value");
    assert_failed(server, "", 1, (const char *const[]){"get", "no", NULL}, "NOT_FOUND");
    assert_failed(server, "x", 1, (const char *const[]){"put", "--if-absent", "key", NULL}, "EXISTS");
    assert_failed(server, "", 1, (const char *const[]){"put", "key", NULL}, "INVALID");
    assert_failed(server, "", 4, (const char *const[]){"get", "key", "/nonexistent/x", NULL}, "LOCAL");
    assert_failed(server, "", 4, (const char *const[]){"put", "key", "/nonexistent/x", NULL}, "LOCAL");
    char endpoint[SERVER_ADDRESS_BYTES];
    strcpy(endpoint, server->service[0]);
    server_stop(server);
    assert_failed(NULL, "", 3, (const char *const[]){"-e", endpoint, "get", "key", NULL}, "PEER");
}

static void test_json__stat_and_ping__figures(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "key", "value");
    json_t *object = run_json(server, "", 0, 0, (const char *const[]){"stat", NULL});
    const json_t *metrics = json_object_get(object, "metrics");
    assert_true(json_number_value(json_object_get(metrics, "infinistore_keys_stored")) == 1);
    assert_true(json_number_value(json_object_get(metrics, "infinistore_pool_size_bytes")) == 64 * MIB);
    assert_true(json_number_value(json_object_get(
                    metrics, "infinistore_operations_total{op=\"put\",status=\"OK\"}")) == 1);
    json_decref(object);
    object = run_json(server, "", 0, 0, (const char *const[]){"ping", "-c", "3", "-i", "0", NULL});
    assert_int_equal(json_integer_value(json_object_get(object, "sent")), 3);
    assert_int_equal(json_integer_value(json_object_get(object, "received")), 3);
    assert_string_equal(json_string_value(json_object_get(object, "endpoint")), server->service[0]);
    double min = json_number_value(json_object_get(object, "min_ms"));
    double avg = json_number_value(json_object_get(object, "avg_ms"));
    double max = json_number_value(json_object_get(object, "max_ms"));
    assert_true(min > 0 && min <= avg && avg <= max);
    json_decref(object);
    server_stop(server);
}

/* ---- for people --------------------------------------------------------------------------------------- */

static void test_stat__plain__groups_with_units(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "key", "value");
    struct outcome outcome;
    cli_run(server, NULL, 0, (const char *const[]){"stat", NULL}, &outcome);
    assert_int_equal(outcome.code, 0);
    static const char *const shown[] = {"Pool\n  size                         64 MiB\n",
                                        "  stored                            1\n",
                                        "Operations",
                                        "Cache",
                                        "Sessions",
                                        "Network"};
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        if (strstr(outcome.out, shown[i]) == NULL) {
            fail_msg("no %s in:\n%s", shown[i], outcome.out);
        }
    }
    assert_null(strchr(outcome.out, '\033'));
    outcome_free(&outcome);
    server_stop(server);
}

static void test_ping__some__as_ping_shows_them(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct outcome outcome;
    cli_run(server, NULL, 0, (const char *const[]){"ping", NULL}, &outcome);
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.out, "seq=1 time="));
    assert_null(strstr(outcome.out, "statistics"));
    outcome_free(&outcome);
    cli_run(server, NULL, 0, (const char *const[]){"ping", "-c3", "-i0.01", NULL}, &outcome);
    assert_int_equal(outcome.code, 0);
    assert_non_null(strstr(outcome.out, "seq=3 time="));
    assert_non_null(strstr(outcome.out, "3 sent, 3 received, 0% lost"));
    assert_non_null(strstr(outcome.out, "rtt min/avg/max/mdev = "));
    outcome_free(&outcome);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_put_get__random_bytes__unchanged_through_pipes),
        integration_test(test_put_get__files__whole_and_nothing_beside),
        integration_test(test_put__if_absent__keeps_what_is_there),
        integration_test(test_put__what_cannot_be_stored__exit_1_and_the_cause),
        integration_test(test_get__missing_key__exit_1_and_one_line),
        integration_test(test_get__value_replaced_all_the_time__one_of_them_whole),
        integration_test(test_keys__presence_and_removal__figures_and_exit_codes),
        integration_test(test_keys__hex__any_bytes),
        integration_test(test_usage__wrong__exit_2_and_one_line_that_names_it),
        integration_test(test_usage__help_and_version__on_stdout),
        integration_test(test_server__none__exit_3_and_one_line_that_names_it),
        integration_test(test_server__several_endpoints__the_first_that_answers),
        integration_test(test_server__does_not_answer__exit_3_at_the_timeout),
        integration_test(test_output__full_disk_or_closed_pipe__exit_4_and_a_line),
        integration_test(test_json__every_command__one_object),
        integration_test(test_json__get_to_a_file__names_it),
        integration_test(test_json__failures__an_object_too),
        integration_test(test_json__stat_and_ping__figures),
        integration_test(test_stat__plain__groups_with_units),
        integration_test(test_ping__some__as_ping_shows_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

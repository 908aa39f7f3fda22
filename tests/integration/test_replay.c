/* `infinistore-bench replay` against a daemon: hit ratios, every byte, and what it says when something is wrong. */
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/integration/harness.h"
#include "tests/integration/program.h"
#include "tests/integration/values.h"
#include "workload/block_key.h"
#include "workload/model.h"

#define ARGUMENTS_MAX 32
#define LAYER_BYTES 4096u /* of llama-3-8b with --scale 512 */
#define SMALL "--layers", "2", "--scale", "512"

#define LINE(arrival, ids)                                                                             \
    "{\"timestamp\": " #arrival ", \"input_length\": 1000, \"output_length\": 10, \"hash_ids\": [" ids \
    "]}\n"

/* 13 blocks; 0 + 3 + 1 + 4 of them are there before, however many prefills work at a time. */
#define TINY LINE(0, "0, 1, 2") LINE(0, "0, 1, 2, 3") LINE(0, "0, 9") LINE(0, "0, 1, 2, 3")

/* ---- running it ----------------------------------------------------------------------------------- */

struct replay {
    struct outcome outcome;
    json_t *json; /* NULL: it wrote none */
    char svg[96], path[96];
};

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Against the server, with `input` as stdin, and --json and --svg in the server's directory. */
static void replay_with(struct replay *replay, const struct server *server, const char *input,
                        _Atomic pid_t *pid, const char *const *words) {
    const char *arguments[ARGUMENTS_MAX] = {program_path("infinistore-bench"),
                                            "replay",
                                            "--endpoint",
                                            server->service[0],
                                            "--json",
                                            NULL,
                                            "--svg",
                                            NULL};
    size_t count = 8;
    snprintf(replay->path, sizeof(replay->path), "%s/replay.json", server->directory);
    snprintf(replay->svg, sizeof(replay->svg), "%s/replay.svg", server->directory);
    unlink(replay->path);
    unlink(replay->svg);
    arguments[5] = replay->path;
    arguments[7] = replay->svg;
    for (; *words != NULL; words++) {
        assert_true(count < ARGUMENTS_MAX - 1);
        arguments[count++] = *words;
    }
    const struct program program = {
        .arguments = arguments, .input = input, .input_bytes = strlen(input), .pid = pid};
    program_run(&program, &replay->outcome);
    replay->json = json_load_file(replay->path, 0, NULL);
}

#define replay_run(replay, server, input, ...)                                                         \
    replay_with(replay, server, input, NULL, (const char *const[]){__VA_ARGS__, NULL})

static void replay_fini(struct replay *replay) {
    json_decref(replay->json);
    outcome_free(&replay->outcome);
}

static void assert_code(const struct replay *replay, int code) {
    if (replay->outcome.code != code) {
        fail_msg("exit code %d, not %d:\n%s%s", replay->outcome.code, code, replay->outcome.out,
                 replay->outcome.err);
    }
}

static double number_of(const struct replay *replay, const char *name) {
    const json_t *value = json_object_get(replay->json, name);
    if (!json_is_number(value)) {
        fail_msg("%s is no number; %s%s", name, replay->outcome.out, replay->outcome.err);
    }
    return json_number_value(value);
}

/* stderr has one line, and these words in it. */
static void assert_one_line(const struct replay *replay, const char *words) {
    const char *err = replay->outcome.err, *end = strchr(err, '\n');
    if (end == NULL || end[1] != '\0' || strstr(err, words) == NULL) {
        fail_msg("not one line with \"%s\": %s", words, err);
    }
}

/* ---- all well ------------------------------------------------------------------------------------- */

static void test_replay__small_pool__evicts_and_every_byte_is_right(void **state) {
    (void)state;
    bool slow = daemon_is_slow();
    struct server *server =
        server_start("--prealloc-size", slow ? "6M" : "24M", "--minimal-allocate-size", "4");
    struct replay replay;
    replay_run(&replay, server, "", "--requests", slow ? "100" : "400", SMALL);
    assert_code(&replay, 0);
    assert_string_equal(replay.outcome.err, "");
    assert_true(number_of(&replay, "wrong_values") == 0);
    assert_true(number_of(&replay, "evicted_values") > 0);
    double hit = number_of(&replay, "hit_ratio"), limit = number_of(&replay, "unlimited_hit_ratio");
    assert_true(hit > limit / 3 && hit <= limit);
    /* each block went to a decode, but for those that were evicted meanwhile */
    double wanted = number_of(&replay, "decode_blocks"),
           missed = number_of(&replay, "decode_missed_blocks");
    assert_true(wanted == number_of(&replay, "blocks") && missed < wanted / 10);
    assert_true(number_of(&replay, "requests_finished") == number_of(&replay, "requests"));
    assert_int_equal(access(replay.svg, R_OK), 0);
    assert_non_null(strstr(replay.outcome.out, "every byte was right"));
    replay_fini(&replay);
    server_stop(server);
}

/* The order that replay_jobs.h promises: the same hits with one client and with many. */
static void test_replay__tiny_trace__exact_hits_with_any_number_of_clients(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    static const char *const clients[] = {"1", "2", "8"};
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        struct replay replay;
        replay_run(&replay, server, TINY, "--trace", "-", SMALL, "--purge", "--prefill", clients[i],
                   "--decode", clients[i]);
        assert_code(&replay, 0);
        assert_true(number_of(&replay, "requests") == 4);
        assert_true(number_of(&replay, "blocks") == 13);
        assert_true(number_of(&replay, "hit_blocks") == 8);
        assert_true(number_of(&replay, "unlimited_hit_ratio") * 13 > 7.99);
        assert_true(number_of(&replay, "decode_missed_blocks") == 0);
        const json_t *put = json_object_get(replay.json, "put");
        const json_t *get = json_object_get(replay.json, "get");
        assert_int_equal(json_integer_value(json_object_get(put, "values")), 5 * 2);
        assert_int_equal(json_integer_value(json_object_get(put, "bytes")), 5 * 2 * LAYER_BYTES);
        assert_int_equal(json_integer_value(json_object_get(get, "values")), (8 + 13) * 2);
        const json_t *puts = json_object_get(json_object_get(replay.json, "latency"), "put");
        assert_int_equal(json_integer_value(json_object_get(puts, "count")), 3); /* the last has none */
        replay_fini(&replay);
    }
    server_stop(server);
}

static void test_replay__again_without_purge__all_hits_and_a_note(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct replay replay;
    for (int i = 0; i < 2; i++) {
        replay_run(&replay, server, TINY, "--trace", "-", SMALL);
        assert_code(&replay, 0);
        assert_true(number_of(&replay, "hit_blocks") == (i == 0 ? 8 : 13));
        bool noted = strstr(replay.outcome.out, "the server held 10 keys before") != NULL;
        assert_true(noted == (i == 1));
        replay_fini(&replay);
    }
    server_stop(server);
}

/* A block without one of its layers is no block; its other layer is not moved again. */
static void test_replay__a_layer_was_removed__prefix_ends_there(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct ist_client *client = client_open(server->service[0]);
    struct replay replay;
    replay_run(&replay, server, TINY, "--trace", "-", SMALL);
    assert_code(&replay, 0);
    replay_fini(&replay);
    for (unsigned layer = 0; layer < 2; layer++) {
        char key[IST_BLOCK_KEY_MAX];
        size_t key_bytes = ist_block_key_write(key, "llama-3-8b", LAYER_BYTES, 1, layer);
        size_t removed = 0;
        const struct ist_key keys = {key, key_bytes};
        assert_int_equal(ist_remove(client, &keys, 1, &removed, 0), IST_OK);
        assert_int_equal(removed, 1);
        replay_run(&replay, server, TINY, "--trace", "-", SMALL, "--prefill", "1");
        assert_code(&replay, 0);
        /* 0 is there, 1 and what follows is not, then it is */
        assert_true(number_of(&replay, "hit_blocks") == 1 + 4 + 2 + 4);
        assert_true(number_of(&replay, "present_values") == 1 + 2);
        const json_t *put = json_object_get(replay.json, "put");
        assert_int_equal(json_integer_value(json_object_get(put, "values")), 1);
        replay_fini(&replay);
    }
    ist_client_free(client);
    server_stop(server);
}

static void test_replay__gzip_file__the_same(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    char path[128];
    snprintf(path, sizeof(path), "%s/trace.jsonl.gz", server->directory);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_true(gzputs(file, TINY) > 0);
    assert_int_equal(gzclose(file), Z_OK);
    struct replay replay;
    replay_run(&replay, server, "", "--trace", path, SMALL);
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "hit_blocks") == 8);
    replay_fini(&replay);
    server_stop(server);
}

/* Chosen by itself, a block is such that the pool holds enough of them, and few enough. */
static void test_replay__no_size_asked_for__fits_the_pool(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M", "--minimal-allocate-size", "4");
    struct replay replay;
    replay_run(&replay, server, TINY, "--trace", "-");
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "pool_bytes") == 64 << 20);
    assert_true(number_of(&replay, "layers") == 4);
    assert_true(number_of(&replay, "layer_bytes") == 1024);
    assert_non_null(strstr(replay.outcome.out, "it rounds values of 1 KiB up"));
    replay_fini(&replay);
    server_stop(server);
}

/* The daemon serves while its pool still grows. */
static void test_replay__pool_not_yet_whole__waits_for_it(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "192M");
    struct replay replay;
    replay_run(&replay, server, TINY, "--trace", "-");
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "pool_ready_bytes") == 192 * MIB);
    replay_fini(&replay);
    server_stop(server);
}

/* A request larger than the pool: what does not fit is missed by its decode, which is no error. */
static void test_replay__request_larger_than_the_pool__misses_and_exit_0(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "2M", "--minimal-allocate-size", "4");
    char trace[16384];
    size_t used = (size_t)sprintf(trace, "{\"timestamp\":0,\"input_length\":1,\"output_length\":1,"
                                         "\"hash_ids\":[0");
    for (unsigned i = 1; i < 1000; i++) {
        used += (size_t)sprintf(trace + used, ",%u", i);
    }
    strcpy(trace + used, "]}\n");
    struct replay replay;
    replay_run(&replay, server, trace, "--trace", "-", SMALL);
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "hit_blocks") == 0);
    assert_true(number_of(&replay, "decode_blocks") == 1000);
    assert_true(number_of(&replay, "decode_missed_blocks") >= 1000 - 512);
    assert_true(number_of(&replay, "wrong_values") == 0);
    replay_fini(&replay);
    server_stop(server);
}

/* ---- pace and limits ------------------------------------------------------------------------------ */

#define PACED LINE(1000, "0, 1") LINE(1200, "0, 2") LINE(1400, "0, 1, 3")

static void test_replay__recorded_or_scaled_pace__takes_its_time(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct replay replay;
    replay_run(&replay, server, PACED, "--trace", "-", SMALL, "--pace", "recorded");
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "elapsed_seconds") >= .4);
    assert_true(number_of(&replay, "trace_seconds") == .4);
    assert_true(number_of(&replay, "hit_blocks") == 3);
    assert_non_null(strstr(replay.outcome.out, "behind the pace"));
    replay_fini(&replay);
    replay_run(&replay, server, PACED, "--trace", "-", SMALL, "--pace", "0.5");
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "elapsed_seconds") >= .8);
    replay_fini(&replay);
    server_stop(server);
}

static void test_replay__limits__end_there(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct replay replay;
    replay_run(&replay, server, TINY, "--trace", "-", SMALL, "--limit", "3");
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "requests") == 3);
    replay_fini(&replay);
    replay_run(&replay, server, "", SMALL, "--pace", "recorded", "--limit", "300ms");
    assert_code(&replay, 0);
    assert_true(number_of(&replay, "elapsed_seconds") < 30); /* not the trace's hour */
    assert_true(number_of(&replay, "requests") < 12031);
    replay_fini(&replay);
    server_stop(server);
}

/* ---- what is wrong -------------------------------------------------------------------------------- */

static void test_replay__damaged_trace__named_and_exit_1(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    char path[128], expected[200];
    snprintf(path, sizeof(path), "%s/damaged.jsonl", server->directory);
    write_file(path, LINE(0, "0, 1") "\n" LINE(0, "0, 1, x"));
    struct replay replay;
    replay_run(&replay, server, "", "--trace", path, SMALL);
    assert_code(&replay, 1);
    snprintf(expected, sizeof(expected), "%s:3: ", path);
    assert_one_line(&replay, expected);
    assert_true(number_of(&replay, "requests_finished") == 1); /* what came before was played */
    assert_non_null(strstr(json_string_value(json_object_get(replay.json, "failure")), expected));
    replay_fini(&replay);
    server_stop(server);
}

static void test_replay__wrong_option_or_no_such_trace__exit_2(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct replay replay;
    replay_run(&replay, server, "", "--trace", "/nowhere/trace.jsonl");
    assert_code(&replay, 2);
    assert_one_line(&replay, "--trace /nowhere/trace.jsonl: No such file");
    replay_fini(&replay);
    replay_run(&replay, server, "", "--prefill", "none");
    assert_code(&replay, 2);
    assert_one_line(&replay, "--prefill none");
    replay_fini(&replay);
    server_stop(server);
}

static void test_replay__nobody_listens__the_address_and_exit_1(void **state) {
    (void)state;
    const char *const arguments[] = {program_path("infinistore-bench"), "replay", "--endpoint",
                                     "127.0.0.1:1", NULL};
    struct replay replay = {.json = NULL};
    program_run(&(const struct program){.arguments = arguments}, &replay.outcome);
    assert_code(&replay, 1);
    assert_one_line(&replay, "127.0.0.1:1");
    assert_string_equal(replay.outcome.out, "");
    replay_fini(&replay);
}

static void test_replay__block_larger_than_the_pool__told_so(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "1M");
    struct replay replay;
    replay_run(&replay, server, "", "--scale", "1", "--layers", "1");
    assert_code(&replay, 1);
    assert_one_line(&replay, "a block of 2097152 bytes is larger than the server's pool");
    replay_fini(&replay);
    server_stop(server);
}

static void test_replay__report_cannot_be_written__named_and_exit_1(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct replay replay;
    replay_run(&replay, server, TINY, "--trace", "-", SMALL, "--svg", "/nowhere/x.svg");
    assert_code(&replay, 1);
    assert_one_line(&replay, "/nowhere/x.svg: No such file");
    replay_fini(&replay);
    replay_run(&replay, server, TINY, "--trace", "-", SMALL, "--json", "/dev/full");
    assert_code(&replay, 1);
    assert_one_line(&replay, "/dev/full: No space left");
    replay_fini(&replay);
    server_stop(server);
}

/* Another client's bytes under a key of ours: of the right length, and of another one. */
static void test_replay__foreign_bytes_under_a_key__told_with_key_and_byte(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct ist_client *client = client_open(server->service[0]);
    struct replay replay;
    replay_run(&replay, server, TINY, "--trace", "-", SMALL);
    assert_code(&replay, 0);
    replay_fini(&replay);
    char key[IST_BLOCK_KEY_MAX], expected[IST_BLOCK_KEY_MAX + 64];
    size_t key_bytes = ist_block_key_write(key, "llama-3-8b", LAYER_BYTES, 2, 1);
    uint8_t value[LAYER_BYTES];
    struct ist_get_item get = {.key = {key, key_bytes}, .buffer = value, .buffer_bytes = sizeof(value)};
    assert_int_equal(ist_get(client, &get, 1, 0), IST_OK);
    value[1234] ^= 0x40;
    struct ist_put_item put = {.key = {key, key_bytes}, .value = value, .value_bytes = sizeof(value)};
    assert_int_equal(ist_put(client, &put, 1, 0, 0), IST_OK);
    replay_run(&replay, server, TINY, "--trace", "-", SMALL);
    assert_code(&replay, 1);
    snprintf(expected, sizeof(expected), "%s: byte 1234 is 0x%02x instead of 0x%02x", key, value[1234],
             value[1234] ^ 0x40);
    assert_one_line(&replay, expected);
    assert_true(number_of(&replay, "wrong_values") == 6); /* three requests, by prefill and decode */
    assert_non_null(strstr(replay.outcome.out, "WRONG"));
    replay_fini(&replay);
    replay_run(&replay, server, TINY, "--trace", "-", SMALL, "--no-verify");
    assert_code(&replay, 0); /* nobody looked */
    replay_fini(&replay);
    put.value_bytes = 5;
    assert_int_equal(ist_put(client, &put, 1, 0, 0), IST_OK);
    replay_run(&replay, server, TINY, "--trace", "-", SMALL, "--no-verify");
    assert_code(&replay, 1);
    snprintf(expected, sizeof(expected), "%s has 5 bytes instead of 4096", key);
    assert_one_line(&replay, expected);
    replay_fini(&replay);
    ist_client_free(client);
    server_stop(server);
}

/* ---- ended from outside --------------------------------------------------------------------------- */

/* Waits in a thread of its own until the replay has stored something more, then sends the signal. */
struct ender {
    const struct server *server;
    _Atomic pid_t replay;
    atomic_bool ready;
    bool ends_server;
    int signal;
    bool sent;
};

static double count_of(struct ist_client *client, const char *name) {
    struct ist_metrics *metrics = NULL;
    double count = 0;
    if (ist_stat(client, &metrics, 0) == IST_OK) {
        for (size_t i = 0; i < metrics->count; i++) {
            if (strcmp(metrics->items[i].name, name) == 0) {
                count = metrics->items[i].value;
            }
        }
        ist_metrics_free(metrics);
    }
    return count;
}

static double stored_bytes(struct ist_client *client) {
    return count_of(client, "infinistore_put_bytes_total");
}

static void *end(void *argument) {
    struct ender *ender = argument;
    struct ist_client *client = NULL;
    const struct ist_client_options options = {.endpoints = ender->server->service[0]};
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    if (ist_client_new(&options, &client, NULL, 0) != IST_OK) {
        return NULL;
    }
    double before = stored_bytes(client);
    ender->ready = true;
    while (!ender->sent && now_ns() < until_ns) {
        if (ender->replay != 0 && stored_bytes(client) > before) {
            pid_t pid = ender->ends_server ? ender->server->pid : ender->replay;
            ender->sent = kill(pid, ender->signal) == 0;
        }
    }
    ist_client_free(client);
    return NULL;
}

/* At the recorded pace, so that it would take an hour. */
static void replay_and_end(struct replay *replay, struct ender *ender) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, end, ender), 0);
    assert_eventually(ender->ready);
    replay_with(replay, ender->server, "", &ender->replay,
                (const char *const[]){SMALL, "--purge", "--pace", "recorded", NULL});
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(ender->sent);
}

static void test_replay__interrupted__report_and_exit_0(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < 2; i++) {
        struct ender ender = {.server = server, .signal = signals[i]};
        struct replay replay;
        replay_and_end(&replay, &ender);
        assert_code(&replay, 0);
        assert_string_equal(replay.outcome.err, "");
        assert_non_null(strstr(replay.outcome.out, "ended early, by a signal"));
        assert_true(json_is_true(json_object_get(replay.json, "interrupted")));
        assert_true(number_of(&replay, "requests") > 0);
        assert_true(number_of(&replay, "requests") == number_of(&replay, "requests_finished"));
        replay_fini(&replay);
    }
    server_stop(server);
}

struct paced_replay {
    const struct server *server;
    struct replay replay;
};

static void *replay_an_hour(void *argument) {
    struct paced_replay *paced = argument;
    replay_with(&paced->replay, paced->server, LINE(0, "0, 1") LINE(3600000, "0, 1"), NULL,
                (const char *const[]){"--trace", "-", SMALL, "--pace", "recorded", NULL});
    return NULL;
}

/* Nobody was in a call when it happened, and all would go on with an empty cache. */
static void test_replay__server_restarted_in_between__told_so(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct ist_client *client = client_open(server->service[0]);
    struct paced_replay paced = {.server = server};
    const struct server_setup again = {
        .options = (const char *const[]){"--prealloc-size", "64M", NULL},
        .service_port = (uint16_t)strtoul(strrchr(server->service[0], ':') + 1, NULL, 10)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, replay_an_hour, &paced), 0);
    assert_eventually(count_of(client, "infinistore_operations_total{op=\"get\",status=\"OK\"}") == 1);
    server_signal(server, SIGKILL);
    ist_client_free(client);
    struct server *second = server_start_with(&again);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_code(&paced.replay, 1);
    assert_one_line(&paced.replay, "the server was restarted in between");
    replay_fini(&paced.replay);
    server_kill(server);
    server_stop(second);
}

static void test_replay__server_dies__one_line_and_exit_1(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct ender ender = {.server = server, .signal = SIGKILL, .ends_server = true};
    struct replay replay;
    replay_and_end(&replay, &ender);
    assert_code(&replay, 1);
    assert_one_line(&replay, "infinistore-bench replay: ");
    assert_non_null(strstr(replay.outcome.err, ist_status_text(IST_PEER)));
    replay_fini(&replay);
    server_kill(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_replay__small_pool__evicts_and_every_byte_is_right),
        integration_test(test_replay__tiny_trace__exact_hits_with_any_number_of_clients),
        integration_test(test_replay__again_without_purge__all_hits_and_a_note),
        integration_test(test_replay__a_layer_was_removed__prefix_ends_there),
        integration_test(test_replay__gzip_file__the_same),
        integration_test(test_replay__no_size_asked_for__fits_the_pool),
        integration_test(test_replay__pool_not_yet_whole__waits_for_it),
        integration_test(test_replay__request_larger_than_the_pool__misses_and_exit_0),
        integration_test(test_replay__recorded_or_scaled_pace__takes_its_time),
        integration_test(test_replay__limits__end_there),
        integration_test(test_replay__damaged_trace__named_and_exit_1),
        integration_test(test_replay__wrong_option_or_no_such_trace__exit_2),
        integration_test(test_replay__nobody_listens__the_address_and_exit_1),
        integration_test(test_replay__block_larger_than_the_pool__told_so),
        integration_test(test_replay__report_cannot_be_written__named_and_exit_1),
        integration_test(test_replay__foreign_bytes_under_a_key__told_with_key_and_byte),
        integration_test(test_replay__interrupted__report_and_exit_0),
        integration_test(test_replay__server_restarted_in_between__told_so),
        integration_test(test_replay__server_dies__one_line_and_exit_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/bench_options: what is understood, what is refused, and that the refusal names it. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infinistore/limits.h"
#include "tools/bench_options.h"

#define ARGUMENTS_MAX 16

static enum ist_bench_asked parse(const char *const *words, const char *endpoint,
                                  struct ist_bench_options *options, char *error) {
    char *argv[ARGUMENTS_MAX] = {"infinistore-bench"};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    error[0] = '\0';
    return ist_bench_options_parse(argc, argv, endpoint, options, error, 200);
}

#define WORDS(...)                                                                                     \
    (const char *const[]) {                                                                            \
        __VA_ARGS__, NULL                                                                              \
    }

static void test_parse__nothing__the_sweep(void **state) {
    (void)state;
    struct ist_bench_options options;
    char error[200];
    assert_int_equal(parse(WORDS(NULL), NULL, &options, error), IST_BENCH_RUN);
    assert_string_equal(options.endpoint, "127.0.0.1");
    assert_int_equal(options.sizes.count, 4);
    assert_int_equal(options.sizes.items[3], 1 << 20);
    assert_int_equal(options.batches.count, 1);
    assert_int_equal(options.clients.count, 1);
    assert_int_equal(options.depths.count, 0);
    assert_true(options.ops[IST_BENCH_PUT] && options.ops[IST_BENCH_MATCH]);
    assert_false(options.raw);
    assert_int_equal(options.rival, IST_BENCH_NO_RIVAL);
    assert_int_equal(options.match_keys, 8192);
    assert_int_equal(options.key_bytes, 64);
    assert_int_equal(options.duration_ns, 2 * IST_NS_PER_SEC);
    assert_null(options.json_path);
}

static void test_parse__endpoint__the_option_before_the_environment(void **state) {
    (void)state;
    struct ist_bench_options options;
    char error[200];
    assert_int_equal(parse(WORDS(NULL), "unix:/run/x", &options, error), IST_BENCH_RUN);
    assert_string_equal(options.endpoint, "unix:/run/x");
    assert_int_equal(parse(WORDS(NULL), "", &options, error), IST_BENCH_RUN);
    assert_string_equal(options.endpoint, "127.0.0.1");
    assert_int_equal(parse(WORDS("--endpoint", "h:1"), "unix:/run/x", &options, error), IST_BENCH_RUN);
    assert_string_equal(options.endpoint, "h:1");
}

static void test_parse__lists__every_item(void **state) {
    (void)state;
    struct ist_bench_options options;
    char error[200];
    assert_int_equal(parse(WORDS("--size=1,4K,1.5M", "--depth", "1,16", "--clients=1,50", "--batch",
                                 "8", "--op=get,exists", "--pin=0,1", "--pin-peers", "1"),
                           NULL, &options, error),
                     IST_BENCH_RUN);
    assert_int_equal(options.sizes.count, 3);
    assert_int_equal(options.sizes.items[0], 1);
    assert_int_equal(options.sizes.items[1], 4096);
    assert_int_equal(options.sizes.items[2], 3 << 19);
    assert_int_equal(options.depths.count, 2);
    assert_int_equal(options.depths.items[1], 16);
    assert_int_equal(options.clients.items[1], 50);
    assert_int_equal(options.batches.items[0], 8);
    assert_int_equal(options.pin.count, 2);
    assert_int_equal(options.pin_peers.items[0], 1);
    assert_false(options.ops[IST_BENCH_PUT] || options.ops[IST_BENCH_MATCH]);
    assert_true(options.ops[IST_BENCH_GET] && options.ops[IST_BENCH_EXISTS]);
}

static void test_parse__durations__in_each_unit(void **state) {
    (void)state;
    struct ist_bench_options options;
    char error[200];
    const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {{"3", 3000}, {"0.5", 500}, {"250ms", 250}, {"2s", 2000}, {"1m", 60000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(WORDS("--duration", cases[i].text), NULL, &options, error),
                         IST_BENCH_RUN);
        assert_int_equal(options.duration_ns, cases[i].ms * 1000000);
    }
}

static void test_parse__baseline__with_and_without_a_value(void **state) {
    (void)state;
    struct ist_bench_options options;
    char error[200];
    assert_int_equal(parse(WORDS("--baseline"), NULL, &options, error), IST_BENCH_RUN);
    assert_true(options.raw && options.rival == IST_BENCH_NO_RIVAL);
    assert_int_equal(parse(WORDS("--baseline", "--verify", "none"), NULL, &options, error),
                     IST_BENCH_RUN);
    assert_true(options.raw && options.verify == IST_BENCH_VERIFY_NONE);
    assert_int_equal(parse(WORDS("--baseline", "redis"), NULL, &options, error), IST_BENCH_RUN);
    assert_true(!options.raw && options.rival == IST_BENCH_REDIS);
    assert_int_equal(parse(WORDS("--baseline=perftest", "--transport", "rdma", "--dev-name", "rxe1"),
                           NULL, &options, error),
                     IST_BENCH_RUN);
    assert_true(options.perftest && !options.raw && options.server_device == NULL);
    assert_int_equal(parse(WORDS("--baseline=perftest", "--transport", "rdma"), NULL, &options, error),
                     IST_BENCH_WRONG);
    assert_string_equal(error, "--baseline perftest: it needs --transport rdma and --dev-name");
    assert_int_equal(parse(WORDS("--baseline=perftest", "--dev-name", "rxe1"), NULL, &options, error),
                     IST_BENCH_WRONG);
    assert_int_equal(parse(WORDS("--baseline=raw,memcached"), NULL, &options, error), IST_BENCH_RUN);
    assert_true(options.raw && options.rival == IST_BENCH_MEMCACHED);
}

static void test_parse__help_and_version__asked(void **state) {
    (void)state;
    struct ist_bench_options options;
    char error[200];
    assert_int_equal(parse(WORDS("--size", "4K", "--help"), NULL, &options, error), IST_BENCH_HELP);
    assert_int_equal(parse(WORDS("-h"), NULL, &options, error), IST_BENCH_HELP);
    assert_int_equal(parse(WORDS("--version"), NULL, &options, error), IST_BENCH_VERSION);
}

static void test_parse__wrong_values__refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *option, *value;
    } wrong[] = {
        {"--size", "0"},
        {"--size", "4X"},
        {"--size", "4K,"},
        {"--size", ",4K"},
        {"--size", "5G"},
        {"--batch", "65537"},
        {"--batch", "0"},
        {"--clients", "1025"},
        {"--clients", "-1"},
        {"--depth", "1025"},
        {"--depth", "1x"},
        {"--depth", "0"},
        {"--duration", "0"},
        {"--duration", "-1"},
        {"--duration", "2h"},
        {"--duration", "nan"},
        {"--duration", "1e30"},
        {"--count", "0"},
        {"--count", "many"},
        {"--working-set", "0"},
        {"--key-bytes", "47"},
        {"--key-bytes", "1025"},
        {"--match-keys", "65537"},
        {"--verify", "some"},
        {"--baseline", "mysql"},
        {"--pin", "x"},
        {"--pin", "1024"},
        {"--json", ""},
        {"--endpoint", ""},
        {"--op", "put,set"},
        {"--op", ""},
        {"--timeout", "0"},
        {"--baseline", "redis,memcached"},
        {"--size", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"},
        {"--count", "99999999999999999999"},
    };
    struct ist_bench_options options;
    char error[200];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        enum ist_bench_asked asked =
            parse(WORDS(wrong[i].option, wrong[i].value), NULL, &options, error);
        if (asked != IST_BENCH_WRONG || strstr(error, wrong[i].option) == NULL ||
            strchr(error, '\n') != NULL) {
            fail_msg("%s '%s': %d, said: %s", wrong[i].option, wrong[i].value, (int)asked, error);
        }
    }
}

static void test_parse__unknown_or_without_a_value__refused_by_name(void **state) {
    (void)state;
    static const char *const words[] = {"--sizes", "--siz", "size", "-x", "--", "", "--size", "--json"};
    struct ist_bench_options options;
    char error[200];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        assert_int_equal(parse(WORDS(words[i]), NULL, &options, error), IST_BENCH_WRONG);
        assert_non_null(strstr(error, words[i]));
    }
}

/* The error is cut, never overrun. */
static void test_parse__long_word__error_cut(void **state) {
    (void)state;
    struct ist_bench_options options;
    char word[500], *argv[] = {"infinistore-bench", word}, *error = guarded_new(32);
    memset(word, 'x', sizeof word);
    word[sizeof word - 1] = '\0';
    assert_int_equal(ist_bench_options_parse(2, argv, NULL, &options, error, 32), IST_BENCH_WRONG);
    assert_int_equal(strlen(error), 31);
    guarded_free(error, 32);
}

static void test_help__every_option__named(void **state) {
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    ist_bench_options_help(out);
    assert_int_equal(fclose(out), 0);
    static const char *const names[] = {"--endpoint", "--op",      "--size",        "--batch",
                                        "--clients",  "--depth",   "--duration",    "--count",
                                        "--verify",   "--json",    "--baseline",    "--pin",
                                        "replay",     "--timeout", "--working-set", "--match-keys"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_non_null(strstr(text, names[i]));
    }
    for (char *line = text; line[0] != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(strchr(line, '\n') - line <= 100);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse__nothing__the_sweep),
        cmocka_unit_test(test_parse__endpoint__the_option_before_the_environment),
        cmocka_unit_test(test_parse__lists__every_item),
        cmocka_unit_test(test_parse__durations__in_each_unit),
        cmocka_unit_test(test_parse__baseline__with_and_without_a_value),
        cmocka_unit_test(test_parse__help_and_version__asked),
        cmocka_unit_test(test_parse__wrong_values__refused_by_name),
        cmocka_unit_test(test_parse__unknown_or_without_a_value__refused_by_name),
        cmocka_unit_test(test_parse__long_word__error_cut),
        cmocka_unit_test(test_help__every_option__named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

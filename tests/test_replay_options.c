/* src/tools/replay_options: what is understood, what is refused, and that the refusal names it. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infinistore/limits.h"
#include "tools/replay_options.h"

#define ARGUMENTS_MAX 32

static enum ist_replay_asked parse(const char *const *words, const char *endpoint,
                                   struct ist_replay_options *options, char *error) {
    char *argv[ARGUMENTS_MAX] = {"replay"};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        assert_true(argc < ARGUMENTS_MAX);
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    error[0] = '\0';
    return ist_replay_options_parse(argc, argv, endpoint, options, error, 200);
}

#define WORDS(...)                                                                                     \
    (const char *const[]) {                                                                            \
        __VA_ARGS__, NULL                                                                              \
    }

static struct ist_replay_options parsed(const char *const *words) {
    struct ist_replay_options options;
    char error[200];
    if (parse(words, NULL, &options, error) != IST_REPLAY_RUN) {
        fail_msg("%s", error);
    }
    return options;
}

static void test_parse__nothing__an_hour_of_generated_chat_as_fast_as_possible(void **state) {
    (void)state;
    struct ist_replay_options options = parsed(WORDS(NULL));
    assert_string_equal(options.endpoint, "127.0.0.1");
    assert_null(options.trace_path);
    assert_int_equal(options.seed, 1);
    assert_int_equal(options.requests, 12031);
    assert_int_equal(options.limit_requests, 0);
    assert_int_equal(options.limit_ns, 0);
    assert_int_equal(options.prefills, 2);
    assert_int_equal(options.decodes, 2);
    assert_true(options.pace == 0);
    assert_string_equal(options.model->name, "llama-3-8b");
    assert_int_equal(options.layers, 0);
    assert_int_equal(options.scale, 0);
    assert_int_equal(options.timeout_ns, IST_REQUEST_TIMEOUT_NS);
    assert_true(options.verify);
    assert_false(options.purge);
    assert_null(options.json_path);
    assert_null(options.svg_path);
}

static void test_parse__each_option__taken(void **state) {
    (void)state;
    struct ist_replay_options options =
        parsed(WORDS("--endpoint", "h:1", "--trace=-", "--seed", "9", "--requests=77", "--prefill", "3",
                     "--decode=4", "--model", "deepseek-v3", "--layers=61", "--scale", "16",
                     "--timeout=5", "--purge", "--no-verify", "--json=a", "--svg", "b"));
    assert_string_equal(options.endpoint, "h:1");
    assert_string_equal(options.trace_path, "-");
    assert_int_equal(options.seed, 9);
    assert_int_equal(options.requests, 77);
    assert_int_equal(options.prefills, 3);
    assert_int_equal(options.decodes, 4);
    assert_string_equal(options.model->name, "deepseek-v3");
    assert_int_equal(options.layers, 61);
    assert_int_equal(options.scale, 16);
    assert_int_equal(options.timeout_ns, 5 * IST_NS_PER_SEC);
    assert_true(options.purge);
    assert_false(options.verify);
    assert_string_equal(options.json_path, "a");
    assert_string_equal(options.svg_path, "b");
}

static void test_parse__limit__a_number_is_requests_a_unit_makes_it_a_time(void **state) {
    (void)state;
    struct ist_replay_options options = parsed(WORDS("--limit", "500", "--limit", "1.5m"));
    assert_int_equal(options.limit_requests, 500);
    assert_int_equal(options.limit_ns, 90 * IST_NS_PER_SEC);
    assert_int_equal(parsed(WORDS("--limit=30s")).limit_ns, 30 * IST_NS_PER_SEC);
    assert_int_equal(parsed(WORDS("--limit=250ms")).limit_ns, IST_NS_PER_SEC / 4);
    assert_int_equal(parsed(WORDS("--limit=2h")).limit_ns, 7200 * IST_NS_PER_SEC);
}

static void test_parse__pace__a_word_or_a_factor(void **state) {
    (void)state;
    assert_true(parsed(WORDS("--pace", "max")).pace == 0);
    assert_true(parsed(WORDS("--pace", "recorded")).pace == 1);
    assert_true(parsed(WORDS("--pace", "60")).pace == 60);
    assert_true(parsed(WORDS("--pace", "0.5x")).pace == 0.5);
}

static void test_parse__endpoint__the_option_before_the_environment(void **state) {
    (void)state;
    struct ist_replay_options options;
    char error[200];
    assert_int_equal(parse(WORDS(NULL), "unix:/run/x", &options, error), IST_REPLAY_RUN);
    assert_string_equal(options.endpoint, "unix:/run/x");
    assert_int_equal(parse(WORDS(NULL), "", &options, error), IST_REPLAY_RUN);
    assert_string_equal(options.endpoint, "127.0.0.1");
    assert_int_equal(parse(WORDS("--endpoint=h"), "unix:/run/x", &options, error), IST_REPLAY_RUN);
    assert_string_equal(options.endpoint, "h");
}

static void test_parse__questions__answered_whatever_stands_behind(void **state) {
    (void)state;
    struct ist_replay_options options;
    char error[200];
    assert_int_equal(parse(WORDS("--help", "--nonsense"), NULL, &options, error), IST_REPLAY_HELP);
    assert_int_equal(parse(WORDS("-h"), NULL, &options, error), IST_REPLAY_HELP);
    assert_int_equal(parse(WORDS("--purge", "--version"), NULL, &options, error), IST_REPLAY_VERSION);
    assert_int_equal(parse(WORDS("--list-models"), NULL, &options, error), IST_REPLAY_LIST_MODELS);
}

static void test_parse__wrong_words__refused_by_name(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"--nonsense", NULL},
        {"nonsense", NULL},
        {"-x", NULL},
        {"--", NULL},
        {"", NULL},
        {"--trace", NULL},
        {"--trace=", NULL},
        {"--endpoint=", NULL},
        {"--seed", "-1"},
        {"--seed", "one"},
        {"--requests", "0"},
        {"--requests", "1k"},
        {"--limit", "0"},
        {"--limit", "10 s"},
        {"--limit", "-5s"},
        {"--limit", "0.0001ms"},
        {"--limit", "nan"},
        {"--limit", "1e30s"},
        {"--prefill", "0"},
        {"--prefill", "257"},
        {"--decode", "0"},
        {"--decode", "1.5"},
        {"--pace", "0"},
        {"--pace", "fast"},
        {"--pace", "1e9"},
        {"--pace", "2s"},
        {"--model", "gpt"},
        {"--layers", "0"},
        {"--layers", "1025"},
        {"--scale", "0"},
        {"--timeout", "0"},
        {"--timeout", "5days"},
        {"--purge=yes", NULL},
        {"--no-verify=1", NULL},
        {"--json=", NULL},
        {"--svg=", NULL},
        {"--seed", "99999999999999999999"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct ist_replay_options options;
        char error[200], name[32];
        if (parse(WORDS(wrong[i][0], wrong[i][1]), NULL, &options, error) != IST_REPLAY_WRONG) {
            fail_msg("%s %s was taken", wrong[i][0], wrong[i][1] == NULL ? "" : wrong[i][1]);
        }
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(wrong[i][0], "="), wrong[i][0]);
        assert_non_null(strstr(error, name));
        assert_null(strchr(error, '\n'));
    }
}

static void test_parse__long_word__error_is_cut(void **state) {
    (void)state;
    char word[1000], error[40];
    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    struct ist_replay_options options;
    char *argv[] = {"replay", word};
    assert_int_equal(ist_replay_options_parse(2, argv, NULL, &options, error, sizeof(error)),
                     IST_REPLAY_WRONG);
    assert_int_equal(strlen(error), sizeof(error) - 1);
}

/* What fn writes. Owned by the caller. */
static char *written(void (*fn)(FILE *out)) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    fn(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void test_help__any__names_each_option_in_lines_that_fit(void **state) {
    (void)state;
    char *text = written(ist_replay_options_help);
    static const char *const names[] = {
        "--endpoint ", "--trace ", "--seed ",  "--requests ", "--limit ", "--prefill ",
        "--decode ",   "--pace ",  "--model ", "--layers ",   "--scale ", "--timeout ",
        "--purge ",    "--json ",  "--svg ",   "--no-verify", "--help ",  "--list-models ",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_non_null(strstr(text, names[i]));
    }
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        assert_true(strlen(line) <= 100);
    }
    free(text);
}

static void test_list_models__any__every_preset_with_its_bytes(void **state) {
    (void)state;
    char *text = written(ist_replay_options_list_models);
    for (size_t i = 0; ist_model_at(i) != NULL; i++) {
        assert_non_null(strstr(text, ist_model_at(i)->name));
    }
    assert_non_null(strstr(text, "4 KiB"));   /* a token of llama-3-8b */
    assert_non_null(strstr(text, "576 KiB")); /* a block of deepseek-v3 */
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse__nothing__an_hour_of_generated_chat_as_fast_as_possible),
        cmocka_unit_test(test_parse__each_option__taken),
        cmocka_unit_test(test_parse__limit__a_number_is_requests_a_unit_makes_it_a_time),
        cmocka_unit_test(test_parse__pace__a_word_or_a_factor),
        cmocka_unit_test(test_parse__endpoint__the_option_before_the_environment),
        cmocka_unit_test(test_parse__questions__answered_whatever_stands_behind),
        cmocka_unit_test(test_parse__wrong_words__refused_by_name),
        cmocka_unit_test(test_parse__long_word__error_is_cut),
        cmocka_unit_test(test_help__any__names_each_option_in_lines_that_fit),
        cmocka_unit_test(test_list_models__any__every_preset_with_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/cli_options, cli_keys: the command line as data. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "tools/cli_keys.h"
#include "tools/cli_options.h"

#define ARGUMENTS_MAX 16

struct line {
    char text[ARGUMENTS_MAX][64];
    char *argv[ARGUMENTS_MAX + 1];
    struct ist_cli_options options;
    char error[IST_CLI_ERROR_MAX];
};

/* Splits at single spaces; "" stands for an empty argument when written as two quotes. */
static enum ist_status parse(struct line *line, const char *command_line) {
    int argc = 0;
    *line = (struct line){.error = ""};
    line->argv[argc++] = strcpy(line->text[0], "infinistore-cli");
    for (const char *at = command_line; *at != '\0';) {
        size_t length = strcspn(at, " ");
        assert_true(argc < ARGUMENTS_MAX && length < 64);
        memcpy(line->text[argc], at, length);
        if (strcmp(line->text[argc], "''") == 0) {
            line->text[argc][0] = '\0';
        }
        line->argv[argc] = line->text[argc];
        argc++;
        at += length + (at[length] == ' ');
    }
    return ist_cli_options_parse(argc, line->argv, &line->options, line->error);
}

static void assert_parses(struct line *line, const char *command_line) {
    if (parse(line, command_line) != IST_OK) {
        fail_msg("%s: %s", command_line, line->error);
    }
}

static void assert_refused(const char *command_line, const char *named) {
    struct line line;
    if (parse(&line, command_line) != IST_INVALID) {
        fail_msg("%s was accepted", command_line);
    }
    if (strstr(line.error, named) == NULL || strchr(line.error, '\n') != NULL) {
        fail_msg("%s: \"%s\" does not name %s", command_line, line.error, named);
    }
}

static void test_parse__options_anywhere__operands_together(void **state) {
    (void)state;
    struct line line;
    assert_parses(&line, "--json put -e a,b key --if-absent file -t 1.5");
    assert_int_equal(line.options.command, IST_CLI_PUT);
    assert_true(line.options.json && line.options.if_absent && !line.options.hex);
    assert_string_equal(line.options.endpoints, "a,b");
    assert_int_equal(line.options.timeout_ns, 1500000000);
    assert_int_equal(line.options.operand_count, 2);
    assert_string_equal(line.options.operands[0], "key");
    assert_string_equal(line.options.operands[1], "file");
}

static void test_parse__nothing_given__defaults(void **state) {
    (void)state;
    struct line line;
    assert_parses(&line, "ping");
    assert_null(line.options.endpoints);
    assert_int_equal(line.options.timeout_ns, 0);
    assert_int_equal(line.options.count, 1);
    assert_int_equal(line.options.interval_ns, IST_CLI_INTERVAL_NS);
    assert_int_equal(line.options.operand_count, 0);
}

static void test_parse__short_and_long_and_glued__the_same(void **state) {
    (void)state;
    static const char *const lines[] = {"ping -c 3 -i 0.5 -e host", "ping -c3 -i0.5 -ehost",
                                        "ping --count=3 --interval=0.5 --endpoint=host",
                                        "--count 3 --interval .5 --endpoint host ping"};
    for (size_t i = 0; i < 4; i++) {
        struct line line;
        assert_parses(&line, lines[i]);
        assert_int_equal(line.options.count, 3);
        assert_int_equal(line.options.interval_ns, 500000000);
        assert_string_equal(line.options.endpoints, "host");
    }
}

static void test_parse__watch__its_value_is_optional(void **state) {
    (void)state;
    struct line line;
    assert_parses(&line, "stat --watch");
    assert_true(line.options.watch);
    assert_int_equal(line.options.interval_ns, IST_CLI_INTERVAL_NS);
    assert_parses(&line, "stat --watch=2");
    assert_int_equal(line.options.interval_ns, 2 * IST_CLI_INTERVAL_NS);
    assert_parses(&line, "stat -w0.25");
    assert_true(line.options.watch);
    assert_int_equal(line.options.interval_ns, IST_CLI_INTERVAL_NS / 4);
    assert_refused("stat --watch 2", "2");
}

static void test_parse__two_hyphens__everything_behind_is_an_operand(void **state) {
    (void)state;
    struct line line;
    assert_parses(&line, "rm -- --json -x --");
    assert_int_equal(line.options.operand_count, 3);
    assert_string_equal(line.options.operands[0], "--json");
    assert_string_equal(line.options.operands[2], "--");
    assert_false(line.options.json || line.options.hex);
    assert_parses(&line, "-- get key -");
    assert_int_equal(line.options.command, IST_CLI_GET);
    assert_string_equal(line.options.operands[1], "-");
}

static void test_parse__wrong_option_or_argument__a_line_that_names_it(void **state) {
    (void)state;
    static const struct {
        const char *line, *named;
    } wrong[] = {
        {"", "command"},
        {"--json", "command"},
        {"fetch key", "fetch"},
        {"get --no-such key", "--no-such"},
        {"get --jso key", "--jso"},
        {"get -z key", "-z"},
        {"get -jx key", "-jx"},
        {"get --json=1 key", "--json"},
        {"get key --endpoint", "--endpoint"},
        {"get key -e", "-e"},
        {"get key --endpoint=", "--endpoint"},
        {"get --if-absent key", "--if-absent"},
        {"put --last key", "--last"},
        {"get --watch key", "--watch"},
        {"stat --hex", "--hex"},
        {"stat -c 1", "--count"},
        {"purge -i 1", "--interval"},
        {"put", "put"},
        {"get", "get"},
        {"exists", "exists"},
        {"match --last", "match"},
        {"rm", "rm"},
        {"put key file more", "more"},
        {"get key file more", "more"},
        {"stat more", "more"},
        {"purge more", "more"},
        {"ping more", "more"},
        {"ping -c x", "--count"},
        {"ping -c -1", "--count"},
        {"ping -c 1x", "--count"},
        {"ping --count=", "--count"},
        {"ping -c 18446744073709551616", "--count"},
        {"ping -t 0", "--timeout"},
        {"ping -t -1", "--timeout"},
        {"ping -t nan", "--timeout"},
        {"ping -t inf", "--timeout"},
        {"ping -t 1s", "--timeout"},
        {"ping -t 1e9", "--timeout"},
        {"ping -t .", "--timeout"},
        {"ping -t ''", "--timeout"},
        {"ping -i x", "--interval"},
        {"stat --watch=0", "--watch"},
        {"stat --watch=x", "--watch"},
        {"stat --watch=1e-10", "--watch"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_refused(wrong[i].line, wrong[i].named);
    }
}

static void test_parse__help_or_version__whatever_else_is_missing(void **state) {
    (void)state;
    struct line line;
    assert_parses(&line, "--help");
    assert_true(line.options.help);
    assert_int_equal(line.options.command, IST_CLI_NO_COMMAND);
    assert_parses(&line, "put --help");
    assert_int_equal(line.options.command, IST_CLI_PUT);
    assert_parses(&line, "-V");
    assert_true(line.options.version);
    assert_parses(&line, "help match");
    assert_string_equal(line.options.operands[0], "match");
}

static void test_parse__refused__nothing_written(void **state) {
    (void)state;
    char *argv[] = {(char[]){"infinistore-cli"}, (char[]){"--bad"}, NULL};
    struct ist_cli_options options, before;
    char error[IST_CLI_ERROR_MAX];
    memset(&options, 0x77, sizeof(options));
    memset(&before, 0x77, sizeof(before));
    assert_int_equal(ist_cli_options_parse(2, argv, &options, error), IST_INVALID);
    assert_memory_equal(&options, &before, sizeof(options));
}

static void test_command_find__every_name__itself(void **state) {
    (void)state;
    for (int i = IST_CLI_PUT; i <= IST_CLI_HELP; i++) {
        assert_int_equal(ist_cli_command_find(ist_cli_command_name((enum ist_cli_command)i)), i);
    }
    assert_int_equal(ist_cli_command_find(""), IST_CLI_NO_COMMAND);
}

/* ---- keys --------------------------------------------------------------------------------------------- */

static void test_keys__by_command__the_operands_that_are_keys(void **state) {
    (void)state;
    static const struct {
        const char *line;
        size_t count;
    } lines[] = {{"put a b", 1}, {"get a b", 1}, {"exists a b", 2}, {"match a b c", 3},
                 {"rm a", 1},    {"stat", 0},    {"purge", 0},      {"ping", 0}};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct line line;
        struct ist_cli_keys keys;
        assert_parses(&line, lines[i].line);
        assert_int_equal(ist_cli_keys_new(&line.options, &keys, line.error), IST_OK);
        assert_int_equal(keys.count, lines[i].count);
        for (size_t k = 0; k < keys.count; k++) {
            assert_int_equal(keys.keys[k].bytes, 1);
            assert_memory_equal(keys.keys[k].data, &"abc"[k], 1);
        }
        ist_cli_keys_free(&keys);
    }
}

static void test_keys__hex__decoded_and_the_file_left_alone(void **state) {
    (void)state;
    struct line line;
    struct ist_cli_keys keys;
    assert_parses(&line, "rm --hex 00ff 0A");
    assert_int_equal(ist_cli_keys_new(&line.options, &keys, line.error), IST_OK);
    assert_int_equal(keys.count, 2);
    assert_int_equal(keys.keys[0].bytes, 2);
    assert_memory_equal(keys.keys[0].data, "\x00\xff", 2);
    assert_memory_equal(keys.keys[1].data, "\n", 1);
    ist_cli_keys_free(&keys);
    assert_parses(&line, "put --hex 00 no-hex");
    assert_int_equal(ist_cli_keys_new(&line.options, &keys, line.error), IST_OK);
    ist_cli_keys_free(&keys);
}

static void test_keys__no_hex_or_outside_their_limits__invalid(void **state) {
    (void)state;
    static const char *const lines[] = {"get --hex abc", "get --hex 0g", "get --hex 0x00", "get ''",
                                        "get --hex ''"};
    struct ist_cli_keys keys;
    struct line line;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_parses(&line, lines[i]);
        assert_int_equal(ist_cli_keys_new(&line.options, &keys, line.error), IST_INVALID);
        assert_true(line.error[0] != '\0');
    }
    static char longest[IST_KEY_BYTES_MAX + 2];
    memset(longest, 'k', IST_KEY_BYTES_MAX);
    char *operands[] = {longest};
    line.options =
        (struct ist_cli_options){.command = IST_CLI_GET, .operands = operands, .operand_count = 1};
    assert_int_equal(ist_cli_keys_new(&line.options, &keys, line.error), IST_OK);
    ist_cli_keys_free(&keys);
    longest[IST_KEY_BYTES_MAX] = 'k';
    assert_int_equal(ist_cli_keys_new(&line.options, &keys, line.error), IST_INVALID);
    assert_non_null(strstr(line.error, "1025"));
}

static void test_key_json__not_text_or_hex__key_hex(void **state) {
    (void)state;
    static const struct {
        struct ist_key key;
        bool hex;
        const char *json;
    } cases[] = {{{"a\"b", 3}, false, "{\"key\":\"a\\\"b\"}"},
                 {{"a", 1}, true, "{\"key_hex\":\"61\"}"},
                 {{"a\0", 2}, false, "{\"key_hex\":\"6100\"}"},
                 {{"\xff", 1}, false, "{\"key_hex\":\"ff\"}"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ist_json json;
        ist_json_init(&json, ist_alloc_system());
        ist_json_object(&json);
        ist_cli_key_json(&json, &cases[i].key, cases[i].hex);
        ist_json_end(&json);
        assert_string_equal(ist_json_text(&json), cases[i].json);
        ist_json_fini(&json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse__options_anywhere__operands_together),
        cmocka_unit_test(test_parse__nothing_given__defaults),
        cmocka_unit_test(test_parse__short_and_long_and_glued__the_same),
        cmocka_unit_test(test_parse__watch__its_value_is_optional),
        cmocka_unit_test(test_parse__two_hyphens__everything_behind_is_an_operand),
        cmocka_unit_test(test_parse__wrong_option_or_argument__a_line_that_names_it),
        cmocka_unit_test(test_parse__help_or_version__whatever_else_is_missing),
        cmocka_unit_test(test_parse__refused__nothing_written),
        cmocka_unit_test(test_command_find__every_name__itself),
        cmocka_unit_test(test_keys__by_command__the_operands_that_are_keys),
        cmocka_unit_test(test_keys__hex__decoded_and_the_file_left_alone),
        cmocka_unit_test(test_keys__no_hex_or_outside_their_limits__invalid),
        cmocka_unit_test(test_key_json__not_text_or_hex__key_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/daemon/token: what a token file may hold, and what matches it. */
#include "tests/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/token.h"

#define SECRET "a-good-secret-of-some-length"

static char path[] = "/tmp/ist-token-XXXXXX";
static unsigned lines;

static void count_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)session;
    assert_int_equal(level, IST_LOG_ERROR);
    assert_non_null(strstr(message, path));
    lines++;
}

static enum ist_status read_text(const char *text, size_t bytes, struct ist_token *token) {
    const struct ist_log log = {.level = IST_LOG_DEBUG, .write = count_line};
    strcpy(path, "/tmp/ist-token-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), bytes);
    close(fd);
    lines = 0;
    enum ist_status status = ist_token_read(&log, path, token);
    assert_int_equal(lines, status == IST_OK ? 0 : 1);
    unlink(path);
    return status;
}

static struct ist_token secret(void) {
    struct ist_token token;
    assert_int_equal(read_text(SECRET "\n", strlen(SECRET) + 1, &token), IST_OK);
    return token;
}

static void test_read__good_lines__the_token_without_its_end(void **state) {
    (void)state;
    struct ist_token token;
    static const char *const texts[] = {SECRET, SECRET "\n", SECRET "\r\n", SECRET "\nsecond line\n"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(read_text(texts[i], strlen(texts[i]), &token), IST_OK);
        assert_string_equal(token.text, SECRET);
        assert_int_equal(token.bytes, strlen(SECRET));
    }
    char longest[IST_TOKEN_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(read_text(longest, IST_TOKEN_BYTES_MAX, &token), IST_OK);
    assert_int_equal(token.bytes, IST_TOKEN_BYTES_MAX);
    assert_int_equal(read_text(longest, IST_TOKEN_BYTES_MIN, &token), IST_OK);
}

static void test_read__no_good_line__config_and_nothing_written(void **state) {
    (void)state;
    struct ist_token token = {.bytes = 99};
    char text[IST_TOKEN_BYTES_MAX + 10];
    memset(text, 'x', sizeof(text));
    assert_int_equal(read_text("", 0, &token), IST_CONFIG);
    assert_int_equal(read_text("\n" SECRET, strlen(SECRET) + 1, &token), IST_CONFIG);
    assert_int_equal(read_text(text, IST_TOKEN_BYTES_MIN - 1, &token), IST_CONFIG);
    assert_int_equal(read_text(text, IST_TOKEN_BYTES_MAX + 1, &token), IST_CONFIG);
    assert_int_equal(read_text(text, IST_TOKEN_BYTES_MAX + 10, &token), IST_CONFIG);
    static const char bad[] = " \t\0\x7f\x80\xff";
    for (size_t i = 0; i < sizeof(bad) - 1; i++) {
        text[20] = bad[i];
        assert_int_equal(read_text(text, 40, &token), IST_CONFIG);
    }
    assert_int_equal(token.bytes, 99);
}

static void test_read__no_file__config(void **state) {
    (void)state;
    struct ist_token token;
    const struct ist_log log = {.level = IST_LOG_DEBUG, .write = count_line};
    strcpy(path, "/no/such/file");
    lines = 0;
    assert_int_equal(ist_token_read(&log, path, &token), IST_CONFIG);
    strcpy(path, "/tmp"); /* a directory */
    assert_int_equal(ist_token_read(&log, path, &token), IST_CONFIG);
    strcpy(path, "/tmp/ist-token-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes: no waiting */
    assert_int_equal(ist_token_read(&log, path, &token), IST_CONFIG);
    unlink(path);
    assert_int_equal(lines, 3);
}

static void test_matches__only_the_whole_token_with_its_scheme(void **state) {
    (void)state;
    struct ist_token token = secret();
    assert_true(ist_token_matches(&token, "Bearer " SECRET));
    assert_true(ist_token_matches(&token, "bearer " SECRET));
    static const char *const wrong[] = {
        "",
        "Bearer",
        "Bearer ",
        SECRET,
        "Basic " SECRET,
        "Bearer  " SECRET,
        "Bearer " SECRET " ",
        "Bearer " SECRET "x",
        "Bearer a-good-secret-of-some-lengt",
        "Bearer A-good-secret-of-some-length",
        "Bearer b-good-secret-of-some-length",
        "Bearer a-good-secret-of-some-lengtg",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(ist_token_matches(&token, wrong[i]));
    }
    assert_false(ist_token_matches(&token, NULL));
}

static void test_matches__value_ends_at_a_guard_page__not_read_past_it(void **state) {
    (void)state;
    struct ist_token token = secret();
    for (size_t length = 0; length < 400; length++) {
        char *value = guarded_new(length + 1);
        memset(value, 'x', length);
        memcpy(value, "Bearer ", length < 7 ? length : 7);
        value[length] = '\0';
        assert_false(ist_token_matches(&token, value));
        guarded_free(value, length + 1);
    }
}

static void test_matches__no_token__nothing_does(void **state) {
    (void)state;
    const struct ist_token none = {.text = ""};
    assert_false(ist_token_matches(&none, "Bearer "));
    assert_false(ist_token_matches(&none, "Bearer x"));
    assert_false(ist_token_matches(&none, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__good_lines__the_token_without_its_end),
        cmocka_unit_test(test_read__no_good_line__config_and_nothing_written),
        cmocka_unit_test(test_read__no_file__config),
        cmocka_unit_test(test_matches__only_the_whole_token_with_its_scheme),
        cmocka_unit_test(test_matches__value_ends_at_a_guard_page__not_read_past_it),
        cmocka_unit_test(test_matches__no_token__nothing_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

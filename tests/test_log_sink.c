/* src/daemon/log_sink: the line, and that it is written as one. */
#include "tests/support.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log_sink.h"

/* 2026-01-31 12:34:56 UTC, and a millisecond value that needs its leading zeros. */
static const struct timespec wall = {.tv_sec = 1769862896, .tv_nsec = 7999999};

static void test_format__with_a_session__time_level_id_message(void **state) {
    (void)state;
    char line[IST_LOG_SINK_LINE_MAX];
    size_t bytes = ist_log_sink_format(line, wall, IST_LOG_INFO, 17, "hello");
    assert_string_equal(line, "2026-01-31T12:34:56.007Z INFO  #17 hello\n");
    assert_int_equal(bytes, strlen(line));
}

static void test_format__without_a_session__no_id(void **state) {
    (void)state;
    char line[IST_LOG_SINK_LINE_MAX];
    ist_log_sink_format(line, wall, IST_LOG_WARNING, 0, "hello");
    assert_string_equal(line, "2026-01-31T12:34:56.007Z WARN  hello\n");
}

static void test_format__longest_message__whole_with_its_newline(void **state) {
    (void)state;
    char message[IST_LOG_LINE_MAX];
    memset(message, 'x', sizeof(message) - 1);
    message[sizeof(message) - 1] = '\0';
    char line[IST_LOG_SINK_LINE_MAX];
    size_t bytes = ist_log_sink_format(line, wall, IST_LOG_ERROR, UINT64_MAX, message);
    assert_non_null(strstr(line, message));
    assert_int_equal(line[bytes - 1], '\n');
}

static void test_write__to_a_pipe__one_line_and_errno_kept(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    errno = ENOSPC;
    ist_log_sink_write(&ends[1], IST_LOG_DEBUG, 3, "to whom it may concern");
    assert_int_equal(errno, ENOSPC);
    char line[IST_LOG_SINK_LINE_MAX] = "";
    assert_true(read(ends[0], line, sizeof(line) - 1) > 0);
    assert_non_null(strstr(line, "Z DEBUG #3 to whom it may concern\n"));
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format__with_a_session__time_level_id_message),
        cmocka_unit_test(test_format__without_a_session__no_id),
        cmocka_unit_test(test_format__longest_message__whole_with_its_newline),
        cmocka_unit_test(test_write__to_a_pipe__one_line_and_errno_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

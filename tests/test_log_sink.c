/* src/daemon/log_sink: the line, and that it is written as one. */
#include "tests/support.h"

#include <errno.h>
#include <fcntl.h>
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
    struct ist_log_sink sink = {.fd = ends[1]};
    ist_log_sink_write(&sink, IST_LOG_DEBUG, 3, "to whom it may concern");
    assert_int_equal(errno, ENOSPC);
    char line[IST_LOG_SINK_LINE_MAX] = "";
    assert_true(read(ends[0], line, sizeof(line) - 1) > 0);
    assert_non_null(strstr(line, "Z DEBUG #3 to whom it may concern\n"));
    close(ends[0]);
    close(ends[1]);
}

/* The text that was written; its lines are counted. */
static size_t lines_in(int fd, char *text, size_t bytes) {
    ssize_t got = read(fd, text, bytes - 1);
    assert_true(got > 0);
    text[got] = '\0';
    size_t lines = 0;
    for (const char *c = text; *c != '\0'; c++) {
        lines += *c == '\n';
    }
    return lines;
}

static void test_write__very_many_about_connections__the_first_and_one_that_says_so(void **state) {
    (void)state;
    static char text[1 << 16];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct ist_log_sink sink = {.fd = ends[1]};
    for (uint64_t i = 1; i <= 4 * IST_LOG_SINK_LINES_MAX; i++) {
        ist_log_sink_write(&sink, IST_LOG_WARNING, i, "garbage");
    }
    size_t lines = lines_in(ends[0], text, sizeof(text));
    /* at most two periods were met */
    assert_true(lines >= IST_LOG_SINK_LINES_MAX + 1 && lines <= 2 * (IST_LOG_SINK_LINES_MAX + 1));
    assert_non_null(strstr(text, "WARN  #1 garbage\n"));
    assert_non_null(strstr(text, "WARN  too many lines about connections"));
    atomic_store(&sink.lines, 1u << 20); /* also where no more of those are written */
    ist_log_sink_write(&sink, IST_LOG_WARNING, 0, "of the daemon");
    ist_log_sink_write(&sink, IST_LOG_DEBUG, 5, "asked for");
    assert_int_equal(lines_in(ends[0], text, sizeof(text)), 2);
    close(ends[0]);
    close(ends[1]);
}

/* Who reads the log may have stopped: the daemon must not wait for it. */
static void test_write__to_a_pipe_that_is_full__lost_and_errno_kept(void **state) {
    (void)state;
    static char filling[1 << 16];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], filling, sizeof(filling)) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    struct ist_log_sink sink = {.fd = ends[1]};
    alarm(60); /* to end this program, if it waits */
    errno = ENOSPC;
    ist_log_sink_write(&sink, IST_LOG_ERROR, 0, "nobody hears it");
    alarm(0);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(read(ends[0], filling, sizeof(filling)), sizeof(filling));
    ist_log_sink_write(&sink, IST_LOG_ERROR, 0, "there is room again");
    close(ends[1]);
    ssize_t got, last = 0;
    while ((got = read(ends[0], filling, sizeof(filling) - 1)) > 0) {
        last = got;
        filling[got] = '\0';
    }
    assert_true(last > 0);
    assert_non_null(memmem(filling, (size_t)last, "there is room again\n", 20));
    assert_null(memmem(filling, (size_t)last, "nobody", 6));
    close(ends[0]);
}

static void test_count__next_period__begins_anew(void **state) {
    (void)state;
    struct ist_log_sink sink = {.fd = -1};
    assert_int_equal(ist_log_sink_count(&sink, 1000), 0);
    assert_int_equal(ist_log_sink_count(&sink, 1000), 1);
    assert_int_equal(ist_log_sink_count(&sink, 1000 + IST_LOG_SINK_PERIOD_SEC - 1), 2);
    assert_int_equal(ist_log_sink_count(&sink, 1000 + IST_LOG_SINK_PERIOD_SEC), 0);
    assert_int_equal(ist_log_sink_count(&sink, 1000 + IST_LOG_SINK_PERIOD_SEC), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format__with_a_session__time_level_id_message),
        cmocka_unit_test(test_format__without_a_session__no_id),
        cmocka_unit_test(test_format__longest_message__whole_with_its_newline),
        cmocka_unit_test(test_write__to_a_pipe__one_line_and_errno_kept),
        cmocka_unit_test(test_write__very_many_about_connections__the_first_and_one_that_says_so),
        cmocka_unit_test(test_write__to_a_pipe_that_is_full__lost_and_errno_kept),
        cmocka_unit_test(test_count__next_period__begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

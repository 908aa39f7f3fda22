/* src/daemon/announce: the ready line and the port file. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/announce.h"

static const struct ist_announcement two[] = {{"service", "127.0.0.1:22345"}, {"unix", "/run/i.sock"}};

static struct ist_announced announced;
static char last_line[IST_LOG_LINE_MAX];

static void keep_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)level;
    (void)session;
    snprintf(last_line, sizeof(last_line), "%s", message);
}

static const struct ist_log keeping = {.level = IST_LOG_INFO, .write = keep_line, .context = NULL};

static void test_log__two_addresses__one_line(void **state) {
    (void)state;
    ist_announce_log(&keeping, two, 2);
    assert_string_equal(last_line, "ready: service 127.0.0.1:22345, unix /run/i.sock");
}

static void test_log__more_than_fits__cut(void **state) {
    (void)state;
    struct ist_announcement many[100];
    for (size_t i = 0; i < 100; i++) {
        many[i] = two[0];
    }
    ist_announce_log(&keeping, many, 100);
    assert_int_equal(strlen(last_line), IST_LOG_LINE_MAX - 1);
}

static void test_file__writable__replaced_as_a_whole_with_nothing_beside_it(void **state) {
    (void)state;
    char directory[] = "/tmp/ist-announce-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char path[64];
    snprintf(path, sizeof(path), "%s/ports", directory);
    assert_int_equal(ist_announce_file(&keeping, path, two, 1, &announced), IST_OK);
    assert_int_equal(ist_announce_file(&keeping, path, two, 2, &announced), IST_OK);
    char text[128] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    fclose(file);
    assert_string_equal(text, "service 127.0.0.1:22345\nunix /run/i.sock\n");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0); /* fails when anything else is in it */
}

static void test_file__no_such_directory__config_and_a_line_that_names_it(void **state) {
    (void)state;
    assert_int_equal(ist_announce_file(&keeping, "/nonexistent/ports", two, 2, &announced), IST_CONFIG);
    assert_non_null(strstr(last_line, "/nonexistent/ports"));
}

static void test_file__target_is_a_directory__config_and_nothing_left_beside(void **state) {
    (void)state;
    char directory[] = "/tmp/ist-announce-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char path[64];
    snprintf(path, sizeof(path), "%s/.", directory);
    assert_int_equal(ist_announce_file(&keeping, path, two, 2, &announced), IST_CONFIG);
    assert_int_equal(rmdir(directory), 0);
}

/* One that drains must not take away what its successor has written. */
static void test_remove__own_file__and_not_anothers(void **state) {
    (void)state;
    char directory[] = "/tmp/ist-announce-XXXXXX";
    struct ist_announced successor;
    assert_non_null(mkdtemp(directory));
    char path[64];
    snprintf(path, sizeof(path), "%s/ports", directory);
    assert_int_equal(ist_announce_file(&keeping, path, two, 1, &announced), IST_OK);
    assert_int_equal(ist_announce_file(&keeping, path, two, 2, &successor), IST_OK);
    ist_announce_remove(path, &announced);
    assert_int_equal(access(path, F_OK), 0);
    ist_announce_remove(path, &successor);
    assert_int_equal(access(path, F_OK), -1);
    ist_announce_remove(path, &successor);
    assert_int_equal(rmdir(directory), 0);
}

static void test_file__path_too_long__config(void **state) {
    (void)state;
    char path[8192];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(ist_announce_file(&keeping, path, two, 2, &announced), IST_CONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log__two_addresses__one_line),
        cmocka_unit_test(test_log__more_than_fits__cut),
        cmocka_unit_test(test_file__writable__replaced_as_a_whole_with_nothing_beside_it),
        cmocka_unit_test(test_file__no_such_directory__config_and_a_line_that_names_it),
        cmocka_unit_test(test_file__target_is_a_directory__config_and_nothing_left_beside),
        cmocka_unit_test(test_file__path_too_long__config),
        cmocka_unit_test(test_remove__own_file__and_not_anothers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/bench_perftest: both ends are started, in this order or that, and what they say is understood. The tools
 * are scripts of ours, first in PATH. */
#include "tests/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench_load.h"
#include "tools/bench_perftest.h"

static const struct ist_bench_list anywhere = {.count = 0};

struct place {
    char directory[64];
    char path[4096]; /* PATH as it was */
};

static void place_make(struct place *place) {
    char path[4200];
    strcpy(place->directory, "/tmp/ist-perftest-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof place->path, "%s", getenv("PATH"));
    snprintf(path, sizeof path, "%s:%s", place->directory, place->path);
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_int_equal(setenv("PERFTEST_PLACE", place->directory, 1), 0);
}

static void place_remove(struct place *place) {
    static const char *const files[] = {"ib_read_bw", "ib_write_bw", "ready", "tries", "words"};
    char path[128];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", place->directory, files[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(place->directory), 0);
    assert_int_equal(setenv("PATH", place->path, 1), 0);
}

/* waits: of the end that waits for the other. moves: of the other, whose last argument is an address. */
static void tool(const struct place *place, const char *name, const char *waits, const char *moves) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", place->directory, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file,
            "#!/bin/sh\nfor last; do :; done\ncd \"$PERFTEST_PLACE\"\n"
            "if [ \"$last\" = 127.0.0.1 ]; then\n%s\nelse\n%s\nfi\n",
            moves, waits);
    assert_int_equal(fchmod(fileno(file), 0700), 0);
    assert_int_equal(fclose(file), 0);
}

static enum ist_status run(bool get, double *rate, char *error) {
    struct ist_bench_perftest *perftest = NULL;
    const struct ist_bench_perftest_move move = {
        .get = get, .value_bytes = 4096, .depth = 16, .queue_pairs = 2, .iterations = 1000};
    error[0] = '\0';
    assert_int_equal(ist_bench_perftest_new("rxe1", "rxe0", &anywhere, &anywhere, &perftest, error),
                     IST_OK);
    enum ist_status status = ist_bench_perftest_run(perftest, &move, rate, error);
    ist_bench_perftest_free(perftest);
    return status;
}

/* The words of a file that a tool wrote, on one line. */
static const char *said(const struct place *place, char words[512]) {
    char path[128];
    snprintf(path, sizeof path, "%s/words", place->directory);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    words[fread(words, 1, 511, file)] = '\0';
    fclose(file);
    words[strcspn(words, "\n")] = '\0';
    return words;
}

/* Nothing but the shell itself writes a file: it may be killed, and what it started would outlive it. */
#define SERVES ": >ready; exec sleep 100"

static void test_run__both_ends_work__rate_in_bytes(void **state) {
    (void)state;
    struct place place;
    char error[IST_BENCH_ERROR_MAX], words[512];
    double rate = 0;
    place_make(&place);
    tool(&place, "ib_read_bw", SERVES, "echo $* >words; echo a warning >&2; echo 361.5");
    tool(&place, "ib_write_bw", SERVES, "echo 2");
    assert_int_equal(run(false, &rate, error), IST_OK); /* a put: the server reads */
    assert_true(rate == 361.5 * 1048576);
    assert_non_null(strstr(said(&place, words), "-d rxe0"));
    assert_non_null(strstr(words, "-s 4096 -t 16 -n 1000 -q 2"));
    assert_int_equal(run(true, &rate, error), IST_OK);
    assert_true(rate == 2 * 1048576.);
    place_remove(&place);
}

static void test_run__no_number__zero(void **state) {
    (void)state;
    static const char *const words[] = {"inf", "-nan", "0.00", "nothing", ""};
    struct place place;
    char error[IST_BENCH_ERROR_MAX], moves[64];
    place_make(&place);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        double rate = 1;
        snprintf(moves, sizeof moves, "echo %s", words[i]);
        tool(&place, "ib_read_bw", SERVES, moves);
        assert_int_equal(run(false, &rate, error), IST_OK);
        assert_true(rate == 0);
    }
    place_remove(&place);
}

/* The end that waits is slow to listen: the other one is started again. */
static void test_run__not_yet_listening__tried_again(void **state) {
    (void)state;
    struct place place;
    char error[IST_BENCH_ERROR_MAX];
    double rate = 0;
    place_make(&place);
    tool(&place, "ib_read_bw", "exec sleep 100",
         "echo x >>tries; [ $(wc -l <tries) -ge 3 ] || { echo cannot connect; exit 1; }; echo 7");
    assert_int_equal(run(false, &rate, error), IST_OK);
    assert_true(rate == 7 * 1048576.);
    place_remove(&place);
}

static void test_run__killed_by_a_signal__all_again(void **state) {
    (void)state;
    struct place place;
    char error[IST_BENCH_ERROR_MAX];
    double rate = 0;
    place_make(&place);
    tool(&place, "ib_read_bw", "echo x >>tries; [ $(wc -l <tries) -ge 2 ] || kill -SEGV $$; " SERVES,
         "[ -e ready ] || exit 1; echo 7");
    assert_int_equal(run(false, &rate, error), IST_OK);
    assert_true(rate == 7 * 1048576.);
    place_remove(&place);
}

static void test_run__an_end_fails__its_last_words(void **state) {
    (void)state;
    struct place place;
    char error[IST_BENCH_ERROR_MAX];
    double rate = 0;
    place_make(&place);
    tool(&place, "ib_read_bw", "echo; echo IB device rxe1 not found; echo ------; exit 1", "exit 1");
    assert_int_equal(run(false, &rate, error), IST_PEER);
    assert_string_equal(error,
                        "--baseline perftest: ib_read_bw -d rxe1 fails: IB device rxe1 not found");
    place_remove(&place);
}

/* What the end that waits says while the other one is being waited for is its last word, too. */
static void test_run__fails_last_of_all__its_last_words(void **state) {
    (void)state;
    struct place place;
    char error[IST_BENCH_ERROR_MAX];
    double rate = 0;
    place_make(&place);
    tool(&place, "ib_read_bw",
         "until [ -e ready ]; do sleep .01; done; echo cannot listen; : >words; exit 1",
         "exec >&- 2>&-; sleep .1; : >ready; until [ -e words ]; do sleep .01; done; sleep .1; exit "
         "1");
    assert_int_equal(run(false, &rate, error), IST_PEER);
    assert_string_equal(error, "--baseline perftest: ib_read_bw -d rxe1 fails: cannot listen");
    place_remove(&place);
}

static void test_run__not_installed__says_what_to_install(void **state) {
    (void)state;
    struct place place;
    char error[IST_BENCH_ERROR_MAX];
    double rate = 0;
    place_make(&place);
    assert_int_equal(setenv("PATH", place.directory, 1), 0);
    assert_int_equal(run(false, &rate, error), IST_CONFIG);
    assert_string_equal(error, "--baseline perftest: there is no ib_read_bw in PATH (on Debian: "
                               "apt-get install perftest)");
    place_remove(&place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__both_ends_work__rate_in_bytes),
        cmocka_unit_test(test_run__no_number__zero),
        cmocka_unit_test(test_run__not_yet_listening__tried_again),
        cmocka_unit_test(test_run__killed_by_a_signal__all_again),
        cmocka_unit_test(test_run__an_end_fails__its_last_words),
        cmocka_unit_test(test_run__fails_last_of_all__its_last_words),
        cmocka_unit_test(test_run__not_installed__says_what_to_install),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

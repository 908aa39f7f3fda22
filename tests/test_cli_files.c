/* src/tools/cli_input, cli_output: whole values from and to files and streams. */
#include "tests/support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/cli_input.h"
#include "tools/cli_options.h"
#include "tools/cli_output.h"

struct place {
    char directory[32];
    char path[64];
};

static int place_setup(void **state) {
    struct place *place = calloc(1, sizeof(*place));
    assert_non_null(place);
    strcpy(place->directory, "/tmp/ist-cli-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof(place->path), "%s/value", place->directory);
    *state = place;
    return 0;
}

/* Files in the directory; removes them when asked to. */
static size_t count_files(const struct place *place, bool remove) {
    DIR *directory = opendir(place->directory);
    size_t count = 0;
    assert_non_null(directory);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            count++;
            if (remove) {
                unlinkat(dirfd(directory), entry->d_name, 0);
            }
        }
    }
    closedir(directory);
    return count;
}

static int place_teardown(void **state) {
    struct place *place = *state;
    count_files(place, true);
    rmdir(place->directory);
    free(place);
    return 0;
}

/* Static, so that valgrind finds nothing lost in a child. */
#define LARGE_BYTES ((size_t)9 << 20) /* more than two of the pieces that a file is written in */
static uint8_t large[LARGE_BYTES];

static void fill_large(void) {
    uint64_t seed = 42;
    for (size_t i = 0; i < LARGE_BYTES; i += 8) {
        uint64_t word = random_next(&seed);
        memcpy(large + i, &word, 8);
    }
}

static void assert_file_is(const char *path, const void *data, size_t bytes) {
    struct ist_cli_input input;
    char error[IST_CLI_ERROR_MAX];
    assert_int_equal(ist_cli_input_read(path, 1 << 30, &input, error), IST_CLI_DONE);
    assert_int_equal(input.bytes, bytes);
    assert_memory_equal(input.data, data, bytes);
    free(input.data);
}

/* ---- input -------------------------------------------------------------------------------------------- */

/* Sizes around the first buffer and its doublings. */
static void test_read__a_pipe__all_of_it_whatever_its_size(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 300000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            char error[IST_CLI_ERROR_MAX];
            close(ends[0]);
            _exit((int)ist_cli_output_fd(ends[1], "pipe", large, sizes[i], error));
        }
        close(ends[1]);
        int before = dup(STDIN_FILENO);
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK); /* as somebody may have left it */
        struct ist_cli_input input;
        char error[IST_CLI_ERROR_MAX];
        assert_int_equal(ist_cli_input_read(NULL, 300000, &input, error), IST_CLI_DONE);
        if (before >= 0) {
            dup2(before, STDIN_FILENO);
            close(before);
        }
        assert_int_equal(input.bytes, sizes[i]);
        assert_memory_equal(input.data, large, sizes[i]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        free(input.data);
    }
}

static void test_read__more_than_the_limit__says_so(void **state) {
    const struct place *place = *state;
    struct ist_cli_input input;
    char error[IST_CLI_ERROR_MAX];
    assert_int_equal(ist_cli_output_file(place->path, large, 100000, error), IST_CLI_DONE);
    assert_int_equal(ist_cli_input_read(place->path, 100000, &input, error), IST_CLI_DONE);
    assert_int_equal(input.bytes, 100000);
    free(input.data);
    assert_int_equal(ist_cli_input_read(place->path, 99999, &input, error), IST_CLI_LOCAL);
    assert_non_null(strstr(error, place->path));
    assert_non_null(strstr(error, "97.7 KiB"));
    /* one that never ends */
    assert_int_equal(ist_cli_input_read("/dev/zero", 1 << 20, &input, error), IST_CLI_LOCAL);
    assert_non_null(strstr(error, "1 MiB"));
    assert_int_equal(ist_cli_input_read("/dev/zero", 0, &input, error), IST_CLI_LOCAL);
}

static void test_read__no_file_or_a_directory__names_it(void **state) {
    (void)state;
    struct ist_cli_input input;
    char error[IST_CLI_ERROR_MAX];
    assert_int_equal(ist_cli_input_read("/nonexistent/x", 100, &input, error), IST_CLI_LOCAL);
    assert_non_null(strstr(error, "/nonexistent/x"));
    assert_int_equal(ist_cli_input_read("/tmp", 100, &input, error), IST_CLI_LOCAL);
    assert_non_null(strstr(error, "/tmp"));
}

static void test_memory__this_machine__something(void **state) {
    (void)state;
    assert_true(ist_cli_memory_bytes() > 1 << 20);
}

/* ---- output ------------------------------------------------------------------------------------------- */

static void test_write__new_and_over_an_old_file__whole_with_nothing_beside(void **state) {
    const struct place *place = *state;
    char error[IST_CLI_ERROR_MAX];
    struct stat info;
    mode_t umask_before = umask(027);
    assert_int_equal(ist_cli_output_file(place->path, "old", 3, error), IST_CLI_DONE);
    umask(umask_before);
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(chmod(place->path, 0604), 0);
    assert_int_equal(ist_cli_output_file(place->path, large, LARGE_BYTES, error), IST_CLI_DONE);
    assert_file_is(place->path, large, LARGE_BYTES);
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0604); /* kept */
    assert_int_equal(count_files(place, false), 1);
}

static void test_write__a_bare_file_name__beside_it_in_this_directory(void **state) {
    const struct place *place = *state;
    char error[IST_CLI_ERROR_MAX];
    int here = open(".", O_DIRECTORY | O_RDONLY);
    assert_true(here >= 0);
    assert_int_equal(chdir(place->directory), 0);
    assert_int_equal(ist_cli_output_file("value", "x", 1, error), IST_CLI_DONE);
    assert_int_equal(fchdir(here), 0);
    close(here);
    assert_file_is(place->path, "x", 1);
}

static void test_write__a_symbolic_link__its_target_is_replaced(void **state) {
    const struct place *place = *state;
    char error[IST_CLI_ERROR_MAX], link_path[80];
    struct stat info;
    snprintf(link_path, sizeof(link_path), "%s/link", place->directory);
    assert_int_equal(ist_cli_output_file(place->path, "old", 3, error), IST_CLI_DONE);
    assert_int_equal(symlink("value", link_path), 0);
    assert_int_equal(ist_cli_output_file(link_path, "new", 3, error), IST_CLI_DONE);
    assert_file_is(place->path, "new", 3);
    assert_int_equal(lstat(link_path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

/* Named pipes and sockets of our own stand for everything that is no regular file: a test that trusts the code under
 * test with the machine's devices ruins them when that code is wrong. */
static void test_write__a_named_pipe__written_in_place(void **state) {
    const struct place *place = *state;
    char error[IST_CLI_ERROR_MAX], got[8];
    struct stat info;
    assert_int_equal(mkfifo(place->path, 0600), 0);
    int reader = open(place->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(ist_cli_output_file(place->path, "through", 7, error), IST_CLI_DONE);
    assert_int_equal(read(reader, got, sizeof(got)), 7);
    assert_memory_equal(got, "through", 7);
    close(reader);
    assert_int_equal(lstat(place->path, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_int_equal(count_files(place, false), 1);
}

static void test_write__a_socket__an_error_and_it_stays(void **state) {
    const struct place *place = *state;
    char error[IST_CLI_ERROR_MAX];
    struct stat info;
    assert_int_equal(mknod(place->path, S_IFSOCK | 0600, 0), 0);
    assert_int_equal(ist_cli_output_file(place->path, "x", 1, error), IST_CLI_LOCAL);
    assert_non_null(strstr(error, place->path));
    assert_int_equal(lstat(place->path, &info), 0);
    assert_true(S_ISSOCK(info.st_mode));
    assert_int_equal(count_files(place, false), 1);
}

static void test_write__no_directory_or_a_directory__names_it(void **state) {
    const struct place *place = *state;
    char error[IST_CLI_ERROR_MAX];
    assert_int_equal(ist_cli_output_file("/nonexistent/x", "x", 1, error), IST_CLI_LOCAL);
    assert_non_null(strstr(error, "/nonexistent/x"));
    assert_int_equal(ist_cli_output_file(place->directory, "x", 1, error), IST_CLI_LOCAL);
    assert_non_null(strstr(error, place->directory));
    assert_int_equal(count_files(place, false), 0);
}

/* A child, for what it changes is its own. */
static int in_child(int (*run)(const struct place *place), const struct place *place) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        signal(SIGPIPE, SIG_IGN);
        _exit(run(place));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int write_large(const struct place *place) {
    char error[IST_CLI_ERROR_MAX];
    return (int)ist_cli_output_file(place->path, large, LARGE_BYTES, error);
}

static int write_past_the_limit(const struct place *place) {
    const struct rlimit limit = {6 << 20, 6 << 20};
    return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? write_large(place) : 99;
}

static void test_write__no_room_in_the_middle__old_file_and_nothing_beside(void **state) {
    const struct place *place = *state;
    char error[IST_CLI_ERROR_MAX];
    assert_int_equal(ist_cli_output_file(place->path, "old", 3, error), IST_CLI_DONE);
    assert_int_equal(in_child(write_past_the_limit, place), IST_CLI_LOCAL);
    assert_file_is(place->path, "old", 3);
    assert_int_equal(count_files(place, false), 1);
}

/* Blocked, so that it waits when the write begins; the write must give way to it. */
static int write_with_a_signal_waiting(const struct place *place) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTERM);
    return write_large(place);
}

static int write_with_an_ignored_signal(const struct place *place) {
    signal(SIGTERM, SIG_IGN);
    return write_with_a_signal_waiting(place);
}

static void test_write__a_signal_waits__ends_with_nothing_beside(void **state) {
    const struct place *place = *state;
    assert_int_equal(in_child(write_with_a_signal_waiting, place), IST_CLI_LOCAL);
    assert_int_equal(count_files(place, false), 0);
    /* but one that is ignored, as nohup does, stays so */
    assert_int_equal(in_child(write_with_an_ignored_signal, place), IST_CLI_DONE);
    assert_int_equal(count_files(place, false), 1);
}

static int write_to_nobody(const struct place *place) {
    (void)place;
    char error[IST_CLI_ERROR_MAX];
    int ends[2];
    if (pipe(ends) != 0 || close(ends[0]) != 0) {
        return 99;
    }
    int code = (int)ist_cli_output_fd(ends[1], "the pipe", "x", 1, error);
    return strstr(error, "the pipe") != NULL ? code : 98;
}

static void test_write__a_pipe_without_a_reader__an_error(void **state) {
    assert_int_equal(in_child(write_to_nobody, *state), IST_CLI_LOCAL);
}

int main(void) {
    fill_large();
#define TEST(function) cmocka_unit_test_setup_teardown(function, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_read__a_pipe__all_of_it_whatever_its_size),
        TEST(test_read__more_than_the_limit__says_so),
        TEST(test_read__no_file_or_a_directory__names_it),
        TEST(test_memory__this_machine__something),
        TEST(test_write__new_and_over_an_old_file__whole_with_nothing_beside),
        TEST(test_write__a_bare_file_name__beside_it_in_this_directory),
        TEST(test_write__a_symbolic_link__its_target_is_replaced),
        TEST(test_write__a_named_pipe__written_in_place),
        TEST(test_write__a_socket__an_error_and_it_stays),
        TEST(test_write__no_directory_or_a_directory__names_it),
        TEST(test_write__no_room_in_the_middle__old_file_and_nothing_beside),
        TEST(test_write__a_signal_waits__ends_with_nothing_beside),
        TEST(test_write__a_pipe_without_a_reader__an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

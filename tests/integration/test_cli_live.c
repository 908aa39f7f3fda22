/* infinistore-cli on a terminal: the live view, and what it leaves behind; words instead of figures; values that a
 * terminal should not get. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

#include "tests/integration/cli.h"
#include "tests/integration/harness.h"
#include "tests/integration/pty.h"
#include "tests/integration/values.h"

#define POOL "64M"
#define REDRAW "\033[H" /* each drawing begins at the top left corner */
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"

static void start(struct pty *pty, const struct server *server, const char *const *environment,
                  const char *const *arguments) {
    const char *all[16] = {program_path("infinistore-cli"), "-e", server->service[0]};
    for (size_t i = 0; arguments[i] != NULL; i++) {
        assert_true(i < 12);
        all[i + 3] = arguments[i];
    }
    pty_start(pty, &(const struct program){.arguments = all, .environment = environment}, 80, 24);
}

static void start_watch(struct pty *pty, const struct server *server) {
    start(pty, server, NULL, (const char *const[]){"stat", "--watch=0.05", NULL});
}

/* The alternate screen was left, the cursor is back, and nothing came after that. */
static void assert_clean(const struct pty *pty) {
    size_t length = strlen(LEAVE);
    assert_int_equal(pty_count(pty, ENTER), pty_count(pty, LEAVE));
    assert_true(pty->bytes >= length && strcmp(pty->out + pty->bytes - length, LEAVE) == 0);
    assert_true(pty_is_restored(pty));
}

/* ---- the live view ------------------------------------------------------------------------------------ */

static void test_watch__redraws_then_ctrl_c__terminal_as_before(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    struct pty pty;
    assert_int_equal(put_value(client, "key", 1, MIB, 0), IST_OK);
    start_watch(&pty, server);
    pty_until(&pty, REDRAW, 3);
    assert_false(pty_is_restored(&pty)); /* keys are taken one by one */
    assert_non_null(strstr(pty.out, "Pool"));
    assert_non_null(strstr(pty.out, "of 64 MiB used"));
    assert_non_null(strstr(pty.out, "q or Ctrl-C leaves"));
    pty_type(&pty, "\003");
    assert_int_equal(pty_wait(&pty), 0);
    assert_clean(&pty);
    pty_free(&pty);
    ist_client_free(client);
    server_stop(server);
}

static void test_watch__sigint_q_or_ctrl_d__leaves(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    for (size_t i = 0; i < 3; i++) {
        struct pty pty;
        start_watch(&pty, server);
        pty_until(&pty, REDRAW, 2);
        if (i == 0) {
            assert_int_equal(kill(pty.pid, SIGINT), 0);
        } else {
            pty_type(&pty, i == 1 ? "xq" : "\004");
        }
        assert_int_equal(pty_wait(&pty), 0);
        assert_clean(&pty);
        pty_free(&pty);
    }
    server_stop(server);
}

static void test_watch__other_signals__terminal_as_before_and_killed_by_it(void **state) {
    (void)state;
    static const int signals[] = {SIGTERM, SIGHUP, SIGQUIT};
    struct server *server = server_start("--prealloc-size", POOL);
    for (size_t i = 0; i < 3; i++) {
        struct pty pty;
        start_watch(&pty, server);
        pty_until(&pty, REDRAW, 1);
        assert_int_equal(kill(pty.pid, signals[i]), 0);
        assert_int_equal(pty_wait(&pty), 128 + signals[i]);
        assert_clean(&pty);
        pty_free(&pty);
    }
    server_stop(server);
}

static bool has_stopped(const struct pty *pty) {
    siginfo_t info = {.si_pid = 0};
    assert_int_equal(waitid(P_PID, (id_t)pty->pid, &info, WSTOPPED | WNOHANG), 0);
    return info.si_pid == pty->pid;
}

static void test_watch__suspended__terminal_as_before_until_it_goes_on(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct pty pty;
    start_watch(&pty, server);
    pty_until(&pty, REDRAW, 1);
    assert_int_equal(kill(pty.pid, SIGTSTP), 0);
    pty_until(&pty, LEAVE, 1);
    assert_eventually(has_stopped(&pty)); /* what goes on before it has stopped, stops for good */
    assert_true(pty_is_restored(&pty));
    assert_int_equal(kill(pty.pid, SIGCONT), 0);
    pty_until(&pty, ENTER, 2);
    pty_until(&pty, REDRAW, pty_count(&pty, REDRAW) + 2);
    pty_type(&pty, "q");
    assert_int_equal(pty_wait(&pty), 0);
    assert_clean(&pty);
    pty_free(&pty);
    server_stop(server);
}

static void test_watch__resized__drawn_for_the_new_size(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct pty pty;
    start(&pty, server, NULL, (const char *const[]){"stat", "--watch=1000", NULL});
    pty_until(&pty, REDRAW, 1);
    pty_until(&pty, "leaves", 1);
    pty_resize(&pty, 60, 8); /* the kernel tells it by SIGWINCH */
    pty_until(&pty, REDRAW, 2);
    pty_until(&pty, "put", 2);
    assert_int_equal(pty_count(&pty, "leaves"), 1); /* no room for the last line now */
    pty_type(&pty, "q");
    assert_int_equal(pty_wait(&pty), 0);
    pty_free(&pty);
    server_stop(server);
}

static void test_watch__server_restarts__says_so_and_goes_on(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    uint16_t port = (uint16_t)atoi(strrchr(server->service[0], ':') + 1);
    struct pty pty;
    start_watch(&pty, server);
    pty_until(&pty, "of 64 MiB used", 2);
    server_kill(server);
    pty_until(&pty, "no connection to the peer", 1);
    const char *const options[] = {"--prealloc-size", "32M", NULL};
    server = server_start_with(&(const struct server_setup){.options = options, .service_port = port});
    pty_until(&pty, "of 32 MiB used", 2);
    /* its first figures are compared with nothing: those before were another server's */
    const char *first = strstr(pty.out, "of 32 MiB used");
    assert_non_null(strstr(first, "- in, - out"));
    assert_true(strstr(first, "- in, - out") < strstr(first + 1, "of 32 MiB used"));
    pty_type(&pty, "q");
    assert_int_equal(pty_wait(&pty), 0);
    assert_clean(&pty);
    pty_free(&pty);
    server_stop(server);
}

static void test_watch__server_stands_still__says_so(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct pty pty;
    start_watch(&pty, server);
    pty_until(&pty, REDRAW, 2);
    server_signal(server, SIGSTOP);
    pty_until(&pty, "has not answered yet", 2);
    pty_type(&pty, "q"); /* also now */
    assert_int_equal(pty_wait(&pty), 0);
    assert_clean(&pty);
    pty_free(&pty);
    server_signal(server, SIGCONT);
    server_stop(server);
}

static void test_watch__no_color_or_not__colours_accordingly(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    static const char *const variables[] = {"NO_COLOR=1", "NO_COLOR="};
    for (size_t i = 0; i < 2; i++) {
        const char *const environment[] = {variables[i], NULL};
        struct pty pty;
        start(&pty, server, environment, (const char *const[]){"stat", "--watch=0.05", NULL});
        pty_until(&pty, "leaves", 2);
        assert_int_equal(pty_count(&pty, "\033[1m") > 0, i == 1);
        pty_type(&pty, "q");
        assert_int_equal(pty_wait(&pty), 0);
        pty_free(&pty);
    }
    server_stop(server);
}

static void test_watch__dumb_terminal__lines(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    const char *const environment[] = {"TERM=dumb", NULL};
    struct pty pty;
    start(&pty, server, environment, (const char *const[]){"stat", "--watch=0.05", NULL});
    pty_until(&pty, "\n", 4);
    pty_type(&pty, "\003");
    assert_int_equal(pty_wait(&pty), 0);
    assert_non_null(strstr(pty.out, "put/s"));
    assert_int_equal(pty_count(&pty, "\033"), 0);
    pty_free(&pty);
    server_stop(server);
}

/* Runs until enough was written, through a shell that cuts it: `head` closes the pipe. */
static void test_watch__a_pipe__lines_or_objects(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    static const char *const lines[] = {
        "\"$0\" -e \"$1\" stat --watch=0.02 2>/dev/null | head -n 4",
        "\"$0\" -e \"$1\" stat --watch=0.02 --json 2>/dev/null | head -n 3"};
    for (size_t i = 0; i < 2; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s", program_path("infinistore-cli"));
        const char *const arguments[] = {"/bin/sh", "-c", lines[i], path, server->service[0], NULL};
        struct outcome outcome;
        program_run(&(const struct program){.arguments = arguments}, &outcome);
        assert_int_equal(outcome.code, 0);
        assert_null(strchr(outcome.out, '\033'));
        size_t count = 0;
        char *rest = NULL;
        for (char *line = strtok_r(outcome.out, "\n", &rest); line != NULL;
             line = strtok_r(NULL, "\n", &rest)) {
            json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
            assert_int_equal(json_object_size(json_object_get(object, "metrics")) > 0, i == 1);
            json_decref(object);
            count++;
        }
        assert_int_equal(count, 4 - i);
        outcome_free(&outcome);
    }
    server_stop(server);
}

/* ---- other commands on a terminal --------------------------------------------------------------------- */

static void assert_writes(const struct server *server, int code, const char *text,
                          const char *const *arguments) {
    struct pty pty;
    start(&pty, server, NULL, arguments);
    int is = pty_wait(&pty);
    if (is != code || strstr(pty.out, text) == NULL) {
        fail_msg("%s: exit %d, wrote %s", arguments[0], is, pty.out);
    }
    pty_free(&pty);
}

static void test_commands__on_a_terminal__answer_in_words(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "a", "text");
    assert_writes(server, 0, "1 of 2 leading keys are present",
                  (const char *const[]){"match", "a", "b", NULL});
    assert_writes(server, 0, "index 1: a", (const char *const[]){"match", "--last", "b", "a", NULL});
    assert_writes(server, 1, "none is present", (const char *const[]){"match", "--last", "b", NULL});
    assert_writes(server, 0, "text\r\n", (const char *const[]){"get", "a", NULL});
    assert_writes(server, 0, "1 of 1 keys removed", (const char *const[]){"rm", "a", NULL});
    assert_writes(server, 0, "0 keys purged", (const char *const[]){"purge", NULL});
    server_stop(server);
}

static void test_get__binary_on_a_terminal__only_when_asked_for(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    cli_put_text(server, "key", "\033[2Jgone");
    assert_writes(server, 4, "binary", (const char *const[]){"get", "key", NULL});
    struct pty pty;
    start(&pty, server, NULL, (const char *const[]){"get", "key", NULL});
    assert_int_equal(pty_wait(&pty), 4);
    assert_int_equal(pty_count(&pty, "\033"), 0);
    pty_free(&pty);
    assert_writes(server, 0, "\033[2Jgone", (const char *const[]){"get", "key", "-", NULL});
    server_stop(server);
}

static void test_ping__until_ctrl_c__summed_up(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct pty pty;
    start(&pty, server, NULL, (const char *const[]){"ping", "-c", "0", "-i", "0.01", NULL});
    pty_until(&pty, "reply from", 3);
    pty_type(&pty, "\003");
    assert_int_equal(pty_wait(&pty), 0);
    assert_non_null(strstr(pty.out, " received, 0% lost"));
    pty_free(&pty);
    /* and while a reply is awaited */
    start(&pty, server, NULL, (const char *const[]){"ping", "-c", "0", "-i", "0.01", NULL});
    pty_until(&pty, "reply from", 1);
    server_signal(server, SIGSTOP);
    assert_int_equal(kill(pty.pid, SIGINT), 0);
    assert_int_equal(pty_wait(&pty), 0);
    assert_non_null(strstr(pty.out, "ping statistics"));
    pty_free(&pty);
    server_signal(server, SIGCONT);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_watch__redraws_then_ctrl_c__terminal_as_before),
        integration_test(test_watch__sigint_q_or_ctrl_d__leaves),
        integration_test(test_watch__other_signals__terminal_as_before_and_killed_by_it),
        integration_test(test_watch__suspended__terminal_as_before_until_it_goes_on),
        integration_test(test_watch__resized__drawn_for_the_new_size),
        integration_test(test_watch__server_restarts__says_so_and_goes_on),
        integration_test(test_watch__server_stands_still__says_so),
        integration_test(test_watch__no_color_or_not__colours_accordingly),
        integration_test(test_watch__dumb_terminal__lines),
        integration_test(test_watch__a_pipe__lines_or_objects),
        integration_test(test_commands__on_a_terminal__answer_in_words),
        integration_test(test_get__binary_on_a_terminal__only_when_asked_for),
        integration_test(test_ping__until_ctrl_c__summed_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

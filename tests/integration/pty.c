#include "tests/integration/pty.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define CHUNK_BYTES 4096u

static void run_child(const struct program *program, int slave, pid_t parent) {
    program_child_begin(parent);
    setsid();
    if (ioctl(slave, TIOCSCTTY, 0) != 0 || dup2(slave, 0) < 0 || dup2(slave, 1) < 0 ||
        dup2(slave, 2) < 0) {
        _exit(126);
    }
    setenv("TERM", "xterm", 1);
    for (size_t i = 0; program->environment != NULL && program->environment[i] != NULL; i++) {
        putenv((char *)(uintptr_t)program->environment[i]);
    }
    execvp(program->arguments[0], (char *const *)(uintptr_t)program->arguments);
    _exit(127);
}

void pty_resize(struct pty *pty, unsigned short columns, unsigned short rows) {
    const struct winsize size = {.ws_col = columns, .ws_row = rows};
    assert_int_equal(ioctl(pty->master, TIOCSWINSZ, &size), 0);
}

void pty_start(struct pty *pty, const struct program *program, unsigned short columns,
               unsigned short rows) {
    *pty = (struct pty){.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    assert_true(pty->master >= 0);
    assert_int_equal(grantpt(pty->master) | unlockpt(pty->master), 0);
    char name[64];
    assert_int_equal(ptsname_r(pty->master, name, sizeof(name)), 0);
    /* ours stays open, so that its settings can be read when the program is gone */
    pty->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(pty->slave >= 0);
    assert_int_equal(tcgetattr(pty->slave, &pty->before), 0);
    pty_resize(pty, columns, rows);
    pid_t parent = getpid();
    pty->pid = fork();
    assert_true(pty->pid >= 0);
    if (pty->pid == 0) {
        run_child(program, pty->slave, parent);
    }
    pty->pidfd = (int)syscall(SYS_pidfd_open, pty->pid, 0);
    assert_true(pty->pidfd >= 0);
    fcntl(pty->master, F_SETFL, O_NONBLOCK);
}

/* Takes what is there; false: nothing was. */
static bool take(struct pty *pty) {
    if (pty->bytes + CHUNK_BYTES + 1 > pty->room) {
        pty->room = 2 * pty->room + CHUNK_BYTES + 1;
        pty->out = realloc(pty->out, pty->room);
        assert_non_null(pty->out);
    }
    ssize_t got = read(pty->master, pty->out + pty->bytes, CHUNK_BYTES);
    pty->bytes += got > 0 ? (size_t)got : 0;
    pty->out[pty->bytes] = '\0';
    return got > 0;
}

size_t pty_count(const struct pty *pty, const char *text) {
    size_t count = 0;
    for (const char *at = pty->out; at != NULL && (at = strstr(at, text)) != NULL; at++) {
        count++;
    }
    return count;
}

/* Waits for bytes or the program's end; true: it has ended. */
static bool wait_for_more(struct pty *pty, uint64_t until_ns) {
    struct pollfd polled[2] = {{.fd = pty->master, .events = POLLIN},
                               {.fd = pty->pidfd, .events = POLLIN}};
    poll(polled, 2, 100);
    if (now_ns() > until_ns) {
        kill(pty->pid, SIGKILL);
        waitpid(pty->pid, NULL, 0);
        fail_msg("the program on the terminal does not go on; it wrote: %s", pty->out);
    }
    return polled[1].revents != 0;
}

void pty_until(struct pty *pty, const char *text, size_t times) {
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    for (;;) {
        while (take(pty)) {
        }
        if (pty_count(pty, text) >= times) {
            return;
        }
        if (wait_for_more(pty, until_ns) && !take(pty) && pty_count(pty, text) < times) {
            fail_msg("the program ended without writing %s; it wrote: %s", text, pty->out);
        }
    }
}

void pty_type(struct pty *pty, const char *keys) {
    assert_int_equal(write(pty->master, keys, strlen(keys)), strlen(keys));
}

int pty_wait(struct pty *pty) {
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    bool ended = false;
    while (!ended) {
        ended = wait_for_more(pty, until_ns);
        while (take(pty)) {
        }
    }
    int status;
    assert_int_equal(waitpid(pty->pid, &status, 0), pty->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool pty_is_restored(const struct pty *pty) {
    struct termios now;
    assert_int_equal(tcgetattr(pty->slave, &now), 0);
    return now.c_iflag == pty->before.c_iflag && now.c_oflag == pty->before.c_oflag &&
           now.c_cflag == pty->before.c_cflag && now.c_lflag == pty->before.c_lflag &&
           memcmp(now.c_cc, pty->before.c_cc, sizeof(now.c_cc)) == 0;
}

void pty_free(struct pty *pty) {
    close(pty->master);
    close(pty->slave);
    close(pty->pidfd);
    free(pty->out);
    *pty = (struct pty){0};
}

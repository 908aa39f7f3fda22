#include "tests/integration/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define CHUNK_BYTES (256 * KIB)

struct stream {
    int fd; /* -1: ended */
    char *data;
    size_t bytes, room;
};

static void stream_read(struct stream *stream) {
    if (stream->bytes + CHUNK_BYTES + 1 > stream->room) {
        stream->room = 2 * stream->room + CHUNK_BYTES + 1;
        stream->data = realloc(stream->data, stream->room);
        assert_non_null(stream->data);
    }
    ssize_t got = read(stream->fd, stream->data + stream->bytes, CHUNK_BYTES);
    if (got > 0) {
        stream->bytes += (size_t)got;
    } else if (got == 0 || errno != EINTR) {
        close(stream->fd);
        stream->fd = -1;
    }
    stream->data[stream->bytes] = '\0';
}

static void input_write(int *fd, const char *input, size_t bytes, size_t *written) {
    if (*written < bytes) {
        ssize_t put = write(*fd, input + *written, bytes - *written);
        if (put > 0) {
            *written += (size_t)put;
        } else if (put < 0 && errno != EINTR && errno != EAGAIN) {
            *written = bytes; /* it does not read its stdin */
        }
    }
    if (*written == bytes) {
        close(*fd);
        *fd = -1;
    }
}

void program_child_begin(pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126);
    }
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL); /* of the few where that cannot be, it already is so */
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void run_child(const struct program *program, int in, int out, int err, pid_t parent) {
    program_child_begin(parent);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) {
        _exit(126);
    }
    for (size_t i = 0; program->environment != NULL && program->environment[i] != NULL; i++) {
        putenv((char *)(uintptr_t)program->environment[i]);
    }
    execvp(program->arguments[0], (char *const *)(uintptr_t)program->arguments);
    _exit(127);
}

void program_run(const struct program *program, struct outcome *outcome) {
    int in[2], out[2], err[2];
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before);
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run_child(program, in[0], out[1], err[1], parent);
    }
    if (program->pid != NULL) {
        *program->pid = pid;
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    int input = in[1];
    size_t written = 0;
    struct stream streams[2] = {{.fd = out[0]}, {.fd = err[0]}};
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    bool late = false;
    while ((streams[0].fd >= 0 || streams[1].fd >= 0) && !late) {
        struct pollfd polled[3] = {{.fd = streams[0].fd, .events = POLLIN},
                                   {.fd = streams[1].fd, .events = POLLIN},
                                   {.fd = input, .events = POLLOUT}};
        poll(polled, 3, 100);
        for (size_t i = 0; i < 2; i++) {
            if (streams[i].fd >= 0 && polled[i].revents != 0) {
                stream_read(&streams[i]);
            }
        }
        if (input >= 0 && polled[2].revents != 0) {
            input_write(&input, program->input, program->input_bytes, &written);
        }
        late = now_ns() > until_ns;
    }
    if (late) {
        kill(pid, SIGKILL);
    }
    if (input >= 0) {
        close(input);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    sigaction(SIGPIPE, &before, NULL);
    if (late) {
        fail_msg("%s did not end; it said: %s", program->arguments[0], streams[1].data);
    }
    *outcome = (struct outcome){
        .code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
        .out = streams[0].data,
        .out_bytes = streams[0].bytes,
        .err = streams[1].data,
        .err_bytes = streams[1].bytes,
    };
}

void outcome_free(struct outcome *outcome) {
    free(outcome->out);
    free(outcome->err);
    *outcome = (struct outcome){0};
}

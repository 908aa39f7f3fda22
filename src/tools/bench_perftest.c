#include "tools/bench_perftest.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench_clock.h"
#include "tools/bench_crew.h"
#include "tools/bench_load.h"
#include "tools/bench_port.h"

#define RUN_NS (120 * 1000000000ull)   /* until it must have ended */
#define LISTEN_NS (10 * 1000000000ull) /* until the other end must be there */
#define LOOK_NS 10000000
#define ATTEMPTS                                                                                       \
    5u /* perftest 4.5 sometimes dies of a signal (it measures the CPU's clock badly), or loses its port */
#define ITERATIONS_MIN 200u
#define DEPTH_MAX 8192u
#define NOT_FOUND 127 /* exit code of a child that found no such program, as of a shell */
#define ARGUMENTS 24u
#define WORDS_MAX 1024

/* One of the two ends. */
struct end {
    pid_t pid; /* 0: none */
    int fd;    /* what it says; -1: closed */
    char words[WORDS_MAX];
    size_t used;
    int state; /* of waitpid(), when pid is 0 */
};

struct ist_bench_perftest {
    const char *device, *server_device;
    const struct ist_bench_list *pin, *pin_peers;
    pid_t pid; /* the child's */
    int fd;    /* of a pair: questions one way, answers the other */
};

struct answer {
    enum ist_status status;
    double bytes_per_second;
    char error[IST_BENCH_ERROR_MAX];
};

struct command {
    const char *words[ARGUMENTS + 1];
    size_t count;
    char port[8], size[24], depth[24], iterations[24], queue_pairs[24];
};

static void add(struct command *command, const char *option, const char *value) {
    command->words[command->count++] = option;
    if (value != NULL) {
        command->words[command->count++] = value;
    }
}

static void set_number(char text[24], uint64_t number) {
    snprintf(text, 24, "%llu", (unsigned long long)number);
}

/* peer: NULL for the end that waits. */
static void make_command(const struct ist_bench_perftest_move *move, uint16_t port, const char *device,
                         const char *peer, struct command *command) {
    uint64_t depth = move->depth < DEPTH_MAX ? move->depth : DEPTH_MAX;
    uint64_t iterations = move->iterations > ITERATIONS_MIN ? move->iterations : ITERATIONS_MIN;
    iterations = iterations > 2 * depth ? iterations : 2 * depth;
    *command = (struct command){.count = 0};
    snprintf(command->port, sizeof command->port, "%u", port);
    set_number(command->size, move->value_bytes);
    set_number(command->depth, depth);
    set_number(command->iterations, iterations);
    set_number(command->queue_pairs, move->queue_pairs);
    add(command, move->get ? "ib_write_bw" : "ib_read_bw", NULL);
    add(command, "-d", device);
    add(command, "-p", command->port);
    add(command, "-s", command->size);
    add(command, "-t", command->depth);
    add(command, "-n", command->iterations);
    add(command, "-q", command->queue_pairs);
    add(command, "-F", NULL); /* no complaint about the CPU's clock */
    if (peer != NULL) {
        add(command, "--output=bandwidth", NULL);
        add(command, peer, NULL);
    }
}

static void become(const struct command *command, int out, const struct ist_bench_list *pin,
                   pid_t parent) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        _exit(1);
    }
    (void)ist_bench_pin(pin);
    execvp(command->words[0], (char *const *)(uintptr_t)command->words);
    _exit(errno == ENOENT ? NOT_FOUND : 1);
}

/* False: no process or no pipe. */
static bool start(const struct command *command, const struct ist_bench_list *pin, struct end *end) {
    int ends[2];
    *end = (struct end){.fd = -1};
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    pid_t parent = getpid();
    end->pid = fork();
    if (end->pid == 0) {
        become(command, ends[1], pin, parent);
    }
    close(ends[1]);
    if (end->pid < 0) {
        close(ends[0]);
        end->pid = 0;
        return false;
    }
    end->fd = ends[0];
    return true;
}

/* Reads what there is; keeps the first of it. */
static void hear(struct end *end) {
    char more[WORDS_MAX];
    ssize_t got = read(end->fd, more, sizeof more);
    if (got <= 0) {
        close(end->fd);
        end->fd = -1;
        return;
    }
    size_t room = sizeof end->words - 1 - end->used;
    size_t kept = (size_t)got < room ? (size_t)got : room;
    memcpy(end->words + end->used, more, kept);
    end->used += kept;
    end->words[end->used] = '\0';
}

static void stop(struct end *end) {
    if (end->pid > 0) {
        kill(end->pid, SIGKILL);
        waitpid(end->pid, &end->state, 0);
        end->pid = 0;
    }
    if (end->fd >= 0) {
        close(end->fd);
        end->fd = -1;
    }
}

/* Until `end` has closed its output and ended, both heard meanwhile. False: not in time. */
static bool wait_for(struct end *end, struct end *other, uint64_t until_ns) {
    while (end->fd >= 0) {
        uint64_t now = ist_bench_now_ns();
        struct pollfd polled[2] = {{.fd = end->fd, .events = POLLIN},
                                   {.fd = other->fd, .events = POLLIN}};
        if (now >= until_ns) {
            return false;
        }
        (void)poll(polled, 2, (int)((until_ns - now) / 1000000 + 1));
        if (polled[0].revents != 0) {
            hear(end);
        }
        if (polled[1].revents != 0) {
            hear(other);
        }
    }
    waitpid(end->pid, &end->state, 0);
    end->pid = 0;
    return true;
}

/* If so, all it said has been heard. */
static bool has_ended(struct end *end) {
    struct pollfd polled = {.fd = end->fd, .events = POLLIN};
    if (end->pid > 0 && waitpid(end->pid, &end->state, WNOHANG) == end->pid) {
        end->pid = 0;
        while (end->fd >= 0 && poll(&polled, 1, 0) > 0) {
            hear(end);
        }
    }
    return end->pid == 0;
}

/* The last line of what it said, without its end, and its rulers. */
static const char *last_words(struct end *end) {
    char *last = NULL, *rest = NULL;
    for (char *line = strtok_r(end->words, "\r\n", &rest); line != NULL;
         line = strtok_r(NULL, "\r\n", &rest)) {
        if (strspn(line, "- \t") != strlen(line)) {
            last = line;
        }
    }
    return last == NULL ? "without a word" : last;
}

static enum ist_status failed(const struct command *command, struct end *end, char *error) {
    if (WIFEXITED(end->state) && WEXITSTATUS(end->state) == NOT_FOUND) {
        snprintf(error, IST_BENCH_ERROR_MAX,
                 "--baseline perftest: there is no %s in PATH (on Debian: apt-get install perftest)",
                 command->words[0]);
        return IST_CONFIG;
    }
    snprintf(error, IST_BENCH_ERROR_MAX, "--baseline perftest: %s -d %s fails: %.300s",
             command->words[0], command->words[2], last_words(end));
    return IST_PEER;
}

/* The end that moves the bytes: again until the other one listens. */
static enum ist_status drive(const struct command *command, const struct ist_bench_list *pin,
                             struct end *waiting, const struct command *waiting_command,
                             struct end *moving, char *error) {
    uint64_t begun_ns = ist_bench_now_ns();
    for (;;) {
        if (!start(command, pin, moving)) {
            snprintf(error, IST_BENCH_ERROR_MAX, "--baseline perftest: %s", strerror(errno));
            return IST_NO_MEMORY;
        }
        bool ended = wait_for(moving, waiting, begun_ns + RUN_NS);
        if (ended && WIFEXITED(moving->state) && WEXITSTATUS(moving->state) == 0) {
            return IST_OK;
        }
        stop(moving);
        if (has_ended(waiting) && !(WIFEXITED(waiting->state) && WEXITSTATUS(waiting->state) == 0)) {
            return failed(waiting_command, waiting, error);
        }
        if (!ended || waiting->pid == 0 || ist_bench_now_ns() > begun_ns + LISTEN_NS) {
            return failed(command, moving, error);
        }
        nanosleep(&(const struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
}

/* By itself, that is. */
static bool was_killed(const struct end *end) {
    return end->pid == 0 && WIFSIGNALED(end->state) && WTERMSIG(end->state) != SIGKILL;
}

/* "361.71", MiB a second; what came before it are warnings. 0: "0.00", "inf", or nothing of the kind. */
static double rate_of(struct end *end) {
    const char *words = last_words(end);
    char *rest = NULL;
    double mib = strtod(words, &rest);
    return rest == words || !isfinite(mib) || mib <= 0 ? 0 : mib * 1048576.;
}

/* ---- the child ---------------------------------------------------------------------------------- */

/* AGAIN: an end was killed by a signal. */
static enum ist_status attempt(const struct ist_bench_perftest *perftest,
                               const struct ist_bench_perftest_move *move, struct answer *answer) {
    struct command waits, moves;
    struct end waiting, moving = {.fd = -1};
    uint16_t port = ist_bench_free_port();
    make_command(move, port, perftest->device, NULL, &waits);
    make_command(move, port, perftest->server_device, "127.0.0.1", &moves);
    if (!start(&waits, perftest->pin, &waiting)) {
        snprintf(answer->error, sizeof answer->error, "--baseline perftest: %s", strerror(errno));
        return IST_NO_MEMORY;
    }
    enum ist_status status =
        drive(&moves, perftest->pin_peers, &waiting, &waits, &moving, answer->error);
    if (status == IST_OK) {
        answer->bytes_per_second = rate_of(&moving);
    } else if (was_killed(&waiting) || was_killed(&moving)) {
        status = IST_AGAIN;
    }
    stop(&moving);
    stop(&waiting);
    return status;
}

static _Noreturn void serve(const struct ist_bench_perftest *perftest, pid_t parent) {
    struct ist_bench_perftest_move move;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent && recv(perftest->fd, &move, sizeof move, 0) == sizeof move) {
        struct answer answer;
        memset(&answer, 0, sizeof answer);
        answer.status = IST_AGAIN;
        for (unsigned i = 0; i < ATTEMPTS && answer.status == IST_AGAIN; i++) {
            answer.status = attempt(perftest, &move, &answer);
        }
        answer.status = answer.status == IST_AGAIN ? IST_PEER : answer.status;
        (void)send(perftest->fd, &answer, sizeof answer, MSG_NOSIGNAL);
    }
    _exit(0);
}

/* ---- the parent --------------------------------------------------------------------------------- */

enum ist_status ist_bench_perftest_new(const char *device, const char *server_device,
                                       const struct ist_bench_list *pin,
                                       const struct ist_bench_list *pin_peers,
                                       struct ist_bench_perftest **perftest, char *error) {
    struct ist_bench_perftest *new = calloc(1, sizeof *new);
    int pair[2] = {-1, -1};
    pid_t parent = getpid();
    if (new == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        goto no_memory;
    }
    *new = (struct ist_bench_perftest){device, server_device, pin, pin_peers, 0, pair[1]};
    new->pid = fork();
    if (new->pid == 0) {
        close(pair[0]);
        serve(new, parent);
    }
    if (new->pid < 0) {
        goto no_memory;
    }
    close(pair[1]);
    new->fd = pair[0];
    *perftest = new;
    return IST_OK;

no_memory:
    snprintf(error, IST_BENCH_ERROR_MAX, "--baseline perftest: %s", strerror(errno));
    for (int i = 0; i < 2 && pair[i] >= 0; i++) {
        close(pair[i]);
    }
    free(new);
    return IST_NO_MEMORY;
}

void ist_bench_perftest_free(struct ist_bench_perftest *perftest) {
    if (perftest == NULL) {
        return;
    }
    close(perftest->fd); /* that ends the child, which is not in the middle of anything */
    waitpid(perftest->pid, NULL, 0);
    free(perftest);
}

enum ist_status ist_bench_perftest_run(struct ist_bench_perftest *perftest,
                                       const struct ist_bench_perftest_move *move,
                                       double *bytes_per_second, char *error) {
    struct answer answer;
    struct ist_bench_perftest_move question;
    memset(&question, 0, sizeof question); /* what lies between its members is sent, too */
    question.get = move->get;
    question.value_bytes = move->value_bytes;
    question.depth = move->depth;
    question.queue_pairs = move->queue_pairs;
    question.iterations = move->iterations;
    if (send(perftest->fd, &question, sizeof question, MSG_NOSIGNAL) != sizeof question ||
        recv(perftest->fd, &answer, sizeof answer, 0) != sizeof answer) {
        snprintf(error, IST_BENCH_ERROR_MAX, "--baseline perftest: who starts it is gone");
        return IST_PEER;
    }
    if (answer.status == IST_OK) {
        *bytes_per_second = answer.bytes_per_second;
    } else {
        memcpy(error, answer.error, sizeof answer.error);
    }
    return answer.status;
}

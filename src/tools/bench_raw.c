#include "tools/bench_raw.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench_clock.h"
#include "tools/bench_crew.h"
#include "tools/bench_load.h"
#include "tools/bench_set.h"

/* Of a stream. What a loopback carries depends on the pieces by a factor of three: these were the fastest of all
 * powers of two from 16 KiB to 1 MiB. Requests below LARGE_BYTES are sent one by one. */
#define SEND_BYTES (1ull << 20)
#define RECV_BYTES (64ull << 10)
#define LARGE_BYTES (256ull << 10)
#define TIMEOUT_SEC 30 /* of any single send or recv: nothing hangs */
#define BACKLOG 1024

/* Both ends are this program: the struct itself travels. */
enum kind { PING, PUT, GET };
struct command {
    enum kind kind;
    bool stream;
    uint64_t request_bytes, requests;
    uint64_t line, lines; /* which share of the child's region is this line's */
    uint8_t padding[IST_BENCH_RAW_PING_BYTES - 40];
};
_Static_assert(sizeof(struct command) == IST_BENCH_RAW_PING_BYTES, "a command is as long as a ping");

/* Memory that is used from start to end and again. */
struct ring {
    uint8_t *memory;
    uint64_t bytes, at;
};

struct line {
    int fd;
    struct ring ring;
    struct ist_histogram latency;
};

struct ist_bench_raw {
    pid_t pid;
    struct sockaddr_storage address;
    socklen_t address_bytes;
    struct line *lines;
    size_t count;
};

/* ---- both ends ---------------------------------------------------------------------------------- */

/* Share `share` of `shares`. */
static struct ring ring_of(uint8_t *memory, uint64_t bytes, uint64_t share, uint64_t shares) {
    uint64_t each = bytes / shares;
    return (struct ring){memory + share * each, each, 0};
}

static uint8_t *ring_take(struct ring *ring, uint64_t bytes) {
    if (ring->at + bytes > ring->bytes) {
        ring->at = 0;
    }
    uint8_t *memory = ring->memory + ring->at;
    ring->at += bytes;
    return memory;
}

/* All of two pieces in as few calls as the kernel allows, sent or received. False: the line is broken. */
static bool move_all(int fd, bool sends, struct iovec vectors[2]) {
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 2};
    while (vectors[0].iov_len + vectors[1].iov_len > 0) {
        ssize_t moved = sends ? sendmsg(fd, &message, MSG_NOSIGNAL) : recvmsg(fd, &message, 0);
        if (moved < 0 && errno == EINTR) {
            continue;
        }
        if (moved <= 0) {
            errno = moved == 0 ? ECONNRESET : errno;
            return false;
        }
        for (size_t i = 0; i < 2; i++) {
            size_t part = (size_t)moved < vectors[i].iov_len ? (size_t)moved : vectors[i].iov_len;
            vectors[i].iov_base = (uint8_t *)vectors[i].iov_base + part;
            vectors[i].iov_len -= part;
            moved -= (ssize_t)part;
        }
    }
    return true;
}

static bool move_one(int fd, bool sends, void *head, size_t head_bytes, void *body, size_t body_bytes) {
    struct iovec vectors[2] = {{head, head_bytes}, {body, body_bytes}};
    return move_all(fd, sends, vectors);
}

/* The next piece of a stream, at most `most` bytes of it. */
static uint64_t ring_piece(struct ring *ring, uint64_t left, uint64_t most) {
    if (ring->at == ring->bytes) {
        ring->at = 0;
    }
    uint64_t there = ring->bytes - ring->at;
    uint64_t piece = left < most ? left : most;
    return piece < there ? piece : there;
}

static bool stream_send(int fd, struct ring *ring, uint64_t request_bytes, uint64_t requests) {
    uint64_t most = request_bytes < LARGE_BYTES ? request_bytes : SEND_BYTES;
    for (uint64_t left = request_bytes * requests; left > 0;) {
        uint64_t piece = ring_piece(ring, left, most);
        if (!move_one(fd, true, NULL, 0, ring->memory + ring->at, piece)) {
            return false;
        }
        ring->at += piece;
        left -= piece;
    }
    return true;
}

static bool stream_recv(int fd, struct ring *ring, uint64_t bytes) {
    for (uint64_t left = bytes; left > 0;) {
        uint64_t piece = ring_piece(ring, left, RECV_BYTES);
        ssize_t got = recv(fd, ring->memory + ring->at, piece, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got == 0 ? ECONNRESET : errno;
            return false;
        }
        ring->at += (uint64_t)got;
        left -= (uint64_t)got;
    }
    return true;
}

static void line_prepare(int fd) {
    const struct timeval timeout = {.tv_sec = TIMEOUT_SEC};
    const int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* no-op on AF_UNIX */
}

/* ---- the child ---------------------------------------------------------------------------------- */

struct served {
    int fd;
    uint8_t *region;
    uint64_t region_bytes;
};

/* Answers one command, with everything that follows it. */
static bool serve_one(const struct served *served, const struct command *command, struct ring *ring) {
    struct command head;
    uint8_t pong[IST_BENCH_RAW_PONG_BYTES] = {0};
    int fd = served->fd;
    uint64_t bytes = command->request_bytes;
    if (command->kind == PING) {
        return move_one(fd, true, pong, sizeof pong, NULL, 0);
    }
    if (command->stream && command->kind == PUT) {
        return stream_recv(fd, ring, bytes * command->requests) &&
               move_one(fd, true, pong, sizeof pong, NULL, 0);
    }
    if (command->stream) {
        return stream_send(fd, ring, bytes, command->requests);
    }
    bool whole = true;
    for (uint64_t i = 0; i < command->requests && whole; i++) {
        uint8_t *body = ring_take(ring, bytes);
        if (command->kind == PUT) {
            whole = move_one(fd, false, &head, sizeof head, body, bytes) &&
                    move_one(fd, true, pong, sizeof pong, NULL, 0);
        } else {
            whole = move_one(fd, false, &head, sizeof head, NULL, 0) &&
                    move_one(fd, true, pong, sizeof pong, body, bytes);
        }
    }
    return whole;
}

static void *serve_line(void *arg) {
    struct served *served = arg;
    struct command command;
    struct ring ring = {0};
    line_prepare(served->fd);
    while (move_one(served->fd, false, &command, sizeof command, NULL, 0)) {
        if (command.kind != PING && ring.bytes < command.request_bytes) {
            ring = ring_of(served->region, served->region_bytes, command.line, command.lines);
        }
        if ((command.kind != PING && ring.bytes < command.request_bytes) ||
            !serve_one(served, &command, &ring)) {
            break;
        }
    }
    close(served->fd);
    free(served);
    return NULL;
}

/* Never returns. ready: told by a byte. */
static void serve(int listener, uint64_t region_bytes, const struct ist_bench_list *pin, int ready) {
    uint8_t *region = ist_bench_pin(pin) == IST_OK ? ist_bench_region_new(region_bytes) : NULL;
    if (region == NULL || write(ready, "", 1) != 1) {
        _exit(1);
    }
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && errno != EINTR && errno != ECONNABORTED) {
            _exit(1);
        }
        struct served *served = fd < 0 ? NULL : malloc(sizeof *served);
        if (served == NULL) {
            continue;
        }
        *served = (struct served){.fd = fd, .region = region, .region_bytes = region_bytes};
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve_line, served) != 0) {
            _exit(1);
        }
        pthread_detach(thread);
    }
}

/* ---- new, free ---------------------------------------------------------------------------------- */

static int listen_any(bool unix_socket, struct ist_bench_raw *raw) {
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* man 7 unix, autobind: an address of the family alone gets a name in the abstract namespace. */
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    int fd = socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int bound = unix_socket ? bind(fd, (struct sockaddr *)&any, sizeof(sa_family_t))
                            : bind(fd, (struct sockaddr *)&loopback, sizeof loopback);
    raw->address_bytes = sizeof raw->address;
    if (fd >= 0 && bound == 0 && listen(fd, BACKLOG) == 0 &&
        getsockname(fd, (struct sockaddr *)&raw->address, &raw->address_bytes) == 0) {
        return fd;
    }
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = saved;
    return -1;
}

static enum ist_status broken(char *error, const char *what) {
    snprintf(error, IST_BENCH_ERROR_MAX, "raw baseline: %s: %s", what, strerror(errno));
    return IST_PEER;
}

enum ist_status ist_bench_raw_new(bool unix_socket, uint64_t region_bytes,
                                  const struct ist_bench_list *pin, struct ist_bench_raw **raw,
                                  char *error) {
    struct ist_bench_raw *new = calloc(1, sizeof *new);
    int ready[2] = {-1, -1}, listener = new == NULL ? -1 : listen_any(unix_socket, new);
    if (listener < 0 || pipe(ready) != 0) {
        enum ist_status status = broken(error, "no socket");
        if (listener >= 0) {
            close(listener);
        }
        free(new);
        return status;
    }
    pid_t parent = getpid();
    new->pid = fork();
    if (new->pid == 0) {
        close(ready[0]);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            serve(listener, region_bytes, pin, ready[1]);
        }
        _exit(1);
    }
    close(listener);
    close(ready[1]);
    char byte;
    ssize_t got = new->pid < 0 ? -1 : read(ready[0], &byte, 1);
    close(ready[0]);
    if (got != 1) {
        errno = new->pid < 0 ? errno : ENOMEM;
        enum ist_status status = broken(error, "its process did not start");
        ist_bench_raw_free(new);
        return status;
    }
    *raw = new;
    return IST_OK;
}

static void disconnect(struct ist_bench_raw *raw) {
    for (size_t i = 0; i < raw->count; i++) {
        close(raw->lines[i].fd);
    }
    free(raw->lines);
    raw->lines = NULL;
    raw->count = 0;
}

void ist_bench_raw_free(struct ist_bench_raw *raw) {
    if (raw == NULL) {
        return;
    }
    disconnect(raw);
    if (raw->pid > 0) {
        kill(raw->pid, SIGKILL);
        waitpid(raw->pid, NULL, 0);
    }
    free(raw);
}

enum ist_status ist_bench_raw_connect(struct ist_bench_raw *raw, size_t lines, char *error) {
    disconnect(raw);
    raw->lines = calloc(lines, sizeof *raw->lines);
    if (raw->lines == NULL) {
        return broken(error, "its lines");
    }
    for (; raw->count < lines; raw->count++) {
        int fd = socket(raw->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            return broken(error, "no socket");
        }
        if (connect(fd, (struct sockaddr *)&raw->address, raw->address_bytes) != 0) {
            enum ist_status status = broken(error, "its process is gone");
            close(fd);
            return status;
        }
        const struct timeval timeout = {.tv_sec = TIMEOUT_SEC};
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        line_prepare(fd);
        raw->lines[raw->count].fd = fd;
    }
    return IST_OK;
}

/* ---- our end ------------------------------------------------------------------------------------ */

struct job {
    struct ist_bench_raw *raw;
    const struct ist_bench_raw_move *move;
    uint64_t pings;
    atomic_bool failed;
    _Atomic int error; /* errno of the failure */
};

static bool put_or_get(const struct ist_bench_raw_move *move, struct line *line,
                       const struct command *command) {
    struct command head = *command;
    uint8_t pong[IST_BENCH_RAW_PONG_BYTES];
    uint64_t bytes = move->request_bytes;
    if (!move_one(line->fd, true, &head, sizeof head, NULL, 0)) {
        return false;
    }
    if (command->stream && move->get) {
        return stream_recv(line->fd, &line->ring, bytes * command->requests);
    }
    if (command->stream) {
        return stream_send(line->fd, &line->ring, bytes, command->requests) &&
               move_one(line->fd, false, pong, sizeof pong, NULL, 0);
    }
    bool whole = true;
    for (uint64_t i = 0; i < command->requests && whole; i++) {
        uint8_t *body = ring_take(&line->ring, bytes);
        uint64_t begun_ns = ist_bench_now_ns();
        size_t there = move->get ? 0 : bytes, back = move->get ? bytes : 0;
        whole = move_one(line->fd, true, &head, sizeof head, body, there) &&
                move_one(line->fd, false, pong, sizeof pong, body, back);
        ist_histogram_record(&line->latency, ist_bench_now_ns() - begun_ns);
    }
    return whole;
}

static void job_fail(struct job *job) {
    atomic_store(&job->error, errno);
    atomic_store(&job->failed, true);
}

static void line_move(void *context, size_t member) {
    struct job *job = context;
    const struct ist_bench_raw_move *move = job->move;
    struct line *line = &job->raw->lines[member];
    /* As many lines as the memory has requests for: none shares its part with another. */
    uint64_t most = move->memory_bytes / move->request_bytes;
    uint64_t lines = job->raw->count < most ? job->raw->count : most;
    if (member >= lines) {
        return;
    }
    if (line->ring.bytes < move->request_bytes) {
        line->ring = ring_of(move->memory, move->memory_bytes, member, lines);
        line->ring.at = line->ring.bytes / 2 / move->request_bytes * move->request_bytes;
    }
    const struct command command = {.kind = move->get ? GET : PUT,
                                    .stream = move->depth > 1,
                                    .request_bytes = move->request_bytes,
                                    .requests = move->requests * (member + 1) / lines -
                                                move->requests * member / lines,
                                    .line = member,
                                    .lines = lines};
    if (command.requests > 0 && !put_or_get(move, line, &command)) {
        job_fail(job);
    }
}

static enum ist_status job_run(struct job *job, size_t members, const struct ist_bench_list *pin,
                               ist_bench_work_fn *work, struct ist_histogram *latency,
                               uint64_t *elapsed_ns, char *error) {
    for (size_t i = 0; i < members; i++) {
        ist_histogram_init(&job->raw->lines[i].latency);
    }
    if (ist_bench_crew_run(members, pin, work, job, elapsed_ns) != IST_OK) {
        errno = EAGAIN;
        return broken(error, "its threads");
    }
    if (atomic_load(&job->failed)) {
        errno = atomic_load(&job->error);
        return broken(error, "a line broke");
    }
    for (size_t i = 0; i < members && latency != NULL; i++) {
        ist_histogram_merge(latency, &job->raw->lines[i].latency);
    }
    return IST_OK;
}

enum ist_status ist_bench_raw_move(struct ist_bench_raw *raw, struct ist_bench_raw_move *move,
                                   char *error) {
    struct job job = {.raw = raw, .move = move};
    return job_run(&job, raw->count, move->pin, line_move, move->latency, &move->elapsed_ns, error);
}

static void line_ping(void *context, size_t member) {
    struct job *job = context;
    struct line *line = &job->raw->lines[member];
    struct command command = {.kind = PING};
    uint8_t pong[IST_BENCH_RAW_PONG_BYTES];
    for (uint64_t i = 0; i < job->pings; i++) {
        uint64_t begun_ns = ist_bench_now_ns();
        if (!move_one(line->fd, true, &command, sizeof command, NULL, 0) ||
            !move_one(line->fd, false, pong, sizeof pong, NULL, 0)) {
            job_fail(job);
            return;
        }
        ist_histogram_record(&line->latency, ist_bench_now_ns() - begun_ns);
    }
}

enum ist_status ist_bench_raw_ping(struct ist_bench_raw *raw, uint64_t pings,
                                   const struct ist_bench_list *pin, struct ist_histogram *latency,
                                   uint64_t *elapsed_ns, char *error) {
    struct job job = {.raw = raw, .pings = pings};
    return job_run(&job, 1, pin, line_ping, latency, elapsed_ns, error);
}

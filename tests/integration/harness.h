/* Runs the real daemon for a test, on ports that the kernel picks, and leaves nothing behind.
 *
 * The programs come from INFINISTORE_BIN (the daemon; the others stand beside it), else from the build directory
 * of the test program. INFINISTORE_WRAPPER, words separated by spaces, is put before the daemon's command line, e.g.
 * "valgrind -q --error-exitcode=99 --leak-check=full": the tests then do less of the same.
 *
 * Nothing here waits without a deadline. What fails, fails the running test (in the main thread). */
#ifndef IST_TESTS_INTEGRATION_HARNESS_H
#define IST_TESTS_INTEGRATION_HARNESS_H

#include "tests/support.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define MIB (1ull << 20)
#define KIB (1ull << 10)

/* How long anything may take before a test gives up. Not a measure of speed: machines are slow and shared. */
#define PATIENCE_NS (40 * 1000000000ull)

#define SERVER_ADDRESSES_MAX 8
#define SERVER_ADDRESS_BYTES 128

struct server {
    pid_t pid;
    int pidfd;
    char directory[64];                                       /* of its own, removed at the end */
    char service[SERVER_ADDRESSES_MAX][SERVER_ADDRESS_BYTES]; /* as a client writes them */
    char manage[SERVER_ADDRESSES_MAX][SERVER_ADDRESS_BYTES];
    char unix_socket[SERVER_ADDRESS_BYTES]; /* "" unless there is one */
    size_t services, manages;
};

struct server_setup {
    const char *const *options;     /* ends with NULL; behind those that the harness sets itself */
    const char *const *environment; /* "NAME=value", added to ours; ends with NULL; may be NULL */
    uint64_t descriptors;           /* RLIMIT_NOFILE; 0: unchanged */
    uint16_t service_port;          /* 0: any */
    bool any_host;                  /* do not say --host 127.0.0.1 */
    bool streams_closed;            /* no standard input, output and error */
};

/* Starts a daemon and returns when it says that it is ready. Up to 4 at a time. */
struct server *server_start_with(const struct server_setup *setup);
/* server_start("--prealloc-size", "64M") */
#define server_start(...)                                                                              \
    server_start_with(&(const struct server_setup){.options = (const char *const[]){__VA_ARGS__, NULL}})

/* SIGTERM; must end with exit code 0. Frees. */
void server_stop(struct server *server);
void server_signal(const struct server *server, int signal);
/* Waits for its end, whatever was sent to it; returns the exit code, 128 + the signal that killed it. Frees. */
int server_wait(struct server *server);
/* Frees a daemon that was killed with SIGKILL. */
void server_kill(struct server *server);
bool server_is_alive(const struct server *server);

/* For cmocka_unit_test_teardown(): what a failed test left running is killed, and its log shown. */
int servers_teardown(void **state);
#define integration_test(function) cmocka_unit_test_teardown(function, servers_teardown)

/* A field of /proc/PID/status in bytes, e.g. "VmRSS". */
uint64_t server_memory_bytes(const struct server *server, const char *field);
size_t server_descriptors(const struct server *server);
double server_cpu_seconds(const struct server *server);
/* What it wrote to stderr so far. Owned by the caller. */
char *server_log(const struct server *server);

/* The daemon is slow (a wrapper), its memory is not what it would be (a wrapper, a sanitizer). */
bool daemon_is_slow(void);
bool daemon_memory_is_true(void);

/* "infinistore", "infinistore-cli", "infinistore-bench" -> path; static storage, of the last call. */
const char *program_path(const char *name);

uint64_t now_ns(void);

/* Asks again and again until it holds; the test fails when it does not within PATIENCE_NS. */
#define assert_eventually(condition)                                                                   \
    do {                                                                                               \
        uint64_t until_ns_ = now_ns() + PATIENCE_NS;                                                   \
        while (!(condition)) {                                                                         \
            if (now_ns() > until_ns_) {                                                                \
                fail_msg("never came true: %s", #condition);                                           \
            }                                                                                          \
            nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);                             \
        }                                                                                              \
    } while (0)

#endif

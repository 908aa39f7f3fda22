/* The daemon and a client in one process, over RDMA on the software HCA: connect, use, the server ends and another begins, the
 * link goes and comes, close; and a client over TCP meanwhile, for whom nothing changes. One call fails:
 *
 *     torture_rdma DIRECTORY rdma|auto KINDS NTH    of the ibv_* calls of these kinds, as bits; 0: none fails
 *     torture_rdma DIRECTORY rdma|auto KINDS NTH+   and all after it: the cards have broken
 *
 * or of the C library, when libtorture.so is preloaded. What happened is printed as lines: a word, and what it is about.
 * Exit 0: no rule was broken; 1: one was. See ci/torture. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "infinistore/infinistore.h"
#include "sim/hca/hca.h"

int torture_daemon(int argc, char **argv);
/* Of libtorture.so, if it is there. */
bool torture_has_failed(void) __attribute__((weak));

#define NS_PER_SEC 1000000000ull
#define PATIENCE_NS (20 * NS_PER_SEC) /* for what takes milliseconds */
#define REQUEST_NS (10 * NS_PER_SEC)  /* a request that runs out of this hangs */
#define BATCH 100u                    /* more than may be posted at a time */
#define BATCH_BYTES 20000u
#define LARGE_BYTES 300000u
#define MEMORY_BYTES (2 * (BATCH * BATCH_BYTES + LARGE_BYTES))

static struct {
    struct ist_hca *hca;
    enum ist_transport transport;
    char ports[300], endpoint[64], port[16];
    uint16_t manage_port;
    pthread_t daemon;
    atomic_bool daemon_runs;
    int daemon_exit;
    bool had_failed; /* before this daemon began */
    bool for_ever;   /* what fails, fails from then on */
    struct ist_client *client;
} it = {.port = "0"};
static uint8_t memory[MEMORY_BYTES]; /* the client's, registered */

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static void pause_a_moment(void) {
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
}

static void print_failed(void) {
    if (ist_hca_failed(it.hca) != NULL) {
        printf("failed %s\n", ist_hca_failed(it.hca));
    }
}

__attribute__((noreturn, format(printf, 1, 2))) static void broken(const char *format, ...) {
    va_list list;
    printf("broken ");
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    printf("\n");
    print_failed();
    fflush(stdout);
    _exit(1);
}

static bool has_failed(void) {
    return ist_hca_failed(it.hca) != NULL || (torture_has_failed != NULL && torture_has_failed());
}

/* ---- the daemon -------------------------------------------------------------------------------------------- */

static void *run_daemon(void *context) {
    char *arguments[] = {"infinistore",
                         "--host",
                         "127.0.0.1",
                         "--service-port",
                         it.port,
                         "--manage-port",
                         "0",
                         "--port-file",
                         it.ports,
                         "--dev-name",
                         "server",
                         "--prealloc-size",
                         "8M",
                         "--auto-increase",
                         "--max-pool-size",
                         "16M",
                         "--drain-timeout",
                         "5",
                         "--minimal-allocate-size",
                         "4K",
                         NULL};
    (void)context;
    it.daemon_exit = torture_daemon(sizeof(arguments) / sizeof(arguments[0]) - 1, arguments);
    atomic_store(&it.daemon_runs, false);
    return NULL;
}

/* Where it listens, when it has written that. */
static bool read_endpoint(void) {
    char line[100];
    bool found = false;
    FILE *file = fopen(it.ports, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        found |= sscanf(line, "service %63s", it.endpoint) == 1;
        (void)sscanf(line, "manage 127.0.0.1:%hu", &it.manage_port);
    }
    if (file != NULL) {
        fclose(file);
    }
    if (found) {
        snprintf(it.port, sizeof(it.port), "%s", strrchr(it.endpoint, ':') + 1);
    }
    return found;
}

/* False: it has ended instead. */
static bool start(uint64_t until_ns) {
    it.endpoint[0] = '\0';
    unlink(it.ports);
    atomic_store(&it.daemon_runs, true);
    if (pthread_create(&it.daemon, NULL, run_daemon, NULL) != 0) {
        broken("no thread for the daemon");
    }
    while (atomic_load(&it.daemon_runs) && !read_endpoint()) {
        pause_a_moment();
        if (now_ns() > until_ns) {
            broken("the daemon neither starts nor ends");
        }
    }
    if (it.endpoint[0] == '\0') {
        pthread_join(it.daemon, NULL);
    }
    return it.endpoint[0] != '\0';
}

/* False: it does not start, and a call has failed. Its port may have been given to another program, for a moment, since the
 * last one had it: then it is tried again. */
static bool daemon_begin(void) {
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    bool has_port = strcmp(it.port, "0") != 0;
    it.had_failed = has_failed();
    while (!start(until_ns)) {
        if (!it.had_failed && has_failed()) {
            printf("unstarted %d\n", it.daemon_exit);
            return false;
        }
        if (!has_port || now_ns() > until_ns) {
            broken("the daemon does not start");
        }
        pause_a_moment();
    }
    return true;
}

static void daemon_end(void) {
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    if (!atomic_load(&it.daemon_runs)) {
        broken("the daemon has ended by itself with %d", it.daemon_exit);
    }
    kill(getpid(), SIGTERM);
    while (atomic_load(&it.daemon_runs)) {
        pause_a_moment();
        if (now_ns() > until_ns) {
            broken("SIGTERM does not end the daemon");
        }
    }
    pthread_join(it.daemon, NULL);
    if (it.daemon_exit != 0) {
        broken("SIGTERM ends the daemon with %d", it.daemon_exit);
    }
}

/* ---- the client over RDMA ---------------------------------------------------------------------------------- */

static void on_warning(void *context, const char *line) {
    (void)context;
    printf("warned %s\n", line);
}

static bool succeeded(enum ist_status status, const char *what) {
    if (status == IST_OK) {
        return true;
    }
    if (status == IST_TIMEOUT) {
        broken("%s hangs", what);
    }
    printf("refused %s: %s\n", what, ist_status_text(status));
    if (it.client != NULL) {
        char why[300];
        ist_client_why_tcp(it.client, why, sizeof(why));
        if (why[0] != '\0') {
            printf("said %s\n", why);
        }
    }
    return false;
}

static bool connected(void) {
    const struct ist_client_options options = {.endpoints = it.endpoint,
                                               .connect_timeout_ns = REQUEST_NS,
                                               .request_timeout_ns = REQUEST_NS,
                                               .transport = it.transport,
                                               .device = "client",
                                               .warn = on_warning};
    char error[300] = "";
    if (it.client != NULL) {
        return true;
    }
    enum ist_status status = ist_client_new(&options, &it.client, error, sizeof(error));
    if (status != IST_OK && error[0] == '\0') {
        broken("no connection, without a word");
    }
    if (!succeeded(status, "connect")) {
        printf("said %s\n", error);
        return false;
    }
    if (!succeeded(ist_memory_register(it.client, memory, MEMORY_BYTES), "register")) {
        ist_client_free(it.client);
        it.client = NULL;
        return false;
    }
    return true;
}

static uint64_t bytes_of(size_t i) {
    return i == BATCH ? LARGE_BYTES : BATCH_BYTES;
}
static uint8_t byte_of(size_t i, unsigned round) {
    return (uint8_t)(i * 7 + round * 31 + 1);
}

static bool put_and_get(unsigned round) {
    static char names[BATCH + 1][8];
    struct ist_put_item puts[BATCH + 1];
    struct ist_get_item gets[BATCH + 1];
    uint8_t *in = memory, *out = memory + MEMORY_BYTES / 2;
    for (size_t i = 0; i <= BATCH; i++) {
        int bytes = snprintf(names[i], sizeof(names[i]), "k%zu", i);
        const struct ist_key key = {names[i], (size_t)bytes};
        memset(in + i * BATCH_BYTES, byte_of(i, round), bytes_of(i));
        memset(out + i * BATCH_BYTES, 0, bytes_of(i));
        puts[i] = (struct ist_put_item){
            .key = key, .value = in + i * BATCH_BYTES, .value_bytes = bytes_of(i)};
        gets[i] = (struct ist_get_item){
            .key = key, .buffer = out + i * BATCH_BYTES, .buffer_bytes = bytes_of(i)};
    }
    if (!succeeded(ist_put(it.client, puts, BATCH + 1, 0, 0), "put") ||
        !succeeded(ist_get(it.client, gets, BATCH + 1, 0), "get")) {
        return false;
    }
    if (memcmp(in, out, MEMORY_BYTES / 2) != 0) {
        broken("a get returns something else");
    }
    return true;
}

static bool small_requests(void) {
    const struct ist_key keys[] = {{"k0", 2}, {"none", 4}, {"k1", 2}};
    bool present[3];
    size_t count;
    if (!succeeded(ist_exists(it.client, keys, 3, present, 0), "exists")) {
        return false;
    }
    if (!present[0] || present[1] || !present[2]) {
        broken("exists is wrong");
    }
    if (!succeeded(ist_match_prefix(it.client, keys, 3, &count, 0), "match")) {
        return false;
    }
    if (count != 1) {
        broken("match is wrong");
    }
    if (!succeeded(ist_remove(it.client, keys, 3, &count, 0), "remove")) {
        return false;
    }
    if (count != 2) {
        broken("remove is wrong");
    }
    return true;
}

static bool used(unsigned round) {
    return connected() && put_and_get(round) && small_requests() &&
           (it.transport != IST_TRANSPORT_RDMA ||
            ist_client_transport(it.client) == IST_TRANSPORT_RDMA);
}

/* Is there a reason for what goes wrong: a call that has failed, since this daemon began? AUTO goes on over TCP. */
static bool is_excused(void) {
    return it.for_ever ? has_failed() && it.transport == IST_TRANSPORT_RDMA
                       : has_failed() && !it.had_failed;
}

/* Else all must be well again in the end. */
static void use(unsigned round, bool disturbed) {
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    for (unsigned attempt = 0; !used(round); attempt++) {
        bool excused = is_excused();
        if (!excused && !disturbed && !has_failed() && attempt > 0) {
            broken("round %u does not succeed, and nothing has failed", round);
        }
        if (excused && attempt > 1) {
            printf("unserved round %u\n", round);
            return;
        }
        if (now_ns() > until_ns) {
            broken("round %u does not succeed any more", round);
        }
        pause_a_moment();
    }
}

/* ---- TCP goes on ------------------------------------------------------------------------------------------- */

static double metric(const struct ist_metrics *metrics, const char *name) {
    for (size_t i = 0; i < metrics->count; i++) {
        if (strcmp(metrics->items[i].name, name) == 0) {
            return metrics->items[i].value;
        }
    }
    broken("stat has no %s", name);
}

/* Whatever is reserved or doomed is so for a moment: the last completions may be on their way. */
static bool is_all_free(struct ist_client *client) {
    uint64_t until_ns = now_ns() + PATIENCE_NS, purged;
    for (;;) {
        struct ist_metrics *metrics;
        if (!succeeded(ist_purge(client, &purged, 0), "purge over TCP") ||
            !succeeded(ist_stat(client, &metrics, 0), "stat over TCP")) {
            return false;
        }
        double held = metric(metrics, "infinistore_pool_bytes{state=\"reserved\"}") +
                      metric(metrics, "infinistore_pool_bytes{state=\"committed\"}") +
                      metric(metrics, "infinistore_pool_bytes{state=\"doomed\"}");
        ist_metrics_free(metrics);
        if (held == 0) {
            return true;
        }
        if (now_ns() > until_ns) {
            broken("%.0f bytes stay held after a purge", held);
        }
        pause_a_moment();
    }
}

static bool served_over_tcp(bool is_last) {
    const struct ist_client_options options = {
        .endpoints = it.endpoint, .connect_timeout_ns = REQUEST_NS, .request_timeout_ns = REQUEST_NS};
    static uint8_t value[50000], back[50000];
    struct ist_put_item put = {.key = {"tcp", 3}, .value = value, .value_bytes = sizeof(value)};
    struct ist_get_item get = {.key = {"tcp", 3}, .buffer = back, .buffer_bytes = sizeof(back)};
    struct ist_client *client = NULL;
    memset(value, 't', sizeof(value));
    bool ok = succeeded(ist_client_new(&options, &client, NULL, 0), "connect over TCP") &&
              succeeded(ist_put(client, &put, 1, 0, 0), "put over TCP") &&
              succeeded(ist_get(client, &get, 1, 0), "get over TCP");
    if (ok && memcmp(value, back, sizeof(value)) != 0) {
        broken("a get over TCP returns something else");
    }
    ok = ok && (!is_last || is_all_free(client));
    ist_client_free(client);
    return ok;
}

/* The failure may come now, but it comes once. */
static void use_tcp(bool is_last) {
    bool had_failed = has_failed();
    if (!served_over_tcp(is_last) && (had_failed || !has_failed() || !served_over_tcp(is_last))) {
        broken("TCP does not go on");
    }
}

/* ---- the daemon's own test --------------------------------------------------------------------------------- */

/* The daemon as a client of its own, over TCP and over RDMA. Returns whether it was content. */
static bool tests_itself(void) {
    static const char request[] = "GET /selftest HTTP/1.0\r\n\r\n";
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(it.manage_port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval patience = {.tv_sec = PATIENCE_NS / NS_PER_SEC};
    char answer[2000];
    size_t bytes = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ssize_t got = connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0
                      ? send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL)
                      : 0;
    while (got > 0 && bytes < sizeof(answer) - 1) {
        got = recv(fd, answer + bytes, sizeof(answer) - 1 - bytes, 0);
        bytes += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 && errno == EAGAIN) {
        broken("the self-test hangs");
    }
    close(fd);
    answer[bytes] = '\0';
    bool is_content = strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
    const char *body = strstr(answer, "\r\n\r\n");
    if (!is_content) {
        printf("refused selftest: %s\n", body == NULL ? "no answer" : body + 4);
    }
    return is_content;
}

static void test_itself(void) {
    if (!tests_itself() && !has_failed()) {
        broken("the self-test fails");
    }
}

/* ---- all of it --------------------------------------------------------------------------------------------- */

static void plug(const char *name, uint8_t number) {
    struct ist_hca_device_config device;
    ist_hca_device_config_roce(&device, name, number);
    if (ist_hca_add_device(it.hca, &device) == NULL) {
        broken("no memory");
    }
}

static void first_life(void) {
    if (daemon_begin()) {
        use(1, false);
        use_tcp(false);
        test_itself();
        daemon_end();
    }
}

static void second_life(void) {
    if (daemon_begin()) {
        use(2, true);
        struct ist_hca_device *server = ist_hca_find_device(it.hca, "server");
        printf("flap\n"); /* what is said from now on has this cause */
        ist_hca_set_link(server, 1, false);
        ist_hca_set_link(server, 1, true);
        use(3, true);
        ist_client_free(it.client);
        it.client = NULL;
        use_tcp(true);
        daemon_end();
    }
    ist_client_free(it.client);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "torture_rdma DIRECTORY rdma|auto KINDS NTH[+]\n");
        return 2;
    }
    struct ist_hca_config config;
    char *rest;
    unsigned kinds = (unsigned)strtoul(argv[3], NULL, 10);
    uint64_t nth = strtoull(argv[4], &rest, 10);
    ist_hca_config_init(&config, 1 + nth);
    config.progress_in_calls = true;
    it.hca = ist_hca_new(&config);
    if (it.hca == NULL) {
        return 2;
    }
    it.transport = strcmp(argv[2], "auto") == 0 ? IST_TRANSPORT_AUTO : IST_TRANSPORT_RDMA;
    snprintf(it.ports, sizeof(it.ports), "%s/ports", argv[1]);
    plug("server", 0);
    plug("client", 1);
    it.for_ever = *rest == '+';
    if (it.for_ever) {
        ist_hca_fail_from(it.hca, kinds, nth);
    } else {
        ist_hca_fail_nth(it.hca, kinds, nth);
    }
    first_life();
    printf("restart\n");
    second_life();
    printf("verbs %llu\n", (unsigned long long)ist_hca_calls(it.hca));
    print_failed();
    ist_hca_free(it.hca);
    return 0;
}

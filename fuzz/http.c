/* The manage port: any bytes to a real one over a connection, which is then half closed. Whatever they are, it answers
 * in HTTP or closes, soon; and what it answers is one of its own answers. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admin.h"
#include "daemon/option.h"
#include "fuzz/fuzz.h"

#define POOL_BYTES (64u << 10)
#define PATIENCE_SEC 15

/* Made once, and left to the end of the process. */
static struct {
    bool begun;
    struct ist_config config;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_control *control;
    struct ist_admin *admin;
    pthread_t loop;
    struct sockaddr_in address;
} server;

static void *run_loop(void *arg) {
    (void)arg;
    for (;;) {
        struct pollfd polled = {.fd = ist_control_fd(server.control), .events = POLLIN};
        (void)poll(&polled, 1, -1);
        ist_control_run(server.control, server.store, server.engine);
        ist_engine_check(server.engine);
    }
    return NULL;
}

static void begin(void) {
    const struct ist_store_config store = {.pool_bytes_max = POOL_BYTES,
                                           .min_block_bytes = 4096,
                                           .granule_bytes = 4096,
                                           .alloc = ist_alloc_system()};
    const struct ist_engine_config engine = {.incarnation = 1,
                                             .sessions_max = 1,
                                             .server_name = "fuzz",
                                             .alloc = ist_alloc_system(),
                                             .log = ist_log_null()};
    struct ist_admin_config admin = {.config = &server.config,
                                     .service = "127.0.0.1:1", /* nobody is there */
                                     .alloc = ist_alloc_system(),
                                     .log = ist_log_null()};
    ist_option_defaults(&server.config);
    strcpy(server.config.hosts[0], "127.0.0.1");
    server.config.manage_port = 0;
    IST_ASSERT(ist_store_new(&store, &server.store) == IST_OK);
    IST_ASSERT(ist_store_grow(server.store, POOL_BYTES) == IST_OK);
    IST_ASSERT(ist_engine_new(&engine, server.store, &server.engine) == IST_OK);
    IST_ASSERT(ist_control_new(ist_alloc_system(), &server.control) == IST_OK);
    admin.control = server.control;
    IST_ASSERT(pthread_create(&server.loop, NULL, run_loop, NULL) == 0);
    IST_ASSERT(ist_admin_new(&admin, &server.admin) == IST_OK);
    const char *port = strrchr(ist_admin_address(server.admin, 0), ':') + 1;
    server.address = (struct sockaddr_in){.sin_family = AF_INET,
                                          .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server.begun = true;
}

static int connect_to_server(void) {
    const struct timeval patience = {.tv_sec = PATIENCE_SEC};
    const struct linger reset = {.l_onoff = 1}; /* so that no port waits */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    IST_ASSERT(fd >= 0);
    IST_ASSERT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
    IST_ASSERT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
    IST_ASSERT(connect(fd, (const struct sockaddr *)&server.address, sizeof(server.address)) == 0);
    return fd;
}

static void check_answer(const char *answer, size_t bytes) {
    static const char *const statuses[] = {"100", "200", "400", "403", "404", "405", "411",
                                           "413", "414", "431", "501", "503", "505"};
    if (bytes == 0) {
        return;
    }
    IST_ASSERT(bytes >= 12 && memcmp(answer, "HTTP/1.", 7) == 0 && answer[8] == ' ');
    size_t i = 0;
    while (i < sizeof(statuses) / sizeof(statuses[0]) && memcmp(answer + 9, statuses[i], 3) != 0) {
        i++;
    }
    IST_ASSERT(i < sizeof(statuses) / sizeof(statuses[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!server.begun) {
        begin();
    }
    static char answer[256 << 10];
    int fd = connect_to_server();
    size_t heard = 0;
    ssize_t got = send(fd, data, bytes, MSG_NOSIGNAL); /* the server may have closed already */
    (void)shutdown(fd, SHUT_WR);
    while ((got = recv(fd, answer + heard, sizeof(answer) - heard, 0)) > 0) {
        heard += (size_t)got;
        IST_ASSERT(heard < sizeof(answer));
    }
    IST_ASSERT(got == 0 || errno != EAGAIN);
    close(fd);
    check_answer(answer, heard);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn seed) {
    static const struct {
        const char *name, *text;
    } requests[] = {
        {"health", "GET /health HTTP/1.0\r\n\r\n"},
        {"metrics", "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
        {"stats", "HEAD /stats HTTP/1.1\r\nHost: a\r\n\r\n"},
        {"keys", "GET /kvmap_len HTTP/1.0\r\n\r\n"},
        {"selftest", "GET /selftest HTTP/1.0\r\n\r\n"},
        {"purge", "POST /purge HTTP/1.0\r\nContent-Length: 0\r\n\r\n"},
        {"evict", "POST /evict?bytes=4K HTTP/1.0\r\n\r\n"},
        {"evict_all", "POST /evict HTTP/1.0\r\n\r\n"},
        {"evict_nothing", "POST /evict?bytes HTTP/1.0\r\n\r\n"},
        {"evict_escaped", "POST /evict?a=b&bytes=%31%00&&=;c HTTP/1.0\r\n\r\n"},
        {"browser", "POST /purge HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nConnection: close\r\n\r\n"},
        {"token", "POST /purge HTTP/1.0\r\nAuthorization: Bearer abc\r\nVia: x\r\n\r\n"},
        {"nowhere", "GET /%2e%2e/?x=/metrics HTTP/1.0\r\n\r\n"},
        {"method", "DELETE /purge HTTP/1.0\r\n\r\n"},
        {"body", "POST /purge HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"},
        {"body_too_long", "POST /purge HTTP/1.0\r\nContent-Length: 99999\r\n\r\n"},
        {"two_lengths", "POST /purge HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"},
        {"chunked", "POST /purge HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {"two", "GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /kvmap_len HTTP/1.1\r\nHost: a\r\n\r\n"},
        {"cut", "GET /metr"},
    };
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        seed(requests[i].name, requests[i].text, strlen(requests[i].text));
    }
    static char long_url[4096];
    memset(long_url, 'a', sizeof(long_url));
    memcpy(long_url, "GET /", 5);
    memcpy(long_url + sizeof(long_url) - 13, " HTTP/1.0\r\n\r\n", 13);
    seed("long_url", long_url, sizeof(long_url));
}

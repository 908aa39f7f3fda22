#include "tests/rdma_house.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ev.h>

#include "client/client.h"
#include "client/clock.h"
#include "daemon/edge.h"
#include "daemon/listener.h"
#include "daemon/rdma.h"
#include "daemon/tcp.h"
#include "verbs/device.h"

#define PATIENCE_NS (60 * IST_NS_PER_SEC) /* a test that waits so long has failed */

static struct {
    struct house_options options;
    struct ist_hca *hca;
    uint64_t incarnation;
    uint16_t port; /* 0: the kernel picks one */
    uint8_t *pool;
    char endpoint[64];

    struct ev_loop *ev;
    struct ist_device *device;
    struct ist_registration *registration;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_rdma *rdma;
    struct ist_tcp *tcp;
    struct ist_listeners *listeners;
    pthread_t loop;
    ev_async stop, ask;
    ev_prepare prepare;
    ev_timer tick;

    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool asked;
    size_t connections;
    struct ist_store_usage usage;

    unsigned warnings;
    char warning[600];
} h;

/* ---- the server's loop ------------------------------------------------------------------------------------- */

static void accepted(void *context, int fd) {
    (void)context;
    ist_tcp_accept(h.tcp, fd);
}

static void on_stop(struct ev_loop *ev, ev_async *async, int revents) {
    (void)async;
    (void)revents;
    ev_break(ev, EVBREAK_ALL);
}

static void on_ask(struct ev_loop *ev, ev_async *async, int revents) {
    (void)ev;
    (void)async;
    (void)revents;
    ist_engine_check(h.engine);
    pthread_mutex_lock(&h.lock);
    h.connections = h.rdma == NULL ? 0 : ist_rdma_connections(h.rdma);
    ist_store_usage(h.store, &h.usage);
    h.asked = false;
    pthread_cond_signal(&h.answered);
    pthread_mutex_unlock(&h.lock);
}

static void on_prepare(struct ev_loop *ev, ev_prepare *prepare, int revents) {
    (void)ev;
    (void)prepare;
    (void)revents;
    ist_edge_run_changed(h.engine);
}

static void on_tick(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)ev;
    (void)timer;
    (void)revents;
    ist_engine_tick(h.engine, ist_client_now_ns());
}

static void *run_loop(void *arg) {
    ev_run(arg, 0);
    return NULL;
}

static void ask(void) {
    pthread_mutex_lock(&h.lock);
    h.asked = true;
    ev_async_send(h.ev, &h.ask);
    while (h.asked) {
        pthread_cond_wait(&h.answered, &h.lock);
    }
    pthread_mutex_unlock(&h.lock);
}

size_t house_rdma_connections(void) {
    ask();
    return h.connections;
}

void house_usage(struct ist_store_usage *usage) {
    ask();
    *usage = h.usage;
}

void house_await_connections(size_t count) {
    uint64_t until_ns = ist_client_now_ns() + PATIENCE_NS;
    while (house_rdma_connections() != count) {
        ist_hca_run(h.hca, 16);
        assert_true(ist_client_now_ns() < until_ns);
    }
}

/* ---- the server -------------------------------------------------------------------------------------------- */

static void open_device(void) {
    char why[200];
    const struct ist_device_config config = {
        .name = "server", .hint_gid_index = -1, .alloc = ist_alloc_system(), .log = ist_log_null()};
    if (h.options.no_server_device) {
        return;
    }
    if (ist_device_open(&config, &h.device, why, sizeof(why)) != IST_OK) {
        fail_msg("%s", why);
    }
    assert_int_equal(ist_registration_new(h.device, 2, HOUSE_POOL_BYTES, ist_alloc_system(),
                                          ist_log_null(), &h.registration),
                     IST_OK);
    ist_registration_add(h.registration, h.pool, HOUSE_POOL_BYTES / 2);
    ist_registration_add(h.registration, h.pool + HOUSE_POOL_BYTES / 2, HOUSE_POOL_BYTES / 2);
    const struct ist_rdma_config rdma_config = {.loop = h.ev,
                                                .reap_ns = IST_RDMA_REAP_NS,
                                                .engine = h.engine,
                                                .device = h.device,
                                                .registration = h.registration,
                                                .sessions_max = HOUSE_SESSIONS_MAX / 2,
                                                .connected = ist_tcp_rdma_connected,
                                                .ended = ist_tcp_rdma_ended,
                                                .alloc = ist_alloc_system(),
                                                .log = ist_log_null()};
    assert_int_equal(ist_rdma_new(&rdma_config, &h.rdma), IST_OK);
}

static void make_engine(void) {
    const struct ist_store_config store_config = {.pool_bytes_max = HOUSE_POOL_BYTES,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = ist_alloc_system()};
    assert_int_equal(ist_store_new(&store_config, &h.store), IST_OK);
    assert_int_equal(ist_store_grow(h.store, HOUSE_POOL_BYTES), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = ++h.incarnation,
                                                    .sessions_max = HOUSE_SESSIONS_MAX,
                                                    .server_name = "test",
                                                    .alloc = ist_alloc_system(),
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, h.store, &h.engine), IST_OK);
}

static void listen_on_loopback(void) {
    const struct ist_listeners_config config = {
        .loop = h.ev, .accepted = accepted, .alloc = ist_alloc_system(), .log = ist_log_null()};
    const char *kind;
    assert_int_equal(ist_listeners_new(&config, &h.listeners), IST_OK);
    assert_int_equal(ist_listeners_add_tcp(h.listeners, "127.0.0.1", h.port), IST_OK);
    ist_listeners_start(h.listeners);
    snprintf(h.endpoint, sizeof(h.endpoint), "%s", ist_listeners_address(h.listeners, 0, &kind));
    h.port = (uint16_t)strtoul(strrchr(h.endpoint, ':') + 1, NULL, 10);
}

void house_server_begin(void) {
    h.ev = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(h.ev);
    make_engine();
    open_device();
    const struct ist_tcp_config tcp_config = {.loop = h.ev,
                                              .engine = h.engine,
                                              .pool_base = h.pool,
                                              .rdma = h.rdma,
                                              .alloc = ist_alloc_system(),
                                              .log = ist_log_null()};
    assert_int_equal(ist_tcp_new(&tcp_config, &h.tcp), IST_OK);
    listen_on_loopback();
    ev_async_init(&h.stop, on_stop);
    ev_async_start(h.ev, &h.stop);
    ev_async_init(&h.ask, on_ask);
    ev_async_start(h.ev, &h.ask);
    ev_prepare_init(&h.prepare, on_prepare);
    ev_prepare_start(h.ev, &h.prepare);
    ev_timer_init(&h.tick, on_tick, 0.1, 0.1);
    ev_timer_start(h.ev, &h.tick);
    house_unpark();
}

void house_unpark(void) {
    assert_int_equal(pthread_create(&h.loop, NULL, run_loop, h.ev), 0);
}

void house_park(void) {
    ev_async_send(h.ev, &h.stop);
    assert_int_equal(pthread_join(h.loop, NULL), 0);
}

void house_turn(void) {
    ev_run(h.ev, EVRUN_NOWAIT);
}

void house_server_end(bool killed) {
    if (killed && h.device != NULL) {
        ist_hca_kill(ist_device_context(h.device));
    }
    house_park();
    ist_listeners_free(h.listeners);
    ist_tcp_free(h.tcp);
    ist_rdma_free(h.rdma);
    ist_engine_check(h.engine);
    ist_store_purge(h.store);
    ist_store_usage(h.store, &h.usage);
    assert_int_equal(h.usage.free_bytes, HOUSE_POOL_BYTES);
    ist_engine_free(h.engine);
    ist_store_free(h.store);
    ist_registration_free(h.registration);
    ist_device_close(h.device);
    ev_loop_destroy(h.ev);
    h.rdma = NULL;
    h.registration = NULL;
    h.device = NULL;
}

void house_restart(bool killed) {
    house_server_end(killed);
    house_server_begin();
}

/* ---- all of it --------------------------------------------------------------------------------------------- */

void house_begin(struct house_options options) {
    memset(&h, 0, sizeof(h));
    h.options = options;
    assert_int_equal(pthread_mutex_init(&h.lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&h.answered, NULL), 0);
    h.pool = malloc(HOUSE_POOL_BYTES);
    assert_non_null(h.pool);
    struct ist_hca_config config;
    ist_hca_config_init(&config, options.seed);
    config.progress_in_calls = true;
    config.loss_ppm = options.lossy ? 20000 : 0;
    h.hca = ist_hca_new(&config);
    assert_non_null(h.hca);
    struct ist_hca_device_config device;
    ist_hca_device_config_roce(&device, "server", 0);
    device.max_qp = device.max_cq = 512;
    assert_true(options.no_server_device || ist_hca_add_device(h.hca, &device) != NULL);
    ist_hca_device_config_roce(&device, "client", 1);
    device.max_qp = device.max_cq = 512;
    device.dmabuf = true;
    assert_true(options.no_client_device || ist_hca_add_device(h.hca, &device) != NULL);
    house_server_begin();
}

void house_end(void) {
    house_server_end(false);
    ist_hca_free(h.hca);
    free(h.pool);
    pthread_cond_destroy(&h.answered);
    pthread_mutex_destroy(&h.lock);
}

struct ist_hca *house_hca(void) {
    return h.hca;
}

struct ist_hca_device *house_device(const char *name) {
    return ist_hca_find_device(h.hca, name);
}

const char *house_endpoint(void) {
    return h.endpoint;
}

/* ---- clients ----------------------------------------------------------------------------------------------- */

static void on_warning(void *arg, const char *line) {
    (void)arg;
    h.warnings++;
    snprintf(h.warning, sizeof(h.warning), "%s", line);
}

unsigned house_warnings(void) {
    return h.warnings;
}

const char *house_warning(void) {
    return h.warning;
}

enum ist_status house_client(enum ist_transport transport, const struct ist_alloc *alloc,
                             struct ist_client **client, char *error) {
    const struct ist_client_options options = {.endpoints = h.endpoint,
                                               .connect_timeout_ns = PATIENCE_NS,
                                               .request_timeout_ns = PATIENCE_NS,
                                               .transport = transport,
                                               .device = "client",
                                               .warn = on_warning};
    return ist_client_new_with(&options, alloc, client, error, 300);
}

struct ist_client *house_client_of(enum ist_transport transport) {
    struct ist_client *client = NULL;
    char error[300] = "";
    if (house_client(transport, ist_alloc_system(), &client, error) != IST_OK) {
        fail_msg("%s", error);
    }
    return client;
}

/* ---- patterns ---------------------------------------------------------------------------------------------- */

static uint8_t byte_at(uint64_t seed, size_t i) {
    return (uint8_t)(seed * 131 + i * 7 + i / 256);
}

void house_fill(uint8_t *memory, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes; i++) {
        memory[i] = byte_at(seed, i);
    }
}

void house_assert_filled(const uint8_t *memory, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes; i++) {
        if (memory[i] != byte_at(seed, i)) {
            fail_msg("byte %zu of pattern %llu is wrong", i, (unsigned long long)seed);
        }
    }
}

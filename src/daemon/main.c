/* infinistore: the daemon. Puts the rooms together, runs the loop, takes them apart. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <ev.h>

#include "base/size.h"
#include "daemon/admin.h"
#include "daemon/announce.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/heap.h"
#include "daemon/listener.h"
#include "daemon/log_sink.h"
#include "daemon/loop.h"
#include "daemon/machine.h"
#include "daemon/memory.h"
#include "daemon/nic.h"
#include "daemon/option.h"
#include "daemon/tcp.h"
#include "engine/engine.h"
#include "infinistore/infinistore.h"
#include "store/runs.h"
#include "store/store.h"

#define SERVER_NAME "infinistore/" IST_VERSION
#define PAGE_BYTES 4096u
#define EXIT_USAGE 2
/* Of a machine's memory, what --auto-increase leaves to others when --max-pool-size does not say. */
#define LEFT_TO_OTHERS_SHARE 0.1
/* --auto-increase: this much more when the pool is filled to this share. */
#define INCREASE_BYTES (10ull << 30)
#define INCREASE_THRESHOLD 0.8
/* Descriptors that are no client's: listeners, the loop's own, and room for a self-test. HTTP's come on top. */
#define OWN_DESCRIPTORS 64u

struct daemon {
    const struct ist_config *config;
    struct ist_log log;
    struct ist_log_sink log_sink;
    uint32_t sessions_max;
    uint64_t granule_bytes, pool_bytes, pool_bytes_max;
    struct ist_nic *nic;
    struct ist_memory *memory;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ev_loop *ev;
    struct ist_tcp *tcp;
    struct ist_listeners *listeners;
    struct ist_control *control;
    struct ist_loop *loop;
    struct ist_admin *admin;
    struct ist_announced announced; /* the port file, if there is to be one */
};

static uint64_t round_down(uint64_t bytes, uint64_t unit) {
    return bytes / unit * unit;
}

static uint64_t available_bytes(void *context) {
    (void)context;
    return ist_machine_available_bytes("");
}

static uint64_t reserved_bytes(void *context) {
    (void)context;
    return ist_machine_reserved_bytes("");
}

/* How large the pool is, and may get; and in which units, as small as its size allows. */
static void size_pool(struct daemon *daemon) {
    const struct ist_config *config = daemon->config;
    uint64_t max = config->prealloc_bytes;
    if (config->auto_increase) {
        uint64_t available = available_bytes(NULL);
        uint64_t possible = available - (uint64_t)((double)available * LEFT_TO_OTHERS_SHARE);
        possible += config->hugepages ? reserved_bytes(NULL) : 0;
        uint64_t wanted = config->max_pool_bytes != 0 ? config->max_pool_bytes : possible;
        max = wanted > max ? wanted : max;
    }
    uint64_t granule = config->min_block_bytes < PAGE_BYTES ? config->min_block_bytes : PAGE_BYTES;
    while (granule < config->min_block_bytes && max / granule >= IST_RUNS_GRANULES_MAX) {
        granule *= 2;
    }
    uint64_t unit = granule < PAGE_BYTES ? PAGE_BYTES : granule;
    daemon->granule_bytes = granule;
    daemon->pool_bytes = round_down(config->prealloc_bytes + unit - 1, unit);
    daemon->pool_bytes_max = round_down(max, unit);
    /* RDMA takes a piece of a value from two segments, not from three: none that others follow may be short. */
    if (daemon->pool_bytes < daemon->pool_bytes_max &&
        daemon->pool_bytes > IST_MEMORY_FIRST_SEGMENT_BYTES) {
        uint64_t whole =
            round_down(daemon->pool_bytes + IST_MEMORY_HUGE_BYTES - 1, IST_MEMORY_HUGE_BYTES);
        daemon->pool_bytes = whole < daemon->pool_bytes_max ? whole : daemon->pool_bytes_max;
    }
    if (daemon->pool_bytes_max < daemon->pool_bytes) {
        daemon->pool_bytes_max = daemon->pool_bytes;
    }
}

/* What was asked for, and changes nothing alone. */
static void tell_idle_options(const struct daemon *daemon) {
    const struct ist_config *config = daemon->config;
    struct ist_config defaults;
    ist_option_defaults(&defaults);
    if (!config->auto_increase && config->max_pool_bytes > config->prealloc_bytes) {
        ist_log_warning(
            &daemon->log, 0,
            "--max-pool-size changes nothing: without --auto-increase the pool does not grow");
    }
    if (!config->periodic_evict && (config->evict_interval_sec != defaults.evict_interval_sec ||
                                    config->evict_max_threshold != defaults.evict_max_threshold)) {
        ist_log_warning(&daemon->log, 0,
                        "--evict-interval and --evict-max-threshold change nothing without "
                        "--enable-periodic-evict");
    }
}

/* No device, or one that does not work, ends nothing: there is TCP. */
static enum ist_status make_nic(struct daemon *daemon) {
    const struct ist_config *config = daemon->config;
    size_pool(daemon);
    const struct ist_nic_config nic_config = {
        .device = {.name = config->dev_name,
                   .port = config->ib_port,
                   .link = config->link_type,
                   .hint_gid_index = config->hint_gid_index,
                   .alloc = ist_alloc_system(),
                   .log = &daemon->log},
        .is_wanted = config->dev_name != NULL,
        .segments_max = (size_t)(daemon->pool_bytes_max / IST_MEMORY_SEGMENT_BYTES + 3),
        .pool_bytes_max = daemon->pool_bytes_max,
        .chunk_bytes = IST_MEMORY_SEGMENT_BYTES,
        .look_sec = IST_NIC_LOOK_SEC};
    enum ist_status status = ist_nic_new(&nic_config, &daemon->nic);
    if (status != IST_OK) {
        ist_log_error(&daemon->log, 0, "cannot look for RDMA devices: %s", ist_status_text(status));
    }
    return status;
}

static void prepare_segment(void *context, uint8_t *segment, uint64_t bytes) {
    struct daemon *daemon = context;
    ist_nic_prepare(daemon->nic, segment, bytes);
}

static enum ist_status make_pool(struct daemon *daemon) {
    const struct ist_memory_config memory_config = {.bytes = daemon->pool_bytes,
                                                    .bytes_max = daemon->pool_bytes_max,
                                                    .first_segment_bytes =
                                                        IST_MEMORY_FIRST_SEGMENT_BYTES,
                                                    .segment_bytes = IST_MEMORY_SEGMENT_BYTES,
                                                    .huge_pages = daemon->config->hugepages,
                                                    .available_bytes = available_bytes,
                                                    .reserved_bytes = reserved_bytes,
                                                    .prepare = prepare_segment,
                                                    .prepare_context = daemon,
                                                    .alloc = ist_alloc_system(),
                                                    .log = &daemon->log};
    enum ist_status status = ist_memory_new(&memory_config, &daemon->memory);
    if (status != IST_OK) {
        return status; /* it was logged */
    }
    struct ist_store_config store_config = {.pool_bytes_max = daemon->pool_bytes_max,
                                            .min_block_bytes = daemon->config->min_block_bytes,
                                            .granule_bytes = daemon->granule_bytes,
                                            .alloc = daemon->config->hugepages ? ist_heap()
                                                                               : ist_alloc_system()};
    if (getrandom(&store_config.hash_key, sizeof(store_config.hash_key), 0) !=
        sizeof(store_config.hash_key)) {
        ist_log_error(&daemon->log, 0, "the kernel gives no random numbers: %s", strerror(errno));
        return IST_CONFIG;
    }
    status = ist_store_new(&store_config, &daemon->store);
    if (status == IST_OK) {
        status = ist_store_grow(daemon->store, ist_memory_take(daemon->memory));
    }
    if (status != IST_OK) {
        ist_log_error(&daemon->log, 0, "cannot make the store: %s", ist_status_text(status));
    }
    return status;
}

static enum ist_status make_engine(struct daemon *daemon) {
    struct ist_engine_config config = {.sessions_max = daemon->sessions_max,
                                       .server_name = SERVER_NAME,
                                       .alloc = ist_alloc_system(),
                                       .log = &daemon->log};
    do {
        if (getrandom(&config.incarnation, sizeof(config.incarnation), 0) !=
            sizeof(config.incarnation)) {
            ist_log_error(&daemon->log, 0, "the kernel gives no random numbers: %s", strerror(errno));
            return IST_CONFIG;
        }
    } while (config.incarnation == 0);
    enum ist_status status = ist_engine_new(&config, daemon->store, &daemon->engine);
    if (status != IST_OK) {
        ist_log_error(&daemon->log, 0, "cannot make the engine: %s", ist_status_text(status));
    }
    return status;
}

static void on_accepted(void *context, int fd) {
    struct daemon *daemon = context;
    ist_tcp_accept(daemon->tcp, fd);
}

static enum ist_status listen_everywhere(struct daemon *daemon) {
    const struct ist_config *config = daemon->config;
    enum ist_status status = IST_OK;
    for (size_t i = 0; i < config->host_count && status == IST_OK; i++) {
        status = ist_listeners_add_tcp(daemon->listeners, config->hosts[i], config->service_port);
    }
    if (config->unix_socket != NULL && status == IST_OK) {
        status = ist_listeners_add_unix(daemon->listeners, config->unix_socket);
    }
    return status; /* it was logged */
}

static void on_nic_changed(void *context, struct ist_rdma *rdma) {
    struct daemon *daemon = context;
    ist_tcp_set_rdma(daemon->tcp, rdma);
}

static void start_nic(struct daemon *daemon) {
    const struct ist_nic_service service = {.rdma = {.loop = daemon->ev,
                                                     .engine = daemon->engine,
                                                     .sessions_max = daemon->sessions_max,
                                                     .poll_ns = daemon->config->poll_us * 1000ull,
                                                     .reap_ns = IST_RDMA_REAP_NS,
                                                     .connected = ist_tcp_rdma_connected,
                                                     .ended = ist_tcp_rdma_ended,
                                                     .alloc = ist_alloc_system(),
                                                     .log = &daemon->log},
                                            .changed = on_nic_changed,
                                            .context = daemon};
    ist_nic_start(daemon->nic, &service);
}

static enum ist_status make_edge(struct daemon *daemon) {
    daemon->ev = ev_loop_new(EVFLAG_NOENV | ev_recommended_backends());
    if (daemon->ev == NULL) {
        ist_log_error(&daemon->log, 0, "cannot make an event loop: %s", strerror(errno));
        return IST_CONFIG;
    }
    start_nic(daemon);
    const struct ist_tcp_config tcp_config = {.loop = daemon->ev,
                                              .engine = daemon->engine,
                                              .pool_base = ist_memory_base(daemon->memory),
                                              .rdma = ist_nic_rdma(daemon->nic),
                                              .alloc = ist_alloc_system(),
                                              .log = &daemon->log};
    const struct ist_listeners_config listeners_config = {.loop = daemon->ev,
                                                          .accepted = on_accepted,
                                                          .context = daemon,
                                                          .alloc = ist_alloc_system(),
                                                          .log = &daemon->log};
    enum ist_status status = ist_tcp_new(&tcp_config, &daemon->tcp);
    if (status == IST_OK) {
        status = ist_listeners_new(&listeners_config, &daemon->listeners);
    }
    if (status == IST_OK) {
        status = listen_everywhere(daemon);
    }
    if (status == IST_NO_MEMORY) {
        ist_log_error(&daemon->log, 0, "cannot listen for clients: %s", ist_status_text(status));
    }
    return status; /* anything else was logged */
}

static enum ist_status make_control(struct daemon *daemon) {
    enum ist_status status = ist_control_new(ist_alloc_system(), &daemon->control);
    if (status != IST_OK) {
        ist_log_error(&daemon->log, 0, "cannot make the queue of commands: %s",
                      ist_status_text(status));
    }
    return status;
}

static void on_control(void *context) {
    struct daemon *daemon = context;
    ist_control_run(daemon->control, daemon->store, daemon->engine);
}

static enum ist_status make_loop(struct daemon *daemon) {
    const struct ist_config *config = daemon->config;
    const struct ist_loop_config loop_config = {
        .ev = daemon->ev,
        .engine = daemon->engine,
        .store = daemon->store,
        .memory = daemon->memory,
        .tcp = daemon->tcp,
        .listeners = daemon->listeners,
        .upkeep = {.auto_increase = config->auto_increase,
                   .increase_bytes = INCREASE_BYTES,
                   .increase_threshold = INCREASE_THRESHOLD,
                   .periodic_evict = config->periodic_evict,
                   .evict_min_threshold = config->evict_min_threshold,
                   .evict_max_threshold = config->evict_max_threshold},
        .evict_interval_sec = config->evict_interval_sec,
        .drain_timeout_ns = config->drain_timeout_ns,
        .control_fd = ist_control_fd(daemon->control),
        .control = on_control,
        .control_context = daemon,
        .alloc = ist_alloc_system(),
        .log = &daemon->log};
    enum ist_status status = ist_loop_new(&loop_config, &daemon->loop);
    if (status != IST_OK) {
        ist_log_error(&daemon->log, 0, "cannot make the loop: %s", ist_status_text(status));
    }
    return status;
}

/* For a thread of HTTP's. */
static bool find_rdma(void *context, struct ist_selftest_rdma *rdma) {
    const struct daemon *daemon = context;
    struct ist_nic_port port;
    static_assert(sizeof(rdma->device) == sizeof(port.device), "the same name");
    bool found = ist_nic_port(daemon->nic, &port);
    memcpy(rdma->device, port.device, sizeof(port.device));
    rdma->port = port.port;
    rdma->hint_gid_index = daemon->config->hint_gid_index;
    return found;
}

static enum ist_status make_admin(struct daemon *daemon) {
    const char *kind;
    const struct ist_admin_config config = {.config = daemon->config,
                                            .rdma = {find_rdma, daemon},
                                            .control = daemon->control,
                                            .service =
                                                ist_listeners_address(daemon->listeners, 0, &kind),
                                            .alloc = ist_alloc_system(),
                                            .log = &daemon->log};
    enum ist_status status = ist_admin_new(&config, &daemon->admin);
    if (status == IST_NO_MEMORY) {
        ist_log_error(&daemon->log, 0, "cannot serve HTTP: %s", ist_status_text(status));
    }
    return status; /* anything else was logged */
}

#define ANNOUNCEMENTS_MAX 64

static enum ist_status announce(struct daemon *daemon) {
    struct ist_announcement all[ANNOUNCEMENTS_MAX];
    size_t count = 0;
    const char *address;
    for (size_t i = 0; count < ANNOUNCEMENTS_MAX; i++) {
        address = ist_listeners_address(daemon->listeners, i, &all[count].kind);
        if (address == NULL) {
            break;
        }
        all[count++].address = address;
    }
    for (size_t i = 0; count < ANNOUNCEMENTS_MAX; i++) {
        address = ist_admin_address(daemon->admin, i);
        if (address == NULL) {
            break;
        }
        all[count++] = (struct ist_announcement){.kind = "manage", .address = address};
    }
    if (daemon->config->port_file != NULL) {
        enum ist_status status =
            ist_announce_file(&daemon->log, daemon->config->port_file, all, count, &daemon->announced);
        if (status != IST_OK) {
            return status;
        }
    }
    ist_announce_log(&daemon->log, all, count);
    return IST_OK;
}

/* One session needs one descriptor. */
static void limit_sessions(struct daemon *daemon, uint64_t descriptors) {
    daemon->sessions_max = daemon->config->sessions_max;
    uint64_t own = OWN_DESCRIPTORS + daemon->config->host_count * IST_ADMIN_CONNECTIONS_MAX;
    uint64_t possible = descriptors > 2 * own ? descriptors - own : descriptors / 2;
    if (daemon->sessions_max > possible) {
        ist_log_warning(&daemon->log, 0,
                        "%" PRIu64 " descriptors allow %" PRIu64 " sessions, not %" PRIu32, descriptors,
                        possible, daemon->sessions_max);
        daemon->sessions_max = (uint32_t)possible;
    }
}

static enum ist_status daemon_start(struct daemon *daemon) {
    enum ist_status (*const steps[])(struct daemon *) = {
        make_nic, make_pool, make_engine, make_edge, make_control, make_loop, make_admin, announce};
    limit_sessions(daemon, ist_machine_prepare(&daemon->log));
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        enum ist_status status = steps[i](daemon);
        if (status != IST_OK) {
            return status;
        }
    }
    ist_nic_announce(daemon->nic);
    tell_idle_options(daemon);
    ist_listeners_start(daemon->listeners);
    return IST_OK;
}

/* Whatever of it there is. HTTP's threads may be waiting for the loop, which runs no more, or for a reply of our
 * own service: both ends are closed before they are waited for. */
static void daemon_stop(struct daemon *daemon) {
    if (daemon->control != NULL) {
        ist_control_close(daemon->control);
    }
    ist_loop_free(daemon->loop);
    if (daemon->listeners != NULL) {
        ist_listeners_stop(daemon->listeners);
    }
    ist_tcp_free(daemon->tcp);
    ist_nic_stop(daemon->nic);
    ist_admin_free(daemon->admin);
    ist_control_free(daemon->control);
    ist_listeners_free(daemon->listeners);
    if (daemon->ev != NULL) {
        ev_loop_destroy(daemon->ev);
    }
    ist_engine_free(daemon->engine);
    ist_store_free(daemon->store);
    ist_memory_free(daemon->memory); /* its thread registers: before what it registers with */
    ist_nic_free(daemon->nic);
}

static int daemon_run(const struct ist_config *config) {
    struct daemon daemon = {.config = config, .log_sink = {.fd = STDERR_FILENO}};
    daemon.log = (struct ist_log){
        .level = config->log_level, .write = ist_log_sink_write, .context = &daemon.log_sink};
    bool drained = false;
    enum ist_status status = daemon_start(&daemon);
    if (status == IST_OK) {
        drained = ist_loop_run(daemon.loop);
        if (config->port_file != NULL) {
            ist_announce_remove(config->port_file, &daemon.announced);
        }
    }
    daemon_stop(&daemon);
    if (drained) {
        ist_log_info(&daemon.log, 0, "drained; goodbye");
    }
    return drained ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A full disk or a closed pipe is an error, too. */
static int exit_code_of_stdout(void) {
    return fflush(stdout) == 0 && ferror(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    struct ist_config config;
    enum ist_wish wish;
    char error[IST_CONFIG_ERROR_BYTES];
    if (ist_config_read(argc, argv, environ, &config, &wish, error) != IST_OK) {
        fprintf(stderr, "infinistore: %s\n", error);
        return EXIT_USAGE;
    }
    switch (wish) {
    case IST_WISH_HELP: ist_option_help(stdout); return exit_code_of_stdout();
    case IST_WISH_VERSION: printf("infinistore %s\n", IST_VERSION); return exit_code_of_stdout();
    case IST_WISH_SERVE: break;
    }
    return daemon_run(&config);
}

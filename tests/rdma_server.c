#include "tests/rdma_server.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/edge.h"

struct rdma_server f;

static void on_connected(void *owner, const struct ist_endpoint *own) {
    struct client *client = owner;
    assert_int_equal(client->own.status, IST_AGAIN); /* once */
    client->own = *own;
    if (own->status != IST_OK) {
        client->server = NULL;
    }
}

static void on_ended(void *owner) {
    struct client *client = owner;
    client->server = NULL;
    client->ended++;
}

static struct ist_device *device_open(const char *name) {
    char why[128];
    struct ist_device *device = NULL;
    const struct ist_device_config config = {
        .name = name, .hint_gid_index = -1, .alloc = &f.failing.alloc, .log = &f.log};
    assert_int_equal(ist_device_open(&config, &device, why, sizeof(why)), IST_OK);
    return device;
}

static void *count_allocate(void *context, size_t bytes) {
    (void)context;
    void *memory = ist_allocate(&f.failing.alloc, bytes);
    f.server_bytes += memory == NULL ? 0 : malloc_usable_size(memory);
    return memory;
}

static void *count_resize(void *context, void *memory, size_t bytes) {
    (void)context;
    uint64_t before = memory == NULL ? 0 : malloc_usable_size(memory);
    void *resized = ist_resize_array(&f.failing.alloc, memory, bytes, 1);
    f.server_bytes += resized == NULL ? 0 : malloc_usable_size(resized) - before;
    return resized;
}

static void count_release(void *context, void *memory) {
    (void)context;
    f.server_bytes -= memory == NULL ? 0 : malloc_usable_size(memory);
    ist_release(&f.failing.alloc, memory);
}

static void make_store_and_engine(void) {
    const struct ist_store_config store_config = {.pool_bytes_max = POOL_BYTES,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = &f.counting};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    assert_int_equal(ist_store_grow(f.store, POOL_BYTES), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = 2 * (uint32_t)f.clients_count,
                                                    .server_name = "test",
                                                    .alloc = &f.counting,
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
}

static void log_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the connector's threads log, too */
    (void)context;
    (void)level;
    pthread_mutex_lock(&lock);
    f.anonymous += session == 0;
    size_t used = strlen(f.logged);
    snprintf(f.logged + used, sizeof(f.logged) - used, "%s\n", message);
    pthread_mutex_unlock(&lock);
}

static void make_devices(const struct rdma_server_options *options) {
    struct ist_hca_config config;
    struct ist_hca_device_config server, client;
    ist_hca_config_init(&config, options->seed);
    config.progress_in_calls = !options->is_patient;
    f.hca = ist_hca_new(&config);
    if (options->is_infiniband) {
        ist_hca_device_config_ib(&server, "server", 0);
        ist_hca_device_config_ib(&client, "client", 1);
    } else {
        ist_hca_device_config_roce(&server, "server", 0);
        ist_hca_device_config_roce(&client, "client", 1);
    }
    if (options->shape != NULL) {
        options->shape(&server, &client);
    }
    if (!options->is_unplugged) {
        assert_non_null(ist_hca_add_device(f.hca, &server));
    }
    assert_non_null(ist_hca_add_device(f.hca, &client));
    if (!options->over_nic) {
        f.device = device_open("server");
    }
    f.processes[0].device = device_open("client");
    f.processes[1].device = device_open("client");
}

struct ist_hca_device *plug(uint8_t number, void (*shape)(struct ist_hca_device_config *config)) {
    struct ist_hca_device_config config;
    ist_hca_device_config_roce(&config, "server", number);
    if (shape != NULL) {
        shape(&config);
    }
    struct ist_hca_device *device = ist_hca_add_device(f.hca, &config);
    assert_non_null(device);
    return device;
}

static void make_registration(const struct rdma_server_options *options) {
    assert_int_equal(
        ist_registration_new(f.device, 2, POOL_BYTES, &f.failing.alloc, &f.log, &f.registration),
        IST_OK);
    ist_registration_add(f.registration, f.pool, SEGMENT_BYTES);
    if (!options->is_half_registered) {
        ist_registration_add(f.registration, f.pool + SEGMENT_BYTES, SEGMENT_BYTES);
    }
}

static void make_nic(const struct rdma_server_options *options) {
    const struct ist_nic_config config = {
        .device = {.name = "server", .hint_gid_index = -1, .alloc = ist_alloc_system(), .log = &f.log},
        .is_wanted = true,
        .segments_max = 2,
        .pool_bytes_max = POOL_BYTES,
        .chunk_bytes = SEGMENT_BYTES / 2,
        .look_sec = 0.001};
    assert_int_equal(ist_nic_new(&config, &f.nic), IST_OK);
    ist_nic_prepare(f.nic, f.pool, SEGMENT_BYTES);
    if (!options->is_half_registered) {
        ist_nic_prepare(f.nic, f.pool + SEGMENT_BYTES, SEGMENT_BYTES);
    }
}

static void on_changed(void *context, struct ist_rdma *rdma) {
    (void)context;
    f.rdma = rdma;
}

static void make_rdma(const struct rdma_server_options *options) {
    const struct ist_nic_service service = {
        .rdma = {.loop = f.loop,
                 .engine = f.engine,
                 .device = f.device,
                 .registration = f.registration,
                 .sessions_max = (uint32_t)f.clients_count,
                 .poll_ns = options->poll_ns,
                 .reap_ns = options->reap_ns == 0 ? IST_RDMA_REAP_NS : options->reap_ns,
                 .connected = options->over_tcp ? ist_tcp_rdma_connected : on_connected,
                 .ended = options->over_tcp ? ist_tcp_rdma_ended : on_ended,
                 .alloc = &f.counting,
                 .log = &f.log},
        .changed = on_changed};
    if (options->over_nic) {
        ist_nic_start(f.nic, &service);
        f.rdma = ist_nic_rdma(f.nic);
    } else {
        assert_int_equal(ist_rdma_new(&service.rdma, &f.rdma), options->is_unfit ? IST_DEVICE : IST_OK);
    }
}

int setup_with(struct rdma_server_options options) {
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.counting = (struct ist_alloc){count_allocate, count_resize, count_release, NULL};
    f.clients_count = options.clients == 0 ? CLIENTS : options.clients;
    f.clients = calloc(f.clients_count, sizeof(*f.clients));
    assert_non_null(f.clients);
    f.log = (struct ist_log){.level = IST_LOG_WARNING, .write = log_line};
    make_devices(&options);
    f.pool = calloc(1, POOL_BYTES);
    f.memory = calloc(1, CLIENT_BYTES);
    assert_true(f.pool != NULL && f.memory != NULL);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ist_region_register(f.processes[i].device, f.memory, CLIENT_BYTES,
                                             IST_MEMORY_REMOTE, &f.processes[i].region),
                         IST_OK);
    }
    if (options.over_nic) {
        make_nic(&options);
    } else {
        make_registration(&options);
    }
    f.loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(f.loop);
    make_store_and_engine();
    make_rdma(&options);
    const struct ist_tcp_config tcp_config = {.loop = f.loop,
                                              .engine = f.engine,
                                              .pool_base = f.pool,
                                              .rdma = f.rdma,
                                              .alloc = &f.counting,
                                              .log = &f.log};
    if (options.over_tcp) {
        assert_int_equal(ist_tcp_new(&tcp_config, &f.tcp), IST_OK);
    }
    return 0;
}

int setup(void **state) {
    (void)state;
    return setup_with((struct rdma_server_options){.seed = 5});
}

struct process *process_of(const struct client *client) {
    return client->process == NULL ? &f.processes[0] : client->process;
}

struct ibv_qp *server_queue_pair(const struct client *client) {
    struct ibv_qp *qp = ist_hca_find_qp(f.hca, client->own.end.number);
    assert_non_null(qp);
    return qp;
}

void client_free(struct client *client) {
    ist_queue_pair_free(client->queue_pair);
    ist_completion_free(client->completion);
    client->queue_pair = NULL;
    client->completion = NULL;
}

int teardown(void **state) {
    (void)state;
    ist_tcp_free(f.tcp);
    if (f.nic != NULL) {
        ist_nic_stop(f.nic);
    } else {
        ist_rdma_free(f.rdma);
    }
    for (size_t i = 0; i < f.clients_count; i++) {
        client_free(&f.clients[i]);
    }
    ist_engine_check(f.engine);
    ist_store_purge(f.store);
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.free_bytes, POOL_BYTES);
    ist_engine_free(f.engine);
    ist_store_free(f.store);
    ist_registration_free(f.registration);
    ist_nic_free(f.nic);
    for (size_t i = 0; i < 2; i++) {
        ist_region_drop(&f.processes[i].region);
        ist_device_close(f.processes[i].device);
    }
    ist_device_close(f.device);
    ev_loop_destroy(f.loop);
    ist_hca_free(f.hca);
    free(f.pool);
    free(f.memory);
    free(f.clients);
    assert_int_equal(f.failing.live, 0);
    return 0;
}

/* ---- the client ----------------------------------------------------------------------------------------- */

void client_make(struct client *client, struct ist_endpoint *endpoint) {
    const struct ist_completion_config completion_config = {.device = process_of(client)->device,
                                                            .queue_pairs_max = 1,
                                                            .send_wr = 16,
                                                            .messages = 4,
                                                            .message_bytes = 512,
                                                            .alloc = &f.failing.alloc,
                                                            .log = ist_log_null()};
    assert_int_equal(ist_completion_new(&completion_config, &client->completion), IST_OK);
    const struct ist_queue_pair_config config = {
        .completion = client->completion, .remote_access = true, .packet_number = 77};
    assert_int_equal(ist_queue_pair_new(&config, &client->queue_pair), IST_OK);
    *endpoint = (struct ist_endpoint){.status = IST_OK};
    ist_queue_pair_end(client->queue_pair, &endpoint->end);
    client->own.status = IST_AGAIN;
}

enum ist_status client_ask_failing(struct client *client, uint64_t n) {
    struct ist_endpoint peer;
    client_make(client, &peer);
    f.failing.fail_at = n == 0 ? 0 : f.failing.calls + n;
    enum ist_status status = ist_rdma_connect(f.rdma, client, 1, &peer, &client->server);
    f.failing.fail_at = 0;
    return status;
}

enum ist_status client_ask(struct client *client) {
    return client_ask_failing(client, 0);
}

/* The server has answered: the rest of the client's own end. */
enum ist_status client_finish(struct client *client) {
    const struct ist_endpoint *own = &client->own;
    if (own->status != IST_OK) {
        assert_null(client->server);
        return own->status;
    }
    assert_int_equal(ist_queue_pair_connect(client->queue_pair, &own->end), IST_OK);
    return IST_OK;
}

static void client_handle(struct client *client, const struct ist_completion_event *event) {
    client->failures += event->kind == IST_COMPLETION_FAILED;
    if (!event->has_buffer) {
        if (event->queue_pair != NULL) {
            (void)ist_queue_pair_retire(client->queue_pair, event->count);
        }
        return;
    }
    bool has_bytes =
        event->kind == IST_COMPLETION_RECEIVED && ist_queue_pair_received(client->queue_pair, event);
    if (has_bytes) {
        assert_true(client->in_bytes + event->bytes <= sizeof(client->in));
        memcpy(client->in + client->in_bytes, ist_completion_buffer(client->completion, event->buffer),
               event->bytes);
        client->in_bytes += event->bytes;
        client->messages++;
    }
    assert_int_equal(ist_completion_give_back(client->completion, event->buffer), IST_OK);
    if (has_bytes) {
        ist_queue_pair_owe_credit(client->queue_pair);
    }
}

void client_turn(struct client *client) {
    struct ist_completion_event events[8];
    size_t count;
    if (client->completion == NULL || client->stalls) {
        return;
    }
    while ((count = ist_completion_poll(client->completion, events, 8)) > 0) {
        for (size_t i = 0; i < count; i++) {
            client_handle(client, &events[i]);
        }
    }
    if (client->queue_pair != NULL && ist_queue_pair_is_ready(client->queue_pair)) {
        (void)ist_queue_pair_flush(client->queue_pair);
    }
}

void turn(void) {
    ist_hca_run(f.hca, 8);
    act();
}

void act(void) {
    ev_run(f.loop, EVRUN_NOWAIT);
    ist_edge_run_changed(f.engine);
    ist_engine_check(f.engine);
    for (size_t i = 0; i < f.clients_count; i++) {
        client_turn(&f.clients[i]);
    }
}

/* Other threads take part: bounded by time. */
void turn_until_answered(struct client *client) {
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    while (client->own.status == IST_AGAIN) {
        assert_true(ist_clock_ns() < until_ns);
        turn();
        sched_yield();
    }
}

enum ist_status client_try(struct client *client) {
    enum ist_status status = client_ask(client);
    if (status != IST_OK) {
        assert_null(client->server);
        return status;
    }
    turn_until_answered(client);
    return client_finish(client);
}

void client_begin(struct client *client) {
    assert_int_equal(client_try(client), IST_OK);
}

void client_say(struct client *client, const uint8_t *bytes, size_t count) {
    while (count > 0) {
        turn_until(ist_queue_pair_message_room(client->queue_pair) > 0);
        uint32_t room = ist_queue_pair_message_room(client->queue_pair);
        uint32_t part = count < room ? (uint32_t)count : room;
        memcpy(ist_queue_pair_message(client->queue_pair), bytes, part);
        ist_queue_pair_add_message(client->queue_pair, part);
        assert_int_equal(ist_queue_pair_flush(client->queue_pair), IST_OK);
        bytes += part;
        count -= part;
    }
}

void client_request(struct client *client, enum ist_operation operation, uint64_t id,
                    const struct place *places, size_t count) {
    struct ist_span keys[KEYS_MAX];
    uint64_t lengths[KEYS_MAX];
    struct ist_remote remotes[KEYS_MAX];
    static uint8_t frame[1 << 14];
    bool moves = operation == IST_OP_PUT || operation == IST_OP_GET;
    for (size_t i = 0; i < count; i++) {
        keys[i] = ist_span_of_string(places[i].key);
        lengths[i] = places[i].bytes;
        remotes[i] = (struct ist_remote){process_of(client)->region.address + places[i].at,
                                         process_of(client)->region.rkey};
    }
    size_t written;
    assert_int_equal(ist_codec_encode_remote_keys(keys, moves ? lengths : NULL, moves ? remotes : NULL,
                                                  count, frame + IST_FRAME_BYTES,
                                                  sizeof(frame) - IST_FRAME_BYTES, &written),
                     IST_OK);
    const struct ist_frame header = {
        .operation = operation, .request_id = id, .body_bytes = (uint32_t)written};
    ist_frame_encode(&header, frame);
    client_say(client, frame, IST_FRAME_BYTES + written);
}

/* The next reply, which must be to `id`; returns the status of its key. */
enum ist_status client_reply(struct client *client, uint64_t id, size_t key) {
    struct ist_frame frame;
    turn_until(ist_frame_decode(ist_span_of(client->in, client->in_bytes), &frame) == IST_OK &&
               client->in_bytes >= IST_FRAME_BYTES + frame.body_bytes);
    assert_int_equal(frame.request_id, id);
    assert_int_equal(frame.payload_bytes, 0);
    uint64_t lengths[KEYS_MAX];
    struct ist_keys_reply reply;
    assert_int_equal(
        ist_codec_decode_keys_reply(ist_span_of(client->in + IST_FRAME_BYTES, frame.body_bytes),
                                    lengths, KEYS_MAX, &reply),
        IST_OK);
    enum ist_status status = reply.status != IST_OK || reply.key_status.bytes <= key
                                 ? reply.status
                                 : (enum ist_status)reply.key_status.data[key];
    size_t bytes = IST_FRAME_BYTES + frame.body_bytes;
    memmove(client->in, client->in + bytes, client->in_bytes - bytes);
    client->in_bytes -= bytes;
    return status;
}

void fill(uint64_t at, uint64_t seed, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        f.memory[at + i] = (uint8_t)(seed * 131 + i * 7 + i / 256);
    }
}

void assert_filled(uint64_t at, uint64_t seed, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        if (f.memory[at + i] != (uint8_t)(seed * 131 + i * 7 + i / 256)) {
            fail_msg("byte %llu of value %llu is wrong", (unsigned long long)i,
                     (unsigned long long)seed);
        }
    }
}

unsigned times_logged(const char *text) {
    unsigned times = 0;
    for (const char *at = f.logged; (at = strstr(at, text)) != NULL; at++) {
        times++;
    }
    return times;
}

static void on_time(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)loop;
    (void)revents;
    *(bool *)timer->data = true;
}

/* Some turns of the loop may have a reason; one that never sleeps takes thousands in this time. */
void assert_sleeps(void) {
    bool over = false;
    unsigned wakes = 0;
    ev_timer timer;
    ev_now_update(f.loop);
    ev_timer_init(&timer, on_time, 0.05, 0.);
    timer.data = &over;
    ev_timer_start(f.loop, &timer);
    while (!over && wakes < 20) {
        ev_run(f.loop, EVRUN_ONCE);
        wakes++;
    }
    ev_timer_stop(f.loop, &timer);
    assert_true(over);
}

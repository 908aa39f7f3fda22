/* src/daemon/rdma on the software HCA, with the real loop and engine; the client is the other end's queue pair and
 * frames written by hand. Nothing waits: all take turns until what is expected has come. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/edge.h"
#include "daemon/rdma.h"
#include "daemon/registration.h"
#include "sim/hca/hca.h"
#include "store/store.h"
#include "verbs/memory.h"
#include "verbs/queue_pair.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define SEGMENT_BYTES (2u << 20)
#define POOL_BYTES (2 * SEGMENT_BYTES)
#define CLIENT_BYTES (16u << 20)
#define CLIENTS 2
#define TURNS_MAX 200000
#define KEYS_MAX 64

struct client {
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
    struct ist_rdma_connection *server; /* NULL: ended */
    unsigned ended;
    bool stalls; /* gives no buffer back, takes nothing */
    uint8_t in[1 << 16];
    size_t in_bytes;
    uint64_t failures;
};

static struct {
    struct ist_hca *hca;
    struct ev_loop *loop;
    struct failing_alloc failing;
    struct ist_device *device, *client_device;
    struct ist_registration *registration;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_rdma *rdma;
    uint8_t *pool, *memory;
    struct ist_region region;
    struct client clients[CLIENTS];
} f;

static void on_ended(void *owner) {
    struct client *client = owner;
    client->server = NULL;
    client->ended++;
}

static struct ist_device *device_open(const char *name) {
    char why[128];
    struct ist_device *device = NULL;
    const struct ist_device_config config = {
        .name = name, .hint_gid_index = -1, .alloc = &f.failing.alloc, .log = ist_log_null()};
    assert_int_equal(ist_device_open(&config, &device, why, sizeof(why)), IST_OK);
    return device;
}

static void make_store_and_engine(void) {
    const struct ist_store_config store_config = {.pool_bytes_max = POOL_BYTES,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = &f.failing.alloc};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    assert_int_equal(ist_store_grow(f.store, POOL_BYTES), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = 8,
                                                    .server_name = "test",
                                                    .alloc = &f.failing.alloc,
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
}

static int setup_seed(uint64_t seed) {
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    struct ist_hca_config config;
    ist_hca_config_init(&config, seed);
    config.progress_in_calls = true;
    f.hca = ist_hca_new(&config);
    struct ist_hca_device_config device;
    ist_hca_device_config_roce(&device, "server", 0);
    assert_non_null(ist_hca_add_device(f.hca, &device));
    ist_hca_device_config_roce(&device, "client", 1);
    assert_non_null(ist_hca_add_device(f.hca, &device));
    f.device = device_open("server");
    f.client_device = device_open("client");
    f.pool = calloc(1, POOL_BYTES);
    f.memory = calloc(1, CLIENT_BYTES);
    assert_true(f.pool != NULL && f.memory != NULL);
    assert_int_equal(
        ist_region_register(f.client_device, f.memory, CLIENT_BYTES, IST_MEMORY_REMOTE, &f.region),
        IST_OK);
    assert_int_equal(
        ist_registration_new(f.device, 2, &f.failing.alloc, ist_log_null(), &f.registration), IST_OK);
    ist_registration_add(f.registration, f.pool, SEGMENT_BYTES);
    ist_registration_add(f.registration, f.pool + SEGMENT_BYTES, SEGMENT_BYTES);
    f.loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(f.loop);
    make_store_and_engine();
    const struct ist_rdma_config rdma_config = {.loop = f.loop,
                                                .engine = f.engine,
                                                .device = f.device,
                                                .registration = f.registration,
                                                .sessions_max = CLIENTS,
                                                .ended = on_ended,
                                                .alloc = &f.failing.alloc,
                                                .log = ist_log_null()};
    assert_int_equal(ist_rdma_new(&rdma_config, &f.rdma), IST_OK);
    return 0;
}

static int setup(void **state) {
    (void)state;
    return setup_seed(5);
}

static void client_free(struct client *client) {
    ist_queue_pair_free(client->queue_pair);
    ist_completion_free(client->completion);
    client->queue_pair = NULL;
    client->completion = NULL;
}

static int teardown(void **state) {
    (void)state;
    ist_rdma_free(f.rdma);
    for (size_t i = 0; i < CLIENTS; i++) {
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
    ist_region_drop(&f.region);
    ist_device_close(f.client_device);
    ist_device_close(f.device);
    ev_loop_destroy(f.loop);
    ist_hca_free(f.hca);
    free(f.pool);
    free(f.memory);
    assert_int_equal(f.failing.live, 0);
    return 0;
}

/* ---- the client ----------------------------------------------------------------------------------------- */

static enum ist_status client_try(struct client *client) {
    const struct ist_completion_config completion_config = {.device = f.client_device,
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
    struct ist_queue_pair_end end;
    ist_queue_pair_end(client->queue_pair, &end);
    struct ist_endpoint peer = {.queue_pair = end.number,
                                .packet_number = end.packet_number,
                                .mtu_bytes = end.mtu_bytes,
                                .reads = end.reads,
                                .messages = end.messages,
                                .message_bytes = end.message_bytes};
    memcpy(peer.gid, end.gid, sizeof(peer.gid));
    struct ist_endpoint own;
    ist_rdma_connect(f.rdma, client, 1, &peer, &own, &client->server);
    if (own.status != IST_OK) {
        assert_null(client->server);
        return own.status;
    }
    struct ist_queue_pair_end server = {.number = own.queue_pair,
                                        .packet_number = own.packet_number,
                                        .mtu_bytes = own.mtu_bytes,
                                        .reads = own.reads,
                                        .messages = own.messages,
                                        .message_bytes = own.message_bytes};
    memcpy(server.gid, own.gid, sizeof(server.gid));
    assert_int_equal(ist_queue_pair_connect(client->queue_pair, &server), IST_OK);
    return IST_OK;
}

static void client_begin(struct client *client) {
    assert_int_equal(client_try(client), IST_OK);
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
    }
    assert_int_equal(ist_completion_give_back(client->completion, event->buffer), IST_OK);
    if (has_bytes) {
        ist_queue_pair_owe_credit(client->queue_pair);
    }
}

static void client_turn(struct client *client) {
    struct ist_completion_event events[8];
    size_t count;
    if (client->completion == NULL || client->stalls) {
        return;
    }
    ist_completion_arm(client->completion);
    while ((count = ist_completion_poll(client->completion, events, 8)) > 0) {
        for (size_t i = 0; i < count; i++) {
            client_handle(client, &events[i]);
        }
    }
    if (client->queue_pair != NULL && ist_queue_pair_is_ready(client->queue_pair)) {
        (void)ist_queue_pair_flush(client->queue_pair);
    }
}

static void turn(void) {
    ist_hca_run(f.hca, 8);
    ev_run(f.loop, EVRUN_NOWAIT);
    ist_edge_run_changed(f.engine);
    ist_engine_check(f.engine);
    for (size_t i = 0; i < CLIENTS; i++) {
        client_turn(&f.clients[i]);
    }
}

#define turn_until(condition)                                                                          \
    do {                                                                                               \
        int turns_ = 0;                                                                                \
        while (!(condition)) {                                                                         \
            assert_true(turns_++ < TURNS_MAX);                                                         \
            turn();                                                                                    \
        }                                                                                              \
    } while (0)

static void client_say(struct client *client, const uint8_t *bytes, size_t count) {
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

struct place {
    const char *key;
    uint64_t at, bytes;
};

static void client_request(struct client *client, enum ist_operation operation, uint64_t id,
                           const struct place *places, size_t count) {
    struct ist_span keys[KEYS_MAX];
    uint64_t lengths[KEYS_MAX];
    struct ist_remote remotes[KEYS_MAX];
    static uint8_t frame[1 << 14];
    bool moves = operation == IST_OP_PUT || operation == IST_OP_GET;
    for (size_t i = 0; i < count; i++) {
        keys[i] = ist_span_of_string(places[i].key);
        lengths[i] = places[i].bytes;
        remotes[i] = (struct ist_remote){f.region.address + places[i].at, f.region.rkey};
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
static enum ist_status client_reply(struct client *client, uint64_t id, size_t key) {
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

static void fill(uint64_t at, uint64_t seed, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        f.memory[at + i] = (uint8_t)(seed * 131 + i * 7 + i / 256);
    }
}

static void assert_filled(uint64_t at, uint64_t seed, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        if (f.memory[at + i] != (uint8_t)(seed * 131 + i * 7 + i / 256)) {
            fail_msg("byte %llu of value %llu is wrong", (unsigned long long)i,
                     (unsigned long long)seed);
        }
    }
}

/* ---- tests ---------------------------------------------------------------------------------------------- */

static void test_put_then_get__over_both_segments__same_bytes(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    const uint64_t bytes = 3 * (SEGMENT_BYTES / 2); /* lies in both, wherever it begins */
    client_begin(client);
    assert_int_equal(ist_rdma_connections(f.rdma), 1);
    fill(0, 1, bytes);
    client_request(client, IST_OP_PUT, 1, &(struct place){"k", 0, bytes}, 1);
    assert_int_equal(client_reply(client, 1, 0), IST_OK);
    client_request(client, IST_OP_GET, 2, &(struct place){"k", 8u << 20, bytes}, 1);
    assert_int_equal(client_reply(client, 2, 0), IST_OK);
    assert_filled(8u << 20, 1, bytes);
    assert_int_equal(client->failures, 0);
}

static void test_batch__more_than_the_window__flows_through_it(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    char names[KEYS_MAX][8];
    struct place places[KEYS_MAX];
    client_begin(client);
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < KEYS_MAX; i++) {
            snprintf(names[i], sizeof(names[i]), "k%zu", i);
            places[i] = (struct place){names[i], i * 65536, 10000 + i * 100};
            fill(places[i].at, i + round, places[i].bytes);
        }
        client_request(client, IST_OP_PUT, 1, places, KEYS_MAX);
        for (size_t i = 0; i < KEYS_MAX; i++) {
            places[i].at += 8u << 20;
        }
        assert_int_equal(client_reply(client, 1, KEYS_MAX - 1), IST_OK);
        client_request(client, IST_OP_GET, 2, places, KEYS_MAX);
        assert_int_equal(client_reply(client, 2, KEYS_MAX - 1), IST_OK);
        for (size_t i = 0; i < KEYS_MAX; i++) {
            assert_filled(places[i].at, i + round, places[i].bytes);
        }
    }
}

static void test_requests__many_pipelined__each_answered_once(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    client_begin(client);
    for (uint64_t id = 1; id <= 200; id++) {
        client_request(client, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    }
    for (uint64_t id = 1; id <= 200; id++) {
        assert_int_equal(client_reply(client, id, 0), IST_NOT_FOUND);
    }
    assert_int_equal(client->in_bytes, 0);
}

static void test_client__takes_nothing__others_are_served(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    f.clients[0].stalls = true;
    for (uint64_t id = 1; id <= 16; id++) { /* as many as it has credits for */
        uint32_t room = ist_queue_pair_message_room(f.clients[0].queue_pair);
        if (room > 0) {
            client_request(&f.clients[0], IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
        }
    }
    fill(0, 3, 100000);
    for (uint64_t id = 1; id <= 20; id++) {
        client_request(&f.clients[1], IST_OP_PUT, id, &(struct place){"k", 0, 100000}, 1);
        assert_int_equal(client_reply(&f.clients[1], id, 0), IST_OK);
    }
    assert_int_equal(f.clients[0].ended, 0);
}

static void test_put__rkey_of_nothing__that_session_ends_and_its_block_returns(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    uint32_t rkey = f.region.rkey;
    f.region.rkey ^= 0x5555;
    client_request(&f.clients[0], IST_OP_PUT, 1, &(struct place){"bad", 0, 100000}, 1);
    f.region.rkey = rkey;
    turn_until(f.clients[0].ended == 1);
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.free_bytes, POOL_BYTES);
    assert_int_equal(ist_rdma_connections(f.rdma), 1);
    client_request(&f.clients[1], IST_OP_EXISTS, 1, &(struct place){"bad", 0, 0}, 1);
    assert_int_equal(client_reply(&f.clients[1], 1, 0), IST_NOT_FOUND);
}

static void test_client__garbage__ends(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_say(&f.clients[0], (const uint8_t *)"GET / HTTP/1.1", 14);
    turn_until(f.clients[0].ended == 1);
    assert_int_equal(ist_rdma_connections(f.rdma), 0);
}

static void test_client__wrong_request__hears_why_before_the_end(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    uint8_t frame[IST_FRAME_BYTES];
    const struct ist_frame header = {.operation = IST_OP_CONNECT, .request_id = 9};
    ist_frame_encode(&header, frame);
    client_say(&f.clients[0], frame, sizeof(frame));
    assert_int_equal(client_reply(&f.clients[0], 9, 0), IST_PROTOCOL);
    turn_until(f.clients[0].ended == 1);
}

static void test_drain__client_is_dead__ends_all_the_same(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    ist_hca_kill(ist_device_context(f.client_device));
    ist_engine_drain(f.engine, 0);
    turn_until(f.clients[0].ended == 1);
}

static void test_disconnect__work_outstanding__everything_returns(void **state) {
    (void)state;
    struct client *client = &f.clients[0];
    client_begin(client);
    client_request(client, IST_OP_PUT, 1, &(struct place){"k", 0, 1u << 20}, 1);
    struct ist_stats stats;
    do {
        turn();
        ist_engine_stats(f.engine, &stats);
    } while (stats.reserved_bytes == 0);
    ist_rdma_disconnect(client->server);
    client->server = NULL;
    turn_until(ist_rdma_connections(f.rdma) == 0);
    assert_int_equal(client->ended, 0); /* it was the owner's wish */
    ist_engine_stats(f.engine, &stats);
    assert_int_equal(stats.free_bytes, POOL_BYTES);
}

/* Buffers that a broken queue pair had taken are all posted again: else a crowd that comes and goes empties the queue
 * that all share. */
static void come_and_go(uint64_t seed) {
    uint64_t random = seed;
    for (unsigned round = 0; round < 60; round++) {
        struct client *client = &f.clients[0];
        client_begin(client);
        for (uint64_t id = 1; id <= 6; id++) {
            client_request(client, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
            ist_hca_run(f.hca, random_below(&random, 12));
        }
        ist_rdma_disconnect(client->server);
        client->server = NULL;
        turn_until(ist_rdma_connections(f.rdma) == 0);
        client_free(client);
        client->in_bytes = 0;
    }
    client_begin(&f.clients[1]);
    for (uint64_t id = 1; id <= 50; id++) {
        client_request(&f.clients[1], IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    }
    for (uint64_t id = 1; id <= 50; id++) {
        assert_int_equal(client_reply(&f.clients[1], id, 0), IST_NOT_FOUND);
    }
}

static void test_disconnect__messages_on_their_way_many_times__no_buffer_is_lost(void **state) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        teardown(state);
        setup_seed(seed);
        come_and_go(seed);
    }
}

static void test_messages__a_buffer_cannot_be_posted_again__all_sessions_end(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    client_request(&f.clients[0], IST_OP_EXISTS, 1, &(struct place){"nobody", 0, 0}, 1);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, 1);
    f.clients[0].stalls = f.clients[1].stalls = true; /* the first to post is the server */
    turn_until(f.clients[0].ended == 1 && f.clients[1].ended == 1);
    struct ist_endpoint own;
    struct ist_rdma_connection *connection;
    const struct ist_endpoint peer = {.queue_pair = 1,
                                      .gid = {1},
                                      .mtu_bytes = 1024,
                                      .reads = 1,
                                      .messages = 1,
                                      .message_bytes = 512};
    ist_rdma_connect(f.rdma, &f, 1, &peer, &own, &connection);
    assert_int_equal(own.status, IST_DEVICE);
}

static void test_connect__more_than_there_is_room_for__no_space(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_begin(&f.clients[1]);
    struct client third = {0};
    assert_int_equal(client_try(&third), IST_NO_SPACE);
    client_free(&third);
}

static void test_connect__endpoint_that_cannot_be__invalid(void **state) {
    (void)state;
    struct ist_endpoint own, peer = {.queue_pair = 5, .mtu_bytes = 4096, .messages = 0};
    struct ist_rdma_connection *connection;
    ist_rdma_connect(f.rdma, &f, 1, &peer, &own, &connection);
    assert_int_equal(own.status, IST_INVALID);
    assert_null(connection);
    assert_int_equal(ist_rdma_connections(f.rdma), 0);
}

static void test_link_down__sessions_end__and_come_back_with_it(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    struct ist_hca_device *device = ist_hca_find_device(f.hca, "server");
    ist_hca_set_link(device, 1, false);
    turn_until(f.clients[0].ended == 1);
    assert_int_equal(client_try(&f.clients[1]), IST_DEVICE);
    client_free(&f.clients[1]);
    ist_hca_set_link(device, 1, true);
    turn_until(true);
    turn();
    client_begin(&f.clients[1]);
    client_request(&f.clients[1], IST_OP_EXISTS, 1, &(struct place){"k", 0, 0}, 1);
    assert_int_equal(client_reply(&f.clients[1], 1, 0), IST_NOT_FOUND);
}

static void test_device__dies__sessions_end_and_none_begins(void **state) {
    (void)state;
    client_begin(&f.clients[0]);
    client_request(&f.clients[0], IST_OP_PUT, 1, &(struct place){"k", 0, 1u << 20}, 1);
    ist_hca_device_fatal(ist_hca_find_device(f.hca, "server"));
    turn_until(f.clients[0].ended == 1);
    assert_int_equal(client_try(&f.clients[1]), IST_DEVICE);
    struct ist_stats stats;
    ist_engine_stats(f.engine, &stats);
    assert_int_equal(stats.free_bytes, POOL_BYTES);
}

static void test_registration__no_more_room_or_refused__not_whole(void **state) {
    (void)state;
    assert_true(ist_registration_is_whole(f.registration));
    struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX];
    assert_int_equal(ist_registration_find(f.registration, SEGMENT_BYTES - 10, 30, pieces), 2);
    assert_int_equal(pieces[0].bytes, 10);
    assert_int_equal(pieces[1].bytes, 20);
    assert_true(pieces[0].address == (uintptr_t)f.pool + SEGMENT_BYTES - 10);
    assert_true(pieces[1].address == (uintptr_t)f.pool + SEGMENT_BYTES);
    assert_int_equal(ist_registration_find(f.registration, SEGMENT_BYTES, 1, pieces), 1);
    assert_int_equal(ist_registration_find(f.registration, POOL_BYTES - 1, 2, pieces), 0);
    ist_registration_add(f.registration, f.pool, SEGMENT_BYTES);
    assert_false(ist_registration_is_whole(f.registration));
    assert_int_equal(client_try(&f.clients[0]), IST_DEVICE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_put_then_get__over_both_segments__same_bytes),
        TEST(test_batch__more_than_the_window__flows_through_it),
        TEST(test_requests__many_pipelined__each_answered_once),
        TEST(test_client__takes_nothing__others_are_served),
        TEST(test_put__rkey_of_nothing__that_session_ends_and_its_block_returns),
        TEST(test_client__garbage__ends),
        TEST(test_client__wrong_request__hears_why_before_the_end),
        TEST(test_drain__client_is_dead__ends_all_the_same),
        TEST(test_disconnect__work_outstanding__everything_returns),
        TEST(test_disconnect__messages_on_their_way_many_times__no_buffer_is_lost),
        TEST(test_messages__a_buffer_cannot_be_posted_again__all_sessions_end),
        TEST(test_connect__more_than_there_is_room_for__no_space),
        TEST(test_connect__endpoint_that_cannot_be__invalid),
        TEST(test_link_down__sessions_end__and_come_back_with_it),
        TEST(test_device__dies__sessions_end_and_none_begins),
        TEST(test_registration__no_more_room_or_refused__not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

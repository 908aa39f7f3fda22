/* One end dies: clients killed while the server's device moves their values, the daemon killed, restarted or asked to
 * end. What is left behind of them: nothing. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/crew.h"
#include "tests/integration/http.h"
#include "tests/integration/rdma.h"
#include "tests/integration/values.h"

#define POOL "160M"
#define POOL_BYTES (160 * MIB)
#define VALUE_BYTES (3 * MIB + 1)
#define IN_FLIGHT 8u
#define PUTS_MAX 40u /* of a victim: all of them fit */

static struct crew crew;

static int teardown(void **state) {
    crew_fini(&crew);
    return servers_teardown(state);
}

static const char *const options[] = {"--prealloc-size", POOL, NULL};

static struct server *start(uint16_t port) {
    struct server *server =
        server_start_with(&(const struct server_setup){.options = options, .service_port = port});
    assert_eventually(server_metric(server, "infinistore_pool_size_bytes") == POOL_BYTES);
    return server;
}

static uint16_t port_of(const struct server *server) {
    return (uint16_t)strtoul(strrchr(server->service[0], ':') + 1, NULL, 10);
}

static uint64_t rdma_sessions(const struct server *server) {
    return (uint64_t)server_metric(server, "infinistore_sessions{transport=\"rdma\"}");
}

/* ---- those who get killed ----------------------------------------------------------------------------------- */

struct victim {
    struct crew_member *self;
    struct ist_client *client;
    uint8_t *memory;
    struct slot {
        struct victim *victim;
        struct ist_put_item put;
        struct ist_get_item get;
        char name[32];
        bool is_put;
    } slots[IN_FLIGHT];
};

struct scene {
    const char *address;
    const char *prefix;
    bool puts, gets;
};

static void submit(struct slot *slot);

static void on_done(void *arg, enum ist_status status) {
    struct slot *slot = arg;
    if (status != IST_OK) {
        crew_wrong(slot->victim->self, "%s gives %s", slot->name, ist_status_name(status));
    }
    atomic_fetch_add(&slot->victim->self->done, 1);
    submit(slot);
}

/* A put of a new key while there is room for it, or a get of one that was there before. */
static void submit(struct slot *slot) {
    struct victim *victim = slot->victim;
    const struct scene *scene = victim->self->arg;
    uint8_t *memory = victim->memory + (size_t)(slot - victim->slots) * VALUE_BYTES;
    enum ist_status status;
    if (slot->is_put && victim->self->begun < PUTS_MAX) {
        unsigned number = (unsigned)atomic_fetch_add(&victim->self->begun, 1);
        snprintf(slot->name, sizeof(slot->name), "%s%u", scene->prefix, number);
        value_fill(slot->name, number, memory, VALUE_BYTES);
        slot->put = (struct ist_put_item){
            .key = key_of(slot->name), .value = memory, .value_bytes = VALUE_BYTES};
        status = ist_put_async(victim->client, &slot->put, 1, 0, 0, on_done, slot);
    } else {
        strcpy(slot->name, "steady");
        slot->get = (struct ist_get_item){
            .key = key_of(slot->name), .buffer = memory, .buffer_bytes = VALUE_BYTES};
        status = ist_get_async(victim->client, &slot->get, 1, 0, on_done, slot);
    }
    if (status != IST_OK) {
        crew_wrong(victim->self, "%s is refused: %s", slot->name, ist_status_name(status));
    }
}

static struct ist_client *enter(struct crew_member *self, const char *address, size_t bytes,
                                uint8_t **memory) {
    struct ist_client *client = NULL;
    char error[256];
    if (rdma_try_open(address, IST_TRANSPORT_RDMA, rdma_client_device(), &client, error,
                      sizeof(error)) != IST_OK) {
        crew_wrong(self, "no connection: %s", error);
    }
    *memory = rdma_memory_try(client, bytes);
    if (*memory == NULL) {
        crew_wrong(self, "no memory");
    }
    return client;
}

/* Always has so many in flight. */
static void keep_busy(struct crew_member *self) {
    const struct scene *scene = self->arg;
    struct victim victim = {.self = self};
    victim.client = enter(self, scene->address, IN_FLIGHT * VALUE_BYTES, &victim.memory);
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        victim.slots[i].victim = &victim;
        victim.slots[i].is_put = scene->puts && (!scene->gets || i % 2 == 0);
        submit(&victim.slots[i]);
    }
    for (;;) {
        struct pollfd polled = {.fd = ist_client_fd(victim.client), .events = POLLIN};
        poll(&polled, 1, 1000);
        ist_client_process(victim.client);
    }
}

/* Comes and goes: is killed in the midst of a handshake sooner or later. */
static void come_and_go(struct crew_member *self) {
    const struct scene *scene = self->arg;
    for (;;) {
        struct ist_client *client = NULL;
        char error[256];
        if (rdma_try_open(scene->address, IST_TRANSPORT_RDMA, rdma_client_device(), &client, error,
                          sizeof(error)) != IST_OK) {
            crew_wrong(self, "no connection: %s", error);
        }
        ist_client_free(client);
        atomic_fetch_add(&self->done, 1);
    }
}

/* The others, whom all of that is nothing to. */
static void go_on(struct crew_member *self) {
    const struct scene *scene = self->arg;
    uint8_t *memory;
    struct ist_client *client = enter(self, scene->address, 2 * VALUE_BYTES, &memory);
    char name[32];
    snprintf(name, sizeof(name), "other%zu", self->number);
    for (uint64_t version = 1, got; !atomic_load(self->stop); version++) {
        struct ist_put_item put = {.key = key_of(name), .value = memory, .value_bytes = VALUE_BYTES};
        struct ist_get_item get = {
            .key = key_of(name), .buffer = memory + VALUE_BYTES, .buffer_bytes = VALUE_BYTES};
        value_fill(name, version, memory, VALUE_BYTES);
        enum ist_status status = ist_put(client, &put, 1, 0, 0);
        status = status == IST_OK ? ist_get(client, &get, 1, 0) : status;
        if (status != IST_OK) {
            crew_wrong(self, "a bystander gets %s", ist_status_name(status));
        }
        if (!value_check(name, memory + VALUE_BYTES, VALUE_BYTES, &got) || got != version) {
            crew_wrong(self, "a bystander finds another value");
        }
        atomic_fetch_add(&self->done, 1);
    }
    ist_client_free(client);
}

/* ---- a client is killed ------------------------------------------------------------------------------------- */

/* What a dead client has put is there whole, or not at all; returns how many of its puts left nothing. */
static uint64_t check_traces(const struct server *server, const char *prefix, uint64_t begun) {
    struct ist_client *client = client_open(server->service[0]);
    uint64_t missing = 0, version = 0;
    for (uint64_t i = 0; i < begun; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s%u", prefix, (unsigned)i);
        enum ist_status status = get_value(client, name, VALUE_BYTES, &version);
        assert_true(status == IST_OK || status == IST_NOT_FOUND);
        assert_true(status == IST_NOT_FOUND || version == i);
        missing += status == IST_NOT_FOUND;
        (void)remove_key(client, name);
    }
    ist_client_free(client);
    return missing;
}

/* Returns how many puts were cut off. */
static uint64_t kill_busy(struct server *server, struct scene scene, uint64_t sessions) {
    uint64_t keys = (uint64_t)server_metric(server, "infinistore_keys_stored");
    struct crew_member *victim = crew_start(&crew, keep_busy, &scene);
    assert_eventually((crew_assert_well(&crew), atomic_load(&victim->done) >= 2));
    if (!scene.puts) {
        assert_eventually(server_metric(server, "infinistore_pinned_entries") > 0);
    }
    crew_kill(&crew, victim);
    uint64_t killed_ns = now_ns();
    assert_eventually(rdma_sessions(server) == sessions);
    uint64_t noticed_ns = now_ns() - killed_ns;
    uint64_t cut = check_traces(server, scene.prefix, victim->begun);
    assert_true(cut <= IN_FLIGHT);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), keys);
    print_message("           %llu done, then killed, noticed after %llu ms: %llu puts left nothing\n",
                  (unsigned long long)victim->done, (unsigned long long)noticed_ns / 1000000,
                  (unsigned long long)cut);
    return cut;
}

static void test_client__killed_in_mid_transfer__no_trace_and_others_unharmed(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = start(0);
    crew_init(&crew);
    struct scene scene = {.address = server->service[0], .prefix = "lost"};
    struct crew_member *bystander = crew_start(&crew, go_on, &scene);
    assert_eventually((crew_assert_well(&crew), atomic_load(&bystander->done) > 0));
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "steady", 1, VALUE_BYTES, 0), IST_OK);
    ist_client_free(client);
    assert_eventually(rdma_sessions(server) == 1);
    uint64_t cut = 0, before = bystander->done;
    unsigned rounds = rdma_is_short() ? 1 : 4;
    for (unsigned round = 0; round < rounds || cut == 0; round++) { /* until one died in mid-put */
        assert_true(round < 20);
        scene.puts = true;
        cut += kill_busy(server, scene, 1);
        scene.gets = true;
        cut += kill_busy(server, scene, 1);
        scene.puts = false;
        (void)kill_busy(server, scene, 1);
    }
    assert_true(bystander->done > before);
    crew_stop(&crew);
    rdma_server_end(server, POOL_BYTES);
}

static void test_client__killed_at_any_moment_of_its_set_up__nothing_left(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = start(0);
    crew_init(&crew);
    struct scene scene = {.address = server->service[0]};
    size_t descriptors = server_descriptors(server);
    uint64_t seed = 9, connections = 0;
    for (unsigned round = 0; round < (rdma_is_short() ? 5u : 30u); round++) {
        struct crew_member *member = crew_start(&crew, come_and_go, &scene);
        assert_eventually((crew_assert_well(&crew), atomic_load(&member->done) > 0));
        const struct timespec moment = {.tv_nsec = (long)random_below(&seed, 10000000)};
        nanosleep(&moment, NULL);
        crew_kill(&crew, member);
        connections += member->done;
    }
    assert_eventually(rdma_sessions(server) == 0);
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 0);
    assert_eventually(server_descriptors(server) <= descriptors);
    print_message("           %llu connections\n", (unsigned long long)connections);
    struct ist_client *client = rdma_open(server);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    crew_stop(&crew);
    rdma_server_end(server, POOL_BYTES);
}

/* ---- the daemon is killed ----------------------------------------------------------------------------------- */

enum { REQUESTS = 24 };
struct requests {
    struct ist_client *client;
    uint8_t *memory; /* REQUESTS values */
    bool again; /* what has succeeded is done once more, so that there is always something in flight */
    struct request {
        struct requests *all;
        struct ist_put_item put;
        struct ist_get_item get;
        char name[32];
        unsigned submits, calls;
        enum ist_status status;
    } items[REQUESTS];
};

static void submit_one(struct request *request);

static void on_reply(void *arg, enum ist_status status) {
    struct request *request = arg;
    request->calls++;
    request->status = status;
    if (status == IST_OK && request->all->again) {
        submit_one(request);
    }
}

/* By turns a put of a key of its own, and a get of "key". */
static void submit_one(struct request *request) {
    struct requests *all = request->all;
    size_t i = (size_t)(request - all->items);
    uint8_t *memory = all->memory + i * VALUE_BYTES;
    request->submits++;
    if (i % 2 == 0) {
        snprintf(request->name, sizeof(request->name), "put%zu", i);
        value_fill(request->name, request->submits, memory, VALUE_BYTES);
        request->put = (struct ist_put_item){
            .key = key_of(request->name), .value = memory, .value_bytes = VALUE_BYTES};
        assert_int_equal(ist_put_async(all->client, &request->put, 1, 0, 0, on_reply, request), IST_OK);
    } else {
        request->get =
            (struct ist_get_item){.key = key_of("key"), .buffer = memory, .buffer_bytes = VALUE_BYTES};
        assert_int_equal(ist_get_async(all->client, &request->get, 1, 0, on_reply, request), IST_OK);
    }
}

/* Until the server is seen in the midst of a transfer. */
static void submit_many(struct server *server, struct ist_client *client, uint8_t *memory,
                        struct requests *requests) {
    *requests = (struct requests){.client = client, .memory = memory, .again = true};
    for (size_t i = 0; i < REQUESTS; i++) {
        requests->items[i].all = requests;
        submit_one(&requests->items[i]);
    }
    assert_eventually(
        (ist_client_process(client), server_metric(server, "infinistore_pinned_entries") > 0));
}

static void process_until_quiet(struct ist_client *client) {
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    while (ist_client_in_flight(client) > 0) {
        struct pollfd polled = {.fd = ist_client_fd(client), .events = POLLIN};
        poll(&polled, 1, 1000);
        ist_client_process(client);
        assert_true(now_ns() < until_ns);
    }
}

static void test_server__killed_in_mid_transfer__peer_then_reconnect(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = start(0);
    uint16_t port = port_of(server);
    struct ist_client *client = rdma_open(server);
    uint8_t *memory = rdma_memory(client, REQUESTS * VALUE_BYTES);
    uint64_t incarnation = ist_client_incarnation(client), version;
    for (unsigned round = 1; round <= (rdma_is_short() ? 1u : 3u); round++) {
        assert_int_equal(put_value(client, "key", 1, VALUE_BYTES, 0), IST_OK);
        struct requests requests;
        submit_many(server, client, memory, &requests);
        server_kill(server);
        process_until_quiet(client);
        for (size_t i = 0; i < REQUESTS; i++) {
            assert_int_equal(requests.items[i].calls, requests.items[i].submits);
            assert_int_equal(requests.items[i].status, IST_PEER);
        }
        /* Nobody is there: it fails at once, not at the deadline. */
        assert_int_equal(ist_ping(client, 0), IST_PEER);
        server = start(port);
        assert_int_equal(get_value(client, "key", VALUE_BYTES, &version), IST_NOT_FOUND);
        assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
        assert_true(ist_client_incarnation(client) != incarnation);
        incarnation = ist_client_incarnation(client);
        /* memory that was registered for a server that is no more */
        value_fill("again", round, memory + 5, VALUE_BYTES);
        struct ist_put_item put = {
            .key = key_of("again"), .value = memory + 5, .value_bytes = VALUE_BYTES};
        assert_int_equal(ist_put(client, &put, 1, 0, 0), IST_OK);
        assert_int_equal(get_value(client, "again", VALUE_BYTES, &version), IST_OK);
        assert_int_equal(version, round);
    }
    rdma_memory_free(client, memory, REQUESTS * VALUE_BYTES);
    ist_client_free(client);
    rdma_server_end(server, POOL_BYTES);
}

/* Killed and back before anybody asks: one call fails with PEER at most, the next is served. */
static void test_server__restarted_between_calls__at_most_one_call_fails(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = start(0);
    uint16_t port = port_of(server);
    struct ist_client *client = rdma_open(server);
    for (unsigned round = 0; round < 3; round++) {
        uint64_t incarnation = ist_client_incarnation(client), version;
        assert_int_equal(put_value(client, "key", 1, VALUE_BYTES, 0), IST_OK);
        if (round % 2 == 0) {
            server_kill(server);
        } else {
            server_stop(server);
        }
        server = start(port);
        enum ist_status status = ist_ping(client, 0);
        assert_true(status == IST_PEER || status == IST_OK);
        assert_int_equal(get_value(client, "key", VALUE_BYTES, &version), IST_NOT_FOUND);
        assert_true(ist_client_incarnation(client) != incarnation);
        assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    }
    ist_client_free(client);
    rdma_server_end(server, POOL_BYTES);
}

/* ---- the daemon is asked to end ------------------------------------------------------------------------------ */

static void test_server__sigterm_in_mid_transfer__what_had_begun_ends_well(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = start(0);
    struct ist_client *client = rdma_open(server);
    uint8_t *memory = rdma_memory(client, REQUESTS * VALUE_BYTES);
    assert_int_equal(put_value(client, "key", 1, VALUE_BYTES, 0), IST_OK);
    struct requests requests;
    submit_many(server, client, memory, &requests);
    requests.again = false;
    server_signal(server, SIGTERM);
    process_until_quiet(client);
    size_t served = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        const struct request *request = &requests.items[i];
        uint64_t version = 0;
        assert_int_equal(request->calls, request->submits);
        assert_true(request->status == IST_OK ||
                    request->status == IST_PEER); /* PEER: it came too late */
        served += request->status == IST_OK;
        if (request->status == IST_OK && i % 2 == 1) {
            assert_true(value_check("key", memory + i * VALUE_BYTES, VALUE_BYTES, &version));
            assert_int_equal(version, 1);
        }
    }
    print_message("           %zu of %d requests were served\n", served, REQUESTS);
    assert_true(served > 0);
    assert_int_equal(server_wait(server), 0);
    ist_client_free(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_client__killed_in_mid_transfer__no_trace_and_others_unharmed,
                                  teardown),
        cmocka_unit_test_teardown(test_client__killed_at_any_moment_of_its_set_up__nothing_left,
                                  teardown),
        cmocka_unit_test_teardown(test_server__killed_in_mid_transfer__peer_then_reconnect, teardown),
        cmocka_unit_test_teardown(test_server__restarted_between_calls__at_most_one_call_fails,
                                  teardown),
        cmocka_unit_test_teardown(test_server__sigterm_in_mid_transfer__what_had_begun_ends_well,
                                  teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

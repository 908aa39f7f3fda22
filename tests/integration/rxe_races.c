/* Many client processes over RDMA, and all that takes a value away while it is being read: overwriting, removing,
 * eviction, purging. Every value tells its key and its version in every byte, and its length follows from them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/crew.h"
#include "tests/integration/http.h"
#include "tests/integration/rdma.h"
#include "tests/integration/values.h"

#define POOL "24M"
#define POOL_BYTES (24 * MIB)
#define KEYS 16u
#define BATCH 4u
#define VALUE_BYTES_MAX (MIB)
#define FILL_BYTES (2 * MIB)

static struct crew crew;

static int teardown(void **state) {
    crew_fini(&crew);
    return servers_teardown(state);
}

static size_t length_of(uint64_t version) {
    uint64_t state = version;
    return VALUE_BYTES_MIN + (size_t)random_below(&state, VALUE_BYTES_MAX - VALUE_BYTES_MIN);
}

struct scene {
    char address[SERVER_ADDRESS_BYTES];
};

static struct ist_client *enter(struct crew_member *self, size_t bytes, uint8_t **memory) {
    const struct scene *scene = self->arg;
    struct ist_client *client = NULL;
    char error[256];
    if (rdma_try_open(scene->address, IST_TRANSPORT_RDMA, rdma_client_device(), &client, error,
                      sizeof(error)) != IST_OK) {
        crew_wrong(self, "no connection: %s", error);
    }
    *memory = rdma_memory_try(client, bytes);
    if (*memory == NULL) {
        crew_wrong(self, "no memory");
    }
    return client;
}

static void name_of(uint64_t number, char name[16]) {
    snprintf(name, 16, "key%u", (unsigned)(number % KEYS));
}

static void check_found(struct crew_member *self, const struct ist_get_item *item) {
    uint64_t version = 0;
    const char *key = item->key.data;
    if (item->value_bytes < VALUE_BYTES_MIN ||
        !value_check(key, item->buffer, item->value_bytes, &version)) {
        crew_wrong(self, "%s: a value is mixed, of version %llx", key, (unsigned long long)version);
    }
    if (item->value_bytes != length_of(version)) {
        crew_wrong(self, "%s: %llu bytes are not those of version %llx", key,
                   (unsigned long long)item->value_bytes, (unsigned long long)version);
    }
    atomic_fetch_add(&self->found, 1);
}

static void read_values(struct crew_member *self) {
    uint8_t *memory;
    struct ist_client *client = enter(self, BATCH * VALUE_BYTES_MAX, &memory);
    uint64_t seed = self->number;
    char names[BATCH][16];
    while (!atomic_load(self->stop)) {
        struct ist_get_item items[BATCH];
        for (size_t i = 0; i < BATCH; i++) {
            name_of(random_next(&seed), names[i]);
            items[i] = (struct ist_get_item){.key = key_of(names[i]),
                                             .buffer = memory + i * VALUE_BYTES_MAX,
                                             .buffer_bytes = VALUE_BYTES_MAX};
        }
        enum ist_status status = ist_get(client, items, BATCH, 0);
        if (status != IST_OK && status != IST_NOT_FOUND) {
            crew_wrong(self, "a get gives %s", ist_status_name(status));
        }
        for (size_t i = 0; i < BATCH; i++) {
            if (items[i].status == IST_OK) {
                check_found(self, &items[i]);
            }
        }
        atomic_fetch_add(&self->done, 1);
    }
    ist_client_free(client);
}

/* NO_SPACE: all that could go is in use just now. */
static void write_values(struct crew_member *self) {
    uint8_t *memory;
    struct ist_client *client = enter(self, BATCH * VALUE_BYTES_MAX, &memory);
    uint64_t seed = self->number;
    char names[BATCH][16];
    for (uint64_t round = 1; !atomic_load(self->stop); round++) {
        struct ist_put_item items[BATCH];
        for (size_t i = 0; i < BATCH; i++) {
            uint64_t version = (uint64_t)self->number << 48 | round << 8 | i;
            name_of(random_next(&seed), names[i]);
            uint8_t *value = memory + i * VALUE_BYTES_MAX;
            value_fill(names[i], version, value, length_of(version));
            items[i] = (struct ist_put_item){
                .key = key_of(names[i]), .value = value, .value_bytes = length_of(version)};
        }
        enum ist_status status = ist_put(client, items, BATCH, 0, 0);
        if (status != IST_OK && status != IST_NO_SPACE) {
            crew_wrong(self, "a put gives %s", ist_status_name(status));
        }
        atomic_fetch_add(&self->done, 1);
        atomic_fetch_add(&self->found, status == IST_OK);
    }
    ist_client_free(client);
}

static void remove_values(struct crew_member *self) {
    uint8_t *memory;
    struct ist_client *client = enter(self, 4096, &memory);
    uint64_t seed = self->number;
    while (!atomic_load(self->stop)) {
        char name[16];
        name_of(random_next(&seed), name);
        const struct ist_key key = key_of(name);
        size_t removed = 0;
        if (ist_remove(client, &key, 1, &removed, 0) != IST_OK || removed > 1) {
            crew_wrong(self, "a remove fails");
        }
        atomic_fetch_add(&self->done, 1);
        atomic_fetch_add(&self->found, removed);
    }
    ist_client_free(client);
}

/* Others' values, for which there is no room but by eviction. */
static void fill_pool(struct crew_member *self) {
    uint8_t *memory;
    struct ist_client *client = enter(self, FILL_BYTES, &memory);
    for (uint64_t round = 0; !atomic_load(self->stop); round++) {
        char name[32];
        snprintf(name, sizeof(name), "fill%llu", (unsigned long long)round);
        struct ist_put_item item = {.key = key_of(name), .value = memory, .value_bytes = FILL_BYTES};
        enum ist_status status = ist_put(client, &item, 1, 0, 0);
        if (status != IST_OK && status != IST_NO_SPACE) {
            crew_wrong(self, "a put gives %s", ist_status_name(status));
        }
        atomic_fetch_add(&self->done, 1);
        atomic_fetch_add(&self->found, status == IST_OK);
    }
    ist_client_free(client);
}

static void purge(const struct server *server) {
    struct http_reply reply;
    http_request(server, "POST", "/purge", "", &reply);
    assert_int_equal(reply.status, 200);
    http_free(&reply);
}

enum { READERS = 4, WRITERS = 2 };

/* How often the pool was looked at, and something was in that state; what has been evicted. */
struct tally {
    uint64_t looks, pinned, doomed, evicted;
};

static void start_all(const struct scene *scene) {
    for (size_t i = 0; i < READERS; i++) {
        (void)crew_start(&crew, read_values, scene);
    }
    for (size_t i = 0; i < WRITERS; i++) {
        (void)crew_start(&crew, write_values, scene);
    }
    (void)crew_start(&crew, remove_values, scene);
    (void)crew_start(&crew, fill_pool, scene);
}

static bool all_have_worked(const struct tally *tally) {
    for (size_t i = 0; i < crew.count; i++) {
        if (crew.members[i].found == 0) {
            return false;
        }
    }
    /* else nothing was taken away from under a reader */
    return tally->pinned > 0 && tally->doomed > 0 && tally->evicted > 0;
}

/* Each look at the pool finds that its parts make the whole. */
static void look(const struct server *server, struct tally *tally) {
    tally->doomed += server_pool_bytes(server, "doomed") > 0;
    tally->pinned += server_metric(server, "infinistore_pinned_entries") > 0;
    tally->evicted = (uint64_t)server_metric(server, "infinistore_evicted_entries_total");
    if (++tally->looks % 8 == 0 && tally->evicted > 0) { /* else the pool might never be full */
        purge(server);
    }
    crew_assert_well(&crew);
}

static void test_gets__while_values_go_away__whole_and_of_one_version(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = server_start("--prealloc-size", POOL, "--minimal-allocate-size", "4K");
    struct scene scene;
    strcpy(scene.address, server->service[0]);
    crew_init(&crew);
    start_all(&scene);
    struct tally tally = {0};
    uint64_t begun_ns = now_ns();
    uint64_t enough_ns = begun_ns + (rdma_is_short() ? 1 : 4) * 1000000000ull;
    while (now_ns() < enough_ns || !all_have_worked(&tally)) {
        look(server, &tally);
        assert_true(now_ns() < begun_ns + PATIENCE_NS);
    }
    uint64_t found = 0, put = 0;
    for (size_t i = 0; i < READERS; i++) {
        found += crew.members[i].found;
    }
    for (size_t i = READERS; i < READERS + WRITERS; i++) {
        put += crew.members[i].found;
    }
    print_message(
        "           %llu values found, %llu batches put, %llu removed, %llu purges; at %llu looks "
        "%llu times something was pinned, %llu times doomed\n",
        (unsigned long long)found, (unsigned long long)put,
        (unsigned long long)crew.members[READERS + WRITERS].found, (unsigned long long)tally.looks / 8,
        (unsigned long long)tally.looks, (unsigned long long)tally.pinned,
        (unsigned long long)tally.doomed);
    crew_stop(&crew);
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"rdma\"}") == 0);
    rdma_server_end(server, POOL_BYTES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_gets__while_values_go_away__whole_and_of_one_version, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

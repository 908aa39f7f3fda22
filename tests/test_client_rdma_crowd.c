/* Many clients over RDMA, many threads of one, and a fabric that loses packets: the same random work over both
 * transports, against what each thread knows of its own keys. */
#include "tests/rdma_house.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 64u
#define THREADS 4u
#define KEYS 6u
#define VALUE_BYTES_MAX 9000u

static unsigned rounds(unsigned many) {
    return getenv("IST_TEST_SHORT") == NULL ? many : (many + 7) / 8;
}

static void test_clients__sixty_four__each_its_own(void **state) {
    (void)state;
    static struct ist_client *clients[CLIENTS];
    static uint8_t memory[CLIENTS][8192];
    static char names[CLIENTS][16];
    house_begin((struct house_options){.seed = 51});
    for (unsigned i = 0; i < CLIENTS; i++) {
        snprintf(names[i], sizeof(names[i]), "client %u", i);
        clients[i] = house_client_of(IST_TRANSPORT_RDMA);
        assert_int_equal(ist_memory_register(clients[i], memory[i], sizeof(memory[i])), IST_OK);
    }
    assert_int_equal(house_rdma_connections(), CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        house_fill(memory[i], 4096, i);
        struct ist_put_item put = {
            .key = {names[i], strlen(names[i])}, .value = memory[i], .value_bytes = 4096};
        assert_int_equal(ist_put(clients[i], &put, 1, 0, 0), IST_OK);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        unsigned of = (i + 1) % CLIENTS;
        struct ist_get_item get = {
            .key = {names[of], strlen(names[of])}, .buffer = memory[i] + 4096, .buffer_bytes = 4096};
        assert_int_equal(ist_get(clients[i], &get, 1, 0), IST_OK);
        house_assert_filled(memory[i] + 4096, 4096, of);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        ist_client_free(clients[i]);
    }
    house_await_connections(0);
    house_end();
}

/* ---- threads ------------------------------------------------------------------------------------------------ */

/* One thread's keys, and what it has put there last. */
struct worker {
    struct ist_client *client;
    pthread_t thread;
    uint64_t random;
    char names[KEYS][24];
    uint64_t seeds[KEYS]; /* 0: it is not there */
    uint64_t lengths[KEYS];
    uint8_t *memory; /* 2 * VALUE_BYTES_MAX for each key */
    const char *wrong;
};

static struct ist_key key_of(const struct worker *worker, unsigned i) {
    return (struct ist_key){.data = worker->names[i], .bytes = strlen(worker->names[i])};
}

static uint8_t byte_at(uint64_t seed, uint64_t at) {
    return (uint8_t)(seed * 31 + at + at / 255);
}

static bool has_value(const uint8_t *memory, uint64_t bytes, uint64_t seed) {
    uint64_t at = 0;
    while (at < bytes && memory[at] == byte_at(seed, at)) {
        at++;
    }
    return at == bytes;
}

static uint8_t *source_of(const struct worker *worker, unsigned i) {
    return worker->memory + 2 * i * VALUE_BYTES_MAX;
}

static bool put_some(struct worker *worker) {
    struct ist_put_item puts[KEYS];
    unsigned count = 1 + (unsigned)random_below(&worker->random, KEYS);
    for (unsigned i = 0; i < count; i++) {
        worker->seeds[i] = 1 + random_below(&worker->random, 1000000);
        worker->lengths[i] = 1 + random_below(&worker->random, VALUE_BYTES_MAX);
        for (uint64_t at = 0; at < worker->lengths[i]; at++) {
            source_of(worker, i)[at] = byte_at(worker->seeds[i], at);
        }
        puts[i] = (struct ist_put_item){
            .key = key_of(worker, i), .value = source_of(worker, i), .value_bytes = worker->lengths[i]};
    }
    return ist_put(worker->client, puts, count, 0, 0) == IST_OK;
}

static bool get_all(struct worker *worker) {
    struct ist_get_item gets[KEYS];
    for (unsigned i = 0; i < KEYS; i++) {
        gets[i] = (struct ist_get_item){.key = key_of(worker, i),
                                        .buffer = source_of(worker, i) + VALUE_BYTES_MAX,
                                        .buffer_bytes = VALUE_BYTES_MAX};
    }
    enum ist_status status = ist_get(worker->client, gets, KEYS, 0);
    bool good = status == IST_OK || status == IST_NOT_FOUND;
    for (unsigned i = 0; i < KEYS && good; i++) {
        bool is_there = worker->seeds[i] != 0;
        good = gets[i].status == (is_there ? IST_OK : IST_NOT_FOUND) &&
               (!is_there || (gets[i].value_bytes == worker->lengths[i] &&
                              has_value(gets[i].buffer, gets[i].value_bytes, worker->seeds[i])));
    }
    return good;
}

static bool remove_one(struct worker *worker) {
    unsigned i = (unsigned)random_below(&worker->random, KEYS);
    const struct ist_key key = key_of(worker, i);
    size_t removed = 9, expected = worker->seeds[i] != 0;
    worker->seeds[i] = 0;
    return ist_remove(worker->client, &key, 1, &removed, 0) == IST_OK && removed == expected;
}

static bool ask_all(struct worker *worker) {
    struct ist_key keys[KEYS];
    bool present[KEYS];
    int64_t last = -2, expected = -1;
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i] = key_of(worker, i);
        expected = worker->seeds[i] != 0 ? (int64_t)i : expected;
    }
    bool good = ist_exists(worker->client, keys, KEYS, present, 0) == IST_OK &&
                ist_match_last(worker->client, keys, KEYS, &last, 0) == IST_OK && last == expected;
    for (unsigned i = 0; i < KEYS && good; i++) {
        good = present[i] == (worker->seeds[i] != 0);
    }
    return good;
}

/* Memory comes and goes while others use theirs. */
static bool register_anew(struct worker *worker) {
    size_t bytes = (size_t)2 * KEYS * VALUE_BYTES_MAX;
    return ist_memory_unregister(worker->client, worker->memory, bytes) == IST_OK &&
           ist_memory_register(worker->client, worker->memory, bytes) == IST_OK;
}

static void *work(void *arg) {
    static const struct {
        const char *name;
        bool (*run)(struct worker *worker);
    } steps[] = {{"put", put_some},
                 {"get", get_all},
                 {"remove", remove_one},
                 {"exists", ask_all},
                 {"register", register_anew}};
    struct worker *worker = arg;
    for (unsigned round = 0; round < rounds(160) && worker->wrong == NULL; round++) {
        size_t step = random_below(&worker->random, sizeof(steps) / sizeof(steps[0]));
        worker->wrong = steps[step].run(worker) ? NULL : steps[step].name;
    }
    return NULL;
}

static void run_workers(enum ist_transport transport, bool shared, bool lossy, uint64_t seed) {
    struct worker workers[THREADS] = {0};
    house_begin((struct house_options){.seed = seed, .lossy = lossy});
    for (unsigned i = 0; i < THREADS; i++) {
        struct worker *worker = &workers[i];
        worker->random = seed * 100 + i;
        worker->client = shared && i > 0 ? workers[0].client : house_client_of(transport);
        worker->memory = calloc(2 * KEYS, VALUE_BYTES_MAX);
        assert_non_null(worker->memory);
        assert_int_equal(
            ist_memory_register(worker->client, worker->memory, (size_t)2 * KEYS * VALUE_BYTES_MAX),
            IST_OK);
        for (unsigned k = 0; k < KEYS; k++) {
            snprintf(worker->names[k], sizeof(worker->names[k]), "thread %u key %u", i, k);
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        if (workers[i].wrong != NULL) {
            fail_msg("thread %u, seed %llu: %s went wrong", i, (unsigned long long)seed,
                     workers[i].wrong);
        }
        if (!shared || i == 0) {
            assert_int_equal(ist_client_transport(workers[i].client), transport);
            ist_client_free(workers[i].client);
        }
        free(workers[i].memory);
    }
    house_end();
}

static void test_threads__one_client_each__as_each_knows(void **state) {
    (void)state;
    run_workers(IST_TRANSPORT_RDMA, false, false, 52);
    run_workers(IST_TRANSPORT_TCP, false, false, 52);
}

static void test_threads__share_a_client__as_each_knows(void **state) {
    (void)state;
    run_workers(IST_TRANSPORT_RDMA, true, false, 53);
    run_workers(IST_TRANSPORT_TCP, true, false, 53);
}

static void test_threads__packets_get_lost__as_each_knows(void **state) {
    (void)state;
    run_workers(IST_TRANSPORT_RDMA, false, true, 54);
    run_workers(IST_TRANSPORT_RDMA, true, true, 55);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients__sixty_four__each_its_own),
        cmocka_unit_test(test_threads__one_client_each__as_each_knows),
        cmocka_unit_test(test_threads__share_a_client__as_each_knows),
        cmocka_unit_test(test_threads__packets_get_lost__as_each_knows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

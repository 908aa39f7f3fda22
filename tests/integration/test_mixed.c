/* Several threads and clients at once: never a byte of another value, never a value that was half there.
 *   INFINISTORE_TEST_SECONDS   how long (default 3) */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/rdma.h"
#include "tests/integration/values.h"

#define KEYS 8
#define VALUE_BYTES_MAX (MIB)
#define THREADS 8

static const char *const names[KEYS] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};

static uint64_t seconds(void) {
    const char *text = getenv("INFINISTORE_TEST_SECONDS");
    return text == NULL ? 3 : strtoull(text, NULL, 10);
}

/* What the threads of a test share. A thread cannot fail the test: it says what was wrong. */
struct shared {
    struct ist_client *client; /* one for all, or NULL: each has its own */
    const char *address;
    bool crowded; /* a put may find all of the pool in use */
    uint64_t until_ns;
    atomic_uint_fast64_t puts, gets, found;
    _Atomic(const char *) wrong;
};

struct worker {
    struct shared *shared;
    pthread_t thread;
    uint64_t seed;
    unsigned number;
    bool writes;
};

static void complain(struct shared *shared, const char *what) {
    const char *none = NULL;
    atomic_compare_exchange_strong(&shared->wrong, &none, what);
}

/* The length goes with the version, so that a length of one value with bytes of another shows, too. */
static size_t length_of(uint64_t version) {
    return VALUE_BYTES_MIN + (size_t)(version * 2654435761u % (VALUE_BYTES_MAX - VALUE_BYTES_MIN));
}

static void write_once(struct worker *worker, struct ist_client *client, uint8_t *buffer,
                       uint64_t round) {
    struct shared *shared = worker->shared;
    struct ist_put_item items[2];
    size_t first = (size_t)random_below(&worker->seed, KEYS), used = 0;
    size_t count = 1 + (size_t)random_below(&worker->seed, 2);
    for (size_t i = 0; i < count; i++) {
        const char *key = names[(first + i) % KEYS];
        uint64_t version = round << 8 | worker->number;
        size_t bytes = length_of(version);
        value_fill(key, version, buffer + used, bytes);
        items[i] =
            (struct ist_put_item){.key = key_of(key), .value = buffer + used, .value_bytes = bytes};
        used += bytes;
    }
    enum ist_status status = ist_put(client, items, count, 0, 0);
    if (status != IST_OK && !(shared->crowded && status == IST_NO_SPACE)) {
        complain(shared, "a put failed");
    }
    atomic_fetch_add(&shared->puts, 1);
    if (random_below(&worker->seed, 16) == 0) {
        struct ist_key key = key_of(names[random_below(&worker->seed, KEYS)]);
        size_t removed;
        if (ist_remove(client, &key, 1, &removed, 0) != IST_OK) {
            complain(shared, "a remove failed");
        }
    }
}

static void read_once(struct worker *worker, struct ist_client *client, uint8_t *buffer) {
    struct shared *shared = worker->shared;
    struct ist_get_item items[2];
    size_t first = (size_t)random_below(&worker->seed, KEYS);
    for (size_t i = 0; i < 2; i++) {
        items[i] = (struct ist_get_item){.key = key_of(names[(first + i) % KEYS]),
                                         .buffer = buffer + i * VALUE_BYTES_MAX,
                                         .buffer_bytes = VALUE_BYTES_MAX};
    }
    enum ist_status status = ist_get(client, items, 2, 0);
    if (status != IST_OK && status != IST_NOT_FOUND) {
        complain(shared, "a get failed");
        return;
    }
    atomic_fetch_add(&shared->gets, 1);
    for (size_t i = 0; i < 2; i++) {
        uint64_t version = 0;
        if (items[i].status != IST_OK) {
            continue;
        }
        atomic_fetch_add(&shared->found, 1);
        if (!value_check(names[(first + i) % KEYS], items[i].buffer, items[i].value_bytes, &version)) {
            complain(shared, "a value is mixed");
        } else if (items[i].value_bytes != length_of(version)) {
            complain(shared, "a value has the length of another");
        }
    }
}

static void *work(void *arg) {
    struct worker *worker = arg;
    struct shared *shared = worker->shared;
    struct ist_client *client = shared->client;
    if (client == NULL) {
        char error[256];
        enum ist_transport transport = rdma_is_here() ? IST_TRANSPORT_RDMA : IST_TRANSPORT_TCP;
        if (rdma_try_open(shared->address, transport, rdma_client_device(), &client, error,
                          sizeof(error)) != IST_OK) {
            complain(shared, "no connection");
            return NULL;
        }
    }
    uint8_t *buffer = rdma_memory_try(client, 2 * VALUE_BYTES_MAX);
    for (uint64_t round = 1; buffer != NULL && now_ns() < shared->until_ns; round++) {
        if (atomic_load(&shared->wrong) != NULL) {
            break;
        }
        if (worker->writes) {
            write_once(worker, client, buffer, round);
        } else {
            read_once(worker, client, buffer);
        }
    }
    if (buffer == NULL) {
        complain(shared, "no memory");
    } else {
        rdma_memory_free(client, buffer, 2 * VALUE_BYTES_MAX);
    }
    if (shared->client == NULL) {
        ist_client_free(client);
    }
    return NULL;
}

static void run_workers(struct shared *shared, unsigned writers, unsigned count, uint64_t duration_ns) {
    struct worker workers[THREADS];
    assert_true(count <= THREADS);
    shared->until_ns = now_ns() + duration_ns;
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){.shared = shared, .seed = i, .number = i, .writes = i < writers};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    const char *wrong = atomic_load(&shared->wrong);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    print_message("           %llu puts, %llu gets, %llu values\n",
                  (unsigned long long)atomic_load(&shared->puts),
                  (unsigned long long)atomic_load(&shared->gets),
                  (unsigned long long)atomic_load(&shared->found));
    assert_true(atomic_load(&shared->puts) > 0 && atomic_load(&shared->found) > 0);
}

static void finish(struct server *server) {
    assert_eventually(server_is_idle(server));
    struct ist_client *client = client_open(server->service[0]);
    uint64_t purged;
    assert_int_equal(ist_purge(client, &purged, 0), IST_OK);
    assert_true(server_pool_bytes(server, "free") ==
                (uint64_t)server_metric(server, "infinistore_pool_size_bytes"));
    ist_client_free(client);
    server_stop(server);
}

static void test_overwrite__two_writers_and_readers__never_mixed(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct shared shared = {.address = server->service[0]};
    run_workers(&shared, 2, 5, seconds() * 1000000000ull);
    finish(server);
}

/* The pool holds only a part of what is written: eviction all the time. */
static void test_overwrite__in_a_pool_too_small__never_mixed(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "6M");
    struct shared shared = {.address = server->service[0], .crowded = true};
    run_workers(&shared, 1, 3, seconds() * 1000000000ull / 2);
    finish(server);
}

static void test_client__shared_by_8_threads__right_answers(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct shared shared = {.client = client_open(server->service[0])};
    run_workers(&shared, 3, THREADS, seconds() * 1000000000ull / 2);
    assert_int_equal(ist_client_in_flight(shared.client), 0);
    ist_client_free(shared.client);
    finish(server);
}

/* ---- one winner -------------------------------------------------------------------------------- */

struct racer {
    struct ist_client *client;
    const char *key;
    uint64_t number;
    pthread_barrier_t *start;
    pthread_t thread;
    enum ist_status status;
};

static void *race(void *arg) {
    struct racer *racer = arg;
    static const size_t bytes = 128 * KIB;
    uint8_t *value = rdma_memory_try(racer->client, bytes);
    if (value == NULL) {
        racer->status = IST_NO_MEMORY;
        pthread_barrier_wait(racer->start);
        return NULL;
    }
    value_fill(racer->key, racer->number, value, bytes);
    struct ist_put_item item = {.key = key_of(racer->key), .value = value, .value_bytes = bytes};
    pthread_barrier_wait(racer->start);
    racer->status = ist_put(racer->client, &item, 1, IST_IF_ABSENT, 0);
    rdma_memory_free(racer->client, value, bytes);
    return NULL;
}

static void test_put__if_absent_from_many_at_once__one_wins(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    enum { RACERS = 4 };
    struct ist_client *clients[RACERS];
    for (size_t i = 0; i < RACERS; i++) {
        clients[i] = client_open(server->service[0]);
    }
    for (unsigned round = 0; round < 50; round++) {
        char key[32];
        snprintf(key, sizeof(key), "race%u", round);
        struct racer racers[RACERS];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, RACERS);
        for (size_t i = 0; i < RACERS; i++) {
            racers[i] = (struct racer){.client = clients[i], .key = key, .number = i, .start = &start};
            assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
        }
        size_t winners = 0;
        uint64_t winner = 99, version = 0;
        for (size_t i = 0; i < RACERS; i++) {
            assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
            assert_true(racers[i].status == IST_OK || racers[i].status == IST_EXISTS);
            if (racers[i].status == IST_OK) {
                winners++;
                winner = i;
            }
        }
        pthread_barrier_destroy(&start);
        assert_int_equal(winners, 1);
        assert_int_equal(get_value(clients[0], key, 128 * KIB, &version), IST_OK);
        assert_int_equal(version, winner);
    }
    for (size_t i = 0; i < RACERS; i++) {
        ist_client_free(clients[i]);
    }
    finish(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_overwrite__two_writers_and_readers__never_mixed),
        integration_test(test_overwrite__in_a_pool_too_small__never_mixed),
        integration_test(test_client__shared_by_8_threads__right_answers),
        integration_test(test_put__if_absent_from_many_at_once__one_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

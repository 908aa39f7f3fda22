/* What a client sees whose values a device moves: every operation, sizes and places in memory as they come, batches
 * that the work queues do not hold, memory that is not registered, deadlines. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/integration/http.h"
#include "tests/integration/rdma.h"
#include "tests/integration/values.h"

#define POOL "128M" /* in two segments of 64 MiB, each with a registration of its own */
#define POOL_BYTES (128 * MIB)
#define UNTOUCHED 0x77

static struct {
    struct server *server;
    struct ist_client *client;
    uint8_t *memory;
    size_t bytes;
} f;

static void begin(size_t bytes) {
    f.server = server_start("--prealloc-size", POOL, "--minimal-allocate-size", "4K");
    assert_eventually(server_metric(f.server, "infinistore_pool_size_bytes") == POOL_BYTES);
    f.client = rdma_open(f.server);
    f.bytes = bytes;
    f.memory = rdma_memory(f.client, bytes);
}

static void end(void) {
    rdma_memory_free(f.client, f.memory, f.bytes);
    ist_client_free(f.client);
    rdma_server_end(f.server, POOL_BYTES);
}

static enum ist_status put_at(const char *key, const void *value, size_t bytes) {
    struct ist_put_item item = {.key = key_of(key), .value = value, .value_bytes = bytes};
    enum ist_status status = ist_put(f.client, &item, 1, 0, 0);
    assert_int_equal(item.status, status);
    return status;
}

static enum ist_status get_at(const char *key, void *buffer, size_t bytes, uint64_t *value_bytes) {
    struct ist_get_item item = {.key = key_of(key), .buffer = buffer, .buffer_bytes = bytes};
    enum ist_status status = ist_get(f.client, &item, 1, 0);
    assert_int_equal(item.status, status);
    *value_bytes = item.value_bytes;
    return status;
}

static void fill(uint8_t *memory, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
        uint64_t word = random_next(&seed);
        memcpy(memory + i, &word, bytes - i < sizeof(word) ? bytes - i : sizeof(word));
    }
}

static bool all_are(const uint8_t *memory, size_t bytes, uint8_t value) {
    for (size_t i = 0; i < bytes; i++) {
        if (memory[i] != value) {
            return false;
        }
    }
    return true;
}

/* ---- sizes and places -------------------------------------------------------------------------------------- */

static void test_values__of_every_size_at_every_place__whole_and_nothing_beside(void **state) {
    (void)state;
    rdma_needed();
    static const size_t sizes[] = {
        1,      2,       3,    7,       8,       63,          64,          65,         511,
        513,    1023,    1025, 4095,    4096,    4097,        16383,       65535,      65537,
        100003, MIB - 1, MIB,  MIB + 1, 2097151, 3 * MIB + 5, 4 * MIB - 3, 8 * MIB + 1};
    enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), MARGIN = 64 };
    size_t half = 8 * MIB + 64 * KIB;
    begin(2 * half);
    uint64_t seed = 1, got = 0;
    for (size_t i = 0; i < SIZES; i++) {
        char key[32];
        snprintf(key, sizeof(key), "size%zu", sizes[i]);
        uint8_t *from = f.memory + MARGIN + random_below(&seed, 5000);
        uint8_t *to = f.memory + half + MARGIN + random_below(&seed, 5000);
        fill(from, sizes[i], i);
        assert_int_equal(put_at(key, from, sizes[i]), IST_OK);
        memset(to - MARGIN, UNTOUCHED, sizes[i] + 2 * MARGIN);
        /* a buffer longer than the value: its tail stays as it was */
        assert_int_equal(get_at(key, to, sizes[i] + i % 2 * MARGIN, &got), IST_OK);
        assert_int_equal(got, sizes[i]);
        assert_memory_equal(to, from, sizes[i]);
        assert_true(all_are(to - MARGIN, MARGIN, UNTOUCHED));
        assert_true(all_are(to + sizes[i], MARGIN, UNTOUCHED));
    }
    end();
}

/* Values that lie in two registrations of the pool, and one that takes all of it. */
static void test_value__across_segments__whole(void **state) {
    (void)state;
    rdma_needed();
    begin(POOL_BYTES);
    uint8_t *got = rdma_memory(f.client, POOL_BYTES);
    static const size_t sizes[] = {64 * MIB + 1, 100 * MIB + 13, 128 * MIB};
    uint64_t value_bytes = 0;
    for (size_t i = rdma_is_short() ? 2 : 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        value_fill("big", i, f.memory, sizes[i]);
        assert_int_equal(put_at("big", f.memory, sizes[i]), IST_OK);
        memset(got, 0, sizes[i]);
        assert_int_equal(get_at("big", got, POOL_BYTES, &value_bytes), IST_OK);
        assert_int_equal(value_bytes, sizes[i]);
        assert_memory_equal(got, f.memory, sizes[i]);
        assert_true(remove_key(f.client, "big"));
    }
    rdma_memory_free(f.client, got, POOL_BYTES);
    end();
}

/* ---- batches ----------------------------------------------------------------------------------------------- */

enum { BATCH = 5000, BATCH_VALUE = 5003 };

struct batch {
    struct keys keys;
    struct ist_put_item *puts;
    struct ist_get_item *gets;
    bool *present;
};

/* Values stand in the first half of the memory, buffers in the second. */
static struct batch batch_new(void) {
    struct batch batch = {.keys = keys_new("key", BATCH)};
    batch.puts = calloc(BATCH, sizeof(*batch.puts));
    batch.gets = calloc(BATCH, sizeof(*batch.gets));
    batch.present = calloc(BATCH, sizeof(*batch.present));
    assert_true(batch.puts != NULL && batch.gets != NULL && batch.present != NULL);
    for (size_t i = 0; i < BATCH; i++) {
        uint8_t *value = f.memory + i * BATCH_VALUE;
        const struct ist_key key = batch.keys.keys[i];
        value_fill(key.data, i, value, BATCH_VALUE);
        batch.puts[i] = (struct ist_put_item){.key = key, .value = value, .value_bytes = BATCH_VALUE};
        batch.gets[i] = (struct ist_get_item){
            .key = key, .buffer = f.memory + (BATCH + i) * BATCH_VALUE, .buffer_bytes = BATCH_VALUE};
    }
    return batch;
}

static void batch_free(struct batch *batch) {
    keys_free(&batch->keys);
    free(batch->puts);
    free(batch->gets);
    free(batch->present);
}

static void test_batch__many_times_the_window__every_operation(void **state) {
    (void)state;
    rdma_needed();
    begin(2 * BATCH * BATCH_VALUE);
    struct batch batch = batch_new();
    const struct ist_key *keys = batch.keys.keys;
    size_t number = 99;
    int64_t index = 99;
    assert_int_equal(ist_get(f.client, batch.gets, BATCH, 0), IST_NOT_FOUND);
    assert_true(all_are(f.memory + BATCH * BATCH_VALUE, BATCH * BATCH_VALUE, 0));
    assert_int_equal(ist_put(f.client, batch.puts, BATCH, 0, 0), IST_OK);
    assert_int_equal(ist_get(f.client, batch.gets, BATCH, 0), IST_OK);
    assert_memory_equal(f.memory, f.memory + BATCH * BATCH_VALUE, BATCH * BATCH_VALUE);
    assert_int_equal(ist_match_prefix(f.client, keys, BATCH, &number, 0), IST_OK);
    assert_int_equal(number, BATCH);
    assert_int_equal(ist_match_last(f.client, keys, BATCH, &index, 0), IST_OK);
    assert_int_equal(index, BATCH - 1);
    /* Every second goes; what is put again if absent is just those. */
    for (size_t i = 0; i < BATCH; i++) {
        const char *key = keys[i].data;
        if (i % 2 == 1) {
            assert_true(i > 99 || remove_key(f.client, key));
        }
        value_fill(key, BATCH + i, f.memory + i * BATCH_VALUE, BATCH_VALUE);
    }
    assert_int_equal(ist_match_prefix(f.client, keys, BATCH, &number, 0), IST_OK);
    assert_int_equal(number, 1);
    assert_int_equal(ist_exists(f.client, keys, BATCH, batch.present, 0), IST_OK);
    assert_int_equal(ist_put(f.client, batch.puts, BATCH, IST_IF_ABSENT, 0), IST_EXISTS);
    assert_int_equal(ist_get(f.client, batch.gets, BATCH, 0), IST_OK);
    for (size_t i = 0; i < BATCH; i++) {
        bool gone = i % 2 == 1 && i <= 99;
        uint64_t version = 0;
        assert_int_equal(batch.present[i], !gone);
        assert_int_equal(batch.puts[i].status, gone ? IST_OK : IST_EXISTS);
        assert_true(value_check(keys[i].data, batch.gets[i].buffer, BATCH_VALUE, &version));
        assert_int_equal(version, gone ? BATCH + i : i);
    }
    assert_int_equal(ist_remove(f.client, keys, BATCH / 2, &number, 0), IST_OK);
    assert_int_equal(number, BATCH / 2);
    uint64_t purged = 0;
    assert_int_equal(ist_purge(f.client, &purged, 0), IST_OK);
    assert_int_equal(purged, BATCH - BATCH / 2);
    batch_free(&batch);
    end();
}

/* What is answered for each key, in one batch: missing, too small, too big, not registered, and those that are served. */
static void test_batch__each_item_another_answer__others_served(void **state) {
    (void)state;
    rdma_needed();
    begin(MIB);
    static uint8_t stranger[1000];
    memset(stranger, UNTOUCHED, sizeof(stranger));
    fill(f.memory, 3000, 5);
    struct ist_put_item puts[] = {
        {.key = key_of("a"), .value = f.memory, .value_bytes = 1000},
        {.key = key_of("stranger"), .value = stranger, .value_bytes = 1000},
        {.key = key_of("beyond"), .value = f.memory + MIB - 10, .value_bytes = 11},
        {.key = key_of("b"), .value = f.memory + 1000, .value_bytes = 2000}};
    assert_int_equal(ist_put(f.client, puts, 4, 0, 0), IST_INVALID);
    assert_int_equal(puts[0].status, IST_OK);
    assert_int_equal(puts[1].status, IST_INVALID);
    assert_int_equal(puts[2].status, IST_INVALID);
    assert_int_equal(puts[3].status, IST_OK);
    assert_false(has_key(f.client, "stranger"));
    assert_false(has_key(f.client, "beyond"));
    uint8_t *to = f.memory + 8192;
    memset(to, UNTOUCHED, 8192);
    struct ist_get_item gets[] = {{.key = key_of("a"), .buffer = to, .buffer_bytes = 1000},
                                  {.key = key_of("a"), .buffer = stranger, .buffer_bytes = 1000},
                                  {.key = key_of("none"), .buffer = to + 1000, .buffer_bytes = 1000},
                                  {.key = key_of("b"), .buffer = to + 2000, .buffer_bytes = 1999},
                                  {.key = key_of("b"), .buffer = to + 4000, .buffer_bytes = 2000}};
    assert_int_equal(ist_get(f.client, gets, 5, 0), IST_INVALID);
    assert_int_equal(gets[0].status, IST_OK);
    assert_int_equal(gets[1].status, IST_INVALID);
    assert_int_equal(gets[2].status, IST_NOT_FOUND);
    assert_int_equal(gets[3].status, IST_TOO_SMALL);
    assert_int_equal(gets[3].value_bytes, 2000);
    assert_int_equal(gets[4].status, IST_OK);
    assert_memory_equal(to, f.memory, 1000);
    assert_memory_equal(to + 4000, f.memory + 1000, 2000);
    assert_true(all_are(to + 1000, 3000, UNTOUCHED));
    assert_true(all_are(stranger, sizeof(stranger), UNTOUCHED));
    assert_int_equal(ist_client_transport(f.client), IST_TRANSPORT_RDMA);
    end();
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

/* Ranges side by side, within each other and twice; values start anywhere, and end anywhere inside. */
static void test_memory__many_registrations__any_pointer_inside(void **state) {
    (void)state;
    rdma_needed();
    enum { RANGES = 64, RANGE = 64 * 1024 };
    begin(4096);
    uint8_t *memory =
        mmap(NULL, 2 * RANGES * RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    for (size_t i = 0; i < RANGES; i++) { /* each into the middle of the next, but for the last pair */
        size_t bytes = i + 2 < RANGES ? RANGE + RANGE / 2 : RANGE;
        assert_int_equal(ist_memory_register(f.client, memory + i * RANGE, bytes), IST_OK);
    }
    assert_int_equal(ist_memory_register(f.client, memory, RANGE / 2), IST_OK); /* within the first */
    uint64_t seed = 3, got;
    for (unsigned i = 0; i < 200; i++) {
        size_t bytes = 1 + (size_t)random_below(&seed, RANGE / 2);
        size_t range = (size_t)random_below(&seed, RANGES - 2);
        uint8_t *from = memory + range * RANGE + random_below(&seed, RANGE);
        uint8_t *to = memory + (RANGES - 1) * RANGE + random_below(&seed, RANGE / 2);
        fill(from, bytes, i);
        memset(to, 0, bytes);
        assert_int_equal(put_at("key", from, bytes), IST_OK);
        assert_int_equal(get_at("key", to, RANGE / 2, &got), IST_OK);
        assert_int_equal(got, bytes);
        assert_memory_equal(to, from, bytes);
    }
    /* from one range into another that adjoins it: no registration holds all of it */
    assert_int_equal(put_at("split", memory + (RANGES - 1) * RANGE - 10, 20), IST_INVALID);
    /* the smaller one goes: what it held is still in the other */
    assert_int_equal(ist_memory_unregister(f.client, memory, RANGE / 2), IST_OK);
    assert_int_equal(put_at("key", memory + 10, 1000), IST_OK);
    assert_int_equal(ist_memory_unregister(f.client, memory, RANGE / 2), IST_NOT_FOUND);
    assert_int_equal(ist_memory_unregister(f.client, memory, RANGE + RANGE / 2), IST_OK);
    assert_int_equal(put_at("key", memory + 10, 1000), IST_INVALID);
    ist_client_free(f.client); /* with all the others registered */
    munmap(memory, 2 * RANGES * RANGE);
    f.client = rdma_open(f.server);
    munmap(f.memory, f.bytes);
    f.memory = rdma_memory(f.client, f.bytes);
    end();
}

static void test_memory__that_cannot_be__refused(void **state) {
    (void)state;
    rdma_needed();
    begin(4096);
    uint8_t *memory = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(ist_memory_register(f.client, memory, 0), IST_INVALID);
    assert_int_equal(ist_memory_register(f.client, memory, 8192), IST_INVALID); /* not to be written */
    munmap(memory, 8192);
    assert_int_equal(ist_memory_register(f.client, memory, 8192), IST_INVALID); /* not there */
    int file = memfd_create("no dma-buf", MFD_CLOEXEC);
    assert_true(file >= 0 && ftruncate(file, 8192) == 0);
    enum ist_status status = ist_memory_register_dmabuf(f.client, file, 0, 8192, memory);
    assert_true(status == IST_DEVICE || status == IST_INVALID);
    close(file);
    assert_int_equal(put_at("key", f.memory, 4096), IST_OK);
    end();
}

/* ---- deadlines --------------------------------------------------------------------------------------------- */

/* The server stands still and has been asked for a value, and for one to be fetched: when the callback has run the
 * memory is its owner's, whatever the server does later. */
static void test_deadline__server_stands_still__memory_is_left_alone(void **state) {
    (void)state;
    rdma_needed();
    begin(2 * MIB);
    value_fill("key", 1, f.memory, MIB);
    assert_int_equal(put_at("key", f.memory, MIB), IST_OK);
    uint8_t *buffer = f.memory + MIB;
    struct ist_get_item get = {.key = key_of("key"), .buffer = buffer, .buffer_bytes = MIB};
    struct ist_put_item put = {.key = key_of("late"), .value = f.memory, .value_bytes = MIB};
    value_fill("late", 1, f.memory, MIB);
    server_signal(f.server, SIGSTOP);
    assert_int_equal(ist_get(f.client, &get, 1, 100000000), IST_TIMEOUT);
    memset(buffer, UNTOUCHED, MIB);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 100000000), IST_TIMEOUT);
    value_fill("late", 2, f.memory, MIB);
    server_signal(f.server, SIGCONT);
    struct ist_client *other = rdma_open(f.server);
    assert_eventually(server_is_idle(f.server));
    assert_eventually(server_metric(f.server, "infinistore_sessions{transport=\"rdma\"}") == 1);
    assert_true(all_are(buffer, MIB, UNTOUCHED));
    /* fetched in time or not at all */
    uint64_t version = 1;
    enum ist_status status = get_value(other, "late", MIB, &version);
    assert_true(status == IST_NOT_FOUND || status == IST_OK);
    assert_int_equal(version, 1);
    ist_client_free(other);
    /* and the client goes on, over RDMA */
    assert_int_equal(ist_get(f.client, &get, 1, 0), IST_OK);
    assert_true(value_check("key", buffer, MIB, &version));
    assert_int_equal(ist_client_transport(f.client), IST_TRANSPORT_RDMA);
    end();
}

/* In the midst of what is moved, at ever later moments. */
static void test_deadline__in_mid_transfer__memory_is_left_alone(void **state) {
    (void)state;
    rdma_needed();
    enum { BYTES = 32 * 1024 * 1024 };
    const unsigned rounds = rdma_is_short() ? 3 : 12;
    begin(2 * BYTES);
    value_fill("key", 1, f.memory, BYTES);
    assert_int_equal(put_at("key", f.memory, BYTES), IST_OK);
    uint8_t *buffer = f.memory + BYTES;
    unsigned cut = 0;
    for (unsigned round = 1; round <= rounds; round++) {
        struct ist_get_item get = {.key = key_of("key"), .buffer = buffer, .buffer_bytes = BYTES};
        memset(buffer, 0, BYTES);
        enum ist_status status = ist_get(f.client, &get, 1, round * 4000000ull);
        assert_true(status == IST_OK || status == IST_TIMEOUT);
        cut += status == IST_TIMEOUT && !all_are(buffer, BYTES, 0);
        memset(buffer, UNTOUCHED, BYTES);
        assert_int_equal(ist_ping(f.client, 0), IST_OK);
        assert_eventually(server_is_idle(f.server));
        assert_true(all_are(buffer, BYTES, UNTOUCHED));
        struct ist_put_item put = {.key = key_of("late"), .value = f.memory, .value_bytes = BYTES};
        value_fill("late", round, f.memory, BYTES);
        status = ist_put(f.client, &put, 1, 0, round * 4000000ull);
        assert_true(status == IST_OK || status == IST_TIMEOUT);
        memset(f.memory, UNTOUCHED, BYTES);
        assert_int_equal(ist_ping(f.client, 0), IST_OK);
        get.key = key_of("late");
        uint64_t version = 0;
        if (ist_get(f.client, &get, 1, 0) == IST_OK) {
            assert_true(value_check("late", buffer, BYTES, &version));
        }
    }
    print_message("           %u of %u gets were cut off with a part of the value there\n", cut,
                  rounds);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_values__of_every_size_at_every_place__whole_and_nothing_beside),
        integration_test(test_value__across_segments__whole),
        integration_test(test_batch__many_times_the_window__every_operation),
        integration_test(test_batch__each_item_another_answer__others_served),
        integration_test(test_memory__many_registrations__any_pointer_inside),
        integration_test(test_memory__that_cannot_be__refused),
        integration_test(test_deadline__server_stands_still__memory_is_left_alone),
        integration_test(test_deadline__in_mid_transfer__memory_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

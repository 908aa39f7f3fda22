/* store: the memory of its entries when keys of other lengths come, and that nobody notices when entries move. */
#include "tests/replay.h"

#include "infinistore/limits.h"
#include "store/store.h"

#define BLOCK 65536u

/* A store whose pool nobody ever touches: it needs no memory. */
static struct ist_store *store_new(struct failing_alloc *failing, uint64_t blocks) {
    failing_alloc_init(failing, 0);
    const struct ist_store_config config = {
        .pool_bytes_max = blocks * BLOCK,
        .min_block_bytes = BLOCK,
        .granule_bytes = 4096,
        .hash_key = {1, 2},
        .alloc = &failing->alloc,
    };
    struct ist_store *store;
    assert_int_equal(ist_store_new(&config, &store), IST_OK);
    assert_int_equal(ist_store_grow(store, blocks * BLOCK), IST_OK);
    return store;
}

static struct ist_store_usage usage_of(const struct ist_store *store) {
    struct ist_store_usage usage;
    ist_store_usage(store, &usage);
    return usage;
}

static void store_end(struct ist_store *store, struct failing_alloc *failing) {
    ist_store_check(store);
    ist_store_free(store);
    assert_int_equal(failing->live, 0);
}

struct key {
    uint8_t bytes[IST_KEY_BYTES_MAX];
    struct ist_span span;
};

static const struct ist_span *key_make(struct key *key, uint64_t number, size_t bytes) {
    memset(key->bytes, 'k', bytes);
    memcpy(key->bytes, &number, sizeof(number));
    key->span = ist_span_of(key->bytes, bytes);
    return &key->span;
}

static enum ist_status try_put(struct ist_store *store, struct ist_span key) {
    struct ist_entry *entry;
    enum ist_status status = ist_store_reserve(store, key, BLOCK, false, &entry);
    if (status == IST_OK) {
        assert_int_equal(ist_store_commit(store, entry, false), IST_OK);
        ist_store_release(store, entry);
    }
    return status;
}

static void put(struct ist_store *store, struct ist_span key) {
    assert_int_equal(try_put(store, key), IST_OK);
}

static bool touch(struct ist_store *store, struct ist_span key) {
    struct ist_entry *entry;
    if (ist_store_acquire(store, key, &entry) != IST_OK) {
        return false;
    }
    ist_store_refresh(store, entry);
    ist_store_release(store, entry);
    return true;
}

/* ---- entries move ----------------------------------------------------------------------------------- */

#define MANY 8000u
#define KEPT_EVERY 50u
#define KEPT (MANY / KEPT_EVERY)

/* Many keys of one length, of which one in fifty stays: chunks full of holes. Writes where each one's block is. */
static void leave_few(struct ist_store *store, uint64_t offsets[KEPT]) {
    struct key key;
    struct ist_entry *entry;
    for (uint64_t i = 0; i < MANY; i++) {
        put(store, *key_make(&key, i, 100));
    }
    for (uint64_t i = 0; i < MANY; i++) {
        key_make(&key, i, 100);
        if (i % KEPT_EVERY != 0) {
            assert_true(ist_store_remove(store, key.span));
        } else {
            assert_int_equal(ist_store_acquire(store, key.span, &entry), IST_OK);
            offsets[i / KEPT_EVERY] = ist_entry_offset(entry);
            ist_store_release(store, entry);
        }
    }
}

/* Puts of keys of another length; all that is idle above the one bound has been given back. */
static void put_others(struct ist_store *store, uint64_t count) {
    struct key key;
    for (uint64_t i = 0; i < count; i++) {
        put(store, *key_make(&key, i, 40));
        if (i % 100 == 0) {
            ist_store_check(store);
        }
    }
}

static void assert_kept(struct ist_store *store, const uint64_t offsets[KEPT]) {
    struct key key;
    struct ist_entry *entry;
    for (uint64_t i = 0; i < KEPT; i++) {
        key_make(&key, i * KEPT_EVERY, 100);
        assert_int_equal(ist_store_acquire(store, key.span, &entry), IST_OK);
        assert_int_equal(ist_entry_offset(entry), offsets[i]);
        assert_int_equal(ist_entry_value_bytes(entry), BLOCK);
        ist_store_release(store, entry);
    }
}

static void test_store_reserve__entries_lie_far_apart__they_move_and_nobody_notices(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_store *store = store_new(&failing, MANY);
    static uint64_t offsets[KEPT];
    leave_few(store, offsets);
    uint64_t before = usage_of(store).metadata_bytes;
    put_others(store, 1000);
    assert_true(usage_of(store).metadata_bytes < before - MANY * 196ull * 3 / 4);
    assert_kept(store, offsets);
    struct key key;
    for (uint64_t i = 0; i < KEPT; i++) { /* the order of their uses has moved along */
        assert_int_equal(ist_store_evict(store, 1), BLOCK);
        bool present;
        key_make(&key, i * KEPT_EVERY, 100);
        assert_int_equal(ist_store_exists(store, &key.span, 1, &present), 0);
    }
    assert_int_equal(usage_of(store).keys, 1000);
    store_end(store, &failing);
}

static void test_store_reserve__far_apart_and_held__they_stay_where_they_are(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_store *store = store_new(&failing, MANY);
    static uint64_t offsets[KEPT];
    static struct ist_entry *held[KEPT];
    leave_few(store, offsets);
    struct key key;
    for (uint64_t i = 0; i < KEPT; i++) {
        key_make(&key, i * KEPT_EVERY, 100);
        assert_int_equal(ist_store_acquire(store, key.span, &held[i]), IST_OK);
    }
    put_others(store, 1000);
    for (uint64_t i = 0; i < KEPT; i++) {
        struct ist_entry *again;
        key_make(&key, i * KEPT_EVERY, 100);
        assert_int_equal(ist_store_acquire(store, key.span, &again), IST_OK);
        assert_ptr_equal(again, held[i]);
        assert_int_equal(ist_entry_offset(held[i]), offsets[i]);
        ist_store_release(store, again);
        ist_store_release(store, held[i]);
    }
    uint64_t before = usage_of(store).metadata_bytes;
    put_others(store, 1000);
    assert_true(usage_of(store).metadata_bytes < before); /* now they could move */
    assert_kept(store, offsets);
    store_end(store, &failing);
}

static void test_store_reserve__no_memory_for_a_move__nothing_is_lost(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_store *store = store_new(&failing, MANY);
    static uint64_t offsets[KEPT];
    leave_few(store, offsets);
    struct key key;
    uint64_t random = 1, count = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        failing.fail_at = failing.calls + random_below(&random, 3);
        enum ist_status status = try_put(store, *key_make(&key, i, 40));
        assert_true(status == IST_OK || status == IST_NO_MEMORY);
        count += status == IST_OK;
        if (i % 16 == 0) {
            ist_store_check(store);
        }
    }
    failing.fail_at = 0;
    assert_int_equal(usage_of(store).keys, KEPT + count);
    assert_kept(store, offsets);
    store_end(store, &failing);
}

/* ---- the price -------------------------------------------------------------------------------------- */

#define LENGTHS 9u

static double share_of(const struct ist_store *store) {
    struct ist_store_usage usage = usage_of(store);
    return (double)usage.metadata_bytes / (double)usage.pool_bytes;
}

/* The lengths of keys are others with each time that the pool has been filled. */
static struct ist_span key_of_put(struct key *key, uint64_t put, uint64_t blocks) {
    size_t bytes = 16 + put / blocks * 16 + put * 7 % 8;
    return *key_make(key, put, bytes);
}

/* A full pool. One key in a hundred is used again and again, and so stays in its chunk when all around it go. */
static double worst_share(uint64_t blocks) {
    struct failing_alloc failing;
    struct ist_store *store = store_new(&failing, blocks);
    double worst = 0;
    struct key key;
    for (uint64_t i = 0; i < LENGTHS * blocks; i++) {
        put(store, key_of_put(&key, i, blocks));
        if (i % (blocks / 4) == 0) {
            for (uint64_t k = 0; k <= i; k += 100) {
                assert_true(touch(store, key_of_put(&key, k, blocks)));
            }
        }
        double share = share_of(store);
        worst = share > worst ? share : worst;
    }
    ist_store_purge(store);
    store_end(store, &failing);
    return worst;
}

static void test_usage__keys_of_many_lengths_that_shift__metadata_below_one_percent(void **state) {
    (void)state;
    bool brief = getenv("IST_TEST_SHORT") != NULL;
    const uint64_t pools[] = {1024, 8192}; /* 64 MiB, 512 MiB */
    for (size_t i = 0; i < (brief ? 1 : 2); i++) {
        double worst = worst_share(pools[i]);
        print_message("pool of %llu blocks: metadata at worst %.2f%%\n", (unsigned long long)pools[i],
                      100 * worst);
        assert_true(worst < 0.01);
    }
}

static void test_purge__nothing_held__no_memory_of_entries_stays(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_store *store = store_new(&failing, MANY);
    int64_t nothing = failing.live;
    struct key key;
    struct ist_entry *held;
    for (uint64_t i = 0; i < MANY; i++) {
        put(store, *key_make(&key, i, 8 + i % 1000));
    }
    ist_store_purge(store);
    assert_int_equal(failing.live, nothing);
    for (uint64_t i = 0; i < MANY; i++) {
        put(store, *key_make(&key, i, 8 + i % 2));
    }
    assert_int_equal(ist_store_acquire(store, *key_make(&key, 0, 8), &held), IST_OK);
    ist_store_purge(store);
    assert_int_equal(failing.live, nothing + 1); /* the chunk of the one that is held */
    ist_store_release(store, held);
    assert_int_equal(failing.live, nothing);
    store_end(store, &failing);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_reserve__entries_lie_far_apart__they_move_and_nobody_notices),
        cmocka_unit_test(test_store_reserve__far_apart_and_held__they_stay_where_they_are),
        cmocka_unit_test(test_store_reserve__no_memory_for_a_move__nothing_is_lost),
        cmocka_unit_test(test_usage__keys_of_many_lengths_that_shift__metadata_below_one_percent),
        cmocka_unit_test(test_purge__nothing_held__no_memory_of_entries_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

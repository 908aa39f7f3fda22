/* store against a deliberately naive twin: arrays, linear search, a map of granules. The twin says before each call
 * what it will answer, who goes for it, and what is held where afterwards; and no byte of a value may change
 * while somebody could read it. Only one choice is the store's own: where it makes room when the oldest lie in
 * pieces. There the twin looks what went, and judges it. */
#include "tests/replay.h"

#include "infinistore/limits.h"
#include "store/store.h"

#define GRANULE 512u
#define UNIT 4u /* granules of the smallest block */
#define GRANULES_MAX 8192u
#define ENTRIES_MAX 4096u
#define KEYS_MAX 3000u
#define HOLDS_MAX 64u

enum twin_state { NONE, RESERVED, COMMITTED, DOOMED };

struct twin_entry {
    enum twin_state state;
    unsigned key;
    uint64_t tag; /* no two values have the same */
    uint64_t bytes;
    size_t start, granules;
    unsigned pins;
    bool aside; /* found pinned when a victim was wanted */
};

struct hold { /* a writer's or a reader's */
    size_t entry;
    struct ist_entry *handle;
};

struct twin {
    struct failing_alloc failing;
    struct ist_store *store;
    uint8_t pool[GRANULES_MAX * GRANULE];
    size_t granules, granules_max, value_max;
    unsigned keys, holds_max;
    struct twin_entry entries[ENTRIES_MAX];
    size_t used;                        /* entries beyond have never been */
    size_t order[ENTRIES_MAX], ordered; /* committed and not aside; [0] goes next */
    struct hold holds[HOLDS_MAX];
    size_t held;
    uint64_t tags, evicted, evicted_granules;
    uint8_t map[GRANULES_MAX]; /* 0 free, 1 could go, 2 held */
};

/* ---- values ------------------------------------------------------------------------------------------- */

/* A word at the start of each granule, and the last byte, tell whose they are. */
static void value_write(struct twin *twin, const struct twin_entry *entry) {
    uint8_t *value = twin->pool + entry->start * GRANULE;
    for (uint64_t at = 0; at < entry->bytes; at += GRANULE) {
        memcpy(value + at, &entry->tag, entry->bytes - at < 8 ? entry->bytes - at : 8);
    }
    value[entry->bytes - 1] = (uint8_t)entry->tag;
}

static void value_check(const struct twin *twin, const struct twin_entry *entry) {
    const uint8_t *value = twin->pool + entry->start * GRANULE;
    for (uint64_t at = 0; at + 8 < entry->bytes; at += GRANULE) {
        assert_memory_equal(value + at, &entry->tag, 8);
    }
    assert_int_equal(value[entry->bytes - 1], (uint8_t)entry->tag);
}

/* Some are as long as keys may be, and no two are equal. */
static struct ist_span key_span(unsigned number, uint8_t bytes[IST_KEY_BYTES_MAX]) {
    size_t length = number % 50 == 49 ? IST_KEY_BYTES_MAX : 4 + number % 40;
    memset(bytes, 'k', length);
    memcpy(bytes + length - 4, &number, 4);
    return ist_span_of(bytes, length);
}

/* ---- the twin's own mind ------------------------------------------------------------------------------ */

static void map_draw(struct twin *twin) {
    memset(twin->map, 0, twin->granules);
    for (size_t i = 0; i < twin->used; i++) {
        const struct twin_entry *entry = &twin->entries[i];
        for (size_t k = 0; entry->state != NONE && k < entry->granules; k++) {
            assert_int_equal(twin->map[entry->start + k], 0); /* nothing is handed out twice */
            twin->map[entry->start + k] = entry->state == COMMITTED && entry->pins == 0 ? 1 : 2;
        }
    }
}

/* The longest stretch in which nothing is above `mark`. */
static size_t map_longest(const struct twin *twin, uint8_t mark) {
    size_t longest = 0, run = 0;
    for (size_t i = 0; i < twin->granules; i++) {
        run = twin->map[i] <= mark ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static struct twin_entry *twin_find(struct twin *twin, unsigned key) {
    for (size_t i = 0; i < twin->used; i++) {
        if (twin->entries[i].state == COMMITTED && twin->entries[i].key == key) {
            return &twin->entries[i];
        }
    }
    return NULL;
}

static size_t index_of(const struct twin *twin, const struct twin_entry *entry) {
    return (size_t)(entry - twin->entries);
}

static void order_remove(struct twin *twin, const struct twin_entry *entry) {
    for (size_t i = 0; i < twin->ordered; i++) {
        if (twin->order[i] == index_of(twin, entry)) {
            twin->ordered--;
            memmove(&twin->order[i], &twin->order[i + 1], (twin->ordered - i) * sizeof(twin->order[0]));
            return;
        }
    }
    assert_true(entry->aside);
}

static void order_insert(struct twin *twin, const struct twin_entry *entry, bool goes_next) {
    if (goes_next) {
        memmove(&twin->order[1], &twin->order[0], twin->ordered * sizeof(twin->order[0]));
    }
    twin->order[goes_next ? 0 : twin->ordered] = index_of(twin, entry);
    twin->ordered++;
}

static void twin_doom(struct twin *twin, struct twin_entry *entry) {
    order_remove(twin, entry);
    entry->aside = false;
    entry->state = entry->pins > 0 ? DOOMED : NONE;
}

static void twin_evict(struct twin *twin, struct twin_entry *entry) {
    assert_int_equal(entry->pins, 0);
    twin->evicted++;
    twin->evicted_granules += entry->granules;
    twin_doom(twin, entry);
}

/* The oldest without a pin goes; those with one that are older are put aside. Returns its granules; 0: none. */
static size_t twin_evict_oldest(struct twin *twin) {
    while (twin->ordered > 0) {
        struct twin_entry *entry = &twin->entries[twin->order[0]];
        if (entry->pins == 0) {
            size_t granules = entry->granules;
            twin_evict(twin, entry);
            return granules;
        }
        order_remove(twin, entry);
        entry->aside = true;
    }
    return 0;
}

static bool store_has(const struct twin *twin, unsigned key) {
    uint8_t bytes[IST_KEY_BYTES_MAX];
    struct ist_span span = key_span(key, bytes);
    bool present;
    ist_store_exists(twin->store, &span, 1, &present);
    return present;
}

/* What went beside the oldest: unpinned, in one stretch, which is no longer than it must be. */
static void twin_follow_window(struct twin *twin, size_t wanted) {
    size_t first = twin->granules, end = 0, largest = 0, gone = 0;
    for (size_t i = 0; i < twin->used; i++) {
        struct twin_entry *entry = &twin->entries[i];
        if (entry->state == COMMITTED && !store_has(twin, entry->key)) {
            first = entry->start < first ? entry->start : first;
            end = entry->start + entry->granules > end ? entry->start + entry->granules : end;
            largest = entry->granules > largest ? entry->granules : largest;
            twin_evict(twin, entry);
            gone++;
        }
    }
    assert_true(gone > 0);
    assert_true(end - first < wanted + 2 * largest);
}

/* Goes through what the store has just gone through to find room. */
static void twin_make_room(struct twin *twin, size_t wanted) {
    size_t evicted = 0;
    map_draw(twin);
    while (map_longest(twin, 0) < wanted) {
        evicted += twin_evict_oldest(twin);
        map_draw(twin);
        if (evicted >= wanted && map_longest(twin, 0) < wanted) {
            twin_follow_window(twin, wanted);
            map_draw(twin);
            assert_true(map_longest(twin, 0) >= wanted);
        }
    }
}

static struct twin_entry *twin_add(struct twin *twin) {
    size_t i = 0;
    while (i < twin->used && twin->entries[i].state != NONE) {
        i++;
    }
    assert_true(i < ENTRIES_MAX);
    twin->used += i == twin->used;
    return &twin->entries[i];
}

static void drop_hold(struct twin *twin, size_t hold) {
    twin->holds[hold] = twin->holds[--twin->held];
}

/* ---- operations --------------------------------------------------------------------------------------- */

static enum ist_status expect_reserve(struct twin *twin, unsigned key, uint64_t bytes, bool if_absent,
                                      bool no_memory, size_t *wanted) {
    if (bytes == 0) {
        return IST_INVALID;
    }
    if (if_absent && twin_find(twin, key) != NULL) {
        return IST_EXISTS;
    }
    *wanted = (bytes - 1) / GRANULE + 1 < UNIT ? UNIT : (size_t)((bytes - 1) / GRANULE + 1);
    if (*wanted > twin->granules_max) {
        return IST_TOO_BIG;
    }
    map_draw(twin);
    if (map_longest(twin, 1) < *wanted) {
        return IST_NO_SPACE;
    }
    return no_memory ? IST_NO_MEMORY : IST_OK;
}

static void do_reserve(struct twin *twin, uint64_t *random) {
    uint8_t bytes[IST_KEY_BYTES_MAX];
    unsigned key = (unsigned)random_below(random, twin->keys);
    uint64_t value_bytes = random_below(random, 40) == 0
                               ? random_below(random, (twin->granules_max + 2) * GRANULE)
                               : 1 + random_below(random, twin->value_max);
    bool if_absent = random_below(random, 4) == 0;
    bool no_memory = random_below(random, 30) == 0;
    if (twin->held == twin->holds_max) {
        return;
    }
    size_t wanted = 0;
    enum ist_status expected = expect_reserve(twin, key, value_bytes, if_absent, no_memory, &wanted);
    struct ist_entry *handle = NULL;
    twin->failing.fail_at = no_memory ? twin->failing.calls + 1 : 0;
    enum ist_status status =
        ist_store_reserve(twin->store, key_span(key, bytes), value_bytes, if_absent, &handle);
    twin->failing.fail_at = 0;
    if (expected == IST_NO_MEMORY && status == IST_OK) {
        expected = IST_OK; /* a place for an entry was left, and no memory asked for */
    }
    assert_int_equal(status, expected);
    if (status != IST_OK) {
        assert_null(handle);
        return;
    }
    twin_make_room(twin, wanted);
    struct twin_entry *entry = twin_add(twin);
    *entry = (struct twin_entry){
        .state = RESERVED,
        .key = key,
        .tag = ++twin->tags * 0x9e3779b97f4a7c15ull,
        .bytes = value_bytes,
        .start = ist_entry_offset(handle) / GRANULE,
        .granules = wanted,
        .pins = 1,
    };
    assert_int_equal(ist_entry_offset(handle) % GRANULE, 0);
    value_write(twin, entry);
    twin->holds[twin->held++] = (struct hold){.entry = index_of(twin, entry), .handle = handle};
}

/* A writer ends, one way or the other. */
static void end_write(struct twin *twin, size_t hold, uint64_t *random) {
    struct twin_entry *entry = &twin->entries[twin->holds[hold].entry];
    struct ist_entry *handle = twin->holds[hold].handle;
    struct twin_entry *old = twin_find(twin, entry->key);
    if (random_below(random, 5) == 0) {
        ist_store_abort(twin->store, handle);
        entry->state = NONE;
        drop_hold(twin, hold);
        return;
    }
    bool if_absent = random_below(random, 3) == 0;
    enum ist_status status = ist_store_commit(twin->store, handle, if_absent);
    assert_int_equal(status, if_absent && old != NULL ? IST_EXISTS : IST_OK);
    if (status == IST_EXISTS) {
        entry->state = NONE;
        drop_hold(twin, hold);
        return;
    }
    if (old != NULL) {
        twin_doom(twin, old);
    }
    entry->state = COMMITTED;
    order_insert(twin, entry, false);
}

/* A reader refreshes, or goes. */
static void end_read(struct twin *twin, size_t hold, uint64_t *random) {
    struct twin_entry *entry = &twin->entries[twin->holds[hold].entry];
    struct ist_entry *handle = twin->holds[hold].handle;
    if (random_below(random, 3) == 0) {
        ist_store_refresh(twin->store, handle);
        if (entry->state == COMMITTED) {
            order_remove(twin, entry);
            entry->aside = false;
            order_insert(twin, entry, false);
        }
        return;
    }
    ist_store_release(twin->store, handle);
    drop_hold(twin, hold);
    if (--entry->pins > 0) {
        return;
    }
    if (entry->state == DOOMED) {
        entry->state = NONE;
    } else if (entry->aside) {
        entry->aside = false;
        order_insert(twin, entry, true);
    }
}

static void do_hold(struct twin *twin, uint64_t *random) {
    if (twin->held > 0) {
        size_t hold = random_below(random, twin->held);
        bool writes = twin->entries[twin->holds[hold].entry].state == RESERVED;
        (writes ? end_write : end_read)(twin, hold, random);
    }
}

static void do_acquire(struct twin *twin, uint64_t *random) {
    uint8_t bytes[IST_KEY_BYTES_MAX];
    unsigned key = (unsigned)random_below(random, twin->keys);
    if (twin->held == twin->holds_max) {
        return;
    }
    struct twin_entry *entry = twin_find(twin, key);
    struct ist_entry *handle = NULL;
    enum ist_status status = ist_store_acquire(twin->store, key_span(key, bytes), &handle);
    assert_int_equal(status, entry == NULL ? IST_NOT_FOUND : IST_OK);
    if (entry != NULL) {
        entry->pins++;
        twin->holds[twin->held++] = (struct hold){.entry = index_of(twin, entry), .handle = handle};
    }
}

static void do_remove(struct twin *twin, uint64_t *random) {
    uint8_t bytes[IST_KEY_BYTES_MAX];
    unsigned key = (unsigned)random_below(random, twin->keys);
    struct twin_entry *entry = twin_find(twin, key);
    assert_int_equal(ist_store_remove(twin->store, key_span(key, bytes)), entry != NULL);
    if (entry != NULL) {
        twin_doom(twin, entry);
    }
}

static void do_purge(struct twin *twin) {
    uint64_t gone = 0;
    for (size_t i = 0; i < twin->used; i++) {
        if (twin->entries[i].state == COMMITTED) {
            twin_doom(twin, &twin->entries[i]);
            gone++;
        }
    }
    assert_int_equal(ist_store_purge(twin->store), gone);
}

static void do_evict(struct twin *twin, uint64_t *random) {
    size_t wanted = random_below(random, twin->granules / 4 + 1), evicted = 0;
    for (size_t more = 1; evicted < wanted && more > 0; evicted += more) {
        more = twin_evict_oldest(twin);
    }
    assert_int_equal(ist_store_evict(twin->store, wanted * GRANULE), evicted * GRANULE);
}

static void do_grow(struct twin *twin, uint64_t *random) {
    size_t more = random_below(random, twin->granules_max / 4 + 1);
    enum ist_status expected = more > twin->granules_max - twin->granules ? IST_INVALID : IST_OK;
    assert_int_equal(ist_store_grow(twin->store, more * GRANULE), expected);
    twin->granules += expected == IST_OK ? more : 0;
}

static void do_match(struct twin *twin, uint64_t *random) {
    enum { COUNT_MAX = 80 };
    static uint8_t bytes[COUNT_MAX][IST_KEY_BYTES_MAX];
    struct ist_span spans[COUNT_MAX];
    bool present[COUNT_MAX];
    size_t count = random_below(random, COUNT_MAX + 1), found = 0, prefix = 0, last = count;
    size_t likely = random_below(random, 3); /* keys that are there, to have long prefixes */
    for (size_t i = 0; i < count; i++) {
        unsigned key = (unsigned)random_below(random, twin->keys);
        if (twin->ordered > 0 && random_below(random, 20) < 10 * likely) {
            key = twin->entries[twin->order[random_below(random, twin->ordered)]].key;
        }
        spans[i] = key_span(key, bytes[i]);
        bool there = twin_find(twin, key) != NULL;
        prefix += prefix == i && there;
        last = there ? i : last;
        found += there;
    }
    assert_int_equal(ist_store_exists(twin->store, spans, count, present), found);
    assert_int_equal(ist_store_match_prefix(twin->store, spans, count), prefix);
    assert_int_equal(ist_store_match_last(twin->store, spans, count), last);
}

/* ---- all of it ------------------------------------------------------------------------------------------ */

static void compare(struct twin *twin) {
    struct ist_store_usage usage;
    size_t granules[DOOMED + 1] = {0};
    uint64_t value_bytes = 0, keys = 0, pinned = 0;
    for (size_t i = 0; i < twin->used; i++) {
        const struct twin_entry *entry = &twin->entries[i];
        if (entry->state == NONE) {
            continue;
        }
        value_check(twin, entry);
        granules[entry->state] += entry->granules;
        value_bytes += entry->state == COMMITTED ? entry->bytes : 0;
        keys += entry->state == COMMITTED;
        pinned += entry->pins > 0;
    }
    map_draw(twin);
    ist_store_usage(twin->store, &usage);
    size_t taken = granules[RESERVED] + granules[COMMITTED] + granules[DOOMED];
    assert_int_equal(usage.pool_bytes, twin->granules * GRANULE);
    assert_int_equal(usage.pool_bytes_max, twin->granules_max * GRANULE);
    assert_int_equal(usage.free_bytes, (twin->granules - taken) * GRANULE);
    assert_int_equal(usage.reserved_bytes, granules[RESERVED] * GRANULE);
    assert_int_equal(usage.committed_bytes, granules[COMMITTED] * GRANULE);
    assert_int_equal(usage.doomed_bytes, granules[DOOMED] * GRANULE);
    assert_int_equal(usage.largest_free_bytes, map_longest(twin, 0) * GRANULE);
    assert_int_equal(usage.value_bytes, value_bytes);
    assert_int_equal(usage.keys, keys);
    assert_int_equal(usage.pinned_entries, pinned);
    assert_int_equal(usage.evicted_entries, twin->evicted);
    assert_int_equal(usage.evicted_bytes, twin->evicted_granules * GRANULE);
    for (size_t i = 0; i < twin->held; i++) {
        const struct twin_entry *entry = &twin->entries[twin->holds[i].entry];
        assert_int_equal(ist_entry_offset(twin->holds[i].handle), entry->start * GRANULE);
        assert_int_equal(ist_entry_value_bytes(twin->holds[i].handle), entry->bytes);
    }
    for (unsigned key = 0; key < twin->keys; key++) {
        assert_int_equal(store_has(twin, key), twin_find(twin, key) != NULL);
    }
}

static void step(struct twin *twin, uint64_t *random) {
    uint64_t dice = random_below(random, 1000);
    if (dice < 330) {
        do_reserve(twin, random);
    } else if (dice < 720) {
        do_hold(twin, random);
    } else if (dice < 880) {
        do_acquire(twin, random);
    } else if (dice < 920) {
        do_remove(twin, random);
    } else if (dice < 970) {
        do_match(twin, random);
    } else if (dice < 985) {
        do_evict(twin, random);
    } else if (dice < 996) {
        do_grow(twin, random);
    } else {
        do_purge(twin);
    }
}

static void twin_init(struct twin *twin, size_t granules_max, uint64_t *random) {
    memset(twin, 0, offsetof(struct twin, map));
    failing_alloc_init(&twin->failing, 0);
    twin->granules_max = granules_max;
    twin->granules = granules_max - random_below(random, granules_max);
    twin->holds_max = (unsigned)(1 + random_below(random, HOLDS_MAX));
    struct ist_store_config config = {
        .pool_bytes_max = granules_max * GRANULE,
        .min_block_bytes = UNIT * GRANULE,
        .granule_bytes = GRANULE,
        .hash_key = {.k0 = random_next(random)},
        .alloc = &twin->failing.alloc,
    };
    assert_int_equal(ist_store_new(&config, &twin->store), IST_OK);
    assert_int_equal(ist_store_grow(twin->store, twin->granules * GRANULE), IST_OK);
}

/* Who held something lets go; then all comes back. */
static void twin_fini(struct twin *twin, uint64_t *random) {
    while (twin->held > 0) {
        do_hold(twin, random);
    }
    compare(twin);
    do_purge(twin);
    compare(twin);
    ist_store_check(twin->store);
    ist_store_free(twin->store);
    assert_int_equal(twin->failing.live, 0);
}

static void run(size_t granules_max, size_t value_max, unsigned keys, unsigned steps, unsigned every,
                uint64_t *random) {
    static struct twin twin;
    twin_init(&twin, granules_max, random);
    twin.value_max = value_max;
    twin.keys = keys;
    for (unsigned i = 0; i < steps; i++) {
        step(&twin, random);
        if (i % every == 0) {
            compare(&twin);
        }
        ist_store_check(twin.store);
    }
    twin_fini(&twin, random);
}

static void compare_equal_blocks(uint64_t seed) {
    uint64_t random = seed;
    size_t blocks = 1 + random_below(&random, 40);
    unsigned keys = 1 + (unsigned)random_below(&random, 2 * blocks);
    run(blocks * UNIT, UNIT * GRANULE, keys, 500, 1, &random);
}

static void compare_mixed_blocks(uint64_t seed) {
    uint64_t random = seed;
    size_t granules = 40 + random_below(&random, 400);
    unsigned keys = 1 + (unsigned)random_below(&random, 120);
    run(granules, 1 + random_below(&random, granules * GRANULE / 3), keys, 500, 1, &random);
}

static void compare_large_pool(uint64_t seed) {
    uint64_t random = seed;
    run(GRANULES_MAX, UNIT * GRANULE * (1 + random_below(&random, 3)), KEYS_MAX, 8000, 500, &random);
}

static uint64_t seeds(uint64_t count) {
    return getenv("IST_TEST_SHORT") == NULL ? count : count / 20 + 1;
}

static void test_store__equal_blocks__agrees_with_its_twin(void **state) {
    (void)state;
    replay_seeds(seeds(200), compare_equal_blocks);
}

static void test_store__mixed_blocks__agrees_with_its_twin(void **state) {
    (void)state;
    replay_seeds(seeds(200), compare_mixed_blocks);
}

static void test_store__large_pool__agrees_with_its_twin(void **state) {
    (void)state;
    replay_seeds(seeds(4), compare_large_pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_store__equal_blocks__agrees_with_its_twin, replay_teardown),
        cmocka_unit_test_teardown(test_store__mixed_blocks__agrees_with_its_twin, replay_teardown),
        cmocka_unit_test_teardown(test_store__large_pool__agrees_with_its_twin, replay_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

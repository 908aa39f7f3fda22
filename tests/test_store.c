/* store: the life of an entry, who finds it, and what it leaves behind. What goes for want of room has
 * test_store_evict.c, random operations have test_store_model.c. */
#include "tests/shelf.h"

#include "infinistore/limits.h"

/* ---- new ------------------------------------------------------------------------------------------ */

static void test_store_new__wrong_arguments__says_which(void **state) {
    (void)state;
    struct shelf shelf = {0};
    failing_alloc_init(&shelf.failing, 0);
    struct ist_store *store = NULL;
    struct ist_store_config config = shelf_config(&shelf, 10 * SHELF_BLOCK);
    config.min_block_bytes = 3000;
    assert_int_equal(ist_store_new(&config, &store), IST_INVALID);
    config = shelf_config(&shelf, 10 * SHELF_BLOCK);
    config.granule_bytes = 0;
    assert_int_equal(ist_store_new(&config, &store), IST_INVALID);
    config = shelf_config(&shelf, SHELF_BLOCK - 1); /* no block would ever fit */
    assert_int_equal(ist_store_new(&config, &store), IST_INVALID);
    config = shelf_config(&shelf, 10 * SHELF_BLOCK);
    config.policy = "oracle";
    assert_int_equal(ist_store_new(&config, &store), IST_CONFIG);
    assert_null(store);
    assert_int_equal(shelf.failing.live, 0);
    ist_store_free(NULL);
}

static void test_store_new__limit_no_multiple_of_the_granule__rounded_down(void **state) {
    (void)state;
    struct shelf shelf = {0};
    failing_alloc_init(&shelf.failing, 0);
    struct ist_store_config config = shelf_config(&shelf, SHELF_BLOCK + SHELF_GRANULE + 1);
    config.policy = "lru";
    assert_int_equal(ist_store_new(&config, &shelf.store), IST_OK);
    assert_int_equal(shelf_usage(&shelf).pool_bytes_max, SHELF_BLOCK + SHELF_GRANULE);
    assert_int_equal(ist_store_grow(shelf.store, SHELF_BLOCK + SHELF_GRANULE), IST_OK);
    ist_store_free(shelf.store);
}

static void test_store_new__nth_allocation_fails__no_memory_and_no_leak(void **state) {
    (void)state;
    uint64_t nth = 1;
    for (enum ist_status status = IST_NO_MEMORY; status != IST_OK; nth++) {
        struct shelf shelf = {0};
        failing_alloc_init(&shelf.failing, nth);
        struct ist_store_config config = shelf_config(&shelf, SHELF_BLOCK);
        status = ist_store_new(&config, &shelf.store);
        if (status == IST_OK) {
            ist_store_free(shelf.store);
        } else {
            assert_int_equal(status, IST_NO_MEMORY);
        }
        assert_int_equal(shelf.failing.live, 0);
    }
    assert_true(nth > 6); /* itself, the pool, the index, the policy and their parts */
}

static void test_store_free__with_entries__takes_them_along(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abcd");
    shelf_fini(&shelf); /* counts what is live */
}

/* ---- reserve, commit, abort ------------------------------------------------------------------------- */

static void test_store_reserve__limits_of_key_and_value__invalid_or_too_big(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    char longest[IST_KEY_BYTES_MAX + 1];
    memset(longest, 'k', sizeof(longest));
    struct ist_entry *entry = NULL;
    struct ist_store *store = shelf.store;
    struct ist_span key = key_of("k");
    assert_int_equal(ist_store_reserve(store, ist_span_of(NULL, 0), 1, false, &entry), IST_INVALID);
    assert_int_equal(ist_store_reserve(store, ist_span_of(longest, sizeof(longest)), 1, false, &entry),
                     IST_INVALID);
    assert_int_equal(ist_store_reserve(store, key, 0, false, &entry), IST_INVALID);
    assert_int_equal(ist_store_reserve(store, key, 4 * SHELF_BLOCK + 1, false, &entry), IST_TOO_BIG);
    assert_int_equal(ist_store_reserve(store, key, UINT64_MAX, false, &entry), IST_TOO_BIG);
    assert_int_equal(ist_store_reserve(store, key, UINT64_MAX - SHELF_BLOCK, false, &entry),
                     IST_TOO_BIG);
    assert_null(entry);
    shelf_check(&shelf);
    shelf_put(&shelf, "k", 'k', 4 * SHELF_BLOCK);
    assert_true(shelf_holds(&shelf, "k", 'k'));
    struct ist_span span = ist_span_of(longest, IST_KEY_BYTES_MAX);
    assert_int_equal(ist_store_reserve(store, span, 1, false, &entry), IST_OK);
    assert_int_equal(shelf_commit(&shelf, entry, false), IST_OK);
    shelf_release(&shelf, entry);
    assert_true(ist_store_remove(store, span));
    shelf_fini(&shelf);
}

static void test_store_reserve__not_committed__nobody_finds_it(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    struct ist_entry *writer = shelf_reserved(&shelf, "a", 'a', 100);
    struct ist_span key = key_of("a");
    assert_false(shelf_has(&shelf, "a"));
    assert_null(shelf_acquire(&shelf, "a"));
    assert_int_equal(ist_store_match_prefix(shelf.store, &key, 1), 0);
    assert_int_equal(ist_store_match_last(shelf.store, &key, 1), 1);
    assert_false(shelf_remove(&shelf, "a"));
    assert_int_equal(shelf_purge(&shelf), 0);
    assert_int_equal(ist_store_evict(shelf.store, UINT64_MAX), 0);
    struct ist_store_usage usage = shelf_usage(&shelf);
    assert_int_equal(usage.reserved_bytes, SHELF_BLOCK);
    assert_int_equal(usage.keys, 0);
    assert_int_equal(usage.pinned_entries, 1);
    assert_int_equal(shelf_commit(&shelf, writer, false), IST_OK);
    assert_true(shelf_holds(&shelf, "a", 'a'));
    shelf_release(&shelf, writer);
    shelf_fini(&shelf);
}

static void test_store_abort__first_or_later_value__leaves_no_trace(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    uint64_t nothing = shelf_usage(&shelf).metadata_bytes;
    shelf_abort(&shelf, shelf_reserved(&shelf, "a", 'x', 100));
    assert_false(shelf_has(&shelf, "a"));
    assert_int_equal(shelf_usage(&shelf).free_bytes, 4 * SHELF_BLOCK);
    assert_int_equal(shelf_usage(&shelf).metadata_bytes, nothing);
    shelf_put(&shelf, "a", 'a', 100);
    shelf_abort(&shelf, shelf_reserved(&shelf, "a", 'x', 200));
    assert_true(shelf_holds(&shelf, "a", 'a'));
    assert_int_equal(shelf_usage(&shelf).free_bytes, 3 * SHELF_BLOCK);
    shelf_fini(&shelf);
}

static void test_store_commit__two_writers_of_one_key__the_later_commit_wins(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    struct ist_entry *first = shelf_reserved(&shelf, "a", '1', 100);
    struct ist_entry *second = shelf_reserved(&shelf, "a", '2', 200);
    struct ist_entry *third = shelf_reserved(&shelf, "a", '3', 300);
    assert_int_equal(shelf_commit(&shelf, second, false), IST_OK);
    assert_true(shelf_holds(&shelf, "a", '2'));
    assert_int_equal(shelf_commit(&shelf, first, false), IST_OK);
    assert_true(shelf_holds(&shelf, "a", '1'));
    assert_int_equal(shelf_usage(&shelf).doomed_bytes, SHELF_BLOCK); /* its writer still holds it */
    assert_true(shelf_reads(&shelf, second, '2'));
    shelf_release(&shelf, second);
    shelf_abort(&shelf, third);
    assert_true(shelf_holds(&shelf, "a", '1'));
    shelf_release(&shelf, first);
    assert_int_equal(shelf_usage(&shelf).free_bytes, 3 * SHELF_BLOCK);
    assert_int_equal(shelf_usage(&shelf).value_bytes, 100);
    shelf_fini(&shelf);
}

static void test_store_commit__if_absent_races__the_first_commit_wins(void **state) {
    (void)state;
    struct shelf shelf;
    struct ist_entry *first, *second, *late;
    shelf_init(&shelf, 4);
    assert_int_equal(shelf_reserve(&shelf, "a", '1', 100, true, &first), IST_OK);
    assert_int_equal(shelf_reserve(&shelf, "a", '2', 100, true, &second), IST_OK);
    assert_int_equal(shelf_commit(&shelf, second, true), IST_OK);
    assert_int_equal(shelf_commit(&shelf, first, true), IST_EXISTS); /* and it is gone */
    assert_int_equal(shelf_reserve(&shelf, "a", '3', 100, true, &late), IST_EXISTS);
    assert_true(shelf_holds(&shelf, "a", '2'));
    assert_int_equal(shelf_usage(&shelf).free_bytes, 3 * SHELF_BLOCK);
    shelf_release(&shelf, second);
    /* Removed between reserve and commit: absent it is. */
    shelf_remove(&shelf, "a");
    assert_int_equal(shelf_reserve(&shelf, "a", '4', 100, true, &late), IST_OK);
    shelf_put(&shelf, "a", '5', 100);
    shelf_remove(&shelf, "a");
    assert_int_equal(shelf_commit(&shelf, late, true), IST_OK);
    assert_true(shelf_holds(&shelf, "a", '4'));
    shelf_release(&shelf, late);
    /* A writer that overwrites does not care. */
    shelf_put(&shelf, "a", '6', 100);
    assert_true(shelf_holds(&shelf, "a", '6'));
    shelf_fini(&shelf);
}

static void test_store_reserve__if_absent_and_there__costs_nothing(void **state) {
    (void)state;
    struct shelf shelf;
    struct ist_entry *entry = NULL;
    shelf_init(&shelf, 2);
    shelf_put_letters(&shelf, "ab"); /* full: room would have to be made */
    uint64_t calls = shelf.failing.calls;
    assert_int_equal(shelf_reserve(&shelf, "b", 'x', 100, true, &entry), IST_EXISTS);
    assert_null(entry);
    assert_int_equal(shelf.failing.calls, calls);
    shelf_assert_letters(&shelf, "ab");
    shelf_fini(&shelf);
}

static void test_store_commit__its_pin__holds_until_it_is_given_back(void **state) {
    (void)state;
    struct shelf shelf;
    struct ist_entry *entry = NULL;
    shelf_init(&shelf, 1);
    struct ist_entry *writer = shelf_reserved(&shelf, "a", 'a', 100);
    assert_int_equal(shelf_reserve(&shelf, "b", 'b', 100, false, &entry), IST_NO_SPACE);
    assert_int_equal(shelf_commit(&shelf, writer, false), IST_OK);
    assert_int_equal(shelf_reserve(&shelf, "b", 'b', 100, false, &entry), IST_NO_SPACE);
    shelf_release(&shelf, writer);
    shelf_put(&shelf, "b", 'b', 100);
    shelf_assert_letters(&shelf, "b");
    shelf_fini(&shelf);
}

/* ---- readers ---------------------------------------------------------------------------------------- */

static void test_store_acquire__absent_or_impossible_key__not_found(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 2);
    shelf_put(&shelf, "a", 'a', 1);
    static const char longest[IST_KEY_BYTES_MAX + 1];
    struct ist_entry *entry = NULL;
    assert_null(shelf_acquire(&shelf, "b"));
    assert_int_equal(ist_store_acquire(shelf.store, ist_span_of(NULL, 0), &entry), IST_NOT_FOUND);
    assert_int_equal(ist_store_acquire(shelf.store, ist_span_of(longest, sizeof(longest)), &entry),
                     IST_NOT_FOUND);
    assert_null(entry);
    assert_int_equal(shelf_usage(&shelf).pinned_entries, 0);
    shelf_fini(&shelf);
}

static void test_store_acquire__several_times__one_entry_until_the_last_pin(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 2);
    shelf_put(&shelf, "a", 'a', 5000); /* both blocks */
    struct ist_entry *first = shelf_acquire(&shelf, "a");
    struct ist_entry *second = shelf_acquire(&shelf, "a");
    assert_ptr_equal(first, second);
    assert_int_equal(shelf_usage(&shelf).pinned_entries, 1);
    assert_true(shelf_remove(&shelf, "a"));
    shelf_release(&shelf, first);
    assert_int_equal(shelf_usage(&shelf).doomed_bytes, 5120);
    assert_true(shelf_reads(&shelf, second, 'a'));
    shelf_release(&shelf, second);
    assert_int_equal(shelf_usage(&shelf).free_bytes, 2 * SHELF_BLOCK);
    shelf_fini(&shelf);
}

static void test_store_commit__over_a_value_that_is_read__readers_keep_the_old_bytes(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put(&shelf, "a", '1', 3000);
    struct ist_entry *reader = shelf_acquire(&shelf, "a");
    struct ist_entry *writer = shelf_reserved(&shelf, "a", '2', 3000);
    assert_true(shelf_reads(&shelf, reader, '1'));
    assert_true(shelf_holds(&shelf, "a", '1'));
    assert_int_equal(shelf_commit(&shelf, writer, false), IST_OK);
    shelf_release(&shelf, writer);
    assert_true(shelf_reads(&shelf, reader, '1'));
    assert_true(shelf_holds(&shelf, "a", '2'));
    /* Nothing that comes now gets the old block. */
    shelf_put(&shelf, "b", 'b', SHELF_BLOCK);
    shelf_put(&shelf, "c", 'c', SHELF_BLOCK);
    shelf_put(&shelf, "d", 'd', SHELF_BLOCK);
    assert_true(shelf_reads(&shelf, reader, '1'));
    shelf_refresh(&shelf, reader); /* it is nothing to be refreshed any more */
    assert_int_equal(shelf_usage(&shelf).doomed_bytes, SHELF_BLOCK);
    shelf_release(&shelf, reader);
    assert_int_equal(shelf_usage(&shelf).doomed_bytes, 0);
    shelf_fini(&shelf);
}

static void test_store_remove__while_it_is_read__a_new_value_is_another_entry(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    assert_false(shelf_remove(&shelf, "a"));
    shelf_put(&shelf, "a", '1', 3000);
    struct ist_entry *reader = shelf_acquire(&shelf, "a");
    assert_true(shelf_remove(&shelf, "a"));
    assert_false(shelf_remove(&shelf, "a"));
    assert_false(shelf_has(&shelf, "a"));
    shelf_put(&shelf, "a", '2', 3000);
    assert_true(shelf_reads(&shelf, reader, '1'));
    shelf_release(&shelf, reader);
    assert_true(shelf_holds(&shelf, "a", '2'));
    assert_true(shelf_remove(&shelf, "a"));
    assert_int_equal(shelf_usage(&shelf).free_bytes, 4 * SHELF_BLOCK);
    shelf_fini(&shelf);
}

static void test_store_remove__while_it_is_reserved__only_the_old_value_goes(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put(&shelf, "a", '1', 100);
    struct ist_entry *writer = shelf_reserved(&shelf, "a", '2', 100);
    assert_true(shelf_remove(&shelf, "a"));
    assert_false(shelf_has(&shelf, "a"));
    assert_int_equal(shelf_commit(&shelf, writer, false), IST_OK);
    assert_true(shelf_holds(&shelf, "a", '2'));
    shelf_release(&shelf, writer);
    shelf_fini(&shelf);
}

static void test_store_purge__some_read_some_reserved__those_outlive_it(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 8);
    shelf_put_letters(&shelf, "abcd");
    struct ist_entry *reader = shelf_acquire(&shelf, "b");
    struct ist_entry *writer = shelf_reserved(&shelf, "c", 'C', 100);
    assert_int_equal(shelf_purge(&shelf), 4);
    shelf_assert_letters(&shelf, "");
    struct ist_store_usage usage = shelf_usage(&shelf);
    assert_int_equal(usage.free_bytes, 6 * SHELF_BLOCK);
    assert_int_equal(usage.doomed_bytes, SHELF_BLOCK);
    assert_int_equal(usage.reserved_bytes, SHELF_BLOCK);
    assert_int_equal(usage.value_bytes, 0);
    assert_int_equal(shelf_purge(&shelf), 0);
    assert_true(shelf_reads(&shelf, reader, 'b'));
    assert_int_equal(shelf_commit(&shelf, writer, false), IST_OK);
    assert_true(shelf_holds(&shelf, "c", 'C'));
    shelf_release(&shelf, reader);
    shelf_release(&shelf, writer);
    assert_int_equal(shelf_purge(&shelf), 1);
    assert_int_equal(shelf_usage(&shelf).free_bytes, 8 * SHELF_BLOCK);
    assert_int_equal(shelf_usage(&shelf).largest_free_bytes, 8 * SHELF_BLOCK);
    shelf_fini(&shelf);
}

/* A purge is no eviction: it is not counted as one. */
static void test_store_purge__very_many__all_gone_and_room_for_as_many(void **state) {
    (void)state;
    struct shelf shelf;
    enum { COUNT = 3000 };
    shelf_init(&shelf, COUNT);
    uint64_t empty = shelf_usage(&shelf).metadata_bytes;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            struct ist_entry *entry;
            struct ist_span key = ist_span_of(&i, sizeof(i));
            assert_int_equal(ist_store_reserve(shelf.store, key, 100, false, &entry), IST_OK);
            assert_int_equal(ist_store_commit(shelf.store, entry, false), IST_OK);
            ist_store_release(shelf.store, entry);
        }
        assert_int_equal(shelf_usage(&shelf).keys, COUNT);
        assert_int_equal(shelf_purge(&shelf), COUNT);
        assert_int_equal(shelf_usage(&shelf).evicted_entries, 0);
        assert_true(shelf_usage(&shelf).metadata_bytes <= empty + 1024);
    }
    shelf_put_letters(&shelf, "abc"); /* so few that they are looked for in another way */
    struct ist_entry *reader = shelf_acquire(&shelf, "b");
    assert_int_equal(shelf_purge(&shelf), 3);
    assert_true(shelf_reads(&shelf, reader, 'b'));
    shelf_release(&shelf, reader);
    shelf_fini(&shelf);
}

/* ---- presence --------------------------------------------------------------------------------------- */

#define MATCH_KEYS 100 /* several of the batches in which the index looks */

struct matched {
    uint8_t numbers[MATCH_KEYS];
    struct ist_span keys[MATCH_KEYS];
};

static void matched_init(struct matched *matched) {
    for (uint8_t i = 0; i < MATCH_KEYS; i++) {
        matched->numbers[i] = i;
        matched->keys[i] = ist_span_of(&matched->numbers[i], 1);
    }
}

static void put_span(struct shelf *shelf, struct ist_span key) {
    struct ist_entry *entry;
    assert_int_equal(ist_store_reserve(shelf->store, key, 1, false, &entry), IST_OK);
    assert_int_equal(ist_store_commit(shelf->store, entry, false), IST_OK);
    ist_store_release(shelf->store, entry);
}

static void test_store_match__one_hole_anywhere__exact(void **state) {
    (void)state;
    struct shelf shelf;
    struct matched matched;
    bool present[MATCH_KEYS];
    shelf_init(&shelf, MATCH_KEYS);
    matched_init(&matched);
    for (size_t i = 0; i < MATCH_KEYS; i++) {
        put_span(&shelf, matched.keys[i]);
    }
    assert_int_equal(ist_store_match_prefix(shelf.store, matched.keys, MATCH_KEYS), MATCH_KEYS);
    assert_int_equal(ist_store_match_last(shelf.store, matched.keys, MATCH_KEYS), MATCH_KEYS - 1);
    for (size_t hole = 0; hole < MATCH_KEYS; hole++) {
        assert_true(ist_store_remove(shelf.store, matched.keys[hole]));
        assert_int_equal(ist_store_match_prefix(shelf.store, matched.keys, MATCH_KEYS), hole);
        size_t last = hole == MATCH_KEYS - 1 ? MATCH_KEYS - 2 : MATCH_KEYS - 1;
        assert_int_equal(ist_store_match_last(shelf.store, matched.keys, MATCH_KEYS), last);
        size_t found = ist_store_exists(shelf.store, matched.keys, MATCH_KEYS, present);
        assert_int_equal(found, MATCH_KEYS - 1);
        for (size_t i = 0; i < MATCH_KEYS; i++) {
            assert_int_equal(present[i], i != hole);
        }
        put_span(&shelf, matched.keys[hole]);
    }
    shelf_check(&shelf);
    shelf_fini(&shelf);
}

static void test_store_match__one_key_anywhere__exact(void **state) {
    (void)state;
    struct shelf shelf;
    struct matched matched;
    shelf_init(&shelf, MATCH_KEYS);
    matched_init(&matched);
    assert_int_equal(ist_store_match_last(shelf.store, matched.keys, MATCH_KEYS), MATCH_KEYS);
    for (size_t only = 0; only < MATCH_KEYS; only++) {
        put_span(&shelf, matched.keys[only]);
        assert_int_equal(ist_store_match_prefix(shelf.store, matched.keys, MATCH_KEYS), only == 0);
        assert_int_equal(ist_store_match_last(shelf.store, matched.keys, MATCH_KEYS), only);
        for (size_t count = 0; count <= MATCH_KEYS; count++) { /* and the keys behind do not count */
            size_t last = ist_store_match_last(shelf.store, matched.keys, count);
            assert_int_equal(last, only < count ? only : count);
        }
        assert_true(ist_store_remove(shelf.store, matched.keys[only]));
    }
    shelf_fini(&shelf);
}

static void test_store_presence__none_equal_and_impossible_keys__answered(void **state) {
    (void)state;
    struct shelf shelf;
    static const char longest[IST_KEY_BYTES_MAX + 1];
    bool present[4];
    shelf_init(&shelf, 4);
    shelf_put(&shelf, "a", 'a', 1);
    struct ist_span keys[] = {key_of("a"), ist_span_of(NULL, 0), ist_span_of(longest, sizeof(longest)),
                              key_of("a")};
    assert_int_equal(ist_store_exists(shelf.store, keys, 0, present), 0);
    assert_int_equal(ist_store_match_prefix(shelf.store, keys, 0), 0);
    assert_int_equal(ist_store_match_last(shelf.store, keys, 0), 0);
    assert_int_equal(ist_store_exists(shelf.store, keys, 4, present), 2);
    assert_true(present[0] && !present[1] && !present[2] && present[3]);
    assert_int_equal(ist_store_match_prefix(shelf.store, keys, 4), 1);
    assert_int_equal(ist_store_match_last(shelf.store, keys, 4), 3);
    assert_int_equal(shelf_usage(&shelf).pinned_entries, 0);
    shelf_fini(&shelf);
}

/* ---- memory ------------------------------------------------------------------------------------------- */

/* One of everything. A reservation that fails must have changed nothing. */
static bool live_a_life(struct shelf *shelf) {
    bool failed = false;
    for (uint64_t i = 0; i < 6; i++) {
        char key[40] = {(char)('a' + i % 3)}; /* each longer than the last: memory of another size */
        memset(key, key[0], 1 + i % 3 * 16);
        struct ist_store_usage before = shelf_usage(shelf), after;
        struct ist_entry *entry = NULL;
        enum ist_status status =
            shelf_reserve(shelf, key, key[0], 1 + i * SHELF_BLOCK / 2, false, &entry);
        if (status != IST_OK) {
            assert_int_equal(status, IST_NO_MEMORY);
            assert_null(entry);
            after = shelf_usage(shelf);
            assert_memory_equal(&before, &after, sizeof(after));
            failed = true;
        } else if (i == 4) {
            shelf_abort(shelf, entry);
        } else {
            assert_int_equal(shelf_commit(shelf, entry, false), IST_OK);
            assert_true(shelf_holds(shelf, key, key[0]));
            shelf_release(shelf, entry);
        }
    }
    uint64_t pool_bytes = shelf_usage(shelf).pool_bytes;
    enum ist_status status = ist_store_grow(shelf->store, 64 * SHELF_BLOCK);
    assert_true(status == IST_OK || status == IST_NO_MEMORY);
    shelf_check(shelf);
    assert_int_equal(shelf_usage(shelf).pool_bytes,
                     pool_bytes + (status == IST_OK ? 64 * SHELF_BLOCK : 0));
    shelf_remove(shelf, "a");
    shelf_purge(shelf);
    assert_int_equal(shelf_usage(shelf).free_bytes, shelf_usage(shelf).pool_bytes);
    return failed || status != IST_OK;
}

static void test_store__nth_allocation_fails__says_so_and_changes_nothing(void **state) {
    (void)state;
    uint64_t nth = 1;
    for (bool failed = true; failed; nth++) {
        struct shelf shelf;
        shelf_init_growing(&shelf, 4 * SHELF_BLOCK, 68 * SHELF_BLOCK);
        shelf.failing.fail_at = shelf.failing.calls + nth;
        failed = live_a_life(&shelf);
        shelf.failing.fail_at = 0;
        shelf_put_letters(&shelf, "abcd"); /* whatever failed, all is as good as new */
        shelf_assert_letters(&shelf, "abcd");
        shelf_fini(&shelf);
    }
    assert_true(nth > 3 + 7); /* memory for entries of three sizes, and what the pool grows by */
}

/* The index cannot grow: it gets slower, and nothing else. */
static void test_store__index_without_memory__keys_come_and_go(void **state) {
    (void)state;
    struct shelf shelf;
    enum { COUNT = 5000 }; /* more than its first segment is meant for */
    shelf_init(&shelf, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct ist_entry *entry;
        struct ist_span key = ist_span_of(&i, sizeof(i));
        shelf.failing.fail_at = shelf.failing.calls + 1;
        enum ist_status status = ist_store_reserve(shelf.store, key, 1, false, &entry);
        if (status == IST_NO_MEMORY) { /* it was the entry's own: then the one behind that */
            shelf.failing.fail_at = shelf.failing.calls + 2;
            status = ist_store_reserve(shelf.store, key, 1, false, &entry);
        }
        assert_int_equal(status, IST_OK);
        assert_int_equal(ist_store_commit(shelf.store, entry, false), IST_OK);
        ist_store_release(shelf.store, entry);
    }
    shelf_check(&shelf);
    for (uint64_t i = 0; i < COUNT; i += 2) {
        assert_true(ist_store_remove(shelf.store, ist_span_of(&i, sizeof(i))));
    }
    shelf_check(&shelf);
    assert_int_equal(shelf_purge(&shelf), COUNT / 2);
    shelf_fini(&shelf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_new__wrong_arguments__says_which),
        cmocka_unit_test(test_store_new__limit_no_multiple_of_the_granule__rounded_down),
        cmocka_unit_test(test_store_new__nth_allocation_fails__no_memory_and_no_leak),
        cmocka_unit_test(test_store_free__with_entries__takes_them_along),
        cmocka_unit_test(test_store_reserve__limits_of_key_and_value__invalid_or_too_big),
        cmocka_unit_test(test_store_reserve__not_committed__nobody_finds_it),
        cmocka_unit_test(test_store_abort__first_or_later_value__leaves_no_trace),
        cmocka_unit_test(test_store_commit__two_writers_of_one_key__the_later_commit_wins),
        cmocka_unit_test(test_store_commit__if_absent_races__the_first_commit_wins),
        cmocka_unit_test(test_store_reserve__if_absent_and_there__costs_nothing),
        cmocka_unit_test(test_store_commit__its_pin__holds_until_it_is_given_back),
        cmocka_unit_test(test_store_acquire__absent_or_impossible_key__not_found),
        cmocka_unit_test(test_store_acquire__several_times__one_entry_until_the_last_pin),
        cmocka_unit_test(test_store_commit__over_a_value_that_is_read__readers_keep_the_old_bytes),
        cmocka_unit_test(test_store_remove__while_it_is_read__a_new_value_is_another_entry),
        cmocka_unit_test(test_store_remove__while_it_is_reserved__only_the_old_value_goes),
        cmocka_unit_test(test_store_purge__some_read_some_reserved__those_outlive_it),
        cmocka_unit_test(test_store_purge__very_many__all_gone_and_room_for_as_many),
        cmocka_unit_test(test_store_match__one_hole_anywhere__exact),
        cmocka_unit_test(test_store_match__one_key_anywhere__exact),
        cmocka_unit_test(test_store_presence__none_equal_and_impossible_keys__answered),
        cmocka_unit_test(test_store__nth_allocation_fails__says_so_and_changes_nothing),
        cmocka_unit_test(test_store__index_without_memory__keys_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

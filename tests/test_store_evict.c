/* store: what goes when room is needed, what stays, and growth. */
#include "tests/shelf.h"

#include <malloc.h>

static void assert_no_space(struct shelf *shelf, const char *key, uint64_t bytes) {
    struct ist_store_usage before = shelf_usage(shelf), after;
    struct ist_entry *entry = NULL;
    assert_int_equal(shelf_reserve(shelf, key, '-', bytes, false, &entry), IST_NO_SPACE);
    after = shelf_usage(shelf);
    assert_memory_equal(&before, &after, sizeof(after)); /* nothing went in vain */
}

/* ---- just enough, the oldest first ------------------------------------------------------------------ */

static void test_store_reserve__full__evicts_just_enough_oldest_first(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abcd");
    shelf_put_letters(&shelf, "e");
    shelf_assert_letters(&shelf, "bcde");
    assert_int_equal(shelf_usage(&shelf).evicted_entries, 1);
    assert_int_equal(shelf_usage(&shelf).evicted_bytes, SHELF_BLOCK);
    shelf_put(&shelf, "f", 'f', 2 * SHELF_BLOCK); /* b is beside the block of a, which e has now */
    assert_true(shelf_holds(&shelf, "f", 'f'));
    assert_int_equal(shelf_usage(&shelf).evicted_entries, 3);
    shelf_assert_letters(&shelf, "def");
    shelf_fini(&shelf);
}

static void test_store_reserve__there_is_room__nothing_goes(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abc");
    struct ist_entry *writer = shelf_reserved(&shelf, "d", 'd', SHELF_BLOCK);
    assert_int_equal(shelf_usage(&shelf).evicted_entries, 0);
    shelf_assert_letters(&shelf, "abc");
    shelf_abort(&shelf, writer);
    shelf_assert_letters(&shelf, "abc");
    shelf_fini(&shelf);
}

static void test_store_reserve__who_was_used__stays_longest(void **state) {
    (void)state;
    struct shelf shelf;
    struct ist_span keys[] = {key_of("a"), key_of("b")};
    bool present[2];
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abcd");
    /* To look whether it is there, or to pin it, is no use. */
    ist_store_exists(shelf.store, keys, 2, present);
    ist_store_match_prefix(shelf.store, keys, 2);
    ist_store_match_last(shelf.store, keys, 2);
    shelf_release(&shelf, shelf_acquire(&shelf, "a"));
    shelf_put_letters(&shelf, "e");
    shelf_assert_letters(&shelf, "bcde");
    struct ist_entry *reader = shelf_acquire(&shelf, "b");
    shelf_refresh(&shelf, reader);
    shelf_release(&shelf, reader);
    shelf_put_letters(&shelf, "f");
    shelf_assert_letters(&shelf, "bdef");
    shelf_fini(&shelf);
}

/* The original's defect: the old entry of an overwritten key, evicted, took the new value along. */
static void test_store_reserve__key_overwritten__its_old_entry_evicts_nothing(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abcd");
    shelf_put(&shelf, "a", 'a', SHELF_BLOCK); /* evicts its own old value, the oldest */
    shelf_assert_letters(&shelf, "abcd");
    shelf_remove(&shelf, "b");
    shelf_put(&shelf, "c", 'c',
              SHELF_BLOCK); /* there is room: the old value of c is doomed by the commit */
    shelf_assert_letters(&shelf, "acd");
    shelf_put_letters(&shelf, "ef");
    shelf_assert_letters(&shelf, "acef"); /* d is older than the new a and c */
    shelf_put_letters(&shelf, "g");
    shelf_assert_letters(&shelf, "cefg");
    shelf_put_letters(&shelf, "h");
    shelf_assert_letters(&shelf, "efgh");
    shelf_fini(&shelf);
}

static void test_store_refresh__batch_last_key_first__head_dies_last(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abcd");
    struct ist_entry *readers[4];
    for (size_t i = 0; i < 4; i++) {
        readers[i] = shelf_acquire(&shelf, (const char[]){"abcd"[i], '\0'});
    }
    for (size_t i = 4; i > 0; i--) {
        shelf_refresh(&shelf, readers[i - 1]);
    }
    for (size_t i = 0; i < 4; i++) {
        shelf_release(&shelf, readers[i]);
    }
    static const char *const left[] = {"abc1", "ab12", "a123", "1234"};
    for (size_t i = 0; i < 4; i++) {
        shelf_put_letters(&shelf, (const char[]){"1234"[i], '\0'});
        shelf_assert_letters(&shelf, left[i]);
    }
    shelf_fini(&shelf);
}

/* The same, with room wanted while the batch is pinned: what was looked at and put aside keeps its order. */
static void test_store_refresh__pinned_meanwhile__head_still_dies_last(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abcd");
    struct ist_entry *a = shelf_acquire(&shelf, "a"), *b = shelf_acquire(&shelf, "b");
    shelf_refresh(&shelf, b);
    shelf_refresh(&shelf, a);
    shelf_put_letters(&shelf, "123"); /* c, d and 1 go; a and b are passed over */
    shelf_assert_letters(&shelf, "ab23");
    shelf_release(&shelf, a); /* as their bytes leave */
    shelf_release(&shelf, b);
    shelf_put_letters(&shelf, "4");
    shelf_assert_letters(&shelf, "a234");
    shelf_put_letters(&shelf, "5");
    shelf_assert_letters(&shelf, "2345");
    shelf_fini(&shelf);
}

/* ---- pins --------------------------------------------------------------------------------------------- */

static void test_store_reserve__some_pinned__the_others_go(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abcd");
    struct ist_entry *a = shelf_acquire(&shelf, "a"), *c = shelf_acquire(&shelf, "c");
    shelf_put_letters(&shelf, "ef");
    shelf_assert_letters(&shelf, "acef");
    shelf_put_letters(&shelf, "g");
    shelf_assert_letters(&shelf, "acfg");
    shelf_release(&shelf, a);
    shelf_put_letters(&shelf, "h"); /* the oldest use of all is a's */
    shelf_assert_letters(&shelf, "cfgh");
    shelf_release(&shelf, c);
    shelf_fini(&shelf);
}

static void test_store_reserve__all_pinned__no_space_and_all_stay(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 4);
    shelf_put_letters(&shelf, "abc");
    struct ist_entry *readers[3];
    for (size_t i = 0; i < 3; i++) {
        readers[i] = shelf_acquire(&shelf, (const char[]){"abc"[i], '\0'});
    }
    struct ist_entry *writer = shelf_reserved(&shelf, "d", 'd', 1);
    assert_no_space(&shelf, "e", 1);
    assert_int_equal(ist_store_evict(shelf.store, 1), 0);
    shelf_remove(&shelf, "a"); /* doomed is in use, too */
    assert_no_space(&shelf, "e", 1);
    shelf_release(&shelf, readers[0]);
    shelf_put_letters(&shelf, "e");
    shelf_abort(&shelf, writer);
    shelf_release(&shelf, readers[1]);
    shelf_release(&shelf, readers[2]);
    shelf_assert_letters(&shelf, "bce");
    shelf_fini(&shelf);
}

/* Enough could go, but never in one piece: then none of it does. */
static void test_store_reserve__pins_in_between__no_space_and_all_stay(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 7);
    shelf_put_letters(&shelf, "abcdefg");
    struct ist_entry *c = shelf_acquire(&shelf, "c"), *f = shelf_acquire(&shelf, "f");
    assert_no_space(&shelf, "x", 3 * SHELF_BLOCK);
    shelf_assert_letters(&shelf, "abcdefg");
    shelf_put(&shelf, "x", 'x', 2 * SHELF_BLOCK);
    assert_int_equal(shelf_usage(&shelf).evicted_entries, 2);
    shelf_release(&shelf, c);
    shelf_release(&shelf, f);
    assert_true(shelf_holds(&shelf, "x", 'x') && shelf_holds(&shelf, "c", 'c'));
    shelf_fini(&shelf);
}

/* The oldest ones lie scattered. Waiting for the policy to empty a stretch would take nearly all. */
static void test_store_reserve__oldest_lie_in_pieces__about_twice_as_much_goes(void **state) {
    (void)state;
    struct shelf shelf;
    enum { BLOCKS = 256, WANTED = 4 };
    shelf_init(&shelf, BLOCKS);
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct ist_entry *entry;
        assert_int_equal(
            ist_store_reserve(shelf.store, ist_span_of(&i, sizeof(i)), SHELF_BLOCK, false, &entry),
            IST_OK);
        assert_int_equal(ist_store_commit(shelf.store, entry, false), IST_OK);
        ist_store_release(shelf.store, entry);
    }
    for (unsigned step = 0; step < WANTED; step++) { /* uses: 3, 7, 11, ..., 2, 6, ... */
        for (unsigned i = WANTED - 1 - step; i < BLOCKS; i += WANTED) {
            struct ist_entry *entry;
            assert_int_equal(ist_store_acquire(shelf.store, ist_span_of(&i, sizeof(i)), &entry),
                             IST_OK);
            ist_store_refresh(shelf.store, entry);
            ist_store_release(shelf.store, entry);
        }
    }
    shelf_put(&shelf, "x", 'x', WANTED * SHELF_BLOCK);
    assert_true(shelf_usage(&shelf).evicted_entries < 2 * WANTED);
    assert_true(shelf_holds(&shelf, "x", 'x'));
    shelf_fini(&shelf);
}

/* ---- on demand ------------------------------------------------------------------------------------------ */

static void test_store_evict__some_bytes__until_there_are_so_many(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init(&shelf, 6);
    shelf_put_letters(&shelf, "abcdef");
    assert_int_equal(ist_store_evict(shelf.store, 0), 0);
    shelf_assert_letters(&shelf, "abcdef");
    assert_int_equal(ist_store_evict(shelf.store, 1), SHELF_BLOCK);
    shelf_assert_letters(&shelf, "bcdef");
    struct ist_entry *reader = shelf_acquire(&shelf, "b");
    assert_int_equal(ist_store_evict(shelf.store, SHELF_BLOCK + 1), 2 * SHELF_BLOCK);
    shelf_check(&shelf);
    shelf_assert_letters(&shelf, "bef");
    assert_int_equal(ist_store_evict(shelf.store, UINT64_MAX), 2 * SHELF_BLOCK);
    shelf_assert_letters(&shelf, "b");
    shelf_release(&shelf, reader);
    assert_int_equal(shelf_usage(&shelf).evicted_entries, 5);
    assert_int_equal(shelf_usage(&shelf).evicted_bytes, 5 * SHELF_BLOCK);
    shelf_fini(&shelf);
}

/* ---- growth --------------------------------------------------------------------------------------------- */

static void test_store_grow__beyond_its_limit_or_odd__invalid_and_unchanged(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init_growing(&shelf, 2 * SHELF_BLOCK, 4 * SHELF_BLOCK);
    assert_int_equal(ist_store_grow(shelf.store, 2 * SHELF_BLOCK + SHELF_GRANULE), IST_INVALID);
    assert_int_equal(ist_store_grow(shelf.store, UINT64_MAX), IST_INVALID);
    assert_int_equal(ist_store_grow(shelf.store, SHELF_GRANULE + 1), IST_INVALID);
    assert_int_equal(shelf_usage(&shelf).pool_bytes, 2 * SHELF_BLOCK);
    assert_int_equal(ist_store_grow(shelf.store, 0), IST_OK);
    assert_int_equal(ist_store_grow(shelf.store, 2 * SHELF_BLOCK), IST_OK);
    assert_int_equal(ist_store_grow(shelf.store, SHELF_GRANULE), IST_INVALID);
    shelf_check(&shelf);
    shelf_fini(&shelf);
}

/* Segments come while the store serves: what is too large now is no error for ever, and evicts nothing. */
static void test_store_grow__in_mid_life__what_did_not_fit_fits(void **state) {
    (void)state;
    struct shelf shelf;
    shelf_init_growing(&shelf, 0, 8 * SHELF_BLOCK);
    assert_no_space(&shelf, "a", 1);
    assert_int_equal(ist_store_grow(shelf.store, 2 * SHELF_BLOCK), IST_OK);
    shelf_put_letters(&shelf, "ab");
    assert_no_space(&shelf, "x", 3 * SHELF_BLOCK);
    shelf_assert_letters(&shelf, "ab");
    struct ist_entry *reader = shelf_acquire(&shelf, "a");
    struct ist_entry *writer = shelf_reserved(&shelf, "c", 'c', 1); /* b went for it */
    assert_int_equal(ist_store_grow(shelf.store, 6 * SHELF_BLOCK), IST_OK);
    shelf_check(&shelf);
    shelf_put(&shelf, "x", 'x', 6 * SHELF_BLOCK);
    assert_int_equal(shelf_usage(&shelf).free_bytes, 0);
    assert_true(shelf_reads(&shelf, reader, 'a') && shelf_reads(&shelf, writer, 'c'));
    assert_int_equal(shelf_commit(&shelf, writer, false), IST_OK);
    shelf_release(&shelf, writer);
    shelf_release(&shelf, reader);
    assert_int_equal(shelf_purge(&shelf), 3);
    assert_int_equal(shelf_usage(&shelf).largest_free_bytes, 8 * SHELF_BLOCK);
    shelf_fini(&shelf);
}

/* ---- memory beside the pool ------------------------------------------------------------------------------- */

/* What malloc really spends, headers and rounding included. */
static uint64_t spent;
static void *spend(void *context, void *old, size_t bytes) {
    (void)context;
    spent -= old == NULL ? 0 : malloc_usable_size(old) + sizeof(size_t);
    void *memory = realloc(old, bytes);
    assert_non_null(memory);
    spent += malloc_usable_size(memory) + sizeof(size_t);
    return memory;
}
static void *spend_new(void *context, size_t bytes) {
    return spend(context, NULL, bytes);
}
static void unspend(void *context, void *memory) {
    (void)context;
    spent -= malloc_usable_size(memory) + sizeof(size_t);
    free(memory);
}

static void test_usage__full_of_64_kib_blocks__metadata_below_one_percent(void **state) {
    (void)state;
    const uint64_t block = 64 << 10, blocks = getenv("IST_TEST_SHORT") == NULL ? 1 << 18 : 1 << 14;
    const struct ist_alloc alloc = {.allocate = spend_new, .resize = spend, .release = unspend};
    const struct ist_store_config config = {
        .pool_bytes_max = blocks * block,
        .min_block_bytes = block,
        .granule_bytes = 4 << 10,
        .hash_key = {1, 2},
        .alloc = &alloc,
    };
    struct ist_store *store;
    spent = 0;
    assert_int_equal(ist_store_new(&config, &store), IST_OK);
    assert_int_equal(ist_store_grow(store, blocks * block), IST_OK);
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t key[8] = {i}; /* 64 bytes, as hashes of prefixes are */
        struct ist_entry *entry;
        struct ist_span span = ist_span_of(key, sizeof(key));
        assert_int_equal(ist_store_reserve(store, span, block, false, &entry), IST_OK);
        assert_int_equal(ist_store_commit(store, entry, false), IST_OK);
        ist_store_release(store, entry);
    }
    struct ist_store_usage usage;
    ist_store_usage(store, &usage);
    assert_int_equal(usage.keys, blocks);
    double told = (double)usage.metadata_bytes / (double)usage.pool_bytes;
    double real = (double)spent / (double)usage.pool_bytes;
    print_message(
        "metadata at 64 KiB blocks and keys of 64 bytes: %.2f%% of the pool, %llu bytes a key\n",
        100 * told, (unsigned long long)(usage.metadata_bytes / blocks));
    assert_true(told < 0.01);
    assert_true(real < 0.01);
    assert_true(told > 0.95 * real && told < 1.05 * real); /* the figure is no fiction */
    ist_store_free(store);
    assert_int_equal(spent, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_reserve__full__evicts_just_enough_oldest_first),
        cmocka_unit_test(test_store_reserve__there_is_room__nothing_goes),
        cmocka_unit_test(test_store_reserve__who_was_used__stays_longest),
        cmocka_unit_test(test_store_reserve__key_overwritten__its_old_entry_evicts_nothing),
        cmocka_unit_test(test_store_refresh__batch_last_key_first__head_dies_last),
        cmocka_unit_test(test_store_refresh__pinned_meanwhile__head_still_dies_last),
        cmocka_unit_test(test_store_reserve__some_pinned__the_others_go),
        cmocka_unit_test(test_store_reserve__all_pinned__no_space_and_all_stay),
        cmocka_unit_test(test_store_reserve__pins_in_between__no_space_and_all_stay),
        cmocka_unit_test(test_store_reserve__oldest_lie_in_pieces__about_twice_as_much_goes),
        cmocka_unit_test(test_store_evict__some_bytes__until_there_are_so_many),
        cmocka_unit_test(test_store_grow__beyond_its_limit_or_odd__invalid_and_unchanged),
        cmocka_unit_test(test_store_grow__in_mid_life__what_did_not_fit_fits),
        cmocka_unit_test(test_usage__full_of_64_kib_blocks__metadata_below_one_percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

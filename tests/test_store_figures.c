/* What pool, index, policy and store say about their memory, beside what their allocator gave. */
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

#include "store/evict.h"
#include "store/index.h"
#include "store/pool.h"
#include "store/store.h"

#define BLOCK 4096u

/* Counts the bytes that are out. Each allocation has its length in front of it. */
struct counting {
    struct ist_alloc alloc;
    uint64_t bytes;
};

union head {
    size_t bytes;
    max_align_t align;
};

static void *counting_allocate(void *context, size_t bytes) {
    struct counting *counting = context;
    union head *head = malloc(sizeof(*head) + bytes);
    assert_non_null(head);
    head->bytes = bytes;
    counting->bytes += bytes;
    return head + 1;
}

static void counting_release(void *context, void *memory) {
    struct counting *counting = context;
    union head *head = (union head *)memory - 1;
    counting->bytes -= head->bytes;
    free(head);
}

static void *counting_resize(void *context, void *memory, size_t bytes) {
    void *resized = counting_allocate(context, bytes);
    if (memory != NULL) {
        size_t old = ((union head *)memory - 1)->bytes;
        memcpy(resized, memory, old < bytes ? old : bytes);
        counting_release(context, memory);
    }
    return resized;
}

static void counting_init(struct counting *counting) {
    *counting =
        (struct counting){.alloc = {counting_allocate, counting_resize, counting_release, counting}};
}

static void test_pool__grown__metadata_is_what_it_took(void **state) {
    (void)state;
    struct counting counting;
    struct ist_pool *pool;
    counting_init(&counting);
    const struct ist_pool_config config = {
        .min_block_bytes = BLOCK, .granule_bytes = 512, .alloc = &counting.alloc};
    assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
    assert_int_equal(ist_pool_metadata_bytes(pool), counting.bytes);
    for (unsigned i = 1; i < 40; i++) {
        assert_int_equal(ist_pool_grow(pool, i * i * i * 512), IST_OK);
        assert_int_equal(ist_pool_metadata_bytes(pool), counting.bytes);
    }
    ist_pool_free(pool);
    assert_int_equal(counting.bytes, 0);
}

static void test_index__filled_and_cleared__metadata_is_what_it_took(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    struct counting counting;
    struct ist_index *index;
    counting_init(&counting);
    assert_int_equal(ist_index_new((struct ist_hash_key){1, 2}, &counting.alloc, &index), IST_OK);
    assert_int_equal(ist_index_metadata_bytes(index), counting.bytes);
    char *nodes = calloc(COUNT, 64);
    assert_non_null(nodes);
    for (unsigned i = 0; i < COUNT; i++) {
        struct ist_index_node *node = (struct ist_index_node *)(void *)(nodes + 64 * i);
        ist_index_node_init(index, node, ist_span_of(&i, sizeof(i)));
        ist_index_prepare(index, 1);
        ist_index_insert(index, node);
        assert_int_equal(ist_index_metadata_bytes(index), counting.bytes);
    }
    ist_index_clear(index);
    assert_int_equal(ist_index_metadata_bytes(index), counting.bytes);
    ist_index_free(index);
    assert_int_equal(counting.bytes, 0);
    free(nodes);
}

static void test_evict__new__metadata_is_what_it_took(void **state) {
    (void)state;
    struct counting counting;
    struct ist_evict *evict;
    counting_init(&counting);
    assert_int_equal(ist_evict_new("lru", &counting.alloc, &evict), IST_OK);
    assert_int_equal(ist_evict_metadata_bytes(evict), counting.bytes);
    ist_evict_free(evict);
    assert_int_equal(counting.bytes, 0);
}

static void expect_metadata(const struct ist_store *store, const struct counting *counting) {
    struct ist_store_usage usage;
    ist_store_usage(store, &usage);
    assert_int_equal(usage.metadata_bytes, counting->bytes);
}

static void test_store__entries_in_every_state__metadata_is_what_it_took(void **state) {
    (void)state;
    struct counting counting;
    struct ist_store *store;
    struct ist_entry *entries[40];
    counting_init(&counting);
    const struct ist_store_config config = {.pool_bytes_max = 64 * BLOCK,
                                            .min_block_bytes = BLOCK,
                                            .granule_bytes = 512,
                                            .alloc = &counting.alloc};
    assert_int_equal(ist_store_new(&config, &store), IST_OK);
    expect_metadata(store, &counting);
    assert_int_equal(ist_store_grow(store, 64 * BLOCK), IST_OK);
    expect_metadata(store, &counting);
    for (size_t i = 0; i < 40; i++) {
        static const char name[64] = "a key of which a part is taken";
        const struct ist_span key = ist_span_of(name, 1 + i);
        assert_int_equal(ist_store_reserve(store, key, 100 * (i + 1), false, &entries[i]), IST_OK);
        expect_metadata(store, &counting);
    }
    for (size_t i = 0; i < 40; i++) {
        if (i % 3 == 0) {
            ist_store_abort(store, entries[i]);
        } else {
            assert_int_equal(ist_store_commit(store, entries[i], false), IST_OK);
        }
        expect_metadata(store, &counting);
    }
    ist_store_purge(store); /* those that are read stay until then */
    expect_metadata(store, &counting);
    for (size_t i = 0; i < 40; i++) {
        if (i % 3 != 0) {
            ist_store_release(store, entries[i]);
            expect_metadata(store, &counting);
        }
    }
    ist_store_free(store);
    assert_int_equal(counting.bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__grown__metadata_is_what_it_took),
        cmocka_unit_test(test_index__filled_and_cleared__metadata_is_what_it_took),
        cmocka_unit_test(test_evict__new__metadata_is_what_it_took),
        cmocka_unit_test(test_store__entries_in_every_state__metadata_is_what_it_took),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* index: against a list, with memory short, and its growth bucket by bucket. */
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

#include "infinistore/limits.h"
#include "store/index.h"
#include "tests/replay.h"

static const struct ist_hash_key hash_key = {.k0 = 1, .k1 = 2};

static struct ist_index *index_new(void) {
    struct ist_index *index;
    assert_int_equal(ist_index_new(hash_key, ist_alloc_system(), &index), IST_OK);
    return index;
}

static struct ist_index_node *node_new(const struct ist_index *index, struct ist_span key) {
    struct ist_index_node *node = malloc(sizeof(*node) + key.bytes);
    assert_non_null(node);
    ist_index_node_init(index, node, key);
    return node;
}

static struct ist_index_node *insert(struct ist_index *index, struct ist_span key) {
    struct ist_index_node *node = node_new(index, key);
    ist_index_prepare(index, 1);
    ist_index_insert(index, node);
    return node;
}

static void free_all(struct ist_index *index) {
    uint64_t cursor = 0;
    struct ist_index_node *node;
    while ((node = ist_index_any(index, &cursor)) != NULL) {
        ist_index_remove(index, node);
        free(node);
    }
    assert_int_equal(ist_index_count(index), 0);
    ist_index_check(index);
    ist_index_free(index);
}

static void test_index_new__nth_allocation_fails__no_memory_and_no_leak(void **state) {
    (void)state;
    uint64_t nth = 1;
    for (enum ist_status status = IST_NO_MEMORY; status != IST_OK; nth++) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, nth);
        struct ist_index *index;
        status = ist_index_new(hash_key, &failing.alloc, &index);
        if (status == IST_OK) {
            ist_index_free(index);
        } else {
            assert_int_equal(status, IST_NO_MEMORY);
        }
        assert_int_equal(failing.live, 0);
    }
    assert_int_equal(nth, 5); /* itself, the directory, a segment */
}

static void test_index_find__empty__nothing(void **state) {
    (void)state;
    struct ist_index *index = index_new();
    uint64_t cursor = 0;
    assert_null(ist_index_find(index, ist_span_of_string("a")));
    assert_null(ist_index_any(index, &cursor));
    assert_int_equal(ist_index_count(index), 0);
    ist_index_check(index);
    ist_index_free(index);
    ist_index_free(NULL);
}

static void test_index_find__keys_that_are_prefixes_of_each_other__apart(void **state) {
    (void)state;
    struct ist_index *index = index_new();
    char key[IST_KEY_BYTES_MAX];
    memset(key, 0, sizeof(key));
    struct ist_index_node *nodes[IST_KEY_BYTES_MAX];
    for (size_t bytes = 1; bytes <= sizeof(key); bytes++) {
        nodes[bytes - 1] = insert(index, ist_span_of(key, bytes));
    }
    for (size_t bytes = 1; bytes <= sizeof(key); bytes++) {
        assert_ptr_equal(ist_index_find(index, ist_span_of(key, bytes)), nodes[bytes - 1]);
    }
    assert_null(ist_index_find(index, ist_span_of(key, 0)));
    ist_index_check(index);
    free_all(index);
}

static void test_index_find__key_at_the_end_of_memory__reads_no_byte_more(void **state) {
    (void)state;
    struct ist_index *index = index_new();
    uint8_t *key = guarded_new(13);
    memset(key, 9, 13);
    struct ist_index_node *node = insert(index, ist_span_of(key, 13));
    assert_ptr_equal(ist_index_find(index, ist_span_of(key, 13)), node);
    guarded_free(key, 13);
    free_all(index);
}

static void test_index_find_batch__more_than_fits_one_chain__same_as_one_by_one(void **state) {
    (void)state;
    struct ist_index *index = index_new();
    static uint64_t numbers[4096];
    for (uint64_t i = 0; i < 4096; i++) {
        numbers[i] = i;
        if (i % 3 != 0) {
            insert(index, ist_span_of(&numbers[i], 8));
        }
    }
    struct ist_span keys[IST_INDEX_BATCH_MAX];
    struct ist_index_node *nodes[IST_INDEX_BATCH_MAX];
    for (uint64_t i = 0; i < 4096 - IST_INDEX_BATCH_MAX; i += 7) {
        size_t count = i % (IST_INDEX_BATCH_MAX + 1);
        for (size_t k = 0; k < count; k++) {
            keys[k] = ist_span_of(&numbers[k % 5 == 0 ? 1 : i + k], 8); /* with duplicates */
        }
        ist_index_find_batch(index, keys, count, nodes);
        for (size_t k = 0; k < count; k++) {
            assert_ptr_equal(nodes[k], ist_index_find(index, keys[k]));
        }
    }
    free_all(index);
}

/* Growth in one piece would ask for memory in proportion to the table. */
static size_t largest_request, requests;
/* No address of anything. */
static void *junk(void *memory, size_t bytes) {
    return memory == NULL ? NULL : memset(memory, 0xee, bytes);
}
static void *note_allocate(void *context, size_t bytes) {
    (void)context;
    requests++;
    largest_request = bytes > largest_request ? bytes : largest_request;
    return junk(malloc(bytes), bytes);
}
static void *note_resize(void *context, void *memory, size_t bytes) {
    (void)context;
    largest_request = bytes > largest_request ? bytes : largest_request;
    return memory == NULL ? junk(malloc(bytes), bytes) : realloc(memory, bytes);
}
static void note_release(void *context, void *memory) {
    (void)context;
    free(memory);
}

static void
test_index_insert__very_many__few_allocations_none_too_large_and_little_memory(void **state) {
    (void)state;
    struct ist_alloc alloc = {
        .allocate = note_allocate, .resize = note_resize, .release = note_release};
    struct ist_index *index;
    assert_int_equal(ist_index_new(hash_key, &alloc, &index), IST_OK);
    enum { COUNT = 300000 };
    for (uint64_t i = 0; i < COUNT; i++) {
        insert(index, ist_span_of(&i, sizeof(i)));
        uint64_t buckets = ist_index_metadata_bytes(index) / 8;
        assert_true(buckets <= 4 * i + 4096 + 64 && buckets <= 2 * i + (1 << 18) + 4096);
    }
    assert_int_equal(ist_index_count(index), COUNT);
    ist_index_check(index);
    assert_true(largest_request <= 2 << 20);
    assert_true(requests < 16);
    assert_true(ist_index_metadata_bytes(index) < COUNT * 22ull);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_non_null(ist_index_find(index, ist_span_of(&i, sizeof(i))));
    }
    free_all(index);
}

static void test_index_prepare__no_memory__inserts_go_on_and_growth_catches_up(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 0);
    struct ist_index *index;
    assert_int_equal(ist_index_new(hash_key, &failing.alloc, &index), IST_OK);
    uint64_t key = 0;
    for (; key < 20000; key++) {
        failing.fail_at = failing.calls + 1; /* each one */
        insert(index, ist_span_of(&key, sizeof(key)));
    }
    uint64_t starved = ist_index_metadata_bytes(index);
    ist_index_check(index);
    failing.fail_at = 0;
    for (; key < 30000; key++) {
        insert(index, ist_span_of(&key, sizeof(key)));
    }
    assert_true(ist_index_metadata_bytes(index) > 10 * starved);
    for (uint64_t i = 0; i < key; i++) {
        assert_non_null(ist_index_find(index, ist_span_of(&i, sizeof(i))));
    }
    ist_index_check(index);
    free_all(index);
    assert_int_equal(failing.live, 0);
}

/* Where the table ends with its memory, a walk ends, too. */
static void test_index_any__last_bucket_is_the_last_there_is__ends(void **state) {
    (void)state;
    struct ist_alloc alloc = {
        .allocate = note_allocate, .resize = note_resize, .release = note_release};
    struct ist_index *index;
    assert_int_equal(ist_index_new(hash_key, &alloc, &index), IST_OK);
    uint64_t empty = ist_index_metadata_bytes(index);
    enum { COUNT = 4096 }; /* nodes want twice as many buckets as the first segment has */
    static struct ist_index_node *nodes[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) { /* without preparing: the first segment is all there is */
        nodes[i] = node_new(index, ist_span_of(&i, sizeof(i)));
        ist_index_insert(index, nodes[i]);
    }
    assert_int_equal(ist_index_metadata_bytes(index), empty);
    for (size_t i = 0; i < COUNT; i++) {
        ist_index_remove(index, nodes[i]);
        free(nodes[i]);
    }
    uint64_t cursor = 0;
    assert_null(ist_index_any(index, &cursor));
    ist_index_check(index);
    ist_index_free(index);
}

static void test_index_clear__very_many__empty_small_and_good_for_more(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 0);
    struct ist_index *index;
    assert_int_equal(ist_index_new(hash_key, &failing.alloc, &index), IST_OK);
    uint64_t empty = ist_index_metadata_bytes(index);
    enum { COUNT = 20000 };
    static struct ist_index_node *nodes[COUNT];
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            nodes[i] = insert(index, ist_span_of(&i, sizeof(i)));
        }
        ist_index_check(index);
        ist_index_clear(index);
        ist_index_check(index);
        assert_int_equal(ist_index_count(index), 0);
        assert_true(ist_index_metadata_bytes(index) <= empty + 1024); /* the directory stays */
        for (uint64_t i = 0; i < COUNT; i++) {
            assert_null(ist_index_find(index, ist_span_of(&i, sizeof(i))));
            free(nodes[i]);
        }
    }
    ist_index_free(index);
    assert_int_equal(failing.live, 0);
}

/* ---- against a list ------------------------------------------------------------------------------- */

#define MODEL_KEYS 300
struct model {
    struct ist_index *index;
    struct ist_index_node *nodes[MODEL_KEYS]; /* by key number; NULL: not there */
    size_t count;
};

static struct ist_span model_key(size_t number, uint8_t *bytes) {
    size_t length = 1 + number % 40;
    memset(bytes, (int)(number % 251), length);
    bytes[0] = (uint8_t)(number >> 8);
    bytes[length - 1] = (uint8_t)number;
    return ist_span_of(bytes, length + (length == 1 ? number >> 8 : 0));
}

static void model_step(struct model *model, uint64_t *random) {
    uint8_t bytes[64] = {0};
    size_t number = random_below(random, MODEL_KEYS);
    struct ist_span key = model_key(number, bytes);
    assert_ptr_equal(ist_index_find(model->index, key), model->nodes[number]);
    if (model->nodes[number] != NULL && random_below(random, 3) == 0) {
        struct ist_index_node *moved = node_new(model->index, key);
        memcpy(moved, model->nodes[number], sizeof(*moved) + key.bytes);
        ist_index_replace(model->index, model->nodes[number], moved);
        free(model->nodes[number]);
        model->nodes[number] = moved;
    } else if (model->nodes[number] != NULL) {
        ist_index_remove(model->index, model->nodes[number]);
        free(model->nodes[number]);
        model->nodes[number] = NULL;
        model->count--;
    } else {
        model->nodes[number] = node_new(model->index, key);
        if (random_below(random, 2) == 0) {
            ist_index_prepare(model->index, 1 + random_below(random, 100));
        }
        ist_index_insert(model->index, model->nodes[number]);
        model->count++;
    }
    assert_int_equal(ist_index_count(model->index), model->count);
}

static void compare_with_list(uint64_t seed) {
    uint64_t random = seed;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 3 + random_below(&random, 5));
    struct model model = {0};
    struct ist_hash_key key = {.k0 = seed, .k1 = 0};
    if (ist_index_new(key, &failing.alloc, &model.index) != IST_OK) {
        assert_int_equal(failing.live, 0);
        return;
    }
    for (int i = 0; i < 1500; i++) {
        model_step(&model, &random);
        if (i % 8 == 0) {
            ist_index_check(model.index);
        }
    }
    free_all(model.index);
    assert_int_equal(failing.live, 0);
}

static void test_index__random_operations__agree_with_a_list(void **state) {
    (void)state;
    replay_seeds(40, compare_with_list);
}

/* Two keys of one hash: as good as never met, but a mistake there would mix up values. */
static void test_index_find__same_hash_other_key__not_found(void **state) {
    (void)state;
    struct ist_index *index = index_new();
    const struct ist_span short_key = ist_span_of("abc", 3), long_key = ist_span_of("abcd", 4);
    const struct ist_span other = ist_span_of("abx", 3);
    struct ist_index_node *longer = node_new(index, long_key), *twin = node_new(index, other);
    longer->hash = twin->hash = ist_hash(hash_key, short_key);
    ist_index_insert(index, longer);
    ist_index_insert(index, twin);
    assert_null(ist_index_find(index, short_key));
    struct ist_index_node *node = insert(index, short_key), *found;
    assert_ptr_equal(ist_index_find(index, short_key), node);
    ist_index_find_batch(index, &short_key, 1, &found);
    assert_ptr_equal(found, node);
    ist_index_remove(index, twin);
    assert_ptr_equal(ist_index_find(index, short_key), node);
    ist_index_remove(index, node);
    assert_null(ist_index_find(index, short_key));
    ist_index_remove(index, longer);
    free(twin);
    free(longer);
    free(node);
    ist_index_free(index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_new__nth_allocation_fails__no_memory_and_no_leak),
        cmocka_unit_test(test_index_find__empty__nothing),
        cmocka_unit_test(test_index_find__keys_that_are_prefixes_of_each_other__apart),
        cmocka_unit_test(test_index_find__key_at_the_end_of_memory__reads_no_byte_more),
        cmocka_unit_test(test_index_find_batch__more_than_fits_one_chain__same_as_one_by_one),
        cmocka_unit_test(
            test_index_insert__very_many__few_allocations_none_too_large_and_little_memory),
        cmocka_unit_test(test_index_any__last_bucket_is_the_last_there_is__ends),
        cmocka_unit_test(test_index_clear__very_many__empty_small_and_good_for_more),
        cmocka_unit_test(test_index_prepare__no_memory__inserts_go_on_and_growth_catches_up),
        cmocka_unit_test_teardown(test_index__random_operations__agree_with_a_list, replay_teardown),
        cmocka_unit_test(test_index_find__same_hash_other_key__not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

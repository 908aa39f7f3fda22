/* slab: against a list of objects whose bytes tell whose they are, with memory short, and what it keeps. */
#include "tests/replay.h"

#include "store/slab.h"

static struct ist_slab *slab_new(struct failing_alloc *failing) {
    struct ist_slab *slab;
    failing_alloc_init(failing, 0);
    assert_int_equal(ist_slab_new(&failing->alloc, &slab), IST_OK);
    return slab;
}

static void slab_end(struct ist_slab *slab, const struct failing_alloc *failing) {
    ist_slab_check(slab);
    ist_slab_free(slab);
    assert_int_equal(failing->live, 0);
}

static void *take(struct ist_slab *slab, size_t bytes) {
    void *object = ist_slab_take(slab, bytes);
    assert_non_null(object);
    return object;
}

/* An allocator whose memory looks like objects that are there, and that notes the largest piece. */
static size_t largest_piece;
static void *note_allocate(void *context, size_t bytes) {
    (void)context;
    largest_piece = bytes > largest_piece ? bytes : largest_piece;
    void *memory = malloc(bytes);
    return memory == NULL ? NULL : memset(memory, 0xff, bytes);
}
static void note_release(void *context, void *memory) {
    (void)context;
    free(memory);
}
static const struct ist_alloc noting = {.allocate = note_allocate, .release = note_release};

static void test_slab_new__no_memory__no_memory_and_no_leak(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_slab *slab;
    failing_alloc_init(&failing, 1);
    assert_int_equal(ist_slab_new(&failing.alloc, &slab), IST_NO_MEMORY);
    assert_int_equal(failing.live, 0);
    ist_slab_free(NULL);
}

/* Every size: none overlaps another, all are aligned. */
static void test_slab_take__each_size__its_bytes_alone(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_slab *slab = slab_new(&failing);
    static uint8_t *objects[2 * IST_SLAB_OBJECT_BYTES_MAX];
    for (size_t i = 0; i < 2 * IST_SLAB_OBJECT_BYTES_MAX; i++) {
        size_t bytes = i / 2 + 1;
        objects[i] = take(slab, bytes);
        assert_int_equal((uintptr_t)objects[i] % 8, 0);
        memset(objects[i], (int)(i % 251), bytes);
    }
    ist_slab_check(slab);
    assert_int_equal(ist_slab_count(slab), 2 * IST_SLAB_OBJECT_BYTES_MAX);
    for (size_t i = 0; i < 2 * IST_SLAB_OBJECT_BYTES_MAX; i++) {
        for (size_t k = 0; k < i / 2 + 1; k++) {
            assert_int_equal(objects[i][k], i % 251);
        }
        ist_slab_give(slab, objects[i]);
    }
    slab_end(slab, &failing);
}

static void test_slab_take__nth_allocation_fails__null_and_nothing_changed(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_slab *slab = slab_new(&failing);
    enum { COUNT = 3000, BYTES = 152 };
    static void *objects[COUNT];
    unsigned refusals = 0;
    for (size_t i = 0; i < COUNT;) {
        uint64_t bytes = ist_slab_bytes(slab);
        int64_t live = failing.live;
        failing.fail_at = failing.calls + 1; /* each one the first time */
        objects[i] = ist_slab_take(slab, BYTES);
        if (objects[i] == NULL) {
            refusals++;
            assert_int_equal(ist_slab_bytes(slab), bytes);
            assert_int_equal(ist_slab_count(slab), i);
            assert_int_equal(failing.live, live);
            ist_slab_check(slab);
            failing.fail_at = 0;
            objects[i] = take(slab, BYTES);
        }
        i++;
    }
    assert_true(refusals > 10 && refusals < COUNT / 50);
    for (size_t i = 0; i < COUNT; i++) {
        ist_slab_give(slab, objects[i]);
    }
    slab_end(slab, &failing);
}

/* What callers see as the price of an object: not more than a quarter and a chunk beside what is used. */
static void test_slab_bytes__objects_come__little_more_than_they_need(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 120, 152, 400, IST_SLAB_OBJECT_BYTES_MAX};
    enum { COUNT = 60000 };
    static void *objects[COUNT];
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        struct failing_alloc failing;
        struct ist_slab *slab = slab_new(&failing);
        uint64_t nothing = ist_slab_bytes(slab);
        for (size_t i = 0; i < COUNT; i++) {
            objects[i] = take(slab, sizes[k]);
            uint64_t slots = (i + 1) * ((sizes[k] + 8 + 15) / 16 * 16);
            uint64_t bytes = ist_slab_bytes(slab) - nothing;
            assert_true(bytes >= slots && bytes < slots + slots * 3 / 10 + 4096);
        }
        assert_true(failing.calls < 100); /* chunks grow */
        for (size_t i = 0; i < COUNT; i++) {
            ist_slab_give(slab, objects[i]);
        }
        assert_int_equal(ist_slab_bytes(slab), nothing);
        slab_end(slab, &failing);
    }
}

/* However many there are, what is asked of the system at once is a huge page at most. */
static void test_slab_take__very_many__no_chunk_above_a_huge_page(void **state) {
    (void)state;
    struct ist_slab *slab;
    enum { COUNT = 20000 };
    static void *objects[COUNT];
    largest_piece = 0;
    assert_int_equal(ist_slab_new(&noting, &slab), IST_OK);
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = take(slab, IST_SLAB_OBJECT_BYTES_MAX);
    }
    assert_true(largest_piece > 1 << 20 && largest_piece <= 2 << 20);
    for (size_t i = 0; i < COUNT; i++) {
        ist_slab_give(slab, objects[i]);
    }
    ist_slab_free(slab);
}

/* Oldest first: chunks go as their objects go, and only one waits for the next. */
static void test_slab_give__all_of_a_chunk__chunk_is_given_back(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_slab *slab = slab_new(&failing);
    enum { COUNT = 10000 };
    static void *objects[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = take(slab, 152);
    }
    int64_t most = failing.live;
    uint64_t bytes = ist_slab_bytes(slab);
    for (size_t i = 0; i < COUNT / 2; i++) {
        ist_slab_give(slab, objects[i]);
    }
    ist_slab_check(slab);
    assert_true(failing.live < most * 4 / 5 && ist_slab_bytes(slab) < bytes * 3 / 5);
    int64_t live = failing.live;
    ist_slab_trim(slab);
    assert_int_equal(failing.live, live - 1); /* the one that waited */
    ist_slab_trim(slab);
    assert_int_equal(failing.live, live - 1);
    ist_slab_check(slab);
    for (size_t i = COUNT / 2; i < COUNT; i++) {
        ist_slab_give(slab, objects[i]);
    }
    assert_int_equal(failing.live, 1);
    slab_end(slab, &failing);
}

/* One object comes and goes where its chunk is the next one: no allocation each time. */
static void test_slab_take__back_and_forth_over_a_border__chunk_stays(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_slab *slab = slab_new(&failing);
    static void *objects[1000];
    size_t count = 0;
    while (failing.live < 5) {
        objects[count++] = take(slab, 152);
    }
    uint64_t calls = failing.calls;
    for (int i = 0; i < 100; i++) {
        ist_slab_give(slab, objects[--count]);
        objects[count++] = take(slab, 152);
    }
    assert_int_equal(failing.calls, calls);
    while (count > 0) {
        ist_slab_give(slab, objects[--count]);
    }
    slab_end(slab, &failing);
}

/* ---- who should move -------------------------------------------------------------------------------- */

/* All that a call names moves, but for every `fixed`th. */
static void move_strays(struct ist_slab *slab, void **objects, size_t count, size_t bytes,
                        size_t fixed) {
    for (unsigned quiet = 0, calls = 0; quiet < 2000; quiet++, calls++) {
        void *stray = ist_slab_stray(slab);
        for (size_t i = 0; i < count && stray != NULL; i++) {
            if (objects[i] == stray && (i + 1) % fixed != 0) {
                objects[i] = take(slab, bytes);
                memcpy(objects[i], stray, bytes);
                ist_slab_give(slab, stray);
                quiet = 0;
                break;
            }
        }
        assert_true(calls < 100 * 1000);
    }
    ist_slab_check(slab);
}

static void few_are_left(size_t fixed, uint64_t *few, uint64_t *many) {
    struct failing_alloc failing;
    struct ist_slab *slab = slab_new(&failing);
    enum { COUNT = 40000, LEFT = 400, BYTES = 152 };
    static void *objects[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = take(slab, BYTES);
        memset(objects[i], (int)(i % 251), BYTES);
        assert_null(ist_slab_stray(slab)); /* all is used */
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (i % (COUNT / LEFT) != 0) {
            ist_slab_give(slab, objects[i]);
        } else {
            objects[i / (COUNT / LEFT)] = objects[i];
        }
    }
    *many = ist_slab_bytes(slab);
    move_strays(slab, objects, LEFT, BYTES, fixed);
    *few = ist_slab_bytes(slab);
    for (size_t i = 0; i < LEFT; i++) {
        for (size_t k = 0; k < BYTES; k++) {
            assert_int_equal(((uint8_t *)objects[i])[k], i * (COUNT / LEFT) % 251);
        }
        ist_slab_give(slab, objects[i]);
    }
    slab_end(slab, &failing);
}

static void test_slab_stray__few_left_in_each_chunk__moved_and_memory_comes_back(void **state) {
    (void)state;
    uint64_t few, many;
    few_are_left(SIZE_MAX, &few, &many);
    assert_true(many > 40000 * 160ull);
    assert_true(few < 400 * 240ull + 32768 + 8192);
}

static void test_slab_stray__some_cannot_move__the_others_do_and_it_ends(void **state) {
    (void)state;
    uint64_t few, many;
    few_are_left(100, &few, &many); /* four of the 400 stay, each in a chunk that is large */
    assert_true(few < many);
}

/* One object of each size: much lies idle, and nobody can do anything about it. */
static void test_slab_stray__each_size_has_one_object__nobody_moves(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_slab *slab = slab_new(&failing);
    enum { SIZES = 40 };
    void *objects[SIZES];
    for (size_t i = 0; i < SIZES; i++) {
        objects[i] = take(slab, 8 + 16 * i);
    }
    for (size_t i = 0; i < 1000; i++) {
        assert_null(ist_slab_stray(slab));
    }
    for (size_t i = 0; i < SIZES; i++) {
        ist_slab_give(slab, objects[i]);
    }
    slab_end(slab, &failing);
}

/* The smallest chunks: of so many objects of this size, until a class has eight. */
#define PER_CHUNK 24u
#define CHUNK_OBJECT 152u

/* Chunks in which three objects are left, but for one, which has two: the first and the fifth of those it had. Of the last
 * but one the next object would be taken. Then sizes of which one object each lies in a chunk: so is much idle. */
#define CHUNKS 8u
struct sparse {
    struct ist_slab *slab;
    void *left[CHUNKS * 3], *first, *second; /* these two of the emptiest */
    void *lonely[12];
    size_t count;
};

static void sparse_begin(struct sparse *sparse, size_t emptiest) {
    enum { COUNT = CHUNKS * PER_CHUNK - 10 };
    static void *objects[COUNT];
    *sparse = (struct sparse){0};
    assert_int_equal(ist_slab_new(&noting, &sparse->slab), IST_OK);
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = take(sparse->slab, CHUNK_OBJECT);
    }
    for (size_t i = 0; i < 12; i++) {
        sparse->lonely[i] = take(sparse->slab, 500 + 16 * i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        size_t chunk = i / PER_CHUNK, at = i % PER_CHUNK;
        if (chunk == emptiest && (at == 0 || at == 4)) {
            *(at == 0 ? &sparse->first : &sparse->second) = objects[i];
        } else if (chunk != emptiest && at < 3) {
            sparse->left[sparse->count++] = objects[i];
        } else {
            ist_slab_give(sparse->slab, objects[i]);
        }
    }
}

static void sparse_end(struct sparse *sparse) {
    for (size_t i = 0; i < sparse->count; i++) {
        ist_slab_give(sparse->slab, sparse->left[i]);
    }
    for (size_t i = 0; i < 12; i++) {
        ist_slab_give(sparse->slab, sparse->lonely[i]);
    }
    ist_slab_check(sparse->slab);
    ist_slab_free(sparse->slab);
}

/* Sizes are looked at some at a time. */
static void *next_stray(struct ist_slab *slab) {
    void *stray = NULL;
    for (unsigned i = 0; i < 16 && stray == NULL; i++) {
        stray = ist_slab_stray(slab);
    }
    return stray;
}

static void expect_emptiest_leaves(size_t emptiest) {
    struct sparse sparse;
    sparse_begin(&sparse, emptiest);
    assert_ptr_equal(next_stray(sparse.slab), sparse.first);
    /* Who moves, or comes new, does not go into the one that is to be left, nor into a new one. */
    uint64_t bytes = ist_slab_bytes(sparse.slab);
    void *moved = take(sparse.slab, CHUNK_OBJECT), *new = take(sparse.slab, CHUNK_OBJECT);
    assert_int_equal(ist_slab_bytes(sparse.slab), bytes);
    ist_slab_give(sparse.slab, sparse.first);
    assert_ptr_equal(ist_slab_stray(sparse.slab), sparse.second);
    ist_slab_give(sparse.slab, sparse.second);
    assert_true(ist_slab_bytes(sparse.slab) < bytes);
    ist_slab_give(sparse.slab, moved);
    ist_slab_give(sparse.slab, new);
    sparse_end(&sparse);
}

static void test_slab_stray__chunks_of_different_use__the_emptiest_leaves(void **state) {
    (void)state;
    for (size_t emptiest = 0; emptiest < CHUNKS - 1; emptiest++) {
        expect_emptiest_leaves(emptiest);
    }
}

/* Both are held by somebody: they are asked once, and some time later again. */
static void test_slab_stray__nobody_moves__asked_again_later(void **state) {
    (void)state;
    struct sparse sparse;
    sparse_begin(&sparse, CHUNKS - 2);
    for (unsigned round = 0; round < 3; round++) {
        assert_ptr_equal(next_stray(sparse.slab), sparse.first);
        assert_ptr_equal(ist_slab_stray(sparse.slab), sparse.second);
        assert_null(ist_slab_stray(sparse.slab));
    }
    ist_slab_give(sparse.slab, sparse.first);
    ist_slab_give(sparse.slab, sparse.second);
    sparse_end(&sparse);
}

/* While one size cannot move, another one has its turn. */
static void test_slab_stray__one_size_cannot_move__the_other_is_asked_too(void **state) {
    (void)state;
    struct sparse sparse;
    enum { COUNT = 4 * PER_CHUNK };
    void *others[COUNT];
    sparse_begin(&sparse, CHUNKS - 2);
    for (size_t i = 0; i < COUNT; i++) {
        others[i] = take(sparse.slab, CHUNK_OBJECT - 16);
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (i % PER_CHUNK != 0) {
            ist_slab_give(sparse.slab, others[i]);
        }
    }
    bool asked[2] = {false, false};
    for (unsigned i = 0; i < 200; i++) {
        void *stray = ist_slab_stray(sparse.slab);
        asked[0] |= stray == sparse.first;
        for (size_t k = 0; k < COUNT; k += PER_CHUNK) {
            asked[1] |= stray == others[k];
        }
    }
    assert_true(asked[0] && asked[1]);
    for (size_t k = 0; k < COUNT; k += PER_CHUNK) {
        ist_slab_give(sparse.slab, others[k]);
    }
    ist_slab_give(sparse.slab, sparse.first);
    ist_slab_give(sparse.slab, sparse.second);
    sparse_end(&sparse);
}

/* ---- against a list --------------------------------------------------------------------------------- */

#define MODEL_MAX 1500u
struct model {
    struct failing_alloc failing;
    struct ist_slab *slab;
    uint8_t *objects[MODEL_MAX];
    size_t bytes[MODEL_MAX];
    uint8_t letters[MODEL_MAX];
    size_t count;
};

static void model_compare(const struct model *model, size_t i) {
    for (size_t k = 0; k < model->bytes[i]; k++) {
        assert_int_equal(model->objects[i][k], model->letters[i]);
    }
}

static void model_take(struct model *model, uint64_t *random, size_t size) {
    size_t bytes = 1 + (size + random_below(random, 40)) % IST_SLAB_OBJECT_BYTES_MAX;
    bool no_memory = random_below(random, 8) == 0;
    model->failing.fail_at = no_memory ? model->failing.calls + 1 : 0;
    uint64_t calls = model->failing.calls;
    uint8_t *object = ist_slab_take(model->slab, bytes);
    assert_int_equal(object == NULL, no_memory && model->failing.calls > calls);
    model->failing.fail_at = 0;
    if (object != NULL) {
        model->objects[model->count] = object;
        model->bytes[model->count] = bytes;
        model->letters[model->count] = (uint8_t)random_next(random);
        memset(object, model->letters[model->count], bytes);
        model->count++;
    }
}

static void model_give(struct model *model, size_t i) {
    model_compare(model, i);
    ist_slab_give(model->slab, model->objects[i]);
    model->count--;
    model->objects[i] = model->objects[model->count];
    model->bytes[i] = model->bytes[model->count];
    model->letters[i] = model->letters[model->count];
}

static void model_move(struct model *model) {
    uint8_t *stray = ist_slab_stray(model->slab);
    for (size_t i = 0; i < model->count && stray != NULL; i++) {
        if (model->objects[i] == stray) {
            model->objects[i] = take(model->slab, model->bytes[i]);
            memcpy(model->objects[i], stray, model->bytes[i]);
            ist_slab_give(model->slab, stray);
            return;
        }
    }
    assert_null(stray); /* one that there is */
}

/* Sizes drift, as the keys of a model's blocks do when another model comes. */
static void compare_with_list(uint64_t seed) {
    static struct model model;
    uint64_t random = seed;
    memset(&model, 0, sizeof(model));
    model.slab = slab_new(&model.failing);
    size_t wanted = 0, size = 0;
    for (unsigned i = 0; i < 4000; i++) {
        if (i % 500 == 0) {
            wanted = 1 + random_below(&random, MODEL_MAX);
            size = random_below(&random, IST_SLAB_OBJECT_BYTES_MAX);
        }
        bool more =
            model.count < wanted ? random_below(&random, 8) != 0 : random_below(&random, 8) == 0;
        if (more && model.count < MODEL_MAX) {
            model_take(&model, &random, size);
        } else if (!more && model.count > 0) {
            model_give(&model, random_below(&random, model.count));
        }
        model_move(&model);
        if (random_below(&random, 300) == 0) {
            ist_slab_trim(model.slab);
        }
        assert_int_equal(ist_slab_count(model.slab), model.count);
        if (i % 32 == 0) {
            ist_slab_check(model.slab);
        }
    }
    while (model.count > 0) {
        model_give(&model, model.count - 1);
    }
    slab_end(model.slab, &model.failing);
}

static void test_slab__random_operations__agree_with_a_list(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 40 : 3, compare_with_list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slab_new__no_memory__no_memory_and_no_leak),
        cmocka_unit_test(test_slab_take__each_size__its_bytes_alone),
        cmocka_unit_test(test_slab_take__nth_allocation_fails__null_and_nothing_changed),
        cmocka_unit_test(test_slab_bytes__objects_come__little_more_than_they_need),
        cmocka_unit_test(test_slab_give__all_of_a_chunk__chunk_is_given_back),
        cmocka_unit_test(test_slab_take__back_and_forth_over_a_border__chunk_stays),
        cmocka_unit_test(test_slab_stray__few_left_in_each_chunk__moved_and_memory_comes_back),
        cmocka_unit_test(test_slab_stray__some_cannot_move__the_others_do_and_it_ends),
        cmocka_unit_test(test_slab_take__very_many__no_chunk_above_a_huge_page),
        cmocka_unit_test(test_slab_stray__each_size_has_one_object__nobody_moves),
        cmocka_unit_test(test_slab_stray__chunks_of_different_use__the_emptiest_leaves),
        cmocka_unit_test(test_slab_stray__nobody_moves__asked_again_later),
        cmocka_unit_test(test_slab_stray__one_size_cannot_move__the_other_is_asked_too),
        cmocka_unit_test_teardown(test_slab__random_operations__agree_with_a_list, replay_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

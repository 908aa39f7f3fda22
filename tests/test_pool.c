/* runs and pool: against a bitmap, and their limits. How full the pool gets: test_pool_full.c. */
#include "tests/support.h"

#include <string.h>

#include "store/pool.h"
#include "store/runs.h"
#include "tests/replay.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static int owner; /* of all blocks whose owner does not matter */

static struct ist_pool *pool_new(uint64_t bytes) {
    struct ist_pool_config config = {
        .min_block_bytes = 64 * KIB, .granule_bytes = 4 * KIB, .alloc = ist_alloc_system()};
    struct ist_pool *pool;
    assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
    assert_int_equal(ist_pool_grow(pool, bytes), IST_OK);
    return pool;
}

static struct ist_block allocate(struct ist_pool *pool, uint64_t bytes) {
    struct ist_block block;
    assert_int_equal(ist_pool_allocate(pool, bytes, &owner, &block), IST_OK);
    return block;
}

/* ---- new, grow ------------------------------------------------------------------------------------ */

static void test_pool_new__sizes_out_of_range__invalid(void **state) {
    (void)state;
    static const uint64_t sizes[][2] = {
        {0, 0},     {64 * KIB, 0}, {3000, 512},       {64 * KIB, 3000}, {4 * KIB, 8 * KIB},
        {256, 256}, {0, 512},      {1ull << 62, 512},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ist_pool_config config = {
            .min_block_bytes = sizes[i][0], .granule_bytes = sizes[i][1], .alloc = ist_alloc_system()};
        struct ist_pool *pool = NULL;
        assert_int_equal(ist_pool_new(&config, &pool), IST_INVALID);
        assert_null(pool);
    }
}

static void test_pool_new__no_memory__says_so(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 1);
    struct ist_pool_config config = {
        .min_block_bytes = 512, .granule_bytes = 512, .alloc = &failing.alloc};
    struct ist_pool *pool;
    assert_int_equal(ist_pool_new(&config, &pool), IST_NO_MEMORY);
    assert_int_equal(failing.live, 0);
}

static void test_pool_new__empty__has_no_room(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(0);
    struct ist_block block;
    assert_int_equal(ist_pool_allocate(pool, 1, &owner, &block), IST_NO_SPACE);
    assert_int_equal(ist_pool_bytes(pool), 0);
    assert_int_equal(ist_pool_largest_free(pool), 0);
    assert_int_equal(ist_pool_largest_possible(pool), 0);
    assert_null(ist_pool_next(pool, 0, 1, &block));
    ist_pool_check(pool);
    ist_pool_free(pool);
    ist_pool_free(NULL);
}

static void test_pool_grow__no_multiple_or_too_much__invalid_and_unchanged(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(MIB);
    assert_int_equal(ist_pool_grow(pool, 4 * KIB + 1), IST_INVALID);
    assert_int_equal(ist_pool_grow(pool, 1ull << 43), IST_INVALID);
    assert_int_equal(ist_pool_grow(pool, UINT64_MAX - 4 * KIB + 1), IST_INVALID);
    assert_int_equal(ist_pool_bytes(pool), MIB);
    ist_pool_check(pool);
    ist_pool_free(pool);
}

static void test_pool_grow__by_steps__is_one_run(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(4 * KIB);
    for (uint64_t bytes = 4 * KIB; bytes < 40 * MIB;) {
        uint64_t more = bytes % (5 * MIB) + 4 * KIB;
        assert_int_equal(ist_pool_grow(pool, more), IST_OK);
        bytes += more;
        assert_int_equal(ist_pool_largest_free(pool), bytes);
        ist_pool_check(pool);
    }
    ist_pool_free(pool);
}

static void test_pool_grow__nth_allocation_fails__unchanged_and_later_fine(void **state) {
    (void)state;
    uint64_t nth = 1;
    for (bool failed = true; failed; nth++) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, 0);
        struct ist_pool_config config = {
            .min_block_bytes = 4 * KIB, .granule_bytes = 4 * KIB, .alloc = &failing.alloc};
        struct ist_pool *pool;
        assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
        assert_int_equal(ist_pool_grow(pool, 64 * KIB), IST_OK);
        allocate(pool, 5 * KIB);
        failing.fail_at = failing.calls + nth;
        failed = ist_pool_grow(pool, 10 * MIB) != IST_OK;
        assert_int_equal(ist_pool_bytes(pool), 64 * KIB + (failed ? 0 : 10 * MIB));
        ist_pool_check(pool);
        failing.fail_at = 0;
        assert_int_equal(ist_pool_grow(pool, MIB), IST_OK);
        assert_int_equal(ist_pool_largest_free(pool),
                         64 * KIB - 8 * KIB + MIB + (failed ? 0 : 10 * MIB));
        ist_pool_check(pool);
        ist_pool_free(pool);
        assert_int_equal(failing.live, 0);
    }
    assert_true(nth > 8); /* units, and edges and levels of two sets */
}

/* As many granules as can be counted, in few units, so that it takes no memory. */
static void test_pool_grow__to_the_last_granule__then_no_further(void **state) {
    (void)state;
    struct ist_pool_config config = {
        .min_block_bytes = 4 * KIB << 20, .granule_bytes = 4 * KIB, .alloc = ist_alloc_system()};
    const uint64_t most = 4 * KIB * IST_RUNS_GRANULES_MAX;
    struct ist_pool *pool;
    assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
    assert_int_equal(ist_pool_grow(pool, most + 4 * KIB), IST_INVALID);
    assert_int_equal(ist_pool_grow(pool, most - 4 * KIB), IST_OK);
    assert_int_equal(ist_pool_grow(pool, 8 * KIB), IST_INVALID);
    assert_int_equal(ist_pool_grow(pool, 4 * KIB), IST_OK);
    assert_int_equal(ist_pool_grow(pool, 4 * KIB), IST_INVALID);
    assert_true(ist_pool_rounded(pool, most) == most);
    assert_true(ist_pool_rounded(pool, most + 1) == UINT64_MAX);
    struct ist_block block = allocate(pool, most);
    assert_int_equal(ist_pool_free_bytes(pool), 0);
    ist_pool_check(pool);
    ist_pool_release(pool, &block);
    ist_pool_free(pool);
}

static void test_pool_grow__within_its_last_unit__takes_no_memory(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 0);
    struct ist_pool_config config = {
        .min_block_bytes = 64 * KIB, .granule_bytes = 4 * KIB, .alloc = &failing.alloc};
    struct ist_pool *pool;
    assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
    assert_int_equal(ist_pool_grow(pool, 4 * KIB), IST_OK);
    uint64_t calls = failing.calls;
    for (unsigned i = 1; i < 16; i++) {
        assert_int_equal(ist_pool_grow(pool, 4 * KIB), IST_OK);
    }
    assert_int_equal(failing.calls, calls);
    assert_int_equal(ist_pool_grow(pool, 4 * KIB), IST_OK);
    assert_true(failing.calls > calls);
    ist_pool_check(pool);
    ist_pool_free(pool);
    assert_int_equal(failing.live, 0);
}

/* ---- allocate, release ---------------------------------------------------------------------------- */

static void test_pool_rounded__any_size__granules_and_at_least_the_minimum(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(MIB);
    assert_int_equal(ist_pool_rounded(pool, 1), 64 * KIB);
    assert_int_equal(ist_pool_rounded(pool, 64 * KIB), 64 * KIB);
    assert_int_equal(ist_pool_rounded(pool, 64 * KIB + 1), 68 * KIB);
    assert_int_equal(ist_pool_rounded(pool, 643 * KIB), 644 * KIB);
    assert_true(ist_pool_rounded(pool, UINT64_MAX) == UINT64_MAX);
    struct ist_block block;
    assert_int_equal(ist_pool_allocate(pool, UINT64_MAX, &owner, &block), IST_NO_SPACE);
    ist_pool_free(pool);
}

static void test_pool_allocate__whole_pool__then_nothing_is_left(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(MIB);
    struct ist_block all = allocate(pool, MIB);
    assert_int_equal(all.offset, 0);
    assert_int_equal(all.bytes, MIB);
    struct ist_block block;
    assert_int_equal(ist_pool_allocate(pool, 1, &owner, &block), IST_NO_SPACE);
    assert_int_equal(ist_pool_free_bytes(pool), 0);
    ist_pool_check(pool);
    ist_pool_release(pool, &all);
    assert_int_equal(ist_pool_largest_free(pool), MIB);
    ist_pool_free(pool);
}

static void test_pool_release__between_free_neighbours__all_become_one(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(MIB);
    struct ist_block a = allocate(pool, 100 * KIB);
    struct ist_block b = allocate(pool, 200 * KIB);
    struct ist_block c = allocate(pool, 300 * KIB);
    ist_pool_release(pool, &a);
    ist_pool_release(pool, &c);
    ist_pool_check(pool);
    ist_pool_release(pool, &b);
    assert_int_equal(ist_pool_largest_free(pool), MIB);
    ist_pool_check(pool);
    ist_pool_free(pool);
}

static void test_pool_allocate__pool_smaller_than_a_block__no_space(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(60 * KIB);
    struct ist_block block;
    assert_int_equal(ist_pool_allocate(pool, 1, &owner, &block), IST_NO_SPACE);
    ist_pool_free(pool);
}

static void test_pool_hold__some_blocks__bound_what_is_possible(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(10 * MIB);
    struct ist_block blocks[10];
    for (int i = 0; i < 10; i++) {
        blocks[i] = allocate(pool, MIB);
    }
    assert_int_equal(ist_pool_largest_possible(pool), 0);
    for (int i = 0; i < 10; i++) {
        ist_pool_unhold(pool, &blocks[i]);
    }
    assert_int_equal(ist_pool_largest_possible(pool), 10 * MIB);
    assert_int_equal(ist_pool_largest_free(pool), 0);
    ist_pool_hold(pool, &blocks[3]);
    assert_int_equal(ist_pool_largest_possible(pool), 6 * MIB);
    ist_pool_check(pool);
    ist_pool_release(pool, &blocks[3]);
    assert_int_equal(ist_pool_largest_possible(pool), 10 * MIB);
    assert_int_equal(ist_pool_largest_free(pool), MIB);
    ist_pool_check(pool);
    ist_pool_free(pool);
}

static void test_runs_copy__from_fewer_units__the_same_set(void **state) {
    (void)state;
    struct ist_runs runs, from;
    struct ist_run run;
    ist_runs_init(&runs, 0, ist_alloc_system());
    ist_runs_init(&from, 0, ist_alloc_system());
    assert_int_equal(ist_runs_grow(&runs, 100), IST_OK);
    ist_runs_add(&runs, (struct ist_run){.start = 90, .granules = 7});
    ist_runs_copy(&runs, &from); /* of no units at all */
    ist_runs_check(&runs);
    assert_int_equal(ist_runs_longest(&runs), 0);
    assert_int_equal(ist_runs_grow(&from, 50), IST_OK);
    ist_runs_add(&from, (struct ist_run){.start = 40, .granules = 5});
    ist_runs_add(&runs, (struct ist_run){.start = 40, .granules = 60});
    ist_runs_copy(&runs, &from);
    ist_runs_check(&runs);
    assert_true(ist_runs_around(&runs, 42, &run));
    assert_int_equal(run.start, 40);
    assert_int_equal(run.granules, 5);
    assert_int_equal(ist_runs_longest(&runs), 5);
    ist_runs_fini(&runs);
    ist_runs_fini(&from);
}

/* The growth that failed has left one of the pool's two sets larger than the other. */
static void test_pool_release_unheld__after_a_growth_that_failed_half_way__all_but_held(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth < 10; nth++) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, 0);
        struct ist_pool_config config = {
            .min_block_bytes = 4 * KIB, .granule_bytes = 4 * KIB, .alloc = &failing.alloc};
        struct ist_pool *pool;
        assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
        ist_pool_release_unheld(pool);
        assert_int_equal(ist_pool_grow(pool, 64 * KIB), IST_OK);
        struct ist_block a = allocate(pool, 8 * KIB), b = allocate(pool, 4 * KIB);
        ist_pool_unhold(pool, &a);
        failing.fail_at = failing.calls + nth;
        bool failed = ist_pool_grow(pool, 10 * MIB) != IST_OK;
        ist_pool_release_unheld(pool);
        ist_pool_check(pool);
        assert_int_equal(ist_pool_free_bytes(pool), 60 * KIB + (failed ? 0 : 10 * MIB));
        assert_int_equal(ist_pool_largest_free(pool), 52 * KIB + (failed ? 0 : 10 * MIB));
        ist_pool_release(pool, &b);
        ist_pool_free(pool);
        assert_int_equal(failing.live, 0);
    }
}

static void test_pool_next__blocks_and_gaps__finds_them_in_order(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(MIB);
    int owners[3];
    struct ist_block blocks[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ist_pool_allocate(pool, 68 * KIB, &owners[i], &blocks[i]), IST_OK);
    }
    ist_pool_release(pool, &blocks[1]);
    struct ist_block block;
    assert_ptr_equal(ist_pool_next(pool, 0, 1, &block), &owners[0]);
    assert_int_equal(block.bytes, 68 * KIB);
    assert_null(ist_pool_next(pool, 4 * KIB, 128 * KIB, &block));
    assert_ptr_equal(ist_pool_next(pool, 4 * KIB, 136 * KIB, &block), &owners[2]);
    assert_int_equal(block.offset, 136 * KIB);
    ist_pool_set_owner(pool, &blocks[2], &owners[1]);
    assert_ptr_equal(ist_pool_next(pool, 4 * KIB, 136 * KIB, &block), &owners[1]);
    assert_null(ist_pool_next(pool, 140 * KIB, UINT64_MAX, &block));
    assert_null(ist_pool_next(pool, 0, 0, &block));
    assert_null(ist_pool_next(pool, MIB, 1, &block));
    ist_pool_free(pool);
}

/* ---- against a bitmap ----------------------------------------------------------------------------- */

#define MODEL_GRANULES 4096
#define MODEL_BLOCKS 256
#define MODEL_UNIT 4 /* granules of a minimal block */

struct model {
    struct ist_pool *pool;
    size_t granules;
    uint8_t used[MODEL_GRANULES]; /* 0 free, 1 not held, 2 held */
    struct ist_block blocks[MODEL_BLOCKS];
    bool held[MODEL_BLOCKS];
    size_t count;
};

static void model_mark(struct model *model, const struct ist_block *block, uint8_t from, uint8_t to) {
    size_t start = block->offset / 512;
    for (size_t i = start; i < start + block->bytes / 512; i++) {
        assert_int_equal(model->used[i], from);
        model->used[i] = to;
    }
}

/* The longest run of granules whose mark is at most `mark`. */
static size_t model_longest(const struct model *model, uint8_t mark) {
    size_t longest = 0;
    size_t run = 0;
    for (size_t i = 0; i < model->granules; i++) {
        run = model->used[i] <= mark ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static void model_allocate(struct model *model, uint64_t bytes) {
    size_t granules = (bytes + 511) / 512 < MODEL_UNIT ? MODEL_UNIT : (bytes + 511) / 512;
    struct ist_block block;
    enum ist_status status = ist_pool_allocate(model->pool, bytes, model, &block);
    assert_int_equal(status, model_longest(model, 0) >= granules ? IST_OK : IST_NO_SPACE);
    if (status == IST_OK) {
        assert_int_equal(block.bytes, granules * 512);
        model_mark(model, &block, 0, 2);
        model->blocks[model->count] = block;
        model->held[model->count++] = true;
    }
}

static void model_release(struct model *model, size_t i) {
    model_mark(model, &model->blocks[i], model->held[i] ? 2 : 1, 0);
    ist_pool_release(model->pool, &model->blocks[i]);
    model->count--;
    model->blocks[i] = model->blocks[model->count];
    model->held[i] = model->held[model->count];
}

static void model_turn(struct model *model, size_t i) {
    model_mark(model, &model->blocks[i], model->held[i] ? 2 : 1, model->held[i] ? 1 : 2);
    if (model->held[i]) {
        ist_pool_unhold(model->pool, &model->blocks[i]);
    } else {
        ist_pool_hold(model->pool, &model->blocks[i]);
    }
    model->held[i] = !model->held[i];
}

/* Releasing what begins in the window makes room, releases nothing that is held, and no more than needed: without
 * the window's first or last block it would not do. */
static void model_window(struct model *model, uint64_t *random) {
    size_t possible = model_longest(model, 1);
    size_t longest = model_longest(model, 0);
    if (possible == longest || possible < MODEL_UNIT) {
        return;
    }
    size_t least = longest + 1 > MODEL_UNIT ? longest + 1 : MODEL_UNIT;
    uint64_t granules = least + random_below(random, possible - least + 1);
    uint64_t offset = random_below(random, model->granules) * 512;
    struct ist_block window = ist_pool_window(model->pool, offset, granules * 512);
    assert_true(window.bytes >= granules * 512);
    size_t gone = 0;
    for (size_t i = 0; i < model->count;) {
        const struct ist_block *block = &model->blocks[i];
        if (block->offset < window.offset || block->offset - window.offset >= window.bytes) {
            i++;
            continue;
        }
        assert_false(model->held[i]);
        gone++;
        model_release(model, i);
    }
    assert_true(gone > 0);
    assert_true(model_longest(model, 0) >= granules);
    assert_true(ist_pool_largest_free(model->pool) >= granules * 512);
}

static void model_release_unheld(struct model *model) {
    ist_pool_release_unheld(model->pool);
    for (size_t i = 0; i < model->count;) {
        if (model->held[i]) {
            i++;
            continue;
        }
        model_mark(model, &model->blocks[i], 1, 0);
        model->count--;
        model->blocks[i] = model->blocks[model->count];
        model->held[i] = model->held[model->count];
    }
}

static void model_step(struct model *model, uint64_t *random) {
    size_t free = 0;
    for (size_t i = 0; i < model->granules; i++) {
        free += model->used[i] == 0;
    }
    assert_int_equal(ist_pool_free_bytes(model->pool), free * 512);
    assert_int_equal(ist_pool_largest_free(model->pool), model_longest(model, 0) * 512);
    assert_int_equal(ist_pool_largest_possible(model->pool), model_longest(model, 1) * 512);
    ist_pool_check(model->pool);
    uint64_t dice = random_below(random, 100);
    if (dice < 50 && model->count < MODEL_BLOCKS) {
        model_allocate(model, 1 + random_below(random, random_below(random, 10) == 0 ? 200000 : 10000));
    } else if (dice < 70 && model->count > 0) {
        model_release(model, random_below(random, model->count));
    } else if (dice < 90 && model->count > 0) {
        model_turn(model, random_below(random, model->count));
    } else if (dice < 92) {
        model_window(model, random);
    } else if (dice < 94 && model->granules < MODEL_GRANULES) {
        size_t more = 1 + random_below(random, 300);
        more = more < MODEL_GRANULES - model->granules ? more : MODEL_GRANULES - model->granules;
        assert_int_equal(ist_pool_grow(model->pool, more * 512), IST_OK);
        model->granules += more;
    } else if (dice == 99) {
        model_release_unheld(model);
    }
}

static void compare_with_bitmap(uint64_t seed) {
    uint64_t random = seed;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 0);
    static struct model model;
    model = (struct model){0};
    struct ist_pool_config config = {
        .min_block_bytes = MODEL_UNIT * 512, .granule_bytes = 512, .alloc = &failing.alloc};
    assert_int_equal(ist_pool_new(&config, &model.pool), IST_OK);
    for (int i = 0; i < 700; i++) {
        model_step(&model, &random);
    }
    while (model.count > 0) {
        model_release(&model, 0);
    }
    assert_int_equal(ist_pool_largest_free(model.pool), model.granules * 512);
    ist_pool_free(model.pool);
    assert_int_equal(failing.live, 0);
}

static void test_pool__random_operations__agree_with_a_bitmap(void **state) {
    (void)state;
    replay_seeds(30, compare_with_bitmap);
}

/* ---- the window ----------------------------------------------------------------------------------- */

static void test_pool_window__cheap_side__is_chosen(void **state) {
    (void)state;
    /* | 1 MiB | 64 KiB free | 64 KiB | 64 KiB | ... : room for 192 KiB needs two small ones, not the large. */
    struct ist_pool *pool = pool_new(2 * MIB);
    struct ist_block blocks[17];
    for (int i = 0; i < 17; i++) {
        blocks[i] = allocate(pool, i == 0 ? MIB : 64 * KIB);
        ist_pool_unhold(pool, &blocks[i]);
    }
    ist_pool_release(pool, &blocks[1]);
    struct ist_block window = ist_pool_window(pool, blocks[1].offset, 192 * KIB);
    assert_int_equal(window.offset, blocks[1].offset);
    assert_int_equal(window.bytes, 192 * KIB);
    ist_pool_free(pool);
}

static void test_pool_window__held_on_both_sides__goes_elsewhere(void **state) {
    (void)state;
    struct ist_pool *pool = pool_new(MIB);
    struct ist_block blocks[16];
    for (int i = 0; i < 16; i++) {
        blocks[i] = allocate(pool, 64 * KIB);
        if (i != 2 && i != 4) {
            ist_pool_unhold(pool, &blocks[i]);
        }
    }
    ist_pool_release(pool, &blocks[3]);
    struct ist_block window = ist_pool_window(pool, blocks[3].offset, 192 * KIB);
    assert_true(window.offset >= blocks[5].offset && window.bytes == 192 * KIB);
    ist_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_new__sizes_out_of_range__invalid),
        cmocka_unit_test(test_pool_new__no_memory__says_so),
        cmocka_unit_test(test_pool_new__empty__has_no_room),
        cmocka_unit_test(test_pool_grow__no_multiple_or_too_much__invalid_and_unchanged),
        cmocka_unit_test(test_pool_grow__by_steps__is_one_run),
        cmocka_unit_test(test_pool_grow__nth_allocation_fails__unchanged_and_later_fine),
        cmocka_unit_test(test_pool_grow__to_the_last_granule__then_no_further),
        cmocka_unit_test(test_pool_grow__within_its_last_unit__takes_no_memory),
        cmocka_unit_test(test_pool_rounded__any_size__granules_and_at_least_the_minimum),
        cmocka_unit_test(test_pool_allocate__whole_pool__then_nothing_is_left),
        cmocka_unit_test(test_pool_release__between_free_neighbours__all_become_one),
        cmocka_unit_test(test_pool_allocate__pool_smaller_than_a_block__no_space),
        cmocka_unit_test(test_pool_hold__some_blocks__bound_what_is_possible),
        cmocka_unit_test(test_runs_copy__from_fewer_units__the_same_set),
        cmocka_unit_test(test_pool_release_unheld__after_a_growth_that_failed_half_way__all_but_held),
        cmocka_unit_test(test_pool_next__blocks_and_gaps__finds_them_in_order),
        cmocka_unit_test_teardown(test_pool__random_operations__agree_with_a_bitmap, replay_teardown),
        cmocka_unit_test(test_pool_window__cheap_side__is_chosen),
        cmocka_unit_test(test_pool_window__held_on_both_sides__goes_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

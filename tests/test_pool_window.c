/* Where the pool makes room: beside every other place there is near the free run that it starts from. */
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

#include "store/pool.h"
#include "tests/replay.h"

#define GRANULE 512u
#define UNIT 4u /* granules of the shortest block */
#define GRANULES 240u
#define BLOCKS_MAX (GRANULES / UNIT)

enum mark { FREE, UNHELD, HELD };

struct layout {
    struct ist_pool *pool;
    enum mark marks[GRANULES];
    struct ist_block blocks[BLOCKS_MAX];
    size_t count;
    uint32_t longest; /* granules of the longest block */
};

static void paint(struct layout *layout, const struct ist_block *block, enum mark mark) {
    for (uint64_t at = block->offset; at < block->offset + block->bytes; at += GRANULE) {
        layout->marks[at / GRANULE] = mark;
    }
}

/* Full of blocks of some sizes, of which some are held and some are given up. */
static void layout_init(struct layout *layout, uint64_t *random) {
    memset(layout, 0, sizeof(*layout));
    const struct ist_pool_config config = {
        .min_block_bytes = UNIT * GRANULE, .granule_bytes = GRANULE, .alloc = ist_alloc_system()};
    assert_int_equal(ist_pool_new(&config, &layout->pool), IST_OK);
    assert_int_equal(ist_pool_grow(layout->pool, GRANULES * GRANULE), IST_OK);
    uint64_t granules_max = UNIT + random_below(random, 20);
    struct ist_block block;
    while (ist_pool_allocate(layout->pool, GRANULE * (1 + random_below(random, granules_max)), layout,
                             &block) == IST_OK) {
        paint(layout, &block, HELD);
        layout->blocks[layout->count++] = block;
        uint32_t granules = (uint32_t)(block.bytes / GRANULE);
        layout->longest = granules > layout->longest ? granules : layout->longest;
    }
    uint64_t held_of_16 = random_below(random, 4), free_of_16 = random_below(random, 5);
    for (size_t i = 0; i < layout->count;) {
        uint64_t dice = random_below(random, 16);
        if (dice >= held_of_16) {
            ist_pool_unhold(layout->pool, &layout->blocks[i]);
            paint(layout, &layout->blocks[i], UNHELD);
        }
        if (dice >= 16 - free_of_16) {
            ist_pool_release(layout->pool, &layout->blocks[i]);
            paint(layout, &layout->blocks[i], FREE);
            layout->blocks[i] = layout->blocks[--layout->count];
        } else {
            i++;
        }
    }
}

static void layout_fini(struct layout *layout) {
    for (size_t i = 0; i < layout->count; i++) {
        ist_pool_release(layout->pool, &layout->blocks[i]);
    }
    ist_pool_free(layout->pool);
}

/* The run around a granule of marks that are at most `most`. */
static void run_around(const struct layout *layout, uint32_t at, enum mark most, uint32_t *begin,
                       uint32_t *end) {
    *begin = *end = at;
    while (*begin > 0 && layout->marks[*begin - 1] <= most) {
        (*begin)--;
    }
    while (*end < GRANULES && layout->marks[*end] <= most) {
        (*end)++;
    }
}

/* Bytes of the blocks that begin in [begin, end); UINT64_MAX: that is no place to make room, since a block reaches
 * into it from before, or one is held. */
static uint64_t cost_of(const struct layout *layout, uint64_t begin, uint64_t end) {
    uint64_t cost = 0;
    for (size_t i = 0; i < layout->count; i++) {
        uint64_t first = layout->blocks[i].offset / GRANULE;
        uint64_t last = first + layout->blocks[i].bytes / GRANULE;
        if (first < begin && last > begin) {
            return UINT64_MAX;
        }
        if (first >= begin && first < end) {
            if (layout->marks[first] == HELD) {
                return UINT64_MAX;
            }
            cost += layout->blocks[i].bytes;
        }
    }
    return cost;
}

static uint32_t largest(const struct layout *layout, enum mark most) {
    uint32_t best = 0, run = 0;
    for (uint32_t i = 0; i < GRANULES; i++) {
        run = layout->marks[i] <= most ? run + 1 : 0;
        best = run > best ? run : best;
    }
    return best;
}

static void check_window(const struct layout *layout, uint32_t at, uint32_t granules) {
    struct ist_block window =
        ist_pool_window(layout->pool, (uint64_t)at * GRANULE, (uint64_t)granules * GRANULE);
    uint64_t begin = window.offset / GRANULE, end = begin + window.bytes / GRANULE;
    assert_true(window.offset % GRANULE == 0 && window.bytes % GRANULE == 0);
    assert_true(end - begin >= granules && end <= GRANULES);
    uint64_t cost = cost_of(layout, begin, end);
    assert_int_not_equal(cost, UINT64_MAX);
    for (uint64_t i = begin; i < end; i++) {
        assert_int_not_equal(layout->marks[i], HELD);
    }
    uint32_t near, near_end, within, within_end;
    if (layout->marks[at] != FREE) {
        return; /* anywhere */
    }
    run_around(layout, at, FREE, &near, &near_end);
    run_around(layout, at, UNHELD, &within, &within_end);
    if (within_end - within < granules) {
        return;
    }
    uint32_t from = near - within > granules ? near - granules : within;
    for (uint32_t other = from; other <= near_end && other + granules <= within_end; other++) {
        assert_true(cost <= cost_of(layout, other, other + granules));
    }
    assert_true(begin >= within && end <= within_end);
    assert_true(end + layout->longest + granules >= near);
    assert_true(begin < near_end + granules + layout->longest);
}

static void compare_with_all_places(uint64_t seed) {
    struct layout layout;
    uint64_t random = seed;
    layout_init(&layout, &random);
    uint32_t possible = largest(&layout, UNHELD), now = largest(&layout, FREE);
    uint32_t least = now + 1 > UNIT ? now + 1 : UNIT;
    for (uint32_t at = 0; at < GRANULES && possible >= least; at++) {
        check_window(&layout, at, least + (uint32_t)random_below(&random, possible - least + 1));
        check_window(&layout, at, least);
    }
    layout_fini(&layout);
}

static void test_window__any_layout__cheapest_near_the_free_run(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 300 : 60, compare_with_all_places);
}

/* The first block that begins in any stretch. */
static void compare_next(uint64_t seed) {
    struct layout layout;
    uint64_t random = seed;
    layout_init(&layout, &random);
    for (int i = 0; i < 400; i++) {
        uint64_t offset = random_below(&random, (GRANULES + 5) * GRANULE);
        uint64_t bytes = random_below(&random, 40 * GRANULE);
        const struct ist_block *first = NULL;
        for (size_t k = 0; k < layout.count; k++) {
            const struct ist_block *block = &layout.blocks[k];
            if (block->offset >= offset && block->offset - offset < bytes &&
                (first == NULL || block->offset < first->offset)) {
                first = block;
            }
        }
        struct ist_block found;
        void *owner = ist_pool_next(layout.pool, offset, bytes, &found);
        assert_ptr_equal(owner, first == NULL ? NULL : &layout);
        if (first != NULL) {
            assert_int_equal(found.offset, first->offset);
            assert_int_equal(found.bytes, first->bytes);
        }
    }
    layout_fini(&layout);
}

static void test_next__any_stretch__first_block_that_begins_in_it(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 100 : 20, compare_next);
}

static void test_release_unheld__pools_of_few_blocks__all_is_free(void **state) {
    (void)state;
    for (unsigned units = 1; units < 70; units++) {
        const struct ist_pool_config config = {
            .min_block_bytes = UNIT * GRANULE, .granule_bytes = GRANULE, .alloc = ist_alloc_system()};
        struct ist_pool *pool;
        struct ist_block block;
        assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
        assert_int_equal(ist_pool_grow(pool, units * UNIT * GRANULE), IST_OK);
        for (unsigned i = 0; i < units; i++) {
            assert_int_equal(ist_pool_allocate(pool, 1, &block, &block), IST_OK);
            ist_pool_unhold(pool, &block);
        }
        assert_int_equal(ist_pool_largest_free(pool), 0);
        ist_pool_release_unheld(pool);
        ist_pool_check(pool);
        assert_int_equal(ist_pool_largest_free(pool), units * UNIT * GRANULE);
        ist_pool_free(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_window__any_layout__cheapest_near_the_free_run, replay_teardown),
        cmocka_unit_test(test_release_unheld__pools_of_few_blocks__all_is_free),
        cmocka_unit_test_teardown(test_next__any_stretch__first_block_that_begins_in_it,
                                  replay_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

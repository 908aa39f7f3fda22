/* runs: against a bitmap, over trees of one to four levels. */
#include "tests/replay.h"

#include <stdlib.h>
#include <string.h>

#include "store/runs.h"

#define GRANULES_MAX 6000u
#define BLOCKS_MAX 600u

/* Behind each piece of memory lies what looks like a run: who reads too far finds it. */
#define SPIKES 64u

static void *spiked(void *memory, size_t bytes) {
    if (memory != NULL) {
        memset((char *)memory + bytes, 0x11, SPIKES);
    }
    return memory;
}
static void *spiked_allocate(void *context, size_t bytes) {
    (void)context;
    return spiked(malloc(bytes + SPIKES), bytes);
}
static void *spiked_resize(void *context, void *memory, size_t bytes) {
    (void)context;
    return spiked(realloc(memory, bytes + SPIKES), bytes);
}
static void spiked_release(void *context, void *memory) {
    (void)context;
    free(memory);
}
static const struct ist_alloc spikes = {
    .allocate = spiked_allocate, .resize = spiked_resize, .release = spiked_release};

/* What is not in the set lies in blocks of a unit at least, as its users promise. */
struct model {
    struct ist_runs runs;
    unsigned unit_shift;
    uint32_t granules;
    bool in[GRANULES_MAX + 1]; /* the one behind the last never is */
    struct ist_run blocks[BLOCKS_MAX];
    size_t blocks_count;
};

static struct ist_run naive_around(const struct model *model, uint32_t granule) {
    struct ist_run run = {.start = granule};
    if (granule >= model->granules || !model->in[granule]) {
        return run;
    }
    while (run.start > 0 && model->in[run.start - 1]) {
        run.start--;
    }
    while (model->in[run.start + run.granules]) {
        run.granules++;
    }
    return run;
}

static void expect(const struct model *model, uint32_t granule, struct ist_run expected) {
    struct ist_run run = {0};
    assert_int_equal(ist_runs_around(&model->runs, granule, &run), expected.granules > 0);
    if (expected.granules > 0) {
        assert_int_equal(run.start, expected.start);
        assert_int_equal(run.granules, expected.granules);
    }
}

static void check_around(const struct model *model, uint32_t granule) {
    expect(model, granule, naive_around(model, granule));
}

static void check_first(const struct model *model, uint32_t granules) {
    struct ist_run expected = {0}, run = {0};
    for (uint32_t at = 0; at < model->granules && expected.granules < granules; at++) {
        expected = naive_around(model, at);
        at += expected.granules;
    }
    bool found = expected.granules >= granules;
    assert_int_equal(ist_runs_first(&model->runs, granules, &run), found);
    if (found) {
        assert_int_equal(run.start, expected.start);
        assert_int_equal(run.granules, expected.granules);
    }
}

static void check_all(const struct model *model) {
    uint32_t longest = 0;
    for (uint32_t at = 0; at < model->granules + 40; at++) {
        const struct ist_run run = naive_around(model, at);
        expect(model, at, run);
        for (uint32_t i = 1; i < run.granules; i++) {
            expect(model, ++at, run);
        }
        longest = run.granules > longest ? run.granules : longest;
    }
    assert_int_equal(ist_runs_longest(&model->runs), longest);
    ist_runs_check(&model->runs);
}

static void set(struct model *model, struct ist_run run, bool in) {
    memset(&model->in[run.start], in, run.granules);
}

/* A block in the run around some granule, from its beginning, its end, or the midst. */
static void take(struct model *model, uint64_t *random) {
    uint32_t unit = 1u << model->unit_shift;
    struct ist_run run = naive_around(model, (uint32_t)random_below(random, model->granules));
    if (run.granules < unit || model->blocks_count == BLOCKS_MAX) {
        return;
    }
    struct ist_run part = {.granules = unit + (uint32_t)random_below(random, 3 * unit)};
    part.granules = part.granules < run.granules ? part.granules : run.granules;
    part.start = run.start + (uint32_t)random_below(random, run.granules - part.granules + 1);
    part.start = random_below(random, 3) == 0 ? run.start : part.start;
    ist_runs_take(&model->runs, part);
    set(model, part, false);
    model->blocks[model->blocks_count++] = part;
}

static void give(struct model *model, uint64_t *random) {
    if (model->blocks_count > 0) {
        size_t which = random_below(random, model->blocks_count);
        ist_runs_add(&model->runs, model->blocks[which]);
        set(model, model->blocks[which], true);
        model->blocks[which] = model->blocks[--model->blocks_count];
    }
}

static void grow(struct model *model, uint32_t more) {
    uint32_t unit = 1u << model->unit_shift;
    more = more < GRANULES_MAX - model->granules ? more : GRANULES_MAX - model->granules;
    if (more == 0) {
        return;
    }
    assert_int_equal(ist_runs_grow(&model->runs, (model->granules + more + unit - 1) / unit), IST_OK);
    const struct ist_run run = {.start = model->granules, .granules = more};
    ist_runs_add(&model->runs, run);
    set(model, run, true);
    model->granules += more;
}

static void compare_with_bitmap(uint64_t seed) {
    static struct model model;
    uint64_t random = seed;
    memset(&model, 0, sizeof(model));
    model.unit_shift = (unsigned)random_below(&random, 4);
    ist_runs_init(&model.runs, model.unit_shift, &spikes);
    check_around(&model, 0); /* none in an empty one */
    check_first(&model, 1);
    grow(&model, 1 + (uint32_t)random_below(&random, random_below(&random, 2) == 0 ? 300 : 5000));
    for (unsigned i = 0; i < 1500; i++) {
        bool fill = i / 300 % 2 == 0;
        if (random_below(&random, 4) != 0) {
            (fill ? take : give)(&model, &random);
        } else {
            (fill ? give : take)(&model, &random);
        }
        if (random_below(&random, 200) == 0) {
            grow(&model, 1 + (uint32_t)random_below(&random, 600));
        }
        check_around(&model, (uint32_t)random_below(&random, model.granules));
        if (i % 16 == 0) {
            check_first(&model, 1 + (uint32_t)random_below(&random, 4 * (1u << model.unit_shift)));
        }
        if (i % 300 == 299) {
            check_all(&model);
        }
    }
    ist_runs_fini(&model.runs);
}

static void test_runs__random_operations__agree_with_a_bitmap(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 30 : 6, compare_with_bitmap);
}

/* The only run lies as far from the question as can be, in trees whose last nodes are full, or have one child. */
static void test_runs_around__one_run_far_away__found_from_everywhere(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1, 15, 16, 17, 255, 256, 257, 272, 4096, 4097, 4113};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint32_t first = 0; first < sizes[i]; first = 3 * first + 1) {
            static struct model model;
            memset(&model, 0, sizeof(model));
            ist_runs_init(&model.runs, 0, &spikes);
            assert_int_equal(ist_runs_grow(&model.runs, sizes[i]), IST_OK);
            model.granules = sizes[i];
            const struct ist_run run = {.start = first, .granules = sizes[i] - first};
            ist_runs_add(&model.runs, run);
            set(&model, run, true);
            check_around(&model, 0);
            check_around(&model, sizes[i] - 1);
            check_around(&model, sizes[i]);
            check_around(&model, first);
            check_around(&model, first > 0 ? first - 1 : 0);
            check_first(&model, run.granules);
            check_first(&model, run.granules + 1);
            ist_runs_check(&model.runs);
            ist_runs_fini(&model.runs);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_runs__random_operations__agree_with_a_bitmap, replay_teardown),
        cmocka_unit_test(test_runs_around__one_run_far_away__found_from_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The policy study: its optimum beside all that could have been kept, its other rows beside a list, and the figures of
 * two public traces, where these are: IST_TRACES names the directory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/policy.h"
#include "tests/support.h"

#define BLOCKS 7u /* nodes of a small tree */
#define REQUESTS 9u

/* Paths in a tree: node i's parent is (i - 1) / 2. */
static void random_paths(struct sim_blocks *blocks, uint64_t *random) {
    sim_blocks_init(blocks);
    for (unsigned i = 0; i < REQUESTS; i++) {
        uint64_t path[8], ids[8];
        size_t count = 0;
        uint64_t node = random_below(random, BLOCKS);
        for (;; node = (node - 1) / 2) {
            path[count++] = node;
            if (node == 0) {
                break;
            }
        }
        for (size_t j = 0; j < count; j++) {
            ids[j] = path[count - 1 - j] + 100;
        }
        sim_blocks_add(blocks, ids, count, i, 1, 1);
    }
}

static const uint32_t *numbers_of(const struct sim_blocks *blocks, size_t request, size_t *count) {
    *count = blocks->requests[request].count;
    return blocks->numbers + blocks->requests[request].first;
}

/* The most hits of all ways to keep up to `capacity` blocks of those that were there or came. */
static uint64_t best_of_all(const struct sim_blocks *blocks, size_t capacity) {
    int best[1 << BLOCKS], next[1 << BLOCKS];
    for (unsigned set = 0; set < 1 << BLOCKS; set++) {
        best[set] = set == 0 ? 0 : -1;
    }
    for (size_t i = 0; i < blocks->request_count; i++) {
        size_t count;
        const uint32_t *numbers = numbers_of(blocks, i, &count);
        unsigned come = 0;
        for (size_t j = 0; j < count; j++) {
            come |= 1u << numbers[j];
        }
        memset(next, 0xff, sizeof(next));
        for (unsigned set = 0; set < 1 << BLOCKS; set++) {
            int hits = 0;
            while (best[set] >= 0 && (size_t)hits < count && (set >> numbers[hits] & 1) != 0) {
                hits++;
            }
            unsigned all = set | come;
            for (unsigned kept = all; best[set] >= 0; kept = (kept - 1) & all) {
                if ((size_t)__builtin_popcount(kept) <= capacity && best[set] + hits > next[kept]) {
                    next[kept] = best[set] + hits;
                }
                if (kept == 0) {
                    break;
                }
            }
        }
        memcpy(best, next, sizeof(best));
    }
    int most = 0;
    for (unsigned set = 0; set < 1 << BLOCKS; set++) {
        most = best[set] > most ? best[set] : most;
    }
    return (uint64_t)most;
}

static void test_optimum__small_trees__as_the_best_of_all_choices(void **state) {
    (void)state;
    uint64_t random = 5;
    for (unsigned round = 0; round < 60; round++) {
        struct sim_blocks blocks;
        random_paths(&blocks, &random);
        for (size_t capacity = 1; capacity <= 4; capacity++) {
            uint64_t optimum = sim_policy_optimum(&blocks, capacity);
            assert_int_equal(optimum, best_of_all(&blocks, capacity));
            assert_true(sim_policy_hits(&blocks, "lru", true, capacity) <= optimum);
            assert_true(sim_policy_hits(&blocks, "lru", false, capacity) <= optimum);
            assert_true(sim_policy_fifo(&blocks, capacity) <= optimum);
            assert_true(sim_policy_s3fifo(&blocks, capacity) <= optimum);
        }
        assert_int_equal(sim_policy_optimum(&blocks, BLOCKS), sim_policy_unlimited(&blocks));
        sim_blocks_fini(&blocks);
    }
}

/* A list, the most recent at its end. */
static uint64_t naive_hits(const struct sim_blocks *blocks, size_t capacity, bool tail_first,
                           bool touches) {
    uint32_t kept[16];
    size_t used = 0;
    uint64_t hits = 0;
    for (size_t i = 0; i < blocks->request_count; i++) {
        size_t count, prefix = 0;
        const uint32_t *numbers = numbers_of(blocks, i, &count);
        for (bool there = true; prefix < count && there; prefix += there) {
            there = false;
            for (size_t j = 0; j < used; j++) {
                there = there || kept[j] == numbers[prefix];
            }
        }
        hits += prefix;
        for (size_t j = 0; j < count; j++) {
            uint32_t number = numbers[tail_first ? count - 1 - j : j];
            size_t at = 0;
            while (at < used && kept[at] != number) {
                at++;
            }
            if (at < used && !touches) {
                continue;
            }
            if (at == used && used == capacity) {
                at = 0;
            }
            if (at < used) {
                memmove(kept + at, kept + at + 1, (used - at - 1) * sizeof(kept[0]));
                used--;
            }
            kept[used++] = number;
        }
    }
    return hits;
}

static void test_lru_and_fifo__random_paths__as_a_list(void **state) {
    (void)state;
    uint64_t random = 9;
    for (unsigned round = 0; round < 100; round++) {
        struct sim_blocks blocks;
        random_paths(&blocks, &random);
        for (size_t capacity = 1; capacity <= 5; capacity++) {
            assert_int_equal(sim_policy_hits(&blocks, "lru", true, capacity),
                             naive_hits(&blocks, capacity, true, true));
            assert_int_equal(sim_policy_hits(&blocks, "lru", false, capacity),
                             naive_hits(&blocks, capacity, false, true));
            assert_int_equal(sim_policy_fifo(&blocks, capacity),
                             naive_hits(&blocks, capacity, false, false));
        }
        sim_blocks_fini(&blocks);
    }
}

static void test_policy__unknown__none(void **state) {
    (void)state;
    struct sim_blocks blocks;
    uint64_t random = 1;
    random_paths(&blocks, &random);
    assert_true(sim_policy_hits(&blocks, "best", true, 3) == UINT64_MAX);
    sim_blocks_fini(&blocks);
}

static void test_read__no_such_file__false(void **state) {
    (void)state;
    struct sim_blocks blocks;
    sim_blocks_init(&blocks);
    assert_false(sim_blocks_read(&blocks, "/nonexistent/trace.jsonl"));
    sim_blocks_fini(&blocks);
}

/* ---- the public traces ---------------------------------------------------------------------------------- */

struct figures {
    const char *file;
    size_t capacities[5];
    unsigned head[5], tail[5], optimum[5]; /* hundredths of a percent */
    unsigned unlimited;
};

/* Found by an independent program; published, in tenths, beside the traces' other figures. */
static const struct figures published[] = {
    {"conversation_trace.jsonl",
     {1000, 3000, 10000, 30000, 100000},
     {445, 650, 2112, 3257, 3637},
     {445, 653, 2116, 3257, 3637},
     {1907, 2945, 3664, 3664, 3664},
     3664},
    {"agent_sessions_a.jsonl.xz",
     {1000, 3000, 10000, 30000, 0},
     {2035, 6214, 9377, 9626, 0},
     {2355, 6547, 9385, 9626, 0},
     {5245, 8241, 9573, 9647, 0},
     9647},
};

static void expect_share(const struct sim_blocks *blocks, uint64_t hits, unsigned hundredths) {
    double percent = 100. * (double)hits / (double)blocks->number_count;
    if (percent < hundredths / 100. - 0.0051 || percent > hundredths / 100. + 0.0051) {
        fail_msg("%.4f instead of %.2f", percent, hundredths / 100.);
    }
}

static void test_public_traces__published_figures(void **state) {
    (void)state;
    const char *directory = getenv("IST_TRACES");
    if (directory == NULL) {
        skip();
    }
    for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
        const struct figures *figures = &published[i];
        struct sim_blocks blocks;
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", directory, figures->file);
        sim_blocks_init(&blocks);
        assert_true(sim_blocks_read(&blocks, path));
        expect_share(&blocks, sim_policy_unlimited(&blocks), figures->unlimited);
        for (size_t j = 0; j < 5 && figures->capacities[j] > 0; j++) {
            size_t capacity = figures->capacities[j];
            expect_share(&blocks, sim_policy_hits(&blocks, "lru", false, capacity), figures->head[j]);
            expect_share(&blocks, sim_policy_hits(&blocks, "lru", true, capacity), figures->tail[j]);
            expect_share(&blocks, sim_policy_optimum(&blocks, capacity), figures->optimum[j]);
        }
        sim_blocks_fini(&blocks);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimum__small_trees__as_the_best_of_all_choices),
        cmocka_unit_test(test_lru_and_fifo__random_paths__as_a_list),
        cmocka_unit_test(test_policy__unknown__none),
        cmocka_unit_test(test_read__no_such_file__false),
        cmocka_unit_test(test_public_traces__published_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

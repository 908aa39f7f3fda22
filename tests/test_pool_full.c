/* How full the pool gets before it refuses, and that this does not decay while sizes come and go. */
#include "tests/support.h"

#include "store/pool.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static int owner; /* of all blocks */

static struct ist_pool *pool_new(uint64_t bytes) {
    struct ist_pool_config config = {
        .min_block_bytes = 64 * KIB, .granule_bytes = 4 * KIB, .alloc = ist_alloc_system()};
    struct ist_pool *pool;
    assert_int_equal(ist_pool_new(&config, &pool), IST_OK);
    assert_int_equal(ist_pool_grow(pool, bytes), IST_OK);
    return pool;
}

/* Sizes as they are asked for; `alternate` takes them in turn, else at random. */
struct mix {
    const char *name;
    const uint64_t *sizes; /* NULL: anything from 4 KiB to 4 MiB */
    size_t count;
    bool alternate;
    bool churn_at_random;                         /* who goes: any, or the oldest */
    uint64_t mean_thousandths, least_thousandths; /* required */
};

#define LIVE_MAX 65536
struct live {
    struct ist_block block;
    uint64_t asked;
};

/* Shares of the pool that were in use at a refusal, in thousandths. late: the mean of the last quarter. */
struct utilisation {
    uint64_t first, mean, least, late;
};

static uint64_t mix_size(const struct mix *mix, uint64_t turn, uint64_t *random) {
    if (mix->sizes == NULL) {
        return 4 * KIB + random_below(random, 4 * MIB - 4 * KIB + 1);
    }
    return mix->sizes[mix->alternate ? turn % mix->count : random_below(random, mix->count)];
}

/* Fills to the first refusal and keeps the pool full, letting blocks go until each next one fits. */
static struct utilisation measure(const struct mix *mix, uint64_t pool_bytes,
                                  uint64_t refusals_wanted) {
    static struct live live[LIVE_MAX];
    size_t first = 0; /* a ring */
    size_t count = 0;
    uint64_t random = 1;
    uint64_t in_use = 0;
    uint64_t refusals = 0;
    uint64_t sum = 0;
    uint64_t late_sum = 0;
    struct utilisation result = {.least = 1000};
    struct ist_pool *pool = pool_new(pool_bytes);
    for (uint64_t turn = 0; refusals < refusals_wanted; turn++) {
        uint64_t asked = mix_size(mix, turn, &random);
        struct ist_block block;
        if (ist_pool_allocate(pool, asked, &owner, &block) != IST_OK) {
            uint64_t share = in_use * 1000 / pool_bytes;
            result.first = refusals == 0 ? share : result.first;
            result.least = share < result.least ? share : result.least;
            sum += share;
            late_sum += refusals >= refusals_wanted - refusals_wanted / 4 ? share : 0;
            refusals++;
            do {
                size_t victim = (first + random_below(&random, count)) % LIVE_MAX;
                if (mix->churn_at_random) {
                    struct live moved = live[victim];
                    live[victim] = live[first];
                    live[first] = moved;
                }
                in_use -= live[first].asked;
                ist_pool_release(pool, &live[first].block);
                first = (first + 1) % LIVE_MAX;
                count--;
            } while (ist_pool_allocate(pool, asked, &owner, &block) != IST_OK);
        }
        in_use += asked;
        live[(first + count) % LIVE_MAX] = (struct live){.block = block, .asked = asked};
        count++;
        assert_true(count < LIVE_MAX);
    }
    ist_pool_check(pool);
    ist_pool_free(pool);
    result.mean = sum / refusals;
    result.late = late_sum / (refusals_wanted / 4);
    return result;
}

static void test_pool__kept_full_for_long__does_not_decay(void **state) {
    (void)state;
    static const uint64_t sizes[] = {3174 * KIB, 643 * KIB, 64 * KIB, 2 * MIB};
    static const struct mix mixes[] = {
        {"64 KiB", sizes + 2, 1, true, true, 999, 999},
        {"643 KiB", sizes + 1, 1, true, true, 995, 995},
        {"2 MiB", sizes + 3, 1, true, true, 995, 995},
        {"3.1 MiB", sizes, 1, true, true, 995, 995},
        {"3.1 MiB and 643 KiB, oldest first", sizes, 2, false, false, 990, 980},
        {"3.1 MiB and 643 KiB by turns, oldest first", sizes, 2, true, false, 990, 980},
        {"3.1 MiB and 643 KiB, any first", sizes, 2, false, true, 960, 930},
        {"3.1 MiB and 643 KiB by turns, any first", sizes, 2, true, true, 960, 930},
        {"four models, oldest first", sizes, 4, false, false, 990, 980},
        {"four models, any first", sizes, 4, false, true, 920, 880},
        {"4 KiB to 4 MiB, oldest first", NULL, 0, false, false, 950, 900},
        {"4 KiB to 4 MiB, any first", NULL, 0, false, true, 900, 850},
    };
    for (size_t i = 0; i < sizeof(mixes) / sizeof(mixes[0]); i++) {
        struct utilisation found = measure(&mixes[i], 2048 * MIB, 10000);
        print_message("%-43s first %4llu mean %4llu late %4llu least %4llu\n", mixes[i].name,
                      (unsigned long long)found.first, (unsigned long long)found.mean,
                      (unsigned long long)found.late, (unsigned long long)found.least);
        assert_true(found.first >= 990);
        assert_true(found.late + 10 >= found.mean);
        assert_true(found.mean >= mixes[i].mean_thousandths);
        assert_true(found.least >= mixes[i].least_thousandths);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__kept_full_for_long__does_not_decay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

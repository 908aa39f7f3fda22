/* The generated trace: the same everywhere, and shaped like the published one.
 *
 * The published figures are those of Mooncake's conversation trace: 12,031 requests in 3,537 s. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"
#include "workload/generator.h"
#include "workload/model.h"
#include "workload/unlimited.h"

#define REQUESTS 12031u
#define TURNS 5u

static struct ist_generator *generator_of(uint64_t seed) {
    struct ist_generator *generator = NULL;
    assert_int_equal(ist_generator_new(ist_alloc_system(), seed, &generator), IST_OK);
    return generator;
}

static uint64_t digest(uint64_t digest, uint64_t number) { /* FNV-1a, a word at a time */
    return (digest ^ number) * 0x100000001b3ull;
}

static uint64_t digest_of(uint64_t seed, unsigned requests) {
    struct ist_generator *generator = generator_of(seed);
    uint64_t sum = 0xcbf29ce484222325ull;
    for (unsigned i = 0; i < requests; i++) {
        struct ist_trace_request request;
        assert_int_equal(ist_generator_next(generator, &request), IST_OK);
        sum = digest(digest(digest(sum, request.arrival_ms), request.input_tokens),
                     request.output_tokens);
        for (size_t b = 0; b < request.block_count; b++) {
            sum = digest(sum, request.blocks[b]);
        }
    }
    ist_generator_free(generator);
    return sum;
}

/* Results that were published with a seed must be repeatable: a change of this number is a new trace. */
static void test_next__known_seed__golden_digest(void **state) {
    (void)state;
    assert_true(digest_of(1, 2000) == 0xfec19bebb933d272ull);
}

static void test_next__same_seed_same_trace__another_seed_another(void **state) {
    (void)state;
    assert_true(digest_of(7, 300) == digest_of(7, 300));
    assert_true(digest_of(7, 300) != digest_of(8, 300));
    assert_true(digest_of(0, 300) != digest_of(UINT64_MAX, 300));
}

/* What every single request must be. */
static void test_next__any_request__well_formed(void **state) {
    (void)state;
    struct ist_generator *generator = generator_of(2);
    uint64_t before_ms = 0, fresh = 1;
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct ist_trace_request request;
        assert_int_equal(ist_generator_next(generator, &request), IST_OK);
        assert_true(request.arrival_ms >= before_ms);
        before_ms = request.arrival_ms;
        assert_true(request.input_tokens >= 1 &&
                    request.input_tokens <= IST_GENERATOR_INPUT_TOKENS_MAX);
        assert_true(request.output_tokens >= 1);
        assert_int_equal(request.block_count,
                         (request.input_tokens + IST_BLOCK_TOKENS - 1) / IST_BLOCK_TOKENS);
        assert_int_equal(request.blocks[0], 0);
        /* old blocks first, new ones numbered as they appear: prefixes stay prefixes */
        size_t b = 1;
        while (b < request.block_count && request.blocks[b] < fresh) {
            b++;
        }
        for (; b < request.block_count; b++) {
            assert_int_equal(request.blocks[b], fresh++);
        }
    }
    ist_generator_free(generator);
}

/* ---- shape ---------------------------------------------------------------------------------------- */

struct shape {
    uint64_t *input, *output, *count, *gap_ms; /* of each request; gaps: of each continuation */
    size_t *turn;                              /* of each request: 0 begins a session */
    uint64_t *arrival_ms;
    bool *continued;
    uint32_t *uses, *last; /* of each block; last: the request that used it, plus 1 */
    size_t blocks, references, continuations;
    uint64_t unlimited_hits;
};

static void *zeroed(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    assert_non_null(memory);
    return memory;
}

static void shape_init(struct shape *shape) {
    size_t blocks_max = REQUESTS * 64ull;
    *shape = (struct shape){
        .input = zeroed(REQUESTS, sizeof(uint64_t)),
        .output = zeroed(REQUESTS, sizeof(uint64_t)),
        .count = zeroed(REQUESTS, sizeof(uint64_t)),
        .gap_ms = zeroed(REQUESTS, sizeof(uint64_t)),
        .turn = zeroed(REQUESTS, sizeof(size_t)),
        .arrival_ms = zeroed(REQUESTS, sizeof(uint64_t)),
        .continued = zeroed(REQUESTS, sizeof(bool)),
        .uses = zeroed(blocks_max, sizeof(uint32_t)),
        .last = zeroed(blocks_max, sizeof(uint32_t)),
    };
}

static void shape_fini(struct shape *shape) {
    free(shape->input);
    free(shape->output);
    free(shape->count);
    free(shape->gap_ms);
    free(shape->turn);
    free(shape->arrival_ms);
    free(shape->continued);
    free(shape->uses);
    free(shape->last);
}

/* Request i continues the last one that used its deepest known block, the root apart. */
static void shape_add(struct shape *shape, size_t i, const struct ist_trace_request *request) {
    size_t known = 0;
    while (known < request->block_count && shape->uses[request->blocks[known]] > 0) {
        known++;
    }
    if (known >= 2) {
        size_t before = shape->last[request->blocks[known - 1]] - 1;
        shape->gap_ms[shape->continuations++] = request->arrival_ms - shape->arrival_ms[before];
        shape->turn[i] = shape->turn[before] + 1;
        shape->continued[before] = true;
    }
    for (size_t b = 0; b < request->block_count; b++) {
        uint64_t block = request->blocks[b];
        shape->blocks = block >= shape->blocks ? block + 1 : shape->blocks;
        shape->uses[block]++;
        shape->last[block] = (uint32_t)i + 1;
    }
    shape->references += request->block_count;
    shape->arrival_ms[i] = request->arrival_ms;
    shape->input[i] = request->input_tokens;
    shape->output[i] = request->output_tokens;
    shape->count[i] = request->block_count;
}

static void shape_measure(struct shape *shape, uint64_t seed) {
    struct ist_generator *generator = generator_of(seed);
    struct ist_unlimited *unlimited = NULL;
    assert_int_equal(ist_unlimited_new(ist_alloc_system(), &unlimited), IST_OK);
    for (size_t i = 0; i < REQUESTS; i++) {
        struct ist_trace_request request;
        size_t hits = 0;
        assert_int_equal(ist_generator_next(generator, &request), IST_OK);
        shape_add(shape, i, &request);
        assert_int_equal(ist_unlimited_request(unlimited, request.blocks, request.block_count, &hits),
                         IST_OK);
        shape->unlimited_hits += hits;
    }
    ist_unlimited_free(unlimited);
    ist_generator_free(generator);
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const uint64_t *values, size_t count, double share) {
    uint64_t *sorted = zeroed(count, sizeof(*sorted));
    memcpy(sorted, values, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), compare);
    double value = (double)sorted[(size_t)(share * (double)(count - 1))];
    free(sorted);
    return value;
}

static void assert_within(const char *what, double value, double published, double tolerance) {
    if (value < published - tolerance || value > published + tolerance) {
        fail_msg("%s: %g, published %g, tolerance %g", what, value, published, tolerance);
    }
}

/* Lengths and counts within a fifth of the published ones. */
#define assert_near(what, value, published) assert_within(what, value, published, (published) / 5.0)

static void assert_lengths(const struct shape *shape) {
    assert_near("input p10", percentile(shape->input, REQUESTS, .1), 964);
    assert_near("input p50", percentile(shape->input, REQUESTS, .5), 6909);
    assert_near("input p90", percentile(shape->input, REQUESTS, .9), 27367);
    assert_near("input p99", percentile(shape->input, REQUESTS, .99), 85400);
    assert_near("output p50", percentile(shape->output, REQUESTS, .5), 350);
    assert_near("blocks p50", percentile(shape->count, REQUESTS, .5), 14);
    assert_near("blocks mean", (double)shape->references / REQUESTS, 24);
    assert_near("blocks p99", percentile(shape->count, REQUESTS, .99), 167);
    assert_near("seconds", (double)shape->arrival_ms[REQUESTS - 1] / 1000, 3537);
}

static void assert_sessions(const struct shape *shape) {
    /* The published .34 .45 .57 .66 .7 leave out the sessions that the end of the hour cuts; this is what
     * is left of them when they are counted as here. */
    static const double counted[TURNS] = {.31, .42, .51, .59, .6};
    size_t requests[TURNS] = {0}, continued[TURNS] = {0};
    for (size_t i = 0; i < REQUESTS; i++) {
        size_t turn = shape->turn[i] < TURNS ? shape->turn[i] : TURNS - 1;
        requests[turn]++;
        continued[turn] += shape->continued[i];
    }
    for (size_t turn = 0; turn < TURNS; turn++) {
        char what[32];
        snprintf(what, sizeof(what), "P(continued) of turn %zu", turn);
        assert_within(what, (double)continued[turn] / (double)requests[turn], counted[turn], .06);
    }
    assert_within("share of continuations", (double)shape->continuations / REQUESTS, .39, .03);
    assert_near("gap p10", percentile(shape->gap_ms, shape->continuations, .1), 42000);
    assert_near("gap p50", percentile(shape->gap_ms, shape->continuations, .5), 123000);
    assert_near("gap p90", percentile(shape->gap_ms, shape->continuations, .9), 483000);
    assert_near("gap p99", percentile(shape->gap_ms, shape->continuations, .99), 1477000);
}

static void assert_reuse(const struct shape *shape) {
    size_t once = 0, most = 0;
    for (size_t b = 0; b < shape->blocks; b++) {
        once += shape->uses[b] == 1;
        most = b > 0 && shape->uses[b] > most ? shape->uses[b] : most;
    }
    assert_int_equal(shape->uses[0], REQUESTS);
    assert_true(most >= 8 && most <= 43);
    assert_within("share of blocks used once", (double)once / (double)shape->blocks, .76, .08);
    assert_near("distinct blocks", (double)shape->blocks, 182790);
    assert_within("hits of an unlimited cache",
                  (double)shape->unlimited_hits / (double)shape->references, .3664, .04);
}

static void test_next__an_hour_of_traffic__shaped_like_the_published_trace(void **state) {
    (void)state;
    uint64_t seeds = getenv("IST_TEST_SHORT") != NULL ? 1 : 5;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct shape shape;
        shape_init(&shape);
        shape_measure(&shape, seed);
        assert_lengths(&shape);
        assert_sessions(&shape);
        assert_reuse(&shape);
        shape_fini(&shape);
    }
}

static void test_next__nth_allocation_fails__no_memory_and_nothing_leaks(void **state) {
    (void)state;
    enum ist_status status = IST_NO_MEMORY;
    uint64_t n = 0;
    while (status != IST_OK) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, ++n);
        struct ist_generator *generator = NULL;
        status = ist_generator_new(&failing.alloc, 1, &generator);
        struct ist_trace_request request;
        for (unsigned i = 0; i < 200 && status == IST_OK; i++) { /* the heap of sessions grows once */
            status = ist_generator_next(generator, &request);
        }
        assert_int_equal(status, failing.calls >= n ? IST_NO_MEMORY : IST_OK);
        ist_generator_free(generator);
        assert_int_equal(failing.live, 0);
    }
    assert_true(n > 200);
}

static void test_free__null__nothing(void **state) {
    (void)state;
    ist_generator_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next__known_seed__golden_digest),
        cmocka_unit_test(test_next__same_seed_same_trace__another_seed_another),
        cmocka_unit_test(test_next__any_request__well_formed),
        cmocka_unit_test(test_next__an_hour_of_traffic__shaped_like_the_published_trace),
        cmocka_unit_test(test_next__nth_allocation_fails__no_memory_and_nothing_leaks),
        cmocka_unit_test(test_free__null__nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The cache that never evicts: against a naive twin, and on the published traces. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"
#include "workload/trace.h"
#include "workload/unlimited.h"

static struct ist_unlimited *unlimited_new(void) {
    struct ist_unlimited *unlimited = NULL;
    assert_int_equal(ist_unlimited_new(ist_alloc_system(), &unlimited), IST_OK);
    return unlimited;
}

static size_t hits_of(struct ist_unlimited *unlimited, size_t count, const uint64_t *blocks) {
    size_t hits = SIZE_MAX;
    assert_int_equal(ist_unlimited_request(unlimited, blocks, count, &hits), IST_OK);
    return hits;
}

static void test_request__prefix_of_earlier_ones__counted_up_to_the_first_hole(void **state) {
    (void)state;
    struct ist_unlimited *unlimited = unlimited_new();
    assert_int_equal(hits_of(unlimited, 3, (const uint64_t[]){0, 1, 2}), 0);
    assert_int_equal(hits_of(unlimited, 3, (const uint64_t[]){0, 1, 2}), 3);
    assert_int_equal(hits_of(unlimited, 4, (const uint64_t[]){0, 1, 9, 2}), 2); /* 2 is behind a hole */
    assert_int_equal(hits_of(unlimited, 4, (const uint64_t[]){0, 1, 9, 2}), 4);
    assert_int_equal(hits_of(unlimited, 1, (const uint64_t[]){7}), 0);
    assert_int_equal(ist_unlimited_distinct(unlimited), 5);
    ist_unlimited_free(unlimited);
}

static void test_request__same_block_twice_in_it__no_hit_on_itself(void **state) {
    (void)state;
    struct ist_unlimited *unlimited = unlimited_new();
    assert_int_equal(hits_of(unlimited, 3, (const uint64_t[]){5, 5, 5}), 0);
    assert_int_equal(ist_unlimited_distinct(unlimited), 1);
    ist_unlimited_free(unlimited);
}

static void test_request__ids_at_both_ends__like_any_other(void **state) {
    (void)state;
    struct ist_unlimited *unlimited = unlimited_new();
    assert_int_equal(hits_of(unlimited, 3, (const uint64_t[]){UINT64_MAX, 0, UINT64_MAX - 1}), 0);
    assert_int_equal(hits_of(unlimited, 3, (const uint64_t[]){UINT64_MAX, 0, UINT64_MAX - 1}), 3);
    assert_int_equal(ist_unlimited_distinct(unlimited), 3);
    ist_unlimited_free(unlimited);
}

#define TWIN_BLOCKS 4096u

/* Ids that are far apart and collide in their low bits, through several growths. */
static uint64_t spread(uint64_t block) {
    return block << 40 | (block % 3);
}

static void test_request__random_ones__like_the_twin(void **state) {
    (void)state;
    struct ist_unlimited *unlimited = unlimited_new();
    bool *seen = calloc(TWIN_BLOCKS, sizeof(*seen));
    assert_non_null(seen);
    uint64_t random = 1;
    size_t distinct = 0;
    for (int round = 0; round < 3000; round++) {
        uint64_t blocks[20], raw[20];
        size_t count = 1 + random_below(&random, 20), expected = 0;
        for (size_t i = 0; i < count; i++) {
            raw[i] = random_below(&random, i < 10 ? 40 : TWIN_BLOCKS);
            blocks[i] = spread(raw[i]);
        }
        while (expected < count && seen[raw[expected]]) {
            expected++;
        }
        for (size_t i = 0; i < count; i++) {
            distinct += !seen[raw[i]];
            seen[raw[i]] = true;
        }
        assert_int_equal(hits_of(unlimited, count, blocks), expected);
        assert_int_equal(ist_unlimited_distinct(unlimited), distinct);
    }
    assert_true(distinct > 2048); /* more than twice the first room: it grew, more than once */
    free(seen);
    ist_unlimited_free(unlimited);
}

static void test_request__nth_allocation_fails__nothing_is_remembered(void **state) {
    (void)state;
    uint64_t blocks[2000];
    for (size_t i = 0; i < 2000; i++) {
        blocks[i] = i;
    }
    enum ist_status status = IST_NO_MEMORY;
    uint64_t n = 0;
    while (status != IST_OK) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, ++n);
        struct ist_unlimited *unlimited = NULL;
        status = ist_unlimited_new(&failing.alloc, &unlimited);
        if (status == IST_OK) {
            size_t hits = 0;
            assert_int_equal(ist_unlimited_request(unlimited, blocks, 5, &hits), IST_OK);
            status = ist_unlimited_request(unlimited, blocks, 2000, &hits);
            assert_int_equal(ist_unlimited_distinct(unlimited), status == IST_OK ? 2000 : 5);
            assert_int_equal(hits_of(unlimited, 6, blocks), status == IST_OK ? 6 : 5);
        }
        assert_int_equal(status, failing.calls >= n ? IST_NO_MEMORY : IST_OK);
        ist_unlimited_free(unlimited);
        assert_int_equal(failing.live, 0);
    }
    assert_int_equal(n, 4); /* the object, its slots, more slots */
}

/* ---- published traces ------------------------------------------------------------------------------ */

struct expected {
    const char *path;
    uint64_t requests, references, distinct;
    double percent; /* to two decimals */
};

static void assert_trace(const struct expected *expected) {
    FILE *file = fopen(expected->path, "re");
    if (file == NULL) {
        print_message("%s is not there\n", expected->path);
        skip();
    }
    struct ist_trace_reader *reader = NULL;
    struct ist_unlimited *unlimited = unlimited_new();
    assert_int_equal(
        ist_trace_reader_new(ist_alloc_system(), expected->path, ist_source_of_file(file), &reader),
        IST_OK);
    uint64_t requests = 0, references = 0, hits = 0;
    struct ist_trace_request request;
    enum ist_status status;
    while ((status = ist_trace_reader_next(reader, &request)) == IST_OK) {
        requests++;
        references += request.block_count;
        hits += hits_of(unlimited, request.block_count, request.blocks);
    }
    assert_int_equal(status, IST_NOT_FOUND);
    assert_int_equal(requests, expected->requests);
    if (expected->references != 0) {
        assert_int_equal(references, expected->references);
        assert_int_equal(ist_unlimited_distinct(unlimited), expected->distinct);
    }
    double percent = 100.0 * (double)hits / (double)references;
    assert_true(percent > expected->percent - .005 && percent < expected->percent + .005);
    ist_unlimited_free(unlimited);
    ist_trace_reader_free(reader);
    fclose(file);
}

static void test_traces__conversation__36_64_percent(void **state) {
    (void)state;
    assert_trace(&(const struct expected){.path = "../shared/data/conversation_trace.jsonl",
                                          .requests = 12031,
                                          .references = 288500,
                                          .distinct = 182790,
                                          .percent = 36.64});
}

static void test_traces__agent_sessions__96_47_percent(void **state) {
    (void)state;
    if (getenv("IST_TEST_SHORT") != NULL) {
        skip(); /* six million ids */
    }
    assert_trace(&(const struct expected){
        .path = "../shared/data/agent_sessions_a.jsonl.xz", .requests = 24902, .percent = 96.47});
}

static void test_free__null__nothing(void **state) {
    (void)state;
    ist_unlimited_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request__prefix_of_earlier_ones__counted_up_to_the_first_hole),
        cmocka_unit_test(test_request__same_block_twice_in_it__no_hit_on_itself),
        cmocka_unit_test(test_request__ids_at_both_ends__like_any_other),
        cmocka_unit_test(test_request__random_ones__like_the_twin),
        cmocka_unit_test(test_request__nth_allocation_fails__nothing_is_remembered),
        cmocka_unit_test(test_traces__conversation__36_64_percent),
        cmocka_unit_test(test_traces__agent_sessions__96_47_percent),
        cmocka_unit_test(test_free__null__nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* sim/hca: its clock and its numbers. */
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

#include "sim/hca/clock.h"
#include "sim/hca/number.h"

/* ---- clock --------------------------------------------------------------------------------------- */

static int by_order(const void *left, const void *right) {
    const struct hca_event *a = *(const struct hca_event *const *)left;
    const struct hca_event *b = *(const struct hca_event *const *)right;
    if (a->at_ns != b->at_ns) {
        return a->at_ns < b->at_ns ? -1 : 1;
    }
    if (a->tie != b->tie) {
        return a->tie < b->tie ? -1 : 1;
    }
    return a->serial < b->serial ? -1 : a->serial > b->serial;
}

static void test_clock__random_events_and_cancels__in_order(void **state) {
    (void)state;
    enum { EVENTS = 200 };
    uint64_t random = 1;
    for (int round = 0; round < 200; round++) {
        struct hca_clock clock;
        struct hca_event event[EVENTS], *expected[EVENTS];
        size_t left = 0;
        memset(event, 0, sizeof(event));
        hca_clock_init(&clock, ist_alloc_system());
        assert_true(hca_clock_reserve(&clock, EVENTS));
        for (int i = 0; i < EVENTS; i++) {
            hca_clock_schedule(&clock, &event[i], random_below(&random, 50), random_below(&random, 3));
        }
        for (int i = 0; i < EVENTS; i += 3) {
            hca_clock_move(&clock, &event[i], random_below(&random, 50), random_below(&random, 3));
        }
        for (int i = 0; i < EVENTS; i++) {
            if (random_below(&random, 3) == 0) {
                hca_clock_cancel(&clock, &event[i]);
                hca_clock_cancel(&clock, &event[i]);
                assert_false(hca_event_is_scheduled(&event[i]));
                if (i % 2 == 0) {
                    hca_clock_move(&clock, &event[i], 7, 1);
                    expected[left++] = &event[i];
                }
            } else {
                expected[left++] = &event[i];
            }
        }
        qsort(expected, left, sizeof(expected[0]), by_order);
        for (size_t i = 0; i < left; i++) {
            assert_ptr_equal(hca_clock_next(&clock), expected[i]);
            assert_int_equal(clock.now_ns, expected[i]->at_ns);
        }
        assert_null(hca_clock_next(&clock));
        hca_clock_fini(&clock);
    }
}

static void test_clock__event_in_the_past__is_now(void **state) {
    (void)state;
    struct hca_clock clock;
    struct hca_event event[2];
    memset(event, 0, sizeof(event));
    hca_clock_init(&clock, ist_alloc_system());
    assert_true(hca_clock_reserve(&clock, 2));
    hca_clock_schedule(&clock, &event[0], 100, 0);
    assert_non_null(hca_clock_next(&clock));
    hca_clock_schedule(&clock, &event[1], 50, 0);
    assert_non_null(hca_clock_next(&clock));
    assert_int_equal(clock.now_ns, 100);
    hca_clock_fini(&clock);
}

static void test_clock_reserve__no_memory__false_and_nothing_changes(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct hca_clock clock;
    failing_alloc_init(&failing, 2);
    hca_clock_init(&clock, &failing.alloc);
    assert_true(hca_clock_reserve(&clock, 1));
    assert_false(hca_clock_reserve(&clock, 100));
    assert_int_equal(clock.reserved, 1);
    assert_true(hca_clock_reserve(&clock, 100));
    hca_clock_unreserve(&clock, 101);
    hca_clock_fini(&clock);
    assert_int_equal(failing.live, 0);
}

/* ---- numbers ------------------------------------------------------------------------------------- */

static void test_numbers__all_of_16_bits__each_once_and_then_none(void **state) {
    (void)state;
    enum { ALL = 1 << 16, GIVEN = ALL - 3 };
    struct hca_numbers numbers;
    uint8_t *seen = calloc(ALL, 1);
    assert_non_null(seen);
    hca_numbers_init(&numbers, ist_alloc_system(), 16, 5);
    uint32_t number;
    for (int i = 0; i < GIVEN; i++) {
        assert_true(hca_numbers_add(&numbers, seen + i, &number));
        assert_true(number < ALL && seen[number] == 0);
        seen[number] = 1;
        assert_ptr_equal(hca_numbers_find(&numbers, number), seen + i);
        if (i % 2 == 0) {
            hca_numbers_remove(&numbers, number);
            assert_null(hca_numbers_find(&numbers, number));
        }
    }
    assert_true(!seen[0] && !seen[1] && !seen[ALL - 1]);
    assert_false(hca_numbers_add(&numbers, seen, &number));
    assert_null(hca_numbers_find(&numbers, ALL + 7));
    size_t serial = 0, found = 0;
    for (uint8_t *object, *last = seen; (object = hca_numbers_next(&numbers, &serial)) != NULL;
         found++) {
        assert_true(object > last);
        last = object;
    }
    assert_int_equal(found, GIVEN / 2);
    hca_numbers_fini(&numbers);
    free(seen);
}

static void test_numbers__never_given__not_found(void **state) {
    (void)state;
    struct hca_numbers numbers;
    hca_numbers_init(&numbers, ist_alloc_system(), 32, 6);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_null(hca_numbers_find(&numbers, i * 4294967));
    }
    assert_null(hca_numbers_find(&numbers, UINT32_MAX));
    hca_numbers_fini(&numbers);
}

static void test_numbers__other_seed__other_numbers(void **state) {
    (void)state;
    uint32_t number[2][20];
    int same = 0;
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct hca_numbers numbers;
        hca_numbers_init(&numbers, ist_alloc_system(), 24, seed);
        for (int i = 0; i < 20; i++) {
            assert_true(hca_numbers_add(&numbers, &numbers, &number[seed][i]));
        }
        hca_numbers_fini(&numbers);
    }
    for (int i = 0; i < 20; i++) {
        same += number[0][i] == number[1][i];
    }
    assert_int_equal(same, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock__random_events_and_cancels__in_order),
        cmocka_unit_test(test_clock__event_in_the_past__is_now),
        cmocka_unit_test(test_clock_reserve__no_memory__false_and_nothing_changes),
        cmocka_unit_test(test_numbers__all_of_16_bits__each_once_and_then_none),
        cmocka_unit_test(test_numbers__never_given__not_found),
        cmocka_unit_test(test_numbers__other_seed__other_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The simulator's oracle: what it accepts and what it does not. */
#include "sim/fabric.h"
#include "sim/history.h"
#include "tests/support.h"

#define KEY 77u
#define SERVER 1u

struct fixture {
    struct sim_history *history;
    uint32_t life;
};

static int setup(void **state) {
    struct fixture *fixture = test_malloc(sizeof(*fixture));
    fixture->history = sim_history_new();
    fixture->life = sim_history_life(fixture->history, SERVER);
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    sim_history_free(fixture->history);
    test_free(fixture);
    return 0;
}

static struct sim_window window(uint64_t begin_ns, uint64_t end_ns) {
    return (struct sim_window){begin_ns, end_ns};
}

static uint64_t begin_put(struct fixture *f, uint64_t begin_ns) {
    return sim_history_put(f->history, SERVER, KEY, 100, begin_ns);
}

static uint64_t put(struct fixture *f, uint64_t begin_ns, uint64_t end_ns) {
    uint64_t version = begin_put(f, begin_ns);
    assert_null(sim_history_put_done(f->history, f->life, version, window(begin_ns, end_ns)));
    return version;
}

static const char *got(struct fixture *f, uint64_t version, uint64_t begin_ns, uint64_t end_ns) {
    return sim_history_got(f->history, f->life, version, window(begin_ns, end_ns));
}

static const char *removed(struct fixture *f, uint64_t begin_ns, uint64_t end_ns) {
    uint64_t number = sim_history_remove(f->history, SERVER, KEY, begin_ns);
    return sim_history_removed(f->history, f->life, KEY, number, window(begin_ns, end_ns));
}

/* What is lost counts when the answer is in. */
static uint64_t absent(struct fixture *f, uint64_t begin_ns, uint64_t end_ns) {
    bool lost;
    assert_null(
        sim_history_absent(f->history, f->life, KEY, SIM_NO_VERSION, window(begin_ns, end_ns), &lost));
    return sim_history_lost(f->history, f->life);
}

static void test_got__latest_or_overlapping__accepted(void **state) {
    struct fixture *f = *state;
    uint64_t first = put(f, 0, 10);
    assert_null(got(f, first, 20, 30));
    uint64_t second = begin_put(f, 40);
    assert_null(got(f, first, 41, 50)); /* the second is on its way */
    assert_null(got(f, second, 45, 60));
    assert_null(sim_history_put_done(f->history, f->life, second, window(40, 70)));
    assert_null(got(f, second, 80, 90));
}

static void test_got__overwritten_before__refused(void **state) {
    struct fixture *f = *state;
    uint64_t first = put(f, 0, 10);
    (void)put(f, 20, 30);
    assert_null(got(f, first, 25, 40));     /* it began before the second ended */
    assert_non_null(got(f, first, 31, 40)); /* and this one did not */
}

/* Two readers, one after the other, while a put is on its way: the second may not see the older value. */
static void test_got__old_behind_new__refused(void **state) {
    struct fixture *f = *state;
    uint64_t first = put(f, 0, 10), second = begin_put(f, 20);
    assert_null(got(f, second, 21, 30));
    assert_non_null(got(f, first, 31, 40));
}

static void test_got__put_that_began_later__refused(void **state) {
    struct fixture *f = *state;
    assert_non_null(got(f, begin_put(f, 50), 10, 40));
}

static void test_got__refused_put__refused(void **state) {
    struct fixture *f = *state;
    uint64_t version = begin_put(f, 0);
    sim_history_put_refused(f->history, version);
    assert_non_null(got(f, version, 10, 20));
}

static void test_got__put_without_answer__may_come_late_and_stays(void **state) {
    struct fixture *f = *state;
    uint64_t first = put(f, 0, 10), unknown = begin_put(f, 20);
    assert_null(got(f, first, 1000, 1010));
    assert_null(got(f, unknown, 2000, 2010));
    assert_non_null(got(f, first, 3000, 3010));
}

static void test_got__other_life__refused(void **state) {
    struct fixture *f = *state;
    uint64_t version = put(f, 0, 10), unknown = begin_put(f, 11);
    f->life = sim_history_life(f->history, SERVER);
    assert_non_null(got(f, version, 20, 30));
    assert_null(got(f, unknown, 20, 30)); /* nobody knows where it went */
}

static void test_got__after_remove__refused(void **state) {
    struct fixture *f = *state;
    uint64_t version = put(f, 0, 10);
    assert_null(removed(f, 20, 30));
    assert_null(got(f, version, 25, 40));
    assert_non_null(got(f, version, 31, 40));
}

static void test_removed__seen_before_and_after__refused(void **state) {
    struct fixture *f = *state;
    uint64_t version = put(f, 0, 10);
    assert_null(got(f, version, 50, 60));
    assert_non_null(removed(f, 20, 30)); /* its answer came late, and it cannot be true */
}

static void test_purged__seen_after__refused(void **state) {
    struct fixture *f = *state;
    uint64_t version = put(f, 0, 10);
    uint64_t number = sim_history_purge(f->history, SERVER, 20);
    assert_null(sim_history_purged(f->history, f->life, number, window(20, 30)));
    assert_non_null(got(f, version, 31, 40));
}

static void test_absent__then_back__refused(void **state) {
    struct fixture *f = *state;
    uint64_t version = put(f, 0, 10);
    assert_int_equal(absent(f, 20, 30), 1);
    assert_non_null(got(f, version, 31, 40));
}

static void test_absent__reasons__nothing_is_lost(void **state) {
    struct fixture *f = *state;
    assert_int_equal(absent(f, 0, 5), 0); /* never put */
    uint64_t version = begin_put(f, 10);
    assert_int_equal(absent(f, 11, 20), 0); /* not yet */
    assert_null(sim_history_put_done(f->history, f->life, version, window(10, 30)));
    (void)sim_history_remove(f->history, SERVER, KEY,
                             40); /* no answer: it may be executed at any time */
    assert_int_equal(absent(f, 50, 60), 0);
}

static void test_absent__no_reason__lost_once_for_each_eviction(void **state) {
    struct fixture *f = *state;
    (void)put(f, 0, 10);
    assert_int_equal(absent(f, 20, 30), 1);
    assert_int_equal(absent(f, 40, 50), 1); /* the same loss */
    (void)put(f, 60, 70);
    assert_int_equal(absent(f, 80, 90), 2);
}

/* Both were put before the first absence ended: one eviction explains both answers. */
static void test_absent__put_meanwhile__one_eviction(void **state) {
    struct fixture *f = *state;
    (void)put(f, 0, 10);
    uint64_t second = begin_put(f, 15);
    assert_int_equal(absent(f, 20, 40), 1);
    assert_null(sim_history_put_done(f->history, f->life, second, window(15, 35)));
    assert_int_equal(absent(f, 50, 60), 1);
}

static void test_present__nothing_can_be_there__refused(void **state) {
    struct fixture *f = *state;
    assert_non_null(sim_history_present(f->history, f->life, KEY, SIM_NO_VERSION, window(0, 10)));
    uint64_t version = put(f, 20, 30);
    assert_null(sim_history_present(f->history, f->life, KEY, SIM_NO_VERSION, window(25, 40)));
    assert_non_null(sim_history_present(f->history, f->life, KEY, version, window(25, 40)));
    assert_null(removed(f, 50, 60));
    assert_non_null(sim_history_present(f->history, f->life, KEY, SIM_NO_VERSION, window(61, 70)));
    assert_false(sim_history_may_be_present(f->history, f->life, KEY, window(61, 70)));
}

/* Two keys of one request, and a get of both. */
static void test_both__new_beside_old__refused(void **state) {
    struct fixture *f = *state;
    uint64_t old = sim_history_put(f->history, SERVER, KEY + 1, 100, 0);
    assert_null(sim_history_put_done(f->history, f->life, old, window(0, 10)));
    uint64_t first = sim_history_put(f->history, SERVER, KEY, 100, 20);
    uint64_t second = sim_history_put(f->history, SERVER, KEY + 1, 100, 20);
    sim_history_together(f->history, first, 2);
    assert_null(sim_history_both(f->history, first, second));
    assert_null(sim_history_both(f->history, second, first));
    assert_null(sim_history_put_done(f->history, f->life, second, window(20, 30)));
    assert_non_null(sim_history_both(f->history, first, old));
    assert_null(sim_history_both(f->history, old, first)); /* it came alone */
    uint64_t newer = sim_history_put(f->history, SERVER, KEY + 1, 100, 20);
    assert_null(
        sim_history_both(f->history, first, newer)); /* which of the two was first nobody knows */
}

/* The get is answered before the put: whether the second was stored shows later. */
static void test_both__new_beside_old_while_put__refused_when_it_was_stored(void **state) {
    struct fixture *f = *state;
    uint64_t old = sim_history_put(f->history, SERVER, KEY + 1, 100, 0);
    assert_null(sim_history_put_done(f->history, f->life, old, window(0, 10)));
    for (uint64_t at_ns = 20; at_ns <= 40; at_ns += 20) {
        uint64_t first = sim_history_put(f->history, SERVER, KEY, 100, at_ns);
        uint64_t second = sim_history_put(f->history, SERVER, KEY + 1, 100, at_ns);
        sim_history_together(f->history, first, 2);
        assert_null(sim_history_both(f->history, first, old));
        if (at_ns == 20) {
            sim_history_put_refused(f->history, second);
            assert_null(sim_history_put_done(f->history, f->life, first, window(20, 25)));
        } else {
            assert_non_null(sim_history_put_done(f->history, f->life, second, window(40, 50)));
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_got__latest_or_overlapping__accepted),
        TEST(test_got__overwritten_before__refused),
        TEST(test_got__old_behind_new__refused),
        TEST(test_got__put_that_began_later__refused),
        TEST(test_got__refused_put__refused),
        TEST(test_got__put_without_answer__may_come_late_and_stays),
        TEST(test_got__other_life__refused),
        TEST(test_got__after_remove__refused),
        TEST(test_removed__seen_before_and_after__refused),
        TEST(test_purged__seen_after__refused),
        TEST(test_absent__then_back__refused),
        TEST(test_absent__reasons__nothing_is_lost),
        TEST(test_absent__no_reason__lost_once_for_each_eviction),
        TEST(test_absent__put_meanwhile__one_eviction),
        TEST(test_present__nothing_can_be_there__refused),
        TEST(test_both__new_beside_old__refused),
        TEST(test_both__new_beside_old_while_put__refused_when_it_was_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/bench_crew: everyone works, once, where it was told to. */
#include "tests/support.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "tools/bench_clock.h"
#include "tools/bench_crew.h"

#define MEMBERS 20
static const struct ist_bench_list anywhere = {.count = 0};

struct shared {
    atomic_uint worked[MEMBERS];
    atomic_size_t here; /* of those that stand in work() */
    uint64_t until_ns;
    int cpu;
    atomic_bool elsewhere;
};

static void count_me(void *context, size_t member) {
    struct shared *shared = context;
    atomic_fetch_add(&shared->worked[member], 1);
}

static void test_run__many__each_once(void **state) {
    (void)state;
    struct shared shared = {0};
    uint64_t elapsed_ns = 0;
    assert_int_equal(ist_bench_crew_run(MEMBERS, &anywhere, count_me, &shared, &elapsed_ns), IST_OK);
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_int_equal(atomic_load(&shared.worked[i]), 1);
    }
    assert_true(elapsed_ns > 0);
}

/* Returns only when all are in it: nobody waits for another to end. */
static void meet_all(void *context, size_t member) {
    struct shared *shared = context;
    (void)member;
    atomic_fetch_add(&shared->here, 1);
    while (atomic_load(&shared->here) < MEMBERS && ist_bench_now_ns() < shared->until_ns) {
        sched_yield();
    }
}

static void test_run__many__at_the_same_time(void **state) {
    (void)state;
    struct shared shared = {.until_ns = ist_bench_now_ns() + 30 * 1000000000ull};
    uint64_t elapsed_ns = 0, begin_ns = ist_bench_now_ns();
    assert_int_equal(ist_bench_crew_run(MEMBERS, &anywhere, meet_all, &shared, &elapsed_ns), IST_OK);
    assert_int_equal(atomic_load(&shared.here), MEMBERS);
    assert_true(elapsed_ns <= ist_bench_now_ns() - begin_ns);
}

static void work_until(void *context, size_t member) {
    struct shared *shared = context;
    (void)member;
    while (ist_bench_now_ns() < shared->until_ns) {
    }
}

static void test_run__elapsed__no_shorter_than_the_work(void **state) {
    (void)state;
    uint64_t begin_ns = ist_bench_now_ns(), elapsed_ns = 0;
    struct shared shared = {.until_ns = begin_ns + 5000000};
    assert_int_equal(ist_bench_crew_run(2, &anywhere, work_until, &shared, &elapsed_ns), IST_OK);
    /* From the first begin, which is at the start of this test or later, to the last end. */
    assert_true(elapsed_ns <= ist_bench_now_ns() - begin_ns);
    assert_true(begin_ns + elapsed_ns <= ist_bench_now_ns());
    assert_true(elapsed_ns > 0);
}

static void check_cpu(void *context, size_t member) {
    struct shared *shared = context;
    (void)member;
    cpu_set_t now;
    CPU_ZERO(&now);
    sched_getaffinity(0, sizeof now, &now);
    if (CPU_COUNT(&now) != 1 || !CPU_ISSET((size_t)shared->cpu, &now)) {
        atomic_store(&shared->elsewhere, true);
    }
}

static void test_run__pinned__only_there_and_the_caller_not(void **state) {
    (void)state;
    cpu_set_t before, after;
    CPU_ZERO(&before);
    CPU_ZERO(&after);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    struct shared shared = {.cpu = sched_getcpu()};
    const struct ist_bench_list pin = {{(uint64_t)shared.cpu}, 1};
    assert_int_equal(ist_bench_crew_run(3, &pin, check_cpu, &shared, NULL), IST_OK);
    assert_false(atomic_load(&shared.elsewhere));
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void test_pin__no_such_cpu__config(void **state) {
    (void)state;
    const struct ist_bench_list none = {{1023}, 1};
    assert_int_equal(ist_bench_pin(&none), IST_CONFIG);
    assert_int_equal(ist_bench_pin(&anywhere), IST_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__many__each_once),
        cmocka_unit_test(test_run__many__at_the_same_time),
        cmocka_unit_test(test_run__elapsed__no_shorter_than_the_work),
        cmocka_unit_test(test_run__pinned__only_there_and_the_caller_not),
        cmocka_unit_test(test_pin__no_such_cpu__config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

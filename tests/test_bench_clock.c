/* src/tools/bench_clock: whatever it reads, it goes as the kernel's clock does. */
#include "tests/support.h"

#include <time.h>

#include "tools/bench_clock.h"

static uint64_t kernel_ns(void) {
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* Between two readings of the kernel's, give or take one part in a hundred of what has passed since the start. */
static void expect_now(uint64_t start_ns) {
    uint64_t before_ns = kernel_ns(), now_ns = ist_bench_now_ns(), after_ns = kernel_ns();
    uint64_t slack_ns = (after_ns - start_ns) / 100 + 100000;
    assert_in_range(now_ns, before_ns - slack_ns, after_ns + slack_ns);
}

static void test_now__without_and_with_a_counter__as_the_kernel_says(void **state) {
    (void)state;
    uint64_t start_ns = kernel_ns();
    expect_now(start_ns);
    ist_bench_clock_init();
    expect_now(start_ns);
    nanosleep(&(const struct timespec){.tv_nsec = 200000000}, NULL);
    expect_now(start_ns);
}

static void test_now__again_and_again__never_goes_back(void **state) {
    (void)state;
    ist_bench_clock_init();
    uint64_t last_ns = ist_bench_now_ns(), first_ns = last_ns;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now_ns = ist_bench_now_ns();
        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
    assert_true(last_ns > first_ns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now__without_and_with_a_counter__as_the_kernel_says),
        cmocka_unit_test(test_now__again_and_again__never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/daemon/selftest over RDMA, on the software HCA. */
#include "tests/rdma_house.h"

#include <string.h>

#include "daemon/selftest.h"

#define TIMEOUT_NS (60 * IST_NS_PER_SEC) /* never reached by a test that passes */

static void assert_empty(void) {
    struct ist_store_usage usage;
    house_usage(&usage);
    assert_int_equal(usage.keys, 0);
    assert_int_equal(usage.free_bytes, usage.pool_bytes);
}

static void test_run__over_rdma__all_steps_and_nothing_left(void **state) {
    (void)state;
    const struct ist_selftest_rdma rdma = {.device = "server", .port = 1, .hint_gid_index = -1};
    struct ist_selftest result;
    house_begin((struct house_options){.seed = 61});
    for (unsigned i = 0; i < 3; i++) {
        if (!ist_selftest_run(house_endpoint(), &rdma, TIMEOUT_NS, &result)) {
            fail_msg("%s: %s", result.failed, result.error);
        }
        assert_int_equal(result.step_count, 5);
        assert_empty();
    }
    house_await_connections(0);
    house_end();
}

static void test_run__no_such_rdma__connect_fails_and_says_so(void **state) {
    (void)state;
    struct ist_selftest_rdma rdma = {.device = "server", .port = 2, .hint_gid_index = -1};
    struct ist_selftest result;
    house_begin((struct house_options){.seed = 62});
    assert_false(ist_selftest_run(house_endpoint(), &rdma, TIMEOUT_NS, &result));
    assert_string_equal(result.failed, "connect");
    assert_non_null(strstr(result.error, "port 2"));
    /* TCP is not asked of. */
    rdma = (struct ist_selftest_rdma){.device = "server", .port = 1, .hint_gid_index = 200};
    assert_false(ist_selftest_run(house_endpoint(), &rdma, TIMEOUT_NS, &result));
    assert_string_equal(result.failed, "connect");
    assert_non_null(strstr(result.error, "GID"));
    assert_empty();
    house_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__over_rdma__all_steps_and_nothing_left),
        cmocka_unit_test(test_run__no_such_rdma__connect_fails_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

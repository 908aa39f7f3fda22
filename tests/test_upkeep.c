/* src/daemon/upkeep: when the pool grows and when it is thinned out. */
#include "tests/support.h"

#include "daemon/upkeep.h"

#define GIB (1ull << 30)

static const struct ist_upkeep_config config = {.auto_increase = true,
                                                .increase_bytes = 10 * GIB,
                                                .increase_threshold = 0.75,
                                                .periodic_evict = true,
                                                .evict_min_threshold = 0.5,
                                                .evict_max_threshold = 0.75};

static struct ist_store_usage usage_of(uint64_t pool, uint64_t used, uint64_t max) {
    return (struct ist_store_usage){
        .pool_bytes = pool, .free_bytes = pool - used, .pool_bytes_max = max};
}

static struct ist_memory_state state_of(uint64_t ready, uint64_t target) {
    return (struct ist_memory_state){.ready_bytes = ready, .target_bytes = target};
}

static void test_grow_to__above_the_threshold__one_step(void **state) {
    (void)state;
    struct ist_memory_state memory = state_of(16 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(16 * GIB, 12 * GIB, 64 * GIB);
    assert_int_equal(ist_upkeep_grow_to(&config, &usage, &memory), 0);
    usage = usage_of(16 * GIB, 12 * GIB + 1, 64 * GIB);
    assert_int_equal(ist_upkeep_grow_to(&config, &usage, &memory), 26 * GIB);
}

static void test_grow_to__near_the_maximum__no_further(void **state) {
    (void)state;
    struct ist_memory_state memory = state_of(16 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(16 * GIB, 16 * GIB, 17 * GIB);
    assert_int_equal(ist_upkeep_grow_to(&config, &usage, &memory), 17 * GIB);
    usage.pool_bytes_max = 16 * GIB;
    assert_int_equal(ist_upkeep_grow_to(&config, &usage, &memory), 0);
}

static void test_grow_to__still_growing__waits(void **state) {
    (void)state;
    struct ist_memory_state memory = state_of(4 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(4 * GIB, 4 * GIB, 64 * GIB);
    assert_int_equal(ist_upkeep_grow_to(&config, &usage, &memory), 0);
}

static void test_grow_to__not_asked_for__never(void **state) {
    (void)state;
    struct ist_upkeep_config fixed = config;
    fixed.auto_increase = false;
    struct ist_memory_state memory = state_of(16 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(16 * GIB, 16 * GIB, 64 * GIB);
    assert_int_equal(ist_upkeep_grow_to(&fixed, &usage, &memory), 0);
}

static void test_evict_bytes__above_max__down_to_min(void **state) {
    (void)state;
    struct ist_memory_state memory = state_of(16 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(16 * GIB, 12 * GIB, 16 * GIB);
    assert_int_equal(ist_upkeep_evict_bytes(&config, &usage, &memory), 0);
    usage = usage_of(16 * GIB, 12 * GIB + 1, 16 * GIB);
    assert_int_equal(ist_upkeep_evict_bytes(&config, &usage, &memory), 4 * GIB + 1);
}

static void test_evict_bytes__pool_still_growing__judged_by_its_final_size(void **state) {
    (void)state;
    struct ist_memory_state memory = state_of(4 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(4 * GIB, 4 * GIB, 16 * GIB);
    assert_int_equal(ist_upkeep_evict_bytes(&config, &usage, &memory), 0);
}

static void test_evict_bytes__min_above_max__nothing(void **state) {
    (void)state;
    struct ist_upkeep_config odd = config;
    odd.evict_min_threshold = 0.9;
    struct ist_memory_state memory = state_of(16 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(16 * GIB, 13 * GIB, 16 * GIB);
    assert_int_equal(ist_upkeep_evict_bytes(&odd, &usage, &memory), 0);
}

static void test_evict_bytes__not_asked_for__never(void **state) {
    (void)state;
    struct ist_upkeep_config never = config;
    never.periodic_evict = false;
    struct ist_memory_state memory = state_of(16 * GIB, 16 * GIB);
    struct ist_store_usage usage = usage_of(16 * GIB, 16 * GIB, 16 * GIB);
    assert_int_equal(ist_upkeep_evict_bytes(&never, &usage, &memory), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grow_to__above_the_threshold__one_step),
        cmocka_unit_test(test_grow_to__near_the_maximum__no_further),
        cmocka_unit_test(test_grow_to__still_growing__waits),
        cmocka_unit_test(test_grow_to__not_asked_for__never),
        cmocka_unit_test(test_evict_bytes__above_max__down_to_min),
        cmocka_unit_test(test_evict_bytes__pool_still_growing__judged_by_its_final_size),
        cmocka_unit_test(test_evict_bytes__min_above_max__nothing),
        cmocka_unit_test(test_evict_bytes__not_asked_for__never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/replay_plan: blocks that fit the server's pool. */
#include "tests/support.h"

#include "tools/replay_plan.h"

static struct ist_replay_plan plan_of(const char *model, uint64_t layers, uint64_t scale,
                                      uint64_t pool_bytes) {
    const struct ist_replay_options options = {
        .model = ist_model_find(model), .layers = layers, .scale = scale};
    struct ist_replay_plan plan;
    ist_replay_plan_make(&options, pool_bytes, &plan);
    assert_ptr_equal(plan.model, options.model);
    assert_int_equal(plan.block_bytes, plan.layer_bytes * plan.layers);
    assert_int_equal(plan.layer_bytes, ist_model_scaled_block_bytes(plan.model, plan.scale));
    assert_int_equal(plan.pool_bytes, pool_bytes);
    assert_int_equal(plan.pool_blocks, pool_bytes / plan.block_bytes);
    return plan;
}

static void test_plan__one_gigabyte__four_layers_of_16_kib(void **state) {
    (void)state;
    struct ist_replay_plan plan = plan_of("llama-3-8b", 0, 0, 1ull << 30);
    assert_int_equal(plan.layers, 4);
    assert_int_equal(plan.scale, 128);
    assert_int_equal(plan.layer_bytes, 16 << 10);
    assert_int_equal(plan.pool_blocks, 16384);
}

/* What the daemon has by default: its smallest block is 64 KiB, so that values are not smaller. */
static void test_plan__sixteen_gigabytes__more_layers_of_64_kib(void **state) {
    (void)state;
    struct ist_replay_plan plan = plan_of("llama-3-8b", 0, 0, 16ull << 30);
    assert_int_equal(plan.layers, 16);
    assert_int_equal(plan.layer_bytes, 64 << 10);
    assert_int_equal(plan.pool_blocks, 16384);
}

/* From a small test's pool to a rack's memory the pool holds as many blocks, within a factor of two. */
static void test_plan__any_pool_and_model__about_as_many_blocks(void **state) {
    (void)state;
    for (size_t i = 0; ist_model_at(i) != NULL; i++) {
        const struct ist_model *model = ist_model_at(i);
        for (uint64_t pool = 64ull << 20; pool <= 1ull << 40; pool += pool / 3) {
            struct ist_replay_plan plan = plan_of(model->name, 0, 0, pool);
            assert_true(plan.layers >= IST_REPLAY_LAYERS_MIN && plan.layers <= model->layers);
            assert_true(plan.pool_blocks >= IST_REPLAY_POOL_BLOCKS / 2);
            assert_true(plan.pool_blocks <= IST_REPLAY_POOL_BLOCKS * 2 || plan.scale == 1);
        }
    }
}

static void test_plan__huge_pool__the_model_as_it_is(void **state) {
    (void)state;
    struct ist_replay_plan plan = plan_of("llama-3-8b", 0, 0, 1ull << 44);
    assert_int_equal(plan.layers, 32);
    assert_int_equal(plan.scale, 1);
    assert_int_equal(plan.layer_bytes, 2 << 20);
}

static void test_plan__tiny_pool__still_a_block(void **state) {
    (void)state;
    struct ist_replay_plan plan = plan_of("llama-3-8b", 0, 0, 1);
    assert_int_equal(plan.layers, 4);
    assert_int_equal(plan.layer_bytes, 64);
    assert_int_equal(plan.pool_blocks, 0);
}

static void test_plan__layers_or_scale_asked_for__those_and_the_other_fits(void **state) {
    (void)state;
    struct ist_replay_plan plan = plan_of("llama-3-8b", 32, 0, 1ull << 30);
    assert_int_equal(plan.layers, 32);
    assert_int_equal(plan.layer_bytes, 2 << 10);
    plan = plan_of("llama-3-8b", 0, 512, 1ull << 30);
    assert_int_equal(plan.layer_bytes, 4 << 10);
    assert_int_equal(plan.layers, 16);
    plan = plan_of("llama-3-8b", 1, 3, 1ull << 30);
    assert_int_equal(plan.layers, 1);
    assert_int_equal(plan.layer_bytes, (2 << 20) / 3 / 64 * 64);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan__one_gigabyte__four_layers_of_16_kib),
        cmocka_unit_test(test_plan__sixteen_gigabytes__more_layers_of_64_kib),
        cmocka_unit_test(test_plan__any_pool_and_model__about_as_many_blocks),
        cmocka_unit_test(test_plan__huge_pool__the_model_as_it_is),
        cmocka_unit_test(test_plan__tiny_pool__still_a_block),
        cmocka_unit_test(test_plan__layers_or_scale_asked_for__those_and_the_other_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

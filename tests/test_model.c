/* Model presets: the formula, and the bytes that everybody can look up. */
#include <string.h>

#include "tests/support.h"
#include "workload/model.h"

static const struct ist_model *model(const char *name) {
    const struct ist_model *found = ist_model_find(name);
    assert_non_null(found);
    return found;
}

/* Per token over all layers, as published: 128 KiB for Llama 3 8B, 320 KiB for 70B, 70,272 bytes for DeepSeek-V3
 * (its report's section on multi-head latent attention, 576 elements a layer). */
static void test_token_bytes__known_models__the_known_numbers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t bytes;
        unsigned layers;
    } known[] = {
        {"llama-3-8b", 131072, 32}, {"llama-3-70b", 327680, 80}, {"llama-3-405b", 516096, 126},
        {"deepseek-v3", 70272, 61}, {"qwen2.5-7b", 57344, 28},   {"qwen2.5-72b", 327680, 80},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct ist_model *found = model(known[i].name);
        assert_int_equal(found->layers, known[i].layers);
        assert_int_equal(ist_model_token_bytes(found) * found->layers, known[i].bytes);
        assert_int_equal(ist_model_block_bytes(found), ist_model_token_bytes(found) * 512);
    }
    assert_null(ist_model_at(sizeof(known) / sizeof(known[0]))); /* none is forgotten here */
}

static void test_model_at__each__has_a_name_of_its_own_and_a_source(void **state) {
    (void)state;
    for (size_t i = 0; ist_model_at(i) != NULL; i++) {
        const struct ist_model *here = ist_model_at(i);
        assert_ptr_equal(ist_model_find(here->name), here);
        assert_true(strlen(here->source) > 0 && strlen(here->name) <= 32); /* block keys cut there */
        assert_true(here->layers > 0 && ist_model_token_bytes(here) > 0);
    }
    assert_null(ist_model_at(SIZE_MAX));
}

static void test_model_find__no_such_name__null(void **state) {
    (void)state;
    assert_null(ist_model_find("llama"));
    assert_null(ist_model_find(""));
    assert_null(ist_model_find("LLAMA-3-8B"));
}

static void test_scaled_block_bytes__any_scale__a_multiple_never_zero_never_more(void **state) {
    (void)state;
    const struct ist_model *llama = model("llama-3-8b");
    assert_int_equal(ist_model_scaled_block_bytes(llama, 1), 2u << 20);
    assert_int_equal(ist_model_scaled_block_bytes(llama, 32), 65536);
    assert_int_equal(ist_model_scaled_block_bytes(llama, 1u << 15), 64);
    assert_int_equal(ist_model_scaled_block_bytes(llama, (1u << 15) + 1), 64);
    assert_int_equal(ist_model_scaled_block_bytes(llama, UINT64_MAX), 64);
    const struct ist_model *deepseek = model("deepseek-v3");
    for (uint64_t scale = 1; scale < 20000; scale += 7) {
        uint64_t bytes = ist_model_scaled_block_bytes(deepseek, scale), exact = 589824 / scale;
        assert_true(bytes % 64 == 0 && bytes >= 64);
        assert_true(bytes == 64 || (bytes <= exact && exact - bytes < 64));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_bytes__known_models__the_known_numbers),
        cmocka_unit_test(test_model_at__each__has_a_name_of_its_own_and_a_source),
        cmocka_unit_test(test_model_find__no_such_name__null),
        cmocka_unit_test(test_scaled_block_bytes__any_scale__a_multiple_never_zero_never_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* sim/model: the oracle itself, by hand-written expectations. */
#include "tests/support.h"

#include <stdio.h>

#include "sim/model.h"

static const struct ist_naive_config plain;

static struct ist_span key_of(const char *text) {
    return ist_span_of_string(text);
}

static struct ist_naive_value value_of(uint64_t version, uint64_t bytes) {
    return (struct ist_naive_value){.version = version, .bytes = bytes};
}

static uint64_t version_of(const struct ist_naive *model, const char *key) {
    struct ist_naive_value value = {0};
    return ist_naive_get(model, key_of(key), &value) ? value.version : 0;
}

static void test_put__twice__the_later_one_counts(void **state) {
    (void)state;
    struct ist_naive *model = ist_naive_new(&plain);
    assert_int_equal(version_of(model, "a"), 0);
    assert_false(ist_naive_put(model, key_of("a"), value_of(1, 10)));
    assert_true(ist_naive_put(model, key_of("a"), value_of(2, 7)));
    assert_int_equal(version_of(model, "a"), 2);
    assert_int_equal(ist_naive_keys(model), 1);
    assert_int_equal(ist_naive_value_bytes(model), 7);
    ist_naive_free(model);
    ist_naive_free(NULL);
}

static void test_put_if_absent__there_already__keeps_the_first(void **state) {
    (void)state;
    struct ist_naive *model = ist_naive_new(&plain);
    assert_true(ist_naive_put_if_absent(model, key_of("a"), value_of(1, 1)));
    assert_false(ist_naive_put_if_absent(model, key_of("a"), value_of(2, 1)));
    assert_int_equal(version_of(model, "a"), 1);
    ist_naive_free(model);
}

static void test_keys__prefixes_and_zeros__are_different(void **state) {
    (void)state;
    struct ist_naive *model = ist_naive_new(&plain);
    const struct ist_span keys[] = {ist_span_of("a", 1), ist_span_of("a\0", 2), ist_span_of("a\0b", 3),
                                    ist_span_of("", 0)};
    for (size_t i = 0; i < 4; i++) {
        assert_false(ist_naive_put(model, keys[i], value_of(i + 1, 1)));
    }
    for (size_t i = 0; i < 4; i++) {
        struct ist_naive_value value;
        assert_true(ist_naive_get(model, keys[i], &value));
        assert_int_equal(value.version, i + 1);
    }
    ist_naive_free(model);
}

static void test_match__holes__first_hole_and_last_key(void **state) {
    (void)state;
    struct ist_naive *model = ist_naive_new(&plain);
    const struct ist_span keys[] = {key_of("a"), key_of("b"), key_of("c"), key_of("d"), key_of("e")};
    bool present[5];
    assert_int_equal(ist_naive_match_last(model, keys, 5), 5);
    assert_int_equal(ist_naive_match_prefix(model, keys, 5), 0);
    ist_naive_put(model, keys[0], value_of(1, 1));
    ist_naive_put(model, keys[1], value_of(1, 1));
    ist_naive_put(model, keys[3], value_of(1, 1));
    assert_int_equal(ist_naive_match_prefix(model, keys, 5), 2);
    assert_int_equal(ist_naive_match_prefix(model, keys, 1), 1);
    assert_int_equal(ist_naive_match_last(model, keys, 5), 3);
    assert_int_equal(ist_naive_exists(model, keys, 5, present), 3);
    assert_true(present[0] && present[1] && !present[2] && present[3] && !present[4]);
    ist_naive_free(model);
}

static void test_block_bytes__rounding__as_in_a_pool(void **state) {
    (void)state;
    static const struct ist_naive_config config = {.min_block_bytes = 1024, .granule_bytes = 512};
    struct ist_naive *model = ist_naive_new(&config);
    ist_naive_put(model, key_of("a"), value_of(1, 1));
    assert_int_equal(ist_naive_block_bytes(model), 1024);
    ist_naive_put(model, key_of("b"), value_of(1, 1024));
    assert_int_equal(ist_naive_block_bytes(model), 2048);
    ist_naive_put(model, key_of("b"), value_of(2, 1025));
    assert_int_equal(ist_naive_block_bytes(model), 1024 + 1536);
    assert_true(ist_naive_evicted(model, key_of("a")));
    assert_false(ist_naive_evicted(model, key_of("a")));
    assert_int_equal(ist_naive_block_bytes(model), 1536);
    assert_int_equal(ist_naive_purge(model), 1);
    assert_int_equal(ist_naive_block_bytes(model) + ist_naive_value_bytes(model), 0);
    ist_naive_free(model);
}

static void remove_it(void *context, struct ist_span key, struct ist_naive_value value) {
    struct ist_naive *model = context;
    struct ist_naive_value same;
    assert_true(ist_naive_get(model, key, &same));
    assert_int_equal(same.version, value.version);
    assert_true(ist_naive_remove(model, key));
}

static void test_many__grown_and_taken_away__each_once(void **state) {
    (void)state;
    struct ist_naive *model = ist_naive_new(&plain);
    for (unsigned i = 0; i < 5000; i++) {
        assert_false(ist_naive_put(model, ist_span_of(&i, sizeof(i)), value_of(i, i)));
    }
    for (unsigned i = 0; i < 5000; i += 2) {
        assert_true(ist_naive_remove(model, ist_span_of(&i, sizeof(i))));
        assert_false(ist_naive_remove(model, ist_span_of(&i, sizeof(i))));
    }
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(ist_naive_get(model, ist_span_of(&i, sizeof(i)), NULL), i % 2);
    }
    assert_int_equal(ist_naive_keys(model), 2500);
    ist_naive_visit(model, remove_it, model);
    assert_int_equal(ist_naive_keys(model), 0);
    assert_int_equal(ist_naive_value_bytes(model), 0);
    ist_naive_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put__twice__the_later_one_counts),
        cmocka_unit_test(test_put_if_absent__there_already__keeps_the_first),
        cmocka_unit_test(test_keys__prefixes_and_zeros__are_different),
        cmocka_unit_test(test_match__holes__first_hole_and_last_key),
        cmocka_unit_test(test_block_bytes__rounding__as_in_a_pool),
        cmocka_unit_test(test_many__grown_and_taken_away__each_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

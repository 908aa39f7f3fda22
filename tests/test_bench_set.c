/* src/tools/bench_set: keys, contents, and that nothing wrong passes for right. */
#include "tests/support.h"

#include <string.h>

#include "tools/bench_set.h"
#include "workload/content.h"

#define MEMORY_BYTES (1u << 20)
#define RUN 0x0badcafeu

static struct ist_bench_memory memory;
static struct ist_bench_set set;

static void set_up(uint64_t value_bytes, size_t key_bytes, size_t count) {
    assert_int_equal(ist_bench_memory_init(&memory, MEMORY_BYTES), IST_OK);
    assert_int_equal(ist_bench_set_init(&set, &memory, RUN, value_bytes, key_bytes, count), IST_OK);
}

static void tear_down(void) {
    ist_bench_set_fini(&set);
    ist_bench_memory_fini(&memory);
}

/* What a server would do. */
static void transfer(size_t index) {
    memcpy(ist_bench_set_sink(&set, index), ist_bench_set_source(&set, index), set.value_bytes);
}

static void test_key__all__distinct_and_as_long_as_asked(void **state) {
    (void)state;
    const size_t lengths[] = {48, 64, 1024};
    for (size_t l = 0; l < 3; l++) {
        set_up(4096, lengths[l], 200);
        for (size_t i = 0; i < 200; i++) {
            struct ist_key key = ist_bench_set_key(&set, i);
            assert_int_equal(key.bytes, lengths[l]);
            assert_memory_equal(key.data, "bench/0badcafe/4096/", 20);
            for (size_t j = 0; j < i; j++) {
                assert_memory_not_equal(key.data, ist_bench_set_key(&set, j).data, key.bytes);
            }
        }
        tear_down();
    }
}

static void test_stride__any__holds_the_value_and_aligns(void **state) {
    (void)state;
    assert_int_equal(ist_bench_stride(1), 64);
    assert_int_equal(ist_bench_stride(64), 64);
    assert_int_equal(ist_bench_stride(65), 128);
    assert_int_equal(ist_bench_stride(4096), 4096);
    assert_int_equal(ist_bench_stride(4097), 8192);
    assert_int_equal(ist_bench_stride(1 << 20), 1 << 20);
}

static void test_verify__what_was_filled__all_right_once(void **state) {
    (void)state;
    const uint64_t sizes[] = {1, 63, 64, 100, 4096, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        set_up(sizes[s], 64, 20);
        ist_bench_set_fill(&set, 0, 20, 1);
        for (size_t i = 0; i < 20; i++) {
            transfer(i);
            struct ist_key key = ist_bench_set_key(&set, i);
            struct ist_content content = ist_content_of(ist_span_of(key.data, key.bytes), 1);
            assert_int_equal(ist_content_verify(content, 0, ist_bench_set_sink(&set, i), sizes[s]),
                             sizes[s]);
            assert_int_equal(ist_bench_set_verify(&set, i), sizes[s]);
        }
        /* Spoiled: what was there once does not count twice. A single byte may be zero by itself. */
        for (size_t i = 0; i < 20 && sizes[s] > 8; i++) {
            assert_true(ist_bench_set_verify(&set, i) < sizes[s]);
        }
        tear_down();
    }
}

static void test_verify__one_bit_wrong__its_byte(void **state) {
    (void)state;
    set_up(300, 64, 4);
    ist_bench_set_fill(&set, 0, 4, 1);
    for (uint64_t byte = 0; byte < 300; byte++) {
        transfer(2);
        ((uint8_t *)ist_bench_set_sink(&set, 2))[byte] ^= 1;
        assert_int_equal(ist_bench_set_verify(&set, 2), byte);
    }
    tear_down();
}

static void test_verify__other_key_or_version__wrong_at_once(void **state) {
    (void)state;
    set_up(4096, 64, 8);
    ist_bench_set_fill(&set, 0, 8, 1);
    memcpy(ist_bench_set_sink(&set, 3), ist_bench_set_source(&set, 4), 4096);
    assert_true(ist_bench_set_verify(&set, 3) < 8);
    set.version = 2;
    transfer(3);
    assert_true(ist_bench_set_verify(&set, 3) < 8);
    set.fresh = 3; /* keys from 3 on still have the version before */
    transfer(3);
    assert_int_equal(ist_bench_set_verify(&set, 3), 4096);
    transfer(2);
    assert_true(ist_bench_set_verify(&set, 2) < 8);
    tear_down();
}

static void test_fill__a_range__no_other_value_touched(void **state) {
    (void)state;
    set_up(100, 64, 10);
    ist_bench_set_fill(&set, 3, 5, 1);
    static const uint8_t zero[128];
    for (size_t i = 0; i < 10; i++) {
        bool filled = i == 3 || i == 4;
        assert_int_equal(memcmp(ist_bench_set_source(&set, i), zero, 100) != 0, filled);
        assert_memory_equal((uint8_t *)ist_bench_set_source(&set, i) + 100, zero, 28);
    }
    tear_down();
}

static void test_memory_init__impossible_size__no_memory(void **state) {
    (void)state;
    struct ist_bench_memory none = {0};
    assert_int_equal(ist_bench_memory_init(&none, 1ull << 46), IST_NO_MEMORY);
    assert_null(none.source);
    ist_bench_memory_fini(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key__all__distinct_and_as_long_as_asked),
        cmocka_unit_test(test_stride__any__holds_the_value_and_aligns),
        cmocka_unit_test(test_verify__what_was_filled__all_right_once),
        cmocka_unit_test(test_verify__one_bit_wrong__its_byte),
        cmocka_unit_test(test_verify__other_key_or_version__wrong_at_once),
        cmocka_unit_test(test_fill__a_range__no_other_value_touched),
        cmocka_unit_test(test_memory_init__impossible_size__no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

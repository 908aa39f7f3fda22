/* alloc, hash, log, status. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "infinistore/status.h"

/* ---- hash ----------------------------------------------------------------------------------------- */

/* The reference key 00 01 .. 0f. */
static const struct ist_hash_key reference_key = {.k0 = 0x0706050403020100ull,
                                                  .k1 = 0x0f0e0d0c0b0a0908ull};

static uint64_t rotated(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

/* A second SipHash, from the paper's text: one array, rounds as parameters, a byte at a time. */
static uint64_t naive_siphash(int c, int d, struct ist_hash_key key, const uint8_t *data,
                              size_t bytes) {
    uint64_t v[4] = {key.k0 ^ 0x736f6d6570736575ull, key.k1 ^ 0x646f72616e646f6dull,
                     key.k0 ^ 0x6c7967656e657261ull, key.k1 ^ 0x7465646279746573ull};
    size_t words = bytes / 8 + 1;
    for (size_t w = 0; w <= words; w++) {
        uint64_t m = 0;
        for (size_t b = 0; b < 8 && w < words; b++) {
            size_t at = 8 * w + b;
            uint64_t byte = at < bytes ? data[at] : 0;
            m |= byte << (8 * b);
        }
        m |= w + 1 == words ? (uint64_t)(bytes % 256) << 56 : 0;
        if (w == words) {
            v[2] ^= 0xff;
        }
        v[3] ^= m;
        for (int r = 0; r < (w == words ? d : c); r++) {
            v[0] += v[1], v[2] += v[3];
            v[1] = rotated(v[1], 13) ^ v[0], v[3] = rotated(v[3], 16) ^ v[2];
            v[0] = rotated(v[0], 32);
            v[2] += v[1], v[0] += v[3];
            v[1] = rotated(v[1], 17) ^ v[2], v[3] = rotated(v[3], 21) ^ v[0];
            v[2] = rotated(v[2], 32);
        }
        v[0] ^= m;
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* SipHash-2-4 of 00 01 .. 0e, appendix A of the paper: it vouches for the twin, which vouches for ours. */
static void test_naive_siphash__paper_vector__agrees(void **state) {
    (void)state;
    uint8_t data[15];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)i;
    }
    assert_true(naive_siphash(2, 4, reference_key, data, sizeof(data)) == 0xa129ca6149be45e5ull);
}

static void test_hash__reference_inputs__equal_the_twin(void **state) {
    (void)state;
    uint8_t data[64];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)i;
    }
    for (size_t bytes = 0; bytes < sizeof(data); bytes++) {
        assert_true(ist_hash(reference_key, ist_span_of(data, bytes)) ==
                    naive_siphash(1, 3, reference_key, data, bytes));
    }
}

static void test_hash__random_keys_and_lengths__equal_the_twin_and_read_no_byte_more(void **state) {
    (void)state;
    uint64_t random = 1;
    for (int i = 0; i < 200; i++) {
        size_t bytes = 1 + random_below(&random, 1100);
        uint8_t *data = guarded_new(bytes);
        for (size_t b = 0; b < bytes; b++) {
            data[b] = (uint8_t)random_next(&random);
        }
        struct ist_hash_key key = {.k0 = random_next(&random), .k1 = random_next(&random)};
        assert_true(ist_hash(key, ist_span_of(data, bytes)) == naive_siphash(1, 3, key, data, bytes));
        guarded_free(data, bytes);
    }
}

static void test_hash__unaligned_input__same_result(void **state) {
    (void)state;
    uint8_t data[8 + 40];
    for (size_t shift = 0; shift < 8; shift++) {
        memset(data + shift, 7, 40);
        assert_true(ist_hash(reference_key, ist_span_of(data + shift, 40)) ==
                    naive_siphash(1, 3, reference_key, data + shift, 40));
    }
}

static void test_hash__another_key__another_result(void **state) {
    (void)state;
    struct ist_hash_key other = reference_key;
    other.k1 ^= 1;
    struct ist_span span = ist_span_of_string("block");
    assert_true(ist_hash(reference_key, span) != ist_hash(other, span));
}

/* ---- alloc ---------------------------------------------------------------------------------------- */

static void test_alloc__system__gives_resizes_and_takes_back(void **state) {
    (void)state;
    const struct ist_alloc *alloc = ist_alloc_system();
    uint8_t *memory = ist_allocate(alloc, 3);
    assert_non_null(memory);
    memcpy(memory, "abc", 3);
    memory = ist_resize_array(alloc, memory, 1000, 2);
    assert_non_null(memory);
    assert_memory_equal(memory, "abc", 3);
    ist_release(alloc, memory);
    ist_release(alloc, NULL);
}

static void test_allocate_zeroed__ok__is_zero(void **state) {
    (void)state;
    const struct ist_alloc *alloc = ist_alloc_system();
    uint32_t *numbers = ist_allocate_zeroed(alloc, 100, sizeof(*numbers));
    assert_non_null(numbers);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(numbers[i], 0);
    }
    ist_release(alloc, numbers);
}

static void test_allocate_array__product_overflows__null(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 0);
    assert_null(ist_allocate_array(&failing.alloc, SIZE_MAX / 2, 3));
    assert_null(ist_allocate_zeroed(&failing.alloc, SIZE_MAX, 2));
    assert_null(ist_resize_array(&failing.alloc, NULL, SIZE_MAX / 8 + 1, 8));
    assert_int_equal(failing.calls, 0);
}

static void test_alloc__allocator_fails__null_and_old_memory_kept(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 2);
    uint8_t *memory = ist_allocate(&failing.alloc, 1);
    assert_non_null(memory);
    memory[0] = 42;
    assert_null(ist_resize_array(&failing.alloc, memory, 2, 1));
    assert_int_equal(memory[0], 42);
    failing.fail_at = 3;
    assert_null(ist_allocate_zeroed(&failing.alloc, 1, 1));
    ist_release(&failing.alloc, memory);
    assert_int_equal(failing.live, 0);
}

/* ---- log ------------------------------------------------------------------------------------------ */

struct sink {
    int lines;
    enum ist_log_level level;
    uint64_t session;
    char message[2 * IST_LOG_LINE_MAX];
};

static void sink_write(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    struct sink *sink = context;
    sink->lines++;
    sink->level = level;
    sink->session = session;
    snprintf(sink->message, sizeof(sink->message), "%s", message);
}

static void test_log__at_or_below_the_level__arrives_formatted(void **state) {
    (void)state;
    struct sink sink = {0};
    struct ist_log log = {.level = IST_LOG_INFO, .write = sink_write, .context = &sink};
    ist_log_info(&log, 17, "%d of %s", 3, "four");
    assert_int_equal(sink.lines, 1);
    assert_int_equal(sink.level, IST_LOG_INFO);
    assert_int_equal(sink.session, 17);
    assert_string_equal(sink.message, "3 of four");
    ist_log_error(&log, 0, "bad");
    ist_log_warning(&log, 0, "hm");
    assert_int_equal(sink.lines, 3);
    assert_int_equal(sink.level, IST_LOG_WARNING);
}

static void test_log__above_the_level__dropped(void **state) {
    (void)state;
    struct sink sink = {0};
    struct ist_log log = {.level = IST_LOG_WARNING, .write = sink_write, .context = &sink};
    ist_log_info(&log, 0, "no");
    ist_log_debug(&log, 0, "no");
    assert_int_equal(sink.lines, 0);
}

static void test_log__control_characters__replaced(void **state) {
    (void)state;
    struct sink sink = {0};
    struct ist_log log = {.level = IST_LOG_INFO, .write = sink_write, .context = &sink};
    ist_log_info(&log, 0, "key %s", "a\nERROR forged\x1b[2J\x7f\xc3\xa9");
    assert_string_equal(sink.message, "key a?ERROR forged?[2J?\xc3\xa9");
    /* U+009B is ESC [ to a terminal; U+00A0 is none of those. */
    ist_log_info(&log, 0, "%s",
                 "\xc2\x9b"
                 "2J\xc2\xa0\xc2");
    assert_true(strchr(sink.message, '\xc2') == sink.message + 4);
    assert_null(strstr(sink.message, "\xc2\x9b"));
}

static void test_log__too_long__cut(void **state) {
    (void)state;
    char text[2 * IST_LOG_LINE_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct sink sink = {0};
    struct ist_log log = {.level = IST_LOG_INFO, .write = sink_write, .context = &sink};
    ist_log_info(&log, 0, "%s", text);
    assert_int_equal(strlen(sink.message), IST_LOG_LINE_MAX - 1);
}

static void test_log_null__any_line__dropped(void **state) {
    (void)state;
    assert_int_equal(ist_log_null()->level, IST_LOG_ERROR);
    ist_log_error(ist_log_null(), 1, "nobody reads this");
}

/* ---- status --------------------------------------------------------------------------------------- */

static void test_status__every_constant__has_its_own_name_and_text(void **state) {
    (void)state;
    static const enum ist_status all[] = {
        IST_OK,      IST_AGAIN,     IST_NOT_FOUND, IST_EXISTS, IST_NO_SPACE, IST_TOO_BIG, IST_TOO_SMALL,
        IST_INVALID, IST_NO_MEMORY, IST_PROTOCOL,  IST_PEER,   IST_TIMEOUT,  IST_DEVICE,  IST_CONFIG,
    };
    size_t count = sizeof(all) / sizeof(all[0]);
    for (size_t i = 0; i < count; i++) {
        assert_string_not_equal(ist_status_name(all[i]), "UNKNOWN");
        size_t length = strlen(ist_status_text(all[i]));
        assert_true(length > 0 && ist_status_text(all[i])[length - 1] != '.');
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(ist_status_name(all[i]), ist_status_name(all[k]));
            assert_string_not_equal(ist_status_text(all[i]), ist_status_text(all[k]));
        }
    }
    assert_string_equal(ist_status_name(IST_NOT_FOUND), "NOT_FOUND");
}

static void test_status__no_constant__unknown(void **state) {
    (void)state;
    assert_string_equal(ist_status_name((enum ist_status)99), "UNKNOWN");
    assert_string_equal(ist_status_text((enum ist_status)99), "unknown status");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_naive_siphash__paper_vector__agrees),
        cmocka_unit_test(test_hash__reference_inputs__equal_the_twin),
        cmocka_unit_test(test_hash__random_keys_and_lengths__equal_the_twin_and_read_no_byte_more),
        cmocka_unit_test(test_hash__unaligned_input__same_result),
        cmocka_unit_test(test_hash__another_key__another_result),
        cmocka_unit_test(test_alloc__system__gives_resizes_and_takes_back),
        cmocka_unit_test(test_allocate_zeroed__ok__is_zero),
        cmocka_unit_test(test_allocate_array__product_overflows__null),
        cmocka_unit_test(test_alloc__allocator_fails__null_and_old_memory_kept),
        cmocka_unit_test(test_log__at_or_below_the_level__arrives_formatted),
        cmocka_unit_test(test_log__above_the_level__dropped),
        cmocka_unit_test(test_log__control_characters__replaced),
        cmocka_unit_test(test_log__too_long__cut),
        cmocka_unit_test(test_log_null__any_line__dropped),
        cmocka_unit_test(test_status__every_constant__has_its_own_name_and_text),
        cmocka_unit_test(test_status__no_constant__unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

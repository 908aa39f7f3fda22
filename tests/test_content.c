/* Contents and the keys they belong to. */
#include <string.h>

#include "tests/support.h"
#include "workload/block_key.h"
#include "workload/content.h"
#include "workload/model.h"

static struct ist_content content_of(const char *key, uint64_t version) {
    return ist_content_of(ist_span_of_string(key), version);
}

/* The definition, one byte at a time: word i is c ^ c >> 29 with c = seed + i * constant, little endian. */
static uint8_t naive_byte(struct ist_content content, uint64_t offset) {
    uint64_t counter = content.seed + offset / 8 * 0x9e3779b97f4a7c15ull;
    return (uint8_t)((counter ^ counter >> 29) >> (8 * (offset % 8)));
}

static void test_content_byte__any_offset__the_definition(void **state) {
    (void)state;
    struct ist_content content = content_of("key", 1);
    uint64_t random = 1;
    for (int i = 0; i < 1000; i++) {
        uint64_t offset = i < 100 ? (uint64_t)i : random_next(&random);
        assert_int_equal(ist_content_byte(content, offset), naive_byte(content, offset));
    }
}

/* Values written by one version of this program must verify in the next. */
static void test_content__known_key__golden_bytes(void **state) {
    (void)state;
    static const uint8_t golden[16] = {0xfa, 0x31, 0xd8, 0x3e, 0xb7, 0xa7, 0x9f, 0x18,
                                       0xd1, 0x83, 0xd6, 0xcf, 0x74, 0x21, 0xd7, 0xb6};
    uint8_t bytes[16];
    ist_content_fill(content_of("llama-3-8b/512x8192/000000000000002a/L07", 0), 0, bytes, 16);
    assert_memory_equal(bytes, golden, 16);
}

/* Every alignment of offset, address and length around words and chunks; nothing beside it is written. */
static void test_content_fill__any_piece__its_bytes_and_no_other(void **state) {
    (void)state;
    struct ist_content content = content_of("key", 1);
    for (size_t bytes = 0; bytes < 150; bytes++) {
        uint8_t *memory = guarded_new(bytes + 16);
        for (uint64_t offset = 0; offset < 20; offset++) {
            uint8_t *out = memory + 16; /* ends at the unreadable page */
            memset(memory, 0xee, bytes + 16);
            ist_content_fill(content, offset, out, bytes);
            for (size_t i = 0; i < bytes; i++) {
                assert_int_equal(out[i], naive_byte(content, offset + i));
            }
            for (size_t i = 0; i < 16; i++) {
                assert_int_equal(memory[i], 0xee);
            }
            assert_int_equal(ist_content_verify(content, offset, out, bytes), bytes);
        }
        guarded_free(memory, bytes + 16);
    }
}

static void test_content_fill__in_pieces__as_at_once(void **state) {
    (void)state;
    struct ist_content content = content_of("key", 1);
    uint8_t whole[1000], pieces[1000];
    ist_content_fill(content, 5, whole, sizeof(whole));
    uint64_t random = 2;
    for (int round = 0; round < 50; round++) {
        memset(pieces, 0, sizeof(pieces));
        for (size_t at = 0; at < sizeof(pieces);) {
            size_t bytes = 1 + random_below(&random, 130);
            bytes = bytes < sizeof(pieces) - at ? bytes : sizeof(pieces) - at;
            ist_content_fill(content, 5 + at, pieces + at, bytes);
            at += bytes;
        }
        assert_memory_equal(pieces, whole, sizeof(whole));
    }
}

static void test_content_verify__any_wrong_bit__the_index_of_its_byte(void **state) {
    (void)state;
    struct ist_content content = content_of("key", 1);
    for (uint64_t offset = 0; offset < 9; offset++) {
        uint8_t bytes[200];
        ist_content_fill(content, offset, bytes, sizeof(bytes));
        for (size_t at = 0; at < sizeof(bytes); at++) {
            uint8_t bit = (uint8_t)(1u << at % 8);
            bytes[at] ^= bit;
            assert_int_equal(ist_content_verify(content, offset, bytes, sizeof(bytes)), at);
            assert_int_equal(ist_content_verify(content, offset, bytes, at), at);
            bytes[at] ^= bit;
        }
        bytes[190] ^= 1;
        bytes[100] ^= 1;
        assert_int_equal(ist_content_verify(content, offset, bytes, sizeof(bytes)), 100);
    }
}

/* What goes wrong in a store: another key's bytes, an older version's, the right ones at the wrong place,
 * nothing at all. It must show at once, not in some megabyte. */
static void
test_content_verify__foreign_shifted_stale_or_empty__shows_in_the_first_words(void **state) {
    (void)state;
    struct ist_content content = content_of("key/L01", 1);
    const struct ist_content foreign[] = {content_of("key/L02", 1), content_of("key/L01", 2),
                                          content_of("key/L01", 0), content_of("kez/L01", 1)};
    uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        ist_content_fill(foreign[i], 0, bytes, sizeof(bytes));
        assert_true(ist_content_verify(content, 0, bytes, sizeof(bytes)) < 16);
        /* the second half is foreign */
        ist_content_fill(content, 0, bytes, 2048);
        size_t at = ist_content_verify(content, 0, bytes, sizeof(bytes));
        assert_true(at >= 2048 && at < 2048 + 16);
    }
    static const uint64_t shifts[] = {1, 8, 64, 512, 4096, 65536, 1 << 20, 1ull << 40};
    for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
        ist_content_fill(content, shifts[i], bytes, sizeof(bytes));
        assert_true(ist_content_verify(content, 0, bytes, sizeof(bytes)) < 16);
    }
    memset(bytes, 0, sizeof(bytes));
    assert_true(ist_content_verify(content, 0, bytes, sizeof(bytes)) < 16);
}

/* ---- keys of blocks ------------------------------------------------------------------------------- */

static void assert_key(const char *expected, const char *model, uint64_t block_bytes, uint64_t hash_id,
                       unsigned layer) {
    char *key = guarded_new(IST_BLOCK_KEY_MAX);
    assert_int_equal(ist_block_key_write(key, model, block_bytes, hash_id, layer), strlen(expected));
    assert_string_equal(key, expected);
    guarded_free(key, IST_BLOCK_KEY_MAX);
}

static void test_block_key__any_fields__as_documented(void **state) {
    (void)state;
    assert_key("llama-3-8b/512x8192/000000000000002a/L07", "llama-3-8b", 8192, 42, 7);
    assert_key("m/512x64/0000000000000000/L00", "m", 64, 0, 0);
    assert_key("m/512x64/fedcba9876543210/L100", "m", 64, 0xfedcba9876543210ull, 100);
}

static void test_block_key__largest_fields__fit_and_the_model_is_cut(void **state) {
    (void)state;
    assert_key("abcdefghijklmnopqrstuvwxyz012345/512x18446744073709551615/ffffffffffffffff/L4294967295",
               "abcdefghijklmnopqrstuvwxyz0123456789", UINT64_MAX, UINT64_MAX, UINT32_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_byte__any_offset__the_definition),
        cmocka_unit_test(test_content__known_key__golden_bytes),
        cmocka_unit_test(test_content_fill__any_piece__its_bytes_and_no_other),
        cmocka_unit_test(test_content_fill__in_pieces__as_at_once),
        cmocka_unit_test(test_content_verify__any_wrong_bit__the_index_of_its_byte),
        cmocka_unit_test(test_content_verify__foreign_shifted_stale_or_empty__shows_in_the_first_words),
        cmocka_unit_test(test_block_key__any_fields__as_documented),
        cmocka_unit_test(test_block_key__largest_fields__fit_and_the_model_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

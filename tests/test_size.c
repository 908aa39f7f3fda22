/* Sizes as people write and read them. */
#include "tests/support.h"

#include "base/size.h"

static void test_size_parse__what_people_write__bytes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"0", 0},
        {"16", 16ull << 30}, /* of the unit */
        {"1.5", 3ull << 29},
        {"512M", 512ull << 20},
        {"4k", 4096},
        {"4KB", 4096},
        {"64KiB", 65536},
        {"64kib", 65536},
        {"100B", 100},
        {"7b", 7},
        {"1.5G", 3ull << 29},
        {"2T", 2ull << 40},
        {"1P", 1ull << 50},
        {"15E", 15ull << 60},
        {"0.5K", 512},
        {"17179869183", 17179869183ull << 30},
        {"18446744073709551615B", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t bytes = 1;
        assert_int_equal(ist_size_parse(sizes[i].text, 1ull << 30, &bytes), IST_OK);
        assert_true(bytes == sizes[i].bytes);
    }
}

static void test_size_parse__anything_else__invalid_and_nothing_written(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1 K",
        "K",
        ".5",
        "1.",
        "1..5",
        "1.5.5",
        "1X",
        "1KX",
        "1i",
        "1Ki",
        "1KiBB",
        "1BB",
        "1iB",
        "0x10",
        "1e3",
        "0.3K", /* no whole bytes */
        "1.5B",
        "16E",
        "18446744073709551616B",
        "17179869184",
        "99999999999999999999",
        "1.00000000000000000000000001",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint64_t bytes = 77;
        if (ist_size_parse(texts[i], 1ull << 30, &bytes) != IST_INVALID) {
            fail_msg("\"%s\" is taken for %llu bytes", texts[i], (unsigned long long)bytes);
        }
        assert_int_equal(bytes, 77);
    }
}

static void test_size_text__any__short_and_in_its_unit(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        {0, "0 B"},
        {17, "17 B"},
        {1023, "1023 B"},
        {1024, "1 KiB"},
        {1536, "1.5 KiB"},
        {4096, "4 KiB"},
        {(1 << 20) - 1, "1 MiB"}, /* rounded up, and then of the next unit */
        {3ull << 29, "1.5 GiB"},
        {1023ull << 40, "1023 TiB"},
        {UINT64_MAX, "16 EiB"},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char text[IST_SIZE_TEXT_MAX];
        assert_string_equal(ist_size_text(sizes[i].bytes, text), sizes[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size_parse__what_people_write__bytes),
        cmocka_unit_test(test_size_parse__anything_else__invalid_and_nothing_written),
        cmocka_unit_test(test_size_text__any__short_and_in_its_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

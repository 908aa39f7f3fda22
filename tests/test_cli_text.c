/* src/tools/cli_text, cli_bytes, cli_rtt: figures and bytes as people and JSON read them. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli_bytes.h"
#include "tools/cli_rtt.h"
#include "tools/cli_text.h"

static void test_count__any_size__short_and_rounded(void **state) {
    (void)state;
    assert_string_equal(IST_CLI_COUNT(0), "0");
    assert_string_equal(IST_CLI_COUNT(0.44), "0.4");
    assert_string_equal(IST_CLI_COUNT(9.94), "9.9");
    assert_string_equal(IST_CLI_COUNT(9.96), "10");
    assert_string_equal(IST_CLI_COUNT(999.6), "1,000");
    assert_string_equal(IST_CLI_COUNT(1234567), "1,234,567");
    assert_string_equal(IST_CLI_COUNT(9999999), "9,999,999");
    assert_string_equal(IST_CLI_COUNT(9999999.6), "10.0 M");
    assert_string_equal(IST_CLI_COUNT(999.96e6), "1.0 G");
    assert_string_equal(IST_CLI_COUNT(1e27), "1000.0 Y");
    assert_string_equal(IST_CLI_COUNT(NAN), "-");
    assert_string_equal(IST_CLI_COUNT(INFINITY), "-");
    assert_string_equal(IST_CLI_COUNT(-1), "-");
}

static void test_count__largest_doubles__fit(void **state) {
    (void)state;
    char *out = guarded_new(IST_CLI_TEXT_MAX);
    static const double values[] = {1e15, 1e18, 9.9e26, 1.8446744073709552e19};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        ist_cli_text_count(values[i], out);
        ist_cli_text_bytes_rate(values[i], out);
        ist_cli_text_seconds(values[i], out);
        ist_cli_text_share(values[i], 1, out);
        ist_cli_text_share(1, values[i], out);
    }
    /* beyond what anyone counts: cut, not overrun */
    assert_true(strlen(ist_cli_text_count(1.7e308, out)) < IST_CLI_TEXT_MAX);
    guarded_free(out, IST_CLI_TEXT_MAX);
}

static void test_bytes__sizes_and_rates__units(void **state) {
    (void)state;
    assert_string_equal(IST_CLI_BYTES(0), "0 B");
    assert_string_equal(IST_CLI_BYTES(1536), "1.5 KiB");
    assert_string_equal(IST_CLI_BYTES(0.4), "0 B");
    assert_string_equal(IST_CLI_BYTES(1e30), "16 EiB");
    assert_string_equal(IST_CLI_BYTES(NAN), "-");
    assert_string_equal(IST_CLI_BYTES_RATE(2097152), "2 MiB/s");
    assert_string_equal(IST_CLI_BYTES_RATE(NAN), "-");
}

static void test_seconds__from_nanoseconds_up__units(void **state) {
    (void)state;
    assert_string_equal(IST_CLI_SECONDS(0), "0 us");
    assert_string_equal(IST_CLI_SECONDS(0.8e-6), "0.8 us");
    assert_string_equal(IST_CLI_SECONDS(310e-6), "310 us");
    assert_string_equal(IST_CLI_SECONDS(999.4e-6), "999 us");
    assert_string_equal(IST_CLI_SECONDS(999.6e-6), "1.0 ms");
    assert_string_equal(IST_CLI_SECONDS(0.0213), "21 ms");
    assert_string_equal(IST_CLI_SECONDS(1.25), "1.2 s");
    assert_string_equal(IST_CLI_SECONDS(250), "250 s");
    assert_string_equal(IST_CLI_SECONDS(NAN), "-");
}

static void test_share__nothing_to_share__no_number(void **state) {
    (void)state;
    assert_string_equal(IST_CLI_SHARE(1, 3), "33.3 %");
    assert_string_equal(IST_CLI_SHARE(3, 3), "100.0 %");
    assert_string_equal(IST_CLI_SHARE(0, 0), "-");
}

/* ---- bytes -------------------------------------------------------------------------------------------- */

static const struct {
    const char *data;
    size_t bytes;
    bool text, printable;
    const char *escaped;
} samples[] = {
    {"", 0, true, true, ""},
    {"plain", 5, true, true, "plain"},
    {"a\nb\tc\r", 6, true, true, "a\\x0ab\\x09c\\x0d"},
    {"back\\slash", 10, true, true, "back\\\\slash"},
    {"gr\xc3\xbc\xc3\x9f", 6, true, true, "gr\xc3\xbc\xc3\x9f"},
    {"\xe2\x82\xac \xf0\x9f\x90\xa7", 8, true, true, "\xe2\x82\xac \xf0\x9f\x90\xa7"},
    {"\x1b[31m", 5, true, false, "\\x1b[31m"},
    {"\x7f", 1, true, false, "\\x7f"},
    {"\xc2\x9b", 2, true, false, "\\xc2\\x9b"},                    /* CSI as one character */
    {"a\0b", 3, false, false, "a\\x00b"},                          /* a NUL */
    {"\xff\xfe", 2, false, false, "\\xff\\xfe"},                   /* never in UTF-8 */
    {"\xc0\x80", 2, false, false, "\\xc0\\x80"},                   /* overlong */
    {"\xe0\x80\x80", 3, false, false, "\\xe0\\x80\\x80"},          /* overlong */
    {"\xed\xa0\x80", 3, false, false, "\\xed\\xa0\\x80"},          /* a surrogate */
    {"\xf4\x90\x80\x80", 4, false, false, "\\xf4\\x90\\x80\\x80"}, /* beyond U+10FFFF */
    {"\xe2\x82", 2, false, false, "\\xe2\\x82"},                   /* cut short */
    {"\x80", 1, false, false, "\\x80"},                            /* begins in the middle */
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void test_bytes_are__samples__text_and_printable(void **state) {
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        /* at the end of readable memory */
        char *data = guarded_new(samples[i].bytes + 1) + 1;
        memcpy(data, samples[i].data, samples[i].bytes);
        if (ist_cli_bytes_are_text(data, samples[i].bytes) != samples[i].text ||
            ist_cli_bytes_are_printable(data, samples[i].bytes) != samples[i].printable) {
            fail_msg("sample %zu", i);
        }
        guarded_free(data - 1, samples[i].bytes + 1);
    }
}

static void test_escape__samples__one_harmless_line(void **state) {
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t room = IST_CLI_ESCAPED_MAX(samples[i].bytes);
        char *out = guarded_new(room);
        assert_string_equal(ist_cli_bytes_escape(samples[i].data, samples[i].bytes, out),
                            samples[i].escaped);
        guarded_free(out, room);
    }
}

static void test_hex__every_byte__there_and_back(void **state) {
    (void)state;
    uint8_t all[256], back[256];
    char hex[513];
    size_t bytes = 0;
    for (size_t i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
    }
    ist_cli_bytes_hex(all, 256, hex);
    assert_int_equal(strlen(hex), 512);
    assert_int_equal(ist_cli_hex_decode(hex, back, &bytes), IST_OK);
    assert_int_equal(bytes, 256);
    assert_memory_equal(all, back, 256);
    assert_int_equal(ist_cli_hex_decode("Ab", back, &bytes), IST_OK);
    assert_int_equal(back[0], 0xab);
}

static void test_hex__what_is_none__invalid(void **state) {
    (void)state;
    static const char *const wrong[] = {"a", "0g", "g0", "@0", "`0", "0:", "0/", " 0", "0x"};
    uint8_t out[4];
    size_t bytes = 77;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(ist_cli_hex_decode(wrong[i], out, &bytes), IST_INVALID);
    }
    assert_int_equal(bytes, 77);
}

/* RFC 4648, section 10. */
static void test_base64__vectors_of_the_rfc__as_written_there(void **state) {
    (void)state;
    static const char *const vectors[][2] = {
        {"", "\"\""},        {"f", "\"Zg==\""},          {"fo", "\"Zm8=\""},
        {"foo", "\"Zm9v\""}, {"foobar", "\"Zm9vYmFy\""}, {"\xff\xef\xbe", "\"/+++\""}};
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct ist_json json;
        ist_json_init(&json, ist_alloc_system());
        assert_int_equal(ist_cli_json_base64(&json, vectors[i][0], strlen(vectors[i][0])), IST_OK);
        assert_string_equal(ist_json_text(&json), vectors[i][1]);
        ist_json_fini(&json);
    }
}

/* ---- round trips -------------------------------------------------------------------------------------- */

static void test_rtt__some_times__as_ping_computes_them(void **state) {
    (void)state;
    struct ist_cli_rtt rtt = {.sent = 4};
    assert_true(ist_cli_rtt_deviation_ms(&rtt) == 0);
    ist_cli_rtt_add(&rtt, 2);
    assert_true(ist_cli_rtt_deviation_ms(&rtt) == 0);
    ist_cli_rtt_add(&rtt, 4);
    ist_cli_rtt_add(&rtt, 6);
    assert_true(rtt.min_ms == 2 && rtt.max_ms == 6 && rtt.mean_ms == 4);
    assert_int_equal(rtt.received, 3);
    assert_true(fabs(ist_cli_rtt_deviation_ms(&rtt) - sqrt(8.0 / 3)) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count__any_size__short_and_rounded),
        cmocka_unit_test(test_count__largest_doubles__fit),
        cmocka_unit_test(test_bytes__sizes_and_rates__units),
        cmocka_unit_test(test_seconds__from_nanoseconds_up__units),
        cmocka_unit_test(test_share__nothing_to_share__no_number),
        cmocka_unit_test(test_bytes_are__samples__text_and_printable),
        cmocka_unit_test(test_escape__samples__one_harmless_line),
        cmocka_unit_test(test_hex__every_byte__there_and_back),
        cmocka_unit_test(test_hex__what_is_none__invalid),
        cmocka_unit_test(test_base64__vectors_of_the_rfc__as_written_there),
        cmocka_unit_test(test_rtt__some_times__as_ping_computes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

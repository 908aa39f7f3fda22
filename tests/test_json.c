/* The JSON writer: what it writes, byte by byte, and what it does without memory. */
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

static void test_json__everything_nested__commas_where_they_belong(void **state) {
    (void)state;
    struct ist_json json;
    ist_json_init(&json, ist_alloc_system());
    ist_json_object(&json);
    ist_json_key(&json, "a");
    ist_json_array(&json);
    ist_json_uint(&json, UINT64_MAX);
    ist_json_int(&json, INT64_MIN);
    ist_json_bool(&json, true);
    ist_json_bool(&json, false);
    ist_json_null(&json);
    ist_json_array(&json);
    ist_json_end(&json);
    ist_json_object(&json);
    ist_json_end(&json);
    ist_json_end(&json);
    ist_json_key(&json, "b\n");
    ist_json_string(&json, "");
    ist_json_end(&json);
    assert_string_equal(ist_json_text(&json),
                        "{\"a\":[18446744073709551615,-9223372036854775808,true,false,null,[],{}],"
                        "\"b\\u000a\":\"\"}");
    ist_json_fini(&json);
}

static void test_json_double__any__a_number_or_null(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } numbers[] = {
        {0, "0"},
        {-3, "-3"},
        {1e6, "1000000"},
        {9007199254740991.0, "9007199254740991"},
        {1e300, "1e+300"},
        {0.25, "0.25"},
        {-1.0 / 3, "-0.333333333"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct ist_json json;
        ist_json_init(&json, ist_alloc_system());
        ist_json_double(&json, numbers[i].value);
        assert_string_equal(ist_json_text(&json), numbers[i].text);
        ist_json_fini(&json);
    }
}

/* Keys are any bytes; what comes out is always UTF-8 that a parser takes. */
static void test_json_bytes__any__valid_utf8(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *text;
    } strings[] = {
        {"plain", "\"plain\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\x80", "\"\xef\xbf\xbd\""}, /* a continuation alone */
        {"\xc3", "\"\xef\xbf\xbd\""}, /* cut off */
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""}, /* overlong */
        {"\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
        {"\xf4\x90\x80\x80",
         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* beyond U+10FFFF */
        {"\xf0\x8f\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82g", "\"\xef\xbf\xbd\xef\xbf\xbdg\""},
        {"\xff", "\"\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        struct ist_json json;
        size_t bytes = strlen(strings[i].bytes);
        char *guarded = guarded_new(bytes);
        memcpy(guarded, strings[i].bytes, bytes);
        ist_json_init(&json, ist_alloc_system());
        ist_json_bytes(&json, guarded, bytes);
        assert_string_equal(ist_json_text(&json), strings[i].text);
        ist_json_fini(&json);
        guarded_free(guarded, bytes);
    }
}

static void test_json__nth_allocation_fails__no_text(void **state) {
    (void)state;
    uint64_t nth = 1;
    for (bool failed = true; failed; nth++) {
        struct failing_alloc failing;
        struct ist_json json;
        failing_alloc_init(&failing, nth);
        ist_json_init(&json, &failing.alloc);
        ist_json_array(&json);
        for (int i = 0; i < 200; i++) {
            ist_json_string(&json, "0123456789");
        }
        ist_json_end(&json);
        failed = ist_json_text(&json) == NULL;
        assert_true(failed || strlen(ist_json_text(&json)) == 2 + 200 * 13 - 1);
        ist_json_fini(&json);
        assert_int_equal(failing.live, 0);
    }
    assert_true(nth > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json__everything_nested__commas_where_they_belong),
        cmocka_unit_test(test_json_double__any__a_number_or_null),
        cmocka_unit_test(test_json_bytes__any__valid_utf8),
        cmocka_unit_test(test_json__nth_allocation_fails__no_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

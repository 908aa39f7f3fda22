/* Endpoints as users write them. */
#include "client/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "tests/support.h"

struct parsed {
    struct failing_alloc failing;
    struct ist_endpoints endpoints;
    enum ist_status status;
    char error[200];
};

static struct parsed *parse(struct parsed *parsed, const char *text) {
    memset(parsed, 0, sizeof(*parsed));
    failing_alloc_init(&parsed->failing, 0);
    parsed->status = ist_endpoints_parse(text, &parsed->failing.alloc, &parsed->endpoints,
                                         parsed->error, sizeof(parsed->error));
    return parsed;
}

static void done(struct parsed *parsed) {
    if (parsed->status == IST_OK) {
        ist_endpoints_fini(&parsed->endpoints);
    }
    assert_int_equal(parsed->failing.live, 0);
}

static void assert_name(const char *text, const char *host, uint16_t port) {
    struct parsed parsed;
    assert_int_equal(parse(&parsed, text)->status, IST_OK);
    assert_int_equal(parsed.endpoints.count, 1);
    assert_int_equal(parsed.endpoints.items[0].address.bytes, 0);
    assert_string_equal(parsed.endpoints.items[0].host, host);
    assert_string_equal(parsed.endpoints.items[0].text, text);
    assert_int_equal(parsed.endpoints.items[0].port, port);
    done(&parsed);
}

static void test_parse__host_names__to_be_resolved(void **state) {
    (void)state;
    assert_name("host", "host", IST_SERVICE_PORT);
    assert_name("host.example.org:1", "host.example.org", 1);
    assert_name("host:65535", "host", 65535);
    assert_name("1.2.3.4.example", "1.2.3.4.example", IST_SERVICE_PORT);
    char longest[IST_HOST_BYTES_MAX + 1];
    memset(longest, 'a', IST_HOST_BYTES_MAX);
    longest[IST_HOST_BYTES_MAX] = '\0';
    assert_name(longest, longest, IST_SERVICE_PORT);
    char text[sizeof(longest) + 6];
    snprintf(text, sizeof(text), "%s:65535", longest);
    assert_name(text, longest, 65535);
}

static void assert_address(const char *text, const char *expected, uint16_t port) {
    struct parsed parsed;
    assert_int_equal(parse(&parsed, text)->status, IST_OK);
    assert_int_equal(parsed.endpoints.count, 1);
    const struct ist_address *address = &parsed.endpoints.items[0].address;
    char shown[INET6_ADDRSTRLEN];
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
        assert_int_equal(address->bytes, sizeof(*in));
        assert_int_equal(ntohs(in->sin_port), port);
        inet_ntop(AF_INET, &in->sin_addr, shown, sizeof(shown));
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        assert_int_equal(address->storage.ss_family, AF_INET6);
        assert_int_equal(address->bytes, sizeof(*in6));
        assert_int_equal(ntohs(in6->sin6_port), port);
        inet_ntop(AF_INET6, &in6->sin6_addr, shown, sizeof(shown));
    }
    assert_string_equal(shown, expected);
    done(&parsed);
}

static void test_parse__numbers__addresses(void **state) {
    (void)state;
    assert_address("1.2.3.4", "1.2.3.4", IST_SERVICE_PORT);
    assert_address("127.0.0.1:80", "127.0.0.1", 80);
    assert_address("[::1]", "::1", IST_SERVICE_PORT);
    assert_address("[2001:db8::7]:9000", "2001:db8::7", 9000);
    assert_address("[fe80::1%lo]:9000", "fe80::1", 9000);
}

static void test_parse__path__local_socket(void **state) {
    (void)state;
    struct parsed parsed;
    char text[200] = "unix:/run/infinistore:22345.sock"; /* a colon in a path is no port */
    assert_int_equal(parse(&parsed, text)->status, IST_OK);
    const struct sockaddr_un *un =
        (const struct sockaddr_un *)&parsed.endpoints.items[0].address.storage;
    assert_int_equal(un->sun_family, AF_UNIX);
    assert_string_equal(un->sun_path, "/run/infinistore:22345.sock");
    done(&parsed);
    memset(text + 5, 'x', sizeof(un->sun_path) - 1);
    text[5 + sizeof(un->sun_path) - 1] = '\0';
    assert_int_equal(parse(&parsed, text)->status, IST_OK);
    done(&parsed);
    strcat(text, "x");
    assert_int_equal(parse(&parsed, text)->status, IST_INVALID);
    done(&parsed);
}

static void test_parse__list__in_its_order(void **state) {
    (void)state;
    struct parsed parsed;
    assert_int_equal(parse(&parsed, "a:1, [::1]:2\t,unix:/x ,d")->status, IST_OK);
    assert_int_equal(parsed.endpoints.count, 4);
    static const char *const expected[4] = {"a:1", "[::1]:2", "unix:/x", "d"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(parsed.endpoints.items[i].text, expected[i]);
    }
    done(&parsed);
}

static void assert_invalid(const char *text, const char *named) {
    struct parsed parsed;
    assert_int_equal(parse(&parsed, text)->status, IST_INVALID);
    if (strstr(parsed.error, named) == NULL) {
        fail_msg("\"%s\": \"%s\" does not name \"%s\"", text, parsed.error, named);
    }
    assert_null(strchr(parsed.error, '\n'));
    done(&parsed);
}

static void test_parse__malformed__invalid_and_named(void **state) {
    (void)state;
    assert_invalid("", "empty");
    assert_invalid("a,,b", "empty");
    assert_invalid("a,", "empty");
    assert_invalid("good, 127.0.0.1:99999", "\"127.0.0.1:99999\"");
    static const char *const wrong[] = {
        "a:",   "a:0",   "a:65536", "a:-1",      "a:+1",   "a:1x",   "a:000080",
        ":1",   "::1",   "a:1:2",   "[::1",      "[::1]x", "[::1]:", "[::1]:0x1",
        "[]:1", "[a]:1", "unix:",   "[1.2.3.4]", "a b",    "[::1]]", "[::1%nosuchdevice]",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_invalid(wrong[i], wrong[i]);
    }
    char text[2 * IST_ENDPOINT_TEXT_BYTES];
    memset(text, 'a', sizeof(text));
    text[IST_HOST_BYTES_MAX + 1] = '\0';
    assert_invalid(text, "too long");
    text[IST_HOST_BYTES_MAX + 1] = 'a';
    text[sizeof(text) - 1] = '\0';
    assert_invalid(text, "");
    memset(text, ',', sizeof(text) - 1);
    assert_invalid(text, "more than 32");
}

static void test_parse__short_error_buffer__cut(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 0);
    struct ist_endpoints endpoints;
    char *error = guarded_new(5);
    memset(error, 'x', 5);
    assert_int_equal(ist_endpoints_parse("a:b", &failing.alloc, &endpoints, error, 5), IST_INVALID);
    assert_string_equal(error, "endp");
    guarded_free(error, 5);
}

static void test_parse__no_memory__no_memory(void **state) {
    (void)state;
    struct failing_alloc failing;
    failing_alloc_init(&failing, 1);
    struct ist_endpoints endpoints;
    char error[100] = "";
    assert_int_equal(ist_endpoints_parse("a", &failing.alloc, &endpoints, error, sizeof(error)),
                     IST_NO_MEMORY);
    assert_true(error[0] != '\0');
    assert_int_equal(failing.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse__host_names__to_be_resolved),
        cmocka_unit_test(test_parse__numbers__addresses),
        cmocka_unit_test(test_parse__path__local_socket),
        cmocka_unit_test(test_parse__list__in_its_order),
        cmocka_unit_test(test_parse__malformed__invalid_and_named),
        cmocka_unit_test(test_parse__short_error_buffer__cut),
        cmocka_unit_test(test_parse__no_memory__no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

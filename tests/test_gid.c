/* src/verbs/gid: which entry of a port's table is used. */
#include "tests/support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "verbs/gid.h"

static struct ist_gid_entry entry(uint32_t index, enum ist_gid_type type, bool is_here,
                                  const uint8_t gid[IST_GID_LENGTH]) {
    struct ist_gid_entry made = {.index = index, .type = type, .is_here = is_here};
    memcpy(made.gid, gid, IST_GID_LENGTH);
    return made;
}

static const uint8_t link_local[16] = {0xfe, 0x80, [15] = 1};
static const uint8_t global[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
static const uint8_t ipv4[16] = {[10] = 0xff, 0xff, 10, 0, 0, 1};
static const uint8_t other_ipv4[16] = {[10] = 0xff, 0xff, 10, 1, 0, 1};
static const uint8_t empty[16];
static const uint8_t site_local[16] = {0xfe, 0xc0, [15] = 1};
static const uint8_t not_link_local[16] = {0x2a, 0x80, [15] = 1};

static void test_gid_rank__each_kind__its_rank_and_why(void **state) {
    (void)state;
    const struct {
        struct ist_gid_entry entry;
        enum ist_gid_rank rank;
        const char *why;
    } cases[] = {
        {entry(0, IST_GID_ROCE_V2, true, empty), IST_GID_UNUSABLE, "empty"},
        {entry(0, IST_GID_ROCE_V1, true, ipv4), IST_GID_UNUSABLE, "v1"},
        {entry(0, IST_GID_ROCE_V2, false, ipv4), IST_GID_UNUSABLE, "namespace"},
        {entry(0, IST_GID_ROCE_V2, true, link_local), IST_GID_LINK_LOCAL, "link-local"},
        {entry(0, IST_GID_ROCE_V2, true, global), IST_GID_IPV6, "global"},
        {entry(0, IST_GID_ROCE_V2, true, site_local), IST_GID_IPV6, "global"},
        {entry(0, IST_GID_ROCE_V2, true, not_link_local), IST_GID_IPV6, "global"},
        {entry(255, IST_GID_ROCE_V2, true, global), IST_GID_IPV6, "global"},
        {entry(256, IST_GID_ROCE_V2, true, global), IST_GID_UNUSABLE, "index"},
        {entry(0, IST_GID_ROCE_V2, true, other_ipv4), IST_GID_IPV4, "IPv4"},
        {entry(0, IST_GID_ROCE_V2, true, ipv4), IST_GID_ROUTED, "routes"},
        {entry(0, IST_GID_INFINIBAND, true, link_local), IST_GID_LINK_LOCAL, "subnet"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *why = NULL;
        assert_int_equal(ist_gid_rank(&cases[i].entry, ipv4, &why), cases[i].rank);
        assert_non_null(strstr(why, cases[i].why));
    }
}

static void test_gid_choose__a_table_as_cards_have_it__the_one_that_routes(void **state) {
    (void)state;
    /* each address twice, v1 before v2: taking the first, or index 3 as many guides say, is wrong */
    const struct ist_gid_entry table[] = {
        entry(0, IST_GID_ROCE_V1, true, link_local), entry(1, IST_GID_ROCE_V2, true, link_local),
        entry(2, IST_GID_ROCE_V1, true, other_ipv4), entry(3, IST_GID_ROCE_V2, true, other_ipv4),
        entry(4, IST_GID_ROCE_V1, true, ipv4),       entry(5, IST_GID_ROCE_V2, true, ipv4),
        entry(6, IST_GID_ROCE_V2, true, global),
    };
    assert_int_equal(ist_gid_choose(table, 7, ipv4, -1)->index, 5);
    assert_int_equal(ist_gid_choose(table, 7, NULL, -1)->index, 3);
    assert_int_equal(ist_gid_choose(table, 3, NULL, -1)->index, 1);
    assert_null(ist_gid_choose(table, 1, NULL, -1));
    assert_null(ist_gid_choose(NULL, 0, NULL, -1));
}

static void test_gid_choose__a_hint__overrides_or_is_missing(void **state) {
    (void)state;
    const struct ist_gid_entry table[] = {
        entry(0, IST_GID_ROCE_V1, true, link_local), entry(7, IST_GID_ROCE_V2, true, ipv4),
        entry(255, IST_GID_ROCE_V2, true, ipv4), entry(256, IST_GID_ROCE_V2, true, ipv4)};
    assert_int_equal(ist_gid_choose(table, 4, NULL, 0)->index, 0);
    assert_int_equal(ist_gid_choose(table, 4, NULL, 7)->index, 7);
    assert_int_equal(ist_gid_choose(table, 4, NULL, 255)->index, 255);
    assert_null(ist_gid_choose(table, 4, NULL, 256)); /* more than a queue pair can name */
    assert_null(ist_gid_choose(table, 4, NULL, 1)); /* an index of the table, not a place in the list */
}

static void test_gid_source__loopback__itself(void **state) {
    (void)state;
    static const uint8_t loopback[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
    uint8_t source[16] = {0};
    assert_true(ist_gid_source(loopback, source));
    assert_memory_equal(source, loopback, 16);
}

static void test_gid_source__another_address__not_the_loopback_one(void **state) {
    (void)state;
    static const uint8_t loopback[16] = {[15] = 1},
                         mapped_loopback[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
    static const uint8_t documentation_ipv4[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
    uint8_t source[16] = {0};
    /* Whether there is a route is this machine's matter. */
    assert_true(!ist_gid_source(global, source) ||
                (memcmp(source, loopback, 16) != 0 && memcmp(source, empty, 16) != 0));
    assert_true(!ist_gid_source(documentation_ipv4, source) ||
                (memcmp(source, mapped_loopback, 16) != 0 && memcmp(source, mapped_loopback, 12) == 0));
}

static bool has_ipv6(void) {
    const struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

static void test_gid_source__loopback_ipv6__itself_where_there_is_one(void **state) {
    (void)state;
    static const uint8_t loopback[16] = {[15] = 1};
    uint8_t source[16] = {0};
    assert_int_equal(ist_gid_source(loopback, source), has_ipv6());
    assert_true(!has_ipv6() || memcmp(source, loopback, 16) == 0);
}

/* Without a descriptor to ask with there is no answer; that descriptor 0 is free is no reason. */
static void test_gid_source__descriptors_run_out_or_begin_at_zero__none_or_the_answer(void **state) {
    (void)state;
    static const uint8_t loopback[16] = {[15] = 1}, mapped[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
    uint8_t source[16];
    struct rlimit usual;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool found[2] = {ist_gid_source(mapped, source), ist_gid_source(loopback, source)};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_false(found[0] || found[1]);
    int input = dup(STDIN_FILENO);
    close(STDIN_FILENO);
    found[1] = ist_gid_source(loopback, source);
    found[0] = ist_gid_source(mapped, source);
    bool is_left = fcntl(STDIN_FILENO, F_GETFD) != -1;
    if (input >= 0) {
        dup2(input, STDIN_FILENO);
        close(input);
    }
    assert_true(found[0]);
    assert_int_equal(found[1], has_ipv6());
    assert_false(is_left);
    assert_memory_equal(source, mapped, 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gid_rank__each_kind__its_rank_and_why),
        cmocka_unit_test(test_gid_choose__a_table_as_cards_have_it__the_one_that_routes),
        cmocka_unit_test(test_gid_choose__a_hint__overrides_or_is_missing),
        cmocka_unit_test(test_gid_source__loopback__itself),
        cmocka_unit_test(test_gid_source__descriptors_run_out_or_begin_at_zero__none_or_the_answer),
        cmocka_unit_test(test_gid_source__loopback_ipv6__itself_where_there_is_one),
        cmocka_unit_test(test_gid_source__another_address__not_the_loopback_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

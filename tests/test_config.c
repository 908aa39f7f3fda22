/* src/daemon/config and option: every option from both sources, who has the last word, and every wrong value. */
#include "tests/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/option.h"

#define ARGUMENTS_MAX 24
#define GIB (1ull << 30)

static struct ist_config config;
static enum ist_wish wish;
static char error[IST_CONFIG_ERROR_BYTES];

/* The command line ends with NULL, without the program's name; so does the environment. */
static enum ist_status read_both(const char *const *options, const char *const *environment) {
    static const char *const none[] = {NULL};
    const char *arguments[ARGUMENTS_MAX] = {"infinistore"};
    int count = 1;
    for (; options != NULL && options[count - 1] != NULL; count++) {
        assert_true(count < ARGUMENTS_MAX);
        arguments[count] = options[count - 1];
    }
    memset(&config, 0xee, sizeof(config));
    memset(error, 0, sizeof(error));
    wish = (enum ist_wish)99;
    return ist_config_read(count, (char *const *)(uintptr_t)arguments,
                           (char *const *)(uintptr_t)(environment == NULL ? none : environment),
                           &config, &wish, error);
}

#define read_options(...) read_both((const char *const[]){__VA_ARGS__, NULL}, NULL)

static void test_read__nothing_said__original_defaults(void **state) {
    (void)state;
    assert_int_equal(read_both(NULL, NULL), IST_OK);
    assert_int_equal(wish, IST_WISH_SERVE);
    assert_int_equal(config.host_count, 1);
    assert_string_equal(config.hosts[0], "0.0.0.0");
    assert_int_equal(config.service_port, 22345);
    assert_int_equal(config.manage_port, 18080);
    assert_int_equal(config.log_level, IST_LOG_INFO);
    assert_int_equal(config.prealloc_bytes, 16 * GIB);
    assert_int_equal(config.min_block_bytes, 64 << 10);
    assert_int_equal(config.max_pool_bytes, 0);
    assert_false(config.auto_increase);
    assert_false(config.periodic_evict);
    assert_true(config.hugepages);
    assert_true(config.evict_interval_sec == 5);
    assert_true(config.evict_min_threshold == 0.6);
    assert_true(config.evict_max_threshold == 0.8);
    assert_int_equal(config.sessions_max, 16384);
    assert_int_equal(config.drain_timeout_ns, 25000000000);
    assert_int_equal(config.ib_port, 1);
    assert_int_equal(config.link_type, IST_DEVICE_LINK_ANY);
    assert_int_equal(config.hint_gid_index, -1);
    assert_int_equal(config.poll_us, 0);
    assert_null(config.unix_socket);
    assert_null(config.port_file);
    assert_null(config.manage_token_file);
    assert_null(config.dev_name);
}

/* ---- each option -------------------------------------------------------------------------------- */

static bool is_host(void) {
    return config.host_count == 2 && strcmp(config.hosts[0], "::1") == 0 &&
           strcmp(config.hosts[1], "a-host.example") == 0;
}
static bool is_service_port(void) {
    return config.service_port == 65535;
}
static bool is_manage_port(void) {
    return config.manage_port == 0;
}
static bool is_unix_socket(void) {
    return strcmp(config.unix_socket, "/run/s") == 0;
}
static bool is_port_file(void) {
    return strcmp(config.port_file, "ports") == 0;
}
static bool is_token_file(void) {
    return strcmp(config.manage_token_file, "/t") == 0;
}
static bool is_prealloc(void) {
    return config.prealloc_bytes == 2 * GIB;
}
static bool is_prealloc_suffix(void) {
    return config.prealloc_bytes == 3 * GIB / 2;
}
static bool is_min_block(void) {
    return config.min_block_bytes == 128 << 10;
}
static bool is_min_block_suffix(void) {
    return config.min_block_bytes == 4 << 10;
}
static bool is_auto_increase(void) {
    return config.auto_increase;
}
static bool is_max_pool(void) {
    return config.max_pool_bytes == 64 * GIB;
}
static bool is_no_hugepages(void) {
    return !config.hugepages;
}
static bool is_periodic_evict(void) {
    return config.periodic_evict;
}
static bool is_interval(void) {
    return config.evict_interval_sec == 0.25;
}
static bool is_min_threshold(void) {
    return config.evict_min_threshold == 0.125;
}
static bool is_max_threshold(void) {
    return config.evict_max_threshold == 1;
}
static bool is_sessions(void) {
    return config.sessions_max == 1048576;
}
static bool is_drain(void) {
    return config.drain_timeout_ns == 1500000000;
}
static bool is_no_drain(void) {
    return config.drain_timeout_ns == 0;
}
static bool is_dev_name(void) {
    return strcmp(config.dev_name, "mlx5_1") == 0;
}
static bool is_ib_port(void) {
    return config.ib_port == 2;
}
static bool is_link_type(void) {
    return config.link_type == IST_DEVICE_LINK_ETHERNET;
}
static bool is_link_type_ib(void) {
    return config.link_type == IST_DEVICE_LINK_INFINIBAND;
}
static bool is_gid_index(void) {
    return config.hint_gid_index == 3;
}
static bool is_poll_us(void) {
    return config.poll_us == 50;
}
static bool is_no_gid_index(void) {
    return config.hint_gid_index == -1;
}
static bool is_log_level(void) {
    return config.log_level == IST_LOG_WARNING;
}

static const struct {
    const char *option, *value;
    bool (*holds)(void);
} good[] = {
    {"host", "::1,a-host.example", is_host},
    {"host", "[::1],a-host.example", is_host},
    {"service-port", "65535", is_service_port},
    {"manage-port", "0", is_manage_port},
    {"unix-socket", "/run/s", is_unix_socket},
    {"port-file", "ports", is_port_file},
    {"manage-token-file", "/t", is_token_file},
    {"prealloc-size", "2", is_prealloc},
    {"prealloc-size", "1.5G", is_prealloc_suffix},
    {"prealloc-size", "1536MiB", is_prealloc_suffix},
    {"minimal-allocate-size", "128", is_min_block},
    {"minimal-allocate-size", "4k", is_min_block_suffix},
    {"auto-increase", "yes", is_auto_increase},
    {"auto-increase", "TRUE", is_auto_increase},
    {"max-pool-size", "64", is_max_pool},
    {"hugepages", "off", is_no_hugepages},
    {"hugepages", "0", is_no_hugepages},
    {"enable-periodic-evict", "1", is_periodic_evict},
    {"evict-interval", ".25", is_interval},
    {"evict-min-threshold", "0.125", is_min_threshold},
    {"evict-max-threshold", "1", is_max_threshold},
    {"max-sessions", "1048576", is_sessions},
    {"drain-timeout", "1.5", is_drain},
    {"drain-timeout", "0", is_no_drain},
    {"dev-name", "mlx5_1", is_dev_name},
    {"ib-port", "2", is_ib_port},
    {"link-type", "ethernet", is_link_type},
    {"link-type", "IB", is_link_type_ib},
    {"hint-gid-index", "3", is_gid_index},
    {"poll-us", "50", is_poll_us},
    {"hint-gid-index", "-1", is_no_gid_index},
    {"log-level", "Warning", is_log_level},
};
#define GOOD (sizeof(good) / sizeof(good[0]))

static void variable_of(const char *option, const char *value, char *setting, size_t bytes) {
    char name[64];
    snprintf(name, sizeof(name), "%s", option);
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    }
    snprintf(setting, bytes, "INFINISTORE_%s=%s", name, value);
}

static void test_read__good_value_in_every_form__taken(void **state) {
    (void)state;
    for (size_t i = 0; i < GOOD; i++) {
        char option[64], joined[128], setting[128];
        snprintf(option, sizeof(option), "--%s", good[i].option);
        snprintf(joined, sizeof(joined), "--%s=%s", good[i].option, good[i].value);
        variable_of(good[i].option, good[i].value, setting, sizeof(setting));
        bool is_flag = good[i].holds == is_auto_increase || good[i].holds == is_no_hugepages ||
                       good[i].holds == is_periodic_evict;
        if (!is_flag) {
            assert_int_equal(read_options(option, good[i].value), IST_OK);
            assert_true(good[i].holds());
        }
        assert_int_equal(read_options(joined), IST_OK);
        assert_true(good[i].holds());
        assert_int_equal(read_both(NULL, (const char *const[]){"PATH=/bin", setting, NULL}), IST_OK);
        assert_true(good[i].holds());
    }
}

static void test_option__each_of_the_table__is_tried_above_and_helped(void **state) {
    (void)state;
    char *help = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&help, &bytes);
    assert_non_null(out);
    ist_option_help(out);
    assert_int_equal(fclose(out), 0);
    const struct ist_option *option;
    for (size_t i = 0; (option = ist_option_at(i)) != NULL; i++) {
        bool tried = false;
        for (size_t j = 0; j < GOOD; j++) {
            tried |= strcmp(good[j].option, option->name) == 0;
        }
        char entry[64];
        snprintf(entry, sizeof(entry), "\n  --%s ", option->name);
        if (!tried || strstr(help, entry) == NULL) {
            fail_msg("--%s is not tried or not in the help", option->name);
        }
    }
    size_t column = 0;
    for (const char *c = help; *c != '\0'; c++) {
        column = *c == '\n' ? 0 : column + 1;
        assert_true(column <= 80);
    }
    free(help);
}

static void test_read__flags__alone_negated_and_undone(void **state) {
    (void)state;
    assert_int_equal(read_options("--auto-increase", "--enable-periodic-evict", "--no-hugepages"),
                     IST_OK);
    assert_true(config.auto_increase && config.periodic_evict && !config.hugepages);
    assert_int_equal(read_options("--no-hugepages", "--hugepages"), IST_OK);
    assert_true(config.hugepages);
    const char *const environment[] = {"INFINISTORE_AUTO_INCREASE=yes", NULL};
    assert_int_equal(read_both((const char *const[]){"--no-auto-increase", NULL}, environment), IST_OK);
    assert_false(config.auto_increase);
}

/* ---- sources ------------------------------------------------------------------------------------ */

static void test_read__both_sources__command_line_has_the_last_word(void **state) {
    (void)state;
    const char *const environment[] = {"INFINISTORE_SERVICE_PORT=1", "INFINISTORE_MANAGE_PORT=2",
                                       "INFINISTORE_HOST=127.0.0.9,127.0.0.8", NULL};
    const char *const options[] = {"--service-port", "3", "--host", "127.0.0.1", NULL};
    assert_int_equal(read_both(options, environment), IST_OK);
    assert_int_equal(config.service_port, 3);
    assert_int_equal(config.manage_port, 2);
    assert_int_equal(config.host_count, 1);
    assert_string_equal(config.hosts[0], "127.0.0.1");
    assert_int_equal(read_both(NULL, environment), IST_OK);
    assert_int_equal(config.host_count, 2);
}

static void test_read__repeated__hosts_add_up_others_last(void **state) {
    (void)state;
    assert_int_equal(
        read_options("--host", "127.0.0.1", "--service-port=1", "--host", "::1,x", "--service-port=2"),
        IST_OK);
    assert_int_equal(config.host_count, 3);
    assert_string_equal(config.hosts[0], "127.0.0.1");
    assert_string_equal(config.hosts[2], "x");
    assert_int_equal(config.service_port, 2);
}

static void test_read__empty_or_foreign_variables__as_if_not_set(void **state) {
    (void)state;
    const char *const environment[] = {"INFINISTORE_SERVICE_PORT=", "INFINISTORE_NO_SUCH=1",
                                       "INFINISTORE_HOSTS=x",       "XINFINISTORE_MANAGE_PORT=1",
                                       "INFINISTORE_MANAGE_PORT",   NULL};
    assert_int_equal(read_both(NULL, environment), IST_OK);
    assert_int_equal(config.service_port, 22345);
    assert_int_equal(config.manage_port, 18080);
    assert_string_equal(config.hosts[0], "0.0.0.0");
}

static void test_read__beginning_of_a_name__enough_when_no_other_has_it(void **state) {
    (void)state;
    assert_int_equal(read_options("--prealloc", "1", "--auto", "--no-huge"), IST_OK);
    assert_int_equal(config.prealloc_bytes, GIB);
    assert_true(config.auto_increase && !config.hugepages);
    assert_int_equal(read_options("--evict", "1"), IST_CONFIG);
    assert_non_null(strstr(error, "--evict"));
    assert_int_equal(read_options("--h"), IST_CONFIG);
}

static void test_read__help_or_version__whatever_else_is_wrong(void **state) {
    (void)state;
    assert_int_equal(read_options("--help"), IST_OK);
    assert_int_equal(wish, IST_WISH_HELP);
    assert_int_equal(read_options("-h"), IST_OK);
    assert_int_equal(wish, IST_WISH_HELP);
    assert_int_equal(read_options("--version"), IST_OK);
    assert_int_equal(wish, IST_WISH_VERSION);
    const char *const environment[] = {"INFINISTORE_LOG_LEVEL=loud", NULL};
    assert_int_equal(read_both((const char *const[]){"--help", NULL}, environment), IST_OK);
    assert_int_equal(wish, IST_WISH_HELP);
    assert_int_equal(read_options("--max-pool-size", "1K", "--version"), IST_OK);
}

/* ---- wrong ---------------------------------------------------------------------------------------- */

static const struct {
    const char *option, *value;
} wrong[] = {
    {"host", ","},
    {"host", "a,"},
    {"host", ",a"},
    {"host", "a,,b"},
    {"host", "300.1.1.1"},
    {"host", "1.2.3"},
    {"host", "::g"},
    {"host", "a b"},
    {"host", "a/b"},
    {"host", "a\nb"},
    {"host", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"},
    {"host", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"},
    {"service-port", "65536"},
    {"service-port", "-1"},
    {"service-port", "+1"},
    {"service-port", "http"},
    {"service-port", "1x"},
    {"service-port", " 1"},
    {"service-port", "1.0"},
    {"service-port", "0x10"},
    {"manage-port", "65536"},
    {"prealloc-size", "0"},
    {"prealloc-size", "-1"},
    {"prealloc-size", "1Q"},
    {"prealloc-size", "nan"},
    {"prealloc-size", "99999999999999999999"},
    {"prealloc-size", "8000000T"},
    {"minimal-allocate-size", "0"},
    {"minimal-allocate-size", "3K"},
    {"minimal-allocate-size", "256B"},
    {"minimal-allocate-size", "2G"},
    {"minimal-allocate-size", "x"},
    {"auto-increase", "maybe"},
    {"hugepages", "2"},
    {"enable-periodic-evict", "y"},
    {"max-pool-size", "0"},
    {"max-pool-size", "1K"},
    {"max-pool-size", "8000000T"},
    {"max-pool-size", "x"},
    {"evict-interval", "0"},
    {"evict-interval", "0.0001"},
    {"evict-interval", "-1"},
    {"evict-interval", "1e3"},
    {"evict-interval", "inf"},
    {"evict-interval", "86401"},
    {"evict-interval", "."},
    {"evict-interval", "1.2.3"},
    {"evict-min-threshold", "1.5"},
    {"evict-min-threshold", "-0.1"},
    {"evict-min-threshold", "0.9"}, /* more than the other's 0.8 */
    {"evict-max-threshold", "1.01"},
    {"evict-max-threshold", "nan"},
    {"max-sessions", "0"},
    {"max-sessions", "1048577"},
    {"drain-timeout", "-1"},
    {"drain-timeout", "86401"},
    {"ib-port", "0"},
    {"ib-port", "256"},
    {"link-type", "Token-Ring"},
    {"hint-gid-index", "-2"},
    {"poll-us", "-1"},
    {"poll-us", "100001"},
    {"poll-us", "1.5"},
    {"hint-gid-index", "256"},
    {"hint-gid-index", "--1"},
    {"log-level", "loud"},
};

static void assert_one_line_with(const char *name) {
    if (strstr(error, name) == NULL || strchr(error, '\n') != NULL) {
        fail_msg("not a line that names %s: %s", name, error);
    }
    assert_int_equal(wish, 99); /* nothing is written */
    assert_int_equal(config.service_port, 0xeeee);
}

static void test_read__wrong_value__named_and_nothing_written(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char option[64], joined[128], setting[128];
        snprintf(option, sizeof(option), "--%s", wrong[i].option);
        snprintf(joined, sizeof(joined), "--%s=%s", wrong[i].option, wrong[i].value);
        variable_of(wrong[i].option, wrong[i].value, setting, sizeof(setting));
        assert_int_equal(read_options(joined), IST_CONFIG);
        assert_one_line_with(option);
        assert_int_equal(read_both(NULL, (const char *const[]){setting, NULL}), IST_CONFIG);
        *strchr(setting, '=') = '\0';
        assert_one_line_with(setting);
    }
}

static void test_read__empty_value_on_the_command_line__named(void **state) {
    (void)state;
    const struct ist_option *option;
    for (size_t i = 0; (option = ist_option_at(i)) != NULL; i++) {
        char joined[64];
        snprintf(joined, sizeof(joined), "--%s=", option->name);
        assert_int_equal(read_options(joined), IST_CONFIG);
        *strchr(joined, '=') = '\0';
        assert_one_line_with(joined);
    }
}

static void test_read__no_option_or_incomplete__named(void **state) {
    (void)state;
    assert_int_equal(read_options("--no-such-option", "1"), IST_CONFIG);
    assert_one_line_with("--no-such-option");
    assert_int_equal(read_options("surplus"), IST_CONFIG);
    assert_one_line_with("surplus");
    assert_int_equal(read_options("-x"), IST_CONFIG);
    assert_one_line_with("-x");
    assert_int_equal(read_options("--"), IST_CONFIG);
    assert_int_equal(read_options("-"), IST_CONFIG);
    assert_int_equal(read_options(""), IST_CONFIG);
    assert_int_equal(read_options("--=1"), IST_CONFIG);
    assert_int_equal(read_options("--no-"), IST_CONFIG);
    assert_int_equal(read_options("--no-log-level"), IST_CONFIG);
    assert_int_equal(read_options("--no-hugepages=no"), IST_CONFIG);
    assert_one_line_with("--no-hugepages");
    assert_int_equal(read_options("--log-level"), IST_CONFIG);
    assert_one_line_with("--log-level");
    assert_int_equal(read_options("\x1b[31m\n"), IST_CONFIG);
    assert_one_line_with("?[31m?");
}

static void test_read__values_that_do_not_fit_together__named(void **state) {
    (void)state;
    assert_int_equal(read_options("--prealloc-size", "4", "--max-pool-size", "2"), IST_CONFIG);
    assert_one_line_with("--max-pool-size");
    assert_int_equal(read_options("--prealloc-size", "32K"), IST_CONFIG);
    assert_one_line_with("--minimal-allocate-size");
    assert_int_equal(read_options("--evict-min-threshold", "0.9", "--evict-max-threshold", "0.5"),
                     IST_CONFIG);
    assert_one_line_with("--evict-min-threshold");
    /* 2^31 - 1 blocks of the least size are the most */
    assert_int_equal(read_options("--minimal-allocate-size", "512B", "--prealloc-size", "1T"),
                     IST_CONFIG);
    assert_one_line_with("--prealloc-size");
    assert_int_equal(read_options("--minimal-allocate-size", "512B", "--prealloc-size", "1023G"),
                     IST_OK);
    assert_int_equal(read_options("--prealloc-size", "2", "--max-pool-size", "2"), IST_OK);
    assert_int_equal(read_options("--evict-min-threshold", "0.5", "--evict-max-threshold", "0.5"),
                     IST_OK);
}

static void test_read__long_host__up_to_its_limit(void **state) {
    (void)state;
    char host[IST_CONFIG_HOST_BYTES + 1];
    memset(host, 'h', sizeof(host));
    host[IST_CONFIG_HOST_BYTES - 1] = '\0';
    assert_int_equal(read_options("--host", host), IST_OK);
    assert_string_equal(config.hosts[0], host);
    host[IST_CONFIG_HOST_BYTES - 1] = 'h';
    host[IST_CONFIG_HOST_BYTES] = '\0';
    assert_int_equal(read_options("--host", host), IST_CONFIG);
    assert_int_equal(read_options("--host", "fe80::1%eth0"), IST_OK);
    assert_string_equal(config.hosts[0], "fe80::1%eth0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__nothing_said__original_defaults),
        cmocka_unit_test(test_read__good_value_in_every_form__taken),
        cmocka_unit_test(test_option__each_of_the_table__is_tried_above_and_helped),
        cmocka_unit_test(test_read__flags__alone_negated_and_undone),
        cmocka_unit_test(test_read__both_sources__command_line_has_the_last_word),
        cmocka_unit_test(test_read__repeated__hosts_add_up_others_last),
        cmocka_unit_test(test_read__empty_or_foreign_variables__as_if_not_set),
        cmocka_unit_test(test_read__beginning_of_a_name__enough_when_no_other_has_it),
        cmocka_unit_test(test_read__help_or_version__whatever_else_is_wrong),
        cmocka_unit_test(test_read__wrong_value__named_and_nothing_written),
        cmocka_unit_test(test_read__empty_value_on_the_command_line__named),
        cmocka_unit_test(test_read__no_option_or_incomplete__named),
        cmocka_unit_test(test_read__values_that_do_not_fit_together__named),
        cmocka_unit_test(test_read__long_host__up_to_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/transport: the options that all tools share, in each of their command lines. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "tools/bench_options.h"
#include "tools/cli_options.h"
#include "tools/replay_options.h"
#include "tools/transport.h"

static bool take(const char *name, const char *value, struct ist_transport_options *options) {
    const struct ist_transport_option *option = ist_transport_option_find(name, strlen(name));
    assert_non_null(option);
    return ist_transport_option_take(option, value, options);
}

static void test_take__each_value__in_what_a_client_is_made_from(void **state) {
    (void)state;
    struct ist_transport_options options = {0};
    struct ist_client_options client = {.endpoints = "a"};
    assert_true(take("transport", "auto", &options));
    assert_true(take("dev-name", "mlx5_0", &options));
    assert_true(take("ib-port", "255", &options));
    assert_true(take("link-type", "ib", &options));
    assert_true(take("hint-gid-index", "0", &options));
    assert_true(take("poll-us", "100000", &options));
    ist_transport_apply(&options, &client);
    assert_string_equal(client.endpoints, "a");
    assert_int_equal(client.transport, IST_TRANSPORT_AUTO);
    assert_string_equal(client.device, "mlx5_0");
    assert_int_equal(client.port, 255);
    assert_int_equal(client.link, IST_CLIENT_LINK_INFINIBAND);
    assert_true(client.use_gid_index);
    assert_int_equal(client.gid_index, 0);
    assert_int_equal(client.poll_ns, 100000000);
    assert_true(take("hint-gid-index", "-1", &options));
    assert_false(options.use_gid_index);
    assert_true(take("link-type", "Ethernet", &options));
    assert_int_equal(options.link, IST_CLIENT_LINK_ETHERNET);
    assert_true(take("transport", "rdma", &options) && options.transport == IST_TRANSPORT_RDMA);
    assert_true(take("transport", "tcp", &options) && options.transport == IST_TRANSPORT_TCP);
}

static void test_take__wrong_values__refused(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"transport", ""},      {"transport", "RDMA"},     {"transport", "udp"},
        {"dev-name", ""},       {"ib-port", "0"},          {"ib-port", "256"},
        {"ib-port", "1x"},      {"link-type", "token"},    {"hint-gid-index", "256"},
        {"hint-gid-index", ""}, {"hint-gid-index", "-2"},  {"poll-us", "100001"},
        {"poll-us", "-1"},      {"poll-us", "4294967296"},
    };
    struct ist_transport_options options = {.port = 7}, before = options;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(take(wrong[i][0], wrong[i][1], &options));
        assert_memory_equal(&options, &before, sizeof(options));
    }
    assert_null(ist_transport_option_find("transports", 10));
    assert_null(ist_transport_option_find("transpor", 8));
}

static void test_tools__take_them__and_name_what_is_wrong(void **state) {
    (void)state;
    char *good[] = {(char[]){"tool"}, (char[]){"--transport=rdma"}, (char[]){"--dev-name"},
                    (char[]){"rxe0"}};
    char *wrong[] = {(char[]){"tool"}, (char[]){"--transport"}, (char[]){"carrier-pigeon"}};
    char *cut[] = {(char[]){"tool"}, (char[]){"--transport"}};
    char error[IST_CLI_ERROR_MAX];
    struct ist_bench_options bench;
    assert_int_equal(ist_bench_options_parse(4, good, NULL, &bench, error, sizeof(error)),
                     IST_BENCH_RUN);
    assert_int_equal(bench.transport.transport, IST_TRANSPORT_RDMA);
    assert_string_equal(bench.transport.device, "rxe0");
    assert_int_equal(ist_bench_options_parse(3, wrong, NULL, &bench, error, sizeof(error)),
                     IST_BENCH_WRONG);
    assert_non_null(strstr(error, "--transport carrier-pigeon"));
    assert_int_equal(ist_bench_options_parse(2, cut, NULL, &bench, error, sizeof(error)),
                     IST_BENCH_WRONG);
    assert_non_null(strstr(error, "--transport needs a value"));
    struct ist_replay_options replay;
    assert_int_equal(ist_replay_options_parse(4, good, NULL, &replay, error, sizeof(error)),
                     IST_REPLAY_RUN);
    assert_int_equal(replay.transport.transport, IST_TRANSPORT_RDMA);
    assert_string_equal(replay.transport.device, "rxe0");
    assert_int_equal(ist_replay_options_parse(3, wrong, NULL, &replay, error, sizeof(error)),
                     IST_REPLAY_WRONG);
    assert_non_null(strstr(error, "--transport carrier-pigeon"));
    assert_int_equal(ist_replay_options_parse(2, cut, NULL, &replay, error, sizeof(error)),
                     IST_REPLAY_WRONG);
    assert_non_null(strstr(error, "--transport needs a value"));
    struct ist_cli_options cli;
    char *cli_good[] = {(char[]){"tool"}, (char[]){"--transport=rdma"}, (char[]){"ping"},
                        (char[]){"--dev-name"}, (char[]){"rxe0"}};
    assert_int_equal(ist_cli_options_parse(5, cli_good, &cli, error), IST_OK);
    assert_int_equal(cli.transport.transport, IST_TRANSPORT_RDMA);
    assert_string_equal(cli.transport.device, "rxe0");
    assert_int_equal(ist_cli_options_parse(3, wrong, &cli, error), IST_INVALID);
    assert_non_null(strstr(error, "--transport: \"carrier-pigeon\""));
    assert_int_equal(ist_cli_options_parse(2, cut, &cli, error), IST_INVALID);
    assert_non_null(strstr(error, "--transport needs a value"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take__each_value__in_what_a_client_is_made_from),
        cmocka_unit_test(test_take__wrong_values__refused),
        cmocka_unit_test(test_tools__take_them__and_name_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

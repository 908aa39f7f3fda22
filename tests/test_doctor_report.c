/* src/tools/doctor: the report as text and as JSON, and its command line, on data. */
#include "tests/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tools/doctor_options.h"
#include "tools/doctor_report.h"

/* ---- the data -------------------------------------------------------------------------------------------- */

static struct ist_gid_entry gids[] = {
    {.gid = {0xfe, 0x80, [15] = 1},
     .index = 0,
     .type = IST_GID_ROCE_V1,
     .interface = 2,
     .is_here = true},
    {.gid = {[10] = 0xff, 0xff, 10, 0, 0, 1},
     .index = 3,
     .type = IST_GID_ROCE_V2,
     .interface = 2,
     .is_here = true},
    {.gid = {0x20, 1, [15] = 1}, .index = 5, .type = IST_GID_ROCE_V2, .interface = 9},
};
static struct ist_survey_port ports[] = {
    {.number = 1,
     .state = IST_PORT_ACTIVE,
     .link = IST_DEVICE_LINK_ETHERNET,
     .mtu_bytes = 1024,
     .mtu_bytes_max = 4096,
     .gids = gids,
     .gids_count = 3},
    {.number = 2, .error = EIO},
    {.number = 3,
     .state = IST_PORT_INITIALISING,
     .link = IST_DEVICE_LINK_INFINIBAND,
     .lid = 7,
     .requires_grh = true},
};
static struct ist_survey_device devices[] = {
    {.name = "mlx5_0",
     .firmware = "20.1",
     .limits = {.queue_pair_wr = 100,
                .sge = 30,
                .cqe = 4000,
                .srq_wr = 500,
                .reads_out = 16,
                .reads_in = 17,
                .registration_bytes = 1ull << 40},
     .queue_pairs = 1000,
     .regions = 2000,
     .dmabuf = IST_DMABUF_YES,
     .ports = ports,
     .ports_count = 3},
    {.name = "rxe0",
     .is_soft_roce = true,
     .limits = {.registration_bytes = UINT64_MAX},
     .dmabuf = IST_DMABUF_UNKNOWN},
    {.name = "bad0", .error = EACCES},
};
static const struct ist_survey survey = {.devices = devices, .devices_count = 3};
static const struct ist_doctor_machine machine = {.kernel = "6.1.0",
                                                  .memlock_bytes = 65536,
                                                  .memlock_bytes_max = IST_DOCTOR_NO_LIMIT,
                                                  .interfaces = {{2, "eth0", 1500, true, true}},
                                                  .interfaces_count = 1};
static const struct ist_doctor_facts facts = {
    .machine = &machine,
    .survey = &survey,
    .choice = {.has_device = true, .device = "mlx5_0", .port = 1, .gid_index = 3}};
static struct ist_doctor_steps steps = {
    .peer = "10.0.0.2:22345",
    .all = {{.name = "resolve", .outcome = IST_DOCTOR_DONE, .took_ns = 1500000, .text = "10.0.0.2"},
            {.name = "connect",
             .outcome = IST_DOCTOR_FAILED,
             .text = "refused",
             .advice = "start it\nthere"},
            {.name = "put", .outcome = IST_DOCTOR_NOT_TRIED}},
    .count = 3,
    .has_failed = true};

static struct ist_doctor_findings findings;

static int setup(void **state) {
    (void)state;
    memset(&findings, 0, sizeof(findings));
    ist_doctor_add(&findings, IST_DOCTOR_OK, "kernel", NULL, "fine");
    ist_doctor_add(&findings, IST_DOCTOR_PROBLEM, "locked \"memory\"", "ulimit -l\nor so", "%d", 5);
    return 0;
}

/* ---- text ------------------------------------------------------------------------------------------------ */

static char *text_of(const struct ist_doctor_report *report) {
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    ist_doctor_write_text(report, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void test_text__everything__line_by_line(void **state) {
    (void)state;
    const struct ist_doctor_report report = {&facts, &findings, &steps};
    static const char *const lines[] = {
        "infinistore-doctor ",
        ", Linux 6.1.0\n",
        "\nmlx5_0, firmware 20.1\n",
        "  at most: 1000 queue pairs of 100 requests of 30 pieces, completion queues of 4000,\n",
        "16 READs out and 17 in, 2000 regions of 1 TiB\n",
        "  port 1: active, Ethernet, MTU 1024 of 4096: infinistore would use it\n",
        "        0  RoCE v1     fe80::1 ",
        "eth0             no: RoCE v1 does not cross",
        "    *     3  RoCE v2     10.0.0.1 ",
        "3: IPv4\n",
        "          5  RoCE v2     2001::1 ",
        "?                no: its network interface is in another namespace\n",
        "  port 2: cannot be asked: ",
        "  port 3: initialising, InfiniBand, MTU 0 of 0, LID 7, wants a GRH\n",
        "\nrxe0 (soft-RoCE)\n",
        " regions of any size\n",
        "\nbad0: cannot be used: ",
        "  ok       kernel: fine\n",
        "  problem  locked \"memory\": 5\n           -> ulimit -l\n              or so\n",
        "\nThe way to 10.0.0.2:22345\n",
        "   1 resolve      ok            1.500 ms  10.0.0.2\n",
        "   2 connect      failed        0.000 ms  refused\n",
        "-> start it\n",
        "   3 put          not tried\n",
        "\n1 problem, 0 warnings; the way to the server is blocked\n",
    };
    char *text = text_of(&report), *at = text;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        at = strstr(at, lines[i]);
        if (at == NULL) {
            fail_msg("\"%s\" is not there, or not in its place, in\n%s", lines[i], text);
        }
    }
    free(text);
}

static void test_text__with_a_peer__the_routed_address_is_marked(void **state) {
    (void)state;
    struct ist_doctor_facts routed = facts;
    routed.has_source = true;
    memcpy(routed.source, gids[1].gid, IST_GID_LENGTH);
    const struct ist_doctor_report report = {&routed, &findings, NULL};
    char *text = text_of(&report);
    assert_non_null(strstr(text, "4: the address that routes to the peer"));
    assert_non_null(strstr(text, "\n1 problem, 0 warnings\n"));
    free(text);
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static json_t *json_of(const struct ist_doctor_report *report) {
    char *text;
    size_t bytes;
    json_error_t error;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(ist_doctor_write_json(report, ist_alloc_system(), out), IST_OK);
    assert_int_equal(fclose(out), 0);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        fail_msg("%s in %s", error.text, text);
    }
    free(text);
    return root;
}

static void test_json__everything__where_it_belongs(void **state) {
    (void)state;
    const struct ist_doctor_report report = {&facts, &findings, &steps};
    json_t *root = json_of(&report), *mlx = NULL, *port = NULL;
    const char *name, *netdev, *level, *subject, *advice, *outcome, *error, *link;
    int index, rank, chosen, problems, works, memlock;
    json_t *maximum, *dmabuf, *region;
    assert_int_equal(json_unpack(root, "{s:[o,o,o]}", "devices", &mlx, &port, &maximum), 0);
    assert_int_equal(json_unpack(port, "{s:s,s:b,s:o,s:{s:o}}", "name", &name, "soft_roce", &chosen,
                                 "dmabuf", &dmabuf, "limits", "region_bytes", &region),
                     0);
    assert_string_equal(name, "rxe0");
    assert_true(chosen && json_is_null(dmabuf) && json_is_null(region));
    assert_int_equal(json_unpack(maximum, "{s:s}", "error", &error), 0);
    assert_string_equal(error, strerror(EACCES));
    assert_int_equal(json_unpack(mlx, "{s:s}", "name", &name), 0);
    assert_string_equal(name, "mlx5_0");
    port = json_array_get(json_object_get(mlx, "ports"), 0);
    assert_int_equal(json_unpack(port, "{s:s}", "link", &link), 0);
    assert_string_equal(link, "Ethernet");
    json_t *gid = json_array_get(json_object_get(port, "gids"), 1);
    assert_int_equal(json_unpack(gid, "{s:i,s:s,s:i,s:b,s:s}", "index", &index, "netdev", &netdev,
                                 "rank", &rank, "chosen", &chosen, "gid", &name),
                     0);
    assert_int_equal(index, 3);
    assert_int_equal(rank, IST_GID_IPV4);
    assert_true(chosen);
    assert_string_equal(netdev, "eth0");
    assert_string_equal(name, "10.0.0.1");
    assert_true(
        json_is_null(json_object_get(json_array_get(json_object_get(port, "gids"), 2), "netdev")));
    assert_int_equal(json_unpack(root, "{s:{s:i,s:o}}", "machine", "memlock_bytes", &memlock,
                                 "memlock_bytes_max", &maximum),
                     0);
    assert_int_equal(memlock, 65536);
    assert_true(json_is_null(maximum));
    json_t *finding = json_array_get(json_object_get(root, "findings"), 1);
    assert_int_equal(
        json_unpack(finding, "{s:s,s:s,s:s}", "level", &level, "subject", &subject, "advice", &advice),
        0);
    assert_string_equal(level, "problem");
    assert_string_equal(subject, "locked \"memory\"");
    assert_string_equal(advice, "ulimit -l\nor so");
    json_t *step = json_array_get(json_object_get(json_object_get(root, "connect"), "steps"), 1);
    assert_int_equal(json_unpack(step, "{s:s,s:s}", "name", &name, "outcome", &outcome), 0);
    assert_string_equal(outcome, "failed");
    assert_int_equal(
        json_unpack(root, "{s:i,s:{s:b}}", "problems", &problems, "connect", "works", &works), 0);
    assert_int_equal(problems, 1);
    assert_false(works);
    json_decref(root);
}

static void test_json__nth_allocation_fails__no_memory_and_no_output(void **state) {
    (void)state;
    const struct ist_doctor_report report = {&facts, &findings, NULL};
    enum ist_status status = IST_NO_MEMORY;
    for (uint64_t n = 1; status != IST_OK; n++) {
        struct failing_alloc failing;
        char *text;
        size_t bytes;
        failing_alloc_init(&failing, n);
        FILE *out = open_memstream(&text, &bytes);
        assert_non_null(out);
        status = ist_doctor_write_json(&report, &failing.alloc, out);
        assert_int_equal(fclose(out), 0);
        assert_true(status == IST_OK || (status == IST_NO_MEMORY && bytes == 0));
        assert_int_equal(failing.live, 0);
        assert_true(n < 100);
        free(text);
    }
}

/* ---- the command line ------------------------------------------------------------------------------------ */

static struct ist_doctor_options options;
static char error[IST_DOCTOR_ERROR_MAX];

#define PARSE(...) parse((char *[]){"infinistore-doctor", __VA_ARGS__, NULL})
static enum ist_status parse(char **argv) {
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    error[0] = '\0';
    return ist_doctor_options_parse(argc, argv, &options, error);
}

static void test_options__good__read(void **state) {
    (void)state;
    assert_int_equal(parse((char *[]){"infinistore-doctor", NULL}), IST_OK);
    assert_false(options.json || options.help || options.version);
    assert_null(options.connect);
    assert_int_equal(options.hint_gid_index, -1);
    assert_int_equal(options.ib_port, 0);
    assert_int_equal(PARSE("--connect", "host:1", "-j", "--dev-name=mlx5_0", "--ib-port", "2",
                           "--link-type=ib", "--hint-gid-index", "3", "-t", "0.5"),
                     IST_OK);
    assert_true(options.json);
    assert_string_equal(options.connect, "host:1");
    assert_string_equal(options.host, "host");
    assert_string_equal(options.port, "1");
    assert_int_equal(options.timeout_ns, 500000000);
    assert_string_equal(options.dev_name, "mlx5_0");
    assert_int_equal(options.ib_port, 2);
    assert_int_equal(options.link, IST_DEVICE_LINK_INFINIBAND);
    assert_int_equal(options.hint_gid_index, 3);
    assert_int_equal(PARSE("--hint-gid-index=-1", "--link-type", "Ethernet", "-h", "--version"),
                     IST_OK);
    assert_true(options.help && options.version);
    assert_int_equal(options.hint_gid_index, -1);
}

static void test_options__peers__host_and_port(void **state) {
    (void)state;
    static const struct {
        const char *text, *host, *port;
    } peers[] = {
        {"h", "h", "22345"},     {"10.0.0.1:65535", "10.0.0.1", "65535"},
        {"[::1]:7", "::1", "7"}, {"[fe80::1%eth0]", "fe80::1%eth0", "22345"},
        {"::1", "::1", "22345"},
    };
    static const char *const wrong[] = {"",     ":1",     "h:",   "h:0",  "h:65536", "h:x",
                                        "[::1", "[::1]x", "[]:1", "h:1x", "h:123456"};
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
        assert_int_equal(PARSE("--connect", (char *)peers[i].text), IST_OK);
        assert_string_equal(options.host, peers[i].host);
        assert_string_equal(options.port, peers[i].port);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(PARSE("--connect", (char *)wrong[i]), IST_INVALID);
    }
}

static void test_options__wrong__named(void **state) {
    (void)state;
    static const struct {
        const char *option, *value;
    } wrong[] = {
        {"--timeout", "0"},         {"--timeout", "1e3"}, {"--timeout", "601"},
        {"--timeout", "."},         {"--connect", ""},    {"--ib-port", "0"},
        {"--ib-port", "256"},       {"--ib-port", "x"},   {"--link-type", "x"},
        {"--hint-gid-index", "-2"}, {"--dev-name", ""},   {"--hint-gid-index", "256"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(PARSE((char *)wrong[i].option, (char *)wrong[i].value), IST_INVALID);
        assert_non_null(strstr(error, wrong[i].option));
    }
    assert_int_equal(PARSE("--nonsense"), IST_INVALID);
    assert_non_null(strstr(error, "--nonsense"));
    assert_int_equal(PARSE("host"), IST_INVALID);
    assert_int_equal(PARSE("--json=yes"), IST_INVALID);
    assert_int_equal(PARSE("--connect"), IST_INVALID);
    assert_int_equal(PARSE("-"), IST_INVALID);
    assert_int_equal(PARSE("--"), IST_INVALID);
    assert_int_equal(PARSE(""), IST_INVALID);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_text__everything__line_by_line),
        TEST(test_text__with_a_peer__the_routed_address_is_marked),
        TEST(test_json__everything__where_it_belongs),
        TEST(test_json__nth_allocation_fails__no_memory_and_no_output),
        TEST(test_options__good__read),
        TEST(test_options__peers__host_and_port),
        TEST(test_options__wrong__named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

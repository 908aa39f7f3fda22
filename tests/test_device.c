/* src/verbs/device: which device and port are opened, what is read of them, which GID is used, what happens to them. */
#include "tests/support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <infiniband/verbs.h>

#include "sim/hca/hca.h"
#include "verbs/device.h"

static struct {
    struct ist_hca *hca;
    struct failing_alloc failing;
    struct ist_log log;
    unsigned lines[IST_LOG_DEBUG + 1]; /* by level */
    struct ist_device *device;
    char why[128];
} f;

static void count_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)session;
    (void)message;
    f.lines[level]++;
}

static int setup(void **state) {
    (void)state;
    struct ist_hca_config config;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.log = (struct ist_log){.level = IST_LOG_DEBUG, .write = count_line};
    ist_hca_config_init(&config, 5);
    f.hca = ist_hca_new(&config);
    assert_non_null(f.hca);
    return 0;
}

/* The fabric aborts when anything that was made is left. */
static int teardown(void **state) {
    (void)state;
    ist_device_close(f.device);
    ist_hca_free(f.hca);
    assert_int_equal(f.failing.live, 0);
    return 0;
}

static struct ist_device_config wanted(void) {
    return (struct ist_device_config){.hint_gid_index = -1, .alloc = &f.failing.alloc, .log = &f.log};
}

static enum ist_status open_it(const struct ist_device_config *config) {
    return ist_device_open(config, &f.device, f.why, sizeof(f.why));
}

static void assert_refused(const struct ist_device_config *config, const char *why) {
    assert_int_equal(open_it(config), IST_DEVICE);
    assert_non_null(strstr(f.why, why));
    assert_null(f.device);
}

static struct ist_hca_device *plug_in_roce(const char *name, uint8_t number) {
    struct ist_hca_device_config config;
    ist_hca_device_config_roce(&config, name, number);
    return ist_hca_add_device(f.hca, &config);
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static void test_open__no_such_device_or_port__why_names_it(void **state) {
    (void)state;
    struct ist_device_config config = wanted();
    assert_refused(&config, "no RDMA device");
    assert_non_null(plug_in_roce("roce0", 0));
    config.name = "mlx5_9";
    assert_refused(&config, "no RDMA device mlx5_9");
    config.name = NULL;
    config.port = 3;
    assert_refused(&config, "roce0 has no port 3");
    config.port = 0;
    config.link = IST_DEVICE_LINK_INFINIBAND;
    assert_refused(&config, "roce0 port 1 is not of the wanted link type");
    config.link = IST_DEVICE_LINK_ANY;
    config.hint_gid_index = 99;
    assert_refused(&config, "roce0 port 1 has no usable GID");
}

static void test_open__kernel_without_rdma__says_so(void **state) {
    (void)state;
    const struct ist_device_config config = wanted();
    ist_hca_free(f.hca);
    f.hca = NULL;
    assert_refused(&config, "the kernel has no RDMA");
}

static void test_open__device_without_ports__refused(void **state) {
    (void)state;
    const struct ist_device_config config = wanted();
    struct ist_hca_device_config device;
    ist_hca_device_config_roce(&device, "roce0", 0);
    device.ports = 0;
    assert_non_null(ist_hca_add_device(f.hca, &device));
    assert_refused(&config, "roce0 has no port 1");
}

static struct ist_device_port port_now(void) {
    struct ist_device_port port;
    assert_int_equal(ist_device_ask_port(f.device, &port), IST_OK);
    return port;
}

/* Of a device with two ports, and of two devices, the first that can be used. */
static void test_open__some_ports_down__the_first_active_one(void **state) {
    (void)state;
    struct ist_device_config config = wanted();
    struct ist_hca_device_config device;
    ist_hca_device_config_roce(&device, "down", 0);
    device.port[0].state = IBV_PORT_INIT;
    assert_non_null(ist_hca_add_device(f.hca, &device));
    assert_refused(&config, "down port 1 is not active");
    ist_hca_device_config_roce(&device, "half", 1);
    device.ports = 3;
    device.port[1] = device.port[2] = device.port[0];
    device.port[0].state = IBV_PORT_DOWN;
    device.port[1].active_mtu = IBV_MTU_1024;
    assert_non_null(ist_hca_add_device(f.hca, &device));
    assert_int_equal(open_it(&config), IST_OK);
    assert_string_equal(ist_device_name(f.device), "half");
    assert_int_equal(ist_device_port(f.device), 2);
    assert_int_equal(port_now().mtu_bytes, 1024);
    ist_device_close(f.device);
    f.device = NULL;
    config.name = "half";
    config.port = 3;
    assert_int_equal(open_it(&config), IST_OK);
    assert_int_equal(ist_device_port(f.device), 3);
    ist_device_close(f.device);
    f.device = NULL;
    config.port = 1;
    assert_refused(&config, "half port 1 is not active");
}

static void test_open__each_link__as_the_port_says(void **state) {
    (void)state;
    struct ist_device_config config = wanted();
    struct ist_hca_device_config device;
    assert_non_null(plug_in_roce("roce", 0));
    ist_hca_device_config_ib(&device, "ib", 6);
    assert_non_null(ist_hca_add_device(f.hca, &device));
    ist_hca_device_config_ib(&device, "grh", 7);
    device.port[0].grh_required = true;
    assert_non_null(ist_hca_add_device(f.hca, &device));
    const struct {
        const char *name;
        enum ist_device_link link;
        bool is_infiniband, requires_grh;
        uint16_t lid;
    } cases[] = {{"roce", IST_DEVICE_LINK_ETHERNET, false, false, 0},
                 {"ib", IST_DEVICE_LINK_INFINIBAND, true, false, 7},
                 {"grh", IST_DEVICE_LINK_INFINIBAND, true, true, 8}};
    for (size_t i = 0; i < 3; i++) {
        config.name = cases[i].name;
        config.link = cases[i].link;
        assert_int_equal(open_it(&config), IST_OK);
        assert_int_equal(ist_device_is_infiniband(f.device), cases[i].is_infiniband);
        assert_int_equal(ist_device_requires_grh(f.device), cases[i].requires_grh);
        assert_int_equal(port_now().requires_grh, cases[i].requires_grh);
        assert_int_equal(port_now().lid, cases[i].lid);
        ist_device_close(f.device);
        f.device = NULL;
    }
    config.name = NULL; /* the first of that link, which is not the first */
    assert_int_equal(open_it(&config), IST_OK);
    assert_string_equal(ist_device_name(f.device), "ib");
}

/* Drivers say -1, or worse, of what they do not count. */
static void test_read_limits__each_number__its_own_and_never_negative(void **state) {
    (void)state;
    struct ibv_device_attr attributes = {.max_qp_wr = 1,
                                         .max_sge = 2,
                                         .max_cqe = 3,
                                         .max_srq_wr = 4,
                                         .max_qp_init_rd_atom = 5,
                                         .max_qp_rd_atom = 6,
                                         .max_mr_size = 7};
    struct ist_device_limits limits = {0};
    ist_device_read_limits(&attributes, &limits);
    const struct ist_device_limits expected = {.queue_pair_wr = 1,
                                               .sge = 2,
                                               .cqe = 3,
                                               .srq_wr = 4,
                                               .reads_out = 5,
                                               .reads_in = 6,
                                               .registration_bytes = 7};
    assert_memory_equal(&limits, &expected, sizeof(limits));
    attributes.max_qp_wr = -1;
    attributes.max_sge = INT32_MIN;
    attributes.max_cqe = 0;
    ist_device_read_limits(&attributes, &limits);
    assert_int_equal(limits.queue_pair_wr, 0);
    assert_int_equal(limits.sge, 0);
    assert_int_equal(limits.cqe, 0);
}

static void test_open__nth_call_or_allocation_fails__told_and_nothing_is_left(void **state) {
    (void)state;
    const struct ist_device_config config = wanted();
    assert_non_null(plug_in_roce("roce0", 0));
    unsigned failures = 0;
    enum ist_status status = IST_DEVICE;
    for (uint64_t n = 1; n < 20; n++) {
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_ALL, n);
        memset(f.why, 0, sizeof(f.why));
        status = open_it(&config);
        if (ist_hca_failed(f.hca) == NULL) {
            break;
        }
        failures += status == IST_DEVICE;
        assert_true(status == IST_OK || strlen(f.why) > 0);
        ist_hca_fail_nth(f.hca, 0, 0);
        ist_device_close(f.device);
        f.device = NULL;
    }
    assert_int_equal(status, IST_OK);
    assert_true(failures >= 5); /* list, open, query of device and port, protection domain */
    ist_device_close(f.device);
    f.device = NULL;
    failing_alloc_init(&f.failing, 1);
    assert_int_equal(open_it(&config), IST_NO_MEMORY);
}

/* ---- GIDs ----------------------------------------------------------------------------------------------- */

static void test_gid__peer_is_known__the_one_that_routes_there(void **state) {
    (void)state;
    static const uint8_t loopback[IST_GID_LENGTH] = {[10] = 0xff, 0xff, 127, [15] = 1};
    const struct ist_device_config config = wanted();
    struct ist_gid_entry gid;
    struct ist_hca_device_config device;
    ist_hca_device_config_roce(&device, "roce0", 0);
    device.port[0].gids = 6;
    device.port[0].gid[5] = device.port[0].gid[3];
    memcpy(device.port[0].gid[5].gid.raw, loopback, sizeof(loopback));
    assert_non_null(ist_hca_add_device(f.hca, &device));
    assert_int_equal(open_it(&config), IST_OK);
    assert_int_equal(ist_device_gid(f.device, NULL, &gid), IST_OK);
    assert_int_equal(gid.index, 3);
    assert_int_equal(ist_device_gid(f.device, loopback, &gid), IST_OK);
    assert_int_equal(gid.index, 5);
    assert_memory_equal(gid.gid, loopback, sizeof(loopback));
}

static void test_gid__table_is_empty_now__warned(void **state) {
    (void)state;
    const struct ist_device_config config = wanted();
    const struct ist_hca_gid none = {.type = IBV_GID_TYPE_ROCE_V2};
    struct ist_gid_entry gid;
    struct ist_hca_device *device = plug_in_roce("roce0", 0);
    assert_int_equal(open_it(&config), IST_OK);
    for (uint32_t i = 0; i < 4; i++) {
        ist_hca_set_gid(device, 1, i, &none);
    }
    assert_int_equal(ist_device_gid(f.device, NULL, &gid), IST_DEVICE);
    assert_int_equal(f.lines[IST_LOG_WARNING], 1);
}

/* ---- events --------------------------------------------------------------------------------------------- */

static void expect_event(enum ist_device_event_kind kind, enum ibv_event_type type) {
    struct ist_device_event event;
    unsigned before[IST_LOG_DEBUG + 1];
    memcpy(before, f.lines, sizeof(before));
    assert_int_equal(ist_device_next_event(f.device, &event), IST_OK);
    assert_int_equal(event.kind, kind);
    assert_string_equal(event.text, ibv_event_type_str(type));
    bool is_ours =
        kind == IST_DEVICE_PORT_DOWN || kind == IST_DEVICE_PORT_UP || kind == IST_DEVICE_FAILED;
    assert_int_equal(f.lines[IST_LOG_WARNING] - before[IST_LOG_WARNING], is_ours);
    assert_int_equal(f.lines[IST_LOG_DEBUG] - before[IST_LOG_DEBUG], !is_ours);
}

static void test_events__link_and_death__told(void **state) {
    (void)state;
    struct ist_device_config config = wanted();
    struct ist_device_event event;
    struct ist_hca_device_config two_ports;
    ist_hca_device_config_roce(&two_ports, "roce0", 0);
    two_ports.ports = 2;
    two_ports.port[1] = two_ports.port[0];
    struct ist_hca_device *device = ist_hca_add_device(f.hca, &two_ports);
    assert_int_equal(open_it(&config), IST_OK);
    assert_int_equal(ist_device_next_event(f.device, &event), IST_AGAIN);
    ist_hca_set_link(device, 1, false);
    expect_event(IST_DEVICE_PORT_DOWN, IBV_EVENT_PORT_ERR);
    ist_hca_set_link(device, 1, true);
    expect_event(IST_DEVICE_PORT_UP, IBV_EVENT_PORT_ACTIVE);
    ist_hca_set_link(device, 2, false); /* not the port that is used */
    expect_event(IST_DEVICE_OTHER, IBV_EVENT_PORT_ERR);
    ist_hca_set_link(device, 2, true);
    expect_event(IST_DEVICE_OTHER, IBV_EVENT_PORT_ACTIVE);
    ist_hca_device_fatal(device);
    expect_event(IST_DEVICE_FAILED, IBV_EVENT_DEVICE_FATAL);
    assert_int_equal(ist_device_next_event(f.device, &event), IST_AGAIN);
}

/* Whether an event tells of it or not. */
static void test_ask_port__what_has_changed__as_it_is_now(void **state) {
    (void)state;
    const struct ist_device_config config = wanted();
    struct ist_hca_device_config ib;
    struct ist_device_port port;
    ist_hca_device_config_ib(&ib, "ib", 6);
    struct ist_hca_device *device = ist_hca_add_device(f.hca, &ib);
    assert_int_equal(open_it(&config), IST_OK);
    assert_int_equal(port_now().lid, 7);
    assert_int_equal(port_now().mtu_bytes, 4096);
    ist_hca_set_lid(device, 1, 4321);
    ist_hca_set_mtu(device, 1, IBV_MTU_2048);
    assert_int_equal(port_now().lid, 4321);
    assert_int_equal(port_now().mtu_bytes, 2048);
    expect_event(IST_DEVICE_OTHER, IBV_EVENT_LID_CHANGE);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_QUERY, 1);
    assert_int_equal(ist_device_ask_port(f.device, &port), IST_DEVICE);
    ist_hca_fail_nth(f.hca, 0, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_open__no_such_device_or_port__why_names_it),
        TEST(test_open__kernel_without_rdma__says_so),
        TEST(test_open__device_without_ports__refused),
        TEST(test_open__some_ports_down__the_first_active_one),
        TEST(test_open__each_link__as_the_port_says),
        TEST(test_read_limits__each_number__its_own_and_never_negative),
        TEST(test_open__nth_call_or_allocation_fails__told_and_nothing_is_left),
        TEST(test_gid__peer_is_known__the_one_that_routes_there),
        TEST(test_gid__table_is_empty_now__warned),
        TEST(test_events__link_and_death__told),
        TEST(test_ask_port__what_has_changed__as_it_is_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

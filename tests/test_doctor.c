/* src/tools/doctor: what it finds, and what it says to do, over the software HCA set up in the ways that cost people days,
 * and on data for what the HCA cannot be. */
#include "tests/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/hca/hca.h"
#include "tools/doctor_report.h"

#define ELSEWHERE 4000000u /* no interface of this machine has this index */

static struct {
    struct ist_hca *hca;
    struct ist_survey survey;
    struct ist_doctor_machine machine; /* a good one, for a test to spoil */
    struct ist_doctor_findings findings;
    char *text; /* of the report */
    size_t text_bytes;
} f;

static int setup(void **state) {
    (void)state;
    struct ist_hca_config config;
    ist_hca_config_init(&config, 3);
    memset(&f, 0, sizeof(f));
    f.hca = ist_hca_new(&config);
    assert_non_null(f.hca);
    f.machine = (struct ist_doctor_machine){.kernel = "6.1",
                                            .has_class_infiniband = true,
                                            .has_class_verbs = true,
                                            .devices = 1,
                                            .uverbs = IST_DOCTOR_MODULE_LOADED,
                                            .nodes = IST_DOCTOR_NODES_GOOD,
                                            .memlock_bytes = IST_DOCTOR_NO_LIMIT,
                                            .transparent = "madvise",
                                            .interfaces = {{1, "eth7", 9000, true, true}},
                                            .interfaces_count = 1};
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ist_survey_fini(&f.survey);
    ist_hca_free(f.hca);
    free(f.text);
    return 0;
}

static struct ist_hca_device_config roce(void) {
    struct ist_hca_device_config config;
    ist_hca_device_config_roce(&config, "mlx5_0", 0);
    return config;
}

static void plug_in(struct ist_hca_device_config config) {
    assert_non_null(ist_hca_add_device(f.hca, &config));
}

/* The daemon's own choice, as the program makes it. */
static struct ist_doctor_choice choose(void) {
    struct ist_doctor_choice choice = {0};
    const struct ist_device_config config = {
        .port = 1, .hint_gid_index = -1, .alloc = ist_alloc_system(), .log = ist_log_null()};
    struct ist_device *device;
    struct ist_gid_entry gid;
    if (ist_device_open(&config, &device, choice.why_not, sizeof(choice.why_not)) == IST_OK) {
        assert_int_equal(ist_device_gid(device, NULL, &gid), IST_OK);
        choice.has_device = true;
        choice.port = ist_device_port(device);
        choice.gid_index = gid.index;
        snprintf(choice.device, sizeof(choice.device), "%s", ist_device_name(device));
        ist_device_close(device);
    }
    return choice;
}

static void examine(void) {
    ist_survey_fini(&f.survey);
    assert_int_equal(ist_survey_init(&f.survey, ist_alloc_system()), IST_OK);
    const struct ist_doctor_facts facts = {
        .machine = &f.machine, .survey = &f.survey, .choice = choose()};
    ist_doctor_judge(&facts, &f.findings);
    const struct ist_doctor_report report = {.facts = &facts, .findings = &f.findings};
    free(f.text);
    FILE *out = open_memstream(&f.text, &f.text_bytes);
    assert_non_null(out);
    ist_doctor_write_text(&report, out);
    assert_int_equal(fclose(out), 0);
}

/* There is such a finding, which says, and advises, this. */
static void assert_found(enum ist_doctor_level level, const char *subject, const char *says,
                         const char *advises) {
    for (size_t i = 0; i < f.findings.count; i++) {
        const struct ist_doctor_finding *finding = &f.findings.all[i];
        if (finding->level == level && strcmp(finding->subject, subject) == 0 &&
            strstr(finding->text, says) != NULL && strstr(finding->advice, advises) != NULL) {
            return;
        }
    }
    fail_msg("no such finding: %s, %s, %s in\n%s", subject, says, advises, f.text);
}

static void assert_said(const char *text) {
    if (strstr(f.text, text) == NULL) {
        fail_msg("\"%s\" is not in\n%s", text, f.text);
    }
}

/* ---- over the HCA ------------------------------------------------------------------------------------- */

static void test_judge__all_is_well__no_problem(void **state) {
    (void)state;
    plug_in(roce());
    examine();
    assert_int_equal(f.findings.problems, 0);
    assert_int_equal(f.findings.warnings, 0);
    assert_found(IST_DOCTOR_OK, "mlx5_0 port 1", "2 of its 4 GIDs", "");
    assert_found(IST_DOCTOR_OK, "infinistore", "mlx5_0 port 1, GID index 3", "");
    assert_said("port 1: active, Ethernet, MTU 4096 of 4096: infinistore would use it");
    assert_said("*     3  RoCE v2     10.0.0.1");
    assert_said("no: RoCE v1");
    assert_said("eth7");
    assert_said("UDP port 4791");
    assert_said("0 problems, 0 warnings\n");
}

static void test_judge__no_device__why_and_what_to_do(void **state) {
    (void)state;
    f.machine.devices = 0;
    f.machine.rxe = IST_DOCTOR_MODULE_FOUND;
    examine();
    assert_found(IST_DOCTOR_OK, "kernel", "ib_uverbs", "");
    assert_found(IST_DOCTOR_PROBLEM, "devices", "no RDMA device",
                 "rdma link add rxe0 type rxe netdev eth7");
    assert_found(IST_DOCTOR_PROBLEM, "infinistore", "TCP only: no RDMA device", "");
    f.machine.rxe = IST_DOCTOR_MODULE_ABSENT;
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "devices", "no RDMA device", "which this one lacks");
    assert_null(strstr(f.text, "UDP port"));
}

static void test_judge__no_module__loaded_or_installed_or_the_hosts(void **state) {
    (void)state;
    f.machine.has_class_infiniband = f.machine.has_class_verbs = false;
    f.machine.uverbs = IST_DOCTOR_MODULE_FOUND;
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "kernel", "not loaded", "modprobe ib_uverbs");
    f.machine.uverbs = IST_DOCTOR_MODULE_ABSENT;
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "kernel", "6.1 has no RDMA", "linux-modules-extra");
    f.machine.uverbs = IST_DOCTOR_MODULE_UNKNOWN;
    f.machine.is_container = true;
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "kernel", "a container", "on the host");
}

static void test_judge__devices_that_programs_cannot_reach__why(void **state) {
    (void)state;
    f.machine.nodes = IST_DOCTOR_NODES_NONE;
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "devices", "no device file", "--device=/dev/infiniband");
    f.machine.nodes = IST_DOCTOR_NODES_DENIED;
    snprintf(f.machine.denied, sizeof(f.machine.denied), "/dev/infiniband/uverbs0");
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "devices", "may not open /dev/infiniband/uverbs0",
                 "usermod -aG rdma");
    f.machine.nodes = IST_DOCTOR_NODES_GOOD;
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "devices", "libibverbs finds none", "ibverbs-providers");
}

static void test_judge__device_that_cannot_be_opened__problem(void **state) {
    (void)state;
    plug_in(roce());
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_OPEN, 1);
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "mlx5_0", strerror(ENOMEM), "dmesg");
    assert_said("mlx5_0: cannot be used: ");
}

static void test_judge__port_down__problem_unless_another_is_active(void **state) {
    (void)state;
    struct ist_hca_device_config config = roce();
    config.port[0].state = IBV_PORT_DOWN;
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "mlx5_0 port 1", "it is down", "ip link set NETDEV up");
    assert_found(IST_DOCTOR_PROBLEM, "infinistore", "not active", "");
    ist_hca_device_config_roce(&config, "mlx5_1", 1);
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_WARNING, "mlx5_0 port 1", "it is down", "ip link set NETDEV up");
    assert_found(IST_DOCTOR_OK, "infinistore", "mlx5_1 port 1", "");
    assert_int_equal(f.findings.problems, 0);
}

static void test_judge__infiniband_without_a_subnet_manager__opensm(void **state) {
    (void)state;
    struct ist_hca_device_config config;
    ist_hca_device_config_ib(&config, "ib0", 0);
    config.port[0].state = IBV_PORT_INIT;
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "ib0 port 1", "initialising", "opensm");
    ist_hca_device_config_ib(&config, "ib1", 1);
    config.port[0].lid = 0;
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_WARNING, "ib1 port 1", "no LID", "opensm");
    assert_said("LID 0");
}

static void test_judge__only_first_version_gids__problem(void **state) {
    (void)state;
    struct ist_hca_device_config config = roce();
    for (uint32_t i = 0; i < config.port[0].gids; i++) {
        config.port[0].gid[i].type = IBV_GID_TYPE_ROCE_V1;
    }
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "mlx5_0 port 1", "RoCE v1", "roce_mode");
    assert_found(IST_DOCTOR_PROBLEM, "infinistore", "no usable GID", "");
}

static void test_judge__interface_in_another_namespace__problem(void **state) {
    (void)state;
    struct ist_hca_device_config config = roce();
    for (uint32_t i = 0; i < config.port[0].gids; i++) {
        config.port[0].gid[i].ifindex = ELSEWHERE;
    }
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "mlx5_0 port 1", "another network namespace", "--network=host");
    assert_said("no: its network interface is in another namespace");
}

static void test_judge__no_address__problem_or_link_local_only(void **state) {
    (void)state;
    struct ist_hca_device_config config = roce();
    config.port[0].gids = 2; /* the link-local ones */
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_WARNING, "mlx5_0 port 1", "link-local", "ip address add");
    ist_hca_device_config_roce(&config, "mlx5_1", 1);
    config.port[0].gids = 0;
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "mlx5_1 port 1", "no GID", "ip address add");
}

static void test_judge__small_mtu__warning(void **state) {
    (void)state;
    struct ist_hca_device_config config = roce();
    config.port[0].active_mtu = IBV_MTU_1024;
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_WARNING, "mlx5_0 port 1", "MTU is 1024, and could be 4096", "mtu 4200");
    assert_int_equal(f.findings.problems, 0);
}

static void test_judge__capabilities__those_that_matter(void **state) {
    (void)state;
    struct ist_hca_device_config config = roce();
    config.max_qp_rd_atom = 0;
    plug_in(config);
    ist_hca_device_config_roce(&config, "mlx5_1", 1);
    config.max_srq_wr = 0;
    plug_in(config);
    ist_hca_device_config_roce(&config, "mlx5_2", 2);
    config.max_qp_wr = 63;
    plug_in(config);
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "mlx5_0", "no RDMA READ", "");
    assert_found(IST_DOCTOR_PROBLEM, "mlx5_1", "no shared receive queues", "");
    assert_found(IST_DOCTOR_WARNING, "mlx5_2", "63 requests", "");
}

/* ---- the machine, on data ------------------------------------------------------------------------------- */

static void test_judge__memlock__by_how_much_it_matters(void **state) {
    (void)state;
    f.machine.memlock_bytes = 8u << 20;
    examine();
    assert_found(IST_DOCTOR_WARNING, "locked memory", "8 MiB", "ulimit -l unlimited");
    plug_in(roce());
    examine();
    assert_found(IST_DOCTOR_PROBLEM, "locked memory", "8 MiB", "LimitMEMLOCK=infinity");
    assert_said("1 problem, 0 warnings\n");
    f.machine.memlock_bytes = 64ull << 30;
    examine();
    assert_found(IST_DOCTOR_WARNING, "locked memory", "64 GiB", "ulimit -l");
    assert_said("0 problems, 1 warning\n");
    f.machine.may_lock = true;
    examine();
    assert_found(IST_DOCTOR_OK, "locked memory", "CAP_IPC_LOCK", "");
}

static void test_judge__huge_pages__reserved_transparent_or_none(void **state) {
    (void)state;
    f.machine.huge_page_bytes = 2u << 20;
    f.machine.huge_pages = f.machine.huge_pages_free = 512;
    examine();
    assert_found(IST_DOCTOR_OK, "huge pages", "1 GiB reserved and free", "");
    f.machine.huge_pages_free = 0;
    examine();
    assert_found(IST_DOCTOR_OK, "huge pages", "transparent ones (madvise)", "");
    snprintf(f.machine.transparent, sizeof(f.machine.transparent), "never");
    examine();
    assert_found(IST_DOCTOR_WARNING, "huge pages", "none", "vm.nr_hugepages");
}

static void test_judge__gpus__peer_memory_or_its_lack(void **state) {
    (void)state;
    examine();
    assert_found(IST_DOCTOR_OK, "GPU memory", "no GPU", "");
    f.machine.has_nvidia = true;
    examine();
    assert_found(IST_DOCTOR_WARNING, "GPU memory", "no peer memory", "nvidia_peermem");
    f.machine.has_peer_memory = true;
    examine();
    assert_found(IST_DOCTOR_OK, "GPU memory", "as they are", "");
}

static void test_findings__more_than_there_is_room_for__counted(void **state) {
    (void)state;
    for (size_t i = 0; i < IST_DOCTOR_FINDINGS_MAX + 3; i++) {
        ist_doctor_add(&f.findings, IST_DOCTOR_PROBLEM, "x", NULL, "%zu", i);
    }
    assert_int_equal(f.findings.count, IST_DOCTOR_FINDINGS_MAX);
    assert_int_equal(f.findings.problems, IST_DOCTOR_FINDINGS_MAX + 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_judge__all_is_well__no_problem),
        TEST(test_judge__no_device__why_and_what_to_do),
        TEST(test_judge__no_module__loaded_or_installed_or_the_hosts),
        TEST(test_judge__devices_that_programs_cannot_reach__why),
        TEST(test_judge__device_that_cannot_be_opened__problem),
        TEST(test_judge__port_down__problem_unless_another_is_active),
        TEST(test_judge__infiniband_without_a_subnet_manager__opensm),
        TEST(test_judge__only_first_version_gids__problem),
        TEST(test_judge__interface_in_another_namespace__problem),
        TEST(test_judge__no_address__problem_or_link_local_only),
        TEST(test_judge__small_mtu__warning),
        TEST(test_judge__capabilities__those_that_matter),
        TEST(test_judge__memlock__by_how_much_it_matters),
        TEST(test_judge__huge_pages__reserved_transparent_or_none),
        TEST(test_judge__gpus__peer_memory_or_its_lack),
        TEST(test_findings__more_than_there_is_room_for__counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/doctor_machine: what /proc, /sys and /dev say, from trees made for it. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tools/doctor_machine.h"

#define NOBODY 65534

static char root[64];
static char kernel[70];

static int setup(void **state) {
    (void)state;
    struct utsname name;
    assert_int_equal(uname(&name), 0);
    snprintf(kernel, sizeof(kernel), "%s", name.release);
    snprintf(root, sizeof(root), "/tmp/ist-doctor-XXXXXX");
    assert_non_null(mkdtemp(root));
    assert_int_equal(chmod(root, 0755), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command) == 0 ? 0 : -1;
}

/* The file, with its directories. text: NULL for a directory. */
static void make(const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof(path), "%s%s", root, name);
    for (char *at = strchr(path + strlen(root) + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(path, 0755);
        *at = '/';
    }
    if (text == NULL) {
        assert_int_equal(mkdir(path, 0755), 0);
        return;
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static struct ist_doctor_machine read_machine(void) {
    struct ist_doctor_machine machine;
    ist_doctor_machine_read(root, &machine);
    return machine;
}

static void test_read__nothing_there__nothing_is_claimed(void **state) {
    (void)state;
    struct ist_doctor_machine machine = read_machine();
    assert_string_equal(machine.kernel, kernel);
    assert_false(machine.has_class_infiniband || machine.has_class_verbs || machine.is_container);
    assert_int_equal(machine.devices, 0);
    assert_int_equal(machine.uverbs, IST_DOCTOR_MODULE_UNKNOWN);
    assert_int_equal(machine.nodes, IST_DOCTOR_NODES_NONE);
    assert_string_equal(machine.transparent, "");
    assert_int_equal(machine.interfaces_count, 0);
    assert_false(machine.may_lock || machine.has_nvidia || machine.has_amd || machine.has_peer_memory);
}

static void test_read__modules__each_kind(void **state) {
    (void)state;
    char name[256];
    snprintf(name, sizeof(name), "/lib/modules/%s/modules.dep", kernel);
    make(name, "kernel/drivers/infiniband/core/ib_uverbs.ko.xz: kernel/x/ib_core.ko.xz\n"
               "kernel/other.ko: kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko\n");
    struct ist_doctor_machine machine = read_machine();
    assert_int_equal(machine.uverbs, IST_DOCTOR_MODULE_FOUND);
    assert_int_equal(machine.rxe, IST_DOCTOR_MODULE_ABSENT); /* only somebody's wish */
    snprintf(name, sizeof(name), "/lib/modules/%s/modules.builtin", kernel);
    make(name, "kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko\n");
    make("/sys/module/ib_uverbs", NULL);
    machine = read_machine();
    assert_int_equal(machine.uverbs, IST_DOCTOR_MODULE_LOADED);
    assert_int_equal(machine.rxe, IST_DOCTOR_MODULE_LOADED);
}

static void test_read__devices_and_their_files__counted(void **state) {
    (void)state;
    make("/sys/class/infiniband/mlx5_0", NULL);
    make("/sys/class/infiniband/mlx5_1", NULL);
    make("/sys/class/infiniband_verbs/abi_version", "6\n");
    struct ist_doctor_machine machine = read_machine();
    assert_true(machine.has_class_infiniband && machine.has_class_verbs);
    assert_int_equal(machine.devices, 2);
    assert_int_equal(machine.uverbs, IST_DOCTOR_MODULE_LOADED);
    assert_int_equal(machine.nodes, IST_DOCTOR_NODES_NONE);
    make("/dev/infiniband/rdma_cm", "");
    assert_int_equal(read_machine().nodes, IST_DOCTOR_NODES_NONE);
    make("/dev/infiniband/uverbs0", "");
    assert_int_equal(read_machine().nodes, IST_DOCTOR_NODES_GOOD);
}

/* Root is refused nothing: somebody else has to look. */
static void test_read__file_that_may_not_be_opened__named(void **state) {
    (void)state;
    char path[128];
    make("/dev/infiniband/uverbs0", "");
    make("/dev/infiniband/uverbs1", "");
    snprintf(path, sizeof(path), "%s/dev/infiniband/uverbs1", root);
    assert_int_equal(chmod(path, 0), 0);
    bool is_root = getuid() == 0;
    assert_true(!is_root || setresuid(NOBODY, NOBODY, 0) == 0);
    struct ist_doctor_machine machine = read_machine();
    assert_true(!is_root || setresuid(0, 0, 0) == 0);
    assert_int_equal(machine.nodes, IST_DOCTOR_NODES_DENIED);
    assert_string_equal(machine.denied, "/dev/infiniband/uverbs1");
}

static void test_read__memory__figures(void **state) {
    (void)state;
    make("/proc/meminfo",
         "MemTotal:       16384 kB\nHugePages_Total:       7\nHugePages_Free:        5\n"
         "Hugepagesize:       2048 kB\n");
    make("/proc/self/status", "Name:\tx\nCapEff:\t0000000000004000\n");
    make("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    struct ist_doctor_machine machine = read_machine();
    assert_int_equal(machine.memory_bytes, 16u << 20);
    assert_int_equal(machine.huge_page_bytes, 2u << 20);
    assert_int_equal(machine.huge_pages, 7);
    assert_int_equal(machine.huge_pages_free, 5);
    assert_string_equal(machine.transparent, "madvise");
    assert_true(machine.may_lock);
    make("/proc/self/status", "CapEff:\t0000000000003fff\n");
    assert_false(read_machine().may_lock);
}

static void test_read__memlock__of_this_process(void **state) {
    (void)state;
    struct rlimit before, lower;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    lower = before;
    lower.rlim_cur = 65536;
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &lower), 0);
    struct ist_doctor_machine machine = read_machine();
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
    assert_int_equal(machine.memlock_bytes, 65536);
    assert_true(machine.memlock_bytes_max ==
                (before.rlim_max == RLIM_INFINITY ? IST_DOCTOR_NO_LIMIT : before.rlim_max));
}

static void test_read__gpus_and_container__seen(void **state) {
    (void)state;
    make("/dev/nvidiactl", "");
    make("/dev/kfd", "");
    make("/.dockerenv", "");
    struct ist_doctor_machine machine = read_machine();
    assert_true(machine.has_nvidia && machine.has_amd && machine.is_container);
    assert_false(machine.has_peer_memory);
    make("/sys/module/nvidia_peermem", NULL);
    assert_true(read_machine().has_peer_memory);
}

static void test_read__interfaces__found_by_index(void **state) {
    (void)state;
    make("/sys/class/net/eth7/ifindex", "12\n");
    make("/sys/class/net/eth7/mtu", "9000\n");
    make("/sys/class/net/eth7/type", "1\n");
    make("/sys/class/net/eth7/operstate", "up\n");
    make("/sys/class/net/lo/ifindex", "1\n");
    make("/sys/class/net/lo/mtu", "65536\n");
    make("/sys/class/net/lo/type", "772\n");
    make("/sys/class/net/bonding_masters", ""); /* a file among them */
    struct ist_doctor_machine machine = read_machine();
    assert_int_equal(machine.interfaces_count, 2);
    const struct ist_doctor_interface *eth = ist_doctor_machine_interface(&machine, 12);
    assert_non_null(eth);
    assert_string_equal(eth->name, "eth7");
    assert_int_equal(eth->mtu_bytes, 9000);
    assert_true(eth->is_up && eth->is_ethernet);
    assert_false(ist_doctor_machine_interface(&machine, 1)->is_ethernet);
    assert_null(ist_doctor_machine_interface(&machine, 3));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_read__nothing_there__nothing_is_claimed),
        TEST(test_read__modules__each_kind),
        TEST(test_read__devices_and_their_files__counted),
        TEST(test_read__file_that_may_not_be_opened__named),
        TEST(test_read__memory__figures),
        TEST(test_read__memlock__of_this_process),
        TEST(test_read__gpus_and_container__seen),
        TEST(test_read__interfaces__found_by_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/daemon/machine: what the kernel's files say, from files of our own. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/machine.h"

#define MIB (1024ull * 1024)

static const char *const files[] = {"/proc/meminfo",
                                    "/proc/self/cgroup",
                                    "/sys/fs/cgroup/a/memory.max",
                                    "/sys/fs/cgroup/a/memory.current",
                                    "/sys/fs/cgroup/a/memory.stat",
                                    "/sys/fs/cgroup/a/b/memory.max",
                                    "/sys/fs/cgroup/a/b/memory.current",
                                    "/sys/fs/cgroup/memory/job/memory.limit_in_bytes",
                                    "/sys/fs/cgroup/memory/job/memory.usage_in_bytes",
                                    "/sys/fs/cgroup/memory/job/memory.stat",
                                    "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
                                    "/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages"};
static const char *const directories[] = {"/proc",
                                          "/proc/self",
                                          "/sys",
                                          "/sys/fs",
                                          "/sys/fs/cgroup",
                                          "/sys/fs/cgroup/a",
                                          "/sys/fs/cgroup/a/b",
                                          "/sys/fs/cgroup/memory",
                                          "/sys/fs/cgroup/memory/job",
                                          "/sys/kernel",
                                          "/sys/kernel/mm",
                                          "/sys/kernel/mm/hugepages",
                                          "/sys/kernel/mm/hugepages/hugepages-2048kB"};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char root[64];

static const char *at(const char *path) {
    static char whole[256];
    snprintf(whole, sizeof(whole), "%s%s", root, path);
    return whole;
}

static void put_file(const char *path, const char *text) {
    FILE *file = fopen(at(path), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_root(void **state) {
    (void)state;
    strcpy(root, "/tmp/ist-machine-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < COUNT(directories); i++) {
        assert_int_equal(mkdir(at(directories[i]), 0700), 0);
    }
    return 0;
}

static int remove_root(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        (void)unlink(at(files[i]));
    }
    for (size_t i = COUNT(directories); i-- > 0;) {
        assert_int_equal(rmdir(at(directories[i])), 0);
    }
    return rmdir(root);
}

static void test_available_bytes__no_files__unknown(void **state) {
    (void)state;
    assert_int_equal(ist_machine_available_bytes(root), UINT64_MAX);
}

static void test_available_bytes__meminfo_only__what_it_says(void **state) {
    (void)state;
    put_file("/proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8192 kB\n");
    assert_int_equal(ist_machine_available_bytes(root), 8 * MIB);
}

static void test_available_bytes__cgroup_2__the_tightest_of_its_chain(void **state) {
    (void)state;
    put_file("/proc/meminfo", "MemAvailable: 1048576 kB\n");
    put_file("/proc/self/cgroup", "0::/a/b\n");
    put_file("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put_file("/sys/fs/cgroup/a/b/memory.current", "1048576\n");
    assert_int_equal(ist_machine_available_bytes(root), 1024 * MIB);
    put_file("/sys/fs/cgroup/a/memory.max", "104857600\n");
    put_file("/sys/fs/cgroup/a/memory.current", "62914560\n");
    assert_int_equal(ist_machine_available_bytes(root), 40 * MIB);
    put_file("/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 10485760\n");
    assert_int_equal(ist_machine_available_bytes(root), 50 * MIB);
    put_file("/sys/fs/cgroup/a/memory.current", "204857600\n");
    assert_int_equal(ist_machine_available_bytes(root), 0);
}

static void test_available_bytes__cgroup_1__its_limit(void **state) {
    (void)state;
    put_file("/proc/meminfo", "MemAvailable: 1048576 kB\n");
    put_file("/proc/self/cgroup", "9:cpu:/\n4:memory:/job\n0::/\n");
    put_file("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "104857600\n");
    put_file("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "62914560\n");
    put_file("/sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 10485760\n");
    assert_int_equal(ist_machine_available_bytes(root), 50 * MIB);
}

static void test_available_bytes__damaged_files__no_worse_than_absent(void **state) {
    (void)state;
    put_file("/proc/meminfo", "MemAvailable: 8192 kB");
    put_file("/proc/self/cgroup", "\n::\nnonsense\n0::\n4:memory\n");
    assert_int_equal(ist_machine_available_bytes(root), 8 * MIB);
}

static void test_available_bytes__this_machine__something(void **state) {
    (void)state;
    assert_true(ist_machine_available_bytes("") > MIB);
}

static void test_reserved_bytes__huge_pages__those_that_are_nobodys(void **state) {
    (void)state;
    assert_int_equal(ist_machine_reserved_bytes(root), 0);
    put_file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "10\n");
    assert_int_equal(ist_machine_reserved_bytes(root), 0);
    put_file("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "3\n");
    assert_int_equal(ist_machine_reserved_bytes(root), 14 * MIB);
    put_file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "2\n");
    assert_int_equal(ist_machine_reserved_bytes(root), 0);
}

static void test_prepare__this_process__descriptors_at_the_hard_limit(void **state) {
    (void)state;
    assert_int_equal(ist_machine_prepare(ist_log_null()), (uint64_t)sysconf(_SC_OPEN_MAX));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_available_bytes__no_files__unknown, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_available_bytes__meminfo_only__what_it_says, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_available_bytes__cgroup_2__the_tightest_of_its_chain,
                                        make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_available_bytes__cgroup_1__its_limit, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_available_bytes__damaged_files__no_worse_than_absent,
                                        make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_reserved_bytes__huge_pages__those_that_are_nobodys,
                                        make_root, remove_root),
        cmocka_unit_test(test_available_bytes__this_machine__something),
        cmocka_unit_test(test_prepare__this_process__descriptors_at_the_hard_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/client/regions: against a naive twin, on a device of the software HCA. */
#include "tests/support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/regions.h"
#include "sim/hca/hca.h"

#define MEMORY_BYTES 4096u
#define RANGES_MAX 64u

static struct {
    struct ist_hca *hca;
    struct ist_hca_device_config config;
    struct ist_device *device;
    struct failing_alloc failing;
    struct ist_regions regions;
    uint8_t *memory;
} f;

static struct ist_device *open_device(void) {
    struct ist_device *device = NULL;
    char why[200];
    const struct ist_device_config config = {
        .hint_gid_index = -1, .alloc = ist_alloc_system(), .log = ist_log_null()};
    assert_int_equal(ist_device_open(&config, &device, why, sizeof(why)), IST_OK);
    return device;
}

static void begin(bool dmabuf) {
    struct ist_hca_config config;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    ist_hca_config_init(&config, 3);
    f.hca = ist_hca_new(&config);
    ist_hca_device_config_roce(&f.config, "card", 0);
    f.config.dmabuf = dmabuf;
    assert_non_null(ist_hca_add_device(f.hca, &f.config));
    f.device = open_device();
    f.memory = calloc(1, MEMORY_BYTES);
    assert_non_null(f.memory);
    ist_regions_init(&f.regions, &f.failing.alloc);
}

static void end(void) {
    ist_regions_detach(&f.regions);
    ist_regions_fini(&f.regions);
    ist_device_close(f.device);
    ist_hca_free(f.hca);
    free(f.memory);
    assert_int_equal(f.failing.live, 0);
}

static void attach(void) {
    char why[200];
    assert_int_equal(ist_regions_attach(&f.regions, f.device, why, sizeof(why)), IST_OK);
    ist_regions_check(&f.regions);
}

static enum ist_status add(uint64_t at, uint64_t bytes) {
    const struct ist_region_source source = {
        .address = (uintptr_t)f.memory + at, .bytes = bytes, .fd = -1};
    enum ist_status status = ist_regions_add(&f.regions, &source);
    ist_regions_check(&f.regions);
    return status;
}

static enum ist_status drop(uint64_t at, uint64_t bytes) {
    enum ist_status status = ist_regions_remove(&f.regions, (uintptr_t)f.memory + at, bytes);
    ist_regions_check(&f.regions);
    return status;
}

static bool find(uint64_t at, uint64_t bytes) {
    uint32_t rkey;
    return ist_regions_find(&f.regions, (uintptr_t)f.memory + at, bytes, &rkey);
}

/* ---- the twin ----------------------------------------------------------------------------------------------- */

struct twin {
    struct {
        uint64_t at, bytes, times;
    } ranges[RANGES_MAX];
};

static size_t twin_exactly(const struct twin *twin, uint64_t at, uint64_t bytes) {
    size_t i = 0;
    while (i < RANGES_MAX &&
           (twin->ranges[i].times == 0 || twin->ranges[i].at != at || twin->ranges[i].bytes != bytes)) {
        i++;
    }
    return i;
}

static size_t twin_free(const struct twin *twin) {
    size_t i = 0;
    while (i < RANGES_MAX && twin->ranges[i].times > 0) {
        i++;
    }
    return i;
}

static bool twin_finds(const struct twin *twin, uint64_t at, uint64_t bytes) {
    for (size_t i = 0; i < RANGES_MAX; i++) {
        if (twin->ranges[i].times > 0 && twin->ranges[i].at <= at &&
            twin->ranges[i].at + twin->ranges[i].bytes >= at + bytes) {
            return true;
        }
    }
    return false;
}

static void twin_step(struct twin *twin, uint64_t *random) {
    /* Few places, so that ranges repeat, adjoin and overlap. */
    uint64_t at = 16 * random_below(random, 12), bytes = 16 * (1 + random_below(random, 12));
    size_t known = twin_exactly(twin, at, bytes), empty = twin_free(twin);
    switch (random_below(random, 3)) {
    case 0:
        if (known == RANGES_MAX && empty == RANGES_MAX) {
            break;
        }
        assert_int_equal(add(at, bytes), IST_OK);
        if (known == RANGES_MAX) {
            twin->ranges[empty].at = at;
            twin->ranges[empty].bytes = bytes;
            known = empty;
        }
        twin->ranges[known].times++;
        break;
    case 1:
        assert_int_equal(ist_regions_is_last(&f.regions, (uintptr_t)f.memory + at, bytes),
                         known < RANGES_MAX && twin->ranges[known].times == 1);
        assert_int_equal(drop(at, bytes), known < RANGES_MAX ? IST_OK : IST_NOT_FOUND);
        if (known < RANGES_MAX) {
            twin->ranges[known].times--;
        }
        break;
    default:
        at = random_below(random, 200);
        bytes = 1 + random_below(random, 100);
        assert_int_equal(find(at, bytes), twin_finds(twin, at, bytes));
    }
}

static void test_regions__random__as_the_twin(void **state) {
    (void)state;
    unsigned steps = getenv("IST_TEST_SHORT") == NULL ? 20000 : 2000;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct twin twin = {0};
        uint64_t random = seed;
        begin(false);
        attach();
        for (unsigned i = 0; i < steps / 4; i++) {
            twin_step(&twin, &random);
            if (random_below(&random, 200) == 0) {
                ist_regions_detach(&f.regions); /* another device */
                ist_regions_check(&f.regions);
                assert_false(find(0, 1));
                attach();
            }
        }
        end();
    }
}

/* ---- the edges ---------------------------------------------------------------------------------------------- */

static void test_add__what_cannot_be__refused_and_nothing_changed(void **state) {
    (void)state;
    begin(false);
    const struct ist_region_source wrong[] = {
        {.address = 0, .bytes = 1, .fd = -1},
        {.address = 4096, .bytes = 0, .fd = -1},
        {.address = UINT64_MAX - 10, .bytes = 11, .fd = -1},
        {.address = 4096, .bytes = 1, .fd = 1 << 20}, /* no descriptor */
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(ist_regions_add(&f.regions, &wrong[i]), IST_INVALID);
    }
    attach();
    const struct ist_region_source unmapped = {.address = 4096, .bytes = 10, .fd = -1};
    assert_int_equal(ist_regions_add(&f.regions, &unmapped), IST_INVALID);
    assert_int_equal(
        ist_regions_add(&f.regions,
                        &(struct ist_region_source){.address = 4096, .bytes = 1ull << 61, .fd = -1}),
        IST_TOO_BIG);
    assert_int_equal(f.regions.count, 0);
    assert_false(find(0, UINT64_MAX));
    end();
}

static void test_attach__one_cannot_be_registered__none_is_and_it_is_named(void **state) {
    (void)state;
    char why[200];
    begin(false);
    assert_int_equal(add(0, 100), IST_OK);
    assert_int_equal(add(200, 77), IST_OK);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_REGISTER, 2);
    assert_int_equal(ist_regions_attach(&f.regions, f.device, why, sizeof(why)), IST_NO_MEMORY);
    assert_non_null(strstr(why, "77 bytes"));
    assert_non_null(strstr(why, "ulimit -l"));
    ist_regions_check(&f.regions);
    assert_false(find(0, 100));
    ist_hca_fail_nth(f.hca, 0, 0);
    attach();
    assert_true(find(0, 100) && find(200, 77));
    end();
}

static void test_add__nth_allocation_fails__nothing_changed(void **state) {
    (void)state;
    begin(false);
    attach();
    for (uint64_t i = 0; i < 40; i++) {
        f.failing.fail_at = f.failing.calls + 1;
        enum ist_status status = add(i, 10);
        f.failing.fail_at = 0;
        if (status != IST_OK) {
            assert_int_equal(status, IST_NO_MEMORY);
            assert_int_equal(f.regions.count, i);
            assert_int_equal(add(i, 10), IST_OK);
        }
    }
    assert_true(f.failing.calls >= 2);
    end();
}

static void test_dmabuf__registered_again__another_kind_refused(void **state) {
    (void)state;
    begin(true);
    int fd = memfd_create("gpu", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 8192), 0);
    struct ist_region_source source = {.address = 1ull << 40, .bytes = 4096, .fd = fd, .offset = 4096};
    attach();
    assert_int_equal(ist_regions_add(&f.regions, &source), IST_OK);
    assert_int_equal(ist_regions_add(&f.regions, &source), IST_OK);
    close(fd); /* it is remembered without the caller's descriptor */
    ist_regions_detach(&f.regions);
    attach();
    uint32_t rkey;
    assert_true(ist_regions_find(&f.regions, (1ull << 40) + 4000, 96, &rkey));
    assert_false(ist_regions_find(&f.regions, (1ull << 40) + 4000, 97, &rkey));
    assert_true(ist_regions_is_device_memory(&f.regions, (1ull << 40) - 1, 2));
    assert_true(ist_regions_is_device_memory(&f.regions, (1ull << 40) + 4095, 100));
    assert_false(ist_regions_is_device_memory(&f.regions, (1ull << 40) - 1, 1));
    assert_false(ist_regions_is_device_memory(&f.regions, (1ull << 40) + 4096, 100));
    source.fd = -1;
    assert_int_equal(ist_regions_add(&f.regions, &source), IST_INVALID);
    assert_int_equal(ist_regions_remove(&f.regions, 1ull << 40, 4096), IST_OK);
    assert_int_equal(ist_regions_remove(&f.regions, 1ull << 40, 4096), IST_OK);
    assert_int_equal(ist_regions_remove(&f.regions, 1ull << 40, 4096), IST_NOT_FOUND);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regions__random__as_the_twin),
        cmocka_unit_test(test_add__what_cannot_be__refused_and_nothing_changed),
        cmocka_unit_test(test_attach__one_cannot_be_registered__none_is_and_it_is_named),
        cmocka_unit_test(test_add__nth_allocation_fails__nothing_changed),
        cmocka_unit_test(test_dmabuf__registered_again__another_kind_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

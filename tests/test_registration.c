/* src/daemon/registration: the pool's memory as a NIC sees it, in parts that are registered at the same time. */
#include "tests/support.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/clock.h"
#include "daemon/registration.h"
#include "sim/hca/hca.h"

#define MIB (1ull << 20)
#define POOL_BYTES (200 * MIB)
#define PIECES 3

static struct {
    struct ist_hca *hca;
    struct ist_device *device;
    struct ist_registration *registration;
    struct failing_alloc failing;
    uint8_t *pool; /* addresses: nobody touches it */
} f;

static int setup_for(uint64_t registration_bytes) {
    struct ist_hca_config config;
    struct ist_hca_device_config device;
    char why[128];
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    ist_hca_config_init(&config, 1);
    f.hca = ist_hca_new(&config);
    ist_hca_device_config_roce(&device, "server", 0);
    device.max_mr_size = registration_bytes;
    assert_non_null(ist_hca_add_device(f.hca, &device));
    const struct ist_device_config device_config = {
        .hint_gid_index = -1, .alloc = &f.failing.alloc, .log = ist_log_null()};
    assert_int_equal(ist_device_open(&device_config, &f.device, why, sizeof(why)), IST_OK);
    f.pool = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    assert_true(f.pool != MAP_FAILED);
    assert_int_equal(ist_registration_new(f.device, PIECES, POOL_BYTES, &f.failing.alloc,
                                          ist_log_null(), &f.registration),
                     IST_OK);
    return 0;
}

static int setup(void **state) {
    (void)state;
    return setup_for(1ull << 40);
}

static int teardown(void **state) {
    (void)state;
    ist_registration_free(f.registration);
    ist_device_close(f.device);
    ist_hca_free(f.hca); /* aborts when a region is left */
    munmap(f.pool, POOL_BYTES);
    assert_int_equal(f.failing.live, 0);
    return 0;
}

static uint32_t regions(void) {
    struct ist_hca_counts counts;
    ist_hca_counts(f.hca, &counts);
    return counts.mrs;
}

/* Each byte of [0, bytes) is where it belongs, and the next is nowhere. */
static void assert_whole(uint64_t bytes) {
    struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX];
    for (uint64_t offset = 0; offset < bytes; offset += MIB / 2) {
        uint32_t wanted = (uint32_t)(bytes - offset < MIB ? bytes - offset : MIB);
        uint32_t count = ist_registration_find(f.registration, offset, wanted, pieces);
        assert_true(count >= 1);
        uint64_t found = 0;
        for (uint32_t i = 0; i < count; i++) {
            assert_true(pieces[i].address == (uintptr_t)f.pool + offset + found);
            found += pieces[i].bytes;
        }
        assert_int_equal(found, wanted);
    }
    assert_int_equal(ist_registration_find(f.registration, bytes - 1, 2, pieces), 0);
    assert_true(ist_registration_is_whole(f.registration));
}

static void test_add__small_and_large__parts_that_join(void **state) {
    (void)state;
    ist_registration_add(f.registration, f.pool, 7 * MIB);
    assert_int_equal(regions(), 1);
    ist_registration_add(f.registration, f.pool + 7 * MIB, 40 * MIB); /* 16, 16, 8 */
    assert_int_equal(regions(), 1 + 3);
    ist_registration_add(f.registration, f.pool + 47 * MIB,
                         101 * MIB + 4096); /* 26, 26, 26 and the rest */
    assert_int_equal(regions(), 1 + 3 + 4);
    assert_whole(148 * MIB + 4096);
}

/* The last part of a first piece of any length, where a work would lie in three. */
static void test_add__little_more_than_whole_parts__a_work_lies_in_two(void **state) {
    (void)state;
    ist_registration_add(f.registration, f.pool, 48 * MIB + 4096);
    assert_int_equal(regions(), 3);
    ist_registration_add(f.registration, f.pool + 48 * MIB + 4096, 64 * MIB);
    assert_whole(112 * MIB + 4096);
}

/* The software HCA refuses what is larger. */
static void test_add__device_that_registers_little_at_once__smaller_parts(void **state) {
    static const uint64_t limits[] = {4 * MIB, 5 * MIB, 6 * MIB - 1, 16 * MIB, 17 * MIB, 50 * MIB};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        for (uint64_t odd = 0; odd <= 2 * MIB; odd += MIB / 2 + 4096) {
            teardown(state);
            setup_for(limits[i]);
            ist_registration_add(f.registration, f.pool, 20 * MIB + odd);
            ist_registration_add(f.registration, f.pool + 20 * MIB + odd, 64 * MIB);
            ist_registration_add(f.registration, f.pool + 84 * MIB + odd, 110 * MIB);
            assert_whole(194 * MIB + odd);
        }
    }
}

static void test_add__device_that_registers_too_little_at_once__not_whole(void **state) {
    teardown(state);
    setup_for(4 * MIB - 1);
    ist_registration_add(f.registration, f.pool, 2 * MIB);
    assert_false(ist_registration_is_whole(f.registration));
    assert_int_equal(regions(), 0);
}

static void *add_all(void *context) {
    (void)context;
    ist_registration_add(f.registration, f.pool, 128 * MIB);
    return NULL;
}

static void test_add__large__all_parts_at_the_same_time(void **state) {
    (void)state;
    pthread_t thread;
    struct ist_hca_device *device = ist_hca_find_device(f.hca, "server");
    ist_hca_hold_registrations(device, true);
    assert_int_equal(pthread_create(&thread, NULL, add_all, NULL), 0);
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    while (ist_hca_waiting(f.hca) < IST_REGISTRATION_PARTS && ist_clock_ns() < until_ns) {
        sched_yield();
    }
    uint32_t waiting = ist_hca_waiting(f.hca);
    struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX];
    assert_int_equal(ist_registration_find(f.registration, 0, 1, pieces), 0);
    ist_hca_hold_registrations(device, false);
    pthread_join(thread, NULL);
    assert_int_equal(waiting, IST_REGISTRATION_PARTS);
    assert_whole(128 * MIB);
}

static void
test_add__nth_registration_fails__none_of_it_is_left_and_what_was_there_stays(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= IST_REGISTRATION_PARTS; n++) {
        teardown(state);
        setup(state);
        ist_registration_add(f.registration, f.pool, 8 * MIB);
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_REGISTER, n);
        ist_registration_add(f.registration, f.pool + 8 * MIB, 128 * MIB);
        assert_false(ist_registration_is_whole(f.registration));
        assert_int_equal(regions(), 1);
        struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX];
        assert_int_equal(ist_registration_find(f.registration, 0, 1, pieces), 1);
        assert_int_equal(ist_registration_find(f.registration, 8 * MIB, 1, pieces), 0);
        assert_int_equal(ist_registration_find(f.registration, 9 * MIB, 1, pieces), 0);
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_REGISTER, 0);
        ist_registration_add(f.registration, f.pool + 136 * MIB, 8 * MIB); /* behind a gap: no more */
        assert_int_equal(regions(), 1);
    }
}

static void test_add__more_than_there_is_room_for__not_whole(void **state) {
    (void)state;
    for (uint64_t i = 0; i < PIECES * IST_REGISTRATION_PARTS; i++) {
        ist_registration_add(f.registration, f.pool + i * MIB, MIB);
    }
    assert_whole(PIECES * IST_REGISTRATION_PARTS * MIB);
    ist_registration_add(f.registration, f.pool + 100 * MIB, MIB);
    assert_false(ist_registration_is_whole(f.registration));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_add__small_and_large__parts_that_join),
        TEST(test_add__little_more_than_whole_parts__a_work_lies_in_two),
        TEST(test_add__device_that_registers_little_at_once__smaller_parts),
        TEST(test_add__device_that_registers_too_little_at_once__not_whole),
        TEST(test_add__large__all_parts_at_the_same_time),
        TEST(test_add__nth_registration_fails__none_of_it_is_left_and_what_was_there_stays),
        TEST(test_add__more_than_there_is_room_for__not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

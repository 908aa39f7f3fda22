/* src/daemon/memory: segments in the background, every page there, limits, and what is said when there is
 * not enough. */
#include "tests/support.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/memory.h"

#define HUGE IST_MEMORY_HUGE_BYTES

/* ---- huge pages that the machine has set aside: other memory, here --------------------------------------------- */

static uint64_t reserved_left;

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if ((flags & MAP_HUGETLB) != 0) {
        if (bytes > reserved_left) {
            errno = ENOMEM;
            return MAP_FAILED;
        }
        reserved_left -= (flags & MAP_FIXED) != 0 ? bytes : 0; /* else it is a question */
        flags &= ((1 << MAP_HUGE_SHIFT) - 1) & ~MAP_HUGETLB;   /* nor a size of pages */
    }
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

static uint64_t reserved(void *context) {
    (void)context;
    return reserved_left;
}

/* ---- the fixture ----------------------------------------------------------------------------------------------- */

struct fixture {
    struct failing_alloc failing;
    struct ist_log log;
    char last_line[IST_LOG_LINE_MAX];
    uint64_t available_bytes;
    struct ist_memory_config config;
};

static void keep_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    struct fixture *fixture = context;
    (void)session;
    if (level == IST_LOG_ERROR) {
        snprintf(fixture->last_line, sizeof(fixture->last_line), "%s", message);
    }
}

static uint64_t available(void *context) {
    return *(uint64_t *)context;
}

static struct fixture *fixture_new(uint64_t bytes, uint64_t bytes_max) {
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    reserved_left = 0;
    failing_alloc_init(&fixture.failing, 0);
    fixture.log = (struct ist_log){.level = IST_LOG_DEBUG, .write = keep_line, .context = &fixture};
    fixture.available_bytes = UINT64_MAX;
    fixture.config = (struct ist_memory_config){.bytes = bytes,
                                                .bytes_max = bytes_max,
                                                .first_segment_bytes = HUGE,
                                                .segment_bytes = 2 * HUGE,
                                                .huge_pages = false,
                                                .available_bytes = available,
                                                .context = &fixture.available_bytes,
                                                .alloc = &fixture.failing.alloc,
                                                .log = &fixture.log};
    return &fixture;
}

static struct ist_memory *memory_of(const struct fixture *fixture) {
    struct ist_memory *memory = NULL;
    assert_int_equal(ist_memory_new(&fixture->config, &memory), IST_OK);
    assert_non_null(memory);
    return memory;
}

/* Takes until `bytes` have come, each time waiting for the descriptor. */
static void take_all(struct ist_memory *memory, uint64_t bytes) {
    for (uint64_t taken = 0; taken < bytes;) {
        struct pollfd ready = {.fd = ist_memory_fd(memory), .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 10000), 1);
        taken += ist_memory_take(memory);
        assert_true(taken <= bytes);
    }
    assert_int_equal(ist_memory_take(memory), 0);
}

static void assert_present(const uint8_t *base, uint64_t bytes) {
    unsigned char present[4096];
    const uint64_t page = 4096;
    for (uint64_t offset = 0; offset < bytes; offset += sizeof(present) * page) {
        uint64_t length =
            bytes - offset < sizeof(present) * page ? bytes - offset : sizeof(present) * page;
        assert_int_equal(mincore((void *)(uintptr_t)(base + offset), length, present), 0);
        for (uint64_t i = 0; i < (length + page - 1) / page; i++) {
            assert_true((present[i] & 1) != 0);
        }
    }
}

static void test_new__pool_smaller_than_a_segment__all_there_at_once(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(40960, 40960);
    struct ist_memory *memory = memory_of(fixture);
    assert_int_equal(ist_memory_take(memory), 40960);
    assert_int_equal(ist_memory_take(memory), 0);
    uint8_t *base = ist_memory_base(memory);
    assert_int_equal((uintptr_t)base % HUGE, 0);
    assert_present(base, 40960);
    base[0] = 1;
    base[40959] = 2;
    ist_memory_free(memory);
    assert_int_equal(fixture->failing.live, 0);
}

static void test_new__several_segments__all_come_each_page_present(void **state) {
    (void)state;
    /* One first segment, two whole ones and one short one. */
    uint64_t bytes = HUGE + 2 * 2 * HUGE + 4096;
    struct fixture *fixture = fixture_new(bytes, bytes);
    struct ist_memory *memory = memory_of(fixture);
    take_all(memory, bytes);
    assert_present(ist_memory_base(memory), bytes);
    struct ist_memory_state now;
    ist_memory_state(memory, &now);
    assert_int_equal(now.ready_bytes, bytes);
    assert_int_equal(now.target_bytes, bytes);
    assert_int_equal(now.refusals, 0);
    ist_memory_free(memory);
}

static void test_new__huge_pages_asked_for__memory_works_with_or_without(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(3 * HUGE, 3 * HUGE);
    fixture->config.huge_pages = true;
    struct ist_memory *memory = memory_of(fixture);
    take_all(memory, 3 * HUGE);
    memset(ist_memory_base(memory), 0x5a, 3 * HUGE);
    assert_int_equal(ist_memory_base(memory)[3 * HUGE - 1], 0x5a);
    ist_memory_free(memory);
}

/* Memory that is set aside for huge pages is not among what is available. */
static void test_new__huge_pages_reserved_and_no_other_memory__enough(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(3 * HUGE, 3 * HUGE);
    fixture->config.huge_pages = true;
    fixture->config.reserved_bytes = reserved;
    fixture->available_bytes = 0;
    reserved_left = 3 * HUGE;
    struct ist_memory *memory = memory_of(fixture);
    take_all(memory, 3 * HUGE);
    ist_memory_free(memory);
    assert_int_equal(reserved_left, 0);
}

static void test_new__some_huge_pages_reserved__the_rest_is_other_memory(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(3 * HUGE, 3 * HUGE);
    struct ist_memory *memory = NULL;
    fixture->config.huge_pages = true;
    fixture->config.reserved_bytes = reserved;
    fixture->available_bytes = IST_MEMORY_MARGIN_BYTES + 2 * HUGE - 1;
    reserved_left = HUGE;
    assert_int_equal(ist_memory_new(&fixture->config, &memory), IST_NO_MEMORY);
    fixture->available_bytes++;
    memory = memory_of(fixture);
    take_all(memory, 3 * HUGE);
    ist_memory_free(memory);
    assert_int_equal(reserved_left, 0);
    fixture->config.huge_pages = false; /* then they are of no use */
    reserved_left = HUGE;
    assert_int_equal(ist_memory_new(&fixture->config, &memory), IST_NO_MEMORY);
}

static void test_new__machine_has_too_little__no_memory_and_a_line_with_both_sizes(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(64 * HUGE, 64 * HUGE);
    fixture->available_bytes = 64 * HUGE + IST_MEMORY_MARGIN_BYTES - 1;
    struct ist_memory *memory = NULL;
    assert_int_equal(ist_memory_new(&fixture->config, &memory), IST_NO_MEMORY);
    assert_null(memory);
    assert_non_null(strstr(fixture->last_line, "128 MiB"));
    assert_non_null(strstr(fixture->last_line, "--prealloc-size"));
    assert_int_equal(fixture->failing.live, 0);
    fixture->available_bytes++;
    ist_memory_free(memory_of(fixture));
}

static void test_new__allocation_fails__no_memory_without_a_leak(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(HUGE, HUGE);
    failing_alloc_init(&fixture->failing, 1);
    struct ist_memory *memory = NULL;
    assert_int_equal(ist_memory_new(&fixture->config, &memory), IST_NO_MEMORY);
    assert_null(memory);
    assert_int_equal(fixture->failing.live, 0);
}

/* In a child, because a limit cannot be taken back: `exhaust` takes what new() will want. */
static void assert_refused_in_child(bool (*exhaust)(void)) {
    struct fixture *fixture = fixture_new(HUGE, 1ull << 46);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ist_memory *memory = NULL;
        bool refused = exhaust() && ist_memory_new(&fixture->config, &memory) == IST_NO_MEMORY &&
                       fixture->failing.live == 0 && fixture->last_line[0] != '\0';
        _exit(refused ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool limit_addresses(void) {
    const struct rlimit limit = {.rlim_cur = 1ull << 45, .rlim_max = 1ull << 45};
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

static bool take_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return false;
    }
    limit.rlim_cur = 100; /* valgrind keeps to its own limit instead of this one */
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return false;
    }
    while (dup(0) >= 0) {
    }
    return errno == EMFILE;
}

static void test_new__no_addresses__no_memory(void **state) {
    (void)state;
    assert_refused_in_child(limit_addresses);
}

static void test_new__no_descriptor__no_memory(void **state) {
    (void)state;
    assert_refused_in_child(take_descriptors);
}

static void test_grow__below_the_maximum__follows_what_is_there(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(HUGE, 8 * HUGE);
    struct ist_memory *memory = memory_of(fixture);
    take_all(memory, HUGE);
    uint8_t *base = ist_memory_base(memory);
    base[0] = 7;
    ist_memory_grow(memory, 5 * HUGE);
    take_all(memory, 4 * HUGE);
    assert_present(base, 5 * HUGE);
    assert_int_equal(base[0], 7);
    assert_ptr_equal(ist_memory_base(memory), base);
    ist_memory_free(memory);
}

static void test_grow__above_the_maximum__ends_there(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(HUGE, 3 * HUGE);
    struct ist_memory *memory = memory_of(fixture);
    ist_memory_grow(memory, UINT64_MAX);
    take_all(memory, 3 * HUGE);
    struct ist_memory_state now;
    ist_memory_state(memory, &now);
    assert_int_equal(now.target_bytes, 3 * HUGE);
    ist_memory_free(memory);
}

static void test_grow__smaller_than_now__nothing(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(2 * HUGE, 8 * HUGE);
    struct ist_memory *memory = memory_of(fixture);
    take_all(memory, 2 * HUGE);
    ist_memory_grow(memory, HUGE);
    struct ist_memory_state now;
    ist_memory_state(memory, &now);
    assert_int_equal(now.target_bytes, 2 * HUGE);
    assert_int_equal(now.ready_bytes, 2 * HUGE);
    ist_memory_free(memory);
}

static void test_grow__machine_has_too_little__stays_and_can_be_asked_again(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(HUGE, 8 * HUGE);
    struct ist_memory *memory = memory_of(fixture);
    take_all(memory, HUGE);
    /* No other thread looks at it now: nothing is asked for. */
    fixture->available_bytes = 2 * HUGE + IST_MEMORY_MARGIN_BYTES - 1;
    ist_memory_grow(memory, 5 * HUGE);
    struct pollfd ready = {.fd = ist_memory_fd(memory), .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 10000), 1);
    assert_int_equal(ist_memory_take(memory), 0);
    struct ist_memory_state now;
    ist_memory_state(memory, &now);
    assert_int_equal(now.ready_bytes, HUGE);
    assert_int_equal(now.target_bytes, HUGE);
    assert_int_equal(now.refusals, 1);
    assert_non_null(strstr(fixture->last_line, "it stays at 2 MiB"));
    fixture->available_bytes = UINT64_MAX;
    ist_memory_grow(memory, 5 * HUGE);
    take_all(memory, 4 * HUGE);
    ist_memory_free(memory);
}

static void test_free__in_the_middle_of_growing__ends_soon_without_a_leak(void **state) {
    (void)state;
    struct fixture *fixture = fixture_new(HUGE, 512 * HUGE);
    struct ist_memory *memory = memory_of(fixture);
    ist_memory_grow(memory, 512 * HUGE);
    ist_memory_free(memory);
    ist_memory_free(NULL);
    assert_int_equal(fixture->failing.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new__pool_smaller_than_a_segment__all_there_at_once),
        cmocka_unit_test(test_new__several_segments__all_come_each_page_present),
        cmocka_unit_test(test_new__huge_pages_asked_for__memory_works_with_or_without),
        cmocka_unit_test(test_new__huge_pages_reserved_and_no_other_memory__enough),
        cmocka_unit_test(test_new__some_huge_pages_reserved__the_rest_is_other_memory),
        cmocka_unit_test(test_new__machine_has_too_little__no_memory_and_a_line_with_both_sizes),
        cmocka_unit_test(test_new__allocation_fails__no_memory_without_a_leak),
        cmocka_unit_test(test_new__no_addresses__no_memory),
        cmocka_unit_test(test_new__no_descriptor__no_memory),
        cmocka_unit_test(test_grow__below_the_maximum__follows_what_is_there),
        cmocka_unit_test(test_grow__above_the_maximum__ends_there),
        cmocka_unit_test(test_grow__smaller_than_now__nothing),
        cmocka_unit_test(test_grow__machine_has_too_little__stays_and_can_be_asked_again),
        cmocka_unit_test(test_free__in_the_middle_of_growing__ends_soon_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* heap: what is large lies on pages of its own, from the start of a huge one on, and all keep their bytes. */
#include "tests/support.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/heap.h"

#define HUGE_PAGE_BYTES (2u << 20)

static const size_t sizes[] = {
    1,
    100,
    4096,
    IST_HEAP_HUGE_BYTES - 1,
    IST_HEAP_HUGE_BYTES,
    HUGE_PAGE_BYTES,
    HUGE_PAGE_BYTES + 1,
    3 * HUGE_PAGE_BYTES + 5000,
};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static bool has_own_pages(size_t bytes) {
    return bytes >= IST_HEAP_HUGE_BYTES;
}

static bool begins_huge_page(const void *memory) {
    return ((uintptr_t)memory - IST_HEAP_FRONT_BYTES) % HUGE_PAGE_BYTES == 0;
}

/* A byte of each page, the first and the last. */
static void fill(uint8_t *memory, size_t bytes, uint8_t letter) {
    for (size_t i = 0; i < bytes; i += 1000) {
        memory[i] = (uint8_t)(letter + i % 251);
    }
    memory[bytes - 1] = letter;
}

static void assert_filled(const uint8_t *memory, size_t bytes, uint8_t letter) {
    for (size_t i = 0; i + 1 < bytes; i += 1000) {
        assert_int_equal(memory[i], (uint8_t)(letter + i % 251));
    }
}

static bool is_mapped(const void *memory) {
    unsigned char resident;
    uintptr_t page = (uintptr_t)memory / 4096 * 4096;
    return mincore((void *)page, 1, &resident) == 0 || errno != ENOMEM;
}

static void test_heap_allocate__each_size__its_bytes_and_pages_of_its_own_when_large(void **state) {
    (void)state;
    uint8_t *all[SIZES];
    for (size_t i = 0; i < SIZES; i++) {
        all[i] = ist_allocate(ist_heap(), sizes[i]);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
        assert_true(!has_own_pages(sizes[i]) || begins_huge_page(all[i]));
        fill(all[i], sizes[i], (uint8_t)i);
    }
    for (size_t i = 0; i < SIZES; i++) {
        assert_filled(all[i], sizes[i], (uint8_t)i);
        ist_release(ist_heap(), all[i]);
        assert_true(!has_own_pages(sizes[i]) || !is_mapped(all[i] + sizes[i] / 2));
    }
}

static void test_heap_resize__any_size_to_any__bytes_stay(void **state) {
    (void)state;
    for (size_t from = 0; from < SIZES; from++) {
        for (size_t to = 0; to < SIZES; to++) {
            uint8_t *memory = ist_resize_array(ist_heap(), NULL, sizes[from], 1);
            assert_non_null(memory);
            fill(memory, sizes[from], 7);
            memory = ist_resize_array(ist_heap(), memory, sizes[to], 1);
            assert_non_null(memory);
            assert_true(!has_own_pages(sizes[to]) || begins_huge_page(memory));
            assert_filled(memory, sizes[from] < sizes[to] ? sizes[from] : sizes[to], 7);
            fill(memory, sizes[to], 8); /* all of it is there */
            ist_release(ist_heap(), memory);
        }
    }
}

/* AddressSanitizer's malloc ends the program otherwise. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

static void test_heap__more_than_there_is__null_and_the_old_stays(void **state) {
    (void)state;
    const size_t too_large[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 8};
    for (size_t i = 0; i < 3; i++) {
        assert_null(ist_allocate(ist_heap(), too_large[i]));
        for (size_t k = 0; k < SIZES; k++) {
            uint8_t *memory = ist_allocate(ist_heap(), sizes[k]);
            assert_non_null(memory);
            fill(memory, sizes[k], 9);
            assert_null(ist_resize_array(ist_heap(), memory, too_large[i], 1));
            assert_filled(memory, sizes[k], 9);
            ist_release(ist_heap(), memory);
        }
    }
}

/* The kernel's flag of the mapping around it ("hg" in VmFlags: man proc_pid_smaps). */
static bool wants_huge_pages(const void *memory) {
    FILE *file = fopen("/proc/self/smaps", "r");
    assert_non_null(file);
    char line[1024];
    bool inside = false, wanted = false;
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2) {
            inside = begin <= (uintptr_t)memory && (uintptr_t)memory < end;
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            wanted = strstr(line, " hg") != NULL;
        }
    }
    fclose(file);
    return wanted;
}

static void test_heap__large__asks_for_huge_pages_also_when_resized(void **state) {
    (void)state;
    if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) != 0) {
        skip(); /* a kernel without them */
    }
    void *memory = ist_allocate(ist_heap(), IST_HEAP_HUGE_BYTES);
    assert_non_null(memory);
    assert_true(wants_huge_pages(memory));
    memory = ist_resize_array(ist_heap(), memory, 5 * HUGE_PAGE_BYTES, 1);
    assert_non_null(memory);
    assert_true(wants_huge_pages((uint8_t *)memory + 4 * HUGE_PAGE_BYTES));
    ist_release(ist_heap(), memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap_allocate__each_size__its_bytes_and_pages_of_its_own_when_large),
        cmocka_unit_test(test_heap_resize__any_size_to_any__bytes_stay),
        cmocka_unit_test(test_heap__more_than_there_is__null_and_the_old_stays),
        cmocka_unit_test(test_heap__large__asks_for_huge_pages_also_when_resized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

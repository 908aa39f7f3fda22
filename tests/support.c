#include "tests/support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Who starts the tests may have closed their standard streams (cron, some CI): no descriptor of a test may become one. */
__attribute__((constructor)) static void open_streams(void) {
    int fd = 0;
    while (fd >= 0 && fd <= 2) {
        fd = open("/dev/null", O_RDWR);
    }
    if (fd > 2) {
        close(fd);
    }
}

static int fails_now(struct failing_alloc *failing) {
    failing->calls++;
    return failing->calls == failing->fail_at;
}

static void *failing_allocate(void *context, size_t bytes) {
    struct failing_alloc *failing = context;
    if (fails_now(failing)) {
        return NULL;
    }
    void *memory = malloc(bytes);
    assert_non_null(memory);
    failing->live++;
    return memory;
}

static void *failing_resize(void *context, void *memory, size_t bytes) {
    struct failing_alloc *failing = context;
    if (fails_now(failing)) {
        return NULL;
    }
    if (memory == NULL) {
        failing->live++;
    }
    void *resized = realloc(memory, bytes);
    assert_non_null(resized);
    return resized;
}

static void failing_release(void *context, void *memory) {
    struct failing_alloc *failing = context;
    failing->live--;
    free(memory);
}

void failing_alloc_init(struct failing_alloc *failing, uint64_t fail_at) {
    *failing = (struct failing_alloc){
        .alloc = {.allocate = failing_allocate,
                  .resize = failing_resize,
                  .release = failing_release,
                  .context = failing},
        .fail_at = fail_at,
    };
}

static size_t guarded_length(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page + page;
}

void *guarded_new(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t length = guarded_length(bytes);
    uint8_t *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    assert_int_equal(mprotect(base + length - page, page, PROT_NONE), 0);
    return base + length - page - bytes;
}

void guarded_free(void *memory, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t length = guarded_length(bytes);
    uint8_t *base = (uint8_t *)memory + bytes + page - length;
    assert_int_equal(munmap(base, length), 0);
}

uint64_t random_next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *state, uint64_t limit) {
    return random_next(state) % limit;
}

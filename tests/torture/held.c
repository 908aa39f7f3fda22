#include "tests/torture/held.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLACES (1u << 16) /* of a table with open addressing: many more than anybody holds */
#define DESCRIPTORS_MAX 4096
#define TOLD_MAX 8u

struct held {
    const void *address; /* NULL: free */
    enum held_kind kind;
    size_t bytes;
    const void *caller;
};

static struct {
    pthread_mutex_t lock;
    struct held table[PLACES];
    size_t count;
    bool overflowed;
    atomic_long mapped;
    bool was_open[DESCRIPTORS_MAX];
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t home(enum held_kind kind, const void *address) {
    uint64_t hash = ((uint64_t)(uintptr_t)address + (uint64_t)kind) * 0x9e3779b97f4a7c15u;
    return (size_t)(hash >> 40) % PLACES;
}

/* Its place, or the free one where it would be. */
static size_t place_of(enum held_kind kind, const void *address) {
    size_t i = home(kind, address);
    while (all.table[i].address != NULL &&
           (all.table[i].address != address || all.table[i].kind != kind)) {
        i = (i + 1) % PLACES;
    }
    return i;
}

void held_add(enum held_kind kind, const void *address, size_t bytes, const void *caller) {
    pthread_mutex_lock(&all.lock);
    if (all.count >= PLACES / 2) {
        all.overflowed = true;
    } else if (address != NULL) {
        struct held *held = &all.table[place_of(kind, address)];
        all.count += held->address == NULL;
        *held = (struct held){.address = address, .kind = kind, .bytes = bytes, .caller = caller};
    }
    pthread_mutex_unlock(&all.lock);
}

/* Those behind it move up where else a search for them would end at the gap. */
static void close_gap(size_t gap) {
    for (size_t i = (gap + 1) % PLACES; all.table[i].address != NULL; i = (i + 1) % PLACES) {
        size_t from = home(all.table[i].kind, all.table[i].address);
        if ((i - from) % PLACES >= (i - gap) % PLACES) {
            all.table[gap] = all.table[i];
            gap = i;
        }
    }
    all.table[gap].address = NULL;
}

void held_remove(enum held_kind kind, const void *address) {
    pthread_mutex_lock(&all.lock);
    size_t i = place_of(kind, address);
    if (address != NULL && all.table[i].address != NULL) {
        all.count--;
        close_gap(i);
    }
    pthread_mutex_unlock(&all.lock);
}

bool held_find(enum held_kind kind, const void *address, size_t *bytes, const void **caller) {
    pthread_mutex_lock(&all.lock);
    const struct held *held = &all.table[place_of(kind, address)];
    bool found = address != NULL && held->address != NULL;
    if (found) {
        *bytes = held->bytes;
        *caller = held->caller;
    }
    pthread_mutex_unlock(&all.lock);
    return found;
}

void held_map(long bytes) {
    atomic_fetch_add(&all.mapped, bytes);
}

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

void held_begin(void) {
    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++) {
        all.was_open[fd] = is_open(fd);
    }
}

static unsigned tell_descriptors(void (*tell)(const char *line)) {
    unsigned told = 0;
    for (int fd = 0; fd < DESCRIPTORS_MAX && told < TOLD_MAX; fd++) {
        if (!all.was_open[fd] && is_open(fd)) {
            char path[40], target[80] = "", line[160];
            snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
            ssize_t bytes = readlink(path, target, sizeof(target) - 1);
            target[bytes > 0 ? bytes : 0] = '\0';
            snprintf(line, sizeof(line), "descriptor %d, %s", fd, target);
            tell(line);
            told++;
        }
    }
    return told;
}

static void tell_of(const struct held *held, void (*tell)(const char *line)) {
    static const char *const names[] = {"memory", "names", "thread"};
    Dl_info info = {0};
    char line[160];
    (void)dladdr(held->caller, &info);
    const char *file = info.dli_fname == NULL ? "?" : info.dli_fname;
    const char *slash = strrchr(file, '/');
    snprintf(line, sizeof(line), "%s, %zu bytes, asked for by %s+%#zx", names[held->kind], held->bytes,
             slash == NULL ? file : slash + 1, (size_t)held->caller - (size_t)info.dli_fbase);
    tell(line);
}

void held_tell(bool (*of_ours)(const void *caller), void (*tell)(const char *line)) {
    unsigned told = tell_descriptors(tell);
    long mapped = atomic_load(&all.mapped);
    if (mapped != 0) {
        char line[64];
        snprintf(line, sizeof(line), "%ld bytes of mappings", mapped);
        tell(line);
    }
    if (all.overflowed) {
        tell("more than can be counted");
    }
    for (size_t i = 0; i < PLACES && told < TOLD_MAX; i++) {
        const struct held *held = &all.table[i];
        if (held->address != NULL && (held->kind != HELD_MEMORY || of_ours(held->caller))) {
            tell_of(held, tell);
            told++;
        }
    }
}

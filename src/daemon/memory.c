#include "daemon/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/size.h"
#include "daemon/thread.h"

/* Populated at a time: while the kernel does that, no other thread can map memory. */
#define POPULATE_BYTES (8ull << 20)

struct ist_memory {
    struct ist_memory_config config;
    uint8_t *base;
    uint64_t reserved_bytes;
    int event_fd;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct ist_memory_state state;
    uint64_t taken_bytes;
    bool stop;
};

static uint64_t minimum(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* A range of addresses without memory behind it, aligned so that huge pages fit. */
static bool reserve_addresses(struct ist_memory *memory) {
    uint64_t rounded =
        (memory->config.bytes_max + IST_MEMORY_HUGE_BYTES - 1) & ~(IST_MEMORY_HUGE_BYTES - 1);
    uint64_t asked = rounded + IST_MEMORY_HUGE_BYTES;
    if (rounded < memory->config.bytes_max || asked < rounded) {
        return false;
    }
    void *found = mmap(NULL, asked, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) {
        return false;
    }
    uint8_t *start = found;
    uint64_t before = (IST_MEMORY_HUGE_BYTES - (uintptr_t)start) & (IST_MEMORY_HUGE_BYTES - 1);
    /* Unmapping the edges of a mapping of our own fails only where the kernel has no room to split it: then
     * the edges stay, unused. */
    if (before > 0) {
        (void)munmap(start, before);
    }
    (void)munmap(start + before + rounded, IST_MEMORY_HUGE_BYTES - before);
    memory->base = start + before;
    memory->reserved_bytes = rounded;
    return true;
}

/* Reserved huge pages at `at`. Asked for elsewhere first: a failing MAP_FIXED may leave a hole. */
static bool map_huge(uint8_t *at, uint64_t bytes) {
    if (bytes % IST_MEMORY_HUGE_BYTES != 0) {
        return false;
    }
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);
    void *probe = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (probe == MAP_FAILED) {
        return false;
    }
    (void)munmap(probe, bytes);
    if (mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0) == at) {
        return true;
    }
    return false;
}

static bool map_pages(const struct ist_memory *memory, uint8_t *at, uint64_t bytes) {
    if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
             -1, 0) != at) {
        return false;
    }
    /* A hint: a kernel without transparent huge pages refuses it. */
    (void)madvise(at, bytes, memory->config.huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return true;
}

static bool stopped(struct ist_memory *memory) {
    pthread_mutex_lock(&memory->lock);
    bool stop = memory->stop;
    pthread_mutex_unlock(&memory->lock);
    return stop;
}

/* Every page of [at, at + bytes) present. The memory is nobody's yet. False: none left, or stopped. */
static bool populate(struct ist_memory *memory, uint8_t *at, uint64_t bytes) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    bool touch = false;
    for (uint64_t done = 0; done < bytes && !stopped(memory);) {
        uint64_t step = minimum(POPULATE_BYTES, bytes - done);
        if (!touch && madvise(at + done, step, MADV_POPULATE_WRITE) != 0) {
            if (errno == EINTR || errno == EAGAIN) {
                continue;
            }
            if (errno != EINVAL) {
                return false;
            }
            touch = true; /* Linux before 5.14 does not know it */
        }
        for (uint64_t offset = 0; touch && offset < step; offset += page) {
            *(volatile uint8_t *)(at + done + offset) = 0;
        }
        done += step;
    }
    return !stopped(memory);
}

static bool leaves_margin(uint64_t available, uint64_t bytes) {
    return available >= IST_MEMORY_MARGIN_BYTES && available - IST_MEMORY_MARGIN_BYTES >= bytes;
}

/* The next segment after `ready`, up to `target`, cut off the reserved range. */
static bool add_segment(struct ist_memory *memory, uint64_t ready, uint64_t bytes) {
    char wanted_text[IST_SIZE_TEXT_MAX], available_text[IST_SIZE_TEXT_MAX],
        ready_text[IST_SIZE_TEXT_MAX];
    uint64_t available = memory->config.available_bytes(memory->config.context);
    bool mapped = memory->config.huge_pages && map_huge(memory->base + ready, bytes);
    if (!mapped && leaves_margin(available, bytes)) {
        mapped = map_pages(memory, memory->base + ready, bytes);
    }
    if (mapped && populate(memory, memory->base + ready, bytes)) {
        return true;
    }
    if (!stopped(memory)) {
        ist_log_error(memory->config.log, 0,
                      "cannot get %s more for the pool: %s of memory are available; it stays at %s",
                      ist_size_text(bytes, wanted_text), ist_size_text(available, available_text),
                      ist_size_text(ready, ready_text));
    }
    /* Whatever was populated goes back; the addresses stay ours. */
    (void)mmap(memory->base + ready, bytes, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return false;
}

/* Lock held. Ends with the lock held. */
static void grow_by_segment(struct ist_memory *memory) {
    uint64_t ready = memory->state.ready_bytes;
    uint64_t segment = ready == 0 ? memory->config.first_segment_bytes : memory->config.segment_bytes;
    uint64_t bytes = minimum(segment, memory->state.target_bytes - ready);
    pthread_mutex_unlock(&memory->lock);
    bool added = add_segment(memory, ready, bytes);
    if (added && memory->config.prepare != NULL) {
        memory->config.prepare(memory->config.prepare_context, memory->base + ready, bytes);
    }
    if (added) {
        ist_log_debug(memory->config.log, 0, "the pool's memory is ready up to %" PRIu64 " bytes",
                      ready + bytes);
    }
    pthread_mutex_lock(&memory->lock);
    if (added) {
        memory->state.ready_bytes = ready + bytes;
    } else {
        memory->state.target_bytes = ready;
        memory->state.refusals++;
    }
    /* Cannot block or overflow: the counter is read as a whole. */
    (void)!write(memory->event_fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void *memory_thread(void *context) {
    struct ist_memory *memory = context;
    pthread_mutex_lock(&memory->lock);
    while (!memory->stop) {
        if (memory->state.ready_bytes < memory->state.target_bytes) {
            grow_by_segment(memory);
        } else {
            pthread_cond_wait(&memory->wake, &memory->lock);
        }
    }
    pthread_mutex_unlock(&memory->lock);
    return NULL;
}

/* Better one line now than to be killed by the kernel in the middle of the work. */
static bool machine_has(const struct ist_memory_config *config) {
    uint64_t available = config->available_bytes(config->context), reserved = 0;
    if (config->huge_pages && config->reserved_bytes != NULL) {
        reserved = config->reserved_bytes(config->context);
    }
    if (reserved >= config->bytes || leaves_margin(available, config->bytes - reserved)) {
        return true;
    }
    char wanted_text[IST_SIZE_TEXT_MAX], available_text[IST_SIZE_TEXT_MAX];
    ist_log_error(
        config->log, 0,
        "cannot get a pool of %s: %s of memory are available; choose a smaller --prealloc-size",
        ist_size_text(config->bytes, wanted_text), ist_size_text(available, available_text));
    return false;
}

enum ist_status ist_memory_new(const struct ist_memory_config *config, struct ist_memory **memory) {
    IST_ASSERT(config->bytes >= 1 && config->bytes <= config->bytes_max);
    IST_ASSERT(config->first_segment_bytes > 0 && config->segment_bytes > 0);
    IST_ASSERT(config->first_segment_bytes % IST_MEMORY_HUGE_BYTES == 0);
    IST_ASSERT(config->segment_bytes % IST_MEMORY_HUGE_BYTES == 0);
    if (!machine_has(config)) {
        return IST_NO_MEMORY;
    }
    const char *what = "memory for the pool's own records";
    struct ist_memory *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        goto no_memory;
    }
    new->config = *config;
    new->state.target_bytes = config->bytes;
    what = "addresses for the pool";
    if (!reserve_addresses(new)) {
        goto no_addresses;
    }
    what = "a descriptor for the pool's thread";
    new->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (new->event_fd < 0) {
        goto no_event_fd;
    }
    pthread_mutex_init(&new->lock, NULL);
    pthread_cond_init(&new->wake, NULL);
    pthread_mutex_lock(&new->lock);
    grow_by_segment(new);
    bool first_ready = new->state.ready_bytes > 0;
    pthread_mutex_unlock(&new->lock);
    if (!first_ready) {
        goto no_segment; /* logged already */
    }
    errno = ist_thread_start(&new->thread, memory_thread, new);
    if (errno != 0) {
        ist_log_error(config->log, 0, "cannot start the pool's thread: %s", strerror(errno));
        goto no_segment;
    }
    *memory = new;
    return IST_OK;

no_segment:
    pthread_cond_destroy(&new->wake);
    pthread_mutex_destroy(&new->lock);
    close(new->event_fd);
    munmap(new->base, new->reserved_bytes);
    ist_release(config->alloc, new);
    return IST_NO_MEMORY;

no_event_fd:
    munmap(new->base, new->reserved_bytes);
no_addresses:
    ist_release(config->alloc, new);
no_memory:
    ist_log_error(config->log, 0, "cannot get %s: %s", what, strerror(errno));
    return IST_NO_MEMORY;
}

void ist_memory_free(struct ist_memory *memory) {
    if (memory == NULL) {
        return;
    }
    pthread_mutex_lock(&memory->lock);
    memory->stop = true;
    pthread_cond_signal(&memory->wake);
    pthread_mutex_unlock(&memory->lock);
    pthread_join(memory->thread, NULL);
    pthread_cond_destroy(&memory->wake);
    pthread_mutex_destroy(&memory->lock);
    close(memory->event_fd);
    munmap(memory->base, memory->reserved_bytes);
    ist_release(memory->config.alloc, memory);
}

uint8_t *ist_memory_base(const struct ist_memory *memory) {
    return memory->base;
}

int ist_memory_fd(const struct ist_memory *memory) {
    return memory->event_fd;
}

uint64_t ist_memory_take(struct ist_memory *memory) {
    uint64_t count;
    (void)!read(memory->event_fd, &count, sizeof(count)); /* EAGAIN: nothing new */
    pthread_mutex_lock(&memory->lock);
    uint64_t bytes = memory->state.ready_bytes - memory->taken_bytes;
    memory->taken_bytes = memory->state.ready_bytes;
    pthread_mutex_unlock(&memory->lock);
    return bytes;
}

void ist_memory_grow(struct ist_memory *memory, uint64_t bytes) {
    bytes = minimum(bytes, memory->config.bytes_max);
    pthread_mutex_lock(&memory->lock);
    if (bytes > memory->state.target_bytes) {
        memory->state.target_bytes = bytes;
        pthread_cond_signal(&memory->wake);
    }
    pthread_mutex_unlock(&memory->lock);
}

void ist_memory_state(struct ist_memory *memory, struct ist_memory_state *state) {
    pthread_mutex_lock(&memory->lock);
    *state = memory->state;
    pthread_mutex_unlock(&memory->lock);
}

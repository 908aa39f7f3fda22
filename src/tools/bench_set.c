#include "tools/bench_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "workload/content.h"

#define PAGE_BYTES 4096u
#define LINE_BYTES 64u
#define HUGE_BYTES (2ull << 20)

static uint64_t round_up(uint64_t bytes, uint64_t to) {
    return (bytes + to - 1) / to * to;
}

/* UINT64_MAX where the kernel does not say. */
static uint64_t available_bytes(void) {
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long kib = 0;
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        found = sscanf(line, "MemAvailable: %llu kB", &kib) == 1;
    }
    if (file != NULL) {
        fclose(file);
    }
    return found ? kib << 10 : UINT64_MAX;
}

uint8_t *ist_bench_region_new(uint64_t bytes) {
    uint64_t length = round_up(bytes, HUGE_BYTES);
    if (length > available_bytes()) {
        return NULL; /* asked for it page by page, the kernel would kill someone rather than refuse */
    }
    uint8_t *region = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(region, length, MADV_HUGEPAGE);
    if (madvise(region, length, MADV_POPULATE_WRITE) != 0) {
        if (errno != EINVAL) {
            munmap(region, length);
            return NULL;
        }
        memset(region, 0, length); /* a kernel before 5.14 */
    }
    return region;
}

void ist_bench_region_free(uint8_t *region, uint64_t bytes) {
    if (region != NULL) {
        munmap(region, round_up(bytes, HUGE_BYTES));
    }
}

enum ist_status ist_bench_memory_init(struct ist_bench_memory *memory, uint64_t bytes) {
    uint8_t *source = ist_bench_region_new(bytes);
    uint8_t *sink = source == NULL ? NULL : ist_bench_region_new(bytes);
    if (sink == NULL) {
        ist_bench_region_free(source, bytes);
        return IST_NO_MEMORY;
    }
    *memory = (struct ist_bench_memory){.source = source, .sink = sink, .bytes = bytes};
    return IST_OK;
}

void ist_bench_memory_fini(struct ist_bench_memory *memory) {
    ist_bench_region_free(memory->source, memory->bytes);
    ist_bench_region_free(memory->sink, memory->bytes);
    *memory = (struct ist_bench_memory){0};
}

/* Whole pages stay whole; smaller values share none of a cache line. */
uint64_t ist_bench_stride(uint64_t value_bytes) {
    return round_up(value_bytes, value_bytes >= PAGE_BYTES ? PAGE_BYTES : LINE_BYTES);
}

/* "bench/0badcafe/4096/00000042", the index as long as the key demands: the difference of two keys is at
 * their end, as far from the front as in the keys of a real cache. */
static void write_keys(struct ist_bench_set *set, uint32_t run) {
    char head[IST_KEY_BYTES_MAX];
    int length =
        snprintf(head, sizeof head, "bench/%08x/%llu/", run, (unsigned long long)set->value_bytes);
    IST_ASSERT(length > 0 && (size_t)length + 8 <= set->key_bytes);
    for (size_t i = 0; i < set->count; i++) {
        char *key = set->keys + i * set->key_bytes;
        memcpy(key, head, (size_t)length);
        size_t rest = i;
        for (size_t at = set->key_bytes; at > (size_t)length; at--) {
            key[at - 1] = (char)('0' + rest % 10);
            rest /= 10;
        }
    }
}

enum ist_status ist_bench_set_init(struct ist_bench_set *set, const struct ist_bench_memory *memory,
                                   uint32_t run, uint64_t value_bytes, size_t key_bytes, size_t count) {
    uint64_t stride = ist_bench_stride(value_bytes);
    IST_ASSERT(count >= 1 && count <= memory->bytes / stride);
    char *keys = calloc(count, key_bytes);
    if (keys == NULL) {
        return IST_NO_MEMORY;
    }
    *set = (struct ist_bench_set){.value_bytes = value_bytes,
                                  .stride = stride,
                                  .key_bytes = key_bytes,
                                  .count = count,
                                  .keys = keys,
                                  .source = memory->source,
                                  .sink = memory->sink,
                                  .version = 1,
                                  .fresh = count};
    write_keys(set, run);
    return IST_OK;
}

void ist_bench_set_fini(struct ist_bench_set *set) {
    free(set->keys);
    set->keys = NULL;
}

struct ist_key ist_bench_set_key(const struct ist_bench_set *set, size_t index) {
    return (struct ist_key){.data = set->keys + index * set->key_bytes, .bytes = set->key_bytes};
}

void *ist_bench_set_source(const struct ist_bench_set *set, size_t index) {
    return set->source + index * set->stride;
}

void *ist_bench_set_sink(const struct ist_bench_set *set, size_t index) {
    return set->sink + index * set->stride;
}

static struct ist_content content_of(const struct ist_bench_set *set, size_t index, uint32_t version) {
    struct ist_key key = ist_bench_set_key(set, index);
    return ist_content_of(ist_span_of(key.data, key.bytes), version);
}

void ist_bench_set_fill(const struct ist_bench_set *set, size_t first, size_t end, uint32_t version) {
    for (size_t i = first; i < end; i++) {
        ist_content_fill(content_of(set, i, version), 0, ist_bench_set_source(set, i),
                         set->value_bytes);
    }
}

uint32_t ist_bench_set_version(const struct ist_bench_set *set, size_t index) {
    return index < set->fresh ? set->version : set->version - 1;
}

uint64_t ist_bench_set_verify(const struct ist_bench_set *set, size_t index) {
    void *value = ist_bench_set_sink(set, index);
    uint64_t right = ist_content_verify(content_of(set, index, ist_bench_set_version(set, index)), 0,
                                        value, set->value_bytes);
    memset(value, 0, set->value_bytes);
    return right;
}

/* The distinct keys and values of one size, and the memory that they are sent from and received into.
 *
 * Key i has version v of its contents, derived from both. Values are laid out by index in two regions, so
 * that a pass over the set touches every byte of it once: `source` for puts, `sink` for gets. A value
 * that was received is checked and then spoiled where it lies: a get that writes nothing, or not all, cannot
 * pass for what an earlier one left. */
#ifndef IST_TOOLS_BENCH_SET_H
#define IST_TOOLS_BENCH_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"

/* Two regions of `bytes` each, every page present, in huge pages where the kernel has them. */
struct ist_bench_memory {
    uint8_t *source, *sink;
    uint64_t bytes;
};

/* Returns OK, NO_MEMORY. bytes: at least 1. */
enum ist_status ist_bench_memory_init(struct ist_bench_memory *memory, uint64_t bytes);
void ist_bench_memory_fini(struct ist_bench_memory *memory);

/* One region alone. NULL: there is not so much memory. */
uint8_t *ist_bench_region_new(uint64_t bytes);
void ist_bench_region_free(uint8_t *region, uint64_t bytes); /* NULL is legal */

struct ist_bench_set {
    uint64_t value_bytes, stride; /* a value's place begins at a multiple of stride */
    size_t key_bytes, count;
    char *keys;
    uint8_t *source, *sink; /* borrowed from the memory */
    /* Keys below `fresh` have `version` on the servers, the others the one before. */
    uint32_t version;
    size_t fresh;
};

/* Bytes between the beginnings of two values. */
uint64_t ist_bench_stride(uint64_t value_bytes);

/* All keys have version 1; its contents are still to be filled in.
 * run  makes the keys of this run unlike those of others.
 * count * stride must fit the memory, which is borrowed.
 * Returns OK, NO_MEMORY. */
enum ist_status ist_bench_set_init(struct ist_bench_set *set, const struct ist_bench_memory *memory,
                                   uint32_t run, uint64_t value_bytes, size_t key_bytes, size_t count);
void ist_bench_set_fini(struct ist_bench_set *set);

struct ist_key ist_bench_set_key(const struct ist_bench_set *set, size_t index);
void *ist_bench_set_source(const struct ist_bench_set *set, size_t index);
void *ist_bench_set_sink(const struct ist_bench_set *set, size_t index);

/* Writes the contents of `version` for keys [first, end) to the source. */
void ist_bench_set_fill(const struct ist_bench_set *set, size_t first, size_t end, uint32_t version);

/* What key `index` must have now. */
uint32_t ist_bench_set_version(const struct ist_bench_set *set, size_t index);

/* Compares what was received for key `index` and spoils it. Returns the index of the first wrong byte,
 * value_bytes when all are right. */
uint64_t ist_bench_set_verify(const struct ist_bench_set *set, size_t index);

#endif

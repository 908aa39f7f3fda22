/* Random numbers that stand for objects and never come again: keys of memory regions, queue pair numbers. The n-th
 * object's number is a permutation of n, so finding it back is an array access. */
#ifndef IST_SIM_HCA_NUMBER_H
#define IST_SIM_HCA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

#define HCA_NUMBER_ROUNDS 4

struct hca_numbers {
    const struct ist_alloc *alloc;
    unsigned half_bits; /* numbers have twice as many */
    uint32_t key[HCA_NUMBER_ROUNDS];
    void **object; /* by serial; NULL: gone */
    size_t used, room;
};

/* bits: even, at most 32. */
void hca_numbers_init(struct hca_numbers *numbers, const struct ist_alloc *alloc, unsigned bits,
                      uint64_t seed);
void hca_numbers_fini(struct hca_numbers *numbers);
/* False: no memory, or no number left. Numbers 0 and 1 and the highest are not given. */
bool hca_numbers_add(struct hca_numbers *numbers, void *object, uint32_t *number);
/* NULL: never given, or removed. */
void *hca_numbers_find(const struct hca_numbers *numbers, uint32_t number);
void hca_numbers_remove(struct hca_numbers *numbers, uint32_t number);
/* The objects in the order they were added: the next at or after *serial, which moves behind it; NULL: no more. */
void *hca_numbers_next(const struct hca_numbers *numbers, size_t *serial);

#endif

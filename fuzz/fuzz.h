/* What the fuzz targets share. A target is a program of its own: built with libFuzzer or AFL++ it searches, built
 * with main.c it replays the files that it is given, under any compiler, and under valgrind. */
#ifndef IST_FUZZ_FUZZ_H
#define IST_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/span.h"

/* What libFuzzer calls; the first is the target's, and the mutator is where a target has one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed);

/* The target's seed corpus, made by real encoders: calls `seed` once for each, always the same ones. */
typedef void (*fuzz_seed_fn)(const char *name, const void *data, size_t bytes);
void fuzz_seeds(fuzz_seed_fn seed);

/* ---- an input as a row of choices ----------------------------------------------------------------------- */

/* Past its end it is all zeros, so that every cut of an input is an input. */
struct fuzz_input {
    const uint8_t *data;
    size_t bytes;
};

static inline struct fuzz_input fuzz_input_of(const uint8_t *data, size_t bytes) {
    return (struct fuzz_input){.data = data, .bytes = bytes};
}

/* The next bytes, fewer when there are no more. */
static inline struct ist_span fuzz_take(struct fuzz_input *input, size_t bytes) {
    size_t taken = bytes < input->bytes ? bytes : input->bytes;
    struct ist_span span = ist_span_of(input->data, taken);
    input->data += taken;
    input->bytes -= taken;
    return span;
}

static inline uint64_t fuzz_number(struct fuzz_input *input, size_t bytes) {
    struct ist_span span = fuzz_take(input, bytes);
    uint64_t number = 0;
    for (size_t i = 0; i < span.bytes; i++) {
        number |= (uint64_t)span.data[i] << (8 * i);
    }
    return number;
}

static inline uint8_t fuzz_u8(struct fuzz_input *input) {
    return (uint8_t)fuzz_number(input, 1);
}

static inline uint16_t fuzz_u16(struct fuzz_input *input) {
    return (uint16_t)fuzz_number(input, 2);
}

/* limit: 1 to 65536 */
static inline uint32_t fuzz_below(struct fuzz_input *input, uint32_t limit) {
    return (limit <= 256 ? fuzz_u8(input) : fuzz_u16(input)) % limit;
}

#endif

/* Inputs that tell a story: some bytes of options, then records, each one event.
 *
 *   kind 1, argument 1, length of the data 2 (little-endian), data
 *
 * A record that is cut off has less data. What kinds there are is the target's matter. */
#ifndef IST_FUZZ_SCRIPT_H
#define IST_FUZZ_SCRIPT_H

#include "fuzz/fuzz.h"

#define SCRIPT_DATA_MAX 65535u

struct script_record {
    uint8_t kind, argument;
    struct ist_span data;
};

/* Of the input behind the options; false: that was all. */
bool script_next(struct fuzz_input *input, struct script_record *record);

/* A story that is being written. */
struct script {
    uint8_t *data;
    size_t bytes, room;
};
void script_free(struct script *script);
void script_bytes(struct script *script, const void *data, size_t bytes);
void script_record(struct script *script, uint8_t kind, uint8_t argument, const void *data,
                   size_t bytes);

/* What the mutator has to know of a target. */
struct script_grammar {
    size_t option_bytes;
    uint8_t kinds;
    /* Appends a record that makes sense, or several. random: choices. */
    void (*invent)(struct script *script, struct fuzz_input *random);
};

/* For LLVMFuzzerCustomMutator(): records are invented, cut in two, moved, repeated, dropped, and their data mutated
 * in place, so that the rest of the story stays what it was. */
size_t script_mutate(const struct script_grammar *grammar, uint8_t *data, size_t bytes,
                     size_t bytes_max, unsigned seed);

#endif

/* Requests of a client, made of choices: whatever the choices are, the frame is a good one. */
#ifndef IST_FUZZ_PHRASE_H
#define IST_FUZZ_PHRASE_H

#include "fuzz/fuzz.h"
#include "fuzz/script.h"

/* choices: operation 1, flags 1, id 1, keys 1, then for each key: which 1, length 2; keys from 250 on: so many
 * that the body is a long one. Appends the whole frame; a PUT's
 * values are behind it, but not when `remote`: then each key has a place in the client's memory. */
void phrase_append(struct script *out, struct fuzz_input *choices, bool remote);

#endif

/* What a value must contain, derived from its key and a version: a writer fills, a reader verifies
 * without having seen the original.
 *
 * The content is an endless sequence of 64-bit words, word i = mix(seed + i * odd constant), with the
 * seed a 64-bit hash of key and version. mix is a bijection, so two sequences agree in a word only where
 * their counters collide: any mixture, shift or stale version shows in the first foreign word. Both
 * directions run near memory bandwidth. */
#ifndef IST_WORKLOAD_CONTENT_H
#define IST_WORKLOAD_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct ist_content {
    uint64_t seed;
};

struct ist_content ist_content_of(struct ist_span key, uint64_t version);

/* Writes bytes [offset, offset + bytes) of the content to buffer. */
void ist_content_fill(struct ist_content content, uint64_t offset, void *buffer, size_t bytes);

/* Compares buffer with bytes [offset, offset + bytes) of the content. Returns the index in buffer of the
 * first wrong byte, or `bytes` when all are right. */
size_t ist_content_verify(struct ist_content content, uint64_t offset, const void *buffer,
                          size_t bytes);

/* The byte at one offset. */
uint8_t ist_content_byte(struct ist_content content, uint64_t offset);

#endif

#include "workload/content.h"

#include <string.h>

#include "base/hash.h"

/* Four vectors of two words: wide enough to hide the adds, and every x86-64 and ARM has 16-byte registers. */
typedef uint64_t words __attribute__((vector_size(16)));
#define VECTORS 4u
#define CHUNK_BYTES (VECTORS * sizeof(words))

#define STEP                                                                                           \
    0x9e3779b97f4a7c15ull /* odd, so that the counter walks all 2^64 values: 2^64 / golden ratio */
#define CHUNK_STEP (STEP * (CHUNK_BYTES / sizeof(uint64_t)))

static uint64_t mix(uint64_t counter) {
    return counter ^ (counter >> 29);
}

static uint64_t word_at(struct ist_content content, uint64_t index) {
    return mix(content.seed + index * STEP);
}

struct chunk {
    words counter[VECTORS];
};

static struct chunk chunk_at(struct ist_content content, uint64_t index) {
    struct chunk chunk;
    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t first = content.seed + (index + 2 * i) * STEP;
        chunk.counter[i] = (words){first, first + STEP};
    }
    return chunk;
}

struct ist_content ist_content_of(struct ist_span key, uint64_t version) {
    return (struct ist_content){
        .seed = ist_hash((struct ist_hash_key){.k0 = version, .k1 = 0x696e66696e697374ull}, key)};
}

uint8_t ist_content_byte(struct ist_content content, uint64_t offset) {
    uint64_t word = word_at(content, offset / sizeof(word));
    return (uint8_t)(word >> (8 * (offset % sizeof(word))));
}

/* How many of `bytes` come before the next word's boundary. */
static size_t head_bytes(uint64_t offset, size_t bytes) {
    size_t head = (size_t)(-offset % sizeof(uint64_t));
    return head < bytes ? head : bytes;
}

void ist_content_fill(struct ist_content content, uint64_t offset, void *buffer, size_t bytes) {
    uint8_t *out = buffer;
    size_t at = 0;
    for (size_t head = head_bytes(offset, bytes); at < head; at++) {
        out[at] = ist_content_byte(content, offset + at);
    }
    struct chunk chunk = chunk_at(content, (offset + at) / sizeof(uint64_t));
    for (; bytes - at >= CHUNK_BYTES; at += CHUNK_BYTES) {
        for (unsigned i = 0; i < VECTORS; i++) {
            words word = chunk.counter[i] ^ (chunk.counter[i] >> 29);
            memcpy(out + at + i * sizeof(word), &word, sizeof(word));
            chunk.counter[i] += CHUNK_STEP;
        }
    }
    for (; bytes - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word = word_at(content, (offset + at) / sizeof(word));
        memcpy(out + at, &word, sizeof(word));
    }
    for (; at < bytes; at++) {
        out[at] = ist_content_byte(content, offset + at);
    }
}

static size_t first_difference(struct ist_content content, uint64_t offset, const uint8_t *in,
                               size_t at, size_t end) {
    while (at < end && in[at] == ist_content_byte(content, offset + at)) {
        at++;
    }
    return at;
}

size_t ist_content_verify(struct ist_content content, uint64_t offset, const void *buffer,
                          size_t bytes) {
    const uint8_t *in = buffer;
    size_t head = head_bytes(offset, bytes);
    size_t at = first_difference(content, offset, in, 0, head);
    if (at < head) {
        return at;
    }
    struct chunk chunk = chunk_at(content, (offset + at) / sizeof(uint64_t));
    for (; bytes - at >= CHUNK_BYTES; at += CHUNK_BYTES) {
        words wrong = {0, 0};
        for (unsigned i = 0; i < VECTORS; i++) {
            words word;
            memcpy(&word, in + at + i * sizeof(word), sizeof(word));
            wrong |= word ^ chunk.counter[i] ^ (chunk.counter[i] >> 29);
            chunk.counter[i] += CHUNK_STEP;
        }
        if ((wrong[0] | wrong[1]) != 0) {
            return first_difference(content, offset, in, at, bytes);
        }
    }
    for (; bytes - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, in + at, sizeof(word));
        if (word != word_at(content, (offset + at) / sizeof(word))) {
            break;
        }
    }
    return first_difference(content, offset, in, at, bytes);
}

/* Borrowed read-only bytes: pointer and length, never one without the other. */
#ifndef IST_BASE_SPAN_H
#define IST_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ist_span {
    const uint8_t *data; /* may be NULL when bytes is 0 */
    size_t bytes;
};

static inline struct ist_span ist_span_of(const void *data, size_t bytes) {
    return (struct ist_span){.data = (const uint8_t *)data, .bytes = bytes};
}

static inline struct ist_span ist_span_of_string(const char *string) {
    return ist_span_of(string, strlen(string));
}

static inline bool ist_span_equal(struct ist_span a, struct ist_span b) {
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

#endif

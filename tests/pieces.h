/* A source that delivers memory in pieces, and may fail behind its end. */
#ifndef IST_TESTS_PIECES_H
#define IST_TESTS_PIECES_H

#include "tests/support.h"
#include "workload/source.h"

struct pieces {
    struct ist_span rest;
    size_t first, later;    /* at most so many bytes the first time, and each further time */
    enum ist_status ending; /* behind the last byte; OK: the end */
    const char *problem;
    size_t reads;
};

static inline enum ist_status pieces_read(void *context, void *buffer, size_t bytes, size_t *got,
                                          const char **problem) {
    struct pieces *pieces = context;
    assert_true(bytes > 0);
    size_t count = pieces->reads++ == 0 ? pieces->first : pieces->later;
    count = count < bytes ? count : bytes;
    count = count < pieces->rest.bytes ? count : pieces->rest.bytes;
    if (pieces->rest.bytes == 0 && pieces->ending != IST_OK) {
        *problem = pieces->problem;
        return pieces->ending;
    }
    if (count > 0) {
        memcpy(buffer, pieces->rest.data, count);
        pieces->rest = ist_span_of(pieces->rest.data + count, pieces->rest.bytes - count);
    }
    *got = count;
    return IST_OK;
}

static inline struct ist_source pieces_source(struct pieces *pieces) {
    return (struct ist_source){.read = pieces_read, .context = pieces};
}

/* All of it, `piece` bytes at a time; 0 means at once. */
static inline struct pieces pieces_of(struct ist_span bytes, size_t piece) {
    size_t most = piece == 0 ? SIZE_MAX : piece;
    return (struct pieces){.rest = bytes, .first = most, .later = most};
}

#endif

#include "client/stage.h"

#include <string.h>

#include "base/assert.h"
#include "wire/frame.h"

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

enum ist_status ist_stage_init(struct ist_stage *stage, const struct ist_alloc *alloc) {
    uint8_t *memory = ist_allocate(alloc, IST_CLIENT_STAGE_BYTES);
    if (memory == NULL) {
        return IST_NO_MEMORY;
    }
    *stage = (struct ist_stage){.alloc = alloc, .memory = memory};
    return IST_OK;
}

void ist_stage_fini(struct ist_stage *stage) {
    ist_release(stage->alloc, stage->body);
    ist_release(stage->alloc, stage->memory);
    *stage = (struct ist_stage){0};
}

void ist_stage_reset(struct ist_stage *stage) {
    ist_release(stage->alloc, stage->body);
    *stage = (struct ist_stage){.alloc = stage->alloc, .memory = stage->memory};
}

struct ist_span ist_stage_bytes(const struct ist_stage *stage) {
    return ist_span_of(stage->memory + stage->begin, stage->end - stage->begin);
}

void ist_stage_consume(struct ist_stage *stage, size_t bytes) {
    IST_ASSERT(bytes <= stage->end - stage->begin);
    stage->begin += bytes;
    if (stage->begin == stage->end) {
        stage->begin = stage->end = 0;
    }
}

enum ist_status ist_stage_body_begin(struct ist_stage *stage, size_t bytes) {
    IST_ASSERT(stage->body_bytes == 0 && stage->body == NULL);
    size_t staged = stage->end - stage->begin;
    if (bytes > IST_CLIENT_STAGE_BYTES) {
        uint8_t *body = ist_allocate(stage->alloc, bytes);
        if (body == NULL) {
            return IST_NO_MEMORY;
        }
        memcpy(body, stage->memory + stage->begin, staged);
        ist_stage_consume(stage, staged);
        stage->body = body;
        stage->body_have = staged;
    }
    stage->body_bytes = bytes;
    return IST_OK;
}

bool ist_stage_body(const struct ist_stage *stage, struct ist_span *body) {
    if (stage->body == NULL) {
        *body = ist_span_of(stage->memory + stage->begin, stage->body_bytes);
        return stage->end - stage->begin >= stage->body_bytes;
    }
    *body = ist_span_of(stage->body, stage->body_bytes);
    return stage->body_have == stage->body_bytes;
}

void ist_stage_body_end(struct ist_stage *stage) {
    if (stage->body == NULL) {
        ist_stage_consume(stage, stage->body_bytes);
    }
    ist_release(stage->alloc, stage->body);
    stage->body = NULL;
    stage->body_bytes = stage->body_have = 0;
}

/* Staged bytes are moved to the front only where the rest of what they begin would not fit behind them. */
static void make_room(struct ist_stage *stage, size_t goal) {
    if (stage->begin + goal > IST_CLIENT_STAGE_BYTES) {
        memmove(stage->memory, stage->memory + stage->begin, stage->end - stage->begin);
        stage->end -= stage->begin;
        stage->begin = 0;
    }
}

size_t ist_stage_recv_buffers(struct ist_stage *stage, size_t limit, struct iovec *buffers,
                              size_t max) {
    size_t used = 0;
    if (stage->body != NULL && stage->body_have < stage->body_bytes && used < max) {
        buffers[used++] = (struct iovec){.iov_base = stage->body + stage->body_have,
                                         .iov_len = stage->body_bytes - stage->body_have};
    }
    if (used < max) {
        size_t goal =
            stage->body == NULL && stage->body_bytes > 0 ? stage->body_bytes : IST_FRAME_BYTES;
        size_t staged = stage->end - stage->begin;
        size_t least = goal > staged ? goal - staged : 1;
        make_room(stage, goal > staged ? goal : staged + 1);
        buffers[used++] = (struct iovec){
            .iov_base = stage->memory + stage->end,
            .iov_len = smaller(limit > least ? limit : least, IST_CLIENT_STAGE_BYTES - stage->end)};
    }
    return used;
}

void ist_stage_received(struct ist_stage *stage, size_t bytes) {
    if (stage->body != NULL) {
        size_t part = smaller(bytes, stage->body_bytes - stage->body_have);
        stage->body_have += part;
        bytes -= part;
    }
    stage->end += bytes;
    IST_ASSERT(stage->end <= IST_CLIENT_STAGE_BYTES);
}

struct iovec ist_stage_waste(struct ist_stage *stage) {
    IST_ASSERT(stage->begin == stage->end);
    return (struct iovec){.iov_base = stage->memory, .iov_len = IST_CLIENT_STAGE_BYTES};
}

void ist_stage_check(const struct ist_stage *stage) {
    IST_ASSERT(stage->begin <= stage->end && stage->end <= IST_CLIENT_STAGE_BYTES);
    IST_ASSERT(stage->begin < stage->end || stage->begin == 0);
    IST_ASSERT(stage->body_have <= stage->body_bytes);
    IST_ASSERT(stage->body == NULL || stage->body_bytes > IST_CLIENT_STAGE_BYTES);
    IST_ASSERT(stage->body != NULL || stage->body_bytes <= IST_CLIENT_STAGE_BYTES);
}

#include "engine/inbox.h"

#include "base/assert.h"

_Static_assert(IST_HELLO_BYTES_MAX <= IST_STAGE_BYTES_MIN, "a HELLO is staged");
_Static_assert(IST_BODY_BYTES_FIRST > IST_STAGE_BYTES_MAX, "what is staged fits a body's buffer");

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

void ist_inbox_init(struct ist_inbox *inbox, const struct ist_alloc *alloc) {
    *inbox = (struct ist_inbox){.alloc = alloc, .wanted_room = IST_STAGE_BYTES_MIN};
}

static void stage_release(struct ist_inbox *inbox) {
    if (inbox->stage != inbox->fallback) {
        ist_release(inbox->alloc, inbox->stage);
    }
    inbox->stage = NULL;
    inbox->room = inbox->begin = inbox->end = 0;
}

void ist_inbox_fini(struct ist_inbox *inbox) {
    stage_release(inbox);
    ist_release(inbox->alloc, inbox->body);
    inbox->body = NULL;
}

/* ---- the stage ------------------------------------------------------------------------------------ */

struct ist_span ist_inbox_staged(const struct ist_inbox *inbox) {
    if (inbox->stage == NULL) {
        return (struct ist_span){0}; /* NULL + 0 is undefined in C */
    }
    return ist_span_of(inbox->stage + inbox->begin, inbox->end - inbox->begin);
}

void ist_inbox_consume(struct ist_inbox *inbox, size_t bytes) {
    IST_ASSERT(bytes <= inbox->end - inbox->begin);
    inbox->begin += (uint32_t)bytes;
}

void ist_inbox_trim(struct ist_inbox *inbox) {
    bool awaits_body = inbox->body == NULL && inbox->body_bytes > 0; /* which this stage has room for */
    if (inbox->stage == NULL || inbox->begin < inbox->end || awaits_body) {
        return;
    }
    inbox->begin = inbox->end = 0;
    if (inbox->room != IST_STAGE_BYTES_MIN || inbox->wanted_room != IST_STAGE_BYTES_MIN) {
        stage_release(inbox);
    }
}

static void stage_prepare(struct ist_inbox *inbox) {
    if (inbox->stage == NULL) {
        inbox->stage = ist_allocate(inbox->alloc, inbox->wanted_room);
        inbox->room = inbox->wanted_room;
        if (inbox->stage == NULL) {
            inbox->stage = inbox->fallback;
            inbox->room = sizeof(inbox->fallback);
        }
    }
    if (inbox->begin > 0) {
        memmove(inbox->stage, inbox->stage + inbox->begin, inbox->end - inbox->begin);
        inbox->end -= inbox->begin;
        inbox->begin = 0;
    }
}

struct ist_buffer ist_inbox_stage_buffer(struct ist_inbox *inbox, uint32_t limit) {
    stage_prepare(inbox);
    uint32_t goal = inbox->body_bytes > 0 && inbox->body == NULL ? inbox->body_bytes : IST_FRAME_BYTES;
    uint32_t least = goal > inbox->end ? goal - inbox->end : 1;
    uint32_t bytes = smaller(limit > least ? limit : least, inbox->room - inbox->end);
    return (struct ist_buffer){
        .kind = IST_BUFFER_MEMORY, .memory = inbox->stage + inbox->end, .bytes = bytes};
}

void ist_inbox_stage_received(struct ist_inbox *inbox, uint32_t bytes) {
    inbox->end += bytes;
    IST_ASSERT(inbox->end <= inbox->room);
    if (inbox->end == inbox->room && inbox->stage != inbox->fallback) {
        inbox->wanted_room = smaller(inbox->room * 2, IST_STAGE_BYTES_MAX);
    } else if (inbox->end < inbox->wanted_room / 4 && inbox->wanted_room > IST_STAGE_BYTES_MIN) {
        inbox->wanted_room /= 2;
    }
}

/* ---- the body ------------------------------------------------------------------------------------- */

enum ist_status ist_inbox_body_begin(struct ist_inbox *inbox, uint32_t bytes) {
    IST_ASSERT(inbox->body_bytes == 0 && inbox->body == NULL);
    if (bytes <= inbox->room) {
        inbox->body_bytes = bytes;
        return IST_OK;
    }
    uint32_t room = smaller(bytes, IST_BODY_BYTES_FIRST);
    uint8_t *body = ist_allocate(inbox->alloc, room);
    if (body == NULL) {
        return IST_NO_MEMORY;
    }
    uint32_t staged = inbox->end - inbox->begin;
    memcpy(body, inbox->stage + inbox->begin, staged);
    inbox->begin = inbox->end;
    inbox->body = body;
    inbox->body_room = room;
    inbox->body_have = staged;
    inbox->body_bytes = bytes;
    return IST_OK;
}

bool ist_inbox_body(const struct ist_inbox *inbox, struct ist_span *body) {
    if (inbox->body == NULL) {
        *body = ist_span_of(inbox->stage + inbox->begin, inbox->body_bytes);
        return inbox->end - inbox->begin >= inbox->body_bytes;
    }
    *body = ist_span_of(inbox->body, inbox->body_bytes);
    return inbox->body_have == inbox->body_bytes;
}

enum ist_status ist_inbox_body_grow(struct ist_inbox *inbox) {
    if (inbox->body == NULL || inbox->body_have < inbox->body_room) {
        return IST_OK;
    }
    uint32_t room = smaller(inbox->body_room * 2, inbox->body_bytes);
    uint8_t *body = ist_resize_array(inbox->alloc, inbox->body, room, 1);
    if (body == NULL) {
        return IST_NO_MEMORY;
    }
    inbox->body = body;
    inbox->body_room = room;
    return IST_OK;
}

uint8_t *ist_inbox_body_take(struct ist_inbox *inbox) {
    uint8_t *body = inbox->body;
    if (body != NULL) {
        IST_ASSERT(inbox->body_have == inbox->body_bytes);
        inbox->body = NULL;
        inbox->body_bytes = inbox->body_have = inbox->body_room = 0;
    }
    return body;
}

uint32_t ist_inbox_body_end(struct ist_inbox *inbox) {
    uint32_t missing = inbox->body_bytes - inbox->body_have;
    if (inbox->body == NULL) {
        uint32_t staged = smaller(inbox->end - inbox->begin, inbox->body_bytes);
        inbox->begin += staged;
        missing = inbox->body_bytes - staged;
    }
    ist_release(inbox->alloc, inbox->body);
    inbox->body = NULL;
    inbox->body_bytes = inbox->body_have = inbox->body_room = 0;
    return missing;
}

uint32_t ist_inbox_body_free(const struct ist_inbox *inbox) {
    return inbox->body == NULL ? 0 : inbox->body_room - inbox->body_have;
}

struct ist_buffer ist_inbox_body_buffer(const struct ist_inbox *inbox) {
    return (struct ist_buffer){.kind = IST_BUFFER_MEMORY,
                               .memory = inbox->body + inbox->body_have,
                               .bytes = ist_inbox_body_free(inbox)};
}

void ist_inbox_body_received(struct ist_inbox *inbox, uint32_t bytes) {
    IST_ASSERT(bytes <= ist_inbox_body_free(inbox));
    inbox->body_have += bytes;
}

void ist_inbox_check(const struct ist_inbox *inbox) {
    IST_ASSERT(inbox->begin <= inbox->end && inbox->end <= inbox->room);
    IST_ASSERT(inbox->stage != NULL || inbox->room == 0);
    IST_ASSERT(inbox->room <= IST_STAGE_BYTES_MAX);
    IST_ASSERT(inbox->body_have <= inbox->body_room && inbox->body_room <= inbox->body_bytes);
    IST_ASSERT((inbox->body == NULL) == (inbox->body_room == 0));
    IST_ASSERT(inbox->body != NULL || inbox->body_bytes <= inbox->room);
    IST_ASSERT(inbox->wanted_room >= IST_STAGE_BYTES_MIN && inbox->wanted_room <= IST_STAGE_BYTES_MAX);
}

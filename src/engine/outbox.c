#include "engine/outbox.h"

#include "base/assert.h"
#include "store/store.h"

/* The first chunk is small, since mostly one reply waits; more of them come when a client pipelines. */
#define CHUNK_BYTES_FIRST 512u
#define CHUNK_BYTES_MORE 8192u
/* What may go before a bulk frame that waits: else a client that never stops to ask for short replies would keep
 * the blocks of a GET for ever. */
#define OVERTAKEN_BYTES_MAX (1u << 20)

/* Where a frame ends in its chunk. Marks stand at the chunk's end and grow towards the bytes. */
struct mark {
    uint64_t begin_ns;
    uint32_t end;
    enum ist_operation operation;
};

struct ist_outbox_chunk {
    struct ist_outbox_chunk *next;
    uint32_t room, begin, end; /* bytes [begin, end) wait */
    uint32_t marks, marks_done;
    _Alignas(struct mark) uint8_t bytes[];
};

struct ist_outbox_bulk {
    struct ist_outbox_bulk *next;
    struct ist_get *get; /* owned */
    uint64_t begin_ns;
    uint64_t sent, total; /* bytes of the frame */
    uint64_t value_sent;  /* bytes of get's first pinned value */
    enum ist_operation operation;
    uint32_t head_bytes;
    uint8_t head[];
};

static struct mark *mark_at(const struct ist_outbox_chunk *chunk, uint32_t index) {
    return (struct mark *)(uintptr_t)(chunk->bytes + chunk->room) - 1 - index;
}

static bool bulk_is_begun(const struct ist_outbox *outbox) {
    return outbox->first_bulk != NULL && outbox->first_bulk->sent > 0;
}

static uint64_t pins_bytes(const struct ist_get *get) {
    return get->count * sizeof(struct ist_entry *);
}

void ist_outbox_init(struct ist_outbox *outbox, const struct ist_alloc *alloc) {
    *outbox = (struct ist_outbox){.alloc = alloc};
}

static void chunk_drop(struct ist_outbox *outbox) {
    struct ist_outbox_chunk *chunk = outbox->first_chunk;
    outbox->first_chunk = chunk->next;
    if (chunk->next == NULL) {
        outbox->last_chunk = NULL;
    }
    ist_release(outbox->alloc, chunk);
}

static void bulk_drop(struct ist_outbox *outbox) {
    struct ist_outbox_bulk *bulk = outbox->first_bulk;
    outbox->first_bulk = bulk->next;
    if (bulk->next == NULL) {
        outbox->last_bulk = NULL;
    }
    outbox->queued_bytes -= pins_bytes(bulk->get);
    ist_get_free(bulk->get);
    ist_release(outbox->alloc, bulk);
}

void ist_outbox_fini(struct ist_outbox *outbox) {
    while (outbox->first_chunk != NULL) {
        chunk_drop(outbox);
    }
    while (outbox->first_bulk != NULL) {
        bulk_drop(outbox);
    }
}

bool ist_outbox_is_empty(const struct ist_outbox *outbox) {
    return outbox->short_bytes == 0 && outbox->first_bulk == NULL;
}

/* ---- in --------------------------------------------------------------------------------------------- */

static struct ist_outbox_chunk *chunk_new(const struct ist_outbox *outbox, size_t bytes, size_t room) {
    size_t least = (bytes + 2 * sizeof(struct mark) - 1) / sizeof(struct mark) * sizeof(struct mark);
    room = room < least ? least : room;
    struct ist_outbox_chunk *chunk = ist_allocate(outbox->alloc, sizeof(*chunk) + room);
    if (chunk != NULL) {
        chunk->next = NULL;
        chunk->room = (uint32_t)room;
        chunk->begin = chunk->end = 0;
        chunk->marks = chunk->marks_done = 0;
    }
    return chunk;
}

static void chunk_append(struct ist_outbox *outbox, struct ist_outbox_chunk *chunk) {
    if (outbox->last_chunk == NULL) {
        outbox->first_chunk = chunk;
    } else {
        outbox->last_chunk->next = chunk;
    }
    outbox->last_chunk = chunk;
}

uint8_t *ist_outbox_reserve(struct ist_outbox *outbox, size_t bytes) {
    struct ist_outbox_chunk *last = outbox->last_chunk;
    if (last != NULL && last->end + bytes + (last->marks + 1) * sizeof(struct mark) <= last->room) {
        return last->bytes + last->end;
    }
    struct ist_outbox_chunk *chunk =
        chunk_new(outbox, bytes, last == NULL ? CHUNK_BYTES_FIRST : CHUNK_BYTES_MORE);
    if (chunk == NULL) {
        return NULL;
    }
    chunk_append(outbox, chunk);
    return chunk->bytes;
}

void ist_outbox_commit(struct ist_outbox *outbox, size_t bytes, enum ist_operation operation,
                       uint64_t begin_ns) {
    struct ist_outbox_chunk *chunk = outbox->last_chunk;
    IST_ASSERT(chunk->end + bytes + (chunk->marks + 1) * sizeof(struct mark) <= chunk->room);
    chunk->end += (uint32_t)bytes;
    *mark_at(chunk, chunk->marks++) =
        (struct mark){.begin_ns = begin_ns, .end = chunk->end, .operation = operation};
    outbox->short_bytes += bytes;
    outbox->queued_bytes += bytes;
}

struct ist_outbox_chunk *ist_outbox_prepare(const struct ist_outbox *outbox, size_t bytes) {
    return chunk_new(outbox, bytes, 0);
}

uint8_t *ist_outbox_prepared(struct ist_outbox_chunk *chunk) {
    return chunk->bytes;
}

void ist_outbox_queue(struct ist_outbox *outbox, struct ist_outbox_chunk *chunk, size_t bytes,
                      enum ist_operation operation, uint64_t begin_ns) {
    chunk_append(outbox, chunk);
    ist_outbox_commit(outbox, bytes, operation, begin_ns);
}

uint8_t *ist_outbox_push(struct ist_outbox *outbox, size_t head_bytes, struct ist_get *get,
                         enum ist_operation operation, uint64_t begin_ns) {
    struct ist_outbox_bulk *bulk = ist_allocate(outbox->alloc, sizeof(*bulk) + head_bytes);
    if (bulk == NULL) {
        return NULL;
    }
    *bulk = (struct ist_outbox_bulk){
        .get = get,
        .begin_ns = begin_ns,
        .total = head_bytes + get->payload_bytes,
        .operation = operation,
        .head_bytes = (uint32_t)head_bytes,
    };
    if (outbox->last_bulk == NULL) {
        outbox->first_bulk = bulk;
    } else {
        outbox->last_bulk->next = bulk;
    }
    outbox->last_bulk = bulk;
    outbox->queued_bytes += bulk->total + pins_bytes(get);
    return bulk->head;
}

/* ---- out -------------------------------------------------------------------------------------------- */

static size_t name_chunks(struct ist_outbox *outbox, struct ist_buffer *buffers, size_t max) {
    size_t n = 0;
    outbox->short_named = 0;
    for (struct ist_outbox_chunk *chunk = outbox->first_chunk; chunk != NULL && n < max;
         chunk = chunk->next) {
        uint32_t bytes = chunk->end - chunk->begin;
        if (bytes > 0) {
            buffers[n++] = (struct ist_buffer){
                .kind = IST_BUFFER_MEMORY, .memory = chunk->bytes + chunk->begin, .bytes = bytes};
            outbox->short_named += bytes;
        }
    }
    return n;
}

/* Only the rest of a short frame that has begun. */
static size_t name_half_sent(struct ist_outbox *outbox, struct ist_buffer *buffers, size_t max) {
    struct ist_outbox_chunk *chunk = outbox->first_chunk;
    if (chunk == NULL || max == 0) {
        return 0;
    }
    uint32_t frame = chunk->marks_done == 0 ? 0 : mark_at(chunk, chunk->marks_done - 1)->end;
    if (chunk->begin == frame) {
        return 0;
    }
    uint32_t bytes = mark_at(chunk, chunk->marks_done)->end - chunk->begin;
    buffers[0] = (struct ist_buffer){
        .kind = IST_BUFFER_MEMORY, .memory = chunk->bytes + chunk->begin, .bytes = bytes};
    outbox->short_named = bytes;
    return 1;
}

static size_t name_bulk(struct ist_outbox_bulk *bulk, struct ist_buffer *buffers, size_t max) {
    size_t n = 0;
    if (bulk->sent < bulk->head_bytes && n < max) {
        buffers[n++] = (struct ist_buffer){.kind = IST_BUFFER_MEMORY,
                                           .memory = bulk->head + bulk->sent,
                                           .bytes = bulk->head_bytes - bulk->sent};
    }
    uint64_t skip = bulk->value_sent;
    for (size_t i = bulk->get->released; i < bulk->get->count && n < max; i++) {
        const struct ist_entry *entry = bulk->get->entries[i];
        buffers[n++] = (struct ist_buffer){.kind = IST_BUFFER_POOL,
                                           .offset = ist_entry_offset(entry) + skip,
                                           .bytes = ist_entry_value_bytes(entry) - skip};
        skip = 0;
    }
    return n;
}

size_t ist_outbox_name(struct ist_outbox *outbox, struct ist_buffer *buffers, size_t max) {
    size_t n = 0;
    struct ist_outbox_bulk *bulk = outbox->first_bulk;
    outbox->short_named = 0;
    if (bulk_is_begun(outbox)) {
        n += name_bulk(bulk, buffers, max);
        bulk = bulk->next;
    }
    if (bulk != NULL && outbox->overtaken_bytes >= OVERTAKEN_BYTES_MAX) {
        n += name_half_sent(outbox, buffers + n, max - n);
    } else {
        n += name_chunks(outbox, buffers + n, max - n);
    }
    for (; bulk != NULL && n < max; bulk = bulk->next) {
        n += name_bulk(bulk, buffers + n, max - n);
    }
    return n;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Up to the end of the first short frame. */
static bool chunk_sent(struct ist_outbox *outbox, uint64_t *bytes, struct ist_outbox_done *done) {
    struct ist_outbox_chunk *chunk = outbox->first_chunk;
    const struct mark mark = *mark_at(chunk, chunk->marks_done);
    uint32_t part = (uint32_t)smaller(*bytes, mark.end - chunk->begin);
    chunk->begin += part;
    *bytes -= part;
    outbox->short_bytes -= part;
    outbox->short_named -= part;
    outbox->queued_bytes -= part;
    outbox->overtaken_bytes += outbox->first_bulk != NULL ? part : 0;
    if (chunk->begin < mark.end) {
        return false;
    }
    *done = (struct ist_outbox_done){.operation = mark.operation, .begin_ns = mark.begin_ns};
    if (++chunk->marks_done == chunk->marks) {
        chunk_drop(outbox);
    }
    return true;
}

static bool bulk_sent(struct ist_outbox *outbox, uint64_t *bytes, struct ist_outbox_done *done) {
    struct ist_outbox_bulk *bulk = outbox->first_bulk;
    struct ist_get *get = bulk->get;
    uint64_t part = smaller(*bytes, bulk->total - bulk->sent);
    *bytes -= part;
    outbox->queued_bytes -= part;
    uint64_t head_left = bulk->head_bytes - smaller(bulk->head_bytes, bulk->sent);
    outbox->overtaken_bytes = 0;
    bulk->sent += part;
    part -= smaller(part, head_left);
    while (part > 0) {
        uint64_t left = ist_entry_value_bytes(get->entries[get->released]) - bulk->value_sent;
        if (part < left) {
            bulk->value_sent += part;
            break;
        }
        part -= left;
        bulk->value_sent = 0;
        ist_get_release(get);
    }
    if (bulk->sent < bulk->total) {
        return false;
    }
    *done = (struct ist_outbox_done){.operation = bulk->operation, .begin_ns = bulk->begin_ns};
    bulk_drop(outbox);
    return true;
}

bool ist_outbox_sent(struct ist_outbox *outbox, uint64_t *bytes, struct ist_outbox_done *done) {
    if (*bytes == 0) {
        return false;
    }
    if (bulk_is_begun(outbox) || outbox->short_named == 0) {
        return bulk_sent(outbox, bytes, done);
    }
    return chunk_sent(outbox, bytes, done);
}

uint64_t ist_outbox_unit_sent(const struct ist_outbox *outbox) {
    if (bulk_is_begun(outbox) || outbox->short_bytes == 0) {
        return outbox->first_bulk->sent;
    }
    return outbox->first_chunk->begin;
}

size_t ist_outbox_check(const struct ist_outbox *outbox) {
    size_t frames = 0;
    uint64_t short_bytes = 0, queued = 0;
    for (const struct ist_outbox_chunk *chunk = outbox->first_chunk; chunk != NULL;
         chunk = chunk->next) {
        IST_ASSERT(chunk->begin <= chunk->end && chunk->marks_done <= chunk->marks);
        IST_ASSERT(chunk->end + chunk->marks * sizeof(struct mark) <= chunk->room);
        IST_ASSERT(chunk->marks == 0 || mark_at(chunk, chunk->marks - 1)->end == chunk->end);
        IST_ASSERT(chunk->next != NULL || chunk == outbox->last_chunk);
        short_bytes += chunk->end - chunk->begin;
        frames += chunk->marks - chunk->marks_done;
    }
    for (const struct ist_outbox_bulk *bulk = outbox->first_bulk; bulk != NULL; bulk = bulk->next) {
        IST_ASSERT(bulk == outbox->first_bulk || bulk->sent == 0);
        IST_ASSERT(bulk->sent < bulk->total && bulk->get->released < bulk->get->count);
        IST_ASSERT(bulk->next != NULL || bulk == outbox->last_bulk);
        queued += bulk->total - bulk->sent + pins_bytes(bulk->get);
        frames++;
    }
    IST_ASSERT(short_bytes == outbox->short_bytes && outbox->short_named <= short_bytes);
    IST_ASSERT(queued + short_bytes == outbox->queued_bytes);
    return frames;
}

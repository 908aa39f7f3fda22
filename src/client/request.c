#include "client/request.h"

#include <string.h>

#include "base/assert.h"
#include "wire/codec.h"

/* Keys are encoded in pieces, so that their views fit the stack: repeated fields may come in pieces. */
#define PIECE_KEYS 128u
/* ---- what is asked ------------------------------------------------------------------------------------- */

/* The keys of a request, whatever array they come in. */
struct source {
    const struct ist_key *keys;
    const struct ist_put_item *puts;
    const struct ist_get_item *gets;
    size_t count;
    uint64_t put_bytes_max; /* longer values are left out: their length is 0 */
};

static const struct ist_key *key_at(const struct source *source, size_t i) {
    return source->keys != NULL   ? &source->keys[i]
           : source->puts != NULL ? &source->puts[i].key
                                  : &source->gets[i].key;
}

static bool has_lengths(const struct source *source) {
    return source->keys == NULL;
}

static uint64_t length_at(const struct source *source, size_t i) {
    if (source->puts == NULL) {
        return source->gets[i].buffer_bytes;
    }
    uint64_t bytes = source->puts[i].value_bytes;
    return bytes <= source->put_bytes_max ? bytes : 0;
}

struct piece {
    struct ist_span keys[PIECE_KEYS];
    uint64_t lengths[PIECE_KEYS];
    size_t count;
};

static void gather(const struct source *source, size_t first, struct piece *piece) {
    size_t left = source->count - first;
    piece->count = left < PIECE_KEYS ? left : PIECE_KEYS;
    for (size_t i = 0; i < piece->count; i++) {
        const struct ist_key *key = key_at(source, first + i);
        piece->keys[i] = ist_span_of(key->data, key->bytes);
        if (has_lengths(source)) {
            piece->lengths[i] = length_at(source, first + i);
        }
    }
}

static bool key_is_valid(const struct ist_key *key) {
    return key->bytes >= 1 && key->bytes <= IST_KEY_BYTES_MAX && key->data != NULL;
}

static bool item_is_valid(const struct source *source, size_t i) {
    if (source->puts != NULL) {
        return source->puts[i].value_bytes > 0 && source->puts[i].value != NULL;
    }
    return source->gets == NULL || source->gets[i].buffer_bytes == 0 || source->gets[i].buffer != NULL;
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

struct measures {
    size_t body_bytes; /* encoded */
    size_t longest_key;
    uint64_t longest, total; /* of the lengths */
};

/* False: something is outside its limits. */
static bool measure(const struct source *source, struct measures *measures) {
    if (source->count < 1 || source->count > IST_KEYS_PER_REQUEST_MAX) {
        return false;
    }
    *measures = (struct measures){0};
    for (size_t first = 0; first < source->count; first += PIECE_KEYS) {
        struct piece piece;
        size_t left = source->count - first;
        for (size_t i = first; i < first + (left < PIECE_KEYS ? left : PIECE_KEYS); i++) {
            const struct ist_key *key = key_at(source, i);
            if (!key_is_valid(key) || !item_is_valid(source, i)) {
                return false;
            }
            measures->longest_key = larger(key->bytes, measures->longest_key);
        }
        gather(source, first, &piece);
        for (size_t i = 0; has_lengths(source) && i < piece.count; i++) {
            if (piece.lengths[i] > UINT64_MAX - measures->total) {
                return false;
            }
            measures->total += piece.lengths[i];
            measures->longest = larger(piece.lengths[i], measures->longest);
        }
        measures->body_bytes +=
            ist_codec_keys_bytes(piece.keys, has_lengths(source) ? piece.lengths : NULL, piece.count);
    }
    return true;
}

static void encode(const struct source *source, uint8_t *out, size_t out_bytes) {
    size_t at = 0;
    for (size_t first = 0; first < source->count; first += PIECE_KEYS) {
        struct piece piece;
        size_t written = 0;
        gather(source, first, &piece);
        enum ist_status status =
            ist_codec_encode_keys(piece.keys, has_lengths(source) ? piece.lengths : NULL, piece.count,
                                  out + at, out_bytes - at, &written);
        IST_ASSERT(status == IST_OK);
        at += written;
    }
    IST_ASSERT(at == out_bytes);
}

/* ---- making one ---------------------------------------------------------------------------------------- */

/* A request with room for `lengths` lengths and a body, whose header but for the id is written. */
static struct ist_request *allocate(const struct ist_alloc *alloc, enum ist_operation operation,
                                    size_t lengths, size_t body_bytes, uint16_t flags,
                                    uint64_t payload_bytes) {
    const size_t lengths_bytes = lengths * sizeof(uint64_t);
    uint8_t *memory =
        ist_allocate(alloc, sizeof(struct ist_request) + lengths_bytes + IST_FRAME_BYTES + body_bytes);
    if (memory == NULL) {
        return NULL;
    }
    struct ist_request *new = (struct ist_request *)memory;
    *new = (struct ist_request){
        .alloc = alloc,
        .operation = operation,
        .lengths = (uint64_t *)(memory + sizeof(*new)),
        .head = memory + sizeof(*new) + lengths_bytes,
        .head_bytes = IST_FRAME_BYTES + body_bytes,
    };
    const struct ist_frame frame = {
        .operation = operation,
        .flags = flags,
        .body_bytes = (uint32_t)body_bytes,
        .payload_bytes = payload_bytes,
    };
    ist_frame_encode(&frame, new->head);
    return new;
}

static enum ist_status new_keys(const struct ist_alloc *alloc, enum ist_operation operation,
                                const struct source *source, uint16_t flags,
                                struct ist_request **request) {
    struct measures measures;
    if (!measure(source, &measures) || measures.body_bytes > IST_BODY_BYTES_MAX) {
        return IST_INVALID;
    }
    bool is_get = operation == IST_OP_GET;
    struct ist_request *new =
        allocate(alloc, operation, is_get ? source->count : 0, measures.body_bytes, flags,
                 operation == IST_OP_PUT ? measures.total : 0);
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    encode(source, new->head + IST_FRAME_BYTES, measures.body_bytes);
    new->count = source->count;
    new->longest_key = measures.longest_key;
    new->longest_value = measures.longest;
    new->value_bytes_max = UINT64_MAX;
    new->payload_bytes = measures.total;
    *request = new;
    return IST_OK;
}

static enum ist_status new_plain(const struct ist_alloc *alloc, enum ist_operation operation,
                                 struct ist_request **request) {
    struct ist_request *new = allocate(alloc, operation, 0, 0, 0, 0);
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *request = new;
    return IST_OK;
}

enum ist_status ist_request_new_put(const struct ist_alloc *alloc, struct ist_put_item *items,
                                    size_t count, unsigned flags, struct ist_request **request) {
    const struct source source = {.puts = items, .count = count, .put_bytes_max = UINT64_MAX};
    if (items == NULL || (flags & ~(unsigned)IST_IF_ABSENT) != 0) {
        return IST_INVALID;
    }
    uint16_t frame_flags = (flags & IST_IF_ABSENT) != 0 ? IST_FRAME_IF_ABSENT : 0;
    enum ist_status status = new_keys(alloc, IST_OP_PUT, &source, frame_flags, request);
    if (status == IST_OK) {
        (*request)->to.puts = items;
    }
    return status;
}

enum ist_status ist_request_new_get(const struct ist_alloc *alloc, struct ist_get_item *items,
                                    size_t count, struct ist_request **request) {
    const struct source source = {.gets = items, .count = count};
    if (items == NULL) {
        return IST_INVALID;
    }
    enum ist_status status = new_keys(alloc, IST_OP_GET, &source, 0, request);
    if (status == IST_OK) {
        (*request)->to.gets = items;
    }
    return status;
}

enum ist_status ist_request_new_exists(const struct ist_alloc *alloc, const struct ist_key *keys,
                                       size_t count, bool *present, struct ist_request **request) {
    const struct source source = {.keys = keys, .count = count};
    if (keys == NULL || present == NULL) {
        return IST_INVALID;
    }
    enum ist_status status = new_keys(alloc, IST_OP_EXISTS, &source, 0, request);
    if (status == IST_OK) {
        (*request)->to.present = present;
    }
    return status;
}

enum ist_status ist_request_new_number(const struct ist_alloc *alloc, enum ist_operation operation,
                                       const struct ist_key *keys, size_t count, size_t *number,
                                       struct ist_request **request) {
    IST_ASSERT(operation == IST_OP_MATCH_PREFIX || operation == IST_OP_REMOVE);
    const struct source source = {.keys = keys, .count = count};
    if (keys == NULL || number == NULL) {
        return IST_INVALID;
    }
    enum ist_status status = new_keys(alloc, operation, &source, 0, request);
    if (status == IST_OK) {
        (*request)->to.number = number;
    }
    return status;
}

enum ist_status ist_request_new_match_last(const struct ist_alloc *alloc, const struct ist_key *keys,
                                           size_t count, int64_t *index, struct ist_request **request) {
    const struct source source = {.keys = keys, .count = count};
    if (keys == NULL || index == NULL) {
        return IST_INVALID;
    }
    enum ist_status status = new_keys(alloc, IST_OP_MATCH_LAST, &source, 0, request);
    if (status == IST_OK) {
        (*request)->to.index = index;
    }
    return status;
}

enum ist_status ist_request_new_purge(const struct ist_alloc *alloc, uint64_t *purged,
                                      struct ist_request **request) {
    if (purged == NULL) {
        return IST_INVALID;
    }
    enum ist_status status = new_plain(alloc, IST_OP_PURGE, request);
    if (status == IST_OK) {
        (*request)->to.purged = purged;
    }
    return status;
}

enum ist_status ist_request_new_stat(const struct ist_alloc *alloc, struct ist_metrics **metrics,
                                     struct ist_request **request) {
    if (metrics == NULL) {
        return IST_INVALID;
    }
    enum ist_status status = new_plain(alloc, IST_OP_STAT, request);
    if (status == IST_OK) {
        (*request)->to.metrics = metrics;
    }
    return status;
}

enum ist_status ist_request_new_ping(const struct ist_alloc *alloc, struct ist_request **request) {
    return new_plain(alloc, IST_OP_PING, request);
}

void ist_request_free(struct ist_request *request) {
    if (request != NULL) {
        ist_release(request->alloc, request->remote_head);
        ist_release(request->alloc, request);
    }
}

void ist_request_seal(struct ist_request *request, uint64_t id) {
    IST_ASSERT(!ist_request_has_begun(request));
    struct ist_frame frame;
    enum ist_status status = ist_frame_decode(ist_span_of(request->head, IST_FRAME_BYTES), &frame);
    IST_ASSERT(status == IST_OK);
    frame.request_id = id;
    ist_frame_encode(&frame, request->head);
}

/* ---- sending it ---------------------------------------------------------------------------------------- */

bool ist_request_has_begun(const struct ist_request *request) {
    return request->head_sent > 0;
}

static bool has_payload(const struct ist_request *request) {
    return request->operation == IST_OP_PUT && !request->is_remote;
}

bool ist_request_is_too_big(const struct ist_request *request, size_t item) {
    return request->to.puts[item].value_bytes > request->value_bytes_max;
}

static void skip_too_big(struct ist_request *request) {
    while (request->item < request->count && ist_request_is_too_big(request, request->item)) {
        request->item++;
    }
}

/* A length of 0 is what a server refuses, without a byte of payload: PROTOCOL.md, PUT. What is written becomes no longer by
 * it, so that the old place does. */
void ist_request_limit_values(struct ist_request *request, uint64_t bytes) {
    IST_ASSERT(!ist_request_has_begun(request) && !request->is_remote);
    if (request->operation != IST_OP_PUT || bytes == 0 || request->longest_value <= bytes) {
        return;
    }
    const struct source source = {
        .puts = request->to.puts, .count = request->count, .put_bytes_max = bytes};
    struct measures measures;
    bool is_valid = measure(&source, &measures);
    IST_ASSERT(is_valid && IST_FRAME_BYTES + measures.body_bytes <= request->head_bytes);
    struct ist_frame frame;
    enum ist_status status = ist_frame_decode(ist_span_of(request->head, IST_FRAME_BYTES), &frame);
    IST_ASSERT(status == IST_OK);
    frame.body_bytes = (uint32_t)measures.body_bytes;
    frame.payload_bytes = measures.total;
    ist_frame_encode(&frame, request->head);
    encode(&source, request->head + IST_FRAME_BYTES, measures.body_bytes);
    request->head_bytes = IST_FRAME_BYTES + measures.body_bytes;
    request->payload_bytes = measures.total;
    request->value_bytes_max = bytes;
    for (size_t i = 0; i < request->count; i++) {
        request->to.puts[i].status = ist_request_is_too_big(request, i) ? IST_TOO_BIG : IST_OK;
    }
    skip_too_big(request);
}

size_t ist_request_send_buffers(const struct ist_request *request, struct iovec *buffers, size_t max) {
    size_t used = 0;
    if (request->head_sent < request->head_bytes && used < max) {
        buffers[used++] = (struct iovec){.iov_base = request->head + request->head_sent,
                                         .iov_len = request->head_bytes - request->head_sent};
    }
    if (!has_payload(request)) {
        return used;
    }
    uint64_t done = request->item_done;
    for (size_t i = request->item; i < request->count && used < max; i++) {
        const struct ist_put_item *item = &request->to.puts[i];
        if (!ist_request_is_too_big(request, i)) {
            buffers[used++] = (struct iovec){.iov_base = (uint8_t *)(uintptr_t)item->value + done,
                                             .iov_len = item->value_bytes - done};
            done = 0;
        }
    }
    return used;
}

bool ist_request_sent(struct ist_request *request, uint64_t *bytes) {
    request->head_sent += (size_t)ist_request_take(bytes, request->head_bytes - request->head_sent);
    if (!has_payload(request)) {
        return request->head_sent == request->head_bytes;
    }
    while (request->item<request->count && * bytes> 0) {
        uint64_t value_bytes = request->to.puts[request->item].value_bytes;
        request->item_done += ist_request_take(bytes, value_bytes - request->item_done);
        if (request->item_done == value_bytes) {
            request->item++;
            request->item_done = 0;
            skip_too_big(request);
        }
    }
    return request->item == request->count;
}

/* ---- its end ------------------------------------------------------------------------------------------ */

void ist_request_abort(struct ist_request *request, enum ist_status status) {
    request->status = status;
    for (size_t i = 0; request->operation == IST_OP_PUT && i < request->count; i++) {
        request->to.puts[i].status = status;
    }
    for (size_t i = 0; request->operation == IST_OP_GET && i < request->count; i++) {
        request->to.gets[i].status = status;
        request->to.gets[i].value_bytes = 0;
    }
}

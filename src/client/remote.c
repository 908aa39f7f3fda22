/* Requests over RDMA: where each value lies, instead of the values. */
#include "base/assert.h"
#include "client/regions.h"
#include "client/request.h"
#include "wire/codec.h"

#define PIECE_KEYS 128u /* as in request.c */

/* What a PUT or GET says of an item. */
struct place {
    const struct ist_key *key;
    uint64_t address, bytes;
};

static struct place place_at(const struct ist_request *request, size_t i) {
    if (request->operation == IST_OP_PUT) {
        const struct ist_put_item *put = &request->to.puts[i];
        return (struct place){&put->key, (uintptr_t)put->value, put->value_bytes};
    }
    const struct ist_get_item *get = &request->to.gets[i];
    return (struct place){&get->key, (uintptr_t)get->buffer, get->buffer_bytes};
}

static enum ist_status *status_at(const struct ist_request *request, size_t i) {
    return request->operation == IST_OP_PUT ? &request->to.puts[i].status : &request->to.gets[i].status;
}

static bool moves_values(const struct ist_request *request) {
    return request->operation == IST_OP_PUT || request->operation == IST_OP_GET;
}

bool ist_request_is_exposed(const struct ist_request *request) {
    return request->is_remote && ist_request_has_begun(request);
}

bool ist_request_names(const struct ist_request *request, uint64_t address, uint64_t bytes) {
    for (size_t i = 0; moves_values(request) && i < request->count; i++) {
        struct place place = place_at(request, i);
        if (place.bytes > 0 && (place.address < address ? address - place.address < place.bytes
                                                        : place.address - address < bytes)) {
            return true;
        }
    }
    return false;
}

bool ist_request_uses_device_memory(const struct ist_request *request,
                                    const struct ist_regions *regions) {
    for (size_t i = 0; regions->device_memory > 0 && moves_values(request) && i < request->count; i++) {
        struct place place = place_at(request, i);
        if (ist_regions_is_device_memory(regions, place.address, place.bytes)) {
            return true;
        }
    }
    return false;
}

struct piece {
    struct ist_span keys[PIECE_KEYS];
    uint64_t lengths[PIECE_KEYS];
    struct ist_remote remotes[PIECE_KEYS];
    size_t count;
};

/* A length of 0 makes the server refuse a value, and write none: PROTOCOL.md, PUT and GET. */
static void gather(struct ist_request *request, const struct ist_regions *regions, size_t first,
                   struct piece *piece) {
    size_t left = request->count - first;
    piece->count = left < PIECE_KEYS ? left : PIECE_KEYS;
    for (size_t i = 0; i < piece->count; i++) {
        struct place place = place_at(request, first + i);
        struct ist_remote remote = {.address = place.address};
        bool is_known =
            place.bytes == 0 || ist_regions_find(regions, place.address, place.bytes, &remote.rkey);
        bool is_put = request->operation == IST_OP_PUT;
        bool is_too_big = is_put && ist_request_is_too_big(request, first + i);
        bool is_asked_for = is_known && !is_too_big;
        *status_at(request, first + i) = is_too_big ? IST_TOO_BIG : is_known ? IST_OK : IST_INVALID;
        request->has_invalid = request->has_invalid || !is_known;
        piece->keys[i] = ist_span_of(place.key->data, place.key->bytes);
        piece->lengths[i] = is_asked_for ? place.bytes : 0;
        piece->remotes[i] = is_asked_for && place.bytes > 0 ? remote : (struct ist_remote){0};
    }
}

static size_t measure(struct ist_request *request, const struct ist_regions *regions) {
    size_t bytes = 0;
    for (size_t first = 0; first < request->count; first += PIECE_KEYS) {
        struct piece piece;
        gather(request, regions, first, &piece);
        bytes += ist_codec_remote_keys_bytes(piece.keys, piece.lengths, piece.remotes, piece.count);
    }
    return bytes;
}

static void encode(struct ist_request *request, const struct ist_regions *regions, uint8_t *out,
                   size_t out_bytes) {
    size_t at = 0;
    for (size_t first = 0; first < request->count; first += PIECE_KEYS) {
        struct piece piece;
        size_t written = 0;
        gather(request, regions, first, &piece);
        enum ist_status status = ist_codec_encode_remote_keys(
            piece.keys, piece.lengths, piece.remotes, piece.count, out + at, out_bytes - at, &written);
        IST_ASSERT(status == IST_OK);
        at += written;
    }
    IST_ASSERT(at == out_bytes);
}

enum ist_status ist_request_make_remote(struct ist_request *request,
                                        const struct ist_regions *regions) {
    IST_ASSERT(!ist_request_has_begun(request) && !request->is_remote);
    if (!moves_values(request)) {
        return IST_OK;
    }
    size_t body_bytes = measure(request, regions);
    uint8_t *head = ist_allocate(request->alloc, IST_FRAME_BYTES + body_bytes);
    if (head == NULL) {
        return IST_NO_MEMORY;
    }
    struct ist_frame frame;
    enum ist_status status = ist_frame_decode(ist_span_of(request->head, IST_FRAME_BYTES), &frame);
    IST_ASSERT(status == IST_OK);
    frame.body_bytes = (uint32_t)body_bytes;
    frame.payload_bytes = 0;
    ist_frame_encode(&frame, head);
    encode(request, regions, head + IST_FRAME_BYTES, body_bytes);
    request->remote_head = request->head = head;
    request->head_bytes = IST_FRAME_BYTES + body_bytes;
    request->is_remote = true;
    return IST_OK;
}

/* What limit_values() and make_remote() have said of the items; where neither has, there is no status to look at. */
bool ist_request_is_refused(struct ist_request *request) {
    bool is_limited = request->value_bytes_max < request->longest_value;
    if (!moves_values(request) || (!is_limited && !request->has_invalid)) {
        return false;
    }
    for (size_t i = 0; i < request->count; i++) {
        if (*status_at(request, i) == IST_OK) {
            return false;
        }
    }
    request->status = *status_at(request, 0);
    return true;
}

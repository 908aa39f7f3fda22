#include "wire/frame.h"

#include "base/assert.h"

static const uint8_t magic[4] = {'I', 'N', 'S', 'T'};

enum {
    AT_VERSION = 4,
    AT_OPERATION = 5,
    AT_FLAGS = 6,
    AT_REQUEST_ID = 8,
    AT_BODY = 16,
    AT_RESERVED = 20,
    AT_PAYLOAD = 24,
};

_Static_assert(AT_PAYLOAD + 8 == IST_FRAME_BYTES, "the payload's length ends the header");

static void store_le(uint8_t *out, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t load_le(const uint8_t *in, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}

void ist_frame_encode(const struct ist_frame *frame, uint8_t out[IST_FRAME_BYTES]) {
    IST_ASSERT(frame->body_bytes <= IST_BODY_BYTES_MAX);
    memcpy(out, magic, sizeof(magic));
    out[AT_VERSION] = IST_FRAME_VERSION;
    out[AT_OPERATION] = (uint8_t)frame->operation;
    store_le(out + AT_FLAGS, frame->flags, 2);
    store_le(out + AT_REQUEST_ID, frame->request_id, 8);
    store_le(out + AT_BODY, frame->body_bytes, 4);
    store_le(out + AT_RESERVED, 0, 4);
    store_le(out + AT_PAYLOAD, frame->payload_bytes, 8);
}

/* May this byte stand at this place of a header? */
static bool byte_is_good(size_t at, uint8_t byte) {
    switch (at) {
    case 0:
    case 1:
    case 2:
    case 3: return byte == magic[at];
    case AT_VERSION: return byte == IST_FRAME_VERSION;
    case AT_OPERATION: return byte >= IST_OP_HELLO && byte < IST_OPERATION_COUNT;
    case AT_FLAGS: return (byte & ~(IST_FRAME_REPLY | IST_FRAME_IF_ABSENT)) == 0;
    case AT_FLAGS + 1:
    case AT_RESERVED:
    case AT_RESERVED + 1:
    case AT_RESERVED + 2:
    case AT_RESERVED + 3: return byte == 0;
    default: return true;
    }
}

enum ist_status ist_frame_decode(struct ist_span in, struct ist_frame *frame) {
    size_t there = in.bytes < IST_FRAME_BYTES ? in.bytes : IST_FRAME_BYTES;
    for (size_t i = 0; i < there; i++) {
        if (!byte_is_good(i, in.data[i])) {
            return IST_PROTOCOL;
        }
    }
    if (there < IST_FRAME_BYTES) {
        return IST_AGAIN;
    }
    *frame = (struct ist_frame){
        .operation = (enum ist_operation)in.data[AT_OPERATION],
        .flags = (uint16_t)load_le(in.data + AT_FLAGS, 2),
        .request_id = load_le(in.data + AT_REQUEST_ID, 8),
        .body_bytes = (uint32_t)load_le(in.data + AT_BODY, 4),
        .payload_bytes = load_le(in.data + AT_PAYLOAD, 8),
    };
    return frame->body_bytes > IST_BODY_BYTES_MAX ? IST_TOO_BIG : IST_OK;
}

const char *ist_operation_name(enum ist_operation operation) {
    switch (operation) {
    case IST_OP_HELLO: return "hello";
    case IST_OP_PUT: return "put";
    case IST_OP_GET: return "get";
    case IST_OP_EXISTS: return "exists";
    case IST_OP_MATCH_PREFIX: return "match_prefix";
    case IST_OP_MATCH_LAST: return "match_last";
    case IST_OP_REMOVE: return "remove";
    case IST_OP_PURGE: return "purge";
    case IST_OP_STAT: return "stat";
    case IST_OP_PING: return "ping";
    case IST_OP_CONNECT: return "connect";
    }
    return "unknown";
}

/* What the codec's files share; for the files of this room only. nanopb does the parsing; its callbacks record views.
 *
 * The trick that makes views possible: `state` of a stream over a buffer points to the next byte of that
 * buffer. nanopb calls it private, hence codec_parts.c alone knows it, and a test watches it. Scalars of a
 * callback field that are not packed come through a small buffer on nanopb's stack instead: a view must
 * lie inside the body. */
#ifndef IST_WIRE_CODEC_PARTS_H
#define IST_WIRE_CODEC_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pb.h>

#include "base/span.h"
#include "infinistore/status.h"

#define IST_CODEC_VARINT_BYTES_MAX 10u

enum ist_codec_wire_type {
    IST_CODEC_VARINT = 0,
    IST_CODEC_FIXED64 = 1,
    IST_CODEC_BYTES = 2,
    IST_CODEC_FIXED32 = 5,
};

/* ---- varints and what is written with them ---------------------------------------------------------- */

static inline size_t ist_codec_varint_bytes(uint64_t value) {
    unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1);
    return (bits + 6) / 7;
}

static inline uint8_t *ist_codec_put_varint(uint8_t *out, uint64_t value) {
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* NULL: cut off, or more than 64 bits. */
static inline const uint8_t *ist_codec_get_varint(const uint8_t *in, const uint8_t *end,
                                                  uint64_t *value) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < IST_CODEC_VARINT_BYTES_MAX && in < end; i++) {
        uint8_t byte = *in++;
        if (i == IST_CODEC_VARINT_BYTES_MAX - 1 && byte > 1) {
            return NULL;
        }
        sum |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *value = sum;
            return in;
        }
    }
    return NULL;
}

/* All field numbers are below 16: a tag is one byte. */
static inline uint8_t *ist_codec_put_tag(uint8_t *out, unsigned field, unsigned wire_type) {
    *out++ = (uint8_t)(field << 3 | wire_type);
    return out;
}

static inline uint8_t *ist_codec_put_bytes(uint8_t *out, unsigned field, struct ist_span bytes) {
    out = ist_codec_put_varint(ist_codec_put_tag(out, field, IST_CODEC_BYTES), bytes.bytes);
    if (bytes.bytes > 0) {
        memcpy(out, bytes.data, bytes.bytes);
    }
    return out + bytes.bytes;
}

/* ---- views ------------------------------------------------------------------------------------------ */

/* All of what the stream has left, without moving it; and past it. */
struct ist_span ist_codec_stream_rest(const pb_istream_t *stream);
bool ist_codec_stream_skip_rest(pb_istream_t *stream);
/* Does the part lie inside the body, so that it may be kept? */
bool ist_codec_inside(struct ist_span body, struct ist_span part);

/* For a bytes or string field: the last one of several wins, as protobuf wants it. */
struct ist_codec_view {
    struct ist_span body;
    struct ist_span *out;
};
pb_callback_t ist_codec_view_callback(struct ist_codec_view *view);
/* The same on the way out; nothing is written for an empty text. */
pb_callback_t ist_codec_text_callback(const struct ist_span *text);

bool ist_codec_decode(struct ist_span body, const pb_msgdesc_t *fields, void *message);
/* Returns OK, NO_SPACE. */
enum ist_status ist_codec_encode(const pb_msgdesc_t *fields, const void *message, uint8_t *out,
                                 size_t out_bytes, size_t *written);

/* Is it an enum ist_status, or are they all? */
bool ist_codec_status_is_known(uint32_t status);
bool ist_codec_statuses_are_known(struct ist_span statuses);

#endif

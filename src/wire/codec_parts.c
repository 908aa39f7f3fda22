#include "wire/codec_parts.h"

#include <pb_decode.h>
#include <pb_encode.h>

/* ---- views ------------------------------------------------------------------------------------------ */

/* All of what the stream has left, without moving it. */
struct ist_span ist_codec_stream_rest(const pb_istream_t *stream) {
    return ist_span_of(stream->state, stream->bytes_left);
}

bool ist_codec_stream_skip_rest(pb_istream_t *stream) {
    return pb_read(stream, NULL, stream->bytes_left);
}

bool ist_codec_inside(struct ist_span body, struct ist_span part) {
    uintptr_t first = (uintptr_t)body.data, at = (uintptr_t)part.data;
    return at >= first && at - first <= body.bytes;
}

/* The last one of several wins, as protobuf wants it. */
static bool take_view(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    const struct ist_codec_view *view = *arg;
    struct ist_span rest = ist_codec_stream_rest(stream);
    if (!ist_codec_inside(view->body, rest)) {
        return false;
    }
    *view->out = rest;
    return ist_codec_stream_skip_rest(stream);
}

pb_callback_t ist_codec_view_callback(struct ist_codec_view *view) {
    return (pb_callback_t){.funcs.decode = take_view, .arg = view};
}

bool ist_codec_decode(struct ist_span body, const pb_msgdesc_t *fields, void *message) {
    static const uint8_t nothing = 0;
    pb_istream_t stream = pb_istream_from_buffer(body.bytes > 0 ? body.data : &nothing, body.bytes);
    return pb_decode(&stream, fields, message);
}

/* ---- text out through nanopb -------------------------------------------------------------------------- */

static bool write_text(pb_ostream_t *stream, const pb_field_t *field, void *const *arg) {
    const struct ist_span *text = *arg;
    if (text->bytes == 0) {
        return true;
    }
    return pb_encode_tag_for_field(stream, field) && pb_encode_string(stream, text->data, text->bytes);
}

pb_callback_t ist_codec_text_callback(const struct ist_span *text) {
    return (pb_callback_t){.funcs.encode = write_text, .arg = (void *)(uintptr_t)text};
}

enum ist_status ist_codec_encode(const pb_msgdesc_t *fields, const void *message, uint8_t *out,
                                 size_t out_bytes, size_t *written) {
    pb_ostream_t stream = pb_ostream_from_buffer(out, out_bytes);
    if (!pb_encode(&stream, fields, message)) {
        return IST_NO_SPACE;
    }
    *written = stream.bytes_written;
    return IST_OK;
}

/* ---- statuses ----------------------------------------------------------------------------------------- */

#define STATUS_BIT(status) (1ull << (status))

bool ist_codec_status_is_known(uint32_t status) {
    const uint64_t known = STATUS_BIT(IST_OK) | STATUS_BIT(IST_AGAIN) | STATUS_BIT(IST_NOT_FOUND) |
                           STATUS_BIT(IST_EXISTS) | STATUS_BIT(IST_NO_SPACE) | STATUS_BIT(IST_TOO_BIG) |
                           STATUS_BIT(IST_TOO_SMALL) | STATUS_BIT(IST_INVALID) |
                           STATUS_BIT(IST_NO_MEMORY) | STATUS_BIT(IST_PROTOCOL) | STATUS_BIT(IST_PEER) |
                           STATUS_BIT(IST_TIMEOUT) | STATUS_BIT(IST_DEVICE) | STATUS_BIT(IST_CONFIG);
    return status < 64 && (known >> status & 1) != 0;
}

bool ist_codec_statuses_are_known(struct ist_span statuses) {
    for (size_t i = 0; i < statuses.bytes; i++) {
        if (!ist_codec_status_is_known(statuses.data[i])) {
            return false;
        }
    }
    return true;
}

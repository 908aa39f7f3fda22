/* Requests with keys, and their reply. Encoded by hand: through nanopb the keys and lengths of a batch cost several
 * times as much, and it would want two passes. */
#include "wire/codec.h"

#include "wire/codec_parts.h"
#include "wire/infinistore.pb.h"

#define FIXED64_BYTES 8u
#define FIXED32_BYTES 4u
#define FIELD_BYTES_MIN 2u /* a tag, and an empty value's length or a small number */
#define WIRE_TYPE_MASK 7u

/* ---- numbers of a batch --------------------------------------------------------------------------------- */

struct remotes {
    struct ist_remote *out;
    size_t max, addresses, rkeys;
};

static uint64_t load_le(const uint8_t *in, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = bytes; i > 0; i--) {
        value = value << 8 | in[i - 1];
    }
    return value;
}

/* Packed: many at once. Not packed: one, from nanopb's stack. */
static bool take_addresses(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct remotes *remotes = *arg;
    struct ist_span rest = ist_codec_stream_rest(stream);
    size_t count = rest.bytes / FIXED64_BYTES;
    if (rest.bytes % FIXED64_BYTES != 0 || count > remotes->max - remotes->addresses) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        remotes->out[remotes->addresses++].address =
            load_le(rest.data + i * FIXED64_BYTES, FIXED64_BYTES);
    }
    return ist_codec_stream_skip_rest(stream);
}

static bool take_rkeys(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct remotes *remotes = *arg;
    struct ist_span rest = ist_codec_stream_rest(stream);
    size_t count = rest.bytes / FIXED32_BYTES;
    if (rest.bytes % FIXED32_BYTES != 0 || count > remotes->max - remotes->rkeys) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        remotes->out[remotes->rkeys++].rkey =
            (uint32_t)load_le(rest.data + i * FIXED32_BYTES, FIXED32_BYTES);
    }
    return ist_codec_stream_skip_rest(stream);
}

struct lengths {
    uint64_t *out;
    size_t max, count;
};

/* Packed: many at once. Not packed: one, from nanopb's stack. */
static bool take_lengths(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct lengths *lengths = *arg;
    struct ist_span rest = ist_codec_stream_rest(stream);
    const uint8_t *at = rest.data, *end = rest.data + rest.bytes;
    while (at < end) {
        if (lengths->count == lengths->max) {
            return false;
        }
        at = ist_codec_get_varint(at, end, &lengths->out[lengths->count]);
        if (at == NULL) {
            return false;
        }
        lengths->count++;
    }
    return ist_codec_stream_skip_rest(stream);
}

static pb_callback_t lengths_callback(struct lengths *lengths) {
    return (pb_callback_t){.funcs.decode = take_lengths, .arg = lengths};
}

static size_t packed_bytes(const uint64_t *values, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += ist_codec_varint_bytes(values[i]);
    }
    return bytes;
}

static size_t packed_field_bytes(const uint64_t *values, size_t count) {
    size_t bytes = packed_bytes(values, count);
    return bytes == 0 ? 0 : 1 + ist_codec_varint_bytes(bytes) + bytes;
}

static uint8_t *put_packed(uint8_t *out, unsigned field, const uint64_t *values, size_t count) {
    if (count == 0) {
        return out;
    }
    out = ist_codec_put_varint(ist_codec_put_tag(out, field, IST_CODEC_BYTES),
                               packed_bytes(values, count));
    for (size_t i = 0; i < count; i++) {
        out = ist_codec_put_varint(out, values[i]);
    }
    return out;
}

/* ---- requests with keys --------------------------------------------------------------------------------- */

size_t ist_codec_keys_bytes(const struct ist_span *keys, const uint64_t *lengths, size_t count) {
    return ist_codec_remote_keys_bytes(keys, lengths, NULL, count);
}

enum ist_status ist_codec_encode_keys(const struct ist_span *keys, const uint64_t *lengths,
                                      size_t count, uint8_t *out, size_t out_bytes, size_t *written) {
    return ist_codec_encode_remote_keys(keys, lengths, NULL, count, out, out_bytes, written);
}

static size_t fixed_field_bytes(size_t one, size_t count) {
    return count == 0 ? 0 : 1 + ist_codec_varint_bytes(count * one) + count * one;
}

size_t ist_codec_remote_keys_bytes(const struct ist_span *keys, const uint64_t *lengths,
                                   const struct ist_remote *remotes, size_t count) {
    size_t bytes = lengths == NULL ? 0 : packed_field_bytes(lengths, count);
    for (size_t i = 0; i < count; i++) {
        bytes += 1 + ist_codec_varint_bytes(keys[i].bytes) + keys[i].bytes;
    }
    return remotes == NULL ? bytes
                           : bytes + fixed_field_bytes(FIXED64_BYTES, count) +
                                 fixed_field_bytes(FIXED32_BYTES, count);
}

static uint8_t *put_le(uint8_t *out, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        *out++ = (uint8_t)(value >> (8 * i));
    }
    return out;
}

static uint8_t *put_remotes(uint8_t *out, const struct ist_remote *remotes, size_t count) {
    if (count == 0) {
        return out;
    }
    out =
        ist_codec_put_varint(ist_codec_put_tag(out, ist_wire_KeysRequest_address_tag, IST_CODEC_BYTES),
                             count * FIXED64_BYTES);
    for (size_t i = 0; i < count; i++) {
        out = put_le(out, remotes[i].address, FIXED64_BYTES);
    }
    out = ist_codec_put_varint(ist_codec_put_tag(out, ist_wire_KeysRequest_rkey_tag, IST_CODEC_BYTES),
                               count * FIXED32_BYTES);
    for (size_t i = 0; i < count; i++) {
        out = put_le(out, remotes[i].rkey, FIXED32_BYTES);
    }
    return out;
}

enum ist_status ist_codec_encode_remote_keys(const struct ist_span *keys, const uint64_t *lengths,
                                             const struct ist_remote *remotes, size_t count,
                                             uint8_t *out, size_t out_bytes, size_t *written) {
    if (ist_codec_remote_keys_bytes(keys, lengths, remotes, count) > out_bytes) {
        return IST_NO_SPACE;
    }
    uint8_t *at = out;
    for (size_t i = 0; i < count; i++) {
        at = ist_codec_put_bytes(at, ist_wire_KeysRequest_key_tag, keys[i]);
    }
    if (lengths != NULL) {
        at = put_packed(at, ist_wire_KeysRequest_length_tag, lengths, count);
    }
    if (remotes != NULL) {
        at = put_remotes(at, remotes, count);
    }
    *written = (size_t)(at - out);
    return IST_OK;
}

struct keys {
    struct ist_span body;
    struct ist_span *out;
    size_t max, count;
};

static bool take_key(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct keys *keys = *arg;
    struct ist_span rest = ist_codec_stream_rest(stream);
    if (keys->count == keys->max || !ist_codec_inside(keys->body, rest)) {
        return false;
    }
    keys->out[keys->count++] = rest;
    return ist_codec_stream_skip_rest(stream);
}

/* Behind a field; NULL: malformed. */
static const uint8_t *skip_field(const uint8_t *at, const uint8_t *end) {
    uint64_t tag, bytes = 0;
    at = ist_codec_get_varint(at, end, &tag);
    if (at == NULL) {
        return NULL;
    }
    switch (tag & WIRE_TYPE_MASK) {
    case IST_CODEC_VARINT: return ist_codec_get_varint(at, end, &bytes);
    case IST_CODEC_FIXED64: bytes = FIXED64_BYTES; break;
    case IST_CODEC_FIXED32: bytes = FIXED32_BYTES; break;
    case IST_CODEC_BYTES: at = ist_codec_get_varint(at, end, &bytes); break;
    default: return NULL;
    }
    return at == NULL || bytes > (uint64_t)(end - at) ? NULL : at + bytes;
}

/* What nanopb does for a field it does even for an empty or an unknown one, and 72 MiB have room for 37 million of
 * these: half a second, in which the server could do nothing else. */
static bool fields_are_few(struct ist_span body) {
    if (body.bytes / FIELD_BYTES_MIN <= IST_CODEC_FIELDS_MAX) {
        return true;
    }
    const uint8_t *at = body.data, *end = body.data + body.bytes;
    for (size_t i = 0; i < IST_CODEC_FIELDS_MAX && at != NULL && at < end; i++) {
        at = skip_field(at, end);
    }
    return at == end;
}

enum ist_status ist_codec_decode_remote_keys(struct ist_span body, struct ist_span *keys,
                                             uint64_t *lengths, struct ist_remote *remotes, size_t max,
                                             size_t *count, size_t *length_count,
                                             size_t *remote_count) {
    struct keys key_sink = {.body = body, .out = keys, .max = max};
    struct lengths length_sink = {.out = lengths, .max = max};
    struct remotes remote_sink = {.out = remotes, .max = remotes == NULL ? 0 : max};
    ist_wire_KeysRequest message = {
        .key = {.funcs.decode = take_key, .arg = &key_sink},
        .length = lengths_callback(&length_sink),
        .address = {.funcs.decode = take_addresses, .arg = &remote_sink},
        .rkey = {.funcs.decode = take_rkeys, .arg = &remote_sink},
    };
    if (!fields_are_few(body) || !ist_codec_decode(body, ist_wire_KeysRequest_fields, &message) ||
        remote_sink.addresses != remote_sink.rkeys) {
        return IST_PROTOCOL;
    }
    *count = key_sink.count;
    *length_count = length_sink.count;
    *remote_count = remote_sink.addresses;
    return IST_OK;
}

enum ist_status ist_codec_decode_keys(struct ist_span body, struct ist_span *keys, uint64_t *lengths,
                                      size_t max, size_t *count, size_t *length_count) {
    size_t remote_count;
    return ist_codec_decode_remote_keys(body, keys, lengths, NULL, max, count, length_count,
                                        &remote_count);
}

/* ---- their reply ---------------------------------------------------------------------------------------- */

static size_t number_field_bytes(uint64_t value) {
    return value == 0 ? 0 : 1 + ist_codec_varint_bytes(value);
}

static uint8_t *put_number(uint8_t *out, unsigned field, uint64_t value) {
    return value == 0 ? out
                      : ist_codec_put_varint(ist_codec_put_tag(out, field, IST_CODEC_VARINT), value);
}

size_t ist_codec_keys_reply_bytes(const struct ist_keys_reply *reply) {
    size_t statuses = reply->key_status.bytes;
    return number_field_bytes((uint64_t)reply->status) +
           (statuses == 0 ? 0 : 1 + ist_codec_varint_bytes(statuses) + statuses) +
           packed_field_bytes(reply->lengths, reply->length_count) + number_field_bytes(reply->count);
}

enum ist_status ist_codec_encode_keys_reply(const struct ist_keys_reply *reply, uint8_t *out,
                                            size_t out_bytes, size_t *written) {
    if (ist_codec_keys_reply_bytes(reply) > out_bytes) {
        return IST_NO_SPACE;
    }
    uint8_t *at = put_number(out, ist_wire_KeysReply_status_tag, (uint64_t)reply->status);
    if (reply->key_status.bytes > 0) {
        at = ist_codec_put_bytes(at, ist_wire_KeysReply_key_status_tag, reply->key_status);
    }
    at = put_packed(at, ist_wire_KeysReply_length_tag, reply->lengths, reply->length_count);
    at = put_number(at, ist_wire_KeysReply_count_tag, reply->count);
    *written = (size_t)(at - out);
    return IST_OK;
}

enum ist_status ist_codec_decode_keys_reply(struct ist_span body, uint64_t *lengths, size_t length_max,
                                            struct ist_keys_reply *reply) {
    struct ist_span key_status = {0};
    struct ist_codec_view view = {.body = body, .out = &key_status};
    struct lengths length_sink = {.out = lengths, .max = length_max};
    ist_wire_KeysReply message = {
        .key_status = ist_codec_view_callback(&view),
        .length = lengths_callback(&length_sink),
    };
    if (!ist_codec_decode(body, ist_wire_KeysReply_fields, &message) ||
        !ist_codec_status_is_known(message.status) || !ist_codec_statuses_are_known(key_status)) {
        return IST_PROTOCOL;
    }
    *reply = (struct ist_keys_reply){
        .status = (enum ist_status)message.status,
        .key_status = key_status,
        .lengths = lengths,
        .length_count = length_sink.count,
        .count = message.count,
    };
    return IST_OK;
}

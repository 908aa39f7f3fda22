/* nanopb does the parsing; its callbacks record views.
 *
 * The trick that makes views possible: `state` of a stream over a buffer points to the next byte of that
 * buffer. nanopb calls it private, hence it is used in this file only, and a test watches it. Scalars of a
 * callback field that are not packed come through a small buffer on nanopb's stack instead: a view must
 * lie inside the body.
 *
 * Keys and lengths of a batch are encoded by hand: through nanopb they cost several times as much, and it
 * would want two passes. */
#include "wire/codec.h"

#include <pb_decode.h>
#include <pb_encode.h>

#include "base/assert.h"
#include "wire/infinistore.pb.h"

#define VARINT_BYTES_MAX 10u

#define FIXED64_BYTES 8u
#define FIXED32_BYTES 4u

#define FIELD_BYTES_MIN 2u /* a tag, and an empty value's length or a small number */
#define WIRE_TYPE_MASK 7u

enum {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
};

/* ---- varints and what is written with them ---------------------------------------------------------- */

static size_t varint_bytes(uint64_t value) {
    unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1);
    return (bits + 6) / 7;
}

static uint8_t *put_varint(uint8_t *out, uint64_t value) {
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* NULL: cut off, or more than 64 bits. */
static const uint8_t *get_varint(const uint8_t *in, const uint8_t *end, uint64_t *value) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && in < end; i++) {
        uint8_t byte = *in++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
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
static uint8_t *put_tag(uint8_t *out, unsigned field, unsigned wire_type) {
    *out++ = (uint8_t)(field << 3 | wire_type);
    return out;
}

static uint8_t *put_bytes(uint8_t *out, unsigned field, struct ist_span bytes) {
    out = put_varint(put_tag(out, field, WIRE_BYTES), bytes.bytes);
    if (bytes.bytes > 0) {
        memcpy(out, bytes.data, bytes.bytes);
    }
    return out + bytes.bytes;
}

static size_t packed_bytes(const uint64_t *values, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += varint_bytes(values[i]);
    }
    return bytes;
}

static size_t packed_field_bytes(const uint64_t *values, size_t count) {
    size_t bytes = packed_bytes(values, count);
    return bytes == 0 ? 0 : 1 + varint_bytes(bytes) + bytes;
}

static uint8_t *put_packed(uint8_t *out, unsigned field, const uint64_t *values, size_t count) {
    if (count == 0) {
        return out;
    }
    out = put_varint(put_tag(out, field, WIRE_BYTES), packed_bytes(values, count));
    for (size_t i = 0; i < count; i++) {
        out = put_varint(out, values[i]);
    }
    return out;
}

/* ---- views ------------------------------------------------------------------------------------------ */

/* All of what the stream has left, without moving it. */
static struct ist_span stream_rest(const pb_istream_t *stream) {
    return ist_span_of(stream->state, stream->bytes_left);
}

static bool stream_skip_rest(pb_istream_t *stream) {
    return pb_read(stream, NULL, stream->bytes_left);
}

struct view {
    struct ist_span body;
    struct ist_span *out;
};

static bool inside(struct ist_span body, struct ist_span part) {
    uintptr_t first = (uintptr_t)body.data, at = (uintptr_t)part.data;
    return at >= first && at - first <= body.bytes;
}

/* The last one of several wins, as protobuf wants it. */
static bool take_view(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    const struct view *view = *arg;
    struct ist_span rest = stream_rest(stream);
    if (!inside(view->body, rest)) {
        return false;
    }
    *view->out = rest;
    return stream_skip_rest(stream);
}

static pb_callback_t view_callback(struct view *view) {
    return (pb_callback_t){.funcs.decode = take_view, .arg = view};
}

struct lengths {
    uint64_t *out;
    size_t max, count;
};

/* Packed: many at once. Not packed: one, from nanopb's stack. */
static bool take_lengths(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct lengths *lengths = *arg;
    struct ist_span rest = stream_rest(stream);
    const uint8_t *at = rest.data, *end = rest.data + rest.bytes;
    while (at < end) {
        if (lengths->count == lengths->max) {
            return false;
        }
        at = get_varint(at, end, &lengths->out[lengths->count]);
        if (at == NULL) {
            return false;
        }
        lengths->count++;
    }
    return stream_skip_rest(stream);
}

static pb_callback_t lengths_callback(struct lengths *lengths) {
    return (pb_callback_t){.funcs.decode = take_lengths, .arg = lengths};
}

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
    struct ist_span rest = stream_rest(stream);
    size_t count = rest.bytes / FIXED64_BYTES;
    if (rest.bytes % FIXED64_BYTES != 0 || count > remotes->max - remotes->addresses) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        remotes->out[remotes->addresses++].address =
            load_le(rest.data + i * FIXED64_BYTES, FIXED64_BYTES);
    }
    return stream_skip_rest(stream);
}

static bool take_rkeys(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct remotes *remotes = *arg;
    struct ist_span rest = stream_rest(stream);
    size_t count = rest.bytes / FIXED32_BYTES;
    if (rest.bytes % FIXED32_BYTES != 0 || count > remotes->max - remotes->rkeys) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        remotes->out[remotes->rkeys++].rkey =
            (uint32_t)load_le(rest.data + i * FIXED32_BYTES, FIXED32_BYTES);
    }
    return stream_skip_rest(stream);
}

static bool decode(struct ist_span body, const pb_msgdesc_t *fields, void *message) {
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

static pb_callback_t text_callback(const struct ist_span *text) {
    return (pb_callback_t){.funcs.encode = write_text, .arg = (void *)(uintptr_t)text};
}

static enum ist_status encode(const pb_msgdesc_t *fields, const void *message, uint8_t *out,
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

static bool status_is_known(uint32_t status) {
    const uint64_t known = STATUS_BIT(IST_OK) | STATUS_BIT(IST_AGAIN) | STATUS_BIT(IST_NOT_FOUND) |
                           STATUS_BIT(IST_EXISTS) | STATUS_BIT(IST_NO_SPACE) | STATUS_BIT(IST_TOO_BIG) |
                           STATUS_BIT(IST_TOO_SMALL) | STATUS_BIT(IST_INVALID) |
                           STATUS_BIT(IST_NO_MEMORY) | STATUS_BIT(IST_PROTOCOL) | STATUS_BIT(IST_PEER) |
                           STATUS_BIT(IST_TIMEOUT) | STATUS_BIT(IST_DEVICE) | STATUS_BIT(IST_CONFIG);
    return status < 64 && (known >> status & 1) != 0;
}

static bool statuses_are_known(struct ist_span statuses) {
    for (size_t i = 0; i < statuses.bytes; i++) {
        if (!status_is_known(statuses.data[i])) {
            return false;
        }
    }
    return true;
}

/* ---- HELLO -------------------------------------------------------------------------------------------- */

enum ist_status ist_codec_encode_hello(const struct ist_hello *hello, uint8_t *out, size_t out_bytes,
                                       size_t *written) {
    ist_wire_Hello message = {
        .version_min = hello->version_min,
        .version_max = hello->version_max,
        .client = text_callback(&hello->client),
    };
    return encode(ist_wire_Hello_fields, &message, out, out_bytes, written);
}

enum ist_status ist_codec_decode_hello(struct ist_span body, struct ist_hello *hello) {
    struct ist_span client = {0};
    struct view view = {.body = body, .out = &client};
    ist_wire_Hello message = {.client = view_callback(&view)};
    if (!decode(body, ist_wire_Hello_fields, &message)) {
        return IST_PROTOCOL;
    }
    *hello = (struct ist_hello){
        .version_min = message.version_min,
        .version_max = message.version_max,
        .client = client,
    };
    return IST_OK;
}

enum ist_status ist_codec_encode_hello_reply(const struct ist_hello_reply *reply, uint8_t *out,
                                             size_t out_bytes, size_t *written) {
    ist_wire_HelloReply message = {
        .status = (uint32_t)reply->status,
        .version = reply->version,
        .incarnation = reply->incarnation,
        .keys_max = reply->keys_max,
        .key_bytes_max = reply->key_bytes_max,
        .body_bytes_max = reply->body_bytes_max,
        .in_flight_max = reply->in_flight_max,
        .value_bytes_max = reply->value_bytes_max,
        .server = text_callback(&reply->server),
    };
    return encode(ist_wire_HelloReply_fields, &message, out, out_bytes, written);
}

enum ist_status ist_codec_decode_hello_reply(struct ist_span body, struct ist_hello_reply *reply) {
    struct ist_span server = {0};
    struct view view = {.body = body, .out = &server};
    ist_wire_HelloReply message = {.server = view_callback(&view)};
    if (!decode(body, ist_wire_HelloReply_fields, &message) || !status_is_known(message.status)) {
        return IST_PROTOCOL;
    }
    *reply = (struct ist_hello_reply){
        .status = (enum ist_status)message.status,
        .version = message.version,
        .incarnation = message.incarnation,
        .keys_max = message.keys_max,
        .key_bytes_max = message.key_bytes_max,
        .body_bytes_max = message.body_bytes_max,
        .in_flight_max = message.in_flight_max,
        .value_bytes_max = message.value_bytes_max,
        .server = server,
    };
    return IST_OK;
}

/* ---- CONNECT ------------------------------------------------------------------------------------------- */

#define UINT24_MAX 0xffffffu

enum ist_status ist_codec_encode_endpoint(const struct ist_endpoint *endpoint, uint8_t *out,
                                          size_t out_bytes, size_t *written) {
    static const uint8_t nowhere[IST_GID_BYTES];
    bool has_gid = memcmp(endpoint->gid, nowhere, IST_GID_BYTES) != 0;
    struct ist_span gid = ist_span_of(endpoint->gid, has_gid ? IST_GID_BYTES : 0);
    ist_wire_Endpoint message = {
        .status = (uint32_t)endpoint->status,
        .queue_pair = endpoint->queue_pair,
        .packet_number = endpoint->packet_number,
        .gid = text_callback(&gid),
        .lid = endpoint->lid,
        .mtu_bytes = endpoint->mtu_bytes,
        .reads = endpoint->reads,
        .messages = endpoint->messages,
        .message_bytes = endpoint->message_bytes,
    };
    return encode(ist_wire_Endpoint_fields, &message, out, out_bytes, written);
}

enum ist_status ist_codec_decode_endpoint(struct ist_span body, struct ist_endpoint *endpoint) {
    struct ist_span gid = {0};
    struct view view = {.body = body, .out = &gid};
    ist_wire_Endpoint message = {.gid = view_callback(&view)};
    if (!decode(body, ist_wire_Endpoint_fields, &message) || !status_is_known(message.status) ||
        message.queue_pair > UINT24_MAX || message.packet_number > UINT24_MAX ||
        message.lid > UINT16_MAX || (gid.bytes != 0 && gid.bytes != IST_GID_BYTES)) {
        return IST_PROTOCOL;
    }
    *endpoint = (struct ist_endpoint){
        .status = (enum ist_status)message.status,
        .queue_pair = message.queue_pair,
        .packet_number = message.packet_number,
        .lid = (uint16_t)message.lid,
        .mtu_bytes = message.mtu_bytes,
        .reads = message.reads,
        .messages = message.messages,
        .message_bytes = message.message_bytes,
    };
    if (gid.bytes > 0) {
        memcpy(endpoint->gid, gid.data, IST_GID_BYTES);
    }
    return IST_OK;
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
    return count == 0 ? 0 : 1 + varint_bytes(count * one) + count * one;
}

size_t ist_codec_remote_keys_bytes(const struct ist_span *keys, const uint64_t *lengths,
                                   const struct ist_remote *remotes, size_t count) {
    size_t bytes = lengths == NULL ? 0 : packed_field_bytes(lengths, count);
    for (size_t i = 0; i < count; i++) {
        bytes += 1 + varint_bytes(keys[i].bytes) + keys[i].bytes;
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
    out = put_varint(put_tag(out, ist_wire_KeysRequest_address_tag, WIRE_BYTES), count * FIXED64_BYTES);
    for (size_t i = 0; i < count; i++) {
        out = put_le(out, remotes[i].address, FIXED64_BYTES);
    }
    out = put_varint(put_tag(out, ist_wire_KeysRequest_rkey_tag, WIRE_BYTES), count * FIXED32_BYTES);
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
        at = put_bytes(at, ist_wire_KeysRequest_key_tag, keys[i]);
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
    struct ist_span rest = stream_rest(stream);
    if (keys->count == keys->max || !inside(keys->body, rest)) {
        return false;
    }
    keys->out[keys->count++] = rest;
    return stream_skip_rest(stream);
}

/* Behind a field; NULL: malformed. */
static const uint8_t *skip_field(const uint8_t *at, const uint8_t *end) {
    uint64_t tag, bytes = 0;
    at = get_varint(at, end, &tag);
    if (at == NULL) {
        return NULL;
    }
    switch (tag & WIRE_TYPE_MASK) {
    case WIRE_VARINT: return get_varint(at, end, &bytes);
    case WIRE_FIXED64: bytes = FIXED64_BYTES; break;
    case WIRE_FIXED32: bytes = FIXED32_BYTES; break;
    case WIRE_BYTES: at = get_varint(at, end, &bytes); break;
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
    if (!fields_are_few(body) || !decode(body, ist_wire_KeysRequest_fields, &message) ||
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
    return value == 0 ? 0 : 1 + varint_bytes(value);
}

static uint8_t *put_number(uint8_t *out, unsigned field, uint64_t value) {
    return value == 0 ? out : put_varint(put_tag(out, field, WIRE_VARINT), value);
}

size_t ist_codec_keys_reply_bytes(const struct ist_keys_reply *reply) {
    size_t statuses = reply->key_status.bytes;
    return number_field_bytes((uint64_t)reply->status) +
           (statuses == 0 ? 0 : 1 + varint_bytes(statuses) + statuses) +
           packed_field_bytes(reply->lengths, reply->length_count) + number_field_bytes(reply->count);
}

enum ist_status ist_codec_encode_keys_reply(const struct ist_keys_reply *reply, uint8_t *out,
                                            size_t out_bytes, size_t *written) {
    if (ist_codec_keys_reply_bytes(reply) > out_bytes) {
        return IST_NO_SPACE;
    }
    uint8_t *at = put_number(out, ist_wire_KeysReply_status_tag, (uint64_t)reply->status);
    if (reply->key_status.bytes > 0) {
        at = put_bytes(at, ist_wire_KeysReply_key_status_tag, reply->key_status);
    }
    at = put_packed(at, ist_wire_KeysReply_length_tag, reply->lengths, reply->length_count);
    at = put_number(at, ist_wire_KeysReply_count_tag, reply->count);
    *written = (size_t)(at - out);
    return IST_OK;
}

enum ist_status ist_codec_decode_keys_reply(struct ist_span body, uint64_t *lengths, size_t length_max,
                                            struct ist_keys_reply *reply) {
    struct ist_span key_status = {0};
    struct view view = {.body = body, .out = &key_status};
    struct lengths length_sink = {.out = lengths, .max = length_max};
    ist_wire_KeysReply message = {
        .key_status = view_callback(&view),
        .length = lengths_callback(&length_sink),
    };
    if (!decode(body, ist_wire_KeysReply_fields, &message) || !status_is_known(message.status) ||
        !statuses_are_known(key_status)) {
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

/* ---- STAT ----------------------------------------------------------------------------------------------- */

#define DOUBLE_FIELD_BYTES 9u

static size_t metric_bytes(const struct ist_codec_metric *metric) {
    return 1 + varint_bytes(metric->name.bytes) + metric->name.bytes + DOUBLE_FIELD_BYTES;
}

size_t ist_codec_metrics_bytes(const struct ist_codec_metric *metrics, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t one = metric_bytes(&metrics[i]);
        bytes += 1 + varint_bytes(one) + one;
    }
    return bytes;
}

struct metrics {
    const struct ist_codec_metric *items;
    size_t count;
};

static bool write_metrics(pb_ostream_t *stream, const pb_field_t *field, void *const *arg) {
    const struct metrics *metrics = *arg;
    for (size_t i = 0; i < metrics->count; i++) {
        ist_wire_Metric message = {
            .name = text_callback(&metrics->items[i].name),
            .value = metrics->items[i].value,
        };
        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_submessage(stream, ist_wire_Metric_fields, &message)) {
            return false;
        }
    }
    return true;
}

enum ist_status ist_codec_encode_metrics(const struct ist_codec_metric *metrics, size_t count,
                                         uint8_t *out, size_t out_bytes, size_t *written) {
    struct metrics source = {.items = metrics, .count = count};
    ist_wire_StatReply message = {.metric = {.funcs.encode = write_metrics, .arg = &source}};
    return encode(ist_wire_StatReply_fields, &message, out, out_bytes, written);
}

struct metric_sink {
    struct ist_span body;
    struct ist_codec_metric *out;
    size_t max, count;
};

static bool take_metric(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct metric_sink *sink = *arg;
    if (sink->count == sink->max || !inside(sink->body, stream_rest(stream))) {
        return false;
    }
    struct ist_codec_metric *metric = &sink->out[sink->count++];
    *metric = (struct ist_codec_metric){0};
    struct view view = {.body = sink->body, .out = &metric->name};
    ist_wire_Metric message = {.name = view_callback(&view)};
    if (!pb_decode(stream, ist_wire_Metric_fields, &message)) {
        return false;
    }
    metric->value = message.value;
    return true;
}

enum ist_status ist_codec_decode_metrics(struct ist_span body, struct ist_codec_metric *metrics,
                                         size_t max, size_t *count) {
    struct metric_sink sink = {.body = body, .out = metrics, .max = max};
    ist_wire_StatReply message = {.metric = {.funcs.decode = take_metric, .arg = &sink}};
    if (!decode(body, ist_wire_StatReply_fields, &message) || !status_is_known(message.status)) {
        return IST_PROTOCOL;
    }
    if (message.status != IST_OK) {
        return (enum ist_status)message.status;
    }
    *count = sink.count;
    return IST_OK;
}

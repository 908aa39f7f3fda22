/* HELLO, CONNECT and STAT: short messages, which nanopb writes and reads. */
#include "wire/codec.h"

#include <pb_decode.h>
#include <pb_encode.h>

#include "wire/codec_parts.h"
#include "wire/infinistore.pb.h"

/* ---- HELLO -------------------------------------------------------------------------------------------- */

enum ist_status ist_codec_encode_hello(const struct ist_hello *hello, uint8_t *out, size_t out_bytes,
                                       size_t *written) {
    ist_wire_Hello message = {
        .version_min = hello->version_min,
        .version_max = hello->version_max,
        .client = ist_codec_text_callback(&hello->client),
    };
    return ist_codec_encode(ist_wire_Hello_fields, &message, out, out_bytes, written);
}

enum ist_status ist_codec_decode_hello(struct ist_span body, struct ist_hello *hello) {
    struct ist_span client = {0};
    struct ist_codec_view view = {.body = body, .out = &client};
    ist_wire_Hello message = {.client = ist_codec_view_callback(&view)};
    if (!ist_codec_decode(body, ist_wire_Hello_fields, &message)) {
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
        .server = ist_codec_text_callback(&reply->server),
    };
    return ist_codec_encode(ist_wire_HelloReply_fields, &message, out, out_bytes, written);
}

enum ist_status ist_codec_decode_hello_reply(struct ist_span body, struct ist_hello_reply *reply) {
    struct ist_span server = {0};
    struct ist_codec_view view = {.body = body, .out = &server};
    ist_wire_HelloReply message = {.server = ist_codec_view_callback(&view)};
    if (!ist_codec_decode(body, ist_wire_HelloReply_fields, &message) ||
        !ist_codec_status_is_known(message.status)) {
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
    const struct ist_queue_pair_end *end = &endpoint->end;
    bool has_gid = memcmp(end->gid, nowhere, IST_GID_BYTES) != 0;
    struct ist_span gid = ist_span_of(end->gid, has_gid ? IST_GID_BYTES : 0);
    ist_wire_Endpoint message = {
        .status = (uint32_t)endpoint->status,
        .queue_pair = end->number,
        .packet_number = end->packet_number,
        .gid = ist_codec_text_callback(&gid),
        .lid = end->lid,
        .mtu_bytes = end->mtu_bytes,
        .reads = end->reads,
        .messages = end->messages,
        .message_bytes = end->message_bytes,
    };
    return ist_codec_encode(ist_wire_Endpoint_fields, &message, out, out_bytes, written);
}

enum ist_status ist_codec_decode_endpoint(struct ist_span body, struct ist_endpoint *endpoint) {
    struct ist_span gid = {0};
    struct ist_codec_view view = {.body = body, .out = &gid};
    ist_wire_Endpoint message = {.gid = ist_codec_view_callback(&view)};
    if (!ist_codec_decode(body, ist_wire_Endpoint_fields, &message) ||
        !ist_codec_status_is_known(message.status) || message.queue_pair > UINT24_MAX ||
        message.packet_number > UINT24_MAX || message.lid > UINT16_MAX ||
        (gid.bytes != 0 && gid.bytes != IST_GID_BYTES)) {
        return IST_PROTOCOL;
    }
    *endpoint = (struct ist_endpoint){.status = (enum ist_status)message.status,
                                      .end = {.number = message.queue_pair,
                                              .packet_number = message.packet_number,
                                              .lid = (uint16_t)message.lid,
                                              .mtu_bytes = message.mtu_bytes,
                                              .reads = message.reads,
                                              .messages = message.messages,
                                              .message_bytes = message.message_bytes}};
    if (gid.bytes > 0) {
        memcpy(endpoint->end.gid, gid.data, IST_GID_BYTES);
    }
    return IST_OK;
}

/* ---- STAT ----------------------------------------------------------------------------------------------- */

#define DOUBLE_FIELD_BYTES 9u

static size_t metric_bytes(const struct ist_codec_metric *metric) {
    return 1 + ist_codec_varint_bytes(metric->name.bytes) + metric->name.bytes + DOUBLE_FIELD_BYTES;
}

size_t ist_codec_metrics_bytes(const struct ist_codec_metric *metrics, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t one = metric_bytes(&metrics[i]);
        bytes += 1 + ist_codec_varint_bytes(one) + one;
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
            .name = ist_codec_text_callback(&metrics->items[i].name),
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
    return ist_codec_encode(ist_wire_StatReply_fields, &message, out, out_bytes, written);
}

struct metric_sink {
    struct ist_span body;
    struct ist_codec_metric *out;
    size_t max, count;
};

static bool take_metric(pb_istream_t *stream, const pb_field_t *field, void **arg) {
    (void)field;
    struct metric_sink *sink = *arg;
    if (sink->count == sink->max || !ist_codec_inside(sink->body, ist_codec_stream_rest(stream))) {
        return false;
    }
    struct ist_codec_metric *metric = &sink->out[sink->count++];
    *metric = (struct ist_codec_metric){0};
    struct ist_codec_view view = {.body = sink->body, .out = &metric->name};
    ist_wire_Metric message = {.name = ist_codec_view_callback(&view)};
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
    if (!ist_codec_decode(body, ist_wire_StatReply_fields, &message) ||
        !ist_codec_status_is_known(message.status)) {
        return IST_PROTOCOL;
    }
    if (message.status != IST_OK) {
        return (enum ist_status)message.status;
    }
    *count = sink.count;
    return IST_OK;
}

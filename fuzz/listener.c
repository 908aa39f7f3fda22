#include "fuzz/listener.h"

/* ---- said ------------------------------------------------------------------------------------------------- */

static void note_header(struct listener *listener) {
    struct ist_frame frame;
    enum ist_status status = ist_frame_decode(ist_span_of(listener->header, IST_FRAME_BYTES), &frame);
    listener->header_bytes = 0;
    listener->is_lost = status != IST_OK;
    if (status == IST_PROTOCOL) {
        return;
    }
    IST_ASSERT(listener->waiting_count < LISTENER_WAITING_MAX);
    listener->waiting[listener->waiting_count++] = frame;
    uint64_t most = UINT64_MAX - frame.body_bytes;
    listener->skip = frame.body_bytes + (frame.payload_bytes < most ? frame.payload_bytes : most);
}

void listener_said(struct listener *listener, const uint8_t *data, size_t bytes) {
    while (bytes > 0 && !listener->is_lost) {
        size_t part = bytes;
        if (listener->skip > 0) {
            part = part < listener->skip ? part : (size_t)listener->skip;
            listener->skip -= part;
        } else {
            size_t missing = IST_FRAME_BYTES - listener->header_bytes;
            part = part < missing ? part : missing;
            memcpy(listener->header + listener->header_bytes, data, part);
            listener->header_bytes += part;
            if (listener->header_bytes == IST_FRAME_BYTES) {
                note_header(listener);
            }
        }
        data += part;
        bytes -= part;
    }
}

/* ---- heard ------------------------------------------------------------------------------------------------ */

/* A reply to something that was asked, once. */
static void answer(struct listener *listener, const struct ist_frame *reply) {
    IST_ASSERT(reply->flags == IST_FRAME_REPLY);
    size_t i = 0;
    while (i < listener->waiting_count && (listener->waiting[i].request_id != reply->request_id ||
                                           listener->waiting[i].operation != reply->operation)) {
        i++;
    }
    IST_ASSERT(i < listener->waiting_count);
    listener->waiting_count--;
    memmove(&listener->waiting[i], &listener->waiting[i + 1],
            (listener->waiting_count - i) * sizeof(listener->waiting[0]));
}

static uint64_t check_keys_reply(const struct ist_frame *frame, struct ist_span body) {
    static uint64_t lengths[IST_KEYS_PER_REQUEST_MAX];
    struct ist_keys_reply reply;
    IST_ASSERT(ist_codec_decode_keys_reply(body, lengths, IST_KEYS_PER_REQUEST_MAX, &reply) == IST_OK);
    bool has_lengths = frame->operation == IST_OP_GET && reply.status == IST_OK;
    IST_ASSERT(reply.length_count == (has_lengths ? reply.key_status.bytes : 0));
    IST_ASSERT(reply.status == IST_OK || (reply.key_status.bytes == 0 && reply.count == 0));
    uint64_t payload_bytes = 0;
    for (size_t i = 0; i < reply.length_count; i++) {
        enum ist_status status = (enum ist_status)reply.key_status.data[i];
        IST_ASSERT(status == IST_OK || status == IST_TOO_SMALL || lengths[i] == 0);
        payload_bytes += status == IST_OK ? lengths[i] : 0;
    }
    return payload_bytes;
}

static void check_body(const struct listener *listener, const struct ist_frame *frame,
                       struct ist_span body) {
    struct ist_hello_reply hello;
    struct ist_endpoint end;
    static struct ist_codec_metric metrics[4096];
    size_t count;
    uint64_t payload_bytes = 0;
    switch (frame->operation) {
    case IST_OP_HELLO: IST_ASSERT(ist_codec_decode_hello_reply(body, &hello) == IST_OK); break;
    case IST_OP_CONNECT: IST_ASSERT(ist_codec_decode_endpoint(body, &end) == IST_OK); break;
    case IST_OP_STAT:
        IST_ASSERT(ist_codec_decode_metrics(body, metrics, 4096, &count) != IST_PROTOCOL ||
                   body.bytes <= 3); /* it says PROTOCOL, and nothing else */
        break;
    case IST_OP_PUT:
    case IST_OP_GET:
    case IST_OP_EXISTS:
    case IST_OP_MATCH_PREFIX:
    case IST_OP_MATCH_LAST:
    case IST_OP_REMOVE:
    case IST_OP_PURGE:
    case IST_OP_PING: payload_bytes = check_keys_reply(frame, body); break;
    }
    IST_ASSERT(frame->payload_bytes == (listener->is_rdma ? 0 : payload_bytes));
}

/* False: not all of a reply's header and body. */
static bool hear_reply(struct listener *listener) {
    struct bytes *heard = &listener->heard;
    struct ist_frame frame;
    enum ist_status status = ist_frame_decode(ist_span_of(heard->data, heard->count), &frame);
    if (status == IST_AGAIN ||
        (status == IST_OK && heard->count < IST_FRAME_BYTES + frame.body_bytes)) {
        return false;
    }
    IST_ASSERT(status == IST_OK);
    answer(listener, &frame);
    check_body(listener, &frame, ist_span_of(heard->data + IST_FRAME_BYTES, frame.body_bytes));
    listener->payload_left = frame.payload_bytes;
    size_t used = IST_FRAME_BYTES + frame.body_bytes;
    heard->count -= used;
    memmove(heard->data, heard->data + used, heard->count);
    return true;
}

static bool hear_payload(struct listener *listener) {
    struct bytes *heard = &listener->heard;
    size_t part = heard->count < listener->payload_left ? heard->count : (size_t)listener->payload_left;
    listener->payload_left -= part;
    heard->count -= part;
    memmove(heard->data, heard->data + part, heard->count);
    return part > 0;
}

void listener_heard(struct listener *listener, const uint8_t *data, size_t bytes) {
    bytes_add(&listener->heard, data, bytes);
    while (listener->heard.count > 0 &&
           (listener->payload_left > 0 ? hear_payload(listener) : hear_reply(listener))) {
    }
}

void listener_check_idle(const struct listener *listener) {
    bool in_the_middle = listener->skip > 0;
    IST_ASSERT(listener->heard.count == 0 && listener->payload_left == 0);
    IST_ASSERT(listener->is_lost || listener->waiting_count <= in_the_middle);
}

void listener_fini(struct listener *listener) {
    bytes_free(&listener->heard);
    *listener = (struct listener){0};
}

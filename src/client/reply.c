#include "client/reply.h"

#include "base/assert.h"
#include "client/metrics.h"
#include "wire/codec.h"

/* What a reply may have beside one status and one length per key: its other fields, tags and lengths, and fields
 * of later versions. */
#define REPLY_SLACK_BYTES 1024u
#define REPLY_BYTES_PER_KEY 11u /* a status, and a varint of 64 bits */

_Static_assert(IST_KEYS_PER_REQUEST_MAX *REPLY_BYTES_PER_KEY + REPLY_SLACK_BYTES <= IST_BODY_BYTES_MAX,
               "the longest reply fits a body");
_Static_assert(IST_METRICS_BODY_BYTES_MAX <= IST_BODY_BYTES_MAX, "so do metrics");

/* ---- what it may say -------------------------------------------------------------------------------- */

uint32_t ist_reply_bytes_max(const struct ist_request *request) {
    if (request->operation == IST_OP_STAT) {
        return IST_METRICS_BODY_BYTES_MAX;
    }
    return (uint32_t)(request->count * REPLY_BYTES_PER_KEY) + REPLY_SLACK_BYTES;
}

#define STATUS_BIT(status) (1ull << (status))

/* What the protocol lets a server answer: for a request as a whole, and for a key of it. */
static bool may_answer(enum ist_status status) {
    const uint64_t allowed = STATUS_BIT(IST_OK) | STATUS_BIT(IST_NOT_FOUND) | STATUS_BIT(IST_EXISTS) |
                             STATUS_BIT(IST_NO_SPACE) | STATUS_BIT(IST_TOO_BIG) |
                             STATUS_BIT(IST_TOO_SMALL) | STATUS_BIT(IST_INVALID) |
                             STATUS_BIT(IST_NO_MEMORY);
    return (allowed >> status & 1) != 0;
}

static bool may_answer_key(enum ist_operation operation, uint8_t status) {
    uint64_t allowed = STATUS_BIT(IST_OK) | STATUS_BIT(IST_INVALID);
    if (operation == IST_OP_PUT) {
        allowed |= STATUS_BIT(IST_EXISTS) | STATUS_BIT(IST_NO_SPACE) | STATUS_BIT(IST_TOO_BIG) |
                   STATUS_BIT(IST_NO_MEMORY);
    } else {
        allowed |= STATUS_BIT(IST_NOT_FOUND);
    }
    if (operation == IST_OP_GET) {
        allowed |= STATUS_BIT(IST_TOO_SMALL) | STATUS_BIT(IST_NO_MEMORY);
    }
    return status < 64 && (allowed >> status & 1) != 0;
}

static bool statuses_fit(const struct ist_request *request, const struct ist_keys_reply *reply) {
    if (reply->key_status.bytes != request->count) {
        return false;
    }
    for (size_t i = 0; i < request->count; i++) {
        if (!may_answer_key(request->operation, reply->key_status.data[i])) {
            return false;
        }
    }
    return true;
}

/* The status of a batch is that of its first item that is not OK. */
static void note_item(struct ist_request *request, enum ist_status status) {
    if (request->status == IST_OK) {
        request->status = status;
    }
}

/* Its memory is not registered: the server was told nothing of it, whatever it answers. */
static bool is_refused(const struct ist_request *request, enum ist_status status) {
    return request->has_invalid && status == IST_INVALID;
}

static enum ist_status answer_put(struct ist_request *request, const struct ist_keys_reply *reply) {
    if (!statuses_fit(request, reply)) {
        return IST_PROTOCOL;
    }
    for (size_t i = 0; i < request->count; i++) {
        struct ist_put_item *item = &request->to.puts[i];
        if (ist_request_is_too_big(request, i)) {
            item->status = IST_TOO_BIG;
        } else if (!is_refused(request, item->status)) {
            item->status = (enum ist_status)reply->key_status.data[i];
        }
        note_item(request, item->status);
    }
    return IST_OK;
}

static bool length_fits(enum ist_status status, uint64_t length, uint64_t buffer_bytes) {
    switch ((int)status) {
    case IST_OK: return length >= 1 && length <= buffer_bytes;
    case IST_TOO_SMALL: return length > buffer_bytes;
    default: return length == 0;
    }
}

static void skip_undelivered(struct ist_request *request) {
    while (request->item < request->count && request->to.gets[request->item].status != IST_OK) {
        request->item++;
    }
}

static enum ist_status answer_get(struct ist_request *request, const struct ist_keys_reply *reply,
                                  uint64_t payload_bytes) {
    if (!statuses_fit(request, reply) || reply->length_count != request->count) {
        return IST_PROTOCOL;
    }
    uint64_t left = payload_bytes;
    for (size_t i = 0; i < request->count; i++) {
        struct ist_get_item *item = &request->to.gets[i];
        bool refused = is_refused(request, item->status);
        enum ist_status status = refused ? IST_INVALID : (enum ist_status)reply->key_status.data[i];
        uint64_t length = refused ? 0 : reply->lengths[i];
        uint64_t payload = status == IST_OK && !request->is_remote ? length : 0;
        if (!length_fits(status, length, item->buffer_bytes) || payload > left) {
            return IST_PROTOCOL;
        }
        left -= payload;
        item->status = status;
        item->value_bytes = length;
        note_item(request, status);
    }
    skip_undelivered(request);
    return left == 0 ? IST_OK : IST_PROTOCOL;
}

static enum ist_status answer_exists(struct ist_request *request, const struct ist_keys_reply *reply) {
    if (!statuses_fit(request, reply)) {
        return IST_PROTOCOL;
    }
    for (size_t i = 0; i < request->count; i++) {
        request->to.present[i] = reply->key_status.data[i] == IST_OK;
    }
    return IST_OK;
}

static enum ist_status answer_keys(struct ist_request *request, const struct ist_keys_reply *reply,
                                   uint64_t payload_bytes) {
    bool counts_keys = request->operation == IST_OP_MATCH_PREFIX ||
                       request->operation == IST_OP_MATCH_LAST || request->operation == IST_OP_REMOVE;
    if (counts_keys && reply->count > request->count) {
        return IST_PROTOCOL;
    }
    switch (request->operation) {
    case IST_OP_PUT: return answer_put(request, reply);
    case IST_OP_GET: return answer_get(request, reply, payload_bytes);
    case IST_OP_EXISTS: return answer_exists(request, reply);
    case IST_OP_MATCH_PREFIX:
    case IST_OP_REMOVE: *request->to.number = (size_t)reply->count; return IST_OK;
    case IST_OP_MATCH_LAST: *request->to.index = (int64_t)reply->count - 1; return IST_OK;
    case IST_OP_PURGE: *request->to.purged = reply->count; return IST_OK;
    case IST_OP_HELLO:
    case IST_OP_CONNECT:
    case IST_OP_STAT:
    case IST_OP_PING: return IST_OK;
    }
    return IST_PROTOCOL;
}

static enum ist_status answer_stat(struct ist_request *request, struct ist_span body) {
    enum ist_status status =
        ist_metrics_decode(body, request->note, request->alloc, request->to.metrics);
    if (!may_answer(status)) {
        return IST_PROTOCOL;
    }
    request->status = status;
    return IST_OK;
}

enum ist_status ist_reply_apply(struct ist_request *request, struct ist_span body,
                                uint64_t payload_bytes) {
    request->item = 0;
    request->item_done = 0;
    request->status = IST_OK;
    if (payload_bytes > 0 && request->operation != IST_OP_GET) {
        return IST_PROTOCOL;
    }
    if (request->operation == IST_OP_STAT) {
        return answer_stat(request, body);
    }
    struct ist_keys_reply reply;
    size_t lengths_max = request->operation == IST_OP_GET ? request->count : 0;
    if (ist_codec_decode_keys_reply(body, request->lengths, lengths_max, &reply) != IST_OK ||
        !may_answer(reply.status)) {
        return IST_PROTOCOL;
    }
    if (reply.status != IST_OK) {
        ist_request_abort(request, reply.status);
        return payload_bytes == 0 ? IST_OK : IST_PROTOCOL;
    }
    return answer_keys(request, &reply, payload_bytes);
}

size_t ist_reply_recv_buffers(const struct ist_request *request, struct iovec *buffers, size_t max) {
    size_t used = 0;
    uint64_t done = request->item_done;
    for (size_t i = request->item; i < request->count && used < max; i++) {
        const struct ist_get_item *item = &request->to.gets[i];
        if (item->status == IST_OK) {
            buffers[used++] = (struct iovec){.iov_base = (uint8_t *)item->buffer + done,
                                             .iov_len = item->value_bytes - done};
            done = 0;
        }
    }
    return used;
}

void ist_reply_received(struct ist_request *request, uint64_t *bytes) {
    while (request->item<request->count && * bytes> 0) {
        uint64_t value_bytes = request->to.gets[request->item].value_bytes;
        request->item_done += ist_request_take(bytes, value_bytes - request->item_done);
        if (request->item_done == value_bytes) {
            request->item++;
            request->item_done = 0;
            skip_undelivered(request);
        }
    }
}

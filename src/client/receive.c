/* What the server says, byte by byte. Nothing of it is trusted. */
#include "base/assert.h"
#include "client/reply.h"
#include "client/state.h"

#define WASTE_BUFFERS 16u /* a system call's worth of a payload that nobody wants */
/* While values are awaited less is read ahead: what arrives of them in the stage is copied once more. */
#define AHEAD_OF_VALUE_BYTES 4096u
/* Behind a payload, when another may follow: the next header and a short body. */
#define BEHIND_VALUE_BYTES 96u

void ist_exchange_receive_reset(struct ist_exchange *exchange) {
    ist_stage_reset(&exchange->stage);
    exchange->step = IST_RECEIVE_HEADER;
    exchange->receiving = NULL;
    exchange->left = 0;
}

void ist_exchange_receive_abandon(struct ist_exchange *exchange) {
    IST_ASSERT(exchange->receiving != NULL);
    exchange->receiving = NULL;
    exchange->step = IST_RECEIVE_SKIP;
}

static bool is_receiving(const struct ist_exchange *exchange) {
    return ist_exchange_is_shaking(exchange) || exchange->state == IST_EXCHANGE_OPEN;
}

size_t ist_exchange_recv_buffers(struct ist_exchange *exchange, struct iovec *buffers, size_t max) {
    size_t used = 0;
    if (!is_receiving(exchange)) {
        return 0;
    }
    switch (exchange->step) {
    case IST_RECEIVE_HEADER:
    case IST_RECEIVE_BODY:
        return ist_stage_recv_buffers(
            &exchange->stage, exchange->gets > 0 ? AHEAD_OF_VALUE_BYTES : SIZE_MAX, buffers, max);
    case IST_RECEIVE_PAYLOAD:
        used = ist_reply_recv_buffers(exchange->receiving, buffers, max);
        return used + ist_stage_recv_buffers(&exchange->stage,
                                             exchange->gets > 0 ? BEHIND_VALUE_BYTES : SIZE_MAX,
                                             buffers + used, max - used);
    case IST_RECEIVE_SKIP:
        for (uint64_t left = exchange->left; left > 0 && used < max && used < WASTE_BUFFERS;) {
            buffers[used] = ist_stage_waste(&exchange->stage);
            if (buffers[used].iov_len > left) {
                buffers[used].iov_len = (size_t)left;
            }
            left -= buffers[used++].iov_len;
        }
        return used;
    }
    return 0;
}

/* ---- one reply ----------------------------------------------------------------------------------------- */

static void refuse(struct ist_exchange *exchange) {
    ist_exchange_break(exchange, IST_PROTOCOL);
}

/* The slot of the reply that is arriving; NULL: of no request that could be answered now. */
static struct ist_slot *find_slot(struct ist_exchange *exchange) {
    struct ist_slot *slot = &exchange->slots[exchange->frame.request_id % IST_SLOTS];
    if (!slot->taken || slot->id != exchange->frame.request_id ||
        slot->operation != exchange->frame.operation) {
        return NULL;
    }
    return slot;
}

static void skip(struct ist_exchange *exchange, uint64_t bytes) {
    exchange->left = bytes;
    exchange->step = IST_RECEIVE_SKIP;
}

/* A request that is still being sent cannot have been understood. */
static bool may_be_answered(const struct ist_exchange *exchange, const struct ist_slot *slot) {
    const struct ist_frame *frame = &exchange->frame;
    if (frame->payload_bytes > slot->payload_max ||
        frame->payload_bytes > UINT64_MAX - frame->body_bytes) {
        return false;
    }
    return slot->request == NULL || (slot->request->place == IST_REQUEST_SENT &&
                                     frame->body_bytes <= ist_reply_bytes_max(slot->request));
}

static void take_header(struct ist_exchange *exchange) {
    const struct ist_frame *frame = &exchange->frame;
    ist_stage_consume(&exchange->stage, IST_FRAME_BYTES);
    exchange->step = IST_RECEIVE_BODY;
    if (frame->flags != IST_FRAME_REPLY) {
        refuse(exchange);
        return;
    }
    if (ist_exchange_is_shaking(exchange)) {
        if (!ist_exchange_shake_header(exchange) ||
            ist_stage_body_begin(&exchange->stage, frame->body_bytes) != IST_OK) {
            refuse(exchange);
        }
        return;
    }
    struct ist_slot *slot = find_slot(exchange);
    if (slot == NULL || !may_be_answered(exchange, slot)) {
        refuse(exchange);
        return;
    }
    if (slot->request == NULL || ist_stage_body_begin(&exchange->stage, frame->body_bytes) != IST_OK) {
        if (slot->request != NULL) {
            ist_request_abort(slot->request, IST_NO_MEMORY);
            ist_exchange_finish(exchange, slot->request);
        }
        ist_exchange_slot_release(exchange, slot);
        skip(exchange, frame->body_bytes + frame->payload_bytes);
    }
}

/* The answer is complete. */
static void answer(struct ist_exchange *exchange, struct ist_request *request) {
    ist_exchange_finish(exchange, request);
    exchange->receiving = NULL;
    exchange->step = IST_RECEIVE_HEADER;
}

static void take_reply(struct ist_exchange *exchange, struct ist_span body) {
    struct ist_slot *slot = find_slot(exchange);
    IST_ASSERT(slot != NULL);
    struct ist_request *request = slot->request;
    uint64_t payload_bytes = exchange->frame.payload_bytes;
    if (request != NULL && ist_reply_apply(request, body, payload_bytes) != IST_OK) {
        refuse(exchange);
        return;
    }
    ist_exchange_slot_release(exchange, slot);
    if (request == NULL) {
        skip(exchange, payload_bytes);
    } else if (payload_bytes == 0) {
        answer(exchange, request);
    } else {
        exchange->receiving = request;
        exchange->left = payload_bytes;
        exchange->step = IST_RECEIVE_PAYLOAD;
    }
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

/* Each of these: false when more bytes are needed. */

static bool advance_header(struct ist_exchange *exchange) {
    switch ((int)ist_frame_decode(ist_stage_bytes(&exchange->stage), &exchange->frame)) {
    case IST_OK: take_header(exchange); return true;
    case IST_AGAIN: return false;
    default: refuse(exchange); return true;
    }
}

static bool advance_body(struct ist_exchange *exchange) {
    struct ist_span body;
    if (!ist_stage_body(&exchange->stage, &body)) {
        return false;
    }
    if (!ist_exchange_is_shaking(exchange)) {
        take_reply(exchange, body);
    } else if (ist_exchange_shake(exchange, body)) {
        exchange->step = IST_RECEIVE_HEADER;
    } else {
        refuse(exchange);
    }
    ist_stage_body_end(&exchange->stage);
    return true;
}

static void payload_received(struct ist_exchange *exchange, uint64_t bytes) {
    exchange->left -= bytes;
    ist_reply_received(exchange->receiving, &bytes);
    IST_ASSERT(bytes == 0);
    if (exchange->left == 0) {
        answer(exchange, exchange->receiving);
    }
}

/* What arrived of a payload behind its header. */
static bool advance_payload(struct ist_exchange *exchange) {
    struct ist_span staged = ist_stage_bytes(&exchange->stage);
    struct iovec buffer;
    if (staged.bytes == 0 || ist_reply_recv_buffers(exchange->receiving, &buffer, 1) == 0) {
        return false;
    }
    size_t part = staged.bytes < buffer.iov_len ? staged.bytes : buffer.iov_len;
    memcpy(buffer.iov_base, staged.data, part);
    ist_stage_consume(&exchange->stage, part);
    payload_received(exchange, part);
    return true;
}

static bool advance_skip(struct ist_exchange *exchange) {
    struct ist_span staged = ist_stage_bytes(&exchange->stage);
    size_t part = staged.bytes < exchange->left ? staged.bytes : (size_t)exchange->left;
    ist_stage_consume(&exchange->stage, part);
    exchange->left -= part;
    if (exchange->left == 0) {
        exchange->step = IST_RECEIVE_HEADER;
        return true;
    }
    return false;
}

static void advance(struct ist_exchange *exchange) {
    bool more = true;
    while (more && is_receiving(exchange)) {
        switch (exchange->step) {
        case IST_RECEIVE_HEADER: more = advance_header(exchange); break;
        case IST_RECEIVE_BODY: more = advance_body(exchange); break;
        case IST_RECEIVE_PAYLOAD: more = advance_payload(exchange); break;
        case IST_RECEIVE_SKIP: more = advance_skip(exchange); break;
        }
    }
}

void ist_exchange_received(struct ist_exchange *exchange, uint64_t bytes) {
    switch (exchange->step) {
    case IST_RECEIVE_HEADER:
    case IST_RECEIVE_BODY: ist_stage_received(&exchange->stage, (size_t)bytes); break;
    case IST_RECEIVE_PAYLOAD: {
        uint64_t part = bytes < exchange->left ? bytes : exchange->left;
        ist_stage_received(&exchange->stage, (size_t)(bytes - part));
        payload_received(exchange, part);
        break;
    }
    case IST_RECEIVE_SKIP:
        IST_ASSERT(bytes <= exchange->left);
        exchange->left -= bytes;
        break;
    }
    advance(exchange);
    ist_exchange_pump(exchange);
}

/* How a session begins: HELLO, and where RDMA is wanted CONNECT and a PING over the queue pair. */
#include "base/assert.h"
#include "client/state.h"

#define PROTOCOL_VERSION 1u
#define CLIENT_NAME "infinistore-c/" IST_VERSION
/* An unknown field of HELLO (15), which servers skip. Who listens for HTTP, as InfiniStore's own manage port does,
 * takes all before it for the name of a method and answers, so that the mistake is noticed at once. */
#define LINE_FOR_STRANGERS " / HTTP/1.0\r\n\r\n"
#define TAG_FOR_STRANGERS (15u << 3 | 2u)

_Static_assert(sizeof(CLIENT_NAME) <= 64, "what IST_CODEC_HELLO_BYTES has room for");
_Static_assert(sizeof(LINE_FOR_STRANGERS) < 0x80 && TAG_FOR_STRANGERS < 0x80, "one byte each");
_Static_assert(IST_CODEC_ENDPOINT_BYTES <= IST_CODEC_HELLO_BYTES, "CONNECT fits the same buffer");

/* ---- what is said --------------------------------------------------------------------------------------- */

/* Returns the body's new length. */
static size_t add_line_for_strangers(uint8_t *hello, size_t body_bytes) {
    const size_t line_bytes = sizeof(LINE_FOR_STRANGERS) - 1;
    uint8_t *at = hello + IST_FRAME_BYTES + body_bytes;
    *at++ = TAG_FOR_STRANGERS;
    *at++ = (uint8_t)line_bytes;
    memcpy(at, LINE_FOR_STRANGERS, line_bytes);
    return body_bytes + 2 + line_bytes;
}

/* The body is written. */
static void say(struct ist_exchange *exchange, enum ist_operation operation, size_t body_bytes,
                enum ist_exchange_state state) {
    const struct ist_frame frame = {
        .operation = operation,
        .request_id = exchange->hello_id = ++exchange->serial * IST_SLOTS,
        .body_bytes = (uint32_t)body_bytes,
    };
    ist_frame_encode(&frame, exchange->hello);
    exchange->hello_operation = operation;
    exchange->hello_bytes = IST_FRAME_BYTES + body_bytes;
    exchange->hello_sent = 0;
    exchange->state = state;
}

void ist_exchange_begin(struct ist_exchange *exchange, bool choice) {
    IST_ASSERT(exchange->state == IST_EXCHANGE_CLOSED || !exchange->was_open);
    IST_ASSERT(exchange->outgoing.first == NULL && exchange->sent.first == NULL);
    const struct ist_hello hello = {PROTOCOL_VERSION, PROTOCOL_VERSION,
                                    ist_span_of_string(CLIENT_NAME)};
    size_t body_bytes;
    enum ist_status status = ist_codec_encode_hello(&hello, exchange->hello + IST_FRAME_BYTES,
                                                    IST_CODEC_HELLO_BYTES, &body_bytes);
    IST_ASSERT(status == IST_OK);
    body_bytes = add_line_for_strangers(exchange->hello, body_bytes);
    say(exchange, IST_OP_HELLO, body_bytes, IST_EXCHANGE_HELLO);
    exchange->choice = choice;
    exchange->fault = IST_OK;
    exchange->was_open = false;
    exchange->is_remote = false;
    exchange->regions = NULL;
    ist_exchange_receive_reset(exchange);
}

void ist_exchange_connect(struct ist_exchange *exchange, const struct ist_endpoint *own) {
    IST_ASSERT(exchange->state == IST_EXCHANGE_CHOICE);
    size_t body_bytes;
    enum ist_status status = ist_codec_encode_endpoint(own, exchange->hello + IST_FRAME_BYTES,
                                                       IST_CODEC_ENDPOINT_BYTES, &body_bytes);
    IST_ASSERT(status == IST_OK);
    say(exchange, IST_OP_CONNECT, body_bytes, IST_EXCHANGE_CONNECT);
}

const struct ist_endpoint *ist_exchange_peer(const struct ist_exchange *exchange) {
    IST_ASSERT(exchange->state == IST_EXCHANGE_CONNECTED);
    return &exchange->peer;
}

void ist_exchange_prove(struct ist_exchange *exchange, const struct ist_regions *regions) {
    IST_ASSERT(exchange->state == IST_EXCHANGE_CONNECTED);
    exchange->is_remote = true;
    exchange->regions = regions;
    say(exchange, IST_OP_PING, 0, IST_EXCHANGE_PROOF);
}

static void become_open(struct ist_exchange *exchange) {
    exchange->state = IST_EXCHANGE_OPEN;
    exchange->was_open = true;
}

void ist_exchange_open(struct ist_exchange *exchange, const struct ist_regions *regions) {
    IST_ASSERT(exchange->state == IST_EXCHANGE_CHOICE || exchange->state == IST_EXCHANGE_CONNECTED);
    exchange->regions = regions;
    become_open(exchange);
    ist_exchange_pump(exchange);
}

/* ---- what is answered ----------------------------------------------------------------------------------- */

bool ist_exchange_shake_header(const struct ist_exchange *exchange) {
    const struct ist_frame *frame = &exchange->frame;
    return frame->operation == exchange->hello_operation && frame->request_id == exchange->hello_id &&
           frame->body_bytes <= IST_HELLO_BYTES_MAX && frame->payload_bytes == 0 &&
           exchange->hello_sent == exchange->hello_bytes;
}

/* It is a server of ours, which cannot serve us now. */
static bool is_short_of_memory(struct ist_exchange *exchange, enum ist_status decoded,
                               enum ist_status status) {
    bool is_short = decoded == IST_OK && status == IST_NO_MEMORY;
    if (is_short) {
        ist_exchange_break(exchange, IST_PEER);
    }
    return is_short;
}

static bool shake_hello(struct ist_exchange *exchange, struct ist_span body) {
    struct ist_hello_reply server = {0}; /* it is written only on OK */
    enum ist_status status = ist_codec_decode_hello_reply(body, &server);
    if (is_short_of_memory(exchange, status, server.status)) {
        return true;
    }
    if (status != IST_OK || server.status != IST_OK || server.version != 1 || server.incarnation == 0 ||
        server.keys_max == 0 || server.key_bytes_max == 0 || server.body_bytes_max == 0 ||
        server.in_flight_max == 0) {
        return false;
    }
    server.server = (struct ist_span){0}; /* a view that ends with the body */
    exchange->server = server;
    if (exchange->choice) {
        exchange->state = IST_EXCHANGE_CHOICE;
    } else {
        become_open(exchange);
    }
    return true;
}

static bool shake_connect(struct ist_exchange *exchange, struct ist_span body) {
    if (ist_codec_decode_endpoint(body, &exchange->peer) != IST_OK) {
        return false;
    }
    exchange->state = IST_EXCHANGE_CONNECTED;
    return true;
}

static bool shake_ping(struct ist_exchange *exchange, struct ist_span body) {
    struct ist_keys_reply reply = {0};
    enum ist_status status = ist_codec_decode_keys_reply(body, NULL, 0, &reply);
    if (is_short_of_memory(exchange, status, reply.status)) {
        return true;
    }
    if (status != IST_OK || reply.status != IST_OK) {
        return false;
    }
    become_open(exchange);
    return true;
}

/* The server does not speak first: nothing may be staged behind such a reply, all the less when the next bytes come by
 * another way. */
bool ist_exchange_shake(struct ist_exchange *exchange, struct ist_span body) {
    bool is_last = ist_stage_bytes(&exchange->stage).bytes == body.bytes;
    switch (exchange->hello_operation) {
    case IST_OP_HELLO: return (is_last || !exchange->choice) && shake_hello(exchange, body);
    case IST_OP_CONNECT: return is_last && shake_connect(exchange, body);
    case IST_OP_PING: return shake_ping(exchange, body);
    case IST_OP_PUT:
    case IST_OP_GET:
    case IST_OP_EXISTS:
    case IST_OP_MATCH_PREFIX:
    case IST_OP_MATCH_LAST:
    case IST_OP_REMOVE:
    case IST_OP_PURGE:
    case IST_OP_STAT: break;
    }
    return false;
}

/* The inside of an exchange; for the files of this room only. */
#ifndef IST_CLIENT_STATE_H
#define IST_CLIENT_STATE_H

#include "client/exchange.h"
#include "client/stage.h"
#include "wire/codec.h"

/* A request id is a count and the slot of the request, so that a reply finds it at once. */
#define IST_SLOTS IST_REQUESTS_IN_FLIGHT_MAX
_Static_assert((IST_SLOTS & (IST_SLOTS - 1)) == 0 && IST_SLOTS <= UINT16_MAX,
               "slots are bits of an id");

struct ist_slot {
    bool taken;
    struct ist_request *request; /* NULL: nobody waits for the reply any more */
    uint64_t id;
    enum ist_operation operation;
    uint64_t payload_max; /* of the reply */
};

struct ist_request_list {
    struct ist_request *first, *last;
};

enum ist_receive_step {
    IST_RECEIVE_HEADER,
    IST_RECEIVE_BODY,
    IST_RECEIVE_PAYLOAD,
    IST_RECEIVE_SKIP,
};

struct ist_exchange {
    const struct ist_alloc *alloc;
    enum ist_exchange_state state;
    enum ist_status fault;
    bool was_open; /* since begin */
    struct ist_hello_reply server;

    size_t in_flight;
    struct ist_timers timers;
    struct ist_request_list queued, outgoing, sent;
    struct ist_request *first_done, *last_done;

    struct ist_slot slots[IST_SLOTS];
    uint16_t free_slots[IST_SLOTS]; /* a stack: the first free_count are free */
    size_t free_count;
    size_t gets; /* slots of GETs */
    uint64_t serial;

    /* HELLO, CONNECT, and the PING that proves */
    uint8_t hello[IST_FRAME_BYTES + IST_CODEC_HELLO_BYTES + 32];
    size_t hello_bytes, hello_sent;
    uint64_t hello_id;
    enum ist_operation hello_operation;
    bool choice;
    struct ist_endpoint peer;

    bool is_remote;
    const struct ist_regions *regions; /* borrowed while OPEN; may be NULL */
    const char *notes[2];              /* by is_remote */

    struct ist_stage stage;
    enum ist_receive_step step;
    struct ist_frame frame;        /* the reply that is arriving, in all steps but HEADER */
    struct ist_request *receiving; /* in PAYLOAD */
    uint64_t left;                 /* of the payload (PAYLOAD), of what is skipped (SKIP) */
};

/* A reply to what the handshake has sent last is awaited. */
static inline bool ist_exchange_is_shaking(const struct ist_exchange *exchange) {
    return exchange->state == IST_EXCHANGE_HELLO || exchange->state == IST_EXCHANGE_CONNECT ||
           exchange->state == IST_EXCHANGE_PROOF;
}

/* handshake.c: the header in `frame` is of such a reply; and its body. False: it is not. */
bool ist_exchange_shake_header(const struct ist_exchange *exchange);
bool ist_exchange_shake(struct ist_exchange *exchange, struct ist_span body);

/* The session is over: nothing more is sent or received. The first fault counts. */
void ist_exchange_break(struct ist_exchange *exchange, enum ist_status fault);
/* What waits may be sent, as far as the server's limits allow. */
void ist_exchange_pump(struct ist_exchange *exchange);
void ist_exchange_slot_release(struct ist_exchange *exchange, struct ist_slot *slot);
/* Out of whatever list it is in, to the caller. Its status is set. */
void ist_exchange_finish(struct ist_exchange *exchange, struct ist_request *request);

/* Back to the first byte of a header. */
void ist_exchange_receive_reset(struct ist_exchange *exchange);
/* In PAYLOAD: nobody wants the rest of it. */
void ist_exchange_receive_abandon(struct ist_exchange *exchange);

#endif

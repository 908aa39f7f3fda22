#include "client/exchange.h"

#include "base/assert.h"
#include "client/state.h"

enum ist_status ist_exchange_new(const struct ist_alloc *alloc, struct ist_exchange **exchange) {
    struct ist_exchange *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    if (ist_timers_init(&new->timers, IST_REQUESTS_IN_FLIGHT_MAX, alloc) != IST_OK) {
        goto free_exchange;
    }
    if (ist_stage_init(&new->stage, alloc) != IST_OK) {
        goto free_timers;
    }
    for (uint16_t i = 0; i < IST_SLOTS; i++) {
        new->free_slots[i] = (uint16_t)(IST_SLOTS - 1 - i);
    }
    new->free_count = IST_SLOTS;
    *exchange = new;
    return IST_OK;

free_timers:
    ist_timers_fini(&new->timers);
free_exchange:
    ist_release(alloc, new);
    return IST_NO_MEMORY;
}

void ist_exchange_free(struct ist_exchange *exchange) {
    if (exchange == NULL) {
        return;
    }
    IST_ASSERT(exchange->state == IST_EXCHANGE_CLOSED && exchange->in_flight == 0);
    ist_stage_fini(&exchange->stage);
    ist_timers_fini(&exchange->timers);
    ist_release(exchange->alloc, exchange);
}

enum ist_exchange_state ist_exchange_state(const struct ist_exchange *exchange) {
    return exchange->state;
}

enum ist_status ist_exchange_fault(const struct ist_exchange *exchange) {
    return exchange->fault;
}

bool ist_exchange_was_open(const struct ist_exchange *exchange) {
    return exchange->was_open;
}

uint64_t ist_exchange_incarnation(const struct ist_exchange *exchange) {
    return exchange->state == IST_EXCHANGE_OPEN ? exchange->server.incarnation : 0;
}

size_t ist_exchange_in_flight(const struct ist_exchange *exchange) {
    return exchange->in_flight;
}

uint64_t ist_exchange_payload_left(const struct ist_exchange *exchange) {
    switch (exchange->step) {
    case IST_RECEIVE_PAYLOAD:
    case IST_RECEIVE_SKIP: return exchange->left;
    case IST_RECEIVE_HEADER:
    case IST_RECEIVE_BODY: break;
    }
    return 0;
}

void ist_exchange_break(struct ist_exchange *exchange, enum ist_status fault) {
    if (exchange->state != IST_EXCHANGE_BROKEN) {
        exchange->state = IST_EXCHANGE_BROKEN;
        exchange->fault = fault;
    }
}

/* ---- lists and slots ----------------------------------------------------------------------------------- */

static struct ist_request_list *list_of(struct ist_exchange *exchange, enum ist_request_place place) {
    switch (place) {
    case IST_REQUEST_QUEUED: return &exchange->queued;
    case IST_REQUEST_OUTGOING: return &exchange->outgoing;
    case IST_REQUEST_SENT: return &exchange->sent;
    case IST_REQUEST_NEW:
    case IST_REQUEST_DONE: break;
    }
    return NULL;
}

static void leave(struct ist_exchange *exchange, struct ist_request *request) {
    struct ist_request_list *list = list_of(exchange, request->place);
    if (list == NULL) {
        return;
    }
    *(request->previous == NULL ? &list->first : &request->previous->next) = request->next;
    *(request->next == NULL ? &list->last : &request->next->previous) = request->previous;
    request->next = request->previous = NULL;
}

static void move(struct ist_exchange *exchange, struct ist_request *request,
                 enum ist_request_place place) {
    leave(exchange, request);
    request->place = place;
    struct ist_request_list *list = list_of(exchange, place);
    if (list != NULL) {
        request->previous = list->last;
        *(list->last == NULL ? &list->first : &list->last->next) = request;
        list->last = request;
    }
}

static void slot_take(struct ist_exchange *exchange, struct ist_request *request) {
    uint16_t number = exchange->free_slots[--exchange->free_count];
    bool is_get = request->operation == IST_OP_GET;
    request->slot = number;
    exchange->slots[number] = (struct ist_slot){
        .taken = true,
        .request = request,
        .id = ++exchange->serial * IST_SLOTS + number,
        .operation = request->operation,
        .payload_max = is_get && !request->is_remote ? request->payload_bytes : 0,
    };
    exchange->gets += is_get;
    ist_request_seal(request, exchange->slots[number].id);
}

void ist_exchange_slot_release(struct ist_exchange *exchange, struct ist_slot *slot) {
    IST_ASSERT(slot->taken);
    exchange->gets -= slot->operation == IST_OP_GET;
    exchange->free_slots[exchange->free_count++] = (uint16_t)(slot - exchange->slots);
    *slot = (struct ist_slot){0};
}

/* ---- in and out ---------------------------------------------------------------------------------------- */

enum ist_status ist_exchange_submit(struct ist_exchange *exchange, struct ist_request *request,
                                    uint64_t deadline_ns) {
    if (exchange->in_flight >= IST_REQUESTS_IN_FLIGHT_MAX) {
        return IST_AGAIN;
    }
    exchange->in_flight++;
    if (deadline_ns != IST_NO_DEADLINE_NS) {
        ist_timers_arm(&exchange->timers, &request->timer, deadline_ns);
    }
    move(exchange, request, IST_REQUEST_QUEUED);
    ist_exchange_pump(exchange);
    return IST_OK;
}

static void push_done(struct ist_exchange *exchange, struct ist_request *request) {
    ist_timers_disarm(&exchange->timers, &request->timer);
    request->next_done = NULL;
    *(exchange->last_done == NULL ? &exchange->first_done : &exchange->last_done->next_done) = request;
    exchange->last_done = request;
}

void ist_exchange_finish(struct ist_exchange *exchange, struct ist_request *request) {
    move(exchange, request, IST_REQUEST_DONE);
    push_done(exchange, request);
}

struct ist_request *ist_exchange_next_done(struct ist_exchange *exchange) {
    struct ist_request *request = exchange->first_done;
    if (request != NULL) {
        exchange->first_done = request->next_done;
        if (exchange->first_done == NULL) {
            exchange->last_done = NULL;
        }
        exchange->in_flight--;
    }
    return request;
}

void ist_exchange_release(struct ist_exchange *exchange, struct ist_request *request) {
    (void)exchange;
    if (request->orphan) {
        request->released = true;
    } else {
        ist_request_free(request);
    }
}

/* ---- what may be sent ---------------------------------------------------------------------------------- */

static bool server_allows(const struct ist_exchange *exchange, const struct ist_request *request) {
    const struct ist_hello_reply *server = &exchange->server;
    return request->count <= server->keys_max && request->longest_key <= server->key_bytes_max &&
           request->head_bytes - IST_FRAME_BYTES <= server->body_bytes_max;
}

/* In the form of this session. False: it has its status, and is not to be sent. */
static bool make_sendable(const struct ist_exchange *exchange, struct ist_request *request) {
    enum ist_status status = IST_OK;
    request->note = exchange->notes[exchange->is_remote];
    ist_request_limit_values(request, exchange->server.value_bytes_max);
    if (exchange->is_remote) {
        status = ist_request_make_remote(request, exchange->regions);
    } else if (exchange->regions != NULL &&
               ist_request_uses_device_memory(request, exchange->regions)) {
        status = IST_INVALID;
    }
    if (status == IST_OK && !server_allows(exchange, request)) {
        status = IST_INVALID;
    }
    if (status != IST_OK) {
        ist_request_abort(request, status);
        return false;
    }
    return !ist_request_is_refused(request);
}

void ist_exchange_pump(struct ist_exchange *exchange) {
    while (exchange->state == IST_EXCHANGE_OPEN && exchange->queued.first != NULL) {
        struct ist_request *request = exchange->queued.first;
        if (exchange->free_count == 0 ||
            IST_SLOTS - exchange->free_count >= exchange->server.in_flight_max) {
            break;
        }
        if (make_sendable(exchange, request)) {
            slot_take(exchange, request);
            move(exchange, request, IST_REQUEST_OUTGOING);
        } else {
            ist_exchange_finish(exchange, request);
        }
    }
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

/* Done and sent for the caller; its memory goes when the caller has seen it. */
static void drop_orphan(struct ist_exchange *exchange, struct ist_request *request) {
    leave(exchange, request);
    request->place = IST_REQUEST_DONE;
    request->orphan = false;
    if (request->released) {
        ist_request_free(request);
    }
}

static void end_list(struct ist_exchange *exchange, struct ist_request_list *list,
                     enum ist_status status) {
    while (list->first != NULL) {
        struct ist_request *request = list->first;
        if (request->orphan) {
            drop_orphan(exchange, request);
        } else {
            ist_request_abort(request, request->expired ? IST_TIMEOUT : status);
            ist_exchange_finish(exchange, request);
        }
    }
}

void ist_exchange_end(struct ist_exchange *exchange, enum ist_status status) {
    end_list(exchange, &exchange->sent, status);
    end_list(exchange, &exchange->outgoing, status);
    end_list(exchange, &exchange->queued, status);
    for (size_t i = 0; i < IST_SLOTS && exchange->free_count < IST_SLOTS; i++) {
        if (exchange->slots[i].taken) {
            ist_exchange_slot_release(exchange, &exchange->slots[i]);
        }
    }
    ist_exchange_receive_reset(exchange);
    exchange->state = IST_EXCHANGE_CLOSED;
    exchange->fault = IST_OK;
    exchange->is_remote = false;
    exchange->regions = NULL;
}

bool ist_exchange_is_remote(const struct ist_exchange *exchange) {
    return exchange->is_remote;
}

void ist_exchange_set_notes(struct ist_exchange *exchange, const char *tcp, const char *rdma) {
    exchange->notes[false] = tcp;
    exchange->notes[true] = rdma;
}

static bool list_uses(const struct ist_request_list *list, uint64_t address, uint64_t bytes) {
    for (const struct ist_request *request = list->first; request != NULL; request = request->next) {
        if (request->is_remote && ist_request_names(request, address, bytes)) {
            return true;
        }
    }
    return false;
}

bool ist_exchange_uses(const struct ist_exchange *exchange, uint64_t address, uint64_t bytes) {
    return list_uses(&exchange->outgoing, address, bytes) || list_uses(&exchange->sent, address, bytes);
}

/* ---- sending ------------------------------------------------------------------------------------------- */

bool ist_exchange_wants_send(const struct ist_exchange *exchange) {
    if (ist_exchange_is_shaking(exchange)) {
        return exchange->hello_sent < exchange->hello_bytes;
    }
    return exchange->state == IST_EXCHANGE_OPEN && exchange->outgoing.first != NULL;
}

size_t ist_exchange_send_buffers(const struct ist_exchange *exchange, struct iovec *buffers,
                                 size_t max) {
    size_t used = 0;
    if (!ist_exchange_wants_send(exchange) || max == 0) {
        return 0;
    }
    if (ist_exchange_is_shaking(exchange)) {
        buffers[0] = (struct iovec){
            .iov_base = (uint8_t *)(uintptr_t)exchange->hello + exchange->hello_sent,
            .iov_len = exchange->hello_bytes - exchange->hello_sent,
        };
        return 1;
    }
    for (const struct ist_request *request = exchange->outgoing.first; request != NULL && used < max;
         request = request->next) {
        used += ist_request_send_buffers(request, buffers + used, max - used);
    }
    return used;
}

void ist_exchange_sent(struct ist_exchange *exchange, uint64_t bytes) {
    if (ist_exchange_is_shaking(exchange)) {
        exchange->hello_sent += (size_t)bytes;
        IST_ASSERT(exchange->hello_sent <= exchange->hello_bytes);
        return;
    }
    while (bytes > 0) {
        struct ist_request *request = exchange->outgoing.first;
        IST_ASSERT(exchange->state == IST_EXCHANGE_OPEN && request != NULL);
        if (!ist_request_sent(request, &bytes)) {
            IST_ASSERT(bytes == 0);
        } else if (request->orphan) {
            drop_orphan(exchange, request);
        } else {
            move(exchange, request, IST_REQUEST_SENT);
        }
    }
}

/* ---- deadlines ----------------------------------------------------------------------------------------- */

uint64_t ist_exchange_deadline_ns(const struct ist_exchange *exchange) {
    const struct ist_timer *first = ist_timers_first(&exchange->timers);
    return first == NULL ? IST_NO_DEADLINE_NS : first->at_ns;
}

/* Its reply, if it comes, will be ignored. */
static void forget(struct ist_exchange *exchange, const struct ist_request *request) {
    exchange->slots[request->slot].request = NULL;
}

static void expire_outgoing(struct ist_exchange *exchange, struct ist_request *request) {
    if (!ist_request_has_begun(request)) {
        ist_exchange_slot_release(exchange, &exchange->slots[request->slot]);
        ist_exchange_finish(exchange, request);
    } else if (request->operation == IST_OP_PUT) {
        forget(exchange, request);
        ist_exchange_finish(exchange, request);
        ist_exchange_break(exchange, IST_PEER);
    } else {
        forget(exchange, request);
        request->orphan = true;
        push_done(exchange, request);
    }
}

static void expire(struct ist_exchange *exchange, struct ist_request *request) {
    if (ist_request_is_exposed(request)) {
        request->expired = true;
        ist_timers_disarm(&exchange->timers, &request->timer);
        ist_exchange_break(exchange, IST_PEER);
        return;
    }
    ist_request_abort(request, IST_TIMEOUT);
    switch (request->place) {
    case IST_REQUEST_QUEUED: ist_exchange_finish(exchange, request); break;
    case IST_REQUEST_OUTGOING: expire_outgoing(exchange, request); break;
    case IST_REQUEST_SENT:
        if (exchange->receiving == request) {
            ist_exchange_receive_abandon(exchange);
        } else {
            forget(exchange, request);
        }
        ist_exchange_finish(exchange, request);
        break;
    case IST_REQUEST_NEW:
    case IST_REQUEST_DONE: IST_ASSERT(false);
    }
}

void ist_exchange_tick(struct ist_exchange *exchange, uint64_t now_ns) {
    struct ist_timer *first;
    while ((first = ist_timers_first(&exchange->timers)) != NULL && first->at_ns <= now_ns) {
        expire(exchange, (struct ist_request *)((char *)first - offsetof(struct ist_request, timer)));
    }
    ist_exchange_pump(exchange);
}

/* ---- invariants ---------------------------------------------------------------------------------------- */

static size_t check_list(const struct ist_exchange *exchange, const struct ist_request_list *list,
                         enum ist_request_place place) {
    size_t count = 0;
    const struct ist_request *previous = NULL;
    for (const struct ist_request *request = list->first; request != NULL; request = request->next) {
        IST_ASSERT(request->place == place && request->previous == previous);
        const struct ist_slot *slot = &exchange->slots[request->slot];
        if (place != IST_REQUEST_QUEUED && request != exchange->receiving) {
            IST_ASSERT(slot->taken && slot->operation == request->operation);
            IST_ASSERT(slot->request == (request->orphan ? NULL : request));
        }
        IST_ASSERT(place == IST_REQUEST_OUTGOING || !request->orphan);
        IST_ASSERT(request->previous == NULL || !ist_request_has_begun(request) ||
                   place == IST_REQUEST_SENT);
        count += !request->orphan;
        previous = request;
    }
    IST_ASSERT(list->last == previous);
    return count;
}

void ist_exchange_check(const struct ist_exchange *exchange) {
    size_t count = check_list(exchange, &exchange->queued, IST_REQUEST_QUEUED) +
                   check_list(exchange, &exchange->outgoing, IST_REQUEST_OUTGOING) +
                   check_list(exchange, &exchange->sent, IST_REQUEST_SENT);
    for (const struct ist_request *request = exchange->first_done; request != NULL;
         request = request->next_done) {
        IST_ASSERT(request->timer.place == 0);
        IST_ASSERT(request->next_done != NULL || exchange->last_done == request);
        count++;
    }
    IST_ASSERT(count == exchange->in_flight && count <= IST_REQUESTS_IN_FLIGHT_MAX);
    size_t taken = 0, gets = 0;
    for (size_t i = 0; i < IST_SLOTS; i++) {
        taken += exchange->slots[i].taken;
        gets += exchange->slots[i].taken && exchange->slots[i].operation == IST_OP_GET;
    }
    IST_ASSERT(taken + exchange->free_count == IST_SLOTS && gets == exchange->gets);
    IST_ASSERT((exchange->step == IST_RECEIVE_PAYLOAD) == (exchange->receiving != NULL));
    IST_ASSERT((exchange->state == IST_EXCHANGE_BROKEN) == (exchange->fault != IST_OK));
    IST_ASSERT(!exchange->is_remote || exchange->regions != NULL);
    ist_stage_check(&exchange->stage);
    ist_timers_check(&exchange->timers);
}

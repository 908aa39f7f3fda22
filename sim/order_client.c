#include "sim/order_client.h"

#include <string.h>

#include "base/assert.h"
#include "sim/canary.h"
#include "wire/codec.h"

#define BUFFERS_MAX 16u

/* ---- the edge -------------------------------------------------------------------------------------------- */

static void copy_staged(struct sim_order_rig *rig, struct ist_session *session) {
    struct ist_copy copy;
    while (ist_session_copy(session, &copy)) {
        IST_ASSERT(copy.offset + copy.bytes <= sizeof(rig->pool));
        memcpy(rig->pool + copy.offset, copy.from, copy.bytes);
        ist_session_copied(session, rig->now_ns);
    }
}

/* A canary lets what follows a piece of a value land a byte late. */
static void scatter(struct sim_order_rig *rig, const struct ist_buffer *buffer, const uint8_t *from,
                    size_t bytes) {
    bool late = sim_canary_is(SIM_CANARY_SPLIT_PAYLOAD) && buffer->offset % SIM_ORDER_BLOCK_BYTES != 0;
    switch (buffer->kind) {
    case IST_BUFFER_MEMORY: memcpy(buffer->memory, from, bytes); break;
    case IST_BUFFER_POOL:
        IST_ASSERT(buffer->offset + bytes <= sizeof(rig->pool));
        memcpy(rig->pool + buffer->offset + late, from, bytes - late);
        break;
    case IST_BUFFER_DISCARD: break;
    }
}

void sim_order_deliver(struct sim_order_rig *rig, struct ist_session *session, const uint8_t *data,
                       size_t count) {
    while (count > 0) {
        struct ist_buffer buffers[BUFFERS_MAX];
        if ((ist_session_wants(session) & IST_WANT_RECV) == 0) {
            sim_order_fail("a session does not read");
        }
        size_t named = ist_session_recv_buffers(session, buffers, BUFFERS_MAX), moved = 0;
        for (size_t i = 0; i < named && moved < count; i++) {
            size_t left = count - moved;
            size_t part = buffers[i].bytes < left ? (size_t)buffers[i].bytes : left;
            scatter(rig, &buffers[i], data + moved, part);
            moved += part;
        }
        ist_session_received(session, moved, rig->now_ns);
        copy_staged(rig, session);
        data += moved;
        count -= moved;
    }
}

size_t sim_order_take(struct sim_order_rig *rig, struct ist_session *session, bool some, uint8_t *out) {
    struct ist_buffer buffers[BUFFERS_MAX];
    size_t named = ist_session_send_buffers(session, buffers, BUFFERS_MAX), total = 0, taken = 0;
    for (size_t i = 0; i < named; i++) {
        total += (size_t)buffers[i].bytes;
    }
    size_t limit = some ? total / 2 : total;
    IST_ASSERT(total <= SIM_ORDER_IN_BYTES);
    for (size_t i = 0; i < named && taken < limit; i++) {
        size_t left = limit - taken;
        size_t part = buffers[i].bytes < left ? (size_t)buffers[i].bytes : left;
        memcpy(out + taken,
               buffers[i].kind == IST_BUFFER_POOL ? rig->pool + buffers[i].offset : buffers[i].memory,
               part);
        taken += part;
    }
    ist_session_sent(session, taken, rig->now_ns);
    return taken;
}

/* ---- requests and replies ---------------------------------------------------------------------------------- */

void sim_order_client_arrive(struct sim_order_rig *rig, unsigned client, enum sim_order_step step) {
    struct sim_order_client *of = &rig->clients[client];
    const struct sim_order_bytes *request = &rig->script->requests[client][of->next];
    uint32_t until = step == SIM_ORDER_HEAD     ? request->head
                     : step == SIM_ORDER_MIDDLE ? request->middle
                                                : request->count;
    uint32_t from = of->arrived;
    bool whole = until == request->count;
    sim_order_judge_arrived(&rig->judge, &rig->script->of, client, of->next, whole);
    of->arrived = whole ? 0 : until;
    of->next += whole;
    sim_order_deliver(rig, of->session, request->data + from, until - from);
}

/* Replies that are whole, and values that are. */
static void hear(struct sim_order_rig *rig, unsigned client) {
    struct sim_order_client *of = &rig->clients[client];
    bool rdma = sim_order_program_of(rig, client)->rdma;
    uint32_t at = 0;
    struct ist_frame frame;
    while (of->in_bytes - at >= IST_FRAME_BYTES) {
        struct ist_span in = ist_span_of(of->in + at, of->in_bytes - at);
        if (ist_frame_decode(in, &frame) != IST_OK || frame.flags != IST_FRAME_REPLY) {
            sim_order_fail("client %u got what is no reply", client + 1);
        }
        uint32_t head_bytes = IST_FRAME_BYTES + frame.body_bytes;
        if (!rdma && in.bytes >= head_bytes && frame.payload_bytes > 0) {
            sim_order_judge_left(&rig->judge, &rig->script->of, client, frame.request_id,
                                 in.bytes - head_bytes);
        }
        if (in.bytes < head_bytes + frame.payload_bytes) {
            break;
        }
        const uint8_t *values =
            rdma
                ? of->memory + sim_order_place((unsigned)frame.request_id % SIM_ORDER_OPERATIONS_MAX, 0)
                : in.data + head_bytes;
        sim_order_judge_reply(&rig->judge, &rig->script->of, client, &frame,
                              ist_span_of(in.data + IST_FRAME_BYTES, frame.body_bytes), values);
        at += head_bytes + (uint32_t)frame.payload_bytes;
    }
    memmove(of->in, of->in + at, of->in_bytes - at);
    of->in_bytes -= at;
}

static struct sim_order_posted *post(struct sim_order_client *of, enum sim_order_posted_kind kind,
                                     size_t bytes) {
    IST_ASSERT(of->posted_count < SIM_ORDER_POSTED_MAX);
    struct sim_order_posted *posted = &of->posted[of->posted_count++];
    memset(posted, 0, sizeof(*posted));
    posted->kind = kind;
    posted->bytes = (uint32_t)bytes;
    return posted;
}

void sim_order_client_send(struct sim_order_rig *rig, unsigned client, bool some) {
    struct sim_order_client *of = &rig->clients[client];
    uint8_t out[SIM_ORDER_IN_BYTES];
    size_t bytes = sim_order_take(rig, of->session, some, out);
    of->sent_pieces = some ? of->sent_pieces + 1 : 0;
    if (!sim_order_program_of(rig, client)->rdma) {
        IST_ASSERT(of->in_bytes + bytes <= sizeof(of->in));
        memcpy(of->in + of->in_bytes, out, bytes);
        of->in_bytes += (uint32_t)bytes;
        hear(rig, client);
        return;
    }
    IST_ASSERT(bytes <= SIM_ORDER_MESSAGE_BYTES);
    memcpy(post(of, SIM_ORDER_MESSAGE, bytes)->message, out, bytes);
}

/* ---- the queue pair ------------------------------------------------------------------------------------------ */

void sim_order_client_work(struct sim_order_rig *rig, unsigned client) {
    struct sim_order_client *of = &rig->clients[client];
    struct ist_work work;
    if (ist_session_work(of->session, &work, 1, rig->now_ns) != 1) {
        sim_order_fail("client %u's session has no work and wants to hand it out", client + 1);
    }
    uint64_t place = work.address - sim_order_address(client, 0, 0);
    if (place + work.bytes > SIM_ORDER_AREA_BYTES || work.rkey != SIM_ORDER_RKEY + client ||
        work.offset + work.bytes > sizeof(rig->pool)) {
        sim_order_fail("work on memory that is not client %u's, or not the pool's", client + 1);
    }
    struct sim_order_posted *posted =
        post(of, work.kind == IST_WORK_READ ? SIM_ORDER_READ : SIM_ORDER_WRITE, work.bytes);
    posted->offset = work.offset;
    posted->place = place;
    if (sim_canary_is(SIM_CANARY_WORK_DONE_AT_POST)) {
        ist_session_work_done(of->session, 1, rig->now_ns);
    }
}

static void move_bytes(struct sim_order_rig *rig, struct sim_order_client *of,
                       const struct sim_order_posted *posted) {
    uint8_t *local = rig->pool + posted->offset, *remote = of->memory + posted->place;
    if (posted->kind == SIM_ORDER_READ) {
        memcpy(local, remote, posted->bytes);
    } else {
        memcpy(remote, local, posted->bytes);
    }
}

static void drop_oldest(struct sim_order_client *of) {
    of->posted_count--;
    memmove(of->posted, of->posted + 1, of->posted_count * sizeof(of->posted[0]));
}

void sim_order_client_complete(struct sim_order_rig *rig, unsigned client) {
    struct sim_order_client *of = &rig->clients[client];
    const struct sim_order_posted posted = of->posted[0];
    drop_oldest(of);
    if (posted.kind == SIM_ORDER_MESSAGE) {
        memcpy(of->in, posted.message, posted.bytes);
        of->in_bytes = posted.bytes;
        hear(rig, client);
        if (of->in_bytes != 0) {
            sim_order_fail("client %u got a message that is not whole", client + 1);
        }
        return;
    }
    move_bytes(rig, of, &posted);
    unsigned slot = (unsigned)(posted.place / SIM_ORDER_VALUE_BYTES_MAX);
    sim_order_judge_moved(&rig->judge, &rig->script->of, client, slot / SIM_ORDER_KEYS,
                          slot % SIM_ORDER_KEYS);
    if (!sim_canary_is(SIM_CANARY_WORK_DONE_AT_POST)) {
        ist_session_work_done(of->session, 1, rig->now_ns);
    }
}

/* ---- ends ------------------------------------------------------------------------------------------------------ */

bool sim_order_client_has_work(const struct sim_order_client *client) {
    for (uint32_t i = 0; i < client->posted_count; i++) {
        if (client->posted[i].kind != SIM_ORDER_MESSAGE) {
            return true;
        }
    }
    return false;
}

bool sim_order_client_waits(const struct sim_order_client *client) {
    return client->arrived > 0 || sim_order_client_has_work(client) ||
           (ist_session_wants(client->session) & (IST_WANT_SEND | IST_WANT_WORK)) != 0;
}

void sim_order_client_bury(struct sim_order_rig *rig, unsigned client) {
    struct sim_order_client *of = &rig->clients[client];
    ist_session_close(of->session);
    of->session = NULL;
    of->posted_count = of->in_bytes = of->arrived = of->is_cut = 0;
    sim_order_judge_closed(&rig->judge, client);
}

/* The edge knows that the connection is gone. Work that was posted may still move bytes, until the queue pair is: only
 * then is the session closed. */
void sim_order_client_cut(struct sim_order_rig *rig, unsigned client) {
    struct sim_order_client *of = &rig->clients[client];
    of->is_cut = 1;
    if (!sim_order_client_has_work(of)) {
        sim_order_client_bury(rig, client);
    }
}

void sim_order_client_land(struct sim_order_rig *rig, unsigned client) {
    struct sim_order_client *of = &rig->clients[client];
    while (of->posted[0].kind == SIM_ORDER_MESSAGE) {
        drop_oldest(of);
    }
    move_bytes(rig, of, &of->posted[0]);
    drop_oldest(of);
}

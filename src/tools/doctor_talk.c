#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "tools/doctor_walk.h"

#define EVENTS_MAX 8u
#define BODY_BYTES_MAX 512u

/* ---- messages ----------------------------------------------------------------------------------------- */

static const char small_advice[] =
    "RoCE packets do not get through, although TCP does: let UDP port 4791 through all firewalls, in "
    "both\n"
    "directions; see that both GIDs are of interfaces that reach each other (ping -I NETDEV ADDRESS)";
static const char large_advice[] = "small messages get through, large ones do not: the MTU of the path "
                                   "is smaller than that of an end. Set\n"
                                   "the same MTU on both interfaces and every switch between: ping -M "
                                   "do -s 4200 ADDRESS must work, or lower it";

static bool broken(struct ist_doctor_walk *walk, const char *failure, bool is_large) {
    return ist_doctor_failed(walk, is_large ? large_advice : small_advice, "RDMA failed: %s", failure);
}

/* False: the queue pair has broken. */
static bool take_event(struct ist_doctor_walk *walk, const struct ist_completion_event *event,
                       bool is_large) {
    if (event->kind == IST_COMPLETION_FAILED) {
        return broken(walk, event->failure, is_large);
    }
    if (event->kind == IST_COMPLETION_SENT) {
        (void)ist_queue_pair_retire(walk->queue_pair, event->count);
        return true;
    }
    bool has_bytes = ist_queue_pair_received(walk->queue_pair, event);
    if (has_bytes && event->bytes > sizeof(walk->in) - walk->in_bytes) {
        return ist_doctor_failed(walk, NULL, "more came than was asked for");
    }
    if (has_bytes) {
        memcpy(walk->in + walk->in_bytes, ist_completion_buffer(walk->completion, event->buffer),
               event->bytes);
        walk->in_bytes += event->bytes;
        ist_queue_pair_owe_credit(walk->queue_pair);
    }
    return ist_completion_give_back(walk->completion, event->buffer) == IST_OK ||
           ist_doctor_failed(walk, NULL, "%s", walk->logged);
}

static bool take_events(struct ist_doctor_walk *walk, bool is_large) {
    struct ist_completion_event events[EVENTS_MAX];
    size_t count = EVENTS_MAX;
    ist_completion_arm(walk->completion);
    while (count == EVENTS_MAX) {
        count = ist_completion_poll(walk->completion, events, EVENTS_MAX);
        for (size_t i = 0; i < count; i++) {
            if (!take_event(walk, &events[i], is_large)) {
                return false;
            }
        }
    }
    bool lives = !ist_completion_has_failed(walk->completion) &&
                 ist_queue_pair_flush(walk->queue_pair) == IST_OK;
    return lives || ist_doctor_failed(walk, NULL, "%s", walk->logged);
}

static bool take_device_events(struct ist_doctor_walk *walk) {
    struct ist_device_event event;
    while (ist_device_next_event(walk->device, &event) == IST_OK) {
        if (event.kind == IST_DEVICE_PORT_DOWN || event.kind == IST_DEVICE_FAILED) {
            return ist_doctor_failed(walk, "look at the cable, and at dmesg", "%s", walk->logged);
        }
    }
    return true;
}

/* The stream is the server's sign of life; it says nothing more over it. */
static bool is_stream_open(struct ist_doctor_walk *walk, bool is_large) {
    char byte;
    ssize_t got = recv(walk->fd, &byte, 1, MSG_DONTWAIT);
    if (got > 0) {
        return ist_doctor_failed(walk, NULL, "the server speaks over TCP after a change to RDMA");
    }
    return (got < 0 && (errno == EAGAIN || errno == EINTR)) ||
           ist_doctor_failed(walk, is_large ? large_advice : small_advice,
                             "the server ended the session: its log says why");
}

/* Waits for the reply to the last request; the server's RDMA runs meanwhile. */
static bool hear(struct ist_doctor_walk *walk, struct ist_frame *frame, bool is_large) {
    int has = ist_doctor_has_reply(walk, frame);
    while (has == 0) {
        if (!take_events(walk, is_large) || !take_device_events(walk)) {
            return false;
        }
        has = ist_doctor_has_reply(walk, frame);
        if (has != 0) {
            break;
        }
        struct pollfd ready[] = {
            {.fd = ist_completion_fd(walk->completion), .events = POLLIN},
            {.fd = ist_device_fd(walk->device), .events = POLLIN},
            {.fd = walk->fd, .events = POLLIN},
        };
        int left_ms = ist_doctor_left_ms(walk); /* also when there is always something to hear */
        if (left_ms == 0 || poll(ready, 3, left_ms) <= 0) {
            return ist_doctor_failed(walk, is_large ? large_advice : small_advice,
                                     "no answer within %.1f s",
                                     (double)walk->options->timeout_ns / 1e9);
        }
        /* What the queue pair has to say of the end says more. */
        if (ready[2].revents != 0 &&
            (!take_events(walk, is_large) || !is_stream_open(walk, is_large))) {
            return false;
        }
    }
    return has > 0 || ist_doctor_failed(walk, NULL, "its answer is malformed");
}

static bool say(struct ist_doctor_walk *walk, enum ist_operation operation, const uint8_t *body,
                size_t bytes) {
    const struct ist_frame frame = {
        .operation = operation, .request_id = ++walk->request_id, .body_bytes = (uint32_t)bytes};
    if (ist_queue_pair_message_room(walk->queue_pair) < IST_FRAME_BYTES + bytes) {
        return ist_doctor_failed(walk, NULL, "the server takes no message of %zu bytes",
                                 IST_FRAME_BYTES + bytes);
    }
    uint8_t *message = ist_queue_pair_message(walk->queue_pair);
    ist_frame_encode(&frame, message);
    memcpy(message + IST_FRAME_BYTES, body, bytes);
    ist_queue_pair_add_message(walk->queue_pair, (uint32_t)(IST_FRAME_BYTES + bytes));
    return ist_queue_pair_flush(walk->queue_pair) == IST_OK ||
           ist_doctor_failed(walk, NULL, "%s", walk->logged);
}

/* ---- requests ----------------------------------------------------------------------------------------- */

/* at: where in our memory the value is, or goes. Answers with the key's status. */
static bool move(struct ist_doctor_walk *walk, enum ist_operation operation, size_t at) {
    const struct ist_span key = ist_span_of_string(walk->key);
    const uint64_t length = IST_DOCTOR_VALUE_BYTES;
    const struct ist_remote place = {walk->region.address + at, walk->region.rkey};
    bool moves = operation != IST_OP_REMOVE;
    uint8_t body[BODY_BYTES_MAX];
    size_t written;
    uint64_t lengths[1];
    struct ist_frame frame;
    struct ist_keys_reply reply;
    if (ist_codec_encode_remote_keys(&key, moves ? &length : NULL, moves ? &place : NULL, 1, body,
                                     sizeof(body), &written) != IST_OK) {
        return ist_doctor_failed(walk, NULL, "the request does not fit");
    }
    if (!say(walk, operation, body, written) || !hear(walk, &frame, moves)) {
        return false;
    }
    struct ist_span answer = ist_span_of(walk->in + IST_FRAME_BYTES, frame.body_bytes);
    if (ist_codec_decode_keys_reply(answer, lengths, 1, &reply) != IST_OK ||
        (moves && reply.status == IST_OK && reply.key_status.bytes != 1)) {
        return ist_doctor_failed(walk, NULL, "its answer is malformed");
    }
    enum ist_status status =
        reply.status != IST_OK || !moves ? reply.status : (enum ist_status)reply.key_status.data[0];
    ist_doctor_drop_reply(walk, &frame);
    return status == IST_OK ||
           ist_doctor_failed(walk,
                             "this is not RDMA's fault: look at the server's figures, "
                             "infinistore-cli stat",
                             "the server answers: %s", ist_status_text(status));
}

bool ist_doctor_ping(struct ist_doctor_walk *walk) {
    struct ist_frame frame;
    if (!say(walk, IST_OP_PING, (const uint8_t *)"", 0) || !hear(walk, &frame, false)) {
        return false;
    }
    ist_doctor_drop_reply(walk, &frame);
    return ist_doctor_done(walk, "a request and its reply went over RDMA");
}

bool ist_doctor_put(struct ist_doctor_walk *walk) {
    return move(walk, IST_OP_PUT, 0) &&
           ist_doctor_done(walk, "the server has READ %u KiB out of our memory",
                           IST_DOCTOR_VALUE_BYTES >> 10);
}

bool ist_doctor_get(struct ist_doctor_walk *walk) {
    return move(walk, IST_OP_GET, IST_DOCTOR_VALUE_BYTES) &&
           ist_doctor_done(walk, "it has WRITten them into our memory");
}

bool ist_doctor_compare(struct ist_doctor_walk *walk) {
    for (size_t i = 0; i < IST_DOCTOR_VALUE_BYTES; i++) {
        if (walk->memory[i] != walk->memory[IST_DOCTOR_VALUE_BYTES + i]) {
            return ist_doctor_failed(
                walk, "do not use this path: look for broken hardware, or software between",
                "byte %zu of %u came back as another", i, IST_DOCTOR_VALUE_BYTES);
        }
    }
    return ist_doctor_done(walk, "every byte is the same");
}

bool ist_doctor_remove(struct ist_doctor_walk *walk) {
    return move(walk, IST_OP_REMOVE, 0) && ist_doctor_done(walk, "nothing is left of it");
}

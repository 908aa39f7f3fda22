#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "infinistore/infinistore.h"
#include "tools/doctor_names.h"
#include "tools/doctor_walk.h"

#define BODY_BYTES_MAX 256u

/* ---- resolve ------------------------------------------------------------------------------------------ */

static const char *address_text(const struct sockaddr *address, char *out, size_t bytes) {
    socklen_t length =
        address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (getnameinfo(address, length, out, (socklen_t)bytes, NULL, 0, NI_NUMERICHOST) != 0) {
        snprintf(out, bytes, "?");
    }
    return out;
}

bool ist_doctor_resolve(struct ist_doctor_walk *walk) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char text[IST_DOCTOR_TEXT_MAX / 2] = "", one[64];
    int error = getaddrinfo(walk->options->host, walk->options->port, &hints, &walk->addresses);
    if (error != 0) {
        return ist_doctor_failed(walk, "check the name: getent hosts NAME; or give an address",
                                 "%s is not found: %s", walk->options->host, gai_strerror(error));
    }
    size_t used = 0;
    for (const struct addrinfo *each = walk->addresses; each != NULL && used < sizeof(text);
         each = each->ai_next) {
        int length = snprintf(text + used, sizeof(text) - used, "%s%s", used == 0 ? "" : ", ",
                              address_text(each->ai_addr, one, sizeof(one)));
        used += length > 0 ? (size_t)length : 0;
    }
    return ist_doctor_done(walk, "%s", text);
}

/* ---- connect ------------------------------------------------------------------------------------------ */

/* errno of the attempt; 0: it is connected. */
static int try_address(struct ist_doctor_walk *walk, const struct addrinfo *address) {
    int error = 0;
    socklen_t length = sizeof(error);
    walk->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (walk->fd < 0) {
        return errno;
    }
    if (connect(walk->fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) {
        return errno;
    }
    struct pollfd writable = {.fd = walk->fd, .events = POLLOUT};
    if (poll(&writable, 1, ist_doctor_left_ms(walk)) <= 0) {
        return ETIMEDOUT;
    }
    if (getsockopt(walk->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        return errno;
    }
    memcpy(&walk->address, address->ai_addr, address->ai_addrlen);
    return error;
}

static const char *advice_for(int error) {
    switch (error) {
    case ECONNREFUSED:
        return "start infinistore there, and let it listen on that address: --host, --service-port";
    case ETIMEDOUT: return "a firewall swallows this TCP port, or the machine is off";
    case EHOSTUNREACH:
    case ENETUNREACH: return "there is no way to that address from here: ip route get ADDRESS";
    default: return NULL;
    }
}

bool ist_doctor_connect_tcp(struct ist_doctor_walk *walk) {
    char text[64] = "";
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *each = walk->addresses; each != NULL; each = each->ai_next) {
        address_text(each->ai_addr, text, sizeof(text));
        error = try_address(walk, each);
        if (error == 0) {
            return ist_doctor_done(walk, "%s port %s", text, walk->options->port);
        }
        if (walk->fd >= 0) {
            close(walk->fd);
            walk->fd = -1;
        }
    }
    return ist_doctor_failed(walk, advice_for(error), "%s port %s: %s", text, walk->options->port,
                             strerror(error));
}

/* ---- requests over the stream --------------------------------------------------------------------------- */

static bool say(struct ist_doctor_walk *walk, enum ist_operation operation, const uint8_t *body,
                size_t bytes) {
    uint8_t out[IST_FRAME_BYTES + BODY_BYTES_MAX];
    const struct ist_frame frame = {
        .operation = operation, .request_id = ++walk->request_id, .body_bytes = (uint32_t)bytes};
    ist_frame_encode(&frame, out);
    memcpy(out + IST_FRAME_BYTES, body, bytes);
    bytes += IST_FRAME_BYTES;
    ssize_t sent = send(walk->fd, out, bytes, MSG_NOSIGNAL); /* so little fits, or nothing does */
    return sent == (ssize_t)bytes || ist_doctor_failed(walk, NULL, "cannot send: %s", strerror(errno));
}

/* Waits for the reply, a whole frame. */
static bool hear(struct ist_doctor_walk *walk, struct ist_frame *frame) {
    int has = ist_doctor_has_reply(walk, frame);
    while (has == 0) {
        struct pollfd readable = {.fd = walk->fd, .events = POLLIN};
        if (poll(&readable, 1, ist_doctor_left_ms(walk)) <= 0) {
            return ist_doctor_failed(
                walk, "is that the service port, not another one? Is the server overloaded?",
                "no answer within %.1f s", (double)walk->options->timeout_ns / 1e9);
        }
        ssize_t got =
            recv(walk->fd, walk->in + walk->in_bytes, sizeof(walk->in) - walk->in_bytes, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            return ist_doctor_failed(
                walk,
                "is it infinistore that listens there, on its service port? Its log may tell "
                "more: --log-level debug",
                "the connection was closed%s%s", got < 0 ? ": " : "", got < 0 ? strerror(errno) : "");
        }
        walk->in_bytes += got > 0 ? (size_t)got : 0;
        has = ist_doctor_has_reply(walk, frame);
    }
    return has > 0 || ist_doctor_failed(walk, "give the service port of an infinistore (22345)",
                                        "what answers there is no infinistore");
}

bool ist_doctor_hello(struct ist_doctor_walk *walk) {
    const struct ist_hello hello = {IST_FRAME_VERSION, IST_FRAME_VERSION,
                                    ist_span_of_string(IST_DOCTOR_NAME "/" IST_VERSION)};
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    struct ist_frame frame;
    struct ist_hello_reply reply;
    if (ist_codec_encode_hello(&hello, body, sizeof(body), &written) != IST_OK) {
        return ist_doctor_failed(walk, NULL, "the greeting does not fit");
    }
    if (!say(walk, IST_OP_HELLO, body, written) || !hear(walk, &frame)) {
        return false;
    }
    if (ist_codec_decode_hello_reply(ist_span_of(walk->in + IST_FRAME_BYTES, frame.body_bytes),
                                     &reply) != IST_OK) {
        return ist_doctor_failed(walk, NULL, "its answer is malformed");
    }
    if (reply.status != IST_OK) {
        return ist_doctor_failed(walk, "use a doctor and a client of the server's version",
                                 "it refuses: %s", ist_status_text(reply.status));
    }
    ist_doctor_done(walk, "%.*s", (int)(reply.server.bytes < 64 ? reply.server.bytes : 64),
                    (const char *)reply.server.data);
    ist_doctor_drop_reply(walk, &frame);
    return true;
}

/* ---- CONNECT ------------------------------------------------------------------------------------------ */

static bool refused(struct ist_doctor_walk *walk, enum ist_status status,
                    const struct ist_endpoint *own) {
    char gid[IST_DOCTOR_GID_TEXT_MAX];
    switch (status) {
    case IST_DEVICE:
        return ist_doctor_failed(walk, "look at its log, and run infinistore-doctor there",
                                 "the server has no RDMA, or none now");
    case IST_PEER:
        return ist_doctor_failed(
            walk,
            "the addresses of the two RDMA interfaces must reach each other: ping -I NETDEV\n"
            "ADDRESS, from there to here; choose others by --hint-gid-index on either side",
            "from there, nobody answers at %s", ist_doctor_gid_text(own->end.gid, gid));
    case IST_NO_SPACE:
        return ist_doctor_failed(walk, "fewer clients, or a device that has room for more",
                                 "the server has as many queue pairs as it can have");
    default:
        return ist_doctor_failed(walk, "look at its log", "the server refuses: %s",
                                 ist_status_text(status));
    }
}

bool ist_doctor_ask_for_queue_pair(struct ist_doctor_walk *walk) {
    struct ist_endpoint own = {.status = IST_OK};
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    struct ist_frame frame;
    char gid[IST_DOCTOR_GID_TEXT_MAX];
    ist_queue_pair_end(walk->queue_pair, &own.end);
    if (ist_codec_encode_endpoint(&own, body, sizeof(body), &written) != IST_OK) {
        return ist_doctor_failed(walk, NULL, "our end does not fit");
    }
    if (!say(walk, IST_OP_CONNECT, body, written) || !hear(walk, &frame)) {
        return false;
    }
    if (ist_codec_decode_endpoint(ist_span_of(walk->in + IST_FRAME_BYTES, frame.body_bytes),
                                  &walk->server) != IST_OK) {
        return ist_doctor_failed(walk, NULL, "its answer is malformed");
    }
    ist_doctor_drop_reply(walk, &frame);
    if (walk->server.status != IST_OK) {
        return refused(walk, walk->server.status, &own);
    }
    return ist_doctor_done(walk, "the server's end: queue pair %u, GID %s, MTU %u",
                           walk->server.end.number, ist_doctor_gid_text(walk->server.end.gid, gid),
                           walk->server.end.mtu_bytes);
}

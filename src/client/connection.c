#include "client/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "client/attempt.h"
#include "client/clock.h"
#include "client/upgrade.h"

#define BUFFERS_MAX 1024      /* of one system call: IOV_MAX */
#define TURN_BYTES (4u << 20) /* sent before others get a turn */
/* Received before the requests that are answered by it are called back, and what these submit is sent: the server
 * works on that while we go on receiving. */
#define RECV_TURN_BYTES (16u << 10)
/* Of one system call. While it runs the kernel puts the server's acknowledgements aside: larger ones starve it. */
#define SEND_BYTES_MAX (1u << 20)
/* How much of a payload must be there before the kernel wakes us, and from which length on that pays. */
#define LOW_WATER_BYTES_MAX (128u << 10)
#define LOW_WATER_BYTES_MIN (16u << 10)
#define SILENT_NS 100000000ull /* after so long a look costs less than a lost request */

#define NOTE(wanted, used) "infinistore_client_transport{wanted=\"" wanted "\",used=\"" used "\"}"

/* One system call must not get more than it takes. */
_Static_assert(BUFFERS_MAX <= 1024, "man 3 sysconf: IOV_MAX");

/* Of a client that asked for RDMA, whether it has it. */
static void set_notes(struct ist_connection *connection) {
    switch (connection->wanted) {
    case IST_TRANSPORT_TCP: break;
    case IST_TRANSPORT_RDMA:
        ist_exchange_set_notes(connection->exchange, NULL, NOTE("rdma", "rdma"));
        break;
    case IST_TRANSPORT_AUTO:
        ist_exchange_set_notes(connection->exchange, NOTE("auto", "tcp"), NOTE("auto", "rdma"));
        break;
    }
}

enum ist_status ist_connection_init(struct ist_connection *connection, struct ist_endpoints *endpoints,
                                    const struct ist_connection_config *config) {
    struct ist_exchange *exchange;
    if (ist_exchange_new(config->alloc, &exchange) != IST_OK) {
        return IST_NO_MEMORY;
    }
    *connection = (struct ist_connection){
        .exchange = exchange,
        .endpoints = *endpoints,
        .timeout_ns = config->timeout_ns,
        .closing = config->closing,
        .closing_arg = config->closing_arg,
        .wanted = config->transport,
        .fd = -1,
    };
    ist_link_init(&connection->link, &config->link, config->alloc);
    set_notes(connection);
    return IST_OK;
}

void ist_connection_fini(struct ist_connection *connection) {
    IST_ASSERT(connection->state == IST_CONNECTION_IDLE);
    ist_link_fini(&connection->link);
    ist_exchange_free(connection->exchange);
    ist_endpoints_fini(&connection->endpoints);
}

/* ---- its end ------------------------------------------------------------------------------------------- */

/* The connection, or what was to become one, is of no use any more. */
static void lose(struct ist_connection *connection, enum ist_status status, const char *why,
                 uint64_t now_ns) {
    if (connection->state == IST_CONNECTION_OPEN) {
        ist_connection_close(connection, status);
    } else {
        ist_attempt_next(connection, status, why, now_ns);
    }
}

void ist_connection_close(struct ist_connection *connection, enum ist_status status) {
    ist_attempt_drop(connection);
    connection->state = IST_CONNECTION_IDLE;
    ist_exchange_end(connection->exchange, status);
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static bool has_socket(const struct ist_connection *connection) {
    return connection->state == IST_CONNECTION_SHAKING || connection->state == IST_CONNECTION_OPEN;
}

bool ist_connection_is_remote(const struct ist_connection *connection) {
    return has_socket(connection) && ist_exchange_is_remote(connection->exchange);
}

static uint64_t sum_of(const struct iovec *buffers, size_t count) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += buffers[i].iov_len;
    }
    return bytes;
}

/* No more than `most` bytes of them. Returns how many buffers are left. */
static size_t cut(struct iovec *buffers, size_t count, uint64_t most) {
    size_t used = 0;
    for (uint64_t bytes = 0; used < count && bytes < most; used++) {
        if (buffers[used].iov_len > most - bytes) {
            buffers[used].iov_len = (size_t)(most - bytes);
        }
        bytes += buffers[used].iov_len;
    }
    return used;
}

/* Has the exchange had enough? True: the connection is gone. */
static bool check_fault(struct ist_connection *connection, uint64_t now_ns) {
    enum ist_status fault = ist_exchange_fault(connection->exchange);
    if (!has_socket(connection) || fault == IST_OK) {
        return false;
    }
    lose(connection, fault,
         fault == IST_PEER ? "has no memory for one more session"
                           : "who answers is no InfiniStore server, or one of another version",
         now_ns);
    return true;
}

/* False: what is to be received now does not come by the socket. */
static bool go_on_shaking(struct ist_connection *connection, uint64_t now_ns) {
    if (connection->state == IST_CONNECTION_SHAKING) {
        ist_upgrade_go_on(connection, now_ns);
    }
    if (connection->state == IST_CONNECTION_SHAKING &&
        ist_exchange_state(connection->exchange) == IST_EXCHANGE_OPEN) {
        connection->state = IST_CONNECTION_OPEN;
    }
    return has_socket(connection) && !ist_connection_is_remote(connection);
}

/* One system call. False: there is nothing more to receive now, or the connection is gone. */
static bool receive_some(struct ist_connection *connection, uint64_t *budget, uint64_t now_ns) {
    struct iovec buffers[BUFFERS_MAX];
    size_t count = ist_exchange_recv_buffers(connection->exchange, buffers, BUFFERS_MAX);
    ssize_t received = count == 1
                           ? recv(connection->fd, buffers[0].iov_base, buffers[0].iov_len, MSG_DONTWAIT)
                           : readv(connection->fd, buffers, (int)count);
    if (received < 0) {
        int error = errno;
        if (error != EINTR && error != EAGAIN) {
            lose(connection, IST_PEER, ist_attempt_text_of(error), now_ns);
        }
        return error == EINTR;
    }
    if (received == 0) {
        lose(connection, IST_PEER, "closes the connection", now_ns);
        return false;
    }
    uint64_t bytes = (uint64_t)received;
    /* Fewer bytes than asked for: there are no more, and the call that would say so can be saved. */
    connection->recv_more = bytes == sum_of(buffers, count);
    bool more = connection->recv_more && bytes < *budget;
    *budget -= bytes < *budget ? bytes : *budget;
    connection->moved_ns = now_ns;
    ist_exchange_received(connection->exchange, bytes);
    if (check_fault(connection, now_ns)) {
        return false;
    }
    return go_on_shaking(connection, now_ns) && more;
}

/* In the middle of a payload, to be woken for every packet costs more than to copy it. Never more than what is
 * still to come of it: the rest would be slept through. */
static void set_low_water(struct ist_connection *connection) {
    uint64_t left = ist_exchange_payload_left(connection->exchange);
    int bytes = left < LOW_WATER_BYTES_MIN   ? 1
                : left < LOW_WATER_BYTES_MAX ? (int)left
                                             : (int)LOW_WATER_BYTES_MAX;
    if (has_socket(connection) && bytes != connection->low_water_bytes &&
        setsockopt(connection->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)) == 0) {
        connection->low_water_bytes = bytes;
    }
}

/* Over RDMA, and on the way to it, the socket has nothing to say but that it is gone. */
static void listen_for_end(struct ist_connection *connection, uint64_t now_ns) {
    uint8_t byte;
    ssize_t received = recv(connection->fd, &byte, 1, MSG_DONTWAIT);
    if (received > 0) {
        lose(connection, IST_PROTOCOL, "speaks over TCP after a change to RDMA", now_ns);
    } else if (received == 0) {
        lose(connection, IST_PEER, "closes the connection", now_ns);
    } else if (errno != EINTR && errno != EAGAIN) {
        lose(connection, IST_PEER, ist_attempt_text_of(errno), now_ns);
    }
}

static void receive(struct ist_connection *connection, uint64_t now_ns) {
    uint64_t budget = RECV_TURN_BYTES;
    connection->recv_more = false;
    if (ist_connection_is_remote(connection) || connection->link.reacher != NULL) {
        listen_for_end(connection, now_ns);
        return;
    }
    while (receive_some(connection, &budget, now_ns)) {
    }
    set_low_water(connection);
}

void ist_connection_look(struct ist_connection *connection, uint64_t now_ns) {
    if (connection->state == IST_CONNECTION_OPEN && ist_exchange_in_flight(connection->exchange) == 0 &&
        now_ns >= ist_later_ns(connection->moved_ns, SILENT_NS)) {
        receive(connection, now_ns);
    }
}

/* Sending failed. What the server said before it closed may tell why. */
static void send_failed(struct ist_connection *connection, int error, uint64_t now_ns) {
    uint64_t generation = connection->generation;
    unsigned turns = 0;
    do {
        receive(connection, now_ns);
    } while (connection->recv_more && ++turns < TURN_BYTES / RECV_TURN_BYTES);
    if (connection->generation == generation) {
        lose(connection, IST_PEER, ist_attempt_text_of(error), now_ns);
    }
}

/* One system call. False: the socket takes no more now, or the connection is gone. */
static bool send_some(struct ist_connection *connection, uint64_t *budget, uint64_t now_ns) {
    struct iovec buffers[BUFFERS_MAX];
    struct msghdr message = {.msg_iov = buffers};
    message.msg_iovlen = cut(
        buffers, ist_exchange_send_buffers(connection->exchange, buffers, BUFFERS_MAX), SEND_BYTES_MAX);
    /* One buffer, as small requests are: the plain call spares the kernel the import of two structures. */
    ssize_t sent =
        message.msg_iovlen == 1
            ? send(connection->fd, buffers[0].iov_base, buffers[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
            : sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        int error = errno;
        if (error == EAGAIN) {
            connection->send_blocked = true;
        } else if (error != EINTR) {
            send_failed(connection, error, now_ns);
        }
        return error == EINTR;
    }
    uint64_t bytes = (uint64_t)sent;
    connection->send_blocked = bytes < sum_of(buffers, message.msg_iovlen);
    bool more = !connection->send_blocked && bytes < *budget;
    *budget -= bytes < *budget ? bytes : *budget;
    if (bytes > 0) {
        ist_exchange_sent(connection->exchange, bytes);
    }
    return more;
}

/* ---- messages ------------------------------------------------------------------------------------------ */

/* True: the connection is gone, or becomes another. */
static bool check_link(struct ist_connection *connection, uint64_t now_ns) {
    struct ist_link *link = &connection->link;
    if (!ist_link_has_failed(link) || !ist_connection_is_remote(connection)) {
        return false;
    }
    if (connection->state == IST_CONNECTION_SHAKING) {
        ist_upgrade_failed(connection, now_ns);
    } else {
        ist_upgrade_undone(connection);
        ist_connection_close(connection, IST_PEER);
    }
    return true;
}

/* What has come by the queue pair. Returns whether anything has, or the connection is gone, or becomes another. */
static bool receive_messages(struct ist_connection *connection, uint64_t now_ns) {
    if (connection->link.reacher != NULL) {
        (void)go_on_shaking(connection, now_ns);
        return connection->link.reacher == NULL;
    }
    if (!ist_connection_is_remote(connection)) {
        return false;
    }
    bool moved = ist_link_run(&connection->link, connection->exchange);
    connection->moved_ns = moved ? now_ns : connection->moved_ns;
    if (connection->state == IST_CONNECTION_SHAKING && ist_exchange_was_open(connection->exchange)) {
        /* What came behind the last reply of the handshake ends a session, not an attempt at one. */
        ist_upgrade_go_on(connection, now_ns);
        connection->state = IST_CONNECTION_OPEN;
    }
    if (check_fault(connection, now_ns) || check_link(connection, now_ns)) {
        return true;
    }
    (void)go_on_shaking(connection, now_ns);
    return moved;
}

static void take_device_events(struct ist_connection *connection, uint64_t now_ns) {
    ist_link_take_events(&connection->link);
    (void)check_link(connection, now_ns);
    if (connection->link.device_failed) {
        ist_link_drop_device(&connection->link);
        (void)go_on_shaking(connection, now_ns); /* without it */
    }
}

bool ist_connection_spin(struct ist_connection *connection, uint64_t now_ns) {
    if (!receive_messages(connection, now_ns)) {
        return false;
    }
    ist_connection_flush(connection, now_ns);
    return true;
}

bool ist_connection_is_armed(const struct ist_connection *connection) {
    return !ist_connection_is_remote(connection) || !ist_exchange_wants_send(connection->exchange) ||
           connection->link.armed == IST_LINK_ARMED_FOR_ALL;
}

bool ist_connection_arm(struct ist_connection *connection, uint64_t now_ns) {
    return ist_connection_is_remote(connection) &&
           ist_link_arm(&connection->link, ist_exchange_wants_send(connection->exchange)) &&
           ist_connection_spin(connection, now_ns);
}

void ist_connection_flush(struct ist_connection *connection, uint64_t now_ns) {
    uint64_t budget = TURN_BYTES;
    if (ist_connection_is_remote(connection)) {
        ist_link_flush(&connection->link, connection->exchange);
        (void)check_link(connection, now_ns);
        return;
    }
    while (has_socket(connection) && !connection->send_blocked &&
           ist_exchange_wants_send(connection->exchange) && send_some(connection, &budget, now_ns)) {
    }
}

/* ---- going on ------------------------------------------------------------------------------------------ */

static short socket_events(const struct ist_connection *connection) {
    switch (connection->state) {
    case IST_CONNECTION_IDLE: return 0;
    case IST_CONNECTION_RESOLVING: return POLLIN;
    case IST_CONNECTION_CONNECTING: return POLLOUT;
    case IST_CONNECTION_SHAKING:
    case IST_CONNECTION_OPEN:
        return ist_exchange_wants_send(connection->exchange) && !ist_connection_is_remote(connection)
                   ? POLLIN | POLLOUT
                   : POLLIN;
    }
    return 0;
}

struct ist_wait ist_connection_wait(const struct ist_connection *connection,
                                    enum ist_connection_source source) {
    const struct ist_link *link = &connection->link;
    switch (source) {
    case IST_SOURCE_SOCKET:
        return (struct ist_wait){connection->fd, socket_events(connection), connection->generation};
    case IST_SOURCE_MESSAGES:
        return (struct ist_wait){ist_link_messages_fd(link), POLLIN, link->queue_pair_generation};
    case IST_SOURCE_DEVICE:
        return (struct ist_wait){ist_link_device_fd(link), POLLIN, link->device_generation};
    }
    return (struct ist_wait){.fd = -1};
}

uint64_t ist_connection_generation(const struct ist_connection *connection) {
    return connection->generation + connection->link.queue_pair_generation +
           connection->link.device_generation;
}

uint64_t ist_connection_deadline_ns(const struct ist_connection *connection) {
    uint64_t attempt_ns = ist_attempt_deadline_ns(connection);
    uint64_t request_ns = ist_exchange_deadline_ns(connection->exchange);
    return attempt_ns < request_ns ? attempt_ns : request_ns;
}

void ist_connection_run(struct ist_connection *connection, const short ready[IST_SOURCES],
                        uint64_t now_ns) {
    if (ready[IST_SOURCE_DEVICE] != 0) {
        take_device_events(connection, now_ns);
    }
    if (ready[IST_SOURCE_MESSAGES] != 0) {
        ist_link_woken(&connection->link);
    }
    /* What the server has said comes before that it is gone. */
    (void)receive_messages(connection, now_ns);
    switch (connection->state) {
    case IST_CONNECTION_IDLE: break;
    case IST_CONNECTION_RESOLVING:
    case IST_CONNECTION_CONNECTING: ist_attempt_run(connection, now_ns); break;
    case IST_CONNECTION_SHAKING:
    case IST_CONNECTION_OPEN:
        if ((ready[IST_SOURCE_SOCKET] & POLLOUT) != 0) {
            connection->send_blocked = false;
        }
        if ((ready[IST_SOURCE_SOCKET] & ~POLLOUT) != 0) {
            receive(connection, now_ns);
        }
        break;
    }
    ist_exchange_tick(connection->exchange, now_ns);
    (void)check_fault(connection, now_ns);
    ist_attempt_tick(connection, now_ns);
    ist_connection_flush(connection, now_ns);
}

#include "client/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "client/clock.h"

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
#define RETRY_NS 10000000ull   /* a local socket whose backlog is full cannot be waited for */
#define SILENT_NS 100000000ull /* after so long a look costs less than a lost request */
#define KEEPALIVE_IDLE_SEC 10  /* a peer that vanished is noticed after about 25 s of silence */
#define KEEPALIVE_INTERVAL_SEC 5
#define KEEPALIVE_PROBES 3

/* One system call must not get more than it takes. */
_Static_assert(BUFFERS_MAX <= 1024, "man 3 sysconf: IOV_MAX");

enum ist_status ist_connection_init(struct ist_connection *connection, struct ist_endpoints *endpoints,
                                    uint64_t timeout_ns, const struct ist_alloc *alloc) {
    struct ist_exchange *exchange;
    if (ist_exchange_new(alloc, &exchange) != IST_OK) {
        return IST_NO_MEMORY;
    }
    *connection = (struct ist_connection){
        .exchange = exchange,
        .endpoints = *endpoints,
        .timeout_ns = timeout_ns,
        .fd = -1,
    };
    return IST_OK;
}

void ist_connection_fini(struct ist_connection *connection) {
    IST_ASSERT(connection->state == IST_CONNECTION_IDLE);
    ist_exchange_free(connection->exchange);
    ist_endpoints_fini(&connection->endpoints);
}

/* ---- descriptors --------------------------------------------------------------------------------------- */

static void set_fd(struct ist_connection *connection, int fd) {
    connection->fd = fd;
    connection->generation++;
    connection->send_blocked = false;
    connection->recv_more = false;
    connection->low_water_bytes = 1; /* man 7 socket: SO_RCVLOWAT */
}

static void drop_fd(struct ist_connection *connection) {
    if (connection->resolver != NULL) {
        ist_resolver_free(connection->resolver);
        connection->resolver = NULL;
    } else if (connection->fd >= 0) {
        close(connection->fd);
    }
    if (connection->fd >= 0) {
        set_fd(connection, -1);
    }
}

static uint64_t share_ns(uint64_t now_ns, uint64_t until_ns, size_t parts) {
    return until_ns <= now_ns ? now_ns : now_ns + (until_ns - now_ns) / parts;
}

static void set_option(int fd, int level, int option, int value) {
    /* A socket without it works all the same. */
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

static void set_tcp_options(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SEC);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SEC);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(IST_PROGRESS_TIMEOUT_NS / 1000000));
}

/* ---- connecting ---------------------------------------------------------------------------------------- */

static const struct ist_server_endpoint *endpoint_of(const struct ist_connection *connection) {
    return &connection->endpoints.items[connection->endpoint];
}

static void set_why(struct ist_connection *connection, enum ist_status status, const char *why) {
    connection->why_status = status;
    connection->why = why;
}

/* Appends to the error: this endpoint, and why it is none. The worst failure of several is that of all. */
static void note_failure(struct ist_connection *connection) {
    size_t used = strlen(connection->error);
    snprintf(connection->error + used, sizeof(connection->error) - used, "%s%s: %s",
             used > 0 ? "; " : "", endpoint_of(connection)->text, connection->why);
    if (connection->failure == IST_OK || connection->why_status == IST_PROTOCOL ||
        (connection->why_status == IST_TIMEOUT && connection->failure == IST_PEER)) {
        connection->failure = connection->why_status;
    }
}

static const char *text_of(int error) {
    const char *text = strerrordesc_np(error);
    return text == NULL ? "unknown error" : text;
}

/* One attempt at the address of the cursor. False: it failed. */
static bool try_connect(struct ist_connection *connection, uint64_t now_ns) {
    const struct ist_address *address = &connection->addresses[connection->address];
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        set_why(connection, IST_PEER, text_of(errno));
        return false;
    }
    if (family != AF_UNIX) {
        set_tcp_options(fd);
    }
    if (connect(fd, (const struct sockaddr *)&address->storage, address->bytes) != 0 &&
        errno != EINPROGRESS) {
        set_why(connection, IST_PEER, text_of(errno));
        bool again =
            errno == EAGAIN; /* man 7 unix: the backlog is full, and poll() cannot tell until when */
        close(fd);
        connection->retry_ns = ist_later_ns(now_ns, RETRY_NS);
        connection->state = IST_CONNECTION_CONNECTING;
        return again;
    }
    set_fd(connection, fd);
    connection->state = IST_CONNECTION_CONNECTING;
    return true;
}

static bool begin_address(struct ist_connection *connection, uint64_t now_ns) {
    connection->address_until_ns = share_ns(now_ns, connection->endpoint_until_ns,
                                            connection->address_count - connection->address);
    return try_connect(connection, now_ns);
}

/* Its address, or a resolver on its way to one. False: neither. */
static bool begin_endpoint(struct ist_connection *connection, uint64_t now_ns) {
    const struct ist_server_endpoint *endpoint = endpoint_of(connection);
    connection->endpoint_until_ns =
        share_ns(now_ns, connection->until_ns, connection->endpoints.count - connection->endpoint);
    connection->address = 0;
    if (endpoint->address.bytes > 0) {
        connection->addresses[0] = endpoint->address;
        connection->address_count = 1;
        return true;
    }
    if (ist_resolver_start(endpoint->host, endpoint->port, &connection->resolver) != IST_OK) {
        set_why(connection, IST_PEER, "cannot be looked up for want of memory");
        return false;
    }
    set_fd(connection, ist_resolver_fd(connection->resolver));
    connection->state = IST_CONNECTION_RESOLVING;
    return true;
}

static void end_endpoint(struct ist_connection *connection) {
    note_failure(connection);
    connection->endpoint++;
    connection->address = connection->address_count = 0;
}

static void give_up(struct ist_connection *connection) {
    connection->state = IST_CONNECTION_IDLE;
    ist_exchange_end(connection->exchange,
                     connection->failure == IST_PROTOCOL ? IST_PROTOCOL : IST_PEER);
}

/* From the cursor on, until an attempt is under way or there is nothing left to try. */
static void seek(struct ist_connection *connection, uint64_t now_ns) {
    while (connection->endpoint < connection->endpoints.count) {
        if (connection->address < connection->address_count) {
            if (begin_address(connection, now_ns)) {
                return;
            }
            connection->address++;
        } else if (connection->address_count > 0 || !begin_endpoint(connection, now_ns)) {
            end_endpoint(connection);
        } else if (connection->state == IST_CONNECTION_RESOLVING) {
            return;
        }
    }
    give_up(connection);
}

/* The attempt that was under way has failed. */
static void next_attempt(struct ist_connection *connection, enum ist_status status, const char *why,
                         uint64_t now_ns) {
    set_why(connection, status, why);
    drop_fd(connection);
    if (connection->state == IST_CONNECTION_RESOLVING) {
        end_endpoint(connection);
    } else {
        connection->address++;
    }
    connection->state = IST_CONNECTION_CONNECTING;
    seek(connection, now_ns);
}

/* The connection, or what was to become one, is of no use any more. */
static void lose(struct ist_connection *connection, enum ist_status status, const char *why,
                 uint64_t now_ns) {
    if (connection->state == IST_CONNECTION_OPEN) {
        ist_connection_close(connection, status);
    } else {
        next_attempt(connection, status, why, now_ns);
    }
}

void ist_connection_open(struct ist_connection *connection, uint64_t now_ns) {
    if (connection->state != IST_CONNECTION_IDLE) {
        return;
    }
    connection->until_ns = ist_later_ns(now_ns, connection->timeout_ns);
    connection->endpoint = connection->address = connection->address_count = 0;
    connection->failure = IST_OK;
    connection->error[0] = '\0';
    seek(connection, now_ns);
}

void ist_connection_close(struct ist_connection *connection, enum ist_status status) {
    drop_fd(connection);
    connection->state = IST_CONNECTION_IDLE;
    ist_exchange_end(connection->exchange, status);
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static bool has_socket(const struct ist_connection *connection) {
    return connection->state == IST_CONNECTION_SHAKING || connection->state == IST_CONNECTION_OPEN;
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
    lose(connection, fault, "who answers is no InfiniStore server, or one of another version", now_ns);
    return true;
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
            lose(connection, IST_PEER, text_of(error), now_ns);
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
    if (connection->state == IST_CONNECTION_SHAKING &&
        ist_exchange_state(connection->exchange) == IST_EXCHANGE_OPEN) {
        connection->state = IST_CONNECTION_OPEN;
    }
    return more;
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

static void receive(struct ist_connection *connection, uint64_t now_ns) {
    uint64_t budget = RECV_TURN_BYTES;
    connection->recv_more = false;
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
        lose(connection, IST_PEER, text_of(error), now_ns);
    }
}

/* One system call. False: the socket takes no more now, or the connection is gone. */
static bool send_some(struct ist_connection *connection, uint64_t *budget, uint64_t now_ns) {
    struct iovec buffers[BUFFERS_MAX];
    struct msghdr message = {.msg_iov = buffers};
    message.msg_iovlen = cut(
        buffers, ist_exchange_send_buffers(connection->exchange, buffers, BUFFERS_MAX), SEND_BYTES_MAX);
    ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
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

void ist_connection_flush(struct ist_connection *connection, uint64_t now_ns) {
    uint64_t budget = TURN_BYTES;
    while (has_socket(connection) && !connection->send_blocked &&
           ist_exchange_wants_send(connection->exchange) && send_some(connection, &budget, now_ns)) {
    }
}

/* ---- going on ------------------------------------------------------------------------------------------ */

short ist_connection_events(const struct ist_connection *connection) {
    switch (connection->state) {
    case IST_CONNECTION_IDLE: return 0;
    case IST_CONNECTION_RESOLVING: return POLLIN;
    case IST_CONNECTION_CONNECTING: return POLLOUT;
    case IST_CONNECTION_SHAKING:
    case IST_CONNECTION_OPEN:
        return ist_exchange_wants_send(connection->exchange) ? POLLIN | POLLOUT : POLLIN;
    }
    return 0;
}

/* Of the attempt that is under way. */
static uint64_t attempt_deadline_ns(const struct ist_connection *connection) {
    switch (connection->state) {
    case IST_CONNECTION_RESOLVING: return connection->endpoint_until_ns;
    case IST_CONNECTION_CONNECTING:
        return connection->fd < 0 && connection->retry_ns < connection->address_until_ns
                   ? connection->retry_ns
                   : connection->address_until_ns;
    case IST_CONNECTION_SHAKING: return connection->address_until_ns;
    case IST_CONNECTION_IDLE:
    case IST_CONNECTION_OPEN: break;
    }
    return IST_NO_DEADLINE_NS;
}

uint64_t ist_connection_deadline_ns(const struct ist_connection *connection) {
    uint64_t attempt_ns = attempt_deadline_ns(connection);
    uint64_t request_ns = ist_exchange_deadline_ns(connection->exchange);
    return attempt_ns < request_ns ? attempt_ns : request_ns;
}

static void run_resolving(struct ist_connection *connection, uint64_t now_ns) {
    const char *why = NULL;
    size_t count;
    switch ((int)ist_resolver_result(connection->resolver, connection->addresses, &count, &why)) {
    case IST_OK:
        drop_fd(connection);
        connection->address_count = count;
        connection->state = IST_CONNECTION_CONNECTING;
        seek(connection, now_ns);
        break;
    case IST_AGAIN: break;
    default: next_attempt(connection, IST_PEER, why, now_ns);
    }
}

static void run_connecting(struct ist_connection *connection, uint64_t now_ns) {
    struct pollfd polled = {.fd = connection->fd, .events = POLLOUT};
    if (connection->fd < 0 || poll(&polled, 1, 0) != 1) {
        return;
    }
    int error = 0;
    socklen_t bytes = sizeof(error);
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) {
        error = errno;
    }
    if (error != 0) {
        next_attempt(connection, IST_PEER, text_of(error), now_ns);
        return;
    }
    connection->state = IST_CONNECTION_SHAKING;
    ist_exchange_begin(connection->exchange);
}

static void run_attempt_deadline(struct ist_connection *connection, uint64_t now_ns) {
    if (now_ns < attempt_deadline_ns(connection)) {
        return;
    }
    if (connection->state == IST_CONNECTION_CONNECTING && connection->fd < 0 &&
        now_ns < connection->address_until_ns) {
        if (!try_connect(connection, now_ns)) {
            next_attempt(connection, connection->why_status, connection->why, now_ns);
        }
        return;
    }
    next_attempt(connection, IST_TIMEOUT, "no answer in time", now_ns);
}

void ist_connection_run(struct ist_connection *connection, short ready, uint64_t now_ns) {
    switch (connection->state) {
    case IST_CONNECTION_IDLE: break;
    case IST_CONNECTION_RESOLVING: run_resolving(connection, now_ns); break;
    case IST_CONNECTION_CONNECTING: run_connecting(connection, now_ns); break;
    case IST_CONNECTION_SHAKING:
    case IST_CONNECTION_OPEN:
        if ((ready & POLLOUT) != 0) {
            connection->send_blocked = false;
        }
        if ((ready & ~POLLOUT) != 0) {
            receive(connection, now_ns);
        }
        break;
    }
    ist_exchange_tick(connection->exchange, now_ns);
    (void)check_fault(connection, now_ns);
    run_attempt_deadline(connection, now_ns);
    ist_connection_flush(connection, now_ns);
}

#include "client/attempt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/upgrade.h"

#define RETRY_NS 10000000ull  /* a local socket whose backlog is full cannot be waited for */
#define KEEPALIVE_IDLE_SEC 10 /* a peer that vanished is noticed after about 25 s of silence */
#define KEEPALIVE_INTERVAL_SEC 5
#define KEEPALIVE_PROBES 3

/* ---- descriptors --------------------------------------------------------------------------------------- */

static void set_fd(struct ist_connection *connection, int fd) {
    connection->fd = fd;
    connection->generation++;
    connection->send_blocked = false;
    connection->recv_more = false;
    connection->low_water_bytes = 1; /* man 7 socket: SO_RCVLOWAT */
}

/* First of all what touches the user's memory. */
void ist_attempt_drop(struct ist_connection *connection) {
    ist_link_close(&connection->link);
    if (connection->fd >= 0) {
        connection->closing(connection->closing_arg, connection->fd);
    }
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

static unsigned badness(enum ist_status status) {
    switch ((int)status) {
    case IST_OK: return 0;
    case IST_PEER: return 1;
    case IST_TIMEOUT: return 2;
    case IST_PROTOCOL: return 4;
    default: return 3; /* of the device */
    }
}

/* Appends to the error: this endpoint, and why it is none. The worst failure of several is that of all. */
static void note_failure(struct ist_connection *connection) {
    size_t used = strlen(connection->error);
    snprintf(connection->error + used, sizeof(connection->error) - used, "%s%s: %s",
             used > 0 ? "; " : "", endpoint_of(connection)->text, connection->why);
    if (badness(connection->why_status) > badness(connection->failure)) {
        connection->failure = connection->why_status;
    }
}

const char *ist_attempt_text_of(int error) {
    const char *text = strerrordesc_np(error);
    return text == NULL ? "unknown error" : text;
}

/* One attempt at the address of the cursor. False: it failed. */
static bool try_connect(struct ist_connection *connection, uint64_t now_ns) {
    const struct ist_address *address = &connection->addresses[connection->address];
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        set_why(connection, IST_PEER, ist_attempt_text_of(errno));
        return false;
    }
    if (family != AF_UNIX) {
        set_tcp_options(fd);
    }
    if (connect(fd, (const struct sockaddr *)&address->storage, address->bytes) != 0 &&
        errno != EINPROGRESS) {
        set_why(connection, IST_PEER, ist_attempt_text_of(errno));
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
    connection->tcp_only = false;
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
                     connection->failure == IST_TIMEOUT ? IST_PEER : connection->failure);
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

void ist_attempt_next(struct ist_connection *connection, enum ist_status status, const char *why,
                      uint64_t now_ns) {
    set_why(connection, status, why);
    ist_attempt_drop(connection);
    if (connection->state == IST_CONNECTION_RESOLVING) {
        end_endpoint(connection);
    } else {
        connection->address++;
    }
    connection->state = IST_CONNECTION_CONNECTING;
    seek(connection, now_ns);
}

void ist_attempt_again_by_tcp(struct ist_connection *connection, uint64_t now_ns) {
    ist_attempt_drop(connection);
    connection->tcp_only = true;
    if (!try_connect(connection, now_ns)) {
        ist_attempt_next(connection, connection->why_status, connection->why, now_ns);
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

/* ---- going on ------------------------------------------------------------------------------------------ */

/* Of the attempt that is under way. */
uint64_t ist_attempt_deadline_ns(const struct ist_connection *connection) {
    switch (connection->state) {
    case IST_CONNECTION_RESOLVING: return connection->endpoint_until_ns;
    case IST_CONNECTION_CONNECTING:
        return connection->fd < 0 && connection->retry_ns < connection->address_until_ns
                   ? connection->retry_ns
                   : connection->address_until_ns;
    case IST_CONNECTION_SHAKING:
        return ist_connection_is_remote(connection) ? connection->proof_until_ns
                                                    : connection->address_until_ns;
    case IST_CONNECTION_IDLE:
    case IST_CONNECTION_OPEN: break;
    }
    return IST_NO_DEADLINE_NS;
}

static void run_resolving(struct ist_connection *connection, uint64_t now_ns) {
    const char *why = NULL;
    size_t count;
    switch ((int)ist_resolver_result(connection->resolver, connection->addresses, &count, &why)) {
    case IST_OK:
        ist_attempt_drop(connection);
        connection->address_count = count;
        connection->state = IST_CONNECTION_CONNECTING;
        seek(connection, now_ns);
        break;
    case IST_AGAIN: break;
    default: ist_attempt_next(connection, IST_PEER, why, now_ns);
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
        ist_attempt_next(connection, IST_PEER, ist_attempt_text_of(error), now_ns);
        return;
    }
    connection->state = IST_CONNECTION_SHAKING;
    ist_exchange_begin(connection->exchange, true);
}

void ist_attempt_run(struct ist_connection *connection, uint64_t now_ns) {
    if (connection->state == IST_CONNECTION_RESOLVING) {
        run_resolving(connection, now_ns);
    } else {
        run_connecting(connection, now_ns);
    }
}

void ist_attempt_tick(struct ist_connection *connection, uint64_t now_ns) {
    if (now_ns < ist_attempt_deadline_ns(connection)) {
        return;
    }
    if (connection->state == IST_CONNECTION_CONNECTING && connection->fd < 0 &&
        now_ns < connection->address_until_ns) {
        if (!try_connect(connection, now_ns)) {
            ist_attempt_next(connection, connection->why_status, connection->why, now_ns);
        }
        return;
    }
    if (ist_connection_is_remote(connection)) {
        ist_upgrade_timed_out(connection, now_ns);
    } else {
        ist_attempt_next(connection, IST_TIMEOUT, "no answer in time", now_ns);
    }
}

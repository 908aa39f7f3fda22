#include "daemon/tcp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/edge.h"
#include "daemon/rdma.h"
#include "engine/session.h"
#include "wire/codec.h"

#define BUFFERS_MAX 64                /* of one system call */
#define DISCARD_BYTES (64u << 10)     /* unwanted payload is read in pieces of this size */
#define LAST_DISCARD_BYTES (1u << 20) /* what is thrown away unread before a close */
#define WARNING_REST_SEC 10.
/* Of one system call. While it runs the kernel puts the peer's acknowledgements aside: larger ones starve it. */
#define SEND_BYTES_MAX (1ull << 20)
/* How much of a payload must be there before the kernel wakes us, and from which length on that pays. */
#define LOW_WATER_BYTES_MAX (128u << 10)
#define LOW_WATER_BYTES_MIN (16u << 10)
#define LOW_WATER_BUFFERS 8

struct connection {
    struct ist_edge edge; /* first member: the session's user */
    ev_io io;
    struct ist_tcp *tcp;
    struct ist_session *session;
    struct ist_rdma_connection *rdma; /* it asked for; NULL: none, or gone */
    bool rdma_tried;                  /* once is enough: trying costs system calls */
    bool rdma_waits;                  /* for the answer */
    uint64_t id;
    struct connection *previous, *next;
    int fd;
    int low_water_bytes;             /* what SO_RCVLOWAT is set to */
    bool recv_blocked, send_blocked; /* the kernel said so; until the loop says otherwise */
};

struct ist_tcp {
    struct ist_tcp_config config;
    struct connection *first;
    size_t count;
    uint64_t ids;
    ev_tstamp warned;                 /* when a refusal was last logged as a warning */
    uint8_t discarded[DISCARD_BYTES]; /* written, never read */
};

enum ist_status ist_tcp_new(const struct ist_tcp_config *config, struct ist_tcp **tcp) {
    struct ist_tcp *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->config = *config;
    *tcp = new;
    return IST_OK;
}

static void connection_close(struct connection *connection) {
    struct ist_tcp *tcp = connection->tcp;
    if (connection->rdma != NULL) {
        ist_rdma_disconnect(connection->rdma);
    }
    ev_io_stop(tcp->config.loop, &connection->io);
    close(connection->fd);
    ist_session_close(connection->session);
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        tcp->first = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    tcp->count--;
    ist_release(tcp->config.alloc, connection);
}

void ist_tcp_free(struct ist_tcp *tcp) {
    if (tcp == NULL) {
        return;
    }
    while (tcp->first != NULL) {
        connection_close(tcp->first);
    }
    ist_release(tcp->config.alloc, tcp);
}

size_t ist_tcp_connections(const struct ist_tcp *tcp) {
    return tcp->count;
}

/* The engine wants no more of this connection. Bytes that nobody read would make the kernel answer with a
 * reset, which can overtake the last reply: so they are thrown away first, as far as they are here. */
static void connection_finish(struct connection *connection) {
    ist_log_debug(connection->tcp->config.log, connection->id, "closing the connection");
    (void)shutdown(connection->fd, SHUT_WR);
    for (size_t done = 0; done < LAST_DISCARD_BYTES; done += DISCARD_BYTES) {
        if (recv(connection->fd, connection->tcp->discarded, DISCARD_BYTES, MSG_DONTWAIT) <= 0) {
            break;
        }
    }
    connection_close(connection);
}

/* The engine's buffers as the kernel wants them, no more than `budget` bytes. Returns how many. */
static size_t translate(struct ist_tcp *tcp, const struct ist_buffer *buffers, size_t count,
                        uint64_t budget, struct iovec *vectors, uint64_t *bytes) {
    size_t used = 0;
    *bytes = 0;
    while (used < count && *bytes < budget) {
        const struct ist_buffer *buffer = &buffers[used];
        struct iovec *vector = &vectors[used];
        uint64_t length = buffer->bytes;
        switch (buffer->kind) {
        case IST_BUFFER_MEMORY: vector->iov_base = buffer->memory; break;
        case IST_BUFFER_POOL: vector->iov_base = tcp->config.pool_base + buffer->offset; break;
        case IST_BUFFER_DISCARD:
            vector->iov_base = tcp->discarded;
            length = length < DISCARD_BYTES ? length : DISCARD_BYTES;
            break;
        }
        length = length < budget - *bytes ? length : budget - *bytes;
        vector->iov_len = length;
        *bytes += length;
        used++;
        if (length < buffer->bytes) {
            break;
        }
    }
    return used;
}

/* A system call on the socket failed. False: the connection is gone. */
static bool connection_failed(struct connection *connection, const char *call, bool *blocked) {
    if (errno == EINTR) {
        return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        *blocked = true;
        return true;
    }
    ist_log_debug(connection->tcp->config.log, connection->id, "%s: %s", call, strerror(errno));
    connection_close(connection);
    return false;
}

/* Both: false when the connection is gone. */
static bool connection_send(struct connection *connection, uint64_t *budget) {
    struct ist_buffer buffers[BUFFERS_MAX];
    struct iovec vectors[BUFFERS_MAX];
    uint64_t bytes;
    size_t count = ist_session_send_buffers(connection->session, buffers, BUFFERS_MAX);
    uint64_t most = *budget < SEND_BYTES_MAX ? *budget : SEND_BYTES_MAX;
    struct msghdr message = {.msg_iov = vectors};
    message.msg_iovlen = translate(connection->tcp, buffers, count, most, vectors, &bytes);
    /* One buffer, as small replies are: the plain call spares the kernel the import of two structures. */
    ssize_t sent =
        message.msg_iovlen == 1
            ? send(connection->fd, vectors[0].iov_base, vectors[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
            : sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        return connection_failed(connection, "send", &connection->send_blocked);
    }
    connection->send_blocked = (uint64_t)sent < bytes;
    *budget -= (uint64_t)sent;
    if (sent > 0) {
        ist_session_sent(connection->session, (uint64_t)sent, ist_clock_ns());
    }
    return true;
}

static bool connection_recv(struct connection *connection, uint64_t *budget) {
    struct ist_buffer buffers[BUFFERS_MAX];
    struct iovec vectors[BUFFERS_MAX];
    uint64_t bytes;
    size_t count = ist_session_recv_buffers(connection->session, buffers, BUFFERS_MAX);
    count = translate(connection->tcp, buffers, count, *budget, vectors, &bytes);
    ssize_t received = count == 1
                           ? recv(connection->fd, vectors[0].iov_base, vectors[0].iov_len, MSG_DONTWAIT)
                           : readv(connection->fd, vectors, (int)count);
    if (received < 0) {
        return connection_failed(connection, "receive", &connection->recv_blocked);
    }
    if (received == 0) {
        ist_log_debug(connection->tcp->config.log, connection->id, "the peer closed the connection");
        connection_close(connection);
        return false;
    }
    /* Fewer bytes than asked for: there are no more, and the call that would say so can be saved. */
    connection->recv_blocked = (uint64_t)received < bytes;
    *budget -= (uint64_t)received;
    ist_session_received(connection->session, (uint64_t)received, ist_clock_ns());
    return true;
}

static void connection_copy(struct connection *connection) {
    struct ist_copy copy;
    while (ist_session_copy(connection->session, &copy)) {
        memcpy(connection->tcp->config.pool_base + copy.offset, copy.from, copy.bytes);
        ist_session_copied(connection->session, ist_clock_ns());
    }
}

/* In the middle of a payload, to be woken for every packet costs more than to copy it. Never more than what is
 * still to come of the payload, also when some of that is here already: the rest would be slept through. */
static void connection_set_low_water(struct connection *connection) {
    struct ist_buffer buffers[LOW_WATER_BUFFERS];
    size_t count = ist_session_recv_buffers(connection->session, buffers, LOW_WATER_BUFFERS);
    uint64_t owed = 0;
    for (size_t i = 0; i < count && buffers[i].kind != IST_BUFFER_MEMORY; i++) {
        owed += buffers[i].bytes;
    }
    int bytes = owed < LOW_WATER_BYTES_MIN   ? 1
                : owed < LOW_WATER_BYTES_MAX ? (int)owed
                                             : (int)LOW_WATER_BYTES_MAX;
    if (bytes != connection->low_water_bytes &&
        setsockopt(connection->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)) == 0) {
        connection->low_water_bytes = bytes;
    }
}

static void connection_watch(struct connection *connection, unsigned wants) {
    if ((wants & IST_WANT_RECV) != 0) {
        connection_set_low_water(connection);
    }
    bool reads =
        (wants & IST_WANT_RECV) != 0 || ((wants & IST_WANT_CONNECT) != 0 && connection->recv_blocked);
    int events = (reads ? EV_READ : 0) | ((wants & IST_WANT_SEND) != 0 ? EV_WRITE : 0);
    struct ev_loop *loop = connection->tcp->config.loop;
    if (ev_is_active(&connection->io) && (connection->io.events & (EV_READ | EV_WRITE)) == events) {
        return;
    }
    ev_io_stop(loop, &connection->io);
    ev_io_set(&connection->io, connection->fd, events);
    if (events != 0) {
        ev_io_start(loop, &connection->io);
    }
}

static void tell_connected(struct connection *connection, const struct ist_endpoint *own) {
    ist_log_debug(connection->tcp->config.log, connection->id, "asks for RDMA: %s",
                  ist_status_name(own->status));
    ist_session_connected(connection->session, own, ist_clock_ns());
}

void ist_tcp_set_rdma(struct ist_tcp *tcp, struct ist_rdma *rdma) {
    tcp->config.rdma = rdma;
}

/* The client asks for a queue pair: refused at once, or answered by ist_tcp_rdma_connected(). */
static void connection_connect(struct connection *connection) {
    struct ist_rdma *rdma = connection->tcp->config.rdma;
    struct ist_endpoint own = {.status = rdma == NULL ? IST_DEVICE : IST_INVALID};
    if (rdma != NULL && !connection->rdma_tried) {
        connection->rdma_tried = true;
        own.status = ist_rdma_connect(rdma, connection, connection->id,
                                      ist_session_peer(connection->session), &connection->rdma);
        connection->rdma_waits = own.status == IST_OK;
    }
    if (!connection->rdma_waits) {
        tell_connected(connection, &own);
    }
}

/* Who asked for a queue pair may be gone before there is one, and must not keep others waiting. Bytes that it has sent behind
 * its question hide that. False: it is gone. */
static bool connection_look(struct connection *connection) {
    uint8_t byte;
    ssize_t here = recv(connection->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
    if (here < 0) {
        return connection_failed(connection, "receive", &connection->recv_blocked);
    }
    if (here == 0) {
        ist_log_debug(connection->tcp->config.log, connection->id,
                      "the peer closed the connection before it was told of a queue pair");
        connection_close(connection);
    }
    return here > 0;
}

void ist_tcp_rdma_ended(void *connection) {
    struct connection *gone = connection;
    gone->rdma = NULL;
    connection_finish(gone);
}

/* Everything that can be done now, within the turn's budget. The connection may be gone afterwards. */
static void connection_run(struct connection *connection) {
    uint64_t budget = IST_TCP_TURN_BYTES;
    unsigned wants;
    for (;;) {
        wants = ist_session_wants(connection->session);
        if ((wants & IST_WANT_CLOSE) != 0) {
            if (connection->rdma != NULL && ist_engine_is_draining(connection->tcp->config.engine)) {
                connection_watch(connection, 0); /* what runs over RDMA ends first, and this with it */
                return;
            }
            connection_finish(connection);
            return;
        }
        if ((wants & IST_WANT_CONNECT) != 0 && !connection->rdma_waits) {
            connection_connect(connection);
        } else if ((wants & IST_WANT_COPY) != 0) {
            /* At most a staging buffer: not worth counting, and no socket event would bring us back. */
            connection_copy(connection);
        } else if (budget == 0) {
            break;
        } else if ((wants & IST_WANT_SEND) != 0 && !connection->send_blocked) {
            if (!connection_send(connection, &budget)) {
                return;
            }
        } else if ((wants & IST_WANT_RECV) != 0 && !connection->recv_blocked) {
            if (!connection_recv(connection, &budget)) {
                return;
            }
        } else {
            break;
        }
    }
    if (connection->rdma_waits && !connection->recv_blocked && !connection_look(connection)) {
        return;
    }
    connection_watch(connection, wants);
}

void ist_tcp_rdma_connected(void *asking, const struct ist_endpoint *own) {
    struct connection *connection = asking;
    connection->rdma_waits = false;
    if (own->status != IST_OK) {
        connection->rdma = NULL;
    }
    if ((ist_session_wants(connection->session) & IST_WANT_CONNECT) != 0) {
        tell_connected(connection, own); /* else it has run out of time */
    }
    connection_run(connection);
}

static void on_ready(struct ev_loop *loop, ev_io *io, int revents) {
    (void)loop;
    struct connection *connection = io->data;
    if ((revents & EV_READ) != 0) {
        connection->recv_blocked = false;
    }
    if ((revents & EV_WRITE) != 0) {
        connection->send_blocked = false;
    }
    connection_run(connection);
}

static void run_edge(struct ist_edge *edge) {
    connection_run((struct connection *)edge);
}

/* Refusals come in floods: one line of them now and then is enough. */
static void log_refusal(struct ist_tcp *tcp, uint64_t id, enum ist_status status) {
    ev_tstamp now = ev_now(tcp->config.loop);
    if (now - tcp->warned >= WARNING_REST_SEC) {
        tcp->warned = now;
        ist_log_warning(tcp->config.log, id, "connection refused, %zu are open: %s", tcp->count,
                        status == IST_NO_SPACE ? "no more sessions" : ist_status_text(status));
    }
}

void ist_tcp_accept(struct ist_tcp *tcp, int fd) {
    struct connection *connection = ist_allocate_zeroed(tcp->config.alloc, 1, sizeof(*connection));
    if (connection == NULL) {
        log_refusal(tcp, 0, IST_NO_MEMORY);
        close(fd);
        return;
    }
    connection->edge.run = run_edge;
    connection->tcp = tcp;
    connection->fd = fd;
    connection->low_water_bytes = 1; /* man 7 socket: SO_RCVLOWAT */
    connection->id = ++tcp->ids;
    enum ist_status status = ist_session_open(tcp->config.engine, connection->id, &connection->edge,
                                              ist_clock_ns(), &connection->session);
    if (status != IST_OK) {
        log_refusal(tcp, connection->id, status);
        close(fd);
        ist_release(tcp->config.alloc, connection);
        return;
    }
    connection->next = tcp->first;
    if (tcp->first != NULL) {
        tcp->first->previous = connection;
    }
    tcp->first = connection;
    tcp->count++;
    ev_io_init(&connection->io, on_ready, fd, EV_READ);
    connection->io.data = connection;
    /* Most clients send their HELLO when they are accepted, which is later than this: wait for it. */
    connection->recv_blocked = true;
    connection_run(connection);
}

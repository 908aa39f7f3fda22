#include "tests/fake_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/conversation.h"

#define CONNECTIONS_MAX 32
#define READ_BYTES 65536u
#define KEYS_MAX 64

struct fake_connection {
    struct fake *fake;
    int fd;
    enum fake_way way;
    uint64_t number;
    bool greeted;
    bool holds; /* the answer to `held` */
    struct ist_frame held;
    struct bytes in, out;
    size_t sent; /* of out */
    bool closes; /* when all is sent */
};

struct fake {
    pthread_t thread;
    int listener, wake;
    uint16_t port;
    char endpoint[150];
    enum fake_way ways[CONNECTIONS_MAX];
    size_t way_count;
    struct fake_connection connections[CONNECTIONS_MAX];
    size_t count;
    atomic_size_t accepted, requests;
    atomic_bool stops, speaks;
};

uint8_t fake_byte(uint64_t value_bytes, uint64_t at) {
    return (uint8_t)(value_bytes * 17 + at + (at >> 8) * 3);
}

/* ---- what it says ------------------------------------------------------------------------------------------ */

static void say(struct fake_connection *c, const struct ist_frame *asked, const void *body,
                size_t body_bytes, uint64_t payload_bytes) {
    uint64_t id = asked->request_id + (c->way == FAKE_LIAR && c->greeted);
    say_header(&c->out, asked->operation, IST_FRAME_REPLY, id, (uint32_t)body_bytes, payload_bytes);
    bytes_add(&c->out, body, body_bytes);
}

static void greet(struct fake_connection *c, const struct ist_frame *asked) {
    const struct ist_hello_reply reply = {
        .version = c->way == FAKE_OLD ? 7 : 1,
        .incarnation = 1000 + c->number,
        .keys_max = IST_KEYS_PER_REQUEST_MAX,
        .key_bytes_max = IST_KEY_BYTES_MAX,
        .body_bytes_max = IST_BODY_BYTES_MAX,
        .in_flight_max = IST_REQUESTS_IN_FLIGHT_MAX,
    };
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    IST_ASSERT(ist_codec_encode_hello_reply(&reply, body, sizeof(body), &written) == IST_OK);
    say(c, asked, body, written, 0);
    c->greeted = true;
}

static void add_value(struct bytes *out, uint64_t value_bytes) {
    uint8_t piece[4096];
    for (uint64_t at = 0; at < value_bytes; at += sizeof(piece)) {
        uint64_t left = value_bytes - at;
        size_t count = left < sizeof(piece) ? (size_t)left : sizeof(piece);
        for (size_t i = 0; i < count; i++) {
            piece[i] = fake_byte(value_bytes, at + i);
        }
        bytes_add(out, piece, count);
    }
}

static void answer_keys(struct fake_connection *c, const struct ist_frame *asked,
                        struct ist_span request) {
    struct ist_span keys[KEYS_MAX];
    uint64_t rooms[KEYS_MAX];
    size_t count = 0, rooms_count;
    uint8_t statuses[KEYS_MAX] = {0}, body[2048];
    uint64_t lengths[KEYS_MAX] = {0}, payload_bytes = 0;
    IST_ASSERT(ist_codec_decode_keys(request, keys, rooms, KEYS_MAX, &count, &rooms_count) == IST_OK);
    bool is_get = asked->operation == IST_OP_GET;
    for (size_t i = 0; i < count && is_get; i++) {
        char text[32];
        snprintf(text, sizeof(text), "%.*s", (int)keys[i].bytes, (const char *)keys[i].data);
        lengths[i] = strtoull(text, NULL, 10);
        statuses[i] = lengths[i] == 0 ? IST_NOT_FOUND : lengths[i] > rooms[i] ? IST_TOO_SMALL : IST_OK;
        payload_bytes += statuses[i] == IST_OK ? lengths[i] : 0;
    }
    bool has_statuses = is_get || asked->operation == IST_OP_PUT || asked->operation == IST_OP_EXISTS;
    const struct ist_keys_reply reply = {
        .key_status = ist_span_of(statuses, has_statuses ? count : 0),
        .lengths = lengths,
        .length_count = is_get ? count : 0,
        .count = has_statuses ? 0 : count,
    };
    size_t written;
    IST_ASSERT(ist_codec_encode_keys_reply(&reply, body, sizeof(body), &written) == IST_OK);
    say(c, asked, body, written, payload_bytes);
    for (size_t i = 0; i < count; i++) {
        if (statuses[i] == IST_OK && is_get) {
            add_value(&c->out, lengths[i]);
        }
    }
    if (c->way == FAKE_CLOSE_HALF && payload_bytes > 0) {
        c->out.count -= payload_bytes / 2;
        c->closes = true;
    }
}

static void answer_request(struct fake_connection *c, const struct ist_frame *asked,
                           struct ist_span body) {
    if (asked->operation == IST_OP_HELLO) {
        greet(c, asked);
        return;
    }
    atomic_fetch_add(&c->fake->requests, 1);
    if (c->way == FAKE_HOLD && asked->operation == IST_OP_PING && !c->holds) {
        c->holds = true;
        c->held = *asked;
        return;
    }
    if (c->way == FAKE_CLOSE_LATER) {
        c->closes = true;
    } else if (asked->operation == IST_OP_STAT) {
        const struct ist_codec_metric metric = {ist_span_of_string("fake"), 1};
        uint8_t out[64];
        size_t written;
        IST_ASSERT(ist_codec_encode_metrics(&metric, 1, out, sizeof(out), &written) == IST_OK);
        say(c, asked, out, written, 0);
    } else {
        answer_keys(c, asked, body);
    }
    if (c->holds && asked->operation == IST_OP_PUT) {
        say(c, &c->held, NULL, 0, 0);
    }
}

/* A mute one keeps what it hears, and counts it. */
static void listen_only(struct fake_connection *c) {
    size_t at = 0, heard = 0;
    struct ist_frame frame;
    while (ist_frame_decode(ist_span_of(c->in.data + at, c->in.count - at), &frame) == IST_OK &&
           c->in.count - at >= IST_FRAME_BYTES + frame.body_bytes + frame.payload_bytes) {
        at += IST_FRAME_BYTES + frame.body_bytes + frame.payload_bytes;
        heard++;
    }
    atomic_store(&c->fake->requests, heard);
}

static void answer_all(struct fake_connection *c) {
    struct ist_frame frame;
    if (c->way == FAKE_MUTE && c->greeted && !atomic_load(&c->fake->speaks)) {
        listen_only(c);
        return;
    }
    while (c->way != FAKE_SILENT && !c->closes &&
           ist_frame_decode(ist_span_of(c->in.data, c->in.count), &frame) == IST_OK) {
        uint64_t whole = IST_FRAME_BYTES + frame.body_bytes + frame.payload_bytes;
        if (c->in.count < whole) {
            break;
        }
        answer_request(c, &frame, ist_span_of(c->in.data + IST_FRAME_BYTES, frame.body_bytes));
        memmove(c->in.data, c->in.data + whole, c->in.count - whole);
        c->in.count -= whole;
    }
}

/* ---- the thread --------------------------------------------------------------------------------------------- */

static void drop(struct fake_connection *c) {
    close(c->fd);
    c->fd = -1;
    bytes_free(&c->in);
    bytes_free(&c->out);
}

static void take_connection(struct fake *fake) {
    int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    IST_ASSERT(fake->count < CONNECTIONS_MAX);
    size_t number = fake->count++;
    struct fake_connection *c = &fake->connections[number];
    *c = (struct fake_connection){
        .fake = fake,
        .fd = fd,
        .way = fake->ways[number < fake->way_count ? number : fake->way_count - 1],
        .number = number,
    };
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (c->way == FAKE_GARBAGE) {
        bytes_add(&c->out, "SSH-2.0-OpenSSH_9.2\r\n", 21);
    }
    atomic_store(&fake->accepted, fake->count); /* known before the client can see what is done to it */
    if (c->way == FAKE_CLOSE) {
        drop(c);
    }
}

static bool is_deaf(const struct fake_connection *c) {
    return c->way == FAKE_DEAF && c->greeted && !atomic_load(&c->fake->speaks);
}

static void serve(struct fake_connection *c, short ready) {
    if ((ready & (POLLIN | POLLHUP | POLLERR)) != 0 && !is_deaf(c)) {
        uint8_t piece[READ_BYTES];
        ssize_t got = recv(c->fd, piece, sizeof(piece), 0);
        if (got <= 0) {
            drop(c);
            return;
        }
        bytes_add(&c->in, piece, (size_t)got);
    }
    answer_all(c);
    if (c->sent < c->out.count) {
        ssize_t sent = send(c->fd, c->out.data + c->sent, c->out.count - c->sent, MSG_NOSIGNAL);
        c->sent += sent > 0 ? (size_t)sent : 0;
    }
    if (c->sent == c->out.count) {
        c->sent = c->out.count = 0;
        if (c->closes) {
            drop(c);
        }
    }
}

static void *run(void *arg) {
    struct fake *fake = arg;
    while (!atomic_load(&fake->stops)) {
        struct pollfd polled[CONNECTIONS_MAX + 2] = {{.fd = fake->listener, .events = POLLIN},
                                                     {.fd = fake->wake, .events = POLLIN}};
        size_t count = fake->count;
        for (size_t i = 0; i < count; i++) {
            const struct fake_connection *c = &fake->connections[i];
            polled[2 + i].fd = c->fd;
            polled[2 + i].events =
                (short)((is_deaf(c) ? 0 : POLLIN) | (c->sent < c->out.count ? POLLOUT : 0));
        }
        (void)poll(polled, 2 + count, -1);
        if (polled[1].revents != 0) {
            uint64_t number;
            (void)!read(fake->wake, &number, sizeof(number));
        }
        for (size_t i = 0; i < count; i++) {
            if (fake->connections[i].fd >= 0) {
                serve(&fake->connections[i], polled[2 + i].revents);
            }
        }
        if (polled[0].revents != 0) {
            take_connection(fake);
        }
    }
    return NULL;
}

static void wake(struct fake *fake) {
    (void)!write(fake->wake, &(uint64_t){1}, sizeof(uint64_t));
}

/* ---- for the test -------------------------------------------------------------------------------------------- */

static void listen_on(struct fake *fake, const struct sockaddr *address, socklen_t bytes) {
    fake->listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fake->listener >= 0);
    (void)setsockopt(fake->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    assert_int_equal(bind(fake->listener, address, bytes), 0);
    assert_int_equal(listen(fake->listener, 16), 0);
}

static struct fake *start(const enum fake_way *ways, size_t count, int family, const char *path,
                          uint16_t port) {
    struct fake *fake = calloc(1, sizeof(*fake));
    assert_non_null(fake);
    assert_true(count >= 1 && count <= CONNECTIONS_MAX);
    memcpy(fake->ways, ways, count * sizeof(*ways));
    fake->way_count = count;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (path != NULL) {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
        listen_on(fake, (struct sockaddr *)&un, sizeof(un));
        snprintf(fake->endpoint, sizeof(fake->endpoint), "unix:%s", path);
    } else if (family == AF_INET) {
        socklen_t bytes = sizeof(in);
        listen_on(fake, (struct sockaddr *)&in, bytes);
        assert_int_equal(getsockname(fake->listener, (struct sockaddr *)&in, &bytes), 0);
        fake->port = ntohs(in.sin_port);
        snprintf(fake->endpoint, sizeof(fake->endpoint), "127.0.0.1:%u", fake->port);
    } else {
        socklen_t bytes = sizeof(in6);
        listen_on(fake, (struct sockaddr *)&in6, bytes);
        assert_int_equal(getsockname(fake->listener, (struct sockaddr *)&in6, &bytes), 0);
        fake->port = ntohs(in6.sin6_port);
        snprintf(fake->endpoint, sizeof(fake->endpoint), "[::1]:%u", fake->port);
    }
    fake->wake = eventfd(0, EFD_CLOEXEC);
    assert_true(fake->wake >= 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, run, fake), 0);
    return fake;
}

struct fake *fake_start(const enum fake_way *ways, size_t count, int family, const char *path) {
    return start(ways, count, family, path, 0);
}

struct fake *fake_start_at(const enum fake_way *ways, size_t count, uint16_t port) {
    return start(ways, count, AF_INET, NULL, port);
}

void fake_stop(struct fake *fake) {
    atomic_store(&fake->stops, true);
    wake(fake);
    assert_int_equal(pthread_join(fake->thread, NULL), 0);
    for (size_t i = 0; i < fake->count; i++) {
        if (fake->connections[i].fd >= 0) {
            drop(&fake->connections[i]);
        }
    }
    close(fake->listener);
    close(fake->wake);
    free(fake);
}

const char *fake_endpoint(const struct fake *fake) {
    return fake->endpoint;
}

uint16_t fake_port(const struct fake *fake) {
    return fake->port;
}

size_t fake_connections(struct fake *fake) {
    return atomic_load(&fake->accepted);
}

size_t fake_requests(struct fake *fake) {
    return atomic_load(&fake->requests);
}

void fake_speak(struct fake *fake) {
    atomic_store(&fake->speaks, true);
    wake(fake);
}

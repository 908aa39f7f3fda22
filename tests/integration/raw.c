#include "tests/integration/raw.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define BODY_BYTES_SANE (80u << 20)

/* ---- say --------------------------------------------------------------------------------------- */

void bytes_add(struct bytes *bytes, const void *data, size_t count) {
    if (count > bytes->room - bytes->count) {
        bytes->room = 2 * bytes->room + count;
        bytes->data = realloc(bytes->data, bytes->room);
        assert_non_null(bytes->data);
    }
    if (count > 0) {
        memcpy(bytes->data + bytes->count, data, count);
        bytes->count += count;
    }
}

void bytes_free(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes){0};
}

static void add_little_endian(struct bytes *out, uint64_t value, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));
        bytes_add(out, &byte, 1);
    }
}

void raw_add_header(struct bytes *out, unsigned operation, unsigned flags, uint64_t id,
                    uint32_t body_bytes, uint64_t payload_bytes) {
    bytes_add(out, "INST\x01", 5);
    add_little_endian(out, operation, 1);
    add_little_endian(out, flags, 2);
    add_little_endian(out, id, 8);
    add_little_endian(out, body_bytes, 4);
    add_little_endian(out, 0, 4);
    add_little_endian(out, payload_bytes, 8);
}

void raw_add_varint(struct bytes *out, uint64_t value) {
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        bytes_add(out, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static void add_tag(struct bytes *out, unsigned field, unsigned wire_type) {
    raw_add_varint(out, field << 3 | wire_type);
}

static void add_framed(struct bytes *out, unsigned operation, unsigned flags, uint64_t id,
                       struct bytes *body, const void *payload, uint64_t payload_bytes) {
    raw_add_header(out, operation, flags, id, (uint32_t)body->count, payload_bytes);
    bytes_add(out, body->data, body->count);
    bytes_add(out, payload, payload_bytes);
    bytes_free(body);
}

void raw_add_hello(struct bytes *out, uint32_t version_min, uint32_t version_max) {
    static const char name[] = "raw";
    struct bytes body = {0};
    add_tag(&body, 1, 0);
    raw_add_varint(&body, version_min);
    add_tag(&body, 2, 0);
    raw_add_varint(&body, version_max);
    add_tag(&body, 3, 2);
    raw_add_varint(&body, strlen(name));
    bytes_add(&body, name, strlen(name));
    add_framed(out, RAW_HELLO, 0, 0, &body, NULL, 0);
}

void raw_add_key(struct bytes *body, const void *key, size_t key_bytes) {
    add_tag(body, 1, 2);
    raw_add_varint(body, key_bytes);
    bytes_add(body, key, key_bytes);
}

void raw_add_lengths(struct bytes *body, const uint64_t *lengths, size_t count) {
    struct bytes packed = {0};
    for (size_t i = 0; i < count; i++) {
        raw_add_varint(&packed, lengths[i]);
    }
    add_tag(body, 2, 2);
    raw_add_varint(body, packed.count);
    bytes_add(body, packed.data, packed.count);
    bytes_free(&packed);
}

void raw_add_put(struct bytes *out, uint64_t id, unsigned flags, const char *key, const void *value,
                 uint64_t value_bytes) {
    struct bytes body = {0};
    raw_add_key(&body, key, strlen(key));
    raw_add_lengths(&body, &value_bytes, 1);
    add_framed(out, RAW_PUT, flags, id, &body, value, value_bytes);
}

void raw_add_get(struct bytes *out, uint64_t id, const char *key, uint64_t buffer_bytes) {
    struct bytes body = {0};
    raw_add_key(&body, key, strlen(key));
    raw_add_lengths(&body, &buffer_bytes, 1);
    add_framed(out, RAW_GET, 0, id, &body, NULL, 0);
}

void raw_add_keys(struct bytes *out, unsigned operation, uint64_t id, const char *key) {
    struct bytes body = {0};
    raw_add_key(&body, key, strlen(key));
    add_framed(out, operation, 0, id, &body, NULL, 0);
}

void raw_add_empty(struct bytes *out, unsigned operation, uint64_t id) {
    raw_add_header(out, operation, 0, id, 0, 0);
}

/* ---- sockets ----------------------------------------------------------------------------------- */

static int connect_to(const struct sockaddr *address, socklen_t bytes) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    const struct timeval patience = {.tv_sec = (time_t)(PATIENCE_NS / 1000000000)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (address->sa_family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    if (connect(fd, address, bytes) != 0) {
        int error = errno;
        close(fd);
        fail_msg("connect: %s", strerror(error));
    }
    return fd;
}

int raw_connect(const char *address) {
    if (address[0] == '/') {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        assert_true(strlen(address) < sizeof(un.sun_path));
        strcpy(un.sun_path, address);
        return connect_to((struct sockaddr *)&un, sizeof(un));
    }
    char host[128];
    snprintf(host, sizeof(host), "%s", address[0] == '[' ? address + 1 : address);
    char *port = strrchr(host, ':');
    assert_non_null(port);
    port[address[0] == '[' ? -1 : 0] = '\0';
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    assert_int_equal(getaddrinfo(host, port + 1, &hints, &found), 0);
    int fd = connect_to(found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return fd;
}

bool raw_send(int fd, const void *data, size_t count) {
    const uint8_t *from = data;
    while (count > 0) {
        ssize_t sent = send(fd, from, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            fail_msg("the daemon stopped reading");
        }
        if (sent < 0) {
            return false;
        }
        from += sent;
        count -= (size_t)sent;
    }
    return true;
}

size_t raw_read(int fd, void *data, size_t count) {
    uint8_t *to = data;
    size_t have = 0;
    while (have < count) {
        ssize_t got = recv(fd, to + have, count - have, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            fail_msg("the daemon is silent: %zu of %zu bytes came", have, count);
        }
        if (got <= 0) {
            break; /* a reset is an end, too */
        }
        have += (size_t)got;
    }
    return have;
}

size_t raw_read_to_end(int fd) {
    static uint8_t buffer[64 * KIB];
    size_t total = 0;
    for (;;) {
        size_t got = raw_read(fd, buffer, sizeof(buffer));
        total += got;
        if (got < sizeof(buffer)) {
            return total;
        }
    }
}

void raw_close_hard(int fd) {
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
}

/* ---- listen ------------------------------------------------------------------------------------ */

static uint64_t load_little_endian(const uint8_t *in, unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}

bool raw_receive_head(int fd, struct raw_frame *frame) {
    uint8_t header[RAW_HEADER_BYTES];
    *frame = (struct raw_frame){0};
    size_t got = raw_read(fd, header, sizeof(header));
    if (got < sizeof(header)) {
        assert_int_equal(got, 0); /* a frame is never cut, not even the last one */
        return false;
    }
    assert_memory_equal(header, "INST\x01", 5);
    assert_int_equal(load_little_endian(header + 20, 4), 0);
    frame->operation = header[5];
    frame->flags = (unsigned)load_little_endian(header + 6, 2);
    frame->id = load_little_endian(header + 8, 8);
    frame->body_bytes = (uint32_t)load_little_endian(header + 16, 4);
    frame->payload_bytes = load_little_endian(header + 24, 8);
    assert_int_equal(frame->flags, RAW_REPLY);
    assert_true(frame->body_bytes <= BODY_BYTES_SANE);
    frame->body = malloc(frame->body_bytes + 1u);
    assert_non_null(frame->body);
    return raw_read(fd, frame->body, frame->body_bytes) == frame->body_bytes;
}

bool raw_receive(int fd, struct raw_frame *frame) {
    if (!raw_receive_head(fd, frame)) {
        return false;
    }
    frame->payload = malloc(frame->payload_bytes + 1u);
    assert_non_null(frame->payload);
    return raw_read(fd, frame->payload, frame->payload_bytes) == frame->payload_bytes;
}

void raw_frame_free(struct raw_frame *frame) {
    free(frame->body);
    free(frame->payload);
    *frame = (struct raw_frame){0};
}

static uint64_t take_varint(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        assert_true(*at < end);
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    fail_msg("a varint of more than 10 bytes");
    return 0;
}

static void take_lengths(const uint8_t *at, const uint8_t *end, struct raw_reply *reply) {
    while (at < end) {
        uint64_t length = take_varint(&at, end);
        if (reply->length_count < sizeof(reply->length) / sizeof(reply->length[0])) {
            reply->length[reply->length_count] = length;
        }
        reply->length_count++;
    }
}

void raw_reply_parse(const struct raw_frame *frame, struct raw_reply *reply) {
    *reply = (struct raw_reply){0};
    const uint8_t *at = frame->body, *end = at + frame->body_bytes;
    while (at < end) {
        uint64_t tag = take_varint(&at, end);
        uint64_t value = take_varint(&at, end);
        if ((tag & 7) == 2) {
            assert_true(value <= (uint64_t)(end - at));
        }
        switch (tag) {
        case 1 << 3: reply->status = (enum ist_status)value; break;
        case 2 << 3 | 2:
            reply->key_status = at;
            reply->key_count = value;
            at += value;
            break;
        case 3 << 3 | 2:
            take_lengths(at, at + value, reply);
            at += value;
            break;
        case 4 << 3: reply->count = value; break;
        default: fail_msg("tag %u in a reply", (unsigned)tag);
        }
    }
}

/* ---- calls ------------------------------------------------------------------------------------- */

int raw_open(const char *address) {
    int fd = raw_connect(address);
    struct bytes hello = {0};
    raw_add_hello(&hello, 1, 1);
    assert_true(raw_send(fd, hello.data, hello.count));
    bytes_free(&hello);
    struct raw_frame frame;
    assert_true(raw_receive(fd, &frame));
    assert_int_equal(frame.operation, RAW_HELLO);
    raw_frame_free(&frame);
    return fd;
}

static enum ist_status first_status(const struct raw_reply *reply) {
    return reply->status == IST_OK && reply->key_count > 0 ? (enum ist_status)reply->key_status[0]
                                                           : reply->status;
}

enum ist_status raw_call(int fd, const struct bytes *request, uint64_t id) {
    assert_true(raw_send(fd, request->data, request->count));
    struct raw_frame frame;
    struct raw_reply reply;
    assert_true(raw_receive(fd, &frame));
    assert_int_equal(frame.id, id);
    raw_reply_parse(&frame, &reply);
    enum ist_status status = first_status(&reply);
    raw_frame_free(&frame);
    return status;
}

enum ist_status raw_put(int fd, const char *key, const void *value, uint64_t value_bytes) {
    struct bytes request = {0};
    raw_add_put(&request, 7, 0, key, value, value_bytes);
    enum ist_status status = raw_call(fd, &request, 7);
    bytes_free(&request);
    return status;
}

enum ist_status raw_get(int fd, const char *key, void *value, uint64_t value_bytes, uint64_t *got) {
    struct bytes request = {0};
    raw_add_get(&request, 8, key, value_bytes);
    assert_true(raw_send(fd, request.data, request.count));
    bytes_free(&request);
    struct raw_frame frame;
    struct raw_reply reply;
    assert_true(raw_receive(fd, &frame));
    raw_reply_parse(&frame, &reply);
    enum ist_status status = first_status(&reply);
    if (status == IST_OK) {
        assert_true(frame.payload_bytes <= value_bytes);
        memcpy(value, frame.payload, frame.payload_bytes);
        *got = frame.payload_bytes;
    } else {
        assert_int_equal(frame.payload_bytes, 0);
    }
    raw_frame_free(&frame);
    return status;
}

bool raw_exists(int fd, const char *key) {
    struct bytes request = {0};
    raw_add_keys(&request, RAW_EXISTS, 9, key);
    enum ist_status status = raw_call(fd, &request, 9);
    bytes_free(&request);
    assert_true(status == IST_OK || status == IST_NOT_FOUND);
    return status == IST_OK;
}

enum ist_status raw_ping(int fd) {
    struct bytes request = {0};
    raw_add_empty(&request, RAW_PING, 10);
    enum ist_status status = raw_call(fd, &request, 10);
    bytes_free(&request);
    return status;
}

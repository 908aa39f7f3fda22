/* A speaker of the protocol that was written by hand from src/wire/PROTOCOL.md, without the client library or the
 * codec: it can say what they would never say. Blocking sockets that give up after PATIENCE_NS. */
#ifndef IST_TESTS_INTEGRATION_RAW_H
#define IST_TESTS_INTEGRATION_RAW_H

#include "tests/support.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"

enum raw_operation {
    RAW_HELLO = 1,
    RAW_PUT,
    RAW_GET,
    RAW_EXISTS,
    RAW_MATCH_PREFIX,
    RAW_MATCH_LAST,
    RAW_REMOVE,
    RAW_PURGE,
    RAW_STAT,
    RAW_PING,
};
#define RAW_HEADER_BYTES 32
#define RAW_REPLY 1
#define RAW_IF_ABSENT 2

/* Bytes that grow. Zero-initialised is empty. */
struct bytes {
    uint8_t *data;
    size_t count, room;
};
void bytes_add(struct bytes *bytes, const void *data, size_t count);
void bytes_free(struct bytes *bytes);

void raw_add_header(struct bytes *out, unsigned operation, unsigned flags, uint64_t id,
                    uint32_t body_bytes, uint64_t payload_bytes);
void raw_add_varint(struct bytes *out, uint64_t value);
void raw_add_hello(struct bytes *out, uint32_t version_min, uint32_t version_max); /* a frame */
/* The fields of a body. */
void raw_add_key(struct bytes *body, const void *key, size_t key_bytes);
void raw_add_lengths(struct bytes *body, const uint64_t *lengths, size_t count);
/* Whole frames of one key. */
void raw_add_put(struct bytes *out, uint64_t id, unsigned flags, const char *key, const void *value,
                 uint64_t value_bytes);
void raw_add_get(struct bytes *out, uint64_t id, const char *key, uint64_t buffer_bytes);
void raw_add_keys(struct bytes *out, unsigned operation, uint64_t id, const char *key);
void raw_add_empty(struct bytes *out, unsigned operation, uint64_t id); /* PURGE, STAT, PING */

/* "127.0.0.1:1", "[::1]:1", "/path". Fails the test when nobody is there. */
int raw_connect(const char *address);
int raw_open(const char *address); /* and shakes hands */
/* False: the other side does not take it all (it has closed). */
bool raw_send(int fd, const void *data, size_t count);
/* How many of `count` bytes came before the end of the stream; fails the test when nothing moves any more. */
size_t raw_read(int fd, void *data, size_t count);
/* Reads what comes until the other side closes; returns how many bytes. */
size_t raw_read_to_end(int fd);
void raw_close_hard(int fd); /* with a reset */

struct raw_frame {
    unsigned operation, flags;
    uint64_t id;
    uint32_t body_bytes;
    uint64_t payload_bytes;
    uint8_t *body, *payload; /* owned: raw_frame_free() */
};
/* False: the stream ended first. The header must be good. */
bool raw_receive(int fd, struct raw_frame *frame);
/* The header and the body only: the payload is still to be read. */
bool raw_receive_head(int fd, struct raw_frame *frame);
void raw_frame_free(struct raw_frame *frame);

struct raw_reply {
    enum ist_status status;
    const uint8_t *key_status; /* borrowed from the frame */
    size_t key_count;
    uint64_t length[8]; /* the first ones */
    size_t length_count;
    uint64_t count;
};
/* The body of a KeysReply; it must be well-formed. */
void raw_reply_parse(const struct raw_frame *frame, struct raw_reply *reply);

/* Sends, and expects the answer to `id` with this status (of the key, where there is one). */
enum ist_status raw_call(int fd, const struct bytes *request, uint64_t id);
enum ist_status raw_put(int fd, const char *key, const void *value, uint64_t value_bytes);
/* value: room for value_bytes; *got: its length. */
enum ist_status raw_get(int fd, const char *key, void *value, uint64_t value_bytes, uint64_t *got);
bool raw_exists(int fd, const char *key);
enum ist_status raw_ping(int fd);

#endif

/* Messages <-> views. Decoding neither copies nor allocates: spans point into the body, which must stay
 * while they are used. Encoding writes into the caller's buffer. All messages are defined in
 * infinistore.proto. A decode that fails answers PROTOCOL and has written nothing that may be used. */
#ifndef IST_WIRE_CODEC_H
#define IST_WIRE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/queue_pair_end.h"
#include "base/span.h"
#include "infinistore/limits.h"
#include "infinistore/status.h"

/* HELLO, the first frame of a session. */
struct ist_hello {
    uint32_t version_min, version_max;
    struct ist_span client; /* free text for logs, e.g. "infinistore-c/0.1.0" */
};
struct ist_hello_reply {
    enum ist_status status; /* OK or PROTOCOL: no version in common */
    uint32_t version;
    uint64_t incarnation; /* random, chosen at the server's start, never 0 */
    uint32_t keys_max, key_bytes_max, body_bytes_max, in_flight_max;
    uint64_t value_bytes_max;
    struct ist_span server; /* free text */
};

/* Upper bound of either encoded HELLO message whose text is at most 64 bytes. */
#define IST_CODEC_HELLO_BYTES 160u

enum ist_status ist_codec_encode_hello(const struct ist_hello *hello, uint8_t *out, size_t out_bytes,
                                       size_t *written);
enum ist_status ist_codec_decode_hello(struct ist_span body, struct ist_hello *hello);
enum ist_status ist_codec_encode_hello_reply(const struct ist_hello_reply *reply, uint8_t *out,
                                             size_t out_bytes, size_t *written);
enum ist_status ist_codec_decode_hello_reply(struct ist_span body, struct ist_hello_reply *reply);

/* CONNECT, request and reply: one end of a reliable-connected queue pair, and what it has room for. */
struct ist_endpoint {
    enum ist_status status;        /* of a reply */
    struct ist_queue_pair_end end; /* not OK: zeroes */
};
#define IST_CODEC_ENDPOINT_BYTES 80u /* upper bound of the encoded message */

enum ist_status ist_codec_encode_endpoint(const struct ist_endpoint *endpoint, uint8_t *out,
                                          size_t out_bytes, size_t *written);
/* Returns OK; PROTOCOL (malformed, or numbers outside of their ranges). */
enum ist_status ist_codec_decode_endpoint(struct ist_span body, struct ist_endpoint *endpoint);

/* PUT, GET, EXISTS, MATCH_*, REMOVE: keys, and per key a length: of the value for PUT, of the reader's
 * buffer for GET, absent otherwise. PURGE, STAT and PING have an empty body. */
size_t ist_codec_keys_bytes(const struct ist_span *keys, const uint64_t *lengths, size_t count);
/* Fields of one request, at most: four numbers or strings for each key, and some that we do not know. */
#define IST_CODEC_FIELDS_MAX (4 * IST_KEYS_PER_REQUEST_MAX + 1024)

/* lengths may be NULL. Returns OK, or NO_SPACE when out is shorter than ist_codec_keys_bytes(). */
enum ist_status ist_codec_encode_keys(const struct ist_span *keys, const uint64_t *lengths,
                                      size_t count, uint8_t *out, size_t out_bytes, size_t *written);
/* keys and lengths have room for `max`. *count keys and *length_count lengths were there; key lengths
 * are not judged here. Returns OK, PROTOCOL (malformed, more than max of either, or more than
 * IST_CODEC_FIELDS_MAX fields). */
enum ist_status ist_codec_decode_keys(struct ist_span body, struct ist_span *keys, uint64_t *lengths,
                                      size_t max, size_t *count, size_t *length_count);

/* The same over RDMA: where in the client's memory each value is read from, or written to. */
struct ist_remote {
    uint64_t address;
    uint32_t rkey;
};
/* remotes: NULL, or one for each key. */
size_t ist_codec_remote_keys_bytes(const struct ist_span *keys, const uint64_t *lengths,
                                   const struct ist_remote *remotes, size_t count);
enum ist_status ist_codec_encode_remote_keys(const struct ist_span *keys, const uint64_t *lengths,
                                             const struct ist_remote *remotes, size_t count,
                                             uint8_t *out, size_t out_bytes, size_t *written);
/* remotes: room for max. PROTOCOL also when addresses and rkeys are not as many. */
enum ist_status ist_codec_decode_remote_keys(struct ist_span body, struct ist_span *keys,
                                             uint64_t *lengths, struct ist_remote *remotes, size_t max,
                                             size_t *count, size_t *length_count, size_t *remote_count);

/* The reply to those, and to PURGE and PING. */
struct ist_keys_reply {
    enum ist_status status;     /* of the request; not OK: the rest is empty */
    struct ist_span key_status; /* PUT, GET, EXISTS: one byte per key, an enum ist_status */
    const uint64_t *lengths;    /* GET: per key the value's length on OK and TOO_SMALL, else 0 */
    size_t length_count;
    uint64_t count; /* MATCH_PREFIX: leading keys present; MATCH_LAST: index + 1 or 0; REMOVE, PURGE:
                       how many went */
};
size_t ist_codec_keys_reply_bytes(const struct ist_keys_reply *reply);
enum ist_status ist_codec_encode_keys_reply(const struct ist_keys_reply *reply, uint8_t *out,
                                            size_t out_bytes, size_t *written);
/* lengths: room for length_max, and what reply->lengths points to afterwards. PROTOCOL also when a status
 * byte is no enum ist_status. */
enum ist_status ist_codec_decode_keys_reply(struct ist_span body, uint64_t *lengths, size_t length_max,
                                            struct ist_keys_reply *reply);

/* STAT's reply: a list of (name, value). Encode one metric after the other behind the status. */
struct ist_codec_metric {
    struct ist_span name;
    double value;
};
size_t ist_codec_metrics_bytes(const struct ist_codec_metric *metrics, size_t count);
enum ist_status ist_codec_encode_metrics(const struct ist_codec_metric *metrics, size_t count,
                                         uint8_t *out, size_t out_bytes, size_t *written);
/* Returns OK, PROTOCOL (malformed, or more than max metrics), or what the reply says instead of OK. */
enum ist_status ist_codec_decode_metrics(struct ist_span body, struct ist_codec_metric *metrics,
                                         size_t max, size_t *count);

#endif

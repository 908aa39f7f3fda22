/* wire/codec: the first byte chooses a message, the rest is its body. What can be read can be written, and then reads
 * the same. */
#include "fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#include "wire/codec.h"

enum message { HELLO, HELLO_REPLY, ENDPOINT, KEYS, REMOTE_KEYS, KEYS_REPLY, METRICS, MESSAGES };

#define KEYS_MAX 64u /* few, so that "more than max" is in reach */

static void check_view(struct ist_span body, struct ist_span view) {
    IST_ASSERT(view.bytes == 0 || (view.data >= body.data && view.bytes <= body.bytes &&
                                   view.data + view.bytes <= body.data + body.bytes));
}

static void check_hello(struct ist_span body) {
    struct ist_hello hello, again;
    uint8_t out[4096];
    size_t written;
    if (ist_codec_decode_hello(body, &hello) != IST_OK) {
        return;
    }
    check_view(body, hello.client);
    if (ist_codec_encode_hello(&hello, out, sizeof(out), &written) == IST_OK) {
        IST_ASSERT(hello.client.bytes > 64 || written <= IST_CODEC_HELLO_BYTES);
        IST_ASSERT(ist_codec_decode_hello(ist_span_of(out, written), &again) == IST_OK);
        IST_ASSERT(again.version_min == hello.version_min && again.version_max == hello.version_max);
        IST_ASSERT(ist_span_equal(again.client, hello.client));
    }
}

static void check_hello_reply(struct ist_span body) {
    struct ist_hello_reply reply, again;
    uint8_t out[4096];
    size_t written;
    if (ist_codec_decode_hello_reply(body, &reply) != IST_OK) {
        return;
    }
    check_view(body, reply.server);
    if (ist_codec_encode_hello_reply(&reply, out, sizeof(out), &written) == IST_OK) {
        IST_ASSERT(reply.server.bytes > 64 || written <= IST_CODEC_HELLO_BYTES);
        IST_ASSERT(ist_codec_decode_hello_reply(ist_span_of(out, written), &again) == IST_OK);
        IST_ASSERT(again.status == reply.status && again.version == reply.version);
        IST_ASSERT(again.incarnation == reply.incarnation && again.keys_max == reply.keys_max);
        IST_ASSERT(again.key_bytes_max == reply.key_bytes_max);
        IST_ASSERT(again.body_bytes_max == reply.body_bytes_max);
        IST_ASSERT(again.in_flight_max == reply.in_flight_max);
        IST_ASSERT(again.value_bytes_max == reply.value_bytes_max);
        IST_ASSERT(ist_span_equal(again.server, reply.server));
    }
}

static void check_endpoint(struct ist_span body) {
    struct ist_endpoint end, again;
    uint8_t out[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    if (ist_codec_decode_endpoint(body, &end) != IST_OK) {
        return;
    }
    IST_ASSERT(end.status != IST_OK || (end.end.number < 1u << 24 && end.end.packet_number < 1u << 24));
    IST_ASSERT(ist_codec_encode_endpoint(&end, out, sizeof(out), &written) == IST_OK);
    IST_ASSERT(ist_codec_decode_endpoint(ist_span_of(out, written), &again) == IST_OK);
    const struct ist_queue_pair_end *a = &end.end, *b = &again.end;
    IST_ASSERT(again.status == end.status && b->number == a->number);
    IST_ASSERT(b->packet_number == a->packet_number && b->lid == a->lid);
    IST_ASSERT(memcmp(b->gid, a->gid, IST_GID_BYTES) == 0 && b->mtu_bytes == a->mtu_bytes);
    IST_ASSERT(b->reads == a->reads && b->messages == a->messages);
    IST_ASSERT(b->message_bytes == a->message_bytes);
}

struct keys {
    struct ist_span keys[KEYS_MAX];
    uint64_t lengths[KEYS_MAX];
    struct ist_remote remotes[KEYS_MAX];
    size_t count, length_count, remote_count;
};

static enum ist_status decode_keys(struct ist_span body, size_t max, bool remote, struct keys *keys) {
    keys->remote_count = 0;
    return remote ? ist_codec_decode_remote_keys(body, keys->keys, keys->lengths, keys->remotes, max,
                                                 &keys->count, &keys->length_count, &keys->remote_count)
                  : ist_codec_decode_keys(body, keys->keys, keys->lengths, max, &keys->count,
                                          &keys->length_count);
}

static void check_same_keys(const struct keys *a, const struct keys *b) {
    IST_ASSERT(a->count == b->count && a->length_count == b->length_count);
    IST_ASSERT(a->remote_count == b->remote_count);
    for (size_t i = 0; i < a->count; i++) {
        IST_ASSERT(ist_span_equal(a->keys[i], b->keys[i]));
    }
    for (size_t i = 0; i < a->length_count; i++) {
        IST_ASSERT(a->lengths[i] == b->lengths[i]);
    }
    for (size_t i = 0; i < a->remote_count; i++) {
        IST_ASSERT(a->remotes[i].address == b->remotes[i].address);
        IST_ASSERT(a->remotes[i].rkey == b->remotes[i].rkey);
    }
}

/* The encoders write a length and a place for each key, or none at all. */
static void check_keys(struct ist_span body, bool remote) {
    static struct keys keys, again;
    if (body.bytes == 0 || decode_keys(body, 1 + body.data[0] % KEYS_MAX, remote, &keys) != IST_OK) {
        return;
    }
    for (size_t i = 0; i < keys.count; i++) {
        check_view(body, keys.keys[i]);
    }
    if ((keys.length_count != 0 && keys.length_count != keys.count) ||
        (keys.remote_count != 0 && keys.remote_count != keys.count)) {
        return;
    }
    const uint64_t *lengths = keys.length_count == 0 ? NULL : keys.lengths;
    const struct ist_remote *remotes = keys.remote_count == 0 ? NULL : keys.remotes;
    size_t room = ist_codec_remote_keys_bytes(keys.keys, lengths, remotes, keys.count), written;
    uint8_t *out = malloc(room + 1);
    IST_ASSERT(out != NULL);
    IST_ASSERT(room == 0 || ist_codec_encode_remote_keys(keys.keys, lengths, remotes, keys.count, out,
                                                         room - 1, &written) == IST_NO_SPACE);
    IST_ASSERT(ist_codec_encode_remote_keys(keys.keys, lengths, remotes, keys.count, out, room,
                                            &written) == IST_OK);
    IST_ASSERT(written == room);
    IST_ASSERT(decode_keys(ist_span_of(out, written), KEYS_MAX, remote, &again) == IST_OK);
    check_same_keys(&keys, &again);
    free(out);
}

static void check_keys_reply(struct ist_span body) {
    uint64_t lengths[KEYS_MAX], lengths_again[KEYS_MAX];
    struct ist_keys_reply reply, again;
    if (ist_codec_decode_keys_reply(body, lengths, KEYS_MAX, &reply) != IST_OK) {
        return;
    }
    check_view(body, reply.key_status);
    for (size_t i = 0; i < reply.key_status.bytes; i++) {
        IST_ASSERT(strcmp(ist_status_name((enum ist_status)reply.key_status.data[i]), "UNKNOWN") != 0);
    }
    size_t room = ist_codec_keys_reply_bytes(&reply), written;
    uint8_t *out = malloc(room + 1);
    IST_ASSERT(out != NULL);
    IST_ASSERT(ist_codec_encode_keys_reply(&reply, out, room, &written) == IST_OK && written == room);
    IST_ASSERT(ist_codec_decode_keys_reply(ist_span_of(out, written), lengths_again, KEYS_MAX,
                                           &again) == IST_OK);
    IST_ASSERT(again.status == reply.status && again.count == reply.count);
    IST_ASSERT(ist_span_equal(again.key_status, reply.key_status));
    IST_ASSERT(again.length_count == reply.length_count);
    IST_ASSERT(memcmp(lengths, lengths_again, reply.length_count * sizeof(lengths[0])) == 0);
    free(out);
}

static void check_metrics(struct ist_span body) {
    struct ist_codec_metric metrics[KEYS_MAX], again[KEYS_MAX];
    size_t count, count_again;
    if (ist_codec_decode_metrics(body, metrics, KEYS_MAX, &count) != IST_OK) {
        return;
    }
    size_t room = ist_codec_metrics_bytes(metrics, count), written;
    uint8_t *out = malloc(room + 1);
    IST_ASSERT(out != NULL);
    IST_ASSERT(ist_codec_encode_metrics(metrics, count, out, room, &written) == IST_OK);
    IST_ASSERT(ist_codec_decode_metrics(ist_span_of(out, written), again, KEYS_MAX, &count_again) ==
               IST_OK);
    IST_ASSERT(count_again == count);
    for (size_t i = 0; i < count; i++) {
        check_view(body, metrics[i].name);
        IST_ASSERT(ist_span_equal(metrics[i].name, again[i].name));
        IST_ASSERT(memcmp(&metrics[i].value, &again[i].value, sizeof(double)) == 0);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) {
        return 0;
    }
    /* Memory of just the body's length: views may not begin before it either. */
    uint8_t *copy = malloc(bytes);
    IST_ASSERT(copy != NULL);
    memcpy(copy, data + 1, bytes - 1);
    struct ist_span body = ist_span_of(copy, bytes - 1);
    switch ((enum message)(data[0] % MESSAGES)) {
    case HELLO: check_hello(body); break;
    case HELLO_REPLY: check_hello_reply(body); break;
    case ENDPOINT: check_endpoint(body); break;
    case KEYS: check_keys(body, false); break;
    case REMOTE_KEYS: check_keys(body, true); break;
    case KEYS_REPLY: check_keys_reply(body); break;
    case METRICS: check_metrics(body); break;
    case MESSAGES: break;
    }
    free(copy);
    return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------------------ */

static void seed_hellos(fuzz_seed_fn seed) {
    uint8_t out[1 + IST_CODEC_HELLO_BYTES] = {HELLO};
    size_t written;
    const struct ist_hello hello = {1, 3, ist_span_of_string("a client")};
    IST_ASSERT(ist_codec_encode_hello(&hello, out + 1, sizeof(out) - 1, &written) == IST_OK);
    seed("hello", out, 1 + written);
    out[0] = HELLO_REPLY;
    const struct ist_hello_reply reply = {
        .version = 1,
        .incarnation = 0x1122334455667788,
        .keys_max = IST_KEYS_PER_REQUEST_MAX,
        .key_bytes_max = IST_KEY_BYTES_MAX,
        .body_bytes_max = IST_BODY_BYTES_MAX,
        .in_flight_max = IST_REQUESTS_IN_FLIGHT_MAX,
        .value_bytes_max = 1ull << 40,
        .server = ist_span_of_string("a server"),
    };
    IST_ASSERT(ist_codec_encode_hello_reply(&reply, out + 1, sizeof(out) - 1, &written) == IST_OK);
    seed("hello_reply", out, 1 + written);
    out[0] = ENDPOINT;
    const struct ist_endpoint end = {.end = {
                                         .number = 0x123456,
                                         .packet_number = 0xabcdef,
                                         .gid = {0xfe, 0x80, [15] = 1},
                                         .lid = 3,
                                         .mtu_bytes = 4096,
                                         .reads = 16,
                                         .messages = 8,
                                         .message_bytes = 8192,
                                     }};
    IST_ASSERT(ist_codec_encode_endpoint(&end, out + 1, sizeof(out) - 1, &written) == IST_OK);
    seed("endpoint", out, 1 + written);
    const struct ist_endpoint none = {.status = IST_NO_SPACE};
    IST_ASSERT(ist_codec_encode_endpoint(&none, out + 1, sizeof(out) - 1, &written) == IST_OK);
    seed("endpoint_refused", out, 1 + written);
}

static void seed_keys(fuzz_seed_fn seed) {
    static const uint8_t long_key[IST_KEY_BYTES_MAX];
    const struct ist_span keys[] = {ist_span_of("a", 1), ist_span_of("", 0),
                                    ist_span_of(long_key, sizeof(long_key)), ist_span_of("a", 1)};
    const uint64_t lengths[] = {1, 0, UINT64_MAX, 300};
    const struct ist_remote remotes[] = {
        {0x1000, 1}, {UINT64_MAX, 2}, {0, UINT32_MAX}, {0x7f0000000000, 4}};
    uint8_t out[1 + 2048];
    for (unsigned with = 0; with < 4; with++) {
        static const char *const names[] = {"keys", "keys_lengths", "keys_places",
                                            "keys_lengths_places"};
        size_t written;
        out[0] = with < 2 ? KEYS : REMOTE_KEYS;
        IST_ASSERT(ist_codec_encode_remote_keys(keys, with % 2 == 1 ? lengths : NULL,
                                                with >= 2 ? remotes : NULL, 4, out + 1, sizeof(out) - 1,
                                                &written) == IST_OK);
        seed(names[with], out, 1 + written);
    }
    /* Packed and not packed, fields that nobody knows, of each wire type. */
    seed("keys_packed", "\3\12\1k\22\3\1\2\3", 9);
    seed("keys_not_packed", "\3\12\1k\20\1\20\202\1", 9);
    seed("keys_unknown", "\3\12\1k\170\1\171\1\2\3\4\5\6\7\10\172\2xy\175\1\2\3\4", 25);
    seed("remote_not_packed", "\4\12\1k\20\1\31\1\2\3\4\5\6\7\10\45\1\2\3\4", 20);
}

static void seed_replies(fuzz_seed_fn seed) {
    static const uint8_t statuses[] = {IST_OK, IST_NOT_FOUND, IST_EXISTS, IST_TOO_SMALL};
    static const uint64_t lengths[] = {1, 0, 0, UINT64_MAX};
    const struct ist_keys_reply replies[] = {
        {.status = IST_OK,
         .key_status = ist_span_of(statuses, 4),
         .lengths = lengths,
         .length_count = 4},
        {.status = IST_OK, .count = 65536},
        {.status = IST_INVALID},
    };
    static const char *const names[] = {"reply_get", "reply_count", "reply_invalid"};
    uint8_t out[1 + 2048] = {KEYS_REPLY};
    size_t written;
    for (size_t i = 0; i < 3; i++) {
        IST_ASSERT(ist_codec_encode_keys_reply(&replies[i], out + 1, sizeof(out) - 1, &written) ==
                   IST_OK);
        seed(names[i], out, 1 + written);
    }
    const struct ist_codec_metric metrics[] = {
        {ist_span_of_string("keys"), 3}, {ist_span_of_string("requests{operation=\"put\"}"), -0.5}};
    out[0] = METRICS;
    IST_ASSERT(ist_codec_encode_metrics(metrics, 2, out + 1, sizeof(out) - 1, &written) == IST_OK);
    seed("metrics", out, 1 + written);
    seed("metrics_refused", "\6\10\17", 3);
}

void fuzz_seeds(fuzz_seed_fn seed) {
    seed_hellos(seed);
    seed_keys(seed);
    seed_replies(seed);
}

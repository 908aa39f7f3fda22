#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"

#include "wire/codec.h"
#include "wire/frame.h"

#define MAX 8u

static struct ist_span text(const char *string) {
    return ist_span_of_string(string);
}

/* ---- the example of PROTOCOL.md ----------------------------------------------------------------------------- */

/* Every line of hex digits between "```hex" and "```" in it: the bytes up to a ';'. */
static size_t read_example(const char *name, uint8_t *out, size_t room) {
    FILE *file = fopen("src/wire/PROTOCOL.md", "r");
    assert_non_null(file);
    char line[256], wanted[64];
    snprintf(wanted, sizeof(wanted), "```hex %s\n", name);
    bool inside = false;
    size_t bytes = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (!inside) {
            inside = strcmp(line, wanted) == 0;
            continue;
        }
        if (strncmp(line, "```", 3) == 0) {
            break;
        }
        char *at = line;
        unsigned byte;
        int used;
        while (*at != ';' && sscanf(at, " %2x%n", &byte, &used) == 1) {
            assert_true(bytes < room);
            out[bytes++] = (uint8_t)byte;
            at += used;
            at += strspn(at, " ");
        }
    }
    fclose(file);
    assert_true(bytes > 0);
    return bytes;
}

static size_t write_frame(enum ist_operation operation, uint16_t flags, uint64_t id,
                          struct ist_span body, struct ist_span payload, uint8_t *out) {
    struct ist_frame frame = {operation, flags, id, (uint32_t)body.bytes, payload.bytes};
    ist_frame_encode(&frame, out);
    memcpy(out + IST_FRAME_BYTES, body.data, body.bytes);
    if (payload.bytes > 0) {
        memcpy(out + IST_FRAME_BYTES + body.bytes, payload.data, payload.bytes);
    }
    return IST_FRAME_BYTES + body.bytes + payload.bytes;
}

static void expect_example(const char *name, const uint8_t *bytes, size_t count) {
    uint8_t documented[512];
    assert_int_equal(read_example(name, documented, sizeof(documented)), count);
    assert_memory_equal(documented, bytes, count);
}

static void test_protocol__worked_example__is_what_we_send(void **state) {
    (void)state;
    uint8_t body[256], frame[512];
    size_t written;

    const struct ist_hello hello = {1, 1, text("doc/1")};
    assert_int_equal(ist_codec_encode_hello(&hello, body, sizeof(body), &written), IST_OK);
    expect_example(
        "hello", frame,
        write_frame(IST_OP_HELLO, 0, 1, ist_span_of(body, written), (struct ist_span){0}, frame));

    const struct ist_hello_reply hello_reply = {
        .version = 1,
        .incarnation = 0x1122334455667788ull,
        .keys_max = IST_KEYS_PER_REQUEST_MAX,
        .key_bytes_max = IST_KEY_BYTES_MAX,
        .body_bytes_max = IST_BODY_BYTES_MAX,
        .in_flight_max = IST_REQUESTS_IN_FLIGHT_MAX,
        .value_bytes_max = 1ull << 34,
        .server = text("infinistore/0.1.0"),
    };
    assert_int_equal(ist_codec_encode_hello_reply(&hello_reply, body, sizeof(body), &written), IST_OK);
    expect_example("hello reply", frame,
                   write_frame(IST_OP_HELLO, IST_FRAME_REPLY, 1, ist_span_of(body, written),
                               (struct ist_span){0}, frame));

    const struct ist_span keys[2] = {text("ab"), text("xyz")};
    const uint64_t lengths[2] = {3, 300};
    uint8_t payload[303];
    memset(payload, 0x61, sizeof(payload));
    assert_int_equal(ist_codec_encode_keys(keys, lengths, 2, body, sizeof(body), &written), IST_OK);
    size_t count = write_frame(IST_OP_PUT, 0, 2, ist_span_of(body, written),
                               ist_span_of(payload, sizeof(payload)), frame);
    expect_example("put", frame, count - sizeof(payload));

    const uint8_t stored[2] = {IST_OK, IST_OK};
    struct ist_keys_reply reply = {.key_status = ist_span_of(stored, 2)};
    assert_int_equal(ist_codec_encode_keys_reply(&reply, body, sizeof(body), &written), IST_OK);
    expect_example("put reply", frame,
                   write_frame(IST_OP_PUT, IST_FRAME_REPLY, 2, ist_span_of(body, written),
                               (struct ist_span){0}, frame));

    const struct ist_span wanted[3] = {text("ab"), text("no"), text("xyz")};
    const uint64_t rooms[3] = {16, 16, 16};
    assert_int_equal(ist_codec_encode_keys(wanted, rooms, 3, body, sizeof(body), &written), IST_OK);
    expect_example(
        "get", frame,
        write_frame(IST_OP_GET, 0, 3, ist_span_of(body, written), (struct ist_span){0}, frame));

    const uint8_t got[3] = {IST_OK, IST_NOT_FOUND, IST_TOO_SMALL};
    const uint64_t true_lengths[3] = {3, 0, 300};
    reply = (struct ist_keys_reply){
        .key_status = ist_span_of(got, 3), .lengths = true_lengths, .length_count = 3};
    assert_int_equal(ist_codec_encode_keys_reply(&reply, body, sizeof(body), &written), IST_OK);
    expect_example("get reply", frame,
                   write_frame(IST_OP_GET, IST_FRAME_REPLY, 3, ist_span_of(body, written),
                               ist_span_of(payload, 3), frame));
}

/* ---- HELLO -------------------------------------------------------------------------------------------------- */

static void test_hello__round_trip__same(void **state) {
    (void)state;
    const struct ist_hello hello = {1, UINT32_MAX, text("client/1")};
    struct ist_hello out;
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_hello(&hello, body, sizeof(body), &written), IST_OK);
    assert_int_equal(ist_codec_decode_hello(ist_span_of(body, written), &out), IST_OK);
    assert_int_equal(out.version_min, 1);
    assert_int_equal(out.version_max, UINT32_MAX);
    assert_true(ist_span_equal(out.client, hello.client));
    assert_true(out.client.data > body && out.client.data < body + written); /* a view, no copy */
    assert_int_equal(ist_codec_decode_hello((struct ist_span){0}, &out), IST_OK);
    assert_int_equal(out.client.bytes, 0);
}

static void test_hello_reply__largest__fits_the_bound(void **state) {
    (void)state;
    char name[65];
    memset(name, 'n', sizeof(name));
    name[64] = '\0';
    const struct ist_hello_reply reply = {
        .status = IST_PROTOCOL,
        .version = UINT32_MAX,
        .incarnation = UINT64_MAX,
        .keys_max = UINT32_MAX,
        .key_bytes_max = UINT32_MAX,
        .body_bytes_max = UINT32_MAX,
        .in_flight_max = UINT32_MAX,
        .value_bytes_max = UINT64_MAX,
        .server = text(name),
    };
    struct ist_hello_reply out;
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_hello_reply(&reply, body, sizeof(body), &written), IST_OK);
    assert_int_equal(ist_codec_decode_hello_reply(ist_span_of(body, written), &out), IST_OK);
    assert_int_equal(out.status, IST_PROTOCOL);
    assert_int_equal(out.incarnation, UINT64_MAX);
    assert_int_equal(out.value_bytes_max, UINT64_MAX);
    assert_int_equal(out.in_flight_max, UINT32_MAX);
    assert_true(ist_span_equal(out.server, reply.server));
    for (size_t room = 0; room < written; room++) {
        size_t none;
        assert_int_equal(ist_codec_encode_hello_reply(&reply, body, room, &none), IST_NO_SPACE);
    }
    assert_int_equal(ist_codec_decode_hello_reply(ist_span_of("\x08\x02", 2), &out), IST_PROTOCOL);
    assert_int_equal(ist_codec_decode_hello_reply(ist_span_of("\x08", 1), &out), IST_PROTOCOL);
}

/* ---- requests with keys --------------------------------------------------------------------------------------- */

static void test_keys__round_trip_at_a_guard_page__views_on_the_body(void **state) {
    (void)state;
    static uint8_t long_key[IST_KEY_BYTES_MAX];
    const struct ist_span keys[4] = {text("a"), text(""), ist_span_of(long_key, sizeof(long_key)),
                                     text("z")};
    const uint64_t lengths[4] = {0, 127, 128, UINT64_MAX};
    size_t room = ist_codec_keys_bytes(keys, lengths, 4), written;
    uint8_t *body = guarded_new(room);
    assert_int_equal(ist_codec_encode_keys(keys, lengths, 4, body, room - 1, &written), IST_NO_SPACE);
    assert_int_equal(ist_codec_encode_keys(keys, lengths, 4, body, room, &written), IST_OK);
    assert_int_equal(written, room);
    struct ist_span out[4];
    uint64_t out_lengths[4];
    size_t count, length_count;
    assert_int_equal(
        ist_codec_decode_keys(ist_span_of(body, room), out, out_lengths, 4, &count, &length_count),
        IST_OK);
    assert_int_equal(count, 4);
    assert_int_equal(length_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(ist_span_equal(out[i], keys[i]));
        assert_true(out[i].data >= body && out[i].data + out[i].bytes <= body + room);
        assert_int_equal(out_lengths[i], lengths[i]);
    }
    assert_int_equal(
        ist_codec_decode_keys(ist_span_of(body, room), out, out_lengths, 3, &count, &length_count),
        IST_PROTOCOL);
    for (size_t cut = 0; cut < room; cut++) { /* never a read behind the end, never too much */
        uint8_t *part = guarded_new(cut);
        memcpy(part, body, cut);
        enum ist_status status =
            ist_codec_decode_keys(ist_span_of(part, cut), out, out_lengths, 4, &count, &length_count);
        assert_true(status == IST_PROTOCOL || (status == IST_OK && count + length_count < 8));
        guarded_free(part, cut);
    }
    guarded_free(body, room);
}

struct odd {
    const char *bytes;
    size_t count;
    enum ist_status status;
    size_t keys, lengths;
    uint64_t first_length;
};

/* What other protobuf libraries may send, and what nobody should. */
static void test_decode_keys__unusual_encodings__accepted_or_refused(void **state) {
    (void)state;
    static const struct odd odds[] = {
        {"\x10\x05\x0a\x01k", 5, IST_OK, 1, 1, 5},                 /* not packed, and first */
        {"\x10\x05\x10\xac\x02\x0a\x01k", 8, IST_OK, 1, 2, 5},     /* twice */
        {"\x12\x02\x07\x08\x10\x09", 6, IST_OK, 0, 3, 7},          /* packed and not packed */
        {"\x12\x01\x07\x12\x01\x08", 6, IST_OK, 0, 2, 7},          /* packed twice */
        {"\x12\x00\x0a\x00", 4, IST_OK, 1, 0, 0},                  /* empty ones */
        {"\x12\x03\x87\x80\x00", 5, IST_OK, 0, 1, 7},              /* a longer varint than needed */
        {"\x78\x01\x0a\x01k\x82\x01\x03zzz", 11, IST_OK, 1, 0, 0}, /* unknown fields 15 and 16 */
        {"\x79zzzzzzzz\x7dzzzz\x0a\x01k", 17, IST_OK, 1, 0, 0},    /* fixed64 and fixed32 ones */
        {"\x8a\x00\x01k", 4, IST_OK, 1, 0, 0},                     /* a longer tag than needed */
        {"\x08\x05", 2, IST_PROTOCOL, 0, 0, 0},                    /* a key that is a number */
        {"\x09zzzzzzzz", 9, IST_PROTOCOL, 0, 0, 0},
        {"\x12\x01\x80", 3, IST_PROTOCOL, 0, 0, 0}, /* a cut-off varint in a pack */
        {"\x12\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, IST_PROTOCOL, 0, 0, 0},
        {"\x12\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 12, IST_PROTOCOL, 0, 0, 0},
        {"\x12\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, IST_OK, 0, 1, UINT64_MAX},
        {"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, IST_PROTOCOL, 0, 0, 0},
        {"\x0a\x02k", 3, IST_PROTOCOL, 0, 0, 0},                 /* longer than the body */
        {"\x0a\xff\xff\xff\xff\x0fk", 7, IST_PROTOCOL, 0, 0, 0}, /* by far */
        {"\x0b\x0c", 2, IST_PROTOCOL, 0, 0, 0},                  /* a group */
        {"\x00", 1, IST_PROTOCOL, 0, 0, 0},                      /* field 0 */
    };
    for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++) {
        struct ist_span keys[MAX];
        uint64_t lengths[MAX];
        size_t count = 0, length_count = 0;
        uint8_t *body = guarded_new(odds[i].count);
        memcpy(body, odds[i].bytes, odds[i].count);
        enum ist_status status = ist_codec_decode_keys(ist_span_of(body, odds[i].count), keys, lengths,
                                                       MAX, &count, &length_count);
        if (status != odds[i].status) {
            print_message("encoding %zu\n", i);
        }
        assert_int_equal(status, odds[i].status);
        assert_int_equal(count, odds[i].keys);
        assert_int_equal(length_count, odds[i].lengths);
        assert_true(length_count == 0 || lengths[0] == odds[i].first_length);
        guarded_free(body, odds[i].count);
    }
}

static void test_decode_keys__random_bytes__views_stay_inside(void **state) {
    (void)state;
    uint64_t random = 7;
    for (int i = 0; i < 20000; i++) {
        size_t bytes = (size_t)random_below(&random, 40);
        uint8_t *body = malloc(bytes + 1);
        assert_non_null(body);
        for (size_t k = 0; k < bytes; k++) {
            static const uint8_t likely[] = {0x0a, 0x12, 0x10, 0, 1, 2, 3, 0x80};
            uint64_t r = random_next(&random);
            body[k] = r % 2 == 0 ? likely[r / 2 % sizeof(likely)] : (uint8_t)(r >> 8);
        }
        struct ist_span keys[MAX];
        uint64_t lengths[MAX];
        size_t count, length_count;
        if (ist_codec_decode_keys(ist_span_of(body, bytes), keys, lengths, MAX, &count,
                                  &length_count) == IST_OK) {
            assert_true(count <= MAX && length_count <= MAX);
            for (size_t k = 0; k < count; k++) {
                assert_true(keys[k].data >= body && keys[k].data + keys[k].bytes <= body + bytes);
            }
        }
        free(body);
    }
}

/* A body of `count` times the same bytes, whose last byte is the last one that can be read. */
static uint8_t *repeated(const char *bytes, size_t length, size_t count) {
    uint8_t *body = guarded_new(length * count);
    for (size_t i = 0; i < count; i++) {
        memcpy(body + i * length, bytes, length);
    }
    return body;
}

/* Each field costs time, whether there is anything in it or not, and a body may have very many. */
static void test_decode_keys__very_many_fields__so_many_and_no_more(void **state) {
    (void)state;
    static const struct odd odds[] = {
        {"\x12\x00", 2, IST_OK, 0, 0, 0},         /* no lengths at all */
        {"\x7a\x00", 2, IST_OK, 0, 0, 0},         /* unknown: a string, */
        {"\x78\x80\x01", 3, IST_OK, 0, 0, 0},     /* a varint, */
        {"\x79zzzzzzzz", 9, IST_OK, 0, 0, 0},     /* a fixed64, */
        {"\x7dzzzz", 5, IST_OK, 0, 0, 0},         /* and a fixed32 */
        {"\x7a\x02\x12\x00", 4, IST_OK, 0, 0, 0}, /* what is in a string is no field */
        {"\x0b", 1, IST_PROTOCOL, 0, 0, 0},       /* a group */
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, IST_PROTOCOL, 0, 0, 0},
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, IST_PROTOCOL, 0, 0, 0},
    };
    struct ist_span keys[1];
    uint64_t lengths[1];
    size_t count, length_count;
    for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++) {
        size_t one = odds[i].count, most = one * IST_CODEC_FIELDS_MAX;
        uint8_t *body = repeated(odds[i].bytes, one, IST_CODEC_FIELDS_MAX + 1);
        uint8_t *cut = guarded_new(most - 1);
        memcpy(cut, body, most - 1);
        assert_int_equal(ist_codec_decode_keys(ist_span_of(body + one, most), keys, lengths, 1, &count,
                                               &length_count),
                         odds[i].status);
        assert_int_equal(ist_codec_decode_keys(ist_span_of(body, most + one), keys, lengths, 1, &count,
                                               &length_count),
                         IST_PROTOCOL);
        assert_int_equal(
            ist_codec_decode_keys(ist_span_of(cut, most - 1), keys, lengths, 1, &count, &length_count),
            IST_PROTOCOL);
        guarded_free(cut, most - 1);
        guarded_free(body, most + one);
    }
}

/* Nobody who keeps to the limits meets that one: not with the largest batch, each number a field of its own. */
static void test_decode_keys__largest_batch_unpacked__accepted(void **state) {
    (void)state;
    static struct ist_span keys[IST_KEYS_PER_REQUEST_MAX];
    static uint64_t lengths[IST_KEYS_PER_REQUEST_MAX];
    static struct ist_remote remotes[IST_KEYS_PER_REQUEST_MAX];
    static const char one[] = "\x0a\x01k"    /* a key, */
                              "\x10\x05"     /* its length, */
                              "\x19zzzzzzzz" /* an address, */
                              "\x25zzzz";    /* and an rkey */
    const size_t length = sizeof(one) - 1, max = IST_KEYS_PER_REQUEST_MAX;
    uint8_t *body = repeated(one, length, max);
    size_t count, length_count, remote_count;
    assert_int_equal(ist_codec_decode_remote_keys(ist_span_of(body, length * max), keys, lengths,
                                                  remotes, max, &count, &length_count, &remote_count),
                     IST_OK);
    assert_int_equal(count, max);
    assert_int_equal(length_count, max);
    assert_int_equal(remote_count, max);
    guarded_free(body, length * max);
}

/* ---- their reply ------------------------------------------------------------------------------------------------ */

static void test_keys_reply__round_trip__same(void **state) {
    (void)state;
    const uint8_t statuses[3] = {IST_OK, IST_NOT_FOUND, IST_TOO_SMALL};
    const uint64_t lengths[3] = {1, 0, 1ull << 40};
    const struct ist_keys_reply reply = {
        .status = IST_NO_MEMORY,
        .key_status = ist_span_of(statuses, 3),
        .lengths = lengths,
        .length_count = 3,
        .count = 65536,
    };
    size_t room = ist_codec_keys_reply_bytes(&reply), written;
    uint8_t *body = guarded_new(room);
    assert_int_equal(ist_codec_encode_keys_reply(&reply, body, room - 1, &written), IST_NO_SPACE);
    assert_int_equal(ist_codec_encode_keys_reply(&reply, body, room, &written), IST_OK);
    assert_int_equal(written, room);
    uint64_t out_lengths[3];
    struct ist_keys_reply out;
    assert_int_equal(ist_codec_decode_keys_reply(ist_span_of(body, room), out_lengths, 3, &out),
                     IST_OK);
    assert_int_equal(out.status, IST_NO_MEMORY);
    assert_true(ist_span_equal(out.key_status, reply.key_status));
    assert_ptr_equal(out.lengths, out_lengths);
    assert_int_equal(out.length_count, 3);
    assert_memory_equal(out_lengths, lengths, sizeof(lengths));
    assert_int_equal(out.count, 65536);
    assert_int_equal(ist_codec_decode_keys_reply(ist_span_of(body, room), out_lengths, 2, &out),
                     IST_PROTOCOL);
    guarded_free(body, room);
}

static void test_keys_reply__good_news__takes_no_bytes(void **state) {
    (void)state;
    const struct ist_keys_reply reply = {.status = IST_OK};
    struct ist_keys_reply out;
    uint8_t body[1];
    size_t written;
    assert_int_equal(ist_codec_keys_reply_bytes(&reply), 0);
    assert_int_equal(ist_codec_encode_keys_reply(&reply, body, 0, &written), IST_OK);
    assert_int_equal(written, 0);
    assert_int_equal(ist_codec_decode_keys_reply((struct ist_span){0}, NULL, 0, &out), IST_OK);
    assert_int_equal(out.status, IST_OK);
    assert_int_equal(out.key_status.bytes + out.length_count + out.count, 0);
}

static void test_keys_reply__no_enum_ist_status__protocol(void **state) {
    (void)state;
    struct ist_keys_reply out;
    uint8_t of_key[5] = {0x12, 3, 0, 0, 0}, of_request[2] = {0x08, 0};
    for (unsigned status = 0; status < 128; status++) {
        bool known = strcmp(ist_status_name((enum ist_status)status), "UNKNOWN") != 0;
        of_request[1] = (uint8_t)status;
        enum ist_status expected = known ? IST_OK : IST_PROTOCOL;
        for (size_t i = 2; i < 5; i++) { /* whichever key's it is */
            of_key[i] = (uint8_t)status;
            assert_int_equal(ist_codec_decode_keys_reply(ist_span_of(of_key, 5), NULL, 0, &out),
                             expected);
            of_key[i] = 0;
        }
        assert_int_equal(ist_codec_decode_keys_reply(ist_span_of(of_request, 2), NULL, 0, &out),
                         expected);
    }
    assert_int_equal(ist_codec_decode_keys_reply(ist_span_of("\x10\x05", 2), NULL, 0, &out),
                     IST_PROTOCOL); /* key statuses that are a number */
}

/* ---- STAT ------------------------------------------------------------------------------------------------------- */

static void test_metrics__one_behind_the_other__one_list(void **state) {
    (void)state;
    const struct ist_codec_metric metrics[3] = {
        {text("a_total{op=\"put\"}"), 1.5}, {text(""), -0.0}, {text("c"), 1e300}};
    uint8_t body[128];
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t bytes = ist_codec_metrics_bytes(&metrics[i], 1), written;
        assert_int_equal(
            ist_codec_encode_metrics(&metrics[i], 1, body + at, sizeof(body) - at, &written), IST_OK);
        assert_true(written <= bytes);
        at += written;
    }
    struct ist_codec_metric out[3];
    size_t count;
    assert_int_equal(ist_codec_decode_metrics(ist_span_of(body, at), out, 3, &count), IST_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(ist_span_equal(out[i].name, metrics[i].name));
        assert_true(out[i].value == metrics[i].value);
    }
    assert_int_equal(ist_codec_decode_metrics(ist_span_of(body, at), out, 2, &count), IST_PROTOCOL);
    assert_int_equal(ist_codec_decode_metrics(ist_span_of(body, at - 1), out, 3, &count), IST_PROTOCOL);
}

static void test_metrics__short_room__no_space(void **state) {
    (void)state;
    const struct ist_codec_metric metrics[2] = {{text("a"), 1}, {text("bb"), 2}};
    uint8_t body[64];
    size_t room = ist_codec_metrics_bytes(metrics, 2), written;
    assert_int_equal(ist_codec_encode_metrics(metrics, 2, body, room, &written), IST_OK);
    assert_int_equal(written, room);
    for (size_t less = 0; less < room; less++) {
        assert_int_equal(ist_codec_encode_metrics(metrics, 2, body, less, &written), IST_NO_SPACE);
    }
}

static void test_metrics__a_status__is_returned(void **state) {
    (void)state;
    struct ist_codec_metric out[1];
    size_t count = 5;
    assert_int_equal(ist_codec_decode_metrics(ist_span_of("\x08\x10", 2), out, 1, &count),
                     IST_NO_MEMORY);
    assert_int_equal(count, 5);
    assert_int_equal(ist_codec_decode_metrics(ist_span_of("\x08\x05", 2), out, 1, &count),
                     IST_PROTOCOL);
    assert_int_equal(ist_codec_decode_metrics(ist_span_of("\x12\x02\x0a\x05", 4), out, 1, &count),
                     IST_PROTOCOL);
    assert_int_equal(ist_codec_decode_metrics(ist_span_of("\x10\x01", 2), out, 1, &count),
                     IST_PROTOCOL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol__worked_example__is_what_we_send),
        cmocka_unit_test(test_hello__round_trip__same),
        cmocka_unit_test(test_hello_reply__largest__fits_the_bound),
        cmocka_unit_test(test_keys__round_trip_at_a_guard_page__views_on_the_body),
        cmocka_unit_test(test_decode_keys__unusual_encodings__accepted_or_refused),
        cmocka_unit_test(test_decode_keys__random_bytes__views_stay_inside),
        cmocka_unit_test(test_decode_keys__very_many_fields__so_many_and_no_more),
        cmocka_unit_test(test_decode_keys__largest_batch_unpacked__accepted),
        cmocka_unit_test(test_keys_reply__round_trip__same),
        cmocka_unit_test(test_keys_reply__good_news__takes_no_bytes),
        cmocka_unit_test(test_keys_reply__no_enum_ist_status__protocol),
        cmocka_unit_test(test_metrics__one_behind_the_other__one_list),
        cmocka_unit_test(test_metrics__short_room__no_space),
        cmocka_unit_test(test_metrics__a_status__is_returned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "fuzz/phrase.h"

#include <stdio.h>
#include <stdlib.h>

#include "wire/codec.h"
#include "wire/frame.h"

#define KEYS_FEW 16u
#define KEYS_MAX 1100u /* a body longer than any stage, more values than are prepared at a time */
#define KEY_NAMES 12u
#define LENGTH_MAX 3000u
#define MANY 250u

/* Few different keys, so that they meet; one is the longest, one too long, one empty. */
static struct ist_span key_of(uint8_t which) {
    static const uint8_t zeros[IST_KEY_BYTES_MAX + 1];
    static const char letters[] = "abcdefghi";
    unsigned name = which % KEY_NAMES;
    switch (name) {
    case 9: return ist_span_of(zeros, which < 24 ? sizeof(zeros) : 3);
    case 10: return ist_span_of(zeros, which < 24 ? IST_KEY_BYTES_MAX : 40);
    case 11: return ist_span_of(zeros, which < 24 ? 0 : 1);
    default: return ist_span_of(letters + name, 1);
    }
}

static size_t write_hello(struct fuzz_input *choices, uint8_t *body, size_t room) {
    uint8_t versions = fuzz_u8(choices);
    struct ist_hello hello = {1, 1, ist_span_of_string("fuzz")};
    if (versions > 200) {
        hello.version_min = versions % 3;
        hello.version_max = versions % 7;
    }
    size_t written;
    IST_ASSERT(ist_codec_encode_hello(&hello, body, room, &written) == IST_OK);
    return written;
}

static size_t write_endpoint(struct fuzz_input *choices, uint8_t *body, size_t room) {
    const struct ist_endpoint end = {.end = {
                                         .number = 1 + fuzz_u16(choices),
                                         .packet_number = fuzz_u16(choices),
                                         .gid = {0xfe, 0x80, [15] = fuzz_u8(choices)},
                                         .mtu_bytes = 1024,
                                         .reads = 1 + fuzz_u8(choices) % 16u,
                                         .messages = 4,
                                         .message_bytes = 4096,
                                     }};
    size_t written;
    IST_ASSERT(ist_codec_encode_endpoint(&end, body, room, &written) == IST_OK);
    return written;
}

struct keys {
    struct ist_span keys[KEYS_MAX];
    uint64_t lengths[KEYS_MAX], sum;
    struct ist_remote remotes[KEYS_MAX];
    size_t count;
};

static void number_keys(struct keys *keys) {
    static char names[KEYS_MAX][24];
    keys->count = KEYS_MAX;
    for (size_t i = 0; i < KEYS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "one of many keys %zu", i);
        keys->keys[i] = ist_span_of_string(names[i]);
        keys->lengths[i] = i % 3;
        keys->sum += i % 3;
        keys->remotes[i] = (struct ist_remote){.address = i, .rkey = 1};
    }
}

static void choose_keys(struct keys *keys, struct fuzz_input *choices) {
    keys->count = fuzz_u8(choices);
    keys->sum = 0;
    if (keys->count >= MANY) {
        number_keys(keys);
        return;
    }
    keys->count %= KEYS_FEW + 1;
    for (size_t i = 0; i < keys->count; i++) {
        keys->keys[i] = key_of(fuzz_u8(choices));
        uint16_t length = fuzz_u16(choices);
        keys->lengths[i] =
            length % 64 == 63 ? (length == 63 ? UINT64_MAX : length) : length % LENGTH_MAX;
        keys->sum += keys->lengths[i];
        keys->remotes[i] = (struct ist_remote){.address = 0x10000u * (i + 1), .rkey = (uint32_t)i};
    }
}

/* A PUT whose lengths sum up to more than anybody sends: only its header and body. */
static bool is_too_long(const struct keys *keys) {
    for (size_t i = 0; i < keys->count; i++) {
        if (keys->lengths[i] > UINT16_MAX) {
            return true;
        }
    }
    return false;
}

static void append_header(struct script *out, struct ist_frame frame) {
    uint8_t header[IST_FRAME_BYTES];
    ist_frame_encode(&frame, header);
    script_bytes(out, header, sizeof(header));
}

static void append_keys(struct script *out, struct fuzz_input *choices, struct ist_frame frame,
                        bool remote) {
    static struct keys keys;
    choose_keys(&keys, choices);
    bool is_put = frame.operation == IST_OP_PUT;
    bool moves = is_put || frame.operation == IST_OP_GET;
    const struct ist_remote *remotes = moves && remote ? keys.remotes : NULL;
    const uint64_t *lengths = moves ? keys.lengths : NULL;
    size_t room = ist_codec_remote_keys_bytes(keys.keys, lengths, remotes, keys.count), written;
    uint8_t *body = malloc(room + 1);
    IST_ASSERT(body != NULL);
    IST_ASSERT(ist_codec_encode_remote_keys(keys.keys, lengths, remotes, keys.count, body, room,
                                            &written) == IST_OK);
    frame.body_bytes = (uint32_t)written;
    frame.payload_bytes = is_put && !remote ? keys.sum : 0;
    append_header(out, frame);
    script_bytes(out, body, written);
    free(body);
    for (uint64_t i = 0; i < frame.payload_bytes && !is_too_long(&keys); i++) {
        const uint8_t byte = (uint8_t)(frame.request_id + i);
        script_bytes(out, &byte, 1);
    }
}

void phrase_append(struct script *out, struct fuzz_input *choices, bool remote) {
    struct ist_frame frame = {
        .operation = (enum ist_operation)(1 + fuzz_u8(choices) % (IST_OPERATION_COUNT - 1)),
        .flags = fuzz_u8(choices),
        .request_id = fuzz_u8(choices),
    };
    bool has_flag = frame.operation == IST_OP_PUT ? frame.flags % 2 == 1 : frame.flags == 255;
    frame.flags = has_flag ? IST_FRAME_IF_ABSENT : 0;
    uint8_t body[IST_CODEC_HELLO_BYTES + IST_CODEC_ENDPOINT_BYTES];
    switch (frame.operation) {
    case IST_OP_HELLO:
        frame.body_bytes = (uint32_t)write_hello(choices, body, sizeof(body));
        append_header(out, frame);
        script_bytes(out, body, frame.body_bytes);
        break;
    case IST_OP_CONNECT:
        frame.body_bytes = (uint32_t)write_endpoint(choices, body, sizeof(body));
        append_header(out, frame);
        script_bytes(out, body, frame.body_bytes);
        break;
    case IST_OP_PURGE:
    case IST_OP_STAT:
    case IST_OP_PING: append_header(out, frame); break;
    case IST_OP_PUT:
    case IST_OP_GET:
    case IST_OP_EXISTS:
    case IST_OP_MATCH_PREFIX:
    case IST_OP_MATCH_LAST:
    case IST_OP_REMOVE: append_keys(out, choices, frame, remote); break;
    }
}

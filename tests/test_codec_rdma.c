/* codec: what only RDMA needs: the ends of a queue pair, and where values lie in the client's memory. */
#include <string.h>

#include "infinistore/limits.h"
#include "tests/support.h"
#include "wire/codec.h"

#define REMOTES 5u
#define GID_TAG 0x22 /* field 4, with a length */

static const struct ist_endpoint good = {.status = IST_OK,
                                         .end = {.number = 0xffffff,
                                                 .packet_number = 0xffffff,
                                                 .gid = {0xfe, 0x80, [7] = 7, [15] = 15},
                                                 .lid = 0xffff,
                                                 .mtu_bytes = 4096,
                                                 .reads = 16,
                                                 .messages = 32,
                                                 .message_bytes = 4096}};

/* In memory of just its length, behind which nothing may be read. */
static enum ist_status decode(const uint8_t *body, size_t bytes, struct ist_endpoint *endpoint) {
    uint8_t *exact = guarded_new(bytes);
    memcpy(exact, body, bytes);
    enum ist_status status = ist_codec_decode_endpoint(ist_span_of(exact, bytes), endpoint);
    guarded_free(exact, bytes);
    return status;
}

static enum ist_status pass_on(const struct ist_endpoint *in, struct ist_endpoint *out) {
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_endpoint(in, body, sizeof(body), &written), IST_OK);
    return decode(body, written, out);
}

static void test_endpoint__largest_numbers__the_same(void **state) {
    (void)state;
    struct ist_endpoint endpoint;
    memset(&endpoint, 0xaa, sizeof(endpoint));
    assert_int_equal(pass_on(&good, &endpoint), IST_OK);
    assert_int_equal(endpoint.status, IST_OK);
    assert_int_equal(endpoint.end.number, good.end.number);
    assert_int_equal(endpoint.end.packet_number, good.end.packet_number);
    assert_memory_equal(endpoint.end.gid, good.end.gid, sizeof(good.end.gid));
    assert_int_equal(endpoint.end.lid, good.end.lid);
    assert_int_equal(endpoint.end.mtu_bytes, good.end.mtu_bytes);
    assert_int_equal(endpoint.end.reads, good.end.reads);
    assert_int_equal(endpoint.end.messages, good.end.messages);
    assert_int_equal(endpoint.end.message_bytes, good.end.message_bytes);
}

static void test_endpoint__no_gid__zeros(void **state) {
    (void)state;
    static const uint8_t nowhere[sizeof(good.end.gid)];
    struct ist_endpoint endpoint, none = good;
    memset(none.end.gid, 0, sizeof(none.end.gid));
    none.status = IST_DEVICE;
    assert_int_equal(pass_on(&none, &endpoint), IST_OK);
    assert_int_equal(endpoint.status, IST_DEVICE);
    assert_memory_equal(endpoint.end.gid, nowhere, sizeof(nowhere));
}

static void test_endpoint__numbers_that_cannot_be__protocol(void **state) {
    (void)state;
    struct ist_endpoint endpoint, wrong = good;
    wrong.end.number++;
    assert_int_equal(pass_on(&wrong, &endpoint), IST_PROTOCOL);
    wrong = good;
    wrong.end.packet_number++;
    assert_int_equal(pass_on(&wrong, &endpoint), IST_PROTOCOL);
    /* a LID is of 16 bits in the struct: field 5, 65536 */
    static const uint8_t lid[] = {0x28, 0x80, 0x80, 0x04};
    assert_int_equal(decode(lid, sizeof(lid), &endpoint), IST_PROTOCOL);
    static const uint8_t status[] = {0x08, 0x3f};
    assert_int_equal(decode(status, sizeof(status), &endpoint), IST_PROTOCOL);
}

/* A GID has sixteen bytes, or none. */
static void test_endpoint__gid_of_another_length__protocol(void **state) {
    (void)state;
    struct ist_endpoint endpoint;
    for (uint8_t bytes = 0; bytes < 40; bytes++) {
        uint8_t body[2 + 40] = {GID_TAG, bytes, 1};
        enum ist_status expected = bytes == 0 || bytes == 16 ? IST_OK : IST_PROTOCOL;
        assert_int_equal(decode(body, 2u + bytes, &endpoint), expected);
    }
}

static void test_decode__one_byte__is_looked_at(void **state) {
    (void)state;
    static const uint8_t tag_alone[] = {0x08};
    struct ist_endpoint endpoint;
    assert_int_equal(decode(tag_alone, 1, &endpoint), IST_PROTOCOL);
    assert_int_equal(ist_codec_decode_endpoint(ist_span_of(NULL, 0), &endpoint), IST_OK);
}

/* ---- remote memory -------------------------------------------------------------------------------------- */

struct batch {
    struct ist_span keys[REMOTES];
    uint64_t lengths[REMOTES];
    struct ist_remote remotes[REMOTES];
    size_t count, length_count, remote_count;
};

static void batch_init(struct batch *batch) {
    for (size_t i = 0; i < REMOTES; i++) {
        batch->keys[i] = ist_span_of_string("a key");
        batch->lengths[i] = 1 + i;
        batch->remotes[i] = (struct ist_remote){.address = 0x0102030405060708ull * (i + 1),
                                                .rkey = 0xf0e0d0c0u + (uint32_t)i};
    }
}

static enum ist_status decode_batch(struct ist_span body, size_t max, struct batch *batch) {
    return ist_codec_decode_remote_keys(body, batch->keys, batch->lengths, batch->remotes, max,
                                        &batch->count, &batch->length_count, &batch->remote_count);
}

static void test_remote_keys__several__each_its_own(void **state) {
    (void)state;
    struct batch in, out;
    uint8_t body[256];
    size_t written;
    batch_init(&in);
    size_t needed = ist_codec_remote_keys_bytes(in.keys, in.lengths, in.remotes, REMOTES);
    assert_int_equal(ist_codec_encode_remote_keys(in.keys, in.lengths, in.remotes, REMOTES, body,
                                                  needed - 1, &written),
                     IST_NO_SPACE);
    assert_int_equal(
        ist_codec_encode_remote_keys(in.keys, in.lengths, in.remotes, REMOTES, body, needed, &written),
        IST_OK);
    assert_int_equal(written, needed);
    assert_int_equal(decode_batch(ist_span_of(body, written), REMOTES, &out), IST_OK);
    assert_int_equal(out.count, REMOTES);
    assert_int_equal(out.length_count, REMOTES);
    assert_int_equal(out.remote_count, REMOTES);
    for (size_t i = 0; i < REMOTES; i++) {
        assert_int_equal(out.lengths[i], in.lengths[i]);
        assert_true(out.remotes[i].address == in.remotes[i].address);
        assert_int_equal(out.remotes[i].rkey, in.remotes[i].rkey);
    }
    assert_int_equal(decode_batch(ist_span_of(body, written), REMOTES - 1, &out), IST_PROTOCOL);
    /* who wants none of them has none */
    size_t count, length_count;
    assert_int_equal(ist_codec_decode_keys(ist_span_of(body, written), out.keys, out.lengths, REMOTES,
                                           &count, &length_count),
                     IST_PROTOCOL);
}

static void test_remote_keys__none__no_bytes(void **state) {
    (void)state;
    struct batch in;
    uint8_t body[1];
    size_t written;
    batch_init(&in);
    assert_int_equal(ist_codec_remote_keys_bytes(in.keys, in.lengths, in.remotes, 0), 0);
    assert_int_equal(
        ist_codec_encode_remote_keys(in.keys, in.lengths, in.remotes, 0, body, 0, &written), IST_OK);
    assert_int_equal(written, 0);
}

/* Addresses are field 3 of 8 bytes, keys of memory field 4 of 4 bytes, together or one by one. */
static void test_remote_keys__not_one_of_each__protocol(void **state) {
    (void)state;
    static const uint8_t both[] = {0x1a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x22, 4, 1, 2, 3, 4};
    static const uint8_t single[] = {0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4};
    static const uint8_t short_address[] = {0x1a, 7, 1, 2, 3, 4, 5, 6, 7, 0x22, 4, 1, 2, 3, 4};
    static const uint8_t short_key[] = {0x1a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x22, 3, 1, 2, 3};
    static const uint8_t no_key[] = {0x1a, 8, 1, 2, 3, 4, 5, 6, 7, 8};
    static const uint8_t no_address[] = {0x22, 4, 1, 2, 3, 4};
    struct batch out;
    assert_int_equal(decode_batch(ist_span_of(both, sizeof(both)), REMOTES, &out), IST_OK);
    assert_int_equal(out.remote_count, 1);
    assert_true(out.remotes[0].address == 0x0807060504030201ull);
    assert_int_equal(out.remotes[0].rkey, 0x04030201);
    assert_int_equal(decode_batch(ist_span_of(single, sizeof(single)), REMOTES, &out), IST_OK);
    assert_int_equal(out.remote_count, 1);
    assert_true(out.remotes[0].address == 0x0807060504030201ull);
    assert_int_equal(out.remotes[0].rkey, 0x04030201);
    const struct ist_span wrong[] = {
        ist_span_of(short_address, sizeof(short_address)), ist_span_of(short_key, sizeof(short_key)),
        ist_span_of(no_key, sizeof(no_key)), ist_span_of(no_address, sizeof(no_address))};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(decode_batch(wrong[i], REMOTES, &out), IST_PROTOCOL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoint__largest_numbers__the_same),
        cmocka_unit_test(test_endpoint__no_gid__zeros),
        cmocka_unit_test(test_endpoint__numbers_that_cannot_be__protocol),
        cmocka_unit_test(test_endpoint__gid_of_another_length__protocol),
        cmocka_unit_test(test_decode__one_byte__is_looked_at),
        cmocka_unit_test(test_remote_keys__several__each_its_own),
        cmocka_unit_test(test_remote_keys__none__no_bytes),
        cmocka_unit_test(test_remote_keys__not_one_of_each__protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

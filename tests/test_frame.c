#include <string.h>

#include "tests/support.h"

#include "wire/frame.h"

/* As PROTOCOL.md shows it: a put that has a body of 300 and a payload of 2^32 + 5 bytes. */
static const uint8_t header[IST_FRAME_BYTES] = {
    'I', 'N', 'S', 'T', 1, 2, 2, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    44,  1,   0,   0,   0, 0, 0, 0, 5,    0,    0,    0,    1,    0,    0,    0,
};
static const struct ist_frame frame = {
    .operation = IST_OP_PUT,
    .flags = IST_FRAME_IF_ABSENT,
    .request_id = 0x1122334455667788ull,
    .body_bytes = 300,
    .payload_bytes = (1ull << 32) + 5,
};

static void test_encode__all_fields__little_endian(void **state) {
    (void)state;
    uint8_t out[IST_FRAME_BYTES];
    ist_frame_encode(&frame, out);
    assert_memory_equal(out, header, sizeof(header));
}

static void test_decode__whole__all_fields(void **state) {
    (void)state;
    struct ist_frame out;
    assert_int_equal(ist_frame_decode(ist_span_of(header, sizeof(header)), &out), IST_OK);
    assert_int_equal(out.operation, frame.operation);
    assert_int_equal(out.flags, frame.flags);
    assert_int_equal(out.request_id, frame.request_id);
    assert_int_equal(out.body_bytes, frame.body_bytes);
    assert_int_equal(out.payload_bytes, frame.payload_bytes);
}

static void test_decode__cut_off_anywhere__again_and_not_a_byte_more_is_read(void **state) {
    (void)state;
    for (size_t bytes = 0; bytes < IST_FRAME_BYTES; bytes++) {
        uint8_t *part = guarded_new(bytes);
        memcpy(part, header, bytes);
        struct ist_frame out = {.request_id = 99};
        assert_int_equal(ist_frame_decode(ist_span_of(part, bytes), &out), IST_AGAIN);
        assert_int_equal(out.request_id, 99);
        guarded_free(part, bytes);
    }
}

static enum ist_status decode_with(size_t at, uint8_t byte, size_t bytes) {
    uint8_t bent[IST_FRAME_BYTES];
    struct ist_frame out;
    memcpy(bent, header, sizeof(bent));
    bent[at] = byte;
    return ist_frame_decode(ist_span_of(bent, bytes), &out);
}

static void test_decode__wrong_byte__protocol_as_soon_as_it_is_there(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint8_t byte;
    } wrong[] = {
        {0, 'G'}, {1, 'E'}, {2, 'T'},  {3, ' '}, {4, 0},  {4, 2},  {5, 0},  {5, IST_OPERATION_COUNT},
        {5, 255}, {6, 4},   {6, 0x80}, {7, 1},   {20, 1}, {21, 1}, {22, 1}, {23, 0x80},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(decode_with(wrong[i].at, wrong[i].byte, wrong[i].at), IST_AGAIN);
        assert_int_equal(decode_with(wrong[i].at, wrong[i].byte, wrong[i].at + 1), IST_PROTOCOL);
        assert_int_equal(decode_with(wrong[i].at, wrong[i].byte, IST_FRAME_BYTES), IST_PROTOCOL);
    }
}

static void test_decode__body_above_the_limit__too_big_and_the_frame(void **state) {
    (void)state;
    uint8_t bytes[IST_FRAME_BYTES];
    struct ist_frame out;
    memcpy(bytes, header, sizeof(bytes));
    for (unsigned i = 0; i < 4; i++) {
        bytes[16 + i] = (uint8_t)(IST_BODY_BYTES_MAX >> (8 * i));
    }
    assert_int_equal(ist_frame_decode(ist_span_of(bytes, sizeof(bytes)), &out), IST_OK);
    bytes[16]++;
    out.request_id = 0;
    assert_int_equal(ist_frame_decode(ist_span_of(bytes, sizeof(bytes)), &out), IST_TOO_BIG);
    assert_int_equal(out.request_id, frame.request_id);
}

static void test_operation_name__each__its_own(void **state) {
    (void)state;
    assert_string_equal(ist_operation_name(IST_OP_HELLO), "hello");
    assert_string_equal(ist_operation_name(IST_OP_MATCH_PREFIX), "match_prefix");
    for (unsigned a = IST_OP_HELLO; a < IST_OPERATION_COUNT; a++) {
        assert_string_not_equal(ist_operation_name((enum ist_operation)a), "unknown");
        for (unsigned b = a + 1; b < IST_OPERATION_COUNT; b++) {
            assert_string_not_equal(ist_operation_name((enum ist_operation)a),
                                    ist_operation_name((enum ist_operation)b));
        }
    }
    assert_string_equal(ist_operation_name((enum ist_operation)IST_OPERATION_COUNT), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode__all_fields__little_endian),
        cmocka_unit_test(test_decode__whole__all_fields),
        cmocka_unit_test(test_decode__cut_off_anywhere__again_and_not_a_byte_more_is_read),
        cmocka_unit_test(test_decode__wrong_byte__protocol_as_soon_as_it_is_there),
        cmocka_unit_test(test_decode__body_above_the_limit__too_big_and_the_frame),
        cmocka_unit_test(test_operation_name__each__its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

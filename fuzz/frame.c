/* wire/frame: any bytes, and all their beginnings. */
#include "wire/frame.h"
#include "fuzz/fuzz.h"

/* A beginning answers as the whole does, or wants more, and has a reason to. */
static void check_beginnings(struct ist_span in, enum ist_status whole) {
    struct ist_frame frame;
    for (size_t bytes = 0; bytes < in.bytes && bytes <= IST_FRAME_BYTES; bytes++) {
        enum ist_status status = ist_frame_decode(ist_span_of(in.data, bytes), &frame);
        IST_ASSERT(status == whole || status == IST_AGAIN);
        IST_ASSERT(bytes < IST_FRAME_BYTES || status != IST_AGAIN);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct ist_frame frame;
    struct ist_span in = ist_span_of(data, bytes);
    enum ist_status status = ist_frame_decode(in, &frame);
    check_beginnings(in, status);
    if (status != IST_OK) {
        IST_ASSERT(status == IST_PROTOCOL || status == IST_TOO_BIG ||
                   (status == IST_AGAIN && bytes < IST_FRAME_BYTES));
        return 0;
    }
    uint8_t again[IST_FRAME_BYTES];
    ist_frame_encode(&frame, again);
    IST_ASSERT(memcmp(again, data, IST_FRAME_BYTES) == 0);
    IST_ASSERT(frame.body_bytes <= IST_BODY_BYTES_MAX);
    IST_ASSERT(strcmp(ist_operation_name(frame.operation), "unknown") != 0);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn seed) {
    for (unsigned operation = IST_OP_HELLO; operation < IST_OPERATION_COUNT; operation++) {
        struct ist_frame frame = {
            .operation = (enum ist_operation)operation,
            .flags = operation == IST_OP_PUT ? IST_FRAME_IF_ABSENT : operation % 2,
            .request_id = operation * 0x0102030405060708ull,
            .body_bytes = operation == IST_OP_PURGE ? IST_BODY_BYTES_MAX : operation,
            .payload_bytes = operation == IST_OP_PUT ? UINT64_MAX : 0,
        };
        uint8_t header[IST_FRAME_BYTES];
        ist_frame_encode(&frame, header);
        seed(ist_operation_name(frame.operation), header, sizeof(header));
    }
    seed("cut", "INST\1", 5);
}

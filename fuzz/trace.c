/* The trace reader: plain, gzip and xz. The first byte says in what pieces the rest arrives. What it delivers lies
 * within the limits, and what ends it ends it for good, with a cause. */
#include "workload/trace.h"
#include "fuzz/fuzz.h"
#include "tests/pieces.h"

#define REQUESTS_MAX 4096u /* of one input: a few packed bytes can be very many */

static void check_request(const struct ist_trace_request *request) {
    uint64_t sum = 0;
    IST_ASSERT(request->block_count >= 1 && request->block_count <= IST_TRACE_BLOCKS_MAX);
    for (size_t i = 0; i < request->block_count; i++) {
        sum += request->blocks[i];
    }
    /* The compiler must not leave the reading out. */
    __asm__ volatile("" : : "r"(sum));
}

static void check_end(struct ist_trace_reader *reader, enum ist_status status) {
    struct ist_trace_request request;
    IST_ASSERT(status == IST_NOT_FOUND || status == IST_INVALID || status == IST_NO_MEMORY);
    IST_ASSERT(ist_trace_reader_next(reader, &request) == status);
    if (status == IST_INVALID) {
        const char *error = ist_trace_reader_error(reader);
        IST_ASSERT(strncmp(error, "t:", 2) == 0 && strchr(error, '\n') == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct fuzz_input input = fuzz_input_of(data, bytes);
    uint8_t how = fuzz_u8(&input);
    struct failing_alloc failing;
    failing_alloc_init(&failing, how >= 200 ? how - 200u : 0);
    struct pieces pieces = pieces_of(ist_span_of(input.data, input.bytes), how < 200 ? how % 50u : 0);
    struct ist_trace_reader *reader;
    if (ist_trace_reader_new(&failing.alloc, "t", pieces_source(&pieces), &reader) != IST_OK) {
        IST_ASSERT(how > 200 && failing.live == 0);
        return 0;
    }
    struct ist_trace_request request;
    enum ist_status status = IST_OK;
    for (size_t i = 0; i < REQUESTS_MAX && status == IST_OK; i++) {
        status = ist_trace_reader_next(reader, &request);
        if (status == IST_OK) {
            check_request(&request);
        }
    }
    if (status != IST_OK) {
        check_end(reader, status);
    }
    ist_trace_reader_free(reader);
    IST_ASSERT(failing.live == 0);
    return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------------------- */

#define GOOD                                                                                           \
    "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47, "    \
    "2353]}"

/* The first text below, packed by gzip and by xz. */
static const uint8_t gzipped[] = {
    3,    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0x2a, 0xc9, 0xcc,
    0x4d, 0x2d, 0x2e, 0x49, 0xcc, 0x2d, 0x50, 0xb2, 0x52, 0x30, 0x32, 0x37, 0xb1, 0x30, 0xd2, 0x51,
    0x50, 0xca, 0xcc, 0x2b, 0x28, 0x2d, 0x89, 0xcf, 0x49, 0xcd, 0x4b, 0x2f, 0xc9, 0x00, 0x0a, 0x9b,
    0x59, 0x9a, 0x9a, 0x02, 0x45, 0xf3, 0x4b, 0x4b, 0x50, 0x84, 0x4d, 0x41, 0x4a, 0x33, 0x12, 0x8b,
    0x33, 0xe2, 0x33, 0x53, 0x8a, 0x81, 0xfc, 0x68, 0x13, 0x33, 0x1d, 0x05, 0x13, 0x73, 0x1d, 0x05,
    0x23, 0x63, 0x53, 0xe3, 0xd8, 0x5a, 0x2e, 0x00, 0xa5, 0x13, 0x76, 0x73, 0x5c, 0x00, 0x00, 0x00};
static const uint8_t xz[] = {
    4,    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x00, 0x21,
    0x01, 0x1c, 0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc, 0xe0, 0x00, 0x5b, 0x00, 0x4e, 0x5d, 0x00,
    0x3d, 0x88, 0x8a, 0x86, 0xd4, 0x15, 0xf8, 0xe4, 0xe0, 0xe8, 0x1b, 0x9a, 0xca, 0x29, 0x4f, 0x65,
    0x20, 0xa6, 0x3e, 0xa5, 0x3b, 0x45, 0x81, 0x3f, 0xc8, 0xa4, 0x36, 0x5e, 0x5d, 0x3e, 0x31, 0x94,
    0xda, 0xdb, 0xa3, 0xbd, 0x01, 0x72, 0x86, 0xd3, 0x24, 0xd1, 0x29, 0xd8, 0x43, 0x99, 0x4f, 0xea,
    0x4d, 0x31, 0x2f, 0x03, 0xdb, 0x16, 0x36, 0x4c, 0xc6, 0x33, 0x62, 0xe6, 0x68, 0x79, 0xa8, 0xd8,
    0xa1, 0x18, 0xba, 0xb1, 0x6f, 0xa2, 0xbc, 0xe8, 0xb3, 0x89, 0x27, 0xff, 0x47, 0x00, 0x00, 0x00,
    0x00, 0xa5, 0x13, 0x76, 0x73, 0x00, 0x01, 0x66, 0x5c, 0xd5, 0x64, 0xfc, 0x71, 0x90, 0x42, 0x99,
    0x0d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a};

void fuzz_seeds(fuzz_seed_fn seed) {
    static const char *const texts[] = {
        "\1" GOOD "\n",
        "\0" GOOD "\r\n\n  \n" GOOD,
        "\7{\"timestamp\": 2.9, \"input_length\": 5e1, \"output_length\": 0, \"hash_ids\": [1]}",
        "\7{\"timestamp\": -1, \"input_length\": 4294967296, \"output_length\": 0, \"hash_ids\": []}",
        "\7{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 0, \"hash_ids\": [1.5, \"a\"]}",
        "\7[1, 2]\n",
    };
    static const char *const names[] = {"one", "two", "fractions", "ranges", "kinds", "array"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        seed(names[i], texts[i], 1 + strlen(texts[i] + 1));
    }
    seed("gzip", gzipped, sizeof(gzipped));
    seed("xz", xz, sizeof(xz));
}

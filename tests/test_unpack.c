/* Unpacking: plain, xz and gzip bytes, whole, in several streams, damaged and cut off. */
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tests/pieces.h"

#define XZ_MAGIC_BYTES 6u
#define GZIP_MAGIC_BYTES 2u
#define XZ_BLOCK_AT 12u /* behind the stream's header; the .xz file format, section 2.1.1 */

struct packed {
    uint8_t *data;
    size_t bytes;
};

/* Bytes that pack, but not to nothing. */
static uint8_t *sample_new(size_t bytes) {
    uint8_t *sample = malloc(bytes + 1);
    assert_non_null(sample);
    uint64_t random = 3;
    for (size_t i = 0; i < bytes; i++) {
        sample[i] = (uint8_t)('a' + random_below(&random, 7));
    }
    return sample;
}

static void append_xz(struct packed *packed, const uint8_t *sample, size_t bytes) {
    size_t room = lzma_stream_buffer_bound(bytes);
    packed->data = realloc(packed->data, packed->bytes + room);
    assert_non_null(packed->data);
    assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, sample, bytes, packed->data,
                                             &packed->bytes, packed->bytes + room),
                     LZMA_OK);
}

static void append_gzip(struct packed *packed, const uint8_t *sample, size_t bytes) {
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&stream, bytes) + 32;
    packed->data = realloc(packed->data, packed->bytes + room);
    assert_non_null(packed->data);
    stream.next_in = (Bytef *)(uintptr_t)sample;
    stream.avail_in = (uInt)bytes;
    stream.next_out = packed->data + packed->bytes;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    packed->bytes += room - stream.avail_out;
    deflateEnd(&stream);
}

static void append_plain(struct packed *packed, const uint8_t *sample, size_t bytes) {
    packed->data = realloc(packed->data, packed->bytes + bytes + 1);
    assert_non_null(packed->data);
    memcpy(packed->data + packed->bytes, sample, bytes);
    packed->bytes += bytes;
}

typedef void (*append_fn)(struct packed *packed, const uint8_t *sample, size_t bytes);
static const append_fn packings[] = {append_plain, append_xz, append_gzip};
#define PACKINGS (sizeof(packings) / sizeof(packings[0]))

struct result {
    enum ist_status status; /* of the last read */
    const char *problem;
    uint8_t *data;
    size_t bytes;
};

/* Reads to the end, or to the failure, `step` bytes at a time into memory that ends at an unreadable page. */
static struct result unpack_with(const struct ist_alloc *alloc, struct ist_source source, size_t step,
                                 size_t room) {
    struct result result = {.problem = NULL, .data = malloc(room + 1)};
    struct ist_unpack *unpack = NULL;
    assert_non_null(result.data);
    result.status = ist_unpack_new(alloc, source, &unpack);
    if (result.status != IST_OK) {
        assert_null(unpack);
        return result;
    }
    uint8_t *buffer = guarded_new(step);
    struct ist_source unpacked = ist_source_of_unpack(unpack);
    unsigned ends = 0;
    while (result.status == IST_OK && ends < 3) { /* the end is told as often as one asks */
        size_t got = step + 1;
        result.status = unpacked.read(unpacked.context, buffer, step, &got, &result.problem);
        if (result.status == IST_OK) {
            assert_true(got <= step && result.bytes + got <= room);
            memcpy(result.data + result.bytes, buffer, got);
            result.bytes += got;
            assert_true(ends == 0 || got == 0);
            ends += got == 0;
        }
    }
    guarded_free(buffer, step);
    ist_unpack_free(unpack);
    return result;
}

static struct result unpack(const struct packed *packed, size_t piece, size_t step, size_t room) {
    struct pieces pieces = pieces_of(ist_span_of(packed->data, packed->bytes), piece);
    return unpack_with(ist_alloc_system(), pieces_source(&pieces), step, room);
}

static void assert_unpacks(const struct packed *packed, size_t piece, size_t step,
                           const uint8_t *sample, size_t bytes) {
    struct result result = unpack(packed, piece, step, bytes);
    assert_int_equal(result.status, IST_OK);
    assert_int_equal(result.bytes, bytes);
    assert_memory_equal(result.data, sample, bytes);
    free(result.data);
}

/* ---- whole ---------------------------------------------------------------------------------------- */

static void test_unpack__any_packing_and_size__the_bytes(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 5, 6, 7, 1000, 65535, 65536, 65537, 400000};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        uint8_t *sample = sample_new(sizes[s]);
        for (size_t p = 0; p < PACKINGS; p++) {
            struct packed packed = {0};
            packings[p](&packed, sample, sizes[s]);
            assert_unpacks(&packed, 0, 65536, sample, sizes[s]);
            assert_unpacks(&packed, 1000, 999, sample, sizes[s]);
            assert_unpacks(&packed, 1, 400000, sample, sizes[s]);
            free(packed.data);
        }
        free(sample);
    }
}

static void test_unpack__any_split_and_any_buffer__the_same_bytes(void **state) {
    (void)state;
    const size_t bytes = 200;
    uint8_t *sample = sample_new(bytes);
    for (size_t p = 0; p < PACKINGS; p++) {
        struct packed packed = {0};
        packings[p](&packed, sample, bytes);
        for (size_t first = 1; first < packed.bytes; first++) {
            struct pieces pieces = {
                .rest = ist_span_of(packed.data, packed.bytes), .first = first, .later = SIZE_MAX};
            struct result result =
                unpack_with(ist_alloc_system(), pieces_source(&pieces), 1 + first % 9, bytes);
            assert_int_equal(result.status, IST_OK);
            assert_int_equal(result.bytes, bytes);
            assert_memory_equal(result.data, sample, bytes);
            free(result.data);
        }
        assert_unpacks(&packed, 1, 1, sample, bytes);
        free(packed.data);
    }
    free(sample);
}

static void test_unpack__several_streams__one_after_the_other(void **state) {
    (void)state;
    uint8_t *sample = sample_new(3000);
    for (size_t p = 1; p < PACKINGS; p++) {
        struct packed packed = {0};
        packings[p](&packed, sample, 1000);
        packings[p](&packed, sample + 1000, 0);
        packings[p](&packed, sample + 1000, 2000);
        assert_unpacks(&packed, 0, 65536, sample, 3000);
        assert_unpacks(&packed, 1, 7, sample, 3000);
        free(packed.data);
    }
    free(sample);
}

/* The .xz file format, section 2.2: zeros between and behind streams, in fours. */
static void test_unpack__xz_with_padding__the_bytes(void **state) {
    (void)state;
    uint8_t *sample = sample_new(100);
    struct packed packed = {0};
    append_xz(&packed, sample, 50);
    append_plain(&packed, (const uint8_t[8]){0}, 8);
    append_xz(&packed, sample + 50, 50);
    append_plain(&packed, (const uint8_t[4]){0}, 4);
    assert_unpacks(&packed, 0, 1000, sample, 100);
    assert_unpacks(&packed, 3, 7, sample, 100);
    free(packed.data);
    free(sample);
}

static void test_unpack__starts_of_magic_numbers__plain(void **state) {
    (void)state;
    static const char *const starts[] = {"\xfd",         "\xfd\x37zXZ", "\x1f",
                                         "\x1f\x8a\x08", "BZh9",        "\x28\xb5\x2f\xfd"};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        struct packed packed = {0};
        append_plain(&packed, (const uint8_t *)starts[i], strlen(starts[i]));
        assert_unpacks(&packed, 1, 5, (const uint8_t *)starts[i], strlen(starts[i]));
        free(packed.data);
    }
}

/* ---- cut off and damaged -------------------------------------------------------------------------- */

static void assert_cut(const struct packed *packed, size_t bytes, const uint8_t *sample,
                       size_t sample_bytes, const char *problem) {
    struct packed cut = {.data = packed->data, .bytes = bytes};
    struct result result = unpack(&cut, 11, 13, sample_bytes);
    assert_int_equal(result.status, IST_INVALID);
    assert_string_equal(result.problem, problem);
    assert_memory_equal(result.data, sample, result.bytes); /* what came before was right */
    free(result.data);
}

static void test_unpack__cut_anywhere__ends_early(void **state) {
    (void)state;
    uint8_t *sample = sample_new(300);
    struct packed xz = {0}, gzip = {0};
    append_xz(&xz, sample, 300);
    append_gzip(&gzip, sample, 300);
    for (size_t bytes = XZ_MAGIC_BYTES; bytes < xz.bytes; bytes++) {
        assert_cut(&xz, bytes, sample, 300, "the xz data ends early");
    }
    for (size_t bytes = GZIP_MAGIC_BYTES; bytes < gzip.bytes; bytes++) {
        assert_cut(&gzip, bytes, sample, 300, "the gzip data ends early");
    }
    /* also in a later stream */
    size_t one = gzip.bytes;
    append_gzip(&gzip, sample, 0);
    assert_cut(&gzip, one + 1, sample, 300, "the gzip data ends early");
    free(xz.data);
    free(gzip.data);
    free(sample);
}

static void test_unpack__a_bit_flipped__refused_or_unharmed(void **state) {
    (void)state;
    uint8_t *sample = sample_new(300);
    for (size_t p = 1; p < PACKINGS; p++) {
        struct packed packed = {0};
        packings[p](&packed, sample, 300);
        size_t magic = p == 1 ? XZ_MAGIC_BYTES : GZIP_MAGIC_BYTES, refused = 0;
        for (size_t bit = 8 * magic; bit < 8 * packed.bytes; bit++) {
            packed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            struct result result = unpack(&packed, 0, 1000, 1 << 20);
            if (result.status ==
                IST_OK) { /* gzip's time stamp and the like are covered by no checksum */
                assert_int_equal(result.bytes, 300);
                assert_memory_equal(result.data, sample, 300);
            } else {
                assert_int_equal(result.status, IST_INVALID);
                assert_non_null(result.problem);
                refused++;
            }
            free(result.data);
            packed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_true(refused > 8 * (packed.bytes - magic - 8)); /* mtime 4, xfl, os, two flags */
        free(packed.data);
    }
    free(sample);
}

static void test_unpack__something_else_behind_a_stream__damaged(void **state) {
    (void)state;
    uint8_t *sample = sample_new(50);
    for (size_t p = 1; p < PACKINGS; p++) {
        struct packed packed = {0};
        packings[p](&packed, sample, 50);
        append_plain(&packed, (const uint8_t *)"{\"timestamp\": 1}", 16);
        struct result result = unpack(&packed, 0, 1000, 1000);
        assert_int_equal(result.status, IST_INVALID);
        assert_string_equal(result.problem,
                            p == 1 ? "the xz data is damaged" : "the gzip data is damaged");
        free(result.data);
        free(packed.data);
    }
    free(sample);
}

/* A small file may ask for a dictionary of gigabytes: that memory is not given. */
static void test_unpack__xz_that_wants_gigabytes__refused(void **state) {
    (void)state;
    uint8_t *sample = sample_new(300);
    struct packed packed = {0};
    append_xz(&packed, sample, 300);
    uint8_t *block = packed.data + XZ_BLOCK_AT;
    size_t header_bytes = (block[0] + 1u) * 4u, at = 2;
    while (at + 2 < header_bytes && (block[at] != 0x21 || block[at + 1] != 1)) {
        at++; /* the LZMA2 filter's id, the length of its properties, then they: section 5.3.1 */
    }
    assert_true(at + 2 < header_bytes);
    block[at + 2] = 39; /* 3 GiB */
    uint32_t sum = lzma_crc32(block, header_bytes - 4, 0);
    for (unsigned i = 0; i < 4; i++) {
        block[header_bytes - 4 + i] = (uint8_t)(sum >> (8 * i));
    }
    struct result result = unpack(&packed, 0, 1000, 1000);
    assert_int_equal(result.status, IST_INVALID);
    assert_string_equal(result.problem, "the xz data wants more memory than a trace may");
    free(result.data);
    free(packed.data);
    free(sample);
}

/* ---- what is below fails -------------------------------------------------------------------------- */

static void test_unpack__source_fails__its_status_and_problem(void **state) {
    (void)state;
    uint8_t *sample = sample_new(300);
    for (size_t p = 0; p < PACKINGS; p++) {
        struct packed packed = {0};
        packings[p](&packed, sample, 300);
        for (size_t bytes = 0; bytes < packed.bytes; bytes += 7) {
            struct pieces pieces = pieces_of(ist_span_of(packed.data, bytes), 5);
            pieces.ending = bytes % 2 == 0 ? IST_INVALID : IST_NO_MEMORY;
            pieces.problem = "cannot be read";
            struct result result = unpack_with(ist_alloc_system(), pieces_source(&pieces), 64, 300);
            assert_int_equal(result.status, pieces.ending);
            if (result.status == IST_INVALID) {
                assert_string_equal(result.problem, "cannot be read");
            }
            assert_memory_equal(result.data, sample, result.bytes);
            free(result.data);
        }
        free(packed.data);
    }
    free(sample);
}

static void test_unpack__nth_allocation_fails__no_memory_and_nothing_leaks(void **state) {
    (void)state;
    uint8_t *sample = sample_new(3000);
    for (size_t p = 0; p < PACKINGS; p++) {
        struct packed packed = {0};
        packings[p](&packed, sample, 3000);
        enum ist_status status = IST_NO_MEMORY;
        uint64_t n = 0;
        while (status != IST_OK) {
            struct failing_alloc failing;
            failing_alloc_init(&failing, ++n);
            struct pieces pieces = pieces_of(ist_span_of(packed.data, packed.bytes), 0);
            struct result result = unpack_with(&failing.alloc, pieces_source(&pieces), 64, 3000);
            status = result.status;
            assert_int_equal(status, failing.calls >= n ? IST_NO_MEMORY : IST_OK);
            assert_int_equal(failing.live, 0);
            free(result.data);
        }
        assert_true(n > (p == 0 ? 1 : 2)); /* the decoders take their memory here too */
        free(packed.data);
    }
    free(sample);
}

static void test_free__null__nothing(void **state) {
    (void)state;
    ist_unpack_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unpack__any_packing_and_size__the_bytes),
        cmocka_unit_test(test_unpack__any_split_and_any_buffer__the_same_bytes),
        cmocka_unit_test(test_unpack__several_streams__one_after_the_other),
        cmocka_unit_test(test_unpack__xz_with_padding__the_bytes),
        cmocka_unit_test(test_unpack__starts_of_magic_numbers__plain),
        cmocka_unit_test(test_unpack__cut_anywhere__ends_early),
        cmocka_unit_test(test_unpack__a_bit_flipped__refused_or_unharmed),
        cmocka_unit_test(test_unpack__something_else_behind_a_stream__damaged),
        cmocka_unit_test(test_unpack__xz_that_wants_gigabytes__refused),
        cmocka_unit_test(test_unpack__source_fails__its_status_and_problem),
        cmocka_unit_test(test_unpack__nth_allocation_fails__no_memory_and_nothing_leaks),
        cmocka_unit_test(test_free__null__nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

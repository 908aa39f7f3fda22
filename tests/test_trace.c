/* The trace reader: format, limits, and what it says of lines that are none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/pieces.h"
#include "workload/trace.h"

#define GOOD "{\"timestamp\": 5, \"input_length\": 600, \"output_length\": 7, \"hash_ids\": [3, 4]}\n"

static struct ist_trace_reader *reader_of(const struct ist_alloc *alloc, struct pieces *pieces) {
    struct ist_trace_reader *reader = NULL;
    assert_int_equal(ist_trace_reader_new(alloc, "t", pieces_source(pieces), &reader), IST_OK);
    return reader;
}

static struct ist_trace_reader *reader_of_text(struct pieces *pieces, const char *text) {
    *pieces = pieces_of(ist_span_of_string(text), 0);
    return reader_of(ist_alloc_system(), pieces);
}

static void assert_request(const struct ist_trace_request *request, uint64_t arrival_ms, uint32_t input,
                           uint32_t output, size_t count, const uint64_t *blocks) {
    assert_int_equal(request->arrival_ms, arrival_ms);
    assert_int_equal(request->input_tokens, input);
    assert_int_equal(request->output_tokens, output);
    assert_int_equal(request->block_count, count);
    assert_memory_equal(request->blocks, blocks, count * sizeof(*blocks));
}

static void assert_next(struct ist_trace_reader *reader, uint64_t arrival_ms) {
    struct ist_trace_request request;
    assert_int_equal(ist_trace_reader_next(reader, &request), IST_OK);
    assert_int_equal(request.arrival_ms, arrival_ms);
}

/* Whatever ended the reader ends it for good. */
static void assert_ended(struct ist_trace_reader *reader, enum ist_status status) {
    struct ist_trace_request request = {.arrival_ms = 99};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ist_trace_reader_next(reader, &request), status);
    }
    assert_int_equal(request.arrival_ms, 99);
}

/* ---- what is accepted ----------------------------------------------------------------------------- */

static void test_next__published_format__every_field(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(
        &pieces, "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": "
                 "[46, 47]}\n"
                 "{\"hash_ids\":[0],\"output_length\":0,\"input_length\":0,\"timestamp\":0}\n");
    struct ist_trace_request request;
    assert_int_equal(ist_trace_reader_next(reader, &request), IST_OK);
    assert_request(&request, 27482, 6955, 52, 2, (const uint64_t[]){46, 47});
    assert_int_equal(ist_trace_reader_next(reader, &request), IST_OK);
    assert_request(&request, 0, 0, 0, 1, (const uint64_t[]){0});
    assert_ended(reader, IST_NOT_FOUND);
    ist_trace_reader_free(reader);
}

static void test_next__no_byte_at_all__not_found(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(&pieces, "");
    assert_ended(reader, IST_NOT_FOUND);
    ist_trace_reader_free(reader);
}

static void test_next__other_fields_and_fractions__ignored_and_cut(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(
        &pieces, "{\"timestamp\": 27482.9, \"input_length\": 6955.0, \"output_length\": 5e1, "
                 "\"hash_ids\": [1], \"session\": {\"id\": [\"\\u0000\", null]}, \"\": true}");
    struct ist_trace_request request;
    assert_int_equal(ist_trace_reader_next(reader, &request), IST_OK);
    assert_request(&request, 27482, 6955, 50, 1, (const uint64_t[]){1});
    assert_ended(reader, IST_NOT_FOUND);
    ist_trace_reader_free(reader);
}

static void test_next__crlf_blank_lines_no_last_newline__accepted(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(
        &pieces, "\n\r\n \t\r\n"
                 "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]}\r\n"
                 "\n"
                 "  {\"timestamp\":2,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]} \t\n"
                 "{\"timestamp\":3,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]}");
    assert_next(reader, 1);
    assert_next(reader, 2);
    assert_next(reader, 3);
    assert_ended(reader, IST_NOT_FOUND);
    ist_trace_reader_free(reader);
}

static void test_next__last_line_blank_without_newline__the_end(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(&pieces, GOOD " \t");
    assert_next(reader, 5);
    assert_ended(reader, IST_NOT_FOUND);
    ist_trace_reader_free(reader);
}

static void test_next__arrivals_go_back__taken_as_they_are(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(
        &pieces, "{\"timestamp\":9,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]}\n"
                 "{\"timestamp\":2,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]}\n");
    assert_next(reader, 9);
    assert_next(reader, 2);
    ist_trace_reader_free(reader);
}

static void test_next__numbers_at_their_limits__accepted(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader =
        reader_of_text(&pieces, "{\"timestamp\":9223372036854775807,\"input_length\":4294967295,"
                                "\"output_length\":4294967295,\"hash_ids\":[9223372036854775807,0]}\n");
    struct ist_trace_request request;
    assert_int_equal(ist_trace_reader_next(reader, &request), IST_OK);
    assert_request(&request, INT64_MAX, UINT32_MAX, UINT32_MAX, 2, (const uint64_t[]){INT64_MAX, 0});
    ist_trace_reader_free(reader);
}

/* A line with `count` hash ids, 0 to count - 1; then one more line. Owned by the caller. */
static char *line_of_blocks(size_t count) {
    char *text = malloc(count * 8 + 300);
    assert_non_null(text);
    char *end =
        text + sprintf(text, "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[");
    for (size_t i = 0; i < count; i++) {
        end += sprintf(end, i == 0 ? "%zu" : ",%zu", i);
    }
    strcpy(end, "]}\n" GOOD);
    return text;
}

static void test_next__as_many_blocks_as_may_be__all_of_them(void **state) {
    (void)state;
    char *text = line_of_blocks(IST_TRACE_BLOCKS_MAX);
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(&pieces, text);
    struct ist_trace_request request;
    assert_int_equal(ist_trace_reader_next(reader, &request), IST_OK);
    assert_int_equal(request.block_count, IST_TRACE_BLOCKS_MAX);
    for (size_t i = 0; i < request.block_count; i++) {
        assert_int_equal(request.blocks[i], i);
    }
    assert_next(reader, 5);
    ist_trace_reader_free(reader);
    free(text);
}

/* ---- what is refused ------------------------------------------------------------------------------ */

static const struct {
    const char *line, *error;
} refused[] = {
    {"[1]", "t:1: the line is no JSON object"},
    {"{}", "t:1: timestamp is missing"},
    {"{\"timestamp\":1}", "t:1: input_length is missing"},
    {"{\"timestamp\":1,\"input_length\":1}", "t:1: output_length is missing"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1}", "t:1: hash_ids is missing"},
    {"{\"timestamp\":-1}", "t:1: timestamp is not a number from 0 to 9223372036854775807"},
    {"{\"timestamp\":-0.5}", "t:1: timestamp is not a number from 0 to 9223372036854775807"},
    {"{\"timestamp\":1e17}", "t:1: timestamp is not a number from 0 to 9223372036854775807"},
    {"{\"timestamp\":\"1\"}", "t:1: timestamp is not a number from 0 to 9223372036854775807"},
    {"{\"timestamp\":null}", "t:1: timestamp is not a number from 0 to 9223372036854775807"},
    {"{\"timestamp\":1,\"input_length\":4294967296}",
     "t:1: input_length is not a number from 0 to 4294967295"},
    {"{\"timestamp\":1,\"input_length\":4294967295.5}",
     "t:1: input_length is not a number from 0 to 4294967295"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":true}",
     "t:1: output_length is not a number from 0 to 4294967295"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[]}",
     "t:1: hash_ids is not a list of at least one number"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":7}",
     "t:1: hash_ids is not a list of at least one number"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":{\"a\":1}}",
     "t:1: hash_ids is not a list of at least one number"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1,-2]}",
     "t:1: hash_ids[1] is not a whole number from 0 to 2^63 - 1"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1.0]}",
     "t:1: hash_ids[0] is not a whole number from 0 to 2^63 - 1"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[\"x\"]}",
     "t:1: hash_ids[0] is not a whole number from 0 to 2^63 - 1"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1],\"timestamp\":2}",
     "t:1: duplicate object key"},
    /* what the JSON parser finds; these are the beginnings */
    {"3", "t:1: '[' or '{' expected near '3'"},
    {"{\"timestamp\":1", "t:1: '}' expected near end of file"},
    {"{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]} x",
     "t:1: end of file expected near 'x'"},
    {"{\"timestamp\":9223372036854775808}", "t:1: too big integer"},
    {"{\"timestamp\":1e999}", "t:1: real number overflow"},
    {"{\"timestamp\":01}", "t:1: invalid token near"},
    {"{\"\xff\":1}", "t:1: unable to decode byte 0xff"},
    {"\xef\xbb\xbf{}", "t:1: '[' or '{' expected near"},
};

static void test_next__lines_that_are_none__named_with_line_and_cause(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct pieces pieces;
        struct ist_trace_reader *reader = reader_of_text(&pieces, refused[i].line);
        assert_ended(reader, IST_INVALID);
        const char *error = ist_trace_reader_error(reader);
        if (strncmp(error, refused[i].error, strlen(refused[i].error)) != 0) {
            fail_msg("%s: \"%s\", not \"%s\"", refused[i].line, error, refused[i].error);
        }
        assert_null(strchr(error, '\n'));
        ist_trace_reader_free(reader);
    }
}

static void test_next__bad_line_after_good_and_blank_ones__its_number(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(&pieces, GOOD "\r\n\n" GOOD "{}\n" GOOD);
    assert_next(reader, 5);
    assert_next(reader, 5);
    assert_ended(reader, IST_INVALID);
    assert_string_equal(ist_trace_reader_error(reader), "t:5: timestamp is missing");
    ist_trace_reader_free(reader);
}

static void test_next__control_characters_in_the_line__not_in_the_error(void **state) {
    (void)state;
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(&pieces, "{\"timestamp\": \x1b[2J\a}");
    assert_ended(reader, IST_INVALID);
    for (const char *c = ist_trace_reader_error(reader); *c != '\0'; c++) {
        assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
    }
    ist_trace_reader_free(reader);
}

static void test_next__nul_in_the_line__refused(void **state) {
    (void)state;
    static const char text[] = "{\"timestamp\"\0:1}\n";
    struct pieces pieces = pieces_of(ist_span_of(text, sizeof(text) - 1), 0);
    struct ist_trace_reader *reader = reader_of(ist_alloc_system(), &pieces);
    assert_ended(reader, IST_INVALID);
    assert_memory_equal(ist_trace_reader_error(reader), "t:1: ", 5);
    ist_trace_reader_free(reader);
}

static void test_next__deeply_nested__refused(void **state) {
    (void)state;
    char *text = malloc(100001);
    assert_non_null(text);
    memset(text, '[', 100000);
    text[100000] = '\0';
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(&pieces, text);
    assert_ended(reader, IST_INVALID);
    assert_memory_equal(ist_trace_reader_error(reader), "t:1: ", 5);
    ist_trace_reader_free(reader);
    free(text);
}

static void test_next__a_block_too_many__refused_with_the_limit(void **state) {
    (void)state;
    char *text = line_of_blocks(IST_TRACE_BLOCKS_MAX + 1);
    struct pieces pieces;
    struct ist_trace_reader *reader = reader_of_text(&pieces, text);
    assert_ended(reader, IST_INVALID);
    assert_string_equal(ist_trace_reader_error(reader),
                        "t:1: hash_ids has 32769 numbers, the limit is 32768");
    ist_trace_reader_free(reader);
    free(text);
}

/* A good line, filled up with spaces to `bytes` before its newline. Owned by the caller. */
static char *line_of_bytes(size_t bytes) {
    char *text = malloc(bytes + 2);
    assert_non_null(text);
    memset(text, ' ', bytes);
    memcpy(text, GOOD, strlen(GOOD) - 1);
    strcpy(text + bytes, "\n");
    return text;
}

static void test_next__longest_line__accepted_one_byte_more_refused(void **state) {
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        char *text = line_of_bytes(IST_TRACE_LINE_BYTES_MAX + more);
        struct pieces pieces;
        struct ist_trace_reader *reader = reader_of_text(&pieces, text);
        if (more == 0) {
            assert_next(reader, 5);
            assert_ended(reader, IST_NOT_FOUND);
        } else {
            assert_ended(reader, IST_INVALID);
            assert_string_equal(ist_trace_reader_error(reader),
                                "t:1: the line is longer than 1048576 bytes");
        }
        ist_trace_reader_free(reader);
        free(text);
    }
}

static enum ist_status endless_read(void *context, void *buffer, size_t bytes, size_t *got,
                                    const char **problem) {
    (void)problem;
    uint64_t *read = context;
    memset(buffer, 'x', bytes);
    *got = bytes;
    *read += bytes;
    return IST_OK;
}

static void test_next__line_without_end__refused_before_it_fills_the_memory(void **state) {
    (void)state;
    uint64_t read = 0;
    struct ist_trace_reader *reader = NULL;
    const struct ist_source source = {.read = endless_read, .context = &read};
    assert_int_equal(ist_trace_reader_new(ist_alloc_system(), "t", source, &reader), IST_OK);
    assert_ended(reader, IST_INVALID);
    assert_true(read < 4 * IST_TRACE_LINE_BYTES_MAX);
    ist_trace_reader_free(reader);
}

static void test_next__source_fails__its_problem_and_not_read_again(void **state) {
    (void)state;
    struct pieces pieces = pieces_of(ist_span_of_string(GOOD "{\"times"), 0);
    pieces.ending = IST_INVALID;
    pieces.problem = "cannot be read";
    struct ist_trace_reader *reader = reader_of(ist_alloc_system(), &pieces);
    assert_next(reader, 5);
    assert_ended(reader, IST_INVALID);
    assert_string_equal(ist_trace_reader_error(reader), "t:2: cannot be read");
    assert_int_equal(pieces.reads, 2);
    ist_trace_reader_free(reader);
}

static void test_next__source_out_of_memory__no_memory(void **state) {
    (void)state;
    struct pieces pieces = pieces_of(ist_span_of_string(GOOD), 0);
    pieces.ending = IST_NO_MEMORY;
    struct ist_trace_reader *reader = reader_of(ist_alloc_system(), &pieces);
    assert_next(reader, 5);
    assert_ended(reader, IST_NO_MEMORY);
    ist_trace_reader_free(reader);
}

static void test_error__long_name__cut(void **state) {
    (void)state;
    char name[2000];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct pieces pieces = pieces_of(ist_span_of_string("{}"), 0);
    struct ist_trace_reader *reader = NULL;
    assert_int_equal(ist_trace_reader_new(ist_alloc_system(), name, pieces_source(&pieces), &reader),
                     IST_OK);
    assert_ended(reader, IST_INVALID);
    assert_non_null(strstr(ist_trace_reader_error(reader), "n:1: timestamp is missing"));
    ist_trace_reader_free(reader);
}

/* ---- files ---------------------------------------------------------------------------------------- */

static void test_source_of_file__file__its_bytes(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_true(fputs(GOOD GOOD, file) >= 0);
    rewind(file);
    struct ist_trace_reader *reader = NULL;
    assert_int_equal(ist_trace_reader_new(ist_alloc_system(), "t", ist_source_of_file(file), &reader),
                     IST_OK);
    assert_next(reader, 5);
    assert_next(reader, 5);
    assert_ended(reader, IST_NOT_FOUND);
    ist_trace_reader_free(reader);
    fclose(file);
}

static void test_source_of_file__directory__said_so(void **state) {
    (void)state;
    FILE *file = fopen("/", "re");
    assert_non_null(file);
    struct ist_trace_reader *reader = NULL;
    assert_int_equal(ist_trace_reader_new(ist_alloc_system(), "/", ist_source_of_file(file), &reader),
                     IST_OK);
    assert_ended(reader, IST_INVALID);
    assert_string_equal(ist_trace_reader_error(reader), "/:1: is a directory");
    ist_trace_reader_free(reader);
    fclose(file);
}

static void test_source_of_memory__read_to_its_end__then_nothing(void **state) {
    (void)state;
    struct ist_source_memory memory = {.rest = ist_span_of_string("abcde")};
    struct ist_source source = ist_source_of_memory(&memory);
    char buffer[4];
    const char *problem = NULL;
    size_t got = 0;
    assert_int_equal(source.read(source.context, buffer, 4, &got, &problem), IST_OK);
    assert_int_equal(got, 4);
    assert_memory_equal(buffer, "abcd", 4);
    assert_int_equal(source.read(source.context, buffer, 4, &got, &problem), IST_OK);
    assert_int_equal(got, 1);
    assert_int_equal(buffer[0], 'e');
    for (int i = 0; i < 2; i++) {
        assert_int_equal(source.read(source.context, buffer, 4, &got, &problem), IST_OK);
        assert_int_equal(got, 0);
    }
}

/* ---- any split, any failed allocation ------------------------------------------------------------- */

static const char mixed[] =
    "\r\n{\"timestamp\":1,\"input_length\":2,\"output_length\":3,\"hash_ids\":[4,5,6]}\r\n"
    "{\"timestamp\": 70, \"input_length\": 80, \"output_length\": 90, \"hash_ids\": [100]}\n\n"
    "{\"timestamp\": 71, \"input_length\": 81, \"output_length\": 91, \"hash_ids\": [0, 1, 2, 3, 4]}\n"
    "{\"timestamp\": 72, \"input_length\": 82}\n";

/* FNV-1a over all that the reader gives. */
static uint64_t digest_of(struct pieces *pieces) {
    struct ist_trace_reader *reader = reader_of(ist_alloc_system(), pieces);
    struct ist_trace_request request;
    uint64_t digest = 0xcbf29ce484222325ull;
    enum ist_status status;
    while ((status = ist_trace_reader_next(reader, &request)) == IST_OK) {
        const uint64_t head[] = {request.arrival_ms, request.input_tokens, request.output_tokens,
                                 request.block_count};
        for (size_t i = 0; i < 4; i++) {
            digest = (digest ^ head[i]) * 0x100000001b3ull;
        }
        for (size_t i = 0; i < request.block_count; i++) {
            digest = (digest ^ request.blocks[i]) * 0x100000001b3ull;
        }
    }
    assert_int_equal(status, IST_INVALID);
    assert_string_equal(ist_trace_reader_error(reader), "t:6: output_length is missing");
    ist_trace_reader_free(reader);
    return digest;
}

static void test_next__any_split_of_the_bytes__the_same_requests(void **state) {
    (void)state;
    struct ist_span all = ist_span_of(mixed, sizeof(mixed) - 1);
    struct pieces whole = pieces_of(all, 0);
    uint64_t expected = digest_of(&whole);
    for (size_t piece = 1; piece < 20; piece++) {
        struct pieces pieces = pieces_of(all, piece);
        assert_true(digest_of(&pieces) == expected);
    }
    for (size_t at = 1; at < all.bytes; at++) {
        struct pieces pieces = {.rest = all, .first = at, .later = SIZE_MAX};
        assert_true(digest_of(&pieces) == expected);
    }
}

/* Longer than what the reader reads at once, so that its buffer grows, and with more blocks from line to
 * line, so that their room does. */
static void test_next__nth_allocation_fails__no_memory_and_nothing_leaks(void **state) {
    (void)state;
    char *text = line_of_blocks(20000);
    for (uint64_t n = 1;; n++) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, n);
        struct pieces pieces = pieces_of(ist_span_of_string(text), 0);
        struct ist_trace_reader *reader = NULL;
        enum ist_status status =
            ist_trace_reader_new(&failing.alloc, "t", pieces_source(&pieces), &reader);
        if (status != IST_OK) {
            assert_int_equal(status, IST_NO_MEMORY);
            assert_null(reader);
        } else {
            struct ist_trace_request request;
            for (status = IST_OK; status == IST_OK;) {
                status = ist_trace_reader_next(reader, &request);
            }
            assert_ended(reader, failing.calls >= n ? IST_NO_MEMORY : IST_NOT_FOUND);
            ist_trace_reader_free(reader);
        }
        assert_int_equal(failing.live, 0);
        if (status == IST_NOT_FOUND) {
            assert_true(n >= 6); /* the reader, its text, its unpacker, more text, the blocks */
            break;
        }
    }
    free(text);
}

/* Damage anywhere in a line gives a request or an error with the line's number, never anything else. */
static void test_next__random_damage__request_or_named_error(void **state) {
    (void)state;
    uint64_t random = 7;
    int rounds = getenv("IST_TEST_SHORT") != NULL ? 300 : 20000;
    for (int round = 0; round < rounds; round++) {
        size_t bytes = strlen(GOOD);
        char *text = guarded_new(bytes);
        memcpy(text, GOOD, bytes);
        for (int i = 0; i <= round % 3; i++) {
            text[random_below(&random, bytes)] = (char)random_next(&random);
        }
        struct pieces pieces = pieces_of(ist_span_of(text, bytes), 1 + random_below(&random, bytes));
        struct ist_trace_reader *reader = reader_of(ist_alloc_system(), &pieces);
        struct ist_trace_request request;
        enum ist_status status;
        while ((status = ist_trace_reader_next(reader, &request)) == IST_OK) {
            assert_true(request.block_count >= 1 && request.block_count <= IST_TRACE_BLOCKS_MAX);
        }
        if (status == IST_INVALID) {
            assert_memory_equal(ist_trace_reader_error(reader), "t:", 2);
        } else {
            assert_int_equal(status, IST_NOT_FOUND);
        }
        ist_trace_reader_free(reader);
        guarded_free(text, bytes);
    }
}

static void test_free__null__nothing(void **state) {
    (void)state;
    ist_trace_reader_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next__published_format__every_field),
        cmocka_unit_test(test_next__no_byte_at_all__not_found),
        cmocka_unit_test(test_next__other_fields_and_fractions__ignored_and_cut),
        cmocka_unit_test(test_next__crlf_blank_lines_no_last_newline__accepted),
        cmocka_unit_test(test_next__last_line_blank_without_newline__the_end),
        cmocka_unit_test(test_next__arrivals_go_back__taken_as_they_are),
        cmocka_unit_test(test_next__numbers_at_their_limits__accepted),
        cmocka_unit_test(test_next__as_many_blocks_as_may_be__all_of_them),
        cmocka_unit_test(test_next__lines_that_are_none__named_with_line_and_cause),
        cmocka_unit_test(test_next__bad_line_after_good_and_blank_ones__its_number),
        cmocka_unit_test(test_next__control_characters_in_the_line__not_in_the_error),
        cmocka_unit_test(test_next__nul_in_the_line__refused),
        cmocka_unit_test(test_next__deeply_nested__refused),
        cmocka_unit_test(test_next__a_block_too_many__refused_with_the_limit),
        cmocka_unit_test(test_next__longest_line__accepted_one_byte_more_refused),
        cmocka_unit_test(test_next__line_without_end__refused_before_it_fills_the_memory),
        cmocka_unit_test(test_next__source_fails__its_problem_and_not_read_again),
        cmocka_unit_test(test_next__source_out_of_memory__no_memory),
        cmocka_unit_test(test_error__long_name__cut),
        cmocka_unit_test(test_source_of_file__file__its_bytes),
        cmocka_unit_test(test_source_of_file__directory__said_so),
        cmocka_unit_test(test_source_of_memory__read_to_its_end__then_nothing),
        cmocka_unit_test(test_next__any_split_of_the_bytes__the_same_requests),
        cmocka_unit_test(test_next__nth_allocation_fails__no_memory_and_nothing_leaks),
        cmocka_unit_test(test_next__random_damage__request_or_named_error),
        cmocka_unit_test(test_free__null__nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

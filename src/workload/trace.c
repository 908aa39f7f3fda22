#include "workload/trace.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"

#define READ_BYTES (64u << 10)
#define ERROR_BYTES 512
#define NAME_BYTES 256
#define WHOLE_DOUBLE_MAX 9007199254740992.0 /* 2^53: up to here a double counts every integer */

struct ist_trace_reader {
    const struct ist_alloc *alloc;
    struct ist_unpack *unpack;
    uint64_t line; /* 1-based, of the line being read */
    enum ist_status ended;
    char *text; /* input[first .. used) is not yet consumed */
    size_t first, used, room;
    bool source_ended;
    uint64_t *blocks;
    size_t blocks_room;
    char name[NAME_BYTES], error[ERROR_BYTES];
};

enum ist_status ist_trace_reader_new(const struct ist_alloc *alloc, const char *name,
                                     struct ist_source source, struct ist_trace_reader **reader) {
    struct ist_trace_reader *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    (void)snprintf(new->name, sizeof(new->name), "%s", name);
    new->room = READ_BYTES;
    new->text = ist_allocate(alloc, new->room);
    if (new->text == NULL || ist_unpack_new(alloc, source, &new->unpack) != IST_OK) {
        ist_trace_reader_free(new);
        return IST_NO_MEMORY;
    }
    *reader = new;
    return IST_OK;
}

void ist_trace_reader_free(struct ist_trace_reader *reader) {
    if (reader == NULL) {
        return;
    }
    const struct ist_alloc *alloc = reader->alloc;
    ist_unpack_free(reader->unpack);
    ist_release(alloc, reader->text);
    ist_release(alloc, reader->blocks);
    ist_release(alloc, reader);
}

const char *ist_trace_reader_error(const struct ist_trace_reader *reader) {
    return reader->error;
}

static enum ist_status fail(struct ist_trace_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum ist_status fail(struct ist_trace_reader *reader, const char *format, ...) {
    int used = snprintf(reader->error, ERROR_BYTES, "%s:%llu: ", reader->name,
                        (unsigned long long)reader->line);
    IST_ASSERT(used > 0 && used < ERROR_BYTES);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reader->error + used, (size_t)(ERROR_BYTES - used), format, arguments);
    va_end(arguments);
    for (char *c = reader->error; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?'; /* the JSON parser quotes its input */
        }
    }
    return IST_INVALID;
}

/* ---- lines ---- */

/* Makes room behind `used` and reads into it. */
static enum ist_status read_more(struct ist_trace_reader *reader) {
    if (reader->first > 0) {
        memmove(reader->text, reader->text + reader->first, reader->used - reader->first);
        reader->used -= reader->first;
        reader->first = 0;
    }
    if (reader->used == reader->room) {
        char *text = ist_resize_array(reader->alloc, reader->text, reader->room * 2, 1);
        if (text == NULL) {
            return IST_NO_MEMORY;
        }
        reader->text = text;
        reader->room *= 2;
    }
    struct ist_source source = ist_source_of_unpack(reader->unpack);
    size_t got = 0;
    const char *problem = "cannot be read";
    enum ist_status status = source.read(source.context, reader->text + reader->used,
                                         reader->room - reader->used, &got, &problem);
    if (status == IST_INVALID) {
        return fail(reader, "%s", problem);
    }
    reader->used += got;
    reader->source_ended = status == IST_OK && got == 0;
    return status;
}

/* The next line without its end, borrowed until the next call. Returns OK, NOT_FOUND, INVALID, NO_MEMORY. */
static enum ist_status next_line(struct ist_trace_reader *reader, struct ist_span *line) {
    reader->line++;
    size_t looked = 0; /* bytes behind `first` that hold no newline */
    for (;;) {
        size_t here = reader->used - reader->first;
        const char *start = reader->text + reader->first;
        const char *end = memchr(start + looked, '\n', here - looked);
        size_t bytes = end != NULL ? (size_t)(end - start) : here;
        if (bytes > IST_TRACE_LINE_BYTES_MAX) {
            return fail(reader, "the line is longer than %u bytes", IST_TRACE_LINE_BYTES_MAX);
        }
        if (end != NULL || (reader->source_ended && here > 0)) {
            *line = ist_span_of(start, bytes);
            reader->first += bytes + (end != NULL);
            return IST_OK;
        }
        if (reader->source_ended) {
            return IST_NOT_FOUND;
        }
        looked = here;
        enum ist_status status = read_more(reader);
        if (status != IST_OK) {
            return status;
        }
    }
}

static bool line_is_blank(struct ist_span line) {
    for (size_t i = 0; i < line.bytes; i++) {
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* ---- fields ---- */

/* A number from 0 to max; a fraction is cut off, because some writers print 27482.0. */
static enum ist_status read_number(struct ist_trace_reader *reader, const json_t *object,
                                   const char *field, uint64_t max, uint64_t *number) {
    const json_t *value = json_object_get(object, field);
    if (value == NULL) {
        return fail(reader, "%s is missing", field);
    }
    if (json_is_integer(value)) {
        json_int_t integer = json_integer_value(value);
        if (integer >= 0 && (uint64_t)integer <= max) {
            *number = (uint64_t)integer;
            return IST_OK;
        }
    } else if (json_is_real(value)) {
        double real = json_real_value(value);
        if (real >= 0 && real <= (double)max && real <= WHOLE_DOUBLE_MAX) {
            *number = (uint64_t)real;
            return IST_OK;
        }
    }
    return fail(reader, "%s is not a number from 0 to %llu", field, (unsigned long long)max);
}

static enum ist_status reserve_blocks(struct ist_trace_reader *reader, size_t count) {
    if (count <= reader->blocks_room) {
        return IST_OK;
    }
    uint64_t *blocks = ist_resize_array(reader->alloc, reader->blocks, count, sizeof(*blocks));
    if (blocks == NULL) {
        return IST_NO_MEMORY;
    }
    reader->blocks = blocks;
    reader->blocks_room = count;
    return IST_OK;
}

static enum ist_status read_blocks(struct ist_trace_reader *reader, const json_t *object,
                                   struct ist_trace_request *request) {
    const json_t *list = json_object_get(object, "hash_ids");
    if (list == NULL) {
        return fail(reader, "hash_ids is missing");
    }
    size_t count = json_array_size(list); /* 0 also when it is no array */
    if (count == 0) {
        return fail(reader, "hash_ids is not a list of at least one number");
    }
    if (count > IST_TRACE_BLOCKS_MAX) {
        return fail(reader, "hash_ids has %zu numbers, the limit is %u", count, IST_TRACE_BLOCKS_MAX);
    }
    enum ist_status status = reserve_blocks(reader, count);
    if (status != IST_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0) {
            return fail(reader, "hash_ids[%zu] is not a whole number from 0 to 2^63 - 1", i);
        }
        reader->blocks[i] = (uint64_t)json_integer_value(value);
    }
    request->blocks = reader->blocks;
    request->block_count = count;
    return IST_OK;
}

static enum ist_status read_fields(struct ist_trace_reader *reader, const json_t *object,
                                   struct ist_trace_request *request) {
    if (!json_is_object(object)) {
        return fail(reader, "the line is no JSON object");
    }
    uint64_t arrival = 0, input = 0, output = 0;
    enum ist_status status = read_number(reader, object, "timestamp", INT64_MAX, &arrival);
    if (status == IST_OK) {
        status = read_number(reader, object, "input_length", IST_TRACE_TOKENS_MAX, &input);
    }
    if (status == IST_OK) {
        status = read_number(reader, object, "output_length", IST_TRACE_TOKENS_MAX, &output);
    }
    if (status != IST_OK) {
        return status;
    }
    struct ist_trace_request read = {
        .arrival_ms = arrival, .input_tokens = (uint32_t)input, .output_tokens = (uint32_t)output};
    status = read_blocks(reader, object, &read);
    if (status == IST_OK) {
        *request = read;
    }
    return status;
}

static enum ist_status read_request(struct ist_trace_reader *reader, struct ist_span line,
                                    struct ist_trace_request *request) {
    json_error_t error;
    json_t *object = json_loadb((const char *)line.data, line.bytes,
                                JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (object == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory) {
            return IST_NO_MEMORY;
        }
        return fail(reader, "%s (column %d)", error.text, error.column);
    }
    enum ist_status status = read_fields(reader, object, request);
    json_decref(object);
    return status;
}

enum ist_status ist_trace_reader_next(struct ist_trace_reader *reader,
                                      struct ist_trace_request *request) {
    struct ist_span line = {.data = NULL, .bytes = 0};
    while (reader->ended == IST_OK) {
        enum ist_status status = next_line(reader, &line);
        if (status == IST_OK && line_is_blank(line)) {
            continue;
        }
        if (status == IST_OK) {
            status = read_request(reader, line, request);
        }
        if (status == IST_OK) {
            return IST_OK;
        }
        reader->ended = status;
    }
    return reader->ended;
}

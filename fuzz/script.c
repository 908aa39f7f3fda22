#include "fuzz/script.h"

#include <stdlib.h>

#include "tests/support.h"

#define HEAD_BYTES 4u
#define RECORDS_MAX 512u
#define CHOICES_BYTES 128u

/* libFuzzer's own; other engines do not have it. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max) __attribute__((weak));

bool script_next(struct fuzz_input *input, struct script_record *record) {
    if (input->bytes < HEAD_BYTES) {
        return false;
    }
    record->kind = fuzz_u8(input);
    record->argument = fuzz_u8(input);
    record->data = fuzz_take(input, fuzz_u16(input));
    return true;
}

/* ---- writing -------------------------------------------------------------------------------------------- */

void script_free(struct script *script) {
    free(script->data);
    *script = (struct script){0};
}

void script_bytes(struct script *script, const void *data, size_t bytes) {
    if (script->bytes + bytes > script->room) {
        script->room = 2 * (script->bytes + bytes);
        script->data = realloc(script->data, script->room);
        IST_ASSERT(script->data != NULL);
    }
    if (bytes > 0) {
        memcpy(script->data + script->bytes, data, bytes);
        script->bytes += bytes;
    }
}

void script_record(struct script *script, uint8_t kind, uint8_t argument, const void *data,
                   size_t bytes) {
    IST_ASSERT(bytes <= SCRIPT_DATA_MAX);
    const uint8_t head[HEAD_BYTES] = {kind, argument, (uint8_t)bytes, (uint8_t)(bytes >> 8)};
    script_bytes(script, head, sizeof(head));
    script_bytes(script, data, bytes);
}

/* ---- mutating ------------------------------------------------------------------------------------------- */

struct draft {
    const struct script_grammar *grammar;
    uint64_t random;
    struct ist_span options;
    struct script_record records[RECORDS_MAX];
    size_t count;
    struct script invented; /* records may point into it */
    uint8_t changed[SCRIPT_DATA_MAX];
};

static size_t choose(struct draft *draft, size_t limit) {
    return (size_t)random_below(&draft->random, limit);
}

static void read_draft(struct draft *draft, const uint8_t *data, size_t bytes) {
    struct fuzz_input input = fuzz_input_of(data, bytes);
    draft->options = fuzz_take(&input, draft->grammar->option_bytes);
    draft->count = 0;
    while (draft->count < RECORDS_MAX && script_next(&input, &draft->records[draft->count])) {
        draft->count++;
    }
}

static void insert(struct draft *draft, size_t at, struct script_record record) {
    if (draft->count < RECORDS_MAX) {
        memmove(&draft->records[at + 1], &draft->records[at],
                (draft->count - at) * sizeof(draft->records[0]));
        draft->records[at] = record;
        draft->count++;
    }
}

static void drop(struct draft *draft, size_t at) {
    draft->count--;
    memmove(&draft->records[at], &draft->records[at + 1],
            (draft->count - at) * sizeof(draft->records[0]));
}

static void invent(struct draft *draft) {
    uint8_t choices[CHOICES_BYTES];
    for (size_t i = 0; i < sizeof(choices); i++) {
        choices[i] = (uint8_t)choose(draft, 256);
    }
    struct fuzz_input random = fuzz_input_of(choices, sizeof(choices));
    draft->grammar->invent(&draft->invented, &random);
    struct fuzz_input input = fuzz_input_of(draft->invented.data, draft->invented.bytes);
    struct script_record record;
    for (size_t at = choose(draft, draft->count + 1); script_next(&input, &record); at++) {
        insert(draft, at < draft->count ? at : draft->count, record);
    }
}

static void cut(struct draft *draft, size_t at) {
    struct script_record *record = &draft->records[at];
    size_t first = record->data.bytes == 0 ? 0 : choose(draft, record->data.bytes);
    struct script_record rest = *record;
    rest.data = ist_span_of(record->data.data + first, record->data.bytes - first);
    record->data.bytes = first;
    insert(draft, at + 1, rest);
}

static void mutate_bytes(struct draft *draft, struct ist_span *bytes) {
    memcpy(draft->changed, bytes->data, bytes->bytes);
    size_t count = bytes->bytes;
    if (LLVMFuzzerMutate != NULL && count > 0) {
        size_t most = count + 64 < SCRIPT_DATA_MAX ? count + 64 : SCRIPT_DATA_MAX;
        count = LLVMFuzzerMutate(draft->changed, count, most);
    } else if (count > 0) {
        draft->changed[choose(draft, count)] = (uint8_t)choose(draft, 256);
    }
    *bytes = ist_span_of(draft->changed, count);
}

static void change_one(struct draft *draft) {
    size_t at = choose(draft, draft->count), to = choose(draft, draft->count);
    struct script_record *record = &draft->records[at];
    switch (choose(draft, 8)) {
    case 0: cut(draft, at); break;
    case 1: drop(draft, at); break;
    case 2: insert(draft, to, *record); break;
    case 3: {
        struct script_record moved = *record;
        *record = draft->records[to];
        draft->records[to] = moved;
        break;
    }
    case 4: record->kind = (uint8_t)choose(draft, draft->grammar->kinds); break;
    case 5: record->argument = (uint8_t)choose(draft, 256); break;
    default: mutate_bytes(draft, &record->data); break;
    }
}

static size_t write_draft(const struct draft *draft, uint8_t *data, size_t bytes_max) {
    struct script script = {0};
    script_bytes(&script, draft->options.data, draft->options.bytes);
    for (size_t i = draft->options.bytes; i < draft->grammar->option_bytes; i++) {
        script_bytes(&script, "", 1);
    }
    for (size_t i = 0; i < draft->count; i++) {
        const struct script_record *record = &draft->records[i];
        if (script.bytes + HEAD_BYTES + record->data.bytes > bytes_max) {
            break;
        }
        script_record(&script, record->kind, record->argument, record->data.data, record->data.bytes);
    }
    size_t bytes = script.bytes < bytes_max ? script.bytes : bytes_max;
    if (bytes > 0) {
        memcpy(data, script.data, bytes);
    }
    script_free(&script);
    return bytes;
}

size_t script_mutate(const struct script_grammar *grammar, uint8_t *data, size_t bytes,
                     size_t bytes_max, unsigned seed) {
    static struct draft draft;
    draft.grammar = grammar;
    draft.random = seed;
    read_draft(&draft, data, bytes);
    size_t what = choose(&draft, 16);
    if (what == 0 && LLVMFuzzerMutate != NULL) {
        return LLVMFuzzerMutate(data, bytes, bytes_max);
    }
    if (what == 1 && draft.options.bytes > 0) {
        data[choose(&draft, draft.options.bytes)] = (uint8_t)choose(&draft, 256);
        return bytes;
    }
    if (what < 6 || draft.count == 0) {
        invent(&draft);
    } else {
        change_one(&draft);
    }
    size_t written = write_draft(&draft, data, bytes_max);
    script_free(&draft.invented);
    return written;
}

/* One stream of bytes into two servers: into one at once, into the other cut as the input chooses. Both must say the
 * same, want the same, and keep the same. */
#include "fuzz/fuzz.h"
#include "fuzz/phrase.h"
#include "fuzz/script.h"
#include "tests/conversation.h"

/* Requests in flight, 2 bytes queued in 16 bytes, 4 bytes which are the seed of the cuts. */
#define OPTION_BYTES 7u
#define STREAM_BYTES_MAX (128u << 10)
/* Nothing is ever evicted: how long a reader holds what does depends on the cuts. */
#define BLOCKS 8192u

enum event { SAY, ASK, EVENTS }; /* bytes, or the choices of phrase.h */

struct side {
    struct world world;
    struct ist_session *session;
    struct bytes out;
};

static void side_begin(struct side *side, const uint8_t *options) {
    struct world_options world = {.pool_bytes = 512 * BLOCKS};
    world.engine.sessions_max = 1;
    world.engine.requests_in_flight_max = options[0];
    world.engine.queued_bytes_max = 16u * (options[1] + 256u * options[2]);
    *side = (struct side){0};
    world_init(&side->world, world);
    side->session = world_open(&side->world);
    side->world.unchecked = true;
}

static void side_end(struct side *side) {
    ist_session_close(side->session);
    world_fini(&side->world);
    bytes_free(&side->out);
}

static void feed_in_pieces(struct side *side, const struct bytes *stream, uint64_t random) {
    static const size_t limits[] = {1, 2, 33, 500, 5000};
    size_t limit = limits[random_below(&random, 5)];
    for (size_t at = 0; at < stream->count;) {
        size_t piece = 1 + (size_t)random_below(&random, limit);
        piece = piece < stream->count - at ? piece : stream->count - at;
        side->world.buffers_max = 1 + (size_t)random_below(&random, 5);
        side->world.recv_max = 1 + (size_t)random_below(&random, limit);
        size_t fed = edge_feed(&side->world, side->session, stream->data + at, piece);
        at += fed;
        if (fed == 0 && edge_take(&side->world, side->session, &side->out, SIZE_MAX) == 0) {
            break;
        }
    }
    edge_take(&side->world, side->session, &side->out, SIZE_MAX);
}

#define REPLIES_MOST 8192u

struct said {
    struct ist_span replies[REPLIES_MOST]; /* header, body and payload; without statistics */
    size_t count, statistics;
};

static int by_bytes(const void *a, const void *b) {
    const struct ist_span *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order != 0 ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static void read_said(const struct bytes *out, struct said *said) {
    said->count = said->statistics = 0;
    for (size_t at = 0; at < out->count;) {
        struct ist_frame frame;
        struct ist_span rest = ist_span_of(out->data + at, out->count - at);
        IST_ASSERT(ist_frame_decode(rest, &frame) == IST_OK && said->count < REPLIES_MOST);
        size_t bytes = IST_FRAME_BYTES + frame.body_bytes + (size_t)frame.payload_bytes;
        IST_ASSERT(bytes <= rest.bytes);
        at += bytes;
        if (frame.operation == IST_OP_STAT) {
            said->statistics++;
        } else {
            said->replies[said->count++] = ist_span_of(rest.data, bytes);
        }
    }
    qsort(said->replies, said->count, sizeof(said->replies[0]), by_bytes);
}

/* Short replies may overtake long ones, and statistics count the bytes that were read ahead. */
static void compare_replies(const struct bytes *a, const struct bytes *b) {
    static struct said left, right;
    read_said(a, &left);
    read_said(b, &right);
    IST_ASSERT(left.count == right.count && left.statistics == right.statistics);
    for (size_t i = 0; i < left.count; i++) {
        IST_ASSERT(ist_span_equal(left.replies[i], right.replies[i]));
    }
}

static void compare(struct side *a, struct side *b) {
    struct ist_store_usage left, right;
    compare_replies(&a->out, &b->out);
    IST_ASSERT(ist_session_wants(a->session) == ist_session_wants(b->session));
    ist_engine_check(a->world.engine);
    ist_engine_check(b->world.engine);
    ist_store_usage(a->world.store, &left);
    ist_store_usage(b->world.store, &right);
    IST_ASSERT(left.keys == right.keys && left.value_bytes == right.value_bytes);
    IST_ASSERT(left.evicted_entries == 0 && right.evicted_entries == 0);
    IST_ASSERT(left.free_bytes + left.reserved_bytes == right.free_bytes + right.reserved_bytes);
}

static void read_stream(struct fuzz_input *input, struct bytes *stream) {
    struct script_record record;
    while (script_next(input, &record) && stream->count < STREAM_BYTES_MAX) {
        if (record.kind % EVENTS == SAY) {
            bytes_add(stream, record.data.data, record.data.bytes);
        } else {
            struct fuzz_input choices = fuzz_input_of(record.data.data, record.data.bytes);
            struct script phrase = {0};
            phrase_append(&phrase, &choices, false);
            bytes_add(stream, phrase.data, phrase.bytes);
            script_free(&phrase);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct side whole, cut;
    struct fuzz_input input = fuzz_input_of(data, bytes);
    struct bytes stream = {0};
    uint8_t options[OPTION_BYTES] = {0};
    struct ist_span taken = fuzz_take(&input, OPTION_BYTES);
    memcpy(options, taken.data, taken.bytes);
    struct fuzz_input seed = fuzz_input_of(options + 3, 4);
    read_stream(&input, &stream);
    side_begin(&whole, options);
    side_begin(&cut, options);
    edge_run(&whole.world, whole.session, &stream, &whole.out);
    feed_in_pieces(&cut, &stream, fuzz_number(&seed, 4));
    compare(&whole, &cut);
    side_end(&whole);
    side_end(&cut);
    bytes_free(&stream);
    return 0;
}

/* ---- mutator and seeds -------------------------------------------------------------------------------------- */

static void invent(struct script *script, struct fuzz_input *random) {
    uint8_t how = fuzz_u8(random);
    struct ist_span choices = fuzz_take(random, 40);
    if (how < 170) {
        script_record(script, ASK, 0, choices.data, choices.bytes);
        return;
    }
    struct script said = {0};
    struct fuzz_input input = fuzz_input_of(choices.data, choices.bytes);
    phrase_append(&said, &input, false);
    script_record(script, SAY, 0, said.data, said.bytes < 1500 ? said.bytes : 1500);
    script_free(&said);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed) {
    static const struct script_grammar grammar = {
        .option_bytes = OPTION_BYTES, .kinds = EVENTS, .invent = invent};
    return script_mutate(&grammar, data, bytes, bytes_max, seed);
}

void fuzz_seeds(fuzz_seed_fn seed) {
    static const uint8_t asked[][16] = {
        {IST_OP_HELLO - 1, 0, 1},
        {IST_OP_PUT - 1, 0, 2, 4, 0, 20, 0, 1, 0, 0, 2, 1, 2, 10, 200, 3},
        {IST_OP_PUT - 1, 1, 3, 3, 0, 20, 1, 3, 63, 0, 9, 1, 1},
        {IST_OP_GET - 1, 0, 4, 4, 0, 255, 1, 1, 255, 1, 2, 0, 0, 5, 1, 1},
        {IST_OP_EXISTS - 1, 0, 5, 2, 0, 0, 0, 9},
        {IST_OP_MATCH_PREFIX - 1, 0, 6, 2, 0, 0, 0, 7},
        {IST_OP_MATCH_LAST - 1, 0, 7, 2, 7, 0, 0, 7},
        {IST_OP_PUT - 1, 0, 8, 255},
        {IST_OP_GET - 1, 0, 9, 255},
        {IST_OP_REMOVE - 1, 0, 10, 1},
        {IST_OP_STAT - 1, 0, 11},
        {IST_OP_PING - 1, 0, 12},
        {IST_OP_PURGE - 1, 0, 13},
        {IST_OP_GET - 1, 255, 14},
    };
    struct script script = {0};
    for (uint8_t i = 0; i < 6; i++) {
        const char name[] = {'c', 'u', 't', (char)('0' + i), '\0'};
        const uint8_t options[OPTION_BYTES] = {i % 2 == 0 ? 127 : 9, i == 4 ? 2 : 0, i == 3 ? 20 : 0, 0,
                                               i};
        script.bytes = 0;
        script_bytes(&script, options, sizeof(options));
        for (size_t k = 0; k < sizeof(asked) / sizeof(asked[0]); k++) {
            script_record(&script, ASK, 0, asked[k], sizeof(asked[k]));
        }
        seed(name, script.data, script.bytes);
    }
    script_free(&script);
}

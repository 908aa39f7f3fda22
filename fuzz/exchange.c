/* A client's exchange against a server that says what the input wants: good replies to what was asked, replies that
 * were changed, any bytes, in any pieces. Whatever it says, each request ends once, nothing is written outside of the
 * caller's buffers, and the invariants hold. Over the byte stream; the steps up to OPEN also as for RDMA. */
#include "fuzz/exchange.h"
#include "fuzz/fuzz.h"
#include "fuzz/script.h"
#include "tests/talk.h"

#define ASKED_MAX 48u
#define KEYS_MAX 8u
#define VALUE_MAX 600u
#define UNTOUCHED 0x77

/* A request with everything that it borrows. */
struct asked {
    struct answer answer;
    bool is_submitted;
    enum ist_operation operation;
    size_t count;
    uint8_t names[KEYS_MAX];
    struct ist_key keys[KEYS_MAX];
    struct ist_put_item puts[KEYS_MAX];
    struct ist_get_item gets[KEYS_MAX];
    uint8_t *values[KEYS_MAX]; /* of just their length: one byte too far is seen */
    uint64_t bytes[KEYS_MAX];
    bool present[KEYS_MAX];
    size_t number;
    int64_t index;
    uint64_t purged;
    struct ist_metrics *metrics;
};

struct play {
    struct talk talk;
    struct asked asked[ASKED_MAX];
    size_t asked_count;
    struct bytes out;
};

/* ---- the caller -------------------------------------------------------------------------------------------- */

static enum ist_status make(struct play *play, struct asked *asked, bool if_absent,
                            struct ist_request **request) {
    const struct ist_alloc *alloc = &play->talk.failing.alloc;
    size_t count = asked->count;
    switch (asked->operation) {
    case IST_OP_PUT:
        return ist_request_new_put(alloc, asked->puts, count, if_absent ? IST_IF_ABSENT : 0, request);
    case IST_OP_GET: return ist_request_new_get(alloc, asked->gets, count, request);
    case IST_OP_EXISTS:
        return ist_request_new_exists(alloc, asked->keys, count, asked->present, request);
    case IST_OP_MATCH_PREFIX:
    case IST_OP_REMOVE:
        return ist_request_new_number(alloc, asked->operation, asked->keys, count, &asked->number,
                                      request);
    case IST_OP_MATCH_LAST:
        return ist_request_new_match_last(alloc, asked->keys, count, &asked->index, request);
    case IST_OP_PURGE: return ist_request_new_purge(alloc, &asked->purged, request);
    case IST_OP_STAT: return ist_request_new_stat(alloc, &asked->metrics, request);
    case IST_OP_HELLO:
    case IST_OP_CONNECT:
    case IST_OP_PING: break;
    }
    return ist_request_new_ping(alloc, request);
}

static void ask(struct play *play, struct fuzz_input *input) {
    if (play->asked_count == ASKED_MAX) {
        return;
    }
    struct asked *asked = &play->asked[play->asked_count++];
    *asked = (struct asked){.operation = (enum ist_operation)(2 + fuzz_u8(input) % 9)};
    uint8_t how = fuzz_u8(input);
    asked->count = fuzz_u8(input) % (KEYS_MAX + 1);
    for (size_t i = 0; i < asked->count; i++) {
        asked->names[i] = fuzz_u8(input);
        asked->bytes[i] = 1 + fuzz_u16(input) % VALUE_MAX;
        asked->values[i] = malloc((size_t)asked->bytes[i]);
        IST_ASSERT(asked->values[i] != NULL);
        memset(asked->values[i], UNTOUCHED, (size_t)asked->bytes[i]);
        asked->keys[i] = (struct ist_key){.data = &asked->names[i], .bytes = 1};
        asked->puts[i] = (struct ist_put_item){
            .key = asked->keys[i], .value = asked->values[i], .value_bytes = asked->bytes[i]};
        asked->gets[i] = (struct ist_get_item){
            .key = asked->keys[i], .buffer = asked->values[i], .buffer_bytes = asked->bytes[i]};
    }
    struct ist_request *request;
    enum ist_status made = make(play, asked, how % 2 == 1, &request);
    IST_ASSERT(made == IST_OK || made == IST_INVALID || made == IST_NO_MEMORY);
    uint64_t deadline_ns =
        how < 128 ? TALK_NEVER : play->talk.now_ns + (uint64_t)(how - 128) * 50000000;
    asked->is_submitted =
        talk_submit(&play->talk, made, request, &asked->answer, deadline_ns) == IST_OK;
}

static void check_item(const struct asked *asked, size_t i) {
    const struct ist_get_item *item = &asked->gets[i];
    IST_ASSERT(strcmp(ist_status_name(item->status), "UNKNOWN") != 0);
    if (item->status == IST_OK) {
        IST_ASSERT(item->value_bytes <= item->buffer_bytes);
        for (uint64_t k = item->value_bytes; k < item->buffer_bytes; k++) {
            IST_ASSERT(asked->values[i][k] == UNTOUCHED);
        }
    }
}

/* What an answer may be. */
static void check_answer(const struct asked *asked) {
    IST_ASSERT(asked->answer.calls == asked->is_submitted);
    if (!asked->is_submitted || asked->answer.status != IST_OK) {
        return;
    }
    for (size_t i = 0; i < asked->count && asked->operation == IST_OP_GET; i++) {
        check_item(asked, i);
    }
    for (size_t i = 0; i < asked->count && asked->operation == IST_OP_PUT; i++) {
        IST_ASSERT(strcmp(ist_status_name(asked->puts[i].status), "UNKNOWN") != 0);
    }
    IST_ASSERT(asked->operation != IST_OP_MATCH_LAST ||
               (asked->index >= -1 && asked->index < (int64_t)asked->count));
    IST_ASSERT((asked->operation != IST_OP_MATCH_PREFIX && asked->operation != IST_OP_REMOVE) ||
               asked->number <= asked->count);
}

static void end_asked(struct asked *asked) {
    check_answer(asked);
    for (size_t i = 0; i < asked->count; i++) {
        free(asked->values[i]);
    }
    ist_metrics_free(asked->metrics);
}

/* ---- the server -------------------------------------------------------------------------------------------- */

static void say_stat(struct bytes *out, const struct heard *heard) {
    const struct ist_codec_metric metrics[] = {{ist_span_of_string("keys"), 3},
                                               {ist_span_of_string("a{b=\"c\"}"), 0.5}};
    uint8_t body[256];
    size_t written;
    IST_ASSERT(ist_codec_encode_metrics(metrics, 2, body, sizeof(body), &written) == IST_OK);
    say_header(out, IST_OP_STAT, IST_FRAME_REPLY, heard->frame.request_id, (uint32_t)written, 0);
    bytes_add(out, body, written);
}

static void say_endpoint(struct bytes *out, const struct heard *heard, uint8_t how) {
    const struct ist_endpoint end = {.end = {.number = 77,
                                             .packet_number = 1,
                                             .gid = {0xfe, 0x80, [15] = 1},
                                             .mtu_bytes = 1024,
                                             .reads = 4,
                                             .messages = 8,
                                             .message_bytes = 4096}};
    const struct ist_endpoint none = {.status = IST_DEVICE};
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    IST_ASSERT(ist_codec_encode_endpoint(how % 4 == 3 ? &none : &end, body, sizeof(body), &written) ==
               IST_OK);
    say_header(out, IST_OP_CONNECT, IST_FRAME_REPLY, heard->frame.request_id, (uint32_t)written, 0);
    bytes_add(out, body, written);
}

/* A reply to what was heard, of the input's choices: mostly a good one. */
static void say_keys_reply(struct bytes *out, const struct heard *heard, struct fuzz_input *input) {
    static const enum ist_status statuses[] = {IST_OK,      IST_OK,       IST_NOT_FOUND,
                                               IST_EXISTS,  IST_NO_SPACE, IST_TOO_SMALL,
                                               IST_INVALID, IST_NO_MEMORY};
    uint8_t status[HEARD_KEYS_MAX], how = fuzz_u8(input);
    uint64_t lengths[HEARD_KEYS_MAX], payload_bytes = 0;
    bool is_get = heard->frame.operation == IST_OP_GET;
    struct ist_keys_reply reply = {.status = how == 255 ? statuses[2] : IST_OK};
    for (size_t i = 0; i < heard->count; i++) {
        uint8_t choice = fuzz_u8(input);
        status[i] = (uint8_t)statuses[choice % 8];
        lengths[i] = status[i] == IST_OK          ? heard->lengths[i] * (choice / 8u) / 31
                     : status[i] == IST_TOO_SMALL ? heard->lengths[i] + 1
                                                  : 0;
        payload_bytes += is_get && status[i] == IST_OK ? lengths[i] : 0;
    }
    if (heard->frame.operation <= IST_OP_EXISTS && reply.status == IST_OK) {
        reply.key_status = ist_span_of(status, heard->count);
        reply.lengths = lengths;
        reply.length_count = is_get ? heard->count : 0;
    } else if (reply.status == IST_OK) {
        reply.count = fuzz_u8(input) % (heard->count + 2);
    }
    say_reply(out, heard, &reply, reply.status == IST_OK ? payload_bytes : 0);
    for (uint64_t i = 0; reply.status == IST_OK && i < payload_bytes; i++) {
        bytes_add(out, &how, 1);
    }
}

static void say_answer(struct bytes *out, const struct heard *heard, struct fuzz_input *input) {
    switch (heard->frame.operation) {
    case IST_OP_HELLO: say_hello_reply(out, heard->frame.request_id, usual_server()); break;
    case IST_OP_STAT: say_stat(out, heard); break;
    case IST_OP_CONNECT: say_endpoint(out, heard, fuzz_u8(input)); break;
    case IST_OP_PING:
        say_header(out, IST_OP_PING, IST_FRAME_REPLY, heard->frame.request_id, 0, 0);
        break;
    case IST_OP_PUT:
    case IST_OP_GET:
    case IST_OP_EXISTS:
    case IST_OP_MATCH_PREFIX:
    case IST_OP_MATCH_LAST:
    case IST_OP_REMOVE:
    case IST_OP_PURGE: say_keys_reply(out, heard, input); break;
    }
}

/* Answers the oldest request that has arrived, with one byte changed when the input says so. */
static void answer(struct play *play, uint8_t argument, struct fuzz_input *input) {
    struct heard heard;
    if (play->talk.said.count == play->talk.heard || !talk_hear(&play->talk, &heard)) {
        return;
    }
    play->out.count = 0;
    uint32_t where = argument >= 200 ? fuzz_u16(input) : 0;
    uint8_t change = argument >= 200 ? fuzz_u8(input) : 0;
    say_answer(&play->out, &heard, input);
    play->out.data[where % play->out.count] ^= change;
    (void)talk_feed(&play->talk, play->out.data, play->out.count);
}

/* ---- events ------------------------------------------------------------------------------------------------ */

static void choose_pieces(struct talk *talk, uint8_t argument) {
    static const size_t bytes[] = {SIZE_MAX, 1, 7, 33};
    talk->feed_max = talk->take_max = bytes[argument % 4];
    talk->buffers_max = argument % 8 < 4 ? 64 : 1 + argument % 3u;
}

static void begin(struct play *play, bool choice) {
    enum ist_exchange_state state = ist_exchange_state(play->talk.exchange);
    if (state == IST_EXCHANGE_CLOSED) {
        play->talk.said.count = play->talk.heard = 0;
        ist_exchange_begin(play->talk.exchange, choice);
        talk_check(&play->talk);
    }
}

/* What an edge would do next on the way to OPEN. */
static void go_on(struct play *play, uint8_t how) {
    static const struct ist_endpoint own = {.end = {.number = 5,
                                                    .packet_number = 6,
                                                    .gid = {0xfe, 0x80, [15] = 9},
                                                    .mtu_bytes = 1024,
                                                    .reads = 4,
                                                    .messages = 8,
                                                    .message_bytes = 4096}};
    struct ist_exchange *exchange = play->talk.exchange;
    enum ist_exchange_state state = ist_exchange_state(exchange);
    if (state == IST_EXCHANGE_CHOICE && how % 2 == 1) {
        ist_exchange_connect(exchange, &own);
    } else if (state == IST_EXCHANGE_CHOICE || state == IST_EXCHANGE_CONNECTED) {
        IST_ASSERT(state == IST_EXCHANGE_CHOICE || ist_exchange_peer(exchange) != NULL);
        ist_exchange_open(exchange, NULL);
    }
    talk_check(&play->talk);
}

static void play_record(struct play *play, const struct script_record *record) {
    struct fuzz_input input = fuzz_input_of(record->data.data, record->data.bytes);
    choose_pieces(&play->talk, record->argument);
    switch ((enum exchange_event)(record->kind % EXCHANGE_EVENTS)) {
    case EXCHANGE_BEGIN: begin(play, record->argument >= 128); break;
    case EXCHANGE_GO_ON: go_on(play, record->argument); break;
    case EXCHANGE_ASK: ask(play, &input); break;
    case EXCHANGE_TAKE:
        (void)talk_take(&play->talk, input.bytes == 0 ? SIZE_MAX : fuzz_u16(&input));
        break;
    case EXCHANGE_ANSWER: answer(play, record->argument, &input); break;
    case EXCHANGE_SAY: (void)talk_feed(&play->talk, record->data.data, record->data.bytes); break;
    case EXCHANGE_TIME:
        talk_tick(&play->talk, play->talk.now_ns + fuzz_number(&input, 2) * 1000000);
        break;
    case EXCHANGE_END: talk_end(&play->talk, record->argument % 2 == 0 ? IST_PEER : IST_TIMEOUT); break;
    case EXCHANGE_FAIL:
        play->talk.failing.fail_at = play->talk.failing.calls + record->argument % 8u;
        break;
    case EXCHANGE_EVENTS: break;
    }
    talk_reap(&play->talk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct play play;
    struct fuzz_input input = fuzz_input_of(data, bytes);
    struct script_record record;
    play.asked_count = 0;
    talk_init(&play.talk);
    while (script_next(&input, &record)) {
        play_record(&play, &record);
    }
    play.talk.failing.fail_at = 0;
    talk_end(&play.talk, IST_PEER);
    while (play.asked_count > 0) {
        end_asked(&play.asked[--play.asked_count]);
    }
    talk_fini(&play.talk);
    bytes_free(&play.out);
    return 0;
}

/* ---- mutator and seeds ------------------------------------------------------------------------------------- */

static void invent(struct script *script, struct fuzz_input *random) {
    uint8_t what = fuzz_u8(random), argument = fuzz_u8(random);
    struct ist_span choices = fuzz_take(random, 30);
    if (what < 80) {
        script_record(script, EXCHANGE_ASK, argument, choices.data, choices.bytes);
        script_record(script, EXCHANGE_TAKE, argument, NULL, 0);
    } else if (what < 200) {
        script_record(script, EXCHANGE_ANSWER, argument, choices.data, choices.bytes);
    } else {
        script_record(script, what % EXCHANGE_EVENTS, argument, choices.data, what % 3);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed) {
    static const struct script_grammar grammar = {.kinds = EXCHANGE_EVENTS, .invent = invent};
    return script_mutate(&grammar, data, bytes, bytes_max, seed);
}

static void open_first(struct script *script, uint8_t argument) {
    script->bytes = 0;
    script_record(script, EXCHANGE_BEGIN, argument, NULL, 0);
    script_record(script, EXCHANGE_TAKE, argument, NULL, 0);
    script_record(script, EXCHANGE_ANSWER, argument % 8, NULL, 0);
    script_record(script, EXCHANGE_GO_ON, argument, NULL, 0);
}

static void ask_all(struct script *script, uint8_t how) {
    for (uint8_t operation = 0; operation < 9; operation++) {
        const uint8_t choices[] = {operation, how, 3, 'a', 9, 0, 'b', 99, 0, 'c', 88, 1};
        script_record(script, EXCHANGE_ASK, 0, choices, sizeof(choices));
    }
}

static void answer_all(struct script *script, uint8_t argument) {
    for (uint8_t i = 0; i < 9; i++) {
        const uint8_t choices[] = {(uint8_t)(40 + i), 1, i, 255, 2, 253};
        script_record(script, EXCHANGE_ANSWER, argument, choices, sizeof(choices));
    }
}

void fuzz_seeds(fuzz_seed_fn seed) {
    struct script script = {0};
    for (uint8_t cut = 0; cut < 4; cut++) {
        const char name[] = {'c', 'u', 't', (char)('0' + cut), '\0'};
        open_first(&script, cut);
        ask_all(&script, cut);
        script_record(&script, EXCHANGE_TAKE, cut, NULL, 0);
        answer_all(&script, cut);
        seed(name, script.data, script.bytes);
    }
    open_first(&script, 0);
    ask_all(&script, 200);
    script_record(&script, EXCHANGE_TAKE, 0, "\300\0", 2); /* a put is sent in part */
    script_record(&script, EXCHANGE_TIME, 0, "\377\377", 2);
    script_record(&script, EXCHANGE_END, 1, NULL, 0);
    seed("late", script.data, script.bytes);
    open_first(&script, 0);
    ask_all(&script, 0);
    script_record(&script, EXCHANGE_TAKE, 0, NULL, 0);
    answer_all(&script, 201);
    seed("changed", script.data, script.bytes);
    open_first(&script, 0);
    ask_all(&script, 0);
    script_record(&script, EXCHANGE_TAKE, 0, NULL, 0);
    script_record(&script, EXCHANGE_SAY, 0, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    seed("stranger", script.data, script.bytes);
    for (uint8_t how = 128; how < 130; how++) {
        open_first(&script, how);
        script_record(&script, EXCHANGE_TAKE, 0, NULL, 0);
        script_record(&script, EXCHANGE_ANSWER, 0, how == 129 ? "\3" : "\0", 1);
        script_record(&script, EXCHANGE_GO_ON, 0, NULL, 0);
        ask_all(&script, 0);
        script_record(&script, EXCHANGE_TAKE, 0, NULL, 0);
        answer_all(&script, 0);
        seed(how == 128 ? "choice" : "connect", script.data, script.bytes);
    }
    open_first(&script, 0);
    script_record(&script, EXCHANGE_FAIL, 3, NULL, 0);
    ask_all(&script, 0);
    script_record(&script, EXCHANGE_FAIL, 1, NULL, 0);
    script_record(&script, EXCHANGE_TAKE, 0, NULL, 0);
    answer_all(&script, 0);
    seed("no_memory", script.data, script.bytes);
    script_free(&script);
}

/* Stories for the target `session`, one for each thing that a session can live through. */
#include "fuzz/phrase.h"
#include "fuzz/session.h"
#include "wire/frame.h"

/* ---- events ------------------------------------------------------------------------------------------------ */

#define BYTE_BY_BYTE (1u << 2)
#define IN_SEVENS (3u << 2)
#define ONE_BUFFER (1u << 5)

static void begin(struct script *s, uint8_t blocks, uint8_t sessions, uint8_t in_flight,
                  uint16_t queued, uint16_t fail_at) {
    const uint8_t options[SESSION_OPTION_BYTES] = {
        (uint8_t)(blocks - 1),   (uint8_t)(sessions - 1 + 128), in_flight,
        (uint8_t)queued,         (uint8_t)(queued >> 8),        (uint8_t)fail_at,
        (uint8_t)(fail_at >> 8),
    };
    s->bytes = 0;
    script_bytes(s, options, sizeof(options));
}

static void event(struct script *s, enum session_event kind, unsigned argument) {
    script_record(s, (uint8_t)kind, (uint8_t)argument, NULL, 0);
}

static void event_of(struct script *s, enum session_event kind, unsigned argument, uint16_t number) {
    const uint8_t data[2] = {(uint8_t)number, (uint8_t)(number >> 8)};
    script_record(s, (uint8_t)kind, (uint8_t)argument, data, sizeof(data));
}

static void ask(struct script *s, unsigned slot, enum ist_operation operation, uint8_t id,
                const uint8_t *keys, uint16_t length, size_t count) {
    struct script choices = {0};
    const uint8_t head[] = {(uint8_t)(operation - 1), 0, id, (uint8_t)count};
    script_bytes(&choices, head, sizeof(head));
    for (size_t i = 0; keys != NULL && i < count; i++) {
        const uint8_t key[] = {keys[i], (uint8_t)length, (uint8_t)(length >> 8)};
        script_bytes(&choices, key, sizeof(key));
    }
    script_record(s, SESSION_ASK, (uint8_t)slot, choices.data, choices.bytes);
    script_free(&choices);
}

static void ask_one(struct script *s, unsigned slot, enum ist_operation operation, uint8_t id,
                    uint8_t key, uint16_t length) {
    ask(s, slot, operation, id, &key, length, 1);
}

static void hello(struct script *s, unsigned slot) {
    event(s, SESSION_OPEN, slot);
    ask(s, slot, IST_OP_HELLO, 1, NULL, 0, 0);
}

/* One frame of each operation, as bytes. */
static void say_all(struct script *s, unsigned argument) {
    static const uint8_t choices[][12] = {
        {IST_OP_HELLO - 1, 0, 1},
        {IST_OP_PUT - 1, 0, 2, 3, 0, 20, 0, 1, 0, 0, 2, 1},
        {IST_OP_GET - 1, 0, 3, 2, 0, 255, 1, 5, 9, 0},
        {IST_OP_EXISTS - 1, 0, 4, 2, 0, 0, 0, 9},
        {IST_OP_MATCH_PREFIX - 1, 0, 5, 1},
        {IST_OP_MATCH_LAST - 1, 0, 6, 1},
        {IST_OP_REMOVE - 1, 0, 7, 1},
        {IST_OP_STAT - 1, 0, 8},
        {IST_OP_PING - 1, 0, 9},
        {IST_OP_PURGE - 1, 0, 10},
    };
    struct script said = {0};
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        struct fuzz_input input = fuzz_input_of(choices[i], sizeof(choices[i]));
        phrase_append(&said, &input, false);
    }
    script_record(s, SESSION_SAY, (uint8_t)argument, said.data, said.bytes);
    script_free(&said);
}

/* ---- stories over a stream -------------------------------------------------------------------------------- */

static const uint8_t some[] = {0, 1, 2, 3, 10, 11, 9, 0};

static void every_operation(struct script *s) {
    begin(s, 64, 2, 0, 0, 0);
    hello(s, 0);
    ask(s, 0, IST_OP_PUT, 2, some, 600, 8);
    ask(s, 0, IST_OP_GET, 3, some, 700, 8);
    ask(s, 0, IST_OP_GET, 4, some, 10, 3); /* too small */
    for (unsigned operation = IST_OP_EXISTS; operation <= IST_OP_MATCH_LAST; operation++) {
        ask(s, 0, (enum ist_operation)operation, (uint8_t)operation, some, 0, 6);
    }
    ask(s, 0, IST_OP_STAT, 20, NULL, 0, 0);
    ask(s, 0, IST_OP_PING, 21, NULL, 0, 0);
    ask(s, 0, IST_OP_REMOVE, 22, some, 0, 4);
    ask(s, 0, IST_OP_PURGE, 23, NULL, 0, 0);
    event_of(s, SESSION_ADMIN, 2, 0);
    event(s, SESSION_TAKE, 0);
    event(s, SESSION_CLOSE, 0);
}

static void long_bodies(struct script *s) {
    begin(s, 128, 1, 0, 0, 0);
    s->data[1] = 0; /* too many calls to check after each */
    hello(s, 0);
    ask(s, 0, IST_OP_PUT, 2, NULL, 0, 255);
    ask(s, 0, IST_OP_GET, 3, NULL, 0, 255);
    event_of(s, SESSION_TAKE, 0, 777);
    event(s, SESSION_TAKE, ONE_BUFFER);
    ask(s, ONE_BUFFER + (6u << 2), IST_OP_EXISTS, 4, NULL, 0, 255);
    ask(s, 0, IST_OP_MATCH_LAST, 5, NULL, 0, 255);
    event(s, SESSION_CLOSE, 0);
}

static void in_pieces(struct script *s) {
    begin(s, 64, 2, 0, 0, 0);
    event(s, SESSION_OPEN, 0);
    say_all(s, BYTE_BY_BYTE);
    event_of(s, SESSION_TAKE, BYTE_BY_BYTE, 300);
    event(s, SESSION_OPEN, 1);
    say_all(s, 1 + IN_SEVENS + ONE_BUFFER);
    event(s, SESSION_TAKE, 1 + IN_SEVENS);
}

/* Readers hold what is overwritten, removed and evicted. */
static void readers_and_writers(struct script *s) {
    begin(s, 16, 3, 0, 0, 0);
    hello(s, 0);
    hello(s, 1);
    for (uint8_t key = 0; key < 6; key++) {
        ask_one(s, 0, IST_OP_PUT, key, key, 2000);
    }
    ask(s, 1, IST_OP_GET, 50, some, 2999, 4);
    event_of(s, SESSION_TAKE, 1, 2100);
    ask_one(s, 0, IST_OP_PUT, 60, 0, 1500);
    ask_one(s, 0, IST_OP_REMOVE, 61, 1, 0);
    ask(s, 0, IST_OP_PUT, 62, some, 2500, 8); /* more than there is */
    event_of(s, SESSION_ADMIN, 1, 4096);
    event_of(s, SESSION_ADMIN, 0, 0);
    event(s, SESSION_TAKE, 1);
    event(s, SESSION_TAKE, 0);
}

/* Limits of what a session may have in flight and queued. */
static void limits(struct script *s) {
    begin(s, 64, 1, 2, 40, 0);
    hello(s, 0);
    ask_one(s, 0, IST_OP_PUT, 2, 0, 900);
    for (uint8_t i = 0; i < 6; i++) {
        ask_one(s, 0, IST_OP_GET, i, 0, 999);
        ask(s, 0, IST_OP_STAT, (uint8_t)(10 + i), NULL, 0, 0);
    }
    event_of(s, SESSION_TAKE, 0, 1000);
    event(s, SESSION_OPEN, 1); /* one too many */
    event(s, SESSION_TAKE, 0);
}

/* Nobody says HELLO; half a request; a reply that nobody takes. */
static void out_of_time(struct script *s) {
    begin(s, 64, 4, 0, 0, 0);
    event(s, SESSION_OPEN, 0);
    hello(s, 1);
    hello(s, 2);
    event(s, SESSION_TAKE, 1);
    event(s, SESSION_TAKE, 2);
    script_record(s, SESSION_SAY, 1, "INST\1\2\0", 7);
    ask_one(s, 2, IST_OP_PUT, 3, 0, 2999);
    ask_one(s, 2, IST_OP_GET, 4, 0, 2999);
    event_of(s, SESSION_TIME, 0, 9000);
    event_of(s, SESSION_TIME, 0, 2000);
    event_of(s, SESSION_TAKE, 2, 100);
    event_of(s, SESSION_TIME, 0, 29000);
    event_of(s, SESSION_TIME, 0, 60000);
}

static void drain(struct script *s) {
    begin(s, 64, 4, 0, 0, 0);
    event(s, SESSION_OPEN, 0);
    hello(s, 1);
    hello(s, 2);
    event(s, SESSION_TAKE, 2);
    script_record(s, SESSION_SAY, 2, "INST\1\2\0", 7);
    ask_one(s, 1, IST_OP_PUT, 3, 0, 100);
    ask_one(s, 1, IST_OP_GET, 4, 0, 100);
    event(s, SESSION_ADMIN, 255);
    event(s, SESSION_OPEN, 3);
    event(s, SESSION_TAKE, 1);
}

static void say_frame(struct script *s, unsigned slot, struct ist_frame frame) {
    uint8_t header[IST_FRAME_BYTES];
    ist_frame_encode(&frame, header);
    script_record(s, SESSION_SAY, (uint8_t)slot, header, sizeof(header));
}

/* Each ends its session. */
static void broken_rules(struct script *s) {
    static const struct ist_frame frames[] = {
        {IST_OP_HELLO, 0, 1, 0, 0},
        {IST_OP_GET, IST_FRAME_IF_ABSENT, 2, 0, 0},
        {IST_OP_GET, 0, 3, 0, 5},
        {IST_OP_PING, 0, 4, IST_HELLO_BYTES_MAX + 1, 0},
        {IST_OP_PUT, 0, 5, IST_BODY_BYTES_MAX, 0},
        {IST_OP_PUT, IST_FRAME_REPLY, 6, 0, 0},
        {IST_OP_EXISTS, 0, 7, 3, 0},
        {IST_OP_PUT, 0, 8, 0, 10},
        {IST_OP_CONNECT, 0, 9, 3, 0},
    };
    begin(s, 8, 1, 0, 0, 0);
    hello(s, 0);
    script_record(s, SESSION_SAY, 0, "INST\1\2\0\0........\377\377\377\377\0\0\0\0........", 32);
    event(s, SESSION_TAKE, 0); /* a body that nobody would read */
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        hello(s, 0);
        say_frame(s, 0, frames[i]);
        script_record(s, SESSION_SAY, 0, "\12\200\200", 3); /* no body that can be read */
        event(s, SESSION_TAKE, 0);
        event(s, SESSION_CLOSE, 0);
    }
    event(s, SESSION_OPEN, 0);
    ask(s, 0, IST_OP_PING, 1, NULL, 0, 0);
    event(s, SESSION_TAKE, 0);
    event(s, SESSION_OPEN, 0);
    script_record(s, SESSION_SAY, 0, "GET / HTTP/1.1\r\n\r\n", 18);
    event(s, SESSION_TAKE, 0);
    /* HELLO of a version that there is not, and one that cannot be read */
    event(s, SESSION_OPEN, 0);
    script_record(s, SESSION_ASK, 0, "\0\0\1\360", 4);
    event(s, SESSION_TAKE, 0);
    event(s, SESSION_OPEN, 0);
    say_frame(s, 0, (struct ist_frame){IST_OP_HELLO, 0, 1, 3, 0});
    script_record(s, SESSION_SAY, 0, "\12\200\200", 3);
    event(s, SESSION_TAKE, 0);
}

/* No memory, at the worst moments: for the stage, a body, a put, its blocks, a reply. */
static void starved(struct script *s) {
    begin(s, 64, 2, 0, 0, 0);
    hello(s, 0);
    event(s, SESSION_TAKE, 0);
    event(s, SESSION_STARVE, 1);
    ask_one(s, 0, IST_OP_PUT, 2, 0, 1000);
    event(s, SESSION_STARVE, 0);
    event(s, SESSION_TAKE, 0);
    ask_one(s, 0, IST_OP_PUT, 3, 0, 1000);
    ask(s, 0, IST_OP_PING, 4, NULL, 0, 0); /* a chunk with room: the next reply fits */
    event(s, SESSION_STARVE, 1);
    ask(s, 0, IST_OP_PUT, 5, some, 700, 4);
    ask_one(s, 0, IST_OP_GET, 6, 0, 1000);
    ask(s, 0, IST_OP_EXISTS, 7, NULL, 0, 255);
    ask(s, 0, IST_OP_STAT, 8, NULL, 0, 0);
    event(s, SESSION_TAKE, 0);
    event(s, SESSION_OPEN, 1);
}

/* ---- stories over RDMA ------------------------------------------------------------------------------------ */

static void connect_story(struct script *s) {
    begin(s, 8, 4, 0, 0, 0);
    for (unsigned slot = 0; slot < 2; slot++) {
        hello(s, slot);
        ask(s, slot, IST_OP_CONNECT, 2, NULL, 0, 7);
        event_of(s, SESSION_CONNECT, slot, slot == 0 ? 0 : 200);
        ask(s, slot, IST_OP_CONNECT, 3, NULL, 0, 7);
        event(s, SESSION_TAKE, slot);
    }
    event(s, SESSION_OPEN_RDMA, 2);
    ask(s, 2, IST_OP_CONNECT, 3, NULL, 0, 7); /* not there */
    event(s, SESSION_TAKE, 2);
}

static void rdma(struct script *s) {
    begin(s, 64, 4, 0, 0, 0);
    event(s, SESSION_OPEN_RDMA, 0);
    ask(s, 0, IST_OP_PUT, 1, some, 1000, 8);
    event_of(s, SESSION_POST, 0, 0);
    event_of(s, SESSION_POST, 0, 9);
    event_of(s, SESSION_COMPLETE, 0, 2);
    event_of(s, SESSION_COMPLETE, 0, 9);
    ask(s, 0, IST_OP_GET, 2, some, 2000, 8);
    event_of(s, SESSION_POST, 0, 9);
    event(s, SESSION_TAKE, 0);
    ask(s, 0, IST_OP_PUT, 3, some, 1000, 3); /* while they are read */
    event_of(s, SESSION_POST, 0, 9);
    event_of(s, SESSION_COMPLETE, 0, 255);
    ask(s, 0, IST_OP_EXISTS, 4, some, 0, 3);
    ask(s, 0, IST_OP_GET, 5, some, 2000, 2);
    event_of(s, SESSION_POST, 0, 0);
    event(s, SESSION_CLOSE, 0); /* in the middle */
    event(s, SESSION_OPEN_RDMA, 1);
    ask(s, 1, IST_OP_GET, 6, some, 2000, 5);
    event_of(s, SESSION_TIME, 0, 40000);
}

/* Two writers of one key, a pool that is too small for what both want, no memory, and time. */
static void rdma_trouble(struct script *s) {
    begin(s, 8, 4, 0, 0, 0);
    event(s, SESSION_OPEN_RDMA, 0);
    event(s, SESSION_OPEN_RDMA, 1);
    ask(s, 0, IST_OP_PUT, 1, some, 2000, 2);
    ask(s, 1, IST_OP_PUT, 1, some, 2000, 3);
    event_of(s, SESSION_POST, 0, 9);
    event_of(s, SESSION_POST, 1, 9);
    event_of(s, SESSION_COMPLETE, 1, 9);
    event_of(s, SESSION_COMPLETE, 0, 9);
    ask_one(s, 0, IST_OP_PUT, 2, 5, 63); /* longer than the pool, and than any memory */
    event(s, SESSION_STARVE, 1);
    ask(s, 0, IST_OP_PUT, 3, some, 100, 2);
    ask(s, 1, IST_OP_GET, 4, some, 2000, 2);
    event(s, SESSION_STARVE, 0);
    ask(s, 1, IST_OP_GET, 5, some, 2000, 2);
    event_of(s, SESSION_POST, 1, 9);
    event_of(s, SESSION_TIME, 0, 31000);
    event_of(s, SESSION_TIME, 0, 31000);
    say_frame(s, 0, (struct ist_frame){IST_OP_PUT, 0, 9, 0, 5});
    event(s, SESSION_ADMIN, 255);
}

void fuzz_seeds(fuzz_seed_fn seed) {
    static const struct {
        const char *name;
        void (*tell)(struct script *);
    } stories[] = {
        {"every_operation", every_operation},
        {"long_bodies", long_bodies},
        {"in_pieces", in_pieces},
        {"readers_and_writers", readers_and_writers},
        {"limits", limits},
        {"out_of_time", out_of_time},
        {"drain", drain},
        {"broken_rules", broken_rules},
        {"starved", starved},
        {"connect", connect_story},
        {"rdma", rdma},
        {"rdma_trouble", rdma_trouble},
    };
    struct script script = {0};
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
        stories[i].tell(&script);
        seed(stories[i].name, script.data, script.bytes);
    }
    /* One conversation, in which each allocation fails once in a while. */
    for (uint16_t fail_at = 9; fail_at < 60; fail_at = (uint16_t)(fail_at + 10)) {
        const char name[] = {'f', 'a', 'i', 'l', (char)('0' + fail_at / 10), '\0'};
        every_operation(&script);
        script.data[5] = (uint8_t)fail_at;
        seed(name, script.data, script.bytes);
    }
    script_free(&script);
}

/* ---- for the mutator -------------------------------------------------------------------------------------- */

void session_invent(struct script *script, struct fuzz_input *random) {
    uint8_t what = fuzz_u8(random), argument = fuzz_u8(random);
    struct ist_span choices = fuzz_take(random, 40);
    struct script said = {0};
    if (what < 100) {
        script_record(script, SESSION_ASK, argument, choices.data, choices.bytes);
    } else if (what < 150) {
        struct fuzz_input input = fuzz_input_of(choices.data, choices.bytes);
        phrase_append(&said, &input, what % 2 == 1);
        size_t most = said.bytes < 1500 ? said.bytes : 1500;
        script_record(script, SESSION_SAY, argument, said.data, most);
        script_free(&said);
    } else if (what < 165) {
        hello(script, argument);
    } else {
        script_record(script, what % SESSION_EVENTS, argument, choices.data, what % 3);
    }
}

/* Conversations of a client's exchange with a scripted server: every split, every truncation, turned bits, no memory.
 * Limits, faults and deadlines have programs of their own. */
#include "client/exchange.h"

#include "client/stage.h"
#include "tests/replay.h"
#include "tests/talk.h"

static struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

/* ---- one conversation with everything in it -------------------------------------------------------------- */

enum { SMALL, MATCH, LAST, REMOVE, PURGE, PUT, GET, STAT, BIG, PING, ASKED };
enum { BIG_BYTES = 40000, KEYS = 4 };

/* What the caller gave; each buffer ends at a page that cannot be touched. */
struct given {
    struct answer answers[ASKED];
    enum ist_status submitted[ASKED];
    struct ist_key keys[KEYS];
    bool present[KEYS];
    size_t matched, removed;
    int64_t last;
    uint64_t purged;
    struct ist_metrics *metrics;
    struct ist_put_item puts[KEYS];
    struct ist_get_item gets[KEYS];
    struct ist_get_item big;
    uint8_t *values[KEYS], *big_value;
};

static const uint64_t value_bytes[KEYS] = {1, 700, 30, 9000};
static const char *const names[KEYS] = {"one", "two", "three", "four"};

static void given_init(struct given *given) {
    *given = (struct given){.matched = 99, .removed = 99, .last = 99, .purged = 99};
    for (size_t i = 0; i < KEYS; i++) {
        given->keys[i] = key_of(names[i]);
        given->values[i] = guarded_new(value_bytes[i]);
        memset(given->values[i], 0x77, value_bytes[i]);
        given->puts[i] = (struct ist_put_item){
            .key = given->keys[i], .value = given->values[i], .value_bytes = value_bytes[i]};
        given->gets[i] = (struct ist_get_item){
            .key = given->keys[i], .buffer = given->values[i], .buffer_bytes = value_bytes[i]};
    }
    given->big_value = guarded_new(BIG_BYTES);
    memset(given->big_value, 0x77, BIG_BYTES);
    given->big = (struct ist_get_item){
        .key = key_of("big"), .buffer = given->big_value, .buffer_bytes = BIG_BYTES};
}

static void given_fini(struct given *given) {
    for (size_t i = 0; i < KEYS; i++) {
        guarded_free(given->values[i], value_bytes[i]);
    }
    guarded_free(given->big_value, BIG_BYTES);
    ist_metrics_free(given->metrics);
}

static void ask(struct talk *talk, struct given *given) {
    const struct ist_alloc *alloc = &talk->failing.alloc;
    struct ist_request *r = NULL;
    for (size_t i = 0; i < ASKED; i++) {
        enum ist_status made = IST_INVALID;
        switch (i) {
        case SMALL: made = ist_request_new_exists(alloc, given->keys, KEYS, given->present, &r); break;
        case MATCH:
            made = ist_request_new_number(alloc, IST_OP_MATCH_PREFIX, given->keys, KEYS,
                                          &given->matched, &r);
            break;
        case LAST: made = ist_request_new_match_last(alloc, given->keys, KEYS, &given->last, &r); break;
        case REMOVE:
            made = ist_request_new_number(alloc, IST_OP_REMOVE, given->keys, KEYS, &given->removed, &r);
            break;
        case PURGE: made = ist_request_new_purge(alloc, &given->purged, &r); break;
        case PUT: made = ist_request_new_put(alloc, given->puts, KEYS, 0, &r); break;
        case GET: made = ist_request_new_get(alloc, given->gets, KEYS, &r); break;
        case STAT: made = ist_request_new_stat(alloc, &given->metrics, &r); break;
        case BIG: made = ist_request_new_get(alloc, &given->big, 1, &r); break;
        case PING: made = ist_request_new_ping(alloc, &r); break;
        }
        given->submitted[i] = talk_submit(talk, made, r, &given->answers[i], 60 * SECOND);
    }
}

/* The scripted server's answer to what it heard. */
static void say_answer(struct bytes *out, const struct heard *heard) {
    static const uint8_t put_status[KEYS] = {IST_OK, IST_EXISTS, IST_NO_SPACE, IST_OK};
    static const uint8_t get_status[KEYS] = {IST_OK, IST_NOT_FOUND, IST_TOO_SMALL, IST_OK};
    static const uint8_t exists_status[KEYS] = {IST_OK, IST_OK, IST_NOT_FOUND, IST_OK};
    static const uint64_t lengths[KEYS] = {1, 0, 31, 8000};
    const uint64_t big_length = BIG_BYTES;
    struct ist_keys_reply reply = {0};
    uint64_t payload_bytes = 0;
    switch (heard->frame.operation) {
    case IST_OP_EXISTS: reply.key_status = ist_span_of(exists_status, KEYS); break;
    case IST_OP_MATCH_PREFIX: reply.count = 2; break;
    case IST_OP_MATCH_LAST: reply.count = 4; break;
    case IST_OP_REMOVE: reply.count = 3; break;
    case IST_OP_PURGE: reply.count = 1u << 20; break;
    case IST_OP_PUT: reply.key_status = ist_span_of(put_status, KEYS); break;
    case IST_OP_GET:
        reply.key_status = ist_span_of(get_status, heard->count);
        reply.lengths = heard->count == 1 ? &big_length : lengths;
        reply.length_count = heard->count;
        payload_bytes = heard->count == 1 ? BIG_BYTES : 8001;
        break;
    case IST_OP_STAT: {
        /* so many that the body does not fit the stage */
        static char text[1000][32];
        static struct ist_codec_metric metrics[1000];
        static uint8_t body[64 << 10];
        size_t written;
        for (size_t i = 0; i < 1000; i++) {
            snprintf(text[i], sizeof(text[i]), "metric{number=\"%zu\"}", i);
            metrics[i] = (struct ist_codec_metric){ist_span_of_string(text[i]), (double)i};
        }
        assert_int_equal(ist_codec_encode_metrics(metrics, 1000, body, sizeof(body), &written), IST_OK);
        assert_true(written > IST_CLIENT_STAGE_BYTES);
        say_header(out, IST_OP_STAT, IST_FRAME_REPLY, heard->frame.request_id, (uint32_t)written, 0);
        bytes_add(out, body, written);
        return;
    }
    case IST_OP_HELLO:
    case IST_OP_CONNECT:
    case IST_OP_PING: break;
    }
    say_reply(out, heard, &reply, payload_bytes);
    say_value(out, (char)heard->count, payload_bytes);
}

/* What was asked is sent and heard; the replies come in an order of the seed. */
static void prepare(struct talk *talk, struct given *given, struct bytes *replies, uint64_t seed) {
    struct heard heard[ASKED];
    talk_open(talk, usual_server());
    ask(talk, given);
    (void)talk_take(talk, SIZE_MAX);
    size_t count = 0;
    while (count < ASKED && talk_hear(talk, &heard[count])) {
        count++;
    }
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)random_below(&seed, i);
        struct heard swapped = heard[i - 1];
        heard[i - 1] = heard[j];
        heard[j] = swapped;
    }
    for (size_t i = 0; i < count; i++) {
        say_answer(replies, &heard[i]);
    }
}

static void assert_answered_well(const struct given *given, size_t which) {
    const enum ist_status status = given->answers[which].status;
    switch (which) {
    case SMALL:
        assert_int_equal(status, IST_OK);
        assert_true(given->present[0] && given->present[1] && given->present[3]);
        assert_false(given->present[2]);
        break;
    case MATCH: assert_int_equal(given->matched, 2); break;
    case LAST: assert_int_equal(given->last, 3); break;
    case REMOVE: assert_int_equal(given->removed, 3); break;
    case PURGE: assert_int_equal(given->purged, 1u << 20); break;
    case PUT:
        assert_int_equal(status, IST_EXISTS);
        assert_int_equal(given->puts[0].status, IST_OK);
        assert_int_equal(given->puts[2].status, IST_NO_SPACE);
        break;
    case GET:
        assert_int_equal(status, IST_NOT_FOUND);
        assert_int_equal(given->gets[1].status, IST_NOT_FOUND);
        assert_int_equal(given->gets[2].status, IST_TOO_SMALL);
        assert_int_equal(given->gets[2].value_bytes, 31);
        assert_int_equal(given->gets[3].value_bytes, 8000);
        assert_int_equal(given->values[0][0], KEYS);
        assert_true(is_value(given->values[3], KEYS + 1, 8000));
        assert_int_equal(given->values[3][8000], 0x77); /* the tail */
        assert_int_equal(given->values[1][0], 0x77);
        assert_int_equal(given->values[2][0], 0x77);
        break;
    case STAT:
        assert_int_equal(given->metrics->count, 1000);
        assert_string_equal(given->metrics->items[999].name, "metric{number=\"999\"}");
        break;
    case BIG: assert_true(is_value(given->big_value, 1, BIG_BYTES)); break;
    case PING: assert_int_equal(status, IST_OK); break;
    }
}

static void assert_all_answered_well(const struct given *given) {
    for (size_t i = 0; i < ASKED; i++) {
        assert_int_equal(given->submitted[i], IST_OK);
        assert_int_equal(given->answers[i].calls, 1);
        assert_answered_well(given, i);
    }
}

static void test_replies__split_at_every_byte__same_answers(void **state) {
    (void)state;
    size_t total = 2;
    size_t step = getenv("IST_TEST_SHORT") == NULL ? 1 : 97, ends = step == 1 ? 400 : 50;
    for (size_t at = 1; at < total; at += at < ends || at + ends > total ? 1 : 13 * step) {
        struct talk talk;
        struct given given;
        struct bytes replies = {0};
        talk_init(&talk);
        talk.unchecked = at % 7 != 0;
        given_init(&given);
        prepare(&talk, &given, &replies, at % 5);
        total = replies.count;
        assert_int_equal(talk_feed(&talk, replies.data, at), at);
        assert_int_equal(talk_feed(&talk, replies.data + at, total - at), total - at);
        assert_all_answered_well(&given);
        assert_int_equal(ist_exchange_in_flight(talk.exchange), 0);
        given_fini(&given);
        talk_fini(&talk);
        bytes_free(&replies);
    }
    assert_true(total > 50000);
}

static void converse_in_pieces(uint64_t seed) {
    struct talk talk;
    struct given given;
    struct bytes replies = {0};
    struct heard heard;
    uint64_t random = seed;
    talk_init(&talk);
    talk.unchecked = true;
    given_init(&given);
    talk_open(&talk, usual_server());
    ask(&talk, &given);
    uint64_t piece_max = 1 + random_below(&random, 5000);
    for (size_t fed = 0; ist_exchange_in_flight(talk.exchange) > 0;) {
        talk.buffers_max = 1 + (size_t)random_below(&random, 6);
        talk.take_max = 1 + (size_t)random_below(&random, piece_max);
        talk.feed_max = 1 + (size_t)random_below(&random, piece_max);
        (void)talk_take(&talk, 1 + (size_t)random_below(&random, piece_max));
        while (talk_hear(&talk, &heard)) {
            say_answer(&replies, &heard);
        }
        size_t left = replies.count - fed;
        size_t piece = left == 0 ? 0 : 1 + (size_t)random_below(&random, left);
        fed += talk_feed(&talk, replies.data + fed, piece);
        talk.unchecked = random_below(&random, 50) > 0;
    }
    assert_all_answered_well(&given);
    given_fini(&given);
    talk_fini(&talk);
    bytes_free(&replies);
}

static void test_both_ways__random_pieces__same_answers(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 150 : 10, converse_in_pieces);
}

static void test_replies__cut_at_every_byte__answered_or_peer(void **state) {
    (void)state;
    size_t total = 1;
    size_t step = getenv("IST_TEST_SHORT") == NULL ? 17 : 997, ends = step == 17 ? 300 : 50;
    for (size_t at = 0; at < total; at += at < ends ? 1 : step) {
        struct talk talk;
        struct given given;
        struct bytes replies = {0};
        talk_init(&talk);
        talk.unchecked = at % 7 != 0;
        given_init(&given);
        prepare(&talk, &given, &replies, 3);
        total = replies.count;
        assert_int_equal(talk_feed(&talk, replies.data, at), at);
        talk_end(&talk, IST_PEER);
        size_t good = 0;
        for (size_t i = 0; i < ASKED; i++) {
            assert_int_equal(given.answers[i].calls, 1);
            if (given.answers[i].status != IST_PEER) {
                assert_answered_well(&given, i);
                good++;
            }
        }
        assert_true(good < ASKED);
        for (size_t i = 0; given.answers[GET].status == IST_PEER && i < KEYS; i++) {
            assert_int_equal(given.gets[i].status, IST_PEER);
            assert_int_equal(given.gets[i].value_bytes, 0);
        }
        given_fini(&given);
        talk_fini(&talk);
        bytes_free(&replies);
    }
}

/* Bits of the replies are turned over: whatever comes of it, every request is called back once, and no byte is
 * written outside the buffers (their ends are guarded, their beginnings watched by the sanitizer). */
static void garble(uint64_t seed) {
    struct talk talk;
    struct given given;
    struct bytes replies = {0};
    uint64_t random = seed;
    talk_init(&talk);
    given_init(&given);
    prepare(&talk, &given, &replies, seed);
    size_t near = (size_t)random_below(&random, 4) == 0 ? replies.count : 300;
    for (uint64_t n = 1 + random_below(&random, 3); n > 0; n--) {
        replies.data[random_below(&random, near)] ^= (uint8_t)(1 << random_below(&random, 8));
    }
    talk.feed_max = 1 + (size_t)random_below(&random, 6000);
    (void)talk_feed(&talk, replies.data, replies.count);
    enum ist_status fault = ist_exchange_fault(talk.exchange);
    assert_true(fault == IST_OK || fault == IST_PROTOCOL);
    talk_end(&talk, fault == IST_OK ? IST_PEER : fault);
    for (size_t i = 0; i < ASKED; i++) {
        assert_int_equal(given.answers[i].calls, 1);
    }
    given_fini(&given);
    talk_fini(&talk);
    bytes_free(&replies);
}

static void test_replies__flipped_bits__called_back_once_and_no_harm(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 1500 : 25, garble);
}

/* Whichever allocation fails: what was accepted is answered once, what was not says so; nothing leaks. */
static void test_memory__nth_allocation_fails__each_answered_once(void **state) {
    (void)state;
    uint64_t calls = 1;
    for (uint64_t fail_at = 1; fail_at <= calls; fail_at++) {
        struct talk talk;
        struct given given;
        struct bytes replies = {0};
        if (!talk_try(&talk, fail_at)) {
            calls = UINT64_MAX;
            continue;
        }
        given_init(&given);
        prepare(&talk, &given, &replies, 1);
        assert_int_equal(talk_feed(&talk, replies.data, replies.count), replies.count);
        size_t without = 0;
        for (size_t i = 0; i < ASKED; i++) {
            bool accepted = given.submitted[i] == IST_OK;
            assert_int_equal(given.answers[i].calls, accepted);
            if (accepted && given.answers[i].status != IST_NO_MEMORY) {
                assert_answered_well(&given, i);
            } else {
                assert_true(accepted || given.submitted[i] == IST_NO_MEMORY);
                without++;
            }
        }
        assert_int_equal(ist_exchange_state(talk.exchange), IST_EXCHANGE_OPEN);
        assert_int_equal(without, talk.failing.calls >= fail_at);
        calls = without == 0 ? 0 : UINT64_MAX; /* nothing failed: that was the last */
        given_fini(&given);
        talk_fini(&talk);
        bytes_free(&replies);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies__split_at_every_byte__same_answers),
        cmocka_unit_test_teardown(test_both_ways__random_pieces__same_answers, replay_teardown),
        cmocka_unit_test(test_replies__cut_at_every_byte__answered_or_peer),
        cmocka_unit_test_teardown(test_replies__flipped_bits__called_back_once_and_no_harm,
                                  replay_teardown),
        cmocka_unit_test(test_memory__nth_allocation_fails__each_answered_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

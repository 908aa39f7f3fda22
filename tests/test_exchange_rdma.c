/* The exchange over RDMA, byte by byte: how it comes there, what it says of values, and that no one is told of the end of a
 * request while the server may still use its memory. The server is a script. */
#include "tests/talk.h"

#include <stdlib.h>
#include <string.h>

#include "client/regions.h"
#include "sim/hca/hca.h"

#define MEMORY_BYTES 8192u
#define NOTE "note{over=\"rdma\"}"

static struct {
    struct ist_hca *hca;
    struct ist_device *device;
    struct ist_regions regions;
    uint8_t *memory;
    uint32_t rkey;
    struct talk talk;
    struct heard heard;
    struct bytes out;
} f;

static const struct ist_endpoint own = {.end = {.number = 7,
                                                .packet_number = 8,
                                                .gid = {1},
                                                .mtu_bytes = 1024,
                                                .reads = 1,
                                                .messages = 4,
                                                .message_bytes = 512}};

static int setup(void **state) {
    (void)state;
    memset(&f, 0, sizeof(f));
    struct ist_hca_config config;
    struct ist_hca_device_config device;
    char why[200];
    ist_hca_config_init(&config, 1);
    f.hca = ist_hca_new(&config);
    ist_hca_device_config_roce(&device, "card", 0);
    assert_non_null(ist_hca_add_device(f.hca, &device));
    const struct ist_device_config device_config = {
        .hint_gid_index = -1, .alloc = ist_alloc_system(), .log = ist_log_null()};
    assert_int_equal(ist_device_open(&device_config, &f.device, why, sizeof(why)), IST_OK);
    f.memory = calloc(1, MEMORY_BYTES);
    assert_non_null(f.memory);
    ist_regions_init(&f.regions, ist_alloc_system());
    assert_int_equal(ist_regions_attach(&f.regions, f.device, why, sizeof(why)), IST_OK);
    const struct ist_region_source source = {
        .address = (uintptr_t)f.memory, .bytes = MEMORY_BYTES, .fd = -1};
    assert_int_equal(ist_regions_add(&f.regions, &source), IST_OK);
    assert_true(ist_regions_find(&f.regions, (uintptr_t)f.memory, 1, &f.rkey));
    talk_init(&f.talk);
    ist_exchange_set_notes(f.talk.exchange, NULL, NOTE);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    talk_fini(&f.talk);
    bytes_free(&f.out);
    ist_regions_detach(&f.regions);
    ist_regions_fini(&f.regions);
    ist_device_close(f.device);
    ist_hca_free(f.hca);
    free(f.memory);
    return 0;
}

/* ---- the handshake ------------------------------------------------------------------------------------------ */

/* What the client says next, which must be this. */
static void hear(enum ist_operation operation) {
    (void)talk_take(&f.talk, SIZE_MAX);
    assert_true(talk_hear(&f.talk, &f.heard));
    assert_int_equal(f.heard.frame.operation, operation);
}

static void feed(void) {
    size_t count = f.out.count;
    assert_int_equal(talk_feed_all(&f.talk, &f.out), count);
}

static void to_choice(void) {
    f.talk.said.count = f.talk.heard = 0;
    ist_exchange_begin(f.talk.exchange, true);
    hear(IST_OP_HELLO);
    say_hello_reply(&f.out, f.heard.frame.request_id, usual_server());
    feed();
    assert_int_equal(ist_exchange_state(f.talk.exchange), IST_EXCHANGE_CHOICE);
    assert_false(ist_exchange_wants_send(f.talk.exchange));
}

static void say_endpoint(const struct ist_endpoint *endpoint) {
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_endpoint(endpoint, body, sizeof(body), &written), IST_OK);
    say_header(&f.out, IST_OP_CONNECT, IST_FRAME_REPLY, f.heard.frame.request_id, (uint32_t)written, 0);
    bytes_add(&f.out, body, written);
}

static void to_connected(const struct ist_endpoint *peer) {
    ist_exchange_connect(f.talk.exchange, &own);
    hear(IST_OP_CONNECT);
    uint8_t body[IST_CODEC_ENDPOINT_BYTES]; /* structs may differ where nobody writes */
    size_t written;
    assert_int_equal(ist_codec_encode_endpoint(&own, body, sizeof(body), &written), IST_OK);
    assert_true(ist_span_equal(f.heard.body, ist_span_of(body, written)));
    say_endpoint(peer);
    feed();
    assert_int_equal(ist_exchange_state(f.talk.exchange), IST_EXCHANGE_CONNECTED);
}

static void open_rdma(void) {
    const struct ist_keys_reply reply = {0};
    to_choice();
    to_connected(&own);
    ist_exchange_prove(f.talk.exchange, &f.regions);
    assert_true(ist_exchange_is_remote(f.talk.exchange));
    hear(IST_OP_PING);
    say_reply(&f.out, &f.heard, &reply, 0);
    feed();
    assert_int_equal(ist_exchange_state(f.talk.exchange), IST_EXCHANGE_OPEN);
}

static struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

static void submit_put(struct ist_put_item *items, size_t count, struct answer *answer,
                       uint64_t deadline_ns) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_put(ist_alloc_system(), items, count, 0, &request);
    assert_int_equal(talk_submit(&f.talk, made, request, answer, deadline_ns), IST_OK);
}

static void submit_get(struct ist_get_item *items, size_t count, struct answer *answer,
                       uint64_t deadline_ns) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_get(ist_alloc_system(), items, count, &request);
    assert_int_equal(talk_submit(&f.talk, made, request, answer, deadline_ns), IST_OK);
}

static void submit_ping(struct answer *answer, uint64_t deadline_ns) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_ping(ist_alloc_system(), &request);
    assert_int_equal(talk_submit(&f.talk, made, request, answer, deadline_ns), IST_OK);
}

static struct ist_put_item put_of(const char *key, size_t at, size_t bytes) {
    return (struct ist_put_item){.key = key_of(key), .value = f.memory + at, .value_bytes = bytes};
}

static struct ist_get_item get_of(const char *key, size_t at, size_t bytes) {
    return (struct ist_get_item){.key = key_of(key), .buffer = f.memory + at, .buffer_bytes = bytes};
}

static void test_choice__open__as_over_tcp(void **state) {
    (void)state;
    struct answer answer;
    struct ist_put_item put = put_of("a", 0, 100);
    submit_put(&put, 1, &answer, TALK_NEVER); /* waits */
    to_choice();
    ist_exchange_open(f.talk.exchange, &f.regions);
    assert_false(ist_exchange_is_remote(f.talk.exchange));
    hear(IST_OP_PUT);
    assert_int_equal(f.heard.frame.payload_bytes, 100);
    talk_end(&f.talk, IST_PEER); /* while what it answers to is still there, as below */
}

static void test_connected__refused__open_as_over_tcp(void **state) {
    (void)state;
    struct answer answer;
    to_choice();
    to_connected(&(struct ist_endpoint){.status = IST_NO_SPACE});
    assert_int_equal(ist_exchange_peer(f.talk.exchange)->status, IST_NO_SPACE);
    ist_exchange_open(f.talk.exchange, NULL);
    submit_ping(&answer, TALK_NEVER);
    hear(IST_OP_PING);
    talk_end(&f.talk, IST_PEER);
}

static void test_handshake__more_than_was_asked_for__broken(void **state) {
    (void)state;
    to_choice();
    ist_exchange_connect(f.talk.exchange, &own);
    hear(IST_OP_CONNECT);
    say_endpoint(&own);
    bytes_add(&f.out, "I", 1); /* would be taken for what the queue pair says */
    (void)talk_feed_all(&f.talk, &f.out);
    assert_int_equal(ist_exchange_fault(f.talk.exchange), IST_PROTOCOL);
}

/* ---- what is said of values --------------------------------------------------------------------------------- */

struct told {
    struct ist_span keys[4];
    uint64_t lengths[4];
    struct ist_remote remotes[4];
    size_t count, length_count, remote_count;
};

static void decode(struct told *told) {
    assert_int_equal(f.heard.frame.payload_bytes, 0);
    assert_int_equal(ist_codec_decode_remote_keys(f.heard.body, told->keys, told->lengths,
                                                  told->remotes, 4, &told->count, &told->length_count,
                                                  &told->remote_count),
                     IST_OK);
    assert_int_equal(told->length_count, told->count);
    assert_int_equal(told->remote_count, told->count);
}

static void test_put__addresses_instead_of_values(void **state) {
    (void)state;
    struct answer answer;
    struct told told;
    uint8_t stranger[10];
    struct ist_put_item puts[3] = {put_of("a", 5, 100), put_of("b", 0, 10), put_of("c", 8000, 192)};
    puts[1].value = stranger;
    open_rdma();
    submit_put(puts, 3, &answer, TALK_NEVER);
    hear(IST_OP_PUT);
    decode(&told);
    assert_int_equal(told.count, 3);
    assert_true(told.remotes[0].address == (uintptr_t)f.memory + 5 && told.lengths[0] == 100);
    assert_int_equal(told.remotes[0].rkey, f.rkey);
    assert_true(told.remotes[1].address == 0 && told.remotes[1].rkey == 0 && told.lengths[1] == 0);
    assert_true(told.remotes[2].address == (uintptr_t)f.memory + 8000 && told.lengths[2] == 192);
    /* A server that claims to have the one that it was not told of lies. */
    const uint8_t statuses[3] = {IST_OK, IST_OK, IST_EXISTS};
    const struct ist_keys_reply reply = {.key_status = ist_span_of(statuses, 3)};
    say_reply(&f.out, &f.heard, &reply, 0);
    feed();
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.status, IST_INVALID);
    assert_int_equal(puts[0].status, IST_OK);
    assert_int_equal(puts[1].status, IST_INVALID);
    assert_int_equal(puts[2].status, IST_EXISTS);
}

static void test_put__only_strangers__not_sent(void **state) {
    (void)state;
    struct answer answer;
    uint8_t stranger[10];
    struct ist_put_item put = put_of("a", 0, 10);
    put.value = stranger;
    open_rdma();
    submit_put(&put, 1, &answer, TALK_NEVER);
    talk_reap(&f.talk);
    assert_int_equal(answer.status, IST_INVALID);
    assert_false(ist_exchange_wants_send(f.talk.exchange));
}

static void test_put__too_big_for_the_server__the_others_are_sent(void **state) {
    (void)state;
    struct answer answer;
    struct told told;
    uint8_t stranger[10];
    const uint64_t limit = usual_server()->value_bytes_max;
    struct ist_put_item puts[3] = {put_of("a", 5, limit + 1), put_of("b", 5, 100), put_of("c", 0, 10)};
    puts[2].value = stranger;
    open_rdma();
    submit_put(puts, 3, &answer, TALK_NEVER);
    hear(IST_OP_PUT);
    decode(&told);
    assert_int_equal(told.count, 3);
    assert_true(told.lengths[0] == 0 && told.remotes[0].address == 0 && told.remotes[0].rkey == 0);
    assert_true(told.lengths[1] == 100 && told.remotes[1].rkey == f.rkey);
    assert_int_equal(told.lengths[2], 0);
    const uint8_t statuses[3] = {IST_INVALID, IST_OK, IST_INVALID};
    const struct ist_keys_reply reply = {.key_status = ist_span_of(statuses, 3)};
    say_reply(&f.out, &f.heard, &reply, 0);
    feed();
    assert_int_equal(answer.status, IST_TOO_BIG);
    assert_int_equal(puts[0].status, IST_TOO_BIG);
    assert_int_equal(puts[1].status, IST_OK);
    assert_int_equal(puts[2].status, IST_INVALID);

    struct ist_put_item refused[2] = {puts[2], puts[0]};
    submit_put(refused, 2, &answer, TALK_NEVER);
    talk_reap(&f.talk);
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.status, IST_INVALID);
    assert_int_equal(refused[0].status, IST_INVALID);
    assert_int_equal(refused[1].status, IST_TOO_BIG);
    assert_false(ist_exchange_wants_send(f.talk.exchange));
}

static void test_get__reply_without_payload__lengths_and_statuses(void **state) {
    (void)state;
    struct answer answer;
    struct told told;
    struct ist_get_item gets[3] = {get_of("a", 0, 100), get_of("b", 100, 50), get_of("c", 0, 0)};
    open_rdma();
    submit_get(gets, 3, &answer, TALK_NEVER);
    hear(IST_OP_GET);
    decode(&told);
    assert_int_equal(told.remotes[1].address, (uintptr_t)f.memory + 100);
    const uint8_t statuses[3] = {IST_OK, IST_NOT_FOUND, IST_TOO_SMALL};
    const uint64_t lengths[3] = {99, 0, 7};
    const struct ist_keys_reply reply = {
        .key_status = ist_span_of(statuses, 3), .lengths = lengths, .length_count = 3};
    say_reply(&f.out, &f.heard, &reply, 0);
    feed();
    assert_int_equal(answer.status, IST_NOT_FOUND);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(gets[i].status, statuses[i]);
        assert_int_equal(gets[i].value_bytes, lengths[i]);
    }
}

static void test_stat__over_rdma__the_note_first(void **state) {
    (void)state;
    struct answer answer;
    struct ist_request *request = NULL;
    struct ist_metrics *metrics = NULL;
    uint8_t body[256];
    size_t written;
    open_rdma();
    enum ist_status made = ist_request_new_stat(ist_alloc_system(), &metrics, &request);
    assert_int_equal(talk_submit(&f.talk, made, request, &answer, TALK_NEVER), IST_OK);
    hear(IST_OP_STAT);
    const struct ist_codec_metric one = {.name = ist_span_of_string("theirs"), .value = 3};
    assert_int_equal(ist_codec_encode_metrics(&one, 1, body, sizeof(body), &written), IST_OK);
    say_header(&f.out, IST_OP_STAT, IST_FRAME_REPLY, f.heard.frame.request_id, (uint32_t)written, 0);
    bytes_add(&f.out, body, written);
    feed();
    assert_int_equal(answer.status, IST_OK);
    assert_int_equal(metrics->count, 2);
    assert_string_equal(metrics->items[0].name, NOTE);
    assert_true(metrics->items[0].value == 1 && metrics->items[1].value == 3);
    assert_string_equal(metrics->items[1].name, "theirs");
    ist_metrics_free(metrics);
}

/* ---- deadlines ---------------------------------------------------------------------------------------------- */

/* Its rkey is written down and would be sent as it is. One that waits for room is written when that is there. */
static void test_uses__not_a_byte_sent__if_it_is_written(void **state) {
    (void)state;
    struct answer answer, other;
    struct ist_put_item put = put_of("a", 100, 100);
    uintptr_t at = (uintptr_t)f.memory;
    submit_put(&put, 1, &answer, TALK_NEVER);
    assert_false(ist_exchange_uses(f.talk.exchange, at, MEMORY_BYTES)); /* no session */
    open_rdma();
    assert_true(ist_exchange_uses(f.talk.exchange, at, 101));
    assert_false(ist_exchange_uses(f.talk.exchange, at, 100));
    submit_ping(&other, TALK_NEVER);
    assert_false(ist_exchange_uses(f.talk.exchange, at + 200, 100));
    talk_end(&f.talk, IST_PEER);
    assert_false(ist_exchange_uses(f.talk.exchange, at, MEMORY_BYTES));
}

static void test_deadline__not_a_byte_sent__timeout_at_once(void **state) {
    (void)state;
    struct answer answer, other;
    struct ist_put_item put = put_of("a", 0, 100);
    open_rdma();
    submit_put(&put, 1, &answer, 10);
    talk_tick(&f.talk, 10);
    assert_int_equal(answer.status, IST_TIMEOUT);
    assert_int_equal(ist_exchange_fault(f.talk.exchange), IST_OK);
    submit_ping(&other, TALK_NEVER);
    hear(IST_OP_PING);
    talk_end(&f.talk, IST_PEER);
}

/* The server may have it: nobody is told before the queue pair is gone. */
static void test_deadline__a_byte_sent__told_at_the_end_only(void **state) {
    (void)state;
    static const size_t sent[] = {1, IST_FRAME_BYTES, SIZE_MAX};
    for (size_t i = 0; i < 2 * sizeof(sent) / sizeof(sent[0]); i++) {
        struct answer answer, other, late;
        struct ist_put_item put = put_of("a", 100, 100);
        struct ist_get_item get = get_of("a", 100, 100);
        open_rdma();
        submit_ping(&other, TALK_NEVER);
        hear(IST_OP_PING);
        if (i % 2 == 0) {
            submit_put(&put, 1, &answer, 10);
        } else {
            submit_get(&get, 1, &answer, 10);
        }
        (void)talk_take(&f.talk, sent[i / 2]);
        uintptr_t at = (uintptr_t)f.memory;
        assert_true(ist_exchange_uses(f.talk.exchange, at + 199, 1));
        assert_true(ist_exchange_uses(f.talk.exchange, at, 101));
        assert_false(ist_exchange_uses(f.talk.exchange, at, 100));
        assert_false(ist_exchange_uses(f.talk.exchange, at + 200, 100));
        submit_ping(&late, 11);
        talk_tick(&f.talk, 10);
        assert_int_equal(answer.calls, 0);
        assert_int_equal(ist_exchange_fault(f.talk.exchange), IST_PEER);
        assert_int_equal(ist_exchange_deadline_ns(f.talk.exchange), 11);
        talk_tick(&f.talk, 11); /* that one was not sent */
        assert_int_equal(late.status, IST_TIMEOUT);
        assert_int_equal(answer.calls, 0);
        talk_end(&f.talk, IST_PEER); /* the queue pair is gone */
        assert_int_equal(answer.calls, 1);
        assert_int_equal(answer.status, IST_TIMEOUT);
        assert_int_equal(i % 2 == 0 ? put.status : get.status, IST_TIMEOUT);
        assert_int_equal(other.status, IST_PEER);
        assert_false(ist_exchange_is_remote(f.talk.exchange));
    }
}

/* What moves no value is forgotten, as over TCP. */
static void test_deadline__no_values__reply_ignored(void **state) {
    (void)state;
    struct answer answer, other;
    const struct ist_keys_reply reply = {0};
    open_rdma();
    submit_ping(&answer, 10);
    hear(IST_OP_PING);
    talk_tick(&f.talk, 10);
    assert_int_equal(answer.status, IST_TIMEOUT);
    assert_int_equal(ist_exchange_fault(f.talk.exchange), IST_OK);
    say_reply(&f.out, &f.heard, &reply, 0);
    submit_ping(&other, TALK_NEVER);
    hear(IST_OP_PING);
    say_reply(&f.out, &f.heard, &reply, 0);
    feed();
    assert_int_equal(other.status, IST_OK);
    assert_int_equal(other.calls, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_choice__open__as_over_tcp),
        TEST(test_connected__refused__open_as_over_tcp),
        TEST(test_handshake__more_than_was_asked_for__broken),
        TEST(test_put__addresses_instead_of_values),
        TEST(test_put__only_strangers__not_sent),
        TEST(test_put__too_big_for_the_server__the_others_are_sent),
        TEST(test_get__reply_without_payload__lengths_and_statuses),
        TEST(test_stat__over_rdma__the_note_first),
        TEST(test_uses__not_a_byte_sent__if_it_is_written),
        TEST(test_deadline__not_a_byte_sent__timeout_at_once),
        TEST(test_deadline__a_byte_sent__told_at_the_end_only),
        TEST(test_deadline__no_values__reply_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

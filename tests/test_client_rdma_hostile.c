/* The client over RDMA against a server that lies: at each step of the handshake, and in its answers. A thread plays the
 * server, with a real queue pair on the software HCA. */
#include "tests/rdma_house.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/client.h"
#include "client/clock.h"
#include "verbs/memory.h"
#include "verbs/queue_pair.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define MEMORY_BYTES 8192u
#define FRAME_MAX 8192u
#define STREAM_MAX 65536u

enum trick {
    HONEST,           /* answers a get of n bytes with n bytes of 7, by RDMA, and all else with OK */
    HONEST_IN_PIECES, /* each byte of an answer in a message of its own */
    CREDITS_GALORE,   /* gives back many more credits than it was ever given */
    /* in the handshake */
    CONNECT_REFUSED,
    CONNECT_MALFORMED,
    CONNECT_NO_READS,
    CONNECT_SMALL_MESSAGES,
    CONNECT_NO_GID,
    CONNECT_TWICE, /* answers it two times */
    PROOF_GARBAGE,
    PROOF_WRONG_ID,
    PROOF_CLOSES,
    PROOF_OVER_TCP,
    PROOF_AND_GARBAGE, /* a good answer, and in the same message more */
    /* then */
    ANSWER_GARBAGE,
    ANSWER_WRONG_ID,
    ANSWER_PAYLOAD,
    ANSWER_TOO_LONG,
    ANSWER_FEW_STATUSES,
    ANSWER_OVER_TCP,
    ANSWER_CUT_OFF,  /* half an answer, then the server is gone */
    ANSWER_TOO_MUCH, /* more messages than there are buffers, of half a frame */
    TRICKS
};

static struct {
    enum trick trick;
    int listener, fd;
    char endpoint[64];
    pthread_t thread;
    atomic_bool stop;
    struct ist_device *device;
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
    uint8_t in[STREAM_MAX];
    size_t in_bytes;
    struct ist_region region;
    uint8_t values[MEMORY_BYTES];
} s;

/* ---- the server: TCP ---------------------------------------------------------------------------------------- */

static bool read_all(void *memory, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t got = recv(s.fd, (uint8_t *)memory + done, bytes - done, 0);
        if (got <= 0) {
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

static void write_all(const void *memory, size_t bytes) {
    (void)!send(s.fd, memory, bytes, MSG_NOSIGNAL);
}

static bool read_frame(struct ist_frame *frame, uint8_t body[FRAME_MAX]) {
    uint8_t header[IST_FRAME_BYTES];
    return read_all(header, sizeof(header)) &&
           ist_frame_decode(ist_span_of(header, sizeof(header)), frame) == IST_OK &&
           frame->body_bytes <= FRAME_MAX && read_all(body, frame->body_bytes);
}

static size_t make_frame(enum ist_operation operation, uint64_t id, size_t body_bytes, uint8_t *out) {
    const struct ist_frame frame = {.operation = operation,
                                    .flags = IST_FRAME_REPLY,
                                    .request_id = id,
                                    .body_bytes = (uint32_t)body_bytes};
    ist_frame_encode(&frame, out);
    return IST_FRAME_BYTES + body_bytes;
}

static bool say_hello(void) {
    struct ist_frame frame;
    uint8_t body[FRAME_MAX], out[IST_FRAME_BYTES + IST_CODEC_HELLO_BYTES];
    if (!read_frame(&frame, body) || frame.operation != IST_OP_HELLO) {
        return false;
    }
    const struct ist_hello_reply reply = {.version = 1,
                                          .incarnation = 5,
                                          .keys_max = 100,
                                          .key_bytes_max = 100,
                                          .body_bytes_max = 100000,
                                          .in_flight_max = 8,
                                          .value_bytes_max = 1 << 20};
    size_t written;
    assert_int_equal(
        ist_codec_encode_hello_reply(&reply, out + IST_FRAME_BYTES, IST_CODEC_HELLO_BYTES, &written),
        IST_OK);
    write_all(out, make_frame(IST_OP_HELLO, frame.request_id, written, out));
    return true;
}

static void make_queue_pair(const struct ist_endpoint *peer, struct ist_endpoint *own) {
    const struct ist_completion_config completion_config = {.device = s.device,
                                                            .queue_pairs_max = 1,
                                                            .send_wr = 64,
                                                            .messages = 8,
                                                            .message_bytes = 1024,
                                                            .alloc = ist_alloc_system(),
                                                            .log = ist_log_null()};
    assert_int_equal(ist_completion_new(&completion_config, &s.completion), IST_OK);
    const struct ist_queue_pair_config config = {.completion = s.completion, .packet_number = 9};
    assert_int_equal(ist_queue_pair_new(&config, &s.queue_pair), IST_OK);
    assert_int_equal(ist_queue_pair_connect(s.queue_pair, &peer->end), IST_OK);
    *own = (struct ist_endpoint){.status = IST_OK};
    ist_queue_pair_end(s.queue_pair, &own->end);
}

static bool answer_connect(void) {
    struct ist_frame frame;
    struct ist_endpoint peer, own = {.status = IST_DEVICE};
    uint8_t body[FRAME_MAX], out[IST_FRAME_BYTES + IST_CODEC_ENDPOINT_BYTES];
    if (!read_frame(&frame, body) || frame.operation != IST_OP_CONNECT) {
        return false;
    }
    assert_int_equal(ist_codec_decode_endpoint(ist_span_of(body, frame.body_bytes), &peer), IST_OK);
    if (s.trick != CONNECT_REFUSED) {
        make_queue_pair(&peer, &own);
    }
    struct ist_queue_pair_end *end = &own.end;
    end->reads = s.trick == CONNECT_NO_READS ? 0 : end->reads;
    end->message_bytes = s.trick == CONNECT_SMALL_MESSAGES ? 255 : end->message_bytes;
    if (s.trick == CONNECT_NO_GID) {
        memset(end->gid, 0, sizeof(end->gid));
    }
    size_t written;
    assert_int_equal(
        ist_codec_encode_endpoint(&own, out + IST_FRAME_BYTES, IST_CODEC_ENDPOINT_BYTES, &written),
        IST_OK);
    if (s.trick == CONNECT_MALFORMED) {
        memset(out + IST_FRAME_BYTES, 0xff, written);
    }
    size_t bytes = make_frame(IST_OP_CONNECT, frame.request_id, written, out);
    if (s.trick == CONNECT_TWICE) {
        uint8_t twice[2 * sizeof(out)];
        memcpy(twice, out, bytes);
        memcpy(twice + bytes, out, bytes);
        write_all(twice, 2 * bytes);
    } else {
        write_all(out, bytes);
    }
    return s.queue_pair != NULL;
}

/* ---- the server: RDMA --------------------------------------------------------------------------------------- */

static bool is_over(void) {
    uint8_t byte;
    return atomic_load(&s.stop) || recv(s.fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void turn(void) {
    struct ist_completion_event events[8];
    size_t count = ist_completion_poll(s.completion, events, 8);
    for (size_t i = 0; i < count; i++) {
        const struct ist_completion_event *event = &events[i];
        if (event->has_buffer) {
            if (event->kind == IST_COMPLETION_RECEIVED &&
                ist_queue_pair_received(s.queue_pair, event)) {
                memcpy(s.in + s.in_bytes, ist_completion_buffer(s.completion, event->buffer),
                       event->bytes);
                s.in_bytes += event->bytes;
                ist_queue_pair_owe_credit(s.queue_pair);
            }
            (void)ist_completion_give_back(s.completion, event->buffer);
        } else if (event->queue_pair != NULL) {
            (void)ist_queue_pair_retire(s.queue_pair, event->count);
        }
    }
    if (ist_queue_pair_is_ready(s.queue_pair)) {
        (void)ist_queue_pair_flush(s.queue_pair);
    }
}

/* In messages of this many bytes. */
static void say(const uint8_t *bytes, size_t count, uint32_t piece) {
    while (count > 0 && !is_over() && ist_queue_pair_is_ready(s.queue_pair)) {
        uint32_t room = ist_queue_pair_message_room(s.queue_pair);
        if (room == 0) {
            turn();
            continue;
        }
        uint32_t part = count < piece ? (uint32_t)count : piece;
        memcpy(ist_queue_pair_message(s.queue_pair), bytes, part);
        ist_queue_pair_add_message(s.queue_pair, part);
        (void)ist_queue_pair_flush(s.queue_pair);
        bytes += part;
        count -= part;
    }
}

/* A get's value is written to the client before the answer. */
static void write_value(const uint8_t *body, size_t bytes, uint64_t *length) {
    struct ist_span key;
    struct ist_remote remote;
    size_t count, lengths, remotes;
    assert_int_equal(ist_codec_decode_remote_keys(ist_span_of(body, bytes), &key, length, &remote, 1,
                                                  &count, &lengths, &remotes),
                     IST_OK);
    assert_int_equal(remotes, 1);
    const struct ist_one_sided work = {.piece_count = 1,
                                       .pieces = {{s.region.address, (uint32_t)*length, s.region.lkey}},
                                       .remote_address = remote.address,
                                       .rkey = remote.rkey};
    ist_queue_pair_add_work(s.queue_pair, &work);
}

static size_t make_answer(const struct ist_frame *frame, const uint8_t *body, uint8_t *out) {
    uint64_t length = 0;
    uint8_t status = IST_OK;
    struct ist_keys_reply reply = {0};
    if (frame->operation == IST_OP_GET) {
        write_value(body, frame->body_bytes, &length);
        length += s.trick == ANSWER_TOO_LONG;
        reply.lengths = &length;
        reply.length_count = 1;
    }
    if (frame->operation == IST_OP_GET || frame->operation == IST_OP_PUT) {
        reply.key_status = ist_span_of(&status, s.trick == ANSWER_FEW_STATUSES ? 0 : 1);
    }
    size_t written;
    assert_int_equal(ist_codec_encode_keys_reply(&reply, out + IST_FRAME_BYTES, FRAME_MAX, &written),
                     IST_OK);
    uint64_t id = frame->request_id;
    bool is_proof = frame->operation == IST_OP_PING;
    id += s.trick == (is_proof ? PROOF_WRONG_ID : ANSWER_WRONG_ID);
    size_t bytes = make_frame(frame->operation, id, written, out);
    if (s.trick == ANSWER_PAYLOAD && !is_proof) {
        out[24] = 1; /* the payload's length */
        out[bytes++] = 7;
    }
    if (s.trick == (is_proof ? PROOF_GARBAGE : ANSWER_GARBAGE)) {
        memset(out, 0xee, bytes);
    }
    return bytes;
}

/* False: nothing more is to be said. */
static bool answer(const struct ist_frame *frame, const uint8_t *body) {
    static uint8_t out[STREAM_MAX];
    bool is_proof = frame->operation == IST_OP_PING;
    size_t bytes = make_answer(frame, body, out);
    if (s.trick == (is_proof ? PROOF_OVER_TCP : ANSWER_OVER_TCP)) {
        write_all(out, bytes);
        return true;
    }
    if (is_proof && s.trick == PROOF_CLOSES) {
        return false;
    }
    if (is_proof && s.trick == PROOF_AND_GARBAGE) {
        memset(out + bytes, 0xee, IST_FRAME_BYTES);
        bytes += IST_FRAME_BYTES;
    }
    if (!is_proof && s.trick == ANSWER_CUT_OFF) {
        say(out, bytes / 2, 1024);
        return false;
    }
    if (!is_proof && s.trick == ANSWER_TOO_MUCH) {
        memset(out + 16, 0xff, 2); /* a body longer than any answer to this */
        bytes = 60000;
    }
    for (unsigned i = 0; i < 10 && s.trick == CREDITS_GALORE; i++) {
        for (unsigned j = 0; j < 1u << 16; j++) {
            ist_queue_pair_owe_credit(s.queue_pair);
        }
        turn();
    }
    say(out, bytes, s.trick == HONEST_IN_PIECES ? 1 : 1024);
    return true;
}

static bool answer_all(void) {
    struct ist_frame frame;
    while (ist_frame_decode(ist_span_of(s.in, s.in_bytes), &frame) == IST_OK &&
           s.in_bytes >= IST_FRAME_BYTES + frame.body_bytes) {
        if (!answer(&frame, s.in + IST_FRAME_BYTES)) {
            return false;
        }
        size_t bytes = IST_FRAME_BYTES + frame.body_bytes;
        s.in_bytes -= bytes;
        memmove(s.in, s.in + bytes, s.in_bytes);
    }
    return true;
}

static void *serve(void *arg) {
    (void)arg;
    s.fd = accept(s.listener, NULL, NULL);
    if (s.fd >= 0 && say_hello() && answer_connect()) {
        while (!is_over() && answer_all()) {
            turn();
        }
    } else {
        while (s.fd >= 0 && !is_over()) {
            usleep(100);
        }
    }
    ist_queue_pair_free(s.queue_pair);
    ist_completion_free(s.completion);
    if (s.fd >= 0) {
        close(s.fd);
    }
    return NULL;
}

/* ---- the tests ---------------------------------------------------------------------------------------------- */

static void start(enum trick trick) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    char why[200];
    memset(&s, 0, sizeof(s));
    s.trick = trick;
    memset(s.values, 7, sizeof(s.values));
    const struct ist_device_config config = {
        .name = "server", .hint_gid_index = -1, .alloc = ist_alloc_system(), .log = ist_log_null()};
    assert_int_equal(ist_device_open(&config, &s.device, why, sizeof(why)), IST_OK);
    assert_int_equal(
        ist_region_register(s.device, s.values, sizeof(s.values), IST_MEMORY_LOCAL, &s.region), IST_OK);
    s.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s.listener, (const struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(s.listener, 4), 0);
    assert_int_equal(getsockname(s.listener, (struct sockaddr *)&address, &length), 0);
    snprintf(s.endpoint, sizeof(s.endpoint), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    assert_int_equal(pthread_create(&s.thread, NULL, serve, NULL), 0);
}

static void stop(void) {
    atomic_store(&s.stop, true);
    shutdown(s.listener, SHUT_RDWR);
    assert_int_equal(pthread_join(s.thread, NULL), 0);
    close(s.listener);
    ist_region_drop(&s.region);
    ist_device_close(s.device);
}

static enum ist_status connect_client(struct ist_client **client) {
    char error[300];
    const struct ist_client_options options = {.endpoints = s.endpoint,
                                               .connect_timeout_ns = 20 * IST_NS_PER_SEC,
                                               .request_timeout_ns = 20 * IST_NS_PER_SEC,
                                               .transport = IST_TRANSPORT_RDMA,
                                               .device = "client"};
    return ist_client_new(&options, client, error, sizeof(error));
}

static void test_handshake__each_lie__refused(void **state) {
    (void)state;
    static const enum ist_status expected[] = {
        [CONNECT_REFUSED] = IST_DEVICE,  [CONNECT_MALFORMED] = IST_PROTOCOL,
        [CONNECT_NO_READS] = IST_DEVICE, [CONNECT_SMALL_MESSAGES] = IST_DEVICE,
        [CONNECT_NO_GID] = IST_DEVICE,   [CONNECT_TWICE] = IST_PROTOCOL,
        [PROOF_GARBAGE] = IST_PROTOCOL,  [PROOF_WRONG_ID] = IST_PROTOCOL,
        [PROOF_CLOSES] = IST_PEER,       [PROOF_OVER_TCP] = IST_PROTOCOL,
    };
    for (enum trick trick = CONNECT_REFUSED; trick <= PROOF_OVER_TCP; trick++) {
        struct ist_client *client = NULL;
        house_begin((struct house_options){.seed = 70 + trick});
        start(trick);
        enum ist_status status = connect_client(&client);
        if (status != expected[trick]) {
            fail_msg("trick %d: %s", (int)trick, ist_status_name(status));
        }
        assert_null(client);
        stop();
        house_end();
    }
}

/* The session is lost, which is not to be mistaken for an attempt at one: that would go on with the next address. */
static void test_handshake__a_lie_behind_its_end__ends_the_session(void **state) {
    (void)state;
    char error[300], endpoints[160];
    static const enum ist_transport transports[] = {IST_TRANSPORT_RDMA, IST_TRANSPORT_AUTO};
    for (size_t i = 0; i < 2; i++) {
        struct ist_client *client = NULL;
        house_begin((struct house_options){.seed = 110 + i});
        start(PROOF_AND_GARBAGE);
        snprintf(endpoints, sizeof(endpoints), "%s,%s", s.endpoint, s.endpoint);
        const struct ist_client_options options = {.endpoints = endpoints,
                                                   .connect_timeout_ns = 20 * IST_NS_PER_SEC,
                                                   .request_timeout_ns = 20 * IST_NS_PER_SEC,
                                                   .transport = transports[i],
                                                   .device = "client"};
        assert_int_equal(ist_client_new(&options, &client, error, sizeof(error)), IST_OK);
        assert_int_equal(ist_client_incarnation(client), 0);
        ist_client_free(client);
        stop();
        house_end();
    }
}

static enum ist_status ask(struct ist_client *client, uint8_t *memory) {
    struct ist_get_item get = {.key = {"k", 1}, .buffer = memory + 100, .buffer_bytes = 1000};
    memset(memory, 1, MEMORY_BYTES);
    enum ist_status status = ist_get(client, &get, 1, 0);
    assert_int_equal(get.status, status);
    for (size_t i = 0; i < MEMORY_BYTES && status == IST_OK; i++) {
        assert_int_equal(memory[i], i >= 100 && i < 1100 ? 7 : 1);
    }
    return status;
}

static void test_answer__honest__taken_however_it_is_cut(void **state) {
    (void)state;
    static uint8_t memory[MEMORY_BYTES];
    for (enum trick trick = HONEST; trick <= CREDITS_GALORE; trick++) {
        struct ist_client *client = NULL;
        house_begin((struct house_options){.seed = 80 + trick});
        start(trick);
        assert_int_equal(connect_client(&client), IST_OK);
        assert_int_equal(ist_memory_register(client, memory, sizeof(memory)), IST_OK);
        for (unsigned i = 0; i < 10; i++) {
            assert_int_equal(ask(client, memory), IST_OK);
        }
        ist_client_free(client);
        stop();
        house_end();
    }
}

static void test_answer__each_lie__ends_the_session(void **state) {
    (void)state;
    static uint8_t memory[MEMORY_BYTES];
    for (enum trick trick = ANSWER_GARBAGE; trick < TRICKS; trick++) {
        struct ist_client *client = NULL;
        house_begin((struct house_options){.seed = 90 + trick});
        start(trick);
        assert_int_equal(connect_client(&client), IST_OK);
        assert_int_equal(ist_memory_register(client, memory, sizeof(memory)), IST_OK);
        enum ist_status status = ask(client, memory);
        if (status != (trick == ANSWER_CUT_OFF ? IST_PEER : IST_PROTOCOL)) {
            fail_msg("trick %d: %s", (int)trick, ist_status_name(status));
        }
        assert_int_equal(ist_client_transport(client), IST_TRANSPORT_TCP); /* not connected */
        ist_client_free(client);
        stop();
        house_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer__honest__taken_however_it_is_cut),
        cmocka_unit_test(test_handshake__each_lie__refused),
        cmocka_unit_test(test_handshake__a_lie_behind_its_end__ends_the_session),
        cmocka_unit_test(test_answer__each_lie__ends_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

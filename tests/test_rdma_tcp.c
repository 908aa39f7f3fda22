/* src/daemon/tcp with src/daemon/rdma: CONNECT, which is answered when the queue pair is there, and what the two
 * connections of a client do to each other. */
#include "tests/rdma_server.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "infinistore/limits.h"

/* A client's byte stream. */
struct stream {
    int fd;
    uint8_t in[4096];
    size_t in_bytes;
    bool is_closed;
};

static int setup_tcp(void **state) {
    (void)state;
    return setup_with((struct rdma_server_options){.seed = 5, .over_tcp = true});
}

static struct ist_hca_device *server(void) {
    return ist_hca_find_device(f.hca, "server");
}

static void hold_neighbours(bool hold) {
    ist_hca_set_patience(f.hca, 60000); /* machines are slow, and tests must not depend on how slow */
    ist_hca_hold_neighbours(server(), hold);
}

static void stream_say(struct stream *stream, enum ist_operation operation, uint64_t id,
                       const uint8_t *body, size_t bytes) {
    const struct ist_frame header = {
        .operation = operation, .request_id = id, .body_bytes = (uint32_t)bytes};
    uint8_t frame[IST_FRAME_BYTES + 256];
    assert_true(bytes <= 256);
    ist_frame_encode(&header, frame);
    memcpy(frame + IST_FRAME_BYTES, body, bytes);
    bytes += IST_FRAME_BYTES;
    assert_int_equal(send(stream->fd, frame, bytes, MSG_NOSIGNAL), bytes);
}

static void stream_begin(struct stream *stream) {
    int ends[2];
    *stream = (struct stream){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    stream->fd = ends[0];
    ist_tcp_accept(f.tcp, ends[1]);
    const struct ist_hello hello = {1, 1, ist_span_of_string("test")};
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_hello(&hello, body, sizeof(body), &written), IST_OK);
    stream_say(stream, IST_OP_HELLO, 1, body, written);
}

static void stream_connect(struct stream *stream, struct client *client, uint64_t id) {
    struct ist_endpoint endpoint;
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    client_make(client, &endpoint);
    assert_int_equal(ist_codec_encode_endpoint(&endpoint, body, sizeof(body), &written), IST_OK);
    stream_say(stream, IST_OP_CONNECT, id, body, written);
}

static void stream_ping(struct stream *stream, uint64_t id) {
    stream_say(stream, IST_OP_PING, id, (const uint8_t *)"", 0);
}

static void stream_take(struct stream *stream) {
    ssize_t got = recv(stream->fd, stream->in + stream->in_bytes, sizeof(stream->in) - stream->in_bytes,
                       MSG_DONTWAIT);
    if (got > 0) {
        stream->in_bytes += (size_t)got;
    } else if (got == 0 || errno != EAGAIN) {
        stream->is_closed = true;
    }
}

/* Is there a whole reply? */
static bool stream_has(const struct stream *stream, struct ist_frame *frame) {
    return ist_frame_decode(ist_span_of(stream->in, stream->in_bytes), frame) == IST_OK &&
           stream->in_bytes >= IST_FRAME_BYTES + frame->body_bytes;
}

/* The next reply, which must be to `id`; what it says of an end: client->own. */
static void stream_hear(struct stream *stream, uint64_t id, struct client *client) {
    struct ist_frame frame;
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    while (!stream_has(stream, &frame)) {
        assert_true(ist_clock_ns() < until_ns && !stream->is_closed);
        turn();
        stream_take(stream);
    }
    assert_int_equal(frame.request_id, id);
    if (client != NULL) {
        struct ist_span body = ist_span_of(stream->in + IST_FRAME_BYTES, frame.body_bytes);
        assert_int_equal(ist_codec_decode_endpoint(body, &client->own), IST_OK);
    }
    size_t bytes = IST_FRAME_BYTES + frame.body_bytes;
    memmove(stream->in, stream->in + bytes, stream->in_bytes - bytes);
    stream->in_bytes -= bytes;
}

static void turns(struct stream *stream) {
    for (int i = 0; i < 200; i++) {
        turn();
        stream_take(stream);
    }
}

static void turn_until_waiting(void) {
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    while (ist_hca_waiting(f.hca) == 0) {
        assert_true(ist_clock_ns() < until_ns);
        turn();
    }
}

/* It has asked for RDMA, and the server looks for its neighbour, who does not answer. */
static void begin_and_wait(struct stream *stream) {
    stream_begin(stream);
    stream_hear(stream, 1, NULL);
    hold_neighbours(true);
    stream_connect(stream, &f.clients[0], 2);
    turn_until_waiting();
}

static void test_connect__takes_its_time__answered_in_order_and_others_meanwhile(void **state) {
    (void)state;
    struct stream asks, other;
    struct client *client = &f.clients[0];
    stream_begin(&asks);
    stream_begin(&other);
    stream_hear(&asks, 1, NULL);
    stream_hear(&other, 1, NULL);
    hold_neighbours(true);
    stream_connect(&asks, client, 2);
    stream_ping(&asks, 3);
    turn_until_waiting();
    stream_ping(&other, 2);
    stream_hear(&other, 2, NULL);
    turns(&asks);
    assert_int_equal(asks.in_bytes, 0);
    hold_neighbours(false);
    stream_hear(&asks, 2, client);
    stream_hear(&asks, 3, NULL);
    client->server = NULL; /* TCP's */
    assert_int_equal(client_finish(client), IST_OK);
    client_request(client, IST_OP_EXISTS, 1, &(struct place){"nobody", 0, 0}, 1);
    assert_int_equal(client_reply(client, 1, 0), IST_NOT_FOUND);
    close(asks.fd);
    turn_until(ist_rdma_connections(f.rdma) == 0);
    close(other.fd);
}

static void test_connect__twice__invalid_and_the_first_goes_on(void **state) {
    (void)state;
    struct stream stream;
    stream_begin(&stream);
    stream_hear(&stream, 1, NULL);
    stream_connect(&stream, &f.clients[0], 2);
    stream_hear(&stream, 2, &f.clients[0]);
    assert_int_equal(client_finish(&f.clients[0]), IST_OK);
    stream_connect(&stream, &f.clients[1], 3);
    stream_hear(&stream, 3, &f.clients[1]);
    assert_int_equal(f.clients[1].own.status, IST_INVALID);
    client_request(&f.clients[0], IST_OP_EXISTS, 1, &(struct place){"nobody", 0, 0}, 1);
    assert_int_equal(client_reply(&f.clients[0], 1, 0), IST_NOT_FOUND);
    close(stream.fd);
    turn_until(ist_tcp_connections(f.tcp) == 0);
}

static void test_connect__nobody_answers_at_the_address__peer_and_tcp_goes_on(void **state) {
    (void)state;
    struct stream stream;
    stream_begin(&stream);
    stream_hear(&stream, 1, NULL);
    hold_neighbours(true);
    ist_hca_set_patience(f.hca, 50);
    stream_connect(&stream, &f.clients[0], 2);
    stream_hear(&stream, 2, &f.clients[0]);
    assert_int_equal(f.clients[0].own.status, IST_PEER);
    stream_ping(&stream, 3);
    stream_hear(&stream, 3, NULL);
    close(stream.fd);
    turn_until(ist_tcp_connections(f.tcp) == 0 && ist_rdma_connections(f.rdma) == 0);
}

static void turn_until_left(size_t over_tcp, size_t over_rdma) {
    uint64_t until_ns = ist_clock_ns() + 20 * 1000000000ull;
    while (ist_tcp_connections(f.tcp) != over_tcp || ist_rdma_connections(f.rdma) != over_rdma) {
        assert_true(ist_clock_ns() < until_ns);
        turn();
    }
}

/* The one that is being connected must stay until that is over; the one that waits goes at once, and waits no more. */
static void test_streams__closed_while_connecting__noticed_at_once(void **state) {
    (void)state;
    struct stream streams[2];
    hold_neighbours(true);
    for (size_t i = 0; i < 2; i++) {
        stream_begin(&streams[i]);
        stream_hear(&streams[i], 1, NULL);
        stream_connect(&streams[i], &f.clients[i], 2);
        turn_until_waiting();
    }
    turn_until_left(2, 2);
    close(streams[1].fd);
    turn_until_left(1, 1);
    close(streams[0].fd);
    turn_until_left(0, 1);
    assert_int_equal(ist_hca_waiting(f.hca), 1);
    hold_neighbours(false);
    turn_until_left(0, 0);
}

/* Bytes behind a CONNECT stay where they are, and wake nobody again and again. */
static void test_stream__goes_on_while_connecting__read_afterwards(void **state) {
    (void)state;
    struct stream stream;
    begin_and_wait(&stream);
    turns(&stream);
    stream_ping(&stream, 3);
    turns(&stream);
    assert_sleeps();
    hold_neighbours(false);
    stream_hear(&stream, 2, &f.clients[0]);
    stream_hear(&stream, 3, NULL);
    close(stream.fd);
    turn_until_left(0, 0);
}

static void test_stream__closed_while_connecting__both_go(void **state) {
    (void)state;
    struct stream stream;
    begin_and_wait(&stream);
    close(stream.fd);
    hold_neighbours(false);
    turn_until_left(0, 0);
}

/* The session is over before its answer comes, which then must not be given. */
static void test_session__runs_out_of_time_while_connecting__both_go(void **state) {
    (void)state;
    struct stream stream;
    begin_and_wait(&stream);
    ist_engine_tick(f.engine, ist_clock_ns() + IST_PROGRESS_TIMEOUT_NS);
    turns(&stream);
    assert_true(stream.is_closed);
    hold_neighbours(false);
    turn_until_left(0, 0);
    close(stream.fd);
}

static void test_drain__out_of_time_while_connecting__both_go(void **state) {
    (void)state;
    struct stream stream;
    begin_and_wait(&stream);
    ist_engine_drain(f.engine, ist_clock_ns());
    ist_engine_tick(f.engine, ist_clock_ns() + IST_PROGRESS_TIMEOUT_NS);
    turns(&stream);
    hold_neighbours(false);
    turn_until_left(0, 0);
    close(stream.fd);
}

static void test_daemon__stops_while_connecting__nothing_is_left(void **state) {
    (void)state;
    struct stream stream;
    stream_begin(&stream);
    stream_hear(&stream, 1, NULL);
    hold_neighbours(true);
    ist_hca_set_patience(f.hca, 200); /* which teardown() waits for */
    stream_connect(&stream, &f.clients[0], 2);
    turn_until_waiting();
    close(stream.fd); /* the rest is done, and checked, by teardown() */
}

static void test_rdma__ends__so_does_the_stream(void **state) {
    (void)state;
    struct stream stream;
    stream_begin(&stream);
    stream_hear(&stream, 1, NULL);
    stream_connect(&stream, &f.clients[0], 2);
    stream_hear(&stream, 2, &f.clients[0]);
    assert_int_equal(client_finish(&f.clients[0]), IST_OK);
    client_say(&f.clients[0], (const uint8_t *)"GET / HTTP/1.1", 14);
    turn_until(ist_tcp_connections(f.tcp) == 0);
    stream_take(&stream);
    assert_true(stream.is_closed);
    close(stream.fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_tcp, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_connect__takes_its_time__answered_in_order_and_others_meanwhile),
        TEST(test_connect__twice__invalid_and_the_first_goes_on),
        TEST(test_connect__nobody_answers_at_the_address__peer_and_tcp_goes_on),
        TEST(test_streams__closed_while_connecting__noticed_at_once),
        TEST(test_stream__goes_on_while_connecting__read_afterwards),
        TEST(test_stream__closed_while_connecting__both_go),
        TEST(test_session__runs_out_of_time_while_connecting__both_go),
        TEST(test_drain__out_of_time_while_connecting__both_go),
        TEST(test_daemon__stops_while_connecting__nothing_is_left),
        TEST(test_rdma__ends__so_does_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

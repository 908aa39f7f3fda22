/* src/daemon/rdma against clients that break the rules. Each ends its own session at worst; another's goes on, no buffer
 * is lost and no pin. */
#include "tests/rdma_server.h"

#include <endian.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <infiniband/verbs.h>

#include "daemon/rdma_state.h"
#include "engine/state.h"

#define VALUE_BYTES 50000u
#define FLOOD 3000u

#define villain (&f.clients[0])
#define other (&f.clients[1])

/* ---- the clocks, for all of this program --------------------------------------------------------------------- */

static struct {
    time_t wall_sec,
        passed_sec; /* what the wall clock was set to beside the time that passed; what passes at once */
} skew;

/* libev is to find them, too. */
#define SEEN __attribute__((visibility("default")))

SEEN int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    now->tv_sec += skew.passed_sec + (clock == CLOCK_REALTIME ? skew.wall_sec : 0);
    return (int)result;
}

SEEN int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long result = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += skew.passed_sec + skew.wall_sec;
    return (int)result;
}

static int setup_two(void **state) {
    setup(state);
    other->process = &f.processes[1];
    client_begin(villain);
    client_begin(other);
    return 0;
}

/* Requests of all kinds, and more at a time than there are buffers. */
static void assert_other_is_served(void) {
    const struct place put = {"other", 12u << 20, VALUE_BYTES}, get = {"other", 14u << 20, VALUE_BYTES};
    fill(put.at, 9, put.bytes);
    client_request(other, IST_OP_PUT, 1, &put, 1);
    assert_int_equal(client_reply(other, 1, 0), IST_OK);
    client_request(other, IST_OP_GET, 2, &get, 1);
    assert_int_equal(client_reply(other, 2, 0), IST_OK);
    assert_filled(get.at, 9, get.bytes);
    for (uint64_t id = 3; id < 60; id++) {
        client_request(other, IST_OP_EXISTS, id, &(struct place){"nobody", 0, 0}, 1);
    }
    for (uint64_t id = 3; id < 60; id++) {
        assert_int_equal(client_reply(other, id, 0), IST_NOT_FOUND);
    }
    assert_int_equal(other->ended, 0);
}

static void assert_villain_ends(void) {
    turn_until(villain->ended == 1);
    /* The log's limit is for lines that name a session; this one comes once in a while. */
    assert_int_equal(f.anonymous, times_logged("receive buffers run low"));
    assert_true(f.anonymous <= 1);
    assert_int_equal(ist_rdma_connections(f.rdma), 1);
    assert_other_is_served();
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.reserved_bytes, 0);
    assert_int_equal(usage.doomed_bytes, 0);
}

/* ---- requests by the rules, with wrong places -------------------------------------------------------------- */

static void test_places__out_of_the_region__own_session_ends(void **state) {
    static const uint64_t ats[] = {CLIENT_BYTES - VALUE_BYTES + 1, CLIENT_BYTES, 1ull << 40,
                                   UINT64_MAX - 0x7fffffffffffull};
    for (size_t i = 0; i < 2 * sizeof(ats) / sizeof(ats[0]); i++) {
        if (i > 0) {
            teardown(state);
            setup_two(state);
        }
        const struct place good = {"k", 0, VALUE_BYTES}, bad = {"k", ats[i / 2], VALUE_BYTES};
        client_request(villain, IST_OP_PUT, 1, &good, 1);
        assert_int_equal(client_reply(villain, 1, 0), IST_OK);
        client_request(villain, i % 2 == 0 ? IST_OP_PUT : IST_OP_GET, 2, &bad, 1);
        assert_villain_ends();
    }
}

static void test_places__memory_of_another__own_session_ends(void **state) {
    (void)state;
    const struct place put = {"k", 0, VALUE_BYTES};
    struct ist_region own = f.processes[0].region;
    f.processes[0].region = f.processes[1].region; /* its key, which our queue pair does not know */
    client_request(villain, IST_OP_PUT, 1, &put, 1);
    f.processes[0].region = own;
    assert_villain_ends();
}

/* ---- posts behind the back of the library -------------------------------------------------------------------- */

static struct ibv_qp *own_queue_pair(void) {
    struct ist_queue_pair_end end;
    ist_queue_pair_end(villain->queue_pair, &end);
    return ist_hca_find_qp(f.hca, end.number);
}

static void drain_own_queue(struct ibv_qp *qp) {
    struct ibv_wc done[16];
    while (ibv_poll_cq(qp->send_cq, 16, done) > 0) {
    }
}

/* Posts it, as soon as there is room; false: the queue pair has failed. */
static bool post(struct ibv_send_wr *request) {
    struct ibv_qp *qp = own_queue_pair();
    struct ibv_send_wr *refused;
    villain->stalls = true; /* the library would not understand what comes out */
    for (int i = 0; i < TURNS_MAX && villain->ended == 0; i++) {
        drain_own_queue(qp);
        if (ibv_post_send(qp, request, &refused) == 0) {
            return true;
        }
        turn();
    }
    return false;
}

/* Each in a place of its own: those before may not have left. */
#define PLACES 512u
#define PLACE_BYTES 4096u

static bool post_message(const void *bytes, uint32_t count, uint32_t credits) {
    static unsigned next;
    uint8_t *at = f.memory + next++ % PLACES * PLACE_BYTES;
    memcpy(at, bytes, count);
    struct ibv_sge piece = {.addr = (uintptr_t)at, .length = count, .lkey = f.processes[0].region.lkey};
    struct ibv_send_wr request = {.sg_list = &piece,
                                  .num_sge = count > 0,
                                  .opcode = IBV_WR_SEND_WITH_IMM,
                                  .imm_data = htobe32(credits),
                                  .send_flags = IBV_SEND_SIGNALED};
    return post(&request);
}

static bool post_ping(uint64_t id, uint32_t credits) {
    uint8_t frame[IST_FRAME_BYTES];
    const struct ist_frame header = {.operation = IST_OP_PING, .request_id = id};
    ist_frame_encode(&header, frame);
    return post_message(frame, sizeof(frame), credits);
}

static void test_messages__beyond_its_credits__own_session_ends(void **state) {
    (void)state;
    for (uint64_t id = 1; id <= FLOOD && post_ping(id, 0); id++) {
    }
    assert_villain_ends();
}

/* It gives credits for buffers that it does not have: what is sent to it waits at its end, for ever if need be. */
static void test_messages__credits_that_are_not_there__others_are_served(void **state) {
    (void)state;
    for (uint64_t id = 1; id <= IST_RDMA_MESSAGES; id++) {
        assert_true(post_ping(id, UINT32_MAX));
    }
    assert_other_is_served();
    ist_rdma_disconnect(villain->server);
    turn_until(ist_rdma_connections(f.rdma) == 1);
    assert_other_is_served();
}

static void test_messages__without_bytes_and_without_end__others_are_served(void **state) {
    (void)state;
    for (unsigned i = 0; i < FLOOD; i++) {
        assert_true(post_message("", 0, i % 2 == 0 ? UINT32_MAX : 0));
    }
    assert_other_is_served();
    ist_rdma_disconnect(villain->server);
    turn_until(ist_rdma_connections(f.rdma) == 1);
    assert_other_is_served();
}

static void test_messages__longer_than_a_buffer__own_session_ends(void **state) {
    (void)state;
    static const uint8_t bytes[IST_RDMA_MESSAGE_BYTES + 1];
    assert_true(post_message(bytes, sizeof(bytes), 0));
    assert_villain_ends();
}

static void test_requests__one_byte_a_message__understood(void **state) {
    (void)state;
    uint8_t frame[IST_FRAME_BYTES];
    const struct ist_frame header = {.operation = IST_OP_PING, .request_id = 7};
    ist_frame_encode(&header, frame);
    for (size_t i = 0; i < sizeof(frame); i++) {
        client_say(villain, frame + i, 1);
    }
    assert_int_equal(client_reply(villain, 7, 0), IST_OK);
    assert_other_is_served();
}

/* ---- what waits for the client ------------------------------------------------------------------------------- */

/* A request with so many keys of no bytes, which nobody has, or values of no bytes for them; returns its bytes. */
static size_t empty_keys(enum ist_operation operation, size_t count, uint8_t *out) {
    static const struct ist_remote remotes[KEYS_MAX];
    static const uint64_t lengths[KEYS_MAX];
    static struct ist_span keys[1u << 14];
    bool moves = operation == IST_OP_PUT;
    size_t written;
    assert_true(count <= (moves ? KEYS_MAX : sizeof(keys) / sizeof(keys[0])));
    for (size_t i = 0; i < count; i++) {
        keys[i] = ist_span_of_string("");
    }
    assert_int_equal(ist_codec_encode_remote_keys(keys, moves ? lengths : NULL, moves ? remotes : NULL,
                                                  count, out + IST_FRAME_BYTES, 3 * count * 16,
                                                  &written),
                     IST_OK);
    const struct ist_frame header = {.operation = operation, .body_bytes = (uint32_t)written};
    ist_frame_encode(&header, out);
    return IST_FRAME_BYTES + written;
}

static void post_all(const uint8_t *bytes, size_t count) {
    for (size_t at = 0; at < count; at += IST_RDMA_MESSAGE_BYTES) {
        size_t left = count - at;
        uint32_t part = left < IST_RDMA_MESSAGE_BYTES ? (uint32_t)left : IST_RDMA_MESSAGE_BYTES;
        assert_true(post_message(bytes + at, part, 0));
    }
}

/* Of replies that the villain does not take, what may wait before it is read no more. */
#define WAITING_BYTES_MAX (256u << 10)

static uint64_t waiting_bytes(void) {
    return villain->server->session->outbox.short_bytes;
}

/* Until no more than so many bytes are missing to where it is read no more. */
static void fill_up_to(uint64_t missing) {
    static uint8_t frame[1u << 20];
    const struct ist_frame stat = {.operation = IST_OP_STAT};
    ist_frame_encode(&stat, frame);
    uint64_t before, last = 0;
    do {
        before = waiting_bytes();
        post_all(frame, IST_FRAME_BYTES);
        turn_until(waiting_bytes() > before);
        last = last < waiting_bytes() - before ? waiting_bytes() - before : last;
    } while (waiting_bytes() + last < WAITING_BYTES_MAX);
    size_t keys = (size_t)(WAITING_BYTES_MAX - waiting_bytes() - missing);
    before = waiting_bytes();
    post_all(frame, empty_keys(IST_OP_EXISTS, keys, frame));
    turn_until(waiting_bytes() > before);
    assert_true(waiting_bytes() <= WAITING_BYTES_MAX);
    assert_true(waiting_bytes() >= WAITING_BYTES_MAX - missing);
}

/* The session stops reading in the same step in which it turns out that it must end. */
static void test_block__not_registered_and_replies_not_taken__own_session_ends(void **state) {
    uint8_t frames[IST_RDMA_MESSAGE_BYTES];
    teardown(state);
    setup_with((struct rdma_server_options){.seed = 31, .is_half_registered = true});
    other->process = &f.processes[1];
    client_begin(villain);
    client_begin(other);
    fill_up_to(KEYS_MAX);
    const struct ist_span keys[] = {ist_span_of_string("a"), ist_span_of_string("b")};
    const uint64_t lengths[] = {SEGMENT_BYTES / 4 * 3, SEGMENT_BYTES / 4 * 3};
    const struct ist_remote remotes[2] = {{0}};
    size_t bytes;
    assert_int_equal(ist_codec_encode_remote_keys(keys, lengths, remotes, 2, frames + IST_FRAME_BYTES,
                                                  sizeof(frames) - IST_FRAME_BYTES, &bytes),
                     IST_OK);
    const struct ist_frame header = {.operation = IST_OP_PUT, .body_bytes = (uint32_t)bytes};
    ist_frame_encode(&header, frames);
    bytes += IST_FRAME_BYTES;
    bytes += empty_keys(IST_OP_PUT, KEYS_MAX, frames + bytes);
    post_all(frames, bytes);
    assert_true(post_ping(1, 0));
    assert_villain_ends();
}

static uint64_t pings_answered(void) {
    struct ist_stats stats;
    ist_engine_stats(f.engine, &stats);
    return stats.requests[IST_OP_PING][ist_stats_status_index(IST_OK)];
}

/* How long it waits for a last reply to leave is no matter of what time of the day it is. */
static void test_last_reply__not_taken_and_the_wall_clock_is_put_back__own_session_ends(void **state) {
    (void)state;
    static const uint8_t garbage[] = "garbage";
    const struct ist_queue_pair *queue_pair = villain->server->queue_pair;
    for (uint64_t id = 1; ist_queue_pair_outstanding(queue_pair) == 0; id++) { /* it has buffers */
        assert_true(id < 40 && post_ping(id, UINT32_MAX));
        turn_until(pings_answered() == id);
        for (unsigned i = 0; i < 2000 && ist_queue_pair_outstanding(queue_pair) > 0; i++) {
            turn();
        }
    }
    assert_true(post_message(garbage, sizeof(garbage), 0));
    turn_until(villain->server->is_closing);
    skew.wall_sec = -3600;
    turn();
    skew.passed_sec += 5;
    for (unsigned i = 0; i < 1000 && villain->ended == 0; i++) {
        turn();
    }
    assert_int_equal(villain->ended, 1);
    skew.wall_sec = 0;
    assert_villain_ends();
}

/* No key of the server ever leaves it, and its queue pairs allow nobody anything. */
static void test_one_sided__by_the_client__own_session_ends(void **state) {
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ};
    for (size_t i = 0; i < 2; i++) {
        if (i > 0) {
            teardown(state);
            setup_two(state);
        }
        struct ist_piece piece[IST_ONE_SIDED_PIECES_MAX];
        assert_int_equal(ist_registration_find(f.registration, 0, 1, piece), 1);
        struct ibv_sge local = {
            .addr = (uintptr_t)f.memory, .length = 64, .lkey = f.processes[0].region.lkey};
        struct ibv_send_wr request = {
            .sg_list = &local,
            .num_sge = 1,
            .opcode = opcodes[i],
            .send_flags = IBV_SEND_SIGNALED,
            .wr.rdma = {.remote_addr = piece[0].address, .rkey = piece[0].lkey}};
        memset(f.memory, 0xee, 64);
        assert_true(post(&request));
        assert_villain_ends();
        assert_int_not_equal(f.pool[0], 0xee);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_places__out_of_the_region__own_session_ends),
        TEST(test_places__memory_of_another__own_session_ends),
        TEST(test_messages__beyond_its_credits__own_session_ends),
        TEST(test_messages__credits_that_are_not_there__others_are_served),
        TEST(test_messages__without_bytes_and_without_end__others_are_served),
        TEST(test_messages__longer_than_a_buffer__own_session_ends),
        TEST(test_requests__one_byte_a_message__understood),
        TEST(test_block__not_registered_and_replies_not_taken__own_session_ends),
        TEST(test_last_reply__not_taken_and_the_wall_clock_is_put_back__own_session_ends),
        TEST(test_one_sided__by_the_client__own_session_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

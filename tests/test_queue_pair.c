/* src/verbs on the software HCA: two ends, messages under credits, one-sided work, what fails and what is left. */
#include "tests/replay.h"

#include <string.h>

#include "sim/hca/hca.h"
#include "verbs/memory.h"
#include "verbs/queue_pair.h"

#define MESSAGES 4u
#define MESSAGE_BYTES 512u
#define SEND_WR 8u
#define BYTES (256u << 10)
#define EVENTS 16u
#define HELD_MAX 64u

struct side {
    struct ist_device *device;
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
    struct ist_region region;
    uint8_t *memory; /* BYTES */
    uint64_t work;   /* that has completed */
    uint64_t failures;
    const char *failure; /* the first */
    uint64_t received;   /* messages with bytes */
    uint64_t checked;    /* of these, in order and right */
};

static struct {
    struct ist_hca *hca;
    struct failing_alloc failing;
    struct ist_log log;
    unsigned errors;
    struct side side[2];
} f;

static void count_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)session;
    (void)message;
    f.errors += level == IST_LOG_ERROR;
}

static void world_init(uint64_t seed) {
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.log = (struct ist_log){.level = IST_LOG_DEBUG, .write = count_line};
    struct ist_hca_config config;
    ist_hca_config_init(&config, seed);
    f.hca = ist_hca_new(&config);
    assert_non_null(f.hca);
    struct ist_hca_device_config device;
    ist_hca_device_config_roce(&device, "roce0", 0);
    assert_non_null(ist_hca_add_device(f.hca, &device));
    ist_hca_device_config_roce(&device, "roce1", 1);
    assert_non_null(ist_hca_add_device(f.hca, &device));
}

static enum ist_status side_open(struct side *side, const char *name, uint32_t queue_pairs_max) {
    char why[128];
    const struct ist_device_config device = {
        .name = name, .hint_gid_index = -1, .alloc = &f.failing.alloc, .log = &f.log};
    enum ist_status status = ist_device_open(&device, &side->device, why, sizeof(why));
    if (status != IST_OK) {
        return status;
    }
    const struct ist_completion_config completion = {.device = side->device,
                                                     .queue_pairs_max = queue_pairs_max,
                                                     .send_wr = SEND_WR,
                                                     .messages = MESSAGES,
                                                     .message_bytes = MESSAGE_BYTES,
                                                     .alloc = &f.failing.alloc,
                                                     .log = &f.log};
    return ist_completion_new(&completion, &side->completion);
}

static enum ist_status side_make(size_t which) {
    struct side *side = &f.side[which];
    enum ist_status status = side_open(side, which == 0 ? "roce0" : "roce1", 2);
    if (status != IST_OK) {
        return status;
    }
    side->memory = calloc(1, BYTES);
    assert_non_null(side->memory);
    status = ist_region_register(side->device, side->memory, BYTES,
                                 which == 0 ? IST_MEMORY_LOCAL : IST_MEMORY_REMOTE, &side->region);
    const struct ist_queue_pair_config config = {.completion = side->completion,
                                                 .remote_access = which == 1,
                                                 .packet_number = 0xfffff0u + (uint32_t)which,
                                                 .user = side};
    return status == IST_OK ? ist_queue_pair_new(&config, &side->queue_pair) : status;
}

static enum ist_status world_connect(void) {
    enum ist_status status = side_make(0);
    status = status == IST_OK ? side_make(1) : status;
    struct ist_queue_pair_end ends[2];
    for (size_t i = 0; i < 2 && status == IST_OK; i++) {
        ist_queue_pair_end(f.side[i].queue_pair, &ends[i]);
    }
    for (size_t i = 0; i < 2 && status == IST_OK; i++) {
        status = ist_queue_pair_connect(f.side[i].queue_pair, &ends[1 - i]);
    }
    return status;
}

static void world_begin(uint64_t seed) {
    world_init(seed);
    assert_int_equal(world_connect(), IST_OK);
}

static void side_fini(struct side *side) {
    ist_queue_pair_free(side->queue_pair);
    ist_region_drop(&side->region);
    ist_completion_free(side->completion);
    ist_device_close(side->device);
    free(side->memory);
    *side = (struct side){0};
}

/* Whatever there is of it; nothing may be left. */
static void world_end(void) {
    side_fini(&f.side[0]);
    side_fini(&f.side[1]);
    ist_hca_free(f.hca);
    assert_int_equal(f.failing.live, 0);
}

/* A message tells its number, and its length by it. */
static uint32_t message_bytes(uint64_t number) {
    return 8 + (uint32_t)(number * 37 % (MESSAGE_BYTES - 8));
}

static void check_message(struct side *side, const uint8_t *bytes, uint32_t count) {
    uint64_t number;
    assert_int_equal(count, message_bytes(side->received));
    memcpy(&number, bytes, sizeof(number));
    assert_int_equal(number, side->received);
    side->checked++;
}

static void handle(struct side *side, const struct ist_completion_event *event) {
    struct ist_queue_pair *queue_pair = event->queue_pair;
    if (event->kind == IST_COMPLETION_FAILED) {
        side->failure = side->failures++ == 0 ? event->failure : side->failure;
    }
    if (queue_pair != NULL) {
        assert_ptr_equal(ist_queue_pair_user(queue_pair), side);
    }
    if (!event->has_buffer) {
        if (queue_pair != NULL) {
            side->work += ist_queue_pair_retire(queue_pair, event->count);
        }
        return;
    }
    bool has_bytes = event->kind == IST_COMPLETION_RECEIVED && queue_pair != NULL &&
                     ist_queue_pair_received(queue_pair, event);
    if (has_bytes) {
        check_message(side, ist_completion_buffer(side->completion, event->buffer), event->bytes);
        side->received++;
    }
    assert_int_equal(ist_completion_give_back(side->completion, event->buffer), IST_OK);
    if (has_bytes) {
        ist_queue_pair_owe_credit(queue_pair);
    }
}

/* All that is there for a side; returns how much. */
static size_t side_turn(struct side *side) {
    struct ist_completion_event events[EVENTS];
    size_t total = 0, count;
    ist_completion_arm(side->completion);
    while ((count = ist_completion_poll(side->completion, events, EVENTS)) > 0) {
        for (size_t i = 0; i < count; i++) {
            handle(side, &events[i]);
        }
        total += count;
    }
    if (ist_queue_pair_is_ready(side->queue_pair)) {
        (void)ist_queue_pair_flush(side->queue_pair);
    }
    return total;
}

static void settle(void) {
    side_turn(&f.side[0]);
    side_turn(&f.side[1]);
    do {
        ist_hca_run(f.hca, UINT64_MAX);
    } while (side_turn(&f.side[0]) + side_turn(&f.side[1]) > 0);
}

static bool try_message(size_t from, uint64_t number) {
    struct ist_queue_pair *queue_pair = f.side[from].queue_pair;
    uint32_t room = ist_queue_pair_message_room(queue_pair);
    if (room == 0) {
        return false;
    }
    assert_int_equal(room, MESSAGE_BYTES);
    uint8_t *bytes = ist_queue_pair_message(queue_pair);
    memcpy(bytes, &number, sizeof(number));
    ist_queue_pair_add_message(queue_pair, message_bytes(number));
    return true;
}

static void add_work(bool read, uint64_t at, uint32_t bytes) {
    const struct ist_one_sided work = {
        .read = read,
        .piece_count = bytes > 1 ? 2 : 1,
        .pieces = {{f.side[0].region.address + at, bytes - bytes / 2, f.side[0].region.lkey},
                   {f.side[0].region.address + at + bytes - bytes / 2, bytes / 2,
                    f.side[0].region.lkey}},
        .remote_address = f.side[1].region.address + at,
        .rkey = f.side[1].region.rkey};
    ist_queue_pair_add_work(f.side[0].queue_pair, &work);
}

static void fill(uint8_t *memory, uint64_t seed) {
    for (size_t i = 0; i < BYTES; i++) {
        memory[i] = (uint8_t)(random_next(&seed));
    }
}

/* ---- tests ---------------------------------------------------------------------------------------------- */

static void test_open__gid__the_v2_entry_with_an_ipv4_address(void **state) {
    (void)state;
    world_begin(1);
    struct ist_queue_pair_end end;
    ist_queue_pair_end(f.side[0].queue_pair, &end);
    static const uint8_t expected[16] = {[10] = 0xff, 0xff, 10, 0, 0, 1};
    assert_memory_equal(end.gid, expected, 16);
    struct ist_gid_entry gid;
    assert_int_equal(ist_device_gid(f.side[0].device, NULL, &gid), IST_OK);
    assert_int_equal(gid.index, 3);
    assert_int_equal(end.mtu_bytes, 4096);
    assert_int_equal(end.messages, MESSAGES);
    world_end();
}

/* Many more than credits, in both directions at once, at random. */
static void random_messages(uint64_t seed) {
    uint64_t random = seed, sent[2] = {0};
    world_begin(seed);
    while (sent[0] < 200 || sent[1] < 200) {
        size_t from = random_below(&random, 2);
        size_t burst = random_below(&random, 6);
        while (burst > 0 && sent[from] < 200 && try_message(from, sent[from])) {
            sent[from]++;
            burst--;
        }
        if (random_below(&random, 3) != 0) {
            assert_int_equal(ist_queue_pair_flush(f.side[from].queue_pair), IST_OK);
        }
        ist_hca_run(f.hca, random_below(&random, 12));
        side_turn(&f.side[random_below(&random, 2)]);
    }
    settle();
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(f.side[i].received, 200);
        assert_int_equal(f.side[i].checked, 200);
        assert_int_equal(f.side[i].failures, 0);
        assert_int_equal(ist_queue_pair_outstanding(f.side[i].queue_pair), 0);
    }
    assert_int_equal(f.errors, 0);
    world_end();
}

static void test_messages__both_ways_at_random__all_arrive_in_order(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 40 : 3, random_messages);
}

static void test_messages__one_way_only__credits_come_back_by_themselves(void **state) {
    (void)state;
    world_begin(7);
    for (uint64_t sent = 0; sent < 50;) {
        if (try_message(0, sent)) {
            sent++;
        } else {
            settle();
            assert_true(ist_queue_pair_message_room(f.side[0].queue_pair) > 0);
        }
    }
    settle();
    assert_int_equal(f.side[1].checked, 50);
    world_end();
}

static void test_messages__receiver_does_not_give_back__sender_stops_at_its_credits(void **state) {
    (void)state;
    world_begin(8);
    uint64_t sent = 0;
    while (sent < 100 && try_message(0, sent)) {
        sent++;
        assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
        ist_hca_run(f.hca, UINT64_MAX);
        side_turn(&f.side[0]);
    }
    assert_int_equal(sent, MESSAGES);
    settle();
    assert_int_equal(f.side[1].checked, MESSAGES);
    assert_true(ist_queue_pair_message_room(f.side[0].queue_pair) > 0);
    world_end();
}

/* READs and WRITEs of a whole memory in pieces, and a message behind the last WRITE: when it is there, so are they. */
static void random_work(uint64_t seed) {
    uint64_t random = seed;
    world_begin(seed);
    fill(f.side[1].memory, seed);
    for (unsigned round = 0; round < 2; round++) {
        bool read = round == 0;
        uint64_t at = 0, added = 0, before = f.side[0].work;
        while (at < BYTES) {
            while (at < BYTES && ist_queue_pair_room(f.side[0].queue_pair) > 0) {
                uint32_t bytes = 1 + (uint32_t)random_below(&random, 20000);
                bytes = bytes < BYTES - at ? bytes : (uint32_t)(BYTES - at);
                add_work(read, at, bytes);
                at += bytes;
                added++;
            }
            assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
            ist_hca_run(f.hca, random_below(&random, 200));
            side_turn(&f.side[0]);
        }
        while (!try_message(0, round)) {
            ist_hca_step(f.hca);
            side_turn(&f.side[0]);
            side_turn(&f.side[1]);
        }
        assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
        while (f.side[1].received == round) {
            assert_true(ist_hca_step(f.hca));
            side_turn(&f.side[1]);
        }
        if (!read) {
            assert_memory_equal(f.side[0].memory, f.side[1].memory, BYTES);
        }
        settle();
        assert_int_equal(f.side[0].work - before, added);
        assert_memory_equal(f.side[0].memory, f.side[1].memory, BYTES);
        fill(f.side[0].memory, seed + 1);
    }
    assert_int_equal(f.side[0].failures + f.side[1].failures, 0);
    world_end();
}

static void test_work__read_and_write_at_random__same_bytes(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 20 : 2, random_work);
}

static void test_work__wrong_rkey__fails_and_the_rest_is_flushed(void **state) {
    (void)state;
    world_begin(3);
    f.side[1].region.rkey ^= 0x55;
    add_work(true, 0, 100);
    f.side[1].region.rkey ^= 0x55;
    add_work(true, 0, 100);
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
    settle();
    assert_int_equal(f.side[0].failures, 2);
    assert_non_null(strstr(f.side[0].failure, "access"));
    assert_int_equal(ist_queue_pair_outstanding(f.side[0].queue_pair), 0);
    world_end();
}

static void test_work__into_the_other_way__no_access(void **state) {
    (void)state;
    world_begin(4);
    /* what a client would try on the server's pool */
    const struct ist_one_sided work = {
        .read = false,
        .piece_count = 1,
        .pieces = {{f.side[1].region.address, 100, f.side[1].region.lkey}},
        .remote_address = f.side[0].region.address,
        .rkey = f.side[0].region.rkey};
    ist_queue_pair_add_work(f.side[1].queue_pair, &work);
    assert_int_equal(ist_queue_pair_flush(f.side[1].queue_pair), IST_OK);
    settle();
    assert_true(f.side[1].failures >= 1);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(f.side[0].memory[i], 0);
    }
    world_end();
}

static void test_break__work_posted__all_of_it_comes_out(void **state) {
    (void)state;
    world_begin(5);
    for (unsigned i = 0; i < SEND_WR; i++) {
        add_work(true, i * 4096, 4096);
    }
    assert_int_equal(ist_queue_pair_room(f.side[0].queue_pair), 0);
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
    ist_queue_pair_break(f.side[0].queue_pair);
    assert_false(ist_queue_pair_is_ready(f.side[0].queue_pair));
    assert_int_equal(ist_queue_pair_room(f.side[0].queue_pair), 0);
    assert_int_equal(ist_queue_pair_message_room(f.side[0].queue_pair), 0);
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_DEVICE);
    settle();
    assert_int_equal(ist_queue_pair_outstanding(f.side[0].queue_pair), 0);
    world_end();
}

static void test_free__peer_still_sends__it_fails_there_and_buffers_stay(void **state) {
    (void)state;
    world_begin(6);
    ist_queue_pair_free(f.side[1].queue_pair);
    f.side[1].queue_pair = NULL;
    assert_true(try_message(0, 0));
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
    ist_hca_run(f.hca, UINT64_MAX);
    side_turn(&f.side[0]);
    assert_int_equal(f.side[0].failures, 1);
    /* its place, with its buffers, is the next one's */
    const struct ist_queue_pair_config config = {.completion = f.side[1].completion};
    struct ist_queue_pair *next[2] = {NULL};
    assert_int_equal(ist_queue_pair_new(&config, &next[0]), IST_OK);
    assert_int_equal(ist_queue_pair_new(&config, &next[1]), IST_OK);
    struct ist_queue_pair *none = NULL;
    assert_int_equal(ist_queue_pair_new(&config, &none), IST_NO_SPACE);
    assert_null(none);
    ist_queue_pair_free(next[0]);
    ist_queue_pair_free(next[1]);
    world_end();
}

static void test_connect__numbers_that_cannot_be__invalid(void **state) {
    (void)state;
    world_init(9);
    assert_int_equal(side_make(0), IST_OK);
    struct ist_queue_pair_end good;
    ist_queue_pair_end(f.side[0].queue_pair, &good);
    struct ist_queue_pair_end wrong[5] = {good, good, good, good, good};
    wrong[0].number = 1u << 24;
    wrong[1].packet_number = 1u << 24;
    wrong[2].mtu_bytes = 255;
    wrong[3].messages = 0;
    wrong[4].message_bytes = 255;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(ist_queue_pair_connect(f.side[0].queue_pair, &wrong[i]), IST_INVALID);
    }
    world_end();
}

/* Everything that can fail while two ends are made: nothing is left of what was made before. */
static void test_connect__nth_call_fails__nothing_is_left(void **state) {
    (void)state;
    const unsigned calls = IST_HCA_CALL_ALL & ~(unsigned)IST_HCA_CALL_DESTROY;
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        world_init(12);
        ist_hca_fail_nth(f.hca, calls, n);
        enum ist_status status = world_connect();
        bool reached = ist_hca_failed(f.hca) != NULL;
        failures += status != IST_OK;
        ist_hca_fail_nth(f.hca, calls, 0);
        world_end();
        if (!reached) {
            assert_int_equal(status, IST_OK);
            break;
        }
    }
    assert_true(failures > 20);
}

/* What a device that is gone answers: the objects are gone with it, and nobody must end for that. */
static void test_free__nth_destroying_call_fails__goes_on(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= 16; n++) {
        world_begin(14);
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_DESTROY, n);
        world_end();
    }
}

static void test_connect__nth_allocation_fails__nothing_is_left(void **state) {
    (void)state;
    for (uint64_t n = 1;; n++) {
        world_init(13);
        f.failing.fail_at = n;
        enum ist_status status = world_connect();
        bool reached = f.failing.calls >= n;
        assert_true(status == (reached ? IST_NO_MEMORY : IST_OK));
        world_end();
        if (!reached) {
            break;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open__gid__the_v2_entry_with_an_ipv4_address),
        cmocka_unit_test_teardown(test_messages__both_ways_at_random__all_arrive_in_order,
                                  replay_teardown),
        cmocka_unit_test(test_messages__one_way_only__credits_come_back_by_themselves),
        cmocka_unit_test(test_messages__receiver_does_not_give_back__sender_stops_at_its_credits),
        cmocka_unit_test_teardown(test_work__read_and_write_at_random__same_bytes, replay_teardown),
        cmocka_unit_test(test_work__wrong_rkey__fails_and_the_rest_is_flushed),
        cmocka_unit_test(test_work__into_the_other_way__no_access),
        cmocka_unit_test(test_break__work_posted__all_of_it_comes_out),
        cmocka_unit_test(test_free__peer_still_sends__it_fails_there_and_buffers_stay),
        cmocka_unit_test(test_connect__numbers_that_cannot_be__invalid),
        cmocka_unit_test(test_connect__nth_call_fails__nothing_is_left),
        cmocka_unit_test(test_free__nth_destroying_call_fails__goes_on),
        cmocka_unit_test(test_connect__nth_allocation_fails__nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/verbs/completion: how many queue pairs fit, who is where, buffers, and what is made of what comes out. */
#include "tests/support.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <infiniband/verbs.h>

#include "sim/hca/hca.h"
#include "verbs/queue_pair.h"

#define MESSAGES 48u
#define MESSAGE_BYTES 512u
#define SEND_WR 16u
#define BUFFERS (MESSAGES + IST_COMPLETION_SPARE_MESSAGES) /* of a queue pair */
#define BYTES 8192u

struct side {
    struct ist_hca_device_config about;
    struct ist_device *device;
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
};

static struct {
    struct ist_hca *hca;
    struct failing_alloc failing;
    struct ist_log log;
    unsigned errors;
    char error[200];   /* the last one */
    uint32_t messages; /* credits of each side */
    struct side side[2];
    struct ist_region region;
    uint8_t memory[BYTES];
} f;

static void count_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)session;
    if (level == IST_LOG_ERROR) {
        f.errors++;
        snprintf(f.error, sizeof(f.error), "%s", message);
    }
}

static int setup(void **state) {
    (void)state;
    struct ist_hca_config config;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.messages = MESSAGES;
    f.log = (struct ist_log){.level = IST_LOG_DEBUG, .write = count_line};
    ist_hca_config_init(&config, 4);
    config.spurious_events = 0;
    f.hca = ist_hca_new(&config);
    assert_non_null(f.hca);
    ist_hca_device_config_roce(&f.side[0].about, "a", 0);
    ist_hca_device_config_roce(&f.side[1].about, "b", 1);
    return 0;
}

static void side_close(struct side *side) {
    ist_queue_pair_free(side->queue_pair);
    ist_completion_free(side->completion);
    ist_device_close(side->device);
    *side = (struct side){.about = side->about};
}

static int teardown(void **state) {
    (void)state;
    ist_region_drop(&f.region);
    side_close(&f.side[0]);
    side_close(&f.side[1]);
    ist_hca_free(f.hca);
    assert_int_equal(f.failing.live, 0);
    return 0;
}

/* Plugged in as it is described, once. */
static void open_device(struct side *side) {
    char why[128];
    const struct ist_device_config config = {
        .name = side->about.name, .hint_gid_index = -1, .alloc = &f.failing.alloc, .log = &f.log};
    assert_non_null(ist_hca_add_device(f.hca, &side->about));
    assert_int_equal(ist_device_open(&config, &side->device, why, sizeof(why)), IST_OK);
}

static enum ist_status make_completion(struct side *side, uint32_t queue_pairs_max) {
    const struct ist_completion_config config = {.device = side->device,
                                                 .queue_pairs_max = queue_pairs_max,
                                                 .send_wr = SEND_WR,
                                                 .messages = f.messages,
                                                 .message_bytes = MESSAGE_BYTES,
                                                 .alloc = &f.failing.alloc,
                                                 .log = &f.log};
    return ist_completion_new(&config, &side->completion);
}

static enum ist_status make_queue_pair(struct side *side) {
    const struct ist_queue_pair_config config = {
        .completion = side->completion, .remote_access = true, .packet_number = 5};
    return ist_queue_pair_new(&config, &side->queue_pair);
}

/* With what there is already. */
static void connect_both(void) {
    struct ist_queue_pair_end ends[2];
    for (size_t i = 0; i < 2; i++) {
        if (f.side[i].device == NULL) {
            open_device(&f.side[i]);
            assert_int_equal(make_completion(&f.side[i], 2), IST_OK);
        }
        assert_int_equal(make_queue_pair(&f.side[i]), IST_OK);
        ist_queue_pair_end(f.side[i].queue_pair, &ends[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ist_queue_pair_connect(f.side[i].queue_pair, &ends[1 - i]), IST_OK);
    }
}

/* So many messages of one byte, 'a' and on, from the first side. */
static void send_messages(uint32_t count) {
    struct ist_completion_event events[8];
    struct ist_queue_pair *queue_pair = f.side[0].queue_pair;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(ist_queue_pair_message_room(queue_pair) > 0);
        *ist_queue_pair_message(queue_pair) = (uint8_t)('a' + i);
        ist_queue_pair_add_message(queue_pair, 1);
        assert_int_equal(ist_queue_pair_flush(queue_pair), IST_OK);
        ist_hca_run(f.hca, UINT64_MAX);
        assert_int_equal(ist_completion_poll(f.side[0].completion, events, 8), 1);
        assert_int_equal(events[0].kind, IST_COMPLETION_SENT);
        (void)ist_queue_pair_retire(queue_pair, events[0].count);
    }
}

static bool is_readable(const struct side *side) {
    struct pollfd fd = {.fd = ist_completion_fd(side->completion), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* ---- room ----------------------------------------------------------------------------------------------- */

static void test_new__device_has_room_for_fewer__so_many(void **state) {
    (void)state;
    struct side *side = &f.side[0];
    side->about.max_cqe = 3 * (SEND_WR + BUFFERS) - 1;
    side->about.max_srq_wr = 3 * BUFFERS;
    open_device(side);
    assert_int_equal(make_completion(side, 9), IST_OK);
    assert_int_equal(ist_completion_queue_pairs_max(side->completion), 2);
    ist_completion_free(side->completion);
    assert_int_equal(make_completion(side, 1), IST_OK);
    assert_int_equal(ist_completion_queue_pairs_max(side->completion), 1);
    side_close(side);
    side = &f.side[1];
    side->about.max_srq_wr = 3 * BUFFERS - 1;
    open_device(side);
    assert_int_equal(make_completion(side, 9), IST_OK);
    assert_int_equal(ist_completion_queue_pairs_max(side->completion), 2);
}

/* Each of the numbers that rule it out. */
static void test_new__no_room_for_a_queue_pair__device(void **state) {
    (void)state;
    static const char *const names[] = {"cqe", "srq", "wr", "sge"};
    for (size_t i = 0; i < 4; i++) {
        struct side *side = &f.side[0];
        ist_hca_device_config_roce(&side->about, names[i], (uint8_t)i);
        int *const numbers[] = {&side->about.max_cqe, &side->about.max_srq_wr, &side->about.max_qp_wr,
                                &side->about.max_sge};
        *numbers[i] = i == 0 ? (int)(SEND_WR + BUFFERS - 1) : i == 1 ? (int)BUFFERS - 1 : 0;
        open_device(side);
        assert_int_equal(make_completion(side, 1), IST_DEVICE);
        assert_int_equal(f.errors, i + 1);
        assert_null(side->completion);
        side_close(side);
    }
}

static void test_enter__messages_larger_than_a_region__device_and_told(void **state) {
    (void)state;
    f.side[0].about.max_mr_size = BUFFERS * MESSAGE_BYTES - 1;
    open_device(&f.side[0]);
    assert_int_equal(make_completion(&f.side[0], 1), IST_OK);
    assert_int_equal(make_queue_pair(&f.side[0]), IST_DEVICE);
    assert_int_equal(f.errors, 1);
    assert_null(f.side[0].queue_pair);
}

/* ---- who is here ---------------------------------------------------------------------------------------- */

/* Numbers that share places, beside a plain list. */
static void test_members__random_numbers__found_until_removed(void **state) {
    (void)state;
    uint32_t here[6] = {0};
    uint64_t random = 3;
    open_device(&f.side[0]);
    assert_int_equal(make_completion(&f.side[0], 6), IST_OK);
    struct ist_completion *completion = f.side[0].completion;
    for (unsigned i = 0; i < 4000; i++) {
        size_t at = (size_t)random_below(&random, 6);
        uint32_t number = 1 + 6 * (uint32_t)random_below(&random, 100) + (uint32_t)at;
        if (here[at] == 0) {
            ist_completion_add(completion, number, (struct ist_queue_pair *)&here[at]);
            here[at] = number;
        } else {
            ist_completion_remove(completion, here[at]);
            assert_null(ist_completion_find(completion, here[at]));
            here[at] = 0;
        }
        for (size_t k = 0; k < 6; k++) {
            assert_true(here[k] == 0 || ist_completion_find(completion, here[k]) == (void *)&here[k]);
        }
    }
}

static void test_enter__all_places_taken__no_space_until_one_leaves(void **state) {
    (void)state;
    open_device(&f.side[0]);
    assert_int_equal(make_completion(&f.side[0], 2), IST_OK);
    struct ist_completion *completion = f.side[0].completion;
    assert_int_equal(ist_completion_enter(completion), IST_OK);
    assert_int_equal(ist_completion_enter(completion), IST_OK);
    assert_non_null(ist_completion_buffer(completion, 2 * BUFFERS - 1)); /* each brought its own */
    assert_int_equal(ist_completion_enter(completion), IST_NO_SPACE);
    ist_completion_leave(completion);
    assert_int_equal(ist_completion_enter(completion), IST_OK);
    ist_completion_leave(completion);
    ist_completion_leave(completion);
}

/* ---- buffers -------------------------------------------------------------------------------------------- */

/* Whichever buffer could not be posted: the next queue pair posts it, and all of them are there in the end. */
static void test_enter__nth_buffer_cannot_be_posted__the_next_one_posts_it(void **state) {
    (void)state;
    struct ist_completion_event events[BUFFERS];
    open_device(&f.side[1]);
    assert_int_equal(make_completion(&f.side[1], 2), IST_OK);
    for (uint64_t n = 1; n <= 3; n++) {
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, n);
        assert_int_equal(make_queue_pair(&f.side[1]), IST_DEVICE);
        assert_int_equal(f.errors, n);
    }
    ist_hca_fail_nth(f.hca, 0, 0);
    connect_both();
    send_messages(MESSAGES);
    assert_int_equal(ist_completion_poll(f.side[1].completion, events, BUFFERS), MESSAGES);
}

static void test_give_back__cannot_be_posted__told(void **state) {
    (void)state;
    struct ist_completion_event event;
    connect_both();
    send_messages(1);
    assert_int_equal(ist_completion_poll(f.side[1].completion, &event, 1), 1);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_POST, 1);
    errno = 0; /* man ibv_post_srq_recv: the error is what it returns */
    assert_int_equal(ist_completion_give_back(f.side[1].completion, event.buffer), IST_DEVICE);
    assert_int_equal(f.errors, 1);
    assert_non_null(strstr(f.error, strerror(ENOMEM)));
    assert_int_equal(ist_completion_give_back(f.side[1].completion, event.buffer), IST_OK);
}

static void test_free__buffers__are_mapped_no_more(void **state) {
    (void)state;
    unsigned char resident;
    open_device(&f.side[0]);
    assert_int_equal(make_completion(&f.side[0], 1), IST_OK);
    assert_int_equal(make_queue_pair(&f.side[0]), IST_OK);
    void *buffer = (void *)(uintptr_t)ist_completion_buffer(f.side[0].completion, 0);
    assert_int_equal(mincore(buffer, 1, &resident), 0);
    side_close(&f.side[0]);
    assert_int_equal(mincore(buffer, 1, &resident), -1);
}

/* The card does not come back for the bytes of a short message. */
static void test_flush__short_message__its_bytes_leave_at_once(void **state) {
    (void)state;
    struct ist_completion_event event;
    connect_both();
    uint8_t *message = ist_queue_pair_message(f.side[0].queue_pair);
    message[0] = 's';
    ist_queue_pair_add_message(f.side[0].queue_pair, 1);
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
    message[0] = 'x';
    ist_hca_run(f.hca, UINT64_MAX);
    assert_int_equal(ist_completion_poll(f.side[1].completion, &event, 1), 1);
    assert_int_equal(*ist_completion_buffer(f.side[1].completion, event.buffer), 's');
}

static void test_flush__half_of_the_credits_owed__are_sent(void **state) {
    (void)state;
    struct ist_completion_event event;
    connect_both();
    struct ist_queue_pair *queue_pair = f.side[0].queue_pair;
    for (uint32_t owed = 1; owed <= MESSAGES / 2; owed++) {
        ist_queue_pair_owe_credit(queue_pair);
        assert_int_equal(ist_queue_pair_flush(queue_pair), IST_OK);
        assert_int_equal(ist_queue_pair_outstanding(queue_pair), owed == MESSAGES / 2);
    }
    ist_hca_run(f.hca, UINT64_MAX);
    assert_int_equal(ist_completion_poll(f.side[1].completion, &event, 1), 1);
    assert_int_equal(event.immediate, MESSAGES / 2);
    assert_int_equal(event.bytes, 0);
}

/* A peer that has a single credit waits for it. */
static void test_flush__one_credit_in_all__is_sent_at_once(void **state) {
    (void)state;
    struct ist_completion_event event;
    f.messages = 1;
    connect_both();
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
    assert_int_equal(ist_queue_pair_outstanding(f.side[0].queue_pair), 0);
    ist_queue_pair_owe_credit(f.side[0].queue_pair);
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
    ist_hca_run(f.hca, UINT64_MAX);
    assert_int_equal(ist_completion_poll(f.side[1].completion, &event, 1), 1);
    assert_int_equal(event.immediate, 1);
}

static void test_flush__no_room_for_credits__the_works_go_alone(void **state) {
    (void)state;
    connect_both();
    struct ist_queue_pair *queue_pair = f.side[0].queue_pair;
    const struct ist_one_sided work = {.read = true, .piece_count = 0};
    while (ist_queue_pair_room(queue_pair) > 0) {
        ist_queue_pair_add_work(queue_pair, &work);
    }
    for (uint32_t owed = 0; owed < MESSAGES; owed++) {
        ist_queue_pair_owe_credit(queue_pair);
    }
    assert_int_equal(ist_queue_pair_flush(queue_pair), IST_OK);
    assert_int_equal(ist_queue_pair_outstanding(queue_pair), SEND_WR);
}

/* ---- what comes out ------------------------------------------------------------------------------------- */

/* More than the device is asked for at once; each in its buffer. */
static void test_poll__many__as_many_as_wanted_in_order(void **state) {
    (void)state;
    struct ist_completion_event events[MESSAGES];
    connect_both();
    send_messages(MESSAGES);
    struct ist_completion *completion = f.side[1].completion;
    assert_int_equal(ist_completion_poll(completion, events, 3), 3);
    assert_int_equal(ist_completion_poll(completion, events + 3, 40), 40);
    assert_int_equal(ist_completion_poll(completion, events + 43, MESSAGES), MESSAGES - 43);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        assert_int_equal(events[i].kind, IST_COMPLETION_RECEIVED);
        assert_int_equal(events[i].bytes, 1);
        assert_true(events[i].has_buffer);
        assert_ptr_equal(events[i].queue_pair, f.side[1].queue_pair);
        assert_int_equal(*ist_completion_buffer(completion, events[i].buffer), 'a' + i);
    }
    assert_int_equal(ist_completion_poll(completion, events, MESSAGES), 0);
}

static void test_poll__device_refuses__nothing_and_told(void **state) {
    (void)state;
    struct ist_completion_event event;
    connect_both();
    send_messages(1);
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_POLL, 1);
    assert_false(ist_completion_has_failed(f.side[1].completion));
    assert_int_equal(ist_completion_poll(f.side[1].completion, &event, 1), 0);
    assert_int_equal(f.errors, 1);
    assert_true(ist_completion_has_failed(f.side[1].completion));
    assert_int_equal(ist_completion_poll(f.side[1].completion, &event, 1), 1);
}

/* A peer that may write into memory may also announce that: its length is not one of the buffer that this uses up, and
 * what stands in there is old. */
static void test_poll__written_with_immediate_data__failed_and_no_message(void **state) {
    (void)state;
    connect_both();
    assert_int_equal(
        ist_region_register(f.side[1].device, f.memory, BYTES, IST_MEMORY_REMOTE, &f.region), IST_OK);
    struct ist_region own;
    static uint8_t source[BYTES];
    assert_int_equal(ist_region_register(f.side[0].device, source, BYTES, IST_MEMORY_LOCAL, &own),
                     IST_OK);
    struct ist_queue_pair_end end;
    ist_queue_pair_end(f.side[0].queue_pair, &end);
    struct ibv_sge piece = {.addr = own.address, .length = BYTES, .lkey = own.lkey};
    struct ibv_send_wr request = {.sg_list = &piece,
                                  .num_sge = 1,
                                  .opcode = IBV_WR_RDMA_WRITE_WITH_IMM},
                       *refused;
    request.wr.rdma.remote_addr = f.region.address;
    request.wr.rdma.rkey = f.region.rkey;
    assert_int_equal(ibv_post_send(ist_hca_find_qp(f.hca, end.number), &request, &refused), 0);
    ist_hca_run(f.hca, UINT64_MAX);
    struct ist_completion_event event;
    assert_int_equal(ist_completion_poll(f.side[1].completion, &event, 1), 1);
    assert_int_equal(event.kind, IST_COMPLETION_FAILED);
    assert_true(event.has_buffer);
    assert_int_equal(event.bytes, 0);
    assert_non_null(strstr(event.failure, "immediate"));
    ist_region_drop(&own);
}

/* The device's own events name the queue pair. */
static void test_device_events__of_a_queue_pair__its_number(void **state) {
    (void)state;
    struct ist_device_event event;
    struct ist_queue_pair_end end;
    bool failed = false, last = false;
    connect_both();
    ist_queue_pair_end(f.side[1].queue_pair, &end);
    ist_hca_qp_fatal(ist_hca_find_qp(f.hca, end.number));
    ist_hca_run(f.hca, UINT64_MAX);
    while (ist_device_next_event(f.side[1].device, &event) == IST_OK) {
        assert_true(event.kind == IST_DEVICE_QUEUE_PAIR_FAILED ||
                    event.kind == IST_DEVICE_LAST_RECEIVE);
        assert_int_equal(event.queue_pair, end.number);
        failed |= event.kind == IST_DEVICE_QUEUE_PAIR_FAILED;
        last |= event.kind == IST_DEVICE_LAST_RECEIVE;
    }
    assert_true(failed && last);
}

/* ---- waiting -------------------------------------------------------------------------------------------- */

/* Credits are messages without bytes. */
static void send_credits(void) {
    for (uint32_t i = 0; i < MESSAGES / 2; i++) {
        ist_queue_pair_owe_credit(f.side[0].queue_pair);
    }
    assert_int_equal(ist_queue_pair_flush(f.side[0].queue_pair), IST_OK);
    ist_hca_run(f.hca, UINT64_MAX);
}

static void test_arm_again__messages_only__credits_wake_nobody(void **state) {
    (void)state;
    struct ist_completion_event event;
    connect_both();
    struct side *side = &f.side[1];
    send_messages(1); /* armed for all since it was made */
    assert_true(is_readable(side));
    ist_completion_arm_again(side->completion, true, true);
    assert_int_equal(ist_completion_poll(side->completion, &event, 1), 1);
    send_credits();
    assert_false(is_readable(side));
    assert_int_equal(ist_completion_poll(side->completion, &event, 1), 1);
    assert_int_equal(event.immediate, MESSAGES / 2);
    assert_int_equal(event.bytes, 0);
    assert_int_equal(ist_completion_poll(f.side[0].completion, &event, 1), 1);
    (void)ist_queue_pair_retire(f.side[0].queue_pair, event.count);
    send_messages(1);
    assert_true(is_readable(side));
    ist_completion_arm_again(side->completion, true, false);
    assert_false(is_readable(side));
    send_credits();
    assert_true(is_readable(side));
    ist_completion_take(side->completion);
    assert_false(is_readable(side));
}

static void test_arm__device_refuses__told(void **state) {
    (void)state;
    connect_both();
    ist_hca_fail_nth(f.hca, IST_HCA_CALL_ARM, 1);
    ist_completion_arm(f.side[0].completion);
    assert_int_equal(f.errors, 1);
    assert_true(ist_completion_has_failed(f.side[0].completion));
    assert_false(ist_completion_has_failed(f.side[1].completion));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_new__device_has_room_for_fewer__so_many),
        TEST(test_new__no_room_for_a_queue_pair__device),
        TEST(test_enter__messages_larger_than_a_region__device_and_told),
        TEST(test_members__random_numbers__found_until_removed),
        TEST(test_enter__all_places_taken__no_space_until_one_leaves),
        TEST(test_enter__nth_buffer_cannot_be_posted__the_next_one_posts_it),
        TEST(test_give_back__cannot_be_posted__told),
        TEST(test_free__buffers__are_mapped_no_more),
        TEST(test_flush__short_message__its_bytes_leave_at_once),
        TEST(test_flush__half_of_the_credits_owed__are_sent),
        TEST(test_flush__one_credit_in_all__is_sent_at_once),
        TEST(test_flush__no_room_for_credits__the_works_go_alone),
        TEST(test_poll__many__as_many_as_wanted_in_order),
        TEST(test_poll__device_refuses__nothing_and_told),
        TEST(test_poll__written_with_immediate_data__failed_and_no_message),
        TEST(test_device_events__of_a_queue_pair__its_number),
        TEST(test_arm_again__messages_only__credits_wake_nobody),
        TEST(test_arm__device_refuses__told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

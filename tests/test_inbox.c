/* engine/inbox alone: how much room there is for what comes, when a stage grows and shrinks, bodies with memory of their
 * own. */
#include "tests/support.h"

#include <string.h>

#include "engine/inbox.h"

#define MIN IST_STAGE_BYTES_MIN
#define MAX IST_STAGE_BYTES_MAX

struct fixture {
    struct failing_alloc failing;
    struct ist_inbox inbox;
};

static void fixture_init(struct fixture *f) {
    failing_alloc_init(&f->failing, 0);
    ist_inbox_init(&f->inbox, &f->failing.alloc);
    ist_inbox_check(&f->inbox);
}

static void fixture_fini(struct fixture *f) {
    ist_inbox_fini(&f->inbox);
    assert_int_equal(f->failing.live, 0);
}

/* So many bytes of what is named arrive; returns how many were named. */
static uint64_t receive(struct fixture *f, uint32_t limit, uint32_t bytes) {
    struct ist_buffer buffer = ist_inbox_stage_buffer(&f->inbox, limit);
    assert_int_equal(buffer.kind, IST_BUFFER_MEMORY);
    assert_true(bytes <= buffer.bytes);
    memset(buffer.memory, 0x5a, bytes);
    ist_inbox_stage_received(&f->inbox, bytes);
    ist_inbox_check(&f->inbox);
    return buffer.bytes;
}

static size_t staged(const struct fixture *f) {
    return ist_inbox_staged(&f->inbox).bytes;
}

static void consume_all(struct fixture *f) {
    ist_inbox_consume(&f->inbox, staged(f));
    ist_inbox_trim(&f->inbox);
    ist_inbox_check(&f->inbox);
}

static void test_stage__untouched__takes_no_memory(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(f.failing.live, 0);
    assert_int_equal(staged(&f), 0);
    ist_inbox_trim(&f.inbox);
    ist_inbox_check(&f.inbox);
    fixture_fini(&f);
}

static void test_stage_buffer__limits__a_header_at_least_and_the_room_at_most(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(receive(&f, 1, 5), IST_FRAME_BYTES);
    assert_int_equal(receive(&f, 1, 10), IST_FRAME_BYTES - 5);
    assert_int_equal(receive(&f, 100, 1), 100);
    assert_int_equal(receive(&f, UINT32_MAX, 0), MIN - 16);
    assert_int_equal(receive(&f, 1, 16), 16);
    assert_int_equal(receive(&f, 1, 1), 1); /* a whole header is there: one more is enough */
    assert_int_equal(staged(&f), 33);
    fixture_fini(&f);
}

/* Only a read that fills it all is a reason to make it larger. */
static void test_stage__filled_or_not__grows_or_stays(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(receive(&f, MAX, MIN - 1), MIN);
    consume_all(&f);
    assert_int_equal(receive(&f, MAX, MIN), MIN);
    consume_all(&f);
    assert_int_equal(receive(&f, MAX, 2 * MIN), 2 * MIN);
    consume_all(&f);
    assert_int_equal(receive(&f, 2 * MAX, MAX), MAX);
    consume_all(&f);
    assert_int_equal(receive(&f, 2 * MAX, MAX), MAX); /* and no more */
    consume_all(&f);
    fixture_fini(&f);
}

static void test_stage__little_comes_again__shrinks_by_halves(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (uint32_t room = MIN; room <= MAX; room *= 2) {
        assert_int_equal(receive(&f, MAX, room), room);
        consume_all(&f);
    }
    assert_int_equal(receive(&f, MAX, MAX / 4), MAX); /* no reason */
    consume_all(&f);
    assert_int_equal(receive(&f, MAX, MAX / 4 - 1), MAX);
    consume_all(&f);
    assert_int_equal(receive(&f, MAX, 1), MAX / 2);
    consume_all(&f);
    assert_int_equal(receive(&f, MAX, 1), MIN);
    consume_all(&f);
    assert_int_equal(receive(&f, MAX, 1), MIN);
    consume_all(&f);
    assert_int_equal(f.failing.live, 1); /* what an idle session may keep */
    fixture_fini(&f);
}

static void test_trim__larger_than_an_idle_one_may_keep__given_back(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    receive(&f, MAX, MIN);
    ist_inbox_consume(&f.inbox, MIN - 1);
    ist_inbox_trim(&f.inbox); /* a byte is left */
    assert_int_equal(staged(&f), 1);
    assert_int_equal(f.failing.live, 1);
    consume_all(&f);
    assert_int_equal(f.failing.live, 0);
    fixture_fini(&f);
}

static void test_stage__no_memory__a_header_still_fits(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.failing.fail_at = f.failing.calls + 1;
    assert_int_equal(receive(&f, MAX, IST_FRAME_BYTES), IST_FRAME_BYTES);
    assert_int_equal(staged(&f), IST_FRAME_BYTES);
    consume_all(&f);
    assert_int_equal(receive(&f, MAX, 1), MIN); /* it was not a reason to grow */
    fixture_fini(&f);
}

/* ---- bodies ------------------------------------------------------------------------------------------------- */

static void test_body__staged__complete_with_its_last_byte(void **state) {
    (void)state;
    struct fixture f;
    struct ist_span body;
    fixture_init(&f);
    receive(&f, MAX, 10);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, 30), IST_OK);
    assert_false(ist_inbox_body(&f.inbox, &body));
    assert_int_equal(ist_inbox_body_free(&f.inbox), 0);
    assert_int_equal(receive(&f, 1, 19), 20); /* not less than completes it */
    assert_false(ist_inbox_body(&f.inbox, &body));
    receive(&f, MAX, 3);
    assert_true(ist_inbox_body(&f.inbox, &body));
    assert_int_equal(body.bytes, 30);
    assert_null(ist_inbox_body_take(&f.inbox));
    assert_int_equal(ist_inbox_body_end(&f.inbox), 0);
    assert_int_equal(staged(&f), 2);
    fixture_fini(&f);
}

static void test_body__just_as_long_as_the_stage__stays_in_it(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    receive(&f, MAX, 10);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, MIN), IST_OK);
    assert_int_equal(f.failing.live, 1);
    assert_int_equal(ist_inbox_body_end(&f.inbox), MIN - 10);
    receive(&f, MAX, 10);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, MIN + 1), IST_OK);
    assert_int_equal(f.failing.live, 2);
    fixture_fini(&f);
}

static void test_body__of_its_own__grows_with_what_comes(void **state) {
    (void)state;
    struct fixture f;
    struct ist_span body;
    const uint32_t bytes = 5 * IST_BODY_BYTES_FIRST;
    fixture_init(&f);
    receive(&f, MAX, 100);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, bytes), IST_OK);
    assert_int_equal(staged(&f), 0);
    uint32_t have = 100, room = IST_BODY_BYTES_FIRST;
    while (have < bytes) {
        assert_false(ist_inbox_body(&f.inbox, &body));
        assert_int_equal(ist_inbox_body_free(&f.inbox), room - have);
        struct ist_buffer buffer = ist_inbox_body_buffer(&f.inbox);
        assert_int_equal(buffer.bytes, room - have);
        memset(buffer.memory, 0x5a, buffer.bytes);
        ist_inbox_body_received(&f.inbox, (uint32_t)buffer.bytes - 1);
        assert_int_equal(ist_inbox_body_grow(&f.inbox), IST_OK); /* not yet */
        assert_int_equal(ist_inbox_body_free(&f.inbox), 1);
        ist_inbox_body_received(&f.inbox, 1);
        ist_inbox_check(&f.inbox);
        have = room;
        room = 2 * room < bytes ? 2 * room : bytes;
        assert_int_equal(ist_inbox_body_grow(&f.inbox), IST_OK);
    }
    assert_true(ist_inbox_body(&f.inbox, &body));
    assert_int_equal(body.bytes, bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        assert_int_equal(body.data[i], 0x5a);
    }
    uint8_t *taken = ist_inbox_body_take(&f.inbox);
    assert_ptr_equal(taken, body.data);
    assert_int_equal(ist_inbox_body_end(&f.inbox), 0);
    ist_release(&f.failing.alloc, taken);
    fixture_fini(&f);
}

static void test_body_end__incomplete__says_what_is_missing(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    receive(&f, MAX, 100);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, MIN + 1), IST_OK);
    assert_int_equal(ist_inbox_body_end(&f.inbox), MIN + 1 - 100);
    assert_int_equal(ist_inbox_body_free(&f.inbox), 0);
    receive(&f, MAX, 7);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, 20), IST_OK);
    assert_int_equal(ist_inbox_body_end(&f.inbox), 13);
    assert_int_equal(staged(&f), 0);
    receive(&f, MAX, 40); /* behind something that is consumed */
    ist_inbox_consume(&f.inbox, 32);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, 30), IST_OK);
    assert_int_equal(ist_inbox_body_end(&f.inbox), 22);
    assert_int_equal(staged(&f), 0);
    fixture_fini(&f);
}

static void test_body__no_memory__staged_bytes_stay(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    receive(&f, MAX, 100);
    f.failing.fail_at = f.failing.calls + 1;
    assert_int_equal(ist_inbox_body_begin(&f.inbox, MIN + 1), IST_NO_MEMORY);
    assert_int_equal(staged(&f), 100);
    assert_int_equal(ist_inbox_body_begin(&f.inbox, 3 * IST_BODY_BYTES_FIRST), IST_OK);
    ist_inbox_body_received(&f.inbox, ist_inbox_body_free(&f.inbox));
    f.failing.fail_at = f.failing.calls + 1;
    assert_int_equal(ist_inbox_body_grow(&f.inbox), IST_NO_MEMORY);
    assert_int_equal(ist_inbox_body_free(&f.inbox), 0);
    assert_int_equal(ist_inbox_body_grow(&f.inbox), IST_OK);
    assert_int_equal(ist_inbox_body_free(&f.inbox), IST_BODY_BYTES_FIRST);
    fixture_fini(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stage__untouched__takes_no_memory),
        cmocka_unit_test(test_stage_buffer__limits__a_header_at_least_and_the_room_at_most),
        cmocka_unit_test(test_stage__filled_or_not__grows_or_stays),
        cmocka_unit_test(test_stage__little_comes_again__shrinks_by_halves),
        cmocka_unit_test(test_trim__larger_than_an_idle_one_may_keep__given_back),
        cmocka_unit_test(test_stage__no_memory__a_header_still_fits),
        cmocka_unit_test(test_body__staged__complete_with_its_last_byte),
        cmocka_unit_test(test_body__just_as_long_as_the_stage__stays_in_it),
        cmocka_unit_test(test_body__of_its_own__grows_with_what_comes),
        cmocka_unit_test(test_body_end__incomplete__says_what_is_missing),
        cmocka_unit_test(test_body__no_memory__staged_bytes_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The client over real sockets: requests, deadlines, callbacks. The server is a fake. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/client_calls.h"

/* ---- requests ------------------------------------------------------------------------------------------------ */

static void test_calls__every_operation__answered(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    uint8_t buffers[3][5000];
    struct ist_get_item gets[3] = {
        {.key = key_of("5000"), .buffer = buffers[0], .buffer_bytes = 5000},
        {.key = key_of("0"), .buffer = buffers[1], .buffer_bytes = 5000},
        {.key = key_of("7"), .buffer = buffers[2], .buffer_bytes = 6},
    };
    struct ist_key keys[2] = {key_of("1"), key_of("2")};
    bool present[2] = {false};
    size_t number = 99;
    int64_t index = 99;
    uint64_t purged = 99;
    struct ist_metrics *metrics;
    assert_int_equal(ist_client_incarnation(client), 1000);
    assert_int_equal(ist_get(client, gets, 3, 0), IST_NOT_FOUND);
    check_value(buffers[0], 5000);
    assert_int_equal(gets[2].status, IST_TOO_SMALL);
    assert_int_equal(gets[2].value_bytes, 7);
    assert_int_equal(ist_exists(client, keys, 2, present, 0), IST_OK);
    assert_true(present[0] && present[1]);
    assert_int_equal(ist_match_prefix(client, keys, 2, &number, 0), IST_OK);
    assert_int_equal(number, 2);
    assert_int_equal(ist_match_last(client, keys, 2, &index, 0), IST_OK);
    assert_int_equal(index, 1);
    assert_int_equal(ist_remove(client, keys, 1, &number, 0), IST_OK);
    assert_int_equal(number, 1);
    assert_int_equal(ist_purge(client, &purged, 0), IST_OK);
    assert_int_equal(purged, 0);
    assert_int_equal(ist_stat(client, &metrics, 0), IST_OK);
    assert_string_equal(metrics->items[0].name, "fake");
    ist_metrics_free(metrics);
    assert_int_equal(ist_client_in_flight(client), 0);
    ist_client_free(client);
    fake_stop(fake);
}

static void test_submit__refused__every_item_says_so(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {0};
    struct ist_put_item puts[2] = {{.key = key_of("a"), .value = "v", .value_bytes = 1},
                                   {.key = key_of("a"), .value = "v", .value_bytes = 0}};
    struct ist_get_item gets[2] = {{.key = key_of("a"), .value_bytes = 5},
                                   {.key = {"", 0}, .value_bytes = 5}};
    assert_int_equal(ist_put_async(client, puts, 2, 0, 0, on_done, &waiting), IST_INVALID);
    assert_int_equal(ist_get(client, gets, 2, 0), IST_INVALID);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(puts[i].status, IST_INVALID);
        assert_int_equal(gets[i].status, IST_INVALID);
        assert_int_equal(gets[i].value_bytes, 0);
    }
    assert_int_equal(ist_put(client, NULL, 2, 0, 0), IST_INVALID);
    assert_int_equal(ist_ping_async(client, 0, NULL, NULL), IST_INVALID);
    assert_quiet(client);
    assert_int_equal(waiting.calls, 0);
    ist_client_free(client);
    fake_stop(fake);
}

/* More than the sockets of both ends hold, both ways at once. */
static void test_async__large_values_both_ways__whole(void **state) {
    (void)state;
    enum { BYTES = 16 << 20 };
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    uint8_t *sent = calloc(1, BYTES), *got = guarded_new(BYTES);
    assert_non_null(sent);
    struct waiting waiting = {0};
    char name[32];
    snprintf(name, sizeof(name), "%d", BYTES);
    struct ist_put_item put = {.key = key_of("a"), .value = sent, .value_bytes = BYTES};
    struct ist_get_item get = {.key = key_of(name), .buffer = got, .buffer_bytes = BYTES};
    assert_int_equal(ist_get_async(client, &get, 1, 0, on_done, &waiting), IST_OK);
    assert_int_equal(ist_put_async(client, &put, 1, 0, 0, on_done, &waiting), IST_OK);
    assert_int_equal(ist_client_in_flight(client), 2);
    process_until(client, &waiting.calls, 2);
    assert_int_equal(put.status, IST_OK);
    assert_int_equal(get.status, IST_OK);
    check_value(got, BYTES);
    assert_quiet(client);
    assert_int_equal(ist_put(client, &put, 1, 0, 0), IST_OK);
    memset(got, 0, BYTES);
    assert_int_equal(ist_get(client, &get, 1, 0), IST_OK);
    check_value(got, BYTES);
    free(sent);
    guarded_free(got, BYTES);
    ist_client_free(client);
    fake_stop(fake);
}

static void test_in_flight__limit__again(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {0};
    for (unsigned i = 0; i < IST_REQUESTS_IN_FLIGHT_MAX; i++) {
        assert_int_equal(ist_ping_async(client, 0, on_done, &waiting), IST_OK);
    }
    assert_int_equal(ist_ping_async(client, 0, on_done, &waiting), IST_AGAIN);
    assert_int_equal(ist_ping(client, 0), IST_AGAIN);
    assert_int_equal(ist_client_in_flight(client), IST_REQUESTS_IN_FLIGHT_MAX);
    fake_speak(fake);
    process_until(client, &waiting.calls, IST_REQUESTS_IN_FLIGHT_MAX);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

/* ---- deadlines -------------------------------------------------------------------------------------------------- */

static void test_deadline__no_answer__timeout_and_the_session_lives(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {0};
    uint8_t buffer[1000] = {0};
    struct ist_get_item item = {.key = key_of("1000"), .buffer = buffer, .buffer_bytes = 1000};
    uint64_t begin_ns = ist_client_now_ns();
    assert_int_equal(ist_ping(client, 30 * MS), IST_TIMEOUT);
    assert_true(ist_client_now_ns() - begin_ns >= 30 * MS);
    assert_int_equal(ist_get_async(client, &item, 1, 30 * MS, on_done, &waiting), IST_OK);
    process_until(client, &waiting.calls, 1);
    assert_int_equal(waiting.status, IST_TIMEOUT);
    assert_quiet(client);
    fake_speak(fake);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(buffer[i], 0);
    }
    assert_int_equal(fake_connections(fake), 1);
    ist_client_free(client);
    fake_stop(fake);
}

/* Half of a put is on its way: the caller gets its memory back, and the session ends. */
static void test_deadline__server_reads_no_more__put_times_out_others_peer(void **state) {
    (void)state;
    enum { BYTES = 48 << 20 };
    static const enum fake_way ways[] = {FAKE_DEAF, FAKE_GOOD};
    struct fake *fake = fake_start(ways, 2, AF_INET, NULL);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {0};
    uint8_t *value = calloc(1, BYTES);
    assert_non_null(value);
    struct ist_put_item item = {.key = key_of("a"), .value = value, .value_bytes = BYTES};
    assert_int_equal(ist_ping_async(client, 0, on_done, &waiting), IST_OK);
    assert_int_equal(ist_put(client, &item, 1, 0, 50 * MS), IST_TIMEOUT);
    assert_int_equal(item.status, IST_TIMEOUT);
    free(value);
    process_until(client, &waiting.calls, 1);
    assert_int_equal(waiting.status, IST_PEER);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    assert_int_equal(fake_connections(fake), 2);
    ist_client_free(client);
    fake_stop(fake);
}

/* ---- callbacks ---------------------------------------------------------------------------------------------------- */

static void submit_again(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
    if (waiting->calls % 1000 != 0 && status == IST_OK) {
        assert_int_equal(ist_ping_async(waiting->client, 0, submit_again, waiting), IST_OK);
    }
}

static void test_callback__submits_the_next__all_run(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    struct waiting waiting[5];
    for (size_t i = 0; i < 5; i++) {
        waiting[i] = (struct waiting){.client = client};
        assert_int_equal(ist_ping_async(client, 0, submit_again, &waiting[i]), IST_OK);
    }
    for (size_t i = 0; i < 5; i++) {
        process_until(client, &waiting[i].calls, 1000);
    }
    /* within a blocking call as well */
    assert_int_equal(ist_ping_async(client, 0, submit_again, &waiting[0]), IST_OK);
    while (waiting[0].calls < 2000) {
        assert_int_equal(ist_ping(client, 0), IST_OK);
    }
    assert_int_equal(fake_requests(fake) >= 6000, 1);
    ist_client_free(client);
    fake_stop(fake);
}

static void call_everything(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
    assert_int_equal(ist_ping(waiting->client, 0), IST_INVALID);
    assert_int_equal(ist_client_process(waiting->client), 0);
    assert_int_equal(ist_client_in_flight(waiting->client), 0);
}

static void test_callback__calls_what_it_must_not__refused(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {.client = client};
    assert_int_equal(ist_ping_async(client, 0, call_everything, &waiting), IST_OK);
    process_until(client, &waiting.calls, 1);
    assert_int_equal(waiting.status, IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

static void submit_at_the_end(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
    assert_int_equal(ist_ping_async(waiting->client, 0, submit_at_the_end, waiting), IST_PEER);
}

static void test_free__requests_in_flight__called_back_in_it(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct waiting waiting = {.client = client};
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(ist_ping_async(client, 0, submit_at_the_end, &waiting), IST_OK);
    }
    ist_client_free(client);
    assert_int_equal(waiting.calls, 10);
    assert_int_equal(waiting.status, IST_PEER);
    ist_client_free(NULL);
    fake_stop(fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls__every_operation__answered),
        cmocka_unit_test(test_submit__refused__every_item_says_so),
        cmocka_unit_test(test_async__large_values_both_ways__whole),
        cmocka_unit_test(test_in_flight__limit__again),
        cmocka_unit_test(test_deadline__no_answer__timeout_and_the_session_lives),
        cmocka_unit_test(test_deadline__server_reads_no_more__put_times_out_others_peer),
        cmocka_unit_test(test_callback__submits_the_next__all_run),
        cmocka_unit_test(test_callback__calls_what_it_must_not__refused),
        cmocka_unit_test(test_free__requests_in_flight__called_back_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

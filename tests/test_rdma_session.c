/* Sessions over RDMA: what is moved when, what is answered, what returns. */
#include "tests/rdma_talk.h"

/* ---- tests ---------------------------------------------------------------------------------------------- */

static void test_put_then_get__one_value__same_bytes(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'a', 3000);
    say_one(&talk, IST_OP_GET, 2, "k", 5000, 4000);
    memset(talk.client + 5000, 0xee, 4000);
    talk_run(&talk);
    assert_int_equal(talk.count, 1);
    assert_int_equal(talk.replies[0].frame.payload_bytes, 0);
    assert_int_equal(key_status(&talk, 0, 0), IST_OK);
    assert_int_equal(talk.replies[0].lengths[0], 3000);
    assert_true(is_value(talk.client + 5000, 'a', 3000));
    for (size_t i = 8000; i < 9000; i++) {
        assert_int_equal(talk.client[i], 0xee); /* behind the value: untouched */
    }
    struct ist_stats stats;
    ist_engine_stats(talk.world.engine, &stats);
    assert_int_equal(stats.put_bytes, 3000);
    assert_int_equal(stats.get_bytes, 3000);
    assert_int_equal(stats.sessions_rdma, 1);
    assert_true(stats.received_bytes > 3000 && stats.sent_bytes > 3000);
    talk_end(&talk);
}

static void test_put__reads_outstanding__key_appears_with_the_last(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'a', 1000);
    const struct item items[] = {{"k", 0, 2000}, {"l", 2000, 2000}};
    fill(&talk, 0, 'x', 2000);
    fill(&talk, 2000, 'y', 2000);
    say_items(&talk.in, IST_OP_PUT, 0, 2, items, 2);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 10), 2);
    assert_false(is_present(&talk, "l"));
    nic_complete(&talk, 1);
    assert_false(is_present(&talk, "l"));
    talk_hear(&talk);
    assert_int_equal(talk.count, 0);
    assert_int_equal(wants(&talk), IST_WANT_RECV);
    nic_complete(&talk, 1);
    assert_true(is_present(&talk, "l"));
    talk_hear(&talk);
    assert_int_equal(talk.count, 1);
    talk.out.count = 0;
    say_one(&talk, IST_OP_GET, 3, "k", 6000, 2000);
    talk_run(&talk);
    assert_true(is_value(talk.client + 6000, 'x', 2000));
    talk_end(&talk);
}

static void test_put__if_absent_and_present__nothing_is_moved(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'a', 1000);
    const struct item items[] = {{"k", 0, 2000}, {"", 0, 10}, {"z", 0, 0}, {"big", 0, POOL_BYTES + 1}};
    say_items(&talk.in, IST_OP_PUT, IST_FRAME_IF_ABSENT, 2, items, 4);
    talk_say(&talk);
    assert_int_equal(wants(&talk) & IST_WANT_WORK, 0);
    talk_hear(&talk);
    assert_int_equal(talk.count, 1);
    assert_int_equal(key_status(&talk, 0, 0), IST_EXISTS);
    assert_int_equal(key_status(&talk, 0, 1), IST_INVALID);
    assert_int_equal(key_status(&talk, 0, 2), IST_INVALID);
    assert_int_equal(key_status(&talk, 0, 3), IST_TOO_BIG);
    talk_end(&talk);
}

static void test_put__refused_behind_one_that_waits__both_answered(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_one(&talk, IST_OP_PUT, 1, "k", 0, 1000);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 10), 1);
    say_one(&talk, IST_OP_PUT, 2, "", 0, 1000);
    talk_say(&talk);
    talk_hear(&talk);
    assert_int_equal(talk.count, 1); /* it did not wait */
    assert_int_equal(talk.replies[0].frame.request_id, 2);
    nic_complete(&talk, 1);
    talk_hear(&talk);
    assert_int_equal(talk.count, 2);
    assert_int_equal(talk.replies[1].frame.request_id, 1);
    talk_end(&talk);
}

static void test_get__reply_follows_the_last_write_out__pin_waits_for_its_end(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'a', 1000);
    put_whole(&talk, "l", 'b', 1000);
    const struct item items[] = {{"k", 10000, 1000}, {"none", 20000, 1000}, {"l", 30000, 1000}};
    say_items(&talk.in, IST_OP_GET, 0, 2, items, 3);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 1), 1);
    talk_hear(&talk);
    assert_int_equal(talk.count, 0); /* it could arrive before the second value */
    assert_int_equal(nic_post(&talk, 10), 1);
    talk_hear(&talk);
    assert_int_equal(talk.count, 1);
    assert_int_equal(key_status(&talk, 0, 0), IST_OK);
    assert_int_equal(key_status(&talk, 0, 1), IST_NOT_FOUND);
    assert_int_equal(key_status(&talk, 0, 2), IST_OK);
    ist_store_purge(talk.world.store);
    assert_int_equal(usage(&talk).pinned_entries, 2);
    assert_true(usage(&talk).doomed_bytes >= 2000);
    nic_complete(&talk, 1);
    assert_int_equal(usage(&talk).pinned_entries, 1);
    nic_complete(&talk, 1);
    assert_int_equal(usage(&talk).free_bytes, POOL_BYTES);
    assert_true(is_value(talk.client + 10000, 'a', 1000));
    assert_true(is_value(talk.client + 30000, 'b', 1000));
    talk_end(&talk);
}

static void test_values__longer_than_one_work__split(void **state) {
    (void)state;
    const uint64_t bytes = 2 * IST_WORK_BYTES_MAX + 777;
    struct talk talk;
    talk_begin_with(&talk, (struct world_options){.pool_bytes = 8u << 20});
    fill(&talk, 0, 'q', bytes);
    say_one(&talk, IST_OP_PUT, 1, "k", 0, bytes);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 10), 3);
    assert_int_equal(talk.posted[2].bytes, 777);
    nic_complete(&talk, 3);
    say_one(&talk, IST_OP_GET, 2, "k", 4u << 20, bytes);
    talk_run(&talk);
    assert_true(is_value(talk.client + (4u << 20), 'q', bytes));
    talk_end(&talk);
}

static void test_batch__through_a_window_of_one__all_moved(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    char names[ITEMS_MAX][8];
    struct item items[ITEMS_MAX];
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "k%zu", i);
        items[i] = (struct item){names[i], i * 2000, 1000 + i};
        fill(&talk, items[i].at, (char)('A' + i), items[i].bytes);
    }
    for (unsigned round = 0; round < 2; round++) {
        say_items(&talk.in, round == 0 ? IST_OP_PUT : IST_OP_GET, 0, round, items, ITEMS_MAX);
        talk_say(&talk);
        size_t moved = 0;
        while (nic_post(&talk, 1) == 1) {
            nic_complete(&talk, 1);
            moved++;
        }
        assert_int_equal(moved, ITEMS_MAX);
        memset(talk.client, 0, round == 0 ? ITEMS_MAX * 2000 : 0);
    }
    talk_hear(&talk);
    assert_int_equal(talk.count, 2);
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        assert_true(is_value(talk.client + items[i].at, (char)('A' + i), items[i].bytes));
    }
    talk_end(&talk);
}

static void test_close__work_outstanding__nothing_is_left(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'a', 1000);
    say_one(&talk, IST_OP_GET, 2, "k", 0, 1000);
    say_one(&talk, IST_OP_PUT, 3, "l", 0, 1000);
    say_one(&talk, IST_OP_PUT, 4, "m", 0, 1000);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 2), 2);
    assert_int_equal(usage(&talk).pinned_entries, 2 + 1); /* and the next one's block */
    talk_end(&talk);                                      /* checks that all came back */
}

static void test_drain__work_outstanding__answered_first(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    say_one(&talk, IST_OP_PUT, 3, "l", 0, 1000);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 10), 1);
    ist_engine_drain(talk.world.engine, talk.world.now_ns);
    assert_int_equal(wants(&talk) & IST_WANT_CLOSE, 0);
    nic_complete(&talk, 1);
    talk_hear(&talk);
    assert_int_equal(talk.count, 1);
    assert_int_equal(key_status(&talk, 0, 0), IST_OK);
    assert_int_equal(wants(&talk), IST_WANT_CLOSE);
    talk_end(&talk);
}

static void test_timeout__work_never_completes__closes(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    assert_true(ist_engine_deadline_ns(talk.world.engine) == IST_NEVER_NS);
    say_one(&talk, IST_OP_PUT, 3, "l", 0, 1000);
    talk_say(&talk);
    nic_post(&talk, 1);
    talk.world.now_ns += IST_PROGRESS_TIMEOUT_NS;
    ist_engine_tick(talk.world.engine, talk.world.now_ns);
    assert_int_equal(wants(&talk), IST_WANT_CLOSE);
    assert_ptr_equal(ist_engine_next_changed(talk.world.engine), talk.session);
    talk_end(&talk);
}

/* Its time is up, and not one nanosecond earlier. */
static void expect_timeout_at(struct talk *talk, uint64_t at_ns) {
    talk->world.now_ns = at_ns - 1;
    ist_engine_tick(talk->world.engine, talk->world.now_ns);
    assert_int_not_equal(wants(talk), IST_WANT_CLOSE);
    assert_int_equal(ist_engine_deadline_ns(talk->world.engine), at_ns);
    talk->world.now_ns = at_ns;
    ist_engine_tick(talk->world.engine, talk->world.now_ns);
    assert_int_equal(wants(talk), IST_WANT_CLOSE);
}

static void tick_after(struct talk *talk, uint64_t ns) {
    talk->world.now_ns += ns;
    ist_engine_tick(talk->world.engine, talk->world.now_ns);
}

/* A byte before each pause ends: that could go on for days. */
static void test_timeout__work_completes_too_slowly__closes(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    const struct item items[] = {{"k", 0, 1024}, {"l", 1024, 1024}, {"m", 2048, 1024}};
    const uint64_t begin_ns = talk.world.now_ns;
    say_items(&talk.in, IST_OP_PUT, 0, 3, items, 3);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 3), 3);
    tick_after(&talk, IST_PROGRESS_TIMEOUT_NS - 1);
    nic_complete(&talk, 1);
    expect_timeout_at(&talk, begin_ns + IST_PROGRESS_TIMEOUT_NS + IST_NS_PER_SEC / 1024);
    talk_end(&talk);
}

static void test_timeout__a_second_more_for_each_mebibyte__goes_on(void **state) {
    (void)state;
    const uint64_t mebibytes = 7; /* the last one ends just before the others' time is up */
    const uint64_t all_ns = IST_PROGRESS_TIMEOUT_NS + (mebibytes - 1) * IST_NS_PER_SEC;
    const uint64_t pause_ns = all_ns / mebibytes - 1;
    struct talk talk;
    talk_begin_with(&talk, (struct world_options){.pool_bytes = 8u << 20});
    say_one(&talk, IST_OP_PUT, 3, "l", 0, mebibytes << 20);
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 10), mebibytes);
    for (uint64_t i = 0; i < mebibytes; i++) {
        tick_after(&talk, pause_ns);
        assert_int_not_equal(wants(&talk), IST_WANT_CLOSE);
        nic_complete(&talk, 1);
    }
    talk_hear(&talk);
    assert_int_equal(key_status(&talk, 0, 0), IST_OK);
    tick_after(&talk, 1000 * IST_PROGRESS_TIMEOUT_NS);
    assert_int_equal(wants(&talk), IST_WANT_RECV);
    talk_end(&talk);
}

/* Each transfer's time begins when those before it are over. */
static void test_timeout__many_transfers_one_behind_the_other__each_has_its_own(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    put_whole(&talk, "k", 'a', 1024);
    for (uint64_t id = 1; id <= 4; id++) {
        say_one(&talk, id % 2 == 0 ? IST_OP_PUT : IST_OP_GET, id, id % 2 == 0 ? "l" : "k", 0, 1024);
    }
    talk_say(&talk);
    assert_int_equal(nic_post(&talk, 10), 4);
    talk_hear(&talk); /* two GETs are answered: their bytes are still on their way */
    for (unsigned i = 0; i < 3; i++) {
        tick_after(&talk, IST_PROGRESS_TIMEOUT_NS - 1);
        assert_int_not_equal(wants(&talk), IST_WANT_CLOSE);
        nic_complete(&talk, 1);
        talk_hear(&talk);
    }
    expect_timeout_at(&talk, talk.world.now_ns + IST_PROGRESS_TIMEOUT_NS);
    talk_end(&talk);
}

static void expect_refused(struct talk *talk, const char *why) {
    talk_say(talk);
    talk_hear(talk);
    assert_int_equal(talk->count, 1);
    assert_int_equal(talk->replies[0].keys.status, IST_PROTOCOL);
    assert_int_equal(wants(talk), IST_WANT_CLOSE);
    assert_non_null(strstr(talk->world.lines.last, why));
    talk_end(talk);
}

static void test_request__not_for_rdma__protocol(void **state) {
    (void)state;
    struct talk talk;
    uint64_t length = 3;
    struct ist_span key = ist_span_of_string("k");
    talk_begin(&talk);
    say_put(&talk.in, 5, 0, "k", 'a', 3);
    expect_refused(&talk, "payload");
    talk_begin(&talk);
    say_keys(&talk.in, IST_OP_PUT, 0, 5, &key, &length, 1, 0);
    expect_refused(&talk, "lengths or places");
    talk_begin(&talk);
    say_get(&talk.in, 5, "k", 3);
    expect_refused(&talk, "lengths or places");
    talk_begin(&talk);
    say_header(&talk.in, IST_OP_CONNECT, 0, 5, 0, 0);
    expect_refused(&talk, "CONNECT");
    talk_begin(&talk);
    say_one(&talk, IST_OP_GET, 5, "k", UINT64_MAX - CLIENT_BASE - 5, 7);
    expect_refused(&talk, "wraps");
    const struct item items[] = {{"k", 0, 1}, {"l", 1, 1}, {"m", UINT64_MAX - CLIENT_BASE - 5, 7}};
    talk_begin(&talk);
    say_items(&talk.in, IST_OP_GET, 0, 5, items, 3);
    expect_refused(&talk, "wraps");
    talk_begin(&talk);
    say_header(&talk.in, IST_OP_HELLO, 0, 5, 0, 0);
    talk_say(&talk);
    assert_int_equal(wants(&talk), IST_WANT_CLOSE);
    talk_end(&talk);
}

static void test_request__places_over_a_stream__protocol(void **state) {
    (void)state;
    struct talk talk;
    talk_begin(&talk);
    struct ist_session *stream = world_open(&talk.world);
    say_hello(&talk.in, 1);
    say_one(&talk, IST_OP_GET, 2, "k", 0, 10);
    edge_run(&talk.world, stream, &talk.in, &talk.out);
    assert_int_equal(ist_session_wants(stream), IST_WANT_CLOSE);
    assert_non_null(strstr(talk.world.lines.last, "lengths or places"));
    ist_session_close(stream);
    talk_end(&talk);
}

/* ---- CONNECT -------------------------------------------------------------------------------------------- */

static void say_connect(struct bytes *out, uint64_t id, const struct ist_endpoint *endpoint) {
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    assert_int_equal(ist_codec_encode_endpoint(endpoint, body, sizeof(body), &written), IST_OK);
    say_header(out, IST_OP_CONNECT, 0, id, (uint32_t)written, 0);
    bytes_add(out, body, written);
}

static void test_connect__over_a_stream__asked_of_the_edge_and_answered(void **state) {
    (void)state;
    const struct ist_endpoint client = {.end = {.number = 0xffffff,
                                                .packet_number = 5,
                                                .gid = {1, [15] = 2},
                                                .lid = 0xffff,
                                                .mtu_bytes = 4096,
                                                .reads = 16,
                                                .messages = 32,
                                                .message_bytes = 4096}};
    struct talk talk;
    talk_begin(&talk);
    struct ist_session *stream = world_open(&talk.world);
    say_hello(&talk.in, 1);
    say_connect(&talk.in, 2, &client);
    say_key(&talk.in, IST_OP_EXISTS, 3, "k");
    size_t fed = edge_feed(&talk.world, stream, talk.in.data, talk.in.count);
    assert_true((ist_session_wants(stream) & IST_WANT_CONNECT) != 0);
    assert_int_equal(ist_session_wants(stream) & (IST_WANT_RECV | IST_WANT_COPY), 0);
    assert_same_endpoint(ist_session_peer(stream), &client);
    const struct ist_endpoint own = {.end = {.number = 77, .messages = 1}};
    ist_session_connected(stream, &own, talk.world.now_ns);
    world_check(&talk.world);
    edge_feed(&talk.world, stream, talk.in.data + fed, talk.in.count - fed);
    edge_take(&talk.world, stream, &talk.out, SIZE_MAX);
    /* HELLO's, this, EXISTS's; only the second has another body */
    struct ist_frame frame;
    size_t at = 0;
    assert_int_equal(ist_frame_decode(ist_span_of(talk.out.data, talk.out.count), &frame), IST_OK);
    at += IST_FRAME_BYTES + frame.body_bytes;
    assert_int_equal(ist_frame_decode(ist_span_of(talk.out.data + at, talk.out.count - at), &frame),
                     IST_OK);
    assert_int_equal(frame.operation, IST_OP_CONNECT);
    struct ist_endpoint heard;
    assert_int_equal(ist_codec_decode_endpoint(
                         ist_span_of(talk.out.data + at + IST_FRAME_BYTES, frame.body_bytes), &heard),
                     IST_OK);
    assert_same_endpoint(&heard, &own);
    at += IST_FRAME_BYTES + frame.body_bytes;
    assert_int_equal(ist_frame_decode(ist_span_of(talk.out.data + at, talk.out.count - at), &frame),
                     IST_OK);
    assert_int_equal(frame.operation, IST_OP_EXISTS);
    ist_session_close(stream);
    talk_end(&talk);
}

static void test_endpoint__out_of_range_or_cut__protocol(void **state) {
    (void)state;
    const struct ist_endpoint good = {.end = {.number = 1, .gid = {1}, .messages = 3}};
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    struct ist_endpoint heard;
    assert_int_equal(ist_codec_encode_endpoint(&good, body, sizeof(body), &written), IST_OK);
    assert_int_equal(ist_codec_decode_endpoint(ist_span_of(body, written), &heard), IST_OK);
    assert_int_equal(ist_codec_decode_endpoint(ist_span_of(body, written - 1), &heard), IST_PROTOCOL);
    const struct ist_endpoint wrong[] = {{.end = {.number = 0x1000000}},
                                         {.end = {.packet_number = 0x1000000}}};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ist_codec_encode_endpoint(&wrong[i], body, sizeof(body), &written), IST_OK);
        assert_int_equal(ist_codec_decode_endpoint(ist_span_of(body, written), &heard), IST_PROTOCOL);
    }
    static const uint8_t short_gid[] = {0x22, 2, 1, 2}; /* field 4 with 2 bytes */
    assert_int_equal(ist_codec_decode_endpoint(ist_span_of(short_gid, sizeof(short_gid)), &heard),
                     IST_PROTOCOL);
    static const uint8_t wide_lid[] = {0x28, 0x80, 0x80, 4}; /* field 5: 65536 */
    assert_int_equal(ist_codec_decode_endpoint(ist_span_of(wide_lid, sizeof(wide_lid)), &heard),
                     IST_PROTOCOL);
    assert_int_equal(ist_codec_encode_endpoint(&good, body, 3, &written), IST_NO_SPACE);
}

/* ---- no memory ---------------------------------------------------------------------------------------- */

static void test_requests__nth_allocation_fails__answered_or_closed(void **state) {
    (void)state;
    uint64_t calls = UINT64_MAX;
    for (uint64_t n = 1; n < calls; n++) {
        struct talk talk;
        talk_begin(&talk);
        uint64_t before = talk.world.failing.calls;
        talk.world.failing.fail_at = before + n;
        fill(&talk, 0, 'a', 1000);
        for (uint64_t id = 1; id <= 3; id++) {
            say_one(&talk, id == 2 ? IST_OP_GET : IST_OP_PUT, id, "k", 0, 1000);
            talk_run(&talk);
        }
        assert_true(talk.count == 3 || wants(&talk) == IST_WANT_CLOSE);
        if (talk.world.failing.calls - before < n) {
            calls = n; /* none failed any more */
            assert_int_equal(talk.count, 3);
            assert_int_equal(key_status(&talk, 1, 0), IST_OK);
        }
        talk_end(&talk);
    }
}

/* A body that has memory of its own, which the put takes over, or not. */
static void test_put__long_body_and_nth_allocation_fails__nothing_leaks(void **state) {
    (void)state;
    enum { COUNT = 1200 };
    static struct ist_span keys[COUNT];
    static uint64_t lengths[COUNT];
    static struct ist_remote remotes[COUNT];
    static char names[COUNT][24];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "one of many keys %zu", i);
        keys[i] = ist_span_of_string(names[i]);
        lengths[i] = 8;
        remotes[i] = (struct ist_remote){.address = CLIENT_BASE + 8 * i, .rkey = RKEY};
    }
    size_t room = ist_codec_remote_keys_bytes(keys, lengths, remotes, COUNT), written;
    uint8_t *body = malloc(room);
    assert_true(body != NULL && room > 32 << 10);
    assert_int_equal(ist_codec_encode_remote_keys(keys, lengths, remotes, COUNT, body, room, &written),
                     IST_OK);
    for (uint64_t nth = 1, calls = UINT64_MAX; nth <= calls; nth++) {
        struct talk talk;
        talk_begin(&talk);
        talk.world.unchecked = true;
        say_header(&talk.in, IST_OP_PUT, 0, 5, (uint32_t)room, 0);
        bytes_add(&talk.in, body, room);
        uint64_t before = talk.world.failing.calls;
        talk.world.failing.fail_at = before + nth;
        talk_say(&talk);
        talk.world.failing.fail_at = 0;
        if (talk.world.failing.calls - before < nth || nth > 20) { /* the rest are entries */
            calls = nth;
        }
        talk_run(&talk);
        assert_true(talk.count == 1 || wants(&talk) == IST_WANT_CLOSE);
        talk_end(&talk);
    }
    free(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_then_get__one_value__same_bytes),
        cmocka_unit_test(test_put__reads_outstanding__key_appears_with_the_last),
        cmocka_unit_test(test_put__if_absent_and_present__nothing_is_moved),
        cmocka_unit_test(test_put__refused_behind_one_that_waits__both_answered),
        cmocka_unit_test(test_get__reply_follows_the_last_write_out__pin_waits_for_its_end),
        cmocka_unit_test(test_values__longer_than_one_work__split),
        cmocka_unit_test(test_batch__through_a_window_of_one__all_moved),
        cmocka_unit_test(test_close__work_outstanding__nothing_is_left),
        cmocka_unit_test(test_drain__work_outstanding__answered_first),
        cmocka_unit_test(test_timeout__work_never_completes__closes),
        cmocka_unit_test(test_timeout__work_completes_too_slowly__closes),
        cmocka_unit_test(test_timeout__a_second_more_for_each_mebibyte__goes_on),
        cmocka_unit_test(test_timeout__many_transfers_one_behind_the_other__each_has_its_own),
        cmocka_unit_test(test_request__not_for_rdma__protocol),
        cmocka_unit_test(test_request__places_over_a_stream__protocol),
        cmocka_unit_test(test_connect__over_a_stream__asked_of_the_edge_and_answered),
        cmocka_unit_test(test_endpoint__out_of_range_or_cut__protocol),
        cmocka_unit_test(test_requests__nth_allocation_fails__answered_or_closed),
        cmocka_unit_test(test_put__long_body_and_nth_allocation_fails__nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

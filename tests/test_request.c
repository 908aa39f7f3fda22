/* Requests by themselves: what they send, and what a reply's body does to what the caller gave. */
#include "client/request.h"

#include <stdio.h>

#include "client/metrics.h"
#include "client/reply.h"
#include "tests/conversation.h"

static struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

static struct failing_alloc failing;

static const struct ist_alloc *fresh_alloc(uint64_t fail_at) {
    failing_alloc_init(&failing, fail_at);
    return &failing.alloc;
}

/* All of it, as one byte string. */
static void send_all(struct ist_request *request, struct bytes *out, size_t buffers_max,
                     size_t bytes_max) {
    struct iovec buffers[64];
    bool all = false;
    while (!all) {
        size_t named = ist_request_send_buffers(request, buffers, buffers_max);
        assert_in_range(named, 1, buffers_max);
        uint64_t moved = 0;
        for (size_t i = 0; i < named && moved < bytes_max; i++) {
            size_t left = bytes_max - (size_t)moved;
            size_t part = buffers[i].iov_len < left ? buffers[i].iov_len : left;
            bytes_add(out, buffers[i].iov_base, part);
            moved += part;
        }
        all = ist_request_sent(request, &moved);
        assert_int_equal(moved, 0);
        assert_true(ist_request_has_begun(request));
    }
}

static void test_put__several_values__header_keys_and_values_of_the_caller(void **state) {
    (void)state;
    struct ist_put_item items[3] = {
        {.key = key_of("a"), .value = "first", .value_bytes = 5},
        {.key = key_of("bb"), .value = "2", .value_bytes = 1},
        {.key = key_of("c"), .value = "the third", .value_bytes = 9},
    };
    for (size_t buffers_max = 1; buffers_max <= 5; buffers_max++) {
        for (size_t bytes_max = 1; bytes_max < 100; bytes_max += 3) {
            struct ist_request *request;
            struct bytes out = {0};
            assert_int_equal(ist_request_new_put(fresh_alloc(0), items, 3, IST_IF_ABSENT, &request),
                             IST_OK);
            assert_false(ist_request_has_begun(request));
            ist_request_seal(request, 0x123456789abcdef0);
            struct iovec buffers[5];
            assert_int_equal(ist_request_send_buffers(request, buffers, 5), 4);
            assert_ptr_equal(buffers[3].iov_base, items[2].value); /* not a copy */
            send_all(request, &out, buffers_max, bytes_max);
            struct ist_frame frame;
            assert_int_equal(ist_frame_decode(ist_span_of(out.data, out.count), &frame), IST_OK);
            assert_int_equal(frame.operation, IST_OP_PUT);
            assert_int_equal(frame.flags, IST_FRAME_IF_ABSENT);
            assert_true(frame.request_id == 0x123456789abcdef0);
            assert_int_equal(frame.payload_bytes, 15);
            assert_int_equal(out.count, IST_FRAME_BYTES + frame.body_bytes + 15);
            assert_memory_equal(out.data + out.count - 15, "first2the third", 15);
            struct ist_span keys[4];
            uint64_t lengths[4];
            size_t count, length_count;
            assert_int_equal(
                ist_codec_decode_keys(ist_span_of(out.data + IST_FRAME_BYTES, frame.body_bytes), keys,
                                      lengths, 4, &count, &length_count),
                IST_OK);
            assert_int_equal(count, 3);
            assert_int_equal(length_count, 3);
            assert_true(ist_span_equal(keys[1], ist_span_of("bb", 2)));
            assert_int_equal(lengths[2], 9);
            ist_request_free(request);
            bytes_free(&out);
            assert_int_equal(failing.live, 0);
        }
    }
}

/* More keys than are encoded at a time. */
static void test_keys__a_thousand__all_of_them_in_order(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    static char text[COUNT][40];
    static struct ist_get_item items[COUNT];
    static struct ist_span keys[COUNT];
    static uint64_t lengths[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof(text[i]), "%.*s%zu", (int)(i % 30), "a key of many different lengths",
                 i);
        items[i] = (struct ist_get_item){
            .key = key_of(text[i]), .buffer = text, .buffer_bytes = (uint64_t)i << (i % 50)};
    }
    struct ist_request *request;
    struct bytes out = {0};
    assert_int_equal(ist_request_new_get(fresh_alloc(0), items, COUNT, &request), IST_OK);
    send_all(request, &out, 1, SIZE_MAX);
    size_t count, length_count;
    assert_int_equal(
        ist_codec_decode_keys(ist_span_of(out.data + IST_FRAME_BYTES, out.count - IST_FRAME_BYTES),
                              keys, lengths, COUNT, &count, &length_count),
        IST_OK);
    assert_int_equal(count, COUNT);
    assert_int_equal(length_count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(ist_span_equal(keys[i], ist_span_of_string(text[i])));
        assert_true(lengths[i] == items[i].buffer_bytes);
    }
    ist_request_free(request);
    bytes_free(&out);
}

static void test_new__outside_the_limits__invalid(void **state) {
    (void)state;
    const struct ist_alloc *alloc = fresh_alloc(0);
    struct ist_request *request;
    static const char longest[IST_KEY_BYTES_MAX + 1];
    struct ist_put_item put = {.key = key_of("a"), .value = "v", .value_bytes = 1};
    struct ist_get_item get = {.key = key_of("a"), .buffer_bytes = 0}; /* asks for the length */
    struct ist_key key = {longest, IST_KEY_BYTES_MAX};
    bool present;
    size_t number;
    int64_t index;
    assert_int_equal(ist_request_new_put(alloc, &put, 1, 2, &request), IST_INVALID);
    assert_int_equal(ist_request_new_put(alloc, &put, 0, 0, &request), IST_INVALID);
    assert_int_equal(ist_request_new_put(alloc, NULL, 1, 0, &request), IST_INVALID);
    put.value_bytes = 0;
    assert_int_equal(ist_request_new_put(alloc, &put, 1, 0, &request), IST_INVALID);
    put = (struct ist_put_item){.key = key_of("a"), .value_bytes = 1};
    assert_int_equal(ist_request_new_put(alloc, &put, 1, 0, &request), IST_INVALID);
    struct ist_put_item two[2] = {{.key = key_of("a"), .value = "v", .value_bytes = UINT64_MAX},
                                  {.key = key_of("a"), .value = "v", .value_bytes = 1}};
    assert_int_equal(ist_request_new_put(alloc, two, 2, 0, &request), IST_INVALID);
    get.buffer_bytes = 1;
    assert_int_equal(ist_request_new_get(alloc, &get, 1, &request), IST_INVALID);
    get.buffer_bytes = 0;
    assert_int_equal(ist_request_new_get(alloc, NULL, 1, &request), IST_INVALID);
    assert_int_equal(ist_request_new_get(alloc, &get, 1, &request), IST_OK);
    ist_request_free(request);
    key.bytes++;
    assert_int_equal(ist_request_new_exists(alloc, &key, 1, &present, &request), IST_INVALID);
    key.bytes = 0;
    assert_int_equal(ist_request_new_exists(alloc, &key, 1, &present, &request), IST_INVALID);
    key = (struct ist_key){NULL, 1};
    assert_int_equal(ist_request_new_exists(alloc, &key, 1, &present, &request), IST_INVALID);
    key = key_of("a");
    assert_int_equal(ist_request_new_exists(alloc, &key, 1, NULL, &request), IST_INVALID);
    assert_int_equal(ist_request_new_exists(alloc, NULL, 1, &present, &request), IST_INVALID);
    assert_int_equal(ist_request_new_number(alloc, IST_OP_REMOVE, &key, 1, NULL, &request),
                     IST_INVALID);
    assert_int_equal(ist_request_new_number(alloc, IST_OP_REMOVE, NULL, 1, &number, &request),
                     IST_INVALID);
    assert_int_equal(ist_request_new_match_last(alloc, &key, 1, NULL, &request), IST_INVALID);
    assert_int_equal(ist_request_new_match_last(alloc, NULL, 1, &index, &request), IST_INVALID);
    assert_int_equal(ist_request_new_purge(alloc, NULL, &request), IST_INVALID);
    assert_int_equal(ist_request_new_stat(alloc, NULL, &request), IST_INVALID);
    assert_int_equal(failing.live, 0);
}

static void test_new__largest_batch_of_longest_keys__fits(void **state) {
    (void)state;
    size_t count = IST_KEYS_PER_REQUEST_MAX + 1;
    struct ist_get_item *items = calloc(count, sizeof(*items));
    static const char longest[IST_KEY_BYTES_MAX];
    assert_non_null(items);
    for (size_t i = 0; i < count; i++) {
        items[i] = (struct ist_get_item){.key = {longest, sizeof(longest)},
                                         .buffer = (void *)(uintptr_t)longest,
                                         .buffer_bytes = UINT64_MAX / (2 * count)};
    }
    struct ist_request *request;
    assert_int_equal(ist_request_new_get(fresh_alloc(0), items, count, &request), IST_INVALID);
    assert_int_equal(ist_request_new_get(fresh_alloc(0), items, count - 1, &request), IST_OK);
    assert_true(request->head_bytes > IST_KEYS_PER_REQUEST_MAX * sizeof(longest));
    ist_request_free(request);
    free(items);
}

static void test_new__no_memory__no_memory(void **state) {
    (void)state;
    struct ist_request *request;
    struct ist_put_item put = {.key = key_of("a"), .value = "v", .value_bytes = 1};
    struct ist_metrics *metrics;
    assert_int_equal(ist_request_new_put(fresh_alloc(1), &put, 1, 0, &request), IST_NO_MEMORY);
    assert_int_equal(ist_request_new_stat(fresh_alloc(1), &metrics, &request), IST_NO_MEMORY);
    assert_int_equal(ist_request_new_ping(fresh_alloc(1), &request), IST_NO_MEMORY);
    assert_int_equal(failing.live, 0);
}

/* ---- answers ---------------------------------------------------------------------------------------------- */

static enum ist_status answer(struct ist_request *request, const struct ist_keys_reply *reply,
                              uint64_t payload_bytes) {
    size_t room = ist_codec_keys_reply_bytes(reply), written;
    uint8_t *body = guarded_new(room + 1);
    assert_int_equal(ist_codec_encode_keys_reply(reply, body + 1, room, &written), IST_OK);
    assert_true(written <= ist_reply_bytes_max(request));
    enum ist_status status = ist_reply_apply(request, ist_span_of(body + 1, written), payload_bytes);
    guarded_free(body, room + 1);
    return status;
}

#define STATUSES(...)                                                                                  \
    .key_status = ist_span_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define LENGTHS(...)                                                                                   \
    .lengths = (const uint64_t[]){__VA_ARGS__},                                                        \
    .length_count = sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)

static void test_answer__put__status_of_each_and_first_failure(void **state) {
    (void)state;
    struct ist_put_item items[4];
    for (size_t i = 0; i < 4; i++) {
        items[i] = (struct ist_put_item){.key = key_of("a"), .value = "v", .value_bytes = 1};
    }
    struct ist_request *request;
    assert_int_equal(ist_request_new_put(fresh_alloc(0), items, 4, 0, &request), IST_OK);
    assert_int_equal(answer(request, &(struct ist_keys_reply){STATUSES(0, 12, 13, 0)}, 0), IST_OK);
    assert_int_equal(request->status, IST_NO_SPACE);
    assert_int_equal(items[0].status, IST_OK);
    assert_int_equal(items[1].status, IST_NO_SPACE);
    assert_int_equal(items[2].status, IST_TOO_BIG);
    assert_int_equal(items[3].status, IST_OK);
    assert_int_equal(answer(request, &(struct ist_keys_reply){.status = IST_NO_MEMORY}, 0), IST_OK);
    assert_int_equal(request->status, IST_NO_MEMORY);
    assert_int_equal(items[3].status, IST_NO_MEMORY);
    assert_int_equal(answer(request, &(struct ist_keys_reply){STATUSES(0, 0, 0, 0)}, 0), IST_OK);
    assert_int_equal(request->status, IST_OK);
    ist_request_free(request);
}

static void test_answer__not_of_this_request__protocol(void **state) {
    (void)state;
    struct ist_put_item put = {.key = key_of("a"), .value = "v", .value_bytes = 1};
    struct ist_request *request;
    assert_int_equal(ist_request_new_put(fresh_alloc(0), &put, 1, 0, &request), IST_OK);
    const struct ist_keys_reply bad_puts[] = {
        {.status = IST_OK},        /* no status of the key */
        {STATUSES(0, 0)},          /* one too many */
        {STATUSES(IST_NOT_FOUND)}, /* what a put cannot be */
        {STATUSES(IST_TOO_SMALL)}, {STATUSES(IST_AGAIN)},    {STATUSES(IST_PEER)},
        {STATUSES(0), LENGTHS(1)}, /* lengths are for gets */
        {.status = IST_AGAIN},     {.status = IST_PROTOCOL}, {.status = IST_PEER},
        {.status = IST_TIMEOUT},   {.status = IST_DEVICE},   {.status = IST_CONFIG},
    };
    for (size_t i = 0; i < sizeof(bad_puts) / sizeof(bad_puts[0]); i++) {
        assert_int_equal(answer(request, &bad_puts[i], 0), IST_PROTOCOL);
    }
    assert_int_equal(answer(request, &(struct ist_keys_reply){STATUSES(0)}, 1), IST_PROTOCOL);
    ist_request_free(request);

    struct ist_key keys[2] = {key_of("a"), key_of("b")};
    size_t number;
    int64_t index;
    bool present[2];
    assert_int_equal(
        ist_request_new_number(fresh_alloc(0), IST_OP_MATCH_PREFIX, keys, 2, &number, &request),
        IST_OK);
    assert_int_equal(answer(request, &(struct ist_keys_reply){.count = 3}, 0), IST_PROTOCOL);
    assert_int_equal(answer(request, &(struct ist_keys_reply){.count = 2}, 0), IST_OK);
    assert_int_equal(number, 2);
    ist_request_free(request);
    assert_int_equal(ist_request_new_match_last(fresh_alloc(0), keys, 2, &index, &request), IST_OK);
    assert_int_equal(answer(request, &(struct ist_keys_reply){.count = 3}, 0), IST_PROTOCOL);
    assert_int_equal(answer(request, &(struct ist_keys_reply){.count = 0}, 0), IST_OK);
    assert_int_equal(index, -1);
    assert_int_equal(answer(request, &(struct ist_keys_reply){.count = 2}, 0), IST_OK);
    assert_int_equal(index, 1);
    ist_request_free(request);
    assert_int_equal(ist_request_new_exists(fresh_alloc(0), keys, 2, present, &request), IST_OK);
    assert_int_equal(answer(request, &(struct ist_keys_reply){STATUSES(0)}, 0), IST_PROTOCOL);
    assert_int_equal(answer(request, &(struct ist_keys_reply){STATUSES(0, IST_EXISTS)}, 0),
                     IST_PROTOCOL);
    assert_int_equal(answer(request, &(struct ist_keys_reply){STATUSES(IST_NOT_FOUND, 0)}, 0), IST_OK);
    assert_int_equal(request->status, IST_OK);
    assert_false(present[0]);
    assert_true(present[1]);
    assert_int_equal(ist_reply_apply(request, ist_span_of("\xff\xff", 2), 0), IST_PROTOCOL);
    ist_request_free(request);
}

struct get_case {
    struct ist_keys_reply reply;
    uint64_t payload_bytes;
    enum ist_status expected;
};

static void test_answer__get__lengths_must_fit_buffers_and_payload(void **state) {
    (void)state;
    uint8_t *buffers[2] = {guarded_new(10), guarded_new(20)};
    struct ist_get_item items[2] = {{.key = key_of("a"), .buffer = buffers[0], .buffer_bytes = 10},
                                    {.key = key_of("b"), .buffer = buffers[1], .buffer_bytes = 20}};
    const struct get_case cases[] = {
        {{STATUSES(0, 0), LENGTHS(10, 20)}, 30, IST_OK},
        {{STATUSES(0, 10), LENGTHS(1, 0)}, 1, IST_OK},
        {{STATUSES(10, 14), LENGTHS(0, 21)}, 0, IST_OK},
        {{STATUSES(15, 0), LENGTHS(0, 20)}, 20, IST_OK},
        {{STATUSES(0, 0), LENGTHS(11, 20)}, 31, IST_PROTOCOL},        /* longer than its buffer */
        {{STATUSES(0, 0), LENGTHS(10, UINT64_MAX)}, 9, IST_PROTOCOL}, /* the sum wraps */
        {{STATUSES(0, 0), LENGTHS(10, 20)}, 29, IST_PROTOCOL},
        {{STATUSES(0, 0), LENGTHS(10, 20)}, 31, IST_PROTOCOL},
        {{STATUSES(0, 0), LENGTHS(0, 20)}, 20, IST_PROTOCOL}, /* a value of 0 bytes */
        {{STATUSES(0, 14), LENGTHS(1, 20)}, 1, IST_PROTOCOL}, /* which is not too small */
        {{STATUSES(0, 10), LENGTHS(1, 5)}, 1, IST_PROTOCOL},  /* not found, but so long */
        {{STATUSES(0, 0), LENGTHS(10)}, 10, IST_PROTOCOL},    /* one length */
        {{STATUSES(0), LENGTHS(10)}, 10, IST_PROTOCOL},       /* one status */
        {{STATUSES(0, 0)}, 0, IST_PROTOCOL},                  /* none */
        {{STATUSES(0, 0), LENGTHS(10, 20, 30)}, 30, IST_PROTOCOL},
        {{STATUSES(0, 11), LENGTHS(10, 0)}, 10, IST_PROTOCOL},
        {{.status = IST_NO_MEMORY}, 0, IST_OK},
        {{.status = IST_NO_MEMORY}, 1, IST_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ist_request *request;
        assert_int_equal(ist_request_new_get(fresh_alloc(0), items, 2, &request), IST_OK);
        if (answer(request, &cases[i].reply, cases[i].payload_bytes) != cases[i].expected) {
            fail_msg("case %zu", i);
        }
        struct iovec named[3];
        uint64_t bytes = 0;
        size_t count = cases[i].expected == IST_OK ? ist_reply_recv_buffers(request, named, 3) : 0;
        for (size_t j = 0; j < count; j++) {
            memset(named[j].iov_base, 1, named[j].iov_len);
            bytes += named[j].iov_len;
        }
        assert_int_equal(bytes, cases[i].expected == IST_OK ? cases[i].payload_bytes : 0);
        ist_request_free(request);
    }
    guarded_free(buffers[0], 10);
    guarded_free(buffers[1], 20);
}

static void encode_metrics(const struct ist_codec_metric *metrics, size_t count, struct bytes *body) {
    size_t room = ist_codec_metrics_bytes(metrics, count), written;
    body->data = malloc(room + 1);
    assert_non_null(body->data);
    assert_int_equal(ist_codec_encode_metrics(metrics, count, body->data, room, &written), IST_OK);
    body->count = written;
}

static void test_answer__stat__metrics_that_outlive_the_body(void **state) {
    (void)state;
    const struct ist_codec_metric metrics[3] = {{ist_span_of_string("one{a=\"b\"}"), 1.5},
                                                {ist_span_of_string("two"), 1e300},
                                                {ist_span_of_string(""), 0}};
    struct bytes body;
    encode_metrics(metrics, 3, &body);
    for (uint64_t fail_at = 0; fail_at <= 3; fail_at++) {
        struct ist_request *request;
        struct ist_metrics *got = NULL;
        if (ist_request_new_stat(fresh_alloc(fail_at), &got, &request) != IST_OK) {
            continue;
        }
        assert_int_equal(ist_reply_apply(request, ist_span_of(body.data, body.count), 0), IST_OK);
        assert_int_equal(request->status, fail_at == 0 ? IST_OK : IST_NO_MEMORY);
        if (fail_at == 0) {
            memset(body.data, 0x55, body.count);
            assert_int_equal(got->count, 3);
            assert_string_equal(got->items[0].name, "one{a=\"b\"}");
            assert_true(got->items[1].value >= 1e300);
            assert_string_equal(got->items[2].name, "");
            bytes_free(&body);
            encode_metrics(metrics, 3, &body);
        } else {
            assert_null(got);
        }
        ist_metrics_free(got);
        ist_request_free(request);
        assert_int_equal(failing.live, 0);
    }
    bytes_free(&body);
    struct ist_request *request;
    struct ist_metrics *got = NULL;
    assert_int_equal(ist_request_new_stat(fresh_alloc(0), &got, &request), IST_OK);
    assert_int_equal(ist_reply_apply(request, ist_span_of("\x12\x05", 2), 0), IST_PROTOCOL);
    assert_int_equal(ist_reply_apply(request, ist_span_of("\x08\x1e", 2), 0), IST_PROTOCOL);
    assert_int_equal(ist_reply_apply(request, ist_span_of("\x08\x10", 2), 0), IST_OK);
    assert_int_equal(request->status, IST_NO_MEMORY);
    assert_null(got);
    ist_request_free(request);
    ist_metrics_free(NULL);
    assert_int_equal(failing.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put__several_values__header_keys_and_values_of_the_caller),
        cmocka_unit_test(test_keys__a_thousand__all_of_them_in_order),
        cmocka_unit_test(test_new__outside_the_limits__invalid),
        cmocka_unit_test(test_new__largest_batch_of_longest_keys__fits),
        cmocka_unit_test(test_new__no_memory__no_memory),
        cmocka_unit_test(test_answer__put__status_of_each_and_first_failure),
        cmocka_unit_test(test_answer__not_of_this_request__protocol),
        cmocka_unit_test(test_answer__get__lengths_must_fit_buffers_and_payload),
        cmocka_unit_test(test_answer__stat__metrics_that_outlive_the_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

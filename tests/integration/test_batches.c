/* The largest batches of every operation, and batches that exceed them. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/raw.h"
#include "tests/integration/values.h"

#define VALUE_BYTES 64

static size_t largest(void) {
    return daemon_is_slow() ? IST_KEYS_PER_REQUEST_MAX / 64 : IST_KEYS_PER_REQUEST_MAX;
}

static void test_batch__65536_keys__every_operation(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "320M", "--minimal-allocate-size", "4K");
    struct ist_client *client = client_open(server->service[0]);
    assert_eventually(server_metric(server, "infinistore_pool_size_bytes") == 320 * MIB);
    size_t count = largest();
    struct keys keys = keys_new("key", count);
    uint8_t *values = malloc(count * VALUE_BYTES), *got = calloc(count, VALUE_BYTES);
    struct ist_put_item *puts = calloc(count, sizeof(*puts));
    struct ist_get_item *gets = calloc(count, sizeof(*gets));
    bool *present = calloc(count, sizeof(*present));
    assert_true(values != NULL && got != NULL && puts != NULL && gets != NULL && present != NULL);
    for (size_t i = 0; i < count; i++) {
        value_fill(keys.keys[i].data, i, values + i * VALUE_BYTES, VALUE_BYTES);
        puts[i] = (struct ist_put_item){
            .key = keys.keys[i], .value = values + i * VALUE_BYTES, .value_bytes = VALUE_BYTES};
        gets[i] = (struct ist_get_item){
            .key = keys.keys[i], .buffer = got + i * VALUE_BYTES, .buffer_bytes = VALUE_BYTES};
    }
    size_t number = 99;
    int64_t index = 99;
    assert_int_equal(ist_match_prefix(client, keys.keys, count, &number, 0), IST_OK);
    assert_int_equal(number, 0);
    assert_int_equal(ist_match_last(client, keys.keys, count, &index, 0), IST_OK);
    assert_int_equal(index, -1);
    assert_int_equal(put_items(client, puts, count, 0), IST_OK);
    assert_int_equal(ist_exists(client, keys.keys, count, present, 0), IST_OK);
    for (size_t i = 0; i < count; i++) {
        assert_true(present[i]);
    }
    assert_int_equal(ist_match_prefix(client, keys.keys, count, &number, 0), IST_OK);
    assert_int_equal(number, count);
    assert_int_equal(ist_match_last(client, keys.keys, count, &index, 0), IST_OK);
    assert_int_equal(index, count - 1);
    assert_int_equal(get_items(client, gets, count), IST_OK);
    assert_memory_equal(got, values, count * VALUE_BYTES);
    assert_int_equal(ist_remove(client, keys.keys, count / 2, &number, 0), IST_OK);
    assert_int_equal(number, count / 2);
    assert_int_equal(get_items(client, gets, count), IST_NOT_FOUND);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(gets[i].status, i < count / 2 ? IST_NOT_FOUND : IST_OK);
    }
    assert_int_equal(ist_remove(client, keys.keys, count, &number, 0), IST_OK);
    assert_int_equal(number, count - count / 2);
    assert_eventually(server_is_idle(server));
    assert_int_equal(server_pool_bytes(server, "free"), 320 * MIB);
    free(values);
    free(got);
    free(puts);
    free(gets);
    free(present);
    keys_free(&keys);
    ist_client_free(client);
    server_stop(server);
}

/* The longest keys, as many as there may be: the largest body of all. */
static void test_batch__65536_keys_of_1024_bytes__answered(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct ist_client *client = client_open(server->service[0]);
    size_t count = largest();
    struct ist_key *keys = calloc(count, sizeof(*keys));
    uint8_t *text = calloc(count, IST_KEY_BYTES_MAX);
    assert_true(keys != NULL && text != NULL);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + i * IST_KEY_BYTES_MAX, &i, sizeof(i));
        keys[i] = (struct ist_key){text + i * IST_KEY_BYTES_MAX, IST_KEY_BYTES_MAX};
    }
    struct ist_put_item last = {.key = keys[count - 1], .value = "x", .value_bytes = 1};
    assert_int_equal(put_items(client, &last, 1, 0), IST_OK);
    int64_t index = 0;
    assert_int_equal(ist_match_last(client, keys, count, &index, 0), IST_OK);
    assert_int_equal(index, count - 1);
    free(keys);
    free(text);
    ist_client_free(client);
    server_stop(server);
}

static void test_batch__one_key_too_many__invalid(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct ist_client *client = client_open(server->service[0]);
    size_t count = IST_KEYS_PER_REQUEST_MAX + 1, number = 0;
    struct keys keys = keys_new("key", count);
    assert_int_equal(ist_match_prefix(client, keys.keys, count, &number, 0), IST_INVALID);
    assert_int_equal(ist_match_prefix(client, keys.keys, 0, &number, 0), IST_INVALID);
    /* and who sends it all the same gets an answer or is hung up on */
    struct bytes body = {0}, request = {0};
    for (size_t i = 0; i < count; i++) {
        raw_add_key(&body, keys.keys[i].data, keys.keys[i].bytes);
    }
    raw_add_header(&request, RAW_EXISTS, 0, 3, (uint32_t)body.count, 0);
    bytes_add(&request, body.data, body.count);
    int fd = raw_open(server->service[0]);
    (void)raw_send(fd, request.data, request.count);
    struct raw_frame frame;
    if (raw_receive(fd, &frame)) {
        struct raw_reply reply;
        raw_reply_parse(&frame, &reply);
        assert_true(reply.status == IST_INVALID || reply.status == IST_PROTOCOL);
    }
    raw_frame_free(&frame);
    close(fd);
    bytes_free(&body);
    bytes_free(&request);
    keys_free(&keys);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    server_stop(server);
}

/* More than fits: just what does not fit is refused, and the answers agree with what is there. */
static void test_put__batch_larger_than_the_pool__rest_succeeds(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", "64M");
    struct ist_client *client = client_open(server->service[0]);
    enum { COUNT = 100 };
    struct keys keys = keys_new("key", COUNT);
    uint8_t *value = calloc(1, MIB);
    assert_non_null(value);
    struct ist_put_item items[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        items[i] = (struct ist_put_item){.key = keys.keys[i], .value = value, .value_bytes = MIB};
    }
    assert_int_equal(put_items(client, items, COUNT, 0), IST_NO_SPACE);
    size_t stored = 0;
    bool present[COUNT];
    assert_int_equal(ist_exists(client, keys.keys, COUNT, present, 0), IST_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(items[i].status == IST_OK || items[i].status == IST_NO_SPACE);
        assert_int_equal(present[i], items[i].status == IST_OK);
        stored += items[i].status == IST_OK;
    }
    assert_int_equal(stored, 64);
    free(value);
    keys_free(&keys);
    ist_client_free(client);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_batch__65536_keys__every_operation),
        integration_test(test_batch__65536_keys_of_1024_bytes__answered),
        integration_test(test_batch__one_key_too_many__invalid),
        integration_test(test_put__batch_larger_than_the_pool__rest_succeeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

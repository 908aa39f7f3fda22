/* What a client sees, one operation after the other, through the client library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/values.h"

#define POOL "64M"
#define POOL_BYTES (64 * MIB)

static void test_get__missing_key__not_found_at_once(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    uint8_t buffers[3][1000];
    memset(buffers, 0x77, sizeof(buffers));
    assert_int_equal(put_value(client, "b", 1, 500, 0), IST_OK);
    struct ist_get_item items[3] = {
        {.key = key_of("a"), .buffer = buffers[0], .buffer_bytes = 1000, .value_bytes = 5},
        {.key = key_of("b"), .buffer = buffers[1], .buffer_bytes = 1000},
        {.key = key_of("c"), .buffer = buffers[2], .buffer_bytes = 1000}};
    assert_int_equal(get_items(client, items, 3), IST_NOT_FOUND);
    assert_int_equal(items[0].status, IST_NOT_FOUND);
    assert_int_equal(items[0].value_bytes, 0);
    assert_int_equal(items[2].status, IST_NOT_FOUND);
    assert_int_equal(items[1].status, IST_OK); /* present ones are delivered all the same */
    assert_int_equal(items[1].value_bytes, 500);
    uint64_t version = 0;
    assert_true(value_check("b", buffers[1], 500, &version));
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(buffers[0][i], 0x77);
        assert_int_equal(buffers[2][i], 0x77);
        assert_int_equal(i < 500 ? 0x77 : buffers[1][i], 0x77); /* its tail is untouched */
    }
    ist_client_free(client);
    server_stop(server);
}

static void test_get__buffer_too_small__true_length_and_nothing_written(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "a", 1, 1000, 0), IST_OK);
    assert_int_equal(put_value(client, "b", 1, 300, 0), IST_OK);
    uint8_t buffers[2][1000];
    memset(buffers, 0x77, sizeof(buffers));
    struct ist_get_item items[2] = {{.key = key_of("a"), .buffer = buffers[0], .buffer_bytes = 999},
                                    {.key = key_of("b"), .buffer = buffers[1], .buffer_bytes = 300}};
    assert_int_equal(get_items(client, items, 2), IST_TOO_SMALL);
    assert_int_equal(items[0].status, IST_TOO_SMALL);
    assert_int_equal(items[0].value_bytes, 1000);
    assert_int_equal(items[1].status, IST_OK);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(buffers[0][i], 0x77);
    }
    ist_client_free(client);
    server_stop(server);
}

static void test_put__sizes_outside_their_limits__invalid_or_too_big(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    static uint8_t key[MIB];
    struct ist_put_item item = {.key = {key, MIB}, .value = "x", .value_bytes = 1};
    assert_int_equal(put_items(client, &item, 1, 0), IST_INVALID);
    item.key.bytes = 1025;
    assert_int_equal(put_items(client, &item, 1, 0), IST_INVALID);
    item.key.bytes = 0;
    assert_int_equal(put_items(client, &item, 1, 0), IST_INVALID);
    item.key.bytes = 1024;
    assert_int_equal(put_items(client, &item, 1, 0), IST_OK);
    item.value_bytes = 0;
    assert_int_equal(put_items(client, &item, 1, 0), IST_INVALID);
    assert_int_equal(put_items(client, &item, 0, 0), IST_INVALID);
    bool present = false;
    assert_int_equal(ist_exists(client, &(struct ist_key){key, MIB}, 1, &present, 0), IST_INVALID);
    /* A value larger than the pool: at once, the connection and the others of the batch live on. */
    uint8_t *big = calloc(1, POOL_BYTES + 1);
    assert_non_null(big);
    struct ist_put_item items[2] = {{.key = key_of("big"), .value = big, .value_bytes = POOL_BYTES + 1},
                                    {.key = key_of("small"), .value = big, .value_bytes = 100}};
    uint64_t incarnation = ist_client_incarnation(client);
    assert_int_equal(put_items(client, items, 2, 0), IST_TOO_BIG);
    assert_int_equal(items[0].status, IST_TOO_BIG);
    assert_int_equal(items[1].status, IST_OK);
    assert_false(has_key(client, "big"));
    assert_true(has_key(client, "small"));
    assert_int_equal(ist_client_incarnation(client), incarnation);
    /* It is not even read, so that it cannot make anybody wait. */
    items[0].value_bytes = 1ull << 40;
    assert_int_equal(ist_memory_register(client, big, POOL_BYTES + 1), IST_OK);
    assert_int_equal(ist_put(client, items, 2, IST_IF_ABSENT, 0), IST_TOO_BIG);
    assert_int_equal(items[0].status, IST_TOO_BIG);
    assert_int_equal(items[1].status, IST_EXISTS);
    assert_int_equal(ist_put(client, items, 1, 0, 0), IST_TOO_BIG);
    assert_int_equal(ist_memory_unregister(client, big, POOL_BYTES + 1), IST_OK);
    assert_int_equal(ist_client_incarnation(client), incarnation);
    /* exactly the pool fits */
    items[0].value_bytes = POOL_BYTES;
    assert_int_equal(put_items(client, items, 1, 0), IST_OK);
    assert_false(has_key(client, "small"));
    free(big);
    ist_client_free(client);
    server_stop(server);
}

/* The old value's eviction must not take the new one with it. */
static void test_overwrite__then_old_value_evicted__new_one_stays(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    char key[32];
    assert_int_equal(put_value(client, "key", 1, 4 * MIB, 0), IST_OK);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(key, sizeof(key), "before%u", i);
        assert_int_equal(put_value(client, key, i, 4 * MIB, 0), IST_OK);
    }
    assert_int_equal(put_value(client, "key", 2, 4 * MIB, 0), IST_OK);
    /* Room for 7 more; then what was before the overwrite goes, one by one, but not what came after. */
    for (unsigned i = 0; i < 14; i++) {
        snprintf(key, sizeof(key), "after%u", i);
        assert_int_equal(put_value(client, key, i, 4 * MIB, 0), IST_OK);
    }
    assert_false(has_key(client, "before0"));
    uint64_t version = 0;
    assert_int_equal(get_value(client, "key", 4 * MIB, &version), IST_OK);
    assert_int_equal(version, 2);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 16);
    ist_client_free(client);
    server_stop(server);
}

static void test_purge__full_pool__all_memory_returns(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(server_pool_bytes(server, "free"), POOL_BYTES);
    char key[32];
    uint64_t seed = 1;
    for (unsigned i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        size_t bytes = VALUE_BYTES_MIN + (size_t)random_below(&seed, MIB);
        assert_int_equal(put_value(client, key, i, bytes, 0), IST_OK);
    }
    assert_true(server_pool_bytes(server, "free") < POOL_BYTES / 4);
    uint64_t purged = 0, keys = (uint64_t)server_metric(server, "infinistore_keys_stored");
    assert_int_equal(ist_purge(client, &purged, 0), IST_OK);
    assert_int_equal(purged, keys);
    assert_int_equal(server_pool_bytes(server, "free"), POOL_BYTES);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 0);
    /* in one piece */
    assert_int_equal(put_value(client, "all", 1, POOL_BYTES, 0), IST_OK);
    ist_client_free(client);
    server_stop(server);
}

/* A prefix of blocks is put in order; when room is short its tail goes before its head. */
static void test_eviction__several_times_the_pool__oldest_first_and_heads_last(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    enum { BATCH = 16, BATCHES = 20 }; /* of 1 MiB each: 320 MiB through 64 */
    char names[BATCH][32];
    struct ist_key keys[BATCH];
    struct ist_put_item items[BATCH];
    uint8_t *values = malloc(BATCH * MIB);
    assert_non_null(values);
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            snprintf(names[i], sizeof(names[i]), "prefix%u/%zu", batch, i);
            keys[i] = key_of(names[i]);
            value_fill(names[i], batch, values + i * MIB, MIB);
            items[i] =
                (struct ist_put_item){.key = keys[i], .value = values + i * MIB, .value_bytes = MIB};
        }
        assert_int_equal(put_items(client, items, BATCH, 0), IST_OK);
    }
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 64); /* evicted just enough */
    assert_int_equal(server_metric(server, "infinistore_evicted_entries_total"), 320 - 64);
    /* The last 4 batches are there. Eight blocks more take the tail of the oldest. */
    for (unsigned i = 0; i < 8; i++) {
        char key[32];
        snprintf(key, sizeof(key), "more%u", i);
        assert_int_equal(put_value(client, key, i, MIB, 0), IST_OK);
    }
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        for (size_t i = 0; i < BATCH; i++) {
            snprintf(names[i], sizeof(names[i]), "prefix%u/%zu", batch, i);
        }
        size_t matched = 99;
        assert_int_equal(ist_match_prefix(client, keys, BATCH, &matched, 0), IST_OK);
        assert_int_equal(matched, batch < 16 ? 0 : batch == 16 ? 8 : 16);
    }
    free(values);
    ist_client_free(client);
    server_stop(server);
}

static void test_presence__with_holes__exact(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    enum { COUNT = 200 };
    struct keys keys = keys_new("k", COUNT);
    bool model[COUNT] = {false}, present[COUNT];
    uint64_t seed = 7;
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned change = 0; change < round; change++) {
            size_t i = (size_t)random_below(&seed, COUNT);
            const char *key = keys.keys[i].data;
            if (random_below(&seed, 3) == 0) {
                assert_int_equal(remove_key(client, key), model[i]);
                model[i] = false;
            } else {
                assert_int_equal(put_value(client, key, i, 100, 0), IST_OK);
                model[i] = true;
            }
        }
        size_t from = round % 3 == 0 ? 0 : (size_t)random_below(&seed, COUNT - 1);
        size_t count = 1 + (size_t)random_below(&seed, COUNT - from);
        size_t prefix = 0, matched = 999;
        int64_t last = -1, index = -99;
        while (prefix < count && model[from + prefix]) {
            prefix++;
        }
        for (size_t i = 0; i < count; i++) {
            last = model[from + i] ? (int64_t)i : last;
        }
        assert_int_equal(ist_match_prefix(client, keys.keys + from, count, &matched, 0), IST_OK);
        assert_int_equal(matched, prefix);
        assert_int_equal(ist_match_last(client, keys.keys + from, count, &index, 0), IST_OK);
        assert_int_equal(index, last);
        assert_int_equal(ist_exists(client, keys.keys + from, count, present, 0), IST_OK);
        assert_memory_equal(present, model + from, count);
    }
    keys_free(&keys);
    ist_client_free(client);
    server_stop(server);
}

static void test_batch__same_key_twice__last_value_and_every_answer(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    uint8_t values[3][1000], got[3][1000];
    struct ist_put_item puts[3];
    struct ist_get_item gets[3];
    struct ist_key keys[3];
    bool present[3] = {false};
    for (size_t i = 0; i < 3; i++) {
        value_fill("twin", i, values[i], sizeof(values[i]));
        keys[i] = key_of("twin");
        puts[i] = (struct ist_put_item){.key = keys[i], .value = values[i], .value_bytes = 1000};
        gets[i] = (struct ist_get_item){.key = keys[i], .buffer = got[i], .buffer_bytes = 1000};
    }
    assert_int_equal(put_items(client, puts, 3, 0), IST_OK);
    assert_int_equal(get_items(client, gets, 3), IST_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(gets[i].status, IST_OK);
        assert_memory_equal(got[i], values[2], 1000);
    }
    assert_int_equal(ist_exists(client, keys, 3, present, 0), IST_OK);
    assert_true(present[0] && present[1] && present[2]);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 1);
    size_t removed = 0;
    assert_int_equal(ist_remove(client, keys, 3, &removed, 0), IST_OK);
    assert_int_equal(removed, 1);
    assert_eventually(server_is_idle(server));
    assert_int_equal(server_pool_bytes(server, "free"), POOL_BYTES);
    ist_client_free(client);
    server_stop(server);
}

static void test_put__if_absent__present_keys_keep_their_value(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "b", 1, 1000, 0), IST_OK);
    uint8_t values[3][1000];
    static const char *const names[3] = {"a", "b", "c"};
    struct ist_put_item items[3];
    for (size_t i = 0; i < 3; i++) {
        value_fill(names[i], 2, values[i], 1000);
        items[i] =
            (struct ist_put_item){.key = key_of(names[i]), .value = values[i], .value_bytes = 1000};
    }
    assert_int_equal(put_items(client, items, 3, IST_IF_ABSENT), IST_EXISTS);
    assert_int_equal(items[0].status, IST_OK);
    assert_int_equal(items[1].status, IST_EXISTS);
    assert_int_equal(items[2].status, IST_OK);
    uint64_t version = 0;
    assert_int_equal(get_value(client, "a", 1000, &version), IST_OK);
    assert_int_equal(version, 2);
    assert_int_equal(get_value(client, "b", 1000, &version), IST_OK);
    assert_int_equal(version, 1);
    assert_eventually(server_is_idle(server));
    ist_client_free(client);
    server_stop(server);
}

static void test_stat__after_some_work__same_names_as_metrics(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "a", 1, 1000, 0), IST_OK);
    struct ist_metrics *metrics = NULL;
    assert_int_equal(ist_stat(client, &metrics, 0), IST_OK);
    assert_true(metrics->count > 20);
    struct http_reply reply;
    http_request(server, "GET", "/metrics", "", &reply);
    for (size_t i = 0; i < metrics->count; i++) {
        bool is_the_clients_own = strncmp(metrics->items[i].name, "infinistore_client_", 19) == 0;
        if (!is_the_clients_own && strstr(reply.body, metrics->items[i].name) == NULL) {
            fail_msg("/metrics lacks %s", metrics->items[i].name);
        }
    }
    http_free(&reply);
    ist_metrics_free(metrics);
    ist_client_free(client);
    server_stop(server);
}

/* Keys are bytes: NUL, newline, bytes that are no UTF-8, and prefixes of each other. */
static void test_keys__arbitrary_bytes__kept_apart(void **state) {
    (void)state;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = client_open(server->service[0]);
    uint8_t keys[256][3], got[256][20];
    struct ist_put_item puts[256];
    struct ist_get_item gets[256];
    for (size_t i = 0; i < 256; i++) {
        memcpy(keys[i], (uint8_t[]){0, (uint8_t)i, '\n'}, 3);
        struct ist_key key = {keys[i], 1 + i % 3};
        if (i % 3 == 0) {
            key.data = keys[i] + 1;
        }
        puts[i] = (struct ist_put_item){.key = key, .value = keys[i], .value_bytes = 3};
        gets[i] = (struct ist_get_item){.key = key, .buffer = got[i], .buffer_bytes = 20};
    }
    assert_int_equal(put_items(client, puts, 256, 0), IST_OK);
    assert_int_equal(get_items(client, gets, 256), IST_OK);
    for (size_t i = 0; i < 256; i++) {
        assert_int_equal(gets[i].value_bytes, 3);
        assert_memory_equal(got[i], keys[i], 3);
    }
    ist_client_free(client);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_get__missing_key__not_found_at_once),
        integration_test(test_get__buffer_too_small__true_length_and_nothing_written),
        integration_test(test_put__sizes_outside_their_limits__invalid_or_too_big),
        integration_test(test_overwrite__then_old_value_evicted__new_one_stays),
        integration_test(test_purge__full_pool__all_memory_returns),
        integration_test(test_eviction__several_times_the_pool__oldest_first_and_heads_last),
        integration_test(test_presence__with_holes__exact),
        integration_test(test_batch__same_key_twice__last_value_and_every_answer),
        integration_test(test_put__if_absent__present_keys_keep_their_value),
        integration_test(test_stat__after_some_work__same_names_as_metrics),
        integration_test(test_keys__arbitrary_bytes__kept_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

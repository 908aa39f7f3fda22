#include "tests/integration/values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/rdma.h"
#include "workload/content.h"

#define KEY_ROOM 32

static struct ist_content content_of(const char *key, uint64_t version) {
    return ist_content_of((struct ist_span){.data = (const uint8_t *)key, .bytes = strlen(key)},
                          version);
}

void value_fill(const char *key, uint64_t version, void *value, size_t bytes) {
    memcpy(value, &version, sizeof(version));
    ist_content_fill(content_of(key, version), sizeof(version), (uint8_t *)value + sizeof(version),
                     bytes - sizeof(version));
}

bool value_check(const char *key, const void *value, size_t bytes, uint64_t *version) {
    if (bytes < VALUE_BYTES_MIN) {
        return false;
    }
    memcpy(version, value, sizeof(*version));
    size_t rest = bytes - sizeof(*version);
    return ist_content_verify(content_of(key, *version), sizeof(*version),
                              (const uint8_t *)value + sizeof(*version), rest) == rest;
}

struct ist_client *client_open(const char *address) {
    struct ist_client *client = NULL;
    char error[256];
    enum ist_transport transport = rdma_is_here() ? IST_TRANSPORT_RDMA : IST_TRANSPORT_TCP;
    enum ist_status status =
        rdma_try_open(address, transport, rdma_client_device(), &client, error, sizeof(error));
    if (status != IST_OK) {
        fail_msg("connecting to %s: %s: %s", address, ist_status_name(status), error);
    }
    return client;
}

/* Memory that a device may reach, until put back. */
static uint8_t *borrow_memory(struct ist_client *client, size_t bytes) {
    uint8_t *memory = malloc(bytes);
    assert_non_null(memory);
    assert_int_equal(ist_memory_register(client, memory, bytes), IST_OK);
    return memory;
}

static void put_back(struct ist_client *client, uint8_t *memory, size_t bytes) {
    assert_int_equal(ist_memory_unregister(client, memory, bytes), IST_OK);
    free(memory);
}

enum ist_status put_items(struct ist_client *client, struct ist_put_item *items, size_t count,
                          unsigned flags) {
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += items[i].value_bytes;
    }
    if (!rdma_is_here() || bytes == 0) {
        return ist_put(client, items, count, flags, 0);
    }
    uint8_t *memory = borrow_memory(client, bytes);
    struct ist_put_item *copies = calloc(count, sizeof(*copies));
    assert_non_null(copies);
    for (size_t i = 0; i < count; i++) {
        copies[i] = items[i];
        copies[i].value = memcpy(memory + at, items[i].value, items[i].value_bytes);
        at += items[i].value_bytes;
    }
    enum ist_status status = ist_put(client, copies, count, flags, 0);
    for (size_t i = 0; i < count; i++) {
        items[i].status = copies[i].status;
    }
    put_back(client, memory, bytes);
    free(copies);
    return status;
}

enum ist_status get_items(struct ist_client *client, struct ist_get_item *items, size_t count) {
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += items[i].buffer_bytes;
    }
    if (!rdma_is_here() || bytes == 0) {
        return ist_get(client, items, count, 0);
    }
    uint8_t *memory = borrow_memory(client, bytes);
    struct ist_get_item *copies = calloc(count, sizeof(*copies));
    assert_non_null(copies);
    for (size_t i = 0; i < count; i++) {
        copies[i] = items[i];
        copies[i].buffer = memcpy(memory + at, items[i].buffer, items[i].buffer_bytes);
        at += items[i].buffer_bytes;
    }
    enum ist_status status = ist_get(client, copies, count, 0);
    for (size_t i = 0; i < count; i++) {
        memcpy(items[i].buffer, copies[i].buffer, items[i].buffer_bytes);
        items[i].value_bytes = copies[i].value_bytes;
        items[i].status = copies[i].status;
    }
    put_back(client, memory, bytes);
    free(copies);
    return status;
}

struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

enum ist_status put_value(struct ist_client *client, const char *key, uint64_t version, size_t bytes,
                          unsigned flags) {
    void *value = malloc(bytes);
    assert_non_null(value);
    value_fill(key, version, value, bytes);
    struct ist_put_item item = {.key = key_of(key), .value = value, .value_bytes = bytes};
    enum ist_status status = put_items(client, &item, 1, flags);
    assert_int_equal(item.status, status);
    free(value);
    return status;
}

enum ist_status get_value(struct ist_client *client, const char *key, size_t bytes, uint64_t *version) {
    void *value = malloc(bytes);
    assert_non_null(value);
    struct ist_get_item item = {.key = key_of(key), .buffer = value, .buffer_bytes = bytes};
    enum ist_status status = get_items(client, &item, 1);
    assert_int_equal(item.status, status);
    if (status == IST_OK) {
        assert_int_equal(item.value_bytes, bytes);
        assert_true(value_check(key, value, bytes, version));
    }
    free(value);
    return status;
}

bool has_key(struct ist_client *client, const char *key) {
    struct ist_key asked = key_of(key);
    bool present = false;
    assert_int_equal(ist_exists(client, &asked, 1, &present, 0), IST_OK);
    return present;
}

bool remove_key(struct ist_client *client, const char *key) {
    struct ist_key asked = key_of(key);
    size_t removed = 99;
    assert_int_equal(ist_remove(client, &asked, 1, &removed, 0), IST_OK);
    assert_true(removed <= 1);
    return removed == 1;
}

struct keys keys_new(const char *prefix, size_t count) {
    struct keys keys = {.count = count};
    assert_true(strlen(prefix) < KEY_ROOM / 2);
    keys.keys = calloc(count, sizeof(*keys.keys));
    keys.text = calloc(count, KEY_ROOM);
    assert_true(keys.keys != NULL && keys.text != NULL);
    for (size_t i = 0; i < count; i++) {
        char *text = keys.text + i * KEY_ROOM;
        snprintf(text, KEY_ROOM, "%s%zu", prefix, i);
        keys.keys[i] = key_of(text);
    }
    return keys;
}

void keys_free(struct keys *keys) {
    free(keys->keys);
    free(keys->text);
    *keys = (struct keys){0};
}

/* Readers that are in the middle of a get while its value goes away, and readers that stop reading. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/http.h"
#include "tests/integration/raw.h"
#include "tests/integration/values.h"

#define VALUE_BYTES (24 * MIB) /* more than the sockets of both ends hold */
#define POOL "96M"

/* With all of its pool: the rest of it comes while it serves already. */
static struct server *start_server(void) {
    struct server *server = server_start("--prealloc-size", POOL);
    assert_eventually(server_metric(server, "infinistore_pool_size_bytes") == 96 * MIB);
    return server;
}

/* A get that has begun, of which nothing but the head has been read. */
static int begin_slow_get(const struct server *server, const char *key) {
    int fd = raw_connect(server->service[0]);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){65536}, sizeof(int));
    struct bytes requests = {0};
    raw_add_hello(&requests, 1, 1);
    raw_add_get(&requests, 2, key, VALUE_BYTES);
    assert_true(raw_send(fd, requests.data, requests.count));
    bytes_free(&requests);
    struct raw_frame frame;
    assert_true(raw_receive(fd, &frame));
    raw_frame_free(&frame);
    assert_true(raw_receive_head(fd, &frame));
    struct raw_reply reply;
    raw_reply_parse(&frame, &reply);
    assert_int_equal(reply.status, IST_OK);
    assert_int_equal(frame.payload_bytes, VALUE_BYTES);
    raw_frame_free(&frame);
    return fd;
}

static void end_slow_get(int fd, const char *key, uint64_t expected) {
    uint8_t *value = malloc(VALUE_BYTES);
    assert_non_null(value);
    assert_int_equal(raw_read(fd, value, VALUE_BYTES), VALUE_BYTES);
    uint64_t version = 0;
    assert_true(value_check(key, value, VALUE_BYTES, &version));
    assert_int_equal(version, expected);
    free(value);
    close(fd);
}

struct scene {
    struct server *server;
    struct ist_client *client;
    int slow;
};

/* "key" of version 1 is being read slowly. */
static struct scene scene_begin(void) {
    struct scene scene = {.server = start_server()};
    scene.client = client_open(scene.server->service[0]);
    assert_int_equal(put_value(scene.client, "key", 1, VALUE_BYTES, 0), IST_OK);
    scene.slow = begin_slow_get(scene.server, "key");
    return scene;
}

static void scene_end(struct scene *scene, uint64_t keys) {
    end_slow_get(scene->slow, "key", 1);
    assert_eventually(server_is_idle(scene->server));
    assert_int_equal(server_metric(scene->server, "infinistore_keys_stored"), keys);
    uint64_t purged = 99;
    assert_int_equal(ist_purge(scene->client, &purged, 0), IST_OK);
    assert_int_equal(purged, keys);
    assert_int_equal(server_pool_bytes(scene->server, "free"), 96 * MIB);
    ist_client_free(scene->client);
    server_stop(scene->server);
}

static void test_get__overwritten_in_the_middle__old_value_whole(void **state) {
    (void)state;
    struct scene scene = scene_begin();
    assert_int_equal(put_value(scene.client, "key", 2, VALUE_BYTES, 0), IST_OK);
    uint64_t version = 0;
    assert_int_equal(get_value(scene.client, "key", VALUE_BYTES, &version), IST_OK);
    assert_int_equal(version, 2);
    assert_true(server_pool_bytes(scene.server, "doomed") >= VALUE_BYTES);
    scene_end(&scene, 1);
}

static void test_get__removed_in_the_middle__old_value_whole(void **state) {
    (void)state;
    struct scene scene = scene_begin();
    assert_true(remove_key(scene.client, "key"));
    assert_false(has_key(scene.client, "key"));
    assert_true(server_pool_bytes(scene.server, "doomed") >= VALUE_BYTES);
    scene_end(&scene, 0);
}

static void test_get__purged_in_the_middle__old_value_whole(void **state) {
    (void)state;
    struct scene scene = scene_begin();
    uint64_t purged = 0, version;
    assert_int_equal(ist_purge(scene.client, &purged, 0), IST_OK);
    assert_int_equal(purged, 1);
    assert_int_equal(get_value(scene.client, "key", VALUE_BYTES, &version), IST_NOT_FOUND);
    assert_true(server_pool_bytes(scene.server, "doomed") >= VALUE_BYTES);
    scene_end(&scene, 0);
}

/* Four times the pool goes by; what is being read is not touched by it, removed or not. */
static void fill_past_capacity(struct ist_client *client) {
    char key[32];
    for (unsigned i = 0; i < 96; i++) {
        snprintf(key, sizeof(key), "other%u", i);
        assert_int_equal(put_value(client, key, i, 4 * MIB, 0), IST_OK);
    }
}

static void test_get__pool_overfilled_in_the_middle__old_value_whole(void **state) {
    (void)state;
    struct scene scene = scene_begin();
    fill_past_capacity(scene.client);
    assert_true(has_key(scene.client, "key")); /* pinned: not a candidate */
    assert_true(server_metric(scene.server, "infinistore_evicted_entries_total") > 0);
    assert_int_equal(server_pool_bytes(scene.server, "doomed"), 0);
    end_slow_get(scene.slow, "key", 1);
    assert_eventually(server_is_idle(scene.server));
    fill_past_capacity(scene.client);
    assert_false(has_key(scene.client, "key"));
    ist_client_free(scene.client);
    server_stop(scene.server);
}

static void test_get__removed_and_pool_overfilled__old_value_whole(void **state) {
    (void)state;
    struct scene scene = scene_begin();
    assert_true(remove_key(scene.client, "key"));
    fill_past_capacity(scene.client);
    assert_true(server_pool_bytes(scene.server, "doomed") >= VALUE_BYTES);
    uint64_t purged;
    assert_int_equal(ist_purge(scene.client, &purged, 0), IST_OK);
    scene_end(&scene, 0);
}

static void test_get__all_pinned_by_readers__no_space_then_space(void **state) {
    (void)state;
    struct server *server = start_server();
    struct ist_client *client = client_open(server->service[0]);
    enum { READERS = 4 }; /* of 24 MiB: the whole pool */
    static const char *const keys[READERS] = {"a", "b", "c", "d"};
    int slow[READERS];
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(put_value(client, keys[i], i, VALUE_BYTES, 0), IST_OK);
    }
    for (size_t i = 0; i < READERS; i++) {
        slow[i] = begin_slow_get(server, keys[i]);
    }
    assert_int_equal(put_value(client, "more", 1, MIB, 0), IST_NO_SPACE);
    assert_false(has_key(client, "more"));
    for (size_t i = 0; i < READERS; i++) {
        assert_true(has_key(client, keys[i]));
        end_slow_get(slow[i], keys[i], i);
    }
    assert_eventually(server_is_idle(server));
    assert_int_equal(put_value(client, "more", 1, MIB, 0), IST_OK);
    ist_client_free(client);
    server_stop(server);
}

/* Readers that ask for everything and take nothing. */
static void test_get__readers_stop_reading__others_served_and_memory_bounded(void **state) {
    (void)state;
    struct server *server = start_server();
    struct ist_client *client = client_open(server->service[0]);
    assert_int_equal(put_value(client, "key", 1, VALUE_BYTES, 0), IST_OK);
    assert_int_equal(put_value(client, "small", 1, 64 * KIB, 0), IST_OK);
    uint64_t before = server_memory_bytes(server, "VmRSS");
    enum { READERS = 8, REQUESTS = 1000 };
    int slow[READERS];
    for (size_t i = 0; i < READERS; i++) {
        slow[i] = begin_slow_get(server, "key");
        struct bytes more = {0};
        for (size_t j = 0; j < REQUESTS; j++) {
            raw_add_get(&more, 100 + j, j % 2 == 0 ? "key" : "small", VALUE_BYTES);
        }
        assert_true(raw_send(slow[i], more.data, more.count));
        bytes_free(&more);
    }
    uint64_t version = 0;
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(put_value(client, "other", i, 256 * KIB, 0), IST_OK);
        assert_int_equal(get_value(client, "other", 256 * KIB, &version), IST_OK);
        assert_int_equal(version, i);
    }
    if (daemon_memory_is_true()) {
        /* A session may queue 64 MiB of replies by reference; copies of payload would show. */
        assert_true(server_memory_bytes(server, "VmRSS") < before + READERS * MIB);
    }
    assert_int_equal(put_value(client, "key", 2, VALUE_BYTES, 0), IST_OK);
    assert_true(server_metric(server, "infinistore_pinned_entries") >= 1);
    for (size_t i = 0; i < READERS; i++) {
        if (i % 2 == 0) {
            close(slow[i]);
        } else {
            raw_close_hard(slow[i]);
        }
    }
    assert_eventually(server_is_idle(server));
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"tcp\"}") == 1);
    uint64_t purged;
    assert_int_equal(ist_purge(client, &purged, 0), IST_OK);
    assert_int_equal(server_pool_bytes(server, "free"), 96 * MIB);
    ist_client_free(client);
    server_stop(server);
}

/* INFINISTORE_TEST_LONG: the time that a session may stand still is half a minute. */
static void test_get__reader_stands_still_for_long__session_ends(void **state) {
    (void)state;
    if (getenv("INFINISTORE_TEST_LONG") == NULL) {
        skip();
    }
    struct scene scene = scene_begin();
    assert_true(remove_key(scene.client, "key"));
    uint64_t begun = now_ns();
    assert_eventually(server_is_idle(scene.server));
    assert_true(now_ns() - begun >= IST_PROGRESS_TIMEOUT_NS / 2);
    assert_true(raw_read_to_end(scene.slow) < VALUE_BYTES);
    close(scene.slow);
    ist_client_free(scene.client);
    server_stop(scene.server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        integration_test(test_get__overwritten_in_the_middle__old_value_whole),
        integration_test(test_get__removed_in_the_middle__old_value_whole),
        integration_test(test_get__purged_in_the_middle__old_value_whole),
        integration_test(test_get__pool_overfilled_in_the_middle__old_value_whole),
        integration_test(test_get__removed_and_pool_overfilled__old_value_whole),
        integration_test(test_get__all_pinned_by_readers__no_space_then_space),
        integration_test(test_get__readers_stop_reading__others_served_and_memory_bounded),
        integration_test(test_get__reader_stands_still_for_long__session_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

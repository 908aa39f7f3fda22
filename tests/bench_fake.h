/* A server in memory behind the bench's peer interface, that can be told to fail and to lie. Keys end in their
 * decimal index, as those of ist_bench_set do. */
#ifndef IST_TESTS_BENCH_FAKE_H
#define IST_TESTS_BENCH_FAKE_H

#include "tests/support.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench_clock.h"
#include "tools/bench_peer.h"

#define FAKE_KEYS_MAX 4096
#define FAKE_QUEUE 64

struct fake_server {
    pthread_mutex_t mutex;
    uint8_t *values[FAKE_KEYS_MAX];
    uint64_t bytes[FAKE_KEYS_MAX];
    unsigned puts[FAKE_KEYS_MAX], gets[FAKE_KEYS_MAX], asked[FAKE_KEYS_MAX];
    uint64_t requests;
    /* What is wrong with it. */
    uint64_t fail_at; /* the Nth request, from 1, ends with fail_status */
    enum ist_status fail_status;
    size_t wrong_key;    /* gets of it come with wrong_byte inverted */
    uint64_t wrong_byte; /* UINT64_MAX: none */
    bool lazy;           /* a get of wrong_key writes nothing, and says OK, */
    unsigned lazy_after; /* once it was got so often */
    uint64_t busy_ns;    /* that each request takes */
    bool shortens;       /* a get of wrong_key says that it is a byte shorter */
    bool forgets;        /* a put of wrong_key is not kept, and says OK */
    bool mute;           /* wait() says PEER with everything in flight */
    bool refuses;        /* open() says PEER */
};

struct fake_link {
    struct fake_server *server;
    struct ist_bench_request *queue[FAKE_QUEUE];
    size_t count;
};

static struct fake_server *fake_new(void) {
    struct fake_server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    pthread_mutex_init(&server->mutex, NULL);
    server->wrong_byte = UINT64_MAX;
    server->wrong_key = SIZE_MAX;
    return server;
}

static void fake_free(struct fake_server *server) {
    for (size_t i = 0; i < FAKE_KEYS_MAX; i++) {
        free(server->values[i]);
    }
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

/* Its address is the endpoint. */
static const char *fake_endpoint(const struct fake_server *server, char text[32]) {
    snprintf(text, 32, "%p", (const void *)server);
    return text;
}

static enum ist_status fake_open(const struct ist_bench_target *target, void **link, char *error,
                                 size_t error_bytes) {
    const char *endpoint = target->endpoint;
    void *server = NULL;
    if (sscanf(endpoint, "%p", &server) != 1 || ((struct fake_server *)server)->refuses) {
        snprintf(error, error_bytes, "%s: refused", endpoint);
        return IST_PEER;
    }
    struct fake_link *new = calloc(1, sizeof *new);
    new->server = server;
    *link = new;
    return IST_OK;
}

static void fake_close(void *context) {
    struct fake_link *link = context;
    while (link->count > 0) {
        struct ist_bench_request *request = link->queue[--link->count];
        request->done(request, IST_PEER);
    }
    free(link);
}

static size_t fake_index(struct ist_key key) {
    char text[32] = "";
    size_t bytes = key.bytes < 9 ? key.bytes : 9;
    memcpy(text, (const char *)key.data + key.bytes - bytes, bytes);
    return (size_t)strtoull(text, NULL, 10) % FAKE_KEYS_MAX;
}

static void fake_put(struct fake_server *server, struct ist_put_item *item) {
    size_t i = fake_index(item->key);
    server->puts[i]++;
    item->status = IST_OK;
    if (server->forgets && i == server->wrong_key && server->values[i] != NULL) {
        return;
    }
    free(server->values[i]);
    server->values[i] = malloc(item->value_bytes);
    memcpy(server->values[i], item->value, item->value_bytes);
    server->bytes[i] = item->value_bytes;
}

static enum ist_status fake_get(struct fake_server *server, struct ist_get_item *item) {
    size_t i = fake_index(item->key);
    server->gets[i]++;
    item->status = server->values[i] == NULL ? IST_NOT_FOUND : IST_OK;
    if (item->status != IST_OK) {
        return item->status;
    }
    item->value_bytes = server->bytes[i];
    if (i != server->wrong_key || !server->lazy || server->gets[i] <= server->lazy_after) {
        memcpy(item->buffer, server->values[i], server->bytes[i]);
    }
    if (i == server->wrong_key && server->wrong_byte < server->bytes[i]) {
        ((uint8_t *)item->buffer)[server->wrong_byte] ^= 0x40;
    }
    if (i == server->wrong_key && server->shortens) {
        item->value_bytes--;
    }
    return IST_OK;
}

static enum ist_status fake_answer(struct fake_server *server, struct ist_bench_request *request) {
    enum ist_status status = IST_OK;
    uint64_t until_ns = ist_bench_now_ns() + server->busy_ns;
    while (server->busy_ns > 0 && ist_bench_now_ns() < until_ns) {
    }
    if (++server->requests == server->fail_at) {
        return server->fail_status;
    }
    request->matched = 0;
    bool hole = false;
    for (size_t i = 0; i < request->count; i++) {
        enum ist_status one = IST_OK;
        switch (request->op) {
        case IST_BENCH_PUT: fake_put(server, &request->puts[i]); break;
        case IST_BENCH_GET: one = fake_get(server, &request->gets[i]); break;
        case IST_BENCH_EXISTS:
        case IST_BENCH_MATCH:
        case IST_BENCH_REMOVE: {
            size_t index = fake_index(request->keys[i]);
            bool present = server->values[index] != NULL;
            server->asked[index]++;
            request->present[i] = present;
            hole = hole || (request->op == IST_BENCH_MATCH && !present);
            request->matched += present && !hole;
            if (request->op == IST_BENCH_REMOVE) {
                free(server->values[index]);
                server->values[index] = NULL;
            }
            break;
        }
        }
        status = status == IST_OK ? one : status;
    }
    return status;
}

static enum ist_status fake_call(void *context, struct ist_bench_request *request) {
    struct fake_link *link = context;
    pthread_mutex_lock(&link->server->mutex);
    enum ist_status status = fake_answer(link->server, request);
    pthread_mutex_unlock(&link->server->mutex);
    return status;
}

static enum ist_status fake_submit(void *context, struct ist_bench_request *request) {
    struct fake_link *link = context;
    assert_true(link->count < FAKE_QUEUE);
    link->queue[link->count++] = request;
    return IST_OK;
}

/* The newest first, and not all at once: replies may come in any order. */
static enum ist_status fake_wait(void *context) {
    struct fake_link *link = context;
    assert_true(link->count > 0);
    if (link->server->mute) {
        return IST_PEER;
    }
    for (size_t i = 0; i < 3 && link->count > 0; i++) {
        struct ist_bench_request *request = link->queue[--link->count];
        request->done(request, fake_call(link, request));
    }
    return IST_OK;
}

static const struct ist_bench_peer fake_peer = {.name = "fake",
                                                .matches = true,
                                                .open = fake_open,
                                                .close = fake_close,
                                                .call = fake_call,
                                                .submit = fake_submit,
                                                .wait = fake_wait};

#endif

/* InfiniStore itself, through the library that everyone uses: one request at a time by the blocking calls,
 * several by the asynchronous ones. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/bench_peer.h"
#include "tools/bench_set.h"

#define POLL_MS 1000 /* deadlines are the library's: this only bounds our trust in it */

/* So that a NIC may move values from and to it. */
static enum ist_status announce(struct ist_client *client, const struct ist_bench_memory *memory) {
    enum ist_status status = ist_memory_register(client, memory->source, memory->bytes);
    return status != IST_OK ? status : ist_memory_register(client, memory->sink, memory->bytes);
}

static enum ist_status store_open(const struct ist_bench_target *target, void **link, char *error,
                                  size_t error_bytes) {
    struct ist_client_options options = {.endpoints = target->endpoint,
                                         .request_timeout_ns = target->timeout_ns};
    if (target->transport != NULL) {
        ist_transport_apply(target->transport, &options);
    }
    struct ist_client *client = NULL;
    enum ist_status status = ist_client_new(&options, &client, error, error_bytes);
    if (status != IST_OK) {
        return status;
    }
    if (target->memory != NULL) {
        status = announce(client, target->memory);
    }
    if (status != IST_OK) {
        snprintf(error, error_bytes, "the memory for values cannot be registered: %s",
                 ist_status_text(status));
        ist_client_free(client);
        return status;
    }
    *link = client;
    return IST_OK;
}

static void store_close(void *link) {
    ist_client_free(link);
}

static enum ist_status store_call(void *link, struct ist_bench_request *request) {
    switch (request->op) {
    case IST_BENCH_PUT: return ist_put(link, request->puts, request->count, 0, 0);
    case IST_BENCH_GET: return ist_get(link, request->gets, request->count, 0);
    case IST_BENCH_EXISTS: return ist_exists(link, request->keys, request->count, request->present, 0);
    case IST_BENCH_MATCH:
        return ist_match_prefix(link, request->keys, request->count, &request->matched, 0);
    case IST_BENCH_REMOVE: return ist_remove(link, request->keys, request->count, &request->matched, 0);
    }
    return IST_INVALID;
}

static void on_done(void *arg, enum ist_status status) {
    struct ist_bench_request *request = arg;
    request->done(request, status);
}

static enum ist_status store_submit(void *link, struct ist_bench_request *request) {
    switch (request->op) {
    case IST_BENCH_PUT:
        return ist_put_async(link, request->puts, request->count, 0, 0, on_done, request);
    case IST_BENCH_GET: return ist_get_async(link, request->gets, request->count, 0, on_done, request);
    case IST_BENCH_EXISTS:
        return ist_exists_async(link, request->keys, request->count, request->present, 0, on_done,
                                request);
    case IST_BENCH_MATCH:
        return ist_match_prefix_async(link, request->keys, request->count, &request->matched, 0,
                                      on_done, request);
    case IST_BENCH_REMOVE:
        return ist_remove_async(link, request->keys, request->count, &request->matched, 0, on_done,
                                request);
    }
    return IST_INVALID;
}

static enum ist_status store_wait(void *link) {
    while (ist_client_process(link) == 0) {
        struct pollfd polled = {.fd = ist_client_fd(link), .events = POLLIN};
        (void)poll(&polled, 1, POLL_MS);
    }
    return IST_OK;
}

const struct ist_bench_peer *ist_bench_store(void) {
    static const struct ist_bench_peer peer = {
        .name = "infinistore",
        .matches = true,
        .open = store_open,
        .close = store_close,
        .call = store_call,
        .submit = store_submit,
        .wait = store_wait,
    };
    return &peer;
}

#include "tools/bench_scout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "infinistore/infinistore.h"
#include "tools/bench_clock.h"
#include "tools/bench_load.h"

#define PAUSE_NS 10000000                 /* while the server's pool grows */
#define PATIENCE_NS (60 * IST_NS_PER_SEC) /* when it does not, although it says so */

static double metric(const struct ist_metrics *metrics, const char *name) {
    for (size_t i = 0; i < metrics->count; i++) {
        if (strcmp(metrics->items[i].name, name) == 0) {
            return metrics->items[i].value;
        }
    }
    return 0;
}

/* The pool: as large as it is, as it becomes by itself, and how much of it is in use. */
struct look {
    double bytes, target_bytes, used_bytes;
};

static enum ist_status look(struct ist_client *client, struct look *look) {
    struct ist_metrics *metrics = NULL;
    enum ist_status status = ist_stat(client, &metrics, 0);
    if (status == IST_OK) {
        look->bytes = metric(metrics, "infinistore_pool_size_bytes");
        look->target_bytes = metric(metrics, "infinistore_pool_target_bytes");
        look->used_bytes = look->bytes - metric(metrics, "infinistore_pool_bytes{state=\"free\"}");
        ist_metrics_free(metrics);
    }
    return status;
}

/* A daemon serves before all of its pool is there: waits until that is enough, as long as it grows. */
static enum ist_status wait_for_pool(struct ist_client *client, double wanted_bytes, double *bytes) {
    struct look now = {0};
    *bytes = 0;
    uint64_t grown_ns = ist_bench_now_ns();
    enum ist_status status = look(client, &now);
    while (status == IST_OK && now.bytes < wanted_bytes && now.bytes < now.target_bytes &&
           ist_bench_now_ns() - grown_ns < PATIENCE_NS) {
        if (now.bytes > *bytes) {
            grown_ns = ist_bench_now_ns();
            *bytes = now.bytes;
        }
        (void)nanosleep(&(const struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        status = look(client, &now);
    }
    *bytes = now.bytes;
    return status;
}

static enum ist_status put_registered(struct ist_client *client, struct ist_put_item *item) {
    void *value = (void *)(uintptr_t)item->value;
    enum ist_status status = ist_memory_register(client, value, item->value_bytes);
    if (status == IST_OK) {
        status = ist_put(client, item, 1, 0, 0);
        (void)ist_memory_unregister(client, value, item->value_bytes);
    }
    return status;
}

/* How much more of the pool is in use with a value of `bytes` in it. */
static enum ist_status try_size(struct ist_client *client, uint32_t run, uint64_t bytes,
                                uint64_t *block_bytes) {
    char name[64];
    int length = snprintf(name, sizeof name, "bench/%08x/scout", run);
    struct ist_put_item item = {
        .key = {name, (size_t)length}, .value = calloc(1, bytes), .value_bytes = bytes};
    struct look before = {0}, after = {0};
    size_t removed = 0;
    if (item.value == NULL) {
        return IST_NO_MEMORY;
    }
    enum ist_status status = look(client, &before);
    if (status == IST_OK) {
        status = put_registered(client, &item);
    }
    if (status == IST_OK) {
        status = look(client, &after);
    }
    if (status == IST_OK) {
        status = ist_remove(client, &item.key, 1, &removed, 0);
        double more = after.used_bytes - before.used_bytes;
        /* A full pool evicts as much as it takes: then no block is known, and the value's bytes must do. */
        *block_bytes = more > (double)bytes ? (uint64_t)more : bytes;
    }
    free((void *)(uintptr_t)item.value);
    return status;
}

enum ist_status ist_bench_scout(const struct ist_bench_options *options, uint32_t run,
                                const uint64_t *sizes, size_t count, struct ist_bench_scout *scout,
                                char *error) {
    struct ist_client_options connection = {.endpoints = options->endpoint,
                                            .request_timeout_ns = options->timeout_ns};
    ist_transport_apply(&options->transport, &connection);
    struct ist_client *client = NULL;
    struct ist_bench_scout found = {0};
    uint64_t set_bytes =
        options->working_set_bytes != 0 ? options->working_set_bytes : IST_BENCH_WORKING_SET_BYTES;
    double pool_bytes = 0;
    IST_ASSERT(count <= IST_BENCH_LIST_MAX + 1);
    enum ist_status status = ist_client_new(&connection, &client, error, IST_BENCH_ERROR_MAX);
    if (status != IST_OK) {
        return status == IST_INVALID ? IST_CONFIG : status;
    }
    /* Twice: what is overwritten stays until the new value is whole. */
    status = wait_for_pool(client, 2 * (double)set_bytes, &pool_bytes);
    for (size_t i = 0; i < count && status == IST_OK; i++) {
        status = try_size(client, run, sizes[i], &found.block_bytes[i]);
    }
    ist_client_free(client);
    if (status != IST_OK) {
        snprintf(error, IST_BENCH_ERROR_MAX, "%s: %s (%s)", options->endpoint, ist_status_text(status),
                 ist_status_name(status));
        return status;
    }
    found.pool_bytes = (uint64_t)pool_bytes;
    *scout = found;
    return IST_OK;
}

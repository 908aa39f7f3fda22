#include "tools/bench_scout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "infinistore/infinistore.h"
#include "tools/bench_load.h"

static double metric(const struct ist_metrics *metrics, const char *name) {
    for (size_t i = 0; i < metrics->count; i++) {
        if (strcmp(metrics->items[i].name, name) == 0) {
            return metrics->items[i].value;
        }
    }
    return 0;
}

static enum ist_status look(struct ist_client *client, double *pool, double *used) {
    struct ist_metrics *metrics = NULL;
    enum ist_status status = ist_stat(client, &metrics, 0);
    if (status == IST_OK) {
        *pool = metric(metrics, "infinistore_pool_size_bytes");
        *used = *pool - metric(metrics, "infinistore_pool_bytes{state=\"free\"}");
        ist_metrics_free(metrics);
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
    double pool = 0, before = 0, after = 0;
    size_t removed = 0;
    if (item.value == NULL) {
        return IST_NO_MEMORY;
    }
    enum ist_status status = look(client, &pool, &before);
    if (status == IST_OK) {
        status = ist_put(client, &item, 1, 0, 0);
    }
    if (status == IST_OK) {
        status = look(client, &pool, &after);
    }
    if (status == IST_OK) {
        status = ist_remove(client, &item.key, 1, &removed, 0);
        double more = after - before;
        /* A full pool evicts as much as it takes: then no block is known, and the value's bytes must do. */
        *block_bytes = more > (double)bytes ? (uint64_t)more : bytes;
    }
    free((void *)(uintptr_t)item.value);
    return status;
}

enum ist_status ist_bench_scout(const struct ist_bench_options *options, uint32_t run,
                                const uint64_t *sizes, size_t count, struct ist_bench_scout *scout,
                                char *error) {
    const struct ist_client_options connection = {.endpoints = options->endpoint,
                                                  .request_timeout_ns = options->timeout_ns};
    struct ist_client *client = NULL;
    struct ist_bench_scout found = {0};
    double pool = 0, used = 0;
    IST_ASSERT(count <= IST_BENCH_LIST_MAX + 1);
    enum ist_status status = ist_client_new(&connection, &client, error, IST_BENCH_ERROR_MAX);
    if (status != IST_OK) {
        return status == IST_INVALID ? IST_CONFIG : status;
    }
    status = look(client, &pool, &used);
    for (size_t i = 0; i < count && status == IST_OK; i++) {
        status = try_size(client, run, sizes[i], &found.block_bytes[i]);
    }
    ist_client_free(client);
    if (status != IST_OK) {
        snprintf(error, IST_BENCH_ERROR_MAX, "%s: %s (%s)", options->endpoint, ist_status_text(status),
                 ist_status_name(status));
        return status;
    }
    found.pool_bytes = (uint64_t)pool;
    *scout = found;
    return IST_OK;
}

#include "tools/replay_server.h"

#include <string.h>

static uint64_t find(const struct ist_metrics *metrics, const char *name) {
    for (size_t i = 0; i < metrics->count; i++) {
        if (strcmp(metrics->items[i].name, name) == 0) {
            return (uint64_t)metrics->items[i].value;
        }
    }
    return 0;
}

enum ist_status ist_replay_server_read(struct ist_client *client, uint64_t timeout_ns,
                                       struct ist_replay_server *server) {
    struct ist_metrics *metrics = NULL;
    enum ist_status status = ist_stat(client, &metrics, timeout_ns);
    if (status != IST_OK) {
        return status;
    }
    *server = (struct ist_replay_server){
        .pool_bytes = find(metrics, "infinistore_pool_limit_bytes"),
        .target_bytes = find(metrics, "infinistore_pool_target_bytes"),
        .ready_bytes = find(metrics, "infinistore_pool_size_bytes"),
        .keys = find(metrics, "infinistore_keys_stored"),
        .value_bytes = find(metrics, "infinistore_value_bytes"),
        .committed_bytes = find(metrics, "infinistore_pool_bytes{state=\"committed\"}"),
        .evicted_entries = find(metrics, "infinistore_evicted_entries_total"),
        .evicted_bytes = find(metrics, "infinistore_evicted_bytes_total"),
    };
    ist_metrics_free(metrics);
    return server->pool_bytes == 0 ? IST_INVALID : IST_OK;
}

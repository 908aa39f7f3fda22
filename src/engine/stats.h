/* What an operator asks: counters, gauges, latency histograms. One table names them for every face
 * (STAT, GET /stats, GET /metrics). Plain data: copied out as a snapshot. */
#ifndef IST_ENGINE_STATS_H
#define IST_ENGINE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"

/* Per-key outcomes, indexed by a dense number of the status (ist_stats_status_index). */
#define IST_STATS_STATUS_COUNT 16
/* Bucket i counts latencies up to IST_STATS_BUCKET_NS(i); one more for +Inf. 1 us .. 8.4 s. */
#define IST_STATS_BUCKETS 24
#define IST_STATS_BUCKET_NS(i) (1000ull << (i))

struct ist_stats_histogram {
    uint64_t buckets[IST_STATS_BUCKETS + 1]; /* not cumulative */
    uint64_t sum_ns, count;
};

struct ist_stats {
    /* Requests by operation and the request's status; keys by operation and the key's status. */
    uint64_t requests[IST_OPERATION_COUNT][IST_STATS_STATUS_COUNT];
    uint64_t keys[IST_OPERATION_COUNT][IST_STATS_STATUS_COUNT];
    /* From the header's arrival to the last byte of the reply handed to the edge's socket. */
    struct ist_stats_histogram latency[IST_OPERATION_COUNT];
    uint64_t put_bytes, get_bytes;       /* payload of OK keys */
    uint64_t received_bytes, sent_bytes; /* everything on the wire */
    uint64_t sessions_opened, sessions_refused;
    uint64_t sessions_ended_protocol, sessions_ended_timeout, sessions_ended_peer;
    /* Gauges. */
    uint64_t sessions, sessions_rdma, requests_in_flight; /* sessions: of all transports */
    uint64_t pool_bytes, pool_bytes_max, free_bytes, reserved_bytes, committed_bytes, doomed_bytes;
    uint64_t largest_free_bytes, value_bytes, keys_stored, pinned_entries, metadata_bytes;
    uint64_t evicted_entries, evicted_bytes; /* counters of the store */
    uint64_t pool_target_bytes;              /* gauge: what the pool grows to at the moment */
};

enum ist_metric_kind { IST_METRIC_COUNTER, IST_METRIC_GAUGE, IST_METRIC_HISTOGRAM };

/* One sample, as Prometheus would show it. */
struct ist_stats_sample {
    const char *family; /* infinistore_operations_total: one HELP and TYPE line for each run of these */
    const char *help;
    enum ist_metric_kind kind;
    char name[160]; /* with suffix and labels: infinistore_operations_total{op="put",status="OK"} */
    double value;
};

/* Walks all samples in a fixed order; histograms come out as cumulative _bucket{le=..}, _sum, _count, in
 * seconds. Operation/status pairs that never occurred are left out, but each family has at least one
 * sample. Start with *cursor = 0; false when there are no more. */
bool ist_stats_next(const struct ist_stats *stats, size_t *cursor, struct ist_stats_sample *sample);

void ist_stats_observe(struct ist_stats_histogram *histogram, uint64_t elapsed_ns);
size_t ist_stats_status_index(enum ist_status status);

#endif

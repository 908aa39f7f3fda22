#include "engine/stats.h"

#include <stdio.h>

#include "base/assert.h"

static const enum ist_status statuses[] = {
    IST_OK,      IST_AGAIN,     IST_NOT_FOUND, IST_EXISTS, IST_NO_SPACE, IST_TOO_BIG, IST_TOO_SMALL,
    IST_INVALID, IST_NO_MEMORY, IST_PROTOCOL,  IST_PEER,   IST_TIMEOUT,  IST_DEVICE,  IST_CONFIG,
};
#define STATUSES (sizeof(statuses) / sizeof(statuses[0]))
_Static_assert(STATUSES <= IST_STATS_STATUS_COUNT, "every status has its place");

size_t ist_stats_status_index(enum ist_status status) {
    switch (status) {
    case IST_OK: return 0;
    case IST_AGAIN: return 1;
    case IST_NOT_FOUND: return 2;
    case IST_EXISTS: return 3;
    case IST_NO_SPACE: return 4;
    case IST_TOO_BIG: return 5;
    case IST_TOO_SMALL: return 6;
    case IST_INVALID: return 7;
    case IST_NO_MEMORY: return 8;
    case IST_PROTOCOL: return 9;
    case IST_PEER: return 10;
    case IST_TIMEOUT: return 11;
    case IST_DEVICE: return 12;
    case IST_CONFIG: return 13;
    }
    return STATUSES;
}

void ist_stats_observe(struct ist_stats_histogram *histogram, uint64_t elapsed_ns) {
    size_t bucket = 0;
    while (bucket < IST_STATS_BUCKETS && elapsed_ns > IST_STATS_BUCKET_NS(bucket)) {
        bucket++;
    }
    histogram->buckets[bucket]++;
    histogram->sum_ns += elapsed_ns;
    histogram->count++;
}

/* ---- single figures ----------------------------------------------------------------------------------- */

static uint64_t get_keys(const struct ist_stats *stats, enum ist_status status) {
    return stats->keys[IST_OP_GET][ist_stats_status_index(status)];
}

struct figure {
    const char *family, *labels, *help;
    enum ist_metric_kind kind;
    size_t at; /* of the uint64_t in struct ist_stats; DERIVED_*: computed */
};
enum { DERIVED_HITS = SIZE_MAX / 2, DERIVED_MISSES, DERIVED_TCP };

#define COUNTER(name, labels, field, help)                                                             \
    { "infinistore_" name, labels, help, IST_METRIC_COUNTER, offsetof(struct ist_stats, field) }
#define GAUGE(name, labels, field, help)                                                               \
    { "infinistore_" name, labels, help, IST_METRIC_GAUGE, offsetof(struct ist_stats, field) }
#define SESSIONS_HELP "Open sessions, by what carries their requests."
#define POOL_HELP "Bytes of the pool, by state."
#define ENDED_HELP "Sessions that ended, by cause: the peer left, broke the protocol, or was too slow."

static const struct figure figures[] = {
    {"infinistore_hits_total", "", "Keys that a get found.", IST_METRIC_COUNTER, DERIVED_HITS},
    {"infinistore_misses_total", "", "Keys that a get did not find.", IST_METRIC_COUNTER,
     DERIVED_MISSES},
    COUNTER("put_bytes_total", "", put_bytes, "Bytes of the values that were stored."),
    COUNTER("get_bytes_total", "", get_bytes, "Bytes of the values that were delivered."),
    COUNTER("received_bytes_total", "", received_bytes, "Bytes received, headers included."),
    COUNTER("sent_bytes_total", "", sent_bytes, "Bytes sent, headers included."),
    COUNTER("evicted_entries_total", "", evicted_entries, "Entries that were evicted."),
    COUNTER("evicted_bytes_total", "", evicted_bytes, "Bytes of their blocks."),
    COUNTER("sessions_opened_total", "", sessions_opened, "Sessions that were opened."),
    COUNTER("sessions_refused_total", "", sessions_refused,
            "Sessions beyond the limit, or for want of memory."),
    COUNTER("sessions_ended_total", "{cause=\"peer\"}", sessions_ended_peer, ENDED_HELP),
    COUNTER("sessions_ended_total", "{cause=\"protocol\"}", sessions_ended_protocol, ENDED_HELP),
    COUNTER("sessions_ended_total", "{cause=\"timeout\"}", sessions_ended_timeout, ENDED_HELP),
    {"infinistore_sessions", "{transport=\"tcp\"}", SESSIONS_HELP, IST_METRIC_GAUGE, DERIVED_TCP},
    GAUGE("sessions", "{transport=\"rdma\"}", sessions_rdma, SESSIONS_HELP),
    GAUGE("requests_in_flight", "", requests_in_flight, "Requests begun and not yet answered."),
    GAUGE("pool_bytes", "{state=\"free\"}", free_bytes, POOL_HELP),
    GAUGE("pool_bytes", "{state=\"reserved\"}", reserved_bytes, POOL_HELP),
    GAUGE("pool_bytes", "{state=\"committed\"}", committed_bytes, POOL_HELP),
    GAUGE("pool_bytes", "{state=\"doomed\"}", doomed_bytes, POOL_HELP),
    GAUGE("pool_size_bytes", "", pool_bytes, "Size of the pool: the sum of its states."),
    GAUGE("pool_target_bytes", "", pool_target_bytes,
          "What the pool grows to at the moment; its size when all of that is there."),
    GAUGE("pool_limit_bytes", "", pool_bytes_max, "What the pool may grow to."),
    GAUGE("pool_largest_free_bytes", "", largest_free_bytes,
          "The largest block that fits without eviction."),
    GAUGE("value_bytes", "", value_bytes, "Bytes of the stored values, without rounding."),
    GAUGE("keys_stored", "", keys_stored, "Keys in the store."),
    GAUGE("pinned_entries", "", pinned_entries, "Entries in use by a put or a get."),
    GAUGE("metadata_bytes", "", metadata_bytes, "Memory outside the pool for keys and blocks."),
};
#define FIGURES (sizeof(figures) / sizeof(figures[0]))

static uint64_t figure_value(const struct ist_stats *stats, const struct figure *figure) {
    if (figure->at == DERIVED_HITS) {
        return get_keys(stats, IST_OK) + get_keys(stats, IST_TOO_SMALL);
    }
    if (figure->at == DERIVED_MISSES) {
        return get_keys(stats, IST_NOT_FOUND);
    }
    if (figure->at == DERIVED_TCP) {
        return stats->sessions - stats->sessions_rdma;
    }
    uint64_t value;
    memcpy(&value, (const char *)stats + figure->at, sizeof(value));
    return value;
}

/* ---- figures by operation and status, and histograms ---------------------------------------------------- */

#define OPERATIONS ((size_t)IST_OPERATION_COUNT - IST_OP_HELLO)
#define PAIRS (OPERATIONS * STATUSES)
#define HISTOGRAM_SAMPLES (IST_STATS_BUCKETS + 3u)

static bool has_keys(enum ist_operation operation) {
    return operation >= IST_OP_PUT && operation <= IST_OP_PURGE;
}

static void set(struct ist_stats_sample *sample, const char *family, const char *help,
                enum ist_metric_kind kind, double value) {
    sample->family = family;
    sample->help = help;
    sample->kind = kind;
    sample->value = value;
}

/* True: there is a sample at this place. OK is shown from the start, the others when they occurred. */
static bool pair_sample(const struct ist_stats *stats, bool keys, size_t place,
                        struct ist_stats_sample *sample) {
    enum ist_operation operation = (enum ist_operation)(IST_OP_HELLO + place / STATUSES);
    size_t status = place % STATUSES;
    uint64_t value = keys ? stats->keys[operation][status] : stats->requests[operation][status];
    if (value == 0 && (status != 0 || (keys && !has_keys(operation)))) {
        return false;
    }
    const char *family = keys ? "infinistore_keys_total" : "infinistore_operations_total";
    const char *help = keys ? "Keys of finished requests, by operation and the key's status."
                            : "Finished requests, by operation and status.";
    set(sample, family, help, IST_METRIC_COUNTER, (double)value);
    snprintf(sample->name, sizeof(sample->name), "%s{op=\"%s\",status=\"%s\"}", family,
             ist_operation_name(operation), ist_status_name(statuses[status]));
    return true;
}

/* Put and get are shown from the start, the others when they occurred. */
static bool histogram_sample(const struct ist_stats *stats, size_t place,
                             struct ist_stats_sample *sample) {
    static const char family[] = "infinistore_operation_duration_seconds";
    enum ist_operation operation = (enum ist_operation)(IST_OP_HELLO + place / HISTOGRAM_SAMPLES);
    const struct ist_stats_histogram *histogram = &stats->latency[operation];
    const char *name = ist_operation_name(operation);
    size_t part = place % HISTOGRAM_SAMPLES;
    if (histogram->count == 0 && operation != IST_OP_PUT && operation != IST_OP_GET) {
        return false;
    }
    set(sample, family, "From a request's header to the last byte of its reply.", IST_METRIC_HISTOGRAM,
        (double)histogram->count);
    if (part < IST_STATS_BUCKETS) {
        uint64_t sum = 0;
        for (size_t i = 0; i <= part; i++) {
            sum += histogram->buckets[i];
        }
        sample->value = (double)sum;
        snprintf(sample->name, sizeof(sample->name), "%s_bucket{op=\"%s\",le=\"%g\"}", family, name,
                 (double)IST_STATS_BUCKET_NS(part) / 1e9);
    } else if (part == IST_STATS_BUCKETS) {
        snprintf(sample->name, sizeof(sample->name), "%s_bucket{op=\"%s\",le=\"+Inf\"}", family, name);
    } else if (part == IST_STATS_BUCKETS + 1) {
        sample->value = (double)histogram->sum_ns / 1e9;
        snprintf(sample->name, sizeof(sample->name), "%s_sum{op=\"%s\"}", family, name);
    } else {
        snprintf(sample->name, sizeof(sample->name), "%s_count{op=\"%s\"}", family, name);
    }
    return true;
}

static bool figure_sample(const struct ist_stats *stats, size_t place,
                          struct ist_stats_sample *sample) {
    const struct figure *figure = &figures[place];
    set(sample, figure->family, figure->help, figure->kind, (double)figure_value(stats, figure));
    snprintf(sample->name, sizeof(sample->name), "%s%s", figure->family, figure->labels);
    return true;
}

#define AT_KEYS PAIRS
#define AT_HISTOGRAMS (AT_KEYS + PAIRS)
#define AT_FIGURES (AT_HISTOGRAMS + OPERATIONS * HISTOGRAM_SAMPLES)
#define AT_END (AT_FIGURES + FIGURES)

static bool sample_at(const struct ist_stats *stats, size_t place, struct ist_stats_sample *sample) {
    if (place < AT_KEYS) {
        return pair_sample(stats, false, place, sample);
    }
    if (place < AT_HISTOGRAMS) {
        return pair_sample(stats, true, place - AT_KEYS, sample);
    }
    if (place < AT_FIGURES) {
        return histogram_sample(stats, place - AT_HISTOGRAMS, sample);
    }
    return figure_sample(stats, place - AT_FIGURES, sample);
}

bool ist_stats_next(const struct ist_stats *stats, size_t *cursor, struct ist_stats_sample *sample) {
    while (*cursor < AT_END) {
        if (sample_at(stats, (*cursor)++, sample)) {
            return true;
        }
    }
    return false;
}

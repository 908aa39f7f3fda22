/* What the server counts, as figures one can reckon with: read from the metrics of a STAT reply, by the names of
 * GET /metrics. What a server does not tell is 0. Plain data. */
#ifndef IST_TOOLS_CLI_FIGURES_H
#define IST_TOOLS_CLI_FIGURES_H

#include <stdbool.h>
#include <stddef.h>

#include "infinistore/infinistore.h"

#define IST_CLI_BUCKETS_MAX 32

struct ist_cli_histogram {
    size_t buckets;
    double upper_s[IST_CLI_BUCKETS_MAX]; /* ascending; the last may be infinite */
    double up_to[IST_CLI_BUCKETS_MAX];   /* how many took at most that long */
    double count;
};

enum ist_cli_kind {
    IST_CLI_KIND_PUT,
    IST_CLI_KIND_GET,
    IST_CLI_KIND_EXISTS,
    IST_CLI_KIND_MATCH, /* match_prefix and match_last */
    IST_CLI_KIND_REMOVE,
    IST_CLI_KIND_OTHER, /* hello, purge, stat, ping */
};
#define IST_CLI_KINDS 6

struct ist_cli_kind_figures {
    double requests, keys;
    double
        failed; /* requests that ended with what is no answer to a question: NO_SPACE, TIMEOUT, ... */
    struct ist_cli_histogram latency;
};

struct ist_cli_figures {
    struct ist_cli_kind_figures kinds[IST_CLI_KINDS];
    /* counters */
    double hits, misses, put_bytes, get_bytes, received_bytes, sent_bytes;
    double evicted_entries, evicted_bytes;
    double sessions_opened, sessions_refused;
    double sessions_ended_peer, sessions_ended_protocol, sessions_ended_timeout;
    /* gauges */
    double sessions, requests_in_flight;
    double free_bytes, reserved_bytes, committed_bytes, doomed_bytes;
    double pool_size_bytes, pool_limit_bytes, largest_free_bytes, value_bytes, metadata_bytes;
    double keys_stored, pinned_entries;
};

/* "put", ...: static storage. */
const char *ist_cli_kind_name(enum ist_cli_kind kind);

void ist_cli_figures_read(const struct ist_metrics *metrics, struct ist_cli_figures *figures);

/* Counters and histograms as the growth from `before` to `now`, gauges as they are now. A counter that shrank is
 * that of a new server: it grew from 0. out may be one of the others. */
void ist_cli_figures_since(const struct ist_cli_figures *now, const struct ist_cli_figures *before,
                           struct ist_cli_figures *out);

/* The time that `share` (0 to 1) of the requests took at most, by linear interpolation within its bucket as
 * Prometheus' histogram_quantile() does; NaN when there were none; the last finite bound when it lies beyond. */
double ist_cli_histogram_quantile_s(const struct ist_cli_histogram *histogram, double share);

/* The value of a label in `name{label="value",...}`, without escapes. False: there is none, or it does not fit. */
bool ist_cli_metric_label(const char *name, const char *label, char *value, size_t room);

#endif

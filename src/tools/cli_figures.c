#include "tools/cli_figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- names -------------------------------------------------------------------------------------------- */

#define LABEL_MAX 32

bool ist_cli_metric_label(const char *name, const char *label, char *value, size_t room) {
    size_t length = strlen(label);
    const char *at = strchr(name, '{');
    while (at != NULL && *at != '\0' && *at != '}') {
        const char *key = at + 1; /* behind { or , */
        const char *equals = strchr(key, '=');
        const char *end = equals != NULL && equals[1] == '"' ? strchr(equals + 2, '"') : NULL;
        if (end == NULL) {
            return false;
        }
        size_t bytes = (size_t)(end - (equals + 2));
        if ((size_t)(equals - key) == length && memcmp(key, label, length) == 0) {
            if (bytes >= room) {
                return false;
            }
            memcpy(value, equals + 2, bytes);
            value[bytes] = '\0';
            return true;
        }
        at = end + 1;
    }
    return false;
}

/* `name` is a sample of this family, with or without labels. */
static bool is_of(const char *name, const char *family) {
    size_t length = strlen(family);
    return strncmp(name, family, length) == 0 && (name[length] == '{' || name[length] == '\0');
}

const char *ist_cli_kind_name(enum ist_cli_kind kind) {
    switch (kind) {
    case IST_CLI_KIND_PUT: return "put";
    case IST_CLI_KIND_GET: return "get";
    case IST_CLI_KIND_EXISTS: return "exists";
    case IST_CLI_KIND_MATCH: return "match";
    case IST_CLI_KIND_REMOVE: return "remove";
    case IST_CLI_KIND_OTHER: return "other";
    }
    return "";
}

/* By the sample's label `op`. False: it has none. */
static bool kind_of(const char *name, enum ist_cli_kind *kind) {
    static const struct {
        const char *operation;
        enum ist_cli_kind kind;
    } operations[] = {{"put", IST_CLI_KIND_PUT},          {"get", IST_CLI_KIND_GET},
                      {"exists", IST_CLI_KIND_EXISTS},    {"match_prefix", IST_CLI_KIND_MATCH},
                      {"match_last", IST_CLI_KIND_MATCH}, {"remove", IST_CLI_KIND_REMOVE}};
    char operation[LABEL_MAX];
    if (!ist_cli_metric_label(name, "op", operation, sizeof(operation))) {
        return false;
    }
    *kind = IST_CLI_KIND_OTHER;
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strcmp(operation, operations[i].operation) == 0) {
            *kind = operations[i].kind;
        }
    }
    return true;
}

/* ---- single figures ----------------------------------------------------------------------------------- */

/* Samples of one family are added up; `label` restricts them to one value of one label. */
static const struct figure {
    const char *family, *label, *value;
    size_t at;
    bool counter;
} table[] = {
#define COUNTER(family, label, value, field)                                                           \
    { "infinistore_" family, label, value, offsetof(struct ist_cli_figures, field), true }
#define GAUGE(family, label, value, field)                                                             \
    { "infinistore_" family, label, value, offsetof(struct ist_cli_figures, field), false }
    COUNTER("hits_total", "", "", hits),
    COUNTER("misses_total", "", "", misses),
    COUNTER("put_bytes_total", "", "", put_bytes),
    COUNTER("get_bytes_total", "", "", get_bytes),
    COUNTER("received_bytes_total", "", "", received_bytes),
    COUNTER("sent_bytes_total", "", "", sent_bytes),
    COUNTER("evicted_entries_total", "", "", evicted_entries),
    COUNTER("evicted_bytes_total", "", "", evicted_bytes),
    COUNTER("sessions_opened_total", "", "", sessions_opened),
    COUNTER("sessions_refused_total", "", "", sessions_refused),
    COUNTER("sessions_ended_total", "cause", "peer", sessions_ended_peer),
    COUNTER("sessions_ended_total", "cause", "protocol", sessions_ended_protocol),
    COUNTER("sessions_ended_total", "cause", "timeout", sessions_ended_timeout),
    GAUGE("sessions", "", "", sessions),
    GAUGE("requests_in_flight", "", "", requests_in_flight),
    GAUGE("pool_bytes", "state", "free", free_bytes),
    GAUGE("pool_bytes", "state", "reserved", reserved_bytes),
    GAUGE("pool_bytes", "state", "committed", committed_bytes),
    GAUGE("pool_bytes", "state", "doomed", doomed_bytes),
    GAUGE("pool_size_bytes", "", "", pool_size_bytes),
    GAUGE("pool_limit_bytes", "", "", pool_limit_bytes),
    GAUGE("pool_largest_free_bytes", "", "", largest_free_bytes),
    GAUGE("value_bytes", "", "", value_bytes),
    GAUGE("metadata_bytes", "", "", metadata_bytes),
    GAUGE("keys_stored", "", "", keys_stored),
    GAUGE("pinned_entries", "", "", pinned_entries),
#undef COUNTER
#undef GAUGE
};
#define FIGURES (sizeof(table) / sizeof(table[0]))

static double *figure_at(struct ist_cli_figures *figures, size_t at) {
    return (double *)((char *)figures + at);
}

static void read_figure(const struct ist_metric *metric, struct ist_cli_figures *figures) {
    for (size_t i = 0; i < FIGURES; i++) {
        char value[LABEL_MAX];
        if (is_of(metric->name, table[i].family) &&
            (table[i].label[0] == '\0' ||
             (ist_cli_metric_label(metric->name, table[i].label, value, sizeof(value)) &&
              strcmp(value, table[i].value) == 0))) {
            *figure_at(figures, table[i].at) += metric->value;
        }
    }
}

/* ---- figures by kind ---------------------------------------------------------------------------------- */

static bool is_failure(const char *status) {
    static const char *const answers[] = {"OK", "NOT_FOUND", "EXISTS", "TOO_SMALL"};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (strcmp(status, answers[i]) == 0) {
            return false;
        }
    }
    return true;
}

/* Buckets of several operations of one kind are added where their bounds are the same. */
static void add_bucket(struct ist_cli_histogram *histogram, double upper_s, double up_to) {
    size_t i = 0;
    while (i < histogram->buckets && histogram->upper_s[i] != upper_s) {
        i++;
    }
    if (i == IST_CLI_BUCKETS_MAX) {
        return;
    }
    if (i == histogram->buckets) {
        histogram->buckets++;
        histogram->upper_s[i] = upper_s;
    }
    histogram->up_to[i] += up_to;
}

static void read_kind(const struct ist_metric *metric, struct ist_cli_figures *figures) {
    enum ist_cli_kind kind;
    char label[LABEL_MAX];
    if (!kind_of(metric->name, &kind)) {
        return;
    }
    struct ist_cli_kind_figures *to = &figures->kinds[kind];
    if (is_of(metric->name, "infinistore_operations_total")) {
        to->requests += metric->value;
        if (ist_cli_metric_label(metric->name, "status", label, sizeof(label)) && is_failure(label)) {
            to->failed += metric->value;
        }
    } else if (is_of(metric->name, "infinistore_keys_total")) {
        to->keys += metric->value;
    } else if (is_of(metric->name, "infinistore_operation_duration_seconds_bucket")) {
        if (ist_cli_metric_label(metric->name, "le", label, sizeof(label))) {
            add_bucket(&to->latency, strtod(label, NULL), metric->value);
        }
    } else if (is_of(metric->name, "infinistore_operation_duration_seconds_count")) {
        to->latency.count += metric->value;
    }
}

void ist_cli_figures_read(const struct ist_metrics *metrics, struct ist_cli_figures *figures) {
    *figures = (struct ist_cli_figures){0};
    for (size_t i = 0; i < metrics->count; i++) {
        read_figure(&metrics->items[i], figures);
        read_kind(&metrics->items[i], figures);
    }
}

/* ---- growth ------------------------------------------------------------------------------------------- */

static double growth(double now, double before) {
    return now >= before ? now - before : now;
}

/* Bucket by bucket, but from 0 altogether when any shrank: its parts belong together. */
static void histogram_since(const struct ist_cli_histogram *now, const struct ist_cli_histogram *before,
                            struct ist_cli_histogram *out) {
    struct ist_cli_histogram grown = *now;
    bool same = now->buckets >= before->buckets && now->count >= before->count;
    for (size_t i = 0; same && i < before->buckets; i++) {
        same = now->upper_s[i] == before->upper_s[i] && now->up_to[i] >= before->up_to[i];
        grown.up_to[i] = now->up_to[i] - before->up_to[i];
    }
    grown.count = now->count - before->count;
    *out = same ? grown : *now;
}

void ist_cli_figures_since(const struct ist_cli_figures *now, const struct ist_cli_figures *before,
                           struct ist_cli_figures *out) {
    struct ist_cli_figures grown = *now, old = *before;
    for (size_t i = 0; i < FIGURES; i++) {
        if (table[i].counter) {
            double *figure = figure_at(&grown, table[i].at);
            *figure = growth(*figure, *figure_at(&old, table[i].at));
        }
    }
    for (size_t i = 0; i < IST_CLI_KINDS; i++) {
        struct ist_cli_kind_figures *kind = &grown.kinds[i];
        kind->requests = growth(kind->requests, old.kinds[i].requests);
        kind->keys = growth(kind->keys, old.kinds[i].keys);
        kind->failed = growth(kind->failed, old.kinds[i].failed);
        histogram_since(&now->kinds[i].latency, &old.kinds[i].latency, &kind->latency);
    }
    *out = grown;
}

double ist_cli_histogram_quantile_s(const struct ist_cli_histogram *histogram, double share) {
    double rank = share * histogram->count, below = 0, lower_s = 0;
    if (!(histogram->count > 0)) {
        return NAN;
    }
    for (size_t i = 0; i < histogram->buckets; i++) {
        double upper_s = histogram->upper_s[i], up_to = histogram->up_to[i];
        if (isinf(upper_s)) {
            break;
        }
        if (up_to >= rank && up_to > below) {
            return lower_s + (upper_s - lower_s) * (rank - below) / (up_to - below);
        }
        below = up_to;
        lower_s = upper_s;
    }
    return lower_s;
}

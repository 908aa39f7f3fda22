/* The texts that the manage port shows, made from figures alone. */
#ifndef IST_DAEMON_PAGES_H
#define IST_DAEMON_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "engine/stats.h"

struct ist_page_facts {
    const char *version;     /* "0.1.0" */
    uint64_t started_at_sec; /* wall clock, since 1970 */
    uint64_t uptime_sec;
};

/* Prometheus' text format, version 0.0.4: every sample of the engine, and when and what the process is.
 * Owned by the caller: ist_release(). NULL when an allocation failed. */
char *ist_page_metrics(const struct ist_alloc *alloc, const struct ist_stats *stats,
                       const struct ist_page_facts *facts);

/* The same samples as JSON, nested by name and labels:
 *     {"version": "0.1.0", "uptime_seconds": 17, "hits_total": 4, "pool_bytes": {"free": 1048576, ...},
 *      "operations_total": {"put": {"OK": 4}}, "operation_duration_seconds": {"put": {"bucket": {...}}}, ...}
 * Owned by the caller: ist_release(). NULL when an allocation failed. */
char *ist_page_stats(const struct ist_alloc *alloc, const struct ist_stats *stats,
                     const struct ist_page_facts *facts);

#endif

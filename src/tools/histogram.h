/* Latencies by the million in fixed memory: log-linear buckets, 128 to each power of two, so that a
 * percentile is at most 1/128 above the true one. Up to 255 the buckets are exact; above IST_HISTOGRAM_MAX
 * everything counts as it. Plain data: embedded, copied, merged. */
#ifndef IST_TOOLS_HISTOGRAM_H
#define IST_TOOLS_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define IST_HISTOGRAM_BITS 7u                /* of a value below its leading one that a bucket keeps */
#define IST_HISTOGRAM_MAX ((1ull << 42) - 1) /* in nanoseconds: 73 minutes */
#define IST_HISTOGRAM_BUCKETS ((42u - IST_HISTOGRAM_BITS + 1u) << IST_HISTOGRAM_BITS)

struct ist_histogram {
    uint64_t count, sum, min, max; /* exact; min and max are 0 while count is */
    uint64_t buckets[IST_HISTOGRAM_BUCKETS];
};

/* Empty. */
void ist_histogram_init(struct ist_histogram *histogram);

void ist_histogram_record(struct ist_histogram *histogram, uint64_t value);

/* As if everything in `other` had been recorded here. */
void ist_histogram_merge(struct ist_histogram *histogram, const struct ist_histogram *other);

/* The least value that at least `share` (0 to 1) of all recorded are not above, rounded up within its bucket,
 * never above max. 0 when nothing was recorded. */
uint64_t ist_histogram_percentile(const struct ist_histogram *histogram, double share);

/* 0 when nothing was recorded. */
double ist_histogram_mean(const struct ist_histogram *histogram);

#endif

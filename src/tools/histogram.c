#include "tools/histogram.h"

#include <math.h>
#include <string.h>

void ist_histogram_init(struct ist_histogram *histogram) {
    memset(histogram, 0, sizeof *histogram);
}

/* A value of n bits, n > BITS + 1, loses its low n - BITS - 1 bits; what is left, 2^BITS .. 2^(BITS+1) - 1, is
 * its place among the buckets of that n. */
static size_t bucket_of(uint64_t value) {
    if (value >> IST_HISTOGRAM_BITS == 0) {
        return (size_t)value;
    }
    unsigned lost = 63u - (unsigned)__builtin_clzll(value) - IST_HISTOGRAM_BITS;
    return ((size_t)lost << IST_HISTOGRAM_BITS) + (size_t)(value >> lost);
}

/* The greatest value in it. */
static uint64_t bucket_last(size_t bucket) {
    if (bucket >> IST_HISTOGRAM_BITS == 0) {
        return bucket;
    }
    unsigned lost = (unsigned)(bucket >> IST_HISTOGRAM_BITS) - 1;
    uint64_t kept = bucket - ((uint64_t)lost << IST_HISTOGRAM_BITS);
    return ((kept + 1) << lost) - 1;
}

void ist_histogram_record(struct ist_histogram *histogram, uint64_t value) {
    if (value > IST_HISTOGRAM_MAX) {
        value = IST_HISTOGRAM_MAX;
    }
    if (histogram->count == 0 || value < histogram->min) {
        histogram->min = value;
    }
    if (value > histogram->max) {
        histogram->max = value;
    }
    histogram->count++;
    histogram->sum += value;
    histogram->buckets[bucket_of(value)]++;
}

void ist_histogram_merge(struct ist_histogram *histogram, const struct ist_histogram *other) {
    if (other->count == 0) {
        return;
    }
    if (histogram->count == 0 || other->min < histogram->min) {
        histogram->min = other->min;
    }
    if (other->max > histogram->max) {
        histogram->max = other->max;
    }
    histogram->count += other->count;
    histogram->sum += other->sum;
    for (size_t i = 0; i < IST_HISTOGRAM_BUCKETS; i++) {
        histogram->buckets[i] += other->buckets[i];
    }
}

uint64_t ist_histogram_percentile(const struct ist_histogram *histogram, double share) {
    double wanted = ceil(share * (double)histogram->count);
    uint64_t seen = 0;
    for (size_t i = 0; i < IST_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t last = bucket_last(i);
            return last < histogram->max ? last : histogram->max;
        }
    }
    return histogram->max;
}

double ist_histogram_mean(const struct ist_histogram *histogram) {
    return histogram->count == 0 ? 0 : (double)histogram->sum / (double)histogram->count;
}

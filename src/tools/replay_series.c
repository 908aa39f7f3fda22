#include "tools/replay_series.h"

#include <string.h>

#include "base/assert.h"

_Static_assert(IST_REPLAY_POINTS_MAX % 2 == 0, "halving keeps the start");

void ist_replay_series_init(struct ist_replay_series *series, uint64_t interval_ns) {
    IST_ASSERT(interval_ns > 0);
    memset(series, 0, sizeof(*series));
    series->count = 1;
    series->interval_ns = interval_ns;
}

/* Keeps points 0, 2, 4, ... */
static void halve(struct ist_replay_series *series) {
    for (size_t i = 1; i < series->count / 2; i++) {
        series->points[i] = series->points[2 * i];
    }
    series->count /= 2;
    series->interval_ns *= 2;
}

void ist_replay_series_add(struct ist_replay_series *series, const struct ist_replay_point *point) {
    size_t last = series->count - 1;
    /* The last point is in its place when it is an interval behind the one before. */
    if (last > 0 && series->points[last].at_ns < series->points[last - 1].at_ns + series->interval_ns) {
        series->points[last] = *point;
        return;
    }
    if (series->count == IST_REPLAY_POINTS_MAX) {
        halve(series);
    }
    series->points[series->count++] = *point;
}

static uint64_t between(uint64_t from, uint64_t to, double share) {
    return to <= from ? from : from + (uint64_t)((double)(to - from) * share);
}

void ist_replay_series_at(const struct ist_replay_series *series, uint64_t at_ns,
                          struct ist_replay_point *point) {
    size_t next = 0;
    while (next < series->count && series->points[next].at_ns < at_ns) {
        next++;
    }
    if (next == 0 || next == series->count) {
        *point = series->points[next == 0 ? 0 : series->count - 1];
        return;
    }
    const struct ist_replay_point *a = &series->points[next - 1], *b = &series->points[next];
    double share = (double)(at_ns - a->at_ns) / (double)(b->at_ns - a->at_ns);
    *point = (struct ist_replay_point){
        .at_ns = at_ns,
        .requests = between(a->requests, b->requests, share),
        .blocks = between(a->blocks, b->blocks, share),
        .hit_blocks = between(a->hit_blocks, b->hit_blocks, share),
        .unlimited_blocks = between(a->unlimited_blocks, b->unlimited_blocks, share),
        .put_bytes = between(a->put_bytes, b->put_bytes, share),
        .get_bytes = between(a->get_bytes, b->get_bytes, share),
        .evicted_entries = between(a->evicted_entries, b->evicted_entries, share),
    };
}

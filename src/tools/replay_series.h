/* The course of a replay, in a fixed number of points however long it takes. */
#ifndef IST_TOOLS_REPLAY_SERIES_H
#define IST_TOOLS_REPLAY_SERIES_H

#include <stddef.h>
#include <stdint.h>

/* Sums since the start. */
struct ist_replay_point {
    uint64_t at_ns;
    uint64_t requests, blocks, hit_blocks, unlimited_blocks;
    uint64_t put_bytes, get_bytes;
    uint64_t evicted_entries;
};

#define IST_REPLAY_POINTS_MAX 1024u /* even */

/* Plain data. points[0] is the start: all zero. */
struct ist_replay_series {
    struct ist_replay_point points[IST_REPLAY_POINTS_MAX];
    size_t count;
    uint64_t interval_ns; /* between points, at least; doubles when they become too many */
};

void ist_replay_series_init(struct ist_replay_series *series, uint64_t interval_ns);

/* Adds a point where the last one is interval_ns old, else replaces the last one but never the start, so that the
 * series always ends with the newest. When it is full, every other point goes. */
void ist_replay_series_add(struct ist_replay_series *series, const struct ist_replay_point *point);

/* The sums at a time, on a straight line between the points around it; those of the last point behind it. */
void ist_replay_series_at(const struct ist_replay_series *series, uint64_t at_ns,
                          struct ist_replay_point *point);

#endif

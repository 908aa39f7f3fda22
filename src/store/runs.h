/* A set of runs (maximal stretches of consecutive granules) with the longest in reach: finds the first run that
 * is long enough, and the one around a granule, in O(log n), and joins neighbours at once.
 *
 * It lives on one property of its users: two runs are at least one unit apart, start to start. So each unit
 * has at most one run that begins in it, its length is a number in an array indexed by unit, and a tree of
 * maxima over that array finds runs without any list. Memory is taken by ist_runs_grow() only. */
#ifndef IST_STORE_RUNS_H
#define IST_STORE_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"

#define IST_RUNS_LEVELS_MAX 9
#define IST_RUNS_GRANULES_MAX (UINT32_MAX >> 1)

struct ist_run {
    uint32_t start; /* granule */
    uint32_t granules;
};

struct ist_runs_edges;

struct ist_runs {
    const struct ist_alloc *alloc; /* borrowed */
    unsigned unit_shift;           /* granules of a unit, as a power of two */
    unsigned levels;               /* the top one has one node */
    uint32_t units;
    uint64_t granules;                      /* sum of the runs */
    struct ist_runs_edges *edges;           /* by unit; owned */
    uint32_t *longest[IST_RUNS_LEVELS_MAX]; /* [0]: by unit, the run that begins there; owned */
};

void ist_runs_init(struct ist_runs *runs, unsigned unit_shift, const struct ist_alloc *alloc);
void ist_runs_fini(struct ist_runs *runs);

/* Makes room for runs in the first `units` units, or in more when it had more. Returns OK, NO_MEMORY (the set
 * is what it was). */
enum ist_status ist_runs_grow(struct ist_runs *runs, uint32_t units);

/* Adds what is not in the set, and joins it with the runs that it touches. */
void ist_runs_add(struct ist_runs *runs, struct ist_run run);
/* Takes out a part, or all, of one run. */
void ist_runs_take(struct ist_runs *runs, struct ist_run part);

/* The first run of at least `granules` >= 1; false when there is none. */
bool ist_runs_first(const struct ist_runs *runs, uint32_t granules, struct ist_run *run);
/* The run that contains the granule; false when there is none. */
bool ist_runs_around(const struct ist_runs *runs, uint32_t granule, struct ist_run *run);

uint32_t ist_runs_longest(const struct ist_runs *runs);
uint64_t ist_runs_metadata_bytes(const struct ist_runs *runs);

/* Becomes the same set as `from`, which has no more units. O(units). */
void ist_runs_copy(struct ist_runs *runs, const struct ist_runs *from);

/* Tree, lengths, edges and sum agree; no two runs touch. O(units). */
void ist_runs_check(const struct ist_runs *runs);

#endif

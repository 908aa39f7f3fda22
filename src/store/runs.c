#include "store/runs.h"

#include <string.h>

#include "base/assert.h"

#define FANOUT 16u /* lengths of one node: a cache line */

/* By unit. Both may be stale: a run is there only when its length says so. */
struct ist_runs_edges {
    uint32_t begins; /* first granule of the run that begins in this unit */
    uint32_t ends;   /* first granule of the run whose last granule is in this unit */
};

static uint32_t parents_of(uint32_t count) {
    return count / FANOUT + (count % FANOUT != 0);
}

static uint32_t children_max(const uint32_t *level, uint32_t count, uint32_t parent) {
    uint32_t end = count - parent * FANOUT < FANOUT ? count : (parent + 1) * FANOUT;
    uint32_t longest = 0;
    for (uint32_t i = parent * FANOUT; i < end; i++) {
        longest = level[i] > longest ? level[i] : longest;
    }
    return longest;
}

static uint32_t level_count(const struct ist_runs *runs, unsigned level) {
    uint32_t count = runs->units;
    for (unsigned i = 0; i < level; i++) {
        count = parents_of(count);
    }
    return count;
}

void ist_runs_init(struct ist_runs *runs, unsigned unit_shift, const struct ist_alloc *alloc) {
    *runs = (struct ist_runs){.alloc = alloc, .unit_shift = unit_shift};
}

void ist_runs_fini(struct ist_runs *runs) {
    for (unsigned i = 0; i < IST_RUNS_LEVELS_MAX; i++) {
        ist_release(runs->alloc, runs->longest[i]);
    }
    ist_release(runs->alloc, runs->edges);
}

enum ist_status ist_runs_grow(struct ist_runs *runs, uint32_t units) {
    if (units <= runs->units) {
        return IST_OK;
    }
    struct ist_runs_edges *edges = ist_resize_array(runs->alloc, runs->edges, units, sizeof(*edges));
    if (edges == NULL) {
        return IST_NO_MEMORY;
    }
    runs->edges = edges;
    uint32_t count = units;
    unsigned levels = 0;
    do {
        uint32_t *level = ist_resize_array(runs->alloc, runs->longest[levels], count, sizeof(*level));
        if (level == NULL) {
            return IST_NO_MEMORY;
        }
        runs->longest[levels++] = level;
        count = count == 1 ? 0 : parents_of(count);
    } while (count != 0);
    IST_ASSERT(levels <= IST_RUNS_LEVELS_MAX);

    memset(edges + runs->units, 0, (units - runs->units) * sizeof(*edges));
    memset(runs->longest[0] + runs->units, 0, (units - runs->units) * sizeof(uint32_t));
    uint32_t children = units;
    uint32_t had = runs->units;
    for (unsigned i = 1; i < levels; i++) {
        had = i < runs->levels ? parents_of(had) : 0;
        for (uint32_t node = had; node < parents_of(children); node++) {
            runs->longest[i][node] = children_max(runs->longest[i - 1], children, node);
        }
        children = parents_of(children);
    }
    runs->units = units;
    runs->levels = levels;
    return IST_OK;
}

static void set_length(struct ist_runs *runs, uint32_t unit, uint32_t granules) {
    runs->longest[0][unit] = granules;
    uint32_t count = runs->units;
    uint32_t node = unit;
    for (unsigned i = 1; i < runs->levels; i++) {
        node /= FANOUT;
        uint32_t longest = children_max(runs->longest[i - 1], count, node);
        if (runs->longest[i][node] == longest) {
            return;
        }
        runs->longest[i][node] = longest;
        count = parents_of(count);
    }
}

static void insert(struct ist_runs *runs, struct ist_run run) {
    uint32_t unit = run.start >> runs->unit_shift;
    runs->edges[unit].begins = run.start;
    runs->edges[(run.start + run.granules - 1) >> runs->unit_shift].ends = run.start;
    set_length(runs, unit, run.granules);
}

/* The run that begins exactly there; its length is 0 when there is none. */
static uint32_t length_at(const struct ist_runs *runs, uint32_t start) {
    uint32_t unit = start >> runs->unit_shift;
    return unit < runs->units && runs->edges[unit].begins == start ? runs->longest[0][unit] : 0;
}

void ist_runs_add(struct ist_runs *runs, struct ist_run run) {
    IST_ASSERT(run.granules > 0);
    runs->granules += run.granules;
    uint32_t after = length_at(runs, run.start + run.granules);
    if (after != 0) {
        set_length(runs, (run.start + run.granules) >> runs->unit_shift, 0);
        run.granules += after;
    }
    if (run.start > 0) {
        uint32_t before = runs->edges[(run.start - 1) >> runs->unit_shift].ends;
        uint32_t granules = length_at(runs, before);
        if (granules != 0 && before + granules == run.start) {
            run.start = before;
            run.granules += granules;
        }
    }
    insert(runs, run);
}

void ist_runs_take(struct ist_runs *runs, struct ist_run part) {
    struct ist_run run;
    bool found = ist_runs_around(runs, part.start, &run);
    IST_ASSERT(found && part.granules > 0);
    uint32_t before = part.start - run.start;
    IST_ASSERT(part.granules <= run.granules - before);
    uint32_t after = run.granules - before - part.granules;
    if (before != 0) {
        insert(runs, (struct ist_run){.start = run.start, .granules = before});
    } else {
        set_length(runs, run.start >> runs->unit_shift, 0);
    }
    if (after != 0) {
        insert(runs, (struct ist_run){.start = part.start + part.granules, .granules = after});
    }
    runs->granules -= part.granules;
}

static struct ist_run run_of(const struct ist_runs *runs, uint32_t unit) {
    return (struct ist_run){.start = runs->edges[unit].begins, .granules = runs->longest[0][unit]};
}

bool ist_runs_first(const struct ist_runs *runs, uint32_t granules, struct ist_run *run) {
    if (ist_runs_longest(runs) < granules) {
        return false;
    }
    uint32_t node = 0;
    for (unsigned i = runs->levels - 1; i > 0; i--) {
        node *= FANOUT;
        while (runs->longest[i - 1][node] < granules) {
            node++; /* ends: the parent says that one child is long enough */
        }
    }
    *run = run_of(runs, node);
    return true;
}

/* The last run that begins up to `unit`; empty when there is none. */
static struct ist_run last_up_to(const struct ist_runs *runs, uint32_t unit) {
    /* Up, until a sibling at or left of us has one ... */
    unsigned level = 0;
    uint32_t node = unit;
    while (runs->longest[level][node] == 0) {
        while (node % FANOUT == 0) {
            node /= FANOUT;
            if (++level >= runs->levels) {
                return (struct ist_run){0};
            }
        }
        node--;
    }
    /* ... and down again, along the last child that has. What lies left of something has all its children. */
    while (level > 0) {
        level--;
        node = node * FANOUT + FANOUT - 1;
        while (runs->longest[level][node] == 0) {
            node--;
        }
    }
    return run_of(runs, node);
}

bool ist_runs_around(const struct ist_runs *runs, uint32_t granule, struct ist_run *run) {
    uint32_t unit = granule >> runs->unit_shift;
    if (unit >= runs->units) {
        return false;
    }
    struct ist_run found = {0};
    if (runs->longest[0][unit] != 0 && runs->edges[unit].begins <= granule) {
        found = run_of(runs, unit);
    } else if (unit > 0) {
        found = last_up_to(runs, unit - 1);
    }
    if (granule - found.start >= found.granules) {
        return false;
    }
    *run = found;
    return true;
}

uint32_t ist_runs_longest(const struct ist_runs *runs) {
    return runs->levels == 0 ? 0 : runs->longest[runs->levels - 1][0];
}

void ist_runs_copy(struct ist_runs *runs, const struct ist_runs *from) {
    IST_ASSERT(from->units <= runs->units);
    uint32_t count = runs->units;
    if (count == 0) {
        return;
    }
    memset(runs->longest[0] + from->units, 0, (count - from->units) * sizeof(uint32_t));
    if (from->units > 0) {
        memcpy(runs->edges, from->edges, from->units * sizeof(*runs->edges));
        memcpy(runs->longest[0], from->longest[0], from->units * sizeof(uint32_t));
    }
    for (unsigned i = 1; i < runs->levels; i++) {
        for (uint32_t node = 0; node < parents_of(count); node++) {
            runs->longest[i][node] = children_max(runs->longest[i - 1], count, node);
        }
        count = parents_of(count);
    }
    runs->granules = from->granules;
}

uint64_t ist_runs_metadata_bytes(const struct ist_runs *runs) {
    uint64_t bytes = runs->units * (uint64_t)sizeof(*runs->edges);
    for (unsigned i = 0; i < runs->levels; i++) {
        bytes += level_count(runs, i) * (uint64_t)sizeof(uint32_t);
    }
    return bytes;
}

void ist_runs_check(const struct ist_runs *runs) {
    uint64_t sum = 0;
    uint64_t end = 0; /* of the run before, plus the gap that must follow */
    for (uint32_t unit = 0; unit < runs->units; unit++) {
        struct ist_run run = run_of(runs, unit);
        if (run.granules == 0) {
            continue;
        }
        IST_ASSERT(run.start >> runs->unit_shift == unit);
        IST_ASSERT(run.start >= end);
        uint32_t last = (run.start + run.granules - 1) >> runs->unit_shift;
        IST_ASSERT(last < runs->units && runs->edges[last].ends == run.start);
        sum += run.granules;
        end = (uint64_t)run.start + run.granules + 1;
    }
    IST_ASSERT(sum == runs->granules);
    uint32_t count = runs->units;
    for (unsigned i = 1; i < runs->levels; i++) {
        for (uint32_t node = 0; node < parents_of(count); node++) {
            IST_ASSERT(runs->longest[i][node] == children_max(runs->longest[i - 1], count, node));
        }
        count = parents_of(count);
    }
    IST_ASSERT(runs->levels == 0 || count == 1);
}

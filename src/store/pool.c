#include "store/pool.h"

#include <string.h>

#include "base/assert.h"
#include "store/runs.h"

#define MIN_BLOCK_BYTES_MIN 512u

/* The block that begins in a unit of min_block_bytes: there is at most one. */
struct unit {
    void *owner; /* NULL: none begins here */
    uint32_t start;
    uint32_t granules : 31;
    uint32_t held : 1;
};
static_assert(IST_RUNS_GRANULES_MAX <= UINT32_MAX >> 1, "lengths fit beside the bit for held");

struct ist_pool {
    const struct ist_alloc *alloc;
    unsigned granule_shift; /* bytes of a granule, as a power of two */
    unsigned unit_shift;    /* granules of a unit */
    uint32_t granules;
    struct unit *units;
    struct ist_runs free;     /* what no block covers */
    struct ist_runs possible; /* what no held block covers */
};

static bool is_power_of_two(uint64_t x) {
    return x != 0 && (x & (x - 1)) == 0;
}

static unsigned log2_of(uint64_t x) {
    return 63u - (unsigned)__builtin_clzll(x);
}

enum ist_status ist_pool_new(const struct ist_pool_config *config, struct ist_pool **pool) {
    if (!is_power_of_two(config->min_block_bytes) || !is_power_of_two(config->granule_bytes) ||
        config->min_block_bytes < MIN_BLOCK_BYTES_MIN ||
        config->granule_bytes > config->min_block_bytes ||
        config->min_block_bytes / config->granule_bytes > IST_RUNS_GRANULES_MAX) {
        return IST_INVALID;
    }
    struct ist_pool *new = ist_allocate(config->alloc, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *new = (struct ist_pool){
        .alloc = config->alloc,
        .granule_shift = log2_of(config->granule_bytes),
        .unit_shift = log2_of(config->min_block_bytes / config->granule_bytes),
    };
    ist_runs_init(&new->free, new->unit_shift, config->alloc);
    ist_runs_init(&new->possible, new->unit_shift, config->alloc);
    *pool = new;
    return IST_OK;
}

void ist_pool_free(struct ist_pool *pool) {
    if (pool == NULL) {
        return;
    }
    ist_runs_fini(&pool->free);
    ist_runs_fini(&pool->possible);
    ist_release(pool->alloc, pool->units);
    ist_release(pool->alloc, pool);
}

static uint32_t units_of(const struct ist_pool *pool, uint32_t granules) {
    return granules == 0 ? 0 : ((granules - 1) >> pool->unit_shift) + 1;
}

enum ist_status ist_pool_grow(struct ist_pool *pool, uint64_t bytes) {
    uint64_t more = bytes >> pool->granule_shift;
    if (more << pool->granule_shift != bytes || more > IST_RUNS_GRANULES_MAX - pool->granules) {
        return IST_INVALID;
    }
    if (more == 0) {
        return IST_OK;
    }
    uint32_t had = units_of(pool, pool->granules);
    uint32_t count = units_of(pool, pool->granules + (uint32_t)more);
    if (count > had) {
        struct unit *units = ist_resize_array(pool->alloc, pool->units, count, sizeof(*units));
        if (units == NULL) {
            return IST_NO_MEMORY;
        }
        memset(units + had, 0, (count - had) * sizeof(*units));
        pool->units = units;
    }
    if (ist_runs_grow(&pool->free, count) != IST_OK ||
        ist_runs_grow(&pool->possible, count) != IST_OK) {
        return IST_NO_MEMORY;
    }
    struct ist_run run = {.start = pool->granules, .granules = (uint32_t)more};
    ist_runs_add(&pool->free, run);
    ist_runs_add(&pool->possible, run);
    pool->granules += run.granules;
    return IST_OK;
}

/* 0 when that many do not fit any pool. */
static uint32_t granules_for(const struct ist_pool *pool, uint64_t bytes) {
    uint64_t granules = ((bytes - 1) >> pool->granule_shift) + 1;
    if (granules > IST_RUNS_GRANULES_MAX) {
        return 0;
    }
    uint32_t least = 1u << pool->unit_shift;
    return granules < least ? least : (uint32_t)granules;
}

static uint64_t to_bytes(const struct ist_pool *pool, uint64_t granules) {
    return granules << pool->granule_shift;
}

enum ist_status ist_pool_allocate(struct ist_pool *pool, uint64_t bytes, void *owner,
                                  struct ist_block *block) {
    IST_ASSERT(bytes > 0 && owner != NULL);
    struct ist_run run;
    uint32_t granules = granules_for(pool, bytes);
    if (granules == 0 || !ist_runs_first(&pool->free, granules, &run)) {
        return IST_NO_SPACE;
    }
    run.granules = granules;
    ist_runs_take(&pool->free, run);
    ist_runs_take(&pool->possible, run);
    struct unit *unit = &pool->units[run.start >> pool->unit_shift];
    IST_ASSERT(unit->owner == NULL);
    *unit = (struct unit){
        .owner = owner, .start = run.start, .granules = granules & 0x7fffffffu, .held = 1};
    *block = (struct ist_block){.offset = to_bytes(pool, run.start), .bytes = to_bytes(pool, granules)};
    return IST_OK;
}

static struct unit *unit_of(const struct ist_pool *pool, const struct ist_block *block) {
    struct unit *unit = &pool->units[block->offset >> pool->granule_shift >> pool->unit_shift];
    IST_ASSERT(unit->owner != NULL && to_bytes(pool, unit->start) == block->offset &&
               to_bytes(pool, unit->granules) == block->bytes);
    return unit;
}

static struct ist_run run_of(const struct unit *unit) {
    return (struct ist_run){.start = unit->start, .granules = unit->granules};
}

void ist_pool_release(struct ist_pool *pool, const struct ist_block *block) {
    struct unit *unit = unit_of(pool, block);
    ist_runs_add(&pool->free, run_of(unit));
    if (unit->held) {
        ist_runs_add(&pool->possible, run_of(unit));
    }
    unit->owner = NULL;
}

void ist_pool_release_unheld(struct ist_pool *pool) {
    uint32_t count = units_of(pool, pool->granules);
    for (uint32_t i = 0; i < count; i++) {
        if (!pool->units[i].held) {
            pool->units[i].owner = NULL;
        }
    }
    ist_runs_copy(&pool->free, &pool->possible);
}

void ist_pool_unhold(struct ist_pool *pool, const struct ist_block *block) {
    struct unit *unit = unit_of(pool, block);
    IST_ASSERT(unit->held);
    unit->held = 0;
    ist_runs_add(&pool->possible, run_of(unit));
}

void ist_pool_hold(struct ist_pool *pool, const struct ist_block *block) {
    struct unit *unit = unit_of(pool, block);
    IST_ASSERT(!unit->held);
    unit->held = 1;
    ist_runs_take(&pool->possible, run_of(unit));
}

void ist_pool_set_owner(struct ist_pool *pool, const struct ist_block *block, void *owner) {
    IST_ASSERT(owner != NULL);
    unit_of(pool, block)->owner = owner;
}

/* The next unit in which a block begins, from `i` up to `end`; `end` when there is none. */
static uint32_t next_unit(const struct ist_pool *pool, uint32_t i, uint32_t end) {
    while (i < end && pool->units[i].owner == NULL) {
        i++;
    }
    return i;
}

void *ist_pool_next(const struct ist_pool *pool, uint64_t offset, uint64_t bytes,
                    struct ist_block *block) {
    uint64_t total = ist_pool_bytes(pool);
    if (offset >= total || bytes == 0) {
        return NULL;
    }
    uint64_t end = bytes < total - offset ? offset + bytes : total;
    uint32_t last = (uint32_t)((end - 1) >> pool->granule_shift >> pool->unit_shift);
    uint32_t i =
        next_unit(pool, (uint32_t)(offset >> pool->granule_shift >> pool->unit_shift), last + 1);
    if (i <= last && to_bytes(pool, pool->units[i].start) < offset) {
        i = next_unit(pool, i + 1, last + 1);
    }
    if (i > last || to_bytes(pool, pool->units[i].start) >= end) {
        return NULL;
    }
    const struct unit *unit = &pool->units[i];
    *block = (struct ist_block){.offset = to_bytes(pool, unit->start),
                                .bytes = to_bytes(pool, unit->granules)};
    return unit->owner;
}

/* Where a search that needs `granules` before `start` begins: on the edge of a block, or of `within`. */
static uint32_t edge_before(const struct ist_pool *pool, struct ist_run within, uint32_t start,
                            uint32_t granules) {
    if (start - within.start <= granules) {
        return within.start;
    }
    uint32_t edge = start - granules;
    uint32_t i = edge >> pool->unit_shift;
    while (i > within.start >> pool->unit_shift &&
           (pool->units[i].owner == NULL || pool->units[i].start > edge)) {
        i--;
    }
    const struct unit *unit = &pool->units[i];
    bool inside = unit->owner != NULL && unit->start >= within.start && unit->start <= edge;
    return inside ? unit->start : within.start;
}

/* The cheapest window of at least `granules` in `within`, around `near`. Slides over the blocks: `first` to `i`
 * would go, and `begin` is where the room would begin. */
static struct ist_run cheapest_window(const struct ist_pool *pool, struct ist_run within,
                                      struct ist_run near, uint32_t granules) {
    uint32_t within_end = within.start + within.granules;
    uint32_t stop = near.start + near.granules;
    stop = within_end - stop < granules ? within_end : stop + granules;
    uint32_t end_unit = ((within_end - 1) >> pool->unit_shift) + 1;
    uint32_t begin = edge_before(pool, within, near.start, granules);

    struct ist_run best = within;
    uint64_t cost = 0;
    uint64_t best_cost = UINT64_MAX;
    uint32_t i = next_unit(pool, begin >> pool->unit_shift, end_unit);
    IST_ASSERT(i == end_unit ||
               pool->units[i].start >= begin); /* what ends at `begin` began a unit before */
    uint32_t first = i;
    while (i < end_unit && pool->units[i].start < stop) {
        cost += pool->units[i].granules;
        i = next_unit(pool, i + 1, end_unit);
        uint32_t end =
            i < end_unit && pool->units[i].start < within_end ? pool->units[i].start : within_end;
        while (first < i) {
            uint32_t after = pool->units[first].start + pool->units[first].granules;
            if (end - after < granules) {
                break;
            }
            cost -= pool->units[first].granules;
            begin = after;
            first = next_unit(pool, first + 1, i);
        }
        if (end - begin >= granules && cost < best_cost) {
            best_cost = cost;
            best = (struct ist_run){.start = begin, .granules = end - begin};
        }
    }
    return best;
}

struct ist_block ist_pool_window(const struct ist_pool *pool, uint64_t offset, uint64_t bytes) {
    uint32_t granules = granules_for(pool, bytes);
    struct ist_run near;
    struct ist_run within;
    bool found = ist_runs_around(&pool->free, (uint32_t)(offset >> pool->granule_shift), &near) &&
                 ist_runs_around(&pool->possible, near.start, &within) && within.granules >= granules;
    if (!found) {
        found = ist_runs_first(&pool->possible, granules, &within);
        IST_ASSERT(found);
        near = (struct ist_run){.start = within.start};
    }
    struct ist_run window = cheapest_window(pool, within, near, granules);
    return (struct ist_block){.offset = to_bytes(pool, window.start),
                              .bytes = to_bytes(pool, window.granules)};
}

uint64_t ist_pool_bytes(const struct ist_pool *pool) {
    return to_bytes(pool, pool->granules);
}

uint64_t ist_pool_free_bytes(const struct ist_pool *pool) {
    return to_bytes(pool, pool->free.granules);
}

uint64_t ist_pool_largest_free(const struct ist_pool *pool) {
    return to_bytes(pool, ist_runs_longest(&pool->free));
}

uint64_t ist_pool_largest_possible(const struct ist_pool *pool) {
    return to_bytes(pool, ist_runs_longest(&pool->possible));
}

uint64_t ist_pool_rounded(const struct ist_pool *pool, uint64_t bytes) {
    uint32_t granules = granules_for(pool, bytes);
    return granules == 0 ? UINT64_MAX : to_bytes(pool, granules);
}

uint64_t ist_pool_metadata_bytes(const struct ist_pool *pool) {
    return sizeof(*pool) + units_of(pool, pool->granules) * sizeof(struct unit) +
           ist_runs_metadata_bytes(&pool->free) + ist_runs_metadata_bytes(&pool->possible);
}

/* The set has exactly this run, or the granule is not in it when the run is empty. */
static void check_run(const struct ist_runs *runs, uint32_t start, uint32_t granules) {
    struct ist_run run;
    if (granules != 0) {
        IST_ASSERT(ist_runs_around(runs, start, &run));
        IST_ASSERT(run.start == start && run.granules == granules);
    }
}

void ist_pool_check(const struct ist_pool *pool) {
    ist_runs_check(&pool->free);
    ist_runs_check(&pool->possible);
    uint64_t blocks = 0;
    uint64_t held = 0;
    uint32_t end = 0;  /* of the block before */
    uint32_t wall = 0; /* end of the held block before */
    for (uint32_t i = 0; i < units_of(pool, pool->granules); i++) {
        const struct unit *unit = &pool->units[i];
        if (unit->owner == NULL) {
            continue;
        }
        IST_ASSERT(unit->start >> pool->unit_shift == i && unit->granules >= 1u << pool->unit_shift);
        IST_ASSERT(unit->start >= end && unit->granules <= pool->granules - unit->start);
        check_run(&pool->free, end, unit->start - end);
        end = unit->start + unit->granules;
        blocks += unit->granules;
        if (unit->held) {
            check_run(&pool->possible, wall, unit->start - wall);
            wall = end;
            held += unit->granules;
        }
    }
    check_run(&pool->free, end, pool->granules - end);
    check_run(&pool->possible, wall, pool->granules - wall);
    IST_ASSERT(blocks + pool->free.granules == pool->granules);
    IST_ASSERT(held + pool->possible.granules == pool->granules);
}

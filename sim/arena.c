#include "sim/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/memory.h"
#include "sim/random.h"

#define GRANULE_BYTES 64u
#define GRANULES 8192u
#define LARGE_BYTES (8u << 20)
_Static_assert(SIM_ARENA_LARGE_BYTES / GRANULE_BYTES <= UINT16_MAX, "a length fits");

#ifdef __has_feature
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define MUST_BE_PLAIN true
#else
#define MUST_BE_PLAIN false
#endif

static size_t granules_of(size_t bytes) {
    return (bytes + GRANULE_BYTES - 1) / GRANULE_BYTES;
}

/* The lowest place that is long enough. */
static size_t find_place(const struct sim_arena *arena, size_t granules) {
    size_t at = 0, run = 0;
    while (at < arena->top && run < granules) {
        if (arena->lengths[at] == 0) {
            run++;
            at++;
        } else {
            at += arena->lengths[at];
            run = 0;
        }
    }
    return at - run;
}

static void *allocate_large(struct sim_arena *arena, size_t bytes) {
    size_t at = arena->large_bytes;
    arena->large_bytes += granules_of(bytes) * GRANULE_BYTES;
    IST_ASSERT(arena->large_bytes <= LARGE_BYTES);
    arena->large_live++;
    return arena->large + at;
}

static bool is_large(const struct sim_arena *arena, const uint8_t *memory) {
    return memory >= arena->large && memory < arena->large + LARGE_BYTES;
}

static void *arena_allocate(void *context, size_t bytes) {
    struct sim_arena *arena = context;
    arena->live++;
    if (bytes >= SIM_ARENA_LARGE_BYTES) {
        return allocate_large(arena, bytes);
    }
    if (arena->is_plain) {
        void *memory = malloc(bytes);
        IST_ASSERT(memory != NULL);
        return memory;
    }
    size_t granules = granules_of(bytes), at = find_place(arena, granules);
    IST_ASSERT(at + granules <= GRANULES);
    arena->lengths[at] = (uint16_t)granules;
    arena->top = at + granules > arena->top ? at + granules : arena->top;
    return arena->small + at * GRANULE_BYTES;
}

static void arena_release(void *context, void *memory) {
    struct sim_arena *arena = context;
    if (memory == NULL) {
        return;
    }
    IST_ASSERT(arena->live > 0);
    arena->live--;
    uint8_t *bytes = memory;
    if (is_large(arena, memory)) {
        IST_ASSERT(arena->large_live > 0);
        arena->large_live--;
        return;
    }
    if (arena->is_plain) {
        free(memory);
        return;
    }
    size_t at = (size_t)(bytes - arena->small) / GRANULE_BYTES, granules = arena->lengths[at];
    IST_ASSERT(at < GRANULES && granules > 0);
    memset(bytes, 0, granules * GRANULE_BYTES);
    arena->lengths[at] = 0;
    if (at + granules == arena->top) {
        arena->top = at;
        /* What is free below: as if it had never been used. */
        size_t used = 0;
        for (size_t i = 0; i < at; i += arena->lengths[i] == 0 ? 1 : arena->lengths[i]) {
            used = arena->lengths[i] == 0 ? used : i + arena->lengths[i];
        }
        arena->top = used;
    }
}

static void *arena_resize(void *context, void *memory, size_t bytes) {
    struct sim_arena *arena = context;
    uint8_t *old = memory;
    IST_ASSERT(old == NULL || !is_large(arena, old));
    if (arena->is_plain && old != NULL && bytes < SIM_ARENA_LARGE_BYTES) {
        void *resized = realloc(old, bytes);
        IST_ASSERT(resized != NULL);
        return resized;
    }
    void *new = arena_allocate(context, bytes);
    if (old != NULL) {
        IST_ASSERT(!arena->is_plain);
        size_t had = (size_t)arena->lengths[(old - arena->small) / GRANULE_BYTES] * GRANULE_BYTES;
        memcpy(new, old, had < bytes ? had : bytes);
        arena_release(context, old);
    }
    return new;
}

void sim_arena_init(struct sim_arena *arena, bool plain) {
    *arena = (struct sim_arena){
        .alloc = {arena_allocate, arena_resize, arena_release, arena},
        .is_plain = plain || MUST_BE_PLAIN,
        .small = sim_memory_new(GRANULES, GRANULE_BYTES),
        .large = sim_memory_new(1, LARGE_BYTES),
        .lengths = sim_memory_new(GRANULES, sizeof(uint16_t)),
    };
}

void sim_arena_fini(struct sim_arena *arena) {
    free(arena->small);
    free(arena->large);
    free(arena->lengths);
    *arena = (struct sim_arena){0};
}

void sim_arena_reset(struct sim_arena *arena) {
    IST_ASSERT(!arena->is_plain || arena->live == 0);
    memset(arena->small, 0, arena->top * GRANULE_BYTES);
    memset(arena->lengths, 0, arena->top * sizeof(uint16_t));
    arena->top = arena->large_bytes = 0;
    arena->live = arena->large_live = 0;
}

/* ---- what it is made of ---------------------------------------------------------------------------------- */

#define LANES 8u
#define ODD 0x9e3779b97f4a7c15ull
_Static_assert(LANES * sizeof(uint64_t) == GRANULE_BYTES, "a word of a granule for each lane");

static uint64_t stir(uint64_t lane, uint64_t word) {
    lane = (lane ^ word) * ODD;
    return lane ^ lane >> 29;
}

/* Most of it is zero: that costs a look and changes nothing, since what is not zero comes with its place. */
static inline void stir_granule(uint64_t *lanes, const uint64_t *words, uint64_t place) {
    if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) == 0) {
        return;
    }
    for (unsigned k = 0; k < LANES; k++) {
        lanes[k] = stir(lanes[k] + place, words[k]);
    }
}

uint64_t sim_arena_hash_bytes(const void *memory, size_t bytes, uint64_t seed) {
    const uint8_t *at = memory;
    uint64_t lanes[LANES], words[LANES];
    size_t whole = bytes / sizeof(words), rest = bytes % sizeof(words);
    for (unsigned k = 0; k < LANES; k++) {
        lanes[k] = seed + k * ODD;
    }
    for (size_t i = 0; i < whole; i++, at += sizeof(words)) {
        memcpy(words, at, sizeof(words));
        stir_granule(lanes, words, i);
    }
    memset(words, 0, sizeof(words));
    memcpy(words, at, rest);
    stir_granule(lanes, words, whole);
    uint64_t hash = sim_random_mix(bytes ^ seed);
    for (unsigned k = 0; k < LANES; k++) {
        hash = sim_random_mix(hash ^ lanes[k]);
    }
    return hash;
}

uint64_t sim_arena_hash(const struct sim_arena *arena, uint64_t seed) {
    IST_ASSERT(!arena->is_plain);
    uint64_t hash = sim_arena_hash_bytes(arena->lengths, arena->top * sizeof(uint16_t), seed);
    return sim_arena_hash_bytes(arena->small, arena->top * GRANULE_BYTES, hash);
}

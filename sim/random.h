/* Chance from a seed, the same on every machine: integers only. Each thing that decides something by chance has a
 * stream of its own, so that leaving one out does not change what the others draw. */
#ifndef IST_SIM_RANDOM_H
#define IST_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t state;
};

/* splitmix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static inline uint64_t sim_random_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline uint64_t sim_random_next(struct sim_random *random) {
    return sim_random_mix(random->state += 0x9e3779b97f4a7c15ull);
}

/* limit at least 1 */
static inline uint64_t sim_random_below(struct sim_random *random, uint64_t limit) {
    return sim_random_next(random) % limit;
}

/* from at most to */
static inline uint64_t sim_random_between(struct sim_random *random, uint64_t from, uint64_t to) {
    return from + sim_random_below(random, to - from + 1);
}

static inline bool sim_random_happens(struct sim_random *random, unsigned permille) {
    return sim_random_below(random, 1000) < permille;
}

/* Every power of two between them is as likely as any other. from at least 1. */
static inline uint64_t sim_random_scaled(struct sim_random *random, uint64_t from, uint64_t to) {
    unsigned low = 63u - (unsigned)__builtin_clzll(from), high = 63u - (unsigned)__builtin_clzll(to);
    uint64_t power = 1ull << sim_random_between(random, low, high);
    uint64_t value = power + sim_random_below(random, power);
    return value < from ? from : value > to ? to : value;
}

/* A stream of its own for the `number`th of a kind of things. */
static inline struct sim_random sim_random_stream(uint64_t seed, uint64_t kind, uint64_t number) {
    return (struct sim_random){
        sim_random_mix(seed ^ sim_random_mix(kind * 0xd6e8feb86659fd93ull + number))};
}

/* The kinds. */
enum {
    SIM_STREAM_PLAN = 1,
    SIM_STREAM_NETWORK,
    SIM_STREAM_OPERATION,
    SIM_STREAM_FAULT,
    SIM_STREAM_PACE,
    SIM_STREAM_MEMORY,
    SIM_STREAM_TREE,
    SIM_STREAM_CODA,
};

#endif

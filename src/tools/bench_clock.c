#include "tools/bench_clock.h"

#include <stdbool.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#define RATE_NS 50000000ull /* how long the counter is measured */
#define ERROR_NS 20000ull   /* a pair of readings farther apart was interrupted */
#define PAIRS 100u          /* tries to get one that was not */
#define FRACTION_BITS 24u   /* of the rate */

/* Written once, by init. */
static struct {
    bool is_counter;
    uint64_t start, start_ns; /* of the counter, and the kernel's time then */
    uint64_t rate;            /* nanoseconds of a tick */
} the_clock;

static uint64_t kernel_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

#if defined(__x86_64__)
static uint64_t counter(void) {
    return __rdtsc();
}

/* Intel SDM, CPUID 80000007H: EDX bit 8, "invariant TSC". */
static bool has_counter(void) {
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
}
#else
static uint64_t counter(void) {
    return 0;
}

static bool has_counter(void) {
    return false;
}
#endif

/* Both at one moment, as far as that can be had. */
static bool read_pair(uint64_t *ticks, uint64_t *ns) {
    for (unsigned i = 0; i < PAIRS; i++) {
        uint64_t before = kernel_ns();
        *ticks = counter();
        *ns = kernel_ns();
        if (*ns - before < ERROR_NS) {
            return true;
        }
    }
    return false;
}

void ist_bench_clock_init(void) {
    uint64_t start, start_ns, end, end_ns;
    if (!has_counter() || !read_pair(&start, &start_ns)) {
        return;
    }
    while (kernel_ns() - start_ns < RATE_NS) {
    }
    if (!read_pair(&end, &end_ns) || end <= start) {
        return;
    }
    the_clock.start = start;
    the_clock.start_ns = start_ns;
    the_clock.rate = ((end_ns - start_ns) << FRACTION_BITS) / (end - start);
    the_clock.is_counter = the_clock.rate != 0;
}

uint64_t ist_bench_now_ns(void) {
    if (!the_clock.is_counter) {
        return kernel_ns();
    }
    unsigned __int128 ns = (unsigned __int128)(counter() - the_clock.start) * the_clock.rate;
    return the_clock.start_ns + (uint64_t)(ns >> FRACTION_BITS);
}

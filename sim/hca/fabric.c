#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "sim/hca/objects.h"

/* ibv_get_device_list() has no argument that could tell the fabric: there is one. */
static struct ist_hca *current;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t let_go = PTHREAD_COND_INITIALIZER; /* calls that wait */

#define STEPS_IN_CALL 8 /* at most, with progress_in_calls */

struct ist_hca *hca_enter(void) {
    pthread_mutex_lock(&lock);
    if (current == NULL) {
        pthread_mutex_unlock(&lock);
    }
    return current;
}

void hca_leave(void) {
    if (current->config.progress_in_calls && current->busy != (current->clock.events > 0)) {
        current->busy = current->clock.events > 0;
        hca_channels_show(current);
    }
    pthread_mutex_unlock(&lock);
}

void hca_violation(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "hca: %s\n", text);
    abort();
}

/* ---- randomness and history ---------------------------------------------------------------------- */

static uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t hca_random(struct ist_hca *hca) {
    return mixed(hca->random += 0x9e3779b97f4a7c15ull);
}

uint64_t hca_random_below(struct ist_hca *hca, uint64_t limit) {
    return hca_random(hca) % limit;
}

bool hca_chance(struct ist_hca *hca, uint32_t of_thousand) {
    return of_thousand > 0 && hca_random_below(hca, 1000) < of_thousand;
}

void hca_fill_junk(struct ist_hca *hca, void *memory, size_t bytes) {
    uint8_t *to = memory;
    for (size_t done = 0; done < bytes; done += sizeof(uint64_t)) {
        uint64_t junk = hca_random(hca);
        size_t rest = bytes - done;
        memcpy(to + done, &junk, rest < sizeof(junk) ? rest : sizeof(junk));
    }
}

void hca_note(struct ist_hca *hca, const char *what, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t digest = mixed(hca->digest + hca->clock.now_ns);
    for (const char *p = what; *p != '\0'; p++) {
        digest = (digest ^ (uint8_t)*p) * 0x100000001b3ull;
    }
    hca->digest = mixed(mixed(mixed(digest + a) + b) + c);
    if (hca->config.trace != NULL) {
        char line[128];
        snprintf(line, sizeof(line), "%s %#llx %llu %llu", what, (unsigned long long)a,
                 (unsigned long long)b, (unsigned long long)c);
        hca->config.trace(hca->config.trace_context, hca->clock.now_ns, line);
    }
}

uint32_t hca_round_up(struct ist_hca *hca, uint32_t wanted, uint32_t most) {
    if (wanted >= most) {
        return wanted;
    }
    uint64_t power = 1;
    while (power < wanted) {
        power *= 2;
    }
    switch (hca_random_below(hca, 3)) {
    case 0: return wanted;
    case 1: return power < most ? (uint32_t)power : most;
    default:
        return wanted + (uint32_t)hca_random_below(hca, (most - wanted < 8 ? most - wanted : 8) + 1);
    }
}

uint64_t hca_jitter(struct ist_hca *hca) {
    uint64_t most = hca->config.jitter_ns;
    if (most == 0) {
        return 0;
    }
    return hca_random_below(hca, (hca_chance(hca, 62) ? 16 * most : most) + 1);
}

/* ---- calls that fail ----------------------------------------------------------------------------- */

static bool fails(struct ist_hca *hca, enum ist_hca_call call, const char *function) {
    if ((hca->fail_calls & (unsigned)call) == 0) {
        return false;
    }
    hca->calls++;
    if (hca->fail_on ? hca->calls < hca->fail_at : hca->calls != hca->fail_at) {
        return false;
    }
    hca->failed = function;
    hca_note(hca, function, 0, 0, 0);
    return true;
}

bool hca_fails(struct ist_hca *hca, enum ist_hca_call call, const char *function) {
    return hca->fail_of == NULL && fails(hca, call, function);
}

bool hca_fails_of(struct ibv_context *context, enum ist_hca_call call, const char *function) {
    struct ist_hca *hca = hca_of(context);
    return (hca->fail_of == NULL || hca->fail_of == context) && fails(hca, call, function);
}

static void fail(struct ist_hca *hca, const struct ibv_context *of, unsigned calls, uint64_t nth,
                 bool for_ever) {
    hca_enter();
    hca->fail_of = of;
    hca->fail_on = for_ever;
    hca->fail_calls = calls;
    hca->fail_at = nth;
    hca->calls = 0;
    hca->failed = NULL;
    hca_leave();
}

void ist_hca_fail_nth(struct ist_hca *hca, unsigned calls, uint64_t nth) {
    fail(hca, NULL, calls, nth, false);
}

void ist_hca_fail_from(struct ist_hca *hca, unsigned calls, uint64_t nth) {
    fail(hca, NULL, calls, nth, true);
}

void ist_hca_fail_nth_of(struct ibv_context *context, unsigned calls, uint64_t nth) {
    fail(hca_of(context), context, calls, nth, false);
}

uint64_t ist_hca_calls(const struct ist_hca *hca) {
    hca_enter();
    uint64_t calls = hca->calls;
    hca_leave();
    return calls;
}

const char *ist_hca_failed(const struct ist_hca *hca) {
    hca_enter();
    const char *failed = hca->failed;
    hca_leave();
    return failed;
}

/* ---- calls that wait ----------------------------------------------------------------------------- */

#define PATIENCE_MS 1000u /* of real time */
#define NS_PER_MS 1000000l
#define NS_PER_SEC 1000000000l

bool hca_wait_for_neighbour(struct ist_hca *hca, const struct ist_hca_device *device) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += hca->patience_ms / 1000;
    until.tv_nsec += hca->patience_ms % 1000 * NS_PER_MS;
    until.tv_sec += until.tv_nsec / NS_PER_SEC;
    until.tv_nsec %= NS_PER_SEC;
    int error = 0;
    hca->waiting++;
    while (device->holds_neighbours && error == 0) {
        error = pthread_cond_timedwait(&let_go, &lock, &until);
    }
    hca->waiting--;
    return !device->holds_neighbours;
}

void ist_hca_hold_neighbours(struct ist_hca_device *device, bool hold) {
    hca_enter();
    device->holds_neighbours = hold;
    pthread_cond_broadcast(&let_go);
    hca_leave();
}

void ist_hca_set_patience(struct ist_hca *hca, uint32_t ms) {
    hca_enter();
    hca->patience_ms = ms;
    hca_leave();
}

void hca_wait_for_pages(struct ist_hca *hca, const struct ist_hca_device *device) {
    hca->waiting++;
    while (device->holds_registrations) {
        pthread_cond_wait(&let_go, &lock);
    }
    hca->waiting--;
}

void ist_hca_hold_registrations(struct ist_hca_device *device, bool hold) {
    hca_enter();
    device->holds_registrations = hold;
    pthread_cond_broadcast(&let_go);
    hca_leave();
}

uint32_t ist_hca_waiting(const struct ist_hca *hca) {
    hca_enter();
    uint32_t waiting = hca->waiting;
    hca_leave();
    return waiting;
}

/* ---- life ---------------------------------------------------------------------------------------- */

void ist_hca_config_init(struct ist_hca_config *config, uint64_t seed) {
    *config = (struct ist_hca_config){
        .seed = seed,
        .latency_ns = 2000,
        .jitter_ns = 1000,
        .bytes_per_us = 12500,
        .spurious_events = 20,
        .overrun_aborts = true,
        .alloc = ist_alloc_system(),
    };
}

struct ist_hca *ist_hca_new(const struct ist_hca_config *config) {
    struct ist_hca *hca = ist_allocate_zeroed(config->alloc, 1, sizeof(*hca));
    if (hca == NULL) {
        return NULL;
    }
    hca->config = *config;
    hca->random = config->seed;
    hca->patience_ms = PATIENCE_MS;
    hca->digest = hca_random(hca);
    hca_clock_init(&hca->clock, config->alloc);
    hca_numbers_init(&hca->lkeys, config->alloc, 32, hca_random(hca));
    hca_numbers_init(&hca->rkeys, config->alloc, 32, hca_random(hca));
    hca_numbers_init(&hca->qp_numbers, config->alloc, 24, hca_random(hca));
    pthread_mutex_lock(&lock);
    if (current != NULL) {
        hca_violation("ist_hca_new: there is a fabric already");
    }
    current = hca;
    pthread_mutex_unlock(&lock);
    return hca;
}

static void check_nothing_is_left(const struct ist_hca *hca) {
    struct ist_hca_counts left;
    ist_hca_counts(hca, &left);
    if (left.device_lists + left.contexts + left.pds + left.mrs + left.channels + left.cqs + left.srqs +
            left.qps + left.unacknowledged >
        0) {
        hca_violation(
            "ist_hca_free: left are %u device lists, %u contexts, %u PDs, %u MRs, %u channels, "
            "%u CQs, %u SRQs, %u QPs, %u events not acknowledged",
            left.device_lists, left.contexts, left.pds, left.mrs, left.channels, left.cqs, left.srqs,
            left.qps, left.unacknowledged);
    }
}

void ist_hca_free(struct ist_hca *hca) {
    if (hca == NULL) {
        return;
    }
    check_nothing_is_left(hca);
    pthread_mutex_lock(&lock);
    IST_ASSERT(current == hca);
    current = NULL;
    pthread_mutex_unlock(&lock);
    const struct ist_alloc *alloc = hca->config.alloc;
    for (struct ist_hca_device *device = hca->devices; device != NULL;) {
        struct ist_hca_device *next = device->next;
        ist_release(alloc, device);
        device = next;
    }
    hca_numbers_fini(&hca->lkeys);
    hca_numbers_fini(&hca->rkeys);
    hca_numbers_fini(&hca->qp_numbers);
    hca_clock_fini(&hca->clock);
    ist_release(alloc, hca);
}

void ist_hca_counts(const struct ist_hca *hca, struct ist_hca_counts *counts) {
    hca_enter();
    *counts = hca->counts;
    hca_leave();
}

uint64_t ist_hca_digest(const struct ist_hca *hca) {
    hca_enter();
    uint64_t digest = hca->digest;
    hca_leave();
    return digest;
}

/* ---- time ---------------------------------------------------------------------------------------- */

static bool step(struct ist_hca *hca) {
    struct hca_event *event = hca_clock_next(&hca->clock);
    if (event == NULL) {
        return false;
    }
    event->fire(event);
    return true;
}

void hca_progress(struct ist_hca *hca) {
    if (!hca->config.progress_in_calls) {
        return;
    }
    for (uint64_t steps = hca_random_below(hca, STEPS_IN_CALL + 1); steps > 0 && step(hca); steps--) {
    }
}

uint64_t ist_hca_now_ns(const struct ist_hca *hca) {
    hca_enter();
    uint64_t now_ns = hca->clock.now_ns;
    hca_leave();
    return now_ns;
}

uint64_t ist_hca_next_ns(const struct ist_hca *hca) {
    hca_enter();
    uint64_t next_ns = hca->clock.events > 0 ? hca->clock.heap[0].at_ns : UINT64_MAX;
    hca_leave();
    return next_ns;
}

bool ist_hca_step(struct ist_hca *hca) {
    return ist_hca_run(hca, 1) == 1;
}

uint64_t ist_hca_run(struct ist_hca *hca, uint64_t steps) {
    uint64_t made = 0;
    hca_enter();
    while (made < steps && step(hca)) {
        made++;
    }
    hca_leave();
    return made;
}

void ist_hca_advance(struct ist_hca *hca, uint64_t ns) {
    hca_enter();
    uint64_t until = hca->clock.now_ns + ns;
    while (hca->clock.events > 0 && hca->clock.heap[0].at_ns <= until && step(hca)) {
    }
    hca->clock.now_ns = until;
    hca_leave();
}

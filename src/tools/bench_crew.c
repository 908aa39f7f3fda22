#include "tools/bench_crew.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tools/bench_clock.h"

struct crew {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t waiting; /* members that stand at the gate */
    bool open, abandoned;
    const struct ist_bench_list *pin;
    ist_bench_work_fn *work;
    void *context;
};

struct member {
    struct crew *crew;
    pthread_t thread;
    size_t number;
    uint64_t begin_ns, end_ns; /* its own: who opens the gate may be the last to run */
};

enum ist_status ist_bench_pin(const struct ist_bench_list *cpus) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t i = 0; i < cpus->count; i++) {
        CPU_SET((size_t)cpus->items[i], &set);
    }
    return cpus->count == 0 || sched_setaffinity(0, sizeof set, &set) == 0 ? IST_OK : IST_CONFIG;
}

/* False: go home without having worked. */
static bool wait_at_the_gate(struct crew *crew) {
    pthread_mutex_lock(&crew->mutex);
    crew->waiting++;
    pthread_cond_broadcast(&crew->changed);
    while (!crew->open && !crew->abandoned) {
        pthread_cond_wait(&crew->changed, &crew->mutex);
    }
    bool abandoned = crew->abandoned;
    pthread_mutex_unlock(&crew->mutex);
    return !abandoned;
}

static void *member_run(void *arg) {
    struct member *member = arg;
    struct crew *crew = member->crew;
    if (crew->pin->count > 0) {
        /* Checked when the program began; a CPU that went away since costs no more than noise. */
        const struct ist_bench_list one = {{crew->pin->items[member->number % crew->pin->count]}, 1};
        (void)ist_bench_pin(&one);
    }
    bool works = wait_at_the_gate(crew);
    member->begin_ns = ist_bench_now_ns();
    if (works) {
        crew->work(crew->context, member->number);
    }
    member->end_ns = ist_bench_now_ns();
    return NULL;
}

static void open_the_gate(struct crew *crew, size_t members, bool abandoned) {
    pthread_mutex_lock(&crew->mutex);
    while (!abandoned && crew->waiting < members) {
        pthread_cond_wait(&crew->changed, &crew->mutex);
    }
    crew->open = !abandoned;
    crew->abandoned = abandoned;
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->mutex);
}

enum ist_status ist_bench_crew_run(size_t members, const struct ist_bench_list *pin,
                                   ist_bench_work_fn *work, void *context, uint64_t *elapsed_ns) {
    struct crew crew = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER,
                        .pin = pin,
                        .work = work,
                        .context = context};
    struct member *all = calloc(members, sizeof *all);
    if (all == NULL) {
        return IST_NO_MEMORY;
    }
    size_t started = 0;
    while (started < members) {
        struct member *member = &all[started];
        *member = (struct member){.crew = &crew, .number = started};
        if (pthread_create(&member->thread, NULL, member_run, member) != 0) {
            break;
        }
        started++;
    }
    bool abandoned = started < members;
    open_the_gate(&crew, members, abandoned);
    uint64_t begin_ns = UINT64_MAX, end_ns = 0;
    for (size_t i = 0; i < started; i++) {
        pthread_join(all[i].thread, NULL);
        begin_ns = all[i].begin_ns < begin_ns ? all[i].begin_ns : begin_ns;
        end_ns = all[i].end_ns > end_ns ? all[i].end_ns : end_ns;
    }
    free(all);
    if (abandoned) {
        return IST_NO_MEMORY;
    }
    if (elapsed_ns != NULL) {
        *elapsed_ns = end_ns - begin_ns;
    }
    return IST_OK;
}

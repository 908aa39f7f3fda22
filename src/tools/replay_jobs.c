#include "tools/replay_jobs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"

static void lock(struct ist_replay_jobs *jobs) {
    int result = pthread_mutex_lock(&jobs->mutex);
    IST_ASSERT(result == 0);
}

static void unlock(struct ist_replay_jobs *jobs) {
    int result = pthread_mutex_unlock(&jobs->mutex);
    IST_ASSERT(result == 0);
}

/* What somebody may wait for has changed. */
static void unlock_and_tell(struct ist_replay_jobs *jobs) {
    (void)pthread_cond_broadcast(&jobs->changed);
    unlock(jobs);
}

enum ist_status ist_replay_jobs_init(struct ist_replay_jobs *jobs, size_t prefills, size_t decodes) {
    *jobs = (struct ist_replay_jobs){.count = prefills + 2 * decodes, .prefills = prefills};
    jobs->all = calloc(jobs->count, sizeof(*jobs->all));
    if (jobs->all == NULL) {
        return IST_NO_MEMORY;
    }
    for (size_t i = 0; i < jobs->count; i++) {
        jobs->all[i].next = jobs->free;
        jobs->free = &jobs->all[i];
    }
    jobs->waiting_end = &jobs->waiting;
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&jobs->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&jobs->mutex, NULL);
    return IST_OK;
}

void ist_replay_jobs_fini(struct ist_replay_jobs *jobs) {
    for (size_t i = 0; i < jobs->count; i++) {
        free(jobs->all[i].blocks);
    }
    free(jobs->all);
    (void)pthread_cond_destroy(&jobs->changed);
    (void)pthread_mutex_destroy(&jobs->mutex);
}

static void give_back(struct ist_replay_jobs *jobs, struct ist_replay_job *job) {
    job->block_count = job->matched = 0;
    job->next = jobs->free;
    jobs->free = job;
}

/* ---- prefills ---- */

struct ist_replay_job *ist_replay_jobs_turn(struct ist_replay_jobs *jobs) {
    struct ist_replay_job *job = NULL;
    lock(jobs);
    while (!jobs->ending && (jobs->turn_taken || jobs->free == NULL)) {
        (void)pthread_cond_wait(&jobs->changed, &jobs->mutex);
    }
    if (!jobs->ending) {
        job = jobs->free;
        jobs->free = job->next;
        jobs->turn_taken = true;
        job->number = ++jobs->handed_out;
    }
    unlock(jobs);
    return job;
}

enum ist_status ist_replay_jobs_set(struct ist_replay_jobs *jobs, struct ist_replay_job *job,
                                    const uint64_t *blocks, size_t block_count) {
    (void)jobs; /* nobody else looks at a job before it is found */
    if (block_count > job->room) {
        uint64_t *more = reallocarray(job->blocks, block_count, sizeof(*more));
        if (more == NULL) {
            return IST_NO_MEMORY;
        }
        job->blocks = more;
        job->room = block_count;
    }
    memcpy(job->blocks, blocks, block_count * sizeof(*blocks));
    job->block_count = block_count;
    return IST_OK;
}

static bool writes_a_block_of(const struct ist_replay_job *writer, const struct ist_replay_job *job) {
    size_t shared = writer->matched + 1; /* leading blocks, the first that it writes included */
    return writer->writing && writer->block_count >= shared && job->block_count >= shared &&
           memcmp(writer->blocks, job->blocks, shared * sizeof(*job->blocks)) == 0;
}

static bool must_wait(const struct ist_replay_jobs *jobs, const struct ist_replay_job *job) {
    for (size_t i = 0; i < jobs->count; i++) {
        if (writes_a_block_of(&jobs->all[i], job)) {
            return true;
        }
    }
    return false;
}

static bool is_past(const struct timespec *due) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > due->tv_sec || (now.tv_sec == due->tv_sec && now.tv_nsec >= due->tv_nsec);
}

bool ist_replay_jobs_await(struct ist_replay_jobs *jobs, struct ist_replay_job *job, uint64_t due_ns) {
    const struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u),
                                 .tv_nsec = (long)(due_ns % 1000000000u)};
    lock(jobs);
    while (!jobs->ending && !is_past(&due)) {
        (void)pthread_cond_timedwait(&jobs->changed, &jobs->mutex, &due);
    }
    while (!jobs->ending && must_wait(jobs, job)) {
        (void)pthread_cond_wait(&jobs->changed, &jobs->mutex);
    }
    bool ending = jobs->ending;
    unlock(jobs);
    return !ending;
}

void ist_replay_jobs_found(struct ist_replay_jobs *jobs, struct ist_replay_job *job, size_t matched) {
    lock(jobs);
    IST_ASSERT(jobs->turn_taken && matched <= job->block_count);
    job->matched = matched;
    job->writing = matched < job->block_count;
    jobs->turn_taken = false;
    unlock_and_tell(jobs);
}

void ist_replay_jobs_ready(struct ist_replay_jobs *jobs, struct ist_replay_job *job) {
    lock(jobs);
    job->writing = false;
    if (jobs->abandoned) {
        give_back(jobs, job);
    } else {
        job->next = NULL;
        *jobs->waiting_end = job;
        jobs->waiting_end = &job->next;
    }
    unlock_and_tell(jobs);
}

void ist_replay_jobs_return(struct ist_replay_jobs *jobs, struct ist_replay_job *job) {
    lock(jobs);
    IST_ASSERT(jobs->turn_taken);
    jobs->turn_taken = false;
    give_back(jobs, job);
    unlock_and_tell(jobs);
}

void ist_replay_jobs_leave(struct ist_replay_jobs *jobs) {
    lock(jobs);
    IST_ASSERT(jobs->prefills > 0);
    jobs->prefills--;
    unlock_and_tell(jobs);
}

/* ---- decodes ---- */

struct ist_replay_job *ist_replay_jobs_take(struct ist_replay_jobs *jobs) {
    lock(jobs);
    while (jobs->waiting == NULL && jobs->prefills > 0 && !jobs->abandoned) {
        (void)pthread_cond_wait(&jobs->changed, &jobs->mutex);
    }
    struct ist_replay_job *job = jobs->waiting;
    if (job != NULL) {
        jobs->waiting = job->next;
        if (jobs->waiting == NULL) {
            jobs->waiting_end = &jobs->waiting;
        }
    }
    unlock(jobs);
    return job;
}

void ist_replay_jobs_done(struct ist_replay_jobs *jobs, struct ist_replay_job *job) {
    lock(jobs);
    give_back(jobs, job);
    unlock_and_tell(jobs);
}

/* ---- the end ---- */

void ist_replay_jobs_end(struct ist_replay_jobs *jobs) {
    lock(jobs);
    jobs->ending = true;
    unlock_and_tell(jobs);
}

void ist_replay_jobs_abandon(struct ist_replay_jobs *jobs) {
    lock(jobs);
    jobs->ending = jobs->abandoned = true;
    while (jobs->waiting != NULL) {
        struct ist_replay_job *job = jobs->waiting;
        jobs->waiting = job->next;
        give_back(jobs, job);
    }
    jobs->waiting_end = &jobs->waiting;
    unlock_and_tell(jobs);
}

bool ist_replay_jobs_ended(struct ist_replay_jobs *jobs) {
    lock(jobs);
    size_t idle = 0;
    for (const struct ist_replay_job *job = jobs->free; job != NULL; job = job->next) {
        idle++;
    }
    bool ended = jobs->prefills == 0 && idle == jobs->count;
    unlock(jobs);
    return ended;
}

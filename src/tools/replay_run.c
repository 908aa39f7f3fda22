#include "tools/replay_run.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tools/replay_client.h"
#include "tools/replay_clock.h"
#include "tools/replay_jobs.h"
#include "tools/replay_report.h"

#define NS_PER_MS 1000000ull
#define TICK_NS (100 * NS_PER_MS)            /* how often the main thread looks */
#define STAT_INTERVAL_NS (500 * NS_PER_MS)   /* how often it asks the server */
#define POOL_PAUSE_NS (20 * NS_PER_MS)       /* while the server's pool grows */
#define POOL_PATIENCE_NS (60000 * NS_PER_MS) /* when it does not, although it says so */
#define STAT_TIMEOUT_NS (2000 * NS_PER_MS)

struct run;

struct worker {
    struct run *run;
    struct ist_replay_client *client;
    pthread_t thread;
    bool started;
    uint64_t end_ns;
};

struct run {
    const struct ist_replay_options *options;
    struct ist_replay_traffic *traffic; /* of whoever has the turn */
    struct ist_replay_result *result;
    struct ist_replay_jobs jobs;
    struct ist_replay_tally tally;
    struct ist_client *control; /* for the server's figures */
    uint64_t incarnation;
    struct worker *workers; /* prefills, then decodes */
    size_t worker_count;
    uint64_t begin_ns;
};

/* ---- the clients' threads ------------------------------------------------------------------------- */

/* The next request becomes the job's. False: there is none, or it cannot be read. */
static bool read_request(struct run *run, struct ist_replay_job *job, uint64_t *due_ns, size_t *hits) {
    struct ist_trace_request request;
    enum ist_status status = ist_replay_traffic_next(run->traffic, &request, hits);
    if (status == IST_NOT_FOUND) {
        return false;
    }
    if (status == IST_OK) {
        double at_ns = (double)ist_replay_traffic_arrival_ms(run->traffic, &request) * NS_PER_MS;
        *due_ns = run->options->pace == 0 ? 0 : run->begin_ns + (uint64_t)(at_ns / run->options->pace);
        status = ist_replay_jobs_set(&run->jobs, job, request.blocks, request.block_count);
    }
    if (status != IST_OK) {
        ist_replay_tally_fail(&run->tally, "%s", ist_replay_traffic_error(run->traffic));
    }
    return status == IST_OK;
}

static void count_request(struct run *run, const struct ist_replay_job *job, size_t matched,
                          size_t hits, uint64_t late_ns) {
    struct ist_replay_figures *figures = ist_replay_tally_open(&run->tally);
    figures->requests++;
    figures->blocks += job->block_count;
    figures->hit_blocks += matched;
    figures->unlimited_blocks += hits;
    figures->late_ns = late_ns > figures->late_ns ? late_ns : figures->late_ns;
    ist_replay_tally_close(&run->tally);
}

/* From the turn's begin to its end. NULL: no more requests for this thread. */
static struct ist_replay_job *begin_request(struct worker *worker) {
    struct run *run = worker->run;
    struct ist_replay_job *job = ist_replay_jobs_turn(&run->jobs);
    if (job == NULL) {
        return NULL;
    }
    uint64_t due_ns = 0;
    size_t hits = 0, matched = 0;
    if (!read_request(run, job, &due_ns, &hits)) {
        ist_replay_jobs_end(&run->jobs);
    } else if (ist_replay_jobs_await(&run->jobs, job, due_ns)) {
        uint64_t now_ns = ist_replay_now_ns();
        if (ist_replay_client_match(worker->client, job, &matched)) {
            count_request(run, job, matched, hits, due_ns == 0 ? 0 : now_ns - due_ns);
            ist_replay_jobs_found(&run->jobs, job, matched);
            return job;
        }
        ist_replay_jobs_abandon(&run->jobs);
    }
    ist_replay_jobs_return(&run->jobs, job);
    return NULL;
}

static void *run_prefill(void *argument) {
    struct worker *worker = argument;
    struct ist_replay_jobs *jobs = &worker->run->jobs;
    struct ist_replay_job *job;
    while ((job = begin_request(worker)) != NULL) {
        size_t present = job->matched;
        bool goes_on =
            present == 0 || ist_replay_client_get(worker->client, job, present, true, &present);
        if (goes_on && present < job->block_count) {
            goes_on = ist_replay_client_put(worker->client, job, present);
        }
        if (!goes_on) {
            ist_replay_jobs_abandon(jobs);
        }
        ist_replay_jobs_ready(jobs, job);
    }
    worker->end_ns = ist_replay_now_ns();
    ist_replay_jobs_leave(jobs);
    return NULL;
}

static void *run_decode(void *argument) {
    struct worker *worker = argument;
    struct ist_replay_jobs *jobs = &worker->run->jobs;
    struct ist_replay_job *job;
    while ((job = ist_replay_jobs_take(jobs)) != NULL) {
        size_t present = 0;
        if (!ist_replay_client_get(worker->client, job, job->block_count, false, &present)) {
            ist_replay_jobs_abandon(jobs);
        }
        ist_replay_jobs_done(jobs, job);
    }
    worker->end_ns = ist_replay_now_ns();
    return NULL;
}

static void start_workers(struct run *run) {
    for (size_t i = 0; i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        bool is_prefill = i < run->options->prefills;
        worker->started =
            pthread_create(&worker->thread, NULL, is_prefill ? run_prefill : run_decode, worker) == 0;
        if (!worker->started) {
            ist_replay_tally_fail(&run->tally, "cannot start a thread");
            ist_replay_jobs_abandon(&run->jobs);
        }
        if (!worker->started && is_prefill) {
            ist_replay_jobs_leave(&run->jobs);
        }
    }
}

static void join_workers(struct run *run) {
    uint64_t end_ns = run->begin_ns;
    for (size_t i = 0; i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        if (worker->started) {
            (void)pthread_join(worker->thread, NULL);
            end_ns = worker->end_ns > end_ns ? worker->end_ns : end_ns;
        }
    }
    run->result->elapsed_ns = end_ns - run->begin_ns;
}

/* ---- the main thread ------------------------------------------------------------------------------ */

static void ask_server(struct run *run) {
    /* A server that does not answer shows in the clients, which wait longer. */
    enum ist_status status = ist_replay_server_read(run->control, STAT_TIMEOUT_NS, &run->result->after);
    (void)status;
    uint64_t incarnation = ist_client_incarnation(run->control);
    if (incarnation != 0 && incarnation != run->incarnation && !ist_replay_tally_failed(&run->tally)) {
        ist_replay_tally_fail(&run->tally, "the server was restarted in between");
        ist_replay_jobs_abandon(&run->jobs);
    }
}

static void take_point(struct run *run, uint64_t at_ns, struct ist_replay_point *point) {
    const struct ist_replay_figures *figures = ist_replay_tally_open(&run->tally);
    *point = (struct ist_replay_point){
        .at_ns = at_ns,
        .requests = figures->requests,
        .blocks = figures->blocks,
        .hit_blocks = figures->hit_blocks,
        .unlimited_blocks = figures->unlimited_blocks,
        .put_bytes = figures->put_bytes,
        .get_bytes = figures->get_bytes,
        .evicted_entries = run->result->after.evicted_entries - run->result->before.evicted_entries,
    };
    ist_replay_tally_close(&run->tally);
    ist_replay_series_add(&run->result->series, point);
}

static void show_progress(FILE *terminal, const struct ist_replay_point *before,
                          const struct ist_replay_point *now) {
    double seconds = (double)(now->at_ns - before->at_ns) / 1e9;
    double hit = now->blocks == 0 ? 0 : 100.0 * (double)now->hit_blocks / (double)now->blocks;
    if (terminal == NULL || seconds <= 0) {
        return;
    }
    fprintf(terminal, "\r%llu requests, %.0f s, %.1f %% hit, put %.0f MiB/s, get %.0f MiB/s\x1b[K",
            (unsigned long long)now->requests, (double)now->at_ns / 1e9, hit,
            (double)(now->put_bytes - before->put_bytes) / seconds / (1 << 20),
            (double)(now->get_bytes - before->get_bytes) / seconds / (1 << 20));
    fflush(terminal);
}

/* Sleeps, at most a tick, until a signal comes. The first one ends the replay, and has its default effect from
 * then on. */
static void wait_a_tick(struct run *run, const sigset_t *signals) {
    const struct timespec tick = {.tv_nsec = TICK_NS};
    if (run->result->interrupted) {
        (void)nanosleep(&tick, NULL);
    } else if (sigtimedwait(signals, NULL, &tick) > 0) {
        run->result->interrupted = true;
        ist_replay_jobs_end(&run->jobs);
        (void)pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    }
}

static void watch(struct run *run, const sigset_t *signals, FILE *terminal) {
    struct ist_replay_point shown = {0}, now;
    uint64_t asked_ns = run->begin_ns, limit_ns = run->options->limit_ns;
    while (!ist_replay_jobs_ended(&run->jobs)) {
        wait_a_tick(run, signals);
        uint64_t now_ns = ist_replay_now_ns();
        if (limit_ns != 0 && now_ns - run->begin_ns >= limit_ns) {
            ist_replay_jobs_end(&run->jobs);
        }
        bool is_time = now_ns - asked_ns >= STAT_INTERVAL_NS;
        if (is_time) {
            ask_server(run);
            asked_ns = now_ns;
        }
        take_point(run, now_ns - run->begin_ns, &now);
        if (is_time) {
            show_progress(terminal, &shown, &now);
            shown = now;
        }
    }
    if (terminal != NULL) {
        fputs("\r\x1b[K", terminal);
        fflush(terminal);
    }
}

/* ---- set-up --------------------------------------------------------------------------------------- */

/* A daemon serves before all of its pool is there. Waits for the rest as long as it comes: a replay that begins
 * earlier is one with a smaller pool. */
static enum ist_status wait_for_pool(struct run *run, FILE *terminal) {
    struct ist_replay_server *server = &run->result->before;
    const struct timespec pause = {.tv_nsec = (long)(POOL_PAUSE_NS)};
    uint64_t grown_ns = ist_replay_now_ns(), ready_bytes = 0;
    enum ist_status status = ist_replay_server_read(run->control, run->options->timeout_ns, server);
    while (status == IST_OK && server->ready_bytes < server->target_bytes &&
           ist_replay_now_ns() - grown_ns < POOL_PATIENCE_NS) {
        if (server->ready_bytes != ready_bytes) {
            ready_bytes = server->ready_bytes;
            grown_ns = ist_replay_now_ns();
        }
        if (terminal != NULL) {
            fprintf(terminal, "\rwaiting for the server's pool: %llu of %llu MiB\x1b[K",
                    (unsigned long long)ready_bytes >> 20,
                    (unsigned long long)server->target_bytes >> 20);
        }
        (void)nanosleep(&pause, NULL);
        status = ist_replay_server_read(run->control, run->options->timeout_ns, server);
    }
    if (terminal != NULL) {
        fputs("\r\x1b[K", terminal);
    }
    return status;
}

/* Connects the control connection, looks at the server, and decides how large a block is. */
static bool look_at_server(struct run *run, FILE *terminal, char *error, size_t error_bytes) {
    struct ist_replay_result *result = run->result;
    struct ist_client_options connect = {.endpoints = run->options->endpoint};
    ist_transport_apply(&run->options->transport, &connect);
    if (ist_client_new(&connect, &run->control, error, error_bytes) != IST_OK) {
        return false;
    }
    run->incarnation = ist_client_incarnation(run->control);
    uint64_t purged = 0, timeout_ns = run->options->timeout_ns;
    enum ist_status status =
        run->options->purge ? ist_purge(run->control, &purged, timeout_ns) : IST_OK;
    if (status == IST_OK) {
        status = wait_for_pool(run, terminal);
    }
    if (status != IST_OK) {
        snprintf(error, error_bytes, "%s: %s", run->options->endpoint, ist_status_text(status));
        return false;
    }
    result->after = result->before;
    ist_replay_plan_make(run->options, result->before.pool_bytes, &result->plan);
    if (result->plan.layer_bytes > result->before.pool_bytes) {
        snprintf(error, error_bytes, "a block of %llu bytes is larger than the server's pool of %llu",
                 (unsigned long long)result->plan.layer_bytes,
                 (unsigned long long)result->before.pool_bytes);
        return false;
    }
    return true;
}

static bool connect_workers(struct run *run, char *error, size_t error_bytes) {
    run->worker_count = run->options->prefills + run->options->decodes;
    run->workers = calloc(run->worker_count, sizeof(*run->workers));
    if (run->workers == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return false;
    }
    for (size_t i = 0; i < run->worker_count; i++) {
        run->workers[i].run = run;
        if (ist_replay_client_new(run->options, &run->result->plan, &run->tally,
                                  &run->workers[i].client, error, error_bytes) != IST_OK) {
            return false;
        }
    }
    return true;
}

static void play(struct run *run, FILE *terminal) {
    struct ist_replay_result *result = run->result;
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &signals, &before); /* the workers inherit it */
    uint64_t cpu_ns = ist_replay_process_cpu_ns();
    run->begin_ns = ist_replay_now_ns();
    start_workers(run);
    watch(run, &signals, terminal);
    join_workers(run);
    result->cpu_ns = ist_replay_process_cpu_ns() - cpu_ns;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    ask_server(run);
    struct ist_replay_point last;
    take_point(run, result->elapsed_ns, &last);
    result->span_ms = ist_replay_traffic_span_ms(run->traffic);
    result->figures = *ist_replay_tally_open(&run->tally);
    ist_replay_tally_close(&run->tally);
}

static void run_fini(struct run *run) {
    for (size_t i = 0; run->workers != NULL && i < run->worker_count; i++) {
        ist_replay_client_free(run->workers[i].client);
    }
    free(run->workers);
    ist_client_free(run->control);
    ist_replay_tally_fini(&run->tally);
    ist_replay_jobs_fini(&run->jobs);
    free(run);
}

bool ist_replay_run(const struct ist_replay_options *options, struct ist_replay_traffic *traffic,
                    FILE *out, FILE *terminal, struct ist_replay_result *result, char *error,
                    size_t error_bytes) {
    memset(result, 0, sizeof(*result));
    result->options = options;
    result->traffic_name = ist_replay_traffic_name(traffic);
    ist_replay_series_init(&result->series, TICK_NS);
    struct run *run = calloc(1, sizeof(*run));
    if (run == NULL ||
        ist_replay_jobs_init(&run->jobs, options->prefills, options->decodes) != IST_OK) {
        free(run);
        snprintf(error, error_bytes, "out of memory");
        return false;
    }
    ist_replay_tally_init(&run->tally);
    run->options = options;
    run->traffic = traffic;
    run->result = result;
    bool ready =
        look_at_server(run, terminal, error, error_bytes) && connect_workers(run, error, error_bytes);
    if (ready) {
        ist_replay_report_head(out, result);
        (void)fflush(out);
        play(run, terminal);
    }
    run_fini(run);
    return ready;
}

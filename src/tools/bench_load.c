#include "tools/bench_load.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tools/bench_clock.h"
#include "tools/bench_crew.h"

/* One connection and its thread's requests. */
struct worker {
    struct ist_bench_load *load;
    void *link;
    struct ist_bench_request *requests; /* `depth` */
    struct ist_bench_request **idle;    /* those not in flight, a stack */
    size_t idle_count;
    /* Of the current slice. */
    struct ist_histogram latency;
    uint64_t done;
    uint64_t verified;
};

struct ist_bench_load {
    const struct ist_bench_peer *peer;
    struct ist_bench_shape shape;
    const struct ist_bench_list *pin;
    struct worker *workers;
    size_t open; /* workers with a link */
    /* Of the current slice. */
    struct ist_bench_slice slice;
    atomic_size_t next; /* the first key that nobody has taken */
    uint64_t stop_ns;   /* 0: none */
    size_t step;
    /* The first failure. */
    pthread_mutex_t mutex;
    atomic_bool failed;
    enum ist_status status;
    char error[IST_BENCH_ERROR_MAX];
};

/* ---- new, free ---------------------------------------------------------------------------------- */

static void request_fini(struct ist_bench_request *request) {
    free(request->puts);
    free(request->gets);
    free(request->keys);
    free(request->present);
}

static bool request_init(struct ist_bench_request *request, struct worker *worker, size_t batch) {
    *request = (struct ist_bench_request){
        .puts = calloc(batch, sizeof *request->puts),
        .gets = calloc(batch, sizeof *request->gets),
        .keys = calloc(batch, sizeof *request->keys),
        .present = calloc(batch, sizeof *request->present),
        .owner = worker,
    };
    return request->puts != NULL && request->gets != NULL && request->keys != NULL &&
           request->present != NULL;
}

static void worker_fini(struct worker *worker, size_t depth) {
    for (size_t i = 0; worker->requests != NULL && i < depth; i++) {
        request_fini(&worker->requests[i]);
    }
    free(worker->requests);
    free(worker->idle);
}

static bool worker_init(struct worker *worker, struct ist_bench_load *load) {
    const struct ist_bench_shape *shape = &load->shape;
    worker->load = load;
    worker->requests = calloc(shape->depth, sizeof *worker->requests);
    worker->idle = calloc(shape->depth, sizeof(struct ist_bench_request *));
    if (worker->requests == NULL || worker->idle == NULL) {
        return false;
    }
    for (size_t i = 0; i < shape->depth; i++) {
        if (!request_init(&worker->requests[i], worker, shape->batch)) {
            return false;
        }
        worker->idle[worker->idle_count++] = &worker->requests[i];
    }
    return true;
}

void ist_bench_load_free(struct ist_bench_load *load) {
    if (load == NULL) {
        return;
    }
    /* What is in flight after a failure ends here, and is still looked at: links before requests. */
    for (size_t i = 0; i < load->open; i++) {
        load->peer->close(load->workers[i].link);
    }
    for (size_t i = 0; load->workers != NULL && i < load->shape.clients; i++) {
        worker_fini(&load->workers[i], load->shape.depth);
    }
    free(load->workers);
    pthread_mutex_destroy(&load->mutex);
    free(load);
}

enum ist_status ist_bench_load_new(const struct ist_bench_peer *peer,
                                   const struct ist_bench_target *target,
                                   const struct ist_bench_shape *shape,
                                   const struct ist_bench_list *pin, struct ist_bench_load **load,
                                   char *error) {
    struct ist_bench_load *new = calloc(1, sizeof *new);
    enum ist_status status = IST_NO_MEMORY;
    snprintf(error, IST_BENCH_ERROR_MAX, "%s", ist_status_text(IST_NO_MEMORY));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->peer = peer;
    new->shape = *shape;
    new->pin = pin;
    pthread_mutex_init(&new->mutex, NULL);
    new->workers = calloc(shape->clients, sizeof *new->workers);
    if (new->workers == NULL) {
        goto free_load;
    }
    for (size_t i = 0; i < shape->clients; i++) {
        if (!worker_init(&new->workers[i], new)) {
            goto free_load;
        }
        status = peer->open(target, &new->workers[i].link, error, IST_BENCH_ERROR_MAX);
        if (status != IST_OK) {
            goto free_load;
        }
        new->open++;
    }
    *load = new;
    return IST_OK;

free_load:
    ist_bench_load_free(new);
    return status;
}

const struct ist_bench_peer *ist_bench_load_peer(const struct ist_bench_load *load) {
    return load->peer;
}

/* ---- failures ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void
fail(struct ist_bench_load *load, enum ist_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&load->mutex);
    if (!atomic_load(&load->failed)) {
        load->status = status;
        vsnprintf(load->error, sizeof load->error, format, arguments);
        atomic_store(&load->failed, true);
    }
    pthread_mutex_unlock(&load->mutex);
    va_end(arguments);
}

static void fail_on_key(struct ist_bench_load *load, enum ist_bench_op op, struct ist_key key,
                        enum ist_status status) {
    const char *hint = status == IST_NOT_FOUND && op == IST_BENCH_GET
                           ? ": evicted (try a smaller --working-set), or removed by someone else"
                           : "";
    fail(load, status, "%s: %s of %.*s: %s (%s)%s", load->peer->name, ist_bench_op_name(op),
         (int)key.bytes, (const char *)key.data, ist_status_text(status), ist_status_name(status),
         hint);
}

/* ---- requests ----------------------------------------------------------------------------------- */

/* The answers that are not a status. */
static void check_answer(struct ist_bench_load *load, const struct ist_bench_request *request) {
    const char *name = load->peer->name;
    if (request->op == IST_BENCH_MATCH && request->matched != request->count) {
        fail(load, IST_NOT_FOUND, "%s: match of %zu keys that were put found %zu", name, request->count,
             request->matched);
    }
    for (size_t i = 0; request->op == IST_BENCH_EXISTS && i < request->count; i++) {
        if (!request->present[i]) {
            fail_on_key(load, IST_BENCH_EXISTS, request->keys[i], IST_NOT_FOUND);
        }
    }
    for (size_t i = 0; request->op == IST_BENCH_GET && i < request->count; i++) {
        const struct ist_get_item *item = &request->gets[i];
        if (item->value_bytes != load->slice.set->value_bytes) {
            fail(load, IST_PROTOCOL, "%s: get of %.*s: %llu bytes came, not %llu", name,
                 (int)item->key.bytes, (const char *)item->key.data,
                 (unsigned long long)item->value_bytes,
                 (unsigned long long)load->slice.set->value_bytes);
        }
    }
}

/* The key that the request's status is about; the first where it is about all. */
static struct ist_key key_to_blame(const struct ist_bench_request *request) {
    for (size_t i = 0; i < request->count; i++) {
        if (request->op == IST_BENCH_PUT && request->puts[i].status != IST_OK) {
            return request->puts[i].key;
        }
        if (request->op == IST_BENCH_GET && request->gets[i].status != IST_OK) {
            return request->gets[i].key;
        }
    }
    switch (request->op) {
    case IST_BENCH_PUT: return request->puts[0].key;
    case IST_BENCH_GET: return request->gets[0].key;
    case IST_BENCH_EXISTS:
    case IST_BENCH_MATCH:
    case IST_BENCH_REMOVE: break;
    }
    return request->keys[0];
}

static void on_done(struct ist_bench_request *request, enum ist_status status);

static void request_fill(struct ist_bench_request *request, const struct ist_bench_slice *slice,
                         size_t first, size_t count) {
    const struct ist_bench_set *set = slice->set;
    request->op = slice->op;
    request->count = count;
    request->done = on_done;
    for (size_t i = 0; i < count; i++) {
        struct ist_key key = ist_bench_set_key(set, first + i);
        switch (slice->op) {
        case IST_BENCH_PUT:
            request->puts[i] = (struct ist_put_item){.key = key,
                                                     .value = ist_bench_set_source(set, first + i),
                                                     .value_bytes = set->value_bytes};
            break;
        case IST_BENCH_GET:
            request->gets[i] = (struct ist_get_item){.key = key,
                                                     .buffer = ist_bench_set_sink(set, first + i),
                                                     .buffer_bytes = set->value_bytes};
            break;
        case IST_BENCH_EXISTS:
        case IST_BENCH_MATCH:
        case IST_BENCH_REMOVE:
            request->keys[i] = key;
            request->present[i] = false;
            break;
        }
    }
}

/* Takes the next keys for an idle request. NULL: there are no more, or it is time to stop. */
static struct ist_bench_request *next_request(struct worker *worker, uint64_t now_ns) {
    struct ist_bench_load *load = worker->load;
    const struct ist_bench_slice *slice = &load->slice;
    bool late = load->stop_ns != 0 && now_ns >= load->stop_ns && worker->done > 0;
    if (late || atomic_load(&load->failed)) {
        return NULL;
    }
    size_t batch = load->shape.batch;
    size_t first = atomic_fetch_add(&load->next, batch);
    if (first >= slice->end) {
        return NULL;
    }
    size_t count = slice->end - first < batch ? slice->end - first : batch;
    struct ist_bench_request *request = worker->idle[--worker->idle_count];
    request_fill(request, slice, first, count);
    request->begun_ns = now_ns;
    return request;
}

/* Returns the time: where the next request follows at once, it begins then. To read the clock is not free everywhere. */
static uint64_t request_finish(struct ist_bench_request *request, enum ist_status status) {
    struct worker *worker = request->owner;
    uint64_t now_ns = ist_bench_now_ns();
    ist_histogram_record(&worker->latency, now_ns - request->begun_ns);
    worker->done++;
    worker->idle[worker->idle_count++] = request;
    if (status == IST_OK) {
        check_answer(worker->load, request);
    } else {
        fail_on_key(worker->load, request->op, key_to_blame(request), status);
    }
    return now_ns;
}

static void run_one_by_one(struct worker *worker) {
    const struct ist_bench_peer *peer = worker->load->peer;
    uint64_t now_ns = ist_bench_now_ns();
    for (;;) {
        struct ist_bench_request *request = next_request(worker, now_ns);
        if (request == NULL) {
            return;
        }
        now_ns = request_finish(request, peer->call(worker->link, request));
    }
}

/* False: there is nothing to submit, or the link takes no more. */
static bool submit_next(struct worker *worker, uint64_t now_ns) {
    struct ist_bench_request *request = next_request(worker, now_ns);
    if (request == NULL) {
        return false;
    }
    enum ist_status status = worker->load->peer->submit(worker->link, request);
    if (status != IST_OK) {
        (void)request_finish(request, status);
    }
    return status == IST_OK;
}

/* The next request follows from within: a peer sends together what several answers at once have freed. */
static void on_done(struct ist_bench_request *request, enum ist_status status) {
    uint64_t now_ns = request_finish(request, status);
    (void)submit_next(request->owner, now_ns);
}

static void run_in_depth(struct worker *worker) {
    struct ist_bench_load *load = worker->load;
    while (worker->idle_count > 0 && submit_next(worker, ist_bench_now_ns())) {
    }
    while (worker->idle_count < load->shape.depth) {
        enum ist_status status = load->peer->wait(worker->link);
        if (status != IST_OK) {
            fail(load, status, "%s: %s", load->peer->name, ist_status_text(status));
            return;
        }
    }
}

static void worker_run(void *context, size_t member) {
    struct ist_bench_load *load = context;
    struct worker *worker = &load->workers[member];
    if (load->shape.depth == 1) {
        run_one_by_one(worker);
    } else {
        run_in_depth(worker);
    }
}

static enum ist_status report(const struct ist_bench_load *load, char *error) {
    if (!atomic_load(&load->failed)) {
        return IST_OK;
    }
    memcpy(error, load->error, sizeof load->error);
    return load->status;
}

enum ist_status ist_bench_load_run(struct ist_bench_load *load, struct ist_bench_slice *slice,
                                   char *error) {
    size_t batch = load->shape.batch;
    if (slice->op == IST_BENCH_MATCH) {
        slice->end -= (slice->end - slice->first) % batch;
    }
    load->slice = *slice;
    load->stop_ns = slice->time_ns == 0 ? 0 : ist_bench_now_ns() + slice->time_ns;
    atomic_store(&load->next, slice->first);
    for (size_t i = 0; i < load->shape.clients; i++) {
        ist_histogram_init(&load->workers[i].latency);
        load->workers[i].done = 0;
    }
    enum ist_status status =
        ist_bench_crew_run(load->shape.clients, load->pin, worker_run, load, &slice->elapsed_ns);
    if (status != IST_OK) {
        fail(load, status, "no thread for each of %zu clients", load->shape.clients);
    }
    slice->requests = 0;
    for (size_t i = 0; i < load->shape.clients; i++) {
        slice->requests += load->workers[i].done;
        if (slice->latency != NULL) {
            ist_histogram_merge(slice->latency, &load->workers[i].latency);
        }
    }
    size_t reached = atomic_load(&load->next);
    slice->reached = reached < slice->end ? reached : slice->end;
    bool moves = slice->op == IST_BENCH_PUT || slice->op == IST_BENCH_GET;
    slice->bytes = moves ? (slice->reached - slice->first) * slice->set->value_bytes : 0;
    return report(load, error);
}

/* ---- verification ------------------------------------------------------------------------------- */

static void worker_verify(void *context, size_t member) {
    struct ist_bench_load *load = context;
    struct worker *worker = &load->workers[member];
    const struct ist_bench_slice *slice = &load->slice;
    const struct ist_bench_set *set = slice->set;
    size_t each = (slice->end - slice->first + load->shape.clients - 1) / load->shape.clients;
    size_t first = slice->first + member * each;
    size_t end = first + each < slice->end ? first + each : slice->end;
    for (size_t i = first; i < end && !atomic_load(&load->failed); i++) {
        if (i % load->step != 0) {
            continue;
        }
        uint64_t right = ist_bench_set_verify(set, i);
        struct ist_key key = ist_bench_set_key(set, i);
        if (right == set->value_bytes) {
            worker->verified++;
        } else {
            fail(load, IST_PROTOCOL, "%s: get of %.*s: byte %llu of %llu is wrong", load->peer->name,
                 (int)key.bytes, (const char *)key.data, (unsigned long long)right,
                 (unsigned long long)set->value_bytes);
        }
    }
}

enum ist_status ist_bench_load_verify(struct ist_bench_load *load, const struct ist_bench_set *set,
                                      size_t first, size_t end, size_t step, uint64_t *verified,
                                      char *error) {
    IST_ASSERT(step >= 1);
    load->slice = (struct ist_bench_slice){.set = set, .first = first, .end = end};
    load->step = step;
    for (size_t i = 0; i < load->shape.clients; i++) {
        load->workers[i].verified = 0;
    }
    if (ist_bench_crew_run(load->shape.clients, load->pin, worker_verify, load, NULL) != IST_OK) {
        fail(load, IST_NO_MEMORY, "no thread for each of %zu clients", load->shape.clients);
    }
    for (size_t i = 0; i < load->shape.clients; i++) {
        *verified += load->workers[i].verified;
    }
    return report(load, error);
}

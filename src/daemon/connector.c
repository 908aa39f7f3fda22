#include "daemon/connector.h"

#include <pthread.h>
#include <string.h>

#include "daemon/thread.h"

struct list {
    struct ist_connector_job *first, *last;
};

struct ist_connector {
    const struct ist_alloc *alloc;
    struct ev_loop *loop;
    void (*done)(void *context, struct ist_connector_job *job);
    void *context;
    ev_async finished_some;
    pthread_t threads[IST_CONNECTOR_THREADS];
    unsigned threads_count;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct list waiting, finished;
    unsigned waiting_count;
    unsigned workers;                                               /* threads that have their place */
    const struct ist_connector_job *running[IST_CONNECTOR_THREADS]; /* NULL: this thread has none */
    bool closed;
};

static void append(struct list *list, struct ist_connector_job *job) {
    job->next = NULL;
    *(list->last == NULL ? &list->first : &list->last->next) = job;
    list->last = job;
}

/* NULL: it is empty. */
static struct ist_connector_job *take_first(struct list *list) {
    struct ist_connector_job *job = list->first;
    if (job != NULL) {
        list->first = job->next;
        list->last = list->first == NULL ? NULL : list->last;
    }
    return job;
}

static bool is_same_port(const struct ist_queue_pair_end *a, const struct ist_queue_pair_end *b) {
    return a->lid == b->lid && memcmp(a->gid, b->gid, sizeof(a->gid)) == 0;
}

static bool is_being_reached(const struct ist_connector *connector,
                             const struct ist_queue_pair_end *peer) {
    for (unsigned i = 0; i < IST_CONNECTOR_THREADS; i++) {
        if (connector->running[i] != NULL && is_same_port(&connector->running[i]->peer, peer)) {
            return true;
        }
    }
    return false;
}

/* The first whose port no thread is trying to reach. NULL: there is none. */
static struct ist_connector_job *take_next(struct ist_connector *connector) {
    struct list *waiting = &connector->waiting;
    struct ist_connector_job *before = NULL, *job = waiting->first;
    while (job != NULL && is_being_reached(connector, &job->peer)) {
        before = job;
        job = job->next;
    }
    if (job != NULL) {
        *(before == NULL ? &waiting->first : &before->next) = job->next;
        waiting->last = waiting->last == job ? before : waiting->last;
        connector->waiting_count--;
    }
    return job;
}

/* Nobody answers there: those that wait for the same port hear it at once. */
static void finish_alike(struct ist_connector *connector, const struct ist_queue_pair_end *peer) {
    struct list waiting = connector->waiting;
    struct ist_connector_job *job;
    connector->waiting = (struct list){0};
    while ((job = take_first(&waiting)) != NULL) {
        if (is_same_port(&job->peer, peer)) {
            job->status = IST_PEER;
            connector->waiting_count--;
            append(&connector->finished, job);
        } else {
            append(&connector->waiting, job);
        }
    }
}

/* By the lock's owner, who gets it back. */
static void run(struct ist_connector *connector, const struct ist_connector_job **running,
                struct ist_connector_job *job) {
    *running = job;
    pthread_mutex_unlock(&connector->lock);
    job->status = ist_queue_pair_reach(job->queue_pair, &job->peer);
    pthread_mutex_lock(&connector->lock);
    *running = NULL;
    append(&connector->finished, job);
    if (job->status == IST_PEER) {
        finish_alike(connector, &job->peer);
    }
    ev_async_send(connector->loop, &connector->finished_some);
}

static void *work(void *context) {
    struct ist_connector *connector = context;
    pthread_mutex_lock(&connector->lock);
    const struct ist_connector_job **running = &connector->running[connector->workers++];
    while (!connector->closed) {
        struct ist_connector_job *job = take_next(connector);
        if (job == NULL) {
            pthread_cond_wait(&connector->changed, &connector->lock);
        } else {
            run(connector, running, job);
        }
    }
    pthread_mutex_unlock(&connector->lock);
    return NULL;
}

/* done() may add and cancel. */
static void on_finished(struct ev_loop *loop, ev_async *async, int revents) {
    (void)loop;
    (void)revents;
    struct ist_connector *connector = async->data;
    pthread_mutex_lock(&connector->lock);
    struct list finished = connector->finished;
    connector->finished = (struct list){0};
    pthread_mutex_unlock(&connector->lock);
    struct ist_connector_job *job;
    while ((job = take_first(&finished)) != NULL) {
        connector->done(connector->context, job);
    }
}

enum ist_status ist_connector_new(struct ev_loop *loop,
                                  void (*done)(void *context, struct ist_connector_job *job),
                                  void *context, const struct ist_alloc *alloc,
                                  struct ist_connector **connector) {
    struct ist_connector *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->loop = loop;
    new->done = done;
    new->context = context;
    pthread_mutex_init(&new->lock, NULL);
    pthread_cond_init(&new->changed, NULL);
    ev_async_init(&new->finished_some, on_finished);
    new->finished_some.data = new;
    ev_async_start(loop, &new->finished_some);
    while (new->threads_count < IST_CONNECTOR_THREADS) {
        if (ist_thread_start(&new->threads[new->threads_count], work, new) != 0) {
            ist_connector_free(new);
            return IST_NO_MEMORY;
        }
        new->threads_count++;
    }
    *connector = new;
    return IST_OK;
}

void ist_connector_free(struct ist_connector *connector) {
    if (connector == NULL) {
        return;
    }
    pthread_mutex_lock(&connector->lock);
    connector->closed = true;
    pthread_cond_broadcast(&connector->changed);
    pthread_mutex_unlock(&connector->lock);
    for (unsigned i = 0; i < connector->threads_count; i++) {
        pthread_join(connector->threads[i], NULL);
    }
    ev_async_stop(connector->loop, &connector->finished_some);
    pthread_cond_destroy(&connector->changed);
    pthread_mutex_destroy(&connector->lock);
    ist_release(connector->alloc, connector);
}

enum ist_status ist_connector_add(struct ist_connector *connector, struct ist_connector_job *job) {
    enum ist_status status = IST_NO_SPACE;
    pthread_mutex_lock(&connector->lock);
    if (connector->waiting_count < IST_CONNECTOR_WAITING_MAX) {
        append(&connector->waiting, job);
        connector->waiting_count++;
        pthread_cond_signal(&connector->changed);
        status = IST_OK;
    }
    pthread_mutex_unlock(&connector->lock);
    return status;
}

bool ist_connector_cancel(struct ist_connector *connector, struct ist_connector_job *job) {
    struct list kept = {0};
    struct ist_connector_job *each;
    bool found = false;
    pthread_mutex_lock(&connector->lock);
    while ((each = take_first(&connector->waiting)) != NULL) {
        if (each == job) {
            found = true;
            connector->waiting_count--;
        } else {
            append(&kept, each);
        }
    }
    connector->waiting = kept;
    pthread_mutex_unlock(&connector->lock);
    return found;
}

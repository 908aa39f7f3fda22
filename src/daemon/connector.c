#include "daemon/connector.h"

#include <pthread.h>
#include <string.h>

#include "daemon/thread.h"

struct list {
    struct ist_connector_job *first, *last;
};

struct port {
    uint8_t gid[IST_GID_LENGTH];
    uint16_t lid;
};

struct ist_connector {
    const struct ist_alloc *alloc;
    struct ev_loop *loop;
    void (*done)(void *context, struct ist_connector_job *job);
    void *context;
    ev_async finished_some;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    pthread_t threads[IST_CONNECTOR_THREADS];
    unsigned threads_count, idle; /* idle: they wait for a job */
    struct list waiting, finished;
    unsigned waiting_count;
    unsigned workers;                                               /* threads that have their place */
    const struct ist_connector_job *running[IST_CONNECTOR_THREADS]; /* NULL: this thread has none */
    unsigned strangers;                                             /* of them, to ports that are not */
    struct port known[IST_CONNECTOR_KNOWN_MAX];                     /* a ring */
    unsigned known_count, known_next;
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

static struct port *find_known(struct ist_connector *connector, const struct ist_queue_pair_end *peer) {
    for (unsigned i = 0; i < connector->known_count; i++) {
        struct port *port = &connector->known[i];
        if (port->lid == peer->lid && memcmp(port->gid, peer->gid, sizeof(port->gid)) == 0) {
            return port;
        }
    }
    return NULL;
}

static void remember(struct ist_connector *connector, const struct ist_queue_pair_end *peer) {
    if (find_known(connector, peer) != NULL) {
        return;
    }
    struct port *port = &connector->known[connector->known_next];
    connector->known_next = (connector->known_next + 1) % IST_CONNECTOR_KNOWN_MAX;
    connector->known_count += connector->known_count < IST_CONNECTOR_KNOWN_MAX;
    memcpy(port->gid, peer->gid, sizeof(port->gid));
    port->lid = peer->lid;
}

/* Its place becomes that of nobody, whom no peer can be. */
static void forget(struct ist_connector *connector, const struct ist_queue_pair_end *peer) {
    struct port *port = find_known(connector, peer);
    if (port != NULL) {
        *port = (struct port){0};
    }
}

/* The first whose port no thread is trying to reach, and for which there is a thread; *before: the one before it in the list,
 * NULL for none. NULL: there is none. */
static struct ist_connector_job *find_next(struct ist_connector *connector,
                                           struct ist_connector_job **before) {
    bool may_be_stranger = connector->strangers < IST_CONNECTOR_THREADS - 1;
    struct ist_connector_job *job = connector->waiting.first;
    *before = NULL;
    while (job != NULL && (is_being_reached(connector, &job->peer) ||
                           (!may_be_stranger && find_known(connector, &job->peer) == NULL))) {
        *before = job;
        job = job->next;
    }
    return job;
}

static struct ist_connector_job *take_next(struct ist_connector *connector) {
    struct list *waiting = &connector->waiting;
    struct ist_connector_job *before, *job = find_next(connector, &before);
    if (job != NULL) {
        *(before == NULL ? &waiting->first : &before->next) = job->next;
        waiting->last = waiting->last == job ? before : waiting->last;
        connector->waiting_count--;
    }
    return job;
}

static void *work(void *context);

/* Where there is a job that could be done now: a thread for it. Without one it waits for those that there are. */
static void call_thread(struct ist_connector *connector) {
    struct ist_connector_job *before;
    if (find_next(connector, &before) == NULL) {
        return;
    }
    if (connector->idle > 0) {
        pthread_cond_signal(&connector->changed);
    } else if (!connector->closed && connector->threads_count < IST_CONNECTOR_THREADS &&
               ist_thread_start(&connector->threads[connector->threads_count], work, connector) == 0) {
        connector->threads_count++;
    }
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
    bool is_stranger = find_known(connector, &job->peer) == NULL;
    *running = job;
    connector->strangers += is_stranger;
    call_thread(connector);
    pthread_mutex_unlock(&connector->lock);
    job->status = ist_queue_pair_reach(job->queue_pair, &job->peer);
    pthread_mutex_lock(&connector->lock);
    *running = NULL;
    connector->strangers -= is_stranger;
    append(&connector->finished, job);
    if (job->status == IST_OK) {
        remember(connector, &job->peer);
    } else if (job->status == IST_PEER) {
        forget(connector, &job->peer);
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
            connector->idle++;
            pthread_cond_wait(&connector->changed, &connector->lock);
            connector->idle--;
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
    /* One at least, so that there is always somebody who will do what was added. */
    pthread_mutex_lock(&new->lock);
    bool has_thread = ist_thread_start(&new->threads[0], work, new) == 0;
    new->threads_count = has_thread;
    pthread_mutex_unlock(&new->lock);
    if (!has_thread) {
        ist_connector_free(new);
        return IST_NO_MEMORY;
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
    unsigned count = connector->threads_count; /* there will be no more */
    pthread_mutex_unlock(&connector->lock);
    for (unsigned i = 0; i < count; i++) {
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
        call_thread(connector);
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

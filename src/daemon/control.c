#include "daemon/control.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "daemon/clock.h"
#include "infinistore/limits.h"

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_RUNNING, SLOT_DONE, SLOT_ABANDONED };

struct slot {
    enum slot_state state;
    uint64_t number; /* of the calls: the lowest waits longest */
    struct ist_control_request request;
    struct ist_control_answer answer;
};

struct ist_control {
    const struct ist_alloc *alloc;
    int event_fd;
    pthread_mutex_t lock; /* guards what follows, but the answer of a RUNNING or ABANDONED slot */
    pthread_cond_t changed;
    struct slot slots[IST_CONTROL_QUEUE_MAX];
    uint64_t calls;
    bool closed;
};

enum ist_status ist_control_new(const struct ist_alloc *alloc, struct ist_control **control) {
    struct ist_control *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (new->event_fd < 0) {
        ist_release(alloc, new);
        return IST_NO_MEMORY;
    }
    pthread_mutex_init(&new->lock, NULL);
    pthread_cond_init(&new->changed, NULL);
    *control = new;
    return IST_OK;
}

void ist_control_free(struct ist_control *control) {
    if (control == NULL) {
        return;
    }
    pthread_cond_destroy(&control->changed);
    pthread_mutex_destroy(&control->lock);
    close(control->event_fd);
    ist_release(control->alloc, control);
}

int ist_control_fd(const struct ist_control *control) {
    return control->event_fd;
}

/* ---- the askers ------------------------------------------------------------------------------------- */

static struct slot *find_free(struct ist_control *control) {
    for (size_t i = 0; i < IST_CONTROL_QUEUE_MAX; i++) {
        if (control->slots[i].state == SLOT_FREE) {
            return &control->slots[i];
        }
    }
    return NULL;
}

/* Lock held, and again at the end. */
static enum ist_status wait_for_answer(struct ist_control *control, struct slot *slot,
                                       uint64_t deadline_ns) {
    const struct timespec until = {.tv_sec = (time_t)(deadline_ns / IST_NS_PER_SEC),
                                   .tv_nsec = (long)(deadline_ns % IST_NS_PER_SEC)};
    while (slot->state != SLOT_DONE && !control->closed) {
        if (pthread_cond_clockwait(&control->changed, &control->lock, CLOCK_MONOTONIC, &until) ==
                ETIMEDOUT &&
            slot->state != SLOT_DONE) {
            return IST_TIMEOUT;
        }
    }
    return slot->state == SLOT_DONE ? IST_OK : IST_PEER;
}

enum ist_status ist_control_call(struct ist_control *control, const struct ist_control_request *request,
                                 uint64_t timeout_ns, struct ist_control_answer *answer) {
    uint64_t deadline_ns;
    if (__builtin_add_overflow(ist_clock_ns(), timeout_ns, &deadline_ns) || deadline_ns > INT64_MAX) {
        deadline_ns = INT64_MAX;
    }
    pthread_mutex_lock(&control->lock);
    struct slot *slot = find_free(control);
    enum ist_status status = slot == NULL ? IST_NO_SPACE : IST_OK;
    if (status == IST_OK) {
        slot->state = SLOT_WAITING;
        slot->number = control->calls++;
        slot->request = *request;
        /* Cannot block or overflow: the counter is read as a whole. */
        (void)!write(control->event_fd, &(uint64_t){1}, sizeof(uint64_t));
        status = wait_for_answer(control, slot, deadline_ns);
        if (status == IST_OK) {
            *answer = slot->answer;
        }
        slot->state = slot->state == SLOT_RUNNING ? SLOT_ABANDONED : SLOT_FREE;
    }
    pthread_mutex_unlock(&control->lock);
    return status;
}

void ist_control_close(struct ist_control *control) {
    pthread_mutex_lock(&control->lock);
    control->closed = true;
    pthread_cond_broadcast(&control->changed);
    pthread_mutex_unlock(&control->lock);
}

/* ---- the loop --------------------------------------------------------------------------------------- */

static uint64_t bytes_above(const struct ist_store *store, double share) {
    struct ist_store_usage usage;
    ist_store_usage(store, &usage);
    uint64_t used = usage.pool_bytes - usage.free_bytes;
    uint64_t keep = (uint64_t)((double)usage.pool_bytes * share);
    return used > keep ? used - keep : 0;
}

static uint64_t count_keys(const struct ist_store *store) {
    struct ist_store_usage usage;
    ist_store_usage(store, &usage);
    return usage.keys;
}

static void execute(const struct ist_control_request *request, struct ist_store *store,
                    struct ist_engine *engine, struct ist_control_answer *answer) {
    switch (request->command) {
    case IST_COMMAND_PURGE: answer->count = ist_store_purge(store); break;
    case IST_COMMAND_EVICT: answer->count = ist_store_evict(store, request->bytes); break;
    case IST_COMMAND_EVICT_TO:
        answer->count = ist_store_evict(store, bytes_above(store, request->share));
        break;
    case IST_COMMAND_KEYS: answer->count = count_keys(store); break;
    case IST_COMMAND_DRAINING: answer->count = ist_engine_is_draining(engine); break;
    case IST_COMMAND_STATS: ist_engine_stats(engine, &answer->stats); break;
    }
}

/* The one that waits longest, of those that were there when run() began. */
static struct slot *find_waiting(struct ist_control *control, uint64_t calls) {
    struct slot *oldest = NULL;
    for (size_t i = 0; i < IST_CONTROL_QUEUE_MAX; i++) {
        struct slot *slot = &control->slots[i];
        if (slot->state == SLOT_WAITING && slot->number < calls &&
            (oldest == NULL || slot->number < oldest->number)) {
            oldest = slot;
        }
    }
    return oldest;
}

void ist_control_run(struct ist_control *control, struct ist_store *store, struct ist_engine *engine) {
    uint64_t count;
    (void)!read(control->event_fd, &count, sizeof(count)); /* EAGAIN: nothing new */
    pthread_mutex_lock(&control->lock);
    const uint64_t calls = control->calls;
    struct slot *slot;
    while ((slot = find_waiting(control, calls)) != NULL) {
        slot->state = SLOT_RUNNING;
        pthread_mutex_unlock(&control->lock);
        execute(&slot->request, store, engine, &slot->answer);
        pthread_mutex_lock(&control->lock);
        IST_ASSERT(slot->state == SLOT_RUNNING || slot->state == SLOT_ABANDONED);
        slot->state = slot->state == SLOT_RUNNING ? SLOT_DONE : SLOT_FREE;
        pthread_cond_broadcast(&control->changed);
    }
    pthread_mutex_unlock(&control->lock);
}

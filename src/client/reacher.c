#include "client/reacher.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ist_reacher {
    const struct ist_alloc *alloc;
    const struct ist_queue_pair *queue_pair;
    struct ist_queue_pair_end peer;
    pthread_t thread;
    int fd;
    atomic_int status; /* AGAIN until it is done */
};

static void *reach(void *arg) {
    struct ist_reacher *reacher = arg;
    atomic_store(&reacher->status, (int)ist_queue_pair_reach(reacher->queue_pair, &reacher->peer));
    ssize_t written = write(reacher->fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* cannot fail: the counter is 0 */
    return NULL;
}

/* No handler of the program's signals runs in it. */
static bool start_thread(struct ist_reacher *reacher) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&reacher->thread, NULL, reach, reacher) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

enum ist_status ist_reacher_start(const struct ist_queue_pair *queue_pair,
                                  const struct ist_queue_pair_end *peer, const struct ist_alloc *alloc,
                                  struct ist_reacher **reacher) {
    struct ist_reacher *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->queue_pair = queue_pair;
    new->peer = *peer;
    atomic_init(&new->status, IST_AGAIN);
    new->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (new->fd < 0) {
        goto free_reacher;
    }
    if (!start_thread(new)) {
        goto close_fd;
    }
    *reacher = new;
    return IST_OK;

close_fd:
    close(new->fd);
free_reacher:
    ist_release(alloc, new);
    return IST_NO_MEMORY;
}

int ist_reacher_fd(const struct ist_reacher *reacher) {
    return reacher->fd;
}

enum ist_status ist_reacher_result(struct ist_reacher *reacher) {
    return (enum ist_status)atomic_load(&reacher->status);
}

void ist_reacher_free(struct ist_reacher *reacher) {
    if (reacher != NULL) {
        (void)pthread_join(reacher->thread, NULL);
        /* Who watches it hears no more of it, not even where the child of a fork() has it open, too. */
        uint64_t count;
        ssize_t got = read(reacher->fd, &count, sizeof(count));
        (void)got;
        close(reacher->fd);
        ist_release(reacher->alloc, reacher);
    }
}

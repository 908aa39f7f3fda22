/* A thread that takes no signals: those are for the loop's. */
#ifndef IST_DAEMON_THREAD_H
#define IST_DAEMON_THREAD_H

#include <pthread.h>
#include <signal.h>

/* Returns 0, or an error of the system: there is no thread. */
static inline int ist_thread_start(pthread_t *thread, void *(*run)(void *context), void *context) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

#endif

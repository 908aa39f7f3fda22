#include "client/baton.h"

#include <sched.h>

#include "client/clock.h"

bool ist_baton_init(struct ist_baton *baton) {
    atomic_init(&baton->wanting, 0);
    return pthread_mutex_init(&baton->mutex, NULL) == 0;
}

void ist_baton_fini(struct ist_baton *baton) {
    pthread_mutex_destroy(&baton->mutex);
}

void ist_baton_take(struct ist_baton *baton) {
    atomic_fetch_add(&baton->wanting, 1);
    pthread_mutex_lock(&baton->mutex);
    atomic_fetch_sub(&baton->wanting, 1);
}

bool ist_baton_try(struct ist_baton *baton) {
    return pthread_mutex_trylock(&baton->mutex) == 0;
}

void ist_baton_give(struct ist_baton *baton) {
    pthread_mutex_unlock(&baton->mutex);
}

bool ist_baton_is_wanted(const struct ist_baton *baton) {
    return atomic_load(&baton->wanting) > 0;
}

uint64_t ist_baton_give_way(struct ist_baton *baton, uint64_t until_ns) {
    uint64_t now_ns;
    ist_baton_give(baton);
    do {
        sched_yield();
        now_ns = ist_client_now_ns();
    } while (ist_baton_is_wanted(baton) && now_ns < until_ns);
    ist_baton_take(baton);
    return now_ns;
}

void ist_sleeper_wait(struct ist_sleeper *sleeper, struct ist_baton *baton) {
    sleeper->sleeps = true;
    pthread_cond_wait(&sleeper->turn, &baton->mutex);
    if (sleeper->sleeps) {
        sleeper->sleeps = false; /* woken by nobody */
    } else {
        atomic_fetch_sub(&baton->wanting, 1);
    }
}

void ist_sleeper_call(struct ist_sleeper *sleeper, struct ist_baton *baton) {
    if (sleeper->sleeps) {
        sleeper->sleeps = false;
        atomic_fetch_add(&baton->wanting, 1);
        pthread_cond_signal(&sleeper->turn);
    }
}

/* A mutex that knows how many want it, so that a thread which holds it most of the time can give way: who only unlocks and
 * locks is always faster than a thread that must be woken for it. */
#ifndef IST_CLIENT_BATON_H
#define IST_CLIENT_BATON_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ist_baton {
    pthread_mutex_t mutex;
    atomic_uint wanting; /* threads that wait for it, or are on their way to it */
};

/* A thread that sleeps until it is called. All of it is guarded by the baton. */
struct ist_sleeper {
    pthread_cond_t turn;
    bool sleeps; /* and was not called yet */
};
#define IST_SLEEPER_INITIALIZER                                                                        \
    { .turn = PTHREAD_COND_INITIALIZER }

/* False: the system has no room for another. */
bool ist_baton_init(struct ist_baton *baton);
void ist_baton_fini(struct ist_baton *baton);
void ist_baton_take(struct ist_baton *baton);
/* False: somebody has it. */
bool ist_baton_try(struct ist_baton *baton);
void ist_baton_give(struct ist_baton *baton);
bool ist_baton_is_wanted(const struct ist_baton *baton);
/* Who has it: others get the CPU, where it is shared; and the baton, as long as they want it and it is not until_ns. Returns
 * the time. */
uint64_t ist_baton_give_way(struct ist_baton *baton, uint64_t until_ns);

/* Who has the baton: gives it, and has it again when it was called, or was woken by nobody. */
void ist_sleeper_wait(struct ist_sleeper *sleeper, struct ist_baton *baton);
/* Who has the baton. If that one sleeps it wants the baton from now on. */
void ist_sleeper_call(struct ist_sleeper *sleeper, struct ist_baton *baton);

#endif

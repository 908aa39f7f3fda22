/* How other threads ask the loop's thread for something that only it may do. A bounded queue of commands; the
 * loop is woken through fd. Neither side ever hangs: an asker gives up at its deadline, or when close() is
 * called; the loop never waits for an asker.
 *
 *   slot       leaves by
 *   FREE       a call takes it -> WAITING
 *   WAITING    run() -> RUNNING; deadline or close -> FREE
 *   RUNNING    run() ends -> DONE
 *   DONE       its caller has the answer -> FREE
 *   ABANDONED  (RUNNING, and its caller gave up) run() ends -> FREE */
#ifndef IST_DAEMON_CONTROL_H
#define IST_DAEMON_CONTROL_H

#include <stdint.h>

#include "base/alloc.h"
#include "engine/engine.h"
#include "engine/stats.h"
#include "infinistore/status.h"
#include "store/store.h"

struct ist_control;

#define IST_CONTROL_QUEUE_MAX 16 /* commands waiting or running; one more is refused */

enum ist_command {
    IST_COMMAND_PURGE, /* count: keys that went */
    IST_COMMAND_EVICT, /* count: bytes that were evicted, at least `bytes` where there were so many */
    IST_COMMAND_EVICT_TO, /* the same, until no more than `share` of the pool is used */
    IST_COMMAND_KEYS,     /* count: keys in the store */
    IST_COMMAND_DRAINING, /* count: 1 when no new sessions are let in, else 0 */
    IST_COMMAND_STATS,    /* stats */
};

struct ist_control_request {
    enum ist_command command;
    uint64_t bytes;
    double share; /* 0 to 1 */
};

struct ist_control_answer {
    uint64_t count;
    struct ist_stats stats;
};

/* Returns OK, NO_MEMORY (also for want of a descriptor). */
enum ist_status ist_control_new(const struct ist_alloc *alloc, struct ist_control **control);
/* Nobody may be in a call. NULL is legal. */
void ist_control_free(struct ist_control *control);

/* Any thread but the loop's. Waits for the answer.
 * answer  written on OK; stats only by IST_COMMAND_STATS.
 * Returns OK; NO_SPACE (the queue is full), TIMEOUT (also: it may still happen), PEER (closed). */
enum ist_status ist_control_call(struct ist_control *control, const struct ist_control_request *request,
                                 uint64_t timeout_ns, struct ist_control_answer *answer);

/* From now on nobody runs commands: those who wait, and later callers, get PEER at once. For good. */
void ist_control_close(struct ist_control *control);

/* The loop's side. fd: readable when run() has work. run: everything that waits, oldest first. */
int ist_control_fd(const struct ist_control *control);
void ist_control_run(struct ist_control *control, struct ist_store *store, struct ist_engine *engine);

#endif

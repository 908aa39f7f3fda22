/* The daemon's one loop: hands time to the engine, new memory to the store, commands of the HTTP thread to
 * their handler, and ends on a signal.
 *
 *   state     leaves by
 *   SERVING   SIGTERM, SIGINT -> DRAINING
 *   DRAINING  no connection left, or the drain timeout -> run() returns true;
 *             a second signal -> run() returns false at once */
#ifndef IST_DAEMON_LOOP_H
#define IST_DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#include "base/log.h"
#include "daemon/listener.h"
#include "daemon/memory.h"
#include "daemon/tcp.h"
#include "daemon/upkeep.h"
#include "engine/engine.h"
#include "store/store.h"

struct ist_loop;

struct ist_loop_config {
    struct ev_loop *ev; /* borrowed, as everything here */
    struct ist_engine *engine;
    struct ist_store *store;
    struct ist_memory *memory;
    struct ist_tcp *tcp;
    struct ist_listeners *listeners; /* stopped when draining begins; their owner still frees them */
    struct ist_upkeep_config upkeep;
    double evict_interval_sec;
    uint64_t drain_timeout_ns;
    int control_fd; /* readable: call control(); -1: there is none */
    void (*control)(void *context);
    void *control_context;
    const struct ist_alloc *alloc;
    const struct ist_log *log;
};

/* How often the pool's filling is looked at for growth, and how long a refused growth rests. */
#define IST_LOOP_UPKEEP_SEC 0.05
#define IST_LOOP_GROW_REST_NS (30 * 1000000000ull)

/* Of those that periodic eviction lets go, about so many in one turn. */
#define IST_LOOP_EVICT_ENTRIES 2048u
/* When memory that the store could not use is offered to it again. */
#define IST_LOOP_TAKE_AGAIN_SEC 0.5

/* Takes over SIGTERM and SIGINT. Returns OK, NO_MEMORY. */
enum ist_status ist_loop_new(const struct ist_loop_config *config, struct ist_loop **loop);
void ist_loop_free(struct ist_loop *loop); /* NULL is legal */

/* Serves until a signal ends it; true: everything that had begun was answered or timed out. */
bool ist_loop_run(struct ist_loop *loop);

#endif

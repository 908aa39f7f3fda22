/* All sessions and the store: the server without its I/O. Bytes, completions and the time go in as
 * arguments; bytes to send and deadlines come out. No callbacks, no globals, no clock. The same object
 * file runs under libev, under virtual time, and under a fuzzer. Single-threaded. */
#ifndef IST_ENGINE_ENGINE_H
#define IST_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engine/stats.h"
#include "infinistore/limits.h"
#include "infinistore/status.h"

struct ist_engine;
struct ist_session;
struct ist_store;

struct ist_engine_config {
    uint64_t incarnation; /* random, not 0 */
    uint32_t sessions_max;
    uint32_t requests_in_flight_max; /* per session; 0: IST_REQUESTS_IN_FLIGHT_MAX */
    uint64_t queued_bytes_max;       /* per session; 0: IST_QUEUED_BYTES_MAX */
    uint64_t handshake_timeout_ns;   /* 0: IST_HANDSHAKE_TIMEOUT_NS */
    uint64_t progress_timeout_ns;    /* 0: IST_PROGRESS_TIMEOUT_NS */
    const char *server_name;         /* told in HELLO, e.g. "infinistore/0.1.0"; borrowed */
    const struct ist_alloc *alloc;   /* borrowed */
    const struct ist_log *log;       /* borrowed */
};

#define IST_NEVER_NS UINT64_MAX

/* store: borrowed for the engine's life. Returns OK, INVALID, NO_MEMORY. */
enum ist_status ist_engine_new(const struct ist_engine_config *config, struct ist_store *store,
                               struct ist_engine **engine);
/* Every session must have been closed. NULL is legal. */
void ist_engine_free(struct ist_engine *engine);

/* Earliest time at which ist_engine_tick() has work; IST_NEVER_NS when none. */
uint64_t ist_engine_deadline_ns(const struct ist_engine *engine);
/* Enforces the timeouts: sessions that ran out of time want IST_WANT_CLOSE afterwards and come out of
 * ist_engine_next_changed(). O(log n) or better per expired session. */
void ist_engine_tick(struct ist_engine *engine, uint64_t now_ns);
/* Sessions whose wants may have changed by something other than a call on themselves, each once; NULL
 * when there is none left. */
struct ist_session *ist_engine_next_changed(struct ist_engine *engine);

/* From now on: ist_session_open() refuses, no new request is begun, every session closes when it has
 * answered what it had begun. Sessions come out of ist_engine_next_changed(). */
void ist_engine_drain(struct ist_engine *engine, uint64_t now_ns);

bool ist_engine_is_draining(const struct ist_engine *engine);

/* What the edge makes the pool grow to at the moment, for the figures only: whoever waits for memory sees whether more will
 * come by itself. Untold, or less than there is: the pool's size. */
void ist_engine_set_pool_target(struct ist_engine *engine, uint64_t bytes);

/* Snapshot, gauges of the store included. */
void ist_engine_stats(const struct ist_engine *engine, struct ist_stats *stats);

/* Invariants of every session, the timers, and the store. */
void ist_engine_check(const struct ist_engine *engine);

#endif

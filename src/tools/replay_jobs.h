/* Requests on their way through the clients, and the order that keeps hit ratios true.
 *
 *   free -(take a turn)-> at a prefill -(found)-> writing -(ready)-> waiting -(take)-> at a decode -> free
 *
 * Prefills take turns: one at a time takes the next request of the trace, in order, and asks how much of its
 * prefix is there. So every match happens in the trace's order, while the puts and gets of several requests
 * overlap. Before it asks, it waits until no earlier request is still writing a block that this one shares:
 * a continuation never misses what its predecessor is only about to put. Blocks are shared as leading ones
 * only (the same id means the same tokens after the same prefix), so the first block that the earlier one
 * writes tells.
 *
 * There are a few jobs more than clients, no more: prefills wait when the decodes fall behind, because what is
 * got late has not been refreshed, and may be gone.
 *
 * Every function may be called from any thread, and none but those that say so waits. */
#ifndef IST_TOOLS_REPLAY_JOBS_H
#define IST_TOOLS_REPLAY_JOBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"

struct ist_replay_job {
    uint64_t number;  /* of the request, from 1 */
    uint64_t *blocks; /* its hash ids */
    size_t block_count, room;
    size_t matched; /* leading blocks that were found */
    bool writing;
    struct ist_replay_job *next;
};

struct ist_replay_jobs {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct ist_replay_job *all;
    size_t count;
    struct ist_replay_job *free, *waiting, **waiting_end;
    size_t prefills; /* that have not left */
    uint64_t handed_out;
    bool turn_taken, ending, abandoned;
};

/* Returns OK, NO_MEMORY. */
enum ist_status ist_replay_jobs_init(struct ist_replay_jobs *jobs, size_t prefills, size_t decodes);
void ist_replay_jobs_fini(struct ist_replay_jobs *jobs);

/* ---- prefills ---- */

/* Waits for the turn and a free job; then the caller has both. NULL: the replay is ending. */
struct ist_replay_job *ist_replay_jobs_turn(struct ist_replay_jobs *jobs);
/* The request of this turn; blocks are copied. Returns OK, NO_MEMORY. */
enum ist_status ist_replay_jobs_set(struct ist_replay_jobs *jobs, struct ist_replay_job *job,
                                    const uint64_t *blocks, size_t block_count);
/* Waits until due_ns, of CLOCK_MONOTONIC,, and until no earlier request writes a block of this one. False:
 * the replay is ending. */
bool ist_replay_jobs_await(struct ist_replay_jobs *jobs, struct ist_replay_job *job, uint64_t due_ns);
/* This request writes its blocks from `matched` on; the turn ends. */
void ist_replay_jobs_found(struct ist_replay_jobs *jobs, struct ist_replay_job *job, size_t matched);
/* They are written: the job waits for a decode. */
void ist_replay_jobs_ready(struct ist_replay_jobs *jobs, struct ist_replay_job *job);
/* Instead of found: the turn ends, the job is free. */
void ist_replay_jobs_return(struct ist_replay_jobs *jobs, struct ist_replay_job *job);
/* This prefill takes no more turns. */
void ist_replay_jobs_leave(struct ist_replay_jobs *jobs);

/* ---- decodes ---- */

/* Waits for a job. NULL: none will come. */
struct ist_replay_job *ist_replay_jobs_take(struct ist_replay_jobs *jobs);
void ist_replay_jobs_done(struct ist_replay_jobs *jobs, struct ist_replay_job *job);

/* ---- the end ---- */

/* No further turns; what is on its way is finished. */
void ist_replay_jobs_end(struct ist_replay_jobs *jobs);
/* And what waits for a decode is dropped. */
void ist_replay_jobs_abandon(struct ist_replay_jobs *jobs);
/* Every prefill has left, and every job is free again. */
bool ist_replay_jobs_ended(struct ist_replay_jobs *jobs);

#endif

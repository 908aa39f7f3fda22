/* Connects a queue pair to its peer without making anybody wait: on RoCE the kernel asks the network who has the peer's
 * address, for about a second when nobody has, and a thread of its own waits for that. A descriptor tells when it is done. */
#ifndef IST_CLIENT_REACHER_H
#define IST_CLIENT_REACHER_H

#include "base/alloc.h"
#include "infinistore/status.h"
#include "verbs/queue_pair.h"

struct ist_reacher;

/* queue_pair: nobody else modifies or frees it until this is freed. reacher: written on OK; owned: ist_reacher_free().
 * Returns OK, NO_MEMORY (also for a thread or a descriptor). */
enum ist_status ist_reacher_start(const struct ist_queue_pair *queue_pair,
                                  const struct ist_queue_pair_end *peer, const struct ist_alloc *alloc,
                                  struct ist_reacher **reacher);
/* Readable when it is done. */
int ist_reacher_fd(const struct ist_reacher *reacher);
/* Returns AGAIN (not done), or what ist_queue_pair_reach() returned. */
enum ist_status ist_reacher_result(struct ist_reacher *reacher);
/* Waits until it is done. NULL is legal. */
void ist_reacher_free(struct ist_reacher *reacher);

#endif

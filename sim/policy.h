/* What part of a trace's blocks a cache of so many blocks would have had, by the policy that decides what goes.
 *
 * A hit: a block of the contiguous prefix of a request's blocks that is present when it arrives. Then all blocks that
 * are missing are put. The ratio is hits by all blocks of all requests, partial last ones included. */
#ifndef IST_SIM_POLICY_H
#define IST_SIM_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "sim/blocks.h"

/* The real policies of src/store/evict, by name. tail_first: as the store refreshes a batch, so that the head of a
 * prefix is evicted last; else head first. Returns hits, or UINT64_MAX: no such policy. */
uint64_t sim_policy_hits(const struct sim_blocks *blocks, const char *policy, bool tail_first,
                         size_t capacity);
uint64_t sim_policy_fifo(const struct sim_blocks *blocks, size_t capacity);
/* Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023: a tenth of the room is probation. */
uint64_t sim_policy_s3fifo(const struct sim_blocks *blocks, size_t capacity);
/* Belady's with bypass: what is needed last, or never, goes first, of equals the deepest. An ancestor's next use is
 * never later than its descendant's, so what is kept is closed under prefixes, and the result exact. */
uint64_t sim_policy_optimum(const struct sim_blocks *blocks, size_t capacity);
uint64_t sim_policy_unlimited(const struct sim_blocks *blocks);

/* The command: `infinistore-sim policy TRACE --capacities 1000,3000 [--policies lru] [--json]`. Returns what to exit
 * with. */
int sim_policy_command(int argc, char **argv);

#endif

/* One client of a replay: what a prefill or a decode node asks of the server for a request. */
#ifndef IST_TOOLS_REPLAY_CLIENT_H
#define IST_TOOLS_REPLAY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "infinistore/infinistore.h"
#include "tools/replay_jobs.h"
#include "tools/replay_plan.h"
#include "tools/replay_tally.h"

struct ist_replay_client;

/* Connects. plan, tally: borrowed for the client's life.
 * client  owned by the caller on OK: ist_replay_client_free().
 * Returns what ist_client_new() returns, NO_MEMORY; on any but OK one line in `error`. */
enum ist_status ist_replay_client_new(const struct ist_replay_options *options,
                                      const struct ist_replay_plan *plan,
                                      struct ist_replay_tally *tally, struct ist_replay_client **client,
                                      char *error, size_t error_bytes);
void ist_replay_client_free(struct ist_replay_client *client);

/* Each of these counts what it does in the tally, and returns false after an answer that ends the replay, which
 * then stands in the tally too.
 *
 * match: how many leading blocks are there, with all their layers. */
bool ist_replay_client_match(struct ist_replay_client *client, const struct ist_replay_job *job,
                             size_t *matched);
/* get: all layers of the first `count` blocks, and looks at their bytes. is_prefix: by a prefill, of what was
 * found; else by a decode, of all. *present = how many leading blocks came whole. */
bool ist_replay_client_get(struct ist_replay_client *client, const struct ist_replay_job *job,
                           size_t count, bool is_prefix, size_t *present);
/* put: the blocks from `first` on, layer by layer, but for those that are there. */
bool ist_replay_client_put(struct ist_replay_client *client, const struct ist_replay_job *job,
                           size_t first);

#endif

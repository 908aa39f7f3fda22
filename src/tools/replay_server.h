/* What the server tells of itself before, during and after a replay. */
#ifndef IST_TOOLS_REPLAY_SERVER_H
#define IST_TOOLS_REPLAY_SERVER_H

#include <stdint.h>

#include "infinistore/infinistore.h"

struct ist_replay_server {
    uint64_t pool_bytes, ready_bytes; /* what the pool may grow to, and has grown to */
    uint64_t target_bytes;            /* what it grows to by itself, if no more is asked of it */
    uint64_t keys, value_bytes, committed_bytes; /* stored; committed: with what rounding adds */
    uint64_t evicted_entries, evicted_bytes;     /* since its start */
};

/* Returns OK; INVALID: it does not tell its pool's size; and what ist_stat() returns. */
enum ist_status ist_replay_server_read(struct ist_client *client, uint64_t timeout_ns,
                                       struct ist_replay_server *server);

#endif

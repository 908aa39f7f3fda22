/* How large a block is, so that the trace fits the server: the model's layers and bytes, or fewer. */
#ifndef IST_TOOLS_REPLAY_PLAN_H
#define IST_TOOLS_REPLAY_PLAN_H

#include <stdint.h>

#include "tools/replay_options.h"

/* Blocks, with all their layers, that the pool is to hold where nothing else was asked for: three and a half
 * minutes of the published trace, enough that most of what can be found again is, and not all. */
#define IST_REPLAY_POOL_BLOCKS 16384u
#define IST_REPLAY_LAYERS_MIN 4u /* fewer would not be layer by layer */
/* As long as a layer's block is larger than this, there are more layers instead. The daemon's default smallest
 * block: smaller values take as much of its pool. */
#define IST_REPLAY_LAYER_BYTES (64u << 10)

struct ist_replay_plan {
    const struct ist_model *model;
    unsigned layers;
    uint64_t scale;                   /* what a block's bytes were divided by */
    uint64_t layer_bytes;             /* of one block of one layer: the size of a value */
    uint64_t block_bytes;             /* of one block of all layers */
    uint64_t pool_bytes, pool_blocks; /* of the server, and how many blocks that is */
};

/* pool_bytes: what the server's pool may grow to. */
void ist_replay_plan_make(const struct ist_replay_options *options, uint64_t pool_bytes,
                          struct ist_replay_plan *plan);

#endif

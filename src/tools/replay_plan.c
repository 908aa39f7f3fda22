#include "tools/replay_plan.h"

/* As many as fit into a block, of layer_bytes each. */
static unsigned layers_for(const struct ist_model *model, uint64_t block_bytes, uint64_t layer_bytes) {
    uint64_t layers = block_bytes / layer_bytes;
    layers = layers < IST_REPLAY_LAYERS_MIN ? IST_REPLAY_LAYERS_MIN : layers;
    return layers < model->layers ? (unsigned)layers : model->layers;
}

/* The power of two that brings the model's block near to `layer_bytes`, up to half above it: powers of two keep
 * sizes that fill pages. */
static uint64_t scale_for(const struct ist_model *model, uint64_t layer_bytes) {
    uint64_t scale = 1, bytes = ist_model_block_bytes(model);
    while (bytes / scale > layer_bytes + layer_bytes / 2 && bytes / scale > IST_BLOCK_BYTES_MULTIPLE) {
        scale *= 2;
    }
    return scale;
}

void ist_replay_plan_make(const struct ist_replay_options *options, uint64_t pool_bytes,
                          struct ist_replay_plan *plan) {
    const struct ist_model *model = options->model;
    uint64_t block_bytes = pool_bytes / IST_REPLAY_POOL_BLOCKS;
    *plan = (struct ist_replay_plan){
        .model = model,
        .layers = (unsigned)options->layers,
        .scale = options->scale,
        .pool_bytes = pool_bytes,
    };
    if (plan->layers == 0) {
        plan->layers = layers_for(model, block_bytes,
                                  plan->scale == 0 ? IST_REPLAY_LAYER_BYTES
                                                   : ist_model_scaled_block_bytes(model, plan->scale));
    }
    if (plan->scale == 0) {
        plan->scale = scale_for(model, block_bytes / plan->layers);
    }
    plan->layer_bytes = ist_model_scaled_block_bytes(model, plan->scale);
    plan->block_bytes = plan->layer_bytes * plan->layers;
    plan->pool_blocks = pool_bytes / plan->block_bytes;
}

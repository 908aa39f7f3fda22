/* Model presets: how many bytes of KV cache one block of tokens takes.
 *
 * Per token and layer:
 *   attention with grouped heads  2 * kv_heads * head_dim * element_bytes   (a key and a value per KV head)
 *   multi-head latent attention   (kv_lora_rank + qk_rope_head_dim) * element_bytes
 *                                 (one compressed vector for keys and values of all heads, and the rotary part)
 * A block is IST_BLOCK_TOKENS tokens of one layer. */
#ifndef IST_WORKLOAD_MODEL_H
#define IST_WORKLOAD_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define IST_BLOCK_TOKENS 512u        /* what a hash id of the Mooncake traces stands for */
#define IST_BLOCK_BYTES_MULTIPLE 64u /* scaled blocks stay multiples of this, and at least this */

struct ist_model {
    const char *name;
    const char *source; /* where the numbers come from */
    unsigned layers;
    unsigned kv_heads, head_dim;             /* 0 for latent attention */
    unsigned kv_lora_rank, qk_rope_head_dim; /* 0 for grouped heads */
    unsigned element_bytes;
};

/* The presets in a fixed order; NULL at and past their number. Static storage. */
const struct ist_model *ist_model_at(size_t index);
/* NULL when no preset has this name. */
const struct ist_model *ist_model_find(const char *name);

uint64_t ist_model_token_bytes(const struct ist_model *model); /* per layer */
uint64_t ist_model_block_bytes(const struct ist_model *model); /* per layer, unscaled */

/* The same divided by `scale` (at least 1), rounded down to the multiple above. */
uint64_t ist_model_scaled_block_bytes(const struct ist_model *model, uint64_t scale);

#endif

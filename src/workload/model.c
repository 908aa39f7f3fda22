#include "workload/model.h"

#include <string.h>

#include "base/assert.h"

static const struct ist_model models[] = {
    {.name = "llama-3-8b",
     .source = "The Llama 3 Herd of Models (arXiv 2407.21783), table 3; meta-llama/Meta-Llama-3-8B "
               "config.json",
     .layers = 32,
     .kv_heads = 8,
     .head_dim = 128,
     .element_bytes = 2},
    {.name = "llama-3-70b",
     .source = "The Llama 3 Herd of Models (arXiv 2407.21783), table 3; meta-llama/Meta-Llama-3-70B "
               "config.json",
     .layers = 80,
     .kv_heads = 8,
     .head_dim = 128,
     .element_bytes = 2},
    {.name = "llama-3-405b",
     .source = "The Llama 3 Herd of Models (arXiv 2407.21783), table 3",
     .layers = 126,
     .kv_heads = 8,
     .head_dim = 128,
     .element_bytes = 2},
    {.name = "deepseek-v3",
     .source = "DeepSeek-V3 Technical Report (arXiv 2412.19437), section 4.2",
     .layers = 61,
     .kv_lora_rank = 512,
     .qk_rope_head_dim = 64,
     .element_bytes = 2},
    {.name = "qwen2.5-7b",
     .source = "Qwen2.5 Technical Report (arXiv 2412.15115), table 1; Qwen/Qwen2.5-7B config.json",
     .layers = 28,
     .kv_heads = 4,
     .head_dim = 128,
     .element_bytes = 2},
    {.name = "qwen2.5-72b",
     .source = "Qwen2.5 Technical Report (arXiv 2412.15115), table 1; Qwen/Qwen2.5-72B config.json",
     .layers = 80,
     .kv_heads = 8,
     .head_dim = 128,
     .element_bytes = 2},
};
#define MODEL_COUNT (sizeof(models) / sizeof(models[0]))

const struct ist_model *ist_model_at(size_t index) {
    return index < MODEL_COUNT ? &models[index] : NULL;
}

const struct ist_model *ist_model_find(const char *name) {
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        if (strcmp(models[i].name, name) == 0) {
            return &models[i];
        }
    }
    return NULL;
}

uint64_t ist_model_token_bytes(const struct ist_model *model) {
    uint64_t elements = 2ull * model->kv_heads * model->head_dim;
    if (model->kv_lora_rank != 0) {
        elements = model->kv_lora_rank + model->qk_rope_head_dim;
    }
    return elements * model->element_bytes;
}

uint64_t ist_model_block_bytes(const struct ist_model *model) {
    return ist_model_token_bytes(model) * IST_BLOCK_TOKENS;
}

uint64_t ist_model_scaled_block_bytes(const struct ist_model *model, uint64_t scale) {
    IST_ASSERT(scale >= 1);
    uint64_t multiples = ist_model_block_bytes(model) / scale / IST_BLOCK_BYTES_MULTIPLE;
    return (multiples == 0 ? 1 : multiples) * IST_BLOCK_BYTES_MULTIPLE;
}

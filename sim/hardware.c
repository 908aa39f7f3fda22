#include "sim/hardware.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"

static const struct sim_gpu gpus[] = {
    {"h100x8", "NVIDIA H100 SXM data sheet: 989 TFLOPS dense BF16; eight of them", 8 * 989e12, 0.45},
    {"h100", "the same, one", 989e12, 0.5},
    {"a100x8", "NVIDIA A100 data sheet: 312 TFLOPS dense BF16; eight of them", 8 * 312e12, 0.5},
    {"a100", "the same, one", 312e12, 0.55},
    {"l40s", "NVIDIA L40S data sheet: 362 TFLOPS dense BF16", 362e12, 0.45},
};
#define GPU_COUNT (sizeof(gpus) / sizeof(gpus[0]))

static const struct sim_compute computes[] = {
    {"llama-3-8b", "arXiv 2407.21783, table 3", 8.0e9, 4096},
    {"llama-3-70b", "arXiv 2407.21783, table 3", 70.6e9, 8192},
    {"llama-3-405b", "arXiv 2407.21783, table 3", 405e9, 16384},
    {"deepseek-v3", "arXiv 2412.19437, section 4.2: 37 B active", 37e9, 7168},
    {"qwen2.5-7b", "arXiv 2412.15115, table 1", 7.6e9, 3584},
    {"qwen2.5-72b", "arXiv 2412.15115, table 1", 72.7e9, 8192},
};

const struct sim_gpu *sim_gpu_at(size_t index) {
    return index < GPU_COUNT ? &gpus[index] : NULL;
}

const struct sim_gpu *sim_gpu_find(const char *name) {
    for (size_t i = 0; i < GPU_COUNT; i++) {
        if (strcmp(gpus[i].name, name) == 0) {
            return &gpus[i];
        }
    }
    return NULL;
}

const struct sim_compute *sim_compute_of(const struct ist_model *model) {
    for (size_t i = 0; i < sizeof(computes) / sizeof(computes[0]); i++) {
        if (strcmp(computes[i].model, model->name) == 0) {
            return &computes[i];
        }
    }
    IST_ASSERT(false); /* tests/test_sim_perf.c: each preset has its line here */
    return NULL;
}

double sim_compute_layer_flops(const struct ist_model *model, uint64_t tokens, uint64_t before) {
    const struct sim_compute *compute = sim_compute_of(model);
    double new = (double)tokens, old = (double)before;
    double linear = 2 * compute->parameters / model->layers * new;
    double attention = 4. * compute->hidden * new *(old + new / 2);
    return linear + attention;
}

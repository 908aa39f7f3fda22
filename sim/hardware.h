/* What a cluster is made of, for the performance model: links, GPUs, and what a model costs to compute. */
#ifndef IST_SIM_HARDWARE_H
#define IST_SIM_HARDWARE_H

#include <stddef.h>
#include <stdint.h>

#include "workload/model.h"

/* All GPUs of a prefill node together. */
struct sim_gpu {
    const char *name, *source;
    double flops;      /* peak, dense, 16 bits */
    double efficiency; /* of it that a prefill reaches */
};

/* NULL at and past their number, or when none has this name. */
const struct sim_gpu *sim_gpu_at(size_t index);
const struct sim_gpu *sim_gpu_find(const char *name);

/* What a layer computes: parameters that a token meets, and the width of its state. */
struct sim_compute {
    const char *model, *source;
    double parameters; /* of all layers, those that are active for a token */
    unsigned hidden;
};
const struct sim_compute *sim_compute_of(const struct ist_model *model);

/* Floating-point operations of one layer for `tokens` new ones behind `before`. */
double sim_compute_layer_flops(const struct ist_model *model, uint64_t tokens, uint64_t before);

#endif

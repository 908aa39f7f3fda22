/* Hit ratio and throughput over time, drawn as an SVG that stands alone and reads in light and dark. */
#ifndef IST_TOOLS_REPLAY_PLOT_H
#define IST_TOOLS_REPLAY_PLOT_H

#include <stdio.h>

#include "tools/replay_run.h"

void ist_replay_plot_write(FILE *out, const struct ist_replay_result *result);

/* The least of 1, 2 and 5 times a power of ten that makes at most `count` steps up to `most`. most > 0. */
double ist_replay_plot_step(double most, unsigned count);

#endif

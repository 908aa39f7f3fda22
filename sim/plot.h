/* Lines over an axis, as an SVG that stands alone and reads in light and dark. */
#ifndef IST_SIM_PLOT_H
#define IST_SIM_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define SIM_PLOT_LINES_MAX 6u

struct sim_plot_line {
    const char *name;
    const double *values; /* as many as there are points; borrowed */
};

struct sim_plot {
    const char *title, *x_name, *y_name;
    const double *x; /* ascending; borrowed */
    size_t points;
    bool log_x; /* all x above 0 */
    struct sim_plot_line lines[SIM_PLOT_LINES_MAX];
    size_t line_count;
};

void sim_plot_write(FILE *out, const struct sim_plot *plot);

#endif

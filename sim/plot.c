#include "sim/plot.h"

#include <math.h>

#define WIDTH 760.
#define HEIGHT 380.
#define LEFT 70.
#define RIGHT 20.
#define TOP 64.
#define BOTTOM 52.
#define STEPS_MAX 6u

static const char *const colours[SIM_PLOT_LINES_MAX] = {"#3b7dd8", "#d8743b", "#3ba55d",
                                                        "#a35bd8", "#c23b5a", "#888888"};

static double place_x(const struct sim_plot *plot, double x) {
    double from = plot->x[0], to = plot->x[plot->points - 1];
    if (plot->log_x) {
        x = log(x);
        from = log(from);
        to = log(to);
    }
    double share = to > from ? (x - from) / (to - from) : 0.5;
    return LEFT + share * (WIDTH - LEFT - RIGHT);
}

static double place_y(double y, double most) {
    return HEIGHT - BOTTOM - y / most * (HEIGHT - TOP - BOTTOM);
}

/* The least of 1, 2 and 5 times a power of ten that makes at most STEPS_MAX steps up to `most`. */
static double step_for(double most) {
    double step = pow(10, floor(log10(most / STEPS_MAX)));
    for (unsigned i = 0; step * STEPS_MAX < most && i < 6; i++) {
        step *= i % 3 == 1 ? 2.5 : 2;
    }
    return step;
}

static double most_of(const struct sim_plot *plot) {
    double most = 0;
    for (size_t i = 0; i < plot->line_count; i++) {
        for (size_t j = 0; j < plot->points; j++) {
            most = plot->lines[i].values[j] > most ? plot->lines[i].values[j] : most;
        }
    }
    return most > 0 ? most : 1;
}

static void write_head(FILE *out, const struct sim_plot *plot) {
    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n"
        "<style>text{fill:#222}.grid{stroke:#ddd}.back{fill:#fff}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.back{fill:#181818}}"
        "</style>\n<rect class=\"back\" width=\"%g\" height=\"%g\"/>\n"
        "<text x=\"%g\" y=\"22\" font-size=\"15\">%s</text>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, plot->title);
    double at = LEFT;
    for (size_t i = 0; i < plot->line_count; i++) {
        fprintf(out,
                "<rect x=\"%g\" y=\"36\" width=\"12\" height=\"4\" fill=\"%s\"/>"
                "<text x=\"%g\" y=\"43\">%s</text>\n",
                at, colours[i], at + 17, plot->lines[i].name);
        at += 30;
        for (const char *c = plot->lines[i].name; *c != '\0'; c++) {
            at += 7;
        }
    }
}

static void write_axes(FILE *out, const struct sim_plot *plot, double most) {
    double step = step_for(most);
    for (unsigned i = 0; i <= STEPS_MAX && i * step <= most * 1.0001; i++) {
        double y = place_y(i * step, most);
        fprintf(out,
                "<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>"
                "<text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, i * step);
    }
    size_t every = plot->points / 8 + 1;
    for (size_t i = 0; i < plot->points; i += every) {
        fprintf(out, "<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%.4g</text>\n",
                place_x(plot, plot->x[i]), HEIGHT - BOTTOM + 18, plot->x[i]);
    }
    fprintf(
        out,
        "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s</text>\n"
        "<text x=\"16\" y=\"%g\" text-anchor=\"middle\" transform=\"rotate(-90 16 %g)\">%s</text>\n",
        (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, plot->x_name, (TOP + HEIGHT - BOTTOM) / 2,
        (TOP + HEIGHT - BOTTOM) / 2, plot->y_name);
}

void sim_plot_write(FILE *out, const struct sim_plot *plot) {
    double most = most_of(plot) * 1.05;
    write_head(out, plot);
    write_axes(out, plot, most);
    for (size_t i = 0; i < plot->line_count; i++) {
        fprintf(out, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" points=\"", colours[i]);
        for (size_t j = 0; j < plot->points; j++) {
            fprintf(out, "%s%.1f,%.1f", j == 0 ? "" : " ", place_x(plot, plot->x[j]),
                    place_y(plot->lines[i].values[j], most));
        }
        fputs("\"/>\n", out);
        for (size_t j = 0; j < plot->points && plot->points <= 20; j++) {
            fprintf(out, "<circle r=\"3\" cx=\"%.1f\" cy=\"%.1f\" fill=\"%s\"/>\n",
                    place_x(plot, plot->x[j]), place_y(plot->lines[i].values[j], most), colours[i]);
        }
    }
    fputs("</svg>\n", out);
}

#include "tools/replay_plot.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "tools/replay_report.h"

#define WIDTH 960
#define HEIGHT 640
#define LEFT 72.0
#define RIGHT 24.0
#define PANEL_WIDTH (WIDTH - LEFT - RIGHT)
#define PANEL_HEIGHT 210.0
#define RATIO_TOP 108.0
#define RATE_TOP 376.0
#define INTERVALS 60u
#define NAME_CHARACTERS 60u

/* One of the two diagrams: from values to places. */
struct panel {
    double top, seconds, most;
};

static double place_x(const struct panel *panel, double seconds) {
    return LEFT + PANEL_WIDTH * seconds / panel->seconds;
}

static double place_y(const struct panel *panel, double value) {
    return panel->top + PANEL_HEIGHT * (1 - value / panel->most);
}

double ist_replay_plot_step(double most, unsigned count) {
    double step = pow(10, floor(log10(most / count)));
    static const double factors[] = {1, 2, 5};
    for (unsigned i = 0; i < 3; i++) {
        if (factors[i] * step * count >= most * (1 - 1e-9)) {
            return factors[i] * step;
        }
    }
    return 10 * step;
}

/* ---- the page ------------------------------------------------------------------------------------- */

static const char page_style[] =
    "<style>\n"
    "  text { font: 13px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328 }\n"
    "  .title { font-size: 18px; font-weight: 600 }\n"
    "  .faint { fill: #59636e }\n"
    "  .paper { fill: #ffffff }\n"
    "  .grid { stroke: #e2e6ea } .axis { stroke: #8c959f }\n"
    "  .line { fill: none; stroke-width: 2; stroke-linejoin: round }\n"
    "  .thin { stroke-width: 1; opacity: .55 }\n"
    "  .hit { stroke: #0969da } .limit { stroke: #59636e; stroke-dasharray: 6 4 }\n"
    "  .put { stroke: #bc4c00 } .get { stroke: #1a7f37 }\n"
    "  .mark { stroke: #8250df; stroke-dasharray: 2 3 }\n"
    "  @media (prefers-color-scheme: dark) {\n"
    "    text { fill: #e6edf3 } .faint { fill: #9198a1 } .paper { fill: #0d1117 }\n"
    "    .grid { stroke: #262c36 } .axis { stroke: #656c76 }\n"
    "    .hit { stroke: #58a6ff } .limit { stroke: #9198a1 }\n"
    "    .put { stroke: #f0883e } .get { stroke: #3fb950 } .mark { stroke: #bc8cff }\n"
    "  }\n"
    "</style>\n";

/* Text from outside: what XML does not take becomes '?', and it is cut at a length that fits. */
static void write_escaped(FILE *out, const char *text) {
    for (unsigned i = 0; text[i] != '\0' && i < NAME_CHARACTERS; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '&') {
            fputs("&amp;", out);
        } else if (c == '<') {
            fputs("&lt;", out);
        } else {
            fputc(c < ' ' || c > '~' ? '?' : c, out);
        }
    }
}

static const char *last_of_path(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL || slash[1] == '\0' ? path : slash + 1;
}

static void write_titles(FILE *out, const struct ist_replay_result *result) {
    char layer[IST_SIZE_TEXT_MAX], pool[IST_SIZE_TEXT_MAX];
    const struct ist_replay_plan *plan = &result->plan;
    fprintf(out, "<text class=\"title\" x=\"%g\" y=\"34\">Replay of ", LEFT);
    write_escaped(out, last_of_path(result->traffic_name));
    fprintf(out, "</text>\n<text class=\"faint\" x=\"%g\" y=\"56\">%llu requests in %.1f s. ", LEFT,
            (unsigned long long)result->figures.requests, (double)result->elapsed_ns / 1e9);
    fprintf(out, "%s, %u layers of %s a block; a pool of %s holds %llu blocks. ", plan->model->name,
            plan->layers, ist_size_text(plan->layer_bytes, layer),
            ist_size_text(plan->pool_bytes, pool), (unsigned long long)plan->pool_blocks);
    fprintf(out, "%llu prefill, %llu decode clients.</text>\n",
            (unsigned long long)result->options->prefills,
            (unsigned long long)result->options->decodes);
}

/* ---- a panel -------------------------------------------------------------------------------------- */

static void write_grid(FILE *out, const struct panel *panel, const char *title) {
    double step_y = ist_replay_plot_step(panel->most, 5);
    double step_x = ist_replay_plot_step(panel->seconds, 10);
    double bottom = panel->top + PANEL_HEIGHT;
    fprintf(out, "<text x=\"%g\" y=\"%g\">%s</text>\n", LEFT, panel->top - 12, title);
    for (unsigned i = 0; i <= 5 && i * step_y <= panel->most * (1 + 1e-9); i++) {
        double y = place_y(panel, i * step_y);
        fprintf(out, "<line class=\"%s\" x1=\"%g\" y1=\"%.1f\" x2=\"%g\" y2=\"%.1f\"/>",
                i == 0 ? "axis" : "grid", LEFT, y, LEFT + PANEL_WIDTH, y);
        fprintf(out, "<text class=\"faint\" text-anchor=\"end\" x=\"%g\" y=\"%.1f\">%g</text>\n",
                LEFT - 10, y + 4, i * step_y);
    }
    for (unsigned i = 0; i <= 10 && i * step_x <= panel->seconds * (1 + 1e-9); i++) {
        double x = place_x(panel, i * step_x);
        fprintf(out, "<line class=\"axis\" x1=\"%.1f\" y1=\"%g\" x2=\"%.1f\" y2=\"%g\"/>", x, bottom, x,
                bottom + 5);
        fprintf(out, "<text class=\"faint\" text-anchor=\"middle\" x=\"%.1f\" y=\"%g\">%g</text>\n", x,
                bottom + 20, i * step_x);
    }
}

/* A legend's entry whose end is at x; returns where the one before it ends. The width is a guess at the font's. */
static double write_legend(FILE *out, const struct panel *panel, double x, const char *class,
                           const char *label) {
    double y = panel->top - 16, begin = x - 7.2 * (double)strlen(label);
    fprintf(out, "<line class=\"line %s\" x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\"/>", class, begin - 34,
            y, begin - 8, y);
    fprintf(out, "<text x=\"%g\" y=\"%g\">%s</text>\n", begin, y + 4, label);
    return begin - 50;
}

/* ---- the curves ----------------------------------------------------------------------------------- */

enum curve { HIT_SO_FAR, HIT_INTERVAL, UNLIMITED, PUT, GET };

/* The value of a curve for the interval between two points; false: there is none. */
static bool curve_value(enum curve curve, const struct ist_replay_point *from,
                        const struct ist_replay_point *to, double *value) {
    double seconds = (double)(to->at_ns - from->at_ns) / 1e9;
    uint64_t part = 0, whole = 0;
    switch (curve) {
    case HIT_SO_FAR: part = to->hit_blocks, whole = to->blocks; break;
    case HIT_INTERVAL:
        part = to->hit_blocks - from->hit_blocks, whole = to->blocks - from->blocks;
        break;
    case UNLIMITED: part = to->unlimited_blocks, whole = to->blocks; break;
    case PUT: *value = (double)(to->put_bytes - from->put_bytes) / seconds / (1 << 20); return true;
    case GET: *value = (double)(to->get_bytes - from->get_bytes) / seconds / (1 << 20); return true;
    }
    *value = whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
    return whole > 0;
}

/* The series in equal intervals. */
struct samples {
    struct ist_replay_point points[INTERVALS + 1];
    unsigned count; /* intervals */
};

static void take_samples(const struct ist_replay_result *result, struct samples *samples) {
    size_t points = result->series.count;
    samples->count = points <= 1 ? 0 : points - 1 < INTERVALS ? (unsigned)(points - 1) : INTERVALS;
    for (unsigned i = 0; samples->count > 0 && i <= samples->count; i++) {
        ist_replay_series_at(&result->series, result->elapsed_ns / samples->count * i,
                             &samples->points[i]);
        samples->points[i].at_ns = result->elapsed_ns / samples->count * i;
    }
}

static double curve_most(const struct samples *samples, enum curve curve) {
    double most = 0, value = 0;
    for (unsigned i = 0; i < samples->count; i++) {
        if (curve_value(curve, &samples->points[i], &samples->points[i + 1], &value) && value > most) {
            most = value;
        }
    }
    return most;
}

static void write_curve(FILE *out, const struct panel *panel, const struct samples *samples,
                        enum curve curve, const char *class) {
    fprintf(out, "<polyline class=\"line %s\" points=\"", class);
    for (unsigned i = 0; i < samples->count; i++) {
        const struct ist_replay_point *from = &samples->points[i], *to = &samples->points[i + 1];
        double value = 0, seconds = (double)(curve == HIT_SO_FAR || curve == UNLIMITED
                                                 ? to->at_ns
                                                 : (from->at_ns + to->at_ns) / 2) /
                                    1e9;
        if (curve_value(curve, from, to, &value)) {
            fprintf(out, "%.1f,%.1f ", place_x(panel, seconds), place_y(panel, value));
        }
    }
    fputs("\"/>\n", out);
}

/* Where the pool was full. */
static void write_mark(FILE *out, const struct panel *panel, const struct ist_replay_series *series) {
    size_t first = 0;
    while (first < series->count && series->points[first].evicted_entries == 0) {
        first++;
    }
    if (first == series->count) {
        return;
    }
    double x = place_x(panel, (double)series->points[first].at_ns / 1e9);
    bool is_late = x > LEFT + PANEL_WIDTH * 0.8;
    fprintf(out, "<line class=\"mark\" x1=\"%.1f\" y1=\"%g\" x2=\"%.1f\" y2=\"%g\"/>", x, panel->top, x,
            panel->top + PANEL_HEIGHT);
    fprintf(out,
            "<text class=\"faint\" text-anchor=\"%s\" x=\"%.1f\" y=\"%g\">eviction begins</text>\n",
            is_late ? "end" : "start", is_late ? x - 6 : x + 6, panel->top + PANEL_HEIGHT - 8);
}

static void write_ratio(FILE *out, const struct ist_replay_result *result,
                        const struct samples *samples, double seconds) {
    double most = fmax(curve_most(samples, HIT_SO_FAR), curve_most(samples, UNLIMITED));
    most = fmax(fmax(most, curve_most(samples, HIT_INTERVAL)), 1);
    struct panel panel = {.top = RATIO_TOP, .seconds = seconds};
    panel.most = ceil(most / ist_replay_plot_step(most, 5)) * ist_replay_plot_step(most, 5);
    char label[64];
    write_grid(out, &panel, "prefix hit ratio, %");
    double x = LEFT + PANEL_WIDTH;
    snprintf(label, sizeof(label), "unlimited cache %.1f%%",
             100 * ist_replay_report_unlimited_ratio(&result->figures));
    x = write_legend(out, &panel, x, "limit", label);
    x = write_legend(out, &panel, x, "hit thin", "at the time");
    snprintf(label, sizeof(label), "so far %.1f%%",
             100 * ist_replay_report_hit_ratio(&result->figures));
    (void)write_legend(out, &panel, x, "hit", label);
    write_mark(out, &panel, &result->series);
    write_curve(out, &panel, samples, HIT_INTERVAL, "hit thin");
    write_curve(out, &panel, samples, UNLIMITED, "limit");
    write_curve(out, &panel, samples, HIT_SO_FAR, "hit");
}

static void write_rate(FILE *out, const struct ist_replay_result *result, const struct samples *samples,
                       double seconds) {
    double most = fmax(fmax(curve_most(samples, PUT), curve_most(samples, GET)), 1);
    struct panel panel = {.top = RATE_TOP, .seconds = seconds};
    panel.most = ceil(most / ist_replay_plot_step(most, 5)) * ist_replay_plot_step(most, 5);
    char label[64];
    write_grid(out, &panel, "throughput, MiB/s");
    snprintf(label, sizeof(label), "get, mean %.0f",
             (double)result->figures.get_bytes / seconds / (1 << 20));
    double x = write_legend(out, &panel, LEFT + PANEL_WIDTH, "get", label);
    snprintf(label, sizeof(label), "put, mean %.0f",
             (double)result->figures.put_bytes / seconds / (1 << 20));
    (void)write_legend(out, &panel, x, "put", label);
    write_mark(out, &panel, &result->series);
    write_curve(out, &panel, samples, PUT, "put");
    write_curve(out, &panel, samples, GET, "get");
    fprintf(out, "<text class=\"faint\" text-anchor=\"middle\" x=\"%g\" y=\"%g\">seconds</text>\n",
            LEFT + PANEL_WIDTH / 2, RATE_TOP + PANEL_HEIGHT + 42);
}

void ist_replay_plot_write(FILE *out, const struct ist_replay_result *result) {
    struct samples samples;
    take_samples(result, &samples);
    double seconds = result->elapsed_ns == 0 ? 1 : (double)result->elapsed_ns / 1e9;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" role=\"img\">\n"
            "<title>Hit ratio and throughput of an InfiniStore replay over time</title>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    fputs(page_style, out);
    fprintf(out, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", WIDTH, HEIGHT);
    write_titles(out, result);
    write_ratio(out, result, &samples, seconds);
    write_rate(out, result, &samples, seconds);
    fputs("</svg>\n", out);
}

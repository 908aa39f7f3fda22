#include "tools/cli_view.h"

#include <math.h>
#include <string.h>

#include "tools/cli_text.h"

#define LABEL_COLUMNS 12u /* in front of what every line tells */

static double rate(const struct ist_cli_view *view, double growth) {
    return view->seconds > 0 ? growth / view->seconds : NAN;
}

static void label(struct ist_cli_screen *screen, const char *text) {
    ist_cli_screen_print(screen, IST_CLI_BOLD, "%s", text);
    ist_cli_screen_to(screen, LABEL_COLUMNS);
}

/* ---- history ------------------------------------------------------------------------------------------ */

void ist_cli_view_remember(struct ist_cli_view *view) {
    struct ist_cli_history *history = &view->history;
    if (!(view->seconds > 0)) {
        return;
    }
    if (history->count == IST_CLI_HISTORY_MAX) {
        size_t kept = (IST_CLI_HISTORY_MAX - 1) * sizeof(double);
        memmove(history->put_rate, history->put_rate + 1, kept);
        memmove(history->get_rate, history->get_rate + 1, kept);
        memmove(history->hit_share, history->hit_share + 1, kept);
        history->count--;
    }
    double asked = view->growth.hits + view->growth.misses;
    history->put_rate[history->count] = rate(view, view->growth.put_bytes);
    history->get_rate[history->count] = rate(view, view->growth.get_bytes);
    history->hit_share[history->count] = asked > 0 ? view->growth.hits / asked : NAN;
    history->count++;
}

/* One column an interval, the newest at the right end; full height is `top`. */
static void draw_curve(struct ist_cli_screen *screen, enum ist_cli_style style, const double *values,
                       size_t count, double top) {
    static const char *const utf8[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const ascii[] = {" ", "_", ".", "-", "=", "+", "*", "#", "#"};
    unsigned room = screen->columns > screen->column ? screen->columns - screen->column : 0;
    size_t shown = count < room ? count : room;
    for (size_t i = count - shown; i < count; i++) {
        /* something that is not nothing shows */
        double height = top > 0 && values[i] > 0 ? ceil(8 * values[i] / top) : 0;
        size_t step = height > 8 ? 8 : (size_t)height;
        ist_cli_screen_repeat(screen, style, utf8[step], ascii[step], 1);
    }
    ist_cli_screen_line(screen);
}

static double largest(const double *values, size_t count) {
    double top = 0;
    for (size_t i = 0; i < count; i++) {
        top = values[i] > top ? values[i] : top;
    }
    return top;
}

static void draw_history(const struct ist_cli_view *view, struct ist_cli_screen *screen) {
    const struct ist_cli_history *history = &view->history;
    const struct {
        const char *name;
        const double *rates;
        enum ist_cli_style style;
    } curves[] = {{"put", history->put_rate, IST_CLI_YELLOW},
                  {"get", history->get_rate, IST_CLI_GREEN}};
    for (size_t i = 0; i < 2; i++) {
        double top = largest(curves[i].rates, history->count);
        label(screen, curves[i].name);
        ist_cli_screen_print(screen, IST_CLI_DIM, "%12s ", IST_CLI_BYTES_RATE(top));
        draw_curve(screen, curves[i].style, curves[i].rates, history->count, top);
    }
    label(screen, "hits");
    ist_cli_screen_print(screen, IST_CLI_DIM, "%12s ", "100 %");
    draw_curve(screen, IST_CLI_CYAN, history->hit_share, history->count, 1);
}

/* ---- the pool ----------------------------------------------------------------------------------------- */

struct state {
    const char *name, *utf8, *ascii;
    enum ist_cli_style style;
    double bytes;
};
#define STATES 4

static void pool_states(const struct ist_cli_figures *figures, struct state *states) {
    states[0] = (struct state){"committed", "█", "#", IST_CLI_GREEN, figures->committed_bytes};
    states[1] = (struct state){"reserved", "▓", "+", IST_CLI_YELLOW, figures->reserved_bytes};
    states[2] = (struct state){"doomed", "▒", "x", IST_CLI_MAGENTA, figures->doomed_bytes};
    states[3] = (struct state){"free", "░", ".", IST_CLI_DIM, figures->free_bytes};
}

/* As wide as the screen. The borders between states are rounded, so that the widths add up. */
static void draw_bar(const struct state *states, struct ist_cli_screen *screen) {
    double sum = 0, before = 0;
    for (size_t i = 0; i < STATES; i++) {
        sum += states[i].bytes;
    }
    for (size_t i = 0; i < STATES && sum > 0; i++) {
        double from = round(before / sum * screen->columns);
        before += states[i].bytes;
        double to = round(before / sum * screen->columns);
        ist_cli_screen_repeat(screen, states[i].style, states[i].utf8, states[i].ascii,
                              (unsigned)(to - from));
    }
    ist_cli_screen_line(screen);
}

static void draw_pool(const struct ist_cli_view *view, struct ist_cli_screen *screen) {
    const struct ist_cli_figures *total = &view->total;
    struct state states[STATES];
    pool_states(total, states);
    double used = total->pool_size_bytes - total->free_bytes;
    label(screen, "Pool");
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s of %s used, %s", IST_CLI_BYTES(used),
                         IST_CLI_BYTES(total->pool_size_bytes),
                         IST_CLI_SHARE(used, total->pool_size_bytes));
    if (total->pool_limit_bytes > total->pool_size_bytes) {
        ist_cli_screen_print(screen, IST_CLI_PLAIN, "; grows to %s",
                             IST_CLI_BYTES(total->pool_limit_bytes));
    }
    ist_cli_screen_line(screen);
    draw_bar(states, screen);
    for (size_t i = 0; i < STATES; i++) {
        ist_cli_screen_repeat(screen, states[i].style, states[i].utf8, states[i].ascii, 1);
        ist_cli_screen_print(screen, IST_CLI_PLAIN, " %s %s   ", states[i].name,
                             IST_CLI_BYTES(states[i].bytes));
    }
    ist_cli_screen_line(screen);
    label(screen, "Keys");
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s, values %s; %s in use; metadata %s",
                         IST_CLI_COUNT(total->keys_stored), IST_CLI_BYTES(total->value_bytes),
                         IST_CLI_COUNT(total->pinned_entries), IST_CLI_BYTES(total->metadata_bytes));
    ist_cli_screen_line(screen);
}

/* ---- operations --------------------------------------------------------------------------------------- */

/* Bytes that a kind moved; NaN for those that move none. */
static double kind_bytes(const struct ist_cli_figures *figures, enum ist_cli_kind kind) {
    switch (kind) {
    case IST_CLI_KIND_PUT: return figures->put_bytes;
    case IST_CLI_KIND_GET: return figures->get_bytes;
    case IST_CLI_KIND_EXISTS:
    case IST_CLI_KIND_MATCH:
    case IST_CLI_KIND_REMOVE:
    case IST_CLI_KIND_OTHER: return NAN;
    }
    return NAN;
}

static void draw_operations(const struct ist_cli_view *view, struct ist_cli_screen *screen) {
    ist_cli_screen_print(screen, IST_CLI_BOLD, "%-8s%11s %11s %13s %10s %10s %10s", "", "ops/s",
                         "keys/s", "bytes/s", "p50", "p99", "failed/s");
    ist_cli_screen_line(screen);
    for (size_t i = 0; i < IST_CLI_KINDS; i++) {
        const struct ist_cli_kind_figures *kind = &view->growth.kinds[i];
        double bytes = kind_bytes(&view->growth, (enum ist_cli_kind)i);
        double p50 = view->seconds > 0 ? ist_cli_histogram_quantile_s(&kind->latency, 0.5) : NAN;
        double p99 = view->seconds > 0 ? ist_cli_histogram_quantile_s(&kind->latency, 0.99) : NAN;
        ist_cli_screen_print(screen, IST_CLI_BOLD, "%-8s", ist_cli_kind_name((enum ist_cli_kind)i));
        ist_cli_screen_print(screen, IST_CLI_PLAIN, "%11s %11s %13s %10s %10s ",
                             IST_CLI_COUNT(rate(view, kind->requests)),
                             IST_CLI_COUNT(rate(view, kind->keys)),
                             isnan(bytes) ? "" : IST_CLI_BYTES_RATE(rate(view, bytes)),
                             IST_CLI_SECONDS(p50), IST_CLI_SECONDS(p99));
        bool failing = view->seconds > 0 && kind->failed > 0;
        ist_cli_screen_print(screen, failing ? IST_CLI_RED : IST_CLI_PLAIN, "%10s",
                             IST_CLI_COUNT(rate(view, kind->failed)));
        ist_cli_screen_line(screen);
    }
}

/* ---- the live view ------------------------------------------------------------------------------------ */

static void draw_title(const struct ist_cli_view *view, struct ist_cli_screen *screen) {
    char right[64];
    int length = snprintf(right, sizeof(right), "every %g s  %s", view->interval_s, view->clock);
    ist_cli_screen_print(screen, IST_CLI_BOLD, "InfiniStore ");
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s ", view->endpoints);
    if (length > 0 && (unsigned)length < screen->columns) {
        ist_cli_screen_to(screen, screen->columns - (unsigned)length);
    }
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s", right);
    ist_cli_screen_line(screen);
    if (view->problem != NULL) {
        ist_cli_screen_print(screen, IST_CLI_RED, "%s", view->problem);
    }
    ist_cli_screen_line(screen);
}

static void draw_rest(const struct ist_cli_view *view, struct ist_cli_screen *screen) {
    const struct ist_cli_figures *total = &view->total, *growth = &view->growth;
    double asked = view->seconds > 0 ? growth->hits + growth->misses : 0;
    label(screen, "Hit ratio");
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s now; %s since the start",
                         IST_CLI_SHARE(growth->hits, asked),
                         IST_CLI_SHARE(total->hits, total->hits + total->misses));
    ist_cli_screen_line(screen);
    label(screen, "Evictions");
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s/s, %s; %s since the start",
                         IST_CLI_COUNT(rate(view, growth->evicted_entries)),
                         IST_CLI_BYTES_RATE(rate(view, growth->evicted_bytes)),
                         IST_CLI_COUNT(total->evicted_entries));
    ist_cli_screen_line(screen);
    label(screen, "Sessions");
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s open, %s opened/s; %s requests in flight",
                         IST_CLI_COUNT(total->sessions),
                         IST_CLI_COUNT(rate(view, growth->sessions_opened)),
                         IST_CLI_COUNT(total->requests_in_flight));
    if (growth->sessions_refused > 0 && view->seconds > 0) {
        ist_cli_screen_print(screen, IST_CLI_RED, "; %s refused/s",
                             IST_CLI_COUNT(rate(view, growth->sessions_refused)));
    }
    ist_cli_screen_line(screen);
    label(screen, "Network");
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "%s in, %s out",
                         IST_CLI_BYTES_RATE(rate(view, growth->received_bytes)),
                         IST_CLI_BYTES_RATE(rate(view, growth->sent_bytes)));
    ist_cli_screen_line(screen);
}

void ist_cli_view_draw(const struct ist_cli_view *view, struct ist_cli_screen *screen) {
    ist_cli_screen_begin(screen);
    draw_title(view, screen);
    draw_pool(view, screen);
    ist_cli_screen_line(screen);
    draw_operations(view, screen);
    ist_cli_screen_line(screen);
    draw_rest(view, screen);
    ist_cli_screen_line(screen);
    draw_history(view, screen);
    ist_cli_screen_print(screen, IST_CLI_DIM, "q or Ctrl-C leaves");
    ist_cli_screen_line(screen);
    ist_cli_screen_end(screen);
}

/* ---- one line an interval ----------------------------------------------------------------------------- */

void ist_cli_view_heading(FILE *out) {
    fprintf(out, "%-8s %9s %9s %13s %13s %8s %8s %9s %9s %9s %9s %9s\n", "time", "put/s", "get/s",
            "put bytes", "get bytes", "hits", "pool", "evicted/s", "put p99", "get p99", "sessions",
            "in flight");
}

void ist_cli_view_line(const struct ist_cli_view *view, FILE *out) {
    const struct ist_cli_figures *total = &view->total, *growth = &view->growth;
    const struct ist_cli_kind_figures *put = &growth->kinds[IST_CLI_KIND_PUT];
    const struct ist_cli_kind_figures *get = &growth->kinds[IST_CLI_KIND_GET];
    fprintf(out, "%-8s %9s %9s %13s %13s %8s %8s %9s %9s %9s %9s %9s\n", view->clock,
            IST_CLI_COUNT(rate(view, put->requests)), IST_CLI_COUNT(rate(view, get->requests)),
            IST_CLI_BYTES_RATE(rate(view, growth->put_bytes)),
            IST_CLI_BYTES_RATE(rate(view, growth->get_bytes)),
            IST_CLI_SHARE(growth->hits, growth->hits + growth->misses),
            IST_CLI_SHARE(total->pool_size_bytes - total->free_bytes, total->pool_size_bytes),
            IST_CLI_COUNT(rate(view, growth->evicted_entries)),
            IST_CLI_SECONDS(ist_cli_histogram_quantile_s(&put->latency, 0.99)),
            IST_CLI_SECONDS(ist_cli_histogram_quantile_s(&get->latency, 0.99)),
            IST_CLI_COUNT(total->sessions), IST_CLI_COUNT(total->requests_in_flight));
}

/* How the server's figures look: the live view with its history, and one line for where there is no screen. Pure:
 * from figures to text. */
#ifndef IST_TOOLS_CLI_VIEW_H
#define IST_TOOLS_CLI_VIEW_H

#include "tools/cli_figures.h"
#include "tools/cli_screen.h"

#define IST_CLI_HISTORY_MAX 512 /* intervals: as wide as screens get */

/* The last intervals, oldest first. Zero-initialise. */
struct ist_cli_history {
    size_t count;
    double put_rate[IST_CLI_HISTORY_MAX], get_rate[IST_CLI_HISTORY_MAX]; /* bytes a second */
    double hit_share[IST_CLI_HISTORY_MAX];                               /* 0 to 1; NaN: no get */
};

/* What there is to see. */
struct ist_cli_view {
    const char *endpoints;
    const char *clock;              /* "14:03:07" */
    double interval_s;              /* between two redraws, as asked for */
    const char *problem;            /* what is wrong now, or NULL */
    struct ist_cli_figures total;   /* since the server's start */
    struct ist_cli_figures growth;  /* over the last `seconds` */
    double seconds;                 /* 0: there is no interval yet, so no rates */
    struct ist_cli_history history; /* of rates */
};

/* Appends the view's interval to its history. */
void ist_cli_view_remember(struct ist_cli_view *view);

/* The whole view; 24 rows of 80 columns show all of it, wider ones longer bars. */
void ist_cli_view_draw(const struct ist_cli_view *view, struct ist_cli_screen *screen);

/* For what is no terminal: a heading, and one line an interval under it. */
void ist_cli_view_heading(FILE *out);
void ist_cli_view_line(const struct ist_cli_view *view, FILE *out);

#endif

/* Lines of text that never exceed a screen: cut at its width and height, with or without colours, as UTF-8 or
 * ASCII, drawn over what stands there already or simply written. No terminal is asked anything here. */
#ifndef IST_TOOLS_CLI_SCREEN_H
#define IST_TOOLS_CLI_SCREEN_H

#include <stdbool.h>
#include <stdio.h>

struct ist_cli_screen {
    FILE *out;              /* borrowed */
    unsigned columns, rows; /* at least 1 */
    bool colour, utf8;
    bool live; /* draw from the top left corner, and wipe what the lines before left behind */
    unsigned row, column;
};

enum ist_cli_style {
    IST_CLI_PLAIN,
    IST_CLI_BOLD,
    IST_CLI_DIM,
    IST_CLI_GREEN,
    IST_CLI_YELLOW,
    IST_CLI_MAGENTA,
    IST_CLI_CYAN,
    IST_CLI_RED,
};

/* One drawing: begin, lines, end. out, columns, rows, colour, utf8, live are set by the caller. */
void ist_cli_screen_begin(struct ist_cli_screen *screen);
void ist_cli_screen_end(struct ist_cli_screen *screen);

/* Appends to the line; what does not fit is dropped. Control characters become '?'. One call writes at most
 * IST_CLI_PIECE_MAX bytes. */
#define IST_CLI_PIECE_MAX 512
void ist_cli_screen_print(struct ist_cli_screen *screen, enum ist_cli_style style, const char *format,
                          ...) __attribute__((format(printf, 3, 4)));
/* Spaces up to a column, counted from 0. */
void ist_cli_screen_to(struct ist_cli_screen *screen, unsigned column);
/* A glyph `count` times: the first text on a UTF-8 screen, the second elsewhere; each one column wide. */
void ist_cli_screen_repeat(struct ist_cli_screen *screen, enum ist_cli_style style, const char *utf8,
                           const char *ascii, unsigned count);
void ist_cli_screen_line(struct ist_cli_screen *screen);

#endif

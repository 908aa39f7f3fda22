#include "tools/cli_screen.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* man console_codes: ECMA-48 SGR, CUP (H), EL (K), ED (J). */
#define HOME "\033[H"
#define WIPE_LINE "\033[K"
#define WIPE_BELOW "\033[J"
#define UNSTYLED "\033[0m"

static const char *style_code(enum ist_cli_style style) {
    switch (style) {
    case IST_CLI_PLAIN: return "";
    case IST_CLI_BOLD: return "\033[1m";
    case IST_CLI_DIM: return "\033[2m";
    case IST_CLI_GREEN: return "\033[32m";
    case IST_CLI_YELLOW: return "\033[33m";
    case IST_CLI_MAGENTA: return "\033[35m";
    case IST_CLI_CYAN: return "\033[36m";
    case IST_CLI_RED: return "\033[1;31m";
    }
    return "";
}

void ist_cli_screen_begin(struct ist_cli_screen *screen) {
    screen->row = 0;
    screen->column = 0;
    if (screen->live) {
        fputs(HOME, screen->out);
    }
}

static bool is_full(const struct ist_cli_screen *screen) {
    return screen->row >= screen->rows || screen->column >= screen->columns;
}

static void style_on(const struct ist_cli_screen *screen, enum ist_cli_style style) {
    if (screen->colour && style != IST_CLI_PLAIN) {
        fputs(style_code(style), screen->out);
    }
}

static void style_off(const struct ist_cli_screen *screen, enum ist_cli_style style) {
    if (screen->colour && style != IST_CLI_PLAIN) {
        fputs(UNSTYLED, screen->out);
    }
}

void ist_cli_screen_print(struct ist_cli_screen *screen, enum ist_cli_style style, const char *format,
                          ...) {
    char text[IST_CLI_PIECE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length <= 0 || is_full(screen)) {
        return;
    }
    style_on(screen, style);
    for (const char *at = text; *at != '\0'; at++) {
        uint8_t byte = (uint8_t)*at;
        bool continues = (byte & 0xc0) == 0x80; /* of a UTF-8 sequence: no column of its own */
        if (!continues && is_full(screen)) {
            break;
        }
        putc(byte < 0x20 || byte == 0x7f ? '?' : byte, screen->out);
        screen->column += !continues;
    }
    style_off(screen, style);
}

void ist_cli_screen_to(struct ist_cli_screen *screen, unsigned column) {
    while (screen->column < column && !is_full(screen)) {
        putc(' ', screen->out);
        screen->column++;
    }
}

void ist_cli_screen_repeat(struct ist_cli_screen *screen, enum ist_cli_style style, const char *utf8,
                           const char *ascii, unsigned count) {
    if (count == 0 || is_full(screen)) {
        return;
    }
    style_on(screen, style);
    for (unsigned i = 0; i < count && !is_full(screen); i++) {
        fputs(screen->utf8 ? utf8 : ascii, screen->out);
        screen->column++;
    }
    style_off(screen, style);
}

void ist_cli_screen_line(struct ist_cli_screen *screen) {
    if (screen->row >= screen->rows) {
        return;
    }
    /* A line that reaches the edge leaves the cursor on its last cell, which a wipe would clear. */
    if (screen->live && screen->column < screen->columns) {
        fputs(WIPE_LINE, screen->out);
    }
    screen->row++;
    screen->column = 0;
    if (!screen->live) {
        putc('\n', screen->out);
    } else if (screen->row < screen->rows) {
        fputs("\r\n", screen->out); /* not behind the last row: the screen would scroll */
    }
}

void ist_cli_screen_end(struct ist_cli_screen *screen) {
    if (screen->live && screen->row < screen->rows) {
        fputs(WIPE_BELOW, screen->out);
    }
}

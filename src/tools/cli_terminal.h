/* The terminal under a live view: its size, its alternate screen, its keys; and as it was afterwards. */
#ifndef IST_TOOLS_CLI_TERMINAL_H
#define IST_TOOLS_CLI_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

struct ist_cli_terminal {
    int in, out; /* borrowed */
    bool keys;   /* `in` is a terminal too, and gives single keystrokes */
    bool entered;
    struct termios before; /* of `in`, when keys */
};

/* `fd` is a terminal that understands cursor movements (TERM is set and not "dumb"). */
bool ist_cli_terminal_is_screen(int fd);
/* It is one, and NO_COLOR (https://no-color.org) is not set. */
bool ist_cli_terminal_has_colour(int fd);
/* The locale writes UTF-8; setlocale() was called. */
bool ist_cli_terminal_is_utf8(void);
/* 80 columns of 24 rows where it does not tell. */
void ist_cli_terminal_size(int fd, unsigned *columns, unsigned *rows);

/* Switches to the alternate screen, hides the cursor, reads keys one by one and without echo. Signals from the
 * keyboard stay. */
void ist_cli_terminal_enter(struct ist_cli_terminal *terminal);
/* Undoes that. Not entered: nothing. */
void ist_cli_terminal_leave(struct ist_cli_terminal *terminal);

#endif

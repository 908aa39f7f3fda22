#include "tools/cli_terminal.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/cli_options.h"
#include "tools/cli_output.h"

/* xterm, Control Sequences, "Private Modes": 1049 the alternate screen, 25 the cursor. */
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"

bool ist_cli_terminal_is_screen(int fd) {
    const char *term = getenv("TERM");
    return isatty(fd) == 1 && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

bool ist_cli_terminal_has_colour(int fd) {
    const char *no_color = getenv("NO_COLOR");
    return ist_cli_terminal_is_screen(fd) && (no_color == NULL || no_color[0] == '\0');
}

bool ist_cli_terminal_is_utf8(void) {
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void ist_cli_terminal_size(int fd, unsigned *columns, unsigned *rows) {
    struct winsize size;
    bool told = ioctl(fd, TIOCGWINSZ, &size) == 0;
    *columns = told && size.ws_col > 0 ? size.ws_col : 80;
    *rows = told && size.ws_row > 0 ? size.ws_row : 24;
}

/* A terminal that cannot be written to will be noticed by whoever draws on it. */
static void write_text(int fd, const char *text) {
    char error[IST_CLI_ERROR_MAX];
    (void)ist_cli_output_fd(fd, "the terminal", text, strlen(text), error);
}

void ist_cli_terminal_enter(struct ist_cli_terminal *terminal) {
    terminal->keys = isatty(terminal->in) == 1 && tcgetattr(terminal->in, &terminal->before) == 0;
    if (terminal->keys) {
        struct termios single = terminal->before;
        single.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        single.c_cc[VMIN] = 1;
        single.c_cc[VTIME] = 0;
        terminal->keys = tcsetattr(terminal->in, TCSADRAIN, &single) == 0;
    }
    write_text(terminal->out, ENTER);
    terminal->entered = true;
}

void ist_cli_terminal_leave(struct ist_cli_terminal *terminal) {
    if (!terminal->entered) {
        return;
    }
    write_text(terminal->out, LEAVE);
    if (terminal->keys) {
        (void)tcsetattr(terminal->in, TCSADRAIN, &terminal->before);
    }
    terminal->entered = false;
}

/* Runs a program on a terminal of its own and keeps what it wrote there. */
#ifndef IST_TESTS_INTEGRATION_PTY_H
#define IST_TESTS_INTEGRATION_PTY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

#include "tests/integration/program.h"

struct pty {
    pid_t pid;
    int pidfd, master, slave;
    struct termios before; /* the terminal, as the program found it */
    char *out;             /* owned; NUL-terminated */
    size_t bytes, room;
};

/* program->input is not used. TERM is xterm unless the program's environment says else. */
void pty_start(struct pty *pty, const struct program *program, unsigned short columns,
               unsigned short rows);
/* Reads until `text` was written at least `times` times; fails the test when it does not come. */
void pty_until(struct pty *pty, const char *text, size_t times);
size_t pty_count(const struct pty *pty, const char *text);
/* As if typed: "\003" is Ctrl-C. */
void pty_type(struct pty *pty, const char *keys);
void pty_resize(struct pty *pty, unsigned short columns, unsigned short rows);
/* Reads to the program's end; returns its exit code, 128 + the signal that killed it. */
int pty_wait(struct pty *pty);
/* The terminal's settings are what they were before the program. */
bool pty_is_restored(const struct pty *pty);
void pty_free(struct pty *pty);

#endif

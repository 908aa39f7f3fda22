/* Runs a program to its end and keeps what it wrote. */
#ifndef IST_TESTS_INTEGRATION_PROGRAM_H
#define IST_TESTS_INTEGRATION_PROGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

struct outcome {
    int code;  /* exit code, 128 + the signal that killed it */
    char *out; /* owned: outcome_free(); a NUL stands behind the last byte */
    size_t out_bytes;
    char *err;
    size_t err_bytes;
};

struct program {
    const char *const *arguments;   /* the program's path first; ends with NULL */
    const char *const *environment; /* "NAME=value", added to ours; ends with NULL; may be NULL */
    const void *input;              /* its stdin */
    size_t input_bytes;
    _Atomic pid_t *pid; /* is told to another thread here while the program runs; may be NULL */
};

/* In a child that was just forked: it dies with `parent`, and knows nothing of the signals that those who started the
 * tests ignore or block (nohup, or `&` in a script): a program that inherits that does not end as the tests expect. */
void program_child_begin(pid_t parent);

/* Fails the test when it does not end in time. */
void program_run(const struct program *program, struct outcome *outcome);
void outcome_free(struct outcome *outcome);

#endif

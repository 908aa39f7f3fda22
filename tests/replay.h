/* Random tests that can be replayed: each runs a body for a row of seeds, and when it fails, by a cmocka
 * assertion or by one of the code's own, one line tells how to run that seed alone. */
#ifndef IST_TESTS_REPLAY_H
#define IST_TESTS_REPLAY_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support.h"

static volatile sig_atomic_t replay_running;
static char replay_line[256];

static inline void replay_tell(void) {
    if (replay_running) {
        replay_running = 0;
        ssize_t written = write(STDERR_FILENO, replay_line, strlen(replay_line));
        (void)written;
    }
}

static inline void replay_on_abort(int signal) {
    (void)signal;
    replay_tell();
}

/* Teardown of each test that uses replay_seeds(). */
static inline int replay_teardown(void **state) {
    (void)state;
    replay_tell();
    return 0;
}

/* Runs body(seed) for seeds 1 to count, or for IST_SEED alone. */
static inline void replay_seeds(uint64_t count, void (*body)(uint64_t seed)) {
    const char *only = getenv("IST_SEED");
    uint64_t first = only == NULL ? 1 : strtoull(only, NULL, 10);
    uint64_t last = only == NULL ? count : first;
    signal(SIGABRT, replay_on_abort);
    for (uint64_t seed = first; seed <= last; seed++) {
        snprintf(replay_line, sizeof(replay_line), "replay: IST_SEED=%llu %s\n",
                 (unsigned long long)seed, program_invocation_name);
        replay_running = 1;
        body(seed);
        replay_running = 0;
    }
}

#endif

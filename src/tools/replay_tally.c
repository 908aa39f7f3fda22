#include "tools/replay_tally.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

void ist_replay_tally_init(struct ist_replay_tally *tally) {
    memset(tally, 0, sizeof(*tally));
    (void)pthread_mutex_init(&tally->mutex, NULL);
}

void ist_replay_tally_fini(struct ist_replay_tally *tally) {
    (void)pthread_mutex_destroy(&tally->mutex);
}

struct ist_replay_figures *ist_replay_tally_open(struct ist_replay_tally *tally) {
    int result = pthread_mutex_lock(&tally->mutex);
    IST_ASSERT(result == 0);
    return &tally->figures;
}

void ist_replay_tally_close(struct ist_replay_tally *tally) {
    int result = pthread_mutex_unlock(&tally->mutex);
    IST_ASSERT(result == 0);
}

__attribute__((format(printf, 2, 0))) static void write_once(char *line, const char *format,
                                                             va_list arguments) {
    if (line[0] == '\0') {
        (void)vsnprintf(line, IST_REPLAY_LINE_MAX, format, arguments);
    }
}

void ist_replay_tally_fail(struct ist_replay_tally *tally, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    write_once(ist_replay_tally_open(tally)->failure, format, arguments);
    ist_replay_tally_close(tally);
    va_end(arguments);
}

void ist_replay_tally_wrong(struct ist_replay_tally *tally, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    struct ist_replay_figures *figures = ist_replay_tally_open(tally);
    figures->wrong_values++;
    write_once(figures->wrong, format, arguments);
    ist_replay_tally_close(tally);
    va_end(arguments);
}

bool ist_replay_tally_failed(struct ist_replay_tally *tally) {
    bool failed = ist_replay_tally_open(tally)->failure[0] != '\0';
    ist_replay_tally_close(tally);
    return failed;
}

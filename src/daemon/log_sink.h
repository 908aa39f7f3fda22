/* Log lines to a descriptor, one write each, so that lines of several threads never mix:
 *     2026-01-31T12:34:56.789Z INFO  #17 message
 *
 * Strangers can cause lines about their connections, as many as they like: of those only so many are written in a
 * time, else they would fill disks and stop a loop that writes to a slow pipe. Those of level DEBUG were asked for. */
#ifndef IST_DAEMON_LOG_SINK_H
#define IST_DAEMON_LOG_SINK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/log.h"

#define IST_LOG_SINK_LINE_MAX (IST_LOG_LINE_MAX + 64)

#define IST_LOG_SINK_PERIOD_SEC 10
#define IST_LOG_SINK_LINES_MAX 100 /* about connections, in each period; then one that says so */

/* Zero but for the descriptor. */
struct ist_log_sink {
    int fd; /* borrowed */
    atomic_uint_least64_t period, lines;
};

/* For struct ist_log. context: a struct ist_log_sink *, borrowed. A line that cannot be written, or not at once, is lost. */
void ist_log_sink_write(void *context, enum ist_log_level level, uint64_t session, const char *message);

/* The number of lines about connections before this one in its period. */
uint64_t ist_log_sink_count(struct ist_log_sink *sink, uint64_t now_sec);

/* The line itself, with its newline; returns its bytes. */
size_t ist_log_sink_format(char line[IST_LOG_SINK_LINE_MAX], struct timespec wall,
                           enum ist_log_level level, uint64_t session, const char *message);

#endif

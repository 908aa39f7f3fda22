/* Log lines to a descriptor, one write each, so that lines of several threads never mix:
 *     2026-01-31T12:34:56.789Z INFO  #17 message */
#ifndef IST_DAEMON_LOG_SINK_H
#define IST_DAEMON_LOG_SINK_H

#include <stddef.h>
#include <time.h>

#include "base/log.h"

#define IST_LOG_SINK_LINE_MAX (IST_LOG_LINE_MAX + 64)

/* For struct ist_log. context: the descriptor, an int *, borrowed. A line that cannot be written is lost. */
void ist_log_sink_write(void *context, enum ist_log_level level, uint64_t session, const char *message);

/* The line itself, with its newline; returns its bytes. */
size_t ist_log_sink_format(char line[IST_LOG_SINK_LINE_MAX], struct timespec wall,
                           enum ist_log_level level, uint64_t session, const char *message);

#endif

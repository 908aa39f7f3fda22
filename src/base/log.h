/* Logging without I/O: a line is formatted here and handed to a sink that the edge provides. Whoever
 * decides an error logs it; callers pass it up in silence. */
#ifndef IST_BASE_LOG_H
#define IST_BASE_LOG_H

#include <stdint.h>

enum ist_log_level { IST_LOG_ERROR, IST_LOG_WARNING, IST_LOG_INFO, IST_LOG_DEBUG };

#define IST_LOG_LINE_MAX 512 /* bytes of one message; longer ones are cut */

struct ist_log {
    enum ist_log_level level; /* messages above it are dropped before they are formatted */
    /* session: the connection's id, 0 when the line is of none. message: NUL-terminated, no newline,
     * borrowed for the call; control characters have been replaced. May be called from any thread that
     * was given this log. */
    void (*write)(void *context, enum ist_log_level level, uint64_t session, const char *message);
    void *context;
};

/* Drops everything. Static storage. */
const struct ist_log *ist_log_null(void);

void ist_log_write(const struct ist_log *log, enum ist_log_level level, uint64_t session,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

#define ist_log_error(log, session, ...) ist_log_write((log), IST_LOG_ERROR, (session), __VA_ARGS__)
#define ist_log_warning(log, session, ...) ist_log_write((log), IST_LOG_WARNING, (session), __VA_ARGS__)
#define ist_log_info(log, session, ...) ist_log_write((log), IST_LOG_INFO, (session), __VA_ARGS__)
#define ist_log_debug(log, session, ...) ist_log_write((log), IST_LOG_DEBUG, (session), __VA_ARGS__)

#endif

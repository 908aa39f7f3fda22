#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static void null_write(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)level;
    (void)session;
    (void)message;
}

const struct ist_log *ist_log_null(void) {
    static const struct ist_log log = {.level = IST_LOG_ERROR, .write = null_write, .context = NULL};
    return &log;
}

void ist_log_write(const struct ist_log *log, enum ist_log_level level, uint64_t session,
                   const char *format, ...) {
    if (level > log->level) {
        return;
    }
    char line[IST_LOG_LINE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (length < 0) {
        return;
    }
    /* A peer's bytes may be part of the message: they must not forge a second line or drive a
     * terminal. */
    for (unsigned char *c = (unsigned char *)line; *c != '\0'; c++) {
        bool is_c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0; /* U+0080 to U+009F, as UTF-8 */
        if (*c < 0x20 || *c == 0x7f || is_c1) {
            *c = '?';
        }
    }
    log->write(log->context, level, session, line);
}

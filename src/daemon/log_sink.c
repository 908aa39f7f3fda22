#include "daemon/log_sink.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "daemon/clock.h"
#include "infinistore/limits.h"

static const char *level_name(enum ist_log_level level) {
    switch (level) {
    case IST_LOG_ERROR: return "ERROR";
    case IST_LOG_WARNING: return "WARN ";
    case IST_LOG_INFO: return "INFO ";
    case IST_LOG_DEBUG: return "DEBUG";
    }
    return "?";
}

size_t ist_log_sink_format(char line[IST_LOG_SINK_LINE_MAX], struct timespec wall,
                           enum ist_log_level level, uint64_t session, const char *message) {
    struct tm utc;
    gmtime_r(&wall.tv_sec, &utc);
    size_t used = strftime(line, IST_LOG_SINK_LINE_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    char who[24] = "";
    if (session != 0) {
        snprintf(who, sizeof(who), "#%" PRIu64 " ", session);
    }
    int more = snprintf(line + used, IST_LOG_SINK_LINE_MAX - used, ".%03ldZ %s %s%s\n",
                        wall.tv_nsec / 1000000, level_name(level), who, message);
    IST_ASSERT(more > 0);
    used += (size_t)more;
    if (used >= IST_LOG_SINK_LINE_MAX) {
        used = IST_LOG_SINK_LINE_MAX - 1;
        line[used - 1] = '\n';
    }
    return used;
}

uint64_t ist_log_sink_count(struct ist_log_sink *sink, uint64_t now_sec) {
    uint64_t period = now_sec / IST_LOG_SINK_PERIOD_SEC;
    if (atomic_exchange(&sink->period, period) != period) {
        atomic_store(&sink->lines, 0);
    }
    return atomic_fetch_add(&sink->lines, 1);
}

/* Whoever reads the other end of a pipe may have stopped to: a write would wait for him, and the loop with it. */
static bool would_wait(int fd) {
    struct pollfd sink = {.fd = fd, .events = POLLOUT};
    return poll(&sink, 1, 0) == 0;
}

void ist_log_sink_write(void *context, enum ist_log_level level, uint64_t session,
                        const char *message) {
    struct ist_log_sink *sink = context;
    int saved = errno; /* callers log in the middle of handling an error */
    if (session != 0 && level != IST_LOG_DEBUG) {
        uint64_t before = ist_log_sink_count(sink, ist_clock_ns() / IST_NS_PER_SEC);
        if (before > IST_LOG_SINK_LINES_MAX) {
            return;
        }
        if (before == IST_LOG_SINK_LINES_MAX) {
            session = 0;
            message = "too many lines about connections: no more of them for some seconds";
        }
    }
    if (!would_wait(sink->fd)) {
        char line[IST_LOG_SINK_LINE_MAX];
        struct timespec wall;
        clock_gettime(CLOCK_REALTIME, &wall);
        size_t bytes = ist_log_sink_format(line, wall, level, session, message);
        (void)!write(sink->fd, line, bytes);
    }
    errno = saved;
}

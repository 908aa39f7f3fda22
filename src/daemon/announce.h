/* Tells the world where the daemon listens, once it does: one log line, and a file for scripts that must
 * learn the ports that the kernel picked. */
#ifndef IST_DAEMON_ANNOUNCE_H
#define IST_DAEMON_ANNOUNCE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/log.h"
#include "infinistore/status.h"

struct ist_announcement {
    const char *kind;    /* "service", "manage", "unix" */
    const char *address; /* as a client would write it: "127.0.0.1:22345", "[::1]:22345", "/path" */
};

#define IST_ANNOUNCE_LINE_MAX IST_LOG_LINE_MAX

/* "ready: service 127.0.0.1:22345, manage 127.0.0.1:18080" */
void ist_announce_log(const struct ist_log *log, const struct ist_announcement *announcements,
                      size_t count);

/* What a file is known by, whatever its name. */
struct ist_announced {
    dev_t device;
    ino_t inode;
};

/* A line "kind address" for each. Whoever sees the file sees all of it: it is written beside `path` and renamed.
 * Returns OK, CONFIG (it cannot be written: it was logged). */
enum ist_status ist_announce_file(const struct ist_log *log, const char *path,
                                  const struct ist_announcement *announcements, size_t count,
                                  struct ist_announced *announced);
/* Removes it, unless another daemon, which begins while this one drains, has put its own there. */
void ist_announce_remove(const char *path, const struct ist_announced *announced);

#endif

/* The sockets that strangers connect to: TCP on several addresses, and one AF_UNIX path. Accepts in bounded
 * batches; when the system has no descriptor or memory left for another connection, it stops
 * accepting for a moment instead of spinning. No accept error ends anything. */
#ifndef IST_DAEMON_LISTENER_H
#define IST_DAEMON_LISTENER_H

#include <stddef.h>
#include <stdint.h>

#include <ev.h>

#include "base/alloc.h"
#include "base/log.h"
#include "infinistore/status.h"

struct ist_listeners;

#define IST_ACCEPT_BATCH 64             /* connections taken before others get their turn */
#define IST_ACCEPT_PAUSE_SEC 0.1        /* after EMFILE and its like */
#define IST_LISTENER_ADDRESS_BYTES 128u /* "[v6 address%scope]:port", or a path */

struct ist_listeners_config {
    struct ev_loop *loop; /* borrowed, as everything here */
    /* A new connection: non-blocking, close-on-exec; fd is the callee's. */
    void (*accepted)(void *context, int fd);
    void *context;
    const struct ist_alloc *alloc;
    const struct ist_log *log;
};

/* Returns OK, NO_MEMORY. */
enum ist_status ist_listeners_new(const struct ist_listeners_config *config,
                                  struct ist_listeners **listeners);
/* Stops. NULL is legal. */
void ist_listeners_free(struct ist_listeners *listeners);

/* Listen on every address of `host` (a name, IPv4, IPv6); "::" is IPv6 only. port 0: the kernel picks one.
 * Returns OK, CONFIG (no such host, or the address cannot be had: it was logged), NO_MEMORY. */
enum ist_status ist_listeners_add_tcp(struct ist_listeners *listeners, const char *host, uint16_t port);
/* A socket that a dead process left at `path` is replaced; anything else there is not touched.
 * Returns OK, CONFIG (path too long, in use, not a socket, no permission: it was logged), NO_MEMORY. */
enum ist_status ist_listeners_add_unix(struct ist_listeners *listeners, const char *path);

/* From now on, connections come in. */
void ist_listeners_start(struct ist_listeners *listeners);

/* No connection comes in from now on, and others may take the addresses; the AF_UNIX path is removed. For
 * good. */
void ist_listeners_stop(struct ist_listeners *listeners);

/* What the n-th listens on: *kind is "service" or "unix", the address as a client would write it, with the
 * actual port. NULL when there is no n-th. Borrowed for the listeners' life. */
const char *ist_listeners_address(const struct ist_listeners *listeners, size_t n, const char **kind);

#endif

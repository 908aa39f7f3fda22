/* Listening TCP sockets, for the service port and the manage port alike. */
#ifndef IST_DAEMON_BIND_H
#define IST_DAEMON_BIND_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "infinistore/status.h"

#define IST_BOUND_MAX 16            /* addresses that one host may have */
#define IST_BOUND_ADDRESS_BYTES 128 /* "[v6 address%scope]:port" */

struct ist_bound {
    int fd; /* non-blocking, close-on-exec, listening; what it accepts has TCP_NODELAY and keep-alive */
    char address[IST_BOUND_ADDRESS_BYTES]; /* as a client would write it, with the actual port */
};

/* Listens on every address of `host` (a name, IPv4, IPv6); "::" is IPv6 only. port 0: the kernel picks one.
 * bound, count  written on OK; the descriptors are the caller's. At least one.
 * Returns OK, CONFIG (no such host, more than IST_BOUND_MAX addresses, or one cannot be had: it was logged, and
 * nothing is left open). */
enum ist_status ist_bind_tcp(const struct ist_log *log, const char *host, uint16_t port,
                             struct ist_bound bound[IST_BOUND_MAX], size_t *count);

#endif

#include "daemon/bind.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Pending connections; the kernel cuts it at net.core.somaxconn. */
#define BACKLOG 4096
/* A peer whose machine vanished is noticed after idle + count * interval seconds. */
#define KEEPALIVE_IDLE_SEC 60
#define KEEPALIVE_INTERVAL_SEC 10
#define KEEPALIVE_COUNT 6

static bool set_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

/* Accepted sockets inherit all of these. */
static bool set_options(int fd, int family) {
    return set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
           (family != AF_INET6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) &&
           set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) && set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SEC) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SEC) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

static bool write_address(struct ist_bound *bound) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof(storage);
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (getsockname(bound->fd, (struct sockaddr *)&storage, &length) != 0 ||
        getnameinfo((struct sockaddr *)&storage, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return false;
    }
    bool v6 = storage.ss_family == AF_INET6;
    int written = snprintf(bound->address, sizeof(bound->address), "%s%s%s:%s", v6 ? "[" : "", host,
                           v6 ? "]" : "", port);
    return written > 0 && (size_t)written < sizeof(bound->address);
}

/* False: errno tells why, and nothing is open. */
static bool bind_one(const struct addrinfo *address, struct ist_bound *bound) {
    bound->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (bound->fd < 0) {
        return false;
    }
    if (set_options(bound->fd, address->ai_family) &&
        bind(bound->fd, address->ai_addr, address->ai_addrlen) == 0 &&
        listen(bound->fd, BACKLOG) == 0 && write_address(bound)) {
        return true;
    }
    int saved = errno;
    close(bound->fd);
    errno = saved;
    return false;
}

enum ist_status ist_bind_tcp(const struct ist_log *log, const char *host, uint16_t port,
                             struct ist_bound bound[IST_BOUND_MAX], size_t *count) {
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char service[8];
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    struct addrinfo *addresses = NULL;
    int error = getaddrinfo(host, service, &hints, &addresses);
    if (error != 0) {
        ist_log_error(log, 0, "cannot listen on %s: %s", host,
                      error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        return IST_CONFIG;
    }
    size_t used = 0;
    bool all = true;
    for (const struct addrinfo *a = addresses; a != NULL && all; a = a->ai_next) {
        errno = E2BIG;
        all = used < IST_BOUND_MAX && bind_one(a, &bound[used]);
        used += all;
    }
    if (!all) {
        ist_log_error(log, 0, "cannot listen on %s port %u: %s", host, (unsigned)port, strerror(errno));
        while (used > 0) {
            close(bound[--used].fd);
        }
    }
    freeaddrinfo(addresses);
    if (!all) {
        return IST_CONFIG;
    }
    *count = used;
    return IST_OK;
}

#include "daemon/listener.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "daemon/bind.h"

/* Pending connections on the path; the kernel cuts it at net.core.somaxconn. */
#define BACKLOG 4096
#define WARNING_REST_SEC 10.

_Static_assert(IST_BOUND_ADDRESS_BYTES <= IST_LISTENER_ADDRESS_BYTES, "an address fits its listener");

struct listener {
    ev_io io;
    struct ist_listeners *owner;
    int fd;
    const char *kind;
    char address[IST_LISTENER_ADDRESS_BYTES];
    /* AF_UNIX: what is ours to remove. */
    bool has_path;
    dev_t device;
    ino_t inode;
};

struct ist_listeners {
    struct ist_listeners_config config;
    struct listener **items;
    size_t count;
    ev_timer resume;
    ev_tstamp warned; /* when a pause was last logged */
};

static void start_all(struct ist_listeners *listeners) {
    for (size_t i = 0; i < listeners->count; i++) {
        ev_io_start(listeners->config.loop, &listeners->items[i]->io);
    }
}

static void pause_all(struct ist_listeners *listeners) {
    for (size_t i = 0; i < listeners->count; i++) {
        ev_io_stop(listeners->config.loop, &listeners->items[i]->io);
    }
    ev_timer_set(&listeners->resume, IST_ACCEPT_PAUSE_SEC, 0.);
    ev_timer_start(listeners->config.loop, &listeners->resume);
}

/* A shortage lasts: one line of it now and then is enough. */
static void warn_of_pause(struct ist_listeners *listeners) {
    ev_tstamp now = ev_now(listeners->config.loop);
    if (now - listeners->warned >= WARNING_REST_SEC) {
        listeners->warned = now;
        ist_log_warning(listeners->config.log, 0, "cannot accept connections for now: %s",
                        strerror(errno));
    }
}

static void on_resume(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)loop;
    (void)revents;
    start_all(timer->data);
}

static void on_acceptable(struct ev_loop *loop, ev_io *io, int revents) {
    (void)loop;
    (void)revents;
    struct listener *listener = io->data;
    struct ist_listeners *owner = listener->owner;
    for (int i = 0; i < IST_ACCEPT_BATCH; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            owner->config.accepted(owner->config.context, fd);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            warn_of_pause(owner);
            pause_all(owner);
            return;
        }
        /* Anything else is about that one connection, which is gone (man 2 accept: treat network errors
         * like EAGAIN). */
        ist_log_debug(owner->config.log, 0, "accept: %s", strerror(errno));
    }
}

enum ist_status ist_listeners_new(const struct ist_listeners_config *config,
                                  struct ist_listeners **listeners) {
    struct ist_listeners *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->config = *config;
    ev_init(&new->resume, on_resume);
    new->resume.data = new;
    *listeners = new;
    return IST_OK;
}

/* The path, if it is still the socket that we made. */
static void remove_path(const struct listener *listener) {
    struct stat found;
    if (listener->has_path && lstat(listener->address, &found) == 0 &&
        found.st_dev == listener->device && found.st_ino == listener->inode) {
        (void)unlink(listener->address);
    }
}

void ist_listeners_stop(struct ist_listeners *listeners) {
    ev_timer_stop(listeners->config.loop, &listeners->resume);
    for (size_t i = 0; i < listeners->count; i++) {
        struct listener *listener = listeners->items[i];
        ev_io_stop(listeners->config.loop, &listener->io);
        if (listener->fd >= 0) {
            remove_path(listener);
            close(listener->fd);
            listener->fd = -1;
        }
    }
}

void ist_listeners_free(struct ist_listeners *listeners) {
    if (listeners == NULL) {
        return;
    }
    ist_listeners_stop(listeners);
    for (size_t i = 0; i < listeners->count; i++) {
        ist_release(listeners->config.alloc, listeners->items[i]);
    }
    ist_release(listeners->config.alloc, listeners->items);
    ist_release(listeners->config.alloc, listeners);
}

/* A new listener at the end, still without a socket. */
static struct listener *append(struct ist_listeners *listeners, const char *kind) {
    const struct ist_alloc *alloc = listeners->config.alloc;
    struct listener **items =
        ist_resize_array(alloc, listeners->items, listeners->count + 1, sizeof(*items));
    if (items == NULL) {
        return NULL;
    }
    listeners->items = items;
    struct listener *listener = ist_allocate_zeroed(alloc, 1, sizeof(*listener));
    if (listener == NULL) {
        return NULL;
    }
    listener->owner = listeners;
    listener->fd = -1;
    listener->kind = kind;
    items[listeners->count++] = listener;
    return listener;
}

static void drop_last(struct ist_listeners *listeners) {
    struct listener *listener = listeners->items[--listeners->count];
    if (listener->fd >= 0) {
        close(listener->fd);
    }
    ist_release(listeners->config.alloc, listener);
}

static void watch(struct listener *listener) {
    ev_io_init(&listener->io, on_acceptable, listener->fd, EV_READ);
    listener->io.data = listener;
}

static enum ist_status add_bound(struct ist_listeners *listeners, const struct ist_bound *bound) {
    struct listener *listener = append(listeners, "service");
    if (listener == NULL) {
        return IST_NO_MEMORY;
    }
    listener->fd = bound->fd;
    memcpy(listener->address, bound->address, sizeof(bound->address));
    watch(listener);
    return IST_OK;
}

enum ist_status ist_listeners_add_tcp(struct ist_listeners *listeners, const char *host,
                                      uint16_t port) {
    struct ist_bound bound[IST_BOUND_MAX];
    size_t count = 0;
    enum ist_status status = ist_bind_tcp(listeners->config.log, host, port, bound, &count);
    if (status != IST_OK) {
        return status;
    }
    size_t added = 0;
    while (added < count && (status = add_bound(listeners, &bound[added])) == IST_OK) {
        added++;
    }
    if (status != IST_OK) {
        for (size_t i = added; i < count; i++) {
            close(bound[i].fd);
        }
        while (added-- > 0) {
            drop_last(listeners);
        }
    }
    return status;
}

/* True when a socket at this path has nobody behind it. */
static bool is_stale(const struct sockaddr_un *address) {
    struct stat found;
    if (lstat(address->sun_path, &found) != 0 || !S_ISSOCK(found.st_mode)) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool stale =
        connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static bool bind_path(int fd, const struct sockaddr_un *address) {
    const struct sockaddr *any = (const struct sockaddr *)address;
    if (bind(fd, any, sizeof(*address)) == 0) {
        return true;
    }
    if (errno != EADDRINUSE) {
        return false;
    }
    if (!is_stale(address)) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(address->sun_path) == 0 && bind(fd, any, sizeof(*address)) == 0;
}

enum ist_status ist_listeners_add_unix(struct ist_listeners *listeners, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address.sun_path)) {
        ist_log_error(listeners->config.log, 0,
                      "cannot listen on the path %s: 1 to %zu bytes are possible", path,
                      sizeof(address.sun_path) - 1);
        return IST_CONFIG;
    }
    memcpy(address.sun_path, path, length + 1);
    struct listener *listener = append(listeners, "unix");
    if (listener == NULL) {
        return IST_NO_MEMORY;
    }
    IST_ASSERT(length < sizeof(listener->address));
    memcpy(listener->address, path, length + 1);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0 || !bind_path(listener->fd, &address)) {
        goto no_socket;
    }
    struct stat made;
    if (lstat(path, &made) == 0) {
        listener->has_path = true;
        listener->device = made.st_dev;
        listener->inode = made.st_ino;
    }
    if (listen(listener->fd, BACKLOG) != 0) {
        remove_path(listener);
        goto no_socket;
    }
    watch(listener);
    return IST_OK;

no_socket:
    ist_log_error(listeners->config.log, 0, "cannot listen on the path %s: %s", path, strerror(errno));
    drop_last(listeners);
    return IST_CONFIG;
}

void ist_listeners_start(struct ist_listeners *listeners) {
    start_all(listeners);
}

const char *ist_listeners_address(const struct ist_listeners *listeners, size_t n, const char **kind) {
    if (n >= listeners->count) {
        return NULL;
    }
    *kind = listeners->items[n]->kind;
    return listeners->items[n]->address;
}

/* The descriptor of those who wait for a client with poll, epoll or libev: an epoll descriptor over the connection's
 * sources, a timer for deadlines, and an event for what happens elsewhere. The leader of blocking calls waits for the
 * event, too. Everything is guarded by the driver's lock. */
#ifndef IST_CLIENT_WAKEUP_H
#define IST_CLIENT_WAKEUP_H

#include <stdbool.h>
#include <stdint.h>

#include "client/connection.h"

struct ist_wakeup {
    int epoll_fd, timer_fd, event_fd;
    bool event_set;
    uint64_t timer_ns;                    /* what timer_fd is set to; IST_NO_DEADLINE_NS: not set */
    struct ist_wait watched[IST_SOURCES]; /* what is in epoll_fd, and what for */
};

/* False: no descriptors (errno is set); none is left open. */
bool ist_wakeup_open(struct ist_wakeup *wakeup);
void ist_wakeup_close(struct ist_wakeup *wakeup);

/* The epoll descriptor becomes readable, until it is cleared. */
void ist_wakeup_set_event(struct ist_wakeup *wakeup);
void ist_wakeup_clear_event(struct ist_wakeup *wakeup);

/* at_ns: IST_NO_DEADLINE_NS disarms. */
void ist_wakeup_set_timer(struct ist_wakeup *wakeup, uint64_t at_ns);

/* All that the connection waits for now. False: the kernel refused, so nobody would hear of it. */
bool ist_wakeup_watch(struct ist_wakeup *wakeup, const struct ist_connection *connection);
/* Before a descriptor is closed. wakeup: a struct ist_wakeup. */
void ist_wakeup_forget(void *wakeup, int fd);
/* Asks, without waiting, which of the sources are ready, and for what. False: the kernel cannot tell. */
bool ist_wakeup_look(const struct ist_wakeup *wakeup, short ready[IST_SOURCES]);

#endif

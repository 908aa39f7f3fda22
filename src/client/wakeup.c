#include "client/wakeup.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/clock.h"

#define OTHERS 2u /* beside the sources: the timer and the event */

/* ---- open, close ---------------------------------------------------------------------------------------- */

void ist_wakeup_close(struct ist_wakeup *wakeup) {
    const int fds[3] = {wakeup->epoll_fd, wakeup->timer_fd, wakeup->event_fd};
    for (size_t i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

bool ist_wakeup_open(struct ist_wakeup *wakeup) {
    *wakeup = (struct ist_wakeup){.timer_ns = IST_NO_DEADLINE_NS};
    wakeup->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wakeup->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    wakeup->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = IST_SOURCES};
    bool is_open = wakeup->epoll_fd >= 0 && wakeup->timer_fd >= 0 && wakeup->event_fd >= 0 &&
                   epoll_ctl(wakeup->epoll_fd, EPOLL_CTL_ADD, wakeup->timer_fd, &event) == 0 &&
                   epoll_ctl(wakeup->epoll_fd, EPOLL_CTL_ADD, wakeup->event_fd, &event) == 0;
    if (!is_open) {
        ist_wakeup_close(wakeup);
    }
    return is_open;
}

/* ---- event and timer ------------------------------------------------------------------------------------ */

void ist_wakeup_set_event(struct ist_wakeup *wakeup) {
    if (!wakeup->event_set) {
        wakeup->event_set = true;
        ssize_t written = write(wakeup->event_fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written; /* cannot fail: the counter is 0 */
    }
}

void ist_wakeup_clear_event(struct ist_wakeup *wakeup) {
    if (wakeup->event_set) {
        uint64_t count;
        ssize_t got = read(wakeup->event_fd, &count, sizeof(count));
        (void)got;
        wakeup->event_set = false;
    }
}

void ist_wakeup_set_timer(struct ist_wakeup *wakeup, uint64_t at_ns) {
    struct itimerspec setting = {0}; /* disarms */
    if (at_ns != IST_NO_DEADLINE_NS) {
        setting.it_value = ist_timespec_of(at_ns == 0 ? 1 : at_ns);
    }
    if (timerfd_settime(wakeup->timer_fd, TFD_TIMER_ABSTIME, &setting, NULL) == 0) {
        wakeup->timer_ns = at_ns;
    }
}

/* ---- the connection's descriptors ----------------------------------------------------------------------- */

static uint32_t epoll_events_of(short events) {
    return ((events & POLLIN) != 0 ? EPOLLIN : 0u) | ((events & POLLOUT) != 0 ? EPOLLOUT : 0u);
}

static bool watch_source(struct ist_wakeup *wakeup, const struct ist_connection *connection,
                         enum ist_connection_source source) {
    struct ist_wait wait = ist_connection_wait(connection, source);
    struct ist_wait *watched = &wakeup->watched[source];
    bool is_new = watched->generation != wait.generation;
    if (wait.fd < 0 || (!is_new && wait.events == watched->events)) {
        return true;
    }
    struct epoll_event event = {.events = epoll_events_of(wait.events), .data.u32 = source};
    /* One that was closed has left: see ist_wakeup_forget(). */
    if (epoll_ctl(wakeup->epoll_fd, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, wait.fd, &event) != 0) {
        return false;
    }
    *watched = wait;
    return true;
}

bool ist_wakeup_watch(struct ist_wakeup *wakeup, const struct ist_connection *connection) {
    return watch_source(wakeup, connection, IST_SOURCE_SOCKET) &&
           watch_source(wakeup, connection, IST_SOURCE_MESSAGES) &&
           watch_source(wakeup, connection, IST_SOURCE_DEVICE);
}

/* What is closed leaves by itself only when no child of a fork() still has it open (man 7 epoll, Questions). Then its end
 * would be told for ever. */
void ist_wakeup_forget(void *wakeup, int fd) {
    const struct ist_wakeup *of = wakeup;
    (void)epoll_ctl(of->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* it need not be in there */
}

bool ist_wakeup_look(const struct ist_wakeup *wakeup, short ready[IST_SOURCES]) {
    struct epoll_event events[IST_SOURCES + OTHERS];
    int count = epoll_wait(wakeup->epoll_fd, events, IST_SOURCES + OTHERS, 0);
    memset(ready, 0, IST_SOURCES * sizeof(*ready));
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 < IST_SOURCES) {
            ready[events[i].data.u32] = POLLIN | POLLOUT;
        }
    }
    return count >= 0;
}

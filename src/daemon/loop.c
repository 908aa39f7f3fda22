#include "daemon/loop.h"

#include <inttypes.h>
#include <signal.h>

#include "base/size.h"
#include "daemon/clock.h"
#include "daemon/edge.h"

/* How late a deadline may come before it is not the peers' fault, and what they get then. */
#define LATE_NS IST_NS_PER_SEC
#define GRACE_SEC 1.

struct ist_loop {
    struct ist_loop_config config;
    ev_prepare prepare;
    ev_timer deadline, drain_limit, grow;
    ev_timer evict, evict_more; /* when it is time to, and in the next turn */
    ev_timer take_again;        /* what the store had no memory of its own for */
    ev_io memory, control;
    ev_signal terminate, interrupt;
    uint64_t armed_ns; /* what `deadline` waits for; IST_NEVER_NS when it does not run; 0: a grace */
    uint64_t grow_after_ns, refusals;
    uint64_t waiting_bytes;  /* of the pool's memory, that the store does not have yet */
    uint64_t evict_to_bytes; /* used, when enough has gone */
    bool draining, cut_off;
};

static void start_deadline(struct ist_loop *loop, double seconds) {
    ev_timer_stop(loop->config.ev, &loop->deadline);
    ev_now_update(loop->config.ev); /* else it counts from the time at which this turn began */
    ev_timer_set(&loop->deadline, seconds, 0.);
    ev_timer_start(loop->config.ev, &loop->deadline);
}

/* Only ever moved forward in time by firing: most deadlines are replaced by later ones long before they
 * come, and a timer that wakes up for nothing once is cheaper than one moved at every request. */
static void arm_deadline(struct ist_loop *loop) {
    uint64_t deadline_ns = ist_engine_deadline_ns(loop->config.engine);
    if (deadline_ns >= loop->armed_ns) {
        return;
    }
    uint64_t now_ns = ist_clock_ns();
    start_deadline(loop, deadline_ns > now_ns ? (double)(deadline_ns - now_ns) / 1e9 : 0.);
    loop->armed_ns = deadline_ns;
}

/* When this comes very late the process itself stood still (a signal, a virtual machine that moved). It is not the peers
 * that were: what they have sent meanwhile is read first. */
static void on_deadline(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)ev;
    (void)revents;
    struct ist_loop *loop = timer->data;
    uint64_t now_ns = ist_clock_ns();
    if (loop->armed_ns != 0 && now_ns > loop->armed_ns && now_ns - loop->armed_ns >= LATE_NS) {
        start_deadline(loop, GRACE_SEC);
        loop->armed_ns = 0;
        return;
    }
    loop->armed_ns = IST_NEVER_NS;
    ist_engine_tick(loop->config.engine, now_ns);
}

/* Before the loop waits: whatever this turn has changed elsewhere. */
static void on_prepare(struct ev_loop *ev, ev_prepare *prepare, int revents) {
    (void)revents;
    struct ist_loop *loop = prepare->data;
    ist_edge_run_changed(loop->config.engine);
    arm_deadline(loop);
    if (loop->draining && ist_tcp_connections(loop->config.tcp) == 0) {
        ev_break(ev, EVBREAK_ALL);
    }
}

/* What has come of the pool's memory; nothing: it was told that there is no more. */
static void take_memory(struct ist_loop *loop) {
    loop->waiting_bytes += ist_memory_take(loop->config.memory);
    const uint64_t bytes = loop->waiting_bytes;
    enum ist_status status = bytes == 0 ? IST_OK : ist_store_grow(loop->config.store, bytes);
    if (status == IST_NO_MEMORY) {
        if (!ev_is_active(&loop->take_again)) {
            ist_log_warning(loop->config.log, 0,
                            "the pool cannot use %" PRIu64 " bytes more for now: %s", bytes,
                            ist_status_text(status));
            ev_timer_again(loop->config.ev, &loop->take_again);
        }
        return;
    }
    ev_timer_stop(loop->config.ev, &loop->take_again);
    if (status != IST_OK) {
        ist_log_error(loop->config.log, 0, "the pool cannot use %" PRIu64 " bytes more: %s", bytes,
                      ist_status_text(status));
        ev_io_stop(loop->config.ev, &loop->memory);
        ist_engine_set_pool_target(loop->config.engine, 0);
        return;
    }
    loop->waiting_bytes = 0;
    struct ist_memory_state state;
    ist_memory_state(loop->config.memory, &state);
    ist_engine_set_pool_target(loop->config.engine, state.target_bytes);
    if (bytes > 0 && state.ready_bytes == state.target_bytes) {
        char text[IST_SIZE_TEXT_MAX];
        ist_log_info(loop->config.log, 0, "the pool has its %s",
                     ist_size_text(state.ready_bytes, text));
    }
}

static void on_memory(struct ev_loop *ev, ev_io *io, int revents) {
    (void)ev;
    (void)revents;
    take_memory(io->data);
}

static void on_take_again(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)ev;
    (void)revents;
    take_memory(timer->data);
}

static void on_grow(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)ev;
    (void)revents;
    struct ist_loop *loop = timer->data;
    struct ist_store_usage usage;
    struct ist_memory_state state;
    ist_store_usage(loop->config.store, &usage);
    ist_memory_state(loop->config.memory, &state);
    if (state.refusals != loop->refusals) {
        loop->refusals = state.refusals;
        loop->grow_after_ns = ist_clock_ns() + IST_LOOP_GROW_REST_NS;
    }
    uint64_t bytes = ist_upkeep_grow_to(&loop->config.upkeep, &usage, &state);
    if (bytes > 0 && ist_clock_ns() >= loop->grow_after_ns) {
        char text[IST_SIZE_TEXT_MAX];
        ist_log_info(loop->config.log, 0, "the pool grows to %s", ist_size_text(bytes, text));
        ist_memory_grow(loop->config.memory, bytes);
        ist_engine_set_pool_target(loop->config.engine, bytes);
    }
}

/* A step of it: to let millions of entries go takes long, and others want to be served. */
static void evict_some(struct ist_loop *loop) {
    struct ist_store_usage usage;
    ist_store_usage(loop->config.store, &usage);
    uint64_t used = usage.pool_bytes - usage.free_bytes;
    if (used <= loop->evict_to_bytes || usage.keys == 0) {
        return;
    }
    uint64_t left = used - loop->evict_to_bytes;
    uint64_t step = usage.committed_bytes / usage.keys * IST_LOOP_EVICT_ENTRIES;
    uint64_t wanted = left < step ? left : step;
    if (ist_store_evict(loop->config.store, wanted) >= wanted && wanted < left) {
        ev_timer_start(loop->config.ev, &loop->evict_more);
    }
}

static void on_evict(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)ev;
    (void)revents;
    struct ist_loop *loop = timer->data;
    struct ist_store_usage usage;
    struct ist_memory_state state;
    ist_store_usage(loop->config.store, &usage);
    ist_memory_state(loop->config.memory, &state);
    uint64_t bytes = ist_upkeep_evict_bytes(&loop->config.upkeep, &usage, &state);
    if (bytes > 0) {
        ist_log_debug(loop->config.log, 0, "periodic eviction of %" PRIu64 " bytes", bytes);
        loop->evict_to_bytes = usage.pool_bytes - usage.free_bytes - bytes;
        evict_some(loop);
    }
}

static void on_evict_more(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)ev;
    (void)revents;
    evict_some(timer->data);
}

static void on_control(struct ev_loop *ev, ev_io *io, int revents) {
    (void)ev;
    (void)revents;
    struct ist_loop *loop = io->data;
    loop->config.control(loop->config.control_context);
}

static void on_drain_limit(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)revents;
    struct ist_loop *loop = timer->data;
    ist_log_warning(loop->config.log, 0, "%zu connections still open after the drain timeout",
                    ist_tcp_connections(loop->config.tcp));
    ev_break(ev, EVBREAK_ALL);
}

static void on_signal(struct ev_loop *ev, ev_signal *watcher, int revents) {
    (void)revents;
    struct ist_loop *loop = watcher->data;
    if (loop->draining) {
        ist_log_warning(loop->config.log, 0, "signal %d again: ending at once", watcher->signum);
        loop->cut_off = true;
        ev_break(ev, EVBREAK_ALL);
        return;
    }
    ist_log_info(loop->config.log, 0, "signal %d: draining %zu connections", watcher->signum,
                 ist_tcp_connections(loop->config.tcp));
    loop->draining = true;
    ist_listeners_stop(loop->config.listeners);
    ist_engine_drain(loop->config.engine, ist_clock_ns());
    ev_timer_set(&loop->drain_limit, (double)loop->config.drain_timeout_ns / 1e9, 0.);
    ev_timer_start(ev, &loop->drain_limit);
}

static void init_watchers(struct ist_loop *loop) {
    ev_prepare_init(&loop->prepare, on_prepare);
    ev_init(&loop->deadline, on_deadline);
    ev_init(&loop->drain_limit, on_drain_limit);
    ev_timer_init(&loop->grow, on_grow, IST_LOOP_UPKEEP_SEC, IST_LOOP_UPKEEP_SEC);
    ev_timer_init(&loop->evict, on_evict, loop->config.evict_interval_sec,
                  loop->config.evict_interval_sec);
    ev_timer_init(&loop->evict_more, on_evict_more, 0., 0.);
    ev_timer_init(&loop->take_again, on_take_again, 0., IST_LOOP_TAKE_AGAIN_SEC);
    ev_io_init(&loop->memory, on_memory, ist_memory_fd(loop->config.memory), EV_READ);
    ev_io_init(&loop->control, on_control, loop->config.control_fd, EV_READ);
    ev_signal_init(&loop->terminate, on_signal, SIGTERM);
    ev_signal_init(&loop->interrupt, on_signal, SIGINT);
    loop->prepare.data = loop;
    loop->deadline.data = loop;
    loop->drain_limit.data = loop;
    loop->grow.data = loop;
    loop->evict.data = loop;
    loop->evict_more.data = loop;
    loop->take_again.data = loop;
    loop->memory.data = loop;
    loop->control.data = loop;
    loop->terminate.data = loop;
    loop->interrupt.data = loop;
}

enum ist_status ist_loop_new(const struct ist_loop_config *config, struct ist_loop **loop) {
    struct ist_loop *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    struct ist_memory_state state;
    ist_memory_state(config->memory, &state);
    ist_engine_set_pool_target(config->engine, state.target_bytes);
    new->config = *config;
    new->armed_ns = IST_NEVER_NS;
    init_watchers(new);
    ev_prepare_start(config->ev, &new->prepare);
    ev_io_start(config->ev, &new->memory);
    ev_signal_start(config->ev, &new->terminate);
    ev_signal_start(config->ev, &new->interrupt);
    if (config->control_fd >= 0) {
        ev_io_start(config->ev, &new->control);
    }
    if (config->upkeep.auto_increase) {
        ev_timer_start(config->ev, &new->grow);
    }
    if (config->upkeep.periodic_evict) {
        ev_timer_start(config->ev, &new->evict);
    }
    *loop = new;
    return IST_OK;
}

void ist_loop_free(struct ist_loop *loop) {
    if (loop == NULL) {
        return;
    }
    struct ev_loop *ev = loop->config.ev;
    ev_prepare_stop(ev, &loop->prepare);
    ev_timer_stop(ev, &loop->deadline);
    ev_timer_stop(ev, &loop->drain_limit);
    ev_timer_stop(ev, &loop->grow);
    ev_timer_stop(ev, &loop->evict);
    ev_timer_stop(ev, &loop->evict_more);
    ev_timer_stop(ev, &loop->take_again);
    ev_io_stop(ev, &loop->memory);
    ev_io_stop(ev, &loop->control);
    ev_signal_stop(ev, &loop->terminate);
    ev_signal_stop(ev, &loop->interrupt);
    ist_release(loop->config.alloc, loop);
}

bool ist_loop_run(struct ist_loop *loop) {
    ev_run(loop->config.ev, 0);
    return !loop->cut_off;
}

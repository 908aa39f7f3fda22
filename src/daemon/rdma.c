#include "daemon/rdma.h"

#include <sched.h>

#include "daemon/clock.h"
#include "daemon/rdma_state.h"
#include "engine/session.h"

#define EVENTS_MAX 32u
#define POLL_ROUNDS 4u /* until nothing follows from what was done */
#define LOOKS 16u      /* before others get the CPU */
#define LOOK_NS 100000 /* before the loop turns */

/* ---- completions ------------------------------------------------------------------------------------ */

static void handle(struct ist_rdma *rdma, const struct ist_completion_event *event, uint64_t now_ns) {
    struct ist_rdma_connection *connection =
        event->queue_pair == NULL ? NULL : ist_queue_pair_user(event->queue_pair);
    /* Nothing has been posted yet: this is of a dead queue pair that had the number before. */
    if (connection != NULL && connection->is_connecting && !event->has_buffer) {
        return;
    }
    if (connection == NULL || connection->is_broken || event->kind == IST_COMPLETION_FAILED) {
        if (event->has_buffer) {
            ist_rdma_give_back(rdma, event->buffer);
        }
        if (connection == NULL) {
            return;
        }
        if (!event->has_buffer) {
            (void)ist_queue_pair_retire(connection->queue_pair, event->count);
        }
        if (!connection->is_broken) {
            ist_log_warning(rdma->config.log, connection->id, "RDMA to a client failed: %s: closing",
                            event->failure);
        }
        ist_rdma_break(connection);
        return;
    }
    if (event->kind == IST_COMPLETION_RECEIVED) {
        ist_rdma_hold(connection, event);
    } else {
        uint64_t works = ist_queue_pair_retire(connection->queue_pair, event->count);
        if (works > 0) {
            ist_session_work_done(connection->session, works, now_ns);
        }
    }
    ist_rdma_mark(connection);
}

static void break_all(struct ist_rdma *rdma) {
    for (struct ist_rdma_connection *c = rdma->first; c != NULL; c = c->next) {
        ist_rdma_break(c);
    }
}

/* Up to a share of what is there. Returns how many. now_ns: written if there are any. */
static size_t take_completions(struct ist_rdma *rdma, uint64_t *now_ns) {
    struct ist_completion_event events[EVENTS_MAX];
    size_t total = 0, count = EVENTS_MAX;
    while (count == EVENTS_MAX && total < IST_RDMA_POLL_BUDGET) {
        count = ist_completion_poll(rdma->completion, events, EVENTS_MAX);
        if (count > 0 && total == 0) {
            *now_ns = rdma->worked_ns = ist_clock_ns();
        }
        for (size_t i = 0; i < count; i++) {
            handle(rdma, &events[i], *now_ns);
        }
        total += count;
    }
    rdma->has_more = count == EVENTS_MAX;
    return total;
}

static void stop_polling(struct ev_loop *loop, struct ist_rdma *rdma) {
    ev_check_stop(loop, &rdma->poll);
    ev_idle_stop(loop, &rdma->no_sleep);
}

static void bury(struct ev_loop *loop, struct ist_rdma *rdma) {
    /* Its descriptors would be readable for ever, and tell nothing. */
    ev_io_stop(loop, &rdma->completions);
    ev_io_stop(loop, &rdma->events);
    stop_polling(loop, rdma);
    break_all(rdma);
    rdma->has_more = false;
    if (!rdma->is_buried && rdma->config.died != NULL) {
        rdma->config.died(rdma->config.died_context);
    }
    rdma->is_buried = true;
}

/* Work that has been posted may be complete already, e.g. where the kernel does it: found now it costs no event. Returns
 * whether there was anything. */
static bool poll_completions(struct ev_loop *loop, struct ist_rdma *rdma) {
    size_t count = 1, total = 0;
    for (unsigned round = 0; round < POLL_ROUNDS && count > 0; round++) {
        uint64_t now_ns = 0;
        count = take_completions(rdma, &now_ns);
        total += count;
        rdma->is_dead |= ist_completion_has_failed(rdma->completion);
        if (rdma->is_dead) {
            bury(loop, rdma);
        }
        if (rdma->pending_count > 0) {
            ist_rdma_run_pending(rdma, count > 0 ? now_ns : ist_clock_ns());
        }
    }
    rdma->has_more |= count > 0 && !rdma->is_dead;
    if (rdma->has_more) {
        ev_timer_start(loop, &rdma->again); /* no event comes for what is still in the queue */
    }
    return total > 0;
}

/* ---- events ----------------------------------------------------------------------------------------- */

/* What nobody waits for need not wake the loop: it is taken note of with what comes next, or when the timer is over. Messages
 * are sent with the solicited event (see PROTOCOL.md); that timer also makes up for who does not. */
static enum ist_rdma_armed wanted_events(const struct ist_rdma *rdma) {
    return rdma->waiting_count > 0 || rdma->is_late ? IST_RDMA_ARMED_FOR_ALL
                                                    : IST_RDMA_ARMED_FOR_MESSAGES;
}

/* Before the loop sleeps. What completes before the queue is armed gives no event: it is looked for once more, and may
 * be what all events are wanted for. */
static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int revents) {
    (void)revents;
    struct ist_rdma *rdma = prepare->data;
    enum ist_rdma_armed wanted;
    while (!ev_is_active(&rdma->poll) && !rdma->has_more && !rdma->is_dead &&
           rdma->armed < (wanted = wanted_events(rdma))) {
        ist_completion_arm_again(rdma->completion, rdma->has_event,
                                 wanted == IST_RDMA_ARMED_FOR_MESSAGES);
        rdma->armed = wanted;
        rdma->has_event = false;
        if (wanted == IST_RDMA_ARMED_FOR_MESSAGES) {
            ev_timer_again(loop, &rdma->reap);
        }
        if (poll_completions(loop, rdma)) {
            ev_timer_start(loop, &rdma->again); /* others may have work by what was done */
        }
    }
}

static void on_reap(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)revents;
    struct ist_rdma *rdma = timer->data;
    ev_timer_stop(loop, timer);
    rdma->is_late = true;
    (void)poll_completions(loop, rdma);
}

static void on_completions(struct ev_loop *loop, ev_io *io, int revents) {
    (void)revents;
    struct ist_rdma *rdma = io->data;
    rdma->armed = IST_RDMA_NOT_ARMED;
    rdma->is_late = false;
    if (rdma->config.poll_ns == 0) {
        rdma->has_event = true; /* it stays on the descriptor until the next arming */
    } else {
        ist_completion_take(rdma->completion);
        rdma->worked_ns = ist_clock_ns();
        ev_check_start(loop, &rdma->poll);
        ev_idle_start(loop, &rdma->no_sleep);
    }
    (void)poll_completions(loop, rdma);
}

/* Who shares the CPU with those that it waits for lets them go on. */
static bool look(struct ev_loop *loop, struct ist_rdma *rdma) {
    bool found = false;
    for (unsigned i = 0; i < LOOKS && !found; i++) {
        found = poll_completions(loop, rdma);
    }
    if (!found) {
        sched_yield();
    }
    return found;
}

/* A turn of the loop costs more than a look: sockets and timers are served now and then. */
static void on_poll(struct ev_loop *loop, ev_check *check, int revents) {
    (void)revents;
    struct ist_rdma *rdma = check->data;
    uint64_t begun_ns = ist_clock_ns(), now_ns = begun_ns;
    while (ev_is_active(check) && !rdma->has_more && now_ns - begun_ns < LOOK_NS &&
           now_ns - rdma->worked_ns < rdma->config.poll_ns) {
        now_ns = look(loop, rdma) ? rdma->worked_ns : ist_clock_ns();
    }
    if (ev_is_active(check) && !rdma->has_more && now_ns - rdma->worked_ns >= rdma->config.poll_ns) {
        stop_polling(loop, rdma); /* to be armed */
    }
}

static void on_no_sleep(struct ev_loop *loop, ev_idle *idle, int revents) {
    (void)loop;
    (void)idle;
    (void)revents;
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)revents;
    struct ist_rdma *rdma = timer->data;
    (void)poll_completions(loop, rdma);
}

static void note_queue_pair(struct ist_rdma *rdma, const struct ist_device_event *event) {
    struct ist_queue_pair *of = ist_completion_find(rdma->completion, event->queue_pair);
    if (of != NULL) {
        struct ist_rdma_connection *connection = ist_queue_pair_user(of);
        connection->is_drained |= event->kind == IST_DEVICE_LAST_RECEIVE;
        if (!connection->is_broken) {
            ist_log_warning(rdma->config.log, connection->id, "RDMA to a client failed: %s: closing",
                            event->text);
        }
        ist_rdma_break(connection);
    }
}

/* They are given back within a turn of the loop, and until then senders try again: that is slow, but nobody ends. */
static void note_low(struct ist_rdma *rdma) {
    ist_log_warning(
        rdma->config.log, 0,
        "%s: receive buffers run low: clients send more than they have credits for, or the daemon is "
        "too slow to take it",
        ist_device_name(rdma->config.device));
    ev_timer_set(&rdma->low, IST_RDMA_LOW_REST_SEC, 0.);
    ev_timer_start(rdma->config.loop, &rdma->low);
}

static void on_low(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)loop;
    (void)revents;
    struct ist_rdma *rdma = timer->data;
    if (!rdma->is_dead) {
        ist_completion_watch(rdma->completion);
    }
}

static void on_events(struct ev_loop *loop, ev_io *io, int revents) {
    (void)revents;
    struct ist_rdma *rdma = io->data;
    struct ist_device_event event;
    while (ist_device_next_event(rdma->config.device, &event) == IST_OK) {
        switch (event.kind) {
        case IST_DEVICE_PORT_DOWN:
            rdma->is_down = true;
            break_all(rdma);
            break;
        case IST_DEVICE_PORT_UP: rdma->is_down = false; break;
        case IST_DEVICE_RECEIVES_LOW: note_low(rdma); break;
        case IST_DEVICE_FAILED: rdma->is_dead = true; break;
        case IST_DEVICE_QUEUE_PAIR_FAILED:
        case IST_DEVICE_LAST_RECEIVE: note_queue_pair(rdma, &event); break;
        case IST_DEVICE_OTHER: break;
        }
    }
    (void)poll_completions(loop, rdma);
}

/* ---- making ----------------------------------------------------------------------------------------- */

/* What no server can do without: values are put by READs, and a block may lie in two segments of the pool. */
static bool is_fit(const struct ist_rdma_config *config) {
    const struct ist_device_limits *limits = ist_device_limits(config->device);
    const char *lacks = limits->reads_out == 0                   ? "it starts no RDMA READs"
                        : limits->sge < IST_ONE_SIDED_PIECES_MAX ? "its requests take too few pieces"
                                                                 : NULL;
    if (lacks != NULL) {
        ist_log_error(config->log, 0, "%s cannot be used: %s", ist_device_name(config->device), lacks);
    }
    return lacks == NULL;
}

enum ist_status ist_rdma_new(const struct ist_rdma_config *config, struct ist_rdma **rdma) {
    if (!is_fit(config)) {
        return IST_DEVICE;
    }
    struct ist_rdma *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->config = *config;
    const struct ist_completion_config completion_config = {.device = config->device,
                                                            .queue_pairs_max = config->sessions_max,
                                                            .send_wr = IST_RDMA_SEND_WR,
                                                            .messages = IST_RDMA_MESSAGES,
                                                            .message_bytes = IST_RDMA_MESSAGE_BYTES,
                                                            .alloc = config->alloc,
                                                            .log = config->log};
    enum ist_status status = ist_completion_new(&completion_config, &new->completion);
    if (status != IST_OK) {
        goto no_completion;
    }
    status = ist_connector_new(config->loop, ist_rdma_settle, new, config->alloc, &new->connector);
    if (status != IST_OK) {
        goto no_connector;
    }
    ev_io_init(&new->completions, on_completions, ist_completion_fd(new->completion), EV_READ);
    ev_io_init(&new->events, on_events, ist_device_fd(config->device), EV_READ);
    ev_init(&new->linger, ist_rdma_on_linger);
    ev_init(&new->low, on_low);
    ev_timer_init(&new->again, on_again, 0., 0.);
    ev_check_init(&new->poll, on_poll);
    ev_idle_init(&new->no_sleep, on_no_sleep);
    ev_prepare_init(&new->prepare, on_prepare);
    ev_set_priority(&new->prepare, EV_MINPRI); /* behind those who give it work */
    ev_init(&new->reap, on_reap);
    new->reap.repeat = (double)config->reap_ns / 1e9;
    new->armed = IST_RDMA_ARMED_FOR_ALL; /* as every new queue */
    new->prepare.data = new;
    new->reap.data = new;
    new->poll.data = new;
    new->low.data = new;
    new->again.data = new;
    new->completions.data = new;
    new->events.data = new;
    new->linger.data = new;
    ev_io_start(config->loop, &new->completions);
    ev_io_start(config->loop, &new->events);
    ev_prepare_start(config->loop, &new->prepare);
    *rdma = new;
    return IST_OK;

no_connector:
    ist_completion_free(new->completion);
no_completion:
    ist_release(config->alloc, new);
    return status;
}

void ist_rdma_free(struct ist_rdma *rdma) {
    if (rdma == NULL) {
        return;
    }
    ist_connector_free(rdma->connector); /* it uses queue pairs */
    while (rdma->first != NULL) {
        ist_rdma_connection_free(rdma->first);
    }
    stop_polling(rdma->config.loop, rdma);
    ev_prepare_stop(rdma->config.loop, &rdma->prepare);
    ev_timer_stop(rdma->config.loop, &rdma->low);
    ev_timer_stop(rdma->config.loop, &rdma->again);
    ev_timer_stop(rdma->config.loop, &rdma->reap);
    ev_io_stop(rdma->config.loop, &rdma->completions);
    ev_io_stop(rdma->config.loop, &rdma->events);
    ev_timer_stop(rdma->config.loop, &rdma->linger);
    ist_completion_free(rdma->completion);
    ist_release(rdma->config.alloc, rdma);
}

size_t ist_rdma_connections(const struct ist_rdma *rdma) {
    return rdma->count;
}

uint32_t ist_rdma_connections_max(const struct ist_rdma *rdma) {
    return ist_completion_queue_pairs_max(rdma->completion);
}

/* Completion channels: an eventfd, so that poll, epoll and libev wait for it as for the real one. */
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <sys/eventfd.h>

#include "base/assert.h"
#include "sim/hca/objects.h"

/* ---- descriptors --------------------------------------------------------------------------------- */

void hca_descriptor_set(int fd, bool *raised, bool raise) {
    if (*raised == raise) {
        return;
    }
    *raised = raise;
    uint64_t one = 1;
    ssize_t moved = raise ? write(fd, &one, sizeof(one)) : read(fd, &one, sizeof(one));
    if (moved != sizeof(one)) {
        hca_violation("descriptor %d of a completion channel or context was closed, read or written",
                      fd);
    }
}

bool hca_descriptor_blocks(int fd) {
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
}

void hca_channel_show(struct ist_hca *hca, struct hca_channel *channel) {
    bool busy = hca->config.progress_in_calls && hca->clock.events > 0 && channel->armed > 0;
    hca_descriptor_set(channel->channel.fd, &channel->raised, channel->first != NULL || busy);
}

void hca_channels_show(struct ist_hca *hca) {
    for (struct hca_context *context = hca->contexts; context != NULL; context = context->next) {
        for (struct hca_channel *channel = context->channels; channel != NULL;
             channel = channel->next) {
            hca_channel_show(hca, channel);
        }
    }
}

/* ---- events -------------------------------------------------------------------------------------- */

static void append(struct hca_channel *channel, struct hca_cq *cq) {
    cq->next_pending = NULL;
    if (channel->first == NULL) {
        channel->first = cq;
    } else {
        channel->last->next_pending = cq;
    }
    channel->last = cq;
}

static void remove_first(struct hca_channel *channel) {
    struct hca_cq *cq = channel->first;
    channel->first = cq->next_pending;
    cq->next_pending = NULL;
}

void hca_channel_add(struct hca_cq *cq) {
    struct hca_channel *channel = HCA_CONTAINER(cq->cq.channel, struct hca_channel, channel);
    struct ist_hca *hca = hca_of(cq->cq.context);
    hca_note(hca, "event", cq->pending, cq->entries, 0);
    if (cq->pending++ == 0) {
        append(channel, cq);
    }
    hca_channel_show(hca, channel);
}

void hca_channel_remove(struct hca_cq *cq) {
    struct hca_channel *channel = HCA_CONTAINER(cq->cq.channel, struct hca_channel, channel);
    struct hca_cq *before = NULL;
    for (struct hca_cq *at = channel->first; at != NULL; before = at, at = at->next_pending) {
        if (at != cq) {
            continue;
        }
        if (before == NULL) {
            channel->first = cq->next_pending;
        } else {
            before->next_pending = cq->next_pending;
        }
        if (channel->last == cq) {
            channel->last = before;
        }
        break;
    }
    cq->pending = 0;
}

/* NULL: none. */
static struct hca_cq *take(struct hca_channel *channel) {
    struct hca_cq *cq = channel->first;
    if (cq == NULL) {
        return NULL;
    }
    remove_first(channel);
    if (--cq->pending > 0) {
        append(channel, cq);
    }
    cq->events.taken++;
    return cq;
}

int ibv_get_cq_event(struct ibv_comp_channel *visible, struct ibv_cq **cq, void **cq_context) {
    struct hca_channel *channel = HCA_CONTAINER(visible, struct hca_channel, channel);
    for (;;) {
        struct ist_hca *hca = hca_enter();
        hca_progress(hca);
        bool fails = hca_fails(hca, IST_HCA_CALL_EVENT, __func__);
        struct hca_cq *taken = fails ? NULL : take(channel);
        if (taken != NULL) {
            hca->counts.unacknowledged++;
        }
        hca_channel_show(hca, channel);
        bool blocks = hca_descriptor_blocks(visible->fd);
        if (taken == NULL && !fails && blocks && !hca->config.progress_in_calls) {
            hca_violation("ibv_get_cq_event would wait for ever: no event, and the descriptor blocks");
        }
        hca_leave();
        if (taken != NULL) {
            *cq = &taken->cq;
            *cq_context = taken->cq.cq_context;
            return 0;
        }
        if (fails || !blocks) {
            errno = fails ? EIO : EAGAIN;
            return -1;
        }
        struct pollfd wait = {.fd = visible->fd, .events = POLLIN};
        if (poll(&wait, 1, -1) < 0) {
            return -1;
        }
    }
}

void ibv_ack_cq_events(struct ibv_cq *visible, unsigned int events) {
    struct hca_cq *cq = hca_cq(visible);
    struct ist_hca *hca = hca_enter();
    if (events > cq->events.taken - cq->events.acknowledged) {
        hca_violation("ibv_ack_cq_events: %u acknowledged, but only %llu events are outstanding",
                      events, (unsigned long long)(cq->events.taken - cq->events.acknowledged));
    }
    cq->events.acknowledged += events;
    visible->comp_events_completed += events;
    hca->counts.unacknowledged -= events;
    hca_leave();
}

/* ---- life ---------------------------------------------------------------------------------------- */

static struct ibv_comp_channel *new_channel(struct ibv_context *context) {
    struct ist_hca *hca = hca_of(context);
    struct hca_channel *channel = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*channel));
    if (channel == NULL) {
        return NULL;
    }
    channel->channel.context = context;
    channel->channel.fd = eventfd(0, EFD_CLOEXEC);
    if (channel->channel.fd < 0) {
        ist_release(hca->config.alloc, channel);
        return NULL;
    }
    channel->next = hca_context(context)->channels;
    hca_context(context)->channels = channel;
    hca_context(context)->objects++;
    hca->counts.channels++;
    return &channel->channel;
}

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context) {
    struct ist_hca *hca = hca_enter();
    struct ibv_comp_channel *channel = NULL;
    int error = hca_context_gone(context) ? EIO : ENOMEM;
    if (!hca_fails(hca, IST_HCA_CALL_CREATE, __func__) && error == ENOMEM) {
        channel = new_channel(context);
    }
    hca_leave();
    if (channel == NULL) {
        errno = error;
    }
    return channel;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *visible) {
    struct hca_channel *channel = HCA_CONTAINER(visible, struct hca_channel, channel);
    struct ist_hca *hca = hca_enter();
    if (visible->refcnt > 0) {
        hca_leave();
        return EBUSY;
    }
    int error = hca_fails(hca, IST_HCA_CALL_DESTROY, __func__) ? EIO : 0;
    struct hca_context *context = hca_context(visible->context);
    struct hca_channel **link = &context->channels;
    while (*link != channel) {
        link = &(*link)->next;
    }
    *link = channel->next;
    close(visible->fd);
    context->objects--;
    hca->counts.channels--;
    ist_release(hca->config.alloc, channel);
    hca_leave();
    return error;
}

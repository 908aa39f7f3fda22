#include "client/link.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "client/reacher.h"
#include "verbs/completion.h"
#include "verbs/queue_pair.h"

#define EVENTS_MAX 32u
#define BUFFERS_MAX 64u
#define TURN_MESSAGES 64u /* taken before others get their turn */
#define UINT24_MAX 0xffffffu

/* What the device edge logs is why something failed; an error means that the queues are of no use. */
static void keep_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    struct ist_link_told *told = context;
    (void)session;
    pthread_mutex_lock(&told->lock);
    told->error = told->error || level == IST_LOG_ERROR;
    snprintf(told->line, sizeof(told->line), "%s", message);
    pthread_mutex_unlock(&told->lock);
}

static void forget_told(struct ist_link *link) {
    pthread_mutex_lock(&link->told.lock);
    link->told.error = false;
    link->told.line[0] = '\0';
    pthread_mutex_unlock(&link->told.lock);
}

/* The last line becomes why it failed, `otherwise` when there is none. */
static void tell(struct ist_link *link, const char *otherwise) {
    pthread_mutex_lock(&link->told.lock);
    snprintf(link->why, sizeof(link->why), "%s",
             link->told.line[0] != '\0' ? link->told.line : otherwise);
    pthread_mutex_unlock(&link->told.lock);
}

/* Did the device edge log an error? */
static void note_errors(struct ist_link *link) {
    pthread_mutex_lock(&link->told.lock);
    bool error = link->told.error;
    pthread_mutex_unlock(&link->told.lock);
    if (error && !link->failed) {
        tell(link, "");
        link->failed = true;
    }
}

void ist_link_init(struct ist_link *link, const struct ist_link_config *config,
                   const struct ist_alloc *alloc) {
    *link = (struct ist_link){.config = *config, .alloc = alloc};
    link->log = (struct ist_log){.level = IST_LOG_WARNING, .write = keep_line, .context = &link->told};
    (void)pthread_mutex_init(&link->told.lock, NULL); /* without attributes it cannot fail on Linux */
    ist_regions_init(&link->regions, alloc);
}

void ist_link_fini(struct ist_link *link) {
    ist_link_drop_device(link);
    ist_regions_fini(&link->regions);
    pthread_mutex_destroy(&link->told.lock);
}

/* ---- beginning and end ---------------------------------------------------------------------------------- */

static enum ist_status fail(struct ist_link *link, enum ist_status status, const char *why) {
    snprintf(link->why, sizeof(link->why), "%s", why);
    return status;
}

struct ist_device_share *ist_link_share(struct ist_link *link) {
    if (link->share != NULL) {
        link->share->users++;
    }
    return link->share;
}

void ist_link_unshare(struct ist_link *link, struct ist_device_share *share) {
    if (share != NULL && --share->users == 0) {
        ist_device_close(share->device);
        ist_release(link->alloc, share);
    }
}

static enum ist_status open_device(struct ist_link *link) {
    const struct ist_device_config config = {
        .name = link->config.device[0] == '\0' ? NULL : link->config.device,
        .port = link->config.port,
        .link = link->config.link,
        .hint_gid_index = link->config.hint_gid_index,
        .alloc = link->alloc,
        .log = &link->log};
    ist_link_take_events(link);
    if (link->device_failed) {
        ist_link_drop_device(link);
    }
    if (link->device != NULL) {
        return link->port_down ? fail(link, IST_DEVICE, "the port is down") : IST_OK;
    }
    struct ist_device_share *share = ist_allocate_zeroed(link->alloc, 1, sizeof(*share));
    if (share == NULL) {
        return fail(link, IST_NO_MEMORY, "out of memory");
    }
    char why[IST_LINK_WHY_BYTES] = "";
    enum ist_status status = ist_device_open(&config, &share->device, why, sizeof(why));
    if (status != IST_OK) {
        ist_release(link->alloc, share);
        return fail(link, status, why);
    }
    share->users = 1;
    status = ist_regions_attach(&link->regions, share->device, link->why, sizeof(link->why));
    if (status != IST_OK) {
        ist_link_unshare(link, share);
        return status;
    }
    link->share = share;
    link->device = share->device;
    link->device_generation++;
    return IST_OK;
}

static uint32_t random_packet_number(void) {
    uint32_t number;
    /* Old packets of another connection with the same numbers must not fit; any number will do. */
    if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
        number = 1;
    }
    return number & UINT24_MAX;
}

static enum ist_status make_queue_pair(struct ist_link *link, const uint8_t *peer) {
    const struct ist_completion_config completion_config = {.device = link->device,
                                                            .queue_pairs_max = 1,
                                                            .send_wr = IST_LINK_SEND_WR,
                                                            .messages = IST_LINK_MESSAGES,
                                                            .message_bytes = IST_LINK_MESSAGE_BYTES,
                                                            .alloc = link->alloc,
                                                            .log = &link->log};
    enum ist_status status = ist_completion_new(&completion_config, &link->completion);
    if (status != IST_OK) {
        return status;
    }
    const struct ist_queue_pair_config config = {.completion = link->completion,
                                                 .remote_access = true,
                                                 .packet_number = random_packet_number(),
                                                 .peer = peer};
    return ist_queue_pair_new(&config, &link->queue_pair);
}

enum ist_status ist_link_open(struct ist_link *link, const uint8_t *peer, struct ist_endpoint *own) {
    IST_ASSERT(link->queue_pair == NULL && link->completion == NULL);
    link->why[0] = '\0';
    forget_told(link);
    enum ist_status status = open_device(link);
    if (status == IST_OK) {
        /* A new queue is armed for all. */
        link->failed = link->has_event = false;
        link->armed = IST_LINK_ARMED_FOR_ALL;
        status = make_queue_pair(link, peer);
    }
    if (status != IST_OK) {
        if (link->why[0] == '\0') {
            tell(link, "no memory for a queue pair (see ulimit -l)");
        }
        ist_link_close(link);
        return status;
    }
    link->queue_pair_generation++;
    *own = (struct ist_endpoint){.status = IST_OK};
    ist_queue_pair_end(link->queue_pair, &own->end);
    return IST_OK;
}

enum ist_status ist_link_connect(struct ist_link *link, const struct ist_endpoint *peer) {
    link->why[0] = '\0';
    forget_told(link);
    link->peer = peer->end;
    if (!ist_queue_pair_end_is_valid(link->device, &link->peer)) {
        ist_link_close(link);
        return fail(link, IST_DEVICE, "the server's queue pair cannot be");
    }
    if (ist_reacher_start(link->queue_pair, &link->peer, link->alloc, &link->reacher) != IST_OK) {
        ist_link_close(link);
        return fail(link, IST_NO_MEMORY, "no thread to connect the queue pair");
    }
    link->queue_pair_generation++;
    return IST_OK;
}

enum ist_status ist_link_connected(struct ist_link *link) {
    enum ist_status status = ist_reacher_result(link->reacher);
    if (status == IST_AGAIN) {
        return IST_AGAIN;
    }
    ist_reacher_free(link->reacher);
    link->reacher = NULL;
    link->queue_pair_generation++;
    if (status != IST_OK) {
        tell(link, "the queue pair cannot be connected");
        ist_link_close(link);
        return IST_DEVICE;
    }
    ist_queue_pair_reached(link->queue_pair, &link->peer);
    return IST_OK;
}

void ist_link_close(struct ist_link *link) {
    if (link->completion != NULL) {
        link->queue_pair_generation++;
    }
    ist_reacher_free(link->reacher);
    link->reacher = NULL;
    ist_queue_pair_free(link->queue_pair);
    ist_completion_free(link->completion);
    link->queue_pair = NULL;
    link->completion = NULL;
    link->failed = link->has_event = false;
    link->armed = IST_LINK_NOT_ARMED;
}

void ist_link_drop_device(struct ist_link *link) {
    ist_link_close(link);
    if (link->device != NULL) {
        ist_regions_detach(&link->regions);
        ist_link_unshare(link, link->share);
        link->share = NULL;
        link->device = NULL;
        link->device_generation++;
    }
    link->device_failed = link->port_down = false;
}

/* ---- waiting -------------------------------------------------------------------------------------------- */

int ist_link_messages_fd(const struct ist_link *link) {
    if (link->reacher != NULL) {
        return ist_reacher_fd(link->reacher);
    }
    bool is_connected = link->queue_pair != NULL && ist_queue_pair_is_ready(link->queue_pair);
    return is_connected ? ist_completion_fd(link->completion) : -1;
}

int ist_link_device_fd(const struct ist_link *link) {
    return link->device == NULL || link->device_failed ? -1 : ist_device_fd(link->device);
}

void ist_link_woken(struct ist_link *link) {
    if (link->reacher == NULL) {
        link->armed = IST_LINK_NOT_ARMED;
        link->has_event = true;
    }
}

bool ist_link_arm(struct ist_link *link, bool for_all) {
    enum ist_link_armed wanted = for_all ? IST_LINK_ARMED_FOR_ALL : IST_LINK_ARMED_FOR_MESSAGES;
    if (link->queue_pair == NULL || link->reacher != NULL || link->armed >= wanted) {
        return false;
    }
    ist_completion_arm_again(link->completion, link->has_event, !for_all);
    note_errors(link);
    link->armed = wanted;
    link->has_event = false;
    return true;
}

/* The queue pair, if there is one, is of no use any more. The first reason is the one that is told. */
static void note_failure(struct ist_link *link, const char *what, const char *why) {
    if (link->queue_pair != NULL && !link->failed) {
        snprintf(link->why, sizeof(link->why), "%s: %s", what, why);
        link->failed = true;
    }
}

void ist_link_take_events(struct ist_link *link) {
    struct ist_device_event event;
    while (link->device != NULL && ist_device_next_event(link->device, &event) == IST_OK) {
        switch (event.kind) {
        case IST_DEVICE_PORT_DOWN:
            link->port_down = true;
            note_failure(link, "the port is down", event.text);
            break;
        case IST_DEVICE_PORT_UP: link->port_down = false; break;
        case IST_DEVICE_FAILED:
            link->device_failed = true;
            note_failure(link, "the device has failed", event.text);
            break;
        case IST_DEVICE_QUEUE_PAIR_FAILED:
            if (link->queue_pair != NULL &&
                ist_completion_find(link->completion, event.queue_pair) != NULL) {
                note_failure(link, "the queue pair has failed", event.text);
            }
            break;
        case IST_DEVICE_LAST_RECEIVE:
        case IST_DEVICE_RECEIVES_LOW:
        case IST_DEVICE_OTHER: break;
        }
    }
}

/* ---- bytes ---------------------------------------------------------------------------------------------- */

/* As much as one message takes. */
static void send_message(struct ist_link *link, struct ist_exchange *exchange, uint32_t room) {
    struct iovec buffers[BUFFERS_MAX];
    size_t count = ist_exchange_send_buffers(exchange, buffers, BUFFERS_MAX);
    uint8_t *message = ist_queue_pair_message(link->queue_pair);
    uint32_t used = 0;
    for (size_t i = 0; i < count && used < room; i++) {
        uint32_t part = buffers[i].iov_len < room - used ? (uint32_t)buffers[i].iov_len : room - used;
        memcpy(message + used, buffers[i].iov_base, part);
        used += part;
    }
    ist_queue_pair_add_message(link->queue_pair, used);
    ist_exchange_sent(exchange, used);
}

void ist_link_flush(struct ist_link *link, struct ist_exchange *exchange) {
    uint32_t room;
    if (link->queue_pair == NULL || ist_link_has_failed(link)) {
        return;
    }
    while (ist_exchange_wants_send(exchange) &&
           (room = ist_queue_pair_message_room(link->queue_pair)) > 0) {
        send_message(link, exchange, room);
    }
    if (ist_queue_pair_flush(link->queue_pair) != IST_OK) {
        note_errors(link);
        link->failed = true;
    }
}

/* All of it: an exchange has room for whatever a server may say, or has broken. */
static void feed(struct ist_exchange *exchange, const uint8_t *bytes, uint32_t count) {
    struct iovec buffers[BUFFERS_MAX];
    size_t named;
    while (count > 0 && (named = ist_exchange_recv_buffers(exchange, buffers, BUFFERS_MAX)) > 0) {
        uint32_t fed = 0;
        for (size_t i = 0; i < named && fed < count; i++) {
            size_t part = buffers[i].iov_len < count - fed ? buffers[i].iov_len : count - fed;
            memcpy(buffers[i].iov_base, bytes + fed, part);
            fed += (uint32_t)part;
        }
        ist_exchange_received(exchange, fed);
        bytes += fed;
        count -= fed;
    }
}

static void take_message(struct ist_link *link, struct ist_exchange *exchange,
                         const struct ist_completion_event *event) {
    bool has_bytes = ist_queue_pair_received(link->queue_pair, event);
    if (has_bytes) {
        feed(exchange, ist_completion_buffer(link->completion, event->buffer), event->bytes);
    }
    if (ist_completion_give_back(link->completion, event->buffer) != IST_OK) {
        note_errors(link);
    } else if (has_bytes) {
        ist_queue_pair_owe_credit(link->queue_pair);
    }
}

static void take(struct ist_link *link, struct ist_exchange *exchange,
                 const struct ist_completion_event *event) {
    switch (event->kind) {
    case IST_COMPLETION_SENT: (void)ist_queue_pair_retire(link->queue_pair, event->count); break;
    case IST_COMPLETION_RECEIVED: take_message(link, exchange, event); break;
    case IST_COMPLETION_FAILED: note_failure(link, "the queue pair has failed", event->failure); break;
    }
}

bool ist_link_run(struct ist_link *link, struct ist_exchange *exchange) {
    struct ist_completion_event events[EVENTS_MAX];
    size_t total = 0, count = EVENTS_MAX;
    while (link->queue_pair != NULL && !link->failed && count == EVENTS_MAX && total < TURN_MESSAGES) {
        count = ist_completion_poll(link->completion, events, EVENTS_MAX);
        for (size_t i = 0; i < count && !link->failed; i++) {
            take(link, exchange, &events[i]);
        }
        total += count;
    }
    note_errors(link);
    if (total >= TURN_MESSAGES) {
        link->armed = IST_LINK_NOT_ARMED; /* no event comes for what is still there */
    }
    return total > 0;
}

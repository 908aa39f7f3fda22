#include "verbs/completion.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <infiniband/verbs.h>

#include "base/assert.h"

/* wr_id is all that says of a failed completion what it was of (man ibv_poll_cq: on an error only wr_id, status,
 * qp_num and vendor_err are valid): messages have this bit, and the buffer's number. */
#define MESSAGE_BIT (1ull << 63)
#define POLL_MAX 32

struct member {
    uint32_t number;
    struct ist_queue_pair *queue_pair; /* NULL: a free place */
};

struct ist_completion {
    struct ist_completion_config config;
    struct ibv_comp_channel *channel;
    struct ibv_cq *queue;
    struct ibv_srq *receive_queue;
    uint8_t *buffers; /* mapped */
    size_t buffers_bytes;
    struct ist_region
        *regions; /* of the buffers of each queue pair, as far as there were so many at a time */
    uint32_t buffers_made;
    uint32_t queue_pairs_max, queue_pairs;
    struct member *members; /* a hash table by number, linear probing, at most half full */
    uint32_t members_mask;
    unsigned unacknowledged;
    bool has_failed;
};

static uint32_t messages_of_one(const struct ist_completion_config *config) {
    return config->messages + IST_COMPLETION_SPARE_MESSAGES;
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* As many queue pairs as both queues have room for; none where one cannot post a message. */
static uint32_t fitting(const struct ist_completion_config *config) {
    const struct ist_device_limits *limits = ist_device_limits(config->device);
    if (limits->queue_pair_wr == 0 || limits->sge == 0) {
        return 0;
    }
    uint32_t by_cqe = limits->cqe / (config->send_wr + messages_of_one(config));
    uint32_t by_srq = limits->srq_wr / messages_of_one(config);
    return smaller(config->queue_pairs_max, smaller(by_cqe, by_srq));
}

static enum ist_status failed(const struct ist_completion *completion, const char *what) {
    ist_log_error(completion->config.log, 0, "%s: %s: %s", ist_device_name(completion->config.device),
                  what, strerror(errno));
    return IST_DEVICE;
}

static enum ist_status make_buffers(struct ist_completion *completion) {
    const struct ist_completion_config *config = &completion->config;
    completion->buffers_bytes =
        (size_t)completion->queue_pairs_max * messages_of_one(config) * config->message_bytes;
    /* Addresses only: it becomes memory when it is registered, which is when a queue pair needs it. */
    void *mapped = mmap(NULL, completion->buffers_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        return IST_NO_MEMORY;
    }
    completion->buffers = mapped;
    completion->regions =
        ist_allocate_zeroed(config->alloc, completion->queue_pairs_max, sizeof(*completion->regions));
    return completion->regions == NULL ? IST_NO_MEMORY : IST_OK;
}

static enum ist_status make_queues(struct ist_completion *completion) {
    struct ibv_context *context = ist_device_context(completion->config.device);
    uint32_t per_pair = completion->config.send_wr + messages_of_one(&completion->config);
    completion->channel = ibv_create_comp_channel(context);
    if (completion->channel == NULL) {
        return failed(completion, "no completion channel");
    }
    int flags = fcntl(completion->channel->fd, F_GETFL);
    if (flags < 0 || fcntl(completion->channel->fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return failed(completion, "the completion channel cannot be watched");
    }
    completion->queue = ibv_create_cq(context, (int)(completion->queue_pairs_max * per_pair), NULL,
                                      completion->channel, 0);
    if (completion->queue == NULL) {
        return failed(completion, "no completion queue");
    }
    struct ibv_srq_init_attr attributes = {
        .attr = {.max_wr = completion->queue_pairs_max * messages_of_one(&completion->config),
                 .max_sge = 1}};
    completion->receive_queue =
        ibv_create_srq(ist_device_domain(completion->config.device), &attributes);
    if (completion->receive_queue == NULL) {
        return failed(completion, "no shared receive queue");
    }
    return IST_OK;
}

static enum ist_status make_members(struct ist_completion *completion) {
    uint32_t room = 4;
    while (room < 2 * completion->queue_pairs_max) {
        room *= 2;
    }
    completion->members =
        ist_allocate_zeroed(completion->config.alloc, room, sizeof(*completion->members));
    completion->members_mask = room - 1;
    return completion->members == NULL ? IST_NO_MEMORY : IST_OK;
}

enum ist_status ist_completion_new(const struct ist_completion_config *config,
                                   struct ist_completion **completion) {
    struct ist_completion *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->config = *config;
    new->queue_pairs_max = fitting(config);
    enum ist_status status = IST_OK;
    if (new->queue_pairs_max == 0) {
        ist_log_error(config->log, 0, "%s has no room for a queue pair",
                      ist_device_name(config->device));
        status = IST_DEVICE;
    }
    status = status == IST_OK ? make_members(new) : status;
    status = status == IST_OK ? make_queues(new) : status;
    status = status == IST_OK ? make_buffers(new) : status;
    if (status == IST_OK) {
        ist_completion_arm(new);
        status = new->has_failed ? IST_DEVICE : IST_OK;
    }
    if (status != IST_OK) {
        ist_completion_free(new);
        return status;
    }
    *completion = new;
    return IST_OK;
}

static void acknowledge(struct ist_completion *completion) {
    if (completion->unacknowledged > 0) {
        ibv_ack_cq_events(completion->queue, completion->unacknowledged);
        completion->unacknowledged = 0;
    }
}

void ist_completion_free(struct ist_completion *completion) {
    if (completion == NULL) {
        return;
    }
    /* These fail when the device is gone, and what was made on it too. */
    if (completion->receive_queue != NULL) {
        (void)ibv_destroy_srq(completion->receive_queue);
    }
    if (completion->queue != NULL) {
        acknowledge(
            completion); /* or the next call would wait for it for ever (man ibv_get_cq_event) */
        (void)ibv_destroy_cq(completion->queue);
    }
    if (completion->channel != NULL) {
        (void)ibv_destroy_comp_channel(completion->channel);
    }
    for (uint32_t i = 0; completion->regions != NULL && i < completion->queue_pairs_max; i++) {
        ist_region_drop(&completion->regions[i]);
    }
    ist_release(completion->config.alloc, completion->regions);
    if (completion->buffers != NULL) {
        (void)munmap(completion->buffers, completion->buffers_bytes);
    }
    ist_release(completion->config.alloc, completion->members);
    ist_release(completion->config.alloc, completion);
}

const struct ist_completion_config *ist_completion_config(const struct ist_completion *completion) {
    return &completion->config;
}

uint32_t ist_completion_queue_pairs_max(const struct ist_completion *completion) {
    return completion->queue_pairs_max;
}

struct ibv_cq *ist_completion_queue(const struct ist_completion *completion) {
    return completion->queue;
}

struct ibv_srq *ist_completion_receive_queue(const struct ist_completion *completion) {
    return completion->receive_queue;
}

/* ---- events ----------------------------------------------------------------------------------------- */

int ist_completion_fd(const struct ist_completion *completion) {
    return completion->channel->fd;
}

void ist_completion_take(struct ist_completion *completion) {
    struct ibv_cq *queue;
    void *context;
    while (ibv_get_cq_event(completion->channel, &queue, &context) == 0) {
        completion->unacknowledged++;
    }
    acknowledge(completion);
}

static void request_event(struct ist_completion *completion, bool solicited_only) {
    int error = ibv_req_notify_cq(completion->queue, solicited_only);
    if (error != 0) {
        errno = error;
        (void)failed(completion, "the completion queue cannot be armed");
        completion->has_failed = true;
    }
}

void ist_completion_arm(struct ist_completion *completion) {
    ist_completion_take(completion);
    request_event(completion, false);
}

void ist_completion_arm_again(struct ist_completion *completion, bool has_event, bool messages_only) {
    struct ibv_cq *queue;
    void *context;
    if (has_event && ibv_get_cq_event(completion->channel, &queue, &context) == 0) {
        completion->unacknowledged++;
        acknowledge(completion);
    }
    request_event(completion, messages_only);
}

bool ist_completion_has_failed(const struct ist_completion *completion) {
    return completion->has_failed;
}

/* ---- who is here ------------------------------------------------------------------------------------ */

static uint32_t place_of(const struct ist_completion *completion, uint32_t number) {
    uint32_t at = number * 0x9e3779b1u & completion->members_mask;
    while (completion->members[at].queue_pair != NULL && completion->members[at].number != number) {
        at = (at + 1) & completion->members_mask;
    }
    return at;
}

struct ist_queue_pair *ist_completion_find(const struct ist_completion *completion, uint32_t number) {
    return completion->members[place_of(completion, number)].queue_pair;
}

void ist_completion_add(struct ist_completion *completion, uint32_t number,
                        struct ist_queue_pair *queue_pair) {
    struct member *member = &completion->members[place_of(completion, number)];
    IST_ASSERT(member->queue_pair == NULL);
    *member = (struct member){.number = number, .queue_pair = queue_pair};
}

/* Those behind it in its run are put in anew, so that no search ends early. */
void ist_completion_remove(struct ist_completion *completion, uint32_t number) {
    uint32_t at = place_of(completion, number);
    IST_ASSERT(completion->members[at].queue_pair != NULL);
    completion->members[at].queue_pair = NULL;
    for (at = (at + 1) & completion->members_mask; completion->members[at].queue_pair != NULL;
         at = (at + 1) & completion->members_mask) {
        struct member moved = completion->members[at];
        completion->members[at].queue_pair = NULL;
        completion->members[place_of(completion, moved.number)] = moved;
    }
}

/* ---- messages --------------------------------------------------------------------------------------- */

const uint8_t *ist_completion_buffer(const struct ist_completion *completion, uint32_t buffer) {
    IST_ASSERT(buffer < completion->buffers_made);
    return completion->buffers + (size_t)buffer * completion->config.message_bytes;
}

enum ist_status ist_completion_give_back(struct ist_completion *completion, uint32_t buffer) {
    const struct ist_region *region =
        &completion->regions[buffer / messages_of_one(&completion->config)];
    struct ibv_sge piece = {.addr = (uintptr_t)ist_completion_buffer(completion, buffer),
                            .length = completion->config.message_bytes,
                            .lkey = region->lkey};
    struct ibv_recv_wr request = {.wr_id = MESSAGE_BIT | buffer, .sg_list = &piece, .num_sge = 1};
    struct ibv_recv_wr *refused;
    int error = ibv_post_srq_recv(completion->receive_queue, &request, &refused);
    if (error != 0) {
        errno = error;
        return failed(completion, "a receive buffer cannot be posted");
    }
    return IST_OK;
}

enum ist_status ist_completion_register(const struct ist_completion *completion, void *address,
                                        uint64_t bytes, struct ist_region *region) {
    const struct ist_completion_config *config = &completion->config;
    enum ist_status status =
        ist_region_register(config->device, address, bytes, IST_MEMORY_LOCAL, region);
    if (status == IST_OK || status == IST_NO_MEMORY) {
        return status;
    }
    ist_log_error(config->log, 0, "%s: %" PRIu64 " bytes for messages cannot be registered: %s",
                  ist_device_name(config->device), bytes, ist_status_text(status));
    return IST_DEVICE;
}

/* The buffers of one queue pair more, posted; or what is missing of them, when that failed before. */
static enum ist_status more_buffers(struct ist_completion *completion) {
    uint32_t each = messages_of_one(&completion->config), first = completion->queue_pairs * each;
    uint64_t bytes = (uint64_t)each * completion->config.message_bytes;
    struct ist_region *region = &completion->regions[first / each];
    if (region->mr == NULL) {
        enum ist_status status = ist_completion_register(
            completion, completion->buffers + (size_t)first * completion->config.message_bytes, bytes,
            region);
        if (status != IST_OK) {
            return status;
        }
    }
    while (completion->buffers_made < first + each) {
        enum ist_status status = ist_completion_give_back(completion, completion->buffers_made++);
        if (status != IST_OK) {
            completion->buffers_made--;
            return status;
        }
    }
    return IST_OK;
}

enum ist_status ist_completion_enter(struct ist_completion *completion) {
    if (completion->queue_pairs == completion->queue_pairs_max) {
        return IST_NO_SPACE;
    }
    /* Buffers stay posted when a queue pair leaves, for the next one. */
    if ((completion->queue_pairs + 1) * messages_of_one(&completion->config) >
        completion->buffers_made) {
        enum ist_status status = more_buffers(completion);
        if (status != IST_OK) {
            return status;
        }
    }
    completion->queue_pairs++;
    return IST_OK;
}

void ist_completion_watch(struct ist_completion *completion) {
    struct ibv_srq_attr limit = {.srq_limit = completion->queue_pairs};
    (void)ibv_modify_srq(completion->receive_queue, &limit, IBV_SRQ_LIMIT);
}

void ist_completion_leave(struct ist_completion *completion) {
    IST_ASSERT(completion->queue_pairs > 0);
    completion->queue_pairs--;
}

/* ---- completions ------------------------------------------------------------------------------------ */

static struct ist_completion_event translate(const struct ist_completion *completion,
                                             const struct ibv_wc *from) {
    bool message = (from->wr_id & MESSAGE_BIT) != 0;
    struct ist_completion_event event = {
        .queue_pair = ist_completion_find(completion, from->qp_num),
        .has_buffer = message,
        .buffer = message ? (uint32_t)(from->wr_id & ~MESSAGE_BIT) : 0,
        .count = message ? 0 : from->wr_id,
    };
    if (from->status != IBV_WC_SUCCESS) {
        event.kind = IST_COMPLETION_FAILED;
        event.failure = ibv_wc_status_str(from->status);
    } else if (message && from->opcode != IBV_WC_RECV) {
        /* byte_len is what went elsewhere then, and the buffer is as it was. */
        event.kind = IST_COMPLETION_FAILED;
        event.failure = "the peer wrote with immediate data, which is no message";
    } else if (message) {
        event.kind = IST_COMPLETION_RECEIVED;
        event.bytes = from->byte_len;
        event.immediate = (from->wc_flags & IBV_WC_WITH_IMM) != 0 ? be32toh(from->imm_data) : 0;
    } else {
        event.kind = IST_COMPLETION_SENT;
    }
    return event;
}

size_t ist_completion_poll(struct ist_completion *completion, struct ist_completion_event *events,
                           size_t max) {
    struct ibv_wc found[POLL_MAX];
    size_t count = 0;
    while (count < max) {
        int wanted = (int)(max - count < POLL_MAX ? max - count : POLL_MAX);
        int got = ibv_poll_cq(completion->queue, wanted, found);
        if (got < 0) {
            /* Which numbers there are is the driver's; errno says nothing (man ibv_poll_cq). */
            ist_log_error(completion->config.log, 0, "%s: the completion queue cannot be polled: %d",
                          ist_device_name(completion->config.device), got);
            completion->has_failed = true;
            break;
        }
        for (int i = 0; i < got; i++) {
            events[count++] = translate(completion, &found[i]);
        }
        if (got < wanted) {
            break;
        }
    }
    return count;
}

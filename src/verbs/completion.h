/* One completion queue for many queue pairs, their shared receive queue with its buffers, and the descriptor on which
 * a loop waits.
 *
 * Nothing can overrun: a queue pair is made only when the completion queue has a place for each request that it
 * may ever have posted, and the receive queue for each buffer that its peer has credits for. */
#ifndef IST_VERBS_COMPLETION_H
#define IST_VERBS_COMPLETION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/log.h"
#include "infinistore/status.h"
#include "verbs/device.h"
#include "verbs/memory.h"

struct ist_completion;
struct ist_queue_pair;

struct ist_completion_config {
    struct ist_device *device; /* borrowed, as everything here */
    uint32_t queue_pairs_max;  /* as many as are wished for; the device may have room for fewer */
    uint32_t send_wr;          /* requests of a queue pair that are posted at a time */
    uint32_t messages;         /* buffers of a queue pair that wait for messages */
    uint32_t message_bytes;
    const struct ist_alloc *alloc;
    const struct ist_log *log;
};

/* Buffers for messages of 0 bytes, beside those that the peer has credits for. */
#define IST_COMPLETION_SPARE_MESSAGES 2u

/* Returns OK, DEVICE (it was logged), NO_MEMORY. */
enum ist_status ist_completion_new(const struct ist_completion_config *config,
                                   struct ist_completion **completion);
/* Its queue pairs must be gone. NULL is legal. */
void ist_completion_free(struct ist_completion *completion);

const struct ist_completion_config *ist_completion_config(const struct ist_completion *completion);
/* How many queue pairs there can be. */
uint32_t ist_completion_queue_pairs_max(const struct ist_completion *completion);

int ist_completion_fd(const struct ist_completion *completion); /* readable: take events, then poll */
/* Takes the events off the descriptor: for who polls without waiting. */
void ist_completion_take(struct ist_completion *completion);
/* The same, and arms the queue for the next one. Poll until there is nothing after this:
 * what completed before the arming gives no event. */
void ist_completion_arm(struct ist_completion *completion);
/* The same with as few system calls as can be. has_event: the descriptor has become readable since the last arming, which
 * gives one event at most. messages_only: it shall do so for messages with bytes, and for failures; what has been sent, and
 * credits, are not worth it. */
void ist_completion_arm_again(struct ist_completion *completion, bool has_event, bool messages_only);

/* It could not be armed, or polled (it was logged): what completes from now on may never be heard of. */
bool ist_completion_has_failed(const struct ist_completion *completion);

enum ist_completion_kind {
    IST_COMPLETION_SENT,     /* requests of this queue pair: see ist_queue_pair_retire() */
    IST_COMPLETION_RECEIVED, /* a message: give its buffer back */
    IST_COMPLETION_FAILED,   /* the queue pair has broken: more of these will come for it */
};
struct ist_completion_event {
    enum ist_completion_kind kind;
    struct ist_queue_pair *queue_pair; /* NULL: it is gone; a message's buffer still wants to go back */
    uint64_t count;                    /* SENT, FAILED: its requests up to this one are over; 0: none */
    uint32_t buffer;                   /* RECEIVED, and FAILED where it was a message: which */
    bool has_buffer;
    uint32_t bytes, immediate; /* RECEIVED */
    const char *failure;       /* FAILED: static text */
};

/* Up to max events; returns how many. */
size_t ist_completion_poll(struct ist_completion *completion, struct ist_completion_event *events,
                           size_t max);

const uint8_t *ist_completion_buffer(const struct ist_completion *completion, uint32_t buffer);
/* Posts the buffer again. Returns OK, DEVICE (it was logged: nothing can be received any more). */
enum ist_status ist_completion_give_back(struct ist_completion *completion, uint32_t buffer);

/* The device is to tell, once, when fewer buffers are posted than there are queue pairs (IST_DEVICE_RECEIVES_LOW). Peers that
 * keep to their credits never get there: these leave IST_COMPLETION_SPARE_MESSAGES for each. Then messages may have to wait,
 * and be sent again. A device that cannot tell is none the worse for it. */
void ist_completion_watch(struct ist_completion *completion);

/* For queue_pair.c: a place in the queues, with its buffers posted. */
struct ibv_cq *ist_completion_queue(const struct ist_completion *completion);
struct ibv_srq *ist_completion_receive_queue(const struct ist_completion *completion);
/* Memory for messages. Returns OK, NO_MEMORY, DEVICE (whatever else it was: it was logged). */
enum ist_status ist_completion_register(const struct ist_completion *completion, void *address,
                                        uint64_t bytes, struct ist_region *region);
/* Returns OK, NO_SPACE (as many as there can be), NO_MEMORY, DEVICE (it was logged). */
enum ist_status ist_completion_enter(struct ist_completion *completion);
void ist_completion_leave(struct ist_completion *completion);
void ist_completion_add(struct ist_completion *completion, uint32_t number,
                        struct ist_queue_pair *queue_pair);
/* NULL: no such number. */
struct ist_queue_pair *ist_completion_find(const struct ist_completion *completion, uint32_t number);
void ist_completion_remove(struct ist_completion *completion, uint32_t number);

#endif

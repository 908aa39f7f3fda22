/* A reliable-connected queue pair: messages in both directions under credits, and one-sided work.
 *
 *   state      leaves by
 *   NEW        ist_queue_pair_connect() -> READY, or BROKEN
 *   READY      a failed completion, or ist_queue_pair_break() -> BROKEN
 *   BROKEN     all that was posted comes out as FAILED; then it can be freed without a late completion
 *
 * Requests are gathered into a chain by add_...() and posted by flush(), with the last one signalled. Each has a number,
 * a running count, which is its wr_id: one completion retires all before it. */
#ifndef IST_VERBS_QUEUE_PAIR_H
#define IST_VERBS_QUEUE_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue_pair_end.h"
#include "infinistore/status.h"
#include "verbs/completion.h"

struct ist_queue_pair;

struct ist_queue_pair_config {
    struct ist_completion *completion; /* borrowed */
    bool remote_access;                /* the peer may READ and WRITE what was registered for that */
    uint32_t packet_number;
    const uint8_t *peer; /* GID or address of the other end, for the choice of our GID; NULL: unknown */
    void *user;
    uint64_t session; /* for the log's lines about it; 0: none */
};

#define IST_QUEUE_PAIR_MTU_MIN 256u
#define IST_QUEUE_PAIR_MESSAGE_BYTES_MIN 256u

/* Returns OK, NO_SPACE (no room in the completion queue), NO_MEMORY and DEVICE (both were logged). Owned. */
enum ist_status ist_queue_pair_new(const struct ist_queue_pair_config *config,
                                   struct ist_queue_pair **queue_pair);
/* No work moves bytes afterwards. NULL is legal. */
void ist_queue_pair_free(struct ist_queue_pair *queue_pair);

void *ist_queue_pair_user(const struct ist_queue_pair *queue_pair);
void ist_queue_pair_end(const struct ist_queue_pair *queue_pair, struct ist_queue_pair_end *end);
/* Can this be a peer? Costs nothing: before anything is made for it. */
bool ist_queue_pair_end_is_valid(const struct ist_device *device, const struct ist_queue_pair_end *end);
/* Ready to receive and to send. May take about a second on RoCE, where the peer's address has to be asked for. Returns OK;
 * INVALID (numbers of the peer that cannot be); PEER (nobody answers at its address) and DEVICE (both were logged). */
enum ist_status ist_queue_pair_connect(struct ist_queue_pair *queue_pair,
                                       const struct ist_queue_pair_end *peer);
/* The same in halves, for those who must not wait: reach() is the one that waits, and may run in any thread as long as
 * nobody else modifies or frees the queue pair, which stays NEW; reached() makes it READY. */
enum ist_status ist_queue_pair_reach(const struct ist_queue_pair *queue_pair,
                                     const struct ist_queue_pair_end *peer);
void ist_queue_pair_reached(struct ist_queue_pair *queue_pair, const struct ist_queue_pair_end *peer);

/* Requests that can be added now. */
uint32_t ist_queue_pair_room(const struct ist_queue_pair *queue_pair);
/* Bytes that the next message may have: 0 when no credit, slot or request is left. */
uint32_t ist_queue_pair_message_room(const struct ist_queue_pair *queue_pair);

/* Local memory may lie in two regions that follow each other, as segments of a pool do. */
#define IST_ONE_SIDED_PIECES_MAX 2u
struct ist_piece {
    uint64_t address;
    uint32_t bytes;
    uint32_t lkey;
};
struct ist_one_sided {
    bool read; /* else a write */
    uint32_t piece_count;
    struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX];
    uint64_t remote_address;
    uint32_t rkey;
};
/* There must be room, and the device must take so many pieces (its limit `sge`). */
void ist_queue_pair_add_work(struct ist_queue_pair *queue_pair, const struct ist_one_sided *work);
/* Where the bytes of the next message go: message_room() of them. */
uint8_t *ist_queue_pair_message(struct ist_queue_pair *queue_pair);
void ist_queue_pair_add_message(struct ist_queue_pair *queue_pair, uint32_t bytes);
/* Posts what was added, and credits when many are owed and nothing carries them. Returns OK; DEVICE: it is BROKEN now. */
enum ist_status ist_queue_pair_flush(struct ist_queue_pair *queue_pair);

/* What SENT or FAILED says: requests up to `count` are over. Returns how many of them were work. */
uint64_t ist_queue_pair_retire(struct ist_queue_pair *queue_pair, uint64_t count);
/* What RECEIVED says. Returns whether the message has bytes, so that its buffer is kept until they are used and
 * given back then; without bytes it has been dealt with, but for giving it back. */
bool ist_queue_pair_received(struct ist_queue_pair *queue_pair,
                             const struct ist_completion_event *event);
/* The bytes of a message are used and its buffer is posted again. */
void ist_queue_pair_owe_credit(struct ist_queue_pair *queue_pair);

void ist_queue_pair_break(struct ist_queue_pair *queue_pair);
bool ist_queue_pair_is_ready(const struct ist_queue_pair *queue_pair);
/* Requests that were posted and are not over. */
uint32_t ist_queue_pair_outstanding(const struct ist_queue_pair *queue_pair);

#endif

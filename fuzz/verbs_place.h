/* A queue pair beside what is expected of it: its requests and credits counted naively. */
#ifndef IST_FUZZ_VERBS_PLACE_H
#define IST_FUZZ_VERBS_PLACE_H

#include "fuzz/fuzz.h"
#include "verbs/queue_pair.h"

#define VERBS_DEPTH_MAX 16u
#define VERBS_SLOTS 4u /* messages that have left and are not over, see queue_pair.c */

enum verbs_request { VERBS_CREDITS, VERBS_MESSAGE, VERBS_WORKED };

/* One-sided work, to see that its bytes have moved. */
struct verbs_move {
    const uint8_t *from, *to; /* NULL: of no interest */
    uint32_t bytes;
};

struct verbs_place {
    struct ist_queue_pair *pair; /* NULL: none is here; the rest is its */
    struct ist_queue_pair_end end;
    uint32_t peer; /* whom it was connected to */
    uint32_t depth, messages, message_bytes;
    bool is_ready, is_broken, is_tainted; /* tainted: not all that it sends or gets is src/verbs' */
    uint64_t added, posted, retired;
    enum verbs_request request[VERBS_DEPTH_MAX]; /* by number modulo depth */
    struct verbs_move move[VERBS_DEPTH_MAX];
    uint64_t credits, owed, slots_used, raw;  /* raw: posted past src/verbs, not over */
    uint32_t peer_message_bytes, sent, heard; /* messages with bytes */
};

/* A new one; depth: requests at a time. */
void verbs_place_begin(struct verbs_place *place, struct ist_queue_pair *pair, uint32_t depth);
void verbs_place_connected(struct verbs_place *place, const struct ist_queue_pair_end *peer);

/* Requests that this target may add: room, but for what was posted past src/verbs. */
uint32_t verbs_place_room(const struct verbs_place *place);
/* The next message's bytes at most. */
uint32_t verbs_place_message_room(const struct verbs_place *place);

/* The next request, and whether it uses a credit. */
void verbs_place_added(struct verbs_place *place, enum verbs_request request, struct verbs_move move);
/* Calls ist_queue_pair_flush(). */
enum ist_status verbs_place_flush(struct verbs_place *place);
/* Calls ist_queue_pair_retire(). is_success: all of these moved their bytes. */
void verbs_place_retire(struct verbs_place *place, uint64_t count, bool is_success);
/* Calls ist_queue_pair_received(). */
bool verbs_place_received(struct verbs_place *place, const struct ist_completion_event *event);
void verbs_place_owe(struct verbs_place *place);
void verbs_place_break(struct verbs_place *place);

/* What the queue pair says of itself is what was counted. */
void verbs_place_check(const struct verbs_place *place);

#endif

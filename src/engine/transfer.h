/* What a NIC moves for one session: values of PUTs, read from the client's memory, and values of GETs, written to
 * it. Splits them into work requests, hands these out in order as far as the edge can post them, and notes
 * what their completions mean: pins returned, a PUT complete. Moves nothing itself.
 *
 * A transfer's life:
 *
 *   add -> issuing -(all work handed out)-> GET: due. PUT: due when all its work has completed
 *                                           due -(ist_transfers_due)-> answered; gone with its last completion
 *
 * A GET is answered as soon as its last WRITE was handed out, since what is sent behind it on the same queue pair
 * arrives behind it (IBTA 9.5: SEND behind RDMA WRITE is ordered). READs order nothing: a PUT waits. */
#ifndef IST_ENGINE_TRANSFER_H
#define IST_ENGINE_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "engine/get.h"
#include "engine/outbox.h"
#include "engine/put.h"
#include "engine/session.h"
#include "wire/codec.h"
#include "wire/frame.h"

struct ist_transfer;

struct ist_transfers {
    const struct ist_alloc *alloc;
    struct ist_transfer *first, *last;
    struct ist_transfer *issuing; /* the first that has work to hand out; NULL: none */
    uint64_t outstanding;         /* work requests handed out and not completed */
    uint64_t count;               /* transfers that have not been answered */
    uint64_t memory_bytes;        /* of all transfers */
    uint64_t gone;                /* how many there were before the first: its number */
};

void ist_transfers_init(struct ist_transfers *transfers, const struct ist_alloc *alloc);
/* Aborts what is being put, returns every pin. No work request may still move bytes. */
void ist_transfers_fini(struct ist_transfers *transfers);

struct ist_transfer_request {
    struct ist_frame frame;
    uint64_t begin_ns;
    struct ist_outbox_chunk *reply; /* prepared; taken over on OK */
    size_t reply_bytes;             /* GET: of the frame that stands in it; PUT: 0 */
    size_t kept_bytes;              /* memory that waits with it: reply, keys, items or pins */
};

/* Each takes over what moves the values, on OK. remotes: of the put's items, or of the get's entries, which is
 * copied. Returns OK, NO_MEMORY. */
enum ist_status ist_transfers_add_put(struct ist_transfers *transfers,
                                      const struct ist_transfer_request *request, struct ist_put *put,
                                      const struct ist_remote *remotes);
enum ist_status ist_transfers_add_get(struct ist_transfers *transfers,
                                      const struct ist_transfer_request *request, struct ist_get *get,
                                      const struct ist_remote *remotes);

/* Is there work to hand out? Reserves the block of the next value, where that has to be known. */
bool ist_transfers_have_work(struct ist_transfers *transfers);
/* Hands out up to max work requests, which the edge posts in this order; returns how many. */
size_t ist_transfers_issue(struct ist_transfers *transfers, struct ist_work *works, size_t max);
/* The first `count` of those outstanding have completed well: returns pins. *read_bytes and *written_bytes:
 * what they moved. */
void ist_transfers_complete(struct ist_transfers *transfers, uint64_t count, uint64_t *read_bytes,
                            uint64_t *written_bytes);

/* What the first transfer has moved; there must be one. */
uint64_t ist_transfers_moved_bytes(const struct ist_transfers *transfers);

/* The next transfer that is to be answered now; false when none is. request: as it was added; its reply is the
 * caller's now. put: NULL for a GET, else all values are in: commit and free it, it is the caller's. */
bool ist_transfers_due(struct ist_transfers *transfers, struct ist_transfer_request *request,
                       struct ist_put **put);

void ist_transfers_check(const struct ist_transfers *transfers);

#endif

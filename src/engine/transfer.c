#include "engine/transfer.h"

#include "base/assert.h"
#include "store/store.h"

/* Where a walk over the values stands. */
struct place {
    size_t item;
    uint64_t at; /* bytes of this value that are behind it */
};

struct ist_transfer {
    struct ist_transfer *next;
    struct ist_transfer_request request;
    struct ist_put *put; /* owned; one of the two */
    struct ist_get *get; /* owned */
    size_t items;
    struct place issued, completed;
    uint64_t outstanding;
    uint64_t moved_bytes; /* by what has completed */
    uint64_t memory_bytes;
    bool answered;
    struct ist_remote remotes[];
};

void ist_transfers_init(struct ist_transfers *transfers, const struct ist_alloc *alloc) {
    *transfers = (struct ist_transfers){.alloc = alloc};
}

static void transfer_free(struct ist_transfers *transfers, struct ist_transfer *transfer) {
    transfers->memory_bytes -= transfer->memory_bytes;
    ist_put_free(transfer->put);
    ist_get_free(transfer->get);
    ist_release(transfers->alloc, transfer->request.reply);
    ist_release(transfers->alloc, transfer);
}

void ist_transfers_fini(struct ist_transfers *transfers) {
    while (transfers->first != NULL) {
        struct ist_transfer *transfer = transfers->first;
        transfers->first = transfer->next;
        transfer_free(transfers, transfer);
    }
    *transfers = (struct ist_transfers){.alloc = transfers->alloc};
}

/* ---- in --------------------------------------------------------------------------------------------- */

static struct ist_transfer *add(struct ist_transfers *transfers,
                                const struct ist_transfer_request *request,
                                const struct ist_remote *remotes, size_t items) {
    size_t bytes = sizeof(struct ist_transfer) + items * sizeof(struct ist_remote);
    struct ist_transfer *transfer = ist_allocate(transfers->alloc, bytes);
    if (transfer == NULL) {
        return NULL;
    }
    *transfer = (struct ist_transfer){
        .request = *request, .items = items, .memory_bytes = bytes + request->kept_bytes};
    memcpy(transfer->remotes, remotes, items * sizeof(*remotes));
    if (transfers->last == NULL) {
        transfers->first = transfer;
    } else {
        transfers->last->next = transfer;
    }
    transfers->last = transfer;
    if (transfers->issuing == NULL) {
        transfers->issuing = transfer;
    }
    transfers->count++;
    transfers->memory_bytes += transfer->memory_bytes;
    return transfer;
}

enum ist_status ist_transfers_add_put(struct ist_transfers *transfers,
                                      const struct ist_transfer_request *request, struct ist_put *put,
                                      const struct ist_remote *remotes) {
    struct ist_transfer *transfer = add(transfers, request, remotes, ist_put_count(put));
    if (transfer == NULL) {
        return IST_NO_MEMORY;
    }
    transfer->put = put;
    return IST_OK;
}

enum ist_status ist_transfers_add_get(struct ist_transfers *transfers,
                                      const struct ist_transfer_request *request, struct ist_get *get,
                                      const struct ist_remote *remotes) {
    struct ist_transfer *transfer = add(transfers, request, remotes, get->count);
    if (transfer == NULL) {
        return IST_NO_MEMORY;
    }
    transfer->get = get;
    return IST_OK;
}

/* ---- out -------------------------------------------------------------------------------------------- */

/* The entry of an item that has bytes to move; NULL: there is nothing to move. Reserves. */
static struct ist_entry *entry_to_issue(struct ist_transfer *transfer, size_t item) {
    return transfer->put != NULL ? ist_put_entry(transfer->put, item) : transfer->get->entries[item];
}

static struct ist_entry *entry_issued(const struct ist_transfer *transfer, size_t item) {
    return transfer->put != NULL ? ist_put_reserved(transfer->put, item) : transfer->get->entries[item];
}

static bool is_issued(const struct ist_transfer *transfer) {
    return transfer->issued.item == transfer->items;
}

bool ist_transfers_have_work(struct ist_transfers *transfers) {
    struct ist_transfer *transfer = transfers->issuing;
    while (transfer != NULL) {
        while (!is_issued(transfer) && entry_to_issue(transfer, transfer->issued.item) == NULL) {
            transfer->issued.item++;
        }
        if (!is_issued(transfer)) {
            break;
        }
        transfer = transfer->next;
    }
    transfers->issuing = transfer;
    return transfer != NULL;
}

/* The next work request of a transfer that has one; `place` moves behind it. */
static struct ist_work work_at(const struct ist_transfer *transfer, struct place *place) {
    const struct ist_entry *entry = entry_issued(transfer, place->item);
    const struct ist_remote *remote = &transfer->remotes[place->item];
    uint64_t left = ist_entry_value_bytes(entry) - place->at;
    struct ist_work work = {
        .kind = transfer->put != NULL ? IST_WORK_READ : IST_WORK_WRITE,
        .offset = ist_entry_offset(entry) + place->at,
        .bytes = (uint32_t)(left < IST_WORK_BYTES_MAX ? left : IST_WORK_BYTES_MAX),
        .rkey = remote->rkey,
        .address = remote->address + place->at,
    };
    place->at += work.bytes;
    if (work.bytes == left) {
        *place = (struct place){.item = place->item + 1};
    }
    return work;
}

size_t ist_transfers_issue(struct ist_transfers *transfers, struct ist_work *works, size_t max) {
    size_t count = 0;
    while (count < max && ist_transfers_have_work(transfers)) {
        works[count++] = work_at(transfers->issuing, &transfers->issuing->issued);
        transfers->issuing->outstanding++;
        transfers->outstanding++;
    }
    /* What has nothing left is known to be issued, so that it can be answered. */
    (void)ist_transfers_have_work(transfers);
    return count;
}

static void complete_one(struct ist_transfer *transfer, uint64_t *read_bytes, uint64_t *written_bytes) {
    struct place *place = &transfer->completed;
    while (entry_issued(transfer, place->item) == NULL) {
        place->item++;
    }
    size_t item = place->item;
    const struct ist_work work = work_at(transfer, place);
    *(work.kind == IST_WORK_READ ? read_bytes : written_bytes) += work.bytes;
    transfer->moved_bytes += work.bytes;
    if (transfer->get != NULL && place->item > item) {
        ist_get_release(transfer->get);
    }
    transfer->outstanding--;
}

static bool is_finished(const struct ist_transfer *transfer) {
    return transfer->answered && transfer->outstanding == 0;
}

/* Answered transfers at the front without outstanding work. */
static void drop_finished(struct ist_transfers *transfers) {
    while (transfers->first != NULL && is_finished(transfers->first)) {
        struct ist_transfer *transfer = transfers->first;
        transfers->first = transfer->next;
        transfers->gone++;
        if (transfer->next == NULL) {
            transfers->last = NULL;
        }
        transfer_free(transfers, transfer);
    }
}

void ist_transfers_complete(struct ist_transfers *transfers, uint64_t count, uint64_t *read_bytes,
                            uint64_t *written_bytes) {
    IST_ASSERT(count <= transfers->outstanding);
    transfers->outstanding -= count;
    *read_bytes = *written_bytes = 0;
    for (struct ist_transfer *transfer = transfers->first; count > 0; transfer = transfer->next) {
        for (; count > 0 && transfer->outstanding > 0; count--) {
            complete_one(transfer, read_bytes, written_bytes);
        }
    }
    drop_finished(transfers);
}

uint64_t ist_transfers_moved_bytes(const struct ist_transfers *transfers) {
    return transfers->first->moved_bytes;
}

bool ist_transfers_due(struct ist_transfers *transfers, struct ist_transfer_request *request,
                       struct ist_put **put) {
    struct ist_transfer *transfer = transfers->first;
    while (transfer != NULL && transfer != transfers->issuing) {
        if (!transfer->answered && (transfer->get != NULL || transfer->outstanding == 0)) {
            *request = transfer->request;
            *put = transfer->put;
            transfer->request.reply = NULL;
            transfer->put = NULL;
            transfer->answered = true;
            transfers->count--;
            drop_finished(transfers);
            return true;
        }
        transfer = transfer->next;
    }
    return false;
}

void ist_transfers_check(const struct ist_transfers *transfers) {
    uint64_t outstanding = 0, count = 0, memory_bytes = 0;
    bool issued = true;
    for (const struct ist_transfer *transfer = transfers->first; transfer != NULL;
         transfer = transfer->next) {
        issued = issued && transfer != transfers->issuing;
        IST_ASSERT(issued ? is_issued(transfer) : !transfer->answered);
        IST_ASSERT(issued || transfer == transfers->issuing || transfer->outstanding == 0);
        IST_ASSERT(transfer->next != NULL || transfer == transfers->last);
        IST_ASSERT(!is_finished(transfer) || transfer != transfers->first);
        outstanding += transfer->outstanding;
        count += !transfer->answered;
        memory_bytes += transfer->memory_bytes;
        if (transfer->put != NULL) {
            ist_put_check(transfer->put);
        }
    }
    IST_ASSERT(outstanding == transfers->outstanding && count == transfers->count);
    IST_ASSERT(memory_bytes == transfers->memory_bytes);
}

/* One request of a user, from its submit to its callback: the bytes that are sent for it, and where its
 * answer goes. No I/O: values are named in the caller's memory and never copied.
 *
 * Made by one of the ist_request_new_ functions, which borrow everything they are given, out-pointers
 * included, until the request is freed or aborted. The exchange keeps the fields that are marked so. */
#ifndef IST_CLIENT_REQUEST_H
#define IST_CLIENT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "base/timers.h"
#include "infinistore/infinistore.h"
#include "wire/frame.h"

enum ist_request_place {
    IST_REQUEST_NEW,
    IST_REQUEST_QUEUED,   /* waits for a session, or for others to be answered */
    IST_REQUEST_OUTGOING, /* its bytes are being sent, or are next */
    IST_REQUEST_SENT,     /* waits for its reply, or for the payload of it */
    IST_REQUEST_DONE,
};

struct ist_request {
    /* the exchange's */
    struct ist_timer timer;
    struct ist_request *next, *previous; /* of the same place */
    struct ist_request *next_done;
    enum ist_request_place place;
    uint16_t slot;
    bool orphan;   /* done, but the rest of its bytes must leave */
    bool released; /* the caller has seen it; freed with the rest of its bytes */
    bool expired;  /* its deadline has passed, but it cannot be done before the queue pair is gone */
    const char *note;

    /* whoever submits: not touched here */
    ist_done_fn done;
    void *arg;
    struct ist_request *next_fresh; /* submitted in a callback, and waits for its end */
    uint64_t timeout_ns;            /* from then on */

    /* its own */
    const struct ist_alloc *alloc;
    enum ist_operation operation;
    enum ist_status status; /* what the caller gets */
    size_t count;           /* of keys */
    size_t longest_key;
    uint64_t longest_value;   /* PUT */
    uint64_t value_bytes_max; /* PUT: longer ones are not sent */
    union {
        struct ist_put_item *puts;
        struct ist_get_item *gets;
        bool *present;
        size_t *number;
        int64_t *index;
        uint64_t *purged;
        struct ist_metrics **metrics;
    } to;
    uint64_t payload_bytes; /* PUT: of all values that are sent. GET: of all buffers */
    size_t head_sent;
    size_t item; /* of the value that is being sent or received, and how much of it is done */
    uint64_t item_done;
    uint64_t *lengths; /* GET: room for what the reply tells */
    uint8_t *head;     /* header and body */
    size_t head_bytes;
    bool is_remote;       /* PUT, GET: the server reads or writes the values itself */
    bool has_invalid;     /* is_remote: the status of some items is INVALID already */
    uint8_t *remote_head; /* owned: what `head` is then */
};

struct ist_regions;

/* Returns OK, INVALID (a count or length outside the limits, a pointer that is missing), NO_MEMORY. */
enum ist_status ist_request_new_put(const struct ist_alloc *alloc, struct ist_put_item *items,
                                    size_t count, unsigned flags, struct ist_request **request);
enum ist_status ist_request_new_get(const struct ist_alloc *alloc, struct ist_get_item *items,
                                    size_t count, struct ist_request **request);
enum ist_status ist_request_new_exists(const struct ist_alloc *alloc, const struct ist_key *keys,
                                       size_t count, bool *present, struct ist_request **request);
/* operation: MATCH_PREFIX or REMOVE. */
enum ist_status ist_request_new_number(const struct ist_alloc *alloc, enum ist_operation operation,
                                       const struct ist_key *keys, size_t count, size_t *number,
                                       struct ist_request **request);
enum ist_status ist_request_new_match_last(const struct ist_alloc *alloc, const struct ist_key *keys,
                                           size_t count, int64_t *index, struct ist_request **request);
enum ist_status ist_request_new_purge(const struct ist_alloc *alloc, uint64_t *purged,
                                      struct ist_request **request);
enum ist_status ist_request_new_stat(const struct ist_alloc *alloc, struct ist_metrics **metrics,
                                     struct ist_request **request);
enum ist_status ist_request_new_ping(const struct ist_alloc *alloc, struct ist_request **request);
void ist_request_free(struct ist_request *request);

/* Writes the id into its header. Nothing of it may have been sent. */
void ist_request_seal(struct ist_request *request, uint64_t id);

/* A server takes values up to `bytes`, or does not say (0): those of a PUT that are longer are not sent. Its items are, so
 * that the server leaves them alone, and their status is TOO_BIG. Nothing of it may have been sent. */
void ist_request_limit_values(struct ist_request *request, uint64_t bytes);
/* PUT: whether this value is not sent. */
bool ist_request_is_too_big(const struct ist_request *request, size_t item);
/* PUT and GET get the form that they have over RDMA; others have only one. An item whose memory is not registered is sent
 * so that the server leaves it alone, and its status is INVALID. Returns OK, NO_MEMORY. */
enum ist_status ist_request_make_remote(struct ist_request *request, const struct ist_regions *regions);
/* True: there is no item that the server may be asked for. Each has its status, and the request that of the first. */
bool ist_request_is_refused(struct ist_request *request);
/* Whether a value lies in memory that the CPU cannot read. */
bool ist_request_uses_device_memory(const struct ist_request *request,
                                    const struct ist_regions *regions);
/* Whether the server may read or write the caller's memory by itself, now or when what was sent arrives. */
bool ist_request_is_exposed(const struct ist_request *request);
/* PUT, GET: whether a value, or a part of it, lies there. */
bool ist_request_names(const struct ist_request *request, uint64_t address, uint64_t bytes);

/* What is left to send, in order, as many buffers as fit; and that *bytes of it are sent, of which those that
 * are not its own are left in *bytes. True: that was all of it. */
size_t ist_request_send_buffers(const struct ist_request *request, struct iovec *buffers, size_t max);
bool ist_request_sent(struct ist_request *request, uint64_t *bytes);
bool ist_request_has_begun(const struct ist_request *request); /* a byte was sent */

/* Of *bytes that have moved: those that a part with room for `limit` has its share in. */
static inline uint64_t ist_request_take(uint64_t *bytes, uint64_t limit) {
    uint64_t taken = *bytes < limit ? *bytes : limit;
    *bytes -= taken;
    return taken;
}

/* Ended without an answer: all of it gets this status. */
void ist_request_abort(struct ist_request *request, enum ist_status status);

#endif

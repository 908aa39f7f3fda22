/* InfiniStore client: a key-value store for the KV cache of LLM inference.
 *
 * Keys are 1 to 1,024 arbitrary bytes; values are 1 byte or more, up to the server's pool. Every
 * operation takes a batch and answers per key; every call has a deadline; nothing hangs.
 *
 * Each operation has two forms. The blocking one returns when the reply is in. The asynchronous one
 * (`_async`) returns at once; the callback runs later, exactly once, inside ist_client_process() or
 * inside another thread's blocking call, and everything that the request borrowed (items, keys,
 * buffers, out-pointers) must stay valid and unmoved until then. A submit that does not return OK
 * never calls back.
 *
 * A client may be used from any number of threads. One that is cancelled (pthread_cancel()) in a call is so
 * behind it. Callbacks run one at a time, and hold up no blocking call of another thread. A callback may submit
 * further requests; it must not call a blocking form (refused with INVALID), ist_client_process() (does
 * nothing) or ist_client_free().
 *
 * A client survives its server: when the connection is lost, what is in flight ends with PEER, and
 * the next request connects again, without making its submit wait. ist_client_incarnation() tells
 * whether it found the same server process (the cache is still there) or a new one (it is empty).
 *
 * Return of a batch: OK when every item is OK; else the status of the first item that is not, with
 * each item's own in `status`. Of the session's statuses (PEER, TIMEOUT, PROTOCOL; DEVICE where only RDMA will do and
 * cannot be had), and of a submit that is refused, every item gets the same. After TIMEOUT, PEER or PROTOCOL a put, remove
 * or purge may or may not have taken effect.
 *
 * timeout_ns: from the submit (in a callback: from when all that are due have run); 0 means the client's default. */
#ifndef INFINISTORE_INFINISTORE_H
#define INFINISTORE_INFINISTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/limits.h"
#include "infinistore/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything else hidden. */
#pragma GCC visibility push(default)

#define IST_VERSION "0.1.0"

struct ist_client;

/* Borrowed bytes. Not NUL-terminated. */
struct ist_key {
    const void *data;
    size_t bytes;
};

struct ist_put_item {
    struct ist_key key;
    const void *value;
    uint64_t value_bytes;
    enum ist_status status; /* out: OK, EXISTS, NO_SPACE, TOO_BIG, INVALID, NO_MEMORY */
};

struct ist_get_item {
    struct ist_key key;
    void *buffer; /* receives the value; its tail stays untouched */
    uint64_t buffer_bytes;
    uint64_t value_bytes;   /* out: the value's true length on OK and TOO_SMALL, else 0 */
    enum ist_status status; /* out: OK, NOT_FOUND, TOO_SMALL, INVALID, NO_MEMORY */
};

enum ist_put_flags {
    IST_IF_ABSENT = 1, /* A present key answers EXISTS and keeps its value. */
};

/* How values move. Over RDMA the server's network adapter reads and writes them in the caller's memory, which has to be
 * registered: ist_memory_register(). */
enum ist_transport {
    IST_TRANSPORT_TCP = 0,
    IST_TRANSPORT_RDMA, /* or an error that names the cause */
    IST_TRANSPORT_AUTO, /* RDMA where it can be had, otherwise TCP, with a warning; tried at every connect */
};

/* What an RDMA port must be. */
enum ist_client_link {
    IST_CLIENT_LINK_ANY = 0,
    IST_CLIENT_LINK_ETHERNET, /* RoCE v2 */
    IST_CLIENT_LINK_INFINIBAND,
};

/* Zero-initialise it, then set what you need; 0 and NULL mean the default. */
struct ist_client_options {
    /* One or more, separated by commas, tried in this order at every connect:
     * "host", "host:port", "1.2.3.4:port", "[v6]:port", "unix:/path". Default "127.0.0.1". Copied. */
    const char *endpoints;
    uint64_t connect_timeout_ns; /* for connecting and the handshake, all endpoints together */
    uint64_t request_timeout_ns; /* default of every request */

    enum ist_transport transport;
    /* For RDMA only. */
    const char *device;        /* default: the first with an active port of that link. Copied */
    unsigned port;             /* default: the first active one */
    enum ist_client_link link; /* default: any */
    bool use_gid_index;        /* by default the best of the port's GIDs is found */
    unsigned gid_index;        /* else this one, whatever it is */
    uint64_t
        poll_ns; /* a blocking call looks for its answer so long before it sleeps: faster, for a busy CPU */

    /* What the user must hear, as one line without a newline: AUTO is using TCP. Once, and again when RDMA was had
     * meanwhile. Called like a callback. Default: a line on stderr. */
    void (*warn)(void *arg, const char *line);
    void *warn_arg;
};

/* Called exactly once for each accepted submit. `status` is what the blocking form would return. */
typedef void (*ist_done_fn)(void *arg, enum ist_status status);

/* Connects and shakes hands, within connect_timeout_ns.
 * client  owned by the caller on OK: ist_client_free().
 * Returns OK, INVALID (an endpoint or a device name that cannot be), PEER (no endpoint answers), PROTOCOL (what
 * answers is no InfiniStore, or another version), TIMEOUT, NO_MEMORY, DEVICE (IST_TRANSPORT_RDMA: there is no RDMA here,
 * or none there, or no message gets through). On any but OK, `error` (may be
 * NULL) receives one NUL-terminated line that names the endpoint and the cause, cut at error_bytes. */
enum ist_status ist_client_new(const struct ist_client_options *options, struct ist_client **client,
                               char *error, size_t error_bytes);

/* Ends what is in flight with PEER (callbacks run now, in this thread), closes, frees. No other thread
 * may be in a call. NULL is legal.
 * After a fork() a client is the parent's, and this is the only call that the child may make: it closes the child's
 * descriptors of TCP and calls nobody back; memory and what is of RDMA stay until the child ends. */
void ist_client_free(struct ist_client *client);

/* Readable when ist_client_process() has something to do; for poll, epoll, libev. Valid for the life of
 * the client, also over reconnects. Do not read it. */
int ist_client_fd(const struct ist_client *client);

/* Moves bytes, runs the callbacks that are due, enforces deadlines; never blocks. Returns the number
 * of callbacks that it ran. */
size_t ist_client_process(struct ist_client *client);

/* The one of the endpoints that it is connected to, as it was written, NUL-terminated and cut at text_bytes; empty while not
 * connected. */
void ist_client_endpoint(const struct ist_client *client, char *text, size_t text_bytes);
/* What is in use now; while not connected TCP. */
enum ist_transport ist_client_transport(const struct ist_client *client);
/* Why the last connect did not lead to RDMA, or why what it led to has failed here, as one NUL-terminated line, cut at
 * text_bytes; empty while there is RDMA, when it was the server that was lost, or when RDMA is not wanted. */
void ist_client_why_tcp(const struct ist_client *client, char *text, size_t text_bytes);

/* Random, chosen by the server process at its start; 0 while not connected. */
uint64_t ist_client_incarnation(const struct ist_client *client);

/* Requests accepted and not yet called back. */
size_t ist_client_in_flight(const struct ist_client *client);

/* ---- memory for RDMA ----
 *
 * Over RDMA each value and each buffer must lie in one registered range, wherever in it; an item whose does not gets
 * INVALID, the others of its batch are served. Ranges may overlap, and be registered several times; two that adjoin are still
 * two. Over TCP any memory will do, and this costs next to nothing: the same code runs. What was registered is remembered:
 * a client that connects anew, or comes to RDMA later, registers it again.
 *
 * While a put or get is in flight the server may read or write its values. When such a request ends without an answer (its
 * deadline, a lost server, ist_client_free(), ist_memory_unregister() of its memory), the connection is torn down before
 * the callback runs, and the others in flight end with PEER: after its callback nobody touches the memory.
 *
 * Connecting anew may block for as long as it takes to open a device and to register what is remembered; other threads'
 * calls wait meanwhile. Giving up a connect half-way may, for about a second, while the network is asked for the server's
 * hardware address. */

/* The memory must stay mapped until it is unregistered, or the client freed. May take seconds for many GiB, while other
 * threads' calls go on.
 * Returns OK; INVALID (no bytes, not mapped or not writable), NO_MEMORY (no more memory can be locked: see ulimit -l),
 * TOO_BIG (above the device's limit), DEVICE (the device refuses). */
enum ist_status ist_memory_register(struct ist_client *client, void *address, size_t bytes);
/* GPU memory, as a dma-buf that its driver has exported (cuMemGetHandleForAddressRange(), hsa_amd_portable_export_dmabuf()).
 * fd       borrowed for the call.
 * offset   of the range in it
 * address  of its first byte as items will name it; it is not read by the CPU
 * Also DEVICE when kernel, driver or device cannot do that. Over TCP such memory is out of reach: all items of a batch
 * that names it get INVALID. */
enum ist_status ist_memory_register_dmabuf(struct ist_client *client, int fd, uint64_t offset,
                                           size_t bytes, void *address);
/* The same range as it was registered, once less. Then the device touches it no more.
 * Returns OK, NOT_FOUND (it is not registered). */
enum ist_status ist_memory_unregister(struct ist_client *client, const void *address, size_t bytes);

/* put: stores each value under its key, replacing what is there unless IST_IF_ABSENT. The keys of one
 * request become visible together, when all its bytes have arrived; a failed put leaves no trace.
 * Submit returns OK, INVALID (count 0 or above IST_KEYS_PER_REQUEST_MAX, a key or value of 0 bytes, a
 * key above IST_KEY_BYTES_MAX: nothing is sent), NO_MEMORY, AGAIN (IST_REQUESTS_IN_FLIGHT_MAX),
 * PEER (the client is being freed). */
enum ist_status ist_put_async(struct ist_client *client, struct ist_put_item *items, size_t count,
                              unsigned flags, uint64_t timeout_ns, ist_done_fn done, void *arg);
enum ist_status ist_put(struct ist_client *client, struct ist_put_item *items, size_t count,
                        unsigned flags, uint64_t timeout_ns);

/* get: fills each buffer. NOT_FOUND and TOO_SMALL are per key; the others are still delivered. */
enum ist_status ist_get_async(struct ist_client *client, struct ist_get_item *items, size_t count,
                              uint64_t timeout_ns, ist_done_fn done, void *arg);
enum ist_status ist_get(struct ist_client *client, struct ist_get_item *items, size_t count,
                        uint64_t timeout_ns);

/* exists: present[i] tells of keys[i]. Changes nothing in the store, recency included.
 * Returns OK whatever is present. */
enum ist_status ist_exists_async(struct ist_client *client, const struct ist_key *keys, size_t count,
                                 bool *present, uint64_t timeout_ns, ist_done_fn done, void *arg);
enum ist_status ist_exists(struct ist_client *client, const struct ist_key *keys, size_t count,
                           bool *present, uint64_t timeout_ns);

/* match_prefix: *matched = how many leading keys are present (the first hole ends the count). */
enum ist_status ist_match_prefix_async(struct ist_client *client, const struct ist_key *keys,
                                       size_t count, size_t *matched, uint64_t timeout_ns,
                                       ist_done_fn done, void *arg);
enum ist_status ist_match_prefix(struct ist_client *client, const struct ist_key *keys, size_t count,
                                 size_t *matched, uint64_t timeout_ns);

/* match_last: *index = index of the last key present, holes or not; -1 when none is. */
enum ist_status ist_match_last_async(struct ist_client *client, const struct ist_key *keys,
                                     size_t count, int64_t *index, uint64_t timeout_ns,
                                     ist_done_fn done, void *arg);
enum ist_status ist_match_last(struct ist_client *client, const struct ist_key *keys, size_t count,
                               int64_t *index, uint64_t timeout_ns);

/* remove: *removed = how many were there. Gets in flight finish. */
enum ist_status ist_remove_async(struct ist_client *client, const struct ist_key *keys, size_t count,
                                 size_t *removed, uint64_t timeout_ns, ist_done_fn done, void *arg);
enum ist_status ist_remove(struct ist_client *client, const struct ist_key *keys, size_t count,
                           size_t *removed, uint64_t timeout_ns);

/* purge: removes everything; *purged = how many keys went. */
enum ist_status ist_purge_async(struct ist_client *client, uint64_t *purged, uint64_t timeout_ns,
                                ist_done_fn done, void *arg);
enum ist_status ist_purge(struct ist_client *client, uint64_t *purged, uint64_t timeout_ns);

/* ping: one round trip to the engine and back. */
enum ist_status ist_ping_async(struct ist_client *client, uint64_t timeout_ns, ist_done_fn done,
                               void *arg);
enum ist_status ist_ping(struct ist_client *client, uint64_t timeout_ns);

/* The server's counters and gauges, under the names that GET /metrics shows, labels included, e.g.
 * infinistore_operations_total{op="put",status="OK"}. A client that wants RDMA finds one of its own before them, with the
 * value 1: infinistore_client_transport{wanted="auto",used="tcp"}. */
struct ist_metric {
    const char *name; /* borrowed from the list */
    double value;
};
struct ist_metrics {
    size_t count;
    struct ist_metric *items;
};

/* metrics  owned by the caller on OK: ist_metrics_free(). */
enum ist_status ist_stat_async(struct ist_client *client, struct ist_metrics **metrics,
                               uint64_t timeout_ns, ist_done_fn done, void *arg);
enum ist_status ist_stat(struct ist_client *client, struct ist_metrics **metrics, uint64_t timeout_ns);
void ist_metrics_free(struct ist_metrics *metrics);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif

/* A kind of server, as the load generator sees it: one connection, requests in flight on it. */
#ifndef IST_TOOLS_BENCH_PEER_H
#define IST_TOOLS_BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"
#include "tools/bench_options.h"

/* Everything in it is the load generator's, and stays valid and unmoved until done() was called. */
struct ist_bench_request {
    enum ist_bench_op op;
    size_t count; /* keys */
    /* The one that belongs to op; each has `count` items. */
    struct ist_put_item *puts;
    struct ist_get_item *gets;
    struct ist_key *keys; /* exists, match, remove */
    bool *present;        /* exists: the answer */
    size_t matched;       /* match, remove: the answer */
    uint64_t begun_ns;
    void (*done)(struct ist_bench_request *request, enum ist_status status);
    void *owner;
};

struct ist_bench_memory;

/* Whom to connect to. Borrowed for as long as the connection. */
struct ist_bench_target {
    const char *endpoint;
    uint64_t timeout_ns; /* of a request */
    /* InfiniStore only: */
    const struct ist_transport_options *transport; /* NULL: TCP */
    const struct ist_bench_memory *memory;         /* all values lie in it; NULL: none */
};

struct ist_bench_peer {
    const char *name;
    bool matches; /* it can do IST_BENCH_MATCH; all can do the others */

    /* link  owned by the caller on OK: close(). error: one line for anything else. */
    enum ist_status (*open)(const struct ist_bench_target *target, void **link, char *error,
                            size_t error_bytes);
    /* What is in flight is done with PEER. */
    void (*close)(void *link);

    /* Sends the request and waits for its answer; done() is not called. Only while none is in flight. */
    enum ist_status (*call)(void *link, struct ist_bench_request *request);
    /* Takes the request; done() is called later, by wait() or close(), and may itself submit. Not OK: never. */
    enum ist_status (*submit)(void *link, struct ist_bench_request *request);
    /* Until at least one request was done. Only while there are some in flight. */
    enum ist_status (*wait)(void *link);
};

/* Through the public client library. */
const struct ist_bench_peer *ist_bench_store(void);

#endif

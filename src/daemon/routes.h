/* What the manage port answers to whom, without HTTP's syntax. */
#ifndef IST_DAEMON_ROUTES_H
#define IST_DAEMON_ROUTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/control.h"
#include "daemon/selftest.h"

/* How long a page waits for the loop. A probe must learn soon that the loop stands still; a purge of millions of
 * keys takes a while. */
#define IST_ROUTES_HEALTH_TIMEOUT_NS (1 * IST_NS_PER_SEC)
#define IST_ROUTES_TIMEOUT_NS (10 * IST_NS_PER_SEC)
#define IST_ROUTES_SELFTEST_TIMEOUT_NS (5 * IST_NS_PER_SEC) /* the whole of it */
/* What anybody can cause is logged no more often than this. */
#define IST_ROUTES_WARNING_REST_NS (10 * IST_NS_PER_SEC)

struct ist_routes {
    struct ist_control *control; /* borrowed, as everything here */
    const struct ist_alloc *alloc;
    const struct ist_log *log;
    const char *service;                  /* where the self-test connects to: "127.0.0.1:22345" */
    struct ist_selftest_rdma_source rdma; /* it goes there, too */
    double evict_share;      /* what POST /evict leaves used when it is not told how many bytes */
    uint64_t started_at_sec; /* wall clock, since 1970 */
    uint64_t started_at_ns;  /* ist_clock_ns() */
    atomic_uint_least64_t quiet_until_ns; /* see IST_ROUTES_WARNING_REST_NS; 0 at the start */
};

struct ist_route_request {
    const char *method, *path; /* "GET", "/health" */
    bool has_bytes;            /* ?bytes=... was there */
    const char *bytes;         /* its value; NULL: "?bytes" without one */
    bool may_change;           /* the peer may POST */
};

struct ist_route_answer {
    unsigned status;   /* of HTTP */
    const char *type;  /* of the body; static */
    const char *allow; /* the methods that there are, with 405; else NULL; static */
    char *body;        /* NUL-terminated; the caller's: ist_release(); NULL when memory ran out */
};

/* May be called by several threads at a time. */
void ist_routes_answer(struct ist_routes *routes, const struct ist_route_request *request,
                       struct ist_route_answer *answer);

/* {"error": "..."} with this status: for what does not get as far as a page. */
void ist_routes_refuse(const struct ist_alloc *alloc, unsigned status, const char *why,
                       struct ist_route_answer *answer);

#endif

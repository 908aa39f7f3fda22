/* The manage port: HTTP on every address of --host, each with a thread of its own. Answers come from routes.h;
 * here are sockets, limits, and who the peer is.
 *
 * Whoever changes something (POST) must come from this machine itself, or know the token. What a program of this
 * machine passes on for somebody else (a browser, a proxy) is not from this machine. */
#ifndef IST_DAEMON_ADMIN_H
#define IST_DAEMON_ADMIN_H

#include <stddef.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/selftest.h"
#include "infinistore/status.h"

struct ist_admin;

#define IST_ADMIN_ADDRESSES_MAX 32        /* sockets, and threads */
#define IST_ADMIN_URL_BYTES_MAX 2048u     /* path and query: longer ones are 414 */
#define IST_ADMIN_BODY_BYTES_MAX 16384u   /* no page needs one; what is announced longer is 413 */
#define IST_ADMIN_CONNECTIONS_MAX 128u    /* per address */
#define IST_ADMIN_CONNECTIONS_OF_ONE 32u  /* of these, from one peer's address */
#define IST_ADMIN_CONNECTION_BYTES 32768u /* memory of one, headers included */
#define IST_ADMIN_IDLE_SEC 10u            /* a connection without a byte */

struct ist_admin_config {
    const struct ist_config *config; /* borrowed, as everything here */
    struct ist_control *control;
    const char *service;                  /* where the self-test connects to: "127.0.0.1:22345" */
    struct ist_selftest_rdma_source rdma; /* it goes there, too */
    const struct ist_alloc *alloc;
    const struct ist_log *log; /* used by several threads */
};

/* Serves when it returns. Returns OK, CONFIG (an address cannot be had, the token is not good, ...: it was
 * logged), NO_MEMORY. */
enum ist_status ist_admin_new(const struct ist_admin_config *config, struct ist_admin **admin);
/* Waits for requests that are being answered: close the control first. NULL is legal. */
void ist_admin_free(struct ist_admin *admin);

/* "127.0.0.1:18080"; NULL when there is no n-th. Borrowed for the admin's life. */
const char *ist_admin_address(const struct ist_admin *admin, size_t n);

#endif

/* The answers of every InfiniStore call.
 *
 * Grouped by what they end: a request, a session (every request in flight on it), or the process
 * (a daemon or client that cannot start). OK is 0. */
#ifndef INFINISTORE_STATUS_H
#define INFINISTORE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything else hidden. */
#pragma GCC visibility push(default)

enum ist_status {
    IST_OK = 0,
    IST_AGAIN = 1, /* Not an error: the input is incomplete, or there is nothing to do yet. */

    /* End one request, or one key of it. */
    IST_NOT_FOUND = 10, /* No such key. */
    IST_EXISTS = 11,    /* IST_IF_ABSENT, and the key is there. */
    IST_NO_SPACE = 12,  /* The pool is full and everything in it is in use. */
    IST_TOO_BIG = 13,   /* The value is larger than the whole pool. */
    IST_TOO_SMALL = 14, /* The caller's buffer is shorter than the value. */
    IST_INVALID = 15,   /* An argument is outside its limits. */
    IST_NO_MEMORY = 16, /* An allocation failed on the side that answers. */

    /* End the session. */
    IST_PROTOCOL = 30, /* The peer broke the protocol, or speaks no version in common. */
    IST_PEER = 31,     /* The connection could not be made, or was lost. */
    IST_TIMEOUT = 32,  /* The deadline passed. */

    /* End the process. */
    IST_DEVICE = 50, /* An RDMA device is missing or failed. */
    IST_CONFIG = 51, /* An option is wrong. */
};

/* The constant's name without its prefix, e.g. "NOT_FOUND"; "UNKNOWN" for anything else.
 * Static storage. */
const char *ist_status_name(enum ist_status status);

/* One plain sentence without a full stop, e.g. "no such key". Static storage. */
const char *ist_status_text(enum ist_status status);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif

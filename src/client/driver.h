/* Who works for a client, and when. One mutex, the baton, guards everything; it is never held while waiting or while a callback
 * runs.
 *
 * Of the threads in blocking calls one leads: it waits for the socket and does what there is to do, for all.
 * The others wait until it has done their part, or leads no more; then one of them takes over. On an idle
 * connection a small blocking call is one sendmsg, one poll and one recv.
 * Whoever waits for ist_client_fd() is served by wakeup.h's descriptors, which are touched only when asynchronous requests
 * are about.
 *
 * Callbacks run one at a time, in a thread that leads or is in ist_client_process(). Who leads steps down for them, as
 * they may wait for another thread's call. What they submit is sent when all that are due have run. */
#ifndef IST_CLIENT_DRIVER_H
#define IST_CLIENT_DRIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/baton.h"
#include "client/connection.h"
#include "client/wakeup.h"

/* A blocking call. On its thread's stack. */
struct ist_waiter {
    struct ist_waiter *next, *previous; /* of those that follow */
    struct ist_sleeper sleeper;         /* while it follows */
    bool done;
    enum ist_status status;
};

struct ist_driver_config {
    struct ist_connection_config connection;
    uint64_t poll_ns;                          /* messages are looked for so long before sleeping */
    void (*warn)(void *arg, const char *line); /* NULL: nobody listens */
    void *warn_arg;
};

struct ist_driver {
    struct ist_driver_config config;
    struct ist_baton baton;
    struct ist_connection connection;
    bool ending; /* nothing is accepted any more */

    struct ist_wakeup wakeup;

    struct ist_waiter *leader;
    struct ist_waiter *first_follower;
    bool waiting;         /* the leader, in ppoll */
    uint64_t waiting_for; /* generation of the connection */
    short waiting_events; /* of the socket; the others are only read */
    uint64_t waiting_until_ns;

    struct ist_request *first_due, *last_due;     /* their callbacks are due */
    struct ist_request *first_fresh, *last_fresh; /* a callback has submitted them */
    size_t in_flight;                             /* accepted, not yet called back */
    size_t asynchronous;                          /* of them */
    bool calling;                                 /* callbacks run, in this thread: */
    pthread_t caller;
};

/* Returns OK, NO_MEMORY (also for descriptors; errno is set). endpoints: transferred on OK. */
enum ist_status ist_driver_init(struct ist_driver *driver, struct ist_endpoints *endpoints,
                                const struct ist_driver_config *config);
/* What is in flight ends with PEER; its callbacks run now. */
void ist_driver_fini(struct ist_driver *driver);
/* In the child of a fork(), where no thread works for it: the descriptors of TCP are closed, so that the session can end with
 * the parent. Everything else is shared with it, and left alone. */
void ist_driver_leave(struct ist_driver *driver);

/* Connects, waiting until that is done. Returns OK, PEER, PROTOCOL, TIMEOUT: connection.error tells more. */
enum ist_status ist_driver_connect(struct ist_driver *driver);

/* request: transferred, whatever the answer; `done` is the caller's callback.
 * Returns OK, AGAIN (IST_REQUESTS_IN_FLIGHT_MAX), PEER (ending). */
enum ist_status ist_driver_submit(struct ist_driver *driver, struct ist_request *request,
                                  uint64_t timeout_ns);
/* The same, but `done` is NULL, and it returns when the request is done, with its status. Also INVALID: in a
 * callback. */
enum ist_status ist_driver_call(struct ist_driver *driver, struct ist_request *request,
                                uint64_t timeout_ns);

/* See the public functions of these names. */
size_t ist_driver_process(struct ist_driver *driver);
uint64_t ist_driver_incarnation(struct ist_driver *driver);
bool ist_driver_is_remote(struct ist_driver *driver);
void ist_driver_endpoint(struct ist_driver *driver, char *text, size_t text_bytes);
void ist_driver_why_tcp(struct ist_driver *driver, char *why, size_t why_bytes);
enum ist_status ist_driver_register(struct ist_driver *driver, const struct ist_region_source *source);
/* What is in flight and uses this memory ends first, and the session with it. */
enum ist_status ist_driver_unregister(struct ist_driver *driver, uint64_t address, uint64_t bytes);
size_t ist_driver_in_flight(struct ist_driver *driver);

#endif

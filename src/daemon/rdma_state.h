/* What the files of the daemon's RDMA side know of each other; for them only. */
#ifndef IST_DAEMON_RDMA_STATE_H
#define IST_DAEMON_RDMA_STATE_H

#include <stdbool.h>

#include "daemon/connector.h"
#include "daemon/edge.h"
#include "daemon/rdma.h"
#include "verbs/completion.h"
#include "verbs/queue_pair.h"

#define IST_RDMA_HELD_MAX (IST_RDMA_MESSAGES + IST_COMPLETION_SPARE_MESSAGES)

/* A message whose bytes the session has not taken yet. */
struct ist_rdma_held {
    uint32_t buffer, bytes, used;
};

/* In the order of what they tell of. */
enum ist_rdma_armed { IST_RDMA_NOT_ARMED, IST_RDMA_ARMED_FOR_MESSAGES, IST_RDMA_ARMED_FOR_ALL };

struct ist_rdma_connection {
    struct ist_edge edge; /* first member: the session's user */
    struct ist_rdma *rdma;
    uint64_t id; /* for the log: of the TCP connection that asked for it */
    struct ist_rdma_connection *next, *prev;
    struct ist_rdma_connection *next_pending, *prev_pending; /* to be run */
    bool is_pending, is_closing, is_broken;
    bool is_connecting; /* the queue pair is the connector's, until the job is done */
    struct ist_connector_job job;
    bool is_drained; /* broken, and it will take no buffer of the shared queue any more */
    void *owner;     /* NULL: gone, or told */
    struct ist_session *session;
    struct ist_queue_pair *queue_pair;
    uint64_t closing_ns, broken_ns; /* since when */
    bool is_waiting; /* goes on when what it has posted comes out, or when the peer gives credit */
    struct ist_rdma_held held[IST_RDMA_HELD_MAX]; /* a ring */
    uint32_t held_first, held_count;
};

struct ist_rdma {
    struct ist_rdma_config config;
    struct ist_completion *completion;
    struct ist_connector *connector;
    ev_io completions, events;
    ev_timer linger;
    ev_check poll;      /* while polling: each turn, */
    ev_idle no_sleep;   /* and there is a next one */
    uint64_t worked_ns; /* when there was something in the queue */
    ev_timer low;       /* receive buffers ran low: they are watched again after this */
    ev_timer again;     /* in the next turn: there is more to do than this turn's share */
    struct ist_rdma_connection *first;
    size_t count;
    struct ist_rdma_connection *first_pending, *last_pending;
    size_t pending_count;
    bool is_down, is_dead; /* the port; the device */
    bool is_buried;        /* the device, and that was told */
    bool has_more;         /* completions that this turn left in the queue */
    ev_prepare prepare;    /* arms the queue */
    enum ist_rdma_armed armed;
    bool has_event;       /* there is one on the descriptor */
    size_t waiting_count; /* connections that wait for more than messages */
    ev_timer reap;        /* armed for messages only, for too long; */
    bool is_late;         /* that was so, and there has been no event since */
};

/* ---- rdma_connection.c ---- */

/* To be run, behind those that wait for that. */
void ist_rdma_mark(struct ist_rdma_connection *connection);
/* Runs those that wait now, each once: who wants more waits for the next turn. now_ns: a moment ago is good enough. */
void ist_rdma_run_pending(struct ist_rdma *rdma, uint64_t now_ns);
/* It ends, once nothing of it is outstanding. */
void ist_rdma_break(struct ist_rdma_connection *connection);
/* A message has come: its bytes wait for the session. */
void ist_rdma_hold(struct ist_rdma_connection *connection, const struct ist_completion_event *event);
/* At once; nothing may be under way in another thread. */
void ist_rdma_connection_free(struct ist_rdma_connection *connection);
void ist_rdma_run_edge(struct ist_edge *edge);
/* For the timer: looks after those that end. */
void ist_rdma_on_linger(struct ev_loop *loop, ev_timer *timer, int revents);
void ist_rdma_give_back(struct ist_rdma *rdma, uint32_t buffer);

/* ---- rdma_connect.c ---- */

/* The connector's answer. */
void ist_rdma_settle(void *context, struct ist_connector_job *job);

#endif

/* What engine and session know of each other; for the files of this room only. */
#ifndef IST_ENGINE_STATE_H
#define IST_ENGINE_STATE_H

#include "base/span.h"
#include "base/timers.h"
#include "engine/engine.h"
#include "engine/inbox.h"
#include "engine/outbox.h"
#include "engine/put.h"
#include "engine/session.h"
#include "engine/transfer.h"
#include "wire/frame.h"

static inline uint64_t ist_smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint64_t ist_saturated_sum(uint64_t a, uint64_t b) {
    return a + ist_smaller(b, UINT64_MAX - a);
}

/* One request's keys at a time: requests run one after another, whatever session they are of. */
struct ist_scratch {
    struct ist_span *keys;
    uint64_t *lengths;
    struct ist_remote *remotes;
    struct ist_entry **entries;
    uint8_t *status;
    bool *present;
};

struct ist_engine {
    struct ist_engine_config config; /* with its defaults filled in */
    struct ist_store *store;         /* borrowed */
    struct ist_stats stats;          /* counters; gauges are filled in by the snapshot */
    uint64_t pool_target_bytes;      /* as the edge has told */
    struct ist_timers timers;
    struct ist_scratch scratch;
    struct ist_session *sessions, *changed;
    bool draining;
};

enum ist_session_state { IST_SESSION_HELLO, IST_SESSION_OPEN, IST_SESSION_CLOSING };

/* What the next bytes are. */
enum ist_session_step {
    IST_STEP_HEADER,
    IST_STEP_BODY,
    IST_STEP_PAYLOAD, /* of `put` */
    IST_STEP_CONNECT, /* none, until the edge has made a queue pair */
    IST_STEP_SKIP,    /* of a request for which there is no memory */
};

enum ist_session_end { IST_END_PEER, IST_END_PROTOCOL, IST_END_TIMEOUT, IST_END_OURS };

struct ist_session {
    struct ist_timer timer; /* first member */
    struct ist_engine *engine;
    uint64_t id;
    void *user;
    struct ist_session *prev, *next;
    struct ist_session *changed_prev, *changed_next;
    bool is_changed;
    bool copying; /* staged payload waits for the edge to copy it */
    bool begun;   /* the first byte of the frame has been looked at */
    bool expired; /* what is queued will not be sent any more */
    bool is_rdma;
    enum ist_session_state state;
    enum ist_session_step step;
    enum ist_session_end end;
    uint32_t in_flight;     /* requests begun whose reply has not left */
    uint64_t sharers;       /* of the server, itself among them; the most since it was idle */
    struct ist_frame frame; /* the one that is being received, from its body on */
    uint64_t opened_ns, begin_ns, received_ns; /* begin: of that frame */
    uint64_t begun_bytes;                      /* received since then */
    uint64_t unit_ns, sent_ns;                 /* unit: since when the outbox's first one waits */
    uint64_t recv_named, send_named;
    uint64_t skip_bytes;
    struct ist_put *put; /* owned */
    size_t put_item;     /* where the payload stands */
    uint64_t put_at;
    struct ist_endpoint peer;       /* of a CONNECT */
    struct ist_transfers transfers; /* of an RDMA session */
    uint64_t worked_ns;             /* when outstanding work last moved */
    uint64_t transfer;              /* the first of them, by its number, */
    uint64_t transfer_ns;           /* and since when it is the first */
    struct ist_inbox inbox;
    struct ist_outbox outbox;
};

/* Before its deadlines are asked for: with how many others it shares the server may have changed. */
void ist_session_note_sharers(struct ist_session *session);
/* The earliest of its deadlines: handshake, a request that arrives, values that a NIC moves, a reply that leaves;
 * IST_NEVER_NS: none. */
uint64_t ist_session_deadline_ns(const struct ist_session *session);

/* A complete request: answers it, or for a PUT with values begins to take them. */
void ist_request_run(struct ist_session *session, struct ist_span body);
/* All values are in. */
void ist_request_finish_put(struct ist_session *session);
/* Answers the transfers whose time it is. */
void ist_request_finish_transfers(struct ist_session *session);
/* The reply to a CONNECT. */
void ist_request_connected(struct ist_session *session, const struct ist_endpoint *own);
/* A reply that says nothing but its status, to the session's frame. */
void ist_request_fail(struct ist_session *session, enum ist_status status);

/* No more is read; what is queued still leaves. */
void ist_session_end(struct ist_session *session, enum ist_session_end end);
/* The same, because the peer broke the protocol: logs it; answers when a frame is there to answer. */
void ist_session_refuse(struct ist_session *session, bool answer, const char *why);
void ist_session_mark_changed(struct ist_session *session);
/* Its deadline has passed, or the timer was early. */
void ist_session_tick(struct ist_session *session, uint64_t now_ns);
void ist_session_drain(struct ist_session *session, uint64_t now_ns);

#endif

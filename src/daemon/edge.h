/* What a session's user is, whatever carries its bytes: the engine names a session, and its edge serves it. */
#ifndef IST_DAEMON_EDGE_H
#define IST_DAEMON_EDGE_H

#include "engine/session.h"

/* First member of a connection. */
struct ist_edge {
    void (*run)(struct ist_edge *edge); /* it may be gone afterwards */
};

/* Serves the sessions that ist_engine_next_changed() names. */
static inline void ist_edge_run_changed(struct ist_engine *engine) {
    struct ist_session *session;
    while ((session = ist_engine_next_changed(engine)) != NULL) {
        struct ist_edge *edge = ist_session_user(session);
        edge->run(edge);
    }
}

#endif

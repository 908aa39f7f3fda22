/* When a session runs out of time. */
#include "engine/state.h"

/* A session must not end because it is served slowly, and those who move bytes at the same time share the server's link.
 * That others are over does not give back the time that they took. A peer that is slow by itself gains little by having many
 * sessions: without a byte in a pause each of them ends. */
void ist_session_note_sharers(struct ist_session *session) {
    const struct ist_stats *stats = &session->engine->stats;
    bool is_idle = !session->begun && session->in_flight == 0 && session->transfers.outstanding == 0;
    uint64_t others = ist_smaller(stats->sessions - 1, stats->requests_in_flight - session->in_flight);
    uint64_t sharers = ist_smaller(1 + others, IST_TRANSFER_SHARERS_MAX);
    session->sharers = is_idle ? 0 : session->sharers > sharers ? session->sharers : sharers;
}

/* What a transfer of so many bytes may take, beside a pause. */
static uint64_t transfer_ns(const struct ist_session *session, uint64_t bytes) {
    uint64_t alone_ns =
        bytes / IST_TRANSFER_BYTES_PER_SEC_MIN * IST_NS_PER_SEC +
        bytes % IST_TRANSFER_BYTES_PER_SEC_MIN * IST_NS_PER_SEC / IST_TRANSFER_BYTES_PER_SEC_MIN;
    return alone_ns * session->sharers;
}

/* A transfer that began, and moved the last of so many bytes, at these times. What has moved counts, not what is to
 * move: else who announces much, or asks for much, could sit on its blocks for as long as all of it may take. */
static uint64_t transfer_deadline(const struct ist_session *session, uint64_t begin_ns,
                                  uint64_t moved_ns, uint64_t moved_bytes) {
    uint64_t pause_ns = session->engine->config.progress_timeout_ns;
    return ist_smaller(moved_ns + pause_ns, begin_ns + pause_ns + transfer_ns(session, moved_bytes));
}

uint64_t ist_session_deadline_ns(const struct ist_session *session) {
    uint64_t at_ns = IST_NEVER_NS;
    if (session->expired) {
        return at_ns;
    }
    if (session->state == IST_SESSION_HELLO) {
        at_ns = session->opened_ns + session->engine->config.handshake_timeout_ns;
    }
    if (session->state != IST_SESSION_CLOSING && session->begun) {
        at_ns = ist_smaller(at_ns, transfer_deadline(session, session->begin_ns, session->received_ns,
                                                     session->begun_bytes));
    }
    if (session->transfers.count > 0 || session->transfers.outstanding > 0) {
        at_ns = ist_smaller(at_ns, transfer_deadline(session, session->transfer_ns, session->worked_ns,
                                                     ist_transfers_moved_bytes(&session->transfers)));
    }
    if (!ist_outbox_is_empty(&session->outbox)) {
        at_ns = ist_smaller(at_ns, transfer_deadline(session, session->unit_ns, session->sent_ns,
                                                     ist_outbox_unit_sent(&session->outbox)));
    }
    return at_ns;
}

/* How a connection finds a server that answers: endpoint by endpoint, address by address. For connection.c and upgrade.c. */
#ifndef IST_CLIENT_ATTEMPT_H
#define IST_CLIENT_ATTEMPT_H

#include <stdint.h>

#include "client/connection.h"

/* The descriptor, of whatever it is, and the queue pair; of these the queue pair first. */
void ist_attempt_drop(struct ist_connection *connection);
/* The attempt that was under way has failed: the next one, or IDLE with all requests ended. why: borrowed until then. */
void ist_attempt_next(struct ist_connection *connection, enum ist_status status, const char *why,
                      uint64_t now_ns);
/* The same address once more, without RDMA. */
void ist_attempt_again_by_tcp(struct ist_connection *connection, uint64_t now_ns);

/* RESOLVING and CONNECTING: goes on. */
void ist_attempt_run(struct ist_connection *connection, uint64_t now_ns);
/* Of the attempt that is under way; IST_NO_DEADLINE_NS: none is. */
uint64_t ist_attempt_deadline_ns(const struct ist_connection *connection);
void ist_attempt_tick(struct ist_connection *connection, uint64_t now_ns);

/* Of an error of the system. Static. */
const char *ist_attempt_text_of(int error);

#endif

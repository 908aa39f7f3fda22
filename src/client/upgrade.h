/* How a connection comes from TCP to RDMA, or stays with TCP and says why: between HELLO and OPEN. For connection.c. */
#ifndef IST_CLIENT_UPGRADE_H
#define IST_CLIENT_UPGRADE_H

#include <stdint.h>

#include "client/connection.h"

/* The exchange may have come to a CHOICE, or be CONNECTED, or OPEN. Afterwards it has gone on, or another attempt is
 * under way. */
void ist_upgrade_go_on(struct ist_connection *connection, uint64_t now_ns);
/* In PROOF: the link has failed; or nothing came in time. */
void ist_upgrade_failed(struct ist_connection *connection, uint64_t now_ns);
void ist_upgrade_timed_out(struct ist_connection *connection, uint64_t now_ns);
/* OPEN: the link has failed, and the connection will be closed; why_tcp says why until there is RDMA again. */
void ist_upgrade_undone(struct ist_connection *connection);
#endif

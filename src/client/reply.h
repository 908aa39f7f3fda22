/* The answer to a request: from the reply's body and payload into what the caller gave. No I/O. A hostile
 * server can make it end in PROTOCOL, but never write outside the caller's buffers. */
#ifndef IST_CLIENT_REPLY_H
#define IST_CLIENT_REPLY_H

#include "base/span.h"
#include "client/request.h"

/* The longest body that a reply to this request may have. */
uint32_t ist_reply_bytes_max(const struct ist_request *request);

/* The body, behind which `payload_bytes` follow. Writes what it answers, and the request's `status`.
 * Returns OK, PROTOCOL (not such a reply; the outputs may have been written in part). */
enum ist_status ist_reply_apply(struct ist_request *request, struct ist_span body,
                                uint64_t payload_bytes);

/* GET, after a good body: where the rest of the payload goes, in order, as many buffers as fit; and that *bytes
 * of it have come: those that are not its own are left in *bytes. */
size_t ist_reply_recv_buffers(const struct ist_request *request, struct iovec *buffers, size_t max);
void ist_reply_received(struct ist_request *request, uint64_t *bytes);

#endif

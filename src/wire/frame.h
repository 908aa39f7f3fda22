/* The fixed header in front of every message. Little-endian; PROTOCOL.md documents every byte. No I/O. */
#ifndef IST_WIRE_FRAME_H
#define IST_WIRE_FRAME_H

#include <stdint.h>

#include "base/span.h"
#include "infinistore/limits.h"
#include "infinistore/status.h"

#define IST_FRAME_BYTES 32u
#define IST_FRAME_MAGIC 0x54534e49u /* "INST" as it stands on the wire */
#define IST_FRAME_VERSION 1u

enum ist_operation {
    IST_OP_HELLO = 1,
    IST_OP_PUT = 2,
    IST_OP_GET = 3,
    IST_OP_EXISTS = 4,
    IST_OP_MATCH_PREFIX = 5,
    IST_OP_MATCH_LAST = 6,
    IST_OP_REMOVE = 7,
    IST_OP_PURGE = 8,
    IST_OP_STAT = 9,
    IST_OP_PING = 10,
    IST_OP_CONNECT = 11,
};
#define IST_OPERATION_COUNT 12 /* for arrays indexed by operation */

enum ist_frame_flags {
    IST_FRAME_REPLY = 1,     /* from server to client; the operation and id are the request's */
    IST_FRAME_IF_ABSENT = 2, /* PUT only */
};

struct ist_frame {
    enum ist_operation operation;
    uint16_t flags;
    uint64_t request_id;    /* the client's choice; a reply repeats it */
    uint32_t body_bytes;    /* of the nanopb message behind the header */
    uint64_t payload_bytes; /* of the values behind the body */
};

/* Bytes: magic 4, version 1, operation 1, flags 2, request id 8, body 4, reserved 4 (zero), payload 8. */
void ist_frame_encode(const struct ist_frame *frame, uint8_t out[IST_FRAME_BYTES]);

/* Looks at the first bytes of `in`. Rejects as early as it can: a wrong first byte is PROTOCOL, not
 * AGAIN.
 * frame  written on OK, and on TOO_BIG, so that it can be answered.
 * Returns OK, AGAIN (fewer than IST_FRAME_BYTES, good so far), PROTOCOL (magic, version, operation,
 * unknown flags, reserved bytes), TOO_BIG (body above IST_BODY_BYTES_MAX). */
enum ist_status ist_frame_decode(struct ist_span in, struct ist_frame *frame);

/* "put", "match_prefix", ...: also the label values of the metrics. Static storage. */
const char *ist_operation_name(enum ist_operation operation);

#endif

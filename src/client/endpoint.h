/* Where servers are, as users write it: "host", "host:port", "1.2.3.4:port", "[v6]:port", "unix:/path",
 * separated by commas. Parsing only: no name is resolved here. */
#ifndef IST_CLIENT_ENDPOINT_H
#define IST_CLIENT_ENDPOINT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "infinistore/limits.h"
#include "infinistore/status.h"

#define IST_ENDPOINTS_MAX 32u
#define IST_HOST_BYTES_MAX 253u /* RFC 1035, section 2.3.4, as text */
#define IST_ENDPOINT_TEXT_BYTES (IST_HOST_BYTES_MAX + 10u)

struct ist_address {
    struct sockaddr_storage storage;
    socklen_t bytes; /* 0: none */
};

struct ist_server_endpoint {
    char text[IST_ENDPOINT_TEXT_BYTES]; /* as it was written, without spaces around it: for messages */
    char host[IST_HOST_BYTES_MAX + 1];  /* a name to resolve, when `address` is none */
    uint16_t port;
    struct ist_address address; /* of a number or a path */
};

struct ist_endpoints {
    const struct ist_alloc *alloc;
    struct ist_server_endpoint *items; /* owned */
    size_t count;
};

/* endpoints  written on OK; owned: ist_endpoints_fini().
 * error      on any but OK one line that names the endpoint and the cause, cut at error_bytes >= 1.
 * Returns OK, INVALID, NO_MEMORY. */
enum ist_status ist_endpoints_parse(const char *text, const struct ist_alloc *alloc,
                                    struct ist_endpoints *endpoints, char *error, size_t error_bytes);
void ist_endpoints_fini(struct ist_endpoints *endpoints);

#endif

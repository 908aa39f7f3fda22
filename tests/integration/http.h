/* Speaks HTTP to the daemon's manage port, also badly. */
#ifndef IST_TESTS_INTEGRATION_HTTP_H
#define IST_TESTS_INTEGRATION_HTTP_H

#include <stddef.h>

#include "tests/integration/harness.h"

struct http_reply {
    int status; /* 0: the connection was closed without an answer */
    char *text; /* owned: http_free(); headers and body; a NUL behind the last byte */
    size_t bytes;
    const char *body; /* inside text */
};

/* Sends these bytes as they are and reads until the end of the stream. */
void http_send(const struct server *server, const void *bytes, size_t count, struct http_reply *reply);
/* A well-formed request. headers: whole lines, each with its CR LF; "" for none. */
void http_request(const struct server *server, const char *method, const char *path,
                  const char *headers, struct http_reply *reply);
void http_free(struct http_reply *reply);

/* A sample of GET /metrics by its full name with labels; a counter that is not shown is 0. */
double server_metric(const struct server *server, const char *name);
/* Bytes of the pool by state: "free", "reserved", "committed", "doomed"; they must add up to the pool. */
uint64_t server_pool_bytes(const struct server *server, const char *state);
/* Everything is given back: nothing reserved, doomed or pinned. */
bool server_is_idle(const struct server *server);

#endif

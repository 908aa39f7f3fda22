/* The secret that lets other machines change something through the manage port. */
#ifndef IST_DAEMON_TOKEN_H
#define IST_DAEMON_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "infinistore/status.h"

#define IST_TOKEN_BYTES_MIN 16
#define IST_TOKEN_BYTES_MAX 255

struct ist_token {
    char text[IST_TOKEN_BYTES_MAX + 1]; /* "": there is none, and nothing matches */
    size_t bytes;
};

/* The first line of a file: IST_TOKEN_BYTES_MIN to _MAX visible ASCII characters, no blanks.
 * Returns OK, CONFIG (not readable, or not such a line: it was logged). */
enum ist_status ist_token_read(const struct ist_log *log, const char *path, struct ist_token *token);

/* Is `authorization`, the value of that header (NULL: there is none), "Bearer " and the token? Takes as long for
 * a wrong one as for the right one. */
bool ist_token_matches(const struct ist_token *token, const char *authorization);

#endif

/* A small JSON writer into memory. Commas and escapes are its matter; nesting is the caller's, and is
 * asserted. After a failed allocation every call is a no-op and ist_json_text() returns NULL. */
#ifndef IST_BASE_JSON_H
#define IST_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

#define IST_JSON_DEPTH_MAX 16

struct ist_json {
    const struct ist_alloc *alloc;
    char *text;
    size_t used, room;
    unsigned depth;
    bool comma, failed;
    char closers[IST_JSON_DEPTH_MAX];
};

void ist_json_init(struct ist_json *json, const struct ist_alloc *alloc);
void ist_json_fini(struct ist_json *json);

/* Inside an object each value is preceded by its key. */
void ist_json_key(struct ist_json *json, const char *key);
void ist_json_object(struct ist_json *json);
void ist_json_array(struct ist_json *json);
void ist_json_end(struct ist_json *json); /* the innermost object or array */
void ist_json_string(struct ist_json *json, const char *utf8);
/* Bytes that need not be UTF-8: what is not becomes U+FFFD. */
void ist_json_bytes(struct ist_json *json, const void *data, size_t bytes);
void ist_json_uint(struct ist_json *json, uint64_t value);
void ist_json_int(struct ist_json *json, int64_t value);
void ist_json_double(struct ist_json *json, double value); /* NaN and infinities become null */
void ist_json_bool(struct ist_json *json, bool value);
void ist_json_null(struct ist_json *json);

/* The finished text, NUL-terminated, borrowed until fini; NULL when an allocation failed. */
const char *ist_json_text(const struct ist_json *json);

#endif

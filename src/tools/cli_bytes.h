/* Bytes that may be anything, and how they are shown and written: UTF-8 or not, hex, base64, escapes. */
#ifndef IST_TOOLS_CLI_BYTES_H
#define IST_TOOLS_CLI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "infinistore/status.h"

/* Well-formed UTF-8 (RFC 3629) without a NUL: what a JSON string can carry unchanged to every reader. */
bool ist_cli_bytes_are_text(const void *data, size_t bytes);
/* Text whose only control characters are tab, newline and carriage return: harmless to a terminal. */
bool ist_cli_bytes_are_printable(const void *data, size_t bytes);

/* Pairs of hex digits, upper or lower case. out has room for strlen(hex) / 2 bytes.
 * Returns OK, INVALID (an odd number of digits, or something else among them). */
enum ist_status ist_cli_hex_decode(const char *hex, uint8_t *out, size_t *bytes);

/* Bytes of what ist_cli_bytes_escape() writes, with the NUL. */
#define IST_CLI_ESCAPED_MAX(bytes) (4 * (size_t)(bytes) + 1)
/* For people, on one line and without effect on a terminal: what is neither printable nor UTF-8 becomes \xNN, a
 * backslash two. NUL-terminated; returns out. */
char *ist_cli_bytes_escape(const void *data, size_t bytes, char *out);
/* Lower-case hex digits, NUL-terminated; out has 2 * bytes + 1. Returns out. */
char *ist_cli_bytes_hex(const void *data, size_t bytes, char *out);

/* Standard base64 with padding (RFC 4648, section 4) as a JSON string. Returns OK, NO_MEMORY. */
enum ist_status ist_cli_json_base64(struct ist_json *json, const void *data, size_t bytes);

#endif

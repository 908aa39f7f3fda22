/* The keys of a command line. */
#ifndef IST_TOOLS_CLI_KEYS_H
#define IST_TOOLS_CLI_KEYS_H

#include "base/json.h"
#include "infinistore/infinistore.h"
#include "tools/cli_options.h"

struct ist_cli_keys {
    struct ist_key *keys; /* owned */
    uint8_t *decoded;     /* owned: what hex operands stand for; NULL without --hex */
    size_t count;
};

/* The operands that are keys: the first of put and get, all of exists, match and rm, none of the others.
 * keys   owned by the caller on OK: ist_cli_keys_free(). Borrows the operands.
 * error  IST_CLI_ERROR_MAX bytes; one line on any but OK.
 * Returns OK, INVALID (a key that is no hex, or outside its limits), NO_MEMORY. */
enum ist_status ist_cli_keys_new(const struct ist_cli_options *options, struct ist_cli_keys *keys,
                                 char *error);
void ist_cli_keys_free(struct ist_cli_keys *keys);

#define IST_CLI_KEY_TEXT_MAX (4 * IST_KEY_BYTES_MAX + 1)
/* For people; hex with `hex`, else escaped. out has IST_CLI_KEY_TEXT_MAX bytes. Returns out. */
char *ist_cli_key_text(const struct ist_key *key, bool hex, char *out);
/* "key": "..." inside an object; "key_hex" instead with `hex`, or when the key is not text. */
void ist_cli_key_json(struct ist_json *json, const struct ist_key *key, bool hex);

#endif

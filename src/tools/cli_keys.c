#include "tools/cli_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli_bytes.h"

_Static_assert(IST_CLI_KEY_TEXT_MAX >= IST_CLI_ESCAPED_MAX(IST_KEY_BYTES_MAX), "any key fits");

static size_t key_operands(const struct ist_cli_options *options) {
    switch (options->command) {
    case IST_CLI_PUT:
    case IST_CLI_GET: return 1;
    case IST_CLI_EXISTS:
    case IST_CLI_MATCH:
    case IST_CLI_RM: return options->operand_count;
    case IST_CLI_NO_COMMAND:
    case IST_CLI_PURGE:
    case IST_CLI_STAT:
    case IST_CLI_PING:
    case IST_CLI_HELP: return 0;
    }
    return 0;
}

static enum ist_status decode_all(const struct ist_cli_options *options, struct ist_cli_keys *keys,
                                  char *error) {
    size_t room = 1;
    for (size_t i = 0; i < keys->count; i++) {
        room += strlen(options->operands[i]) / 2;
    }
    keys->decoded = malloc(room);
    if (keys->decoded == NULL) {
        snprintf(error, IST_CLI_ERROR_MAX, "no memory for %zu keys", keys->count);
        return IST_NO_MEMORY;
    }
    uint8_t *to = keys->decoded;
    for (size_t i = 0; i < keys->count; i++) {
        size_t bytes;
        if (ist_cli_hex_decode(options->operands[i], to, &bytes) != IST_OK) {
            snprintf(error, IST_CLI_ERROR_MAX, "--hex: \"%.64s\" is not pairs of hex digits",
                     options->operands[i]);
            return IST_INVALID;
        }
        keys->keys[i] = (struct ist_key){.data = to, .bytes = bytes};
        to += bytes;
    }
    return IST_OK;
}

static enum ist_status check_lengths(const struct ist_cli_keys *keys, char *error) {
    for (size_t i = 0; i < keys->count; i++) {
        size_t bytes = keys->keys[i].bytes;
        if (bytes == 0 || bytes > IST_KEY_BYTES_MAX) {
            snprintf(error, IST_CLI_ERROR_MAX, "a key of %zu bytes: keys have 1 to %u", bytes,
                     IST_KEY_BYTES_MAX);
            return IST_INVALID;
        }
    }
    return IST_OK;
}

enum ist_status ist_cli_keys_new(const struct ist_cli_options *options, struct ist_cli_keys *keys,
                                 char *error) {
    struct ist_cli_keys made = {.count = key_operands(options)};
    made.keys = calloc(made.count + 1, sizeof(*made.keys));
    if (made.keys == NULL) {
        snprintf(error, IST_CLI_ERROR_MAX, "no memory for %zu keys", made.count);
        return IST_NO_MEMORY;
    }
    enum ist_status status = IST_OK;
    if (options->hex) {
        status = decode_all(options, &made, error);
    } else {
        for (size_t i = 0; i < made.count; i++) {
            const char *operand = options->operands[i];
            made.keys[i] = (struct ist_key){.data = operand, .bytes = strlen(operand)};
        }
    }
    if (status == IST_OK) {
        status = check_lengths(&made, error);
    }
    if (status != IST_OK) {
        ist_cli_keys_free(&made);
        return status;
    }
    *keys = made;
    return IST_OK;
}

void ist_cli_keys_free(struct ist_cli_keys *keys) {
    free(keys->keys);
    free(keys->decoded);
    *keys = (struct ist_cli_keys){0};
}

char *ist_cli_key_text(const struct ist_key *key, bool hex, char *out) {
    return hex ? ist_cli_bytes_hex(key->data, key->bytes, out)
               : ist_cli_bytes_escape(key->data, key->bytes, out);
}

void ist_cli_key_json(struct ist_json *json, const struct ist_key *key, bool hex) {
    if (!hex && ist_cli_bytes_are_text(key->data, key->bytes)) {
        ist_json_key(json, "key");
        ist_json_bytes(json, key->data, key->bytes);
        return;
    }
    char text[2 * IST_KEY_BYTES_MAX + 1];
    ist_json_key(json, "key_hex");
    ist_json_string(json, ist_cli_bytes_hex(key->data, key->bytes, text));
}

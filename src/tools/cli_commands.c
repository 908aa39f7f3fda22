#include "tools/cli_commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "tools/cli_bytes.h"
#include "tools/cli_input.h"
#include "tools/cli_output.h"

#define FIRST_BUFFER_BYTES ((size_t)1 << 20)
/* How often a value may have grown between two asks before get gives up. */
#define GET_ATTEMPTS_MAX 16

/* The FILE operand of put and get; NULL: not given. */
static const char *file_operand(const struct ist_cli *cli) {
    return cli->options->operand_count > 1 ? cli->options->operands[1] : NULL;
}

/* A number and what it is of: bare, in words, or as JSON under `name`. */
static enum ist_cli_exit say_count(const struct ist_cli *cli, const char *name, const char *words,
                                   size_t part, enum ist_cli_exit code) {
    if (cli->options->json) {
        struct ist_json json;
        ist_cli_json_begin(&json, IST_OK);
        ist_json_key(&json, name);
        ist_json_uint(&json, part);
        ist_json_key(&json, "of");
        ist_json_uint(&json, cli->keys.count);
        return ist_cli_json_end(&json, code);
    }
    printf("%zu", part);
    if (cli->terminal) {
        printf(" of %zu %s", cli->keys.count, words);
    }
    putchar('\n');
    return code;
}

/* ---- put ---------------------------------------------------------------------------------------------- */

static enum ist_cli_exit say_stored(const struct ist_cli *cli, const struct ist_put_item *item) {
    if (cli->options->json) {
        struct ist_json json;
        ist_cli_json_begin(&json, IST_OK);
        ist_cli_key_json(&json, &item->key, cli->options->hex);
        ist_json_key(&json, "bytes");
        ist_json_uint(&json, item->value_bytes);
        return ist_cli_json_end(&json, IST_CLI_DONE);
    }
    if (cli->terminal) {
        char size[IST_SIZE_TEXT_MAX];
        printf("stored %s\n", ist_size_text(item->value_bytes, size));
    }
    return IST_CLI_DONE;
}

enum ist_cli_exit ist_cli_put(const struct ist_cli *cli) {
    char error[IST_CLI_ERROR_MAX];
    struct ist_cli_input input;
    if (file_operand(cli) == NULL && isatty(STDIN_FILENO) == 1) {
        fputs("reading the value from the terminal; Ctrl-D ends it\n", stderr);
    }
    if (ist_cli_input_read(file_operand(cli), ist_cli_memory_bytes(), &input, error) != IST_CLI_DONE) {
        return ist_cli_fail_local(cli, error);
    }
    enum ist_cli_exit code;
    struct ist_put_item item = {
        .key = cli->keys.keys[0], .value = input.data, .value_bytes = input.bytes};
    if (input.bytes == 0) {
        code = ist_cli_fail(cli, IST_CLI_NOT_THERE, ist_status_name(IST_INVALID),
                            "put: the value is empty; values have 1 byte or more");
    } else {
        unsigned flags = cli->options->if_absent ? IST_IF_ABSENT : 0;
        enum ist_status status = ist_memory_register(cli->client, input.data, input.bytes);
        if (status == IST_OK) {
            status = ist_put(cli->client, &item, 1, flags, cli->options->timeout_ns);
            (void)ist_memory_unregister(cli->client, input.data, input.bytes);
        }
        code = status == IST_OK ? say_stored(cli, &item) : ist_cli_fail_status(cli, status);
    }
    free(input.data);
    return code;
}

/* ---- get ---------------------------------------------------------------------------------------------- */

/* Asks with a larger buffer as long as the answer is that the value is longer still: it may be replaced between
 * two asks, so one answer is no promise.
 * item  buffer: owned by the caller whatever is returned, free().
 * Returns the request's status; NO_MEMORY with value_bytes set: this machine has no room for it. */
static enum ist_status get_whole(const struct ist_cli *cli, struct ist_get_item *item) {
    size_t wanted = FIRST_BUFFER_BYTES;
    enum ist_status status = IST_TOO_SMALL;
    for (size_t i = 0; i < GET_ATTEMPTS_MAX && status == IST_TOO_SMALL; i++) {
        free(item->buffer);
        item->buffer = malloc(wanted);
        if (item->buffer == NULL) {
            return IST_NO_MEMORY;
        }
        item->buffer_bytes = wanted;
        status = ist_memory_register(cli->client, item->buffer, wanted);
        if (status != IST_OK) {
            return status;
        }
        status = ist_get(cli->client, item, 1, cli->options->timeout_ns);
        (void)ist_memory_unregister(cli->client, item->buffer, wanted);
        if (status == IST_TOO_SMALL) {
            uint64_t limit = ist_cli_memory_bytes();
            if (item->value_bytes > limit) {
                return IST_NO_MEMORY;
            }
            wanted = (size_t)item->value_bytes;
        }
    }
    return status;
}

static enum ist_cli_exit get_as_json(const struct ist_cli *cli, const struct ist_get_item *item,
                                     const char *file) {
    struct ist_json json;
    ist_cli_json_begin(&json, IST_OK);
    ist_cli_key_json(&json, &item->key, cli->options->hex);
    ist_json_key(&json, "bytes");
    ist_json_uint(&json, item->value_bytes);
    enum ist_status status = IST_OK;
    if (file != NULL) {
        ist_json_key(&json, "file");
        ist_json_string(&json, file);
    } else if (ist_cli_bytes_are_text(item->buffer, item->value_bytes)) {
        ist_json_key(&json, "value");
        ist_json_bytes(&json, item->buffer, item->value_bytes);
    } else {
        ist_json_key(&json, "value_base64");
        status = ist_cli_json_base64(&json, item->buffer, item->value_bytes);
    }
    if (status != IST_OK) {
        ist_json_fini(&json);
        return ist_cli_fail_local(cli, "get: no memory for the value in base64");
    }
    return ist_cli_json_end(&json, IST_CLI_DONE);
}

/* asked: "-" was written, so whoever did wants the bytes whatever they are. */
static enum ist_cli_exit get_to_stdout(const struct ist_cli *cli, const struct ist_get_item *item,
                                       bool asked) {
    char error[IST_CLI_ERROR_MAX];
    const char *data = item->buffer;
    if (cli->terminal && !asked && !ist_cli_bytes_are_printable(data, item->value_bytes)) {
        return ist_cli_fail(cli, IST_CLI_LOCAL, "LOCAL",
                            "get: the value is binary and could upset your terminal; write it to a "
                            "FILE, or give - to print it all the same");
    }
    if (ist_cli_output_fd(STDOUT_FILENO, "standard output", data, item->value_bytes, error) !=
        IST_CLI_DONE) {
        return ist_cli_fail_local(cli, error);
    }
    if (cli->terminal && !asked && data[item->value_bytes - 1] != '\n') {
        putchar('\n'); /* so that the prompt begins a line */
    }
    return IST_CLI_DONE;
}

static enum ist_cli_exit get_to_file(const struct ist_cli *cli, const struct ist_get_item *item,
                                     const char *file) {
    char error[IST_CLI_ERROR_MAX], size[IST_SIZE_TEXT_MAX];
    if (ist_cli_output_file(file, item->buffer, item->value_bytes, error) != IST_CLI_DONE) {
        return ist_cli_fail_local(cli, error);
    }
    if (cli->options->json) {
        return get_as_json(cli, item, file);
    }
    if (cli->terminal) {
        printf("%s in %s\n", ist_size_text(item->value_bytes, size), file);
    }
    return IST_CLI_DONE;
}

static enum ist_cli_exit deliver(const struct ist_cli *cli, const struct ist_get_item *item) {
    const char *file = file_operand(cli);
    bool asked = file != NULL && strcmp(file, "-") == 0;
    if (file != NULL && !asked) {
        return get_to_file(cli, item, file);
    }
    return cli->options->json ? get_as_json(cli, item, NULL) : get_to_stdout(cli, item, asked);
}

enum ist_cli_exit ist_cli_get(const struct ist_cli *cli) {
    struct ist_get_item item = {.key = cli->keys.keys[0]};
    enum ist_status status = get_whole(cli, &item);
    enum ist_cli_exit code;
    if (status == IST_OK) {
        code = deliver(cli, &item);
    } else if (status == IST_TOO_SMALL) {
        code = ist_cli_fail(cli, IST_CLI_SERVER, ist_status_name(status),
                            "get: the value grew each time it was asked for");
    } else if (status == IST_NO_MEMORY && item.value_bytes > 0) {
        char size[IST_SIZE_TEXT_MAX], line[IST_CLI_ERROR_MAX];
        snprintf(line, sizeof(line), "get: the value is larger than the memory at hand: %s",
                 ist_size_text(item.value_bytes, size));
        code = ist_cli_fail_local(cli, line);
    } else {
        code = ist_cli_fail_status(cli, status);
    }
    free(item.buffer);
    return code;
}

/* ---- exists ------------------------------------------------------------------------------------------- */

static void exists_as_lines(const struct ist_cli *cli, const bool *present) {
    char text[IST_CLI_KEY_TEXT_MAX];
    for (size_t i = 0; i < cli->keys.count; i++) {
        printf("%s  %s\n", present[i] ? "present" : "absent ",
               ist_cli_key_text(&cli->keys.keys[i], cli->options->hex, text));
    }
}

static enum ist_cli_exit exists_as_json(const struct ist_cli *cli, const bool *present, size_t count,
                                        enum ist_cli_exit code) {
    struct ist_json json;
    ist_cli_json_begin(&json, IST_OK);
    ist_json_key(&json, "present");
    ist_json_uint(&json, count);
    ist_json_key(&json, "of");
    ist_json_uint(&json, cli->keys.count);
    ist_json_key(&json, "keys");
    ist_json_array(&json);
    for (size_t i = 0; i < cli->keys.count; i++) {
        ist_json_object(&json);
        ist_cli_key_json(&json, &cli->keys.keys[i], cli->options->hex);
        ist_json_key(&json, "present");
        ist_json_bool(&json, present[i]);
        ist_json_end(&json);
    }
    ist_json_end(&json);
    return ist_cli_json_end(&json, code);
}

enum ist_cli_exit ist_cli_exists(const struct ist_cli *cli) {
    bool *present = calloc(cli->keys.count, sizeof(*present));
    if (present == NULL) {
        return ist_cli_fail_local(cli, "exists: out of memory");
    }
    enum ist_status status =
        ist_exists(cli->client, cli->keys.keys, cli->keys.count, present, cli->options->timeout_ns);
    enum ist_cli_exit code;
    if (status != IST_OK) {
        code = ist_cli_fail_status(cli, status);
    } else {
        size_t count = 0;
        for (size_t i = 0; i < cli->keys.count; i++) {
            count += present[i];
        }
        code = count == cli->keys.count ? IST_CLI_DONE : IST_CLI_NOT_THERE;
        if (cli->options->json) {
            code = exists_as_json(cli, present, count, code);
        } else {
            exists_as_lines(cli, present);
        }
    }
    free(present);
    return code;
}

/* ---- match -------------------------------------------------------------------------------------------- */

static enum ist_cli_exit match_prefix(const struct ist_cli *cli) {
    size_t matched = 0;
    enum ist_status status = ist_match_prefix(cli->client, cli->keys.keys, cli->keys.count, &matched,
                                              cli->options->timeout_ns);
    if (status != IST_OK) {
        return ist_cli_fail_status(cli, status);
    }
    enum ist_cli_exit code = matched > 0 ? IST_CLI_DONE : IST_CLI_NOT_THERE;
    return say_count(cli, "matched", "leading keys are present", matched, code);
}

static enum ist_cli_exit match_last(const struct ist_cli *cli) {
    int64_t index = -1;
    enum ist_status status =
        ist_match_last(cli->client, cli->keys.keys, cli->keys.count, &index, cli->options->timeout_ns);
    if (status != IST_OK) {
        return ist_cli_fail_status(cli, status);
    }
    bool found = index >= 0 && (uint64_t)index < cli->keys.count;
    enum ist_cli_exit code = found ? IST_CLI_DONE : IST_CLI_NOT_THERE;
    const struct ist_key *key = found ? &cli->keys.keys[index] : NULL;
    if (cli->options->json) {
        struct ist_json json;
        ist_cli_json_begin(&json, IST_OK);
        ist_json_key(&json, "index");
        ist_json_int(&json, found ? index : -1);
        if (found) {
            ist_cli_key_json(&json, key, cli->options->hex);
        }
        return ist_cli_json_end(&json, code);
    }
    char text[IST_CLI_KEY_TEXT_MAX];
    if (!cli->terminal) {
        printf("%" PRId64 "\n", found ? index : -1);
    } else if (found) {
        printf("the last one present has index %" PRId64 ": %s\n", index,
               ist_cli_key_text(key, cli->options->hex, text));
    } else {
        printf("none is present\n");
    }
    return code;
}

enum ist_cli_exit ist_cli_match(const struct ist_cli *cli) {
    return cli->options->last ? match_last(cli) : match_prefix(cli);
}

/* ---- rm, purge ---------------------------------------------------------------------------------------- */

enum ist_cli_exit ist_cli_rm(const struct ist_cli *cli) {
    size_t removed = 0, count = cli->keys.count;
    enum ist_status status =
        ist_remove(cli->client, cli->keys.keys, count, &removed, cli->options->timeout_ns);
    if (status != IST_OK) {
        return ist_cli_fail_status(cli, status);
    }
    enum ist_cli_exit code = removed == count ? IST_CLI_DONE : IST_CLI_NOT_THERE;
    return say_count(cli, "removed", "keys removed", removed, code);
}

enum ist_cli_exit ist_cli_purge(const struct ist_cli *cli) {
    uint64_t purged = 0;
    enum ist_status status = ist_purge(cli->client, &purged, cli->options->timeout_ns);
    if (status != IST_OK) {
        return ist_cli_fail_status(cli, status);
    }
    if (cli->options->json) {
        struct ist_json json;
        ist_cli_json_begin(&json, IST_OK);
        ist_json_key(&json, "purged");
        ist_json_uint(&json, purged);
        return ist_cli_json_end(&json, IST_CLI_DONE);
    }
    printf("%" PRIu64 "%s\n", purged, cli->terminal ? " keys purged" : "");
    return IST_CLI_DONE;
}

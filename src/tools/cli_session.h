/* What every command of infinistore-cli gets, and how it answers: figures and values on standard output, one line
 * on standard error for what failed. With --json a command writes exactly one JSON object to standard output, whose
 * "status" is "OK" or why not; then there is an "error", too. */
#ifndef IST_TOOLS_CLI_SESSION_H
#define IST_TOOLS_CLI_SESSION_H

#include <stdbool.h>

#include "base/json.h"
#include "infinistore/infinistore.h"
#include "tools/cli_exit.h"
#include "tools/cli_keys.h"
#include "tools/cli_options.h"

#define IST_CLI_NAME "infinistore-cli"

struct ist_cli {
    const struct ist_cli_options *options;
    const char *endpoints; /* as they were given */
    struct ist_client *client;
    struct ist_cli_keys keys;
    bool terminal; /* standard output is one */
};

/* NOT_THERE for what a server says of a key (NOT_FOUND, EXISTS, NO_SPACE, TOO_BIG, TOO_SMALL), USAGE for INVALID,
 * SERVER for the others, DONE for OK. */
enum ist_cli_exit ist_cli_exit_of(enum ist_status status);

/* Says what failed; status_name is the JSON's "status". Returns code. */
enum ist_cli_exit ist_cli_fail(const struct ist_cli *cli, enum ist_cli_exit code,
                               const char *status_name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a request that ended with anything but OK. */
enum ist_cli_exit ist_cli_fail_status(const struct ist_cli *cli, enum ist_status status);
/* The same for LOCAL. */
enum ist_cli_exit ist_cli_fail_local(const struct ist_cli *cli, const char *problem);

/* Flushes standard output. DONE, or LOCAL after one line on standard error that says why it cannot be written. */
enum ist_cli_exit ist_cli_flush(void);

/* {"status": ... without the closing brace. fini: ist_cli_json_end(). */
void ist_cli_json_begin(struct ist_json *json, enum ist_status status);
/* Closes the object, writes it and a newline, flushes, releases its memory. Returns code, or LOCAL as above. */
enum ist_cli_exit ist_cli_json_end(struct ist_json *json, enum ist_cli_exit code);

#endif

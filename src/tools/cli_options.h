/* The command line of infinistore-cli as data. Pure: no I/O, no environment. */
#ifndef IST_TOOLS_CLI_OPTIONS_H
#define IST_TOOLS_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "tools/transport.h"

enum ist_cli_command {
    IST_CLI_NO_COMMAND,
    IST_CLI_PUT,
    IST_CLI_GET,
    IST_CLI_EXISTS,
    IST_CLI_MATCH,
    IST_CLI_RM,
    IST_CLI_PURGE,
    IST_CLI_STAT,
    IST_CLI_PING,
    IST_CLI_HELP,
};

#define IST_CLI_INTERVAL_NS 1000000000ull /* between two redraws, or two pings, unless told */
#define IST_CLI_ERROR_MAX 512             /* bytes of one line that says what is wrong, with the NUL */

struct ist_cli_options {
    enum ist_cli_command command;
    char *const *operands; /* what stands behind the command: keys, a file; borrowed from argv */
    size_t operand_count;
    const char *endpoints; /* NULL: not given */
    uint64_t timeout_ns;   /* 0: not given */
    struct ist_transport_options transport;
    bool json, hex, help, version;
    bool if_absent;       /* put */
    bool last;            /* match */
    bool watch;           /* stat */
    uint64_t interval_ns; /* stat --watch, ping; 0: as fast as replies come */
    uint64_t count;       /* ping; 0: until interrupted */
};

/* argv    of main(); its pointers are moved so that the operands stand together.
 * options written on OK only. With help, version or the command help, the operands were not counted.
 * error   IST_CLI_ERROR_MAX bytes; on INVALID one line that names the option or argument.
 * Returns OK, INVALID. */
enum ist_status ist_cli_options_parse(int argc, char **argv, struct ist_cli_options *options,
                                      char *error);

/* NO_COMMAND when no command has this name. */
enum ist_cli_command ist_cli_command_find(const char *name);
/* "put", ...; "" for NO_COMMAND. Static storage. */
const char *ist_cli_command_name(enum ist_cli_command command);

#endif

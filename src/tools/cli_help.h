/* What --help says. Static storage. */
#ifndef IST_TOOLS_CLI_HELP_H
#define IST_TOOLS_CLI_HELP_H

#include "tools/cli_options.h"

/* Of one command; of the whole program for NO_COMMAND. Ends with a newline. */
const char *ist_cli_help(enum ist_cli_command command);

#endif

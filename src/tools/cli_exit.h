/* The exit codes of infinistore-cli: part of its interface, documented in its manual page. */
#ifndef IST_TOOLS_CLI_EXIT_H
#define IST_TOOLS_CLI_EXIT_H

enum ist_cli_exit {
    IST_CLI_DONE = 0,
    IST_CLI_NOT_THERE = 1, /* not found, not (all) present, not stored */
    IST_CLI_USAGE = 2,     /* the command line or the environment is wrong */
    IST_CLI_SERVER = 3,    /* the server cannot be reached, or the session or request failed */
    IST_CLI_LOCAL = 4,     /* a local file, stream or this machine's memory failed */
};

#endif

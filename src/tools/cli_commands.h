/* The commands that ask the server once and say what it answered. Each takes a connected session whose options
 * are its own, and returns the program's exit code. On a terminal they answer in words, elsewhere in the bare
 * figure, with --json in an object. */
#ifndef IST_TOOLS_CLI_COMMANDS_H
#define IST_TOOLS_CLI_COMMANDS_H

#include "tools/cli_session.h"

enum ist_cli_exit ist_cli_put(const struct ist_cli *cli);
/* Values of any length up to the memory at hand, whatever others put meanwhile. */
enum ist_cli_exit ist_cli_get(const struct ist_cli *cli);
enum ist_cli_exit ist_cli_exists(const struct ist_cli *cli);
enum ist_cli_exit ist_cli_match(const struct ist_cli *cli);
enum ist_cli_exit ist_cli_rm(const struct ist_cli *cli);
enum ist_cli_exit ist_cli_purge(const struct ist_cli *cli);

#endif

/* infinistore-cli ping: round trips to the engine and back, as ping(8) shows them. */
#ifndef IST_TOOLS_CLI_PING_H
#define IST_TOOLS_CLI_PING_H

#include "tools/cli_session.h"

/* DONE when every ping was answered; SERVER when one was not, or none was sent; LOCAL. SIGINT ends it early.
 * Frees the session's client. */
enum ist_cli_exit ist_cli_ping(struct ist_cli *cli);

#endif

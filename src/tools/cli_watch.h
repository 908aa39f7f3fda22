/* infinistore-cli stat --watch: asks every interval and shows what changed. On a terminal a view that redraws, until
 * q or a signal; elsewhere one line an interval, or with --json one object. */
#ifndef IST_TOOLS_CLI_WATCH_H
#define IST_TOOLS_CLI_WATCH_H

#include "tools/cli_session.h"

/* On a terminal a lost server is shown and tried again; elsewhere it ends the watch with SERVER. DONE when
 * it was told to leave: q, SIGINT. Frees the session's client. */
enum ist_cli_exit ist_cli_watch(struct ist_cli *cli);

#endif

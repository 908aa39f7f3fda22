/* Everything that the server tells, in groups and with units: `infinistore-cli stat`. Pure: from figures to text. */
#ifndef IST_TOOLS_CLI_LIST_H
#define IST_TOOLS_CLI_LIST_H

#include "tools/cli_figures.h"
#include "tools/cli_screen.h"

void ist_cli_list_draw(const struct ist_cli_figures *figures, struct ist_cli_screen *screen);

#endif

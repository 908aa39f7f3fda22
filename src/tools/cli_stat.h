/* infinistore-cli stat: the server's figures, once or as a live view. */
#ifndef IST_TOOLS_CLI_STAT_H
#define IST_TOOLS_CLI_STAT_H

#include "tools/cli_session.h"

/* Once. */
enum ist_cli_exit ist_cli_stat(const struct ist_cli *cli);

/* {"status":"OK","metrics":{name: value, ...}}, with the names of GET /metrics. Returns DONE, LOCAL. */
enum ist_cli_exit ist_cli_stat_json(const struct ist_metrics *metrics);

#endif

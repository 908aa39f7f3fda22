#include "tools/cli_stat.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/cli_figures.h"
#include "tools/cli_list.h"
#include "tools/cli_terminal.h"

enum ist_cli_exit ist_cli_stat_json(const struct ist_metrics *metrics) {
    struct ist_json json;
    ist_cli_json_begin(&json, IST_OK);
    ist_json_key(&json, "metrics");
    ist_json_object(&json);
    for (size_t i = 0; i < metrics->count; i++) {
        ist_json_key(&json, metrics->items[i].name);
        ist_json_double(&json, metrics->items[i].value);
    }
    ist_json_end(&json);
    return ist_cli_json_end(&json, IST_CLI_DONE);
}

enum ist_cli_exit ist_cli_stat(const struct ist_cli *cli) {
    struct ist_metrics *metrics = NULL;
    enum ist_status status = ist_stat(cli->client, &metrics, cli->options->timeout_ns);
    if (status != IST_OK) {
        return ist_cli_fail_status(cli, status);
    }
    enum ist_cli_exit code = IST_CLI_DONE;
    if (cli->options->json) {
        code = ist_cli_stat_json(metrics);
    } else {
        struct ist_cli_figures figures;
        struct ist_cli_screen screen = {.out = stdout,
                                        .columns = UINT_MAX,
                                        .rows = UINT_MAX,
                                        .colour = ist_cli_terminal_has_colour(STDOUT_FILENO)};
        ist_cli_figures_read(metrics, &figures);
        ist_cli_list_draw(&figures, &screen);
    }
    ist_metrics_free(metrics);
    return code;
}

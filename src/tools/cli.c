/* infinistore-cli: puts, gets and looks around in an InfiniStore by hand. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/cli_commands.h"
#include "tools/cli_help.h"
#include "tools/cli_ping.h"
#include "tools/cli_session.h"
#include "tools/cli_stat.h"
#include "tools/cli_watch.h"
#include "tools/streams.h"

#define ENDPOINT_VARIABLE "INFINISTORE_ENDPOINT"
#define ENDPOINT_DEFAULT "127.0.0.1:22345"
_Static_assert(IST_SERVICE_PORT == 22345, "the default names it");

static enum ist_cli_exit usage(const char *error, enum ist_cli_command command) {
    const char *name = ist_cli_command_name(command);
    fprintf(stderr, IST_CLI_NAME ": %s; see " IST_CLI_NAME " %s%s--help\n", error, name,
            name[0] == '\0' ? "" : " ");
    return IST_CLI_USAGE;
}

static enum ist_cli_exit help(const struct ist_cli_options *options) {
    enum ist_cli_command about = options->command;
    if (about == IST_CLI_HELP && options->operand_count > 0) {
        about = ist_cli_command_find(options->operands[0]);
        if (about == IST_CLI_NO_COMMAND) {
            char error[IST_CLI_ERROR_MAX];
            snprintf(error, sizeof(error), "unknown command %.64s", options->operands[0]);
            return usage(error, IST_CLI_NO_COMMAND);
        }
    } else if (about == IST_CLI_HELP) {
        about = IST_CLI_NO_COMMAND;
    }
    fputs(ist_cli_help(about), stdout);
    return IST_CLI_DONE;
}

static enum ist_cli_exit dispatch(struct ist_cli *cli) {
    switch (cli->options->command) {
    case IST_CLI_PUT: return ist_cli_put(cli);
    case IST_CLI_GET: return ist_cli_get(cli);
    case IST_CLI_EXISTS: return ist_cli_exists(cli);
    case IST_CLI_MATCH: return ist_cli_match(cli);
    case IST_CLI_RM: return ist_cli_rm(cli);
    case IST_CLI_PURGE: return ist_cli_purge(cli);
    case IST_CLI_STAT: return cli->options->watch ? ist_cli_watch(cli) : ist_cli_stat(cli);
    case IST_CLI_PING: return ist_cli_ping(cli);
    case IST_CLI_NO_COMMAND:
    case IST_CLI_HELP: break;
    }
    return IST_CLI_USAGE;
}

static enum ist_cli_exit connect_and_run(struct ist_cli *cli) {
    struct ist_client_options options = {.endpoints = cli->endpoints,
                                         .connect_timeout_ns = cli->options->timeout_ns,
                                         .request_timeout_ns = cli->options->timeout_ns};
    ist_transport_apply(&cli->options->transport, &options);
    char error[IST_CLI_ERROR_MAX] = "";
    enum ist_status status = ist_client_new(&options, &cli->client, error, sizeof(error));
    if (status != IST_OK) {
        return ist_cli_fail(cli, ist_cli_exit_of(status), ist_status_name(status), "%s", error);
    }
    enum ist_cli_exit code = dispatch(cli);
    ist_client_free(cli->client);
    return code;
}

static enum ist_cli_exit run(const struct ist_cli_options *options) {
    if (options->version) {
        puts(IST_CLI_NAME " " IST_VERSION);
        return IST_CLI_DONE;
    }
    if (options->help || options->command == IST_CLI_HELP) {
        return help(options);
    }
    struct ist_cli cli = {.options = options, .terminal = isatty(STDOUT_FILENO) == 1};
    const char *variable = getenv(ENDPOINT_VARIABLE);
    cli.endpoints = options->endpoints;
    if (cli.endpoints == NULL) {
        cli.endpoints = variable != NULL && variable[0] != '\0' ? variable : ENDPOINT_DEFAULT;
    }
    char error[IST_CLI_ERROR_MAX];
    enum ist_status status = ist_cli_keys_new(options, &cli.keys, error);
    if (status == IST_INVALID) {
        return usage(error, options->command);
    }
    if (status != IST_OK) {
        return ist_cli_fail_local(&cli, error);
    }
    enum ist_cli_exit code = connect_and_run(&cli);
    ist_cli_keys_free(&cli.keys);
    return code;
}

int main(int argc, char **argv) {
    ist_streams_occupy();
    /* A reader that went away, or a file's size limit, is an error of the write, said like any other. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    setlocale(LC_CTYPE, "");
    struct ist_cli_options options;
    char error[IST_CLI_ERROR_MAX];
    if (ist_cli_options_parse(argc, argv, &options, error) != IST_OK) {
        return (int)usage(error, IST_CLI_NO_COMMAND);
    }
    enum ist_cli_exit code = run(&options);
    /* LOCAL was said already, and it may have been this */
    if (code != IST_CLI_LOCAL && ist_cli_flush() != IST_CLI_DONE) {
        code = IST_CLI_LOCAL;
    }
    return (int)code;
}

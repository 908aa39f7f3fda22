#include "tools/cli_session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum ist_cli_exit ist_cli_exit_of(enum ist_status status) {
    switch (status) {
    case IST_OK: return IST_CLI_DONE;
    case IST_NOT_FOUND:
    case IST_EXISTS:
    case IST_NO_SPACE:
    case IST_TOO_BIG:
    case IST_TOO_SMALL: return IST_CLI_NOT_THERE;
    case IST_INVALID:
    case IST_CONFIG: return IST_CLI_USAGE;
    case IST_AGAIN:
    case IST_NO_MEMORY:
    case IST_PROTOCOL:
    case IST_PEER:
    case IST_TIMEOUT:
    case IST_DEVICE: return IST_CLI_SERVER;
    }
    return IST_CLI_SERVER;
}

/* errno tells why. */
static enum ist_cli_exit say_unwritten(void) {
    fprintf(stderr, IST_CLI_NAME ": cannot write standard output: %s\n", strerror(errno));
    return IST_CLI_LOCAL;
}

enum ist_cli_exit ist_cli_flush(void) {
    return fflush(stdout) == 0 && !ferror(stdout) ? IST_CLI_DONE : say_unwritten();
}

void ist_cli_json_begin(struct ist_json *json, enum ist_status status) {
    ist_json_init(json, ist_alloc_system());
    ist_json_object(json);
    ist_json_key(json, "status");
    ist_json_string(json, ist_status_name(status));
}

enum ist_cli_exit ist_cli_json_end(struct ist_json *json, enum ist_cli_exit code) {
    ist_json_end(json);
    const char *text = ist_json_text(json);
    if (text == NULL) {
        fputs(IST_CLI_NAME ": no memory for the JSON text\n", stderr);
        code = IST_CLI_LOCAL;
    } else if (puts(text) == EOF) {
        code = say_unwritten(); /* of a long text much is written before the flush */
    } else if (ist_cli_flush() != IST_CLI_DONE) {
        code = IST_CLI_LOCAL;
    }
    ist_json_fini(json);
    return code;
}

enum ist_cli_exit ist_cli_fail(const struct ist_cli *cli, enum ist_cli_exit code,
                               const char *status_name, const char *format, ...) {
    char line[IST_CLI_ERROR_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    fprintf(stderr, IST_CLI_NAME ": %s\n", line);
    if (!cli->options->json) {
        return code;
    }
    struct ist_json json;
    ist_json_init(&json, ist_alloc_system());
    ist_json_object(&json);
    ist_json_key(&json, "status");
    ist_json_string(&json, status_name);
    ist_json_key(&json, "error");
    ist_json_string(&json, line);
    return ist_cli_json_end(&json, code);
}

/* What the status means; and the reason, when it is the device here that has failed. */
static void explain(const struct ist_cli *cli, enum ist_status status, char text[IST_CLI_ERROR_MAX]) {
    bool is_lost = status == IST_PEER || status == IST_DEVICE;
    char why[IST_CLI_ERROR_MAX / 2] = "";
    if (is_lost && cli->client != NULL && cli->options->transport.transport == IST_TRANSPORT_RDMA) {
        ist_client_why_tcp(cli->client, why, sizeof(why));
    }
    snprintf(text, IST_CLI_ERROR_MAX, "%s%s%s", ist_status_text(status), why[0] == '\0' ? "" : ": ",
             why);
}

enum ist_cli_exit ist_cli_fail_status(const struct ist_cli *cli, enum ist_status status) {
    const char *command = ist_cli_command_name(cli->options->command);
    enum ist_cli_exit code = ist_cli_exit_of(status);
    char text[IST_CLI_ERROR_MAX];
    explain(cli, status, text);
    if (cli->keys.count != 1) {
        return ist_cli_fail(cli, code, ist_status_name(status), "%s: %s", command, text);
    }
    char key[IST_CLI_KEY_TEXT_MAX];
    return ist_cli_fail(cli, code, ist_status_name(status), "%s %.256s: %s", command,
                        ist_cli_key_text(&cli->keys.keys[0], cli->options->hex, key), text);
}

enum ist_cli_exit ist_cli_fail_local(const struct ist_cli *cli, const char *problem) {
    return ist_cli_fail(cli, IST_CLI_LOCAL, "LOCAL", "%s", problem);
}

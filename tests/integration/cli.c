#include "tests/integration/cli.h"

#include <string.h>

#define ARGUMENTS_MAX 18

void cli_run(const struct server *server, const void *input, size_t bytes, const char *const *arguments,
             struct outcome *outcome) {
    const char *all[ARGUMENTS_MAX] = {program_path("infinistore-cli")};
    size_t count = 1;
    if (server != NULL) {
        all[count++] = "--endpoint";
        all[count++] = server->service[0];
    }
    for (size_t i = 0; arguments[i] != NULL; i++) {
        assert_true(count < ARGUMENTS_MAX - 1);
        all[count++] = arguments[i];
    }
    program_run(&(const struct program){.arguments = all, .input = input, .input_bytes = bytes},
                outcome);
}

static bool is_one_line(const char *text) {
    const char *end = strchr(text, '\n');
    return end != NULL && end[1] == '\0';
}

void cli_assert(const struct outcome *outcome, int code, const char *out, const char *named) {
    bool said = named[0] == '\0' ? outcome->err_bytes == 0
                                 : is_one_line(outcome->err) && strstr(outcome->err, named) != NULL;
    if (outcome->code != code || strcmp(outcome->out, out) != 0 || !said) {
        fail_msg("exit %d, out \"%s\", err \"%s\"; not %d, \"%s\", \"%s\"", outcome->code, outcome->out,
                 outcome->err, code, out, named);
    }
}

void cli_expect(const struct server *server, int code, const char *out, const char *const *arguments) {
    struct outcome outcome;
    cli_run(server, NULL, 0, arguments, &outcome);
    /* an answer of "no" is said in figures, a failure in a line */
    cli_assert(&outcome, code, out, outcome.err_bytes == 0 && code <= 1 ? "" : "infinistore-cli: ");
    outcome_free(&outcome);
}

void cli_put_text(const struct server *server, const char *key, const char *text) {
    struct outcome outcome;
    cli_run(server, text, strlen(text), (const char *const[]){"put", "--", key, NULL}, &outcome);
    cli_assert(&outcome, 0, "", "");
    outcome_free(&outcome);
}

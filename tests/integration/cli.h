/* Runs infinistore-cli for a test. */
#ifndef IST_TESTS_INTEGRATION_CLI_H
#define IST_TESTS_INTEGRATION_CLI_H

#include "tests/integration/harness.h"
#include "tests/integration/program.h"

/* server     NULL: no --endpoint is given.
 * arguments  at most 14; ends with NULL. */
void cli_run(const struct server *server, const void *input, size_t bytes, const char *const *arguments,
             struct outcome *outcome);
/* stdout is exactly `out`; stderr is empty when `named` is "", else one line that contains it. */
void cli_assert(const struct outcome *outcome, int code, const char *out, const char *named);
/* Both, without input and for whatever one line when code is not 0. */
void cli_expect(const struct server *server, int code, const char *out, const char *const *arguments);
void cli_put_text(const struct server *server, const char *key, const char *text);

#endif

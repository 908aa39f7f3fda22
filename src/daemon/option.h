/* One table of everything that can be asked for: names, limits, help. */
#ifndef IST_DAEMON_OPTION_H
#define IST_DAEMON_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/config.h"

struct ist_option {
    const char *name;     /* "log-level" */
    const char *argument; /* "LEVEL"; NULL: a flag, whose value may be left out */
    /* Sets it; false: the text is not what `expects` says. */
    bool (*set)(const struct ist_option *option, struct ist_config *config, const char *text);
    size_t at;     /* of the field in struct ist_config */
    double lowest; /* of numbers and sizes */
    double highest;
    uint64_t unit;       /* of sizes without a suffix */
    const char *expects; /* "a port, 0 to 65535": behind "is not" */
    const char *section; /* heading before it in the help; NULL: the same as the option before */
    const char *help;    /* lines of at most IST_OPTION_HELP_COLUMNS */
};

#define IST_OPTION_HELP_COLUMNS 46

/* NULL when there is no n-th. */
const struct ist_option *ist_option_at(size_t n);

/* "log-level" -> "INFINISTORE_LOG_LEVEL" */
#define IST_OPTION_VARIABLE_BYTES 64
void ist_option_variable(const struct ist_option *option, char variable[IST_OPTION_VARIABLE_BYTES]);

void ist_option_defaults(struct ist_config *config);

void ist_option_help(FILE *out);

#endif

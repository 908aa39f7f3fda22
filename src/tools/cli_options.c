#include "tools/cli_options.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infinistore/limits.h"

/* ---- commands ----------------------------------------------------------------------------------------- */

struct command {
    const char *name;
    size_t operands_min, operands_max;
    const char *lacks, *surplus; /* what to say when there are too few, too many */
};

#define KEYS_MAX IST_KEYS_PER_REQUEST_MAX
static const struct command commands[] = {
    [IST_CLI_NO_COMMAND] = {"", 0, 0, "", ""},
    [IST_CLI_PUT] = {"put", 1, 2, "needs a KEY", "takes KEY and FILE only"},
    [IST_CLI_GET] = {"get", 1, 2, "needs a KEY", "takes KEY and FILE only"},
    [IST_CLI_EXISTS] = {"exists", 1, KEYS_MAX, "needs a KEY", "takes 65,536 keys at most"},
    [IST_CLI_MATCH] = {"match", 1, KEYS_MAX, "needs a KEY", "takes 65,536 keys at most"},
    [IST_CLI_RM] = {"rm", 1, KEYS_MAX, "needs a KEY", "takes 65,536 keys at most"},
    [IST_CLI_PURGE] = {"purge", 0, 0, "", "takes no arguments"},
    [IST_CLI_STAT] = {"stat", 0, 0, "", "takes no arguments"},
    [IST_CLI_PING] = {"ping", 0, 0, "", "takes no arguments"},
    [IST_CLI_HELP] = {"help", 0, 1, "", "takes one command"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))
_Static_assert(IST_KEYS_PER_REQUEST_MAX == 65536, "the messages above name it");

enum ist_cli_command ist_cli_command_find(const char *name) {
    for (size_t i = IST_CLI_PUT; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return (enum ist_cli_command)i;
        }
    }
    return IST_CLI_NO_COMMAND;
}

const char *ist_cli_command_name(enum ist_cli_command command) {
    return commands[command].name;
}

/* ---- options ------------------------------------------------------------------------------------------ */

enum argument { NO_ARGUMENT, ARGUMENT, MAYBE_ARGUMENT };

enum option_id {
    OPTION_ENDPOINT,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_HEX,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_IF_ABSENT,
    OPTION_LAST,
    OPTION_WATCH,
    OPTION_COUNT,
    OPTION_INTERVAL,
};

#define OF(command) (1u << (command))
#define OF_ALL (~0u)
#define OF_KEYS                                                                                        \
    (OF(IST_CLI_PUT) | OF(IST_CLI_GET) | OF(IST_CLI_EXISTS) | OF(IST_CLI_MATCH) | OF(IST_CLI_RM))

static const struct option {
    const char *name;
    char letter;
    enum argument argument;
    unsigned commands;
} options_known[] = {
    [OPTION_ENDPOINT] = {"endpoint", 'e', ARGUMENT, OF_ALL},
    [OPTION_TIMEOUT] = {"timeout", 't', ARGUMENT, OF_ALL},
    [OPTION_JSON] = {"json", 'j', NO_ARGUMENT, OF_ALL},
    [OPTION_HEX] = {"hex", 'x', NO_ARGUMENT, OF_KEYS},
    [OPTION_HELP] = {"help", 'h', NO_ARGUMENT, OF_ALL},
    [OPTION_VERSION] = {"version", 'V', NO_ARGUMENT, OF_ALL},
    [OPTION_IF_ABSENT] = {"if-absent", '\0', NO_ARGUMENT, OF(IST_CLI_PUT)},
    [OPTION_LAST] = {"last", '\0', NO_ARGUMENT, OF(IST_CLI_MATCH)},
    [OPTION_WATCH] = {"watch", 'w', MAYBE_ARGUMENT, OF(IST_CLI_STAT)},
    [OPTION_COUNT] = {"count", 'c', ARGUMENT, OF(IST_CLI_PING)},
    [OPTION_INTERVAL] = {"interval", 'i', ARGUMENT, OF(IST_CLI_PING)},
};
#define OPTIONS (sizeof(options_known) / sizeof(options_known[0]))

#define SECONDS_MAX 1e6 /* eleven days: anything longer is a mistake */

struct parser {
    struct ist_cli_options options;
    unsigned seen; /* bit i: option i was given */
    char **argv;
    int argc, at;
    size_t operands; /* gathered at argv[0] and up */
    char *error;
};

static enum ist_status refuse(const struct parser *parser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum ist_status refuse(const struct parser *parser, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(parser->error, IST_CLI_ERROR_MAX, format, arguments);
    va_end(arguments);
    return IST_INVALID;
}

/* Digits first, so that strtod's "inf", "nan", signs and spaces are none. */
static enum ist_status parse_seconds(const struct parser *parser, const char *name, const char *text,
                                     bool zero, uint64_t *ns) {
    char *end;
    double seconds = strtod(text, &end);
    bool number = (text[0] >= '0' && text[0] <= '9') || text[0] == '.';
    if (!number || end == text || *end != '\0' || seconds > SECONDS_MAX) {
        return refuse(parser, "--%s: \"%s\" is no number of seconds from 0 to 1000000", name, text);
    }
    uint64_t rounded = (uint64_t)llround(seconds * 1e9);
    if (rounded == 0 && !zero) {
        return refuse(parser, "--%s: \"%s\" must be more than 0 seconds", name, text);
    }
    *ns = rounded;
    return IST_OK;
}

static enum ist_status parse_count(const struct parser *parser, const char *text, uint64_t *count) {
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
            break;
        }
    }
    if (at == text || *at != '\0') {
        return refuse(parser, "--count: \"%s\" is no number", text);
    }
    *count = value;
    return IST_OK;
}

static enum ist_status take_option(struct parser *parser, enum option_id id, const char *value) {
    struct ist_cli_options *options = &parser->options;
    const char *name = options_known[id].name;
    parser->seen |= 1u << id;
    switch (id) {
    case OPTION_ENDPOINT:
        options->endpoints = value;
        return value[0] != '\0' ? IST_OK : refuse(parser, "--endpoint: the list is empty");
    case OPTION_TIMEOUT: return parse_seconds(parser, name, value, false, &options->timeout_ns);
    case OPTION_JSON: options->json = true; return IST_OK;
    case OPTION_HEX: options->hex = true; return IST_OK;
    case OPTION_HELP: options->help = true; return IST_OK;
    case OPTION_VERSION: options->version = true; return IST_OK;
    case OPTION_IF_ABSENT: options->if_absent = true; return IST_OK;
    case OPTION_LAST: options->last = true; return IST_OK;
    case OPTION_WATCH:
        options->watch = true;
        return value == NULL ? IST_OK
                             : parse_seconds(parser, name, value, false, &options->interval_ns);
    case OPTION_COUNT: return parse_count(parser, value, &options->count);
    case OPTION_INTERVAL: return parse_seconds(parser, name, value, true, &options->interval_ns);
    }
    return IST_INVALID;
}

/* The value behind an option that needs one; NULL when the line ends. */
static const char *next_argument(struct parser *parser) {
    return parser->at < parser->argc ? parser->argv[parser->at++] : NULL;
}

static enum ist_status take_transport_option(struct parser *parser,
                                             const struct ist_transport_option *option,
                                             const char *value) {
    value = value == NULL ? next_argument(parser) : value;
    if (value == NULL) {
        return refuse(parser, "--%s needs a value", option->name);
    }
    if (!ist_transport_option_take(option, value, &parser->options.transport)) {
        return refuse(parser, "--%s: \"%s\" is wrong: %s", option->name, value, option->help);
    }
    return IST_OK;
}

static enum ist_status parse_long(struct parser *parser, const char *text) {
    size_t length = strcspn(text, "=");
    const struct ist_transport_option *shared = ist_transport_option_find(text, length);
    if (shared != NULL) {
        return take_transport_option(parser, shared, text[length] == '=' ? text + length + 1 : NULL);
    }
    size_t id = 0;
    while (id < OPTIONS && (strlen(options_known[id].name) != length ||
                            memcmp(options_known[id].name, text, length) != 0)) {
        id++;
    }
    if (id == OPTIONS) {
        return refuse(parser, "unknown option --%.*s", (int)length, text);
    }
    const struct option *option = &options_known[id];
    const char *value = text[length] == '=' ? text + length + 1 : NULL;
    if (value != NULL && option->argument == NO_ARGUMENT) {
        return refuse(parser, "--%s takes no value", option->name);
    }
    if (value == NULL && option->argument == ARGUMENT) {
        value = next_argument(parser);
        if (value == NULL) {
            return refuse(parser, "--%s needs a value", option->name);
        }
    }
    return take_option(parser, (enum option_id)id, value);
}

/* text: the letter, and its value when that is glued to it. */
static enum ist_status parse_short(struct parser *parser, const char *text) {
    size_t id = 0;
    while (id < OPTIONS && options_known[id].letter != text[0]) {
        id++;
    }
    const char *value = text[1] != '\0' ? text + 1 : NULL;
    if (id == OPTIONS || (value != NULL && options_known[id].argument == NO_ARGUMENT)) {
        return refuse(parser, "unknown option -%s", text);
    }
    if (value == NULL && options_known[id].argument == ARGUMENT) {
        value = next_argument(parser);
        if (value == NULL) {
            return refuse(parser, "-%c needs a value", text[0]);
        }
    }
    return take_option(parser, (enum option_id)id, value);
}

static enum ist_status take_operand(struct parser *parser, char *text) {
    if (parser->options.command == IST_CLI_NO_COMMAND) {
        parser->options.command = ist_cli_command_find(text);
        return parser->options.command != IST_CLI_NO_COMMAND
                   ? IST_OK
                   : refuse(parser, "unknown command %s", text);
    }
    parser->argv[parser->operands++] = text;
    return IST_OK;
}

/* Every option must be one of the command's, and the number of operands right. */
static enum ist_status check(const struct parser *parser) {
    const struct ist_cli_options *options = &parser->options;
    const struct command *command = &commands[options->command];
    if (options->help || options->version || options->command == IST_CLI_HELP) {
        return IST_OK;
    }
    if (options->command == IST_CLI_NO_COMMAND) {
        return refuse(parser, "what shall it do? No command was given");
    }
    for (size_t id = 0; id < OPTIONS; id++) {
        bool given = (parser->seen & (1u << id)) != 0;
        if (given && (options_known[id].commands & OF(options->command)) == 0) {
            return refuse(parser, "%s has no option --%s", command->name, options_known[id].name);
        }
    }
    if (options->operand_count < command->operands_min) {
        return refuse(parser, "%s %s", command->name, command->lacks);
    }
    if (options->operand_count > command->operands_max) {
        return refuse(parser, "%s %s: \"%s\" is too much", command->name, command->surplus,
                      options->operands[command->operands_max]);
    }
    return IST_OK;
}

enum ist_status ist_cli_options_parse(int argc, char **argv, struct ist_cli_options *options,
                                      char *error) {
    struct parser parser = {.options = {.interval_ns = IST_CLI_INTERVAL_NS, .count = 1},
                            .argv = argv,
                            .argc = argc,
                            .at = 1,
                            .error = error};
    bool only_operands = false;
    while (parser.at < argc) {
        char *text = argv[parser.at++];
        enum ist_status status = IST_OK;
        if (only_operands || text[0] != '-' || text[1] == '\0') {
            status = take_operand(&parser, text);
        } else if (strcmp(text, "--") == 0) {
            only_operands = true;
        } else if (text[1] == '-') {
            status = parse_long(&parser, text + 2);
        } else {
            status = parse_short(&parser, text + 1);
        }
        if (status != IST_OK) {
            return status;
        }
    }
    parser.options.operands = argv;
    parser.options.operand_count = parser.operands;
    enum ist_status status = check(&parser);
    if (status == IST_OK) {
        *options = parser.options;
    }
    return status;
}

#include "tools/doctor_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "infinistore/limits.h"

_Static_assert(IST_SERVICE_PORT == 22345, "the help names it");
#define TIMEOUT_NS 5000000000ull

enum option_id {
    OPTION_CONNECT,
    OPTION_DEV_NAME,
    OPTION_HINT,
    OPTION_IB_PORT,
    OPTION_LINK,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct option {
    const char *name;
    char letter;
    bool has_argument;
    const char *expects;
} options_known[] = {
    [OPTION_CONNECT] = {"connect", 'c', true, "a HOST, HOST:PORT or [IPV6]:PORT"},
    [OPTION_DEV_NAME] = {"dev-name", '\0', true, "the name of a device"},
    [OPTION_HINT] = {"hint-gid-index", '\0', true, "an index, 0 to 255, or -1"},
    [OPTION_IB_PORT] = {"ib-port", '\0', true, "a port of a device, 1 to 255"},
    [OPTION_LINK] = {"link-type", '\0', true, "IB or Ethernet"},
    [OPTION_TIMEOUT] = {"timeout", 't', true, "a number of seconds, 0.1 to 600"},
    [OPTION_JSON] = {"json", 'j', false, NULL},
    [OPTION_HELP] = {"help", 'h', false, NULL},
    [OPTION_VERSION] = {"version", 'V', false, NULL},
};
#define OPTIONS (sizeof(options_known) / sizeof(options_known[0]))

const char *ist_doctor_help(void) {
    return "Usage: " IST_DOCTOR_NAME " [OPTION]...\n"
           "Looks at what this machine has for RDMA, and tells what is wrong with it and what to\n"
           "do about it.\n"
           "\n"
           "  -c, --connect HOST[:PORT]  also go the whole way to an infinistore there: connect,\n"
           "                             put, get, compare; tell which step fails (22345)\n"
           "  -t, --timeout SECONDS      what each step of that may take (5)\n"
           "  -j, --json                 answer with a JSON object\n"
           "  -h, --help                 show this\n"
           "  -V, --version              show the version\n"
           "\n"
           "Options of infinistore, to see what it would make of them:\n"
           "      --dev-name NAME        device (the first that is active)\n"
           "      --ib-port PORT         its port (of infinistore 1; of a client the first\n"
           "                             that is active)\n"
           "      --link-type TYPE       only a device of IB or Ethernet (any)\n"
           "      --hint-gid-index INDEX the port's GID to use; -1: choose (-1)\n"
           "\n"
           "Exit codes: 0 fine, maybe with warnings; 1 there are problems; 2 wrong usage.\n"
           "The manual: man " IST_DOCTOR_NAME "\n";
}

static bool parse_whole(const char *text, long lowest, long highest, long *number) {
    char *end;
    size_t digits = strspn(text, "0123456789");
    *number = strtol(text, &end, 10);
    return digits > 0 && digits < 10 && text[digits] == '\0' && *number >= lowest && *number <= highest;
}

/* "host", "host:port", "[ipv6]:port"; false: it is none of these. */
static bool parse_peer(const char *text, char host[256], char port[8]) {
    const char *end, *colon;
    bool has_brackets = text[0] == '[';
    snprintf(port, 8, "%u", IST_SERVICE_PORT);
    if (has_brackets) {
        end = strchr(++text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strchr(text, ':');
        /* An address of IPv6 has more than one: then none of them is the port's. */
        colon = colon != NULL && strchr(colon + 1, ':') != NULL ? NULL : colon;
        end = colon != NULL ? colon : text + strlen(text);
    }
    size_t bytes = (size_t)(end - text);
    if (bytes == 0 || bytes > 255) {
        return false;
    }
    memcpy(host, text, bytes);
    host[bytes] = '\0';
    if (colon != NULL) {
        size_t digits = strspn(colon + 1, "0123456789");
        long number = strtol(colon + 1, NULL, 10);
        if (digits == 0 || digits > 5 || colon[1 + digits] != '\0' || number < 1 || number > 65535) {
            return false;
        }
        snprintf(port, 8, "%ld", number);
    }
    return true;
}

static bool set(struct ist_doctor_options *options, enum option_id id, const char *text) {
    long number = -1;
    char *end;
    switch (id) {
    case OPTION_CONNECT: options->connect = text; return parse_peer(text, options->host, options->port);
    case OPTION_DEV_NAME: options->dev_name = text; return text[0] != '\0';
    case OPTION_HINT:
        if (strcmp(text, "-1") != 0 && !parse_whole(text, 0, 255, &number)) {
            return false;
        }
        options->hint_gid_index = (int)number;
        return true;
    case OPTION_IB_PORT:
        if (!parse_whole(text, 1, 255, &number)) {
            return false;
        }
        options->ib_port = (unsigned)number;
        return true;
    case OPTION_LINK:
        options->link =
            strcasecmp(text, "IB") == 0 ? IST_DEVICE_LINK_INFINIBAND : IST_DEVICE_LINK_ETHERNET;
        return strcasecmp(text, "IB") == 0 || strcasecmp(text, "Ethernet") == 0;
    case OPTION_TIMEOUT: {
        double seconds = strtod(text, &end);
        options->timeout_ns = (uint64_t)(seconds * 1e9);
        return text[0] != '\0' && strspn(text, "0123456789.") == strlen(text) && *end == '\0' &&
               seconds >= 0.1 && seconds <= 600;
    }
    case OPTION_JSON: options->json = true; return true;
    case OPTION_HELP: options->help = true; return true;
    case OPTION_VERSION: options->version = true; return true;
    }
    return false;
}

/* "--name", "--name=value", "-x": which; value: what stands behind "=", or NULL. OPTIONS: none. */
static size_t find(const char *argument, const char **value) {
    *value = NULL;
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options_known[i];
        size_t length = strlen(option->name);
        if (argument[0] == '-' && argument[1] == option->letter && argument[1] != '\0' &&
            argument[2] == '\0') {
            return i;
        }
        if (strncmp(argument, "--", 2) == 0 && strncmp(argument + 2, option->name, length) == 0 &&
            (argument[2 + length] == '\0' || argument[2 + length] == '=')) {
            *value = argument[2 + length] == '=' ? argument + 3 + length : NULL;
            return i;
        }
    }
    return OPTIONS;
}

enum ist_status ist_doctor_options_parse(int argc, char *const *argv,
                                         struct ist_doctor_options *options, char *error) {
    struct ist_doctor_options read = {.hint_gid_index = -1, .timeout_ns = TIMEOUT_NS};
    for (int i = 1; i < argc; i++) {
        const char *value;
        size_t id = find(argv[i], &value);
        if (id == OPTIONS) {
            snprintf(error, IST_DOCTOR_ERROR_MAX, "%s %.100s",
                     argv[i][0] == '-' ? "unknown option" : "what is this:", argv[i]);
            return IST_INVALID;
        }
        const struct option *option = &options_known[id];
        if (!option->has_argument && value != NULL) {
            snprintf(error, IST_DOCTOR_ERROR_MAX, "--%s takes no value", option->name);
            return IST_INVALID;
        }
        if (option->has_argument && value == NULL) {
            value = i + 1 < argc ? argv[++i] : "";
        }
        if (!set(&read, (enum option_id)id, value)) {
            snprintf(error, IST_DOCTOR_ERROR_MAX, "--%s: \"%.100s\" is not %s", option->name, value,
                     option->expects);
            return IST_INVALID;
        }
    }
    *options = read;
    return IST_OK;
}

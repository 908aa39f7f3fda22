#include "daemon/option.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/size.h"
#include "infinistore/limits.h"

#define KIB (1ull << 10)
#define GIB (1ull << 30)
#define HELP_AT 32 /* column at which the help's text begins */

/* ---- one value -------------------------------------------------------------------------------------- */

static void *field(const struct ist_option *option, struct ist_config *config) {
    return (char *)config + option->at;
}

/* Digits and at most one point: no sign, exponent, space, infinity, nor anything that a locale allows. */
static bool parse_number(const char *text, bool fraction, double *number) {
    size_t digits = 0, points = 0;
    for (const char *c = text; *c != '\0'; c++) {
        digits += *c >= '0' && *c <= '9';
        points += *c == '.';
    }
    if (digits == 0 || digits + points != strlen(text) || points > (fraction ? 1u : 0u)) {
        return false;
    }
    *number = strtod(text, NULL);
    return true;
}

static bool parse_limited(const struct ist_option *option, const char *text, bool fraction,
                          double *number) {
    return parse_number(text, fraction, number) && *number >= option->lowest &&
           *number <= option->highest;
}

static bool set_u16(const struct ist_option *option, struct ist_config *config, const char *text) {
    double number;
    if (!parse_limited(option, text, false, &number)) {
        return false;
    }
    *(uint16_t *)field(option, config) = (uint16_t)number;
    return true;
}

static bool set_u32(const struct ist_option *option, struct ist_config *config, const char *text) {
    double number;
    if (!parse_limited(option, text, false, &number)) {
        return false;
    }
    *(uint32_t *)field(option, config) = (uint32_t)number;
    return true;
}

static bool set_gid_index(const struct ist_option *option, struct ist_config *config,
                          const char *text) {
    double number = -1;
    if (strcmp(text, "-1") != 0 && !parse_limited(option, text, false, &number)) {
        return false;
    }
    config->hint_gid_index = (int32_t)number;
    return true;
}

static bool set_double(const struct ist_option *option, struct ist_config *config, const char *text) {
    double number;
    if (!parse_limited(option, text, true, &number)) {
        return false;
    }
    *(double *)field(option, config) = number;
    return true;
}

static bool set_seconds(const struct ist_option *option, struct ist_config *config, const char *text) {
    double number;
    if (!parse_limited(option, text, true, &number)) {
        return false;
    }
    *(uint64_t *)field(option, config) = (uint64_t)(number * (double)IST_NS_PER_SEC);
    return true;
}

static bool set_size(const struct ist_option *option, struct ist_config *config, const char *text) {
    uint64_t bytes;
    if (ist_size_parse(text, option->unit, &bytes) != IST_OK || (double)bytes < option->lowest ||
        (double)bytes > option->highest) {
        return false;
    }
    *(uint64_t *)field(option, config) = bytes;
    return true;
}

static bool set_block(const struct ist_option *option, struct ist_config *config, const char *text) {
    uint64_t bytes;
    return ist_size_parse(text, option->unit, &bytes) == IST_OK && (bytes & (bytes - 1)) == 0 &&
           set_size(option, config, text);
}

static bool set_flag(const struct ist_option *option, struct ist_config *config, const char *text) {
    static const char *const yes[] = {"1", "yes", "true", "on"};
    static const char *const no[] = {"0", "no", "false", "off"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        bool is_yes = strcasecmp(text, yes[i]) == 0;
        if (is_yes || strcasecmp(text, no[i]) == 0) {
            *(bool *)field(option, config) = is_yes;
            return true;
        }
    }
    return false;
}

static bool set_text(const struct ist_option *option, struct ist_config *config, const char *text) {
    if (text[0] == '\0') {
        return false;
    }
    *(const char **)field(option, config) = text;
    return true;
}

static bool set_level(const struct ist_option *option, struct ist_config *config, const char *text) {
    static const char *const names[] = {
        [IST_LOG_ERROR] = "error",
        [IST_LOG_WARNING] = "warning",
        [IST_LOG_INFO] = "info",
        [IST_LOG_DEBUG] = "debug",
    };
    (void)option;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(text, names[i]) == 0) {
            config->log_level = (enum ist_log_level)i;
            return true;
        }
    }
    return false;
}

static bool set_link_type(const struct ist_option *option, struct ist_config *config,
                          const char *text) {
    (void)option;
    if (strcasecmp(text, "IB") != 0 && strcasecmp(text, "Ethernet") != 0) {
        return false;
    }
    config->link_type =
        strcasecmp(text, "IB") == 0 ? IST_DEVICE_LINK_INFINIBAND : IST_DEVICE_LINK_ETHERNET;
    return true;
}

/* A name, or an address: what looks like an address and is none is a slip of the keyboard, and no name server
 * need be asked. */
static bool is_host(const char *host) {
    struct in6_addr ignored;
    size_t length = strlen(host);
    if (strchr(host, ':') != NULL) {
        char address[IST_CONFIG_HOST_BYTES];
        size_t without_scope = strcspn(host, "%");
        memcpy(address, host, without_scope);
        address[without_scope] = '\0';
        return inet_pton(AF_INET6, address, &ignored) == 1;
    }
    if (strspn(host, "0123456789.") == length) {
        return inet_pton(AF_INET, host, &ignored) == 1;
    }
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)host[i]) && strchr("-._", host[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* Adds to those that are there. */
static bool set_hosts(const struct ist_option *option, struct ist_config *config, const char *text) {
    (void)option;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        if (length == 0 || length >= IST_CONFIG_HOST_BYTES ||
            config->host_count == IST_CONFIG_HOSTS_MAX) {
            return false;
        }
        char *host = config->hosts[config->host_count];
        bool brackets = length > 2 && at[0] == '[' && at[length - 1] == ']';
        size_t kept = brackets ? length - 2 : length;
        memcpy(host, brackets ? at + 1 : at, kept);
        host[kept] = '\0';
        if (!is_host(host)) {
            return false;
        }
        config->host_count++;
        at += length;
        if (*at == '\0') {
            return true;
        }
    }
}

/* ---- all of them ------------------------------------------------------------------------------------ */

/* No machine has so much, and what is added to it for rounding does not overflow. */
#define POOL_HIGHEST 0x1p63

static const struct ist_option options[] = {
    {.name = "host",
     .argument = "HOST[,HOST...]",
     .set = set_hosts,
     .expects = "a list of up to 16 names or addresses, separated by commas",
     .section = "Where it listens",
     .help = "names or addresses, for both ports; may be\nrepeated (0.0.0.0)"},
    {.name = "service-port",
     .argument = "PORT",
     .set = set_u16,
     .at = offsetof(struct ist_config, service_port),
     .highest = 65535,
     .expects = "a port, 0 to 65535",
     .help = "for clients; 0: any (22345)"},
    {.name = "manage-port",
     .argument = "PORT",
     .set = set_u16,
     .at = offsetof(struct ist_config, manage_port),
     .highest = 65535,
     .expects = "a port, 0 to 65535",
     .help = "for HTTP: health, metrics, ...; 0: any (18080)"},
    {.name = "unix-socket",
     .argument = "PATH",
     .set = set_text,
     .at = offsetof(struct ist_config, unix_socket),
     .expects = "a path",
     .help = "serve clients of this machine there, too"},
    {.name = "port-file",
     .argument = "FILE",
     .set = set_text,
     .at = offsetof(struct ist_config, port_file),
     .expects = "a path",
     .help = "when ready, write there what it listens on"},
    {.name = "manage-token-file",
     .argument = "FILE",
     .set = set_text,
     .at = offsetof(struct ist_config, manage_token_file),
     .expects = "a path",
     .help = "who knows the secret in there may POST from\nother machines (nobody may)"},

    {.name = "prealloc-size",
     .argument = "SIZE",
     .set = set_size,
     .at = offsetof(struct ist_config, prealloc_bytes),
     .lowest = 1,
     .highest = POOL_HIGHEST,
     .unit = GIB,
     .expects = "a size in GB or with a suffix, more than 0",
     .section = "The pool (a SIZE may have a suffix: 512M, 4K, 1.5G, 2T)",
     .help = "size of the pool, in GB (16)"},
    {.name = "minimal-allocate-size",
     .argument = "SIZE",
     .set = set_block,
     .at = offsetof(struct ist_config, min_block_bytes),
     .lowest = 512,
     .highest = GIB,
     .unit = KIB,
     .expects = "a size in KB or with a suffix, a power of two from 512B to 1G",
     .help = "smallest block, in KB, a power of two (64)"},
    {.name = "auto-increase",
     .set = set_flag,
     .at = offsetof(struct ist_config, auto_increase),
     .expects = "yes or no",
     .help = "let the pool grow by 10 GB when it is filled\nto 0.8"},
    {.name = "max-pool-size",
     .argument = "SIZE",
     .set = set_size,
     .at = offsetof(struct ist_config, max_pool_bytes),
     .lowest = 1,
     .highest = POOL_HIGHEST,
     .unit = GIB,
     .expects = "a size in GB or with a suffix, more than 0",
     .help = "grow no further, in GB (0.9 of what is\navailable at the start)"},
    {.name = "hugepages",
     .set = set_flag,
     .at = offsetof(struct ist_config, hugepages),
     .expects = "yes or no",
     .help = "use huge pages where they can be had (yes)"},

    {.name = "enable-periodic-evict",
     .set = set_flag,
     .at = offsetof(struct ist_config, periodic_evict),
     .expects = "yes or no",
     .section = "Eviction (when the pool is full, just enough is evicted, in any case)",
     .help = "also keep a part of the pool free"},
    {.name = "evict-interval",
     .argument = "SECONDS",
     .set = set_double,
     .at = offsetof(struct ist_config, evict_interval_sec),
     .lowest = 0.001,
     .highest = 86400,
     .expects = "a number of seconds, 0.001 to 86400",
     .help = "how often it looks (5)"},
    {.name = "evict-min-threshold",
     .argument = "SHARE",
     .set = set_double,
     .at = offsetof(struct ist_config, evict_min_threshold),
     .highest = 1,
     .expects = "a share of the pool, 0 to 1",
     .help = "used share of the pool that it leaves; also\nwhat POST /evict leaves (0.6)"},
    {.name = "evict-max-threshold",
     .argument = "SHARE",
     .set = set_double,
     .at = offsetof(struct ist_config, evict_max_threshold),
     .highest = 1,
     .expects = "a share of the pool, 0 to 1",
     .help = "used share above which it begins (0.8)"},

    {.name = "max-sessions",
     .argument = "COUNT",
     .set = set_u32,
     .at = offsetof(struct ist_config, sessions_max),
     .lowest = 1,
     .highest = 1048576,
     .expects = "a number from 1 to 1048576",
     .section = "Sessions",
     .help = "connections served at a time (16384)"},
    {.name = "drain-timeout",
     .argument = "SECONDS",
     .set = set_seconds,
     .at = offsetof(struct ist_config, drain_timeout_ns),
     .highest = 86400,
     .expects = "a number of seconds, 0 to 86400",
     .help = "after SIGTERM, how long requests that had\nbegun may take to end (25)"},

    {.name = "dev-name",
     .argument = "NAME",
     .set = set_text,
     .at = offsetof(struct ist_config, dev_name),
     .expects = "the name of a device",
     .section = "RDMA (where there is no device, TCP is served alone)",
     .help = "device (the first that is active)"},
    {.name = "ib-port",
     .argument = "PORT",
     .set = set_u32,
     .at = offsetof(struct ist_config, ib_port),
     .lowest = 1,
     .highest = 255,
     .expects = "a port of a device, 1 to 255",
     .help = "its port (1)"},
    {.name = "link-type",
     .argument = "TYPE",
     .set = set_link_type,
     .expects = "IB or Ethernet",
     .help = "take only a device of IB or Ethernet (any)"},
    {.name = "hint-gid-index",
     .argument = "INDEX",
     .set = set_gid_index,
     .highest = 255,
     .expects = "an index, 0 to 255, or -1",
     .help = "the port's GID to use; -1: choose (-1)"},
    {.name = "poll-us",
     .argument = "MICROSECONDS",
     .set = set_u32,
     .at = offsetof(struct ist_config, poll_us),
     .highest = 100000,
     .expects = "a number of microseconds, 0 to 100000",
     .help =
         "after RDMA work, look for more so long before\nsleeping: shorter answers, for a core (0)"},

    {.name = "log-level",
     .argument = "LEVEL",
     .set = set_level,
     .expects = "error, warning, info or debug",
     .section = "Other",
     .help = "error, warning, info or debug (info)"},
};

const struct ist_option *ist_option_at(size_t n) {
    return n < sizeof(options) / sizeof(options[0]) ? &options[n] : NULL;
}

void ist_option_variable(const struct ist_option *option, char variable[IST_OPTION_VARIABLE_BYTES]) {
    int length = snprintf(variable, IST_OPTION_VARIABLE_BYTES, "INFINISTORE_%s", option->name);
    IST_ASSERT(length > 0 && length < IST_OPTION_VARIABLE_BYTES);
    for (char *c = variable; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
}

void ist_option_defaults(struct ist_config *config) {
    *config = (struct ist_config){
        .hosts = {"0.0.0.0"},
        .host_count = 1,
        .service_port = IST_SERVICE_PORT,
        .manage_port = IST_MANAGE_PORT,
        .log_level = IST_LOG_INFO,
        .prealloc_bytes = 16 * GIB,
        .min_block_bytes = 64 * KIB,
        .hugepages = true,
        .evict_interval_sec = 5,
        .evict_min_threshold = 0.6,
        .evict_max_threshold = 0.8,
        .sessions_max = IST_SESSIONS_MAX,
        .drain_timeout_ns = 25 * IST_NS_PER_SEC,
        .ib_port = 1,
        .link_type = IST_DEVICE_LINK_ANY,
        .hint_gid_index = -1,
    };
}

/* ---- help ------------------------------------------------------------------------------------------- */

/* `text`, its lines one below the other from column HELP_AT on. */
static void write_entry(FILE *out, const char *left, const char *text) {
    fprintf(out, "  %-*s", HELP_AT - 2, left);
    for (;;) {
        size_t length = strcspn(text, "\n");
        fprintf(out, "%.*s\n", (int)length, text);
        if (text[length] == '\0') {
            return;
        }
        text += length + 1;
        fprintf(out, "%*s", HELP_AT, "");
    }
}

void ist_option_help(FILE *out) {
    fputs("Usage: infinistore [OPTION]...\n"
          "Keeps the KV cache of an LLM inference cluster in memory and serves it.\n",
          out);
    for (const struct ist_option *option = options;
         option < options + sizeof(options) / sizeof(options[0]); option++) {
        if (option->section != NULL) {
            fprintf(out, "\n%s:\n", option->section);
        }
        char left[HELP_AT + IST_OPTION_VARIABLE_BYTES];
        snprintf(left, sizeof(left), "--%s%s%s", option->name, option->argument == NULL ? "" : " ",
                 option->argument == NULL ? "" : option->argument);
        write_entry(out, left, option->help);
    }
    write_entry(out, "-h, --help", "show this and exit");
    write_entry(out, "--version", "show the version and exit");
    fputs("\n"
          "An option without a value is switched off by --no-OPTION. Each option can\n"
          "also be a variable, e.g. INFINISTORE_LOG_LEVEL=debug; the command line has the\n"
          "last word. Defaults are in parentheses. SIGTERM: finish what had begun, exit.\n"
          "The manual: man infinistore\n",
          out);
}

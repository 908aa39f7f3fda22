#include "tools/bench_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "infinistore/infinistore.h"

_Static_assert(IST_KEYS_PER_REQUEST_MAX == 65536 && IST_BENCH_CLIENTS_MAX == 1024 &&
                   IST_REQUESTS_IN_FLIGHT_MAX == 1024 && IST_BENCH_KEY_BYTES_MIN == 48 &&
                   IST_KEY_BYTES_MAX == 1024,
               "the help names them");

#define WORD_MAX 64 /* bytes of one item of a list */

const char *ist_bench_op_name(enum ist_bench_op op) {
    switch (op) {
    case IST_BENCH_PUT: return "put";
    case IST_BENCH_GET: return "get";
    case IST_BENCH_EXISTS: return "exists";
    case IST_BENCH_MATCH: return "match";
    case IST_BENCH_REMOVE: return "remove";
    }
    return "?";
}

/* ---- values of options -------------------------------------------------------------------------- */

typedef bool parse_fn(const char *text, struct ist_bench_options *options);

/* Decimal digits and nothing else, min to max. */
static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *value) {
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18) {
        return false;
    }
    *value = strtoull(text, NULL, 10);
    return *value >= min && *value <= max;
}

static bool size(const char *text, uint64_t min, uint64_t max, uint64_t *bytes) {
    return ist_size_parse(text, 1, bytes) == IST_OK && *bytes >= min && *bytes <= max;
}

/* "2", "1.5", "500ms", "1m": seconds unless it says else. */
static bool duration(const char *text, uint64_t *ns) {
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    double value = strtod(text, &end), unit = 0;
    if (strcmp(end, "") == 0 || strcmp(end, "s") == 0) {
        unit = 1e9;
    } else if (strcmp(end, "ms") == 0) {
        unit = 1e6;
    } else if (strcmp(end, "m") == 0) {
        unit = 60e9;
    }
    value *= unit;
    if (!(value >= 1e6 && value <= 86400e9)) {
        return false;
    }
    *ns = (uint64_t)value;
    return true;
}

/* The next of the words that commas separate; *rest is NULL behind the last. */
static bool next_word(const char **rest, char word[WORD_MAX]) {
    const char *text = *rest, *comma = strchr(text, ',');
    size_t bytes = comma == NULL ? strlen(text) : (size_t)(comma - text);
    if (bytes == 0 || bytes >= WORD_MAX) {
        return false;
    }
    memcpy(word, text, bytes);
    word[bytes] = '\0';
    *rest = comma == NULL ? NULL : comma + 1;
    return true;
}

static bool list(const char *text, bool (*item)(const char *, uint64_t, uint64_t, uint64_t *),
                 uint64_t min, uint64_t max, struct ist_bench_list *list) {
    char word[WORD_MAX];
    list->count = 0;
    for (const char *rest = text; rest != NULL;) {
        if (list->count == IST_BENCH_LIST_MAX || !next_word(&rest, word) ||
            !item(word, min, max, &list->items[list->count])) {
            return false;
        }
        list->count++;
    }
    return true;
}

/* ---- the options -------------------------------------------------------------------------------- */

static bool parse_endpoint(const char *text, struct ist_bench_options *options) {
    options->endpoint = text;
    return text[0] != '\0';
}

static bool parse_op(const char *text, struct ist_bench_options *options) {
    char word[WORD_MAX];
    memset(options->ops, 0, sizeof options->ops);
    for (const char *rest = text; rest != NULL;) {
        if (!next_word(&rest, word)) {
            return false;
        }
        unsigned op = 0;
        while (op < IST_BENCH_OPS && strcmp(word, ist_bench_op_name((enum ist_bench_op)op)) != 0) {
            op++;
        }
        if (op == IST_BENCH_OPS) {
            return false;
        }
        options->ops[op] = true;
    }
    return true;
}

static bool parse_size(const char *text, struct ist_bench_options *options) {
    return list(text, size, 1, 1ull << 32, &options->sizes);
}

static bool parse_batch(const char *text, struct ist_bench_options *options) {
    return list(text, number, 1, IST_KEYS_PER_REQUEST_MAX, &options->batches);
}

static bool parse_clients(const char *text, struct ist_bench_options *options) {
    return list(text, number, 1, IST_BENCH_CLIENTS_MAX, &options->clients);
}

static bool parse_depth(const char *text, struct ist_bench_options *options) {
    return list(text, number, 1, IST_REQUESTS_IN_FLIGHT_MAX, &options->depths);
}

static bool parse_duration(const char *text, struct ist_bench_options *options) {
    return duration(text, &options->duration_ns);
}

static bool parse_count(const char *text, struct ist_bench_options *options) {
    return number(text, 1, 1000000000000ull, &options->count);
}

static bool parse_working_set(const char *text, struct ist_bench_options *options) {
    return size(text, 1, 1ull << 44, &options->working_set_bytes);
}

static bool parse_key_bytes(const char *text, struct ist_bench_options *options) {
    return number(text, IST_BENCH_KEY_BYTES_MIN, IST_KEY_BYTES_MAX, &options->key_bytes);
}

static bool parse_match_keys(const char *text, struct ist_bench_options *options) {
    return number(text, 1, IST_KEYS_PER_REQUEST_MAX, &options->match_keys);
}

static bool parse_timeout(const char *text, struct ist_bench_options *options) {
    return duration(text, &options->timeout_ns);
}

static bool parse_verify(const char *text, struct ist_bench_options *options) {
    if (strcmp(text, "all") == 0) {
        options->verify = IST_BENCH_VERIFY_ALL;
    } else if (strcmp(text, "sample") == 0) {
        options->verify = IST_BENCH_VERIFY_SAMPLE;
    } else if (strcmp(text, "none") == 0) {
        options->verify = IST_BENCH_VERIFY_NONE;
    } else {
        return false;
    }
    return true;
}

static bool parse_baseline(const char *text, struct ist_bench_options *options) {
    char word[WORD_MAX];
    options->raw = options->perftest = false;
    options->rival = IST_BENCH_NO_RIVAL;
    for (const char *rest = text; rest != NULL;) {
        if (!next_word(&rest, word)) {
            return false;
        }
        if (strcmp(word, "raw") == 0) {
            options->raw = true;
        } else if (strcmp(word, "perftest") == 0) {
            options->perftest = true;
        } else if (options->rival == IST_BENCH_NO_RIVAL && strcmp(word, "redis") == 0) {
            options->rival = IST_BENCH_REDIS;
        } else if (options->rival == IST_BENCH_NO_RIVAL && strcmp(word, "memcached") == 0) {
            options->rival = IST_BENCH_MEMCACHED;
        } else {
            return false;
        }
    }
    return true;
}

static bool parse_server_device(const char *text, struct ist_bench_options *options) {
    options->server_device = text;
    return text[0] != '\0';
}

static bool parse_pin(const char *text, struct ist_bench_options *options) {
    return list(text, number, 0, 1023, &options->pin);
}

static bool parse_pin_peers(const char *text, struct ist_bench_options *options) {
    return list(text, number, 0, 1023, &options->pin_peers);
}

static bool parse_json(const char *text, struct ist_bench_options *options) {
    options->json_path = text;
    return text[0] != '\0';
}

struct option {
    const char *name;
    parse_fn *parse;
    const char *value;   /* as the help calls it */
    const char *omitted; /* stands for a value that was not given; NULL: it must be given */
    const char *help;
};

static const struct option options_known[] = {
    {"endpoint", parse_endpoint, "ADDRESS", NULL,
     "host:port or unix:/path; default $INFINISTORE_ENDPOINT, 127.0.0.1"},
    {"op", parse_op, "LIST", NULL, "of put, get, exists, match; default all"},
    {"size", parse_size, "LIST", NULL, "bytes of a value; default 4K,32K,256K,1M"},
    {"batch", parse_batch, "LIST", NULL, "keys of a put, get or exists request, 1 to 65536; default 1"},
    {"match-keys", parse_match_keys, "N", NULL, "keys of a match request, 1 to 65536; default 8192"},
    {"clients", parse_clients, "LIST", NULL, "connections, each with a thread, 1 to 1024; default 1"},
    {"depth", parse_depth, "LIST", NULL,
     "requests in flight on each, 1 to 1024; default 16, exists and match 1"},
    {"duration", parse_duration, "TIME", NULL, "of each measurement, e.g. 500ms, 10, 1m; default 2 s"},
    {"count", parse_count, "N", NULL, "requests of each measurement, instead of a duration"},
    {"working-set", parse_working_set, "SIZE", NULL,
     "bytes of distinct values of a size; default 512M, if the pool allows"},
    {"key-bytes", parse_key_bytes, "N", NULL, "bytes of a key, 48 to 1024; default 64"},
    {"timeout", parse_timeout, "TIME", NULL, "of each request; default 30 s"},
    {"verify", parse_verify, "all|sample|none", NULL, "which values are checked; default all"},
    {"baseline", parse_baseline, "LIST", "raw",
     "of raw, redis, memcached, perftest: measure those by turns; default raw"},
    {"server-dev-name", parse_server_device, "DEVICE", NULL,
     "for perftest, on one machine: the server's device; default --dev-name"},
    {"pin", parse_pin, "CPUS", NULL, "run the clients on these CPUs"},
    {"pin-peers", parse_pin_peers, "CPUS", NULL, "run the servers of --baseline on these CPUs"},
    {"json", parse_json, "FILE", NULL, "write the results there too"},
};
#define OPTIONS (sizeof options_known / sizeof options_known[0])

static const struct option *find(const char *name, size_t bytes) {
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strlen(options_known[i].name) == bytes && memcmp(options_known[i].name, name, bytes) == 0) {
            return &options_known[i];
        }
    }
    return NULL;
}

static void set_defaults(struct ist_bench_options *options, const char *endpoint) {
    *options = (struct ist_bench_options){
        .endpoint = endpoint != NULL && endpoint[0] != '\0' ? endpoint : "127.0.0.1",
        .ops = {true, true, true, true},
        .sizes = {{4 << 10, 32 << 10, 256 << 10, 1 << 20}, 4},
        .batches = {{1}, 1},
        .clients = {{1}, 1},
        .duration_ns = 2 * IST_NS_PER_SEC,
        .key_bytes = 64,
        .match_keys = 8192,
        .timeout_ns = IST_REQUEST_TIMEOUT_NS,
    };
}

/* The value of argv[*at], which may be the next argument: *at then moves on. NULL: there is none. */
static const char *value_of(const char *omitted, const char *equals, int argc, char *const *argv,
                            int *at) {
    if (equals != NULL) {
        return equals + 1;
    }
    const char *next = *at + 1 < argc ? argv[*at + 1] : NULL;
    if (omitted != NULL && (next == NULL || next[0] == '-')) {
        return omitted;
    }
    *at += next != NULL;
    return next;
}

enum ist_bench_asked ist_bench_options_parse(int argc, char *const *argv, const char *endpoint,
                                             struct ist_bench_options *options, char *error,
                                             size_t error_bytes) {
    set_defaults(options, endpoint);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            return IST_BENCH_HELP;
        }
        if (strcmp(word, "--version") == 0) {
            return IST_BENCH_VERSION;
        }
        const char *name = strncmp(word, "--", 2) == 0 ? word + 2 : "";
        const char *equals = strchr(name, '=');
        size_t bytes = equals == NULL ? strlen(name) : (size_t)(equals - name);
        const struct option *own = find(name, bytes);
        const struct ist_transport_option *shared = ist_transport_option_find(name, bytes);
        if (own == NULL && shared == NULL) {
            snprintf(error, error_bytes, "%s: there is no such option (see --help)", word);
            return IST_BENCH_WRONG;
        }
        const char *value = value_of(own == NULL ? NULL : own->omitted, equals, argc, argv, &i);
        if (value == NULL) {
            snprintf(error, error_bytes, "--%.*s needs a value: %s", (int)bytes, name,
                     own != NULL ? own->value : shared->value);
            return IST_BENCH_WRONG;
        }
        if (!(own != NULL ? own->parse(value, options)
                          : ist_transport_option_take(shared, value, &options->transport))) {
            snprintf(error, error_bytes, "--%.*s %s: wrong value (%s)", (int)bytes, name, value,
                     own != NULL ? own->help : shared->help);
            return IST_BENCH_WRONG;
        }
    }
    if (options->perftest &&
        (options->transport.transport != IST_TRANSPORT_RDMA || options->transport.device == NULL)) {
        snprintf(error, error_bytes, "--baseline perftest: it needs --transport rdma and --dev-name");
        return IST_BENCH_WRONG;
    }
    return IST_BENCH_RUN;
}

void ist_bench_options_help(FILE *out) {
    fputs("usage: infinistore-bench [OPTION]...\n"
          "       infinistore-bench replay [OPTION]...   (infinistore-bench replay --help)\n"
          "\n"
          "Measures a running InfiniStore server, and checks every byte that it gives back. It stores\n"
          "values of its own, which may evict others, and removes them in the end.\n"
          "\n",
          out);
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options_known[i];
        char head[48];
        snprintf(head, sizeof head, option->omitted == NULL ? "--%s %s" : "--%s [%s]", option->name,
                 option->value);
        fprintf(out, "  %-26s %s\n", head, option->help);
    }
    for (size_t i = 0; ist_transport_option_at(i) != NULL; i++) {
        const struct ist_transport_option *option = ist_transport_option_at(i);
        char head[48];
        snprintf(head, sizeof head, "--%s %s", option->name, option->value);
        fprintf(out, "  %-26s %s\n", head, option->help);
    }
    fprintf(out, "  %-26s %s\n  %-26s %s\n", "-h, --help", "this", "--version", "the version");
    fputs(
        "\n"
        "A LIST is separated by commas; every combination is measured. Sizes take suffixes: 64K, 1M.\n"
        "Exit code: 0; 1 when a request failed or a byte was wrong; 2 when an option is wrong.\n",
        out);
}

#include "tools/replay_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "infinistore/infinistore.h"

/* ---- values of options -------------------------------------------------------------------------- */

typedef bool parse_fn(const char *text, struct ist_replay_options *options);

/* Decimal digits and nothing else, min to max. */
static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *value) {
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18) {
        return false;
    }
    *value = strtoull(text, NULL, 10);
    return *value >= min && *value <= max;
}

/* A number that starts with a digit; *end is behind it. */
static bool real(const char *text, double min, double max, const char **end, double *value) {
    char *behind = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    *value = strtod(text, &behind);
    *end = behind;
    return *value >= min && *value <= max;
}

/* "2s", "500ms", "1.5m", "1h"; without a unit only where `bare` is one. */
static bool duration(const char *text, double bare, uint64_t *ns) {
    const char *end = NULL;
    double value = 0, unit = 0;
    if (!real(text, 0, 1e9, &end, &value)) {
        return false;
    }
    if (end[0] == '\0') {
        unit = bare;
    } else if (strcmp(end, "ms") == 0) {
        unit = 1e6;
    } else if (strcmp(end, "s") == 0) {
        unit = 1e9;
    } else if (strcmp(end, "m") == 0) {
        unit = 60e9;
    } else if (strcmp(end, "h") == 0) {
        unit = 3600e9;
    }
    value *= unit;
    if (!(value >= 1e6 && value <= 1e16)) {
        return false;
    }
    *ns = (uint64_t)value;
    return true;
}

static bool path(const char *text, const char **path) {
    *path = text;
    return text[0] != '\0';
}

/* ---- the options -------------------------------------------------------------------------------- */

static bool parse_endpoint(const char *text, struct ist_replay_options *options) {
    return path(text, &options->endpoint);
}

static bool parse_trace(const char *text, struct ist_replay_options *options) {
    return path(text, &options->trace_path);
}

static bool parse_seed(const char *text, struct ist_replay_options *options) {
    return number(text, 0, UINT64_MAX, &options->seed);
}

static bool parse_requests(const char *text, struct ist_replay_options *options) {
    return number(text, 1, UINT64_MAX, &options->requests);
}

static bool parse_limit(const char *text, struct ist_replay_options *options) {
    return number(text, 1, UINT64_MAX, &options->limit_requests) ||
           duration(text, 0, &options->limit_ns);
}

static bool parse_prefill(const char *text, struct ist_replay_options *options) {
    return number(text, 1, IST_REPLAY_CLIENTS_MAX, &options->prefills);
}

static bool parse_decode(const char *text, struct ist_replay_options *options) {
    return number(text, 1, IST_REPLAY_CLIENTS_MAX, &options->decodes);
}

static bool parse_pace(const char *text, struct ist_replay_options *options) {
    const char *end = "";
    if (strcmp(text, "max") == 0) {
        options->pace = 0;
        return true;
    }
    if (strcmp(text, "recorded") == 0) {
        options->pace = 1;
        return true;
    }
    return real(text, 1e-3, 1e6, &end, &options->pace) && (end[0] == '\0' || strcmp(end, "x") == 0);
}

static bool parse_model(const char *text, struct ist_replay_options *options) {
    options->model = ist_model_find(text);
    return options->model != NULL;
}

static bool parse_layers(const char *text, struct ist_replay_options *options) {
    return number(text, 1, IST_REPLAY_LAYERS_MAX, &options->layers);
}

static bool parse_scale(const char *text, struct ist_replay_options *options) {
    return number(text, 1, UINT64_MAX, &options->scale);
}

static bool parse_timeout(const char *text, struct ist_replay_options *options) {
    return duration(text, 1e9, &options->timeout_ns);
}

static bool set_purge(const char *text, struct ist_replay_options *options) {
    (void)text;
    options->purge = true;
    return true;
}

static bool set_no_verify(const char *text, struct ist_replay_options *options) {
    (void)text;
    options->verify = false;
    return true;
}

static bool parse_json(const char *text, struct ist_replay_options *options) {
    return path(text, &options->json_path);
}

static bool parse_svg(const char *text, struct ist_replay_options *options) {
    return path(text, &options->svg_path);
}

struct option {
    const char *name;
    parse_fn *parse;
    const char *value; /* as the help calls it; NULL: it takes none */
    const char *help;
};

static const struct option options_known[] = {
    {"endpoint", parse_endpoint, "ADDRESS",
     "host:port or unix:/path; default $INFINISTORE_ENDPOINT, 127.0.0.1"},
    {"trace", parse_trace, "FILE", "a trace in Mooncake's format, also .xz, .gz; - is stdin"},
    {"seed", parse_seed, "N", "of the trace that is generated without --trace; default 1"},
    {"requests", parse_requests, "N", "of the generated trace; default 12031, an hour of chat"},
    {"limit", parse_limit, "N|TIME",
     "end after N requests, or after a time: 30s, 5m; may be given twice"},
    {"prefill", parse_prefill, "N", "prefill clients; default 2"},
    {"decode", parse_decode, "N", "decode clients; default 2"},
    {"pace", parse_pace, "PACE", "max (default), recorded, or so many times the recorded: 60"},
    {"model", parse_model, "NAME", "whose blocks (see --list-models); default llama-3-8b"},
    {"layers", parse_layers, "N", "of the model; default: 4 to all, as the pool allows"},
    {"scale", parse_scale, "N", "divide a block's bytes by N; default: as the pool allows"},
    {"timeout", parse_timeout, "TIME", "of each call to the server; default 30 s"},
    {"purge", set_purge, NULL, "empty the server first"},
    {"no-verify", set_no_verify, NULL, "do not check the bytes that come back"},
    {"json", parse_json, "FILE", "write the report there too"},
    {"svg", parse_svg, "FILE", "draw hit ratio and throughput over time"},
};
#define OPTIONS (sizeof(options_known) / sizeof(options_known[0]))

static const struct option *find(const char *name, size_t bytes) {
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strlen(options_known[i].name) == bytes && memcmp(options_known[i].name, name, bytes) == 0) {
            return &options_known[i];
        }
    }
    return NULL;
}

static void set_defaults(struct ist_replay_options *options, const char *endpoint) {
    *options = (struct ist_replay_options){
        .endpoint = endpoint != NULL && endpoint[0] != '\0' ? endpoint : "127.0.0.1",
        .seed = 1,
        .requests = IST_REPLAY_REQUESTS,
        .prefills = 2,
        .decodes = 2,
        .model = ist_model_find("llama-3-8b"),
        .timeout_ns = IST_REQUEST_TIMEOUT_NS,
        .verify = true,
    };
}

/* Takes argv[*at], and the next argument where its value is there: *at then moves on. */
static enum ist_replay_asked take(const struct option *option, const char *equals, int argc,
                                  char *const *argv, int *at, struct ist_replay_options *options,
                                  char *error, size_t error_bytes) {
    const char *value = equals == NULL ? NULL : equals + 1;
    if (option->value == NULL && value != NULL) {
        snprintf(error, error_bytes, "--%s takes no value", option->name);
        return IST_REPLAY_WRONG;
    }
    if (option->value != NULL && value == NULL && *at + 1 < argc) {
        value = argv[++*at];
    }
    if (option->value != NULL && value == NULL) {
        snprintf(error, error_bytes, "--%s needs a value: %s", option->name, option->value);
        return IST_REPLAY_WRONG;
    }
    if (!option->parse(value, options)) {
        snprintf(error, error_bytes, "--%s %s: wrong value (%s)", option->name, value, option->help);
        return IST_REPLAY_WRONG;
    }
    return IST_REPLAY_RUN;
}

static bool take_shared(const struct ist_transport_option *option, const char *equals, int argc,
                        char *const *argv, int *at, struct ist_replay_options *options, char *error,
                        size_t error_bytes) {
    const char *value = equals == NULL ? NULL : equals + 1;
    if (value == NULL && *at + 1 < argc) {
        value = argv[++*at];
    }
    if (value == NULL) {
        snprintf(error, error_bytes, "--%s needs a value: %s", option->name, option->value);
        return false;
    }
    if (!ist_transport_option_take(option, value, &options->transport)) {
        snprintf(error, error_bytes, "--%s %s: wrong value (%s)", option->name, value, option->help);
        return false;
    }
    return true;
}

enum ist_replay_asked ist_replay_options_parse(int argc, char *const *argv, const char *endpoint,
                                               struct ist_replay_options *options, char *error,
                                               size_t error_bytes) {
    set_defaults(options, endpoint);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            return IST_REPLAY_HELP;
        }
        if (strcmp(word, "--version") == 0) {
            return IST_REPLAY_VERSION;
        }
        if (strcmp(word, "--list-models") == 0) {
            return IST_REPLAY_LIST_MODELS;
        }
        const char *name = strncmp(word, "--", 2) == 0 ? word + 2 : "";
        const char *equals = strchr(name, '=');
        size_t bytes = equals == NULL ? strlen(name) : (size_t)(equals - name);
        const struct option *option = find(name, bytes);
        const struct ist_transport_option *shared = ist_transport_option_find(name, bytes);
        if (shared != NULL) {
            if (!take_shared(shared, equals, argc, argv, &i, options, error, error_bytes)) {
                return IST_REPLAY_WRONG;
            }
            continue;
        }
        if (option == NULL) {
            snprintf(error, error_bytes, "%s: there is no such option (see --help)", word);
            return IST_REPLAY_WRONG;
        }
        if (take(option, equals, argc, argv, &i, options, error, error_bytes) != IST_REPLAY_RUN) {
            return IST_REPLAY_WRONG;
        }
    }
    return IST_REPLAY_RUN;
}

void ist_replay_options_help(FILE *out) {
    fputs(
        "usage: infinistore-bench replay [OPTION]...\n"
        "\n"
        "Plays prefill/decode traffic against a running InfiniStore server and checks every byte that\n"
        "comes back. Prefill clients ask how much of each prompt's prefix is there, get that, and put\n"
        "the missing blocks layer by layer; decode clients then get all of them.\n"
        "\n",
        out);
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options_known[i];
        char head[48];
        snprintf(head, sizeof(head), option->value == NULL ? "--%s" : "--%s %s", option->name,
                 option->value);
        fprintf(out, "  %-26s %s\n", head, option->help);
    }
    for (size_t i = 0; ist_transport_option_at(i) != NULL; i++) {
        const struct ist_transport_option *option = ist_transport_option_at(i);
        char head[48];
        snprintf(head, sizeof(head), "--%s %s", option->name, option->value);
        fprintf(out, "  %-26s %s\n", head, option->help);
    }
    fprintf(out, "  %-26s %s\n  %-26s %s\n  %-26s %s\n", "--list-models",
            "the models and the bytes of their blocks", "-h, --help", "this", "--version",
            "the version");
    fputs("\n"
          "Ctrl-C ends the replay early, with its report.\n"
          "Exit code: 0; 1 when a request failed or a byte was wrong; 2 when an option is wrong.\n",
          out);
}

void ist_replay_options_list_models(FILE *out) {
    fprintf(out, "%-14s %6s  %12s  %12s  %s\n", "model", "layers", "token, layer", "block, layer",
            "source");
    for (size_t i = 0; ist_model_at(i) != NULL; i++) {
        const struct ist_model *model = ist_model_at(i);
        char token[IST_SIZE_TEXT_MAX], block[IST_SIZE_TEXT_MAX];
        fprintf(out, "%-14s %6u  %12s  %12s  %s\n", model->name, model->layers,
                ist_size_text(ist_model_token_bytes(model), token),
                ist_size_text(ist_model_block_bytes(model), block), model->source);
    }
    fprintf(out, "A block is %u tokens.\n", IST_BLOCK_TOKENS);
}

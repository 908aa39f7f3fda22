/* What `infinistore-bench replay` was asked to do. */
#ifndef IST_TOOLS_REPLAY_OPTIONS_H
#define IST_TOOLS_REPLAY_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/transport.h"
#include "workload/model.h"

#define IST_REPLAY_CLIENTS_MAX 256u /* of each kind */
#define IST_REPLAY_LAYERS_MAX 1024u
#define IST_REPLAY_REQUESTS 12031u /* of the generated trace, as many as the published one has */

struct ist_replay_options {
    const char *endpoint;              /* this and the paths: borrowed from argv or the environment */
    const char *trace_path;            /* NULL: the generated trace; "-": stdin */
    uint64_t seed, requests;           /* of the generated trace */
    uint64_t limit_requests, limit_ns; /* 0: none */
    uint64_t prefills, decodes;        /* clients */
    double pace; /* seconds of the trace in one of the replay; 0: as fast as possible */
    const struct ist_model *model;
    uint64_t layers, scale; /* 0: as fits the pool */
    uint64_t timeout_ns;    /* of a call to the server */
    struct ist_transport_options transport;
    bool purge, verify;
    const char *json_path, *svg_path; /* NULL: none */
};

enum ist_replay_asked {
    IST_REPLAY_RUN,
    IST_REPLAY_HELP,
    IST_REPLAY_VERSION,
    IST_REPLAY_LIST_MODELS,
    IST_REPLAY_WRONG
};

/* argv[0] is skipped. endpoint: of the environment; NULL or "": none.
 * options  written whatever the result; meaningful for RUN.
 * error    for WRONG: one line that names the option, NUL-terminated, cut at error_bytes. */
enum ist_replay_asked ist_replay_options_parse(int argc, char *const *argv, const char *endpoint,
                                               struct ist_replay_options *options, char *error,
                                               size_t error_bytes);

void ist_replay_options_help(FILE *out);
/* Name, layers, bytes of a token and of a block, source of each preset. */
void ist_replay_options_list_models(FILE *out);

#endif

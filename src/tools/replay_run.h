/* A replay: the clients on their threads, and what became of it. */
#ifndef IST_TOOLS_REPLAY_RUN_H
#define IST_TOOLS_REPLAY_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/replay_options.h"
#include "tools/replay_plan.h"
#include "tools/replay_series.h"
#include "tools/replay_server.h"
#include "tools/replay_tally.h"
#include "tools/replay_traffic.h"

struct ist_replay_result {
    const struct ist_replay_options *options;
    const char *traffic_name;
    struct ist_replay_plan plan;
    struct ist_replay_server before, after; /* after: as it was last seen */
    struct ist_replay_figures figures;
    struct ist_replay_series series;
    uint64_t elapsed_ns; /* from the first request to the last answer */
    uint64_t cpu_ns;     /* of this process meanwhile */
    uint64_t span_ms;    /* of the trace, as far as it was played */
    bool interrupted;    /* by a signal */
};

/* Plays `traffic` to its end, to the limit of the options, to SIGINT or SIGTERM, or to a failure, which then is in
 * the figures. Those signals are blocked for the first one's sake and have their default effect afterwards: a
 * second Ctrl-C ends the program.
 * out       receives the report's head before the first request.
 * terminal  for a line of progress; NULL: none.
 * result    filled whatever happens; borrows from options and traffic.
 * Returns false when it could not start: one line in `error`. */
bool ist_replay_run(const struct ist_replay_options *options, struct ist_replay_traffic *traffic,
                    FILE *out, FILE *terminal, struct ist_replay_result *result, char *error,
                    size_t error_bytes);

#endif

/* The requests that are played: from a trace or generated, with what an unlimited cache would have hit. */
#ifndef IST_TOOLS_REPLAY_TRAFFIC_H
#define IST_TOOLS_REPLAY_TRAFFIC_H

#include "tools/replay_options.h"
#include "workload/trace.h"

struct ist_replay_traffic;

/* traffic  owned by the caller on OK: ist_replay_traffic_free().
 * Returns OK; INVALID (the trace cannot be opened) or NO_MEMORY, with one line in `error`. */
enum ist_status ist_replay_traffic_new(const struct ist_replay_options *options,
                                       struct ist_replay_traffic **traffic, char *error,
                                       size_t error_bytes);
void ist_replay_traffic_free(struct ist_replay_traffic *traffic);

/* "trace.jsonl", "stdin", "generated, seed 1". Borrowed. */
const char *ist_replay_traffic_name(const struct ist_replay_traffic *traffic);

/* The next request, borrowed until the next call. hits: its leading blocks that were requested before.
 * Returns OK; NOT_FOUND at the end, or where a limit of the options is reached; INVALID or NO_MEMORY, with the
 * line that ist_replay_traffic_error() gives. */
enum ist_status ist_replay_traffic_next(struct ist_replay_traffic *traffic,
                                        struct ist_trace_request *request, size_t *hits);
const char *ist_replay_traffic_error(const struct ist_replay_traffic *traffic);

/* From the first request's arrival to the last one's, so far. */
uint64_t ist_replay_traffic_span_ms(const struct ist_replay_traffic *traffic);
/* Of this request since the first; 0 where it arrives before it. */
uint64_t ist_replay_traffic_arrival_ms(const struct ist_replay_traffic *traffic,
                                       const struct ist_trace_request *request);

#endif

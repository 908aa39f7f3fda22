/* What a replay found, for people and for machines. */
#ifndef IST_TOOLS_REPLAY_REPORT_H
#define IST_TOOLS_REPLAY_REPORT_H

#include <stdio.h>

#include "tools/replay_run.h"

/* What was played against what: one line each. */
void ist_replay_report_head(FILE *out, const struct ist_replay_result *result);
/* The figures. */
void ist_replay_report_table(FILE *out, const struct ist_replay_result *result);

/* One JSON object, with a newline. Owned by the caller: free(). NULL: out of memory. */
char *ist_replay_report_json(const struct ist_replay_result *result);

/* 0 when there was nothing to find. */
double ist_replay_report_hit_ratio(const struct ist_replay_figures *figures);
double ist_replay_report_unlimited_ratio(const struct ist_replay_figures *figures);

#endif

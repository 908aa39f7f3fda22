/* Endless synthetic traffic whose shape follows Mooncake's published conversation trace: prompt lengths,
 * sessions that continue (with the probability of their turn, after its gaps), one root block in every
 * request, continuations that reuse the full blocks of the prompt before and a share that branches off
 * earlier.
 *
 * The same seed gives the same requests on every compiler and machine: integers only. tests/test_generator.c
 * states how near the shares are. Source of the tables: measured on the trace, github.com/kvcache-ai/Mooncake,
 * FAST25-release/traces/conversation_trace.jsonl. */
#ifndef IST_WORKLOAD_GENERATOR_H
#define IST_WORKLOAD_GENERATOR_H

#include "base/alloc.h"
#include "infinistore/status.h"
#include "workload/trace.h"

#define IST_GENERATOR_INPUT_TOKENS_MAX 126195u /* the longest prompt of the trace */

struct ist_generator;

/* generator  owned by the caller on OK: ist_generator_free().
 * Returns OK, NO_MEMORY. */
enum ist_status ist_generator_new(const struct ist_alloc *alloc, uint64_t seed,
                                  struct ist_generator **generator);
void ist_generator_free(struct ist_generator *generator);

/* The next request, by ascending arrival. Hash ids are numbered from 0, the root, as they appear.
 * Returns OK, NO_MEMORY: after that the generator can only be freed. */
enum ist_status ist_generator_next(struct ist_generator *generator, struct ist_trace_request *request);

#endif

/* Inference traffic as data: requests with the hash ids of their prompt's blocks, read from a trace in the
 * public Mooncake format.
 *
 * One JSON object a line:
 *   {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}
 * timestamp in milliseconds; lengths in tokens; hash_ids name the prompt's blocks of 512 tokens from its
 * start on, the last one possibly partial: the same id means the same tokens after the same prefix.
 * Other fields are ignored; blank lines, CRLF and a missing last newline are accepted. The bytes may be
 * plain, xz or gzip. Source: https://github.com/kvcache-ai/Mooncake, FAST25-release/traces. */
#ifndef IST_WORKLOAD_TRACE_H
#define IST_WORKLOAD_TRACE_H

#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"
#include "workload/source.h"

#define IST_TRACE_LINE_BYTES_MAX (1u << 20)
#define IST_TRACE_BLOCKS_MAX 32768u /* hash ids of one request: 16 Mi tokens */
#define IST_TRACE_TOKENS_MAX UINT32_MAX

struct ist_trace_request {
    uint64_t arrival_ms;
    uint32_t input_tokens, output_tokens;
    const uint64_t *blocks; /* hash ids, borrowed until the next call on what gave them */
    size_t block_count;     /* 1 .. IST_TRACE_BLOCKS_MAX */
};

struct ist_trace_reader;

/* name    for messages, copied; usually the file's path.
 * source  read while the reader lives.
 * reader  owned by the caller on OK: ist_trace_reader_free().
 * Returns OK, NO_MEMORY. Reads nothing yet. */
enum ist_status ist_trace_reader_new(const struct ist_alloc *alloc, const char *name,
                                     struct ist_source source, struct ist_trace_reader **reader);
void ist_trace_reader_free(struct ist_trace_reader *reader);

/* The next request. Its arrival may lie before its predecessor's: traces are taken as they are.
 * Returns OK; NOT_FOUND at the end; INVALID or NO_MEMORY, after which it returns the same for ever. */
enum ist_status ist_trace_reader_next(struct ist_trace_reader *reader,
                                      struct ist_trace_request *request);

/* After INVALID: one line that names the source, the line and the cause, such as
 * "trace.jsonl:17: hash_ids is missing". Borrowed from the reader. */
const char *ist_trace_reader_error(const struct ist_trace_reader *reader);

#endif

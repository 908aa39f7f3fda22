/* What `infinistore-bench` was asked to do. */
#ifndef IST_TOOLS_BENCH_OPTIONS_H
#define IST_TOOLS_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/transport.h"

enum ist_bench_op { IST_BENCH_PUT, IST_BENCH_GET, IST_BENCH_EXISTS, IST_BENCH_MATCH, IST_BENCH_REMOVE };
#define IST_BENCH_OPS 4u /* those that are measured; remove tidies up */

/* "put", "get", "exists", "match", "remove". Static storage. */
const char *ist_bench_op_name(enum ist_bench_op op);

enum ist_bench_verify { IST_BENCH_VERIFY_ALL, IST_BENCH_VERIFY_SAMPLE, IST_BENCH_VERIFY_NONE };
#define IST_BENCH_SAMPLE 16u /* one value of so many */

enum ist_bench_rival { IST_BENCH_NO_RIVAL, IST_BENCH_REDIS, IST_BENCH_MEMCACHED };

#define IST_BENCH_LIST_MAX 16
struct ist_bench_list {
    uint64_t items[IST_BENCH_LIST_MAX];
    size_t count; /* 0: not given */
};

#define IST_BENCH_CLIENTS_MAX 1024u
#define IST_BENCH_KEY_BYTES_MIN 48u
#define IST_BENCH_WORKING_SET_BYTES (512ull << 20) /* where the server has room for it */

struct ist_bench_options {
    const char *endpoint; /* borrowed from argv or the environment, as json_path */
    bool ops[IST_BENCH_OPS];
    struct ist_bench_list sizes, batches, clients, depths;
    uint64_t duration_ns;       /* of a measurement; its own requests only */
    uint64_t count;             /* requests of a measurement instead; 0: duration_ns decides */
    uint64_t working_set_bytes; /* 0: as the server's pool allows */
    uint64_t key_bytes, match_keys;
    uint64_t timeout_ns; /* of a request */
    struct ist_transport_options transport;
    enum ist_bench_verify verify;
    bool raw, perftest;
    const char *server_device; /* for perftest: NULL: the same as ours */
    enum ist_bench_rival rival;
    struct ist_bench_list pin, pin_peers; /* CPUs of our clients, of the servers that we start */
    const char *json_path;                /* NULL: none */
};

enum ist_bench_asked { IST_BENCH_RUN, IST_BENCH_HELP, IST_BENCH_VERSION, IST_BENCH_WRONG };

/* argv[0] is skipped. endpoint: of the environment, NULL or "": none.
 * options  written whatever the result; meaningful for RUN.
 * error    for WRONG: one line that names the option, NUL-terminated, cut at error_bytes. */
enum ist_bench_asked ist_bench_options_parse(int argc, char *const *argv, const char *endpoint,
                                             struct ist_bench_options *options, char *error,
                                             size_t error_bytes);

void ist_bench_options_help(FILE *out);

#endif

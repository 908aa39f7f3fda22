/* A server of another kind, started for the comparison: in memory only, on a free port of loopback or on a
 * socket of the same kind as ours, and stopped with us whatever happens. */
#ifndef IST_TOOLS_BENCH_RIVAL_H
#define IST_TOOLS_BENCH_RIVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "tools/bench_options.h"

struct ist_bench_rival_server;

/* Starts it, found by PATH, and waits until it accepts connections.
 * memory_bytes  of values that it will hold.
 * pin     its CPUs; borrowed for the call.
 * server  owned by the caller on OK.
 * error   IST_BENCH_ERROR_MAX bytes: one line for CONFIG (it is not installed) and PEER (it does not start). */
enum ist_status ist_bench_rival_new(enum ist_bench_rival kind, bool unix_socket, uint64_t memory_bytes,
                                    const struct ist_bench_list *pin,
                                    struct ist_bench_rival_server **server, char *error);
void ist_bench_rival_free(struct ist_bench_rival_server *server); /* NULL is legal */

/* As the peer's open() takes it; lives as long as the server. */
const char *ist_bench_rival_endpoint(const struct ist_bench_rival_server *server);

/* "redis", "memcached". Static storage. */
const char *ist_bench_rival_name(enum ist_bench_rival kind);

#endif

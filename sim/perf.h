/* How fast a cluster with a store would be: requests of a trace on prefill and decode nodes, in virtual time, without
 * payload bytes. The real store decides what is there and what goes; links, processors and GPUs are resources that
 * one does not get before the one in front of him is done.
 *
 * A request waits for a free prefill node, which asks the server how much of the prefix is there, gets that layer by
 * layer while it computes, and puts each layer as soon as it is computed. Its first token is there when the last
 * layer is computed. When all is stored a decode node gets all of it. Every block stands for its layers: they are put
 * and got together. */
#ifndef IST_SIM_PERF_H
#define IST_SIM_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/blocks.h"
#include "sim/hardware.h"
#include "tools/histogram.h"
#include "workload/model.h"

#define SIM_PERF_NODES_MAX 256u
#define SIM_PERF_SERVERS_MAX 32u

struct sim_perf_config {
    const struct ist_model *model;
    double node_flops; /* of a prefill node, as reached */
    unsigned prefills, decodes, servers;
    double pace;               /* 2: the trace at twice its speed */
    double link_bits_per_sec;  /* of each node and each server, each way */
    uint64_t link_latency_ns;  /* one way */
    double request_ns, key_ns; /* of the server's processor */
    double byte_ns;            /* the same for each byte: 0 over RDMA */
    uint64_t pool_bytes;       /* of all servers; 0: no store at all */
    const char *policy;        /* NULL: the store's usual one */
};

struct sim_perf_second { /* of the series: one step of it */
    uint64_t requests, blocks, hits;
    uint64_t ttft_sum_ns;
    uint64_t put_bytes, got_bytes; /* over the servers' links */
    uint64_t processor_ns;         /* of all servers */
};

struct sim_perf_figures {
    uint64_t requests, blocks, hits, evicted, decode_missing;
    uint64_t put_bytes, got_bytes;
    uint64_t duration_ns;
    struct ist_histogram ttft_ns, fetch_ns; /* fetch: a decode node gets a whole prompt */
    double
        put_overhead; /* of prefills: time until all is stored, behind the last layer's end, by compute */
    double load_overhead; /* of prefills that load: what they wait for bytes, by compute */
    double gpu_share;     /* busy, of the prefill nodes */
    double in_share, out_share, processor_share; /* of the servers, on average */
    double peak_in_share, peak_out_share;        /* in the busiest step of the series */
    double nodes_per_server;                     /* at 80% of what is scarce first */
    const char *scarce;                          /* what that is; static */
    struct sim_perf_second *series;              /* owned: sim_perf_figures_fini() */
    size_t steps;
    uint64_t step_ns;
};

void sim_perf_run(const struct sim_perf_config *config, const struct sim_blocks *blocks,
                  struct sim_perf_figures *figures);
void sim_perf_figures_fini(struct sim_perf_figures *figures);

/* What a block takes of a pool. */
uint64_t sim_perf_block_bytes(const struct ist_model *model);

/* `infinistore-sim perf ...`. Returns what to exit with. */
int sim_perf_command(int argc, char **argv);

#endif

/* Who asks for what: a source of operations, and what follows from their answers. */
#ifndef IST_SIM_TRAFFIC_H
#define IST_SIM_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#include "infinistore/limits.h"
#include "sim/blocks.h"
#include "sim/plan.h"
#include "wire/frame.h"
#include "workload/generator.h"
#include "workload/trace.h"

struct sim_job;
struct sim_node;
struct sim_operation;
struct sim_world;

/* An operation that is to be submitted. */
struct sim_spec {
    struct sim_spec *next;
    struct sim_job *job; /* NULL: of none */
    enum ist_operation kind;
    unsigned server;
    bool if_absent, whole_buffers; /* whole: as long as any value can be */
    size_t count;
    uint64_t keys[];
};
/* The keys are the caller's to write. */
struct sim_spec *sim_spec_new(enum ist_operation kind, unsigned server, size_t count);
void sim_spec_free(struct sim_spec *spec); /* NULL is legal */

struct sim_traffic {
    const struct sim_plan *plan;
    uint64_t *colliding; /* numbers whose keys collide */
    size_t colliding_count;
    struct ist_generator *generator;
    const struct sim_blocks *trace; /* NULL: none; borrowed */
    size_t trace_next;              /* its request */
    struct sim_job *first_job;
    struct sim_random tree;
    uint64_t **agents; /* the blocks of each */
    size_t *agent_blocks;
    uint64_t blocks; /* given out so far */
};

/* trace: for that workload; borrowed. */
void sim_traffic_init(struct sim_traffic *traffic, const struct sim_plan *plan,
                      const struct sim_blocks *trace);
void sim_traffic_fini(struct sim_traffic *traffic);

/* What the node does next. random: the operation's own. */
struct sim_spec *sim_traffic_next(struct sim_traffic *traffic, const struct sim_node *node,
                                  struct sim_random *random);
/* One of any kind on popular keys, whatever the workload. */
struct sim_spec *sim_traffic_any(struct sim_traffic *traffic, unsigned server,
                                 struct sim_random *random);
/* An operation of a job has ended, or was not accepted; matched: what its MATCH_PREFIX told. */
void sim_traffic_done(struct sim_world *world, struct sim_node *node, struct sim_job *job,
                      size_t matched);
/* The key of a number, which several numbers may share: use what sim_traffic_key() makes of it. */
uint64_t sim_traffic_key(const struct sim_traffic *traffic, uint64_t number);
size_t sim_traffic_write_key(const struct sim_traffic *traffic, uint64_t key,
                             uint8_t out[IST_KEY_BYTES_MAX]);

#endif

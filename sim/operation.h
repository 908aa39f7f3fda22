/* A request of a node with everything that it borrows, from its submit to the judgement of its answer. */
#ifndef IST_SIM_OPERATION_H
#define IST_SIM_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/request.h"
#include "sim/history.h"
#include "sim/traffic.h"
#include "workload/content.h"

struct sim_channel;
struct sim_world;

struct sim_operation {
    struct sim_operation *previous, *next; /* of the channel */
    struct sim_channel *channel;
    struct sim_spec *spec; /* owned */
    uint64_t number;       /* over all */
    struct sim_window window;
    uint64_t deadline_ns; /* by its node's clock; IST_NO_DEADLINE_NS: none */
    uint64_t ends_by_ns;  /* the same by the fabric's: jumps of its clock only make it earlier */
    enum ist_status status;
    uint32_t life; /* in which it was answered; 0: nobody answered */

    uint8_t *key_bytes; /* all of them */
    struct ist_key *keys;
    uint64_t *versions; /* PUT: what each writes; GET: what each got, as far as it is sure;
                        * REMOVE: the removal's number in the history */
    uint64_t purge;     /* the same of a PURGE */
    struct ist_put_item *puts;
    struct ist_get_item *gets;
    uint8_t *memory; /* all values, or all buffers */
    uint64_t memory_bytes;
    bool registered; /* for RDMA */
    bool *present;
    size_t matched;
    int64_t last;
    uint64_t purged;
    struct ist_metrics *metrics;
};

/* spec: transferred. request: owned by the caller on OK. Returns OK, NO_MEMORY (all is freed, the spec too). */
enum ist_status sim_operation_new(struct sim_world *world, struct sim_channel *channel,
                                  struct sim_spec *spec, uint64_t number, const struct ist_alloc *alloc,
                                  struct sim_operation **operation, struct ist_request **request);
void sim_operation_free(struct sim_operation *operation);

/* What a version of its ith key contains. The key's number stands for the key: it is shorter. */
struct ist_content sim_operation_content(const struct sim_operation *operation, size_t i,
                                         uint64_t version);

/* The longest buffer of a GET: what follows a value in it stays untouched. */
#define SIM_UNTOUCHED 0xa5u

#endif

/* A node of the inference cluster: the real client's exchange, one for each server, on the network's byte streams.
 * What it does between exchange and network is what src/client/connection.c does between exchange and socket. */
#ifndef IST_SIM_NODE_H
#define IST_SIM_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/exchange.h"
#include "client/link.h"
#include "sim/fabric.h"
#include "sim/memory.h"
#include "sim/network.h"
#include "sim/plan.h"

struct sim_node;
struct sim_operation;
struct sim_server;
struct sim_spec;
struct sim_world;

struct sim_channel {
    struct sim_node *node;
    struct sim_server *server;
    struct ist_exchange *exchange; /* NULL: no memory for one yet */
    struct sim_connection *connection;
    struct ist_link link;   /* the client's half of RDMA, which this run may have */
    bool tcp_only;          /* the last attempt over RDMA came to nothing */
    uint32_t life;          /* of the server at the other end; 0: not connected */
    struct sim_event wake;  /* deadlines, reconnecting, the next turn of a slow reader */
    uint64_t retry_ns;      /* not before that it connects again */
    uint64_t connect_by_ns; /* HELLO must be answered by then */
    uint64_t slow_until_ns;
    struct sim_operation *first; /* in flight */
    unsigned in_flight;
    uint64_t runs;
};

struct sim_node {
    struct sim_world *world;
    unsigned number;
    bool prefill;
    struct sim_memory memory;
    uint64_t ahead_ns;
    struct sim_random pace;
    struct sim_event next; /* it submits something */
    bool idle;             /* the last time it could submit nothing */
    struct sim_event memory_end;
    struct sim_spec *first_spec, *last_spec; /* what is to be submitted before anything new */
    struct sim_channel channels[SIM_SERVERS_MAX];
};

void sim_node_init(struct sim_node *node, struct sim_world *world, unsigned number, bool prefill);
/* What is in flight has ended. */
void sim_node_fini(struct sim_node *node);

/* It begins to submit, at its pace. */
void sim_node_start(struct sim_node *node);
/* Everything that it does is over, nobody hears how; and it begins again. */
void sim_node_crash(struct sim_node *node);
uint64_t sim_node_now_ns(const struct sim_node *node);
void sim_node_jump(struct sim_node *node, uint64_t by_ns);
/* Submitted behind what waits already. spec: transferred. */
void sim_node_push(struct sim_node *node, struct sim_spec *spec);
/* Now, whatever waits. Returns NULL when it was not accepted. spec: transferred. */
struct sim_operation *sim_node_submit(struct sim_node *node, struct sim_spec *spec);
unsigned sim_node_in_flight(const struct sim_node *node);
/* Everything that its channels have to do. */
void sim_channel_run(struct sim_channel *channel);

#endif

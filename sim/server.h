/* A server in the simulation: the real engine and the real store, on the network's byte streams. What it does between
 * engine and network is what src/daemon/tcp.c does between engine and sockets. */
#ifndef IST_SIM_SERVER_H
#define IST_SIM_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "engine/engine.h"
#include "sim/fabric.h"
#include "sim/holds.h"
#include "sim/memory.h"
#include "sim/network.h"
#include "sim/rdma.h"
#include "store/store.h"

struct sim_world;
struct sim_session;

/* What the user of an engine's session begins with, whatever carries it. */
struct sim_edge {
    void (*run)(struct sim_edge *edge);
};

struct sim_server {
    struct sim_world *world;
    unsigned number;
    struct sim_memory memory;
    struct ist_log log;
    struct sim_listener listener;
    struct ist_engine *engine; /* NULL: down */
    struct ist_store *store;
    uint8_t *pool;
    struct sim_holds holds; /* while it is up */
    struct sim_session *first;
    struct sim_rdma_host rdma;
    uint32_t life;
    uint64_t ahead_ns;           /* its clock, of the fabric's */
    struct sim_event tick;       /* the engine's deadline */
    struct sim_event growth;     /* the pool grows */
    struct sim_event restart;    /* while it is down; and the end of a drain that takes too long */
    struct sim_event memory_end; /* of a time in which allocations fail */
    bool draining;
    uint64_t calls, checked_calls; /* of the engine */
    uint64_t base_bytes;           /* of memory, when it had just started */
    uint64_t evicted_before;       /* entries, in earlier lives */
    uint8_t waste[4096];
};

void sim_server_init(struct sim_server *server, struct sim_world *world, unsigned number);
/* Down. */
void sim_server_fini(struct sim_server *server);

void sim_server_start(struct sim_server *server);
/* Everything in it is gone. abrupt: what was sent last may not arrive. */
void sim_server_stop(struct sim_server *server, bool abrupt);
void sim_server_drain(struct sim_server *server);
bool sim_server_is_up(const struct sim_server *server);
/* Up, and its pool has all its bytes. */
bool sim_server_is_whole(const struct sim_server *server);

/* What it evicted in this life. */
uint64_t sim_server_evicted(const struct sim_server *server);
uint64_t sim_server_now_ns(const struct sim_server *server);
/* Its clock jumps forward. */
void sim_server_jump(struct sim_server *server, uint64_t by_ns);
size_t sim_server_sessions(const struct sim_server *server);
/* Devices have something to tell. */
void sim_server_poll(struct sim_server *server);
/* For rdma.c: the engine was called; a connection, which this owner asked for, has ended. */
void sim_server_called(struct sim_server *server);
void sim_server_rdma_ended(void *owner);
/* Invariants of all of it. */
void sim_server_check(struct sim_server *server);

#endif

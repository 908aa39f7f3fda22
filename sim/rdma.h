/* The verbs rig: the real src/verbs and the engine's transfers over the software HCA, in the fabric's time. What the
 * server's side does between engine and queue pairs is what src/daemon/rdma*.c does, without threads and a loop; the
 * client's side is the real src/client/link.c. */
#ifndef IST_SIM_RDMA_H
#define IST_SIM_RDMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/fabric.h"
#include "sim/random.h"
#include "verbs/memory.h"

struct ist_completion;
struct ist_device;
struct ist_endpoint;
struct ist_hca;
struct sim_rdma_connection;
struct sim_server;
struct sim_world;

/* Of the world. */
struct sim_rdma_fabric {
    struct ist_hca *hca; /* NULL: there is no RDMA in this run */
    struct sim_event pump;
};

void sim_rdma_init(struct sim_world *world);
/* Everything on it is closed. */
void sim_rdma_fini(struct sim_world *world);
/* The HCA's time comes up to the fabric's: before anything is posted. */
void sim_rdma_sync(struct sim_world *world);
/* The HCA's next event will happen: after anything was posted. */
void sim_rdma_arm(struct sim_world *world);

#define SIM_RDMA_NAME_BYTES 16u
void sim_rdma_device_name(bool is_server, unsigned number, char name[SIM_RDMA_NAME_BYTES]);

/* Something goes wrong with a device or a queue pair; what, is the random's matter. */
void sim_rdma_hurt(struct sim_world *world, struct sim_random *random);
void sim_rdma_heal(struct sim_world *world);

/* Of a server. */
struct sim_rdma_host {
    struct sim_server *server;
    struct ist_device *device; /* NULL: it has no RDMA in this life */
    struct ist_completion *completion;
    struct ist_region region; /* the pool */
    struct sim_rdma_connection *first;
    bool is_down, is_dead;
    struct sim_event linger;
};

/* Those that end, and may still hold blocks, as well. */
size_t sim_rdma_connections(const struct sim_rdma_host *host);
/* Requests that were posted, of all connections, and are not known to be over. */
uint64_t sim_rdma_outstanding(const struct sim_rdma_host *host);
/* When the server starts; without a device, or memory for it, it goes on over TCP. */
void sim_rdma_open(struct sim_rdma_host *host, struct sim_server *server);
/* All connections end at once. */
void sim_rdma_close(struct sim_rdma_host *host);
/* What has completed, and what the device tells. */
void sim_rdma_poll(struct sim_rdma_host *host);
/* A session over TCP asks for a queue pair; owner: it. Returns it, or NULL; own: the answer. */
struct sim_rdma_connection *sim_rdma_connect(struct sim_rdma_host *host, void *owner, uint64_t id,
                                             const struct ist_endpoint *peer, struct ist_endpoint *own);
/* The owner is gone. */
void sim_rdma_disconnect(struct sim_rdma_connection *connection);

#endif

/* A client of an order, and the edge of its session: for the files of the rig only. */
#ifndef IST_SIM_ORDER_CLIENT_H
#define IST_SIM_ORDER_CLIENT_H

#include "sim/order_rig.h"

#define SIM_ORDER_POSTED_MAX 16u
#define SIM_ORDER_MESSAGE_BYTES 256u
#define SIM_ORDER_IN_BYTES 4096u
#define SIM_ORDER_RKEY 0x1000u
#define SIM_ORDER_AREA_BYTES (SIM_ORDER_OPERATIONS_MAX * SIM_ORDER_KEYS * SIM_ORDER_VALUE_BYTES_MAX)

/* Of the value of one key of one request, in the client's memory. */
static inline uint64_t sim_order_place(unsigned operation, unsigned key) {
    return ((uint64_t)operation * SIM_ORDER_KEYS + key) * SIM_ORDER_VALUE_BYTES_MAX;
}
static inline uint64_t sim_order_address(unsigned client, unsigned operation, unsigned key) {
    return ((client + 1ull) << 20) + sim_order_place(operation, key);
}

enum sim_order_posted_kind { SIM_ORDER_READ, SIM_ORDER_WRITE, SIM_ORDER_MESSAGE };

/* No padding, here and below: clients are compared by their memory. */
struct sim_order_posted {
    uint64_t offset, place; /* in the pool, and in the client's memory */
    uint32_t kind, bytes;
    uint8_t message[SIM_ORDER_MESSAGE_BYTES];
};

struct sim_order_client {
    struct ist_session *session; /* NULL: closed */
    uint32_t next, arrived;      /* the operation whose bytes arrive next; how many have */
    uint32_t is_cut;             /* the queue pair is broken, the session not yet closed */
    uint32_t sent_pieces;        /* of what is queued, since all of it had left */
    uint32_t posted_count, in_bytes;
    struct sim_order_posted posted[SIM_ORDER_POSTED_MAX];
    uint8_t memory[SIM_ORDER_AREA_BYTES];
    uint8_t in[SIM_ORDER_IN_BYTES]; /* of replies that are not yet whole */
};

static inline const struct sim_order_program *sim_order_program_of(const struct sim_order_rig *rig,
                                                                   unsigned client) {
    return &rig->script->of.programs[client];
}

/* All of it arrives at the session. */
void sim_order_deliver(struct sim_order_rig *rig, struct ist_session *session, const uint8_t *data,
                       size_t count);
/* What is queued leaves: all, or some. Returns the bytes; room for SIM_ORDER_IN_BYTES. */
size_t sim_order_take(struct sim_order_rig *rig, struct ist_session *session, bool some, uint8_t *out);

/* One event each. */
void sim_order_client_arrive(struct sim_order_rig *rig, unsigned client, enum sim_order_step step);
void sim_order_client_send(struct sim_order_rig *rig, unsigned client, bool some);
void sim_order_client_work(struct sim_order_rig *rig, unsigned client);
void sim_order_client_complete(struct sim_order_rig *rig, unsigned client);
void sim_order_client_cut(struct sim_order_rig *rig, unsigned client);
void sim_order_client_land(struct sim_order_rig *rig, unsigned client);
void sim_order_client_bury(struct sim_order_rig *rig, unsigned client);
/* Is there something that it may not wait for without end? */
bool sim_order_client_waits(const struct sim_order_client *client);
bool sim_order_client_has_work(const struct sim_order_client *client);

#endif

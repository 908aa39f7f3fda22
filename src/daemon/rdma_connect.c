#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/clock.h"
#include "daemon/rdma_state.h"
#include "engine/session.h"
#include "wire/codec.h"

#define UINT24_MAX 0xffffffu

static enum ist_status make_queue_pair(struct ist_rdma_connection *connection,
                                       const struct ist_queue_pair_end *peer) {
    struct ist_queue_pair_config config = {.completion = connection->rdma->completion,
                                           .peer = peer->gid,
                                           .user = connection,
                                           .session = connection->id};
    /* Old packets of another connection with the same numbers must not fit; any number will do. */
    if (getrandom(&config.packet_number, sizeof(config.packet_number), 0) !=
        sizeof(config.packet_number)) {
        config.packet_number = peer->packet_number ^ peer->number;
    }
    config.packet_number &= UINT24_MAX;
    return ist_queue_pair_new(&config, &connection->queue_pair);
}

/* Everything but the connection itself, which is the connector's work. */
static enum ist_status make(struct ist_rdma *rdma, uint64_t id, struct ist_rdma_connection *new) {
    enum ist_status status = make_queue_pair(new, &new->job.peer);
    if (status != IST_OK) {
        return status;
    }
    status = ist_session_open_rdma(rdma->config.engine, id, &new->edge, ist_clock_ns(), &new->session);
    if (status != IST_OK) {
        goto no_session;
    }
    if (!ev_is_active(&rdma->low)) {
        ist_completion_watch(rdma->completion); /* with this one */
    }
    new->job.queue_pair = new->queue_pair;
    new->is_connecting = true;
    status = ist_connector_add(rdma->connector, &new->job);
    if (status != IST_OK) {
        goto no_job;
    }
    return IST_OK;

no_job:
    ist_session_close(new->session);
no_session:
    ist_queue_pair_free(new->queue_pair);
    return status;
}

enum ist_status ist_rdma_connect(struct ist_rdma *rdma, void *owner, uint64_t id,
                                 const struct ist_endpoint *peer,
                                 struct ist_rdma_connection **connection) {
    if (rdma->is_down || rdma->is_dead || !ist_registration_is_whole(rdma->config.registration)) {
        return IST_DEVICE;
    }
    if (!ist_queue_pair_end_is_valid(rdma->config.device, &peer->end)) {
        return IST_INVALID;
    }
    struct ist_rdma_connection *new = ist_allocate_zeroed(rdma->config.alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->edge.run = ist_rdma_run_edge;
    new->rdma = rdma;
    new->owner = owner;
    new->id = id;
    new->job.peer = peer->end;
    enum ist_status status = make(rdma, id, new);
    if (status != IST_OK) {
        ist_release(rdma->config.alloc, new);
        return status;
    }
    new->next = rdma->first;
    if (rdma->first != NULL) {
        rdma->first->prev = new;
    }
    rdma->first = new;
    rdma->count++;
    *connection = new;
    return IST_OK;
}

static struct ist_rdma_connection *connection_of(struct ist_connector_job *job) {
    return (struct ist_rdma_connection *)((char *)job - offsetof(struct ist_rdma_connection, job));
}

/* Exactly one answer to each CONNECT, unless who asked is gone. What it does may end the connection. */
void ist_rdma_settle(void *context, struct ist_connector_job *job) {
    struct ist_rdma *rdma = context;
    struct ist_rdma_connection *connection = connection_of(job);
    void *owner = connection->owner;
    struct ist_endpoint own = {.status = connection->is_broken ? IST_DEVICE : job->status};
    connection->is_connecting = false;
    if (own.status == IST_OK) {
        ist_queue_pair_reached(connection->queue_pair, &job->peer);
        ist_queue_pair_end(connection->queue_pair, &own.end);
        ist_rdma_mark(connection); /* for what has come meanwhile */
    } else {
        connection->owner = NULL; /* this answer is all that it hears */
        connection->is_broken = false;
        ist_rdma_break(connection); /* now that it can be */
    }
    if (owner != NULL) {
        rdma->config.connected(owner, &own);
    }
    ist_rdma_run_pending(rdma, ist_clock_ns());
}

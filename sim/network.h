/* Byte streams between clients and servers, on a fabric: what one end writes arrives at the other, in order, after a
 * time and in pieces that chance decides. A connection can be cut, silenced (both ends believe it alive) and delayed.
 *
 * An end is told by its `ready` that there may be something to do: bytes to read, room to write, or the end.
 * That is always an event of its own, never in a call of that end. */
#ifndef IST_SIM_NETWORK_H
#define IST_SIM_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/fabric.h"
#include "sim/random.h"

#define SIM_NETWORK_SEGMENTS_MAX 256u /* on their way at a time, in one direction */

enum sim_side { SIM_CLIENT, SIM_SERVER };

struct sim_network_config {
    uint64_t delay_ns, jitter_ns;
    uint64_t bytes_per_us;   /* of one direction of a connection */
    size_t window_bytes;     /* written and not yet read */
    unsigned split_permille; /* that a write is cut into pieces, each with a time of its own */
};

struct sim_connection;

/* Whoever takes connections. */
struct sim_listener {
    /* False: refused. The connection belongs to the acceptor's end until that closes it. */
    bool (*accept)(void *owner, struct sim_connection *connection);
    void *owner;
};

struct sim_network {
    struct sim_network_config config;
    struct sim_fabric *fabric;
    struct sim_random random;
    struct sim_connection *first;
    size_t count;
    uint64_t made, bytes_carried;
};

void sim_network_init(struct sim_network *network, const struct sim_network_config *config,
                      struct sim_fabric *fabric, uint64_t seed);
/* Every end has been closed. */
void sim_network_fini(struct sim_network *network);

/* The client's end is there at once, the server's after a delay, or the client learns that it was refused. Closed by
 * sim_connection_close(), each end for itself. */
struct sim_connection *sim_network_connect(struct sim_network *network,
                                           const struct sim_listener *listener,
                                           void (*ready)(void *owner), void *owner);

/* The same for the server's end, in accept. */
void sim_connection_own(struct sim_connection *connection, void (*ready)(void *owner), void *owner);
uint64_t sim_connection_number(const struct sim_connection *connection); /* from 1 */

/* How many bytes were taken: fewer than `bytes` when the window is full; `ready` tells when there is room. What is
 * written to a connection that is dead goes nowhere. */
size_t sim_connection_write(struct sim_connection *connection, enum sim_side side, const void *data,
                            size_t bytes);
size_t sim_connection_readable(const struct sim_connection *connection, enum sim_side side);
/* bytes: at most those readable. */
void sim_connection_read(struct sim_connection *connection, enum sim_side side, void *data,
                         size_t bytes);
/* Everything was read and nothing comes any more, or the connection is known to be dead. */
bool sim_connection_ended(const struct sim_connection *connection, enum sim_side side);
/* What it wrote still arrives, unless abrupt. It is told nothing any more. */
void sim_connection_close(struct sim_connection *connection, enum sim_side side, bool abrupt);

/* Faults. What is on its way is lost in both. A cut is known at both ends after a delay; silence at each after a time
 * of its own, at most `most_ns`. */
void sim_connection_cut(struct sim_connection *connection);
void sim_connection_silence(struct sim_connection *connection, uint64_t most_ns);
/* Nothing arrives before then, either way. */
void sim_connection_stall(struct sim_connection *connection, uint64_t until_ns);
/* The nth that is there; NULL: not so many. */
struct sim_connection *sim_network_nth(const struct sim_network *network, size_t n);
/* Ends of silent connections learn of it now. */
void sim_network_heal(struct sim_network *network);

#endif

#include "sim/network.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/memory.h"

#define SEGMENTS_MAX SIM_NETWORK_SEGMENTS_MAX
#define PIECES_MAX 4u

struct segment {
    uint64_t end; /* of its bytes, counted from the stream's begin */
    uint64_t at_ns;
};

/* One direction. */
struct stream {
    uint8_t *ring;
    uint64_t written, arrived, read;
    struct segment segments[SEGMENTS_MAX]; /* a ring: not arrived, in order */
    unsigned first_segment, segment_count;
    struct sim_event arrival;
    uint64_t busy_until_ns, stalled_until_ns, last_at_ns;
    uint64_t end_at_ns; /* the writer has closed; SIM_NEVER_NS: not */
};

struct end {
    struct sim_connection *connection;
    enum sim_side side;
    void (*ready)(void *owner);
    void *owner;
    struct sim_event wake;   /* calls ready */
    struct sim_event notice; /* it learns that the connection is dead */
    bool closed, knows;      /* knows: that it is dead */
    bool blocked;            /* a write found too little room */
};

struct sim_connection {
    struct sim_network *network;
    struct sim_connection *previous, *next;
    const struct sim_listener *listener;
    struct sim_event accept;
    uint64_t number;
    struct stream streams[2]; /* by the side that reads */
    struct end ends[2];
    bool dead, silent;
};

void sim_network_init(struct sim_network *network, const struct sim_network_config *config,
                      struct sim_fabric *fabric, uint64_t seed) {
    *network = (struct sim_network){
        .config = *config,
        .fabric = fabric,
        .random = sim_random_stream(seed, SIM_STREAM_NETWORK, 0),
    };
}

void sim_network_fini(struct sim_network *network) {
    IST_ASSERT(network->first == NULL && network->count == 0);
}

static enum sim_side other(enum sim_side side) {
    return side == SIM_CLIENT ? SIM_SERVER : SIM_CLIENT;
}

static uint64_t now_of(const struct sim_connection *connection) {
    return sim_fabric_now_ns(connection->network->fabric);
}

static uint64_t delay_of(struct sim_connection *connection) {
    struct sim_network *network = connection->network;
    return network->config.delay_ns + sim_random_below(&network->random, network->config.jitter_ns + 1);
}

static void wake(struct end *end, uint64_t at_ns) {
    if (!end->closed && end->ready != NULL) {
        sim_event_by(end->connection->network->fabric, &end->wake, at_ns);
    }
}

/* ---- events -------------------------------------------------------------------------------------------- */

static void run_wake(void *subject) {
    const struct end *end = subject;
    end->ready(end->owner);
}

static void run_notice(void *subject) {
    struct end *end = subject;
    end->knows = true;
    end->ready(end->owner);
}

static struct stream *stream_to(struct sim_connection *connection, enum sim_side reader) {
    return &connection->streams[reader];
}

static void schedule_arrival(struct sim_connection *connection, struct stream *stream) {
    uint64_t at_ns =
        stream->segment_count > 0 ? stream->segments[stream->first_segment].at_ns : stream->end_at_ns;
    if (at_ns != SIM_NEVER_NS && at_ns < stream->stalled_until_ns) {
        at_ns = stream->stalled_until_ns;
    }
    sim_event_at(connection->network->fabric, &stream->arrival, at_ns);
}

static void arrive(struct sim_connection *connection, enum sim_side reader) {
    struct stream *stream = stream_to(connection, reader);
    uint64_t now_ns = now_of(connection);
    while (stream->segment_count > 0 && stream->segments[stream->first_segment].at_ns <= now_ns) {
        stream->arrived = stream->segments[stream->first_segment].end;
        stream->first_segment = (stream->first_segment + 1) % SEGMENTS_MAX;
        stream->segment_count--;
    }
    if (stream->segment_count > 0 || stream->end_at_ns > now_ns) {
        schedule_arrival(connection, stream);
    }
    struct end *writer = &connection->ends[other(reader)];
    if (writer->blocked) {
        wake(writer, now_ns + connection->network->config.delay_ns);
    }
    wake(&connection->ends[reader], now_ns);
}

static void run_arrival_at_client(void *subject) {
    arrive(subject, SIM_CLIENT);
}

static void run_arrival_at_server(void *subject) {
    arrive(subject, SIM_SERVER);
}

static void die(struct sim_connection *connection, uint64_t most_ns);

static void run_accept(void *subject) {
    struct sim_connection *connection = subject;
    if (!connection->listener->accept(connection->listener->owner, connection)) {
        connection->ends[SIM_SERVER].closed = true;
        die(connection, 0);
    }
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void init_end(struct sim_connection *connection, enum sim_side side) {
    struct end *end = &connection->ends[side];
    *end = (struct end){.connection = connection, .side = side};
    sim_event_init(&end->wake, run_wake, end);
    sim_event_init(&end->notice, run_notice, end);
    struct stream *stream = stream_to(connection, side);
    *stream = (struct stream){
        .ring = sim_memory_raw(connection->network->config.window_bytes),
        .end_at_ns = SIM_NEVER_NS,
    };
    sim_event_init(&stream->arrival, side == SIM_CLIENT ? run_arrival_at_client : run_arrival_at_server,
                   connection);
}

struct sim_connection *sim_network_connect(struct sim_network *network,
                                           const struct sim_listener *listener,
                                           void (*ready)(void *owner), void *owner) {
    struct sim_connection *connection = sim_memory_new(1, sizeof(*connection));
    connection->network = network;
    connection->listener = listener;
    connection->number = ++network->made;
    init_end(connection, SIM_CLIENT);
    init_end(connection, SIM_SERVER);
    connection->ends[SIM_CLIENT].ready = ready;
    connection->ends[SIM_CLIENT].owner = owner;
    connection->next = network->first;
    if (network->first != NULL) {
        network->first->previous = connection;
    }
    network->first = connection;
    network->count++;
    sim_event_init(&connection->accept, run_accept, connection);
    sim_event_at(network->fabric, &connection->accept, now_of(connection) + delay_of(connection));
    return connection;
}

void sim_connection_own(struct sim_connection *connection, void (*ready)(void *owner), void *owner) {
    connection->ends[SIM_SERVER].ready = ready;
    connection->ends[SIM_SERVER].owner = owner;
}

uint64_t sim_connection_number(const struct sim_connection *connection) {
    return connection->number;
}

static void free_connection(struct sim_connection *connection) {
    struct sim_network *network = connection->network;
    sim_event_cancel(network->fabric, &connection->accept);
    for (unsigned side = 0; side < 2; side++) {
        sim_event_cancel(network->fabric, &connection->ends[side].wake);
        sim_event_cancel(network->fabric, &connection->ends[side].notice);
        sim_event_cancel(network->fabric, &connection->streams[side].arrival);
        free(connection->streams[side].ring);
    }
    *(connection->previous == NULL ? &network->first : &connection->previous->next) = connection->next;
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    network->count--;
    free(connection);
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static void copy_in(struct stream *stream, size_t room, const uint8_t *data, size_t bytes) {
    size_t at = (size_t)(stream->written % room), first = bytes < room - at ? bytes : room - at;
    memcpy(stream->ring + at, data, first);
    memcpy(stream->ring, data + first, bytes - first);
}

static void add_segment(struct sim_connection *connection, struct stream *stream, uint64_t bytes) {
    const struct sim_network_config *config = &connection->network->config;
    uint64_t now_ns = now_of(connection);
    uint64_t begin_ns = stream->busy_until_ns > now_ns ? stream->busy_until_ns : now_ns;
    stream->busy_until_ns = begin_ns + bytes * 1000 / config->bytes_per_us;
    uint64_t at_ns = stream->busy_until_ns + delay_of(connection);
    stream->last_at_ns = at_ns > stream->last_at_ns ? at_ns : stream->last_at_ns;
    stream->written += bytes;
    unsigned last = (stream->first_segment + stream->segment_count) % SEGMENTS_MAX;
    stream->segments[last] = (struct segment){stream->written, stream->last_at_ns};
    stream->segment_count++;
}

static void send_pieces(struct sim_connection *connection, struct stream *stream, uint64_t bytes) {
    struct sim_network *network = connection->network;
    unsigned pieces = sim_random_happens(&network->random, network->config.split_permille)
                          ? 1 + (unsigned)sim_random_below(&network->random, PIECES_MAX)
                          : 1;
    for (; pieces > 1 && bytes > 1 && stream->segment_count + 1 < SEGMENTS_MAX; pieces--) {
        uint64_t piece = sim_random_happens(&network->random, 300)
                             ? 1
                             : sim_random_between(&network->random, 1, bytes - 1);
        add_segment(connection, stream, piece);
        bytes -= piece;
    }
    add_segment(connection, stream, bytes);
}

size_t sim_connection_write(struct sim_connection *connection, enum sim_side side, const void *data,
                            size_t bytes) {
    struct stream *stream = stream_to(connection, other(side));
    struct end *end = &connection->ends[side];
    size_t window = connection->network->config.window_bytes;
    size_t room = window - (size_t)(stream->written - stream->read);
    size_t taken = bytes < room ? bytes : room;
    if (stream->segment_count == SEGMENTS_MAX) {
        taken = 0;
    }
    end->blocked = taken < bytes;
    if (taken == 0) {
        return 0;
    }
    copy_in(stream, window, data, taken);
    if (connection->dead || connection->silent || connection->ends[other(side)].closed) {
        stream->written += taken; /* nobody will ever read it */
        return taken;
    }
    connection->network->bytes_carried += taken;
    send_pieces(connection, stream, taken);
    if (!hca_event_is_scheduled(&stream->arrival.event)) {
        schedule_arrival(connection, stream);
    }
    return taken;
}

size_t sim_connection_readable(const struct sim_connection *connection, enum sim_side side) {
    const struct stream *stream = &connection->streams[side];
    return connection->ends[side].knows ? 0 : (size_t)(stream->arrived - stream->read);
}

void sim_connection_read(struct sim_connection *connection, enum sim_side side, void *data,
                         size_t bytes) {
    struct stream *stream = stream_to(connection, side);
    size_t room = connection->network->config.window_bytes;
    IST_ASSERT(bytes <= sim_connection_readable(connection, side));
    size_t at = (size_t)(stream->read % room), first = bytes < room - at ? bytes : room - at;
    memcpy(data, stream->ring + at, first);
    memcpy((uint8_t *)data + first, stream->ring, bytes - first);
    stream->read += bytes;
    struct end *writer = &connection->ends[other(side)];
    if (writer->blocked) {
        wake(writer, now_of(connection) + connection->network->config.delay_ns);
    }
}

bool sim_connection_ended(const struct sim_connection *connection, enum sim_side side) {
    const struct stream *stream = &connection->streams[side];
    return connection->ends[side].knows ||
           (stream->end_at_ns <= now_of(connection) && stream->read == stream->arrived &&
            stream->segment_count == 0 && !hca_event_is_scheduled(&stream->arrival.event));
}

/* ---- ends and faults ----------------------------------------------------------------------------------- */

static void drop_flying(struct sim_connection *connection, struct stream *stream) {
    stream->segment_count = 0;
    sim_event_cancel(connection->network->fabric, &stream->arrival);
}

/* Both ends that are there learn of it within this time. */
static void die(struct sim_connection *connection, uint64_t most_ns) {
    struct sim_network *network = connection->network;
    connection->dead = true;
    if (hca_event_is_scheduled(&connection->accept.event)) {
        sim_event_cancel(network->fabric, &connection->accept);
        connection->ends[SIM_SERVER].closed = true; /* it never gets there */
    }
    for (unsigned side = 0; side < 2; side++) {
        struct end *end = &connection->ends[side];
        drop_flying(connection, &connection->streams[side]);
        if (!end->closed && end->ready != NULL) {
            uint64_t later_ns = delay_of(connection);
            later_ns += most_ns == 0 ? 0 : sim_random_below(&network->random, most_ns);
            sim_event_by(network->fabric, &end->notice, now_of(connection) + later_ns);
        }
    }
}

void sim_connection_close(struct sim_connection *connection, enum sim_side side, bool abrupt) {
    struct end *end = &connection->ends[side], *peer = &connection->ends[other(side)];
    IST_ASSERT(!end->closed);
    end->closed = true;
    sim_event_cancel(connection->network->fabric, &end->wake);
    sim_event_cancel(connection->network->fabric, &end->notice);
    drop_flying(connection, stream_to(connection, side));
    bool arriving = hca_event_is_scheduled(&connection->accept.event);
    if (peer->closed || (side == SIM_CLIENT && arriving)) {
        free_connection(connection);
    } else if (connection->silent) {
        /* The peer will find out by itself. */
    } else if (abrupt) {
        die(connection, 0);
    } else if (!connection->dead) {
        struct stream *stream = stream_to(connection, other(side));
        uint64_t at_ns = now_of(connection) + delay_of(connection);
        stream->end_at_ns = at_ns > stream->last_at_ns ? at_ns : stream->last_at_ns;
        if (!hca_event_is_scheduled(&stream->arrival.event)) {
            schedule_arrival(connection, stream);
        }
    }
}

void sim_connection_cut(struct sim_connection *connection) {
    if (!connection->dead) {
        die(connection, 0);
    }
}

void sim_connection_silence(struct sim_connection *connection, uint64_t most_ns) {
    if (!connection->dead) {
        connection->silent = true;
        die(connection, most_ns);
    }
}

void sim_connection_stall(struct sim_connection *connection, uint64_t until_ns) {
    for (unsigned side = 0; side < 2 && !connection->dead; side++) {
        struct stream *stream = &connection->streams[side];
        stream->stalled_until_ns =
            until_ns > stream->stalled_until_ns ? until_ns : stream->stalled_until_ns;
        if (hca_event_is_scheduled(&stream->arrival.event)) {
            schedule_arrival(connection, stream);
        }
    }
}

struct sim_connection *sim_network_nth(const struct sim_network *network, size_t n) {
    struct sim_connection *connection = network->first;
    while (connection != NULL && n-- > 0) {
        connection = connection->next;
    }
    return connection;
}

void sim_network_heal(struct sim_network *network) {
    for (struct sim_connection *connection = network->first; connection != NULL;
         connection = connection->next) {
        if (connection->silent) {
            die(connection, 0);
        }
    }
}

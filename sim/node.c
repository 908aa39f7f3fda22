#include "sim/node.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "base/assert.h"
#include "sim/canary.h"
#include "sim/checker.h"
#include "sim/operation.h"
#include "sim/server.h"
#include "sim/world.h"

#define BUFFERS_MAX 64u
#define SLOW_BYTES_MAX 200u
#define SLOW_TURN_NS (2 * SIM_MS)
#define HANDSHAKE_NS (5 * SIM_SEC)
#define IDLE_NS                                                                                        \
    (20 * SIM_MS) /* a node that can submit nothing looks again, unless something happens before */
#define CHECK_EVERY 16u
#define RETRY_NS_MIN (100 * SIM_US)
#define RETRY_NS_MAX (50 * SIM_MS)

uint64_t sim_node_now_ns(const struct sim_node *node) {
    return sim_fabric_now_ns(&node->world->fabric) + node->ahead_ns;
}

static uint64_t fabric_now_ns(const struct sim_channel *channel) {
    return sim_fabric_now_ns(&channel->node->world->fabric);
}

static void note(struct sim_channel *channel, enum sim_note note) {
    sim_journal_note(&channel->node->world->journal, note, channel->node->number,
                     channel->server->number, sim_connection_number(channel->connection), 0, 0);
}

/* ---- answers ------------------------------------------------------------------------------------------- */

static void unlink_operation(struct sim_channel *channel, struct sim_operation *operation) {
    *(operation->previous == NULL ? &channel->first : &operation->previous->next) = operation->next;
    if (operation->next != NULL) {
        operation->next->previous = operation->previous;
    }
    channel->in_flight--;
}

/* There is something to submit, or room for it. */
static void stir(struct sim_node *node) {
    if (node->idle) {
        node->idle = false;
        sim_event_by(&node->world->fabric, &node->next, sim_fabric_now_ns(&node->world->fabric));
    }
}

static void finish(struct sim_channel *channel, struct sim_operation *operation) {
    struct sim_world *world = channel->node->world;
    unlink_operation(channel, operation);
    sim_checker_judge(world, operation);
    if (world->coda != NULL) {
        sim_coda_done(world->coda, operation);
    }
    if (operation->spec->job != NULL) {
        sim_traffic_done(world, channel->node, operation->spec->job,
                         operation->status == IST_OK ? operation->matched : 0);
    }
    sim_operation_free(operation);
    stir(channel->node);
}

static void reap(struct sim_channel *channel) {
    uint64_t incarnation = ist_exchange_incarnation(channel->exchange);
    struct ist_request *request;
    if (incarnation != 0) {
        channel->life = (uint32_t)incarnation;
    }
    while ((request = ist_exchange_next_done(channel->exchange)) != NULL) {
        struct sim_operation *operation = request->arg;
        operation->status = request->status;
        operation->window.end_ns = fabric_now_ns(channel);
        operation->life =
            request->status == IST_PEER || request->status == IST_TIMEOUT ? 0 : channel->life;
        ist_exchange_release(channel->exchange, request);
        channel->node->world->operations_remote += ist_exchange_is_remote(channel->exchange);
        finish(channel, operation);
    }
}

/* ---- the connection ------------------------------------------------------------------------------------ */

static void on_ready(void *owner) {
    sim_channel_run(owner);
}

/* Memory is remembered for the next one, if there is a next one. */
static void drop_dead_device(struct sim_channel *channel) {
    if (channel->link.device_failed && channel->link.queue_pair == NULL) {
        ist_link_drop_device(&channel->link);
    }
}

static void lose(struct sim_channel *channel, enum ist_status status, bool abrupt) {
    struct sim_node *node = channel->node;
    note(channel, SIM_NOTE_LOST);
    channel->tcp_only = ist_exchange_incarnation(channel->exchange) == 0;
    ist_link_close(&channel->link); /* from now on nothing of the server touches our memory */
    drop_dead_device(channel);
    sim_connection_close(channel->connection, SIM_CLIENT, abrupt);
    channel->connection = NULL;
    ist_exchange_end(channel->exchange, status);
    reap(channel);
    channel->life = 0;
    channel->retry_ns =
        fabric_now_ns(channel) + sim_random_between(&node->pace, RETRY_NS_MIN, RETRY_NS_MAX);
}

static void open_channel(struct sim_channel *channel) {
    struct sim_node *node = channel->node;
    if (channel->exchange == NULL &&
        ist_exchange_new(&node->memory.alloc, &channel->exchange) != IST_OK) {
        channel->retry_ns = fabric_now_ns(channel) + RETRY_NS_MAX;
        return;
    }
    channel->connection =
        sim_network_connect(&node->world->network, &channel->server->listener, on_ready, channel);
    channel->connect_by_ns = fabric_now_ns(channel) + HANDSHAKE_NS;
    note(channel, SIM_NOTE_CONNECT);
    ist_exchange_begin(channel->exchange, node->world->plan.rdma);
}

static size_t readable_now(const struct sim_channel *channel) {
    size_t readable = sim_connection_readable(channel->connection, SIM_CLIENT);
    bool slow = fabric_now_ns(channel) < channel->slow_until_ns;
    return slow && readable > SLOW_BYTES_MAX ? SLOW_BYTES_MAX : readable;
}

/* False: nothing more now. */
static bool receive(struct sim_channel *channel, size_t most) {
    const struct sim_plan *plan = &channel->node->world->plan;
    struct iovec buffers[BUFFERS_MAX];
    if (most == 0) {
        return false;
    }
    size_t count = ist_exchange_recv_buffers(channel->exchange, buffers, plan->buffers_max), moved = 0;
    size_t left = most < plan->call_bytes_max ? most : plan->call_bytes_max;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t part = buffers[i].iov_len < left ? buffers[i].iov_len : left;
        sim_connection_read(channel->connection, SIM_CLIENT, buffers[i].iov_base, part);
        moved += part;
        left -= part;
    }
    if (moved == 0) {
        return false;
    }
    ist_exchange_received(channel->exchange, moved);
    reap(channel);
    return ist_exchange_fault(channel->exchange) == IST_OK &&
           fabric_now_ns(channel) >= channel->slow_until_ns;
}

static void receive_all(struct sim_channel *channel) {
    ist_link_take_events(&channel->link);
    drop_dead_device(channel);
    while (ist_exchange_is_remote(channel->exchange) &&
           ist_link_run(&channel->link, channel->exchange)) {
        reap(channel);
    }
    while (receive(channel, readable_now(channel))) {
    }
}

static void send_all(struct sim_channel *channel) {
    const struct sim_plan *plan = &channel->node->world->plan;
    bool blocked = false;
    while (!blocked && ist_exchange_wants_send(channel->exchange)) {
        struct iovec buffers[BUFFERS_MAX];
        size_t count = ist_exchange_send_buffers(channel->exchange, buffers, plan->buffers_max);
        size_t moved = 0, left = plan->call_bytes_max;
        for (size_t i = 0; i < count && left > 0 && !blocked; i++) {
            size_t part = buffers[i].iov_len < left ? buffers[i].iov_len : left;
            size_t taken =
                sim_connection_write(channel->connection, SIM_CLIENT, buffers[i].iov_base, part);
            blocked = taken < part;
            moved += taken;
            left -= taken;
        }
        if (moved > 0) {
            ist_exchange_sent(channel->exchange, moved);
        }
    }
}

static bool is_shaking(const struct sim_channel *channel) {
    switch (ist_exchange_state(channel->exchange)) {
    case IST_EXCHANGE_HELLO:
    case IST_EXCHANGE_CHOICE:
    case IST_EXCHANGE_CONNECT:
    case IST_EXCHANGE_CONNECTED:
    case IST_EXCHANGE_PROOF: return true;
    case IST_EXCHANGE_CLOSED:
    case IST_EXCHANGE_OPEN:
    case IST_EXCHANGE_BROKEN: break;
    }
    return false;
}

static void arm(struct sim_channel *channel) {
    struct sim_fabric *fabric = &channel->node->world->fabric;
    uint64_t now_ns = fabric_now_ns(channel), at_ns = channel->retry_ns;
    if (channel->connection != NULL) {
        at_ns = is_shaking(channel) ? channel->connect_by_ns : SIM_NEVER_NS;
        if (sim_connection_readable(channel->connection, SIM_CLIENT) > 0 &&
            now_ns + SLOW_TURN_NS < at_ns) {
            at_ns = now_ns + SLOW_TURN_NS;
        }
    }
    if (channel->exchange != NULL && !sim_canary_is(SIM_CANARY_CLIENT_TIMER)) {
        uint64_t deadline_ns = ist_exchange_deadline_ns(channel->exchange);
        if (deadline_ns != IST_NO_DEADLINE_NS) {
            uint64_t ahead_ns = channel->node->ahead_ns;
            deadline_ns = deadline_ns > ahead_ns + now_ns ? deadline_ns - ahead_ns : now_ns;
            at_ns = deadline_ns < at_ns ? deadline_ns : at_ns;
        }
    }
    sim_event_at(fabric, &channel->wake, at_ns);
}

/* The link asks for the peer's address in a thread, since that may take a while: here it takes no time. */
static enum ist_status connect_link(struct ist_link *link, const struct ist_endpoint *peer) {
    enum ist_status status = ist_link_connect(link, peer);
    if (status != IST_OK) {
        return status;
    }
    while ((status = ist_link_connected(link)) == IST_AGAIN) {
        struct pollfd polled = {.fd = ist_link_messages_fd(link), .events = POLLIN};
        (void)poll(&polled, 1, -1);
    }
    return status;
}

/* From HELLO to OPEN, over RDMA where that can be. False: the connection is of no use. */
static bool upgrade(struct sim_channel *channel) {
    struct ist_exchange *exchange = channel->exchange;
    struct ist_link *link = &channel->link;
    if (ist_exchange_state(exchange) == IST_EXCHANGE_CHOICE) {
        struct ist_endpoint own;
        if (channel->tcp_only || ist_link_open(link, NULL, &own) != IST_OK) {
            ist_exchange_open(exchange, &link->regions);
        } else {
            ist_exchange_connect(exchange, &own);
        }
    }
    if (ist_exchange_state(exchange) == IST_EXCHANGE_CONNECTED) {
        const struct ist_endpoint *peer = ist_exchange_peer(exchange);
        if (peer->status != IST_OK) {
            ist_link_close(link);
            ist_exchange_open(exchange, &link->regions);
        } else if (link->queue_pair == NULL || ist_link_has_failed(link) ||
                   connect_link(link, peer) != IST_OK) {
            return false;
        } else {
            ist_exchange_prove(exchange, &link->regions);
        }
    }
    return true;
}

/* Is the connection of no use any more? */
static bool is_over(const struct sim_channel *channel, enum ist_status *status) {
    *status = ist_exchange_fault(channel->exchange);
    if (*status == IST_OK) {
        *status = IST_PEER;
        return sim_connection_ended(channel->connection, SIM_CLIENT) ||
               (ist_exchange_is_remote(channel->exchange) && ist_link_has_failed(&channel->link)) ||
               (is_shaking(channel) && fabric_now_ns(channel) >= channel->connect_by_ns);
    }
    if (*status == IST_PROTOCOL) {
        sim_fail(&channel->node->world->journal, "node %u cannot understand what server %u says",
                 channel->node->number, channel->server->number);
    }
    return true;
}

void sim_channel_run(struct sim_channel *channel) {
    struct sim_node *node = channel->node;
    enum ist_status status;
    sim_rdma_sync(node->world);
    if (channel->connection != NULL) {
        receive_all(channel);
        if (!upgrade(channel)) {
            lose(channel, IST_PEER, false);
        } else if (is_over(channel, &status)) {
            lose(channel, status, status != IST_PEER);
        }
    }
    if (channel->exchange != NULL && !sim_canary_is(SIM_CANARY_CLIENT_TIMER)) {
        ist_exchange_tick(channel->exchange, sim_node_now_ns(node));
        reap(channel);
    }
    if (channel->connection != NULL && is_over(channel, &status)) {
        lose(channel, status, true);
    }
    if (channel->connection == NULL && fabric_now_ns(channel) >= channel->retry_ns) {
        open_channel(channel);
    }
    if (channel->connection != NULL && ist_exchange_is_remote(channel->exchange)) {
        ist_link_flush(&channel->link, channel->exchange);
    } else if (channel->connection != NULL) {
        send_all(channel);
    }
    sim_rdma_arm(node->world);
    if (channel->exchange != NULL && ++channel->runs % CHECK_EVERY == 0) {
        ist_exchange_check(channel->exchange);
    }
    arm(channel);
}

/* ---- submitting ---------------------------------------------------------------------------------------- */

static bool is_skipped(const struct sim_world *world, uint64_t number) {
    return world->phase == SIM_PHASE_SAFETY && sim_mask_has(&world->options->skip_operations, number);
}

static void drop(struct sim_node *node, struct sim_spec *spec) {
    struct sim_job *job = spec->job;
    sim_spec_free(spec);
    if (job != NULL) {
        sim_traffic_done(node->world, node, job, 0);
    }
}

struct sim_operation *sim_node_submit(struct sim_node *node, struct sim_spec *spec) {
    struct sim_world *world = node->world;
    struct sim_channel *channel = &node->channels[spec->server];
    uint64_t number = world->operations++;
    struct sim_operation *operation;
    struct ist_request *request;
    struct sim_job *job = spec->job;
    if (is_skipped(world, number) || channel->exchange == NULL) {
        drop(node, spec);
        return NULL;
    }
    sim_rdma_sync(world);
    sim_journal_note(&world->journal, SIM_NOTE_SUBMIT, node->number, spec->server, number, spec->kind,
                     spec->count);
    if (sim_operation_new(world, channel, spec, number, &node->memory.alloc, &operation, &request) !=
        IST_OK) {
        if (job != NULL) {
            sim_traffic_done(world, node, job, 0);
        }
        return NULL;
    }
    request->arg = operation;
    enum ist_status status = ist_exchange_submit(channel->exchange, request, operation->deadline_ns);
    IST_ASSERT(status == IST_OK); /* the depth is far below what an exchange takes */
    operation->next = channel->first;
    if (channel->first != NULL) {
        channel->first->previous = operation;
    }
    channel->first = operation;
    channel->in_flight++;
    sim_event_by(&world->fabric, &channel->wake, fabric_now_ns(channel));
    return operation;
}

void sim_node_push(struct sim_node *node, struct sim_spec *spec) {
    *(node->last_spec == NULL ? &node->first_spec : &node->last_spec->next) = spec;
    node->last_spec = spec;
    spec->next = NULL;
    stir(node);
}

static bool has_room(const struct sim_node *node, const struct sim_spec *spec) {
    return node->channels[spec->server].in_flight < node->world->plan.depth;
}

/* What was put aside comes first. NULL: there is nothing. */
static struct sim_spec *next_spec(struct sim_node *node) {
    struct sim_world *world = node->world;
    struct sim_spec *spec = node->first_spec;
    if (spec == NULL) {
        struct sim_random random = sim_world_operation_random(world, world->operations);
        return sim_traffic_next(&world->traffic, node, &random);
    }
    node->first_spec = spec->next;
    node->last_spec = spec->next == NULL ? NULL : node->last_spec;
    return spec;
}

static void put_back(struct sim_node *node, struct sim_spec *spec) {
    spec->next = node->first_spec;
    node->first_spec = spec;
    node->last_spec = node->last_spec == NULL ? spec : node->last_spec;
}

static void on_next(void *owner) {
    struct sim_node *node = owner;
    struct sim_world *world = node->world;
    if (world->phase != SIM_PHASE_SAFETY || world->operations >= world->plan.operations) {
        return;
    }
    struct sim_spec *spec = next_spec(node);
    node->idle = spec == NULL || !has_room(node, spec);
    if (!node->idle) {
        (void)sim_node_submit(node, spec);
    } else if (spec != NULL) {
        put_back(node, spec);
    }
    uint64_t wait_ns =
        node->idle ? IDLE_NS : sim_random_below(&node->pace, 2 * world->plan.pace_ns + 1);
    sim_event_at(&world->fabric, &node->next, sim_fabric_now_ns(&world->fabric) + wait_ns);
}

void sim_node_start(struct sim_node *node) {
    for (unsigned i = 0; i < node->world->plan.servers; i++) {
        sim_channel_run(&node->channels[i]);
    }
    on_next(node);
}

unsigned sim_node_in_flight(const struct sim_node *node) {
    unsigned count = 0;
    for (unsigned i = 0; i < node->world->plan.servers; i++) {
        count += node->channels[i].in_flight;
    }
    return count;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void end_channel(struct sim_channel *channel, bool abrupt) {
    if (channel->connection != NULL) {
        lose(channel, IST_PEER, abrupt);
    } else if (channel->exchange != NULL) {
        ist_exchange_end(channel->exchange, IST_PEER);
        reap(channel);
    }
    IST_ASSERT(channel->in_flight == 0);
    ist_exchange_free(channel->exchange);
    channel->exchange = NULL;
    ist_link_fini(&channel->link);
    sim_event_cancel(&channel->node->world->fabric, &channel->wake);
}

static void end(struct sim_node *node, bool abrupt) {
    for (unsigned i = 0; i < node->world->plan.servers; i++) {
        end_channel(&node->channels[i], abrupt);
    }
    while (node->first_spec != NULL) {
        struct sim_spec *spec = node->first_spec;
        node->first_spec = spec->next;
        sim_spec_free(spec);
    }
    node->last_spec = NULL;
    if (node->memory.live != 0) {
        sim_fail(&node->world->journal, "a client that has ended left %llu allocations behind",
                 (unsigned long long)node->memory.live);
    }
}

static void init_link(struct sim_channel *channel) {
    struct ist_link_config config = {.hint_gid_index = -1};
    sim_rdma_device_name(false, channel->node->number, config.device);
    ist_link_init(&channel->link, &config, &channel->node->memory.alloc);
}

void sim_node_crash(struct sim_node *node) {
    sim_rdma_sync(node->world);
    end(node, true);
    for (unsigned i = 0; i < node->world->plan.servers; i++) {
        init_link(&node->channels[i]);
        sim_channel_run(&node->channels[i]);
    }
}

void sim_node_jump(struct sim_node *node, uint64_t by_ns) {
    node->ahead_ns += by_ns;
    for (unsigned i = 0; i < node->world->plan.servers; i++) {
        sim_event_by(&node->world->fabric, &node->channels[i].wake,
                     sim_fabric_now_ns(&node->world->fabric));
    }
}

static void on_memory_end(void *owner) {
    ((struct sim_node *)owner)->memory.failing_permille = 0;
}

void sim_node_init(struct sim_node *node, struct sim_world *world, unsigned number, bool prefill) {
    *node = (struct sim_node){
        .world = world,
        .number = number,
        .prefill = prefill,
        .pace = sim_random_stream(world->plan.seed, SIM_STREAM_PACE, number),
    };
    sim_memory_init(&node->memory, world->plan.seed, SIM_SERVERS_MAX + number);
    sim_event_init(&node->next, on_next, node);
    sim_event_init(&node->memory_end, on_memory_end, node);
    for (unsigned i = 0; i < world->plan.servers; i++) {
        node->channels[i] = (struct sim_channel){.node = node, .server = &world->servers[i]};
        init_link(&node->channels[i]);
        sim_event_init(&node->channels[i].wake, on_ready, &node->channels[i]);
    }
}

void sim_node_fini(struct sim_node *node) {
    end(node, false);
    sim_event_cancel(&node->world->fabric, &node->next);
    sim_event_cancel(&node->world->fabric, &node->memory_end);
}

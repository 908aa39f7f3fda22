/* The devices of all hosts, their time, and what goes wrong with them. */
#include <stdio.h>

#include "base/assert.h"
#include "sim/hca/hca.h"
#include "sim/hca/objects.h"
#include "sim/rdma.h"
#include "sim/world.h"

#define NODE_DEVICES 64u /* numbers of devices: servers first, nodes from here on */

void sim_rdma_device_name(bool is_server, unsigned number, char name[SIM_RDMA_NAME_BYTES]) {
    snprintf(name, SIM_RDMA_NAME_BYTES, "%s%u", is_server ? "server" : "node", number);
}

static void add_device(struct ist_hca *hca, const struct sim_plan *plan, bool is_server,
                       unsigned number) {
    struct ist_hca_device_config config;
    char name[SIM_RDMA_NAME_BYTES];
    uint8_t place = (uint8_t)(is_server ? number : NODE_DEVICES + number);
    sim_rdma_device_name(is_server, number, name);
    if (plan->rdma_infiniband) {
        ist_hca_device_config_ib(&config, name, place);
    } else {
        ist_hca_device_config_roce(&config, name, place);
    }
    struct ist_hca_device *device = ist_hca_add_device(hca, &config);
    IST_ASSERT(device != NULL);
}

void sim_rdma_sync(struct sim_world *world) {
    struct ist_hca *hca = world->rdma.hca;
    uint64_t now_ns = sim_fabric_now_ns(&world->fabric);
    if (hca != NULL && (ist_hca_now_ns(hca) < now_ns || ist_hca_next_ns(hca) <= now_ns)) {
        ist_hca_advance(hca, now_ns - ist_hca_now_ns(hca));
    }
}

void sim_rdma_arm(struct sim_world *world) {
    if (world->rdma.hca != NULL) {
        sim_event_at(&world->fabric, &world->rdma.pump, ist_hca_next_ns(world->rdma.hca));
    }
}

static void on_pump(void *owner) {
    struct sim_world *world = owner;
    sim_rdma_sync(world);
    for (unsigned i = 0; i < world->plan.servers; i++) {
        sim_server_poll(&world->servers[i]);
    }
    for (unsigned i = 0; i < world->node_count; i++) {
        for (unsigned j = 0; j < world->plan.servers; j++) {
            if (world->nodes[i].channels[j].link.queue_pair != NULL ||
                world->nodes[i].channels[j].link.device != NULL) {
                sim_channel_run(&world->nodes[i].channels[j]);
            }
        }
    }
    sim_rdma_arm(world);
}

void sim_rdma_init(struct sim_world *world) {
    const struct sim_plan *plan = &world->plan;
    sim_event_init(&world->rdma.pump, on_pump, world);
    if (!plan->rdma) {
        return;
    }
    struct ist_hca_config config;
    ist_hca_config_init(&config, plan->seed);
    config.latency_ns = plan->rdma_latency_ns;
    config.jitter_ns = plan->rdma_latency_ns / 2;
    config.bytes_per_us = plan->network.bytes_per_us;
    world->rdma.hca = ist_hca_new(&config);
    IST_ASSERT(world->rdma.hca != NULL);
    for (unsigned i = 0; i < plan->servers; i++) {
        add_device(world->rdma.hca, plan, true, i);
    }
    for (unsigned i = 0; i < plan->prefills + plan->decodes; i++) {
        add_device(world->rdma.hca, plan, false, i);
    }
}

void sim_rdma_fini(struct sim_world *world) {
    sim_event_cancel(&world->fabric, &world->rdma.pump);
    ist_hca_free(world->rdma.hca);
}

/* ---- faults -------------------------------------------------------------------------------------------- */

static struct ist_hca_device *nth_device(const struct sim_world *world, uint64_t n) {
    uint64_t count = world->plan.servers + world->node_count;
    char name[SIM_RDMA_NAME_BYTES];
    n %= count;
    bool is_server = n < world->plan.servers;
    sim_rdma_device_name(is_server, (unsigned)(is_server ? n : n - world->plan.servers), name);
    return ist_hca_find_device(world->rdma.hca, name);
}

/* NULL: there is none. */
static struct ibv_qp *nth_queue_pair(const struct sim_world *world, uint64_t n) {
    const struct hca_numbers *numbers = &world->rdma.hca->qp_numbers;
    uint32_t count = world->rdma.hca->counts.qps;
    size_t serial = 0;
    struct hca_qp *qp = count == 0 ? NULL : hca_numbers_next(numbers, &serial);
    for (uint64_t i = 0; qp != NULL && i < n % count; i++) {
        qp = hca_numbers_next(numbers, &serial);
    }
    return qp == NULL ? NULL : &qp->qp;
}

static void hurt_queue_pair(const struct sim_world *world, struct sim_random *random) {
    static const enum ibv_wc_status statuses[] = {IBV_WC_LOC_QP_OP_ERR, IBV_WC_REM_ACCESS_ERR,
                                                  IBV_WC_RETRY_EXC_ERR, IBV_WC_REM_OP_ERR,
                                                  IBV_WC_LOC_PROT_ERR};
    struct ibv_qp *qp = nth_queue_pair(world, sim_random_next(random));
    uint64_t what = sim_random_below(random, 6), number = sim_random_scaled(random, 1, 64);
    uint64_t status = sim_random_below(random, sizeof(statuses) / sizeof(statuses[0]));
    if (qp == NULL) {
        return;
    }
    switch (what) {
    case 0:
        ist_hca_drop(qp, number > 32 ? UINT32_MAX : (uint32_t)number);
        break; /* retries exhausted */
    case 1: ist_hca_delay(qp, number * SIM_MS); break;
    case 2: ist_hca_not_ready(qp, (uint32_t)number); break;
    case 3: ist_hca_fail_request(qp, statuses[status]); break;
    default: ist_hca_qp_fatal(qp);
    }
}

void sim_rdma_hurt(struct sim_world *world, struct sim_random *random) {
    uint64_t what = sim_random_below(random, 16), pick = sim_random_next(random);
    if (world->rdma.hca == NULL) {
        return;
    }
    sim_rdma_sync(world);
    struct ist_hca_device *device = nth_device(world, pick);
    switch (what) {
    case 0:
        if (device != NULL) {
            ist_hca_set_link(device, 1, false);
        }
        break;
    case 1:
    case 2:
        if (device != NULL) {
            ist_hca_set_link(device, 1, true);
            ist_hca_set_cut(device, 1, what == 1);
        }
        break;
    case 3: ist_hca_set_loss(world->rdma.hca, (uint32_t)sim_random_scaled(random, 1, 200000)); break;
    case 4: ist_hca_set_loss(world->rdma.hca, 0); break;
    case 5:
        if (device != NULL && sim_random_happens(random, 200)) {
            ist_hca_device_fatal(device); /* it never comes back: those that had it go on over TCP */
        }
        break;
    case 6:
        ist_hca_fail_nth(world->rdma.hca, IST_HCA_CALL_ALL & ~(unsigned)IST_HCA_CALL_DESTROY,
                         sim_random_scaled(random, 1, 64));
        break;
    default: hurt_queue_pair(world, random);
    }
    sim_rdma_arm(world);
}

void sim_rdma_heal(struct sim_world *world) {
    if (world->rdma.hca == NULL) {
        return;
    }
    sim_rdma_sync(world);
    ist_hca_set_loss(world->rdma.hca, 0);
    ist_hca_fail_nth(world->rdma.hca, 0, 0);
    /* What was done to a queue pair may show with its next request only: those that come behind them are well. */
    size_t serial = 0;
    struct hca_qp *qp;
    while ((qp = hca_numbers_next(&world->rdma.hca->qp_numbers, &serial)) != NULL) {
        ist_hca_qp_fatal(&qp->qp);
    }
    for (unsigned i = 0; i < world->plan.servers + world->node_count; i++) {
        struct ist_hca_device *device = nth_device(world, i);
        if (device != NULL) {
            ist_hca_set_cut(device, 1, false);
            ist_hca_set_link(device, 1, true);
        }
    }
    sim_rdma_arm(world);
}

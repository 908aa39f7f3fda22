/* src/daemon/rdma: each fault at each stage of a transfer. Afterwards no pin is lost, every byte of the pool is accounted
 * for, and who was not concerned has noticed nothing. */
#include "tests/rdma_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "infinistore/limits.h"

#define KEYS 3
#define VALUE_BYTES 150000u
#define STAGES_MAX 2000u
#define ACT_EVERY 8u /* steps of the fabric */
#define STRIDE 2u    /* steps between two stages */

#define victim (&f.clients[0])
#define other (&f.clients[1])

static struct ist_hca_device *server(void) {
    return ist_hca_find_device(f.hca, "server");
}

static struct ibv_qp *victims_queue_pair(void) {
    struct ist_queue_pair_end end;
    ist_queue_pair_end(victim->queue_pair, &end);
    return ist_hca_find_qp(f.hca, end.number);
}

/* ---- the faults -------------------------------------------------------------------------------------------- */

static void kill_client(void) {
    ist_hca_kill(ist_device_context(f.processes[0].device));
}
static void break_client(void) {
    ist_queue_pair_break(victim->queue_pair);
}
static void destroy_client(void) {
    client_free(victim);
}
static void deregister(void) {
    ist_region_drop(&f.processes[0].region);
}
static void silence_client(void) {
    ist_hca_drop(victims_queue_pair(), UINT32_MAX);
}
static void silence_server(void) {
    ist_hca_drop(server_queue_pair(victim), UINT32_MAX);
}
static void fatal_queue_pair(void) {
    ist_hca_qp_fatal(server_queue_pair(victim));
}
static void fail_request(void) {
    ist_hca_fail_request(server_queue_pair(victim), IBV_WC_LOC_QP_OP_ERR);
}
static void disconnect(void) {
    if (victim->server != NULL) {
        ist_rdma_disconnect(victim->server);
        victim->server = NULL;
        victim->ended++;
    }
}
static void run_out_of_time(void) {
    ist_hca_delay(server_queue_pair(victim), 3600ull * IST_NS_PER_SEC);
    ist_engine_tick(f.engine, ist_clock_ns() + IST_PROGRESS_TIMEOUT_NS);
}
static void link_down(void) {
    ist_hca_set_link(server(), 1, false);
}
static void fatal_device(void) {
    ist_hca_device_fatal(server());
}
static void fatal_completion_queue(void) {
    ist_hca_cq_fatal(server_queue_pair(victim)->send_cq);
}
static void lose_packets(void) {
    ist_hca_set_loss(f.hca, 100000);
}
static void purge(void) {
    ist_store_purge(f.store);
}

static void fail_call(void);

enum effect { HIDDEN, MAY_END, ENDS_ONE, ENDS_ALL };
static const struct fault {
    const char *name;
    void (*strike)(void);
    enum effect effect;
    unsigned calls; /* of these the server's next one fails, and that has the effect */
} faults[] = {
    {"the client's process dies", kill_client, MAY_END, 0},
    {"the client's queue pair fails", break_client, MAY_END, 0},
    {"the client destroys its queue pair", destroy_client, MAY_END, 0},
    {"the client deregisters its memory", deregister, MAY_END, 0}, /* or it was late */
    {"no packet of the client gets through", silence_client, MAY_END, 0},
    {"no packet of the server gets through", silence_server, MAY_END, 0},
    {"the server's queue pair fails", fatal_queue_pair, ENDS_ONE, 0},
    {"a request fails", fail_request, MAY_END, 0},
    {"TCP is gone", disconnect, ENDS_ONE, 0},
    {"the session runs out of time", run_out_of_time, MAY_END, 0},
    {"the link goes down", link_down, ENDS_ALL, 0},
    {"the device dies", fatal_device, ENDS_ALL, 0},
    {"the completion queue dies", fatal_completion_queue, ENDS_ALL, 0},
    {"work, or an answer, cannot be posted", fail_call, ENDS_ONE, IST_HCA_CALL_SEND},
    {"a receive buffer cannot be posted", fail_call, ENDS_ALL, IST_HCA_CALL_RECEIVE},
    {"the completion queue cannot be armed", fail_call, ENDS_ALL, IST_HCA_CALL_ARM},
    {"the completion queue cannot be polled", fail_call, ENDS_ALL, IST_HCA_CALL_POLL},
    {"packets get lost", lose_packets, HIDDEN, 0},
    {"all is purged", purge, HIDDEN, 0},
};

/* What a failed test was at. */
static const struct fault *under_way;
static unsigned at_stage;
static unsigned calls_failed; /* at stages of this fault */

static void fail_call(void) {
    ist_hca_fail_nth_of(ist_device_context(f.device), under_way->calls, 1);
}

static int tell(void **state) {
    (void)state;
    if (under_way != NULL) {
        print_message("%s, at stage %u\n", under_way->name, at_stage);
    }
    return 0;
}

/* ---- one of them, at one stage ------------------------------------------------------------------------------- */

static void request(struct client *client, enum ist_operation operation, uint64_t id, uint64_t at) {
    static const char *const names[] = {"a", "b", "c"};
    struct place places[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        places[i] = (struct place){names[i], at + i * VALUE_BYTES, VALUE_BYTES};
    }
    client_request(client, operation, id, places, KEYS);
}

static void begin(uint64_t seed, enum ist_operation operation) {
    setup_with((struct rdma_server_options){.seed = seed});
    other->process = &f.processes[1];
    client_begin(victim);
    client_begin(other);
    for (size_t i = 0; i < KEYS; i++) {
        fill(i * VALUE_BYTES, i, VALUE_BYTES);
    }
    request(victim, IST_OP_PUT, 1, 0);
    assert_int_equal(client_reply(victim, 1, 0), IST_OK);
    request(victim, operation, 2, operation == IST_OP_PUT ? 0 : 4u << 20);
}

static bool has_reply(const struct client *client) {
    struct ist_frame frame;
    return ist_frame_decode(ist_span_of(client->in, client->in_bytes), &frame) == IST_OK &&
           client->in_bytes >= IST_FRAME_BYTES + frame.body_bytes;
}

/* Turns until the stage, or until the request is answered: false. */
static bool reach(unsigned stage) {
    for (unsigned i = 0; i < stage; i++) {
        if (has_reply(victim)) {
            return false;
        }
        (void)ist_hca_step(f.hca);
        if (i % ACT_EVERY == 0) {
            act();
        }
    }
    return true;
}

static void assert_other_is_served(void) {
    const struct place put = {"other", 12u << 20, 70000}, get = {"other", 14u << 20, 70000};
    fill(put.at, 9, put.bytes);
    client_request(other, IST_OP_PUT, 1, &put, 1);
    assert_int_equal(client_reply(other, 1, 0), IST_OK);
    client_request(other, IST_OP_GET, 2, &get, 1);
    assert_int_equal(client_reply(other, 2, 0), IST_OK);
    assert_filled(get.at, 9, get.bytes);
    assert_int_equal(other->ended, 0);
}

/* Each key has the bytes that were put, or is gone: whatever happened to a request. */
static void assert_values_are_whole(void) {
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < KEYS; i++) {
        const struct place get = {names[i], 14u << 20, VALUE_BYTES};
        client_request(other, IST_OP_GET, 3 + i, &get, 1);
        enum ist_status status = client_reply(other, 3 + i, 0);
        assert_true(status == IST_OK || status == IST_NOT_FOUND);
        if (status == IST_OK) {
            assert_filled(get.at, i, get.bytes);
        }
    }
}

static size_t pinned(void) {
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    return usage.pinned_entries;
}

static void assert_accounts(void) {
    struct ist_store_usage usage;
    turn_until(pinned() == 0); /* the last completions: a reply may overtake them */
    ist_store_usage(f.store, &usage);
    assert_int_equal(usage.reserved_bytes, 0);
    assert_int_equal(usage.doomed_bytes, 0);
}

/* Where nothing is under way, the server cannot notice over RDMA that a client is gone: TCP tells it. */
static void turn_until_over(void) {
    unsigned idle = 0;
    while (victim->ended == 0 && !has_reply(victim) && idle < 10) {
        turn();
        idle = ist_hca_next_ns(f.hca) == UINT64_MAX ? idle + 1 : 0;
    }
    if (!has_reply(victim)) {
        disconnect();
    }
}

/* What is to be expected: nothing, when the call that was to fail was not made. */
static enum effect effect_of(const struct fault *fault) {
    if (fault->calls == 0) {
        return fault->effect;
    }
    turn_until(has_reply(victim) || ist_hca_failed(f.hca) != NULL);
    bool has_failed = ist_hca_failed(f.hca) != NULL;
    ist_hca_fail_nth(f.hca, 0, 0);
    calls_failed += has_failed;
    return has_failed ? fault->effect : HIDDEN;
}

static void settle(enum effect effect) {
    switch (effect) {
    case ENDS_ALL: turn_until(victim->ended == 1 && other->ended == 1); break;
    case ENDS_ONE: turn_until(victim->ended == 1); break;
    case MAY_END: turn_until_over(); break;
    case HIDDEN: turn_until(has_reply(victim)); break;
    }
}

/* False: the request was over before. */
static bool strike(const struct fault *fault, enum ist_operation operation, unsigned stage) {
    under_way = fault;
    at_stage = stage;
    begin(1 + stage, operation);
    bool reached = reach(stage);
    fault->strike();
    enum effect effect = effect_of(fault);
    settle(effect);
    if (fault->strike == lose_packets) {
        ist_hca_set_loss(f.hca, 0);
    }
    if (effect != ENDS_ALL) {
        assert_other_is_served();
        assert_values_are_whole();
        turn_until(ist_rdma_connections(f.rdma) == (victim->ended == 1 ? 1 : 2));
    } else {
        turn_until(ist_rdma_connections(f.rdma) == 0);
    }
    assert_accounts();
    teardown(NULL);
    under_way = NULL;
    return reached;
}

static void each_stage(const struct fault *fault, enum ist_operation operation) {
    const unsigned stride = getenv("IST_TEST_SHORT") != NULL ? 9 * STRIDE : STRIDE;
    unsigned stage = 0;
    calls_failed = 0;
    while (strike(fault, operation, stage)) {
        stage += stride;
        assert_true(stage < STAGES_MAX);
    }
    assert_true(stage >= 5 * STRIDE); /* else none was in the middle */
    assert_true(fault->calls == 0 || calls_failed > 0);
}

static void test_fault__at_each_stage_of_a_put__accounts_are_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        each_stage(&faults[i], IST_OP_PUT);
    }
}

static void test_fault__at_each_stage_of_a_get__accounts_are_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        each_stage(&faults[i], IST_OP_GET);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_fault__at_each_stage_of_a_put__accounts_are_exact, tell),
        cmocka_unit_test_teardown(test_fault__at_each_stage_of_a_get__accounts_are_exact, tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

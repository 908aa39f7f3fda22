/* The network fails: a link goes down and comes back, packets are lost or arrive in another order. Clients over RDMA see
 * errors or wait, never wrong bytes; those over TCP, on another network, see nothing; all heals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/crew.h"
#include "tests/integration/http.h"
#include "tests/integration/program.h"
#include "tests/integration/rdma.h"
#include "tests/integration/values.h"

#define POOL "64M"
#define POOL_BYTES (64 * MIB)
#define VALUE_BYTES (300 * KIB + 1)
#define BATCH 4u
#define REQUEST_NS 1500000000ull /* what a call waits while the network is broken */

static struct crew crew;
static char netdevs[2][64]; /* the daemon's, the clients' */

static int teardown(void **state) {
    crew_fini(&crew);
    return servers_teardown(state);
}

/* "ip link set %s down" of one of the network devices. */
static void command(const char *format, const char *netdev) {
    char text[256];
    snprintf(text, sizeof(text), format, netdev);
    const char *const arguments[] = {"sh", "-c", text, NULL};
    struct outcome outcome;
    program_run(&(const struct program){.arguments = arguments}, &outcome);
    if (outcome.code != 0) {
        fail_msg("%s: %s", text, outcome.err);
    }
    outcome_free(&outcome);
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

struct role {
    const char *address;
    enum ist_transport transport;
    bool must_not_fail;
};

static void count_warning(void *arg, const char *line) {
    (void)line;
    atomic_fetch_add((atomic_uint_fast64_t *)arg, 1);
}

static struct ist_client *enter(struct crew_member *self) {
    const struct role *role = self->arg;
    char error[256] = "";
    struct ist_client *client = NULL;
    const struct ist_client_options options = {.endpoints = role->address,
                                               .request_timeout_ns =
                                                   role->must_not_fail ? PATIENCE_NS : REQUEST_NS,
                                               .transport = role->transport,
                                               .device = rdma_client_device(),
                                               .warn = count_warning,
                                               .warn_arg = &self->warned};
    uint64_t until_ns = now_ns() + PATIENCE_NS; /* nothing is broken yet, but slow it may be */
    enum ist_status status;
    do {
        status = ist_client_new(&options, &client, error, sizeof(error));
    } while (status != IST_OK && now_ns() < until_ns);
    if (status != IST_OK) {
        crew_wrong(self, "no connection: %s", error);
    }
    return client;
}

/* True: there was a failure that a broken network may cause. */
static bool failed(struct crew_member *self, enum ist_status status, const char *what) {
    const struct role *role = self->arg;
    if (status == IST_OK) {
        return false;
    }
    bool is_of_the_network =
        status == IST_PEER || status == IST_TIMEOUT || status == IST_DEVICE || status == IST_PROTOCOL;
    if (role->must_not_fail || !is_of_the_network) {
        crew_wrong(self, "a %s gives %s", what, ist_status_name(status));
    }
    atomic_fetch_add(&self->failed, 1);
    return true;
}

/* Puts, gets and compares. A put that failed may or may not have taken effect: then either version will do. */
static void put_and_get(struct crew_member *self) {
    struct ist_client *client = enter(self);
    uint8_t *memory = rdma_memory_try(client, 2 * BATCH * VALUE_BYTES);
    if (memory == NULL) {
        crew_wrong(self, "no memory");
    }
    char names[BATCH][32];
    uint64_t good[BATCH] = {0}; /* the last version that is known to be there */
    for (uint64_t version = 1; !atomic_load(self->stop); version++) {
        struct ist_put_item puts[BATCH];
        struct ist_get_item gets[BATCH];
        for (size_t i = 0; i < BATCH; i++) {
            uint8_t *value = memory + i * VALUE_BYTES;
            snprintf(names[i], sizeof(names[i]), "m%zu/%zu", self->number, i);
            value_fill(names[i], version, value, VALUE_BYTES);
            puts[i] = (struct ist_put_item){
                .key = key_of(names[i]), .value = value, .value_bytes = VALUE_BYTES};
            gets[i] = (struct ist_get_item){.key = key_of(names[i]),
                                            .buffer = memory + (BATCH + i) * VALUE_BYTES,
                                            .buffer_bytes = VALUE_BYTES};
        }
        bool put_failed = failed(self, ist_put(client, puts, BATCH, 0, 0), "put");
        for (size_t i = 0; i < BATCH && !put_failed; i++) {
            good[i] = version;
        }
        enum ist_status status = ist_get(client, gets, BATCH, 0);
        if (status == IST_NOT_FOUND && good[0] == 0) {
            continue;
        }
        if (failed(self, status, "get")) {
            continue;
        }
        for (size_t i = 0; i < BATCH; i++) {
            uint64_t got = 0;
            if (!value_check(names[i], gets[i].buffer, VALUE_BYTES, &got)) {
                crew_wrong(self, "wrong bytes");
            }
            if (got < good[i] || got > version) {
                crew_wrong(self, "version %llu, not %llu", (unsigned long long)got,
                           (unsigned long long)version);
            }
        }
        atomic_fetch_add(&self->done, 1);
        if (ist_client_transport(client) == IST_TRANSPORT_RDMA) {
            atomic_fetch_add(&self->found, 1); /* by RDMA */
        }
    }
    ist_client_free(client);
}

/* ---- a scene: a daemon, two clients over RDMA, one that takes what it gets, one over TCP -------------------------- */

enum { STRICT = 2, CLIENTS = 4, AUTO = 2, TCP = 3 };

static struct {
    struct server *server;
    struct role roles[CLIENTS];
    struct crew_member *clients[CLIENTS];
} f;

static bool all_well(void) {
    crew_assert_well(&crew);
    return server_is_alive(f.server);
}

static uint64_t sessions(void) {
    return (uint64_t)server_metric(f.server, "infinistore_sessions{transport=\"rdma\"}");
}

/* Each of the clients that go by RDMA does so, again. */
static void await_progress(uint64_t rounds) {
    uint64_t before[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        before[i] = i == TCP ? f.clients[i]->done : f.clients[i]->found;
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        const struct crew_member *client = f.clients[i];
        assert_eventually(all_well() &&
                          (i == TCP ? client->done : client->found) >= before[i] + rounds);
    }
}

static bool begin(void) {
    snprintf(netdevs[0], sizeof(netdevs[0]), "%s", rdma_server_netdev());
    snprintf(netdevs[1], sizeof(netdevs[1]), "%s", rdma_client_netdev());
    if (!rdma_is_here() || netdevs[0][0] == '\0') {
        return false;
    }
    f.server = server_start("--prealloc-size", POOL);
    crew_init(&crew);
    for (size_t i = 0; i < CLIENTS; i++) {
        f.roles[i] = (struct role){.address = f.server->service[0],
                                   .transport = i == TCP    ? IST_TRANSPORT_TCP
                                                : i == AUTO ? IST_TRANSPORT_AUTO
                                                            : IST_TRANSPORT_RDMA,
                                   .must_not_fail = i == TCP};
        f.clients[i] = crew_start(&crew, put_and_get, &f.roles[i]);
    }
    await_progress(1);
    return true;
}

static uint64_t failures(void) {
    return f.clients[0]->failed + f.clients[1]->failed + f.clients[AUTO]->failed;
}

static void end(void) {
    print_message(
        "           %llu and %llu rounds by RDMA, %llu failed; auto: %llu, %llu by RDMA, %llu "
        "warnings; TCP: %llu\n",
        (unsigned long long)f.clients[0]->found, (unsigned long long)f.clients[1]->found,
        (unsigned long long)failures(), (unsigned long long)f.clients[AUTO]->done,
        (unsigned long long)f.clients[AUTO]->found, (unsigned long long)f.clients[AUTO]->warned,
        (unsigned long long)f.clients[TCP]->done);
    crew_stop(&crew);
    assert_eventually(sessions() == 0);
    rdma_server_end(f.server, POOL_BYTES);
}

/* ---- what happens ------------------------------------------------------------------------------------------- */

/* The end of the cable at one side: the link is down for both. */
static void cut_and_mend(size_t side) {
    uint64_t tcp = f.clients[TCP]->done, by_auto = f.clients[AUTO]->done;
    command("ip link set %s down", netdevs[side]);
    assert_eventually(all_well() && sessions() == 0);
    /* TCP goes on, and who may takes it */
    assert_eventually(all_well() && f.clients[TCP]->done >= tcp + 5);
    assert_eventually(all_well() && f.clients[AUTO]->done >= by_auto + 2);
    command("ip link set %s up", netdevs[side]);
}

static void test_link__down_and_up__sessions_end_and_come_back(void **state) {
    (void)state;
    if (!begin()) {
        skip();
    }
    for (unsigned round = 0; round < (rdma_is_short() ? 1u : 2u); round++) {
        uint64_t before = failures();
        cut_and_mend(round % 2);
        assert_true(failures() > before);
        /* Who fell back to TCP stays there until it connects anew. */
        uint64_t by_rdma[STRICT] = {f.clients[0]->found, f.clients[1]->found};
        for (size_t i = 0; i < STRICT; i++) {
            assert_eventually(all_well() && f.clients[i]->found >= by_rdma[i] + 3);
        }
    }
    assert_true(f.clients[AUTO]->warned > 0); /* it said so */
    end();
}

static bool log_has(const struct server *server, const char *text) {
    char *log = server_log(server);
    bool has = strstr(log, text) != NULL;
    free(log);
    return has;
}

/* The daemon looks for a device again and again. */
static void test_link__down_at_the_start__served_once_it_is_up(void **state) {
    (void)state;
    snprintf(netdevs[0], sizeof(netdevs[0]), "%s", rdma_server_netdev());
    if (!rdma_is_here() || netdevs[0][0] == '\0') {
        skip();
    }
    command("ip link set %s down", netdevs[0]);
    f.server = server_start("--prealloc-size", POOL);
    assert_eventually(log_has(f.server, "no RDMA, serving TCP only"));
    assert_int_equal(sessions(), 0);
    command("ip link set %s up", netdevs[0]);
    assert_eventually(log_has(f.server, "RDMA on "));
    struct ist_client *client = rdma_open(f.server);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    assert_int_equal(sessions(), 1);
    ist_client_free(client);
    assert_eventually(sessions() == 0);
    rdma_server_end(f.server, POOL_BYTES);
}

/* On both ends, so that requests, data and acknowledgements suffer. */
static void disturb(const char *how) {
    for (size_t side = 0; side < 2; side++) {
        char text[200];
        snprintf(text, sizeof(text), "tc qdisc add dev %%s root netem %s", how);
        command(text, netdevs[side]);
    }
}

static void calm(void) {
    for (size_t side = 0; side < 2; side++) {
        command("tc qdisc del dev %s root", netdevs[side]);
    }
}

static void disturb_for(const char *how, uint64_t duration_ns) {
    if (!begin()) {
        skip();
    }
    uint64_t tcp = f.clients[TCP]->done, until_ns = now_ns() + duration_ns;
    disturb(how);
    assert_eventually(all_well() && f.clients[TCP]->done >= tcp + 5 && now_ns() > until_ns);
    calm();
    uint64_t by_rdma[STRICT] = {f.clients[0]->found, f.clients[1]->found};
    for (size_t i = 0; i < STRICT; i++) {
        assert_eventually(all_well() && f.clients[i]->found >= by_rdma[i] + 3);
    }
    end();
}

static void test_loss__one_percent__no_wrong_bytes_and_all_heals(void **state) {
    (void)state;
    disturb_for("loss 1%%", 3000000000);
}

static void test_order__another__no_wrong_bytes_and_all_heals(void **state) {
    (void)state;
    disturb_for("delay 1ms reorder 75%% 50%%", 3000000000);
}

/* More than retries can hide. */
static void test_loss__total_for_a_while__sessions_end_and_come_back(void **state) {
    (void)state;
    disturb_for("loss 100%%", 3000000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_link__down_and_up__sessions_end_and_come_back, teardown),
        cmocka_unit_test_teardown(test_link__down_at_the_start__served_once_it_is_up, teardown),
        cmocka_unit_test_teardown(test_loss__one_percent__no_wrong_bytes_and_all_heals, teardown),
        cmocka_unit_test_teardown(test_order__another__no_wrong_bytes_and_all_heals, teardown),
        cmocka_unit_test_teardown(test_loss__total_for_a_while__sessions_end_and_come_back, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

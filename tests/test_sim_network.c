/* The simulator's byte streams: what arrives, and who learns of what. */
#include <string.h>

#include "sim/network.h"
#include "tests/support.h"

#define DELAY_NS (1 * SIM_MS)
#define WINDOW 1000u

struct side {
    struct sim_connection *connection;
    enum sim_side side;
    unsigned calls;
};

struct pair {
    struct sim_fabric fabric;
    struct sim_network network;
    struct sim_listener listener;
    struct side client, server;
    bool refuses;
};

static void on_ready(void *owner) {
    ((struct side *)owner)->calls++;
}

static bool on_accept(void *owner, struct sim_connection *connection) {
    struct pair *pair = owner;
    if (pair->refuses) {
        return false;
    }
    pair->server = (struct side){.connection = connection, .side = SIM_SERVER};
    sim_connection_own(connection, on_ready, &pair->server);
    return true;
}

static void run_ms(struct pair *pair, uint64_t ms) {
    uint64_t until_ns = sim_fabric_now_ns(&pair->fabric) + ms * SIM_MS;
    while (sim_fabric_next_ns(&pair->fabric) <= until_ns) {
        assert_true(sim_fabric_step(&pair->fabric));
    }
}

static void connect_pair(struct pair *pair, unsigned split_permille, uint64_t seed) {
    const struct sim_network_config config = {
        .delay_ns = DELAY_NS,
        .jitter_ns = split_permille == 0 ? 0 : DELAY_NS,
        .bytes_per_us = 100,
        .window_bytes = WINDOW,
        .split_permille = split_permille,
    };
    *pair = (struct pair){.listener = {on_accept, pair}};
    sim_fabric_init(&pair->fabric);
    sim_network_init(&pair->network, &config, &pair->fabric, seed);
    pair->client.side = SIM_CLIENT;
    pair->client.connection =
        sim_network_connect(&pair->network, &pair->listener, on_ready, &pair->client);
}

static void close_side(struct side *side) {
    sim_connection_close(side->connection, side->side, false);
    side->connection = NULL;
}

static void end_pair(struct pair *pair) {
    if (pair->client.connection != NULL) {
        close_side(&pair->client);
    }
    if (pair->server.connection != NULL) {
        close_side(&pair->server);
    }
    sim_network_fini(&pair->network);
    sim_fabric_fini(&pair->fabric);
}

static bool ended(const struct side *side) {
    return sim_connection_ended(side->connection, side->side);
}

static size_t readable(const struct side *side) {
    return sim_connection_readable(side->connection, side->side);
}

/* Whatever the pieces, the same bytes in the same order, through a window that is smaller than all of them. */
static void test_write__random_pieces__arrive_in_order(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair pair;
        connect_pair(&pair, 700, seed);
        uint8_t sent[5000], come[5000];
        size_t written = 0, read = 0;
        uint64_t random = seed;
        for (size_t i = 0; i < sizeof(sent); i++) {
            sent[i] = (uint8_t)random_next(&random);
        }
        for (unsigned turn = 0; read < sizeof(sent); turn++) {
            assert_true(turn < 10000);
            written += sim_connection_write(pair.client.connection, SIM_CLIENT, sent + written,
                                            sizeof(sent) - written);
            run_ms(&pair, 5);
            if (pair.server.connection != NULL && readable(&pair.server) > 0) {
                size_t part = 1 + readable(&pair.server) / 2;
                part = part < readable(&pair.server) ? part : readable(&pair.server);
                sim_connection_read(pair.server.connection, SIM_SERVER, come + read, part);
                read += part;
            }
            assert_true(written - read <= WINDOW);
        }
        assert_memory_equal(sent, come, sizeof(sent));
        end_pair(&pair);
    }
}

static void test_close__bytes_on_their_way__arrive_before_the_end(void **state) {
    (void)state;
    struct pair pair;
    uint8_t bytes[10];
    connect_pair(&pair, 0, 1);
    run_ms(&pair, 2);
    assert_int_equal(sim_connection_write(pair.client.connection, SIM_CLIENT, "0123456789", 10), 10);
    close_side(&pair.client);
    assert_false(ended(&pair.server));
    run_ms(&pair, 5);
    assert_int_equal(readable(&pair.server), 10);
    assert_false(ended(&pair.server));
    sim_connection_read(pair.server.connection, SIM_SERVER, bytes, 10);
    assert_true(ended(&pair.server));
    end_pair(&pair);
}

static void test_connect__refused__client_learns(void **state) {
    (void)state;
    struct pair pair;
    connect_pair(&pair, 0, 1);
    pair.refuses = true;
    run_ms(&pair, 5);
    assert_true(ended(&pair.client) && pair.client.calls > 0);
    end_pair(&pair);
}

static void test_cut__both_learn_and_bytes_are_lost(void **state) {
    (void)state;
    struct pair pair;
    connect_pair(&pair, 0, 1);
    run_ms(&pair, 2);
    (void)sim_connection_write(pair.client.connection, SIM_CLIENT, "0123456789", 10);
    sim_connection_cut(pair.client.connection);
    run_ms(&pair, 5);
    assert_true(ended(&pair.client) && ended(&pair.server));
    assert_int_equal(readable(&pair.server), 0);
    end_pair(&pair);
}

/* Half-open: nothing arrives, and for a while nobody knows. */
static void test_silence__each_learns_in_its_time_or_at_heal(void **state) {
    (void)state;
    struct pair pair;
    connect_pair(&pair, 0, 7);
    run_ms(&pair, 2);
    sim_connection_silence(pair.client.connection, 3600 * SIM_SEC);
    (void)sim_connection_write(pair.client.connection, SIM_CLIENT, "0123456789", 10);
    run_ms(&pair, 50);
    assert_false(ended(&pair.client) || ended(&pair.server));
    assert_int_equal(readable(&pair.server), 0);
    sim_network_heal(&pair.network);
    run_ms(&pair, 5);
    assert_true(ended(&pair.client) && ended(&pair.server));
    end_pair(&pair);
}

static void test_stall__arrives_later(void **state) {
    (void)state;
    struct pair pair;
    connect_pair(&pair, 0, 1);
    run_ms(&pair, 2);
    (void)sim_connection_write(pair.client.connection, SIM_CLIENT, "0123456789", 10);
    sim_connection_stall(pair.client.connection, sim_fabric_now_ns(&pair.fabric) + 100 * SIM_MS);
    run_ms(&pair, 50);
    assert_int_equal(readable(&pair.server), 0);
    run_ms(&pair, 100);
    assert_int_equal(readable(&pair.server), 10);
    end_pair(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write__random_pieces__arrive_in_order),
        cmocka_unit_test(test_close__bytes_on_their_way__arrive_before_the_end),
        cmocka_unit_test(test_connect__refused__client_learns),
        cmocka_unit_test(test_cut__both_learn_and_bytes_are_lost),
        cmocka_unit_test(test_silence__each_learns_in_its_time_or_at_heal),
        cmocka_unit_test(test_stall__arrives_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

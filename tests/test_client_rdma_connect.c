/* The client over RDMA while something takes its time: the network does not say who has the server's address, or the device
 * pins memory. Nobody else waits for that. */
#include "tests/rdma_house.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/clock.h"

#define DEADLINE_NS 20000000ull
#define LONG_MS 60000u                 /* never reached by a test that passes */
#define QUIET_NS (20 * IST_NS_PER_SEC) /* the same */

struct waiting {
    unsigned calls;
    enum ist_status status;
};

static struct ist_client *client;

static void on_done(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
}

static void process_until_done(const struct waiting *waiting) {
    while (waiting->calls == 0) {
        (void)ist_client_process(client);
    }
    assert_int_equal(waiting->calls, 1);
}

/* Connected once, to a server that is gone; the next connect will be held up so long, unless it is let go. */
static void begin(uint64_t seed, enum ist_transport transport, uint32_t patience_ms) {
    house_begin((struct house_options){.seed = seed});
    client = house_client_of(transport);
    house_restart(false);
    while (ist_client_incarnation(client) != 0) {
        (void)ist_client_process(client); /* finds out that the server is gone */
    }
    ist_hca_set_patience(house_hca(), patience_ms);
    ist_hca_hold_neighbours(house_device("client"), true);
}

static void ping(uint64_t timeout_ns, struct waiting *waiting) {
    *waiting = (struct waiting){0};
    assert_int_equal(ist_ping_async(client, timeout_ns, on_done, waiting), IST_OK);
}

static void process_until_held_up(void) {
    while (ist_hca_waiting(house_hca()) == 0) {
        (void)ist_client_process(client);
    }
}

static void end(void) {
    ist_client_free(client);
    house_end();
}

static void test_connect__address_is_asked_for__no_call_waits(void **state) {
    (void)state;
    struct waiting waiting;
    begin(1, IST_TRANSPORT_RDMA, LONG_MS);
    ping(0, &waiting);
    process_until_held_up();
    for (unsigned i = 0; i < 100; i++) {
        (void)ist_client_process(client);
    }
    assert_int_equal(ist_hca_waiting(house_hca()), 1);
    assert_int_equal(waiting.calls, 0);
    ist_hca_hold_neighbours(house_device("client"), false);
    process_until_done(&waiting);
    assert_int_equal(waiting.status, IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    assert_int_equal(ist_client_incarnation(client), 2);
    end();
}

/* A deadline that passes meanwhile is kept; freeing waits for the thread. */
static void test_connect__address_is_asked_for__deadlines_are_kept(void **state) {
    (void)state;
    struct waiting waiting;
    begin(2, IST_TRANSPORT_RDMA, 1000);
    ping(DEADLINE_NS, &waiting);
    process_until_done(&waiting);
    assert_int_equal(waiting.status, IST_TIMEOUT);
    process_until_held_up();
    ist_client_free(client);
    client = NULL;
    assert_int_equal(ist_hca_waiting(house_hca()), 0);
    ist_hca_hold_neighbours(house_device("client"), false);
    end();
}

static void test_auto__nobody_has_the_address__tcp(void **state) {
    (void)state;
    struct waiting waiting;
    begin(3, IST_TRANSPORT_AUTO, 50);
    ping(0, &waiting);
    process_until_done(&waiting);
    assert_int_equal(waiting.status, IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_TCP);
    assert_int_equal(house_warnings(), 1);
    assert_non_null(strstr(house_warning(), "cannot be reached"));
    ist_hca_hold_neighbours(house_device("client"), false);
    end();
}

static void test_auto__device_fails_meanwhile__tcp(void **state) {
    (void)state;
    struct waiting waiting;
    begin(4, IST_TRANSPORT_AUTO, LONG_MS);
    ping(0, &waiting);
    process_until_held_up();
    struct ist_hca_device *device = house_device("client");
    ist_hca_device_fatal(device);
    ist_hca_hold_neighbours(device, false);
    process_until_done(&waiting);
    assert_int_equal(waiting.status, IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_TCP);
    assert_int_equal(house_warnings(), 1);
    end();
}

/* The server goes in the middle of it; another is there. */
static void test_connect__server_ends_meanwhile__peer_then_the_next(void **state) {
    (void)state;
    struct waiting waiting;
    begin(5, IST_TRANSPORT_RDMA, LONG_MS);
    ping(0, &waiting);
    process_until_held_up();
    house_restart(true);
    ist_hca_hold_neighbours(house_device("client"), false);
    process_until_done(&waiting);
    assert_int_equal(waiting.status, IST_PEER);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    assert_int_equal(ist_client_incarnation(client), 3);
    end();
}

/* The child has all descriptors as they were then, also that which tells when the queue pair is connected. */
static void test_connect__a_child_was_forked_meanwhile__descriptor_becomes_quiet(void **state) {
    (void)state;
    struct waiting waiting;
    int lives[2];
    char byte;
    assert_int_equal(pipe(lives), 0);
    begin(6, IST_TRANSPORT_RDMA, LONG_MS);
    ping(0, &waiting);
    process_until_held_up();
    pid_t child = fork();
    if (child == 0) {
        close(lives[1]);
        _exit(read(lives[0], &byte, 1) == 0 ? 0 : 1); /* ends when the test closes the other end */
    }
    assert_true(child > 0);
    ist_hca_hold_neighbours(house_device("client"), false);
    process_until_done(&waiting);
    assert_int_equal(waiting.status, IST_OK);
    struct pollfd polled = {.fd = ist_client_fd(client), .events = POLLIN};
    uint64_t until_ns = ist_client_now_ns() + QUIET_NS;
    while (poll(&polled, 1, 0) != 0) {
        (void)ist_client_process(client);
        assert_true(ist_client_now_ns() < until_ns);
    }
    int status;
    close(lives[0]);
    close(lives[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    end();
}

/* ---- memory ------------------------------------------------------------------------------------------------- */

static uint8_t small[4096], large[1 << 20];

static void *register_large(void *arg) {
    enum ist_status *status = arg;
    *status = ist_memory_register(client, large, sizeof(large));
    return NULL;
}

static enum ist_status put_from(const uint8_t *memory) {
    struct ist_put_item put = {.key = {"k", 1}, .value = memory, .value_bytes = sizeof(small)};
    return ist_put(client, &put, 1, 0, 0);
}

static pthread_t begin_register(uint64_t seed, enum ist_status *status) {
    pthread_t thread;
    house_begin((struct house_options){.seed = seed});
    client = house_client_of(IST_TRANSPORT_RDMA);
    assert_int_equal(ist_memory_register(client, small, sizeof(small)), IST_OK);
    ist_hca_set_patience(house_hca(), LONG_MS);
    ist_hca_hold_registrations(house_device("client"), true);
    assert_int_equal(pthread_create(&thread, NULL, register_large, status), 0);
    while (ist_hca_waiting(house_hca()) == 0) {
        assert_int_equal(ist_ping(client, 0), IST_OK);
    }
    return thread;
}

static void test_register__takes_its_time__others_go_on(void **state) {
    (void)state;
    enum ist_status status = IST_AGAIN;
    pthread_t thread = begin_register(6, &status);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(put_from(small), IST_OK);
    }
    assert_int_equal(put_from(large), IST_INVALID); /* not yet */
    assert_int_equal(ist_hca_waiting(house_hca()), 1);
    ist_hca_hold_registrations(house_device("client"), false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(status, IST_OK);
    assert_int_equal(put_from(large + 5), IST_OK);
    end();
}

/* It is registered with the next one. */
static void test_register__device_fails_meanwhile__remembered(void **state) {
    (void)state;
    struct ist_hca_device_config config;
    enum ist_status status = IST_AGAIN;
    pthread_t thread = begin_register(7, &status);
    struct ist_hca_device *device = house_device("client");
    ist_hca_device_fatal(device);
    while (put_from(small) != IST_DEVICE) { /* finds out, and that there is no other */
    }
    ist_hca_hold_registrations(device, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(status, IST_OK);
    ist_hca_device_config_roce(&config, "client", 1);
    assert_non_null(ist_hca_add_device(house_hca(), &config));
    assert_int_equal(put_from(large + 5), IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect__address_is_asked_for__no_call_waits),
        cmocka_unit_test(test_connect__address_is_asked_for__deadlines_are_kept),
        cmocka_unit_test(test_auto__nobody_has_the_address__tcp),
        cmocka_unit_test(test_auto__device_fails_meanwhile__tcp),
        cmocka_unit_test(test_connect__a_child_was_forked_meanwhile__descriptor_becomes_quiet),
        cmocka_unit_test(test_connect__server_ends_meanwhile__peer_then_the_next),
        cmocka_unit_test(test_register__takes_its_time__others_go_on),
        cmocka_unit_test(test_register__device_fails_meanwhile__remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

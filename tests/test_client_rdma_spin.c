/* A client over RDMA that looks for its answers without sleeping, while other threads do something with it. */
#include "tests/rdma_house.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "client/client.h"
#include "client/clock.h"

#define VALUE_BYTES 1000u
#define PATIENCE_NS (60 * IST_NS_PER_SEC)

/* A thread in a blocking put, which the server does not answer: it is parked. */
static struct {
    struct ist_client *client;
    pthread_t thread;
    uint64_t timeout_ns;
    atomic_bool returned;
    enum ist_status status;
    uint8_t *memory;
} f;

static void *put_once(void *arg) {
    (void)arg;
    struct ist_put_item put = {.key = {"k", 1}, .value = f.memory, .value_bytes = VALUE_BYTES};
    f.status = ist_put(f.client, &put, 1, 0, f.timeout_ns);
    atomic_store(&f.returned, true);
    return NULL;
}

static void begin(uint64_t seed, uint64_t timeout_ns) {
    f.timeout_ns = timeout_ns;
    char error[300] = "";
    house_begin((struct house_options){.seed = seed});
    const struct ist_client_options options = {.endpoints = house_endpoint(),
                                               .connect_timeout_ns = PATIENCE_NS,
                                               .request_timeout_ns = PATIENCE_NS,
                                               .transport = IST_TRANSPORT_RDMA,
                                               .device = "client",
                                               .poll_ns = PATIENCE_NS};
    if (ist_client_new(&options, &f.client, error, sizeof(error)) != IST_OK) {
        fail_msg("%s", error);
    }
    f.memory = calloc(1, VALUE_BYTES);
    assert_non_null(f.memory);
    assert_int_equal(ist_memory_register(f.client, f.memory, VALUE_BYTES), IST_OK);
    house_park();
    atomic_store(&f.returned, false);
    assert_int_equal(pthread_create(&f.thread, NULL, put_once, NULL), 0);
    while (ist_client_in_flight(f.client) == 0 && !atomic_load(&f.returned)) {
        sched_yield();
    }
}

/* The thread must have come back. */
static void join(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    if (pthread_timedjoin_np(f.thread, NULL, &until) != 0) {
        fail_msg("a blocking call sleeps although its request is done");
    }
}

static void end(void) {
    ist_client_free(f.client);
    free(f.memory);
    house_end();
}

static void test_unregister__while_another_thread_polls__its_call_ends(void **state) {
    (void)state;
    begin(101, 0);
    assert_int_equal(ist_memory_unregister(f.client, f.memory, VALUE_BYTES), IST_OK);
    join();
    assert_int_equal(f.status, IST_PEER);
    house_unpark();
    end();
}

static void test_deadline__before_the_end_of_polling__ends_the_call(void **state) {
    (void)state;
    begin(102, 20000000);
    join();
    assert_int_equal(f.status, IST_TIMEOUT);
    house_unpark();
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unregister__while_another_thread_polls__its_call_ends),
        cmocka_unit_test(test_deadline__before_the_end_of_polling__ends_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

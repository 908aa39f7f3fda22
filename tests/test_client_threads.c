/* One client in many threads: blocking calls of which one leads, an event loop beside them, and what happens to all of
 * them at once. Worth running with the thread sanitizer. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/client_calls.h"

#define THREADS 8

static void wait_for_in_flight(const struct ist_client *client, size_t count) {
    uint64_t until_ns = ist_client_now_ns() + PATIENCE_NS;
    while (ist_client_in_flight(client) != count) {
        assert_true(ist_client_now_ns() < until_ns);
        (void)poll(NULL, 0, 1);
    }
}

static void wait_for_requests(struct fake *fake, size_t count) {
    uint64_t until_ns = ist_client_now_ns() + PATIENCE_NS;
    while (fake_requests(fake) < count) {
        assert_true(ist_client_now_ns() < until_ns);
        (void)poll(NULL, 0, 1);
    }
}

/* ---- a thread in a blocking call ---------------------------------------------------------------------------- */

struct caller {
    struct ist_client *client;
    pthread_t thread;
    uint64_t timeout_ns;
    enum ist_status status;
};

static void *ping_once(void *arg) {
    struct caller *caller = arg;
    caller->status = ist_ping(caller->client, caller->timeout_ns);
    return NULL;
}

static void caller_start(struct caller *caller, struct ist_client *client, uint64_t timeout_ns) {
    *caller = (struct caller){.client = client, .timeout_ns = timeout_ns};
    assert_int_equal(pthread_create(&caller->thread, NULL, ping_once, caller), 0);
}

static enum ist_status caller_end(struct caller *caller) {
    assert_int_equal(pthread_join(caller->thread, NULL), 0);
    return caller->status;
}

/* ---- all at once -------------------------------------------------------------------------------------------- */

struct worker {
    struct ist_client *client;
    pthread_t thread;
    uint64_t seed;
    unsigned rounds;
    const char *wrong; /* a thread cannot fail the test: it says what was wrong */
};

static void *get_values(void *arg) {
    struct worker *worker = arg;
    static const uint64_t sizes[] = {1, 100, 5000, 70000};
    for (unsigned round = 0; round < worker->rounds && worker->wrong == NULL; round++) {
        uint64_t bytes = sizes[random_below(&worker->seed, 4)];
        uint8_t *buffer = malloc(bytes);
        char name[32];
        snprintf(name, sizeof(name), "%llu", (unsigned long long)bytes);
        struct ist_get_item item = {
            .key = {name, strlen(name)}, .buffer = buffer, .buffer_bytes = bytes};
        if (buffer == NULL || ist_get(worker->client, &item, 1, 0) != IST_OK) {
            worker->wrong = "a get failed";
        }
        for (uint64_t at = 0; at < bytes && worker->wrong == NULL; at++) {
            if (buffer[at] != fake_byte(bytes, at)) {
                worker->wrong = "a wrong byte";
            }
        }
        free(buffer);
    }
    return NULL;
}

struct looping {
    struct ist_client *client;
    pthread_t thread;
    atomic_bool stops;
    atomic_uint calls, running; /* callbacks, and of them at the moment */
    const char *wrong;
};

/* Callbacks of one client never run at the same time. */
static void on_looped(void *arg, enum ist_status status) {
    struct looping *looping = arg;
    if (atomic_fetch_add(&looping->running, 1) != 0) {
        looping->wrong = "two callbacks at once";
    }
    atomic_fetch_add(&looping->calls, 1);
    if (status != IST_OK) {
        looping->wrong = "a ping failed";
    } else if (!atomic_load(&looping->stops) &&
               ist_ping_async(looping->client, 0, on_looped, looping) != IST_OK) {
        looping->wrong = "a submit failed";
    }
    atomic_fetch_sub(&looping->running, 1);
}

static void *loop(void *arg) {
    struct looping *looping = arg;
    while (!atomic_load(&looping->stops) || ist_client_in_flight(looping->client) > 0) {
        struct pollfd polled = {.fd = ist_client_fd(looping->client), .events = POLLIN};
        (void)poll(&polled, 1, 10); /* others may have taken what we wait for */
        (void)ist_client_process(looping->client);
    }
    return NULL;
}

static void test_threads__blocking_and_event_loop__all_answered(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    struct worker workers[THREADS];
    struct looping looping = {.client = client};
    unsigned rounds = getenv("IST_TEST_SHORT") == NULL ? 300 : 30;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ist_ping_async(client, 0, on_looped, &looping), IST_OK);
    }
    assert_int_equal(pthread_create(&looping.thread, NULL, loop, &looping), 0);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.client = client, .seed = i, .rounds = rounds};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, get_values, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        if (workers[i].wrong != NULL) {
            fail_msg("%s", workers[i].wrong);
        }
    }
    atomic_store(&looping.stops, true);
    assert_int_equal(pthread_join(looping.thread, NULL), 0);
    assert_null(looping.wrong);
    assert_true(atomic_load(&looping.calls) >= 4);
    assert_int_equal(ist_client_in_flight(client), 0);
    assert_int_equal(fake_connections(fake), 1);
    ist_client_free(client);
    fake_stop(fake);
}

/* Without an event loop: whoever leads runs the callbacks of the others. */
static void test_threads__callbacks_without_a_loop__run_by_who_leads(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    struct worker workers[3];
    struct looping looping = {.client = client};
    assert_int_equal(ist_ping_async(client, 0, on_looped, &looping), IST_OK);
    for (size_t i = 0; i < 3; i++) {
        workers[i] = (struct worker){.client = client, .seed = i, .rounds = 50};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, get_values, &workers[i]), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_null(workers[i].wrong);
    }
    assert_true(atomic_load(&looping.calls) > 1);
    assert_null(looping.wrong);
    atomic_store(&looping.stops, true);
    while (ist_client_in_flight(client) > 0) {
        assert_int_equal(ist_ping(client, 0), IST_OK);
    }
    ist_client_free(client);
    fake_stop(fake);
}

/* ---- one by one ------------------------------------------------------------------------------------------------ */

static void test_deadline__of_who_does_not_lead__in_time(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct caller patient, hasty;
    caller_start(&patient, client, PATIENCE_NS);
    wait_for_in_flight(client, 1);
    uint64_t begin_ns = ist_client_now_ns();
    caller_start(&hasty, client, 40 * MS);
    assert_int_equal(caller_end(&hasty), IST_TIMEOUT);
    assert_true(ist_client_now_ns() - begin_ns < PATIENCE_NS / 2);
    assert_int_equal(ist_client_in_flight(client), 1);
    fake_speak(fake);
    assert_int_equal(caller_end(&patient), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

/* Who leads goes first; somebody takes over. */
static void test_lead__first_one_leaves__others_are_answered(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct caller leader, others[4];
    caller_start(&leader, client, 60 * MS);
    wait_for_requests(fake, 1); /* it leads; a slow machine may not see it in flight */
    for (size_t i = 0; i < 4; i++) {
        caller_start(&others[i], client, PATIENCE_NS);
    }
    assert_int_equal(caller_end(&leader), IST_TIMEOUT);
    wait_for_requests(fake, 5);
    fake_speak(fake);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(caller_end(&others[i]), IST_OK);
    }
    ist_client_free(client);
    fake_stop(fake);
}

static void test_loss__all_blocked__all_peer(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct caller callers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        caller_start(&callers[i], client, PATIENCE_NS);
    }
    wait_for_requests(fake, THREADS);
    fake_stop(fake);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(caller_end(&callers[i]), IST_PEER);
    }
    ist_client_free(client);
}

static void count_call(void *arg, enum ist_status status) {
    atomic_uint *calls = arg;
    atomic_fetch_add(calls, status == IST_OK ? 1 : 1000);
}

/* A leader that waits for a reply must also send what another thread has left over: here it is answered only behind
 * that. */
static void test_lead__others_submit_more_than_the_socket_takes__leader_sends(void **state) {
    (void)state;
    enum { BYTES = 16 << 20 };
    struct fake *fake = start_one(FAKE_HOLD);
    struct ist_client *client = client_of(fake);
    uint8_t *value = calloc(1, BYTES);
    assert_non_null(value);
    struct ist_put_item item = {.key = {"a", 1}, .value = value, .value_bytes = BYTES};
    struct caller leader;
    atomic_uint calls = 0;
    caller_start(&leader, client, PATIENCE_NS);
    wait_for_requests(fake, 1);
    assert_int_equal(ist_put_async(client, &item, 1, 0, 0, count_call, &calls), IST_OK);
    assert_int_equal(caller_end(&leader), IST_OK);
    assert_int_equal(atomic_load(&calls), 1);
    free(value);
    ist_client_free(client);
    fake_stop(fake);
}

/* Somebody else has processed what the leader waits for. */
static void test_lead__answered_by_another_thread__leader_returns(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_GOOD);
    struct ist_client *client = client_of(fake);
    unsigned rounds = getenv("IST_TEST_SHORT") == NULL ? 500 : 50;
    for (unsigned i = 0; i < rounds; i++) {
        struct caller caller;
        caller_start(&caller, client, PATIENCE_NS);
        while (ist_client_in_flight(client) > 0) {
            (void)ist_client_process(client);
        }
        assert_int_equal(caller_end(&caller), IST_OK);
    }
    ist_client_free(client);
    fake_stop(fake);
}

/* ---- callbacks that wait ---------------------------------------------------------------------------------------- */

/* A callback that returns when another thread's blocking call has: as with a lock of the program that the other holds
 * during its call. */
struct gate {
    atomic_bool entered, open;
};

static void wait_at_gate(void *arg, enum ist_status status) {
    struct gate *gate = arg;
    uint64_t until_ns = ist_client_now_ns() + PATIENCE_NS;
    (void)status;
    atomic_store(&gate->entered, true);
    while (!atomic_load(&gate->open) && ist_client_now_ns() < until_ns) {
        (void)poll(NULL, 0, 1);
    }
}

static void wait_until_entered(struct gate *gate) {
    uint64_t until_ns = ist_client_now_ns() + PATIENCE_NS;
    while (!atomic_load(&gate->entered)) {
        assert_true(ist_client_now_ns() < until_ns);
        (void)poll(NULL, 0, 1);
    }
}

static void test_callback__of_the_leader_waits_for_a_follower__both_go_on(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct caller leader, follower;
    struct gate gate = {0};
    caller_start(&leader, client, PATIENCE_NS);
    wait_for_requests(fake, 1); /* it leads */
    caller_start(&follower, client, PATIENCE_NS);
    wait_for_requests(fake, 2);
    assert_int_equal(ist_ping_async(client, MS, wait_at_gate, &gate),
                     IST_OK); /* times out: called by the leader */
    wait_until_entered(&gate);
    fake_speak(fake);
    uint64_t begin_ns = ist_client_now_ns();
    assert_int_equal(caller_end(&follower), IST_OK);
    assert_true(ist_client_now_ns() - begin_ns < PATIENCE_NS / 2);
    atomic_store(&gate.open, true);
    assert_int_equal(caller_end(&leader), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

/* One that comes later finds nobody who leads, and does it. Its deadline holds as well. */
static void test_callback__of_the_leader_waits__calls_of_others_go_on(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct caller leader;
    struct gate gate = {0};
    caller_start(&leader, client, PATIENCE_NS);
    wait_for_requests(fake, 1);
    assert_int_equal(ist_ping_async(client, MS, wait_at_gate, &gate), IST_OK);
    wait_until_entered(&gate);
    uint64_t begin_ns = ist_client_now_ns();
    assert_int_equal(ist_ping(client, 5 * MS), IST_TIMEOUT);
    fake_speak(fake);
    assert_int_equal(ist_ping(client, PATIENCE_NS), IST_OK);
    assert_true(ist_client_now_ns() - begin_ns < PATIENCE_NS / 2);
    atomic_store(&gate.open, true);
    assert_int_equal(caller_end(&leader), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

/* ---- threads that are cancelled ---------------------------------------------------------------------------------- */

static void test_cancel__in_a_call__it_returns_first_and_others_go_on(void **state) {
    (void)state;
    struct fake *fake = start_one(FAKE_MUTE);
    struct ist_client *client = client_of(fake);
    struct caller callers[2];
    for (size_t i = 0; i < 2; i++) { /* one leads, the other follows */
        caller_start(&callers[i], client, PATIENCE_NS);
        callers[i].status = IST_AGAIN;
        wait_for_requests(fake, i + 1);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_cancel(callers[i].thread), 0);
    }
    fake_speak(fake);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
    }
    assert_int_equal(callers[0].status, IST_OK);
    assert_int_equal(callers[1].status, IST_OK);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    fake_stop(fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads__blocking_and_event_loop__all_answered),
        cmocka_unit_test(test_threads__callbacks_without_a_loop__run_by_who_leads),
        cmocka_unit_test(test_deadline__of_who_does_not_lead__in_time),
        cmocka_unit_test(test_lead__first_one_leaves__others_are_answered),
        cmocka_unit_test(test_loss__all_blocked__all_peer),
        cmocka_unit_test(test_lead__others_submit_more_than_the_socket_takes__leader_sends),
        cmocka_unit_test(test_lead__answered_by_another_thread__leader_returns),
        cmocka_unit_test(test_callback__of_the_leader_waits_for_a_follower__both_go_on),
        cmocka_unit_test(test_callback__of_the_leader_waits__calls_of_others_go_on),
        cmocka_unit_test(test_cancel__in_a_call__it_returns_first_and_others_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

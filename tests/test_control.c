/* src/daemon/control: commands from other threads, a full queue, deadlines, and the end while somebody waits. */
#include "tests/support.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control.h"
#include "infinistore/limits.h"

#define POOL_BYTES (1u << 20)
#define LONG_NS (60 * IST_NS_PER_SEC) /* never reached by a test that passes */
#define SHORT_NS 1000000ull

static struct {
    struct failing_alloc failing;
    struct ist_alloc alloc; /* the store's: what it releases may be held up */
    bool hold_release;
    sem_t held, go_on;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_control *control;
} f;

static void *store_allocate(void *context, size_t bytes) {
    (void)context;
    return f.failing.alloc.allocate(f.failing.alloc.context, bytes);
}

static void *store_resize(void *context, void *memory, size_t bytes) {
    (void)context;
    return f.failing.alloc.resize(f.failing.alloc.context, memory, bytes);
}

static void store_release(void *context, void *memory) {
    (void)context;
    if (f.hold_release) {
        f.hold_release = false;
        sem_post(&f.held);
        sem_wait(&f.go_on);
    }
    f.failing.alloc.release(f.failing.alloc.context, memory);
}

static int setup(void **state) {
    (void)state;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.alloc = (struct ist_alloc){
        .allocate = store_allocate, .resize = store_resize, .release = store_release};
    sem_init(&f.held, 0, 0);
    sem_init(&f.go_on, 0, 0);
    const struct ist_store_config store_config = {.pool_bytes_max = POOL_BYTES,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = &f.alloc};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    assert_int_equal(ist_store_grow(f.store, POOL_BYTES), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = 1,
                                                    .server_name = "test",
                                                    .alloc = ist_alloc_system(),
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
    assert_int_equal(ist_control_new(ist_alloc_system(), &f.control), IST_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ist_control_free(f.control);
    ist_engine_free(f.engine);
    ist_store_free(f.store);
    assert_int_equal(f.failing.live, 0);
    sem_destroy(&f.held);
    sem_destroy(&f.go_on);
    return 0;
}

static void put_keys(unsigned count, uint64_t bytes) {
    for (unsigned i = 0; i < count; i++) {
        struct ist_entry *entry;
        assert_int_equal(ist_store_reserve(f.store, ist_span_of(&i, sizeof(i)), bytes, false, &entry),
                         IST_OK);
        assert_int_equal(ist_store_commit(f.store, entry, false), IST_OK);
        ist_store_release(f.store, entry);
    }
}

static uint64_t keys_now(void) {
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    return usage.keys;
}

/* ---- a caller in a thread of its own ------------------------------------------------------------- */

struct caller {
    pthread_t thread;
    struct ist_control_request request;
    uint64_t timeout_ns;
    enum ist_status status;
    struct ist_control_answer answer;
};

static void *call(void *arg) {
    struct caller *caller = arg;
    caller->status = ist_control_call(f.control, &caller->request, caller->timeout_ns, &caller->answer);
    return NULL;
}

static void start(struct caller *caller, enum ist_command command, uint64_t timeout_ns) {
    caller->request.command = command;
    caller->timeout_ns = timeout_ns;
    assert_int_equal(pthread_create(&caller->thread, NULL, call, caller), 0);
}

static enum ist_status join(struct caller *caller) {
    assert_int_equal(pthread_join(caller->thread, NULL), 0);
    return caller->status;
}

/* Until one more call waits. */
static void wait_for_a_call(void) {
    struct pollfd polled = {.fd = ist_control_fd(f.control), .events = POLLIN};
    uint64_t count;
    assert_int_equal(poll(&polled, 1, 60000), 1);
    assert_int_equal(read(polled.fd, &count, sizeof(count)), sizeof(count));
}

static void start_and_wait(struct caller *caller, enum ist_command command, uint64_t timeout_ns) {
    start(caller, command, timeout_ns);
    wait_for_a_call();
}

static void run(void) {
    ist_control_run(f.control, f.store, f.engine);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_call__each_command__answered_by_the_loop(void **state) {
    (void)state;
    struct caller caller = {0};
    put_keys(16, 4096);
    start_and_wait(&caller, IST_COMMAND_KEYS, LONG_NS);
    run();
    assert_int_equal(join(&caller), IST_OK);
    assert_int_equal(caller.answer.count, 16);

    start_and_wait(&caller, IST_COMMAND_STATS, LONG_NS);
    run();
    assert_int_equal(join(&caller), IST_OK);
    assert_int_equal(caller.answer.stats.keys_stored, 16);
    assert_int_equal(caller.answer.stats.pool_bytes, POOL_BYTES);

    caller.request.bytes = 8192;
    start_and_wait(&caller, IST_COMMAND_EVICT, LONG_NS);
    run();
    assert_int_equal(join(&caller), IST_OK);
    assert_int_equal(caller.answer.count, 8192);
    assert_int_equal(keys_now(), 14);

    start_and_wait(&caller, IST_COMMAND_PURGE, LONG_NS);
    run();
    assert_int_equal(join(&caller), IST_OK);
    assert_int_equal(caller.answer.count, 14);
    assert_int_equal(keys_now(), 0);
}

static void test_call__evict_to_a_share__that_much_stays(void **state) {
    (void)state;
    put_keys(128, 4096); /* half of the pool */
    struct caller caller = {.request.share = 0.75};
    start_and_wait(&caller, IST_COMMAND_EVICT_TO, LONG_NS);
    run();
    assert_int_equal(join(&caller), IST_OK);
    assert_int_equal(caller.answer.count, 0);
    assert_int_equal(keys_now(), 128);
    caller.request.share = 0.25;
    start_and_wait(&caller, IST_COMMAND_EVICT_TO, LONG_NS);
    run();
    assert_int_equal(join(&caller), IST_OK);
    assert_int_equal(caller.answer.count, POOL_BYTES / 4);
    assert_int_equal(keys_now(), 64);
}

static void test_run__several_wait__oldest_first(void **state) {
    (void)state;
    put_keys(3, 4096);
    struct caller before = {0}, purge = {0}, after = {0};
    start_and_wait(&before, IST_COMMAND_KEYS, LONG_NS);
    start_and_wait(&purge, IST_COMMAND_PURGE, LONG_NS);
    start_and_wait(&after, IST_COMMAND_KEYS, LONG_NS);
    run();
    assert_int_equal(join(&before), IST_OK);
    assert_int_equal(join(&purge), IST_OK);
    assert_int_equal(join(&after), IST_OK);
    assert_int_equal(before.answer.count, 3);
    assert_int_equal(purge.answer.count, 3);
    assert_int_equal(after.answer.count, 0);
}

static void test_run__nothing_waits__nothing_happens(void **state) {
    (void)state;
    put_keys(1, 4096);
    run();
    assert_int_equal(keys_now(), 1);
}

static void test_call__queue_full__refused_at_once(void **state) {
    (void)state;
    struct caller callers[IST_CONTROL_QUEUE_MAX] = {0};
    for (size_t i = 0; i < IST_CONTROL_QUEUE_MAX; i++) {
        start_and_wait(&callers[i], IST_COMMAND_KEYS, LONG_NS);
    }
    const struct ist_control_request keys = {.command = IST_COMMAND_KEYS};
    struct ist_control_answer answer;
    assert_int_equal(ist_control_call(f.control, &keys, LONG_NS, &answer), IST_NO_SPACE);
    run();
    for (size_t i = 0; i < IST_CONTROL_QUEUE_MAX; i++) {
        assert_int_equal(join(&callers[i]), IST_OK);
    }
    start_and_wait(&callers[0], IST_COMMAND_KEYS, LONG_NS);
    run();
    assert_int_equal(join(&callers[0]), IST_OK);
}

static void test_call__deadline_before_the_loop_comes__timeout_and_never_done(void **state) {
    (void)state;
    put_keys(2, 4096);
    const struct ist_control_request purge = {.command = IST_COMMAND_PURGE};
    struct ist_control_answer answer;
    for (size_t i = 0; i < 2 * IST_CONTROL_QUEUE_MAX; i++) { /* no slot is lost */
        assert_int_equal(ist_control_call(f.control, &purge, i == 0 ? SHORT_NS : 0, &answer),
                         IST_TIMEOUT);
    }
    run();
    assert_int_equal(keys_now(), 2);
}

static void test_call__longest_timeout__no_overflow(void **state) {
    (void)state;
    struct caller caller = {0};
    start_and_wait(&caller, IST_COMMAND_KEYS, UINT64_MAX);
    run();
    assert_int_equal(join(&caller), IST_OK);
}

static void *run_in_thread(void *arg) {
    (void)arg;
    run();
    return NULL;
}

static void test_call__deadline_while_it_is_done__timeout_and_the_slot_comes_back(void **state) {
    (void)state;
    put_keys(4, 4096);
    struct caller caller = {0};
    pthread_t loop;
    f.hold_release = true;
    start_and_wait(&caller, IST_COMMAND_PURGE, 50 * SHORT_NS);
    assert_int_equal(pthread_create(&loop, NULL, run_in_thread, NULL), 0);
    enum ist_status status = join(&caller);
    if (status == IST_TIMEOUT) { /* always, but where the loop's thread needed too long to start */
        sem_post(&f.go_on);
    }
    assert_int_equal(pthread_join(loop, NULL), 0);
    assert_int_equal(status, IST_TIMEOUT);
    assert_int_equal(keys_now(), sem_trywait(&f.held) == 0 ? 0 : 4);
    f.hold_release = false;
    struct caller callers[IST_CONTROL_QUEUE_MAX] = {0};
    for (size_t i = 0; i < IST_CONTROL_QUEUE_MAX; i++) {
        start_and_wait(&callers[i], IST_COMMAND_KEYS, LONG_NS);
    }
    run();
    for (size_t i = 0; i < IST_CONTROL_QUEUE_MAX; i++) {
        assert_int_equal(join(&callers[i]), IST_OK);
    }
}

static void test_close__somebody_waits__peer_at_once_and_for_good(void **state) {
    (void)state;
    put_keys(1, 4096);
    struct caller callers[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        start_and_wait(&callers[i], IST_COMMAND_PURGE, LONG_NS);
    }
    ist_control_close(f.control);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(join(&callers[i]), IST_PEER);
    }
    const struct ist_control_request purge = {.command = IST_COMMAND_PURGE};
    struct ist_control_answer answer;
    assert_int_equal(ist_control_call(f.control, &purge, LONG_NS, &answer), IST_PEER);
    run();
    assert_int_equal(keys_now(), 1);
}

/* ---- many at once -------------------------------------------------------------------------------- */

#define MANY 6
#define CALLS 300

static void *call_again_and_again(void *arg) {
    uint64_t seed = *(uint64_t *)arg, *ok = arg;
    *ok = 0;
    for (unsigned i = 0; i < CALLS; i++) {
        const struct ist_control_request request = {
            .command = random_below(&seed, 2) == 0 ? IST_COMMAND_STATS : IST_COMMAND_KEYS};
        struct ist_control_answer answer = {0};
        uint64_t timeout_ns = random_below(&seed, 3) == 0 ? random_below(&seed, 50000) : LONG_NS;
        enum ist_status status = ist_control_call(f.control, &request, timeout_ns, &answer);
        bool right =
            request.command == IST_COMMAND_KEYS ? answer.count == 5 : answer.stats.keys_stored == 5;
        *ok += status == IST_OK ? right : status == IST_TIMEOUT && timeout_ns != LONG_NS;
    }
    return NULL;
}

static void test_call__many_threads_with_short_deadlines__each_ends_rightly(void **state) {
    (void)state;
    put_keys(5, 4096);
    pthread_t threads[MANY];
    uint64_t numbers[MANY];
    for (size_t i = 0; i < MANY; i++) {
        numbers[i] = i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, call_again_and_again, &numbers[i]), 0);
    }
    size_t joined = 0;
    while (joined < MANY) {
        struct pollfd polled = {.fd = ist_control_fd(f.control), .events = POLLIN};
        (void)poll(&polled, 1, 1);
        run();
        if (pthread_tryjoin_np(threads[joined], NULL) == 0) {
            assert_int_equal(numbers[joined], CALLS);
            joined++;
        }
    }
}

static void test_new__no_memory__nothing_leaked(void **state) {
    (void)state;
    struct failing_alloc failing;
    struct ist_control *control = NULL;
    failing_alloc_init(&failing, 1);
    assert_int_equal(ist_control_new(&failing.alloc, &control), IST_NO_MEMORY);
    assert_null(control);
    assert_int_equal(failing.live, 0);
    ist_control_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_call__each_command__answered_by_the_loop),
        TEST(test_call__evict_to_a_share__that_much_stays),
        TEST(test_run__several_wait__oldest_first),
        TEST(test_run__nothing_waits__nothing_happens),
        TEST(test_call__queue_full__refused_at_once),
        TEST(test_call__deadline_before_the_loop_comes__timeout_and_never_done),
        TEST(test_call__longest_timeout__no_overflow),
        TEST(test_call__deadline_while_it_is_done__timeout_and_the_slot_comes_back),
        TEST(test_close__somebody_waits__peer_at_once_and_for_good),
        TEST(test_call__many_threads_with_short_deadlines__each_ends_rightly),
        TEST(test_new__no_memory__nothing_leaked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

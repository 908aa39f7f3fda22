/* src/daemon/loop: time, memory, upkeep, commands and signals, with the real rooms behind it. What is awaited
 * always comes; nothing is measured. */
#include "tests/support.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "daemon/loop.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define HUGE IST_MEMORY_HUGE_BYTES
#define FAR_NS (3600ull * 1000000000)

/* ---- the clocks, for all of this program; libev is to find them, too ------------------------------------------ */

#define SEEN __attribute__((visibility("default")))

static time_t passed_sec; /* at once */

SEEN int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    now->tv_sec += passed_sec;
    return (int)result;
}

SEEN int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long result = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += passed_sec;
    return (int)result;
}

/* ---- the rooms ------------------------------------------------------------------------------------------------- */

static struct {
    struct ev_loop *ev;
    struct failing_alloc failing;
    struct ist_log log;
    char last_warning[IST_LOG_LINE_MAX];
    struct ist_memory *memory;
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_tcp *tcp;
    struct ist_listeners *listeners;
    struct ist_loop *loop;
    int control_fd;
    int controls;
    atomic_ullong available_bytes; /* of the machine, as the memory is told: by its thread, too */
} f;

static void keep_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)session;
    if (level == IST_LOG_WARNING) {
        snprintf(f.last_warning, sizeof(f.last_warning), "%s", message);
    }
}

static uint64_t available(void *context) {
    (void)context;
    return f.available_bytes;
}

static void accepted(void *context, int fd) {
    (void)context;
    ist_tcp_accept(f.tcp, fd);
}

static void on_control(void *context) {
    (void)context;
    uint64_t count;
    assert_int_equal(read(f.control_fd, &count, sizeof(count)), sizeof(count));
    f.controls++;
    raise(SIGTERM);
}

static void make_memory_and_store(uint64_t bytes, uint64_t bytes_max) {
    const struct ist_memory_config memory_config = {.bytes = bytes,
                                                    .bytes_max = bytes_max,
                                                    .first_segment_bytes = HUGE,
                                                    .segment_bytes = HUGE,
                                                    .available_bytes = available,
                                                    .alloc = &f.failing.alloc,
                                                    .log = &f.log};
    assert_int_equal(ist_memory_new(&memory_config, &f.memory), IST_OK);
    const struct ist_store_config store_config = {.pool_bytes_max = bytes_max,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = &f.failing.alloc};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    assert_int_equal(ist_store_grow(f.store, ist_memory_take(f.memory)), IST_OK);
}

static void make(uint64_t bytes, uint64_t bytes_max, uint64_t handshake_timeout_ns,
                 const struct ist_loop_config *wanted) {
    make_memory_and_store(bytes, bytes_max);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = 4,
                                                    .handshake_timeout_ns = handshake_timeout_ns,
                                                    .server_name = "test",
                                                    .alloc = &f.failing.alloc,
                                                    .log = &f.log};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
    const struct ist_tcp_config tcp_config = {.loop = f.ev,
                                              .engine = f.engine,
                                              .pool_base = ist_memory_base(f.memory),
                                              .alloc = &f.failing.alloc,
                                              .log = &f.log};
    assert_int_equal(ist_tcp_new(&tcp_config, &f.tcp), IST_OK);
    const struct ist_listeners_config listeners_config = {
        .loop = f.ev, .accepted = accepted, .alloc = &f.failing.alloc, .log = &f.log};
    assert_int_equal(ist_listeners_new(&listeners_config, &f.listeners), IST_OK);
    struct ist_loop_config config = *wanted;
    config.ev = f.ev;
    config.engine = f.engine;
    config.store = f.store;
    config.memory = f.memory;
    config.tcp = f.tcp;
    config.listeners = f.listeners;
    config.control_fd = f.control_fd;
    config.control = on_control;
    config.alloc = &f.failing.alloc;
    config.log = &f.log;
    assert_int_equal(ist_loop_new(&config, &f.loop), IST_OK);
}

static int setup(void **state) {
    (void)state;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.available_bytes = UINT64_MAX;
    f.log = (struct ist_log){.level = IST_LOG_DEBUG, .write = keep_line};
    f.ev = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(f.ev);
    f.control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(f.control_fd >= 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ist_loop_free(f.loop);
    ist_listeners_free(f.listeners);
    ist_tcp_free(f.tcp);
    ist_engine_free(f.engine);
    ist_store_free(f.store);
    ist_memory_free(f.memory);
    assert_int_equal(f.failing.live, 0);
    close(f.control_fd);
    ev_loop_destroy(f.ev);
    return 0;
}

static int client_new(void) {
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    ist_tcp_accept(f.tcp, ends[1]);
    return ends[0];
}

static struct ist_store_usage usage_now(void) {
    struct ist_store_usage usage;
    ist_store_usage(f.store, &usage);
    return usage;
}

static void test_run__sigterm_without_connections__ends_drained(void **state) {
    (void)state;
    make(HUGE, HUGE, 0, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    raise(SIGTERM);
    assert_true(ist_loop_run(f.loop));
}

static void test_run__sigint_with_an_idle_connection__ends_it(void **state) {
    (void)state;
    make(HUGE, HUGE, FAR_NS, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    int client = client_new();
    raise(SIGINT);
    assert_true(ist_loop_run(f.loop));
    assert_int_equal(ist_tcp_connections(f.tcp), 0);
    close(client);
}

static void test_run__second_signal__ends_at_once(void **state) {
    (void)state;
    make(HUGE, HUGE, 0, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    raise(SIGTERM);
    raise(SIGINT);
    assert_false(ist_loop_run(f.loop));
}

static void on_ended(struct ev_loop *ev, ev_io *io, int revents) {
    (void)io;
    (void)revents;
    ev_break(ev, EVBREAK_ONE);
}

static void test_run__handshake_never_comes__its_deadline_ends_it(void **state) {
    (void)state;
    make(HUGE, HUGE, 1000000, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    int client = client_new();
    /* Run until the peer sees its end: the loop closes just before it waits, for which nothing else would
     * wake it again. */
    ev_io ended;
    ev_io_init(&ended, on_ended, client, EV_READ);
    ev_io_start(f.ev, &ended);
    ev_run(f.ev, 0);
    ev_io_stop(f.ev, &ended);
    assert_int_equal(ist_tcp_connections(f.tcp), 0);
    struct ist_stats stats;
    ist_engine_stats(f.engine, &stats);
    assert_int_equal(stats.sessions_ended_timeout, 1);
    close(client);
}

static void say_hello(int client) {
    uint8_t frame[IST_FRAME_BYTES + IST_HELLO_BYTES_MAX];
    const struct ist_hello hello = {.version_min = IST_FRAME_VERSION,
                                    .version_max = IST_FRAME_VERSION,
                                    .client = ist_span_of_string("test")};
    size_t bytes;
    assert_int_equal(
        ist_codec_encode_hello(&hello, frame + IST_FRAME_BYTES, IST_HELLO_BYTES_MAX, &bytes), IST_OK);
    const struct ist_frame header = {.operation = IST_OP_HELLO, .body_bytes = (uint32_t)bytes};
    ist_frame_encode(&header, frame);
    bytes += IST_FRAME_BYTES;
    assert_int_equal(write(client, frame, bytes), bytes);
}

static void turns(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        ev_run(f.ev, EVRUN_NOWAIT);
    }
}

/* It was the daemon that slept: what came in time is not late because it was not looked at. */
static void
test_run__stood_still_for_longer_than_a_handshake_may_take__who_was_in_time_stays(void **state) {
    (void)state;
    make(HUGE, HUGE, 10 * IST_NS_PER_SEC, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    int in_time = client_new(), too_late = client_new();
    turns(2); /* its deadline is known */
    say_hello(in_time);
    passed_sec += 60;
    turns(4);
    uint8_t reply[IST_FRAME_BYTES];
    assert_int_equal(read(in_time, reply, sizeof(reply)), sizeof(reply));
    assert_int_equal(ist_tcp_connections(f.tcp), 2);
    passed_sec += 2;
    turns(4);
    assert_int_equal(ist_tcp_connections(f.tcp), 1);
    passed_sec += 60;
    turns(4);
    assert_int_equal(ist_tcp_connections(f.tcp), 1);
    close(in_time);
    close(too_late);
}

static void test_run__command__handled(void **state) {
    (void)state;
    make(HUGE, HUGE, 0, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    assert_int_equal(write(f.control_fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
    assert_true(ist_loop_run(f.loop));
    assert_int_equal(f.controls, 1);
}

static uint64_t target_now(void) {
    struct ist_stats stats;
    ist_engine_stats(f.engine, &stats);
    return stats.pool_target_bytes;
}

static void test_run__more_memory__the_store_has_it(void **state) {
    (void)state;
    make(5 * HUGE, 5 * HUGE, 0, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    while (usage_now().pool_bytes < 5 * HUGE) {
        assert_int_equal(target_now(), 5 * HUGE); /* who waits for it knows that it comes */
        ev_run(f.ev, EVRUN_ONCE);
    }
    assert_int_equal(usage_now().pool_bytes, 5 * HUGE);
    assert_int_equal(target_now(), 5 * HUGE);
}

static void on_late(struct ev_loop *ev, ev_timer *timer, int revents) {
    (void)ev;
    (void)timer;
    (void)revents;
    fail_msg("nothing more comes");
}

/* What the store had no memory of its own for is not lost. */
static void test_run__more_memory_and_none_for_its_records__the_store_has_it_later(void **state) {
    (void)state;
    make(HUGE, 2 * HUGE, 0, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    ev_timer late;
    ev_timer_init(&late, on_late, 60., 0.);
    ev_timer_start(f.ev, &late);
    f.failing.fail_at = f.failing.calls + 1;
    ist_memory_grow(f.memory, 2 * HUGE);
    while (usage_now().pool_bytes < 2 * HUGE) {
        ev_run(f.ev, EVRUN_ONCE);
    }
    ev_timer_stop(f.ev, &late);
    assert_true(f.failing.calls > f.failing.fail_at); /* it was tried again */
    assert_non_null(strstr(f.last_warning, "the pool cannot use"));
}

static void put_key(char name, uint64_t bytes) {
    struct ist_entry *entry;
    assert_int_equal(ist_store_reserve(f.store, ist_span_of(&name, 1), bytes, false, &entry), IST_OK);
    assert_int_equal(ist_store_commit(f.store, entry, false), IST_OK);
    ist_store_release(f.store, entry);
}

static void test_run__pool_nearly_full_and_may_grow__grows(void **state) {
    (void)state;
    const struct ist_loop_config config = {
        .drain_timeout_ns = FAR_NS,
        .upkeep = {.auto_increase = true, .increase_bytes = 2 * HUGE, .increase_threshold = 0.5}};
    make(HUGE, 8 * HUGE, 0, &config);
    put_key('a', HUGE * 3 / 4);
    while (usage_now().pool_bytes < 3 * HUGE) {
        ev_run(f.ev, EVRUN_ONCE);
    }
    assert_int_equal(target_now(), 3 * HUGE);
    assert_int_equal(usage_now().pool_bytes, 3 * HUGE);
    assert_int_equal(usage_now().evicted_entries, 0);
}

/* What does not come is not announced any longer. */
static void test_run__machine_has_no_more__target_is_what_is_there(void **state) {
    (void)state;
    const struct ist_loop_config config = {
        .drain_timeout_ns = FAR_NS,
        .upkeep = {.auto_increase = true, .increase_bytes = 2 * HUGE, .increase_threshold = 0.5}};
    struct ist_memory_state memory = {0};
    make(HUGE, 8 * HUGE, 0, &config);
    put_key('a', HUGE * 3 / 4);
    f.available_bytes = 0;
    while (memory.refusals == 0) {
        ev_run(f.ev, EVRUN_ONCE);
        ist_memory_state(f.memory, &memory);
    }
    ev_run(f.ev, EVRUN_ONCE);
    assert_int_equal(target_now(), HUGE);
    assert_int_equal(usage_now().pool_bytes, HUGE);
}

static void test_run__above_the_eviction_threshold__thinned_out(void **state) {
    (void)state;
    const struct ist_loop_config config = {
        .drain_timeout_ns = FAR_NS,
        .evict_interval_sec = 0.001,
        .upkeep = {.periodic_evict = true, .evict_min_threshold = 0.25, .evict_max_threshold = 0.5}};
    make(HUGE, HUGE, 0, &config);
    put_key('a', HUGE / 4);
    put_key('b', HUGE / 4);
    put_key('c', HUGE / 4);
    while (usage_now().evicted_entries < 2) {
        ev_run(f.ev, EVRUN_ONCE);
    }
    assert_int_equal(usage_now().keys, 1);
    assert_int_equal(usage_now().committed_bytes, HUGE / 4);
}

/* Very many entries go in steps, and whoever wants something is served between them. */
static void test_run__many_entries_to_evict__others_get_their_turns(void **state) {
    (void)state;
    const struct ist_loop_config config = {
        .drain_timeout_ns = FAR_NS,
        .evict_interval_sec = 0.001,
        .upkeep = {.periodic_evict = true, .evict_min_threshold = 0.25, .evict_max_threshold = 0.5}};
    make(HUGE, 8 * HUGE, 0, &config);
    assert_int_equal(ist_store_grow(f.store, 7 * HUGE), IST_OK);
    for (uint32_t i = 0; i < 8 * HUGE / 4096; i++) {
        struct ist_entry *entry;
        const struct ist_span key = ist_span_of((const uint8_t *)&i, sizeof(i));
        assert_int_equal(ist_store_reserve(f.store, key, 4096, false, &entry), IST_OK);
        assert_int_equal(ist_store_commit(f.store, entry, false), IST_OK);
        ist_store_release(f.store, entry);
    }
    uint64_t before = 0, most = 0;
    while (usage_now().committed_bytes > HUGE / 4) { /* of the target, which is what is prepared */
        ev_run(f.ev, EVRUN_ONCE);
        uint64_t now = usage_now().evicted_entries;
        most = now - before > most ? now - before : most;
        before = now;
    }
    assert_int_equal(usage_now().committed_bytes, HUGE / 4);
    assert_in_range(most, 1, IST_LOOP_EVICT_ENTRIES);
}

static void test_new__no_memory__nothing_taken_over(void **state) {
    (void)state;
    make(HUGE, HUGE, 0, &(struct ist_loop_config){.drain_timeout_ns = FAR_NS});
    ist_loop_free(f.loop);
    f.loop = NULL;
    f.failing.fail_at = f.failing.calls + 1;
    const struct ist_loop_config config = {.ev = f.ev, .alloc = &f.failing.alloc};
    assert_int_equal(ist_loop_new(&config, &f.loop), IST_NO_MEMORY);
    assert_null(f.loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_run__sigterm_without_connections__ends_drained),
        TEST(test_run__sigint_with_an_idle_connection__ends_it),
        TEST(test_run__second_signal__ends_at_once),
        TEST(test_run__handshake_never_comes__its_deadline_ends_it),
        TEST(test_run__stood_still_for_longer_than_a_handshake_may_take__who_was_in_time_stays),
        TEST(test_run__command__handled),
        TEST(test_run__more_memory__the_store_has_it),
        TEST(test_run__machine_has_no_more__target_is_what_is_there),
        TEST(test_run__pool_nearly_full_and_may_grow__grows),
        TEST(test_run__above_the_eviction_threshold__thinned_out),
        TEST(test_run__more_memory_and_none_for_its_records__the_store_has_it_later),
        TEST(test_run__many_entries_to_evict__others_get_their_turns),
        TEST(test_new__no_memory__nothing_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

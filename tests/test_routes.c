/* src/daemon/routes: which page answers what to whom, with a real store behind it, a loop that runs in a thread of
 * its own, and with none that answers. */
#include "tests/support.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <jansson.h>

#include "daemon/clock.h"
#include "daemon/routes.h"
#include "infinistore/limits.h"

#define POOL_BYTES (1u << 20)

static struct {
    struct failing_alloc failing; /* of the answers */
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_control *control;
    struct ist_routes routes;
    pthread_t loop;
    int stop_fd;
    struct ist_route_answer answer;
} f;

/* As the daemon's loop does: when something is asked. */
static void *run_loop(void *arg) {
    (void)arg;
    for (;;) {
        struct pollfd polled[2] = {{.fd = ist_control_fd(f.control), .events = POLLIN},
                                   {.fd = f.stop_fd, .events = POLLIN}};
        (void)poll(polled, 2, -1);
        if (polled[1].revents != 0) {
            return NULL;
        }
        ist_control_run(f.control, f.store, f.engine);
    }
}

static void stop_loop(void) {
    assert_int_equal(write(f.stop_fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
    assert_int_equal(pthread_join(f.loop, NULL), 0);
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

/* A loop that answers; 8 keys of 64 KiB fill half of the pool. */
static int setup(void **state) {
    (void)state;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    const struct ist_store_config store_config = {.pool_bytes_max = POOL_BYTES,
                                                  .min_block_bytes = 4096,
                                                  .granule_bytes = 4096,
                                                  .alloc = ist_alloc_system()};
    assert_int_equal(ist_store_new(&store_config, &f.store), IST_OK);
    assert_int_equal(ist_store_grow(f.store, POOL_BYTES), IST_OK);
    const struct ist_engine_config engine_config = {.incarnation = 1,
                                                    .sessions_max = 1,
                                                    .server_name = "test",
                                                    .alloc = ist_alloc_system(),
                                                    .log = ist_log_null()};
    assert_int_equal(ist_engine_new(&engine_config, f.store, &f.engine), IST_OK);
    assert_int_equal(ist_control_new(ist_alloc_system(), &f.control), IST_OK);
    f.routes = (struct ist_routes){.control = f.control,
                                   .alloc = &f.failing.alloc,
                                   .log = ist_log_null(),
                                   .service = "127.0.0.1:1", /* nobody */
                                   .evict_share = 0.25,
                                   .started_at_sec = 1700000000,
                                   .started_at_ns = ist_clock_ns()};
    put_keys(8, 65536);
    f.stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(f.stop_fd >= 0);
    assert_int_equal(pthread_create(&f.loop, NULL, run_loop, NULL), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    stop_loop();
    ist_release(&f.failing.alloc, f.answer.body);
    assert_int_equal(f.failing.live, 0);
    close(f.stop_fd);
    ist_control_free(f.control);
    ist_engine_free(f.engine);
    ist_store_free(f.store);
    return 0;
}

static unsigned ask(const struct ist_route_request *request) {
    ist_release(&f.failing.alloc, f.answer.body);
    memset(&f.answer, 0xee, sizeof(f.answer));
    ist_routes_answer(&f.routes, request, &f.answer);
    return f.answer.status;
}

static unsigned ask_for(const char *method, const char *path) {
    return ask(&(const struct ist_route_request){.method = method, .path = path, .may_change = true});
}

/* The body must be JSON; a number in it. */
static uint64_t number_of(const char *key) {
    json_error_t error;
    json_t *json = json_loads(f.answer.body, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(json);
    const json_t *value = json_object_get(json, key);
    assert_true(json_is_integer(value));
    uint64_t number = (uint64_t)json_integer_value(value);
    json_decref(json);
    return number;
}

static bool text_is(const char *key, const char *expected) {
    json_error_t error;
    json_t *json = json_loads(f.answer.body, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(json);
    const char *text = json_string_value(json_object_get(json, key));
    bool is = text != NULL && (expected == NULL || strcmp(text, expected) == 0);
    json_decref(json);
    return is;
}

static void test_answer__pages_that_read__what_is_there(void **state) {
    (void)state;
    assert_int_equal(ask_for("GET", "/health"), 200);
    assert_true(text_is("status", "ok"));
    assert_null(f.answer.allow);
    assert_string_equal(f.answer.type, "application/json");
    assert_int_equal(ask_for("GET", "/kvmap_len"), 200);
    assert_string_equal(f.answer.body, "{\"len\":8}"); /* as the original has it */
    assert_int_equal(ask_for("GET", "/stats"), 200);
    assert_int_equal(number_of("keys_stored"), 8);
    assert_int_equal(number_of("uptime_seconds"), 0);
    assert_int_equal(ask_for("GET", "/metrics"), 200);
    assert_non_null(strstr(f.answer.body, "\ninfinistore_keys_stored 8\n"));
    assert_non_null(strstr(f.answer.type, "text/plain; version=0.0.4"));
    assert_int_equal(ask_for("HEAD", "/metrics"), 200);
}

static void test_answer__purge__all_go(void **state) {
    (void)state;
    assert_int_equal(ask_for("POST", "/purge"), 200);
    assert_string_equal(f.answer.body, "{\"status\":\"ok\",\"num\":8}");
    assert_int_equal(ask_for("GET", "/kvmap_len"), 200);
    assert_int_equal(number_of("len"), 0);
}

static void test_answer__evict__down_to_the_share_or_by_bytes(void **state) {
    (void)state;
    struct ist_route_request evict = {
        .method = "POST", .path = "/evict", .may_change = true, .has_bytes = true, .bytes = "64K"};
    assert_int_equal(ask(&evict), 200);
    assert_int_equal(number_of("evicted_bytes"), 65536);
    assert_int_equal(ask_for("POST", "/evict"), 200); /* 7/16 -> 4/16 */
    assert_int_equal(number_of("evicted_bytes"), 3 * 65536);
    assert_int_equal(ask_for("POST", "/evict"), 200);
    assert_int_equal(number_of("evicted_bytes"), 0);
    evict.bytes = "1G";
    assert_int_equal(ask(&evict), 200);
    assert_int_equal(number_of("evicted_bytes"), 4 * 65536);
}

static void test_answer__evict_of_no_size__bad_request_and_nothing_goes(void **state) {
    (void)state;
    static const char *const wrong[] = {NULL, "", "x", "-1", "1 ", "99999999999999999999", "1Q"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct ist_route_request evict = {.method = "POST",
                                                .path = "/evict",
                                                .may_change = true,
                                                .has_bytes = true,
                                                .bytes = wrong[i]};
        assert_int_equal(ask(&evict), 400);
        assert_true(text_is("error", NULL));
    }
    assert_int_equal(ask_for("GET", "/kvmap_len"), 200);
    assert_int_equal(number_of("len"), 8);
}

static void test_answer__wrong_method__405_with_the_right_one(void **state) {
    (void)state;
    static const char *const reads[] = {"/selftest", "/health", "/metrics", "/stats", "/kvmap_len"};
    static const char *const posts[] = {"/purge", "/evict"};
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "get", ""};
    for (size_t i = 0; i < 5; i++) {
        for (size_t m = 0; m < 6; m++) {
            assert_int_equal(ask_for(methods[m], reads[i]), 405);
            assert_string_equal(f.answer.allow, "GET, HEAD");
        }
    }
    for (size_t i = 0; i < 2; i++) {
        for (size_t m = 1; m < 6; m++) {
            assert_int_equal(ask_for(methods[m], posts[i]), 405);
            assert_string_equal(f.answer.allow, "POST");
        }
        assert_int_equal(ask_for("GET", posts[i]), 405);
    }
    assert_int_equal(ask_for("GET", "/kvmap_len"), 200);
    assert_int_equal(number_of("len"), 8);
}

static void test_answer__no_such_page__404(void **state) {
    (void)state;
    static const char *const paths[] = {"",          "/",        "/metric", "/metrics/",
                                        "/metricsx", "/Metrics", "metrics"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(ask_for("GET", paths[i]), 404);
        assert_int_equal(ask_for("POST", paths[i]), 404);
    }
}

static void test_answer__change_by_a_stranger__403_and_nothing_changes(void **state) {
    (void)state;
    struct ist_route_request request = {.method = "POST", .path = "/purge"};
    assert_int_equal(ask(&request), 403);
    request.path = "/evict";
    assert_int_equal(ask(&request), 403);
    request = (struct ist_route_request){.method = "GET", .path = "/kvmap_len"};
    assert_int_equal(ask(&request), 200);
    assert_int_equal(number_of("len"), 8);
}

static void count_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)session;
    (void)message;
    *(unsigned *)context += level <= IST_LOG_WARNING;
}

static void test_answer__many_refused__one_warning(void **state) {
    (void)state;
    unsigned lines = 0;
    const struct ist_log log = {.level = IST_LOG_DEBUG, .write = count_line, .context = &lines};
    f.routes.log = &log;
    const struct ist_route_request purge = {.method = "POST", .path = "/purge"};
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(ask(&purge), 403);
        assert_int_equal(ask_for("GET", "/selftest"), 503);
    }
    assert_int_equal(lines, 1);
}

static void test_answer__selftest_without_a_service__503_with_the_step(void **state) {
    (void)state;
    assert_int_equal(ask_for("GET", "/selftest"), 503);
    assert_true(text_is("status", "failed"));
    assert_true(text_is("failed", "connect"));
    assert_true(text_is("endpoint", "127.0.0.1:1"));
    assert_non_null(strstr(f.answer.body, "127.0.0.1:1"));
    assert_null(strstr(f.answer.body, "rdma"));
}

static bool find_card(void *context, struct ist_selftest_rdma *rdma) {
    (void)context;
    *rdma = (struct ist_selftest_rdma){.device = "card", .port = 1, .hint_gid_index = -1};
    return true;
}

static void test_answer__selftest_with_rdma__both_told(void **state) {
    (void)state;
    f.routes.rdma.find = find_card;
    assert_int_equal(ask_for("GET", "/selftest"), 503);
    assert_non_null(strstr(f.answer.body, "\"rdma\":{\"status\":\"failed\",\"device\":\"card\""));
}

/* A load balancer must learn that nobody new is let in, while who is there is still served. */
static void test_answer__health_while_draining__503_that_says_so(void **state) {
    (void)state;
    ist_engine_drain(f.engine, ist_clock_ns());
    assert_int_equal(ask_for("GET", "/health"), 503);
    assert_string_equal(f.answer.body, "{\"status\":\"draining\"}");
    assert_int_equal(ask_for("GET", "/stats"), 200);
}

static void test_answer__nth_allocation_fails__503_and_nothing_leaked(void **state) {
    (void)state;
    static const char *const paths[] = {"/health",    "/metrics", "/stats",
                                        "/kvmap_len", "/nothing", "/selftest"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            f.failing.calls = 0;
            f.failing.fail_at = n;
            unsigned status = ask_for("GET", paths[i]);
            failed = f.failing.calls >= n;
            assert_true(failed == (f.answer.body == NULL));
            assert_true(!failed || status == 503);
        }
        f.failing.fail_at = 0;
    }
}

static void test_answer__loop_is_gone__503_at_once(void **state) {
    (void)state;
    ist_control_close(f.control);
    static const char *const reads[] = {"/health", "/metrics", "/stats", "/kvmap_len"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ask_for("GET", reads[i]), 503);
        assert_true(text_is("error", "the daemon is shutting down"));
    }
    assert_int_equal(ask_for("POST", "/purge"), 503);
    assert_int_equal(ask_for("POST", "/evict"), 503);
}

static void test_answer__loop_stands_still__health_says_so_in_time(void **state) {
    (void)state;
    stop_loop();
    uint64_t begun_ns = ist_clock_ns();
    assert_int_equal(ask_for("GET", "/health"), 503);
    assert_true(text_is("error", "the daemon does not answer in time"));
    assert_true(ist_clock_ns() - begun_ns >= IST_ROUTES_HEALTH_TIMEOUT_NS);
    uint64_t count;
    assert_int_equal(read(f.stop_fd, &count, sizeof(count)), sizeof(count));
    assert_int_equal(pthread_create(&f.loop, NULL, run_loop, NULL), 0);
    assert_int_equal(ask_for("GET", "/health"), 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_answer__pages_that_read__what_is_there),
        TEST(test_answer__purge__all_go),
        TEST(test_answer__evict__down_to_the_share_or_by_bytes),
        TEST(test_answer__evict_of_no_size__bad_request_and_nothing_goes),
        TEST(test_answer__wrong_method__405_with_the_right_one),
        TEST(test_answer__no_such_page__404),
        TEST(test_answer__change_by_a_stranger__403_and_nothing_changes),
        TEST(test_answer__many_refused__one_warning),
        TEST(test_answer__selftest_without_a_service__503_with_the_step),
        TEST(test_answer__selftest_with_rdma__both_told),
        TEST(test_answer__health_while_draining__503_that_says_so),
        TEST(test_answer__nth_allocation_fails__503_and_nothing_leaked),
        TEST(test_answer__loop_is_gone__503_at_once),
        TEST(test_answer__loop_stands_still__health_says_so_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

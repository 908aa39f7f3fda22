/* Many clients over RDMA at once: what a connection costs in time and in the daemon's memory; and a daemon, or a client,
 * that has no device. */
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
#define VALUE_BYTES (128 * KIB)
#define CLIENT_BYTES_MAX (128 * KIB)
#define HUGE_BYTES (4 * MIB) /* one or two huge pages, which the kernel gives for a byte of each */
#define SET_UP_NS_MAX 1000000000ull /* a step of it that waits for a timer would show */

static struct crew crew;

static int teardown(void **state) {
    crew_fini(&crew);
    return servers_teardown(state);
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

/* ---- time --------------------------------------------------------------------------------------------------- */

static void test_set_up__one_after_the_other__time(void **state) {
    (void)state;
    rdma_needed();
    enum { COUNT = 21 };
    struct server *server = server_start("--prealloc-size", POOL);
    uint64_t rdma[COUNT], tcp[COUNT];
    char error[256];
    for (size_t i = 0; i < COUNT; i++) {
        struct ist_client *client = NULL;
        uint64_t begun = now_ns();
        assert_int_equal(
            rdma_try_open(server->service[0], IST_TRANSPORT_TCP, "", &client, error, sizeof(error)),
            IST_OK);
        tcp[i] = now_ns() - begun;
        ist_client_free(client);
        begun = now_ns();
        client = rdma_open(server);
        assert_int_equal(ist_ping(client, 0), IST_OK);
        rdma[i] = now_ns() - begun;
        ist_client_free(client);
    }
    qsort(rdma, COUNT, sizeof(rdma[0]), by_value);
    qsort(tcp, COUNT, sizeof(tcp[0]), by_value);
    print_message("           RDMA: median %.1f ms, longest %.1f ms; TCP: %.1f ms, %.1f ms\n",
                  ms(rdma[COUNT / 2]), ms(rdma[COUNT - 1]), ms(tcp[COUNT / 2]), ms(tcp[COUNT - 1]));
    assert_true(rdma[COUNT / 2] < SET_UP_NS_MAX);
    rdma_server_end(server, POOL_BYTES);
}

/* ---- many --------------------------------------------------------------------------------------------------- */

/* Comes, does some work, stays; when told, more work; and goes. */
static void take_part(struct crew_member *self) {
    struct ist_client *client = NULL;
    char error[256], name[32];
    uint64_t begun_ns = now_ns(), version = 0;
    if (rdma_try_open(self->arg, IST_TRANSPORT_RDMA, rdma_client_device(), &client, error,
                      sizeof(error)) != IST_OK) {
        crew_wrong(self, "no connection: %s", error);
    }
    atomic_store(&self->time_ns, now_ns() - begun_ns);
    uint8_t *memory = rdma_memory_try(client, 2 * VALUE_BYTES);
    if (memory == NULL) {
        crew_wrong(self, "no memory");
    }
    snprintf(name, sizeof(name), "own%zu", self->number);
    struct ist_put_item put = {.key = key_of(name), .value = memory, .value_bytes = VALUE_BYTES};
    struct ist_get_item get = {
        .key = key_of(name), .buffer = memory + VALUE_BYTES, .buffer_bytes = VALUE_BYTES};
    for (uint64_t round = 1; !atomic_load(self->stop); round++) {
        value_fill(name, round, memory, VALUE_BYTES);
        enum ist_status status = ist_put(client, &put, 1, 0, 0);
        status = status == IST_OK ? ist_get(client, &get, 1, 0) : status;
        if (status != IST_OK) {
            crew_wrong(self, "round %llu: %s", (unsigned long long)round, ist_status_name(status));
        }
        if (!value_check(name, memory + VALUE_BYTES, VALUE_BYTES, &version) || version != round) {
            crew_wrong(self, "another value");
        }
        atomic_fetch_add(&self->done, 1);
        while (!atomic_load(self->go) && !atomic_load(self->stop)) {
            nanosleep(&(const struct timespec){.tv_nsec = 10000000}, NULL);
        }
    }
    if (ist_client_transport(client) != IST_TRANSPORT_RDMA) {
        crew_wrong(self, "RDMA was lost");
    }
    ist_client_free(client);
}

static bool all_have_done(size_t count, uint64_t rounds) {
    crew_assert_well(&crew);
    for (size_t i = 0; i < count; i++) {
        if (crew.members[i].done < rounds) {
            return false;
        }
    }
    return true;
}

static void test_clients__64_at_once__all_served_in_little_memory(void **state) {
    (void)state;
    rdma_needed();
    size_t count = rdma_is_short() ? 16 : 64;
    struct server *server = server_start("--prealloc-size", POOL);
    struct ist_client *client = rdma_open(server);
    assert_int_equal(put_value(client, "warm", 1, VALUE_BYTES, 0), IST_OK);
    ist_client_free(client); /* before the others, who would inherit it */
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"rdma\"}") == 0);
    uint64_t before = server_memory_bytes(server, "VmRSS"),
             private = server_memory_bytes(server, "RssAnon");
    size_t descriptors = server_descriptors(server);
    crew_init(&crew);
    for (size_t i = 0; i < count; i++) {
        (void)crew_start(&crew, take_part, server->service[0]);
    }
    assert_eventually(all_have_done(count, 1));
    assert_int_equal(server_metric(server, "infinistore_sessions{transport=\"rdma\"}"), count);
    uint64_t after = server_memory_bytes(server, "VmRSS"), times[CREW_MAX];
    for (size_t i = 0; i < count; i++) {
        times[i] = crew.members[i].time_ns;
    }
    qsort(times, count, sizeof(times[0]), by_value);
    print_message(
        "           %zu clients at once, connected after %.1f ms (median), %.1f ms (the last); "
        "each costs the daemon %.1f KiB, %.1f of them its own\n",
        count, ms(times[count / 2]), ms(times[count - 1]),
        (double)(after - before) / (double)count / 1024,
        (double)(server_memory_bytes(server, "RssAnon") - private) / (double)count / 1024);
    if (daemon_memory_is_true()) {
        assert_true(after - before < count * CLIENT_BYTES_MAX + HUGE_BYTES);
    }
    crew_go(&crew);
    assert_eventually(all_have_done(count, 4));
    crew_stop(&crew);
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"rdma\"}") == 0);
    assert_eventually(server_descriptors(server) <= descriptors);
    rdma_server_end(server, POOL_BYTES);
}

/* ---- no device ---------------------------------------------------------------------------------------------- */

struct told {
    unsigned calls;
    char line[300];
};

static void on_warning(void *arg, const char *line) {
    struct told *told = arg;
    told->calls++;
    snprintf(told->line, sizeof(told->line), "%s", line);
}

static double own_metric(struct ist_client *client, const char *name) {
    struct ist_metrics *metrics = NULL;
    double value = 0;
    assert_int_equal(ist_stat(client, &metrics, 0), IST_OK);
    for (size_t i = 0; i < metrics->count; i++) {
        if (strcmp(metrics->items[i].name, name) == 0) {
            value = metrics->items[i].value;
        }
    }
    ist_metrics_free(metrics);
    return value;
}

/* AUTO: over TCP, and it says why, in one line, once. */
static void check_auto(const struct server *server, const char *device, const char *why) {
    struct told told = {0};
    struct ist_client *client = NULL;
    const struct ist_client_options options = {.endpoints = server->service[0],
                                               .transport = IST_TRANSPORT_AUTO,
                                               .device = device,
                                               .warn = on_warning,
                                               .warn_arg = &told};
    assert_int_equal(ist_client_new(&options, &client, NULL, 0), IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_TCP);
    uint8_t *memory = rdma_memory(client, VALUE_BYTES);
    value_fill("key", 1, memory, VALUE_BYTES);
    struct ist_put_item put = {.key = key_of("key"), .value = memory, .value_bytes = VALUE_BYTES};
    assert_int_equal(ist_put(client, &put, 1, 0, 0), IST_OK);
    struct ist_get_item get = {.key = key_of("key"), .buffer = memory, .buffer_bytes = VALUE_BYTES};
    memset(memory, 0, VALUE_BYTES);
    assert_int_equal(ist_get(client, &get, 1, 0), IST_OK);
    uint64_t version = 0;
    assert_true(value_check("key", memory, VALUE_BYTES, &version));
    assert_int_equal(told.calls, 1);
    print_message("           %s\n", told.line);
    assert_non_null(strstr(told.line, server->service[0]));
    assert_non_null(strstr(told.line, why));
    assert_null(strchr(told.line, '\n'));
    char reason[256] = "";
    ist_client_why_tcp(client, reason, sizeof(reason));
    assert_non_null(strstr(reason, why));
    assert_true(own_metric(client, "infinistore_client_transport{wanted=\"auto\",used=\"tcp\"}") == 1);
    ist_client_free(client);
}

static void check_rdma_fails(const struct server *server, const char *device, const char *why) {
    struct ist_client *client = NULL;
    char error[256];
    assert_int_equal(
        rdma_try_open(server->service[0], IST_TRANSPORT_RDMA, device, &client, error, sizeof(error)),
        IST_DEVICE);
    print_message("           %s\n", error);
    assert_non_null(strstr(error, server->service[0]));
    assert_non_null(strstr(error, why));
    assert_null(strchr(error, '\n'));
}

/* What a user of the command line sees: out as ever, and on stderr what it should say. */
static void check_cli(const struct server *server, const char *transport, int code, const char *why) {
    const char *const arguments[] = {program_path("infinistore-cli"),
                                     "--endpoint",
                                     server->service[0],
                                     "--transport",
                                     transport,
                                     "--dev-name",
                                     rdma_client_device(),
                                     "exists",
                                     "nothing",
                                     NULL};
    struct outcome outcome;
    program_run(&(const struct program){.arguments = arguments}, &outcome);
    print_message("           %s", outcome.err);
    assert_int_equal(outcome.code, code);
    assert_non_null(strstr(outcome.err, why));
    outcome_free(&outcome);
}

/* Soon: a thread writes it. */
static bool log_has(const struct server *server, const char *text) {
    char *log = server_log(server);
    bool has = strstr(log, text) != NULL;
    free(log);
    return has;
}

static void test_device__none_at_the_server__auto_falls_back_loudly_and_rdma_fails(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = server_start("--prealloc-size", POOL, "--dev-name", "no-such-device");
    assert_eventually(log_has(server, "no-such-device") && log_has(server, "TCP only"));
    check_auto(server, rdma_client_device(), "it has no RDMA");
    check_rdma_fails(server, rdma_client_device(), "it has no RDMA");
    check_cli(server, "auto", 1, "it has no RDMA");
    check_cli(server, "rdma", 3, "it has no RDMA");
    server_stop(server);
}

static void test_device__none_at_the_client__auto_falls_back_loudly_and_rdma_fails(void **state) {
    (void)state;
    rdma_needed();
    struct server *server = server_start("--prealloc-size", POOL);
    check_auto(server, "no-such-device", "no-such-device");
    check_rdma_fails(server, "no-such-device", "no-such-device");
    /* and where there is one on both sides, AUTO takes it and says nothing */
    struct told told = {0};
    struct ist_client *client = NULL;
    const struct ist_client_options options = {.endpoints = server->service[0],
                                               .transport = IST_TRANSPORT_AUTO,
                                               .device = rdma_client_device(),
                                               .warn = on_warning,
                                               .warn_arg = &told};
    assert_int_equal(ist_client_new(&options, &client, NULL, 0), IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    assert_int_equal(told.calls, 0);
    assert_true(own_metric(client, "infinistore_client_transport{wanted=\"auto\",used=\"rdma\"}") == 1);
    ist_client_free(client);
    server_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_set_up__one_after_the_other__time, teardown),
        cmocka_unit_test_teardown(test_clients__64_at_once__all_served_in_little_memory, teardown),
        cmocka_unit_test_teardown(
            test_device__none_at_the_server__auto_falls_back_loudly_and_rdma_fails, teardown),
        cmocka_unit_test_teardown(
            test_device__none_at_the_client__auto_falls_back_loudly_and_rdma_fails, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The daemon and a client on two hosts, or at two ends of a cable, and what crosses it: values are moved by the server's
 * READs and WRITEs and by nothing else; the client reads and writes nothing of the server's.
 *
 * With RXE_HOST (see ci/rxe/run --hosts 2) this program runs on both: the first is the server's, and judges. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/capture.h"
#include "tests/integration/crew.h"
#include "tests/integration/http.h"
#include "tests/integration/rdma.h"
#include "tests/integration/values.h"

#define POOL "128M"
#define POOL_BYTES (128 * MIB)
#define KEYS 24u
#define SMALL_KEYS 2000u
#define SMALL_BYTES 2000u
#define PORT 22345

static struct crew crew;

static int teardown(void **state) {
    crew_fini(&crew);
    return servers_teardown(state);
}

static uint64_t rounds(void) {
    return rdma_is_short() ? 1 : 3;
}

/* What is put, and then got. */
static uint64_t put_bytes(void) {
    return KEYS * rounds() * MIB + SMALL_KEYS * (uint64_t)SMALL_BYTES;
}

static bool is_two_hosts(void) {
    return getenv("RXE_HOST") != NULL;
}

/* "10.78.0.1" and "10.78.0.2". */
static void address_of(size_t host, char address[32]) {
    const char *both = getenv("RXE_ADDRESSES");
    char first[32] = "", second[32] = "";
    if (both != NULL && sscanf(both, "%31s %31s", first, second) == 2) {
        memcpy(address, host == 0 ? first : second, 32);
    } else {
        strcpy(address, "");
    }
}

/* ---- the client --------------------------------------------------------------------------------------------- */

/* The server's host may be a little behind. */
static struct ist_client *enter(struct crew_member *self, const char *address) {
    struct ist_client *client = NULL;
    char error[256];
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    enum ist_status status;
    do {
        status = rdma_try_open(address, IST_TRANSPORT_RDMA, rdma_client_device(), &client, error,
                               sizeof(error));
        if (status == IST_PEER) {
            nanosleep(&(const struct timespec){.tv_nsec = 10000000}, NULL);
        }
    } while (status == IST_PEER && now_ns() < until_ns);
    if (status != IST_OK) {
        crew_wrong(self, "no connection: %s", error);
    }
    return client;
}

/* Puts, gets and compares a batch. memory: twice the values. */
static void put_get_compare(struct crew_member *self, struct ist_client *client, uint8_t *memory,
                            const struct keys *keys, size_t bytes, uint64_t version) {
    size_t count = keys->count;
    struct ist_put_item *puts = calloc(count, sizeof(*puts));
    struct ist_get_item *gets = calloc(count, sizeof(*gets));
    if (puts == NULL || gets == NULL) {
        crew_wrong(self, "no memory");
    }
    for (size_t i = 0; i < count; i++) {
        value_fill(keys->keys[i].data, version, memory + i * bytes, bytes);
        puts[i] = (struct ist_put_item){
            .key = keys->keys[i], .value = memory + i * bytes, .value_bytes = bytes};
        gets[i] = (struct ist_get_item){
            .key = keys->keys[i], .buffer = memory + (count + i) * bytes, .buffer_bytes = bytes};
    }
    memset(memory + count * bytes, 0, count * bytes);
    enum ist_status status = ist_put(client, puts, count, 0, 0);
    status = status == IST_OK ? ist_get(client, gets, count, 0) : status;
    if (status != IST_OK) {
        crew_wrong(self, "%s", ist_status_name(status));
    }
    if (memcmp(memory, memory + count * bytes, count * bytes) != 0) {
        crew_wrong(self, "wrong bytes");
    }
    free(puts);
    free(gets);
}

static void work(struct crew_member *self) {
    struct ist_client *client = enter(self, self->arg);
    uint8_t *memory = rdma_memory_try(client, 2 * KEYS * MIB);
    struct keys large = keys_new("large", KEYS), small = keys_new("small", SMALL_KEYS);
    if (memory == NULL) {
        crew_wrong(self, "no memory");
    }
    for (uint64_t round = 0; round < rounds(); round++) {
        put_get_compare(self, client, memory, &large, MIB, round);
    }
    put_get_compare(self, client, memory, &small, SMALL_BYTES, 9);
    size_t matched = 0;
    if (ist_match_prefix(client, small.keys, SMALL_KEYS, &matched, 0) != IST_OK ||
        matched != SMALL_KEYS) {
        crew_wrong(self, "%zu keys are present", matched);
    }
    if (ist_client_transport(client) != IST_TRANSPORT_RDMA) {
        crew_wrong(self, "RDMA was lost");
    }
    struct ist_put_item last = {.key = key_of("done"), .value = memory, .value_bytes = 16};
    if (ist_put(client, &last, 1, 0, 0) != IST_OK) {
        crew_wrong(self, "the last put fails");
    }
    keys_free(&large);
    keys_free(&small);
    ist_client_free(client);
}

/* The second host's part: stays until it is told to end, or ends in disgrace. */
static int be_client(void) {
    char server[32], address[64];
    address_of(0, server);
    snprintf(address, sizeof(address), "%s:%d", server, PORT);
    crew_init(&crew);
    struct crew_member *member = crew_start(&crew, work, address);
    int status;
    while (waitpid(crew.pids[0], &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) {
        fprintf(stderr, "client: %s\n", member->wrong);
        return 1;
    }
    for (;;) {
        pause();
    }
}

/* ---- the server, and the judge ------------------------------------------------------------------------------ */

static void judge(const struct capture_counts *counts) {
    const struct capture_count *server = counts->from[0], *client = counts->from[1];
    assert_int_equal(counts->lost, 0);
    /* puts: the server asks, and the client's device answers; a lost packet is asked for again */
    assert_true(server[CAPTURE_READ_REQUEST].packets >= KEYS * rounds());
    assert_true(client[CAPTURE_READ_RESPONSE].bytes >= put_bytes());
    /* gets: the server writes */
    assert_true(server[CAPTURE_WRITE].bytes >= put_bytes());
    /* and never the other way round */
    assert_int_equal(client[CAPTURE_READ_REQUEST].packets, 0);
    assert_int_equal(client[CAPTURE_WRITE].packets, 0);
    assert_int_equal(server[CAPTURE_READ_RESPONSE].packets, 0);
    for (size_t side = 0; side < 2; side++) {
        assert_int_equal(counts->from[side][CAPTURE_ATOMIC].packets, 0);
        assert_int_equal(counts->from[side][CAPTURE_OTHER].packets, 0);
        /* What is said besides is keys, places and lengths. */
        assert_true(counts->from[side][CAPTURE_SEND].packets > 0);
        assert_true(counts->from[side][CAPTURE_SEND].bytes < put_bytes() / 50);
        assert_true(counts->other_bytes[side] < put_bytes() / 50);
    }
}

static void test_wire__put_and_get__values_by_the_servers_read_and_write_only(void **state) {
    (void)state;
    char address[32];
    address_of(0, address);
    if (!rdma_is_here() || address[0] == '\0' || rdma_server_netdev()[0] == '\0') {
        skip();
    }
    const char *const options[] = {"--prealloc-size", POOL,        "--host", address,
                                   "--host",          "127.0.0.1", NULL};
    struct server *server = server_start_with(
        &(const struct server_setup){.options = options, .service_port = PORT, .any_host = true});
    assert_eventually(server_metric(server, "infinistore_pool_size_bytes") == POOL_BYTES);
    struct capture *capture = capture_begin(rdma_server_netdev(), address);
    char endpoint[64];
    snprintf(endpoint, sizeof(endpoint), "%s:%d", address, PORT);
    if (!is_two_hosts()) {
        crew_init(&crew);
        crew_start(&crew, work, endpoint);
    }
    struct ist_client *local = NULL;
    char error[256];
    assert_int_equal(
        rdma_try_open(server->service[0], IST_TRANSPORT_TCP, "", &local, error, sizeof(error)), IST_OK);
    assert_eventually((crew_assert_well(&crew), has_key(local, "done")));
    ist_client_free(local);
    assert_eventually(server_metric(server, "infinistore_sessions{transport=\"rdma\"}") == 0);
    struct capture_counts counts;
    capture_end(capture, &counts);
    capture_print(&counts);
    judge(&counts);
    crew_fini(&crew);
    rdma_server_end(server, POOL_BYTES);
}

int main(void) {
    const char *host = getenv("RXE_HOST");
    if (host != NULL && strcmp(host, "2") == 0) {
        return be_client();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_wire__put_and_get__values_by_the_servers_read_and_write_only,
                                  teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/integration/rdma.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/integration/http.h"

#define NAMES_MAX 8u
#define NAME_BYTES 64u

/* The first or the last of the words of a variable. */
static const char *word_of(const char *variable, bool last, char name[NAME_BYTES]) {
    const char *words = getenv(variable);
    name[0] = '\0';
    if (words == NULL) {
        return name;
    }
    char text[NAMES_MAX * NAME_BYTES], *rest = NULL;
    snprintf(text, sizeof(text), "%s", words);
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        snprintf(name, NAME_BYTES, "%s", word);
        if (!last) {
            break;
        }
    }
    return name;
}

const char *rdma_server_device(void) {
    static _Thread_local char name[NAME_BYTES];
    return word_of("RXE_DEVICES", false, name);
}

const char *rdma_client_device(void) {
    static _Thread_local char name[NAME_BYTES];
    return word_of("RXE_DEVICES", true, name);
}

const char *rdma_server_netdev(void) {
    static _Thread_local char name[NAME_BYTES];
    return word_of("RXE_NETDEVS", false, name);
}

const char *rdma_client_netdev(void) {
    static _Thread_local char name[NAME_BYTES];
    return word_of("RXE_NETDEVS", true, name);
}

bool rdma_is_here(void) {
    return rdma_server_device()[0] != '\0';
}

bool rdma_is_short(void) {
    return daemon_is_slow() || getenv("IST_TEST_SHORT") != NULL;
}

enum ist_status rdma_try_open(const char *address, enum ist_transport transport, const char *device,
                              struct ist_client **client, char *error, size_t error_bytes) {
    char endpoint[SERVER_ADDRESS_BYTES + 8];
    snprintf(endpoint, sizeof(endpoint), "%s%s", address[0] == '/' ? "unix:" : "", address);
    const struct ist_client_options options = {.endpoints = endpoint,
                                               .connect_timeout_ns = PATIENCE_NS,
                                               .request_timeout_ns = PATIENCE_NS,
                                               .transport = transport,
                                               .device = device[0] == '\0' ? NULL : device};
    error[0] = '\0';
    return ist_client_new(&options, client, error, error_bytes);
}

struct ist_client *rdma_open(const struct server *server) {
    struct ist_client *client = NULL;
    char error[256];
    enum ist_status status = rdma_try_open(server->service[0], IST_TRANSPORT_RDMA, rdma_client_device(),
                                           &client, error, sizeof(error));
    if (status != IST_OK) {
        fail_msg("connecting to %s over RDMA: %s: %s", server->service[0], ist_status_name(status),
                 error);
    }
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    return client;
}

uint8_t *rdma_memory_try(struct ist_client *client, size_t bytes) {
    uint8_t *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    if (ist_memory_register(client, memory, bytes) != IST_OK) {
        munmap(memory, bytes);
        return NULL;
    }
    return memory;
}

uint8_t *rdma_memory(struct ist_client *client, size_t bytes) {
    uint8_t *memory = rdma_memory_try(client, bytes);
    assert_non_null(memory);
    return memory;
}

void rdma_memory_free(struct ist_client *client, uint8_t *memory, size_t bytes) {
    assert_int_equal(ist_memory_unregister(client, memory, bytes), IST_OK);
    munmap(memory, bytes);
}

void rdma_assert_all_free(const struct server *server, uint64_t pool_bytes) {
    assert_eventually(server_is_idle(server));
    struct ist_client *client = NULL;
    char error[256];
    uint64_t purged;
    assert_int_equal(
        rdma_try_open(server->service[0], IST_TRANSPORT_TCP, "", &client, error, sizeof(error)),
        IST_OK);
    assert_int_equal(ist_purge(client, &purged, 0), IST_OK);
    ist_client_free(client);
    assert_int_equal(server_pool_bytes(server, "free"), pool_bytes);
    assert_int_equal(server_metric(server, "infinistore_keys_stored"), 0);
}

void rdma_server_end(struct server *server, uint64_t pool_bytes) {
    rdma_assert_all_free(server, pool_bytes);
    server_stop(server);
}

/* RDMA devices for integration tests, as ci/rxe/run tells of them: RXE_DEVICES="A B", of real hardware too; the daemon
 * takes the first, clients the last. Where it is set, server_start() gives the daemon its device and client_open()
 * moves values over RDMA. */
#ifndef IST_TESTS_INTEGRATION_RDMA_H
#define IST_TESTS_INTEGRATION_RDMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"
#include "tests/integration/harness.h"

bool rdma_is_here(void);
/* Static storage, one for each thread. "" where there is none. */
const char *rdma_server_device(void);
const char *rdma_client_device(void);
/* The network devices below them, which a test may disturb; "" when they are somebody's. */
const char *rdma_server_netdev(void);
const char *rdma_client_netdev(void);

/* Do less of the same: IST_TEST_SHORT, or a daemon that is slow. */
bool rdma_is_short(void);

/* For tests that are nothing without a device. */
#define rdma_needed()                                                                                  \
    do {                                                                                               \
        if (!rdma_is_here()) {                                                                         \
            skip();                                                                                    \
        }                                                                                              \
    } while (0)

/* What ist_client_new() answers. device: "" for the default. Safe in any process. */
enum ist_status rdma_try_open(const char *address, enum ist_transport transport, const char *device,
                              struct ist_client **client, char *error, size_t error_bytes);
/* Connected over RDMA; the test fails when that fails. */
struct ist_client *rdma_open(const struct server *server);

/* Memory of its own mapping, zero, registered with the client; NULL when that cannot be. Safe in any process. */
uint8_t *rdma_memory_try(struct ist_client *client, size_t bytes);
uint8_t *rdma_memory(struct ist_client *client, size_t bytes);
void rdma_memory_free(struct ist_client *client, uint8_t *memory, size_t bytes);

/* After a test's traffic: all comes to rest, nothing reserved, doomed or pinned; after a purge the pool is free to its
 * last byte. The daemon ends in good order. */
void rdma_server_end(struct server *server, uint64_t pool_bytes);
/* The same, and the daemon goes on, with an empty pool. */
void rdma_assert_all_free(const struct server *server, uint64_t pool_bytes);

#endif

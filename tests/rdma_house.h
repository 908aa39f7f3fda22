/* A server of the real rooms in a thread of its own, and devices for it and for clients, on one software HCA. */
#ifndef IST_TESTS_RDMA_HOUSE_H
#define IST_TESTS_RDMA_HOUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"
#include "sim/hca/hca.h"
#include "store/store.h"
#include "tests/support.h"

#define HOUSE_POOL_BYTES (8ull << 20)
#define HOUSE_SESSIONS_MAX 160u

struct house_options {
    uint64_t seed;
    bool no_server_device, no_client_device;
    bool lossy; /* one packet of fifty is lost */
};

/* Devices "server" and "client", and the server, whose incarnation is 1. */
void house_begin(struct house_options options);
/* All clients must be gone. The server ends; nothing may be left in its pool, nor of what was made on the devices. */
void house_end(void);

struct ist_hca *house_hca(void);
struct ist_hca_device *house_device(const char *name);
const char *house_endpoint(void);

/* The server's process ends, in good order or killed, and another begins at the same port, with the next incarnation. */
void house_restart(bool killed);
/* Nobody listens; the clients' connections are closed. Begin again by house_server_begin(). */
void house_server_end(bool killed);
void house_server_begin(void);

/* The server's thread ends, and the server does something in house_turn() only: a little each time. */
void house_park(void);
void house_turn(void);
void house_unpark(void);

/* What the server has; not while it is parked. */
size_t house_rdma_connections(void);
void house_usage(struct ist_store_usage *usage);
/* Until the server has as many connections over RDMA. */
void house_await_connections(size_t count);

/* A client over the HCA. error: of 300 bytes. */
enum ist_status house_client(enum ist_transport transport, const struct ist_alloc *alloc,
                             struct ist_client **client, char *error);
/* The same, which must succeed. */
struct ist_client *house_client_of(enum ist_transport transport);
/* Of all clients of house_client() since the beginning. */
unsigned house_warnings(void);
const char *house_warning(void);

/* Patterns. */
void house_fill(uint8_t *memory, size_t bytes, uint64_t seed);
void house_assert_filled(const uint8_t *memory, size_t bytes, uint64_t seed);

#endif

/* Is what clients need really there? Puts a value, gets it, compares it and removes it, over a connection of its
 * own to the service port, as any client would, under a key that nobody else has. */
#ifndef IST_DAEMON_SELFTEST_H
#define IST_DAEMON_SELFTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"

#define IST_SELFTEST_STEPS_MAX 5
#define IST_SELFTEST_ENDPOINT_BYTES 128
#define IST_SELFTEST_ERROR_BYTES 200
#define IST_SELFTEST_DEVICE_BYTES 64

struct ist_selftest_step {
    const char *name; /* "connect", "put", "get", "compare", "remove" */
    uint64_t elapsed_ns;
};

struct ist_selftest {
    char endpoint[IST_SELFTEST_ENDPOINT_BYTES];             /* what it connected to */
    struct ist_selftest_step steps[IST_SELFTEST_STEPS_MAX]; /* those that went well */
    size_t step_count;
    const char *failed;                   /* the step that did not; NULL: all went well */
    char error[IST_SELFTEST_ERROR_BYTES]; /* why */
};

/* The port that the daemon serves RDMA on: the client uses it, too. */
struct ist_selftest_rdma {
    char device[IST_SELFTEST_DEVICE_BYTES];
    unsigned port;
    int hint_gid_index; /* -1: none */
};

/* What it is now, since it comes and goes. */
struct ist_selftest_rdma_source {
    /* Any thread. False: there is none. NULL: there is never one. */
    bool (*find)(void *context, struct ist_selftest_rdma *rdma);
    void *context;
};

/* service: "127.0.0.1:22345"; of an address that stands for all, the loopback is taken. rdma: values go over that; NULL:
 * over TCP. Blocks for timeout_ns at most, and a second more over RDMA when the network is asked for an address.
 * Whatever fails, the value is removed if that can be done. True: all went well. */
bool ist_selftest_run(const char *service, const struct ist_selftest_rdma *rdma, uint64_t timeout_ns,
                      struct ist_selftest *result);

#endif

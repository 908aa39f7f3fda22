/* The daemon's RDMA side on the software HCA, with the real loop and engine; the clients are the other ends' queue pairs
 * and frames written by hand. Nothing waits: all take turns until what is expected has come. */
#ifndef IST_TESTS_RDMA_SERVER_H
#define IST_TESTS_RDMA_SERVER_H

#include <sched.h>

#include "tests/support.h"

#include "daemon/clock.h"
#include "daemon/connector.h"
#include "daemon/nic.h"
#include "daemon/rdma.h"
#include "daemon/registration.h"
#include "daemon/tcp.h"
#include "sim/hca/hca.h"
#include "store/store.h"
#include "verbs/memory.h"
#include "verbs/queue_pair.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define SEGMENT_BYTES (2u << 20)
#define POOL_BYTES (2 * SEGMENT_BYTES)
#define CLIENT_BYTES (16u << 20)
#define CLIENTS 6 /* unless a test wants more */
#define TURNS_MAX 200000
#define KEYS_MAX 64

/* What a client's process has. */
struct process {
    struct ist_device *device;
    struct ist_region region; /* of f.memory */
};

struct client {
    struct process *process; /* NULL: the first */
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
    struct ist_rdma_connection *server; /* NULL: ended */
    struct ist_endpoint own;            /* the server's end, of status AGAIN until it is known */
    unsigned ended;
    bool stalls; /* gives no buffer back, takes nothing */
    uint8_t in[1 << 14];
    size_t in_bytes;
    unsigned messages; /* in which these have come */
    uint64_t failures;
};

struct rdma_server {
    struct ist_hca *hca;
    struct ev_loop *loop;
    struct failing_alloc failing;
    struct ist_device *device;
    struct process processes[2]; /* of clients */
    struct ist_registration *registration;
    struct ist_nic *nic; /* NULL: none */
    struct ist_store *store;
    struct ist_engine *engine;
    struct ist_rdma *rdma;
    struct ist_tcp *tcp; /* NULL: none */
    uint8_t *pool, *memory;
    struct client *clients;
    size_t clients_count;
    struct ist_alloc counting; /* the server's */
    uint64_t server_bytes;     /* what it has allocated now */
    struct ist_log log;
    char logged[8192];  /* what the server's log has got, the first of it */
    unsigned anonymous; /* lines that name no session: of these a stranger must not cause any */
};
extern struct rdma_server f;

struct rdma_server_options {
    uint64_t seed;
    uint64_t poll_ns;
    uint64_t reap_ns; /* 0: IST_RDMA_REAP_NS */
    size_t clients;   /* 0: CLIENTS */
    bool is_patient;  /* the fabric does nothing but in turns: see `progress_in_calls` of hca.h */
    bool is_infiniband;
    bool is_half_registered; /* the pool is: not its second segment */
    bool is_unfit;           /* the device is: then there is no f.rdma */
    bool over_tcp;           /* f.tcp asks, for who sends it CONNECT */
    bool over_nic;     /* f.nic has the device, the registration and f.rdma, which comes and goes */
    bool is_unplugged; /* the device is: see plug() */
    /* Changes what the two devices are, before they are plugged in. NULL: nothing. */
    void (*shape)(struct ist_hca_device_config *server, struct ist_hca_device_config *client);
};
struct place {
    const char *key;
    uint64_t at, bytes;
};

int setup_with(struct rdma_server_options options);
int setup(void **state);
/* Also checks that nothing is left, and that all of the pool is free. */
int teardown(void **state);
/* A device of the server's name that was not there before. */
struct ist_hca_device *plug(uint8_t number, void (*shape)(struct ist_hca_device_config *config));
struct process *process_of(const struct client *client);
/* The other end, on the server's device. */
struct ibv_qp *server_queue_pair(const struct client *client);
void client_free(struct client *client);
/* The client's end, not yet connected. */
void client_make(struct client *client, struct ist_endpoint *endpoint);
/* Sends no CONNECT: that is the TCP side's. It asks, and the answer comes into client->own. */
enum ist_status client_ask(struct client *client);
/* The same; the nth allocation that the server makes for it fails. */
enum ist_status client_ask_failing(struct client *client, uint64_t n);
/* The server has answered: the rest of the client's own end. */
enum ist_status client_finish(struct client *client);
void client_turn(struct client *client);
void turn(void); /* of everybody, and of the fabric */
void act(void);  /* of everybody */
void turn_until_answered(struct client *client);
/* Both, and the turns between. */
enum ist_status client_try(struct client *client);
void client_begin(struct client *client);
void client_say(struct client *client, const uint8_t *bytes, size_t count);
void client_request(struct client *client, enum ist_operation operation, uint64_t id,
                    const struct place *places, size_t count);
/* The next reply, which must be to `id`; returns the status of its key. */
enum ist_status client_reply(struct client *client, uint64_t id, size_t key);
void fill(uint64_t at, uint64_t seed, uint64_t bytes);
void assert_filled(uint64_t at, uint64_t seed, uint64_t bytes);
/* The same, of what other threads take part in: bounded by time. */
#define turn_until_late(condition)                                                                     \
    do {                                                                                               \
        uint64_t until_ns_ = ist_clock_ns() + 20 * IST_NS_PER_SEC;                                     \
        while (!(condition)) {                                                                         \
            assert_true(ist_clock_ns() < until_ns_);                                                   \
            turn();                                                                                    \
            sched_yield();                                                                             \
        }                                                                                              \
    } while (0)

unsigned times_logged(const char *text);
/* The server's loop finds nothing to do for a while. */
void assert_sleeps(void);

#define turn_until(condition)                                                                          \
    do {                                                                                               \
        int turns_ = 0;                                                                                \
        while (!(condition)) {                                                                         \
            assert_true(turns_++ < TURNS_MAX);                                                         \
            turn();                                                                                    \
        }                                                                                              \
    } while (0)

#endif

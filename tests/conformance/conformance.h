/* What every RC device does for a program that keeps to the rules: the same tests run on the software HCA, on rxe and
 * on cards, by nothing but libibverbs' API. Sources: the man pages of rdma-core, the InfiniBand specification, and
 * the list of google/rdma-unit-test. */
#ifndef IST_TESTS_CONFORMANCE_H
#define IST_TESTS_CONFORMANCE_H

#include "tests/support.h"

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <string.h>

/* ---- where it runs: place_hca.c or place_devices.c ----------------------------------------------- */

struct place {
    struct ibv_context *context[2]; /* of two devices, or the same one twice */
    uint8_t port[2];
    uint8_t gid_index[2];
    union ibv_gid gid[2];
    uint16_t lid[2];
    bool roce;
    enum ibv_mtu mtu;
    const char *kind; /* "hca", "rxe" or "card": see deviations.c */
};

/* How often all tests run, each time with another seed. */
int place_rounds(void);
/* Devices are there to be opened. False, with a line on stderr: there are none, the tests are skipped. */
bool place_begin(int round);
void place_end(void);
/* The names of the two devices. */
void place_names(const char *name[2]);

/* deviations.c: whether this kind of device is known to end the case with this status instead. */
bool is_known_deviation(const char *kind, const char *name, enum ibv_wc_status status);
#define NOTHING_COMES ((enum ibv_wc_status)1000)

/* ---- two connected queue pairs: link.c ----------------------------------------------------------- */

#define BUFFER_BYTES (4u << 20)
#define MIB (1u << 20)
#define WAIT_MS 20000 /* for what must come; far longer than any of it takes */
#define GRACE_MS 200  /* for what some devices are known not to send */

struct options {
    bool srq;
    uint32_t send_wr, recv_wr, sge, inline_bytes;
    uint8_t reads; /* max_rd_atomic and max_dest_rd_atomic */
    uint8_t timeout, retry_cnt, rnr_retry;
};
/* With an SRQ, 128 sends, 64 receives, 4 sges, 64 bytes inline, 4 READs, timeout 14, 6 retries, RNR for ever. */
struct options default_options(void);

struct end {
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *send_cq, *recv_cq;
    struct ibv_srq *srq;
    struct ibv_qp *qp;
    struct ibv_qp_cap cap; /* what it got */
    uint8_t *buffer;       /* BUFFER_BYTES */
    struct ibv_mr *mr;
};

struct link {
    struct options options;
    struct end end[2];
};

extern struct place place; /* opened by the group's setup */
int open_place(void **state);
int close_place(void **state);

void link_open(struct link *link, struct options options);
void link_close(struct link *link);
/* Queue pairs of their own between the same ends. */
void make_qp(struct link *link, struct end *end);
void connect_qps(struct link *link, struct ibv_qp *a, struct ibv_qp *b);
int to_init(const struct link *link, int side, struct ibv_qp *qp);
int to_rtr(const struct link *link, int side, struct ibv_qp *qp, uint32_t peer);
int to_rts(const struct link *link, struct ibv_qp *qp);
int to_state(struct ibv_qp *qp, enum ibv_qp_state state);
enum ibv_qp_state state_of(struct ibv_qp *qp);

struct work {
    enum ibv_wr_opcode opcode;
    uint64_t id;
    uint32_t bytes;
    uint64_t from;  /* offset in the buffer of the one who posts */
    uint64_t to;    /* offset in the other's */
    unsigned flags; /* enum ibv_send_flags */
    uint32_t immediate;
    uint32_t lkey, rkey; /* 0: those of the buffers */
};
/* As one list of requests. */
void post_list(struct link *link, int side, const struct work *work, int count);
void post(struct link *link, int side, struct work work);
void post_receive(struct link *link, int side, uint64_t id, uint64_t at, uint32_t bytes);

/* Waits for it. */
struct ibv_wc next_completion(struct ibv_cq *cq);
struct ibv_wc assert_completion(struct ibv_cq *cq, uint64_t id, enum ibv_wc_status status);
/* Same, but `name` may be a known deviation; then it says so. */
struct ibv_wc assert_completion_of(struct ibv_cq *cq, uint64_t id, enum ibv_wc_status status,
                                   const char *name);
/* A request behind all others that works or is flushed: when it is over, so are they. Nothing else may come. */
void assert_nothing_before(struct link *link, int side, enum ibv_wc_status status);
/* Waits for this asynchronous event; others are passed over. `name` as in assert_completion_of(), or NULL. */
void assert_async(struct ibv_context *context, enum ibv_event_type type, const char *name);
/* Waits until it is in this state by itself. */
void assert_state(struct ibv_qp *qp, enum ibv_qp_state state);
/* Waits for an event of the channel, acknowledges it. */
struct ibv_cq *next_event(struct end *end);
bool has_event(struct end *end);

void fill(uint8_t *memory, size_t bytes, uint64_t seed);

/* ---- the tests ----------------------------------------------------------------------------------- */

int run_transfer_tests(void);
int run_error_tests(void);
int run_object_tests(void);

#endif

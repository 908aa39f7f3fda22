/* The software HCA: two devices, some connections, and work, receives, faults and time as the input says; always legal
 * use, which the HCA itself checks. Each request ends once, in order; nothing that was to complete is left out; and
 * what has moved is what was sent. */
#include "fuzz/fuzz.h"
#include "tests/hca_pair.h"

#define CONNECTIONS 3u
#define QUEUE 16
#define POSTS_MAX 4096u
#define SIGNALED IBV_SEND_SIGNALED

/* What the requester of one connection may expect. */
struct expectation {
    uint64_t posted, completed; /* ids count up; those below `completed` are over */
    bool signalled[POSTS_MAX];  /* by id */
    bool failed;
};

struct play {
    struct pair pair; /* side[i].qp is the one in use */
    struct ibv_qp *qp[2][CONNECTIONS];
    struct expectation expected[2][CONNECTIONS];
    uint64_t posts;
};

static void use(struct play *play, size_t connection) {
    play->pair.side[0].qp = play->qp[0][connection];
    play->pair.side[1].qp = play->qp[1][connection];
}

static void connect_again(struct play *play, size_t connection) {
    struct pair *pair = &play->pair;
    for (int i = 0; i < 2; i++) {
        pair_make_qp(pair, &pair->side[i]);
        play->qp[i][connection] = pair->side[i].qp;
        memset(&play->expected[i][connection], 0, sizeof(play->expected[i][connection]));
        IST_ASSERT(pair_to_init(pair, &pair->side[i]) == 0);
    }
    for (int i = 0; i < 2; i++) {
        IST_ASSERT(pair_to_rtr(pair, &pair->side[i], &pair->side[1 - i]) == 0);
        IST_ASSERT(pair_to_rts(pair, &pair->side[i]) == 0);
    }
}

static void play_begin(struct play *play, struct fuzz_input *input) {
    struct pair_options options;
    memset(play, 0, sizeof(*play));
    uint8_t how = fuzz_u8(input);
    pair_options_init(&options, fuzz_u8(input));
    options.srq = how % 2 == 0;
    options.config.loss_ppm = how % 4 == 1 ? 20000 : 0;
    options.config.spurious_events = 50;
    options.cqe = 4 * CONNECTIONS * 2 * QUEUE;
    options.device[0].max_qp_wr = options.device[1].max_qp_wr = QUEUE;
    options.rnr_retry = how < 128 ? 7 : 2;
    pair_init_devices(&play->pair, &options);
    pair_open(&play->pair, &play->pair.side[0]);
    pair_open(&play->pair, &play->pair.side[1]);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        connect_again(play, i);
    }
}

/* ---- completions ------------------------------------------------------------------------------------------- */

static void check_completion(struct play *play, int side, const struct ibv_wc *wc) {
    size_t connection = 0;
    while (connection < CONNECTIONS && play->qp[side][connection]->qp_num != wc->qp_num) {
        connection++;
    }
    if (connection == CONNECTIONS) {
        return; /* of one that is gone */
    }
    struct expectation *expected = &play->expected[side][connection];
    IST_ASSERT(wc->wr_id >= expected->completed && wc->wr_id < expected->posted);
    for (uint64_t id = expected->completed; id < wc->wr_id; id++) {
        IST_ASSERT(!expected->signalled[id] && !expected->failed);
    }
    if (wc->status == IBV_WC_SUCCESS) {
        IST_ASSERT(expected->signalled[wc->wr_id] && !expected->failed);
    } else {
        IST_ASSERT(!expected->failed || wc->status == IBV_WC_WR_FLUSH_ERR);
    }
    expected->failed = wc->status != IBV_WC_SUCCESS;
    expected->completed = wc->wr_id + 1;
}

static void poll_all(struct play *play) {
    struct ibv_wc wc[16];
    struct ibv_async_event event;
    for (int i = 0; i < 2; i++) {
        for (int n; (n = ibv_poll_cq(play->pair.side[i].send_cq, 16, wc)) > 0;) {
            for (int k = 0; k < n; k++) {
                check_completion(play, i, &wc[k]);
            }
        }
        while (ibv_poll_cq(play->pair.side[i].recv_cq, 16, wc) > 0) {
        }
        while (ibv_get_async_event(play->pair.side[i].context, &event) == 0) {
            ibv_ack_async_event(&event);
        }
    }
}

/* ---- events ------------------------------------------------------------------------------------------------ */

static void post(struct play *play, int side, size_t connection, struct fuzz_input *input) {
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
                                                 IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE_WITH_IMM};
    struct expectation *expected = &play->expected[side][connection];
    uint8_t what = fuzz_u8(input), how = fuzz_u8(input);
    struct pair_work work = {.opcode = opcodes[what % 5],
                             .id = expected->posted,
                             .offset = fuzz_u16(input) % (PAIR_BUFFER_BYTES / 2),
                             .bytes = fuzz_u16(input) % 6000u,
                             .rkey = how >= 250 ? 5 : 0,
                             .lkey = how == 249 ? 5 : 0};
    if (expected->posted == POSTS_MAX) {
        return;
    }
    work.flags = how % 2 == 0 ? SIGNALED : 0;
    work.flags |= how % 8 == 5 ? IBV_SEND_FENCE : 0;
    work.flags |= how % 4 == 3 ? IBV_SEND_SOLICITED : 0;
    if (work.opcode != IBV_WR_RDMA_READ && work.bytes <= 64 && what % 2 == 0) {
        work.flags |= IBV_SEND_INLINE;
    }
    if (pair_try_post(&play->pair, side, work) == 0) {
        expected->signalled[expected->posted] = (work.flags & SIGNALED) != 0;
        expected->posted++;
    }
}

static void renew(struct play *play, size_t connection) {
    pair_destroy_qp(&play->pair.side[0]);
    pair_destroy_qp(&play->pair.side[1]);
    connect_again(play, connection);
}

static void break_something(struct play *play, int side, size_t connection, uint8_t how) {
    struct ibv_qp *qp = play->qp[side][connection];
    switch (how % 8) {
    case 0: ist_hca_drop(qp, how / 8u); break;
    case 1: ist_hca_delay(qp, how * 1000u); break;
    case 2: ist_hca_not_ready(qp, how / 32u); break;
    case 3: ist_hca_qp_fatal(qp); break;
    case 4: ist_hca_set_link(play->pair.side[side].device, 1, how < 128); break;
    case 5: ist_hca_set_cut(play->pair.side[side].device, 1, how < 128); break;
    case 6: ist_hca_fail_request(qp, how < 128 ? IBV_WC_RETRY_EXC_ERR : IBV_WC_FATAL_ERR); break;
    default: renew(play, connection); break;
    }
}

static void step(struct play *play, struct fuzz_input *input) {
    uint8_t what = fuzz_u8(input), where = fuzz_u8(input);
    int side = where & 1;
    size_t connection = (where >> 1) % CONNECTIONS;
    use(play, connection);
    switch (what % 8) {
    case 0:
    case 1:
    case 2: post(play, side, connection, input); break;
    case 3:
    case 4: (void)pair_try_receive(&play->pair, side, 0, 0, what < 240 ? 6000 : 10); break;
    case 5: (void)ist_hca_run(play->pair.hca, where); break;
    case 6: poll_all(play); break;
    default: break_something(play, side, connection, fuzz_u8(input)); break;
    }
}

/* Everything that is outstanding ends, and nothing is left. */
static void play_end(struct play *play) {
    for (int i = 0; i < 2; i++) {
        ist_hca_set_cut(play->pair.side[i].device, 1, false);
        ist_hca_set_link(play->pair.side[i].device, 1, true);
        for (size_t k = 0; k < CONNECTIONS; k++) {
            struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
            IST_ASSERT(ibv_modify_qp(play->qp[i][k], &attr, IBV_QP_STATE) == 0);
        }
    }
    pair_run(&play->pair);
    poll_all(play);
    for (size_t k = 0; k < CONNECTIONS; k++) {
        use(play, k);
        for (int i = 0; i < 2; i++) {
            const struct expectation *expected = &play->expected[i][k];
            for (uint64_t id = expected->completed; id < expected->posted; id++) {
                IST_ASSERT(!expected->signalled[id]);
            }
            pair_destroy_qp(&play->pair.side[i]);
        }
    }
    pair_fini(&play->pair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct play play;
    struct fuzz_input input = fuzz_input_of(data, bytes);
    play_begin(&play, &input);
    while (input.bytes > 0) {
        step(&play, &input);
    }
    play_end(&play);
    return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------------------- */

/* Every operation on every connection from both sides, in inputs that differ in their options and faults. */
void fuzz_seeds(fuzz_seed_fn seed) {
    for (uint8_t how = 0; how < 10; how++) {
        uint8_t input[1024] = {how < 8 ? how : 128 + how, (uint8_t)(how + 1)}, *at = input + 2;
        const char name[] = {'p', 'l', 'a', 'y', (char)('0' + how), '\0'};
        for (uint8_t i = 0; i < 60; i++) {
            const uint8_t where = i % 6;
            const uint8_t posted[] = {0,    where, i % 5, (uint8_t)(i * 3), i, 0, (uint8_t)(i * 40),
                                      i / 4};
            *at++ = 3;
            *at++ = where ^ 1;
            memcpy(at, posted, sizeof(posted));
            at += sizeof(posted);
            if (i % 7 == 6) {
                *at++ = i % 2 == 0 ? 6 : 5;
                *at++ = 200;
            }
            if (i % 20 == 19) {
                *at++ = 7;
                *at++ = where;
                *at++ = (uint8_t)(how + 8 * (i / 20) + 90);
            }
        }
        seed(name, input, (size_t)(at - input));
    }
}

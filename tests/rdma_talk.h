/* Sessions over RDMA, with a NIC that is a queue: it moves a work request's bytes when the request completes, not
 * when it is posted, so that a block that is given up too early shows. */
#ifndef IST_TESTS_RDMA_TALK_H
#define IST_TESTS_RDMA_TALK_H

#include "tests/conversation.h"

#define CLIENT_BYTES (8u << 20)
#define CLIENT_BASE 0x7f0000000000ull
#define RKEY 0xabcd1234u
#define POSTED_MAX 4096u

struct talk {
    struct world world;
    struct ist_session *session;
    struct bytes in, out;
    struct reply replies[64];
    size_t count;
    uint8_t *client; /* its registered memory */
    struct ist_work posted[POSTED_MAX];
    size_t first, last; /* posted[first, last) have not completed */
    size_t issued_max;  /* works taken at a time */
};

static inline void talk_begin_with(struct talk *talk, struct world_options options) {
    *talk = (struct talk){.issued_max = POSTED_MAX};
    world_init(&talk->world, options);
    assert_int_equal(
        ist_session_open_rdma(talk->world.engine, 7, talk, talk->world.now_ns, &talk->session), IST_OK);
    talk->client = calloc(1, CLIENT_BYTES);
    assert_non_null(talk->client);
    world_check(&talk->world);
}

static inline void talk_begin(struct talk *talk) {
    talk_begin_with(talk, (struct world_options){0});
}

static inline void talk_end(struct talk *talk) {
    ist_session_close(talk->session);
    world_fini(&talk->world);
    bytes_free(&talk->in);
    bytes_free(&talk->out);
    free(talk->client);
}

static inline unsigned wants(const struct talk *talk) {
    return ist_session_wants(talk->session);
}

/* ---- the NIC -------------------------------------------------------------------------------------------- */

/* Takes up to max works; returns how many. */
static inline size_t nic_post(struct talk *talk, size_t max) {
    size_t posted = 0;
    while (posted < max && (wants(talk) & IST_WANT_WORK) != 0) {
        size_t room = max - posted < talk->issued_max ? max - posted : talk->issued_max;
        assert_true(talk->last + room <= POSTED_MAX);
        size_t count =
            ist_session_work(talk->session, talk->posted + talk->last, room, talk->world.now_ns);
        assert_true(count >= 1 && count <= room);
        talk->last += count;
        posted += count;
        world_check(&talk->world);
    }
    return posted;
}

static inline void nic_complete(struct talk *talk, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct ist_work *work = &talk->posted[talk->first++];
        assert_true(talk->first <= talk->last);
        assert_int_equal(work->rkey, RKEY);
        assert_true(work->bytes >= 1 && work->bytes <= IST_WORK_BYTES_MAX);
        assert_true(work->address >= CLIENT_BASE &&
                    work->address + work->bytes <= CLIENT_BASE + CLIENT_BYTES);
        uint8_t *remote = talk->client + (work->address - CLIENT_BASE);
        uint8_t *local = talk->world.pool + work->offset;
        memcpy(work->kind == IST_WORK_READ ? local : remote,
               work->kind == IST_WORK_READ ? remote : local, work->bytes);
    }
    if (count > 0) {
        ist_session_work_done(talk->session, count, talk->world.now_ns);
        world_check(&talk->world);
    }
    if (talk->first == talk->last) {
        talk->first = talk->last = 0;
    }
}

static inline size_t outstanding(const struct talk *talk) {
    return talk->last - talk->first;
}

/* Says what is to be said; work is posted, not completed. */
static inline void talk_say(struct talk *talk) {
    edge_run(&talk->world, talk->session, &talk->in, &talk->out);
    talk->in.count = 0;
}

static inline void talk_hear(struct talk *talk) {
    edge_take(&talk->world, talk->session, &talk->out, SIZE_MAX);
    talk->count = read_replies(&talk->out, talk->replies, 64);
}

/* Everything, to the end. */
static inline void talk_run(struct talk *talk) {
    talk_say(talk);
    do {
        nic_complete(talk, outstanding(talk));
    } while (nic_post(talk, POSTED_MAX) > 0);
    talk_hear(talk);
}

/* ---- requests ------------------------------------------------------------------------------------------- */

struct item {
    const char *key;
    uint64_t at, bytes; /* in the client's memory */
};

#define ITEMS_MAX 32

static inline void say_items(struct bytes *out, enum ist_operation operation, uint16_t flags,
                             uint64_t id, const struct item *items, size_t count) {
    struct ist_span keys[ITEMS_MAX];
    uint64_t lengths[ITEMS_MAX];
    struct ist_remote remotes[ITEMS_MAX];
    for (size_t i = 0; i < count; i++) {
        keys[i] = ist_span_of_string(items[i].key);
        lengths[i] = items[i].bytes;
        remotes[i] = (struct ist_remote){.address = CLIENT_BASE + items[i].at, .rkey = RKEY};
    }
    size_t room = ist_codec_remote_keys_bytes(keys, lengths, remotes, count), written;
    uint8_t *body = malloc(room + 1);
    assert_non_null(body);
    assert_int_equal(ist_codec_encode_remote_keys(keys, lengths, remotes, count, body, room, &written),
                     IST_OK);
    assert_int_equal(written, room);
    say_header(out, operation, flags, id, (uint32_t)room, 0);
    bytes_add(out, body, room);
    free(body);
}

static inline void say_one(struct talk *talk, enum ist_operation operation, uint64_t id,
                           const char *key, uint64_t at, uint64_t bytes) {
    const struct item item = {key, at, bytes};
    say_items(&talk->in, operation, 0, id, &item, 1);
}

static inline void fill(struct talk *talk, uint64_t at, char letter, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        talk->client[at + i] = (uint8_t)((uint8_t)letter + i);
    }
}

static inline enum ist_status key_status(const struct talk *talk, size_t reply, size_t key) {
    assert_true(reply < talk->count && key < talk->replies[reply].keys.key_status.bytes);
    return (enum ist_status)talk->replies[reply].keys.key_status.data[key];
}

static inline bool is_present(struct talk *talk, const char *key) {
    struct ist_span span = ist_span_of_string(key);
    bool present;
    ist_store_exists(talk->world.store, &span, 1, &present);
    return present;
}

static inline struct ist_store_usage usage(const struct talk *talk) {
    struct ist_store_usage usage;
    ist_store_usage(talk->world.store, &usage);
    return usage;
}

static inline void put_whole(struct talk *talk, const char *key, char letter, uint64_t bytes) {
    fill(talk, 0, letter, bytes);
    say_one(talk, IST_OP_PUT, 1, key, 0, bytes);
    talk_run(talk);
    assert_int_equal(key_status(talk, talk->count - 1, 0), IST_OK);
    talk->out.count = 0;
}

#endif

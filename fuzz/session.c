/* A whole server without its I/O: some sessions over streams and over RDMA on one engine and one store. The input
 * chooses the limits and then, record by record, what happens next: bytes that arrive, in what pieces, replies
 * that leave, work that completes, time that passes, memory that is short. Invariants are checked after every call.
 * At the end the faults heal, and everything that was asked must have been answered. */
#include "fuzz/session.h"
#include "fuzz/fuzz.h"
#include "fuzz/listener.h"
#include "fuzz/phrase.h"
#include "fuzz/script.h"

#define SLOTS 4u
#define NIC_WORKS_MAX 256u
#define MS 1000000ull
#define CHECKED_BYTES_MAX 4096u /* a check after each of many bytes costs seconds */

struct slot {
    struct ist_session *session; /* NULL: none */
    struct bytes pending;        /* what the client has sent and the session has not taken */
    struct listener listener;
    struct ist_work works[NIC_WORKS_MAX]; /* posted */
    uint64_t sums[NIC_WORKS_MAX];         /* of what a WRITE is to move */
    size_t work_count;
};

struct play {
    struct world world;
    struct slot slots[SLOTS];
    struct bytes out;
    uint8_t remote; /* changes with every READ */
};

/* ---- the edge --------------------------------------------------------------------------------------------- */

static void slot_close(struct slot *slot) {
    ist_session_close(slot->session);
    slot->session = NULL;
    slot->work_count = 0;
    listener_fini(&slot->listener);
    bytes_free(&slot->pending);
}

static unsigned wants(const struct slot *slot) {
    return slot->session == NULL ? 0 : ist_session_wants(slot->session);
}

static void close_those_that_want(struct play *play) {
    for (size_t i = 0; i < SLOTS; i++) {
        if ((wants(&play->slots[i]) & IST_WANT_CLOSE) != 0) {
            slot_close(&play->slots[i]);
            world_check(&play->world);
        }
    }
}

static void slot_open(struct play *play, struct slot *slot, bool is_rdma) {
    if (slot->session != NULL) {
        return;
    }
    struct ist_engine *engine = play->world.engine;
    enum ist_status status = (is_rdma ? ist_session_open_rdma : ist_session_open)(
        engine, 1 + (uint64_t)(slot - play->slots), slot, play->world.now_ns, &slot->session);
    if (status != IST_OK) {
        IST_ASSERT(status == IST_NO_SPACE || status == IST_NO_MEMORY);
        slot->session = NULL;
        return;
    }
    IST_ASSERT(ist_session_user(slot->session) == slot);
    slot->listener.is_rdma = is_rdma;
    world_check(&play->world);
}

static void slot_feed(struct play *play, struct slot *slot) {
    bool unchecked = play->world.unchecked;
    play->world.unchecked |= slot->pending.count > CHECKED_BYTES_MAX;
    size_t taken = edge_feed(&play->world, slot->session, slot->pending.data, slot->pending.count);
    play->world.unchecked = unchecked;
    listener_said(&slot->listener, slot->pending.data, taken);
    slot->pending.count -= taken;
    if (taken > 0) {
        memmove(slot->pending.data, slot->pending.data + taken, slot->pending.count);
    }
}

static void slot_take(struct play *play, struct slot *slot, size_t limit) {
    play->out.count = 0;
    edge_take(&play->world, slot->session, &play->out, limit);
    listener_heard(&slot->listener, play->out.data, play->out.count);
}

/* How input and output are cut, for one record. */
static void choose_pieces(struct world *world, uint8_t argument) {
    static const size_t bytes[] = {SIZE_MAX, 1, 2, 7, 31, 33, 512, 4096};
    static const size_t buffers[] = {BUFFERS_MAX, 1, 2, 3};
    world->recv_max = world->send_max = bytes[(argument >> 2) % 8];
    world->buffers_max = buffers[(argument >> 5) % 4];
}

/* ---- the NIC ---------------------------------------------------------------------------------------------- */

static uint64_t pool_sum(const struct play *play, const struct ist_work *work) {
    uint64_t sum = 0xcbf29ce484222325ull;
    for (uint32_t i = 0; i < work->bytes; i++) {
        sum = (sum ^ play->world.pool[work->offset + i]) * 0x100000001b3ull;
    }
    return sum;
}

/* Nobody else may have anything to do with the bytes that a READ is to fill. */
static void check_alone(const struct play *play, const struct ist_work *work) {
    for (size_t i = 0; i < SLOTS; i++) {
        for (size_t j = 0; j < play->slots[i].work_count; j++) {
            const struct ist_work *other = &play->slots[i].works[j];
            bool overlap = other->offset < work->offset + work->bytes &&
                           work->offset < other->offset + other->bytes;
            IST_ASSERT(!overlap || (work->kind == IST_WORK_WRITE && other->kind == IST_WORK_WRITE));
        }
    }
}

static void nic_post(struct play *play, struct slot *slot, size_t max) {
    size_t room = NIC_WORKS_MAX - slot->work_count;
    max = max < room ? max : room;
    if (max == 0 || (wants(slot) & IST_WANT_WORK) == 0) {
        return;
    }
    struct ist_work works[NIC_WORKS_MAX];
    size_t count = ist_session_work(slot->session, works, max, play->world.now_ns);
    IST_ASSERT(count >= 1 && count <= max);
    for (size_t i = 0; i < count; i++) {
        const struct ist_work *work = &works[i];
        struct ist_store_usage usage;
        ist_store_usage(play->world.store, &usage);
        IST_ASSERT(work->bytes >= 1 && work->bytes <= IST_WORK_BYTES_MAX);
        IST_ASSERT(work->offset + work->bytes <= usage.pool_bytes);
        check_alone(play, work);
        slot->sums[slot->work_count] = work->kind == IST_WORK_WRITE ? pool_sum(play, work) : 0;
        slot->works[slot->work_count++] = *work;
    }
    world_check(&play->world);
}

static void nic_complete(struct play *play, struct slot *slot, size_t count) {
    count = count < slot->work_count ? count : slot->work_count;
    if (count == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct ist_work *work = &slot->works[i];
        if (work->kind == IST_WORK_READ) {
            memset(play->world.pool + work->offset, ++play->remote, work->bytes);
        } else {
            IST_ASSERT(pool_sum(play, work) ==
                       slot->sums[i]); /* its block is what it was when it was posted */
        }
    }
    slot->work_count -= count;
    memmove(slot->works, slot->works + count, slot->work_count * sizeof(slot->works[0]));
    memmove(slot->sums, slot->sums + count, slot->work_count * sizeof(slot->sums[0]));
    ist_session_work_done(slot->session, count, play->world.now_ns);
    world_check(&play->world);
}

static void slot_connect(struct play *play, struct slot *slot, uint8_t how) {
    if ((wants(slot) & IST_WANT_CONNECT) == 0) {
        return;
    }
    IST_ASSERT(ist_session_peer(slot->session)->end.number < 1u << 24);
    const struct ist_endpoint none = {.status = how % 2 == 0 ? IST_NO_SPACE : IST_DEVICE};
    const struct ist_endpoint own = {.end = {.number = 5,
                                             .packet_number = 6,
                                             .gid = {0xfe, 0x80, [15] = 9},
                                             .mtu_bytes = 1024,
                                             .reads = 4,
                                             .messages = 8,
                                             .message_bytes = 4096}};
    ist_session_connected(slot->session, how < 128 ? &own : &none, play->world.now_ns);
    world_check(&play->world);
    edge_copy(&play->world, slot->session);
}

/* ---- events ------------------------------------------------------------------------------------------------ */

static void pass_time(struct play *play, uint64_t ms) {
    struct ist_engine *engine = play->world.engine;
    play->world.now_ns += ms * MS;
    ist_engine_tick(engine, play->world.now_ns);
    IST_ASSERT(ist_engine_deadline_ns(engine) > play->world.now_ns);
    world_check(&play->world);
    while (ist_engine_next_changed(engine) != NULL) {
        world_check(&play->world);
    }
}

static void admin(struct play *play, uint8_t what, uint64_t bytes) {
    struct ist_stats stats;
    switch (what % 4) {
    case 0: ist_store_purge(play->world.store); break;
    case 1: ist_store_evict(play->world.store, bytes); break;
    case 2: ist_engine_stats(play->world.engine, &stats); break;
    default:
        if (what == 255) {
            ist_engine_drain(play->world.engine, play->world.now_ns);
            IST_ASSERT(ist_engine_is_draining(play->world.engine));
        }
        break;
    }
    world_check(&play->world);
}

static void play_record(struct play *play, const struct script_record *record) {
    struct slot *slot = &play->slots[record->argument % SLOTS];
    struct fuzz_input data = fuzz_input_of(record->data.data, record->data.bytes);
    enum session_event event = (enum session_event)(record->kind % SESSION_EVENTS);
    choose_pieces(&play->world, record->argument);
    switch (event) {
    case SESSION_OPEN: slot_open(play, slot, false); return;
    case SESSION_OPEN_RDMA: slot_open(play, slot, true); return;
    case SESSION_TIME: pass_time(play, fuzz_number(&data, 2)); return;
    case SESSION_ADMIN: admin(play, record->argument, fuzz_u16(&data)); return;
    case SESSION_STARVE: play->world.starved = record->argument % 2 == 1; return;
    case SESSION_SAY:
    case SESSION_ASK:
    case SESSION_TAKE:
    case SESSION_POST:
    case SESSION_COMPLETE:
    case SESSION_CONNECT:
    case SESSION_CLOSE:
    case SESSION_EVENTS: break;
    }
    if (slot->session == NULL) {
        return;
    }
    if (event == SESSION_SAY) {
        bytes_add(&slot->pending, record->data.data, record->data.bytes);
        slot_feed(play, slot);
    } else if (event == SESSION_ASK) {
        struct script phrase = {0};
        phrase_append(&phrase, &data, slot->listener.is_rdma);
        bytes_add(&slot->pending, phrase.data, phrase.bytes);
        script_free(&phrase);
        slot_feed(play, slot);
    } else if (event == SESSION_TAKE) {
        slot_take(play, slot, data.bytes == 0 ? SIZE_MAX : fuzz_u16(&data));
        slot_feed(play, slot);
    } else if (event == SESSION_POST) {
        nic_post(play, slot, 1 + (size_t)fuzz_u8(&data));
    } else if (event == SESSION_COMPLETE) {
        nic_complete(play, slot, 1 + (size_t)fuzz_u8(&data));
    } else if (event == SESSION_CONNECT) {
        slot_connect(play, slot, fuzz_u8(&data));
    } else {
        slot_close(slot);
        world_check(&play->world);
    }
}

/* ---- beginning and end -------------------------------------------------------------------------------------- */

static bool play_begin(struct play *play, struct fuzz_input *input) {
    memset(play, 0, sizeof(*play));
    struct world_options options = {.pool_bytes = 512 * (1 + (uint64_t)fuzz_u8(input) % 128)};
    uint8_t sessions = fuzz_u8(input);
    options.engine.sessions_max = 1 + sessions % SLOTS;
    options.engine.requests_in_flight_max = fuzz_u8(input);
    options.engine.queued_bytes_max = 16 * (uint64_t)fuzz_u16(input);
    options.fail_at = fuzz_u16(input);
    bool begun = world_try(&play->world, options);
    play->world.unchecked = sessions < 128;
    return begun;
}

/* As an edge does that has nothing else to do. True: something moved. */
static bool slot_settle(struct play *play, struct slot *slot) {
    bool moved = false;
    for (unsigned now; ((now = wants(slot)) & ~(unsigned)IST_WANT_RECV) != 0 || slot->work_count > 0;) {
        if ((now & IST_WANT_CLOSE) != 0) {
            slot_close(slot);
            return true;
        }
        slot_take(play, slot, SIZE_MAX);
        slot_connect(play, slot, 255);
        nic_post(play, slot, NIC_WORKS_MAX);
        nic_complete(play, slot, NIC_WORKS_MAX);
        edge_copy(&play->world, slot->session);
        moved = true;
    }
    if (slot->session != NULL && slot->pending.count > 0) {
        size_t before = slot->pending.count;
        slot_feed(play, slot);
        moved |= slot->pending.count < before;
    }
    return moved;
}

/* The faults heal; what was asked is answered. */
static void play_end(struct play *play) {
    play->world.starved = false;
    play->world.failing.fail_at = 0;
    choose_pieces(&play->world, 0);
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &play->slots[i];
        while (slot->session != NULL && slot_settle(play, slot)) {
        }
        if (slot->session != NULL) {
            IST_ASSERT(wants(slot) == IST_WANT_RECV && slot->pending.count == 0);
            listener_check_idle(&slot->listener);
            slot_close(slot);
        }
    }
    world_fini(&play->world);
    bytes_free(&play->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct play play;
    struct fuzz_input input = fuzz_input_of(data, bytes);
    if (!play_begin(&play, &input)) {
        IST_ASSERT(play.world.failing.live == 0);
        return 0;
    }
    struct script_record record;
    while (script_next(&input, &record)) {
        play_record(&play, &record);
        close_those_that_want(&play);
        ist_engine_check(play.world.engine);
    }
    play_end(&play);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed) {
    static const struct script_grammar grammar = {
        .option_bytes = SESSION_OPTION_BYTES, .kinds = SESSION_EVENTS, .invent = session_invent};
    return script_mutate(&grammar, data, bytes, bytes_max, seed);
}

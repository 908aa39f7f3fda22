/* src/verbs on devices that are as the input says, usual or odd: opened, surveyed, their GIDs chosen; memory registered;
 * queue pairs connected with what a peer says of itself, true or not; messages under credits and one-sided work, between
 * two of src/verbs or against one that posts what it wants; links, devices and calls that fail at any moment. What a queue
 * pair says of itself is what a naive count says, each buffer comes once, bytes that are said to have moved have, messages
 * come in order and whole, no credit is lost, and nothing is left in the end. */
#include "fuzz/verbs.h"

#include <endian.h>

#include "fuzz/verbs_world.h"

#define EVENTS_MAX 8u
#define QUIET 20000u /* steps after which all that moves by itself is over */
#define WRONG_KEY 5u

static struct verbs_world f;

/* ---- queue pairs ------------------------------------------------------------------------------------------ */

static void make_pair(struct verbs_side *side, struct verbs_place *place, bool remote_access) {
    const struct ist_completion_config *config = ist_completion_config(side->completion);
    const struct ist_queue_pair_config pair = {
        .completion = side->completion,
        .remote_access = remote_access,
        .packet_number = (uint32_t)random_next(&f.random), /* more than its 24 bits */
        .user = place};
    struct ist_queue_pair *made = NULL;
    uint64_t complaints = f.complaints;
    verbs_side_free_place(side, place);
    enum ist_status status = ist_queue_pair_new(&pair, &made);
    IST_ASSERT((status == IST_OK) == (made != NULL));
    IST_ASSERT(status == IST_OK || status == IST_NO_SPACE || status == IST_NO_MEMORY ||
               status == IST_DEVICE);
    IST_ASSERT(status != IST_DEVICE || f.complaints > complaints);
    if (status == IST_OK) {
        uint32_t most = ist_device_limits(side->device)->queue_pair_wr;
        verbs_place_begin(place, made, config->send_wr < most ? config->send_wr : most);
        place->is_tainted = f.is_troubled;
    }
}

/* One thing that a peer says of itself is not so. */
static void change_end(struct ist_queue_pair_end *end, uint8_t where, uint8_t what) {
    static const uint32_t values[] = {0,      1,       2,         255,        256,         257,
                                      0xbfff, 0xc000u, 0xffffffu, 0x1000000u, 0x7fffffffu, UINT32_MAX};
    uint32_t value = what < 12 ? values[what] : what;
    switch (where % 9) {
    case 0: end->number = value; break;
    case 1: end->packet_number = value; break;
    case 2: end->lid = (uint16_t)value; break;
    case 3: end->mtu_bytes = value; break;
    case 4: end->reads = value; break;
    case 5: end->messages = value; break;
    case 6: end->message_bytes = value; break;
    case 7: end->gid[what % IST_GID_LENGTH] ^= (uint8_t)(1 + what / 16); break;
    default: memset(end->gid, what % 2 == 0 ? 0 : what, sizeof(end->gid)); break;
    }
}

static void connect_pair(struct verbs_side *side, struct verbs_place *place,
                         const struct verbs_place *other, struct fuzz_input *input) {
    if (place->pair == NULL || other->pair == NULL || place->is_ready || place->is_broken) {
        return;
    }
    struct ist_queue_pair_end end = other->end;
    while (input->bytes >= 2) {
        uint8_t where = fuzz_u8(input);
        change_end(&end, where, fuzz_u8(input));
        place->is_tainted = true;
    }
    uint64_t complaints = f.complaints;
    bool is_valid = ist_queue_pair_end_is_valid(side->device, &end);
    enum ist_status status = ist_queue_pair_connect(place->pair, &end);
    IST_ASSERT((status == IST_INVALID) == !is_valid);
    IST_ASSERT(is_valid || (place->is_tainted || end.mtu_bytes < 256 || end.reads == 0 ||
                            end.messages == 0 || end.message_bytes < 256 || end.lid == 0));
    IST_ASSERT(status == IST_OK || status == IST_INVALID || status == IST_PEER || status == IST_DEVICE);
    IST_ASSERT(status == IST_OK || status == IST_INVALID || f.complaints > complaints);
    if (status == IST_OK) {
        verbs_place_connected(place, &end);
    } else if (status != IST_INVALID) {
        place->is_broken = true;
    }
}

/* ---- posting ---------------------------------------------------------------------------------------------- */

/* Its number among those of its queue pair, and whose it is; where it is too short, only that it is one of these. */
static void add_message(struct verbs_place *place, uint32_t bytes) {
    const struct verbs_move nothing = {0};
    uint32_t most = verbs_place_message_room(place);
    if (most == 0) {
        return;
    }
    uint8_t *message = ist_queue_pair_message(place->pair);
    bytes = 1 + bytes % most;
    memset(message, (int)(place->sent % 251), bytes);
    if (bytes > 8) {
        memcpy(message + 1, &place->sent, 4);
        memcpy(message + 5, &place->end.number, 4);
    }
    ist_queue_pair_add_message(place->pair, bytes);
    verbs_place_added(place, VERBS_MESSAGE, nothing);
    place->sent++;
}

static void check_message(struct verbs_place *place, const uint8_t *message, uint32_t bytes) {
    uint32_t number, sender;
    if (message[0] == VERBS_RAW_MARK) {
        IST_ASSERT(place->is_tainted);
        return;
    }
    IST_ASSERT(message[0] == place->heard % 251);
    if (bytes > 8) {
        memcpy(&number, message + 1, 4);
        memcpy(&sender, message + 5, 4);
        IST_ASSERT(number == place->heard);
        IST_ASSERT(sender == place->peer || place->is_tainted);
    }
    for (uint32_t i = 9; i < bytes; i++) {
        IST_ASSERT(message[i] == place->heard % 251);
    }
    place->heard++;
}

/* In two pieces where the parts of the memory meet in it. */
static uint32_t set_pieces(const struct verbs_side *side, uint8_t *at, uint32_t bytes,
                           struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX]) {
    const struct ist_region *first = verbs_side_region(side, at),
                            *last = verbs_side_region(side, at + bytes - 1);
    uint32_t head = first == last ? bytes : (uint32_t)(last->address - (uintptr_t)at);
    pieces[0] = (struct ist_piece){(uintptr_t)at, head, first->lkey};
    pieces[1] = (struct ist_piece){(uintptr_t)at + head, bytes - head, last->lkey};
    return first == last ? 1 : 2;
}

static void add_work(struct verbs_side *side, struct verbs_side *other, struct verbs_place *place,
                     struct fuzz_input *input) {
    bool read = fuzz_u8(input) % 2 == 0;
    uint32_t bytes = 1 + fuzz_u16(input) % VERBS_SLICE,
             offset = fuzz_u16(input) % (VERBS_SOURCE_BYTES - VERBS_SLICE);
    bool wrong = fuzz_u8(input) >= 240;
    if (verbs_place_room(place) == 0) {
        return;
    }
    size_t slice = (size_t)(place - side->place) * VERBS_DEPTH_MAX + place->added % place->depth;
    uint8_t *local = read ? side->memory->read[slice] : side->memory->source + offset;
    uint8_t *remote = read ? other->memory->source + offset : other->memory->written[slice];
    struct ist_one_sided work = {.read = read,
                                 .remote_address = (uintptr_t)remote,
                                 .rkey = wrong ? WRONG_KEY : verbs_side_region(other, remote)->rkey};
    work.piece_count = set_pieces(side, local, bytes, work.pieces);
    if (work.piece_count > ist_device_limits(side->device)->sge) {
        return;
    }
    memset(read ? local : remote, 0, bytes);
    place->is_tainted |= wrong;
    ist_queue_pair_add_work(place->pair, &work);
    verbs_place_added(place, VERBS_WORKED,
                      (struct verbs_move){
                          .from = read ? remote : local, .to = read ? local : remote, .bytes = bytes});
}

/* Past src/verbs, as somebody else's library might. Its completion has the number 0. */
static void post_raw(struct verbs_side *side, struct verbs_side *other, struct verbs_place *place,
                     struct fuzz_input *input) {
    static const enum ibv_wr_opcode operations[] = {IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE_WITH_IMM,
                                                    IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ};
    enum ibv_wr_opcode operation = operations[fuzz_u8(input) % 5];
    uint32_t bytes = fuzz_u16(input) % (VERBS_RAW_BYTES + 1);
    uint32_t immediate = (uint32_t)fuzz_number(input, 4);
    bool wrong = fuzz_u8(input) >= 240;
    if (verbs_place_room(place) == 0) {
        return;
    }
    uint8_t *local = operation == IBV_WR_RDMA_READ ? side->memory->raw_in : side->memory->raw_out;
    struct ibv_sge piece = {
        .addr = (uintptr_t)local, .length = bytes, .lkey = verbs_side_region(side, local)->lkey};
    struct ibv_send_wr request = {.sg_list = &piece,
                                  .num_sge = bytes > 0,
                                  .opcode = operation,
                                  .imm_data = htobe32(immediate),
                                  .send_flags = IBV_SEND_SIGNALED},
                       *refused;
    request.wr.rdma.remote_addr = (uintptr_t)other->memory->raw_in;
    request.wr.rdma.rkey = wrong ? WRONG_KEY : verbs_side_region(other, other->memory->raw_in)->rkey;
    if (ibv_post_send(ist_hca_find_qp(f.hca, place->end.number), &request, &refused) == 0) {
        place->raw++;
    }
    for (size_t i = 0; i < VERBS_PAIRS; i++) {
        side->place[i].is_tainted = other->place[i].is_tainted = true;
    }
}

/* ---- completions ------------------------------------------------------------------------------------------ */

static void take_buffer(struct verbs_side *side, const struct ist_completion_event *event) {
    struct verbs_place *place =
        event->queue_pair != NULL ? ist_queue_pair_user(event->queue_pair) : NULL;
    bool has_bytes = false;
    IST_ASSERT(event->count == 0);
    if (event->kind == IST_COMPLETION_RECEIVED) {
        IST_ASSERT(event->bytes <= ist_completion_config(side->completion)->message_bytes);
        has_bytes = place != NULL && verbs_place_received(place, event);
    }
    if (has_bytes) {
        check_message(place, ist_completion_buffer(side->completion, event->buffer), event->bytes);
    }
    verbs_side_hold(side, event->buffer, has_bytes ? place : NULL);
}

static void take_event(struct verbs_side *side, const struct ist_completion_event *event) {
    struct verbs_place *place =
        event->queue_pair != NULL ? ist_queue_pair_user(event->queue_pair) : NULL;
    IST_ASSERT(place == NULL || place->pair == event->queue_pair);
    if (event->has_buffer) {
        take_buffer(side, event);
    } else if (place != NULL && event->count == 0) {
        IST_ASSERT(place->raw > 0);
        place->raw--;
    } else if (place != NULL) {
        verbs_place_retire(place, event->count, event->kind == IST_COMPLETION_SENT);
    }
    if (event->kind == IST_COMPLETION_FAILED) {
        IST_ASSERT(strlen(event->failure) > 0);
        if (place != NULL) {
            verbs_place_break(place);
        }
    }
}

static size_t poll_side(struct verbs_side *side, size_t most, bool keep) {
    struct ist_completion_event events[EVENTS_MAX];
    size_t total = 0, count = 1;
    ist_completion_arm(side->completion);
    for (; total < most && count > 0; total += count) {
        size_t wanted = most - total < EVENTS_MAX ? most - total : EVENTS_MAX;
        count = ist_completion_poll(side->completion, events, wanted);
        IST_ASSERT(count <= wanted);
        for (size_t i = 0; i < count; i++) {
            take_event(side, &events[i]);
        }
        if (!keep) {
            verbs_side_give_back(side, UINT32_MAX);
        }
    }
    return total;
}

static void take_device_events(struct verbs_side *side) {
    struct ist_device_event event;
    while (side->device != NULL && ist_device_next_event(side->device, &event) == IST_OK) {
        IST_ASSERT(event.kind <= IST_DEVICE_OTHER && strlen(event.text) > 0);
    }
}

/* ---- what fails ------------------------------------------------------------------------------------------- */

static void fail_queue_pair(const struct verbs_place *place, uint8_t what, uint8_t how) {
    struct ibv_qp *qp = place->pair != NULL ? ist_hca_find_qp(f.hca, place->end.number) : NULL;
    if (qp == NULL) {
        return;
    }
    switch (what % 5) {
    case 0: ist_hca_drop(qp, how); break;
    case 1: ist_hca_delay(qp, how * 100000u); break;
    case 2: ist_hca_not_ready(qp, how % 8u); break;
    case 3: ist_hca_fail_request(qp, how % 2 == 0 ? IBV_WC_FATAL_ERR : IBV_WC_RETRY_EXC_ERR); break;
    default: ist_hca_qp_fatal(qp); break;
    }
}

static void change_gid(struct verbs_side *side, uint8_t how) {
    struct ist_hca_gid gid = side->about.port[0].gid[0];
    gid.gid.raw[15] ^= how;
    ist_hca_set_gid(side->hca_device, 1, how % 4, &gid);
}

static void kill_device(struct verbs_side *side, bool process_only) {
    for (size_t i = 0; i < 2; i++) {
        bool both = f.side[i].device != NULL && side->device != NULL &&
                    strcmp(ist_device_name(f.side[i].device), ist_device_name(side->device)) == 0;
        f.side[i].is_lame |= both || &f.side[i] == side;
    }
    if (!process_only) {
        ist_hca_device_fatal(side->hca_device);
        /* whoever has opened it: sides may have swapped theirs */
        f.side[0].is_lame = f.side[1].is_lame = true;
    } else if (side->device != NULL) {
        ist_hca_kill(ist_device_context(side->device));
    }
}

static void fault(struct verbs_side *side, const struct verbs_place *place, uint8_t what, uint8_t how) {
    f.is_troubled = true;
    switch (what % 12) {
    case 0: ist_hca_set_link(side->hca_device, 1, how % 2 == 0); break;
    case 1: ist_hca_set_cut(side->hca_device, 1, how % 2 == 0); break;
    case 2: ist_hca_set_lid(side->hca_device, 1, how); break;
    case 3: change_gid(side, how); break;
    case 4: ist_hca_hold_neighbours(side->hca_device, how % 2 == 0); break;
    case 5: kill_device(side, how % 2 == 0); break;
    case 6:
        if (side->completion != NULL) {
            ist_hca_cq_fatal(ist_completion_queue(side->completion));
            side->is_lame = true;
        }
        break;
    default: fail_queue_pair(place, (uint8_t)(what % 12 - 7), how); break;
    }
    take_device_events(&f.side[0]);
    take_device_events(&f.side[1]);
}

static void fail_calls(uint16_t calls, uint8_t nth) {
    f.is_troubled = true;
    ist_hca_fail_nth(f.hca, calls & IST_HCA_CALL_ALL, calls == 0 ? 0 : 1u + nth);
    f.failing.fail_at = calls == 0 ? f.failing.calls + 1 + nth : 0;
}

/* ---- the story -------------------------------------------------------------------------------------------- */

static void flush(struct verbs_place *place) {
    uint64_t complaints = f.complaints;
    bool was_ready = place->is_ready;
    if (verbs_place_flush(place) != IST_OK && was_ready) {
        IST_ASSERT(f.complaints > complaints);
    }
}

static uint32_t or_all(uint32_t how_many) {
    return how_many == 0 ? UINT32_MAX : how_many;
}

/* What wants the side's queue pair there. */
static void play_place(const struct script_record *record, struct verbs_side *side,
                       struct verbs_side *other, struct verbs_place *place) {
    struct fuzz_input input = {.data = record->data.data, .bytes = record->data.bytes};
    switch ((enum verbs_event)record->kind) {
    case VERBS_CONNECT:
        connect_pair(side, place, &other->place[(record->argument >> 3 & 3) % VERBS_PAIRS], &input);
        break;
    case VERBS_MESSAGES:
        while (input.bytes > 0) {
            add_message(place, fuzz_u16(&input));
        }
        break;
    case VERBS_WORK:
        while (input.bytes > 0) {
            add_work(side, other, place, &input);
        }
        break;
    case VERBS_FLUSH: flush(place); break;
    case VERBS_BREAK:
        f.is_troubled = true;
        verbs_place_break(place);
        break;
    case VERBS_FREE:
        f.is_troubled = true;
        verbs_side_free_place(side, place);
        break;
    case VERBS_RAW: post_raw(side, other, place, &input); break;
    default: break;
    }
}

/* What wants the side's queues. */
static void play_side(const struct script_record *record, struct verbs_side *side,
                      struct verbs_place *place) {
    struct fuzz_input input = {.data = record->data.data, .bytes = record->data.bytes};
    uint8_t how = record->argument >> 5;
    switch ((enum verbs_event)record->kind) {
    case VERBS_REGISTER: verbs_side_register(side, how, &input); break;
    case VERBS_PAIR: make_pair(side, place, how % 2 == 1); break;
    case VERBS_POLL: (void)poll_side(side, or_all(fuzz_u8(&input)), how % 2 == 1); break;
    case VERBS_GIVE_BACK: verbs_side_give_back(side, or_all(fuzz_u8(&input))); break;
    default: break;
    }
}

static void play(const struct script_record *record) {
    struct verbs_side *side = &f.side[record->argument & 1],
                      *other = &f.side[1 - (record->argument & 1)];
    struct verbs_place *place = &side->place[(record->argument >> 1 & 3) % VERBS_PAIRS];
    struct fuzz_input input = {.data = record->data.data, .bytes = record->data.bytes};
    if (record->kind == VERBS_OPEN) {
        verbs_side_open(side, &input);
    } else if (record->kind == VERBS_SURVEY) {
        verbs_world_survey(&f);
    } else if (record->kind == VERBS_EVENTS) {
        take_device_events(side);
    } else if (record->kind == VERBS_RUN) {
        uint16_t steps = fuzz_u16(&input);
        (void)ist_hca_run(f.hca, steps == 0 ? QUIET : steps);
    } else if (record->kind == VERBS_FAULT) {
        uint8_t what = fuzz_u8(&input);
        fault(side, place, what, fuzz_u8(&input));
    } else if (record->kind == VERBS_FAIL) {
        uint16_t calls = fuzz_u16(&input);
        fail_calls(calls, fuzz_u8(&input));
    } else if (side->completion != NULL) {
        play_side(record, side, place);
        if (place->pair != NULL) {
            play_place(record, side, other, place);
        }
    }
}

static void check(void) {
    for (size_t i = 0; i < 2 * VERBS_PAIRS; i++) {
        const struct verbs_place *place = &f.side[i / VERBS_PAIRS].place[i % VERBS_PAIRS];
        if (place->pair != NULL) {
            verbs_place_check(place);
        }
    }
}

/* ---- the end ---------------------------------------------------------------------------------------------- */

/* All that moves by itself has moved; each round lets the sides answer to what came. */
static void settle(void) {
    size_t found = 1;
    for (unsigned round = 0; round < 64 && (round < 2 || found > 0);
         round++) { /* the first gives back */
        (void)ist_hca_run(f.hca, QUIET);
        found = 0;
        for (size_t i = 0; i < 2; i++) {
            struct verbs_side *side = &f.side[i];
            take_device_events(side);
            if (side->completion == NULL) {
                continue;
            }
            found += poll_side(side, SIZE_MAX, false);
            for (size_t k = 0; k < VERBS_PAIRS; k++) {
                if (side->place[k].pair != NULL) {
                    (void)verbs_place_flush(&side->place[k]);
                }
            }
        }
        check();
    }
}

/* Of two that talk to each other without trouble: what one has sent the other has heard, and no credit is lost. */
static void check_conversation(const struct verbs_place *a, const struct verbs_place *b) {
    if (a->peer != b->end.number || b->peer != a->end.number || !a->is_ready || !b->is_ready) {
        return;
    }
    IST_ASSERT(a->sent == b->heard && b->sent == a->heard);
    IST_ASSERT(a->credits + b->owed == b->messages && b->credits + a->owed == a->messages);
    IST_ASSERT(a->posted == a->retired && b->posted == b->retired);
}

static void check_conversations(void) {
    for (size_t i = 0; i < VERBS_PAIRS * VERBS_PAIRS; i++) {
        const struct verbs_place *a = &f.side[0].place[i / VERBS_PAIRS],
                                 *b = &f.side[1].place[i % VERBS_PAIRS];
        if (a->pair != NULL && b->pair != NULL && !a->is_tainted && !b->is_tainted) {
            check_conversation(a, b);
        }
    }
}

static void break_all(void) {
    for (size_t i = 0; i < 2 * VERBS_PAIRS; i++) {
        struct verbs_place *place = &f.side[i / VERBS_PAIRS].place[i % VERBS_PAIRS];
        if (place->pair != NULL) {
            /* A call that failed may have left it as it was. */
            struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
            verbs_place_break(place);
            (void)ibv_modify_qp(ist_hca_find_qp(f.hca, place->end.number), &attributes, IBV_QP_STATE);
        }
    }
}

static void check_over(void) {
    for (size_t i = 0; i < 2 * VERBS_PAIRS; i++) {
        const struct verbs_side *side = &f.side[i / VERBS_PAIRS];
        const struct verbs_place *place = &side->place[i % VERBS_PAIRS];
        if (place->pair != NULL && !side->is_lame) {
            IST_ASSERT(ist_queue_pair_outstanding(place->pair) == 0 && place->raw == 0);
        }
    }
}

static void end(void) {
    ist_hca_fail_nth(f.hca, 0, 0);
    f.failing.fail_at = 0;
    settle();
    if (!f.is_troubled) {
        check_conversations();
    }
    break_all();
    settle();
    check_over();
    verbs_world_end(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct fuzz_input input = fuzz_input_of(data, bytes);
    struct script_record record;
    verbs_world_begin(&f, &input);
    while (script_next(&input, &record)) {
        play(&record);
        check();
    }
    end();
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed) {
    static const struct script_grammar grammar = {
        .option_bytes = VERBS_OPTION_BYTES, .kinds = VERBS_KINDS, .invent = verbs_invent};
    return script_mutate(&grammar, data, bytes, bytes_max, seed);
}

#include "sim/order_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "sim/canary.h"
#include "sim/memory.h"
#include "sim/order_client.h"
#include "wire/codec.h"
#include "workload/content.h"

#define SCRATCH_ALLOCATIONS 6u /* of the engine: its only large ones */
#define CANARY_PERIOD 4u       /* one reply in so many, where a canary wants some */

void sim_order_rig_init(struct sim_order_rig *rig, struct sim_arena *arena) {
    memset(rig, 0, sizeof(*rig));
    rig->arena = arena;
    rig->clients = sim_memory_new(SIM_ORDER_CLIENTS, sizeof(*rig->clients));
}

void sim_order_rig_fini(struct sim_order_rig *rig) {
    free(rig->clients);
    rig->clients = NULL;
}

/* ---- the beginning ----------------------------------------------------------------------------------------- */

/* Returns the bytes of the replies to what is said. */
static size_t talk(struct sim_order_rig *rig, struct ist_session *session,
                   const struct sim_order_bytes *said, uint8_t heard[SIM_ORDER_IN_BYTES]) {
    size_t bytes = 0;
    sim_order_deliver(rig, session, said->data, said->count);
    if ((ist_session_wants(session) & IST_WANT_SEND) != 0) {
        bytes = sim_order_take(rig, session, false, heard);
    }
    return bytes;
}

static struct ist_session *open_session(struct sim_order_rig *rig, uint64_t id, bool rdma) {
    uint8_t heard[SIM_ORDER_IN_BYTES];
    struct ist_session *session;
    enum ist_status status = rdma ? ist_session_open_rdma(rig->engine, id, rig, rig->now_ns, &session)
                                  : ist_session_open(rig->engine, id, rig, rig->now_ns, &session);
    IST_ASSERT(status == IST_OK);
    if (!rdma) {
        (void)talk(rig, session, &rig->script->hello, heard);
    }
    return session;
}

static void open_client(struct sim_order_rig *rig, unsigned client) {
    struct sim_order_client *of = &rig->clients[client];
    const struct sim_order_program *program = sim_order_program_of(rig, client);
    memset(of, 0, sizeof(*of));
    memset(of->memory, SIM_ORDER_UNTOUCHED, sizeof(of->memory));
    for (unsigned i = 0; i < program->count; i++) {
        bool reads = program->operations[i].verb == SIM_ORDER_GET;
        for (unsigned key = 0; key < SIM_ORDER_KEYS && !reads; key++) {
            uint8_t version = sim_order_version(client, i);
            ist_content_fill(ist_content_of(sim_order_key(key), version), 0,
                             of->memory + sim_order_place(i, key), sim_order_value_bytes(key, version));
        }
    }
    of->session = open_session(rig, client + 1, program->rdma);
}

static void make_server(struct sim_order_rig *rig) {
    uint64_t pool_bytes = rig->script->of.blocks * SIM_ORDER_BLOCK_BYTES;
    const struct ist_store_config store_config = {
        .pool_bytes_max = pool_bytes,
        .min_block_bytes = SIM_ORDER_BLOCK_BYTES,
        .granule_bytes = SIM_ORDER_BLOCK_BYTES,
        .hash_key = {1, 2},
        .alloc = &rig->arena->alloc,
    };
    const struct ist_engine_config engine_config = {
        .incarnation = 1,
        .sessions_max = SIM_ORDER_CLIENTS + 1,
        .server_name = "orders",
        .alloc = &rig->arena->alloc,
        .log = ist_log_null(),
    };
    bool made = ist_store_new(&store_config, &rig->store) == IST_OK &&
                ist_store_grow(rig->store, pool_bytes) == IST_OK &&
                ist_engine_new(&engine_config, rig->store, &rig->engine) == IST_OK;
    IST_ASSERT(made);
}

void sim_order_rig_begin(struct sim_order_rig *rig, const struct sim_order_script *script) {
    uint8_t heard[SIM_ORDER_IN_BYTES];
    rig->script = script;
    rig->left = script->budget;
    rig->now_ns = IST_NS_PER_SEC;
    memset(rig->pool, 0, sizeof(rig->pool));
    sim_arena_reset(rig->arena);
    sim_canary_count_anew(CANARY_PERIOD);
    make_server(rig);
    rig->auditor = open_session(rig, SIM_ORDER_CLIENTS + 1, false);
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        if ((script->of.present >> key & 1) != 0) {
            (void)talk(rig, rig->auditor, &script->first[key], heard);
        }
    }
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        open_client(rig, client);
    }
    sim_order_judge_begin(&rig->judge, &script->of, rig->store);
}

/* ---- what may happen --------------------------------------------------------------------------------------- */

static size_t add(struct sim_order_event *events, size_t count, bool may, unsigned client,
                  enum sim_order_step step) {
    if (may) {
        events[count] = (struct sim_order_event){(uint8_t)client, (uint8_t)step};
    }
    return count + may;
}

static size_t add_choices_of(const struct sim_order_rig *rig, unsigned client,
                             struct sim_order_event *events) {
    const struct sim_order_client *of = &rig->clients[client];
    const struct sim_order_program *program = sim_order_program_of(rig, client);
    size_t count = 0;
    if (of->session == NULL) {
        return 0;
    }
    if (of->is_cut) {
        count = add(events, count, sim_order_client_has_work(of), client, SIM_ORDER_LAND);
        return add(events, count, true, client, SIM_ORDER_BURY);
    }
    unsigned wants = ist_session_wants(of->session);
    bool more = of->next < program->count;
    const struct sim_order_bytes *request = &rig->script->requests[client][more ? of->next : 0];
    unsigned pieces = program->rdma ? 0 : rig->script->budget.pieces;
    bool whole = of->arrived == 0;
    bool sends = (wants & IST_WANT_SEND) != 0;
    count = add(events, count, more, client, SIM_ORDER_ARRIVE);
    count = add(events, count, more && pieces > 0 && whole, client, SIM_ORDER_HEAD);
    count = add(events, count, more && pieces > 0 && whole && request->middle > 0, client,
                SIM_ORDER_MIDDLE);
    count = add(events, count, sends, client, SIM_ORDER_SEND);
    count = add(events, count, sends && of->sent_pieces < pieces, client, SIM_ORDER_SEND_SOME);
    count = add(events, count, (wants & IST_WANT_WORK) != 0, client, SIM_ORDER_WORK);
    count = add(events, count, of->posted_count > 0, client, SIM_ORDER_COMPLETE);
    /* With nothing to come and nothing under way a cut would be the end that it has anyway. */
    return add(events, count, rig->left.cuts > 0 && count > 0, client, SIM_ORDER_CUT);
}

_Static_assert(SIM_ORDER_CLIENTS * 8 + 2 <= SIM_ORDER_CHOICES_MAX, "all choices have room");

size_t sim_order_rig_choices(const struct sim_order_rig *rig, struct sim_order_event *events) {
    size_t count = 0;
    bool waits = false;
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        const struct sim_order_client *of = &rig->clients[client];
        count += add_choices_of(rig, client, events + count);
        waits = waits || (of->session != NULL && !of->is_cut && sim_order_client_waits(of));
    }
    bool more = count > 0;
    count = add(events, count, more && rig->left.evicts > 0, 0, SIM_ORDER_EVICT);
    return add(events, count, waits && rig->left.times > 0, 0, SIM_ORDER_TIME);
}

/* ---- one of it --------------------------------------------------------------------------------------------- */

/* Who waits for the other side, or lets it wait, is not waited for any longer; all others are. */
static void pass_time(struct sim_order_rig *rig) {
    bool waits[SIM_ORDER_CLIENTS];
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        const struct sim_order_client *of = &rig->clients[client];
        waits[client] = of->session != NULL && !of->is_cut && sim_order_client_waits(of);
    }
    rig->now_ns += IST_PROGRESS_TIMEOUT_NS + IST_NS_PER_SEC;
    ist_engine_tick(rig->engine, rig->now_ns);
    while (ist_engine_next_changed(rig->engine) != NULL) {
    }
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        const struct sim_order_client *of = &rig->clients[client];
        if (of->session == NULL || of->is_cut) {
            continue;
        }
        bool closes = (ist_session_wants(of->session) & IST_WANT_CLOSE) != 0;
        if (closes != waits[client]) {
            sim_order_fail("client %u's session %s", client + 1,
                           closes ? "ended though nobody waits" : "waits without end");
        }
        if (closes) {
            sim_order_client_cut(rig, client);
        }
    }
}

static void tell(const struct sim_order_rig *rig, struct sim_order_event event) {
    bool is_clients = event.step < SIM_ORDER_EVICT;
    const struct sim_order_client *of = &rig->clients[event.client];
    if (is_clients) {
        printf("client %u: ", event.client + 1);
    }
    fputs(sim_order_step_words((enum sim_order_step)event.step), stdout);
    if (event.step <= SIM_ORDER_ARRIVE) {
        const struct sim_order_operation *asked =
            &sim_order_program_of(rig, event.client)->operations[of->next];
        printf(": %s %s", sim_order_verb_words((enum sim_order_verb)asked->verb),
               sim_order_keys_words(asked->keys));
    } else if (event.step == SIM_ORDER_COMPLETE || event.step == SIM_ORDER_LAND) {
        const char *const kinds[] = {"READ", "WRITE", "message"};
        printf(": a %s of %u bytes", kinds[of->posted[0].kind], of->posted[0].bytes);
    }
    putchar('\n');
    fflush(stdout);
}

static void tell_sight(const struct sim_order_sight *sight) {
    printf("    A %u, B %u; %u held, of them %u reserved; %u doomed, %u free, %u evicted so far\n",
           sight->version[0], sight->version[1], sight->pinned, sight->reserved, sight->doomed,
           sight->free, sight->evicted);
    fflush(stdout);
}

void sim_order_rig_apply(struct sim_order_rig *rig, struct sim_order_event event, bool checked) {
    unsigned client = event.client;
    if (rig->told) {
        tell(rig, event);
    }
    switch ((enum sim_order_step)event.step) {
    case SIM_ORDER_HEAD:
    case SIM_ORDER_MIDDLE:
    case SIM_ORDER_ARRIVE: sim_order_client_arrive(rig, client, (enum sim_order_step)event.step); break;
    case SIM_ORDER_SEND_SOME: sim_order_client_send(rig, client, true); break;
    case SIM_ORDER_SEND: sim_order_client_send(rig, client, false); break;
    case SIM_ORDER_WORK: sim_order_client_work(rig, client); break;
    case SIM_ORDER_COMPLETE: sim_order_client_complete(rig, client); break;
    case SIM_ORDER_CUT:
        rig->left.cuts--;
        sim_order_client_cut(rig, client);
        break;
    case SIM_ORDER_LAND: sim_order_client_land(rig, client); break;
    case SIM_ORDER_BURY: sim_order_client_bury(rig, client); break;
    case SIM_ORDER_EVICT:
        rig->left.evicts--;
        (void)ist_store_evict(rig->store, 1);
        break;
    case SIM_ORDER_TIME:
        rig->left.times--;
        pass_time(rig);
        break;
    }
    if (checked) {
        ist_engine_check(rig->engine);
    }
    sim_order_judge_event(&rig->judge, &rig->script->of, rig->store, event);
    if (rig->told) {
        tell_sight(&rig->judge.sight);
    }
}

/* ---- the state --------------------------------------------------------------------------------------------- */

/* Over a stream nothing changes a client's memory. */
static uint64_t hash_client(const struct sim_order_client *of, bool rdma, uint64_t seed) {
    const uint32_t numbers[] = {of->next,        of->arrived,      of->is_cut,
                                of->sent_pieces, of->posted_count, of->in_bytes};
    uint64_t hash = sim_arena_hash_bytes(numbers, sizeof(numbers), seed);
    hash = sim_arena_hash_bytes(&of->session, sizeof(of->session), hash);
    hash = sim_arena_hash_bytes(of->posted, of->posted_count * sizeof(of->posted[0]), hash);
    hash = sim_arena_hash_bytes(of->in, of->in_bytes, hash);
    return rdma ? sim_arena_hash_bytes(of->memory, sizeof(of->memory), hash) : hash;
}

uint64_t sim_order_rig_state(const struct sim_order_rig *rig) {
    IST_ASSERT(rig->arena->large_live == SCRATCH_ALLOCATIONS);
    const uint8_t left[] = {rig->left.cuts, rig->left.evicts, rig->left.times};
    uint64_t hash = sim_arena_hash(rig->arena, rig->now_ns);
    hash = sim_arena_hash_bytes(left, sizeof(left), hash);
    hash = sim_arena_hash_bytes(&rig->judge, sizeof(rig->judge), hash);
    hash = sim_arena_hash_bytes(rig->pool, rig->script->of.blocks * SIM_ORDER_BLOCK_BYTES, hash);
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        hash = hash_client(&rig->clients[client], sim_order_program_of(rig, client)->rdma, hash);
    }
    return hash;
}

/* ---- the end ----------------------------------------------------------------------------------------------- */

struct heard {
    struct ist_frame frame;
    struct ist_keys_reply reply;
    uint64_t lengths[SIM_ORDER_KEYS];
    const uint8_t *values;
};

/* Takes the next reply off; ids are in the order of the requests. */
static void next_reply(const uint8_t **at, const uint8_t *end, struct heard *heard) {
    if (ist_frame_decode(ist_span_of(*at, (size_t)(end - *at)), &heard->frame) != IST_OK ||
        ist_codec_decode_keys_reply(ist_span_of(*at + IST_FRAME_BYTES, heard->frame.body_bytes),
                                    heard->lengths, SIM_ORDER_KEYS, &heard->reply) != IST_OK) {
        sim_order_fail("who looks in the end got what is no reply");
    }
    heard->values = *at + IST_FRAME_BYTES + heard->frame.body_bytes;
    *at = heard->values + heard->frame.payload_bytes;
}

/* Short replies overtake that of the get, whose request was the last one. */
static void look(struct sim_order_rig *rig) {
    uint8_t heard[SIM_ORDER_IN_BYTES];
    const uint8_t *version = rig->judge.sight.version;
    const uint8_t *at = heard, *end = heard + talk(rig, rig->auditor, &rig->script->look, heard);
    struct heard exists, prefix, last, get;
    next_reply(&at, end, &exists);
    next_reply(&at, end, &prefix);
    next_reply(&at, end, &last);
    next_reply(&at, end, &get);
    unsigned leading = version[0] == 0 ? 0 : version[1] == 0 ? 1 : 2;
    if (prefix.reply.count != leading || last.reply.count != (version[1] != 0   ? 2u
                                                              : version[0] != 0 ? 1u
                                                                                : 0u)) {
        sim_order_fail("match_prefix says %u, match_last %u, of A %u and B %u",
                       (unsigned)prefix.reply.count, (unsigned)last.reply.count, version[0],
                       version[1]);
    }
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        uint8_t status = version[key] == 0 ? IST_NOT_FOUND : IST_OK;
        if (exists.reply.key_status.data[key] != status || get.reply.key_status.data[key] != status) {
            sim_order_fail("in the end %s is there, or not, where exists or get say else",
                           sim_order_keys_words(1u << key));
        }
        if (version[key] != 0 && !sim_order_value_is(key, version[key], get.values)) {
            sim_order_fail("in the end %s has other bytes than those of version %u",
                           sim_order_keys_words(1u << key), version[key]);
        }
        get.values += version[key] == 0 ? 0 : sim_order_value_bytes(key, version[key]);
    }
}

static void purge(struct sim_order_rig *rig) {
    uint8_t heard[SIM_ORDER_IN_BYTES];
    const uint8_t *version = rig->judge.sight.version;
    const uint8_t *at = heard, *end = heard + talk(rig, rig->auditor, &rig->script->purge, heard);
    struct heard purged;
    next_reply(&at, end, &purged);
    struct ist_store_usage usage;
    ist_store_usage(rig->store, &usage);
    if (purged.reply.count != (uint64_t)(version[0] != 0) + (version[1] != 0) ||
        usage.free_bytes != usage.pool_bytes || usage.pinned_entries != 0) {
        sim_order_fail("after a purge %llu of %llu bytes are free, %llu entries held",
                       (unsigned long long)usage.free_bytes, (unsigned long long)usage.pool_bytes,
                       (unsigned long long)usage.pinned_entries);
    }
}

void sim_order_rig_end(struct sim_order_rig *rig) {
    if (rig->told) {
        puts("the end: all connections, a look, a purge");
        fflush(stdout);
    }
    sim_order_judge_end(&rig->judge, &rig->script->of);
    sim_order_rig_stop(rig);
}

void sim_order_rig_stop(struct sim_order_rig *rig) {
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        if (rig->clients[client].session != NULL) {
            sim_order_client_bury(rig, client);
        }
    }
    ist_engine_check(rig->engine);
    look(rig);
    purge(rig);
    ist_engine_check(rig->engine);
    ist_session_close(rig->auditor);
    ist_engine_free(rig->engine);
    ist_store_free(rig->store);
    if (rig->arena->live != 0) {
        sim_order_fail("%llu allocations were not given back", (unsigned long long)rig->arena->live);
    }
}

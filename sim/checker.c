#include "sim/checker.h"

#include <string.h>

#include "sim/operation.h"
#include "sim/server.h"
#include "sim/world.h"

#define PAIRS_MAX 16u /* keys of a get that are compared with each other */
#define SURE_BYTES 8u /* a value so long tells its version; of shorter ones several may be equal */

struct judge {
    struct sim_world *world;
    struct sim_operation *operation;
    const struct sim_spec *spec;
};

static struct sim_server *server_of(const struct judge *judge) {
    return &judge->world->servers[judge->spec->server];
}

/* The end, unless there is no problem. */
static void require(const struct judge *judge, const char *problem, size_t item) {
    if (problem == NULL) {
        return;
    }
    const struct sim_operation *operation = judge->operation;
    sim_fail(&judge->world->journal, "op %llu, %s, item %zu, key %llx: %s",
             (unsigned long long)operation->number, ist_operation_name(judge->spec->kind), item,
             (unsigned long long)(item < judge->spec->count ? judge->spec->keys[item] : 0), problem);
}

static void refuse(const struct judge *judge, size_t item, enum ist_status status, const char *why) {
    sim_fail(&judge->world->journal, "op %llu, %s, item %zu: %s, but %s",
             (unsigned long long)judge->operation->number, ist_operation_name(judge->spec->kind), item,
             ist_status_name(status), why);
}

static void note_item(const struct judge *judge, size_t i, uint64_t version, uint64_t bytes,
                      enum ist_status status) {
    sim_journal_note(&judge->world->journal, SIM_NOTE_ITEM, judge->operation->number,
                     judge->spec->keys[i], version, bytes, status);
}

static void judge_present(const struct judge *judge, size_t i, uint64_t except) {
    const struct sim_operation *operation = judge->operation;
    require(judge,
            sim_history_present(judge->world->history, operation->life, judge->spec->keys[i], except,
                                operation->window),
            i);
}

static bool is_of_this_life(const struct judge *judge) {
    return sim_server_is_up(server_of(judge)) && server_of(judge)->life == judge->operation->life;
}

static void judge_absent(const struct judge *judge, size_t i, uint64_t except) {
    const struct sim_operation *operation = judge->operation;
    struct sim_history *history = judge->world->history;
    uint32_t life = operation->life;
    bool lost;
    require(judge,
            sim_history_absent(history, life, judge->spec->keys[i], except, operation->window, &lost),
            i);
    if (!lost) {
        return;
    }
    if (is_of_this_life(judge)) {
        sim_history_evicted(history, life, sim_server_evicted(server_of(judge)));
    }
    if (sim_history_lost(history, life) > sim_history_said_evicted(history, life)) {
        require(judge, "it was put, and lost without an eviction", i);
    }
}

static bool memory_failed(const struct judge *judge) {
    return server_of(judge)->memory.failed > 0 || judge->operation->channel->node->memory.failed > 0;
}

/* ---- PUT ----------------------------------------------------------------------------------------------- */

static void judge_refusal(const struct judge *judge, size_t i) {
    const struct sim_operation *operation = judge->operation;
    const struct sim_plan *plan = &judge->world->plan;
    const struct ist_put_item *put = &operation->puts[i];
    switch ((int)put->status) {
    case IST_EXISTS:
        if (!judge->spec->if_absent) {
            refuse(judge, i, put->status, "IF_ABSENT was not asked for");
        }
        judge_present(judge, i, operation->versions[i]);
        break;
    case IST_NO_SPACE:
        if (plan->roomy) {
            refuse(judge, i, put->status, "the pool has room for all that can be held at a time");
        }
        if (is_of_this_life(judge) &&
            ++server_of(judge)->holds.told > server_of(judge)->holds.refused) {
            refuse(judge, i, put->status, "the store has not refused so often");
        }
        break;
    case IST_TOO_BIG:
        if (put->value_bytes <= plan->pool_bytes) {
            refuse(judge, i, put->status, "the pool is larger");
        }
        break;
    case IST_NO_MEMORY:
        if (!memory_failed(judge)) {
            refuse(judge, i, put->status, "no allocation has failed");
        }
        break;
    default: refuse(judge, i, put->status, "that is no answer to a put");
    }
}

static void judge_put(const struct judge *judge) {
    const struct sim_operation *operation = judge->operation;
    struct sim_history *history = judge->world->history;
    /* A client without memory for the reply does not know what the server did. */
    bool unknown = operation->status == IST_NO_MEMORY;
    for (size_t i = 0; i < judge->spec->count && !unknown; i++) {
        if (operation->puts[i].status != IST_OK) {
            sim_history_put_refused(history, operation->versions[i]);
        }
    }
    for (size_t i = 0; i < judge->spec->count; i++) {
        const struct ist_put_item *put = &operation->puts[i];
        note_item(judge, i, operation->versions[i], put->value_bytes, put->status);
        if (put->status != IST_OK) {
            judge_refusal(judge, i);
            continue;
        }
        if (put->value_bytes > judge->world->plan.pool_bytes) {
            refuse(judge, i, put->status, "the value is larger than the pool");
        }
        require(
            judge,
            sim_history_put_done(history, operation->life, operation->versions[i], operation->window),
            i);
    }
    for (size_t i = 0; i < judge->spec->count && judge->spec->if_absent; i++) {
        if (operation->puts[i].status == IST_OK) {
            judge_absent(judge, i, operation->versions[i]);
        }
    }
}

/* ---- GET ----------------------------------------------------------------------------------------------- */

/* The version that these bytes are of; of several, one that may be. SIM_NO_VERSION: of none. */
static uint64_t version_of(const struct judge *judge, size_t i) {
    const struct ist_get_item *get = &judge->operation->gets[i];
    size_t cursor = 0;
    uint64_t bytes, version;
    while ((version = sim_history_candidate(judge->world->history, judge->spec->server,
                                            judge->spec->keys[i], &cursor, &bytes)) != SIM_NO_VERSION) {
        if (bytes == get->value_bytes &&
            ist_content_verify(sim_operation_content(judge->operation, i, version), 0, get->buffer,
                               (size_t)bytes) == bytes) {
            return version;
        }
    }
    return SIM_NO_VERSION;
}

static void judge_untouched(const struct judge *judge, size_t i, uint64_t from) {
    const struct ist_get_item *get = &judge->operation->gets[i];
    const uint8_t *tail = (const uint8_t *)get->buffer + from;
    size_t bytes = (size_t)(get->buffer_bytes - from);
    /* All are what the first one is when each is what the next one is. */
    if (bytes > 0 && (tail[0] != SIM_UNTOUCHED || memcmp(tail, tail + 1, bytes - 1) != 0)) {
        require(judge, "a buffer was written behind its value", i);
    }
}

static void judge_value(const struct judge *judge, size_t i) {
    const struct sim_operation *operation = judge->operation;
    const struct ist_get_item *get = &operation->gets[i];
    if (get->value_bytes > get->buffer_bytes) {
        require(judge, "a value longer than the buffer", i);
    }
    uint64_t version = version_of(judge, i);
    note_item(judge, i, get->value_bytes < SURE_BYTES ? 0 : version, get->value_bytes, get->status);
    if (version == SIM_NO_VERSION) {
        require(judge, "these bytes are of no put of the key", i);
    }
    if (get->value_bytes >= SURE_BYTES) {
        operation->versions[i] = version;
        require(judge,
                sim_history_got(judge->world->history, operation->life, version, operation->window), i);
    } else {
        judge_present(judge, i, SIM_NO_VERSION);
    }
    judge_untouched(judge, i, get->value_bytes);
}

static void judge_too_small(const struct judge *judge, size_t i) {
    const struct ist_get_item *get = &judge->operation->gets[i];
    size_t cursor = 0;
    uint64_t bytes;
    if (get->value_bytes <= get->buffer_bytes) {
        refuse(judge, i, get->status, "the value fits");
    }
    while (sim_history_candidate(judge->world->history, judge->spec->server, judge->spec->keys[i],
                                 &cursor, &bytes) != SIM_NO_VERSION) {
        if (bytes == get->value_bytes) {
            judge_present(judge, i, SIM_NO_VERSION);
            return;
        }
    }
    refuse(judge, i, get->status, "no put of the key was so long");
}

/* A get looks at all its keys at one moment. */
static void judge_together(const struct judge *judge) {
    const uint64_t *versions = judge->operation->versions;
    size_t count = judge->spec->count < PAIRS_MAX ? judge->spec->count : PAIRS_MAX;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            if (versions[i] != SIM_NO_VERSION && versions[j] != SIM_NO_VERSION) {
                require(judge, sim_history_both(judge->world->history, versions[i], versions[j]), j);
            }
        }
    }
}

static void judge_get(const struct judge *judge) {
    const struct sim_operation *operation = judge->operation;
    for (size_t i = 0; i < judge->spec->count; i++) {
        const struct ist_get_item *get = &operation->gets[i];
        if (get->status == IST_OK) {
            judge_value(judge, i);
            continue;
        }
        note_item(judge, i, SIM_NO_VERSION, get->value_bytes, get->status);
        if (operation->status != IST_NO_MEMORY) {
            judge_untouched(judge, i, 0);
        }
        switch ((int)get->status) {
        case IST_NOT_FOUND:
            if (get->value_bytes != 0) {
                refuse(judge, i, get->status, "it has a length");
            }
            judge_absent(judge, i, SIM_NO_VERSION);
            break;
        case IST_TOO_SMALL: judge_too_small(judge, i); break;
        case IST_NO_MEMORY:
            if (!memory_failed(judge)) {
                refuse(judge, i, get->status, "no allocation has failed");
            }
            break;
        default: refuse(judge, i, get->status, "that is no answer to a get");
        }
    }
    judge_together(judge);
}

/* ---- the others ---------------------------------------------------------------------------------------- */

static void judge_match(const struct judge *judge, size_t from, size_t matched) {
    for (size_t i = from; i < matched; i++) {
        judge_present(judge, i, SIM_NO_VERSION);
    }
    if (matched < judge->spec->count) {
        judge_absent(judge, matched, SIM_NO_VERSION);
    }
}

static void judge_match_last(const struct judge *judge) {
    int64_t last = judge->operation->last;
    if (last < -1 || last >= (int64_t)judge->spec->count) {
        require(judge, "an index outside the keys", 0);
    }
    if (last >= 0) {
        judge_present(judge, (size_t)last, SIM_NO_VERSION);
    }
    for (size_t i = (size_t)(last + 1); i < judge->spec->count; i++) {
        judge_absent(judge, i, SIM_NO_VERSION);
    }
}

static void judge_remove(const struct judge *judge) {
    const struct sim_operation *operation = judge->operation;
    struct sim_history *history = judge->world->history;
    size_t possible = 0;
    for (size_t i = 0; i < judge->spec->count; i++) {
        possible += sim_history_may_be_present(history, operation->life, judge->spec->keys[i],
                                               operation->window);
    }
    if (operation->matched > possible) {
        require(judge, "more were removed than can have been there", 0);
    }
    for (size_t i = 0; i < judge->spec->count && operation->matched == 0; i++) {
        judge_absent(judge, i, SIM_NO_VERSION);
    }
    for (size_t i = 0; i < judge->spec->count; i++) {
        require(judge,
                sim_history_removed(history, operation->life, judge->spec->keys[i],
                                    operation->versions[i], operation->window),
                i);
    }
}

static void judge_answer(const struct judge *judge) {
    const struct sim_operation *operation = judge->operation;
    size_t count = judge->spec->count;
    switch (judge->spec->kind) {
    case IST_OP_PUT: judge_put(judge); break;
    case IST_OP_GET: judge_get(judge); break;
    case IST_OP_EXISTS:
        for (size_t i = 0; i < count; i++) {
            if (operation->present[i]) {
                judge_present(judge, i, SIM_NO_VERSION);
            } else {
                judge_absent(judge, i, SIM_NO_VERSION);
            }
        }
        break;
    case IST_OP_MATCH_PREFIX:
        if (operation->matched > count) {
            require(judge, "more were matched than asked for", 0);
        }
        judge_match(judge, 0, operation->matched);
        break;
    case IST_OP_MATCH_LAST: judge_match_last(judge); break;
    case IST_OP_REMOVE: judge_remove(judge); break;
    case IST_OP_PURGE:
        require(judge,
                sim_history_purged(judge->world->history, operation->life, operation->purge,
                                   operation->window),
                0);
        break;
    case IST_OP_STAT:
        if (operation->metrics == NULL || operation->metrics->count < 20) {
            require(judge, "hardly any figures", 0);
        }
        break;
    case IST_OP_PING:
    case IST_OP_HELLO:
    case IST_OP_CONNECT: break;
    }
}

/* What the batch as a whole says is what its first item says that is not OK. */
static void judge_whole(const struct judge *judge) {
    const struct sim_operation *operation = judge->operation;
    enum ist_status first = IST_OK;
    for (size_t i = 0; i < judge->spec->count && first == IST_OK; i++) {
        first = operation->puts != NULL   ? operation->puts[i].status
                : operation->gets != NULL ? operation->gets[i].status
                                          : IST_OK;
    }
    if (first != operation->status) {
        refuse(judge, 0, operation->status, "its items say something else");
    }
}

void sim_checker_judge(struct sim_world *world, struct sim_operation *operation) {
    const struct judge judge = {world, operation, operation->spec};
    enum ist_status status = operation->status;
    uint64_t number = operation->matched + operation->purged + (uint64_t)operation->last;
    sim_journal_note(&world->journal, SIM_NOTE_DONE, operation->channel->node->number,
                     operation->spec->server, operation->number, status, number);
    world->operations_done++;
    if (operation->window.end_ns > operation->ends_by_ns) {
        refuse(&judge, 0, status, "only after its deadline");
    }
    bool moves_values = operation->puts != NULL || operation->gets != NULL;
    if (status == IST_PEER || status == IST_TIMEOUT || (status == IST_NO_MEMORY && !moves_values)) {
        if (status == IST_NO_MEMORY && !memory_failed(&judge)) {
            refuse(&judge, 0, status, "no allocation has failed");
        }
        if (status == IST_TIMEOUT && operation->deadline_ns == IST_NO_DEADLINE_NS) {
            refuse(&judge, 0, status, "it has no deadline");
        }
        return; /* what it changed may have happened or not, now or later: the history knows of it */
    }
    world->keys_done += operation->spec->count == 0 ? 1 : operation->spec->count;
    sim_history_prefetch(world->history, operation->spec->server, operation->spec->keys,
                         operation->spec->count);
    judge_whole(&judge);
    judge_answer(&judge);
}

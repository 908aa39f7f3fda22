#include "sim/history.h"

#include <stdlib.h>

#include "base/assert.h"
#include "sim/fabric.h"
#include "sim/memory.h"

#define SERVERS_MAX 64u
#define GONE_MAX 16u /* of a key: the last few, which rule out most */

struct version {
    struct record *record;
    size_t index; /* among its key's */
    uint64_t bytes;
    uint64_t begin_ns;                    /* of its put */
    uint64_t first_end_ns, last_begin_ns; /* of its cluster */
    uint64_t spoken_ns; /* the latest last_begin_ns of it and of its key's older ones */
    uint32_t life;      /* 0: not known */
    bool refused;
    bool missed;    /* one of its group was seen beside an older version of its key */
    uint64_t group; /* the first version of its request; SIM_NO_VERSION: it came alone */
    size_t group_count;
};

/* The key was surely absent at a moment within; or, in a list of removals, perhaps. */
struct gone {
    uint32_t life; /* 0: not known */
    bool sure;
    struct sim_window window;
};

struct gone_list {
    struct gone *items;
    size_t count, room;
};

struct record {
    uint64_t key;
    unsigned server;
    uint64_t *versions; /* oldest first */
    size_t version_count, version_room;
    struct gone_list removals;
    struct gone *gone; /* a ring of sure ones; NULL: none yet */
    size_t gone_count;
    uint32_t lost_life; /* the last life in which it was lost, and until when */
    uint64_t lost_ns;
};

struct slot {
    uint64_t mark; /* of the record's key and server */
    struct record *record;
};

struct life {
    unsigned server;
    uint64_t lost, evicted;
};

struct sim_history {
    struct version *versions; /* [0] is unused */
    size_t version_count, version_room;
    struct life *lives; /* [0] is unused */
    size_t life_count, life_room;
    struct slot *slots; /* a hash table */
    size_t slot_count, record_count;
    struct record **records[SERVERS_MAX]; /* of each server, in the order of their first put */
    size_t server_records[SERVERS_MAX], server_room[SERVERS_MAX];
    struct gone_list purges[SERVERS_MAX];
};

static const char beside[] =
    "of one request's keys one shows what it wrote, and another what was there before";

/* Room for one more. */
static void *grown(void *items, size_t count, size_t *room, size_t bytes) {
    if (count < *room) {
        return items;
    }
    *room = *room == 0 ? 8 : 2 * *room;
    return sim_memory_resize(items, *room, bytes);
}

struct sim_history *sim_history_new(void) {
    struct sim_history *history = sim_memory_new(1, sizeof(*history));
    history->slot_count = 1024;
    history->slots = sim_memory_new(history->slot_count, sizeof(struct slot));
    history->version_count = history->life_count = 1;
    return history;
}

void sim_history_free(struct sim_history *history) {
    if (history == NULL) {
        return;
    }
    for (size_t i = 0; i < history->slot_count; i++) {
        struct record *record = history->slots[i].record;
        if (record != NULL) {
            free(record->versions);
            free(record->removals.items);
            free(record->gone);
            free(record);
        }
    }
    for (unsigned server = 0; server < SERVERS_MAX; server++) {
        free(history->records[server]);
        free(history->purges[server].items);
    }
    free(history->slots);
    free(history->versions);
    free(history->lives);
    free(history);
}

/* ---- records ------------------------------------------------------------------------------------------- */

static uint64_t mark_of(unsigned server, uint64_t key) {
    return sim_random_mix(key * SERVERS_MAX + server);
}

static struct slot *slot_of(const struct sim_history *history, unsigned server, uint64_t key) {
    uint64_t mark = mark_of(server, key);
    size_t at = (size_t)mark & (history->slot_count - 1);
    for (;;) {
        struct slot *slot = &history->slots[at];
        if (slot->record == NULL ||
            (slot->mark == mark && slot->record->key == key && slot->record->server == server)) {
            return slot;
        }
        at = (at + 1) & (history->slot_count - 1);
    }
}

static void rehash(struct sim_history *history) {
    struct slot *old = history->slots;
    size_t count = history->slot_count;
    history->slot_count *= 2;
    history->slots = sim_memory_new(history->slot_count, sizeof(struct slot));
    for (size_t i = 0; i < count; i++) {
        if (old[i].record != NULL) {
            *slot_of(history, old[i].record->server, old[i].record->key) = old[i];
        }
    }
    free(old);
}

static struct record *record_of(struct sim_history *history, unsigned server, uint64_t key) {
    IST_ASSERT(server < SERVERS_MAX);
    struct slot *slot = slot_of(history, server, key);
    if (slot->record != NULL) {
        return slot->record;
    }
    struct record *record = sim_memory_new(1, sizeof(*record));
    record->key = key;
    record->server = server;
    *slot = (struct slot){mark_of(server, key), record};
    size_t *count = &history->server_records[server];
    history->records[server] =
        grown(history->records[server], *count, &history->server_room[server], sizeof(struct record *));
    history->records[server][(*count)++] = record;
    if (++history->record_count * 2 > history->slot_count) {
        rehash(history);
    }
    return record;
}

static void push_sure(struct record *record, struct gone gone) {
    if (record->gone == NULL) {
        record->gone = sim_memory_new(GONE_MAX, sizeof(struct gone));
    }
    record->gone[record->gone_count++ % GONE_MAX] = gone;
}

/* Their begins rise. */
static void push_gone(struct gone_list *list, struct gone gone) {
    IST_ASSERT(list->count == 0 ||
               gone.window.begin_ns >= list->items[list->count - 1].window.begin_ns);
    list->items = grown(list->items, list->count, &list->room, sizeof(*list->items));
    list->items[list->count++] = gone;
}

uint32_t sim_history_life(struct sim_history *history, unsigned server) {
    history->lives =
        grown(history->lives, history->life_count, &history->life_room, sizeof(*history->lives));
    history->lives[history->life_count] = (struct life){.server = server};
    return (uint32_t)history->life_count++;
}

uint64_t sim_history_put(struct sim_history *history, unsigned server, uint64_t key, uint64_t bytes,
                         uint64_t begin_ns) {
    uint64_t version = history->version_count++;
    history->versions =
        grown(history->versions, version, &history->version_room, sizeof(*history->versions));
    struct record *record = record_of(history, server, key);
    history->versions[version] = (struct version){
        .record = record,
        .index = record->version_count,
        .bytes = bytes,
        .begin_ns = begin_ns,
        .first_end_ns = SIM_NEVER_NS,
        .last_begin_ns = begin_ns,
        .spoken_ns = begin_ns,
    };
    if (record->version_count > 0) {
        const struct version *last = &history->versions[record->versions[record->version_count - 1]];
        IST_ASSERT(last->begin_ns <= begin_ns);
        if (last->spoken_ns > begin_ns) {
            history->versions[version].spoken_ns = last->spoken_ns;
        }
    }
    record->versions =
        grown(record->versions, record->version_count, &record->version_room, sizeof(uint64_t));
    record->versions[record->version_count++] = version;
    return version;
}

void sim_history_together(struct sim_history *history, uint64_t first_version, size_t count) {
    for (uint64_t version = first_version; version < first_version + count; version++) {
        history->versions[version].group = first_version;
        history->versions[version].group_count = count;
    }
}

/* ---- order --------------------------------------------------------------------------------------------- */

/* Each began after the other's first end. */
static bool contradict(struct sim_window a, struct sim_window b) {
    return a.end_ns < b.begin_ns && b.end_ns < a.begin_ns;
}

static struct sim_window cluster_of(const struct version *version) {
    return (struct sim_window){version->last_begin_ns, version->first_end_ns};
}

static const struct version *version_of(const struct sim_history *history, uint64_t version) {
    return &history->versions[version];
}

/* The nth version of a key, if it or an older one was spoken of after that time: else NULL. */
static const struct version *spoken_after(const struct sim_history *history,
                                          const struct record *record, size_t n, uint64_t at_ns) {
    const struct version *version = version_of(history, record->versions[n]);
    return version->spoken_ns > at_ns ? version : NULL;
}

/* The version's cluster has changed. */
static const char *check_version(const struct sim_history *history, const struct version *version) {
    const struct record *record = version->record;
    struct sim_window cluster = cluster_of(version);
    const struct version *other;
    for (size_t i = record->version_count;
         i > 0 && (other = spoken_after(history, record, i - 1, cluster.end_ns)) != NULL; i--) {
        if (other != version && other->life == version->life && !other->refused &&
            contradict(cluster, cluster_of(other))) {
            return "it was overwritten before, or another version of the key came back behind it";
        }
    }
    size_t first = record->gone_count < GONE_MAX ? 0 : record->gone_count - GONE_MAX;
    for (size_t i = first; i < record->gone_count; i++) {
        const struct gone *gone = &record->gone[i % GONE_MAX];
        if (gone->life == version->life && contradict(cluster, gone->window)) {
            return "the key was gone before, and came back";
        }
    }
    const struct gone_list *purges = &history->purges[record->server];
    for (size_t i = purges->count; i > 0; i--) {
        const struct gone *purge = &purges->items[i - 1];
        if (purge->window.begin_ns <= cluster.end_ns) {
            break; /* and so did the earlier ones */
        }
        if (purge->sure && purge->life == version->life && contradict(cluster, purge->window)) {
            return "all was purged before";
        }
    }
    return NULL;
}

static const char *check_gone(const struct sim_history *history, const struct record *record,
                              uint32_t life, struct sim_window window) {
    const struct version *version;
    for (size_t i = record->version_count;
         i > 0 && (version = spoken_after(history, record, i - 1, window.end_ns)) != NULL; i--) {
        if (version->life == life && contradict(cluster_of(version), window)) {
            return "the key was there before and after";
        }
    }
    return NULL;
}

/* ---- what was seen ------------------------------------------------------------------------------------- */

/* Newer versions of the key follow older ones in this, too. */
static void speak(struct sim_history *history, const struct version *version, uint64_t at_ns) {
    const struct record *record = version->record;
    for (size_t i = version->index; i < record->version_count; i++) {
        struct version *newer = &history->versions[record->versions[i]];
        if (newer->spoken_ns >= at_ns) {
            break;
        }
        newer->spoken_ns = at_ns;
    }
}

static const char *seen(struct sim_history *history, uint32_t life, uint64_t number,
                        struct sim_window window) {
    struct version *version = &history->versions[number];
    if (version->refused) {
        return "its put was refused";
    }
    if (version->life != 0 && version->life != life) {
        return "it is of another life of the server";
    }
    if (version->begin_ns >= window.end_ns) {
        return "its put began later";
    }
    if (version->missed) {
        return beside;
    }
    version->life = life;
    if (window.end_ns < version->first_end_ns) {
        version->first_end_ns = window.end_ns;
    }
    if (window.begin_ns > version->last_begin_ns) {
        version->last_begin_ns = window.begin_ns;
        speak(history, version, window.begin_ns);
    }
    return check_version(history, version);
}

const char *sim_history_put_done(struct sim_history *history, uint32_t life, uint64_t version,
                                 struct sim_window window) {
    return seen(history, life, version, window);
}

const char *sim_history_got(struct sim_history *history, uint32_t life, uint64_t version,
                            struct sim_window window) {
    return seen(history, life, version, window);
}

void sim_history_put_refused(struct sim_history *history, uint64_t version) {
    history->versions[version].refused = true;
}

/* The place of the first version of the key whose number is not less. */
static size_t first_from(const struct record *record, uint64_t number) {
    size_t low = 0, high = record->version_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (record->versions[middle] < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const char *sim_history_both(struct sim_history *history, uint64_t version, uint64_t other) {
    const struct version *seen_one = version_of(history, version),
                         *seen_other = version_of(history, other);
    if (seen_one->group_count == 0 || seen_other->group == seen_one->group) {
        return NULL;
    }
    const struct record *record = seen_other->record;
    uint64_t end = seen_one->group + seen_one->group_count;
    for (size_t i = first_from(record, seen_one->group);
         i < record->version_count && record->versions[i] < end; i++) {
        struct version *sibling = &history->versions[record->versions[i]];
        bool is_known = sibling->first_end_ns != SIM_NEVER_NS;
        if (seen_other->first_end_ns < sibling->begin_ns) {
            if (is_known) {
                return beside;
            }
            sibling->missed = true; /* it may yet be refused */
        }
    }
    return NULL;
}

static bool may_remove(const struct gone_list *list, uint32_t life, uint64_t from_ns, uint64_t to_ns) {
    for (size_t i = list->count; i > 0; i--) {
        const struct gone *gone = &list->items[i - 1];
        if ((gone->life == 0 || gone->life == life) && gone->window.end_ns > from_ns &&
            gone->window.begin_ns < to_ns) {
            return true;
        }
    }
    return false;
}

/* Of those that were surely there when the window began, the one whose put began last: puts are in that order. */
static const struct version *surely_there(const struct sim_history *history,
                                          const struct record *record, uint32_t life, uint64_t except,
                                          struct sim_window window) {
    for (size_t i = record->version_count; i > 0; i--) {
        const struct version *version = version_of(history, record->versions[i - 1]);
        if (record->versions[i - 1] != except && version->life == life &&
            version->first_end_ns < window.begin_ns) {
            return version;
        }
    }
    return NULL;
}

const char *sim_history_absent(struct sim_history *history, uint32_t life, uint64_t key,
                               uint64_t except, struct sim_window window, bool *lost) {
    unsigned server = history->lives[life].server;
    struct record *record = record_of(history, server, key);
    *lost = false;
    const char *problem = check_gone(history, record, life, window);
    if (problem != NULL) {
        return problem;
    }
    push_sure(record, (struct gone){life, true, window});
    const struct version *there = surely_there(history, record, life, except, window);
    if (there == NULL || may_remove(&record->removals, life, there->begin_ns, window.end_ns) ||
        may_remove(&history->purges[server], life, there->begin_ns, window.end_ns)) {
        return NULL;
    }
    *lost = true;
    if (record->lost_life != life || there->begin_ns > record->lost_ns) {
        record->lost_life = life;
        record->lost_ns = window.end_ns;
        history->lives[life].lost++;
    }
    return NULL;
}

static bool rules_out(const struct gone *gone, uint32_t life, const struct version *version,
                      struct sim_window window) {
    return gone->sure && gone->life == life && version->first_end_ns < gone->window.begin_ns &&
           gone->window.end_ns < window.begin_ns;
}

static bool may_be_there(const struct sim_history *history, const struct record *record, uint32_t life,
                         const struct version *version, struct sim_window window) {
    if (version->refused || (version->life != 0 && version->life != life) ||
        version->begin_ns >= window.end_ns) {
        return false;
    }
    size_t first = record->gone_count < GONE_MAX ? 0 : record->gone_count - GONE_MAX;
    for (size_t i = first; i < record->gone_count; i++) {
        if (rules_out(&record->gone[i % GONE_MAX], life, version, window)) {
            return false;
        }
    }
    const struct gone_list *purges = &history->purges[record->server];
    for (size_t i = purges->count; i > 0; i--) {
        if (purges->items[i - 1].window.begin_ns <= version->first_end_ns) {
            break;
        }
        if (rules_out(&purges->items[i - 1], life, version, window)) {
            return false;
        }
    }
    return true;
}

static bool any_may_be_there(const struct sim_history *history, const struct record *record,
                             uint32_t life, uint64_t except, struct sim_window window) {
    for (size_t i = record->version_count; i > 0; i--) {
        if (record->versions[i - 1] != except &&
            may_be_there(history, record, life, version_of(history, record->versions[i - 1]), window)) {
            return true;
        }
    }
    return false;
}

bool sim_history_may_be_present(const struct sim_history *history, uint32_t life, uint64_t key,
                                struct sim_window window) {
    const struct record *record = slot_of(history, history->lives[life].server, key)->record;
    return record != NULL && any_may_be_there(history, record, life, SIM_NO_VERSION, window);
}

const char *sim_history_present(struct sim_history *history, uint32_t life, uint64_t key,
                                uint64_t except, struct sim_window window) {
    const struct record *record = record_of(history, history->lives[life].server, key);
    return any_may_be_there(history, record, life, except, window)
               ? NULL
               : "no version of it can have been there";
}

static uint64_t begin_gone(struct gone_list *list, uint64_t begin_ns) {
    push_gone(list, (struct gone){.window = {begin_ns, SIM_NEVER_NS}});
    return list->count - 1;
}

uint64_t sim_history_remove(struct sim_history *history, unsigned server, uint64_t key,
                            uint64_t begin_ns) {
    return begin_gone(&record_of(history, server, key)->removals, begin_ns);
}

uint64_t sim_history_purge(struct sim_history *history, unsigned server, uint64_t begin_ns) {
    return begin_gone(&history->purges[server], begin_ns);
}

const char *sim_history_removed(struct sim_history *history, uint32_t life, uint64_t key,
                                uint64_t number, struct sim_window window) {
    struct record *record = record_of(history, history->lives[life].server, key);
    const struct gone gone = {life, true, window};
    record->removals.items[number] = gone;
    push_sure(record, gone);
    return check_gone(history, record, life, window);
}

const char *sim_history_purged(struct sim_history *history, uint32_t life, uint64_t number,
                               struct sim_window window) {
    unsigned server = history->lives[life].server;
    history->purges[server].items[number] = (struct gone){life, true, window};
    const char *problem = NULL;
    for (size_t i = 0; problem == NULL && i < history->server_records[server]; i++) {
        problem = check_gone(history, history->records[server][i], life, window);
    }
    return problem;
}

void sim_history_evicted(struct sim_history *history, uint32_t life, uint64_t entries) {
    history->lives[life].evicted = entries;
}

uint64_t sim_history_said_evicted(const struct sim_history *history, uint32_t life) {
    return history->lives[life].evicted;
}

uint64_t sim_history_lost(const struct sim_history *history, uint32_t life) {
    return history->lives[life].lost;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

uint64_t sim_history_candidate(const struct sim_history *history, unsigned server, uint64_t key,
                               size_t *cursor, uint64_t *bytes) {
    const struct record *record = slot_of(history, server, key)->record;
    if (record == NULL || *cursor >= record->version_count) {
        return SIM_NO_VERSION;
    }
    uint64_t version = record->versions[record->version_count - ++*cursor];
    *bytes = version_of(history, version)->bytes;
    return version;
}

void sim_history_prefetch(const struct sim_history *history, unsigned server, const uint64_t *keys,
                          size_t count) {
    size_t mask = history->slot_count - 1;
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(&history->slots[(size_t)mark_of(server, keys[i]) & mask]);
    }
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(history->slots[(size_t)mark_of(server, keys[i]) & mask].record);
    }
}

size_t sim_history_keys(const struct sim_history *history, unsigned server) {
    return history->server_records[server];
}

uint64_t sim_history_key(const struct sim_history *history, unsigned server, size_t index) {
    return history->records[server][index]->key;
}

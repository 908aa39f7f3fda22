/* The canaries that live inside the engine and the store: ld's --wrap sends the calls of these functions from one
 * object to another through here (see the Makefile), in this program alone. Without a canary each passes on; those of the
 * store tell what they did to sim/holds.h. */
#include "sim/canary.h"

#include <string.h>
#include <sys/types.h>

#include "engine/get.h"
#include "engine/outbox.h"
#include "engine/put.h"
#include "sim/holds.h"
#include "sim/random.h"
#include "store/evict.h"
#include "store/store.h"
#include "wire/frame.h"

#define HELD_MAX 4096u
#define KEYS_MAX 256u
#define BATCHES_MAX 64u

/* ld gives them these names. */
#define WRAPPED(result, name, ...)                                                                     \
    result __real_##name(__VA_ARGS__);                                                                 \
    result __wrap_##name(__VA_ARGS__);                                                                 \
    result __wrap_##name(__VA_ARGS__)

/* Entries whose next release is not to be passed on: their pin is gone already. */
static const struct ist_entry *held[HELD_MAX];
static size_t held_count;

/* The keys of the entries that were reserved last. */
static struct known {
    const struct ist_entry *entry;
    size_t bytes;
    uint8_t key[IST_KEY_BYTES_MAX];
    bool stale; /* another entry has its key now */
} known[KEYS_MAX];
static size_t known_next;

/* Entries that were committed before the rest of their batch. */
static const struct ist_entry *early[HELD_MAX];
static size_t early_count;
static struct batch {
    const struct ist_put *put;
    struct ist_store *store;
    size_t asked, early; /* items: the last one asked for, and how many were committed */
} batches[BATCHES_MAX];
static struct ist_store *reserved_in; /* last */

static uint8_t *reserved_reply;

/* ---- pins ---------------------------------------------------------------------------------------------- */

static bool hold(const struct ist_entry *entry) {
    if (held_count == HELD_MAX) {
        return false;
    }
    held[held_count++] = entry;
    return true;
}

static bool unhold(const struct ist_entry *entry) {
    for (size_t i = 0; i < held_count; i++) {
        if (held[i] == entry) {
            held[i] = held[--held_count];
            return true;
        }
    }
    return false;
}

static bool forget_early(const struct ist_entry *entry) {
    for (size_t i = 0; i < early_count; i++) {
        if (early[i] == entry) {
            early[i] = early[--early_count];
            return true;
        }
    }
    return false;
}

static struct known *find_known(const struct ist_entry *entry) {
    for (size_t i = 0; i < KEYS_MAX; i++) {
        if (known[i].entry == entry) {
            return &known[i];
        }
    }
    return NULL;
}

static void know(const struct ist_entry *entry, struct ist_span key) {
    struct known *old = find_known(entry);
    if (old != NULL) {
        old->entry = NULL;
    }
    struct known *new = &known[known_next++ % KEYS_MAX];
    *new = (struct known){.entry = entry, .bytes = key.bytes};
    memcpy(new->key, key.data, key.bytes);
}

static void make_stale(const struct ist_entry *newer) {
    const struct known *new = find_known(newer);
    for (size_t i = 0; i < KEYS_MAX && new != NULL; i++) {
        if (&known[i] != new &&known[i].entry != NULL &&
            known[i].bytes == new->bytes &&memcmp(known[i].key, new->key, new->bytes) == 0) {
            known[i].stale = true;
        }
    }
}

/* ---- chance -------------------------------------------------------------------------------------------- */

/* The client's packet numbers: one seed decides everything. */
WRAPPED(ssize_t, getrandom, void *buffer, size_t bytes, unsigned flags) {
    static struct sim_random random = {1};
    (void)flags;
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)buffer)[i] = (uint8_t)sim_random_next(&random);
    }
    return (ssize_t)bytes;
}

/* ---- the store ----------------------------------------------------------------------------------------- */

WRAPPED(enum ist_status, ist_store_commit, struct ist_store *store, struct ist_entry *entry,
        bool if_absent);
WRAPPED(void, ist_store_abort, struct ist_store *store, struct ist_entry *entry);
WRAPPED(void, ist_store_release, struct ist_store *store, struct ist_entry *entry);
WRAPPED(bool, ist_store_remove, struct ist_store *store, struct ist_span key);

/* By the canary that never evicts. */
static bool refuses(const struct ist_store *store, uint64_t value_bytes) {
    struct ist_store_usage usage;
    if (!sim_canary_is(SIM_CANARY_NEVER_EVICTS)) {
        return false;
    }
    ist_store_usage(store, &usage);
    return value_bytes > usage.largest_free_bytes && value_bytes <= usage.pool_bytes_max;
}

WRAPPED(enum ist_status, ist_store_reserve, struct ist_store *store, struct ist_span key,
        uint64_t value_bytes, bool if_absent, struct ist_entry **entry) {
    bool ask_absent = if_absent && !sim_canary_is(SIM_CANARY_IF_ABSENT_IGNORED);
    enum ist_status status = refuses(store, value_bytes)
                                 ? IST_NO_SPACE
                                 : __real_ist_store_reserve(store, key, value_bytes, ask_absent, entry);
    reserved_in = store;
    if (status == IST_OK) {
        sim_holds_reserved(store, *entry);
    } else if (status == IST_NO_SPACE) {
        sim_holds_refused(store, value_bytes);
    }
    if (status == IST_OK && sim_canary_is(SIM_CANARY_COMMIT_BEFORE_DATA)) {
        (void)__real_ist_store_commit(store, *entry, false);
    }
    if (status == IST_OK && sim_canary_is(SIM_CANARY_STALE_EVICTS_NEW)) {
        know(*entry, key);
    }
    return status;
}

static enum ist_status commit(struct ist_store *store, struct ist_entry *entry, bool if_absent) {
    if (early_count > 0 && forget_early(entry)) {
        return IST_OK;
    }
    if (sim_canary_is(SIM_CANARY_COMMIT_BEFORE_DATA)) {
        return IST_OK;
    }
    if (sim_canary_is(SIM_CANARY_IF_ABSENT_IGNORED)) {
        if_absent = false;
    } else if (sim_canary_is(SIM_CANARY_LOST_OVERWRITE)) {
        if_absent = true;
    }
    enum ist_status status = __real_ist_store_commit(store, entry, if_absent);
    if (sim_canary_is(SIM_CANARY_STALE_EVICTS_NEW) && status == IST_OK) {
        make_stale(entry);
    }
    return status;
}

enum ist_status __wrap_ist_store_commit(struct ist_store *store, struct ist_entry *entry,
                                        bool if_absent) {
    sim_holds_aborted(store, entry); /* what is no writer's any more is a reader's, or gone */
    enum ist_status status = commit(store, entry, if_absent);
    if (status == IST_OK) {
        sim_holds_acquired(store, entry);
    }
    return status;
}

void __wrap_ist_store_abort(struct ist_store *store, struct ist_entry *entry) {
    sim_holds_aborted(store, entry);
    if (early_count > 0 && forget_early(entry)) {
        __real_ist_store_release(store, entry);
        return;
    }
    if (sim_canary_is(SIM_CANARY_LEAKED_RESERVATION)) {
        return;
    }
    if (sim_canary_is(SIM_CANARY_COMMIT_BEFORE_DATA)) {
        __real_ist_store_release(store, entry);
    } else if (sim_canary_is(SIM_CANARY_FAILED_PUT_SHOWS)) {
        (void)__real_ist_store_commit(store, entry, false);
        __real_ist_store_release(store, entry);
    } else {
        __real_ist_store_abort(store, entry);
    }
}

WRAPPED(enum ist_status, ist_store_acquire, struct ist_store *store, struct ist_span key,
        struct ist_entry **entry) {
    enum ist_status status = __real_ist_store_acquire(store, key, entry);
    if (status == IST_OK) {
        sim_holds_acquired(store, *entry);
    }
    if (status == IST_OK && sim_canary_is(SIM_CANARY_LOST_PIN) && hold(*entry)) {
        __real_ist_store_release(store, *entry);
    }
    return status;
}

void __wrap_ist_store_release(struct ist_store *store, struct ist_entry *entry) {
    sim_holds_released(store, entry);
    if (held_count > 0 && unhold(entry)) {
        return;
    }
    struct known *stale = sim_canary_is(SIM_CANARY_STALE_EVICTS_NEW) ? find_known(entry) : NULL;
    __real_ist_store_release(store, entry);
    if (stale != NULL && stale->stale) {
        stale->entry = NULL;
        (void)__real_ist_store_remove(store, ist_span_of(stale->key, stale->bytes));
    }
}

bool __wrap_ist_store_remove(struct ist_store *store, struct ist_span key) {
    bool present;
    return sim_canary_is(SIM_CANARY_REMOVE_FORGETS) ? ist_store_exists(store, &key, 1, &present) == 1
                                                    : __real_ist_store_remove(store, key);
}

WRAPPED(uint64_t, ist_store_purge, struct ist_store *store) {
    struct ist_store_usage usage;
    ist_store_usage(store, &usage);
    return sim_canary_is(SIM_CANARY_PURGE_FORGETS) ? usage.keys : __real_ist_store_purge(store);
}

WRAPPED(size_t, ist_store_match_prefix, const struct ist_store *store, const struct ist_span *keys,
        size_t count) {
    if (!sim_canary_is(SIM_CANARY_MATCH_IGNORES_HOLES)) {
        return __real_ist_store_match_prefix(store, keys, count);
    }
    size_t matched = 0;
    for (size_t i = 0; i < count; i++) {
        bool present;
        matched += ist_store_exists(store, &keys[i], 1, &present);
    }
    return matched;
}

WRAPPED(size_t, ist_store_exists, const struct ist_store *store, const struct ist_span *keys,
        size_t count, bool *present) {
    size_t found = __real_ist_store_exists(store, keys, count, present);
    for (size_t i = 0; i < count && sim_canary_is(SIM_CANARY_EXISTS_ALWAYS); i++) {
        present[i] = true;
    }
    return found;
}

WRAPPED(void, ist_evict_pin, struct ist_evict *evict, struct ist_evict_link *link) {
    if (!sim_canary_is(SIM_CANARY_EVICT_PINNED)) {
        __real_ist_evict_pin(evict, link);
    }
}

WRAPPED(void, ist_evict_unpin, struct ist_evict *evict, struct ist_evict_link *link) {
    if (!sim_canary_is(SIM_CANARY_EVICT_PINNED)) {
        __real_ist_evict_unpin(evict, link);
    }
}

/* Who asks for an item before the last one begins anew with the first that is not in: those before it are committed.
 * Over RDMA, where nothing tells what is in, items are asked for in order, and nothing happens here. */
WRAPPED(struct ist_entry *, ist_put_entry, struct ist_put *put, size_t item) {
    struct batch *batch = &batches[(uintptr_t)put / 64 % BATCHES_MAX];
    if (!sim_canary_is(SIM_CANARY_HALF_BATCH)) {
        return __real_ist_put_entry(put, item);
    }
    if (batch->put != put || item == 0) {
        *batch = (struct batch){.put = put};
    }
    for (; item < batch->asked && batch->early < item; batch->early++) {
        struct ist_entry *entry = ist_put_reserved(put, batch->early);
        if (entry != NULL && early_count < HELD_MAX) {
            (void)__real_ist_store_commit(batch->store, entry, false);
            early[early_count++] = entry;
        }
    }
    struct ist_entry *entry = __real_ist_put_entry(put, item);
    batch->asked = item;
    batch->store =
        batch->store == NULL ? reserved_in : batch->store; /* its first item has just been reserved */
    return entry;
}

/* ---- the engine ---------------------------------------------------------------------------------------- */

WRAPPED(uint64_t, ist_put_commit, struct ist_put *put, uint8_t *status) {
    uint64_t stored = __real_ist_put_commit(put, status);
    for (size_t i = 0; i < ist_put_count(put) && sim_canary_is(SIM_CANARY_LOST_OVERWRITE); i++) {
        status[i] = status[i] == IST_EXISTS ? IST_OK : status[i];
    }
    return stored;
}

WRAPPED(uint8_t *, ist_outbox_push, struct ist_outbox *outbox, size_t head_bytes, struct ist_get *get,
        enum ist_operation operation, uint64_t begin_ns) {
    uint8_t *head = __real_ist_outbox_push(outbox, head_bytes, get, operation, begin_ns);
    for (size_t i = 0; head != NULL && sim_canary_is(SIM_CANARY_EARLY_RELEASE) && i < get->count; i++) {
        if (hold(get->entries[i])) {
            __real_ist_store_release(get->store, get->entries[i]);
        }
    }
    return head;
}

WRAPPED(uint8_t *, ist_outbox_reserve, struct ist_outbox *outbox, size_t bytes) {
    return reserved_reply = __real_ist_outbox_reserve(outbox, bytes);
}

WRAPPED(void, ist_outbox_commit, struct ist_outbox *outbox, size_t bytes, enum ist_operation operation,
        uint64_t begin_ns) {
    bool one_of_some = sim_canary_strikes();
    uint8_t copy[IST_FRAME_BYTES + 64];
    bool again = one_of_some && sim_canary_is(SIM_CANARY_DOUBLE_REPLY) && bytes <= sizeof(copy);
    if (one_of_some && sim_canary_is(SIM_CANARY_LOST_REPLY)) {
        return;
    }
    if (again) {
        memcpy(copy, reserved_reply, bytes);
    }
    __real_ist_outbox_commit(outbox, bytes, operation, begin_ns);
    uint8_t *second = again ? __real_ist_outbox_reserve(outbox, bytes) : NULL;
    if (second != NULL) {
        memcpy(second, copy, bytes);
        __real_ist_outbox_commit(outbox, bytes, operation, begin_ns);
    }
}

WRAPPED(enum ist_status, ist_frame_decode, struct ist_span in, struct ist_frame *frame) {
    struct ist_frame decoded;
    enum ist_status status = __real_ist_frame_decode(in, &decoded);
    if (status == IST_OK && in.bytes == IST_FRAME_BYTES && decoded.flags == IST_FRAME_REPLY &&
        sim_canary_is(SIM_CANARY_FRAME_BORDER)) {
        return IST_AGAIN;
    }
    if (status == IST_OK) {
        *frame = decoded;
    }
    return status;
}

#include "store/store.h"

#include "base/assert.h"
#include "infinistore/limits.h"
#include "store/evict.h"
#include "store/index.h"
#include "store/pool.h"
#include "store/slab.h"

enum entry_state { RESERVED, COMMITTED, DOOMED };

struct ist_entry {
    struct ist_evict_link link;
    struct ist_block block;
    uint64_t value_bytes;
    enum entry_state state : 8;
    uint64_t pins : 56;
    struct ist_index_node node; /* the key follows */
};
/* A count that came round to 0 would hand out a block that is being read. */
static_assert((uint64_t)IST_SESSIONS_MAX * IST_REQUESTS_IN_FLIGHT_MAX * IST_KEYS_PER_REQUEST_MAX <
                  1ull << 56,
              "as many pins as all requests can ask for, of one entry");

/* Entries that move for each new one while much memory of entries lies idle. One that moves frees the room of
 * one and a half, so this catches up with any mix of keys. */
#define MOVES_PER_RESERVE 4u
/* With fewer entries than one in so many places a purge goes from entry to entry, not through the pool. */
#define SPARSE 64u

struct ist_store {
    const struct ist_alloc *alloc;
    struct ist_slab *slab; /* the entries */
    struct ist_pool *pool;
    struct ist_index *index;
    struct ist_evict *evict;
    uint64_t pool_bytes_max, min_block_bytes;
    uint64_t bytes[DOOMED + 1]; /* of the blocks, by state */
    uint64_t value_bytes;       /* of the committed */
    uint64_t reserved_entries;
    uint64_t pinned_entries;
    uint64_t evicted_entries, evicted_bytes;
};

static struct ist_entry *entry_of_node(struct ist_index_node *node) {
    return (struct ist_entry *)((char *)node - offsetof(struct ist_entry, node));
}

static struct ist_entry *entry_of_link(struct ist_evict_link *link) {
    return (struct ist_entry *)((char *)link - offsetof(struct ist_entry, link));
}

static struct ist_span key_of(const struct ist_entry *entry) {
    return ist_span_of(entry->node.key, entry->node.key_bytes);
}

static size_t entry_size(size_t key_bytes) {
    return sizeof(struct ist_entry) + key_bytes;
}
static_assert(sizeof(struct ist_entry) + IST_KEY_BYTES_MAX <= IST_SLAB_OBJECT_BYTES_MAX,
              "entries of all keys are small objects");

enum ist_status ist_store_new(const struct ist_store_config *config, struct ist_store **store) {
    struct ist_store *new = ist_allocate(config->alloc, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *new = (struct ist_store){.alloc = config->alloc, .min_block_bytes = config->min_block_bytes};
    struct ist_pool_config pool_config = {
        .min_block_bytes = config->min_block_bytes,
        .granule_bytes = config->granule_bytes,
        .alloc = config->alloc,
    };
    enum ist_status status = ist_slab_new(config->alloc, &new->slab);
    if (status == IST_OK) {
        status = ist_pool_new(&pool_config, &new->pool);
    }
    if (status == IST_OK) {
        new->pool_bytes_max = config->pool_bytes_max / config->granule_bytes * config->granule_bytes;
        status = new->pool_bytes_max < config->min_block_bytes ? IST_INVALID : IST_OK;
    }
    if (status == IST_OK) {
        status = ist_index_new(config->hash_key, config->alloc, &new->index);
    }
    if (status == IST_OK) {
        status = ist_evict_new(config->policy, config->alloc, &new->evict);
    }
    if (status != IST_OK) {
        ist_store_free(new);
        return status;
    }
    *store = new;
    return IST_OK;
}

void ist_store_free(struct ist_store *store) {
    if (store == NULL) {
        return;
    }
    if (store->evict != NULL) { /* complete */
        ist_store_purge(store);
    }
    ist_evict_free(store->evict);
    ist_index_free(store->index);
    ist_pool_free(store->pool);
    ist_slab_free(store->slab);
    ist_release(store->alloc, store);
}

enum ist_status ist_store_grow(struct ist_store *store, uint64_t bytes) {
    if (bytes > store->pool_bytes_max - ist_pool_bytes(store->pool)) {
        return IST_INVALID;
    }
    return ist_pool_grow(store->pool, bytes);
}

/* ---- the life of an entry ------------------------------------------------------------------------- */

/* Its block is the caller's matter. */
static void entry_release(struct ist_store *store, struct ist_entry *entry) {
    store->bytes[entry->state] -= entry->block.bytes;
    ist_slab_give(store->slab, entry);
}

static void entry_free(struct ist_store *store, struct ist_entry *entry) {
    ist_pool_release(store->pool, &entry->block);
    entry_release(store, entry);
}

static void set_state(struct ist_store *store, struct ist_entry *entry, enum entry_state state) {
    store->bytes[entry->state] -= entry->block.bytes;
    store->bytes[state] += entry->block.bytes;
    entry->state = state;
}

/* COMMITTED -> DOOMED, of an entry that the policy no longer tracks; gone when nobody holds it. */
static void doom_untracked(struct ist_store *store, struct ist_entry *entry) {
    ist_index_remove(store->index, &entry->node);
    store->value_bytes -= entry->value_bytes;
    set_state(store, entry, DOOMED);
    if (entry->pins == 0) {
        entry_free(store, entry);
    }
}

static void doom(struct ist_store *store, struct ist_entry *entry) {
    ist_evict_remove(store->evict, &entry->link);
    doom_untracked(store, entry);
}

static struct ist_entry *find(const struct ist_store *store, struct ist_span key) {
    struct ist_index_node *node = ist_index_find(store->index, key);
    return node == NULL ? NULL : entry_of_node(node);
}

static void evict_untracked(struct ist_store *store, struct ist_entry *entry) {
    store->evicted_entries++;
    store->evicted_bytes += entry->block.bytes;
    doom_untracked(store, entry);
}

/* Where room was made; 0 bytes when no entry can go. */
static struct ist_block evict_one(struct ist_store *store) {
    struct ist_evict_link *link = ist_evict_take(store->evict);
    if (link == NULL) {
        return (struct ist_block){0};
    }
    struct ist_entry *entry = entry_of_link(link);
    struct ist_block block = entry->block;
    evict_untracked(store, entry);
    return block;
}

static void evict_window(struct ist_store *store, struct ist_block window) {
    uint64_t end = window.offset + window.bytes;
    struct ist_block block = {.offset = window.offset};
    struct ist_entry *entry;
    while ((entry = ist_pool_next(store->pool, block.offset, end - block.offset, &block)) != NULL) {
        ist_evict_remove(store->evict, &entry->link);
        evict_untracked(store, entry);
    }
}

/* A block, for which entries go as the policy says. When as much went as is needed but in pieces (an old large
 * value among small ones that are used in another order), the neighbours of the last victim follow: what
 * goes is then about twice what comes, where waiting for the policy to empty one stretch by chance can cost
 * most of the pool. */
static void allocate_evicting(struct ist_store *store, struct ist_entry *entry, uint64_t bytes) {
    uint64_t evicted = 0;
    while (ist_pool_allocate(store->pool, bytes, entry, &entry->block) != IST_OK) {
        struct ist_block victim = evict_one(store);
        IST_ASSERT(victim.bytes > 0); /* the pool said that it is possible */
        evicted += victim.bytes;
        if (evicted >= bytes && ist_pool_largest_free(store->pool) < bytes) {
            evict_window(store, ist_pool_window(store->pool, victim.offset, bytes));
        }
    }
}

/* Only what nobody holds: nobody then has its address but index, policy and pool. */
static void move_entry(struct ist_store *store, struct ist_entry *from) {
    size_t bytes = entry_size(from->node.key_bytes);
    struct ist_entry *to = from->pins > 0 ? NULL : ist_slab_take(store->slab, bytes);
    if (to == NULL) {
        return;
    }
    memcpy(to, from, bytes);
    ist_index_replace(store->index, &from->node, &to->node);
    ist_evict_replace(store->evict, &from->link, &to->link);
    ist_pool_set_owner(store->pool, &to->block, to);
    ist_slab_give(store->slab, from);
}

static void move_strays(struct ist_store *store) {
    for (unsigned i = 0; i < MOVES_PER_RESERVE; i++) {
        struct ist_entry *stray = ist_slab_stray(store->slab);
        if (stray == NULL) {
            break;
        }
        move_entry(store, stray);
    }
}

enum ist_status ist_store_reserve(struct ist_store *store, struct ist_span key, uint64_t value_bytes,
                                  bool if_absent, struct ist_entry **entry) {
    if (key.bytes == 0 || key.bytes > IST_KEY_BYTES_MAX || value_bytes == 0) {
        return IST_INVALID;
    }
    if (if_absent && find(store, key) != NULL) {
        return IST_EXISTS;
    }
    uint64_t block_bytes = ist_pool_rounded(store->pool, value_bytes);
    if (block_bytes > store->pool_bytes_max) {
        return IST_TOO_BIG;
    }
    if (block_bytes > ist_pool_largest_possible(store->pool)) {
        return IST_NO_SPACE;
    }
    struct ist_entry *new = ist_slab_take(store->slab, entry_size(key.bytes));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    ist_index_prepare(store->index, store->reserved_entries + 1);
    allocate_evicting(store, new, block_bytes);
    new->value_bytes = value_bytes;
    new->pins = 1;
    new->state = RESERVED;
    ist_index_node_init(store->index, &new->node, key);
    store->bytes[RESERVED] += new->block.bytes;
    store->reserved_entries++;
    store->pinned_entries++;
    move_strays(store);
    *entry = new;
    return IST_OK;
}

void ist_store_abort(struct ist_store *store, struct ist_entry *entry) {
    IST_ASSERT(entry->state == RESERVED && entry->pins == 1);
    store->reserved_entries--;
    store->pinned_entries--;
    entry_free(store, entry);
}

enum ist_status ist_store_commit(struct ist_store *store, struct ist_entry *entry, bool if_absent) {
    IST_ASSERT(entry->state == RESERVED && entry->pins == 1);
    struct ist_entry *old = find(store, key_of(entry));
    if (old != NULL && if_absent) {
        ist_store_abort(store, entry);
        return IST_EXISTS;
    }
    if (old != NULL) {
        doom(store, old);
    }
    store->reserved_entries--;
    store->value_bytes += entry->value_bytes;
    set_state(store, entry, COMMITTED);
    ist_index_insert(store->index, &entry->node);
    entry->link.bytes = entry->block.bytes;
    ist_evict_insert(store->evict, &entry->link, true);
    return IST_OK;
}

/* ---- readers -------------------------------------------------------------------------------------- */

enum ist_status ist_store_acquire(struct ist_store *store, struct ist_span key,
                                  struct ist_entry **entry) {
    struct ist_entry *found = find(store, key);
    if (found == NULL) {
        return IST_NOT_FOUND;
    }
    if (found->pins++ == 0) {
        store->pinned_entries++;
        ist_pool_hold(store->pool, &found->block);
        ist_evict_pin(store->evict, &found->link);
    }
    *entry = found;
    return IST_OK;
}

void ist_store_refresh(struct ist_store *store, struct ist_entry *entry) {
    IST_ASSERT(entry->pins > 0 && entry->state != RESERVED);
    if (entry->state == COMMITTED) {
        ist_evict_touch(store->evict, &entry->link);
    }
}

void ist_store_release(struct ist_store *store, struct ist_entry *entry) {
    IST_ASSERT(entry->pins > 0 && entry->state != RESERVED);
    if (--entry->pins > 0) {
        return;
    }
    store->pinned_entries--;
    if (entry->state == DOOMED) {
        entry_free(store, entry);
    } else {
        ist_pool_unhold(store->pool, &entry->block);
        ist_evict_unpin(store->evict, &entry->link);
    }
}

uint64_t ist_entry_offset(const struct ist_entry *entry) {
    return entry->block.offset;
}

uint64_t ist_entry_value_bytes(const struct ist_entry *entry) {
    return entry->value_bytes;
}

/* ---- batches of keys ------------------------------------------------------------------------------ */

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t ist_store_exists(const struct ist_store *store, const struct ist_span *keys, size_t count,
                        bool *present) {
    struct ist_index_node *nodes[IST_INDEX_BATCH_MAX];
    size_t found = 0;
    for (size_t i = 0; i < count; i += IST_INDEX_BATCH_MAX) {
        size_t batch = smaller(count - i, IST_INDEX_BATCH_MAX);
        ist_index_find_batch(store->index, keys + i, batch, nodes);
        for (size_t k = 0; k < batch; k++) {
            present[i + k] = nodes[k] != NULL;
            found += nodes[k] != NULL;
        }
    }
    return found;
}

size_t ist_store_match_prefix(const struct ist_store *store, const struct ist_span *keys,
                              size_t count) {
    struct ist_index_node *nodes[IST_INDEX_BATCH_MAX];
    for (size_t i = 0; i < count; i += IST_INDEX_BATCH_MAX) {
        size_t batch = smaller(count - i, IST_INDEX_BATCH_MAX);
        ist_index_find_batch(store->index, keys + i, batch, nodes);
        for (size_t k = 0; k < batch; k++) {
            if (nodes[k] == NULL) {
                return i + k;
            }
        }
    }
    return count;
}

size_t ist_store_match_last(const struct ist_store *store, const struct ist_span *keys, size_t count) {
    struct ist_index_node *nodes[IST_INDEX_BATCH_MAX];
    for (size_t end = count; end > 0;) {
        size_t batch = smaller(end, IST_INDEX_BATCH_MAX);
        end -= batch;
        ist_index_find_batch(store->index, keys + end, batch, nodes);
        for (size_t k = batch; k > 0; k--) {
            if (nodes[k - 1] != NULL) {
                return end + k - 1;
            }
        }
    }
    return count;
}

/* ---- what goes ------------------------------------------------------------------------------------ */

bool ist_store_remove(struct ist_store *store, struct ist_span key) {
    struct ist_entry *entry = find(store, key);
    if (entry == NULL) {
        return false;
    }
    doom(store, entry);
    return true;
}

static void purge_one_by_one(struct ist_store *store) {
    uint64_t cursor = 0;
    struct ist_index_node *node;
    while ((node = ist_index_any(store->index, &cursor)) != NULL) {
        doom(store, entry_of_node(node));
    }
}

/* Index, policy and pool forget all that goes at once. What is left to do for each entry is little, and is done in
 * the order in which they lie in the pool: with millions of them it is memory that counts. */
static void purge_at_once(struct ist_store *store) {
    uint64_t pool_bytes = ist_pool_bytes(store->pool);
    struct ist_block block;
    struct ist_entry *entry = ist_pool_next(store->pool, 0, pool_bytes, &block);
    while (entry != NULL) {
        if (entry->state == COMMITTED) {
            set_state(store, entry, DOOMED);
            if (entry->pins == 0) {
                entry_release(store, entry);
            }
        }
        entry = ist_pool_next(store->pool, block.offset + block.bytes, pool_bytes, &block);
    }
    store->value_bytes = 0;
    ist_pool_release_unheld(store->pool);
    ist_evict_clear(store->evict);
}

uint64_t ist_store_purge(struct ist_store *store) {
    uint64_t gone = ist_index_count(store->index);
    if (gone < ist_pool_bytes(store->pool) / store->min_block_bytes / SPARSE) {
        purge_one_by_one(store);
    } else {
        purge_at_once(store);
    }
    ist_index_clear(store->index);
    ist_slab_trim(store->slab);
    return gone;
}

uint64_t ist_store_evict(struct ist_store *store, uint64_t bytes) {
    uint64_t freed = 0;
    while (freed < bytes) {
        uint64_t more = evict_one(store).bytes;
        if (more == 0) {
            break;
        }
        freed += more;
    }
    return freed;
}

/* ---- figures -------------------------------------------------------------------------------------- */

void ist_store_usage(const struct ist_store *store, struct ist_store_usage *usage) {
    *usage = (struct ist_store_usage){
        .pool_bytes = ist_pool_bytes(store->pool),
        .pool_bytes_max = store->pool_bytes_max,
        .free_bytes = ist_pool_free_bytes(store->pool),
        .reserved_bytes = store->bytes[RESERVED],
        .committed_bytes = store->bytes[COMMITTED],
        .doomed_bytes = store->bytes[DOOMED],
        .largest_free_bytes = ist_pool_largest_free(store->pool),
        .value_bytes = store->value_bytes,
        .keys = ist_index_count(store->index),
        .pinned_entries = store->pinned_entries,
        .evicted_entries = store->evicted_entries,
        .evicted_bytes = store->evicted_bytes,
        .metadata_bytes =
            sizeof(*store) + ist_slab_bytes(store->slab) + ist_pool_metadata_bytes(store->pool) +
            ist_index_metadata_bytes(store->index) + ist_evict_metadata_bytes(store->evict),
    };
}

struct tally {
    uint64_t bytes[DOOMED + 1], entries[DOOMED + 1];
    uint64_t value_bytes, pinned;
};

static void check_entry(const struct ist_store *store, const struct ist_entry *entry,
                        struct tally *tally) {
    tally->bytes[entry->state] += entry->block.bytes;
    tally->entries[entry->state]++;
    tally->pinned += entry->pins > 0;
    IST_ASSERT(entry->value_bytes > 0 &&
               entry->block.bytes == ist_pool_rounded(store->pool, entry->value_bytes));
    switch (entry->state) {
    case RESERVED: IST_ASSERT(entry->pins == 1); break;
    case COMMITTED:
        IST_ASSERT(find(store, key_of(entry)) == entry);
        IST_ASSERT(entry->link.pinned == (entry->pins > 0) && entry->link.bytes == entry->block.bytes);
        tally->value_bytes += entry->value_bytes;
        break;
    case DOOMED: IST_ASSERT(entry->pins > 0); break;
    }
}

void ist_store_check(const struct ist_store *store) {
    ist_slab_check(store->slab);
    ist_pool_check(store->pool);
    ist_index_check(store->index);
    ist_evict_check(store->evict);
    struct tally tally = {0};
    struct ist_block block = {0};
    uint64_t pool_bytes = ist_pool_bytes(store->pool);
    const struct ist_entry *entry = ist_pool_next(store->pool, 0, pool_bytes, &block);
    while (entry != NULL) {
        IST_ASSERT(entry->block.offset == block.offset && entry->block.bytes == block.bytes);
        check_entry(store, entry, &tally);
        entry = ist_pool_next(store->pool, block.offset + block.bytes, pool_bytes, &block);
    }
    uint64_t sum = ist_pool_free_bytes(store->pool);
    for (int state = RESERVED; state <= DOOMED; state++) {
        IST_ASSERT(tally.bytes[state] == store->bytes[state]);
        sum += tally.bytes[state];
    }
    IST_ASSERT(sum == pool_bytes);
    IST_ASSERT(tally.entries[RESERVED] == store->reserved_entries);
    IST_ASSERT(tally.entries[COMMITTED] == ist_index_count(store->index));
    IST_ASSERT(tally.entries[COMMITTED] == ist_evict_tracked(store->evict));
    IST_ASSERT(tally.pinned == store->pinned_entries);
    IST_ASSERT(tally.value_bytes == store->value_bytes);
    IST_ASSERT(tally.entries[RESERVED] + tally.entries[COMMITTED] + tally.entries[DOOMED] ==
               ist_slab_count(store->slab));
}

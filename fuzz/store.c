/* The store beside sim/model: writers and readers that hold entries, everything that a client can ask for, evictions,
 * and memory that is short. Values are derived from their version, so that a block that is given away too early
 * shows. After each step both must know the same keys, and the blocks that are held must be what they were. */
#include "store/store.h"
#include "fuzz/fuzz.h"
#include "infinistore/limits.h"
#include "sim/model.h"
#include "tests/support.h"

#define BLOCK 1024u
#define GRANULE 512u
#define BLOCKS_MAX 64u
#define HOLDS_MAX 12u
#define KEYS 24u

struct hold {
    struct ist_entry *entry;
    uint8_t key;
    struct ist_naive_value value;
    bool writes;
};

struct pair {
    struct failing_alloc failing;
    struct ist_store *store;
    struct ist_naive *naive;
    uint8_t pool[BLOCKS_MAX * BLOCK];
    uint64_t pool_bytes, pool_bytes_max;
    uint64_t versions, evicted;
    struct hold holds[HOLDS_MAX];
    size_t held;
};

/* Some of them the longest, one too long, one empty. */
static struct ist_span key_of(uint8_t which, uint8_t room[IST_KEY_BYTES_MAX + 1]) {
    which %= KEYS;
    size_t bytes = which == 0   ? 0
                   : which == 1 ? IST_KEY_BYTES_MAX + 1
                   : which == 2 ? IST_KEY_BYTES_MAX
                                : 1 + which % 5u;
    memset(room, which, IST_KEY_BYTES_MAX + 1);
    return ist_span_of(room, bytes);
}

static bool is_valid(struct ist_span key) {
    return key.bytes >= 1 && key.bytes <= IST_KEY_BYTES_MAX;
}

static uint8_t byte_of(uint64_t version, uint64_t at) {
    return (uint8_t)(version * 37 + at * 11);
}

static void fill(struct pair *pair, const struct hold *hold) {
    uint64_t offset = ist_entry_offset(hold->entry);
    for (uint64_t i = 0; i < hold->value.bytes; i++) {
        pair->pool[offset + i] = byte_of(hold->value.version, i);
    }
}

static void check_hold(const struct pair *pair, const struct hold *hold) {
    uint64_t offset = ist_entry_offset(hold->entry);
    IST_ASSERT(ist_entry_value_bytes(hold->entry) == hold->value.bytes);
    IST_ASSERT(offset + hold->value.bytes <= pair->pool_bytes);
    for (uint64_t i = 0; i < hold->value.bytes; i++) {
        IST_ASSERT(pair->pool[offset + i] == byte_of(hold->value.version, i));
    }
}

/* ---- what went ---------------------------------------------------------------------------------------------- */

static bool is_held(const struct pair *pair, uint64_t version) {
    for (size_t i = 0; i < pair->held; i++) {
        if (pair->holds[i].value.version == version) {
            return true;
        }
    }
    return false;
}

static void note_evicted(void *context, struct ist_span key, struct ist_naive_value value) {
    struct pair *pair = context;
    bool present;
    if (ist_store_exists(pair->store, &key, 1, &present) == 0) {
        IST_ASSERT(!is_held(pair, value.version));
        IST_ASSERT(ist_naive_evicted(pair->naive, key));
        pair->evicted++;
    }
}

/* Keys that only the model has were evicted: allowed here, and only here. */
static void follow_evictions(struct pair *pair) {
    ist_naive_visit(pair->naive, note_evicted, pair);
}

static void check_key(void *context, struct ist_span key, struct ist_naive_value value) {
    const struct pair *pair = context;
    bool present;
    (void)value;
    IST_ASSERT(ist_store_exists(pair->store, &key, 1, &present) == 1 && present);
}

static void compare(struct pair *pair) {
    struct ist_store_usage usage;
    ist_store_check(pair->store);
    ist_store_usage(pair->store, &usage);
    IST_ASSERT(usage.keys == ist_naive_keys(pair->naive));
    IST_ASSERT(usage.value_bytes == ist_naive_value_bytes(pair->naive));
    IST_ASSERT(usage.committed_bytes == ist_naive_block_bytes(pair->naive));
    IST_ASSERT(usage.evicted_entries == pair->evicted);
    IST_ASSERT(usage.pool_bytes == pair->pool_bytes && usage.pool_bytes_max == pair->pool_bytes_max);
    IST_ASSERT(usage.free_bytes + usage.reserved_bytes + usage.committed_bytes + usage.doomed_bytes ==
               usage.pool_bytes);
    IST_ASSERT(usage.pinned_entries <= pair->held);
    ist_naive_visit(pair->naive, check_key, pair);
    for (size_t i = 0; i < pair->held; i++) {
        check_hold(pair, &pair->holds[i]);
    }
}

/* ---- operations --------------------------------------------------------------------------------------------- */

/* Is this what the store may answer to a reserve that it refused? */
static void check_refusal(const struct pair *pair, enum ist_status status, uint64_t rounded,
                          bool no_memory) {
    bool whole = pair->pool_bytes == pair->pool_bytes_max;
    switch (status) {
    case IST_TOO_BIG: IST_ASSERT(rounded > pair->pool_bytes_max); break;
    case IST_NO_SPACE: IST_ASSERT(rounded <= pair->pool_bytes_max && (pair->held > 0 || !whole)); break;
    case IST_NO_MEMORY: IST_ASSERT(no_memory); break;
    default: IST_ASSERT(false);
    }
}

static void reserve(struct pair *pair, struct fuzz_input *input) {
    uint8_t room[IST_KEY_BYTES_MAX + 1], which = fuzz_u8(input), how = fuzz_u8(input);
    uint64_t bytes = how % 16 == 15 ? fuzz_u16(input) : fuzz_u16(input) % (4 * BLOCK);
    bool if_absent = how & 16, no_memory = (how & 0xe0) == 0xe0;
    struct ist_span key = key_of(which, room);
    struct hold hold = {.key = which, .value = {++pair->versions, bytes}, .writes = true};
    if (pair->held == HOLDS_MAX) {
        return;
    }
    bool exists = ist_naive_get(pair->naive, key, NULL);
    uint64_t evicted = pair->evicted;
    pair->failing.fail_at = no_memory ? pair->failing.calls + 1 + how % 2 : 0;
    enum ist_status status = ist_store_reserve(pair->store, key, bytes, if_absent, &hold.entry);
    pair->failing.fail_at = 0;
    follow_evictions(pair);
    if (!is_valid(key) || bytes == 0) {
        IST_ASSERT(status == IST_INVALID);
    } else if (if_absent && exists) {
        IST_ASSERT(status == IST_EXISTS);
    } else if (status != IST_OK) {
        check_refusal(pair, status, ist_naive_rounded(pair->naive, bytes), no_memory);
    } else {
        fill(pair, &hold);
        pair->holds[pair->held++] = hold;
        return;
    }
    IST_ASSERT(pair->evicted == evicted); /* nothing goes in vain */
}

static void end_write(struct pair *pair, size_t at, uint8_t how) {
    struct hold *hold = &pair->holds[at];
    uint8_t room[IST_KEY_BYTES_MAX + 1];
    struct ist_span key = key_of(hold->key, room);
    bool exists = ist_naive_get(pair->naive, key, NULL), if_absent = how % 4 == 1;
    check_hold(pair, hold);
    if (how % 4 == 0) {
        ist_store_abort(pair->store, hold->entry);
        *hold = pair->holds[--pair->held];
        return;
    }
    enum ist_status status = ist_store_commit(pair->store, hold->entry, if_absent);
    IST_ASSERT(status == (if_absent && exists ? IST_EXISTS : IST_OK));
    if (status == IST_OK) {
        ist_naive_put(pair->naive, key, hold->value);
        hold->writes = false;
    } else {
        *hold = pair->holds[--pair->held];
    }
}

static void end_hold(struct pair *pair, struct fuzz_input *input) {
    uint8_t which = fuzz_u8(input), how = fuzz_u8(input);
    if (pair->held == 0) {
        return;
    }
    size_t at = which % pair->held;
    struct hold *hold = &pair->holds[at];
    if (hold->writes) {
        end_write(pair, at, how);
    } else if (how % 3 == 0) {
        ist_store_refresh(pair->store, hold->entry);
    } else {
        ist_store_release(pair->store, hold->entry);
        *hold = pair->holds[--pair->held];
    }
}

static void acquire(struct pair *pair, struct fuzz_input *input) {
    uint8_t room[IST_KEY_BYTES_MAX + 1], which = fuzz_u8(input);
    struct ist_span key = key_of(which, room);
    struct hold hold = {.key = which};
    if (pair->held == HOLDS_MAX) {
        return;
    }
    bool exists = ist_naive_get(pair->naive, key, &hold.value);
    enum ist_status status = ist_store_acquire(pair->store, key, &hold.entry);
    IST_ASSERT(status == (exists ? IST_OK : IST_NOT_FOUND));
    if (exists) {
        pair->holds[pair->held++] = hold;
    }
}

static void look(struct pair *pair, struct fuzz_input *input) {
    static uint8_t rooms[80][IST_KEY_BYTES_MAX + 1];
    struct ist_span keys[80] = {0};
    bool present[80], expected[80];
    size_t count = fuzz_u8(input) % 81u;
    for (size_t i = 0; i < count; i++) {
        keys[i] = key_of(fuzz_u8(input), rooms[i]);
    }
    IST_ASSERT(ist_store_exists(pair->store, keys, count, present) ==
               ist_naive_exists(pair->naive, keys, count, expected));
    IST_ASSERT(memcmp(present, expected, count) == 0);
    IST_ASSERT(ist_store_match_prefix(pair->store, keys, count) ==
               ist_naive_match_prefix(pair->naive, keys, count));
    IST_ASSERT(ist_store_match_last(pair->store, keys, count) ==
               ist_naive_match_last(pair->naive, keys, count));
}

static void evict(struct pair *pair, struct fuzz_input *input) {
    uint64_t wanted = fuzz_u16(input), before = ist_naive_block_bytes(pair->naive);
    uint64_t gone = ist_store_evict(pair->store, wanted);
    follow_evictions(pair);
    IST_ASSERT(before - ist_naive_block_bytes(pair->naive) == gone);
    /* Too few only when all that is left is held. */
    IST_ASSERT(gone >= wanted || ist_naive_keys(pair->naive) <= pair->held);
}

static void grow(struct pair *pair, struct fuzz_input *input) {
    uint64_t bytes = (uint64_t)fuzz_u8(input) * GRANULE + (fuzz_u8(input) % 8 == 7);
    enum ist_status status = ist_store_grow(pair->store, bytes);
    bool fits = bytes % GRANULE == 0 && bytes <= pair->pool_bytes_max - pair->pool_bytes;
    IST_ASSERT(status == (fits ? IST_OK : IST_INVALID));
    pair->pool_bytes += fits ? bytes : 0;
}

static void step(struct pair *pair, struct fuzz_input *input) {
    uint8_t room[IST_KEY_BYTES_MAX + 1];
    switch (fuzz_u8(input) % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: reserve(pair, input); break;
    case 5:
    case 6:
    case 7:
    case 8: end_hold(pair, input); break;
    case 9:
    case 10: acquire(pair, input); break;
    case 11: {
        struct ist_span key = key_of(fuzz_u8(input), room);
        IST_ASSERT(ist_store_remove(pair->store, key) == ist_naive_remove(pair->naive, key));
        break;
    }
    case 12: look(pair, input); break;
    case 13: evict(pair, input); break;
    case 14: grow(pair, input); break;
    default: IST_ASSERT(ist_store_purge(pair->store) == ist_naive_purge(pair->naive)); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct pair pair;
    struct fuzz_input input = fuzz_input_of(data, bytes);
    const struct ist_naive_config naive = {.min_block_bytes = BLOCK, .granule_bytes = GRANULE};
    memset(&pair, 0, sizeof(pair));
    failing_alloc_init(&pair.failing, 0);
    pair.pool_bytes_max =
        BLOCK + fuzz_u8(&input) % (BLOCKS_MAX * BLOCK / GRANULE - 1) * (uint64_t)GRANULE;
    const struct ist_store_config config = {.pool_bytes_max = pair.pool_bytes_max,
                                            .min_block_bytes = BLOCK,
                                            .granule_bytes = GRANULE,
                                            .hash_key = {1, 2},
                                            .alloc = &pair.failing.alloc};
    IST_ASSERT(ist_store_new(&config, &pair.store) == IST_OK);
    pair.naive = ist_naive_new(&naive);
    while (input.bytes > 0) {
        step(&pair, &input);
        compare(&pair);
    }
    while (pair.held > 0) {
        const struct hold *hold = &pair.holds[--pair.held];
        (hold->writes ? ist_store_abort : ist_store_release)(pair.store, hold->entry);
    }
    compare(&pair);
    ist_store_free(pair.store);
    ist_naive_free(pair.naive);
    IST_ASSERT(pair.failing.live == 0);
    return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------------------- */

void fuzz_seeds(fuzz_seed_fn seed) {
    /* A pool of 16 blocks; a key is put (reserve, commit, release), held, overwritten, looked at, removed, purged. */
    static const uint8_t life[] = {
        31, 14, 32, 0, 0,  3, 0,  100, 0, 5,  0,  2, 5, 0, 1, 9, 3,  0,  3, 0, 200, 3,   5,
        1,  2,  12, 4, 3,  4, 2,  3,   9, 3,  11, 3, 5, 0, 1, 5, 0,  1,  0, 4, 0,   232, 3,
        5,  0,  0,  0, 4,  0, 50, 0,   5, 0,  3,  5, 0, 1, 0, 4, 16, 50, 0, 0, 5,   16,  50,
        0,  0,  6,  0, 50, 0, 0,  6,   0, 50, 0,  5, 0, 2, 5, 1, 1,  13, 0, 8, 15,
    };
    static const uint8_t refusals[] = {
        7, 14, 4, 0,  0, 0, 0, 10, 0, 0, 1, 0, 10, 0, 0, 3, 0, 0, 0,   0,   3, 15, 255, 255, 0,
        2, 0,  1, 14, 0, 5, 0, 2,  0, 4, 0, 0, 4,  0, 5, 0, 0, 4, 224, 225, 2, 0,  13,  255, 255,
    };
    uint8_t fills[4 + 40 * 9], *at = fills;
    seed("life", life, sizeof(life));
    seed("refusals", refusals, sizeof(refusals));
    *at++ = 15;
    *at++ = 14;
    *at++ = 16;
    *at++ = 0;
    for (uint8_t i = 0; i < 40; i++) {
        const uint8_t put[9] = {0, (uint8_t)(3 + i), 0, (uint8_t)(i * 40), i % 5, 5, 0, 3, 5};
        memcpy(at, put, sizeof(put));
        at += sizeof(put);
    }
    seed("evictions", fills, (size_t)(at - fills));
}

/* A store over a pool that is an array of bytes. Whoever reserves fills the block, whoever reads compares it, and
 * each call is followed by ist_store_check() and by what DESIGN says of a pool's bytes. */
#ifndef IST_TESTS_SHELF_H
#define IST_TESTS_SHELF_H

#include <stdlib.h>
#include <string.h>

#include "tests/support.h"

#include "store/store.h"

#define SHELF_BLOCK 4096u
#define SHELF_GRANULE 512u

struct shelf {
    struct failing_alloc failing;
    struct ist_store *store;
    uint8_t *pool;
    uint64_t pool_bytes_max;
};

static inline struct ist_store_usage shelf_usage(const struct shelf *shelf) {
    struct ist_store_usage usage;
    ist_store_usage(shelf->store, &usage);
    return usage;
}

static inline void shelf_check(const struct shelf *shelf) {
    ist_store_check(shelf->store);
    struct ist_store_usage usage = shelf_usage(shelf);
    assert_int_equal(usage.free_bytes + usage.reserved_bytes + usage.committed_bytes +
                         usage.doomed_bytes,
                     usage.pool_bytes);
    assert_true(usage.value_bytes <= usage.committed_bytes);
    assert_true(usage.largest_free_bytes <= usage.free_bytes);
    assert_int_equal(usage.pool_bytes_max, shelf->pool_bytes_max);
}

static inline struct ist_store_config shelf_config(const struct shelf *shelf, uint64_t bytes_max) {
    return (struct ist_store_config){
        .pool_bytes_max = bytes_max,
        .min_block_bytes = SHELF_BLOCK,
        .granule_bytes = SHELF_GRANULE,
        .hash_key = {.k0 = 3, .k1 = 4},
        .alloc = &shelf->failing.alloc,
    };
}

/* `bytes` of a pool that may grow to `bytes_max`. */
static inline void shelf_init_growing(struct shelf *shelf, uint64_t bytes, uint64_t bytes_max) {
    *shelf = (struct shelf){.pool_bytes_max = bytes_max};
    failing_alloc_init(&shelf->failing, 0);
    struct ist_store_config config = shelf_config(shelf, bytes_max);
    assert_int_equal(ist_store_new(&config, &shelf->store), IST_OK);
    shelf_check(shelf);
    assert_int_equal(ist_store_grow(shelf->store, bytes), IST_OK);
    shelf_check(shelf);
    shelf->pool = calloc(1, bytes_max);
    assert_non_null(shelf->pool);
}

static inline void shelf_init(struct shelf *shelf, unsigned blocks) {
    shelf_init_growing(shelf, blocks * SHELF_BLOCK, blocks * SHELF_BLOCK);
}

/* Nothing may be held any more: all comes back, whether it is purged or freed with the store. */
static inline void shelf_fini(struct shelf *shelf) {
    struct ist_store_usage usage = shelf_usage(shelf);
    assert_int_equal(usage.pinned_entries, 0);
    assert_int_equal(usage.reserved_bytes + usage.doomed_bytes, 0);
    ist_store_free(shelf->store);
    free(shelf->pool);
    assert_int_equal(shelf->failing.live, 0);
}

/* ---- one call and a check each ---------------------------------------------------------------------- */

static inline struct ist_span key_of(const char *key) {
    return ist_span_of_string(key);
}

static inline enum ist_status shelf_reserve(struct shelf *shelf, const char *key, char letter,
                                            uint64_t bytes, bool if_absent, struct ist_entry **entry) {
    enum ist_status status = ist_store_reserve(shelf->store, key_of(key), bytes, if_absent, entry);
    if (status == IST_OK) {
        assert_int_equal(ist_entry_value_bytes(*entry), bytes);
        memset(shelf->pool + ist_entry_offset(*entry), letter, bytes);
    }
    shelf_check(shelf);
    return status;
}

static inline struct ist_entry *shelf_reserved(struct shelf *shelf, const char *key, char letter,
                                               uint64_t bytes) {
    struct ist_entry *entry;
    assert_int_equal(shelf_reserve(shelf, key, letter, bytes, false, &entry), IST_OK);
    return entry;
}

static inline enum ist_status shelf_commit(struct shelf *shelf, struct ist_entry *entry,
                                           bool if_absent) {
    enum ist_status status = ist_store_commit(shelf->store, entry, if_absent);
    shelf_check(shelf);
    return status;
}

static inline void shelf_abort(struct shelf *shelf, struct ist_entry *entry) {
    ist_store_abort(shelf->store, entry);
    shelf_check(shelf);
}

static inline void shelf_release(struct shelf *shelf, struct ist_entry *entry) {
    ist_store_release(shelf->store, entry);
    shelf_check(shelf);
}

static inline void shelf_refresh(struct shelf *shelf, struct ist_entry *entry) {
    ist_store_refresh(shelf->store, entry);
    shelf_check(shelf);
}

static inline struct ist_entry *shelf_acquire(struct shelf *shelf, const char *key) {
    struct ist_entry *entry = NULL;
    enum ist_status status = ist_store_acquire(shelf->store, key_of(key), &entry);
    assert_true(status == IST_OK || (status == IST_NOT_FOUND && entry == NULL));
    shelf_check(shelf);
    return entry;
}

static inline bool shelf_remove(struct shelf *shelf, const char *key) {
    bool was_there = ist_store_remove(shelf->store, key_of(key));
    shelf_check(shelf);
    return was_there;
}

static inline uint64_t shelf_purge(struct shelf *shelf) {
    uint64_t gone = ist_store_purge(shelf->store);
    shelf_check(shelf);
    return gone;
}

/* ---- what is made of them --------------------------------------------------------------------------- */

static inline enum ist_status shelf_try_put(struct shelf *shelf, const char *key, char letter,
                                            uint64_t bytes) {
    struct ist_entry *entry;
    enum ist_status status = shelf_reserve(shelf, key, letter, bytes, false, &entry);
    if (status == IST_OK) {
        assert_int_equal(shelf_commit(shelf, entry, false), IST_OK);
        shelf_release(shelf, entry);
    }
    return status;
}

static inline void shelf_put(struct shelf *shelf, const char *key, char letter, uint64_t bytes) {
    assert_int_equal(shelf_try_put(shelf, key, letter, bytes), IST_OK);
}

/* One block for each letter, which is also its key; the first one is the oldest. */
static inline void shelf_put_letters(struct shelf *shelf, const char *letters) {
    for (const char *letter = letters; *letter != '\0'; letter++) {
        shelf_put(shelf, (const char[]){*letter, '\0'}, *letter, SHELF_BLOCK);
    }
}

static inline bool shelf_reads(const struct shelf *shelf, const struct ist_entry *entry, char letter) {
    const uint8_t *value = shelf->pool + ist_entry_offset(entry);
    for (uint64_t i = 0; i < ist_entry_value_bytes(entry); i++) {
        if (value[i] != (uint8_t)letter) {
            return false;
        }
    }
    return true;
}

static inline bool shelf_has(const struct shelf *shelf, const char *key) {
    struct ist_span span = key_of(key);
    bool present;
    size_t found = ist_store_exists(shelf->store, &span, 1, &present);
    assert_int_equal(found, present);
    return present;
}

/* The key is there, and all bytes of its value are the letter. */
static inline bool shelf_holds(struct shelf *shelf, const char *key, char letter) {
    struct ist_entry *entry = shelf_acquire(shelf, key);
    if (entry == NULL) {
        return false;
    }
    bool same = shelf_reads(shelf, entry, letter);
    shelf_release(shelf, entry);
    return same;
}

/* Exactly these letters are there, each with its value. */
static inline void shelf_assert_letters(struct shelf *shelf, const char *letters) {
    for (const char *letter = letters; *letter != '\0'; letter++) {
        if (!shelf_holds(shelf, (const char[]){*letter, '\0'}, *letter)) {
            fail_msg("'%c' of \"%s\" is not there", *letter, letters);
        }
    }
    assert_int_equal(shelf_usage(shelf).keys, strlen(letters));
}

#endif

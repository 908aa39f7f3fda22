#include "sim/model.h"

#include "base/alloc.h"
#include "base/assert.h"

#define BUCKETS_FIRST 16u

struct entry {
    struct entry *next; /* in its bucket */
    struct ist_naive_value value;
    size_t key_bytes;
    uint8_t key[];
};

struct ist_naive {
    struct ist_naive_config config;
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    uint64_t keys, value_bytes, block_bytes;
};

static void *take_memory(size_t count, size_t bytes) {
    void *memory = ist_allocate_zeroed(ist_alloc_system(), count, bytes);
    IST_ASSERT(memory != NULL);
    return memory;
}

static void give_memory(void *memory) {
    ist_release(ist_alloc_system(), memory);
}

/* FNV-1a: any hash will do here. */
static size_t bucket_of(const struct ist_naive *model, struct ist_span key) {
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < key.bytes; i++) {
        hash = (hash ^ key.data[i]) * 0x100000001b3ull;
    }
    return (size_t)(hash ^ hash >> 32) & (model->bucket_count - 1);
}

static struct ist_span key_of(const struct entry *entry) {
    return ist_span_of(entry->key, entry->key_bytes);
}

/* What points to the entry; to NULL: there is none. */
static struct entry **find(const struct ist_naive *model, struct ist_span key) {
    struct entry **at = &model->buckets[bucket_of(model, key)];
    while (*at != NULL && !ist_span_equal(key_of(*at), key)) {
        at = &(*at)->next;
    }
    return at;
}

static void account(struct ist_naive *model, struct ist_naive_value value, bool more) {
    uint64_t block_bytes = ist_naive_rounded(model, value.bytes);
    model->keys += more ? 1 : UINT64_MAX;
    model->value_bytes += more ? value.bytes : -value.bytes;
    model->block_bytes += more ? block_bytes : -block_bytes;
}

static void grow(struct ist_naive *model) {
    struct entry **old = model->buckets;
    size_t count = model->bucket_count;
    model->bucket_count *= 2;
    model->buckets = take_memory(model->bucket_count, sizeof(struct entry *));
    for (size_t i = 0; i < count; i++) {
        while (old[i] != NULL) {
            struct entry *entry = old[i];
            old[i] = entry->next;
            entry->next = NULL;
            *find(model, key_of(entry)) = entry;
        }
    }
    give_memory(old);
}

static void add(struct ist_naive *model, struct ist_span key, struct ist_naive_value value) {
    struct entry *entry = take_memory(1, sizeof(*entry) + key.bytes);
    entry->value = value;
    entry->key_bytes = key.bytes;
    if (key.bytes > 0) {
        memcpy(entry->key, key.data, key.bytes);
    }
    *find(model, key) = entry;
    account(model, value, true);
    if (model->keys > model->bucket_count) {
        grow(model);
    }
}

/* ---- what the header says ----------------------------------------------------------------------------- */

struct ist_naive *ist_naive_new(const struct ist_naive_config *config) {
    struct ist_naive *model = take_memory(1, sizeof(*model));
    model->config = *config;
    model->bucket_count = BUCKETS_FIRST;
    model->buckets = take_memory(BUCKETS_FIRST, sizeof(struct entry *));
    return model;
}

void ist_naive_free(struct ist_naive *model) {
    if (model != NULL) {
        ist_naive_purge(model);
        give_memory(model->buckets);
        give_memory(model);
    }
}

bool ist_naive_put(struct ist_naive *model, struct ist_span key, struct ist_naive_value value) {
    struct entry *entry = *find(model, key);
    if (entry == NULL) {
        add(model, key, value);
        return false;
    }
    account(model, entry->value, false);
    entry->value = value;
    account(model, value, true);
    return true;
}

bool ist_naive_put_if_absent(struct ist_naive *model, struct ist_span key,
                             struct ist_naive_value value) {
    return !ist_naive_get(model, key, NULL) && !ist_naive_put(model, key, value);
}

bool ist_naive_get(const struct ist_naive *model, struct ist_span key, struct ist_naive_value *value) {
    const struct entry *entry = *find(model, key);
    if (entry != NULL && value != NULL) {
        *value = entry->value;
    }
    return entry != NULL;
}

size_t ist_naive_exists(const struct ist_naive *model, const struct ist_span *keys, size_t count,
                        bool *present) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        present[i] = ist_naive_get(model, keys[i], NULL);
        found += present[i];
    }
    return found;
}

size_t ist_naive_match_prefix(const struct ist_naive *model, const struct ist_span *keys,
                              size_t count) {
    size_t i = 0;
    while (i < count && ist_naive_get(model, keys[i], NULL)) {
        i++;
    }
    return i;
}

size_t ist_naive_match_last(const struct ist_naive *model, const struct ist_span *keys, size_t count) {
    for (size_t i = count; i > 0; i--) {
        if (ist_naive_get(model, keys[i - 1], NULL)) {
            return i - 1;
        }
    }
    return count;
}

bool ist_naive_remove(struct ist_naive *model, struct ist_span key) {
    struct entry **at = find(model, key);
    struct entry *entry = *at;
    if (entry == NULL) {
        return false;
    }
    *at = entry->next;
    account(model, entry->value, false);
    give_memory(entry);
    return true;
}

uint64_t ist_naive_purge(struct ist_naive *model) {
    uint64_t gone = model->keys;
    for (size_t i = 0; i < model->bucket_count; i++) {
        while (model->buckets[i] != NULL) {
            struct entry *entry = model->buckets[i];
            model->buckets[i] = entry->next;
            account(model, entry->value, false);
            give_memory(entry);
        }
    }
    return gone;
}

bool ist_naive_evicted(struct ist_naive *model, struct ist_span key) {
    return ist_naive_remove(model, key);
}

uint64_t ist_naive_keys(const struct ist_naive *model) {
    return model->keys;
}

uint64_t ist_naive_value_bytes(const struct ist_naive *model) {
    return model->value_bytes;
}

uint64_t ist_naive_block_bytes(const struct ist_naive *model) {
    return model->block_bytes;
}

uint64_t ist_naive_rounded(const struct ist_naive *model, uint64_t bytes) {
    const struct ist_naive_config *config = &model->config;
    if (config->granule_bytes == 0) {
        return bytes;
    }
    uint64_t rounded =
        (bytes + config->granule_bytes - 1) / config->granule_bytes * config->granule_bytes;
    return rounded < config->min_block_bytes ? config->min_block_bytes : rounded;
}

void ist_naive_visit(struct ist_naive *model,
                     void (*visit)(void *context, struct ist_span key, struct ist_naive_value value),
                     void *context) {
    for (size_t i = 0; i < model->bucket_count; i++) {
        for (struct entry *entry = model->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            visit(context, key_of(entry), entry->value);
        }
    }
}

#include "engine/put.h"

#include "base/assert.h"
#include "infinistore/limits.h"
#include "store/store.h"

struct item {
    uint64_t bytes;
    struct ist_entry *entry; /* while it is reserved, and in commit until it is released */
    uint32_t key_at;         /* in the body */
    uint32_t key_bytes;
    enum ist_status status;
};

struct ist_put {
    const struct ist_alloc *alloc;
    struct ist_store *store;
    uint8_t *owned_body;
    const uint8_t *body;
    size_t count, asked; /* items [0, asked) have their outcome so far */
    bool if_absent;
    struct item items[]; /* a copy of the body may follow */
};

enum ist_status ist_put_new(struct ist_store *store, struct ist_span body, uint8_t *owned_body,
                            const struct ist_span *keys, const uint64_t *lengths, size_t count,
                            bool if_absent, const struct ist_alloc *alloc, struct ist_put **put) {
    size_t items_bytes = count * sizeof(struct item);
    size_t copy_bytes = owned_body == NULL ? body.bytes : 0;
    struct ist_put *new = ist_allocate(alloc, sizeof(*new) + items_bytes + copy_bytes);
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *new = (struct ist_put){
        .alloc = alloc,
        .store = store,
        .owned_body = owned_body,
        .body = owned_body == NULL ? (const uint8_t *)(new->items + count) : owned_body,
        .count = count,
        .if_absent = if_absent,
    };
    if (copy_bytes > 0) {
        memcpy(new->items + count, body.data, copy_bytes);
    }
    for (size_t i = 0; i < count; i++) {
        new->items[i] = (struct item){
            .bytes = lengths[i],
            .key_at = (uint32_t)(keys[i].data - body.data),
            .key_bytes = (uint32_t)keys[i].bytes,
        };
    }
    *put = new;
    return IST_OK;
}

size_t ist_put_memory_bytes(size_t count, size_t body_bytes) {
    return sizeof(struct ist_put) + count * sizeof(struct item) + body_bytes;
}

void ist_put_free(struct ist_put *put) {
    if (put == NULL) {
        return;
    }
    for (size_t i = 0; i < put->asked; i++) {
        if (put->items[i].entry != NULL) {
            ist_store_abort(put->store, put->items[i].entry);
        }
    }
    ist_release(put->alloc, put->owned_body);
    ist_release(put->alloc, put);
}

size_t ist_put_count(const struct ist_put *put) {
    return put->count;
}

uint64_t ist_put_value_bytes(const struct ist_put *put, size_t item) {
    return put->items[item].bytes;
}

static void ask(struct ist_put *put, struct item *item) {
    struct ist_span key = ist_span_of(put->body + item->key_at, item->key_bytes);
    item->status = ist_store_reserve(put->store, key, item->bytes, put->if_absent, &item->entry);
}

struct ist_entry *ist_put_entry(struct ist_put *put, size_t item) {
    while (put->asked <= item) {
        ask(put, &put->items[put->asked++]);
    }
    return put->items[item].entry;
}

struct ist_entry *ist_put_reserved(const struct ist_put *put, size_t item) {
    IST_ASSERT(item < put->asked);
    return put->items[item].entry;
}

uint64_t ist_put_commit(struct ist_put *put, uint8_t *status) {
    uint64_t stored = 0;
    if (put->count > 0) {
        ist_put_entry(put, put->count - 1); /* values of 0 bytes at the end were never asked for */
    }
    for (size_t i = 0; i < put->count; i++) {
        struct item *item = &put->items[i];
        if (item->entry != NULL) {
            item->status = ist_store_commit(put->store, item->entry, put->if_absent);
            if (item->status != IST_OK) {
                item->entry = NULL;
            } else {
                stored += item->bytes;
            }
        }
        status[i] = (uint8_t)item->status;
    }
    for (size_t i = put->count; i > 0; i--) {
        struct item *item = &put->items[i - 1];
        if (item->entry != NULL) {
            ist_store_refresh(put->store, item->entry);
            ist_store_release(put->store, item->entry);
            item->entry = NULL;
        }
    }
    return stored;
}

void ist_put_check(const struct ist_put *put) {
    IST_ASSERT(put->asked <= put->count);
    for (size_t i = 0; i < put->count; i++) {
        const struct item *item = &put->items[i];
        IST_ASSERT(item->entry == NULL || (i < put->asked && item->status == IST_OK));
        IST_ASSERT(item->entry == NULL || ist_entry_value_bytes(item->entry) == item->bytes);
    }
}

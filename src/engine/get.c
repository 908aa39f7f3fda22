#include "engine/get.h"

#include <string.h>

#include "base/assert.h"
#include "store/store.h"

enum ist_status ist_get_new(struct ist_store *store, struct ist_entry *const *entries, size_t count,
                            const struct ist_alloc *alloc, struct ist_get **get) {
    IST_ASSERT(count >= 1);
    struct ist_get *new = ist_allocate(alloc, sizeof(*new) + count * sizeof(struct ist_entry *));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *new = (struct ist_get){.alloc = alloc, .store = store, .count = count};
    for (size_t i = 0; i < count; i++) {
        new->entries[i] = entries[i];
        new->payload_bytes += ist_entry_value_bytes(entries[i]);
    }
    *get = new;
    return IST_OK;
}

void ist_get_free(struct ist_get *get) {
    if (get == NULL) {
        return;
    }
    while (get->released < get->count) {
        ist_get_release(get);
    }
    ist_release(get->alloc, get);
}

void ist_get_release(struct ist_get *get) {
    IST_ASSERT(get->released < get->count);
    ist_store_release(get->store, get->entries[get->released++]);
}

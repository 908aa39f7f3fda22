#include "store/evict.h"

#include <string.h>

#include "base/assert.h"

struct ist_evict {
    const struct ist_alloc *alloc;
    const struct ist_evict_policy *policy;
    void *state;
    uint64_t tracked;
    struct ist_evict_list aside;
};

/* ---- lists ---------------------------------------------------------------------------------------- */

void ist_evict_list_init(struct ist_evict_list *list) {
    *list = (struct ist_evict_list){.link = {.prev = &list->link, .next = &list->link}};
}

static void list_insert(struct ist_evict_list *list, struct ist_evict_link *link,
                        struct ist_evict_link *before) {
    link->prev = before;
    link->next = before->next;
    before->next->prev = link;
    before->next = link;
    list->count++;
}

void ist_evict_list_push_head(struct ist_evict_list *list, struct ist_evict_link *link) {
    list_insert(list, link, &list->link);
}

void ist_evict_list_push_tail(struct ist_evict_list *list, struct ist_evict_link *link) {
    list_insert(list, link, list->link.prev);
}

void ist_evict_list_remove(struct ist_evict_list *list, struct ist_evict_link *link) {
    IST_ASSERT(list->count > 0);
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list->count--;
}

void ist_evict_list_replace(struct ist_evict_link *from, struct ist_evict_link *to) {
    IST_ASSERT(to->prev == from->prev && to->next == from->next);
    to->prev->next = to;
    to->next->prev = to;
}

struct ist_evict_link *ist_evict_list_tail(const struct ist_evict_list *list) {
    return list->count == 0 ? NULL : list->link.prev;
}

void ist_evict_list_check(const struct ist_evict_list *list) {
    uint64_t count = 0;
    for (const struct ist_evict_link *link = list->link.next; link != &list->link; link = link->next) {
        IST_ASSERT(link->next->prev == link && link->prev->next == link);
        IST_ASSERT(++count <= list->count);
    }
    IST_ASSERT(count == list->count);
}

/* ---- lru: the head is the most recent ------------------------------------------------------------- */

static enum ist_status lru_new(const struct ist_alloc *alloc, void **state) {
    struct ist_evict_list *list = ist_allocate(alloc, sizeof(*list));
    if (list == NULL) {
        return IST_NO_MEMORY;
    }
    ist_evict_list_init(list);
    *state = list;
    return IST_OK;
}

static void lru_free(const struct ist_alloc *alloc, void *state) {
    ist_release(alloc, state);
}

static void lru_insert(void *state, struct ist_evict_link *link) {
    ist_evict_list_push_head(state, link);
}

static void lru_remove(void *state, struct ist_evict_link *link) {
    ist_evict_list_remove(state, link);
}

static void lru_replace(void *state, struct ist_evict_link *from, struct ist_evict_link *to) {
    (void)state;
    ist_evict_list_replace(from, to);
}

static void lru_clear(void *state) {
    ist_evict_list_init(state);
}

static void lru_touch(void *state, struct ist_evict_link *link) {
    ist_evict_list_remove(state, link);
    ist_evict_list_push_head(state, link);
}

static struct ist_evict_link *lru_take(void *state) {
    struct ist_evict_link *link = ist_evict_list_tail(state);
    if (link != NULL) {
        ist_evict_list_remove(state, link);
    }
    return link;
}

static void lru_put_back(void *state, struct ist_evict_link *link) {
    ist_evict_list_push_tail(state, link);
}

static uint64_t lru_metadata_bytes(const void *state) {
    (void)state;
    return sizeof(struct ist_evict_list);
}

static void lru_check(const void *state) {
    ist_evict_list_check(state);
}

static const struct ist_evict_policy policies[] = {
    {
        .name = "lru",
        .new = lru_new,
        .free = lru_free,
        .insert = lru_insert,
        .touch = lru_touch,
        .remove = lru_remove,
        .replace = lru_replace,
        .clear = lru_clear,
        .take = lru_take,
        .put_back = lru_put_back,
        .metadata_bytes = lru_metadata_bytes,
        .check = lru_check,
    },
};

/* ---- pins, whatever the policy -------------------------------------------------------------------- */

static const struct ist_evict_policy *policy_named(const char *name) {
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        if (strcmp(policies[i].name, name) == 0) {
            return &policies[i];
        }
    }
    return NULL;
}

enum ist_status ist_evict_new(const char *policy, const struct ist_alloc *alloc,
                              struct ist_evict **evict) {
    const struct ist_evict_policy *found = policy_named(policy == NULL ? "lru" : policy);
    if (found == NULL) {
        return IST_CONFIG;
    }
    struct ist_evict *new = ist_allocate(alloc, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *new = (struct ist_evict){.alloc = alloc, .policy = found};
    ist_evict_list_init(&new->aside);
    enum ist_status status = found->new (alloc, &new->state);
    if (status != IST_OK) {
        ist_release(alloc, new);
        return status;
    }
    *evict = new;
    return IST_OK;
}

void ist_evict_free(struct ist_evict *evict) {
    if (evict == NULL) {
        return;
    }
    evict->policy->free(evict->alloc, evict->state);
    ist_release(evict->alloc, evict);
}

void ist_evict_insert(struct ist_evict *evict, struct ist_evict_link *link, bool pinned) {
    link->pinned = pinned;
    link->aside = false;
    evict->tracked++;
    evict->policy->insert(evict->state, link);
}

static void bring_back(struct ist_evict *evict, struct ist_evict_link *link) {
    if (link->aside) {
        ist_evict_list_remove(&evict->aside, link);
        link->aside = false;
        evict->policy->put_back(evict->state, link);
    }
}

void ist_evict_touch(struct ist_evict *evict, struct ist_evict_link *link) {
    bring_back(evict, link);
    evict->policy->touch(evict->state, link);
}

void ist_evict_remove(struct ist_evict *evict, struct ist_evict_link *link) {
    bring_back(evict, link);
    evict->policy->remove(evict->state, link);
    evict->tracked--;
}

void ist_evict_replace(struct ist_evict *evict, struct ist_evict_link *from,
                       struct ist_evict_link *to) {
    IST_ASSERT(!from->pinned && !from->aside);
    evict->policy->replace(evict->state, from, to);
}

void ist_evict_clear(struct ist_evict *evict) {
    evict->policy->clear(evict->state);
    ist_evict_list_init(&evict->aside);
    evict->tracked = 0;
}

void ist_evict_pin(struct ist_evict *evict, struct ist_evict_link *link) {
    (void)evict;
    IST_ASSERT(!link->pinned);
    link->pinned = true;
}

void ist_evict_unpin(struct ist_evict *evict, struct ist_evict_link *link) {
    IST_ASSERT(link->pinned);
    link->pinned = false;
    bring_back(evict, link);
}

struct ist_evict_link *ist_evict_take(struct ist_evict *evict) {
    struct ist_evict_link *link = evict->policy->take(evict->state);
    while (link != NULL && link->pinned) {
        link->aside = true;
        ist_evict_list_push_head(&evict->aside, link);
        link = evict->policy->take(evict->state);
    }
    if (link != NULL) {
        evict->tracked--;
    }
    return link;
}

uint64_t ist_evict_tracked(const struct ist_evict *evict) {
    return evict->tracked;
}

uint64_t ist_evict_metadata_bytes(const struct ist_evict *evict) {
    return sizeof(*evict) + evict->policy->metadata_bytes(evict->state);
}

void ist_evict_check(const struct ist_evict *evict) {
    evict->policy->check(evict->state);
    ist_evict_list_check(&evict->aside);
    for (const struct ist_evict_link *link = evict->aside.link.next; link != &evict->aside.link;
         link = link->next) {
        IST_ASSERT(link->aside && link->pinned);
    }
    IST_ASSERT(evict->aside.count <= evict->tracked);
}

#include "store/index.h"

#include "base/assert.h"

/* Buckets come in segments, so that none ever moves, and segments come in runs, each as long as all before it, up to
 * 2 MiB: the buckets of a large index then lie on as few pages as can be, and none pays long for a new run. */
#define SEGMENT_SHIFT 12u
#define SEGMENT_BUCKETS (1u << SEGMENT_SHIFT)
#define RUN_SEGMENTS_MAX 64u
#define DIRECTORY_MIN 16u
#define BUCKETS_PER_NODE 2u  /* a chain holds half a node on average */
#define SPLITS_PER_INSERT 8u /* to catch up after memory was short */

struct ist_index {
    const struct ist_alloc *alloc;
    struct ist_hash_key hash_key;
    uint64_t count;
    uint64_t buckets; /* in use: `half` plus those split so far */
    uint64_t half;    /* power of two, at most buckets, above buckets / 2 */
    size_t segments, directory_capacity;
    struct ist_index_node ***directory;
};

static struct ist_index_node **bucket_at(const struct ist_index *index, uint64_t bucket) {
    return &index->directory[bucket >> SEGMENT_SHIFT][bucket & (SEGMENT_BUCKETS - 1)];
}

static struct ist_index_node **bucket_of(const struct ist_index *index, uint64_t hash) {
    uint64_t bucket = hash & (2 * index->half - 1);
    return bucket_at(index, bucket < index->buckets ? bucket : bucket - index->half);
}

/* How many segments are one run with this one when it is a run's first; 0 when it is not. */
static size_t run_at(size_t segment) {
    if (segment >= RUN_SEGMENTS_MAX) {
        return segment % RUN_SEGMENTS_MAX == 0 ? RUN_SEGMENTS_MAX : 0;
    }
    return segment == 0 ? 1 : (segment & (segment - 1)) == 0 ? segment : 0;
}

static enum ist_status add_run(struct ist_index *index) {
    size_t run = run_at(index->segments);
    if (index->segments + run > index->directory_capacity) {
        /* Twice is enough: a run is at most as long as all before it. */
        size_t capacity =
            index->directory_capacity == 0 ? DIRECTORY_MIN : 2 * index->directory_capacity;
        void *directory =
            ist_resize_array(index->alloc, index->directory, capacity, sizeof(index->directory[0]));
        if (directory == NULL) {
            return IST_NO_MEMORY;
        }
        index->directory = directory;
        index->directory_capacity = capacity;
    }
    struct ist_index_node **buckets =
        ist_allocate_zeroed(index->alloc, run * SEGMENT_BUCKETS, sizeof(struct ist_index_node *));
    if (buckets == NULL) {
        return IST_NO_MEMORY;
    }
    for (size_t i = 0; i < run; i++) {
        index->directory[index->segments++] = buckets + i * SEGMENT_BUCKETS;
    }
    return IST_OK;
}

/* All but the first `kept` segments, which are whole runs. */
static void release_runs(struct ist_index *index, size_t kept) {
    for (size_t i = kept; i < index->segments; i++) {
        if (run_at(i) != 0) {
            ist_release(index->alloc, index->directory[i]);
        }
    }
    index->segments = kept;
}

enum ist_status ist_index_new(struct ist_hash_key hash_key, const struct ist_alloc *alloc,
                              struct ist_index **index) {
    struct ist_index *new = ist_allocate(alloc, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *new = (struct ist_index){.alloc = alloc, .hash_key = hash_key, .buckets = 1, .half = 1};
    if (add_run(new) != IST_OK) {
        ist_index_free(new);
        return IST_NO_MEMORY;
    }
    *index = new;
    return IST_OK;
}

void ist_index_free(struct ist_index *index) {
    if (index == NULL) {
        return;
    }
    release_runs(index, 0);
    ist_release(index->alloc, index->directory);
    ist_release(index->alloc, index);
}

void ist_index_node_init(const struct ist_index *index, struct ist_index_node *node,
                         struct ist_span key) {
    node->hash = ist_hash(index->hash_key, key);
    node->key_bytes = (uint32_t)key.bytes;
    memcpy(node->key, key.data, key.bytes);
}

void ist_index_prepare(struct ist_index *index, uint64_t more) {
    uint64_t wanted = (index->count + more) * BUCKETS_PER_NODE;
    while ((uint64_t)index->segments << SEGMENT_SHIFT < wanted && add_run(index) == IST_OK) {
    }
}

/* The nodes of one bucket whose hash has the next bit set move to a new bucket at the end. */
static void split_one(struct ist_index *index) {
    struct ist_index_node **from = bucket_at(index, index->buckets - index->half);
    struct ist_index_node **to = bucket_at(index, index->buckets);
    while (*from != NULL) {
        struct ist_index_node *node = *from;
        if ((node->hash & index->half) != 0) {
            *from = node->next;
            node->next = NULL;
            *to = node;
            to = &node->next;
        } else {
            from = &node->next;
        }
    }
    index->buckets++;
    if (index->buckets == 2 * index->half) {
        index->half *= 2;
    }
}

void ist_index_insert(struct ist_index *index, struct ist_index_node *node) {
    index->count++;
    uint64_t wanted = index->count * BUCKETS_PER_NODE;
    uint64_t limit = (uint64_t)index->segments << SEGMENT_SHIFT;
    for (unsigned i = 0; i < SPLITS_PER_INSERT && index->buckets < wanted && index->buckets < limit;
         i++) {
        split_one(index);
    }
    struct ist_index_node **bucket = bucket_of(index, node->hash);
    node->next = *bucket;
    *bucket = node;
}

static struct ist_index_node **link_to(const struct ist_index *index,
                                       const struct ist_index_node *node) {
    struct ist_index_node **link = bucket_of(index, node->hash);
    while (*link != node) {
        IST_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    return link;
}

void ist_index_remove(struct ist_index *index, struct ist_index_node *node) {
    *link_to(index, node) = node->next;
    index->count--;
}

void ist_index_replace(struct ist_index *index, struct ist_index_node *from,
                       struct ist_index_node *to) {
    *link_to(index, from) = to;
}

void ist_index_clear(struct ist_index *index) {
    release_runs(index, 1);
    memset(index->directory[0], 0, SEGMENT_BUCKETS * sizeof(index->directory[0][0]));
    index->buckets = index->half = 1;
    index->count = 0;
}

static struct ist_index_node *find_in_chain(struct ist_index_node *node, uint64_t hash,
                                            struct ist_span key) {
    while (node != NULL && (node->hash != hash || node->key_bytes != key.bytes ||
                            memcmp(node->key, key.data, key.bytes) != 0)) {
        node = node->next;
    }
    return node;
}

struct ist_index_node *ist_index_find(const struct ist_index *index, struct ist_span key) {
    uint64_t hash = ist_hash(index->hash_key, key);
    return find_in_chain(*bucket_of(index, hash), hash, key);
}

void ist_index_find_batch(const struct ist_index *index, const struct ist_span *keys, size_t count,
                          struct ist_index_node **nodes) {
    IST_ASSERT(count <= IST_INDEX_BATCH_MAX);
    uint64_t hashes[IST_INDEX_BATCH_MAX];
    struct ist_index_node **buckets[IST_INDEX_BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        hashes[i] = ist_hash(index->hash_key, keys[i]);
        buckets[i] = bucket_of(index, hashes[i]);
        __builtin_prefetch(buckets[i]);
    }
    for (size_t i = 0; i < count; i++) {
        nodes[i] = *buckets[i];
        __builtin_prefetch(nodes[i]);
        __builtin_prefetch(
            (const void *)((uintptr_t)nodes[i] + 64)); /* the key; of NULL it does no harm */
    }
    for (size_t i = 0; i < count; i++) {
        nodes[i] = find_in_chain(nodes[i], hashes[i], keys[i]);
    }
}

struct ist_index_node *ist_index_any(const struct ist_index *index, uint64_t *cursor) {
    for (; *cursor < index->buckets; ++*cursor) {
        struct ist_index_node *node = *bucket_at(index, *cursor);
        if (node != NULL) {
            return node;
        }
    }
    return NULL;
}

uint64_t ist_index_count(const struct ist_index *index) {
    return index->count;
}

uint64_t ist_index_metadata_bytes(const struct ist_index *index) {
    return sizeof(*index) + index->directory_capacity * sizeof(index->directory[0]) +
           index->segments * SEGMENT_BUCKETS * sizeof(index->directory[0][0]);
}

void ist_index_check(const struct ist_index *index) {
    IST_ASSERT(index->half <= index->buckets && index->buckets < 2 * index->half);
    IST_ASSERT(index->buckets <= (uint64_t)index->segments << SEGMENT_SHIFT);
    IST_ASSERT(index->segments <= index->directory_capacity);
    uint64_t count = 0;
    for (uint64_t bucket = 0; bucket < index->buckets; bucket++) {
        for (struct ist_index_node *node = *bucket_at(index, bucket); node != NULL; node = node->next) {
            IST_ASSERT(++count <= index->count);
            struct ist_span key = ist_span_of(node->key, node->key_bytes);
            IST_ASSERT(node->hash == ist_hash(index->hash_key, key));
            IST_ASSERT(bucket_of(index, node->hash) == bucket_at(index, bucket));
            IST_ASSERT(find_in_chain(*bucket_at(index, bucket), node->hash, key) == node);
        }
    }
    IST_ASSERT(count == index->count);
}

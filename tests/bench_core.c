/* How fast the core is, without any I/O: `make bench-core`. Machines differ and are shared: each figure is the best
 * and the median of several rounds, and what has a naive twin is shown as a multiple of it, from the same run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/hash.h"
#include "daemon/heap.h"
#include "store/pool.h"
#include "store/store.h"

#define ROUNDS 9
#define KEYS 1000000u
#define KEY_BYTES 64u
#define BATCH 8192u
#define BATCHES 64u /* of one round: all of them together are more than the caches hold */
#define BLOCK_BYTES 65536u

static const struct ist_hash_key hash_key = {0x0123456789abcdefull, 0xfedcba9876543210ull};

/* Time that we had a core: others on the machine take theirs. */
static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static uint64_t random_next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Keys look like hashes of prefixes: nothing in them tells their order. */
static void key_write(uint64_t number, uint8_t key[KEY_BYTES]) {
    for (size_t i = 0; i < KEY_BYTES; i += 8) {
        uint64_t word = random_next(&number);
        memcpy(key + i, &word, 8);
    }
}

/* ---- rounds ------------------------------------------------------------------------------------------- */

struct rounds {
    double ns[ROUNDS]; /* of one operation */
    size_t count;
};

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void rounds_add(struct rounds *rounds, uint64_t begin_ns, double operations) {
    rounds->ns[rounds->count++] = (double)(now_ns() - begin_ns) / operations;
}

/* Returns the best one. */
static double rounds_tell(struct rounds *rounds, const char *what) {
    qsort(rounds->ns, rounds->count, sizeof(rounds->ns[0]), by_value);
    double best = rounds->ns[0], median = rounds->ns[rounds->count / 2];
    printf("%-58s %9.1f ns  %8.2f M/s   median %8.2f M/s\n", what, best, 1e3 / best, 1e3 / median);
    rounds->count = 0;
    return best;
}

/* ---- a store -------------------------------------------------------------------------------------------- */

static struct ist_store *store_new(uint64_t blocks) {
    const struct ist_store_config config = {
        .pool_bytes_max = blocks * BLOCK_BYTES,
        .min_block_bytes = BLOCK_BYTES,
        .granule_bytes = 4096,
        .hash_key = hash_key,
        .alloc = ist_heap(), /* as in the daemon */
    };
    struct ist_store *store;
    enum ist_status status = ist_store_new(&config, &store);
    IST_ASSERT(status == IST_OK);
    status = ist_store_grow(store, blocks * BLOCK_BYTES);
    IST_ASSERT(status == IST_OK);
    return store;
}

static void put(struct ist_store *store, uint64_t number) {
    uint8_t key[KEY_BYTES];
    struct ist_entry *entry;
    key_write(number, key);
    enum ist_status status =
        ist_store_reserve(store, ist_span_of(key, KEY_BYTES), BLOCK_BYTES, false, &entry);
    IST_ASSERT(status == IST_OK);
    status = ist_store_commit(store, entry, false);
    IST_ASSERT(status == IST_OK);
    ist_store_release(store, entry);
}

static void put_all(struct ist_store *store) {
    for (uint64_t i = 0; i < KEYS; i++) {
        put(store, i);
    }
}

/* ---- the index ------------------------------------------------------------------------------------------ */

/* One request's keys, as they lie in a body that has just been received. */
struct request {
    uint8_t body[BATCH][KEY_BYTES];
    struct ist_span keys[BATCH];
};

/* In order: the keys of one prefix, put one after another. At random: each key anywhere. */
static void request_fill(struct request *request, bool in_order, uint64_t *random) {
    uint64_t first = random_next(random) % (KEYS - BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        key_write(in_order ? first + i : random_next(random) % KEYS, request->body[i]);
        request->keys[i] = ist_span_of(request->body[i], KEY_BYTES);
    }
}

/* What anybody would write: chains of nodes, one key after another, the same hash. */
struct naive_node {
    struct naive_node *next;
    uint64_t hash;
    uint8_t key[KEY_BYTES];
};
#define NAIVE_BUCKETS (1u << 21)

static struct naive_node **naive_new(void) {
    struct naive_node **buckets = calloc(NAIVE_BUCKETS, sizeof(struct naive_node *));
    IST_ASSERT(buckets != NULL);
    for (uint64_t i = 0; i < KEYS; i++) {
        struct naive_node *node = malloc(sizeof(*node));
        IST_ASSERT(node != NULL);
        key_write(i, node->key);
        node->hash = ist_hash(hash_key, ist_span_of(node->key, KEY_BYTES));
        struct naive_node **bucket = &buckets[node->hash % NAIVE_BUCKETS];
        node->next = *bucket;
        *bucket = node;
    }
    return buckets;
}

static void naive_free(struct naive_node **buckets) {
    for (size_t i = 0; i < NAIVE_BUCKETS; i++) {
        for (struct naive_node *node = buckets[i], *next; node != NULL; node = next) {
            next = node->next;
            free(node);
        }
    }
    free(buckets);
}

static size_t naive_match(struct naive_node **buckets, const struct ist_span *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t hash = ist_hash(hash_key, keys[i]);
        const struct naive_node *node = buckets[hash % NAIVE_BUCKETS];
        while (node != NULL &&
               (node->hash != hash || memcmp(node->key, keys[i].data, KEY_BYTES) != 0)) {
            node = node->next;
        }
        if (node == NULL) {
            return i;
        }
    }
    return count;
}

static uint64_t hash_all(const struct request *request) {
    uint64_t sum = 0;
    for (size_t i = 0; i < BATCH; i++) {
        sum ^= ist_hash(hash_key, request->keys[i]);
    }
    return sum;
}

static void bench_match(struct ist_store *store, struct naive_node **naive, bool in_order) {
    static struct request requests[BATCHES];
    struct rounds ours = {0}, naives = {0}, hashes = {0};
    uint64_t random = 1;
    volatile uint64_t sink = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < BATCHES; i++) {
            request_fill(&requests[i], in_order, &random);
        }
        uint64_t begin = now_ns();
        for (size_t i = 0; i < BATCHES; i++) {
            sink += hash_all(&requests[i]);
        }
        rounds_add(&hashes, begin, BATCH * BATCHES);
        begin = now_ns();
        for (size_t i = 0; i < BATCHES; i++) {
            size_t found = ist_store_match_prefix(store, requests[i].keys, BATCH);
            IST_ASSERT(found == BATCH);
        }
        rounds_add(&ours, begin, BATCH * BATCHES);
        begin = now_ns();
        for (size_t i = 0; i < BATCHES; i++) {
            size_t found = naive_match(naive, requests[i].keys, BATCH);
            IST_ASSERT(found == BATCH);
        }
        rounds_add(&naives, begin, BATCH * BATCHES);
    }
    const char *order = in_order ? "in the order of their puts" : "in any order";
    char what[80];
    snprintf(what, sizeof(what), "match_prefix, %s", order);
    double best = rounds_tell(&ours, what);
    snprintf(what, sizeof(what), "  one by one in a naive table");
    double naive_best = rounds_tell(&naives, what);
    double hash_best = rounds_tell(&hashes, "  the hash alone");
    printf("  = %.2f times the naive table, %.0f%% of the time is the hash, %.2f ms for %u keys\n",
           naive_best / best, 100 * hash_best / best, best * BATCH / 1e6, BATCH);
}

/* ---- the pool ------------------------------------------------------------------------------------------- */

#define LIVE 20000u

/* A pool that is nearly full of two sizes; one at random goes, another of the two comes. */
static void bench_pool(void) {
    static struct ist_block live[LIVE];
    static const uint64_t sizes[] = {643 << 10, 3174 << 10};
    static int owner;
    const struct ist_pool_config config = {
        .min_block_bytes = BLOCK_BYTES, .granule_bytes = 4096, .alloc = ist_alloc_system()};
    struct ist_pool *pool;
    struct rounds rounds = {0};
    uint64_t random = 1;
    enum ist_status status = ist_pool_new(&config, &pool);
    IST_ASSERT(status == IST_OK);
    status = ist_pool_grow(pool, (uint64_t)LIVE * (2 << 20));
    IST_ASSERT(status == IST_OK);
    size_t count = 0;
    while (count < LIVE && ist_pool_allocate(pool, sizes[count % 2], &owner, &live[count]) == IST_OK) {
        count++;
    }
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns(), pairs = 0;
        for (unsigned i = 0; i < 200000; i++) {
            size_t victim = random_next(&random) % count;
            ist_pool_release(pool, &live[victim]);
            live[victim] = live[--count];
            while (count < LIVE && ist_pool_allocate(pool, sizes[random_next(&random) % 2], &owner,
                                                     &live[count]) == IST_OK) {
                count++;
                pairs++;
            }
        }
        rounds_add(&rounds, begin, (double)pairs);
    }
    rounds_tell(&rounds, "pool: release one, allocate another, 40 GiB nearly full");
    ist_pool_free(pool);
}

/* ---- what goes ------------------------------------------------------------------------------------------ */

static void bench_evict(struct ist_store *store) {
    struct rounds rounds = {0};
    uint64_t number = KEYS;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns();
        for (unsigned i = 0; i < 200000; i++) {
            put(store, number++);
        }
        rounds_add(&rounds, begin, 200000);
    }
    rounds_tell(&rounds, "put of a new key into a full store: one evicted for each");
}

static void bench_purge(struct ist_store *store) {
    uint64_t begin = now_ns();
    uint64_t gone = ist_store_purge(store);
    printf("%-58s %9.1f ms for %" PRIu64 " keys\n", "purge", (double)(now_ns() - begin) / 1e6, gone);
}

int main(void) {
    struct ist_store *store = store_new(KEYS);
    struct naive_node **naive = naive_new();
    printf("%u keys of %u bytes, matched %u at a time\n", KEYS, KEY_BYTES, BATCH);
    put_all(store);
    bench_match(store, naive, false);
    bench_match(store, naive, true);
    naive_free(naive);
    bench_pool();
    bench_evict(store);
    bench_purge(store);
    ist_store_free(store);
    return 0;
}

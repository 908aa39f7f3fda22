/* The pool beside a map of its granules, one byte each. Blocks never overlap, room is found when there is some and
 * only then, and what the pool says about itself is what the map shows. */
#include "store/pool.h"
#include "fuzz/fuzz.h"
#include "tests/support.h"

#define GRANULE 512u
#define UNIT 4u /* granules of the shortest block */
#define GRANULES_MAX 512u
#define BLOCKS_MAX (GRANULES_MAX / UNIT)

enum granule { FREE, HELD, UNHELD };

struct pair {
    struct failing_alloc failing;
    struct ist_pool *pool;
    uint8_t map[GRANULES_MAX];
    size_t granules;
    struct ist_block blocks[BLOCKS_MAX];
    bool held[BLOCKS_MAX];
    size_t count;
};

/* The longest run of granules that are free, or could be. */
static size_t longest(const struct pair *pair, bool possible) {
    size_t best = 0, run = 0;
    for (size_t i = 0; i < pair->granules; i++) {
        bool fits = pair->map[i] == FREE || (possible && pair->map[i] == UNHELD);
        run = fits ? run + 1 : 0;
        best = run > best ? run : best;
    }
    return best;
}

static void paint(struct pair *pair, const struct ist_block *block, enum granule colour) {
    IST_ASSERT(block->offset % GRANULE == 0 && block->bytes % GRANULE == 0);
    IST_ASSERT(block->offset + block->bytes <= pair->granules * GRANULE);
    memset(pair->map + block->offset / GRANULE, (int)colour, (size_t)(block->bytes / GRANULE));
}

static void allocate(struct pair *pair, uint64_t bytes) {
    struct ist_block block;
    if (pair->count == BLOCKS_MAX) {
        return;
    }
    uint64_t rounded = ist_pool_rounded(pair->pool, bytes);
    IST_ASSERT(rounded >= bytes && rounded >= UNIT * GRANULE && rounded % GRANULE == 0);
    IST_ASSERT(rounded == UNIT * GRANULE || rounded - bytes < GRANULE);
    enum ist_status status = ist_pool_allocate(pair->pool, bytes, &pair->blocks[pair->count], &block);
    IST_ASSERT(status == (longest(pair, false) * GRANULE >= rounded ? IST_OK : IST_NO_SPACE));
    if (status == IST_OK) {
        IST_ASSERT(block.bytes == rounded);
        IST_ASSERT(block.offset + block.bytes <= pair->granules * GRANULE);
        for (uint64_t at = block.offset; at < block.offset + block.bytes; at += GRANULE) {
            IST_ASSERT(pair->map[at / GRANULE] == FREE);
        }
        paint(pair, &block, HELD);
        pair->held[pair->count] = true;
        pair->blocks[pair->count++] = block;
    }
}

static void release(struct pair *pair, size_t at) {
    ist_pool_release(pair->pool, &pair->blocks[at]);
    paint(pair, &pair->blocks[at], FREE);
    pair->count--;
    pair->blocks[at] = pair->blocks[pair->count];
    pair->held[at] = pair->held[pair->count];
}

static void turn(struct pair *pair, size_t at) {
    (pair->held[at] ? ist_pool_unhold : ist_pool_hold)(pair->pool, &pair->blocks[at]);
    pair->held[at] = !pair->held[at];
    paint(pair, &pair->blocks[at], pair->held[at] ? HELD : UNHELD);
}

static void release_unheld(struct pair *pair) {
    ist_pool_release_unheld(pair->pool);
    for (size_t i = 0; i < pair->count;) {
        if (pair->held[i]) {
            i++;
            continue;
        }
        paint(pair, &pair->blocks[i], FREE);
        pair->count--;
        pair->blocks[i] = pair->blocks[pair->count];
        pair->held[i] = pair->held[pair->count];
    }
}

/* A failed growth changes nothing. */
static void grow(struct pair *pair, size_t granules, bool crooked, uint8_t fail) {
    if (granules > GRANULES_MAX - pair->granules) {
        return;
    }
    pair->failing.fail_at = fail == 0 ? 0 : pair->failing.calls + fail;
    enum ist_status status = ist_pool_grow(pair->pool, granules * GRANULE + crooked);
    pair->failing.fail_at = 0;
    IST_ASSERT(status == IST_OK || status == (crooked ? IST_INVALID : IST_NO_MEMORY));
    IST_ASSERT(status != IST_NO_MEMORY || fail > 0);
    pair->granules += status == IST_OK ? granules : 0;
}

/* The first block that begins in a stretch. */
static void next(const struct pair *pair, uint64_t offset, uint64_t bytes) {
    const struct ist_block *first = NULL;
    struct ist_block found;
    for (size_t i = 0; i < pair->count; i++) {
        const struct ist_block *block = &pair->blocks[i];
        if (block->offset >= offset && block->offset - offset < bytes &&
            (first == NULL || block->offset < first->offset)) {
            first = block;
        }
    }
    void *owner = ist_pool_next(pair->pool, offset, bytes, &found);
    IST_ASSERT((owner != NULL) == (first != NULL));
    IST_ASSERT(first == NULL || (found.offset == first->offset && found.bytes == first->bytes));
}

/* Room is made in a window: no held block begins in it, and when the others go there is room. */
static void window(struct pair *pair, uint64_t offset, uint64_t choice) {
    size_t possible = longest(pair, true), now = longest(pair, false);
    size_t least = now + 1 > UNIT ? now + 1 : UNIT;
    if (possible < least) {
        return;
    }
    size_t granules = least + (size_t)(choice % (possible - least + 1));
    struct ist_block window = ist_pool_window(pair->pool, offset, granules * GRANULE);
    IST_ASSERT(window.bytes >= granules * GRANULE);
    for (size_t i = 0; i < pair->count;) {
        const struct ist_block *block = &pair->blocks[i];
        if (block->offset < window.offset || block->offset - window.offset >= window.bytes) {
            i++;
            continue;
        }
        IST_ASSERT(!pair->held[i]);
        release(pair, i);
    }
    IST_ASSERT(longest(pair, false) >= granules);
}

static void compare(const struct pair *pair) {
    size_t free = 0;
    for (size_t i = 0; i < pair->granules; i++) {
        free += pair->map[i] == FREE;
    }
    ist_pool_check(pair->pool);
    IST_ASSERT(ist_pool_bytes(pair->pool) == pair->granules * GRANULE);
    IST_ASSERT(ist_pool_free_bytes(pair->pool) == free * GRANULE);
    IST_ASSERT(ist_pool_largest_free(pair->pool) == longest(pair, false) * GRANULE);
    IST_ASSERT(ist_pool_largest_possible(pair->pool) == longest(pair, true) * GRANULE);
}

static void step(struct pair *pair, struct fuzz_input *input) {
    uint8_t what = fuzz_u8(input), which = fuzz_u8(input);
    switch (what % 8) {
    case 0:
    case 1:
    case 2: allocate(pair, 1 + fuzz_u16(input) % (what < 128 ? 6 * UNIT * GRANULE : 65536u)); break;
    case 3:
    case 4:
        if (pair->count > 0) {
            (what % 8 == 3 ? release : turn)(pair, which % pair->count);
        }
        break;
    case 5: grow(pair, which, what == 253, what < 128 ? 0 : fuzz_u8(input) % 12); break;
    case 6:
        if (pair->granules > 0) {
            next(pair, fuzz_below(input, (uint32_t)pair->granules) * GRANULE, 1 + which * GRANULE);
        }
        break;
    default:
        if (what == 255) {
            release_unheld(pair);
        } else if (pair->granules > 0) {
            window(pair, fuzz_below(input, (uint32_t)pair->granules) * GRANULE, which);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct pair pair;
    struct fuzz_input input = fuzz_input_of(data, bytes);
    memset(&pair, 0, sizeof(pair));
    failing_alloc_init(&pair.failing, 0);
    const struct ist_pool_config config = {
        .min_block_bytes = UNIT * GRANULE, .granule_bytes = GRANULE, .alloc = &pair.failing.alloc};
    IST_ASSERT(ist_pool_new(&config, &pair.pool) == IST_OK);
    while (input.bytes > 0) {
        step(&pair, &input);
        compare(&pair);
    }
    while (pair.count > 0) {
        release(&pair, 0);
    }
    compare(&pair);
    ist_pool_free(pair.pool);
    IST_ASSERT(pair.failing.live == 0);
    return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------------------- */

void fuzz_seeds(fuzz_seed_fn seed) {
    static const uint8_t small[] = {5, 3, 0, 0, 1, 0, 5, 1, 0, 0, 1, 0, 3, 0, 5, 200, 0, 0, 255, 255};
    uint8_t many[4 + 24 * 4 + 12 * 2 + 8 * 4], *at = many;
    *at++ = 5;
    *at++ = 130;
    for (uint8_t i = 0; i < 24; i++) {
        const uint8_t one[4] = {0, i, (uint8_t)(i * 70), i % 3};
        memcpy(at, one, sizeof(one));
        at += sizeof(one);
    }
    for (uint8_t i = 0; i < 12; i++) {
        *at++ = i % 3 == 0 ? 3 : 4;
        *at++ = (uint8_t)(i * 5);
    }
    seed("small", small, sizeof(small));
    seed("many", many, (size_t)(at - many));
    for (uint8_t i = 0; i < 8; i++) {
        const uint8_t one[4] = {i % 2 == 0 ? 7 : 6, (uint8_t)(i * 30), (uint8_t)(i * 9), 0};
        memcpy(at, one, i % 2 == 0 ? 4 : 3);
        at += i % 2 == 0 ? 4 : 3;
    }
    *at++ = 255;
    seed("windows", many, (size_t)(at - many));
    static const uint8_t failing[] = {5, 20,  0, 0, 0,   2,   133, 200, 3, 133, 250,
                                      1, 253, 9, 0, 133, 100, 9,   0,   0, 9,   9};
    seed("failing", failing, sizeof(failing));
}

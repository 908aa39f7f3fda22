#include "store/slab.h"

#include <sanitizer/asan_interface.h>
#include <stdbool.h>

#include "base/assert.h"

/* Slots are multiples of this: so many are what a class is. */
#define STEP_BYTES 16u
#define SLOT_BYTES_MAX (IST_SLAB_OBJECT_BYTES_MAX + sizeof(struct slot))
#define CLASSES (SLOT_BYTES_MAX / STEP_BYTES + 1)
/* A chunk is a power of two, less this: what an allocator may put in front, for a chunk to be one huge page. */
#define FRONT_BYTES 64u
#define CHUNK_SHIFT_MIN 12u
#define CHUNK_SHIFT_MAX 21u
/* A new chunk is at most this share of what its class has: that much can lie idle for want of objects. */
#define GROWTH_DIVISOR 4u
/* Chunks that are looked at to find the emptiest, and slots to find an object in it. */
#define CHUNKS_SEEN 32u
#define SLOTS_SEEN 64u
#define CLASSES_SEEN 8u
/* Below this nobody is asked to move. */
#define IDLE_BYTES 32768u

/* In front of each object. */
struct slot {
    uint32_t at;   /* bytes from the chunk's start to here */
    uint32_t next; /* of a free one: where the next free one is, 0 at the end; else LIVE */
};
#define LIVE UINT32_MAX

struct ring {
    struct ring *prev, *next;
};

struct chunk {
    struct ring ring; /* first: of the full ones of its class, or of those with room */
    uint32_t class;
    uint32_t bytes; /* with this */
    uint32_t slots, live;
    uint32_t touched; /* the slots from here on have never been used, and are not in `free` */
    uint32_t free;    /* where the first free slot is; 0: none */
    uint32_t seen;    /* while it is leaving: the slots before have been looked at */
    uint32_t unused;
};
/* With 16 bytes of an allocator in front of a chunk its slots begin where a cache line does. */
static_assert(sizeof(struct chunk) == 48, "and their objects are aligned to 8");
static_assert(SLOT_BYTES_MAX % STEP_BYTES == 0 &&
                  2 * SLOT_BYTES_MAX + sizeof(struct chunk) + FRONT_BYTES <= 1u << CHUNK_SHIFT_MIN,
              "two of the largest fit the smallest chunk");

struct class {
    struct ring room, full;
    struct chunk *empty; /* one of `room`, kept for the next object; NULL: none */
    uint64_t bytes;      /* of its chunks */
    uint64_t live;       /* objects */
};

struct ist_slab {
    const struct ist_alloc *alloc;
    uint64_t bytes, live, live_bytes; /* live_bytes: of their slots */
    struct chunk *leaving;            /* who is in it should move; NULL: none */
    uint32_t class_next;              /* class that is looked at next */
    struct class classes[CLASSES];
};

/* ---- rings ---------------------------------------------------------------------------------------- */

static void ring_init(struct ring *ring) {
    ring->prev = ring->next = ring;
}

static void ring_remove(struct ring *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

static void ring_insert(struct ring *link, struct ring *before) {
    link->prev = before;
    link->next = before->next;
    before->next->prev = link;
    before->next = link;
}

static void move_first(struct chunk *chunk, struct ring *ring) {
    ring_remove(&chunk->ring);
    ring_insert(&chunk->ring, ring);
}

static void move_last(struct chunk *chunk, struct ring *ring) {
    ring_remove(&chunk->ring);
    ring_insert(&chunk->ring, ring->prev);
}

static struct chunk *first_of(const struct ring *ring) {
    return ring->next == ring ? NULL : (struct chunk *)ring->next;
}

/* ---- chunks ---------------------------------------------------------------------------------------- */

static uint32_t slot_bytes(uint32_t class) {
    return class * STEP_BYTES;
}

static struct slot *slot_at(const struct chunk *chunk, uint32_t at) {
    return (struct slot *)((char *)chunk + at);
}

static uint32_t at_of(const struct chunk *chunk, uint32_t slot) {
    return (uint32_t)sizeof(*chunk) + slot * slot_bytes(chunk->class);
}

static struct slot *slot_of(const void *object) {
    return (struct slot *)((const char *)object - sizeof(struct slot));
}

static struct chunk *chunk_of(const struct slot *slot) {
    return (struct chunk *)((const char *)slot - slot->at);
}

static void *object_of(struct slot *slot) {
    return slot + 1;
}

/* More of a size, larger chunks. */
static uint32_t bytes_of_next(const struct class *class) {
    unsigned shift = CHUNK_SHIFT_MIN;
    while (shift < CHUNK_SHIFT_MAX && class->bytes / GROWTH_DIVISOR >> (shift + 1) != 0) {
        shift++;
    }
    return (1u << shift) - FRONT_BYTES;
}

static struct chunk *chunk_new(struct ist_slab *slab, uint32_t number) {
    struct class *class = &slab->classes[number];
    uint32_t bytes = bytes_of_next(class);
    struct chunk *chunk = ist_allocate(slab->alloc, bytes);
    if (chunk == NULL) {
        return NULL;
    }
    uint32_t slots = (bytes - (uint32_t)sizeof(*chunk)) / slot_bytes(number);
    *chunk = (struct chunk){.class = number, .bytes = bytes, .slots = slots};
    ring_insert(&chunk->ring, &class->room);
    class->bytes += bytes;
    slab->bytes += bytes;
    ASAN_POISON_MEMORY_REGION(chunk + 1, bytes - sizeof(*chunk));
    return chunk;
}

static void chunk_free(struct ist_slab *slab, struct chunk *chunk) {
    struct class *class = &slab->classes[chunk->class];
    ring_remove(&chunk->ring);
    class->bytes -= chunk->bytes;
    slab->bytes -= chunk->bytes;
    if (class->empty == chunk) {
        class->empty = NULL;
    }
    if (slab->leaving == chunk) {
        slab->leaving = NULL;
    }
    ASAN_UNPOISON_MEMORY_REGION(chunk, chunk->bytes);
    ist_release(slab->alloc, chunk);
}

/* The one that is leaving is taken only where there is no memory for another. NULL: not even that. */
static struct chunk *chunk_with_room(struct ist_slab *slab, uint32_t number) {
    struct class *class = &slab->classes[number];
    struct chunk *chunk = first_of(&class->room);
    if (chunk != NULL && chunk == slab->leaving) {
        move_last(chunk, &class->room);
        chunk = first_of(&class->room);
    }
    if (chunk == NULL || chunk == slab->leaving) {
        struct chunk *new = chunk_new(slab, number);
        chunk = new == NULL ? chunk : new;
    }
    return chunk;
}

/* The last object went: the chunk follows, unless the next object may well want it. */
static void chunk_emptied(struct ist_slab *slab, struct chunk *chunk) {
    struct class *class = &slab->classes[chunk->class];
    if (class->live != 0 && class->empty == NULL && chunk != slab->leaving) {
        class->empty = chunk;
        move_last(chunk, &class->room);
        return;
    }
    chunk_free(slab, chunk);
    if (class->live == 0 && class->empty != NULL) {
        chunk_free(slab, class->empty);
    }
}

/* ---- objects --------------------------------------------------------------------------------------- */

void *ist_slab_take(struct ist_slab *slab, size_t bytes) {
    IST_ASSERT(bytes > 0 && bytes <= IST_SLAB_OBJECT_BYTES_MAX);
    uint32_t number = ((uint32_t)(bytes + sizeof(struct slot)) + STEP_BYTES - 1) / STEP_BYTES;
    struct class *class = &slab->classes[number];
    struct chunk *chunk = chunk_with_room(slab, number);
    if (chunk == NULL) {
        return NULL;
    }
    uint32_t at = chunk->free;
    struct slot *slot = slot_at(chunk, at != 0 ? at : at_of(chunk, chunk->touched));
    if (at != 0) {
        chunk->free = slot->next;
    } else {
        ASAN_UNPOISON_MEMORY_REGION(slot, sizeof(*slot));
        slot->at = at_of(chunk, chunk->touched++);
    }
    slot->next = LIVE;
    if (class->empty == chunk) {
        class->empty = NULL;
    }
    if (++chunk->live == chunk->slots) {
        move_first(chunk, &class->full);
    }
    class->live++;
    slab->live++;
    slab->live_bytes += slot_bytes(number);
    ASAN_UNPOISON_MEMORY_REGION(object_of(slot), bytes);
    return object_of(slot);
}

void ist_slab_give(struct ist_slab *slab, void *object) {
    struct slot *slot = slot_of(object);
    IST_ASSERT(slot->next == LIVE);
    struct chunk *chunk = chunk_of(slot);
    struct class *class = &slab->classes[chunk->class];
    if (chunk->live == chunk->slots) {
        move_first(chunk, &class->room); /* next in turn: what has just been used is in the caches */
    }
    slot->next = chunk->free;
    chunk->free = slot->at;
    ASAN_POISON_MEMORY_REGION(object, slot_bytes(chunk->class) - sizeof(*slot));
    chunk->live--;
    class->live--;
    slab->live--;
    slab->live_bytes -= slot_bytes(chunk->class);
    if (chunk->live == 0) {
        chunk_emptied(slab, chunk);
    }
}

void ist_slab_trim(struct ist_slab *slab) {
    for (size_t i = 0; i < CLASSES; i++) {
        if (slab->classes[i].empty != NULL) {
            chunk_free(slab, slab->classes[i].empty);
        }
    }
}

/* ---- who should move -------------------------------------------------------------------------------- */

/* As much as half of what is used may lie idle: an object that moves then frees the room of one and a half. */
static bool is_idle(uint64_t bytes, uint64_t live_bytes, uint64_t allowed) {
    return bytes > live_bytes + live_bytes / 2 + allowed;
}

static struct chunk *emptiest_of(const struct class *class) {
    struct chunk *emptiest = NULL;
    const struct ring *link = class->room.prev;
    for (unsigned i = 0; i < CHUNKS_SEEN && link != &class->room; i++, link = link->prev) {
        struct chunk *chunk = (struct chunk *)link;
        if (emptiest == NULL ||
            (uint64_t)chunk->live * emptiest->slots < (uint64_t)emptiest->live * chunk->slots) {
            emptiest = chunk;
        }
    }
    return emptiest;
}

/* A chunk to be emptied, of one of the next classes; NULL when they have none. */
static struct chunk *choose_leaving(struct ist_slab *slab) {
    for (unsigned i = 0; i < CLASSES_SEEN; i++) {
        uint32_t number = slab->class_next;
        struct class *class = &slab->classes[number];
        slab->class_next = number + 1 == CLASSES ? 0 : number + 1;
        if (is_idle(class->bytes, class->live * slot_bytes(number), 1u << CHUNK_SHIFT_MIN)) {
            if (class->empty != NULL) {
                chunk_free(slab, class->empty);
            }
            return emptiest_of(class);
        }
    }
    return NULL;
}

void *ist_slab_stray(struct ist_slab *slab) {
    if (!is_idle(slab->bytes, slab->live_bytes, IDLE_BYTES)) {
        slab->leaving = NULL;
        return NULL;
    }
    if (slab->leaving == NULL) {
        slab->leaving = choose_leaving(slab);
    }
    struct chunk *chunk = slab->leaving;
    for (unsigned i = 0; i < SLOTS_SEEN && chunk != NULL; i++) {
        if (chunk->seen >= chunk->touched) {
            chunk->seen = 0;
            slab->leaving = NULL; /* who is still in it cannot move now */
            break;
        }
        struct slot *slot = slot_at(chunk, at_of(chunk, chunk->seen++));
        if (slot->next == LIVE) {
            return object_of(slot);
        }
    }
    return NULL;
}

/* ---- all of it -------------------------------------------------------------------------------------- */

enum ist_status ist_slab_new(const struct ist_alloc *alloc, struct ist_slab **slab) {
    struct ist_slab *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->bytes = sizeof(*new);
    for (size_t i = 0; i < CLASSES; i++) {
        ring_init(&new->classes[i].room);
        ring_init(&new->classes[i].full);
    }
    *slab = new;
    return IST_OK;
}

void ist_slab_free(struct ist_slab *slab) {
    if (slab == NULL) {
        return;
    }
    IST_ASSERT(slab->live == 0);
    IST_ASSERT(slab->bytes == sizeof(*slab)); /* a class without objects has no chunk */
    ist_release(slab->alloc, slab);
}

uint64_t ist_slab_count(const struct ist_slab *slab) {
    return slab->live;
}

uint64_t ist_slab_bytes(const struct ist_slab *slab) {
    return slab->bytes;
}

static void check_chunk(const struct chunk *chunk) {
    uint32_t live = 0;
    for (uint32_t i = 0; i < chunk->touched; i++) {
        const struct slot *slot = slot_at(chunk, at_of(chunk, i));
        IST_ASSERT(slot->at == at_of(chunk, i));
        live += slot->next == LIVE;
    }
    IST_ASSERT(live == chunk->live);
    uint32_t count = 0;
    for (uint32_t at = chunk->free; at != 0; at = slot_at(chunk, at)->next) {
        IST_ASSERT(++count <= chunk->touched - live);
    }
    IST_ASSERT(count == chunk->touched - live && chunk->touched <= chunk->slots);
    IST_ASSERT(at_of(chunk, chunk->slots) <= chunk->bytes);
}

static void check_class(const struct ist_slab *slab, uint32_t number) {
    const struct class *class = &slab->classes[number];
    const struct ring *rings[] = {&class->room, &class->full};
    uint64_t bytes = 0, live = 0, empty = 0;
    for (size_t i = 0; i < 2; i++) {
        for (const struct ring *link = rings[i]->next; link != rings[i]; link = link->next) {
            const struct chunk *chunk = (const struct chunk *)link;
            IST_ASSERT(link->next->prev == link && chunk->class == number);
            IST_ASSERT((chunk->live == chunk->slots) == (rings[i] == &class->full));
            check_chunk(chunk);
            bytes += chunk->bytes;
            live += chunk->live;
            if (chunk->live == 0) {
                IST_ASSERT(chunk == class->empty && chunk != slab->leaving);
                empty++;
            }
        }
    }
    IST_ASSERT(bytes == class->bytes && live == class->live);
    IST_ASSERT(empty == (class->empty != NULL) && (live > 0 || bytes == 0));
}

void ist_slab_check(const struct ist_slab *slab) {
    uint64_t bytes = sizeof(*slab), live = 0, live_bytes = 0;
    for (uint32_t i = 0; i < CLASSES; i++) {
        check_class(slab, i);
        bytes += slab->classes[i].bytes;
        live += slab->classes[i].live;
        live_bytes += slab->classes[i].live * slot_bytes(i);
    }
    IST_ASSERT(bytes == slab->bytes && live == slab->live && live_bytes == slab->live_bytes);
}

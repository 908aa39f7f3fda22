#include "workload/generator.h"

#include <string.h>

#include "base/assert.h"
#include "workload/model.h"

#define SESSION_MEAN_GAP_MS 480u /* 7,373 sessions begin in 3,537 s */
#define BRANCH_PERMILLE 150u     /* of the continuations */
#define ONE (1u << 20)           /* a probability of 1, and the end of a quantile table */

/* P(continued) of turn 1, 2, ...; the last holds for all later turns. In permille. */
static const unsigned continued_permille[] = {340, 450, 570, 660, 700};
#define TURNS (sizeof(continued_permille) / sizeof(continued_permille[0]))

/* A distribution: its values at these shares of ONE (0, 10%, ... 90%, 95%, 99%, 99.9%, 100%), straight lines
 * between them. */
#define POINTS 14u
static const uint32_t shares[POINTS] = {0,      104858, 209715, 314573, 419430,  524288,  629146,
                                        734003, 838861, 943718, 996147, 1038090, 1047527, ONE};

/* Tokens of a first prompt that nobody continues, of one that is, and of one that branches off. */
static const uint32_t single_tokens[POINTS] = {891,  900,   930,   1261,  2856,  4721,   6509,
                                               9735, 15212, 25690, 40327, 94410, 121471, 126195};
static const uint32_t first_tokens[POINTS] = {892,   1298,  2016,  3876,  5203,  6893,   9225,
                                              12499, 17478, 25409, 33732, 73427, 120636, 122891};
static const uint32_t branch_tokens[POINTS] = {1258,  6923,  9661,  11295, 12692, 15106, 16841,
                                               19251, 23911, 30205, 39061, 74735, 96504, 96504};
/* Blocks that a branch shares with the prompt before. */
static const uint32_t branch_blocks[POINTS] = {2, 2, 3, 3, 4, 6, 8, 12, 17, 28, 47, 145, 145, 145};
/* What a continuation adds to the prompt and the answer before. */
static const uint32_t added_tokens[POINTS] = {0,   4,   7,    11,   16,    26,    52,
                                              172, 695, 4203, 6922, 16705, 38787, 91467};
static const uint32_t output_tokens[POINTS] = {1,   24,  100, 213, 291,  350,  399,
                                               447, 504, 597, 698, 1120, 2000, 2000};
static const uint32_t turn_gap_ms[POINTS] = {0,      42000,  60000,  75000,  96000,   123000,  162000,
                                             222000, 318000, 483000, 618000, 1482000, 2667000, 3030000};
/* -ln(1 - share) in thousandths: sessions begin at random. */
static const uint32_t exponential[POINTS] = {0,    105,  223,  357,  511,  693,  916,
                                             1204, 1609, 2303, 2996, 4605, 6908, 8000};

struct session {
    uint64_t next_ms; /* when its next request arrives */
    size_t turn;      /* of the request last made, from 0 */
    uint32_t input_tokens, output_tokens;
    uint64_t *blocks;
    size_t block_count;
};

struct ist_generator {
    const struct ist_alloc *alloc;
    uint64_t random, next_block, next_session_ms;
    struct session *waiting; /* a binary heap: the earliest next_ms first */
    size_t waiting_count, waiting_room;
    uint64_t *blocks; /* of the request last given out */
};

/* splitmix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t random_next(struct ist_generator *generator) {
    uint64_t z = (generator->random += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static bool random_happens(struct ist_generator *generator, unsigned permille) {
    return random_next(generator) % 1000 < permille;
}

static uint32_t random_from(struct ist_generator *generator, const uint32_t *values) {
    uint32_t share = (uint32_t)(random_next(generator) >> 44); /* 20 bits: below ONE */
    unsigned i = 0;
    while (share >= shares[i + 1]) {
        i++;
    }
    uint64_t rise = values[i + 1] - values[i];
    return values[i] + (uint32_t)(rise * (share - shares[i]) / (shares[i + 1] - shares[i]));
}

enum ist_status ist_generator_new(const struct ist_alloc *alloc, uint64_t seed,
                                  struct ist_generator **generator) {
    struct ist_generator *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->random = seed;
    new->next_block = 1; /* 0 is the root */
    *generator = new;
    return IST_OK;
}

void ist_generator_free(struct ist_generator *generator) {
    if (generator == NULL) {
        return;
    }
    for (size_t i = 0; i < generator->waiting_count; i++) {
        ist_release(generator->alloc, generator->waiting[i].blocks);
    }
    ist_release(generator->alloc, generator->waiting);
    ist_release(generator->alloc, generator->blocks);
    ist_release(generator->alloc, generator);
}

/* ---- the waiting sessions ---- */

static enum ist_status waiting_reserve(struct ist_generator *generator) {
    if (generator->waiting_count < generator->waiting_room) {
        return IST_OK;
    }
    size_t room = generator->waiting_room == 0 ? 64 : generator->waiting_room * 2;
    struct session *waiting =
        ist_resize_array(generator->alloc, generator->waiting, room, sizeof(*waiting));
    if (waiting == NULL) {
        return IST_NO_MEMORY;
    }
    generator->waiting = waiting;
    generator->waiting_room = room;
    return IST_OK;
}

static void waiting_push(struct ist_generator *generator, struct session session) {
    struct session *heap = generator->waiting;
    size_t at = generator->waiting_count++;
    IST_ASSERT(at < generator->waiting_room);
    while (at > 0 && heap[(at - 1) / 2].next_ms > session.next_ms) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = session;
}

static struct session waiting_pop(struct ist_generator *generator) {
    struct session *heap = generator->waiting;
    struct session first = heap[0], last = heap[--generator->waiting_count];
    size_t at = 0;
    for (size_t child = 1; child < generator->waiting_count; child = 2 * at + 1) {
        if (child + 1 < generator->waiting_count && heap[child + 1].next_ms < heap[child].next_ms) {
            child++;
        }
        if (heap[child].next_ms >= last.next_ms) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

/* ---- prompts ---- */

static size_t blocks_of(uint32_t tokens) {
    return (tokens + IST_BLOCK_TOKENS - 1) / IST_BLOCK_TOKENS;
}

/* Gives the session a prompt of `tokens` that keeps the first `kept` of its blocks. */
static enum ist_status set_prompt(struct ist_generator *generator, struct session *session,
                                  uint32_t tokens, size_t kept) {
    size_t count = blocks_of(tokens);
    IST_ASSERT(kept <= session->block_count && count >= 1);
    kept = kept < count ? kept : count;
    uint64_t *blocks = ist_resize_array(generator->alloc, session->blocks, count, sizeof(*blocks));
    if (blocks == NULL) {
        return IST_NO_MEMORY;
    }
    for (size_t i = kept; i < count; i++) {
        blocks[i] = i == 0 ? 0 : generator->next_block++;
    }
    session->blocks = blocks;
    session->block_count = count;
    session->input_tokens = tokens;
    return IST_OK;
}

static enum ist_status continue_prompt(struct ist_generator *generator, struct session *session) {
    size_t kept = session->input_tokens / IST_BLOCK_TOKENS; /* a partial block becomes another one */
    uint32_t tokens = 0;
    if (random_happens(generator, BRANCH_PERMILLE)) {
        size_t shared = random_from(generator, branch_blocks);
        kept = shared < kept ? shared : kept;
        tokens = random_from(generator, branch_tokens);
    } else {
        tokens = session->input_tokens + session->output_tokens + random_from(generator, added_tokens);
    }
    if (tokens > IST_GENERATOR_INPUT_TOKENS_MAX) {
        tokens = IST_GENERATOR_INPUT_TOKENS_MAX;
    }
    return set_prompt(generator, session, tokens, kept);
}

static bool session_continues(struct ist_generator *generator, const struct session *session) {
    size_t turn = session->turn < TURNS ? session->turn : TURNS - 1;
    return random_happens(generator, continued_permille[turn]);
}

static uint32_t session_gap_ms(struct ist_generator *generator) {
    return (uint32_t)((uint64_t)random_from(generator, exponential) * SESSION_MEAN_GAP_MS / 1000);
}

enum ist_status ist_generator_next(struct ist_generator *generator, struct ist_trace_request *request) {
    if (waiting_reserve(generator) != IST_OK) {
        return IST_NO_MEMORY;
    }
    struct session session = {.next_ms = generator->next_session_ms};
    bool continues = false;
    enum ist_status status = IST_OK;
    if (generator->waiting_count > 0 && generator->waiting[0].next_ms < session.next_ms) {
        session = waiting_pop(generator);
        session.turn++;
        continues = session_continues(generator, &session);
        status = continue_prompt(generator, &session);
    } else {
        generator->next_session_ms += session_gap_ms(generator);
        continues = session_continues(generator, &session);
        status = set_prompt(generator, &session,
                            random_from(generator, continues ? first_tokens : single_tokens), 0);
    }
    session.output_tokens = random_from(generator, output_tokens);
    uint64_t *blocks = status != IST_OK ? NULL
                                        : ist_resize_array(generator->alloc, generator->blocks,
                                                           session.block_count, sizeof(*blocks));
    if (blocks == NULL) {
        ist_release(generator->alloc, session.blocks);
        return IST_NO_MEMORY;
    }
    memcpy(blocks, session.blocks, session.block_count * sizeof(*blocks));
    generator->blocks = blocks;
    *request = (struct ist_trace_request){.arrival_ms = session.next_ms,
                                          .input_tokens = session.input_tokens,
                                          .output_tokens = session.output_tokens,
                                          .blocks = blocks,
                                          .block_count = session.block_count};
    if (continues) {
        session.next_ms += random_from(generator, turn_gap_ms);
        waiting_push(generator, session);
    } else {
        ist_release(generator->alloc, session.blocks);
    }
    return IST_OK;
}

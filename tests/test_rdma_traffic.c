/* Sessions over RDMA, at random: each get delivers one whole value of its key. */
#include "tests/rdma_talk.h"
#include "tests/replay.h"

#define KEYS 6u
#define SLOT_BYTES 4096u
#define GET_BASE (64u * SLOT_BYTES)

struct pending {
    uint64_t id;
    bool is_get;
    unsigned key;
    uint64_t at, bytes; /* of its slot */
    uint64_t stamp;     /* PUT: what it writes */
};

/* A value: its stamp over and over. */
static void stamp_fill(uint8_t *at, uint64_t stamp, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(stamp >> (8 * (i % 8)));
    }
}

static bool stamp_is(const uint8_t *at, uint64_t stamp, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        if (at[i] != (uint8_t)(stamp >> (8 * (i % 8)))) {
            return false;
        }
    }
    return true;
}

/* Puts and gets of a few keys in a pool that is too small for all, posted and completed in random pieces: each get
 * delivers one whole value of its key. */
static void random_traffic(uint64_t seed) {
    uint64_t random = seed;
    struct talk *talk = calloc(1, sizeof(*talk));
    assert_non_null(talk);
    talk_begin_with(talk, (struct world_options){.pool_bytes = 16384});
    struct pending pending[32];
    uint64_t stamps[KEYS][512]; /* by key: of all puts so far */
    size_t stamp_count[KEYS] = {0}, count = 0;
    uint64_t id = 0, gets = 0;
    for (unsigned step = 0; step < 400; step++) {
        unsigned key = (unsigned)random_below(&random, KEYS);
        char name[2] = {(char)('a' + key), 0};
        switch (random_below(&random, 5)) {
        case 0:
        case 1:
            if (count < 32 && stamp_count[key] < 512) {
                struct pending *p = &pending[count++];
                *p = (struct pending){.id = ++id, .is_get = random_below(&random, 2) == 0, .key = key};
                p->at = (id % 64) * SLOT_BYTES + (p->is_get ? GET_BASE : 0);
                p->bytes = p->is_get ? SLOT_BYTES : 1000 + random_below(&random, 3000);
                p->stamp = random_next(&random) & ~0xffull;
                p->stamp |= key;
                if (!p->is_get) {
                    stamp_fill(talk->client + p->at, p->stamp, p->bytes);
                    stamps[key][stamp_count[key]++] = p->stamp;
                }
                say_one(talk, p->is_get ? IST_OP_GET : IST_OP_PUT, id, name, p->at, p->bytes);
                talk_say(talk);
            }
            break;
        case 2: nic_post(talk, random_below(&random, 4)); break;
        case 3: nic_complete(talk, random_below(&random, outstanding(talk) + 1)); break;
        case 4:
            if (random_below(&random, 8) == 0) {
                ist_store_remove(talk->world.store, ist_span_of_string(name));
            }
            break;
        }
        if (step % 16 == 15 || step == 399) {
            do {
                nic_complete(talk, outstanding(talk));
            } while (nic_post(talk, POSTED_MAX) > 0);
            talk_hear(talk);
            assert_int_equal(talk->count, count);
            for (size_t i = 0; i < talk->count; i++) {
                const struct reply *reply = &talk->replies[i];
                size_t j = 0;
                while (j < count && pending[j].id != reply->frame.request_id) {
                    j++;
                }
                assert_true(j < count);
                const struct pending *p = &pending[j];
                if (p->is_get && key_status(talk, i, 0) == IST_OK) {
                    uint64_t got = 0;
                    memcpy(&got, talk->client + p->at, sizeof(got));
                    assert_true(stamp_is(talk->client + p->at, got, reply->lengths[0]));
                    size_t s = 0;
                    while (s < stamp_count[p->key] && stamps[p->key][s] != got) {
                        s++;
                    }
                    assert_true(s < stamp_count[p->key]); /* one of this key's puts */
                    gets++;
                }
            }
            count = 0;
            talk->out.count = 0;
        }
    }
    assert_true(gets > 5);
    talk_end(talk);
    free(talk);
}

static void test_traffic__random__each_get_is_one_put(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 60 : 4, random_traffic);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_traffic__random__each_get_is_one_put, replay_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

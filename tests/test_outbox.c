/* engine/outbox alone: frames of every size at every place of a chunk, buffers named one at a time, who may overtake
 * whom. */
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

#include "engine/outbox.h"
#include "store/store.h"
#include "tests/replay.h"

#define BLOCK 512u
#define NAMED_MAX 4u

struct box {
    struct failing_alloc failing;
    struct ist_store *store;
    struct ist_outbox outbox;
    struct ist_buffer *buffers; /* end at a page that cannot be written */
    uint8_t *sent;
    size_t sent_bytes;
};

static void box_init(struct box *box) {
    *box = (struct box){0};
    failing_alloc_init(&box->failing, 0);
    const struct ist_store_config config = {.pool_bytes_max = 64 * BLOCK,
                                            .min_block_bytes = BLOCK,
                                            .granule_bytes = BLOCK,
                                            .alloc = &box->failing.alloc};
    assert_int_equal(ist_store_new(&config, &box->store), IST_OK);
    assert_int_equal(ist_store_grow(box->store, 64 * BLOCK), IST_OK);
    ist_outbox_init(&box->outbox, &box->failing.alloc);
    box->buffers = guarded_new(NAMED_MAX * sizeof(struct ist_buffer));
    box->sent = malloc(1u << 22);
    assert_non_null(box->sent);
}

static void box_fini(struct box *box) {
    ist_outbox_fini(&box->outbox);
    ist_store_free(box->store);
    guarded_free(box->buffers, NAMED_MAX * sizeof(struct ist_buffer));
    free(box->sent);
    assert_int_equal(box->failing.live, 0);
}

/* Names at most max buffers, where a further one would fault. */
static size_t name(struct box *box, size_t max, struct ist_buffer **buffers) {
    assert_true(max <= NAMED_MAX);
    *buffers = box->buffers + NAMED_MAX - max;
    size_t named = ist_outbox_name(&box->outbox, *buffers, max);
    assert_true(named <= max);
    ist_outbox_check(&box->outbox);
    return named;
}

/* Takes up to `bytes` of what is named; values are taken as the letter 'v'. Returns how many frames ended. */
static unsigned take(struct box *box, size_t max, uint64_t bytes, struct ist_outbox_done *last) {
    struct ist_buffer *buffers;
    size_t named = name(box, max, &buffers);
    uint64_t moved = 0;
    for (size_t i = 0; i < named && moved < bytes; i++) {
        uint64_t part = buffers[i].bytes < bytes - moved ? buffers[i].bytes : bytes - moved;
        assert_true(part >= 1);
        if (buffers[i].kind == IST_BUFFER_MEMORY) {
            memcpy(box->sent + box->sent_bytes, buffers[i].memory, part);
        } else {
            memset(box->sent + box->sent_bytes, 'v', part);
        }
        box->sent_bytes += part;
        moved += part;
    }
    unsigned ended = 0;
    while (ist_outbox_sent(&box->outbox, &moved, last)) {
        ended++;
    }
    assert_int_equal(moved, 0);
    ist_outbox_check(&box->outbox);
    return ended;
}

static void put_short(struct box *box, char letter, size_t bytes, uint64_t begin_ns) {
    uint8_t *out = ist_outbox_reserve(&box->outbox, bytes);
    assert_non_null(out);
    memset(out, letter, bytes);
    ist_outbox_commit(&box->outbox, bytes, IST_OP_PING, begin_ns);
    ist_outbox_check(&box->outbox);
}

/* A frame with a head of `head` bytes and `values` values of `value_bytes`. */
static void put_bulk(struct box *box, char letter, size_t head, size_t values, uint64_t value_bytes,
                     uint64_t begin_ns) {
    struct ist_entry *entries[8];
    struct ist_get *get;
    for (size_t i = 0; i < values; i++) {
        struct ist_span key = ist_span_of(&i, sizeof(i));
        assert_int_equal(ist_store_reserve(box->store, key, value_bytes, false, &entries[i]), IST_OK);
        assert_int_equal(ist_store_commit(box->store, entries[i], false), IST_OK);
    }
    assert_int_equal(ist_get_new(box->store, entries, values, &box->failing.alloc, &get), IST_OK);
    uint8_t *out = ist_outbox_push(&box->outbox, head, get, IST_OP_GET, begin_ns);
    assert_non_null(out);
    memset(out, letter, head);
    ist_outbox_check(&box->outbox);
}

static void assert_sent(const struct box *box, const char *expected) {
    assert_int_equal(box->sent_bytes, strlen(expected));
    assert_memory_equal(box->sent, expected, box->sent_bytes);
}

static uint64_t pinned(const struct box *box) {
    struct ist_store_usage usage;
    ist_store_usage(box->store, &usage);
    return usage.pinned_entries;
}

/* ---- naming ------------------------------------------------------------------------------------------------ */

static void test_name__no_room__names_nothing(void **state) {
    (void)state;
    struct box box;
    struct ist_buffer *buffers;
    box_init(&box);
    assert_true(ist_outbox_is_empty(&box.outbox));
    put_short(&box, 's', 3, 1);
    put_bulk(&box, 'b', 4, 2, 3, 2);
    assert_false(ist_outbox_is_empty(&box.outbox));
    assert_int_equal(name(&box, 0, &buffers), 0);
    take(&box, 1, 1, &(struct ist_outbox_done){0});
    assert_int_equal(name(&box, 0, &buffers), 0);
    take(&box, 2, 4, &(struct ist_outbox_done){0});
    assert_int_equal(name(&box, 0, &buffers), 0);
    box_fini(&box);
}

static void test_name__few_buffers__as_many_as_fit_in_order(void **state) {
    (void)state;
    for (size_t max = 1; max <= NAMED_MAX; max++) {
        struct box box;
        struct ist_outbox_done done;
        box_init(&box);
        put_short(&box, 's', 3, 1);
        put_bulk(&box, 'b', 2, 3, 2, 2);
        unsigned ended = 0;
        for (int i = 0; i < 20 && !ist_outbox_is_empty(&box.outbox); i++) {
            struct ist_buffer *buffers;
            size_t named = name(&box, max, &buffers), all = i == 0 ? 5 : max;
            assert_true(named >= 1 && (i > 0 || named == (all < max ? all : max)));
            ended += take(&box, max, UINT64_MAX, &done);
        }
        assert_int_equal(ended, 2);
        assert_sent(&box, "sssbbvvvvvv");
        assert_int_equal(pinned(&box), 0);
        box_fini(&box);
    }
}

static void test_sent__byte_by_byte__frames_end_with_their_last_and_pins_with_theirs(void **state) {
    (void)state;
    struct box box;
    box_init(&box);
    put_bulk(&box, 'b', 2, 3, 2, 77);
    put_short(&box, 's', 2, 66);
    static const uint64_t left_pinned[] = {3, 3, 3, 3, 3, 2, 2, 1, 1, 0};
    const char *order = "ssbbvvvvvv";
    for (size_t i = 0; i < strlen(order); i++) {
        struct ist_outbox_done done = {0};
        unsigned ended = take(&box, NAMED_MAX, 1, &done);
        assert_int_equal(ended, i == 1 || i == 9);
        if (ended == 1) {
            assert_int_equal(done.operation, i == 1 ? IST_OP_PING : IST_OP_GET);
            assert_int_equal(done.begin_ns, i == 1 ? 66 : 77);
        }
        assert_int_equal(pinned(&box), left_pinned[i]);
        /* of what is being sent: the short one, then the bulk one */
        uint64_t unit = i == 0 ? 1 : i - 1;
        assert_true(ist_outbox_is_empty(&box.outbox) || ist_outbox_unit_sent(&box.outbox) == unit);
    }
    assert_sent(&box, order);
    assert_true(ist_outbox_is_empty(&box.outbox));
    assert_int_equal(box.outbox.queued_bytes, 0);
    box_fini(&box);
}

/* ---- chunks ------------------------------------------------------------------------------------------------ */

/* Frames of all sizes, so that they end at every distance from the end of a chunk. */
static void fill_chunks(uint64_t seed) {
    enum { FRAMES = 2500 };
    static uint32_t sizes[FRAMES];
    struct box box;
    uint64_t random = seed, total = 0;
    box_init(&box);
    for (uint64_t i = 0; i < FRAMES; i++) {
        sizes[i] = (uint32_t)(1 + random_below(&random, random_below(&random, 40) == 0 ? 9000 : 90));
        put_short(&box, (char)i, sizes[i], i);
        total += sizes[i];
    }
    assert_int_equal(box.outbox.short_bytes, total);
    assert_int_equal(box.outbox.queued_bytes, total);
    uint64_t ended = 0;
    while (!ist_outbox_is_empty(&box.outbox)) {
        struct ist_outbox_done done;
        unsigned more =
            take(&box, 1 + random_below(&random, NAMED_MAX), 1 + random_below(&random, 6000), &done);
        ended += more;
        assert_true(more == 0 || done.begin_ns == ended - 1);
    }
    assert_int_equal(ended, FRAMES);
    const uint8_t *at = box.sent;
    for (uint64_t i = 0; i < FRAMES; i++) {
        for (uint32_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(*at++, (uint8_t)i);
        }
    }
    box_fini(&box);
}

static void test_reserve__frames_of_all_sizes__come_out_as_they_were(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 20 : 3, fill_chunks);
}

static void test_prepare__queued_later__behind_what_was_before(void **state) {
    (void)state;
    struct box box;
    struct ist_outbox_done done;
    box_init(&box);
    struct ist_outbox_chunk *first = ist_outbox_prepare(&box.outbox, 3);
    struct ist_outbox_chunk *second = ist_outbox_prepare(&box.outbox, 3);
    memcpy(ist_outbox_prepared(first), "fff", 3);
    memcpy(ist_outbox_prepared(second), "tt", 2);
    assert_true(ist_outbox_is_empty(&box.outbox));
    put_short(&box, 's', 2, 1);
    ist_outbox_queue(&box.outbox, second, 2, IST_OP_PUT, 2);
    ist_outbox_queue(&box.outbox, first, 3, IST_OP_GET, 3);
    put_short(&box, 'z', 1, 4);
    assert_int_equal(take(&box, 1, 100, &done), 1);
    while (!ist_outbox_is_empty(&box.outbox)) {
        take(&box, 1, 100, &done);
    }
    assert_sent(&box, "ssttfffz");
    box_fini(&box);
}

static void test_new__no_memory__nothing_is_queued(void **state) {
    (void)state;
    struct box box;
    box_init(&box);
    box.failing.fail_at = box.failing.calls + 1;
    assert_null(ist_outbox_reserve(&box.outbox, 10));
    assert_true(ist_outbox_is_empty(&box.outbox));
    box.failing.fail_at = box.failing.calls + 1;
    assert_null(ist_outbox_prepare(&box.outbox, 10));
    ist_outbox_check(&box.outbox);
    box_fini(&box);
}

/* ---- who overtakes ------------------------------------------------------------------------------------------ */

static void test_bulk__begun__is_not_interrupted(void **state) {
    (void)state;
    struct box box;
    struct ist_outbox_done done;
    box_init(&box);
    put_bulk(&box, 'b', 2, 1, 4, 1);
    assert_int_equal(take(&box, NAMED_MAX, 1, &done), 0);
    put_short(&box, 's', 2, 2);
    put_bulk(&box, 'c', 1, 1, 1, 3);
    while (!ist_outbox_is_empty(&box.outbox)) {
        take(&box, NAMED_MAX, 2, &done);
    }
    assert_sent(&box, "bbvvvvsscv");
    box_fini(&box);
}

#define LIMIT (1u << 20)
#define PIECE 5000u

/* A bulk frame of 'b' waits, and short ones overtake it until `left` more bytes may. */
static void overtake(struct box *box, uint32_t left) {
    struct ist_outbox_done done;
    put_bulk(box, 'b', 2, 1, 4, 1);
    for (uint32_t bytes = LIMIT - left, part; bytes > 0; bytes -= part) {
        part = bytes < PIECE ? bytes : PIECE;
        put_short(box, 's', part, 2);
        assert_int_equal(take(box, NAMED_MAX, part, &done), 1);
        assert_int_equal(done.operation, IST_OP_PING);
    }
    box->sent_bytes = 0;
}

/* A mebibyte of short ones may go before a bulk one; then it has its turn. */
static void test_short__beyond_the_limit__bulk_goes_first(void **state) {
    (void)state;
    struct box box;
    struct ist_outbox_done done;
    box_init(&box);
    overtake(&box, 0);
    put_short(&box, 't', 3, 2);
    assert_int_equal(take(&box, NAMED_MAX, 6, &done), 1);
    assert_int_equal(done.operation, IST_OP_GET);
    assert_int_equal(take(&box, NAMED_MAX, 3, &done), 1);
    assert_sent(&box, "bbvvvvttt");

    /* the limit is the end of a frame, behind which another one waits */
    overtake(&box, 2);
    put_short(&box, 'w', 2, 2);
    put_short(&box, 'x', 3, 2);
    assert_int_equal(take(&box, NAMED_MAX, 2, &done), 1);
    assert_int_equal(take(&box, NAMED_MAX, 6, &done), 1);
    assert_int_equal(take(&box, NAMED_MAX, 3, &done), 1);
    assert_sent(&box, "wwbbvvvvxxx");
    box_fini(&box);
}

/* But no frame is cut by another. */
static void test_short__begun_at_the_limit__its_rest_goes_first(void **state) {
    (void)state;
    for (unsigned before = 0; before < 2; before++) { /* frames of its chunk that have left */
        struct box box;
        struct ist_buffer *buffers;
        struct ist_outbox_done done;
        box_init(&box);
        overtake(&box, 1 + 2 * before);
        if (before == 1) {
            put_short(&box, 'w', 2, 2);
        }
        put_short(&box, 'x', 3, 2);
        put_short(&box, 'y', 2, 2);
        assert_int_equal(take(&box, NAMED_MAX, 1 + 2 * before, &done), before);
        assert_int_equal(name(&box, 1, &buffers), 1);
        assert_int_equal(buffers[0].bytes, 2);
        assert_int_equal(name(&box, 0, &buffers), 0);
        box.sent_bytes = 0;
        assert_int_equal(take(&box, NAMED_MAX, 8, &done), 2);
        assert_int_equal(take(&box, NAMED_MAX, 2, &done), 1);
        assert_sent(&box, "xxbbvvvvyy");
        box_fini(&box);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name__no_room__names_nothing),
        cmocka_unit_test(test_name__few_buffers__as_many_as_fit_in_order),
        cmocka_unit_test(test_sent__byte_by_byte__frames_end_with_their_last_and_pins_with_theirs),
        cmocka_unit_test_teardown(test_reserve__frames_of_all_sizes__come_out_as_they_were,
                                  replay_teardown),
        cmocka_unit_test(test_prepare__queued_later__behind_what_was_before),
        cmocka_unit_test(test_new__no_memory__nothing_is_queued),
        cmocka_unit_test(test_bulk__begun__is_not_interrupted),
        cmocka_unit_test(test_short__beyond_the_limit__bulk_goes_first),
        cmocka_unit_test(test_short__begun_at_the_limit__its_rest_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

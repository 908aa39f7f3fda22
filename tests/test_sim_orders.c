/* Orders of events: their text, the pairs of programs, that none is left out, and that what is wrong is found. The known
 * bugs inside of engine and store are in the linking of infinistore-sim alone: `infinistore-sim orders --canaries'. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/orders.h"
#include "tests/support.h"

static bool is_short(void) {
    return getenv("IST_TEST_SHORT") != NULL;
}

static struct sim_order order_of(const char *text) {
    struct sim_order order = {.count = 0};
    if (!sim_order_parse(text, &order)) {
        fail_msg("%s", text);
    }
    return order;
}

/* ---- texts --------------------------------------------------------------------------------------------- */

static void test_parse__printed_again__the_same(void **state) {
    (void)state;
    static const char *const texts[] = {
        "2A/tcp:pAgB/rdma:rAB/1h1a2ae1t2w2c2x2l2bz1s1m",
        "1/tcp:/tcp:",
        "4AB/rdma:qABgABrAqB/tcp:pB",
        "3B/rdma:gA/rdma:gA/1a",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sim_order order = order_of(texts[i]);
        char text[SIM_ORDER_TEXT_BYTES];
        sim_order_print(&order, text);
        assert_string_equal(text, texts[i]);
    }
}

static void test_parse__longest__has_room(void **state) {
    (void)state;
    char text[SIM_ORDER_TEXT_BYTES + 8] = "2AB/rdma:qABqABqABqAB/rdma:qABqABqABqAB/",
                                     again[SIM_ORDER_TEXT_BYTES];
    for (unsigned i = 0; i < SIM_ORDER_EVENTS_MAX; i++) {
        strcat(text, "2a");
    }
    struct sim_order order = order_of(text);
    sim_order_print(&order, again);
    assert_string_equal(again, text);
    strcat(text, "e");
    assert_false(sim_order_parse(text, &order));
}

static void test_parse__bad__refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "2",
        "0/tcp:/tcp:",
        "5/tcp:/tcp:",
        "1AB/tcp:pA/tcp:pA",
        "2BA/tcp:pA/tcp:pA",
        "2/tcp:pA",
        "2/tcp:pA/",
        "2/udp:pA/tcp:pA",
        "2/tcp:p/tcp:pA",
        "2/tcp:xA/tcp:pA",
        "2/tcp:pC/tcp:pA",
        "2/tcp:pApApApApA/tcp:pA",
        "2/tcp:pA/tcp:pA/a",
        "2/tcp:pA/tcp:pA/3a",
        "2/tcp:pA/tcp:pA/1e",
        "2/tcp:pA/tcp:pA/1",
        "2/tcp:pA/tcp:pA/1a/",
        "2/tcp:pA/tcp:pA/1y",
        "2/tcp:pA/tcp:pA 1a",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sim_order order;
        if (sim_order_parse(texts[i], &order)) {
            fail_msg("%s", texts[i]);
        }
    }
}

/* ---- pairs of programs ----------------------------------------------------------------------------------- */

#define CASES_MAX 4096u

static size_t list_cases(const struct sim_order_scope *scope, char (*texts)[SIM_ORDER_TEXT_BYTES]) {
    struct sim_order_cases cases;
    struct sim_order order = {.count = 0};
    size_t count = 0;
    sim_order_cases_init(&cases, scope);
    while (sim_order_cases_next(&cases, &order.of)) {
        assert_true(count < CASES_MAX);
        sim_order_print(&order, texts[count++]);
    }
    return count;
}

/* A put each: two keys, two transports, and 4 ways to begin: 4 * 4 * 4 pairs. Another name for clients, keys, or both leaves
 * 16, 0 and 8 of them as they are: (64 + 16 + 0 + 8) / 4 are different (Burnside's lemma). */
static void test_cases__a_put_each__as_many_as_differ(void **state) {
    (void)state;
    static char texts[CASES_MAX][SIM_ORDER_TEXT_BYTES];
    const struct sim_order_scope scope = {1, 2, 1u << SIM_ORDER_PUT, false, 2, 2, {.cuts = 0}};
    size_t count = list_cases(&scope, texts);
    assert_int_equal(count, 22);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(texts[i], texts[j]);
        }
    }
}

/* The programs of 1 or 2 puts of 2 keys over 2 transports are 4 + 8. Ordered pairs of at most 3 puts together are
 * 4 * 4 + 2 * 4 * 8 = 80, with nothing there at the beginning and more than one way to have two keys, or both, there. */
static void test_cases__three_puts__both_lengths_are_there(void **state) {
    (void)state;
    static char texts[CASES_MAX][SIM_ORDER_TEXT_BYTES];
    const struct sim_order_scope scope = {2, 3, 1u << SIM_ORDER_PUT, false, 1, 3, {.cuts = 0}};
    size_t count = list_cases(&scope, texts), longest = 0, small = 0;
    for (size_t i = 0; i < count; i++) {
        struct sim_order order = order_of(texts[i]);
        const struct sim_order_program *programs = order.of.programs;
        assert_true(programs[0].count + programs[1].count <= 3);
        longest += programs[0].count + programs[1].count == 3;
        small += order.of.blocks == 1;
        assert_true(order.of.blocks > 1 || order.of.present != 3);
    }
    assert_true(longest > 0 && longest < count);
    assert_true(small > 0 && small < count / 3 + 1);
}

/* ---- all orders of a pair --------------------------------------------------------------------------------- */

static struct sim_order_tally search(const char *text, struct sim_order_budget budget, bool plain) {
    struct sim_arena arena;
    static struct sim_order_rig rig;
    static struct sim_order_script script;
    struct sim_order order = order_of(text);
    struct sim_order_tally tally = {0};
    sim_arena_init(&arena, plain);
    sim_order_rig_init(&rig, &arena);
    sim_order_script_init(&script, &order.of, &budget);
    sim_order_search(&rig, &script, &order, &tally);
    sim_order_rig_fini(&rig);
    sim_arena_fini(&arena);
    assert_int_equal(tally.cases, 1);
    return tally;
}

/* Two events of each client, a request arrives, a reply leaves: 4 over 2 orders. An eviction can come before each event. */
static void test_search__two_removes__as_many_as_there_are(void **state) {
    (void)state;
    const struct sim_order_budget none = {.cuts = 0}, evict = {.evicts = 1};
    struct sim_order_tally tally = search("2A/tcp:rA/tcp:rB", none, true);
    assert_int_equal(tally.orders, 6);
    assert_int_equal(tally.ends, 6);
    tally = search("2A/tcp:rA/tcp:rB", evict, true);
    assert_int_equal(tally.orders, 6 + 6 * 4);
}

/* Over RDMA a message is sent, then done. Of two clients with 3 and 2 events: 5 over 2. */
static void test_search__over_rdma__messages_take_their_time(void **state) {
    (void)state;
    const struct sim_order_budget none = {.cuts = 0};
    assert_int_equal(search("2A/rdma:rA/tcp:rA", none, true).orders, 10);
    /* A get: it arrives, its work is handed out and done, the reply leaves, also before that is done, and is done. */
    assert_int_equal(search("2A/rdma:gA/tcp:", none, true).orders, 2);
}

/* A cut can come instead of each event. */
static void test_search__cut__at_each_place(void **state) {
    (void)state;
    const struct sim_order_budget cut = {.cuts = 1};
    assert_int_equal(search("2A/tcp:rA/tcp:", cut, true).orders, 1 + 2);
    assert_int_equal(search("2A/rdma:rA/tcp:", cut, true).orders, 1 + 3);
}

/* What is left out because it was seen is counted; both ways find as many orders. */
static void test_search__seen_states__no_order_is_lost(void **state) {
    (void)state;
    struct sim_arena arena;
    sim_arena_init(&arena, false);
    bool is_plain = arena.is_plain;
    sim_arena_fini(&arena);
    if (is_plain || is_short()) {
        return; /* AddressSanitizer, or valgrind, which minds that padding is looked at, too. */
    }
    static const char *const texts[] = {"2A/tcp:gA/tcp:pA", "2A/tcp:gA/rdma:pA", "2/rdma:pA/rdma:qA",
                                        "1A/tcp:rA/rdma:gAB", "2AB/tcp:pAgA/rdma:rB"};
    const struct sim_order_budget budget = {.cuts = 1, .evicts = 1};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sim_order_tally all = search(texts[i], budget, true);
        struct sim_order_tally seen = search(texts[i], budget, false);
        assert_int_equal(seen.orders, all.orders);
        assert_int_equal(all.ends, all.orders);
        assert_true(seen.ends < all.ends && seen.events < all.events);
        assert_int_equal(all.states, 0);
        assert_true(seen.states > 0 && seen.states <= seen.events + 1);
    }
}

/* A request arrives whole, or its head first, or up to the middle of its values, if it has some; a reply leaves whole, or
 * in two pieces. Time can end what has begun and is not over: after each of these pieces but the last one. */
static void test_search__in_pieces__as_many_as_there_are(void **state) {
    (void)state;
    const struct sim_order_budget pieces = {.pieces = 1}, times = {.times = 1, .pieces = 1};
    assert_int_equal(search("2A/tcp:gAB/tcp:", pieces, true).orders, 2 * 2);
    assert_int_equal(search("1A/tcp:pA/tcp:", pieces, true).orders, 3 * 2);
    assert_int_equal(search("1A/tcp:pA/tcp:", times, true).orders, 3 * 2 + 2 + 3 * (1 + 1));
}

/* ---- what is wrong is found ---------------------------------------------------------------------------------- */

static struct sim_orders_outcome run(const char *text, enum sim_canary canary) {
    struct sim_orders orders = {
        .one = order_of(text).of, .canary = canary, .jobs = 1, .plain = is_short()};
    orders.scope = sim_orders_part(false, 1)->scope;
    orders.scope.budget = (struct sim_order_budget){.pieces = 1};
    struct sim_orders_outcome outcome;
    sim_orders_run(&orders, &outcome);
    return outcome;
}

static void test_run__work_done_when_posted__found(void **state) {
    (void)state;
    assert_false(run("2/rdma:pA/tcp:rA", SIM_CANARY_NONE).failed);
    struct sim_orders_outcome outcome = run("2/rdma:pA/tcp:rA", SIM_CANARY_WORK_DONE_AT_POST);
    assert_true(outcome.failed);
    char text[SIM_ORDER_TEXT_BYTES];
    sim_order_print(&outcome.order, text);
    assert_string_equal(text + strlen(text) - 2, "1w");
}

static void test_run__pieces_land_late__found(void **state) {
    (void)state;
    assert_false(run("2/tcp:pA/tcp:", SIM_CANARY_NONE).failed);
    assert_true(run("2/tcp:pA/tcp:", SIM_CANARY_SPLIT_PAYLOAD).failed);
}

static void test_run__several_processes__the_same(void **state) {
    (void)state;
    struct sim_orders orders = {.jobs = 1, .plain = is_short()};
    struct sim_orders_outcome one, three;
    orders.scope = (struct sim_order_scope){1, 2, 1u << SIM_ORDER_REMOVE, false, 2, 2, {.cuts = 0}};
    sim_orders_run(&orders, &one);
    orders.jobs = 3;
    sim_orders_run(&orders, &three);
    assert_false(one.failed || three.failed);
    assert_int_equal(one.tally.cases, 22);
    assert_memory_equal(&one.tally, &three.tally, sizeof(one.tally));
}

/* ---- one order ------------------------------------------------------------------------------------------------- */

static bool replay(const char *text) {
    const struct sim_order_budget any = {.cuts = 2, .evicts = 9, .times = 9, .pieces = 1};
    struct sim_order order = order_of(text);
    return sim_order_replay(&order, &any, false);
}

static void test_replay__possible__to_its_end(void **state) {
    (void)state;
    assert_true(replay("2A/tcp:pA/rdma:gA/1m2a2wez2l2b"));
    assert_true(replay("2A/tcp:pA/rdma:gA/1h2ae1a1s2w1t2c2t2c"));
    assert_true(replay("2A/tcp:pA/rdma:gA/2a1a1t2w2t2c2c"));
    /* Broken while a value is moved: it may still be, by a queue pair that nobody hears any more. */
    assert_true(replay("2/rdma:pAB/tcp:/1a1w1w1x1l1b"));
    /* In the middle it is stopped. */
    assert_true(replay("2A/tcp:pA/rdma:gA/1m2a2w"));
}

/* What a failure prints must be possible when it is told, whatever the budget was. */
static void test_tell__all_that_is_ever_chosen__possible(void **state) {
    (void)state;
    const struct sim_orders orders = {.jobs = 1};
    const struct sim_order order = order_of("2AB/tcp:gABpA/rdma:gAB/1h1aee1s1s1s1t1m2a2wz2l2b");
    assert_true(sim_orders_tell(&orders, &order));
    const struct sim_order twice = order_of("2AB/tcp:gABpA/rdma:gAB/1x1x");
    assert_false(sim_orders_tell(&orders, &twice));
}

static void test_replay__impossible__said(void **state) {
    (void)state;
    assert_false(replay("2A/tcp:pA/rdma:gA/1t"));
    assert_false(replay("2A/tcp:pA/rdma:gA/1a1a"));
    assert_false(replay("2A/tcp:pA/rdma:gA/2w"));
    assert_false(replay("2A/tcp:pA/rdma:gA/2h"));
    assert_false(replay("2A/tcp:pA/rdma:gA/1x1a"));
    assert_false(replay("2A/tcp:gA/rdma:gA/1m"));
}

/* ---- memory that can be looked at ------------------------------------------------------------------------------ */

/* Where something lies, and what is there before it is written to, depends on what is live alone. */
static void test_arena__another_way_to_the_same__the_same_number(void **state) {
    (void)state;
    struct sim_arena arena;
    sim_arena_init(&arena, false);
    if (arena.is_plain) {
        sim_arena_fini(&arena);
        return; /* AddressSanitizer: it cannot be looked at. */
    }
    const struct ist_alloc *alloc = &arena.alloc;
    uint8_t *first = ist_allocate(alloc, 100);
    memset(first, 1, 100);
    uint64_t hash = sim_arena_hash(&arena, 7);
    assert_int_not_equal(hash, sim_arena_hash(&arena, 8));
    uint8_t *second = ist_allocate(alloc, 300);
    assert_int_not_equal(hash, sim_arena_hash(&arena, 7));
    memset(second, 2, 300);
    uint64_t both = sim_arena_hash(&arena, 7);
    ist_release(alloc, second);
    assert_int_equal(hash, sim_arena_hash(&arena, 7));
    ist_release(alloc, first);
    second = ist_allocate(alloc, 64);
    first = ist_allocate(alloc, 300);
    ist_release(alloc, second);
    second = ist_allocate(alloc, 100);
    memset(second, 1, 100);
    first = ist_resize_array(alloc, first, 300, 1);
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(first[i], 0);
    }
    memset(first, 2, 300);
    ist_release(alloc, second);
    ist_release(alloc, first);
    assert_int_equal(arena.live, 0);
    assert_int_equal(arena.top, 0);
    sim_arena_reset(&arena);
    first = ist_allocate(alloc, 100);
    memset(first, 1, 100);
    second = ist_allocate(alloc, 300);
    memset(second, 2, 300);
    assert_int_equal(both, sim_arena_hash(&arena, 7));
    second[299] = 3;
    assert_int_not_equal(both, sim_arena_hash(&arena, 7));
    sim_arena_fini(&arena);
}

static void test_arena__resized__keeps_its_bytes(void **state) {
    (void)state;
    struct sim_arena arena;
    sim_arena_init(&arena, false);
    if (arena.is_plain) {
        sim_arena_fini(&arena);
        return; /* AddressSanitizer: it cannot be looked at. */
    }
    uint8_t *memory = ist_allocate(&arena.alloc, 10);
    memset(memory, 5, 10);
    memory = ist_resize_array(&arena.alloc, memory, 1000, 1);
    assert_int_equal(memory[9], 5);
    memory[999] = 6;
    memory = ist_resize_array(&arena.alloc, memory, 5, 1);
    assert_int_equal(memory[4], 5);
    uint64_t hash = sim_arena_hash(&arena, 1);
    uint8_t *large = ist_allocate(&arena.alloc, SIM_ARENA_LARGE_BYTES);
    large[0] = 1;
    assert_int_equal(hash, sim_arena_hash(&arena, 1));
    assert_int_equal(arena.large_live, 1);
    ist_release(&arena.alloc, large);
    ist_release(&arena.alloc, memory);
    assert_true(arena.live == 0 && arena.large_live == 0);
    sim_arena_fini(&arena);
}

/* Each byte counts, and its place; also where most is zero. */
static void test_hash_bytes__one_byte__another_number(void **state) {
    (void)state;
    uint8_t bytes[300] = {0};
    uint64_t seen[600];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = 1;
        seen[count++] = sim_arena_hash_bytes(bytes, sizeof(bytes), 1);
        bytes[i] = 0;
        seen[count++] = sim_arena_hash_bytes(bytes, i, 1);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(seen[i], seen[j]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse__printed_again__the_same),
        cmocka_unit_test(test_parse__longest__has_room),
        cmocka_unit_test(test_parse__bad__refused),
        cmocka_unit_test(test_cases__a_put_each__as_many_as_differ),
        cmocka_unit_test(test_cases__three_puts__both_lengths_are_there),
        cmocka_unit_test(test_search__two_removes__as_many_as_there_are),
        cmocka_unit_test(test_search__over_rdma__messages_take_their_time),
        cmocka_unit_test(test_search__cut__at_each_place),
        cmocka_unit_test(test_search__seen_states__no_order_is_lost),
        cmocka_unit_test(test_search__in_pieces__as_many_as_there_are),
        cmocka_unit_test(test_run__work_done_when_posted__found),
        cmocka_unit_test(test_run__pieces_land_late__found),
        cmocka_unit_test(test_run__several_processes__the_same),
        cmocka_unit_test(test_replay__possible__to_its_end),
        cmocka_unit_test(test_tell__all_that_is_ever_chosen__possible),
        cmocka_unit_test(test_replay__impossible__said),
        cmocka_unit_test(test_arena__another_way_to_the_same__the_same_number),
        cmocka_unit_test(test_arena__resized__keeps_its_bytes),
        cmocka_unit_test(test_hash_bytes__one_byte__another_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* evict: order, pins, and the cost of pins; lru against an array. */
#include "tests/support.h"

#include <string.h>

#include "store/evict.h"
#include "tests/replay.h"

static struct ist_evict *evict_new(void) {
    struct ist_evict *evict;
    assert_int_equal(ist_evict_new("lru", ist_alloc_system(), &evict), IST_OK);
    return evict;
}

static void test_evict_new__unknown_policy__config(void **state) {
    (void)state;
    struct ist_evict *evict = NULL;
    assert_int_equal(ist_evict_new("oracle", ist_alloc_system(), &evict), IST_CONFIG);
    assert_null(evict);
}

static void test_evict_new__nth_allocation_fails__no_memory_and_no_leak(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct failing_alloc failing;
        failing_alloc_init(&failing, nth);
        struct ist_evict *evict;
        assert_int_equal(ist_evict_new(NULL, &failing.alloc, &evict), IST_NO_MEMORY);
        assert_int_equal(failing.live, 0);
    }
    ist_evict_free(NULL);
}

static void test_evict_take__empty__null(void **state) {
    (void)state;
    struct ist_evict *evict = evict_new();
    assert_null(ist_evict_take(evict));
    assert_int_equal(ist_evict_tracked(evict), 0);
    assert_true(ist_evict_metadata_bytes(evict) >= sizeof(struct ist_evict_list));
    ist_evict_free(evict);
}

static void test_evict_take__inserted_and_touched__oldest_use_first(void **state) {
    (void)state;
    struct ist_evict *evict = evict_new();
    struct ist_evict_link links[4] = {0};
    for (int i = 0; i < 4; i++) {
        ist_evict_insert(evict, &links[i], false);
    }
    ist_evict_touch(evict, &links[0]);
    ist_evict_remove(evict, &links[2]);
    ist_evict_check(evict);
    assert_ptr_equal(ist_evict_take(evict), &links[1]);
    assert_ptr_equal(ist_evict_take(evict), &links[3]);
    assert_ptr_equal(ist_evict_take(evict), &links[0]);
    assert_null(ist_evict_take(evict));
    ist_evict_free(evict);
}

static void test_evict_take__pinned__passed_over_and_first_again_after_its_pin(void **state) {
    (void)state;
    struct ist_evict *evict = evict_new();
    struct ist_evict_link links[3] = {0};
    for (int i = 0; i < 3; i++) {
        ist_evict_insert(evict, &links[i], i == 0);
    }
    assert_ptr_equal(ist_evict_take(evict), &links[1]);
    ist_evict_check(evict);
    assert_int_equal(ist_evict_tracked(evict), 2);
    ist_evict_unpin(evict, &links[0]);
    assert_ptr_equal(ist_evict_take(evict), &links[0]);
    ist_evict_pin(evict, &links[2]);
    assert_null(ist_evict_take(evict));
    ist_evict_remove(evict, &links[2]);
    assert_int_equal(ist_evict_tracked(evict), 0);
    ist_evict_check(evict);
    ist_evict_free(evict);
}

static void test_evict_touch__put_aside__most_recent_after_its_pin(void **state) {
    (void)state;
    struct ist_evict *evict = evict_new();
    struct ist_evict_link links[3] = {0};
    for (int i = 0; i < 3; i++) {
        ist_evict_insert(evict, &links[i], i == 0);
    }
    assert_ptr_equal(ist_evict_take(evict), &links[1]);
    ist_evict_touch(evict, &links[0]);
    ist_evict_check(evict);
    ist_evict_unpin(evict, &links[0]);
    assert_ptr_equal(ist_evict_take(evict), &links[2]);
    assert_ptr_equal(ist_evict_take(evict), &links[0]);
    ist_evict_free(evict);
}

static void test_evict_replace__anywhere_in_the_order__its_copy_takes_its_turn(void **state) {
    (void)state;
    for (int moved = 0; moved < 3; moved++) {
        struct ist_evict *evict = evict_new();
        struct ist_evict_link links[3] = {0}, copy;
        for (int i = 0; i < 3; i++) {
            ist_evict_insert(evict, &links[i], false);
        }
        copy = links[moved];
        ist_evict_replace(evict, &links[moved], &copy);
        memset(&links[moved], 0xff, sizeof(links[moved]));
        ist_evict_check(evict);
        assert_int_equal(ist_evict_tracked(evict), 3);
        for (int i = 0; i < 3; i++) {
            assert_ptr_equal(ist_evict_take(evict), i == moved ? &copy : &links[i]);
        }
        assert_null(ist_evict_take(evict));
        ist_evict_free(evict);
    }
}

/* With a scan over the pinned at each take these are 10^10 steps, and the test program runs for minutes. */
static void test_evict_take__very_many_pinned__each_is_passed_over_once(void **state) {
    (void)state;
    enum { PINNED = 100000, TAKES = 100000 };
    static struct ist_evict_link pinned[PINNED];
    static struct ist_evict_link others[TAKES];
    struct ist_evict *evict = evict_new();
    for (int i = 0; i < PINNED; i++) {
        ist_evict_insert(evict, &pinned[i], true);
    }
    for (int i = 0; i < TAKES; i++) {
        ist_evict_insert(evict, &others[i], false);
        assert_ptr_equal(ist_evict_take(evict), &others[i]);
    }
    assert_int_equal(ist_evict_tracked(evict), PINNED);
    ist_evict_check(evict);
    ist_evict_free(evict);
}

/* ---- against an array ----------------------------------------------------------------------------- */

#define LINKS 40
struct model {
    struct ist_evict *evict;
    struct ist_evict_link links[LINKS];
    int order[LINKS]; /* tracked links, the one that goes first at 0 */
    int count;
    bool tracked[LINKS], pinned[LINKS];
};

static void model_drop(struct model *model, int link) {
    for (int i = 0, to = 0; i < model->count; i++) {
        if (model->order[i] != link) {
            model->order[to++] = model->order[i];
        }
    }
    model->count--;
}

/* The first without a pin. What is pinned and before it goes first later, in the order of the pins' ends, so the
 * model moves it to the end of the line only as the interface promises: to the cold end, when its pin ends. */
static void model_take(struct model *model) {
    int victim = -1;
    for (int i = 0; i < model->count && victim < 0; i++) {
        victim = model->pinned[model->order[i]] ? -1 : model->order[i];
    }
    struct ist_evict_link *link = ist_evict_take(model->evict);
    if (victim < 0) {
        assert_null(link);
        return;
    }
    assert_ptr_equal(link, &model->links[victim]);
    model_drop(model, victim);
    model->tracked[victim] = false;
}

static void model_unpin(struct model *model, int link) {
    bool aside = model->links[link].aside;
    ist_evict_unpin(model->evict, &model->links[link]);
    model->pinned[link] = false;
    if (aside) {
        model_drop(model, link);
        memmove(model->order + 1, model->order, (size_t)model->count * sizeof(model->order[0]));
        model->order[0] = link;
        model->count++;
    }
}

static void model_step(struct model *model, uint64_t *random) {
    int link = (int)random_below(random, LINKS);
    uint64_t dice = random_below(random, 10);
    if (random_below(random, 300) == 0) {
        ist_evict_clear(model->evict);
        memset(model->tracked, 0, sizeof(model->tracked));
        model->count = 0;
    } else if (!model->tracked[link]) {
        model->pinned[link] = dice < 3;
        ist_evict_insert(model->evict, &model->links[link], model->pinned[link]);
        model->tracked[link] = true;
        model->order[model->count++] = link;
    } else if (dice < 2) {
        model_take(model);
    } else if (dice < 4) {
        ist_evict_touch(model->evict, &model->links[link]);
        model_drop(model, link);
        model->order[model->count++] = link;
    } else if (dice < 5) {
        ist_evict_remove(model->evict, &model->links[link]);
        model_drop(model, link);
        model->tracked[link] = false;
    } else if (model->pinned[link]) {
        model_unpin(model, link);
    } else if (dice < 8) {
        ist_evict_pin(model->evict, &model->links[link]);
        model->pinned[link] = true;
    }
    assert_int_equal(ist_evict_tracked(model->evict), model->count);
    ist_evict_check(model->evict);
}

static void compare_with_array(uint64_t seed) {
    uint64_t random = seed;
    struct model model = {.evict = evict_new()};
    for (int i = 0; i < 3000; i++) {
        model_step(&model, &random);
    }
    ist_evict_free(model.evict);
}

static void test_evict__random_operations__agree_with_an_array(void **state) {
    (void)state;
    replay_seeds(40, compare_with_array);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evict_new__unknown_policy__config),
        cmocka_unit_test(test_evict_new__nth_allocation_fails__no_memory_and_no_leak),
        cmocka_unit_test(test_evict_take__empty__null),
        cmocka_unit_test(test_evict_take__inserted_and_touched__oldest_use_first),
        cmocka_unit_test(test_evict_take__pinned__passed_over_and_first_again_after_its_pin),
        cmocka_unit_test(test_evict_touch__put_aside__most_recent_after_its_pin),
        cmocka_unit_test(test_evict_replace__anywhere_in_the_order__its_copy_takes_its_turn),
        cmocka_unit_test(test_evict_take__very_many_pinned__each_is_passed_over_once),
        cmocka_unit_test_teardown(test_evict__random_operations__agree_with_an_array, replay_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/tools/replay_jobs: who waits for whom, and that everybody comes to an end. */
#include "tests/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/replay_jobs.h"

static struct ist_replay_jobs *jobs_new(size_t prefills, size_t decodes) {
    struct ist_replay_jobs *jobs = malloc(sizeof(*jobs));
    assert_non_null(jobs);
    assert_int_equal(ist_replay_jobs_init(jobs, prefills, decodes), IST_OK);
    return jobs;
}

static void jobs_free(struct ist_replay_jobs *jobs) {
    ist_replay_jobs_fini(jobs);
    free(jobs);
}

/* A turn for these blocks. */
static struct ist_replay_job *turn(struct ist_replay_jobs *jobs, size_t count, const uint64_t *blocks) {
    struct ist_replay_job *job = ist_replay_jobs_turn(jobs);
    assert_non_null(job);
    assert_int_equal(ist_replay_jobs_set(jobs, job, blocks, count), IST_OK);
    return job;
}

#define TURN(jobs, ...)                                                                                \
    turn(jobs, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t),                             \
         (const uint64_t[]){__VA_ARGS__})

/* ---- a second thread ------------------------------------------------------------------------------ */

struct waiter {
    struct ist_replay_jobs *jobs;
    struct ist_replay_job *job; /* to await; NULL: take a turn, or a job */
    bool takes;
    uint64_t due_ns;
    struct ist_replay_job *got;
    bool went_on;
    pthread_t thread;
    _Atomic pid_t id;
    atomic_bool returned;
};

static void *wait_for(void *argument) {
    struct waiter *waiter = argument;
    waiter->id = (pid_t)syscall(SYS_gettid);
    if (waiter->job != NULL) {
        waiter->went_on = ist_replay_jobs_await(waiter->jobs, waiter->job, waiter->due_ns);
    } else if (waiter->takes) {
        waiter->got = ist_replay_jobs_take(waiter->jobs);
    } else {
        waiter->got = ist_replay_jobs_turn(waiter->jobs);
    }
    waiter->returned = true;
    return NULL;
}

/* man proc_pid_stat: the state stands behind the name in parentheses; S is sleeping. */
static bool sleeps(pid_t id) {
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)id);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t bytes = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    const char *after = bytes == 0 ? NULL : strrchr(text, ')');
    return after != NULL && after[2] == 'S';
}

static void start(struct waiter *waiter) {
    assert_int_equal(pthread_create(&waiter->thread, NULL, wait_for, waiter), 0);
}

/* Runs the waiter's call in a thread; returns when that has returned, or sleeps: true. It may also sleep on its way there
 * (valgrind lets one thread run at a time), so that true is no proof that it waits; false is one that it does not. */
static bool starts_and_sleeps(struct waiter *waiter) {
    start(waiter);
    while (!waiter->returned && (waiter->id == 0 || !sleeps(waiter->id))) {
        sched_yield();
    }
    return !waiter->returned;
}

static void join(struct waiter *waiter) {
    assert_int_equal(pthread_join(waiter->thread, NULL), 0);
}

/* Within a time that no call takes which waits for nobody. */
static bool returns_by_itself(struct waiter *waiter) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    return pthread_timedjoin_np(waiter->thread, NULL, &until) == 0;
}

/* ---- order ---------------------------------------------------------------------------------------- */

static void test_turn__one_after_the_other__numbered_in_order(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(2, 1);
    struct ist_replay_job *first = TURN(jobs, 0, 1);
    assert_int_equal(first->number, 1);
    struct waiter second = {.jobs = jobs};
    assert_true(starts_and_sleeps(&second)); /* the turn is taken */
    ist_replay_jobs_found(jobs, first, 2);
    join(&second);
    assert_non_null(second.got);
    assert_ptr_not_equal(second.got, first);
    assert_int_equal(second.got->number, 2);
    ist_replay_jobs_return(jobs, second.got);
    ist_replay_jobs_ready(jobs, first);
    jobs_free(jobs);
}

static void test_turn__no_job_is_free__waits_for_a_decode(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(1, 1);
    for (size_t i = 0; i < jobs->count; i++) {
        struct ist_replay_job *job = TURN(jobs, i);
        ist_replay_jobs_found(jobs, job, 0);
        ist_replay_jobs_ready(jobs, job);
    }
    struct waiter prefill = {.jobs = jobs};
    assert_true(starts_and_sleeps(&prefill));
    ist_replay_jobs_done(jobs, ist_replay_jobs_take(jobs));
    join(&prefill);
    assert_non_null(prefill.got);
    jobs_free(jobs);
}

static void test_take__several_wait__in_their_order(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(1, 2);
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 3; i++) {
            struct ist_replay_job *job = TURN(jobs, i);
            ist_replay_jobs_found(jobs, job, 0);
            ist_replay_jobs_ready(jobs, job);
        }
        for (uint64_t i = 1; i <= 3; i++) {
            struct ist_replay_job *job = ist_replay_jobs_take(jobs);
            assert_int_equal(job->number, 3 * round + i);
            assert_int_equal(job->blocks[0], i - 1);
            ist_replay_jobs_done(jobs, job);
        }
    }
    jobs_free(jobs);
}

/* ---- shared blocks -------------------------------------------------------------------------------- */

/* The writer has matched `matched` blocks of 0 1 2 3 and writes the rest: the next request waits, or it does not. */
static bool waits_as(bool expected, size_t matched, size_t count, const uint64_t *blocks) {
    struct ist_replay_jobs *jobs = jobs_new(2, 1);
    struct ist_replay_job *writer = TURN(jobs, 0, 1, 2, 3);
    assert_true(ist_replay_jobs_await(jobs, writer, 0));
    ist_replay_jobs_found(jobs, writer, matched);
    struct waiter waiter = {.jobs = jobs, .job = turn(jobs, count, blocks)};
    bool as_expected;
    if (expected) {
        as_expected = starts_and_sleeps(&waiter);
        ist_replay_jobs_ready(jobs, writer);
        join(&waiter);
    } else {
        start(&waiter);
        as_expected = returns_by_itself(&waiter);
        ist_replay_jobs_ready(jobs, writer);
        if (!as_expected) {
            join(&waiter);
        }
    }
    assert_true(waiter.went_on);
    jobs_free(jobs);
    return as_expected;
}

#define WAITS_AS(expected, matched, ...)                                                               \
    waits_as(expected, matched, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t),            \
             (const uint64_t[]){__VA_ARGS__})

static void test_await__earlier_request_writes_a_shared_block__until_it_is_written(void **state) {
    (void)state;
    assert_true(WAITS_AS(true, 0, 0));             /* the root is being written */
    assert_true(WAITS_AS(true, 1, 0, 1, 9));       /* 1 is */
    assert_true(WAITS_AS(true, 3, 0, 1, 2, 3, 4)); /* the last one is */
}

static void test_await__earlier_request_writes_others__at_once(void **state) {
    (void)state;
    assert_true(WAITS_AS(false, 1, 0));          /* the root was found */
    assert_true(WAITS_AS(false, 1, 0, 5, 6));    /* only the root is shared */
    assert_true(WAITS_AS(false, 2, 0, 1, 9));    /* what is shared was found */
    assert_true(WAITS_AS(false, 0, 8, 1, 2, 3)); /* another root: other blocks, whatever their ids */
    assert_true(WAITS_AS(false, 4, 0, 1, 2, 3)); /* it writes nothing */
}

static void test_await__due_later__not_before(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(1, 1);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t due_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + 20000000u;
    struct ist_replay_job *job = TURN(jobs, 0);
    assert_true(ist_replay_jobs_await(jobs, job, due_ns));
    clock_gettime(CLOCK_MONOTONIC, &now);
    assert_true((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec >= due_ns);
    jobs_free(jobs);
}

/* ---- the end -------------------------------------------------------------------------------------- */

static void test_end__whoever_waits_for_a_turn_or_an_hour__gets_none(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(2, 1);
    struct waiter later = {.jobs = jobs, .job = TURN(jobs, 0), .due_ns = UINT64_MAX / 2};
    struct waiter next = {.jobs = jobs};
    assert_true(starts_and_sleeps(&later));
    assert_true(starts_and_sleeps(&next));
    ist_replay_jobs_end(jobs);
    join(&later);
    join(&next);
    assert_false(later.went_on);
    assert_null(next.got);
    ist_replay_jobs_return(jobs, later.job);
    assert_null(ist_replay_jobs_turn(jobs));
    jobs_free(jobs);
}

static void test_end__jobs_on_their_way__finished(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(1, 1);
    struct ist_replay_job *job = TURN(jobs, 0);
    ist_replay_jobs_found(jobs, job, 0);
    ist_replay_jobs_end(jobs);
    assert_false(ist_replay_jobs_ended(jobs));
    ist_replay_jobs_ready(jobs, job);
    ist_replay_jobs_leave(jobs);
    assert_false(ist_replay_jobs_ended(jobs));
    assert_ptr_equal(ist_replay_jobs_take(jobs), job);
    assert_false(ist_replay_jobs_ended(jobs));
    ist_replay_jobs_done(jobs, job);
    assert_true(ist_replay_jobs_ended(jobs));
    assert_null(ist_replay_jobs_take(jobs));
    jobs_free(jobs);
}

static void test_leave__last_prefill__idle_decodes_go_home(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(2, 1);
    struct waiter decode = {.jobs = jobs, .takes = true};
    assert_true(starts_and_sleeps(&decode));
    ist_replay_jobs_leave(jobs);
    ist_replay_jobs_leave(jobs);
    join(&decode);
    assert_null(decode.got);
    jobs_free(jobs);
}

static void test_abandon__jobs_wait_for_a_decode__dropped(void **state) {
    (void)state;
    struct ist_replay_jobs *jobs = jobs_new(2, 1);
    struct ist_replay_job *waiting = TURN(jobs, 0);
    ist_replay_jobs_found(jobs, waiting, 0);
    ist_replay_jobs_ready(jobs, waiting);
    struct ist_replay_job *writing = TURN(jobs, 1);
    ist_replay_jobs_found(jobs, writing, 0);
    ist_replay_jobs_abandon(jobs);
    assert_null(ist_replay_jobs_turn(jobs));
    assert_null(ist_replay_jobs_take(jobs)); /* though prefills have not left */
    ist_replay_jobs_ready(jobs, writing);
    assert_null(ist_replay_jobs_take(jobs));
    ist_replay_jobs_leave(jobs);
    ist_replay_jobs_leave(jobs);
    assert_true(ist_replay_jobs_ended(jobs));
    jobs_free(jobs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turn__one_after_the_other__numbered_in_order),
        cmocka_unit_test(test_turn__no_job_is_free__waits_for_a_decode),
        cmocka_unit_test(test_take__several_wait__in_their_order),
        cmocka_unit_test(test_await__earlier_request_writes_a_shared_block__until_it_is_written),
        cmocka_unit_test(test_await__earlier_request_writes_others__at_once),
        cmocka_unit_test(test_await__due_later__not_before),
        cmocka_unit_test(test_end__whoever_waits_for_a_turn_or_an_hour__gets_none),
        cmocka_unit_test(test_end__jobs_on_their_way__finished),
        cmocka_unit_test(test_leave__last_prefill__idle_decodes_go_home),
        cmocka_unit_test(test_abandon__jobs_wait_for_a_decode__dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Client processes beside a test, which may be killed. Forked: what the test's own clients hold open would live on in
 * them, so these are opened when the crew has been started.
 *
 * A member must not use cmocka: it says what is wrong by crew_wrong(), and then the test fails. */
#ifndef IST_TESTS_INTEGRATION_CREW_H
#define IST_TESTS_INTEGRATION_CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CREW_MAX 96u

/* Shared memory of a member and the test. */
struct crew_member {
    size_t number;
    const void *arg;
    const atomic_bool *go, *stop; /* what it was told: that there is more to do, that it shall end */
    atomic_uint_fast64_t begun, done, failed, found, warned;
    atomic_uint_fast64_t time_ns;
    char wrong[200];
};

struct crew {
    atomic_bool *go, *stop;
    struct crew_member *members;
    pid_t pids[CREW_MAX]; /* 0: gone */
    size_t count;
};

typedef void (*crew_fn)(struct crew_member *self);

void crew_init(struct crew *crew);
/* Its own process from here on; arg is borrowed, and copied by the fork. */
struct crew_member *crew_start(struct crew *crew, crew_fn function, const void *arg);
/* SIGKILL, and it is gone when this returns. */
void crew_kill(struct crew *crew, struct crew_member *member);
/* Waits for those that are left; the test fails when one is wrong, or does not end. */
void crew_join(struct crew *crew);
/* Tells those that wait for it that there is more to do. */
void crew_go(struct crew *crew);
/* Tells them to stop first. */
void crew_stop(struct crew *crew);
/* Fails the test when a member has died or said that something is wrong. */
void crew_assert_well(struct crew *crew);
/* Kills what is left; for a teardown too. Idempotent. */
void crew_fini(struct crew *crew);

/* For members: the end, in disgrace. */
_Noreturn void crew_wrong(struct crew_member *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

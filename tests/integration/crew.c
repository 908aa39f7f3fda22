#include "tests/integration/crew.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define WRONG_CODE 3

struct shared {
    atomic_bool go, stop;
    struct crew_member members[CREW_MAX];
};

void crew_init(struct crew *crew) {
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    *crew = (struct crew){.go = &shared->go, .stop = &shared->stop, .members = shared->members};
}

struct crew_member *crew_start(struct crew *crew, crew_fn function, const void *arg) {
    assert_true(crew->count < CREW_MAX);
    struct crew_member *member = &crew->members[crew->count];
    member->number = crew->count;
    member->arg = arg;
    member->go = crew->go;
    member->stop = crew->stop;
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            function(member);
        }
        _exit(0);
    }
    crew->pids[crew->count++] = pid;
    return member;
}

void crew_wrong(struct crew_member *self, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(self->wrong, sizeof(self->wrong), format, arguments);
    va_end(arguments);
    _exit(WRONG_CODE);
}

void crew_kill(struct crew *crew, struct crew_member *member) {
    pid_t *pid = &crew->pids[member->number];
    int status;
    assert_int_equal(kill(*pid, SIGKILL), 0);
    assert_int_equal(waitpid(*pid, &status, 0), *pid);
    *pid = 0;
    if (!WIFSIGNALED(status)) {
        fail_msg("member %zu had ended by itself: %s", member->number, member->wrong);
    }
}

/* True: it has ended, and well. */
static bool has_ended(struct crew *crew, size_t i) {
    int status;
    if (crew->pids[i] == 0) {
        return true;
    }
    if (waitpid(crew->pids[i], &status, WNOHANG) == 0) {
        return false;
    }
    crew->pids[i] = 0;
    if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("member %zu: %s (%s %d)", i, crew->members[i].wrong,
                 WIFSIGNALED(status) ? "signal" : "exit",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return true;
}

void crew_assert_well(struct crew *crew) {
    for (size_t i = 0; i < crew->count; i++) {
        (void)has_ended(crew, i);
    }
}

void crew_join(struct crew *crew) {
    for (size_t i = 0; i < crew->count; i++) {
        assert_eventually(has_ended(crew, i));
    }
    crew_fini(crew);
}

void crew_go(struct crew *crew) {
    atomic_store(crew->go, true);
}

void crew_stop(struct crew *crew) {
    atomic_store(crew->stop, true);
    crew_join(crew);
}

void crew_fini(struct crew *crew) {
    for (size_t i = 0; i < crew->count; i++) {
        if (crew->pids[i] != 0) {
            kill(crew->pids[i], SIGKILL);
            waitpid(crew->pids[i], NULL, 0);
        }
    }
    if (crew->go != NULL) {
        munmap(crew->go, sizeof(struct shared)); /* the first field */
    }
    *crew = (struct crew){0};
}

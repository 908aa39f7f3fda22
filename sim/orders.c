#include "sim/orders.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "sim/memory.h"

/* What a process works on, where the one that started it can see it. */
struct job {
    struct sim_order order;
    struct sim_order_tally tally;
};

static _Noreturn void give_up(const char *what) {
    perror(what);
    exit(EXIT_FAILURE);
}

/* ---- in a process of its own --------------------------------------------------------------------------------- */

static void run_cases(const struct sim_orders *orders, unsigned number, struct job *job) {
    struct sim_arena *arena = sim_memory_new(1, sizeof(*arena));
    struct sim_order_rig *rig = sim_memory_new(1, sizeof(*rig));
    struct sim_order_script *script = sim_memory_new(1, sizeof(*script));
    struct sim_order_cases *cases = sim_memory_new(1, sizeof(*cases));
    struct sim_order_case of = orders->one;
    bool is_one = of.programs[0].count > 0;
    sim_arena_init(arena, orders->plain);
    sim_order_rig_init(rig, arena);
    sim_order_cases_init(cases, &orders->scope);
    for (uint64_t i = 0; is_one ? i == 0 : sim_order_cases_next(cases, &of); i++) {
        if (i % orders->jobs == number) {
            sim_order_script_init(script, &of, &orders->scope.budget);
            sim_order_search(rig, script, &job->order, &job->tally);
        }
    }
    sim_order_rig_fini(rig);
    sim_arena_fini(arena);
    free(cases);
    free(script);
    free(rig);
    free(arena);
}

static void prepare_child(bool quiet) {
    const struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    int null = quiet ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
    if (quiet && (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)) {
        give_up("/dev/null");
    }
}

static pid_t start(bool quiet) {
    fflush(NULL);
    pid_t process = fork();
    if (process < 0) {
        give_up("fork");
    }
    if (process == 0) {
        prepare_child(quiet);
    }
    return process;
}

static bool is_well(int outcome) {
    return WIFEXITED(outcome) && WEXITSTATUS(outcome) == EXIT_SUCCESS;
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

static void add(struct sim_order_tally *sum, const struct sim_order_tally *tally) {
    sum->cases += tally->cases;
    sum->orders += tally->orders;
    sum->ends += tally->ends;
    sum->events += tally->events;
    sum->states += tally->states;
}

static void kill_all(const pid_t *processes, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (processes[i] > 0) {
            (void)kill(processes[i], SIGKILL);
        }
    }
}

/* Until all have ended, which are this process's only children. The first that fails ends the others. */
static void wait_for(pid_t *processes, const struct job *jobs, unsigned count,
                     struct sim_orders_outcome *outcome) {
    for (unsigned left = count; left > 0; left--) {
        int status;
        pid_t ended = wait(&status);
        unsigned i = 0;
        while (i < count && processes[i] != ended) {
            i++;
        }
        IST_ASSERT(ended > 0 && i < count);
        processes[i] = 0;
        if (!is_well(status) && !outcome->failed) {
            outcome->failed = true;
            outcome->order = jobs[i].order;
            kill_all(processes, count);
        }
        add(&outcome->tally, &jobs[i].tally);
    }
}

void sim_orders_run(const struct sim_orders *orders, struct sim_orders_outcome *outcome) {
    size_t bytes = orders->jobs * sizeof(struct job);
    struct job *jobs = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t *processes = sim_memory_new(orders->jobs, sizeof(*processes));
    if (jobs == MAP_FAILED) {
        give_up("mmap");
    }
    *outcome = (struct sim_orders_outcome){.failed = false};
    for (unsigned i = 0; i < orders->jobs; i++) {
        processes[i] = start(true);
        if (processes[i] == 0) {
            free(processes);
            sim_canary_set(orders->canary);
            run_cases(orders, i, &jobs[i]);
            _exit(EXIT_SUCCESS);
        }
    }
    wait_for(processes, jobs, orders->jobs, outcome);
    free(processes);
    munmap(jobs, bytes);
}

/* As often as an order may want it. */
static const struct sim_order_budget any = {.cuts = SIM_ORDER_CLIENTS,
                                            .evicts = SIM_ORDER_EVENTS_MAX,
                                            .times = SIM_ORDER_EVENTS_MAX,
                                            .pieces = SIM_ORDER_EVENTS_MAX};

bool sim_orders_tell(const struct sim_orders *orders, const struct sim_order *order) {
    pid_t process = start(false);
    int status;
    if (process == 0) {
        sim_canary_set(orders->canary);
        bool possible = sim_order_replay(order, &any, true);
        if (!possible) {
            fprintf(stderr, "FAILED: what comes next is not possible there\n");
        }
        fflush(NULL);
        _exit(possible ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    if (waitpid(process, &status, 0) != process) {
        give_up("waitpid");
    }
    return is_well(status);
}

const enum sim_canary *sim_orders_canaries(void) {
    static const enum sim_canary canaries[] = {
        SIM_CANARY_COMMIT_BEFORE_DATA,  SIM_CANARY_LOST_PIN,
        SIM_CANARY_EARLY_RELEASE,       SIM_CANARY_EVICT_PINNED,
        SIM_CANARY_STALE_EVICTS_NEW,    SIM_CANARY_FAILED_PUT_SHOWS,
        SIM_CANARY_LEAKED_RESERVATION,  SIM_CANARY_LOST_OVERWRITE,
        SIM_CANARY_REMOVE_FORGETS,      SIM_CANARY_PURGE_FORGETS,
        SIM_CANARY_MATCH_IGNORES_HOLES, SIM_CANARY_EXISTS_ALWAYS,
        SIM_CANARY_DOUBLE_REPLY,        SIM_CANARY_LOST_REPLY,
        SIM_CANARY_IF_ABSENT_IGNORED,   SIM_CANARY_SPLIT_PAYLOAD,
        SIM_CANARY_WORK_DONE_AT_POST,   SIM_CANARY_NONE,
    };
    return canaries;
}

#define VERB(name) (1u << SIM_ORDER_##name)
#define PUT_GET_REMOVE (VERB(PUT) | VERB(GET) | VERB(REMOVE))
#define ALL_VERBS (PUT_GET_REMOVE | VERB(PUT_IF_ABSENT))

const struct sim_orders_part *sim_orders_part(bool is_long, size_t number) {
    static const struct sim_orders_part short_parts[] = {
        {"a request each, for one key or both, in pieces",
         {1, 2, ALL_VERBS, true, 2, 2, {.pieces = 2}}},
        {"a request each, in pieces, with a cut and an eviction",
         {1, 2, ALL_VERBS, false, 2, 2, {.cuts = 1, .evicts = 1, .pieces = 1}}},
        {"three puts and gets", {2, 3, VERB(PUT) | VERB(GET), false, 2, 2, {.cuts = 0}}},
        {0},
    };
    static const struct sim_orders_part long_parts[] = {
        {"a request each, for one key or both, in pieces, with cuts, an eviction, and time that passes",
         {1, 2, ALL_VERBS, true, 1, 3, {.cuts = 2, .evicts = 1, .times = 1, .pieces = 2}}},
        {"three requests with a cut and an eviction",
         {2, 3, ALL_VERBS, false, 1, 3, {.cuts = 1, .evicts = 1}}},
        {"three requests in pieces", {2, 3, PUT_GET_REMOVE, false, 2, 2, {.pieces = 2}}},
        {"two requests each", {2, 4, PUT_GET_REMOVE, false, 2, 2, {.cuts = 0}}},
        {0},
    };
    const struct sim_orders_part *part = is_long ? &long_parts[number] : &short_parts[number];
    return part->name == NULL ? NULL : part;
}

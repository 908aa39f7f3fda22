#include "sim/child.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void give_up(const char *what) {
    perror(what);
    exit(EXIT_FAILURE);
}

static void silence(void) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0) {
        give_up("/dev/null");
    }
    close(null);
}

static _Noreturn void run(const struct sim_command *command, uint64_t seed, bool quiet, int out) {
    const struct rlimit limit = {SIM_CHILD_SECONDS_MAX, SIM_CHILD_SECONDS_MAX};
    const struct rlimit no_core = {0, 0};
    struct sim_figures figures;
    (void)setrlimit(RLIMIT_CPU, &limit);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    if (quiet) {
        silence();
    }
    sim_command_run(command, seed, &figures);
    bool told = write(out, &figures, sizeof(figures)) == (ssize_t)sizeof(figures);
    exit(told ? EXIT_SUCCESS : EXIT_FAILURE);
}

void sim_child_start(struct sim_child *child, const struct sim_command *command, uint64_t seed,
                     bool quiet) {
    int ends[2];
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        give_up("pipe");
    }
    pid_t process = fork();
    if (process < 0) {
        give_up("fork");
    }
    if (process == 0) {
        close(ends[0]);
        run(command, seed, quiet, ends[1]);
    }
    close(ends[1]);
    *child = (struct sim_child){.process = process, .pipe = ends[0], .seed = seed};
}

bool sim_child_wait(struct sim_child *child, struct sim_figures *figures) {
    int outcome;
    bool told = read(child->pipe, figures, sizeof(*figures)) == (ssize_t)sizeof(*figures);
    close(child->pipe);
    if (waitpid(child->process, &outcome, 0) != child->process) {
        give_up("waitpid");
    }
    child->process = 0;
    return told && WIFEXITED(outcome) && WEXITSTATUS(outcome) == EXIT_SUCCESS;
}

bool sim_child_run(const struct sim_command *command, uint64_t seed, bool quiet,
                   struct sim_figures *figures) {
    struct sim_child child;
    sim_child_start(&child, command, seed, quiet);
    return sim_child_wait(&child, figures);
}

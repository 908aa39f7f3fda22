#include "sim/speed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sim/sweep.h"

static double processor_seconds(void) {
    struct timespec used;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

int sim_speed_command(const struct sim_command *command) {
    struct sim_figures sum = {0};
    double begin = processor_seconds();
    for (uint64_t seed = command->from; seed <= command->to; seed++) {
        struct sim_figures figures;
        sim_command_run(command, seed, &figures);
        sim_figures_add(&sum, &figures);
    }
    double seconds = processor_seconds() - begin;
    printf("%" PRIu64 " runs in %.2f s of one core: %" PRIu64 " requests, %" PRIu64
           " keys; %.0f requests/s, %.0f keys/s; digest %016" PRIx64 "\n",
           command->to - command->from + 1, seconds, sum.operations, sum.keys,
           (double)sum.operations / seconds, (double)sum.keys / seconds, sum.digest);
    return EXIT_SUCCESS;
}

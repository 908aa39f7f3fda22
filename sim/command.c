#include "sim/command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPEED_SEEDS 200u

static const char usage[] =
    "usage: infinistore-sim run --seed N [--log]         one run; --log tells all that happens\n"
    "       infinistore-sim sweep --seeds A..B [--jobs N] many, until one fails\n"
    "       infinistore-sim shrink --seed N              a run that fails, made small\n"
    "       infinistore-sim canary --seeds A..B          is each known bug found by one of them?\n"
    "       infinistore-sim speed [--seeds A..B]         calm runs, and how many keys a second that "
    "were\n"
    "       infinistore-sim orders ...                   all orders of events (--help)\n"
    "       infinistore-sim policy TRACE ...             hit ratios of cache policies (--help)\n"
    "       infinistore-sim perf [TRACE] ...             what a store would bring a cluster (--help)\n"
    "       infinistore-sim calibrate FILE               how near it is to what the bench measured\n"
    "\n"
    "  --canary NAME             with a known bug; `infinistore-sim canary --list' names them\n"
    "  --operations N            so many requests, whatever the seed says\n"
    "  --calm                    without faults and without RDMA\n"
    "  --trace FILE              prompts from a trace instead of the seed's workload\n"
    "  --skip-operations RANGES  as if these were not there: 0-9,17,20-30\n"
    "  --skip-faults RANGES\n";

enum option_id {
    OPT_SEED = 1,
    OPT_SEEDS,
    OPT_JOBS,
    OPT_CANARY,
    OPT_LOG,
    OPT_OPERATIONS,
    OPT_FAULTS,
    OPT_LIST,
    OPT_COUNT,
    OPT_TRACE,
    OPT_CALM,
    OPT_HELP
};

static const struct option long_options[] = {
    {"seed", required_argument, NULL, OPT_SEED},
    {"seeds", required_argument, NULL, OPT_SEEDS},
    {"jobs", required_argument, NULL, OPT_JOBS},
    {"canary", required_argument, NULL, OPT_CANARY},
    {"log", no_argument, NULL, OPT_LOG},
    {"skip-operations", required_argument, NULL, OPT_OPERATIONS},
    {"skip-faults", required_argument, NULL, OPT_FAULTS},
    {"list", no_argument, NULL, OPT_LIST},
    {"operations", required_argument, NULL, OPT_COUNT},
    {"trace", required_argument, NULL, OPT_TRACE},
    {"calm", no_argument, NULL, OPT_CALM},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static int fail(const char *what, const char *value) {
    fprintf(stderr, "infinistore-sim: %s: %s\n", what, value);
    return 1 + 2;
}

static bool parse_number(const char *text, char **end, uint64_t *number) {
    errno = 0;
    *number = strtoull(text, end, 10);
    return errno == 0 && *end != text && text[0] >= '0' && text[0] <= '9';
}

static bool parse_seeds(const char *text, uint64_t *from, uint64_t *to) {
    char *end;
    if (!parse_number(text, &end, from)) {
        return false;
    }
    *to = *from;
    if (strncmp(end, "..", 2) == 0 && !parse_number(end + 2, &end, to)) {
        return false;
    }
    return *end == '\0' && *from <= *to;
}

static bool parse_mask(const char *text, struct sim_mask *mask) {
    char *end = NULL;
    for (const char *at = text; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        struct sim_range range;
        if (mask->count == SIM_RANGES_MAX || !parse_number(at, &end, &range.from)) {
            return false;
        }
        range.to = range.from;
        if (*end == '-' && !parse_number(end + 1, &end, &range.to)) {
            return false;
        }
        if ((*end != '\0' && *end != ',') || range.to < range.from) {
            return false;
        }
        range.to++;
        mask->ranges[mask->count++] = range;
    }
    return mask->count > 0;
}

static int list_canaries(void) {
    for (size_t i = 1; sim_canary_name(i) != NULL; i++) {
        puts(sim_canary_name(i));
    }
    return 1;
}

static int set_option(struct sim_command *command, int id, const char *value) {
    char *end;
    uint64_t number;
    switch ((enum option_id)id) {
    case OPT_SEED:
    case OPT_SEEDS:
        return parse_seeds(value, &command->from, &command->to) ? 0 : fail("no such seeds", value);
    case OPT_JOBS:
        if (!parse_number(value, &end, &number) || *end != '\0' || number < 1 || number > 1024) {
            return fail("--jobs: 1 to 1024", value);
        }
        command->jobs = (unsigned)number;
        return 0;
    case OPT_CANARY:
        command->canary = sim_canary_find(value);
        return command->canary != SIM_CANARY_NONE ? 0 : fail("no such canary", value);
    case OPT_LOG: command->log = true; return 0;
    case OPT_OPERATIONS:
        return parse_mask(value, &command->skip_operations) ? 0 : fail("no such ranges", value);
    case OPT_FAULTS:
        return parse_mask(value, &command->skip_faults) ? 0 : fail("no such ranges", value);
    case OPT_COUNT:
        return parse_number(value, &end, &command->operations) && *end == '\0' &&
                       command->operations > 0
                   ? 0
                   : fail("--operations", value);
    case OPT_TRACE:
        command->trace_path = value;
        sim_blocks_init(&command->trace);
        if (!sim_blocks_read(&command->trace, value) || command->trace.request_count == 0) {
            sim_blocks_fini(&command->trace);
            return fail("no requests in", value);
        }
        return 0;
    case OPT_CALM: command->calm = true; return 0;
    case OPT_LIST: return list_canaries();
    case OPT_HELP: fputs(usage, stdout); return 1;
    }
    return 1 + 2;
}

int sim_command_parse(struct sim_command *command, int argc, char **argv) {
    static const char *const tasks[] = {"run", "sweep", "shrink", "canary", "speed"};
    const size_t count = sizeof(tasks) / sizeof(tasks[0]);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *command = (struct sim_command){.from = 1, .to = 1, .jobs = cores > 0 ? (unsigned)cores : 1};
    size_t task = 0;
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 1;
    }
    while (argc >= 2 && task < count && strcmp(argv[1], tasks[task]) != 0) {
        task++;
    }
    if (argc < 2 || task == count) {
        fputs(usage, stderr);
        return 1 + 2;
    }
    command->task = (enum sim_task)task;
    if (command->task == SIM_TASK_SPEED) {
        command->calm = true;
        command->to = SPEED_SEEDS;
    }
    optind = 2;
    int id;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        int outcome = id == '?' ? 1 + 2 : set_option(command, id, optarg);
        if (outcome != 0) {
            return outcome;
        }
    }
    return optind == argc ? 0 : fail("what is that", argv[optind]);
}

static size_t write_mask(char *out, size_t room, const char *option, const struct sim_mask *mask) {
    size_t used = 0;
    for (size_t i = 0; i < mask->count && used < room; i++) {
        int wrote = snprintf(out + used, room - used, "%s%" PRIu64 "-%" PRIu64, i == 0 ? option : ",",
                             mask->ranges[i].from, mask->ranges[i].to - 1);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return used < room ? used : room - 1;
}

void sim_command_replay(const struct sim_command *command, uint64_t seed, char line[SIM_REPLAY_BYTES]) {
    bool has_canary = command->canary != SIM_CANARY_NONE;
    int wrote =
        snprintf(line, SIM_REPLAY_BYTES, "replay: infinistore-sim run --seed %" PRIu64 "%s%s", seed,
                 has_canary ? " --canary " : "", has_canary ? sim_canary_name(command->canary) : "");
    size_t used = wrote > 0 ? (size_t)wrote : 0;
    if (command->operations > 0) {
        wrote = snprintf(line + used, SIM_REPLAY_BYTES - used, " --operations %" PRIu64,
                         command->operations);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (command->calm) {
        wrote = snprintf(line + used, SIM_REPLAY_BYTES - used, " --calm");
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (command->trace_path != NULL && strlen(command->trace_path) < SIM_REPLAY_BYTES / 4) {
        wrote = snprintf(line + used, SIM_REPLAY_BYTES - used, " --trace %s", command->trace_path);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    used += write_mask(line + used, SIM_REPLAY_BYTES - used, " --skip-operations ",
                       &command->skip_operations);
    (void)write_mask(line + used, SIM_REPLAY_BYTES - used, " --skip-faults ", &command->skip_faults);
}

void sim_command_run(const struct sim_command *command, uint64_t seed, struct sim_figures *figures) {
    char replay[SIM_REPLAY_BYTES];
    sim_command_replay(command, seed, replay);
    const struct sim_options options = {
        .seed = seed,
        .log = command->log,
        .skip_operations = command->skip_operations,
        .skip_faults = command->skip_faults,
        .operations = command->operations,
        .calm = command->calm,
        .trace = command->trace_path == NULL ? NULL : &command->trace,
        .replay = replay,
    };
    sim_canary_set(command->canary);
    sim_world_run(&options, figures);
}

/* infinistore-sim orders */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim/orders.h"

static const char usage[] =
    "usage: infinistore-sim orders [--long] [--jobs N]   every order of events of two clients and two "
    "keys\n"
    "       infinistore-sim orders --operations N ...    of all programs of so many operations "
    "together\n"
    "       infinistore-sim orders --case CASE ...       of these two programs: 2A/tcp:pAgB/rdma:gA\n"
    "       infinistore-sim orders --canaries            is each known bug that these can find found?\n"
    "       infinistore-sim orders --replay ORDER        what happens in one order\n"
    "\n"
    "  --cuts N --evicts N       so many in an order at most (default 1)\n"
    "  --times N                 and so often passes time (default 0)\n"
    "  --whole                   nothing arrives or leaves in two pieces\n"
    "  --plain                   every order to its end, on memory of the heap: for sanitizers\n"
    "  --canary NAME             with a known bug\n"
    "  --jobs N                  processes (default: one for each core)\n"
    "\n"
    "CASE and ORDER: BLOCKS[KEYS]/CLIENT/CLIENT[/EVENTS]: a pool of so many blocks, the keys that are "
    "there from the\n"
    "beginning, tcp: or rdma: and a program for each client (p put, q put if absent, g get, r remove; "
    "A, B or AB).\n"
    "Events begin with the client's number: h m a the head, the middle, all of a request arrives; s t "
    "some, all of\n"
    "the replies leave; w work is handed out, c the oldest is done; x cut, l work lands afterwards, b "
    "the queue\n"
    "pair is gone. Or are of no client: e an entry is evicted, z time passes.\n";

enum option_id {
    OPT_LONG = 1,
    OPT_JOBS,
    OPT_OPERATIONS,
    OPT_CASE,
    OPT_CANARIES,
    OPT_REPLAY,
    OPT_CUTS,
    OPT_EVICTS,
    OPT_TIMES,
    OPT_WHOLE,
    OPT_PLAIN,
    OPT_CANARY,
    OPT_HELP
};

static const struct option long_options[] = {
    {"long", no_argument, NULL, OPT_LONG},
    {"jobs", required_argument, NULL, OPT_JOBS},
    {"operations", required_argument, NULL, OPT_OPERATIONS},
    {"case", required_argument, NULL, OPT_CASE},
    {"canaries", no_argument, NULL, OPT_CANARIES},
    {"replay", required_argument, NULL, OPT_REPLAY},
    {"cuts", required_argument, NULL, OPT_CUTS},
    {"evicts", required_argument, NULL, OPT_EVICTS},
    {"times", required_argument, NULL, OPT_TIMES},
    {"whole", no_argument, NULL, OPT_WHOLE},
    {"plain", no_argument, NULL, OPT_PLAIN},
    {"canary", required_argument, NULL, OPT_CANARY},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

/* Without a scope of its own: the parts. */
struct asked {
    struct sim_orders orders;
    bool has_scope, is_long, canaries, replay;
    struct sim_order order;
};

static double seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int fail(const char *what, const char *value) {
    fprintf(stderr, "infinistore-sim: %s: %s\n", what, value);
    return 1 + 2;
}

static bool parse_number(const char *text, unsigned least, unsigned most, unsigned *number) {
    char *end;
    unsigned long parsed = strtoul(text, &end, 10);
    *number = (unsigned)parsed;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && parsed >= least && parsed <= most;
}

static int set_operations(struct asked *asked, const char *value) {
    struct sim_order_scope *scope = &asked->orders.scope;
    if (!parse_number(value, SIM_ORDER_CLIENTS, SIM_ORDER_CLIENTS * SIM_ORDER_OPERATIONS_MAX,
                      &scope->total_max)) {
        return fail("--operations: 2 to 8", value);
    }
    unsigned most = scope->total_max - 1;
    scope->operations_max = most < SIM_ORDER_OPERATIONS_MAX ? most : SIM_ORDER_OPERATIONS_MAX;
    asked->has_scope = true;
    return 0;
}

static int set_case(struct asked *asked, const char *value) {
    if (!sim_order_parse(value, &asked->order) || asked->order.count > 0 ||
        asked->order.of.programs[0].count == 0) {
        return fail("no such case", value);
    }
    asked->orders.one = asked->order.of;
    asked->has_scope = true;
    return 0;
}

static int set_budget(uint8_t *budget, const char *value) {
    unsigned number;
    if (!parse_number(value, 0, 9, &number)) {
        return fail("0 to 9", value);
    }
    *budget = (uint8_t)number;
    return 0;
}

static int set_option(struct asked *asked, enum option_id id, const char *value) {
    struct sim_orders *orders = &asked->orders;
    struct sim_order_budget *budget = &orders->scope.budget;
    switch (id) {
    case OPT_LONG: asked->is_long = true; return 0;
    case OPT_JOBS:
        return parse_number(value, 1, 1024, &orders->jobs) ? 0 : fail("--jobs: 1 to 1024", value);
    case OPT_OPERATIONS: return set_operations(asked, value);
    case OPT_CASE: return set_case(asked, value);
    case OPT_CANARIES: asked->canaries = true; return 0;
    case OPT_REPLAY:
        asked->replay = true;
        return sim_order_parse(value, &asked->order) ? 0 : fail("no such order", value);
    case OPT_CUTS: return set_budget(&budget->cuts, value);
    case OPT_EVICTS: return set_budget(&budget->evicts, value);
    case OPT_TIMES: return set_budget(&budget->times, value);
    case OPT_WHOLE: budget->pieces = 0; return 0;
    case OPT_PLAIN: orders->plain = true; return 0;
    case OPT_CANARY:
        orders->canary = sim_canary_find(value);
        return orders->canary != SIM_CANARY_NONE ? 0 : fail("no such canary", value);
    case OPT_HELP: fputs(usage, stdout); return 1;
    }
    return 1 + 2;
}

/* 0: to be done; else what to exit with, plus 1. */
static int parse(struct asked *asked, int argc, char **argv) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *asked = (struct asked){
        .orders = {.scope = sim_orders_part(false, 1)->scope, .jobs = cores > 0 ? (unsigned)cores : 1}};
    int id;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        int outcome = id == '?' ? 1 + 2 : set_option(asked, (enum option_id)id, optarg);
        if (outcome != 0) {
            return outcome;
        }
    }
    return optind == argc ? 0 : fail("what is that", argv[optind]);
}

static void print_replay(const struct sim_orders *orders, const struct sim_order *order) {
    char text[SIM_ORDER_TEXT_BYTES];
    bool has_canary = orders->canary != SIM_CANARY_NONE;
    sim_order_print(order, text);
    printf("replay: infinistore-sim orders%s%s --replay %s\n", has_canary ? " --canary " : "",
           has_canary ? sim_canary_name(orders->canary) : "", text);
}

static bool run_scope(const struct sim_orders *orders, const char *name) {
    struct sim_orders_outcome outcome;
    sim_orders_run(orders, &outcome);
    const struct sim_order_tally *tally = &outcome.tally;
    if (outcome.failed) {
        if (sim_orders_tell(orders, &outcome.order)) {
            puts("failed, and not when it was run again on memory of the heap");
        }
        print_replay(orders, &outcome.order);
        return false;
    }
    printf("%s: %" PRIu64 " pairs of programs, %" PRIu64
           " orders of their events; done for it: %" PRIu64 " events",
           name, tally->cases, tally->orders, tally->events);
    if (tally->states > 0) {
        printf(", to %" PRIu64 " different states, %" PRIu64 " of them ends", tally->states,
               tally->ends);
    }
    putchar('\n');
    fflush(stdout);
    return true;
}

static int run_all(const struct asked *asked) {
    struct sim_orders orders = asked->orders;
    double begin = seconds();
    bool well = !asked->has_scope || run_scope(&orders, "as asked for");
    const struct sim_orders_part *part;
    for (size_t i = 0; well && !asked->has_scope && (part = sim_orders_part(asked->is_long, i)) != NULL;
         i++) {
        orders.scope = part->scope;
        well = run_scope(&orders, part->name);
    }
    printf(well ? "all orders passed in %.1f s\n" : "an order FAILED after %.1f s\n",
           seconds() - begin);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int find_canaries(const struct sim_orders *orders) {
    unsigned missed = 0, found = 0;
    for (const enum sim_canary *canary = sim_orders_canaries(); *canary != SIM_CANARY_NONE; canary++) {
        struct sim_orders with = *orders;
        struct sim_orders_outcome outcome;
        char text[SIM_ORDER_TEXT_BYTES];
        with.canary = *canary;
        sim_orders_run(&with, &outcome);
        sim_order_print(&outcome.order, text);
        found += outcome.failed;
        missed += !outcome.failed;
        if (outcome.failed) {
            printf("%-22s found by %s\n", sim_canary_name(*canary), text);
        } else {
            printf("%-22s MISSED by %" PRIu64 " orders\n", sim_canary_name(*canary),
                   outcome.tally.orders);
        }
        fflush(stdout);
    }
    printf("%u canaries found, %u missed\n", found, missed);
    return missed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int replay(const struct asked *asked) {
    char text[SIM_ORDER_TEXT_BYTES];
    sim_order_print(&asked->order, text);
    printf("%s\n", text);
    if (!sim_orders_tell(&asked->orders, &asked->order)) {
        return EXIT_FAILURE;
    }
    puts("passed");
    return EXIT_SUCCESS;
}

int sim_orders_command(int argc, char **argv) {
    struct asked asked;
    int outcome = parse(&asked, argc, argv);
    return outcome != 0     ? outcome - 1
           : asked.replay   ? replay(&asked)
           : asked.canaries ? find_canaries(&asked.orders)
                            : run_all(&asked);
}
